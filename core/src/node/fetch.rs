//! Fetch requests: answered at once, or parked until there is enough (KIP-74, KIP-227, KIP-320).

use alloc::vec::Vec;

use super::{Node, parked::ParkedFetch};
use crate::{
    buggify::Site,
    ids::{LogId, RequestId},
    limits,
    message::{ErrorCode, FetchPartition, FetchRequest, FetchResponse, FetchedPartition, IsolationLevel, Response},
    replica::ReadPlan,
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
            self.partitions.get_mut(log).expect("a log that is found is led").park_reader(id);
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
                    urgent |= fetched.diverging.is_some();
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
        let error = partition.check_leader(asked.current_leader_epoch);
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
        if let Some(diverging) = partition.divergence(asked.last_fetched_epoch, asked.offset) {
            fetched.diverging = Some(diverging);
            return Ok(0);
        }
        match partition.read(asked.offset, max_bytes, at_least_one) {
            ReadPlan::OutOfRange => Err(ErrorCode::OffsetOutOfRange),
            ReadPlan::Read { records, bytes } => {
                fetched.records = records;
                Ok(bytes)
            }
        }
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
