//! A node and its clients in one thread, without a runtime, a socket or a file: `cargo run --example embed_core`
//!
//! The core decides and never waits. Whoever embeds it carries out its orders and reports: here the disk is a map in
//! memory, the network is a function call, and time is a number that this program counts up. The node, its storage,
//! the producer and the consumer are those of the server and of the client.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tidelog_core::{
    client::{
        AppendError, Call, CallId, Consumer, ConsumerConfig, Machine, NewRecord, Order, Producer, ProducerConfig,
        ProducerEvent, Reply, StartAt,
    },
    effect::Effect,
    ids::{DirectoryId, JobId, LogId, NodeId, PartitionId, RequestId, TopicName},
    input::Input,
    log::{Disk, DiskError, Identity, JobOutcome, LogDir, LogError, OpenMode, Step},
    message::{Records, Request, Response},
    node::{Node, NodeConfig},
    time::{Duration, Instant, Now, Timestamp},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut world = World::new()?;
    let topic = TopicName::new("greetings");

    let mut producer = Attached { machine: Producer::new(ProducerConfig::default(), 1), waiting: Vec::new() };
    let handle = producer.machine.topic(world.now.mono, &topic);
    let mut delivered = 0;
    let mut appended = 0;
    while delivered < 1000 {
        while appended < 1000 {
            let value = format!("hello number {appended}");
            let record = NewRecord::new(value.as_bytes()).at(world.now.wall);
            match producer.machine.append(world.now.mono, handle, &record) {
                Ok(_) => appended += 1,
                // Both pass: the topic becomes known, the buffer gets room.
                Err(AppendError::TopicPending | AppendError::Full) => break,
                Err(error) => return Err(error.into()),
            }
        }
        for event in world.drive(&mut producer) {
            if let ProducerEvent::Delivered(delivery) = event {
                println!("{} records are stored from offset {}", delivery.records, delivery.outcome?);
                delivered += delivery.records;
            }
        }
    }

    let mut consumer = Attached { machine: Consumer::new(ConsumerConfig::default(), 2), waiting: Vec::new() };
    consumer.machine.assign(world.now.mono, &topic, PartitionId(0), StartAt::Earliest);
    let mut read = 0;
    while read < 1000 {
        world.drive(&mut consumer);
        while let Some(batch) = consumer.machine.next_batch(world.now.mono) {
            for record in batch.records()? {
                let record = record?;
                assert_eq!(record.value.as_deref(), Some(format!("hello number {read}").as_bytes()));
                read += 1;
            }
        }
    }
    println!("{read} records came back, after {} of simulated time", world.now.mono.since(Instant::ZERO));
    Ok(())
}

/// A client machine, and its calls that wait for an answer.
struct Attached<M> {
    machine: M,
    waiting: Vec<(CallId, RequestId)>,
}

/// The node and what surrounds it.
struct World {
    now: Now,
    node: Node,
    logs: LogDir<MemoryDisk>,
    requests: u64,
    answers: BTreeMap<RequestId, Response>,
}

impl World {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let disk = MemoryDisk::default();
        let directory = DirectoryId([7; 16]);
        let cluster_id = "a-cluster-of-one-node-".to_string();
        LogDir::format(&disk, &Identity { node: NodeId(1), cluster_id: cluster_id.clone(), directory })?;
        let (logs, state) = LogDir::open(disk)?;
        let config = NodeConfig { node: NodeId(1), cluster_id, directory, ..NodeConfig::default() };
        let mut world = Self {
            now: Now { mono: Instant::ZERO, wall: Timestamp(1_700_000_000_000) },
            node: Node::new(config, state, 3),
            logs,
            requests: 0,
            answers: BTreeMap::new(),
        };
        world.tell(Input::Started);
        while !world.node.is_serving() {
            world.pass(Duration::from_millis(1));
        }
        Ok(world)
    }

    /// Tells the node a fact and carries out what it orders.
    fn tell(&mut self, input: Input) {
        self.node.handle(self.now, input);
        let mut jobs = Vec::new();
        loop {
            while let Some(effect) = self.node.poll_effect() {
                match effect {
                    Effect::Respond { id, response } => drop(self.answers.insert(id, response)),
                    Effect::Run { log, job, order } => jobs.push((log, job, order)),
                    Effect::Halt { reason } => panic!("the node cannot go on: {reason}"),
                    _ => {}
                }
            }
            if jobs.is_empty() {
                return;
            }
            for (log, job, order) in std::mem::take(&mut jobs) {
                let step = self.logs.execute(log, order);
                let outcome = self.finish(log, step);
                self.report(log, job, outcome, &mut jobs);
            }
        }
    }

    fn report(
        &mut self,
        log: LogId,
        job: JobId,
        outcome: Result<JobOutcome, LogError>,
        jobs: &mut Vec<(LogId, JobId, tidelog_core::log::Job)>,
    ) {
        self.node.handle(self.now, Input::JobEnded { log, job, outcome });
        // Orders that follow from it are carried out after those that were given before.
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Respond { id, response } => drop(self.answers.insert(id, response)),
                Effect::Run { log, job, order } => jobs.push((log, job, order)),
                _ => {}
            }
        }
    }

    /// Sees a job through: long work step by step, and a sync where one is due.
    fn finish(&mut self, log: LogId, mut step: Step) -> Result<JobOutcome, LogError> {
        loop {
            match step {
                Step::Done(outcome) => return outcome,
                Step::Again => step = self.logs.resume(log),
                Step::Sync(outcome) => {
                    let ticket = self.logs.begin_sync(log);
                    // A server does this in another thread, and lets one sync serve many appends.
                    self.logs.synced(log, ticket, Ok(()))?;
                    return Ok(outcome);
                }
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now.mono = self.now.mono.after(span);
        self.now.wall = self.now.wall.plus_millis(i64::try_from(span.as_millis()).expect("a short span"));
        if self.node.next_deadline().is_some_and(|deadline| deadline.at <= self.now.mono) {
            self.tell(Input::TimePassed);
        }
    }

    /// Carries a client's calls to the node, brings the answers that there are, and lets a millisecond pass.
    fn drive<M: Machine>(&mut self, client: &mut Attached<M>) -> Vec<M::Event> {
        let mut events = Vec::new();
        self.pass(Duration::from_millis(1));
        client.machine.on_time(self.now.mono);
        loop {
            while let Some(order) = client.machine.poll_order() {
                match order {
                    Order::Call(call) => client.waiting.push(self.ask(call)),
                    Order::Event(event) => events.push(event),
                    Order::Abandon(given_up) => client.waiting.retain(|(call, _)| *call != given_up),
                }
            }
            let answered = client.waiting.iter().position(|(_, request)| self.answers.contains_key(request));
            let Some(at) = answered else { return events };
            let (call, request) = client.waiting.remove(at);
            let response = self.answers.remove(&request).expect("found above");
            let response = self.resolved(response);
            client.machine.on_reply(self.now.mono, call, Reply::Answered(response));
        }
    }

    fn ask(&mut self, call: Call) -> (CallId, RequestId) {
        self.requests += 1;
        let id = RequestId(self.requests);
        let request: Request = call.request;
        self.tell(Input::Requested { id, request });
        (call.id, id)
    }

    /// What only the disk has is read on the way out.
    fn resolved(&mut self, mut response: Response) -> Response {
        if let Response::Fetch(fetch) = &mut response {
            for partition in &mut fetch.partitions {
                if let Records::Log(read) = &partition.records {
                    partition.records = Records::Bytes(self.logs.read(read).expect("memory does not fail"));
                }
            }
        }
        response
    }
}

/// A disk that lasts as long as the process.
#[derive(Clone, Default)]
struct MemoryDisk(Arc<Mutex<BTreeMap<String, Option<File>>>>);

type File = Arc<Mutex<Vec<u8>>>;

impl MemoryDisk {
    fn names(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<File>>> {
        self.0.lock().expect("one thread")
    }
}

fn below(dir: &str, path: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

impl Disk for MemoryDisk {
    type File = File;

    fn open(&self, path: &str, mode: OpenMode) -> Result<File, DiskError> {
        let mut names = self.names();
        match (names.get(path).cloned().flatten(), mode) {
            (Some(_), OpenMode::CreateNew) => Err(DiskError::AlreadyExists { path: path.into() }),
            (Some(file), _) => Ok(file),
            (None, OpenMode::Existing) => Err(DiskError::NotFound { path: path.into() }),
            (None, _) => {
                let file = File::default();
                names.insert(path.into(), Some(file.clone()));
                Ok(file)
            }
        }
    }

    fn read_at(&self, file: &File, at: u64, len: usize) -> Result<Bytes, DiskError> {
        let file = file.lock().expect("one thread");
        let from = file.len().min(at as usize);
        Ok(Bytes::copy_from_slice(&file[from..file.len().min(from + len)]))
    }

    fn write_at(&self, file: &File, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let (mut file, mut at) = (file.lock().expect("one thread"), at as usize);
        for part in parts {
            if file.len() < at + part.len() {
                file.resize(at + part.len(), 0);
            }
            file[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    fn sync(&self, _: &File) -> Result<(), DiskError> {
        Ok(())
    }

    fn len(&self, file: &File) -> Result<u64, DiskError> {
        Ok(file.lock().expect("one thread").len() as u64)
    }

    fn set_len(&self, file: &File, len: u64) -> Result<(), DiskError> {
        file.lock().expect("one thread").resize(len as usize, 0);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.names().entry(path.into()).or_insert(None);
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut names = self.names();
        let moved: Vec<String> = names.keys().filter(|name| *name == from || below(from, name)).cloned().collect();
        if moved.is_empty() {
            return Err(DiskError::NotFound { path: from.into() });
        }
        for name in moved {
            let file = names.remove(&name).expect("listed above");
            names.insert(format!("{to}{}", &name[from.len()..]), file);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.names().remove(path).map(drop).ok_or_else(|| DiskError::NotFound { path: path.into() })
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        self.names().retain(|name, _| name != path && !below(path, name));
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let names = self.names();
        let inside = names.keys().filter_map(|name| match path {
            "" => Some(name.as_str()),
            dir => name.strip_prefix(dir)?.strip_prefix('/'),
        });
        Ok(inside.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_string).collect())
    }
}
