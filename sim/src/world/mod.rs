//! The world: hosts, clients and the network between them, on one virtual clock.
//!
//! ```text
//!   chaos ........................ settle ............ final reads ..... judgement
//!   strikes, clients work          all healed:         everything is     history against
//!                                  what is begun ends  read once more    what was promised
//! ```

mod core;
mod dump;
mod filming;
mod phases;
mod splits;
mod strikes;
mod traffic;

use std::collections::VecDeque;

use tidelog_core::{ids::DirectoryId, message::Response};

pub use self::core::Frozen;
pub use splits::Link;
pub use traffic::Outgoing;

use crate::{
    actor::{
        Actor, Admin, Asker, CallId, Consumer, MS, MachineProducer, Mover, Order, Phase, Plan, Producer, Reader, Reply,
        Scene,
    },
    check::Violation,
    clock::Clock,
    config::Config,
    disk::{Latency, SimDisk},
    host::{End, Env, Happening, Host},
    ledger::Ending,
    nemesis::{self, Blow},
    net::{ConnId, Net, Party, Stage, Way},
    oracle::Oracle,
    queue::Queue,
    rng::{Purpose, Stream},
    script::{Ops, Script, Staged},
    tally::{Fault, Tally},
    trace::Trace,
};

/// Something that is to happen.
pub enum Event {
    /// To a process of a host.
    Host(usize, u32, Happening),
    /// A host starts, if it is down.
    Start(usize),
    /// A paused host goes on.
    Resume(usize),
    /// A client's deadline.
    Wake(usize),
    /// A call of a client is over.
    Answer(usize, CallId, Reply),
    /// A connection attempt has come to its end.
    Dialed(ConnId),
    /// Something may have arrived.
    Pump(ConnId, Way),
    /// The end of who dialed a connection learns that it is gone.
    ClientGone(ConnId),
    /// The node's end of a connection learns that it is gone.
    NodeGone(ConnId),
    /// The time for a call between nodes is over.
    CallLate {
        /// Who called.
        node: usize,
        /// Which of its processes.
        incarnation: u32,
        /// The core's number for the call.
        call: CallId,
        /// When it was made.
        begun: u64,
    },
    /// Links carry nothing for so long.
    Block(Vec<Link>, u64),
    /// One reason fewer why these links carry nothing.
    Unblock(Vec<Link>),
    /// A process does not run for so long.
    Freeze(usize, u64),
    /// The nemesis strikes.
    Strike(usize),
    /// The disk of a node that was taken out goes, unless another of its processes than this one has run since.
    Replace(usize, u32),
    /// A spell of bad weather on a disk is over.
    Clear(usize, Blow),
    /// Time to look whether a phase is over.
    Look,
}

/// How a run can fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A checker found something.
    Broken(Violation),
    /// What should make progress does not (code L1).
    Stuck(String),
    /// The nodes do not come to rest though clients have (code L2).
    Unsettled(String),
    /// More events than any run should need (code B1).
    Budget(String),
}

struct Client {
    actor: Box<dyn Actor>,
    timer: Option<u64>,
    /// The node that is asked what any node can answer.
    favourite: usize,
    /// Whom it has still to try, once all is healed, before it tries anybody again.
    untried: Vec<usize>,
    random: Stream,
    ops: Ops,
}

/// Everything.
pub struct World {
    seed: u64,
    config: Config,
    plan: Plan,
    queue: Queue<Event>,
    /// What happened.
    pub trace: Trace,
    /// What was struck and reached.
    pub tally: Tally,
    /// The books.
    pub oracle: Oracle,
    hosts: Vec<Host>,
    directories: Vec<DirectoryId>,
    frozen: Vec<Option<Frozen>>,
    clients: Vec<Client>,
    net: Net,
    strikes: Vec<Staged>,
    silent: Vec<usize>,
    random: Stream,
    phase: Phase,
    phase_began: u64,
    crashed_at_end: bool,
    /// Is there a partition that went with the disks of all who could lead it?
    has_spared_lost: bool,
    second: (u64, u64),
}

/// Events that a run may take.
const EVENTS_MAX: u64 = 2_000_000;

impl World {
    /// The world of this seed. With `record`, lines of text are kept.
    pub fn new(seed: u64, config: Config, record: bool) -> Self {
        Self::staged(seed, config, &Script::default(), record)
    }

    /// The world of this seed, in which what the script lists goes by the script.
    pub fn staged(seed: u64, config: Config, script: &Script, record: bool) -> Self {
        let tally = Tally::default();
        let mut queue = Queue::new(seed, config.tie_shuffle == 1);
        let mut hosts = Vec::new();
        for index in 0..config.nodes as usize {
            let mut random = Stream::new(seed, Purpose::Core, 500 + index as u64);
            let latency = Latency { sync: config.sync_us * 1_000, ..Latency::default() };
            let disk = SimDisk::new(seed, index as u64, latency, tally.clone());
            if record {
                disk.keep_journal();
            }
            let drift = config.drift_ppm as i64;
            let clock = Clock::new(if random.chance(500_000) { -drift } else { drift });
            hosts.push(Host::new(seed, index, disk, clock));
            queue.at(0, Event::Start(index));
        }
        let mut clients: Vec<Box<dyn Actor>> = Vec::new();
        let workers = config.producers + config.consumers + config.admins + config.machines;
        let think = config.chaos_ms * MS * workers / config.operations.max(1);
        let mut id = 0;
        let mut next = || {
            id += 1;
            id
        };
        clients.push(Box::new(Admin::new(seed, next(), config.admins > 0, think)));
        for _ in 0..config.producers {
            clients.push(Box::new(Producer::new(seed, next(), think)));
        }
        for _ in 0..config.machines {
            clients.push(Box::new(MachineProducer::new(seed, next(), think)));
        }
        for _ in 0..config.consumers {
            clients.push(Box::new(Consumer::new(seed, next(), think, &config)));
        }
        for asker in 0..config.askers {
            clients.push(Box::new(Asker::new(next() as u32, Stream::new(seed, Purpose::Workload, 1 << 33 | asker))));
        }
        for mover in 0..config.movers {
            clients.push(Box::new(Mover::new(Stream::new(seed, Purpose::Workload, 1 << 34 | mover), &config)));
        }
        clients.push(Box::new(Reader::new()));
        let strikes = script.strikes.clone();
        let strikes = strikes.unwrap_or_else(|| nemesis::plan(seed, &config).into_iter().map(Staged::new).collect());
        for (number, staged) in strikes.iter().enumerate() {
            queue.at(staged.strike.at, Event::Strike(number));
        }
        queue.at(config.chaos_ms * MS, Event::Look);
        for client in 0..clients.len() {
            queue.at(0, Event::Wake(client));
        }
        let clients = clients.into_iter().enumerate().map(|(number, actor)| Client {
            actor,
            timer: Some(0),
            favourite: number % config.nodes as usize,
            untried: Vec::new(),
            random: Stream::new(seed, Purpose::Workload, 1 << 32 | number as u64),
            ops: script.ops_of(number),
        });
        let clients = clients.collect();
        let mut oracle = Oracle::default();
        // A partition that is moved may be given several replicas, too.
        oracle.history.replicated = config.nodes > 1 && (config.replication > 1 || config.movers > 0);
        Self {
            plan: Plan::new(&config),
            queue,
            trace: Trace::new(record),
            tally,
            oracle,
            frozen: vec![None; hosts.len()],
            directories: hosts.iter().map(Host::directory).collect(),
            hosts,
            clients,
            net: Net::new(seed),
            strikes,
            silent: script.silent.clone(),
            random: Stream::new(seed, Purpose::Buggify, 0),
            phase: Phase::Chaos,
            phase_began: 0,
            crashed_at_end: false,
            has_spared_lost: false,
            second: (0, 0),
            seed,
            config,
        }
    }

    /// Virtual time.
    pub fn now(&self) -> u64 {
        self.queue.now()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The marks of every log, for reports.
    pub fn state_lines(&self) -> Vec<String> {
        self.hosts.iter().flat_map(Host::state_lines).collect()
    }

    /// How many clients there are, but for the last reader.
    pub fn clients(&self) -> usize {
        self.clients.len() - 1
    }

    /// What has been struck and begun so far, as a script that does the same again.
    pub fn script(&self) -> Script {
        let strikes = self.strikes.iter().filter(|staged| staged.drawn.is_some()).cloned().collect();
        let ops = self.clients.iter().enumerate().flat_map(|(client, state)| state.ops.begun(client)).collect();
        Script { strikes: Some(strikes), ops: Some(ops), silent: self.silent.clone() }
    }

    /// Runs to the end.
    pub fn run(&mut self) -> Result<(), Failure> {
        loop {
            let Some(event) = self.queue.pop() else {
                return Err(Failure::Stuck("nothing is left to happen".to_owned()));
            };
            if self.trace.events() > EVENTS_MAX {
                return Err(Failure::Budget(format!("{EVENTS_MAX} events at {} s", self.now() / 1_000_000_000)));
            }
            let done = self.take(event)?;
            self.after()?;
            if done {
                return self.judge();
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<bool, Failure> {
        match event {
            Event::Host(node, incarnation, happening) => {
                let host = &mut self.hosts[node];
                if host.incarnation != incarnation || !host.is_up() {
                    return Ok(false);
                }
                if host.paused_until.is_some() {
                    host.deferred.push_back(happening);
                    return Ok(false);
                }
                self.with_host(node, |host, env| host.happen(env, happening))?;
            }
            Event::Start(node) => {
                if !self.hosts[node].is_up() && self.is_inside(node) {
                    self.with_host(node, Host::start)?;
                }
            }
            Event::Resume(node) if self.frozen[node] == Some(Frozen::Paused) => {}
            Event::Resume(node) => {
                let host = &mut self.hosts[node];
                host.paused_until = None;
                host.resumed_at = self.queue.now();
                let waiting: VecDeque<Happening> = std::mem::take(&mut host.deferred);
                for happening in waiting {
                    self.with_host(node, |host, env| host.happen(env, happening))?;
                }
            }
            Event::Wake(client) => {
                let due = self.clients[client].timer.is_some_and(|at| at <= self.queue.now());
                if due {
                    self.clients[client].timer = None;
                    self.act(client, |actor, scene| actor.on_time(scene))?;
                }
            }
            Event::Answer(client, call, reply) => {
                let now = self.queue.now();
                self.trace.event(now, &[1 << 32 | client as u64, call]);
                if matches!(reply, Reply::NotSent | Reply::Lost) {
                    self.try_another(client);
                }
                self.act(client, |actor, scene| actor.on_reply(scene, call, reply))?;
            }
            Event::Dialed(conn) => self.dialed(conn),
            Event::Pump(conn, Way::Up) => self.pump_up(conn)?,
            Event::Pump(conn, Way::Down) => self.pump_down(conn),
            Event::ClientGone(conn) => self.client_gone(conn),
            Event::NodeGone(conn) => self.node_gone(conn),
            Event::CallLate { node, incarnation, call, begun } => self.call_late(node, incarnation, call, begun),
            Event::Block(links, span) if self.phase == Phase::Chaos => self.block(links, span),
            Event::Block(..) => {}
            Event::Unblock(links) if self.phase == Phase::Chaos => self.unblock(&links),
            // All that chaos had blocked was opened when it ended; what is blocked now stays so.
            Event::Unblock(..) => {}
            Event::Freeze(node, span) => {
                if self.phase == Phase::Chaos && self.hosts[node].is_up() && self.hosts[node].paused_until.is_none() {
                    self.hosts[node].paused_until = Some(self.queue.now() + span);
                    self.queue.after(span, Event::Resume(node));
                }
            }
            Event::Strike(number) => {
                if self.phase == Phase::Chaos {
                    let strike = self.strikes[number].begin(&mut self.random);
                    self.strike(&strike)?;
                }
            }
            Event::Replace(node, incarnation) => self.replace(node, incarnation),
            Event::Clear(node, blow) => self.clear(node, &blow),
            Event::Look => return self.look(),
        }
        Ok(false)
    }

    /// Lets a host act; what it says to clients and to other nodes is left for the caller to carry.
    fn at_host<T>(
        &mut self,
        node: usize,
        replies: &mut Vec<(ConnId, CallId, Response)>,
        calls: &mut Vec<Outgoing>,
        act: impl FnOnce(&mut Host, &mut Env<'_>) -> T,
    ) -> T {
        let mut env = Env {
            queue: &mut self.queue,
            trace: &mut self.trace,
            oracle: &mut self.oracle,
            tally: &self.tally,
            config: &self.config,
            replies,
            calls,
            directories: &self.directories,
        };
        act(&mut self.hosts[node], &mut env)
    }

    /// Lets a host act and carries on what comes of it.
    fn with_host(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut Host, &mut Env<'_>) -> Result<(), Violation>,
    ) -> Result<(), Failure> {
        let (mut replies, mut calls) = (Vec::new(), Vec::new());
        let acted = self.at_host(node, &mut replies, &mut calls, act);
        for (conn, call, response) in replies {
            self.send_down(conn, call, response)?;
        }
        for outgoing in calls {
            self.call_peer(node, outgoing)?;
        }
        acted.map_err(Failure::Broken)?;
        match self.hosts[node].end.clone() {
            End::None => {}
            End::Cut => {
                let power = self.hosts[node].cut_is_power_loss;
                let down = self.random.log_between(1, 2_000) * MS;
                self.crash(node, if power { Ending::PowerLost } else { Ending::Killed }, down);
            }
            End::Stopped => self.crash(node, Ending::Stopped, self.stop_delay(node)),
            End::Halted(_) => {
                let down = self.random.between(200, 2_000) * MS;
                self.crash(node, Ending::Killed, down);
            }
        }
        Ok(())
    }

    /// A process ends, for whatever reason; its connections with it.
    fn crash(&mut self, node: usize, ending: Ending, down: u64) {
        let (now, index) = (self.queue.now(), node);
        self.trace.line(now, || format!("n{index} {ending:?}"));
        self.trace.show(|film| film.moment(now, Some(index), "crash", format!("{ending:?}")));
        // Nobody hears what a dying process says.
        self.at_host(node, &mut Vec::new(), &mut Vec::new(), |host, env| host.die(env, ending));
        for conn in self.net.to(node) {
            // What is closed already is not heard of again: only its own end still comes.
            let is_open = self.net.get(conn).is_some_and(|conn| conn.stage != Stage::Closed);
            let silent = ending == Ending::PowerLost && self.random.chance(500_000);
            if silent && is_open {
                if let Some(conn) = self.net.get(conn) {
                    conn.stage = Stage::Silent;
                }
                self.tally.fault(Fault::HalfOpen);
            } else {
                let delay = self.random.between(1, 50) * MS / 10;
                self.cut(conn, now, now + delay);
                self.queue.after(delay, Event::ClientGone(conn));
            }
        }
        let silently =
            ending == Ending::PowerLost && !self.net.of(Party::Node(node)).is_empty() && self.random.chance(500_000);
        self.drop_dialed(node, silently);
        self.queue.after(down, Event::Start(node));
    }

    fn try_another(&mut self, client: usize) {
        let (nodes, client) = (self.hosts.len(), &mut self.clients[client]);
        if self.phase == Phase::Chaos || nodes < 3 {
            client.favourite = (client.favourite + 1) % nodes;
            return;
        }
        // Where all else is well, calls that are lost by twos and threes would lead round and round past who answers, and mere
        // chance may pass by one of five for as long as may be waited.
        if client.untried.is_empty() {
            client.untried = (0..nodes).filter(|node| *node != client.favourite).collect();
        }
        let next = client.random.below(client.untried.len() as u64) as usize;
        client.favourite = client.untried.swap_remove(next);
    }

    /// Whom a client asks what any node can answer: its favourite, now and then another one from then on.
    fn any_node(&mut self, client: usize) -> usize {
        if self.hosts.len() > 1 && self.clients[client].random.chance(200_000) {
            self.try_another(client);
        }
        self.clients[client].favourite
    }

    /// Lets a client act and carries its orders.
    fn act(&mut self, client: usize, act: impl FnOnce(&mut dyn Actor, &mut Scene<'_>)) -> Result<(), Failure> {
        if self.silent.contains(&client) {
            return Ok(());
        }
        let mut orders = Vec::new();
        let now = self.queue.now();
        let Client { actor, ops, .. } = &mut self.clients[client];
        let mut scene = Scene {
            now,
            wall: Clock::new(0).now(now).wall,
            phase: self.phase,
            config: &self.config,
            history: &mut self.oracle.history,
            tally: &self.tally,
            orders: &mut orders,
            plan: &self.plan,
            ops,
        };
        act(actor.as_mut(), &mut scene);
        for order in orders {
            match order {
                Order::Call { id, to, request } => {
                    let to = match to {
                        Some(node) => node.0 as usize,
                        None => self.any_node(client),
                    };
                    self.call(Party::Client(client), 0, id, to, request)?;
                }
                Order::Abandon(call) => {
                    if let Some(conn) = self.net.carrying(Party::Client(client), call) {
                        self.close_client_end(conn, Some(call));
                        self.try_another(client);
                    }
                }
            }
        }
        if let Some(at) = self.clients[client].actor.next_deadline() {
            // A client that wants to be woken at once gets a moment later: time must go on.
            let at = at.max(now + 1_000);
            if self.clients[client].timer.is_none_or(|armed| at < armed) {
                self.clients[client].timer = Some(at);
                self.queue.at(at, Event::Wake(client));
            }
        }
        Ok(())
    }
}
