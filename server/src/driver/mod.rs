//! Runs the core: requests and job outcomes in, answers and jobs out.
//!
//! ```text
//!  connections ─ NodeHandle::call ─▶ │ bounded │          ┌───────────┐
//!              ◀─ answer (oneshot) ─ │  queue  │ ─▶ Driver│   Node    │─ orders ─▶ disk thread
//!                                                         └───────────┘◀─ outcomes ─┘
//! ```
//!
//! The driver decides nothing. It takes what has come in, hands each to the core as an input, and carries out the effects
//! of all of them together, so that one wake-up of the disk thread serves many requests.
//!
//! Listeners, connections and the core are tasks of one thread. A second thread for sockets would need a wake-up on
//! every hop; on two cores that costs more than it brings, and the core does header-sized work only. Nothing here
//! depends on that: connections know the core by its queue alone, and could be moved to threads of their own.
//!
//! **Bounds.** Requests wait in a bounded queue; bytes to append are shared out by [`NodeHandle`]; and while the disk has
//! [`limits::APPEND_BYTES_IN_FLIGHT_MAX`] to write, whoever sent them, no further request is taken up at all.

mod handle;
mod mailbox;
mod worker;
mod threads;
mod task;
mod work;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use tidelog_core::{
    effect::Effect,
    ids::{LogId, NodeId, RequestId},
    input::Input,
    limits,
    log::{Disk, Job, JobOutcome, LogError},
    message::{PeerResponse, Records, Response},
    node::Node,
    time::{self, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::{
    handle::{Call, Calls},
    worker::{Ended, Order, append_bytes},
};
pub use self::{
    handle::{NodeHandle, Stopped},
    task::TimedDisk,
    work::DiskWork,
};
use crate::{
    env::Env,
    listener::Stop,
    metrics::Metrics,
    peers::{Membership, PeerEvent, Peers},
};

/// The core, its queues, and its disk.
pub struct Driver<E: Env, D: Disk> {
    env: E,
    node: Node,
    calls: Calls,
    /// Where answers go.
    pending: BTreeMap<RequestId, Pending>,
    disk: DiskWork<D>,
    peers: Peers<E>,
    /// Orders not yet handed to the disk.
    orders: Vec<Order<D>>,
    append_bytes_in_flight: usize,
    jobs_in_flight: usize,
    /// Was anything appended since the last checkpoint was ordered, and how much?
    is_changed: bool,
    bytes_since_checkpoint: u64,
    /// When a job last found no space.
    found_no_space: Option<Instant>,
    /// Has something been said since the tasks that send it last had their turn?
    has_spoken: bool,
    end: Option<End>,
    metrics: Arc<Metrics>,
}

/// Why a node ended otherwise than it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// It could not go on: its metadata log is damaged or from a newer version.
    #[error("{0}")]
    Halted(String),
    /// It stopped, but its directory was not closed.
    #[error(transparent)]
    NotClosed(#[from] LogError),
}

/// How the core ends.
#[derive(Debug)]
enum End {
    Stopped,
    Halted(String),
}

struct Pending {
    reply: oneshot::Sender<Response>,
    /// Given back when the request is answered.
    _share: Option<OwnedSemaphorePermit>,
}

impl<E: Env, D: Disk> Driver<E, D> {
    /// A driver of the node `id`, and the handle that leads to it. `disk` works on the directory whose state the node was
    /// made from.
    pub fn new(
        env: E,
        id: NodeId,
        membership: Membership,
        node: Node,
        disk: DiskWork<D>,
        metrics: Arc<Metrics>,
    ) -> (Self, NodeHandle) {
        let (handle, calls) = NodeHandle::new(id, Arc::clone(&metrics));
        let peers = Peers::new(env.clone(), id, membership, handle.peer_events());
        let driver = Self {
            env,
            node,
            calls,
            pending: BTreeMap::new(),
            disk,
            peers,
            orders: Vec::new(),
            append_bytes_in_flight: 0,
            jobs_in_flight: 0,
            is_changed: false,
            bytes_since_checkpoint: 0,
            found_no_space: None,
            has_spoken: false,
            end: None,
            metrics,
        };
        (driver, handle)
    }

    /// Runs the node until it has stopped and its directory is closed.
    pub async fn run(mut self, stop: Stop) -> Result<(), DriverError> {
        self.handle(Input::Started);
        let mut calls = Vec::new();
        let mut alarm = Alarm::new();
        let env = self.env.clone();
        let mut checkpoint = Box::pin(env.sleep(CHECKPOINT_INTERVAL));
        let mut is_stopping = false;
        let mut has_callers = true;
        let end = loop {
            if self.has_spoken && self.has_one_append() {
                // It may be executed here, and blocks this thread while it is synced: what followers wait for goes out first,
                // so that they sync at the same time.
                tokio::task::yield_now().await;
            }
            self.has_spoken = false;
            self.hand_over();
            if let Some(end) = self.end.take() {
                break end;
            }
            alarm.set(&self.env, self.node.next_deadline().map(|deadline| deadline.at));
            let has_room = self.append_bytes_in_flight < limits::APPEND_BYTES_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                Some(outcomes) = self.disk.outcomes.recv() => self.ended(outcomes),
                Some(id) = self.calls.abandoned.recv() => self.abandoned(id),
                Some(event) = self.calls.peer_events.recv() => {
                    self.peer_event(event);
                    while let Ok(event) = self.calls.peer_events.try_recv() {
                        self.peer_event(event);
                    }
                }
                taken = self.calls.queue.recv_many(&mut calls, CALLS_PER_ROUND_MAX), if has_room && has_callers => {
                    has_callers = taken > 0;
                    for call in calls.drain(..) {
                        self.requested(call);
                    }
                }
                () = &mut alarm => self.handle(Input::TimePassed),
                () = stop.requested(), if !is_stopping => {
                    is_stopping = true;
                    self.handle(Input::StopRequested);
                }
                () = &mut checkpoint => {
                    if self.is_changed {
                        self.checkpoint();
                    }
                    checkpoint.set(env.sleep(CHECKPOINT_INTERVAL));
                }
            }
        };
        // Nobody is answered any more.
        self.calls.queue.close();
        self.pending.clear();
        match end {
            End::Halted(reason) => Err(DriverError::Halted(reason)),
            End::Stopped => {
                let (done, closed) = oneshot::channel();
                self.orders.push(Order::Close { done });
                self.hand_over();
                Ok(closed.await.unwrap_or(Err(LogError::NotOpen))?)
            }
        }
    }

    fn peer_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::CallEnded { call, outcome } => self.handle(Input::CallEnded { call, outcome }),
            PeerEvent::Greeted { node } => self.peers.seen(node),
            PeerEvent::Disconnected { node } => self.handle(Input::PeerDisconnected { node }),
        }
    }

    fn requested(&mut self, Call { id, request, reply, share }: Call) {
        self.pending.insert(id, Pending { reply, _share: share });
        self.handle(Input::Requested { id, request });
        // Dropped while it stood in the queue: it is carried out all the same, but nothing is parked for it.
        if self.pending.get(&id).is_some_and(|pending| pending.reply.is_closed()) {
            self.abandoned(id);
        }
    }

    /// Nobody waits for an answer any more.
    fn abandoned(&mut self, id: RequestId) {
        if self.pending.remove(&id).is_some() {
            self.handle(Input::RequestAbandoned { id });
        }
    }

    fn ended(&mut self, outcomes: Vec<Ended>) {
        for Ended { log, job, outcome, bytes } in outcomes {
            self.append_bytes_in_flight -= bytes;
            self.jobs_in_flight -= 1;
            self.note_disk(log, &outcome);
            self.handle(Input::JobEnded { log, job, outcome });
        }
    }

    fn checkpoint(&mut self) {
        self.is_changed = false;
        self.bytes_since_checkpoint = 0;
        self.orders.push(Order::Checkpoint);
    }

    fn note_disk(&mut self, log: LogId, outcome: &Result<JobOutcome, LogError>) {
        match outcome {
            // On a disk that is nearly full small appends find the space that larger ones do not.
            Ok(JobOutcome::Appended { .. }) if self.metrics.disk.is_full() => {
                let now = self.env.now().mono;
                if self.found_no_space.is_none_or(|at| now.since(at) >= DISK_FULL_SPAN) {
                    self.metrics.disk.set_full(false);
                }
            }
            Ok(JobOutcome::Opened(state)) if state.recovery.kept_bytes > 0 => {
                let (kept_bytes, log_end) = (state.recovery.kept_bytes, state.log_end.0);
                tracing::error!(%log, log_end, kept_bytes, "recovery has cut off whole batches: see the log's .torn files");
            }
            Ok(JobOutcome::Opened(state)) if state.recovery.truncated_bytes > 0 => {
                let (truncated_bytes, log_end) = (state.recovery.truncated_bytes, state.log_end.0);
                tracing::info!(%log, log_end, truncated_bytes, "recovery has cut off a torn end");
            }
            Err(LogError::DiskFull) => {
                self.found_no_space = Some(self.env.now().mono);
                self.metrics.disk.set_full(true);
            }
            Err(error @ LogError::Corrupt { .. }) => tracing::error!(%error, "a log is corrupt and offline"),
            _ => {}
        }
    }

    /// Gives the core one input and takes its orders.
    fn handle(&mut self, input: Input) {
        self.node.handle(self.env.now(), input);
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                Effect::Respond { id, response } => self.respond(id, response),
                Effect::Run { log, job, order } => {
                    let bytes = append_bytes(&order);
                    self.append_bytes_in_flight += bytes;
                    self.jobs_in_flight += 1;
                    self.is_changed |= matches!(order, Job::Append { .. });
                    self.orders.push(Order::Run { log, job, order });
                    self.bytes_since_checkpoint += bytes as u64;
                    if self.bytes_since_checkpoint >= CHECKPOINT_BYTES {
                        self.checkpoint();
                    }
                }
                Effect::Ready => {
                    // What was recovered is not recovered again, however soon the next crash comes.
                    self.checkpoint();
                    self.calls.ready.turn_on();
                }
                Effect::LogFailed { dir, reason } => {
                    tracing::error!(log = dir, reason, "a log cannot be used; its partition is offline");
                    self.metrics.failed_logs.add(1);
                }
                Effect::LeaderLacks { dir, from, to } => {
                    let (from, to) = (from.0, to.0);
                    tracing::error!(
                        log = dir,
                        from,
                        to,
                        "the leader lacks records that were committed; this replica keeps them and follows no further"
                    );
                }
                Effect::DirectoryFailed { reason } => self.metrics.disk.set_offline(&reason),
                Effect::Call { call, to, request, timeout } => {
                    self.has_spoken = true;
                    self.peers.call(call, to, request, timeout);
                }
                Effect::PeerMoved { node, endpoints } => self.peers.moved(node, endpoints.native),
                Effect::Halt { reason } => self.end = Some(End::Halted(reason)),
                Effect::Stopped => self.end = Some(End::Stopped),
            }
        }
    }

    fn respond(&mut self, id: RequestId, response: Response) {
        let Some(Pending { reply, _share }) = self.pending.remove(&id) else { return };
        match response {
            response if names_log(&response) => self.orders.push(Order::Read { response, reply }),
            // Whoever asked may have gone; then nobody needs the answer.
            response => {
                self.has_spoken = true;
                drop(reply.send(response));
            }
        }
    }

    /// Is there a small append to do, and nothing else under way?
    fn has_one_append(&self) -> bool {
        self.jobs_in_flight == 1
            && self.append_bytes_in_flight <= ALONE_BYTES_MAX
            && self.disk.may_run_alone(&self.orders)
    }

    /// Hands the orders to the disk, all at once.
    fn hand_over(&mut self) {
        while self.has_one_append()
            && let Some(outcomes) = self.disk.run_alone(&mut self.orders)
        {
            self.ended(outcomes);
        }
        self.disk.order(&mut self.orders);
        self.metrics.disk_jobs.set(self.jobs_in_flight as u64);
        self.metrics.append_bytes_in_flight.set(self.append_bytes_in_flight as u64);
        self.metrics.requests_pending.set(self.pending.len() as u64);
        self.metrics.request_queue.set(self.calls.queue.len() as u64);
    }
}

/// Does some part of a response have to be read first?
fn names_log(response: &Response) -> bool {
    let is_log = |records: &Records| matches!(records, Records::Log(_));
    match response {
        Response::Fetch(fetch) => fetch.partitions.iter().any(|partition| is_log(&partition.records)),
        Response::Peer(PeerResponse::Fetch(fetch)) => fetch.partitions.iter().any(|it| is_log(&it.records)),
        _ => false,
    }
}

/// Goes off once the core's deadline has come. It may go off early: the core asks for the time itself.
pub(crate) struct Alarm {
    at: Option<Instant>,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Alarm {
    /// Goes off never.
    pub(crate) fn new() -> Self {
        Self { at: None, sleep: None }
    }

    /// Sets it to the core's deadline. An earlier alarm stays set: most deadlines move on before they come, and
    /// one alarm too many is cheaper than a new one for each of them.
    pub(crate) fn set<E: Env>(&mut self, env: &E, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            *self = Self::new();
            return;
        };
        if self.sleep.is_some() && self.at.is_some_and(|at| at <= deadline) {
            return;
        }
        let span = Duration::from_nanos(deadline.since(env.now().mono).0);
        let env = env.clone();
        self.at = Some(deadline);
        self.sleep = Some(Box::pin(async move { env.sleep(span).await }));
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        let Some(sleep) = &mut self.sleep else { return std::task::Poll::Pending };
        let polled = sleep.as_mut().poll(context);
        if polled.is_ready() {
            self.sleep = None;
        }
        polled
    }
}

/// The disk counts as full until an append succeeds so long after the last one that found no space.
const DISK_FULL_SPAN: time::Duration = time::Duration::from_secs(3);
/// An append of up to so many bytes may be executed without the disk thread.
const ALONE_BYTES_MAX: usize = 16 << 10;
/// Requests that are handled before their orders are handed to the disk.
const CALLS_PER_ROUND_MAX: usize = 64;
/// How often checkpoints are written while there are appends: it bounds what recovery has to read again.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// After so many bytes they are written sooner.
const CHECKPOINT_BYTES: u64 = 1 << 30;
