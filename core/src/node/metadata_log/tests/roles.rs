//! Controllers and brokers apart.

use super::*;
use crate::message::MetadataRequest;

/// Three controllers that keep no partitions, two brokers that do not vote.
fn split(seed: u64) -> Rig {
    let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let config =
        |node| NodeConfig { node: NodeId(node), voters: voters.clone(), is_broker: node > 3, ..snapshots::config() };
    Rig::new((1..=5).map(config).collect(), seed)
}

#[test]
fn controllers_decide_and_brokers_keep_what_they_decide() {
    for seed in 0..5 {
        let mut rig = split(seed);
        assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.is_ready(node))), "seed {seed}");
        let (controller, broker) = (settle(&mut rig), NodeId(4));
        assert!(controller < broker);
        let wanted = alloc::vec![new_topic("t", 4, 2)];
        let request = CreateTopicsRequest { topics: wanted, validate_only: false, timeout: Duration::ZERO };
        let created = rig.call(broker, Request::CreateTopics(request));
        assert_eq!(error(&created), ErrorCode::None);
        assert!(rig.run_until(|rig| topics(rig, broker) == ["t"]));
        let image = rig.node(broker).image();
        let registered: Vec<i32> = image.brokers().map(|(node, _)| node.0).collect();
        assert_eq!(registered, [4, 5], "controllers do not register");
        let partitions = &image.topics().next().expect("just created").partitions;
        assert!(partitions.iter().all(|partition| partition.replicas.iter().all(|node| *node >= broker)));
        // Whoever asks a controller is told of the brokers.
        let request = MetadataRequest { topics: None, allow_auto_topic_creation: false };
        let Response::Metadata(told) = rig.call(controller, Request::Metadata(request)) else { panic!("not that") };
        assert_eq!(told.brokers.len(), 2);
        // A controller that goes is no loss, and goes at once.
        rig.stop(controller);
        assert!(rig.run_until(|rig| !rig.is_running(controller)));
        assert!(settle(&mut rig) != controller);
    }
}
