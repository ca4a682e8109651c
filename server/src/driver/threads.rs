//! The two threads of the disk: one that executes jobs, one that syncs.
//!
//! Both end when the driver lets go of their mailboxes. A panic on either is an invariant broken with data at stake, so
//! it ends the process: what is durable is on the disk, and recovery knows how to go on from there.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidelog_core::{
    ids::LogId,
    log::{Disk, LogDir, SyncTicket},
    message::Response,
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
    /// What the disk thread is to do.
    pub(super) orders: Mailbox<Order<D>>,
    /// What became of it.
    pub(super) outcomes: mpsc::UnboundedReceiver<Vec<Ended>>,
    threads: [Option<JoinHandle<()>>; 2],
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

/// Starts the threads over an open directory.
pub(super) fn spawn<D>(dir: LogDir<D>, disk: D, metrics: Arc<Metrics>) -> io::Result<DiskThreads<D>>
where
    D: Disk + Send + 'static,
    LogDir<D>: Send,
    SyncTicket<D>: Send,
{
    let (orders, order_letters) = mailbox();
    let (syncs, sync_letters) = mailbox();
    // Without a bound of its own: an outcome for each job, and those are bounded where they are ordered.
    let (ended, outcomes) = mpsc::unbounded_channel();
    let syncing = {
        let disk = disk.clone();
        let orders = orders.clone();
        let metrics = Arc::clone(&metrics);
        thread::Builder::new()
            .name("tidelog-sync".to_owned())
            .spawn(move || or_abort(move || sync_thread(&disk, &sync_letters, &orders, &metrics)))?
    };
    let worker = Worker::new(dir, Arc::clone(&metrics));
    let working = thread::Builder::new().name("tidelog-disk".to_owned()).spawn(move || {
        or_abort(move || disk_thread(worker, &disk, &order_letters, &syncs, &ended, &metrics));
    })?;
    Ok(DiskThreads { orders, outcomes, threads: [Some(working), Some(syncing)] })
}

fn disk_thread<D: Disk>(
    mut worker: Worker<D>,
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
        for order in orders.drain(..) {
            match order {
                Order::Run { log, job, order } => worker.run(log, job, order),
                Order::Read { mut response, reply } => {
                    if !reply.is_closed() {
                        worker.read(&mut response);
                        // Nobody may be waiting any more.
                        let _ = reply.send(Response::Fetch(response));
                    }
                }
                Order::Synced { results, took } => worker.synced(results, took),
                Order::Checkpoint => worker.checkpoint(),
                Order::Quit => return,
                Order::Close { done } => {
                    // The driver may have given up waiting.
                    let _ = done.send(worker.close());
                    return;
                }
            }
        }
        let until = worker.patience().map(|patience| *gathering.get_or_insert_with(|| Instant::now() + patience));
        if until.is_none_or(|until| Instant::now() >= until) {
            gathering = None;
            if let Some((tickets, bytes)) = worker.begin_sync() {
                if bytes <= INLINE_SYNC_BYTES_MAX {
                    // What is known already need not wait for it.
                    report(&mut worker, ended);
                    let (results, took) = run_tickets(disk, tickets, metrics);
                    worker.synced(results, took);
                } else {
                    syncs.send(tickets);
                }
            }
        }
        worker.step();
        report(&mut worker, ended);
        wait = match gathering {
            _ if worker.has_steps() => Wait::No,
            // A sync that ended just now may have left work to sync, which the next round begins with.
            None if worker.is_sync_due() => Wait::No,
            None => Wait::Long,
            Some(until) => Wait::Until(until),
        };
    }
}

fn report<D: Disk>(worker: &mut Worker<D>, ended: &mpsc::UnboundedSender<Vec<Ended>>) {
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

fn run_tickets<D: Disk>(disk: &D, tickets: Tickets<D>, metrics: &Metrics) -> (Vec<Synced<D>>, Duration) {
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
