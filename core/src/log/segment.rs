//! A stretch of a log: one `.log` file of whole batches, and its indexes.
//!
//! ```text
//! base 0, 1 GiB          base 48123, 1 GiB        base 97551            <- the active one: appends go here
//! [batch][batch]..       [batch][batch]..         [batch][batch] | end
//! ```
//!
//! Files are opened when first used, so that a closed segment costs a hundred bytes of memory and no descriptor.

use alloc::vec::Vec;

use super::{
    Disk, DiskError, LogConfig, LogError, OpenMode,
    names::{INDEX, LOG, TIME_INDEX, TXN_INDEX},
    offset_index::OffsetEntry,
    place::Place,
    settle::Settlement,
    sparse_index::SparseIndex,
    time_index::TimeEntry,
    walk::{Walk, WalkError},
};
use crate::{
    offset::Offset,
    record::{Batch, BatchHeader},
    time::Timestamp,
};

/// The largest position that an index entry and Kafka's tools can name.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// A batch from which a segment can be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Where it begins.
    pub(crate) position: u64,
    /// Entries of the offset index up to and including its own.
    pub(crate) entries: usize,
    /// Its base offset, or the segment's.
    pub(crate) offset: Offset,
}

/// One segment.
pub(crate) struct Segment<D: Disk> {
    pub(crate) base: Offset,
    /// Bytes of whole batches; the file may hold more while a cut is pending.
    pub(crate) size: u64,
    pub(crate) offsets: SparseIndex<D, OffsetEntry>,
    pub(crate) times: SparseIndex<D, TimeEntry>,
    /// Wall time at which this process first wrote to it or found it.
    created: Timestamp,
    /// Max timestamp of the first batch; rolls by age count from it.
    first_timestamp: Option<Timestamp>,
    /// Greatest timestamp so far and the last offset of the first batch that has it.
    largest: Option<(Timestamp, Offset)>,
    /// Is `largest` known, or still to be read from the time index?
    largest_known: bool,
    /// Bytes since the newest entry of the offset index.
    since_index: u64,
    file: Option<D::File>,
    /// Written since the last sync was begun?
    dirty: bool,
}

impl<D: Disk> Segment<D> {
    /// A new, empty segment.
    pub(crate) fn create(at: &Place<D>, base: Offset, wall: Timestamp) -> Result<Self, DiskError> {
        for extension in [INDEX, TIME_INDEX, TXN_INDEX] {
            at.remove(&at.segment(base, extension))?;
        }
        let file = at.fresh(&at.segment(base, LOG))?;
        Ok(Self { file: Some(file), dirty: true, largest_known: true, ..Self::closed(base, 0, wall) })
    }

    /// A segment that is there already, none of its files open.
    pub(crate) fn found(at: &Place<D>, base: Offset, wall: Timestamp) -> Result<Self, DiskError> {
        let file = at.disk.open(&at.segment(base, LOG), OpenMode::Existing)?;
        let size = at.disk.len(&file)?;
        Ok(Self { file: Some(file), ..Self::closed(base, size, wall) })
    }

    fn closed(base: Offset, size: u64, created: Timestamp) -> Self {
        Self {
            base,
            size,
            offsets: SparseIndex::unopened(),
            times: SparseIndex::unopened(),
            created,
            first_timestamp: None,
            largest: None,
            largest_known: false,
            since_index: 0,
            file: None,
            dirty: false,
        }
    }

    /// The `.log` file.
    pub(crate) fn file(&mut self, at: &Place<D>) -> Result<D::File, DiskError> {
        if self.file.is_none() {
            self.file = Some(at.disk.open(&at.segment(self.base, LOG), OpenMode::Existing)?);
        }
        Ok(self.file.clone().expect("it was just opened"))
    }

    /// Opens the indexes.
    pub(crate) fn open_indexes(&mut self, at: &Place<D>) -> Result<(), DiskError> {
        self.offsets.open(at, self.base)?;
        self.times.open(at, self.base)
    }

    /// Must a new segment be begun before this batch, when `size` bytes are or will be in this one (semantics §14)?
    pub(crate) fn must_roll(&self, size: u64, batch: &Batch, wall: Timestamp, config: &LogConfig) -> bool {
        let header = batch.header();
        let relative = header.last_offset().distance_from(self.base);
        if relative > i64::from(i32::MAX) {
            return true;
        }
        if size == 0 {
            return false;
        }
        if size + batch.size() as u64 > config.segment_bytes.min(SEGMENT_BYTES_MAX) {
            return true;
        }
        let age = match self.first_timestamp {
            Some(first) if header.max_timestamp > Timestamp::NONE => header.max_timestamp.millis_since(first),
            _ => wall.millis_since(self.created),
        };
        if age > i64::try_from(config.segment_age.as_millis()).unwrap_or(i64::MAX) {
            return true;
        }
        let full = |entries: usize, bytes: u64| (entries as u64 + 1) * bytes > config.index_bytes_max;
        full(self.offsets.len(), 8) || full(self.times.len(), 12)
    }

    /// Writes batches at the end, in one call to the disk. The segment is as before until they are noted, one by one.
    pub(crate) fn write(&mut self, at: &Place<D>, batches: &[Batch]) -> Result<(), DiskError> {
        let file = self.file(at)?;
        self.dirty = true;
        if let [batch] = batches {
            return at.disk.write_at(&file, self.size, &[&batch.header_bytes(), batch.body()]);
        }
        let headers: Vec<_> = batches.iter().map(Batch::header_bytes).collect();
        let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * batches.len());
        for (header, batch) in headers.iter().zip(batches) {
            parts.push(header);
            parts.push(batch.body());
        }
        at.disk.write_at(&file, self.size, &parts)
    }

    /// Takes note of a batch that is in the file at the end of what was noted: size, timestamps, index entries.
    pub(crate) fn note(&mut self, header: &BatchHeader, size: u64, config: &LogConfig) {
        let relative = header.last_offset().distance_from(self.base);
        let relative = u32::try_from(relative).expect("a roll keeps offsets within 31 bits of the base");
        if self.first_timestamp.is_none() {
            self.first_timestamp = Some(header.max_timestamp);
        }
        self.observe(header);
        if self.since_index > config.index_interval_bytes {
            let position = u32::try_from(self.size).expect("a roll keeps positions within 31 bits");
            self.offsets.push(OffsetEntry { relative, position });
            self.index_largest();
            self.since_index = 0;
        }
        self.since_index += size;
        self.size += size;
    }

    /// Takes note of a batch's timestamp.
    fn observe(&mut self, header: &BatchHeader) {
        if header.max_timestamp > self.largest.map_or(Timestamp::NONE, |(timestamp, _)| timestamp) {
            self.largest = Some((header.max_timestamp, header.last_offset()));
        }
    }

    fn index_largest(&mut self) {
        let Some((timestamp, offset)) = self.largest else { return };
        if self.times.last().is_none_or(|last| last.timestamp < timestamp) {
            let relative = u32::try_from(offset.distance_from(self.base)).expect("it was noted in this segment");
            self.times.push(TimeEntry { timestamp, relative });
        }
    }

    /// Writes index entries that wait in memory, if there are many or `all` is asked for. A full disk only costs
    /// some of them: the index stays sparse and right.
    pub(crate) fn flush_indexes(&mut self, at: &Place<D>, all: bool) -> Result<(), DiskError> {
        if all || self.offsets.wants_flush() {
            match self.offsets.flush(at, self.base) {
                Err(error) if error.is_passing() => self.offsets.thin(),
                other => other?,
            }
        }
        if all || self.times.wants_flush() {
            match self.times.flush(at, self.base) {
                Err(error) if error.is_passing() => self.times.thin(),
                other => other?,
            }
        }
        Ok(())
    }

    /// Writes all index entries that wait in memory; the planted bug X61 lets an append fail by this.
    pub(crate) fn flush_indexes_strictly(&mut self, at: &Place<D>) -> Result<(), DiskError> {
        self.offsets.flush(at, self.base)?;
        self.times.flush(at, self.base)
    }

    /// The segment will not be written to any more: its greatest timestamp goes into the time index.
    pub(crate) fn seal(&mut self, at: &Place<D>) -> Result<(), DiskError> {
        self.open_indexes(at)?;
        if !crate::mutant!(Y01) {
            self.index_largest();
        }
        self.flush_indexes(at, true)
    }

    /// Wall time at which this process first saw it.
    pub(crate) fn created(&self) -> Timestamp {
        self.created
    }

    /// Max timestamp of its first batch, as far as it was read.
    pub(crate) fn first_timestamp(&self) -> Option<Timestamp> {
        self.first_timestamp
    }

    /// The `.log` file, if it was written to since this was last asked.
    pub(crate) fn take_dirty(&mut self) -> Option<D::File> {
        core::mem::take(&mut self.dirty).then(|| self.file.clone()).flatten()
    }

    /// Gives the promise back that [`Segment::take_dirty`] took.
    pub(crate) fn set_dirty(&mut self) {
        self.dirty = true;
    }

    /// Is there anything in it that was not synced?
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty || self.offsets.is_dirty() || self.times.is_dirty()
    }

    /// Are all index entries in their files?
    pub(crate) fn indexes_are_written(&self) -> bool {
        self.offsets.is_written() && self.times.is_written()
    }

    /// Has the indexes synced with all else. True if a file was made since, so that the folder is to be synced as well.
    pub(crate) fn settle_indexes(&mut self, settlement: &mut Settlement<D>) -> bool {
        for file in [self.offsets.take_dirty(), self.times.take_dirty()].into_iter().flatten() {
            settlement.file(file);
        }
        self.offsets.take_new() | self.times.take_new()
    }

    /// A place from which reading on will meet the batch that holds `offset`: the start of some batch, unless
    /// the index lies. The indexes are opened for it.
    pub(crate) fn position_before(&mut self, at: &Place<D>, offset: Offset) -> Result<u64, DiskError> {
        self.open_indexes(at)?;
        let base = self.base;
        let (_, entry) = self.offsets.last_where(at, |entry| entry.offset(base) <= offset)?;
        Ok(entry.map(|entry| u64::from(entry.position)).filter(|&position| position < self.size).unwrap_or(0))
    }

    /// As [`Segment::position_before`], but checked against the log: the index entry must name the batch that is
    /// there.
    pub(crate) fn checked_start(&mut self, at: &Place<D>, offset: Offset) -> Result<Start, DiskError> {
        self.open_indexes(at)?;
        let base = self.base;
        let mut limit = offset;
        loop {
            let (entries, entry) = self.offsets.last_where(at, |entry| entry.offset(base) <= limit)?;
            let Some(entry) = entry else { return Ok(Start { position: 0, entries: 0, offset: base }) };
            let position = u64::from(entry.position);
            let file = self.file(at)?;
            match Walk::headers(&at.disk, &file, position, self.size).next_header() {
                Ok(Some((_, header))) if header.last_offset() == entry.offset(base) && header.base_offset >= base => {
                    return Ok(Start { position, entries, offset: header.base_offset });
                }
                Err(WalkError::Disk(error)) => return Err(error),
                _ if entry.offset(base) > base => limit = Offset(entry.offset(base).0 - 1),
                _ => return Ok(Start { position: 0, entries: 0, offset: base }),
            }
        }
    }

    /// Goes back to `start`: forgets the index entries past it and whatever came from batches there, so that those
    /// can be noted again.
    pub(crate) fn rewind(&mut self, at: &Place<D>, start: Start) -> Result<(), DiskError> {
        self.open_indexes(at)?;
        self.offsets.truncate(at, self.base, start.entries)?;
        let base = self.base;
        let (times, _) = self.times.last_where(at, |entry| entry.offset(base) < start.offset)?;
        self.times.truncate(at, base, times)?;
        self.go_on_from(at, start)
    }

    /// As [`Segment::rewind`], but with the indexes left whole where `start` is the newest batch that they name: what
    /// follows was noted before they were last written.
    pub(crate) fn resume(&mut self, at: &Place<D>, start: Start) -> Result<(), DiskError> {
        self.open_indexes(at)?;
        if start.entries < self.offsets.len() { self.rewind(at, start) } else { self.go_on_from(at, start) }
    }

    /// The segment was found empty: whatever its indexes hold is of bytes that are gone.
    pub(crate) fn forget_indexes(&mut self, at: &Place<D>) -> Result<(), DiskError> {
        for extension in [INDEX, TIME_INDEX, TXN_INDEX] {
            at.remove(&at.segment(self.base, extension))?;
        }
        self.largest_known = true;
        Ok(())
    }

    fn go_on_from(&mut self, at: &Place<D>, start: Start) -> Result<(), DiskError> {
        let base = self.base;
        self.largest = self.times.last().map(|entry| (entry.timestamp, entry.offset(base)));
        self.largest_known = true;
        self.first_timestamp = None;
        if start.position > 0 {
            let file = self.file(at)?;
            if let Ok(Some((_, header))) = Walk::headers(&at.disk, &file, 0, start.position).next_header() {
                self.first_timestamp = Some(header.max_timestamp);
            }
        }
        self.since_index = 0;
        self.size = start.position;
        Ok(())
    }

    /// Greatest timestamp and the last offset of the first batch that has it.
    pub(crate) fn largest(&mut self, at: &Place<D>) -> Result<Option<(Timestamp, Offset)>, LogError> {
        if !self.largest_known {
            self.open_indexes(at)?;
            self.largest = self.times.last().map(|entry| (entry.timestamp, entry.offset(self.base)));
            if self.largest.is_none() && self.size > 0 {
                let file = self.file(at)?;
                let mut walk = Walk::headers(&at.disk, &file, 0, self.size);
                while let Some((_, header)) =
                    walk.next_header().map_err(|e| e.in_file(|| at.segment(self.base, LOG)))?
                {
                    self.observe(&header);
                }
            }
            self.largest_known = true;
        }
        Ok(self.largest)
    }

    /// Cuts the file to the noted size.
    pub(crate) fn cut(&mut self, at: &Place<D>) -> Result<(), DiskError> {
        let file = self.file(at)?;
        self.dirty = true;
        at.disk.set_len(&file, self.size)
    }

    /// Removes the segment's files.
    pub(crate) fn remove(self, at: &Place<D>) -> Result<(), DiskError> {
        for extension in [LOG, INDEX, TIME_INDEX, TXN_INDEX] {
            at.remove(&at.segment(self.base, extension))?;
        }
        Ok(())
    }
}
