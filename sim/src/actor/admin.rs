//! The raw administrator: sets the topics up, then creates, deletes, alters and asks at random.

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, TopicName, TopicPartition},
    message::{
        AddVoterRequest, AlterConfigsRequest, AlterConfigsResource, ConfigChange, ConfigOperation, ConfigResource,
        CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest,
        DeleteTopicsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest, ErrorCode,
        IsolationLevel, ListOffsetsPartition, ListOffsetsRequest, NewPartitions, NewTopic,
        OffsetForLeaderEpochPartition, OffsetForLeaderEpochRequest, OffsetSpec, RemoveVoterRequest, Request, Response,
        TopicRef,
    },
    offset::Offset,
    time::{Duration, Timestamp},
};

use super::{Atlas, Desk, Kind, MS, Phase, Reply, Runner, Scene};
use crate::{
    rng::{Purpose, Stream},
    tally::Mark,
};

/// A client that administers.
#[derive(Debug)]
pub struct Admin {
    random: Stream,
    id: u64,
    /// False for the one that only sets up.
    restless: bool,
    think: u64,
    desk: Desk<Errand>,
    atlas: Atlas,
    atlas_due: u64,
    next_op: u64,
    creating: bool,
    deleted: u64,
}

#[derive(Debug)]
pub(super) enum Errand {
    Atlas,
    Create,
    Delete,
    AddPartitions,
    Alter,
    DeleteRecords,
    Voters,
    Ask,
}

/// How many partitions a topic grows to.
const PARTITIONS_MAX: i32 = 4;

impl Admin {
    /// Client number `id` of this seed.
    pub fn new(seed: u64, id: u64, restless: bool, think: u64) -> Self {
        let random = Stream::new(seed, Purpose::Workload, id);
        Self {
            random,
            id,
            restless,
            think,
            desk: Desk::new(),
            atlas: Atlas::default(),
            atlas_due: 0,
            next_op: 500 * MS,
            creating: false,
            deleted: 0,
        }
    }

    fn missing(&self, scene: &Scene<'_>) -> Vec<String> {
        scene.plan.topics.keys().filter(|name| !self.atlas.topics.contains_key(*name)).cloned().collect()
    }

    fn create(&mut self, scene: &mut Scene<'_>, names: &[String]) {
        let topics = names.iter().map(|name| {
            let mut configs = Vec::new();
            if scene.plan.topics[name] == Kind::Compacted {
                configs.push(("cleanup.policy".to_owned(), Some("compact".to_owned())));
            }
            if scene.config.replicated_durability == 1 {
                configs.push(("durability".to_owned(), Some("replicated".to_owned())));
            }
            if scene.config.nodes > 1 && scene.config.min_isr > 1 {
                let least = scene.config.min_isr.min(scene.config.replication).min(scene.config.brokers());
                configs.push(("min.insync.replicas".to_owned(), Some(least.to_string())));
            }
            if scene.config.unclean == 1 {
                configs.push(("unclean.leader.election.enable".to_owned(), Some("true".to_owned())));
            }
            NewTopic {
                name: TopicName::new(name),
                partitions: Some(scene.config.partitions as i32),
                replication_factor: Some(scene.config.replication.min(scene.config.brokers()) as i16),
                assignments: Vec::new(),
                configs,
            }
        });
        let topics = topics.collect();
        let request = CreateTopicsRequest { topics, validate_only: false, timeout: Duration::from_secs(5) };
        self.creating = true;
        self.desk.call(scene, 6_000 * MS, Request::CreateTopics(request), Errand::Create);
    }

    fn of_kind(&self, scene: &Scene<'_>, kind: Kind) -> Vec<String> {
        let there = |name: &&String| scene.plan.topics.get(*name) == Some(&kind);
        self.atlas.topics.keys().filter(there).cloned().collect()
    }

    fn operate(&mut self, scene: &mut Scene<'_>) {
        let partitions = self.atlas.partitions();
        if partitions.is_empty() {
            return;
        }
        if scene.config.changes_voters() && self.random.chance(300_000) {
            let request = self.change_voters(scene);
            self.desk.call(scene, 6_000 * MS, request, Errand::Voters);
            return;
        }
        let (name, at) = self.random.pick(&partitions).clone();
        let named = TopicRef::Name(TopicName::new(&name));
        let (request, errand) = match self.random.below(14) {
            0 => {
                let churned = self.of_kind(scene, Kind::Churned);
                let Some(name) = churned.first() else { return };
                let topics = vec![TopicRef::Name(TopicName::new(name))];
                let request = DeleteTopicsRequest { topics, timeout: Duration::from_secs(5) };
                (Request::DeleteTopics(request), Errand::Delete)
            }
            1 => {
                let stable = self.of_kind(scene, Kind::Stable);
                let Some(name) = stable.first() else { return };
                let (_, count) = self.atlas.topics[name];
                if count >= PARTITIONS_MAX || self.random.chance(500_000) {
                    return;
                }
                let topics =
                    vec![NewPartitions { name: TopicName::new(name), total: count + 1, assignments: Vec::new() }];
                let request = CreatePartitionsRequest { topics, validate_only: false, timeout: Duration::from_secs(5) };
                (Request::CreatePartitions(request), Errand::AddPartitions)
            }
            2 => self.alter(scene, &name),
            3 => {
                let offset = if self.random.chance(200_000) { -1 } else { self.random.log_between(1, 64) as i64 };
                let partition =
                    DeleteRecordsPartition { topic: named, partition: at.partition, offset: Offset(offset) };
                let partitions = vec![partition];
                let request = DeleteRecordsRequest { timeout: Duration::from_secs(5), partitions };
                (Request::DeleteRecords(request), Errand::DeleteRecords)
            }
            4 | 5 => (self.list_offsets(scene, named, at), Errand::Ask),
            6 => {
                let epoch = LeaderEpoch(self.random.below(4) as i32);
                let partition = OffsetForLeaderEpochPartition {
                    topic: named,
                    partition: at.partition,
                    current_leader_epoch: LeaderEpoch::NONE,
                    leader_epoch: epoch,
                };
                let request = OffsetForLeaderEpochRequest { partitions: vec![partition] };
                (Request::OffsetForLeaderEpoch(request), Errand::Ask)
            }
            7 => {
                let resources = vec![(ConfigResource::Topic(TopicName::new(&name)), None)];
                (Request::DescribeConfigs(DescribeConfigsRequest { resources }), Errand::Ask)
            }
            8 => (Request::DescribeCluster, Errand::Ask),
            9 => (Request::DescribeLogDirs(DescribeLogDirsRequest { partitions: None }), Errand::Ask),
            10 => {
                let limit = self.random.between(1, 8) as usize;
                let request = DescribeTopicPartitionsRequest { topics: Vec::new(), limit, cursor: None };
                (Request::DescribeTopicPartitions(request), Errand::Ask)
            }
            11 => {
                // Names and counts that cannot be; nothing may come of them.
                let (name, count) = *self.random.pick(&[("", 1), ("..", 1), ("a/b", 1), ("fine", 0), ("fine", -7)]);
                let topic = NewTopic {
                    name: TopicName::new(name),
                    partitions: Some(count),
                    replication_factor: Some(1),
                    assignments: Vec::new(),
                    configs: Vec::new(),
                };
                let topics = vec![topic];
                let request = CreateTopicsRequest { topics, validate_only: false, timeout: Duration::from_secs(5) };
                (Request::CreateTopics(request), Errand::Ask)
            }
            _ => return,
        };
        let leader = match request {
            Request::DeleteRecords(_) | Request::ListOffsets(_) | Request::OffsetForLeaderEpoch(_) => {
                self.atlas.leader(at)
            }
            _ => None,
        };
        self.desk.call_to(scene, leader, 6_000 * MS, request, errand);
    }

    /// One of the nodes comes, or goes, as a voter of the metadata quorum.
    fn change_voters(&mut self, scene: &Scene<'_>) -> Request {
        let node = NodeId(self.random.below(scene.config.nodes) as i32);
        let (cluster_id, directory) = (None, DirectoryId::ANY);
        if self.random.chance(600_000) {
            Request::AddVoter(AddVoterRequest { cluster_id, node, directory, endpoint: None })
        } else {
            Request::RemoveVoter(RemoveVoterRequest { cluster_id, node, directory })
        }
    }

    fn list_offsets(&mut self, scene: &Scene<'_>, topic: TopicRef, at: TopicPartition) -> Request {
        let spec = match self.random.below(6) {
            0 => OffsetSpec::Earliest,
            1 => OffsetSpec::Latest,
            2 => OffsetSpec::MaxTimestamp,
            _ => OffsetSpec::At(Timestamp(scene.wall.0 - self.random.below(60_000) as i64)),
        };
        let partition =
            ListOffsetsPartition { topic, partition: at.partition, current_leader_epoch: LeaderEpoch::NONE, spec };
        let isolation = IsolationLevel::ReadUncommitted;
        Request::ListOffsets(ListOffsetsRequest { isolation, partitions: vec![partition] })
    }

    fn alter(&mut self, scene: &Scene<'_>, name: &str) -> (Request, Errand) {
        let (key, value) = match self.random.below(5) {
            0 => ("retention.ms", self.random.log_between(5_000, 100_000)),
            1 => ("retention.bytes", self.random.log_between(2_000, 500_000)),
            2 => ("max.message.bytes", self.random.log_between(2_000, 1 << 20)),
            3 => ("delete.retention.ms", self.random.log_between(100, 20_000)),
            _ => ("flush.messages", 1),
        };
        let operation =
            if self.random.chance(500_000) { ConfigOperation::Set(value.to_string()) } else { ConfigOperation::Delete };
        let fits = scene.config.retention_ms > 0 || !key.starts_with("retention");
        let resource = AlterConfigsResource {
            resource: ConfigResource::Topic(TopicName::new(name)),
            replace_all: false,
            changes: if fits { vec![ConfigChange { name: key.to_owned(), operation }] } else { Vec::new() },
        };
        (Request::AlterConfigs(AlterConfigsRequest { resources: vec![resource], validate_only: false }), Errand::Alter)
    }
}

impl Runner for Admin {
    type Errand = Errand;

    fn desk(&mut self) -> &mut Desk<Errand> {
        &mut self.desk
    }

    fn over(&mut self, scene: &mut Scene<'_>, errand: Errand, reply: Reply) {
        let soon = scene.now + self.random.between(50, 300) * MS;
        match (errand, reply) {
            (Errand::Atlas, Reply::Answered(Response::Metadata(response))) => {
                self.atlas.learn(&response);
                for (name, &(topic, _)) in &self.atlas.topics {
                    if scene.plan.topics.get(name) == Some(&Kind::Compacted) {
                        scene.history.compacted.insert(topic);
                    }
                }
                self.atlas_due = scene.now + self.random.between(500, 3_000) * MS;
            }
            (Errand::Atlas, _) => self.atlas_due = soon,
            (Errand::Create, reply) => {
                self.creating = false;
                self.atlas_due = self.atlas_due.min(soon);
                if let Reply::Answered(Response::CreateTopics(response)) = reply {
                    let made = response.topics.iter().any(|topic| topic.error == ErrorCode::None);
                    scene.tally.sometimes(Mark::TopicRecreated, made && self.deleted > 0);
                    for topic in response.topics.iter().filter(|topic| topic.error.is_none()) {
                        if scene.plan.topics.get(topic.name.as_str()) == Some(&Kind::Compacted) {
                            scene.history.compacted.insert(topic.id);
                        }
                    }
                }
            }
            (Errand::Delete, reply) => {
                self.atlas_due = self.atlas_due.min(soon);
                if let Reply::Answered(Response::DeleteTopics(response)) = reply {
                    self.deleted += response.topics.iter().filter(|topic| topic.error.is_none()).count() as u64;
                }
            }
            (Errand::AddPartitions, Reply::Answered(Response::CreatePartitions(response))) => {
                let done = response.topics.iter().any(|topic| topic.error.is_none());
                scene.tally.sometimes(Mark::PartitionsAdded, done);
            }
            (Errand::Alter, Reply::Answered(Response::AlterConfigs(response))) => {
                let done = response.resources.iter().any(|resource| resource.error.is_none());
                scene.tally.sometimes(Mark::ConfigChanged, done);
            }
            (Errand::DeleteRecords, Reply::Answered(Response::DeleteRecords(response))) => {
                let done = response.partitions.iter().any(|partition| partition.error.is_none());
                scene.tally.sometimes(Mark::RecordsDeleted, done);
            }
            (Errand::Voters, Reply::Answered(Response::AddVoter(response))) => {
                scene.tally.sometimes(Mark::VoterAdded, response.error.is_none());
            }
            (Errand::Voters, Reply::Answered(Response::RemoveVoter(response))) => {
                scene.tally.sometimes(Mark::VoterRemoved, response.error.is_none());
            }
            _ => {}
        }
    }

    fn tick(&mut self, scene: &mut Scene<'_>) {
        if scene.phase == Phase::FinalRead {
            (self.next_op, self.atlas_due) = (u64::MAX, u64::MAX);
            return;
        }
        if scene.now >= self.atlas_due {
            self.desk.call(scene, 3_000 * MS, Atlas::request(), Errand::Atlas);
            self.atlas_due = u64::MAX;
        }
        let tick = self.next_op;
        let mut next = tick;
        let is_due = scene.phase == Phase::Chaos && scene.ops.due(scene.now, &mut next, &mut self.random);
        if scene.now < tick && !is_due {
            self.next_op = tick.min(next);
            return;
        }
        // Topics are created at every tick, listed or not: without them nothing happens at all.
        let tick = scene.now + (self.random.exponential(self.think)).max(MS);
        self.next_op = scene.ops.next(tick);
        let missing = self.missing(scene);
        // What chaos has deleted stays deleted; what was never there is still to come.
        if !self.creating && !missing.is_empty() && !self.restless_pause() {
            self.create(scene, &missing);
        } else if self.restless && is_due {
            self.operate(scene);
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let due = (self.atlas_due != u64::MAX).then_some(self.atlas_due);
        let next = (self.next_op != u64::MAX).then_some(self.next_op);
        [self.desk.deadline(), due, next].into_iter().flatten().min()
    }

    fn unfinished(&self, phase: Phase) -> Option<String> {
        let asking = phase == Phase::Settle && !self.desk.is_empty() && self.creating;
        asking.then(|| format!("admin {} waits for topics", self.id))
    }
}

impl Admin {
    /// A deleted topic is not always created again at once.
    fn restless_pause(&mut self) -> bool {
        self.deleted > 0 && self.random.chance(700_000)
    }
}
