//! The raw consumer: reads in odd portions, seeks for no reason, and writes down all that it sees.
//!
//! One with a rack goes where leaders send it (KIP-392), now and then back to the leader, and there as well whenever a follower
//! does not serve it. It says the newest leader epoch that it has heard of.

use std::collections::BTreeMap;

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, TopicPartition},
    message::{
        ErrorCode, FetchPartition, FetchRequest, FetchedPartition, IsolationLevel, ListOffsetsPartition,
        ListOffsetsRequest, OffsetSpec, Records, Request, Response,
    },
    offset::Offset,
    record::{Batch, Batches},
    time::{Duration, Timestamp},
};

use super::{Atlas, Desk, MS, Phase, Reply, Runner, Scene, topic_ref};
use crate::{
    config::Config,
    history::{LostPlace, Poll},
    payload,
    rng::{Purpose, Stream},
    tally::Mark,
};

/// A consumer that builds its requests by hand.
#[derive(Debug)]
pub struct Consumer {
    random: Stream,
    id: u32,
    by_id: bool,
    rack: Option<String>,
    /// What only one with a rack draws.
    whims: Stream,
    think: u64,
    desk: Desk<Errand>,
    atlas: Atlas,
    atlas_due: u64,
    lanes: BTreeMap<TopicPartition, Lane>,
    fetching: bool,
    next_op: u64,
    /// Counts over all lanes: a partition that comes back has another one.
    assignments: u32,
}

#[derive(Debug)]
struct Lane {
    name: String,
    assignment: u32,
    position: Option<Offset>,
    /// Where the leader has sent it.
    near: Option<NodeId>,
    seeking: bool,
    rest_until: u64,
}

#[derive(Debug)]
pub(super) enum Errand {
    Atlas,
    Seek { to: TopicPartition },
    Fetch { positions: Vec<(TopicPartition, Offset, u32)>, to_leader: bool },
}

/// The batches that a fetch brought, and whether something else follows them.
pub(crate) fn batches_of(records: &Records) -> (Vec<Batch>, bool) {
    match records {
        Records::Batches(batches) => (batches.clone(), false),
        Records::Bytes(bytes) => {
            let mut batches = Vec::new();
            for batch in Batches(bytes.clone()) {
                match batch {
                    Ok(batch) => batches.push(batch),
                    Err(_) => return (batches, true),
                }
            }
            (batches, false)
        }
        Records::Empty | Records::Log(_) => (Vec::new(), false),
    }
}

impl Consumer {
    /// Client number `id` of this seed.
    pub fn new(seed: u64, id: u64, think: u64, config: &Config) -> Self {
        let mut random = Stream::new(seed, Purpose::Workload, id);
        let mut whims = Stream::new(seed, Purpose::Workload, 1 << 34 | id);
        let by_id = random.chance(500_000);
        let rack = if whims.chance(750_000) { config.rack(whims.below(config.racks)) } else { None };
        Self {
            random,
            id: id as u32,
            by_id,
            rack,
            whims,
            think,
            desk: Desk::new(),
            atlas: Atlas::default(),
            atlas_due: 0,
            lanes: BTreeMap::new(),
            fetching: false,
            next_op: 0,
            assignments: 0,
        }
    }

    fn learn(&mut self, scene: &Scene<'_>) {
        let partitions = self.atlas.partitions();
        for (name, to) in &partitions {
            if scene.plan.topics.contains_key(name) {
                let lane = || Lane {
                    name: name.clone(),
                    assignment: 0,
                    position: None,
                    near: None,
                    seeking: false,
                    rest_until: 0,
                };
                self.lanes.entry(*to).or_insert_with(lane);
            }
        }
        self.lanes.retain(|to, _| partitions.iter().any(|(_, there)| there == to));
    }

    fn seek(&mut self, scene: &mut Scene<'_>, to: TopicPartition) {
        let spec = match self.random.below(8) {
            0 => OffsetSpec::Latest,
            1 => OffsetSpec::At(Timestamp(scene.wall.0 - self.random.below(20_000) as i64)),
            _ => OffsetSpec::Earliest,
        };
        let lane = self.lanes.get_mut(&to).expect("the caller has it");
        (lane.seeking, lane.position) = (true, None);
        self.assignments += 1;
        lane.assignment = self.assignments;
        let request = Request::ListOffsets(ListOffsetsRequest {
            isolation: IsolationLevel::ReadUncommitted,
            partitions: vec![ListOffsetsPartition {
                topic: topic_ref(scene.plan, &lane.name, to.topic, self.by_id),
                partition: to.partition,
                current_leader_epoch: LeaderEpoch::NONE,
                spec,
            }],
        });
        let leader = self.atlas.leader(to);
        self.desk.call_to(scene, leader, 3_000 * MS, request, Errand::Seek { to });
    }

    fn fetch(&mut self, scene: &mut Scene<'_>) {
        let mut positions = Vec::new();
        let mut partitions = Vec::new();
        let (mut node, mut to_leader) = (None, true);
        for (&to, lane) in &self.lanes {
            let Some(offset) = lane.position.filter(|_| lane.rest_until <= scene.now) else { continue };
            if self.random.chance(200_000) {
                continue;
            }
            // One request goes to one node.
            let (at, leads) = (lane.near.or(self.atlas.leader(to)), lane.near.is_none());
            if positions.is_empty() {
                (node, to_leader) = (at, leads);
            } else if (at, leads) != (node, to_leader) {
                continue;
            }
            positions.push((to, offset, lane.assignment));
            partitions.push(FetchPartition {
                topic: topic_ref(scene.plan, &lane.name, to.topic, self.by_id),
                partition: to.partition,
                current_leader_epoch: if self.rack.is_some() { self.atlas.epoch(to) } else { LeaderEpoch::NONE },
                offset,
                last_fetched_epoch: LeaderEpoch::NONE,
                log_start: Offset::NONE,
                max_bytes: self.random.log_between(1, 1 << 16) as usize,
            });
        }
        if partitions.is_empty() {
            return;
        }
        self.fetching = true;
        let wait = if self.random.chance(300_000) { 0 } else { self.random.log_between(1, 2_000) };
        let committed = self.random.chance(500_000);
        // To be served by the leader itself it says nothing of racks.
        let rack = self.rack.clone().filter(|_| !to_leader || self.whims.chance(850_000));
        let request = Request::Fetch(FetchRequest {
            max_wait: Duration::from_millis(wait),
            min_bytes: self.random.log_between(1, 2_000) as usize,
            max_bytes: self.random.log_between(1, 1 << 18) as usize,
            isolation: if committed { IsolationLevel::ReadCommitted } else { IsolationLevel::ReadUncommitted },
            rack,
            replica: None,
            partitions,
        });
        self.desk.call_to(scene, node, wait * MS + 5_000 * MS, request, Errand::Fetch { positions, to_leader });
    }

    fn fetched(&mut self, scene: &mut Scene<'_>, to: TopicPartition, asked: (Offset, u32), answer: &FetchedPartition) {
        let (position, assignment) = asked;
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        if lane.assignment != assignment || lane.position != Some(position) {
            return;
        }
        if lane.near.is_some() && self.whims.chance(50_000) {
            lane.near = None;
        }
        match answer.error {
            ErrorCode::None if answer.preferred_read_replica.is_some() => lane.near = answer.preferred_read_replica,
            ErrorCode::None => {
                let mut seen = Vec::new();
                let mut next = position;
                let (batches, _) = batches_of(&answer.records);
                for batch in &batches {
                    let Ok(records) = batch.records() else { continue };
                    for record in records.flatten().filter(|record| record.offset >= position) {
                        if let Some(value) = payload::value(&record) {
                            seen.push((record.offset, value));
                        }
                    }
                    next = next.max(batch.header().next_offset());
                }
                lane.position = Some(next);
                if next != position {
                    let poll = Poll { reader: self.id, assignment, from: to, position, seen, at: scene.now };
                    scene.history.polls.push(poll);
                }
            }
            ErrorCode::OffsetOutOfRange => {
                scene.tally.sometimes(Mark::OffsetOutOfRange, true);
                let log_start = answer.log_start;
                if self.rack.is_some() {
                    // It says what epoch it believes in, so that no leader of an earlier one has told it.
                    scene.history.lost_places.push(LostPlace { reader: self.id, of: to, position, log_start });
                }
                lane.near = None;
                self.seek(scene, to);
            }
            _ => {
                lane.near = None;
                lane.rest_until = scene.now + self.random.between(50, 300) * MS;
                self.atlas_due = self.atlas_due.min(scene.now + 50 * MS);
            }
        }
    }
}

impl Runner for Consumer {
    type Errand = Errand;

    fn desk(&mut self) -> &mut Desk<Errand> {
        &mut self.desk
    }

    fn over(&mut self, scene: &mut Scene<'_>, errand: Errand, reply: Reply) {
        match (errand, reply) {
            (Errand::Atlas, Reply::Answered(Response::Metadata(response))) => {
                self.atlas.learn(&response);
                self.learn(scene);
                self.atlas_due = scene.now + self.random.between(500, 5_000) * MS;
            }
            (Errand::Atlas, _) => self.atlas_due = scene.now + self.random.between(50, 500) * MS,
            (Errand::Seek { to }, reply) => {
                let Some(lane) = self.lanes.get_mut(&to) else { return };
                lane.seeking = false;
                lane.rest_until = scene.now + 20 * MS;
                if let Reply::Answered(Response::ListOffsets(response)) = reply
                    && let Some(listed) = response.partitions.first()
                    && listed.error.is_none()
                {
                    // Nothing that late: from the start, then.
                    lane.position = Some(listed.offset.max(Offset::ZERO));
                }
            }
            (Errand::Fetch { positions, to_leader }, reply) => {
                self.fetching = false;
                if let Reply::Answered(Response::Fetch(response)) = reply {
                    for ((to, offset, assignment), answer) in positions.into_iter().zip(&response.partitions) {
                        self.fetched(scene, to, (offset, assignment), answer);
                    }
                } else {
                    for (to, ..) in positions.iter().filter(|_| !to_leader) {
                        self.lanes.entry(*to).and_modify(|lane| lane.near = None);
                    }
                    self.next_op = self.next_op.max(scene.now + self.random.between(20, 200) * MS);
                }
            }
        }
    }

    fn tick(&mut self, scene: &mut Scene<'_>) {
        if scene.phase != Phase::Chaos {
            (self.next_op, self.atlas_due) = (u64::MAX, u64::MAX);
            return;
        }
        if scene.now >= self.atlas_due {
            self.desk.call(scene, 3_000 * MS, Atlas::request(), Errand::Atlas);
            self.atlas_due = u64::MAX;
        }
        if self.fetching || !scene.ops.due(scene.now, &mut self.next_op, &mut self.random) {
            return;
        }
        self.next_op = scene.ops.next(scene.now + self.random.exponential(self.think).max(MS / 10));
        let lanes: Vec<TopicPartition> = self.lanes.keys().copied().collect();
        for to in lanes {
            let lane = &self.lanes[&to];
            let lost = lane.position.is_none() && !lane.seeking && lane.rest_until <= scene.now;
            if lost || lane.position.is_some() && self.random.chance(5_000) {
                self.seek(scene, to);
            }
        }
        self.fetch(scene);
    }

    fn next_deadline(&self) -> Option<u64> {
        if self.next_op == u64::MAX {
            return None;
        }
        let due = (self.atlas_due != u64::MAX).then_some(self.atlas_due);
        let next = (!self.fetching).then_some(self.next_op);
        [self.desk.deadline(), due, next].into_iter().flatten().min()
    }

    fn unfinished(&self, _phase: Phase) -> Option<String> {
        None
    }
}
