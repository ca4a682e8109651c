//! Following: one puller per leader node asks for all partitions that it leads and this node follows.
//!
//! Up to two requests are on their way at a time: one waits at the leader for news while the other says what has become
//! durable here meanwhile. A request names only the partitions that have something new to say. A session that breaks,
//! for whatever reason, is begun anew with all partitions.
//!
//! Where no more has come than a few records, the next request is held back until they are durable, and says so: one request
//! instead of two, each of which the leader and this node would have to handle before their disks may begin. Much is asked
//! for on at once, so that it comes while the disk is at work.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::node::{Node, Purpose, calls};
use crate::{
    cluster,
    effect::Effect,
    epoch::LeaderEpoch,
    ids::{self, LogId, NodeId, TopicPartition},
    limits,
    message::{
        CallError, ErrorCode, PeerRequest, PeerResponse, Records, ReplicaFetchPartition, ReplicaFetchRequest,
        ReplicaFetched,
    },
    mutant,
    offset::Offset,
    record::{Batch, Batches},
    replica::Divergence,
    time::{Duration, Instant},
};

/// What is pulled from one node.
#[derive(Debug)]
pub(super) struct Puller {
    /// Tells answers of this session from those of one before.
    generation: u64,
    /// As the leader has given it; 0 until then.
    session: u64,
    sequence: u32,
    in_flight: u32,
    followed: BTreeSet<LogId>,
    /// Those with something to say.
    dirty: BTreeSet<LogId>,
    forgotten: Vec<TopicPartition>,
    /// Failures in a row, and until when nothing is tried.
    failures: u32,
    rests_until: Option<Instant>,
    /// Until when the next request waits for what has just come to become durable.
    held_until: Option<Instant>,
    /// When its connection broke, or nobody listened any more; until it is heard of again.
    lost_at: Option<Instant>,
}

/// Requests of one puller on their way at a time.
const IN_FLIGHT_MAX: u32 = 2;

impl Puller {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            session: 0,
            sequence: 0,
            in_flight: 0,
            followed: BTreeSet::new(),
            dirty: BTreeSet::new(),
            forgotten: Vec::new(),
            failures: 0,
            rests_until: None,
            held_until: None,
            lost_at: None,
        }
    }

    /// Pulls one more partition, or one anew.
    pub(super) fn follow(&mut self, log: LogId) {
        self.followed.insert(log);
        self.dirty.insert(log);
    }

    /// Pulls one partition less; true when none is left.
    pub(super) fn unfollow(&mut self, log: LogId, id: TopicPartition) -> bool {
        self.followed.remove(&log);
        self.dirty.remove(&log);
        self.forgotten.push(id);
        self.followed.is_empty()
    }

    /// The leader may be well again.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
        self.rests_until = None;
        self.held_until = None;
        self.lost_at = None;
    }

    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.rests_until.max(self.held_until)
    }

    /// The session is over; all of it is to be said again.
    fn begin_anew(&mut self, generation: u64) {
        self.generation = generation;
        (self.session, self.sequence, self.in_flight) = (0, 0, 0);
        self.held_until = None;
        self.dirty.clone_from(&self.followed);
        self.forgotten.clear();
    }

    /// Rests longer after every failure in a row, up to `longest`.
    fn rest(&mut self, now: Instant, longest: Duration) {
        let span = limits::REPLICA_RETRY_WAIT.0.saturating_mul(1 << self.failures.min(10)).min(longest.0);
        self.failures += 1;
        self.rests_until = Some(now.after(Duration::from_nanos(span)));
    }
}

impl Node {
    /// Says what there is to say to a leader, and asks it for more.
    pub(super) fn pull(&mut self, leader: NodeId) {
        let broker_epoch = self.own_epoch();
        let room = self.replication.appending < limits::APPEND_BYTES_IN_FLIGHT_MAX;
        let Some(puller) = self.replication.pullers.get_mut(&leader) else { return };
        if puller.wakes_at().is_some_and(|at| at > self.now.mono) {
            return;
        }
        (puller.rests_until, puller.held_until) = (None, None);
        let is_idle = puller.dirty.is_empty() && puller.forgotten.is_empty();
        let most = if puller.session == 0 { 1 } else { IN_FLIGHT_MAX };
        if puller.in_flight >= most || (puller.in_flight > 0 && is_idle) {
            return;
        }
        let mut partitions = Vec::new();
        while partitions.len() < limits::REPLICA_FETCH_PARTITIONS_MAX
            && let Some(log) = puller.dirty.pop_first()
        {
            let Some(partition) = self.partitions.get_mut(&log) else { continue };
            if !room {
                self.replication.crowded.push(log);
            }
            let Some(ask) = partition.ask(room, puller.sequence) else { continue };
            partitions.push(ReplicaFetchPartition {
                id: partition.id,
                current_leader_epoch: ask.leader_epoch,
                offset: ask.offset,
                acknowledged: ask.acknowledged,
                last_fetched_epoch: ask.last_epoch,
                log_start: ask.log_start,
                high_watermark: ask.high_watermark,
            });
        }
        if puller.in_flight > 0 && partitions.is_empty() && puller.forgotten.is_empty() {
            return;
        }
        let request = ReplicaFetchRequest {
            replica: self.config.node,
            directory: self.config.directory,
            broker_epoch,
            session: puller.session,
            sequence: puller.sequence,
            max_wait: self.config.waits.replica_fetch_wait,
            max_bytes: limits::REPLICA_FETCH_BYTES_MAX,
            partitions,
            forgotten: core::mem::take(&mut puller.forgotten),
        };
        let purpose = calls::Purpose::Pull { leader, generation: puller.generation, round: puller.sequence };
        puller.sequence = puller.sequence.wrapping_add(1);
        puller.in_flight += 1;
        if !puller.dirty.is_empty() {
            self.replication.pulling.insert(leader);
        }
        // A leader that is silent for longer than its session lasts leads no more.
        let waits = self.config.waits;
        let timeout = Duration::from_nanos(waits.replica_fetch_wait.0 + waits.broker_session_timeout.0);
        self.call(leader, PeerRequest::Fetch(request), timeout, purpose);
        if self.replication.pullers.get(&leader).is_some_and(|p| p.in_flight >= IN_FLIGHT_MAX || p.session == 0) {
            self.replication.pulling.remove(&leader);
        }
    }

    /// A partition that is followed has something to say.
    pub(in crate::node) fn pull_again(&mut self, log: LogId) {
        let Some(&leader) = self.replication.following.get(&log) else { return };
        if let Some(puller) = self.replication.pullers.get_mut(&leader) {
            puller.dirty.insert(log);
            self.replication.pulling.insert(leader);
        }
    }

    /// A leader has answered, or not.
    pub(in crate::node) fn on_pulled(
        &mut self,
        leader: NodeId,
        (generation, round): (u64, u32),
        outcome: Result<PeerResponse, CallError>,
    ) {
        let Some(puller) = self.replication.pullers.get_mut(&leader).filter(|p| p.generation == generation) else {
            return;
        };
        self.replication.pulling.insert(leader);
        puller.in_flight -= 1;
        if matches!(outcome, Err(CallError::Lost | CallError::Refused)) {
            puller.lost_at = puller.lost_at.or(Some(self.now.mono));
        }
        let Ok(PeerResponse::Fetch(response)) = outcome else { return self.session_lost(leader, true) };
        puller.lost_at = None;
        match response.error {
            ErrorCode::None => {}
            ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch => {
                let failed_before = puller.failures > 0;
                return self.session_lost(leader, failed_before);
            }
            _ => return self.session_lost(leader, true),
        }
        puller.session = response.session;
        puller.failures = 0;
        let bytes: usize = response.partitions.iter().map(|fetched| records_bytes(&fetched.records)).sum();
        if puller.in_flight == 0 && (1..=limits::REPLICA_HOLD_BYTES_MAX).contains(&bytes) {
            puller.held_until = Some(self.now.mono.after(limits::REPLICA_HOLD_MAX));
        }
        for fetched in response.partitions {
            self.on_fetched(leader, round, fetched);
        }
    }

    /// A followed log is at rest: its leader is told now what has become durable.
    pub(super) fn release(&mut self, log: LogId) {
        if let Some(leader) = self.replication.following.get(&log)
            && let Some(puller) = self.replication.pullers.get_mut(leader)
        {
            puller.held_until = None;
            self.replication.pulling.insert(*leader);
        }
    }

    /// Has the connection to a leader just broken? Whether it leads on will be known in a moment, and a client that
    /// heard its name until then would stop asking (librdkafka asks again after a second).
    pub(in crate::node) fn is_in_doubt(&self, leader: NodeId) -> bool {
        let lost_at = self.replication.pullers.get(&leader).and_then(|puller| puller.lost_at);
        lost_at.is_some_and(|at| self.now.mono.since(at) < limits::LEADER_DOUBT_MAX)
    }

    fn session_lost(&mut self, leader: NodeId, rests: bool) {
        self.replication.pullers_begun += 1;
        let generation = self.replication.pullers_begun;
        let Some(puller) = self.replication.pullers.get_mut(&leader) else { return };
        puller.begin_anew(generation);
        if rests {
            puller.rest(self.now.mono, self.config.waits.replica_fetch_backoff);
        } else {
            puller.failures += 1;
        }
        for log in &puller.followed {
            if let Some(partition) = self.partitions.get_mut(log) {
                partition.session_lost();
            }
        }
    }

    /// What the leader says of one partition. Answers may come in another order than requests were made in.
    fn on_fetched(&mut self, leader: NodeId, round: u32, fetched: ReplicaFetched) {
        let Some(&log) = self.by_id.get(&fetched.id) else { return };
        if self.replication.following.get(&log) != Some(&leader) && !mutant!(X07) {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let is_owed = partition.answered(round);
        if !is_owed && (!fetched.error.is_none() || fetched.diverging.is_some() || has_records(&fetched.records)) {
            return;
        }
        if !fetched.error.is_none() {
            return self.on_fetch_refused(log, &fetched);
        }
        if fetched.leader_epoch != partition.leader_epoch() && !mutant!(X07) {
            // It was asked in another epoch.
            return self.pull_again(log);
        }
        if mutant!(X08) {
            let completed = partition.leader_committed(fetched.high_watermark);
            self.complete(log, completed);
        }
        if let Some(end_of) = fetched.diverging {
            return self.on_diverging(log, end_of, fetched.log_start);
        }
        self.on_records(log, fetched);
    }

    fn on_fetch_refused(&mut self, log: LogId, fetched: &ReplicaFetched) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        if mutant!(X23) && fetched.error == ErrorCode::OffsetOutOfRange {
            return;
        }
        if fetched.error == ErrorCode::OffsetOutOfRange
            && fetched.leader_epoch == partition.leader_epoch()
            && let Some(job) = partition.skip_to(fetched.log_start, &mut self.effects)
        {
            self.jobs.insert(job, Purpose::Cut);
            return;
        }
        self.retry_later(log);
    }

    fn on_diverging(&mut self, log: LogId, end_of: (LeaderEpoch, Offset), leader_log_start: Offset) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        // Leaders that were elected cleanly have all that was ever committed.
        let unclean = self.image.partition(partition.id).and_then(cluster::Partition::unclean_epoch);
        match partition.diverged(end_of, leader_log_start, unclean, &mut self.effects) {
            Divergence::Cut(job) => {
                self.jobs.insert(job, Purpose::Cut);
                return;
            }
            Divergence::Refused { at, is_news: true } => {
                let dir = ids::partition_dir(&partition.topic, partition.id.partition);
                let committed = partition.high_watermark();
                self.effects.push(Effect::LeaderLacks { dir, from: at, to: committed });
            }
            Divergence::Busy | Divergence::Refused { .. } => {}
        }
        self.retry_later(log);
    }

    fn on_records(&mut self, log: LogId, fetched: ReplicaFetched) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let is_bare = !has_records(&fetched.records);
        let before = partition.appending_bytes();
        let appended = match read_batches(fetched.records) {
            Some(batches) => partition.replicate(self.now, batches, &mut self.tail, &mut self.effects).is_ok(),
            None => false,
        };
        self.replication.appending += partition.appending_bytes() - before;
        if mutant!(X10) && is_bare {
            partition.forget_last_epoch();
        }
        partition.leader_begins(fetched.log_start);
        let is_news = partition.is_news(fetched.high_watermark);
        let completed = partition.leader_committed(fetched.high_watermark);
        if let Some(job) = partition.follow_log_start(&mut self.effects) {
            self.jobs.insert(job, Purpose::Order);
        }
        self.complete(log, completed);
        if !appended || (is_bare && !is_news) {
            // Asked at once, the leader would say the same again.
            self.retry_later(log);
        } else {
            self.pull_again(log);
        }
    }

    /// Appends of followed partitions have ended, and so many bytes fewer are on their way.
    pub(in crate::node) fn append_room(&mut self, before: usize, after: usize) {
        self.replication.appending = self.replication.appending.saturating_sub(before.saturating_sub(after));
        if self.replication.appending < limits::APPEND_BYTES_IN_FLIGHT_MAX {
            for log in core::mem::take(&mut self.replication.crowded) {
                self.pull_again(log);
            }
        }
    }
}

fn has_records(records: &Records) -> bool {
    records_bytes(records) > 0
}

/// How much there is, of what a leader may have sent.
fn records_bytes(records: &Records) -> usize {
    match records {
        Records::Empty => 0,
        Records::Bytes(bytes) => bytes.len(),
        Records::Batches(batches) => batches.iter().map(Batch::size).sum(),
        Records::Log(read) => read.max_bytes,
    }
}

/// The batches that a leader has sent, up to the first that is not whole and right; `None` if the first is not.
fn read_batches(records: Records) -> Option<impl Iterator<Item = Batch>> {
    let batches: Vec<Batch> = match records {
        Records::Empty => Vec::new(),
        Records::Batches(batches) => batches,
        Records::Bytes(bytes) => {
            let is_empty = bytes.is_empty();
            let batches: Vec<Batch> = Batches(bytes).map_while(Result::ok).collect();
            if batches.is_empty() && !is_empty {
                return None;
            }
            batches
        }
        Records::Log(_) => return None,
    };
    Some(batches.into_iter())
}
