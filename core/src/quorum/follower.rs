//! A follower pulls, writes, and acknowledges with its next fetch what it has durably.
//!
//! One fetch or one write is under way at a time. With the answer come the records and the leader's high watermark; of the
//! latter a follower believes as much as it has itself.

use alloc::{format, vec::Vec};

use super::{Order, Quorum, RETRY, Role};
use crate::{
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, NodeId, PartitionId, TopicId, TopicPartition},
    limits,
    message::{
        ErrorCode, PeerRequest, Records, ReplicaFetchPartition, ReplicaFetchRequest, ReplicaFetchResponse,
        ReplicaFetched, SnapshotId,
    },
    mutant,
    offset::Offset,
    record::{Batch, Batches},
    time::{Duration, Instant},
};

/// The metadata log as what it is replicated as.
pub(super) const METADATA: TopicPartition = TopicPartition { topic: TopicId::METADATA, partition: PartitionId(0) };

/// What a follower knows of its leader.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) leader: NodeId,
    /// Has the leader itself been heard? Others may only believe that it is there.
    is_heard: bool,
    /// When it has been silent for too long.
    silent_at: Instant,
    pub(super) state: State,
    /// The snapshot that is fetched instead of records, and how much of it is here.
    pub(super) download: Option<(SnapshotId, u64)>,
    /// Where committed records end, as the leader last said.
    pub(super) committed: Option<Offset>,
}

#[derive(Debug, PartialEq)]
pub(super) enum State {
    /// It is to fetch at this time.
    Due(Instant),
    /// A fetch is under way.
    Asked,
    /// What came is being written up to here.
    Writing(Offset),
    /// The log's end is being cut off.
    Cutting,
    /// A piece of a snapshot is being written, and then there is so much of it; or the whole is being read.
    Storing(u64),
    Loading,
}

impl Following {
    /// Fetches next at this time, whatever is under way.
    pub(super) fn fetch_at(&mut self, at: Instant) {
        self.state = State::Due(at);
    }

    pub(super) fn next_deadline(&self) -> Instant {
        match self.state {
            State::Due(at) => at.min(self.silent_at),
            _ => self.silent_at,
        }
    }
}

impl Quorum {
    pub(super) fn become_follower(&mut self, now: Instant, epoch: LeaderEpoch, leader: NodeId, is_heard: bool) {
        assert!(leader != self.me, "nobody follows itself");
        if epoch == self.epoch && self.leader() == Some(leader) {
            return;
        }
        let silent_at = now.after(self.waits.fetch);
        let following =
            Following { leader, is_heard, silent_at, state: State::Due(now), download: None, committed: None };
        self.take_role(Role::Follower(following));
        self.adopt(epoch);
        self.on_follower_time(now);
    }

    pub(super) fn on_follower_time(&mut self, now: Instant) {
        let Role::Follower(following) = &mut self.role else { return };
        if following.silent_at <= now {
            return self.stand(now);
        }
        if matches!(following.state, State::Due(at) if at <= now) {
            following.state = State::Asked;
            let (to, epoch) = (following.leader, self.epoch);
            match following.download {
                Some((snapshot, position)) => self.fetch_snapshot(to, snapshot, position),
                None => self.fetch(to, epoch),
            }
        }
    }

    /// A node that does not vote asks one that does, or did, for the leader, another each time.
    pub(super) fn search(&mut self, now: Instant) {
        let known = self.acquaintances();
        let wait = Duration(self.backoff().0.max(RETRY.0));
        self.take_role(Role::Unattached { stand_at: now.after(self.waits.request).after(wait) });
        if !known.is_empty() {
            self.fetch(known[self.attempts as usize % known.len()], self.epoch);
        }
        self.attempts = self.attempts.wrapping_add(1);
    }

    /// Whom this node has asked for the leader knows of none, or is gone: the next is asked soon, as an election takes no
    /// longer than that.
    pub(super) fn search_again(&mut self, now: Instant) {
        // Longer from round to round: one of the voters at least knows nothing for as long as it is gone.
        let wait = self.backoff_after(self.attempts / self.voters.len() as u32);
        if !self.may_stand()
            && let Role::Unattached { stand_at } = &mut self.role
        {
            *stand_at = now.after(wait).min(*stand_at);
        }
    }

    fn fetch(&mut self, to: NodeId, epoch: LeaderEpoch) {
        let partition = ReplicaFetchPartition {
            id: METADATA,
            current_leader_epoch: epoch,
            offset: self.log.end,
            acknowledged: if mutant!(X44) { self.log.end } else { self.log.durable },
            last_fetched_epoch: self.last_epoch(),
            log_start: self.log.start,
            high_watermark: self.high_watermark,
        };
        let request = PeerRequest::Fetch(ReplicaFetchRequest {
            replica: self.me,
            directory: self.directory,
            broker_epoch: BrokerEpoch::NONE,
            session: 0,
            sequence: 0,
            max_wait: self.waits.poll,
            max_bytes: limits::METADATA_FETCH_BYTES_MAX,
            partitions: alloc::vec![partition],
            forgotten: Vec::new(),
        });
        let (turn, timeout) = (self.turn, self.waits.fetch);
        self.orders.push_back(Order::Call { to, request, timeout, turn });
    }

    pub(super) fn on_fetched(&mut self, now: Instant, from: NodeId, turn: u64, response: ReplicaFetchResponse) {
        let fetched = response.partitions.into_iter().find(|partition| partition.id == METADATA);
        if let Some(fetched) = &fetched {
            let elsewhere = fetched.leader.is_some_and(|leader| leader != from) || !self.is_following(from);
            if fetched.leader_epoch > self.epoch || (fetched.leader_epoch == self.epoch && elsewhere) {
                self.learn(now, from, fetched.leader_epoch, fetched.leader);
                if turn == self.turn {
                    self.search_again(now);
                }
                return;
            }
        }
        if turn != self.turn && !mutant!(X28) {
            return;
        }
        let Role::Follower(following) = &mut self.role else { return self.search_again(now) };
        let error = fetched.as_ref().map_or(response.error, |fetched| fetched.error);
        match (error, fetched) {
            (ErrorCode::None, Some(fetched)) => {
                (following.silent_at, following.is_heard) = (now.after(self.waits.fetch), true);
                self.attempts = 0;
                self.take(now, fetched);
            }
            // Whoever was believed to lead does not.
            (ErrorCode::NotLeaderOrFollower | ErrorCode::NotController | ErrorCode::UnknownLeaderEpoch, _) => {
                let wait = self.backoff();
                self.attempts = self.attempts.saturating_add(1);
                self.become_unattached(now, self.epoch, wait);
            }
            _ => following.fetch_at(now.after(RETRY)),
        }
        self.on_time(now);
    }

    /// Does it lead itself, or hear of whoever does?
    pub(super) fn hears_leader(&self) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(following) => following.is_heard,
            _ => false,
        }
    }

    fn is_following(&self, leader: NodeId) -> bool {
        matches!(&self.role, Role::Follower(following) if following.leader == leader)
    }

    /// What the leader has answered.
    fn take(&mut self, now: Instant, fetched: ReplicaFetched) {
        if let Some(snapshot) = fetched.snapshot {
            // The log may part from the leader's: of what is committed it tells nothing.
            return self.begin_download(now, snapshot);
        }
        let Role::Follower(following) = &mut self.role else { unreachable!("the caller has looked") };
        let committed = (fetched.high_watermark >= Offset::ZERO).then_some(fetched.high_watermark);
        following.committed = committed.max(following.committed);
        if let Some(parted) = fetched.diverging {
            let to = self.log.epochs.common_end(parted, self.log.end);
            return self.cut(now, if mutant!(X32) { self.log.start } else { to });
        }
        if mutant!(X28)
            && let Some(base) = first_offset(&fetched.records).filter(|base| *base < self.log.end)
        {
            // The planted bug: what comes again cuts off what has come since.
            return self.cut(now, base);
        }
        let Ok(batches) = self.fitting(fetched.records) else {
            // Not what a leader sends. It may be, next time.
            let Role::Follower(following) = &mut self.role else { unreachable!("nothing has changed") };
            return following.fetch_at(now.after(RETRY));
        };
        let Role::Follower(following) = &mut self.role else { unreachable!("nothing has changed") };
        let Some(last) = batches.last() else {
            following.state = State::Due(now);
            return self.advance_following();
        };
        let end = last.header().next_offset();
        following.state = State::Writing(end);
        for batch in &batches {
            self.log.epochs.assign(batch.header().leader_epoch, batch.header().base_offset);
            self.note_voters(now, batch);
        }
        self.log.end = end;
        self.orders.push_back(Order::Append(batches));
    }

    /// The batches of an answer, which continue this log in epochs up to the leader's (KAFKA-18723).
    fn fitting(&self, records: Records) -> Result<Vec<Batch>, ()> {
        let batches = match records {
            Records::Empty => Vec::new(),
            Records::Batches(batches) => batches,
            Records::Bytes(bytes) => Batches(bytes).collect::<Result<_, _>>().map_err(|_| ())?,
            Records::Log(_) => return Err(()),
        };
        let (mut end, mut epoch) = (self.log.end, self.last_epoch());
        for batch in &batches {
            let header = batch.header();
            if header.base_offset != end || header.leader_epoch < epoch || header.leader_epoch > self.epoch {
                return Err(());
            }
            (end, epoch) = (header.next_offset(), header.leader_epoch);
        }
        Ok(batches)
    }

    pub(super) fn hears(&mut self, now: Instant) {
        let silent_at = now.after(self.waits.fetch);
        if let Role::Follower(following) = &mut self.role {
            (following.silent_at, following.is_heard) = (silent_at, true);
            self.attempts = 0;
        }
    }

    /// The log parts from the leader's here.
    fn cut(&mut self, now: Instant, to: Offset) {
        if mutant!(X29) {
            self.high_watermark = self.high_watermark.max(self.leaders_committed().min(self.log.durable));
        }
        if to < self.high_watermark && !mutant!(X32) && !mutant!(X28) {
            let reason =
                format!("the leader's log parts at {to} from what was committed up to {}", self.high_watermark);
            return self.orders.push_back(Order::Halt(reason));
        }
        let Role::Follower(following) = &mut self.role else { unreachable!("the caller has looked") };
        if to >= self.log.end {
            return following.fetch_at(now.after(RETRY));
        }
        following.state = State::Cutting;
        self.generation += 1;
        self.failed_at = None;
        self.log.end = to;
        self.log.durable = self.log.durable.min(to);
        self.log.epochs.truncate_end(to);
        self.sets.truncate_end(to);
        self.take_voters();
        self.orders.push_back(Order::Truncate { to });
    }

    /// The log's end is cut off: it ends, durably, at `end`.
    pub fn truncated(&mut self, now: Instant, end: Offset, generation: u64) {
        if generation != self.generation {
            return;
        }
        if end < self.log.durable {
            // An append that came before the cut had failed; those after it do not fit.
            self.generation += 1;
            self.failed_at = None;
            self.log.end = end;
            self.log.epochs.truncate_end(end);
            self.sets.truncate_end(end);
            self.take_voters();
            if self.is_leader() {
                let wait = self.election_timeout();
                self.become_unattached(now, self.epoch, wait);
            }
            self.stands_no_more(now);
        }
        self.log.durable = end.min(self.log.end);
        if let Role::Follower(following) = &mut self.role
            && following.state == State::Cutting
        {
            following.state = State::Due(now);
        }
        self.on_time(now);
    }

    pub(super) fn on_follower_wrote(&mut self, now: Instant) {
        let durable = self.log.durable;
        if let Role::Follower(following) = &mut self.role
            && matches!(following.state, State::Writing(end) if end <= durable)
        {
            following.state = State::Due(now);
        }
        self.advance_following();
        self.on_time(now);
    }

    fn leaders_committed(&self) -> Offset {
        match &self.role {
            Role::Follower(following) => following.committed.unwrap_or(Offset::ZERO),
            _ => Offset::ZERO,
        }
    }

    /// A follower's high watermark is the leader's, as far as it has the records itself.
    fn advance_following(&mut self) {
        let committed = self.leaders_committed().min(self.log.durable);
        self.high_watermark = self.high_watermark.max(committed);
    }
}

/// Where what a leader has sent begins.
fn first_offset(records: &Records) -> Option<Offset> {
    match records {
        Records::Batches(batches) => batches.first().map(|batch| batch.header().base_offset),
        Records::Bytes(bytes) => Some(Batches(bytes.clone()).next()?.ok()?.header().base_offset),
        Records::Empty | Records::Log(_) => None,
    }
}
