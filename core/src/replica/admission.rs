//! May this batch be appended? The rules of semantics §16, on the header alone.

use alloc::string::{String, ToString};

use crate::{
    ids::TopicId,
    log::{LogConfig, SequenceError},
    message::{Acks, ErrorCode},
    offset::Offset,
    record::{Batch, TimestampType},
    time::Timestamp,
};

/// What became of a batch that a producer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has its place in the log and is on its way to the disk.
    Appended {
        /// Offset of its first record.
        base: Offset,
        /// The offset after its last record: acknowledged once the high watermark is there.
        end: Offset,
    },
    /// It is in the log, or on its way, from an earlier attempt.
    Duplicate {
        /// Where its first record stands.
        base: Offset,
        /// The offset after its last record.
        end: Offset,
    },
    /// It is not appended.
    Refused(Refusal),
}

/// Why a batch is not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For machines.
    pub error: ErrorCode,
    /// For people.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(error: ErrorCode, reason: &str) -> Self {
        Self { error, reason: reason.to_string() }
    }
}

impl From<SequenceError> for Refusal {
    fn from(error: SequenceError) -> Self {
        let code = match error {
            SequenceError::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            SequenceError::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
        };
        Self { error: code, reason: error.to_string() }
    }
}

/// Checks everything that does not need the partition's state.
pub(super) fn check(batch: &Batch, config: &LogConfig, topic: TopicId, wall: Timestamp) -> Result<(), Refusal> {
    let header = batch.header();
    let refuse = |error, reason: &str| Err(Refusal::new(error, reason));
    if header.is_control() && topic != TopicId::METADATA {
        return refuse(ErrorCode::InvalidRecord, "clients do not write control batches");
    }
    if header.is_transactional() {
        return refuse(ErrorCode::InvalidTxnState, "transactions are not supported yet");
    }
    if header.records_count <= 0 || header.records_count != header.last_offset_delta.saturating_add(1) {
        return refuse(ErrorCode::InvalidRecord, "a new batch has one record for each offset, and at least one");
    }
    if batch.size() > config.max_message_bytes {
        return refuse(ErrorCode::MessageTooLarge, "the batch exceeds max.message.bytes");
    }
    if batch.size() as u64 > config.segment_bytes {
        return refuse(ErrorCode::RecordListTooLarge, "the batch exceeds segment.bytes");
    }
    if header.has_producer() && (header.producer_epoch.0 < 0 || header.base_sequence < 0) {
        return refuse(ErrorCode::InvalidRecord, "an idempotent producer sends its epoch and sequence");
    }
    if config.timestamp_type == TimestampType::CreateTime {
        check_timestamps(batch, config, wall)?;
    }
    if config.cleanup.compact && !batch.is_keyed() {
        // The one place where the core looks past a header: only compacted topics pay for it.
        return refuse(ErrorCode::InvalidRecord, "a compacted topic takes no record without a key");
    }
    Ok(())
}

fn check_timestamps(batch: &Batch, config: &LogConfig, wall: Timestamp) -> Result<(), Refusal> {
    let header = batch.header();
    let too_new = config
        .timestamp_after_max
        .is_some_and(|max| header.max_timestamp.millis_since(wall) > i64::try_from(max.as_millis()).unwrap_or(i64::MAX));
    let too_old = config
        .timestamp_before_max
        .is_some_and(|max| wall.millis_since(header.base_timestamp) > i64::try_from(max.as_millis()).unwrap_or(i64::MAX));
    if too_new || too_old {
        let reason = "a timestamp is outside message.timestamp.before.max.ms and message.timestamp.after.max.ms";
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, reason));
    }
    Ok(())
}

/// Are enough replicas in sync for a write that all of them must have?
pub(super) fn check_in_sync(acks: Acks, in_sync: usize, replicas: usize, config: &LogConfig) -> Result<(), Refusal> {
    let needed = (config.min_insync_replicas as usize).min(replicas);
    if acks == Acks::All && in_sync < needed {
        return Err(Refusal::new(ErrorCode::NotEnoughReplicas, "fewer replicas are in sync than min.insync.replicas"));
    }
    Ok(())
}
