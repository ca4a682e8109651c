//! May this batch be appended? The rules of semantics §16, on the header alone.

use alloc::string::{String, ToString};

use crate::{
    ids::TopicId,
    log::{LogConfig, SequenceError},
    message::ErrorCode,
    offset::Offset,
    record::{Batch, TimestampType},
    time::Timestamp,
};

/// A batch that is in the log or on its way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Offset of its first record.
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    /// It had been appended by an earlier attempt already.
    pub duplicate: bool,
    /// The waiter will hear of the outcome in a [`super::Completed`]; otherwise the outcome is known to be success.
    pub waits: bool,
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
    if config.cleanup.compact {
        // The one place where the core looks past a header: only compacted topics pay for it.
        match batch.check_records() {
            Ok(summary) if summary.first_without_key.is_none() => {}
            Ok(_) => return refuse(ErrorCode::InvalidRecord, "a compacted topic takes no record without a key"),
            Err(error) => return refuse(ErrorCode::CorruptMessage, &error.to_string()),
        }
    }
    Ok(())
}

fn check_timestamps(batch: &Batch, config: &LogConfig, wall: Timestamp) -> Result<(), Refusal> {
    let header = batch.header();
    let too_new = config.timestamp_after_max.is_some_and(|max| {
        header.max_timestamp.millis_since(wall) > i64::try_from(max.as_millis()).unwrap_or(i64::MAX)
    });
    let too_old = config.timestamp_before_max.is_some_and(|max| {
        wall.millis_since(header.base_timestamp) > i64::try_from(max.as_millis()).unwrap_or(i64::MAX)
    });
    if too_new || too_old {
        let reason = "a timestamp is outside message.timestamp.before.max.ms and message.timestamp.after.max.ms";
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, reason));
    }
    Ok(())
}
