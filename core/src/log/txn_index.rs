//! Aborted transactions of a segment: `.txnindex`, which tells readers of committed records what to leave out.
//!
//! ```text
//! 0         2             10             18            26                    34
//! | version | producer id | first offset | last offset | last stable offset  |      big-endian
//! ```
//!
//! One entry per ABORT marker that ended a transaction with records, in the marker's segment.

use alloc::vec::Vec;

use crate::{ids::ProducerId, offset::Offset};

/// Size of one entry.
pub const ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer: ProducerId,
    /// Its first record.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// The last stable offset once it was over: what came before needs no later entry.
    pub last_stable: Offset,
}

impl AbortedTransaction {
    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..2].copy_from_slice(&VERSION.to_be_bytes());
        for (i, field) in [self.producer.0, self.first.0, self.last.0, self.last_stable.0].into_iter().enumerate() {
            out[2 + 8 * i..10 + 8 * i].copy_from_slice(&field.to_be_bytes());
        }
        out
    }

    /// All entries of a file; the reason when it is not such a file.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, &'static str> {
        let chunks = bytes.chunks_exact(ENTRY_BYTES);
        if !chunks.remainder().is_empty() {
            return Err("the last entry is cut off");
        }
        chunks.map(Self::parse).collect()
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes[..2] != VERSION.to_be_bytes() {
            return Err("the version is not 0");
        }
        let field = |i: usize| i64::from_be_bytes(bytes[2 + 8 * i..10 + 8 * i].try_into().expect("eight bytes"));
        let entry = Self {
            producer: ProducerId(field(0)),
            first: Offset(field(1)),
            last: Offset(field(2)),
            last_stable: Offset(field(3)),
        };
        if entry.first < Offset::ZERO || entry.last < entry.first {
            return Err("a transaction ends before it begins");
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_hostile_bytes_are_refused() {
        let entry =
            AbortedTransaction { producer: ProducerId(1), first: Offset(2), last: Offset(3), last_stable: Offset(4) };
        let bytes = entry.to_bytes();
        assert_eq!(bytes[9], 1);
        assert_eq!(bytes[17], 2);
        assert_eq!(AbortedTransaction::parse_all(&bytes), Ok([entry].into()));
        assert!(AbortedTransaction::parse_all(&bytes[1..]).is_err());
        assert!(AbortedTransaction::parse_all(&[0xff; ENTRY_BYTES]).is_err());
        assert_eq!(AbortedTransaction::parse_all(&[]), Ok(Vec::new()));
    }
}
