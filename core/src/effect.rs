//! Orders that the core gives a driver.

use alloc::{collections::VecDeque, string::String};

use crate::{
    ids::{CallId, JobId, LogId, NodeId, RequestId},
    log::Job,
    message::{Endpoints, PeerRequest, Response},
    offset::Offset,
    time::Duration,
};

/// One order. A driver executes and reports; it decides nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer a request.
    Respond {
        /// Which.
        id: RequestId,
        /// With what.
        response: Response,
    },
    /// Have a log execute a job.
    Run {
        /// The log.
        log: LogId,
        /// The id under which the outcome is to be reported.
        job: JobId,
        /// What to do.
        order: Job,
    },
    /// Ask a peer. Calls to one peer arrive in their order, on a connection that the driver keeps; when it breaks, every
    /// call that waits on it is lost. A call without an answer within `timeout` has timed out, and its answer is dropped.
    Call {
        /// The id under which the outcome is to be reported.
        call: CallId,
        /// Whom.
        to: NodeId,
        /// What.
        request: PeerRequest,
        /// How long the answer may take, connecting included.
        timeout: Duration,
    },
    /// A peer is reached at these endpoints from now on; calls to it go to the native one.
    PeerMoved {
        /// Who.
        node: NodeId,
        /// Where.
        endpoints: Endpoints,
    },
    /// Recovery is over: clients can be served.
    Ready,
    /// A log could not be opened, or can be used no further; its partition is offline, the others are not touched. For
    /// logs and metrics.
    LogFailed {
        /// Its folder.
        dir: String,
        /// One line for a person.
        reason: String,
    },
    /// The leader of a partition lacks committed records that this node's replica has, and nothing says that they may be
    /// lost: the replica keeps them, and follows no further. For logs.
    LeaderLacks {
        /// The replica's folder.
        dir: String,
        /// Where their logs part.
        from: Offset,
        /// Up to where the replica's is committed.
        to: Offset,
    },
    /// The data directory failed and takes no more (KIP-112). For logs, metrics and health.
    DirectoryFailed {
        /// One line for a person.
        reason: String,
    },
    /// The node cannot go on: its metadata log is damaged or from a newer version. The process must end with this reason.
    Halt {
        /// One line for a person.
        reason: String,
    },
    /// Everything is closed after [`crate::input::Input::StopRequested`]; the process can end.
    Stopped,
}

/// The orders not yet collected, in order.
#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    next_job: u64,
}

impl Effects {
    /// Nothing ordered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Orders a job and returns its id.
    pub fn run(&mut self, log: LogId, order: Job) -> JobId {
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.queue.push_back(Effect::Run { log, job, order });
        job
    }

    /// Answers a request.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        self.queue.push_back(Effect::Respond { id, response });
    }

    /// Gives any other order.
    pub fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    /// The next order.
    pub fn pop(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    /// Have all orders been collected?
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }
}
