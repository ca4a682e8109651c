use super::*;
use crate::{
    client::{
        call::{Call, Target},
        metadata::tests::{answer, name, topic},
    },
    ids::{ProducerEpoch, ProducerId, TopicId},
    message::{InitProducerIdResponse, ProduceResponse, ProducedPartition, Request, Response, TopicRef},
    record::{Batch, Compression},
    time::Timestamp,
};
use alloc::vec;
use std::string::{String, ToString};

const T: &str = "orders";

/// A producer, its clock, and what it has ordered.
struct World {
    producer: Producer,
    now: Instant,
    topic: TopicHandle,
    calls: VecDeque<Call>,
    events: Vec<ProducerEvent>,
    abandoned: usize,
}

impl World {
    fn new(config: ProducerConfig) -> Self {
        let mut producer = Producer::new(config, 1);
        let topic = producer.topic(Instant::ZERO, &name(T));
        let mut world =
            Self { producer, now: Instant::ZERO, topic, calls: VecDeque::new(), events: Vec::new(), abandoned: 0 };
        world.poll();
        world
    }

    /// One partition led by node 1, producer id 7.
    fn ready(config: ProducerConfig) -> Self {
        let mut world = Self::new(config);
        world.serve_metadata(&[(1, 0)]);
        world
    }

    fn poll(&mut self) {
        while let Some(order) = self.producer.poll_order() {
            match order {
                Order::Call(call) => self.calls.push_back(call),
                Order::Abandon(_) => self.abandoned += 1,
                Order::Event(event) => self.events.push(event),
            }
        }
    }

    fn reply(&mut self, call: &Call, reply: Reply) {
        self.producer.on_reply(self.now, call.id, reply);
        self.poll();
    }

    fn serve_metadata(&mut self, leaders: &[(i32, i32)]) {
        let call = self.take(|r| matches!(r, Request::Metadata(_)));
        self.reply(&call, Reply::Answered(Response::Metadata(answer(vec![topic(T, 1, leaders)]))));
    }

    fn serve_identity(&mut self, id: i64) {
        let call = self.take(|r| matches!(r, Request::InitProducerId(_)));
        let response = InitProducerIdResponse {
            error: ErrorCode::None,
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(0),
        };
        self.reply(&call, Reply::Answered(Response::InitProducerId(response)));
    }

    fn take(&mut self, which: impl Fn(&Request) -> bool) -> Call {
        let at = self.calls.iter().position(|c| which(&c.request)).expect("such a call was ordered");
        self.calls.remove(at).expect("found there")
    }

    /// The next produce call and its one batch.
    fn produce(&mut self) -> (Call, Batch) {
        let call = self.take(|r| matches!(r, Request::Produce(_)));
        let Request::Produce(request) = &call.request else { panic!("asked for a produce") };
        assert_eq!(request.partitions.len(), 1);
        let batch = request.partitions[0].batch.clone().expect("producers send whole batches");
        (call, batch)
    }

    fn answer(&mut self, call: &Call, error: ErrorCode, base_offset: i64) {
        let Request::Produce(request) = &call.request else { panic!("a produce call") };
        let partitions = request.partitions.iter().map(|p| ProducedPartition {
            topic: p.topic.clone(),
            partition: p.partition,
            error,
            base_offset: Offset(base_offset),
            log_append_time: Timestamp::NONE,
            log_start: Offset::ZERO,
        });
        let response = ProduceResponse { partitions: partitions.collect() };
        self.reply(call, Reply::Answered(Response::Produce(response)));
    }

    fn append(&mut self, value: &[u8]) -> Result<Appended, AppendError> {
        let record =
            NewRecord { key: None, value: Some(value), headers: &[], timestamp: Timestamp(5), partition: None };
        let appended = self.producer.append(self.now, self.topic, &record);
        self.poll();
        appended
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now.after(span);
        while let Some(at) = self.producer.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.producer.on_time(self.now);
            self.poll();
        }
        self.now = until;
        self.producer.on_time(self.now);
        self.poll();
    }

    fn produce_calls(&self) -> usize {
        self.calls.iter().filter(|c| matches!(c.request, Request::Produce(_))).count()
    }

    fn deliveries(&mut self) -> Vec<(u64, Result<Offset, ProduceError>)> {
        let events = core::mem::take(&mut self.events);
        let delivered = events.into_iter().filter_map(|e| match e {
            ProducerEvent::Delivered(d) => Some((d.batch, d.outcome)),
            ProducerEvent::Wake => None,
        });
        delivered.collect()
    }

    /// Sends `n` batches of one record; the first is acknowledged at offset 0.
    fn in_flight(&mut self, n: usize) -> Vec<(Call, Batch)> {
        self.append(b"first").expect("there is room");
        self.producer.flush(self.now);
        self.poll();
        self.serve_identity(7);
        let (call, _) = self.produce();
        self.answer(&call, ErrorCode::None, 0);
        self.deliveries();
        let sent = (0..n).map(|_| {
            self.append(b"next").expect("there is room");
            self.producer.flush(self.now);
            self.poll();
            self.produce()
        });
        sent.collect()
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn numbers(batch: &Batch) -> (i64, i16, i32) {
    let h = batch.header();
    (h.producer_id.0, h.producer_epoch.0, h.base_sequence)
}

#[test]
fn appending_waits_for_the_topic_and_then_lingers_into_one_batch() {
    let mut world = World::new(ProducerConfig::default());
    assert_eq!(world.append(b"a"), Err(AppendError::TopicPending));
    world.serve_metadata(&[(1, 0)]);
    assert_eq!(world.events, [ProducerEvent::Wake]);
    assert_eq!(world.append(b"a"), Ok(Appended { batch: 0, index: 0, leaves: false }));
    assert_eq!(world.append(b"b"), Ok(Appended { batch: 0, index: 1, leaves: false }));
    world.pass(ms(4));
    assert!(world.calls.is_empty(), "still lingering");
    world.pass(ms(1));
    world.serve_identity(7);
    let (call, batch) = world.produce();
    assert_eq!(call.to, Target::Node(NodeId(1)));
    assert_eq!(numbers(&batch), (7, 0, 0));
    let values: Vec<_> = batch.records().expect("plain").map(|r| r.expect("whole").value.expect("a value")).collect();
    assert_eq!(values, [&b"a"[..], b"b"]);
    world.events.clear();
    world.answer(&call, ErrorCode::None, 42);
    assert_eq!(world.deliveries(), [(0, Ok(Offset(42)))]);
    assert!(world.producer.is_idle());
}

#[test]
fn a_full_batch_leaves_at_once_and_counts_its_sequence_on() {
    let config = ProducerConfig { batch_bytes: 200, ..ProducerConfig::default() };
    let mut world = World::ready(config);
    for _ in 0..3 {
        world.append(&[1; 100]).expect("there is room");
    }
    world.serve_identity(7);
    let (call, batch) = world.produce();
    assert_eq!(batch.header().records_count, 1);
    assert_eq!(world.produce_calls(), 0, "the node does not know the producer yet");
    world.answer(&call, ErrorCode::None, 0);
    let (_, batch) = world.produce();
    assert_eq!(numbers(&batch), (7, 0, 1));
}

#[test]
fn memory_is_bounded_and_its_return_wakes() {
    let config = ProducerConfig { buffer_bytes: 1000, ..ProducerConfig::default() };
    let mut world = World::ready(config);
    world.append(&[1; 700]).expect("there is room");
    assert_eq!(world.append(&[1; 700]), Err(AppendError::Full));
    assert_eq!(world.append(&[1; 1 << 20]).map_err(|e| e.to_string().contains("exceeds")), Err(true));
    world.serve_identity(7);
    let (call, _) = world.produce();
    world.answer(&call, ErrorCode::None, 0);
    assert_eq!(world.events.last(), Some(&ProducerEvent::Wake));
    world.append(&[1; 700]).expect("there is room again");
}

#[test]
fn a_lost_batch_is_sent_again_with_its_numbers_and_a_duplicate_counts_as_delivered() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(1);
    let (call, batch) = &sent[0];
    world.reply(call, Reply::Lost);
    assert_eq!(world.produce_calls(), 0, "it rests first");
    world.pass(ms(130));
    let (again, same) = world.produce();
    assert_eq!(&same, batch);
    world.answer(&again, ErrorCode::DuplicateSequenceNumber, -1);
    assert_eq!(world.deliveries(), [(1, Ok(Offset::NONE))]);
}

#[test]
fn order_is_kept_when_the_first_of_several_fails() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(3);
    world.answer(&sent[0].0, ErrorCode::NotLeaderOrFollower, -1);
    world.answer(&sent[1].0, ErrorCode::OutOfOrderSequenceNumber, -1);
    world.answer(&sent[2].0, ErrorCode::OutOfOrderSequenceNumber, -1);
    assert_eq!(world.produce_calls(), 0);
    world.pass(ms(130));
    for n in 1..=3 {
        assert_eq!(world.produce_calls(), 1, "one after another");
        let (call, batch) = world.produce();
        assert_eq!(numbers(&batch), (7, 0, n));
        world.answer(&call, ErrorCode::None, i64::from(n));
    }
    assert_eq!(world.deliveries(), [(1, Ok(Offset(1))), (2, Ok(Offset(2))), (3, Ok(Offset(3)))]);
}

#[test]
fn a_leader_that_moved_is_looked_up_and_followed() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(1);
    world.answer(&sent[0].0, ErrorCode::NotLeaderOrFollower, -1);
    world.serve_metadata(&[(2, 1)]);
    world.pass(ms(130));
    assert_eq!(world.produce().0.to, Target::Node(NodeId(2)));
}

#[test]
fn a_refused_batch_leaves_no_gap_behind() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(3);
    world.answer(&sent[0].0, ErrorCode::MessageTooLarge, -1);
    world.answer(&sent[1].0, ErrorCode::OutOfOrderSequenceNumber, -1);
    world.answer(&sent[2].0, ErrorCode::OutOfOrderSequenceNumber, -1);
    let error = world.deliveries().remove(0).1.expect_err("refused");
    assert_eq!(error.kind, ProduceErrorKind::Rejected(ErrorCode::MessageTooLarge));
    assert!(!error.may_have_applied() && !error.is_retriable());
    world.pass(ms(130));
    let (call, batch) = world.produce();
    assert_eq!(numbers(&batch), (7, 1, 0), "the next epoch begins at 0");
    world.answer(&call, ErrorCode::None, 1);
    assert_eq!(numbers(&world.produce().1), (7, 1, 1));
}

#[test]
fn what_may_be_in_the_log_is_not_sent_in_a_new_epoch() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(2);
    world.reply(&sent[0].0, Reply::Lost);
    world.reply(&sent[1].0, Reply::NotSent);
    world.pass(ms(130));
    let (call, _) = world.produce();
    // The node has forgotten: neither the batch nor what came before it is there.
    world.answer(&call, ErrorCode::OutOfOrderSequenceNumber, -1);
    let (batch, outcome) = world.deliveries().remove(0);
    assert_eq!(batch, 1);
    let error = outcome.expect_err("nobody knows");
    assert_eq!((error.kind, error.may_have_applied), (ProduceErrorKind::Unresolved, true));
    world.pass(ms(500));
    assert_eq!(numbers(&world.produce().1), (7, 1, 0), "the other was never sent and goes on");
}

#[test]
fn what_a_deposed_leader_has_appended_is_not_sent_in_a_new_epoch() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(1);
    world.answer(&sent[0].0, ErrorCode::NotLeaderOrFollower, -1);
    world.pass(ms(130));
    let (call, _) = world.produce();
    world.answer(&call, ErrorCode::OutOfOrderSequenceNumber, -1);
    let error = world.deliveries().remove(0).1.expect_err("nobody knows");
    assert_eq!((error.kind, error.may_have_applied), (ProduceErrorKind::Unresolved, true));
}

#[test]
fn a_request_that_times_out_is_given_up_and_delivery_ends_in_time() {
    let mut world = World::ready(ProducerConfig::default());
    world.in_flight(1);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.abandoned, 1);
    world.pass(Duration::from_secs(89));
    assert!(world.deliveries().is_empty());
    world.pass(Duration::from_secs(2));
    let error = world.deliveries().remove(0).1.expect_err("too late");
    assert!(matches!(error.kind, ProduceErrorKind::DeliveryTimeout(_)));
    assert!(error.may_have_applied() && error.is_retriable());
    assert!(world.producer.is_idle());
}

#[test]
fn what_never_left_did_not_apply() {
    let mut world = World::ready(ProducerConfig::default());
    world.append(b"a").expect("there is room");
    world.pass(Duration::from_secs(121));
    let error = world.deliveries().remove(0).1.expect_err("no producer id came");
    assert!(!error.may_have_applied());
}

#[test]
fn a_topic_that_never_comes_fails_after_its_timeout() {
    let mut world = World::new(ProducerConfig::default());
    assert_eq!(world.append(b"a"), Err(AppendError::TopicPending));
    let call = world.take(|r| matches!(r, Request::Metadata(_)));
    world.reply(&call, Reply::NotSent);
    world.pass(Duration::from_secs(60));
    assert!(world.events.contains(&ProducerEvent::Wake), "whoever waits is told");
    assert_eq!(world.append(b"a"), Err(AppendError::Topic(ErrorCode::RequestTimedOut)));
    world.pass(Duration::from_secs(2));
    world.append(b"a").expect_err("said once more");
    assert_eq!(world.append(b"a"), Err(AppendError::TopicPending));
}

#[test]
fn a_recreated_topic_begins_a_new_sequence() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(1);
    world.answer(&sent[0].0, ErrorCode::UnknownTopicId, -1);
    let call = world.take(|r| matches!(r, Request::Metadata(_)));
    world.reply(&call, Reply::Answered(Response::Metadata(answer(vec![topic(T, 2, &[(1, 0)])]))));
    world.pass(ms(130));
    let (call, batch) = world.produce();
    assert_eq!(numbers(&batch), (7, 1, 0));
    let Request::Produce(request) = &call.request else { panic!("a produce") };
    assert_eq!(request.partitions[0].topic, TopicRef::Id(TopicId([2; 16])));
}

#[test]
fn a_fenced_producer_takes_a_new_id() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(1);
    world.answer(&sent[0].0, ErrorCode::InvalidProducerEpoch, -1);
    world.serve_identity(8);
    world.pass(ms(130));
    assert_eq!(numbers(&world.produce().1), (8, 0, 0));
}

#[test]
fn without_acks_a_batch_is_delivered_when_it_has_left() {
    let mut world =
        World::ready(ProducerConfig { acks: Acks::None, linger: Duration::ZERO, ..ProducerConfig::default() });
    world.append(b"a").expect("there is room");
    let (call, batch) = world.produce();
    assert_eq!(numbers(&batch), (-1, -1, -1));
    world.reply(&call, Reply::Sent);
    assert_eq!(world.deliveries(), [(0, Ok(Offset::NONE))]);
}

#[test]
fn while_the_node_is_busy_batches_grow_instead_of_queueing() {
    let mut world = World::ready(ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() });
    world.append(b"first").expect("there is room");
    world.serve_identity(7);
    for _ in 0..10 {
        world.append(b"more").expect("there is room");
    }
    let (call, _) = world.produce();
    world.answer(&call, ErrorCode::None, 0);
    assert_eq!(world.produce().1.header().records_count, 10);
}

#[test]
fn records_with_keys_go_where_kafka_puts_them() {
    let mut world = World::new(ProducerConfig::default());
    world.serve_metadata(&[(1, 0), (1, 0), (1, 0), (1, 0)]);
    for key in ["21", "foobar", "a-little-bit-long-string"] {
        let record = NewRecord {
            key: Some(key.as_bytes()),
            value: None,
            headers: &[],
            timestamp: Timestamp(1),
            partition: None,
        };
        world.producer.append(world.now, world.topic, &record).expect("there is room");
    }
    world.producer.flush(world.now);
    world.poll();
    world.serve_identity(7);
    let call = world.take(|r| matches!(r, Request::Produce(_)));
    let Request::Produce(request) = &call.request else { panic!("a produce") };
    let mut keys: Vec<(i32, String)> = Vec::new();
    for part in &request.partitions {
        for record in part.batch.as_ref().expect("whole").records().expect("plain") {
            let key = record.expect("whole").key.expect("a key");
            keys.push((part.partition.0, String::from_utf8_lossy(&key).into_owned()));
        }
    }
    keys.sort();
    let expected = |key: &str| (partition_for_key(key.as_bytes(), 4).0, String::from(key));
    let mut want = vec![expected("21"), expected("foobar"), expected("a-little-bit-long-string")];
    want.sort();
    assert_eq!(keys, want);
}

#[test]
fn an_aborted_producer_reports_every_batch_once() {
    let mut world = World::ready(ProducerConfig::default());
    let sent = world.in_flight(1);
    world.append(b"open").expect("there is room");
    world.producer.abort();
    world.poll();
    let outcomes = world.deliveries();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[0].1.map_err(|e| e.may_have_applied), Err(true));
    assert_eq!(outcomes[1].1.map_err(|e| e.may_have_applied), Err(false));
    world.answer(&sent[0].0, ErrorCode::None, 1);
    assert!(world.deliveries().is_empty());
    assert_eq!(world.append(b"late"), Err(AppendError::Closed));
}

/// Which records of which batch it is about, (batch, first, records, has more), and their offset.
type Part = ((u64, u32, u32, bool), Option<i64>);

/// What became of parts.
fn parts(world: &mut World) -> Vec<Part> {
    let events = core::mem::take(&mut world.events);
    let parts = events.into_iter().filter_map(|event| match event {
        ProducerEvent::Delivered(d) => Some(((d.batch, d.first, d.records, d.has_more), d.outcome.ok().map(|o| o.0))),
        ProducerEvent::Wake => None,
    });
    parts.collect()
}

#[test]
fn a_batch_that_is_too_large_goes_in_halves_under_the_same_numbers() {
    for compression in [Compression::None, Compression::Zstd] {
        let mut world = World::ready(ProducerConfig { compression, ..ProducerConfig::default() });
        for value in 0..5u8 {
            world.append(&[value; 50]).expect("there is room");
        }
        world.producer.flush(world.now);
        world.poll();
        world.serve_identity(7);
        let (call, whole) = world.produce();
        assert_eq!((whole.header().records_count, numbers(&whole)), (5, (7, 0, 0)));
        world.answer(&call, ErrorCode::MessageTooLarge, -1);
        let (call, front) = world.produce();
        assert_eq!((front.header().records_count, numbers(&front)), (3, (7, 0, 0)));
        assert_eq!(front.header().compression(), Some(compression));
        assert_eq!(world.produce_calls(), 0, "one after the other");
        world.answer(&call, ErrorCode::MessageTooLarge, -1);
        let (call, front) = world.produce();
        assert_eq!((front.header().records_count, numbers(&front)), (2, (7, 0, 0)));
        world.answer(&call, ErrorCode::None, 10);
        assert_eq!(parts(&mut world), [((0, 0, 2, true), Some(10))]);
        let (call, middle) = world.produce();
        assert_eq!((middle.header().records_count, numbers(&middle)), (1, (7, 0, 2)));
        world.answer(&call, ErrorCode::None, 20);
        let (call, back) = world.produce();
        assert_eq!((back.header().records_count, numbers(&back)), (2, (7, 0, 3)));
        let values = back.open().expect("sound");
        let values: Vec<u8> = values.iter().map(|r| r.expect("whole").value.expect("a value")[0]).collect();
        assert_eq!(values, [3, 4]);
        world.answer(&call, ErrorCode::None, 30);
        assert_eq!(parts(&mut world), [((0, 2, 1, true), Some(20)), ((0, 3, 2, false), Some(30))]);
        assert!(world.producer.is_idle(), "nothing is left in its memory");
    }
}

#[test]
fn a_record_that_is_too_large_alone_fails_alone() {
    let mut world = World::ready(ProducerConfig::default());
    for _ in 0..2 {
        world.append(b"value").expect("there is room");
    }
    world.producer.flush(world.now);
    world.poll();
    world.serve_identity(7);
    let (call, _) = world.produce();
    world.answer(&call, ErrorCode::MessageTooLarge, -1);
    let (call, _) = world.produce();
    world.answer(&call, ErrorCode::MessageTooLarge, -1);
    assert_eq!(parts(&mut world), [((0, 0, 1, true), None)]);
    let (call, rest) = world.produce();
    assert_eq!(numbers(&rest), (7, 1, 0), "its numbers are missing, so the other begins an epoch");
    world.answer(&call, ErrorCode::None, 4);
    assert_eq!(parts(&mut world), [((0, 1, 1, false), Some(4))]);
    assert!(world.producer.is_idle());
}

#[test]
fn what_may_be_in_the_log_whole_is_not_sent_in_parts() {
    let mut world = World::ready(ProducerConfig::default());
    for _ in 0..2 {
        world.append(b"value").expect("there is room");
    }
    world.producer.flush(world.now);
    world.poll();
    world.serve_identity(7);
    let (call, _) = world.produce();
    world.reply(&call, Reply::Lost);
    world.serve_metadata(&[(1, 0)]);
    world.pass(ms(200));
    let (call, _) = world.produce();
    world.answer(&call, ErrorCode::MessageTooLarge, -1);
    let delivered = world.deliveries();
    let error = delivered[0].1.expect_err("it failed");
    assert_eq!((error.kind, error.may_have_applied), (ProduceErrorKind::Rejected(ErrorCode::MessageTooLarge), true));
}
