//! The producer: records in, batches out, each acknowledged or failed exactly once.
//!
//! [`Producer::append`] copies a record into its partition's open batch and allocates nothing. A batch leaves when it
//! is full or has lingered; a request carries one batch of each partition that a node leads. What comes back is
//! reported batch by batch: the application knows its records by (batch, index), see [`Appended`] and [`Delivery`].
//!
//! With idempotence (the default) a batch that is sent twice is appended once, and in order; `sequences` and
//! `accumulator` say how. Memory is bounded: past `buffer_bytes` [`AppendError::Full`] asks the caller to wait for
//! [`ProducerEvent::Wake`].

mod config;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

pub use self::config::ProducerConfig;
use super::{
    accumulator::{PartitionQueue, Pending},
    call::{Call, CallId, Calls, Machine, Order, Reply, Target},
    metadata::Metadata,
    partitioner::{Sticky, partition_for_key},
    producer_error::{ProduceError, ProduceErrorKind},
    sequences::Identity,
    timers::Timers,
};
use crate::{
    ids::{NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName},
    limits,
    message::{
        Acks, ErrorCode, InitProducerIdRequest, ProducePartition, ProduceRequest, ProducedPartition, Request, Response,
        TopicRef,
    },
    offset::Offset,
    prng::Prng,
    record::BatchBuilder,
    time::{Duration, Instant, Timestamp},
};

/// A topic that a producer has been told of; of use with that producer only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicHandle(u32);

/// A record to append, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// Its time.
    pub timestamp: Timestamp,
    /// The partition, where it is not the partitioner's to choose.
    pub partition: Option<PartitionId>,
}

/// Where an appended record went: its delivery is reported with its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The batch. Numbers rise and are never used twice.
    pub batch: u64,
    /// The record's place in it: its offset less the batch's base offset.
    pub index: u32,
    /// Are there orders now? While batches fill there are none, and a driver may save itself the look.
    pub leaves: bool,
}

/// Why a record was not appended. Nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The producer's memory is used up: wait for [`ProducerEvent::Wake`] and append again.
    #[error("the producer's buffer is full")]
    Full,
    /// The topic is not known yet: wait for [`ProducerEvent::Wake`] and append again.
    #[error("the topic is not known yet")]
    TopicPending,
    /// The topic cannot be written to: waiting was in vain, or there is no point in it.
    #[error("the topic is not available: {0}")]
    Topic(ErrorCode),
    /// The topic has no such partition.
    #[error("the topic has {partitions} partitions, there is no number {asked}")]
    Partition {
        /// The number given.
        asked: PartitionId,
        /// How many there are.
        partitions: usize,
    },
    /// The record is larger than a request may be.
    #[error("a record of {bytes} bytes exceeds the {max} bytes of a request")]
    TooLarge {
        /// Its size, at most.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

/// What a producer tells the application.
#[derive(Clone, Debug, PartialEq)]
pub enum ProducerEvent {
    /// A batch's final outcome. Every batch gets one.
    Delivered(Delivery),
    /// Something that an append was refused for may be over.
    Wake,
}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The batch.
    pub batch: u64,
    /// How many records it has.
    pub records: u32,
    /// Its topic.
    pub topic: TopicHandle,
    /// Its partition.
    pub partition: PartitionId,
    /// The offset of the first record, the others follow it; [`Offset::NONE`] when the node did not say, which it
    /// does not with `acks=0` and for a duplicate that it no longer remembers.
    pub outcome: Result<Offset, ProduceError>,
}

/// The producer machine.
#[derive(Debug)]
pub struct Producer {
    config: ProducerConfig,
    prng: Prng,
    metadata: Metadata,
    topics: Vec<Topic>,
    handles: BTreeMap<TopicName, TopicHandle>,
    partitions: Vec<Partition>,
    /// Partitions that may have something to send; a superset of those that do.
    sendable: BTreeSet<PartitionIx>,
    /// Where the next round begins, so that no partition is always the last.
    cursor: PartitionIx,
    identity: IdentityPhase,
    identity_failures: u32,
    calls: Calls<Purpose>,
    /// Produce calls on their way to each node.
    busy: BTreeMap<NodeId, usize>,
    timers: Timers<Timer>,
    orders: VecDeque<Order<ProducerEvent>>,
    buffered: usize,
    batches: u64,
    /// Was an append refused since the last wake?
    refused: bool,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PartitionIx(u32);

#[derive(Debug)]
struct Topic {
    name: TopicName,
    partitions: Vec<PartitionIx>,
    sticky: Sticky,
    /// Since when an append has waited for it to become known.
    awaited_since: Option<Instant>,
}

#[derive(Debug)]
struct Partition {
    topic: TopicHandle,
    number: PartitionId,
    leader: Option<NodeId>,
    queue: PartitionQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdentityPhase {
    Wanted,
    Asking,
    Resting,
    Held(Identity),
}

/// What a call is for.
#[derive(Debug)]
enum Purpose {
    Metadata,
    Identity,
    Produce { node: NodeId, batches: Vec<(PartitionIx, u64)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The open batch has waited long enough for more records.
    Linger(PartitionIx),
    /// The oldest batch was not delivered in time.
    Expiry(PartitionIx),
    /// The wait after a failure is over.
    Rest(PartitionIx),
    /// A producer id can be asked for again.
    Identity,
    /// Whoever waits for the topic has waited long enough.
    Topic(TopicHandle),
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
enum Failure {
    NotSent,
    Lost,
    Refused(ErrorCode),
}

impl<'a> NewRecord<'a> {
    /// A record with this value; its time is [`Timestamp::NONE`], which a driver replaces by the current one.
    pub fn new(value: &'a [u8]) -> Self {
        Self { key: None, value: Some(value), headers: &[], timestamp: Timestamp::NONE, partition: None }
    }

    /// A tombstone: the key's last value is gone.
    pub fn tombstone(key: &'a [u8]) -> Self {
        Self { key: Some(key), value: None, headers: &[], timestamp: Timestamp::NONE, partition: None }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same with headers.
    #[must_use]
    pub fn with_headers(self, headers: &'a [(&'a [u8], Option<&'a [u8]>)]) -> Self {
        Self { headers, ..self }
    }

    /// The same for this partition, whatever its key.
    #[must_use]
    pub fn to_partition(self, partition: PartitionId) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// The same with this time.
    #[must_use]
    pub fn at(self, timestamp: Timestamp) -> Self {
        Self { timestamp, ..self }
    }
}

impl Producer {
    /// A producer that has sent nothing yet. The seed spreads retries and the choice of partitions.
    pub fn new(mut config: ProducerConfig, seed: u64) -> Self {
        config.idempotence &= config.acks == Acks::All;
        config.in_flight_max = config.in_flight_max.max(1);
        if config.idempotence {
            config.in_flight_max = config.in_flight_max.min(limits::PRODUCER_BATCHES_MAX);
        }
        Self {
            prng: Prng::new(seed),
            metadata: Metadata::new(config.metadata),
            topics: Vec::new(),
            handles: BTreeMap::new(),
            partitions: Vec::new(),
            sendable: BTreeSet::new(),
            cursor: PartitionIx(0),
            identity: IdentityPhase::Wanted,
            identity_failures: 0,
            calls: Calls::new(),
            busy: BTreeMap::new(),
            timers: Timers::new(),
            orders: VecDeque::new(),
            buffered: 0,
            batches: 0,
            refused: false,
            closed: false,
            config,
        }
    }

    /// The handle of a topic; its metadata is asked for when it is new.
    pub fn topic(&mut self, now: Instant, name: &TopicName) -> TopicHandle {
        if let Some(&handle) = self.handles.get(name) {
            return handle;
        }
        let handle = TopicHandle(u32::try_from(self.topics.len()).expect("fewer than 2^32 topics"));
        self.topics.push(Topic {
            name: name.clone(),
            partitions: Vec::new(),
            sticky: Sticky::default(),
            awaited_since: None,
        });
        self.handles.insert(name.clone(), handle);
        self.metadata.want(now, name);
        self.drain(now);
        handle
    }

    /// The handle of a topic that [`Producer::topic`] was asked for before.
    pub fn find_topic(&self, name: &str) -> Option<TopicHandle> {
        self.handles.get(name).copied()
    }

    /// Can records be appended to the topic? The errors are those of [`Producer::append`].
    pub fn await_topic(&mut self, now: Instant, topic: TopicHandle) -> Result<(), AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        if self.topics[topic.0 as usize].partitions.is_empty() { Err(self.topic_unknown(now, topic)) } else { Ok(()) }
    }

    /// Was an append refused, so that [`ProducerEvent::Wake`] is to come?
    pub fn is_refusing(&self) -> bool {
        self.refused
    }

    /// The name behind a handle.
    pub fn topic_name(&self, topic: TopicHandle) -> &TopicName {
        &self.topics[topic.0 as usize].name
    }

    /// How many partitions the topic has, once that is known.
    pub fn partition_count(&self, topic: TopicHandle) -> Option<usize> {
        Some(self.topics[topic.0 as usize].partitions.len()).filter(|&n| n > 0)
    }

    /// Appends a record to its partition's open batch. Poll for orders afterwards: a full batch leaves at once.
    pub fn append(
        &mut self,
        now: Instant,
        topic: TopicHandle,
        record: &NewRecord<'_>,
    ) -> Result<Appended, AppendError> {
        if self.closed {
            return Err(AppendError::Closed);
        }
        let headers_bytes = record.headers.iter().map(|(k, v)| k.len() + v.map_or(0, <[u8]>::len) + 10).sum();
        let size = BatchBuilder::record_bytes_max(record.key, record.value, headers_bytes);
        if size > self.config.request_bytes_max {
            return Err(AppendError::TooLarge { bytes: size, max: self.config.request_bytes_max });
        }
        if self.buffered > 0 && self.buffered + size > self.config.buffer_bytes {
            self.on_full(now);
            return Err(AppendError::Full);
        }
        let ix = self.choose_partition(now, topic, record)?;
        let queue = &mut self.partitions[ix.0 as usize].queue;
        let mut closed = false;
        if let Some(open) = &queue.open
            && open.builder.bytes() + size > self.config.batch_bytes
        {
            queue.close();
            closed = true;
        }
        let mut before = 0;
        if let Some(open) = &queue.open {
            before = open.builder.bytes();
        } else {
            let number = self.batches;
            self.batches += 1;
            let linger = self.config.linger;
            queue.open(number, now, linger == Duration::ZERO);
            self.timers.set(Timer::Linger(ix), now.after(linger));
            if queue.pending.is_empty() {
                self.timers.set(Timer::Expiry(ix), now.after(self.config.delivery_timeout));
            }
        }
        let open = queue.open.as_mut().expect("opened above");
        let delta = open.builder.next_delta();
        open.builder.append(delta, record.timestamp, record.key, record.value, record.headers.iter().copied());
        let after = open.builder.bytes();
        self.buffered += after - before;
        let number = open.number;
        let leaves_now = open.lingered;
        if after >= self.config.batch_bytes {
            queue.close();
            closed = true;
        }
        if record.key.is_none() && record.partition.is_none() {
            self.topics[topic.0 as usize].sticky.appended(after - before, self.config.batch_bytes);
        }
        let leaves = closed || leaves_now;
        if leaves {
            self.sendable.insert(ix);
            self.drain(now);
        }
        Ok(Appended { batch: number, index: delta.unsigned_abs(), leaves })
    }

    /// Lets everything leave that was appended so far, without waiting for more records.
    pub fn flush(&mut self, now: Instant) {
        self.end_linger();
        self.drain(now);
    }

    /// Takes no more records and lets everything leave. [`Producer::is_idle`] says when all is delivered.
    pub fn close(&mut self, now: Instant) {
        self.closed = true;
        self.flush(now);
    }

    /// Gives up on everything that is not delivered yet.
    pub fn abort(&mut self) {
        self.closed = true;
        self.end_linger();
        for at in 0..self.partitions.len() {
            self.partitions[at].queue.close();
            while let Some(pending) = self.partitions[at].queue.pending.pop_front() {
                let may_have_applied = pending.maybe_applied || pending.call.is_some();
                let error = ProduceError { kind: ProduceErrorKind::Closed, may_have_applied };
                self.deliver(PartitionIx(at as u32), &pending, Err(error));
            }
        }
    }

    /// Is everything delivered?
    pub fn is_idle(&self) -> bool {
        self.buffered == 0
    }

    /// Bytes appended and not yet delivered.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    fn end_linger(&mut self) {
        for (at, partition) in self.partitions.iter_mut().enumerate() {
            if let Some(open) = &mut partition.queue.open {
                open.lingered = true;
                self.sendable.insert(PartitionIx(at as u32));
            }
        }
    }

    fn on_full(&mut self, now: Instant) {
        if !self.refused {
            self.refused = true;
            // What fills the memory must be free to leave it.
            self.end_linger();
            self.drain(now);
        }
    }

    fn choose_partition(
        &mut self,
        now: Instant,
        handle: TopicHandle,
        record: &NewRecord<'_>,
    ) -> Result<PartitionIx, AppendError> {
        let topic = &mut self.topics[handle.0 as usize];
        let count = topic.partitions.len();
        if count == 0 {
            return Err(self.topic_unknown(now, handle));
        }
        let index = match (record.partition, record.key) {
            (Some(asked), _) => usize::try_from(asked.0)
                .ok()
                .filter(|&p| p < count)
                .ok_or(AppendError::Partition { asked, partitions: count })?,
            (None, Some(key)) => partition_for_key(key, count as u32).0.unsigned_abs() as usize,
            (None, None) => {
                let (partitions, ixs) = (&self.partitions, &topic.partitions);
                topic.sticky.choose(count, &mut self.prng, |p| partitions[ixs[p].0 as usize].leader.is_some())
            }
        };
        Ok(topic.partitions[index])
    }

    /// Wait for the topic, or was that long enough?
    fn topic_unknown(&mut self, now: Instant, handle: TopicHandle) -> AppendError {
        let topic = &mut self.topics[handle.0 as usize];
        let error = self.metadata.topic(&topic.name).map_or(ErrorCode::None, |t| t.error);
        if !error.is_none() && !error.is_retriable() {
            return AppendError::Topic(error);
        }
        let timeout = self.config.topic_timeout;
        let since = *topic.awaited_since.get_or_insert(now);
        if now.since(since) < timeout {
            self.refused = true;
            self.timers.set(Timer::Topic(handle), since.after(timeout));
            self.drain(now);
            return AppendError::TopicPending;
        }
        if now.since(since) > Duration(timeout.0.saturating_add(TOPIC_VERDICT_LASTS.0)) {
            topic.awaited_since = Some(now);
        }
        AppendError::Topic(if error.is_none() { ErrorCode::RequestTimedOut } else { error })
    }

    // ------------------------------------------------------------------------------------------------ sending

    fn drain(&mut self, now: Instant) {
        if let Some(request) = self.metadata.poll_request(now) {
            self.call(now, Target::Any, Request::Metadata(request), Purpose::Metadata);
        }
        if self.sendable.is_empty() {
            return;
        }
        if self.config.idempotence && !matches!(self.identity, IdentityPhase::Held(_)) {
            self.ask_identity(now);
            return;
        }
        while self.send_round(now) {}
    }

    fn call(&mut self, now: Instant, to: Target, request: Request, purpose: Purpose) -> CallId {
        let call: Call = self.calls.open(now, self.config.request_timeout, to, request, purpose);
        let id = call.id;
        self.orders.push_back(Order::Call(call));
        id
    }

    fn ask_identity(&mut self, now: Instant) {
        if self.identity == IdentityPhase::Wanted {
            self.identity = IdentityPhase::Asking;
            let request = InitProducerIdRequest {
                transactional_id: None,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
            };
            self.call(now, Target::Any, Request::InitProducerId(request), Purpose::Identity);
        }
    }

    fn held_identity(&self) -> Option<Identity> {
        match self.identity {
            IdentityPhase::Held(identity) => Some(identity),
            _ => None,
        }
    }

    /// Gives every node at most one request. True when one went out, so that there may be more.
    fn send_round(&mut self, now: Instant) -> bool {
        let mut outgoing: Vec<Outgoing> = Vec::new();
        let from = self.cursor;
        let order: Vec<PartitionIx> = self.sendable.range(from..).chain(self.sendable.range(..from)).copied().collect();
        for ix in order {
            self.add_to_round(ix, &mut outgoing);
        }
        let sent = !outgoing.is_empty();
        for request in outgoing {
            self.cursor = request.batches.last().map_or(PartitionIx(0), |&(ix, _)| PartitionIx(ix.0 + 1));
            *self.busy.entry(request.node).or_default() += 1;
            let batches = request.batches.clone();
            let produce = ProduceRequest {
                acks: self.config.acks,
                timeout: self.config.request_timeout,
                partitions: request.partitions,
            };
            let purpose = Purpose::Produce { node: request.node, batches: request.batches };
            let id = self.call(now, Target::Node(request.node), Request::Produce(produce), purpose);
            for (ix, number) in batches {
                let queue = &mut self.partitions[ix.0 as usize].queue;
                let at = queue.position(number).expect("it was taken from there");
                let pending = &mut queue.pending[at];
                pending.call = Some(id);
                pending.attempts += 1;
            }
        }
        sent
    }

    fn add_to_round(&mut self, ix: PartitionIx, outgoing: &mut Vec<Outgoing>) {
        let newest = self.held_identity();
        let partition = &mut self.partitions[ix.0 as usize];
        let Some(node) = partition.leader else {
            // Comes back with the metadata that names one.
            self.sendable.remove(&ix);
            return;
        };
        if self.busy.get(&node).is_some_and(|&n| n >= self.config.in_flight_max) {
            return;
        }
        let place = outgoing.iter().position(|o| o.node == node);
        if place.is_some_and(|p| outgoing[p].bytes >= self.config.request_bytes_max) {
            return;
        }
        let queue = &mut partition.queue;
        let Some(at) = queue.next_to_send(self.config.in_flight_max, self.config.idempotence) else {
            self.sendable.remove(&ix);
            return;
        };
        let size = queue.size_at(at);
        if place.is_some_and(|p| outgoing[p].bytes + size > self.config.request_bytes_max) {
            return;
        }
        let batch = queue.batch_to_send(at, self.config.compression, newest.filter(|_| self.config.idempotence));
        let place = place.unwrap_or_else(|| {
            outgoing.push(Outgoing { node, bytes: 0, partitions: Vec::new(), batches: Vec::new() });
            outgoing.len() - 1
        });
        let request = &mut outgoing[place];
        request.bytes += batch.size();
        request.batches.push((ix, queue.pending[at].number));
        request.partitions.push(ProducePartition {
            topic: TopicRef::Id(queue.topic_id),
            partition: partition.number,
            batch: Ok(batch),
        });
    }

    // ------------------------------------------------------------------------------------------------ replies

    fn on_metadata_reply(&mut self, now: Instant, reply: Reply) {
        let Reply::Answered(Response::Metadata(response)) = reply else {
            self.metadata.on_failure(now, &mut self.prng);
            return;
        };
        if !self.metadata.on_response(now, response, &mut self.prng) {
            return;
        }
        for at in 0..self.topics.len() {
            self.adopt_metadata(TopicHandle(at as u32));
        }
        self.wake();
    }

    /// Brings a topic's partitions in line with the metadata.
    fn adopt_metadata(&mut self, handle: TopicHandle) {
        let topic = &mut self.topics[handle.0 as usize];
        let Some(known) = self.metadata.topic(&topic.name).filter(|t| t.id != TopicId::ZERO) else { return };
        topic.awaited_since = None;
        self.timers.clear(Timer::Topic(handle));
        let mut stirred = Vec::new();
        for (number, leader) in known.partitions.iter().enumerate() {
            if number == topic.partitions.len() {
                topic.partitions.push(PartitionIx(u32::try_from(self.partitions.len()).expect("fewer than 2^32")));
                self.partitions.push(Partition {
                    topic: handle,
                    number: PartitionId(i32::try_from(number).expect("partition numbers fit")),
                    leader: None,
                    queue: PartitionQueue::new(known.id),
                });
            }
            let ix = topic.partitions[number];
            let partition = &mut self.partitions[ix.0 as usize];
            partition.leader = leader.node;
            if partition.queue.topic_id != known.id {
                // Another topic of the same name: what the old one knew of the producer is gone with it.
                partition.queue.topic_id = known.id;
                if partition.queue.sequences.identity().is_some() {
                    partition.queue.sequences.break_off();
                }
            }
            if partition.queue.wants_to_send() || partition.queue.sequences.is_broken() {
                stirred.push(ix);
            }
        }
        for ix in stirred {
            self.sendable.insert(ix);
            self.mend(ix);
        }
    }

    fn on_identity_reply(&mut self, now: Instant, reply: Reply) {
        match reply {
            Reply::Answered(Response::InitProducerId(response)) if response.error.is_none() => {
                self.identity_failures = 0;
                self.identity =
                    IdentityPhase::Held(Identity { id: response.producer_id, epoch: response.producer_epoch });
                for at in 0..self.partitions.len() {
                    self.mend(PartitionIx(at as u32));
                }
            }
            _ => {
                // Whatever the error: batches that cannot leave fail by their delivery timeout.
                self.identity_failures = self.identity_failures.saturating_add(1);
                self.identity = IdentityPhase::Resting;
                let wait = self.config.backoff.after(self.identity_failures, &mut self.prng);
                self.timers.set(Timer::Identity, now.after(wait));
            }
        }
    }

    fn on_produce_reply(&mut self, now: Instant, node: NodeId, batches: &[(PartitionIx, u64)], reply: Reply) {
        let busy = self.busy.get_mut(&node).expect("a call to the node was open");
        *busy -= 1;
        if *busy == 0 {
            self.busy.remove(&node);
        }
        let failure = match reply {
            Reply::Answered(Response::Produce(response)) if response.partitions.len() == batches.len() => {
                for (&(ix, number), produced) in batches.iter().zip(response.partitions) {
                    self.on_produced(now, ix, number, &produced);
                }
                None
            }
            Reply::Sent => {
                for &(ix, number) in batches {
                    self.on_delivered(ix, number, Offset::NONE);
                }
                None
            }
            // An answer that is none tells nothing about what the node did.
            Reply::Answered(_) | Reply::Lost => Some(Failure::Lost),
            Reply::NotSent => Some(Failure::NotSent),
            Reply::Refused(code) => Some(Failure::Refused(code)),
        };
        if let Some(failure) = failure {
            for &(ix, number) in batches {
                self.on_failed(now, ix, number, failure);
            }
        }
        for partition in batches.iter().map(|&(ix, _)| ix) {
            self.mend(partition);
            if self.partitions[partition.0 as usize].queue.wants_to_send() {
                self.sendable.insert(partition);
            }
        }
    }

    fn on_produced(&mut self, now: Instant, ix: PartitionIx, number: u64, produced: &ProducedPartition) {
        match produced.error {
            ErrorCode::None => self.on_delivered(ix, number, produced.base_offset),
            // It is in the log, the node no longer knows where.
            ErrorCode::DuplicateSequenceNumber => self.on_delivered(ix, number, Offset::NONE),
            code => self.on_failed(now, ix, number, Failure::Refused(code)),
        }
    }

    fn on_delivered(&mut self, ix: PartitionIx, number: u64, base_offset: Offset) {
        let queue = &mut self.partitions[ix.0 as usize].queue;
        // One that expired meanwhile was reported already.
        let Some(at) = queue.position(number) else { return };
        queue.failures = 0;
        queue.sequences.acknowledged();
        let pending = queue.pending.remove(at).expect("found there");
        self.deliver(ix, &pending, Ok(base_offset));
    }

    fn on_failed(&mut self, now: Instant, ix: PartitionIx, number: u64, failure: Failure) {
        let idempotent = self.config.idempotence;
        let queue = &mut self.partitions[ix.0 as usize].queue;
        let Some(at) = queue.position(number) else { return };
        let pending = &mut queue.pending[at];
        pending.call = None;
        pending.maybe_applied |= failure.may_have_applied();
        if let Failure::Refused(code) = failure {
            pending.last_error = Some(code);
        }
        if failure.tells_of_stale_metadata() {
            self.metadata.request_refresh(now, &mut self.prng);
        }
        let rests = match failure {
            Failure::Refused(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId) if idempotent => {
                // Behind others that are not decided it will be its turn yet. At the head the node misses something
                // that will never come.
                if at == 0 {
                    queue.sequences.break_off();
                }
                at == 0
            }
            Failure::Refused(ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced) if idempotent => {
                queue.sequences.break_off();
                let fenced = queue.sequences.identity().map(|i| i.id);
                if matches!(self.identity, IdentityPhase::Held(held) if Some(held.id) == fenced) {
                    self.identity = IdentityPhase::Wanted;
                }
                true
            }
            Failure::Refused(code) if !code.is_retriable() => {
                let may_have_applied = pending.maybe_applied;
                let pending = queue.fail(at);
                let error = ProduceError { kind: ProduceErrorKind::Rejected(code), may_have_applied };
                self.deliver(ix, &pending, Err(error));
                false
            }
            _ => true,
        };
        let queue = &mut self.partitions[ix.0 as usize].queue;
        // Batches that fail together are one failure.
        if rests && !queue.resting {
            queue.failures = queue.failures.saturating_add(1);
            queue.resting = true;
            let wait = self.config.backoff.after(queue.failures, &mut self.prng);
            self.timers.set(Timer::Rest(ix), now.after(wait));
        }
    }

    /// Begins a broken sequence anew when that can be, and reports what falls by the wayside.
    fn mend(&mut self, ix: PartitionIx) {
        let queue = &mut self.partitions[ix.0 as usize].queue;
        if !queue.sequences.is_broken() || queue.in_flight() > 0 {
            return;
        }
        let Some(newest) = self.held_identity() else { return };
        let queue = &mut self.partitions[ix.0 as usize].queue;
        let Some(failed) = queue.restart(newest) else {
            // The id's epochs are used up: another id is wanted.
            self.identity = IdentityPhase::Wanted;
            self.sendable.insert(ix);
            return;
        };
        if queue.wants_to_send() {
            self.sendable.insert(ix);
        }
        for pending in failed {
            let error = ProduceError { kind: ProduceErrorKind::Unresolved, may_have_applied: true };
            self.deliver(ix, &pending, Err(error));
        }
    }

    fn deliver(&mut self, ix: PartitionIx, pending: &Pending, outcome: Result<Offset, ProduceError>) {
        assert!(self.buffered >= pending.charge, "what leaves the memory was in it");
        self.buffered -= pending.charge;
        let partition = &self.partitions[ix.0 as usize];
        match partition.queue.oldest() {
            Some(opened) => self.timers.set(Timer::Expiry(ix), opened.after(self.config.delivery_timeout)),
            None => self.timers.clear(Timer::Expiry(ix)),
        }
        self.orders.push_back(Order::Event(ProducerEvent::Delivered(Delivery {
            batch: pending.number,
            records: pending.records,
            topic: partition.topic,
            partition: partition.number,
            outcome,
        })));
        self.wake();
    }

    fn wake(&mut self) {
        if self.refused {
            self.refused = false;
            self.orders.push_back(Order::Event(ProducerEvent::Wake));
        }
    }

    // ------------------------------------------------------------------------------------------------ time

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Linger(ix) => {
                if let Some(open) = &mut self.partitions[ix.0 as usize].queue.open {
                    let due = open.opened.after(self.config.linger);
                    if due <= now {
                        open.lingered = true;
                        self.sendable.insert(ix);
                    } else {
                        self.timers.set(timer, due);
                    }
                }
            }
            Timer::Expiry(ix) => self.on_expiry(now, ix),
            Timer::Rest(ix) => {
                self.partitions[ix.0 as usize].queue.resting = false;
                self.sendable.insert(ix);
            }
            Timer::Identity => self.identity = IdentityPhase::Wanted,
            Timer::Topic(_) => self.wake(),
        }
    }

    fn on_expiry(&mut self, now: Instant, ix: PartitionIx) {
        let timeout = self.config.delivery_timeout;
        loop {
            let queue = &mut self.partitions[ix.0 as usize].queue;
            match queue.oldest() {
                Some(opened) if opened.after(timeout) <= now => {}
                Some(opened) => {
                    self.timers.set(Timer::Expiry(ix), opened.after(timeout));
                    break;
                }
                None => break,
            }
            if queue.pending.is_empty() {
                queue.close();
            }
            let in_flight = queue.pending[0].call.is_some();
            let pending = queue.fail(0);
            let error = ProduceError {
                kind: ProduceErrorKind::DeliveryTimeout(pending.last_error),
                may_have_applied: pending.maybe_applied || in_flight,
            };
            self.deliver(ix, &pending, Err(error));
        }
        self.mend(ix);
    }
}

impl Machine for Producer {
    type Event = ProducerEvent;

    fn on_reply(&mut self, now: Instant, call: CallId, reply: Reply) {
        match self.calls.close(call) {
            None => return,
            Some(Purpose::Metadata) => self.on_metadata_reply(now, reply),
            Some(Purpose::Identity) => self.on_identity_reply(now, reply),
            Some(Purpose::Produce { node, batches }) => self.on_produce_reply(now, node, &batches, reply),
        }
        self.drain(now);
    }

    fn on_time(&mut self, now: Instant) {
        while let Some((id, purpose)) = self.calls.close_overdue(now) {
            self.orders.push_back(Order::Abandon(id));
            match purpose {
                Purpose::Metadata => self.on_metadata_reply(now, Reply::Lost),
                Purpose::Identity => self.on_identity_reply(now, Reply::Lost),
                Purpose::Produce { node, batches } => self.on_produce_reply(now, node, &batches, Reply::Lost),
            }
        }
        while let Some(timer) = self.timers.pop_due(now) {
            self.on_timer(now, timer);
        }
        self.drain(now);
    }

    fn poll_order(&mut self) -> Option<Order<ProducerEvent>> {
        self.orders.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.calls.next_deadline(), self.timers.next_deadline(), self.metadata.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Failure {
    /// Can the batch be in the log all the same?
    fn may_have_applied(self) -> bool {
        match self {
            Self::NotSent => false,
            Self::Lost => true,
            Self::Refused(code) => matches!(
                code,
                ErrorCode::RequestTimedOut
                    | ErrorCode::NotEnoughReplicasAfterAppend
                    | ErrorCode::NetworkException
                    | ErrorCode::KafkaStorageError
                    | ErrorCode::UnknownServerError
            ),
        }
    }

    /// Does it suggest that somebody else leads the partition now?
    fn tells_of_stale_metadata(self) -> bool {
        match self {
            Self::NotSent | Self::Lost => true,
            Self::Refused(code) => matches!(
                code,
                ErrorCode::NotLeaderOrFollower
                    | ErrorCode::LeaderNotAvailable
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::UnknownTopicId
                    | ErrorCode::InconsistentTopicId
                    | ErrorCode::ReplicaNotAvailable
                    | ErrorCode::FencedLeaderEpoch
                    | ErrorCode::UnknownLeaderEpoch
                    | ErrorCode::KafkaStorageError
            ),
        }
    }
}

/// A produce request in the making.
struct Outgoing {
    node: NodeId,
    bytes: usize,
    partitions: Vec<ProducePartition>,
    batches: Vec<(PartitionIx, u64)>,
}

/// How long "the topic is not there" is said to others who wait for it, before waiting begins anew.
const TOPIC_VERDICT_LASTS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
