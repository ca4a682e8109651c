//! The in-sync replicas of a partition as its leader sees them (KIP-497, KIP-841, KIP-903).
//!
//! ```text
//!   acknowledged by    n1 ------------------------|      the leader
//!                      n2 --------------------|          in sync: the high watermark is here, or further left
//!                      n3 ---------|                     lags; out of the ISR once it has lagged too long
//! ```
//!
//! **What the controller has not confirmed counts in the way that promises less.** A replica that the leader wants in
//! counts for the high watermark at once (it may be in already); one that the leader wants out goes on counting until
//! the controller has said so (it may be elected). That is the *maximal* ISR.
//!
//! **Only time makes a replica lag**, never the number of records: it is in sync as long as it had, within
//! `replica.lag.time.max.ms`, everything that there was at some moment.

use alloc::vec::Vec;

use crate::{
    cluster,
    epoch::PartitionEpoch,
    ids::{BrokerEpoch, NodeId},
    message::{AlteredPartition, ErrorCode},
    mutant,
    offset::Offset,
    time::{Duration, Instant},
};

/// Who is in sync, and how far every follower is.
#[derive(Debug)]
pub(super) struct InSync {
    me: NodeId,
    committed: Vec<NodeId>,
    partition_epoch: PartitionEpoch,
    pending: Option<Pending>,
    followers: Vec<FollowerState>,
}

/// A change of the ISR that the controller has not confirmed.
#[derive(Debug)]
struct Pending {
    isr: Vec<NodeId>,
    /// The controller has refused it for a reason that newer metadata will explain; until then it stands.
    refused: bool,
}

/// What the leader knows of one follower in its own epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerState {
    /// Who.
    pub node: NodeId,
    /// The registration that it fetches under.
    pub broker_epoch: BrokerEpoch,
    /// It has everything below; [`Offset::NONE`] until it has fetched.
    pub acknowledged: Offset,
    /// Where its log begins; [`Offset::NONE`] until it has fetched.
    pub log_start: Offset,
    /// When it last had everything.
    pub(super) caught_up_at: Instant,
    /// When it last acknowledged something, and where the leader's log ended then.
    last_fetch: Option<(Instant, Offset)>,
}

impl FollowerState {
    fn new(node: NodeId, caught_up_at: Instant) -> Self {
        Self {
            node,
            broker_epoch: BrokerEpoch::NONE,
            acknowledged: Offset::NONE,
            log_start: Offset::NONE,
            caught_up_at,
            last_fetch: None,
        }
    }

    pub(super) fn is_caught_up(&self, now: Instant, log_end: Offset, lag_max: Duration) -> bool {
        self.acknowledged >= log_end || now.since(self.caught_up_at) <= lag_max
    }
}

impl InSync {
    /// The state at the beginning of a leader's epoch: nothing is known of the followers, and those in the ISR have
    /// from now on to show themselves.
    pub(super) fn new(me: NodeId, now: Instant, image: &cluster::Partition) -> Self {
        let mut new = Self {
            me,
            committed: Vec::new(),
            partition_epoch: image.partition_epoch,
            pending: None,
            followers: Vec::new(),
        };
        new.adopt(now, &image.replicas, image.isr.clone());
        new
    }

    fn adopt(&mut self, now: Instant, replicas: &[NodeId], isr: Vec<NodeId>) {
        self.committed = isr;
        self.followers.retain(|f| replicas.contains(&f.node));
        for &node in replicas {
            if node != self.me && self.follower(node).is_none() {
                self.followers.push(FollowerState::new(node, now));
            }
        }
    }

    /// Takes newer metadata of the same leader's epoch over; whatever was pending is settled by it.
    pub(super) fn refresh(&mut self, now: Instant, image: &cluster::Partition) {
        if image.partition_epoch > self.partition_epoch {
            self.partition_epoch = image.partition_epoch;
            if !mutant!(X17) {
                self.pending = None;
            }
            self.adopt(now, &image.replicas, image.isr.clone());
        }
    }

    /// Those that the controller has confirmed.
    pub(super) fn committed(&self) -> &[NodeId] {
        &self.committed
    }

    /// The state that a change is made to.
    pub(super) fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// Is this replica in the ISR, or may it be?
    fn in_maximal(&self, node: NodeId) -> bool {
        if mutant!(X17) {
            // The planted bug: the smaller, unconfirmed ISR decides.
            return self.pending.as_ref().map_or(&self.committed, |p| &p.isr).contains(&node);
        }
        self.committed.contains(&node) || self.pending.as_ref().is_some_and(|p| p.isr.contains(&node))
    }

    /// Is nobody else in the maximal ISR?
    pub(super) fn is_alone(&self) -> bool {
        self.pending.is_none() && self.committed == [self.me]
    }

    /// What every replica of the maximal ISR has, this one having everything below `own`.
    pub(super) fn all_have(&self, own: Offset) -> Offset {
        let others = self.followers.iter().filter(|f| self.in_maximal(f.node)).map(|f| f.acknowledged);
        others.fold(own, Offset::min)
    }

    /// The followers, in the order of the assignment.
    pub(super) fn followers(&self) -> &[FollowerState] {
        &self.followers
    }

    fn follower(&mut self, node: NodeId) -> Option<&mut FollowerState> {
        self.followers.iter_mut().find(|f| f.node == node)
    }

    /// Is this one of the followers?
    pub(super) fn has_follower(&self, node: NodeId) -> bool {
        self.followers.iter().any(|f| f.node == node)
    }

    /// The leader's log has grown from `before`: whoever had everything had it until now.
    pub(super) fn appended(&mut self, now: Instant, before: Offset) {
        for follower in self.followers.iter_mut().filter(|f| f.acknowledged >= before) {
            follower.caught_up_at = follower.caught_up_at.max(now);
        }
    }

    /// A follower says what it has.
    pub(super) fn acknowledged(&mut self, now: Instant, said: &FollowerSays, log_end: Offset) {
        let Some(follower) = self.follower(said.node) else { return };
        let mut acknowledged = said.acknowledged;
        if mutant!(X14) && follower.broker_epoch != said.broker_epoch {
            // The planted bug: the new run's registration beside what the one before had.
            acknowledged = acknowledged.max(follower.acknowledged);
            follower.broker_epoch = said.broker_epoch;
        } else if follower.broker_epoch != said.broker_epoch {
            // Another run of the follower: what the one before had is not what this one has.
            *follower = FollowerState { caught_up_at: follower.caught_up_at, ..FollowerState::new(said.node, now) };
            follower.broker_epoch = said.broker_epoch;
        }
        if acknowledged >= log_end {
            follower.caught_up_at = now;
        } else if let Some((at, end)) = follower.last_fetch
            && acknowledged >= end
        {
            // It has all that there was when it last asked: always one step behind is not behind.
            follower.caught_up_at = follower.caught_up_at.max(at);
        }
        follower.last_fetch = Some((now, log_end));
        follower.acknowledged = acknowledged;
        follower.log_start = said.log_start;
    }

    /// The ISR that the leader would rather have, if another than what it has and nothing is pending. `floor` is what a
    /// replica needs to join; `may_join` says whether it is in service, under this registration, and does not lag.
    pub(super) fn wish(
        &mut self,
        floor: Offset,
        may_join: impl Fn(&FollowerState) -> bool,
        lag: Option<(Instant, Offset, Duration)>,
    ) -> bool {
        if let Some(pending) = &mut self.pending {
            // A refusal that no newer metadata has explained in all this time is put to the test.
            let again = pending.refused && lag.is_some();
            pending.refused &= !again;
            return again;
        }
        let stays = |f: &FollowerState| lag.is_none_or(|(now, log_end, max)| f.is_caught_up(now, log_end, max));
        let wanted = |f: &FollowerState| match self.committed.contains(&f.node) {
            true => stays(f),
            false => f.acknowledged >= floor && may_join(f),
        };
        let mut isr: Vec<NodeId> = self.followers.iter().filter(|f| wanted(f)).map(|f| f.node).collect();
        let before = self.followers.iter().filter(|f| self.committed.contains(&f.node)).count();
        let same = isr.len() == before && isr.iter().all(|node| self.committed.contains(node));
        if same {
            return false;
        }
        isr.push(self.me);
        isr.sort_unstable();
        self.pending = Some(Pending { isr, refused: false });
        true
    }

    /// What the controller is to be asked for, each replica with the registration under which it was seen.
    pub(super) fn pending(&self, own_epoch: BrokerEpoch) -> Option<Vec<(NodeId, BrokerEpoch)>> {
        let pending = self.pending.as_ref().filter(|p| !p.refused)?;
        let epoch = |node: NodeId| match self.followers.iter().find(|f| f.node == node) {
            Some(follower) => follower.broker_epoch,
            None => own_epoch,
        };
        Some(pending.isr.iter().map(|&node| (node, epoch(node))).collect())
    }

    /// The controller has answered. True if it is to be asked again.
    pub(super) fn altered(&mut self, now: Instant, altered: &AlteredPartition, replicas: &[NodeId]) -> bool {
        match altered.error {
            ErrorCode::None => {
                if altered.partition_epoch >= self.partition_epoch {
                    self.partition_epoch = altered.partition_epoch;
                    self.pending = None;
                    self.adopt(now, replicas, altered.isr.clone());
                }
                false
            }
            ErrorCode::IneligibleReplica => {
                self.pending = None;
                false
            }
            // The newer metadata has come before the answer: what is wished for now rests on it already.
            ErrorCode::FencedLeaderEpoch | ErrorCode::InvalidUpdateVersion
                if altered.partition_epoch <= self.partition_epoch =>
            {
                self.pending.is_some()
            }
            ErrorCode::FencedLeaderEpoch
            | ErrorCode::InvalidUpdateVersion
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InvalidRequest
            | ErrorCode::NotLeaderOrFollower => {
                if let Some(pending) = &mut self.pending {
                    pending.refused = true;
                }
                false
            }
            _ => self.pending.is_some(),
        }
    }
}

/// What a follower says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerSays {
    /// Who.
    pub node: NodeId,
    /// The registration that it fetches under.
    pub broker_epoch: BrokerEpoch,
    /// It has everything below.
    pub acknowledged: Offset,
    /// Where its log begins.
    pub log_start: Offset,
}
