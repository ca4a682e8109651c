//! The client's codec against the server's, which is held against an independent one.

use tidelog_client::wire::Endpoint;
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{ProducerEpoch, ProducerId},
    message::*,
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::{Duration, Instant, Timestamp},
};

use super::{
    super::{
        api::Header,
        codec::{self, Place, Task},
        session::FetchSessions,
    },
    *,
};

const ID: TopicId = TopicId([7; 16]);

/// A client that knows the topic `orders`.
fn protocol() -> Arc<KafkaProtocol> {
    let protocol = Arc::new(KafkaProtocol::default());
    protocol.memory().names.insert(ID, TopicName::new("orders"));
    protocol
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(1), Some(b"k"), Some(&[7; 600]), []);
    builder.build(&BatchOptions::default())
}

/// What the server makes of a request: its correlation on the wire, and the task.
fn served_frame(frame: &EncodedFrame) -> (i32, ApiKey, Task) {
    let mut frame = frame.to_bytes();
    assert_eq!(frame.get_i32() as usize, frame.len());
    let mut r = Reader::new(&frame);
    let mut header = Header::read(&mut r).expect("a header");
    let api = Api::find(header.code).expect("it is served");
    assert!(api.serves(header.version));
    header.rest(api, &mut r).expect("a header");
    let task = codec::decode(api, header.version, &mut r).expect("a request");
    assert_eq!(r.remaining(), 0, "{:?} has bytes left", api.key);
    (header.correlation, api.key, task)
}

/// Sends a request, has `answer` answer it as a server, and gives what the server understood and the client got.
fn exchange(protocol: &Arc<KafkaProtocol>, request: &Request, answer: Response) -> (Option<Request>, Answered) {
    let frame = protocol.encode(Correlation(1 << 40), request).expect("it is spoken");
    let (correlation, key, task) = served_frame(&frame);
    let (asked, shape) = match task {
        Task::Ask(asked, shape) => (Some(asked), shape),
        Task::Fetch(fetch) => {
            assert!(fetch.by_id && fetch.session_epoch == codec::SESSIONLESS);
            (Some(Request::Fetch(fetch.request)), codec::Shape::Fetch(super::super::session::Plan::Sessionless))
        }
        _ => (None, codec::Shape::Plain),
    };
    let (api, version) = spoken(key);
    let mut w = Writer::new();
    w.i32(correlation);
    w.set_flexible(api.is_flexible(version));
    if api.has_flexible_response_header(version) {
        w.end();
    }
    let sessions = Mutex::new(FetchSessions::default());
    let place = Place {
        node: NodeId(3),
        host: "broker.example",
        port: 9092,
        log_dir: "/var/lib/tidelog",
        disk: |_| None,
        now: Instant::ZERO,
        sessions: &sessions,
    };
    codec::encode(version, shape, answer, &place, &mut w);
    let bytes = EncodedFrame::from_pieces(w.finish().into_pieces()).to_bytes();
    let mut incoming = protocol.clone().incoming();
    // In two halves, as a socket may give them.
    incoming.room().extend_from_slice(&bytes[..bytes.len() / 2]);
    assert!(incoming.next().expect("so far so good").is_none());
    incoming.room().extend_from_slice(&bytes[bytes.len() / 2..]);
    let answered = incoming.next().expect("sound").expect("whole");
    assert_eq!(answered.correlation, Correlation(1 << 40));
    assert!(protocol.memory().asked.is_empty(), "what is answered is forgotten");
    (asked, answered)
}

fn by_name() -> TopicRef {
    TopicRef::Name(TopicName::new("orders"))
}

fn produce(acks: Acks) -> Request {
    let of =
        |partition| ProducePartition { topic: TopicRef::Id(ID), partition: PartitionId(partition), batch: Ok(batch()) };
    Request::Produce(ProduceRequest { acks, timeout: Duration::from_secs(30), partitions: vec![of(4), of(1)] })
}

fn produced(topic: TopicRef, partition: i32, offset: i64) -> ProducedPartition {
    ProducedPartition {
        topic,
        partition: PartitionId(partition),
        error: ErrorCode::None,
        base_offset: Offset(offset),
        log_append_time: Timestamp::NONE,
        log_start: Offset(0),
    }
}

#[test]
fn produce_names_topics_and_puts_answers_in_the_order_asked() {
    let protocol = protocol();
    let answer = ProduceResponse { partitions: vec![produced(by_name(), 1, 10), produced(by_name(), 4, 40)] };
    let (asked, answered) = exchange(&protocol, &produce(Acks::All), Response::Produce(answer));
    let Some(Request::Produce(asked)) = asked else { panic!("{asked:?}") };
    assert_eq!((asked.acks, asked.timeout), (Acks::All, Duration::from_secs(30)));
    assert_eq!(asked.partitions[1].topic, by_name());
    assert_eq!(asked.partitions[1].batch, Ok(batch()));
    let expected = vec![produced(TopicRef::Id(ID), 4, 40), produced(TopicRef::Id(ID), 1, 10)];
    assert_eq!(answered.message, FromNode::Response(Response::Produce(ProduceResponse { partitions: expected })));
}

#[test]
fn a_partition_without_an_answer_gets_an_error() {
    let answer = ProduceResponse { partitions: vec![produced(by_name(), 4, 40)] };
    let (_, answered) = exchange(&protocol(), &produce(Acks::Leader), Response::Produce(answer));
    let FromNode::Response(Response::Produce(answer)) = answered.message else { panic!("{answered:?}") };
    assert_eq!(answer.partitions[0].base_offset, Offset(40));
    assert_eq!(answer.partitions[1].error, ErrorCode::UnknownServerError);
}

#[test]
fn produce_that_nobody_answers_is_not_waited_for() {
    let protocol = protocol();
    let frame = protocol.encode(Correlation(1), &produce(Acks::None)).expect("it is spoken");
    let (_, _, task) = served_frame(&frame);
    assert!(matches!(task, Task::Ask(Request::Produce(ProduceRequest { acks: Acks::None, .. }), _)));
    assert!(protocol.memory().asked.is_empty());
}

#[test]
fn fetch_gives_whole_batches() {
    let request = FetchRequest {
        max_wait: Duration::from_millis(500),
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        rack: Some(String::new()),
        replica: None,
        partitions: vec![FetchPartition {
            topic: TopicRef::Id(ID),
            partition: PartitionId(2),
            current_leader_epoch: LeaderEpoch(5),
            offset: Offset(17),
            last_fetched_epoch: LeaderEpoch(4),
            log_start: Offset::NONE,
            max_bytes: 1 << 19,
        }],
    };
    let whole = EncodedFrame::from_pieces([batch().header_bytes().to_vec().into(), batch().body().clone()]).to_bytes();
    let cut = [&whole[..], &whole[..100]].concat();
    let fetched = |records| FetchResponse {
        partitions: vec![FetchedPartition {
            topic: TopicRef::Id(ID),
            partition: PartitionId(2),
            error: ErrorCode::None,
            high_watermark: Offset(20),
            last_stable_offset: Offset(19),
            log_start: Offset(3),
            diverging: Some((LeaderEpoch(4), Offset(16))),
            aborted: None,
            preferred_read_replica: None,
            records: Records::Bytes(records),
        }],
    };
    let answer = Response::Fetch(fetched(cut.into()));
    let (asked, answered) = exchange(&protocol(), &Request::Fetch(request.clone()), answer);
    assert_eq!(asked, Some(Request::Fetch(request)));
    assert_eq!(answered.message, FromNode::Response(Response::Fetch(fetched(whole))));
}

#[test]
fn offsets_are_listed_under_the_topic_asked_for() {
    let request = ListOffsetsRequest {
        isolation: IsolationLevel::ReadCommitted,
        partitions: vec![ListOffsetsPartition {
            topic: TopicRef::Id(ID),
            partition: PartitionId(2),
            current_leader_epoch: LeaderEpoch(5),
            spec: OffsetSpec::MaxTimestamp,
        }],
    };
    let listed = |topic| ListedOffset {
        topic,
        partition: PartitionId(2),
        error: ErrorCode::None,
        offset: Offset(9),
        timestamp: Timestamp(8),
        leader_epoch: LeaderEpoch(7),
    };
    let answer = Response::ListOffsets(ListOffsetsResponse { partitions: vec![listed(by_name())] });
    let (asked, answered) = exchange(&protocol(), &Request::ListOffsets(request.clone()), answer);
    let Some(Request::ListOffsets(asked)) = asked else { panic!("{asked:?}") };
    assert_eq!((asked.isolation, asked.partitions[0].spec), (request.isolation, OffsetSpec::MaxTimestamp));
    let expected = ListOffsetsResponse { partitions: vec![listed(TopicRef::Id(ID))] };
    assert_eq!(answered.message, FromNode::Response(Response::ListOffsets(expected)));
}

#[test]
fn metadata_teaches_names_and_addresses() {
    let protocol = Arc::new(KafkaProtocol::default());
    let answer = MetadataResponse {
        brokers: vec![BrokerInfo {
            node: NodeId(3),
            rack: Some("r1".to_owned()),
            fenced: false,
            endpoints: Endpoints::default(),
        }],
        cluster_id: "4L6g3nShT-eMCtK--X86sw".to_owned(),
        controller: NodeId(3),
        topics: vec![TopicMetadata {
            error: ErrorCode::None,
            name: Some(TopicName::new("orders")),
            id: ID,
            is_internal: false,
            partitions: vec![PartitionMetadata {
                error: ErrorCode::None,
                partition: PartitionId(0),
                leader: Some(NodeId(3)),
                leader_epoch: LeaderEpoch(6),
                replicas: vec![NodeId(3), NodeId(4)],
                isr: vec![NodeId(3)],
                elr: Vec::new(),
                offline: vec![NodeId(4)],
            }],
        }],
    };
    let request = MetadataRequest { topics: Some(vec![by_name()]), allow_auto_topic_creation: true };
    let (asked, answered) =
        exchange(&protocol, &Request::Metadata(request.clone()), Response::Metadata(answer.clone()));
    assert_eq!(asked, Some(Request::Metadata(request)));
    assert_eq!(answered.message, FromNode::Response(Response::Metadata(answer)));
    let endpoint = Endpoint { host: "broker.example".to_owned(), port: 9092 };
    assert_eq!(answered.surroundings.endpoints, BTreeMap::from([(NodeId(3), endpoint)]));
    assert_eq!(protocol.memory().name(&TopicRef::Id(ID)), Ok(TopicName::new("orders")));
}

#[test]
fn topics_and_producer_ids_are_created() {
    let topic = NewTopic {
        name: TopicName::new("orders"),
        partitions: Some(3),
        replication_factor: None,
        assignments: Vec::new(),
        configs: vec![("retention.ms".to_owned(), Some("1000".to_owned()))],
    };
    let request = Request::CreateTopics(CreateTopicsRequest {
        topics: vec![topic],
        validate_only: true,
        timeout: Duration::from_secs(5),
    });
    let created = CreateTopicsResponse {
        topics: vec![CreatedTopic {
            name: TopicName::new("orders"),
            error: ErrorCode::TopicAlreadyExists,
            message: Some("it is there".to_owned()),
            id: TopicId::ZERO,
            partitions: -1,
            replication_factor: -1,
            configs: Vec::new(),
        }],
    };
    let (asked, answered) = exchange(&protocol(), &request, Response::CreateTopics(created.clone()));
    assert_eq!(asked, Some(request));
    assert_eq!(answered.message, FromNode::Response(Response::CreateTopics(created)));

    let request = Request::InitProducerId(InitProducerIdRequest {
        transactional_id: None,
        producer_id: ProducerId(5),
        producer_epoch: ProducerEpoch(2),
    });
    let response = Response::InitProducerId(InitProducerIdResponse {
        error: ErrorCode::None,
        producer_id: ProducerId(5),
        producer_epoch: ProducerEpoch(3),
    });
    let (asked, answered) = exchange(&protocol(), &request, response.clone());
    assert_eq!(asked, Some(request));
    assert_eq!(answered.message, FromNode::Response(response));
}

/// What a client makes of a broker that serves these.
fn greeted_by(served: &[(i16, i16, i16)]) -> FromNode {
    let protocol = protocol();
    let greeting = protocol.greeting("bench").expect("a greeting");
    let (correlation, key, task) = served_frame(&greeting);
    assert!(key == ApiKey::ApiVersions && matches!(task, Task::Versions(_)));
    let mut w = Writer::new();
    w.i32(correlation);
    w.i16(0);
    w.array(served.iter(), |w, &(code, min, max)| {
        w.i16(code);
        w.i16(min);
        w.i16(max);
    });
    let mut incoming = protocol.incoming();
    incoming.room().extend_from_slice(&EncodedFrame::from_pieces(w.finish().into_pieces()).to_bytes());
    incoming.next().expect("sound").expect("whole").message
}

#[test]
fn a_broker_that_is_too_old_is_named_as_such() {
    let ours: Vec<_> = APIS.iter().map(|api| (api.code, api.min, api.max)).collect();
    assert!(matches!(greeted_by(&ours), FromNode::Hello(HelloReply { node: NodeId(-1), .. })));
    let old: Vec<_> = ours.iter().map(|&(code, min, max)| (code, min, if code == 1 { 12 } else { max })).collect();
    let FromNode::Refused(refusal) = greeted_by(&old) else { panic!("it is too old") };
    assert_eq!(refusal.message, "the broker does not serve Fetch in version 13, as Kafka 3.1 and later do");
}

#[test]
fn nonsense_ends_the_connection() {
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\x7f\xff\xff\xff", b"\0\0\0\x04\0\0\0\x63", b"\0\0\0\x01\0"] {
        let mut incoming = protocol().incoming();
        incoming.room().extend_from_slice(nonsense);
        assert!(incoming.next().is_err(), "{nonsense:?}");
    }
    let request = Request::Metadata(MetadataRequest { topics: None, allow_auto_topic_creation: false });
    let protocol = protocol();
    drop(protocol.encode(Correlation(0), &request));
    let mut incoming = protocol.incoming();
    incoming.room().extend_from_slice(b"\0\0\0\x09\0\0\0\x01\0\0\0\0\0");
    assert!(incoming.next().is_err(), "it ends in the middle");
}

#[test]
fn what_is_not_spoken_is_refused() {
    let request = Request::DescribeCluster;
    assert_eq!(protocol().encode(Correlation(0), &request).err(), Some(ErrorCode::UnsupportedVersion));
    let unknown = KafkaProtocol::default();
    assert_eq!(unknown.encode(Correlation(0), &produce(Acks::All)).err(), Some(ErrorCode::UnknownTopicId));
}
