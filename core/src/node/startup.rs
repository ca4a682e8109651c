//! From nothing to serving, and back to nothing.

use alloc::{format, string::ToString, vec::Vec};

use super::{Node, Purpose};
use crate::{
    cluster::configs,
    effect::Effect,
    ids::{JobId, LogId, PartitionId, TopicId, TopicName, TopicPartition, partition_dir},
    log::{Job, JobOutcome, LogConfig, LogError},
    message::{ConfigResource, ErrorCode},
    replica::{OpenedLog, Partition},
};

/// How far a node has come. It goes forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has happened.
    New,
    /// The metadata log is being opened and read, its leader elected, the broker registered, the partitions opened.
    Starting,
    /// Clients are served.
    Serving,
    /// Appends end, logs are closed.
    Closing,
    /// Everything is closed.
    Closed,
    /// The node has halted.
    Halted,
}

/// A log on its way in.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: TopicPartition,
    pub(super) topic: TopicName,
    pub(super) config: LogConfig,
}

impl Node {
    pub(super) fn start(&mut self) {
        assert!(self.phase == Phase::New, "a node starts once");
        self.phase = Phase::Starting;
        self.open_metadata_log();
    }

    /// The broker is registered and the image is whole: open every partition that this node has.
    pub(super) fn open_partitions(&mut self) {
        let mine: Vec<(TopicId, i32)> = self
            .image
            .topics()
            .flat_map(|topic| (0..).zip(&topic.partitions).map(move |(p, partition)| (topic.id, p, partition)))
            .filter(|(_, _, partition)| partition.replicas.contains(&self.config.node))
            .map(|(topic, p, _)| (topic, p))
            .collect();
        for (topic, p) in mine {
            self.open_partition(topic, PartitionId(p));
        }
        self.serve_once_open();
    }

    pub(super) fn open_partition(&mut self, topic: TopicId, partition: PartitionId) {
        let topic = self.image.topic(topic).expect("only partitions of the image are opened");
        let id = TopicPartition { topic: topic.id, partition };
        let log = LogId(self.next_log);
        self.next_log += 1;
        let overrides = self.image.overrides(&ConfigResource::Topic(topic.name.clone()));
        let config = configs::log_config(&self.config.log_defaults, overrides);
        let dir = partition_dir(&topic.name, partition);
        self.opening.insert(log, Opening { id, topic: topic.name.clone(), config: config.clone() });
        self.effects.run(log, Job::Open { dir, topic_id: id.topic, config, wall: self.now.wall });
        self.opening_replica(id);
    }

    pub(super) fn on_opened(&mut self, log: LogId, outcome: Result<JobOutcome, LogError>) {
        let opening = self.opening.remove(&log).expect("the caller has looked");
        self.opened_replica(opening.id);
        let me = self.config.node;
        let image = self.image.partition(opening.id).filter(|image| image.replicas.contains(&me));
        match (outcome, image.is_some()) {
            (Ok(JobOutcome::Opened(state)), true) => {
                let Opening { id, topic, config } = opening;
                let opened = OpenedLog { id, topic, log, config, state };
                self.partitions.insert(log, Partition::open(self.config.node, opened));
                self.by_id.insert(id, log);
                self.catch_up_config(log);
                self.take_part(log);
            }
            (Ok(JobOutcome::Opened(_)), false) => self.delete_log(log),
            (Ok(other), _) => panic!("an open was answered by {other:?}"),
            // Its topic is gone, and perhaps another of the same name has its folder already.
            (Err(_), false) => {}
            (Err(error), true) => {
                self.broken.insert(opening.id);
                let dir = partition_dir(&opening.topic, opening.id.partition);
                self.effects.push(Effect::LogFailed { dir, reason: error.to_string() });
            }
        }
        self.serve_once_open();
    }

    fn serve_once_open(&mut self) {
        self.answer_opened();
        self.serve_once_unfenced();
    }

    /// This node has a partition no more: whoever waits for it is told why, and its log removed.
    pub(super) fn close_replica(&mut self, id: TopicPartition, why: ErrorCode) {
        self.broken.remove(&id);
        let Some(log) = self.by_id.remove(&id) else { return };
        let mut partition = self.partitions.remove(&log).expect("a partition that is led has its log");
        partition.drop_whole_tail(&mut self.tail);
        let (acks, readers) = partition.abandon();
        for ack in acks {
            self.acknowledge(ack, why);
        }
        for reader in readers {
            self.finish_fetch(reader);
        }
        self.forget_replica(log, id);
        self.delete_log(log);
    }

    fn delete_log(&mut self, log: LogId) {
        self.closing.insert(log);
        let job = self.effects.run(log, Job::Delete);
        self.jobs.insert(job, Purpose::Order);
    }

    /// A log on its way out has answered; only requests that gather still care.
    pub(super) fn on_closing_job_ended(
        &mut self,
        log: LogId,
        _job: JobId,
        purpose: Option<Purpose>,
        outcome: Result<JobOutcome, LogError>,
    ) {
        match purpose {
            Some(Purpose::Gather { request, index }) => self.on_gathered(log, request, index, Err(LogError::NotOpen)),
            Some(Purpose::Order) if outcome == Ok(JobOutcome::Done) => {}
            _ => {}
        }
    }

    /// The operator wants an end; asked twice, at once.
    pub(super) fn begin_stop(&mut self) {
        if matches!(self.phase, Phase::Closing | Phase::Closed | Phase::Halted) {
            return;
        }
        if !self.leave() {
            self.close_down();
        }
    }

    /// Nothing new is begun; what is begun is finished.
    pub(super) fn close_down(&mut self) {
        self.phase = Phase::Closing;
        self.timers.stop();
        while let Some(id) = self.fetches.any() {
            self.finish_fetch(id);
        }
        self.stop_replicating();
        for pending in core::mem::take(&mut self.pending) {
            self.refuse_pending(pending);
        }
        self.answer_unopened();
        self.give_up_calls();
        self.leave_quorum();
        self.finish_pulls();
        self.close_when_quiet();
    }

    pub(super) fn on_job_ended_while_closing(
        &mut self,
        log: LogId,
        job: JobId,
        purpose: Option<Purpose>,
        outcome: Result<JobOutcome, LogError>,
    ) {
        match purpose {
            Some(Purpose::Gather { request, index }) => self.on_gathered(log, request, index, outcome),
            Some(_) => {}
            None if self.opening.remove(&log).is_some() => outcome.iter().for_each(|_| self.close_log(log)),
            None if self.partitions.contains_key(&log) => self.on_append_ended(log, job, outcome),
            None => {}
        }
        self.close_when_quiet();
    }

    /// Closes every log once no append is on its way any more, the metadata log last.
    pub(super) fn close_when_quiet(&mut self) {
        if self.phase != Phase::Closing || !self.partitions.values().all(Partition::is_quiet) {
            return;
        }
        if !self.calls.is_quiet() || !self.metadata.is_quiet() || !self.jobs.is_empty() || !self.opening.is_empty() {
            return;
        }
        if !self.partitions.is_empty() {
            let logs: Vec<LogId> = self.partitions.keys().copied().collect();
            // What followers have not said that they have is not known to be committed, nor that it is not.
            let waiting: Vec<_> = self.partitions.values_mut().flat_map(|p| p.abandon().0).collect();
            for ack in waiting {
                self.acknowledge(ack, ErrorCode::NotLeaderOrFollower);
            }
            self.partitions.clear();
            self.by_id.clear();
            logs.into_iter().for_each(|log| self.close_log(log));
        } else if !self.metadata.is_closed() {
            self.close_metadata_log();
        } else {
            self.phase = Phase::Closed;
            self.effects.push(Effect::Stopped);
        }
    }

    fn close_log(&mut self, log: LogId) {
        self.closing.insert(log);
        let job = self.effects.run(log, Job::Close);
        self.jobs.insert(job, Purpose::Order);
    }

    /// The node cannot go on.
    pub(super) fn halt(&mut self, reason: &str) {
        self.phase = Phase::Halted;
        self.timers.stop();
        self.effects.push(Effect::Halt { reason: format!("the metadata log cannot be used: {reason}") });
    }
}
