//! The consumer: assigned partitions in, batches out, in the order of each partition.
//!
//! Fetches run ahead of the application by one response for each partition and never by more than `buffer_bytes` in
//! all. What arrives is checked (CRC) and handed out batch by batch; the application iterates the records, from the
//! first one that it has not seen. Positions follow what was handed out.
//!
//! A partition without a place finds one by time or at an end of the log. One whose offset is gone is reset as the
//! configuration says, or fails. The leader's epoch goes with every request, and the epoch of the last batch read,
//! so that a log that was cut and went on differently is noticed (KIP-320): [`ConsumerEvent::Truncated`].

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};

use super::{
    assignment::{Assigned, Phase, StartAt, Taken},
    backoff::BackoffConfig,
    call::{CallId, Calls, Machine, Order, Reply, Target},
    metadata::{Metadata, MetadataConfig},
    timers::Timers,
};
use crate::{
    ids::{NodeId, PartitionId, TopicId, TopicName},
    message::{
        ErrorCode, FetchPartition, FetchRequest, FetchedPartition, IsolationLevel, ListOffsetsPartition,
        ListOffsetsRequest, ListedOffset, OffsetSpec, Request, Response, TopicRef,
    },
    offset::Offset,
    prng::Prng,
    record::{Batch, BatchError, Record},
    time::{Duration, Instant},
};

/// How a consumer works. The defaults are Kafka's but for the sizes, which suit a faster wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// What it may see (`isolation.level`).
    pub isolation: IsolationLevel,
    /// Where the reader stands (`client.rack`): leaders may send it to a follower there (KIP-392). `None` reads from leaders
    /// alone.
    pub rack: Option<String>,
    /// Where to go on when an offset is not there any more (`auto.offset.reset`); `None` fails the partition.
    pub reset: Option<StartAt>,
    /// A node answers a fetch as soon as it has this much (`fetch.min.bytes`)...
    pub min_bytes: usize,
    /// ...or when it has waited this long (`fetch.max.wait.ms`).
    pub max_wait: Duration,
    /// The most that one fetch brings (`fetch.max.bytes`), but for a batch that alone is larger.
    pub fetch_bytes_max: usize,
    /// The same for each partition (`max.partition.fetch.bytes`).
    pub partition_bytes_max: usize,
    /// What may be fetched ahead of the application, over all partitions.
    pub buffer_bytes: usize,
    /// When a request is given up, beyond what it may wait (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// Wait between attempts (`retry.backoff.ms`).
    pub backoff: BackoffConfig,
    /// Of topics and leaders.
    pub metadata: MetadataConfig,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            isolation: IsolationLevel::ReadUncommitted,
            rack: None,
            reset: Some(StartAt::Latest),
            min_bytes: 1,
            max_wait: Duration::from_millis(500),
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 2 << 20,
            buffer_bytes: 64 << 20,
            request_timeout: Duration::from_secs(30),
            backoff: BackoffConfig::default(),
            metadata: MetadataConfig { allow_auto_topic_creation: false, ..MetadataConfig::default() },
        }
    }
}

/// A batch for the application.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumedBatch {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// The batch, whole; it can begin before `from`.
    pub batch: Batch,
    /// The first offset that the application has not seen.
    pub from: Offset,
    /// Where committed records end, as of the fetch.
    pub high_watermark: Offset,
}

impl ConsumedBatch {
    /// The records that the application has not seen, decompressed as they are asked for.
    pub fn records(&self) -> Result<impl Iterator<Item = Result<Record, BatchError>> + use<>, BatchError> {
        let from = self.from;
        let seen = move |record: &Result<Record, BatchError>| record.as_ref().is_ok_and(|r| r.offset < from);
        Ok(self.batch.records()?.skip_while(seen))
    }
}

/// Why a partition cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A node said so.
    #[error("the partition cannot be read: {0}")]
    Refused(ErrorCode),
    /// The position is not in the log, and no reset is configured.
    #[error("offset {0} is not in the log")]
    OutOfRange(Offset),
    /// The log was cut at `end`, below the position, and no reset is configured (KIP-320).
    #[error("the log was truncated to offset {end}, below the position {position}")]
    Truncated {
        /// Where the reader was.
        position: Offset,
        /// Up to where the log is still what it was.
        end: Offset,
    },
    /// What arrives at this position is broken, again and again.
    #[error("the batch at offset {at} is broken: {error}")]
    Corrupt {
        /// The position.
        at: Offset,
        /// What is wrong with it.
        error: BatchError,
    },
}

impl ConsumerError {
    /// Does the consumer go on trying by itself? If not, the partition stands still until the application seeks.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Refused(code) if passes(*code))
    }
}

/// What a consumer tells the application.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerEvent {
    /// There is something to take with [`Consumer::next_batch`], or a topic that was waited for is known.
    Wake,
    /// A partition cannot be read.
    Failed {
        /// Its topic.
        topic: TopicName,
        /// Which.
        partition: PartitionId,
        /// Why.
        error: ConsumerError,
    },
    /// A partition's log was cut below what was read, after an unclean election; reading goes on at the cut.
    Truncated {
        /// Its topic.
        topic: TopicName,
        /// Which.
        partition: PartitionId,
        /// Up to where the log is still what it was.
        end: Offset,
    },
}

/// The consumer machine.
#[derive(Debug)]
pub struct Consumer {
    config: ConsumerConfig,
    prng: Prng,
    metadata: Metadata,
    assigned: BTreeMap<AssignedIx, Assigned>,
    by_name: BTreeMap<(TopicName, PartitionId), AssignedIx>,
    assignments: u32,
    /// Partitions that may have something to ask; a superset of those that do.
    idle: BTreeSet<AssignedIx>,
    /// Where the next request begins, so that no partition is always the last.
    cursor: AssignedIx,
    /// Partitions with batches to hand out, each once.
    ready: VecDeque<AssignedIx>,
    calls: Calls<Purpose>,
    /// Fetches on their way to each node, and what they may bring.
    fetches: BTreeMap<NodeId, usize>,
    reserved: usize,
    buffered: usize,
    timers: Timers<Timer>,
    orders: VecDeque<Order<ConsumerEvent>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AssignedIx(u32);

/// A partition in a request, as it was when it was asked for.
type Asked = (AssignedIx, u64);

#[derive(Debug)]
enum Purpose {
    Metadata,
    Locate(Vec<Asked>),
    Fetch { node: NodeId, reserved: usize, partitions: Vec<Asked> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The wait after a failure is over.
    Rest(AssignedIx),
}

impl Consumer {
    /// A consumer of nothing yet. The seed spreads retries.
    pub fn new(config: ConsumerConfig, seed: u64) -> Self {
        Self {
            prng: Prng::new(seed),
            metadata: Metadata::new(config.metadata),
            assigned: BTreeMap::new(),
            by_name: BTreeMap::new(),
            assignments: 0,
            idle: BTreeSet::new(),
            cursor: AssignedIx(0),
            ready: VecDeque::new(),
            calls: Calls::new(),
            fetches: BTreeMap::new(),
            reserved: 0,
            buffered: 0,
            timers: Timers::new(),
            orders: VecDeque::new(),
            config,
        }
    }

    /// Asks for a topic's metadata, so that [`Consumer::partition_count`] becomes known.
    pub fn look_up(&mut self, now: Instant, topic: &TopicName) {
        self.metadata.want(now, topic);
        self.drive(now);
    }

    /// How many partitions the topic has; an error that waiting does not help against; `None` until known.
    pub fn partition_count(&self, topic: &TopicName) -> Option<Result<usize, ErrorCode>> {
        let topic = self.metadata.topic(topic)?;
        if topic.id != TopicId::ZERO {
            return Some(Ok(topic.partitions.len()));
        }
        (!topic.error.is_none()).then_some(Err(topic.error))
    }

    /// Begins to read a partition; one that is assigned already goes to the new place.
    pub fn assign(&mut self, now: Instant, topic: &TopicName, partition: PartitionId, start: StartAt) {
        if self.seek(now, topic, partition, start) {
            return;
        }
        let ix = AssignedIx(self.assignments);
        self.assignments += 1;
        self.assigned.insert(ix, Assigned::new(topic.clone(), partition, start));
        self.by_name.insert((topic.clone(), partition), ix);
        self.metadata.want(now, topic);
        self.adopt_metadata(ix);
        self.idle.insert(ix);
        self.drive(now);
    }

    /// Stops reading a partition.
    pub fn unassign(&mut self, topic: &TopicName, partition: PartitionId) {
        let Some(ix) = self.by_name.remove(&(topic.clone(), partition)) else { return };
        if let Some(mut gone) = self.assigned.remove(&ix) {
            self.buffered -= gone.seek(StartAt::Latest);
        }
        self.idle.remove(&ix);
        self.ready.retain(|&r| r != ix);
        self.timers.clear(Timer::Rest(ix));
        if !self.by_name.keys().any(|(t, _)| t == topic) {
            self.metadata.forget(topic);
        }
    }

    /// Goes somewhere else in a partition. False when it is not assigned.
    pub fn seek(&mut self, now: Instant, topic: &TopicName, partition: PartitionId, to: StartAt) -> bool {
        let Some((ix, assigned)) = self.find(topic, partition) else { return false };
        let freed = assigned.seek(to);
        self.buffered -= freed;
        self.ready.retain(|&r| r != ix);
        self.timers.clear(Timer::Rest(ix));
        self.idle.insert(ix);
        self.drive(now);
        true
    }

    /// The offset of the next record to be handed out; `None` while it is not known.
    pub fn position(&self, topic: &TopicName, partition: PartitionId) -> Option<Offset> {
        let ix = self.by_name.get(&(topic.clone(), partition))?;
        self.assigned.get(ix)?.position
    }

    /// Where committed records end and where the log begins, as of the last fetch.
    pub fn bounds(&self, topic: &TopicName, partition: PartitionId) -> Option<(Offset, Offset)> {
        let ix = self.by_name.get(&(topic.clone(), partition))?;
        let assigned = self.assigned.get(ix)?;
        (assigned.high_watermark != Offset::NONE).then_some((assigned.log_start, assigned.high_watermark))
    }

    /// Hands out nothing more of a partition, and fetches nothing, until [`Consumer::resume`].
    pub fn pause(&mut self, topic: &TopicName, partition: PartitionId) {
        if let Some((ix, assigned)) = self.find(topic, partition) {
            assigned.paused = true;
            self.ready.retain(|&r| r != ix);
        }
    }

    /// Goes on where [`Consumer::pause`] stopped.
    pub fn resume(&mut self, now: Instant, topic: &TopicName, partition: PartitionId) {
        if let Some((ix, assigned)) = self.find(topic, partition)
            && assigned.paused
        {
            assigned.paused = false;
            let has_batches = !assigned.buffered.is_empty();
            self.idle.insert(ix);
            if has_batches {
                self.make_ready(ix);
            }
            self.drive(now);
        }
    }

    /// The next batch, of each partition in turn. Poll for orders afterwards: it makes room for another fetch.
    pub fn next_batch(&mut self, now: Instant) -> Option<ConsumedBatch> {
        let ix = self.ready.pop_front()?;
        let assigned = self.assigned.get_mut(&ix).expect("what is ready is assigned");
        let responses = assigned.responses;
        let (batch, from) = assigned.pop().expect("what is ready has a batch");
        self.buffered -= batch.size();
        let consumed = ConsumedBatch {
            topic: assigned.topic.clone(),
            partition: assigned.number,
            batch,
            from,
            high_watermark: assigned.high_watermark,
        };
        let used_up = assigned.responses < responses;
        if !assigned.buffered.is_empty() {
            self.ready.push_back(ix);
        }
        if used_up {
            self.idle.insert(ix);
            self.drive(now);
        }
        Some(consumed)
    }

    /// Is there a batch to take?
    pub fn has_batch(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Bytes fetched and not handed out.
    pub fn buffered_bytes(&self) -> usize {
        self.buffered
    }

    fn find(&mut self, topic: &TopicName, partition: PartitionId) -> Option<(AssignedIx, &mut Assigned)> {
        let ix = *self.by_name.get(&(topic.clone(), partition))?;
        Some((ix, self.assigned.get_mut(&ix).expect("names and assignments agree")))
    }

    fn make_ready(&mut self, ix: AssignedIx) {
        if !self.ready.contains(&ix) {
            self.ready.push_back(ix);
            self.orders.push_back(Order::Event(ConsumerEvent::Wake));
        }
    }

    // ------------------------------------------------------------------------------------------------ asking

    fn drive(&mut self, now: Instant) {
        if let Some(request) = self.metadata.poll_request(now) {
            self.call(now, self.config.request_timeout, Target::Any, Request::Metadata(request), Purpose::Metadata);
        }
        if self.idle.is_empty() {
            return;
        }
        let mut locates: BTreeMap<NodeId, Vec<AssignedIx>> = BTreeMap::new();
        let mut fetches: BTreeMap<(NodeId, bool), Vec<AssignedIx>> = BTreeMap::new();
        let from = self.cursor;
        let order: Vec<AssignedIx> = self.idle.range(from..).chain(self.idle.range(..from)).copied().collect();
        for ix in order {
            let assigned = self.assigned.get(&ix).expect("what is idle is assigned");
            let busy = assigned.asking || assigned.resting || assigned.paused;
            match (assigned.phase, assigned.leader, assigned.reads_from(now)) {
                (Phase::Locating(_), Some(node), _) if !busy => locates.entry(node).or_default().push(ix),
                (Phase::Fetching, _, Some((node, by_rack))) if !busy && assigned.responses < RESPONSES_AHEAD_MAX => {
                    let by_rack = by_rack && self.config.rack.is_some();
                    fetches.entry((node, by_rack)).or_default().push(ix);
                    // Else it stays idle, for when one of those fetches ends.
                    continue;
                }
                _ => {}
            }
            self.idle.remove(&ix);
        }
        for (node, ixs) in locates {
            self.locate(now, node, &ixs);
        }
        for ((node, by_rack), ixs) in fetches {
            self.fetch(now, node, by_rack, &ixs);
        }
    }

    fn call(&mut self, now: Instant, timeout: Duration, to: Target, request: Request, purpose: Purpose) {
        let call = self.calls.open(now, timeout, to, request, purpose);
        self.orders.push_back(Order::Call(call));
    }

    fn locate(&mut self, now: Instant, node: NodeId, ixs: &[AssignedIx]) {
        let mut partitions = Vec::with_capacity(ixs.len());
        let mut asked = Vec::with_capacity(ixs.len());
        for ix in ixs {
            let assigned = self.assigned.get_mut(ix).expect("what is idle is assigned");
            let Phase::Locating(spec) = assigned.phase else { continue };
            assigned.asking = true;
            asked.push((*ix, assigned.generation));
            partitions.push(ListOffsetsPartition {
                topic: TopicRef::Id(assigned.topic_id),
                partition: assigned.number,
                current_leader_epoch: assigned.leader_epoch,
                spec,
            });
        }
        let request = ListOffsetsRequest { isolation: self.config.isolation, partitions };
        let timeout = self.config.request_timeout;
        self.call(now, timeout, Target::Node(node), Request::ListOffsets(request), Purpose::Locate(asked));
    }

    fn fetch(&mut self, now: Instant, node: NodeId, by_rack: bool, ixs: &[AssignedIx]) {
        let room = self.config.buffer_bytes.saturating_sub(self.buffered + self.reserved);
        if room == 0 || self.fetches.get(&node).is_some_and(|&n| n >= FETCHES_PER_NODE_MAX) {
            // They stay idle until the application has taken something, or one of those fetches ends.
            return;
        }
        let wanted = self.config.partition_bytes_max.saturating_mul(ixs.len());
        let max_bytes = wanted.min(self.config.fetch_bytes_max).min(room);
        let mut partitions = Vec::with_capacity(ixs.len());
        let mut asked = Vec::with_capacity(ixs.len());
        for ix in ixs {
            self.idle.remove(ix);
            let assigned = self.assigned.get_mut(ix).expect("what is idle is assigned");
            assigned.asking = true;
            asked.push((*ix, assigned.generation));
            partitions.push(FetchPartition {
                topic: TopicRef::Id(assigned.topic_id),
                partition: assigned.number,
                current_leader_epoch: assigned.leader_epoch,
                offset: assigned.fetch_from,
                last_fetched_epoch: assigned.last_epoch,
                log_start: Offset::NONE,
                max_bytes: self.config.partition_bytes_max.min(max_bytes),
            });
        }
        self.cursor = ixs.first().map_or(AssignedIx(0), |ix| AssignedIx(ix.0 + 1));
        self.reserved += max_bytes;
        *self.fetches.entry(node).or_default() += 1;
        let request = FetchRequest {
            max_wait: self.config.max_wait,
            min_bytes: self.config.min_bytes,
            max_bytes,
            isolation: self.config.isolation,
            rack: self.config.rack.clone().filter(|_| by_rack),
            replica: None,
            partitions,
        };
        let timeout = Duration(self.config.request_timeout.0.saturating_add(self.config.max_wait.0));
        let purpose = Purpose::Fetch { node, reserved: max_bytes, partitions: asked };
        self.call(now, timeout, Target::Node(node), Request::Fetch(request), purpose);
    }

    // ------------------------------------------------------------------------------------------------ replies

    fn on_metadata_reply(&mut self, now: Instant, reply: Reply) {
        let Reply::Answered(Response::Metadata(response)) = reply else {
            self.metadata.on_failure(now, &mut self.prng);
            return;
        };
        if self.metadata.on_response(now, response, &mut self.prng) {
            let ixs: Vec<AssignedIx> = self.assigned.keys().copied().collect();
            for ix in ixs {
                self.adopt_metadata(ix);
            }
            self.orders.push_back(Order::Event(ConsumerEvent::Wake));
        }
    }

    fn adopt_metadata(&mut self, ix: AssignedIx) {
        let assigned = self.assigned.get_mut(&ix).expect("it is assigned");
        let Some(topic) = self.metadata.topic(&assigned.topic) else { return };
        let refused = if topic.id == TopicId::ZERO {
            topic.error
        } else if self.metadata.leader(&assigned.topic, assigned.number).is_none() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::None
        };
        if !refused.is_none() {
            // The metadata goes on asking by itself; what the application makes of it is its own affair.
            self.tell_failed(ix, ConsumerError::Refused(refused));
            return;
        }
        let id = topic.id;
        let Some(leader) = self.metadata.leader(&assigned.topic, assigned.number) else { return };
        if leader.node.is_some() && assigned.leader != leader.node && assigned.resting {
            // What rests does so because of the leader before.
            assigned.resting = false;
            self.timers.clear(Timer::Rest(ix));
        }
        assigned.follow_leader(leader.node, leader.epoch);
        let recreated = assigned.topic_id != TopicId::ZERO && assigned.topic_id != id;
        assigned.topic_id = id;
        if recreated && assigned.phase == Phase::Fetching {
            // Its offsets meant places in another log.
            self.reset(ix);
        }
        self.idle.insert(ix);
    }

    fn tell_failed(&mut self, ix: AssignedIx, error: ConsumerError) {
        let assigned = &self.assigned[&ix];
        let event = ConsumerEvent::Failed { topic: assigned.topic.clone(), partition: assigned.number, error };
        self.orders.push_back(Order::Event(event));
    }

    /// The position leads nowhere: start where the configuration says.
    fn reset(&mut self, ix: AssignedIx) {
        let assigned = self.assigned.get_mut(&ix).expect("it is assigned");
        let at = assigned.fetch_from;
        match self.config.reset {
            Some(StartAt::Offset(offset)) => assigned.go_to(offset),
            Some(StartAt::Earliest) => assigned.locate(OffsetSpec::Earliest),
            Some(StartAt::Latest) => assigned.locate(OffsetSpec::Latest),
            Some(StartAt::Time(time)) => assigned.locate(OffsetSpec::At(time)),
            None => {
                assigned.fail();
                self.tell_failed(ix, ConsumerError::OutOfRange(at));
                return;
            }
        }
        self.idle.insert(ix);
    }

    /// The partition that a reply is for, if it still wants it.
    fn answered(&mut self, (ix, generation): Asked) -> Option<&mut Assigned> {
        let assigned = self.assigned.get_mut(&ix).filter(|a| a.generation == generation)?;
        assigned.asking = false;
        self.idle.insert(ix);
        Some(assigned)
    }

    fn on_locate_reply(&mut self, now: Instant, asked: &[Asked], reply: Reply) {
        match reply {
            Reply::Answered(Response::ListOffsets(response)) if response.partitions.len() == asked.len() => {
                for (&asked, listed) in asked.iter().zip(response.partitions) {
                    self.on_located(now, asked, &listed);
                }
            }
            Reply::Refused(code) => self.on_all_failed(now, asked, code),
            _ => self.on_all_failed(now, asked, ErrorCode::NetworkException),
        }
    }

    fn on_located(&mut self, now: Instant, asked: Asked, listed: &ListedOffset) {
        let Some(assigned) = self.answered(asked) else { return };
        let Phase::Locating(spec) = assigned.phase else { return };
        if !listed.error.is_none() {
            self.on_refused(now, asked.0, listed.error);
        } else if listed.offset != Offset::NONE {
            let buffered = !assigned.buffered.is_empty();
            let position = assigned.position;
            assigned.go_to(listed.offset);
            if buffered {
                assigned.position = position;
            }
        } else if spec != OffsetSpec::Latest {
            // No record fits: it is yet to come.
            assigned.locate(OffsetSpec::Latest);
        } else {
            self.on_refused(now, asked.0, ErrorCode::OffsetNotAvailable);
        }
    }

    fn on_fetch_reply(&mut self, now: Instant, node: NodeId, asked: &[Asked], reply: Reply) {
        match reply {
            Reply::Answered(Response::Fetch(response)) if response.partitions.len() == asked.len() => {
                for (&asked, fetched) in asked.iter().zip(response.partitions) {
                    self.on_fetched(now, node, asked, fetched);
                }
                return;
            }
            _ => {}
        }
        for (ix, generation) in asked {
            let assigned = self.assigned.get_mut(ix).filter(|a| a.generation == *generation);
            if let Some(assigned) = assigned.filter(|a| a.leader != Some(node)) {
                assigned.leave_follower(now);
            }
        }
        match reply {
            Reply::Refused(code) => self.on_all_failed(now, asked, code),
            _ => self.on_all_failed(now, asked, ErrorCode::NetworkException),
        }
    }

    fn on_all_failed(&mut self, now: Instant, asked: &[Asked], code: ErrorCode) {
        for &asked in asked {
            if self.answered(asked).is_some() {
                self.on_refused(now, asked.0, code);
            }
        }
    }

    fn on_fetched(&mut self, now: Instant, node: NodeId, asked: Asked, fetched: FetchedPartition) {
        let isolation = self.config.isolation;
        let resets = self.config.reset.is_some();
        let lasts = self.config.metadata.max_age;
        let Some(assigned) = self.answered(asked) else { return };
        let ix = asked.0;
        if assigned.leader != Some(node) && !fetched.error.is_none() {
            // What a follower does not have the leader may; no reader's place is lost by a follower's word.
            assigned.leave_follower(now);
            if matches!(fetched.error, ErrorCode::OffsetOutOfRange | ErrorCode::OffsetNotAvailable) {
                return;
            }
        }
        match fetched.error {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => return self.reset(ix),
            code => return self.on_refused(now, ix, code),
        }
        if let Some(to) = fetched.preferred_read_replica {
            assigned.sent_on(now, node, to, lasts);
            return;
        }
        assigned.failures = 0;
        assigned.high_watermark = fetched.high_watermark;
        assigned.log_start = fetched.log_start;
        if let Some((epoch, end)) = fetched.diverging {
            let position = assigned.fetch_from;
            if end < position {
                let (topic, partition) = (assigned.topic.clone(), assigned.number);
                if !resets {
                    assigned.fail();
                    self.tell_failed(ix, ConsumerError::Truncated { position, end });
                    return;
                }
                let freed = assigned.truncate(epoch, end);
                let drained = assigned.buffered.is_empty();
                self.buffered -= freed;
                if drained {
                    self.ready.retain(|&r| r != ix);
                }
                self.orders.push_back(Order::Event(ConsumerEvent::Truncated { topic, partition, end }));
            } else {
                // Only the epoch is unknown there; the place itself is the same.
                assigned.last_epoch = epoch;
            }
            return;
        }
        let (bytes, broken) = match assigned.take(fetched.records, fetched.aborted, isolation) {
            Taken::Whole { bytes } => (bytes, None),
            Taken::Broken { bytes, error } => (bytes, Some(error)),
        };
        let (at, corrupt, paused) = (assigned.fetch_from, assigned.corrupt, assigned.paused);
        self.buffered += bytes;
        if bytes > 0 && !paused {
            self.make_ready(ix);
        }
        if let Some(error) = broken {
            if corrupt < CORRUPT_FETCHES_MAX {
                self.rest(now, ix);
            } else {
                self.assigned.get_mut(&ix).expect("it is assigned").fail();
                self.tell_failed(ix, ConsumerError::Corrupt { at, error });
            }
        }
    }

    fn on_refused(&mut self, now: Instant, ix: AssignedIx, code: ErrorCode) {
        if passes(code) {
            if code != ErrorCode::OffsetNotAvailable {
                self.metadata.request_refresh(now, &mut self.prng);
            }
            self.rest(now, ix);
            if self.assigned[&ix].failures == FAILURES_UNTIL_TOLD {
                self.tell_failed(ix, ConsumerError::Refused(code));
            }
        } else {
            self.assigned.get_mut(&ix).expect("it is assigned").fail();
            self.tell_failed(ix, ConsumerError::Refused(code));
        }
    }

    fn rest(&mut self, now: Instant, ix: AssignedIx) {
        let assigned = self.assigned.get_mut(&ix).expect("it is assigned");
        assigned.resting = true;
        assigned.failures = assigned.failures.saturating_add(1);
        let wait = self.config.backoff.after(assigned.failures, &mut self.prng);
        self.timers.set(Timer::Rest(ix), now.after(wait));
    }

    fn on_ended(&mut self, now: Instant, purpose: Purpose, reply: Reply) {
        match purpose {
            Purpose::Metadata => self.on_metadata_reply(now, reply),
            Purpose::Locate(asked) => self.on_locate_reply(now, &asked, reply),
            Purpose::Fetch { node, reserved, partitions } => {
                self.reserved -= reserved;
                let fetches = self.fetches.get_mut(&node).expect("a fetch from the node was open");
                *fetches -= 1;
                if *fetches == 0 {
                    self.fetches.remove(&node);
                }
                self.on_fetch_reply(now, node, &partitions, reply);
            }
        }
    }
}

impl Machine for Consumer {
    type Event = ConsumerEvent;

    fn on_reply(&mut self, now: Instant, call: CallId, reply: Reply) {
        if let Some(purpose) = self.calls.close(call) {
            self.on_ended(now, purpose, reply);
            self.drive(now);
        }
    }

    fn on_time(&mut self, now: Instant) {
        while let Some((id, purpose)) = self.calls.close_overdue(now) {
            self.orders.push_back(Order::Abandon(id));
            self.on_ended(now, purpose, Reply::Lost);
        }
        while let Some(Timer::Rest(ix)) = self.timers.pop_due(now) {
            if let Some(assigned) = self.assigned.get_mut(&ix) {
                assigned.resting = false;
                self.idle.insert(ix);
            }
        }
        self.drive(now);
    }

    fn poll_order(&mut self) -> Option<Order<ConsumerEvent>> {
        self.orders.pop_front()
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.calls.next_deadline(), self.timers.next_deadline(), self.metadata.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Is this a refusal that time may heal? A batch that the node finds broken on its disk stays broken, whatever Kafka's
/// table says of its code.
fn passes(code: ErrorCode) -> bool {
    code.is_retriable() && code != ErrorCode::CorruptMessage
}

/// Responses of one partition that may be buffered when the next is asked for: the one being consumed and one ahead.
const RESPONSES_AHEAD_MAX: usize = 2;
/// Fetches to one node at once: while one waits for empty partitions, others must not wait with it.
const FETCHES_PER_NODE_MAX: usize = 3;
/// Broken batches at one place, in a row, after which it is the log that is broken and not the way here.
const CORRUPT_FETCHES_MAX: u32 = 3;
/// Failures in a row after which the application hears of one that is still being retried.
const FAILURES_UNTIL_TOLD: u32 = 5;

#[cfg(test)]
mod tests;
