//! Metadata records as bytes: Cap'n Proto, as `schemas/metadata.capnp` has it.
//!
//! This file knows bytes only; what a record means is in `image`. It is the one place in the core that names
//! Cap'n Proto.

use alloc::{string::String, string::ToString, vec::Vec};

use capnp::{message, serialize};
use tidelog_schemas::metadata_capnp::{config_changed, metadata_record, partition_changed};

use super::record::{MetadataRecord, PartitionChange};
use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, NodeId, PartitionId, ProducerId, TopicId, TopicName},
    message::ConfigResource,
};

/// Why bytes are not a metadata record that this build can apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordCodecError {
    /// Not a message, or one with impossible contents.
    #[error("a metadata record is malformed: {0}")]
    Malformed(String),
    /// Written by a newer tidelog.
    #[error("a metadata record is of a kind that this version does not know; a newer tidelog wrote it")]
    Unknown,
}

impl From<capnp::Error> for RecordCodecError {
    fn from(error: capnp::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The bytes of a record.
pub fn encode(record: &MetadataRecord) -> Vec<u8> {
    let mut message = message::Builder::new_default();
    let mut root = message.init_root::<metadata_record::Builder<'_>>();
    match record {
        MetadataRecord::BrokerRegistered { node, epoch, rack, fenced } => {
            let mut b = root.init_broker_registered();
            b.set_node(node.0);
            b.set_epoch(epoch.0);
            b.set_rack(rack.as_deref().unwrap_or(""));
            b.set_fenced(*fenced);
        }
        MetadataRecord::TopicCreated { name, id } => {
            let mut b = root.init_topic_created();
            b.set_name(name.as_str());
            b.set_id(&id.0);
        }
        MetadataRecord::TopicDeleted { id } => root.init_topic_deleted().set_id(&id.0),
        MetadataRecord::PartitionChanged(change) => write_partition(change, root.init_partition_changed()),
        MetadataRecord::ConfigChanged { resource, name, value } => {
            let mut b = root.init_config_changed();
            b.set_name(name);
            let mut of = b.reborrow().init_resource();
            match resource {
                ConfigResource::Topic(topic) => of.set_topic(topic.as_str()),
                ConfigResource::Broker(Some(node)) => of.set_broker(node.0),
                ConfigResource::Broker(None) => of.set_all_brokers(()),
            }
            match value {
                Some(value) => b.init_new_value().set_value(value),
                None => b.init_new_value().set_default(()),
            }
        }
        MetadataRecord::ProducerIdsAllotted { next } => root.reborrow().init_producer_ids_allotted().set_next(next.0),
    }
    serialize::write_message_to_words(&message)
}

fn write_partition(change: &PartitionChange, mut b: partition_changed::Builder<'_>) {
    b.set_topic(&change.topic.0);
    b.set_partition(change.partition.0);
    let count = |nodes: &[NodeId]| u32::try_from(nodes.len()).expect("replica counts are bounded");
    let mut replicas = b.reborrow().init_replicas(count(&change.replicas));
    (0..).zip(&change.replicas).for_each(|(i, node)| replicas.set(i, node.0));
    let mut isr = b.reborrow().init_isr(count(&change.isr));
    (0..).zip(&change.isr).for_each(|(i, node)| isr.set(i, node.0));
    b.set_leader(change.leader.map_or(-1, |node| node.0));
    b.set_leader_epoch(change.leader_epoch.0);
    b.set_partition_epoch(change.partition_epoch.0);
}

/// The record in these bytes.
pub fn decode(bytes: &[u8]) -> Result<MetadataRecord, RecordCodecError> {
    let mut options = message::ReaderOptions::new();
    options.traversal_limit_in_words(Some(bytes.len() + 1024));
    // Records come out of batches at any alignment, so the words are read through a copy that is aligned.
    let reader = serialize::read_message(bytes, options)?;
    let root = reader.get_root::<metadata_record::Reader<'_>>()?;
    let kind = root.which().map_err(|capnp::NotInSchema(_)| RecordCodecError::Unknown)?;
    Ok(match kind {
        metadata_record::BrokerRegistered(r) => {
            let r = r?;
            let rack = text(r.get_rack()?)?;
            MetadataRecord::BrokerRegistered {
                node: NodeId(r.get_node()),
                epoch: BrokerEpoch(r.get_epoch()),
                rack: (!rack.is_empty()).then(|| rack.to_string()),
                fenced: r.get_fenced(),
            }
        }
        metadata_record::TopicCreated(r) => {
            let r = r?;
            MetadataRecord::TopicCreated { name: TopicName::new(text(r.get_name()?)?), id: topic_id(r.get_id()?)? }
        }
        metadata_record::TopicDeleted(r) => MetadataRecord::TopicDeleted { id: topic_id(r?.get_id()?)? },
        metadata_record::PartitionChanged(r) => {
            let r = r?;
            MetadataRecord::PartitionChanged(PartitionChange {
                topic: topic_id(r.get_topic()?)?,
                partition: PartitionId(r.get_partition()),
                replicas: r.get_replicas()?.iter().map(NodeId).collect(),
                isr: r.get_isr()?.iter().map(NodeId).collect(),
                leader: (r.get_leader() >= 0).then(|| NodeId(r.get_leader())),
                leader_epoch: LeaderEpoch(r.get_leader_epoch()),
                partition_epoch: PartitionEpoch(r.get_partition_epoch()),
            })
        }
        metadata_record::ConfigChanged(r) => {
            let r = r?;
            let resource = match r.get_resource().which().map_err(|capnp::NotInSchema(_)| RecordCodecError::Unknown)? {
                config_changed::resource::Topic(name) => ConfigResource::Topic(TopicName::new(text(name?)?)),
                config_changed::resource::Broker(node) => ConfigResource::Broker(Some(NodeId(node))),
                config_changed::resource::AllBrokers(()) => ConfigResource::Broker(None),
            };
            let value = match r.get_new_value().which().map_err(|capnp::NotInSchema(_)| RecordCodecError::Unknown)? {
                config_changed::new_value::Default(()) => None,
                config_changed::new_value::Value(value) => Some(text(value?)?.to_string()),
            };
            MetadataRecord::ConfigChanged { resource, name: text(r.get_name()?)?.to_string(), value }
        }
        metadata_record::ProducerIdsAllotted(r) => {
            MetadataRecord::ProducerIdsAllotted { next: ProducerId(r?.get_next()) }
        }
    })
}

fn text(reader: capnp::text::Reader<'_>) -> Result<&str, RecordCodecError> {
    reader.to_str().map_err(|e| RecordCodecError::Malformed(e.to_string()))
}

fn topic_id(bytes: &[u8]) -> Result<TopicId, RecordCodecError> {
    let wrong = |_| RecordCodecError::Malformed("a topic id is 16 bytes".to_string());
    bytes.try_into().map(TopicId).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<MetadataRecord> {
        let name = TopicName::new("orders");
        let id = TopicId([9; 16]);
        let change = PartitionChange {
            topic: id,
            partition: PartitionId(3),
            replicas: alloc::vec![NodeId(1), NodeId(2)],
            isr: alloc::vec![NodeId(2)],
            leader: Some(NodeId(2)),
            leader_epoch: LeaderEpoch(5),
            partition_epoch: PartitionEpoch(8),
        };
        let resource = ConfigResource::Topic(name.clone());
        alloc::vec![
            MetadataRecord::BrokerRegistered {
                node: NodeId(1),
                epoch: BrokerEpoch(7),
                rack: Some("a".to_string()),
                fenced: true
            },
            MetadataRecord::TopicCreated { name, id },
            MetadataRecord::PartitionChanged(change.clone()),
            MetadataRecord::PartitionChanged(PartitionChange { leader: None, isr: Vec::new(), ..change }),
            MetadataRecord::ConfigChanged {
                resource: resource.clone(),
                name: "retention.ms".to_string(),
                value: Some("5".to_string())
            },
            MetadataRecord::ConfigChanged { resource, name: "retention.ms".to_string(), value: None },
            MetadataRecord::ConfigChanged {
                resource: ConfigResource::Broker(None),
                name: "x".to_string(),
                value: Some(String::new())
            },
            MetadataRecord::ProducerIdsAllotted { next: ProducerId(1000) },
            MetadataRecord::TopicDeleted { id },
        ]
    }

    #[test]
    fn records_round_trip() {
        for record in samples() {
            assert_eq!(decode(&encode(&record)).as_ref(), Ok(&record));
        }
    }

    /// The bytes that have been on disks since the first version. A change here is a change of format.
    #[test]
    fn golden_bytes_are_still_read_and_written() {
        let golden = include_str!("../../testdata/metadata_records.hex");
        let hex = |record| encode(&record).iter().map(|b| alloc::format!("{b:02x}")).collect::<String>();
        let written: Vec<String> = samples().into_iter().map(hex).collect();
        assert_eq!(written.join("\n"), golden.trim_end());
    }

    #[test]
    fn hostile_bytes_are_errors() {
        for record in samples() {
            let bytes = encode(&record);
            for len in 0..bytes.len() {
                assert!(decode(&bytes[..len]).is_err());
            }
            for i in 0..bytes.len() * 8 {
                let mut broken = bytes.clone();
                broken[i / 8] ^= 1 << (i % 8);
                let _ = decode(&broken);
            }
        }
    }
}
