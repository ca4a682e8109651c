//! What the controller is asked, in order: one decision at a time, each on the image with the one before applied.
//!
//! ```text
//! asked -> pending -> decided -> committed by the quorum, applied -> answered
//!             ^                                  |
//!             +---- a decision in rounds --------+
//! ```

use alloc::vec::Vec;

use super::{Node, startup::Phase};
use crate::{
    cluster::{self, Decision, MetadataRecord, Registrar, Round},
    ids::{BrokerEpoch, LogId, NodeId, RequestId},
    message::{
        AllotProducerIdsResponse, CreateTopicsRequest, ErrorCode, HeartbeatResponse, MetadataRequest, NewTopic,
        PeerRequest, PeerResponse, Request, Response, TopicRef,
    },
    time::Duration,
};

/// Answers that wait for more than the commit.
#[derive(Debug)]
pub(super) struct Decisions {
    /// The first log that what is being committed can open here.
    opens_from: LogId,
    /// What was created is told once its logs here are open.
    unopened: Vec<(LogId, LogId, Reply)>,
}

impl Default for Decisions {
    fn default() -> Self {
        Self { opens_from: LogId::METADATA, unopened: Vec::new() }
    }
}

/// A decision that is to be taken once those before it are committed.
#[derive(Debug)]
pub(super) enum Pending {
    /// A client's request.
    Request(RequestId, Request),
    /// Topics that a metadata request names and that do not exist.
    AutoCreate(RequestId, MetadataRequest),
    /// A broker's request.
    Peer(RequestId, PeerRequest),
    /// A broker wants to stop.
    Leave(RequestId, NodeId, BrokerEpoch),
    /// A broker's session is over.
    Fence(NodeId, BrokerEpoch),
    /// A broker has caught up.
    Unfence(NodeId, BrokerEpoch),
    /// What the controller before may have left undone.
    Tend,
    /// Preferred leaders get the lead back.
    Balance,
}

/// What follows once a decision is committed and applied.
#[derive(Debug)]
pub(super) enum Reply {
    /// The first record of this node's epoch: it is the controller.
    LeaderElected,
    Response(RequestId, Request, Response),
    AutoCreated(RequestId, MetadataRequest),
    Peer(RequestId, PeerRequest, PeerResponse),
    /// The next round of the same.
    Again(Pending),
    Nothing,
}

impl Node {
    /// Asks the controller that this node is, or is about to be.
    pub(super) fn enqueue(&mut self, pending: Pending) {
        if self.metadata.leader() != Some(self.config.node) {
            return self.refuse_pending(pending);
        }
        self.pending.push_back(pending);
        self.decide_next();
    }

    /// Takes decisions until one has something to commit.
    pub(super) fn decide_next(&mut self) {
        while matches!(self.phase, Phase::Starting | Phase::Serving)
            && self.metadata.is_controller()
            && !self.metadata.is_committing()
            && let Some(pending) = self.pending.pop_front()
        {
            self.decisions.opens_from = LogId(self.next_log);
            let (records, reply) = match pending {
                Pending::Request(id, request @ (Request::AddVoter(_) | Request::RemoveVoter(_))) => {
                    self.change_voters(id, request);
                    continue;
                }
                pending => self.decide(pending),
            };
            if records.is_empty() {
                self.give_reply(reply, ErrorCode::None);
            } else {
                self.append_decision(records, reply);
            }
        }
    }

    fn decide(&mut self, pending: Pending) -> (Vec<MetadataRecord>, Reply) {
        let (image, controller) = (&self.image, &mut self.controller);
        match pending {
            Pending::Request(id, request) => self.decide_request(id, request),
            Pending::AutoCreate(id, request) => {
                let Decision { records, .. } = controller.create_topics(image, &missing(image, &request));
                (records, Reply::AutoCreated(id, request))
            }
            Pending::Peer(id, request) => self.decide_peer(id, request),
            Pending::Leave(id, node, epoch) => in_rounds(controller.leave(image, node, epoch), pending, |(), _| {
                // Who has nobody to hand over to may go just so.
                let response = HeartbeatResponse { error: ErrorCode::None, is_fenced: false, may_stop: true };
                Reply::Peer(id, PeerRequest::Ping, PeerResponse::Heartbeat(response))
            }),
            Pending::Fence(node, epoch) => in_rounds(controller.fence(image, node, epoch), pending, nothing),
            Pending::Unfence(node, epoch) => in_rounds(controller.unfence(image, node, epoch), pending, nothing),
            Pending::Tend => in_rounds(controller.tend(image), pending, nothing),
            Pending::Balance => in_rounds(controller.balance(image), pending, nothing),
        }
    }

    fn decide_request(&mut self, id: RequestId, request: Request) -> (Vec<MetadataRecord>, Reply) {
        let (image, controller) = (&self.image, &mut self.controller);
        let (records, response) = match &request {
            Request::CreateTopics(r) => {
                let d = controller.create_topics(image, r);
                (d.records, Response::CreateTopics(d.response))
            }
            Request::DeleteTopics(r) => {
                let d = controller.delete_topics(image, r);
                (d.records, Response::DeleteTopics(d.response))
            }
            Request::CreatePartitions(r) => {
                let d = controller.create_partitions(image, r);
                (d.records, Response::CreatePartitions(d.response))
            }
            Request::AlterConfigs(r) => {
                let d = controller.alter_configs(image, r);
                (d.records, Response::AlterConfigs(d.response))
            }
            Request::ElectLeaders(r) => {
                let d = controller.elect_leaders(image, r);
                (d.records, Response::ElectLeaders(d.response))
            }
            Request::AlterPartitionReassignments(r) => {
                let d = controller.alter_reassignments(image, r);
                (d.records, Response::AlterPartitionReassignments(d.response))
            }
            Request::ListPartitionReassignments(r) => {
                (Vec::new(), Response::ListPartitionReassignments(controller.list_reassignments(image, r)))
            }
            Request::DescribeQuorum => (Vec::new(), Response::DescribeQuorum(self.describe_quorum())),
            Request::UnregisterBroker(r) => {
                let round = controller.unregister(image, r);
                return in_rounds(round, Pending::Request(id, request), |response, pending| match pending {
                    Pending::Request(id, request) => Reply::Response(id, request, Response::UnregisterBroker(response)),
                    _ => unreachable!("it was one"),
                });
            }
            other => unreachable!("{other:?} needs no decision"),
        };
        (records, Reply::Response(id, request, response))
    }

    fn decide_peer(&mut self, id: RequestId, request: PeerRequest) -> (Vec<MetadataRecord>, Reply) {
        let next = BrokerEpoch(self.metadata.log_end().0);
        let (image, controller) = (&self.image, &mut self.controller);
        let (records, response) = match &request {
            PeerRequest::Register(r) => {
                let in_session = self.sessions.is_open(r.node, self.now.mono);
                let registrar = Registrar { next, own: r.node == self.config.node, in_session };
                let round = controller.register(image, r, registrar);
                return in_rounds(round, Pending::Peer(id, request), |response, pending| match pending {
                    Pending::Peer(id, request) => Reply::Peer(id, request, PeerResponse::Register(response)),
                    _ => unreachable!("it was one"),
                });
            }
            PeerRequest::AlterPartition(r) => {
                let d = controller.alter_partitions(image, r);
                (d.records, PeerResponse::AlterPartition(d.response))
            }
            PeerRequest::AllotProducerIds(r) if image.broker(r.node).is_some_and(|b| b.epoch == r.epoch) => {
                let d = controller.allot_producer_ids(image);
                let response = AllotProducerIdsResponse { error: ErrorCode::None, first: d.response };
                (d.records, PeerResponse::AllotProducerIds(response))
            }
            other => (Vec::new(), other.refuse(ErrorCode::StaleBrokerEpoch)),
        };
        (records, Reply::Peer(id, request, response))
    }

    /// Says what has become of a decision: it is committed and applied, or there is an error.
    pub(super) fn give_reply(&mut self, reply: Reply, error: ErrorCode) {
        match reply {
            Reply::LeaderElected if error.is_none() => self.on_became_controller(),
            Reply::LeaderElected | Reply::Nothing => {}
            Reply::Again(pending) if error.is_none() => self.pending.push_front(pending),
            Reply::Again(pending) => self.refuse_pending(pending),
            Reply::Peer(id, _, response) if error.is_none() => self.respond_peer(id, response),
            Reply::Peer(id, request, _) => self.respond_peer(id, request.refuse(error)),
            Reply::Response(id, request, _) if !error.is_none() => self.respond(id, request.refuse(error)),
            reply @ (Reply::Response(..) | Reply::AutoCreated(..)) => {
                self.decisions.unopened.push((self.decisions.opens_from, LogId(self.next_log), reply));
                self.answer_opened();
            }
        }
    }

    /// Tells of what was created and is open by now.
    pub(super) fn answer_opened(&mut self) {
        let opening = &self.opening;
        let ready = |(from, to, _): &mut (LogId, LogId, Reply)| opening.range(*from..*to).next().is_none();
        let ready: Vec<_> = self.decisions.unopened.extract_if(.., ready).collect();
        ready.into_iter().for_each(|(_, _, reply)| self.answer_committed(reply));
    }

    /// The node stops: what is committed is told, open here or not.
    pub(super) fn answer_unopened(&mut self) {
        let unopened = core::mem::take(&mut self.decisions.unopened);
        unopened.into_iter().for_each(|(_, _, reply)| self.answer_committed(reply));
    }

    fn answer_committed(&mut self, reply: Reply) {
        match reply {
            Reply::Response(id, _, response) => self.respond(id, response),
            Reply::AutoCreated(id, request) => self.answer_metadata(id, &request),
            other => unreachable!("{other:?} waits for nothing"),
        }
    }

    /// A decision that is not going to be taken here.
    pub(super) fn refuse_pending(&mut self, pending: Pending) {
        match pending {
            Pending::Request(id, request) => self.respond(id, request.refuse(ErrorCode::NotController)),
            Pending::AutoCreate(id, request) => self.answer_metadata(id, &request),
            Pending::Peer(id, request) => self.respond_peer(id, request.refuse(ErrorCode::NotController)),
            Pending::Leave(id, ..) => {
                let error = ErrorCode::NotController;
                let response = HeartbeatResponse { error, is_fenced: false, may_stop: false };
                self.respond_peer(id, PeerResponse::Heartbeat(response));
            }
            Pending::Fence(..) | Pending::Unfence(..) | Pending::Tend | Pending::Balance => {}
        }
    }
}

fn nothing((): (), _: Pending) -> Reply {
    Reply::Nothing
}

/// A decision in rounds: what follows the last, or the next round.
fn in_rounds<R>(
    round: Round<R>,
    pending: Pending,
    last: impl FnOnce(R, Pending) -> Reply,
) -> (Vec<MetadataRecord>, Reply) {
    let Decision { records, response } = round;
    match response {
        Some(response) => (records, last(response, pending)),
        None => {
            assert!(!records.is_empty(), "every round gets on");
            (records, Reply::Again(pending))
        }
    }
}

/// The topics that a metadata request names and that do not exist.
pub(super) fn missing(image: &cluster::Image, request: &MetadataRequest) -> CreateTopicsRequest {
    let names = request.topics.iter().flatten().filter_map(|topic| match topic {
        TopicRef::Name(name) if image.topic_named(name).is_none() => Some(name.clone()),
        _ => None,
    });
    let new = |name| NewTopic {
        name,
        partitions: None,
        replication_factor: None,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    CreateTopicsRequest { topics: names.map(new).collect(), validate_only: false, timeout: Duration::ZERO }
}
