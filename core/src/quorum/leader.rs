//! The leader: serves followers, commits what a majority has, and goes when it hears of none.

use alloc::{collections::BTreeMap, vec::Vec};
use core::cmp::Ordering;

use super::{Log, Order, Quorum, RETRY, ReplicaState, Role, committed};
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId},
    limits,
    message::{
        BeginEpochRequest, EndEpochRequest, ErrorCode, FetchSnapshotRequest, PeerRequest, ReplicaFetchPartition,
        SnapshotId,
    },
    mutant,
    offset::Offset,
    record::Voter,
    time::{Duration, Instant},
};

/// What a leader knows of its followers.
#[derive(Debug)]
pub(super) struct Leading {
    /// The offset of the epoch's first record.
    epoch_start: Offset,
    /// The other voters.
    voters: BTreeMap<NodeId, Progress>,
    /// Those that pull without a vote.
    observers: BTreeMap<NodeId, Progress>,
    /// Does this node vote itself?
    votes: bool,
}

#[derive(Debug)]
pub(super) struct Progress {
    pub(super) directory: DirectoryId,
    /// What it has durably, as it said in this epoch.
    pub(super) acknowledged: Option<Offset>,
    /// When it last fetched, or became known.
    pub(super) fetched_at: Instant,
    caught_up_at: Option<Instant>,
    news: News,
}

impl Progress {
    fn new(directory: DirectoryId, now: Instant) -> Self {
        Self { directory, acknowledged: None, fetched_at: now, caught_up_at: None, news: News::Due(now) }
    }
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
        // Of n others, so many make a majority with this node, or, if it does not vote, without it.
        let needed = if self.votes { fetched.len().div_ceil(2) } else { fetched.len() / 2 + 1 };
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

    /// A node that pulls without a vote.
    pub(super) fn observer(&self, node: NodeId) -> Option<&Progress> {
        self.observers.get(&node)
    }

    /// Others vote from here on.
    pub(super) fn take_voters(&mut self, voters: &[Voter], me: NodeId, now: Instant) {
        let is_voter = |node: &NodeId| voters.iter().any(|voter| voter.node == *node);
        // Whoever goes is known again once it pulls, perhaps on another disk.
        self.voters.retain(|node, _| is_voter(node));
        for voter in voters.iter().filter(|voter| voter.node != me) {
            let known = self.observers.remove(&voter.node).filter(|known| voter.is(voter.node, known.directory));
            self.voters.entry(voter.node).or_insert_with(|| match known {
                Some(known) => Progress { news: News::Due(now), ..known },
                None => Progress::new(voter.directory, now),
            });
        }
        self.votes = voters.iter().any(|voter| voter.node == me);
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = ReplicaState> {
        let state = |is_voter| {
            move |(&node, progress): (&NodeId, &Progress)| ReplicaState {
                node,
                acknowledged: progress.acknowledged.unwrap_or(Offset::NONE),
                is_voter,
                directory: progress.directory,
                fetched_at: progress.acknowledged.map(|_| progress.fetched_at),
                caught_up_at: progress.caught_up_at,
            }
        };
        self.voters.iter().map(state(true)).chain(self.observers.iter().map(state(false)))
    }

    fn observe(&mut self, now: Instant, node: NodeId, directory: DirectoryId, acknowledged: Offset, is_level: bool) {
        if self.observers.len() >= limits::QUORUM_OBSERVERS_MAX && !self.observers.contains_key(&node) {
            return;
        }
        let progress = self.observers.entry(node).or_insert_with(|| Progress::new(directory, now));
        let caught_up_at = if is_level { Some(now) } else { progress.caught_up_at };
        let acknowledged = Some(acknowledged);
        *progress = Progress { directory, acknowledged, fetched_at: now, caught_up_at, news: News::Known };
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
        let mut leading = Leading { epoch_start, voters: BTreeMap::new(), observers: BTreeMap::new(), votes: true };
        leading.take_voters(self.sets.current(), self.me, now);
        self.take_role(Role::Leader(leading));
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
                let request = PeerRequest::BeginEpoch(BeginEpochRequest {
                    leader: self.me,
                    epoch: self.epoch,
                    leader_endpoint: None,
                });
                self.orders.push_back(Order::Call { to, request, timeout, turn });
            }
        }
    }

    /// A replica pulls. What it acknowledges may commit something.
    pub fn on_fetch(
        &mut self,
        now: Instant,
        (replica, directory): (NodeId, DirectoryId),
        asked: &ReplicaFetchPartition,
    ) -> FetchVerdict {
        let votes = self.votes(replica, directory);
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
        if let Some(progress) = leading.voters.get_mut(&replica).filter(|_| votes) {
            (progress.fetched_at, progress.news, progress.directory) = (now, News::Known, directory);
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
        let (is_level, is_voters) = (asked.offset == end, leading.voters.contains_key(&replica));
        match leading.voters.get_mut(&replica).filter(|_| votes) {
            // What it says last is believed, also when that is less: it may have lost its disk.
            Some(progress) if mutant!(X47) && progress.acknowledged > Some(acknowledged) => {
                return FetchVerdict::Refused(ErrorCode::OffsetOutOfRange);
            }
            Some(progress) => {
                progress.acknowledged = Some(acknowledged);
                progress.caught_up_at = if is_level { Some(now) } else { progress.caught_up_at };
            }
            // A voter on another disk is to show in its own place only.
            None if is_voters => {}
            None => leading.observe(now, replica, directory, acknowledged, is_level),
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
        // It does not say on which disk it is; that it fetched before, and so was known to vote, must do.
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
        let mut durable: Vec<Offset> = self.voters.iter().map(of).collect();
        if mutant!(X35) && !self.is_voter() {
            let least = durable.iter_mut().min().expect("a quorum has voters");
            *least = self.log.durable.max(*least);
        }
        let epoch_start = if mutant!(X27) { Offset::NONE } else { leading.epoch_start };
        let next = committed(&durable, epoch_start, self.high_watermark);
        assert!(next >= self.high_watermark && next <= self.log.end, "what is committed is in the leader's log");
        self.high_watermark = next;
    }
}
