//! What a node is told about itself before it starts.

use alloc::{string::String, vec::Vec};

use crate::{
    ids::{DirectoryId, NodeId},
    limits,
    log::LogConfig,
    message::Endpoints,
    time::Duration,
};

/// One node's settings. What belongs to the whole cluster is in the metadata log instead.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// `node.id`
    pub node: NodeId,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `replica.selector.class`
    pub replica_selector: ReplicaSelector,
    /// Kafka's 22-character cluster id.
    pub cluster_id: String,
    /// The data directory's identity.
    pub directory: DirectoryId,
    /// This run of the process: a random number, another at every start (KIP-631).
    pub incarnation: u128,
    /// Where this node is reached, as it tells the others (`advertised.listeners`).
    pub endpoints: Endpoints,
    /// Does it keep partitions (`process.roles` has `broker`)? A node that does not is a controller alone: it may vote, and does not
    /// register.
    pub is_broker: bool,
    /// The voters of the metadata quorum, this node among them if it is one; empty means this node alone
    /// (`controller.quorum.voters`). Drivers know their addresses.
    pub voters: Vec<NodeId>,
    /// How the cluster waits.
    pub waits: ClusterWaits,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `num.partitions`
    pub partitions_default: i32,
    /// `default.replication.factor`
    pub replication_default: i16,
    /// How the metadata log is kept.
    pub metadata_log: MetadataLogConfig,
    /// The `log.*` settings: those of a topic that does not set its own.
    pub log_defaults: LogConfig,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `log.cleaner.backoff.ms`
    pub cleaner_backoff: Duration,
    /// How often idle producers and files whose delay is over are looked for.
    pub expiry_check_interval: Duration,
    /// From which seed rare but legal things are done on purpose ([`crate::buggify`]); `None` in production.
    pub buggify: Option<u64>,
    /// Must a producer that a partition does not know begin with sequence 0? Otherwise the second of its batches, sent
    /// before the first was answered, slips in when the first finds the leader not ready, and the first can never be
    /// appended again (KAFKA-14359). A producer whose history was taken by retention or expiry hears
    /// [`UnknownProducerId`](crate::message::ErrorCode::UnknownProducerId) and begins a new epoch.
    pub new_producers_begin_at_zero: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            rack: None,
            replica_selector: ReplicaSelector::Leader,
            cluster_id: String::new(),
            directory: DirectoryId([0; 16]),
            incarnation: 0,
            endpoints: Endpoints::default(),
            is_broker: true,
            voters: Vec::new(),
            waits: ClusterWaits::default(),
            auto_create_topics: true,
            partitions_default: 1,
            replication_default: 1,
            metadata_log: MetadataLogConfig::default(),
            log_defaults: LogConfig::default(),
            retention_check_interval: Duration::from_secs(300),
            cleaner_backoff: Duration::from_secs(15),
            expiry_check_interval: Duration::from_secs(60),
            buggify: None,
            new_producers_begin_at_zero: true,
        }
    }
}

/// Which replica a leader sends its readers to (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// None but itself.
    Leader,
    /// One in sync in the reader's rack, unless it is there itself (Kafka's `RackAwareReplicaSelector`).
    Rack,
}

impl ReplicaSelector {
    /// The name of Kafka's class that does this; empty for its default.
    pub fn class(self) -> &'static str {
        match self {
            Self::Leader => "",
            Self::Rack => "org.apache.kafka.common.replica.RackAwareReplicaSelector",
        }
    }
}

/// How the metadata log is kept. Every node decides for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataLogConfig {
    /// `metadata.log.segment.bytes`: only whole segments go. Less than Kafka's 1 GiB, which a small machine would keep for ever.
    pub segment_bytes: u64,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`: something new is in a snapshot after this at the latest.
    pub snapshot_interval: Duration,
    /// How much of a snapshot is fetched at a time.
    pub snapshot_piece_bytes: usize,
}

impl Default for MetadataLogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            snapshot_bytes: 20 << 20,
            snapshot_interval: Duration::from_secs(3_600),
            snapshot_piece_bytes: limits::SNAPSHOT_PIECE_BYTES_MAX,
        }
    }
}

/// The waits between nodes. Kafka's names and, but where noted, its defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterWaits {
    /// `controller.quorum.election.timeout.ms`: a candidate without a majority tries again after this and up to as much
    /// again at random.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`: a follower that hears nothing of the leader for this long stands for
    /// election, and a leader that hears nothing of a majority resigns.
    pub quorum_fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub quorum_request_timeout: Duration,
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`: a broker without a heartbeat for this long is fenced.
    pub broker_session_timeout: Duration,
    /// `replica.lag.time.max.ms`
    pub replica_lag_max: Duration,
    /// `replica.fetch.wait.max.ms`
    pub replica_fetch_wait: Duration,
    /// `replica.fetch.backoff.ms`
    pub replica_fetch_backoff: Duration,
    /// `leader.imbalance.check.interval.seconds`: how often preferred leaders get the lead back.
    pub imbalance_check: Duration,
    /// `request.timeout.ms` of calls to peers.
    pub call_timeout: Duration,
}

impl Default for ClusterWaits {
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_millis(1_000),
            quorum_fetch_timeout: Duration::from_millis(2_000),
            quorum_request_timeout: Duration::from_millis(2_000),
            heartbeat_interval: Duration::from_millis(2_000),
            broker_session_timeout: Duration::from_millis(9_000),
            replica_lag_max: Duration::from_millis(30_000),
            replica_fetch_wait: Duration::from_millis(500),
            replica_fetch_backoff: Duration::from_millis(1_000),
            imbalance_check: Duration::from_secs(300),
            call_timeout: Duration::from_millis(30_000),
        }
    }
}
