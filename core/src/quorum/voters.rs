//! Who votes (KIP-853): the set that the newest record about it in the log names, committed or not.
//!
//! ```text
//! offset   0 ............ 40 ............ 57 .......... log end
//! voters   1 2 3          1 2 3 4         1 2 4
//!          as configured, or the snapshot's
//! ```
//!
//! A set counts from the moment on at which its record is written: a leader that counted by the old one until the record is
//! committed could commit it with a majority that has no member in common with the new one's. For the same reason voters come and go
//! one at a time, and the next change waits until the one before, and a record of the leader's own epoch, are committed. A record that
//! is cut off takes its set with it. Whoever is let go may have to lead once more: while the others do not know of it, nobody among
//! them may have a log as long as its own.

use alloc::{string::String, vec::Vec};

use super::{Order, Quorum, Role};
use crate::{
    ids::{DirectoryId, NodeId},
    limits,
    message::{ErrorCode, PeerRequest},
    mutant,
    offset::Offset,
    record::{Batch, Voter},
    time::Instant,
};

/// The sets that the log names.
#[derive(Debug)]
pub(super) struct VoterSets {
    /// As configured: what counts where nothing was ever written about it.
    configured: Vec<Voter>,
    /// As of the log's start.
    base: Option<Vec<Voter>>,
    /// Ascending.
    changes: Vec<(Offset, Vec<Voter>)>,
}

/// Why the voters stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VotersUnchanged {
    /// Kafka's code.
    pub error: ErrorCode,
    /// For a person.
    pub reason: String,
}

impl VoterSets {
    pub(super) fn new(configured: &[NodeId], base: Option<Vec<Voter>>) -> Self {
        let any = |&node: &NodeId| Voter { node, directory: DirectoryId::ANY, endpoint: String::new() };
        Self { configured: configured.iter().map(any).collect(), base, changes: Vec::new() }
    }

    pub(super) fn current(&self) -> &[Voter] {
        let last = self.changes.last().map(|(_, voters)| voters);
        last.or(self.base.as_ref()).unwrap_or(&self.configured)
    }

    /// The set that the records below `end` name, if they do.
    fn at(&self, end: Offset) -> Option<&Vec<Voter>> {
        self.changes.iter().rev().find(|(at, _)| *at < end).map(|(_, voters)| voters).or(self.base.as_ref())
    }

    /// The set before the newest record about it.
    fn former(&self) -> &[Voter] {
        let before = self.changes.iter().rev().nth(1).map(|(_, voters)| voters);
        before.or(self.base.as_ref()).unwrap_or(&self.configured)
    }

    fn note(&mut self, at: Offset, voters: Vec<Voter>) {
        self.changes.retain(|(other, _)| *other < at);
        self.changes.push((at, voters));
    }

    pub(super) fn truncate_end(&mut self, end: Offset) {
        self.changes.retain(|(at, _)| *at < end);
    }

    pub(super) fn truncate_start(&mut self, start: Offset) {
        self.base = self.at(start).cloned();
        self.changes.retain(|(at, _)| *at >= start);
    }

    /// The log begins anew where these are the voters.
    pub(super) fn start_over(&mut self, base: Option<Vec<Voter>>) {
        (self.base, self.changes) = (base, Vec::new());
    }
}

impl Quorum {
    /// The voters with their disks and endpoints.
    pub fn voter_set(&self) -> &[Voter] {
        self.sets.current()
    }

    /// The voters as all records below `end` have it; `None` where nothing was ever written about them.
    pub fn voters_at(&self, end: Offset) -> Option<&[Voter]> {
        self.sets.at(end).map(Vec::as_slice)
    }

    /// Where the newest record about the voters is, if the log has one.
    pub fn last_voter_change(&self) -> Option<Offset> {
        self.sets.changes.last().map(|(at, _)| *at)
    }

    /// A batch that was found in the log when it was read.
    pub fn found(&mut self, batch: &Batch) {
        if let Some(voters) = batch.as_voters() {
            self.sets.note(batch.header().base_offset, voters);
            self.take_voters();
        }
    }

    /// A batch is being appended.
    pub(super) fn note_voters(&mut self, now: Instant, batch: &Batch) {
        if let Some(voters) = batch.as_voters() {
            self.sets.note(batch.header().base_offset, voters);
            self.take_voters();
            if let Role::Leader(leading) = &mut self.role {
                leading.take_voters(self.sets.current(), self.me, now);
            }
        }
    }

    /// The voters are those that the log names by now.
    pub(super) fn take_voters(&mut self) {
        self.voters = self.sets.current().iter().map(|voter| voter.node).collect();
    }

    /// Is the node, on this disk, one of the voters?
    pub(super) fn votes(&self, node: NodeId, directory: DirectoryId) -> bool {
        self.sets.current().iter().any(|voter| voter.is(node, directory))
    }

    /// The disk that a voter is to be on.
    pub(super) fn directory_of(&self, node: NodeId) -> DirectoryId {
        let voter = self.sets.current().iter().find(|voter| voter.node == node);
        voter.map_or(DirectoryId::ANY, |voter| voter.directory)
    }

    /// May it stand for election? A node that the newest set lets go may while that is not committed.
    pub(super) fn may_stand(&self) -> bool {
        let is_me = |voter: &Voter| voter.is(self.me, self.directory);
        let committed = self.last_voter_change().is_none_or(|at| at < self.high_watermark);
        self.is_voter() || (!committed && self.sets.former().iter().any(is_me))
    }

    /// Other nodes that may know who leads: the voters, and those who were at first.
    pub(super) fn acquaintances(&self) -> Vec<NodeId> {
        let at_first = self.sets.configured.iter().map(|voter| voter.node);
        let mut known: Vec<NodeId> = self.others().collect();
        known.extend(at_first.filter(|node| *node != self.me && !self.voters.contains(node)));
        known
    }

    fn may_change(&self) -> Result<(), VotersUnchanged> {
        if self.established().is_none() {
            return Err(unchanged(
                ErrorCode::NotController,
                "this node does not lead the quorum, or not for long enough",
            ));
        }
        if self.last_voter_change().is_some_and(|at| at >= self.high_watermark) && !mutant!(X36) {
            return Err(unchanged(ErrorCode::RequestTimedOut, "the change before is not committed yet"));
        }
        Ok(())
    }

    /// The voters with one more, if it may become one: it follows, and has what is committed.
    pub fn with_voter(&self, now: Instant, voter: Voter) -> Result<Vec<Voter>, VotersUnchanged> {
        self.may_change()?;
        if self.voters.contains(&voter.node) {
            return Err(unchanged(ErrorCode::DuplicateVoter, "the node is a voter"));
        }
        let Role::Leader(leading) = &self.role else { unreachable!("it is established") };
        let Some(observer) = leading.observer(voter.node) else {
            return Err(unchanged(ErrorCode::RequestTimedOut, "the node does not follow the metadata log"));
        };
        if !voter.is(voter.node, observer.directory) {
            return Err(unchanged(ErrorCode::InvalidVoterKey, "the node is on another disk"));
        }
        let is_late = observer.acknowledged < Some(self.high_watermark);
        if is_late || observer.fetched_at.after(self.waits.fetch) < now {
            return Err(unchanged(ErrorCode::RequestTimedOut, "the node has not caught up with the metadata log"));
        }
        if self.voters.len() >= limits::QUORUM_VOTERS_MAX {
            return Err(unchanged(ErrorCode::InvalidRequest, "there are as many voters as there may be"));
        }
        let mut voters = self.sets.current().to_vec();
        voters.push(Voter { directory: observer.directory, ..voter });
        voters.sort_unstable_by_key(|voter| voter.node);
        Ok(voters)
    }

    /// The voters with one less.
    pub fn without_voter(&self, node: NodeId, directory: DirectoryId) -> Result<Vec<Voter>, VotersUnchanged> {
        self.may_change()?;
        let mut voters = self.sets.current().to_vec();
        let Some(place) = voters.iter().position(|voter| voter.is(node, directory)) else {
            return Err(unchanged(ErrorCode::VoterNotFound, "the node, on that disk, is no voter"));
        };
        if voters.len() == 1 {
            return Err(unchanged(ErrorCode::InvalidRequest, "the last voter cannot go"));
        }
        voters.remove(place);
        Ok(voters)
    }

    /// Is this a leader that others, by now all that count, have let go?
    pub fn must_leave(&self) -> bool {
        let committed = self.last_voter_change().is_some_and(|at| at < self.high_watermark);
        self.is_leader() && !self.is_voter() && committed
    }

    /// A leader that is no voter any more hands over.
    pub fn leave_office(&mut self, now: Instant) {
        assert!(self.must_leave(), "a voter stays");
        let Role::Leader(leading) = &self.role else { unreachable!("just seen") };
        let request = leading.end_epoch(self.me, self.epoch, &self.voters);
        let wait = self.election_timeout();
        self.become_unattached(now, self.epoch, wait);
        let (turn, timeout) = (self.turn, self.waits.request);
        let calls: Vec<Order> = self
            .others()
            .map(|to| Order::Call { to, request: PeerRequest::EndEpoch(request.clone()), timeout, turn })
            .collect();
        self.orders.extend(calls);
    }
}

fn unchanged(error: ErrorCode, reason: &str) -> VotersUnchanged {
    VotersUnchanged { error, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[i32]) -> Vec<Voter> {
        VoterSets::new(&nodes.iter().copied().map(NodeId).collect::<Vec<_>>(), None).configured
    }

    #[test]
    fn a_set_counts_from_its_record_on_and_goes_with_it() {
        let mut sets = VoterSets::new(&[NodeId(1), NodeId(2)], None);
        assert_eq!((sets.current(), sets.at(Offset(9))), (&set(&[1, 2])[..], None));
        sets.note(Offset(4), set(&[1, 2, 3]));
        sets.note(Offset(8), set(&[1, 3]));
        assert_eq!((sets.current(), sets.former()), (&set(&[1, 3])[..], &set(&[1, 2, 3])[..]));
        assert_eq!((sets.at(Offset(4)), sets.at(Offset(5))), (None, Some(&set(&[1, 2, 3]))));
        sets.truncate_end(Offset(8));
        assert_eq!((sets.current(), sets.former()), (&set(&[1, 2, 3])[..], &set(&[1, 2])[..]));
        sets.truncate_start(Offset(6));
        assert_eq!((sets.current(), sets.changes.len()), (&set(&[1, 2, 3])[..], 0));
        sets.note(Offset(9), set(&[1, 2]));
        sets.truncate_end(Offset(6));
        assert_eq!(sets.current(), set(&[1, 2, 3]), "what the snapshot has stays");
        sets.start_over(Some(set(&[5])));
        assert_eq!(sets.current(), set(&[5]));
    }
}
