//! The facts that make up a cluster, as its metadata log holds them.
//!
//! Names are in the past tense: a record says what was decided, and applying it cannot fail. Bytes are in
//! `record_codec`.

use alloc::{string::String, vec::Vec};

use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, NodeId, PartitionId, ProducerId, TopicId, TopicName},
    message::ConfigResource,
};

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A broker has registered; its epoch is the offset of this record (KIP-631).
    BrokerRegistered {
        /// Which.
        node: NodeId,
        /// Its epoch.
        epoch: BrokerEpoch,
        /// Its rack.
        rack: Option<String>,
        /// Not yet in service?
        fenced: bool,
    },
    /// A topic exists from here on.
    TopicCreated {
        /// Its name.
        name: TopicName,
        /// Its id, never used before.
        id: TopicId,
    },
    /// A topic is gone, with its partitions and settings.
    TopicDeleted {
        /// Which.
        id: TopicId,
    },
    /// A partition exists, or has changed: everything about it.
    PartitionChanged(PartitionChange),
    /// A setting has this value, or with `None` its default again.
    ConfigChanged {
        /// Whose.
        resource: ConfigResource,
        /// Which.
        name: String,
        /// The value.
        value: Option<String>,
    },
    /// All producer ids below this one have been given out in blocks.
    ProducerIdsAllotted {
        /// The first that has not.
        next: ProducerId,
    },
}

/// The state of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// Its topic.
    pub topic: TopicId,
    /// Its number.
    pub partition: PartitionId,
    /// Its replicas, preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Those in sync.
    pub isr: Vec<NodeId>,
    /// Its leader, if it has one.
    pub leader: Option<NodeId>,
    /// That leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Counts its changes.
    pub partition_epoch: PartitionEpoch,
}
