//! Elections: who stands, who votes for whom (KIP-595), and who need not ask (KIP-996).
//!
//! Before it uses up an epoch a node asks whether a majority would vote for it. Nobody would who hears of a leader, so a
//! node that comes back from behind a cut cable, or restarts, disturbs nobody: it is told who leads.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Order, Quorum, Role};
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId},
    log::Vote,
    message::{BeginEpochRequest, EndEpochRequest, EpochResponse, ErrorCode, PeerRequest, VoteRequest, VoteResponse},
    mutant,
    time::{Duration, Instant},
};

/// An election, or the question how it would end.
#[derive(Debug)]
pub(super) struct Election {
    granted: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    /// When it has failed.
    pub(super) deadline: Instant,
}

/// The answer to a request for a vote.
#[derive(Clone, Debug, PartialEq)]
pub enum VoteAnswer {
    /// It can be given at once: it binds nobody, or is a refusal.
    Now(VoteResponse),
    /// It may be given once this vote, which was ordered, is durable.
    OnceSaved(Vote, VoteResponse),
}

impl Quorum {
    /// Stands for election, or asks first whether that has any hope. A node that does not vote looks for the leader.
    pub(super) fn stand(&mut self, now: Instant) {
        if mutant!(X42) && !self.is_voter() {
            self.become_candidate(now);
        } else if !self.may_stand() {
            self.search(now)
        } else if self.is_alone() {
            self.become_candidate(now);
        } else {
            self.become_prospective(now);
        }
    }

    fn become_prospective(&mut self, now: Instant) {
        let election = self.election(now);
        self.take_role(Role::Prospective(election));
        self.ask_for_votes(true);
        self.count(now, self.me);
    }

    fn become_candidate(&mut self, now: Instant) {
        let election = self.election(now);
        self.take_role(Role::Candidate(election));
        (self.epoch, self.voted_for) = (self.epoch.bump(), Some(self.me));
        self.orders.push_back(Order::SaveVote(Vote { epoch: self.epoch, voted_for: Some(self.me) }));
        self.ask_for_votes(false);
    }

    fn election(&mut self, now: Instant) -> Election {
        // Whoever is alone waits for its own disk only.
        let deadline = if self.is_alone() { super::NEVER } else { now.after(self.election_timeout()) };
        Election { granted: BTreeSet::new(), refused: BTreeSet::new(), deadline }
    }

    fn ask_for_votes(&mut self, pre_vote: bool) {
        // The planted bug: the epoch that was heard of last stands for that of the last record.
        let heard = LeaderEpoch(self.epoch.0 - i32::from(!pre_vote));
        let last_epoch = if mutant!(X45) { heard } else { self.last_epoch() };
        let request = |to| {
            PeerRequest::Vote(VoteRequest {
                candidate: self.me,
                directory: self.directory,
                voter_directory: self.directory_of(to),
                epoch: self.epoch,
                last_epoch,
                log_end: self.log.end,
                pre_vote,
            })
        };
        let (turn, timeout) = (self.turn, self.waits.request);
        // Who voted at first may know a leader whom this node's log does not know for a voter yet.
        let asked: Vec<NodeId> = if pre_vote { self.acquaintances() } else { self.others().collect() };
        let calls: Vec<_> =
            asked.into_iter().map(|to| Order::Call { to, request: request(to), timeout, turn }).collect();
        self.orders.extend(calls);
    }

    /// A vote is durable. Only the own one in an election that still goes on means anything here.
    pub fn vote_saved(&mut self, now: Instant, vote: Vote) {
        let own = vote.voted_for == Some(self.me) && vote.epoch == self.epoch;
        if own && matches!(self.role, Role::Candidate(_)) {
            self.count(now, self.me);
        }
    }

    /// A vote could not be made durable for want of space: it is not given. Nor is it to anybody else in this epoch, as
    /// it may be on the disk.
    pub fn vote_failed(&mut self, now: Instant, vote: Vote) {
        let own = vote.voted_for == Some(self.me) && vote.epoch == self.epoch;
        if own && matches!(self.role, Role::Candidate(_)) {
            let wait = self.election_timeout();
            self.become_unattached(now, self.epoch, wait);
        }
    }

    /// Somebody votes for this node, or would.
    fn count(&mut self, now: Instant, voter: NodeId) {
        let majority = self.majority();
        let (Role::Prospective(election) | Role::Candidate(election)) = &mut self.role else { return };
        if !self.voters.contains(&voter) {
            return;
        }
        election.granted.insert(voter);
        if election.granted.len() < majority {
            return;
        }
        let granting: Vec<NodeId> = election.granted.iter().copied().collect();
        if matches!(self.role, Role::Prospective(_)) {
            self.become_candidate(now);
        } else {
            self.become_leader(now, granting);
        }
    }

    /// Somebody does not vote for this node, or cannot be asked. When no majority is left to hope for, it tries again
    /// before the election's time is up: by then the voters may know more.
    pub(super) fn on_refused(&mut self, now: Instant, voter: NodeId) {
        if !self.voters.contains(&voter) {
            return;
        }
        let (enough, voters) = (self.majority(), self.voters.len());
        let wait = self.backoff();
        let (Role::Prospective(election) | Role::Candidate(election)) = &mut self.role else { return };
        let hopeless = |election: &Election| voters - election.refused.len() < enough;
        let before = hopeless(election);
        if !election.granted.contains(&voter) {
            election.refused.insert(voter);
        }
        if hopeless(election) && !before {
            election.deadline = election.deadline.min(now.after(wait));
        }
    }

    pub(super) fn on_vote(&mut self, now: Instant, from: NodeId, turn: u64, response: &VoteResponse) {
        let counts = mutant!(X50) && turn == self.turn;
        if response.epoch > self.epoch && !counts {
            return self.learn(now, from, response.epoch, response.leader);
        }
        if turn != self.turn {
            return;
        }
        if response.granted || response.epoch > self.epoch {
            return self.count(now, from);
        }
        match response.leader {
            Some(leader) if response.epoch == self.epoch && leader != self.me => {
                self.become_follower(now, self.epoch, leader, leader == from);
            }
            _ => self.on_refused(now, from),
        }
    }

    /// A candidate asks for this node's vote.
    pub fn on_vote_request(&mut self, now: Instant, request: &VoteRequest) -> VoteAnswer {
        if request.candidate == self.me || matches!(self.role, Role::Resigned) {
            return VoteAnswer::Now(self.vote_response(ErrorCode::InvalidRequest, false));
        }
        // Whether one of the two is a voter the other may know better: its log may be the longer one. But this disk, and the
        // candidate's, must be those that are meant: on another one nobody knows what was voted before.
        let meant = |known: DirectoryId, is: DirectoryId| known.is_any() || known == is;
        let is_this =
            meant(request.voter_directory, self.directory) && meant(self.directory_of(self.me), self.directory);
        if !is_this || !meant(self.directory_of(request.candidate), request.directory) {
            return VoteAnswer::Now(self.vote_response(ErrorCode::InvalidVoterKey, false));
        }
        if request.epoch < self.epoch {
            return VoteAnswer::Now(self.vote_response(ErrorCode::FencedLeaderEpoch, false));
        }
        if request.epoch > self.epoch {
            let wait = self.election_timeout();
            self.become_unattached(now, request.epoch, wait);
        }
        let is_complete = (request.last_epoch, request.log_end) >= (self.last_epoch(), self.log.end);
        if request.pre_vote {
            if mutant!(X41)
                && let Role::Unattached { stand_at } = &mut self.role
            {
                *stand_at = now.after(self.waits.election);
            }
            // Whoever hears the leader wants no other (KIP-996). To have been told of one is not enough: two followers that
            // do not hear it could assure each other of it for ever.
            let granted = is_complete && !self.hears_leader();
            return VoteAnswer::Now(self.vote_response(ErrorCode::None, granted));
        }
        let is_free = self.leader().is_none() && self.voted_for.is_none_or(|voted| voted == request.candidate);
        if !(is_free && is_complete) {
            return VoteAnswer::Now(self.vote_response(ErrorCode::None, false));
        }
        let vote = Vote { epoch: self.epoch, voted_for: Some(request.candidate) };
        self.voted_for = vote.voted_for;
        // It says the same as a note of the epoch alone, and more.
        if self.orders.back() == Some(&Order::SaveVote(Vote { epoch: self.epoch, voted_for: None })) {
            self.orders.pop_back();
        }
        self.orders.push_back(Order::SaveVote(vote));
        // Whoever has given its vote leaves the candidate the time that an election takes.
        let wait = self.election_timeout();
        self.become_unattached(now, self.epoch, wait);
        let response = self.vote_response(ErrorCode::None, true);
        if mutant!(X26) { VoteAnswer::Now(response) } else { VoteAnswer::OnceSaved(vote, response) }
    }

    fn vote_response(&self, error: ErrorCode, granted: bool) -> VoteResponse {
        VoteResponse { error, epoch: self.epoch, leader: self.leader(), granted, leader_endpoint: None }
    }

    /// The winner of an election makes itself known.
    pub fn on_begin_epoch(&mut self, now: Instant, request: &BeginEpochRequest) -> EpochResponse {
        let mut error = self.error_of_epoch(request.epoch);
        let other = request.epoch == self.epoch && self.leader().is_some_and(|leader| leader != request.leader);
        if other || request.leader == self.me {
            error = ErrorCode::InvalidRequest;
        }
        if error.is_none() {
            self.learn(now, request.leader, request.epoch, Some(request.leader));
        }
        self.epoch_response(error)
    }

    /// The leader goes; who is named first stands first.
    pub fn on_end_epoch(&mut self, now: Instant, request: &EndEpochRequest) -> EpochResponse {
        let error = self.error_of_epoch(request.epoch);
        let follows = matches!(&self.role, Role::Follower(following) if following.leader == request.leader);
        let takes_part = !matches!(self.role, Role::Resigned);
        if error.is_none() && takes_part && (follows || request.epoch > self.epoch) {
            let place = request.successors.iter().position(|node| *node == self.me);
            let wait = match place {
                Some(place) => Duration(self.jitter().0 + super::JITTER.0 * place as u64),
                None => self.election_timeout(),
            };
            self.become_unattached(now, request.epoch, wait);
        }
        self.epoch_response(error)
    }

    fn epoch_response(&self, error: ErrorCode) -> EpochResponse {
        EpochResponse { error, epoch: self.epoch, leader: self.leader(), leader_endpoint: None }
    }
}
