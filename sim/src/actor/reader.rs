//! The probe and the last reader: proves that writes get through again, also to a reader in some rack (KIP-392), then reads
//! everything.

use std::collections::BTreeMap;

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, TopicPartition},
    message::{
        Acks, ErrorCode, FetchPartition, FetchRequest, FetchedPartition, IsolationLevel, ListOffsetsPartition,
        ListOffsetsRequest, OffsetSpec, ProducePartition, ProduceRequest, Request, Response, TopicRef,
    },
    offset::Offset,
    record::{BatchBuilder, BatchOptions},
    time::Duration,
};

use super::{Actor, Atlas, CallId, Desk, MS, Phase, Reply, Scene, consumer::batches_of};
use crate::{
    history::{Fate, FinalRead, Sent, Value},
    payload,
};

/// Writes one record to every partition once all is healed, and reads every partition at the end.
#[derive(Debug)]
pub struct Reader {
    desk: Desk<Errand>,
    atlas: Atlas,
    phase: Phase,
    lanes: BTreeMap<TopicPartition, Lane>,
    has_atlas: bool,
    /// Somebody did not answer, or does not lead.
    is_stale: bool,
    /// The last answer was a refusal: asked at once, the node would say the same again.
    refused: bool,
    next: u64,
    /// Partitions that said themselves that they are corrupt need not be written or read.
    excused: Vec<TopicPartition>,
}

#[derive(Debug, Default)]
struct Lane {
    probe: Option<Value>,
    probed: bool,
    /// The probe is to be read from near.
    near: Option<Near>,
    start: Option<Offset>,
    position: Option<Offset>,
    read: FinalRead,
    done: bool,
    busy: bool,
    trouble: Option<ErrorCode>,
}

/// A reader in a rack, at the probe.
#[derive(Clone, Copy, Debug)]
struct Near {
    from: Offset,
    /// Where the leader has sent it.
    at: Option<NodeId>,
    /// Nobody answered it there, or not with records: it asks the leader to serve it.
    is_shy: bool,
}

impl Lane {
    fn has_moved(&self) -> bool {
        !self.done && matches!(self.trouble, Some(ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTopicOrPartition))
    }
}

#[derive(Debug)]
enum Errand {
    Atlas,
    Probe(TopicPartition),
    Near(TopicPartition),
    Start(TopicPartition),
    Fetch(TopicPartition),
}

impl Reader {
    /// The reader of a run.
    pub fn new() -> Self {
        Self {
            desk: Desk::new(),
            atlas: Atlas::default(),
            phase: Phase::Chaos,
            lanes: BTreeMap::new(),
            has_atlas: false,
            is_stale: false,
            refused: false,
            next: u64::MAX,
            excused: Vec::new(),
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        self.phase = scene.phase;
        self.has_atlas = false;
        self.lanes.clear();
        self.next = scene.now;
    }

    fn work(&mut self, scene: &mut Scene<'_>) {
        if !self.has_atlas {
            if self.desk.is_empty() {
                self.desk.call(scene, 1_000 * MS, Atlas::request(), Errand::Atlas);
            }
            return;
        }
        if scene.config.nodes > 1 && self.is_stale {
            // Leadership moves until all is quiet.
            self.is_stale = false;
            self.desk.call(scene, 1_000 * MS, Atlas::request(), Errand::Atlas);
        }
        let idle: Vec<TopicPartition> = self.lanes.iter().filter(|(_, lane)| !lane.busy).map(|(&to, _)| to).collect();
        for to in idle.into_iter().filter(|to| !self.excused.contains(to)) {
            let lane = self.lanes.get_mut(&to).expect("just listed");
            let (request, errand) = match self.phase {
                Phase::Settle if !lane.probed => {
                    let value = *lane.probe.get_or_insert_with(|| {
                        scene.history.send(Sent {
                            to,
                            session: u64::MAX,
                            key: Some(0),
                            tombstone: false,
                            acks: Acks::All,
                            exactly_once: false,
                            fate: Fate::Open,
                            settled_at: 0,
                        })
                    });
                    let mut builder = BatchBuilder::new();
                    let bytes = payload::value_bytes(value, 8);
                    builder.append(0, scene.wall, Some(&payload::key_bytes(0)), Some(&bytes), []);
                    let batch = Ok(builder.build(&BatchOptions::default()));
                    let partition = ProducePartition { topic: TopicRef::Id(to.topic), partition: to.partition, batch };
                    let timeout = Duration::from_secs(1);
                    let request = ProduceRequest { acks: Acks::All, timeout, partitions: vec![partition] };
                    (Request::Produce(request), Errand::Probe(to))
                }
                Phase::Settle if lane.near.is_some() => {
                    let near = lane.near.expect("just asked");
                    lane.busy = true;
                    let partition = fetch_from(to, near.from);
                    let request = FetchRequest {
                        max_wait: Duration::from_millis(200),
                        min_bytes: 1,
                        max_bytes: 1 << 16,
                        isolation: IsolationLevel::ReadUncommitted,
                        rack: scene
                            .config
                            .rack(to.partition.0 as u64 + u64::from(to.topic.0[0]))
                            .filter(|_| !near.is_shy),
                        replica: None,
                        partitions: vec![partition],
                    };
                    let node = near.at.or(self.atlas.leader(to));
                    self.desk.call_to(scene, node, 2_000 * MS, Request::Fetch(request), Errand::Near(to));
                    continue;
                }
                Phase::FinalRead if lane.start.is_none() => {
                    let partition = ListOffsetsPartition {
                        topic: TopicRef::Id(to.topic),
                        partition: to.partition,
                        current_leader_epoch: LeaderEpoch::NONE,
                        spec: OffsetSpec::Earliest,
                    };
                    let isolation = IsolationLevel::ReadUncommitted;
                    let request = ListOffsetsRequest { isolation, partitions: vec![partition] };
                    (Request::ListOffsets(request), Errand::Start(to))
                }
                Phase::FinalRead if !lane.done => {
                    lane.read.asked_at = scene.now;
                    let partition = fetch_from(to, lane.position.expect("the start is known"));
                    let request = FetchRequest {
                        max_wait: Duration::ZERO,
                        min_bytes: 1,
                        max_bytes: 1 << 20,
                        isolation: IsolationLevel::ReadCommitted,
                        rack: None,
                        replica: None,
                        partitions: vec![partition],
                    };
                    (Request::Fetch(request), Errand::Fetch(to))
                }
                _ => continue,
            };
            lane.busy = true;
            self.desk.call_to(scene, self.atlas.leader(to), 2_000 * MS, request, errand);
        }
    }

    fn fetched(&mut self, scene: &mut Scene<'_>, to: TopicPartition, answer: &FetchedPartition) {
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        match answer.error {
            ErrorCode::None => {
                let position = lane.position.expect("it was fetched from there");
                let mut next = position;
                for batch in batches_of(&answer.records).0 {
                    let Ok(records) = batch.records() else { continue };
                    for record in records.flatten().filter(|record| record.offset >= position) {
                        if let Some(value) = payload::value(&record) {
                            lane.read.seen.push((record.offset, value));
                        }
                    }
                    next = next.max(batch.header().next_offset());
                }
                lane.read.start = lane.read.start.max(Some(answer.log_start));
                // A log whose last batches compaction has emptied ends without one.
                if next >= answer.high_watermark || next == position && lane.trouble.is_some() {
                    lane.read.end = Some(answer.high_watermark);
                    lane.done = true;
                    scene.history.finals.insert(to, lane.read.clone());
                }
                lane.position = Some(next);
            }
            ErrorCode::OffsetOutOfRange => *lane = Lane::default(),
            error => {
                self.refused = true;
                lane.trouble = Some(error);
                told(scene, to, error);
            }
        }
    }

    fn over(&mut self, scene: &mut Scene<'_>, errand: Errand, reply: Reply) {
        match (errand, reply) {
            (Errand::Atlas, Reply::Answered(Response::Metadata(response))) => {
                self.atlas.learn(&response);
                self.has_atlas = true;
                for (_, to) in self.atlas.partitions() {
                    self.lanes.entry(to).or_default();
                }
            }
            (Errand::Atlas, _) => {}
            (Errand::Probe(to), reply) => {
                let Some(lane) = self.lanes.get_mut(&to) else { return };
                lane.busy = false;
                if let Reply::Answered(Response::Produce(response)) = reply
                    && let Some(answer) = response.partitions.first()
                {
                    self.refused = !answer.error.is_none();
                    lane.trouble = Some(answer.error);
                    told(scene, to, answer.error);
                    let gone = matches!(answer.error, ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition);
                    // Smaller than any probe is a limit that chaos has set: an answer all the same.
                    let refused = matches!(answer.error, ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge);
                    // Too few replicas are left whose disks are whole: it says so, and it will stay so.
                    let lacks = answer.error == ErrorCode::NotEnoughReplicas && scene.history.rotten.contains(&to);
                    lane.probed = answer.error.is_none() || gone || refused || lacks;
                    if answer.error.is_none()
                        && let Some(value) = lane.probe
                    {
                        scene.history.acknowledged(value, Some(answer.base_offset), scene.now);
                        let from = answer.base_offset;
                        lane.near = scene.config.rack(0).map(|_| Near { from, at: None, is_shy: false });
                    }
                }
            }
            (Errand::Near(to), reply) => {
                let Some(lane) = self.lanes.get_mut(&to) else { return };
                lane.busy = false;
                let Some(near) = &mut lane.near else { return };
                let answer = match &reply {
                    Reply::Answered(Response::Fetch(response)) => response.partitions.first(),
                    _ => None,
                };
                let Some(answer) = answer else {
                    (near.at, near.is_shy) = (None, near.at.is_some());
                    return;
                };
                lane.trouble = Some(answer.error);
                told(scene, to, answer.error);
                match answer.error {
                    ErrorCode::None if answer.preferred_read_replica.is_some() => {
                        near.at = answer.preferred_read_replica
                    }
                    ErrorCode::None if answer.high_watermark > near.from => lane.near = None,
                    ErrorCode::OffsetOutOfRange if answer.log_start > near.from => lane.near = None,
                    ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition => lane.near = None,
                    ErrorCode::None => {}
                    _ => (near.at, near.is_shy) = (None, near.at.is_some()),
                }
            }
            (Errand::Start(to), reply) => {
                let Some(lane) = self.lanes.get_mut(&to) else { return };
                lane.busy = false;
                if let Reply::Answered(Response::ListOffsets(response)) = reply
                    && let Some(listed) = response.partitions.first()
                {
                    match listed.error {
                        ErrorCode::None => {
                            (lane.start, lane.position) = (Some(listed.offset), Some(listed.offset));
                            lane.read.start = lane.start;
                        }
                        ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition => {
                            (lane.start, lane.done) = (Some(Offset::ZERO), true);
                        }
                        error => {
                            self.refused = true;
                            lane.trouble = Some(error);
                            told(scene, to, error);
                        }
                    }
                }
            }
            (Errand::Fetch(to), reply) => {
                if let Some(lane) = self.lanes.get_mut(&to) {
                    lane.busy = false;
                }
                if let Reply::Answered(Response::Fetch(response)) = reply
                    && let Some(answer) = response.partitions.first()
                {
                    self.fetched(scene, to, answer);
                }
            }
        }
    }
}

fn fetch_from(at: TopicPartition, offset: Offset) -> FetchPartition {
    FetchPartition {
        topic: TopicRef::Id(at.topic),
        partition: at.partition,
        current_leader_epoch: LeaderEpoch::NONE,
        offset,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start: Offset::NONE,
        max_bytes: 1 << 20,
    }
}

/// A partition of which the only copy was damaged, and which says so, need not be written or read any more.
fn told(scene: &mut Scene<'_>, to: TopicPartition, error: ErrorCode) {
    let says_so = matches!(error, ErrorCode::KafkaStorageError | ErrorCode::CorruptMessage);
    if says_so && scene.history.rotten.contains(&to) {
        scene.history.reported_corrupt.insert(to);
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Actor for Reader {
    fn on_reply(&mut self, scene: &mut Scene<'_>, call: CallId, reply: Reply) {
        if let Some(errand) = self.desk.close(call) {
            let answered = matches!(reply, Reply::Answered(_));
            self.is_stale |= !answered || self.lanes.values().any(Lane::has_moved);
            self.refused = false;
            self.over(scene, errand, reply);
            let rest = if answered { 20 * u64::from(self.refused) } else { 100 };
            self.next = scene.now + rest * MS;
        }
    }

    fn on_time(&mut self, scene: &mut Scene<'_>) {
        if scene.phase != self.phase {
            self.begin(scene);
        }
        self.excused = scene.history.reported_corrupt.iter().copied().collect();
        for errand in self.desk.overdue(scene) {
            self.is_stale = true;
            self.over(scene, errand, Reply::Lost);
        }
        if scene.now >= self.next {
            self.next = scene.now + 100 * MS;
            if scene.phase != Phase::Chaos {
                self.work(scene);
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let next = (self.phase != Phase::Chaos).then_some(self.next);
        [self.desk.deadline(), next].into_iter().flatten().min()
    }

    fn unfinished(&self, phase: Phase) -> Option<String> {
        if phase == Phase::Chaos {
            return None;
        }
        if phase != self.phase || !self.has_atlas {
            return Some("nobody answers a metadata request".to_owned());
        }
        let done = |lane: &Lane| if phase == Phase::Settle { lane.probed && lane.near.is_none() } else { lane.done };
        let (to, lane) = self.lanes.iter().find(|(to, lane)| !done(lane) && !self.excused.contains(to))?;
        let what = match phase {
            Phase::Settle if lane.near.is_some() => "cannot be read from near",
            Phase::Settle => "takes no write",
            _ => "cannot be read",
        };
        Some(match lane.trouble {
            Some(error) => format!("partition {to} {what}: {error}"),
            None => format!("partition {to} {what}"),
        })
    }
}
