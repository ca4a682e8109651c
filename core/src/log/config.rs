//! The settings of one log: Kafka's topic settings, parsed.

use crate::{limits, record::TimestampType, time::Duration};

/// When a replica counts a batch as its own (architecture.md §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is synced. The default: an acknowledged record is on the disks of every in-sync replica.
    Fsync,
    /// Once it is in the page cache, as Kafka does.
    Replicated,
}

/// What becomes of old records (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Whole segments go by time and size.
    pub delete: bool,
    /// Superseded values of a key go.
    pub compact: bool,
}

/// Settings of one log, defaults as Kafka's.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `cleanup.policy`
    pub cleanup: CleanupPolicy,
    /// `durability`: tidelog's own.
    pub durability: Durability,
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_age: Duration,
    /// `segment.index.bytes`
    pub index_bytes_max: u64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u64,
    /// `retention.ms`; `None` is for ever (-1).
    pub retention: Option<Duration>,
    /// `retention.bytes`; `None` is without limit (-1).
    pub retention_bytes: Option<u64>,
    /// `file.delete.delay.ms`
    pub file_delete_delay: Duration,
    /// `min.cleanable.dirty.ratio`, in thousandths: no floating point in the core.
    pub min_cleanable_dirty_permille: u32,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag: Duration,
    /// `max.compaction.lag.ms`; `None` is none (`Long.MAX_VALUE`).
    pub max_compaction_lag: Option<Duration>,
    /// `delete.retention.ms`
    pub delete_retention: Duration,
    /// `max.message.bytes`
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `None` is without limit.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.after.max.ms`; `None` is without limit.
    pub timestamp_after_max: Option<Duration>,
    /// `min.insync.replicas`
    pub min_insync_replicas: u32,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `producer.id.expiration.ms`
    pub producer_expiration: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            cleanup: CleanupPolicy { delete: true, compact: false },
            durability: Durability::Fsync,
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 3600),
            index_bytes_max: 10 << 20,
            index_interval_bytes: 4096,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_bytes: None,
            file_delete_delay: Duration::from_secs(60),
            min_cleanable_dirty_permille: 500,
            min_compaction_lag: Duration::ZERO,
            max_compaction_lag: None,
            delete_retention: Duration::from_secs(24 * 3600),
            max_message_bytes: limits::MESSAGE_BYTES_DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max: None,
            timestamp_after_max: Some(Duration::from_secs(3600)),
            min_insync_replicas: 1,
            unclean_leader_election: false,
            producer_expiration: Duration::from_secs(24 * 3600),
        }
    }
}
