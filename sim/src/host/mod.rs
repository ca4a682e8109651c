//! One simulated machine: disk, clocks, and while it is up a process with the real core and the real storage engine.
//!
//! This is the second driver of the core beside the server's, on the same three calls. It executes and reports, and
//! shows everything that crosses the border to the checkers.

mod border;
pub(crate) mod marks;
mod shared;
mod snapshots;
mod text;
mod witness;

use std::collections::{BTreeMap, VecDeque};

use text::{label, outcome_text};
use tidelog_core::{
    buggify::{Buggify, Site},
    epoch::LeaderEpoch,
    ids::{CallId as PeerCall, DirectoryId, JobId, LogId, NodeId, PartitionId, RequestId, TopicPartition},
    input::Input,
    log::{DirError, Identity, JobOutcome, LogDir, LogError, Vote},
    message::{CallError, Endpoints, PeerRequest, PeerResponse, ProduceRequest, ProduceResponse, Request, Response},
    node::{Node, NodeConfig, ReplicaSelector},
    offset::Offset,
    prng,
    quorum::Quorum,
};

use crate::{
    actor::CallId,
    check::{self, Seen, Violation, l1, m10},
    clock::Clock,
    config::Config,
    disk::{Flight, SimDisk},
    ledger::{Ending, Open},
    net::{ConnId, Party},
    oracle::Oracle,
    queue::Queue,
    rng::{Purpose, Stream},
    tally::{Fault, Mark, Tally},
    trace::Trace,
    worker::{Ended, Order, Worker},
    world::{Event, Outgoing},
};

/// Something that happens to a process.
pub enum Happening {
    /// A deadline of the core has come.
    Timer,
    /// A piece of work is done.
    Worked(Vec<Ended>),
    /// A sync has ended.
    Landed(Flight, Vec<(LogId, tidelog_core::log::SyncTicket<SimDisk>, Result<(), tidelog_core::log::DiskError>)>),
    /// The checkpoints are due.
    Checkpoint,
    /// A request has arrived.
    Request(ConnId, CallId, Request),
    /// A connection is gone that this party had dialed.
    Gone(ConnId, Party),
    /// A call to another node is over.
    CallEnded(PeerCall, Result<PeerResponse, CallError>),
    /// The operator asks it to stop.
    Stop,
}

/// What a host needs of the world around it.
pub struct Env<'a> {
    /// Events to come.
    pub queue: &'a mut Queue<Event>,
    /// What happened.
    pub trace: &'a mut Trace,
    /// What nobody else knows.
    pub oracle: &'a mut Oracle,
    /// Counters.
    pub tally: &'a Tally,
    /// The swarm configuration.
    pub config: &'a Config,
    /// Responses to send.
    pub replies: &'a mut Vec<(ConnId, CallId, Response)>,
    /// The data directories of all nodes.
    pub directories: &'a [DirectoryId],
    /// Calls to other nodes to make.
    pub calls: &'a mut Vec<Outgoing>,
}

/// How a process came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    None,
    /// The disk died under it in the middle of a job.
    Cut,
    /// It stopped in order.
    Stopped,
    /// It gave up; the operator has to start it again.
    Halted(String),
}

struct Process {
    node: Node,
    worker: Worker,
    working: bool,
    logs: BTreeMap<LogId, TopicPartition>,
    requests: BTreeMap<RequestId, (ConnId, CallId, Request)>,
    /// What was committed when a lookup arrived.
    lookups: BTreeMap<RequestId, Offset>,
    /// The batches of a request that this node had already when it arrived: their places in it, and whose they are.
    repeated: BTreeMap<RequestId, Vec<(usize, TopicPartition)>>,
    /// Acknowledgements of the input under way.
    acks: Vec<(ProduceRequest, ProduceResponse)>,
    /// What the input under way has told administrators.
    confirmed: Vec<(Request, Response)>,
    /// Whom this node as a leader wants in sync, and are not.
    wished: BTreeMap<TopicPartition, Vec<NodeId>>,
    /// High watermarks that stand still.
    stuck: l1::Stuck,
    /// Whom a leader of the metadata quorum has heard of.
    contact: m10::Contact,
    /// Votes on their way to the disk.
    votes: BTreeMap<JobId, Vote>,
    /// What the checkers have seen of each partition, so that they look again only when something has changed.
    looks: BTreeMap<LogId, Look>,
    /// The metadata's high watermark and what was applied, for the same reason.
    metadata_look: (Offset, Offset),
    /// Where other nodes are reached.
    addresses: BTreeMap<NodeId, String>,
    next_request: u64,
    jobs: u64,
    timer: Option<u64>,
    is_ready: bool,
    began: u64,
    /// It began where another had ended in order.
    is_clean: bool,
}

/// The marks of a partition that checkers judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    id: TopicPartition,
    high_watermark: Offset,
    log_start: Offset,
    leader_epoch: LeaderEpoch,
    is_leader: bool,
}

/// One machine.
pub struct Host {
    /// Its place in the world.
    pub index: usize,
    /// Where other nodes reach it.
    pub native: String,
    /// Its disk.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: Clock,
    /// Counts its processes; what concerns an earlier one comes to nothing.
    pub incarnation: u32,
    /// It does not run until then.
    pub paused_until: Option<u64>,
    /// When it last went on after a pause.
    pub resumed_at: u64,
    /// What happened meanwhile.
    pub deferred: VecDeque<Happening>,
    /// Its directory is offline; the operator has to do something.
    pub is_offline: bool,
    /// Why it ended, where that is not the world's doing.
    pub end: End,
    /// What the last start failed of.
    pub start_failure: Option<String>,
    /// How the power switch is to be worked when the disk has died under a job.
    pub cut_is_power_loss: bool,
    /// Nothing rare is done on purpose any more.
    is_calm: bool,
    random: Stream,
    seed: u64,
    settings: u64,
    wipes: u64,
    process: Option<Process>,
}

impl Host {
    /// A machine with an empty disk.
    pub fn new(seed: u64, index: usize, disk: SimDisk, clock: Clock) -> Self {
        Self {
            index,
            native: endpoints(index).native,
            disk,
            clock,
            incarnation: 0,
            paused_until: None,
            resumed_at: 0,
            deferred: VecDeque::new(),
            is_offline: false,
            end: End::None,
            start_failure: None,
            cut_is_power_loss: false,
            is_calm: false,
            random: Stream::new(seed, Purpose::Core, index as u64),
            seed,
            settings: 0,
            wipes: 0,
            process: None,
        }
    }

    /// Is a process running?
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Does it take connections?
    pub fn is_ready(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_ready)
    }

    /// The running core.
    pub fn node(&self) -> Option<&Node> {
        self.process.as_ref().map(|process| &process.node)
    }

    /// The metadata quorum as the running core sees it.
    pub fn quorum(&self) -> Option<&Quorum> {
        self.node()?.quorum()
    }

    /// Its name in the cluster.
    pub fn id(&self) -> NodeId {
        NodeId(self.index as i32)
    }

    /// The machine is another one, of the same name, with an empty disk.
    pub fn wipe(&mut self) {
        assert!(!self.is_up(), "nobody uses the disk");
        self.disk.wipe();
        self.wipes += 1;
    }

    /// From now on it behaves as in production.
    pub fn calm(&mut self) {
        self.is_calm = true;
        if let Some(process) = &mut self.process {
            process.node.calm();
            process.worker.buggify.calm();
        }
    }

    /// The next start has other settings.
    pub fn reconfigure(&mut self) {
        self.settings += 1;
    }

    /// Its data directory's identity.
    pub fn directory(&self) -> DirectoryId {
        let mut directory = [0x40; 16];
        directory[..8].copy_from_slice(&prng::mix(self.seed ^ self.index as u64 ^ self.wipes << 32).to_be_bytes());
        DirectoryId(directory)
    }

    fn identity(&self) -> Identity {
        Identity {
            node: NodeId(self.index as i32),
            cluster_id: "simulatedClusterAAAAAA".to_owned(),
            directory: self.directory(),
        }
    }

    /// Where it is reached.
    pub fn endpoints(&self) -> Endpoints {
        endpoints(self.index)
    }

    fn node_config(&self, config: &Config, identity: &Identity) -> NodeConfig {
        let mut random = Stream::new(self.seed, Purpose::Core, 1_000 + self.settings);
        let mut log = config.log_defaults();
        if self.settings > 0 {
            log.segment_bytes = random.log_between(log.segment_bytes.max(2) / 2, log.segment_bytes * 2);
            log.index_interval_bytes = random.log_between(16, 8_192);
        }
        NodeConfig {
            incarnation: u128::from(prng::draw(
                self.seed,
                Purpose::Core as u64,
                2_000 + self.index as u64,
                self.incarnation.into(),
            )),
            endpoints: self.endpoints(),
            is_broker: self.index as u64 >= config.controllers(),
            voters: voters(config),
            waits: config.waits(),
            node: identity.node,
            rack: config.rack(self.index as u64),
            replica_selector: if config.racks > 0 { ReplicaSelector::Rack } else { ReplicaSelector::Leader },
            cluster_id: identity.cluster_id.clone(),
            directory: identity.directory,
            auto_create_topics: false,
            metadata_log: config.metadata_log(),
            log_defaults: log,
            retention_check_interval: config.millis(config.retention_check_ms),
            cleaner_backoff: config.millis(config.cleaner_backoff_ms),
            expiry_check_interval: config.millis(config.retention_check_ms / 2 + 1),
            buggify: (config.buggify == 1 && !self.is_calm).then(|| {
                prng::draw(self.seed, Purpose::Buggify as u64, 1 + self.index as u64, self.incarnation.into())
            }),
            // One node alone takes producers that begin anywhere: so sequences come to wrap within a run.
            new_producers_begin_at_zero: config.nodes > 1,
            ..NodeConfig::default()
        }
    }

    /// The process starts.
    pub fn start(&mut self, env: &mut Env<'_>) -> Result<(), Violation> {
        assert!(self.process.is_none(), "it runs already");
        let identity = self.identity();
        let opened = LogDir::open(self.disk.clone()).or_else(|error| match error {
            DirError::NotFormatted => {
                LogDir::format(&self.disk, &identity)?;
                LogDir::open(self.disk.clone())
            }
            error => Err(error),
        });
        self.incarnation += 1;
        self.show_calls(env);
        self.disk.take_bill();
        let (dir, state) = match opened {
            Ok(opened) if !self.disk.is_dead() => opened,
            Ok(_) => {
                self.end = End::Cut;
                return Ok(());
            }
            Err(error) => {
                env.tally.sometimes(Mark::FailedStart, true);
                self.start_failure = Some(error.to_string());
                let (at, name) = (env.queue.now(), self.index);
                env.trace.line(at, || format!("n{name} cannot start: {error}"));
                self.end = if self.disk.is_dead() { End::Cut } else { End::Halted(error.to_string()) };
                return Ok(());
            }
        };
        env.tally.sometimes(Mark::CleanStart, state.clean);
        env.tally.sometimes(Mark::UncleanStart, !state.clean);
        self.start_failure = None;
        self.is_offline = false;
        self.end = End::None;
        let mut dir = dir;
        self.watch_found_snapshots(env, &mut dir, &state.snapshots)?;
        let config = self.node_config(env.config, &state.identity);
        let (at, name, clean) = (env.queue.now(), self.index, state.clean);
        env.trace.line(at, || format!("n{name} starts, clean {clean}"));
        let driver = config.buggify.map(prng::mix);
        let addresses = config.voters.iter().map(|&voter| (voter, endpoints(voter.0 as usize).native)).collect();
        self.process = Some(Process {
            node: Node::new(config, state, self.random.draw()),
            worker: Worker::new(dir, Buggify::new(driver)),
            working: false,
            logs: BTreeMap::from([(LogId::METADATA, metadata_partition())]),
            requests: BTreeMap::new(),
            lookups: BTreeMap::new(),
            repeated: BTreeMap::new(),
            acks: Vec::new(),
            confirmed: Vec::new(),
            wished: BTreeMap::new(),
            stuck: l1::Stuck::default(),
            contact: m10::Contact::default(),
            votes: BTreeMap::new(),
            looks: BTreeMap::new(),
            metadata_look: (Offset::NONE, Offset::NONE),
            addresses,
            next_request: 0,
            jobs: 0,
            timer: None,
            is_ready: false,
            began: at,
            is_clean: clean,
        });
        let happening = Event::Host(self.index, self.incarnation, Happening::Checkpoint);
        env.queue.after(env.config.checkpoint_ms * 1_000_000, happening);
        self.input(env, Input::Started)
    }

    /// The process is gone, from one moment to the next.
    pub fn die(&mut self, env: &mut Env<'_>, ending: Ending) {
        if let Some(process) = self.process.take() {
            for is_open in process.worker.long_work() {
                let mark = if is_open { Mark::CrashWhileRecovering } else { Mark::CrashWhileCleaning };
                env.tally.sometimes(mark, true);
            }
        }
        env.oracle.canon.process_gone(self.index);
        self.paused_until = None;
        self.deferred.clear();
        self.is_offline = false;
        self.end = End::None;
        let dropped = self.disk.take_dropped();
        match ending {
            Ending::PowerLost => self.disk.power_lost(),
            Ending::Killed | Ending::Stopped => self.disk.process_died(),
        }
        for ledger in env.oracle.ledgers.iter_mut().filter(|((node, _), _)| *node == self.index).map(|(_, l)| l) {
            // A crash leaves what the one before it left: the weaker promise counts until the log was opened again.
            ledger.ending = match (ledger.ending, ending) {
                (Some(Ending::PowerLost), _) => Some(Ending::PowerLost),
                _ => Some(ending),
            };
        }
        for folder in dropped {
            // A failed sync has dropped pages of this log from the cache: under Kafka's page-cache rule what they held may be
            // lost as if the power had gone. What a sync has covered is promised still.
            let id = env.oracle.folders.get(&(self.index, folder));
            if let Some(ledger) = id.and_then(|&id| env.oracle.ledgers.get_mut(&(self.index, id))) {
                ledger.ending = Some(Ending::PowerLost);
            }
        }
    }

    /// Something happens to the process.
    pub fn happen(&mut self, env: &mut Env<'_>, happening: Happening) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match happening {
            // Where an earlier deadline has come between, another event was scheduled for what comes next.
            Happening::Timer if process.timer.is_none_or(|armed| armed > env.queue.now()) => Ok(()),
            Happening::Timer => {
                process.timer = None;
                self.input(env, Input::TimePassed)
            }
            Happening::Worked(ended) => {
                process.working = false;
                for ended in ended {
                    self.worked(env, ended)?;
                }
                self.work(env);
                Ok(())
            }
            Happening::Landed(flight, results) => {
                self.disk.land(flight);
                process.worker.order(Order::Synced(results));
                self.work(env);
                Ok(())
            }
            Happening::Checkpoint => {
                process.worker.order(Order::Checkpoint);
                let again = Event::Host(self.index, self.incarnation, Happening::Checkpoint);
                env.queue.after(env.config.checkpoint_ms * 1_000_000, again);
                self.work(env);
                Ok(())
            }
            Happening::Request(conn, call, request) => {
                let id = RequestId(process.next_request);
                process.next_request += 1;
                process.requests.insert(id, (conn, call, request.clone()));
                env.oracle.admin.asked(&request, process.node.image());
                if let Request::Peer(PeerRequest::Fetch(fetch)) = &request
                    && fetch.is_of_metadata()
                {
                    process.contact.fetched(fetch.replica, env.queue.now());
                }
                // Who fetches a snapshot is heard of as well (KIP-630).
                if let Request::Peer(PeerRequest::FetchSnapshot(fetch)) = &request {
                    process.contact.fetched(fetch.replica, env.queue.now());
                }
                if let Request::ListOffsets(asked) = &request
                    && let [asked] = &asked.partitions[..]
                    && let Some(topic) = process.node.image().resolve(&asked.topic).map(|topic| topic.id)
                {
                    let id_there = TopicPartition { topic, partition: asked.partition };
                    if let Some(partition) = process.node.partitions().find(|partition| partition.id == id_there) {
                        process.lookups.insert(id, partition.high_watermark());
                    }
                }
                let repeated = self.repeated(env, &request);
                if let Some(process) = self.process.as_mut().filter(|_| !repeated.is_empty()) {
                    process.repeated.insert(id, repeated);
                }
                self.input(env, Input::Requested { id, request })
            }
            Happening::CallEnded(call, outcome) => self.input(env, Input::CallEnded { call, outcome }),
            Happening::Gone(conn, from) => {
                let of = |(_, (waits, ..)): &(&RequestId, &(ConnId, CallId, Request))| *waits == conn;
                let gone: Vec<RequestId> = process.requests.iter().filter(of).map(|(&id, _)| id).collect();
                for id in gone {
                    if let Some(process) = &mut self.process {
                        process.requests.remove(&id);
                        process.repeated.remove(&id);
                    }
                    self.input(env, Input::RequestAbandoned { id })?;
                }
                match from {
                    Party::Client(_) => Ok(()),
                    Party::Node(node) => self.input(env, Input::PeerDisconnected { node: NodeId(node as i32) }),
                }
            }
            Happening::Stop => self.input(env, Input::StopRequested),
        }
    }

    fn worked(&mut self, env: &mut Env<'_>, ended: Ended) -> Result<(), Violation> {
        match ended {
            Ended::Job { log, job, outcome } => self.job_ended(env, log, job, outcome),
            Ended::Read { conn, call, response } => self.answer(env, conn, call, None, response),
            Ended::Closed(result) => {
                let (at, name) = (env.queue.now(), self.index);
                env.trace.line(at, || format!("n{name} stopped: {result:?}"));
                self.end = End::Stopped;
                Ok(())
            }
        }
    }

    fn job_ended(
        &mut self,
        env: &mut Env<'_>,
        log: LogId,
        job: JobId,
        outcome: Result<JobOutcome, LogError>,
    ) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        process.jobs -= 1;
        self.watch_end(env, job, &outcome)?;
        self.watch_snapshot_end(env, log, job, &outcome)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let (at, name, id) = (env.queue.now(), self.index, process.logs.get(&log).copied());
        env.trace.line(at, || format!("n{name} {} job {job} {}", label(log, id), outcome_text(&outcome)));
        env.tally.sometimes(Mark::WriteRefusedFull, outcome == Err(LogError::DiskFull));
        env.tally.sometimes(Mark::DirectoryOffline, matches!(outcome, Err(LogError::Offline(_))));
        env.tally.sometimes(Mark::CorruptReported, matches!(outcome, Err(LogError::Corrupt { .. })));
        if let Some(id) = id
            && env.oracle.ledgers.contains_key(&(self.index, id))
        {
            if let Ok(JobOutcome::Opened(state)) = &outcome {
                self.opened(env, log, id, state)?;
            } else {
                let ledger = env.oracle.ledgers.get_mut(&(self.index, id)).expect("just looked");
                check::watch(ledger, &env.oracle.history, &Seen::Ended { job, outcome: &outcome })?;
                let before = ledger.log_start;
                if let (Err(_), Some(Open::Append { bases, .. })) = (&outcome, ledger.open.get(&job)) {
                    for held in bases.iter().filter_map(|base| ledger.held.get(base)) {
                        env.oracle.canon.given_up(self.index, id, &held.header);
                    }
                }
                ledger.ended(job, &outcome);
                env.tally.sometimes(Mark::RetentionTrimmed, ledger.log_start > before.max(ledger.raised_to));
            }
        }
        self.input(env, Input::JobEnded { log, job, outcome })
    }

    /// The open logs, with the marks that the core has for them.
    pub fn logs(&self) -> Vec<(LogId, TopicPartition, Offset, Offset)> {
        let Some(process) = &self.process else { return Vec::new() };
        process.node.partitions().map(|p| (p.log, p.id, p.log_start(), p.high_watermark())).collect()
    }

    /// The worker takes its next piece of work, if it is idle.
    fn work(&mut self, env: &mut Env<'_>) {
        let Some(process) = &mut self.process else { return };
        if self.end != End::None {
            return;
        }
        let (index, incarnation) = (self.index, self.incarnation);
        if !process.working
            && let Some(ended) = process.worker.work(env.tally)
        {
            process.working = true;
            // Its bytes and their index are written in one piece; what is slow between them makes the piece long.
            let slow = if process.worker.buggify.fires(Site::SlowIndexWrite) { LATE } else { 0 };
            let cost = self.disk.take_bill().min(PIECE_MAX) + 2_000 + slow;
            env.tally.faults(Fault::Buggified, process.worker.buggify.take_fired());
            env.queue.after(cost, Event::Host(index, incarnation, Happening::Worked(ended)));
        }
        if let Some(tickets) = process.worker.begin_sync() {
            let flight = self.disk.begin_flight();
            let results = tickets.into_iter().map(|(log, ticket)| {
                let result = ticket.run(&self.disk);
                (log, ticket, result)
            });
            let results = results.collect();
            self.disk.end_boarding();
            let late = if process.worker.buggify.fires(Site::LateSync) { LATE } else { 0 };
            let cost = self.disk.take_bill().min(PIECE_MAX) + 10_000 + late;
            env.queue.after(cost, Event::Host(index, incarnation, Happening::Landed(flight, results)));
        }
        self.show_calls(env);
        if self.disk.is_dead() {
            env.tally.fault(Fault::CutJob);
            let recovered = self.process.as_ref().is_some_and(|process| process.worker.opens && !process.is_clean);
            env.tally.sometimes(Mark::CrashWhileRecovering, recovered);
            self.end = End::Cut;
        }
    }

    /// What the disk was asked, line by line, where lines are kept.
    fn show_calls(&self, env: &mut Env<'_>) {
        let (at, name) = (env.queue.now(), self.index);
        for call in self.disk.take_journal() {
            env.trace.line(at, || format!("n{name}   disk: {call}"));
        }
    }

    fn arm(&mut self, env: &mut Env<'_>) {
        let Some(process) = &mut self.process else { return };
        let Some(deadline) = process.node.next_deadline() else { return };
        let at = self.clock.when(deadline.at).max(env.queue.now());
        if process.timer.is_none_or(|armed| at < armed) {
            process.timer = Some(at);
            env.queue.at(at, Event::Host(self.index, self.incarnation, Happening::Timer));
        }
    }

    /// One line about every log, for reports.
    pub fn state_lines(&self) -> Vec<String> {
        let Some(process) = &self.process else { return vec![format!("n{} down", self.index)] };
        let up = process.began;
        let line = |p: &tidelog_core::replica::Partition| {
            format!(
                "n{} {}-{} leader log_start={} hw={} lso={} bytes={} since={}",
                self.index,
                p.topic,
                p.id.partition,
                p.log_start(),
                p.high_watermark(),
                p.last_stable_offset(),
                p.size(),
                crate::trace::Seconds(up)
            )
        };
        process.node.partitions().map(line).collect()
    }
}

/// The longest that one piece of work takes, in nanoseconds, however slow the disk: it must end after all is healed.
const PIECE_MAX: u64 = 10_000_000_000;

/// How long a disk dawdles on purpose.
const LATE: u64 = 300_000_000;

/// The one partition of the metadata log.
pub fn metadata_partition() -> TopicPartition {
    TopicPartition { topic: tidelog_core::ids::TopicId::METADATA, partition: PartitionId(0) }
}

/// Where a node is reached.
fn endpoints(index: usize) -> Endpoints {
    Endpoints { native: format!("node{index}:9094"), kafka: format!("node{index}:9092") }
}

/// Who votes in the metadata quorum; nobody is named where a node is alone.
pub fn voters(config: &Config) -> Vec<NodeId> {
    if config.nodes == 1 {
        return Vec::new();
    }
    let voters = if config.voters == 0 { config.nodes } else { config.voters.min(config.nodes) };
    (0..voters as i32).map(NodeId).collect()
}
