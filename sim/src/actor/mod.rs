//! Clients, as the simulated network sees them: they call nodes, get replies or none, and have a next deadline.
//!
//! The raw ones build requests by hand and do what well-behaved clients never would: send a batch twice, come back
//! with an old epoch, start a sequence just before it wraps. Core's own client machines run beside them, behind the
//! same trait.

mod admin;
mod asker;
mod consumer;
mod machine;
mod mover;
mod producer;
mod reader;

use std::collections::BTreeMap;

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, TopicId, TopicName, TopicPartition},
    message::{ErrorCode, MetadataRequest, MetadataResponse, Request, Response, TopicRef},
    time::Timestamp,
};

use crate::{config::Config, history::History, script::Ops, tally::Tally};

pub use admin::Admin;
pub use asker::Asker;
pub use consumer::Consumer;
pub(crate) use consumer::batches_of;
pub use machine::MachineProducer;
pub use mover::Mover;
pub use producer::Producer;
pub use reader::Reader;

/// One call of one client. Never used twice.
pub type CallId = u64;

/// What a client orders of the network.
#[derive(Clone, Debug)]
pub enum Order {
    /// Carry this request.
    Call {
        /// Under which the reply comes.
        id: CallId,
        /// Whereto; any node will do with `None`.
        to: Option<NodeId>,
        /// What is asked.
        request: Request,
    },
    /// The call took too long: give up the connection that carries it.
    Abandon(CallId),
}

/// What came of a call.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The node answered.
    Answered(Response),
    /// The request has left, and no answer will come: a produce with `acks=0`.
    Sent,
    /// The request never left.
    NotSent,
    /// The connection went; the request may have been carried out.
    Lost,
}

/// What the run is about at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Faults strike.
    Chaos,
    /// Everything is healed: what is begun must end, nothing new is begun but by the probe.
    Settle,
    /// Fresh readers read everything.
    FinalRead,
}

/// What a client may look at and write to when it acts.
pub struct Scene<'a> {
    /// Virtual time in nanoseconds.
    pub now: u64,
    /// The client's wall clock.
    pub wall: Timestamp,
    /// Which part of the run.
    pub phase: Phase,
    /// The swarm configuration.
    pub config: &'a Config,
    /// Where what is done and seen is written down.
    pub history: &'a mut History,
    /// Counters.
    pub tally: &'a Tally,
    /// Where orders go.
    pub orders: &'a mut Vec<Order>,
    /// The topics of this run.
    pub plan: &'a Plan,
    /// When this client begins something new.
    pub ops: &'a mut Ops,
}

/// A client.
pub trait Actor {
    /// A call is over.
    fn on_reply(&mut self, scene: &mut Scene<'_>, call: CallId, reply: Reply);
    /// The deadline may have come, or the phase has changed.
    fn on_time(&mut self, scene: &mut Scene<'_>);
    /// When to call [`Actor::on_time`] at the latest.
    fn next_deadline(&self) -> Option<u64>;
    /// Why it is not done with the current phase, if it is not.
    fn unfinished(&self, phase: Phase) -> Option<String>;
}

/// What becomes of a topic in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stays.
    Stable,
    /// Old values of a key go.
    Compacted,
    /// It is deleted and created again.
    Churned,
}

/// The topics of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By name.
    pub topics: BTreeMap<String, Kind>,
}

impl Plan {
    /// The topics that this configuration asks for.
    pub fn new(config: &Config) -> Self {
        let mut topics = BTreeMap::new();
        for (kind, word, count) in [
            (Kind::Stable, "stable", config.stable_topics),
            (Kind::Compacted, "compacted", config.compacted_topics),
            (Kind::Churned, "churned", config.churned_topics),
        ] {
            for number in 0..count {
                topics.insert(format!("{word}.{number}"), kind);
            }
        }
        Self { topics }
    }
}

/// One millisecond in nanoseconds.
pub const MS: u64 = 1_000_000;

/// The open calls of one client.
#[derive(Debug)]
pub(crate) struct Desk<P> {
    next: CallId,
    open: BTreeMap<CallId, (u64, P)>,
}

impl<P> Desk<P> {
    pub(crate) fn new() -> Self {
        Self { next: 0, open: BTreeMap::new() }
    }

    /// Asks any node.
    pub(crate) fn call(&mut self, scene: &mut Scene<'_>, timeout: u64, request: Request, purpose: P) -> CallId {
        self.call_to(scene, None, timeout, request, purpose)
    }

    /// Asks this node, if one is named.
    pub(crate) fn call_to(
        &mut self,
        scene: &mut Scene<'_>,
        to: Option<NodeId>,
        timeout: u64,
        request: Request,
        purpose: P,
    ) -> CallId {
        let id = self.next;
        self.next += 1;
        self.open.insert(id, (scene.now + timeout, purpose));
        scene.orders.push(Order::Call { id, to, request });
        id
    }

    pub(crate) fn close(&mut self, id: CallId) -> Option<P> {
        self.open.remove(&id).map(|(_, purpose)| purpose)
    }

    /// Gives up the calls whose time is over.
    pub(crate) fn overdue(&mut self, scene: &mut Scene<'_>) -> Vec<P> {
        let late: Vec<CallId> = self.open.iter().filter(|(_, (at, _))| *at <= scene.now).map(|(&id, _)| id).collect();
        scene.orders.extend(late.iter().map(|&id| Order::Abandon(id)));
        late.into_iter().filter_map(|id| self.close(id)).collect()
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.open.values().map(|(at, _)| *at).min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// A client that sends somebody on errands, hears of each once, and does what is due in between.
trait Runner {
    /// What a call is for.
    type Errand;

    fn desk(&mut self) -> &mut Desk<Self::Errand>;
    /// An errand is over: answered, or lost.
    fn over(&mut self, scene: &mut Scene<'_>, errand: Self::Errand, reply: Reply);
    /// Errands that take too long are given up; now whatever else is due.
    fn tick(&mut self, scene: &mut Scene<'_>);
    fn next_deadline(&self) -> Option<u64>;
    fn unfinished(&self, phase: Phase) -> Option<String>;
}

impl<R: Runner> Actor for R {
    fn on_reply(&mut self, scene: &mut Scene<'_>, call: CallId, reply: Reply) {
        if let Some(errand) = self.desk().close(call) {
            self.over(scene, errand, reply);
        }
    }

    fn on_time(&mut self, scene: &mut Scene<'_>) {
        for errand in self.desk().overdue(scene) {
            self.over(scene, errand, Reply::Lost);
        }
        self.tick(scene);
    }

    fn next_deadline(&self) -> Option<u64> {
        Runner::next_deadline(self)
    }

    fn unfinished(&self, phase: Phase) -> Option<String> {
        Runner::unfinished(self, phase)
    }
}

/// What a client knows of topics.
#[derive(Debug, Default)]
pub(crate) struct Atlas {
    pub(crate) topics: BTreeMap<String, (TopicId, i32)>,
    leaders: BTreeMap<TopicPartition, NodeId>,
    /// The newest that anybody has told.
    epochs: BTreeMap<TopicPartition, LeaderEpoch>,
}

impl Atlas {
    pub(crate) fn request() -> Request {
        Request::Metadata(MetadataRequest { topics: None, allow_auto_topic_creation: false })
    }

    /// Takes up what a node says of all topics; returns whether anything changed.
    pub(crate) fn learn(&mut self, response: &MetadataResponse) -> bool {
        let mut topics = BTreeMap::new();
        self.leaders.clear();
        for topic in &response.topics {
            for partition in &topic.partitions {
                let id = TopicPartition { topic: topic.id, partition: partition.partition };
                self.leaders.extend(partition.leader.map(|leader| (id, leader)));
                let epoch = self.epochs.entry(id).or_insert(partition.leader_epoch);
                *epoch = partition.leader_epoch.max(*epoch);
            }
            if let (ErrorCode::None, Some(name)) = (topic.error, &topic.name) {
                topics.insert(name.as_str().to_owned(), (topic.id, topic.partitions.len() as i32));
            }
        }
        let changed = topics != self.topics;
        self.topics = topics;
        changed
    }

    /// Who leads a partition, as far as is known.
    pub(crate) fn leader(&self, of: TopicPartition) -> Option<NodeId> {
        self.leaders.get(&of).copied()
    }

    /// The newest epoch of a partition's leader that was heard of.
    pub(crate) fn epoch(&self, of: TopicPartition) -> LeaderEpoch {
        self.epochs.get(&of).copied().unwrap_or(LeaderEpoch::NONE)
    }

    pub(crate) fn partitions(&self) -> Vec<(String, TopicPartition)> {
        let of = |(name, &(topic, count)): (&String, &(TopicId, i32))| {
            let name = name.clone();
            (0..count).map(move |number| (name.clone(), TopicPartition { topic, partition: PartitionId(number) }))
        };
        self.topics.iter().flat_map(of).collect()
    }
}

/// How a client names a topic: by id where its name may pass to another one.
pub(crate) fn topic_ref(plan: &Plan, name: &str, id: TopicId, by_id: bool) -> TopicRef {
    if by_id || plan.topics.get(name) != Some(&Kind::Stable) {
        TopicRef::Id(id)
    } else {
        TopicRef::Name(TopicName::new(name))
    }
}
