//! Three nodes in three racks: readers are served by the replica that is near.

use alloc::{string::ToString, vec::Vec};

use crate::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, RequestId, TopicName},
    message::{
        Acks, ErrorCode, FetchPartition, FetchRequest, FetchedPartition, IsolationLevel, ProducePartition,
        ProduceRequest, Records, Request, Response, TopicRef,
    },
    node::{
        NodeConfig, ReplicaSelector,
        rig::{Rig, new_topic},
    },
    offset::Offset,
    record::{BatchBuilder, BatchOptions},
    replica::Partition,
    time::{Duration, Timestamp},
};

const N1: NodeId = NodeId(1);

fn topic() -> TopicRef {
    TopicRef::Name(TopicName::new("t"))
}

fn rack(node: NodeId) -> &'static str {
    ["", "east", "south", "west"][node.0 as usize]
}

/// A topic with one partition on all three.
fn cluster(selector: ReplicaSelector) -> Rig {
    let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let config = |&node: &NodeId| NodeConfig {
        node,
        rack: Some(rack(node).to_string()),
        replica_selector: selector,
        voters: voters.clone(),
        ..NodeConfig::default()
    };
    let mut rig = Rig::new(voters.iter().map(config).collect(), 7);
    assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.is_ready(node))), "all get ready");
    while rig.create_topic(N1, new_topic("t", 1, 3)) == ErrorCode::NotController {
        rig.run_for(Duration::from_millis(500));
    }
    assert!(rig.run_until(|rig| rig.running().all(|(_, node)| node.partitions().count() == 1)));
    rig.run_for(Duration::from_secs(1));
    rig
}

fn replica(rig: &Rig, node: NodeId) -> &Partition {
    rig.node(node).partitions().next().expect("it has a replica")
}

/// Who leads, and one who follows.
fn parts(rig: &Rig) -> (NodeId, NodeId) {
    let leads = |node: &NodeId| replica(rig, *node).is_leader();
    let leader = rig.nodes().into_iter().find(leads).expect("somebody leads");
    (leader, rig.nodes().into_iter().find(|node| *node != leader).expect("somebody follows"))
}

fn produce(rig: &mut Rig, node: NodeId) {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(1_000_000), None, Some(b"value"), []);
    let batch = Ok(builder.build(&BatchOptions::default()));
    let partition = ProducePartition { topic: topic(), partition: PartitionId(0), batch };
    let timeout = Duration::from_secs(5);
    let request = ProduceRequest { acks: Acks::All, timeout, partitions: alloc::vec![partition] };
    let Response::Produce(produced) = rig.call(node, Request::Produce(request)) else { panic!("produced") };
    assert_eq!(produced.partitions[0].error, ErrorCode::None);
}

fn fetch(offset: i64, rack: Option<&str>, max_wait: Duration) -> FetchRequest {
    let partition = FetchPartition {
        topic: topic(),
        partition: PartitionId(0),
        current_leader_epoch: LeaderEpoch::NONE,
        offset: Offset(offset),
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start: Offset::NONE,
        max_bytes: 1 << 20,
    };
    FetchRequest {
        max_wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        rack: rack.map(ToString::to_string),
        replica: None,
        partitions: alloc::vec![partition],
    }
}

fn fetched(rig: &mut Rig, node: NodeId, request: FetchRequest) -> FetchedPartition {
    let Response::Fetch(mut response) = rig.call(node, Request::Fetch(request)) else { panic!("fetched") };
    response.partitions.remove(0)
}

fn read(rig: &mut Rig, node: NodeId, offset: i64, rack: Option<&str>) -> (ErrorCode, Option<NodeId>, bool) {
    let answer = fetched(rig, node, fetch(offset, rack, Duration::ZERO));
    (answer.error, answer.preferred_read_replica, answer.records != Records::Empty)
}

#[test]
fn a_reader_is_sent_to_the_follower_in_its_rack_and_served_there() {
    let mut rig = cluster(ReplicaSelector::Rack);
    let (leader, follower) = parts(&rig);
    produce(&mut rig, leader);
    rig.run_for(Duration::from_secs(1));
    let none = ErrorCode::None;
    assert_eq!(read(&mut rig, leader, 0, Some(rack(follower))), (none, Some(follower), false));
    assert_eq!(read(&mut rig, leader, 1, Some(rack(follower))), (none, Some(follower), false), "also to wait");
    assert_eq!(read(&mut rig, follower, 0, Some(rack(follower))), (none, None, true));
    assert_eq!(read(&mut rig, follower, 0, Some("")), (none, None, true), "whoever knows of followers");
    assert_eq!(read(&mut rig, follower, 0, None).0, ErrorCode::NotLeaderOrFollower);
    for served in [Some(rack(leader)), Some("north"), Some(""), None] {
        assert_eq!(read(&mut rig, leader, 0, served), (none, None, true), "{served:?}");
    }
}

#[test]
fn leaders_send_nobody_on_unless_they_are_told_to() {
    let mut rig = cluster(ReplicaSelector::Leader);
    let (leader, follower) = parts(&rig);
    produce(&mut rig, leader);
    assert_eq!(read(&mut rig, leader, 0, Some(rack(follower))), (ErrorCode::None, None, true));
}

#[test]
fn what_a_follower_does_not_know_to_be_there_is_for_the_leader_to_say() {
    let mut rig = cluster(ReplicaSelector::Rack);
    let (leader, follower) = parts(&rig);
    produce(&mut rig, leader);
    rig.run_for(Duration::from_secs(1));
    let near = Some(rack(follower));
    assert_eq!(read(&mut rig, follower, 2, near).0, ErrorCode::OffsetNotAvailable);
    assert_eq!(read(&mut rig, leader, 2, near), (ErrorCode::OffsetOutOfRange, None, false));

    // Cut off, it has what it has: a reader who comes from the leader with more goes back there.
    rig.isolate(follower);
    produce_without(&mut rig, leader, follower);
    assert_eq!(read(&mut rig, follower, 1, near), (ErrorCode::None, None, false));
    assert_eq!(read(&mut rig, follower, 2, near).0, ErrorCode::OffsetNotAvailable);
    let again = |rig: &mut Rig, offset| read(rig, leader, offset, near);
    assert_eq!(again(&mut rig, 0), (ErrorCode::None, None, true), "who is not in sync gets no readers");

    // In sync again, it does.
    rig.heal();
    assert!(rig.run_until(|rig| replica(rig, leader).isr().is_some_and(|isr| isr.len() == 3)));
    rig.run_for(Duration::from_secs(1));
    assert_eq!(again(&mut rig, 0), (ErrorCode::None, Some(follower), false));
    assert_eq!(read(&mut rig, follower, 1, near), (ErrorCode::None, None, true));
}

/// Produces while a follower is away: until it has left those in sync, nothing is acknowledged.
fn produce_without(rig: &mut Rig, leader: NodeId, away: NodeId) {
    assert!(rig.run_until(|rig| replica(rig, leader).isr().is_some_and(|isr| !isr.contains(&away))));
    produce(rig, leader);
}

#[test]
fn a_reader_that_waits_at_a_follower_hears_at_once_of_what_is_committed() {
    let mut rig = cluster(ReplicaSelector::Rack);
    let (leader, follower) = parts(&rig);
    rig.run_for(Duration::from_secs(1));
    let request = fetch(0, Some(rack(follower)), Duration::from_secs(30));
    let waiting: RequestId = rig.ask(follower, Request::Fetch(request));
    assert_eq!(rig.answer(waiting), None);
    produce(&mut rig, leader);
    let acknowledged = rig.now();
    let mut answer = None;
    while answer.is_none() && rig.step(acknowledged.after(Duration::from_millis(100))) {
        answer = rig.answer(waiting);
    }
    let Some(Response::Fetch(response)) = answer else { panic!("not heard of within 100 ms") };
    assert!(response.partitions[0].records != Records::Empty);
}

#[test]
fn followers_check_the_epoch_as_leaders_do() {
    let mut rig = cluster(ReplicaSelector::Rack);
    let (leader, follower) = parts(&rig);
    produce(&mut rig, leader);
    rig.kill(leader);
    assert!(rig.run_until(|rig| rig.running().any(|(_, node)| node.partitions().any(Partition::is_leader))));
    rig.run_for(Duration::from_secs(2));
    let (now, follower) = {
        let follows = |node: &NodeId| rig.is_running(*node) && !replica(&rig, *node).is_leader();
        let node = rig.nodes().into_iter().find(follows).unwrap_or(follower);
        (replica(&rig, node).leader_epoch(), node)
    };
    let mut answer = |epoch: LeaderEpoch| {
        let mut request = fetch(0, Some(""), Duration::ZERO);
        request.partitions[0].current_leader_epoch = epoch;
        fetched(&mut rig, follower, request).error
    };
    assert_eq!(answer(now), ErrorCode::None);
    assert_eq!(answer(LeaderEpoch(now.0 - 1)), ErrorCode::FencedLeaderEpoch);
    assert_eq!(answer(LeaderEpoch(now.0 + 1)), ErrorCode::UnknownLeaderEpoch);
}
