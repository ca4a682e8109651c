//! What a node is told about itself before it starts.

use alloc::string::String;

use crate::{
    ids::{DirectoryId, NodeId},
    log::LogConfig,
    time::Duration,
};

/// One node's settings. What belongs to the whole cluster is in the metadata log instead.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// `node.id`
    pub node: NodeId,
    /// `broker.rack`
    pub rack: Option<String>,
    /// Kafka's 22-character cluster id.
    pub cluster_id: String,
    /// The data directory's identity.
    pub directory: DirectoryId,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `num.partitions`
    pub partitions_default: i32,
    /// `default.replication.factor`
    pub replication_default: i16,
    /// The `log.*` settings: those of a topic that does not set its own.
    pub log_defaults: LogConfig,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `log.cleaner.backoff.ms`
    pub cleaner_backoff: Duration,
    /// How often idle producers and files whose delay is over are looked for.
    pub expiry_check_interval: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            rack: None,
            cluster_id: String::new(),
            directory: DirectoryId([0; 16]),
            auto_create_topics: true,
            partitions_default: 1,
            replication_default: 1,
            log_defaults: LogConfig::default(),
            retention_check_interval: Duration::from_secs(300),
            cleaner_backoff: Duration::from_secs(15),
            expiry_check_interval: Duration::from_secs(60),
        }
    }
}
