//! What nodes say to each other: the metadata quorum, replication, registration with the controller.
//!
//! Peers speak the native protocol like everybody else; these are its requests that only nodes have a use for. A peer
//! is called ([`crate::effect::Effect::Call`]) and answers, or is lost ([`CallError`]); nothing is ever pushed.
//! Fields and their meanings follow Kafka's inter-broker protocol: KIP-595 (quorum), KIP-630 (snapshots), KIP-227
//! (fetch sessions), KIP-497 and KIP-903 (AlterPartition), KIP-631 (registration and heartbeats).

use alloc::{boxed::Box, string::String, vec::Vec};

use bytes::Bytes;

use super::{ErrorCode, Records, Request, Response};
use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, DirectoryId, NodeId, ProducerId, TopicId, TopicPartition},
    offset::Offset,
    time::Duration,
};

/// Everything that one node asks of another.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerRequest {
    /// A vote in an election of the metadata quorum, or the promise of one (KIP-996).
    Vote(VoteRequest),
    /// "I lead this epoch of the metadata log" (KIP-595).
    BeginEpoch(BeginEpochRequest),
    /// "I lead no longer; elect another" (KIP-595).
    EndEpoch(EndEpochRequest),
    /// Pull records, of the metadata log or of partitions.
    Fetch(ReplicaFetchRequest),
    /// Pull a piece of a snapshot of the metadata (KIP-630).
    FetchSnapshot(FetchSnapshotRequest),
    /// A broker is here.
    Register(RegisterRequest),
    /// A broker is still here.
    Heartbeat(HeartbeatRequest),
    /// A leader wants other in-sync replicas for partitions.
    AlterPartition(AlterPartitionRequest),
    /// A block of producer ids.
    AllotProducerIds(AllotProducerIdsRequest),
    /// A client's request that only the controller can decide, handed on. It is never handed on again.
    Forward(Box<Request>),
    /// Is anybody there?
    Ping,
}

/// What a node answers a node; the variant is that of the request.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerResponse {
    /// To [`PeerRequest::Vote`].
    Vote(VoteResponse),
    /// To [`PeerRequest::BeginEpoch`] and [`PeerRequest::EndEpoch`].
    Epoch(EpochResponse),
    /// To [`PeerRequest::Fetch`].
    Fetch(ReplicaFetchResponse),
    /// To [`PeerRequest::FetchSnapshot`].
    FetchSnapshot(FetchSnapshotResponse),
    /// To [`PeerRequest::Register`].
    Register(RegisterResponse),
    /// To [`PeerRequest::Heartbeat`].
    Heartbeat(HeartbeatResponse),
    /// To [`PeerRequest::AlterPartition`].
    AlterPartition(AlterPartitionResponse),
    /// To [`PeerRequest::AllotProducerIds`].
    AllotProducerIds(AllotProducerIdsResponse),
    /// To [`PeerRequest::Forward`]: the controller's answer to the client.
    Forward(Box<Response>),
    /// To [`PeerRequest::Ping`].
    Pong,
}

/// What an answer says of who leads the metadata quorum.
#[derive(Debug)]
pub struct NamedLeader<'a> {
    /// Who, if the answering node knows it.
    pub leader: Option<NodeId>,
    /// In which epoch.
    pub epoch: LeaderEpoch,
    /// `host:port` of its native listener, as in [`VoteResponse::leader_endpoint`].
    pub endpoint: &'a mut Option<String>,
}

impl PeerResponse {
    /// The leader of the metadata quorum, of an answer that is to say who that is.
    pub fn named_leader(&mut self) -> Option<NamedLeader<'_>> {
        let (leader, epoch, endpoint) = match self {
            Self::Vote(r) => (r.leader, r.epoch, &mut r.leader_endpoint),
            Self::Epoch(r) => (r.leader, r.epoch, &mut r.leader_endpoint),
            Self::FetchSnapshot(r) => (r.leader, r.epoch, &mut r.leader_endpoint),
            // The metadata log is pulled by itself.
            Self::Fetch(r) => match &mut r.partitions[..] {
                [log] if log.id.topic == TopicId::METADATA => (log.leader, log.leader_epoch, &mut log.leader_endpoint),
                _ => return None,
            },
            _ => return None,
        };
        Some(NamedLeader { leader, epoch, endpoint })
    }
}

/// Why a call to a peer brought no answer. Whether the peer acted on it is not known, but for [`CallError::Refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nobody listens at the peer's address: the process is not there.
    Refused,
    /// The connection broke.
    Lost,
    /// No answer in time.
    TimedOut,
}

/// The candidate asks for a vote in its epoch; with `pre_vote`, whether it would get one (KIP-996).
#[derive(Clone, Debug, PartialEq)]
pub struct VoteRequest {
    /// Who asks.
    pub candidate: NodeId,
    /// Its data directory, so that a wiped node is not taken for what it was (KIP-853).
    pub directory: DirectoryId,
    /// The data directory of the voter that is asked, as the candidate's log has it; [`DirectoryId::ANY`] where it has none.
    pub voter_directory: DirectoryId,
    /// The epoch of the election; with `pre_vote`, the candidate's present one.
    pub epoch: LeaderEpoch,
    /// Epoch of the candidate's last record.
    pub last_epoch: LeaderEpoch,
    /// Where its log ends.
    pub log_end: Offset,
    /// Binds nobody.
    pub pre_vote: bool,
}

/// Yes or no.
#[derive(Clone, Debug, PartialEq)]
pub struct VoteResponse {
    /// Why the request was not considered at all.
    pub error: ErrorCode,
    /// The newest epoch that the voter knows.
    pub epoch: LeaderEpoch,
    /// That epoch's leader, if the voter knows it.
    pub leader: Option<NodeId>,
    /// Is the vote the candidate's? It is durable.
    pub granted: bool,
    /// `host:port` of that leader's native listener; `None` where the answering node does not know it, or is the leader.
    pub leader_endpoint: Option<String>,
}

/// The winner of an election makes itself known.
#[derive(Clone, Debug, PartialEq)]
pub struct BeginEpochRequest {
    /// The leader.
    pub leader: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// `host:port` of its native listener, so that a node that has never heard of it can follow.
    pub leader_endpoint: Option<String>,
}

/// A leader goes.
#[derive(Clone, Debug, PartialEq)]
pub struct EndEpochRequest {
    /// Who led.
    pub leader: NodeId,
    /// In this epoch.
    pub epoch: LeaderEpoch,
    /// Who should stand first, the most caught up before the others.
    pub successors: Vec<NodeId>,
}

/// What the answering node knows of the quorum.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochResponse {
    /// Why the request was not considered.
    pub error: ErrorCode,
    /// The newest epoch that the node knows.
    pub epoch: LeaderEpoch,
    /// That epoch's leader, if it knows it.
    pub leader: Option<NodeId>,
    /// As in [`VoteResponse::leader_endpoint`].
    pub leader_endpoint: Option<String>,
}

/// A follower pulls, and by its offsets acknowledges (KIP-595 for the metadata log, KIP-227 for sessions).
///
/// The metadata log is pulled by requests of its own, without a session. The partitions that one node follows on another
/// are pulled in one session: the first request names all of them, later ones only those that changed.
/// A newer request of a session ends the wait of the one before, which is answered with what there is.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaFetchRequest {
    /// Who pulls.
    pub replica: NodeId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its registration (KIP-903); [`BrokerEpoch::NONE`] before it has one, which only the metadata log is pulled with.
    pub broker_epoch: BrokerEpoch,
    /// The session that the leader has given, or 0 to begin one.
    pub session: u64,
    /// Counts the requests of a session, from 0; a gap ends it.
    pub sequence: u32,
    /// How long to wait for the first byte.
    pub max_wait: Duration,
    /// Stop adding batches past this much; the first batch is exempt.
    pub max_bytes: usize,
    /// What is new in the session, or has changed since the last request.
    pub partitions: Vec<ReplicaFetchPartition>,
    /// What leaves the session.
    pub forgotten: Vec<TopicPartition>,
}

impl ReplicaFetchRequest {
    /// Is it the metadata log that is pulled?
    pub fn is_of_metadata(&self) -> bool {
        self.partitions.first().is_some_and(|partition| partition.id.topic == TopicId::METADATA)
    }
}

/// One log that is pulled.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaFetchPartition {
    /// Which; [`crate::ids::TopicId::METADATA`] for the metadata log.
    pub id: TopicPartition,
    /// The leader epoch that the follower believes in.
    pub current_leader_epoch: LeaderEpoch,
    /// The first offset wanted: where the follower's log ends.
    pub offset: Offset,
    /// What counts as had by the follower: where its durable log ends, or with `durability=replicated` its log.
    pub acknowledged: Offset,
    /// Epoch of the follower's last record (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
    /// Where the follower's log begins.
    pub log_start: Offset,
    /// The high watermark that the follower knows; the leader answers at once when it has a newer one.
    pub high_watermark: Offset,
}

/// Answer to a follower. In a session only partitions with something to say are in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaFetchResponse {
    /// Why nothing was read at all: the session or the registration is not known.
    pub error: ErrorCode,
    /// The session.
    pub session: u64,
    /// What there is.
    pub partitions: Vec<ReplicaFetched>,
}

/// What one log has for a follower.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaFetched {
    /// Which.
    pub id: TopicPartition,
    /// Why there is nothing, or [`ErrorCode::None`].
    pub error: ErrorCode,
    /// The leader that the answering node knows, of its newest epoch.
    pub leader: Option<NodeId>,
    /// That epoch.
    pub leader_epoch: LeaderEpoch,
    /// Where committed records end; [`Offset::NONE`] while a new leader of the metadata log does not know.
    pub high_watermark: Offset,
    /// Where the log begins.
    pub log_start: Offset,
    /// The follower's log is not a prefix of this one: the epoch and end offset of what they share.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// What is asked for is gone from the log; this snapshot has it. Metadata log only.
    pub snapshot: Option<SnapshotId>,
    /// The batches.
    pub records: Records,
    /// As in [`VoteResponse::leader_endpoint`]. Metadata log only.
    pub leader_endpoint: Option<String>,
}

/// A snapshot of the metadata: everything below `end`, whose last record is of `epoch` (KIP-630).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The first offset that is not in it.
    pub end: Offset,
    /// Epoch of the last record that is.
    pub epoch: LeaderEpoch,
}

/// A piece of a snapshot, please.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchSnapshotRequest {
    /// Who pulls.
    pub replica: NodeId,
    /// The epoch that it believes in.
    pub current_leader_epoch: LeaderEpoch,
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// From which byte.
    pub position: u64,
    /// How many bytes at most.
    pub max_bytes: usize,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchSnapshotResponse {
    /// Why there is none.
    pub error: ErrorCode,
    /// The leader that the answering node knows.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// Bytes of the whole snapshot.
    pub size: u64,
    /// Where this piece begins.
    pub position: u64,
    /// The piece.
    pub bytes: Bytes,
    /// As in [`VoteResponse::leader_endpoint`].
    pub leader_endpoint: Option<String>,
}

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `host:port` of the native listener, which peers use, too.
    pub native: String,
    /// `host:port` of the Kafka listener.
    pub kafka: String,
}

/// A broker makes itself known to the controller.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterRequest {
    /// Who.
    pub node: NodeId,
    /// This run of its process: chosen at random at every start.
    pub incarnation: u128,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Its rack.
    pub rack: Option<String>,
    /// Where it is reached.
    pub endpoints: Endpoints,
    /// Its last registration, if it stopped cleanly after it (KIP-966); else [`BrokerEpoch::NONE`].
    pub previous_epoch: BrokerEpoch,
}

/// The broker's registration.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterResponse {
    /// Why there is none.
    pub error: ErrorCode,
    /// Its epoch.
    pub epoch: BrokerEpoch,
}

/// A broker is alive.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRequest {
    /// Who.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
    /// How far it has applied the metadata.
    pub metadata_offset: Offset,
    /// It wants to go: move its leaderships away (controlled shutdown).
    pub wants_to_stop: bool,
}

/// What the controller thinks of the broker.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatResponse {
    /// [`ErrorCode::StaleBrokerEpoch`]: register again.
    pub error: ErrorCode,
    /// Out of service?
    pub is_fenced: bool,
    /// Nothing is led by the broker any more: it can go.
    pub may_stop: bool,
}

/// A leader's wishes for the in-sync replicas of its partitions (KIP-497).
#[derive(Clone, Debug, PartialEq)]
pub struct AlterPartitionRequest {
    /// The leader.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Its partitions.
    pub partitions: Vec<AlterPartition>,
}

/// One partition's in-sync replicas as its leader wants them.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterPartition {
    /// Which.
    pub id: TopicPartition,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The state that the wish is about.
    pub partition_epoch: PartitionEpoch,
    /// The replicas that should count, each with the registration under which it was seen to be in sync (KIP-903).
    pub isr: Vec<(NodeId, BrokerEpoch)>,
}

/// What became of the wishes, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterPartitionResponse {
    /// Why none was considered.
    pub error: ErrorCode,
    /// One for each.
    pub partitions: Vec<AlteredPartition>,
}

/// A partition as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct AlteredPartition {
    /// Which.
    pub id: TopicPartition,
    /// Why the wish was not granted.
    pub error: ErrorCode,
    /// Its leader.
    pub leader: Option<NodeId>,
    /// That leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync replicas.
    pub isr: Vec<NodeId>,
    /// Counts the partition's changes.
    pub partition_epoch: PartitionEpoch,
}

/// A broker has given out all producer ids of its block.
#[derive(Clone, Debug, PartialEq)]
pub struct AllotProducerIdsRequest {
    /// Who.
    pub node: NodeId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

/// A block of [`crate::limits::PRODUCER_ID_BLOCK`] ids.
#[derive(Clone, Debug, PartialEq)]
pub struct AllotProducerIdsResponse {
    /// Why there is none.
    pub error: ErrorCode,
    /// The first of them.
    pub first: ProducerId,
}

impl PeerRequest {
    /// The response that says `error`.
    pub fn refuse(&self, error: ErrorCode) -> PeerResponse {
        let (epoch, leader, leader_endpoint) = (LeaderEpoch::NONE, None, None);
        match self {
            Self::Vote(_) => PeerResponse::Vote(VoteResponse { error, epoch, leader, granted: false, leader_endpoint }),
            Self::BeginEpoch(_) | Self::EndEpoch(_) => {
                PeerResponse::Epoch(EpochResponse { error, epoch, leader, leader_endpoint })
            }
            Self::Fetch(r) => {
                let (session, partitions) = (r.session, Vec::new());
                PeerResponse::Fetch(ReplicaFetchResponse { error, session, partitions })
            }
            Self::FetchSnapshot(r) => PeerResponse::FetchSnapshot(FetchSnapshotResponse {
                error,
                leader,
                epoch,
                size: 0,
                position: r.position,
                bytes: Bytes::new(),
                leader_endpoint,
            }),
            Self::Register(_) => PeerResponse::Register(RegisterResponse { error, epoch: BrokerEpoch::NONE }),
            Self::Heartbeat(_) => {
                PeerResponse::Heartbeat(HeartbeatResponse { error, is_fenced: true, may_stop: false })
            }
            Self::AlterPartition(_) => {
                PeerResponse::AlterPartition(AlterPartitionResponse { error, partitions: Vec::new() })
            }
            Self::AllotProducerIds(_) => {
                PeerResponse::AllotProducerIds(AllotProducerIdsResponse { error, first: ProducerId::NONE })
            }
            Self::Forward(request) => PeerResponse::Forward(Box::new(request.refuse(error))),
            Self::Ping => PeerResponse::Pong,
        }
    }
}
