//! Producers as of an offset: `<offset>.snapshot`, from which recovery reads on.
//!
//! ```text
//!  0         2             6          10
//!  | version | crc-32c     | count    | entries, 46 bytes each | earlier batches (tidelog)
//!  | 1       | of the rest |
//!
//!  entry:    | producer id 8 | epoch 2 | last sequence 4 | last offset 8 | offset delta 4
//!            | timestamp 8 | coordinator epoch 4 | first offset of the open transaction, or -1, 8
//!  earlier:  | "tidelog5" | count 4 | then each: producer id 8, first and last sequence 4 + 4, last offset 8,
//!            | offset delta 4, timestamp 8; oldest first
//! ```
//!
//! Kafka remembers one batch per producer in this file; a retry of an older one is then a sequence error after a
//! restart, although it is a duplicate. The other four follow the part that Kafka reads, under the same CRC.

use alloc::vec::Vec;

use super::{ProducerBatch, ProducerEntry, ProducerTable};
use crate::{
    ids::{ProducerEpoch, ProducerId},
    limits::{PRODUCER_BATCHES_MAX, PRODUCERS_PER_PARTITION_MAX},
    offset::Offset,
    time::Timestamp,
};

const VERSION: i16 = 1;
const CRC_AT: usize = 2;
const COUNT_AT: usize = 6;
const ENTRY_BYTES: usize = 46;
const EARLIER_MAGIC: &[u8; 8] = b"tidelog5";
const EARLIER_BYTES: usize = 36;

/// The file's bytes.
pub fn encode(table: &ProducerTable) -> Vec<u8> {
    let mut out = Vec::with_capacity(COUNT_AT + 4 + table.len() * ENTRY_BYTES);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&count(table.len()).to_be_bytes());
    let mut earlier = 0;
    for (id, entry) in table.iter() {
        let last = entry.batches.last();
        earlier += entry.batches.len().saturating_sub(1);
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&entry.epoch.0.to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |b| b.last_sequence).to_be_bytes());
        out.extend_from_slice(&last.map_or(-1, |b| b.last_offset.0).to_be_bytes());
        out.extend_from_slice(&last.map_or(0, |b| b.offset_delta).to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.0.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.transaction_start.unwrap_or(Offset::NONE).0.to_be_bytes());
    }
    if earlier > 0 {
        out.extend_from_slice(EARLIER_MAGIC);
        out.extend_from_slice(&count(earlier).to_be_bytes());
        for (id, entry) in table.iter() {
            let [older @ .., _] = entry.batches.as_slice() else { continue };
            for batch in older {
                out.extend_from_slice(&id.0.to_be_bytes());
                out.extend_from_slice(&batch.first_sequence.to_be_bytes());
                out.extend_from_slice(&batch.last_sequence.to_be_bytes());
                out.extend_from_slice(&batch.last_offset.0.to_be_bytes());
                out.extend_from_slice(&batch.offset_delta.to_be_bytes());
                out.extend_from_slice(&batch.timestamp.0.to_be_bytes());
            }
        }
    }
    let crc = crc32c::crc32c(&out[COUNT_AT..]);
    out[CRC_AT..COUNT_AT].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Reads a file; the reason when it is not such a file or is damaged.
pub fn decode(bytes: &[u8]) -> Result<ProducerTable, &'static str> {
    if bytes.len() < COUNT_AT + 4 {
        return Err("shorter than its header");
    }
    let mut fields = Fields(bytes);
    if fields.i16()? != VERSION {
        return Err("the version is not 1");
    }
    if fields.i32()?.cast_unsigned() != crc32c::crc32c(&bytes[COUNT_AT..]) {
        return Err("the CRC is wrong");
    }
    let mut table = ProducerTable::new();
    for _ in 0..fields.count(ENTRY_BYTES)? {
        let id = ProducerId(fields.i64()?);
        let epoch = ProducerEpoch(fields.i16()?);
        let last_sequence = fields.i32()?;
        let last_offset = Offset(fields.i64()?);
        let offset_delta = fields.i32()?;
        let last_timestamp = Timestamp(fields.i64()?);
        let coordinator_epoch = fields.i32()?;
        let transaction_start = Some(Offset(fields.i64()?)).filter(|&start| start >= Offset::ZERO);
        let mut batches = Vec::new();
        if last_offset >= Offset::ZERO && last_sequence >= 0 {
            if offset_delta < 0 || i64::from(offset_delta) > last_offset.0 {
                return Err("a batch ends before it begins");
            }
            // Sequences count records and wrap to 0 after i32::MAX.
            let first_sequence = last_sequence.wrapping_sub(offset_delta) & i32::MAX;
            batches.push(ProducerBatch {
                first_sequence,
                last_sequence,
                last_offset,
                offset_delta,
                timestamp: last_timestamp,
            });
        }
        table.insert(id, ProducerEntry { epoch, batches, coordinator_epoch, last_timestamp, transaction_start });
    }
    if fields.0.is_empty() {
        return Ok(table);
    }
    if fields.take(EARLIER_MAGIC.len())? != EARLIER_MAGIC {
        return Err("something unknown follows the entries");
    }
    for _ in 0..fields.count(EARLIER_BYTES)? {
        let id = ProducerId(fields.i64()?);
        let batch = ProducerBatch {
            first_sequence: fields.i32()?,
            last_sequence: fields.i32()?,
            last_offset: Offset(fields.i64()?),
            offset_delta: fields.i32()?,
            timestamp: Timestamp(fields.i64()?),
        };
        let mut entry = table.get(id).cloned().ok_or("an earlier batch of an unknown producer")?;
        let place = entry.batches.len().checked_sub(1).ok_or("an earlier batch without a last one")?;
        if entry.batches.len() == PRODUCER_BATCHES_MAX {
            return Err("more than five batches of one producer");
        }
        if batch.first_sequence < 0
            || batch.last_sequence < 0
            || batch.offset_delta < 0
            || batch.last_offset < Offset::ZERO
        {
            return Err("a number is negative");
        }
        entry.batches.insert(place, batch);
        table.insert(id, entry);
    }
    if fields.0.is_empty() { Ok(table) } else { Err("something unknown follows the batches") }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).expect("producers per partition are bounded")
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], &'static str> {
        let (head, rest) = self.0.split_at_checked(n).ok_or("cut off")?;
        self.0 = rest;
        Ok(head)
    }

    fn i16(&mut self) -> Result<i16, &'static str> {
        self.take(2).map(|b| i16::from_be_bytes(b.try_into().expect("two bytes")))
    }

    fn i32(&mut self) -> Result<i32, &'static str> {
        self.take(4).map(|b| i32::from_be_bytes(b.try_into().expect("four bytes")))
    }

    fn i64(&mut self) -> Result<i64, &'static str> {
        self.take(8).map(|b| i64::from_be_bytes(b.try_into().expect("eight bytes")))
    }

    /// A count of things of `size` bytes, all of which must be there.
    fn count(&mut self, size: usize) -> Result<usize, &'static str> {
        let n = usize::try_from(self.i32()?).map_err(|_| "a count is negative")?;
        let limit = PRODUCERS_PER_PARTITION_MAX * PRODUCER_BATCHES_MAX;
        if n <= limit && n * size <= self.0.len() { Ok(n) } else { Err("a count is too large") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: i32, offset: i64) -> ProducerBatch {
        ProducerBatch {
            first_sequence: first,
            last_sequence: first + 1,
            last_offset: Offset(offset + 1),
            offset_delta: 1,
            timestamp: Timestamp(offset),
        }
    }

    fn table() -> ProducerTable {
        let mut table = ProducerTable::new();
        let entry = |batches: Vec<ProducerBatch>| ProducerEntry {
            epoch: ProducerEpoch(3),
            coordinator_epoch: -1,
            last_timestamp: batches.last().map_or(Timestamp(5), |b| b.timestamp),
            transaction_start: Some(Offset(4)),
            batches,
        };
        table.insert(ProducerId(7), entry((0..5).map(|i| batch(i * 2, 100 + i64::from(i) * 10)).collect()));
        table.insert(ProducerId(8), entry([batch(40, 17)].into()));
        table.insert(ProducerId(9), entry(Vec::new()));
        table
    }

    #[test]
    fn a_table_round_trips_with_all_five_batches() {
        assert_eq!(decode(&encode(&table())), Ok(table()));
        assert_eq!(decode(&encode(&ProducerTable::new())), Ok(ProducerTable::new()));
    }

    #[test]
    fn no_damage_goes_unseen_and_none_panics() {
        let good = encode(&table());
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut to {cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert!(decode(&bad).is_err(), "flipped at {at}");
        }
        // Any body under a right CRC: refused or read, never a panic.
        let mut prng = crate::prng::Prng::new(1);
        for _ in 0..20_000 {
            let mut bad = good.clone();
            let at = COUNT_AT + prng.below((bad.len() - COUNT_AT) as u64) as usize;
            bad[at] = prng.next_u64() as u8;
            let crc = crc32c::crc32c(&bad[COUNT_AT..]);
            bad[CRC_AT..COUNT_AT].copy_from_slice(&crc.to_be_bytes());
            let _ = decode(&bad);
        }
    }

    #[test]
    fn a_first_sequence_wraps_back() {
        let mut table = ProducerTable::new();
        let wrapped = ProducerBatch {
            first_sequence: i32::MAX,
            last_sequence: 1,
            last_offset: Offset(9),
            offset_delta: 2,
            timestamp: Timestamp(1),
        };
        let entry = ProducerEntry {
            epoch: ProducerEpoch(0),
            batches: [wrapped].into(),
            coordinator_epoch: -1,
            last_timestamp: Timestamp(1),
            transaction_start: None,
        };
        table.insert(ProducerId(1), entry);
        assert_eq!(decode(&encode(&table)), Ok(table));
    }
}
