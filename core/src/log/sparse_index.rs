//! What the offset index and the time index share: a file of fixed-size entries, ascending, whose newest wait in memory.
//!
//! ```text
//! file  | entry | entry | ... | entry |     memory | entry | entry |
//!       0 .................... written              tail (at most TAIL_ENTRIES)
//! ```
//!
//! An index can always be made again from its segment, so its writes are lazy, unsynced until a checkpoint wants to
//! vouch for it, and never a reason for an append to fail. Whoever uses an entry must check that it tells the
//! truth: after a power loss or rot it may not.

use alloc::vec::Vec;
use core::marker::PhantomData;

use super::{Disk, DiskError, OpenMode, place::Place};
use crate::offset::Offset;

/// Entries that wait in memory before they are written in one go.
const TAIL_ENTRIES: usize = 256;
/// Entries that one read may fetch at the end of a search.
const BLOCK_ENTRIES: usize = 512;

/// One entry of such a file.
pub(crate) trait IndexEntry: Copy {
    /// Its size in the file.
    const BYTES: usize;
    /// The ending of the file's name.
    const EXTENSION: &'static str;
    /// Adds its bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes it from `BYTES` bytes.
    fn read(bytes: &[u8]) -> Self;
}

/// An index of one segment.
pub(crate) struct SparseIndex<D: Disk, E> {
    file: Option<D::File>,
    /// Entries in the file; not known before the file is first opened.
    written: usize,
    /// Newer ones.
    tail: Vec<E>,
    /// The newest of all.
    last: Option<E>,
    /// Written since the last sync?
    dirty: bool,
    /// Was the file made only now, so that its name may not be on the disk?
    new: bool,
    entry: PhantomData<E>,
}

impl<D: Disk, E: IndexEntry> SparseIndex<D, E> {
    /// An index whose file, if there is one, has not been looked at.
    pub(crate) const fn unopened() -> Self {
        Self { file: None, written: 0, tail: Vec::new(), last: None, dirty: false, new: false, entry: PhantomData }
    }

    /// Looks at the file, making an empty one where there is none.
    pub(crate) fn open(&mut self, at: &Place<D>, base: Offset) -> Result<(), DiskError> {
        if self.file.is_some() {
            return Ok(());
        }
        let file = at.disk.open(&at.segment(base, E::EXTENSION), OpenMode::CreateOrOpen)?;
        self.written = usize::try_from(at.disk.len(&file)?).unwrap_or(usize::MAX) / E::BYTES;
        self.new |= self.written == 0;
        if self.tail.is_empty() && self.written > 0 {
            self.last = read_entries(&at.disk, &file, self.written - 1, 1)?.pop();
        }
        self.file = Some(file);
        Ok(())
    }

    /// Entries altogether. The index is open.
    pub(crate) fn len(&self) -> usize {
        self.written + self.tail.len()
    }

    /// The newest entry. The index is open.
    pub(crate) fn last(&self) -> Option<E> {
        self.last
    }

    /// Adds an entry; it is in memory until the next flush.
    pub(crate) fn push(&mut self, entry: E) {
        self.tail.push(entry);
        self.last = Some(entry);
    }

    /// Has so much gathered in memory that a flush is due?
    pub(crate) fn wants_flush(&self) -> bool {
        self.tail.len() >= TAIL_ENTRIES
    }

    /// Writes what waits in memory.
    pub(crate) fn flush(&mut self, at: &Place<D>, base: Offset) -> Result<(), DiskError> {
        if self.tail.is_empty() {
            return Ok(());
        }
        self.open(at, base)?;
        let file = self.file.as_ref().expect("it was just opened");
        let mut bytes = Vec::with_capacity(self.tail.len() * E::BYTES);
        for entry in &self.tail {
            entry.write(&mut bytes);
        }
        self.dirty = true;
        at.disk.write_at(file, (self.written * E::BYTES) as u64, &[&bytes])?;
        self.written += self.tail.len();
        self.tail = Vec::new();
        Ok(())
    }

    /// Keeps every second entry in memory: what to do with a tail that cannot be written for want of space. The newest
    /// stays: that of a closed segment's time index is what the segment is known by.
    pub(crate) fn thin(&mut self) {
        let mut keep = self.tail.len().is_multiple_of(2);
        self.tail.retain(|_| {
            keep = !keep;
            keep
        });
    }

    /// Are all entries in the file?
    pub(crate) fn is_written(&self) -> bool {
        self.tail.is_empty()
    }

    /// Are there entries that were not synced?
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty || !self.tail.is_empty()
    }

    /// The file, if it holds writes that were not synced; from here on they count as synced.
    pub(crate) fn take_dirty(&mut self) -> Option<D::File> {
        core::mem::take(&mut self.dirty).then(|| self.file.clone()).flatten()
    }

    /// May the file's name not be on the disk yet? From here on it counts as if it were.
    pub(crate) fn take_new(&mut self) -> bool {
        core::mem::take(&mut self.new)
    }

    /// The last entry of the leading ones for which `holds` is true, and how many there are.
    pub(crate) fn last_where(
        &self,
        at: &Place<D>,
        holds: impl Fn(&E) -> bool,
    ) -> Result<(usize, Option<E>), DiskError> {
        let in_tail = self.tail.partition_point(&holds);
        if in_tail > 0 {
            return Ok((self.written + in_tail, Some(self.tail[in_tail - 1])));
        }
        let Some(file) = &self.file else { return Ok((0, None)) };
        let (mut low, mut high) = (0, self.written);
        while high - low > BLOCK_ENTRIES {
            let middle = low + (high - low) / 2;
            match read_entries::<D, E>(&at.disk, file, middle, 1)?.first() {
                Some(entry) if holds(entry) => low = middle,
                _ => high = middle,
            }
        }
        let block = read_entries::<D, E>(&at.disk, file, low, high - low)?;
        let count = block.partition_point(&holds);
        Ok((low + count, count.checked_sub(1).map(|i| block[i])))
    }

    /// Keeps the first `count` entries only.
    pub(crate) fn truncate(&mut self, at: &Place<D>, base: Offset, count: usize) -> Result<(), DiskError> {
        self.open(at, base)?;
        if count >= self.written {
            self.tail.truncate(count - self.written);
        } else {
            let file = self.file.as_ref().expect("it was just opened");
            at.disk.set_len(file, (count * E::BYTES) as u64)?;
            self.dirty = true;
            self.written = count;
            self.tail = Vec::new();
        }
        self.last = match (self.tail.last(), &self.file) {
            (Some(&entry), _) => Some(entry),
            (None, Some(file)) if self.written > 0 => read_entries(&at.disk, file, self.written - 1, 1)?.pop(),
            _ => None,
        };
        Ok(())
    }
}

fn read_entries<D: Disk, E: IndexEntry>(
    disk: &D,
    file: &D::File,
    at: usize,
    count: usize,
) -> Result<Vec<E>, DiskError> {
    let bytes = disk.read_at(file, (at * E::BYTES) as u64, count * E::BYTES)?;
    Ok(bytes.chunks_exact(E::BYTES).map(E::read).collect())
}
