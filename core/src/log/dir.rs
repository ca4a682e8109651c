//! All logs of one data directory.
//!
//! The directory is owned by one thread and one process. What is about all logs is here: identity, checkpoints, the
//! clean-shutdown marker, and the rule that a directory that has failed once is never trusted again (KIP-112).
//!
//! The marker means: every log was closed, so nothing needs to be read again. It is taken away before anything can
//! change and written back only after everything is on the disk, and only if every log in the directory had its part.
//! It is also what a broker swears by when it registers, that it has lost nothing since its last registration (KIP-966).
//! So a process that began after an unclean stop and ended before it had registered leaves none, however little there was
//! to close: a broker opens its partitions once it is registered, and that is the sign.

mod cleaning;
mod folders;
mod ownership;
mod points;
mod ticket;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

use bytes::Bytes;

pub use self::ticket::SyncTicket;

use self::{
    folders::{holds_log, list},
    points::{CHECKPOINTS, load, remove_doomed, set},
};
use super::{
    DirState, Disk, DiskError, Identity, Job, JobOutcome, LogError, LogState, RecoveryReport,
    checkpoint::{self, OffsetCheckpoint},
    clean::Cleaning,
    meta_properties::{self, MetaError},
    metadata_snapshots, names,
    recovery::{Opening, Progress},
    retention,
    settle::Settlement,
    store::Log,
};
use crate::{ids::LogId, message::LogRead, mutant, offset::Offset, time::Timestamp};

/// Files of closed logs that are gathered before they are synced: many share the waits, and each is held open.
const CLOSING_FILES_MAX: usize = 2048;

/// All logs of one data directory.
pub struct LogDir<D: Disk> {
    disk: D,
    identity: Identity,
    /// Was the stop before this start clean?
    clean: bool,
    logs: BTreeMap<LogId, Slot<D>>,
    recovery_points: OffsetCheckpoint,
    log_starts: OffsetCheckpoint,
    high_watermarks: OffsetCheckpoint,
    /// Up to where each log was cleaned.
    cleaner_points: OffsetCheckpoint,
    /// Rounds of cleaning under way.
    cleanings: BTreeMap<LogId, Cleaning<D>>,
    /// Where the search for logs to vouch for goes on.
    checkpoint_next: LogId,
    /// Do we know of every log whose start was ever moved?
    has_checkpoint: bool,
    /// What the checkpoint files say, so that they are only written when that changes.
    written: [OffsetCheckpoint; 4],
    /// What logs that were closed have yet to have synced, and their recovery points, log starts and high watermarks.
    closing: Settlement<D>,
    closing_points: Vec<(String, [Offset; 3])>,
    /// Folders whose logs were closed in order, and are on the disk.
    closed: BTreeSet<String>,
    /// Folders whose logs were opened.
    touched: BTreeSet<String>,
    /// May the stop of this process count as clean? After an unclean one, what was lost then must have been owned to first.
    accounted: bool,
    /// What made the directory unusable.
    failed: Option<DiskError>,
}

/// Why a data directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirError {
    /// It is empty.
    #[error("the data directory is not formatted")]
    NotFormatted,
    /// It is of another program or a newer version of this one.
    #[error("the data directory has another format: {found}")]
    OtherFormat {
        /// What stands in `meta.properties`.
        found: String,
    },
    /// It is not empty, and not one of ours.
    #[error("the directory holds {file}, but no meta.properties: it is no data directory")]
    Foreign {
        /// One of the files.
        file: String,
    },
    /// One of its files cannot be read.
    #[error("{file}: {reason}")]
    Corrupt {
        /// Which.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// How a step of work ended.
#[derive(Debug)]
pub enum Step {
    /// The job is over.
    Done(Result<JobOutcome, LogError>),
    /// The write is done; this outcome may be reported once a sync begun after it has succeeded.
    Sync(JobOutcome),
    /// It is long work: call [`LogDir::resume`]; other logs may have their turn before.
    Again,
}

enum Slot<D: Disk> {
    Opening(Opening<D>),
    Open(Log<D>),
    /// Damage was found; every job gets this.
    Failed(LogError),
}

impl<D: Disk> Slot<D> {
    /// The log, if its files are in use.
    fn log(&self) -> Option<&Log<D>> {
        match self {
            Self::Opening(opening) => Some(opening.log()),
            Self::Open(log) => Some(log),
            Self::Failed(_) => None,
        }
    }
}

impl<D: Disk> LogDir<D> {
    /// Makes an empty directory one of ours.
    pub fn format(disk: &D, identity: &Identity) -> Result<(), DirError> {
        let files = list(disk, "")?;
        // What a crash in an earlier try may have left.
        let half = alloc::format!("{}{}", names::META_PROPERTIES, names::TMP);
        if let Some(file) = files.into_iter().find(|file| *file != half) {
            return Err(DirError::Foreign { file });
        }
        Ok(checkpoint::replace(disk, "", names::META_PROPERTIES, identity.to_text().as_bytes())?)
    }

    /// Opens a directory and takes its clean-shutdown marker away. No log is opened yet.
    pub fn open(disk: D) -> Result<(Self, DirState), DirError> {
        let files = list(&disk, "")?;
        let Some(meta) = checkpoint::read(&disk, names::META_PROPERTIES)? else {
            let half = alloc::format!("{}{}", names::META_PROPERTIES, names::TMP);
            return Err(match files.into_iter().find(|file| *file != half) {
                Some(file) => DirError::Foreign { file },
                None => DirError::NotFormatted,
            });
        };
        let identity = Identity::parse(&meta).map_err(|error| match error {
            MetaError::OtherFormat(found) => DirError::OtherFormat { found },
            MetaError::Corrupt(reason) => corrupt(names::META_PROPERTIES, reason),
        })?;
        let quorum_state = names::inside(names::METADATA_DIR, names::QUORUM_STATE);
        let vote = match checkpoint::read(&disk, &quorum_state)? {
            Some(text) => Some(meta_properties::parse_quorum_state(&text).map_err(|r| corrupt(&quorum_state, r))?),
            None => None,
        };
        let clean = files.iter().any(|file| file == names::CLEAN_SHUTDOWN);
        if clean {
            disk.remove(names::CLEAN_SHUTDOWN)?;
        }
        if !mutant!(X83) {
            // Folders of logs that were made just before a crash are there, but perhaps not for good.
            disk.sync_dir("").map_err(checkpoint::fatal)?;
        }
        let snapshots = metadata_snapshots::find(&disk)?;
        let log_starts = load(&disk, names::LOG_STARTS)?;
        // Where there is not one of them, none was ever written, and no log start ever moved.
        let is_file = |name: &String| CHECKPOINTS.contains(&name.as_str());
        let has_checkpoint = log_starts.is_some() || !files.iter().any(is_file);
        let mut written = [
            log_starts.unwrap_or_default(),
            load(&disk, names::RECOVERY_POINTS)?.unwrap_or_default(),
            load(&disk, names::HIGH_WATERMARKS)?.unwrap_or_default(),
            load(&disk, names::CLEANER_POINTS)?.unwrap_or_default(),
        ];
        remove_doomed(&disk, &files, &mut written)?;
        let [log_starts, recovery_points, high_watermarks, cleaner_points] = written.clone();
        // Where nothing ever was, nothing was lost.
        let is_new = !files.iter().any(|file| file == names::METADATA_DIR);
        let state = DirState { identity: identity.clone(), clean, vote, snapshots };
        let dir = Self {
            disk,
            identity,
            clean,
            logs: BTreeMap::new(),
            recovery_points,
            log_starts,
            high_watermarks,
            cleaner_points,
            cleanings: BTreeMap::new(),
            checkpoint_next: LogId(0),
            has_checkpoint,
            written,
            closing: Settlement::new(),
            closing_points: Vec::new(),
            closed: BTreeSet::new(),
            touched: BTreeSet::new(),
            accounted: clean || is_new,
            failed: None,
        };
        Ok((dir, state))
    }

    /// Whose directory it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Executes one job, or the first step of a long one.
    pub fn execute(&mut self, log: LogId, order: Job) -> Step {
        if let Some(error) = &self.failed {
            return Step::Done(Err(LogError::Offline(error.clone())));
        }
        if let Job::Append { batches, sync, wall } = order {
            let result = self.append(log, &batches, wall);
            return match self.set_aside(log, result) {
                Ok(outcome) if sync => Step::Sync(outcome),
                result => self.done(result),
            };
        }
        if let Job::Open { dir, topic_id, config, wall } = order {
            return match self.begin_open(log, dir, topic_id, config, wall) {
                Ok(()) => self.resume(log),
                Err(error) => self.fail_open(log, error),
            };
        }
        if let Job::Clean { bound, wall } = order {
            return match self.begin_clean(log, bound, wall) {
                Ok(true) => Step::Again,
                Ok(false) => self.log_as_it_is(log),
                Err(error) => self.done(Err(error)),
            };
        }
        let cuts = matches!(order, Job::Truncate { .. } | Job::RaiseLogStart { .. } | Job::StartOver { .. });
        let result = self.run(log, order);
        let result = if cuts { self.set_aside(log, result) } else { result };
        self.done(result)
    }

    /// Goes on with long work.
    pub fn resume(&mut self, log: LogId) -> Step {
        if let Some(error) = &self.failed {
            return Step::Done(Err(LogError::Offline(error.clone())));
        }
        if !matches!(self.logs.get(&log), Some(Slot::Opening(_))) {
            return self.resume_clean(log);
        }
        let Some(Slot::Opening(opening)) = self.logs.remove(&log) else { unreachable!("it was just looked at") };
        match opening.step() {
            Ok(Progress::More(opening)) => {
                self.logs.insert(log, Slot::Opening(opening));
                Step::Again
            }
            Ok(Progress::Open(open, report)) => {
                let outcome = JobOutcome::Opened(state(&open, report));
                let wants_sync = open.wants_sync;
                // Of what the log has lost nothing is committed, nor is what will be appended there.
                let (dir, committed) = (&open.at.dir, open.high_watermark);
                if self.high_watermarks.0.get(dir).is_some_and(|noted| *noted > committed) {
                    set(&mut self.high_watermarks, dir, committed);
                    if let Err(error) = self.write_checkpoints() {
                        return self.fail_open(log, error);
                    }
                }
                self.logs.insert(log, Slot::Open(open));
                if wants_sync { Step::Sync(outcome) } else { Step::Done(Ok(outcome)) }
            }
            Err(error) => self.fail_open(log, error),
        }
    }

    /// The next append to this log begins a segment, though the last one is not full.
    pub fn roll_early(&mut self, log: LogId) {
        if let Some(Slot::Open(open)) = self.logs.get_mut(&log) {
            open.rolls_early = true;
        }
    }

    /// What must be synced so that everything appended so far is durable.
    pub fn begin_sync(&mut self, log: LogId) -> SyncTicket<D> {
        match self.logs.get_mut(&log) {
            Some(Slot::Open(open)) => {
                let unsynced = open.begin_sync();
                SyncTicket {
                    files: unsynced.files,
                    dirs: unsynced.dirs,
                    end: unsynced.end,
                    generation: unsynced.generation,
                }
            }
            _ => SyncTicket { files: Vec::new(), dirs: Vec::new(), end: Offset::ZERO, generation: u64::MAX },
        }
    }

    /// A sync has ended; returns up to where the log is durable. A failed one takes the directory offline for good:
    /// the system may have dropped the pages, so that another try would succeed and prove nothing.
    pub fn synced(
        &mut self,
        log: LogId,
        ticket: SyncTicket<D>,
        result: Result<(), DiskError>,
    ) -> Result<Offset, LogError> {
        if let Err(error) = result {
            let error = self.failed.get_or_insert(error).clone();
            return Err(LogError::Offline(error));
        }
        if let Some(error) = &self.failed {
            return Err(LogError::Offline(error.clone()));
        }
        Ok(self.log(log)?.synced(ticket.end, ticket.generation))
    }

    /// Reads whole batches for a response.
    pub fn read(&mut self, order: &LogRead) -> Result<Bytes, LogError> {
        if let Some(error) = &self.failed {
            return Err(LogError::Offline(error.clone()));
        }
        let open = self.log(order.log)?;
        let result = open.read(order.from, order.bound, order.max_bytes, order.at_least_one);
        self.note_failure(result)
    }

    /// Moves recovery points up to what is durable and writes the checkpoints, as far as anything has changed. Does a
    /// part of it and says whether there is more: then it is to be called again, after whatever waits. A round of it
    /// is to be begun every few seconds.
    pub fn checkpoint(&mut self) -> Result<bool, LogError> {
        if let Some(error) = &self.failed {
            return Err(LogError::Offline(error.clone()));
        }
        let result = self.checkpoint_some();
        self.note_failure(result)
    }

    /// After every log was closed: checkpoints, then the clean-shutdown marker.
    pub fn close(mut self) -> Result<(), LogError> {
        if let Some(error) = self.failed {
            return Err(LogError::Offline(error));
        }
        self.settle_closing()?;
        self.note_points()?;
        self.write_checkpoints()?;
        let mut clean = self.accounted;
        for folder in self.disk.list("")?.iter().filter(|folder| names::parse_partition(folder).is_some()) {
            // A log that nobody opened since a clean stop is as it was; any other must have been closed.
            let untouched = self.clean && !self.touched.contains(folder);
            clean &= untouched || self.closed.contains(folder) || !holds_log(&self.disk, folder)?;
        }
        if clean {
            let text = meta_properties::CLEAN_SHUTDOWN_TEXT;
            checkpoint::replace(&self.disk, "", names::CLEAN_SHUTDOWN, text.as_bytes())?;
        }
        Ok(())
    }

    fn done(&mut self, result: Result<JobOutcome, LogError>) -> Step {
        Step::Done(self.note_failure(result))
    }

    /// The first I/O error takes the directory offline.
    fn note_failure<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(LogError::Offline(error)) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }

    fn fail_open(&mut self, log: LogId, error: LogError) -> Step {
        if matches!(error, LogError::Corrupt { .. }) {
            self.logs.insert(log, Slot::Failed(error.clone()));
        }
        let result = self.set_aside(log, Err(error));
        self.done(result)
    }

    /// A job that cannot read what it needs in order to change a log leaves that log as nobody knows it: it is not used
    /// any more, and the others are. Without the metadata log there is nothing to use them for.
    fn set_aside<T>(&mut self, log: LogId, result: Result<T, LogError>) -> Result<T, LogError> {
        match result {
            Err(LogError::Unreadable(error)) if log == LogId::METADATA => Err(LogError::Offline(error)),
            Err(error @ LogError::Unreadable(_)) => {
                self.cleanings.remove(&log);
                self.logs.insert(log, Slot::Failed(error.clone()));
                Err(error)
            }
            result => result,
        }
    }

    fn log(&mut self, log: LogId) -> Result<&mut Log<D>, LogError> {
        match self.logs.get_mut(&log) {
            Some(Slot::Open(open)) => Ok(open),
            Some(Slot::Failed(error)) => Err(error.clone()),
            Some(Slot::Opening(_)) | None => Err(LogError::NotOpen),
        }
    }

    fn append(
        &mut self,
        log: LogId,
        batches: &[crate::record::Batch],
        wall: Timestamp,
    ) -> Result<JobOutcome, LogError> {
        let open = self.log(log)?;
        if open.begins_inside(batches) {
            let end = open.end;
            self.move_points(log, end)?;
        }
        let open = self.log(log)?;
        open.append(batches, wall)?;
        Ok(JobOutcome::Appended { end: open.end, size: open.size() })
    }

    fn run(&mut self, log: LogId, order: Job) -> Result<JobOutcome, LogError> {
        match order {
            Job::Open { .. } | Job::Append { .. } | Job::Clean { .. } => unreachable!("handled by the caller"),
            Job::SaveVote(vote) => {
                let text = meta_properties::quorum_state(vote);
                self.disk.create_dir(names::METADATA_DIR)?;
                checkpoint::replace(&self.disk, names::METADATA_DIR, names::QUORUM_STATE, text.as_bytes())?;
                self.disk.sync_dir("").map_err(LogError::Offline)?;
                Ok(JobOutcome::Done)
            }
            Job::WriteSnapshot { id, position, piece, is_last } => {
                metadata_snapshots::write(&self.disk, id, position, &piece, is_last)?;
                Ok(JobOutcome::Done)
            }
            Job::ReadSnapshot { id, position, max_bytes } => {
                let (bytes, size) = metadata_snapshots::read(&self.disk, id, position, max_bytes)?;
                Ok(JobOutcome::SnapshotPiece { bytes, size })
            }
            Job::RemoveSnapshot(id) => {
                metadata_snapshots::remove(&self.disk, id)?;
                Ok(JobOutcome::Done)
            }
            Job::StartOver { at } => self.start_over(log, at),
            Job::Read { from, bound, max_bytes } => {
                Ok(JobOutcome::Read { batches: self.log(log)?.read_batches(from, bound, max_bytes)? })
            }
            Job::FindTimestamp { at, from, bound } => {
                Ok(JobOutcome::Found { record: self.log(log)?.find_timestamp(at, from, bound)? })
            }
            Job::FindMaxTimestamp { bound } => {
                Ok(JobOutcome::Found { record: self.log(log)?.find_max_timestamp(bound)? })
            }
            Job::Truncate { to } => {
                self.lower_recovery_point(log, to)?;
                self.save_log_start(log)?;
                let open = self.log(log)?;
                open.truncate(to)?;
                Ok(JobOutcome::Truncated {
                    log_start: open.log_start,
                    end: open.end,
                    size: open.size(),
                    producers: open.producers.clone(),
                })
            }
            Job::RaiseLogStart { to } => {
                self.log(log)?.finish_undo()?;
                if to > self.log(log)?.end {
                    self.move_points(log, to)?;
                }
                let open = self.log(log)?;
                if mutant!(X84) && to >= open.durable_end {
                    // The planted bug: what was appended since the last sync is forgotten with the prefix.
                    let end = open.durable_end;
                    open.start_over(end)?;
                } else {
                    open.raise_log_start(to)?;
                }
                Ok(trimmed(open))
            }
            Job::Retain { high_watermark, wall } => self.retain(log, high_watermark, wall),
            Job::Configure { config } => {
                let open = self.log(log)?;
                open.sparse |= config.cleanup.compact;
                open.config = config;
                Ok(JobOutcome::Done)
            }
            Job::StartEpoch { epoch, start } => {
                let open = self.log(log)?;
                // Written with the next checkpoint: an epoch without a record is forgotten by a crash anyway.
                if open.epochs.assign(epoch, start) {
                    open.epochs_dirty = true;
                }
                Ok(JobOutcome::Done)
            }
            Job::NoteHighWatermark { to } => {
                self.log(log)?.high_watermark = to;
                Ok(JobOutcome::Done)
            }
            Job::Expire { wall } => {
                let open = self.log(log)?;
                open.remove_doomed(wall)?;
                let producers = open.producers.expire(wall, open.config.producer_expiration);
                Ok(JobOutcome::Expired { producers })
            }
            Job::Close => {
                self.save_log_start(log)?;
                let mut closing = core::mem::replace(&mut self.closing, Settlement::new());
                let prepared = self.log(log).and_then(|open| open.prepare_to_close(&mut closing).map(|()| open));
                let noted = prepared.map(|open| (open.at.dir.clone(), [open.end, open.log_start, open.high_watermark]));
                self.closing = closing;
                self.closing_points.push(noted?);
                self.logs.remove(&log);
                self.cleanings.remove(&log);
                if self.closing.len() >= CLOSING_FILES_MAX {
                    self.settle_closing()?;
                }
                Ok(JobOutcome::Done)
            }
            Job::Delete => self.delete(log),
        }
    }

    /// Makes what was closed durable. From here on it counts as closed.
    fn settle_closing(&mut self) -> Result<(), LogError> {
        // Where this fails, they are recovered at the next start.
        let closed = core::mem::take(&mut self.closing_points);
        self.closing.settle(&self.disk)?;
        for (dir, points) in closed {
            let checkpoints = [&mut self.recovery_points, &mut self.log_starts, &mut self.high_watermarks];
            checkpoints.into_iter().zip(points).for_each(|(checkpoint, point)| set(checkpoint, &dir, point));
            self.closed.insert(dir);
        }
        Ok(())
    }

    fn log_as_it_is(&mut self, log: LogId) -> Step {
        Step::Done(self.log(log).map(|open| trimmed(open)))
    }

    /// A crash on the way leaves a log that ends at `at` at most, and begins there as soon as the checkpoint says so.
    fn start_over(&mut self, log: LogId, at: Offset) -> Result<JobOutcome, LogError> {
        self.lower_recovery_point(log, at)?;
        self.log(log)?.truncate(at)?;
        self.note_points()?;
        let dir = self.log(log)?.at.dir.clone();
        // What a snapshot stands for is missed by nobody.
        set(&mut self.log_starts, &dir, at);
        set(&mut self.recovery_points, &dir, at);
        self.write_checkpoints()?;
        let open = self.log(log)?;
        open.start_over(at)?;
        Ok(trimmed(open))
    }

    fn retain(&mut self, log: LogId, high_watermark: Offset, wall: Timestamp) -> Result<JobOutcome, LogError> {
        let open = self.log(log)?;
        open.high_watermark = high_watermark;
        let count = retention::deletable(open, high_watermark, wall)?;
        if count > 0 {
            if count == open.segments.len() {
                let end = open.end;
                open.roll(end, wall)?;
            }
            // The log start moves, durably, before any file goes; where the disk is full, it does not move at all.
            let first = open.segments[count].base;
            let before = (open.log_start, open.epochs.clone());
            open.raise_log_start(first)?;
            let written = self.note_points().and_then(|()| self.write_checkpoints());
            let open = self.log(log)?;
            if written.is_err() {
                (open.log_start, open.epochs) = before;
            }
            written?;
            open.drop_oldest(count, wall)?;
        }
        let open = self.log(log)?;
        match open.remove_doomed(wall) {
            // They go next time; where the log starts now must be told.
            Ok(()) | Err(LogError::DiskFull | LogError::TooManyFiles) => Ok(trimmed(open)),
            Err(error) => Err(error),
        }
    }
}

fn state<D: Disk>(open: &Log<D>, recovery: RecoveryReport) -> LogState {
    LogState {
        log_start: open.log_start,
        log_end: open.end,
        size: open.size(),
        high_watermark: open.high_watermark,
        epochs: open.epochs.entries().to_vec(),
        producers: open.producers.clone(),
        recovery,
    }
}

fn trimmed<D: Disk>(open: &Log<D>) -> JobOutcome {
    JobOutcome::Trimmed { log_start: open.log_start, end: open.end, size: open.size() }
}

fn corrupt(file: &str, reason: &str) -> DirError {
    DirError::Corrupt { file: file.to_string(), reason: reason.to_string() }
}
