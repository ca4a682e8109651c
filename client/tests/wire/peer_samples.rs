//! What nodes say to each other, with every choice in it, drawn from a seed.

use bytes::Bytes;
use tidelog_client::wire::{FromNode, Surroundings, ToNode};
use tidelog_core::{
    epoch::PartitionEpoch,
    ids::{BrokerEpoch, DirectoryId, ProducerId, TopicPartition},
    message::*,
    offset::Offset,
};

use crate::samples::Samples;

/// Kinds of requests between nodes.
pub(crate) const PEER_REQUEST_KINDS: u64 = 11;
/// Kinds of answers between nodes.
pub(crate) const PEER_RESPONSE_KINDS: u64 = 10;

/// Kinds of clients' requests, greetings aside, and of answers, greetings and refusals aside: what can be handed on.
const HANDED_ON: (u64, u64) = (1, 16);
const HANDED_BACK: (u64, u64) = (2, 17);

impl Samples {
    fn within(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.0.below(to - from)
    }

    fn directory(&mut self) -> DirectoryId {
        DirectoryId(self.0.uuid())
    }

    fn broker_epoch(&mut self) -> BrokerEpoch {
        BrokerEpoch(self.i64())
    }

    fn log(&mut self) -> TopicPartition {
        TopicPartition { topic: self.id(), partition: self.partition() }
    }

    fn partition_epoch(&mut self) -> PartitionEpoch {
        PartitionEpoch(self.i32())
    }

    fn snapshot(&mut self) -> SnapshotId {
        SnapshotId { end: Offset(self.i64().max(0)), epoch: self.epoch() }
    }

    fn bytes(&mut self) -> Bytes {
        let length = self.0.below(300);
        (0..length).map(|n| n as u8).collect()
    }

    /// A request of the kind with this number, below [`PEER_REQUEST_KINDS`].
    pub(crate) fn peer_request(&mut self, kind: u64) -> PeerRequest {
        let s = self;
        match kind {
            0 => PeerRequest::Ping,
            1 => PeerRequest::Vote(VoteRequest {
                candidate: s.node(),
                directory: s.directory(),
                voter_directory: if s.flag() { s.directory() } else { DirectoryId::ANY },
                epoch: s.epoch(),
                last_epoch: s.epoch(),
                log_end: s.offset(),
                pre_vote: s.flag(),
            }),
            2 => PeerRequest::BeginEpoch(BeginEpochRequest {
                leader: s.node(),
                epoch: s.epoch(),
                leader_endpoint: s.option(Self::text),
            }),
            3 => PeerRequest::EndEpoch(EndEpochRequest {
                leader: s.node(),
                epoch: s.epoch(),
                successors: s.list(Self::node),
            }),
            4 => PeerRequest::Fetch(ReplicaFetchRequest {
                replica: s.node(),
                directory: s.directory(),
                broker_epoch: s.broker_epoch(),
                session: s.0.next_u64(),
                sequence: s.0.below(1 << 32) as u32,
                max_wait: s.duration(),
                max_bytes: s.count(),
                partitions: s.list(|s| ReplicaFetchPartition {
                    id: s.log(),
                    current_leader_epoch: s.epoch(),
                    offset: s.offset(),
                    acknowledged: s.offset(),
                    last_fetched_epoch: s.epoch(),
                    log_start: s.offset(),
                    high_watermark: s.offset(),
                }),
                forgotten: s.list(Self::log),
            }),
            5 => PeerRequest::FetchSnapshot(FetchSnapshotRequest {
                replica: s.node(),
                current_leader_epoch: s.epoch(),
                snapshot: s.snapshot(),
                position: s.0.next_u64(),
                max_bytes: s.count(),
            }),
            6 => PeerRequest::Register(RegisterRequest {
                node: s.node(),
                incarnation: u128::from_be_bytes(s.0.uuid()),
                directory: s.directory(),
                rack: s.option(Self::text),
                endpoints: Endpoints { native: s.text(), kafka: s.text() },
                previous_epoch: s.broker_epoch(),
            }),
            7 => PeerRequest::Heartbeat(HeartbeatRequest {
                node: s.node(),
                epoch: s.broker_epoch(),
                metadata_offset: s.offset(),
                wants_to_stop: s.flag(),
            }),
            8 => PeerRequest::AlterPartition(AlterPartitionRequest {
                node: s.node(),
                broker_epoch: s.broker_epoch(),
                partitions: s.list(|s| AlterPartition {
                    id: s.log(),
                    leader_epoch: s.epoch(),
                    partition_epoch: s.partition_epoch(),
                    isr: s.list(|s| (s.node(), s.broker_epoch())),
                }),
            }),
            9 => PeerRequest::AllotProducerIds(AllotProducerIdsRequest { node: s.node(), epoch: s.broker_epoch() }),
            10 => {
                let kind = s.within(HANDED_ON);
                let ToNode::Request(request) = s.any_request(kind) else { panic!("a greeting is not handed on") };
                PeerRequest::Forward(Box::new(request))
            }
            kind => panic!("there is no request of kind {kind}"),
        }
    }

    /// An answer of the kind with this number, below [`PEER_RESPONSE_KINDS`], with what belongs beside it.
    pub(crate) fn peer_response(&mut self, kind: u64) -> (PeerResponse, Surroundings) {
        let s = self;
        let response = match kind {
            0 => PeerResponse::Pong,
            1 => PeerResponse::Vote(VoteResponse {
                error: s.error(),
                epoch: s.epoch(),
                leader: s.option(Self::node),
                granted: s.flag(),
                leader_endpoint: s.option(Self::text),
            }),
            2 => PeerResponse::Epoch(EpochResponse {
                error: s.error(),
                epoch: s.epoch(),
                leader: s.option(Self::node),
                leader_endpoint: s.option(Self::text),
            }),
            3 => PeerResponse::Fetch(ReplicaFetchResponse {
                error: s.error(),
                session: s.0.next_u64(),
                partitions: s.list(|s| ReplicaFetched {
                    id: s.log(),
                    error: s.error(),
                    leader: s.option(Self::node),
                    leader_epoch: s.epoch(),
                    high_watermark: s.offset(),
                    log_start: s.offset(),
                    diverging: s.option(|s| (s.epoch(), Offset(s.i64().max(0)))),
                    snapshot: s.option(Self::snapshot),
                    records: s.records(),
                    leader_endpoint: s.option(Self::text),
                }),
            }),
            4 => PeerResponse::FetchSnapshot(FetchSnapshotResponse {
                error: s.error(),
                leader: s.option(Self::node),
                epoch: s.epoch(),
                size: s.0.next_u64(),
                position: s.0.next_u64(),
                bytes: s.bytes(),
                leader_endpoint: s.option(Self::text),
            }),
            5 => PeerResponse::Register(RegisterResponse { error: s.error(), epoch: s.broker_epoch() }),
            6 => {
                PeerResponse::Heartbeat(HeartbeatResponse { error: s.error(), is_fenced: s.flag(), may_stop: s.flag() })
            }
            7 => PeerResponse::AlterPartition(AlterPartitionResponse {
                error: s.error(),
                partitions: s.list(|s| AlteredPartition {
                    id: s.log(),
                    error: s.error(),
                    leader: s.option(Self::node),
                    leader_epoch: s.epoch(),
                    isr: s.list(Self::node),
                    partition_epoch: s.partition_epoch(),
                }),
            }),
            8 => PeerResponse::AllotProducerIds(AllotProducerIdsResponse {
                error: s.error(),
                first: ProducerId(s.i64()),
            }),
            9 => {
                let kind = s.within(HANDED_BACK);
                let (message, surroundings) = s.any_response(kind);
                let FromNode::Response(response) = message else { panic!("only answers are handed back") };
                return (PeerResponse::Forward(Box::new(response)), surroundings);
            }
            kind => panic!("there is no answer of kind {kind}"),
        };
        (response, Surroundings::default())
    }
}
