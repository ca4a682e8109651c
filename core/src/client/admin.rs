//! The administrator: one request of any kind at a time or many, each carried through to an answer or its deadline.
//!
//! Most requests go to any node, which knows what to do with them, or to the one that a node names as the controller.
//! Those about partitions (offsets, deleted records, epochs) are divided among the partitions' leaders, and what
//! comes back is put together in the order of the question; partitions whose leader moved are asked again.
//!
//! A change that is repeated because its answer was lost may find itself done: "exists already", "no such topic".
//! The outcome says so ([`AdminEvent::repeated`]), what it means is the caller's to judge.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use super::{
    backoff::BackoffConfig,
    call::{CallId, Calls, Machine, Order, Reply, Target},
    metadata::{Metadata, MetadataConfig},
    timers::Timers,
};
use crate::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, TopicName},
    message::{
        DeleteRecordsRequest, DeleteRecordsResponse, DeletedRecords, EpochEnd, ErrorCode, ListOffsetsRequest,
        ListOffsetsResponse, ListedOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, Request,
        Response, TopicRef,
    },
    offset::Offset,
    prng::Prng,
    time::{Duration, Instant, Timestamp},
};

/// How an administrator works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// When one request is given up (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// When the whole operation, with its retries, has failed (`default.api.timeout.ms`).
    pub operation_timeout: Duration,
    /// Wait between attempts.
    pub backoff: BackoffConfig,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
            backoff: BackoffConfig::default(),
        }
    }
}

/// One operation of one administrator. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// What an administrator tells the application: an operation is over.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminEvent {
    /// Which.
    pub operation: OperationId,
    /// The answer, of the kind that belongs to the request; errors of single topics or partitions are in it.
    pub outcome: Result<Response, AdminError>,
    /// Was the request sent again after an attempt whose answer was lost?
    pub repeated: bool,
}

/// Why an operation failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// A node would not carry it out.
    #[error("the request was refused: {0}")]
    Refused(ErrorCode),
    /// No answer came before the operation's deadline.
    #[error("no node answered in time")]
    TimedOut {
        /// Can it have been carried out all the same?
        may_have_applied: bool,
    },
    /// What came back was no answer to the request.
    #[error("the node's answer does not belong to the request")]
    WrongAnswer,
}

impl AdminError {
    /// Can the same succeed later?
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused(code) => code.is_retriable(),
            Self::TimedOut { .. } => true,
            Self::WrongAnswer => false,
        }
    }

    /// Can it have been carried out all the same?
    pub fn may_have_applied(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::TimedOut { may_have_applied } => *may_have_applied,
            Self::WrongAnswer => true,
        }
    }
}

/// The administrator machine.
#[derive(Debug)]
pub struct Admin {
    config: AdminConfig,
    prng: Prng,
    metadata: Metadata,
    operations: BTreeMap<OperationId, Operation>,
    started: u64,
    controller: Option<NodeId>,
    calls: Calls<Purpose>,
    timers: Timers<Timer>,
    orders: VecDeque<Order<AdminEvent>>,
}

#[derive(Debug)]
struct Operation {
    request: Request,
    /// The node to ask, where the caller named one.
    node: Option<NodeId>,
    failures: u32,
    /// The answer of an attempt was lost.
    lost: bool,
    repeated: bool,
    /// What each partition's leader said, for a request that is divided among them.
    parts: Option<Vec<Option<Part>>>,
    /// Parts that a call on its way asks for.
    asked: BTreeSet<usize>,
    resting: bool,
}

/// One partition's share of an answer.
#[derive(Clone, Debug)]
enum Part {
    Listed(ListedOffset),
    Deleted(DeletedRecords),
    Epoch(EpochEnd),
}

#[derive(Debug)]
enum Purpose {
    Metadata,
    Whole(OperationId),
    Parts(OperationId, Vec<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The wait after a failure is over.
    Rest(OperationId),
    /// The operation has taken too long.
    Deadline(OperationId),
}

impl Admin {
    /// An administrator with nothing to do. The seed spreads retries.
    pub fn new(config: AdminConfig, seed: u64) -> Self {
        let metadata =
            MetadataConfig { allow_auto_topic_creation: false, backoff: config.backoff, ..MetadataConfig::default() };
        Self {
            config,
            prng: Prng::new(seed),
            metadata: Metadata::new(metadata),
            operations: BTreeMap::new(),
            started: 0,
            controller: None,
            calls: Calls::new(),
            timers: Timers::new(),
            orders: VecDeque::new(),
        }
    }

    /// Begins an operation. Requests about partitions must name their topics; to others `node` can give a node to
    /// ask, as [`Request::DescribeLogDirs`] needs one.
    pub fn start(&mut self, now: Instant, request: Request, node: Option<NodeId>) -> OperationId {
        let id = OperationId(self.started);
        self.started += 1;
        self.timers.set(Timer::Deadline(id), now.after(self.config.operation_timeout));
        let divided = if node.is_none() { places(&request) } else { None };
        let parts = divided.map(|places| {
            for (topic, _) in places.iter().flatten() {
                self.metadata.want(now, topic);
            }
            // A topic named by its id cannot be looked up here.
            let part = |(at, place): (usize, &Option<_>)| {
                if place.is_none() { refused_part(&request, at, ErrorCode::InvalidRequest) } else { None }
            };
            places.iter().enumerate().map(part).collect()
        });
        let operation = Operation {
            request,
            node,
            failures: 0,
            lost: false,
            repeated: false,
            parts,
            asked: BTreeSet::new(),
            resting: false,
        };
        self.operations.insert(id, operation);
        self.drive(now, id);
        self.poll_metadata(now);
        id
    }

    /// Has every operation ended?
    pub fn is_idle(&self) -> bool {
        self.operations.is_empty()
    }

    fn poll_metadata(&mut self, now: Instant) {
        if let Some(request) = self.metadata.poll_request(now) {
            let request = Request::Metadata(request);
            let call = self.calls.open(now, self.config.request_timeout, Target::Any, request, Purpose::Metadata);
            self.orders.push_back(Order::Call(call));
        }
    }

    /// Sends what an operation can send now.
    fn drive(&mut self, now: Instant, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        if operation.resting {
            return;
        }
        let timeout = self.config.request_timeout;
        let Some(parts) = &operation.parts else {
            if operation.asked.insert(0) {
                operation.repeated |= operation.lost;
                let to = operation.node.or(self.controller).map_or(Target::Any, Target::Node);
                let request = operation.request.clone();
                self.orders.push_back(Order::Call(self.calls.open(now, timeout, to, request, Purpose::Whole(id))));
            }
            return;
        };
        if parts.iter().all(Option::is_some) {
            let answer = join(parts.iter().flatten().cloned().collect());
            return self.end(id, Ok(answer));
        }
        let places = places(&operation.request).expect("a divided request has places");
        let mut by_leader: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (at, place) in places.iter().enumerate() {
            if let (Some((topic, partition)), None) = (place, &parts[at])
                && !operation.asked.contains(&at)
                && let Some(leader) = self.metadata.leader(topic, *partition)
                && let Some(node) = leader.node
            {
                by_leader.entry(node).or_default().push(at);
            }
        }
        for (node, ats) in by_leader {
            operation.asked.extend(ats.iter().copied());
            operation.repeated |= operation.lost;
            let request = subset(&operation.request, &ats, |at| {
                let (topic, partition) = places[at].as_ref()?;
                self.metadata.leader(topic, *partition).map(|l| l.epoch)
            });
            let purpose = Purpose::Parts(id, ats);
            self.orders.push_back(Order::Call(self.calls.open(now, timeout, Target::Node(node), request, purpose)));
        }
    }

    fn end(&mut self, id: OperationId, outcome: Result<Response, AdminError>) {
        let Some(ended) = self.operations.remove(&id) else { return };
        self.timers.clear(Timer::Rest(id));
        self.timers.clear(Timer::Deadline(id));
        for (topic, _) in places(&ended.request).into_iter().flatten().flatten() {
            let wanted = |o: &Operation| places(&o.request).into_iter().flatten().flatten().any(|(t, _)| t == topic);
            if !self.operations.values().any(wanted) {
                self.metadata.forget(&topic);
            }
        }
        self.orders.push_back(Order::Event(AdminEvent { operation: id, outcome, repeated: ended.repeated }));
    }

    fn rest(&mut self, now: Instant, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        if !operation.resting {
            operation.resting = true;
            operation.failures = operation.failures.saturating_add(1);
            let wait = self.config.backoff.after(operation.failures, &mut self.prng);
            self.timers.set(Timer::Rest(id), now.after(wait));
        }
    }

    fn on_metadata_reply(&mut self, now: Instant, reply: Reply) {
        let Reply::Answered(Response::Metadata(response)) = reply else {
            self.metadata.on_failure(now, &mut self.prng);
            return;
        };
        let controller = response.controller;
        self.metadata.on_response(now, response, &mut self.prng);
        if self.controller.is_some() {
            self.controller = Some(controller);
        }
        let ids: Vec<OperationId> = self.operations.keys().copied().collect();
        for id in ids {
            self.refuse_unknown(now, id);
            self.drive(now, id);
        }
    }

    /// Partitions that the metadata knows not to be there get their answer.
    fn refuse_unknown(&mut self, now: Instant, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let (Some(parts), Some(places)) = (&mut operation.parts, places(&operation.request)) else { return };
        let mut missing = false;
        for (at, place) in places.iter().enumerate() {
            let (Some((topic, partition)), None) = (place, &parts[at]) else { continue };
            let Some(known) = self.metadata.topic(topic) else { continue };
            let error = if known.is_known() && self.metadata.leader(topic, *partition).is_none() {
                ErrorCode::UnknownTopicOrPartition
            } else {
                known.error
            };
            if error.is_none() {
                continue;
            }
            // A broker that lags may not know it yet, so it gets a few tries.
            if !error.is_retriable() || operation.failures >= UNKNOWN_ANSWERS_MAX {
                parts[at] = refused_part(&operation.request, at, error);
            } else {
                missing = true;
            }
        }
        if missing {
            self.rest(now, id);
        }
    }

    fn on_whole_reply(&mut self, now: Instant, id: OperationId, reply: Reply) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        operation.asked.clear();
        match reply {
            Reply::Answered(response) if !belongs(&operation.request, &response) => {
                self.end(id, Err(AdminError::WrongAnswer));
            }
            Reply::Answered(response) => match retry_because(&response) {
                Some(code) => {
                    if code == ErrorCode::NotController && operation.node.is_none() {
                        // Whoever is asked names the controller.
                        self.find_controller(now);
                    }
                    self.rest(now, id);
                }
                None => self.end(id, Ok(response)),
            },
            Reply::Refused(code) if !code.is_retriable() => self.end(id, Err(AdminError::Refused(code))),
            Reply::Refused(_) | Reply::NotSent => self.retry_elsewhere(now, id),
            Reply::Sent | Reply::Lost => {
                operation.lost = true;
                self.retry_elsewhere(now, id);
            }
        }
    }

    fn retry_elsewhere(&mut self, now: Instant, id: OperationId) {
        self.controller = None;
        self.rest(now, id);
    }

    fn find_controller(&mut self, now: Instant) {
        self.controller = self.metadata.controller();
        self.metadata.request_refresh(now, &mut self.prng);
    }

    fn on_parts_reply(&mut self, now: Instant, id: OperationId, asked: &[usize], reply: Reply) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        for at in asked {
            operation.asked.remove(at);
        }
        let mut again = false;
        match reply {
            Reply::Answered(response) => {
                let answers = split(response);
                if answers.len() != asked.len() {
                    return self.end(id, Err(AdminError::WrongAnswer));
                }
                let parts = operation.parts.as_mut().expect("it was divided");
                for (&at, (error, part)) in asked.iter().zip(answers) {
                    if error.is_retriable() {
                        again = true;
                    } else {
                        parts[at] = Some(part);
                    }
                }
            }
            Reply::Refused(code) if !code.is_retriable() => return self.end(id, Err(AdminError::Refused(code))),
            Reply::Refused(_) | Reply::NotSent => again = true,
            Reply::Sent | Reply::Lost => {
                operation.lost = true;
                again = true;
            }
        }
        if again {
            self.metadata.request_refresh(now, &mut self.prng);
            self.rest(now, id);
        }
        self.drive(now, id);
    }

    fn on_ended(&mut self, now: Instant, purpose: Purpose, reply: Reply) {
        match purpose {
            Purpose::Metadata => self.on_metadata_reply(now, reply),
            Purpose::Whole(id) => self.on_whole_reply(now, id, reply),
            Purpose::Parts(id, asked) => self.on_parts_reply(now, id, &asked, reply),
        }
    }
}

impl Machine for Admin {
    type Event = AdminEvent;

    fn on_reply(&mut self, now: Instant, call: CallId, reply: Reply) {
        if let Some(purpose) = self.calls.close(call) {
            self.on_ended(now, purpose, reply);
            self.poll_metadata(now);
        }
    }

    fn on_time(&mut self, now: Instant) {
        while let Some((id, purpose)) = self.calls.close_overdue(now) {
            self.orders.push_back(Order::Abandon(id));
            self.on_ended(now, purpose, Reply::Lost);
        }
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Rest(id) => {
                    if let Some(operation) = self.operations.get_mut(&id) {
                        operation.resting = false;
                        if operation.parts.is_some() {
                            self.metadata.request_refresh(now, &mut self.prng);
                        }
                    }
                    self.drive(now, id);
                }
                Timer::Deadline(id) => {
                    if let Some(operation) = self.operations.get(&id) {
                        let sent = operation.lost || !operation.asked.is_empty();
                        let may_have_applied = sent && changes_something(&operation.request);
                        self.end(id, Err(AdminError::TimedOut { may_have_applied }));
                    }
                }
            }
        }
        self.poll_metadata(now);
    }

    fn poll_order(&mut self) -> Option<Order<AdminEvent>> {
        self.orders.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.calls.next_deadline(), self.timers.next_deadline(), self.metadata.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Tries after which "no such topic" is believed.
const UNKNOWN_ANSWERS_MAX: u32 = 3;

/// A partition that a request names; `None` where it names the topic by its id.
type Place = Option<(TopicName, PartitionId)>;

/// The partitions of a request that goes to their leaders; `None` for any other.
fn places(request: &Request) -> Option<Vec<Place>> {
    let place = |topic: &TopicRef, partition: PartitionId| match topic {
        TopicRef::Name(name) => Some((name.clone(), partition)),
        TopicRef::Id(_) => None,
    };
    Some(match request {
        Request::ListOffsets(r) => r.partitions.iter().map(|p| place(&p.topic, p.partition)).collect(),
        Request::DeleteRecords(r) => r.partitions.iter().map(|p| place(&p.topic, p.partition)).collect(),
        Request::OffsetForLeaderEpoch(r) => r.partitions.iter().map(|p| place(&p.topic, p.partition)).collect(),
        _ => return None,
    })
}

/// The same request for some of its partitions, with the leaders' epochs as far as they are known.
fn subset(request: &Request, ats: &[usize], epoch: impl Fn(usize) -> Option<LeaderEpoch>) -> Request {
    let epoch = |at| epoch(at).unwrap_or(LeaderEpoch::NONE);
    match request {
        Request::ListOffsets(r) => {
            let partitions = ats.iter().map(|&at| {
                let mut partition = r.partitions[at].clone();
                partition.current_leader_epoch = epoch(at);
                partition
            });
            Request::ListOffsets(ListOffsetsRequest { isolation: r.isolation, partitions: partitions.collect() })
        }
        Request::DeleteRecords(r) => Request::DeleteRecords(DeleteRecordsRequest {
            timeout: r.timeout,
            partitions: ats.iter().map(|&at| r.partitions[at].clone()).collect(),
        }),
        Request::OffsetForLeaderEpoch(r) => {
            let partitions = ats.iter().map(|&at| {
                let mut partition = r.partitions[at].clone();
                partition.current_leader_epoch = epoch(at);
                partition
            });
            Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest { partitions: partitions.collect() })
        }
        _ => unreachable!("only requests with places are divided"),
    }
}

/// The answer for a partition that nobody was asked about.
fn refused_part(request: &Request, at: usize, error: ErrorCode) -> Option<Part> {
    Some(match request {
        Request::ListOffsets(r) => Part::Listed(ListedOffset {
            topic: r.partitions[at].topic.clone(),
            partition: r.partitions[at].partition,
            error,
            offset: Offset::NONE,
            timestamp: Timestamp::NONE,
            leader_epoch: LeaderEpoch::NONE,
        }),
        Request::DeleteRecords(r) => Part::Deleted(DeletedRecords {
            topic: r.partitions[at].topic.clone(),
            partition: r.partitions[at].partition,
            error,
            low_watermark: Offset::NONE,
        }),
        Request::OffsetForLeaderEpoch(r) => Part::Epoch(EpochEnd {
            topic: r.partitions[at].topic.clone(),
            partition: r.partitions[at].partition,
            error,
            leader_epoch: LeaderEpoch::NONE,
            end_offset: Offset::NONE,
        }),
        _ => return None,
    })
}

fn split(response: Response) -> Vec<(ErrorCode, Part)> {
    match response {
        Response::ListOffsets(r) => r.partitions.into_iter().map(|p| (p.error, Part::Listed(p))).collect(),
        Response::DeleteRecords(r) => r.partitions.into_iter().map(|p| (p.error, Part::Deleted(p))).collect(),
        Response::OffsetForLeaderEpoch(r) => r.partitions.into_iter().map(|p| (p.error, Part::Epoch(p))).collect(),
        _ => Vec::new(),
    }
}

/// The parts of one kind as a response of that kind.
fn join(parts: Vec<Part>) -> Response {
    let (mut listed, mut deleted, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Listed(part) => listed.push(part),
            Part::Deleted(part) => deleted.push(part),
            Part::Epoch(part) => epochs.push(part),
        }
    }
    if !deleted.is_empty() {
        Response::DeleteRecords(DeleteRecordsResponse { partitions: deleted })
    } else if !epochs.is_empty() {
        Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { partitions: epochs })
    } else {
        Response::ListOffsets(ListOffsetsResponse { partitions: listed })
    }
}

fn changes_something(request: &Request) -> bool {
    matches!(
        request,
        Request::DeleteRecords(_)
            | Request::CreateTopics(_)
            | Request::DeleteTopics(_)
            | Request::CreatePartitions(_)
            | Request::AlterConfigs(_)
            | Request::ElectLeaders(_)
            | Request::AlterPartitionReassignments(_)
            | Request::UnregisterBroker(_)
            | Request::AddVoter(_)
            | Request::RemoveVoter(_)
    )
}

/// The error to try again for: one that a retry can cure and that every part of the answer has. Where some parts are
/// done and others are not, the caller gets the answer as it is.
fn retry_because(response: &Response) -> Option<ErrorCode> {
    fn common(mut errors: impl Iterator<Item = ErrorCode>) -> Option<ErrorCode> {
        let first = errors.next()?;
        (TRANSIENT.contains(&first) && errors.all(|e| TRANSIENT.contains(&e))).then_some(first)
    }
    match response {
        Response::CreateTopics(r) => common(r.topics.iter().map(|t| t.error)),
        Response::DeleteTopics(r) => common(r.topics.iter().map(|t| t.error)),
        Response::CreatePartitions(r) => common(r.topics.iter().map(|t| t.error)),
        Response::DescribeConfigs(r) => common(r.resources.iter().map(|t| t.error)),
        Response::AlterConfigs(r) => common(r.resources.iter().map(|t| t.error)),
        Response::InitProducerId(r) => common([r.error].into_iter()),
        Response::ElectLeaders(r) => common([r.error].into_iter()),
        Response::AlterPartitionReassignments(r) => common([r.error].into_iter()),
        Response::ListPartitionReassignments(r) => common([r.error].into_iter()),
        Response::UnregisterBroker(r) => common([r.error].into_iter()),
        Response::DescribeQuorum(r) => common([r.error].into_iter()),
        Response::AddVoter(r) | Response::RemoveVoter(r) => common([r.error].into_iter()),
        _ => None,
    }
}

/// Errors that pass by themselves. "No such topic" is retriable to a producer, to an administrator it is the answer.
const TRANSIENT: [ErrorCode; 5] = [
    ErrorCode::NotController,
    ErrorCode::CoordinatorNotAvailable,
    ErrorCode::LeaderNotAvailable,
    ErrorCode::NetworkException,
    ErrorCode::ThrottlingQuotaExceeded,
];

fn belongs(request: &Request, response: &Response) -> bool {
    matches!(
        (request, response),
        (Request::Produce(_), Response::Produce(_))
            | (Request::Fetch(_), Response::Fetch(_))
            | (Request::ListOffsets(_), Response::ListOffsets(_))
            | (Request::OffsetForLeaderEpoch(_), Response::OffsetForLeaderEpoch(_))
            | (Request::DeleteRecords(_), Response::DeleteRecords(_))
            | (Request::InitProducerId(_), Response::InitProducerId(_))
            | (Request::Metadata(_), Response::Metadata(_))
            | (Request::DescribeCluster, Response::DescribeCluster(_))
            | (Request::DescribeTopicPartitions(_), Response::DescribeTopicPartitions(_))
            | (Request::DescribeLogDirs(_), Response::DescribeLogDirs(_))
            | (Request::CreateTopics(_), Response::CreateTopics(_))
            | (Request::DeleteTopics(_), Response::DeleteTopics(_))
            | (Request::CreatePartitions(_), Response::CreatePartitions(_))
            | (Request::DescribeConfigs(_), Response::DescribeConfigs(_))
            | (Request::AlterConfigs(_), Response::AlterConfigs(_))
            | (Request::ElectLeaders(_), Response::ElectLeaders(_))
            | (Request::AlterPartitionReassignments(_), Response::AlterPartitionReassignments(_))
            | (Request::ListPartitionReassignments(_), Response::ListPartitionReassignments(_))
            | (Request::UnregisterBroker(_), Response::UnregisterBroker(_))
            | (Request::DescribeQuorum, Response::DescribeQuorum(_))
            | (Request::AddVoter(_), Response::AddVoter(_))
            | (Request::RemoveVoter(_), Response::RemoveVoter(_))
    )
}

#[cfg(test)]
mod tests;
