@0x882034243f7b6cbd;
# What the nodes of a cluster say to each other, inside the `peer` requests and responses of native.capnp: the metadata quorum,
# replication, registration with the controller.
#
# Meanings follow Kafka's inter-broker protocol: KIP-595 (quorum), KIP-630 (snapshots), KIP-227 (fetch sessions), KIP-497 and
# KIP-903 (AlterPartition), KIP-631 (registration and heartbeats), KIP-853 (directories of voters), KIP-996 (pre-vote).

using Native = import "native.capnp";
using Uuid = Native.Uuid;

struct PeerRequest {
  union {
    ping @0 :Void;
    # Is anybody there?
    vote @1 :VoteRequest;
    # A vote in an election, or the promise of one.
    beginEpoch @2 :BeginEpochRequest;
    # "I lead this epoch of the metadata log."
    endEpoch @3 :EndEpochRequest;
    # "I lead no longer; elect another."
    fetch @4 :ReplicaFetchRequest;
    # Pull records, of the metadata log or of partitions.
    fetchSnapshot @5 :FetchSnapshotRequest;
    # Pull a piece of a snapshot of the metadata.
    register @6 :RegisterRequest;
    # A broker is here.
    heartbeat @7 :HeartbeatRequest;
    # A broker is still here.
    alterPartition @8 :AlterPartitionRequest;
    # A leader wants other in-sync replicas for partitions.
    allotProducerIds @9 :AllotProducerIdsRequest;
    # A block of producer ids.
    forward @10 :Native.Request;
    # A client's request that only the controller can decide, handed on; its correlation means nothing, its records
    # are the body. Neither a greeting nor a peer's request can be handed on.
  }
}

struct PeerResponse {
  union {
    pong @0 :Void;
    vote @1 :VoteResponse;
    epoch @2 :EpochResponse;
    # To `beginEpoch` and `endEpoch`.
    fetch @3 :ReplicaFetchResponse;
    fetchSnapshot @4 :FetchSnapshotResponse;
    register @5 :RegisterResponse;
    heartbeat @6 :HeartbeatResponse;
    alterPartition @7 :AlterPartitionResponse;
    allotProducerIds @8 :AllotProducerIdsResponse;
    forward @9 :Native.Response;
    # The controller's answer to the client. Neither a greeting nor a peer's answer, nor `refused`.
  }
}

struct PartitionRef {
  # A partition of one incarnation of a topic.
  topicHigh @0 :UInt64;
  topicLow @1 :UInt64;
  # The topic's id, as in `Uuid`. The metadata log's is 0 and 1.
  partition @2 :Int32;
}

struct VoteRequest {
  candidate @0 :Int32;
  directory @1 :Uuid;
  # The candidate's data directory, so that a wiped node is not taken for what it was.
  epoch @2 :Int32 = -1;
  # Of the election; with `preVote`, the candidate's present one.
  lastEpoch @3 :Int32 = -1;
  # Epoch of the candidate's last record.
  logEnd @4 :Int64;
  # Where its log ends.
  preVote @5 :Bool;
  # Binds nobody.
  voterDirectory @6 :Uuid;
  # The data directory of the voter that is asked, as the candidate's log has it; zero where it has none.
}

struct VoteResponse {
  error @0 :Int16;
  epoch @1 :Int32 = -1;
  # The newest that the voter knows.
  leader @2 :Int32 = -1;
  # That epoch's leader.
  granted @3 :Bool;
  leaderEndpoint @4 :Text;
  # host:port of its native listener; null where the answering node does not know it, or is it.
}

struct BeginEpochRequest {
  leader @0 :Int32;
  epoch @1 :Int32 = -1;
  leaderEndpoint @2 :Text;
  # host:port of its native listener, so that a node that has never heard of it can follow.
}

struct EndEpochRequest {
  leader @0 :Int32;
  epoch @1 :Int32 = -1;
  successors @2 :List(Int32);
  # Who should stand first, the most caught up before the others.
}

struct EpochResponse {
  error @0 :Int16;
  epoch @1 :Int32 = -1;
  leader @2 :Int32 = -1;
  leaderEndpoint @3 :Text;
  # As in `VoteResponse`.
}

struct ReplicaFetchRequest {
  replica @0 :Int32;
  directory @1 :Uuid;
  brokerEpoch @2 :Int64 = -1;
  # The follower's registration; -1 before it has one, which only the metadata log is pulled with.
  session @3 :UInt64;
  # As the leader gave it, or 0 to begin one.
  sequence @4 :UInt32;
  # Counts the requests of a session, from 0; a gap ends it.
  maxWaitMs @5 :UInt32;
  maxBytes @6 :UInt32;
  # Stop adding batches past this much; the first batch is exempt.
  partitions @7 :List(ReplicaFetchPartition);
  # What is new in the session, or has changed since the last request.
  forgotten @8 :List(PartitionRef);
  # What leaves the session.
}

struct ReplicaFetchPartition {
  id @0 :PartitionRef;
  currentLeaderEpoch @1 :Int32 = -1;
  lastFetchedEpoch @2 :Int32 = -1;
  # Epoch of the follower's last record.
  offset @3 :Int64;
  # Where the follower's log ends.
  acknowledged @4 :Int64;
  # What counts as had by the follower: where its durable log ends, or with durability=replicated its log.
  logStart @5 :Int64;
  highWatermark @6 :Int64;
  # That the follower knows; the leader answers at once when it has a newer one.
}

struct ReplicaFetchResponse {
  error @0 :Int16;
  # Why nothing was read at all: the session or the registration is not known.
  session @1 :UInt64;
  partitions @2 :List(ReplicaFetched);
  # In a session only those with something to say.
}

struct ReplicaFetched {
  id @0 :PartitionRef;
  error @1 :Int16;
  leader @2 :Int32 = -1;
  # Of the newest epoch that the answering node knows.
  leaderEpoch @3 :Int32 = -1;
  # That epoch.
  highWatermark @4 :Int64 = -1;
  logStart @5 :Int64 = -1;
  divergingEpoch @6 :Int32 = -1;
  # Set when the follower's log is not a prefix of this one: the epoch of what they share ...
  divergingEnd @7 :Int64 = -1;
  # ... and its end.
  snapshotEpoch @8 :Int32 = -1;
  # Set when what is asked for is gone from the metadata log: the snapshot that has it, by its last epoch ...
  snapshotEnd @9 :Int64 = -1;
  # ... and the first offset that is not in it.
  recordsBytes @10 :UInt32;
  # Bytes of the body that are this partition's batches, all of them whole.
  leaderEndpoint @11 :Text;
  # As in `VoteResponse`. Metadata log only.
}

struct FetchSnapshotRequest {
  replica @0 :Int32;
  currentLeaderEpoch @1 :Int32 = -1;
  snapshotEpoch @2 :Int32 = -1;
  snapshotEnd @3 :Int64;
  # Which snapshot.
  position @4 :UInt64;
  # From which byte.
  maxBytes @5 :UInt32;
}

struct FetchSnapshotResponse {
  # The body is the piece.
  error @0 :Int16;
  leader @1 :Int32 = -1;
  epoch @2 :Int32 = -1;
  size @3 :UInt64;
  # Of the whole snapshot.
  position @4 :UInt64;
  # Where this piece begins.
  pieceBytes @5 :UInt32;
  # Bytes of the body.
  leaderEndpoint @6 :Text;
  # As in `VoteResponse`.
}

struct RegisterRequest {
  node @0 :Int32;
  incarnation @1 :Uuid;
  # This run of its process: chosen at random at every start.
  directory @2 :Uuid;
  rack @3 :Text;
  native @4 :Text;
  # host:port of its native listener, which peers use, too.
  kafka @5 :Text;
  # host:port of its Kafka listener.
  previousEpoch @6 :Int64 = -1;
  # Its last registration, if it stopped cleanly after it (KIP-966).
}

struct RegisterResponse {
  error @0 :Int16;
  epoch @1 :Int64 = -1;
  # The broker's registration.
}

struct HeartbeatRequest {
  node @0 :Int32;
  epoch @1 :Int64 = -1;
  metadataOffset @2 :Int64;
  # How far it has applied the metadata.
  wantsToStop @3 :Bool;
  # Controlled shutdown: move its leaderships away.
}

struct HeartbeatResponse {
  error @0 :Int16;
  # STALE_BROKER_EPOCH (77): register again.
  isFenced @1 :Bool;
  mayStop @2 :Bool;
  # Nothing is led by the broker any more.
}

struct AlterPartitionRequest {
  node @0 :Int32;
  brokerEpoch @1 :Int64 = -1;
  partitions @2 :List(AlterPartition);
}

struct AlterPartition {
  id @0 :PartitionRef;
  leaderEpoch @1 :Int32 = -1;
  partitionEpoch @2 :Int32 = -1;
  # The state that the wish is about.
  isr @3 :List(IsrMember);
  # The replicas that should count.
}

struct IsrMember {
  node @0 :Int32;
  epoch @1 :Int64 = -1;
  # The registration under which it was seen to be in sync.
}

struct AlterPartitionResponse { error @0 :Int16; partitions @1 :List(AlteredPartition); }

struct AlteredPartition {
  id @0 :PartitionRef;
  error @1 :Int16;
  leader @2 :Int32 = -1;
  leaderEpoch @3 :Int32 = -1;
  isr @4 :List(Int32);
  partitionEpoch @5 :Int32 = -1;
}

struct AllotProducerIdsRequest { node @0 :Int32; epoch @1 :Int64 = -1; }

struct AllotProducerIdsResponse {
  error @0 :Int16;
  first @1 :Int64 = -1;
  # The first of 1,000.
}
