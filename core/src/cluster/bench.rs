//! A controller and its image for tests: decisions are committed at once.

use alloc::{vec, vec::Vec};

use super::{Controller, Decision, Image, MetadataRecord, Partition, Registrar, Round};
use crate::{
    ids::{BrokerEpoch, DirectoryId, NodeId, PartitionId, TopicName, TopicPartition},
    log::LogConfig,
    message::{
        AlterConfigsRequest, AlterConfigsResource, ConfigChange, ConfigOperation, ConfigResource, CreateTopicsRequest,
        Endpoints, ErrorCode, NewTopic, RegisterRequest,
    },
    prng::Prng,
    time::Duration,
};

pub(super) struct Bench {
    pub(super) controller: Controller,
    pub(super) image: Image,
    next: i64,
}

impl Bench {
    /// Brokers 1 to `brokers`, all in service.
    pub(super) fn new(brokers: i32) -> Self {
        let mut controller = Controller::new(LogConfig::default(), 1, 1, Prng::new(1));
        let image = Image::default();
        controller.take_over(&image);
        let mut bench = Self { controller, image, next: 1 };
        for node in 1..=brokers {
            bench.register(node, 1, BrokerEpoch::NONE);
            bench.unfence(node);
        }
        bench
    }

    /// Commits records as one batch.
    pub(super) fn commit(&mut self, records: &[MetadataRecord]) {
        for record in records {
            self.controller.follow(&self.image, record);
            self.image.apply(record);
        }
        let mut again = Controller::new(LogConfig::default(), 1, 1, Prng::new(1));
        again.take_over(&self.image);
        assert_eq!(self.controller.index(), again.index(), "the index follows the image");
        self.next += i64::try_from(records.len()).expect("few");
    }

    pub(super) fn decide<R>(&mut self, decision: Decision<R>) -> R {
        self.commit(&decision.records);
        decision.response
    }

    /// Takes a decision as often as it needs; says how many rounds it took.
    pub(super) fn rounds<R>(&mut self, round: impl Fn(&Self) -> Round<R>) -> (R, usize) {
        for n in 1..1_000 {
            let Decision { records, response } = round(self);
            self.commit(&records);
            if let Some(response) = response {
                return (response, n);
            }
        }
        panic!("a decision never ends");
    }

    /// Process `run` of a broker registers; runs have disks of their own from 100 on.
    pub(super) fn register(&mut self, node: i32, run: u8, previous_epoch: BrokerEpoch) -> ErrorCode {
        self.register_at(node, run, previous_epoch, false, true).0
    }

    pub(super) fn register_at(
        &mut self,
        node: i32,
        run: u8,
        previous_epoch: BrokerEpoch,
        own: bool,
        in_session: bool,
    ) -> (ErrorCode, BrokerEpoch) {
        let request = RegisterRequest {
            node: NodeId(node),
            incarnation: u128::from(run) << 8 | u128::from(node.unsigned_abs()),
            directory: DirectoryId([if run < 100 { 1 } else { run }; 16]),
            rack: None,
            endpoints: Endpoints::default(),
            previous_epoch,
        };
        let registrar = |bench: &Self| Registrar { next: BrokerEpoch(bench.next), own, in_session };
        let (response, _) = self.rounds(|b| b.controller.register(&b.image, &request, registrar(b)));
        (response.error, response.epoch)
    }

    pub(super) fn epoch(&self, node: i32) -> BrokerEpoch {
        self.image.broker(NodeId(node)).expect("it is registered").epoch
    }

    pub(super) fn fence(&mut self, node: i32) -> usize {
        let epoch = self.epoch(node);
        self.rounds(|b| b.controller.fence(&b.image, NodeId(node), epoch)).1
    }

    pub(super) fn unfence(&mut self, node: i32) -> usize {
        let epoch = self.epoch(node);
        self.rounds(|b| b.controller.unfence(&b.image, NodeId(node), epoch)).1
    }

    pub(super) fn leave(&mut self, node: i32) -> usize {
        let epoch = self.epoch(node);
        self.rounds(|b| b.controller.leave(&b.image, NodeId(node), epoch)).1
    }

    /// A topic whose partitions have these replicas.
    pub(super) fn topic(&mut self, name: &str, assignments: &[&[i32]], configs: &[(&str, &str)]) {
        let nodes = |ids: &&[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let topic = NewTopic {
            name: TopicName::new(name),
            partitions: None,
            replication_factor: None,
            assignments: (0..).map(PartitionId).zip(assignments.iter().map(nodes)).collect(),
            configs: configs.iter().map(|(n, v)| ((*n).into(), Some((*v).into()))).collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], validate_only: false, timeout: Duration::ZERO };
        let decision = self.controller.create_topics(&self.image, &request);
        assert_eq!(self.decide(decision).topics[0].error, ErrorCode::None);
    }

    pub(super) fn set(&mut self, topic: &str, name: &str, value: &str) {
        let change = ConfigChange { name: name.into(), operation: ConfigOperation::Set(value.into()) };
        let resource = ConfigResource::Topic(TopicName::new(topic));
        let of = AlterConfigsResource { resource, replace_all: false, changes: vec![change] };
        let request = AlterConfigsRequest { resources: vec![of], validate_only: false };
        let decision = self.controller.alter_configs(&self.image, &request);
        assert_eq!(self.decide(decision).resources[0].error, ErrorCode::None);
    }

    pub(super) fn id(&self, topic: &str, partition: i32) -> TopicPartition {
        let topic = self.image.topic_named(&TopicName::new(topic)).expect("created").id;
        TopicPartition { topic, partition: PartitionId(partition) }
    }

    pub(super) fn partition(&self, topic: &str, partition: i32) -> &Partition {
        self.image.partition(self.id(topic, partition)).expect("created")
    }

    /// Leader and ISR of partition 0.
    pub(super) fn state(&self, topic: &str) -> (Option<i32>, Vec<i32>) {
        let p = self.partition(topic, 0);
        (p.leader.map(|n| n.0), p.isr.iter().map(|n| n.0).collect())
    }
}
