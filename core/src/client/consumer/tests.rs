use super::*;
use crate::{
    client::metadata::tests::{answer, name, topic},
    epoch::LeaderEpoch,
    message::{FetchResponse, ListOffsetsResponse, Records},
    record::{BatchBuilder, BatchOptions},
    time::Timestamp,
};
use alloc::vec;

const T: &str = "orders";
const P0: PartitionId = PartitionId(0);

struct World {
    consumer: Consumer,
    now: Instant,
    calls: VecDeque<crate::client::Call>,
    events: Vec<ConsumerEvent>,
}

impl World {
    /// Reads `partitions` of the topic, all led by node 1, from `start`.
    fn reading(config: ConsumerConfig, partitions: i32, start: StartAt) -> Self {
        let consumer = Consumer::new(config, 1);
        let mut world = Self { consumer, now: Instant::ZERO, calls: VecDeque::new(), events: Vec::new() };
        for partition in 0..partitions {
            world.consumer.assign(world.now, &name(T), PartitionId(partition), start);
        }
        world.poll();
        if partitions > 0 {
            world.serve_metadata(&vec![(1, 0); partitions as usize]);
        }
        world
    }

    fn one(start: StartAt) -> Self {
        Self::reading(ConsumerConfig::default(), 1, start)
    }

    fn poll(&mut self) {
        while let Some(order) = self.consumer.poll_order() {
            match order {
                Order::Call(call) => self.calls.push_back(call),
                Order::Abandon(_) => {}
                Order::Event(event) => self.events.push(event),
            }
        }
    }

    fn take(&mut self, which: impl Fn(&Request) -> bool) -> crate::client::Call {
        let at = self.calls.iter().position(|c| which(&c.request)).expect("such a call was ordered");
        self.calls.remove(at).expect("found there")
    }

    fn reply(&mut self, call: &crate::client::Call, reply: Reply) {
        self.consumer.on_reply(self.now, call.id, reply);
        self.poll();
    }

    fn serve_metadata(&mut self, leaders: &[(i32, i32)]) {
        let call = self.take(|r| matches!(r, Request::Metadata(_)));
        self.reply(&call, Reply::Answered(Response::Metadata(answer(vec![topic(T, 1, leaders)]))));
    }

    fn fetch(&mut self) -> (crate::client::Call, FetchRequest) {
        let call = self.take(|r| matches!(r, Request::Fetch(_)));
        let Request::Fetch(request) = call.request.clone() else { panic!("asked for a fetch") };
        (call, request)
    }

    fn fetches(&self) -> usize {
        self.calls.iter().filter(|c| matches!(c.request, Request::Fetch(_))).count()
    }

    /// Serves each partition of the next fetch what `serve` makes of it.
    fn serve(&mut self, serve: impl Fn(&FetchPartition, &mut FetchedPartition)) {
        let (call, request) = self.fetch();
        let partitions = request.partitions.iter().map(|asked| {
            let mut fetched = FetchedPartition {
                topic: asked.topic.clone(),
                partition: asked.partition,
                error: ErrorCode::None,
                high_watermark: Offset(100),
                last_stable_offset: Offset(100),
                log_start: Offset::ZERO,
                diverging: None,
                aborted: None,
                preferred_read_replica: None,
                records: Records::Empty,
            };
            serve(asked, &mut fetched);
            fetched
        });
        let response = FetchResponse { partitions: partitions.collect() };
        self.reply(&call, Reply::Answered(Response::Fetch(response)));
    }

    fn serve_located(&mut self, offset: i64) -> OffsetSpec {
        let call = self.take(|r| matches!(r, Request::ListOffsets(_)));
        let Request::ListOffsets(request) = &call.request else { panic!("asked for offsets") };
        let partitions = request.partitions.iter().map(|p| ListedOffset {
            topic: p.topic.clone(),
            partition: p.partition,
            error: ErrorCode::None,
            offset: Offset(offset),
            timestamp: Timestamp::NONE,
            leader_epoch: LeaderEpoch::NONE,
        });
        let response = ListOffsetsResponse { partitions: partitions.collect() };
        self.reply(&call, Reply::Answered(Response::ListOffsets(response)));
        request.partitions[0].spec
    }

    fn next(&mut self) -> Option<(i32, Vec<i64>)> {
        let batch = self.consumer.next_batch(self.now)?;
        self.poll();
        let offsets = batch.records().expect("plain").map(|r| r.expect("whole").offset.0);
        Some((batch.partition.0, offsets.collect()))
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now.after(span);
        while let Some(at) = self.consumer.next_deadline().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.consumer.on_time(self.now);
            self.poll();
        }
        self.now = until;
    }

    fn position(&self) -> Option<i64> {
        self.consumer.position(&name(T), P0).map(|o| o.0)
    }
}

/// A batch of two records at `base`.
fn two(base: i64) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(1), None, Some(b"a"), []);
    builder.append(1, Timestamp(1), None, Some(b"b"), []);
    builder.build(&BatchOptions { base_offset: Offset(base), leader_epoch: LeaderEpoch(0), ..BatchOptions::default() })
}

fn records(batches: &[Batch]) -> Records {
    Records::Bytes(batches.iter().flat_map(|b| b.to_bytes()).collect::<std::vec::Vec<u8>>().into())
}

#[test]
fn reading_begins_where_asked_and_goes_on_batch_by_batch() {
    let mut world = World::one(StartAt::Earliest);
    assert_eq!(world.serve_located(4), OffsetSpec::Earliest);
    world.serve(|asked, fetched| {
        assert_eq!(asked.offset, Offset(4));
        fetched.records = records(&[two(4), two(6)]);
    });
    assert_eq!(world.events.last(), Some(&ConsumerEvent::Wake));
    assert_eq!(world.next(), Some((0, vec![4, 5])));
    assert_eq!(world.position(), Some(6));
    assert_eq!(world.next(), Some((0, vec![6, 7])));
    assert_eq!(world.next(), None);
    assert_eq!(world.position(), Some(8));
}

#[test]
fn a_seek_into_the_middle_of_a_batch_skips_what_is_before_it() {
    let mut world = World::one(StartAt::Offset(Offset(5)));
    world.serve(|_, fetched| fetched.records = records(&[two(4)]));
    assert_eq!(world.next(), Some((0, vec![5])));
}

#[test]
fn a_time_after_every_record_means_the_end() {
    let mut world = World::one(StartAt::Time(Timestamp(99)));
    assert_eq!(world.serve_located(-1), OffsetSpec::At(Timestamp(99)));
    assert_eq!(world.serve_located(10), OffsetSpec::Latest);
    assert_eq!(world.position(), Some(10));
}

#[test]
fn fetches_run_one_response_ahead_and_no_further() {
    let mut world = World::one(StartAt::Offset(Offset(0)));
    world.serve(|_, fetched| fetched.records = records(&[two(0), two(2)]));
    world.serve(|_, fetched| fetched.records = records(&[two(4)]));
    assert_eq!(world.fetches(), 0, "one to consume and one ahead");
    world.next();
    assert_eq!(world.fetches(), 0, "the first is not used up");
    world.next();
    assert_eq!(world.fetch().1.partitions[0].offset, Offset(6));
}

#[test]
fn a_partition_with_records_does_not_wait_for_an_empty_one() {
    let mut world = World::reading(ConsumerConfig::default(), 2, StartAt::Offset(Offset(0)));
    for base in [0, 2] {
        world.serve(|asked, fetched| {
            if asked.partition == P0 {
                fetched.records = records(&[two(base)]);
            }
        });
    }
    let waiting = world.fetch().1;
    assert_eq!(waiting.partitions.len(), 1, "only the empty one: it may wait at the node");
    world.next();
    let (_, request) = world.fetch();
    assert_eq!((request.partitions.len(), request.partitions[0].partition), (1, P0));
}

#[test]
fn memory_is_bounded_over_all_partitions() {
    let config = ConsumerConfig { buffer_bytes: 1000, partition_bytes_max: 600, ..ConsumerConfig::default() };
    let mut world = World::reading(config, 1, StartAt::Offset(Offset(0)));
    let (call, request) = world.fetch();
    assert_eq!(request.max_bytes, 600);
    world.calls.push_front(call);
    world.serve(|_, fetched| fetched.records = records(&[two(0), two(2), two(4), two(6), two(8), two(10)]));
    assert!(world.consumer.buffered_bytes() > 400);
    let room = 1000 - world.consumer.buffered_bytes();
    assert_eq!(world.fetch().1.max_bytes, room.min(600));
}

#[test]
fn an_offset_that_is_gone_is_reset_as_configured_or_fails() {
    let mut world = World::one(StartAt::Offset(Offset(1)));
    world.serve(|_, fetched| fetched.error = ErrorCode::OffsetOutOfRange);
    assert_eq!(world.serve_located(50), OffsetSpec::Latest);
    assert_eq!(world.position(), Some(50));

    let config = ConsumerConfig { reset: None, ..ConsumerConfig::default() };
    let mut world = World::reading(config, 1, StartAt::Offset(Offset(1)));
    world.serve(|_, fetched| fetched.error = ErrorCode::OffsetOutOfRange);
    assert!(matches!(
        world.events.last(),
        Some(ConsumerEvent::Failed { error: ConsumerError::OutOfRange(Offset(1)), .. })
    ));
    assert_eq!(world.fetches(), 0);
    assert!(world.consumer.seek(world.now, &name(T), P0, StartAt::Offset(Offset(7))));
    world.poll();
    assert_eq!(world.fetch().1.partitions[0].offset, Offset(7));
}

#[test]
fn a_reply_to_what_was_asked_before_a_seek_is_dropped() {
    let mut world = World::one(StartAt::Offset(Offset(0)));
    world.consumer.seek(world.now, &name(T), P0, StartAt::Offset(Offset(50)));
    world.poll();
    world.serve(|_, fetched| fetched.records = records(&[two(0)]));
    assert_eq!(world.next(), None);
    assert_eq!(world.position(), Some(50));
    world.serve(|_, fetched| fetched.records = records(&[two(50)]));
    assert_eq!(world.next(), Some((0, vec![50, 51])));
}

#[test]
fn a_leader_that_moved_is_followed_with_its_new_epoch() {
    let mut world = World::one(StartAt::Offset(Offset(0)));
    world.serve(|_, fetched| fetched.error = ErrorCode::FencedLeaderEpoch);
    world.serve_metadata(&[(2, 5)]);
    world.pass(Duration::from_millis(130));
    let (call, request) = world.fetch();
    assert_eq!(call.to, Target::Node(NodeId(2)));
    assert_eq!(request.partitions[0].current_leader_epoch, LeaderEpoch(5));
}

#[test]
fn a_log_that_was_cut_is_noticed_and_read_on_from_the_cut() {
    let mut world = World::one(StartAt::Offset(Offset(0)));
    world.serve(|_, fetched| fetched.records = records(&[two(0), two(2)]));
    world.next();
    world.serve(|asked, fetched| {
        assert_eq!(asked.last_fetched_epoch, LeaderEpoch(0));
        fetched.diverging = Some((LeaderEpoch(0), Offset(2)));
    });
    assert!(matches!(world.events.last(), Some(ConsumerEvent::Truncated { end: Offset(2), .. })));
    assert_eq!(world.next(), None, "what never was is not handed out");
    assert_eq!(world.fetch().1.partitions[0].offset, Offset(2));
}

#[test]
fn what_is_broken_is_fetched_again_and_then_told_of() {
    let mut world = World::one(StartAt::Offset(Offset(0)));
    let mut broken = two(0).to_bytes().to_vec();
    *broken.last_mut().expect("not empty") ^= 1;
    for _ in 0..3 {
        let broken = broken.clone();
        world.serve(move |_, fetched| fetched.records = Records::Bytes(broken.clone().into()));
        world.pass(Duration::from_secs(1));
    }
    let failed = |e: &ConsumerEvent| matches!(e, ConsumerEvent::Failed { error: ConsumerError::Corrupt { .. }, .. });
    assert_eq!(world.events.iter().filter(|e| failed(e)).count(), 1);
    assert_eq!(world.fetches(), 0);
}

#[test]
fn a_paused_partition_keeps_what_it_has_and_asks_for_nothing() {
    let mut world = World::one(StartAt::Offset(Offset(0)));
    world.serve(|_, fetched| fetched.records = records(&[two(0)]));
    world.consumer.pause(&name(T), P0);
    assert_eq!(world.next(), None);
    world.serve(|_, fetched| fetched.records = records(&[two(2)]));
    assert_eq!((world.next(), world.fetches()), (None, 0));
    world.consumer.resume(world.now, &name(T), P0);
    world.poll();
    assert_eq!(world.next(), Some((0, vec![0, 1])));
    assert_eq!(world.next(), Some((0, vec![2, 3])));
}

#[test]
fn a_topic_that_is_not_there_is_told_of_once_and_read_when_it_comes() {
    let mut world = World::reading(ConsumerConfig::default(), 0, StartAt::Earliest);
    world.consumer.assign(world.now, &name("later"), P0, StartAt::Offset(Offset(0)));
    world.poll();
    for _ in 0..3 {
        let call = world.take(|r| matches!(r, Request::Metadata(_)));
        let mut missing = topic("later", 0, &[]);
        missing.error = ErrorCode::UnknownTopicOrPartition;
        world.reply(&call, Reply::Answered(Response::Metadata(answer(vec![missing]))));
        world.pass(Duration::from_secs(1));
    }
    let failed = |e: &ConsumerEvent| matches!(e, ConsumerEvent::Failed { error, .. } if error.is_retriable());
    assert_eq!(world.events.iter().filter(|e| failed(e)).count(), 1);
    let call = world.take(|r| matches!(r, Request::Metadata(_)));
    world.reply(&call, Reply::Answered(Response::Metadata(answer(vec![topic("later", 3, &[(1, 0)])]))));
    assert_eq!(world.fetches(), 1);
}

/// Reads in a rack, sent on by leader 1 to follower 2.
fn near() -> World {
    let config = ConsumerConfig { rack: Some("east".into()), ..ConsumerConfig::default() };
    let mut world = World::reading(config, 1, StartAt::Offset(Offset(0)));
    let (call, request) = world.fetch();
    assert_eq!((call.to, request.rack.as_deref()), (Target::Node(NodeId(1)), Some("east")));
    world.calls.push_front(call);
    world.serve(|_, fetched| fetched.preferred_read_replica = Some(NodeId(2)));
    world
}

#[test]
fn a_reader_goes_where_the_leader_sends_it_and_asks_again_after_a_while() {
    let mut world = near();
    for base in [0, 2] {
        let (call, request) = world.fetch();
        assert_eq!((call.to, request.rack.as_deref()), (Target::Node(NodeId(2)), Some("east")));
        world.calls.push_front(call);
        world.serve(|_, fetched| fetched.records = records(&[two(base)]));
        assert_eq!(world.next(), Some((0, vec![base, base + 1])));
    }
    let (call, _) = world.fetch();
    world.now = world.now.after(Duration::from_secs(300));
    world.reply(&call, Reply::Lost);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.fetch().0.to, Target::Node(NodeId(1)));
}

#[test]
fn what_a_follower_does_not_have_is_read_from_the_leader_and_never_lost() {
    for error in [ErrorCode::OffsetOutOfRange, ErrorCode::OffsetNotAvailable] {
        let mut world = near();
        world.serve(|_, fetched| fetched.error = error);
        assert_eq!(world.position(), Some(0), "no reset");
        let (call, request) = world.fetch();
        assert_eq!((call.to, request.rack), (Target::Node(NodeId(1)), None), "the leader is to serve it itself");
        world.calls.push_front(call);
        world.pass(Duration::from_secs(1));
        world.serve(|_, fetched| fetched.records = records(&[two(0)]));
        assert_eq!(world.next(), Some((0, vec![0, 1])));
        assert_eq!(world.fetch().1.rack.as_deref(), Some("east"), "later it asks by rack again");
    }
}

#[test]
fn a_follower_sends_nobody_on_and_a_new_leader_is_asked_first() {
    let mut world = near();
    world.serve(|_, fetched| fetched.preferred_read_replica = Some(NodeId(3)));
    assert_eq!(world.fetch().0.to, Target::Node(NodeId(1)));

    let mut world = near();
    let (late, _) = world.fetch();
    world.consumer.metadata.request_refresh(world.now, &mut Prng::new(1));
    world.pass(Duration::from_millis(1));
    world.serve_metadata(&[(3, 1)]);
    assert_eq!(world.fetch().0.to, Target::Node(NodeId(3)));
    world.reply(&late, Reply::Lost);
    assert_eq!(world.position(), Some(0));
}
