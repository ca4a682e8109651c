//! Core's own producer machine, on the simulated network: the very code that the Rust client runs on tokio.

use std::collections::BTreeMap;

use tidelog_core::{
    client::{
        AppendError, CallId as MachineCall, Machine, NewRecord, Order as MachineOrder, Producer as Core,
        ProducerConfig, ProducerEvent, Reply as MachineReply, Target, TopicHandle,
    },
    ids::{PartitionId, TopicName, TopicPartition},
    message::{Acks, Response},
    offset::Offset,
    record::Compression,
    time::{Duration, Instant},
};

use super::{Actor, Atlas, CallId, Desk, Kind, MS, Order, Phase, Reply, Scene};
use crate::{
    history::{Fate, Sent, Value},
    payload,
    rng::{Purpose, Stream},
};

/// A producer that is core's.
#[derive(Debug)]
pub struct MachineProducer {
    random: Stream,
    id: u64,
    think: u64,
    core: Core,
    idempotent: bool,
    acks: Acks,
    /// Its own look at topics: histories are kept by topic id.
    desk: Desk<()>,
    atlas: Atlas,
    atlas_due: u64,
    next_op: u64,
    handles: BTreeMap<String, TopicHandle>,
    /// Values in each batch that has not been reported, in order.
    batches: BTreeMap<u64, Vec<Value>>,
}

/// Calls of the machine, told apart from those of the desk.
const MACHINE: CallId = 1 << 40;

impl MachineProducer {
    /// Client number `id` of this seed.
    pub fn new(seed: u64, id: u64, think: u64) -> Self {
        let mut random = Stream::new(seed, Purpose::Workload, id);
        let idempotent = random.chance(800_000);
        let codecs = [Compression::None, Compression::None, Compression::Lz4, Compression::Zstd];
        let acks = if idempotent || random.chance(500_000) { Acks::All } else { Acks::Leader };
        let config = ProducerConfig {
            acks,
            idempotence: idempotent,
            compression: *random.pick(&codecs),
            linger: Duration::from_millis(random.below(20)),
            batch_bytes: random.log_between(200, 4_000) as usize,
            buffer_bytes: 64 << 10,
            in_flight_max: random.between(1, 5) as usize,
            request_timeout: Duration::from_millis(random.log_between(500, 8_000)),
            delivery_timeout: Duration::from_secs(random.log_between(5, 40)),
            ..ProducerConfig::default()
        };
        let core = Core::new(config, random.draw());
        Self {
            random,
            id,
            think,
            core,
            idempotent,
            acks,
            desk: Desk::new(),
            atlas: Atlas::default(),
            atlas_due: 0,
            next_op: 0,
            handles: BTreeMap::new(),
            batches: BTreeMap::new(),
        }
    }

    fn append(&mut self, scene: &mut Scene<'_>) {
        // A name may pass to another topic while the machine holds on to it, so it writes to those that stay.
        let stays = |name: &str| scene.plan.topics.get(name).is_some_and(|kind| *kind != Kind::Churned);
        let partitions: Vec<(String, TopicPartition)> =
            self.atlas.partitions().into_iter().filter(|(name, _)| stays(name)).collect();
        if partitions.is_empty() {
            return;
        }
        let (name, to) = self.random.pick(&partitions).clone();
        let compacted = scene.plan.topics[&name] == Kind::Compacted;
        let now = Instant(scene.now);
        let handle = *self.handles.entry(name.clone()).or_insert_with(|| self.core.topic(now, &TopicName::new(&name)));
        for _ in 0..self.random.between(1, scene.config.batch_records) {
            let key = (compacted || self.random.chance(500_000)).then(|| self.random.skewed(scene.config.keys) as u16);
            let value = scene.history.sends.len() as Value;
            let len = self.random.between(8, scene.config.value_bytes.max(8));
            let bytes = payload::value_bytes(value, len as usize);
            let key_bytes = key.map(payload::key_bytes);
            let record = NewRecord {
                key: key_bytes.as_ref().map(|key| &key[..]),
                value: Some(&bytes),
                headers: &[],
                timestamp: scene.wall,
                partition: Some(PartitionId(to.partition.0)),
            };
            match self.core.append(now, handle, &record) {
                Ok(appended) => {
                    self.batches.entry(appended.batch).or_default().push(value);
                    scene.history.send(Sent {
                        to,
                        session: self.id << 32,
                        key,
                        tombstone: false,
                        acks: self.acks,
                        // After a new epoch the machine may leave records undelivered, but never doubles any.
                        exactly_once: self.idempotent && !scene.config.forgets_producers(),
                        fate: Fate::Open,
                        settled_at: 0,
                    });
                }
                Err(AppendError::Full | AppendError::TopicPending) => return,
                Err(_) => return,
            }
        }
    }

    fn carry(&mut self, scene: &mut Scene<'_>) {
        while let Some(order) = self.core.poll_order() {
            match order {
                MachineOrder::Call(call) => {
                    let to = match call.to {
                        Target::Any => None,
                        Target::Node(node) => Some(node),
                    };
                    scene.orders.push(Order::Call { id: call.id.0 | MACHINE, to, request: call.request });
                }
                MachineOrder::Abandon(call) => scene.orders.push(Order::Abandon(call.0 | MACHINE)),
                MachineOrder::Event(ProducerEvent::Wake) => {}
                MachineOrder::Event(ProducerEvent::Delivered(delivery)) => {
                    let values = match delivery.has_more {
                        true => self.batches.get(&delivery.batch).cloned(),
                        false => self.batches.remove(&delivery.batch),
                    };
                    let values = values.unwrap_or_default().into_iter().skip(delivery.first as usize);
                    for (index, value) in values.take(delivery.records as usize).enumerate() {
                        match delivery.outcome {
                            Ok(base) => {
                                let offset = (base >= Offset::ZERO).then(|| base.forward(index as i64));
                                scene.history.acknowledged(value, offset, scene.now);
                            }
                            Err(error) if !error.may_have_applied => scene.history.failed(value, scene.now),
                            Err(_) => {}
                        }
                    }
                }
            }
        }
    }
}

impl Actor for MachineProducer {
    fn on_reply(&mut self, scene: &mut Scene<'_>, call: CallId, reply: Reply) {
        if call & MACHINE == 0 {
            if self.desk.close(call).is_some() {
                self.atlas_due = scene.now + self.random.between(500, 5_000) * MS;
                if let Reply::Answered(Response::Metadata(response)) = reply {
                    self.atlas.learn(&response);
                }
            }
            return;
        }
        let reply = match reply {
            Reply::Answered(response) => MachineReply::Answered(response),
            Reply::Sent => MachineReply::Sent,
            Reply::NotSent => MachineReply::NotSent,
            Reply::Lost => MachineReply::Lost,
        };
        self.core.on_reply(Instant(scene.now), MachineCall(call & !MACHINE), reply);
        self.carry(scene);
    }

    fn on_time(&mut self, scene: &mut Scene<'_>) {
        self.core.on_time(Instant(scene.now));
        if !self.desk.overdue(scene).is_empty() {
            self.atlas_due = scene.now;
        }
        if scene.now >= self.atlas_due {
            self.desk.call(scene, 3_000 * MS, Atlas::request(), ());
            self.atlas_due = u64::MAX;
        }
        if scene.phase != Phase::Chaos {
            self.next_op = u64::MAX;
            self.core.flush(Instant(scene.now));
        } else if scene.ops.due(scene.now, &mut self.next_op, &mut self.random) {
            self.append(scene);
            self.next_op = scene.ops.next(scene.now + self.random.exponential(self.think).max(MS / 10));
        }
        self.carry(scene);
    }

    fn next_deadline(&self) -> Option<u64> {
        let due = (self.atlas_due != u64::MAX).then_some(self.atlas_due);
        let next = (self.next_op != u64::MAX).then_some(self.next_op);
        [self.core.next_deadline().map(|at| at.0), self.desk.deadline(), due, next].into_iter().flatten().min()
    }

    fn unfinished(&self, phase: Phase) -> Option<String> {
        let waiting = self.batches.len();
        (phase == Phase::Settle && waiting > 0).then(|| format!("machine {} has {waiting} batches unreported", self.id))
    }
}
