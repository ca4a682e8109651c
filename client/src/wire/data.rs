//! The data path's messages: produce, fetch, offsets, producer ids.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId},
    message::*,
    offset::Offset,
    record::{Batch, Batches},
    time::Timestamp,
};
use tidelog_schemas::native_capnp as schema;

use super::{frame::Body, twin::*};

/// Writes the field `topic` of any struct that has one.
macro_rules! write_topic {
    ($topic:expr, $to:expr) => {
        $topic.write($to.reborrow().init_topic())
    };
}

impl Twin for TopicRef {
    type Wire = schema::topic_ref::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        match self {
            Self::Name(name) => to.set_name(name.as_str()),
            Self::Id(id) => write_uuid(id.0, to.init_id()),
        }
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        use schema::topic_ref::Which;
        match from.which().map_err(|_| DecodeError::Unknown { what: "the way to name a topic" })? {
            Which::Name(name) => Ok(Self::Name(read_name(name?)?)),
            Which::Id(id) => Ok(Self::Id(TopicId(read_uuid(id?)))),
        }
    }
}

fn write_isolation(isolation: IsolationLevel) -> schema::IsolationLevel {
    match isolation {
        IsolationLevel::ReadUncommitted => schema::IsolationLevel::ReadUncommitted,
        IsolationLevel::ReadCommitted => schema::IsolationLevel::ReadCommitted,
    }
}

fn read_isolation(
    isolation: Result<schema::IsolationLevel, capnp::NotInSchema>,
) -> Result<IsolationLevel, DecodeError> {
    match isolation {
        Ok(schema::IsolationLevel::ReadUncommitted) => Ok(IsolationLevel::ReadUncommitted),
        Ok(schema::IsolationLevel::ReadCommitted) => Ok(IsolationLevel::ReadCommitted),
        Err(_) => Err(DecodeError::Unknown { what: "the isolation level" }),
    }
}

// ------------------------------------------------------------------------------------------------ produce

impl Twin for ProduceRequest {
    type Wire = schema::produce_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_acks(match self.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        });
        to.set_timeout_ms(millis(self.timeout));
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            acks: match from.get_acks() {
                0 => Acks::None,
                1 => Acks::Leader,
                -1 => Acks::All,
                other => return Err(DecodeError::Value { what: "acks", value: i64::from(other) }),
            },
            timeout: duration(from.get_timeout_ms()),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

/// The batches of a produce request.
pub(super) fn produce_body(request: &ProduceRequest) -> Body<'_> {
    let mut body = Body::default();
    for batch in request.partitions.iter().filter_map(|partition| partition.batch.as_ref().ok()) {
        body.batch(batch);
    }
    body
}

impl Twin for ProducePartition {
    type Wire = schema::produce_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_records_bytes(saturated(self.batch.as_ref().map_or(0, Batch::size)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        let mut batches = Batches(source.take_body(from.get_records_bytes())?);
        let batch = match batches.next() {
            Some(Ok(batch)) => Ok(batch),
            Some(Err(_)) | None => Err(ErrorCode::CorruptMessage),
        };
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            // Kafka's rule since format 2, and for the same reason: one batch is one sequence number.
            batch: if batches.0.is_empty() { batch } else { Err(ErrorCode::InvalidRecord) },
        })
    }
}

list_twin!(ProduceResponse, produce_response, partitions: init_partitions, get_partitions);

impl Twin for ProducedPartition {
    type Wire = schema::produced_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_error(self.error.code());
        to.set_base_offset(self.base_offset.0);
        to.set_log_append_time(self.log_append_time.0);
        to.set_log_start(self.log_start.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            error: ErrorCode::from_code(from.get_error()),
            base_offset: Offset(from.get_base_offset()),
            log_append_time: Timestamp(from.get_log_append_time()),
            log_start: Offset(from.get_log_start()),
        })
    }
}

// ------------------------------------------------------------------------------------------------ fetch

impl Twin for FetchRequest {
    type Wire = schema::fetch_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_max_wait_ms(millis(self.max_wait));
        to.set_min_bytes(saturated(self.min_bytes));
        to.set_max_bytes(saturated(self.max_bytes));
        to.set_isolation(write_isolation(self.isolation));
        write_optional_text!(&self.rack, to.set_rack);
        if let Some((replica, epoch)) = self.replica {
            to.set_replica(replica.0);
            to.set_replica_epoch(epoch.0);
        }
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            max_wait: duration(from.get_max_wait_ms()),
            min_bytes: from.get_min_bytes() as usize,
            max_bytes: from.get_max_bytes() as usize,
            isolation: read_isolation(from.get_isolation())?,
            rack: read_optional_text!(from, has_rack, get_rack),
            replica: optional(from.get_replica()).map(|node| (NodeId(node), BrokerEpoch(from.get_replica_epoch()))),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for FetchPartition {
    type Wire = schema::fetch_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_current_leader_epoch(self.current_leader_epoch.0);
        to.set_offset(self.offset.0);
        to.set_last_fetched_epoch(self.last_fetched_epoch.0);
        to.set_log_start(self.log_start.0);
        to.set_max_bytes(saturated(self.max_bytes));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            current_leader_epoch: LeaderEpoch(from.get_current_leader_epoch()),
            offset: Offset(from.get_offset()),
            last_fetched_epoch: LeaderEpoch(from.get_last_fetched_epoch()),
            log_start: Offset(from.get_log_start()),
            max_bytes: from.get_max_bytes() as usize,
        })
    }
}

list_twin!(FetchResponse, fetch_response, partitions: init_partitions, get_partitions);

/// The batches of a fetch response.
pub(super) fn fetch_body(response: &FetchResponse) -> Body<'_> {
    let mut body = Body::default();
    for partition in &response.partitions {
        push_records(&partition.records, &mut body);
    }
    body
}

/// Appends a partition's batches to a body.
pub(super) fn push_records<'a>(records: &'a Records, body: &mut Body<'a>) {
    match records {
        Records::Empty => {}
        Records::Batches(batches) => batches.iter().for_each(|batch| {
            body.batch(batch);
        }),
        Records::Bytes(bytes) => {
            body.bytes(bytes);
        }
        Records::Log(read) => panic!("a driver resolves {read:?} before a listener sees it"),
    }
}

pub(super) fn records_bytes(records: &Records) -> usize {
    match records {
        Records::Batches(batches) => batches.iter().map(Batch::size).sum(),
        Records::Bytes(bytes) => bytes.len(),
        Records::Empty | Records::Log(_) => 0,
    }
}

impl Twin for FetchedPartition {
    type Wire = schema::fetched_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_error(self.error.code());
        to.set_preferred_read_replica(self.preferred_read_replica.map_or(-1, |node| node.0));
        to.set_high_watermark(self.high_watermark.0);
        to.set_last_stable_offset(self.last_stable_offset.0);
        to.set_log_start(self.log_start.0);
        if let Some((epoch, end)) = self.diverging {
            to.set_diverging_epoch(epoch.0);
            to.set_diverging_end(end.0);
        }
        to.set_records_bytes(saturated(records_bytes(&self.records)));
        if let Some(aborted) = &self.aborted {
            write_list(aborted, to.init_aborted(len(aborted)));
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        let records = source.take_body(from.get_records_bytes())?;
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            error: ErrorCode::from_code(from.get_error()),
            high_watermark: Offset(from.get_high_watermark()),
            last_stable_offset: Offset(from.get_last_stable_offset()),
            log_start: Offset(from.get_log_start()),
            diverging: optional(from.get_diverging_end())
                .map(|end| (LeaderEpoch(from.get_diverging_epoch()), Offset(end))),
            aborted: if from.has_aborted() { Some(read_list(from.get_aborted()?, source)?) } else { None },
            preferred_read_replica: optional(from.get_preferred_read_replica()).map(NodeId),
            records: if records.is_empty() { Records::Empty } else { Records::Bytes(records) },
        })
    }
}

impl Twin for AbortedTransaction {
    type Wire = schema::aborted_transaction::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_producer_id(self.producer_id.0);
        to.set_first_offset(self.first_offset.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { producer_id: ProducerId(from.get_producer_id()), first_offset: Offset(from.get_first_offset()) })
    }
}

// ------------------------------------------------------------------------------------------------ offsets

fn write_spec(spec: OffsetSpec, mut to: schema::offset_spec::Builder<'_>) {
    match spec {
        OffsetSpec::Earliest => to.set_earliest(()),
        OffsetSpec::Latest => to.set_latest(()),
        OffsetSpec::MaxTimestamp => to.set_max_timestamp(()),
        OffsetSpec::EarliestLocal => to.set_earliest_local(()),
        OffsetSpec::LatestTiered => to.set_latest_tiered(()),
        OffsetSpec::At(time) => to.set_at(time.0),
    }
}

fn read_spec(from: schema::offset_spec::Reader<'_>) -> Result<OffsetSpec, DecodeError> {
    use schema::offset_spec::Which;
    Ok(match from.which().map_err(|_| DecodeError::Unknown { what: "the offset to look for" })? {
        Which::Earliest(()) => OffsetSpec::Earliest,
        Which::Latest(()) => OffsetSpec::Latest,
        Which::MaxTimestamp(()) => OffsetSpec::MaxTimestamp,
        Which::EarliestLocal(()) => OffsetSpec::EarliestLocal,
        Which::LatestTiered(()) => OffsetSpec::LatestTiered,
        Which::At(time) => OffsetSpec::At(Timestamp(time)),
    })
}

impl Twin for ListOffsetsRequest {
    type Wire = schema::list_offsets_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_isolation(write_isolation(self.isolation));
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            isolation: read_isolation(from.get_isolation())?,
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for ListOffsetsPartition {
    type Wire = schema::list_offsets_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_current_leader_epoch(self.current_leader_epoch.0);
        write_spec(self.spec, to.init_spec());
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            current_leader_epoch: LeaderEpoch(from.get_current_leader_epoch()),
            spec: read_spec(from.get_spec()?)?,
        })
    }
}

list_twin!(ListOffsetsResponse, list_offsets_response, partitions: init_partitions, get_partitions);

impl Twin for ListedOffset {
    type Wire = schema::listed_offset::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_error(self.error.code());
        to.set_leader_epoch(self.leader_epoch.0);
        to.set_offset(self.offset.0);
        to.set_timestamp(self.timestamp.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            error: ErrorCode::from_code(from.get_error()),
            offset: Offset(from.get_offset()),
            timestamp: Timestamp(from.get_timestamp()),
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
        })
    }
}

list_twin!(OffsetForLeaderEpochRequest, offset_for_leader_epoch_request, partitions: init_partitions, get_partitions);

impl Twin for OffsetForLeaderEpochPartition {
    type Wire = schema::offset_for_leader_epoch_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_current_leader_epoch(self.current_leader_epoch.0);
        to.set_leader_epoch(self.leader_epoch.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            current_leader_epoch: LeaderEpoch(from.get_current_leader_epoch()),
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
        })
    }
}

list_twin!(OffsetForLeaderEpochResponse, offset_for_leader_epoch_response, partitions: init_partitions, get_partitions);

impl Twin for EpochEnd {
    type Wire = schema::epoch_end::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_error(self.error.code());
        to.set_leader_epoch(self.leader_epoch.0);
        to.set_end_offset(self.end_offset.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            error: ErrorCode::from_code(from.get_error()),
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
            end_offset: Offset(from.get_end_offset()),
        })
    }
}

// ------------------------------------------------------------------------------------------------ the rest

impl Twin for DeleteRecordsRequest {
    type Wire = schema::delete_records_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_timeout_ms(millis(self.timeout));
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { timeout: duration(from.get_timeout_ms()), partitions: read_list(from.get_partitions()?, source)? })
    }
}

impl Twin for DeleteRecordsPartition {
    type Wire = schema::delete_records_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_offset(self.offset.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            offset: Offset(from.get_offset()),
        })
    }
}

list_twin!(DeleteRecordsResponse, delete_records_response, partitions: init_partitions, get_partitions);

impl Twin for DeletedRecords {
    type Wire = schema::deleted_records::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_topic!(self.topic, to);
        to.set_partition(self.partition.0);
        to.set_error(self.error.code());
        to.set_low_watermark(self.low_watermark.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: TopicRef::read(from.get_topic()?, source)?,
            partition: PartitionId(from.get_partition()),
            error: ErrorCode::from_code(from.get_error()),
            low_watermark: Offset(from.get_low_watermark()),
        })
    }
}

impl Twin for InitProducerIdRequest {
    type Wire = schema::init_producer_id_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_optional_text!(&self.transactional_id, to.set_transactional_id);
        to.set_producer_id(self.producer_id.0);
        to.set_producer_epoch(self.producer_epoch.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            transactional_id: read_optional_text!(from, has_transactional_id, get_transactional_id),
            producer_id: ProducerId(from.get_producer_id()),
            producer_epoch: ProducerEpoch(from.get_producer_epoch()),
        })
    }
}

impl Twin for InitProducerIdResponse {
    type Wire = schema::init_producer_id_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_producer_id(self.producer_id.0);
        to.set_producer_epoch(self.producer_epoch.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            producer_id: ProducerId(from.get_producer_id()),
            producer_epoch: ProducerEpoch(from.get_producer_epoch()),
        })
    }
}
