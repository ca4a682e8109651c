//! One open log: what it holds, and the jobs on it that are not long.
//!
//! ```text
//! log start ........ recovery point ........ durable end ........ end
//!   whole segments     synced, with its        synced              written
//!   below it may go    indexes, checkpointed
//! ```
//!
//! Invariants: `log_start <= end`, `recovery point <= durable_end <= end`; the memory that decides (end, epochs,
//! producers) changes only after the write that it describes has succeeded; the disk's files of indexes, epochs and
//! producers are derived, and lag behind until a checkpoint vouches for them.

use alloc::{string::String, vec::Vec};

use super::{
    Disk, DiskError, EpochCache, LogConfig, LogError, OpenMode, ProducerTable, names, place::Place, recovery,
    segment::Segment, settle::Settlement, snapshot, walk::Walk,
};
use crate::{
    ids::TopicId,
    mutant,
    offset::Offset,
    record::{Batch, BatchHeader},
    time::Timestamp,
};

/// Bytes appended after which a checkpoint also writes a snapshot of the producers, so that recovery need not
/// read a whole segment to know them.
const SNAPSHOT_INTERVAL_BYTES: u64 = 1 << 20;

/// One open log.
pub(crate) struct Log<D: Disk> {
    pub(crate) at: Place<D>,
    pub(crate) topic_id: TopicId,
    pub(crate) config: LogConfig,
    /// May offsets be missing? In a log that is or was compacted, and in one that is copied from such a log.
    pub(crate) sparse: bool,
    /// By base offset; the last is the active one. Never empty.
    pub(crate) segments: Vec<Segment<D>>,
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    /// Everything below is on the disk.
    pub(crate) durable_end: Offset,
    /// Everything below is on the disk together with its indexes, epochs and snapshots.
    pub(crate) recovery_point: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) epochs: EpochCache,
    pub(crate) producers: ProducerTable,
    /// Offsets of the producer snapshots in the folder, ascending.
    pub(crate) snapshots: Vec<Offset>,
    /// Were files created, renamed or removed in the folder since it was last synced?
    pub(crate) names_dirty: bool,
    /// Is the folder itself new, so that the data directory must be synced?
    pub(crate) root_dirty: bool,
    /// Did recovery find what may not be on the disk yet?
    pub(crate) wants_sync: bool,
    /// Do memory and `leader-epoch-checkpoint` differ?
    pub(crate) epochs_dirty: bool,
    /// Must the next sync cover the file that says whose folder it is?
    pub(crate) owner_dirty: bool,
    /// That file, from the moment on at which there is data to sync.
    owner: Option<D::File>,
    /// Snapshot files not yet synced.
    pub(crate) unsynced_snapshots: Vec<Offset>,
    /// Bytes of batches behind the newest snapshot.
    pub(crate) since_snapshot: u64,
    /// Counts truncations: a sync begun before one says nothing about what was written after it.
    pub(crate) generation: u64,
    /// A failed append left bytes behind the end that could not be cut off yet.
    cut_pending: bool,
    /// The next append begins a segment, though the last one is not full.
    pub(crate) rolls_early: bool,
    /// An append failed halfway, and there was no room even to undo it, or a truncation did: before anything else is appended,
    /// or vouched for, the log is cut back to here.
    undo_to: Option<Offset>,
    /// Base offset of an append that failed; until one fits, others are out of order.
    failed_append: Option<Offset>,
    /// Files renamed to `.deleted`, and when they may go.
    doomed: Vec<(Timestamp, String)>,
}

/// What a sync must cover, as the log was when it was begun.
pub(crate) struct Unsynced<D: Disk> {
    pub(crate) files: Vec<D::File>,
    pub(crate) dirs: Vec<String>,
    pub(crate) end: Offset,
    pub(crate) generation: u64,
}

impl From<DiskError> for LogError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full => Self::DiskFull,
            DiskError::TooManyFiles => Self::TooManyFiles,
            DiskError::NotFound { path } => Self::Corrupt { file: path, position: 0, reason: "it is gone".into() },
            DiskError::AlreadyExists { path } => {
                Self::Corrupt { file: path, position: 0, reason: "it should not be there".into() }
            }
            error @ DiskError::Unreadable { .. } => Self::Unreadable(error),
            error @ DiskError::Io { .. } => Self::Offline(error),
        }
    }
}

impl<D: Disk> Log<D> {
    /// A log with nothing in it yet but what is given; recovery fills it.
    pub(crate) fn empty(at: Place<D>, topic_id: TopicId, config: LogConfig) -> Self {
        Self {
            at,
            topic_id,
            sparse: config.cleanup.compact,
            config,
            segments: Vec::new(),
            log_start: Offset::ZERO,
            end: Offset::ZERO,
            durable_end: Offset::ZERO,
            recovery_point: Offset::ZERO,
            high_watermark: Offset::ZERO,
            epochs: EpochCache::default(),
            producers: ProducerTable::new(),
            snapshots: Vec::new(),
            names_dirty: false,
            root_dirty: false,
            wants_sync: false,
            epochs_dirty: false,
            owner_dirty: false,
            owner: None,
            unsynced_snapshots: Vec::new(),
            since_snapshot: 0,
            generation: 0,
            cut_pending: false,
            rolls_early: false,
            undo_to: None,
            failed_append: None,
            doomed: Vec::new(),
        }
    }

    /// Bytes of all segments.
    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    pub(crate) fn active(&mut self) -> &mut Segment<D> {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// Where segment `index` ends: the base of the next, or the log's end.
    pub(crate) fn segment_end(&self, index: usize) -> Offset {
        self.segments.get(index + 1).map_or(self.end, |next| next.base)
    }

    /// The segment that holds `offset`, or would.
    pub(crate) fn segment_of(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    pub(crate) fn check(&self) {
        assert!(self.log_start <= self.end, "a log does not end before it starts");
        assert!(self.recovery_point <= self.durable_end, "a checkpoint vouches for synced bytes only");
        assert!(self.durable_end <= self.end, "what is not written is not durable");
        assert!(self.segments.is_sorted_by(|a, b| a.base < b.base), "segments stand in order");
    }

    /// Appends batches. On an error the log is as it was.
    pub(crate) fn append(&mut self, batches: &[Batch], wall: Timestamp) -> Result<(), LogError> {
        self.finish_undo()?;
        self.check_order(batches)?;
        let before = self.end;
        match self.append_all(batches, wall) {
            Ok(()) => {
                self.failed_append = None;
                Ok(())
            }
            Err(error @ (LogError::DiskFull | LogError::TooManyFiles)) => {
                self.failed_append = batches.first().map(|batch| batch.header().base_offset);
                self.undo(before)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// An append must follow what is there. A leader's begins at the very end; a follower of a compacted log may
    /// meet a gap, but not just after an append that failed: then a gap means that the failed batches are missing. One
    /// that begins where its leader's log does begins inside a batch, if records of it were deleted.
    fn check_order(&self, batches: &[Batch]) -> Result<(), LogError> {
        let mut next = if self.begins_inside(batches) { batches[0].header().base_offset } else { self.end };
        for (i, batch) in batches.iter().enumerate() {
            let base = batch.header().base_offset;
            let gap_allowed = i > 0 || self.failed_append.is_none_or(|failed| failed == base);
            if base < next || (base > next && !gap_allowed) {
                return Err(LogError::OutOfOrder);
            }
            next = batch.header().next_offset();
        }
        Ok(())
    }

    /// Is the log empty, and its start inside the first of these batches?
    pub(crate) fn begins_inside(&self, batches: &[Batch]) -> bool {
        let holds = |header: &BatchHeader| header.base_offset < self.end && self.end < header.next_offset();
        self.log_start == self.end && batches.first().is_some_and(|first| holds(first.header()))
    }

    fn append_all(&mut self, mut batches: &[Batch], wall: Timestamp) -> Result<(), LogError> {
        self.hold_owner()?;
        if self.begins_inside(batches) {
            self.make_room_before(batches[0].header().base_offset, wall)?;
        }
        if self.cut_pending {
            self.segments.last_mut().expect("a log has a segment").cut(&self.at)?;
            self.cut_pending = false;
        }
        while let Some(first) = batches.first() {
            let active = self.segments.last().expect("a log has a segment");
            let early = core::mem::take(&mut self.rolls_early) && active.size > 0;
            if early || active.must_roll(active.size, first, wall, &self.config) {
                // From the very end, so that a gap in what a follower copies lies inside a segment: between two of
                // them it would look like a file that has lost its end.
                let far = first.header().last_offset().distance_from(self.end) > i64::from(i32::MAX);
                let base = if far { first.header().base_offset } else { self.end };
                self.roll(base, wall)?;
            }
            let active = self.segments.last_mut().expect("a log has a segment");
            let mut size = active.size;
            let fits = |batch: &&Batch| {
                let fits = size == active.size || !active.must_roll(size, batch, wall, &self.config);
                size += batch.size() as u64;
                fits
            };
            let count = batches.iter().take_while(fits).count();
            let (now, later) = batches.split_at(count);
            active.write(&self.at, now)?;
            if mutant!(X61) && active.flush_indexes_strictly(&self.at).is_err() {
                // The planted bug: the bytes stay, the end does not move.
                active.size += now.iter().map(|batch| batch.size() as u64).sum::<u64>();
                return Ok(());
            }
            for batch in now {
                let header = batch.header();
                active.note(header, batch.size() as u64, &self.config);
                // An epoch below the newest means that the newest wrote nothing: another leader's records follow here.
                self.epochs_dirty |= self.epochs.latest() != Some(header.leader_epoch)
                    && self.epochs.assign(header.leader_epoch, header.base_offset.max(self.log_start));
                self.end = header.next_offset();
                self.since_snapshot += batch.size() as u64;
            }
            active.flush_indexes(&self.at, false)?;
            for batch in now {
                remember(&mut self.producers, batch.header());
            }
            batches = later;
        }
        Ok(())
    }

    /// The empty log is to hold a batch that begins before it: its one segment begins there.
    fn make_room_before(&mut self, base: Offset, wall: Timestamp) -> Result<(), LogError> {
        if self.segments[0].base <= base && self.segments.len() == 1 && self.active().size == 0 {
            return Ok(());
        }
        self.replace_segments(base, wall)?;
        self.drop_snapshots(|offset| offset > base)?;
        self.write_snapshot(base)
    }

    /// Puts an empty segment in the place of all there are. An error for want of space leaves them as they are.
    fn replace_segments(&mut self, base: Offset, wall: Timestamp) -> Result<(), LogError> {
        let segment = Segment::create(&self.at, base, wall)?;
        self.generation += 1;
        self.cut_pending = false;
        self.names_dirty = true;
        for old in core::mem::replace(&mut self.segments, alloc::vec![segment]).into_iter().rev() {
            if old.base != base {
                old.remove(&self.at)?;
            }
        }
        Ok(())
    }

    /// After a failed append: the file is cut back to where it was, now or before the next append.
    fn undo(&mut self, before: Offset) -> Result<(), LogError> {
        if self.end > before {
            // The job had rolled and filled a segment before it failed.
            self.undo_to = Some(before);
            return match self.finish_undo() {
                Err(LogError::DiskFull | LogError::TooManyFiles) => Ok(()),
                result => result,
            };
        }
        if self.active().base > before {
            // It had rolled, over a gap, and written nothing.
            let segment = self.segments.pop().expect("a log has a segment");
            segment.remove(&self.at)?;
        }
        match self.segments.last_mut().expect("a log has a segment").cut(&self.at) {
            Err(error @ DiskError::Io { .. }) => Err(error.into()),
            result => {
                self.cut_pending = result.is_err();
                Ok(())
            }
        }
    }

    /// Undoes what an append that failed has left.
    pub(crate) fn finish_undo(&mut self) -> Result<(), LogError> {
        self.undo_to.map_or(Ok(()), |to| self.truncate(to))
    }

    /// Begins a new segment.
    pub(crate) fn roll(&mut self, base: Offset, wall: Timestamp) -> Result<(), LogError> {
        self.segments.last_mut().expect("a log has a segment").seal(&self.at)?;
        let segment = match Segment::create(&self.at, base, wall) {
            Ok(segment) => segment,
            Err(error) => {
                // A stray empty segment would stand in the way of the batches that come here later.
                self.at.remove(&self.at.segment(base, names::LOG))?;
                return Err(error.into());
            }
        };
        self.names_dirty = true;
        self.segments.push(segment);
        self.write_snapshot(base)
    }

    /// Writes a snapshot of the producers as of `offset`. One that finds no space is left out: recovery then reads
    /// on from the one before.
    pub(crate) fn write_snapshot(&mut self, offset: Offset) -> Result<(), LogError> {
        let path = self.at.segment(offset, names::SNAPSHOT);
        let write = || {
            let file = self.at.fresh(&path)?;
            self.at.disk.write_at(&file, 0, &[&snapshot::encode(&self.producers)])
        };
        match write() {
            Ok(()) => {
                if self.snapshots.last() != Some(&offset) {
                    self.snapshots.push(offset);
                }
                self.unsynced_snapshots.push(offset);
                self.names_dirty = true;
                self.since_snapshot = 0;
                Ok(())
            }
            Err(error) if error.is_passing() => Ok(self.at.remove(&path)?),
            Err(error) => Err(error.into()),
        }
    }

    /// The next sync will make durable whose folder it is, if that is not certain: data of nobody's is not used.
    pub(crate) fn hold_owner(&mut self) -> Result<(), DiskError> {
        if self.owner_dirty && self.owner.is_none() {
            self.owner = Some(self.at.disk.open(&self.at.inside(names::PARTITION_METADATA), OpenMode::Existing)?);
        }
        Ok(())
    }

    /// What must be synced so that everything appended so far is durable.
    pub(crate) fn begin_sync(&mut self) -> Unsynced<D> {
        let mut unsynced = Unsynced { files: Vec::new(), dirs: Vec::new(), end: self.end, generation: self.generation };
        if let Some(owner) = self.owner.take() {
            self.owner_dirty = false;
            unsynced.files.push(owner);
        }
        // Segments are written in order, so those before the first clean one from the end are clean.
        for segment in self.segments.iter_mut().rev() {
            match segment.take_dirty() {
                Some(file) => unsynced.files.push(file),
                None if segment.size > 0 => break,
                None => {}
            }
        }
        unsynced.dirs = self.take_dirty_dirs();
        unsynced
    }

    /// The folders to be synced; from here on they count as synced.
    fn take_dirty_dirs(&mut self) -> Vec<String> {
        let names = core::mem::take(&mut self.names_dirty).then(|| self.at.dir.clone());
        let root = core::mem::take(&mut self.root_dirty).then(String::new);
        if mutant!(X83) { Vec::new() } else { names.into_iter().chain(root).collect() }
    }

    /// A sync has succeeded; returns the durable end.
    pub(crate) fn synced(&mut self, end: Offset, generation: u64) -> Offset {
        if generation == self.generation {
            self.durable_end = self.durable_end.max(end);
        }
        self.check();
        self.durable_end
    }

    /// Syncs everything written so far.
    pub(crate) fn sync_all(&mut self) -> Result<(), LogError> {
        self.hold_owner()?;
        let unsynced = self.begin_sync();
        self.at.disk.sync_all(&unsynced.files, &unsynced.dirs).map_err(LogError::Offline)?;
        self.synced(unsynced.end, unsynced.generation);
        Ok(())
    }

    /// Before the checkpoint says that the log starts where it does: the producers of the records that go are then known
    /// by the snapshot at the base of the first segment that stays, and by nothing else.
    pub(crate) fn secure_start(&mut self) -> Result<(), LogError> {
        if self.unsynced_snapshots.is_empty() {
            return Ok(());
        }
        let base = self.segments[self.segment_of(self.log_start)].base;
        if !self.unsynced_snapshots.contains(&base) {
            return Ok(());
        }
        self.sync_snapshot(base)?;
        self.unsynced_snapshots.retain(|&offset| offset != base);
        self.at.disk.sync_dir(&self.at.dir).map_err(LogError::Offline)
    }

    fn sync_snapshot(&self, offset: Offset) -> Result<(), LogError> {
        match self.at.disk.open(&self.at.segment(offset, names::SNAPSHOT), super::OpenMode::Existing) {
            Ok(file) => self.at.disk.sync(&file).map_err(LogError::Offline),
            Err(DiskError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Is there anything that a checkpoint could vouch for?
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.recovery_point < self.durable_end && self.undo_to.is_none()
    }

    /// Writes and syncs all that is derived from the durable part of the log, then moves the recovery point up to
    /// its end. The caller writes the checkpoint file.
    pub(crate) fn vouch(&mut self) -> Result<(), LogError> {
        let mut settlement = Settlement::new();
        let prepared = self.prepare_to_vouch(&mut settlement);
        settlement.settle(&self.at.disk)?;
        prepared?;
        self.vouched();
        Ok(())
    }

    /// Writes all that is derived from the durable part of the log. Once it is settled, the log can be
    /// [vouched](Log::vouched) for. What an error leaves behind must be settled all the same.
    pub(crate) fn prepare_to_vouch(&mut self, settlement: &mut Settlement<D>) -> Result<(), LogError> {
        if mutant!(X85) {
            self.durable_end = self.end;
            return Ok(());
        }
        // The segment that ends at the point may have been sealed since: its indexes have grown.
        let from = self.segment_of(Offset((self.recovery_point.0 - 1).max(0)));
        for segment in &mut self.segments[from..] {
            segment.flush_indexes(&self.at, true)?;
            self.names_dirty |= segment.settle_indexes(settlement);
            if !segment.indexes_are_written() {
                // Of what is vouched for no index is made again, and this one has not found room.
                return Err(LogError::DiskFull);
            }
        }
        if self.since_snapshot >= SNAPSHOT_INTERVAL_BYTES {
            self.write_snapshot(self.end)?;
            self.drop_stray_snapshots()?;
        }
        self.take_dirty_dirs().into_iter().for_each(|dir| settlement.dir(dir));
        for &offset in &self.unsynced_snapshots {
            match self.at.disk.open(&self.at.segment(offset, names::SNAPSHOT), OpenMode::Existing) {
                Ok(file) => settlement.file(file),
                Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.epochs_dirty {
            settlement.replace(&self.at.disk, &self.at.dir, names::EPOCHS, self.epochs.to_text().as_bytes())?;
        }
        Ok(())
    }

    /// What [`Log::prepare_to_vouch`] wrote is settled.
    pub(crate) fn vouched(&mut self) {
        self.unsynced_snapshots.clear();
        self.epochs_dirty = false;
        self.recovery_point = self.durable_end;
        self.check();
    }

    /// Of the snapshots that are not at a segment's base only the newest two are of use.
    fn drop_stray_snapshots(&mut self) -> Result<(), LogError> {
        let bases: Vec<Offset> = self.segments.iter().map(|segment| segment.base).collect();
        let stray: Vec<Offset> =
            self.snapshots.iter().copied().filter(|offset| bases.binary_search(offset).is_err()).collect();
        for offset in &stray[..stray.len().saturating_sub(2)] {
            self.at.remove(&self.at.segment(*offset, names::SNAPSHOT))?;
            self.snapshots.retain(|other| other != offset);
        }
        Ok(())
    }

    /// Cuts the end off, durably. The recovery point in the checkpoint file is not above `to` any more.
    pub(crate) fn truncate(&mut self, to: Offset) -> Result<(), LogError> {
        // One that was begun is gone through with, though the end may be where it belongs by now.
        let to = self.undo_to.map_or(to, |begun| begun.min(to));
        if to >= self.end && self.undo_to.is_none() {
            // Nothing is there to be cut but what was noted of epochs that wrote nothing.
            self.epochs_dirty |= self.epochs.truncate_end(to);
            return Ok(());
        }
        if to < self.log_start || to < self.segments[0].base {
            return self.start_over(to);
        }
        self.generation += 1;
        self.cut_pending = false;
        self.undo_to = Some(to);
        let mut removed = false;
        while self.segments.len() > 1 && self.active().base > to {
            let segment = self.segments.pop().expect("there are two");
            segment.remove(&self.at)?;
            removed = true;
        }
        let log = self.at.segment(self.segments.last().expect("a log has a segment").base, names::LOG);
        let active = self.segments.last_mut().expect("a log has a segment");
        let size = active.size;
        // The index may hold an entry for the batch that is to go: begin before it.
        let start = active.checked_start(&self.at, Offset(to.0 - 1))?;
        if !mutant!(Y04) {
            active.rewind(&self.at, start)?;
        }
        let file = active.file(&self.at)?;
        let mut walk = Walk::headers(&self.at.disk, &file, start.position, size);
        let mut end = start.offset;
        let mut cut_at = start.position;
        while let Some((position, header)) = walk.next_header().map_err(|e| e.in_file(|| log.clone()))? {
            if header.next_offset() > to {
                break;
            }
            (end, cut_at) = (header.next_offset(), walk.position());
            if !mutant!(Y04) {
                active.note(&header, walk.position() - position, &self.config);
            }
        }
        if end < self.log_start {
            // The batch inside which the log begins goes, and with it all that there is.
            return self.start_over(self.log_start);
        }
        active.size = cut_at;
        active.cut(&self.at)?;
        self.end = end;
        self.durable_end = self.durable_end.min(end);
        self.recovery_point = self.recovery_point.min(end);
        if self.epochs.truncate_end(end) {
            self.epochs_dirty = true;
        }
        self.drop_snapshots(|offset| offset > end)?;
        if !mutant!(Y03) {
            self.producers = recovery::producers_at(self, end)?;
        }
        if removed && !mutant!(X83) {
            self.at.disk.sync_dir(&self.at.dir).map_err(LogError::Offline)?;
        }
        self.names_dirty = true;
        self.sync_all()?;
        self.durable_end = self.end;
        self.undo_to = None;
        self.check();
        Ok(())
    }

    /// Drops everything; the log goes on at `at`.
    pub(crate) fn start_over(&mut self, to: Offset) -> Result<(), LogError> {
        self.replace_segments(to, Timestamp::NONE)?;
        self.drop_snapshots(|_| true)?;
        self.epochs = EpochCache::default();
        self.producers = ProducerTable::new();
        self.epochs_dirty = true;
        (self.log_start, self.end, self.durable_end, self.recovery_point) = (to, to, to, to);
        self.undo_to = None;
        self.sync_all()?;
        self.check();
        Ok(())
    }

    /// Removes the snapshots of these offsets.
    pub(crate) fn drop_snapshots(&mut self, mut which: impl FnMut(Offset) -> bool) -> Result<(), LogError> {
        for offset in self.snapshots.clone() {
            if which(offset) {
                self.at.remove(&self.at.segment(offset, names::SNAPSHOT))?;
                self.snapshots.retain(|&other| other != offset);
                self.unsynced_snapshots.retain(|&other| other != offset);
            }
        }
        Ok(())
    }

    /// Raises the log start. Whole segments below it go with the next retention.
    pub(crate) fn raise_log_start(&mut self, to: Offset) -> Result<(), LogError> {
        if to > self.end {
            return self.start_over(to);
        }
        if to > self.log_start {
            self.log_start = to;
            if self.epochs.truncate_start(to) {
                self.epochs_dirty = true;
            }
        }
        Ok(())
    }

    /// Renames the files of the oldest `count` segments; they are removed once their delay is over.
    pub(crate) fn drop_oldest(&mut self, count: usize, wall: Timestamp) -> Result<(), LogError> {
        let delay = i64::try_from(self.config.file_delete_delay.as_millis()).unwrap_or(i64::MAX);
        for segment in self.segments.drain(..count) {
            for extension in [names::LOG, names::INDEX, names::TIME_INDEX, names::TXN_INDEX, names::SNAPSHOT] {
                let path = self.at.segment(segment.base, extension);
                let doomed = alloc::format!("{path}{}", names::DELETED);
                match self.at.rename(&path, &doomed) {
                    Ok(true) => self.doomed.push((wall.plus_millis(delay), doomed)),
                    Ok(false) => {}
                    // The log has begun behind it already, and space is wanted.
                    Err(error) if error.is_passing() => self.at.remove(&path)?,
                    Err(error) => return Err(error.into()),
                }
            }
            self.snapshots.retain(|&offset| offset != segment.base);
        }
        let first = self.segments[0].base;
        self.drop_snapshots(|offset| offset < first)?;
        self.check();
        Ok(())
    }

    /// Removes the files whose delay is over.
    pub(crate) fn remove_doomed(&mut self, wall: Timestamp) -> Result<(), LogError> {
        let due = self.doomed.iter().take_while(|(due, _)| *due <= wall).count();
        let mut removed = Ok(());
        let count = self.doomed[..due]
            .iter()
            .take_while(|(_, path)| {
                removed = self.at.remove(path);
                removed.is_ok()
            })
            .count();
        self.doomed.drain(..count);
        Ok(removed?)
    }

    /// Writes everything, derived files included, with a snapshot at the end. Once it is settled, the whole log is
    /// durable. A log that is as it was found costs nothing.
    pub(crate) fn prepare_to_close(&mut self, settlement: &mut Settlement<D>) -> Result<(), LogError> {
        self.finish_undo()?;
        if self.cut_pending {
            self.segments.last_mut().expect("a log has a segment").cut(&self.at)?;
            self.cut_pending = false;
        }
        // Of a log that never held a record no more than that is to be kept.
        let empty = self.end == Offset::ZERO && self.snapshots.is_empty();
        if empty || self.is_settled() {
            return Ok(());
        }
        self.segments.last_mut().expect("a log has a segment").seal(&self.at)?;
        if self.snapshots.last() != Some(&self.end) {
            self.write_snapshot(self.end)?;
        }
        // Perhaps the indexes were made only now.
        self.names_dirty = true;
        self.hold_owner()?;
        let unsynced = self.begin_sync();
        unsynced.files.into_iter().for_each(|file| settlement.file(file));
        unsynced.dirs.into_iter().for_each(|dir| settlement.dir(dir));
        self.prepare_to_vouch(settlement)
    }

    /// Is everything on the disk, with a snapshot at the end?
    fn is_settled(&self) -> bool {
        let is_written = |segment: &Segment<D>| !segment.is_dirty();
        self.recovery_point == self.end
            && self.snapshots.last() == Some(&self.end)
            && !(self.names_dirty || self.root_dirty || self.owner_dirty || self.epochs_dirty)
            && self.unsynced_snapshots.is_empty()
            && self.segments.last().is_some_and(is_written)
    }
}

/// Takes note of a batch that is in the log.
pub(crate) fn remember(producers: &mut ProducerTable, header: &BatchHeader) {
    producers.record(header);
}
