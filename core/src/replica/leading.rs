//! The leader's part: producers' batches in, followers served, acknowledgements out.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    Partition, TailBudget,
    admission::{self, Admission, Refusal},
    following::Follower,
    in_sync::{FollowerSays, FollowerState, InSync},
    partition::{Completed, ReadPlan, Role},
};
use crate::{
    cluster,
    effect::Effects,
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, JobId, NodeId, RequestId},
    log::{Job, Sequence},
    message::{Acks, AlterPartition, AlteredPartition, ErrorCode},
    mutant,
    offset::Offset,
    record::{Batch, TimestampType},
    time::{Duration, Instant, Now},
};

/// Somebody who waits for the outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The request.
    pub request: RequestId,
    /// Which of its partitions.
    pub index: usize,
}

/// What only a leader has. It begins with the leader's epoch and ends with it.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) in_sync: InSync,
    /// Where this epoch's records begin.
    pub(super) epoch_start: Offset,
    /// Who waits for all replicas in sync, and who for this one alone, by the end of their batch.
    waiting: BTreeMap<Offset, Vec<Ack>>,
    waiting_for_leader: BTreeMap<Offset, Vec<Ack>>,
}

/// How a follower's position stands to the leader's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Its log is a prefix of the leader's.
    Shared,
    /// It has another log from here on: the epoch and end of what they share.
    Diverging(LeaderEpoch, Offset),
    /// It cannot be told, or not now.
    Failed(ErrorCode),
}

impl Partition {
    /// Begins a leader's epoch. It is noted where the log ends before anything is appended in it, also if nothing ever
    /// is (KIP-101). Nothing is known of the followers yet, so that the high watermark stays where it is, unless there are
    /// none in sync.
    pub(super) fn become_leader(
        &mut self,
        now: Now,
        image: &cluster::Partition,
        effects: &mut Effects,
        completed: &mut Completed,
    ) -> Option<JobId> {
        completed.abandoned.append(&mut self.readers);
        let epoch = self.leader_epoch;
        let mut order = None;
        if self.epochs.latest().is_none_or(|latest| latest < epoch) && !mutant!(X05) {
            self.epochs.assign(epoch, self.log_end);
            order = Some(effects.run(self.log, Job::StartEpoch { epoch, start: self.log_end }));
        }
        let begun = self.epochs.entries().iter().find(|(known, _)| *known == epoch);
        let epoch_start = begun.map_or(self.log_end, |(_, start)| *start);
        // Whoever waits since an epoch in which this node led, too, goes on waiting: the log is the same.
        let (waiting, waiting_for_leader) = match &mut self.role {
            Role::Leader(before) => {
                (core::mem::take(&mut before.waiting), core::mem::take(&mut before.waiting_for_leader))
            }
            Role::Follower(_) => (BTreeMap::new(), BTreeMap::new()),
        };
        let in_sync = InSync::new(self.me, now.mono, image);
        self.role = Role::Leader(Leader { in_sync, epoch_start, waiting, waiting_for_leader });
        self.advance(completed);
        order
    }

    /// Ends a leader's epoch, or begins another leader's: whoever waits here is sent on.
    pub(super) fn become_follower(
        &mut self,
        same_leader: bool,
        budget: &mut TailBudget,
        effects: &mut Effects,
        completed: &mut Completed,
    ) -> Option<JobId> {
        let sent_on = self.take_waiters().into_iter().map(|ack| (ack, ErrorCode::NotLeaderOrFollower));
        completed.acks.extend(sent_on);
        completed.abandoned.append(&mut self.readers);
        let cutting = self.following().and_then(|follower| follower.cutting);
        let forgot = mutant!(X10) && self.trusts_own_log();
        self.role = Role::Follower(Follower::new(cutting, forgot || (same_leader && mutant!(X04))));
        self.unwritten.clear();
        if self.failing && self.in_flight.is_empty() {
            self.forget_unwritten(budget);
        }
        let forgot = mutant!(X12) && self.high_watermark == self.log_start;
        if (mutant!(X01) || forgot) && self.high_watermark < self.log_end {
            // The planted bug: what is not known to be committed goes, whatever the leader has.
            return self.cut(self.high_watermark, effects);
        }
        None
    }

    pub(super) fn leading(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) => None,
        }
    }

    fn leading_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) => None,
        }
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
        let acknowledged = match acks {
            Acks::None => self.log_end,
            Acks::Leader => self.durable_end,
            Acks::All => self.high_watermark,
        };
        admission.waits = acks != Acks::None && admission.end > acknowledged && !at_once;
        if admission.waits {
            let leader = self.leading_mut().expect("only a leader admits");
            let waiting = if acks == Acks::All { &mut leader.waiting } else { &mut leader.waiting_for_leader };
            waiting.entry(admission.end).or_default().push(waiter);
        }
        Ok(admission)
    }

    fn try_admit(
        &mut self,
        now: Now,
        mut batch: Batch,
        acks: Acks,
        budget: &mut TailBudget,
        effects: &mut Effects,
    ) -> Result<Admission, Refusal> {
        let Some(leader) = self.leading() else {
            return Err(Refusal::new(ErrorCode::NotLeaderOrFollower, "another node leads the partition"));
        };
        if self.offline {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, "the log is offline"));
        }
        if self.failing || self.in_flight.has_failed() {
            return Err(Refusal::new(ErrorCode::KafkaStorageError, "an earlier append has just failed"));
        }
        admission::check(&batch, &self.config, self.id.topic, now.wall)?;
        if acks == Acks::All && leader.in_sync.committed().len() < self.min_in_sync() {
            let reason = "fewer replicas are in sync than min.insync.replicas";
            return Err(Refusal::new(ErrorCode::NotEnoughReplicas, reason));
        }
        if batch.header().has_producer() {
            if let Sequence::Duplicate(known) = self.in_flight.check(&self.producers, batch.header())? {
                let (base, end) = (known.base_offset(), known.last_offset.next());
                return Ok(Admission { base, end, duplicate: true, waits: false });
            }
            if !self.in_flight.knows(&self.producers, batch.header().producer_id) {
                self.refused.check(batch.header(), now.wall)?;
            }
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
        if mutant!(X05) && self.epochs.latest().is_none_or(|latest| latest < self.leader_epoch) {
            self.epochs.assign(self.leader_epoch, base);
        }
        self.append(now.wall, alloc::vec![batch], budget, effects);
        if let Role::Leader(leader) = &mut self.role {
            leader.in_sync.appended(now.mono, base);
        }
        Ok(Admission { base, end, duplicate: false, waits: false })
    }

    /// Tells those whose batches all that they asked for have. With fewer in sync than they asked for, they hear that.
    pub(super) fn release_waiters(&mut self, completed: &mut Completed) {
        let (watermark, durable, min_in_sync) = (self.high_watermark, self.durable_end, self.min_in_sync());
        let Role::Leader(leader) = &mut self.role else { return };
        let mut release = |waiting: &mut BTreeMap<Offset, Vec<Ack>>, up_to: Offset| {
            while let Some(entry) = waiting.first_entry()
                && *entry.key() <= up_to
            {
                completed.acks.extend(entry.remove().into_iter().map(|ack| (ack, ErrorCode::None)));
            }
        };
        release(&mut leader.waiting, watermark);
        release(&mut leader.waiting_for_leader, durable);
        if leader.in_sync.committed().len() < min_in_sync && !mutant!(X25) {
            let left = core::mem::take(&mut leader.waiting).into_values().flatten();
            completed.acks.extend(left.map(|ack| (ack, ErrorCode::NotEnoughReplicasAfterAppend)));
        }
    }

    /// Those who wait for a batch that could not be appended.
    pub(super) fn fail_waiters(&mut self, end: Offset, completed: &mut Completed) {
        let Role::Leader(leader) = &mut self.role else { return };
        let failed = [leader.waiting.remove(&end), leader.waiting_for_leader.remove(&end)];
        let failed = failed.into_iter().flatten().flatten();
        completed.acks.extend(failed.map(|ack| (ack, ErrorCode::KafkaStorageError)));
    }

    pub(super) fn take_waiters(&mut self) -> Vec<Ack> {
        let Role::Leader(leader) = &mut self.role else { return Vec::new() };
        let all = [core::mem::take(&mut leader.waiting), core::mem::take(&mut leader.waiting_for_leader)];
        all.into_iter().flat_map(BTreeMap::into_values).flatten().collect()
    }

    /// Is a follower that believes in `current`, and whose log ends at `offset` with a record of `last`, where this
    /// leader's log can go on? What diverges is told apart before anything of the follower's is believed.
    pub fn position(&self, current: LeaderEpoch, offset: Offset, last: LeaderEpoch) -> Position {
        let error = self.check_leader(current);
        if !error.is_none() {
            return Position::Failed(error);
        }
        if self.offline {
            return Position::Failed(ErrorCode::KafkaStorageError);
        }
        if offset < self.log_start {
            return Position::Failed(ErrorCode::OffsetOutOfRange);
        }
        if let Some((epoch, end)) = self.divergence(last, offset) {
            return Position::Diverging(epoch, end);
        }
        if offset > self.log_end {
            // An empty log that begins past the end of this one: nothing is shared.
            return Position::Diverging(self.leader_epoch, self.log_end);
        }
        Position::Shared
    }

    /// A follower whose log is a prefix of this one says what it has.
    pub fn follower_has(&mut self, now: Instant, said: FollowerSays) -> Completed {
        let mut completed = Completed::default();
        let said = FollowerSays { acknowledged: said.acknowledged.min(self.log_end), ..said };
        let log_end = self.log_end;
        if let Some(leader) = self.leading_mut() {
            leader.in_sync.acknowledged(now, &said, log_end);
            self.advance(&mut completed);
            self.check();
        }
        completed
    }

    /// What a follower gets from `offset` on: all there is, also what is still on its way to this node's disk.
    pub fn read_for_follower(&self, offset: Offset, max_bytes: usize) -> ReadPlan {
        self.read_below(self.log_end, offset, max_bytes, true)
    }

    /// Is a change of the ISR due? With `leave_after`, replicas that have lagged for longer leave; in any case those that have
    /// caught up join, if `may_join` says that they are in service. Who has lagged for longer than `lag_max` would have to
    /// leave at once, so it does not join: below a high watermark that stands still it may have everything that is
    /// committed, and never fetch again. True when the controller is to be asked.
    pub fn wish_isr(
        &mut self,
        now: Instant,
        leave_after: Option<Duration>,
        lag_max: Duration,
        may_join: impl Fn(&FollowerState) -> bool,
    ) -> bool {
        let (watermark, log_end, min_in_sync) = (self.high_watermark, self.log_end, self.min_in_sync());
        let Role::Leader(leader) = &mut self.role else { return false };
        // The high watermark may be behind what is committed until this epoch has committed something.
        let floor = if mutant!(X03) { watermark } else { watermark.max(leader.epoch_start) };
        let too_few = leader.in_sync.committed().len() < min_in_sync;
        let floor = if mutant!(X24) && too_few { Offset::ZERO } else { floor };
        let may_join = |f: &FollowerState| f.is_caught_up(now, log_end, lag_max) && may_join(f);
        leader.in_sync.wish(floor, may_join, leave_after.map(|max| (now, log_end, max)))
    }

    /// What to ask the controller for, if anything is wished for.
    pub fn wished_isr(&self, own: BrokerEpoch) -> Option<AlterPartition> {
        let in_sync = &self.leading()?.in_sync;
        let (leader_epoch, partition_epoch) = (self.leader_epoch, in_sync.partition_epoch());
        Some(AlterPartition { id: self.id, leader_epoch, partition_epoch, isr: in_sync.pending(own)? })
    }

    /// The controller has answered a wish made in `asked`. True if it is to be asked again.
    pub fn isr_altered(&mut self, now: Instant, asked: LeaderEpoch, altered: &AlteredPartition) -> (bool, Completed) {
        let mut completed = Completed::default();
        let outdated = altered.error.is_none() && altered.leader_epoch != self.leader_epoch;
        let Role::Leader(leader) = &mut self.role else { return (false, completed) };
        if asked != self.leader_epoch || outdated {
            return (false, completed);
        }
        let again = leader.in_sync.altered(now, altered, &self.replicas);
        self.partition_epoch = self.partition_epoch.max(leader.in_sync.partition_epoch());
        if !mutant!(X18) {
            self.advance(&mut completed);
        }
        (again, completed)
    }

    /// The confirmed in-sync replicas, where this node leads.
    pub fn isr(&self) -> Option<&[NodeId]> {
        self.leading().map(|leader| leader.in_sync.committed())
    }

    /// Does this node lead, and has it no follower to wait for? For checkers.
    pub fn is_alone_in_sync(&self) -> bool {
        self.leading().is_some_and(|leader| leader.in_sync.is_alone())
    }

    /// The followers, where this node leads.
    pub fn followers(&self) -> &[FollowerState] {
        self.leading().map_or(&[], |leader| leader.in_sync.followers())
    }

    /// Is this node a follower of the partition that this one leads?
    pub fn has_follower(&self, node: NodeId) -> bool {
        self.leading().is_some_and(|leader| leader.in_sync.has_follower(node))
    }

    /// Is every replica in sync, as far as the leader is concerned?
    pub fn is_fully_replicated(&self) -> bool {
        self.leading().is_none_or(|leader| leader.in_sync.committed().len() == self.replicas.len())
    }

    /// The high watermark that clients may be told: a new leader's may be behind what was committed before it, until it
    /// has reached this epoch's beginning (KIP-207).
    pub fn settled_watermark(&self) -> Option<Offset> {
        let leader = self.leading()?;
        (self.high_watermark >= leader.epoch_start || mutant!(X46)).then_some(self.high_watermark)
    }

    /// The least log start offset of this replica and those followers that `counts` (KIP-107).
    pub fn low_watermark(&self, counts: impl Fn(NodeId) -> bool) -> Offset {
        let others = self.followers().iter().filter(|f| counts(f.node)).map(|f| f.log_start);
        others.fold(self.log_start, Offset::min)
    }
}
