//! The client that moves things: partitions to other nodes, now and then back before they are there, and the lead to the
//! preferred replica, or to anybody where no other can lead and the run allows that.

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicName},
    message::{
        AlterConfigsRequest, AlterConfigsResource, AlterPartitionReassignmentsRequest, ConfigChange, ConfigOperation,
        ConfigResource, ElectLeadersRequest, ElectionKind, ListPartitionReassignmentsRequest, Reassignment, Request,
        Response,
    },
    time::Duration,
};

use super::{Atlas, Desk, MS, Phase, Reply, Runner, Scene};
use crate::{config::Config, rng::Stream, tally::Mark};

/// The client.
#[derive(Debug)]
pub struct Mover {
    random: Stream,
    think: u64,
    desk: Desk<Errand>,
    atlas: Atlas,
    atlas_due: u64,
    next_op: u64,
    /// What it wanted moved last.
    moving: Vec<Place>,
}

type Place = (TopicName, PartitionId);

#[derive(Debug)]
pub(super) enum Errand {
    Atlas,
    Cancel,
    Elect,
    Other,
}

/// What it does in a run, roughly.
const OPERATIONS: u64 = 30;
/// How long an answer may take.
const TIMEOUT: u64 = 6_000 * MS;

impl Mover {
    /// A client with these random values.
    pub fn new(random: Stream, config: &Config) -> Self {
        Self {
            random,
            think: config.chaos_ms * MS / OPERATIONS,
            desk: Desk::new(),
            atlas: Atlas::default(),
            atlas_due: 0,
            next_op: 2_000 * MS,
            moving: Vec::new(),
        }
    }

    fn places(&self) -> Vec<Place> {
        let place = |(name, at): (String, tidelog_core::ids::TopicPartition)| (TopicName::new(&name), at.partition);
        self.atlas.partitions().into_iter().map(place).collect()
    }

    fn operate(&mut self, scene: &mut Scene<'_>) {
        let places = self.places();
        if places.is_empty() {
            return;
        }
        let place = self.random.pick(&places).clone();
        let (request, errand) = match self.random.below(12) {
            0..=4 => self.reassign(scene, &places),
            5 | 6 => self.cancel(place),
            7 => {
                let partitions = self.random.chance(500_000).then(|| vec![place]);
                let request = ListPartitionReassignmentsRequest { partitions };
                (Request::ListPartitionReassignments(request), Errand::Other)
            }
            8 if scene.config.unclean == 1 => self.allow_unclean(place.0),
            9 if scene.config.unclean == 1 => self.elect(ElectionKind::Unclean, place),
            _ => self.elect(ElectionKind::Preferred, place),
        };
        self.desk.call(scene, TIMEOUT, request, errand);
    }

    fn reassign(&mut self, scene: &Scene<'_>, places: &[Place]) -> (Request, Errand) {
        let count = self.random.between(1, 3);
        let allow_replication_factor_change = self.random.chance(300_000);
        let mut partitions: Vec<Reassignment> = Vec::new();
        for _ in 0..count {
            let (topic, partition) = self.random.pick(places).clone();
            if partitions.iter().any(|other| (&other.topic, other.partition) == (&topic, partition)) {
                continue;
            }
            let replicas = Some(self.target(scene.config, allow_replication_factor_change));
            partitions.push(Reassignment { topic, partition, replicas });
        }
        self.moving = partitions.iter().map(|asked| (asked.topic.clone(), asked.partition)).collect();
        let timeout = Duration(TIMEOUT);
        let request = AlterPartitionReassignmentsRequest { partitions, allow_replication_factor_change, timeout };
        (Request::AlterPartitionReassignments(request), Errand::Other)
    }

    /// Some nodes in some order, as many as a partition has replicas, or others where that may be.
    fn target(&mut self, config: &Config, any_count: bool) -> Vec<NodeId> {
        let usual = config.replication.min(config.brokers());
        let count = if any_count { self.random.between(1, config.brokers()) } else { usual };
        let mut left: Vec<NodeId> = (config.controllers() as i32..config.nodes as i32).map(NodeId).collect();
        (0..count).map(|_| left.swap_remove(self.random.below(left.len() as u64) as usize)).collect()
    }

    fn cancel(&mut self, otherwise: Place) -> (Request, Errand) {
        let moving = std::mem::take(&mut self.moving);
        let places = if moving.is_empty() { vec![otherwise] } else { moving };
        let cancelled = |(topic, partition)| Reassignment { topic, partition, replicas: None };
        let request = AlterPartitionReassignmentsRequest {
            partitions: places.into_iter().map(cancelled).collect(),
            allow_replication_factor_change: false,
            timeout: Duration(TIMEOUT),
        };
        (Request::AlterPartitionReassignments(request), Errand::Cancel)
    }

    fn elect(&mut self, kind: ElectionKind, place: Place) -> (Request, Errand) {
        let partitions = self.random.chance(500_000).then(|| vec![place]);
        (Request::ElectLeaders(ElectLeadersRequest { kind, partitions, timeout: Duration(TIMEOUT) }), Errand::Elect)
    }

    /// The setting is taken away or put back while the topic lives.
    fn allow_unclean(&mut self, topic: TopicName) -> (Request, Errand) {
        let operation = match self.random.below(2) {
            0 => ConfigOperation::Set("true".to_owned()),
            _ => ConfigOperation::Set("false".to_owned()),
        };
        let changes = vec![ConfigChange { name: "unclean.leader.election.enable".to_owned(), operation }];
        let resource = AlterConfigsResource { resource: ConfigResource::Topic(topic), replace_all: false, changes };
        (Request::AlterConfigs(AlterConfigsRequest { resources: vec![resource], validate_only: false }), Errand::Other)
    }
}

impl Runner for Mover {
    type Errand = Errand;

    fn desk(&mut self) -> &mut Desk<Errand> {
        &mut self.desk
    }

    fn over(&mut self, scene: &mut Scene<'_>, errand: Errand, reply: Reply) {
        match (errand, reply) {
            (Errand::Atlas, Reply::Answered(Response::Metadata(response))) => {
                self.atlas.learn(&response);
                self.atlas_due = scene.now + self.random.between(500, 3_000) * MS;
            }
            (Errand::Atlas, _) => self.atlas_due = scene.now + self.random.between(50, 300) * MS,
            (Errand::Cancel, Reply::Answered(Response::AlterPartitionReassignments(response))) => {
                let done = response.partitions.iter().any(|partition| partition.error.is_none());
                scene.tally.sometimes(Mark::ReassignmentCancelled, done);
            }
            (Errand::Elect, Reply::Answered(Response::ElectLeaders(response))) => {
                let done = response.partitions.iter().any(|partition| partition.error.is_none());
                scene.tally.sometimes(Mark::LeaderElectedOnDemand, done);
            }
            _ => {}
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
        if scene.ops.due(scene.now, &mut self.next_op, &mut self.random) {
            self.operate(scene);
            self.next_op = scene.ops.next(scene.now + self.random.exponential(self.think).max(MS));
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let due = [self.atlas_due, self.next_op].into_iter().filter(|at| *at != u64::MAX);
        due.chain(self.desk.deadline()).min()
    }

    fn unfinished(&self, _phase: Phase) -> Option<String> {
        None
    }
}
