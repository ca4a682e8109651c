//! Decisions: taken one at a time by the leader, committed by the quorum, applied by every node.

use alloc::{string::ToString, vec::Vec};

use super::{MetadataJob, Node};
use crate::{
    cluster::{self, Decision, MetadataRecord},
    ids::{BrokerEpoch, NodeId, ProducerId, RequestId, TopicName, TopicPartition},
    log::{Job, LogError},
    message::{CreateTopicsRequest, ErrorCode, MetadataRequest, NewTopic, Request, Response, TopicRef},
    mutant,
    node::startup::Phase,
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::{Duration, Timestamp},
};

#[derive(Debug)]
pub(super) struct Committing {
    end: Offset,
    committed: bool,
    reply: Reply,
}

/// What follows once a decision is committed, applied, and the logs that it created are open.
#[derive(Debug)]
pub(super) enum Reply {
    LeaderElected,
    Registered,
    Response(RequestId, Request, Response),
    ProducerIds(ProducerId),
    AutoCreated(RequestId, MetadataRequest),
}

/// A decision that is to be taken once those before it are committed.
#[derive(Debug)]
pub(in crate::node) enum Pending {
    /// A client's request.
    Request(RequestId, Request),
    /// The next block of producer ids.
    ProducerIds,
    /// Topics that a metadata request names and that do not exist.
    AutoCreate(RequestId, MetadataRequest),
}

impl Node {
    /// This node was elected: its epoch begins with a record of its own, without which nothing commits.
    pub(super) fn take_lead(&mut self, granting: &[NodeId]) {
        let quorum = self.metadata.quorum();
        let (epoch, start, voters) = (quorum.epoch(), quorum.log_end(), quorum.voters().to_vec());
        self.run_metadata(Job::StartEpoch { epoch, start }, MetadataJob::Order);
        let batch = Batch::leader_change(self.config.node, &voters, granting, self.now.wall);
        self.append_metadata(batch, Vec::new(), Reply::LeaderElected);
    }

    /// This node leads no longer. What it had decided may still be committed by its successor, or be cut off.
    pub(super) fn lose_lead(&mut self) {
        if let Some(committing) = self.metadata.committing.take() {
            let known = committing.committed || mutant!(X31);
            self.give_reply(committing.reply, if known { ErrorCode::None } else { ErrorCode::RequestTimedOut });
        }
        for pending in core::mem::take(&mut self.pending) {
            self.refuse_pending(pending);
        }
        if core::mem::take(&mut self.metadata.is_controller) {
            self.on_lost_controller();
        }
    }

    fn append_metadata(&mut self, mut batch: Batch, records: Vec<MetadataRecord>, reply: Reply) {
        assert!(self.metadata.committing.is_none(), "decisions are taken one at a time");
        let wall = self.now.wall;
        let quorum = self.metadata.quorum();
        batch.stamp(quorum.log_end(), quorum.epoch());
        let (end, generation) = (batch.header().next_offset(), quorum.generation());
        quorum.appended(end);
        self.metadata.uncommitted.push_back((end, records));
        self.metadata.tail.push(batch.clone());
        self.metadata.committing = Some(Committing { end, committed: false, reply });
        let append = Job::Append { batches: alloc::vec![batch], sync: true, wall };
        self.run_metadata(append, MetadataJob::Append { end, generation });
        self.wake_pulls();
    }

    /// Applies what has been committed, in order, and goes on with what waited for that.
    pub(super) fn apply_committed(&mut self) {
        let committed = self.metadata.quorum().high_watermark();
        while let Some((end, records)) = self.metadata.uncommitted.pop_front() {
            if end > committed {
                self.metadata.uncommitted.push_front((end, records));
                break;
            }
            records.iter().for_each(|record| self.apply(record));
            self.metadata.applied = end;
        }
        if let Some(committing) = self.metadata.committing.as_mut().filter(|c| c.end <= committed) {
            committing.committed = true;
        }
        self.finish_commit();
        if !self.metadata.is_caught_up && self.metadata.quorum().is_caught_up() {
            self.metadata.is_caught_up = true;
            self.on_metadata_caught_up();
        }
    }

    /// Nothing of a decision whose append failed has happened; the next one may fare better. Among several voters, one of
    /// them has to take it.
    pub(super) fn on_metadata_append_failed(&mut self, generation: u64, error: &LogError) {
        let is_alone = self.metadata.quorum().voters().len() == 1;
        let for_good = matches!(error, LogError::Offline(_) | LogError::Corrupt { .. });
        if if is_alone { self.phase == Phase::Starting } else { for_good } {
            return self.halt(&error.to_string());
        }
        let now = self.now.mono;
        self.metadata.quorum().append_failed(now, generation);
        let end = self.metadata.quorum().log_end();
        self.metadata.forget_past(end);
        if is_alone {
            let committing = self.metadata.committing.take().expect("it was on its way");
            match committing.reply {
                Reply::LeaderElected | Reply::Registered => return self.halt(&error.to_string()),
                reply => self.give_reply(reply, ErrorCode::KafkaStorageError),
            }
        }
        self.settle_quorum();
        self.decide_next();
    }

    /// Folds a committed record into the image and does what it means for this node.
    fn apply(&mut self, record: &MetadataRecord) {
        let serving = matches!(self.phase, Phase::Serving);
        let gone = match record {
            MetadataRecord::TopicDeleted { id } => self.image.topic(*id).map_or(0, |t| t.partitions.len()),
            _ => 0,
        };
        self.image.apply(record);
        if let MetadataRecord::BrokerRegistered(registration) = record {
            self.on_broker_registered(registration);
        }
        if !serving {
            // What is folded at start, or behind a stop, is acted on all at once or not at all.
            return;
        }
        match record {
            MetadataRecord::TopicDeleted { id } => {
                for p in (0..).take(gone) {
                    let id = TopicPartition { topic: *id, partition: crate::ids::PartitionId(p) };
                    self.close_replica(id, ErrorCode::UnknownTopicOrPartition);
                }
            }
            MetadataRecord::PartitionChanged(change) => {
                self.on_partition_changed(TopicPartition { topic: change.topic, partition: change.partition });
            }
            MetadataRecord::BrokerRegistered(cluster::Registration { node, .. })
            | MetadataRecord::BrokerChanged { node, .. } => self.on_broker_changed(*node),
            MetadataRecord::ConfigChanged { resource: crate::message::ConfigResource::Topic(name), .. } => {
                self.reconfigure(name);
            }
            _ => {}
        }
    }

    fn reconfigure(&mut self, name: &TopicName) {
        let Some(topic) = self.image.topic_named(name) else { return };
        let overrides = self.image.overrides(&crate::message::ConfigResource::Topic(name.clone()));
        let config = cluster::configs::log_config(&self.config.log_defaults, overrides);
        let id = topic.id;
        let range = TopicPartition { topic: id, partition: crate::ids::PartitionId(0) }..;
        for (_, log) in self.by_id.range(range).take_while(|(p, _)| p.topic == id) {
            let partition = self.partitions.get_mut(log).expect("a partition that is led has its log");
            partition.config = config.clone();
            let job = self.effects.run(*log, Job::Configure { config: config.clone() });
            self.jobs.insert(job, crate::node::Purpose::Order);
        }
    }

    /// Gives the answer to the decision on its way once it is committed and what it created is open; takes the next.
    pub(in crate::node) fn finish_commit(&mut self) {
        let done = self.metadata.committing.as_ref().is_some_and(|c| c.committed) && self.opening.is_empty();
        if !done || self.phase == Phase::Halted {
            return;
        }
        let committing = self.metadata.committing.take().expect("just looked at");
        self.give_reply(committing.reply, ErrorCode::None);
        self.decide_next();
    }

    /// Says what has become of a decision: it is committed, or there is an error.
    fn give_reply(&mut self, reply: Reply, error: ErrorCode) {
        match reply {
            Reply::LeaderElected if error.is_none() => {
                self.metadata.is_controller = true;
                self.on_became_controller();
            }
            Reply::Registered if error.is_none() => self.open_partitions(),
            Reply::LeaderElected | Reply::Registered => {}
            Reply::Response(id, _, response) if error.is_none() => self.respond(id, response),
            Reply::Response(id, request, _) => self.respond(id, request.refuse(error)),
            Reply::ProducerIds(first) if error.is_none() => self.on_producer_ids_allotted(first),
            Reply::ProducerIds(_) => self.refuse_producer_ids(error),
            Reply::AutoCreated(id, request) => self.answer_metadata(id, &request),
        }
    }

    fn refuse_pending(&mut self, pending: Pending) {
        match pending {
            Pending::Request(id, request) => self.respond(id, request.refuse(ErrorCode::NotController)),
            Pending::ProducerIds => self.refuse_producer_ids(ErrorCode::NotController),
            Pending::AutoCreate(id, request) => self.answer_metadata(id, &request),
        }
    }

    /// This node decides from here on: all that was decided before is applied.
    fn on_became_controller(&mut self) {
        self.register();
    }

    /// This node decides no more.
    fn on_lost_controller(&mut self) {}

    /// All that was committed when this node came is applied.
    fn on_metadata_caught_up(&mut self) {}

    fn register(&mut self) {
        if self.phase != Phase::Starting {
            return;
        }
        let epoch = BrokerEpoch(self.metadata.quorum().log_end().0);
        let registration = cluster::Registration {
            node: self.config.node,
            epoch,
            incarnation: self.config.incarnation,
            directory: self.config.directory,
            rack: self.config.rack.clone(),
            endpoints: self.config.endpoints.clone(),
            fenced: false,
        };
        let records = self.controller.register_broker(&self.image, registration, self.recovered.clean);
        self.append_metadata(write_records(&records, self.now.wall), records, Reply::Registered);
    }

    pub(in crate::node) fn enqueue(&mut self, pending: Pending) {
        if self.metadata.leader() != Some(self.config.node) {
            return self.refuse_pending(pending);
        }
        self.pending.push_back(pending);
        self.decide_next();
    }

    pub(in crate::node) fn is_committing_producer_ids(&self) -> bool {
        self.metadata.committing.as_ref().is_some_and(|c| matches!(c.reply, Reply::ProducerIds(_)))
    }

    /// Takes decisions until one has something to commit.
    fn decide_next(&mut self) {
        while matches!(self.phase, Phase::Starting | Phase::Serving)
            && self.metadata.is_controller()
            && self.metadata.committing.is_none()
            && let Some(pending) = self.pending.pop_front()
        {
            let (records, reply) = self.decide(pending);
            if records.is_empty() {
                self.give_reply(reply, ErrorCode::None);
            } else {
                self.append_metadata(write_records(&records, self.now.wall), records, reply);
            }
        }
    }

    fn decide(&mut self, pending: Pending) -> (Vec<MetadataRecord>, Reply) {
        let (image, controller) = (&self.image, &mut self.controller);
        match pending {
            Pending::ProducerIds => {
                let Decision { records, response } = controller.allot_producer_ids(image);
                (records, Reply::ProducerIds(response))
            }
            Pending::AutoCreate(id, request) => {
                let Decision { records, .. } = controller.create_topics(image, &missing(image, &request));
                (records, Reply::AutoCreated(id, request))
            }
            Pending::Request(id, request) => {
                let (records, response) = match &request {
                    Request::CreateTopics(r) => {
                        let d = controller.create_topics(image, r);
                        (d.records, Response::CreateTopics(d.response))
                    }
                    Request::DeleteTopics(r) => {
                        let d = controller.delete_topics(image, r);
                        (d.records, Response::DeleteTopics(d.response))
                    }
                    Request::CreatePartitions(r) => {
                        let d = controller.create_partitions(image, r);
                        (d.records, Response::CreatePartitions(d.response))
                    }
                    Request::AlterConfigs(r) => {
                        let d = controller.alter_configs(image, r);
                        (d.records, Response::AlterConfigs(d.response))
                    }
                    other => unreachable!("{other:?} needs no decision"),
                };
                (records, Reply::Response(id, request, response))
            }
        }
    }
}

/// The topics that a metadata request names and that do not exist.
fn missing(image: &cluster::Image, request: &MetadataRequest) -> CreateTopicsRequest {
    let names = request.topics.iter().flatten().filter_map(|topic| match topic {
        TopicRef::Name(name) if image.topic_named(name).is_none() => Some(name.clone()),
        _ => None,
    });
    let new = |name| NewTopic {
        name,
        partitions: None,
        replication_factor: None,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    CreateTopicsRequest { topics: names.map(new).collect(), validate_only: false, timeout: Duration::ZERO }
}

/// The records of one decision as one batch, so that all or none are committed.
fn write_records(records: &[MetadataRecord], wall: Timestamp) -> Batch {
    let mut builder = BatchBuilder::new();
    for record in records {
        let value = cluster::encode(record);
        builder.append(builder.next_delta(), wall, None, Some(&value), []);
    }
    builder.build(&BatchOptions::default())
}

/// The records of a batch that was read back; the error is the reason in words.
pub(super) fn read_records(batch: &Batch) -> Result<Vec<MetadataRecord>, alloc::string::String> {
    if batch.header().is_control() {
        return Ok(Vec::new());
    }
    let mut records = Vec::new();
    for record in batch.records().map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let value = record.value.ok_or("a record has no value")?;
        records.push(cluster::decode(&value).map_err(|e| e.to_string())?);
    }
    Ok(records)
}
