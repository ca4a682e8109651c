//! The data path: produce, fetch, offsets, producer ids.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

use super::ErrorCode;
use crate::{
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, LogId, NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName},
    offset::Offset,
    record::Batch,
    time::{Duration, Timestamp},
};

/// A topic as a request names it. Responses echo it as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name: whatever topic has it now.
    Name(TopicName),
    /// By id (KIP-516): that incarnation or none.
    Id(TopicId),
}

/// How many replicas must have a batch before its producer hears of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nobody answers; the listener sends nothing.
    None,
    /// The leader has it.
    Leader,
    /// Every in-sync replica has it (and has synced it, with `durability=fsync`).
    All,
}

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset; aborted records are named for the reader to drop.
    ReadCommitted,
}

/// Append batches to partitions. A batch that failed its check reaches the core as the error that it earned,
/// so that the rest of the request is still carried out (semantics §16).
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceRequest {
    /// When to answer.
    pub acks: Acks,
    /// How long the answer may take before it is [`ErrorCode::RequestTimedOut`].
    pub timeout: Duration,
    /// What to append where.
    pub partitions: Vec<ProducePartition>,
}

/// One partition's share of a produce request.
#[derive(Clone, Debug, PartialEq)]
pub struct ProducePartition {
    /// The topic.
    pub topic: TopicRef,
    /// Its partition.
    pub partition: PartitionId,
    /// The batch, or why what came is none.
    pub batch: Result<Batch, ErrorCode>,
}

/// Answer to a produce request, in the order of its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceResponse {
    /// One for each partition asked for.
    pub partitions: Vec<ProducedPartition>,
}

/// What became of one partition's batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ProducedPartition {
    /// As in the request.
    pub topic: TopicRef,
    /// As in the request.
    pub partition: PartitionId,
    /// [`ErrorCode::None`] when the batch is acknowledged.
    pub error: ErrorCode,
    /// Where its first record stands; [`Offset::NONE`] on error.
    pub base_offset: Offset,
    /// The broker's timestamp with `LogAppendTime`, else [`Timestamp::NONE`].
    pub log_append_time: Timestamp,
    /// The partition's log start offset.
    pub log_start: Offset,
}

/// Read batches from partitions, waiting for some to come if need be.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchRequest {
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// Answer as soon as this much can be read.
    pub min_bytes: usize,
    /// Stop adding batches past this much; the first batch is exempt (KIP-74).
    pub max_bytes: usize,
    /// What may be seen.
    pub isolation: IsolationLevel,
    /// The reader's rack (KIP-392), empty if it has none. With `None` it knows nothing of readers at followers, and is
    /// served by leaders alone.
    pub rack: Option<String>,
    /// Set by a follower, which reads past the high watermark and acknowledges by its offsets.
    pub replica: Option<(NodeId, BrokerEpoch)>,
    /// What to read where.
    pub partitions: Vec<FetchPartition>,
}

/// One partition's share of a fetch request.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchPartition {
    /// The topic.
    pub topic: TopicRef,
    /// Its partition.
    pub partition: PartitionId,
    /// The epoch the reader believes in (KIP-320); [`LeaderEpoch::NONE`] is not checked.
    pub current_leader_epoch: LeaderEpoch,
    /// The first offset wanted.
    pub offset: Offset,
    /// Epoch of the last batch the reader has (KIP-595); [`LeaderEpoch::NONE`] asks for no divergence check.
    pub last_fetched_epoch: LeaderEpoch,
    /// A follower's own log start; [`Offset::NONE`] from a consumer.
    pub log_start: Offset,
    /// As `max_bytes` of the request, for this partition.
    pub max_bytes: usize,
}

/// Answer to a fetch request, in the order of its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchResponse {
    /// One for each partition asked for.
    pub partitions: Vec<FetchedPartition>,
}

/// What one partition has for the reader.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedPartition {
    /// As in the request.
    pub topic: TopicRef,
    /// As in the request.
    pub partition: PartitionId,
    /// Why there is nothing, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// Where committed records end.
    pub high_watermark: Offset,
    /// Where decided records end.
    pub last_stable_offset: Offset,
    /// Where the log begins.
    pub log_start: Offset,
    /// The reader's log is not a prefix of this one: the epoch and end offset of what they share (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Transactions whose records a read-committed reader must drop; `None` when it did not ask for that.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// A replica that is nearer to the reader (KIP-392).
    pub preferred_read_replica: Option<NodeId>,
    /// The batches.
    pub records: Records,
}

/// A transaction that ended in an abort (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record on this partition.
    pub first_offset: Offset,
}

/// Whole batches of one partition, in one of the ways in which they can be at hand.
///
/// The core never waits for a disk to answer a fetch. What its tail has it hands out; what only the disk has it
/// names, and the driver reads it on the way out ([`crate::log::LogDir::read`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Records {
    /// Nothing to read yet.
    Empty,
    /// From the tail in memory, in order.
    Batches(Vec<Batch>),
    /// Whole batches in one piece, as a driver or a wire delivers them.
    Bytes(Bytes),
    /// To be read from the log by the driver.
    Log(LogRead),
}

/// An order to the driver: read whole batches from a log into a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// The log.
    pub log: LogId,
    /// The batch that holds this offset comes first.
    pub from: Offset,
    /// No batch at or past this offset is read: the bound of the reader's isolation.
    pub bound: Offset,
    /// Stop before this many bytes are exceeded.
    pub max_bytes: usize,
    /// Read the first batch even if it alone is larger (KIP-74).
    pub at_least_one: bool,
}

/// What a ListOffsets request looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// -2: the log start offset.
    Earliest,
    /// -1: the end of what the reader may see.
    Latest,
    /// -3: the record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// -4: the earliest on local disk (KIP-405); without tiered storage the log start offset.
    EarliestLocal,
    /// -5: the latest in tiered storage (KIP-1005); there is none.
    LatestTiered,
    /// The first record whose timestamp is at least this.
    At(Timestamp),
}

/// Find offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsRequest {
    /// Bounds the answer.
    pub isolation: IsolationLevel,
    /// What to look for where.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// One partition's share of a ListOffsets request.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsPartition {
    /// The topic.
    pub topic: TopicRef,
    /// Its partition.
    pub partition: PartitionId,
    /// As in [`FetchPartition::current_leader_epoch`].
    pub current_leader_epoch: LeaderEpoch,
    /// What to look for.
    pub spec: OffsetSpec,
}

/// Answer to a ListOffsets request.
#[derive(Clone, Debug, PartialEq)]
pub struct ListOffsetsResponse {
    /// One for each partition asked for.
    pub partitions: Vec<ListedOffset>,
}

/// What was found in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedOffset {
    /// As in the request.
    pub topic: TopicRef,
    /// As in the request.
    pub partition: PartitionId,
    /// Why nothing was looked for, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The offset, or [`Offset::NONE`] when no record fits.
    pub offset: Offset,
    /// The record's timestamp, where one was looked for.
    pub timestamp: Timestamp,
    /// Epoch of the record at that offset, for the reader to check truncation with (KIP-320).
    pub leader_epoch: LeaderEpoch,
}

/// Where do leader epochs end?
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderEpochRequest {
    /// What to look for where.
    pub partitions: Vec<OffsetForLeaderEpochPartition>,
}

/// One partition's share of an OffsetForLeaderEpoch request.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderEpochPartition {
    /// The topic.
    pub topic: TopicRef,
    /// Its partition.
    pub partition: PartitionId,
    /// As in [`FetchPartition::current_leader_epoch`].
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch whose end is wanted.
    pub leader_epoch: LeaderEpoch,
}

/// Answer to an OffsetForLeaderEpoch request.
#[derive(Clone, Debug, PartialEq)]
pub struct OffsetForLeaderEpochResponse {
    /// One for each partition asked for.
    pub partitions: Vec<EpochEnd>,
}

/// The largest epoch not above the one asked for, and where it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochEnd {
    /// As in the request.
    pub topic: TopicRef,
    /// As in the request.
    pub partition: PartitionId,
    /// Why there is no answer, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// That epoch, or [`LeaderEpoch::NONE`].
    pub leader_epoch: LeaderEpoch,
    /// Its exclusive end, or [`Offset::NONE`].
    pub end_offset: Offset,
}

/// Raise log start offsets.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteRecordsRequest {
    /// How long the replicas may take.
    pub timeout: Duration,
    /// Where to cut.
    pub partitions: Vec<DeleteRecordsPartition>,
}

/// One partition's share of a DeleteRecords request.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteRecordsPartition {
    /// The topic.
    pub topic: TopicRef,
    /// Its partition.
    pub partition: PartitionId,
    /// The first offset to keep; [`Offset::NONE`] is the high watermark.
    pub offset: Offset,
}

/// Answer to a DeleteRecords request.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteRecordsResponse {
    /// One for each partition asked for.
    pub partitions: Vec<DeletedRecords>,
}

/// What was cut from one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletedRecords {
    /// As in the request.
    pub topic: TopicRef,
    /// As in the request.
    pub partition: PartitionId,
    /// Why nothing was, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The least log start offset of any live replica; [`Offset::NONE`] on error.
    pub low_watermark: Offset,
}

/// A producer id for a producer without transactions. (With a transactional id it is refused until
/// transactions are here.)
#[derive(Clone, Debug, PartialEq)]
pub struct InitProducerIdRequest {
    /// The transactional id, if the producer has one.
    pub transactional_id: Option<alloc::string::String>,
    /// The id it had, or [`ProducerId::NONE`] (KIP-360).
    pub producer_id: ProducerId,
    /// The epoch it had, or [`ProducerEpoch::NONE`].
    pub producer_epoch: ProducerEpoch,
}

/// Answer to [`InitProducerIdRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct InitProducerIdResponse {
    /// Why there is none, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The id.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
}
