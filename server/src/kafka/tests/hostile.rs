//! Frames that no client sends: each gets an error or a harmless reading, and costs little memory.

use std::panic::catch_unwind;

use super::{super::check_frame, *};

/// One good frame of every request in every version.
fn corpus() -> Vec<Bytes> {
    let mut frames = Vec::new();
    for api in APIS {
        for v in api.min..=api.max {
            frames.push(match api.key {
                ApiKey::Produce => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::ProduceRequest| {
                        r.topic_data.push(made(|t: &mut kp::produce_request::TopicProduceData| {
                            t.name = kp_topic("orders");
                            t.partition_data.push(made(|p: &mut kp::produce_request::PartitionProduceData| {
                                p.records = Some(Bytes::from_static(&[1; 80]));
                            }));
                        }));
                    }),
                ),
                ApiKey::Fetch => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::FetchRequest| {
                        r.topics
                            .push(made(|t: &mut kp::fetch_request::FetchTopic| t.partitions.push(Default::default())));
                    }),
                ),
                ApiKey::ListOffsets => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::ListOffsetsRequest| {
                        r.topics.push(made(|t: &mut kp::list_offsets_request::ListOffsetsTopic| {
                            t.partitions.push(Default::default());
                        }));
                    }),
                ),
                ApiKey::Metadata => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::MetadataRequest| {
                        r.topics = Some(vec![made(|t: &mut kp::metadata_request::MetadataRequestTopic| {
                            t.name = Some(kp_topic("orders"));
                        })]);
                    }),
                ),
                ApiKey::ApiVersions => framed(api.key, v, &kp::ApiVersionsRequest::default()),
                ApiKey::CreateTopics => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::CreateTopicsRequest| {
                        r.topics.push(made(|t: &mut kp::create_topics_request::CreatableTopic| {
                            t.name = kp_topic("orders");
                            t.assignments.push(Default::default());
                            t.configs.push(Default::default());
                        }));
                    }),
                ),
                ApiKey::DeleteTopics => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::DeleteTopicsRequest| {
                        if v >= 6 { r.topics.push(Default::default()) } else { r.topic_names.push(kp_topic("orders")) }
                    }),
                ),
                ApiKey::DeleteRecords => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::DeleteRecordsRequest| {
                        r.topics.push(made(|t: &mut kp::delete_records_request::DeleteRecordsTopic| {
                            t.partitions.push(Default::default());
                        }));
                    }),
                ),
                ApiKey::InitProducerId => framed(api.key, v, &kp::InitProducerIdRequest::default()),
                ApiKey::OffsetForLeaderEpoch => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::OffsetForLeaderEpochRequest| {
                        r.topics.push(made(|t: &mut kp::offset_for_leader_epoch_request::OffsetForLeaderTopic| {
                            t.partitions.push(Default::default());
                        }));
                        if v < 3 {
                            r.replica_id = kp::BrokerId(-2);
                        }
                    }),
                ),
                ApiKey::DescribeConfigs => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::DescribeConfigsRequest| {
                        r.resources.push(Default::default());
                    }),
                ),
                ApiKey::AlterConfigs => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::AlterConfigsRequest| {
                        r.resources.push(made(|of: &mut kp::alter_configs_request::AlterConfigsResource| {
                            of.configs.push(Default::default());
                        }));
                    }),
                ),
                ApiKey::IncrementalAlterConfigs => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::IncrementalAlterConfigsRequest| {
                        r.resources.push(made(
                            |of: &mut kp::incremental_alter_configs_request::AlterConfigsResource| {
                                of.configs.push(Default::default());
                            },
                        ));
                    }),
                ),
                ApiKey::DescribeLogDirs => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::DescribeLogDirsRequest| {
                        r.topics = Some(vec![Default::default()]);
                    }),
                ),
                ApiKey::CreatePartitions => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::CreatePartitionsRequest| {
                        r.topics.push(Default::default());
                    }),
                ),
                ApiKey::ElectLeaders => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::ElectLeadersRequest| {
                        r.topic_partitions = Some(vec![Default::default()]);
                    }),
                ),
                ApiKey::AlterPartitionReassignments => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::AlterPartitionReassignmentsRequest| {
                        r.topics.push(made(|t: &mut kp::alter_partition_reassignments_request::ReassignableTopic| {
                            t.partitions.push(Default::default());
                        }));
                    }),
                ),
                ApiKey::ListPartitionReassignments => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::ListPartitionReassignmentsRequest| {
                        r.topics = Some(vec![Default::default()]);
                    }),
                ),
                ApiKey::DescribeQuorum => {
                    framed(api.key, v, &made(|r: &mut kp::DescribeQuorumRequest| r.topics.push(Default::default())))
                }
                ApiKey::AddRaftVoter => {
                    framed(api.key, v, &made(|r: &mut kp::AddRaftVoterRequest| r.listeners.push(Default::default())))
                }
                ApiKey::RemoveRaftVoter => framed(api.key, v, &kp::RemoveRaftVoterRequest::default()),
                ApiKey::UnregisterBroker => framed(api.key, v, &kp::UnregisterBrokerRequest::default()),
                ApiKey::DescribeCluster => framed(api.key, v, &kp::DescribeClusterRequest::default()),
                ApiKey::DescribeTopicPartitions => framed(
                    api.key,
                    v,
                    &made(|r: &mut kp::DescribeTopicPartitionsRequest| {
                        r.topics.push(Default::default());
                        r.cursor = Some(Default::default());
                    }),
                ),
            });
        }
    }
    frames
}

fn survives(frame: &Bytes) -> bool {
    catch_unwind(|| drop(check_frame(frame))).is_ok()
}

#[test]
fn every_truncation_is_an_error() {
    for frame in corpus() {
        for length in 0..frame.len() {
            let short = frame.slice(..length);
            assert!(check_frame(&short).is_err(), "{length} bytes of {frame:?} decode");
        }
    }
}

#[test]
fn flipped_bits_and_huge_counts_panic_nowhere() {
    for frame in corpus() {
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut bytes = frame.to_vec();
                bytes[at] ^= 1 << bit;
                assert!(survives(&bytes.into()), "byte {at} bit {bit} of {frame:?}");
            }
            for pattern in [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0]] {
                let mut bytes = frame.to_vec();
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&pattern[..end - at]);
                assert!(survives(&bytes.into()), "{pattern:?} at {at} of {frame:?}");
            }
        }
    }
}

#[test]
fn random_bodies_panic_nowhere() {
    let mut random = tidelog_core::prng::Prng::new(1);
    for api in APIS {
        for v in api.min..=api.max {
            for _ in 0..200 {
                let mut frame = Vec::new();
                frame.extend(api.code.to_be_bytes());
                frame.extend(v.to_be_bytes());
                frame.extend([0, 0, 0, 99, 0xff, 0xff]);
                let length = random.below(200);
                // Small numbers make better lengths than uniform ones.
                frame.extend((0..length).map(|_| (random.next_u64() >> (random.next_u64() % 8)) as u8 & 0x3f));
                assert!(survives(&frame.into()));
            }
        }
    }
}
