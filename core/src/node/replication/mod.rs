//! Replication between nodes: who leads and who follows, and the traffic that follows from it.
//!
//! ```text
//!   leader                                            follower
//!   serve.rs: sessions, what is new in them  <------  pull.rs: one puller per leader node
//!   isr.rs:   who is in sync  ------> controller
//! ```
//!
//! Everything that an input brings about is noted first, and sent once at the end of the input ([`Node::replicate`]), so
//! that many changes share one message. **Cost follows the partitions that changed:** nothing here walks over all of
//! them but what runs every few seconds.

mod deletes;
mod isr;
mod pull;
mod serve;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Node, Purpose, calls, startup::Phase, timers::TimerKind};
use crate::{
    cluster,
    ids::{BrokerEpoch, LogId, NodeId, RequestId, TopicPartition},
    limits,
    log::{JobOutcome, LogError},
    message::ErrorCode,
    time::{Duration, Instant},
};

/// What a node knows of its replicas' traffic.
#[derive(Debug, Default)]
pub(super) struct Replication {
    /// What followers on other nodes pull from here.
    sessions: BTreeMap<NodeId, serve::Session>,
    sessions_begun: u64,
    /// Fetches that wait for news, and whose they are.
    parked: BTreeMap<RequestId, NodeId>,
    /// Logs with something new for followers.
    touched: Vec<LogId>,
    /// Followers that may have an answer.
    stirred: BTreeSet<NodeId>,
    /// What this node pulls from others.
    pullers: BTreeMap<NodeId, pull::Puller>,
    pullers_begun: u64,
    /// Whom each followed partition is pulled from.
    following: BTreeMap<LogId, NodeId>,
    /// Pullers that may have something to say.
    pulling: BTreeSet<NodeId>,
    /// Bytes pulled and on their way to the disk, and who waits for them to become fewer.
    appending: usize,
    crowded: Vec<LogId>,
    /// Partitions to look at again, each once: what asks for that repeats itself.
    retries: BTreeSet<(Instant, LogId)>,
    retrying: BTreeSet<LogId>,
    isr: isr::Wishes,
    /// DeleteRecords that wait for followers.
    deleting: Vec<deletes::Deleting>,
    /// When those that lag are looked for, and when high watermarks are noted for the checkpoint.
    lag_check: Option<Instant>,
    note_check: Option<Instant>,
    alarm: Option<Instant>,
    /// Partitions whose log is being opened.
    opening: BTreeSet<TopicPartition>,
}

impl Node {
    /// The metadata of a partition has changed: this node takes its part in it, or none any more.
    pub(super) fn on_partition_changed(&mut self, id: TopicPartition) {
        let Some(image) = self.image.partition(id) else {
            return self.close_replica(id, ErrorCode::UnknownTopicOrPartition);
        };
        if !image.replicas.contains(&self.config.node) {
            return self.close_replica(id, ErrorCode::NotLeaderOrFollower);
        }
        if let Some(&log) = self.by_id.get(&id) {
            self.take_part(log);
        } else if !self.broken.contains(&id) && !self.replication.opening.contains(&id) {
            self.open_partition(id.topic, id.partition);
        }
    }

    /// Looks at every partition of the metadata, where more than single records has changed.
    pub(super) fn reconcile_partitions(&mut self) {
        let known: Vec<TopicPartition> = self.by_id.keys().copied().chain(self.broken.iter().copied()).collect();
        for id in known {
            if self.image.partition(id).is_none() {
                self.close_replica(id, ErrorCode::UnknownTopicOrPartition);
            }
        }
        let me = self.config.node;
        let here = |id: &TopicPartition| self.by_id.contains_key(id);
        let all = self.image.topics().flat_map(|topic| {
            (0..).zip(&topic.partitions).map(move |(p, partition)| {
                (TopicPartition { topic: topic.id, partition: crate::ids::PartitionId(p) }, partition)
            })
        });
        let mine: Vec<_> = all.filter(|(id, p)| p.replicas.contains(&me) || here(id)).map(|(id, _)| id).collect();
        mine.into_iter().for_each(|id| self.on_partition_changed(id));
        let logs: Vec<LogId> = self.by_id.values().copied().collect();
        logs.into_iter().for_each(|log| self.catch_up_config(log));
    }

    /// A broker has registered, or is in service or out of it.
    pub(super) fn on_broker_changed(&mut self, node: NodeId) {
        if let Some(puller) = self.replication.pullers.get_mut(&node) {
            puller.forgive();
            self.replication.pulling.insert(node);
        }
        if self.image.broker(node).is_some_and(cluster::Broker::is_active) {
            let lacking = |p: &&crate::replica::Partition| p.has_follower(node) && !p.is_fully_replicated();
            let logs: Vec<LogId> = self.partitions.values().filter(lacking).map(|p| p.log).collect();
            logs.into_iter().for_each(|log| self.consider_isr(log, None));
        }
    }

    /// Makes an open partition what the metadata says of it.
    pub(super) fn take_part(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let id = partition.id;
        let Some(image) = self.image.partition(id) else { return };
        let before = (partition.is_leader(), partition.leader(), partition.leader_epoch());
        let (order, completed) = partition.apply_image(self.now, image, &mut self.tail, &mut self.effects);
        let cuts = partition.is_cutting();
        let after = (partition.is_leader(), partition.leader(), partition.leader_epoch());
        let replicated = partition.replicas().len() > 1;
        self.jobs.extend(order.map(|job| (job, if cuts { Purpose::Cut } else { Purpose::Order })));
        self.complete(log, completed);
        if before != after {
            self.follow(log);
        }
        if replicated {
            self.watch_replicas();
            self.role_changed(id);
            // What was wished for before is settled by this; a follower with nothing more to say would not be asked again.
            self.consider_isr(log, None);
        }
    }

    /// Pulls a partition from whoever leads it now, or from nobody.
    fn follow(&mut self, log: LogId) {
        let partition = &self.partitions[&log];
        let (id, me) = (partition.id, self.config.node);
        let leader = partition.leader().filter(|leader| *leader != me && !partition.is_leader());
        self.unfollow(log, id, leader);
        let Some(leader) = leader else { return };
        let begun = &mut self.replication.pullers_begun;
        let puller = self.replication.pullers.entry(leader).or_insert_with(|| {
            *begun += 1;
            pull::Puller::new(*begun)
        });
        puller.follow(log);
        puller.forgive();
        self.replication.following.insert(log, leader);
        self.replication.pulling.insert(leader);
    }

    /// Ends the pulling of a partition, unless it is from `but`.
    fn unfollow(&mut self, log: LogId, id: TopicPartition, but: Option<NodeId>) {
        let Some(&from) = self.replication.following.get(&log) else { return };
        if Some(from) == but {
            return;
        }
        self.replication.following.remove(&log);
        if let Some(puller) = self.replication.pullers.get_mut(&from)
            && puller.unfollow(log, id)
        {
            self.replication.pullers.remove(&from);
        }
    }

    /// A partition is gone from this node.
    pub(super) fn forget_replica(&mut self, log: LogId, id: TopicPartition) {
        self.unfollow(log, id, None);
        self.role_changed(id);
    }

    /// Timers that a node with replicas needs.
    fn watch_replicas(&mut self) {
        let waits = self.config.waits;
        if self.replication.lag_check.is_none() {
            self.replication.lag_check = Some(self.now.mono.after(half(waits.replica_lag_max)));
            self.replication.note_check = Some(self.now.mono.after(limits::WATERMARK_NOTE_INTERVAL));
        }
    }

    /// This node's registration.
    fn own_epoch(&self) -> BrokerEpoch {
        self.image.broker(self.config.node).map_or(BrokerEpoch::NONE, |broker| broker.epoch)
    }

    /// Looks at a log again after a while.
    fn retry_later(&mut self, log: LogId) {
        let at = self.now.mono.after(limits::REPLICA_RETRY_WAIT);
        if self.replication.retrying.insert(log) {
            self.replication.retries.insert((at, log));
        }
    }

    /// Does what its time has come for.
    pub(super) fn replicate_on_time(&mut self) {
        if !self.timers.take_alarm(TimerKind::Replication, self.now.mono) {
            return;
        }
        self.replication.alarm = None;
        let now = self.now.mono;
        while let Some(&(at, log)) = self.replication.retries.first()
            && at <= now
        {
            self.replication.retries.pop_first();
            self.replication.retrying.remove(&log);
            self.look_again(log);
        }
        if self.replication.lag_check.is_some_and(|at| at <= now) {
            let max = self.config.waits.replica_lag_max;
            self.replication.lag_check = Some(now.after(half(max)));
            let led = self.partitions.values().filter(|p| p.is_leader() && p.replicas().len() > 1);
            let logs: Vec<LogId> = led.map(|p| p.log).collect();
            logs.into_iter().for_each(|log| self.consider_isr(log, Some(max)));
        }
        if self.replication.note_check.is_some_and(|at| at <= now) {
            self.replication.note_check = Some(now.after(limits::WATERMARK_NOTE_INTERVAL));
            self.note_watermarks();
        }
        let due = self.replication.pullers.iter().filter(|(_, p)| p.wakes_at().is_some_and(|at| at <= now));
        let due: Vec<NodeId> = due.map(|(node, _)| *node).collect();
        self.replication.pulling.extend(due);
    }

    /// Has the high watermarks that moved noted for the next checkpoint.
    fn note_watermarks(&mut self) {
        for (&log, partition) in self.partitions.iter_mut().filter(|(_, p)| p.replicas().len() > 1) {
            if let Some(order) = partition.note_watermark() {
                let job = self.effects.run(log, order);
                self.jobs.insert(job, Purpose::Order);
            }
        }
    }

    fn look_again(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        if let Some(job) = partition.cut_again(&mut self.effects) {
            self.jobs.insert(job, Purpose::Cut);
            return;
        }
        partition.retry(self.now, &mut self.effects);
        self.pull_again(log);
    }

    /// Sends what the input has brought about; the last thing that is done with an input.
    pub(super) fn replicate(&mut self) {
        if !matches!(self.phase, Phase::Starting | Phase::Serving) {
            return;
        }
        self.serve_followers();
        while let Some(leader) = self.replication.pulling.pop_first() {
            self.pull(leader);
        }
        self.ask_controller();
        self.set_replication_alarm();
    }

    fn set_replication_alarm(&mut self) {
        let r = &self.replication;
        let pullers = r.pullers.values().filter_map(pull::Puller::wakes_at).min();
        let retries = r.retries.first().map(|(at, _)| *at);
        let all = [pullers, retries, r.isr.wakes_at(), r.lag_check, r.note_check];
        let alarm = all.into_iter().flatten().min();
        if alarm != r.alarm {
            self.replication.alarm = alarm;
            self.timers.set_alarm(TimerKind::Replication, alarm);
        }
    }

    /// An append has ended, or a cut: what was waiting for the log to come to rest goes on.
    pub(super) fn log_moved(&mut self, log: LogId) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        if partition.is_deferred() {
            return self.take_part(log);
        }
        if partition.is_leader() {
            if partition.wants_retry() {
                self.retry_later(log);
            }
            return;
        }
        if let Some(job) = partition.follow_log_start(&mut self.effects) {
            self.jobs.insert(job, Purpose::Order);
        }
        self.release(log);
        self.pull_again(log);
    }

    /// A follower's append has failed: asked at once, its leader would send what the disk has just refused.
    pub(super) fn refetch_later(&mut self, log: LogId) {
        self.release(log);
        match self.partitions.get(&log).is_some_and(|partition| partition.is_deferred()) {
            true => self.take_part(log),
            false => self.retry_later(log),
        }
    }

    /// A follower's log has been cut.
    pub(super) fn on_cut_ended(&mut self, log: LogId, outcome: Result<JobOutcome, LogError>) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        match outcome {
            Ok(outcome) => partition.cut_ended(outcome, &mut self.tail),
            Err(error) => {
                partition.cut_failed(error.is_lasting());
                if error.is_lasting() {
                    partition.take_offline();
                    self.report_log_failed(log, &error);
                }
                return self.retry_later(log);
            }
        }
        self.log_moved(log);
    }

    /// Everybody who waits for replication is sent on: the node stops.
    pub(super) fn stop_replicating(&mut self) {
        let waiting: Vec<RequestId> = self.replication.parked.keys().copied().collect();
        for request in waiting {
            self.finish_replica_fetch(request);
        }
        self.replication.pullers.clear();
        self.replication.following.clear();
        self.calls
            .give_up(|purpose| matches!(purpose, calls::Purpose::Pull { .. } | calls::Purpose::AlterPartition(_)));
        self.timers.set_alarm(TimerKind::Replication, None);
        self.note_watermarks();
    }

    /// The log of this partition is about to be opened.
    pub(super) fn opening_replica(&mut self, id: TopicPartition) {
        self.replication.opening.insert(id);
    }

    /// The log of this partition is open, or cannot be opened.
    pub(super) fn opened_replica(&mut self, id: TopicPartition) {
        self.replication.opening.remove(&id);
    }
}

fn half(span: Duration) -> Duration {
    Duration::from_nanos((span.0 / 2).max(1))
}

#[cfg(test)]
mod tests;
