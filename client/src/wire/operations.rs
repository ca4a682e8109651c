//! What operators ask of a cluster: leaders, reassignments, brokers, the quorum.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, PartitionId},
    message::*,
    offset::Offset,
    time::Timestamp,
};
use tidelog_schemas::native_capnp as schema;

use super::twin::*;

/// Writes the choice between all partitions and those listed.
macro_rules! write_choice {
    ($partitions:expr, $to:expr) => {{
        let mut choice = $to.init_partitions();
        match $partitions {
            None => choice.set_all(()),
            Some(listed) => write_list(listed, choice.init_listed(len(listed))),
        }
    }};
}

/// Reads it.
macro_rules! read_choice {
    ($from:expr, $module:ident, $source:expr) => {{
        use schema::$module::partitions::Which;
        match $from.get_partitions().which().map_err(|_| DecodeError::Unknown { what: "the choice of partitions" })? {
            Which::All(()) => None,
            Which::Listed(listed) => Some(read_list(listed?, $source)?),
        }
    }};
}

/// The twin of a struct that says what became of one partition: topic, partition, error, message.
macro_rules! outcome_twin {
    ($type:ident) => {
        impl Twin for $type {
            type Wire = schema::partition_outcome::Owned;

            fn write(&self, mut to: Builder<'_, Self>) {
                to.set_topic(self.topic.as_str());
                to.set_partition(self.partition.0);
                to.set_error(self.error.code());
                write_optional_text!(&self.message, to.set_message);
            }

            fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
                Ok(Self {
                    topic: read_name(from.get_topic()?)?,
                    partition: PartitionId(from.get_partition()),
                    error: ErrorCode::from_code(from.get_error()),
                    message: read_optional_text!(from, has_message, get_message),
                })
            }
        }
    };
}

impl Twin for ElectLeadersRequest {
    type Wire = schema::elect_leaders_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_kind(match self.kind {
            ElectionKind::Preferred => schema::ElectionKind::Preferred,
            ElectionKind::Unclean => schema::ElectionKind::Unclean,
        });
        to.set_timeout_ms(millis(self.timeout));
        write_choice!(&self.partitions, to);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: match from.get_kind() {
                Ok(schema::ElectionKind::Preferred) => ElectionKind::Preferred,
                Ok(schema::ElectionKind::Unclean) => ElectionKind::Unclean,
                Err(_) => return Err(DecodeError::Unknown { what: "the kind of election" }),
            },
            partitions: read_choice!(from, elect_leaders_request, source),
            timeout: duration(from.get_timeout_ms()),
        })
    }
}

outcome_twin!(ElectedLeader);
outcome_twin!(Reassigned);

impl Twin for ElectLeadersResponse {
    type Wire = schema::elect_leaders_response::Owned;

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

impl Twin for AlterPartitionReassignmentsRequest {
    type Wire = schema::alter_partition_reassignments_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_allow_replication_factor_change(self.allow_replication_factor_change);
        to.set_timeout_ms(millis(self.timeout));
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            partitions: read_list(from.get_partitions()?, source)?,
            allow_replication_factor_change: from.get_allow_replication_factor_change(),
            timeout: duration(from.get_timeout_ms()),
        })
    }
}

impl Twin for Reassignment {
    type Wire = schema::reassignment::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_topic(self.topic.as_str());
        to.set_partition(self.partition.0);
        if let Some(replicas) = &self.replicas {
            write_nodes(replicas, to.init_replicas(len(replicas)));
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: read_name(from.get_topic()?)?,
            partition: PartitionId(from.get_partition()),
            replicas: if from.has_replicas() { Some(read_nodes(from.get_replicas()?, source)?) } else { None },
        })
    }
}

impl Twin for AlterPartitionReassignmentsResponse {
    type Wire = schema::alter_partition_reassignments_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for ListPartitionReassignmentsRequest {
    type Wire = schema::list_partition_reassignments_request::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        write_choice!(&self.partitions, to);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { partitions: read_choice!(from, list_partition_reassignments_request, source) })
    }
}

impl Twin for ListPartitionReassignmentsResponse {
    type Wire = schema::list_partition_reassignments_response::Owned;

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

impl Twin for OngoingReassignment {
    type Wire = schema::ongoing_reassignment::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_topic(self.topic.as_str());
        to.set_partition(self.partition.0);
        write_nodes(&self.replicas, to.reborrow().init_replicas(len(&self.replicas)));
        write_nodes(&self.adding, to.reborrow().init_adding(len(&self.adding)));
        write_nodes(&self.removing, to.init_removing(len(&self.removing)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: read_name(from.get_topic()?)?,
            partition: PartitionId(from.get_partition()),
            replicas: read_nodes(from.get_replicas()?, source)?,
            adding: read_nodes(from.get_adding()?, source)?,
            removing: read_nodes(from.get_removing()?, source)?,
        })
    }
}

impl Twin for UnregisterBrokerRequest {
    type Wire = schema::unregister_broker_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { node: NodeId(from.get_node()) })
    }
}

impl Twin for UnregisterBrokerResponse {
    type Wire = schema::unregister_broker_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
        })
    }
}

impl Twin for DescribeQuorumResponse {
    type Wire = schema::describe_quorum_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_leader(self.leader.map_or(-1, |node| node.0));
        to.set_epoch(self.epoch.0);
        to.set_high_watermark(self.high_watermark.0);
        write_list(&self.voters, to.reborrow().init_voters(len(&self.voters)));
        write_list(&self.observers, to.init_observers(len(&self.observers)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            leader: optional(from.get_leader()).map(NodeId),
            epoch: LeaderEpoch(from.get_epoch()),
            high_watermark: Offset(from.get_high_watermark()),
            voters: read_list(from.get_voters()?, source)?,
            observers: read_list(from.get_observers()?, source)?,
        })
    }
}

impl Twin for QuorumReplica {
    type Wire = schema::quorum_replica::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        write_uuid(self.directory.0, to.reborrow().init_directory());
        to.set_log_end(self.log_end.0);
        to.set_last_fetch(self.last_fetch.0);
        to.set_last_caught_up(self.last_caught_up.0);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(from.get_node()),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            log_end: Offset(from.get_log_end()),
            last_fetch: Timestamp(from.get_last_fetch()),
            last_caught_up: Timestamp(from.get_last_caught_up()),
        })
    }
}

impl Twin for AddVoterRequest {
    type Wire = schema::add_voter_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        write_uuid(self.directory.0, to.reborrow().init_directory());
        write_optional_text!(&self.endpoint, to.set_endpoint);
        write_optional_text!(&self.cluster_id, to.set_cluster_id);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(from.get_node()),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            endpoint: read_optional_text!(from, has_endpoint, get_endpoint),
            cluster_id: read_optional_text!(from, has_cluster_id, get_cluster_id),
        })
    }
}

impl Twin for RemoveVoterRequest {
    type Wire = schema::remove_voter_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        write_uuid(self.directory.0, to.reborrow().init_directory());
        write_optional_text!(&self.cluster_id, to.set_cluster_id);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(from.get_node()),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            cluster_id: read_optional_text!(from, has_cluster_id, get_cluster_id),
        })
    }
}

impl Twin for VotersChanged {
    type Wire = schema::voters_changed::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        write_optional_text!(&self.message, to.set_message);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            message: read_optional_text!(from, has_message, get_message),
        })
    }
}
