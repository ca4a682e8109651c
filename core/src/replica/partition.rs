//! The leader's view of one partition.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    TailBudget,
    admission::{self, Admission, Refusal},
    in_flight::{Append, InFlight},
    tail::Tail,
};
use crate::{
    cluster,
    effect::Effects,
    epoch::LeaderEpoch,
    ids::{JobId, LogId, NodeId, ProducerId, RequestId, TopicName, TopicPartition},
    log::{EpochCache, Job, JobOutcome, LogConfig, LogError, LogState, ProducerTable, Sequence},
    message::{Acks, ErrorCode, LogRead, Records},
    mutant,
    offset::Offset,
    record::{Batch, TimestampType},
    time::{Duration, Now, Timestamp},
};

/// Somebody who waits for the outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The request.
    pub request: RequestId,
    /// Which of its partitions.
    pub index: usize,
}

/// What an answer of the disk has brought about.
#[derive(Debug, Default, PartialEq)]
pub struct Completed {
    /// Appends whose outcome is now known.
    pub acks: Vec<(Ack, ErrorCode)>,
    /// Committed bytes that readers can now see; 0 when the high watermark stayed.
    pub committed_bytes: usize,
    /// Parked readers to look at again.
    pub readers: Vec<RequestId>,
}

/// Where a reader's batches come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadPlan {
    /// The offset is not in the log.
    OutOfRange,
    /// This can be read, and so many bytes of it at least count towards `min_bytes`.
    Read {
        /// The batches, or the order to read them.
        records: Records,
        /// Their bytes; of a read from disk, the most that it may bring.
        bytes: usize,
    },
}

/// A partition's log that has just been opened.
#[derive(Debug)]
pub struct OpenedLog {
    /// Whose.
    pub id: TopicPartition,
    /// Its topic's name.
    pub topic: TopicName,
    /// Its handle.
    pub log: LogId,
    /// Its settings.
    pub config: LogConfig,
    /// What was found in it.
    pub state: LogState,
}

/// One partition that this node leads.
#[derive(Debug)]
pub struct Partition {
    /// Which.
    pub id: TopicPartition,
    /// Its topic's name.
    pub topic: TopicName,
    /// Its log.
    pub log: LogId,
    /// Its log's settings.
    pub config: LogConfig,
    me: NodeId,
    replicas: usize,
    isr: Vec<NodeId>,
    leader_epoch: LeaderEpoch,
    log_start: Offset,
    log_end: Offset,
    durable_end: Offset,
    high_watermark: Offset,
    size: u64,
    epochs: EpochCache,
    producers: ProducerTable,
    in_flight: InFlight,
    tail: Tail,
    /// An append failed: those behind it will fail too, and until they have, nothing is admitted.
    failing: bool,
    /// The log takes no more, for good.
    offline: bool,
    waiting: BTreeMap<Offset, Vec<Ack>>,
    readers: Vec<RequestId>,
    /// Something has been appended since the log was last looked at by the cleaner, or for expiry.
    touched: Touched,
    canary: u64,
}

/// What has happened to a log since housekeeping last looked at it, so that an idle log costs none.
#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    cleaner: bool,
    expiry: bool,
}

impl Partition {
    /// Takes the lead of a partition whose log has just been opened. Its epoch is noted in the log before anything is
    /// appended in it (KIP-101).
    pub fn lead(
        me: NodeId,
        opened: OpenedLog,
        image: &cluster::Partition,
        effects: &mut Effects,
    ) -> (Self, Option<JobId>) {
        let OpenedLog { id, topic, log, config, state } = opened;
        let mut partition = Self {
            id,
            topic,
            log,
            config,
            me,
            replicas: image.replicas.len(),
            isr: image.isr.clone(),
            leader_epoch: LeaderEpoch::NONE,
            log_start: state.log_start,
            log_end: state.log_end,
            durable_end: state.log_end,
            high_watermark: state.high_watermark.max(state.log_start),
            size: state.size,
            epochs: EpochCache::from_starts(&state.epochs),
            producers: state.producers,
            in_flight: InFlight::default(),
            tail: Tail::default(),
            failing: false,
            offline: false,
            waiting: BTreeMap::new(),
            readers: Vec::new(),
            touched: Touched { cleaner: true, expiry: true },
            canary: 0,
        };
        let order = partition.take_epoch(image.leader_epoch, effects);
        partition.advance_high_watermark();
        partition.check();
        (partition, order)
    }

    /// Begins an epoch; returns the order that notes it in the log, unless the log has it already.
    fn take_epoch(&mut self, epoch: LeaderEpoch, effects: &mut Effects) -> Option<JobId> {
        assert!(epoch > self.leader_epoch, "a leader's epoch is new to it");
        self.leader_epoch = epoch;
        if self.epochs.latest().is_some_and(|latest| latest >= epoch) {
            return None;
        }
        self.epochs.assign(epoch, self.log_end);
        Some(effects.run(self.log, Job::StartEpoch { epoch, start: self.log_end }))
    }

    /// The relations between the marks (R5).
    fn check(&self) {
        assert!(self.log_start <= self.high_watermark);
        assert!(self.high_watermark <= self.durable_end);
        assert!(self.durable_end <= self.log_end);
        assert!(self.isr.contains(&self.me), "a leader is in sync with itself");
    }

    /// Takes a producer's batch in, or says why not. `waiter` hears of the outcome if [`Admission::waits`] says so.
    pub fn admit(
        &mut self,
        now: Now,
        batch: Batch,
        acks: Acks,
        waiter: Ack,
        budget: &mut TailBudget,
        effects: &mut Effects,
    ) -> Result<Admission, Refusal> {
        let mut admission = self.try_admit(now, batch, acks, budget, effects)?;
        let at_once = mutant!(Y12) && admission.duplicate;
        admission.waits = acks != Acks::None && admission.end > self.acknowledged(acks) && !at_once;
        if admission.waits {
            self.waiting.entry(admission.end).or_default().push(waiter);
        }
        Ok(admission)
    }

    fn acknowledged(&self, acks: Acks) -> Offset {
        match acks {
            Acks::None => self.log_end,
            Acks::Leader => self.durable_end,
            Acks::All => self.high_watermark,
        }
    }

    fn try_admit(
        &mut self,
        now: Now,
        mut batch: Batch,
        acks: Acks,
        budget: &mut TailBudget,
        effects: &mut Effects,
    ) -> Result<Admission, Refusal> {
        if self.offline {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, "the log is offline"));
        }
        if self.failing || self.in_flight.has_failed() {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, "an earlier append has just failed"));
        }
        admission::check(&batch, &self.config, self.id.topic, now.wall)?;
        admission::check_in_sync(acks, self.isr.len(), self.replicas, &self.config)?;
        if batch.header().has_producer()
            && let Sequence::Duplicate(known) = self.in_flight.check(&self.producers, batch.header())?
        {
            let (base, end) = (known.base_offset(), known.last_offset.next());
            return Ok(Admission { base, end, duplicate: true, waits: false });
        }
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            batch.stamp_log_append_time(now.wall);
        }
        batch.stamp(self.log_end, self.leader_epoch);
        let (base, end) = (self.log_end, batch.header().next_offset());
        self.canary += 1;
        if mutant!(X87) && self.canary.is_multiple_of(64) && self.in_flight.is_empty() {
            return Ok(Admission { base, end: self.high_watermark, duplicate: false, waits: false });
        }
        self.append(now, batch, budget, effects);
        Ok(Admission { base, end, duplicate: false, waits: false })
    }

    /// Appends a batch that has its offsets and its epoch.
    fn append(&mut self, now: Now, batch: Batch, budget: &mut TailBudget, effects: &mut Effects) {
        let header = *batch.header();
        self.log_end = header.next_offset();
        budget.add(self.log, &batch);
        self.tail.push(batch.clone());
        let sync = self.config.durability == crate::log::Durability::Fsync;
        let job = effects.run(self.log, Job::Append { batches: alloc::vec![batch], sync, wall: now.wall });
        if mutant!(X62) {
            self.producers.record(&header);
        }
        self.in_flight.push(&self.producers, job, self.log_end, header);
        self.touched = Touched { cleaner: true, expiry: true };
    }

    /// The disk has answered an append.
    pub fn append_ended(
        &mut self,
        job: JobId,
        outcome: Result<JobOutcome, LogError>,
        budget: &mut TailBudget,
    ) -> Completed {
        let mut completed = Completed::default();
        self.in_flight.answer(job, outcome);
        while let Some((append, outcome)) = self.in_flight.pop_answered() {
            match outcome {
                Ok(JobOutcome::Appended { end, size }) => self.appended(&append, end, size, &mut completed),
                Ok(other) => panic!("an append was answered by {other:?}"),
                Err(error) => {
                    self.failing = true;
                    self.offline |= matches!(error, LogError::Offline(_) | LogError::Corrupt { .. });
                    let failed = self.waiting.remove(&append.end).unwrap_or_default();
                    completed.acks.extend(failed.into_iter().map(|ack| (ack, ErrorCode::KafkaStorageError)));
                }
            }
        }
        if self.failing && self.in_flight.is_empty() {
            // The log is as it was before the first append that failed; so is everything that is known of it.
            budget.remove(self.tail.clear());
            self.log_end = self.durable_end;
            self.failing = false;
            assert!(self.waiting.is_empty(), "whoever waited for a failed append has been told");
        }
        self.check();
        completed
    }

    fn appended(&mut self, append: &Append, end: Offset, size: u64, completed: &mut Completed) {
        assert!(!self.failing, "nothing is appended behind a failed append");
        assert!(end == append.end, "the log's end is where the append put it");
        self.producers.record(&append.header);
        self.durable_end = end;
        self.size = size;
        self.advance_high_watermark();
        let still_waiting = self.waiting.split_off(&self.high_watermark.next());
        let acked = core::mem::replace(&mut self.waiting, still_waiting);
        completed.acks.extend(acked.into_values().flatten().map(|ack| (ack, ErrorCode::None)));
        completed.committed_bytes += append.header.size().unwrap_or(0);
        completed.readers.append(&mut self.readers);
    }

    /// The high watermark is what every replica in sync has. Without followers that is this node.
    fn advance_high_watermark(&mut self) {
        assert!(self.isr == [self.me], "followers come with the cluster");
        self.high_watermark = self.high_watermark.max(self.durable_end);
    }

    /// Drops the oldest batch from memory, if it is still the one at `base`.
    pub fn drop_tail(&mut self, base: Offset, budget: &mut TailBudget) {
        budget.remove(self.tail.drop_oldest(base));
    }

    /// Drops every batch from memory.
    pub fn drop_whole_tail(&mut self, budget: &mut TailBudget) {
        budget.remove(self.tail.clear());
    }

    /// What a reader gets from `offset` on, up to the high watermark.
    pub fn read(&self, offset: Offset, max_bytes: usize, at_least_one: bool) -> ReadPlan {
        if offset < self.log_start || offset > self.log_end {
            return ReadPlan::OutOfRange;
        }
        let bound = self.high_watermark;
        if offset >= bound || (max_bytes == 0 && !at_least_one) {
            return ReadPlan::Read { records: Records::Empty, bytes: 0 };
        }
        if self.tail.start().is_some_and(|start| start <= offset) {
            let batches = self.tail.read(offset, bound, max_bytes, at_least_one);
            let bytes = batches.iter().map(Batch::size).sum();
            let records = if batches.is_empty() { Records::Empty } else { Records::Batches(batches) };
            return ReadPlan::Read { records, bytes };
        }
        let read = LogRead { log: self.log, from: offset, bound, max_bytes, at_least_one };
        ReadPlan::Read { records: Records::Log(read), bytes: max_bytes.max(1) }
    }

    /// How much a reader at `offset` could be given, counted no further than `enough`. What only the disk has counts as
    /// enough: it is older than what a waiting reader waits for.
    pub fn available(&self, offset: Offset, enough: usize) -> usize {
        if offset < self.log_start || offset >= self.high_watermark {
            0
        } else if self.tail.start().is_some_and(|start| start <= offset) {
            self.tail.available(offset, self.high_watermark, enough)
        } else {
            enough
        }
    }

    /// A reader waits for the high watermark to move.
    pub fn park_reader(&mut self, request: RequestId) {
        self.readers.push(request);
    }

    /// A parked reader has been answered otherwise. Kept short by the caller: a reader is parked once.
    pub fn unpark_reader(&mut self, request: RequestId) {
        self.readers.retain(|r| *r != request);
    }

    /// Is this the epoch that a request believes in (KIP-320)? An absent one is not checked.
    pub fn check_epoch(&self, current: LeaderEpoch) -> ErrorCode {
        if current == LeaderEpoch::NONE || current == self.leader_epoch {
            ErrorCode::None
        } else if current < self.leader_epoch {
            ErrorCode::FencedLeaderEpoch
        } else {
            ErrorCode::UnknownLeaderEpoch
        }
    }

    /// Has a reader whose last batch is of `epoch` and who goes on at `offset` another log than this one (KIP-595)?
    pub fn divergence(&self, epoch: LeaderEpoch, offset: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        let (shared, end) = self.epochs.end_of(epoch, self.log_end)?;
        (shared < epoch || end < offset).then_some((shared, end))
    }

    /// Where `epoch` ends, for KIP-101's question.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_of(epoch, self.log_end)
    }

    /// Epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        self.epochs.epoch_at(offset).unwrap_or(LeaderEpoch::NONE)
    }

    /// The target of a DeleteRecords request, if it can be one (KIP-107).
    pub fn delete_target(&self, offset: Offset) -> Result<Offset, ErrorCode> {
        if self.config.cleanup.compact && !self.config.cleanup.delete {
            return Err(ErrorCode::PolicyViolation);
        }
        match offset {
            Offset::NONE => Ok(self.high_watermark),
            Offset(at) if at < 0 || offset > self.high_watermark => Err(ErrorCode::OffsetOutOfRange),
            _ => Ok(offset.max(self.log_start)),
        }
    }

    /// Retention, the cleaner or DeleteRecords have changed the log.
    pub fn trimmed(&mut self, log_start: Offset, size: u64) {
        assert!(log_start <= self.high_watermark, "nothing uncommitted is removed (R14)");
        if log_start > self.log_start {
            self.log_start = log_start;
            self.epochs.truncate_start(log_start);
        }
        self.size = size;
        self.touched.expiry = true;
        self.check();
    }

    /// The log has dropped these idle producers.
    pub fn producers_expired(&mut self, expired: &[ProducerId], wall: Timestamp) {
        for producer in expired {
            let idle = self.producers.get(*producer).is_some_and(|entry| {
                let idle_ms = i64::try_from(self.config.producer_expiration.as_millis()).unwrap_or(i64::MAX);
                wall.millis_since(entry.last_timestamp) >= idle_ms
            });
            // It may have written again since the log looked; then the log knows it again, too.
            if idle {
                self.producers.remove(*producer);
            }
        }
    }

    /// The log failed outside an append.
    pub fn take_offline(&mut self) {
        self.offline = true;
    }

    /// The jobs that housekeeping has for this log now.
    pub fn housekeeping(&mut self, wall: Timestamp, which: Housekeeping) -> Option<Job> {
        if self.offline {
            return None;
        }
        match which {
            Housekeeping::Retention => Some(Job::Retain { high_watermark: self.high_watermark, wall }),
            Housekeeping::Cleaning => {
                let due = self.config.cleanup.compact && core::mem::take(&mut self.touched.cleaner);
                // What is too young to be cleaned, or not dirty enough, may be due later without another append.
                let lags = self.config.min_compaction_lag > Duration::ZERO || self.config.max_compaction_lag.is_some();
                self.touched.cleaner |= due && lags;
                due.then_some(Job::Clean { bound: self.high_watermark, wall })
            }
            Housekeeping::Expiry => {
                let due = core::mem::take(&mut self.touched.expiry);
                // Producers expire long after the last append, so a log that has some is looked at again.
                self.touched.expiry = !self.producers.is_empty();
                due.then_some(Job::Expire { wall })
            }
        }
    }

    /// Everybody who waits, when the partition goes away.
    pub fn abandon(&mut self) -> (Vec<Ack>, Vec<RequestId>) {
        let acks = core::mem::take(&mut self.waiting).into_values().flatten().collect();
        (acks, core::mem::take(&mut self.readers))
    }

    /// Can it be read and written?
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Where the log begins.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Where committed records end.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where decided records end; without transactions, the high watermark.
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark
    }

    /// Bytes of the log.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// No append on its way to the disk?
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }
}

/// What is done to logs every now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Housekeeping {
    /// Old segments go (semantics §13).
    Retention,
    /// Superseded records go (semantics §12).
    Cleaning,
    /// Idle producers and files whose delay is over go.
    Expiry,
}
