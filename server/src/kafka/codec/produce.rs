//! Produce (KIP-98; topic names up to version 12).

use bytes::Bytes;
use tidelog_core::{
    ids::{PartitionId, TopicName},
    message::{
        Acks, ErrorCode, ProducePartition, ProduceRequest, ProduceResponse, ProducedPartition, Request, Response,
        TopicRef,
    },
    offset::Offset,
    record::{Batch, BatchError, Compression},
    time::{Duration, Timestamp},
};

use super::{Reader, Shape, Task, WireError, Writer, partition_id, write_error, write_topic_ref};

pub(super) fn decode(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    // Which transaction a batch belongs to stands in the batch as well; the id itself is for authorisation.
    let _transactional_id = r.nullable_string()?;
    let acks = r.i16()?;
    let timeout = Duration::from_wire_millis(r.i32()?);
    let mut partitions = Vec::new();
    r.each(|r| {
        let topic = TopicRef::Name(TopicName::new(r.string()?));
        r.each(|r| {
            let partition = partition_id(r)?;
            let batch = batch(v, r.nullable_bytes()?);
            r.end()?;
            partitions.push(ProducePartition { topic: topic.clone(), partition, batch });
            Ok(())
        })?;
        r.end()
    })?;
    r.end()?;
    let shape = Shape::Produce { silent: acks == 0 };
    let acks = match acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return Ok(Task::Answer(Response::Produce(refused(partitions, ErrorCode::InvalidRequiredAcks)), shape)),
    };
    Ok(Task::Ask(Request::Produce(ProduceRequest { acks, timeout, partitions }), shape))
}

/// Exactly one batch of magic 2, or the error that its partition gets.
fn batch(v: i16, records: Option<Bytes>) -> Result<Batch, ErrorCode> {
    let mut records = records.ok_or(ErrorCode::InvalidRecord)?;
    let batch = Batch::parse(&mut records).map_err(|error| match error {
        BatchError::Magic { .. } => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Codec { .. } => ErrorCode::UnsupportedCompressionType,
        BatchError::Truncated { .. } | BatchError::Count { .. } => ErrorCode::InvalidRecord,
        _ => ErrorCode::CorruptMessage,
    })?;
    if !records.is_empty() {
        return Err(ErrorCode::InvalidRecord);
    }
    // A producer that sends zstd in an older version could not read it back in the fetch of its age (KIP-110).
    if v < 7 && batch.header().compression() == Some(Compression::Zstd) {
        return Err(ErrorCode::UnsupportedCompressionType);
    }
    Ok(batch)
}

/// The same error for every partition.
fn refused(partitions: Vec<ProducePartition>, error: ErrorCode) -> ProduceResponse {
    let refusal = |of: ProducePartition| ProducedPartition {
        topic: of.topic,
        partition: of.partition,
        error,
        base_offset: Offset::NONE,
        log_append_time: Timestamp::NONE,
        log_start: Offset::NONE,
    };
    ProduceResponse { partitions: partitions.into_iter().map(refusal).collect() }
}

pub(super) fn encode(v: i16, response: &ProduceResponse, w: &mut Writer) {
    w.groups(
        &response.partitions,
        |of| of.topic.clone(),
        |w, of_topic| {
            write_topic_ref(&of_topic[0].topic, w);
            w.array(of_topic.iter(), |w, of| {
                let PartitionId(partition) = of.partition;
                w.i32(partition);
                write_error(error(v, of.error), w);
                w.i64(of.base_offset.0);
                w.i64(of.log_append_time.0);
                if v >= 5 {
                    w.i64(of.log_start.0);
                }
                if v >= 8 {
                    // Errors of single records, and the reason in words.
                    w.array([(); 0].iter(), |_, ()| {});
                    w.nullable_string(None);
                }
                w.end();
            });
            w.end();
        },
    );
    w.i32(0); // throttle time
    w.end();
}

/// Before KIP-112 no client knew of disks that fail.
fn error(v: i16, error: ErrorCode) -> ErrorCode {
    if v <= 3 && error == ErrorCode::KafkaStorageError { ErrorCode::NotLeaderOrFollower } else { error }
}
