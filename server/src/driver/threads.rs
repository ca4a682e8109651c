//! The two threads of the disk: one that executes jobs, one that syncs.
//!
//! A small append that comes while nothing else is under way is executed by the driver's own thread, sync and all: on an
//! idle machine waking the disk thread and being woken by it takes as long as the sync itself. That blocks the runtime,
//! so it is done only where the last sync was quick.
//!
//! Both end when the driver lets go of their mailboxes. A panic on either is an invariant broken with data at stake, so
//! it ends the process: what is durable is on the disk, and recovery knows how to go on from there.

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidelog_core::{
    ids::LogId,
    log::{Disk, LogDir, SyncTicket},
};
use tokio::sync::mpsc;

use super::{
    mailbox::{Letters, Mailbox, Wait, mailbox},
    worker::{Ended, Order, Synced, Worker},
};
use crate::metrics::Metrics;

type Tickets<D> = Vec<(LogId, SyncTicket<D>)>;

/// The running threads. Dropping them ends them after what they are at, without closing the directory.
pub(super) struct DiskThreads<D: Disk> {
    /// Held by the disk thread except while it waits for orders; `None` once the directory is closed.
    worker: Arc<Mutex<Option<Worker<D>>>>,
    disk: D,
    metrics: Arc<Metrics>,
    /// What the disk thread is to do.
    pub(super) orders: Mailbox<Order<D>>,
    threads: [Option<JoinHandle<()>>; 2],
}

impl<D: Disk> DiskThreads<D> {
    /// Executes the only order there is on this thread, where that is likely to be quicker than to hand it over: see
    /// the module. `None`: it is still in `orders`. Nothing handed over earlier may be without its outcome.
    pub(super) fn run_alone(&self, orders: &mut Vec<Order<D>>) -> Option<Vec<Ended>> {
        if !self.orders.is_awaited() {
            return None;
        }
        let mut held = self.worker.try_lock().ok()?;
        let worker = held.as_mut().filter(|worker| worker.is_idle() && worker.sync_took() <= SYNC_ALONE_MAX)?;
        let Some(Order::Run { log, job, order }) = orders.pop() else { unreachable!("the caller has looked") };
        or_abort(|| {
            worker.run(log, job, order);
            if let Some((tickets, _)) = worker.begin_sync() {
                let (results, took) = run_tickets(&self.disk, tickets, &self.metrics);
                worker.synced(results, took);
            }
        });
        Some(worker.take_ended())
    }
}

impl<D: Disk> Drop for DiskThreads<D> {
    fn drop(&mut self) {
        self.orders.send(Order::Quit);
        for thread in self.threads.iter_mut().filter_map(Option::take) {
            // A panic there has ended the process.
            let _ = thread.join();
        }
    }
}

/// Starts the threads over an open directory. What becomes of the orders is told to `ended`.
pub(super) fn spawn<D>(
    dir: LogDir<D>,
    disk: D,
    metrics: Arc<Metrics>,
    ended: mpsc::UnboundedSender<Vec<Ended>>,
) -> io::Result<DiskThreads<D>>
where
    D: Disk + Send + 'static,
    LogDir<D>: Send,
    SyncTicket<D>: Send,
{
    let (orders, order_letters) = mailbox();
    let (syncs, sync_letters) = mailbox();
    let syncing = {
        let disk = disk.clone();
        let orders = orders.clone();
        let metrics = Arc::clone(&metrics);
        thread::Builder::new()
            .name("tidelog-sync".to_owned())
            .spawn(move || or_abort(move || sync_thread(&disk, &sync_letters, &orders, &metrics)))?
    };
    let worker = Arc::new(Mutex::new(Some(Worker::new(dir, Arc::clone(&metrics)))));
    let working = {
        let (worker, disk, metrics) = (Arc::clone(&worker), disk.clone(), Arc::clone(&metrics));
        thread::Builder::new().name("tidelog-disk".to_owned()).spawn(move || {
            or_abort(move || disk_thread(&worker, &disk, &order_letters, &syncs, &ended, &metrics));
        })?
    };
    Ok(DiskThreads { worker, disk, metrics, orders, threads: [Some(working), Some(syncing)] })
}

fn disk_thread<D: Disk>(
    worker: &Mutex<Option<Worker<D>>>,
    disk: &D,
    letters: &Letters<Order<D>>,
    syncs: &Mailbox<Tickets<D>>,
    ended: &mpsc::UnboundedSender<Vec<Ended>>,
    metrics: &Metrics,
) {
    let mut orders = VecDeque::new();
    let mut wait = Wait::Long;
    // Until when the next sync waits for more appends.
    let mut gathering: Option<Instant> = None;
    while letters.take(&mut orders, wait) {
        let mut held = worker.lock().unwrap_or_else(PoisonError::into_inner);
        let has_time = orders.is_empty();
        for order in orders.drain(..) {
            if carry_out(&mut held, order).is_break() {
                return;
            }
        }
        let Some(worker) = held.as_mut() else { return };
        let until = worker.patience().map(|patience| *gathering.get_or_insert_with(|| Instant::now() + patience));
        if until.is_none_or(|until| Instant::now() >= until) {
            gathering = None;
            if let Some((tickets, bytes)) = worker.begin_sync() {
                if bytes <= INLINE_SYNC_BYTES_MAX {
                    // What is known already need not wait for it.
                    report(worker, ended);
                    let (results, took) = run_tickets(disk, tickets, metrics);
                    worker.synced(results, took);
                } else {
                    syncs.send(tickets);
                }
            }
        }
        worker.step();
        report(worker, ended);
        if has_time && !worker.has_steps() {
            worker.read_ahead();
        }
        wait = match gathering {
            _ if worker.has_steps() => Wait::No,
            // A sync that ended just now may have left work to sync, which the next round begins with.
            None if worker.is_sync_due() || worker.looks_ahead() => Wait::No,
            None => Wait::Long,
            Some(until) => Wait::Until(until),
        };
    }
}

/// Has the worker do what is ordered; breaks when it was the last thing.
pub(super) fn carry_out<D: Disk>(held: &mut Option<Worker<D>>, order: Order<D>) -> ControlFlow<()> {
    let Some(worker) = held else { return ControlFlow::Break(()) };
    match order {
        Order::Run { log, job, order } => worker.run(log, job, order),
        Order::Read { mut response, reply } => {
            if !reply.is_closed() {
                worker.read(&mut response);
                // Nobody may be waiting any more.
                let _ = reply.send(response);
            }
        }
        Order::Synced { results, took } => worker.synced(results, took),
        Order::Checkpoint => worker.checkpoint(),
        Order::Quit => return ControlFlow::Break(()),
        Order::Close { done } => {
            // The driver may have given up waiting.
            let _ = done.send(held.take().map_or(Ok(()), Worker::close));
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

/// Sends the outcomes that are there to the driver.
pub(super) fn report<D: Disk>(worker: &mut Worker<D>, ended: &mpsc::UnboundedSender<Vec<Ended>>) {
    let outcomes = worker.take_ended();
    if !outcomes.is_empty() {
        // When the driver has gone, nobody waits for outcomes.
        let _ = ended.send(outcomes);
    }
}

fn sync_thread<D: Disk>(disk: &D, letters: &Letters<Tickets<D>>, orders: &Mailbox<Order<D>>, metrics: &Metrics) {
    let mut groups = VecDeque::new();
    while letters.take(&mut groups, Wait::Long) {
        for tickets in groups.drain(..) {
            let (results, took) = run_tickets(disk, tickets, metrics);
            orders.send(Order::Synced { results, took });
        }
    }
}

/// Runs the syncs of one group.
pub(super) fn run_tickets<D: Disk>(disk: &D, tickets: Tickets<D>, metrics: &Metrics) -> (Vec<Synced<D>>, Duration) {
    let begun = Instant::now();
    let result = match &tickets[..] {
        [(_, ticket)] => ticket.run(disk),
        many => SyncTicket::run_all(many.iter().map(|(_, ticket)| ticket), disk),
    };
    let took = begun.elapsed();
    metrics.sync_time.observe(took);
    let synced = |(log, ticket)| Synced { log, ticket, result: result.clone() };
    (tickets.into_iter().map(synced).collect(), took)
}

fn or_abort(work: impl FnOnce()) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if thread::panicking() {
                std::process::abort();
            }
        }
    }
    let _bomb = Bomb;
    work();
}

/// Groups up to this size are synced by the worker itself.
const INLINE_SYNC_BYTES_MAX: usize = 128 << 10;
/// The runtime's thread syncs for itself while syncs take no longer than this.
const SYNC_ALONE_MAX: Duration = Duration::from_micros(500);
