//! The node's metadata log: read at start, appended to one decision at a time, applied once committed.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::ToString,
    vec::Vec,
};

use bytes::Bytes;

use super::{Node, startup::Phase};
use crate::{
    cluster::{self, Decision, MetadataRecord},
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, JobId, LogId, NodeId, ProducerId, RequestId, TopicId, TopicName, TopicPartition},
    log::{Job, JobOutcome, LogConfig, LogError, LogState, Vote},
    message::{CreateTopicsRequest, ErrorCode, MetadataRequest, NewTopic, Request, Response, TopicRef},
    offset::Offset,
    quorum::Quorum,
    record::{Batch, BatchBuilder, BatchOptions, Batches},
    time::{Duration, Timestamp},
};

/// The folder of the metadata log, as Kafka has it.
const DIR: &str = "__cluster_metadata-0";
/// What is read of it at a time.
const READ_BYTES: usize = 1 << 20;

/// The metadata log as this node sees it.
#[derive(Debug, Default)]
pub(super) struct MetadataLog {
    quorum: Option<Quorum>,
    jobs: BTreeMap<JobId, MetadataJob>,
    /// Records that are in the log but not known to be committed, by the end of their batch.
    uncommitted: VecDeque<(Offset, Vec<MetadataRecord>)>,
    /// The decision on its way.
    committing: Option<Committing>,
    closed: bool,
}

#[derive(Debug)]
enum MetadataJob {
    Open,
    Read,
    Vote(Vote),
    Append { end: Offset },
    Order,
    Close,
}

#[derive(Debug)]
struct Committing {
    end: Offset,
    committed: bool,
    reply: Reply,
}

/// What follows once a decision is committed, applied, and the logs that it created are open.
#[derive(Debug)]
enum Reply {
    LeaderElected,
    Registered,
    Response(RequestId, Request, Response),
    ProducerIds(ProducerId),
    AutoCreated(RequestId, MetadataRequest),
}

/// A decision that is to be taken once those before it are committed.
#[derive(Debug)]
pub(super) enum Pending {
    /// A client's request.
    Request(RequestId, Request),
    /// The next block of producer ids.
    ProducerIds,
    /// Topics that a metadata request names and that do not exist.
    AutoCreate(RequestId, MetadataRequest),
}

impl MetadataLog {
    pub(super) fn is_quiet(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The controller: whoever leads the metadata log.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.quorum.as_ref().and_then(Quorum::leader)
    }

    /// The quorum as this node sees it, once the log is open.
    pub(super) fn view(&self) -> Option<&Quorum> {
        self.quorum.as_ref()
    }

    fn quorum(&mut self) -> &mut Quorum {
        self.quorum.as_mut().expect("the metadata log is open")
    }
}

impl Node {
    pub(super) fn open_metadata_log(&mut self) {
        // The log is never cut by age or size: its records are all there is of the cluster.
        let config = LogConfig { retention: None, ..LogConfig::default() };
        let open = Job::Open { dir: DIR.to_string(), topic_id: TopicId::METADATA, config, wall: self.now.wall };
        self.run_metadata(open, MetadataJob::Open);
    }

    fn run_metadata(&mut self, order: Job, kind: MetadataJob) {
        let job = self.effects.run(LogId::METADATA, order);
        self.metadata.jobs.insert(job, kind);
    }

    pub(super) fn on_metadata_job_ended(&mut self, job: JobId, outcome: Result<JobOutcome, LogError>) {
        let kind = self.metadata.jobs.remove(&job).expect("an answer follows an order");
        match (kind, outcome) {
            (MetadataJob::Close, _) => {
                self.metadata.closed = true;
            }
            (MetadataJob::Append { end }, Err(error)) => self.on_metadata_append_failed(end, &error),
            (_, Err(error)) => self.halt(&error.to_string()),
            (MetadataJob::Append { end }, Ok(_)) => self.on_metadata_appended(end),
            (_, Ok(_)) if self.phase != Phase::Starting => {}
            (MetadataJob::Open, Ok(JobOutcome::Opened(state))) => self.on_metadata_opened(&state),
            (MetadataJob::Read, Ok(JobOutcome::Read { batches })) => self.on_metadata_read(batches),
            (MetadataJob::Vote(vote), Ok(JobOutcome::Done)) => self.on_vote_saved(vote),
            (MetadataJob::Order, Ok(_)) => {}
            (kind, Ok(outcome)) => panic!("{kind:?} was answered by {outcome:?}"),
        }
        self.close_when_quiet();
    }

    fn on_metadata_opened(&mut self, state: &LogState) {
        let voted = self.recovered.vote.map_or(LeaderEpoch::NONE, |vote| vote.epoch);
        let appended = state.epochs.last().map_or(LeaderEpoch::NONE, |(epoch, _)| *epoch);
        let me = self.config.node;
        let quorum = Quorum::new(me, alloc::vec![me], voted.max(appended), state.log_end);
        self.metadata.quorum = Some(quorum);
        if state.log_start != Offset::ZERO {
            return self.halt("its beginning is missing");
        }
        self.read_metadata(Offset::ZERO);
    }

    fn read_metadata(&mut self, from: Offset) {
        let bound = self.metadata.quorum().log_end();
        if from < bound {
            return self.run_metadata(Job::Read { from, bound, max_bytes: READ_BYTES }, MetadataJob::Read);
        }
        let vote = self.metadata.quorum().campaign();
        self.run_metadata(Job::SaveVote(vote), MetadataJob::Vote(vote));
    }

    fn on_metadata_read(&mut self, pieces: Vec<Bytes>) {
        let mut next = None;
        for batch in pieces.into_iter().flat_map(Batches) {
            let records = match batch.map_err(|e| e.to_string()).and_then(|batch| {
                next = Some(batch.header().next_offset());
                read_records(&batch)
            }) {
                Ok(records) => records,
                Err(reason) => return self.halt(&reason),
            };
            self.metadata.uncommitted.push_back((next.expect("just set"), records));
        }
        match next {
            Some(next) => self.read_metadata(next),
            None => self.halt("it ends before its end"),
        }
    }

    fn on_vote_saved(&mut self, vote: Vote) {
        if !self.metadata.quorum().vote_persisted(vote) {
            return;
        }
        let (epoch, start) = (self.metadata.quorum().epoch(), self.metadata.quorum().log_end());
        self.run_metadata(Job::StartEpoch { epoch, start }, MetadataJob::Order);
        let me = self.config.node;
        let batch = Batch::leader_change(me, &[me], &[me], self.now.wall);
        self.append_metadata(batch, Vec::new(), Reply::LeaderElected);
    }

    fn append_metadata(&mut self, mut batch: Batch, records: Vec<MetadataRecord>, reply: Reply) {
        assert!(self.metadata.committing.is_none(), "decisions are taken one at a time");
        let wall = self.now.wall;
        let quorum = self.metadata.quorum();
        batch.stamp(quorum.log_end(), quorum.epoch());
        let end = batch.header().next_offset();
        quorum.appended(end);
        self.metadata.uncommitted.push_back((end, records));
        self.metadata.committing = Some(Committing { end, committed: false, reply });
        self.run_metadata(Job::Append { batches: alloc::vec![batch], sync: true, wall }, MetadataJob::Append { end });
    }

    fn on_metadata_appended(&mut self, end: Offset) {
        let me = self.config.node;
        let Some(committed) = self.metadata.quorum().persisted(me, end) else { return };
        while let Some((end, records)) = self.metadata.uncommitted.pop_front() {
            if end > committed {
                self.metadata.uncommitted.push_front((end, records));
                break;
            }
            records.iter().for_each(|record| self.apply(record));
        }
        if let Some(committing) = self.metadata.committing.as_mut().filter(|c| c.end <= committed) {
            committing.committed = true;
        }
        self.finish_commit();
    }

    /// Nothing of a decision whose append failed has happened; the next one may fare better.
    fn on_metadata_append_failed(&mut self, end: Offset, error: &LogError) {
        if self.phase == Phase::Starting {
            return self.halt(&error.to_string());
        }
        let (failed, _) = self.metadata.uncommitted.pop_back().expect("it was to be committed");
        let committing = self.metadata.committing.take().expect("it was on its way");
        assert!(failed == end && committing.end == end, "decisions are taken one at a time");
        self.metadata.quorum().append_failed();
        match committing.reply {
            Reply::LeaderElected | Reply::Registered => self.halt(&error.to_string()),
            Reply::Response(id, request, _) => self.respond(id, request.refuse(ErrorCode::KafkaStorageError)),
            Reply::ProducerIds(_) => self.refuse_producer_ids(ErrorCode::KafkaStorageError),
            Reply::AutoCreated(id, request) => self.answer_metadata(id, &request),
        }
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
                    self.close_deleted(TopicPartition { topic: *id, partition: crate::ids::PartitionId(p) });
                }
            }
            MetadataRecord::PartitionChanged(change) if change.replicas.contains(&self.config.node) => {
                let id = TopicPartition { topic: change.topic, partition: change.partition };
                if !self.by_id.contains_key(&id) {
                    self.open_partition(change.topic, change.partition);
                }
            }
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
            self.jobs.insert(job, super::Purpose::Order);
        }
    }

    /// Gives the answer to the decision on its way once it is committed and what it created is open; takes the next.
    pub(super) fn finish_commit(&mut self) {
        let done = self.metadata.committing.as_ref().is_some_and(|c| c.committed) && self.opening.is_empty();
        if !done || self.phase == Phase::Halted {
            return;
        }
        let committing = self.metadata.committing.take().expect("just looked at");
        match committing.reply {
            Reply::LeaderElected => return self.register(),
            Reply::Registered => return self.open_partitions(),
            Reply::Response(id, _, response) => self.respond(id, response),
            Reply::ProducerIds(first) => self.on_producer_ids_allotted(first),
            Reply::AutoCreated(id, request) => self.answer_metadata(id, &request),
        }
        self.decide_next();
    }

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

    pub(super) fn enqueue(&mut self, pending: Pending) {
        self.pending.push_back(pending);
        self.decide_next();
    }

    pub(super) fn is_committing_producer_ids(&self) -> bool {
        self.metadata.committing.as_ref().is_some_and(|c| matches!(c.reply, Reply::ProducerIds(_)))
    }

    /// Takes decisions until one has something to commit.
    fn decide_next(&mut self) {
        while self.phase == Phase::Serving
            && self.metadata.committing.is_none()
            && let Some(pending) = self.pending.pop_front()
        {
            let (records, reply) = self.decide(pending);
            if records.is_empty() {
                match reply {
                    Reply::Response(id, _, response) => self.respond(id, response),
                    Reply::AutoCreated(id, request) => self.answer_metadata(id, &request),
                    Reply::LeaderElected | Reply::Registered | Reply::ProducerIds(_) => {
                        unreachable!("these decisions have records")
                    }
                }
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

    pub(super) fn close_metadata_log(&mut self) {
        if self.metadata.quorum.is_none() {
            self.metadata.closed = true;
            return self.close_when_quiet();
        }
        self.run_metadata(Job::Close, MetadataJob::Close);
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
fn read_records(batch: &Batch) -> Result<Vec<MetadataRecord>, alloc::string::String> {
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
