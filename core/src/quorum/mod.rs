//! The metadata log's election and commit rule (KIP-595): who may append, and what is committed.
//!
//! ```text
//! Unattached --campaign--> Candidate --a majority's votes, the own one durable--> Leader
//! ```
//!
//! One log, two commit rules: a partition's high watermark follows its ISR, this one follows a majority of the voters.
//! Everything else about the metadata log (storage, epochs, fetches) is a partition's.
//!
//! **A vote is durable before it counts**, also the own one: a node that forgot it could vote twice in an epoch.
//! **Only a record of the leader's own epoch commits**, and with it all before (Raft, figure 8).
//!
//! One voter runs it today; the rules are written for any number and tested for up to five. Messages between voters
//! (Vote, BeginQuorumEpoch, Fetch) come with the cluster.

mod commit;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

pub use commit::committed;

use crate::{epoch::LeaderEpoch, ids::NodeId, log::Vote, offset::Offset};

/// One node's view of the quorum.
#[derive(Debug)]
pub struct Quorum {
    me: NodeId,
    voters: Vec<NodeId>,
    epoch: LeaderEpoch,
    role: Role,
    log_end: Offset,
    high_watermark: Offset,
}

#[derive(Debug)]
enum Role {
    Unattached,
    Candidate { votes: BTreeSet<NodeId> },
    Leader { epoch_start: Offset, durable: BTreeMap<NodeId, Offset> },
}

impl Quorum {
    /// A node that has just opened its metadata log and knows the last epoch it took part in.
    pub fn new(me: NodeId, voters: Vec<NodeId>, epoch: LeaderEpoch, log_end: Offset) -> Self {
        assert!(voters.contains(&me), "observers come with the cluster");
        Self { me, voters, epoch, role: Role::Unattached, log_end, high_watermark: Offset::ZERO }
    }

    /// Begins an election in the next epoch. The vote must be made durable; then [`Quorum::vote_persisted`].
    #[must_use]
    pub fn campaign(&mut self) -> Vote {
        self.epoch = self.epoch.bump();
        self.role = Role::Candidate { votes: BTreeSet::new() };
        Vote { epoch: self.epoch, voted_for: Some(self.me) }
    }

    /// This node's own vote is durable. True when that alone is a majority, so that the node now leads; it must then
    /// append a record of its epoch.
    pub fn vote_persisted(&mut self, vote: Vote) -> bool {
        assert!(vote.voted_for == Some(self.me) && vote.epoch == self.epoch, "the vote is that of this election");
        let Role::Candidate { votes } = &mut self.role else { panic!("only a candidate waits for its vote") };
        votes.insert(self.me);
        if votes.len() < majority(self.voters.len()) {
            return false;
        }
        self.role = Role::Leader { epoch_start: self.log_end, durable: BTreeMap::new() };
        true
    }

    /// The leader has appended up to `end`; it is not durable yet.
    pub fn appended(&mut self, end: Offset) {
        assert!(self.is_leader(), "only the leader appends");
        assert!(end >= self.log_end, "the leader's log only grows");
        self.log_end = end;
    }

    /// The leader's own disk refused what was appended last: the log ends where it ended before.
    pub fn append_failed(&mut self) {
        let Role::Leader { epoch_start, durable } = &self.role else { panic!("only the leader appends") };
        let durable = durable.get(&self.me).copied().unwrap_or(*epoch_start);
        self.log_end = durable.max(*epoch_start);
    }

    /// A voter has made the log durable up to `end`. Returns the high watermark when that moved it.
    pub fn persisted(&mut self, voter: NodeId, end: Offset) -> Option<Offset> {
        assert!(end <= self.log_end, "nothing past the log's end is durable");
        let Role::Leader { epoch_start, durable } = &mut self.role else { return None };
        if !self.voters.contains(&voter) {
            return None;
        }
        let position = durable.entry(voter).or_insert(Offset::ZERO);
        *position = end.max(*position);
        let positions: Vec<Offset> =
            self.voters.iter().map(|v| durable.get(v).copied().unwrap_or(Offset::ZERO)).collect();
        let next = committed(&positions, *epoch_start, self.high_watermark);
        assert!(next >= self.high_watermark && next <= self.log_end);
        if next == self.high_watermark {
            return None;
        }
        self.high_watermark = next;
        Some(next)
    }

    /// Does this node lead?
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.is_leader().then_some(self.me)
    }

    /// Who votes.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The newest epoch that this node knows.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where the log ends.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Where the committed records end.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_voter_leads_once_its_vote_is_durable_and_commits_what_it_has_synced() {
        let me = NodeId(1);
        let mut quorum = Quorum::new(me, alloc::vec![me], LeaderEpoch(4), Offset(10));
        let vote = quorum.campaign();
        assert_eq!(vote, Vote { epoch: LeaderEpoch(5), voted_for: Some(me) });
        assert!(!quorum.is_leader());
        assert!(quorum.vote_persisted(vote));
        quorum.appended(Offset(12));
        assert_eq!(quorum.persisted(me, Offset(10)), None, "records of older epochs do not commit by themselves");
        assert_eq!(quorum.persisted(me, Offset(12)), Some(Offset(12)));
        assert_eq!(quorum.persisted(me, Offset(12)), None);
    }

    #[test]
    fn one_vote_of_three_is_no_majority() {
        let me = NodeId(1);
        let mut quorum = Quorum::new(me, alloc::vec![me, NodeId(2), NodeId(3)], LeaderEpoch(0), Offset::ZERO);
        let vote = quorum.campaign();
        assert!(!quorum.vote_persisted(vote));
        assert!(!quorum.is_leader());
    }
}
