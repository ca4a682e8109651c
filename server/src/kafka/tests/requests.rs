//! Requests that `kafka-protocol` encodes, decoded here.

use kafka_protocol::protocol::Request as _;
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, ProducerEpoch, ProducerId},
    message::*,
    offset::Offset,
    record::Batch,
    time::{Duration, Timestamp},
};
use uuid::Uuid;

use super::*;

fn asked(frame: &Bytes) -> (Request, Shape) {
    match decoded(frame).expect("the request decodes") {
        Task::Ask(request, shape) => (request, shape),
        other => panic!("not for the core: {other:?}"),
    }
}

/// A batch as another codec writes it.
fn batch(compression: kafka_protocol::records::Compression) -> Bytes {
    use kafka_protocol::records::{Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
    let record = Record {
        transactional: false,
        control: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1000,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        headers: Default::default(),
        delete_horizon: false,
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).expect("a record encodes");
    bytes.freeze()
}

fn produce(v: i16, acks: i16, records: Vec<Option<Bytes>>) -> Bytes {
    framed(
        ApiKey::Produce,
        v,
        &made(|r: &mut kp::ProduceRequest| {
            r.acks = acks;
            r.timeout_ms = 1500;
            r.topic_data.push(made(|t: &mut kp::produce_request::TopicProduceData| {
                t.name = kp_topic("orders");
                for (index, records) in records.into_iter().enumerate() {
                    t.partition_data.push(made(|p: &mut kp::produce_request::PartitionProduceData| {
                        p.index = index as i32;
                        p.records = records;
                    }));
                }
            }));
        }),
    )
}

#[test]
fn produce_decodes_in_every_version() {
    let records = batch(kafka_protocol::records::Compression::None);
    for v in versions(ApiKey::Produce) {
        for (acks, expected) in [(0, Acks::None), (1, Acks::Leader), (-1, Acks::All)] {
            let frame = produce(v, acks, vec![Some(records.clone())]);
            let (request, shape) = asked(&frame);
            let batch = Batch::parse(&mut records.clone()).expect("a good batch");
            let partitions =
                vec![ProducePartition { topic: by_name("orders"), partition: partition(0), batch: Ok(batch) }];
            let timeout = Duration::from_millis(1500);
            assert_eq!(request, Request::Produce(ProduceRequest { acks: expected, timeout, partitions }), "v{v}");
            assert!(matches!(shape, Shape::Produce { silent } if silent == (acks == 0)));
        }
    }
}

#[test]
fn produce_shares_its_records_with_the_frame() {
    let frame = produce(9, 1, vec![Some(batch(kafka_protocol::records::Compression::None))]);
    let (Request::Produce(request), _) = asked(&frame) else { panic!("a produce") };
    let body = request.partitions[0].batch.as_ref().expect("a good batch").body().as_ptr() as usize;
    let start = frame.as_ptr() as usize;
    assert!((start..start + frame.len()).contains(&body));
}

#[test]
fn a_bad_batch_is_its_partitions_error_and_nobody_elses() {
    let good = batch(kafka_protocol::records::Compression::None);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        Some(Bytes::from(bytes))
    };
    let twice = Some([good.clone(), good.clone()].concat().into());
    let records = vec![
        Some(good.clone()),
        changed(good.len() - 1, 0xee), // a byte of the record
        changed(16, 1),                // magic
        twice,
        Some(good.slice(..good.len() - 1)),
        Some(Bytes::new()),
        None,
        Some(good.clone()),
    ];
    let (Request::Produce(request), _) = asked(&produce(9, -1, records)) else { panic!("a produce") };
    let errors: Vec<_> = request.partitions.iter().map(|of| of.batch.as_ref().err().copied()).collect();
    let invalid = Some(ErrorCode::InvalidRecord);
    let expected = [
        None,
        Some(ErrorCode::CorruptMessage),
        Some(ErrorCode::UnsupportedForMessageFormat),
        invalid,
        invalid,
        invalid,
        invalid,
        None,
    ];
    assert_eq!(errors, expected);
}

#[test]
fn zstd_needs_produce_7() {
    // The codec stands in the attributes, so a body need not be zstd for it.
    let mut bytes = batch(kafka_protocol::records::Compression::None).to_vec();
    bytes[22] = 4;
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let records = Bytes::from(bytes);
    for v in versions(ApiKey::Produce) {
        let (Request::Produce(request), _) = asked(&produce(v, -1, vec![Some(records.clone())])) else {
            panic!("a produce")
        };
        let error = request.partitions[0].batch.as_ref().err().copied();
        assert_eq!(error, (v < 7).then_some(ErrorCode::UnsupportedCompressionType), "v{v}");
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[test]
fn produce_with_other_acks_is_refused_for_each_partition() {
    let frame = produce(9, 2, vec![None, None]);
    let Ok(Task::Answer(Response::Produce(response), _)) = decoded(&frame) else { panic!("an answer") };
    let errors: Vec<_> = response.partitions.iter().map(|of| of.error).collect();
    assert_eq!(errors, [ErrorCode::InvalidRequiredAcks; 2]);
}

#[test]
fn fetch_decodes_in_every_version() {
    for v in versions(ApiKey::Fetch) {
        let frame = framed(
            ApiKey::Fetch,
            v,
            &made(|r: &mut kp::FetchRequest| {
                r.max_wait_ms = 500;
                r.min_bytes = 1;
                r.max_bytes = 1000;
                r.isolation_level = 1;
                if v >= 7 {
                    (r.session_id, r.session_epoch) = (11, 12);
                    r.forgotten_topics_data.push(made(|t: &mut kp::fetch_request::ForgottenTopic| {
                        if v >= 13 {
                            t.topic_id = Uuid::from_bytes(ID)
                        } else {
                            t.topic = kp_topic("old")
                        }
                        t.partitions = vec![8, 9];
                    }));
                }
                if v >= 11 {
                    r.rack_id = text("rack");
                }
                if v >= 12 {
                    r.cluster_id = Some(text("cluster"));
                    r.unknown_tagged_fields.insert(40, Bytes::from_static(b"new"));
                }
                r.topics.push(made(|t: &mut kp::fetch_request::FetchTopic| {
                    if v >= 13 {
                        t.topic_id = Uuid::from_bytes(ID)
                    } else {
                        t.topic = kp_topic("orders")
                    }
                    t.partitions.push(made(|p: &mut kp::fetch_request::FetchPartition| {
                        p.partition = 4;
                        p.fetch_offset = 77;
                        p.partition_max_bytes = 2000;
                        if v >= 9 {
                            p.current_leader_epoch = 5;
                        }
                        if v >= 12 {
                            p.last_fetched_epoch = 3;
                        }
                        if v >= 17 {
                            p.replica_directory_id = Uuid::from_bytes(ID);
                        }
                    }));
                }));
            }),
        );
        let Ok(Task::Fetch(asked)) = decoded(&frame) else { panic!("a fetch") };
        let named = |name: &str| if v >= 13 { TopicRef::Id(topic_id()) } else { by_name(name) };
        let expected = FetchRequest {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 1000,
            isolation: IsolationLevel::ReadCommitted,
            rack: (v >= 11).then(|| "rack".to_owned()),
            replica: None,
            partitions: vec![FetchPartition {
                topic: named("orders"),
                partition: partition(4),
                current_leader_epoch: if v >= 9 { LeaderEpoch(5) } else { LeaderEpoch::NONE },
                offset: Offset(77),
                last_fetched_epoch: if v >= 12 { LeaderEpoch(3) } else { LeaderEpoch::NONE },
                log_start: Offset::NONE,
                max_bytes: 2000,
            }],
        };
        assert_eq!(asked.request, expected, "v{v}");
        assert_eq!((asked.session, asked.session_epoch), if v >= 7 { (11, 12) } else { (0, -1) });
        let forgotten = if v >= 7 { vec![(named("old"), partition(8)), (named("old"), partition(9))] } else { vec![] };
        assert_eq!(asked.forgotten, forgotten);
        assert_eq!(asked.by_id, v >= 13);
    }
}

#[test]
fn list_offsets_decodes_in_every_version() {
    for v in versions(ApiKey::ListOffsets) {
        let times = [-1, -2, -3, -4, -5, -6, 1234];
        let frame = framed(
            ApiKey::ListOffsets,
            v,
            &made(|r: &mut kp::ListOffsetsRequest| {
                r.replica_id = kp::BrokerId(-1);
                if v >= 2 {
                    r.isolation_level = 1;
                }
                if v >= 10 {
                    r.timeout_ms = 3000;
                }
                r.topics.push(made(|t: &mut kp::list_offsets_request::ListOffsetsTopic| {
                    t.name = kp_topic("orders");
                    for (index, timestamp) in times.into_iter().enumerate() {
                        t.partitions.push(made(|p: &mut kp::list_offsets_request::ListOffsetsPartition| {
                            p.partition_index = index as i32;
                            p.timestamp = timestamp;
                            if v >= 4 {
                                p.current_leader_epoch = 6;
                            }
                        }));
                    }
                }));
            }),
        );
        let (Request::ListOffsets(request), Shape::ListOffsets(refused)) = asked(&frame) else { panic!("a list") };
        let isolation = if v >= 2 { IsolationLevel::ReadCommitted } else { IsolationLevel::ReadUncommitted };
        assert_eq!(request.isolation, isolation);
        let specs: Vec<_> = request.partitions.iter().map(|of| of.spec).collect();
        let mut expected = vec![OffsetSpec::Latest, OffsetSpec::Earliest];
        expected.extend((v >= 7).then_some(OffsetSpec::MaxTimestamp));
        expected.extend((v >= 8).then_some(OffsetSpec::EarliestLocal));
        expected.extend((v >= 9).then_some(OffsetSpec::LatestTiered));
        expected.push(OffsetSpec::At(Timestamp(1234)));
        assert_eq!(specs, expected, "v{v}");
        assert_eq!(refused.len(), times.len() - expected.len());
        assert!(refused.iter().all(|(place, of)| of.partition.0 as usize == *place));
        let epoch = if v >= 4 { LeaderEpoch(6) } else { LeaderEpoch::NONE };
        assert!(request.partitions.iter().all(|of| of.current_leader_epoch == epoch));
    }
}

#[test]
fn offset_for_leader_epoch_decodes_in_every_version() {
    for v in versions(ApiKey::OffsetForLeaderEpoch) {
        let frame = framed(
            ApiKey::OffsetForLeaderEpoch,
            v,
            &made(|r: &mut kp::OffsetForLeaderEpochRequest| {
                if v >= 3 {
                    r.replica_id = kp::BrokerId(-1);
                }
                r.topics.push(made(|t: &mut kp::offset_for_leader_epoch_request::OffsetForLeaderTopic| {
                    t.topic = kp_topic("orders");
                    t.partitions.push(made(|p: &mut kp::offset_for_leader_epoch_request::OffsetForLeaderPartition| {
                        (p.partition, p.current_leader_epoch, p.leader_epoch) = (1, 2, 3);
                    }));
                }));
            }),
        );
        let partitions = vec![OffsetForLeaderEpochPartition {
            topic: by_name("orders"),
            partition: partition(1),
            current_leader_epoch: LeaderEpoch(2),
            leader_epoch: LeaderEpoch(3),
        }];
        assert_eq!(asked(&frame).0, Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest { partitions }), "v{v}");
    }
}

#[test]
fn delete_records_decodes_in_every_version() {
    for v in versions(ApiKey::DeleteRecords) {
        let frame = framed(
            ApiKey::DeleteRecords,
            v,
            &made(|r: &mut kp::DeleteRecordsRequest| {
                r.timeout_ms = 10;
                r.topics.push(made(|t: &mut kp::delete_records_request::DeleteRecordsTopic| {
                    t.name = kp_topic("orders");
                    t.partitions.push(made(|p: &mut kp::delete_records_request::DeleteRecordsPartition| {
                        (p.partition_index, p.offset) = (2, -1);
                    }));
                }));
            }),
        );
        let of = DeleteRecordsPartition { topic: by_name("orders"), partition: partition(2), offset: Offset::NONE };
        let expected = DeleteRecordsRequest { timeout: Duration::from_millis(10), partitions: vec![of] };
        assert_eq!(asked(&frame).0, Request::DeleteRecords(expected), "v{v}");
    }
}

#[test]
fn init_producer_id_decodes_in_every_version() {
    for v in versions(ApiKey::InitProducerId) {
        let frame = framed(
            ApiKey::InitProducerId,
            v,
            &made(|r: &mut kp::InitProducerIdRequest| {
                r.transactional_id = Some(kp::TransactionalId(text("txn")));
                r.transaction_timeout_ms = 60_000;
                if v >= 3 {
                    (r.producer_id, r.producer_epoch) = (kp::ProducerId(5), 6);
                }
            }),
        );
        let expected = InitProducerIdRequest {
            transactional_id: Some("txn".into()),
            producer_id: if v >= 3 { ProducerId(5) } else { ProducerId::NONE },
            producer_epoch: if v >= 3 { ProducerEpoch(6) } else { ProducerEpoch::NONE },
        };
        assert_eq!(asked(&frame).0, Request::InitProducerId(expected), "v{v}");
    }
}

#[test]
fn metadata_decodes_in_every_version() {
    for v in versions(ApiKey::Metadata) {
        let request = |topics: Option<Vec<kp::metadata_request::MetadataRequestTopic>>| {
            made(|r: &mut kp::MetadataRequest| {
                r.topics = topics;
                r.allow_auto_topic_creation = v < 4;
                r.include_cluster_authorized_operations = (8..=10).contains(&v);
                r.include_topic_authorized_operations = v >= 8;
            })
        };
        let mut topics =
            vec![made(|t: &mut kp::metadata_request::MetadataRequestTopic| t.name = Some(kp_topic("orders")))];
        let mut expected = vec![by_name("orders")];
        if v >= 12 {
            topics.push(made(|t: &mut kp::metadata_request::MetadataRequestTopic| {
                t.name = None;
                t.topic_id = Uuid::from_bytes(ID);
            }));
            expected.push(TopicRef::Id(topic_id()));
        }
        let (Request::Metadata(some), shape) = asked(&framed(ApiKey::Metadata, v, &request(Some(topics)))) else {
            panic!("a metadata request")
        };
        assert_eq!(some, MetadataRequest { topics: Some(expected), allow_auto_topic_creation: v < 4 }, "v{v}");
        let Shape::Metadata { cluster_operations, topic_operations } = shape else { panic!("metadata's shape") };
        assert_eq!((cluster_operations, topic_operations), ((8..=10).contains(&v), v >= 8));

        let all = if v == 0 { Some(vec![]) } else { None };
        let (Request::Metadata(all), _) = asked(&framed(ApiKey::Metadata, v, &request(all))) else {
            panic!("metadata")
        };
        assert_eq!(all.topics, None, "v{v}");
        if v > 0 {
            let (Request::Metadata(none), _) = asked(&framed(ApiKey::Metadata, v, &request(Some(vec![])))) else {
                panic!("metadata")
            };
            assert_eq!(none.topics, Some(vec![]), "v{v}");
        }
    }
}

#[test]
fn api_versions_decodes_in_every_version() {
    for v in versions(ApiKey::ApiVersions) {
        for (name, error) in [("apache-kafka-java", ErrorCode::None), ("bad name", ErrorCode::InvalidRequest)] {
            let frame = framed(
                ApiKey::ApiVersions,
                v,
                &made(|r: &mut kp::ApiVersionsRequest| {
                    if v >= 3 {
                        (r.client_software_name, r.client_software_version) = (text(name), text("4.1.0"));
                    }
                }),
            );
            let Ok(Task::Versions(answer)) = decoded(&frame) else { panic!("versions") };
            assert_eq!(answer.error, if v >= 3 { error } else { ErrorCode::None });
        }
    }
}

#[test]
fn describe_cluster_and_its_pages_decode_in_every_version() {
    for v in versions(ApiKey::DescribeCluster) {
        let request = made(|r: &mut kp::DescribeClusterRequest| {
            r.include_cluster_authorized_operations = true;
            r.include_fenced_brokers = v >= 2;
        });
        let (request, shape) = asked(&framed(ApiKey::DescribeCluster, v, &request));
        assert_eq!(request, Request::DescribeCluster);
        assert!(matches!(shape, Shape::DescribeCluster { cluster_operations: true, fenced } if fenced == (v >= 2)));
    }
    let controllers = made(|r: &mut kp::DescribeClusterRequest| r.endpoint_type = 2);
    assert!(matches!(decoded(&framed(ApiKey::DescribeCluster, 1, &controllers)), Ok(Task::Answer(..))));

    for cursor in [None, Some(("b", 3))] {
        let request = made(|r: &mut kp::DescribeTopicPartitionsRequest| {
            for name in ["b", "a", "b"] {
                r.topics
                    .push(made(|t: &mut kp::describe_topic_partitions_request::TopicRequest| t.name = kp_topic(name)));
            }
            r.response_partition_limit = 100_000;
            r.cursor = cursor.map(|(name, index)| {
                made(|c: &mut kp::describe_topic_partitions_request::Cursor| {
                    (c.topic_name, c.partition_index) = (kp_topic(name), index);
                })
            });
        });
        let expected = DescribeTopicPartitionsRequest {
            topics: vec![topic("a"), topic("b")],
            limit: 2000,
            cursor: cursor.map(|(name, index)| (topic(name), partition(index))),
        };
        let (request, _) = asked(&framed(ApiKey::DescribeTopicPartitions, 0, &request));
        assert_eq!(request, Request::DescribeTopicPartitions(expected));
    }
}

#[test]
fn describe_log_dirs_decodes_in_every_version() {
    for v in versions(ApiKey::DescribeLogDirs) {
        let some = made(|r: &mut kp::DescribeLogDirsRequest| {
            r.topics = Some(vec![made(|t: &mut kp::describe_log_dirs_request::DescribableLogDirTopic| {
                t.topic = kp_topic("orders");
                t.partitions = vec![0, 1];
            })]);
        });
        let partitions = Some(vec![(topic("orders"), partition(0)), (topic("orders"), partition(1))]);
        let (request, _) = asked(&framed(ApiKey::DescribeLogDirs, v, &some));
        assert_eq!(request, Request::DescribeLogDirs(DescribeLogDirsRequest { partitions }), "v{v}");
        let all = made(|r: &mut kp::DescribeLogDirsRequest| r.topics = None);
        let (request, _) = asked(&framed(ApiKey::DescribeLogDirs, v, &all));
        assert_eq!(request, Request::DescribeLogDirs(DescribeLogDirsRequest { partitions: None }), "v{v}");
    }
}

#[test]
fn create_topics_decodes_in_every_version() {
    use kp::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
    for v in versions(ApiKey::CreateTopics) {
        let frame = framed(
            ApiKey::CreateTopics,
            v,
            &made(|r: &mut kp::CreateTopicsRequest| {
                r.timeout_ms = 5000;
                r.validate_only = true;
                r.topics.push(made(|t: &mut CreatableTopic| {
                    t.name = kp_topic("counted");
                    (t.num_partitions, t.replication_factor) = (3, 1);
                    for value in [Some("compact"), None] {
                        t.configs.push(made(|c: &mut CreatableTopicConfig| {
                            (c.name, c.value) = (text("cleanup.policy"), value.map(text));
                        }));
                    }
                }));
                r.topics.push(made(|t: &mut CreatableTopic| {
                    t.name = kp_topic("assigned");
                    (t.num_partitions, t.replication_factor) = (-1, -1);
                    t.assignments.push(made(|a: &mut CreatableReplicaAssignment| {
                        (a.partition_index, a.broker_ids) = (0, kp_nodes(&[1, 2]));
                    }));
                }));
            }),
        );
        let policy = |value: Option<&str>| ("cleanup.policy".to_owned(), value.map(str::to_owned));
        let topics = vec![
            NewTopic {
                name: topic("counted"),
                partitions: Some(3),
                replication_factor: Some(1),
                assignments: vec![],
                configs: vec![policy(Some("compact")), policy(None)],
            },
            NewTopic {
                name: topic("assigned"),
                partitions: None,
                replication_factor: None,
                assignments: vec![(partition(0), nodes(&[1, 2]))],
                configs: vec![],
            },
        ];
        let expected = CreateTopicsRequest { topics, validate_only: true, timeout: Duration::from_secs(5) };
        assert_eq!(asked(&frame).0, Request::CreateTopics(expected), "v{v}");
    }
}

#[test]
fn delete_topics_decodes_in_every_version() {
    for v in versions(ApiKey::DeleteTopics) {
        let frame = framed(
            ApiKey::DeleteTopics,
            v,
            &made(|r: &mut kp::DeleteTopicsRequest| {
                r.timeout_ms = 5000;
                if v < 6 {
                    r.topic_names = vec![kp_topic("orders")];
                    return;
                }
                for (name, id) in [(Some("orders"), [0; 16]), (Some("both"), ID), (None, ID), (None, [0; 16])] {
                    r.topics.push(made(|t: &mut kp::delete_topics_request::DeleteTopicState| {
                        (t.name, t.topic_id) = (name.map(kp_topic), Uuid::from_bytes(id));
                    }));
                }
            }),
        );
        let (Request::DeleteTopics(request), Shape::DeleteTopics(refused)) = asked(&frame) else { panic!("a delete") };
        let mut expected = vec![by_name("orders")];
        expected.extend((v >= 6).then_some(TopicRef::Id(topic_id())));
        assert_eq!(request, DeleteTopicsRequest { topics: expected, timeout: Duration::from_secs(5) }, "v{v}");
        let places: Vec<_> = refused.iter().map(|(place, of)| (*place, of.error)).collect();
        let refusals = vec![(1, ErrorCode::InvalidRequest), (3, ErrorCode::InvalidRequest)];
        assert_eq!(places, if v >= 6 { refusals } else { vec![] });
    }
}

#[test]
fn create_partitions_decodes_in_every_version() {
    use kp::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    for v in versions(ApiKey::CreatePartitions) {
        let frame = framed(
            ApiKey::CreatePartitions,
            v,
            &made(|r: &mut kp::CreatePartitionsRequest| {
                (r.timeout_ms, r.validate_only) = (5000, true);
                for assignments in [None, Some(vec![kp_nodes(&[3])])] {
                    r.topics.push(made(|t: &mut CreatePartitionsTopic| {
                        (t.name, t.count) = (kp_topic("orders"), 4);
                        t.assignments = assignments.map(|of: Vec<_>| {
                            let one = |ids| made(|a: &mut CreatePartitionsAssignment| a.broker_ids = ids);
                            of.into_iter().map(one).collect()
                        });
                    }));
                }
            }),
        );
        let new = |assignments| NewPartitions { name: topic("orders"), total: 4, assignments };
        let topics = vec![new(vec![]), new(vec![nodes(&[3])])];
        let expected = CreatePartitionsRequest { topics, validate_only: true, timeout: Duration::from_secs(5) };
        assert_eq!(asked(&frame).0, Request::CreatePartitions(expected), "v{v}");
    }
}

#[test]
fn describe_configs_decodes_in_every_version() {
    for v in versions(ApiKey::DescribeConfigs) {
        let frame = framed(
            ApiKey::DescribeConfigs,
            v,
            &made(|r: &mut kp::DescribeConfigsRequest| {
                r.include_synonyms = true;
                r.include_documentation = v >= 3;
                for (kind, name, keys) in [
                    (2, "orders", None),
                    (8, "3", None),
                    (4, "3", Some(vec![text("log.dirs")])),
                    (4, "", None),
                    (4, "x", None),
                ] {
                    r.resources.push(made(|of: &mut kp::describe_configs_request::DescribeConfigsResource| {
                        (of.resource_type, of.resource_name, of.configuration_keys) = (kind, text(name), keys);
                    }));
                }
            }),
        );
        let resources = vec![
            (ConfigResource::Topic(topic("orders")), None),
            (ConfigResource::Broker(Some(NodeId(3))), Some(vec!["log.dirs".to_owned()])),
            (ConfigResource::Broker(None), None),
        ];
        assert_eq!(asked(&frame).0, Request::DescribeConfigs(DescribeConfigsRequest { resources }), "v{v}");
    }
}

#[test]
fn alter_configs_decodes_in_every_version() {
    for v in versions(ApiKey::AlterConfigs) {
        use kp::alter_configs_request as theirs;
        let frame = framed(
            ApiKey::AlterConfigs,
            v,
            &made(|r: &mut kp::AlterConfigsRequest| {
                r.validate_only = true;
                r.resources.push(made(|of: &mut theirs::AlterConfigsResource| {
                    (of.resource_type, of.resource_name) = (2, text("orders"));
                    for value in [Some("1"), None] {
                        of.configs.push(made(|c: &mut theirs::AlterableConfig| {
                            (c.name, c.value) = (text("retention.ms"), value.map(text));
                        }));
                    }
                }));
            }),
        );
        let change = |operation| ConfigChange { name: "retention.ms".into(), operation };
        let changes = vec![change(ConfigOperation::Set("1".into())), change(ConfigOperation::Delete)];
        let resource = ConfigResource::Topic(topic("orders"));
        let expected = AlterConfigsRequest {
            resources: vec![AlterConfigsResource { resource, replace_all: true, changes }],
            validate_only: true,
        };
        assert_eq!(asked(&frame).0, Request::AlterConfigs(expected), "v{v}");
    }
    for v in versions(ApiKey::IncrementalAlterConfigs) {
        use kp::incremental_alter_configs_request as theirs;
        let frame = framed(
            ApiKey::IncrementalAlterConfigs,
            v,
            &made(|r: &mut kp::IncrementalAlterConfigsRequest| {
                for (name, operations) in [("good", 0..4), ("bad", 3..5)] {
                    r.resources.push(made(|of: &mut theirs::AlterConfigsResource| {
                        (of.resource_type, of.resource_name) = (2, text(name));
                        for operation in operations {
                            of.configs.push(made(|c: &mut theirs::AlterableConfig| {
                                (c.name, c.config_operation) = (text("cleanup.policy"), operation);
                                c.value = (operation != 1).then_some(text("compact"));
                            }));
                        }
                    }));
                }
            }),
        );
        let value = || "compact".to_owned();
        let changes = [
            ConfigOperation::Set(value()),
            ConfigOperation::Delete,
            ConfigOperation::Append(value()),
            ConfigOperation::Subtract(value()),
        ]
        .map(|operation| ConfigChange { name: "cleanup.policy".into(), operation })
        .to_vec();
        let resource = ConfigResource::Topic(topic("good"));
        let expected = AlterConfigsRequest {
            resources: vec![AlterConfigsResource { resource, replace_all: false, changes }],
            validate_only: false,
        };
        assert_eq!(asked(&frame).0, Request::AlterConfigs(expected), "v{v}");
    }
}

/// The table says what Kafka says: where versions become flexible is checked against the other codec's headers.
#[test]
fn header_versions_are_kafkas() {
    for api in APIS {
        let theirs = kp::ApiKey::try_from(api.code).expect("Kafka has this request");
        for v in api.min..=api.max {
            assert_eq!(theirs.request_header_version(v) == 2, api.is_flexible(v), "{:?} v{v}", api.key);
            assert_eq!(
                theirs.response_header_version(v) == 1,
                api.has_flexible_response_header(v),
                "{:?} v{v}",
                api.key
            );
        }
    }
    assert_eq!(kp::ProduceRequest::KEY, 0);
}

#[test]
fn operators_requests_decode_in_every_version() {
    let timeout = Duration::from_millis(1500);
    for v in versions(ApiKey::ElectLeaders) {
        for listed in [true, false] {
            let request = made(|r: &mut kp::ElectLeadersRequest| {
                if v >= 1 {
                    r.election_type = 1;
                }
                r.topic_partitions = listed.then(|| {
                    vec![made(|t: &mut kp::elect_leaders_request::TopicPartitions| {
                        (t.topic, t.partitions) = (kp_topic("orders"), vec![3, 4]);
                    })]
                });
                r.timeout_ms = 1500;
            });
            let kind = if v >= 1 { ElectionKind::Unclean } else { ElectionKind::Preferred };
            let partitions = listed.then(|| vec![(topic("orders"), partition(3)), (topic("orders"), partition(4))]);
            let (found, _) = asked(&framed(ApiKey::ElectLeaders, v, &request));
            assert_eq!(found, Request::ElectLeaders(ElectLeadersRequest { kind, partitions, timeout }), "v{v}");
        }
    }
    let odd = made(|r: &mut kp::ElectLeadersRequest| r.election_type = 7);
    let task = decoded(&framed(ApiKey::ElectLeaders, 2, &odd)).expect("it decodes");
    assert!(matches!(task, Task::Answer(Response::ElectLeaders(answer), _) if answer.error.code() == 42));
    for v in versions(ApiKey::AlterPartitionReassignments) {
        use kp::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
        let request = made(|r: &mut kp::AlterPartitionReassignmentsRequest| {
            r.timeout_ms = 1500;
            r.allow_replication_factor_change = v < 1;
            r.topics.push(made(|t: &mut ReassignableTopic| {
                t.name = kp_topic("orders");
                t.partitions.push(made(|p: &mut ReassignablePartition| p.replicas = Some(kp_nodes(&[3, 1]))));
                t.partitions.push(made(|p: &mut ReassignablePartition| (p.partition_index, p.replicas) = (1, None)));
            }));
        });
        let to = |number, replicas| Reassignment { topic: topic("orders"), partition: partition(number), replicas };
        let (found, shape) = asked(&framed(ApiKey::AlterPartitionReassignments, v, &request));
        let expected = AlterPartitionReassignmentsRequest {
            partitions: vec![to(0, Some(nodes(&[3, 1]))), to(1, None)],
            allow_replication_factor_change: v < 1,
            timeout,
        };
        assert_eq!(found, Request::AlterPartitionReassignments(expected), "v{v}");
        let allowed = v < 1;
        assert!(matches!(
            shape,
            Shape::AlterReassignments { allow_replication_factor_change } if allow_replication_factor_change == allowed
        ));
    }
    let request = made(|r: &mut kp::ListPartitionReassignmentsRequest| r.topics = None);
    let (found, _) = asked(&framed(ApiKey::ListPartitionReassignments, 0, &request));
    let all = ListPartitionReassignmentsRequest { partitions: None };
    assert_eq!(found, Request::ListPartitionReassignments(all));
    for v in versions(ApiKey::DescribeQuorum) {
        let request = made(|r: &mut kp::DescribeQuorumRequest| {
            r.topics.push(made(|t: &mut kp::describe_quorum_request::TopicData| {
                t.topic_name = kp_topic("__cluster_metadata");
                t.partitions.push(Default::default());
            }));
        });
        assert_eq!(asked(&framed(ApiKey::DescribeQuorum, v, &request)).0, Request::DescribeQuorum);
    }
    let request = made(|r: &mut kp::AddRaftVoterRequest| {
        r.cluster_id = Some(StrBytes::from_static_str("c"));
        r.voter_id = 4;
        r.voter_directory_id = Uuid::from_bytes([7; 16]);
        r.listeners.push(made(|l: &mut kp::add_raft_voter_request::Listener| {
            l.host = StrBytes::from_static_str("h");
            l.port = 40_000;
        }));
    });
    let (cluster_id, node, directory) = (Some("c".to_owned()), NodeId(4), DirectoryId([7; 16]));
    let endpoint = Some("h:40000".to_owned());
    let expected = AddVoterRequest { cluster_id: cluster_id.clone(), node, directory, endpoint };
    assert_eq!(asked(&framed(ApiKey::AddRaftVoter, 0, &request)).0, Request::AddVoter(expected));
    let request = made(|r: &mut kp::RemoveRaftVoterRequest| {
        r.cluster_id = Some(StrBytes::from_static_str("c"));
        r.voter_id = 4;
        r.voter_directory_id = Uuid::from_bytes([7; 16]);
    });
    let expected = RemoveVoterRequest { cluster_id, node, directory };
    assert_eq!(asked(&framed(ApiKey::RemoveRaftVoter, 0, &request)).0, Request::RemoveVoter(expected));
    let request = made(|r: &mut kp::UnregisterBrokerRequest| r.broker_id = kp::BrokerId(4));
    let (found, _) = asked(&framed(ApiKey::UnregisterBroker, 0, &request));
    assert_eq!(found, Request::UnregisterBroker(UnregisterBrokerRequest { node: NodeId(4) }));
}
