//! Who does the work on the disk: two threads, or a task on a simulated clock.

use std::{io, sync::Arc};

use tidelog_core::log::{Disk, Job, LogDir, SyncTicket};
use tokio::sync::mpsc;

use super::{
    task::{DiskTask, TimedDisk},
    threads::{self, DiskThreads},
    worker::{Ended, Order},
};
use crate::{env::Env, metrics::Metrics};

/// Executes the driver's orders on an open data directory, one way or the other.
pub struct DiskWork<D: Disk> {
    hands: Hands<D>,
    /// What became of the orders. Without a bound of its own: an outcome for each job, and those are bounded where they are
    /// ordered.
    pub(super) outcomes: mpsc::UnboundedReceiver<Vec<Ended>>,
}

enum Hands<D: Disk> {
    Threads(DiskThreads<D>),
    Task(mpsc::UnboundedSender<Order<D>>),
}

impl<D: Disk> DiskWork<D> {
    /// By threads. `disk` is the directory's own.
    pub fn by_threads(dir: LogDir<D>, disk: D, metrics: Arc<Metrics>) -> io::Result<Self>
    where
        D: Send + 'static,
        LogDir<D>: Send,
        SyncTicket<D>: Send,
    {
        let (ended, outcomes) = mpsc::unbounded_channel();
        Ok(Self { hands: Hands::Threads(threads::spawn(dir, disk, metrics, ended)?), outcomes })
    }

    /// By a task of `env`, on whose clock the disk's time passes.
    pub fn by_task<E: Env>(env: &E, dir: LogDir<D>, disk: D, metrics: Arc<Metrics>) -> Self
    where
        D: TimedDisk,
    {
        let (ended, outcomes) = mpsc::unbounded_channel();
        let (orders, queue) = mpsc::unbounded_channel();
        env.spawn_local(DiskTask::new(env.clone(), dir, disk, queue, ended, metrics).run());
        Self { hands: Hands::Task(orders), outcomes }
    }

    /// Hands all of `orders` over and leaves it empty.
    pub(super) fn order(&self, orders: &mut Vec<Order<D>>) {
        match &self.hands {
            Hands::Threads(threads) => threads.orders.send_all(orders),
            // The task may be gone together with its runtime; then nobody waits for the outcomes.
            Hands::Task(task) => orders.drain(..).for_each(|order| drop(task.send(order))),
        }
    }

    /// Is there one order only, of the kind that [`Self::run_alone`] may execute?
    pub(super) fn may_run_alone(&self, orders: &[Order<D>]) -> bool {
        matches!(&self.hands, Hands::Threads(_))
            && matches!(orders, [Order::Run { order: Job::Append { sync: true, .. }, .. }])
    }

    /// Executes the only order there is at once, where that is likely to be quicker than to hand it over. `None`: it is
    /// still in `orders`. Nothing handed over earlier may be without its outcome.
    pub(super) fn run_alone(&self, orders: &mut Vec<Order<D>>) -> Option<Vec<Ended>> {
        match &self.hands {
            Hands::Threads(threads) if self.may_run_alone(orders) => threads.run_alone(orders),
            _ => None,
        }
    }
}
