//! The world: hosts, clients and the network between them, on one virtual clock.
//!
//! ```text
//!   chaos ........................ settle ............ final reads ..... judgement
//!   strikes, clients work          all healed:         everything is     history against
//!                                  what is begun ends  read once more    what was promised
//! ```

use std::collections::VecDeque;

use tidelog_core::message::{Acks, Request, Response};

use crate::{
    actor::{Actor, Admin, CallId, Consumer, MS, MachineProducer, Order, Phase, Plan, Producer, Reader, Reply, Scene},
    check::{self, Bounds, Load, Violation},
    clock::Clock,
    config::Config,
    disk::{Latency, Rot, SimDisk},
    host::{End, Env, Happening, Host},
    ledger::{Ending, Held},
    nemesis::{self, Blow, Strike},
    net::{ConnId, Net, Stage, Way},
    oracle::Oracle,
    queue::Queue,
    rng::{Purpose, Stream},
    tally::{Fault, Mark, Tally},
    trace::Trace,
    wire,
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
    /// The client's end of a connection learns that it is gone.
    ClientGone(ConnId),
    /// The node's end of a connection learns that it is gone.
    NodeGone(ConnId),
    /// The nemesis strikes.
    Strike(usize),
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
    /// More events than any run should need (code B1).
    Budget(String),
}

struct Client {
    actor: Box<dyn Actor>,
    timer: Option<u64>,
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
    clients: Vec<Client>,
    net: Net,
    strikes: Vec<Strike>,
    random: Stream,
    phase: Phase,
    phase_began: u64,
    crashed_at_end: bool,
    second: (u64, u64),
}

/// Events that a run may take.
const EVENTS_MAX: u64 = 2_000_000;
/// How long everything may take to get well again.
const SETTLE_MAX: u64 = 90_000 * MS;
/// How often the world looks whether a phase is over.
const LOOK_EVERY: u64 = 50 * MS;

impl World {
    /// The world of this seed. With `record`, lines of text are kept.
    pub fn new(seed: u64, config: Config, record: bool) -> Self {
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
            clients.push(Box::new(Consumer::new(seed, next(), think)));
        }
        clients.push(Box::new(Reader::new()));
        let strikes = nemesis::plan(seed, &config);
        for (number, strike) in strikes.iter().enumerate() {
            queue.at(strike.at, Event::Strike(number));
        }
        queue.at(config.chaos_ms * MS, Event::Look);
        for client in 0..clients.len() {
            queue.at(0, Event::Wake(client));
        }
        Self {
            plan: Plan::new(&config),
            queue,
            trace: Trace::new(record),
            tally,
            oracle: Oracle::default(),
            hosts,
            clients: clients.into_iter().map(|actor| Client { actor, timer: Some(0) }).collect(),
            net: Net::new(seed),
            strikes,
            random: Stream::new(seed, Purpose::Buggify, 0),
            phase: Phase::Chaos,
            phase_began: 0,
            crashed_at_end: false,
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

    /// What the time indexes and logs hold, for a look at a failure.
    pub fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for host in &self.hosts {
            use tidelog_core::log::{Disk, OpenMode};
            for (path, len) in host.disk.files() {
                lines.push(format!("{path} {len}"));
                if !path.ends_with(".timeindex") && !path.ends_with(".log") && !path.ends_with(".index") {
                    continue;
                }
                let Ok(bytes) = host.disk.quietly(|| {
                    let file = host.disk.open(&path, OpenMode::Existing)?;
                    host.disk.read_at(&file, 0, len as usize)
                }) else {
                    continue;
                };
                if path.ends_with(".log") {
                    for batch in tidelog_core::record::Batches(bytes).flatten() {
                        let h = batch.header();
                        lines.push(format!(
                            "    {}..{} max {} size {}",
                            h.base_offset,
                            h.next_offset(),
                            h.max_timestamp,
                            batch.size()
                        ));
                    }
                } else if path.ends_with(".timeindex") {
                    for entry in bytes.chunks(12).filter(|e| e.len() == 12) {
                        let t = i64::from_be_bytes(entry[..8].try_into().expect("eight"));
                        let o = u32::from_be_bytes(entry[8..].try_into().expect("four"));
                        lines.push(format!("    time {t} relative {o}"));
                    }
                } else {
                    for entry in bytes.chunks(8).filter(|e| e.len() == 8) {
                        let t = u32::from_be_bytes(entry[..4].try_into().expect("four"));
                        let o = u32::from_be_bytes(entry[4..].try_into().expect("four"));
                        lines.push(format!("    relative {t} position {o}"));
                    }
                }
            }
        }
        lines
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
                if !self.hosts[node].is_up() {
                    self.with_host(node, Host::start)?;
                }
            }
            Event::Resume(node) => {
                let host = &mut self.hosts[node];
                host.paused_until = None;
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
                self.act(client, |actor, scene| actor.on_reply(scene, call, reply))?;
            }
            Event::Dialed(conn) => self.dialed(conn),
            Event::Pump(conn, Way::Up) => self.pump_up(conn)?,
            Event::Pump(conn, Way::Down) => self.pump_down(conn),
            Event::ClientGone(conn) => self.close_client_end(conn, None),
            Event::NodeGone(conn) => {
                if let Some(node) = self.net.get(conn).map(|conn| conn.node) {
                    let incarnation = self.hosts[node].incarnation;
                    self.queue.after(0, Event::Host(node, incarnation, Happening::Gone(conn)));
                    self.net.forget(conn);
                }
            }
            Event::Strike(number) => {
                let strike = self.strikes[number].clone();
                if self.phase == Phase::Chaos {
                    self.strike(&strike)?;
                }
            }
            Event::Clear(node, blow) => self.clear(node, &blow),
            Event::Look => return self.look(),
        }
        Ok(false)
    }

    /// Lets a host act and carries on what comes of it.
    fn with_host(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut Host, &mut Env<'_>) -> Result<(), Violation>,
    ) -> Result<(), Failure> {
        let mut replies = Vec::new();
        let mut env = Env {
            queue: &mut self.queue,
            trace: &mut self.trace,
            oracle: &mut self.oracle,
            tally: &self.tally,
            config: &self.config,
            replies: &mut replies,
        };
        let acted = act(&mut self.hosts[node], &mut env);
        for (conn, call, response) in replies {
            self.send_down(conn, call, response)?;
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

    fn stop_delay(&self, node: usize) -> u64 {
        let last = |strike: &&Strike| strike.node == node && strike.at <= self.queue.now();
        match self.strikes.iter().rev().filter(last).find_map(|strike| match strike.blow {
            Blow::Stop(down) => Some(down),
            _ => None,
        }) {
            Some(down) if self.phase == Phase::Chaos => down,
            _ => 0,
        }
    }

    /// A process ends, for whatever reason; its connections with it.
    fn crash(&mut self, node: usize, ending: Ending, down: u64) {
        let (now, index) = (self.queue.now(), node);
        self.trace.line(now, || format!("n{index} {ending:?}"));
        let mut replies = Vec::new();
        let mut env = Env {
            queue: &mut self.queue,
            trace: &mut self.trace,
            oracle: &mut self.oracle,
            tally: &self.tally,
            config: &self.config,
            replies: &mut replies,
        };
        self.hosts[node].die(&mut env, ending);
        for conn in self.net.to(node) {
            let silent = ending == Ending::PowerLost && self.random.chance(500_000);
            if silent {
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
        self.queue.after(down, Event::Start(node));
    }

    /// Nothing that is under way arrives later than this.
    fn cut(&mut self, conn: ConnId, up: u64, down: u64) {
        if let Some(conn) = self.net.get(conn) {
            conn.up_cut = conn.up_cut.min(up);
            conn.down_cut = conn.down_cut.min(down);
        }
    }

    /// Lets a client act and carries its orders.
    fn act(&mut self, client: usize, act: impl FnOnce(&mut dyn Actor, &mut Scene<'_>)) -> Result<(), Failure> {
        let mut orders = Vec::new();
        let now = self.queue.now();
        let mut scene = Scene {
            now,
            wall: Clock::new(0).now(now).wall,
            phase: self.phase,
            config: &self.config,
            history: &mut self.oracle.history,
            tally: &self.tally,
            orders: &mut orders,
            plan: &self.plan,
        };
        act(self.clients[client].actor.as_mut(), &mut scene);
        for order in orders {
            match order {
                Order::Call { id, to, request } => {
                    self.call(client, id, to.map_or(0, |node| node.0 as usize), request)?;
                }
                Order::Abandon(call) => {
                    if let Some(conn) = self.net.carrying(client, call) {
                        self.close_client_end(conn, Some(call));
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

    fn call(&mut self, client: usize, call: CallId, node: usize, request: Request) -> Result<(), Failure> {
        let now = self.queue.now();
        let conn = match self.net.find(client, node) {
            Some(conn) => conn,
            None => {
                let conn = self.net.dial(client, node);
                let delay = self.net.delay(client, node, &self.config, &self.tally);
                self.queue.after(delay * 2, Event::Dialed(conn));
                conn
            }
        };
        let silent = matches!(&request, Request::Produce(r) if r.acks == Acks::None);
        let request = if self.config.wire == 1 {
            self.tally.fault(Fault::WireCodec);
            wire::request(&request).map_err(Failure::Broken)?
        } else {
            request
        };
        let delay = self.net.delay(client, node, &self.config, &self.tally);
        let at = self.net.send_up(conn, now + delay, call, request);
        let carried = self.net.get(conn).expect("just found");
        carried.calls.push(call);
        if carried.stage == Stage::Open {
            self.queue.at(at, Event::Pump(conn, Way::Up));
            if silent {
                self.queue.after(0, Event::Answer(client, call, Reply::Sent));
            }
        }
        Ok(())
    }

    fn dialed(&mut self, id: ConnId) {
        let Some(conn) = self.net.get(id) else { return };
        if conn.stage != Stage::Dialing {
            return;
        }
        let (client, node) = (conn.client, conn.node);
        let refused = !self.net.calm && self.net.link(client, node).chance(self.config.refused_ppm);
        if refused {
            self.tally.fault(Fault::Refused);
        }
        let now = self.queue.now();
        let conn = self.net.get(id).expect("just found");
        if refused || !self.hosts[node].is_ready() || self.hosts[node].paused_until.is_some() {
            for call in std::mem::take(&mut conn.calls) {
                self.queue.after(0, Event::Answer(client, call, Reply::NotSent));
            }
            self.net.forget(id);
            return;
        }
        conn.stage = Stage::Open;
        if conn.waiting() > 0 {
            self.queue.at(now, Event::Pump(id, Way::Up));
        }
    }

    fn pump_up(&mut self, id: ConnId) -> Result<(), Failure> {
        let now = self.queue.now();
        loop {
            let Some(conn) = self.net.get(id) else { return Ok(()) };
            if now < conn.stalled_until && conn.stage != Stage::Silent {
                let until = conn.stalled_until;
                self.queue.at(until, Event::Pump(id, Way::Up));
                return Ok(());
            }
            let (client, node) = (conn.client, conn.node);
            let Some((call, request)) = conn.arrived_up(now) else { return Ok(()) };
            let incarnation = self.hosts[node].incarnation;
            if matches!(&request, Request::Produce(r) if r.acks == Acks::None) {
                self.queue.after(0, Event::Answer(client, call, Reply::Sent));
            }
            let happening = Happening::Request(id, call, request);
            self.queue.after(0, Event::Host(node, incarnation, happening));
        }
    }

    fn send_down(&mut self, id: ConnId, call: CallId, response: Response) -> Result<(), Failure> {
        let now = self.queue.now();
        let Some((client, node)) = self.net.get(id).map(|conn| (conn.client, conn.node)) else { return Ok(()) };
        let response =
            if self.config.wire == 1 { wire::response(&response).map_err(Failure::Broken)? } else { response };
        let delay = self.net.delay(client, node, &self.config, &self.tally);
        let at = self.net.send_down(id, now + delay, call, response);
        self.queue.at(at, Event::Pump(id, Way::Down));
        Ok(())
    }

    fn pump_down(&mut self, id: ConnId) {
        let now = self.queue.now();
        loop {
            let Some(conn) = self.net.get(id) else { return };
            if now < conn.stalled_until && conn.stage == Stage::Open {
                let until = conn.stalled_until;
                self.queue.at(until, Event::Pump(id, Way::Down));
                return;
            }
            let client = conn.client;
            let Some((call, response)) = conn.arrived_down(now) else { return };
            conn.calls.retain(|open| *open != call);
            self.queue.after(0, Event::Answer(client, call, Reply::Answered(response)));
        }
    }

    /// The client lets go of a connection, or learns that it is gone.
    fn close_client_end(&mut self, id: ConnId, but: Option<CallId>) {
        let now = self.queue.now();
        let Some(conn) = self.net.get(id) else { return };
        if conn.stage == Stage::Closed {
            return;
        }
        let was_dialing = conn.stage == Stage::Dialing;
        let silent = conn.stage == Stage::Silent;
        let client = conn.client;
        conn.stage = Stage::Closed;
        conn.stalled_until = 0;
        for call in std::mem::take(&mut conn.calls) {
            if Some(call) != but {
                let reply = if was_dialing { Reply::NotSent } else { Reply::Lost };
                self.queue.after(0, Event::Answer(client, call, reply));
            }
        }
        if was_dialing || silent {
            self.net.forget(id);
            return;
        }
        // What is under way to the node may still arrive, and then it learns.
        let delay = self.random.log_between(1, 200) * MS;
        self.cut(id, now + delay, now);
        self.queue.after(delay, Event::NodeGone(id));
    }

    fn strike(&mut self, strike: &Strike) -> Result<(), Failure> {
        let node = strike.node;
        let now = self.queue.now();
        self.trace.event(now, &[2 << 32 | node as u64]);
        self.trace.line(now, || format!("n{node} strike {:?}", strike.blow));
        let up = self.hosts[node].is_up();
        let config = self.config.clone();
        let disk = self.hosts[node].disk.clone();
        let mut spell = None;
        match &strike.blow {
            Blow::Kill(down) if up => {
                self.tally.fault(Fault::Kill);
                self.reconfigure(node);
                self.crash(node, Ending::Killed, *down);
            }
            Blow::PowerLoss(down) => {
                self.tally.fault(Fault::PowerLoss);
                self.reconfigure(node);
                self.crash(node, Ending::PowerLost, *down);
            }
            Blow::Cut { calls, power, .. } if up => {
                self.hosts[node].cut_is_power_loss = *power;
                disk.die_after(*calls);
            }
            Blow::Stop(_) if up => {
                self.tally.fault(Fault::Stop);
                self.reconfigure(node);
                let incarnation = self.hosts[node].incarnation;
                self.queue.after(0, Event::Host(node, incarnation, Happening::Stop));
                // An operator does not wait for ever.
                self.queue.after(20_000 * MS, Event::Clear(node, strike.blow.clone()));
            }
            Blow::Pause(span) if up && self.hosts[node].paused_until.is_none() => {
                self.tally.fault(Fault::Pause);
                self.hosts[node].paused_until = Some(now + span);
                self.queue.after(*span, Event::Resume(node));
            }
            Blow::ReadErrors(span) => {
                disk.set_weather(|weather| weather.read_errors_ppm = config.read_errors_ppm);
                spell = Some(*span);
            }
            Blow::WriteErrors(span) => {
                disk.set_weather(|weather| weather.write_errors_ppm = config.write_errors_ppm);
                spell = Some(*span);
            }
            Blow::SyncErrors(span) => {
                disk.set_weather(|weather| {
                    weather.sync_errors_ppm = config.sync_errors_ppm;
                    weather.evict_on_sync_error = config.evict_on_sync_error == 1;
                });
                spell = Some(*span);
            }
            Blow::NoHandles(span) => {
                disk.set_weather(|weather| weather.no_handles_ppm = config.no_handles_ppm);
                spell = Some(*span);
            }
            Blow::Full(room, span) => {
                let capacity = disk.used() + room;
                disk.set_weather(|weather| weather.capacity = Some(capacity));
                spell = Some(*span);
            }
            Blow::ReadOnly(span) => {
                disk.set_weather(|weather| weather.read_only = true);
                spell = Some(*span);
            }
            Blow::Slow(span) => {
                self.tally.fault(Fault::SlowDisk);
                disk.set_weather(|weather| weather.slow = config.slow_disk);
                spell = Some(*span);
            }
            Blow::Rot(rot) => self.rot(node, *rot),
            Blow::Stall(span) => {
                for id in self.net.to(node) {
                    self.tally.fault(Fault::Stall);
                    let half = self.random.chance(500_000);
                    if let Some(conn) = self.net.get(id).filter(|_| half) {
                        conn.stalled_until = now + span;
                    }
                }
            }
            Blow::Reset { all } => {
                let conns = self.net.to(node);
                for id in conns {
                    if *all || self.random.chance(300_000) {
                        self.tally.fault(Fault::Reset);
                        let (up, down) = (self.random.below(20 * MS), self.random.below(20 * MS));
                        self.cut(id, now + up, now + down);
                        self.queue.after(down, Event::ClientGone(id));
                    }
                }
            }
            Blow::HalfOpen => {
                for id in self.net.to(node) {
                    let hit = self.random.chance(400_000);
                    if let Some(conn) = self.net.get(id).filter(|conn| conn.stage == Stage::Open && hit) {
                        conn.stage = Stage::Silent;
                        self.tally.fault(Fault::HalfOpen);
                    }
                }
            }
            Blow::ClockStep(ms) => {
                self.tally.fault(Fault::ClockStep);
                self.hosts[node].clock.step(*ms);
            }
            _ => {}
        }
        if let Some(span) = spell {
            self.queue.after(span, Event::Clear(node, strike.blow.clone()));
        }
        Ok(())
    }

    fn reconfigure(&mut self, node: usize) {
        if self.config.reconfigure == 1 && self.random.chance(400_000) {
            self.tally.fault(Fault::Reconfigured);
            self.hosts[node].reconfigure();
        }
    }

    /// Something that was durable and acknowledged is damaged where damage can be told from a torn end: whole
    /// batches follow.
    fn rot(&mut self, node: usize, rot: Rot) {
        let disk = self.hosts[node].disk.clone();
        let logs: Vec<(String, u64)> = disk.files().into_iter().filter(|(path, _)| is_segment(path)).collect();
        if logs.is_empty() {
            return;
        }
        let (path, _) = self.random.pick(&logs).clone();
        let folder = path.split('/').next().unwrap_or_default().to_owned();
        let Some(&id) = self.oracle.folders.get(&(node, folder.clone())) else { return };
        let later = |other: &(String, u64)| other.0.starts_with(&format!("{folder}/")) && other.0 > path && other.1 > 0;
        let is_last = !logs.iter().any(later);
        let durable = disk.durable_len(&path).unwrap_or(0);
        if durable < 2_048 || is_last && rot == Rot::Truncated {
            return;
        }
        let at = self.random.below(durable / 2);
        if disk.rot(&path, rot, at) {
            let now = self.queue.now();
            self.trace.line(now, || format!("n{node} {path} rots at {at}: {rot:?}"));
            if let Some(ledger) = self.oracle.ledgers.get_mut(&(node, id)) {
                ledger.rotten = true;
            }
            self.oracle.history.reported_corrupt.insert(id);
        }
    }

    fn clear(&mut self, node: usize, blow: &Blow) {
        if let Blow::Stop(down) = blow {
            if self.hosts[node].is_up() && self.hosts[node].end == End::None && !self.hosts[node].is_ready() {
                self.crash(node, Ending::Killed, *down);
            }
            return;
        }
        self.hosts[node].disk.set_weather(|weather| match blow {
            Blow::ReadErrors(_) => weather.read_errors_ppm = 0,
            Blow::WriteErrors(_) => weather.write_errors_ppm = 0,
            Blow::SyncErrors(_) => weather.sync_errors_ppm = 0,
            Blow::NoHandles(_) => weather.no_handles_ppm = 0,
            Blow::Full(..) => weather.capacity = None,
            Blow::ReadOnly(_) => weather.read_only = false,
            Blow::Slow(_) => weather.slow = 0,
            _ => {}
        });
        if self.hosts[node].is_offline {
            // The operator has been called.
            let down = self.random.log_between(10, 2_000) * MS;
            self.tally.fault(Fault::Kill);
            self.crash(node, Ending::Killed, down);
        }
    }

    /// Is the phase over? The world heals at the end of chaos, and the last reader begins when all is quiet.
    fn look(&mut self) -> Result<bool, Failure> {
        let now = self.queue.now();
        match self.phase {
            Phase::Chaos => {
                self.heal();
                self.enter(Phase::Settle)?;
            }
            Phase::Settle | Phase::FinalRead => {
                let rotten = self.oracle.rotten();
                self.oracle.history.reported_corrupt.extend(rotten);
                // Where data has rotted writers may wait for ever; the last reader knows which partitions to spare.
                let judged = if self.oracle.rotten().is_empty() { 0 } else { self.clients.len() - 1 };
                let waits = self.clients[judged..].iter().find_map(|client| client.actor.unfinished(self.phase));
                let waits = waits.or_else(|| self.down());
                match waits {
                    Some(why) if now - self.phase_began > SETTLE_MAX => {
                        let failure = self.hosts.iter().find_map(|host| host.start_failure.clone());
                        let failure = failure.map(|failure| format!("; last start: {failure}")).unwrap_or_default();
                        return Err(Failure::Stuck(format!(
                            "{why} {} s after all was healed{failure}",
                            SETTLE_MAX / 1_000 / MS
                        )));
                    }
                    Some(_) => {}
                    None if self.phase == Phase::FinalRead => return Ok(true),
                    None if self.config.final_crash == 1 && !self.crashed_at_end => {
                        self.crashed_at_end = true;
                        for node in 0..self.hosts.len() {
                            let power = self.config.power_loss == 1;
                            self.crash(node, if power { Ending::PowerLost } else { Ending::Killed }, 0);
                        }
                    }
                    None => self.enter(Phase::FinalRead)?,
                }
                for node in 0..self.hosts.len() {
                    if self.hosts[node].is_offline {
                        self.crash(node, Ending::Killed, 100 * MS);
                    }
                }
            }
        }
        self.queue.after(LOOK_EVERY, Event::Look);
        Ok(false)
    }

    fn down(&self) -> Option<String> {
        let down = self.hosts.iter().find(|host| !host.is_ready())?;
        Some(format!("node {} is not up", down.index))
    }

    fn enter(&mut self, phase: Phase) -> Result<(), Failure> {
        let now = self.queue.now();
        self.trace.line(now, || format!("-- {phase:?} --"));
        (self.phase, self.phase_began) = (phase, now);
        for client in 0..self.clients.len() {
            self.act(client, |actor, scene| actor.on_time(scene))?;
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.net.calm = true;
        for id in self.net.all() {
            if let Some(conn) = self.net.get(id) {
                conn.stalled_until = 0;
                if conn.stage == Stage::Silent {
                    self.queue.after(MS, Event::ClientGone(id));
                } else {
                    self.queue.after(0, Event::Pump(id, Way::Up));
                    self.queue.after(0, Event::Pump(id, Way::Down));
                }
            }
        }
        for node in 0..self.hosts.len() {
            let host = &mut self.hosts[node];
            host.disk.set_weather(|weather| *weather = Default::default());
            host.disk.die_after(u64::MAX / 2);
            host.clock.correct();
            if host.paused_until.is_some() {
                self.queue.after(0, Event::Resume(node));
            }
            if self.hosts[node].is_offline {
                self.crash(node, Ending::Killed, 0);
            } else if !self.hosts[node].is_up() {
                self.queue.after(0, Event::Start(node));
            }
        }
    }

    /// What is looked at after every event.
    fn after(&mut self) -> Result<(), Failure> {
        let now = self.queue.now();
        let (second, events) = &mut self.second;
        if now / 1_000_000_000 == *second {
            *events += 1;
        } else {
            (*second, *events) = (now / 1_000_000_000, 1);
            let used = self.hosts.iter().map(|host| host.disk.used()).max().unwrap_or(0);
            let load = Load { disk_bytes: used, ..Load::default() };
            Bounds::default().check("disk", &load).map_err(Failure::Broken)?;
        }
        let load = Load { events_per_second: self.second.1, ..Load::default() };
        Bounds::default().check("world", &load).map_err(Failure::Broken)
    }

    /// The end: every log against its book, and the clients' history.
    fn judge(&mut self) -> Result<(), Failure> {
        for host in &mut self.hosts {
            for (log, id, start, committed) in host.logs() {
                let (held, unreadable) = host.read_through(log, start, committed);
                let Some(ledger) = self.oracle.ledgers.get(&(host.index, id)) else { continue };
                if let Some(error) = unreadable {
                    if !ledger.rotten {
                        let why = format!("{id} cannot be read at the end: {error}");
                        return Err(Failure::Stuck(why));
                    }
                    continue;
                }
                let held: Vec<Held> = held.iter().map(Held::of).collect();
                let left: usize = held.iter().map(|held| held.notes.len()).sum();
                let written: usize = ledger.held.range(start..committed).map(|(_, held)| held.notes.len()).sum();
                self.tally.sometimes(Mark::RecordCompacted, ledger.compacted && left < written);
                check::read_through(ledger, start, &held).map_err(Failure::Broken)?;
            }
        }
        check::h1::check(&self.oracle.history).map_err(Failure::Broken)
    }
}

fn is_segment(path: &str) -> bool {
    path.ends_with(".log") && path.contains('/') && !path.starts_with("__cluster_metadata")
}
