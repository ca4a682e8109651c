//! The quorum as nodes make it, on virtual time.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    cluster::Image,
    epoch::LeaderEpoch,
    ids::{NodeId, RequestId},
    message::{CreateTopicsRequest, ErrorCode, Request, Response},
    node::{
        Node, NodeConfig,
        rig::{Rig, new_topic},
    },
    offset::Offset,
    quorum::{Quorum, RoleName},
    time::{Duration, Instant},
};

mod roles;
mod snapshots;
mod voters;

/// What must be true at any time, and what is remembered for it.
#[derive(Default)]
struct Watch {
    leaders: BTreeMap<LeaderEpoch, NodeId>,
    /// By the end of what was applied.
    images: BTreeMap<Offset, Image>,
    /// Of each node's process: the epoch, the high watermark and the end of what was applied.
    marks: BTreeMap<NodeId, (LeaderEpoch, Offset, Offset)>,
    /// What each node has durably, running or not.
    durable: BTreeMap<NodeId, Offset>,
    /// Where committed records end, and the epoch of each last one.
    committed: BTreeMap<Offset, LeaderEpoch>,
    elected: u64,
}

impl Watch {
    fn restarted(&mut self, node: NodeId) {
        self.marks.remove(&node);
    }

    fn look(&mut self, rig: &Rig) {
        for (id, node) in rig.running() {
            if let Some(quorum) = node.quorum() {
                self.durable.insert(id, quorum.durable_end());
            }
        }
        for (id, node) in rig.running() {
            let Some(quorum) = node.quorum() else { continue };
            self.look_at_leader(id, quorum);
            self.look_at_marks(id, node, quorum);
        }
    }

    /// M1: one leader in an epoch. M4: it has all that was committed.
    fn look_at_leader(&mut self, id: NodeId, quorum: &Quorum) {
        if !quorum.is_leader() {
            return;
        }
        let before = self.leaders.insert(quorum.epoch(), id);
        assert!(before.is_none_or(|leader| leader == id), "M1: {before:?} and {id} lead epoch {}", quorum.epoch());
        if before.is_none() {
            self.elected += 1;
            for (&end, &epoch) in &self.committed {
                let has = quorum.epochs().epoch_at(Offset(end.0 - 1));
                let has = has == Some(epoch) || end <= quorum.log_start();
                assert!(end <= quorum.log_end() && has, "M4: leader {id} lacks what ends at {end}");
            }
        }
    }

    fn look_at_marks(&mut self, id: NodeId, node: &Node, quorum: &Quorum) {
        let (high_watermark, (_, applied)) = (quorum.high_watermark(), node.applied_metadata());
        let now = (quorum.epoch(), high_watermark, applied);
        let before = self.marks.insert(id, now).unwrap_or((LeaderEpoch::NONE, Offset::ZERO, Offset::ZERO));
        assert!(before.0 <= now.0, "M2: the epoch of {id} goes back");
        assert!(before.1 <= now.1, "M6: the high watermark of {id} goes back");
        assert!(
            applied <= high_watermark && high_watermark <= quorum.durable_end(),
            "M6: node {id} is ahead of itself"
        );
        if high_watermark > Offset::ZERO && before.1 != high_watermark {
            let has = self.durable.values().filter(|end| **end >= high_watermark).count();
            assert!(has * 2 > quorum.voters().len(), "M6: {high_watermark} is on the disks of {has}");
            // Below the log's start its snapshot has it.
            let snapshot = quorum.snapshot().filter(|snapshot| snapshot.end == high_watermark);
            let epoch = quorum.epochs().epoch_at(Offset(high_watermark.0 - 1)).or(snapshot.map(|it| it.epoch));
            let epoch = epoch.expect("it is in the log");
            let known = *self.committed.entry(high_watermark).or_insert(epoch);
            assert_eq!(known, epoch, "M3: two records at {high_watermark} are committed");
        }
        let sound = quorum.log_start() == Offset::ZERO || quorum.snapshot_end() >= quorum.log_start();
        assert!(sound && quorum.snapshot_end() <= high_watermark, "M8: node {id} starts at {}", quorum.log_start());
        if before.2 != applied {
            let canonical = self.images.entry(applied).or_insert_with(|| node.image().clone());
            assert_eq!(canonical, node.image(), "M5: node {id} has applied something else up to {applied}");
        }
    }
}

/// Lets time pass until something is so, watching.
fn watch_until(rig: &mut Rig, watch: &mut Watch, span: Duration, mut so: impl FnMut(&Rig) -> bool) -> bool {
    let end = rig.now().after(span);
    loop {
        watch.look(rig);
        if so(rig) {
            return true;
        }
        if !rig.step(end) {
            return false;
        }
    }
}

fn quorum(rig: &Rig, node: NodeId) -> &Quorum {
    rig.node(node).quorum().expect("its log is open")
}

/// The leader that all running nodes follow, whose epoch has begun to commit.
fn agreed(rig: &Rig) -> Option<NodeId> {
    let views: Option<BTreeSet<_>> =
        rig.running().map(|(_, node)| node.quorum().map(|q| (q.leader(), q.epoch()))).collect();
    let views = views?;
    let leader = views.first().and_then(|(leader, _)| *leader)?;
    let settled = views.len() == 1 && rig.is_running(leader) && quorum(rig, leader).established().is_some();
    settled.then_some(leader)
}

fn settle(rig: &mut Rig) -> NodeId {
    assert!(rig.run_until(|rig| agreed(rig).is_some()), "nobody is elected");
    agreed(rig).expect("just seen")
}

/// The leader, once it serves clients.
fn serving(rig: &mut Rig) -> NodeId {
    let leader = settle(rig);
    assert!(rig.run_until(|rig| rig.is_ready(leader)));
    leader
}

fn topics(rig: &Rig, node: NodeId) -> Vec<String> {
    rig.node(node).image().topics().map(|topic| topic.name.as_str().to_string()).collect()
}

fn create(name: &str) -> Request {
    let topics = alloc::vec![new_topic(name, 1, 1)];
    Request::CreateTopics(CreateTopicsRequest { topics, validate_only: false, timeout: Duration::ZERO })
}

fn error(response: &Response) -> ErrorCode {
    match response {
        Response::CreateTopics(r) => r.topics[0].error,
        other => panic!("{other:?}"),
    }
}

fn since(rig: &Rig, start: Instant) -> u64 {
    rig.now().since(start).as_millis()
}

#[test]
fn voters_elect_one_leader_soon_and_agree_on_it() {
    for voters in [2, 3, 4, 5] {
        for seed in 0..20 {
            let mut rig = Rig::cluster(voters, seed);
            let mut watch = Watch::default();
            let end = Duration::from_secs(5);
            assert!(
                watch_until(&mut rig, &mut watch, end, |rig| agreed(rig).is_some()),
                "{voters} voters, seed {seed}"
            );
        }
    }
}

#[test]
fn a_killed_leader_is_followed_by_another_at_once_and_nothing_committed_is_lost() {
    let mut slowest = 0;
    for seed in 0..30 {
        let mut rig = Rig::cluster(3, seed);
        let old = serving(&mut rig);
        assert_eq!(rig.create_topic(old, new_topic("t", 1, 1)), ErrorCode::None);
        rig.kill(old);
        let start = rig.now();
        let new = settle(&mut rig);
        slowest = slowest.max(since(&rig, start));
        assert!(new != old && topics(&rig, new) == ["t"]);
        rig.start(old);
        assert!(
            rig.run_until(|rig| agreed(rig) == Some(new) && topics(rig, old) == ["t"]),
            "it comes back as a follower"
        );
    }
    assert!(slowest < 300, "{slowest} ms without a leader");
}

#[test]
fn a_leader_behind_a_cut_resigns_and_what_it_alone_had_is_cut_off() {
    for seed in 0..20 {
        let mut rig = Rig::cluster(3, seed);
        let old = serving(&mut rig);
        let all = |rig: &Rig| rig.nodes().into_iter().all(|node| rig.is_ready(node));
        assert!(rig.run_until(all), "no broker waits for a decision");
        rig.isolate(old);
        let (start, asked) = (rig.now(), rig.ask(old, create("lost")));
        assert!(rig.run_until(|rig| !quorum(rig, old).is_leader()));
        assert!(since(&rig, start) <= 2_100, "what was on its way before the cut may still have arrived");
        let answer = rig.answer(asked).expect("whoever waited is told");
        assert_eq!(error(&answer), ErrorCode::RequestTimedOut, "it might have been committed");
        assert!(quorum(&rig, old).log_end() > quorum(&rig, old).high_watermark());
        let elected = |rig: &Rig| {
            rig.running().any(|(id, node)| id != old && node.quorum().is_some_and(|q| q.established().is_some()))
        };
        assert!(rig.run_until(elected), "seed {seed}");
        rig.heal();
        let new = settle(&mut rig);
        assert!(new != old);
        assert!(rig.run_until(|rig| quorum(rig, old).high_watermark() == quorum(rig, new).log_end()));
        assert_eq!((topics(&rig, old), topics(&rig, new)), (Vec::new(), Vec::new()));
    }
}

#[test]
fn a_node_that_was_away_disturbs_nobody() {
    let mut rig = Rig::cluster(3, 1);
    let leader = settle(&mut rig);
    let epoch = quorum(&rig, leader).epoch();
    let away = rig.nodes().into_iter().find(|node| *node != leader).expect("there are three");
    rig.isolate(away);
    rig.run_for(Duration::from_secs(30));
    assert_eq!(quorum(&rig, away).role(), RoleName::Prospective);
    rig.heal();
    assert_eq!(settle(&mut rig), leader);
    rig.kill(away);
    rig.run_for(Duration::from_secs(5));
    rig.start(away);
    assert!(rig.run_until(|rig| agreed(rig) == Some(leader)));
    assert_eq!(quorum(&rig, leader).epoch(), epoch, "no epoch was used up");
}

#[test]
fn a_leader_that_stops_hands_over_at_once() {
    for seed in 0..10 {
        let mut rig = Rig::cluster(3, seed);
        let old = serving(&mut rig);
        rig.stop(old);
        let start = rig.now();
        assert!(rig.run_until(|rig| !rig.is_running(old)), "it stops");
        let new = settle(&mut rig);
        assert!(new != old && since(&rig, start) < 500, "seed {seed}: {} ms", since(&rig, start));
    }
}

#[test]
fn a_follower_that_hears_nothing_stands_after_the_fetch_timeout() {
    let mut rig = Rig::cluster(3, 2);
    let old = settle(&mut rig);
    let start = rig.now();
    rig.isolate(old);
    let elected = |rig: &Rig| rig.running().any(|(id, node)| id != old && node.quorum().is_some_and(Quorum::is_leader));
    assert!(rig.run_until(elected));
    assert!((1_000..6_000).contains(&since(&rig, start)), "{} ms", since(&rig, start));
}

#[test]
fn a_node_without_a_vote_follows_and_catches_up() {
    let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let config = |node| NodeConfig { node: NodeId(node), voters: voters.clone(), ..NodeConfig::default() };
    let (observer, mut slowest) = (NodeId(4), 0);
    for seed in 0..20 {
        let mut rig = Rig::new((1..=4).map(config).collect(), seed);
        let leader = serving(&mut rig);
        assert_eq!(rig.create_topic(leader, new_topic("t", 1, 1)), ErrorCode::None);
        assert!(rig.run_until(|rig| topics(rig, observer) == ["t"]));
        rig.kill(leader);
        let start = rig.now();
        assert!(rig.run_until(|rig| agreed(rig).is_some_and(|next| next != leader)), "it finds the next leader");
        assert_ne!(agreed(&rig), Some(observer));
        slowest = slowest.max(since(&rig, start));
    }
    assert!(slowest < 500, "{slowest} ms: it asks on as soon as whom it asks knows nothing");
}

/// A cluster through a minute of kills, losses of power and cuts; then all is well again and must be found so.
fn history(voters: i32, seed: u64) -> u64 {
    let mut rig = if seed.is_multiple_of(2) { Rig::cluster(voters, seed) } else { snapshots::cluster(voters, seed) };
    let mut watch = Watch::default();
    let nodes = rig.nodes();
    let mut stopping = BTreeSet::new();
    let mut asked: Vec<(RequestId, String)> = Vec::new();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..60 {
        let magnitude = rig.below(13);
        let span = Duration::from_millis(1 + rig.below(1 << magnitude));
        watch_until(&mut rig, &mut watch, span, |_| false);
        let any = |rig: &mut Rig| nodes[rig.below(nodes.len() as u64) as usize];
        let (node, other) = (any(&mut rig), any(&mut rig));
        match rig.below(13) {
            12 if rig.is_running(node) => {
                rig.stop(node);
                stopping.insert(node);
            }
            0 if rig.is_running(node) => rig.kill(node),
            1 if rig.is_running(node) => rig.lose_power(node),
            2 => nodes.iter().for_each(|node| {
                if rig.is_running(*node) {
                    rig.lose_power(*node);
                }
            }),
            3 if node != other => rig.cut(node, other),
            4 if node != other => rig.cut_one_way(node, other),
            5 => rig.isolate(node),
            6 | 7 => rig.heal(),
            8 | 9 => {
                for node in nodes.iter().filter(|node| !rig.is_running(**node)).copied().collect::<Vec<_>>() {
                    rig.start(node);
                    watch.restarted(node);
                    stopping.remove(&node);
                }
            }
            _ => {
                let serving =
                    rig.running().find(|(_, node)| node.is_serving() && node.quorum().is_some_and(Quorum::is_leader));
                if let Some(node) = serving.map(|(id, _)| id) {
                    let name = format!("t{round}");
                    asked.push((rig.ask(node, create(&name)), name));
                }
            }
        }
        asked.retain(|(id, name)| match rig.answer(*id) {
            Some(answer) => {
                if error(&answer).is_none() {
                    acknowledged.push(name.clone());
                }
                false
            }
            None => true,
        });
    }
    rig.heal();
    let stopped = |rig: &Rig| stopping.iter().all(|node| !rig.is_running(*node));
    let long = Duration::from_secs(30);
    assert!(watch_until(&mut rig, &mut watch, long, stopped), "voters {voters}, seed {seed}: a node does not stop");
    for node in nodes.iter().filter(|node| !rig.is_running(**node)).copied().collect::<Vec<_>>() {
        rig.start(node);
        watch.restarted(node);
    }
    let same = |rig: &Rig| {
        let ends: BTreeSet<Offset> = rig.running().map(|(_, node)| node.applied_metadata().1).collect();
        agreed(rig).is_some() && ends.len() == 1
    };
    let minute = Duration::from_secs(60);
    assert!(watch_until(&mut rig, &mut watch, minute, same), "voters {voters}, seed {seed}: no agreement");
    for node in &nodes {
        let has = topics(&rig, *node);
        assert!(
            acknowledged.iter().all(|name| has.contains(name)),
            "seed {seed}: {acknowledged:?}, {node} has {has:?}"
        );
    }
    watch.elected
}

#[test]
fn whatever_happens_what_was_committed_stays() {
    let mut elected = 0;
    for seed in 0..150 {
        elected += history(3, seed);
        elected += history(5, 1_000 + seed);
    }
    assert!(elected > 1_000, "{elected} elections were too few to mean much");
}
