//! The controller's decisions: a request and the committed image in, records and an answer out.
//!
//! Nothing here changes the image. A decision's records are appended to the metadata log; the answer is given once they
//! are committed and applied. The next decision waits for that, so it always sees the one before.

use alloc::{collections::BTreeSet, format, string::String, string::ToString, vec::Vec};

use super::{
    brokers::Live,
    configs,
    election::{self, Rules, Wish},
    image::{Broker, Image, Overrides, Topic},
    index::Index,
    placement,
    record::{MetadataRecord, PartitionChange},
};
use crate::{
    ids::{NodeId, PartitionId, ProducerId, TopicId, TopicName, TopicPartition},
    limits,
    log::LogConfig,
    message::{
        AlterConfigsRequest, AlterConfigsResource, AlterConfigsResponse, AlteredConfigs, ConfigEntry, ConfigResource,
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        CreatedPartitions, CreatedTopic, DeleteTopicsRequest, DeleteTopicsResponse, DeletedTopic, ErrorCode,
        NewPartitions, NewTopic, TopicRef,
    },
    prng::Prng,
};

/// What the controller needs besides the image.
#[derive(Debug)]
pub struct Controller {
    /// Settings that a topic has when nobody set others.
    pub log_defaults: LogConfig,
    /// `num.partitions`
    pub partitions_default: i32,
    /// `default.replication.factor`
    pub replication_default: i16,
    /// For topic ids.
    prng: Prng,
    /// There while this node is the controller.
    index: Option<Index>,
}

/// Records to commit, and what to answer then.
#[derive(Debug, PartialEq)]
pub struct Decision<R> {
    /// In order; they become one batch, so all or none are committed.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub response: R,
}

/// A refusal: the code and the reason in words.
type Refusal = (ErrorCode, String);

impl Controller {
    /// A controller that draws its topic ids from `prng`.
    pub fn new(log_defaults: LogConfig, partitions_default: i32, replication_default: i16, prng: Prng) -> Self {
        Self { log_defaults, partitions_default, replication_default, prng, index: None }
    }

    /// This node is the controller from now on, and this is all that is committed.
    pub fn take_over(&mut self, image: &Image) {
        self.index = Some(Index::of(image));
    }

    /// This node is not the controller any more.
    pub fn step_down(&mut self) {
        self.index = None;
    }

    /// Is this node the controller, and knows all that is committed?
    pub fn is_active(&self) -> bool {
        self.index.is_some()
    }

    /// A committed record is about to be folded into `image`.
    pub fn follow(&mut self, image: &Image, record: &MetadataRecord) {
        if let Some(index) = &mut self.index {
            index.follow(image, record);
        }
    }

    pub(super) fn index(&self) -> &Index {
        self.index.as_ref().expect("only the controller decides")
    }

    /// New topics. Each succeeds or fails by itself.
    pub fn create_topics(&mut self, image: &Image, request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
        let mut records = Vec::new();
        let mut names = BTreeSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for new in &request.topics {
            let twice = !names.insert(&new.name);
            let created = if twice {
                Err((ErrorCode::InvalidRequest, "the request names this topic twice".to_string()))
            } else {
                self.create_topic(image, new, request.validate_only, &mut records)
            };
            topics.push(created.unwrap_or_else(|(error, message)| CreatedTopic {
                name: new.name.clone(),
                error,
                message: Some(message),
                id: TopicId::ZERO,
                partitions: -1,
                replication_factor: -1,
                configs: Vec::new(),
            }));
        }
        Decision { records, response: CreateTopicsResponse { topics } }
    }

    fn create_topic(
        &mut self,
        image: &Image,
        new: &NewTopic,
        validate_only: bool,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<CreatedTopic, Refusal> {
        new.name.check().map_err(|e| (ErrorCode::InvalidTopic, e.to_string()))?;
        if image.topic_named(&new.name).is_some() {
            return Err((ErrorCode::TopicAlreadyExists, format!("topic {:?} already exists", new.name.as_str())));
        }
        if let Some(other) = colliding(image, &new.name) {
            return Err((
                ErrorCode::InvalidTopic,
                format!("the name collides with topic {other:?}: '.' and '_' count as one"),
            ));
        }
        let assignments = self.assignments(image, new)?;
        let mut overrides = Overrides::new();
        for (name, value) in &new.configs {
            let invalid = |reason| (ErrorCode::InvalidConfig, reason);
            let value = value.as_ref().ok_or_else(|| invalid(format!("{name} has no value")))?;
            configs::check(name, value).map_err(invalid)?;
            overrides.insert(name.clone(), value.clone());
        }

        let id = TopicId(self.prng.uuid());
        if !validate_only {
            records.push(MetadataRecord::TopicCreated { name: new.name.clone(), id });
            for (name, value) in &overrides {
                let resource = ConfigResource::Topic(new.name.clone());
                records.push(MetadataRecord::ConfigChanged {
                    resource,
                    name: name.clone(),
                    value: Some(value.clone()),
                });
            }
            records.extend((0..).zip(&assignments).map(|(p, nodes)| new_partition(image, id, PartitionId(p), nodes)));
        }
        Ok(CreatedTopic {
            name: new.name.clone(),
            error: ErrorCode::None,
            message: None,
            id: if validate_only { TopicId::ZERO } else { id },
            partitions: i32::try_from(assignments.len()).expect("partition counts are bounded"),
            replication_factor: i16::try_from(assignments[0].len()).expect("there are fewer brokers"),
            configs: configs::describe(&self.log_defaults, Some(&overrides), None),
        })
    }

    fn assignments(&mut self, image: &Image, new: &NewTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        if new.assignments.is_empty() {
            let partitions = new.partitions.unwrap_or(self.partitions_default);
            let replicas = new.replication_factor.unwrap_or(self.replication_default);
            return self.place(image, partitions, i32::from(replicas));
        }
        if new.partitions.is_some() || new.replication_factor.is_some() {
            let reason = "give either an assignment of replicas or counts, not both";
            return Err((ErrorCode::InvalidRequest, reason.to_string()));
        }
        let mut sorted: Vec<_> = new.assignments.iter().collect();
        sorted.sort_by_key(|(partition, _)| *partition);
        if !(0..).zip(&sorted).all(|(i, (partition, _))| *partition == PartitionId(i)) {
            let reason = "the assigned partitions must be numbered from 0 without a gap";
            return Err((ErrorCode::InvalidReplicaAssignment, reason.to_string()));
        }
        check_partition_count(sorted.len() as i64)?;
        let width = sorted[0].1.len();
        sorted.into_iter().map(|(_, nodes)| check_replicas(image, nodes, width).map(|()| nodes.clone())).collect()
    }

    fn place(&mut self, image: &Image, partitions: i32, replicas: i32) -> Result<Vec<Vec<NodeId>>, Refusal> {
        check_partition_count(i64::from(partitions))?;
        let usable: Vec<_> =
            image.brokers().filter(|(_, b)| b.is_active()).map(|(node, broker)| (node, broker.rack.clone())).collect();
        let wrong = || {
            let reason =
                format!("a replication factor of {replicas} is not possible with {} brokers in service", usable.len());
            (ErrorCode::InvalidReplicationFactor, reason)
        };
        let wanted = usize::try_from(replicas).map_err(|_| wrong())?;
        let start = self.prng.below(1 << 16) as usize;
        let partitions = usize::try_from(partitions).expect("checked to be positive");
        placement::place(&usable, partitions, wanted, start).ok_or_else(wrong)
    }

    /// Fewer topics. Each succeeds or fails by itself.
    pub fn delete_topics(&self, image: &Image, request: &DeleteTopicsRequest) -> Decision<DeleteTopicsResponse> {
        let mut records = Vec::new();
        let mut gone = BTreeSet::new();
        let mut delete = |topic: &TopicRef| match image.resolve(topic) {
            Some(found) if gone.insert(found.id) => {
                records.push(MetadataRecord::TopicDeleted { id: found.id });
                DeletedTopic {
                    topic: topic.clone(),
                    name: Some(found.name.clone()),
                    id: found.id,
                    error: ErrorCode::None,
                    message: None,
                }
            }
            found => {
                let (error, message) = match (found, topic) {
                    (Some(_), _) => (ErrorCode::InvalidRequest, "the request names this topic twice"),
                    (None, TopicRef::Name(_)) => (ErrorCode::UnknownTopicOrPartition, "there is no topic of this name"),
                    (None, TopicRef::Id(_)) => (ErrorCode::UnknownTopicId, "there is no topic of this id"),
                };
                let (name, id) = match topic {
                    TopicRef::Name(name) => (Some(name.clone()), TopicId::ZERO),
                    TopicRef::Id(id) => (None, *id),
                };
                DeletedTopic { topic: topic.clone(), name, id, error, message: Some(message.to_string()) }
            }
        };
        let topics = request.topics.iter().map(&mut delete).collect();
        Decision { records, response: DeleteTopicsResponse { topics } }
    }

    /// More partitions. Each topic succeeds or fails by itself.
    pub fn create_partitions(
        &mut self,
        image: &Image,
        request: &CreatePartitionsRequest,
    ) -> Decision<CreatePartitionsResponse> {
        let mut records = Vec::new();
        let mut names = BTreeSet::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for new in &request.topics {
            let outcome = if names.insert(&new.name) {
                self.add_partitions(image, new)
            } else {
                Err((ErrorCode::InvalidRequest, "the request names this topic twice".to_string()))
            };
            let (error, message) = match outcome {
                Ok(added) => {
                    if !request.validate_only {
                        records.extend(added);
                    }
                    (ErrorCode::None, None)
                }
                Err((error, message)) => (error, Some(message)),
            };
            topics.push(CreatedPartitions { name: new.name.clone(), error, message });
        }
        Decision { records, response: CreatePartitionsResponse { topics } }
    }

    fn add_partitions(&mut self, image: &Image, new: &NewPartitions) -> Result<Vec<MetadataRecord>, Refusal> {
        let unknown = || (ErrorCode::UnknownTopicOrPartition, "there is no topic of this name".to_string());
        let topic = image.topic_named(&new.name).ok_or_else(unknown)?;
        let current = i32::try_from(topic.partitions.len()).expect("partition counts are bounded");
        if new.total <= current {
            let reason = format!("the topic has {current} partitions already; {} is not more", new.total);
            return Err((ErrorCode::InvalidPartitions, reason));
        }
        check_partition_count(i64::from(new.total))?;
        let added = new.total - current;
        let width = topic.partitions[0].replicas.len();
        let assignments = if new.assignments.is_empty() {
            self.place(image, added, i32::try_from(width).expect("there are fewer brokers"))?
        } else if new.assignments.len() == added as usize {
            new.assignments.iter().try_for_each(|nodes| check_replicas(image, nodes, width))?;
            new.assignments.clone()
        } else {
            let reason = format!("{added} partitions are added, but {} are assigned", new.assignments.len());
            return Err((ErrorCode::InvalidReplicaAssignment, reason));
        };
        let numbered = (current..).zip(&assignments);
        Ok(numbered.map(|(p, nodes)| new_partition(image, topic.id, PartitionId(p), nodes)).collect())
    }

    /// Changed settings. Each resource succeeds or fails by itself.
    pub fn alter_configs(&self, image: &Image, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
        let mut records = Vec::new();
        let alter = |of: &AlterConfigsResource| {
            let (error, message) = match self.alter_resource(image, of) {
                Ok(changes) => {
                    if !request.validate_only {
                        records.extend(changes);
                    }
                    (ErrorCode::None, None)
                }
                Err((error, message)) => (error, Some(message)),
            };
            AlteredConfigs { resource: of.resource.clone(), error, message }
        };
        let resources = request.resources.iter().map(alter).collect();
        Decision { records, response: AlterConfigsResponse { resources } }
    }

    fn alter_resource(&self, image: &Image, of: &AlterConfigsResource) -> Result<Vec<MetadataRecord>, Refusal> {
        let ConfigResource::Topic(topic) = &of.resource else {
            let reason = "a broker's settings are in its file; only topics can be changed while it runs";
            return Err((ErrorCode::InvalidRequest, reason.to_string()));
        };
        if image.topic_named(topic).is_none() {
            return Err((ErrorCode::UnknownTopicOrPartition, "there is no topic of this name".to_string()));
        }
        let current = image.overrides(&of.resource);
        let mut next: Overrides =
            if of.replace_all { Default::default() } else { current.cloned().unwrap_or_default() };
        let mut seen = BTreeSet::new();
        for change in &of.changes {
            if !seen.insert(&change.name) {
                return Err((ErrorCode::InvalidRequest, format!("{} is changed twice", change.name)));
            }
            let changed = configs::changed(&self.log_defaults, Some(&next), &change.name, &change.operation);
            match changed.map_err(|reason| (ErrorCode::InvalidConfig, reason))? {
                Some(value) => next.insert(change.name.clone(), value),
                None => next.remove(&change.name),
            };
        }
        let settled = self.settle_topic(image, topic, &next);
        let record = |name: &String, value: Option<&String>| MetadataRecord::ConfigChanged {
            resource: of.resource.clone(),
            name: name.clone(),
            value: value.cloned(),
        };
        let none = Default::default();
        let current = current.unwrap_or(&none);
        let gone = current.keys().filter(|name| !next.contains_key(*name)).map(|name| record(name, None));
        let set = next.iter().filter(|(name, value)| current.get(*name) != Some(*value));
        Ok(gone.chain(set.map(|(name, value)| record(name, Some(value)))).chain(settled).collect())
    }

    /// What other settings mean for a topic's partitions: who is eligible to lead depends on `min.insync.replicas`, and
    /// whether anybody else may on `unclean.leader.election.enable`.
    fn settle_topic(&self, image: &Image, topic: &TopicName, overrides: &Overrides) -> Vec<MetadataRecord> {
        let rules = Rules::from(&configs::log_config(&self.log_defaults, Some(overrides)));
        let Some(topic) = image.topic_named(topic) else { return Vec::new() };
        let live = Live::now(image);
        let change = |(p, partition)| {
            let id = TopicPartition { topic: topic.id, partition: PartitionId(p) };
            election::settle(id, partition, Wish::default(), &rules, |n| live.is(n))
        };
        (0..).zip(&topic.partitions).filter_map(change).map(MetadataRecord::PartitionChanged).collect()
    }

    /// A topic's settings, all or those asked for.
    pub fn describe_topic_configs(&self, overrides: Option<&Overrides>, names: Option<&[String]>) -> Vec<ConfigEntry> {
        configs::describe(&self.log_defaults, overrides, names)
    }

    /// The next block of producer ids (KIP-98): the record that allots it, and its first id.
    pub fn allot_producer_ids(&self, image: &Image) -> Decision<ProducerId> {
        let first = image.next_producer_id();
        let next = ProducerId(first.0.checked_add(limits::PRODUCER_ID_BLOCK).expect("producer ids fit 63 bits"));
        Decision { records: alloc::vec![MetadataRecord::ProducerIdsAllotted { next }], response: first }
    }
}

fn new_partition(image: &Image, topic: TopicId, partition: PartitionId, replicas: &[NodeId]) -> MetadataRecord {
    // Only brokers in service count as in sync; the first of them leads.
    let in_service = |node: &&NodeId| image.broker(**node).is_some_and(Broker::is_active);
    let isr: Vec<NodeId> = replicas.iter().filter(in_service).copied().collect();
    MetadataRecord::PartitionChanged(PartitionChange::created(topic, partition, replicas, isr))
}

fn check_partition_count(count: i64) -> Result<(), Refusal> {
    if (1..=i64::from(limits::PARTITIONS_PER_TOPIC_MAX)).contains(&count) {
        Ok(())
    } else {
        let reason = format!("a topic has between 1 and {} partitions, not {count}", limits::PARTITIONS_PER_TOPIC_MAX);
        Err((ErrorCode::InvalidPartitions, reason))
    }
}

fn check_replicas(image: &Image, nodes: &[NodeId], width: usize) -> Result<(), Refusal> {
    let wrong = |reason: String| Err((ErrorCode::InvalidReplicaAssignment, reason));
    if nodes.is_empty() || nodes.len() != width {
        return wrong("every partition needs the same number of replicas, at least one".to_string());
    }
    if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
        return wrong("a broker can hold a partition once only".to_string());
    }
    match nodes.iter().find(|node| image.broker(**node).is_none()) {
        Some(node) => wrong(format!("there is no broker {node}")),
        None if !nodes.iter().any(|n| image.broker(*n).is_some_and(Broker::is_active)) => {
            wrong("none of the brokers is in service".to_string())
        }
        None => Ok(()),
    }
}

/// A topic whose name differs only in `.` and `_`: their metrics could not be told apart, so Kafka refuses it.
fn colliding<'a>(image: &'a Image, name: &TopicName) -> Option<&'a str> {
    if !name.as_str().contains(['.', '_']) {
        return None;
    }
    let same = |a: u8, b: u8| a == b || (a == b'.' || a == b'_') && (b == b'.' || b == b'_');
    let collides = |topic: &&Topic| {
        let (a, b) = (topic.name.as_str().as_bytes(), name.as_str().as_bytes());
        a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| same(a, b))
    };
    image.topics().find(collides).map(|topic| topic.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Registration,
        ids::{BrokerEpoch, DirectoryId},
        message::{ConfigChange, ConfigOperation, Endpoints},
        time::Duration,
    };

    fn controller() -> Controller {
        Controller::new(LogConfig::default(), 1, 1, Prng::new(1))
    }

    fn image() -> Image {
        let mut image = Image::default();
        image.apply(&MetadataRecord::BrokerRegistered(Registration {
            node: NodeId(1),
            epoch: BrokerEpoch(1),
            incarnation: 1,
            directory: DirectoryId([1; 16]),
            rack: None,
            endpoints: Endpoints::default(),
            fenced: false,
        }));
        image
    }

    fn create(name: &str) -> CreateTopicsRequest {
        let topic = NewTopic {
            name: TopicName::new(name),
            partitions: Some(2),
            replication_factor: None,
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        CreateTopicsRequest { topics: alloc::vec![topic], validate_only: false, timeout: Duration::ZERO }
    }

    fn apply<R>(image: &mut Image, decision: Decision<R>) -> R {
        decision.records.iter().for_each(|r| image.apply(r));
        decision.response
    }

    #[test]
    fn topics_come_change_and_go() {
        let (mut controller, mut image) = (controller(), image());
        let created = controller.create_topics(&image, &create("orders"));
        let response = apply(&mut image, created);
        assert_eq!((response.topics[0].error, response.topics[0].partitions), (ErrorCode::None, 2));
        let again = controller.create_topics(&image, &create("orders"));
        assert_eq!(again.response.topics[0].error, ErrorCode::TopicAlreadyExists);
        assert!(again.records.is_empty());

        let more = NewPartitions { name: TopicName::new("orders"), total: 5, assignments: Vec::new() };
        let request =
            CreatePartitionsRequest { topics: alloc::vec![more], validate_only: false, timeout: Duration::ZERO };
        let decision = controller.create_partitions(&image, &request);
        assert_eq!(apply(&mut image, decision).topics[0].error, ErrorCode::None);
        let topic = image.topic_named(&TopicName::new("orders")).expect("created");
        assert_eq!(topic.partitions.len(), 5);
        let same = controller.create_partitions(&image, &request);
        assert_eq!(same.response.topics[0].error, ErrorCode::InvalidPartitions);

        let topics = alloc::vec![TopicRef::Name(TopicName::new("orders")), TopicRef::Id(TopicId([7; 16]))];
        let decision = controller.delete_topics(&image, &DeleteTopicsRequest { topics, timeout: Duration::ZERO });
        let response = apply(&mut image, decision);
        assert_eq!(response.topics[0].error, ErrorCode::None);
        assert_eq!(response.topics[1].error, ErrorCode::UnknownTopicId);
        assert!(image.topic_named(&TopicName::new("orders")).is_none());
    }

    #[test]
    fn bad_topics_are_refused_with_kafkas_codes() {
        let (mut controller, image) = (controller(), image());
        let mut refuse = |change: &dyn Fn(&mut NewTopic)| {
            let mut request = create("t");
            change(&mut request.topics[0]);
            let decision = controller.create_topics(&image, &request);
            assert!(decision.records.is_empty());
            decision.response.topics[0].error
        };
        assert_eq!(refuse(&|t| t.name = TopicName::new("a/b")), ErrorCode::InvalidTopic);
        assert_eq!(refuse(&|t| t.partitions = Some(0)), ErrorCode::InvalidPartitions);
        assert_eq!(refuse(&|t| t.replication_factor = Some(2)), ErrorCode::InvalidReplicationFactor);
        assert_eq!(refuse(&|t| t.replication_factor = Some(-5)), ErrorCode::InvalidReplicationFactor);
        assert_eq!(refuse(&|t| t.configs = alloc::vec![("x".into(), Some("1".into()))]), ErrorCode::InvalidConfig);
        let twice = alloc::vec![(PartitionId(0), alloc::vec![NodeId(1), NodeId(1)])];
        assert_eq!(
            refuse(&|t| (t.partitions, t.assignments) = (None, twice.clone())),
            ErrorCode::InvalidReplicaAssignment
        );
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        let (mut controller, mut image) = (controller(), image());
        let decision = controller.create_topics(&image, &create("a.b"));
        apply(&mut image, decision);
        assert_eq!(controller.create_topics(&image, &create("a_b")).response.topics[0].error, ErrorCode::InvalidTopic);
        assert_eq!(controller.create_topics(&image, &create("a-b")).response.topics[0].error, ErrorCode::None);
    }

    #[test]
    fn settings_change_incrementally_and_as_a_whole() {
        let (mut controller, mut image) = (controller(), image());
        let decision = controller.create_topics(&image, &create("t"));
        apply(&mut image, decision);
        let resource = ConfigResource::Topic(TopicName::new("t"));
        let alter = |image: &mut Image, replace_all, name: &str, operation| {
            let changes = alloc::vec![ConfigChange { name: name.into(), operation }];
            let of = AlterConfigsResource { resource: resource.clone(), replace_all, changes };
            let request = AlterConfigsRequest { resources: alloc::vec![of], validate_only: false };
            let decision = controller.alter_configs(image, &request);
            apply(image, decision).resources.remove(0).error
        };
        let set = |value: &str| ConfigOperation::Set(value.into());
        assert_eq!(alter(&mut image, false, "retention.ms", set("1000")), ErrorCode::None);
        assert_eq!(alter(&mut image, false, "segment.bytes", set("2000000")), ErrorCode::None);
        assert_eq!(image.overrides(&resource).map(|o| o.len()), Some(2));
        assert_eq!(alter(&mut image, false, "retention.ms", ConfigOperation::Delete), ErrorCode::None);
        assert_eq!(image.overrides(&resource).map(|o| o.len()), Some(1));
        assert_eq!(alter(&mut image, true, "retention.ms", set("5")), ErrorCode::None);
        let names: Vec<_> = image.overrides(&resource).expect("one is set").keys().cloned().collect();
        assert_eq!(names, ["retention.ms"]);
        assert_eq!(alter(&mut image, false, "nonsense", set("5")), ErrorCode::InvalidConfig);
    }
}
