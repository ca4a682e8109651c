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
mod record;
mod replies;
mod sending;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

pub use self::{
    config::ProducerConfig,
    record::{AppendError, Appended, NewRecord},
};
use super::{
    accumulator::PartitionQueue,
    call::{CallId, Calls, Machine, Order, Reply},
    metadata::Metadata,
    partitioner::{Sticky, partition_for_key},
    producer_error::{ProduceError, ProduceErrorKind},
    sequences::Identity,
    timers::Timers,
};
use crate::{
    ids::{NodeId, PartitionId, TopicName},
    limits,
    message::{Acks, ErrorCode},
    offset::Offset,
    prng::Prng,
    record::BatchBuilder,
    time::{Duration, Instant},
};

/// A topic that a producer has been told of; of use with that producer only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicHandle(u32);

/// What a producer tells the application.
#[derive(Clone, Debug, PartialEq)]
pub enum ProducerEvent {
    /// A batch's final outcome. Every batch gets one; one that was too large for its node and went in parts gets one
    /// for each part.
    Delivered(Delivery),
    /// Something that an append was refused for may be over.
    Wake,
}

/// What became of one batch, or of a part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The batch.
    pub batch: u64,
    /// The index of the first record that this is about; more than 0 in a part of a batch.
    pub first: u32,
    /// How many records this is about.
    pub records: u32,
    /// Is the outcome of other records of the batch still to come?
    pub has_more: bool,
    /// Its topic.
    pub topic: TopicHandle,
    /// Its partition.
    pub partition: PartitionId,
    /// The offset of the first of these records, the others follow it; [`Offset::NONE`] when the node did not say, which it
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

/// How long "the topic is not there" is said to others who wait for it, before waiting begins anew.
const TOPIC_VERDICT_LASTS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
