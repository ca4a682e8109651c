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
    let mut bytes = Vec::with_capacity(len.max(8));
    bytes.extend_from_slice(&value.to_be_bytes());
    for position in 8..len {
        bytes.push((value as u8).wrapping_mul(31).wrapping_add((position % 17) as u8));
    }
    bytes.into()
}

/// The identity of a record; `None` when it has none, or its bytes are not those that were sent.
pub fn value(record: &Record) -> Option<Value> {
    match &record.value {
        Some(bytes) => {
            let value = Value::from_be_bytes(*bytes.first_chunk()?);
            (value_bytes(value, bytes.len()) == bytes).then_some(value)
        }
        None => {
            let header = record.headers.iter().find(|header| header.key == IDENTITY)?;
            header.value.as_deref()?.try_into().ok().map(Value::from_be_bytes)
        }
    }
}
