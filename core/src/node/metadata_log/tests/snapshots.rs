//! Snapshots of the metadata among nodes.

use super::*;
use crate::node::MetadataLogConfig;

/// Nodes that take a snapshot every few records, and fetch them in small pieces.
pub(super) fn cluster(nodes: i32, seed: u64) -> Rig {
    let voters: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
    let config = |&node: &NodeId| NodeConfig { node, voters: voters.clone(), ..config() };
    Rig::new(voters.iter().map(config).collect(), seed)
}

pub(super) fn config() -> NodeConfig {
    let metadata_log = MetadataLogConfig {
        segment_bytes: 600,
        snapshot_bytes: 900,
        snapshot_piece_bytes: 100,
        ..MetadataLogConfig::default()
    };
    NodeConfig { metadata_log, ..NodeConfig::default() }
}

fn fill(rig: &mut Rig, from: u32, to: u32) {
    for number in from..to {
        let leader = serving(rig);
        assert_eq!(rig.create_topic(leader, new_topic(&format!("t{number}"), 1, 1)), ErrorCode::None);
    }
}

/// All run, and have applied the same.
fn level(rig: &Rig) -> bool {
    let ends: BTreeSet<Offset> = rig.running().map(|(_, node)| node.applied_metadata().1).collect();
    agreed(rig).is_some() && ends.len() == 1 && rig.running().count() == rig.nodes().len()
}

fn assert_same_images(rig: &Rig) {
    let mut nodes = rig.running();
    let (_, first) = nodes.next().expect("they run");
    assert!(nodes.all(|(_, node)| node.image() == first.image()), "the images differ");
}

#[test]
fn every_node_takes_snapshots_keeps_two_and_its_log_begins_where_the_older_ends() {
    for nodes in [1, 3] {
        let mut rig = cluster(nodes, 7);
        fill(&mut rig, 0, 30);
        assert!(rig.run_until(level));
        for (_, node) in rig.running() {
            let [older, newest] = node.metadata_snapshots() else { panic!("{:?}", node.metadata_snapshots()) };
            let quorum = node.quorum().expect("its log is open");
            assert_eq!((quorum.log_start(), quorum.snapshot()), (older.end, Some(*newest)));
            assert!(newest.end > older.end && older.end > Offset::ZERO);
        }
        let before: Vec<Vec<String>> = rig.nodes().into_iter().map(|node| topics(&rig, node)).collect();
        rig.nodes().into_iter().for_each(|node| rig.lose_power(node));
        rig.nodes().into_iter().for_each(|node| rig.start(node));
        assert!(rig.run_until(level));
        serving(&mut rig);
        let after: Vec<Vec<String>> = rig.nodes().into_iter().map(|node| topics(&rig, node)).collect();
        assert_eq!(before, after, "all is there after a restart");
    }
}

#[test]
fn a_node_that_was_away_for_long_fetches_a_snapshot_and_has_the_same_image() {
    for seed in 0..10 {
        let mut rig = cluster(3, seed);
        let mut watch = Watch::default();
        fill(&mut rig, 0, 2);
        let leader = serving(&mut rig);
        let away = rig.nodes().into_iter().find(|node| *node != leader).expect("there are three");
        let had = quorum(&rig, away).log_end();
        rig.kill(away);
        fill(&mut rig, 2, 30);
        let leader = serving(&mut rig);
        assert!(quorum(&rig, leader).log_start() > had, "what it lacks is gone");
        rig.start(away);
        watch.restarted(away);
        assert!(watch_until(&mut rig, &mut watch, Duration::from_secs(30), level), "seed {seed}");
        assert_same_images(&rig);
        assert!(quorum(&rig, away).log_start() > had, "it begins behind the snapshot");
        // What it fetched outlives its process.
        rig.lose_power(away);
        rig.start(away);
        assert!(rig.run_until(level));
        assert_same_images(&rig);
    }
}

#[test]
fn a_running_node_takes_over_what_a_snapshot_says_has_changed() {
    let mut rig = cluster(3, 3);
    fill(&mut rig, 0, 4);
    assert!(rig.run_until(|rig| rig.nodes().into_iter().all(|node| rig.is_ready(node))));
    let leader = serving(&mut rig);
    let away = rig.nodes().into_iter().find(|node| *node != leader).expect("there are three");
    let had = quorum(&rig, away).log_end();
    rig.isolate(away);
    let mut topic = new_topic("compacted", 1, 3);
    topic.configs.push(("cleanup.policy".to_string(), Some("compact".to_string())));
    assert_eq!(rig.create_topic(leader, topic), ErrorCode::None);
    fill(&mut rig, 4, 30);
    rig.heal();
    assert!(rig.run_until(level));
    let opened =
        |rig: &Rig| rig.node(away).partitions().find(|p| p.topic.as_str() == "compacted").map(|p| p.config.cleanup);
    assert!(rig.run_until(|rig| opened(rig).is_some()));
    let policy = opened(&rig).expect("it is open");
    assert!(policy.compact && !policy.delete, "the settings that came while the log was being opened hold: {policy:?}");
    assert!(quorum(&rig, away).log_start() > had);
    assert_same_images(&rig);
    assert!(rig.is_ready(away));
}

#[test]
fn a_snapshot_that_cannot_be_read_is_made_up_for_by_the_one_before() {
    let mut rig = cluster(1, 5);
    fill(&mut rig, 0, 30);
    let node = NodeId(1);
    let before = topics(&rig, node);
    let newest = *rig.node(node).metadata_snapshots().last().expect("there are two");
    rig.kill(node);
    rig.damage_snapshot(node, newest);
    rig.start(node);
    serving(&mut rig);
    assert_eq!(topics(&rig, node), before);
    assert!(!rig.node(node).metadata_snapshots().contains(&newest) || quorum(&rig, node).log_start() > newest.end);
}
