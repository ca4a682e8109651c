//! What the core can order of a log, and what comes back.
//!
//! Jobs of one log are executed in the order in which they were given, but for [`Job::Clean`] and the slow parts of
//! [`Job::Open`], which run in steps between others. Each job gets exactly one outcome. After an outcome of
//! [`LogError::Offline`] every further job of that directory gets the same.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use super::{DiskError, LogConfig, ProducerTable};
use crate::{
    epoch::LeaderEpoch,
    ids::{NodeId, TopicId},
    message::SnapshotId,
    offset::Offset,
    record::Batch,
    time::Timestamp,
};

/// One bounded piece of work on one log.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Opens the log in this folder, creating it where there is none, and recovers it after an unclean stop.
    /// A folder that belongs to another topic id is set aside first (KIP-516).
    Open {
        /// The folder: `orders-0`.
        dir: String,
        /// Whose it is.
        topic_id: TopicId,
        /// How to keep it.
        config: LogConfig,
        /// Wall time, for what has none of its own.
        wall: Timestamp,
    },
    /// Appends stamped batches at the log's end.
    Append {
        /// In order; the first one's base offset is the log end offset.
        batches: Vec<Batch>,
        /// Answer only when they are durable; drivers let one sync serve many appends (group commit).
        sync: bool,
        /// Wall time of the append, for rolls by age.
        wall: Timestamp,
    },
    /// Reads whole batches for the core itself: the metadata log at start.
    Read {
        /// The batch that holds this offset comes first.
        from: Offset,
        /// No batch at or past this.
        bound: Offset,
        /// Stop before this is exceeded, but for the first batch.
        max_bytes: usize,
    },
    /// Finds the first record at or after `from` whose timestamp is at least `at`, below `bound`.
    FindTimestamp {
        /// The time looked for.
        at: Timestamp,
        /// Where to begin.
        from: Offset,
        /// Where to end.
        bound: Offset,
    },
    /// Finds the record with the greatest timestamp, the earliest of them on a tie.
    FindMaxTimestamp {
        /// Where to end.
        bound: Offset,
    },
    /// Cuts the end off: a follower that diverged, or an append that failed half-way.
    Truncate {
        /// The new log end offset.
        to: Offset,
    },
    /// Raises the log start offset; whole segments below it go with the next retention.
    RaiseLogStart {
        /// The new log start offset.
        to: Offset,
    },
    /// Removes what retention lets go, never past the high watermark.
    Retain {
        /// Where committed records end.
        high_watermark: Offset,
        /// Wall time.
        wall: Timestamp,
    },
    /// Compacts what can be compacted below `bound`, in steps between other jobs.
    Clean {
        /// The last stable offset: nothing at or past it is touched.
        bound: Offset,
        /// Wall time.
        wall: Timestamp,
    },
    /// Changes the settings.
    Configure {
        /// The new ones.
        config: LogConfig,
    },
    /// Notes a leader epoch's first offset, before anything is appended in it (KIP-101).
    StartEpoch {
        /// The epoch.
        epoch: LeaderEpoch,
        /// Where it begins.
        start: Offset,
    },
    /// Takes note of the high watermark; it is in the next checkpoint, and in [`LogState`] after a restart.
    NoteHighWatermark {
        /// Where committed records end.
        to: Offset,
    },
    /// Drops the producers idle for longer than `producer.id.expiration.ms` and removes files whose delay is over.
    Expire {
        /// Wall time.
        wall: Timestamp,
    },
    /// Writes the quorum's vote file, durable before the outcome comes back (KIP-595). Metadata log only.
    SaveVote(Vote),
    /// Writes a piece of a snapshot beside the log; behind its last piece the snapshot is durable and has its name, all at once
    /// (KIP-630). Metadata log only.
    WriteSnapshot {
        /// Which.
        id: SnapshotId,
        /// Where the piece begins: at 0, or where the one before ended.
        position: u64,
        /// The piece.
        piece: Bytes,
        /// Is it the last?
        is_last: bool,
    },
    /// Reads a piece of a snapshot. Metadata log only.
    ReadSnapshot {
        /// Which.
        id: SnapshotId,
        /// From which byte.
        position: u64,
        /// How many bytes at most.
        max_bytes: usize,
    },
    /// Removes a snapshot. Metadata log only.
    RemoveSnapshot(SnapshotId),
    /// Lets all records go; the log goes on at this offset, for a durable snapshot has what was before. Metadata log only.
    StartOver {
        /// Where the log begins and ends.
        at: Offset,
    },
    /// Syncs everything and closes the log; the last step before a clean stop.
    Close,
    /// Removes the log and its folder.
    Delete,
}

/// What a voter of the metadata quorum must never forget: Kafka's `quorum-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The newest epoch seen.
    pub epoch: LeaderEpoch,
    /// Who got this node's vote in that epoch.
    pub voted_for: Option<NodeId>,
}

/// What a job brought.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// To [`Job::Open`]: all that the core needs to know of the log.
    Opened(LogState),
    /// To [`Job::Append`]: all up to `end` is in the log, and durable if that was asked for.
    Appended {
        /// Log end offset after the job's last batch.
        end: Offset,
        /// Bytes of all segments.
        size: u64,
    },
    /// To [`Job::Read`].
    Read {
        /// Whole batches, possibly none.
        batches: Vec<Bytes>,
    },
    /// To [`Job::FindTimestamp`] and [`Job::FindMaxTimestamp`].
    Found {
        /// Offset, timestamp and leader epoch of the record, if there is one.
        record: Option<(Offset, Timestamp, LeaderEpoch)>,
    },
    /// To [`Job::Truncate`]: the log as it is now, and the producers that have written to what is left of it.
    Truncated {
        /// Log start offset.
        log_start: Offset,
        /// Log end offset: at most the one asked for, and where a batch begins.
        end: Offset,
        /// Bytes of all segments.
        size: u64,
        /// As in [`LogState`].
        producers: ProducerTable,
    },
    /// To [`Job::ReadSnapshot`].
    SnapshotPiece {
        /// The piece; empty at the snapshot's end and past it.
        bytes: Bytes,
        /// Bytes of the whole snapshot; `None` where there is none.
        size: Option<u64>,
    },
    /// To [`Job::RaiseLogStart`], [`Job::StartOver`], [`Job::Retain`] and [`Job::Clean`]: the log as it is now.
    Trimmed {
        /// Log start offset.
        log_start: Offset,
        /// Log end offset.
        end: Offset,
        /// Bytes of all segments.
        size: u64,
    },
    /// To [`Job::Expire`]: the producers that were dropped, by id.
    Expired {
        /// Their ids, ascending.
        producers: Vec<crate::ids::ProducerId>,
    },
    /// To jobs with nothing to report.
    Done,
}

/// A log as it was found when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct LogState {
    /// Where it begins.
    pub log_start: Offset,
    /// Where it ends.
    pub log_end: Offset,
    /// Bytes of all segments.
    pub size: u64,
    /// The high watermark of the last checkpoint, clamped to the log.
    pub high_watermark: Offset,
    /// Leader epochs and their first offsets, ascending in both.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// The producers that have written to it.
    pub producers: ProducerTable,
    /// What recovery had to do.
    pub recovery: RecoveryReport,
}

/// What recovery did, for logs, metrics and checkers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The last stop was clean, so nothing was read again.
    pub clean: bool,
    /// Bytes read again from the recovery point on.
    pub scanned_bytes: u64,
    /// Bytes of a torn tail cut off.
    pub truncated_bytes: u64,
    /// Bytes cut off, by this recovery or an earlier one, although whole batches followed: lost pages. They are kept beside
    /// the log, in `.torn` files.
    pub kept_bytes: u64,
    /// Indexes rebuilt.
    pub rebuilt_indexes: u32,
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// No space; the log is as before the job, and the same job can succeed later.
    #[error("no space left on the device")]
    DiskFull,
    /// No more file handles; the log is as before the job, and the same job can succeed later.
    #[error("too many open files")]
    TooManyFiles,
    /// Bytes that were durable are not what was written. The log is offline; the others are not touched.
    #[error("{file}: corrupt at byte {position}: {reason}")]
    Corrupt {
        /// The file, below the data directory.
        file: String,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The disk could not read what a job needs of this log. Readers may try again; a log that cannot be opened or
    /// appended to for that reason is offline. The others are not touched.
    #[error("the log cannot be read: {0}")]
    Unreadable(DiskError),
    /// An earlier append of the same log failed, so this one's offsets no longer fit.
    #[error("an earlier append to the log failed")]
    OutOfOrder,
    /// The job asks for an offset that the log does not have.
    #[error("offset {offset} is outside the log")]
    OutOfRange {
        /// Which.
        offset: Offset,
    },
    /// The log is not open, or was closed or deleted.
    #[error("the log is not open")]
    NotOpen,
    /// The directory failed, in this job or an earlier one, and takes no more (KIP-112).
    #[error("the log directory is offline: {0}")]
    Offline(DiskError),
}

impl LogError {
    /// Can the log take no more, once a job that changes it has failed so?
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Unreadable(_) | Self::Offline(_))
    }
}
