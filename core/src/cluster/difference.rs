//! The records that lead from one image to another.
//!
//! A snapshot holds those from nothing to the image that it stands for. A node that gets a snapshot in the middle of its life
//! folds in those from its own image to the snapshot's, one by one, and acts on each as it does on any other record.
//!
//! **Invariant:** `base` with [`Image::since`]`(base)` folded in is the image, whatever images the two are, as long as one
//! history has led through both.

use alloc::vec::Vec;

use super::{
    image::{Broker, Image, Overrides},
    record::{MetadataRecord, Registration},
};
use crate::{
    ids::{NodeId, PartitionId, TopicPartition},
    message::ConfigResource,
};

impl Image {
    /// What has to be folded into an earlier image, `base`, to make it this one.
    pub fn since(&self, base: &Self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        self.brokers_since(base, &mut records);
        // What is gone goes first: its name may belong to another by now.
        let gone = base.topics().filter(|topic| self.topic(topic.id).is_none());
        records.extend(gone.map(|topic| MetadataRecord::TopicDeleted { id: topic.id }));
        for topic in self.topics() {
            let before = base.topic(topic.id);
            if before.is_none() {
                records.push(MetadataRecord::TopicCreated { name: topic.name.clone(), id: topic.id });
            }
            for (number, partition) in (0..).zip(&topic.partitions) {
                let id = TopicPartition { topic: topic.id, partition: PartitionId(number) };
                if base.partition(id) != Some(partition) {
                    records.push(MetadataRecord::PartitionChanged(partition.to_change(id)));
                }
            }
        }
        self.configs_since(base, &mut records);
        let next = self.next_producer_id();
        if next != base.next_producer_id() {
            records.push(MetadataRecord::ProducerIdsAllotted { next });
        }
        records
    }

    fn brokers_since(&self, base: &Self, records: &mut Vec<MetadataRecord>) {
        for (node, broker) in base.brokers().filter(|(node, _)| self.broker(*node).is_none()) {
            records.push(MetadataRecord::BrokerUnregistered { node, epoch: broker.epoch });
        }
        for (node, broker) in self.brokers() {
            let before = base.broker(node).filter(|before| before.epoch == broker.epoch);
            if before.is_none() {
                records.push(MetadataRecord::BrokerRegistered(registration(node, broker)));
            }
            let had = before.map_or((broker.fenced, false), |b| (b.fenced, b.in_controlled_shutdown));
            if had != (broker.fenced, broker.in_controlled_shutdown) {
                records.push(MetadataRecord::BrokerChanged {
                    node,
                    epoch: broker.epoch,
                    fenced: broker.fenced,
                    in_controlled_shutdown: broker.in_controlled_shutdown,
                });
            }
        }
    }

    fn configs_since(&self, base: &Self, records: &mut Vec<MetadataRecord>) {
        let none = Overrides::new();
        let mut change = |resource: &ConfigResource, name: &str, value: Option<&str>| {
            let (resource, name, value) = (resource.clone(), name.into(), value.map(Into::into));
            records.push(MetadataRecord::ConfigChanged { resource, name, value });
        };
        for (resource, before) in base.configs() {
            if is_of_gone_topic(base, self, resource) {
                continue;
            }
            let now = self.overrides(resource).unwrap_or(&none);
            before.keys().filter(|name| !now.contains_key(*name)).for_each(|name| change(resource, name, None));
        }
        for (resource, now) in self.configs() {
            let before = base.overrides(resource).filter(|_| !is_of_gone_topic(base, self, resource)).unwrap_or(&none);
            for (name, value) in now.iter().filter(|(name, value)| before.get(*name) != Some(value)) {
                change(resource, name, Some(value));
            }
        }
    }
}

/// Are these the settings of a topic that has gone with them, although there may be another of its name?
fn is_of_gone_topic(base: &Image, now: &Image, resource: &ConfigResource) -> bool {
    let ConfigResource::Topic(name) = resource else { return false };
    base.topic_named(name).is_some_and(|topic| now.topic(topic.id).is_none())
}

fn registration(node: NodeId, broker: &Broker) -> Registration {
    Registration {
        node,
        epoch: broker.epoch,
        incarnation: broker.incarnation,
        directory: broker.directory,
        rack: broker.rack.clone(),
        endpoints: broker.endpoints.clone(),
        fenced: broker.fenced,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::{collections::BTreeMap, format, string::ToString};

    use super::*;
    use crate::{
        cluster::PartitionChange,
        epoch::{LeaderEpoch, PartitionEpoch},
        ids::{BrokerEpoch, DirectoryId, ProducerId, TopicId, TopicName},
        message::Endpoints,
        prng::Prng,
    };

    /// A history of everything that can happen, at random; the image after each record.
    pub(in crate::cluster) fn history(seed: u64, length: usize) -> Vec<Image> {
        let mut prng = Prng::new(seed);
        let mut image = Image::default();
        let mut images = alloc::vec![image.clone()];
        let mut epochs: BTreeMap<TopicPartition, i32> = BTreeMap::new();
        for step in 1..=length as i64 {
            let node = NodeId(prng.below(4) as i32);
            let name = TopicName::new(&format!("t{}", prng.below(4)));
            let topic = image.topic_named(&name).cloned();
            let record = match (prng.below(8), topic) {
                (0, _) => MetadataRecord::BrokerRegistered(Registration {
                    node,
                    epoch: BrokerEpoch(step),
                    incarnation: u128::from(prng.next_u64()),
                    directory: DirectoryId([prng.below(3) as u8; 16]),
                    rack: (prng.below(2) == 0).then(|| "r".to_string()),
                    endpoints: Endpoints { native: format!("n{step}:1"), kafka: "k:1".to_string() },
                    fenced: prng.below(2) == 0,
                }),
                (1, _) if image.broker(node).is_some() => MetadataRecord::BrokerChanged {
                    node,
                    epoch: image.broker(node).expect("just seen").epoch,
                    fenced: prng.below(2) == 0,
                    in_controlled_shutdown: prng.below(2) == 0,
                },
                (2, _) if image.broker(node).is_some() && prng.below(3) == 0 => {
                    let epoch = image.broker(node).expect("just seen").epoch;
                    MetadataRecord::BrokerUnregistered { node, epoch }
                }
                (3 | 4, None) => {
                    let mut id = [0; 16];
                    id[..8].copy_from_slice(&step.to_be_bytes());
                    MetadataRecord::TopicCreated { name, id: TopicId(id) }
                }
                (3, Some(topic)) if prng.below(3) == 0 => MetadataRecord::TopicDeleted { id: topic.id },
                (3..=5, Some(topic)) => {
                    let partition = PartitionId(prng.below(topic.partitions.len() as u64 + 1) as i32);
                    let id = TopicPartition { topic: topic.id, partition };
                    let epoch = epochs.entry(id).and_modify(|epoch| *epoch += 1).or_insert(0);
                    let mut change = PartitionChange::created(topic.id, partition, &[node], alloc::vec![node]);
                    change.partition_epoch = PartitionEpoch(*epoch);
                    change.leader_epoch = LeaderEpoch(*epoch / 2);
                    change.recovering = prng.below(3) == 0;
                    change.unclean_epoch = change.recovering.then_some(change.leader_epoch);
                    MetadataRecord::PartitionChanged(change)
                }
                (6, topic) => {
                    let resource = match topic {
                        Some(topic) => ConfigResource::Topic(topic.name),
                        None => ConfigResource::Broker((prng.below(2) == 0).then_some(node)),
                    };
                    let value = (prng.below(3) > 0).then(|| format!("{}", prng.below(2)));
                    MetadataRecord::ConfigChanged { resource, name: format!("c{}", prng.below(3)), value }
                }
                _ => MetadataRecord::ProducerIdsAllotted { next: ProducerId(step) },
            };
            image.apply(&record);
            images.push(image.clone());
        }
        images
    }

    #[test]
    fn an_image_and_what_came_since_are_the_later_image() {
        for seed in 0..60 {
            let images = history(seed, 80);
            for (early, late) in [(0, 80), (0, 20), (10, 80), (40, 80), (60, 70), (79, 80), (33, 33)] {
                let (mut image, late) = (images[early].clone(), &images[late]);
                late.since(&images[early]).iter().for_each(|record| image.apply(record));
                assert_eq!(image, *late, "seed {seed}");
            }
        }
    }
}
