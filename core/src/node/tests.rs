//! A node on a disk in memory, driven by hand: the smallest driver there can be.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::{String, ToString},
    vec::Vec,
};

use super::*;
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, ProducerEpoch, ProducerId, TopicId, TopicName},
    log::{
        Identity, Job, LogDir, Step,
        test_disk::{Fault, TestDisk},
    },
    message::*,
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::Duration,
};

struct Rig {
    disk: TestDisk,
    dir: Option<LogDir<TestDisk>>,
    node: Node,
    now: Now,
    answers: BTreeMap<RequestId, Response>,
    next_request: u64,
    ready: bool,
    stopped: bool,
    /// How often it said that its directory takes no more.
    failures: usize,
}

impl Rig {
    fn new() -> Self {
        let disk = TestDisk::new();
        let identity = Identity { node: NodeId(1), cluster_id: "c".to_string(), directory: DirectoryId([3; 16]) };
        LogDir::format(&disk, &identity).expect("an empty disk can be formatted");
        Self::boot(disk, NodeConfig::default())
    }

    fn boot(disk: TestDisk, config: NodeConfig) -> Self {
        let (dir, recovered) = LogDir::open(disk.clone()).expect("a formatted directory opens");
        let node = Node::new(config, recovered, 7);
        let now = Now { mono: Instant::ZERO, wall: Timestamp(1_000_000) };
        let mut rig = Self {
            disk,
            dir: Some(dir),
            node,
            now,
            answers: BTreeMap::new(),
            next_request: 0,
            ready: false,
            stopped: false,
            failures: 0,
        };
        rig.handle(Input::Started);
        assert!(rig.ready, "a node on a good disk gets ready");
        rig
    }

    fn handle(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.node.handle(self.now, input);
            while let Some(effect) = self.node.poll_effect() {
                match effect {
                    Effect::Respond { id, response } => {
                        assert!(self.answers.insert(id, response).is_none(), "a request is answered once");
                    }
                    Effect::Run { log, job, order } => {
                        let outcome = self.execute(log, order);
                        inputs.push_back(Input::JobEnded { log, job, outcome });
                    }
                    Effect::Ready => self.ready = true,
                    Effect::Stopped => self.stopped = true,
                    Effect::LogFailed { .. } => {}
                    Effect::DirectoryFailed { .. } => self.failures += 1,
                    Effect::Call { .. } | Effect::PeerMoved { .. } | Effect::LeaderLacks { .. } => {
                        unreachable!("a node alone calls nobody")
                    }
                    Effect::Halt { reason } => panic!("{reason}"),
                }
            }
        }
    }

    fn execute(&mut self, log: LogId, order: Job) -> Result<JobOutcome, LogError> {
        let dir = self.dir.as_mut().expect("the directory is open");
        let mut step = dir.execute(log, order);
        loop {
            match step {
                Step::Done(outcome) => return outcome,
                Step::Again => step = dir.resume(log),
                Step::Sync(outcome) => {
                    let ticket = dir.begin_sync(log);
                    let result = ticket.run(&self.disk);
                    return dir.synced(log, ticket, result).map(|_| outcome);
                }
            }
        }
    }

    fn ask(&mut self, request: Request) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.handle(Input::Requested { id, request });
        id
    }

    fn call(&mut self, request: Request) -> Response {
        let id = self.ask(request);
        self.answers.remove(&id).expect("it is answered at once")
    }

    fn pass(&mut self, span: Duration) {
        self.now.mono = self.now.mono.after(span);
        self.now.wall = self.now.wall.plus_millis(span.as_millis() as i64);
        self.handle(Input::TimePassed);
    }

    fn create(&mut self, name: &str, configs: &[(&str, &str)]) -> ErrorCode {
        let topic = NewTopic {
            name: TopicName::new(name),
            partitions: Some(1),
            replication_factor: None,
            assignments: Vec::new(),
            configs: configs.iter().map(|(n, v)| (n.to_string(), Some(v.to_string()))).collect(),
        };
        let request = CreateTopicsRequest { topics: alloc::vec![topic], validate_only: false, timeout: Duration::ZERO };
        match self.call(Request::CreateTopics(request)) {
            Response::CreateTopics(r) => r.topics[0].error,
            other => panic!("{other:?}"),
        }
    }

    fn produce(&mut self, name: &str, batch: Batch) -> (ErrorCode, Offset) {
        match self.call(produce(name, batch)) {
            Response::Produce(r) => (r.partitions[0].error, r.partitions[0].base_offset),
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, name: &str, offset: i64) -> FetchedPartition {
        match self.call(fetch(name, offset, Duration::ZERO)) {
            Response::Fetch(mut r) => r.partitions.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn values(&mut self, name: &str) -> Vec<String> {
        let fetched = self.read(name, 0);
        let batches = match fetched.records {
            Records::Empty => Vec::new(),
            Records::Batches(batches) => batches,
            Records::Log(order) => {
                let bytes = self.dir.as_mut().expect("open").read(&order).expect("the log can be read");
                crate::record::Batches(bytes).collect::<Result<_, _>>().expect("whole batches")
            }
            Records::Bytes(_) => unreachable!("the core hands out no bytes"),
        };
        let records = batches.iter().flat_map(|b| b.records().expect("records"));
        records.map(|r| String::from_utf8(r.expect("record").value.expect("value").to_vec()).expect("text")).collect()
    }
}

fn topic(name: &str) -> TopicRef {
    TopicRef::Name(TopicName::new(name))
}

fn batch(values: &[&str], producer: Option<(i64, i16, i32)>) -> Batch {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(builder.next_delta(), Timestamp(1_000_000), Some(b"k"), Some(value.as_bytes()), []);
    }
    let producer = producer.map(|(id, epoch, sequence)| (ProducerId(id), ProducerEpoch(epoch), sequence));
    builder.build(&BatchOptions { producer, ..BatchOptions::default() })
}

fn produce(name: &str, batch: Batch) -> Request {
    let partition = ProducePartition { topic: topic(name), partition: PartitionId(0), batch: Ok(batch) };
    let timeout = Duration::from_secs(30);
    Request::Produce(ProduceRequest { acks: Acks::All, timeout, partitions: alloc::vec![partition] })
}

fn fetch(name: &str, offset: i64, max_wait: Duration) -> Request {
    let partition = FetchPartition {
        topic: topic(name),
        partition: PartitionId(0),
        current_leader_epoch: LeaderEpoch::NONE,
        offset: Offset(offset),
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start: Offset::NONE,
        max_bytes: 1 << 20,
    };
    Request::Fetch(FetchRequest {
        max_wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        rack: None,
        replica: None,
        partitions: alloc::vec![partition],
    })
}

#[test]
fn a_node_without_partitions_says_that_its_directory_has_failed() {
    let mut rig = Rig::new();
    rig.disk.fail_at(0, Fault::Io);
    assert_eq!(rig.create("t", &[]), ErrorCode::KafkaStorageError);
    assert_eq!(rig.failures, 1);
    assert_eq!(rig.create("t", &[]), ErrorCode::KafkaStorageError);
    assert_eq!(rig.failures, 1, "once is enough");
}

#[test]
fn records_come_back_in_order_also_after_a_crash() {
    let mut rig = Rig::new();
    assert_eq!(rig.create("t", &[]), ErrorCode::None);
    assert_eq!(rig.produce("t", batch(&["a", "b"], None)), (ErrorCode::None, Offset(0)));
    assert_eq!(rig.produce("t", batch(&["c"], None)), (ErrorCode::None, Offset(2)));
    assert_eq!(rig.values("t"), ["a", "b", "c"]);

    rig.disk.lose_power(&mut Prng::new(1));
    let mut rig = Rig::boot(rig.disk.clone(), NodeConfig::default());
    assert_eq!(rig.values("t"), ["a", "b", "c"]);
    assert_eq!(rig.create("t", &[]), ErrorCode::TopicAlreadyExists);
    assert_eq!(rig.produce("t", batch(&["d"], None)), (ErrorCode::None, Offset(3)));
    let epochs: Vec<_> = rig.node.partitions().map(|p| p.epoch_at(Offset(3))).collect();
    assert_eq!(epochs, [LeaderEpoch(1)], "an unclean stop bumps the leader epoch");
}

#[test]
fn a_clean_stop_keeps_the_epoch_and_closes_everything() {
    let mut rig = Rig::new();
    rig.create("t", &[]);
    rig.produce("t", batch(&["a"], None));
    rig.handle(Input::StopRequested);
    assert!(rig.stopped);
    rig.dir.take().expect("open").close().expect("everything is closed");
    let mut rig = Rig::boot(rig.disk.clone(), NodeConfig::default());
    assert_eq!(rig.values("t"), ["a"]);
    assert_eq!(rig.node.partitions().next().map(|p| p.epoch_at(Offset(0))), Some(LeaderEpoch(0)));
}

#[test]
fn duplicates_are_acknowledged_where_they_stand_and_gaps_refused() {
    let mut rig = Rig::new();
    rig.create("t", &[]);
    assert_eq!(rig.produce("t", batch(&["a", "b"], Some((5, 0, 0)))), (ErrorCode::None, Offset(0)));
    assert_eq!(rig.produce("t", batch(&["c"], Some((5, 0, 2)))), (ErrorCode::None, Offset(2)));
    assert_eq!(rig.produce("t", batch(&["a", "b"], Some((5, 0, 0)))), (ErrorCode::None, Offset(0)));
    assert_eq!(rig.produce("t", batch(&["x"], Some((5, 0, 9)))).0, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(rig.produce("t", batch(&["d"], Some((5, 1, 0)))), (ErrorCode::None, Offset(3)));
    assert_eq!(rig.produce("t", batch(&["x"], Some((5, 0, 3)))).0, ErrorCode::InvalidProducerEpoch);
    assert_eq!(rig.values("t"), ["a", "b", "c", "d"]);
}

#[test]
fn what_a_new_producer_sent_second_does_not_slip_in_before_the_first() {
    let mut rig = Rig::new();
    rig.create("t", &[]);
    // The first met a leader that was not ready, the second one that is.
    let second = || batch(&["b"], Some((5, 0, 1)));
    assert_eq!(rig.produce("t", second()).0, ErrorCode::UnknownProducerId);
    assert_eq!(rig.produce("t", batch(&["a"], Some((5, 0, 0)))), (ErrorCode::None, Offset(0)));
    assert_eq!(rig.produce("t", second()), (ErrorCode::None, Offset(1)));
    assert_eq!(rig.values("t"), ["a", "b"]);
}

#[test]
fn a_parked_reader_is_woken_by_data_and_by_its_deadline() {
    let mut rig = Rig::new();
    rig.create("t", &[]);
    let waiting = rig.ask(fetch("t", 0, Duration::from_millis(500)));
    assert!(!rig.answers.contains_key(&waiting));
    rig.produce("t", batch(&["a"], None));
    assert!(matches!(&rig.answers[&waiting], Response::Fetch(r) if r.partitions[0].records != Records::Empty));
    let waiting = rig.ask(fetch("t", 1, Duration::from_millis(500)));
    rig.pass(Duration::from_millis(499));
    assert!(!rig.answers.contains_key(&waiting));
    rig.pass(Duration::from_millis(1));
    assert!(matches!(&rig.answers[&waiting], Response::Fetch(r) if r.partitions[0].records == Records::Empty));
}

#[test]
fn a_deleted_topic_answers_its_readers_and_its_name_starts_over() {
    let mut rig = Rig::new();
    rig.create("t", &[]);
    rig.produce("t", batch(&["a"], None));
    let waiting = rig.ask(fetch("t", 1, Duration::from_millis(500)));
    let delete = DeleteTopicsRequest { topics: alloc::vec![topic("t")], timeout: Duration::ZERO };
    rig.call(Request::DeleteTopics(delete));
    let error = |response: &Response| match response {
        Response::Fetch(r) => r.partitions[0].error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error(&rig.answers[&waiting]), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(rig.read("t", 0).error, ErrorCode::UnknownTopicOrPartition);
    rig.create("t", &[]);
    assert_eq!(rig.values("t"), Vec::<String>::new());
    assert_eq!(rig.produce("t", batch(&["b"], None)), (ErrorCode::None, Offset(0)));
}

#[test]
fn producer_ids_are_given_out_once_over_restarts() {
    let mut rig = Rig::new();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        for _ in 0..700 {
            let request = InitProducerIdRequest {
                transactional_id: None,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
            };
            let Response::InitProducerId(r) = rig.call(Request::InitProducerId(request)) else { panic!() };
            assert!(r.error.is_none() && seen.insert(r.producer_id));
        }
        rig = Rig::boot(rig.disk.clone(), NodeConfig::default());
    }
}

#[test]
fn metadata_creates_topics_where_both_sides_allow_it() {
    let mut rig = Rig::new();
    let ask = |topics, allow_auto_topic_creation| {
        Request::Metadata(MetadataRequest { topics: Some(topics), allow_auto_topic_creation })
    };
    let Response::Metadata(r) = rig.call(ask(alloc::vec![topic("t")], false)) else { panic!() };
    assert_eq!(r.topics[0].error, ErrorCode::UnknownTopicOrPartition);
    let Response::Metadata(r) = rig.call(ask(alloc::vec![topic("t"), topic("b/d")], true)) else { panic!() };
    assert_eq!((r.topics[0].error, r.topics[0].partitions.len()), (ErrorCode::None, 1));
    assert_eq!(r.topics[0].partitions[0].leader, Some(NodeId(1)));
    assert_eq!(r.topics[1].error, ErrorCode::InvalidTopic);
    let unknown = TopicRef::Id(TopicId([1; 16]));
    let Response::Metadata(r) = rig.call(ask(alloc::vec![unknown], true)) else { panic!() };
    assert_eq!(r.topics[0].error, ErrorCode::UnknownTopicId);
}

#[test]
fn records_are_deleted_up_to_the_high_watermark() {
    let mut rig = Rig::new();
    rig.create("t", &[]);
    rig.produce("t", batch(&["a", "b", "c"], None));
    let mut delete = |offset: i64| {
        let partition = DeleteRecordsPartition { topic: topic("t"), partition: PartitionId(0), offset: Offset(offset) };
        let request = DeleteRecordsRequest { timeout: Duration::ZERO, partitions: alloc::vec![partition] };
        let Response::DeleteRecords(r) = rig.call(Request::DeleteRecords(request)) else { panic!() };
        (r.partitions[0].error, r.partitions[0].low_watermark)
    };
    assert_eq!(delete(4), (ErrorCode::OffsetOutOfRange, Offset::NONE));
    assert_eq!(delete(2), (ErrorCode::None, Offset(2)));
    assert_eq!(delete(-1), (ErrorCode::None, Offset(3)));
    assert_eq!(rig.read("t", 1).error, ErrorCode::OffsetOutOfRange);
    assert_eq!(rig.read("t", 3).error, ErrorCode::None);
}

#[test]
fn bad_batches_are_refused_with_kafkas_codes() {
    let mut rig = Rig::new();
    rig.create("t", &[("max.message.bytes", "100"), ("message.timestamp.after.max.ms", "10")]);
    rig.create("compacted", &[("cleanup.policy", "compact")]);
    assert_eq!(rig.produce("t", batch(&["x".repeat(100).as_str()], None)).0, ErrorCode::MessageTooLarge);
    let record = |timestamp, key: Option<&[u8]>| {
        let mut builder = BatchBuilder::new();
        builder.append(0, Timestamp(timestamp), key, Some(b"v"), []);
        builder.build(&BatchOptions::default())
    };
    assert_eq!(rig.produce("t", record(1_000_011, None)).0, ErrorCode::InvalidTimestamp);
    assert_eq!(rig.produce("t", record(1_000_010, None)).0, ErrorCode::None);
    assert_eq!(rig.produce("compacted", record(1, None)).0, ErrorCode::InvalidRecord);
    assert_eq!(rig.produce("compacted", record(1, Some(b"k"))).0, ErrorCode::None);
    assert_eq!(rig.produce("nowhere", record(1, None)).0, ErrorCode::UnknownTopicOrPartition);
}
