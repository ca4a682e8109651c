//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords, InitProducerId.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{ProducerEpoch, ProducerId, TopicName},
    message::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, ErrorCode, InitProducerIdRequest,
        InitProducerIdResponse, IsolationLevel, ListOffsetsPartition, ListOffsetsRequest, ListedOffset,
        OffsetForLeaderEpochPartition, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetSpec, Request,
    },
    offset::Offset,
    time::{Duration, Timestamp},
};

use super::{Reader, Shape, Task, WireError, Writer, partition_id, topic_ref, write_error, write_topic_ref};

pub(super) fn decode_list_offsets(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let _replica = r.i32()?;
    let isolation = if v >= 2 { isolation(r)? } else { IsolationLevel::ReadUncommitted };
    let mut partitions = Vec::new();
    let mut refused = Vec::new();
    r.each(|r| {
        let topic = topic_ref(false, r)?;
        r.each(|r| {
            let partition = partition_id(r)?;
            let current_leader_epoch = if v >= 4 { LeaderEpoch(r.i32()?) } else { LeaderEpoch::NONE };
            let spec = offset_spec(v, r.i64()?);
            r.end()?;
            let topic = topic.clone();
            match spec {
                Ok(spec) => partitions.push(ListOffsetsPartition { topic, partition, current_leader_epoch, spec }),
                Err(error) => {
                    let refusal = ListedOffset {
                        topic,
                        partition,
                        error,
                        offset: Offset::NONE,
                        timestamp: Timestamp::NONE,
                        leader_epoch: LeaderEpoch::NONE,
                    };
                    refused.push((partitions.len() + refused.len(), refusal));
                }
            }
            Ok(())
        })?;
        r.end()
    })?;
    if v >= 10 {
        // How long to wait for tiered storage, of which there is none.
        let _timeout = r.i32()?;
    }
    r.end()?;
    Ok(Task::Ask(Request::ListOffsets(ListOffsetsRequest { isolation, partitions }), Shape::ListOffsets(refused)))
}

/// Negative timestamps are names, and each came with a version.
fn offset_spec(v: i16, timestamp: i64) -> Result<OffsetSpec, ErrorCode> {
    match timestamp {
        -1 => Ok(OffsetSpec::Latest),
        -2 => Ok(OffsetSpec::Earliest),
        -3 if v >= 7 => Ok(OffsetSpec::MaxTimestamp),
        -4 if v >= 8 => Ok(OffsetSpec::EarliestLocal),
        -5 if v >= 9 => Ok(OffsetSpec::LatestTiered),
        0.. => Ok(OffsetSpec::At(Timestamp(timestamp))),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

pub(super) fn encode_list_offsets(v: i16, partitions: &[ListedOffset], w: &mut Writer) {
    if v >= 2 {
        w.i32(0); // throttle time
    }
    w.groups(
        partitions,
        |of| of.topic.clone(),
        |w, of_topic| {
            write_topic_ref(&of_topic[0].topic, w);
            w.array(of_topic.iter(), |w, of| {
                w.i32(of.partition.0);
                write_error(of.error, w);
                w.i64(of.timestamp.0);
                w.i64(of.offset.0);
                if v >= 4 {
                    w.i32(of.leader_epoch.0);
                }
                w.end();
            });
            w.end();
        },
    );
    w.end();
}

pub(super) fn decode_offset_for_leader_epoch(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    if v >= 3 {
        let _replica = r.i32()?;
    }
    let mut partitions = Vec::new();
    r.each(|r| {
        let topic = topic_ref(false, r)?;
        r.each(|r| {
            partitions.push(OffsetForLeaderEpochPartition {
                topic: topic.clone(),
                partition: partition_id(r)?,
                current_leader_epoch: LeaderEpoch(r.i32()?),
                leader_epoch: LeaderEpoch(r.i32()?),
            });
            r.end()
        })?;
        r.end()
    })?;
    r.end()?;
    Ok(Task::Ask(Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest { partitions }), Shape::Plain))
}

pub(super) fn encode_offset_for_leader_epoch(_v: i16, response: &OffsetForLeaderEpochResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    w.groups(
        &response.partitions,
        |of| of.topic.clone(),
        |w, of_topic| {
            write_topic_ref(&of_topic[0].topic, w);
            w.array(of_topic.iter(), |w, of| {
                write_error(of.error, w);
                w.i32(of.partition.0);
                w.i32(of.leader_epoch.0);
                w.i64(of.end_offset.0);
                w.end();
            });
            w.end();
        },
    );
    w.end();
}

pub(super) fn decode_delete_records(_v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let mut partitions = Vec::new();
    r.each(|r| {
        let topic = topic_ref(false, r)?;
        r.each(|r| {
            let (partition, offset) = (partition_id(r)?, Offset(r.i64()?));
            partitions.push(DeleteRecordsPartition { topic: topic.clone(), partition, offset });
            r.end()
        })?;
        r.end()
    })?;
    let timeout = Duration::from_wire_millis(r.i32()?);
    r.end()?;
    Ok(Task::Ask(Request::DeleteRecords(DeleteRecordsRequest { timeout, partitions }), Shape::Plain))
}

pub(super) fn encode_delete_records(_v: i16, response: &DeleteRecordsResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    w.groups(
        &response.partitions,
        |of| of.topic.clone(),
        |w, of_topic| {
            write_topic_ref(&of_topic[0].topic, w);
            w.array(of_topic.iter(), |w, of| {
                w.i32(of.partition.0);
                w.i64(of.low_watermark.0);
                write_error(of.error, w);
                w.end();
            });
            w.end();
        },
    );
    w.end();
}

pub(super) fn decode_init_producer_id(v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    let transactional_id = r.nullable_string()?.map(str::to_owned);
    let _transaction_timeout = r.i32()?;
    let producer_id = if v >= 3 { ProducerId(r.i64()?) } else { ProducerId::NONE };
    let producer_epoch = if v >= 3 { ProducerEpoch(r.i16()?) } else { ProducerEpoch::NONE };
    r.end()?;
    let request = InitProducerIdRequest { transactional_id, producer_id, producer_epoch };
    Ok(Task::Ask(Request::InitProducerId(request), Shape::Plain))
}

pub(super) fn encode_init_producer_id(_v: i16, response: &InitProducerIdResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    write_error(response.error, w);
    w.i64(response.producer_id.0);
    w.i16(response.producer_epoch.0);
    w.end();
}

pub(super) fn isolation(r: &mut Reader<'_>) -> Result<IsolationLevel, WireError> {
    match r.i8()? {
        0 => Ok(IsolationLevel::ReadUncommitted),
        1 => Ok(IsolationLevel::ReadCommitted),
        other => Err(WireError::Value { field: "isolation level", value: other.into() }),
    }
}

/// A topic by name.
pub(super) fn topic_name(r: &mut Reader<'_>) -> Result<TopicName, WireError> {
    r.string().map(TopicName::new)
}
