//! What clients do in every run: write, read along, and at the end read everything back.
//!
//! They are the production client, on whatever runtime they are given, over the native or the Kafka listener.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tidelog_client::{
    Client, ClientConfig, ConsumerConfig, IsolationLevel, NewRecord, PartitionId, ProducerConfig, StartAt, TopicName,
    protocol::Protocol, runtime::Runtime,
};
use tidelog_core::{
    message::{ErrorCode, NewTopic, OffsetSpec},
    prng::{Prng, mix},
    time,
};
use tidelog_server::kafka::KafkaProtocol;

use crate::{
    ledger::{Contents, Ledger, Value},
    nodes::NODES,
};

/// The one topic.
pub(crate) const TOPIC: &str = "t";

/// What a run's clients are told.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Speak Kafka's protocol instead of the native one?
    pub(crate) speaks_kafka: bool,
    pub(crate) partitions: i32,
    pub(crate) writers: u32,
    /// Records that a writer sends at once, at most, and their size.
    pub(crate) burst: u64,
    pub(crate) value_bytes: usize,
    pub(crate) seed: u64,
    pub(crate) ledger: Arc<Ledger>,
    /// Faults are over.
    pub(crate) healed: Arc<AtomicBool>,
    /// Hears of what happens, for the trace.
    pub(crate) note: fn(String),
}

impl Task {
    fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    async fn pause(&self, millis: u64) {
        self.runtime.sleep(Duration::from_millis(millis)).await;
    }

    /// A client, once one of the nodes answers.
    pub(crate) async fn connect(&self, seed: u64) -> Client {
        let port = if self.speaks_kafka { 9092 } else { 9192 };
        let bootstrap: Vec<String> = (1..=NODES).map(|node| format!("n{node}:{port}")).collect();
        loop {
            let protocol = self.speaks_kafka.then(|| Arc::new(KafkaProtocol::default()) as Arc<dyn Protocol>);
            let config = ClientConfig {
                connect_timeout: Duration::from_secs(2),
                seed: Some(mix(self.seed ^ seed)),
                ..ClientConfig::default()
            };
            match Client::connect_on(self.runtime.clone(), protocol, &bootstrap.join(","), config).await {
                Ok(client) => return client,
                Err(error) => (self.note)(format!("connect: {error}")),
            }
            self.pause(300).await;
        }
    }

    /// Everything: a topic, writers and a reader until the faults are over, then the whole log.
    pub(crate) async fn run(self) -> Contents {
        let client = self.connect(0).await;
        self.create_topic(&client).await;
        (self.note)("the topic is there".to_owned());
        {
            let mut reading = std::pin::pin!(self.read_along());
            let mut writers: FuturesUnordered<_> = (0..self.writers).map(|writer| self.write(writer)).collect();
            let writing = async { while writers.next().await.is_some() {} };
            tokio::select! {
                biased;
                () = writing => {}
                () = &mut reading => {}
            }
        }
        (self.note)(format!("{} records are acknowledged", self.ledger.count()));
        self.replicas_return(&client).await;
        self.read_everything(&client).await
    }

    async fn create_topic(&self, client: &Client) {
        let replicas = i16::try_from(NODES).expect("few nodes");
        let topic = || NewTopic {
            name: TopicName::new(TOPIC),
            partitions: Some(self.partitions),
            replication_factor: Some(replicas),
            assignments: Vec::new(),
            configs: vec![("min.insync.replicas".to_owned(), Some((replicas / 2 + 1).to_string()))],
        };
        loop {
            match client.admin().create_topics(vec![topic()], false).await {
                Ok(created) if matches!(created.answer[0].error, ErrorCode::None | ErrorCode::TopicAlreadyExists) => {
                    return;
                }
                Ok(created) => (self.note)(format!("create: {:?}", created.answer[0].error)),
                Err(error) => (self.note)(format!("create: {error}")),
            }
            self.pause(500).await;
        }
    }

    /// Sends bursts and waits for each. Ends some acknowledged bursts after the faults: by then everything must work.
    async fn write(&self, writer: u32) {
        let client = self.connect(u64::from(writer) + 1).await;
        let config = ProducerConfig {
            request_timeout: time::Duration::from_secs(4),
            delivery_timeout: time::Duration::from_secs(25),
            ..ProducerConfig::default()
        };
        let producer = client.producer(config);
        let mut prng = Prng::new(mix(self.seed) ^ u64::from(writer));
        let partition = writer as i32 % self.partitions;
        let mut number = 0;
        let mut good_bursts = 0;
        while good_bursts < BURSTS_AFTER_FAULTS {
            let was_healed = self.is_healed();
            let mut deliveries = Vec::new();
            for _ in 0..=prng.below(self.burst) {
                let value = Value { writer, number };
                number += 1;
                let bytes = value.to_bytes(self.value_bytes);
                self.ledger.sent(value);
                match producer.send(TOPIC, NewRecord::new(&bytes).to_partition(PartitionId(partition))).await {
                    Ok(delivery) => deliveries.push((value, delivery)),
                    Err(error) => {
                        (self.note)(format!("send {value:?}: {error}"));
                        self.ledger.refused(value);
                    }
                }
            }
            let mut is_good = was_healed && !deliveries.is_empty();
            for (value, delivery) in deliveries {
                match delivery.await {
                    Ok(placed) => {
                        self.ledger.acknowledged(value, placed.partition.0, placed.offset.map(|offset| offset.0));
                    }
                    Err(error) => {
                        is_good = false;
                        (self.note)(format!("{value:?}: {error}"));
                        if !error.may_have_applied() {
                            self.ledger.refused(value);
                        }
                    }
                }
            }
            (self.note)(format!("writer {writer} is at {number}"));
            good_bursts += u32::from(is_good);
            self.pause(20 + prng.below(80)).await;
        }
        producer.close().await.expect("everything was waited for");
    }

    /// Reads what is committed while it is written; never ends.
    async fn read_along(&self) {
        let client = self.connect(1_000).await;
        let mut consumer = client.consumer(self.consumer_config());
        for partition in 0..self.partitions {
            consumer.assign(TOPIC, partition, StartAt::Earliest);
        }
        loop {
            match consumer.next_batch().await {
                Ok(batch) => {
                    for record in batch.records().expect("whole batches") {
                        let record = record.expect("whole records");
                        let value = record.value.as_deref().and_then(Value::from_bytes);
                        self.ledger.seen(batch.partition.0, record.offset.0, value);
                    }
                }
                Err(error) => {
                    (self.note)(format!("read: {error}"));
                    assert!(error.is_retriable(), "reading stands still: {error}");
                }
            }
        }
    }

    /// Returns once every replica is in sync again.
    async fn replicas_return(&self, client: &Client) {
        loop {
            match client.admin().describe_topic(TOPIC).await {
                Ok(topic) if topic.partitions.iter().all(|partition| partition.isr.len() == NODES) => return,
                Ok(_) => {}
                Err(error) => (self.note)(format!("describe: {error}")),
            }
            self.pause(500).await;
        }
    }

    async fn read_everything(&self, client: &Client) -> Contents {
        let mut contents = Contents::new();
        let mut consumer = client.consumer(self.consumer_config());
        let mut ends = Vec::new();
        for partition in 0..self.partitions {
            ends.push(self.end_of(client, partition).await);
            consumer.assign(TOPIC, partition, StartAt::Earliest);
        }
        let is_behind = |contents: &Contents| {
            let next = |partition| {
                let records = contents.get(&partition).and_then(|records| records.last_key_value());
                records.map_or(0, |(&offset, _)| offset + 1)
            };
            (0..).zip(&ends).any(|(partition, &end)| next(partition) < end)
        };
        while is_behind(&contents) {
            match consumer.next_batch().await {
                Ok(batch) => {
                    for record in batch.records().expect("whole batches") {
                        let record = record.expect("whole records");
                        let value = record.value.as_deref().and_then(Value::from_bytes).expect("what was written");
                        let records = contents.entry(batch.partition.0).or_default();
                        assert!(records.insert(record.offset.0, value).is_none(), "handed out twice: {record:?}");
                    }
                }
                Err(error) => (self.note)(format!("read back: {error}")),
            }
        }
        contents
    }

    async fn end_of(&self, client: &Client, partition: i32) -> i64 {
        loop {
            let asked = vec![(TopicName::new(TOPIC), PartitionId(partition), OffsetSpec::Latest)];
            match client.admin().list_offsets(IsolationLevel::ReadUncommitted, asked).await {
                Ok(listed) if listed[0].error.is_none() => return listed[0].offset.0,
                Ok(listed) => (self.note)(format!("list: {:?}", listed[0].error)),
                Err(error) => (self.note)(format!("list: {error}")),
            }
            self.pause(300).await;
        }
    }

    fn consumer_config(&self) -> ConsumerConfig {
        ConsumerConfig { reset: None, request_timeout: time::Duration::from_secs(4), ..ConsumerConfig::default() }
    }
}

/// Bursts that a writer must get through once the faults are over.
const BURSTS_AFTER_FAULTS: u32 = 10;
