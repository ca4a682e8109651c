//! One partition's log as this node sees it: its marks, its appends on their way, who leads it.

use alloc::vec::Vec;

use super::{
    TailBudget,
    following::Follower,
    in_flight::{Append, InFlight},
    leading::{Ack, Leader},
    refused::Refused,
    tail::Tail,
};
use crate::{
    cluster,
    effect::Effects,
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{JobId, LogId, NodeId, ProducerId, RequestId, TopicName, TopicPartition},
    log::{Durability, EpochCache, Job, JobOutcome, LogConfig, LogError, LogState, ProducerTable},
    message::{ErrorCode, LogRead, Records},
    mutant,
    offset::Offset,
    record::{Batch, BatchHeader},
    time::{Duration, Now, Timestamp},
};

/// What an input has brought about in a partition.
#[derive(Debug, Default, PartialEq)]
pub struct Completed {
    /// Appends whose outcome is now known.
    pub acks: Vec<(Ack, ErrorCode)>,
    /// Committed bytes that the readers below can now see.
    pub committed_bytes: usize,
    /// Parked readers to look at again.
    pub readers: Vec<RequestId>,
    /// Parked readers for whom there is nothing here any more.
    pub abandoned: Vec<RequestId>,
    /// The high watermark has moved.
    pub moved: bool,
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

/// One partition that this node has a replica of.
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
    pub(super) me: NodeId,
    pub(super) replicas: Vec<NodeId>,
    pub(super) leader: Option<NodeId>,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) partition_epoch: PartitionEpoch,
    pub(super) role: Role,
    pub(super) log_start: Offset,
    pub(super) log_end: Offset,
    pub(super) durable_end: Offset,
    pub(super) high_watermark: Offset,
    pub(super) size: u64,
    pub(super) epochs: EpochCache,
    pub(super) producers: ProducerTable,
    pub(super) in_flight: InFlight,
    pub(super) refused: Refused,
    pub(super) tail: Tail,
    /// An append failed: those behind it will fail too, and until they have, nothing is admitted.
    pub(super) failing: bool,
    /// Batches whose append failed though followers may have them already: they are appended again.
    pub(super) unwritten: Vec<Batch>,
    /// The log takes no more, for good.
    pub(super) offline: bool,
    pub(super) readers: Vec<RequestId>,
    /// Something has been appended since the log was last looked at by the cleaner, or for expiry.
    pub(super) touched: Touched,
    pub(super) canary: u64,
    /// This node is to lead, but the log is not at rest yet.
    deferred: bool,
    pub(super) noted_watermark: Offset,
}

/// What this node is to the partition.
#[derive(Debug)]
pub(super) enum Role {
    Leader(Leader),
    Follower(Follower),
}

/// What has happened to a log since housekeeping last looked at it, so that an idle log costs none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touched {
    pub(super) cleaner: bool,
    pub(super) expiry: bool,
}

impl Partition {
    /// A partition whose log has just been opened. It follows nobody until it is told its part by
    /// [`Partition::apply_image`].
    pub fn open(me: NodeId, opened: OpenedLog) -> Self {
        let OpenedLog { id, topic, log, config, state } = opened;
        let high_watermark = if mutant!(X12) { state.log_start } else { state.high_watermark.max(state.log_start) };
        let partition = Self {
            id,
            topic,
            log,
            config,
            me,
            replicas: Vec::new(),
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            partition_epoch: PartitionEpoch(-1),
            role: Role::Follower(Follower::new(None, false)),
            log_start: state.log_start,
            log_end: state.log_end,
            durable_end: state.log_end,
            high_watermark,
            size: state.size,
            epochs: EpochCache::from_starts(&state.epochs),
            producers: state.producers,
            in_flight: InFlight::default(),
            refused: Refused::new(),
            tail: Tail::default(),
            failing: false,
            unwritten: Vec::new(),
            offline: false,
            readers: Vec::new(),
            touched: Touched { cleaner: true, expiry: true },
            canary: 0,
            deferred: false,
            noted_watermark: state.high_watermark,
        };
        partition.check();
        partition
    }

    /// Takes over what the metadata says of the partition: who leads it, who is in sync. Returns the job that notes a
    /// new epoch in the log, where this node now leads (KIP-101). Older metadata than what is known is ignored.
    pub fn apply_image(
        &mut self,
        now: Now,
        image: &cluster::Partition,
        budget: &mut TailBudget,
        effects: &mut Effects,
    ) -> (Option<JobId>, Completed) {
        let mut completed = Completed::default();
        if image.partition_epoch < self.partition_epoch || image.leader_epoch < self.leader_epoch {
            return (None, completed);
        }
        let leads = image.leader == Some(self.me);
        self.deferred =
            leads && !self.is_leader() && (self.is_cutting() || self.failing || self.in_flight.has_failed());
        if self.deferred {
            // An epoch begins where the log ends, and that is about to change.
            return (None, completed);
        }
        let is_new_epoch = image.leader_epoch > self.leader_epoch;
        let same_leader = self.leader == image.leader && image.leader.is_some();
        self.partition_epoch = image.partition_epoch;
        self.replicas.clone_from(&image.replicas);
        self.leader = image.leader;
        let mut order = None;
        match (&mut self.role, leads) {
            (Role::Leader(leader), true) if !is_new_epoch => {
                leader.in_sync.refresh(now.mono, image);
                if !mutant!(X18) {
                    self.advance(&mut completed);
                }
            }
            (Role::Leader(_), false) => {
                self.leader_epoch = image.leader_epoch;
                order = self.become_follower(same_leader, budget, effects, &mut completed);
            }
            (Role::Follower(_), false) if is_new_epoch || !same_leader => {
                self.leader_epoch = image.leader_epoch;
                order = self.become_follower(same_leader, budget, effects, &mut completed);
            }
            (Role::Follower(_), false) => {}
            (_, true) => {
                self.leader_epoch = image.leader_epoch;
                order = self.become_leader(now, image, effects, &mut completed);
            }
        }
        self.check();
        (order, completed)
    }

    /// Is the metadata to be applied again, now that the log may be at rest?
    pub fn is_deferred(&self) -> bool {
        self.deferred
    }

    /// The relations between the marks (R5).
    pub(super) fn check(&self) {
        assert!(self.log_start <= self.high_watermark);
        assert!(self.high_watermark <= self.durable_end);
        assert!(self.durable_end <= self.log_end);
    }

    /// Appends batches that have their offsets and epochs.
    pub(super) fn append(
        &mut self,
        wall: Timestamp,
        batches: Vec<Batch>,
        budget: &mut TailBudget,
        effects: &mut Effects,
    ) {
        for batch in &batches {
            let header = batch.header();
            self.log_end = header.next_offset();
            if !self.tail.ends_at(header.base_offset) {
                // A follower of a compacted log meets gaps.
                budget.remove(self.tail.clear());
            }
            budget.add(self.log, batch);
            self.tail.push(batch.clone());
            if mutant!(X62) {
                self.producers.record(header);
            }
        }
        self.order(wall, batches, effects);
    }

    /// Has the log append batches that are accounted for already.
    fn order(&mut self, wall: Timestamp, mut batches: Vec<Batch>, effects: &mut Effects) {
        let rest = if batches.len() > 1 { batches[1..].to_vec() } else { Vec::new() };
        let first = batches.first().expect("something is appended").clone();
        batches.shrink_to_fit();
        let sync = self.config.durability == Durability::Fsync;
        let job = effects.run(self.log, Job::Append { batches, sync, wall });
        self.in_flight.push(&self.producers, Append::new(job, first, rest));
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
        let mut written = false;
        while let Some((append, outcome)) = self.in_flight.pop_answered() {
            match outcome {
                Ok(JobOutcome::Appended { end, size }) => {
                    self.appended(&append, end, size);
                    written = true;
                }
                Ok(other) => panic!("an append was answered by {other:?}"),
                Err(error) => {
                    self.failing = true;
                    self.offline |= error.is_lasting();
                    if self.keeps_unwritten() {
                        // It will be in the log after all: an error now, and its producer may begin a new epoch and send it
                        // once more.
                        self.unwritten.extend(append.into_batches());
                    } else {
                        self.fail_waiters(append.end(), &mut completed);
                        let unknown = |header: &&BatchHeader| {
                            header.has_producer() && self.producers.get(header.producer_id).is_none()
                        };
                        append.headers().filter(unknown).for_each(|header| self.refused.note(header));
                    }
                }
            }
        }
        if written {
            self.advance(&mut completed);
        }
        if self.failing && self.in_flight.is_empty() && !self.keeps_unwritten() {
            self.forget_unwritten(budget);
        }
        self.check();
        completed
    }

    /// A leader's followers may have a batch before its own disk has refused it. What has been given out under an offset
    /// is what will stand there, so it is appended again.
    fn keeps_unwritten(&self) -> bool {
        self.replicas.len() > 1 && self.is_leader() && !self.offline
    }

    /// The log is as it was before the first append that failed; so is everything that is known of it.
    pub(super) fn forget_unwritten(&mut self, budget: &mut TailBudget) {
        budget.remove(self.tail.clear());
        self.unwritten.clear();
        self.log_end = self.durable_end;
        if let Role::Follower(follower) = &mut self.role {
            self.epochs.truncate_end(self.log_end);
            // What was asked for since does not follow it. A leader that has no more answers nothing about it, ever.
            follower.asked = None;
        }
        self.failing = false;
    }

    /// Are there batches that wait to be appended again?
    pub fn wants_retry(&self) -> bool {
        self.failing && self.in_flight.is_empty() && !self.unwritten.is_empty() && !self.offline
    }

    /// Appends again what has failed.
    pub fn retry(&mut self, now: Now, effects: &mut Effects) {
        if self.wants_retry() {
            self.failing = false;
            let batches = core::mem::take(&mut self.unwritten);
            self.order(now.wall, batches, effects);
        }
    }

    fn appended(&mut self, append: &Append, end: Offset, size: u64) {
        assert!(!self.failing, "nothing is appended behind a failed append");
        assert!(end == append.end(), "the log's end is where the append put it");
        for header in append.headers() {
            self.producers.record(header);
            self.refused.forget(header.producer_id);
        }
        self.durable_end = end;
        self.size = size;
    }

    /// Moves the high watermark to where it may be, and tells whoever waited for that.
    pub(super) fn advance(&mut self, completed: &mut Completed) {
        let target = match &self.role {
            Role::Leader(leader) if leader.in_sync.committed().len() < self.min_in_sync() && !mutant!(X25) => {
                // With fewer in sync than were asked for, nothing counts as committed (KIP-966).
                self.high_watermark
            }
            Role::Leader(leader) => leader.in_sync.all_have(self.durable_end),
            Role::Follower(follower) => follower.leader_watermark.min(self.durable_end),
        };
        if target > self.high_watermark {
            if !self.readers.is_empty() {
                completed.committed_bytes += self.bytes_between(self.high_watermark, target);
                completed.readers.append(&mut self.readers);
            }
            self.high_watermark = target;
            completed.moved = true;
        }
        self.release_waiters(completed);
    }

    /// Bytes of the batches in between; what only the disk has counts as enough for anybody.
    fn bytes_between(&self, from: Offset, to: Offset) -> usize {
        match self.tail.start() {
            Some(start) if start <= from => self.tail.available(from, to, usize::MAX),
            _ => usize::MAX / 2,
        }
    }

    /// How many replicas must be in sync for a write that all of them must have.
    pub(super) fn min_in_sync(&self) -> usize {
        (self.config.min_insync_replicas as usize).min(self.replicas.len())
    }

    /// Drops the oldest batch from memory, if it is still the one at `base`.
    pub fn drop_tail(&mut self, base: Offset, budget: &mut TailBudget) {
        budget.remove(self.tail.drop_oldest(base));
    }

    /// Drops every batch from memory.
    pub fn drop_whole_tail(&mut self, budget: &mut TailBudget) {
        budget.remove(self.tail.clear());
    }

    pub(super) fn read_below(&self, bound: Offset, offset: Offset, max_bytes: usize, at_least_one: bool) -> ReadPlan {
        if offset < self.log_start || offset > self.log_end {
            return ReadPlan::OutOfRange;
        }
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
        if current == LeaderEpoch::NONE || current == self.leader_epoch || mutant!(X06) {
            ErrorCode::None
        } else if current < self.leader_epoch {
            ErrorCode::FencedLeaderEpoch
        } else {
            ErrorCode::UnknownLeaderEpoch
        }
    }

    /// May a request that believes in this epoch, and needs the leader, be served here?
    pub fn check_leader(&self, current: LeaderEpoch) -> ErrorCode {
        match self.check_epoch(current) {
            ErrorCode::None if !self.is_leader() => ErrorCode::NotLeaderOrFollower,
            error => error,
        }
    }

    /// Has a reader whose last batch is of `epoch` and who goes on at `offset` another log than this one (KIP-595)?
    pub fn divergence(&self, epoch: LeaderEpoch, offset: Offset) -> Option<(LeaderEpoch, Offset)> {
        let parts = self.epochs.divergence(epoch, offset, self.log_end)?;
        // The planted bug: of an epoch that the leader never had it says that it ends where the log does.
        (parts.0 == epoch || !mutant!(X02)).then_some(parts)
    }

    /// Where `epoch` ends, for KIP-101's question.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_of(epoch, self.log_end)
    }

    /// Epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        self.epochs.epoch_at(offset).unwrap_or(LeaderEpoch::NONE)
    }

    /// The epochs and where they begin, for checkers.
    pub fn epochs(&self) -> &[(LeaderEpoch, Offset)] {
        self.epochs.entries()
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

    /// Is anything known of this producer, from the log or from what is on its way there?
    pub fn knows_producer(&self, producer: ProducerId) -> bool {
        self.in_flight.knows(&self.producers, producer)
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
        if self.offline || self.is_cutting() {
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
                self.refused.expire(wall, self.config.producer_expiration);
                let due = core::mem::take(&mut self.touched.expiry);
                // Producers expire long after the last append, so a log that has some is looked at again.
                self.touched.expiry = !self.producers.is_empty();
                due.then_some(Job::Expire { wall })
            }
        }
    }

    /// The order to note the high watermark for the next checkpoint, where it has moved since the last one.
    pub fn note_watermark(&mut self) -> Option<Job> {
        let moved = self.noted_watermark != self.high_watermark && !self.offline;
        self.noted_watermark = self.high_watermark;
        (moved && !mutant!(X12)).then_some(Job::NoteHighWatermark { to: self.high_watermark })
    }

    /// Everybody who waits, when the partition goes away.
    pub fn abandon(&mut self) -> (Vec<Ack>, Vec<RequestId>) {
        (self.take_waiters(), core::mem::take(&mut self.readers))
    }

    /// Can it be read and written?
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Does this node lead it?
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Who leads it, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// That leader's epoch.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The state of the metadata that this is.
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// All replicas, the preferred leader first.
    pub fn replicas(&self) -> &[NodeId] {
        &self.replicas
    }

    /// Where the log begins.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Where the log ends; what is on its way to the disk counts.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Where what this replica counts as its own ends: what is synced, or with `durability=replicated` written.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
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

    /// Nothing on its way to the disk?
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
