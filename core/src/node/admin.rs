//! Questions about the cluster: answered from the committed image.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    Node,
    calls::Purpose,
    decisions::{self, Pending},
};
use crate::{
    cluster::{Partition, Topic},
    ids::{NodeId, PartitionId, RequestId, TopicPartition},
    log::LogConfig,
    message::{
        BrokerInfo, ConfigEntry, ConfigKind, ConfigResource, ConfigSource, DescribeClusterResponse,
        DescribeConfigsRequest, DescribeConfigsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribedConfigs, ErrorCode, LogSize,
        MetadataRequest, MetadataResponse, PartitionMetadata, PeerRequest, Request, Response, TopicMetadata, TopicRef,
    },
};

impl Node {
    pub(super) fn on_metadata(&mut self, id: RequestId, request: MetadataRequest) {
        let creates = self.config.auto_create_topics && request.allow_auto_topic_creation;
        let missing = |topic: &TopicRef| match topic {
            TopicRef::Name(name) => name.check().is_ok() && self.image.topic_named(name).is_none(),
            TopicRef::Id(_) => false,
        };
        if creates && request.topics.iter().flatten().any(missing) {
            match self.metadata.leader() {
                Some(controller) if controller != self.config.node => {
                    let create = Request::CreateTopics(decisions::missing(&self.image, &request));
                    let (timeout, purpose) = (self.config.waits.call_timeout, Purpose::AutoCreate(id, request));
                    self.call(controller, PeerRequest::Forward(Box::new(create)), timeout, purpose);
                }
                _ => self.enqueue(Pending::AutoCreate(id, request)),
            }
        } else {
            self.answer_metadata(id, &request);
        }
    }

    pub(super) fn answer_metadata(&mut self, id: RequestId, request: &MetadataRequest) {
        let topics = match &request.topics {
            None => self.image.topics().map(|t| self.describe_topic(t)).collect(),
            Some(topics) => topics.iter().map(|t| self.describe_named(t)).collect(),
        };
        let response = MetadataResponse {
            brokers: self.brokers().into_iter().filter(|b| !b.fenced).collect(),
            cluster_id: self.config.cluster_id.clone(),
            controller: self.config.node,
            topics,
        };
        self.respond(id, Response::Metadata(response));
    }

    fn describe_named(&self, topic: &TopicRef) -> TopicMetadata {
        if let Some(found) = self.image.resolve(topic) {
            return self.describe_topic(found);
        }
        let error = match topic {
            TopicRef::Id(_) => ErrorCode::UnknownTopicId,
            TopicRef::Name(name) if name.check().is_err() => ErrorCode::InvalidTopic,
            TopicRef::Name(_) => ErrorCode::UnknownTopicOrPartition,
        };
        TopicMetadata::failed(topic, error)
    }

    fn describe_topic(&self, topic: &Topic) -> TopicMetadata {
        let partitions = (0..).zip(&topic.partitions).map(|(p, partition)| self.describe(topic, p, partition));
        TopicMetadata {
            error: ErrorCode::None,
            name: Some(topic.name.clone()),
            id: topic.id,
            is_internal: topic.name.as_str().starts_with("__"),
            partitions: partitions.collect(),
        }
    }

    fn describe(&self, topic: &Topic, p: i32, partition: &Partition) -> PartitionMetadata {
        let id = TopicPartition { topic: topic.id, partition: PartitionId(p) };
        let failed =
            self.broken.contains(&id) || self.by_id.get(&id).is_some_and(|log| self.partitions[log].is_offline());
        let alive = |node: &NodeId| {
            self.image.broker(*node).is_some_and(|b| !b.fenced) && !(failed && *node == self.config.node)
        };
        let leader = partition.leader.filter(alive).filter(|leader| !self.is_in_doubt(*leader));
        PartitionMetadata {
            error: if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
            partition: PartitionId(p),
            leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas.clone(),
            isr: partition.isr.clone(),
            elr: partition.elr().to_vec(),
            offline: partition.replicas.iter().filter(|node| !alive(node)).copied().collect(),
        }
    }

    fn brokers(&self) -> Vec<BrokerInfo> {
        let info = |(node, broker): (NodeId, &crate::cluster::Broker)| BrokerInfo {
            node,
            rack: broker.rack.clone(),
            fenced: broker.fenced,
            endpoints: broker.endpoints.clone(),
        };
        self.image.brokers().map(info).collect()
    }

    pub(super) fn on_describe_cluster(&mut self, id: RequestId) {
        let response = DescribeClusterResponse {
            cluster_id: self.config.cluster_id.clone(),
            controller: self.config.node,
            brokers: self.brokers(),
        };
        self.respond(id, Response::DescribeCluster(response));
    }

    pub(super) fn on_describe_topic_partitions(&mut self, id: RequestId, request: &DescribeTopicPartitionsRequest) {
        let mut response = DescribeTopicPartitionsResponse { topics: Vec::new(), next: None };
        let mut names: Vec<_> = if request.topics.is_empty() {
            self.image.topics().map(|t| t.name.clone()).collect()
        } else {
            request.topics.clone()
        };
        names.sort();
        names.dedup();
        let mut room = request.limit;
        for name in names {
            let first = match &request.cursor {
                Some((topic, _)) if name < *topic => continue,
                Some((topic, partition)) if name == *topic => usize::try_from(partition.0).unwrap_or(0),
                _ => 0,
            };
            if room == 0 {
                response.next = Some((name, PartitionId(0)));
                break;
            }
            let mut topic = self.describe_named(&TopicRef::Name(name.clone()));
            topic.partitions.drain(..first.min(topic.partitions.len()));
            if topic.partitions.len() > room {
                response.next = Some((name, topic.partitions[room].partition));
                topic.partitions.truncate(room);
            }
            room -= topic.partitions.len();
            response.topics.push(topic);
            if response.next.is_some() {
                break;
            }
        }
        self.respond(id, Response::DescribeTopicPartitions(response));
    }

    pub(super) fn on_describe_log_dirs(&mut self, id: RequestId, request: &DescribeLogDirsRequest) {
        let wanted = |p: &&crate::replica::Partition| match &request.partitions {
            None => true,
            Some(wanted) => wanted.iter().any(|(topic, partition)| *topic == p.topic && *partition == p.id.partition),
        };
        let size = |p: &crate::replica::Partition| LogSize {
            topic: p.topic.clone(),
            partition: p.id.partition,
            bytes: p.size(),
            lag: 0,
        };
        let offline = !self.partitions.is_empty() && self.partitions.values().all(|p| p.is_offline());
        let response = DescribeLogDirsResponse {
            error: if offline { ErrorCode::KafkaStorageError } else { ErrorCode::None },
            directory: self.config.directory,
            logs: self.partitions.values().filter(wanted).map(size).collect(),
        };
        self.respond(id, Response::DescribeLogDirs(response));
    }

    pub(super) fn on_describe_configs(&mut self, id: RequestId, request: &DescribeConfigsRequest) {
        let describe = |(resource, names): &(ConfigResource, Option<Vec<String>>)| {
            let mut described = DescribedConfigs {
                resource: resource.clone(),
                error: ErrorCode::None,
                message: None,
                entries: Vec::new(),
            };
            match resource {
                ConfigResource::Topic(name) if self.image.topic_named(name).is_none() => {
                    described.error = ErrorCode::UnknownTopicOrPartition;
                    described.message = Some(format!("there is no topic {:?}", name.as_str()));
                }
                ConfigResource::Topic(_) => {
                    let overrides = self.image.overrides(resource);
                    described.entries = self.controller.describe_topic_configs(overrides, names.as_deref());
                }
                ConfigResource::Broker(Some(node)) if *node != self.config.node => {
                    described.error = ErrorCode::InvalidRequest;
                    described.message = Some(format!("this is broker {}, not {node}", self.config.node));
                }
                ConfigResource::Broker(_) => {
                    described.entries = self.broker_configs();
                    described.entries.retain(|e| names.as_ref().is_none_or(|names| names.contains(&e.name)));
                }
            }
            described
        };
        let resources = request.resources.iter().map(describe).collect();
        self.respond(id, Response::DescribeConfigs(DescribeConfigsResponse { resources }));
    }

    /// The node's own settings, under Kafka's names. None can be changed while it runs.
    fn broker_configs(&self) -> Vec<ConfigEntry> {
        let defaults = super::NodeConfig::default();
        let shown = |config: &super::NodeConfig| {
            [
                ("auto.create.topics.enable", ConfigKind::Boolean, config.auto_create_topics.to_string()),
                ("broker.rack", ConfigKind::String, config.rack.clone().unwrap_or_default()),
                ("default.replication.factor", ConfigKind::Int, config.replication_default.to_string()),
                ("log.cleaner.backoff.ms", ConfigKind::Long, config.cleaner_backoff.as_millis().to_string()),
                ("log.retention.bytes", ConfigKind::Long, bytes(&config.log_defaults)),
                (
                    "log.retention.check.interval.ms",
                    ConfigKind::Long,
                    config.retention_check_interval.as_millis().to_string(),
                ),
                ("log.retention.ms", ConfigKind::Long, retention(&config.log_defaults)),
                ("log.segment.bytes", ConfigKind::Int, config.log_defaults.segment_bytes.to_string()),
                ("message.max.bytes", ConfigKind::Int, config.log_defaults.max_message_bytes.to_string()),
                ("min.insync.replicas", ConfigKind::Int, config.log_defaults.min_insync_replicas.to_string()),
                ("node.id", ConfigKind::Int, config.node.to_string()),
                ("num.partitions", ConfigKind::Int, config.partitions_default.to_string()),
                ("replica.selector.class", ConfigKind::String, config.replica_selector.class().to_string()),
            ]
        };
        let default = shown(&defaults);
        let entry = |((name, kind, value), (_, _, usual)): ((&str, ConfigKind, String), (&str, ConfigKind, String))| {
            let source = if value == usual { ConfigSource::Default } else { ConfigSource::StaticBroker };
            let documentation = String::new();
            ConfigEntry { name: name.to_string(), value: Some(value), source, read_only: true, kind, documentation }
        };
        shown(&self.config).into_iter().zip(default).map(entry).collect()
    }
}

fn bytes(config: &LogConfig) -> String {
    config.retention_bytes.map_or("-1".to_string(), |n| n.to_string())
}

fn retention(config: &LogConfig) -> String {
    config.retention.map_or("-1".to_string(), |d| d.as_millis().to_string())
}
