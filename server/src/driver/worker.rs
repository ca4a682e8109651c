//! The disk worker: executes jobs on the logs, and decides when to sync them.
//!
//! ```text
//!   core ──orders──▶ worker (owns LogDir) ──tickets──▶ sync thread
//!     ▲                │    ▲                              │
//!     └────outcomes────┘    └──────────results─────────────┘
//! ```
//!
//! **Group commit.** An append that asks for durability is written at once and its outcome held. While a sync runs,
//! further appends are written; the next sync covers them all. So the number of syncs follows the speed of the disk and
//! not the number of requests. A small group is synced by the worker itself: handing it over would cost two wake-ups,
//! and what arrives meanwhile could not be acknowledged any earlier. A large one goes to the sync thread, so that
//! the next is copied into the page cache while the device works.
//!
//! When the last sync covered more appends than are there now, the producers that it released are probably about to send
//! again; the next sync waits for them, but no longer than half of what the last one took. Without that a pipeline of
//! appends falls apart into one small sync and one large, and half of the disk's syncs are wasted. A lone producer
//! never waits.
//!
//! **Reading ahead.** A reader that catches up asks for one large piece after another. While one is on its way through the
//! sockets the worker has nothing to do, so it reads what follows, up to the bound of the last read; it is dropped as soon
//! as a job does anything to its log but append.
//!
//! **Order.** Jobs of one log begin in the order in which they came. Work in steps (recovery, compaction) lets
//! others pass between two steps. What changes the log's end or takes it away waits until the log has no outcome held.
//!
//! The worker is plain code; the threads around it are in [`super::threads`].

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tidelog_core::{
    ids::{JobId, LogId},
    log::{Disk, DiskError, Job, JobOutcome, LogDir, LogError, Step, SyncTicket},
    message::{ErrorCode, FetchedPartition, LogRead, PeerResponse, Records, ReplicaFetched, Response},
};
use tokio::sync::oneshot;

use crate::metrics::Metrics;

/// What the worker is asked to do.
pub(super) enum Order<D: Disk> {
    /// Execute a job of the core.
    Run { log: LogId, job: JobId, order: Job },
    /// Read what a fetch response names, and send it on its way.
    Read { response: Response, reply: oneshot::Sender<Response> },
    /// A sync that was handed over has ended.
    Synced { results: Vec<Synced<D>>, took: Duration },
    /// Write the checkpoints, if anything was appended since the last ones.
    Checkpoint,
    /// The driver has gone without closing: end, as a crash would.
    Quit,
    /// Every log is closed: write the last checkpoints and the clean-shutdown marker, and end.
    Close { done: oneshot::Sender<Result<(), LogError>> },
}

/// One log's sync and how it went.
pub(super) struct Synced<D: Disk> {
    pub(super) log: LogId,
    pub(super) ticket: SyncTicket<D>,
    pub(super) result: Result<(), DiskError>,
}

/// What one sync has to run: each log's part of it.
pub(super) type Tickets<D> = Vec<(LogId, SyncTicket<D>)>;

/// A job's outcome on its way to the core.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) log: LogId,
    pub(super) job: JobId,
    pub(super) outcome: Result<JobOutcome, LogError>,
    /// Bytes of the job's batches.
    pub(super) bytes: usize,
}

/// See the module.
pub(super) struct Worker<D: Disk> {
    dir: LogDir<D>,
    logs: BTreeMap<LogId, LogJobs>,
    /// Logs whose long work wants its next step.
    long: VecDeque<LogId>,
    /// Logs with outcomes that wait for a sync to begin, and the bytes of their batches.
    unsynced: Vec<LogId>,
    unsynced_bytes: usize,
    /// Appends held until a sync, and how many the last one covered.
    held: usize,
    held_last: usize,
    /// How long the last sync took.
    sync_took: Duration,
    /// A sync was handed over and has not come back.
    is_syncing: bool,
    /// Bytes read from files that are still on their way to readers.
    read_bytes_out: Arc<AtomicUsize>,
    /// What a reader is likely to ask for next, to be read when there is time; and what was read so.
    looks_ahead: Option<LogRead>,
    ahead: VecDeque<Ahead>,
    /// Appended since the last checkpoint.
    is_changed: bool,
    /// A round of checkpoints has been begun and not ended.
    is_checkpointing: bool,
    ended: Vec<Ended>,
    metrics: Arc<Metrics>,
}

/// The jobs of one log that are not over.
#[derive(Default)]
struct LogJobs {
    /// Written; a sync has yet to begin.
    written: Vec<Held>,
    /// Written, and covered by the sync that runs.
    in_sync: Vec<Held>,
    /// Work in steps.
    long: Option<Long>,
    /// Not begun, behind one that has to wait.
    blocked: VecDeque<(JobId, Job)>,
}

/// Batches read before they were asked for.
struct Ahead {
    order: LogRead,
    bytes: Bytes,
}

struct Held {
    job: JobId,
    outcome: JobOutcome,
    bytes: usize,
}

struct Long {
    job: JobId,
    is_open: bool,
}

impl<D: Disk> Worker<D> {
    pub(super) fn new(dir: LogDir<D>, metrics: Arc<Metrics>) -> Self {
        Self {
            dir,
            logs: BTreeMap::new(),
            long: VecDeque::new(),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            held: 0,
            held_last: 0,
            sync_took: Duration::ZERO,
            is_syncing: false,
            read_bytes_out: Arc::default(),
            looks_ahead: None,
            ahead: VecDeque::new(),
            is_changed: false,
            is_checkpointing: false,
            ended: Vec::new(),
            metrics,
        }
    }

    /// Begins a job, or puts it behind those that it has to wait for.
    pub(super) fn run(&mut self, log: LogId, job: JobId, order: Job) {
        let jobs = self.logs.entry(log).or_default();
        if jobs.blocked.is_empty() && !jobs.must_wait(&order) {
            self.begin(log, job, order);
        } else {
            jobs.blocked.push_back((job, order));
        }
    }

    /// Takes the next step of long work. False when there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some(log) = self.long.pop_front() else {
            let is_checkpointing = self.is_checkpointing;
            if is_checkpointing {
                self.checkpoint_step();
            }
            return is_checkpointing;
        };
        let step = self.dir.resume(log);
        let long = self.logs.get_mut(&log).and_then(|jobs| jobs.long.take());
        let Long { job, is_open } = long.expect("a log in the queue of long work has some");
        self.stepped(log, job, 0, is_open, step);
        self.unblock(log);
        true
    }

    /// Is there long work to go on with?
    pub(super) fn has_steps(&self) -> bool {
        !self.long.is_empty() || self.is_checkpointing
    }

    /// Is nothing under way, and nothing waiting?
    pub(super) fn is_idle(&self) -> bool {
        self.logs.is_empty() && !self.is_syncing && !self.has_steps()
    }

    /// How long the last sync took.
    pub(super) fn sync_took(&self) -> Duration {
        self.sync_took
    }

    /// Is something held for which a sync could begin?
    pub(super) fn is_sync_due(&self) -> bool {
        !self.is_syncing && !self.unsynced.is_empty()
    }

    /// How much longer than now a sync should wait for more appends, where it is worth it.
    pub(super) fn patience(&self) -> Option<Duration> {
        (self.is_sync_due() && self.held < self.held_last).then(|| (self.sync_took / 2).min(PATIENCE_MAX))
    }

    /// The tickets of a sync over all that was written, if one is due and none is running; the caller runs them
    /// and brings them back to [`Self::synced`].
    pub(super) fn begin_sync(&mut self) -> Option<(Tickets<D>, usize)> {
        if self.is_syncing || self.unsynced.is_empty() {
            return None;
        }
        self.is_syncing = true;
        self.held_last = std::mem::take(&mut self.held);
        let mut tickets = Vec::with_capacity(self.unsynced.len());
        for log in self.unsynced.drain(..) {
            let jobs = self.logs.get_mut(&log).expect("a log with outcomes held is known");
            debug_assert!(jobs.in_sync.is_empty(), "one sync at a time");
            std::mem::swap(&mut jobs.written, &mut jobs.in_sync);
            tickets.push((log, self.dir.begin_sync(log)));
        }
        Some((tickets, std::mem::take(&mut self.unsynced_bytes)))
    }

    /// A sync has ended after `took`: what it covered is durable, or the directory is lost.
    pub(super) fn synced(&mut self, results: Vec<Synced<D>>, took: Duration) {
        assert!(self.is_syncing, "a sync ends that was never begun");
        self.is_syncing = false;
        self.sync_took = took;
        let mut lost = None;
        for Synced { log, ticket, result } in results {
            let durable = self.dir.synced(log, ticket, result);
            let jobs = self.logs.get_mut(&log).expect("a log with outcomes held is known");
            for Held { job, outcome, bytes } in std::mem::take(&mut jobs.in_sync) {
                let outcome = durable.clone().map(|_| outcome);
                self.ended.push(Ended { log, job, outcome, bytes });
            }
            lost = lost.or(durable.err().filter(|error| matches!(error, LogError::Offline(_))));
            self.unblock(log);
        }
        if let Some(error) = lost {
            self.ahead.clear();
            self.fail_written(&error);
        }
    }

    /// Reads what a fetch response names into it, be it for a client or a follower.
    pub(super) fn read(&mut self, response: &mut Response) {
        match response {
            Response::Fetch(fetch) => {
                for FetchedPartition { topic, partition, error, records, .. } in &mut fetch.partitions {
                    self.read_records(records, error, &(topic, partition));
                }
            }
            Response::Peer(PeerResponse::Fetch(fetch)) => {
                for ReplicaFetched { id, error, records, .. } in &mut fetch.partitions {
                    self.read_records(records, error, id);
                }
            }
            _ => {}
        }
    }

    /// When much is on its way to readers already, each gets little more than its first batch: slow readers must not fill
    /// the memory.
    fn read_records(&mut self, records: &mut Records, failed: &mut ErrorCode, of: &dyn Debug) {
        let Records::Log(order) = records else { return };
        let room = READ_BYTES_OUT_MAX.saturating_sub(self.read_bytes_out.load(Ordering::Relaxed));
        let order = LogRead { max_bytes: order.max_bytes.min(room), ..*order };
        let read = self.take_ahead(&order).map_or_else(|| self.dir.read(&order), Ok);
        *records = match read {
            Ok(bytes) if bytes.is_empty() => Records::Empty,
            Ok(bytes) => {
                self.look_ahead(&order, &bytes);
                self.metrics.cold_read_bytes.add(bytes.len() as u64);
                Records::Bytes(OnItsWay::track(bytes, &self.read_bytes_out))
            }
            Err(error) => {
                *failed = read_error(&error);
                tracing::error!(%error, partition = ?of, "cannot read");
                Records::Empty
            }
        };
    }

    /// Begins a round of checkpoints if anything was appended since the last one.
    pub(super) fn checkpoint(&mut self) {
        if std::mem::take(&mut self.is_changed) {
            self.checkpoint_step();
        }
    }

    /// Goes on with a round of checkpoints, if there is one.
    fn checkpoint_step(&mut self) {
        let begun = Instant::now();
        let done = self.dir.checkpoint();
        self.is_checkpointing = done == Ok(true);
        match done {
            Ok(_) => tracing::debug!(took = ?begun.elapsed(), "checkpoint"),
            // The older checkpoint stays; recovery would read a little more.
            Err(error) => {
                self.is_changed = true;
                tracing::warn!(%error, "cannot write the checkpoints");
            }
        }
    }

    /// The last thing done to a directory.
    pub(super) fn close(self) -> Result<(), LogError> {
        self.dir.close()
    }

    /// Outcomes since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    fn begin(&mut self, log: LogId, job: JobId, order: Job) {
        let is_open = matches!(order, Job::Open { .. });
        let bytes = append_bytes(&order);
        self.is_changed |=
            !matches!(order, Job::Read { .. } | Job::FindTimestamp { .. } | Job::FindMaxTimestamp { .. });
        let adds = matches!(
            order,
            Job::Append { .. }
                | Job::Read { .. }
                | Job::FindTimestamp { .. }
                | Job::FindMaxTimestamp { .. }
                | Job::NoteHighWatermark { .. }
        );
        if !adds {
            self.ahead.retain(|ahead| ahead.order.log != log);
        }
        let step = self.dir.execute(log, order);
        self.stepped(log, job, bytes, is_open, step);
    }

    /// What was read ahead for this very order, if it was.
    fn take_ahead(&mut self, order: &LogRead) -> Option<Bytes> {
        let fits = |ahead: &Ahead| {
            ahead.order.log == order.log
                && ahead.order.from == order.from
                && ahead.order.bound <= order.bound
                && ahead.bytes.len() <= order.max_bytes
        };
        let at = self.ahead.iter().position(fits)?;
        self.ahead.remove(at).map(|ahead| ahead.bytes)
    }

    /// A reader that was given as much as it takes will come for what follows.
    fn look_ahead(&mut self, order: &LogRead, bytes: &Bytes) {
        if bytes.len() < READ_AHEAD_BYTES_MIN || bytes.len() < order.max_bytes / 2 {
            return;
        }
        let next = tidelog_core::record::offset_after(bytes).filter(|&next| next < order.bound);
        self.looks_ahead = next.map(|from| LogRead { from, ..*order });
    }

    /// Is there something to read ahead?
    pub(super) fn looks_ahead(&self) -> bool {
        self.looks_ahead.is_some()
    }

    /// Reads ahead; for a time when nothing else is to be done.
    pub(super) fn read_ahead(&mut self) {
        let Some(order) = self.looks_ahead.take() else { return };
        // Damage is for the reader to meet, should it come here.
        if let Ok(bytes) = self.dir.read(&order)
            && !bytes.is_empty()
        {
            if self.ahead.len() >= READS_AHEAD_MAX {
                self.ahead.pop_front();
            }
            self.ahead.push_back(Ahead { order, bytes });
        }
    }

    fn stepped(&mut self, log: LogId, job: JobId, bytes: usize, is_open: bool, step: Step) {
        match step {
            Step::Done(outcome) => {
                if matches!(outcome, Err(LogError::Offline(_))) {
                    self.ahead.clear();
                }
                self.ended.push(Ended { log, job, outcome, bytes });
            }
            Step::Sync(outcome) => {
                let jobs = self.logs.entry(log).or_default();
                if jobs.written.is_empty() {
                    self.unsynced.push(log);
                }
                jobs.written.push(Held { job, outcome, bytes });
                self.held += 1;
                self.unsynced_bytes += bytes;
            }
            Step::Again => {
                let jobs = self.logs.entry(log).or_default();
                debug_assert!(jobs.long.is_none(), "one piece of long work per log");
                jobs.long = Some(Long { job, is_open });
                self.long.push_back(log);
            }
        }
    }

    /// Begins what waited, as far as it need not wait any longer.
    fn unblock(&mut self, log: LogId) {
        while let Some(jobs) = self.logs.get_mut(&log)
            && let Some((_, order)) = jobs.blocked.front()
            && !jobs.must_wait(order)
            && let Some((job, order)) = jobs.blocked.pop_front()
        {
            self.begin(log, job, order);
        }
        if self.logs.get(&log).is_some_and(LogJobs::is_idle) {
            self.logs.remove(&log);
        }
    }

    /// The directory is lost, so no sync will come for what is written.
    fn fail_written(&mut self, error: &LogError) {
        self.unsynced_bytes = 0;
        self.held = 0;
        for log in std::mem::take(&mut self.unsynced) {
            let jobs = self.logs.get_mut(&log).expect("a log with outcomes held is known");
            for Held { job, bytes, .. } in std::mem::take(&mut jobs.written) {
                self.ended.push(Ended { log, job, outcome: Err(error.clone()), bytes });
            }
            self.unblock(log);
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

    fn is_idle(&self) -> bool {
        self.written.is_empty() && self.in_sync.is_empty() && self.long.is_none() && self.blocked.is_empty()
    }
}

/// Bytes that count as on their way to a reader until the last handle on them is gone.
struct OnItsWay {
    bytes: Bytes,
    out: Arc<AtomicUsize>,
}

impl OnItsWay {
    fn track(bytes: Bytes, out: &Arc<AtomicUsize>) -> Bytes {
        out.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Self { bytes, out: Arc::clone(out) })
    }
}

impl AsRef<[u8]> for OnItsWay {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.out.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Bytes of the batches that a job appends.
pub(super) fn append_bytes(order: &Job) -> usize {
    match order {
        Job::Append { batches, .. } => batches.iter().map(tidelog_core::record::Batch::size).sum(),
        _ => 0,
    }
}

fn read_error(error: &LogError) -> ErrorCode {
    match error {
        // It was there when the node made its answer. Whether the place is gone the node says when it is asked again.
        LogError::OutOfRange { .. } => ErrorCode::OffsetNotAvailable,
        LogError::NotOpen => ErrorCode::NotLeaderOrFollower,
        // Not the storage error that clients wait out: this batch stays as it is.
        LogError::Corrupt { .. } => ErrorCode::CorruptMessage,
        _ => ErrorCode::KafkaStorageError,
    }
}

/// The longest that a sync waits for more appends.
const PATIENCE_MAX: Duration = Duration::from_millis(1);
/// How much must have been read at a time for what follows to be read ahead.
const READ_AHEAD_BYTES_MIN: usize = 256 << 10;
/// Reads ahead that are kept: for so many readers at a time.
const READS_AHEAD_MAX: usize = 4;
/// Bytes read from files that may be on their way to readers before reads become small.
const READ_BYTES_OUT_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use tidelog_core::{
        epoch::LeaderEpoch,
        ids::{DirectoryId, NodeId, TopicId},
        log::{Identity, LogConfig},
        offset::Offset,
        record::{Batch, BatchBuilder, BatchOptions, Batches},
        time::Timestamp,
    };

    use super::*;
    use crate::disk::{DataLock, FileDisk};

    const LOG: LogId = LogId(1);
    const BATCHES: i64 = 24;
    static VALUE: [u8; 60_000] = [7; 60_000];

    fn worker(folder: &std::path::Path) -> Worker<FileDisk> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).expect("a temporary folder can be made");
        let disk = FileDisk::new(DataLock::acquire(folder).expect("nobody else has it"), 16);
        let identity = Identity { node: NodeId(1), cluster_id: "c".to_owned(), directory: DirectoryId([1; 16]) };
        LogDir::format(&disk, &identity).expect("it is empty");
        let mut worker = Worker::new(LogDir::open(disk).expect("formatted").0, Arc::default());
        let topic_id = TopicId([1; 16]);
        let (config, wall) = (LogConfig::default(), Timestamp(0));
        worker.run(LOG, JobId(0), Job::Open { dir: "t-0".to_owned(), topic_id, config, wall });
        let batches = (0..BATCHES).map(|offset| {
            let mut builder = BatchBuilder::new();
            builder.append(0, Timestamp(1), None, Some(&VALUE), []);
            let mut batch: Batch = builder.build(&BatchOptions::default());
            batch.stamp(Offset(offset), LeaderEpoch(0));
            batch
        });
        worker.run(LOG, JobId(1), Job::Append { batches: batches.collect(), sync: false, wall });
        worker
    }

    fn read(worker: &mut Worker<FileDisk>, from: i64) -> (Records, ErrorCode) {
        let order = LogRead {
            log: LOG,
            from: Offset(from),
            bound: Offset(BATCHES),
            max_bytes: 8 * VALUE.len(),
            at_least_one: true,
        };
        let (mut records, mut error) = (Records::Log(order), ErrorCode::None);
        worker.read_records(&mut records, &mut error, &"t-0");
        (records, error)
    }

    #[test]
    fn what_is_read_ahead_is_what_would_be_read_and_goes_when_its_log_is_changed() {
        let folder = std::env::temp_dir().join(format!("tidelog-ahead-{}", std::process::id()));
        let mut worker = worker(&folder);
        let mut next = 0;
        while next < BATCHES {
            let (records, _) = read(&mut worker, next);
            let Records::Bytes(bytes) = records else { panic!("there is more: {records:?}") };
            for batch in Batches(bytes) {
                let header = *batch.expect("whole batches").header();
                assert_eq!(header.base_offset, Offset(next));
                next += 1;
            }
            worker.read_ahead();
            assert_eq!(worker.ahead.len(), usize::from(next < BATCHES), "at {next}");
        }
        drop(read(&mut worker, 0));
        worker.read_ahead();
        assert_eq!(worker.ahead.len(), 1);
        worker.run(LOG, JobId(2), Job::Truncate { to: Offset(2) });
        assert!(worker.ahead.is_empty());
        assert_eq!(read(&mut worker, 4).1, ErrorCode::OffsetNotAvailable);
        std::fs::remove_dir_all(&folder).expect("it is there");
    }
}
