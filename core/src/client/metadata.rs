//! What a client believes of the cluster: topics, their partitions' leaders and epochs, the brokers.
//!
//! It is a cache of [`MetadataResponse`]s for the topics that somebody wants. It is asked for again when it is old,
//! when a topic is new to it, and when a node's answer proved it wrong; after a failure it waits (with jitter), so
//! that a cluster in trouble is not asked harder. What was proved wrong and is answered the same is asked for again by itself:
//! another leader is about to be elected, and whoever waits for it wants to know soon. An older leader epoch never replaces a newer one (KIP-320): a
//! broker that lags behind cannot lead a client back to a leader that was.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use super::backoff::BackoffConfig;
use crate::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, TopicId, TopicName},
    message::{BrokerInfo, ErrorCode, MetadataRequest, MetadataResponse, TopicMetadata, TopicRef},
    prng::Prng,
    time::{Duration, Instant},
};

/// How a client keeps its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataConfig {
    /// Asked for again when older than this (`metadata.max.age.ms`).
    pub max_age: Duration,
    /// Wait between two requests after a failure, or while what is wanted is still missing.
    pub backoff: BackoffConfig,
    /// May a wanted topic that does not exist be created, if the broker does that (`allow.auto.create.topics`)?
    pub allow_auto_topic_creation: bool,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(5 * 60),
            backoff: BackoffConfig { first: Duration::from_millis(25), ..BackoffConfig::default() },
            allow_auto_topic_creation: true,
        }
    }
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Metadata {
    config: MetadataConfig,
    topics: BTreeMap<TopicName, Topic>,
    brokers: Vec<BrokerInfo>,
    cluster_id: String,
    controller: Option<NodeId>,
    phase: Phase,
    /// Requests in a row that failed or left something wanted unknown.
    failures: u32,
    answered: Instant,
    /// When something last proved this wrong, if no answer has brought anything new since.
    doubted: Option<Instant>,
}

/// One wanted topic.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Its id; zero until known.
    pub(crate) id: TopicId,
    /// Why it is not known, or [`ErrorCode::None`] (also before the first answer: then there are no partitions).
    pub(crate) error: ErrorCode,
    /// By number.
    pub(crate) partitions: Vec<Leader>,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: Option<NodeId>,
    pub(crate) epoch: LeaderEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody asks; ask again at this time.
    Idle { due: Instant },
    /// A request is on its way. `again`: what it will say was found wanting meanwhile.
    Asking { again: bool },
}

impl Metadata {
    pub(crate) fn new(config: MetadataConfig) -> Self {
        Self {
            config,
            topics: BTreeMap::new(),
            brokers: Vec::new(),
            cluster_id: String::new(),
            controller: None,
            phase: Phase::Idle { due: Instant(u64::MAX) },
            failures: 0,
            answered: Instant::ZERO,
            doubted: None,
        }
    }

    /// Wants a topic from now on; one that is new is asked for at once.
    pub(crate) fn want(&mut self, now: Instant, name: &TopicName) {
        if !self.topics.contains_key(name) {
            let unknown = Topic { id: TopicId::ZERO, error: ErrorCode::None, partitions: Vec::new() };
            self.topics.insert(name.clone(), unknown);
            self.failures = 0;
            match &mut self.phase {
                Phase::Idle { due } => *due = now,
                Phase::Asking { again } => *again = true,
            }
        }
    }

    /// Wants a topic no longer.
    pub(crate) fn forget(&mut self, name: &TopicName) {
        self.topics.remove(name);
    }

    pub(crate) fn topic(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(name)
    }

    pub(crate) fn leader(&self, name: &TopicName, partition: PartitionId) -> Option<Leader> {
        let index = usize::try_from(partition.0).ok()?;
        self.topics.get(name)?.partitions.get(index).copied()
    }

    pub(crate) fn controller(&self) -> Option<NodeId> {
        self.controller
    }

    /// Something proved this wrong or incomplete: ask again, after the back-off if the last answers did not help.
    pub(crate) fn request_refresh(&mut self, now: Instant, prng: &mut Prng) {
        self.doubted = Some(now);
        match &mut self.phase {
            Phase::Asking { again } => *again = true,
            Phase::Idle { due } => {
                if now.since(self.answered).0 > self.config.backoff.max.0.saturating_mul(2) {
                    self.failures = 0;
                }
                let wait =
                    if self.failures == 0 { Duration::ZERO } else { self.config.backoff.after(self.failures, prng) };
                // Counted as a failure until an answer brings something new: so a wrong answer that repeats
                // itself is not asked for in a tight loop.
                let at = now.after(wait);
                if at < *due {
                    *due = at;
                    self.failures = self.failures.saturating_add(1);
                }
            }
        }
    }

    /// The request to send now, if one is due. The caller reports what came of it.
    pub(crate) fn poll_request(&mut self, now: Instant) -> Option<MetadataRequest> {
        match self.phase {
            Phase::Idle { due } if due <= now => {
                self.phase = Phase::Asking { again: false };
                Some(MetadataRequest {
                    topics: Some(self.topics.keys().cloned().map(TopicRef::Name).collect()),
                    allow_auto_topic_creation: self.config.allow_auto_topic_creation,
                })
            }
            _ => None,
        }
    }

    /// The request failed: ask another node at once, and if that fails too, wait and try again.
    pub(crate) fn on_failure(&mut self, now: Instant, prng: &mut Prng) {
        let wait = if self.failures == 0 { Duration::ZERO } else { self.config.backoff.after(self.failures, prng) };
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Idle { due: now.after(wait) };
    }

    /// Takes an answer in. True when it changed anything.
    pub(crate) fn on_response(&mut self, now: Instant, response: MetadataResponse, prng: &mut Prng) -> bool {
        let Phase::Asking { again } = self.phase else { return false };
        self.answered = now;
        let mut changed = false;
        let mut missing = false;
        for answer in response.topics {
            let Some(name) = &answer.name else { continue };
            if let Some(topic) = self.topics.get_mut(name) {
                missing |= answer.error.is_retriable() || answer.partitions.iter().any(|p| p.leader.is_none());
                changed |= topic.update(answer);
            }
        }
        changed |= self.brokers != response.brokers || self.cluster_id != response.cluster_id;
        self.brokers = response.brokers;
        self.cluster_id = response.cluster_id;
        self.controller = Some(response.controller);
        if changed {
            self.failures = 0;
            self.doubted = None;
        }
        let lasts = self.config.backoff.max.0.saturating_mul(2);
        let wanting = missing || self.doubted.is_some_and(|at| now.since(at).0 <= lasts);
        if wanting {
            self.failures = self.failures.saturating_add(1);
        }
        let due = if again && !wanting && self.failures == 0 {
            now
        } else if again || wanting {
            now.after(self.config.backoff.after(self.failures.max(1), prng))
        } else {
            now.after(self.config.max_age)
        };
        self.phase = Phase::Idle { due };
        changed
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle { due: Instant(u64::MAX) } | Phase::Asking { .. } => None,
            Phase::Idle { due } => Some(due),
        }
    }
}

impl Topic {
    /// Is it there to be used?
    pub(crate) fn is_known(&self) -> bool {
        self.error.is_none() && !self.partitions.is_empty()
    }

    fn update(&mut self, answer: TopicMetadata) -> bool {
        if !answer.error.is_none() || answer.partitions.is_empty() {
            let error = if answer.error.is_none() { ErrorCode::LeaderNotAvailable } else { answer.error };
            let changed = self.error != error;
            self.error = error;
            return changed;
        }
        let recreated = self.id != answer.id;
        let mut partitions: Vec<Leader> = Vec::with_capacity(answer.partitions.len());
        for (index, partition) in answer.partitions.iter().enumerate() {
            let mut leader = Leader { node: partition.leader, epoch: partition.leader_epoch };
            if !recreated
                && let Some(&known) = self.partitions.get(index)
                && leader.epoch != LeaderEpoch::NONE
                && leader.epoch < known.epoch
            {
                leader = known;
            }
            partitions.push(leader);
        }
        // A broker that lags may know fewer partitions than there are: they never become fewer.
        if !recreated {
            partitions.extend_from_slice(self.partitions.get(partitions.len()..).unwrap_or_default());
        }
        let changed = recreated || !self.error.is_none() || self.partitions != partitions;
        *self = Self { id: answer.id, error: ErrorCode::None, partitions };
        changed
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::message::PartitionMetadata;
    use alloc::vec;

    pub(crate) fn name(text: &str) -> TopicName {
        TopicName::new(text)
    }

    pub(crate) fn answer(topics: Vec<TopicMetadata>) -> MetadataResponse {
        MetadataResponse { brokers: Vec::new(), cluster_id: "c".into(), controller: NodeId(1), topics }
    }

    /// Topic metadata with the leaders and epochs given.
    pub(crate) fn topic(text: &str, id: u8, leaders: &[(i32, i32)]) -> TopicMetadata {
        let partitions = leaders.iter().enumerate().map(|(i, &(node, epoch))| PartitionMetadata {
            error: ErrorCode::None,
            partition: PartitionId(i as i32),
            leader: (node >= 0).then_some(NodeId(node)),
            leader_epoch: LeaderEpoch(epoch),
            replicas: vec![NodeId(node)],
            isr: vec![NodeId(node)],
            elr: Vec::new(),
            offline: Vec::new(),
        });
        TopicMetadata {
            error: ErrorCode::None,
            name: Some(name(text)),
            id: TopicId([id; 16]),
            is_internal: false,
            partitions: partitions.collect(),
        }
    }

    fn refused(text: &str, error: ErrorCode) -> TopicMetadata {
        TopicMetadata { error, name: Some(name(text)), id: TopicId::ZERO, is_internal: false, partitions: Vec::new() }
    }

    fn wanting() -> (Metadata, Prng) {
        let mut metadata = Metadata::new(MetadataConfig::default());
        metadata.want(Instant::ZERO, &name("t"));
        assert!(metadata.poll_request(Instant::ZERO).is_some());
        (metadata, Prng::new(1))
    }

    #[test]
    fn a_wanted_topic_is_asked_for_once_and_again_when_old() {
        let (mut metadata, mut prng) = wanting();
        assert_eq!(metadata.poll_request(Instant::ZERO), None);
        assert!(metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(1, 0)])]), &mut prng));
        assert!(metadata.topic(&name("t")).is_some_and(Topic::is_known));
        let due = metadata.next_deadline().expect("it ages");
        assert_eq!(due, Instant::ZERO.after(Duration::from_secs(300)));
        assert!(metadata.poll_request(due).is_some());
    }

    #[test]
    fn an_older_epoch_is_ignored_but_not_of_a_recreated_topic() {
        let (mut metadata, mut prng) = wanting();
        metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(2, 7)])]), &mut prng);
        metadata.request_refresh(Instant::ZERO, &mut prng);
        assert!(metadata.poll_request(Instant::ZERO).is_some());
        metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(1, 6)])]), &mut prng);
        let seven = Leader { node: Some(NodeId(2)), epoch: LeaderEpoch(7) };
        assert_eq!(metadata.leader(&name("t"), PartitionId(0)), Some(seven));
        let due = Instant::ZERO.after(Duration::from_secs(1000));
        assert!(metadata.poll_request(due).is_some());
        metadata.on_response(due, answer(vec![topic("t", 2, &[(1, 0)])]), &mut prng);
        let fresh = Leader { node: Some(NodeId(1)), epoch: LeaderEpoch(0) };
        assert_eq!(metadata.leader(&name("t"), PartitionId(0)), Some(fresh));
    }

    #[test]
    fn what_stays_missing_is_asked_for_ever_more_slowly() {
        let (mut metadata, mut prng) = wanting();
        let mut now = Instant::ZERO;
        let mut waits = Vec::new();
        for _ in 0..6 {
            metadata.on_response(now, answer(vec![refused("t", ErrorCode::UnknownTopicOrPartition)]), &mut prng);
            let due = metadata.next_deadline().expect("it asks again");
            waits.push(due.since(now).as_millis());
            now = due;
            assert!(metadata.poll_request(now).is_some());
        }
        assert!(waits[0] <= 30 && waits[5] >= 600, "{waits:?}");
        metadata.on_failure(now, &mut prng);
        assert!(metadata.next_deadline().expect("it asks again").since(now).as_millis() >= 600);
    }

    #[test]
    fn a_refresh_that_brings_nothing_new_is_not_repeated_in_a_tight_loop() {
        let (mut metadata, mut prng) = wanting();
        metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(1, 0)])]), &mut prng);
        metadata.request_refresh(Instant::ZERO, &mut prng);
        assert!(metadata.poll_request(Instant::ZERO).is_some(), "the first is free");
        metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(1, 0)])]), &mut prng);
        metadata.request_refresh(Instant::ZERO, &mut prng);
        assert_eq!(metadata.poll_request(Instant::ZERO), None);
        let next = metadata.next_deadline().expect("soon");
        assert!((20..100).contains(&next.since(Instant::ZERO).as_millis()), "{next:?}");
    }

    #[test]
    fn what_is_known_to_be_wrong_is_asked_for_until_it_changes_or_is_doubted_no_more() {
        let (mut metadata, mut prng) = wanting();
        let stale = || answer(vec![topic("t", 1, &[(1, 0)])]);
        metadata.on_response(Instant::ZERO, stale(), &mut prng);
        metadata.request_refresh(Instant::ZERO, &mut prng);
        let (mut now, mut asked) = (Instant::ZERO, 0);
        while now < Instant::ZERO.after(Duration::from_secs(4)) {
            asked += u32::from(metadata.poll_request(now).is_some());
            metadata.on_response(now, stale(), &mut prng);
            now = metadata.next_deadline().expect("it asks again, or it ages");
        }
        assert!((5..10).contains(&asked), "{asked}");
        metadata.request_refresh(now, &mut prng);
        let due = metadata.next_deadline().expect("it is doubted again");
        assert!(metadata.poll_request(due).is_some());
        metadata.on_response(due, answer(vec![topic("t", 1, &[(2, 1)])]), &mut prng);
        assert_eq!(metadata.next_deadline().expect("it ages").since(due), Duration::from_secs(300));
    }

    #[test]
    fn a_request_that_fails_is_made_of_another_node_at_once() {
        let (mut metadata, mut prng) = wanting();
        metadata.on_failure(Instant::ZERO, &mut prng);
        assert!(metadata.poll_request(Instant::ZERO).is_some());
        metadata.on_failure(Instant::ZERO, &mut prng);
        assert_eq!(metadata.poll_request(Instant::ZERO), None, "once");
    }

    #[test]
    fn partitions_never_become_fewer() {
        let (mut metadata, mut prng) = wanting();
        metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(1, 0), (1, 0)])]), &mut prng);
        metadata.request_refresh(Instant::ZERO, &mut prng);
        assert!(metadata.poll_request(Instant::ZERO).is_some());
        metadata.on_response(Instant::ZERO, answer(vec![topic("t", 1, &[(1, 0)])]), &mut prng);
        assert_eq!(metadata.topic(&name("t")).expect("wanted").partitions.len(), 2);
    }
}
