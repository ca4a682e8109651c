//! DeleteRecords over replicas: it is answered once every replica in service begins where it was asked to (KIP-107).

use alloc::vec::Vec;

use crate::node::Node;
use crate::{
    cluster,
    ids::{LogId, RequestId},
    message::{ErrorCode, Response},
    offset::Offset,
};

/// One part of a request that waits for followers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deleting {
    log: LogId,
    request: RequestId,
    index: usize,
    target: Offset,
}

impl Node {
    /// The least log start of the replicas in service, where this node leads and has followers.
    fn low_watermark(&self, log: LogId) -> Option<Offset> {
        let partition = self.partitions.get(&log).filter(|p| p.is_leader() && p.replicas().len() > 1)?;
        Some(partition.low_watermark(|node| self.image.broker(node).is_some_and(cluster::Broker::is_active)))
    }

    /// This replica begins at `target`. True if the answer has to wait for others.
    pub(in crate::node) fn awaits_replicas(
        &mut self,
        log: LogId,
        request: RequestId,
        index: usize,
        target: Offset,
    ) -> bool {
        if self.low_watermark(log).is_none_or(|low| low >= target) {
            return false;
        }
        let Some(deadline) = self.gathers.get(request).map(|gather| gather.deadline) else { return false };
        self.replication.deleting.push(Deleting { log, request, index, target });
        self.timers.park(deadline, request);
        self.touch(log);
        true
    }

    /// A follower's log begins elsewhere now.
    pub(super) fn low_watermark_moved(&mut self, log: LogId) {
        if self.replication.deleting.is_empty() {
            return;
        }
        let Some(low) = self.low_watermark(log) else { return };
        let (done, left): (Vec<_>, Vec<_>) =
            self.replication.deleting.iter().partition(|d| d.log == log && d.target <= low);
        self.replication.deleting = left;
        done.into_iter().for_each(|deleting| self.deleted(deleting, Ok(low)));
    }

    /// The time of a request is up: what is not done is said to be so.
    pub(in crate::node) fn finish_delete(&mut self, id: RequestId) {
        if self.replication.deleting.is_empty() {
            return;
        }
        let (late, left): (Vec<_>, Vec<_>) = self.replication.deleting.iter().partition(|d| d.request == id);
        self.replication.deleting = left;
        late.into_iter().for_each(|deleting| self.deleted(deleting, Err(ErrorCode::RequestTimedOut)));
    }

    fn deleted(&mut self, deleting: Deleting, outcome: Result<Offset, ErrorCode>) {
        // Its client may be gone.
        let Some(gather) = self.gathers.get(deleting.request) else { return };
        let deadline = gather.deadline;
        if let Response::DeleteRecords(response) = &mut gather.response {
            let part = &mut response.partitions[deleting.index];
            match outcome {
                Ok(low) => part.low_watermark = low,
                Err(error) => part.error = error,
            }
        }
        if !self.replication.deleting.iter().any(|other| other.request == deleting.request) {
            self.timers.unpark(deadline, deleting.request);
        }
        self.part_gathered(deleting.request);
    }
}
