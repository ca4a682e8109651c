//! The cluster as the committed metadata records describe it.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use super::record::{MetadataRecord, PartitionChange};
use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, NodeId, PartitionId, ProducerId, TopicId, TopicName, TopicPartition},
    message::{ConfigResource, TopicRef},
};

/// Settings of one resource, by name; those at their default are absent.
pub type Overrides = BTreeMap<String, String>;

/// Everything that all nodes agree on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    brokers: BTreeMap<NodeId, Broker>,
    topics: BTreeMap<TopicId, Topic>,
    names: BTreeMap<TopicName, TopicId>,
    configs: BTreeMap<ConfigResource, Overrides>,
    next_producer_id: i64,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// This registration.
    pub epoch: BrokerEpoch,
    /// Its rack.
    pub rack: Option<String>,
    /// Out of service?
    pub fenced: bool,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// By number: they are dense.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Preferred leader first.
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

impl Image {
    /// Folds one committed record in.
    pub fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::BrokerRegistered { node, epoch, rack, fenced } => {
                self.brokers.insert(*node, Broker { epoch: *epoch, rack: rack.clone(), fenced: *fenced });
            }
            MetadataRecord::TopicCreated { name, id } => {
                let topic = Topic { name: name.clone(), id: *id, partitions: Vec::new() };
                assert!(self.topics.insert(*id, topic).is_none(), "a topic id is used once");
                assert!(self.names.insert(name.clone(), *id).is_none(), "a name belongs to one topic at a time");
            }
            MetadataRecord::TopicDeleted { id } => {
                let topic = self.topics.remove(id).expect("only a topic that exists is deleted");
                self.names.remove(&topic.name);
                self.configs.remove(&ConfigResource::Topic(topic.name));
            }
            MetadataRecord::PartitionChanged(change) => self.apply_partition(change),
            MetadataRecord::ConfigChanged { resource, name, value } => {
                let overrides = self.configs.entry(resource.clone()).or_default();
                match value {
                    Some(value) => {
                        overrides.insert(name.clone(), value.clone());
                    }
                    None => {
                        overrides.remove(name);
                    }
                }
                if overrides.is_empty() {
                    self.configs.remove(resource);
                }
            }
            MetadataRecord::ProducerIdsAllotted { next } => {
                assert!(next.0 > self.next_producer_id, "producer ids are given out once");
                self.next_producer_id = next.0;
            }
        }
    }

    fn apply_partition(&mut self, change: &PartitionChange) {
        let topic = self.topics.get_mut(&change.topic).expect("a partition follows its topic");
        let index = usize::try_from(change.partition.0).expect("partitions are numbered from 0");
        let partition = Partition {
            replicas: change.replicas.clone(),
            isr: change.isr.clone(),
            leader: change.leader,
            leader_epoch: change.leader_epoch,
            partition_epoch: change.partition_epoch,
        };
        if let Some(old) = topic.partitions.get_mut(index) {
            assert!(old.partition_epoch < partition.partition_epoch, "every change bumps the partition epoch");
            assert!(old.leader_epoch <= partition.leader_epoch, "leader epochs do not go back");
            *old = partition;
        } else {
            assert!(index == topic.partitions.len(), "partitions are created in order");
            topic.partitions.push(partition);
        }
    }

    /// Registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = (NodeId, &Broker)> {
        self.brokers.iter().map(|(&id, broker)| (id, broker))
    }

    /// One broker.
    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node)
    }

    /// All topics, in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().map(|id| &self.topics[id])
    }

    /// Topics from this name on, in order of their names.
    pub fn topics_from<'a>(&'a self, name: &TopicName) -> impl Iterator<Item = &'a Topic> + use<'a> {
        self.names.range(name.clone()..).map(|(_, id)| &self.topics[id])
    }

    /// One topic by its id.
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// One topic by its name.
    pub fn topic_named(&self, name: &TopicName) -> Option<&Topic> {
        self.names.get(name).map(|id| &self.topics[id])
    }

    /// One topic as a request names it.
    pub fn resolve(&self, topic: &TopicRef) -> Option<&Topic> {
        match topic {
            TopicRef::Name(name) => self.topic_named(name),
            TopicRef::Id(id) => self.topic(*id),
        }
    }

    /// One partition.
    pub fn partition(&self, id: TopicPartition) -> Option<&Partition> {
        self.topic(id.topic)?.partitions.get(usize::try_from(id.partition.0).ok()?)
    }

    /// What is set for a resource.
    pub fn overrides(&self, resource: &ConfigResource) -> Option<&Overrides> {
        self.configs.get(resource)
    }

    /// The first producer id that no block contains.
    pub fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
    }

    /// The record that carries a partition's state with `change` made to it.
    pub(super) fn changed_partition(
        topic: &Topic,
        partition: PartitionId,
        change: impl FnOnce(&mut PartitionChange),
    ) -> MetadataRecord {
        let old = &topic.partitions[usize::try_from(partition.0).expect("partitions are numbered from 0")];
        let mut next = PartitionChange {
            topic: topic.id,
            partition,
            replicas: old.replicas.clone(),
            isr: old.isr.clone(),
            leader: old.leader,
            leader_epoch: old.leader_epoch,
            partition_epoch: old.partition_epoch.bump(),
        };
        change(&mut next);
        MetadataRecord::PartitionChanged(next)
    }
}

impl core::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(Some(node)) => write!(f, "broker {node}"),
            Self::Broker(None) => f.write_str("the brokers' defaults"),
        }
    }
}
