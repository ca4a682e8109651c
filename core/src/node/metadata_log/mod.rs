//! The node's metadata log: read at start, agreed on by the quorum, applied once committed.
//!
//! ```text
//! Quorum --Order--> jobs on the log, calls to peers
//!    ^                  |
//!    +---- outcomes ----+        committed records --> apply (every node), decisions (the leader alone)
//! ```
//!
//! Whatever is told to the quorum, [`Node::settle_quorum`] follows: it carries out what the quorum orders, applies what
//! has been committed and wakes the followers that wait for either.

mod commit;
mod serve;
mod snapshots;
#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::ToString,
    vec::Vec,
};

use bytes::Bytes;

use super::{Node, calls, startup::Phase, timers::TimerKind};
use crate::{
    cluster::{MetadataRecord, read_batch},
    epoch::LeaderEpoch,
    ids::{JobId, LogId, NodeId, RequestId, TopicId},
    log::{Job, JobOutcome, LogConfig, LogError, LogState, Vote},
    message::{CallError, PeerRequest, PeerResponse, VoteResponse},
    mutant,
    offset::Offset,
    prng::Prng,
    quorum::{Order, Quorum, QuorumWaits, Snapshots},
    record::{Batch, Batches},
    time::Duration,
};
use commit::Committing;
use serve::{Pulls, Tail};
use snapshots::{Loading, Purpose, Taking};

/// The folder of the metadata log, as Kafka has it.
const DIR: &str = "__cluster_metadata-0";
/// What is read of it at a time.
const READ_BYTES: usize = 1 << 20;

/// The metadata log as this node sees it.
#[derive(Debug)]
pub(super) struct MetadataLog {
    quorum: Option<Quorum>,
    jobs: BTreeMap<JobId, MetadataJob>,
    /// What is in the log but not known to be committed.
    uncommitted: VecDeque<Uncommitted>,
    /// The end of what has been applied.
    applied: Offset,
    /// The snapshots that this node takes.
    taking: Taking,
    /// The snapshot that is being read.
    loading: Option<Loading>,
    /// The decision on its way.
    committing: Option<Committing>,
    /// The newest batches, for followers.
    tail: Tail,
    /// Followers that wait for something new.
    pulls: Pulls,
    /// Has this node led the quorum since its own epoch's first record was committed?
    is_controller: bool,
    /// Has all been applied that was committed when this node came?
    is_caught_up: bool,
    is_open: bool,
    closed: bool,
}

/// One batch.
#[derive(Debug)]
struct Uncommitted {
    end: Offset,
    bytes: usize,
    records: Vec<MetadataRecord>,
}

#[derive(Debug)]
enum MetadataJob {
    Open,
    /// A piece of the snapshot that is being read.
    Load,
    /// A piece of a snapshot that a follower wants.
    Piece {
        id: RequestId,
        position: u64,
    },
    /// A piece of a snapshot that the leader has sent.
    Store {
        turn: u64,
        is_last: bool,
    },
    /// A piece of a snapshot that this node takes.
    Take,
    Read,
    Vote {
        vote: Vote,
        answer: Option<(RequestId, VoteResponse)>,
    },
    Append {
        base: Offset,
        end: Offset,
        generation: u64,
    },
    Truncate {
        generation: u64,
    },
    StartOver,
    Order,
    Close,
}

impl Default for MetadataLog {
    fn default() -> Self {
        Self {
            quorum: None,
            jobs: BTreeMap::new(),
            uncommitted: VecDeque::new(),
            applied: Offset::ZERO,
            taking: Taking::default(),
            loading: None,
            committing: None,
            tail: Tail::default(),
            pulls: Pulls::default(),
            is_controller: false,
            is_caught_up: false,
            is_open: false,
            closed: false,
        }
    }
}

impl MetadataLog {
    pub(super) fn is_quiet(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The controller: whoever leads the metadata log.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.quorum.as_ref().and_then(Quorum::leader)
    }

    /// Does this node decide? Only once what former leaders have committed is applied.
    pub(super) fn is_controller(&self) -> bool {
        self.is_controller
    }

    /// Is a decision on its way?
    pub(super) fn is_committing(&self) -> bool {
        self.committing.is_some()
    }

    /// Where the log ends. It is open.
    pub(super) fn log_end(&self) -> Offset {
        self.quorum.as_ref().expect("the metadata log is open").log_end()
    }

    /// The end of the records that this node has applied.
    pub(super) fn applied(&self) -> Offset {
        self.applied
    }

    pub(super) fn view(&self) -> Option<&Quorum> {
        self.quorum.as_ref()
    }

    fn quorum(&mut self) -> &mut Quorum {
        self.quorum.as_mut().expect("the metadata log is open")
    }

    /// Forgets what is in the log no more.
    fn forget_past(&mut self, end: Offset) {
        while self.uncommitted.back().is_some_and(|last| last.end > end) {
            self.uncommitted.pop_back();
        }
        self.tail.cut(end);
    }
}

impl Node {
    pub(super) fn open_metadata_log(&mut self) {
        // The log is never cut by age or size: what goes is in a snapshot.
        let segment_bytes = self.config.metadata_log.segment_bytes;
        let config = LogConfig {
            retention: None,
            retention_bytes: mutant!(X38).then_some(2_000),
            segment_bytes,
            ..LogConfig::default()
        };
        let open = Job::Open { dir: DIR.to_string(), topic_id: TopicId::METADATA, config, wall: self.now.wall };
        self.run_metadata(open, MetadataJob::Open);
    }

    fn run_metadata(&mut self, order: Job, kind: MetadataJob) {
        let job = self.effects.run(LogId::METADATA, order);
        self.metadata.jobs.insert(job, kind);
    }

    pub(super) fn on_metadata_job_ended(&mut self, job: JobId, outcome: Result<JobOutcome, LogError>) {
        let kind = self.metadata.jobs.remove(&job).expect("an answer follows an order");
        if self.phase == Phase::Halted {
            return;
        }
        let now = self.now.mono;
        match (kind, outcome) {
            (MetadataJob::Close, _) => self.metadata.closed = true,
            (MetadataJob::Append { base, generation, .. }, Err(error)) => {
                self.on_metadata_append_failed(base, generation, &error);
            }
            (MetadataJob::Vote { vote, answer }, Err(LogError::DiskFull | LogError::TooManyFiles))
                if !self.is_alone() =>
            {
                self.metadata.quorum().vote_failed(now, vote);
                self.settle_quorum();
                if let Some((id, response)) = answer {
                    self.respond_peer(id, PeerResponse::Vote(VoteResponse { granted: false, ..response }));
                }
            }
            (MetadataJob::Take, outcome) => self.on_snapshot_taken(outcome),
            (MetadataJob::Store { turn, is_last }, outcome) => self.on_snapshot_stored(turn, is_last, outcome),
            (MetadataJob::Piece { id, position }, outcome) => self.on_piece_read(id, position, outcome),
            (MetadataJob::Order, Err(LogError::DiskFull | LogError::TooManyFiles)) => {}
            (_, Err(error)) => self.halt(&error.to_string()),
            (MetadataJob::Open, Ok(JobOutcome::Opened(state))) => self.on_metadata_opened(state),
            (MetadataJob::Load, Ok(JobOutcome::SnapshotPiece { bytes, .. })) => self.on_snapshot_loaded(bytes),
            (MetadataJob::Read, Ok(JobOutcome::Read { batches })) => self.on_metadata_read(batches),
            (MetadataJob::Append { end, generation, .. }, Ok(_)) => {
                self.metadata.quorum().persisted(now, end, generation);
                self.settle_quorum();
            }
            (MetadataJob::Truncate { generation }, Ok(JobOutcome::Truncated { end, .. })) => {
                self.metadata.quorum().truncated(now, end, generation);
                self.settle_quorum();
            }
            (MetadataJob::Vote { vote, answer }, Ok(JobOutcome::Done)) => {
                self.metadata.quorum().vote_saved(now, vote);
                self.settle_quorum();
                answer.into_iter().for_each(|(id, response)| self.respond_peer(id, PeerResponse::Vote(response)));
            }
            (MetadataJob::Order | MetadataJob::StartOver, Ok(_)) => {}
            (kind, Ok(outcome)) => panic!("{kind:?} was answered by {outcome:?}"),
        }
        self.close_when_quiet();
    }

    /// Is this node the only voter?
    fn is_alone(&self) -> bool {
        self.metadata.view().is_some_and(Quorum::is_alone)
    }

    /// The quorum over a log that is open and begins behind, or at the end of, one of these snapshots.
    fn make_quorum(&mut self, state: &LogState, snapshots: Snapshots) {
        let waits = self.config.waits;
        let waits = QuorumWaits {
            election: waits.election_timeout,
            fetch: waits.quorum_fetch_timeout,
            request: waits.quorum_request_timeout,
            // An idle leader must be heard of before its followers give it up, and they before it does. The wire has
            // milliseconds.
            poll: waits.replica_fetch_wait.min(Duration::from_millis(waits.quorum_fetch_timeout.as_millis() / 4)),
            piece_bytes: self.config.metadata_log.snapshot_piece_bytes,
        };
        let me = (self.config.node, self.config.directory);
        let voters = match self.config.voters.as_slice() {
            [] => alloc::vec![me.0],
            voters => voters.to_vec(),
        };
        let prng = Prng::new(self.quorum_seed);
        let begin = snapshots.newest.map_or(Offset::ZERO, |snapshot| snapshot.end);
        self.metadata.quorum = Some(Quorum::new(me, voters, waits, self.recovered.vote, state, snapshots, prng));
        self.read_metadata(begin);
    }

    fn read_metadata(&mut self, from: Offset) {
        if self.phase != Phase::Starting {
            return;
        }
        let bound = self.metadata.quorum().log_end();
        if from < bound {
            return self.run_metadata(Job::Read { from, bound, max_bytes: READ_BYTES }, MetadataJob::Read);
        }
        let now = self.now.mono;
        self.metadata.quorum().start(now);
        self.settle_quorum();
    }

    fn on_metadata_read(&mut self, pieces: Vec<Bytes>) {
        let mut next = None;
        for batch in pieces.into_iter().flat_map(Batches) {
            let read = batch.map_err(|e| e.to_string()).and_then(|batch| {
                let (end, bytes) = (batch.header().next_offset(), batch.size());
                next = Some(end);
                self.meet_voters(&batch);
                self.metadata.quorum().found(&batch);
                Ok(Uncommitted { end, bytes, records: read_batch(&batch)? })
            });
            match read {
                // A snapshot may end within what is read together.
                Ok(batch) if batch.end <= self.metadata.applied => {}
                Ok(batch) => self.metadata.uncommitted.push_back(batch),
                Err(reason) => return self.halt(&reason),
            }
        }
        match next {
            Some(next) => self.read_metadata(next),
            None => self.halt("it ends before its end"),
        }
    }

    /// Carries out what the quorum orders and acts on what it has committed.
    fn settle_quorum(&mut self) {
        while self.phase != Phase::Halted
            && let Some(order) = self.metadata.quorum().next_order()
        {
            self.carry_out(order);
        }
        if self.phase == Phase::Halted {
            return;
        }
        let end = self.metadata.quorum().log_end();
        self.metadata.forget_past(end);
        self.apply_committed();
        self.wake_pulls();
        if self.phase != Phase::Halted && self.metadata.quorum().must_leave() {
            let now = self.now.mono;
            self.metadata.quorum().leave_office(now);
            return self.settle_quorum();
        }
        if self.phase != Phase::Halted {
            let deadline = self.metadata.quorum().next_deadline();
            self.timers.set_alarm(TimerKind::Quorum, deadline);
        }
    }

    fn carry_out(&mut self, order: Order) {
        let generation = self.metadata.quorum().generation();
        match order {
            Order::SaveVote(vote) => {
                let answer = None;
                self.run_metadata(Job::SaveVote(vote), MetadataJob::Vote { vote, answer });
            }
            Order::Call { to, mut request, timeout, turn } => {
                if let PeerRequest::BeginEpoch(r) = &mut request {
                    r.leader_endpoint = Some(self.config.endpoints.native.clone());
                }
                self.call(to, request, timeout, calls::Purpose::Quorum { to, turn });
            }
            Order::Lead { granting } => self.take_lead(&granting),
            Order::Resign => self.lose_lead(),
            Order::Truncate { to } => {
                self.metadata.forget_past(to);
                self.run_metadata(Job::Truncate { to }, MetadataJob::Truncate { generation });
            }
            Order::Append(batches) => self.append_follower(batches, generation),
            Order::WriteSnapshot { id, position, piece, is_last, turn } => {
                self.store_piece(Job::WriteSnapshot { id, position, piece, is_last }, turn);
            }
            Order::LoadSnapshot { id, turn } => self.load_snapshot(id, Purpose::Install { turn }),
            Order::Halt(reason) => self.halt(&reason),
        }
    }

    /// A follower appends what its leader sent.
    fn append_follower(&mut self, batches: Vec<Batch>, generation: u64) {
        let base = batches.first().map_or(Offset::ZERO, |batch| batch.header().base_offset);
        let mut end = base;
        for batch in &batches {
            self.meet_voters(batch);
            end = batch.header().next_offset();
            match read_batch(batch) {
                // A leader applies what a majority has, though its own disk may refuse it later.
                Ok(_) if end <= self.metadata.applied => {}
                Ok(records) => {
                    self.metadata.uncommitted.push_back(Uncommitted { end, bytes: batch.size(), records });
                }
                Err(reason) => return self.halt(&reason),
            }
            self.metadata.tail.push(batch.clone());
        }
        let (wall, sync) = (self.now.wall, !mutant!(X43));
        self.run_metadata(Job::Append { batches, sync, wall }, MetadataJob::Append { base, end, generation });
    }

    /// The alarm of the quorum.
    pub(super) fn on_quorum_time(&mut self) {
        let now = self.now.mono;
        if self.metadata.quorum.is_some() && self.timers.take_alarm(TimerKind::Quorum, now) {
            self.metadata.quorum().on_time(now);
            self.settle_quorum();
        }
    }

    /// What the quorum asked of a peer has ended.
    pub(super) fn on_quorum_answered(&mut self, from: NodeId, turn: u64, mut outcome: Result<PeerResponse, CallError>) {
        if self.phase == Phase::Halted {
            return;
        }
        let now = self.now.mono;
        if let Some(named) = outcome.as_mut().ok().and_then(PeerResponse::named_leader) {
            self.meet_leader(named.leader, named.epoch, named.endpoint.as_deref());
        }
        self.metadata.quorum().answered(now, from, turn, outcome);
        self.settle_quorum();
        self.close_when_quiet();
    }

    /// This node stops: somebody else is to lead, and what its peers wait for is not to come.
    pub(super) fn leave_quorum(&mut self) {
        let Some(quorum) = &mut self.metadata.quorum else { return };
        quorum.resign();
        let turn = quorum.turn();
        self.calls.forget_quorum_before(turn);
        self.settle_quorum();
    }

    pub(super) fn close_metadata_log(&mut self) {
        if !self.metadata.is_open {
            self.metadata.closed = true;
            return self.close_when_quiet();
        }
        self.run_metadata(Job::Close, MetadataJob::Close);
    }

    /// The epoch and the offset up to which this node has applied the metadata.
    pub fn applied_metadata(&self) -> (LeaderEpoch, Offset) {
        let epoch = self.metadata.view().map_or(LeaderEpoch::NONE, Quorum::epoch);
        (epoch, self.metadata.applied())
    }
}
