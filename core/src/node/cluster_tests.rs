//! Brokers and their controller, node by node on virtual time.

use alloc::vec::Vec;

use super::rig::{Rig, new_topic};
use crate::{
    cluster::Partition,
    ids::{NodeId, PartitionId, ProducerEpoch, ProducerId, TopicName, TopicPartition},
    message::{ErrorCode, InitProducerIdRequest, Request, Response},
    time::{Duration, Instant},
};

const A_MOMENT: Duration = Duration::from_millis(500);

fn ready(nodes: i32, seed: u64) -> Rig {
    let mut rig = Rig::cluster(nodes, seed);
    assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.is_ready(node))), "all nodes serve");
    rig
}

fn controller(rig: &Rig) -> NodeId {
    let leads = |(id, node): (NodeId, &super::Node)| node.controller.is_active().then_some(id);
    rig.running().find_map(leads).expect("there is a controller")
}

/// A broker that is not the controller.
fn other(rig: &Rig) -> NodeId {
    rig.running().map(|(id, _)| id).find(|id| *id != controller(rig)).expect("there are several")
}

fn partition(rig: &Rig, node: NodeId, number: i32) -> Option<&Partition> {
    let image = rig.node(node).image();
    let topic = image.topic_named(&TopicName::new("t"))?.id;
    image.partition(TopicPartition { topic, partition: PartitionId(number) })
}

/// How long it takes until every broker that runs knows only leaders that run.
fn settles(rig: &mut Rig, partitions: i32) -> Duration {
    let before = rig.now();
    let led = |rig: &Rig| {
        rig.running().all(|(id, _)| {
            (0..partitions)
                .all(|p| partition(rig, id, p).and_then(|p| p.leader).is_some_and(|leader| rig.is_running(leader)))
        })
    };
    assert!(rig.run_until(led), "every partition is led");
    rig.now().since(before)
}

#[test]
fn brokers_register_and_every_node_knows_them_all() {
    let rig = ready(3, 1);
    for (_, node) in rig.running() {
        let brokers: Vec<_> =
            node.image().brokers().map(|(id, b)| (id.0, b.endpoints.native.clone(), b.fenced)).collect();
        let expected = |id: i32| (id, alloc::format!("n{id}:9192"), false);
        assert_eq!(brokers, [expected(1), expected(2), expected(3)]);
    }
}

#[test]
fn a_killed_leader_is_replaced_at_once_by_a_replica_in_sync() {
    for seed in 0..5 {
        let mut rig = ready(3, seed);
        let asked = other(&rig);
        assert_eq!(rig.create_topic(asked, new_topic("t", 3, 3)), ErrorCode::None);
        settles(&mut rig, 3);
        let (victim, witness) = (other(&rig), controller(&rig));
        rig.kill(victim);
        assert!(settles(&mut rig, 3) < A_MOMENT);
        for p in 0..3 {
            let p = partition(&rig, witness, p).expect("created");
            assert!(!p.isr.contains(&victim) && p.isr.contains(&p.leader.expect("led")));
            assert!(!p.is_recovering());
        }
    }
}

#[test]
fn a_killed_controller_is_replaced_and_so_is_what_it_led() {
    for seed in 0..5 {
        let mut rig = ready(3, seed);
        let asked = other(&rig);
        assert_eq!(rig.create_topic(asked, new_topic("t", 3, 3)), ErrorCode::None);
        settles(&mut rig, 3);
        let victim = controller(&rig);
        rig.kill(victim);
        let took = settles(&mut rig, 3);
        assert!(took < Duration::from_secs(4), "{took}");
        rig.start(victim);
        assert!(rig.run_until(|rig| rig.is_ready(victim)), "it comes back");
        let broker = rig.node(victim).image().broker(victim).expect("registered");
        assert!(!broker.fenced);
    }
}

#[test]
fn a_silent_broker_is_fenced_when_its_session_is_over_and_returns_when_it_is_heard() {
    let mut rig = ready(3, 7);
    let (silent, witness) = (other(&rig), controller(&rig));
    let epoch = rig.node(witness).image().broker(silent).expect("registered").epoch;
    rig.isolate(silent);
    let before = rig.now();
    let fenced = |rig: &Rig| rig.node(witness).image().broker(silent).is_some_and(|b| b.fenced);
    assert!(rig.run_until(fenced));
    let took = rig.now().since(before);
    assert!(took > Duration::from_secs(6) && took < Duration::from_secs(10), "{took}");
    rig.heal();
    assert!(rig.run_until(|rig| !fenced(rig)));
    assert_eq!(rig.node(witness).image().broker(silent).expect("registered").epoch, epoch, "the same registration");
}

#[test]
fn a_broker_that_stops_hands_over_before_it_goes() {
    let mut rig = ready(3, 3);
    let asked = other(&rig);
    assert_eq!(rig.create_topic(asked, new_topic("t", 3, 3)), ErrorCode::None);
    settles(&mut rig, 3);
    for _ in 0..2 {
        let leaver = if rig.below(2) == 0 { other(&rig) } else { controller(&rig) };
        let before = rig.now();
        rig.stop(leaver);
        assert!(rig.run_until(|rig| !rig.is_running(leaver)));
        assert!(rig.now().since(before) < Duration::from_secs(2));
        let took = settles(&mut rig, 3);
        assert!(took < Duration::from_secs(5), "{took}");
        rig.start(leaver);
        assert!(rig.run_until(|rig| rig.is_ready(leaver)));
    }
}

#[test]
fn producer_ids_of_all_brokers_are_distinct() {
    let mut rig = ready(3, 4);
    let mut seen = alloc::collections::BTreeSet::new();
    for node in rig.nodes() {
        for _ in 0..1_200 {
            let request = InitProducerIdRequest {
                transactional_id: None,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
            };
            let Response::InitProducerId(r) = rig.call(node, Request::InitProducerId(request)) else { panic!() };
            assert!(r.error.is_none() && seen.insert(r.producer_id));
        }
    }
}

#[test]
fn a_node_alone_serves_without_waiting() {
    let mut rig = Rig::cluster(1, 2);
    assert!(rig.run_until(|rig| rig.is_ready(NodeId(1))));
    assert!(rig.now().since(Instant::ZERO) < Duration::from_millis(50), "{}", rig.now().since(Instant::ZERO));
    let before = rig.now();
    rig.stop(NodeId(1));
    assert!(rig.run_until(|rig| !rig.is_running(NodeId(1))));
    assert!(rig.now().since(before) < Duration::from_millis(50));
}
