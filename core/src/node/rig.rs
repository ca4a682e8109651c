//! Several nodes on disks in memory, on virtual time, driven from a seed: the smallest driver of a cluster.
//!
//! ```text
//! Node 1 -Call-> [delay of the link, in order] -> Node 2 -Respond-> [delay] -> CallEnded at node 1
//!    Run -> [delay of the disk, in order] -> executed and synced -> JobEnded
//! ```
//!
//! The order of events is a function of the seed. A process that is killed takes what it had in flight with it; its disk
//! stays. Whoever calls it hears that the connection is refused, or that it broke. A cut link swallows what is sent over it, so
//! that calls time out. [`Rig::step`] is one event: tests that watch an invariant look after each.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

use bytes::Bytes;

use super::{Node, NodeConfig};
use crate::{
    effect::Effect,
    ids::{CallId, DirectoryId, JobId, LogId, NodeId, RequestId, TopicId},
    input::Input,
    log::{Identity, Job, JobOutcome, LogDir, LogError, Step, test_disk::TestDisk},
    message::{
        CallError, CreateTopicsRequest, ErrorCode, NewTopic, PeerRequest, PeerResponse, Records, ReplicaFetchRequest,
        Request, Response, SnapshotId,
    },
    prng::Prng,
    time::{Duration, Instant, Now, Timestamp},
};

/// A cluster.
pub(super) struct Rig {
    seats: BTreeMap<NodeId, Seat>,
    now: Now,
    prng: Prng,
    /// What is to happen, in order; what happens at one time, in the order in which it was brought about.
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    /// When the last message of each directed link, and the last job of each disk, comes through: both keep their order.
    links: BTreeMap<(NodeId, NodeId), Instant>,
    disks: BTreeMap<NodeId, Instant>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    calls: BTreeMap<(NodeId, CallId), OpenCall>,
    /// Requests of peers that are being worked on.
    served: BTreeMap<RequestId, Asked>,
    requests: u64,
    /// Fetches of partitions that followers have sent.
    pulls: u64,
    answers: BTreeMap<RequestId, Response>,
    /// How often in a row time was told to pass without passing.
    restless: u32,
}

/// A node's place: its disk outlives its processes.
struct Seat {
    config: NodeConfig,
    disk: TestDisk,
    /// Counts processes.
    life: u64,
    process: Option<Process>,
}

struct Process {
    node: Node,
    dir: LogDir<TestDisk>,
    ready: bool,
    /// Whom it has called, and so has a connection to.
    called: BTreeSet<NodeId>,
}

/// Whose request a node works on.
#[derive(Clone, Copy)]
struct Asked {
    by: NodeId,
    life: u64,
    call: CallId,
    of: NodeId,
}

#[derive(Clone, Copy)]
struct OpenCall {
    to: NodeId,
    life: u64,
}

enum Event {
    Disk { node: NodeId, life: u64, log: LogId, job: JobId, order: Job },
    Arrival { from: NodeId, life: u64, call: CallId, to: NodeId, request: Box<PeerRequest> },
    Answer { to: NodeId, life: u64, call: CallId, outcome: Result<PeerResponse, CallError> },
    Disconnected { to: NodeId, life: u64, from: NodeId },
}

impl Rig {
    /// Nodes 1 to `nodes`, all of them voters, all started.
    pub(super) fn cluster(nodes: i32, seed: u64) -> Self {
        let voters: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let config = |&node: &NodeId| NodeConfig { node, voters: voters.clone(), ..NodeConfig::default() };
        Self::new(voters.iter().map(config).collect(), seed)
    }

    /// These nodes on empty disks, all started.
    pub(super) fn new(configs: Vec<NodeConfig>, seed: u64) -> Self {
        let mut rig = Self {
            seats: BTreeMap::new(),
            now: Now { mono: Instant::ZERO, wall: Timestamp(1_000_000) },
            prng: Prng::new(seed),
            events: BTreeMap::new(),
            scheduled: 0,
            links: BTreeMap::new(),
            disks: BTreeMap::new(),
            cuts: BTreeSet::new(),
            calls: BTreeMap::new(),
            served: BTreeMap::new(),
            requests: 0,
            pulls: 0,
            answers: BTreeMap::new(),
            restless: 0,
        };
        for mut config in configs {
            config.cluster_id = "c".to_string();
            config.endpoints.native = format!("n{}:9192", config.node);
            config.endpoints.kafka = format!("n{}:9092", config.node);
            rig.seats.insert(config.node, Seat { config, disk: TestDisk::new(), life: 0, process: None });
        }
        rig.nodes().into_iter().for_each(|node| rig.format(node));
        rig.nodes().into_iter().for_each(|node| rig.start(node));
        rig
    }

    /// All nodes, running or not.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.seats.keys().copied().collect()
    }

    /// The nodes whose processes run.
    pub(super) fn running(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.seats.iter().filter_map(|(&id, seat)| seat.process.as_ref().map(|process| (id, &process.node)))
    }

    /// A node that runs.
    pub(super) fn node(&self, node: NodeId) -> &Node {
        &self.seats[&node].process.as_ref().expect("it runs").node
    }

    /// Has the node said that clients can be served?
    pub(super) fn is_ready(&self, node: NodeId) -> bool {
        self.seats[&node].process.as_ref().is_some_and(|process| process.ready)
    }

    /// Does the node's process run?
    pub(super) fn is_running(&self, node: NodeId) -> bool {
        self.seats[&node].process.is_some()
    }

    /// Virtual time.
    pub(super) fn now(&self) -> Instant {
        self.now.mono
    }

    /// Fetches of partitions that followers have sent so far.
    pub(super) fn pulls(&self) -> u64 {
        self.pulls
    }

    /// A number below `bound`, for a test's own choices.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.prng.below(bound)
    }

    /// Starts a node that does not run.
    pub(super) fn start(&mut self, node: NodeId) {
        let (seed, incarnation) = (self.prng.next_u64(), u128::from_be_bytes(self.prng.uuid()));
        let seat = self.seats.get_mut(&node).expect("a node has a seat");
        assert!(seat.process.is_none(), "it runs already");
        seat.life += 1;
        seat.config.incarnation = incarnation;
        let (dir, recovered) = LogDir::open(seat.disk.clone()).expect("a formatted directory opens");
        let node_of = Node::new(seat.config.clone(), recovered, seed);
        seat.process = Some(Process { node: node_of, dir, ready: false, called: BTreeSet::new() });
        self.handle(node, Input::Started);
    }

    /// SIGKILL: the process is gone, what it had written is in the page cache.
    pub(super) fn kill(&mut self, node: NodeId) {
        let process = self.seats.get_mut(&node).and_then(|seat| seat.process.take()).expect("it runs");
        self.disks.remove(&node);
        self.served.retain(|_, asked| asked.by != node && asked.of != node);
        self.calls.retain(|(from, _), _| *from != node);
        let waiting: Vec<_> = self.calls.iter().filter(|(_, call)| call.to == node).map(|(&k, &c)| (k, c)).collect();
        for ((to, call), OpenCall { life, .. }) in waiting {
            self.send(node, to, Event::Answer { to, life, call, outcome: Err(CallError::Lost) });
        }
        for to in process.called {
            let life = self.seats[&to].life;
            self.send(node, to, Event::Disconnected { to, life, from: node });
        }
    }

    /// The power of a machine goes: of what was not synced, chance decides.
    pub(super) fn lose_power(&mut self, node: NodeId) {
        self.kill(node);
        let mut prng = Prng::new(self.prng.next_u64());
        self.seats[&node].disk.lose_power(&mut prng);
    }

    /// A node that does not run gets an empty disk.
    pub(super) fn wipe(&mut self, node: NodeId) {
        let seat = self.seats.get_mut(&node).expect("a node has a seat");
        assert!(seat.process.is_none(), "its disk is in use");
        seat.disk = TestDisk::new();
        self.format(node);
    }

    fn format(&mut self, node: NodeId) {
        let directory = DirectoryId(self.prng.uuid());
        let Seat { config, disk, .. } = self.seats.get_mut(&node).expect("a node has a seat");
        config.directory = directory;
        let identity = Identity { node, cluster_id: config.cluster_id.clone(), directory };
        LogDir::format(disk, &identity).expect("an empty disk can be formatted");
    }

    /// A byte in the middle of a snapshot of the metadata changes.
    pub(super) fn damage_snapshot(&mut self, node: NodeId, id: SnapshotId) {
        let path = format!("__cluster_metadata-0/{:020}-{:010}.checkpoint", id.end.0, id.epoch.0);
        self.seats[&node].disk.damage(&path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
        });
    }

    /// SIGTERM: the node stops in its own time, and then does not run any more.
    pub(super) fn stop(&mut self, node: NodeId) {
        self.handle(node, Input::StopRequested);
    }

    /// Cuts a pair of nodes off from each other.
    pub(super) fn cut(&mut self, a: NodeId, b: NodeId) {
        self.cuts.insert((a, b));
        self.cuts.insert((b, a));
    }

    /// Cuts a node off from all others.
    pub(super) fn isolate(&mut self, node: NodeId) {
        self.nodes().into_iter().filter(|other| *other != node).for_each(|other| self.cut(node, other));
    }

    /// Cuts one direction: what `from` sends does not reach `to`.
    pub(super) fn cut_one_way(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    /// All links work again.
    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Sends a client's request to a node; [`Rig::answer`] has the answer when there is one.
    pub(super) fn ask(&mut self, node: NodeId, request: Request) -> RequestId {
        let id = self.next_request();
        self.handle(node, Input::Requested { id, request });
        id
    }

    /// The answer to a request, once.
    pub(super) fn answer(&mut self, id: RequestId) -> Option<Response> {
        self.answers.remove(&id)
    }

    /// Sends a request and lets time pass until it is answered.
    pub(super) fn call(&mut self, node: NodeId, request: Request) -> Response {
        let id = self.ask(node, request);
        assert!(self.run_until(|rig| rig.answers.contains_key(&id)), "the request is not answered");
        self.answer(id).expect("just seen")
    }

    /// Creates a topic through a node.
    pub(super) fn create_topic(&mut self, node: NodeId, topic: NewTopic) -> ErrorCode {
        let request = CreateTopicsRequest { topics: alloc::vec![topic], validate_only: false, timeout: Duration::ZERO };
        match self.call(node, Request::CreateTopics(request)) {
            Response::CreateTopics(r) => r.topics[0].error,
            other => panic!("{other:?}"),
        }
    }

    /// Lets so much time pass.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now.mono.after(span);
        while self.step(end) {}
    }

    /// Lets time pass until something is so, a minute at most. Says whether it is.
    pub(super) fn run_until(&mut self, mut so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now.mono.after(Duration::from_secs(60));
        while !so(self) {
            if !self.step(end) {
                return false;
            }
        }
        true
    }

    /// The next event, if it comes before `end`; else time is `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        let event = self.events.first_key_value().map(|(&(at, _), _)| at);
        let alarms = self.running().filter_map(|(id, node)| node.next_deadline().map(|deadline| (deadline.at, id)));
        let alarm = alarms.min();
        let next = event.into_iter().chain(alarm.map(|(at, _)| at)).min().map(|at| at.max(self.now.mono));
        let Some(next) = next.filter(|at| *at < end) else {
            self.advance(end);
            return false;
        };
        self.advance(next);
        if event.is_some_and(|at| at <= next) {
            let (_, event) = self.events.pop_first().expect("just seen");
            self.happen(event);
        } else {
            let (_, node) = alarm.expect("one of the two is next");
            self.restless += 1;
            assert!(self.restless < 1_000, "a node's alarm is not taken: {:?}", self.node(node).next_deadline());
            self.handle(node, Input::TimePassed);
        }
        true
    }

    fn advance(&mut self, to: Instant) {
        let span = to.since(self.now.mono);
        if span > Duration::ZERO {
            self.restless = 0;
        }
        let ms = |at: Instant| i64::try_from(at.0 / 1_000_000).expect("tests end in time");
        self.now.wall = self.now.wall.plus_millis(ms(to) - ms(self.now.mono));
        self.now.mono = to;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Disk { node, life, log, job, order } => {
                let disk = self.seats[&node].disk.clone();
                let Some(process) = self.process(node, life) else { return };
                let outcome = execute(&mut process.dir, &disk, log, order);
                self.handle(node, Input::JobEnded { log, job, outcome });
            }
            Event::Arrival { from, life, call, to, request } => {
                if self.process(from, life).is_none() {
                    return;
                }
                if !self.is_running(to) {
                    let refused = Event::Answer { to: from, life, call, outcome: Err(CallError::Refused) };
                    return self.send(to, from, refused);
                }
                let id = self.next_request();
                self.served.insert(id, Asked { by: from, life, call, of: to });
                self.handle(to, Input::Requested { id, request: Request::Peer(*request) });
            }
            Event::Answer { to, life, call, outcome } => {
                if self.process(to, life).is_some() && self.calls.remove(&(to, call)).is_some() {
                    self.handle(to, Input::CallEnded { call, outcome });
                }
            }
            Event::Disconnected { to, life, from } => {
                if self.process(to, life).is_some() {
                    self.handle(to, Input::PeerDisconnected { node: from });
                }
            }
        }
    }

    fn process(&mut self, node: NodeId, life: u64) -> Option<&mut Process> {
        let seat = self.seats.get_mut(&node).expect("a node has a seat");
        seat.process.as_mut().filter(|_| seat.life == life)
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Tells a node a fact and carries out what it orders.
    fn handle(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        let life = self.seats[&node].life;
        let process = self.process(node, life).expect("it runs");
        process.node.handle(now, input);
        while let Some(effect) = self.process(node, life).and_then(|process| process.node.poll_effect()) {
            self.carry_out(node, life, effect);
        }
    }

    fn carry_out(&mut self, node: NodeId, life: u64, effect: Effect) {
        match effect {
            Effect::Respond { id, response } => self.respond(node, id, response),
            Effect::Run { log, job, order } => {
                let delay = Duration::from_nanos(10_000 + self.prng.below(1_000_000));
                let at = self.now.mono.after(delay).max(self.disks.get(&node).copied().unwrap_or(Instant::ZERO));
                self.disks.insert(node, at);
                self.schedule(at, Event::Disk { node, life, log, job, order });
            }
            Effect::Call { call, to, request, timeout } => {
                self.calls.insert((node, call), OpenCall { to, life });
                let of_partitions =
                    |r: &ReplicaFetchRequest| r.partitions.iter().all(|p| p.id.topic != TopicId::METADATA);
                self.pulls += u64::from(matches!(&request, PeerRequest::Fetch(r) if of_partitions(r)));
                let at = self.now.mono.after(timeout);
                self.schedule(at, Event::Answer { to: node, life, call, outcome: Err(CallError::TimedOut) });
                if let Some(process) = self.process(node, life) {
                    process.called.insert(to);
                }
                self.send(node, to, Event::Arrival { from: node, life, call, to, request: Box::new(request) });
            }
            Effect::Ready => self.process(node, life).expect("it runs").ready = true,
            Effect::Stopped => {
                let process = self.seats.get_mut(&node).and_then(|seat| seat.process.take()).expect("it runs");
                process.dir.close().expect("everything is closed");
            }
            Effect::PeerMoved { .. } | Effect::LogFailed { .. } | Effect::DirectoryFailed { .. } => {}
            Effect::LeaderLacks { dir, from, to } => panic!("the leader of {dir} lacks {from} to {to}"),
            Effect::Halt { reason } => panic!("node {node}: {reason}"),
        }
    }

    fn respond(&mut self, node: NodeId, id: RequestId, response: Response) {
        let Some(Asked { by: to, life, call, .. }) = self.served.remove(&id) else {
            assert!(self.answers.insert(id, response).is_none(), "a request is answered once");
            return;
        };
        let Response::Peer(mut response) = response else { panic!("a peer is answered as a peer") };
        if let PeerResponse::Fetch(fetched) = &mut response {
            for partition in &mut fetched.partitions {
                let records = core::mem::replace(&mut partition.records, Records::Empty);
                partition.records = Records::Bytes(self.bytes(node, records));
            }
        }
        self.send(node, to, Event::Answer { to, life, call, outcome: Ok(response) });
    }

    /// Records as a wire delivers them.
    pub(super) fn bytes(&mut self, node: NodeId, records: Records) -> Bytes {
        match records {
            Records::Empty => Bytes::new(),
            Records::Bytes(bytes) => bytes,
            Records::Batches(batches) => {
                batches.iter().flat_map(|batch| batch.to_bytes().to_vec()).collect::<Vec<u8>>().into()
            }
            Records::Log(order) => {
                let process = self.seats.get_mut(&node).and_then(|seat| seat.process.as_mut()).expect("it runs");
                process.dir.read(&order).unwrap_or_default()
            }
        }
    }

    /// Sends something over a link, which keeps its order; a cut one swallows it.
    fn send(&mut self, from: NodeId, to: NodeId, event: Event) {
        if self.cuts.contains(&(from, to)) {
            return;
        }
        let delay = Duration::from_nanos(50_000 + self.prng.below(2_000_000));
        let at = self.now.mono.after(delay).max(self.links.get(&(from, to)).copied().unwrap_or(Instant::ZERO));
        self.links.insert((from, to), at);
        self.schedule(at, event);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }
}

fn execute(dir: &mut LogDir<TestDisk>, disk: &TestDisk, log: LogId, order: Job) -> Result<JobOutcome, LogError> {
    let mut step = dir.execute(log, order);
    loop {
        match step {
            Step::Done(outcome) => return outcome,
            Step::Again => step = dir.resume(log),
            Step::Sync(outcome) => {
                let ticket = dir.begin_sync(log);
                let result = ticket.run(disk);
                return dir.synced(log, ticket, result).map(|_| outcome);
            }
        }
    }
}

/// A topic with so many partitions and replicas.
pub(super) fn new_topic(name: &str, partitions: i32, replicas: i16) -> NewTopic {
    NewTopic {
        name: crate::ids::TopicName::new(name),
        partitions: Some(partitions),
        replication_factor: Some(replicas),
        assignments: Vec::new(),
        configs: Vec::<(String, Option<String>)>::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_still_there_after_a_stop_a_kill_and_a_loss_of_power() {
        let mut rig = Rig::cluster(1, 5);
        let node = NodeId(1);
        assert!(rig.run_until(|rig| rig.is_ready(node)));
        assert_eq!(rig.create_topic(node, new_topic("t", 3, 1)), ErrorCode::None);
        for end in [Rig::kill, Rig::lose_power, Rig::stop] {
            end(&mut rig, node);
            assert!(rig.run_until(|rig| !rig.is_running(node)));
            rig.start(node);
            assert!(rig.run_until(|rig| rig.is_ready(node)));
            assert_eq!(rig.node(node).image().topics().next().map(|topic| topic.partitions.len()), Some(3));
        }
    }

    #[test]
    fn links_answer_break_and_swallow() {
        let (a, b) = (NodeId(1), NodeId(2));
        let mut rig = Rig::cluster(2, 1);
        rig.run_for(Duration::from_secs(30));
        let mut number = 1 << 60;
        let mut took = |rig: &mut Rig| {
            number += 1;
            let (call, before) = (CallId(number), rig.now());
            let (life, timeout) = (rig.seats[&a].life, Duration::from_secs(2));
            rig.carry_out(a, life, Effect::Call { call, to: b, request: PeerRequest::Ping, timeout });
            assert!(rig.run_until(|rig| !rig.calls.contains_key(&(a, call))));
            rig.now().since(before)
        };
        let (quick, slow) = (Duration::from_millis(20), Duration::from_secs(2));
        assert!(took(&mut rig) < quick);
        rig.cut(a, b);
        assert_eq!(took(&mut rig), slow);
        rig.heal();
        assert!(took(&mut rig) < quick);
        rig.cut_one_way(b, a);
        assert_eq!(took(&mut rig), slow, "the answer is lost");
        rig.heal();
        rig.isolate(b);
        assert_eq!(took(&mut rig), slow);
        rig.heal();
        rig.kill(b);
        assert!(took(&mut rig) < quick, "nobody listens");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let run = |seed| {
            let mut rig = Rig::cluster(1, seed);
            assert!(rig.run_until(|rig| rig.is_ready(NodeId(1))));
            (rig.now(), rig.below(1_000))
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
