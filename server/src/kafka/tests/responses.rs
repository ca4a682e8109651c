//! Responses that are encoded here, decoded by `kafka-protocol`.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, ProducerEpoch, ProducerId},
    message::*,
    offset::Offset,
    record::Batch,
    time::Timestamp,
};
use uuid::Uuid;

use super::{
    super::{codec::VersionsAnswer, session::Plan},
    *,
};

#[test]
fn produce_encodes_in_every_version() {
    for v in versions(ApiKey::Produce) {
        let of = |name: &str, number, error, base| ProducedPartition {
            topic: by_name(name),
            partition: partition(number),
            error,
            base_offset: Offset(base),
            log_append_time: Timestamp(1234),
            log_start: Offset(5),
        };
        let partitions = vec![
            of("a", 0, ErrorCode::None, 10),
            of("a", 1, ErrorCode::KafkaStorageError, -1),
            of("b", 0, ErrorCode::NotEnoughReplicas, -1),
        ];
        let shape = Shape::Produce { silent: false };
        let found: kp::ProduceResponse =
            answered(ApiKey::Produce, v, shape, Response::Produce(ProduceResponse { partitions }));
        assert_eq!(found.responses.len(), 2);
        assert_eq!(found.responses[0].name, kp_topic("a"));
        let first = &found.responses[0].partition_responses[0];
        assert_eq!((first.index, first.error_code, first.base_offset), (0, 0, 10));
        assert_eq!((first.log_append_time_ms, first.log_start_offset), (1234, if v >= 5 { 5 } else { -1 }));
        let storage = if v <= 3 { ErrorCode::NotLeaderOrFollower } else { ErrorCode::KafkaStorageError };
        assert_eq!(found.responses[0].partition_responses[1].error_code, storage.code());
        assert_eq!(found.responses[1].partition_responses[0].error_code, ErrorCode::NotEnoughReplicas.code());
    }
}

#[test]
fn fetch_encodes_in_every_version() {
    let bytes = Bytes::from(vec![9u8; 700]);
    for v in versions(ApiKey::Fetch) {
        let named = if v >= 13 { TopicRef::Id(topic_id()) } else { by_name("orders") };
        let of = |number, records, aborted, diverging| FetchedPartition {
            topic: named.clone(),
            partition: partition(number),
            error: ErrorCode::None,
            high_watermark: Offset(30),
            last_stable_offset: Offset(20),
            log_start: Offset(10),
            diverging,
            aborted,
            preferred_read_replica: None,
            records,
        };
        let aborted = AbortedTransaction { producer_id: ProducerId(8), first_offset: Offset(15) };
        let partitions = vec![
            of(0, Records::Bytes(bytes.clone()), Some(vec![aborted]), None),
            of(1, Records::Empty, None, Some((LeaderEpoch(2), Offset(3)))),
        ];
        let response = Response::Fetch(FetchResponse { partitions });
        let found: kp::FetchResponse = answered(ApiKey::Fetch, v, Shape::Fetch(Plan::Sessionless), response);
        let topic = &found.responses[0];
        if v >= 13 {
            assert_eq!(topic.topic_id, Uuid::from_bytes(ID));
        } else {
            assert_eq!(topic.topic, kp_topic("orders"));
        }
        let first = &topic.partitions[0];
        assert_eq!((first.high_watermark, first.last_stable_offset), (30, 20));
        assert_eq!(first.log_start_offset, if v >= 5 { 10 } else { -1 });
        assert_eq!(first.records, Some(bytes.clone()));
        let transactions = first.aborted_transactions.as_ref().expect("asked for");
        assert_eq!((transactions[0].producer_id, transactions[0].first_offset), (kp::ProducerId(8), 15));
        let second = &topic.partitions[1];
        assert_eq!((second.records.as_deref(), &second.aborted_transactions), (Some(&b""[..]), &None));
        let epoch = (second.diverging_epoch.epoch, second.diverging_epoch.end_offset);
        assert_eq!(epoch, if v >= 12 { (2, 3) } else { (-1, -1) });
    }
}

#[test]
fn batches_are_spliced_into_a_fetch_as_they_are() {
    use kafka_protocol::records::*;
    let mut bytes = BytesMut::new();
    let record = |value: Bytes| Record {
        transactional: false,
        control: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1000,
        key: None,
        value: Some(value),
        headers: Default::default(),
        delete_horizon: false,
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let value = Bytes::from(vec![b'x'; 5000]);
    RecordBatchEncoder::encode(&mut bytes, [&record(value.clone())], &options).expect("a record encodes");
    let mut batch = Batch::parse(&mut bytes.freeze()).expect("a good batch");
    batch.stamp(Offset(41), LeaderEpoch(2));
    let of = FetchedPartition {
        topic: by_name("orders"),
        partition: partition(0),
        error: ErrorCode::None,
        high_watermark: Offset(43),
        last_stable_offset: Offset(43),
        log_start: Offset(0),
        diverging: None,
        aborted: None,
        preferred_read_replica: None,
        records: Records::Batches(vec![batch.clone(), batch]),
    };
    let response = Response::Fetch(FetchResponse { partitions: vec![of] });
    let found: kp::FetchResponse = answered(ApiKey::Fetch, 12, Shape::Fetch(Plan::Sessionless), response);
    let mut records = found.responses[0].partitions[0].records.clone().expect("records");
    for _ in 0..2 {
        let batch = RecordBatchDecoder::decode(&mut records).expect("the other codec reads it");
        assert_eq!((batch.records[0].offset, &batch.records[0].value), (41, &Some(value.clone())));
    }
}

#[test]
fn offsets_encode_in_every_version() {
    for v in versions(ApiKey::ListOffsets) {
        let of = |number, error| ListedOffset {
            topic: by_name("orders"),
            partition: partition(number),
            error,
            offset: Offset(42),
            timestamp: Timestamp(1000),
            leader_epoch: LeaderEpoch(7),
        };
        let shape = Shape::ListOffsets(vec![(1, of(1, ErrorCode::UnsupportedVersion))]);
        let partitions = vec![of(0, ErrorCode::None), of(2, ErrorCode::None)];
        let found: kp::ListOffsetsResponse =
            answered(ApiKey::ListOffsets, v, shape, Response::ListOffsets(ListOffsetsResponse { partitions }));
        let partitions = &found.topics[0].partitions;
        let errors: Vec<_> = partitions.iter().map(|of| (of.partition_index, of.error_code)).collect();
        assert_eq!(errors, [(0, 0), (1, 35), (2, 0)], "v{v}");
        assert_eq!((partitions[0].offset, partitions[0].timestamp), (42, 1000));
        assert_eq!(partitions[0].leader_epoch, if v >= 4 { 7 } else { -1 });
    }
    for v in versions(ApiKey::OffsetForLeaderEpoch) {
        let partitions = vec![EpochEnd {
            topic: by_name("orders"),
            partition: partition(3),
            error: ErrorCode::FencedLeaderEpoch,
            leader_epoch: LeaderEpoch(2),
            end_offset: Offset(99),
        }];
        let response = Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { partitions });
        let found: kp::OffsetForLeaderEpochResponse = answered(ApiKey::OffsetForLeaderEpoch, v, Shape::Plain, response);
        let of = &found.topics[0].partitions[0];
        assert_eq!((of.partition, of.error_code, of.leader_epoch, of.end_offset), (3, 74, 2, 99));
    }
    for v in versions(ApiKey::DeleteRecords) {
        let partitions = vec![DeletedRecords {
            topic: by_name("orders"),
            partition: partition(3),
            error: ErrorCode::None,
            low_watermark: Offset(12),
        }];
        let response = Response::DeleteRecords(DeleteRecordsResponse { partitions });
        let found: kp::DeleteRecordsResponse = answered(ApiKey::DeleteRecords, v, Shape::Plain, response);
        let of = &found.topics[0].partitions[0];
        assert_eq!((of.partition_index, of.error_code, of.low_watermark), (3, 0, 12));
    }
    for v in versions(ApiKey::InitProducerId) {
        let response = Response::InitProducerId(InitProducerIdResponse {
            error: ErrorCode::None,
            producer_id: ProducerId(4000),
            producer_epoch: ProducerEpoch(1),
        });
        let found: kp::InitProducerIdResponse = answered(ApiKey::InitProducerId, v, Shape::Plain, response);
        assert_eq!((found.error_code, found.producer_id, found.producer_epoch), (0, kp::ProducerId(4000), 1));
    }
}

fn topic_metadata() -> TopicMetadata {
    TopicMetadata {
        error: ErrorCode::None,
        name: Some(topic("orders")),
        id: topic_id(),
        is_internal: true,
        partitions: vec![
            PartitionMetadata {
                error: ErrorCode::None,
                partition: partition(0),
                leader: Some(NodeId(3)),
                leader_epoch: LeaderEpoch(4),
                replicas: nodes(&[3, 4, 5]),
                isr: nodes(&[3, 4]),
                elr: nodes(&[5]),
                offline: nodes(&[6]),
            },
            PartitionMetadata {
                error: ErrorCode::LeaderNotAvailable,
                partition: partition(1),
                leader: None,
                leader_epoch: LeaderEpoch(4),
                replicas: nodes(&[6]),
                isr: vec![],
                elr: vec![],
                offline: nodes(&[6]),
            },
        ],
    }
}

fn unknown_topic() -> TopicMetadata {
    TopicMetadata {
        error: ErrorCode::UnknownTopicId,
        name: None,
        id: TopicId([1; 16]),
        is_internal: false,
        partitions: vec![],
    }
}

fn broker() -> BrokerInfo {
    BrokerInfo { node: NodeId(3), rack: Some("r1".into()), fenced: false, endpoints: Endpoints::default() }
}

fn other_broker() -> BrokerInfo {
    let endpoints = Endpoints { native: "[::1]:9194".into(), kafka: "[::1]:9094".into() };
    BrokerInfo { node: NodeId(4), rack: None, fenced: false, endpoints }
}

#[test]
fn metadata_encodes_in_every_version() {
    for v in versions(ApiKey::Metadata) {
        let shape = Shape::Metadata { cluster_operations: true, topic_operations: true };
        let response = Response::Metadata(MetadataResponse {
            brokers: vec![broker(), other_broker(), BrokerInfo { node: NodeId(6), ..broker() }],
            cluster_id: "cluster".into(),
            controller: NodeId(3),
            topics: vec![topic_metadata(), unknown_topic()],
        });
        let found: kp::MetadataResponse = answered(ApiKey::Metadata, v, shape, response);
        let broker = &found.brokers[0];
        assert_eq!((broker.node_id, broker.host.as_str(), broker.port), (kp::BrokerId(3), "broker.example", 9092));
        let other = &found.brokers[1];
        assert_eq!((other.node_id, other.host.as_str(), other.port), (kp::BrokerId(4), "::1", 9094));
        assert_eq!(found.brokers.len(), 2, "who has said no address cannot be reached");
        assert_eq!(broker.rack.as_deref(), (v >= 1).then_some("r1"));
        assert_eq!(found.cluster_id.as_deref(), (v >= 2).then_some("cluster"));
        assert_eq!(found.controller_id.0, if v >= 1 { 3 } else { -1 });
        let operations = if (8..=10).contains(&v) { 8096 } else { i32::MIN };
        assert_eq!(found.cluster_authorized_operations, operations);
        let topic = &found.topics[0];
        assert_eq!(topic.name, Some(kp_topic("orders")));
        assert_eq!(topic.topic_id, if v >= 10 { Uuid::from_bytes(ID) } else { Uuid::nil() });
        assert_eq!(topic.is_internal, v >= 1);
        assert_eq!(topic.topic_authorized_operations, if v >= 8 { 3576 } else { i32::MIN });
        let [first, second] = &topic.partitions[..] else { panic!("two partitions") };
        assert_eq!((first.leader_id.0, &first.replica_nodes), (3, &kp_nodes(&[3, 4, 5])));
        assert_eq!(first.isr_nodes, kp_nodes(&[3, 4]));
        assert_eq!(first.leader_epoch, if v >= 7 { 4 } else { -1 });
        assert_eq!(first.offline_replicas, if v >= 5 { kp_nodes(&[6]) } else { vec![] });
        assert_eq!((second.leader_id.0, second.error_code), (-1, 5));
        assert_eq!(found.topics[1].error_code, 100);
        assert_eq!(found.topics[1].name, if v >= 12 { None } else { Some(kp_topic("")) });
    }
}

#[test]
fn descriptions_encode_in_every_version() {
    for v in versions(ApiKey::DescribeCluster) {
        let fenced = BrokerInfo { node: NodeId(3), rack: None, fenced: true, endpoints: Endpoints::default() };
        let response = || {
            Response::DescribeCluster(DescribeClusterResponse {
                cluster_id: "cluster".into(),
                controller: NodeId(3),
                brokers: vec![broker(), fenced.clone()],
            })
        };
        for all in [true, false] {
            let shape = Shape::DescribeCluster { cluster_operations: true, fenced: all };
            let found: kp::DescribeClusterResponse = if all && v < 2 {
                continue;
            } else {
                answered(ApiKey::DescribeCluster, v, shape, response())
            };
            assert_eq!((found.cluster_id.as_str(), found.controller_id.0, found.endpoint_type), ("cluster", 3, 1));
            assert_eq!(found.cluster_authorized_operations, 8096);
            assert_eq!(found.brokers.len(), if all { 2 } else { 1 });
            assert_eq!(found.brokers[0].port, 9092);
        }
    }
    for next in [None, Some((topic("orders"), partition(2)))] {
        let is_last = next.is_none();
        let response = Response::DescribeTopicPartitions(DescribeTopicPartitionsResponse {
            topics: vec![topic_metadata(), unknown_topic()],
            next,
        });
        let found: kp::DescribeTopicPartitionsResponse =
            answered(ApiKey::DescribeTopicPartitions, 0, Shape::Plain, response);
        let first = &found.topics[0].partitions[0];
        assert_eq!(first.eligible_leader_replicas, Some(kp_nodes(&[5])));
        assert_eq!(found.topics[0].topic_id, Uuid::from_bytes(ID));
        assert_eq!(found.next_cursor.map(|at| at.partition_index), (!is_last).then_some(2));
    }
    for v in versions(ApiKey::DescribeLogDirs) {
        let log =
            |name: &str, number| LogSize { topic: topic(name), partition: partition(number), bytes: 4096, lag: 0 };
        let response = Response::DescribeLogDirs(DescribeLogDirsResponse {
            error: ErrorCode::None,
            directory: DirectoryId(ID),
            logs: vec![log("a", 0), log("a", 1), log("b", 0)],
        });
        let found: kp::DescribeLogDirsResponse = answered(ApiKey::DescribeLogDirs, v, Shape::Plain, response);
        assert_eq!(found.results[0].log_dir.as_str(), "/var/lib/tidelog");
        let disk = (found.results[0].total_bytes, found.results[0].usable_bytes);
        assert_eq!(disk, if v >= 4 { (1000, 300) } else { (-1, -1) });
        let topics = &found.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len(), topics[0].partitions[1].partition_size), (2, 2, 4096));
    }
}

#[test]
fn topic_changes_encode_in_every_version() {
    for v in versions(ApiKey::CreateTopics) {
        let good = CreatedTopic {
            name: topic("orders"),
            error: ErrorCode::None,
            message: None,
            id: topic_id(),
            partitions: 3,
            replication_factor: 1,
            configs: vec![entry()],
        };
        let bad = CreatedTopic {
            error: ErrorCode::InvalidPartitions,
            message: Some("no".into()),
            configs: vec![],
            ..good.clone()
        };
        let response = Response::CreateTopics(CreateTopicsResponse { topics: vec![good, bad] });
        let found: kp::CreateTopicsResponse = answered(ApiKey::CreateTopics, v, Shape::Plain, response);
        let [good, bad] = &found.topics[..] else { panic!("two topics") };
        assert_eq!((good.error_code, bad.error_code, bad.error_message.as_deref()), (0, 37, Some("no")));
        assert_eq!(good.topic_id, if v >= 7 { Uuid::from_bytes(ID) } else { Uuid::nil() });
        if v >= 5 {
            assert_eq!((good.num_partitions, good.replication_factor, bad.num_partitions), (3, 1, -1));
            let config = &good.configs.as_ref().expect("settings")[0];
            assert_eq!((config.name.as_str(), config.config_source), ("retention.ms", 1));
        }
    }
    for v in versions(ApiKey::DeleteTopics) {
        let of = |topic, name| DeletedTopic {
            topic,
            name,
            id: topic_id(),
            error: ErrorCode::UnknownTopicOrPartition,
            message: Some("gone".into()),
        };
        let mut topics = vec![of(by_name("orders"), None)];
        if v >= 6 {
            topics.push(of(TopicRef::Id(topic_id()), Some(topic("named"))));
            topics.push(of(TopicRef::Id(topic_id()), None));
        }
        let shape = Shape::DeleteTopics(vec![]);
        let response = Response::DeleteTopics(DeleteTopicsResponse { topics });
        let found: kp::DeleteTopicsResponse = answered(ApiKey::DeleteTopics, v, shape, response);
        assert_eq!(found.responses[0].name, Some(kp_topic("orders")));
        assert_eq!(found.responses[0].error_code, 3);
        if v >= 6 {
            assert_eq!(found.responses[1].name, Some(kp_topic("named")));
            assert_eq!((&found.responses[2].name, found.responses[2].topic_id), (&None, Uuid::from_bytes(ID)));
        }
    }
    for v in versions(ApiKey::CreatePartitions) {
        let topics = vec![CreatedPartitions {
            name: topic("orders"),
            error: ErrorCode::InvalidPartitions,
            message: Some("fewer".into()),
        }];
        let response = Response::CreatePartitions(CreatePartitionsResponse { topics });
        let found: kp::CreatePartitionsResponse = answered(ApiKey::CreatePartitions, v, Shape::Plain, response);
        assert_eq!((found.results[0].error_code, found.results[0].error_message.as_deref()), (37, Some("fewer")));
    }
}

fn entry() -> ConfigEntry {
    ConfigEntry {
        name: "retention.ms".into(),
        value: Some("1000".into()),
        source: ConfigSource::DynamicTopic,
        read_only: false,
        kind: ConfigKind::Long,
        documentation: "How long records are kept.".into(),
    }
}

/// Config responses name resources as their request did, so they are tested with a request.
#[test]
fn configs_encode_in_every_version() {
    for v in versions(ApiKey::DescribeConfigs) {
        let request = made(|r: &mut kp::DescribeConfigsRequest| {
            (r.include_synonyms, r.include_documentation) = (true, v >= 3);
            for (kind, name) in [(16, "metrics"), (2, "orders"), (4, "3")] {
                r.resources.push(made(|of: &mut kp::describe_configs_request::DescribeConfigsResource| {
                    (of.resource_type, of.resource_name) = (kind, text(name));
                    of.configuration_keys = None;
                }));
            }
        });
        let Ok(Task::Ask(Request::DescribeConfigs(asked), shape)) =
            decoded(&framed(ApiKey::DescribeConfigs, v, &request))
        else {
            panic!("a describe")
        };
        let resources = asked.resources.into_iter().map(|(resource, _)| DescribedConfigs {
            resource,
            error: ErrorCode::None,
            message: None,
            entries: vec![entry()],
        });
        let response = Response::DescribeConfigs(DescribeConfigsResponse { resources: resources.collect() });
        let found: kp::DescribeConfigsResponse = answered(ApiKey::DescribeConfigs, v, shape, response);
        let named: Vec<_> = found.results.iter().map(|of| (of.resource_type, of.resource_name.as_str())).collect();
        assert_eq!(named, [(16, "metrics"), (2, "orders"), (4, "3")]);
        let errors: Vec<_> = found.results.iter().map(|of| of.error_code).collect();
        assert_eq!(errors, [42, 0, 0]);
        let config = &found.results[1].configs[0];
        assert_eq!(
            (config.name.as_str(), config.value.as_deref(), config.config_source),
            ("retention.ms", Some("1000"), 1)
        );
        assert_eq!(config.synonyms[0].source, 1);
        assert_eq!(config.config_type, if v >= 3 { 5 } else { 0 });
        assert_eq!(config.documentation.as_ref().is_some_and(|text| !text.is_empty()), v >= 3);
    }
    for v in versions(ApiKey::AlterConfigs) {
        let request = made(|r: &mut kp::AlterConfigsRequest| {
            r.resources.push(made(|of: &mut kp::alter_configs_request::AlterConfigsResource| {
                (of.resource_type, of.resource_name) = (2, text("orders"));
            }));
        });
        let found: kp::AlterConfigsResponse =
            altered(ApiKey::AlterConfigs, v, &framed(ApiKey::AlterConfigs, v, &request));
        let of = &found.responses[0];
        assert_eq!((of.error_code, of.error_message.as_deref(), of.resource_name.as_str()), (40, Some("no"), "orders"));
    }
    for v in versions(ApiKey::IncrementalAlterConfigs) {
        let request = made(|r: &mut kp::IncrementalAlterConfigsRequest| {
            r.resources.push(made(|of: &mut kp::incremental_alter_configs_request::AlterConfigsResource| {
                (of.resource_type, of.resource_name) = (2, text("orders"));
            }));
        });
        let key = ApiKey::IncrementalAlterConfigs;
        let found: kp::IncrementalAlterConfigsResponse = altered(key, v, &framed(key, v, &request));
        let of = &found.responses[0];
        assert_eq!((of.error_code, of.error_message.as_deref(), of.resource_type), (40, Some("no"), 2));
    }
}

fn altered<T: Encodable + Decodable + HeaderVersion>(key: ApiKey, v: i16, frame: &Bytes) -> T {
    let Ok(Task::Ask(Request::AlterConfigs(asked), shape)) = decoded(frame) else { panic!("an alter") };
    let resources = asked.resources.into_iter().map(|of| AlteredConfigs {
        resource: of.resource,
        error: ErrorCode::InvalidConfig,
        message: Some("no".into()),
    });
    answered(key, v, shape, Response::AlterConfigs(AlterConfigsResponse { resources: resources.collect() }))
}

#[test]
fn api_versions_encodes_in_every_version() {
    let answered = |v: i16, error| -> kp::ApiVersionsResponse {
        let mut w = Writer::new();
        w.i32(99);
        w.set_flexible(api(ApiKey::ApiVersions).is_flexible(v));
        codec::encode_api_versions(v, VersionsAnswer { error }, &mut w);
        read_back(ApiKey::ApiVersions, v, w)
    };
    for v in versions(ApiKey::ApiVersions) {
        let found = answered(v, ErrorCode::None);
        let rows: Vec<_> = found.api_keys.iter().map(|row| (row.api_key, row.min_version, row.max_version)).collect();
        let table: Vec<_> = APIS.iter().map(|api| (api.code, api.advertised_min(), api.max)).collect();
        assert_eq!((found.error_code, rows), (0, table));
    }
    let unknown = answered(0, ErrorCode::UnsupportedVersion);
    assert_eq!((unknown.error_code, unknown.api_keys.len(), unknown.api_keys[0].api_key), (35, 1, 18));
}

#[test]
fn operators_answers_encode_in_every_version() {
    for v in versions(ApiKey::ElectLeaders) {
        let of = |name: &str, number, error, message: Option<&str>| ElectedLeader {
            topic: topic(name),
            partition: partition(number),
            error,
            message: message.map(Into::into),
        };
        let partitions = vec![
            of("a", 0, ErrorCode::None, None),
            of("a", 1, ErrorCode::ElectionNotNeeded, Some("it leads")),
            of("b", 0, ErrorCode::None, None),
        ];
        let response = Response::ElectLeaders(ElectLeadersResponse { error: ErrorCode::NotController, partitions });
        let found: kp::ElectLeadersResponse = answered(ApiKey::ElectLeaders, v, Shape::Plain, response);
        assert_eq!(found.error_code, if v >= 1 { 41 } else { 0 });
        assert_eq!(found.replica_election_results.len(), 2);
        let second = &found.replica_election_results[0].partition_result[1];
        assert_eq!((second.partition_id, second.error_code), (1, ErrorCode::ElectionNotNeeded.code()));
        assert_eq!(second.error_message.as_deref(), Some("it leads"));
    }
    for v in versions(ApiKey::AlterPartitionReassignments) {
        let partitions = vec![Reassigned {
            topic: topic("a"),
            partition: partition(2),
            error: ErrorCode::InvalidReplicaAssignment,
            message: Some("no".into()),
        }];
        let response = Response::AlterPartitionReassignments(AlterPartitionReassignmentsResponse {
            error: ErrorCode::None,
            message: None,
            partitions,
        });
        let shape = Shape::AlterReassignments { allow_replication_factor_change: v < 1 };
        let found: kp::AlterPartitionReassignmentsResponse =
            answered(ApiKey::AlterPartitionReassignments, v, shape, response);
        assert_eq!(found.allow_replication_factor_change, v < 1);
        let of = &found.responses[0].partitions[0];
        assert_eq!((of.partition_index, of.error_code, of.error_message.as_deref()), (2, 39, Some("no")));
    }
    let response = Response::ListPartitionReassignments(ListPartitionReassignmentsResponse {
        error: ErrorCode::None,
        partitions: vec![OngoingReassignment {
            topic: topic("a"),
            partition: partition(2),
            replicas: nodes(&[1, 2, 3]),
            adding: nodes(&[3]),
            removing: nodes(&[1]),
        }],
    });
    let key = ApiKey::ListPartitionReassignments;
    let found: kp::ListPartitionReassignmentsResponse = answered(key, 0, Shape::Plain, response);
    let of = &found.topics[0].partitions[0];
    assert_eq!((&of.replicas, &of.adding_replicas), (&kp_nodes(&[1, 2, 3]), &kp_nodes(&[3])));
    assert_eq!(of.removing_replicas, kp_nodes(&[1]));
    for v in versions(ApiKey::DescribeQuorum) {
        let replica = |node, end| QuorumReplica {
            node: NodeId(node),
            directory: DirectoryId(ID),
            log_end: Offset(end),
            last_fetch: Timestamp(7),
            last_caught_up: Timestamp(6),
        };
        let response = Response::DescribeQuorum(DescribeQuorumResponse {
            error: ErrorCode::None,
            leader: Some(NodeId(2)),
            epoch: LeaderEpoch(5),
            high_watermark: Offset(100),
            voters: vec![replica(1, 99), replica(2, 101)],
            observers: vec![replica(4, 50)],
        });
        let found: kp::DescribeQuorumResponse = answered(ApiKey::DescribeQuorum, v, Shape::Plain, response);
        let quorum = &found.topics[0].partitions[0];
        assert_eq!(found.topics[0].topic_name, kp_topic("__cluster_metadata"));
        assert_eq!((quorum.leader_id.0, quorum.leader_epoch, quorum.high_watermark), (2, 5, 100));
        let voter = &quorum.current_voters[1];
        assert_eq!((voter.replica_id.0, voter.log_end_offset), (2, 101));
        assert_eq!(voter.last_fetch_timestamp, if v >= 1 { 7 } else { -1 });
        assert_eq!(voter.replica_directory_id, if v >= 2 { Uuid::from_bytes(ID) } else { Uuid::nil() });
        assert_eq!(quorum.observers[0].replica_id.0, 4);
    }
    let response =
        Response::UnregisterBroker(UnregisterBrokerResponse { error: ErrorCode::BrokerIdNotRegistered, message: None });
    let found: kp::UnregisterBrokerResponse = answered(ApiKey::UnregisterBroker, 0, Shape::Plain, response);
    assert_eq!(found.error_code, 102);
    let refused = || VotersChanged { error: ErrorCode::DuplicateVoter, message: Some("it is one".to_owned()) };
    let added = answered(ApiKey::AddRaftVoter, 0, Shape::Plain, Response::AddVoter(refused()));
    let added: kp::AddRaftVoterResponse = added;
    assert_eq!((added.error_code, added.error_message.as_deref()), (126, Some("it is one")));
    let removed: kp::RemoveRaftVoterResponse =
        answered(ApiKey::RemoveRaftVoter, 0, Shape::Plain, Response::RemoveVoter(refused()));
    assert_eq!(removed.error_code, 126);
}
