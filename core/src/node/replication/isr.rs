//! Who is in sync: leaders' wishes, and the controller's answers (KIP-497).
//!
//! All wishes of a node go in one request, and one request is on its way at a time; what is wished for meanwhile goes in
//! the next.

use alloc::{collections::BTreeSet, vec::Vec};

use crate::node::{Node, calls};
use crate::{
    epoch::LeaderEpoch,
    ids::LogId,
    limits,
    message::{AlterPartitionRequest, CallError, ErrorCode, PeerRequest, PeerResponse},
    mutant,
    time::{Duration, Instant},
};

/// What this node wants of the controller.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    logs: BTreeSet<LogId>,
    is_asking: bool,
    not_before: Option<Instant>,
}

impl Wishes {
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.logs.is_empty() && !self.is_asking)
    }
}

impl Node {
    /// Looks whether replicas should join the ISR; with `leave_after`, also whether some should leave it.
    pub(in crate::node) fn consider_isr(&mut self, log: LogId, leave_after: Option<Duration>) {
        let image = &self.image;
        let lag_max = self.config.waits.replica_lag_max;
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let wishes = partition.wish_isr(self.now.mono, leave_after, lag_max, |follower| {
            let broker = image.broker(follower.node);
            let same = |b: &crate::cluster::Broker| b.epoch == follower.broker_epoch || mutant!(X13);
            broker.is_some_and(|b| (b.is_active() || mutant!(X15)) && same(b))
        });
        if wishes {
            self.replication.isr.logs.insert(log);
        }
    }

    /// Asks the controller for what is wished for.
    pub(super) fn ask_controller(&mut self) {
        let wishes = &mut self.replication.isr;
        if wishes.logs.is_empty() || wishes.is_asking || wishes.not_before.is_some_and(|at| at > self.now.mono) {
            return;
        }
        wishes.not_before = None;
        let Some(controller) = self.metadata.leader() else {
            wishes.not_before = Some(self.now.mono.after(limits::REPLICA_RETRY_WAIT));
            return;
        };
        let own = self.own_epoch();
        let (mut asked, mut partitions) = (Vec::new(), Vec::new());
        while partitions.len() < limits::ALTER_PARTITIONS_MAX
            && let Some(log) = self.replication.isr.logs.pop_first()
        {
            let Some(partition) = self.partitions.get(&log) else { continue };
            let Some(wish) = partition.wished_isr(own) else { continue };
            asked.push((log, wish.leader_epoch));
            partitions.push(wish);
        }
        if partitions.is_empty() {
            return;
        }
        self.replication.isr.is_asking = true;
        let request = AlterPartitionRequest { node: self.config.node, broker_epoch: own, partitions };
        let timeout = self.config.waits.quorum_request_timeout;
        self.call(controller, PeerRequest::AlterPartition(request), timeout, calls::Purpose::AlterPartition(asked));
    }

    /// The controller has answered, or not.
    pub(in crate::node) fn on_partitions_altered(
        &mut self,
        asked: Vec<(LogId, LeaderEpoch)>,
        outcome: Result<PeerResponse, CallError>,
    ) {
        self.replication.isr.is_asking = false;
        let answers = match outcome {
            Ok(PeerResponse::AlterPartition(r)) if r.error.is_none() && r.partitions.len() == asked.len() => {
                r.partitions
            }
            _ => {
                // It is not known whether it was done; the same wish again does no harm.
                self.replication.isr.logs.extend(asked.into_iter().map(|(log, _)| log));
                return self.ask_controller_later();
            }
        };
        for ((log, epoch), altered) in asked.into_iter().zip(answers) {
            let Some(partition) = self.partitions.get_mut(&log).filter(|p| p.id == altered.id) else { continue };
            let (again, completed) = partition.isr_altered(self.now.mono, epoch, &altered);
            self.complete(log, completed);
            if again {
                self.replication.isr.logs.insert(log);
                self.ask_controller_later();
            } else if altered.error == ErrorCode::None {
                self.consider_isr(log, None);
            }
        }
    }

    fn ask_controller_later(&mut self) {
        self.replication.isr.not_before = Some(self.now.mono.after(limits::REPLICA_RETRY_WAIT));
    }
}
