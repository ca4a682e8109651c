//! Which partitions a decision has to look at, so that what it costs follows what changes.
//!
//! Only the controller keeps it: it is made from the image when a node becomes the controller, and follows every record.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{
    image::{Image, Partition},
    record::{MetadataRecord, PartitionChange},
};
use crate::ids::{NodeId, PartitionId, TopicPartition};

/// Partitions by what they need.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Those that a broker has a replica of.
    by_broker: BTreeMap<NodeId, BTreeSet<TopicPartition>>,
    /// Those without a leader.
    leaderless: BTreeSet<TopicPartition>,
    /// Those that another than the preferred replica leads.
    imbalanced: BTreeSet<TopicPartition>,
    /// Those with a reassignment under way.
    reassigning: BTreeSet<TopicPartition>,
}

impl Index {
    /// The index of an image.
    pub(super) fn of(image: &Image) -> Self {
        let mut index = Self::default();
        for topic in image.topics() {
            for (p, partition) in (0..).zip(&topic.partitions) {
                let id = TopicPartition { topic: topic.id, partition: PartitionId(p) };
                index.insert(&partition.to_change(id));
            }
        }
        index
    }

    /// Follows a record that is about to be folded into `image`.
    pub(super) fn follow(&mut self, image: &Image, record: &MetadataRecord) {
        match record {
            MetadataRecord::PartitionChanged(change) => {
                let id = TopicPartition { topic: change.topic, partition: change.partition };
                if let Some(old) = image.partition(id) {
                    self.remove(id, old);
                }
                self.insert(change);
            }
            MetadataRecord::TopicDeleted { id: topic } => {
                let Some(topic) = image.topic(*topic) else { return };
                for (p, partition) in (0..).zip(&topic.partitions) {
                    self.remove(TopicPartition { topic: topic.id, partition: PartitionId(p) }, partition);
                }
            }
            _ => {}
        }
    }

    fn insert(&mut self, change: &PartitionChange) {
        let id = TopicPartition { topic: change.topic, partition: change.partition };
        for node in &change.replicas {
            self.by_broker.entry(*node).or_default().insert(id);
        }
        match change.leader {
            None => self.leaderless.insert(id),
            Some(leader) => change.replicas.first() != Some(&leader) && self.imbalanced.insert(id),
        };
        if !change.adding.is_empty() || !change.removing.is_empty() {
            self.reassigning.insert(id);
        }
    }

    fn remove(&mut self, id: TopicPartition, old: &Partition) {
        for node in &old.replicas {
            if let Some(of) = self.by_broker.get_mut(node) {
                of.remove(&id);
                if of.is_empty() {
                    self.by_broker.remove(node);
                }
            }
        }
        self.leaderless.remove(&id);
        self.imbalanced.remove(&id);
        self.reassigning.remove(&id);
    }

    /// Brokers that have a replica of anything.
    pub(super) fn brokers(&self) -> impl Iterator<Item = NodeId> {
        self.by_broker.keys().copied()
    }

    /// What a broker has a replica of.
    pub(super) fn of_broker(&self, node: NodeId) -> impl Iterator<Item = TopicPartition> {
        self.by_broker.get(&node).into_iter().flatten().copied()
    }

    /// Partitions without a leader.
    pub(super) fn leaderless(&self) -> &BTreeSet<TopicPartition> {
        &self.leaderless
    }

    /// Partitions that another than the preferred replica leads.
    pub(super) fn imbalanced(&self) -> &BTreeSet<TopicPartition> {
        &self.imbalanced
    }

    /// Partitions with a reassignment under way.
    pub(super) fn reassigning(&self) -> &BTreeSet<TopicPartition> {
        &self.reassigning
    }
}
