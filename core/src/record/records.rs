//! The records inside a batch: what only the two ends of a log, and its cleaner, look at.
//!
//! ```text
//! length | attributes 0 | timestamp delta | offset delta | key length, key | value length, value | header count
//!                                           then for each header:  key length, key | value length, value
//! ```
//!
//! `attributes` is one byte, every number a [`varint`]; a length of -1 stands for null. Deltas are to the
//! batch's base offset and base timestamp. The same parser serves two iterators: [`RawRecords`] borrows, for
//! checks and the cleaner; [`Records`] hands out [`Bytes`] that outlive it, for consumers. Neither copies a
//! payload, and neither allocates for a number that it read.
//!
//! [`varint`]: super::varint

use bytes::Bytes;

use super::{Batch, BatchError, TimestampType, compression, varint};
use crate::{limits, offset::Offset, time::Timestamp};

/// One record, with payloads that share the batch's memory (the decompressed body, if it was compressed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// The producer's time, or the broker's with `LogAppendTime`.
    pub timestamp: Timestamp,
    /// The key, if it has one; an empty key is one.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Headers,
}

/// The headers of one record, in the order of the producer; keys may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// As they stand in the record, known to be well formed.
    encoded: Bytes,
    count: usize,
}

/// One header. The key is UTF-8 by convention, which nobody checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name; may be empty.
    pub key: Bytes,
    /// Its value; may be null.
    pub value: Option<Bytes>,
}

impl Headers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One after another; payloads share the record's memory.
    pub fn iter(&self) -> impl Iterator<Item = Header> + '_ {
        RawHeaders { rest: &self.encoded, left: self.count }.map(|(key, value)| Header {
            key: self.encoded.slice_ref(key),
            value: value.map(|v| self.encoded.slice_ref(v)),
        })
    }
}

/// A record whose payloads are borrowed from the (decompressed) body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its offset less the batch's base offset.
    pub offset_delta: i32,
    /// The producer's time, or the broker's with `LogAppendTime`.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: RawHeaders<'a>,
}

/// Headers borrowed from the body; iterating gives keys and values in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawHeaders<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for RawHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let key = take_nullable(&mut self.rest).flatten().expect("headers were walked when their record was parsed");
        let value = take_nullable(&mut self.rest).expect("headers were walked when their record was parsed");
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RawHeaders<'_> {}

/// The body of a batch, ready for reading: decompressed if it was compressed.
#[derive(Clone, Debug)]
pub struct OpenBatch {
    frame: Frame,
    plain: Bytes,
}

/// What records take from their batch's header.
#[derive(Clone, Copy, Debug)]
struct Frame {
    base_offset: Offset,
    last_offset_delta: i32,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
    count: usize,
}

/// What a full check of a batch's records found, see [`Batch::check_records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsSummary {
    /// Least timestamp of any record; [`Timestamp::NONE`] when there are no records.
    pub min_timestamp: Timestamp,
    /// Greatest timestamp of any record; [`Timestamp::NONE`] when there are no records.
    pub max_timestamp: Timestamp,
    /// The first record without a key, which a compacted topic refuses.
    pub first_without_key: Option<usize>,
}

impl Batch {
    /// Decompresses the body, if need be, to read its records. Uncompressed bodies are shared.
    pub fn open(&self) -> Result<OpenBatch, BatchError> {
        let header = self.header();
        let codec = header.compression().ok_or(BatchError::Codec { id: header.attributes & 7 })?;
        // A batch without records has no body either, whatever codec its attributes still name: compaction keeps
        // such headers (KIP-534, and a producer's last batch).
        let plain = if self.body().is_empty() && header.records_count == 0 {
            Bytes::new()
        } else {
            compression::decompress(codec, self.body(), limits::DECOMPRESSED_BYTES_MAX)?
        };
        let append_time = (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp);
        Ok(OpenBatch {
            frame: Frame {
                base_offset: header.base_offset,
                last_offset_delta: header.last_offset_delta,
                base_timestamp: header.base_timestamp,
                append_time,
                count: usize::try_from(header.records_count).expect("a batch's record count was checked"),
            },
            plain,
        })
    }

    /// Its records, from the first. The batch may be dropped; payloads keep the memory alive.
    pub fn records(&self) -> Result<Records, BatchError> {
        Ok(self.open()?.into_records())
    }

    /// Judges the records as a leader must before it appends a batch whose inside matters to it: as many as the
    /// header says, offsets without gaps from 0, sizes exact, nothing behind the last.
    ///
    /// Costs a walk over the body, and its decompression; the common path checks header and CRC only.
    pub fn check_records(&self) -> Result<RecordsSummary, BatchError> {
        let header = self.header();
        let offsets = i64::from(header.last_offset_delta) + 1;
        if offsets != i64::from(header.records_count) {
            return Err(BatchError::Count { records: header.records_count, offsets });
        }
        let open = self.open()?;
        let mut summary =
            RecordsSummary { min_timestamp: Timestamp::NONE, max_timestamp: Timestamp::NONE, first_without_key: None };
        for (index, record) in open.iter().enumerate() {
            let record = record?;
            if usize::try_from(record.offset_delta) != Ok(index) {
                return Err(BatchError::Record { index });
            }
            if index == 0 {
                summary.min_timestamp = record.timestamp;
            }
            summary.min_timestamp = summary.min_timestamp.min(record.timestamp);
            summary.max_timestamp = summary.max_timestamp.max(record.timestamp);
            if record.key.is_none() && summary.first_without_key.is_none() {
                summary.first_without_key = Some(index);
            }
        }
        Ok(summary)
    }
}

impl OpenBatch {
    /// The records, borrowed.
    pub fn iter(&self) -> RawRecords<'_> {
        RawRecords { frame: self.frame, rest: &self.plain, index: 0, previous_delta: -1 }
    }

    /// Bytes of the decompressed body.
    pub fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// The records, owned.
    pub fn into_records(self) -> Records {
        Records { frame: self.frame, plain: self.plain, at: 0, index: 0, previous_delta: -1 }
    }
}

impl<'a> IntoIterator for &'a OpenBatch {
    type Item = Result<RawRecord<'a>, BatchError>;
    type IntoIter = RawRecords<'a>;

    fn into_iter(self) -> RawRecords<'a> {
        self.iter()
    }
}

/// Iterates over borrowed records; ends after the first error.
#[derive(Clone, Debug)]
pub struct RawRecords<'a> {
    frame: Frame,
    rest: &'a [u8],
    index: usize,
    previous_delta: i32,
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        next_record(&self.frame, &mut self.rest, &mut self.index, &mut self.previous_delta)
    }
}

/// Iterates over records that share the body's memory; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    frame: Frame,
    plain: Bytes,
    at: usize,
    index: usize,
    previous_delta: i32,
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = &self.plain[self.at..];
        let record = next_record(&self.frame, &mut rest, &mut self.index, &mut self.previous_delta)?;
        self.at = self.plain.len() - rest.len();
        Some(record.map(|raw| Record {
            offset: self.frame.base_offset.forward(i64::from(raw.offset_delta)),
            timestamp: raw.timestamp,
            key: raw.key.map(|key| self.plain.slice_ref(key)),
            value: raw.value.map(|value| self.plain.slice_ref(value)),
            headers: Headers {
                encoded: if raw.headers.left == 0 { Bytes::new() } else { self.plain.slice_ref(raw.headers.rest) },
                count: raw.headers.left,
            },
        }))
    }
}

/// The state of both iterators is the same three values; after an error or the last record `index` is past the end.
#[inline]
fn next_record<'a>(
    frame: &Frame,
    rest: &mut &'a [u8],
    index: &mut usize,
    previous_delta: &mut i32,
) -> Option<Result<RawRecord<'a>, BatchError>> {
    if *index == frame.count && rest.is_empty() || *index > frame.count {
        return None;
    }
    let broken = BatchError::Record { index: *index };
    let parsed = if *index == frame.count { None } else { take_record(frame, rest, *previous_delta) };
    match parsed {
        Some(record) => {
            *previous_delta = record.offset_delta;
            *index += 1;
            Some(Ok(record))
        }
        None => {
            *index = usize::MAX;
            Some(Err(broken))
        }
    }
}

#[inline]
fn take_record<'a>(frame: &Frame, bytes: &mut &'a [u8], previous_delta: i32) -> Option<RawRecord<'a>> {
    let length = usize::try_from(varint::take_int(bytes)?).ok()?;
    let (mut body, after) = bytes.split_at_checked(length)?;
    *bytes = after;
    let (_attributes, rest) = body.split_first()?;
    body = rest;
    let timestamp_delta = varint::take_long(&mut body)?;
    let offset_delta = varint::take_int(&mut body)?;
    if offset_delta <= previous_delta || offset_delta > frame.last_offset_delta {
        return None;
    }
    let timestamp = match frame.append_time {
        Some(time) => time,
        // Wraps as the subtraction of its writer does.
        None => Timestamp(frame.base_timestamp.0.wrapping_add(timestamp_delta)),
    };
    let key = take_nullable(&mut body)?;
    let value = take_nullable(&mut body)?;
    let count = usize::try_from(varint::take_int(&mut body)?).ok()?;
    let headers = RawHeaders { rest: body, left: count };
    // Walked once here, so that whoever iterates later need not look for errors. Each header takes two bytes at
    // least, so a count that lies ends with the bytes.
    for _ in 0..count {
        take_nullable(&mut body)??;
        take_nullable(&mut body)?;
    }
    body.is_empty().then_some(RawRecord { offset_delta, timestamp, key, value, headers })
}

/// A length, which may be -1 for null, and that many bytes.
#[inline]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take_int(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(taken))
}
