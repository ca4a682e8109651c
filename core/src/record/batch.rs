//! A whole batch whose outside has been checked: length, magic, CRC, counts.
//!
//! Bytes from outside become a [`Batch`] in one place, [`Batch::parse`]; from there on the type is the proof.
//! Header and body are kept apart, so that stamping an offset writes 61 bytes and shares the rest.

use bytes::Bytes;

use super::header::{BatchHeader, CRC_START, HEADER_BYTES, TimestampType};
use crate::{epoch::LeaderEpoch, limits, offset::Offset, time::Timestamp};

/// One checked batch. Cloning shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    body: Bytes,
}

/// Why bytes are not a batch. What the sender did wrong is in the variant; none of them is our bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("a batch of {needed} bytes ends after {available}")]
    Truncated {
        /// Bytes that the batch has.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// Message formats 0 and 1 have not been written since Kafka 0.11 (KIP-724).
    #[error("record batches of magic {magic} are not supported, only 2")]
    Magic {
        /// What stands in its place.
        magic: u8,
    },
    /// A length that no batch has.
    #[error("a batch length of {length} is impossible")]
    Length {
        /// What stands there.
        length: i32,
    },
    /// The bytes are not those that were written.
    #[error("the batch's CRC is {computed:08x}, its header says {stored:08x}")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Record count and offsets contradict each other.
    #[error("a batch of {records} records cannot span {offsets} offsets")]
    Count {
        /// The header's record count.
        records: i32,
        /// Last offset delta plus one.
        offsets: i64,
    },
    /// Offsets that no log has.
    #[error("a batch at offset {base} cannot span {offsets} offsets")]
    Offsets {
        /// The base offset.
        base: i64,
        /// Last offset delta plus one.
        offsets: i64,
    },
    /// Codec ids 5 to 7 mean nothing.
    #[error("compression codec {id} is unknown")]
    Codec {
        /// The id.
        id: i16,
    },
    /// The body does not decompress.
    #[error("the batch's {codec:?} data is broken")]
    Compressed {
        /// The codec that it claims.
        codec: super::Compression,
    },
    /// The body decompresses to more than any batch may hold.
    #[error("the batch decompresses to more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// A record inside is malformed.
    #[error("record {index} of the batch is malformed")]
    Record {
        /// Its place in the batch.
        index: usize,
    },
}

impl Batch {
    /// Checks the first batch in `bytes` and takes it off the front, sharing memory with it.
    pub fn parse(bytes: &mut Bytes) -> Result<Self, BatchError> {
        let (header, size) = peek(bytes)?;
        if bytes.len() < size {
            return Err(BatchError::Truncated { needed: size, available: bytes.len() });
        }
        let computed = crc32c::crc32c(&bytes[CRC_START..size]);
        if computed != header.crc {
            return Err(BatchError::Crc { stored: header.crc, computed });
        }
        if header.compression().is_none() {
            return Err(BatchError::Codec { id: header.attributes & 7 });
        }
        let mut body = bytes.split_to(size);
        bytes::Buf::advance(&mut body, HEADER_BYTES);
        Ok(Self { header, body })
    }

    /// Puts a batch together from a header and a body, with length and CRC made right.
    pub(crate) fn assemble(mut header: BatchHeader, body: Bytes) -> Self {
        header.batch_length = i32::try_from(HEADER_BYTES - super::header::LENGTH_PREFIX_BYTES + body.len())
            .expect("a batch is below 2 GiB");
        let mut batch = Self { header, body };
        batch.header.crc = batch.computed_crc();
        batch
    }

    /// The header as it stands.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The header's bytes; the body follows them on the wire and on the disk.
    pub fn header_bytes(&self) -> [u8; HEADER_BYTES] {
        self.header.write()
    }

    /// Everything after the header: the records, compressed or not.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Sets what the CRC does not cover: the place in the log and the leader that put it there.
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.header.base_offset = base_offset;
        self.header.leader_epoch = leader_epoch;
    }

    /// Replaces the producer's timestamps by the broker's (`message.timestamp.type=LogAppendTime`); the one
    /// change on the append path for which the CRC is computed anew.
    pub fn stamp_log_append_time(&mut self, now: Timestamp) {
        self.header.set_timestamp_type(TimestampType::LogAppendTime);
        self.header.max_timestamp = now;
        self.header.crc = self.computed_crc();
    }

    /// The batch as one piece of memory: a copy, for the few places that need one.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = alloc::vec::Vec::with_capacity(self.size());
        bytes.extend_from_slice(&self.header_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }

    fn computed_crc(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.header_bytes()[CRC_START..]), &self.body)
    }
}

/// The batches that stand one after another in `bytes`, up to the first that is not whole and right.
#[derive(Clone, Debug)]
pub struct Batches(pub Bytes);

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let parsed = Batch::parse(&mut self.0);
        if parsed.is_err() {
            self.0.clear();
        }
        Some(parsed)
    }
}

/// The offset after the last of these batches, which were checked before; `None` where there is none.
pub fn offset_after(mut batches: &[u8]) -> Option<Offset> {
    let mut after = None;
    while let Ok((header, size)) = peek(batches) {
        after = Some(header.next_offset());
        batches = batches.get(size..).unwrap_or_default();
    }
    after
}

/// Header and size of the batch at the front, judged by what it says alone: whoever walks over headers can take its
/// offsets and size for possible ones. Nothing proves that they are those that were written.
pub(crate) fn peek(bytes: &[u8]) -> Result<(BatchHeader, usize), BatchError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() });
    };
    let header = BatchHeader::read(head).ok_or(BatchError::Magic { magic: head[16] })?;
    let size = header.size().filter(|&size| size <= limits::BATCH_BYTES_MAX);
    let size = size.ok_or(BatchError::Length { length: header.batch_length })?;
    let offsets = i64::from(header.last_offset_delta) + 1;
    if header.last_offset_delta < 0 || header.records_count < 0 || i64::from(header.records_count) > offsets {
        return Err(BatchError::Count { records: header.records_count, offsets });
    }
    if header.base_offset.0 < 0 || header.base_offset.0.checked_add(offsets).is_none() {
        return Err(BatchError::Offsets { base: header.base_offset.0, offsets });
    }
    Ok((header, size))
}
