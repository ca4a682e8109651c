@0xde2e7fc040da092c;
# tidelog's native protocol: what clients, tools and peers say to a node, and what it answers.
#
# A frame on the wire is: frame length (u32), header length (u32), header, body. Both lengths are little-endian; the
# frame length counts everything after itself. The header is one Cap'n Proto message in the standard stream framing
# (segment table, then segments), with `Request` as its root from the client and `Response` from the node. The body is
# record batches in Kafka's format v2, back to back; each partition of the header says how many bytes are its own, in
# order, and together they are the whole body.
#
# A connection begins, in both directions, with the 6 bytes "TIDE", version (u16, little-endian): the newest version of
# this framing that the sender speaks; the lower of the two is spoken. The first frames are `hello` and its answer.
# After that requests may be sent without waiting; answers come in any order and carry the request's correlation.
#
# Names, numbers and meanings are Kafka's wherever Kafka has the thing: error codes, offsets, epochs, acks, configs.
# Lists in answers are in the order of the request. Times are milliseconds; -1 is "none" wherever a number has that
# default. A text or list is "null" when its pointer is not set. README.md has the rules by which this file may change.
# What only nodes say to each other is in peer.capnp.

using Peer = import "peer.capnp";

# ---------------------------------------------------------------------------------------------- the two headers
struct Request {
  # The header of every frame from a client.

  correlation @0 :UInt64;
  # Chosen by the client; the answer repeats it. Unique among the requests that wait for an answer.

  union {
    hello @1 :Hello;
    # The first request of a connection, and only the first.
    produce @2 :ProduceRequest;
    # Append batches; the body has them. With acks 0 there is no answer.
    fetch @3 :FetchRequest;
    # Read batches; the answer's body has them.
    listOffsets @4 :ListOffsetsRequest;
    # Find offsets by time or by name.
    offsetForLeaderEpoch @5 :OffsetForLeaderEpochRequest;
    # Find where leader epochs end.
    deleteRecords @6 :DeleteRecordsRequest;
    # Raise log start offsets.
    initProducerId @7 :InitProducerIdRequest;
    # A producer id for idempotent writes.
    metadata @8 :MetadataRequest;
    # Topics, partitions, leaders, brokers and their addresses.
    describeCluster @9 :Void;
    # The cluster and its nodes.
    describeTopicPartitions @10 :DescribeTopicPartitionsRequest;
    # Partitions page by page.
    describeLogDirs @11 :DescribeLogDirsRequest;
    # Sizes of logs on the node that is asked.
    createTopics @12 :CreateTopicsRequest;
    # New topics.
    deleteTopics @13 :DeleteTopicsRequest;
    # Fewer topics.
    createPartitions @14 :CreatePartitionsRequest;
    # More partitions.
    describeConfigs @15 :DescribeConfigsRequest;
    # Settings as they are.
    alterConfigs @16 :AlterConfigsRequest;
    # Settings as they should be.
    peer @17 :Peer.PeerRequest;
    # What only another node of the cluster asks; it has said in its greeting which one it is.
    electLeaders @18 :ElectLeadersRequest;
    # Leaders, where there are none or others than preferred.
    alterPartitionReassignments @19 :AlterPartitionReassignmentsRequest;
    # Other replicas for partitions.
    listPartitionReassignments @20 :ListPartitionReassignmentsRequest;
    # Partitions on their way to other replicas.
    unregisterBroker @21 :UnregisterBrokerRequest;
    # A broker that is not coming back.
    describeQuorum @22 :Void;
    # The metadata quorum.
    addVoter @23 :AddVoterRequest;
    # One more voter in the metadata quorum.
    removeVoter @24 :RemoveVoterRequest;
    # One less.
  }
}

struct Response {
  # The header of every frame from a node.

  correlation @0 :UInt64;
  # That of the request.

  union {
    refused @1 :Refusal;
    # The request was not carried out at all: not understood, or not allowed.
    hello @2 :HelloReply;
    produce @3 :ProduceResponse;
    fetch @4 :FetchResponse;
    listOffsets @5 :ListOffsetsResponse;
    offsetForLeaderEpoch @6 :OffsetForLeaderEpochResponse;
    deleteRecords @7 :DeleteRecordsResponse;
    initProducerId @8 :InitProducerIdResponse;
    metadata @9 :MetadataResponse;
    describeCluster @10 :DescribeClusterResponse;
    describeTopicPartitions @11 :DescribeTopicPartitionsResponse;
    describeLogDirs @12 :DescribeLogDirsResponse;
    createTopics @13 :CreateTopicsResponse;
    deleteTopics @14 :DeleteTopicsResponse;
    createPartitions @15 :CreatePartitionsResponse;
    describeConfigs @16 :DescribeConfigsResponse;
    alterConfigs @17 :AlterConfigsResponse;
    peer @18 :Peer.PeerResponse;
    electLeaders @19 :ElectLeadersResponse;
    alterPartitionReassignments @20 :AlterPartitionReassignmentsResponse;
    listPartitionReassignments @21 :ListPartitionReassignmentsResponse;
    unregisterBroker @22 :UnregisterBrokerResponse;
    describeQuorum @23 :DescribeQuorumResponse;
    addVoter @24 :VotersChanged;
    removeVoter @25 :VotersChanged;
  }
}

struct Refusal {
  # Why a request was not carried out.

  error @0 :Int16;
  # UNSUPPORTED_VERSION (35) for a kind of request that the node does not know, INVALID_REQUEST (42) for one that
  # makes no sense, or any other code.
  message @1 :Text;
  # The reason in words.
}

# ---------------------------------------------------------------------------------------------- greeting
struct Hello {
  software @0 :Text;
  # Name and version of the client, for logs: "tidelog-rust/0.1.0".
  features @1 :UInt64;
  # One bit for each optional feature that the client can use. None is defined yet.
  node @2 :Int32 = -1;
  # Set by a node of the cluster: its id.
  clusterId @3 :Text;
  # The cluster that the sender means, or null for whichever it meets. Another one refuses with
  # INCONSISTENT_CLUSTER_ID (104) and closes the connection.
}

struct HelloReply {
  software @0 :Text;
  # Name and version of the server: "tidelog/0.1.0".
  features @1 :UInt64;
  # The features that both sides have.
  node @2 :Int32;
  # Id of the node that answers.
  clusterId @3 :Text;
  # Kafka's 22-character cluster id.
  frameBytesMax @4 :UInt32;
  # The largest frame that the node accepts.
  requestsInFlightMax @5 :UInt32;
  # Past this many unanswered requests the node stops reading from the connection.
}

# ---------------------------------------------------------------------------------------------- shared pieces
struct Uuid {
  # 16 bytes; `high` holds the first eight, big-endian. All zero is "none".
  high @0 :UInt64;
  low @1 :UInt64;
}

struct TopicRef {
  # A topic as a request names it; the answer repeats it in the same way.
  union {
    name @0 :Text;
    # Whatever topic has this name now.
    id @1 :Uuid;
    # That incarnation or none (KIP-516).
  }
}

struct TopicPartition {
  # A place in the order of topic names and partitions.
  topic @0 :Text;
  partition @1 :Int32;
}

enum IsolationLevel {
  readUncommitted @0;
  # Up to the high watermark.
  readCommitted @1;
  # Up to the last stable offset, with aborted transactions named.
}

# ---------------------------------------------------------------------------------------------- produce
struct ProduceRequest {
  acks @0 :Int16 = -1;
  # 0: no answer; 1: once the leader has it; -1: once every in-sync replica has it.
  timeoutMs @1 :UInt32;
  # How long the answer may take before it is REQUEST_TIMED_OUT (7).
  partitions @2 :List(ProducePartition);
}

struct ProducePartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  recordsBytes @2 :UInt32;
  # Bytes of the body that are this partition's one batch.
}

struct ProduceResponse { partitions @0 :List(ProducedPartition); }

struct ProducedPartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  error @2 :Int16;
  # 0 when the batch is acknowledged.
  baseOffset @3 :Int64 = -1;
  # Where the batch's first record stands.
  logAppendTime @4 :Int64 = -1;
  # The broker's timestamp, where the topic has message.timestamp.type=LogAppendTime.
  logStart @5 :Int64 = -1;
  # The partition's log start offset.
}

# ---------------------------------------------------------------------------------------------- fetch
struct FetchRequest {
  maxWaitMs @0 :UInt32;
  # How long to wait for `minBytes`.
  minBytes @1 :UInt32;
  # Answer as soon as this much can be read.
  maxBytes @2 :UInt32;
  # Stop adding batches past this much; the first batch is exempt (KIP-74).
  isolation @3 :IsolationLevel;
  replica @4 :Int32 = -1;
  # Set by a follower.
  replicaEpoch @5 :Int64 = -1;
  # That follower's broker epoch (KIP-903).
  partitions @6 :List(FetchPartition);
  rack @7 :Text;
  # The reader's rack, empty if it has none (KIP-392). Null: it reads from leaders alone.
}

struct FetchPartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  currentLeaderEpoch @2 :Int32 = -1;
  # The epoch that the reader believes in (KIP-320).
  offset @3 :Int64;
  # The first offset wanted.
  lastFetchedEpoch @4 :Int32 = -1;
  # Epoch of the last batch that the reader has (KIP-595).
  logStart @5 :Int64 = -1;
  # A follower's own log start.
  maxBytes @6 :UInt32;
  # As in the request, for this partition.
}

struct FetchResponse { partitions @0 :List(FetchedPartition); }

struct FetchedPartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  error @2 :Int16;
  preferredReadReplica @3 :Int32 = -1;
  # A replica that is nearer to the reader (KIP-392).
  highWatermark @4 :Int64 = -1;
  # Where committed records end.
  lastStableOffset @5 :Int64 = -1;
  # Where decided records end.
  logStart @6 :Int64 = -1;
  # Where the log begins.
  divergingEpoch @7 :Int32 = -1;
  # Set when the reader's log is not a prefix of this one: the epoch of what they share ...
  divergingEnd @8 :Int64 = -1;
  # ... and its end.
  aborted @9 :List(AbortedTransaction);
  # Transactions whose records a read-committed reader must drop; null for any other reader.
  recordsBytes @10 :UInt32;
  # Bytes of the body that are this partition's batches, all of them whole. The first may begin before the offset
  # that was asked for.
}

struct AbortedTransaction { producerId @0 :Int64; firstOffset @1 :Int64; }

# ---------------------------------------------------------------------------------------------- offsets
struct OffsetSpec {
  union {
    earliest @0 :Void;
    # The log start offset.
    latest @1 :Void;
    # The end of what the reader may see.
    maxTimestamp @2 :Void;
    # The record with the greatest timestamp (KIP-734).
    earliestLocal @3 :Void;
    # The earliest on local disk (KIP-405).
    latestTiered @4 :Void;
    # The latest in tiered storage (KIP-1005).
    at @5 :Int64;
    # The first record whose timestamp is at least this.
  }
}

struct ListOffsetsRequest { isolation @0 :IsolationLevel; partitions @1 :List(ListOffsetsPartition); }

struct ListOffsetsPartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  currentLeaderEpoch @2 :Int32 = -1;
  spec @3 :OffsetSpec;
}

struct ListOffsetsResponse { partitions @0 :List(ListedOffset); }

struct ListedOffset {
  topic @0 :TopicRef;
  partition @1 :Int32;
  error @2 :Int16;
  leaderEpoch @3 :Int32 = -1;
  # Epoch of the record at that offset.
  offset @4 :Int64 = -1;
  # -1 when no record fits.
  timestamp @5 :Int64 = -1;
  # The record's, where one was looked for by time.
}

struct OffsetForLeaderEpochRequest { partitions @0 :List(OffsetForLeaderEpochPartition); }

struct OffsetForLeaderEpochPartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  currentLeaderEpoch @2 :Int32 = -1;
  leaderEpoch @3 :Int32;
  # The epoch whose end is wanted.
}

struct OffsetForLeaderEpochResponse { partitions @0 :List(EpochEnd); }

struct EpochEnd {
  topic @0 :TopicRef;
  partition @1 :Int32;
  error @2 :Int16;
  leaderEpoch @3 :Int32 = -1;
  # The largest epoch not above the one asked for.
  endOffset @4 :Int64 = -1;
  # Its exclusive end.
}

struct DeleteRecordsRequest { timeoutMs @0 :UInt32; partitions @1 :List(DeleteRecordsPartition); }

struct DeleteRecordsPartition {
  topic @0 :TopicRef;
  partition @1 :Int32;
  offset @2 :Int64 = -1;
  # The first offset to keep; -1 is the high watermark.
}

struct DeleteRecordsResponse { partitions @0 :List(DeletedRecords); }

struct DeletedRecords {
  topic @0 :TopicRef;
  partition @1 :Int32;
  error @2 :Int16;
  lowWatermark @3 :Int64 = -1;
  # The least log start offset of any live replica.
}

struct InitProducerIdRequest {
  transactionalId @0 :Text;
  # Null for a producer without transactions.
  producerId @1 :Int64 = -1;
  # The id that it had (KIP-360).
  producerEpoch @2 :Int16 = -1;
  # The epoch that it had.
}

struct InitProducerIdResponse {
  error @0 :Int16;
  producerId @1 :Int64 = -1;
  producerEpoch @2 :Int16 = -1;
}

# ---------------------------------------------------------------------------------------------- metadata
struct Broker {
  node @0 :Int32;
  rack @1 :Text;
  # broker.rack, or null.
  fenced @2 :Bool;
  # Out of service (KIP-631).
  host @3 :Text;
  # Where this broker's native listener can be reached; null when that is not known.
  port @4 :UInt16;
}

struct MetadataRequest {
  topics :union {
    all @0 :Void;
    listed @1 :List(TopicRef);
  }
  allowAutoTopicCreation @2 :Bool;
  # Create named topics that do not exist, if the broker does that too (auto.create.topics.enable).
}

struct MetadataResponse {
  brokers @0 :List(Broker);
  # Every broker that is in service.
  clusterId @1 :Text;
  controller @2 :Int32 = -1;
  # Where to send administration.
  topics @3 :List(TopicMetadata);
  # Those asked for, unknown ones with their error.
}

struct TopicMetadata {
  error @0 :Int16;
  name @1 :Text;
  # Null where an unknown id was asked for.
  id @2 :Uuid;
  # Zero where an unknown name was asked for.
  isInternal @3 :Bool;
  partitions @4 :List(PartitionMetadata);
  # In order of their numbers.
}

struct PartitionMetadata {
  error @0 :Int16;
  partition @1 :Int32;
  leader @2 :Int32 = -1;
  leaderEpoch @3 :Int32 = -1;
  replicas @4 :List(Int32);
  # Preferred leader first.
  isr @5 :List(Int32);
  # Those in sync.
  elr @6 :List(Int32);
  # Eligible leaders outside the ISR (KIP-966).
  offline @7 :List(Int32);
  # Those on a broker or a disk that is gone.
}

struct DescribeClusterResponse {
  clusterId @0 :Text;
  controller @1 :Int32 = -1;
  brokers @2 :List(Broker);
  # Every registered broker, fenced ones too.
}

struct DescribeTopicPartitionsRequest {
  topics @0 :List(Text);
  # None is all.
  limit @1 :UInt32;
  # How many partitions at most.
  cursor @2 :TopicPartition;
  # `next` of the page before, or null.
}

struct DescribeTopicPartitionsResponse {
  topics @0 :List(TopicMetadata);
  # In order of their names.
  next @1 :TopicPartition;
  # Null on the last page.
}

struct DescribeLogDirsRequest {
  partitions :union {
    all @0 :Void;
    listed @1 :List(TopicPartition);
  }
}

struct DescribeLogDirsResponse {
  error @0 :Int16;
  # KAFKA_STORAGE_ERROR (56) when the directory is offline.
  directory @1 :Uuid;
  # The directory's id.
  path @2 :Text;
  # Where it is on the node, or null.
  logs @3 :List(LogSize);
}

struct LogSize {
  topic @0 :Text;
  partition @1 :Int32;
  bytes @2 :UInt64;
  # Of all segments.
  lag @3 :Int64;
  # How far a follower is behind.
}

# ---------------------------------------------------------------------------------------------- topics
struct CreateTopicsRequest {
  topics @0 :List(NewTopic);
  validateOnly @1 :Bool;
  timeoutMs @2 :UInt32;
}

struct NewTopic {
  name @0 :Text;
  partitions @1 :Int32 = -1;
  # -1 is the broker's default (KIP-464).
  replicationFactor @2 :Int16 = -1;
  # -1 is the broker's default.
  assignments @3 :List(Assignment);
  # Replicas partition by partition instead of the two counts; empty when those are to decide.
  configs @4 :List(Config);
  # Settings that differ from the defaults.
}

struct Assignment { partition @0 :Int32; replicas @1 :List(Int32); }

struct Config {
  name @0 :Text;
  value @1 :Text;
  # Null takes the default.
}

struct CreateTopicsResponse { topics @0 :List(CreatedTopic); }

struct CreatedTopic {
  name @0 :Text;
  error @1 :Int16;
  message @2 :Text;
  # The reason in words, or null.
  id @3 :Uuid;
  partitions @4 :Int32 = -1;
  replicationFactor @5 :Int16 = -1;
  configs @6 :List(ConfigEntry);
  # All settings (KIP-525).
}

struct DeleteTopicsRequest { topics @0 :List(TopicRef); timeoutMs @1 :UInt32; }

struct DeleteTopicsResponse { topics @0 :List(DeletedTopic); }

struct DeletedTopic {
  topic @0 :TopicRef;
  name @1 :Text;
  # Null where not known.
  id @2 :Uuid;
  error @3 :Int16;
  message @4 :Text;
}

struct CreatePartitionsRequest {
  topics @0 :List(NewPartitions);
  validateOnly @1 :Bool;
  timeoutMs @2 :UInt32;
}

struct NewPartitions {
  name @0 :Text;
  total @1 :Int32;
  # How many partitions there shall be in all.
  assignments @2 :List(Assignment);
  # Replicas of each new one, in order; empty when the controller is to decide.
}

struct CreatePartitionsResponse { topics @0 :List(CreatedPartitions); }

struct CreatedPartitions {
  name @0 :Text;
  error @1 :Int16;
  message @2 :Text;
}

# ---------------------------------------------------------------------------------------------- settings
struct ConfigResource {
  union {
    topic @0 :Text;
    broker @1 :Int32;
    defaultBroker @2 :Void;
    # What holds for every broker that says nothing else.
  }
}

struct DescribeConfigsRequest { resources @0 :List(DescribeConfigsResource); }

struct DescribeConfigsResource {
  resource @0 :ConfigResource;
  names :union {
    all @1 :Void;
    listed @2 :List(Text);
  }
}

struct DescribeConfigsResponse { resources @0 :List(DescribedConfigs); }

struct DescribedConfigs {
  resource @0 :ConfigResource;
  error @1 :Int16;
  message @2 :Text;
  entries @3 :List(ConfigEntry);
  # In order of their names.
}

struct ConfigEntry {
  name @0 :Text;
  value @1 :Text;
  source @2 :Int8;
  # Where the value comes from, as Kafka numbers it: 1 topic, 2 broker, 3 all brokers, 4 file or flags, 5 default.
  kind @3 :Int8;
  # As Kafka numbers it: 1 boolean, 2 string, 3 int, 5 long, 6 double, 7 list.
  readOnly @4 :Bool;
  # Cannot be changed while the node runs.
  documentation @5 :Text;
}

struct AlterConfigsRequest { resources @0 :List(AlterConfigsResource); validateOnly @1 :Bool; }

struct AlterConfigsResource {
  resource @0 :ConfigResource;
  replaceAll @1 :Bool;
  # Take every setting that is not named back to its default first.
  changes @2 :List(ConfigChange);
  # In order.
}

struct ConfigChange {
  name @0 :Text;
  union {
    set @1 :Text;
    # To this value.
    delete @2 :Void;
    # Back to its default.
    append @3 :Text;
    # These words are added to a list.
    subtract @4 :Text;
    # These words are taken from a list.
  }
}

struct AlterConfigsResponse { resources @0 :List(AlteredConfigs); }

struct AlteredConfigs {
  resource @0 :ConfigResource;
  error @1 :Int16;
  message @2 :Text;
}

# ---------------------------------------------------------------------------------------------- the cluster
enum ElectionKind {
  preferred @0;
  # The first replica, if it is in sync and does not lead.
  unclean @1;
  # Any replica on a broker in service, where there is no leader; acknowledged records may be lost.
}

struct ElectLeadersRequest {
  kind @0 :ElectionKind;
  partitions :union {
    all @1 :Void;
    # That can do with it.
    listed @2 :List(TopicPartition);
  }
  timeoutMs @3 :UInt32;
}

struct ElectLeadersResponse { error @0 :Int16; partitions @1 :List(PartitionOutcome); }

struct PartitionOutcome {
  # What became of one partition's share of a request.
  topic @0 :Text;
  partition @1 :Int32;
  error @2 :Int16;
  message @3 :Text;
}

struct AlterPartitionReassignmentsRequest {
  partitions @0 :List(Reassignment);
  allowReplicationFactorChange @1 :Bool;
  timeoutMs @2 :UInt32;
}

struct Reassignment {
  topic @0 :Text;
  partition @1 :Int32;
  replicas @2 :List(Int32);
  # Preferred leader first; null cancels the reassignment that is under way.
}

struct AlterPartitionReassignmentsResponse {
  error @0 :Int16;
  message @1 :Text;
  partitions @2 :List(PartitionOutcome);
}

struct ListPartitionReassignmentsRequest {
  partitions :union {
    all @0 :Void;
    listed @1 :List(TopicPartition);
  }
}

struct ListPartitionReassignmentsResponse { error @0 :Int16; partitions @1 :List(OngoingReassignment); }

struct OngoingReassignment {
  topic @0 :Text;
  partition @1 :Int32;
  replicas @2 :List(Int32);
  # All of them, those that come and those that go among them.
  adding @3 :List(Int32);
  # Those that are not in sync yet.
  removing @4 :List(Int32);
  # Those that go in the end.
}

struct UnregisterBrokerRequest { node @0 :Int32; }

struct UnregisterBrokerResponse { error @0 :Int16; message @1 :Text; }

struct DescribeQuorumResponse {
  error @0 :Int16;
  leader @1 :Int32 = -1;
  epoch @2 :Int32 = -1;
  highWatermark @3 :Int64 = -1;
  # Where the committed metadata ends.
  voters @4 :List(QuorumReplica);
  observers @5 :List(QuorumReplica);
}

struct QuorumReplica {
  node @0 :Int32;
  directory @1 :Uuid;
  # Zero where it is not known.
  logEnd @2 :Int64 = -1;
  lastFetch @3 :Int64 = -1;
  # When it last fetched.
  lastCaughtUp @4 :Int64 = -1;
  # When it last had everything.
}

struct AddVoterRequest {
  # Answered when the change is committed. The node must follow the metadata log and have caught up with it.
  node @0 :Int32;
  directory @1 :Uuid;
  # Zero: the disk that it follows with.
  endpoint @2 :Text;
  # host:port of its native listener; null: the one that it has registered with.
  clusterId @3 :Text;
  # Null: whichever cluster is asked.
}

struct RemoveVoterRequest {
  node @0 :Int32;
  directory @1 :Uuid;
  # Zero: whichever disk it is a voter with.
  clusterId @2 :Text;
  # Null: whichever cluster is asked.
}

struct VotersChanged {
  error @0 :Int16;
  # DUPLICATE_VOTER (126), VOTER_NOT_FOUND (127), INVALID_VOTER_KEY (125) for another disk, REQUEST_TIMED_OUT (7) for a node that
  # has not caught up.
  message @1 :Text;
}
