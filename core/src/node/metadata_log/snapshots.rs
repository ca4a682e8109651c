//! Snapshots of the metadata: taken by every node on its own, read at start, fetched by whoever is too far behind (KIP-630).
//!
//! ```text
//!   older snapshot          newest snapshot        applied
//!         |                       |                   |
//!         [ log start ........................................ log end
//! ```
//!
//! A node keeps two, and of the log what follows the older one: a follower that is a little late need not fetch a snapshot, and if
//! the newest one cannot be read the one before it and the log still make up for it.
//!
//! **A log start above 0 is the end of a snapshot**, durable before the log start moves; nothing else lets records of the
//! metadata go. **A snapshot ends where a batch does**, and holds what all records below have folded into.

use alloc::{collections::VecDeque, string::ToString, vec::Vec};

use bytes::Bytes;

use super::{MetadataJob, Node};
use crate::{
    cluster::{SnapshotReader, write_snapshot},
    epoch::LeaderEpoch,
    ids::RequestId,
    limits,
    log::{Job, JobOutcome, LogError, LogState},
    message::{ErrorCode, FetchSnapshotRequest, FetchSnapshotResponse, PeerResponse, SnapshotId},
    mutant,
    node::{startup::Phase, timers::TimerKind},
    offset::Offset,
    quorum::Snapshots,
    record::Voter,
    time::Instant,
};

/// How many snapshots a node keeps.
const KEPT: usize = 2;

/// The snapshots that this node has and takes.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// Those that there are, the newest last.
    kept: Vec<SnapshotId>,
    /// The one that is being written, and what of it is still to be.
    writing: Option<(SnapshotId, u64, VecDeque<Bytes>)>,
    /// What was applied since the last one was begun.
    bytes: u64,
    /// When the first of that was.
    since: Option<Instant>,
}

impl Taking {
    /// A batch was applied.
    pub(super) fn note(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes as u64;
        self.since.get_or_insert(now);
    }
}

/// A snapshot that is being read, piece by piece.
#[derive(Debug)]
pub(super) struct Loading {
    id: SnapshotId,
    position: u64,
    reader: SnapshotReader,
    purpose: Purpose,
}

/// What a snapshot is read for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The node starts; the log was found like this, and these snapshots may serve if this one does not.
    Start { state: LogState, older: Vec<SnapshotId> },
    /// The quorum, in the role that it had then, wants it in place of its log.
    Install { turn: u64 },
}

impl Node {
    /// The log is open: the newest snapshot comes first, if there is one.
    pub(super) fn on_metadata_opened(&mut self, state: LogState) {
        self.metadata.is_open = true;
        self.metadata.taking.kept = self.recovered.snapshots.clone();
        // What ends before the log's start is of no use without the records that followed.
        let older = self.recovered.snapshots.iter().copied().filter(|id| id.end >= state.log_start).collect();
        self.load_next(state, older);
    }

    fn load_next(&mut self, state: LogState, mut older: Vec<SnapshotId>) {
        match older.pop() {
            Some(id) => self.load_snapshot(id, Purpose::Start { state, older }),
            None if state.log_start > Offset::ZERO => self.halt("its beginning is missing"),
            None => self.make_quorum(&state, Snapshots { newest: None, start_epoch: LeaderEpoch::NONE, voters: None }),
        }
    }

    pub(super) fn load_snapshot(&mut self, id: SnapshotId, purpose: Purpose) {
        self.metadata.loading = Some(Loading { id, position: 0, reader: SnapshotReader::new(id), purpose });
        self.load_piece();
    }

    fn load_piece(&mut self) {
        let Some(loading) = &self.metadata.loading else { return };
        let (id, position) = (loading.id, loading.position);
        let max_bytes = limits::SNAPSHOT_PIECE_BYTES_MAX;
        self.run_metadata(Job::ReadSnapshot { id, position, max_bytes }, MetadataJob::Load);
    }

    pub(super) fn on_snapshot_loaded(&mut self, piece: Bytes) {
        let Some(mut loading) = self.metadata.loading.take() else { return };
        if !matches!(self.phase, Phase::Starting | Phase::Serving) {
            return;
        }
        loading.position += piece.len() as u64;
        let read = if piece.is_empty() { None } else { Some(loading.reader.take(piece)) };
        let read = match read {
            Some(Ok(())) => {
                self.metadata.loading = Some(loading);
                return self.load_piece();
            }
            Some(Err(reason)) => Err(reason),
            None => loading.reader.finish(),
        };
        match (loading.purpose, read) {
            (Purpose::Start { state, .. }, Ok((image, voters))) => {
                let records = if mutant!(X40) { Vec::new() } else { image.since(&self.image) };
                records.iter().for_each(|record| self.apply(record));
                self.metadata.applied = loading.id.end;
                self.meet(voters.as_deref().unwrap_or_default());
                self.begin_at(state, loading.id, voters);
            }
            (Purpose::Start { state, older }, Err(_)) => {
                // It may be served to nobody.
                self.metadata.taking.kept.retain(|kept| *kept != loading.id);
                self.run_metadata(Job::RemoveSnapshot(loading.id), MetadataJob::Order);
                self.load_next(state, older);
            }
            (Purpose::Install { turn }, Ok((image, voters))) => {
                if !self.metadata.quorum().awaits(loading.id, turn) {
                    return;
                }
                let now = self.now.mono;
                self.meet(voters.as_deref().unwrap_or_default());
                self.run_metadata(Job::StartOver { at: loading.id.end }, MetadataJob::StartOver);
                self.metadata.quorum().install(now, loading.id, voters);
                self.metadata.forget_past(Offset::ZERO);
                image.since(&self.image).iter().for_each(|record| self.apply(record));
                self.metadata.applied = loading.id.end;
                self.metadata.taking.bytes = 0;
                self.metadata.taking.since = None;
                self.keep_snapshot(loading.id);
                self.settle_quorum();
            }
            (Purpose::Install { turn }, Err(_)) => {
                self.run_metadata(Job::RemoveSnapshot(loading.id), MetadataJob::Order);
                let now = self.now.mono;
                self.metadata.quorum().snapshot_written(now, turn, true, false);
                self.settle_quorum();
            }
        }
    }

    /// The image is that of this snapshot: the log goes on from there.
    fn begin_at(&mut self, mut state: LogState, id: SnapshotId, voters: Option<Vec<Voter>>) {
        let epochs = crate::log::EpochCache::from_starts(&state.epochs);
        let has_it = state.log_start == id.end
            || (state.log_end >= id.end && epochs.epoch_at(Offset(id.end.0 - 1)) == Some(id.epoch));
        let mut start_epoch = LeaderEpoch::NONE;
        if !has_it {
            // The snapshot was fetched in place of this log, and the node did not live to let that go.
            self.run_metadata(Job::StartOver { at: id.end }, MetadataJob::StartOver);
            (state.log_start, state.log_end, start_epoch) = (id.end, id.end, id.epoch);
            state.epochs.clear();
        } else if state.log_start > Offset::ZERO {
            let first = self.metadata.taking.kept.iter().copied().find(|kept| kept.end >= state.log_start);
            let first = first.expect("the one that was read is among them");
            start_epoch = first.epoch;
            if first.end > state.log_start {
                self.run_metadata(Job::RaiseLogStart { to: first.end }, MetadataJob::Order);
                let mut epochs = epochs;
                epochs.truncate_start(first.end);
                (state.log_start, state.epochs) = (first.end, epochs.entries().to_vec());
            }
        }
        self.make_quorum(&state, Snapshots { newest: Some(id), start_epoch, voters });
    }

    /// Begins a snapshot, if it is time for one.
    pub(super) fn snapshot_when_due(&mut self) {
        if mutant!(X38) {
            let (high_watermark, wall) = (self.metadata.quorum().high_watermark(), self.now.wall);
            self.run_metadata(Job::Retain { high_watermark, wall }, MetadataJob::Order);
        }
        let config = self.config.metadata_log;
        let taking = &self.metadata.taking;
        let due = taking.since.map(|since| since.after(config.snapshot_interval));
        let is_due = taking.bytes >= config.snapshot_bytes || due.is_some_and(|due| due <= self.now.mono);
        // The own disk may have refused what the others have committed: then it is to come once more.
        let has_all = self.quorum().is_some_and(|quorum| quorum.log_end() >= self.metadata.applied);
        let runs = matches!(self.phase, Phase::Starting | Phase::Serving);
        if !runs || !has_all || self.metadata.loading.is_some() {
            return;
        }
        if taking.writing.is_none() && is_due {
            self.begin_snapshot();
        } else if taking.writing.is_none() {
            self.timers.set_alarm(TimerKind::Snapshot, due);
        }
    }

    fn begin_snapshot(&mut self) {
        self.timers.set_alarm(TimerKind::Snapshot, None);
        // The planted bug: the last offset for the one after it.
        let end = Offset(self.metadata.applied.0 - i64::from(mutant!(X37)));
        let wall = self.now.wall;
        let taking = &mut self.metadata.taking;
        (taking.bytes, taking.since) = (0, None);
        let quorum = self.metadata.quorum.as_ref().expect("something was applied");
        if end <= quorum.snapshot_end() {
            return;
        }
        let epoch = quorum.epochs().epoch_at(Offset(end.0 - 1)).expect("what was applied is in the log");
        let id = SnapshotId { end, epoch };
        let pieces = write_snapshot(&self.image, quorum.voters_at(end), id, wall);
        self.metadata.taking.writing = Some((id, 0, pieces.into()));
        self.write_next_piece();
    }

    fn write_next_piece(&mut self) {
        let Some((id, position, pieces)) = &mut self.metadata.taking.writing else { return };
        let (id, at) = (*id, *position);
        let piece = pieces.pop_front().expect("a snapshot has pieces, and the last was not written");
        *position += piece.len() as u64;
        let write = Job::WriteSnapshot { id, position: at, piece, is_last: pieces.is_empty() };
        self.run_metadata(write, MetadataJob::Take);
    }

    /// A piece of the snapshot that this node takes was written, or not.
    pub(super) fn on_snapshot_taken(&mut self, outcome: Result<JobOutcome, LogError>) {
        let goes_on = matches!(self.phase, Phase::Starting | Phase::Serving);
        let taking = &mut self.metadata.taking;
        match outcome {
            Ok(_) if !goes_on => taking.writing = None,
            Ok(_) if taking.writing.as_ref().is_some_and(|(.., pieces)| !pieces.is_empty()) => self.write_next_piece(),
            Ok(_) => {
                let (id, ..) = taking.writing.take().expect("it was being written");
                let quorum = self.metadata.quorum();
                if id.end >= quorum.log_start() {
                    quorum.snapshot_saved(id);
                    self.keep_snapshot(id);
                } else {
                    // Another has come meanwhile, in place of the log.
                    self.run_metadata(Job::RemoveSnapshot(id), MetadataJob::Order);
                }
                self.snapshot_when_due();
            }
            Err(error @ LogError::Offline(_)) => self.halt(&error.to_string()),
            // There will be another, when as much has happened once more.
            Err(_) => taking.writing = None,
        }
    }

    /// There is a new snapshot: the log begins at the end of the one before, and those that are older still go.
    fn keep_snapshot(&mut self, id: SnapshotId) {
        let kept = &mut self.metadata.taking.kept;
        kept.retain(|other| *other != id);
        kept.push(id);
        kept.sort_unstable();
        let old: Vec<SnapshotId> = kept.drain(..kept.len().saturating_sub(KEPT)).collect();
        let first = kept[0];
        let wall = self.now.wall;
        let quorum = self.metadata.quorum.as_mut().expect("the log is open");
        if first.end > quorum.log_start() && kept.len() == KEPT {
            quorum.raise_log_start(first);
            let high_watermark = quorum.high_watermark();
            self.run_metadata(Job::RaiseLogStart { to: first.end }, MetadataJob::Order);
            self.run_metadata(Job::Retain { high_watermark, wall }, MetadataJob::Order);
        }
        for id in old {
            self.run_metadata(Job::RemoveSnapshot(id), MetadataJob::Order);
        }
    }

    /// The alarm of what is in no snapshot for too long.
    pub(in crate::node) fn on_snapshot_time(&mut self) {
        if self.timers.take_alarm(TimerKind::Snapshot, self.now.mono) {
            self.snapshot_when_due();
        }
    }

    /// A replica pulls a piece of a snapshot.
    pub(in crate::node) fn on_fetch_snapshot(&mut self, id: RequestId, request: &FetchSnapshotRequest) {
        let now = self.now.mono;
        match self.metadata.quorum().on_fetch_snapshot(now, request) {
            Ok(()) => {
                let max_bytes = request.max_bytes.clamp(1, limits::SNAPSHOT_PIECE_BYTES_MAX);
                let (snapshot, position) = (request.snapshot, request.position);
                let read = Job::ReadSnapshot { id: snapshot, position, max_bytes };
                self.run_metadata(read, MetadataJob::Piece { id, position });
            }
            Err(error) => self.answer_piece(id, error, (0, 0), Bytes::new()),
        }
        self.settle_quorum();
    }

    pub(super) fn on_piece_read(&mut self, id: RequestId, position: u64, outcome: Result<JobOutcome, LogError>) {
        let none = Bytes::new();
        match outcome {
            Ok(JobOutcome::SnapshotPiece { bytes, size: Some(size) }) => {
                let error = if bytes.is_empty() { ErrorCode::PositionOutOfRange } else { ErrorCode::None };
                self.answer_piece(id, error, (position, size), bytes);
            }
            Ok(_) => self.answer_piece(id, ErrorCode::SnapshotNotFound, (position, 0), none),
            Err(_) => self.answer_piece(id, ErrorCode::KafkaStorageError, (position, 0), none),
        }
    }

    fn answer_piece(&mut self, id: RequestId, error: ErrorCode, (position, size): (u64, u64), bytes: Bytes) {
        let (leader, epoch) = match self.quorum() {
            Some(quorum) => (quorum.leader(), quorum.epoch()),
            None => (None, LeaderEpoch::NONE),
        };
        let leader_endpoint = None;
        let response = FetchSnapshotResponse { error, leader, epoch, size, position, bytes, leader_endpoint };
        self.respond_peer(id, PeerResponse::FetchSnapshot(response));
    }

    /// A piece of the leader's snapshot is here.
    pub(super) fn store_piece(&mut self, write: Job, turn: u64) {
        let Job::WriteSnapshot { id, is_last, .. } = write else { unreachable!("a piece is written") };
        if self.metadata.taking.writing.as_ref().is_some_and(|(taken, ..)| *taken == id) {
            // This node takes the very same; one at a time.
            let now = self.now.mono;
            return self.metadata.quorum().snapshot_written(now, turn, is_last, false);
        }
        self.run_metadata(write, MetadataJob::Store { turn, is_last });
    }

    /// A piece of the leader's snapshot was written, or not.
    pub(super) fn on_snapshot_stored(&mut self, turn: u64, is_last: bool, outcome: Result<JobOutcome, LogError>) {
        if let Err(error @ LogError::Offline(_)) = &outcome {
            return self.halt(&error.to_string());
        }
        let now = self.now.mono;
        self.metadata.quorum().snapshot_written(now, turn, is_last, outcome.is_ok());
        self.settle_quorum();
    }

    /// The snapshots that this node has, the newest last, for checkers.
    pub fn metadata_snapshots(&self) -> &[SnapshotId] {
        &self.metadata.taking.kept
    }
}
