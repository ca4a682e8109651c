//! What nodes say to each other: the metadata quorum, replication, registration.
//!
//! **Invariant:** what a node hands on for a client holds nothing that only nodes say: a message nests once.

use tidelog_core::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, DirectoryId, NodeId, PartitionId, ProducerId, TopicId, TopicPartition},
    message::*,
    offset::Offset,
};
use tidelog_schemas::{native_capnp, peer_capnp as schema};

use super::{
    data::{push_records, records_bytes},
    frame::Body,
    hello::Surroundings,
    read_request, read_response,
    twin::*,
    write_request, write_response,
};

impl Twin for PeerRequest {
    type Wire = schema::peer_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        match self {
            Self::Ping => to.set_ping(()),
            Self::Vote(it) => it.write(to.init_vote()),
            Self::BeginEpoch(it) => it.write(to.init_begin_epoch()),
            Self::EndEpoch(it) => it.write(to.init_end_epoch()),
            Self::Fetch(it) => it.write(to.init_fetch()),
            Self::FetchSnapshot(it) => it.write(to.init_fetch_snapshot()),
            Self::Register(it) => it.write(to.init_register()),
            Self::Heartbeat(it) => it.write(to.init_heartbeat()),
            Self::AlterPartition(it) => it.write(to.init_alter_partition()),
            Self::AllotProducerIds(it) => it.write(to.init_allot_producer_ids()),
            Self::Forward(request) => write_request(request, to.init_forward()),
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        use schema::peer_request::Which;
        Ok(match from.which().map_err(|_| DecodeError::Unknown { what: "the kind" })? {
            Which::Ping(()) => Self::Ping,
            Which::Vote(it) => Self::Vote(Twin::read(it?, source)?),
            Which::BeginEpoch(it) => Self::BeginEpoch(Twin::read(it?, source)?),
            Which::EndEpoch(it) => Self::EndEpoch(Twin::read(it?, source)?),
            Which::Fetch(it) => Self::Fetch(Twin::read(it?, source)?),
            Which::FetchSnapshot(it) => Self::FetchSnapshot(Twin::read(it?, source)?),
            Which::Register(it) => Self::Register(Twin::read(it?, source)?),
            Which::Heartbeat(it) => Self::Heartbeat(Twin::read(it?, source)?),
            Which::AlterPartition(it) => Self::AlterPartition(Twin::read(it?, source)?),
            Which::AllotProducerIds(it) => Self::AllotProducerIds(Twin::read(it?, source)?),
            Which::Forward(it) => Self::Forward(Box::new(read_handed_on(it?, source)?)),
        })
    }
}

fn read_handed_on(from: native_capnp::request::Reader<'_>, source: &mut Source) -> Result<Request, DecodeError> {
    use native_capnp::request::Which;
    match from.which() {
        Ok(Which::Hello(_) | Which::Peer(_)) => Err(DecodeError::Nested),
        _ => read_request(from, source),
    }
}

/// Writes a node's answer; what it hands on may speak of addresses.
pub(super) fn write_answer(
    response: &PeerResponse,
    surroundings: &Surroundings,
    mut to: schema::peer_response::Builder<'_>,
) {
    match response {
        PeerResponse::Pong => to.set_pong(()),
        PeerResponse::Vote(it) => it.write(to.init_vote()),
        PeerResponse::Epoch(it) => it.write(to.init_epoch()),
        PeerResponse::Fetch(it) => it.write(to.init_fetch()),
        PeerResponse::FetchSnapshot(it) => it.write(to.init_fetch_snapshot()),
        PeerResponse::Register(it) => it.write(to.init_register()),
        PeerResponse::Heartbeat(it) => it.write(to.init_heartbeat()),
        PeerResponse::AlterPartition(it) => it.write(to.init_alter_partition()),
        PeerResponse::AllotProducerIds(it) => it.write(to.init_allot_producer_ids()),
        PeerResponse::Forward(response) => write_response(response, surroundings, to.init_forward()),
    }
}

impl Twin for PeerResponse {
    type Wire = schema::peer_response::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        write_answer(self, &Surroundings::default(), to);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        use schema::peer_response::Which;
        Ok(match from.which().map_err(|_| DecodeError::Unknown { what: "the kind" })? {
            Which::Pong(()) => Self::Pong,
            Which::Vote(it) => Self::Vote(Twin::read(it?, source)?),
            Which::Epoch(it) => Self::Epoch(Twin::read(it?, source)?),
            Which::Fetch(it) => Self::Fetch(Twin::read(it?, source)?),
            Which::FetchSnapshot(it) => Self::FetchSnapshot(Twin::read(it?, source)?),
            Which::Register(it) => Self::Register(Twin::read(it?, source)?),
            Which::Heartbeat(it) => Self::Heartbeat(Twin::read(it?, source)?),
            Which::AlterPartition(it) => Self::AlterPartition(Twin::read(it?, source)?),
            Which::AllotProducerIds(it) => Self::AllotProducerIds(Twin::read(it?, source)?),
            Which::Forward(it) => Self::Forward(Box::new(read_handed_back(it?, source)?)),
        })
    }
}

fn read_handed_back(from: native_capnp::response::Reader<'_>, source: &mut Source) -> Result<Response, DecodeError> {
    use native_capnp::response::Which;
    match from.which() {
        Ok(Which::Hello(_) | Which::Refused(_) | Which::Peer(_)) => Err(DecodeError::Nested),
        _ => read_response(from, source),
    }
}

impl Twin for TopicPartition {
    type Wire = schema::partition_ref::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        let topic = u128::from_be_bytes(self.topic.0);
        to.set_topic_high((topic >> 64) as u64);
        to.set_topic_low(topic as u64);
        to.set_partition(self.partition.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        let topic = u128::from(from.get_topic_high()) << 64 | u128::from(from.get_topic_low());
        Ok(Self { topic: TopicId(topic.to_be_bytes()), partition: PartitionId(from.get_partition()) })
    }
}

/// A leader's id, where one is known.
fn write_leader(leader: Option<NodeId>) -> i32 {
    leader.map_or(-1, |node| node.0)
}

fn read_leader(leader: i32) -> Option<NodeId> {
    optional(leader).map(NodeId)
}

// ------------------------------------------------------------------------------------------------ quorum

impl Twin for VoteRequest {
    type Wire = schema::vote_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_candidate(self.candidate.0);
        write_uuid(self.directory.0, to.reborrow().init_directory());
        if !self.voter_directory.is_any() {
            write_uuid(self.voter_directory.0, to.reborrow().init_voter_directory());
        }
        to.set_epoch(self.epoch.0);
        to.set_last_epoch(self.last_epoch.0);
        to.set_log_end(self.log_end.0);
        to.set_pre_vote(self.pre_vote);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            candidate: NodeId(from.get_candidate()),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            voter_directory: DirectoryId(read_uuid(from.get_voter_directory()?)),
            epoch: LeaderEpoch(from.get_epoch()),
            last_epoch: LeaderEpoch(from.get_last_epoch()),
            log_end: Offset(from.get_log_end()),
            pre_vote: from.get_pre_vote(),
        })
    }
}

impl Twin for VoteResponse {
    type Wire = schema::vote_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_epoch(self.epoch.0);
        to.set_leader(write_leader(self.leader));
        to.set_granted(self.granted);
        write_optional_text!(&self.leader_endpoint, to.set_leader_endpoint);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            epoch: LeaderEpoch(from.get_epoch()),
            leader: read_leader(from.get_leader()),
            granted: from.get_granted(),
            leader_endpoint: read_optional_text!(from, has_leader_endpoint, get_leader_endpoint),
        })
    }
}

impl Twin for BeginEpochRequest {
    type Wire = schema::begin_epoch_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_leader(self.leader.0);
        to.set_epoch(self.epoch.0);
        write_optional_text!(&self.leader_endpoint, to.set_leader_endpoint);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            leader: NodeId(from.get_leader()),
            epoch: LeaderEpoch(from.get_epoch()),
            leader_endpoint: read_optional_text!(from, has_leader_endpoint, get_leader_endpoint),
        })
    }
}

impl Twin for EndEpochRequest {
    type Wire = schema::end_epoch_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_leader(self.leader.0);
        to.set_epoch(self.epoch.0);
        write_nodes(&self.successors, to.init_successors(len(&self.successors)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            leader: NodeId(from.get_leader()),
            epoch: LeaderEpoch(from.get_epoch()),
            successors: read_nodes(from.get_successors()?, source)?,
        })
    }
}

impl Twin for EpochResponse {
    type Wire = schema::epoch_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_epoch(self.epoch.0);
        to.set_leader(write_leader(self.leader));
        write_optional_text!(&self.leader_endpoint, to.set_leader_endpoint);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            epoch: LeaderEpoch(from.get_epoch()),
            leader: read_leader(from.get_leader()),
            leader_endpoint: read_optional_text!(from, has_leader_endpoint, get_leader_endpoint),
        })
    }
}

// ------------------------------------------------------------------------------------------------ replication

impl Twin for ReplicaFetchRequest {
    type Wire = schema::replica_fetch_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_replica(self.replica.0);
        write_uuid(self.directory.0, to.reborrow().init_directory());
        to.set_broker_epoch(self.broker_epoch.0);
        to.set_session(self.session);
        to.set_sequence(self.sequence);
        to.set_max_wait_ms(millis(self.max_wait));
        to.set_max_bytes(saturated(self.max_bytes));
        write_list(&self.partitions, to.reborrow().init_partitions(len(&self.partitions)));
        write_list(&self.forgotten, to.init_forgotten(len(&self.forgotten)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            replica: NodeId(from.get_replica()),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            broker_epoch: BrokerEpoch(from.get_broker_epoch()),
            session: from.get_session(),
            sequence: from.get_sequence(),
            max_wait: duration(from.get_max_wait_ms()),
            max_bytes: from.get_max_bytes() as usize,
            partitions: read_list(from.get_partitions()?, source)?,
            forgotten: read_list(from.get_forgotten()?, source)?,
        })
    }
}

impl Twin for ReplicaFetchPartition {
    type Wire = schema::replica_fetch_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.id.write(to.reborrow().init_id());
        to.set_current_leader_epoch(self.current_leader_epoch.0);
        to.set_last_fetched_epoch(self.last_fetched_epoch.0);
        to.set_offset(self.offset.0);
        to.set_acknowledged(self.acknowledged.0);
        to.set_log_start(self.log_start.0);
        to.set_high_watermark(self.high_watermark.0);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            id: TopicPartition::read(from.get_id()?, source)?,
            current_leader_epoch: LeaderEpoch(from.get_current_leader_epoch()),
            offset: Offset(from.get_offset()),
            acknowledged: Offset(from.get_acknowledged()),
            last_fetched_epoch: LeaderEpoch(from.get_last_fetched_epoch()),
            log_start: Offset(from.get_log_start()),
            high_watermark: Offset(from.get_high_watermark()),
        })
    }
}

impl Twin for ReplicaFetchResponse {
    type Wire = schema::replica_fetch_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_session(self.session);
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            session: from.get_session(),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for ReplicaFetched {
    type Wire = schema::replica_fetched::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.id.write(to.reborrow().init_id());
        to.set_error(self.error.code());
        to.set_leader(write_leader(self.leader));
        to.set_leader_epoch(self.leader_epoch.0);
        to.set_high_watermark(self.high_watermark.0);
        to.set_log_start(self.log_start.0);
        if let Some((epoch, end)) = self.diverging {
            to.set_diverging_epoch(epoch.0);
            to.set_diverging_end(end.0);
        }
        if let Some(SnapshotId { end, epoch }) = self.snapshot {
            to.set_snapshot_epoch(epoch.0);
            to.set_snapshot_end(end.0);
        }
        to.set_records_bytes(saturated(records_bytes(&self.records)));
        write_optional_text!(&self.leader_endpoint, to.set_leader_endpoint);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        let records = source.take_body(from.get_records_bytes())?;
        Ok(Self {
            id: TopicPartition::read(from.get_id()?, source)?,
            error: ErrorCode::from_code(from.get_error()),
            leader: read_leader(from.get_leader()),
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
            high_watermark: Offset(from.get_high_watermark()),
            log_start: Offset(from.get_log_start()),
            diverging: optional(from.get_diverging_end())
                .map(|end| (LeaderEpoch(from.get_diverging_epoch()), Offset(end))),
            snapshot: optional(from.get_snapshot_end())
                .map(|end| SnapshotId { end: Offset(end), epoch: LeaderEpoch(from.get_snapshot_epoch()) }),
            records: if records.is_empty() { Records::Empty } else { Records::Bytes(records) },
            leader_endpoint: read_optional_text!(from, has_leader_endpoint, get_leader_endpoint),
        })
    }
}

impl Twin for FetchSnapshotRequest {
    type Wire = schema::fetch_snapshot_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_replica(self.replica.0);
        to.set_current_leader_epoch(self.current_leader_epoch.0);
        to.set_snapshot_epoch(self.snapshot.epoch.0);
        to.set_snapshot_end(self.snapshot.end.0);
        to.set_position(self.position);
        to.set_max_bytes(saturated(self.max_bytes));
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            replica: NodeId(from.get_replica()),
            current_leader_epoch: LeaderEpoch(from.get_current_leader_epoch()),
            snapshot: SnapshotId {
                end: Offset(from.get_snapshot_end()),
                epoch: LeaderEpoch(from.get_snapshot_epoch()),
            },
            position: from.get_position(),
            max_bytes: from.get_max_bytes() as usize,
        })
    }
}

impl Twin for FetchSnapshotResponse {
    type Wire = schema::fetch_snapshot_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_leader(write_leader(self.leader));
        to.set_epoch(self.epoch.0);
        to.set_size(self.size);
        to.set_position(self.position);
        to.set_piece_bytes(saturated(self.bytes.len()));
        write_optional_text!(&self.leader_endpoint, to.set_leader_endpoint);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            leader: read_leader(from.get_leader()),
            epoch: LeaderEpoch(from.get_epoch()),
            size: from.get_size(),
            position: from.get_position(),
            bytes: source.take_body(from.get_piece_bytes())?,
            leader_endpoint: read_optional_text!(from, has_leader_endpoint, get_leader_endpoint),
        })
    }
}

/// The batches of an answer to a follower.
pub(super) fn fetch_body(response: &ReplicaFetchResponse) -> Body<'_> {
    let mut body = Body::default();
    for partition in &response.partitions {
        push_records(&partition.records, &mut body);
    }
    body
}

// ------------------------------------------------------------------------------------------------ registration

impl Twin for RegisterRequest {
    type Wire = schema::register_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        write_uuid(self.incarnation.to_be_bytes(), to.reborrow().init_incarnation());
        write_uuid(self.directory.0, to.reborrow().init_directory());
        write_optional_text!(&self.rack, to.set_rack);
        to.set_native(&self.endpoints.native);
        to.set_kafka(&self.endpoints.kafka);
        to.set_previous_epoch(self.previous_epoch.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(from.get_node()),
            incarnation: u128::from_be_bytes(read_uuid(from.get_incarnation()?)),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            rack: read_optional_text!(from, has_rack, get_rack),
            endpoints: Endpoints { native: read_text(from.get_native()?)?, kafka: read_text(from.get_kafka()?)? },
            previous_epoch: BrokerEpoch(from.get_previous_epoch()),
        })
    }
}

impl Twin for RegisterResponse {
    type Wire = schema::register_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_epoch(self.epoch.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { error: ErrorCode::from_code(from.get_error()), epoch: BrokerEpoch(from.get_epoch()) })
    }
}

impl Twin for HeartbeatRequest {
    type Wire = schema::heartbeat_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        to.set_epoch(self.epoch.0);
        to.set_metadata_offset(self.metadata_offset.0);
        to.set_wants_to_stop(self.wants_to_stop);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(from.get_node()),
            epoch: BrokerEpoch(from.get_epoch()),
            metadata_offset: Offset(from.get_metadata_offset()),
            wants_to_stop: from.get_wants_to_stop(),
        })
    }
}

impl Twin for HeartbeatResponse {
    type Wire = schema::heartbeat_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_is_fenced(self.is_fenced);
        to.set_may_stop(self.may_stop);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            is_fenced: from.get_is_fenced(),
            may_stop: from.get_may_stop(),
        })
    }
}

impl Twin for AlterPartitionRequest {
    type Wire = schema::alter_partition_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        to.set_broker_epoch(self.broker_epoch.0);
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(from.get_node()),
            broker_epoch: BrokerEpoch(from.get_broker_epoch()),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for AlterPartition {
    type Wire = schema::alter_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.id.write(to.reborrow().init_id());
        to.set_leader_epoch(self.leader_epoch.0);
        to.set_partition_epoch(self.partition_epoch.0);
        write_list(&self.isr, to.init_isr(len(&self.isr)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            id: TopicPartition::read(from.get_id()?, source)?,
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
            partition_epoch: PartitionEpoch(from.get_partition_epoch()),
            isr: read_list(from.get_isr()?, source)?,
        })
    }
}

/// A member of the ISR, with the registration under which it was seen.
impl Twin for (NodeId, BrokerEpoch) {
    type Wire = schema::isr_member::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.0.0);
        to.set_epoch(self.1.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok((NodeId(from.get_node()), BrokerEpoch(from.get_epoch())))
    }
}

impl Twin for AlterPartitionResponse {
    type Wire = schema::alter_partition_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for AlteredPartition {
    type Wire = schema::altered_partition::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        self.id.write(to.reborrow().init_id());
        to.set_error(self.error.code());
        to.set_leader(write_leader(self.leader));
        to.set_leader_epoch(self.leader_epoch.0);
        to.set_partition_epoch(self.partition_epoch.0);
        write_nodes(&self.isr, to.init_isr(len(&self.isr)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            id: TopicPartition::read(from.get_id()?, source)?,
            error: ErrorCode::from_code(from.get_error()),
            leader: read_leader(from.get_leader()),
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
            isr: read_nodes(from.get_isr()?, source)?,
            partition_epoch: PartitionEpoch(from.get_partition_epoch()),
        })
    }
}

impl Twin for AllotProducerIdsRequest {
    type Wire = schema::allot_producer_ids_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        to.set_epoch(self.epoch.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { node: NodeId(from.get_node()), epoch: BrokerEpoch(from.get_epoch()) })
    }
}

impl Twin for AllotProducerIdsResponse {
    type Wire = schema::allot_producer_ids_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_first(self.first.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { error: ErrorCode::from_code(from.get_error()), first: ProducerId(from.get_first()) })
    }
}
