//! Cores, disks and links of a large cluster, on virtual time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidelog_core::{
    effect::Effect,
    ids::{CallId, DirectoryId, JobId, LogId, NodeId, RequestId, TopicName},
    input::Input,
    log::{Identity, Job, JobOutcome, LogDir, LogError, Step},
    message::{CallError, CreateTopicsRequest, NewTopic, PeerRequest, PeerResponse, Records, Request, Response},
    node::{Node, NodeConfig},
    prng::Prng,
    time::{Duration, Instant, Now, Timestamp},
};

use super::{Scale, VOTERS, disk::PlainDisk, endpoints};
use crate::queue::Queue;

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Requests and answers between nodes.
    pub(super) messages: u64,
    /// Those that are fetches.
    pub(super) fetches: u64,
    /// Inputs handled.
    pub(super) inputs: u64,
    /// Wall time of all events.
    pub(super) wall_ns: u64,
}

/// The cluster.
pub(super) struct Cluster {
    seats: Vec<Seat>,
    queue: Queue<Event>,
    random: Prng,
    /// When the last message of each directed link comes through: links keep their order.
    links: BTreeMap<(NodeId, NodeId), u64>,
    calls: BTreeMap<(NodeId, CallId), NodeId>,
    /// Requests of peers that are being worked on.
    served: BTreeMap<RequestId, Asked>,
    requests: u64,
    topics: u32,
    /// The client's request that has no answer yet.
    asked: Option<(NodeId, RequestId)>,
    pub(super) counts: Counts,
}

struct Seat {
    config: NodeConfig,
    disk: PlainDisk,
    life: u64,
    process: Option<Process>,
}

struct Process {
    node: Node,
    dir: LogDir<PlainDisk>,
    /// Whom it has called, and so has a connection to.
    called: BTreeSet<NodeId>,
    /// When its disk is free, and when the last outcome of each log with one under way is known.
    disk_free: u64,
    outcomes: BTreeMap<LogId, u64>,
    /// The alarm that is set.
    alarm: u64,
}

#[derive(Clone, Copy)]
struct Asked {
    by: NodeId,
    life: u64,
    call: CallId,
    of: NodeId,
}

enum Event {
    Disk { node: NodeId, life: u64, log: LogId, job: JobId, order: Box<Job> },
    Ended { node: NodeId, life: u64, log: LogId, job: JobId, outcome: Box<Result<JobOutcome, LogError>> },
    Arrival { from: NodeId, life: u64, call: CallId, to: NodeId, request: Box<PeerRequest> },
    Answer { to: NodeId, life: u64, call: CallId, outcome: Box<Result<PeerResponse, CallError>> },
    Disconnected { to: NodeId, life: u64, from: NodeId },
    Alarm { node: NodeId, life: u64, at: u64 },
}

const JOB_NS: u64 = 20_000;
const SYNC_NS: u64 = 200_000;
const LINK_NS: u64 = 250_000;

impl Cluster {
    /// Brokers 1 to n on empty disks, all started.
    pub(super) fn new(scale: Scale) -> Self {
        let mut random = Prng::new(scale.seed);
        let mut seats = Vec::new();
        for node in (1..=scale.brokers).map(NodeId) {
            let config = NodeConfig {
                node,
                cluster_id: "scaleClusterAAAAAAAAAA".to_owned(),
                directory: DirectoryId(random.uuid()),
                endpoints: endpoints(node),
                voters: (1..=VOTERS.min(scale.brokers)).map(NodeId).collect(),
                ..NodeConfig::default()
            };
            let disk = PlainDisk::default();
            let identity = Identity { node, cluster_id: config.cluster_id.clone(), directory: config.directory };
            LogDir::format(&disk, &identity).expect("an empty disk can be formatted");
            seats.push(Seat { config, disk, life: 0, process: None });
        }
        let mut cluster = Self {
            seats,
            queue: Queue::new(scale.seed, false),
            random,
            links: BTreeMap::new(),
            calls: BTreeMap::new(),
            served: BTreeMap::new(),
            requests: 0,
            topics: 0,
            asked: None,
            counts: Counts::default(),
        };
        (1..=scale.brokers).for_each(|node| cluster.start(NodeId(node)));
        cluster
    }

    /// Virtual time, in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        self.queue.now()
    }

    /// The nodes whose processes run.
    pub(super) fn running(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.seats.iter().filter_map(|seat| Some((seat.config.node, &seat.process.as_ref()?.node)))
    }

    /// The node that decides.
    pub(super) fn controller(&self) -> Option<&Node> {
        self.controller_id().and_then(|id| self.seats[place(id)].process.as_ref()).map(|process| &process.node)
    }

    /// Its id.
    pub(super) fn controller_id(&self) -> Option<NodeId> {
        self.running().find(|(_, node)| node.quorum().is_some_and(|quorum| quorum.is_leader())).map(|(id, _)| id)
    }

    /// Partitions that a node leads.
    pub(super) fn led_by(&self, node: NodeId) -> u64 {
        let process = self.seats[place(node)].process.as_ref();
        process.map_or(0, |process| process.node.partitions().filter(|partition| partition.is_leader()).count() as u64)
    }

    /// Is the client's request without its answer?
    pub(super) fn asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Asks the first node for one more topic.
    pub(super) fn create_topic(&mut self, partitions: i32, replicas: i16) {
        self.topics += 1;
        let topic = NewTopic {
            name: TopicName::new(&format!("topic-{}", self.topics)),
            partitions: Some(partitions),
            replication_factor: Some(replicas),
            assignments: Vec::new(),
            configs: Vec::new(),
        };
        let timeout = Duration::from_secs(30);
        let request = CreateTopicsRequest { topics: vec![topic], validate_only: false, timeout };
        let (node, id) = (NodeId(1), self.next_request());
        self.asked = Some((node, id));
        self.handle(node, Input::Requested { id, request: Request::CreateTopics(request) });
    }

    /// Starts a node that does not run.
    pub(super) fn start(&mut self, node: NodeId) {
        let (seed, incarnation) = (self.random.next_u64(), u128::from_be_bytes(self.random.uuid()));
        let seat = &mut self.seats[place(node)];
        seat.life += 1;
        seat.config.incarnation = incarnation;
        let (dir, recovered) = LogDir::open(seat.disk.clone()).expect("a formatted directory opens");
        let core = Node::new(seat.config.clone(), recovered, seed);
        let called = BTreeSet::new();
        seat.process =
            Some(Process { node: core, dir, called, disk_free: 0, outcomes: BTreeMap::new(), alarm: u64::MAX });
        self.handle(node, Input::Started);
    }

    /// SIGKILL: the process is gone; whoever has a connection to it notices.
    pub(super) fn kill(&mut self, node: NodeId) {
        let process = self.seats[place(node)].process.take().expect("it runs");
        self.served.retain(|_, asked| asked.by != node && asked.of != node);
        self.calls.retain(|(from, _), _| *from != node);
        let waiting: Vec<_> = self.calls.iter().filter(|(_, to)| **to == node).map(|(&key, _)| key).collect();
        for (to, call) in waiting {
            let life = self.seats[place(to)].life;
            self.send(node, to, Event::Answer { to, life, call, outcome: Box::new(Err(CallError::Lost)) });
        }
        for to in process.called {
            let life = self.seats[place(to)].life;
            self.send(node, to, Event::Disconnected { to, life, from: node });
        }
    }

    /// Lets time pass.
    pub(super) fn run_until(&mut self, end: u64) {
        let begun = std::time::Instant::now();
        while self.queue.next_at().is_some_and(|at| at <= end) {
            if let Some(event) = self.queue.pop() {
                self.happen(event);
            }
        }
        self.queue.pass_to(end);
        self.counts.wall_ns += u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Disk { node, life, log, job, order } => {
                let Some(process) = self.process(node, life) else { return };
                let (is_synced, outcome) = execute(&mut process.dir, log, *order);
                let now = self.queue.now();
                let process = self.process(node, life).expect("it ran just now");
                let known = process.outcomes.remove(&log).unwrap_or(0).max(if is_synced { now + SYNC_NS } else { now });
                process.outcomes.retain(|_, at| *at > now);
                if known > now {
                    process.outcomes.insert(log, known);
                }
                self.queue.at(known, Event::Ended { node, life, log, job, outcome: Box::new(outcome) });
            }
            Event::Ended { node, life, log, job, outcome } => {
                if self.process(node, life).is_some() {
                    self.handle(node, Input::JobEnded { log, job, outcome: *outcome });
                }
            }
            Event::Arrival { from, life, call, to, request } => {
                if self.process(from, life).is_none() {
                    return;
                }
                if self.seats[place(to)].process.is_none() {
                    let refused = Box::new(Err(CallError::Refused));
                    return self.send(to, from, Event::Answer { to: from, life, call, outcome: refused });
                }
                let id = self.next_request();
                self.served.insert(id, Asked { by: from, life, call, of: to });
                self.handle(to, Input::Requested { id, request: Request::Peer(*request) });
            }
            Event::Answer { to, life, call, outcome } => {
                if self.process(to, life).is_some() && self.calls.remove(&(to, call)).is_some() {
                    self.handle(to, Input::CallEnded { call, outcome: *outcome });
                }
            }
            Event::Disconnected { to, life, from } => {
                if self.process(to, life).is_some() {
                    self.handle(to, Input::PeerDisconnected { node: from });
                }
            }
            Event::Alarm { node, life, at } => {
                if let Some(process) = self.process(node, life)
                    && process.alarm == at
                {
                    process.alarm = u64::MAX;
                    self.handle(node, Input::TimePassed);
                }
            }
        }
    }

    fn process(&mut self, node: NodeId, life: u64) -> Option<&mut Process> {
        let seat = &mut self.seats[place(node)];
        seat.process.as_mut().filter(|_| seat.life == life)
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Tells a node a fact and carries out what it orders.
    fn handle(&mut self, node: NodeId, input: Input) {
        let mono = self.queue.now();
        let wall = Timestamp(1_700_000_000_000 + i64::try_from(mono / 1_000_000).expect("runs end in time"));
        self.counts.inputs += 1;
        let life = self.seats[place(node)].life;
        let Some(process) = self.process(node, life) else { return };
        process.node.handle(Now { mono: Instant(mono), wall }, input);
        while let Some(effect) = self.process(node, life).and_then(|process| process.node.poll_effect()) {
            self.carry_out(node, life, effect);
        }
        let Some(process) = self.process(node, life) else { return };
        if let Some(deadline) = process.node.next_deadline()
            && deadline.at.0 < process.alarm
        {
            process.alarm = deadline.at.0;
            self.queue.at(deadline.at.0, Event::Alarm { node, life, at: deadline.at.0 });
        }
    }

    fn carry_out(&mut self, node: NodeId, life: u64, effect: Effect) {
        match effect {
            Effect::Respond { id, response } => self.respond(node, id, response),
            Effect::Run { log, job, order } => {
                let now = self.queue.now();
                let Some(process) = self.process(node, life) else { return };
                process.disk_free = process.disk_free.max(now) + JOB_NS;
                let at = process.disk_free;
                self.queue.at(at, Event::Disk { node, life, log, job, order: Box::new(order) });
            }
            Effect::Call { call, to, request, .. } => {
                self.calls.insert((node, call), to);
                if let Some(process) = self.process(node, life) {
                    process.called.insert(to);
                }
                self.count(matches!(request, PeerRequest::Fetch(_)));
                self.send(node, to, Event::Arrival { from: node, life, call, to, request: Box::new(request) });
            }
            Effect::Ready | Effect::PeerMoved { .. } | Effect::Stopped => {}
            Effect::LeaderLacks { dir, from, to } => panic!("node {node}: the leader of {dir} lacks {from} to {to}"),
            Effect::LogFailed { reason, .. } | Effect::DirectoryFailed { reason } | Effect::Halt { reason } => {
                panic!("node {node}: {reason}")
            }
        }
    }

    fn count(&mut self, is_fetch: bool) {
        self.counts.messages += 1;
        self.counts.fetches += u64::from(is_fetch);
    }

    fn respond(&mut self, node: NodeId, id: RequestId, response: Response) {
        let Some(Asked { by: to, life, call, .. }) = self.served.remove(&id) else {
            if self.asked == Some((node, id)) {
                self.asked = None;
                if let Response::CreateTopics(created) = &response {
                    let refused = created.topics.iter().find(|topic| !topic.error.is_none());
                    assert!(refused.is_none(), "{refused:?}");
                }
            }
            return;
        };
        let Response::Peer(mut response) = response else { panic!("a peer is answered as a peer") };
        if let PeerResponse::Fetch(fetched) = &mut response {
            for partition in &mut fetched.partitions {
                let records = std::mem::replace(&mut partition.records, Records::Empty);
                partition.records = Records::Bytes(self.bytes(node, records));
            }
        }
        self.count(matches!(response, PeerResponse::Fetch(_)));
        self.send(node, to, Event::Answer { to, life, call, outcome: Box::new(Ok(response)) });
    }

    /// Records as a wire delivers them.
    fn bytes(&mut self, node: NodeId, records: Records) -> Bytes {
        match records {
            Records::Empty => Bytes::new(),
            Records::Bytes(bytes) => bytes,
            Records::Batches(batches) => {
                batches.iter().flat_map(|batch| batch.to_bytes().to_vec()).collect::<Vec<u8>>().into()
            }
            Records::Log(order) => {
                let process = self.seats[place(node)].process.as_mut();
                process.map_or_else(Bytes::new, |process| process.dir.read(&order).unwrap_or_default())
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, event: Event) {
        let delay = LINK_NS + self.random.below(LINK_NS);
        let last = self.links.entry((from, to)).or_insert(0);
        *last = (self.queue.now() + delay).max(*last);
        let at = *last;
        self.queue.at(at, event);
    }
}

fn place(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("nodes are numbered from 1")
}

/// Does the job; says whether it needed a sync.
fn execute(dir: &mut LogDir<PlainDisk>, log: LogId, order: Job) -> (bool, Result<JobOutcome, LogError>) {
    let mut step = dir.execute(log, order);
    loop {
        match step {
            Step::Done(outcome) => return (false, outcome),
            Step::Again => step = dir.resume(log),
            Step::Sync(outcome) => {
                let ticket = dir.begin_sync(log);
                return (true, dir.synced(log, ticket, Ok(())).map(|_| outcome));
            }
        }
    }
}
