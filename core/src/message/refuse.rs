//! One error for a whole request, in the shape of its response.

use alloc::{string::String, vec::Vec};

use super::*;
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, ProducerEpoch, ProducerId, TopicId},
    offset::Offset,
    time::Timestamp,
};

impl Request {
    /// The response that says `error` of everything the request asks for.
    pub fn refuse(&self, error: ErrorCode) -> Response {
        match self {
            Self::Produce(r) => Response::Produce(ProduceResponse {
                partitions: r.partitions.iter().map(|p| ProducedPartition::failed(p, error)).collect(),
            }),
            Self::Fetch(r) => Response::Fetch(FetchResponse {
                partitions: r.partitions.iter().map(|p| FetchedPartition::failed(p, error)).collect(),
            }),
            Self::ListOffsets(r) => Response::ListOffsets(ListOffsetsResponse {
                partitions: r.partitions.iter().map(|p| ListedOffset::failed(p, error)).collect(),
            }),
            Self::OffsetForLeaderEpoch(r) => Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse {
                partitions: r.partitions.iter().map(|p| EpochEnd::failed(p, error)).collect(),
            }),
            Self::DeleteRecords(r) => Response::DeleteRecords(DeleteRecordsResponse {
                partitions: r.partitions.iter().map(|p| DeletedRecords::failed(p, error)).collect(),
            }),
            Self::InitProducerId(_) => Response::InitProducerId(InitProducerIdResponse {
                error,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
            }),
            Self::Metadata(r) => Response::Metadata(MetadataResponse {
                brokers: Vec::new(),
                cluster_id: String::new(),
                controller: NodeId(-1),
                topics: r.topics.iter().flatten().map(|t| TopicMetadata::failed(t, error)).collect(),
            }),
            Self::DescribeCluster => Response::DescribeCluster(DescribeClusterResponse {
                cluster_id: String::new(),
                controller: NodeId(-1),
                brokers: Vec::new(),
            }),
            Self::DescribeTopicPartitions(r) => Response::DescribeTopicPartitions(DescribeTopicPartitionsResponse {
                topics: r.topics.iter().map(|t| TopicMetadata::failed(&TopicRef::Name(t.clone()), error)).collect(),
                next: None,
            }),
            Self::DescribeLogDirs(_) => Response::DescribeLogDirs(DescribeLogDirsResponse {
                error,
                directory: DirectoryId([0; 16]),
                logs: Vec::new(),
            }),
            Self::CreateTopics(r) => {
                let failed = |t: &NewTopic| CreatedTopic {
                    name: t.name.clone(),
                    error,
                    message: None,
                    id: TopicId::ZERO,
                    partitions: -1,
                    replication_factor: -1,
                    configs: Vec::new(),
                };
                Response::CreateTopics(CreateTopicsResponse { topics: r.topics.iter().map(failed).collect() })
            }
            Self::DeleteTopics(r) => {
                let failed = |t: &TopicRef| {
                    let (name, id) = match t {
                        TopicRef::Name(name) => (Some(name.clone()), TopicId::ZERO),
                        TopicRef::Id(id) => (None, *id),
                    };
                    DeletedTopic { topic: t.clone(), name, id, error, message: None }
                };
                Response::DeleteTopics(DeleteTopicsResponse { topics: r.topics.iter().map(failed).collect() })
            }
            Self::CreatePartitions(r) => {
                let failed = |t: &NewPartitions| CreatedPartitions { name: t.name.clone(), error, message: None };
                Response::CreatePartitions(CreatePartitionsResponse { topics: r.topics.iter().map(failed).collect() })
            }
            Self::DescribeConfigs(r) => {
                let failed = |(resource, _): &(ConfigResource, _)| DescribedConfigs {
                    resource: resource.clone(),
                    error,
                    message: None,
                    entries: Vec::new(),
                };
                let resources = r.resources.iter().map(failed).collect();
                Response::DescribeConfigs(DescribeConfigsResponse { resources })
            }
            Self::AlterConfigs(r) => {
                let failed =
                    |of: &AlterConfigsResource| AlteredConfigs { resource: of.resource.clone(), error, message: None };
                Response::AlterConfigs(AlterConfigsResponse { resources: r.resources.iter().map(failed).collect() })
            }
            Self::ElectLeaders(_) => Response::ElectLeaders(ElectLeadersResponse { error, partitions: Vec::new() }),
            Self::AlterPartitionReassignments(_) => {
                let (message, partitions) = (None, Vec::new());
                Response::AlterPartitionReassignments(AlterPartitionReassignmentsResponse {
                    error,
                    message,
                    partitions,
                })
            }
            Self::ListPartitionReassignments(_) => {
                let partitions = Vec::new();
                Response::ListPartitionReassignments(ListPartitionReassignmentsResponse { error, partitions })
            }
            Self::UnregisterBroker(_) => Response::UnregisterBroker(UnregisterBrokerResponse { error, message: None }),
            Self::DescribeQuorum => Response::DescribeQuorum(DescribeQuorumResponse::none(error)),
            Self::AddVoter(_) => Response::AddVoter(VotersChanged { error, message: None }),
            Self::RemoveVoter(_) => Response::RemoveVoter(VotersChanged { error, message: None }),
            Self::Peer(r) => Response::Peer(r.refuse(error)),
        }
    }
}

impl DescribeQuorumResponse {
    /// Nothing is known of it.
    pub fn none(error: ErrorCode) -> Self {
        Self {
            error,
            leader: None,
            epoch: LeaderEpoch::NONE,
            high_watermark: Offset::NONE,
            voters: Vec::new(),
            observers: Vec::new(),
        }
    }
}

impl ProducedPartition {
    /// Nothing was appended.
    pub fn failed(asked: &ProducePartition, error: ErrorCode) -> Self {
        Self {
            topic: asked.topic.clone(),
            partition: asked.partition,
            error,
            base_offset: Offset::NONE,
            log_append_time: Timestamp::NONE,
            log_start: Offset::NONE,
        }
    }
}

impl FetchedPartition {
    /// Nothing can be read.
    pub fn failed(asked: &FetchPartition, error: ErrorCode) -> Self {
        Self {
            topic: asked.topic.clone(),
            partition: asked.partition,
            error,
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start: Offset::NONE,
            diverging: None,
            aborted: None,
            preferred_read_replica: None,
            records: Records::Empty,
        }
    }
}

impl ListedOffset {
    /// Nothing was looked for.
    pub fn failed(asked: &ListOffsetsPartition, error: ErrorCode) -> Self {
        Self {
            topic: asked.topic.clone(),
            partition: asked.partition,
            error,
            offset: Offset::NONE,
            timestamp: Timestamp::NONE,
            leader_epoch: LeaderEpoch::NONE,
        }
    }
}

impl EpochEnd {
    /// There is no answer.
    pub fn failed(asked: &OffsetForLeaderEpochPartition, error: ErrorCode) -> Self {
        Self {
            topic: asked.topic.clone(),
            partition: asked.partition,
            error,
            leader_epoch: LeaderEpoch::NONE,
            end_offset: Offset::NONE,
        }
    }
}

impl DeletedRecords {
    /// Nothing was cut.
    pub fn failed(asked: &DeleteRecordsPartition, error: ErrorCode) -> Self {
        Self { topic: asked.topic.clone(), partition: asked.partition, error, low_watermark: Offset::NONE }
    }
}

impl TopicMetadata {
    /// Nothing is known of it.
    pub fn failed(asked: &TopicRef, error: ErrorCode) -> Self {
        let (name, id) = match asked {
            TopicRef::Name(name) => (Some(name.clone()), TopicId::ZERO),
            TopicRef::Id(id) => (None, *id),
        };
        Self { error, name, id, is_internal: false, partitions: Vec::new() }
    }
}
