//! Fetch requests: answered at once, or parked until there is enough (KIP-74, KIP-227, KIP-320). Followers serve readers,
//! too, and leaders send them there by rack (KIP-392).

use alloc::vec::Vec;

use super::{Node, ReplicaSelector, parked::ParkedFetch};
use crate::{
    buggify::Site,
    ids::{LogId, NodeId, RequestId},
    limits,
    message::{ErrorCode, FetchPartition, FetchRequest, FetchResponse, FetchedPartition, IsolationLevel, Response},
    mutant,
    offset::Offset,
    replica::{Partition, ReadPlan},
    time::Duration,
};

impl Node {
    pub(super) fn on_fetch(&mut self, id: RequestId, mut request: FetchRequest) {
        if self.buggify.fires(Site::TinyFetch) {
            request.max_bytes = 1;
        }
        if self.buggify.fires(Site::EarlyAnswer) {
            request.max_wait = Duration::ZERO;
        }
        let (response, bytes, urgent) = self.read(&request);
        if urgent || bytes >= request.min_bytes || request.max_wait == Duration::ZERO {
            return self.respond(id, Response::Fetch(response));
        }
        let deadline = self.now.mono.after(request.max_wait.min(limits::FETCH_WAIT_MAX));
        let logs: Vec<LogId> =
            request.partitions.iter().filter_map(|p| self.find(&p.topic, p.partition).ok()).collect();
        for log in &logs {
            self.partitions.get_mut(log).expect("a log that is found is there").park_reader(id);
        }
        self.timers.park(deadline, id);
        self.fetches.park(id, ParkedFetch { request, logs, bytes, deadline });
    }

    /// What can be read now, how many bytes that is, and whether it must be said at once.
    fn read(&self, request: &FetchRequest) -> (FetchResponse, usize, bool) {
        let mut room = request.max_bytes.min(limits::FETCH_BYTES_MAX);
        let (mut total, mut urgent) = (0, false);
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for asked in &request.partitions {
            let mut fetched = FetchedPartition::failed(asked, ErrorCode::None);
            match self.read_one(request, asked, asked.max_bytes.min(room), total == 0, &mut fetched) {
                Ok(bytes) => {
                    room = room.saturating_sub(bytes);
                    total += bytes;
                    urgent |= fetched.diverging.is_some() || fetched.preferred_read_replica.is_some();
                }
                Err(error) => {
                    fetched.error = error;
                    urgent = true;
                }
            }
            partitions.push(fetched);
        }
        (FetchResponse { partitions }, total, urgent || request.partitions.is_empty())
    }

    fn read_one(
        &self,
        request: &FetchRequest,
        asked: &FetchPartition,
        max_bytes: usize,
        at_least_one: bool,
        fetched: &mut FetchedPartition,
    ) -> Result<usize, ErrorCode> {
        let partition = &self.partitions[&self.find(&asked.topic, asked.partition)?];
        let error = partition.check_reader(asked.current_leader_epoch, request.rack.is_some());
        if !error.is_none() {
            return Err(error);
        }
        if partition.is_offline() {
            return Err(ErrorCode::KafkaStorageError);
        }
        fetched.high_watermark = partition.high_watermark();
        fetched.last_stable_offset = partition.last_stable_offset();
        fetched.log_start = partition.log_start();
        if request.isolation == IsolationLevel::ReadCommitted {
            // There are no transactions yet, so none was aborted.
            fetched.aborted = Some(Vec::new());
        }
        if partition.is_leader()
            && let Some(diverging) = partition.divergence(asked.last_fetched_epoch, asked.offset)
        {
            fetched.diverging = Some(diverging);
            return Ok(0);
        }
        let plan = partition.read(asked.offset, asked.last_fetched_epoch, max_bytes, at_least_one)?;
        fetched.preferred_read_replica = self.nearer_replica(partition, request.rack.as_deref(), asked.offset);
        match plan {
            ReadPlan::Read { records, bytes } if fetched.preferred_read_replica.is_none() => {
                fetched.records = records;
                Ok(bytes)
            }
            _ => Ok(0),
        }
    }

    /// Whom a reader in this rack had better ask, if that is not this node.
    fn nearer_replica(&self, partition: &Partition, rack: Option<&str>, offset: Offset) -> Option<NodeId> {
        let rack = rack.filter(|rack| !rack.is_empty())?;
        if self.config.replica_selector == ReplicaSelector::Leader {
            return None;
        }
        let is_near = |node: NodeId| {
            let broker = self.image.broker(node).filter(|broker| broker.is_active());
            broker.is_some_and(|broker| broker.rack.as_deref() == Some(rack))
        };
        if mutant!(X22) && !partition.is_leader() {
            let others = partition.replicas().iter().copied().filter(|node| *node != self.config.node);
            return others.clone().find(|node| is_near(*node)).or(partition.leader());
        }
        partition.nearer_replica(offset, is_near)
    }

    /// The high watermark of a log has moved by so many bytes; a parked request may have enough now.
    pub(super) fn wake_fetch(&mut self, log: LogId, id: RequestId, committed_bytes: usize) {
        let Some(parked) = self.fetches.get(id) else { return };
        parked.bytes = parked.bytes.saturating_add(committed_bytes);
        if parked.bytes >= parked.request.min_bytes {
            self.finish_fetch(id);
        } else if let Some(partition) = self.partitions.get_mut(&log) {
            partition.park_reader(id);
        }
    }

    /// Answers a parked fetch with what there is by now.
    pub(super) fn finish_fetch(&mut self, id: RequestId) {
        if let Some(request) = self.drop_fetch(id) {
            let (response, _, _) = self.read(&request);
            self.respond(id, Response::Fetch(response));
        }
    }

    /// Takes a parked fetch out.
    pub(super) fn drop_fetch(&mut self, id: RequestId) -> Option<FetchRequest> {
        let parked = self.fetches.take(id)?;
        self.timers.unpark(parked.deadline, id);
        for log in &parked.logs {
            if let Some(partition) = self.partitions.get_mut(log) {
                partition.unpark_reader(id);
            }
        }
        Some(parked.request)
    }

    pub(super) fn on_request_deadline(&mut self, id: RequestId) {
        self.finish_produce(id);
        self.finish_fetch(id);
        self.finish_pull(id);
        self.finish_replica_fetch(id);
        self.finish_delete(id);
    }
}

#[cfg(test)]
mod tests;
