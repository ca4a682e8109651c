//! Metadata and administration: topics, partitions, configs, the cluster.

use alloc::{string::String, vec::Vec};

use super::{Endpoints, ErrorCode, TopicRef};
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, PartitionId, TopicId, TopicName},
    time::Duration,
};

/// A broker as clients reach it. Which of its addresses they are told is the listener's choice; where one is empty,
/// nobody but the broker's own listener knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its id.
    pub node: NodeId,
    /// Its rack (`broker.rack`).
    pub rack: Option<String>,
    /// Out of service (KIP-631)?
    pub fenced: bool,
    /// Where it is reached.
    pub endpoints: Endpoints,
}

/// Topics, partitions, leaders, brokers.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataRequest {
    /// The topics wanted; `None` is all.
    pub topics: Option<Vec<TopicRef>>,
    /// Create named topics that do not exist, if the broker does that too (`auto.create.topics.enable`).
    pub allow_auto_topic_creation: bool,
}

/// Answer to [`MetadataRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataResponse {
    /// Every broker that is in service.
    pub brokers: Vec<BrokerInfo>,
    /// Kafka's 22-character cluster id.
    pub cluster_id: String,
    /// Where to send administration: a live broker (never the controller itself, as Kafka has it since KIP-590).
    pub controller: NodeId,
    /// The topics asked for, unknown ones with their error.
    pub topics: Vec<TopicMetadata>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicMetadata {
    /// Why there is no more, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The name; `None` where an unknown id was asked for.
    pub name: Option<TopicName>,
    /// The id; zero where an unknown name was asked for.
    pub id: TopicId,
    /// One of tidelog's own, such as `__consumer_offsets`?
    pub is_internal: bool,
    /// In order of their numbers.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionMetadata {
    /// [`ErrorCode::LeaderNotAvailable`], or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// Its number.
    pub partition: PartitionId,
    /// Its leader, if it has one.
    pub leader: Option<NodeId>,
    /// That leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its replicas, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Those in sync.
    pub isr: Vec<NodeId>,
    /// Eligible leaders outside the ISR (KIP-966).
    pub elr: Vec<NodeId>,
    /// Those on a broker or a disk that is gone.
    pub offline: Vec<NodeId>,
}

/// The cluster and its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeClusterResponse {
    /// Kafka's 22-character cluster id.
    pub cluster_id: String,
    /// As in [`MetadataResponse::controller`].
    pub controller: NodeId,
    /// Every registered broker, fenced ones too.
    pub brokers: Vec<BrokerInfo>,
}

/// Partitions page by page.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeTopicPartitionsRequest {
    /// The topics; none is all. Answered in order of names.
    pub topics: Vec<TopicName>,
    /// How many partitions at most.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<(TopicName, PartitionId)>,
}

/// Answer to [`DescribeTopicPartitionsRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeTopicPartitionsResponse {
    /// This page.
    pub topics: Vec<TopicMetadata>,
    /// Where the next begins, if there is one.
    pub next: Option<(TopicName, PartitionId)>,
}

/// Sizes of logs.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeLogDirsRequest {
    /// The partitions wanted; `None` is all.
    pub partitions: Option<Vec<(TopicName, PartitionId)>>,
}

/// Answer to [`DescribeLogDirsRequest`]: a node has one log directory. Its path and its disk's size are for the
/// listener to add.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeLogDirsResponse {
    /// [`ErrorCode::KafkaStorageError`] when the directory is offline.
    pub error: ErrorCode,
    /// The directory's id.
    pub directory: DirectoryId,
    /// Its logs.
    pub logs: Vec<LogSize>,
}

/// One log's size.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSize {
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Bytes of all its segments.
    pub bytes: u64,
    /// How far a follower is behind (0 for a leader).
    pub lag: i64,
}

/// New topics.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTopicsRequest {
    /// What to create.
    pub topics: Vec<NewTopic>,
    /// Say only what would happen.
    pub validate_only: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Partitions; `None` is the broker's default (KIP-464).
    pub partitions: Option<i32>,
    /// Replicas of each; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Replicas partition by partition instead of the two counts; empty when those are to decide.
    pub assignments: Vec<(PartitionId, Vec<NodeId>)>,
    /// Settings that differ from the defaults.
    pub configs: Vec<(String, Option<String>)>,
}

/// Answer to [`CreateTopicsRequest`], in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTopicsResponse {
    /// One for each topic.
    pub topics: Vec<CreatedTopic>,
}

/// What became of one new topic.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: TopicName,
    /// Why it is not there, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
    /// Its id.
    pub id: TopicId,
    /// Partitions that it has.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
    /// Its settings, all of them (KIP-525).
    pub configs: Vec<ConfigEntry>,
}

/// Fewer topics.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteTopicsRequest {
    /// Which.
    pub topics: Vec<TopicRef>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Answer to [`DeleteTopicsRequest`], in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteTopicsResponse {
    /// One for each topic.
    pub topics: Vec<DeletedTopic>,
}

/// What became of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletedTopic {
    /// As in the request.
    pub topic: TopicRef,
    /// Its name, where known.
    pub name: Option<TopicName>,
    /// Its id, where known.
    pub id: TopicId,
    /// Why it is still there, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}

/// More partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatePartitionsRequest {
    /// For which topics.
    pub topics: Vec<NewPartitions>,
    /// Say only what would happen.
    pub validate_only: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// One topic's new count.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPartitions {
    /// The topic.
    pub name: TopicName,
    /// How many partitions it shall have in all.
    pub total: i32,
    /// Replicas of each new one; empty when the controller is to decide.
    pub assignments: Vec<Vec<NodeId>>,
}

/// Answer to [`CreatePartitionsRequest`], in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatePartitionsResponse {
    /// One for each topic.
    pub topics: Vec<CreatedPartitions>,
}

/// What became of one topic's count.
#[derive(Clone, Debug, PartialEq)]
pub struct CreatedPartitions {
    /// The topic.
    pub name: TopicName,
    /// Why it is as before, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(TopicName),
    /// One broker, or with `None` the default of all.
    Broker(Option<NodeId>),
}

/// Settings as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeConfigsRequest {
    /// Whose, and which (`None` is all).
    pub resources: Vec<(ConfigResource, Option<Vec<String>>)>,
}

/// Answer to [`DescribeConfigsRequest`], in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeConfigsResponse {
    /// One for each resource.
    pub resources: Vec<DescribedConfigs>,
}

/// One resource's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConfigs {
    /// Whose.
    pub resource: ConfigResource,
    /// Why there are none, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
    /// In order of their names.
    pub entries: Vec<ConfigEntry>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name for it.
    pub name: String,
    /// Its value as text.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Cannot be changed while the node runs?
    pub read_only: bool,
    /// What the text is.
    pub kind: ConfigKind,
    /// One sentence for a person.
    pub documentation: String,
}

/// Where a setting's value comes from; the ordinals are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set for this topic.
    DynamicTopic = 1,
    /// Set for this broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    /// Set by the node's file or flags.
    StaticBroker = 4,
    /// Set by nobody.
    Default = 5,
}

/// The type of a setting; the ordinals are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 64 bits.
    Long = 5,
    /// A floating point number.
    Double = 6,
    /// Words with commas between.
    List = 7,
}

/// Settings as they should be.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterConfigsRequest {
    /// Whose, and how.
    pub resources: Vec<AlterConfigsResource>,
    /// Say only what would happen.
    pub validate_only: bool,
}

/// One resource's changes.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterConfigsResource {
    /// Whose.
    pub resource: ConfigResource,
    /// Take every setting not named back to its default first (the older AlterConfigs).
    pub replace_all: bool,
    /// What to do, in order.
    pub changes: Vec<ConfigChange>,
}

/// One change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Which.
    pub name: String,
    /// How.
    pub operation: ConfigOperation,
}

/// How a setting changes (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// To this value.
    Set(String),
    /// Back to its default.
    Delete,
    /// These words are added to a list.
    Append(String),
    /// These words are taken from a list.
    Subtract(String),
}

/// Answer to [`AlterConfigsRequest`], in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterConfigsResponse {
    /// One for each resource.
    pub resources: Vec<AlteredConfigs>,
}

/// What became of one resource's changes.
#[derive(Clone, Debug, PartialEq)]
pub struct AlteredConfigs {
    /// Whose.
    pub resource: ConfigResource,
    /// Why nothing changed, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}
