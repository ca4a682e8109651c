//! Facts that a driver tells the core.

use crate::{
    ids::{CallId, JobId, LogId, NodeId, RequestId},
    log::{JobOutcome, LogError},
    message::{CallError, PeerResponse, Request},
};

/// One fact. Each is handled on its own, with the time at which it became known.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The first input of every node, once: open the logs, elect, recover. The effect [`crate::effect::Effect::Ready`]
    /// follows when clients can be served.
    Started,
    /// A client's request arrived and passed its listener's checks.
    Requested {
        /// Chosen by the driver below [`RequestId::OWN`], never used twice; the answer carries it.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// Nobody waits for this answer any more: the connection is gone. The request's effects stay.
    RequestAbandoned {
        /// Which.
        id: RequestId,
    },
    /// A job ended.
    JobEnded {
        /// The log it was for.
        log: LogId,
        /// Which.
        job: JobId,
        /// How.
        outcome: Result<JobOutcome, LogError>,
    },
    /// A call to a peer ended.
    CallEnded {
        /// Which.
        call: CallId,
        /// The answer, or why there is none.
        outcome: Result<PeerResponse, CallError>,
    },
    /// A connection that this peer had opened to this node broke. It may have another by now; it is a hint to look.
    PeerDisconnected {
        /// Who.
        node: NodeId,
    },
    /// The operator asks the node to stop: finish what is begun, close every log, then say
    /// [`crate::effect::Effect::Stopped`].
    StopRequested,
    /// A deadline that the core named may have come.
    TimePassed,
}
