//! Calls: one request to one node, and what came of it.
//!
//! A machine opens a call, the driver carries it and reports exactly once, or the machine gives it up when its
//! deadline passes. A reply to a call that is no longer open is ignored, so a driver may be late without harm.

use alloc::collections::BTreeMap;

use crate::{
    ids::NodeId,
    message::{ErrorCode, Request, Response},
    time::{Duration, Instant},
};

/// One call of one machine. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Any node that can be reached; a driver tries another after a failure.
    Any,
    /// This node.
    Node(NodeId),
}

/// An order to carry a request to a node. Calls to one target travel in the order in which they were given.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Under which the reply is reported.
    pub id: CallId,
    /// Whereto.
    pub to: Target,
    /// What is asked.
    pub request: Request,
    /// When the machine gives the call up by itself: drivers need not keep this time.
    pub deadline: Instant,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The node answered.
    Answered(Response),
    /// The node would not carry the request out at all. Nothing was applied.
    Refused(ErrorCode),
    /// The request has left, and no answer will come: a produce with `acks=0`.
    Sent,
    /// The request never left: the node could not be reached. Nothing was applied.
    NotSent,
    /// The connection went after the request may have left. It may have been applied.
    Lost,
}

/// What a machine orders of its driver.
#[derive(Clone, Debug, PartialEq)]
pub enum Order<E> {
    /// Carry this.
    Call(Call),
    /// The call's deadline passed. Its reply is not waited for; a connection that lets requests time out is best
    /// given up as well, with all that it carries.
    Abandon(CallId),
    /// Tell the application.
    Event(E),
}

/// What every client machine has in common: facts in, orders out, a next deadline.
pub trait Machine {
    /// What it tells the application.
    type Event;

    /// A call ended. Calls that are not open any more are ignored.
    fn on_reply(&mut self, now: Instant, call: CallId, reply: Reply);
    /// A deadline that [`Machine::next_deadline`] named may have come.
    fn on_time(&mut self, now: Instant);
    /// The next order; drain to `None` after every fact and before waiting.
    fn poll_order(&mut self) -> Option<Order<Self::Event>>;
    /// When to call [`Machine::on_time`] at the latest.
    fn next_deadline(&self) -> Option<Instant>;
}

/// The open calls of one machine, each with what it is for.
#[derive(Debug)]
pub(crate) struct Calls<T> {
    opened: u64,
    open: BTreeMap<CallId, (Instant, T)>,
}

impl<T> Calls<T> {
    pub(crate) fn new() -> Self {
        Self { opened: 0, open: BTreeMap::new() }
    }

    /// Opens a call that may take `timeout`.
    pub(crate) fn open(&mut self, now: Instant, timeout: Duration, to: Target, request: Request, what: T) -> Call {
        let id = CallId(self.opened);
        self.opened += 1;
        let deadline = now.after(timeout);
        self.open.insert(id, (deadline, what));
        Call { id, to, request, deadline }
    }

    /// Ends a call; `None` when it is not open.
    pub(crate) fn close(&mut self, id: CallId) -> Option<T> {
        self.open.remove(&id).map(|(_, what)| what)
    }

    /// Ends one call whose deadline has passed.
    pub(crate) fn close_overdue(&mut self, now: Instant) -> Option<(CallId, T)> {
        let id = self.open.iter().find(|(_, (deadline, _))| *deadline <= now).map(|(&id, _)| id)?;
        self.close(id).map(|what| (id, what))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.open.values().map(|(deadline, _)| *deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_once_and_by_its_deadline_at_the_latest() {
        let mut calls = Calls::new();
        let slow = calls.open(Instant::ZERO, Duration::from_secs(2), Target::Any, Request::DescribeCluster, "slow");
        let quick = calls.open(Instant::ZERO, Duration::from_secs(1), Target::Any, Request::DescribeCluster, "quick");
        assert_ne!(slow.id, quick.id);
        assert_eq!(calls.next_deadline(), Some(quick.deadline));
        assert_eq!(calls.close_overdue(Instant::ZERO), None);
        assert_eq!(calls.close_overdue(quick.deadline), Some((quick.id, "quick")));
        assert_eq!(calls.close_overdue(quick.deadline), None);
        assert_eq!(calls.close(slow.id), Some("slow"));
        assert_eq!(calls.close(slow.id), None);
        assert_eq!(calls.next_deadline(), None);
    }
}
