//! Reading a log: batches from an offset on, and offsets by time.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use super::{
    Disk, LogError, names,
    store::Log,
    walk::{Walk, WalkError},
};
use crate::{
    epoch::LeaderEpoch,
    mutant,
    offset::Offset,
    record::{Batch, BatchError, HEADER_BYTES, peek},
    time::Timestamp,
};

/// What is read at a time to find the first batch wanted: twice as much as index entries are apart by default. Where
/// batches are larger, only their headers are read on the way.
const SLACK_BYTES: usize = 8 << 10;

/// A record that a search found.
pub(crate) type Found = (Offset, Timestamp, LeaderEpoch);

impl<D: Disk> Log<D> {
    /// Whole batches in one piece of memory, each checked against its CRC: from the one that holds `from`, none at
    /// or past `bound`, as many as fit `max_bytes`, or one more than fits none.
    pub(crate) fn read(
        &mut self,
        from: Offset,
        bound: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, LogError> {
        if from < self.log_start || from > self.end {
            return Err(LogError::OutOfRange { offset: from });
        }
        let bound = bound.min(self.end);
        for index in self.segment_of(from)..self.segments.len() {
            if from >= bound || self.segments[index].base >= bound {
                break;
            }
            let position = self.segments[index].position_before(&self.at, from)?;
            let rolled = index + 1 < self.segments.len();
            let bound = if mutant!(X11) && rolled { self.end } else { bound };
            let read = match self.read_segment(index, position, from, bound, max_bytes, at_least_one) {
                // Perhaps it is the index that lies.
                Err(LogError::Corrupt { .. }) if position > 0 => {
                    self.read_segment(index, 0, from, bound, max_bytes, at_least_one)?
                }
                other => other?,
            };
            if let Some(bytes) = read {
                return Ok(bytes);
            }
            // A file that has lost its end must not look like a gap that readers may pass over.
            if let Some(next) = self.segments.get(index + 1).filter(|next| !self.sparse && from < next.base) {
                let reason = alloc::format!("the file ends before offset {from}, the next begins at {}", next.base);
                let segment = &self.segments[index];
                return Err(corrupt_at(&self.at.segment(segment.base, names::LOG), segment.size, &reason));
            }
        }
        Ok(Bytes::new())
    }

    /// As [`Log::read`], within one segment from `position` on; `None` when no batch of it reaches `from`.
    fn read_segment(
        &mut self,
        index: usize,
        position: u64,
        from: Offset,
        bound: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Option<Bytes>, LogError> {
        let limit = self.segments.get(index + 1).map_or(self.end, |next| next.base);
        let segment = &mut self.segments[index];
        let file = segment.file(&self.at)?;
        let path = self.at.segment(segment.base, names::LOG);
        let begin = position;
        let mut position = position;
        // To the first batch wanted, by headers; all that is wanted comes with the read after that.
        let mut window = Bytes::new();
        let (first, first_size) = loop {
            if window.len() < HEADER_BYTES {
                if position >= segment.size {
                    return Ok(None);
                }
                let left = usize::try_from(segment.size - position).unwrap_or(usize::MAX);
                window = self.at.disk.read_at(&file, position, left.min(SLACK_BYTES))?;
            }
            let (header, size) = peek(&window).map_err(|e| corrupt(&path, position, &e))?;
            if position == begin && begin > 0 && header.last_offset() > from {
                return Err(corrupt_at(&path, position, "the index names a later batch"));
            }
            if header.last_offset() >= from {
                break (header, size);
            }
            window.advance(size.min(window.len()));
            position += size as u64;
        };
        // The CRC does not cover a batch's base offset: a hurt one must not look like the end of what can be read.
        if first.next_offset() > limit {
            return Err(corrupt_at(&path, position, "its offsets are not of this segment"));
        }
        if first.next_offset() > bound {
            return Ok(Some(Bytes::new()));
        }
        if first_size > max_bytes && !at_least_one {
            return Ok(Some(Bytes::new()));
        }
        let want = max_bytes.max(first_size);
        let left = usize::try_from(segment.size - position).unwrap_or(usize::MAX);
        if window.len() < want.min(left) {
            window = self.at.disk.read_at(&file, position, want.min(left))?;
        }
        let mut rest = window.clone();
        let mut taken = 0;
        while taken < want {
            let at = position + taken as u64;
            match peek(&rest) {
                Ok((header, size)) if taken + size > want || header.next_offset() > bound => break,
                Ok((header, _)) if taken > 0 && header.base_offset < first.base_offset => {
                    return Err(corrupt_at(&path, at, "offsets go back"));
                }
                // Nor does it cover the leader epoch, by which replicas find out where they part.
                Ok((header, _))
                    if self.epochs.epoch_at(header.last_offset()).is_some_and(|e| e != header.leader_epoch) =>
                {
                    return Err(corrupt_at(&path, at, "its epoch is not the one noted for its offsets"));
                }
                Ok(_) => {}
                Err(BatchError::Truncated { .. }) if taken > 0 => break,
                Err(error) => return Err(corrupt(&path, at, &error)),
            }
            match Batch::parse(&mut rest) {
                Ok(batch) => taken += batch.size(),
                Err(BatchError::Truncated { .. }) if taken > 0 && at + (rest.len() as u64) < segment.size => break,
                // What was read so far is good; the next read meets the damage first.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(corrupt(&path, at, &error)),
            }
        }
        window.truncate(taken);
        Ok(Some(window))
    }

    /// Batch by batch, for the core itself.
    pub(crate) fn read_batches(
        &mut self,
        from: Offset,
        bound: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, LogError> {
        let mut bytes = self.read(from, bound, max_bytes, true)?;
        let mut batches = Vec::new();
        while !bytes.is_empty() {
            let (_, size) = peek(&bytes).expect("it was just checked");
            batches.push(bytes.split_to(size));
        }
        Ok(batches)
    }

    /// The first record in `[from, bound)` with a timestamp of at least `at`.
    pub(crate) fn find_timestamp(
        &mut self,
        at: Timestamp,
        from: Offset,
        bound: Offset,
    ) -> Result<Option<Found>, LogError> {
        let from = from.max(self.log_start);
        for index in self.segment_of(from)..self.segments.len() {
            if self.segments[index].base >= bound {
                break;
            }
            let segment = &mut self.segments[index];
            if segment.largest(&self.at)?.is_none_or(|(newest, _)| newest < at) {
                continue;
            }
            segment.open_indexes(&self.at)?;
            let base = segment.base;
            // Up to that entry's offset everything is earlier.
            let (_, entry) = segment.times.last_where(&self.at, |entry| entry.timestamp < at)?;
            let begin = entry.map_or(from, |entry| entry.offset(base).max(from));
            let start = segment.checked_start(&self.at, begin)?;
            let file = segment.file(&self.at)?;
            let path = self.at.segment(base, names::LOG);
            let mut walk = Walk::headers(&self.at.disk, &file, start.position, segment.size);
            while let Some((position, header)) = walk.next_header().map_err(|e| e.in_file(|| path.clone()))? {
                if header.base_offset >= bound {
                    break;
                }
                if header.max_timestamp < at || header.last_offset() < from {
                    continue;
                }
                let batch =
                    batch_at(&self.at.disk, &file, position, segment.size).map_err(|e| e.in_file(|| path.clone()))?;
                let records = batch.records().map_err(|e| corrupt(&path, position, &e))?;
                for record in records {
                    let record = record.map_err(|e| corrupt(&path, position, &e))?;
                    if record.timestamp >= at && record.offset >= from {
                        let found = (record.offset, record.timestamp, header.leader_epoch);
                        return Ok(Some(found).filter(|_| record.offset < bound));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The record below `bound` with the greatest timestamp, the earliest of them on a tie.
    pub(crate) fn find_max_timestamp(&mut self, bound: Offset) -> Result<Option<Found>, LogError> {
        let mut best: Option<(Timestamp, Offset, usize)> = None;
        for index in self.segment_of(self.log_start)..self.segments.len() {
            if self.segments[index].base >= bound {
                break;
            }
            let mut candidate = self.segments[index].largest(&self.at)?;
            let outside = |offset: Offset| offset >= bound || offset < self.log_start;
            if candidate.is_some_and(|(_, offset)| outside(offset)) {
                // The greatest is not in range: look at every batch that is.
                candidate = None;
                let path = self.at.segment(self.segments[index].base, names::LOG);
                let file = self.segments[index].file(&self.at)?;
                let mut walk = Walk::headers(&self.at.disk, &file, 0, self.segments[index].size);
                while let Some((_, header)) = walk.next_header().map_err(|e| e.in_file(|| path.clone()))? {
                    let newest = candidate.map_or(Timestamp::NONE, |(timestamp, _)| timestamp);
                    if !outside(header.last_offset()) && header.max_timestamp > newest {
                        candidate = Some((header.max_timestamp, header.last_offset()));
                    }
                }
            }
            if let Some((timestamp, offset)) = candidate
                && best.is_none_or(|(newest, ..)| timestamp > newest)
            {
                best = Some((timestamp, offset, index));
            }
        }
        let Some((timestamp, offset, _)) = best else { return Ok(None) };
        let bytes = self.read(offset, bound, 0, true)?;
        let Some(Ok(batch)) = crate::record::Batches(bytes).next() else { return Ok(None) };
        let path = &self.at.dir;
        for record in batch.records().map_err(|e| corrupt(path, 0, &e))? {
            let record = record.map_err(|e| corrupt(path, 0, &e))?;
            if record.timestamp == timestamp && record.offset >= self.log_start {
                return Ok(Some((record.offset, timestamp, batch.header().leader_epoch)));
            }
        }
        // Compaction may have taken the record whose timestamp the header still has.
        Ok(Some((offset, timestamp, batch.header().leader_epoch)))
    }
}

fn batch_at<D: Disk>(disk: &D, file: &D::File, position: u64, size: u64) -> Result<Batch, WalkError> {
    match Walk::headers(disk, file, position, size).next_batch()? {
        Some((_, batch)) => Ok(batch),
        None => Err(WalkError::Bad { position, error: BatchError::Truncated { needed: HEADER_BYTES, available: 0 } }),
    }
}

fn corrupt(path: &str, position: u64, error: &BatchError) -> LogError {
    corrupt_at(path, position, &alloc::format!("{error}"))
}

fn corrupt_at(path: &str, position: u64, reason: &str) -> LogError {
    LogError::Corrupt { file: path.into(), position, reason: reason.into() }
}
