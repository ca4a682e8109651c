//! How listeners talk to the core: a call goes into a bounded queue, its answer comes back alone.
//!
//! A produce first gets its share of [`limits::APPEND_BYTES_IN_FLIGHT_MAX`] and keeps it until it is answered. When all is
//! given out, producers wait here, with their requests unread in their sockets; readers pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tidelog_core::{
    ids::{NodeId, RequestId},
    limits,
    message::{ProduceRequest, Request, Response},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{
    metrics::Metrics,
    peers::PeerEvent,
    switch::{Switch, Switched},
};

/// The way to the node; clones lead to the same one.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    shared: Arc<Shared>,
    calls: mpsc::Sender<Call>,
    abandoned: mpsc::UnboundedSender<RequestId>,
    peer_events: mpsc::UnboundedSender<PeerEvent>,
    ready: Switched,
}

#[derive(Debug)]
struct Shared {
    id: NodeId,
    next_request: AtomicU64,
    append_budget: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// The node has stopped, or is about to, and answers nobody any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is shutting down")]
pub struct Stopped;

/// One request on its way to the core.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: RequestId,
    pub(super) request: Request,
    /// Where the answer goes; closed when nobody waits any more.
    pub(super) reply: oneshot::Sender<Response>,
    /// A produce's share of the bytes that may be in flight.
    pub(super) share: Option<OwnedSemaphorePermit>,
}

/// What a handle fills, for the driver to empty.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) queue: mpsc::Receiver<Call>,
    /// Requests for which nobody waits any more. At most one for each request under way.
    pub(super) abandoned: mpsc::UnboundedReceiver<RequestId>,
    /// What happens between nodes. At most one for each call under way, and two for each connection.
    pub(super) peer_events: mpsc::UnboundedReceiver<PeerEvent>,
    pub(super) ready: Switch,
}

impl NodeHandle {
    /// A handle and the queues that it fills.
    pub(super) fn new(id: NodeId, metrics: Arc<Metrics>) -> (Self, Calls) {
        let (peer_events, peer_event_queue) = mpsc::unbounded_channel();
        let (calls, queue) = mpsc::channel(CALLS_QUEUED_MAX);
        let (abandoned, abandoned_queue) = mpsc::unbounded_channel();
        let (ready_switch, ready) = Switch::new();
        let append_budget = Arc::new(Semaphore::new(shares(limits::APPEND_BYTES_IN_FLIGHT_MAX)));
        let shared = Arc::new(Shared { id, next_request: AtomicU64::new(0), append_budget, metrics });
        let handle = Self { shared, calls, abandoned, peer_events, ready };
        (handle, Calls { queue, abandoned: abandoned_queue, peer_events: peer_event_queue, ready: ready_switch })
    }

    /// Asks the node. Records in the answer are resolved: `Empty`, `Batches` or `Bytes`, never `Log`.
    ///
    /// Waits while too much is under way, which is how a caller stops reading from its socket. Dropping the
    /// future abandons the request: nobody is answered, what it has begun is carried out.
    pub async fn call(&self, request: Request) -> Result<Response, Stopped> {
        self.send(request).await?.await
    }

    /// The first half of [`NodeHandle::call`]: returns once the request has its place in the queue, with the answer
    /// still to come. Who sends one request after another this way has them taken up in that order.
    pub async fn send(
        &self,
        request: Request,
    ) -> Result<impl Future<Output = Result<Response, Stopped>> + use<>, Stopped> {
        let begun = Instant::now();
        let api = self.shared.metrics.requested(&request);
        let share = match &request {
            Request::Produce(produce) => Some(self.share_of(produce).await?),
            _ => None,
        };
        let id = RequestId(self.shared.next_request.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.calls.send(Call { id, request, reply, share }).await.map_err(|_| Stopped)?;
        let waiting = Waiting { id, abandoned: Some(self.abandoned.clone()) };
        let shared = Arc::clone(&self.shared);
        Ok(async move {
            let response = answer.await;
            waiting.ended();
            let response = response.map_err(|_| Stopped)?;
            shared.metrics.answered(api, &response, begun.elapsed());
            Ok(response)
        })
    }

    /// Says what happened on a connection of another node.
    pub(crate) fn tell(&self, event: PeerEvent) {
        // When the driver has gone there is nobody to tell.
        let _ = self.peer_events.send(event);
    }

    /// For whoever has more to tell.
    pub(super) fn peer_events(&self) -> mpsc::UnboundedSender<PeerEvent> {
        self.peer_events.clone()
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Can clients be served?
    pub fn is_ready(&self) -> bool {
        self.ready.is_on()
    }

    /// Returns once clients can be served.
    pub async fn ready(&self) -> Result<(), Stopped> {
        self.ready.on().await.map_err(|_| Stopped)
    }

    /// What the node counts about itself.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    async fn share_of(&self, produce: &ProduceRequest) -> Result<OwnedSemaphorePermit, Stopped> {
        let bytes = produce.partitions.iter().filter_map(|p| p.batch.as_ref().ok()).map(|batch| batch.size()).sum();
        // A request larger than the whole budget goes alone.
        let wanted = shares(bytes).min(shares(limits::APPEND_BYTES_IN_FLIGHT_MAX));
        let budget = Arc::clone(&self.shared.append_budget);
        let wanted = u32::try_from(wanted).expect("the budget is a few thousand shares");
        budget.acquire_many_owned(wanted).await.map_err(|_| Stopped)
    }
}

/// Tells the driver when the future that waits is dropped before its answer came.
struct Waiting {
    id: RequestId,
    abandoned: Option<mpsc::UnboundedSender<RequestId>>,
}

impl Waiting {
    /// There is nothing left to abandon.
    fn ended(mut self) {
        self.abandoned = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(abandoned) = &self.abandoned {
            // When the driver has gone there is nothing left to abandon.
            let _ = abandoned.send(self.id);
        }
    }
}

/// Bytes in units of the budget.
fn shares(bytes: usize) -> usize {
    bytes.div_ceil(SHARE_BYTES)
}

/// Requests that wait for the core to take them up.
const CALLS_QUEUED_MAX: usize = 1024;
/// The unit of the budget.
const SHARE_BYTES: usize = 1024;
