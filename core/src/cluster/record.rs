//! The facts that make up a cluster, as its metadata log holds them.
//!
//! Names are in the past tense: a record says what was decided, and applying it cannot fail. Bytes are in
//! `record_codec`.

use alloc::{string::String, vec::Vec};

use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, DirectoryId, NodeId, PartitionId, ProducerId, TopicId, TopicName},
    message::{ConfigResource, Endpoints},
};

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A broker has registered.
    BrokerRegistered(Registration),
    /// A broker goes out of service, or comes into it, or wants to go.
    BrokerChanged {
        /// Which.
        node: NodeId,
        /// The registration that this is about.
        epoch: BrokerEpoch,
        /// Out of service (KIP-631)?
        fenced: bool,
        /// About to stop: it keeps its replicas, but leads nothing and is in no ISR (KIP-841).
        in_controlled_shutdown: bool,
    },
    /// A broker is not part of the cluster any more.
    BrokerUnregistered {
        /// Which.
        node: NodeId,
        /// The registration that ends.
        epoch: BrokerEpoch,
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

/// A broker's registration (KIP-631).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Which broker.
    pub node: NodeId,
    /// The offset of this record, which begins its batch: another for every registration (KIP-903).
    pub epoch: BrokerEpoch,
    /// The run of its process that has registered.
    pub incarnation: u128,
    /// Its data directory; all zero where it is not known.
    pub directory: DirectoryId,
    /// Its rack.
    pub rack: Option<String>,
    /// Where it is reached.
    pub endpoints: Endpoints,
    /// Not yet in service?
    pub fenced: bool,
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
    /// Eligible leaders outside the ISR (KIP-966).
    pub elr: Vec<NodeId>,
    /// Who led last, where nobody leads.
    pub last_known_leader: Option<NodeId>,
    /// Replicas that a reassignment adds, until they are in sync (KIP-455).
    pub adding: Vec<NodeId>,
    /// Replicas that a reassignment removes in the end.
    pub removing: Vec<NodeId>,
    /// The leader was elected though it may lack committed records (KIP-106, KIP-704), and the partition has not been
    /// changed by it since.
    pub recovering: bool,
    /// The newest leader epoch that began so: committed records of earlier epochs may be gone.
    pub unclean_epoch: Option<LeaderEpoch>,
}

impl PartitionChange {
    /// A partition's first state.
    pub fn created(topic: TopicId, partition: PartitionId, replicas: &[NodeId], isr: Vec<NodeId>) -> Self {
        Self {
            topic,
            partition,
            replicas: replicas.to_vec(),
            leader: isr.first().copied(),
            isr,
            leader_epoch: LeaderEpoch::FIRST,
            partition_epoch: PartitionEpoch::FIRST,
            elr: Vec::new(),
            last_known_leader: None,
            adding: Vec::new(),
            removing: Vec::new(),
            recovering: false,
            unclean_epoch: None,
        }
    }
}
