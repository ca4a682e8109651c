//! Kafka's messages to and from the core's: one file per family, field by field in the order of the wire.
//!
//! There is no tree of structures between the bytes and [`Request`]: a decoder reads fields into the core's request,
//! an encoder writes the core's response. `v` is the version everywhere, and `if v >= 7` says that a field came with
//! version 7. What a response needs of its request and the core does not echo travels in [`Shape`].

mod admin;
mod cluster;
mod configs;
mod data;
mod fetch;
mod metadata;
mod produce;
mod voters;

use std::sync::Mutex;

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicId, TopicName},
    message::{DeletedTopic, ErrorCode, ListedOffset, Request, Response, TopicRef},
    time::Instant,
};

pub(super) use self::{
    configs::ConfigsShape,
    fetch::{FetchAsked, SESSIONLESS},
    metadata::{VersionsAnswer, encode_api_versions},
};
use super::{
    api::{Api, ApiKey},
    locked,
    read::{Reader, WireError},
    session::{FetchSessions, Plan},
    write::Writer,
};

/// What a request asks of the listener.
#[derive(Debug)]
pub(super) enum Task {
    /// Ask the core, and write its answer in this shape.
    Ask(Request, Shape),
    /// A fetch, whose session knows what is to be asked.
    Fetch(FetchAsked),
    /// The listener knows the answer.
    Answer(Response, Shape),
    /// The versions served.
    Versions(VersionsAnswer),
}

/// What of a request its response needs beyond the core's answer.
#[derive(Debug)]
pub(super) enum Shape {
    /// The core's answer says everything.
    Plain,
    /// Produce; with `silent` nothing is answered at all (`acks=0`).
    Produce {
        /// No response.
        silent: bool,
    },
    /// Fetch, and what it is to its session.
    Fetch(Plan),
    /// ListOffsets, and the answers that the core was not asked for, each with its place.
    ListOffsets(Vec<(usize, ListedOffset)>),
    /// DeleteTopics, and the answers that the core was not asked for, each with its place.
    DeleteTopics(Vec<(usize, DeletedTopic)>),
    /// Metadata: which authorised operations were asked for.
    Metadata {
        /// Those on the cluster.
        cluster_operations: bool,
        /// Those on each topic.
        topic_operations: bool,
    },
    /// DescribeCluster.
    DescribeCluster {
        /// Those on the cluster.
        cluster_operations: bool,
        /// Fenced brokers as well.
        fenced: bool,
    },
    /// DescribeConfigs.
    DescribeConfigs(ConfigsShape),
    /// AlterConfigs and IncrementalAlterConfigs.
    AlterConfigs(ConfigsShape),
    /// AlterPartitionReassignments: the answer repeats the choice.
    AlterReassignments {
        /// As asked for.
        allow_replication_factor_change: bool,
    },
}

/// What only the listener knows and some responses tell.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    /// This node.
    pub(super) node: NodeId,
    /// Its name or address as clients are to use it.
    pub(super) host: &'a str,
    /// Its port.
    pub(super) port: u16,
    /// The data directory's path.
    pub(super) log_dir: &'a str,
    /// The size of the disk below it and what is free of that, in bytes.
    pub(super) disk: fn(&str) -> Option<(u64, u64)>,
    /// The time.
    pub(super) now: Instant,
    /// The fetch sessions.
    pub(super) sessions: &'a Mutex<FetchSessions>,
}

/// Reads a request's body.
pub(super) fn decode(api: &Api, v: i16, r: &mut Reader<'_>) -> Result<Task, WireError> {
    debug_assert!(api.serves(v), "the caller looks into the table first");
    match api.key {
        ApiKey::Produce => produce::decode(v, r),
        ApiKey::Fetch => fetch::decode(v, r).map(Task::Fetch),
        ApiKey::ListOffsets => data::decode_list_offsets(v, r),
        ApiKey::OffsetForLeaderEpoch => data::decode_offset_for_leader_epoch(v, r),
        ApiKey::DeleteRecords => data::decode_delete_records(v, r),
        ApiKey::InitProducerId => data::decode_init_producer_id(v, r),
        ApiKey::ApiVersions => metadata::decode_api_versions(v, r).map(Task::Versions),
        ApiKey::Metadata => metadata::decode_metadata(v, r),
        ApiKey::DescribeCluster => metadata::decode_describe_cluster(v, r),
        ApiKey::DescribeTopicPartitions => metadata::decode_describe_topic_partitions(v, r),
        ApiKey::DescribeLogDirs => metadata::decode_describe_log_dirs(v, r),
        ApiKey::CreateTopics => admin::decode_create_topics(v, r),
        ApiKey::DeleteTopics => admin::decode_delete_topics(v, r),
        ApiKey::CreatePartitions => admin::decode_create_partitions(v, r),
        ApiKey::DescribeConfigs => configs::decode_describe(v, r),
        ApiKey::AlterConfigs => configs::decode_alter(v, r),
        ApiKey::ElectLeaders => cluster::decode_elect_leaders(v, r),
        ApiKey::AlterPartitionReassignments => cluster::decode_alter_reassignments(v, r),
        ApiKey::ListPartitionReassignments => cluster::decode_list_reassignments(v, r),
        ApiKey::DescribeQuorum => cluster::decode_describe_quorum(v, r),
        ApiKey::UnregisterBroker => cluster::decode_unregister_broker(v, r),
        ApiKey::AddRaftVoter => voters::decode_add(v, r),
        ApiKey::RemoveRaftVoter => voters::decode_remove(v, r),
        ApiKey::IncrementalAlterConfigs => configs::decode_incremental(v, r),
    }
}

/// Writes a response's body: [`decode`]'s shape, the core's answer.
pub(super) fn encode(v: i16, shape: Shape, response: Response, place: &Place<'_>, w: &mut Writer) {
    match (response, shape) {
        (Response::Produce(response), _) => produce::encode(v, &response, w),
        (Response::Fetch(mut response), Shape::Fetch(plan)) => {
            let given = locked(place.sessions).finish(place.now, plan, &mut response);
            fetch::encode(v, given, &response, w);
        }
        (Response::ListOffsets(response), Shape::ListOffsets(refused)) => {
            data::encode_list_offsets(v, &merged(response.partitions, refused), w);
        }
        (Response::OffsetForLeaderEpoch(response), _) => data::encode_offset_for_leader_epoch(v, &response, w),
        (Response::DeleteRecords(response), _) => data::encode_delete_records(v, &response, w),
        (Response::InitProducerId(response), _) => data::encode_init_producer_id(v, &response, w),
        (Response::Metadata(response), Shape::Metadata { cluster_operations, topic_operations }) => {
            metadata::encode_metadata(v, &response, cluster_operations, topic_operations, place, w);
        }
        (Response::DescribeCluster(response), Shape::DescribeCluster { cluster_operations, fenced }) => {
            metadata::encode_describe_cluster(v, &response, cluster_operations, fenced, place, w);
        }
        (Response::DescribeTopicPartitions(response), _) => {
            metadata::encode_describe_topic_partitions(v, &response, w);
        }
        (Response::DescribeLogDirs(response), _) => metadata::encode_describe_log_dirs(v, &response, place, w),
        (Response::CreateTopics(response), _) => admin::encode_create_topics(v, &response, w),
        (Response::DeleteTopics(response), Shape::DeleteTopics(refused)) => {
            admin::encode_delete_topics(v, &merged(response.topics, refused), w);
        }
        (Response::CreatePartitions(response), _) => admin::encode_create_partitions(v, &response, w),
        (Response::DescribeConfigs(response), Shape::DescribeConfigs(shape)) => {
            configs::encode_describe(v, &shape, response, w);
        }
        (Response::AlterConfigs(response), Shape::AlterConfigs(shape)) => {
            configs::encode_alter(v, &shape, response, w);
        }
        (Response::ElectLeaders(response), _) => cluster::encode_elect_leaders(v, &response, w),
        (
            Response::AlterPartitionReassignments(response),
            Shape::AlterReassignments { allow_replication_factor_change },
        ) => cluster::encode_alter_reassignments(v, &response, allow_replication_factor_change, w),
        (Response::ListPartitionReassignments(response), _) => cluster::encode_list_reassignments(v, &response, w),
        (Response::DescribeQuorum(response), _) => cluster::encode_describe_quorum(v, &response, w),
        (Response::UnregisterBroker(response), _) => cluster::encode_unregister_broker(v, &response, w),
        (Response::AddVoter(response) | Response::RemoveVoter(response), _) => voters::encode(v, &response, w),
        (response, shape) => unreachable!("a node answered {response:?} to a request of shape {shape:?}"),
    }
}

/// The core's answers with those put in between that the core was not asked for.
fn merged<T>(answers: Vec<T>, refused: Vec<(usize, T)>) -> Vec<T> {
    if refused.is_empty() {
        return answers;
    }
    let mut all = Vec::with_capacity(answers.len() + refused.len());
    let mut answers = answers.into_iter();
    for (place, refusal) in refused {
        while all.len() < place {
            all.push(answers.next().expect("the core answers everything that it was asked"));
        }
        all.push(refusal);
    }
    all.extend(answers);
    all
}

/// Reads the topic of a request that names it up to some version and then gives its id.
fn topic_ref(by_id: bool, r: &mut Reader<'_>) -> Result<TopicRef, WireError> {
    Ok(if by_id { TopicRef::Id(r.topic_id()?) } else { TopicRef::Name(TopicName::new(r.string()?)) })
}

/// Writes a topic as its request named it.
fn write_topic_ref(topic: &TopicRef, w: &mut Writer) {
    match topic {
        TopicRef::Name(name) => w.string(name.as_str()),
        TopicRef::Id(id) => w.topic_id(*id),
    }
}

fn partition_id(r: &mut Reader<'_>) -> Result<PartitionId, WireError> {
    r.i32().map(PartitionId)
}

/// Reads partitions by topics; nothing is "all".
fn partitions(r: &mut Reader<'_>) -> Result<Option<Vec<(TopicName, PartitionId)>>, WireError> {
    let mut partitions = Vec::new();
    let some = r.each_nullable(|r| {
        let topic = data::topic_name(r)?;
        r.each(|r| {
            partitions.push((topic.clone(), partition_id(r)?));
            Ok(())
        })?;
        r.end()
    })?;
    Ok(some.then_some(partitions))
}

fn write_nodes(nodes: &[NodeId], w: &mut Writer) {
    w.array(nodes.iter(), |w, node| w.i32(node.0));
}

fn write_error(error: ErrorCode, w: &mut Writer) {
    w.i16(error.code());
}

fn name_or_empty(name: Option<&TopicName>) -> &str {
    name.map_or("", TopicName::as_str)
}

fn id_of(topic: &TopicRef) -> TopicId {
    match topic {
        TopicRef::Id(id) => *id,
        TopicRef::Name(_) => TopicId::ZERO,
    }
}
