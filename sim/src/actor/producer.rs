//! The raw producer: idempotent or not, retrying, and now and then out of its mind.

use std::collections::{BTreeMap, VecDeque};

use tidelog_core::{
    ids::{NodeId, ProducerEpoch, ProducerId, TopicPartition},
    message::{
        Acks, ErrorCode, InitProducerIdRequest, ProducePartition, ProduceRequest, ProducedPartition, Request, Response,
    },
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions, Compression},
    time::{Duration, Timestamp},
};

use super::{Actor, Atlas, CallId, Desk, Kind, MS, Phase, Reply, Scene, topic_ref};
use crate::{
    history::{Fate, Sent, Value},
    payload,
    rng::{Purpose, Stream},
    tally::Mark,
};

/// A producer that builds its batches by hand.
#[derive(Debug)]
pub struct Producer {
    random: Stream,
    id: u64,
    acks: Acks,
    idempotent: bool,
    by_id: bool,
    /// Mean time between two batches.
    think: u64,
    desk: Desk<Errand>,
    atlas: Atlas,
    atlas_due: u64,
    identity: Identity,
    identity_due: u64,
    sessions: u64,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// Where the sequences of partitions ended that were gone when topics were last asked for: they may come back.
    graves: BTreeMap<TopicPartition, i32>,
    next_op: u64,
    flights: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// Not an idempotent producer.
    None,
    /// Wanted, in place of this one.
    Wanted(Option<(ProducerId, ProducerEpoch)>),
    /// Asked for, or resting after an answer that was none.
    Asked(Option<(ProducerId, ProducerEpoch)>),
    Held(ProducerId, ProducerEpoch),
}

#[derive(Debug)]
enum Errand {
    Atlas,
    Identity,
    Flight {
        to: TopicPartition,
        number: u64,
    },
    /// A batch sent once more for no reason.
    Ghost {
        values: Vec<Value>,
        same_session: bool,
    },
}

#[derive(Debug)]
struct Lane {
    name: String,
    next_sequence: i32,
    queue: VecDeque<Flight>,
    /// The last batches that were acknowledged or given up, for ghosts.
    former: VecDeque<(Batch, Vec<Value>, u64)>,
    rest_until: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    values: Vec<Value>,
    batch: Batch,
    in_call: bool,
    /// An attempt went without a definite answer.
    unknown: bool,
}

/// Batches that a lane remembers for ghosts: a few more than a broker does.
const FORMER_MAX: usize = 9;

impl Producer {
    /// Client number `id` of this seed; there are `share` clients to do `operations` in `span_ms`.
    pub fn new(seed: u64, id: u64, think: u64) -> Self {
        let mut random = Stream::new(seed, Purpose::Workload, id);
        let idempotent = random.chance(700_000);
        let acks = match random.below(10) {
            0 if !idempotent => Acks::None,
            1..=3 if !idempotent => Acks::Leader,
            _ => Acks::All,
        };
        let by_id = random.chance(500_000);
        Self {
            random,
            id,
            acks,
            idempotent,
            by_id,
            think,
            desk: Desk::new(),
            atlas: Atlas::default(),
            atlas_due: 0,
            identity: if idempotent { Identity::Wanted(None) } else { Identity::None },
            identity_due: 0,
            sessions: 0,
            lanes: BTreeMap::new(),
            graves: BTreeMap::new(),
            next_op: 0,
            flights: 0,
        }
    }

    fn session(&self) -> u64 {
        self.id << 32 | self.sessions
    }

    fn timeout(&mut self) -> u64 {
        self.random.between(1_000, 8_000) * MS
    }

    /// Starts over with another identity; nobody will ever know what became of the batches in flight.
    fn restart(&mut self, keep: bool) {
        if let Identity::Held(id, epoch) = self.identity {
            // A producer without transactions may bump its epoch by itself (KIP-360), or ask.
            self.identity = match keep && epoch < ProducerEpoch(i16::MAX) && self.random.chance(700_000) {
                true => Identity::Held(id, ProducerEpoch(epoch.0 + 1)),
                false => Identity::Wanted(keep.then_some((id, epoch))),
            };
        }
        self.graves.clear();
        for lane in self.lanes.values_mut() {
            lane.next_sequence = 0;
        }
        self.sessions += 1;
        for lane in self.lanes.values_mut() {
            for flight in lane.queue.drain(..) {
                lane.former.push_back((flight.batch, flight.values, self.sessions - 1));
            }
            while lane.former.len() > FORMER_MAX {
                lane.former.pop_front();
            }
        }
    }

    fn take_identity(&mut self, id: ProducerId, epoch: ProducerEpoch, scene: &Scene<'_>) {
        self.identity = Identity::Held(id, epoch);
        for lane in self.lanes.values_mut() {
            lane.next_sequence = 0;
        }
        // A fresh producer may start anywhere, as one does whose history retention has taken. Clusters refuse that.
        if epoch == ProducerEpoch(0) && self.random.chance(200_000) && scene.config.nodes == 1 {
            let start = i32::MAX - self.random.below(12) as i32;
            for lane in self.lanes.values_mut() {
                lane.next_sequence = start;
            }
            scene.tally.sometimes(Mark::SequenceWrapped, true);
        }
    }

    fn learn(&mut self, scene: &mut Scene<'_>) {
        let partitions = self.atlas.partitions();
        for (name, to) in &partitions {
            if !scene.plan.topics.contains_key(name) {
                continue;
            }
            self.lanes.entry(*to).or_insert_with(|| Lane {
                name: name.clone(),
                next_sequence: self.graves.get(to).copied().unwrap_or(0),
                queue: VecDeque::new(),
                former: VecDeque::new(),
                rest_until: 0,
            });
        }
        let gone = |to: &TopicPartition, _: &mut Lane| !partitions.iter().any(|(_, there)| there == to);
        self.graves.extend(self.lanes.extract_if(.., gone).map(|(to, lane)| (to, lane.next_sequence)));
    }

    fn build(&mut self, scene: &mut Scene<'_>, to: TopicPartition) -> (Batch, Vec<Value>) {
        let kind = scene.plan.topics[&self.lanes[&to].name];
        let count = self.random.between(1, scene.config.batch_records);
        let mut builder = BatchBuilder::new();
        let mut values = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let keyed = kind == Kind::Compacted || self.random.chance(500_000);
            let key = keyed.then(|| self.random.skewed(scene.config.keys) as u16);
            let tombstone = kind == Kind::Compacted && self.random.chance(150_000);
            let value = scene.history.send(Sent {
                to,
                session: self.session(),
                key,
                tombstone,
                acks: self.acks,
                exactly_once: self.idempotent && !scene.config.forgets_producers(),
                fate: Fate::Open,
                settled_at: 0,
            });
            let mut timestamp = scene.wall;
            if self.random.chance(50_000) {
                timestamp = Timestamp(timestamp.0 - self.random.below(3_000) as i64);
            }
            let key = key.map(payload::key_bytes);
            let key = key.as_ref().map(|key| &key[..]);
            let delta = builder.next_delta();
            if tombstone {
                let identity = value.to_be_bytes();
                builder.append(delta, timestamp, key, None, [(payload::IDENTITY, Some(&identity[..]))]);
            } else {
                let len = self.random.between(8, scene.config.value_bytes.max(8));
                builder.append(delta, timestamp, key, Some(&payload::value_bytes(value, len as usize)), []);
            }
            values.push(value);
        }
        let compression = if scene.config.compression == 1 {
            let codecs =
                [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
            *self.random.pick(&codecs)
        } else {
            Compression::None
        };
        let lane = self.lanes.get_mut(&to).expect("it was chosen from the lanes");
        let producer = match self.identity {
            Identity::Held(id, epoch) => Some((id, epoch, lane.next_sequence)),
            _ => None,
        };
        let batch = builder.build(&BatchOptions { compression, producer, ..BatchOptions::default() });
        lane.next_sequence = lane.next_sequence.wrapping_add(count as i32) & i32::MAX;
        (batch, values)
    }

    fn request(&self, scene: &Scene<'_>, to: TopicPartition, batch: Batch, timeout: u64) -> Request {
        let topic = topic_ref(scene.plan, &self.lanes[&to].name, to.topic, self.by_id);
        let partitions = vec![ProducePartition { topic, partition: to.partition, batch: Ok(batch) }];
        Request::Produce(ProduceRequest { acks: self.acks, timeout: Duration(timeout), partitions })
    }

    /// Whom to send to: now and then somebody who does not lead.
    fn leader(&mut self, scene: &Scene<'_>, to: TopicPartition) -> Option<NodeId> {
        let astray = scene.config.nodes > 1 && self.random.chance(10_000);
        self.atlas.leader(to).filter(|_| !astray)
    }

    /// Sends what can be sent, oldest first in each lane.
    fn send(&mut self, scene: &mut Scene<'_>) {
        if matches!(self.identity, Identity::Wanted(_) | Identity::Asked(_)) {
            return;
        }
        let lanes: Vec<TopicPartition> = self.lanes.keys().copied().collect();
        for to in lanes {
            loop {
                let timeout = self.timeout();
                let lane = &self.lanes[&to];
                let Some(at) = lane.queue.iter().position(|flight| !flight.in_call) else { break };
                if lane.rest_until > scene.now {
                    break;
                }
                let (number, batch) = (lane.queue[at].number, lane.queue[at].batch.clone());
                let request = self.request(scene, to, batch, timeout);
                let leader = self.leader(scene, to);
                self.desk.call_to(scene, leader, timeout, request, Errand::Flight { to, number });
                self.lanes.get_mut(&to).expect("as above").queue[at].in_call = true;
            }
        }
    }

    fn ghost(&mut self, scene: &mut Scene<'_>, to: TopicPartition) {
        let lane = &self.lanes[&to];
        let in_flight: Vec<_> = lane.queue.iter().filter(|flight| flight.in_call).collect();
        let (batch, values, same) = if !in_flight.is_empty() && self.random.chance(500_000) {
            let flight = *self.random.pick(&in_flight);
            scene.tally.sometimes(Mark::DuplicateInFlight, true);
            (flight.batch.clone(), flight.values.clone(), true)
        } else if !lane.former.is_empty() {
            let at = self.random.below(lane.former.len() as u64) as usize;
            let (batch, values, session) = &lane.former[at];
            (batch.clone(), values.clone(), *session == self.sessions)
        } else {
            return;
        };
        if !self.idempotent {
            return;
        }
        let timeout = self.timeout();
        let request = self.request(scene, to, batch, timeout);
        let leader = self.leader(scene, to);
        self.desk.call_to(scene, leader, timeout, request, Errand::Ghost { values, same_session: same });
    }

    fn operate(&mut self, scene: &mut Scene<'_>) {
        let lanes: Vec<TopicPartition> = self.lanes.keys().copied().collect();
        if lanes.is_empty() || matches!(self.identity, Identity::Wanted(_) | Identity::Asked(_)) {
            return;
        }
        let to = *self.random.pick(&lanes);
        if self.random.chance(scene.config.ghosts_ppm) {
            self.ghost(scene, to);
        }
        if self.random.chance(8_000) {
            let keep = self.random.chance(500_000);
            self.restart(keep);
            return;
        }
        let burst = if self.random.chance(200_000) { scene.config.in_flight } else { 1 };
        for _ in 0..burst {
            if self.lanes[&to].queue.len() as u64 >= scene.config.in_flight {
                break;
            }
            let (batch, values) = self.build(scene, to);
            let number = self.flights;
            self.flights += 1;
            let flight = Flight { number, values, batch, in_call: false, unknown: false };
            self.lanes.get_mut(&to).expect("as above").queue.push_back(flight);
        }
    }

    fn take(&mut self, to: TopicPartition, number: u64) -> Option<Flight> {
        let lane = self.lanes.get_mut(&to)?;
        let at = lane.queue.iter().position(|flight| flight.number == number)?;
        lane.queue.remove(at)
    }

    /// The flight goes again, after a rest.
    fn again(&mut self, scene: &Scene<'_>, to: TopicPartition, number: u64, unknown: bool) {
        let rest = self.random.between(10, 200) * MS;
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        if let Some(flight) = lane.queue.iter_mut().find(|flight| flight.number == number) {
            flight.in_call = false;
            flight.unknown |= unknown;
            lane.rest_until = scene.now + rest;
        }
    }

    fn acknowledge(&mut self, scene: &mut Scene<'_>, values: &[Value], base: Offset) {
        for (index, &value) in values.iter().enumerate() {
            let offset = (base >= Offset::ZERO).then(|| base.forward(index as i64));
            scene.history.acknowledged(value, offset, scene.now);
        }
    }

    fn landed(&mut self, scene: &mut Scene<'_>, to: TopicPartition, number: u64, answer: &ProducedPartition) {
        scene.tally.sometimes(Mark::ProduceTimedOut, answer.error == ErrorCode::RequestTimedOut);
        match answer.error {
            ErrorCode::None | ErrorCode::DuplicateSequenceNumber => {
                let Some(flight) = self.take(to, number) else { return };
                let base = if answer.error.is_none() { answer.base_offset } else { Offset::NONE };
                self.acknowledge(scene, &flight.values, base);
                let session = self.sessions;
                if let Some(lane) = self.lanes.get_mut(&to) {
                    lane.former.push_back((flight.batch, flight.values, session));
                    if lane.former.len() > FORMER_MAX {
                        lane.former.pop_front();
                    }
                }
            }
            ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId => {
                scene.tally.sometimes(Mark::OutOfOrderSequence, true);
                let first = self.lanes.get(&to).and_then(|lane| lane.queue.front()).is_some_and(|f| f.number == number);
                if first {
                    self.restart(true);
                } else {
                    self.again(scene, to, number, false);
                }
            }
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => {
                scene.tally.sometimes(Mark::OldEpochFenced, true);
                self.restart(false);
            }
            ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition | ErrorCode::NotLeaderOrFollower => {
                self.atlas_due = self.atlas_due.min(scene.now + 50 * MS);
                // A leader that goes while a batch waits for its replicas says the same.
                self.again(scene, to, number, scene.config.nodes > 1);
            }
            error if error.is_retriable() && error != ErrorCode::CorruptMessage => self.again(scene, to, number, true),
            error => {
                scene.tally.sometimes(Mark::MessageTooLarge, error == ErrorCode::MessageTooLarge);
                let Some(flight) = self.take(to, number) else { return };
                if !flight.unknown {
                    for &value in &flight.values {
                        scene.history.failed(value, scene.now);
                    }
                }
                // Its sequences will never come, so nothing behind it can.
                if self.idempotent {
                    self.restart(true);
                }
            }
        }
    }

    fn over(&mut self, scene: &mut Scene<'_>, errand: Errand, reply: Reply) {
        match (errand, reply) {
            (Errand::Atlas, Reply::Answered(Response::Metadata(response))) => {
                self.atlas.learn(&response);
                self.learn(scene);
                self.atlas_due = scene.now + self.random.between(500, 5_000) * MS;
            }
            (Errand::Atlas, _) => self.atlas_due = scene.now + self.random.between(50, 500) * MS,
            (Errand::Identity, Reply::Answered(Response::InitProducerId(response))) if response.error.is_none() => {
                self.take_identity(response.producer_id, response.producer_epoch, scene);
            }
            (Errand::Identity, reply) => {
                if let Identity::Asked(former) = self.identity {
                    // A refused epoch is not asked for twice.
                    let former = former.filter(|_| !matches!(reply, Reply::Answered(_)));
                    self.identity = Identity::Wanted(former);
                    self.identity_due = scene.now + self.random.between(20, 200) * MS;
                }
            }
            (Errand::Flight { to, number }, Reply::Answered(Response::Produce(response))) => {
                match response.partitions.first() {
                    Some(answer) => self.landed(scene, to, number, answer),
                    None => self.again(scene, to, number, true),
                }
            }
            (Errand::Flight { to, number }, Reply::Sent) => {
                self.take(to, number);
            }
            (Errand::Flight { to, number }, Reply::NotSent) => self.again(scene, to, number, false),
            (Errand::Flight { to, number }, _) => self.again(scene, to, number, true),
            (Errand::Ghost { values, same_session }, Reply::Answered(Response::Produce(response))) => {
                let Some(answer) = response.partitions.first() else { return };
                let fenced = matches!(answer.error, ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced);
                scene.tally.sometimes(Mark::OldEpochFenced, fenced);
                if !answer.error.is_none() {
                    return;
                }
                scene.tally.sometimes(Mark::DuplicateAcknowledged, true);
                if same_session && answer.base_offset >= Offset::ZERO {
                    for (index, &value) in values.iter().enumerate() {
                        scene.history.echo(value, answer.base_offset.forward(index as i64), scene.now);
                    }
                }
            }
            (Errand::Ghost { .. }, _) => {}
        }
    }
}

impl Actor for Producer {
    fn on_reply(&mut self, scene: &mut Scene<'_>, call: CallId, reply: Reply) {
        if let Some(errand) = self.desk.close(call) {
            self.over(scene, errand, reply);
            self.send(scene);
        }
    }

    fn on_time(&mut self, scene: &mut Scene<'_>) {
        for errand in self.desk.overdue(scene) {
            self.over(scene, errand, Reply::Lost);
        }
        if scene.now >= self.atlas_due {
            let timeout = self.timeout();
            self.desk.call(scene, timeout, Atlas::request(), Errand::Atlas);
            self.atlas_due = u64::MAX;
        }
        if let Identity::Wanted(former) = self.identity
            && scene.now >= self.identity_due
        {
            let (producer_id, producer_epoch) = former.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
            let request = InitProducerIdRequest { transactional_id: None, producer_id, producer_epoch };
            let timeout = self.timeout();
            self.desk.call(scene, timeout, Request::InitProducerId(request), Errand::Identity);
            self.identity = Identity::Asked(former);
        }
        if scene.phase == Phase::Chaos && scene.ops.due(scene.now, &mut self.next_op, &mut self.random) {
            self.operate(scene);
            let mut pause = self.random.exponential(self.think);
            if scene.config.idle_phases == 1 && self.random.chance(20_000) {
                pause += self.random.between(2_000, 15_000) * MS;
            }
            self.next_op = scene.ops.next(scene.now + pause.max(MS / 10));
        }
        if scene.phase != Phase::Chaos {
            self.next_op = u64::MAX;
        }
        self.send(scene);
    }

    fn next_deadline(&self) -> Option<u64> {
        let may_send = matches!(self.identity, Identity::None | Identity::Held(..));
        let waits = |lane: &&Lane| may_send && lane.queue.iter().any(|flight| !flight.in_call);
        let rests = self.lanes.values().filter(waits);
        let rest = rests.map(|lane| lane.rest_until).min();
        let due = (self.atlas_due != u64::MAX).then_some(self.atlas_due);
        let wanted = matches!(self.identity, Identity::Wanted(_)).then_some(self.identity_due);
        let next = (self.next_op != u64::MAX).then_some(self.next_op);
        [self.desk.deadline(), rest, due, wanted, next].into_iter().flatten().min()
    }

    fn unfinished(&self, phase: Phase) -> Option<String> {
        let waiting: usize = self.lanes.values().map(|lane| lane.queue.len()).sum();
        (phase == Phase::Settle && waiting > 0)
            .then(|| format!("producer {} has {waiting} batches unanswered", self.id))
    }
}
