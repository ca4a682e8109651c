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
    brokerChanged @6 :BrokerChanged;
    brokerUnregistered @7 :BrokerUnregistered;
  }
}

struct BrokerRegistered {
  node @0 :Int32;
  epoch @1 :Int64;
  # Offset of this record's batch.
  rack @2 :Text;
  # Empty: none.
  fenced @3 :Bool;
  incarnation @4 :Data;
  # 16 bytes: one run of the broker's process. Empty: not known.
  directory @5 :Data;
  # 16 bytes: the broker's data directory. Empty: not known.
  native @6 :Text;
  # host:port of the native listener. Empty: not known.
  kafka @7 :Text;
  # host:port of the Kafka listener. Empty: not known.
}

struct BrokerChanged {
  # All of what changes about a broker between two registrations.
  node @0 :Int32;
  epoch @1 :Int64;
  # Of the registration that this is about.
  fenced @2 :Bool;
  inControlledShutdown @3 :Bool;
}

struct BrokerUnregistered {
  node @0 :Int32;
  epoch @1 :Int64;
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
  elr @7 :List(Int32);
  # Eligible leaders outside the ISR (KIP-966).
  lastKnownLeader @8 :Int32 = -1;
  # Who led last, where nobody leads; -1: not known.
  adding @9 :List(Int32);
  removing @10 :List(Int32);
  # Of a reassignment under way (KIP-455): among the replicas, to be in sync and to go.
  recovering @11 :Bool;
  # The leader was elected though it may lack committed records, and the partition has not changed since.
  uncleanEpoch @12 :Int32 = -1;
  # The newest leader epoch that began with such an election; -1: none did. Committed records of earlier epochs may be cut off.
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
