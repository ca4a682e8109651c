//! From an offset to a place in the segment.
//!
//! ```text
//! 0                 4                 8
//! | offset - base   | position        |      big-endian, one per `index.interval.bytes` of log or so
//! ```
//!
//! The offset is the *last* of the batch that begins at the position, as Kafka has it. A lookup takes the greatest
//! entry not above the offset and reads on from there.

use alloc::vec::Vec;

use super::{names, sparse_index::IndexEntry};
use crate::offset::Offset;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch, less the segment's base.
    pub relative: u32,
    /// Where the batch begins.
    pub position: u32,
}

impl OffsetEntry {
    /// The whole offset.
    pub fn offset(&self, base: Offset) -> Offset {
        base.forward(i64::from(self.relative))
    }

    /// All entries of a file; bytes after the last whole one are left over.
    pub fn parse_all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(Self::BYTES).map(Self::read)
    }
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;
    const EXTENSION: &'static str = names::INDEX;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self { relative: word(0), position: word(4) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let entry = OffsetEntry { relative: 0x0102_0304, position: 0xa0b0_c0d0 };
        let mut bytes = Vec::new();
        entry.write(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0]);
        bytes.push(9);
        assert_eq!(OffsetEntry::parse_all(&bytes).collect::<Vec<_>>(), [entry]);
    }
}
