//! The cluster as the committed metadata records describe it.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use super::record::{MetadataRecord, PartitionChange};
use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, DirectoryId, NodeId, ProducerId, TopicId, TopicName, TopicPartition},
    message::{ConfigResource, Endpoints, TopicRef},
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
    /// The run of its process that has registered.
    pub incarnation: u128,
    /// Its data directory; all zero where it is not known.
    pub directory: DirectoryId,
    /// Its rack.
    pub rack: Option<String>,
    /// Where it is reached.
    pub endpoints: Endpoints,
    /// Out of service?
    pub fenced: bool,
    /// About to stop (KIP-841)?
    pub in_controlled_shutdown: bool,
}

impl Broker {
    /// May it lead partitions and be in their ISR?
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
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
    /// What few partitions have. An image holds very many partitions.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    elr: Vec<NodeId>,
    last_known_leader: Option<NodeId>,
    adding: Vec<NodeId>,
    removing: Vec<NodeId>,
    recovering: bool,
    unclean_epoch: Option<LeaderEpoch>,
}

impl Partition {
    fn new(change: &PartitionChange) -> Self {
        let rare = Rare {
            elr: change.elr.clone(),
            last_known_leader: change.last_known_leader,
            adding: change.adding.clone(),
            removing: change.removing.clone(),
            recovering: change.recovering,
            unclean_epoch: change.unclean_epoch,
        };
        Self {
            replicas: change.replicas.clone(),
            isr: change.isr.clone(),
            leader: change.leader,
            leader_epoch: change.leader_epoch,
            partition_epoch: change.partition_epoch,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        }
    }

    /// Eligible leaders outside the ISR (KIP-966): they have every committed record.
    pub fn elr(&self) -> &[NodeId] {
        self.rare.as_ref().map_or(&[], |rare| &rare.elr)
    }

    /// Who led last, where nobody leads.
    pub fn last_known_leader(&self) -> Option<NodeId> {
        self.rare.as_ref().and_then(|rare| rare.last_known_leader)
    }

    /// Replicas that a reassignment adds, until they are in sync (KIP-455). They are among the replicas.
    pub fn adding(&self) -> &[NodeId] {
        self.rare.as_ref().map_or(&[], |rare| &rare.adding)
    }

    /// Replicas that a reassignment removes in the end. They are among the replicas.
    pub fn removing(&self) -> &[NodeId] {
        self.rare.as_ref().map_or(&[], |rare| &rare.removing)
    }

    /// Was the leader elected though it may lack committed records, and has it changed nothing since?
    pub fn is_recovering(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.recovering)
    }

    /// The newest leader epoch that began with a leader that may lack committed records: those of earlier epochs may be gone.
    pub fn unclean_epoch(&self) -> Option<LeaderEpoch> {
        self.rare.as_ref().and_then(|rare| rare.unclean_epoch)
    }

    /// Is a reassignment under way?
    pub fn is_reassigning(&self) -> bool {
        !self.adding().is_empty() || !self.removing().is_empty()
    }

    /// The partition's state as a record, its epochs as they are.
    pub(super) fn to_change(&self, id: TopicPartition) -> PartitionChange {
        PartitionChange {
            topic: id.topic,
            partition: id.partition,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            elr: self.elr().to_vec(),
            last_known_leader: self.last_known_leader(),
            adding: self.adding().to_vec(),
            removing: self.removing().to_vec(),
            recovering: self.is_recovering(),
            unclean_epoch: self.unclean_epoch(),
        }
    }
}

impl Image {
    /// Folds one committed record in.
    pub fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::BrokerRegistered(r) => {
                let broker = Broker {
                    epoch: r.epoch,
                    incarnation: r.incarnation,
                    directory: r.directory,
                    rack: r.rack.clone(),
                    endpoints: r.endpoints.clone(),
                    fenced: r.fenced,
                    in_controlled_shutdown: false,
                };
                let old = self.brokers.insert(r.node, broker);
                assert!(old.is_none_or(|old| old.epoch < r.epoch), "every registration has an epoch of its own");
            }
            MetadataRecord::BrokerChanged { node, epoch, fenced, in_controlled_shutdown } => {
                let broker = self.brokers.get_mut(node).expect("only a registered broker changes");
                assert!(broker.epoch == *epoch, "a change is about the newest registration");
                (broker.fenced, broker.in_controlled_shutdown) = (*fenced, *in_controlled_shutdown);
            }
            MetadataRecord::BrokerUnregistered { node, epoch } => {
                let broker = self.brokers.remove(node).expect("only a registered broker is unregistered");
                assert!(broker.epoch == *epoch, "a change is about the newest registration");
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
        let partition = Partition::new(change);
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

    /// Everything that is set, by resource.
    pub(super) fn configs(&self) -> impl Iterator<Item = (&ConfigResource, &Overrides)> {
        self.configs.iter()
    }

    /// The first producer id that no block contains.
    pub fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
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
