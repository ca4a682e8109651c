//! Metadata's messages: brokers, topics, partitions, sizes of logs.

use capnp::struct_list;
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, PartitionId, TopicId, TopicName},
    message::*,
};
use tidelog_schemas::native_capnp as schema;

use super::{
    hello::{Endpoint, Surroundings},
    twin::*,
};

impl Twin for BrokerInfo {
    type Wire = schema::broker::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_node(self.node.0);
        write_optional_text!(&self.rack, to.set_rack);
        to.set_fenced(self.fenced);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        let node = NodeId(from.get_node());
        if from.has_host() {
            let endpoint = Endpoint { host: read_text(from.get_host()?)?, port: from.get_port() };
            source.surroundings().endpoints.insert(node, endpoint);
        }
        Ok(Self {
            node,
            rack: read_optional_text!(from, has_rack, get_rack),
            fenced: from.get_fenced(),
            endpoints: Endpoints::default(),
        })
    }
}

fn write_endpoints(surroundings: &Surroundings, mut brokers: struct_list::Builder<'_, schema::broker::Owned>) {
    for index in 0..brokers.len() {
        let mut broker = brokers.reborrow().get(index);
        let node = NodeId(broker.reborrow().into_reader().get_node());
        if let Some(endpoint) = surroundings.endpoints.get(&node) {
            broker.set_host(&endpoint.host);
            broker.set_port(endpoint.port);
        }
    }
}

/// A place in the order of topic names and partitions.
type Place = (TopicName, PartitionId);

fn write_place(place: &Place, mut to: schema::topic_partition::Builder<'_>) {
    to.set_topic(place.0.as_str());
    to.set_partition(place.1.0);
}

fn read_place(from: schema::topic_partition::Reader<'_>) -> Result<Place, DecodeError> {
    Ok((read_name(from.get_topic()?)?, PartitionId(from.get_partition())))
}

impl Twin for Place {
    type Wire = schema::topic_partition::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        write_place(self, to);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        read_place(from)
    }
}

impl Twin for MetadataRequest {
    type Wire = schema::metadata_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_allow_auto_topic_creation(self.allow_auto_topic_creation);
        let mut topics = to.init_topics();
        match &self.topics {
            None => topics.set_all(()),
            Some(listed) => write_list(listed, topics.init_listed(len(listed))),
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        use schema::metadata_request::topics::Which;
        Ok(Self {
            topics: match from
                .get_topics()
                .which()
                .map_err(|_| DecodeError::Unknown { what: "the choice of topics" })?
            {
                Which::All(()) => None,
                Which::Listed(listed) => Some(read_list(listed?, source)?),
            },
            allow_auto_topic_creation: from.get_allow_auto_topic_creation(),
        })
    }
}

/// Writes a metadata response with the addresses of its brokers.
pub(super) fn write_metadata(
    response: &MetadataResponse,
    surroundings: &Surroundings,
    mut to: schema::metadata_response::Builder<'_>,
) {
    let mut brokers = to.reborrow().init_brokers(len(&response.brokers));
    write_list(&response.brokers, brokers.reborrow());
    write_endpoints(surroundings, brokers);
    to.set_cluster_id(&response.cluster_id);
    to.set_controller(response.controller.0);
    write_list(&response.topics, to.init_topics(len(&response.topics)));
}

impl Twin for MetadataResponse {
    type Wire = schema::metadata_response::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        write_metadata(self, &Surroundings::default(), to);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            brokers: read_list(from.get_brokers()?, source)?,
            cluster_id: read_text(from.get_cluster_id()?)?,
            controller: NodeId(from.get_controller()),
            topics: read_list(from.get_topics()?, source)?,
        })
    }
}

impl Twin for TopicMetadata {
    type Wire = schema::topic_metadata::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        write_optional_text!(self.name.as_ref().map(TopicName::as_str), to.set_name);
        write_uuid(self.id.0, to.reborrow().init_id());
        to.set_is_internal(self.is_internal);
        write_list(&self.partitions, to.init_partitions(len(&self.partitions)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            name: if from.has_name() { Some(read_name(from.get_name()?)?) } else { None },
            id: TopicId(read_uuid(from.get_id()?)),
            is_internal: from.get_is_internal(),
            partitions: read_list(from.get_partitions()?, source)?,
        })
    }
}

impl Twin for PartitionMetadata {
    type Wire = schema::partition_metadata::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_partition(self.partition.0);
        to.set_leader(self.leader.map_or(-1, |node| node.0));
        to.set_leader_epoch(self.leader_epoch.0);
        write_nodes(&self.replicas, to.reborrow().init_replicas(len(&self.replicas)));
        write_nodes(&self.isr, to.reborrow().init_isr(len(&self.isr)));
        write_nodes(&self.elr, to.reborrow().init_elr(len(&self.elr)));
        write_nodes(&self.offline, to.init_offline(len(&self.offline)));
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            partition: PartitionId(from.get_partition()),
            leader: optional(from.get_leader()).map(NodeId),
            leader_epoch: LeaderEpoch(from.get_leader_epoch()),
            replicas: read_nodes(from.get_replicas()?, source)?,
            isr: read_nodes(from.get_isr()?, source)?,
            elr: read_nodes(from.get_elr()?, source)?,
            offline: read_nodes(from.get_offline()?, source)?,
        })
    }
}

/// Writes a cluster's description with the addresses of its brokers.
pub(super) fn write_cluster(
    response: &DescribeClusterResponse,
    surroundings: &Surroundings,
    mut to: schema::describe_cluster_response::Builder<'_>,
) {
    to.set_cluster_id(&response.cluster_id);
    to.set_controller(response.controller.0);
    let mut brokers = to.init_brokers(len(&response.brokers));
    write_list(&response.brokers, brokers.reborrow());
    write_endpoints(surroundings, brokers);
}

impl Twin for DescribeClusterResponse {
    type Wire = schema::describe_cluster_response::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        write_cluster(self, &Surroundings::default(), to);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            cluster_id: read_text(from.get_cluster_id()?)?,
            controller: NodeId(from.get_controller()),
            brokers: read_list(from.get_brokers()?, source)?,
        })
    }
}

impl Twin for DescribeTopicPartitionsRequest {
    type Wire = schema::describe_topic_partitions_request::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_texts(self.topics.iter().map(TopicName::as_str), to.reborrow().init_topics(len(&self.topics)));
        to.set_limit(saturated(self.limit));
        if let Some(cursor) = &self.cursor {
            write_place(cursor, to.init_cursor());
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topics: read_texts(from.get_topics()?, source, TopicName::new)?,
            limit: from.get_limit() as usize,
            cursor: if from.has_cursor() { Some(read_place(from.get_cursor()?)?) } else { None },
        })
    }
}

impl Twin for DescribeTopicPartitionsResponse {
    type Wire = schema::describe_topic_partitions_response::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        write_list(&self.topics, to.reborrow().init_topics(len(&self.topics)));
        if let Some(next) = &self.next {
            write_place(next, to.init_next());
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topics: read_list(from.get_topics()?, source)?,
            next: if from.has_next() { Some(read_place(from.get_next()?)?) } else { None },
        })
    }
}

impl Twin for DescribeLogDirsRequest {
    type Wire = schema::describe_log_dirs_request::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        let mut partitions = to.init_partitions();
        match &self.partitions {
            None => partitions.set_all(()),
            Some(listed) => write_list(listed, partitions.init_listed(len(listed))),
        }
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        use schema::describe_log_dirs_request::partitions::Which;
        let which = from.get_partitions().which();
        Ok(Self {
            partitions: match which.map_err(|_| DecodeError::Unknown { what: "the choice of partitions" })? {
                Which::All(()) => None,
                Which::Listed(listed) => Some(read_list(listed?, source)?),
            },
        })
    }
}

/// Writes the sizes of logs with the path of their directory.
pub(super) fn write_log_dirs(
    response: &DescribeLogDirsResponse,
    surroundings: &Surroundings,
    mut to: schema::describe_log_dirs_response::Builder<'_>,
) {
    to.set_error(response.error.code());
    write_uuid(response.directory.0, to.reborrow().init_directory());
    write_optional_text!(&surroundings.directory_path, to.set_path);
    write_list(&response.logs, to.init_logs(len(&response.logs)));
}

impl Twin for DescribeLogDirsResponse {
    type Wire = schema::describe_log_dirs_response::Owned;

    fn write(&self, to: Builder<'_, Self>) {
        write_log_dirs(self, &Surroundings::default(), to);
    }

    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
        source.surroundings().directory_path = read_optional_text!(from, has_path, get_path);
        Ok(Self {
            error: ErrorCode::from_code(from.get_error()),
            directory: DirectoryId(read_uuid(from.get_directory()?)),
            logs: read_list(from.get_logs()?, source)?,
        })
    }
}

impl Twin for LogSize {
    type Wire = schema::log_size::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_topic(self.topic.as_str());
        to.set_partition(self.partition.0);
        to.set_bytes(self.bytes);
        to.set_lag(self.lag);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            topic: read_name(from.get_topic()?)?,
            partition: PartitionId(from.get_partition()),
            bytes: from.get_bytes(),
            lag: from.get_lag(),
        })
    }
}
