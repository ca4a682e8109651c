//! From a time to an offset.
//!
//! ```text
//! 0                         8                 12
//! | timestamp, ms           | offset - base   |      big-endian
//! ```
//!
//! An entry says: the greatest timestamp of the segment up to and including this offset is this one. Both columns
//! ascend. The last entry of a segment that is no longer written to is its greatest timestamp; retention and
//! lookups by time depend on it.

use alloc::vec::Vec;

use super::{names, sparse_index::IndexEntry};
use crate::{offset::Offset, time::Timestamp};

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// The greatest so far.
    pub timestamp: Timestamp,
    /// Last offset of the batch that has it, less the segment's base.
    pub relative: u32,
}

impl TimeEntry {
    /// The whole offset.
    pub fn offset(&self, base: Offset) -> Offset {
        base.forward(i64::from(self.relative))
    }

    /// All entries of a file; bytes after the last whole one are left over.
    pub fn parse_all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(Self::BYTES).map(Self::read)
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = 12;
    const EXTENSION: &'static str = names::TIME_INDEX;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            timestamp: Timestamp(i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))),
            relative: u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let entry = TimeEntry { timestamp: Timestamp(0x0102_0304_0506_0708), relative: 9 };
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9]);
        assert_eq!(TimeEntry::parse_all(&bytes).collect::<Vec<_>>(), [entry]);
    }
}
