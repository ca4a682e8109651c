//! The 61 bytes in front of every batch.
//!
//! ```text
//!  0        8       12      16    17       21         23                27               35             43
//!  | base   | batch | leader| mag-| crc-32c| attri-   | last offset     | base           | max          |
//!  | offset | length| epoch | ic 2|        | butes    | delta           | timestamp      | timestamp    |
//!  43            51              53              57             61
//!  | producer id | producer epoch| base sequence | record count | body (records, maybe compressed) ...
//! ```
//!
//! All integers are big-endian. `batch length` counts from byte 12. The CRC covers byte 21 to the end, so base
//! offset and leader epoch can be stamped without touching it.

use crate::{
    epoch::LeaderEpoch,
    ids::{ProducerEpoch, ProducerId},
    offset::Offset,
    time::Timestamp,
};

/// Size of the fixed header.
pub const HEADER_BYTES: usize = 61;
/// What `batch length` does not count: the base offset and itself.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the CRC's cover begins.
pub(crate) const CRC_START: usize = 21;
/// The only magic in use since Kafka 0.11.
pub(crate) const MAGIC: u8 = 2;

const ATTRIBUTE_COMPRESSION: i16 = 0b0111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
pub(super) const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
pub(super) const ATTRIBUTE_CONTROL: i16 = 1 << 5;
pub(super) const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;

/// The header's fields, as they stand in the batch; reading one proves nothing about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the batch's first record; meaningless until a leader stamps it.
    pub base_offset: Offset,
    /// Bytes from the leader epoch to the end.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type and the flags; see the methods.
    pub attributes: i16,
    /// Offset of the last record less the base offset. Compaction keeps it when records go.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, or the delete horizon (KIP-534) where that flag is set.
    pub base_timestamp: Timestamp,
    /// Greatest timestamp of any record.
    pub max_timestamp: Timestamp,
    /// Who wrote it, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// The writer's epoch, or [`ProducerEpoch::NONE`].
    pub producer_epoch: ProducerEpoch,
    /// The first record's sequence number, or -1.
    pub base_sequence: i32,
    /// Records in the body; fewer than the offsets after compaction.
    pub records_count: i32,
}

/// How a batch's body is compressed; the ordinals are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy, with xerial's framing as every Kafka client writes it.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard (KIP-110).
    Zstd = 4,
}

/// Who set the timestamps of a batch (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The leader, on append: every record has the batch's max timestamp.
    LogAppendTime,
}

impl BatchHeader {
    /// Reads the fields. No field is judged here but the magic, which says whether there are such fields at all.
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        if bytes[16] != MAGIC {
            return None;
        }
        Some(Self {
            base_offset: Offset(i64_at(bytes, 0)),
            batch_length: i32_at(bytes, 8),
            leader_epoch: LeaderEpoch(i32_at(bytes, 12)),
            crc: i32_at(bytes, 17).cast_unsigned(),
            attributes: i16_at(bytes, 21),
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: Timestamp(i64_at(bytes, 27)),
            max_timestamp: Timestamp(i64_at(bytes, 35)),
            producer_id: ProducerId(i64_at(bytes, 43)),
            producer_epoch: ProducerEpoch(i16_at(bytes, 51)),
            base_sequence: i32_at(bytes, 53),
            records_count: i32_at(bytes, 57),
        })
    }

    /// The bytes of these fields.
    pub fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        bytes[16] = MAGIC;
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.records_count.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch, header included; `None` when the length field is nonsense.
    pub fn size(&self) -> Option<usize> {
        let size = usize::try_from(self.batch_length).ok()?.checked_add(LENGTH_PREFIX_BYTES)?;
        (size >= HEADER_BYTES).then_some(size)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.forward(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record: the base offset of the batch that follows.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// How the body is compressed; `None` for an id that nobody has defined.
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_id(self.attributes & ATTRIBUTE_COMPRESSION)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Part of a transaction?
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// A control batch: a transaction marker or a record of the quorum. Clients never see its records.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// When tombstones and markers of this batch may go (KIP-534), once a cleaning has decided it.
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes & ATTRIBUTE_DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Written by an idempotent producer?
    pub fn has_producer(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }

    /// The last record's sequence number: sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX }
    }

    pub(crate) fn set_timestamp_type(&mut self, of: TimestampType) {
        match of {
            TimestampType::CreateTime => self.attributes &= !ATTRIBUTE_LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.attributes |= ATTRIBUTE_LOG_APPEND_TIME,
        }
    }
}

impl Compression {
    /// The codec with this id in the attributes.
    pub fn from_id(id: i16) -> Option<Self> {
        Some(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let mut bytes = [0u8; HEADER_BYTES];
        for (i, b) in bytes.iter_mut().enumerate() {
            *b = (i * 7 + 3) as u8;
        }
        bytes[16] = MAGIC;
        let header = BatchHeader::read(&bytes).expect("magic is right");
        assert_eq!(header.write(), bytes);
    }

    #[test]
    fn last_sequence_wraps_to_zero() {
        let mut header = BatchHeader::read(&{
            let mut b = [0u8; HEADER_BYTES];
            b[16] = MAGIC;
            b
        })
        .expect("magic is right");
        header.base_sequence = i32::MAX;
        header.last_offset_delta = 1;
        assert_eq!(header.last_sequence(), 0);
    }
}
