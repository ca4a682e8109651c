//! Decisions on their way: appended one at a time by the leader, committed by the quorum, applied by every node.

use alloc::{string::ToString, vec::Vec};

use super::{MetadataJob, Node, Uncommitted};
use crate::{
    cluster::{self, MetadataRecord},
    ids::{LogId, NodeId, TopicName, TopicPartition},
    log::{Job, LogError},
    message::ErrorCode,
    mutant,
    node::{decisions::Reply, startup::Phase},
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::Timestamp,
};

#[derive(Debug)]
pub(super) struct Committing {
    end: Offset,
    committed: bool,
    reply: Reply,
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
            let known = committing.committed || (mutant!(X31) && matches!(committing.reply, Reply::Response(..)));
            self.give_reply(committing.reply, if known { ErrorCode::None } else { ErrorCode::RequestTimedOut });
        }
        for pending in core::mem::take(&mut self.pending) {
            self.refuse_pending(pending);
        }
        if core::mem::take(&mut self.metadata.is_controller) {
            self.on_lost_controller();
        }
    }

    /// Appends a decision. There is none on its way.
    pub(in crate::node) fn append_decision(&mut self, records: Vec<MetadataRecord>, reply: Reply) {
        self.append_metadata(write_records(&records, self.now.wall), records, reply);
    }

    /// Appends a decision that is a record of the quorum's own. There is none on its way.
    pub(in crate::node) fn append_control(&mut self, batch: Batch, reply: Reply) {
        self.append_metadata(batch, Vec::new(), reply);
        if mutant!(X36)
            && let Some(committing) = self.metadata.committing.take()
        {
            self.give_reply(committing.reply, ErrorCode::None);
        }
    }

    fn append_metadata(&mut self, mut batch: Batch, records: Vec<MetadataRecord>, reply: Reply) {
        assert!(self.metadata.committing.is_none(), "decisions are taken one at a time");
        let (now, wall) = (self.now.mono, self.now.wall);
        let quorum = self.metadata.quorum();
        batch.stamp(quorum.log_end(), quorum.epoch());
        let (base, end, generation) = (quorum.log_end(), batch.header().next_offset(), quorum.generation());
        quorum.appended(now, &batch);
        self.metadata.uncommitted.push_back(Uncommitted { end, bytes: batch.size(), records });
        self.metadata.tail.push(batch.clone());
        self.metadata.committing = Some(Committing { end, committed: false, reply });
        let append = Job::Append { batches: alloc::vec![batch], sync: true, wall };
        self.run_metadata(append, MetadataJob::Append { base, end, generation });
        self.wake_pulls();
    }

    /// Applies what has been committed, in order, and goes on with what waited for that.
    pub(super) fn apply_committed(&mut self) {
        let committed = self.metadata.quorum().high_watermark();
        while let Some(batch) = self.metadata.uncommitted.pop_front_if(|batch| batch.end <= committed) {
            let early = if mutant!(X39) { batch.records.len() / 2 } else { batch.records.len() };
            batch.records[..early].iter().for_each(|record| self.apply(record));
            self.metadata.applied = batch.end;
            self.metadata.taking.note(batch.bytes, self.now.mono);
            if early < batch.records.len() {
                // The planted bug: half a batch is in it.
                self.snapshot_when_due();
                batch.records[early..].iter().for_each(|record| self.apply(record));
            }
        }
        self.snapshot_when_due();
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
    pub(super) fn on_metadata_append_failed(&mut self, base: Offset, generation: u64, error: &LogError) {
        let leads_alone = |node: &mut Self| node.is_alone() && node.metadata.quorum().is_leader();
        let is_alone = leads_alone(self);
        let for_good = matches!(error, LogError::Offline(_) | LogError::Corrupt { .. });
        // A node all by itself can still be read from.
        let me = self.config.node;
        let serves = self.config.is_broker && !self.image.brokers().any(|(node, _)| node != me);
        if (for_good && !(is_alone && serves)) || (is_alone && self.phase == Phase::Starting) {
            return self.halt(&error.to_string());
        }
        let now = self.now.mono;
        self.metadata.quorum().append_failed(now, base, generation);
        let end = self.metadata.quorum().log_end();
        self.metadata.forget_past(end);
        if is_alone && leads_alone(self) {
            let committing = self.metadata.committing.take().expect("it was on its way");
            match committing.reply {
                Reply::LeaderElected => return self.halt(&error.to_string()),
                reply => self.give_reply(reply, ErrorCode::KafkaStorageError),
            }
        }
        self.settle_quorum();
        self.decide_next();
    }

    /// Folds a committed record into the image and does what it means for this node.
    pub(super) fn apply(&mut self, record: &MetadataRecord) {
        // What is folded at start, or behind a stop, is acted on all at once or not at all.
        let acts = self.phase == Phase::Serving;
        let gone = match record {
            MetadataRecord::TopicDeleted { id } => self.image.topic(*id).map_or(0, |t| t.partitions.len()),
            _ => 0,
        };
        self.controller.follow(&self.image, record);
        self.image.apply(record);
        self.on_broker_record(record);
        if !acts {
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
        let id = topic.id;
        let range = TopicPartition { topic: id, partition: crate::ids::PartitionId(0) }..;
        let logs = self.by_id.range(range).take_while(|(p, _)| p.topic == id).map(|(_, log)| *log);
        logs.collect::<Vec<_>>().into_iter().for_each(|log| self.catch_up_config(log));
    }

    /// Gives a log the settings that its topic has now: they may have changed while it was on its way in.
    pub(in crate::node) fn catch_up_config(&mut self, log: LogId) {
        let partition = self.partitions.get_mut(&log).expect("a partition that is here has its log");
        let overrides = self.image.overrides(&crate::message::ConfigResource::Topic(partition.topic.clone()));
        let config = cluster::configs::log_config(&self.config.log_defaults, overrides);
        if partition.config == config {
            return;
        }
        partition.config = config.clone();
        let job = self.effects.run(log, Job::Configure { config });
        self.jobs.insert(job, crate::node::Purpose::Order);
    }

    /// Goes on with the decision on its way once it is committed; takes the next.
    fn finish_commit(&mut self) {
        let done = self.metadata.committing.as_ref().is_some_and(|c| c.committed);
        if !done || self.phase == Phase::Halted {
            return;
        }
        let committing = self.metadata.committing.take().expect("just looked at");
        if matches!(committing.reply, Reply::LeaderElected) {
            self.metadata.is_controller = true;
        }
        self.give_reply(committing.reply, ErrorCode::None);
        self.decide_next();
    }
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
