//! Metadata records as bytes: Cap'n Proto, as `schemas/metadata.capnp` has it.
//!
//! This file knows bytes only; what a record means is in `image`. It is the one place in the core that names
//! Cap'n Proto.

use alloc::{string::String, string::ToString, vec::Vec};

use capnp::{message, primitive_list, serialize};
use tidelog_schemas::metadata_capnp::{broker_registered, config_changed, metadata_record, partition_changed};

use super::record::{MetadataRecord, PartitionChange, Registration};
use crate::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, DirectoryId, NodeId, PartitionId, ProducerId, TopicId, TopicName},
    message::{ConfigResource, Endpoints},
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
        MetadataRecord::BrokerRegistered(registration) => {
            write_registration(registration, root.init_broker_registered());
        }
        MetadataRecord::BrokerChanged { node, epoch, fenced, in_controlled_shutdown } => {
            let mut b = root.init_broker_changed();
            b.set_node(node.0);
            b.set_epoch(epoch.0);
            b.set_fenced(*fenced);
            b.set_in_controlled_shutdown(*in_controlled_shutdown);
        }
        MetadataRecord::BrokerUnregistered { node, epoch } => {
            let mut b = root.init_broker_unregistered();
            b.set_node(node.0);
            b.set_epoch(epoch.0);
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

fn write_registration(registration: &Registration, mut b: broker_registered::Builder<'_>) {
    b.set_node(registration.node.0);
    b.set_epoch(registration.epoch.0);
    b.set_rack(registration.rack.as_deref().unwrap_or(""));
    b.set_fenced(registration.fenced);
    b.set_incarnation(&registration.incarnation.to_be_bytes());
    b.set_directory(&registration.directory.0);
    b.set_native(&registration.endpoints.native);
    b.set_kafka(&registration.endpoints.kafka);
}

fn read_registration(r: broker_registered::Reader<'_>) -> Result<Registration, RecordCodecError> {
    let rack = text(r.get_rack()?)?;
    Ok(Registration {
        node: NodeId(r.get_node()),
        epoch: BrokerEpoch(r.get_epoch()),
        incarnation: u128::from_be_bytes(id_or_zero(r.get_incarnation()?)?),
        directory: DirectoryId(id_or_zero(r.get_directory()?)?),
        rack: (!rack.is_empty()).then(|| rack.to_string()),
        endpoints: Endpoints { native: text(r.get_native()?)?.to_string(), kafka: text(r.get_kafka()?)?.to_string() },
        fenced: r.get_fenced(),
    })
}

fn write_partition(change: &PartitionChange, mut b: partition_changed::Builder<'_>) {
    b.set_topic(&change.topic.0);
    b.set_partition(change.partition.0);
    write_nodes(&change.replicas, b.reborrow().init_replicas(count(&change.replicas)));
    write_nodes(&change.isr, b.reborrow().init_isr(count(&change.isr)));
    b.set_leader(change.leader.map_or(-1, |node| node.0));
    b.set_leader_epoch(change.leader_epoch.0);
    b.set_partition_epoch(change.partition_epoch.0);
    // What is empty most of the time takes no room then.
    if !change.elr.is_empty() {
        write_nodes(&change.elr, b.reborrow().init_elr(count(&change.elr)));
    }
    b.set_last_known_leader(change.last_known_leader.map_or(-1, |node| node.0));
    if !change.adding.is_empty() {
        write_nodes(&change.adding, b.reborrow().init_adding(count(&change.adding)));
    }
    if !change.removing.is_empty() {
        write_nodes(&change.removing, b.reborrow().init_removing(count(&change.removing)));
    }
    b.set_recovering(change.recovering);
    b.set_unclean_epoch(change.unclean_epoch.unwrap_or(LeaderEpoch::NONE).0);
}

fn count(nodes: &[NodeId]) -> u32 {
    u32::try_from(nodes.len()).expect("replica counts are bounded")
}

fn write_nodes(nodes: &[NodeId], mut list: primitive_list::Builder<'_, i32>) {
    (0..).zip(nodes).for_each(|(i, node)| list.set(i, node.0));
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
        metadata_record::BrokerRegistered(r) => MetadataRecord::BrokerRegistered(read_registration(r?)?),
        metadata_record::BrokerChanged(r) => {
            let r = r?;
            MetadataRecord::BrokerChanged {
                node: NodeId(r.get_node()),
                epoch: BrokerEpoch(r.get_epoch()),
                fenced: r.get_fenced(),
                in_controlled_shutdown: r.get_in_controlled_shutdown(),
            }
        }
        metadata_record::BrokerUnregistered(r) => {
            let r = r?;
            MetadataRecord::BrokerUnregistered { node: NodeId(r.get_node()), epoch: BrokerEpoch(r.get_epoch()) }
        }
        metadata_record::TopicCreated(r) => {
            let r = r?;
            MetadataRecord::TopicCreated { name: TopicName::new(text(r.get_name()?)?), id: topic_id(r.get_id()?)? }
        }
        metadata_record::TopicDeleted(r) => MetadataRecord::TopicDeleted { id: topic_id(r?.get_id()?)? },
        metadata_record::PartitionChanged(r) => MetadataRecord::PartitionChanged(read_partition(r?)?),
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

fn read_partition(r: partition_changed::Reader<'_>) -> Result<PartitionChange, RecordCodecError> {
    let nodes = |list: primitive_list::Reader<'_, i32>| list.iter().map(NodeId).collect();
    let node = |id: i32| (id >= 0).then_some(NodeId(id));
    Ok(PartitionChange {
        topic: topic_id(r.get_topic()?)?,
        partition: PartitionId(r.get_partition()),
        replicas: nodes(r.get_replicas()?),
        isr: nodes(r.get_isr()?),
        leader: node(r.get_leader()),
        leader_epoch: LeaderEpoch(r.get_leader_epoch()),
        partition_epoch: PartitionEpoch(r.get_partition_epoch()),
        elr: nodes(r.get_elr()?),
        last_known_leader: node(r.get_last_known_leader()),
        adding: nodes(r.get_adding()?),
        removing: nodes(r.get_removing()?),
        recovering: r.get_recovering(),
        unclean_epoch: Some(LeaderEpoch(r.get_unclean_epoch())).filter(|epoch| *epoch > LeaderEpoch::NONE),
    })
}

fn text(reader: capnp::text::Reader<'_>) -> Result<&str, RecordCodecError> {
    reader.to_str().map_err(|e| RecordCodecError::Malformed(e.to_string()))
}

fn topic_id(bytes: &[u8]) -> Result<TopicId, RecordCodecError> {
    let wrong = |_| RecordCodecError::Malformed("a topic id is 16 bytes".to_string());
    bytes.try_into().map(TopicId).map_err(wrong)
}

/// 16 bytes, or none where the record was written before there were any.
fn id_or_zero(bytes: &[u8]) -> Result<[u8; 16], RecordCodecError> {
    if bytes.is_empty() {
        return Ok([0; 16]);
    }
    bytes.try_into().map_err(|_| RecordCodecError::Malformed("an id is 16 bytes".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> Registration {
        Registration {
            node: NodeId(1),
            epoch: BrokerEpoch(7),
            incarnation: 0,
            directory: DirectoryId([0; 16]),
            rack: Some("a".to_string()),
            endpoints: Endpoints::default(),
            fenced: true,
        }
    }

    fn change() -> PartitionChange {
        let mut change =
            PartitionChange::created(TopicId([9; 16]), PartitionId(3), &[NodeId(1), NodeId(2)], alloc::vec![NodeId(2)]);
        (change.leader_epoch, change.partition_epoch) = (LeaderEpoch(5), PartitionEpoch(8));
        change
    }

    /// What the first version could write, and what it wrote.
    fn first_samples() -> Vec<MetadataRecord> {
        let name = TopicName::new("orders");
        let id = TopicId([9; 16]);
        let resource = ConfigResource::Topic(name.clone());
        alloc::vec![
            MetadataRecord::BrokerRegistered(registration()),
            MetadataRecord::TopicCreated { name, id },
            MetadataRecord::PartitionChanged(change()),
            MetadataRecord::PartitionChanged(PartitionChange { leader: None, isr: Vec::new(), ..change() }),
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

    /// What the second version could write: no mark of an unclean election.
    fn second_samples() -> Vec<MetadataRecord> {
        let mut samples = samples();
        for sample in &mut samples {
            if let MetadataRecord::PartitionChanged(change) = sample {
                change.unclean_epoch = None;
            }
        }
        samples
    }

    fn samples() -> Vec<MetadataRecord> {
        let mut samples = first_samples();
        samples.extend([
            MetadataRecord::BrokerRegistered(Registration {
                incarnation: 0x0102_0304,
                directory: DirectoryId([5; 16]),
                endpoints: Endpoints { native: "a:9192".to_string(), kafka: "a:9092".to_string() },
                ..registration()
            }),
            MetadataRecord::BrokerChanged {
                node: NodeId(1),
                epoch: BrokerEpoch(7),
                fenced: false,
                in_controlled_shutdown: true,
            },
            MetadataRecord::BrokerUnregistered { node: NodeId(1), epoch: BrokerEpoch(7) },
            MetadataRecord::PartitionChanged(PartitionChange {
                elr: alloc::vec![NodeId(1)],
                last_known_leader: Some(NodeId(2)),
                adding: alloc::vec![NodeId(3), NodeId(4)],
                removing: alloc::vec![NodeId(1)],
                recovering: true,
                unclean_epoch: Some(LeaderEpoch(5)),
                ..change()
            }),
        ]);
        samples
    }

    #[test]
    fn records_round_trip() {
        for record in samples() {
            assert_eq!(decode(&encode(&record)).as_ref(), Ok(&record));
        }
    }

    /// The bytes that are written today. A change here is a change of format.
    #[test]
    fn golden_bytes_are_still_written() {
        let golden = include_str!("../../testdata/metadata_records_3.hex");
        let hex = |record| encode(&record).iter().map(|b| alloc::format!("{b:02x}")).collect::<String>();
        let written: Vec<String> = samples().into_iter().map(hex).collect();
        assert_eq!(written.join("\n"), golden.trim_end());
    }

    /// The bytes that earlier versions left on disks.
    #[test]
    fn records_of_earlier_versions_are_still_read() {
        let byte = |hex: &[u8]| u8::from_str_radix(core::str::from_utf8(hex).expect("ascii"), 16).expect("hex");
        let read = |line: &str| decode(&line.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>());
        let versions = [
            (include_str!("../../testdata/metadata_records.hex"), first_samples()),
            (include_str!("../../testdata/metadata_records_2.hex"), second_samples()),
        ];
        for (golden, samples) in versions {
            let read: Vec<_> = golden.lines().map(read).collect();
            assert_eq!(read, samples.into_iter().map(Ok).collect::<Vec<_>>());
        }
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
