//! The disk worker of a simulated node: the rules of the server's, on virtual time.
//!
//! Jobs of one log begin in the order in which they came. An append that asks for durability is written at once and its
//! outcome held; while one sync runs, more are written, and the next covers them all. What changes a log's end or takes
//! it away waits until the log has no outcome held. Work in steps lets others pass between two steps.

use std::collections::{BTreeMap, VecDeque};

use tidelog_core::{
    buggify::{Buggify, Site},
    ids::{JobId, LogId},
    log::{DiskError, Job, JobOutcome, LogDir, LogError, Step, SyncTicket},
    message::{ErrorCode, PeerResponse, Records, Response},
};

use crate::{
    actor::CallId,
    disk::SimDisk,
    net::ConnId,
    tally::{Mark, Tally},
};

/// What the worker is asked to do.
pub enum Order {
    /// Execute a job of the core.
    Run {
        /// On this log.
        log: LogId,
        /// Under this id.
        job: JobId,
        /// What.
        order: Job,
    },
    /// Read what a fetch response names, and send it on its way.
    Read {
        /// Which connection waits.
        conn: ConnId,
        /// For the answer to which call.
        call: CallId,
        /// The answer.
        response: Response,
    },
    /// A sync has ended.
    Synced(Vec<(LogId, SyncTicket<SimDisk>, Result<(), DiskError>)>),
    /// Write the checkpoints, if anything was appended since the last ones.
    Checkpoint,
    /// Every log is closed: end in order.
    Close,
}

/// What one piece of work brought.
pub enum Ended {
    /// A job is over.
    Job {
        /// Of this log.
        log: LogId,
        /// Under this id.
        job: JobId,
        /// How.
        outcome: Result<JobOutcome, LogError>,
    },
    /// A response is complete.
    Read {
        /// Which connection waits.
        conn: ConnId,
        /// For the answer to which call.
        call: CallId,
        /// The answer.
        response: Response,
    },
    /// The directory is closed.
    Closed(Result<(), LogError>),
}

/// The worker of one process.
pub struct Worker {
    /// The logs; gone once they are closed.
    pub dir: Option<LogDir<SimDisk>>,
    logs: BTreeMap<LogId, LogJobs>,
    orders: VecDeque<Order>,
    long: VecDeque<LogId>,
    unsynced: Vec<LogId>,
    is_syncing: bool,
    is_changed: bool,
    /// Was the last piece of work about opening a log?
    pub opens: bool,
    /// What the driver does on purpose.
    pub buggify: Buggify,
}

#[derive(Default)]
struct LogJobs {
    written: Vec<(JobId, JobOutcome)>,
    in_sync: Vec<(JobId, JobOutcome)>,
    long: Option<Long>,
    blocked: VecDeque<(JobId, Job)>,
}

struct Long {
    job: JobId,
    is_open: bool,
}

impl Worker {
    /// A worker over an open directory.
    pub fn new(dir: LogDir<SimDisk>, buggify: Buggify) -> Self {
        Self {
            buggify,
            dir: Some(dir),
            logs: BTreeMap::new(),
            orders: VecDeque::new(),
            long: VecDeque::new(),
            unsynced: Vec::new(),
            is_syncing: false,
            is_changed: false,
            opens: false,
        }
    }

    /// Takes an order.
    pub fn order(&mut self, order: Order) {
        match order {
            Order::Synced(_) => self.orders.push_front(order),
            _ => self.orders.push_back(order),
        }
    }

    /// Orders that wait.
    pub fn queued(&self) -> usize {
        self.orders.len()
    }

    /// Is some log being recovered or cleaned in steps?
    pub fn long_work(&self) -> impl Iterator<Item = bool> + '_ {
        self.logs.values().filter_map(|jobs| jobs.long.as_ref()).map(|long| long.is_open)
    }

    /// Does one piece of work; `None` when there is none.
    pub fn work(&mut self, tally: &Tally) -> Option<Vec<Ended>> {
        let mut ended = Vec::new();
        self.opens = false;
        match self.orders.pop_front() {
            Some(Order::Run { log, job, order }) => {
                let jobs = self.logs.entry(log).or_default();
                if jobs.blocked.is_empty() && !jobs.must_wait(&order) {
                    self.begin(log, job, order, &mut ended);
                } else {
                    jobs.blocked.push_back((job, order));
                }
            }
            Some(Order::Read { conn, call, mut response }) => {
                tally.sometimes(Mark::ReadFromLog, true);
                self.read(&mut response);
                ended.push(Ended::Read { conn, call, response });
            }
            Some(Order::Synced(results)) => self.synced(results, tally, &mut ended),
            Some(Order::Checkpoint) => {
                if std::mem::take(&mut self.is_changed)
                    && let Some(dir) = &mut self.dir
                {
                    let done = dir.checkpoint();
                    self.is_changed = done != Ok(false);
                    if done == Ok(true) {
                        self.orders.push_back(Order::Checkpoint);
                    }
                }
            }
            Some(Order::Close) => {
                if let Some(dir) = self.dir.take() {
                    ended.push(Ended::Closed(dir.close()));
                }
            }
            None => {
                let log = self.long.pop_front()?;
                let step = self.dir.as_mut()?.resume(log);
                let long = self.logs.get_mut(&log).and_then(|jobs| jobs.long.take());
                let Long { job, is_open } = long.expect("a log in the queue of long work has some");
                self.opens = is_open;
                self.stepped(log, job, is_open, step, &mut ended);
                self.unblock(log, &mut ended);
            }
        }
        Some(ended)
    }

    /// The tickets of the next sync, if one is due and none is running.
    pub fn begin_sync(&mut self) -> Option<Vec<(LogId, SyncTicket<SimDisk>)>> {
        if self.is_syncing || self.unsynced.is_empty() {
            return None;
        }
        let dir = self.dir.as_mut()?;
        self.is_syncing = true;
        let mut tickets = Vec::new();
        for log in self.unsynced.drain(..) {
            let jobs = self.logs.get_mut(&log).expect("a log with outcomes held is known");
            std::mem::swap(&mut jobs.written, &mut jobs.in_sync);
            tickets.push((log, dir.begin_sync(log)));
        }
        Some(tickets)
    }

    fn synced(
        &mut self,
        results: Vec<(LogId, SyncTicket<SimDisk>, Result<(), DiskError>)>,
        tally: &Tally,
        ended: &mut Vec<Ended>,
    ) {
        self.is_syncing = false;
        let mut lost = None;
        for (log, ticket, result) in results {
            let Some(dir) = &mut self.dir else { return };
            let durable = dir.synced(log, ticket, result);
            let jobs = self.logs.get_mut(&log).expect("a log with outcomes held is known");
            tally.sometimes(Mark::GroupCommit, jobs.in_sync.len() > 1);
            for (job, outcome) in std::mem::take(&mut jobs.in_sync) {
                ended.push(Ended::Job { log, job, outcome: durable.clone().map(|_| outcome) });
            }
            lost = lost.or(durable.err().filter(|error| matches!(error, LogError::Offline(_))));
            self.unblock(log, ended);
        }
        let Some(error) = lost else { return };
        // The directory is lost, so no sync will come for what is written.
        for log in std::mem::take(&mut self.unsynced) {
            let jobs = self.logs.get_mut(&log).expect("a log with outcomes held is known");
            for (job, _) in std::mem::take(&mut jobs.written) {
                ended.push(Ended::Job { log, job, outcome: Err(error.clone()) });
            }
            self.unblock(log, ended);
        }
    }

    fn read(&mut self, response: &mut Response) {
        for (error, records) in named_records(response) {
            let Records::Log(order) = records else { continue };
            let read = match &mut self.dir {
                Some(dir) => dir.read(order),
                None => Err(LogError::NotOpen),
            };
            *records = match read {
                Ok(bytes) if bytes.is_empty() => Records::Empty,
                Ok(bytes) => Records::Bytes(bytes),
                Err(failure) => {
                    *error = match failure {
                        // As in production: it was there when the node made its answer.
                        LogError::OutOfRange { .. } => ErrorCode::OffsetNotAvailable,
                        LogError::NotOpen => ErrorCode::NotLeaderOrFollower,
                        _ => ErrorCode::KafkaStorageError,
                    };
                    Records::Empty
                }
            };
        }
    }

    fn begin(&mut self, log: LogId, job: JobId, order: Job, ended: &mut Vec<Ended>) {
        let is_open = matches!(order, Job::Open { .. });
        self.opens |= is_open;
        if matches!(order, Job::Append { .. })
            && self.buggify.fires(Site::EarlyRoll)
            && let Some(dir) = &mut self.dir
        {
            dir.roll_early(log);
        }
        if self.buggify.fires(Site::EarlyCheckpoint) {
            self.orders.push_back(Order::Checkpoint);
        }
        self.is_changed |=
            !matches!(order, Job::Read { .. } | Job::FindTimestamp { .. } | Job::FindMaxTimestamp { .. });
        let step = match &mut self.dir {
            Some(dir) => dir.execute(log, order),
            None => Step::Done(Err(LogError::NotOpen)),
        };
        self.stepped(log, job, is_open, step, ended);
    }

    fn stepped(&mut self, log: LogId, job: JobId, is_open: bool, step: Step, ended: &mut Vec<Ended>) {
        let jobs = self.logs.entry(log).or_default();
        match step {
            Step::Done(outcome) => ended.push(Ended::Job { log, job, outcome }),
            Step::Sync(outcome) => {
                if jobs.written.is_empty() {
                    self.unsynced.push(log);
                }
                jobs.written.push((job, outcome));
            }
            Step::Again => {
                assert!(jobs.long.is_none(), "one piece of long work per log");
                jobs.long = Some(Long { job, is_open });
                self.long.push_back(log);
            }
        }
    }

    fn unblock(&mut self, log: LogId, ended: &mut Vec<Ended>) {
        while let Some(jobs) = self.logs.get_mut(&log)
            && let Some((_, order)) = jobs.blocked.front()
            && !jobs.must_wait(order)
            && let Some((job, order)) = jobs.blocked.pop_front()
        {
            self.begin(log, job, order, ended);
        }
    }
}

impl LogJobs {
    fn must_wait(&self, order: &Job) -> bool {
        let has_held = !self.written.is_empty() || !self.in_sync.is_empty();
        match (&self.long, order) {
            (Some(long), Job::Clean { .. } | Job::Open { .. }) => long.is_open || matches!(order, Job::Clean { .. }),
            (Some(long), _) if long.is_open => true,
            (_, Job::Truncate { .. } | Job::StartOver { .. } | Job::Close | Job::Delete | Job::Open { .. }) => has_held,
            _ => false,
        }
    }
}

/// Every place of a response in which there are records, with the error that stands beside it.
fn named_records(response: &mut Response) -> Vec<(&mut ErrorCode, &mut Records)> {
    match response {
        Response::Fetch(fetch) => fetch.partitions.iter_mut().map(|p| (&mut p.error, &mut p.records)).collect(),
        Response::Peer(PeerResponse::Fetch(fetch)) => {
            fetch.partitions.iter_mut().map(|p| (&mut p.error, &mut p.records)).collect()
        }
        _ => Vec::new(),
    }
}

/// Does the response name records that the worker has to read?
pub fn wants_log(response: &Response) -> bool {
    let is_log = |records: &Records| matches!(records, Records::Log(_));
    match response {
        Response::Fetch(fetch) => fetch.partitions.iter().any(|p| is_log(&p.records)),
        Response::Peer(PeerResponse::Fetch(fetch)) => fetch.partitions.iter().any(|p| is_log(&p.records)),
        _ => false,
    }
}
