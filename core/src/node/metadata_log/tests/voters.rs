//! Voters that come and go, among nodes (KIP-853).

use super::*;
use crate::{
    ids::DirectoryId,
    message::{AddVoterRequest, RemoveVoterRequest},
};

/// Of five nodes the first three vote at first.
fn five(seed: u64) -> Rig {
    let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let config = |node| NodeConfig { node: NodeId(node), voters: voters.clone(), ..snapshots::config() };
    Rig::new((1..=5).map(config).collect(), seed)
}

fn add(node: i32) -> Request {
    let (cluster_id, directory, endpoint) = (None, DirectoryId::ANY, None);
    Request::AddVoter(AddVoterRequest { cluster_id, node: NodeId(node), directory, endpoint })
}

fn remove(node: i32) -> Request {
    Request::RemoveVoter(RemoveVoterRequest { cluster_id: None, node: NodeId(node), directory: DirectoryId::ANY })
}

fn outcome(response: &Response) -> ErrorCode {
    match response {
        Response::AddVoter(r) | Response::RemoveVoter(r) => r.error,
        other => panic!("{other:?}"),
    }
}

/// Asks the leader until it is done: it may not have heard of the node yet, or not lead any more.
fn change(rig: &mut Rig, request: &Request) {
    for _ in 0..50 {
        let leader = serving(rig);
        let response = rig.call(leader, request.clone());
        match outcome(&response) {
            ErrorCode::None => return,
            // It was done before, and the answer lost with its leader.
            ErrorCode::DuplicateVoter | ErrorCode::VoterNotFound => return,
            _ => rig.run_for(Duration::from_millis(300)),
        }
    }
    panic!("{request:?} is never done");
}

fn voters_of(rig: &Rig, node: NodeId) -> Vec<i32> {
    quorum(rig, node).voters().iter().map(|voter| voter.0).collect()
}

fn agree(rig: &mut Rig, voters: &[i32]) {
    let so = |rig: &Rig| agreed(rig).is_some() && rig.running().all(|(id, _)| voters_of(rig, id) == voters);
    assert!(rig.run_until(so), "{:?}", rig.running().map(|(id, _)| (id, voters_of(rig, id))).collect::<Vec<_>>());
}

#[test]
fn an_observer_becomes_a_voter_and_counts() {
    let mut rig = five(1);
    change(&mut rig, &add(4));
    change(&mut rig, &add(5));
    agree(&mut rig, &[1, 2, 3, 4, 5]);
    // Two of five may go, which of three they could not.
    let leader = serving(&mut rig);
    let other = [1, 2, 3].map(NodeId).into_iter().find(|node| *node != leader).expect("there are three");
    rig.kill(leader);
    rig.kill(other);
    let new = serving(&mut rig);
    assert_eq!(rig.create_topic(new, new_topic("t", 1, 1)), ErrorCode::None);
    // And it is all remembered, also where the log was let go.
    for node in rig.nodes() {
        if rig.is_running(node) {
            rig.lose_power(node);
        }
    }
    rig.nodes().into_iter().for_each(|node| rig.start(node));
    agree(&mut rig, &[1, 2, 3, 4, 5]);
}

#[test]
fn a_leader_that_is_removed_leads_until_that_is_committed_and_then_follows() {
    for seed in 0..10 {
        let mut rig = five(seed);
        let old = serving(&mut rig);
        change(&mut rig, &remove(old.0));
        let rest: Vec<i32> = (1..=3).filter(|node| *node != old.0).collect();
        agree(&mut rig, &rest);
        let new = serving(&mut rig);
        assert!(new != old && rest.contains(&new.0), "seed {seed}");
        assert_eq!(rig.create_topic(new, new_topic("t", 1, 1)), ErrorCode::None);
        assert!(rig.run_until(|rig| topics(rig, old) == ["t"]), "it follows");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut rig = five(2);
    let leader = serving(&mut rig);
    let ask = |rig: &mut Rig, request| {
        let response = rig.call(leader, request);
        outcome(&response)
    };
    assert_eq!(ask(&mut rig, add(2)), ErrorCode::DuplicateVoter);
    assert_eq!(ask(&mut rig, remove(4)), ErrorCode::VoterNotFound);
    assert_eq!(ask(&mut rig, add(9)), ErrorCode::RequestTimedOut, "nobody has heard of it");
    rig.kill(NodeId(5));
    rig.run_for(Duration::from_secs(5));
    assert_eq!(ask(&mut rig, add(5)), ErrorCode::RequestTimedOut, "it does not follow any more");
    let other = AddVoterRequest {
        cluster_id: Some("other".to_string()),
        node: NodeId(4),
        directory: DirectoryId::ANY,
        endpoint: None,
    };
    assert_eq!(ask(&mut rig, Request::AddVoter(other.clone())), ErrorCode::InconsistentClusterId);
    let elsewhere = AddVoterRequest { cluster_id: None, directory: DirectoryId([9; 16]), ..other };
    assert_eq!(ask(&mut rig, Request::AddVoter(elsewhere)), ErrorCode::InvalidVoterKey);
}

#[test]
fn a_node_alone_becomes_three_and_one_again() {
    let config = |node| NodeConfig { node: NodeId(node), voters: alloc::vec![NodeId(1)], ..snapshots::config() };
    let mut rig = Rig::new((1..=3).map(config).collect(), 4);
    for node in [2, 3] {
        change(&mut rig, &add(node));
    }
    agree(&mut rig, &[1, 2, 3]);
    change(&mut rig, &remove(1));
    change(&mut rig, &remove(2));
    agree(&mut rig, &[3]);
    let leader = serving(&mut rig);
    assert_eq!(leader, NodeId(3));
    assert_eq!(outcome(&rig.call(leader, remove(3))), ErrorCode::InvalidRequest, "the last one stays");
}

#[test]
fn a_voter_that_comes_back_on_an_empty_disk_is_none_until_it_is_removed_and_added() {
    for seed in 0..5 {
        let mut rig = five(seed);
        change(&mut rig, &add(4));
        agree(&mut rig, &[1, 2, 3, 4]);
        let leader = serving(&mut rig);
        let node = [1, 2, 3].map(NodeId).into_iter().find(|node| *node != leader).expect("there are three");
        rig.kill(node);
        rig.wipe(node);
        rig.start(node);
        assert!(rig.run_until(|rig| rig.is_ready(node)), "seed {seed}: it follows");
        agree(&mut rig, &[1, 2, 3, 4]);
        assert!(!quorum(&rig, node).is_voter(), "nobody knows what it voted before");
        let leader = serving(&mut rig);
        let response = rig.call(leader, add(node.0));
        assert_eq!(outcome(&response), ErrorCode::DuplicateVoter, "seed {seed}");
        change(&mut rig, &remove(node.0));
        change(&mut rig, &add(node.0));
        agree(&mut rig, &[1, 2, 3, 4]);
        assert!(rig.run_until(|rig| quorum(rig, node).is_voter()), "seed {seed}");
    }
}

/// M9: no two changes uncommitted, and one member more or less at a time.
fn watch_changes(rig: &Rig, sets: &mut BTreeMap<(LeaderEpoch, Offset), Vec<i32>>) {
    for (id, node) in rig.running() {
        let Some(quorum) = node.quorum().filter(|quorum| quorum.is_leader()) else { continue };
        let Some(at) = quorum.last_voter_change() else { continue };
        let now = voters_of(rig, id);
        let key = (quorum.epochs().epoch_at(at).unwrap_or(quorum.epoch()), at);
        if sets.contains_key(&key) {
            continue;
        }
        if let Some((_, before)) = sets.range(..key).next_back() {
            let (gone, come) = (
                before.iter().filter(|node| !now.contains(node)).count(),
                now.iter().filter(|node| !before.contains(node)).count(),
            );
            assert!(gone + come <= 2, "M9: {before:?} becomes {now:?}");
        }
        sets.insert(key, now);
    }
}

#[test]
fn whatever_happens_while_voters_come_and_go_what_was_committed_stays() {
    for seed in 0..60 {
        let mut rig = five(seed);
        let mut watch = Watch::default();
        let mut sets = BTreeMap::new();
        let nodes = rig.nodes();
        for round in 0..40 {
            let magnitude = rig.below(12);
            let span = Duration::from_millis(1 + rig.below(1 << magnitude));
            let end = rig.now().after(span);
            loop {
                watch.look(&rig);
                watch_changes(&rig, &mut sets);
                if !rig.step(end) {
                    break;
                }
            }
            let node = nodes[rig.below(5) as usize];
            let leader =
                rig.running().find(|(_, node)| node.is_serving() && node.quorum().is_some_and(Quorum::is_leader));
            let leader = leader.map(|(id, _)| id);
            match (rig.below(10), leader) {
                (0, _) if rig.is_running(node) => rig.kill(node),
                (1, _) if rig.is_running(node) => rig.lose_power(node),
                (2, _) => rig.isolate(node),
                (3, _) => rig.heal(),
                (4 | 5, _) => {
                    for node in nodes.iter().filter(|node| !rig.is_running(**node)).copied().collect::<Vec<_>>() {
                        rig.start(node);
                        watch.restarted(node);
                    }
                }
                (6, Some(leader)) => {
                    rig.ask(leader, add(node.0));
                }
                (7, Some(leader)) => {
                    rig.ask(leader, remove(node.0));
                }
                (_, Some(leader)) => {
                    rig.ask(leader, create(&format!("t{round}")));
                }
                _ => {}
            }
        }
        rig.heal();
        for node in nodes.iter().filter(|node| !rig.is_running(**node)).copied().collect::<Vec<_>>() {
            rig.start(node);
            watch.restarted(node);
        }
        let same = |rig: &Rig| {
            let ends: BTreeSet<Offset> = rig.running().map(|(_, node)| node.applied_metadata().1).collect();
            agreed(rig).is_some() && ends.len() == 1
        };
        assert!(watch_until(&mut rig, &mut watch, Duration::from_secs(60), same), "seed {seed}: no agreement");
    }
}
