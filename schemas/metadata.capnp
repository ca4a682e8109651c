@0xfa1c7cd1d8f86b91;
# The records of the metadata log, `__cluster_metadata-0`. See README.md for the rules of evolution.
#
# Each is the value of one Kafka record; the records of one decision share one batch, so they are committed together.

struct MetadataRecord {
  # A fact that the controller decided. What it names (an unknown kind of record) may never be skipped: a node that
  # does not know it stops, since its image would differ from the others'.

  union {
    brokerRegistered @0 :BrokerRegistered;
    topicCreated @1 :TopicCreated;
    topicDeleted @2 :TopicDeleted;
    partitionChanged @3 :PartitionChanged;
    configChanged @4 :ConfigChanged;
    producerIdsAllotted @5 :ProducerIdsAllotted;
  }
}

struct BrokerRegistered {
  node @0 :Int32;
  epoch @1 :Int64;
  # Offset of this record's batch.
  rack @2 :Text;
  # Empty: none.
  fenced @3 :Bool;
}

struct TopicCreated {
  name @0 :Text;
  id @1 :Data;
  # 16 bytes.
}

struct TopicDeleted {
  id @0 :Data;
  # 16 bytes.
}

struct PartitionChanged {
  topic @0 :Data;
  # 16 bytes.
  partition @1 :Int32;
  replicas @2 :List(Int32);
  # Preferred leader first.
  isr @3 :List(Int32);
  leader @4 :Int32 = -1;
  # -1: none.
  leaderEpoch @5 :Int32;
  partitionEpoch @6 :Int32;
}

struct ConfigChanged {
  resource :union {
    topic @0 :Text;
    broker @1 :Int32;
    allBrokers @2 :Void;
  }
  name @3 :Text;
  newValue :union {
    default @4 :Void;
    value @5 :Text;
  }
}

struct ProducerIdsAllotted {
  next @0 :Int64;
}
