//! What is done every now and then: retention, cleaning, expiry. An idle log costs nothing but a look.

use super::{Node, Purpose, startup::Phase, timers::TimerKind};
use crate::{
    ids::LogId,
    log::{JobOutcome, LogError},
    replica::Housekeeping,
};

const PERIODIC: [(TimerKind, Housekeeping); 3] = [
    (TimerKind::Retention, Housekeeping::Retention),
    (TimerKind::Cleaning, Housekeeping::Cleaning),
    (TimerKind::Expiry, Housekeeping::Expiry),
];

impl Node {
    pub(super) fn housekeep(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        for (timer, which) in PERIODIC {
            if !self.timers.due(timer, self.now.mono) {
                continue;
            }
            for (&log, partition) in &mut self.partitions {
                if let Some(job) = partition.housekeeping(self.now.wall, which) {
                    let job = self.effects.run(log, job);
                    self.jobs.insert(job, Purpose::Housekeeping);
                }
            }
        }
    }

    /// Housekeeping, or an order whose outcome matters only when it failed, has ended.
    pub(super) fn on_housekeeping_ended(
        &mut self,
        log: LogId,
        purpose: Purpose,
        outcome: Result<JobOutcome, LogError>,
    ) {
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        // A log that could not be read while it was to be changed is used no more, nor is one with damage in it.
        let is_final = |error: &LogError| match error {
            LogError::Corrupt { .. } => true,
            LogError::Unreadable(_) => matches!(purpose, Purpose::Order),
            _ => false,
        };
        let damage = outcome.as_ref().err().filter(|error| is_final(error)).cloned();
        match outcome {
            Ok(JobOutcome::Trimmed { log_start, size, .. }) => {
                partition.trimmed(log_start, size);
                // Its leader is told where it begins.
                self.pull_again(log);
            }
            Ok(JobOutcome::Expired { producers }) => partition.producers_expired(&producers, self.now.wall),
            Ok(_) => {}
            // What could not be done now is due again next time.
            Err(_) if damage.is_none() => {}
            Err(_) => partition.take_offline(),
        }
        if let Some(error) = damage {
            self.report_log_failed(log, &error);
        }
    }
}
