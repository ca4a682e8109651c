//! Administration of a cluster: leaders, reassignments, brokers, the quorum.

use alloc::{string::String, vec::Vec};

use super::ErrorCode;
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, PartitionId, TopicName},
    offset::Offset,
    time::{Duration, Timestamp},
};

/// Which leaders are elected; the ordinals are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica, if it is in sync and does not lead.
    Preferred = 0,
    /// Any replica on a broker in service, where there is no leader; acknowledged records may be lost.
    Unclean = 1,
}

/// Elect leaders.
#[derive(Clone, Debug, PartialEq)]
pub struct ElectLeadersRequest {
    /// Which.
    pub kind: ElectionKind,
    /// For which partitions; `None` is all that can do with it.
    pub partitions: Option<Vec<(TopicName, PartitionId)>>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Answer to [`ElectLeadersRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct ElectLeadersResponse {
    /// Why none was considered, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The partitions asked for; where all were, those that could do with it.
    pub partitions: Vec<ElectedLeader>,
}

/// What became of one election.
#[derive(Clone, Debug, PartialEq)]
pub struct ElectedLeader {
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Why the leader is as before, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}

/// Move partitions to other replicas, or stop doing so.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterPartitionReassignmentsRequest {
    /// Which partitions, and where to.
    pub partitions: Vec<Reassignment>,
    /// May a partition get more or fewer replicas than it has (KIP-860)?
    pub allow_replication_factor_change: bool,
    /// How long it may take to begin.
    pub timeout: Duration,
}

/// One partition's new replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Reassignment {
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// The replicas, preferred leader first; `None` cancels the reassignment that is under way.
    pub replicas: Option<Vec<NodeId>>,
}

/// Answer to [`AlterPartitionReassignmentsRequest`], in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterPartitionReassignmentsResponse {
    /// Why none was considered, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
    /// One for each partition.
    pub partitions: Vec<Reassigned>,
}

/// Has one reassignment begun, or been cancelled?
#[derive(Clone, Debug, PartialEq)]
pub struct Reassigned {
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Why not, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}

/// Which reassignments are under way?
#[derive(Clone, Debug, PartialEq)]
pub struct ListPartitionReassignmentsRequest {
    /// The partitions of interest; `None` is all.
    pub partitions: Option<Vec<(TopicName, PartitionId)>>,
}

/// Answer to [`ListPartitionReassignmentsRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct ListPartitionReassignmentsResponse {
    /// Why there is no answer, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// Those of the partitions that are on their way.
    pub partitions: Vec<OngoingReassignment>,
}

/// One partition on its way to other replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct OngoingReassignment {
    /// The topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// All its replicas, those that come and those that go among them.
    pub replicas: Vec<NodeId>,
    /// Those that are not in sync yet.
    pub adding: Vec<NodeId>,
    /// Those that go in the end.
    pub removing: Vec<NodeId>,
}

/// Forget a broker.
#[derive(Clone, Debug, PartialEq)]
pub struct UnregisterBrokerRequest {
    /// Which.
    pub node: NodeId,
}

/// Answer to [`UnregisterBrokerRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct UnregisterBrokerResponse {
    /// Why it is still known, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}

/// The metadata quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeQuorumResponse {
    /// Why there is no answer, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The leader.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Where the committed metadata ends.
    pub high_watermark: Offset,
    /// Those whose votes and logs count.
    pub voters: Vec<QuorumReplica>,
    /// Those who only follow.
    pub observers: Vec<QuorumReplica>,
}

/// One replica of the metadata log.
#[derive(Clone, Debug, PartialEq)]
pub struct QuorumReplica {
    /// Whose.
    pub node: NodeId,
    /// On which disk (KIP-853); all zero where it is not known.
    pub directory: DirectoryId,
    /// Where it ends; [`Offset::NONE`] where the leader has not heard of it.
    pub log_end: Offset,
    /// When it last fetched; [`Timestamp::NONE`] where it has not.
    pub last_fetch: Timestamp,
    /// When it last had everything; [`Timestamp::NONE`] where it never had.
    pub last_caught_up: Timestamp,
}

/// Make an observer of the metadata log a voter (KIP-853).
#[derive(Clone, Debug, PartialEq)]
pub struct AddVoterRequest {
    /// The cluster that is meant; `None` is whichever is asked.
    pub cluster_id: Option<String>,
    /// Who.
    pub node: NodeId,
    /// On which disk; [`DirectoryId::ANY`] for the one that it follows with.
    pub directory: DirectoryId,
    /// `host:port` of its native listener; `None` for the one that it has registered with.
    pub endpoint: Option<String>,
}

/// Make a voter an observer (KIP-853).
#[derive(Clone, Debug, PartialEq)]
pub struct RemoveVoterRequest {
    /// The cluster that is meant; `None` is whichever is asked.
    pub cluster_id: Option<String>,
    /// Who.
    pub node: NodeId,
    /// On which disk; [`DirectoryId::ANY`] for whichever it is a voter with.
    pub directory: DirectoryId,
}

/// Answer to [`AddVoterRequest`] and [`RemoveVoterRequest`]: the change is committed, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct VotersChanged {
    /// Why not, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The reason in words.
    pub message: Option<String>,
}
