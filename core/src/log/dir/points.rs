//! The checkpoints of a data directory: how far each log is durable, where it begins, what is committed and cleaned.
//!
//! **A checkpoint never says more than the disk has**: what it vouches for is synced before it is written, and what is
//! cut off is taken out of it before the cut.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use super::{DirError, LogDir, Slot, folders::remove_files};
use crate::{
    ids::LogId,
    log::{
        Disk, LogError,
        checkpoint::{self, OffsetCheckpoint},
        names,
        settle::Settlement,
    },
    offset::Offset,
};

/// Logs for which one call of [`LogDir::checkpoint`] vouches at most: appends wait meanwhile.
const CHECKPOINT_LOGS_MAX: usize = 32;
/// The checkpoint files, in the order in which they are written. Log starts first: a recovery point must not miss what a
/// raised log start has given up.
pub(super) const CHECKPOINTS: [&str; 4] =
    [names::LOG_STARTS, names::RECOVERY_POINTS, names::HIGH_WATERMARKS, names::CLEANER_POINTS];

impl<D: Disk> LogDir<D> {
    /// The checkpoint on the disk must not vouch for what is about to be cut off.
    pub(super) fn lower_recovery_point(&mut self, log: LogId, to: Offset) -> Result<(), LogError> {
        let open = self.log(log)?;
        if to >= open.end {
            return Ok(());
        }
        let dir = open.at.dir.clone();
        // The batch that holds `to` goes as a whole; it begins in the same segment.
        let stays = open.segments[open.segment_of(to)].base.max(open.log_start).min(to);
        open.recovery_point = open.recovery_point.min(stays);
        open.log_start = open.log_start.min(to);
        // What is appended there next was committed by nobody.
        if open.high_watermark > to {
            open.high_watermark = stays;
        }
        if let Some(cleaned_to) = self.cleaner_points.0.get_mut(&dir) {
            *cleaned_to = to.min(*cleaned_to);
        }
        let [log_starts, recovery_points, high_watermarks, cleaner_points] = &self.written;
        let above = |checkpoint: &OffsetCheckpoint, to| checkpoint.0.get(&dir).is_some_and(|&point| point > to);
        let vouches = above(recovery_points, stays) || above(log_starts, to) || above(cleaner_points, to);
        if vouches || above(high_watermarks, to) {
            self.note_points()?;
            self.write_checkpoints()?;
        }
        Ok(())
    }

    /// A log is about to drop everything and to go on at `to`, its end or past that. Recovery must not look for what is gone, nor
    /// take what will follow there for the far side of a hole.
    pub(super) fn move_points(&mut self, log: LogId, to: Offset) -> Result<(), LogError> {
        let dir = self.log(log)?.at.dir.clone();
        self.note_points()?;
        for points in [&mut self.log_starts, &mut self.recovery_points, &mut self.high_watermarks] {
            set(points, &dir, to);
        }
        self.write_checkpoints()
    }

    /// The epoch file is about to be written without the epochs that ended before the log start. So that those are
    /// not missed after a crash, the log start goes to the disk first.
    pub(super) fn save_log_start(&mut self, log: LogId) -> Result<(), LogError> {
        let open = self.log(log)?;
        let log_start = open.log_start;
        let dir = open.at.dir.clone();
        if self.written[0].0.get(&dir).copied().unwrap_or(Offset::ZERO) < log_start {
            self.note_points()?;
            self.write_checkpoints()?;
        }
        Ok(())
    }

    pub(super) fn checkpoint_some(&mut self) -> Result<bool, LogError> {
        let wants = |(id, slot): (&LogId, &Slot<D>)| match slot {
            Slot::Open(open) if open.wants_checkpoint() => Some(*id),
            _ => None,
        };
        let due: Vec<LogId> =
            self.logs.range(self.checkpoint_next..).filter_map(wants).take(CHECKPOINT_LOGS_MAX).collect();
        self.vouch(&due)?;
        let has_more = due.len() == CHECKPOINT_LOGS_MAX;
        self.checkpoint_next = due.last().filter(|_| has_more).map_or(LogId(0), |last| LogId(last.0 + 1));
        if !has_more {
            self.note_points()?;
            self.write_checkpoints()?;
        }
        Ok(has_more)
    }

    /// Moves the recovery points of these logs up to what is durable.
    pub(super) fn vouch(&mut self, logs: &[LogId]) -> Result<(), LogError> {
        for &id in logs {
            self.save_log_start(id)?;
        }
        let mut settlement = Settlement::new();
        let mut ready = Vec::with_capacity(logs.len());
        let mut prepared = Ok(());
        for &id in logs {
            let result = self.log(id).and_then(|open| open.prepare_to_vouch(&mut settlement));
            match self.set_aside(id, result) {
                Ok(()) => ready.push(id),
                // The others have their turn; whoever uses this one next is told.
                Err(LogError::Unreadable(_)) => {}
                Err(error) => {
                    prepared = Err(error);
                    break;
                }
            }
        }
        settlement.settle(&self.disk)?;
        for id in ready {
            self.log(id)?.vouched();
        }
        prepared
    }

    /// Takes the points of the open logs over into the checkpoints.
    pub(super) fn note_points(&mut self) -> Result<(), LogError> {
        for slot in self.logs.values_mut() {
            let Slot::Open(open) = slot else { continue };
            open.secure_start()?;
            set(&mut self.recovery_points, &open.at.dir, open.recovery_point);
            set(&mut self.log_starts, &open.at.dir, open.log_start);
            set(&mut self.high_watermarks, &open.at.dir, open.high_watermark);
        }
        Ok(())
    }

    pub(super) fn write_checkpoints(&mut self) -> Result<(), LogError> {
        let now = [&self.log_starts, &self.recovery_points, &self.high_watermarks, &self.cleaner_points];
        for ((file, now), written) in CHECKPOINTS.into_iter().zip(now).zip(&mut self.written) {
            if now != written {
                checkpoint::replace(&self.disk, "", file, now.to_text().as_bytes())?;
                written.clone_from(now);
            }
        }
        Ok(())
    }
}

pub(super) fn set(checkpoint: &mut OffsetCheckpoint, dir: &str, offset: Offset) {
    match checkpoint.0.get_mut(dir) {
        Some(known) => *known = offset,
        None => drop(checkpoint.0.insert(dir.to_string(), offset)),
    }
}

/// A checkpoint file. One that cannot be read says nothing: every log is then scanned from its start.
pub(super) fn load<D: Disk>(disk: &D, file: &str) -> Result<Option<OffsetCheckpoint>, DirError> {
    let text = checkpoint::read(disk, file)?;
    Ok(text.and_then(|text| OffsetCheckpoint::parse(&text).ok()))
}

/// Finishes removals that a crash interrupted. What the checkpoints, as they are `written`, say of a log that is gone goes
/// before its folder; a new one may have its name by now.
pub(super) fn remove_doomed<D: Disk>(
    disk: &D,
    files: &[String],
    written: &mut [OffsetCheckpoint; 4],
) -> Result<(), DirError> {
    let doomed = || files.iter().filter(|file| file.ends_with(names::DELETE_DIR));
    for folder in doomed() {
        remove_files(disk, folder)?;
    }
    let gone = || doomed().filter_map(|file| names::parse_doomed(file)).filter(|dir| !files.iter().any(|f| f == dir));
    for (file, points) in CHECKPOINTS.into_iter().zip(written) {
        let known = gone().filter(|dir| points.0.remove(*dir).is_some()).count();
        if known > 0 {
            checkpoint::replace(disk, "", file, points.to_text().as_bytes())?;
        }
    }
    for folder in doomed() {
        disk.remove_dir(folder)?;
    }
    Ok(())
}
