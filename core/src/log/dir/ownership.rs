//! Whose a folder is: it is taken into use for a topic, set aside as another's, and removed with its topic.

use alloc::string::String;

use super::{
    LogDir, Slot,
    folders::{holds_bytes, list, remove_files, unreadable_snapshot},
};
use crate::{
    ids::{LogId, TopicId},
    log::{
        Disk, DiskError, JobOutcome, LogConfig, LogError,
        checkpoint::OffsetCheckpoint,
        names,
        place::Place,
        recovery::{self, Found, Opening, Points},
    },
    mutant,
    offset::Offset,
    time::Timestamp,
};

impl<D: Disk> LogDir<D> {
    pub(super) fn begin_open(
        &mut self,
        log: LogId,
        dir: String,
        topic_id: TopicId,
        config: LogConfig,
        wall: Timestamp,
    ) -> Result<(), LogError> {
        assert!(!self.logs.contains_key(&log), "log {log} is open already");
        // It may be one of those that were just closed.
        self.settle_closing()?;
        self.evict(&dir)?;
        let at = Place { disk: self.disk.clone(), dir, suffix: "" };
        let mut names = match self.disk.list(&at.dir) {
            Ok(names) => Some(names),
            Err(DiskError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut owner = if names.is_some() { recovery::owner(&at, topic_id)? } else { None };
        if mutant!(X20) {
            owner = owner.map(|_| topic_id);
        }
        if mutant!(X48) && unreadable_snapshot(&at, names.as_deref().unwrap_or_default())? {
            owner = Some(TopicId([0xff; 16]));
        }
        // Whose folder it is was never made durable, and so was none of the data in it; it may be an earlier topic's. That of
        // the metadata log is never another's, and votes are durable in it before it is.
        let vouched = |points: &OffsetCheckpoint| points.0.get(&at.dir).copied().unwrap_or(Offset::ZERO);
        let is_vouched = vouched(&self.recovery_points) > vouched(&self.log_starts);
        let nobodys = owner.is_none()
            && !is_vouched
            && at.dir != names::METADATA_DIR
            && match &names {
                Some(names) => holds_bytes(&self.disk, &at.dir, names)?,
                None => false,
            };
        let stray = nobodys || owner.is_some_and(|owner| owner != topic_id);
        if stray {
            self.forget(&at.dir)?;
            let aside = names::doomed_dir(&at.dir, owner.unwrap_or(TopicId([0; 16])), names::STRAY_DIR);
            if nobodys && !list(&self.disk, &aside)?.is_empty() {
                self.disk.remove_dir(&aside)?;
            }
            self.disk.rename(&at.dir, &aside)?;
            self.disk.sync_dir("").map_err(LogError::Offline)?;
        }
        if stray {
            (names, owner) = (None, None);
        }
        let points = Points {
            recovery: self.recovery_points.0.get(&at.dir).copied(),
            log_start: self.log_starts.0.get(&at.dir).copied(),
            high_watermark: self.high_watermarks.0.get(&at.dir).copied(),
            checkpointed: self.has_checkpoint,
            cleaned: self.cleaner_points.0.contains_key(&at.dir),
            clean: self.closed.remove(&at.dir) || (self.clean && !self.touched.contains(&at.dir)),
        };
        if names.is_none() {
            if let Some(recovery) = points.recovery.filter(|&r| r > points.log_start.unwrap_or(Offset::ZERO)) {
                let reason = alloc::format!("the folder is gone, though everything up to offset {recovery} was synced");
                return Err(LogError::Corrupt { file: at.dir, position: 0, reason });
            }
            // Nor may the disk know points of one that was here before, where they could not be written when it went.
            self.write_checkpoints()?;
            self.disk.create_dir(&at.dir)?;
        }
        self.touched.insert(at.dir.clone());
        self.accounted |= at.dir != names::METADATA_DIR;
        let found = Found { names: names.unwrap_or_default(), owned: owner.is_some() };
        let opening = Opening::begin(at, found, topic_id, config, wall, points)?;
        self.logs.insert(log, Slot::Opening(opening));
        Ok(())
    }

    /// Another log has this folder still. Its topic is gone, and the order to delete it is on its way: a topic of the same
    /// name does not wait for that.
    pub(super) fn evict(&mut self, dir: &str) -> Result<(), LogError> {
        let in_the_way = |(id, slot): (&LogId, &Slot<D>)| (slot.log()?.at.dir == dir).then_some(*id);
        match self.logs.iter().find_map(in_the_way) {
            Some(log) => self.delete(log).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn delete(&mut self, log: LogId) -> Result<JobOutcome, LogError> {
        let found = self.logs.get(&log).and_then(Slot::log);
        let Some((dir, topic_id)) = found.map(|found| (found.at.dir.clone(), found.topic_id)) else {
            return self.log(log).map(|_| JobOutcome::Done);
        };
        self.logs.remove(&log);
        self.cleanings.remove(&log);
        // Renamed first, so that the name is free at once and a crash leaves nothing half removed under it: a log that is as it
        // was, less its points, would begin where it once began. The files go next, as the disk may be full, and the folder
        // last: as long as it is there, the next start knows what there is to forget.
        let doomed = names::doomed_dir(&dir, topic_id, names::DELETE_DIR);
        if !list(&self.disk, &doomed)?.is_empty() {
            self.disk.remove_dir(&doomed)?;
        }
        self.disk.rename(&dir, &doomed)?;
        self.disk.sync_dir("").map_err(LogError::Offline)?;
        remove_files(&self.disk, &doomed)?;
        self.forget(&dir)?;
        self.disk.remove_dir(&doomed)?;
        Ok(JobOutcome::Done)
    }

    /// Forgets what the checkpoints say of a folder, durably.
    pub(super) fn forget(&mut self, dir: &str) -> Result<(), LogError> {
        self.closed.remove(dir);
        self.recovery_points.0.remove(dir);
        self.log_starts.0.remove(dir);
        self.high_watermarks.0.remove(dir);
        self.cleaner_points.0.remove(dir);
        self.write_checkpoints()
    }
}
