//! Three nodes, three replicas, on virtual time: what is acknowledged stays.

use alloc::{collections::BTreeMap, format, string::String, string::ToString, vec::Vec};

use crate::node::rig::{Rig, new_topic};
use crate::{
    ids::{NodeId, PartitionId, RequestId, TopicName},
    message::{
        Acks, DeleteRecordsPartition, DeleteRecordsRequest, ErrorCode, LogRead, MetadataRequest, ProducePartition,
        ProduceRequest, Records, Request, Response, TopicRef,
    },
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions, Batches},
    replica::Partition,
    time::{Duration, Timestamp},
};

const N1: NodeId = NodeId(1);

/// A cluster of three with a topic of so many partitions, each on all nodes.
fn cluster(seed: u64, partitions: i32, min_in_sync: &str) -> Rig {
    let mut rig = Rig::cluster(3, seed);
    assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.is_ready(node))), "all get ready");
    let mut topic = new_topic("t", partitions, 3);
    topic.configs.push(("min.insync.replicas".to_string(), Some(min_in_sync.to_string())));
    // A controller may still be finding out who is in service.
    let mut created = ErrorCode::NotController;
    for _ in 0..20 {
        created = rig.create_topic(N1, topic.clone());
        if matches!(created, ErrorCode::None | ErrorCode::TopicAlreadyExists) {
            break;
        }
        rig.run_for(Duration::from_millis(500));
    }
    assert!(matches!(created, ErrorCode::None | ErrorCode::TopicAlreadyExists), "{created}");
    assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.node(node).partitions().count() > 0)));
    rig
}

/// A batch with a record for each word.
fn batch(value: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    for word in value.split(' ') {
        builder.append(builder.next_delta(), Timestamp(1_000_000), None, Some(word.as_bytes()), []);
    }
    builder.build(&BatchOptions::default())
}

fn produce(rig: &mut Rig, node: NodeId, partition: i32, value: &str) -> RequestId {
    let topic = TopicRef::Name(TopicName::new("t"));
    let partition = ProducePartition { topic, partition: PartitionId(partition), batch: Ok(batch(value)) };
    let timeout = Duration::from_secs(5);
    rig.ask(node, Request::Produce(ProduceRequest { acks: Acks::All, timeout, partitions: alloc::vec![partition] }))
}

fn outcome(response: Response) -> (ErrorCode, Offset) {
    let Response::Produce(r) = response else { panic!("{response:?}") };
    (r.partitions[0].error, r.partitions[0].base_offset)
}

fn replica(rig: &Rig, node: NodeId, partition: i32) -> Option<&Partition> {
    rig.node(node).partitions().find(|p| p.id.partition == PartitionId(partition))
}

/// The node that leads a partition, as it knows itself; the newest epoch where several believe so.
fn leader(rig: &Rig, partition: i32) -> Option<NodeId> {
    let led = rig.running().filter_map(|(node, _)| Some((replica(rig, node, partition)?, node)));
    led.filter(|(p, _)| p.is_leader()).max_by_key(|(p, _)| p.leader_epoch()).map(|(_, node)| node)
}

fn in_sync(rig: &Rig, partition: i32) -> usize {
    leader(rig, partition).and_then(|node| replica(rig, node, partition)?.isr()).map_or(0, <[NodeId]>::len)
}

/// Produces until it is acknowledged, to whoever leads; where it stands.
fn produced(rig: &mut Rig, partition: i32, value: &str) -> Offset {
    for _ in 0..100 {
        if let Some(node) = leader(rig, partition).filter(|node| rig.is_ready(*node)) {
            let id = produce(rig, node, partition, value);
            let mut answer = None;
            let end = rig.now().after(Duration::from_secs(6));
            while answer.is_none() && rig.step(end) {
                answer = rig.answer(id);
            }
            if let Some((ErrorCode::None, offset)) = answer.map(outcome) {
                return offset;
            }
        }
        rig.run_for(Duration::from_millis(300));
    }
    panic!("nobody takes {value}");
}

/// The values of one replica, with their offsets and leader epochs.
fn values(rig: &mut Rig, node: NodeId, partition: i32) -> Vec<(i64, i32, String)> {
    let p = replica(rig, node, partition).expect("it has a replica");
    let (log, from, bound) = (p.log, p.log_start(), p.log_end());
    let read = LogRead { log, from, bound, max_bytes: 1 << 30, at_least_one: true };
    let bytes = rig.bytes(node, Records::Log(read));
    let batches: Vec<Batch> = Batches(bytes).collect::<Result<_, _>>().expect("whole batches");
    let of = |batch: &Batch| {
        let value = batch.records().expect("records").next().expect("one").expect("whole").value.expect("a value");
        let text = String::from_utf8(value.to_vec()).expect("text");
        (batch.header().base_offset.0, batch.header().leader_epoch.0, text)
    };
    batches.iter().map(of).collect()
}

/// All run, all are in sync, and nothing is on its way.
fn settle(rig: &mut Rig, partitions: i32) {
    rig.heal();
    for node in rig.nodes() {
        if !rig.is_running(node) {
            rig.start(node);
        }
    }
    // What a cut link has swallowed is only missed when its time is up.
    let same_end = |rig: &Rig, p| {
        let end = leader(rig, p).and_then(|node| replica(rig, node, p)).map(Partition::log_end);
        rig.nodes().into_iter().all(|node| replica(rig, node, p).map(Partition::durable_end) == end)
    };
    let all = |rig: &Rig| (0..partitions).all(|p| in_sync(rig, p) == 3 && same_end(rig, p));
    let settled = rig.run_until(all);
    let states: Vec<String> =
        rig.running().flat_map(|(n, node)| node.partitions().map(move |p| (n, p))).map(state).collect();
    assert!(settled, "every replica is in sync again: {states:#?}");
    rig.run_for(Duration::from_secs(2));
}

fn state((node, p): (NodeId, &Partition)) -> String {
    format!(
        "n{node} {} leader={:?} epoch={} start={} hw={} durable={} end={} isr={:?} followers={:?} epochs={:?}",
        p.id.partition,
        p.leader(),
        p.leader_epoch(),
        p.log_start(),
        p.high_watermark(),
        p.durable_end(),
        p.log_end(),
        p.isr(),
        p.followers(),
        p.epochs(),
    )
}

#[test]
fn an_acknowledged_record_is_on_every_replica() {
    let mut rig = cluster(1, 1, "2");
    for i in 0..20 {
        assert_eq!(produced(&mut rig, 0, &format!("v{i}")), Offset(i));
    }
    settle(&mut rig, 1);
    let first = values(&mut rig, N1, 0);
    assert_eq!(first.len(), 20);
    for node in rig.nodes() {
        assert_eq!(values(&mut rig, node, 0), first);
        assert_eq!(replica(&rig, node, 0).map(Partition::high_watermark), Some(Offset(20)), "it is told to followers");
    }
}

/// With one request a follower says that it has the record, with the next that it knows what is committed.
#[test]
fn a_lone_record_costs_two_fetches_of_each_follower() {
    let mut rig = cluster(4, 1, "2");
    settle(&mut rig, 1);
    let (before, begun) = (rig.pulls(), rig.now());
    for i in 0..20 {
        produced(&mut rig, 0, &format!("v{i}"));
        rig.run_for(Duration::from_millis(20));
    }
    // Whoever has nothing to say asks twice a second all the same.
    let idle = 2 * (1 + rig.now().since(begun).as_millis() / 500);
    let pulls = rig.pulls() - before;
    assert!((80..=80 + idle).contains(&pulls), "{pulls}");
}

#[test]
fn a_killed_leader_is_replaced_and_returns_as_a_follower_with_the_same_log() {
    let mut rig = cluster(2, 1, "2");
    for i in 0..5 {
        produced(&mut rig, 0, &format!("a{i}"));
    }
    let first = leader(&rig, 0).expect("it is led");
    // On its way when its leader dies: it may be lost, for it was not acknowledged.
    produce(&mut rig, first, 0, "unacknowledged");
    rig.kill(first);
    assert!(rig.run_until(|rig| leader(rig, 0).is_some_and(|node| node != first)), "another leads");
    for i in 0..5 {
        produced(&mut rig, 0, &format!("b{i}"));
    }
    assert_eq!(in_sync(&rig, 0), 2);
    settle(&mut rig, 1);
    let one = values(&mut rig, N1, 0);
    for node in rig.nodes() {
        assert_eq!(values(&mut rig, node, 0), one);
    }
    for want in ["a0", "a4", "b0", "b4"] {
        assert!(one.iter().any(|(_, _, value)| value == want), "{want} is there");
    }
}

#[test]
fn a_leader_whose_connection_has_just_broken_is_not_named_to_clients() {
    fn named(rig: &mut Rig, node: NodeId) -> Option<NodeId> {
        let topics = Some(alloc::vec![TopicRef::Name(TopicName::new("t"))]);
        let request = MetadataRequest { topics, allow_auto_topic_creation: false };
        let Response::Metadata(r) = rig.call(node, Request::Metadata(request)) else { panic!() };
        r.topics[0].partitions[0].leader
    }
    for seed in 0..10 {
        let mut rig = cluster(seed, 1, "2");
        produced(&mut rig, 0, "a");
        settle(&mut rig, 1);
        let first = leader(&rig, 0).expect("it is led");
        rig.kill(first);
        let others: Vec<NodeId> = rig.nodes().into_iter().filter(|node| *node != first).collect();
        // Both have heard that their connections broke, and that is all.
        rig.run_for(Duration::from_millis(3));
        for &node in &others {
            assert_ne!(named(&mut rig, node), Some(first), "seed {seed}");
        }
        assert!(rig.run_until(|rig| leader(rig, 0).is_some_and(|node| node != first)), "another leads");
        rig.run_for(Duration::from_secs(1));
        for &node in &others {
            assert_eq!(named(&mut rig, node), leader(&rig, 0), "seed {seed}");
        }
    }
}

/// From the death of a node until the next write to what it led is acknowledged.
fn outage(seed: u64, both: bool) -> Duration {
    let mut rig = cluster(seed, 3, "2");
    settle(&mut rig, 3);
    let controls = |rig: &Rig, node: NodeId| rig.node(node).controller.is_active();
    let victim = |rig: &Rig| {
        (0..3).find_map(|p| leader(rig, p).filter(|node| controls(rig, *node) == both).map(|node| (p, node)))
    };
    assert!(rig.run_until(|rig| victim(rig).is_some()), "seed {seed}: each node leads one of three");
    let (partition, node) = victim(&rig).expect("just found");
    produced(&mut rig, partition, "before");
    // Somewhere in the rhythm of what is said between nodes.
    let moment = rig.below(3_000);
    rig.run_for(Duration::from_millis(moment));
    // The cluster is at work, on what it says of itself too.
    let busy = rig.nodes().into_iter().find(|other| *other != node).expect("there are three");
    let topic = crate::message::CreateTopicsRequest {
        topics: alloc::vec![new_topic("u", 1, 3)],
        validate_only: false,
        timeout: Duration::ZERO,
    };
    rig.ask(busy, Request::CreateTopics(topic));
    let moment = rig.below(8_000);
    rig.run_for(Duration::from_nanos(moment * 1_000));
    rig.kill(node);
    let before = rig.now();
    let mut asked: Option<RequestId> = None;
    loop {
        if asked.is_none()
            && let Some(next) = leader(&rig, partition)
        {
            asked = Some(produce(&mut rig, next, partition, "after"));
        }
        rig.run_for(Duration::from_millis(1));
        match asked.and_then(|id| rig.answer(id)).map(outcome) {
            Some((ErrorCode::None, _)) => return rig.now().since(before),
            Some(_) => asked = None,
            None => assert!(rig.now().since(before) < Duration::from_secs(60), "seed {seed}: nobody takes over"),
        }
    }
}

#[test]
fn who_dies_is_replaced_within_a_moment_the_controller_too() {
    for both in [false, true] {
        let mut times: Vec<(Duration, u64)> = (0..60).map(|seed| (outage(seed, both), seed)).collect();
        times.sort_unstable();
        let (median, _) = times[times.len() / 2];
        let (worst, seed) = times[times.len() - 1];
        assert!(median < Duration::from_millis(100), "{median}");
        assert!(worst < Duration::from_millis(400), "{worst}, seed {seed}");
    }
}

#[test]
fn a_follower_that_cannot_be_reached_is_let_go_and_taken_back() {
    let mut rig = cluster(3, 1, "1");
    produced(&mut rig, 0, "a");
    let led_by = leader(&rig, 0).expect("it is led");
    let cut_off = rig.nodes().into_iter().find(|node| *node != led_by).expect("there are three");
    rig.cut(led_by, cut_off);
    produced(&mut rig, 0, "b");
    settle(&mut rig, 1);
    let one = values(&mut rig, N1, 0);
    for node in rig.nodes() {
        assert_eq!(values(&mut rig, node, 0), one);
    }
}

#[test]
fn records_are_deleted_once_every_replica_in_service_has_deleted_them() {
    let mut rig = cluster(4, 1, "2");
    for i in 0..5 {
        produced(&mut rig, 0, &format!("v{i}"));
    }
    settle(&mut rig, 1);
    let led_by = leader(&rig, 0).expect("it is led");
    let delete = |to: i64| {
        let (topic, partition) = (TopicRef::Name(TopicName::new("t")), PartitionId(0));
        let partitions = alloc::vec![DeleteRecordsPartition { topic, partition, offset: Offset(to) }];
        Request::DeleteRecords(DeleteRecordsRequest { timeout: Duration::from_secs(2), partitions })
    };
    let outcome = |response: Response| match response {
        Response::DeleteRecords(r) => (r.partitions[0].error, r.partitions[0].low_watermark),
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(rig.call(led_by, delete(3))), (ErrorCode::None, Offset(3)));
    for node in rig.nodes() {
        assert_eq!(replica(&rig, node, 0).map(Partition::log_start), Some(Offset(3)));
    }
    let other = rig.nodes().into_iter().find(|node| *node != led_by).expect("there are three");
    rig.cut(led_by, other);
    assert_eq!(outcome(rig.call(led_by, delete(4))).0, ErrorCode::RequestTimedOut);
    settle(&mut rig, 1);
    assert!(rig.run_until(|rig| replica(rig, other, 0).map(Partition::log_start) == Some(Offset(4))));
}

/// The leader's log begins inside a batch when one of its followers, which has nothing of it yet, is heard again.
#[test]
fn a_replica_that_begins_anew_may_have_to_begin_inside_a_batch() {
    let mut rig = cluster(5, 1, "1");
    let led_by = leader(&rig, 0).expect("it is led");
    let other = rig.nodes().into_iter().find(|node| *node != led_by).expect("there are three");
    rig.cut(led_by, other);
    let base = produced(&mut rig, 0, "a b c d");
    produced(&mut rig, 0, "e");
    let start = base.forward(2);
    let (topic, partition) = (TopicRef::Name(TopicName::new("t")), PartitionId(0));
    let partitions = alloc::vec![DeleteRecordsPartition { topic, partition, offset: start }];
    let led_by = leader(&rig, 0).expect("it is led");
    rig.call(led_by, Request::DeleteRecords(DeleteRecordsRequest { timeout: Duration::from_millis(100), partitions }));
    settle(&mut rig, 1);
    let one = values(&mut rig, led_by, 0);
    assert_eq!(one.first().map(|(first, ..)| *first), Some(base.0));
    for node in rig.nodes() {
        assert_eq!(replica(&rig, node, 0).map(Partition::log_start), Some(start));
        assert_eq!(values(&mut rig, node, 0), one);
    }
}

/// One history: producers write while nodes die, lose power and are cut off; then all is well again.
fn history(seed: u64) {
    let partitions = 2;
    let mut rig = cluster(seed, partitions, "2");
    let mut waiting: BTreeMap<RequestId, (i32, String)> = BTreeMap::new();
    let mut acknowledged: Vec<(i32, i64, String)> = Vec::new();
    for step in 0..60 {
        let nodes = rig.nodes();
        let node = nodes[rig.below(3) as usize];
        let others_run = nodes.iter().filter(|n| **n != node).all(|n| rig.is_ready(*n));
        match rig.below(12) {
            0 if others_run && rig.is_running(node) => rig.kill(node),
            1 if others_run && rig.is_running(node) => rig.lose_power(node),
            2 if others_run => rig.isolate(node),
            3 => {
                let other = nodes[rig.below(3) as usize];
                if node != other && others_run {
                    rig.cut_one_way(node, other);
                }
            }
            4 | 5 => rig.heal(),
            6 => {
                if !rig.is_running(node) {
                    rig.start(node);
                }
            }
            _ => {
                for n in 0..4 {
                    let partition = i32::try_from(rig.below(2)).expect("small");
                    // Sometimes to a node that led once.
                    let to = if rig.below(4) == 0 { Some(node) } else { leader(&rig, partition) };
                    if let Some(to) = to.filter(|to| rig.is_ready(*to)) {
                        let value = format!("{seed}-{step}-{n}");
                        waiting.insert(produce(&mut rig, to, partition, &value), (partition, value));
                    }
                }
            }
        }
        let span = 1 + rig.below(1_500);
        rig.run_for(Duration::from_millis(span));
        waiting.retain(|id, (partition, value)| match rig.answer(*id).map(outcome) {
            Some((ErrorCode::None, offset)) => {
                acknowledged.push((*partition, offset.0, value.clone()));
                false
            }
            answer => answer.is_none(),
        });
    }
    settle(&mut rig, partitions);
    for partition in 0..partitions {
        let one = values(&mut rig, N1, partition);
        for node in rig.nodes() {
            assert_eq!(values(&mut rig, node, partition), one, "seed {seed}: replicas are the same");
        }
        for (_, offset, value) in acknowledged.iter().filter(|(p, ..)| *p == partition) {
            let found = one.iter().any(|(at, _, held)| at == offset && held == value);
            assert!(found, "seed {seed}: {value} was acknowledged at {offset} of partition {partition}");
        }
    }
    let last = produced(&mut rig, 0, "last");
    assert!(last >= Offset::ZERO, "the cluster goes on");
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_to_one_node_at_a_time() {
    for seed in 0..24 {
        history(seed);
    }
}

#[test]
fn what_an_unclean_election_has_lost_is_cut_off_also_where_it_was_committed() {
    let mut rig = Rig::cluster(5, 11);
    assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.is_ready(node))), "all get ready");
    let mut topic = new_topic("t", 1, 3);
    topic.configs.push(("unclean.leader.election.enable".to_string(), Some("true".to_string())));
    while rig.create_topic(N1, topic.clone()) == ErrorCode::NotController {
        rig.run_for(Duration::from_millis(500));
    }
    assert_eq!(produced(&mut rig, 0, "kept"), Offset(0));
    assert!(rig.run_until(|rig| in_sync(rig, 0) == 3));
    let first = leader(&rig, 0).expect("it is led");
    let mut replicas = replica(&rig, first, 0).expect("as leader").replicas().to_vec();
    replicas.retain(|node| *node != first);
    let (late, second) = (replicas[0], replicas[1]);
    rig.kill(late);
    assert!(rig.run_until(|rig| in_sync(rig, 0) == 2));
    for value in ["lost", "gone"] {
        produced(&mut rig, 0, value);
    }
    rig.run_for(Duration::from_secs(10));
    assert_eq!(replica(&rig, second, 0).map(Partition::high_watermark), Some(Offset(3)));

    // Those who had it all go, and only who has not is left. Its leader's mark is long gone when they return.
    rig.kill(second);
    rig.kill(first);
    rig.start(late);
    assert!(rig.run_until(|rig| leader(rig, 0) == Some(late)), "it is elected all the same");
    produced(&mut rig, 0, "new");
    rig.start(first);
    rig.start(second);
    assert!(rig.run_until(|rig| in_sync(rig, 0) == 3), "all are in sync again");
    let truth: Vec<String> = values(&mut rig, late, 0).into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(truth, ["kept", "new"]);
    for node in [first, second] {
        assert_eq!(values(&mut rig, node, 0), values(&mut rig, late, 0));
    }
}
