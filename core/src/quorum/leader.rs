//! The leader: serves followers, commits what a majority has, and goes when it hears of none.

use alloc::{collections::BTreeMap, vec::Vec};
use core::cmp::Ordering;

use super::{Log, Order, Quorum, RETRY, Role, committed};
use crate::{
    epoch::LeaderEpoch,
    ids::NodeId,
    limits,
    message::{
        BeginEpochRequest, EndEpochRequest, ErrorCode, FetchSnapshotRequest, PeerRequest, ReplicaFetchPartition,
        SnapshotId,
    },
    mutant,
    offset::Offset,
    time::{Duration, Instant},
};

/// What a leader knows of its followers.
#[derive(Debug)]
pub(super) struct Leading {
    /// The offset of the epoch's first record.
    epoch_start: Offset,
    voters: BTreeMap<NodeId, Progress>,
    /// What those have that pull without a vote.
    observers: BTreeMap<NodeId, Offset>,
}

#[derive(Debug)]
struct Progress {
    /// What it has durably, as it said in this epoch.
    acknowledged: Option<Offset>,
    fetched_at: Instant,
    news: News,
}

/// Does the voter know that this node leads?
#[derive(Debug, PartialEq)]
enum News {
    /// It is to be told at this time.
    Due(Instant),
    /// It is being told.
    Asked,
    Known,
}

/// What a leader has for a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchVerdict {
    /// This node does not lead, or not in that epoch.
    Refused(ErrorCode),
    /// Their logs part here.
    Diverging(LeaderEpoch, Offset),
    /// What the follower wants is gone from the log, or the log that it has parts from this one below its start; this
    /// snapshot has everything up to there.
    Snapshot(SnapshotId),
    /// It may have the records from where it asks.
    Read,
}

impl Leading {
    /// A call to a voter about this node's leadership has ended.
    pub(super) fn told(&mut self, voter: NodeId, knows: bool, now: Instant) {
        if let Some(progress) = self.voters.get_mut(&voter)
            && progress.news == News::Asked
        {
            progress.news = if knows { News::Known } else { News::Due(now.after(RETRY)) };
        }
    }

    /// When this leader has heard too little for too long: a majority, itself among it, must have fetched since.
    fn expires_at(&self, wait: Duration) -> Instant {
        let mut fetched: Vec<Instant> = self.voters.values().map(|progress| progress.fetched_at).collect();
        fetched.sort_unstable();
        // Of n others, so many make a majority with this node.
        let needed = fetched.len().div_ceil(2);
        match fetched.len().checked_sub(needed).filter(|_| needed > 0) {
            Some(place) => fetched[place].after(wait),
            None => super::NEVER,
        }
    }

    pub(super) fn next_deadline(&self, wait: Duration) -> Instant {
        let news = self.voters.values().filter_map(|progress| match progress.news {
            News::Due(at) => Some(at),
            _ => None,
        });
        news.chain([self.expires_at(wait)]).min().expect("there is one")
    }

    /// Is a record of this epoch committed?
    pub(super) fn has_committed(&self, high_watermark: Offset) -> bool {
        high_watermark > self.epoch_start
    }

    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (NodeId, Offset)> {
        let voters = self.voters.iter().map(|(node, progress)| (*node, progress.acknowledged.unwrap_or(Offset::NONE)));
        voters.chain(self.observers.iter().map(|(node, end)| (*node, *end)))
    }

    pub(super) fn end_epoch(&self, leader: NodeId, epoch: LeaderEpoch, voters: &[NodeId]) -> EndEpochRequest {
        let mut successors: Vec<NodeId> = voters.iter().copied().filter(|voter| *voter != leader).collect();
        let has = |voter: &NodeId| self.voters.get(voter).and_then(|progress| progress.acknowledged);
        successors.sort_by_key(|voter| core::cmp::Reverse(has(voter)));
        EndEpochRequest { leader, epoch, successors }
    }
}

impl Quorum {
    pub(super) fn become_leader(&mut self, now: Instant, granting: Vec<NodeId>) {
        let epoch_start = self.log.end;
        let progress = || Progress { acknowledged: None, fetched_at: now, news: News::Due(now) };
        let voters = self.others().map(|voter| (voter, progress())).collect();
        self.take_role(Role::Leader(Leading { epoch_start, voters, observers: BTreeMap::new() }));
        self.attempts = 0;
        self.log.epochs.assign(self.epoch, epoch_start);
        self.orders.push_back(Order::Lead { granting });
        self.on_leader_time(now);
    }

    pub(super) fn on_leader_time(&mut self, now: Instant) {
        let wait = self.patience();
        let Role::Leader(leading) = &mut self.role else { return };
        if leading.expires_at(wait) <= now {
            let wait = self.election_timeout();
            return self.become_unattached(now, self.epoch, wait);
        }
        let (turn, timeout) = (self.turn, self.waits.request);
        for (&to, progress) in &mut leading.voters {
            if matches!(progress.news, News::Due(at) if at <= now) {
                progress.news = News::Asked;
                let request = PeerRequest::BeginEpoch(BeginEpochRequest { leader: self.me, epoch: self.epoch });
                self.orders.push_back(Order::Call { to, request, timeout, turn });
            }
        }
    }

    /// A replica pulls. What it acknowledges may commit something.
    pub fn on_fetch(&mut self, now: Instant, replica: NodeId, asked: &ReplicaFetchPartition) -> FetchVerdict {
        let epoch = asked.current_leader_epoch;
        if epoch > self.epoch && self.voters.contains(&replica) {
            self.learn(now, replica, epoch, None);
        }
        let end = self.log.end;
        let Role::Leader(leading) = &mut self.role else {
            return FetchVerdict::Refused(ErrorCode::NotLeaderOrFollower);
        };
        if epoch != self.epoch {
            let error = if epoch < self.epoch { ErrorCode::FencedLeaderEpoch } else { ErrorCode::UnknownLeaderEpoch };
            return FetchVerdict::Refused(error);
        }
        if let Some(progress) = leading.voters.get_mut(&replica) {
            (progress.fetched_at, progress.news) = (now, News::Known);
            if mutant!(X30) {
                progress.acknowledged = Some(asked.acknowledged.min(end));
            }
        }
        let Log { start, start_epoch, snapshot, .. } = self.log;
        let is_before = asked.offset < start
            || asked.last_fetched_epoch < start_epoch
            || (asked.offset == start && asked.last_fetched_epoch != start_epoch);
        if let Some(snapshot) = snapshot
            && start > Offset::ZERO
            && is_before
        {
            return FetchVerdict::Snapshot(snapshot);
        }
        if let Some((epoch, end)) = self.log.epochs.divergence(asked.last_fetched_epoch, asked.offset, end) {
            return FetchVerdict::Diverging(epoch, end);
        }
        if asked.offset > end || asked.offset < Offset::ZERO {
            return FetchVerdict::Refused(ErrorCode::OffsetOutOfRange);
        }
        let acknowledged = asked.acknowledged.min(asked.offset);
        match leading.voters.get_mut(&replica) {
            // What it says last is believed, also when that is less: it may have lost its disk.
            Some(progress) if mutant!(X47) && progress.acknowledged > Some(acknowledged) => {
                return FetchVerdict::Refused(ErrorCode::OffsetOutOfRange);
            }
            Some(progress) => progress.acknowledged = Some(acknowledged),
            None if leading.observers.len() < limits::QUORUM_OBSERVERS_MAX => {
                leading.observers.insert(replica, acknowledged);
            }
            None => {}
        }
        self.advance();
        FetchVerdict::Read
    }

    /// A replica pulls a piece of a snapshot: not from a node that does not lead.
    pub fn on_fetch_snapshot(&mut self, now: Instant, asked: &FetchSnapshotRequest) -> Result<(), ErrorCode> {
        let Role::Leader(leading) = &mut self.role else { return Err(ErrorCode::NotLeaderOrFollower) };
        match asked.current_leader_epoch.cmp(&self.epoch) {
            Ordering::Less => return Err(ErrorCode::FencedLeaderEpoch),
            Ordering::Greater => return Err(ErrorCode::UnknownLeaderEpoch),
            Ordering::Equal => {}
        }
        if let Some(progress) = leading.voters.get_mut(&asked.replica) {
            (progress.fetched_at, progress.news) = (now, News::Known);
        }
        Ok(())
    }

    /// How long a leader goes on without a majority.
    pub(super) fn patience(&self) -> Duration {
        if mutant!(X33) { Duration(u64::MAX) } else { self.waits.fetch }
    }

    /// Moves the high watermark to what a majority has.
    pub(super) fn advance(&mut self) {
        let Role::Leader(leading) = &self.role else { return };
        let of = |voter: &NodeId| {
            if *voter == self.me {
                return if mutant!(X44) { self.log.end } else { self.log.durable };
            }
            leading.voters.get(voter).and_then(|progress| progress.acknowledged).unwrap_or(Offset::ZERO)
        };
        let durable: Vec<Offset> = self.voters.iter().map(of).collect();
        let epoch_start = if mutant!(X27) { Offset::NONE } else { leading.epoch_start };
        let next = committed(&durable, epoch_start, self.high_watermark);
        assert!(next >= self.high_watermark && next <= self.log.end, "what is committed is in the leader's log");
        self.high_watermark = next;
    }
}
