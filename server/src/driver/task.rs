//! The disk's work as a task of the runtime, for disks on a simulated clock.
//!
//! The calls of such a disk return at once and say how long they would have taken; the task lets that time pass before
//! it tells anybody. It does what the disk thread does, with the same worker, in the same order; what it leaves out is the
//! second thread: while a sync runs it takes no orders, so that they gather for the next one.
//!
//! When its node is stopped from one moment to the next, the task is gone at one of its waits: a sync that had begun has not
//! ended, and whether its bytes are durable is the disk's to decide.

use std::{sync::Arc, time::Duration};

use tidelog_core::log::{Disk, LogDir};
use tidelog_sim::disk::{Flight, SimDisk};
use tokio::sync::mpsc;

use super::{
    threads::{carry_out, report, run_tickets},
    worker::{Ended, Order, Worker},
};
use crate::{env::Env, metrics::Metrics};

/// A disk whose calls cost no time but say how much they would have.
pub trait TimedDisk: Disk + 'static {
    /// Syncs that have begun together.
    type Flight;

    /// How long the calls since this was last asked took.
    fn take_time(&self) -> Duration;
    /// Syncs are only begun from here on.
    fn take_off(&self) -> Self::Flight;
    /// They end at once again.
    fn end_boarding(&self);
    /// The syncs of a flight end.
    fn land(&self, flight: Self::Flight);
}

impl TimedDisk for SimDisk {
    type Flight = Flight;

    fn take_time(&self) -> Duration {
        Duration::from_nanos(self.take_bill())
    }

    fn take_off(&self) -> Flight {
        self.begin_flight()
    }

    fn end_boarding(&self) {
        Self::end_boarding(self);
    }

    fn land(&self, flight: Flight) {
        Self::land(self, flight);
    }
}

/// The task; see the module.
pub(super) struct DiskTask<E: Env, D: TimedDisk> {
    env: E,
    disk: D,
    worker: Option<Worker<D>>,
    orders: mpsc::UnboundedReceiver<Order<D>>,
    ended: mpsc::UnboundedSender<Vec<Ended>>,
    /// Time that calls took and that has not passed yet: a sleep of its own for each would take far longer than they.
    owed: Duration,
    metrics: Arc<Metrics>,
}

impl<E: Env, D: TimedDisk> DiskTask<E, D> {
    pub(super) fn new(
        env: E,
        dir: LogDir<D>,
        disk: D,
        orders: mpsc::UnboundedReceiver<Order<D>>,
        ended: mpsc::UnboundedSender<Vec<Ended>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let worker = Some(Worker::new(dir, Arc::clone(&metrics)));
        Self { env, disk, worker, orders, ended, owed: Duration::ZERO, metrics }
    }

    /// Until the directory is closed, or the driver gone.
    pub(super) async fn run(mut self) {
        let mut gathered = false;
        while self.take_orders().await {
            let Some(worker) = &mut self.worker else { return };
            // What comes meanwhile is taken up before the sync begins.
            if let Some(patience) = worker.patience().filter(|_| !gathered) {
                gathered = true;
                self.env.sleep(patience).await;
                continue;
            }
            gathered = false;
            if let Some((tickets, _)) = worker.begin_sync() {
                report(worker, &self.ended);
                self.owed += self.disk.take_time();
                let flight = self.disk.take_off();
                let (results, _) = run_tickets(&self.disk, tickets, &self.metrics);
                self.disk.end_boarding();
                let took = self.disk.take_time();
                self.env.sleep(std::mem::take(&mut self.owed) + took).await;
                self.disk.land(flight);
                worker.synced(results, took);
            }
            worker.step();
            report(worker, &self.ended);
            if self.orders.is_empty() && !worker.has_steps() {
                worker.read_ahead();
            }
            self.owed += self.disk.take_time();
            if self.owed >= OWED_MAX {
                self.env.sleep(std::mem::take(&mut self.owed)).await;
            }
        }
    }

    /// Takes what has gathered, and waits for something where there is nothing else to do. False at the end.
    async fn take_orders(&mut self) -> bool {
        let Some(worker) = &self.worker else { return false };
        let is_busy = worker.has_steps() || worker.is_sync_due() || worker.looks_ahead();
        let mut orders = Vec::new();
        if !is_busy && self.orders.recv_many(&mut orders, ORDERS_AT_ONCE_MAX).await == 0 {
            return false;
        }
        while let Ok(order) = self.orders.try_recv() {
            orders.push(order);
        }
        for order in orders {
            if carry_out(&mut self.worker, order).is_break() {
                return false;
            }
        }
        !(is_busy && self.orders.is_closed() && self.orders.is_empty())
    }
}

/// How much time may be owed.
const OWED_MAX: Duration = Duration::from_millis(1);
/// Orders taken at once when the first one comes.
const ORDERS_AT_ONCE_MAX: usize = 1024;
