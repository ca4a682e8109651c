//! What the workload's records look like: a key of two bytes, and an identity that no other record has.
//!
//! The identity stands in the first eight bytes of the value; a tombstone, which has none, carries it in a header.

use bytes::Bytes;
use tidelog_core::record::Record;

use crate::history::Value;

/// Name of the header that carries a tombstone's identity.
pub const IDENTITY: &[u8] = b"id";

/// The bytes of a key.
pub fn key_bytes(key: u16) -> [u8; 2] {
    key.to_be_bytes()
}

/// The key in these bytes.
pub fn key(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}

/// A value of `len` bytes, at least eight, with this identity in front. The rest is repetitive but not constant.
pub fn value_bytes(value: Value, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len.max(8) + PERIOD);
    bytes.extend_from_slice(&value.to_be_bytes());
    let block = block(value);
    while bytes.len() < len {
        bytes.extend_from_slice(&block);
    }
    bytes.truncate(len.max(8));
    bytes.into()
}

/// What follows the identity repeats itself after so many bytes.
const PERIOD: usize = 17;

fn block(value: Value) -> [u8; PERIOD] {
    let first = (value as u8).wrapping_mul(31);
    std::array::from_fn(|place| first.wrapping_add(((place + 8) % PERIOD) as u8))
}

/// The identity of a record; `None` when it has none, or its bytes are not those that were sent.
pub fn value(record: &Record) -> Option<Value> {
    match &record.value {
        Some(bytes) => {
            let (identity, rest) = bytes.split_first_chunk()?;
            let value = Value::from_be_bytes(*identity);
            let block = block(value);
            rest.chunks(PERIOD).all(|chunk| chunk == &block[..chunk.len()]).then_some(value)
        }
        None => {
            let header = record.headers.iter().find(|header| header.key == IDENTITY)?;
            header.value.as_deref()?.try_into().ok().map(Value::from_be_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::record::{BatchBuilder, BatchOptions};

    use super::*;

    #[test]
    fn a_value_is_known_by_all_its_bytes() {
        let read = |bytes: &[u8]| {
            let mut builder = BatchBuilder::new();
            builder.append(0, tidelog_core::time::Timestamp(1), None, Some(bytes), []);
            let batch = builder.build(&BatchOptions::default());
            let record = batch.records().expect("just built").next().expect("one record").expect("just built");
            value(&record)
        };
        for len in [8, 9, 24, 25, 26, 60, 1_000] {
            let bytes = value_bytes(9_000_000_007, len);
            assert_eq!((bytes.len(), read(&bytes)), (len, Some(9_000_000_007)));
            for at in 0..len {
                let mut hurt = bytes.to_vec();
                hurt[at] ^= 0x40;
                assert_ne!(read(&hurt), Some(9_000_000_007), "byte {at} of {len}");
            }
        }
    }
}
