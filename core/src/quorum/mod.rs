//! The metadata log's election and commit rule (KIP-595, KIP-996): who may append, and what is committed.
//!
//! ```text
//!                 silence, a broken connection           a majority would vote for it
//! Follower ---------------------------> Unattached ---> Prospective ---> Candidate
//!    ^                                      ^                               | a majority's votes,
//!    |  somebody else leads                 |  a newer epoch, no majority   v  the own one durable
//!    +--------------------------------------+----------------------------- Leader
//! ```
//!
//! One log, two commit rules: a partition's high watermark follows its ISR, this one follows a majority of the voters.
//! Everything else about the metadata log (storage, epochs, divergence) is a partition's. Followers pull; by what they
//! acknowledge with a fetch they vote for what is committed.
//!
//! **A vote is durable before it is given or counted**: a node that forgot it could vote twice in an epoch.
//! **Only a record of the leader's own epoch commits**, and with it all before (Raft, figure 8).
//! **What is acknowledged is durable**, so what is committed is on a majority's disks.
//! **Nothing committed is cut off**: a node that is told to would rather stop.
//!
//! This is a pure machine. It takes facts with the time at which they became known and gives [`Order`]s; storage, network and
//! the records' meaning are its owner's. What a job changes counts as changed from the moment the order is given, as jobs
//! of one log are done in their order; only durability waits for their outcome.

mod commit;
mod election;
mod follower;
mod leader;
mod snapshot;
mod voters;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};

use bytes::Bytes;

pub use commit::committed;
pub use election::VoteAnswer;
pub use leader::FetchVerdict;
pub use voters::VotersUnchanged;

use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId},
    log::{EpochCache, LogState, Vote},
    message::{CallError, ErrorCode, PeerRequest, PeerResponse, SnapshotId},
    mutant,
    offset::Offset,
    prng::Prng,
    record::{Batch, Voter},
    time::{Duration, Instant},
};
use election::Election;
use follower::Following;
use leader::Leading;
use voters::VoterSets;

/// The quorum's waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumWaits {
    /// `controller.quorum.election.timeout.ms`
    pub election: Duration,
    /// `controller.quorum.fetch.timeout.ms`
    pub fetch: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub request: Duration,
    /// How long a leader may hold a fetch that finds nothing.
    pub poll: Duration,
    /// How much of a snapshot is fetched at a time.
    pub piece_bytes: usize,
}

/// What the machine's owner is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Make the vote durable; then [`Quorum::vote_saved`].
    SaveVote(Vote),
    /// Ask a node; then [`Quorum::answered`] with the same `turn`.
    Call {
        /// Whom.
        to: NodeId,
        /// What.
        request: PeerRequest,
        /// How long the answer may take.
        timeout: Duration,
        /// Counts the roles that this node has had: an answer to an earlier one counts no more.
        turn: u64,
    },
    /// This node leads: note the epoch in the log and append its first record ([`Batch::leader_change`]).
    Lead {
        /// Who voted for it.
        granting: Vec<NodeId>,
    },
    /// This node leads no longer: nothing that is not committed may be promised to anybody.
    Resign,
    /// Cut the log's end off; then [`Quorum::truncated`].
    Truncate {
        /// Where it is to end.
        to: Offset,
    },
    /// Append what the leader has sent, synced; then [`Quorum::persisted`] or [`Quorum::append_failed`].
    Append(Vec<Batch>),
    /// Write a piece of a snapshot that the leader has; then [`Quorum::snapshot_written`] with the same `turn`.
    WriteSnapshot {
        /// Which.
        id: SnapshotId,
        /// Where the piece begins.
        position: u64,
        /// The piece.
        piece: Bytes,
        /// Is it the last?
        is_last: bool,
        /// As in [`Order::Call`].
        turn: u64,
    },
    /// Read this snapshot, which was just written. If it is sound, [`Quorum::install`], else [`Quorum::snapshot_written`] with
    /// `false`.
    LoadSnapshot {
        /// Which.
        id: SnapshotId,
        /// As in [`Order::Call`].
        turn: u64,
    },
    /// This node cannot go on.
    Halt(String),
}

/// What a node that starts knows by its snapshots.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// The newest that is sound.
    pub newest: Option<SnapshotId>,
    /// Epoch of the record before the log's first; [`LeaderEpoch::NONE`] where there never was one.
    pub start_epoch: LeaderEpoch,
    /// The voters that the newest one has, if they were ever written down.
    pub voters: Option<Vec<Voter>>,
}

/// One node's view of the quorum.
#[derive(Debug)]
pub struct Quorum {
    me: NodeId,
    directory: DirectoryId,
    /// Those that count now.
    voters: Vec<NodeId>,
    sets: VoterSets,
    waits: QuorumWaits,
    prng: Prng,
    epoch: LeaderEpoch,
    /// Who has got this node's vote in this epoch.
    voted_for: Option<NodeId>,
    role: Role,
    turn: u64,
    /// Elections stood for in vain since a leader was last heard of.
    attempts: u32,
    log: Log,
    high_watermark: Offset,
    /// Counts how often the log's end was cut off or not written: outcomes of jobs from before say nothing of what
    /// is there now.
    generation: u64,
    /// Where the append began that failed last, if it ended this generation: those before it are still on their way to the
    /// disk.
    failed_at: Option<Offset>,
    orders: VecDeque<Order>,
}

/// The log as it is once the jobs on their way are done.
#[derive(Debug)]
struct Log {
    start: Offset,
    /// Epoch of the record before the first.
    start_epoch: LeaderEpoch,
    /// The newest snapshot.
    snapshot: Option<SnapshotId>,
    end: Offset,
    durable: Offset,
    epochs: EpochCache,
}

#[derive(Debug)]
enum Role {
    /// Nobody is known to lead; at this time the node stands for election, or if it may not, asks somebody who leads.
    Unattached { stand_at: Instant },
    /// Asks whether it would be elected. Nobody is bound by that, and no epoch used up.
    Prospective(Election),
    /// Stands for election in its epoch.
    Candidate(Election),
    /// Was elected in this epoch.
    Leader(Leading),
    /// Knows this epoch's leader.
    Follower(Following),
    /// Is on its way out, and takes no part any more.
    Resigned,
}

/// What the roles are called, for people, metrics and checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Knows no leader.
    Unattached,
    /// Asks whether it would be elected.
    Prospective,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Follows.
    Follower,
    /// Takes no part any more.
    Resigned,
}

/// A replica of the metadata log as its leader sees it (DescribeQuorum).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// Who.
    pub node: NodeId,
    /// What it is known to have durably; [`Offset::NONE`] when that is not known.
    pub acknowledged: Offset,
    /// Does it vote?
    pub is_voter: bool,
    /// Its disk; [`DirectoryId::ANY`] where that is not known.
    pub directory: DirectoryId,
    /// When it last fetched in this epoch.
    pub fetched_at: Option<Instant>,
    /// When it last had everything.
    pub caught_up_at: Option<Instant>,
}

/// The shortest and the longest wait before a node whose leader's connection broke stands for election.
const JITTER_MIN: Duration = Duration::from_millis(5);
const JITTER: Duration = Duration::from_millis(40);
/// How long a leader that stops waits for others to take note of it.
const GOODBYE: Duration = Duration::from_millis(500);
/// No deadline.
const NEVER: Instant = Instant(u64::MAX);
/// How long after an answer that cannot be used the same is asked again.
const RETRY: Duration = Duration::from_millis(100);

impl Quorum {
    /// A node that has just opened its metadata log and knows how it last voted. It does nothing before
    /// [`Quorum::start`].
    pub fn new(
        (me, directory): (NodeId, DirectoryId),
        voters: Vec<NodeId>,
        waits: QuorumWaits,
        vote: Option<Vote>,
        log: &LogState,
        snapshots: Snapshots,
        prng: Prng,
    ) -> Self {
        assert!(!voters.is_empty(), "a quorum has voters");
        let Snapshots { newest: snapshot, start_epoch, voters: recorded } = snapshots;
        let sets = VoterSets::new(&voters, recorded);
        let epochs = EpochCache::from_starts(&log.epochs);
        let known = snapshot.map_or(LeaderEpoch::NONE, |snapshot| snapshot.epoch).max(start_epoch);
        let appended = epochs.latest().unwrap_or(LeaderEpoch::NONE).max(known);
        // What a snapshot stands for is committed.
        let committed = snapshot.map_or(Offset::ZERO, |snapshot| snapshot.end).max(log.log_start);
        assert!(committed <= log.log_end, "a log has, or begins behind, what its snapshots stand for");
        let voted = vote.filter(|vote| vote.epoch >= appended);
        Self {
            me,
            directory,
            voters: sets.current().iter().map(|voter| voter.node).collect(),
            sets,
            waits,
            prng,
            epoch: voted.map_or(appended, |vote| vote.epoch),
            voted_for: voted.and_then(|vote| vote.voted_for),
            role: Role::Unattached { stand_at: NEVER },
            turn: 0,
            attempts: 0,
            log: Log { start: log.log_start, start_epoch, snapshot, end: log.log_end, durable: log.log_end, epochs },
            high_watermark: committed,
            generation: 0,
            failed_at: None,
            orders: VecDeque::new(),
        }
    }

    /// Begins to take part. A single voter stands at once; others soon, but not all at the same time: whoever has missed
    /// that there is a leader is told so.
    pub fn start(&mut self, now: Instant) {
        let wait = if self.is_alone() { Duration::ZERO } else { self.jitter() };
        self.role = Role::Unattached { stand_at: now.after(wait) };
        self.on_time(now);
    }

    /// Does it take part? Before [`Quorum::start`] its owner still reads the log, and what others say must wait.
    pub fn has_started(&self) -> bool {
        !matches!(&self.role, Role::Unattached { stand_at } if *stand_at == NEVER)
    }

    /// The next order.
    pub fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// When [`Quorum::on_time`] is to be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = match &self.role {
            Role::Unattached { stand_at } => Some(*stand_at),
            Role::Prospective(election) | Role::Candidate(election) => Some(election.deadline),
            Role::Follower(following) => Some(following.next_deadline()),
            Role::Leader(leading) => Some(leading.next_deadline(self.patience())),
            Role::Resigned => None,
        };
        deadline.filter(|at| *at != NEVER)
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Instant) {
        match &mut self.role {
            Role::Unattached { stand_at } if *stand_at <= now => self.stand(now),
            Role::Prospective(election) | Role::Candidate(election) if election.deadline <= now => {
                self.attempts = self.attempts.saturating_add(1);
                self.stand(now);
            }
            Role::Follower(_) => self.on_follower_time(now),
            Role::Leader(_) => self.on_leader_time(now),
            _ => {}
        }
    }

    /// A call has ended.
    pub fn answered(&mut self, now: Instant, from: NodeId, turn: u64, outcome: Result<PeerResponse, CallError>) {
        match outcome {
            Ok(PeerResponse::Vote(response)) => self.on_vote(now, from, turn, &response),
            Ok(PeerResponse::Fetch(response)) => self.on_fetched(now, from, turn, response),
            Ok(PeerResponse::FetchSnapshot(response)) => self.on_snapshot_piece(now, from, turn, response),
            Ok(PeerResponse::Epoch(response)) => {
                if response.epoch > self.epoch {
                    return self.learn(now, from, response.epoch, response.leader);
                }
                if turn == self.turn
                    && let Role::Leader(leading) = &mut self.role
                {
                    leading.told(from, response.error.is_none(), now);
                }
            }
            Ok(_) => {}
            Err(error) if turn == self.turn => self.on_no_answer(now, from, error),
            Err(_) => {}
        }
    }

    fn on_no_answer(&mut self, now: Instant, from: NodeId, error: CallError) {
        match &mut self.role {
            Role::Prospective(_) | Role::Candidate(_) => self.on_refused(now, from),
            Role::Leader(leading) => leading.told(from, false, now),
            Role::Follower(following) if error == CallError::TimedOut => following.fetch_at(now),
            // A broken connection is evidence that the leader is gone; if it is not, the others will say so.
            Role::Follower(_) => {
                let wait = self.backoff();
                self.attempts = self.attempts.saturating_add(1);
                self.become_unattached(now, self.epoch, wait);
            }
            Role::Unattached { .. } => self.search_again(now),
            Role::Resigned => {}
        }
        self.on_time(now);
    }

    /// This node has heard from another of an epoch, and perhaps of who leads it.
    fn learn(&mut self, now: Instant, from: NodeId, epoch: LeaderEpoch, leader: Option<NodeId>) {
        if matches!(self.role, Role::Resigned) || epoch < self.epoch {
            return;
        }
        match leader {
            Some(leader) if leader != self.me => self.become_follower(now, epoch, leader, leader == from),
            _ if epoch > self.epoch => {
                let wait = self.backoff();
                self.become_unattached(now, epoch, wait);
            }
            _ => {}
        }
    }

    /// Takes over a newer epoch, in which this node has not voted.
    fn adopt(&mut self, epoch: LeaderEpoch) {
        assert!(epoch >= self.epoch, "epochs do not go back");
        if epoch > self.epoch {
            (self.epoch, self.voted_for) = (epoch, None);
            self.orders.push_back(Order::SaveVote(Vote { epoch, voted_for: None }));
        }
    }

    fn take_role(&mut self, role: Role) {
        assert!(!matches!(self.role, Role::Resigned), "whoever has resigned takes no part any more");
        self.turn += 1;
        if self.is_leader() {
            self.orders.push_back(Order::Resign);
        }
        self.role = role;
    }

    fn become_unattached(&mut self, now: Instant, epoch: LeaderEpoch, wait: Duration) {
        self.take_role(Role::Unattached { stand_at: now.after(wait) });
        self.adopt(epoch);
    }

    /// Takes no part in elections any more and leads no longer, because the node stops. A leader says who should
    /// stand in its place: those who have most.
    pub fn resign(&mut self) {
        let mut calls = Vec::new();
        if let Role::Leader(leading) = &self.role
            && !self.is_alone()
        {
            let request = leading.end_epoch(self.me, self.epoch, &self.voters);
            calls.extend(self.others().map(|to| (to, PeerRequest::EndEpoch(request.clone()))));
        }
        if self.is_alone() || matches!(self.role, Role::Resigned) {
            // Alone, nobody else could finish what is begun.
            return;
        }
        self.take_role(Role::Resigned);
        // Whoever does not hear of it will notice by itself; a stop does not wait for that.
        let (turn, timeout) = (self.turn, self.waits.request.min(GOODBYE));
        self.orders.extend(calls.into_iter().map(|(to, request)| Order::Call { to, request, timeout, turn }));
    }

    /// The leader has appended this batch; it is not durable yet.
    pub fn appended(&mut self, now: Instant, batch: &Batch) {
        assert!(self.is_leader(), "only the leader appends");
        assert!(batch.header().base_offset == self.log.end, "the leader's log grows at its end");
        self.log.end = batch.header().next_offset();
        self.note_voters(now, batch);
    }

    /// This node's log is durable up to `end`, as a job says that was ordered in this generation.
    pub fn persisted(&mut self, now: Instant, end: Offset, generation: u64) {
        let came_before = generation + 1 == self.generation && self.failed_at.is_some_and(|at| end <= at);
        if generation != self.generation && !came_before {
            // What it wrote has since been cut off; what was before it, the cut has made durable.
            return;
        }
        assert!(end <= self.log.end, "nothing past the log's end is durable");
        self.log.durable = end.max(self.log.durable);
        match &mut self.role {
            Role::Leader(_) => {
                self.advance();
                if mutant!(X34) && self.is_alone() {
                    let wait = self.election_timeout();
                    self.become_unattached(now, self.epoch, wait);
                }
            }
            Role::Follower(_) => self.on_follower_wrote(now),
            _ => {}
        }
    }

    /// The disk refused what was appended at `base`: the log ends there, with what is still on its way to the disk. What a leader
    /// appended may be with its followers already, so it must not lead any more: another record at the same place and epoch
    /// would be a second truth. One that is alone goes on.
    pub fn append_failed(&mut self, now: Instant, base: Offset, generation: u64) {
        if generation != self.generation {
            return;
        }
        assert!(self.log.durable <= base && base < self.log.end, "what fails was on its way");
        self.generation += 1;
        self.failed_at = Some(base);
        self.log.end = base;
        let led_alone = self.is_leader() && self.is_alone();
        self.sets.truncate_end(base);
        self.take_voters();
        if led_alone && self.is_alone() {
            return;
        }
        self.log.epochs.truncate_end(self.log.end);
        match &mut self.role {
            Role::Leader(_) => {
                let wait = self.election_timeout();
                self.become_unattached(now, self.epoch, wait);
            }
            Role::Follower(following) => following.fetch_at(now.after(RETRY)),
            _ => self.stands_no_more(now),
        }
    }

    /// The log is shorter than what this node has asked for votes with: whoever would vote for that may not vote for this.
    fn stands_no_more(&mut self, now: Instant) {
        if matches!(self.role, Role::Prospective(_) | Role::Candidate(_)) {
            let wait = self.election_timeout();
            self.become_unattached(now, self.epoch, wait);
        }
    }

    /// Is this node the only voter?
    pub fn is_alone(&self) -> bool {
        self.voters == [self.me] && self.is_voter()
    }

    /// Does this node vote?
    pub fn is_voter(&self) -> bool {
        self.votes(self.me, self.directory)
    }

    fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The other voters.
    fn others(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.voters.iter().copied().filter(|voter| *voter != self.me)
    }

    /// A short wait, at random so that not all stand at once.
    fn jitter(&mut self) -> Duration {
        Duration(JITTER_MIN.0 + self.prng.below(JITTER.0))
    }

    /// A wait that grows with the elections stood for in vain, up to the election timeout.
    fn backoff(&mut self) -> Duration {
        self.backoff_after(self.attempts)
    }

    fn backoff_after(&mut self, attempts: u32) -> Duration {
        let most = (JITTER.0 << attempts.min(10)).min(self.waits.election.0).max(1);
        Duration(JITTER_MIN.0 + self.prng.below(most))
    }

    fn election_timeout(&mut self) -> Duration {
        Duration(self.waits.election.0 + self.prng.below(self.waits.election.0.max(1)))
    }

    /// Does this node lead?
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader { .. })
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.me),
            Role::Follower(following) => Some(following.leader),
            _ => None,
        }
    }

    /// What this node is.
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Unattached { .. } => RoleName::Unattached,
            Role::Prospective(_) => RoleName::Prospective,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
            Role::Follower(_) => RoleName::Follower,
            Role::Resigned => RoleName::Resigned,
        }
    }

    /// Who votes.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// The newest epoch that this node knows.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Counts the roles that this node has had.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// What the jobs that are ordered now are to say when they have ended.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The high watermark, if it is known to be up to date: a new leader knows only once its own epoch's first record is
    /// committed.
    pub fn established(&self) -> Option<Offset> {
        match &self.role {
            Role::Leader(leading) => leading.has_committed(self.high_watermark).then_some(self.high_watermark),
            _ => None,
        }
    }

    /// Does this node know all that was committed when it last heard of the leader?
    pub fn is_caught_up(&self) -> bool {
        match &self.role {
            Role::Leader(_) => self.established().is_some(),
            Role::Follower(following) => following.committed.is_some_and(|committed| committed <= self.high_watermark),
            _ => false,
        }
    }

    /// The newest snapshot of the metadata that this node has.
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.log.snapshot
    }

    /// Epoch of the log's last record, or of the one before its first.
    fn last_epoch(&self) -> LeaderEpoch {
        if self.log.end == self.log.start { self.log.start_epoch } else { self.log.epochs.last_epoch(self.log.end) }
    }

    /// Where the log begins.
    pub fn log_start(&self) -> Offset {
        self.log.start
    }

    /// Where the log ends.
    pub fn log_end(&self) -> Offset {
        self.log.end
    }

    /// Up to where the log is durable.
    pub fn durable_end(&self) -> Offset {
        self.log.durable
    }

    /// The epochs of the log's records.
    pub fn epochs(&self) -> &EpochCache {
        &self.log.epochs
    }

    /// Where the committed records end, as far as this node knows.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The replicas as the leader sees them; those of another node are not known.
    pub fn replicas(&self) -> Vec<ReplicaState> {
        let Role::Leader(leading) = &self.role else { return Vec::new() };
        let unheard = |voter: &Voter| ReplicaState {
            node: voter.node,
            acknowledged: Offset::NONE,
            is_voter: true,
            directory: voter.directory,
            fetched_at: None,
            caught_up_at: None,
        };
        let mut known: BTreeMap<NodeId, ReplicaState> =
            self.sets.current().iter().map(|voter| (voter.node, unheard(voter))).collect();
        known.extend(leading.replicas().map(|state| (state.node, state)));
        let own = ReplicaState {
            node: self.me,
            acknowledged: self.log.durable,
            is_voter: self.is_voter(),
            directory: self.directory,
            fetched_at: None,
            caught_up_at: None,
        };
        known.insert(self.me, own);
        known.into_values().collect()
    }

    fn error_of_epoch(&self, epoch: LeaderEpoch) -> ErrorCode {
        if epoch < self.epoch { ErrorCode::FencedLeaderEpoch } else { ErrorCode::None }
    }
}
