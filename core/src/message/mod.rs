//! What clients and peers say to a node, in the terms of no wire.
//!
//! One struct per request and per response. Both listeners, the simulator's network and the client machines
//! speak these; what they look like on a wire is decided in `server/src/kafka`, `server/src/native` and `client`.
//! Field names and meanings are Kafka's, in which the newest version of a request contains the older ones.

mod admin;
mod cluster;
mod data;
mod error;
mod peer;
mod refuse;

pub use admin::*;
pub use cluster::*;
pub use data::*;
pub use error::ErrorCode;
pub use peer::*;

/// Everything that can be asked of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Append batches.
    Produce(ProduceRequest),
    /// Read batches.
    Fetch(FetchRequest),
    /// Find offsets by time or by name.
    ListOffsets(ListOffsetsRequest),
    /// Find where a leader epoch ends (KIP-101).
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    /// Raise log start offsets (KIP-107).
    DeleteRecords(DeleteRecordsRequest),
    /// A fresh producer id (KIP-98).
    InitProducerId(InitProducerIdRequest),
    /// Topics, partitions, leaders, brokers.
    Metadata(MetadataRequest),
    /// The cluster and its nodes (KIP-700).
    DescribeCluster,
    /// Partitions page by page (KIP-966).
    DescribeTopicPartitions(DescribeTopicPartitionsRequest),
    /// Sizes of logs (KIP-113).
    DescribeLogDirs(DescribeLogDirsRequest),
    /// New topics.
    CreateTopics(CreateTopicsRequest),
    /// Fewer topics.
    DeleteTopics(DeleteTopicsRequest),
    /// More partitions (KIP-195).
    CreatePartitions(CreatePartitionsRequest),
    /// Settings as they are.
    DescribeConfigs(DescribeConfigsRequest),
    /// Settings as they should be (KIP-339).
    AlterConfigs(AlterConfigsRequest),
    /// Leaders, where there are none or others than preferred (KIP-460).
    ElectLeaders(ElectLeadersRequest),
    /// Other replicas for partitions (KIP-455).
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
    /// Partitions on their way to other replicas (KIP-455).
    ListPartitionReassignments(ListPartitionReassignmentsRequest),
    /// A broker that is not coming back.
    UnregisterBroker(UnregisterBrokerRequest),
    /// The metadata quorum (KIP-595).
    DescribeQuorum,
    /// One more voter in the metadata quorum (KIP-853).
    AddVoter(AddVoterRequest),
    /// One less (KIP-853).
    RemoveVoter(RemoveVoterRequest),
    /// What only another node asks.
    Peer(PeerRequest),
}

impl Request {
    /// Is it the controller that answers this, whichever node is asked?
    pub fn is_for_controller(&self) -> bool {
        matches!(
            self,
            Self::CreateTopics(_)
                | Self::DeleteTopics(_)
                | Self::CreatePartitions(_)
                | Self::AlterConfigs(_)
                | Self::ElectLeaders(_)
                | Self::AlterPartitionReassignments(_)
                | Self::ListPartitionReassignments(_)
                | Self::UnregisterBroker(_)
                | Self::DescribeQuorum
                | Self::AddVoter(_)
                | Self::RemoveVoter(_)
        )
    }
}

/// What a node answers; the variant is that of the request.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To [`Request::Produce`]; with `acks=0` it is still given, and the listener keeps it to itself.
    Produce(ProduceResponse),
    /// To [`Request::Fetch`].
    Fetch(FetchResponse),
    /// To [`Request::ListOffsets`].
    ListOffsets(ListOffsetsResponse),
    /// To [`Request::OffsetForLeaderEpoch`].
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
    /// To [`Request::DeleteRecords`].
    DeleteRecords(DeleteRecordsResponse),
    /// To [`Request::InitProducerId`].
    InitProducerId(InitProducerIdResponse),
    /// To [`Request::Metadata`].
    Metadata(MetadataResponse),
    /// To [`Request::DescribeCluster`].
    DescribeCluster(DescribeClusterResponse),
    /// To [`Request::DescribeTopicPartitions`].
    DescribeTopicPartitions(DescribeTopicPartitionsResponse),
    /// To [`Request::DescribeLogDirs`].
    DescribeLogDirs(DescribeLogDirsResponse),
    /// To [`Request::CreateTopics`].
    CreateTopics(CreateTopicsResponse),
    /// To [`Request::DeleteTopics`].
    DeleteTopics(DeleteTopicsResponse),
    /// To [`Request::CreatePartitions`].
    CreatePartitions(CreatePartitionsResponse),
    /// To [`Request::DescribeConfigs`].
    DescribeConfigs(DescribeConfigsResponse),
    /// To [`Request::AlterConfigs`].
    AlterConfigs(AlterConfigsResponse),
    /// To [`Request::ElectLeaders`].
    ElectLeaders(ElectLeadersResponse),
    /// To [`Request::AlterPartitionReassignments`].
    AlterPartitionReassignments(AlterPartitionReassignmentsResponse),
    /// To [`Request::ListPartitionReassignments`].
    ListPartitionReassignments(ListPartitionReassignmentsResponse),
    /// To [`Request::UnregisterBroker`].
    UnregisterBroker(UnregisterBrokerResponse),
    /// To [`Request::DescribeQuorum`].
    DescribeQuorum(DescribeQuorumResponse),
    /// To [`Request::AddVoter`].
    AddVoter(VotersChanged),
    /// To [`Request::RemoveVoter`].
    RemoveVoter(VotersChanged),
    /// To [`Request::Peer`].
    Peer(PeerResponse),
}
