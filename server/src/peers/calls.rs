//! The calls to one peer that have not ended.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem::{Discriminant, discriminant},
    rc::Rc,
};

use tidelog_core::{
    ids::CallId,
    message::{CallError, ErrorCode, PeerRequest, PeerResponse, Response},
    time::Instant,
};
use tokio::sync::mpsc;

use super::PeerEvent;

/// Calls that wait to be sent, and calls that wait for their answers.
#[derive(Debug)]
pub(super) struct Calls {
    unsent: VecDeque<Unsent>,
    sent: BTreeMap<CallId, Sent>,
    deadlines: BTreeSet<(Instant, CallId)>,
    events: mpsc::UnboundedSender<PeerEvent>,
    /// Counts them for whoever admits new ones.
    open: Rc<Cell<usize>>,
}

#[derive(Debug)]
struct Unsent {
    call: CallId,
    request: PeerRequest,
    deadline: Instant,
}

#[derive(Debug)]
struct Sent {
    deadline: Instant,
    kind: Kind,
}

/// What an answer must be.
#[derive(Debug, PartialEq)]
struct Kind {
    outer: Discriminant<PeerResponse>,
    /// Of what was handed on.
    inner: Option<Discriminant<Response>>,
}

impl Kind {
    fn of(response: &PeerResponse) -> Self {
        let inner = match response {
            PeerResponse::Forward(response) => Some(discriminant(&**response)),
            _ => None,
        };
        Self { outer: discriminant(response), inner }
    }

    /// The kind of the answers to this request.
    fn asked(request: &PeerRequest) -> Self {
        Self::of(&request.refuse(ErrorCode::None))
    }
}

impl Calls {
    pub(super) fn new(events: mpsc::UnboundedSender<PeerEvent>, open: Rc<Cell<usize>>) -> Self {
        Self { unsent: VecDeque::new(), sent: BTreeMap::new(), deadlines: BTreeSet::new(), events, open }
    }

    /// Is there none?
    pub(super) fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// A call that waits to be sent.
    pub(super) fn add(&mut self, call: CallId, request: PeerRequest, deadline: Instant) {
        self.deadlines.insert((deadline, call));
        self.unsent.push_back(Unsent { call, request, deadline });
    }

    /// When the next call times out.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// The next call to send; it waits for its answer from now on.
    pub(super) fn send(&mut self) -> Option<(CallId, PeerRequest)> {
        let Unsent { call, request, deadline } = self.unsent.pop_front()?;
        self.sent.insert(call, Sent { deadline, kind: Kind::asked(&request) });
        Some((call, request))
    }

    /// An answer came; to a call that has ended already it is dropped. False when it is none to what was asked.
    pub(super) fn answered(&mut self, call: CallId, response: PeerResponse) -> bool {
        match self.sent.get(&call) {
            None => true,
            Some(sent) if sent.kind != Kind::of(&response) => false,
            Some(sent) => {
                let deadline = sent.deadline;
                self.sent.remove(&call);
                self.end(deadline, call, Ok(response));
                true
            }
        }
    }

    /// A call that was sent ends without an answer.
    pub(super) fn fail(&mut self, call: CallId, error: CallError) {
        if let Some(Sent { deadline, .. }) = self.sent.remove(&call) {
            self.end(deadline, call, Err(error));
        }
    }

    /// Ends the calls whose time is over. True when one of them had been sent: its peer owes an answer.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut was_sent = false;
        while let Some(&(deadline, call)) = self.deadlines.first()
            && deadline <= now
        {
            if self.sent.remove(&call).is_some() {
                was_sent = true;
            } else {
                self.unsent.retain(|unsent| unsent.call != call);
            }
            self.end(deadline, call, Err(CallError::TimedOut));
        }
        was_sent
    }

    /// The connection broke: what waited on it is lost.
    pub(super) fn lose_sent(&mut self) {
        for (call, Sent { deadline, .. }) in std::mem::take(&mut self.sent) {
            self.end(deadline, call, Err(CallError::Lost));
        }
    }

    /// There is no way to the peer: what waited for one ends.
    pub(super) fn fail_unsent(&mut self, error: CallError) {
        for Unsent { call, deadline, .. } in std::mem::take(&mut self.unsent) {
            self.end(deadline, call, Err(error));
        }
    }

    fn end(&mut self, deadline: Instant, call: CallId, outcome: Result<PeerResponse, CallError>) {
        assert!(self.deadlines.remove(&(deadline, call)), "a call ends once");
        self.open.set(self.open.get() - 1);
        // An error means that the driver has ended, and nobody waits.
        let _ = self.events.send(PeerEvent::CallEnded { call, outcome });
    }
}
