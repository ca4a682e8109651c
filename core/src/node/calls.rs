//! Calls to other nodes, and to oneself: what is asked of whoever has a role is asked in one way, whoever has it.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{Node, decisions::Pending, sessions::Ping, startup::Phase};
use crate::{
    buggify::Site,
    effect::Effect,
    epoch::LeaderEpoch,
    ids::{CallId, LogId, NodeId, RequestId},
    message::{CallError, ErrorCode, MetadataRequest, PeerRequest, PeerResponse, Request, Response},
    quorum::Quorum,
    time::Duration,
};

/// The calls that have not ended.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next: u64,
    open: BTreeMap<CallId, Purpose>,
    /// What this node asks itself, to be handled before the input is done with.
    own: VecDeque<(CallId, PeerRequest)>,
    /// Clients' requests that other nodes have handed on: their answers go the same way back.
    handed_on: BTreeSet<RequestId>,
}

/// What a call was made for, and so who hears of its end.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A client's request that the controller decides.
    Forward(RequestId, Request),
    /// The controller creates the topics that this request names.
    AutoCreate(RequestId, MetadataRequest),
    /// This broker registers.
    Register,
    /// This broker is alive.
    Heartbeat,
    /// A block of producer ids.
    ProducerIds,
    /// Is that broker's process there?
    Ping(Ping),
    /// The metadata quorum asked this node, in the role that it had then.
    Quorum {
        /// Whom.
        to: NodeId,
        /// The role, counted.
        turn: u64,
    },
    /// Records of the partitions that the leader has and this node follows.
    Pull {
        /// Whom.
        leader: NodeId,
        /// The session that it is of.
        generation: u64,
        /// Its place in that session.
        round: u32,
    },
    /// Other in-sync replicas for these partitions, each with the epoch in which this node led it.
    AlterPartition(Vec<(LogId, LeaderEpoch)>),
}

impl Calls {
    /// Nobody waits for the answers to these any more.
    pub(super) fn give_up(&mut self, which: impl Fn(&Purpose) -> bool) {
        self.open.retain(|_, purpose| !which(purpose));
    }

    /// Nobody waits for the answer to this one any more.
    pub(super) fn give_up_call(&mut self, call: CallId) {
        self.open.remove(&call);
    }

    /// Does nobody wait for an answer?
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    /// What the quorum asked in earlier roles is of no interest any more.
    pub(super) fn forget_quorum_before(&mut self, now: u64) {
        self.open.retain(|_, purpose| !matches!(purpose, Purpose::Quorum { turn, .. } if *turn < now));
    }
}

impl Node {
    /// Asks a node, which may be this one.
    pub(super) fn call(&mut self, to: NodeId, request: PeerRequest, timeout: Duration, purpose: Purpose) -> CallId {
        let call = CallId(self.calls.next);
        self.calls.next += 1;
        self.calls.open.insert(call, purpose);
        if to == self.config.node {
            self.calls.own.push_back((call, request));
        } else {
            self.effects.push(Effect::Call { call, to, request, timeout });
        }
        call
    }

    /// Handles what this node has asked itself; false when that was nothing. An answer comes by [`Node::respond`], now or
    /// later.
    pub(super) fn serve_own_calls(&mut self) -> bool {
        let mut any = false;
        while let Some((call, request)) = self.calls.own.pop_front() {
            any = true;
            self.on_peer_request(RequestId(RequestId::OWN.0 | call.0), request);
        }
        any
    }

    pub(super) fn on_call_ended(&mut self, call: CallId, outcome: Result<PeerResponse, CallError>) {
        // What the caller has given up is not there any more.
        let Some(purpose) = self.calls.open.remove(&call) else { return };
        let outcome = self.mislay(&purpose, outcome);
        match purpose {
            Purpose::Forward(id, request) => self.on_forwarded(id, &request, outcome),
            // Whether they exist by now, and are known here, the image says.
            Purpose::AutoCreate(id, request) => self.answer_metadata(id, &request),
            Purpose::Register => self.on_register_answered(outcome),
            Purpose::Heartbeat => self.on_heartbeat_answered(outcome),
            Purpose::ProducerIds => self.on_allotment_answered(outcome),
            Purpose::Ping(ping) => self.on_ping_answered(ping, &outcome),
            Purpose::Quorum { to, turn } => self.on_quorum_answered(to, turn, outcome),
            Purpose::Pull { leader, generation, round } => self.on_pulled(leader, (generation, round), outcome),
            Purpose::AlterPartition(asked) => self.on_partitions_altered(asked, outcome),
        }
    }

    /// An answer that came is lost all the same, on purpose.
    fn mislay(
        &mut self,
        purpose: &Purpose,
        outcome: Result<PeerResponse, CallError>,
    ) -> Result<PeerResponse, CallError> {
        let lost = self.buggify.fires(Site::AnswerLost)
            || matches!(purpose, Purpose::AlterPartition(_)) && self.buggify.fires(Site::AlterPartitionLost);
        match outcome {
            Ok(_) if lost => Err(CallError::Lost),
            Ok(_) if self.buggify.fires(Site::AnswerLate) => Err(CallError::TimedOut),
            outcome => outcome,
        }
    }

    /// Takes a request to whoever decides it: this node, or the controller.
    pub(super) fn decide_or_forward(&mut self, id: RequestId, request: Request) {
        match self.metadata.leader() {
            Some(leader) if leader == self.config.node => self.enqueue(Pending::Request(id, request)),
            Some(leader) => {
                let (timeout, forward) =
                    (self.config.waits.call_timeout, PeerRequest::Forward(Box::new(request.clone())));
                self.call(leader, forward, timeout, Purpose::Forward(id, request));
            }
            None => {
                let refusal = request.refuse(ErrorCode::NotController);
                self.respond(id, refusal);
            }
        }
    }

    fn on_handed_on(&mut self, id: RequestId, request: Request) {
        self.calls.handed_on.insert(id);
        let runs = matches!(self.phase, Phase::Starting | Phase::Serving);
        if request.is_for_controller() && runs && self.metadata.leader() == Some(self.config.node) {
            return self.enqueue(Pending::Request(id, request));
        }
        let refusal = request.refuse(ErrorCode::NotController);
        self.respond(id, refusal);
    }

    fn on_forwarded(&mut self, id: RequestId, request: &Request, outcome: Result<PeerResponse, CallError>) {
        let response = match outcome {
            Ok(PeerResponse::Forward(response)) => *response,
            // Nothing was decided; the client asks again.
            Ok(_) | Err(CallError::Refused) => request.refuse(ErrorCode::NotController),
            // It may have been decided.
            Err(CallError::Lost | CallError::TimedOut) => request.refuse(ErrorCode::RequestTimedOut),
        };
        self.respond(id, response);
    }

    /// This node stops: it waits for nobody. Clients whose requests it has handed on are not told whether they are done.
    pub(super) fn give_up_calls(&mut self) {
        for (_, purpose) in core::mem::take(&mut self.calls.open) {
            match purpose {
                Purpose::Forward(id, request) => self.respond(id, request.refuse(ErrorCode::RequestTimedOut)),
                Purpose::AutoCreate(id, request) => self.answer_metadata(id, &request),
                Purpose::ProducerIds => self.refuse_producer_ids(ErrorCode::CoordinatorNotAvailable),
                Purpose::Register
                | Purpose::Heartbeat
                | Purpose::Ping(_)
                | Purpose::Quorum { .. }
                | Purpose::Pull { .. }
                | Purpose::AlterPartition(_) => {}
            }
        }
    }

    /// Answers a request, whoever asked it.
    pub(super) fn respond(&mut self, id: RequestId, response: Response) {
        let response = match self.calls.handed_on.remove(&id) {
            true => Response::Peer(PeerResponse::Forward(Box::new(response))),
            false => response,
        };
        if id < RequestId::OWN {
            return self.effects.respond(id, response);
        }
        let Response::Peer(response) = response else { panic!("a node asks itself what it asks peers") };
        self.on_call_ended(CallId(id.0 ^ RequestId::OWN.0), Ok(response));
    }

    /// Answers a peer.
    pub(super) fn respond_peer(&mut self, id: RequestId, mut response: PeerResponse) {
        if let Some(named) = response.named_leader() {
            *named.endpoint = self.leader_endpoint(named.leader);
        }
        self.respond(id, Response::Peer(response));
    }

    /// Routes what a peer asks. Peers are answered in every phase but the last ones: a quorum must form before anybody
    /// can serve.
    pub(super) fn on_peer_request(&mut self, id: RequestId, request: PeerRequest) {
        let takes_part = self.quorum().is_some_and(Quorum::has_started);
        let votes = takes_part && !matches!(self.phase, Phase::Closed | Phase::Halted);
        match request {
            PeerRequest::Vote(r) if votes => self.on_vote_request(id, &r),
            PeerRequest::BeginEpoch(r) if votes => self.on_begin_epoch(id, &r),
            PeerRequest::EndEpoch(r) if votes => self.on_end_epoch(id, &r),
            PeerRequest::Fetch(r) if votes && r.is_of_metadata() => self.on_metadata_fetch(id, &r),
            PeerRequest::FetchSnapshot(r) if votes => self.on_fetch_snapshot(id, &r),
            PeerRequest::Forward(request) => self.on_handed_on(id, *request),
            PeerRequest::Fetch(request) if !request.is_of_metadata() => self.on_replica_fetch(id, request),
            PeerRequest::Heartbeat(r) => self.on_heartbeat(id, &r),
            PeerRequest::Register(_) | PeerRequest::AlterPartition(_) | PeerRequest::AllotProducerIds(_)
                if self.controller.is_active() && matches!(self.phase, Phase::Starting | Phase::Serving) =>
            {
                self.enqueue(Pending::Peer(id, request));
            }
            PeerRequest::Ping => self.respond_peer(id, PeerResponse::Pong),
            other => {
                let refusal = other.refuse(ErrorCode::NotController);
                self.respond_peer(id, refusal);
            }
        }
    }
}
