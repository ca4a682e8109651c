//! How listeners talk to the core: a call goes into a bounded queue, its answer comes back alone.

use tidelog_core::message::{Request, Response};
use tokio::sync::{mpsc, oneshot};

/// The way to the node; clones lead to the same one.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    calls: mpsc::Sender<Call>,
}

/// The node has stopped, or is about to, and answers nobody any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct Stopped;

/// One request on its way to the core.
#[derive(Debug)]
pub(crate) struct Call {
    /// What is asked.
    pub(crate) request: Request,
    /// Where the answer goes; closed when nobody waits any more.
    pub(crate) reply: oneshot::Sender<Response>,
}

impl NodeHandle {
    /// A handle and the queue that it fills.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Call>) {
        let (calls, queue) = mpsc::channel(CALLS_QUEUED_MAX);
        (Self { calls }, queue)
    }

    /// Asks the node. Records in the answer are resolved: `Empty`, `Batches` or `Bytes`, never `Log`.
    ///
    /// Waits while too much is under way, which is how a caller stops reading from its socket. Dropping the
    /// future abandons the request: nobody is answered, what it has begun is carried out.
    pub async fn call(&self, request: Request) -> Result<Response, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call { request, reply }).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Requests that wait for the core to take them up.
const CALLS_QUEUED_MAX: usize = 1024;
