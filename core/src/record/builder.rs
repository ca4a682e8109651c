//! Putting batches together: for producers, for the records of the system itself, and for the cleaner.
//!
//! Records are encoded as they come into one growing buffer, so appending one allocates nothing and copies its
//! payload once. What is only known at the end (codec, producer, flags) is given to [`BatchBuilder::build`].

use alloc::vec::Vec;

use super::{
    Batch, BatchHeader, Compression, HEADER_BYTES, TimestampType, compression,
    header::{ATTRIBUTE_CONTROL, ATTRIBUTE_DELETE_HORIZON, ATTRIBUTE_TRANSACTIONAL},
    varint,
};
use crate::{
    epoch::LeaderEpoch,
    ids::{ProducerEpoch, ProducerId},
    offset::Offset,
    time::Timestamp,
};

/// A batch in the making.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    body: Vec<u8>,
    records: i32,
    last_offset_delta: i32,
    /// What timestamp deltas refer to: the first record's, or the delete horizon.
    base_timestamp: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
    delete_horizon: Option<Timestamp>,
}

/// What a batch carries besides its records. The default is a plain batch of a producer without idempotence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// How to compress the body.
    pub compression: Compression,
    /// How hard, on the codec's own scale; `None` is its default.
    pub level: Option<i32>,
    /// Where the batch begins. A leader stamps it over.
    pub base_offset: Offset,
    /// Which leader appended it. A leader stamps it over.
    pub leader_epoch: LeaderEpoch,
    /// The last offset less the base offset, where records behind the last one are gone (compaction).
    pub last_offset_delta: Option<i32>,
    /// The producer, its epoch and the first record's sequence.
    pub producer: Option<(ProducerId, ProducerEpoch, i32)>,
    /// Part of a transaction?
    pub transactional: bool,
    /// A control batch?
    pub control: bool,
    /// With `LogAppendTime`: the time of every record.
    pub append_time: Option<Timestamp>,
    /// The greatest timestamp, for a batch that has no record left to take it from.
    pub max_timestamp: Timestamp,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            level: None,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            last_offset_delta: None,
            producer: None,
            transactional: false,
            control: false,
            append_time: None,
            max_timestamp: Timestamp::NONE,
        }
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for a body of `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { body: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// An empty batch whose tombstones and markers may go at `horizon` (KIP-534); it takes the base timestamp's place.
    pub fn with_delete_horizon(horizon: Timestamp) -> Self {
        Self { base_timestamp: Some(horizon), delete_horizon: Some(horizon), ..Self::default() }
    }

    /// Appends a record. `offset_delta` is its offset less the base offset, and must rise; producers count from 0
    /// without gaps, which [`BatchBuilder::next_delta`] does for them.
    ///
    /// Panics when the batch would pass 2 GiB or deltas do not rise: both are the caller's to prevent.
    pub fn append<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<IntoIter: ExactSizeIterator + Clone, Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        let headers = headers.into_iter();
        assert!(self.records == 0 || offset_delta > self.last_offset_delta, "offsets rise within a batch");
        assert!(offset_delta >= 0, "offsets rise from the base offset");
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.0.wrapping_sub(base.0);
        let mut length = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(offset_delta))
            + nullable_size(key)
            + nullable_size(value)
            + varint::size(headers.len() as i64);
        for (key, value) in headers.clone() {
            length += nullable_size(Some(key)) + nullable_size(value);
        }
        assert!(self.body.len() + length < i32::MAX as usize - HEADER_BYTES, "a batch is below 2 GiB");

        self.body.reserve(varint::VARLONG_BYTES_MAX + length);
        varint::put(&mut self.body, length as i64);
        let start = self.body.len();
        self.body.push(0);
        varint::put(&mut self.body, timestamp_delta);
        varint::put(&mut self.body, i64::from(offset_delta));
        put_nullable(&mut self.body, key);
        put_nullable(&mut self.body, value);
        varint::put(&mut self.body, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(&mut self.body, Some(key));
            put_nullable(&mut self.body, value);
        }
        debug_assert_eq!(self.body.len() - start, length, "the length in front is that of the record");

        self.records += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(Some(timestamp));
    }

    /// The offset delta of the record to come, when offsets have no gaps.
    pub fn next_delta(&self) -> i32 {
        if self.records == 0 { 0 } else { self.last_offset_delta + 1 }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.unsigned_abs() as usize
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of the batch so far, header included, before compression.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The most bytes that one more record would add, whatever its place and time.
    pub fn record_bytes_max(key: Option<&[u8]>, value: Option<&[u8]>, headers_bytes: usize) -> usize {
        const LENGTH_AND_DELTAS: usize = 5 + 1 + varint::VARLONG_BYTES_MAX + 5 + 5;
        LENGTH_AND_DELTAS + nullable_size(key) + nullable_size(value) + headers_bytes
    }

    /// Compresses the body and completes the batch. One without records gets an empty body and keeps its offsets.
    pub fn build(self, options: &BatchOptions) -> Batch {
        let mut attributes = options.compression as i16;
        if options.transactional {
            attributes |= ATTRIBUTE_TRANSACTIONAL;
        }
        if options.control {
            attributes |= ATTRIBUTE_CONTROL;
        }
        if self.delete_horizon.is_some() {
            attributes |= ATTRIBUTE_DELETE_HORIZON;
        }
        let last_offset_delta = options.last_offset_delta.unwrap_or(self.last_offset_delta);
        assert!(last_offset_delta >= self.last_offset_delta, "a batch ends at its last record or later");
        let (producer_id, producer_epoch, base_sequence) =
            options.producer.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE, -1));
        let mut header = BatchHeader {
            base_offset: options.base_offset,
            batch_length: 0,
            leader_epoch: options.leader_epoch,
            crc: 0,
            attributes,
            last_offset_delta,
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::NONE),
            max_timestamp: self.max_timestamp.unwrap_or(options.max_timestamp),
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.records,
        };
        if let Some(time) = options.append_time {
            header.set_timestamp_type(TimestampType::LogAppendTime);
            header.max_timestamp = time;
        }
        let body = if self.records == 0 {
            Vec::new()
        } else {
            compression::compress(options.compression, options.level, self.body)
        };
        Batch::assemble(header, body.into())
    }
}

#[inline]
fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varint::size(b.len() as i64) + b.len())
}

#[inline]
fn put_nullable(buf: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(buf, -1),
        Some(bytes) => {
            varint::put(buf, bytes.len() as i64);
            buf.extend_from_slice(bytes);
        }
    }
}
