//! Facts that a driver tells the core.

use crate::{
    ids::{JobId, LogId, RequestId},
    log::{JobOutcome, LogError},
    message::Request,
};

/// One fact. Each is handled on its own, with the time at which it became known.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The first input of every node, once: open the logs, elect, recover. The effect [`crate::effect::Effect::Ready`]
    /// follows when clients can be served.
    Started,
    /// A client's request arrived and passed its listener's checks.
    Requested {
        /// Chosen by the driver, never used twice; the answer carries it.
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
    /// The operator asks the node to stop: finish what is begun, close every log, then say
    /// [`crate::effect::Effect::Stopped`].
    StopRequested,
    /// A deadline that the core named may have come.
    TimePassed,
}
