//! One node: composition and routing only.
//!
//! ```text
//! New -> Opening (metadata log) -> Replaying -> Electing -> Registering -> Opening partitions -> Serving -> Closing -> Closed
//! ```
//!
//! Three calls make up the whole contract: [`Node::handle`] takes a fact, [`Node::poll_effect`] gives orders until there
//! are none, [`Node::next_deadline`] says when the node wants to be woken. A run is a function of the configuration, the
//! recovered state, the seed and the inputs.

mod admin;
mod brokers;
mod calls;
mod config;
mod decisions;
mod fetch;
mod housekeeping;
mod metadata_log;
mod offsets;
mod parked;
mod produce;
mod replication;
mod sessions;
mod startup;
mod timers;
mod voters;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
};

pub use config::{ClusterWaits, MetadataLogConfig, NodeConfig, ReplicaSelector};
pub use timers::{Deadline, TimerKind};

use crate::{
    buggify::{Buggify, Site},
    cluster::{Controller, Image},
    effect::{Effect, Effects},
    ids::{JobId, LogId, PartitionId, RequestId, TopicPartition},
    input::Input,
    log::{DirState, JobOutcome, LogError},
    message::{ErrorCode, Request, TopicRef},
    prng::Prng,
    quorum::Quorum,
    replica::{Partition, TailBudget},
    time::{Instant, Now, Timestamp},
};
use decisions::Pending;
use metadata_log::MetadataLog;
use parked::{Gathers, ParkedFetches, ParkedProduces};
use startup::{Opening, Phase};
use timers::Timers;

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    recovered: DirState,
    now: Now,
    effects: Effects,
    phase: Phase,
    timers: Timers,
    // The cluster's state, and how it changes.
    metadata: MetadataLog,
    image: Image,
    controller: Controller,
    pending: VecDeque<Pending>,
    decisions: decisions::Decisions,
    // Who is a broker.
    membership: brokers::Membership,
    sessions: sessions::Sessions,
    // The logs of this node.
    next_log: u32,
    partitions: BTreeMap<LogId, Partition>,
    by_id: BTreeMap<TopicPartition, LogId>,
    opening: BTreeMap<LogId, Opening>,
    /// Partitions whose log could not be opened.
    broken: BTreeSet<TopicPartition>,
    /// It was said that the data directory takes no more.
    directory_failed: bool,
    /// Logs on their way out: what they still answer is of no interest.
    closing: BTreeSet<LogId>,
    jobs: BTreeMap<JobId, Purpose>,
    tail: TailBudget,
    // Requests that wait.
    produces: ParkedProduces,
    fetches: ParkedFetches,
    gathers: Gathers,
    producer_ids: produce::ProducerIds,
    replication: replication::Replication,
    // What other nodes are asked.
    calls: calls::Calls,
    quorum_seed: u64,
    /// What is done on purpose: in the simulator alone.
    buggify: Buggify,
}

/// What a job was ordered for, where that is not an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// One part of a request that is answered when all its parts are there.
    Gather { request: RequestId, index: usize },
    /// Retention, cleaning, expiry.
    Housekeeping,
    /// A follower's log is made a prefix of its leader's.
    Cut,
    /// Its outcome says nothing that the node has to act on, unless it failed.
    Order,
}

impl Node {
    /// A node that has not been told anything yet; its first input is [`Input::Started`].
    pub fn new(config: NodeConfig, recovered: DirState, seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let controller_seed = Prng::new(prng.next_u64());
        let quorum_seed = prng.next_u64();
        let timers = Timers::new(config.retention_check_interval, config.cleaner_backoff, config.expiry_check_interval);
        Self {
            controller: Controller::new(
                config.log_defaults.clone(),
                config.partitions_default,
                config.replication_default,
                controller_seed,
            ),
            timers,
            buggify: Buggify::new(config.buggify),
            config,
            recovered,
            now: Now { mono: Instant::ZERO, wall: Timestamp(0) },
            effects: Effects::new(),
            phase: Phase::New,
            metadata: MetadataLog::default(),
            image: Image::default(),
            pending: VecDeque::new(),
            decisions: decisions::Decisions::default(),
            membership: brokers::Membership::new(Prng::new(prng.next_u64())),
            sessions: sessions::Sessions::default(),
            next_log: LogId::METADATA.0 + 1,
            partitions: BTreeMap::new(),
            by_id: BTreeMap::new(),
            opening: BTreeMap::new(),
            broken: BTreeSet::new(),
            directory_failed: false,
            closing: BTreeSet::new(),
            jobs: BTreeMap::new(),
            tail: TailBudget::default(),
            produces: ParkedProduces::default(),
            fetches: ParkedFetches::default(),
            gathers: Gathers::default(),
            producer_ids: produce::ProducerIds::default(),
            replication: replication::Replication::default(),
            calls: calls::Calls::default(),
            quorum_seed,
        }
    }

    /// Takes one fact. All effects of the one before must have been collected.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(self.now.mono <= now.mono, "the monotonic clock went back");
        assert!(self.effects.is_drained(), "effects are collected before the next input");
        self.now = now;
        match input {
            Input::Started => self.start(),
            Input::Requested { id, request } => self.on_request(id, request),
            Input::RequestAbandoned { id } => self.abandon_request(id),
            Input::JobEnded { log, job, outcome } => self.on_job_ended(log, job, outcome),
            Input::CallEnded { call, outcome } => self.on_call_ended(call, outcome),
            Input::PeerDisconnected { node } => self.on_peer_disconnected(node),
            Input::StopRequested => self.begin_stop(),
            Input::TimePassed => self.startle(),
        }
        self.on_time();
        // What a node says it may say to itself.
        loop {
            self.tend_membership();
            self.replicate();
            if !self.serve_own_calls() {
                break;
            }
        }
        self.set_broker_alarm();
        while let Some((log, base)) = self.tail.over() {
            if let Some(partition) = self.partitions.get_mut(&log) {
                partition.drop_tail(base, &mut self.tail);
            }
        }
    }

    /// What rarely happens when time passes, on purpose.
    fn startle(&mut self) {
        let drops = self.buggify.fires(Site::TailDropped);
        let shrinks = self.buggify.fires(Site::EagerShrink);
        if self.partitions.is_empty() || !drops && !shrinks {
            return;
        }
        let chosen = self.buggify.choose(self.partitions.len());
        let log = *self.partitions.keys().nth(chosen).expect("there are so many");
        if drops && let Some(partition) = self.partitions.get_mut(&log) {
            partition.drop_whole_tail(&mut self.tail);
        }
        if shrinks {
            self.consider_isr(log, Some(crate::time::Duration::from_millis(1)));
        }
    }

    /// Nothing rare is done on purpose any more.
    pub fn calm(&mut self) {
        self.buggify.calm();
    }

    /// How many rare things were done on purpose since this was asked last.
    pub fn take_buggified(&mut self) -> u64 {
        self.buggify.take_fired()
    }

    /// The next order, if there is one.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop()
    }

    /// When the node wants [`Input::TimePassed`] at the latest.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next()
    }

    /// The committed metadata, for checkers and for what a driver shows.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The metadata quorum as this node sees it, once its log is open, for checkers and for what a driver shows.
    pub fn quorum(&self) -> Option<&Quorum> {
        self.metadata.view()
    }

    /// The partitions that this node has a replica of, for checkers and for metrics.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.values()
    }

    /// Can clients be served?
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    fn on_request(&mut self, id: RequestId, request: Request) {
        let request = match request {
            Request::Peer(request) => return self.on_peer_request(id, request),
            other => other,
        };
        if self.phase != Phase::Serving {
            // Not yet, or not any more: both pass, on this node or another.
            let response = request.refuse(ErrorCode::LeaderNotAvailable);
            return self.effects.respond(id, response);
        }
        match request {
            Request::Produce(r) => self.on_produce(id, r),
            Request::Fetch(r) => self.on_fetch(id, r),
            Request::ListOffsets(r) => self.on_list_offsets(id, &r),
            Request::OffsetForLeaderEpoch(r) => self.on_offset_for_leader_epoch(id, &r),
            Request::DeleteRecords(r) => self.on_delete_records(id, &r),
            Request::InitProducerId(r) => self.on_init_producer_id(id, &r),
            Request::Metadata(r) => self.on_metadata(id, r),
            Request::DescribeCluster => self.on_describe_cluster(id),
            Request::DescribeTopicPartitions(r) => self.on_describe_topic_partitions(id, &r),
            Request::DescribeLogDirs(r) => self.on_describe_log_dirs(id, &r),
            Request::DescribeConfigs(r) => self.on_describe_configs(id, &r),
            Request::CreateTopics(_)
            | Request::DeleteTopics(_)
            | Request::CreatePartitions(_)
            | Request::AlterConfigs(_)
            | Request::ElectLeaders(_)
            | Request::AlterPartitionReassignments(_)
            | Request::ListPartitionReassignments(_)
            | Request::UnregisterBroker(_)
            | Request::DescribeQuorum
            | Request::AddVoter(_)
            | Request::RemoveVoter(_) => self.decide_or_forward(id, request),
            Request::Peer(_) => unreachable!("peers are served above"),
        }
    }

    fn abandon_request(&mut self, id: RequestId) {
        if let Some(parked) = self.produces.take(id) {
            self.timers.unpark(parked.deadline, id);
        }
        self.drop_fetch(id);
        self.abandon_pull(id);
        self.gathers.take(id);
        self.abandon_replica_fetch(id);
    }

    fn on_job_ended(&mut self, log: LogId, job: JobId, outcome: Result<JobOutcome, LogError>) {
        let purpose = self.jobs.remove(&job);
        if let Err(LogError::Offline(error)) = &outcome {
            self.on_directory_failed(alloc::format!("{error}"));
        }
        if log == LogId::METADATA {
            return self.on_metadata_job_ended(job, outcome);
        }
        if self.phase == Phase::Closing {
            return self.on_job_ended_while_closing(log, job, purpose, outcome);
        }
        if self.opening.contains_key(&log) {
            return self.on_opened(log, outcome);
        }
        if self.closing.contains(&log) {
            return self.on_closing_job_ended(log, job, purpose, outcome);
        }
        match purpose {
            None => self.on_append_ended(log, job, outcome),
            Some(Purpose::Gather { request, index }) => self.on_gathered(log, request, index, outcome),
            Some(Purpose::Cut) => self.on_cut_ended(log, outcome),
            Some(purpose) => self.on_housekeeping_ended(log, purpose, outcome),
        }
    }

    /// The data directory takes no more, for good (KIP-112): whatever needs it is refused from here on.
    /// A log that is open can be used no further.
    fn report_log_failed(&mut self, log: LogId, error: &LogError) {
        let Some(partition) = self.partitions.get(&log) else { return };
        let dir = crate::ids::partition_dir(&partition.topic, partition.id.partition);
        self.effects.push(Effect::LogFailed { dir, reason: alloc::format!("{error}") });
    }

    fn on_directory_failed(&mut self, reason: String) {
        for partition in self.partitions.values_mut() {
            partition.take_offline();
        }
        // Whoever runs the node hears of it once, be it that it keeps no partition at all.
        if !core::mem::replace(&mut self.directory_failed, true) {
            self.effects.push(Effect::DirectoryFailed { reason });
        }
    }

    fn on_time(&mut self) {
        while let Some(request) = self.timers.due_request(self.now.mono) {
            self.on_request_deadline(request);
        }
        self.on_quorum_time();
        self.on_snapshot_time();
        self.tend_sessions();
        self.housekeep();
        self.replicate_on_time();
    }

    /// The log of the partition that a request names, or the error that the request earns.
    fn find(&self, topic: &TopicRef, partition: PartitionId) -> Result<LogId, ErrorCode> {
        let Some(found) = self.image.resolve(topic) else {
            return Err(match topic {
                TopicRef::Name(_) => ErrorCode::UnknownTopicOrPartition,
                TopicRef::Id(_) => ErrorCode::UnknownTopicId,
            });
        };
        let id = TopicPartition { topic: found.id, partition };
        if let Some(log) = self.by_id.get(&id) {
            return Ok(*log);
        }
        Err(if self.broken.contains(&id) {
            ErrorCode::KafkaStorageError
        } else if self.image.partition(id).is_none() {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::NotLeaderOrFollower
        })
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;
