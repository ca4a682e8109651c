//! Messages of every kind with every choice in them, drawn from a seed.

use bytes::Bytes;
use tidelog_client::wire::{Endpoint, FromNode, Hello, HelloReply, Refusal, Surroundings, ToNode};
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, DirectoryId, NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName},
    message::*,
    offset::Offset,
    prng::Prng,
    record::{Batch, BatchBuilder, BatchOptions},
    time::{Duration, Timestamp},
};

/// Kinds of requests, the greeting included.
pub(crate) const REQUEST_KINDS: u64 = OPERATIONS + OPERATION_KINDS;
/// Kinds of answers, greeting and refusal included.
pub(crate) const RESPONSE_KINDS: u64 = OPERATED + OPERATION_KINDS;
/// The first kind of request that is a node's.
const PEER_REQUESTS: u64 = 16;
/// The first kind of answer that is to a node.
const PEER_RESPONSES: u64 = 17;
/// The first kinds of what operators ask, and are answered.
const OPERATIONS: u64 = PEER_REQUESTS + PEER_REQUEST_KINDS;
const OPERATED: u64 = PEER_RESPONSES + PEER_RESPONSE_KINDS;
const OPERATION_KINDS: u64 = 5;

use crate::peer_samples::{PEER_REQUEST_KINDS, PEER_RESPONSE_KINDS};

pub(crate) struct Samples(pub(crate) Prng);

impl Samples {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Prng::new(seed))
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.0.chance(1, 2)
    }

    pub(crate) fn i64(&mut self) -> i64 {
        match self.0.below(6) {
            0 => -1,
            1 => 0,
            2 => i64::MAX,
            _ => (self.0.next_u64() >> (1 + self.0.below(62))).cast_signed(),
        }
    }

    pub(crate) fn i32(&mut self) -> i32 {
        match self.0.below(5) {
            0 => -1,
            1 => 0,
            2 => i32::MAX,
            _ => self.0.below(1 << 20) as i32,
        }
    }

    pub(crate) fn count(&mut self) -> usize {
        self.0.below(1 << 32) as usize
    }

    pub(crate) fn duration(&mut self) -> Duration {
        Duration::from_millis(self.0.below(1 << 32))
    }

    pub(crate) fn text(&mut self) -> String {
        let length = self.0.below(20);
        (0..length).map(|_| ['a', 'Z', '0', '.', '-', '_', 'é', '漢', '🌊', '\0'][self.0.below(10) as usize]).collect()
    }

    pub(crate) fn option<T>(&mut self, of: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| of(self))
    }

    pub(crate) fn list<T>(&mut self, of: impl Fn(&mut Self) -> T) -> Vec<T> {
        let length = self.0.below(4);
        (0..length).map(|_| of(self)).collect()
    }

    pub(crate) fn error(&mut self) -> ErrorCode {
        ErrorCode::from_code(self.0.below(110) as i16 - 1)
    }

    pub(crate) fn node(&mut self) -> NodeId {
        NodeId(self.0.below(1 << 31) as i32)
    }

    pub(crate) fn partition(&mut self) -> PartitionId {
        PartitionId(self.i32())
    }

    pub(crate) fn offset(&mut self) -> Offset {
        Offset(self.i64())
    }

    pub(crate) fn epoch(&mut self) -> LeaderEpoch {
        LeaderEpoch(self.i32())
    }

    fn time(&mut self) -> Timestamp {
        Timestamp(self.i64())
    }

    pub(crate) fn name(&mut self) -> TopicName {
        TopicName::new(&self.text())
    }

    pub(crate) fn id(&mut self) -> TopicId {
        TopicId(self.0.uuid())
    }

    fn topic(&mut self) -> TopicRef {
        if self.flag() { TopicRef::Name(self.name()) } else { TopicRef::Id(self.id()) }
    }

    fn place(&mut self) -> (TopicName, PartitionId) {
        (self.name(), self.partition())
    }

    pub(crate) fn batch(&mut self) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..=self.0.below(5) {
            let value: Vec<u8> = (0..self.0.below(200)).map(|n| n as u8).collect();
            builder.append(builder.next_delta(), Timestamp(1_700_000_000_000), None, Some(&value), []);
        }
        builder.build(&BatchOptions::default())
    }

    pub(crate) fn records(&mut self) -> Records {
        if self.flag() {
            return Records::Empty;
        }
        let batches: Vec<Batch> = (0..=self.0.below(3)).map(|_| self.batch()).collect();
        if self.flag() {
            Records::Batches(batches)
        } else {
            Records::Bytes(batches.iter().flat_map(Batch::to_bytes).collect::<Bytes>())
        }
    }

    fn isolation(&mut self) -> IsolationLevel {
        if self.flag() { IsolationLevel::ReadCommitted } else { IsolationLevel::ReadUncommitted }
    }

    fn resource(&mut self) -> ConfigResource {
        if self.flag() { ConfigResource::Topic(self.name()) } else { ConfigResource::Broker(self.option(Self::node)) }
    }

    fn spec(&mut self) -> OffsetSpec {
        match self.0.below(6) {
            0 => OffsetSpec::Earliest,
            1 => OffsetSpec::Latest,
            2 => OffsetSpec::MaxTimestamp,
            3 => OffsetSpec::EarliestLocal,
            4 => OffsetSpec::LatestTiered,
            _ => OffsetSpec::At(self.time()),
        }
    }

    fn broker(&mut self) -> BrokerInfo {
        BrokerInfo {
            node: self.node(),
            rack: self.option(Self::text),
            fenced: self.flag(),
            endpoints: Endpoints::default(),
        }
    }

    fn topic_metadata(&mut self) -> TopicMetadata {
        TopicMetadata {
            error: self.error(),
            name: self.option(Self::name),
            id: self.id(),
            is_internal: self.flag(),
            partitions: self.list(|s| PartitionMetadata {
                error: s.error(),
                partition: s.partition(),
                leader: s.option(Self::node),
                leader_epoch: s.epoch(),
                replicas: s.list(Self::node),
                isr: s.list(Self::node),
                elr: s.list(Self::node),
                offline: s.list(Self::node),
            }),
        }
    }

    fn config(&mut self) -> ConfigEntry {
        ConfigEntry {
            name: self.text(),
            value: self.option(Self::text),
            source: [
                ConfigSource::DynamicTopic,
                ConfigSource::DynamicBroker,
                ConfigSource::DynamicDefaultBroker,
                ConfigSource::StaticBroker,
                ConfigSource::Default,
            ][self.0.below(5) as usize],
            read_only: self.flag(),
            kind: [
                ConfigKind::Boolean,
                ConfigKind::String,
                ConfigKind::Int,
                ConfigKind::Long,
                ConfigKind::Double,
                ConfigKind::List,
            ][self.0.below(6) as usize],
            documentation: self.text(),
        }
    }

    fn change(&mut self) -> ConfigChange {
        let operation = match self.0.below(4) {
            0 => ConfigOperation::Set(self.text()),
            1 => ConfigOperation::Delete,
            2 => ConfigOperation::Append(self.text()),
            _ => ConfigOperation::Subtract(self.text()),
        };
        ConfigChange { name: self.text(), operation }
    }

    /// A request of the kind with this number, below [`REQUEST_KINDS`].
    pub(crate) fn any_request(&mut self, kind: u64) -> ToNode {
        let s = self;
        ToNode::Request(match kind {
            0 => {
                return ToNode::Hello(Hello {
                    software: s.text(),
                    features: s.0.next_u64(),
                    node: s.option(Self::node),
                    cluster_id: s.option(Self::text),
                });
            }
            1 => Request::Produce(ProduceRequest {
                acks: [Acks::None, Acks::Leader, Acks::All][s.0.below(3) as usize],
                timeout: s.duration(),
                partitions: s.list(|s| ProducePartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    batch: Ok(s.batch()),
                }),
            }),
            2 => Request::Fetch(FetchRequest {
                max_wait: s.duration(),
                min_bytes: s.count(),
                max_bytes: s.count(),
                isolation: s.isolation(),
                rack: s.option(Self::text),
                replica: s.option(|s| (s.node(), BrokerEpoch(s.i64()))),
                partitions: s.list(|s| FetchPartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    current_leader_epoch: s.epoch(),
                    offset: s.offset(),
                    last_fetched_epoch: s.epoch(),
                    log_start: s.offset(),
                    max_bytes: s.count(),
                }),
            }),
            3 => Request::ListOffsets(ListOffsetsRequest {
                isolation: s.isolation(),
                partitions: s.list(|s| ListOffsetsPartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    current_leader_epoch: s.epoch(),
                    spec: s.spec(),
                }),
            }),
            4 => Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest {
                partitions: s.list(|s| OffsetForLeaderEpochPartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    current_leader_epoch: s.epoch(),
                    leader_epoch: s.epoch(),
                }),
            }),
            5 => Request::DeleteRecords(DeleteRecordsRequest {
                timeout: s.duration(),
                partitions: s.list(|s| DeleteRecordsPartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    offset: s.offset(),
                }),
            }),
            6 => Request::InitProducerId(InitProducerIdRequest {
                transactional_id: s.option(Self::text),
                producer_id: ProducerId(s.i64()),
                producer_epoch: ProducerEpoch(s.0.below(1 << 15) as i16),
            }),
            7 => Request::Metadata(MetadataRequest {
                topics: s.option(|s| s.list(Self::topic)),
                allow_auto_topic_creation: s.flag(),
            }),
            8 => Request::DescribeCluster,
            9 => Request::DescribeTopicPartitions(DescribeTopicPartitionsRequest {
                topics: s.list(Self::name),
                limit: s.count(),
                cursor: s.option(Self::place),
            }),
            10 => Request::DescribeLogDirs(DescribeLogDirsRequest { partitions: s.option(|s| s.list(Self::place)) }),
            11 => Request::CreateTopics(CreateTopicsRequest {
                topics: s.list(|s| NewTopic {
                    name: s.name(),
                    partitions: s.option(|s| s.0.below(100) as i32),
                    replication_factor: s.option(|s| s.0.below(5) as i16),
                    assignments: s.list(|s| (s.partition(), s.list(Self::node))),
                    configs: s.list(|s| (s.text(), s.option(Self::text))),
                }),
                validate_only: s.flag(),
                timeout: s.duration(),
            }),
            12 => Request::DeleteTopics(DeleteTopicsRequest { topics: s.list(Self::topic), timeout: s.duration() }),
            13 => Request::CreatePartitions(CreatePartitionsRequest {
                topics: s.list(|s| NewPartitions {
                    name: s.name(),
                    total: s.i32(),
                    assignments: s.list(|s| s.list(Self::node)),
                }),
                validate_only: s.flag(),
                timeout: s.duration(),
            }),
            14 => Request::DescribeConfigs(DescribeConfigsRequest {
                resources: s.list(|s| (s.resource(), s.option(|s| s.list(Self::text)))),
            }),
            15 => Request::AlterConfigs(AlterConfigsRequest {
                resources: s.list(|s| AlterConfigsResource {
                    resource: s.resource(),
                    replace_all: s.flag(),
                    changes: s.list(Self::change),
                }),
                validate_only: s.flag(),
            }),
            PEER_REQUESTS..OPERATIONS => Request::Peer(s.peer_request(kind - PEER_REQUESTS)),
            OPERATIONS..REQUEST_KINDS => match kind - OPERATIONS {
                0 => Request::ElectLeaders(ElectLeadersRequest {
                    kind: if s.flag() { ElectionKind::Preferred } else { ElectionKind::Unclean },
                    partitions: s.option(|s| s.list(Self::place)),
                    timeout: s.duration(),
                }),
                1 => Request::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
                    partitions: s.list(|s| Reassignment {
                        topic: s.name(),
                        partition: s.partition(),
                        replicas: s.option(|s| s.list(Self::node)),
                    }),
                    allow_replication_factor_change: s.flag(),
                    timeout: s.duration(),
                }),
                2 => Request::ListPartitionReassignments(ListPartitionReassignmentsRequest {
                    partitions: s.option(|s| s.list(Self::place)),
                }),
                3 => Request::UnregisterBroker(UnregisterBrokerRequest { node: s.node() }),
                4 => Request::DescribeQuorum,
                5 => Request::AddVoter(AddVoterRequest {
                    cluster_id: s.option(Self::text),
                    node: s.node(),
                    directory: DirectoryId(s.0.uuid()),
                    endpoint: s.option(Self::text),
                }),
                _ => Request::RemoveVoter(RemoveVoterRequest {
                    cluster_id: s.option(Self::text),
                    node: s.node(),
                    directory: DirectoryId(s.0.uuid()),
                }),
            },
            kind => panic!("there is no request of kind {kind}"),
        })
    }

    /// An answer of the kind with this number, below [`RESPONSE_KINDS`], with what belongs beside it.
    pub(crate) fn any_response(&mut self, kind: u64) -> (FromNode, Surroundings) {
        let s = self;
        let mut surroundings = Surroundings::default();
        let response = match kind {
            0 => {
                let refusal = Refusal { error: s.error(), message: s.text() };
                return (FromNode::Refused(refusal), surroundings);
            }
            1 => {
                let hello = HelloReply {
                    software: s.text(),
                    features: s.0.next_u64(),
                    node: s.node(),
                    cluster_id: s.text(),
                    frame_bytes_max: s.count(),
                    requests_in_flight_max: s.count(),
                };
                return (FromNode::Hello(hello), surroundings);
            }
            2 => Response::Produce(ProduceResponse {
                partitions: s.list(|s| ProducedPartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    error: s.error(),
                    base_offset: s.offset(),
                    log_append_time: s.time(),
                    log_start: s.offset(),
                }),
            }),
            3 => Response::Fetch(FetchResponse {
                partitions: s.list(|s| FetchedPartition {
                    topic: s.topic(),
                    partition: s.partition(),
                    error: s.error(),
                    high_watermark: s.offset(),
                    last_stable_offset: s.offset(),
                    log_start: s.offset(),
                    diverging: s.option(|s| (s.epoch(), Offset(s.i64().max(0)))),
                    aborted: s.option(|s| {
                        s.list(|s| AbortedTransaction { producer_id: ProducerId(s.i64()), first_offset: s.offset() })
                    }),
                    preferred_read_replica: s.option(Self::node),
                    records: s.records(),
                }),
            }),
            4 => Response::ListOffsets(ListOffsetsResponse {
                partitions: s.list(|s| ListedOffset {
                    topic: s.topic(),
                    partition: s.partition(),
                    error: s.error(),
                    offset: s.offset(),
                    timestamp: s.time(),
                    leader_epoch: s.epoch(),
                }),
            }),
            5 => Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse {
                partitions: s.list(|s| EpochEnd {
                    topic: s.topic(),
                    partition: s.partition(),
                    error: s.error(),
                    leader_epoch: s.epoch(),
                    end_offset: s.offset(),
                }),
            }),
            6 => Response::DeleteRecords(DeleteRecordsResponse {
                partitions: s.list(|s| DeletedRecords {
                    topic: s.topic(),
                    partition: s.partition(),
                    error: s.error(),
                    low_watermark: s.offset(),
                }),
            }),
            7 => Response::InitProducerId(InitProducerIdResponse {
                error: s.error(),
                producer_id: ProducerId(s.i64()),
                producer_epoch: ProducerEpoch(s.0.below(1 << 15) as i16),
            }),
            8 => {
                let brokers = s.list(Self::broker);
                surroundings.endpoints = s.endpoints(&brokers);
                Response::Metadata(MetadataResponse {
                    brokers,
                    cluster_id: s.text(),
                    controller: s.node(),
                    topics: s.list(Self::topic_metadata),
                })
            }
            9 => {
                let brokers = s.list(Self::broker);
                surroundings.endpoints = s.endpoints(&brokers);
                Response::DescribeCluster(DescribeClusterResponse {
                    cluster_id: s.text(),
                    controller: s.node(),
                    brokers,
                })
            }
            10 => Response::DescribeTopicPartitions(DescribeTopicPartitionsResponse {
                topics: s.list(Self::topic_metadata),
                next: s.option(Self::place),
            }),
            11 => {
                surroundings.directory_path = s.option(Self::text);
                Response::DescribeLogDirs(DescribeLogDirsResponse {
                    error: s.error(),
                    directory: DirectoryId(s.0.uuid()),
                    logs: s.list(|s| LogSize {
                        topic: s.name(),
                        partition: s.partition(),
                        bytes: s.0.next_u64(),
                        lag: s.i64(),
                    }),
                })
            }
            12 => Response::CreateTopics(CreateTopicsResponse {
                topics: s.list(|s| CreatedTopic {
                    name: s.name(),
                    error: s.error(),
                    message: s.option(Self::text),
                    id: s.id(),
                    partitions: s.i32(),
                    replication_factor: s.0.below(9) as i16 - 1,
                    configs: s.list(Self::config),
                }),
            }),
            13 => Response::DeleteTopics(DeleteTopicsResponse {
                topics: s.list(|s| DeletedTopic {
                    topic: s.topic(),
                    name: s.option(Self::name),
                    id: s.id(),
                    error: s.error(),
                    message: s.option(Self::text),
                }),
            }),
            14 => Response::CreatePartitions(CreatePartitionsResponse {
                topics: s.list(|s| CreatedPartitions {
                    name: s.name(),
                    error: s.error(),
                    message: s.option(Self::text),
                }),
            }),
            15 => Response::DescribeConfigs(DescribeConfigsResponse {
                resources: s.list(|s| DescribedConfigs {
                    resource: s.resource(),
                    error: s.error(),
                    message: s.option(Self::text),
                    entries: s.list(Self::config),
                }),
            }),
            16 => Response::AlterConfigs(AlterConfigsResponse {
                resources: s.list(|s| AlteredConfigs {
                    resource: s.resource(),
                    error: s.error(),
                    message: s.option(Self::text),
                }),
            }),
            PEER_RESPONSES..OPERATED => {
                let (response, beside) = s.peer_response(kind - PEER_RESPONSES);
                surroundings = beside;
                Response::Peer(response)
            }
            OPERATED..RESPONSE_KINDS => match kind - OPERATED {
                0 => Response::ElectLeaders(ElectLeadersResponse {
                    error: s.error(),
                    partitions: s.list(|s| ElectedLeader {
                        topic: s.name(),
                        partition: s.partition(),
                        error: s.error(),
                        message: s.option(Self::text),
                    }),
                }),
                1 => Response::AlterPartitionReassignments(AlterPartitionReassignmentsResponse {
                    error: s.error(),
                    message: s.option(Self::text),
                    partitions: s.list(|s| Reassigned {
                        topic: s.name(),
                        partition: s.partition(),
                        error: s.error(),
                        message: s.option(Self::text),
                    }),
                }),
                2 => Response::ListPartitionReassignments(ListPartitionReassignmentsResponse {
                    error: s.error(),
                    partitions: s.list(|s| OngoingReassignment {
                        topic: s.name(),
                        partition: s.partition(),
                        replicas: s.list(Self::node),
                        adding: s.list(Self::node),
                        removing: s.list(Self::node),
                    }),
                }),
                3 => Response::UnregisterBroker(UnregisterBrokerResponse {
                    error: s.error(),
                    message: s.option(Self::text),
                }),
                5 => Response::AddVoter(VotersChanged { error: s.error(), message: s.option(Self::text) }),
                6 => Response::RemoveVoter(VotersChanged { error: s.error(), message: s.option(Self::text) }),
                _ => {
                    let replica = |s: &mut Self| QuorumReplica {
                        node: s.node(),
                        directory: DirectoryId(s.0.uuid()),
                        log_end: s.offset(),
                        last_fetch: s.time(),
                        last_caught_up: s.time(),
                    };
                    Response::DescribeQuorum(DescribeQuorumResponse {
                        error: s.error(),
                        leader: s.option(Self::node),
                        epoch: s.epoch(),
                        high_watermark: s.offset(),
                        voters: s.list(replica),
                        observers: s.list(replica),
                    })
                }
            },
            kind => panic!("there is no answer of kind {kind}"),
        };
        (FromNode::Response(response), surroundings)
    }

    fn endpoints(&mut self, brokers: &[BrokerInfo]) -> std::collections::BTreeMap<NodeId, Endpoint> {
        brokers
            .iter()
            .map(|broker| (broker.node, Endpoint { host: self.text(), port: self.0.below(1 << 16) as u16 }))
            .collect()
    }
}

/// The answer as it arrives: records in one piece.
pub(crate) fn as_received(mut message: FromNode) -> FromNode {
    if let FromNode::Response(response) = &mut message {
        receive(response);
    }
    message
}

fn receive(response: &mut Response) {
    match response {
        Response::Fetch(fetch) => fetch.partitions.iter_mut().for_each(|it| receive_records(&mut it.records)),
        Response::Peer(PeerResponse::Fetch(fetch)) => {
            fetch.partitions.iter_mut().for_each(|it| receive_records(&mut it.records));
        }
        Response::Peer(PeerResponse::Forward(response)) => receive(response),
        _ => {}
    }
}

fn receive_records(records: &mut Records) {
    if let Records::Batches(batches) = records {
        *records = Records::Bytes(batches.iter().flat_map(Batch::to_bytes).collect());
    }
}
