//! Produce requests and producer ids.

use alloc::vec::Vec;

use super::{Node, parked::ParkedProduce};
use crate::{
    ids::{JobId, LogId, ProducerEpoch, ProducerId, RequestId},
    limits,
    log::{JobOutcome, LogError},
    message::{
        Acks, ErrorCode, InitProducerIdRequest, InitProducerIdResponse, ProducePartition, ProduceRequest,
        ProduceResponse, ProducedPartition, Request, Response,
    },
    offset::Offset,
    record::TimestampType,
    replica::{Ack, Completed},
    time::Timestamp,
};

/// The rest of the block of producer ids that this node may give out, and who waits for the next block.
#[derive(Debug, Default)]
pub(super) struct ProducerIds {
    next: i64,
    end: i64,
    waiting: Vec<RequestId>,
    /// A block has been asked for.
    asked: bool,
}

impl Node {
    pub(super) fn on_produce(&mut self, id: RequestId, request: ProduceRequest) {
        let mut waiting = 0;
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for (index, asked) in request.partitions.into_iter().enumerate() {
            let (produced, waits) = self.produce_one(Ack { request: id, index }, request.acks, asked);
            waiting += usize::from(waits);
            partitions.push(produced);
        }
        let mut response = ProduceResponse { partitions };
        if waiting == 0 {
            return self.respond(id, Response::Produce(response));
        }
        let deadline = self.now.mono.after(request.timeout.min(limits::PRODUCE_WAIT_MAX));
        response.partitions.shrink_to_fit();
        self.timers.park(deadline, id);
        self.produces.park(id, ParkedProduce { response, waiting, deadline });
    }

    /// Appends one partition's batch; true when its outcome is still to come.
    fn produce_one(&mut self, waiter: Ack, acks: Acks, asked: ProducePartition) -> (ProducedPartition, bool) {
        let mut produced = ProducedPartition::failed(&asked, ErrorCode::None);
        let batch = match (self.find(&asked.topic, asked.partition), asked.batch) {
            (Ok(log), Ok(batch)) => (log, batch),
            (Err(error), _) | (_, Err(error)) => {
                produced.error = error;
                return (produced, false);
            }
        };
        let (log, batch) = batch;
        let partition = self.partitions.get_mut(&log).expect("a log that is found is led");
        let header = batch.header();
        if self.config.new_producers_begin_at_zero
            && header.has_producer()
            && header.base_sequence > 0
            && !partition.knows_producer(header.producer_id)
        {
            // What came before it never arrived, and must not be passed over.
            produced.error = ErrorCode::UnknownProducerId;
            produced.log_start = partition.log_start();
            return (produced, false);
        }
        match partition.admit(self.now, batch, acks, waiter, &mut self.tail, &mut self.effects) {
            Ok(admission) => {
                let replicated = partition.replicas().len() > 1;
                produced.base_offset = admission.base;
                produced.log_start = partition.log_start();
                if partition.config.timestamp_type == TimestampType::LogAppendTime {
                    produced.log_append_time = self.now.wall;
                }
                if admission.waits {
                    produced.error = ErrorCode::RequestTimedOut;
                }
                if replicated {
                    self.touch(log);
                }
                (produced, admission.waits)
            }
            Err(refusal) => {
                produced.error = refusal.error;
                (produced, false)
            }
        }
    }

    pub(super) fn on_append_ended(&mut self, log: LogId, job: JobId, outcome: Result<JobOutcome, LogError>) {
        let partition = self.partitions.get_mut(&log).expect("appends are ordered by partitions that are led");
        let was_offline = partition.is_offline();
        let error = outcome.as_ref().err().filter(|error| error.is_lasting()).cloned();
        let (failed, before) = (outcome.is_err(), partition.appending_bytes());
        let completed = partition.append_ended(job, outcome, &mut self.tail);
        if let Some(error) = error.filter(|_| !was_offline) {
            self.report_log_failed(log, &error);
        }
        let partition = self.partitions.get_mut(&log).expect("as above");
        if partition.replicas().len() > 1 {
            let (after, is_follower) = (partition.appending_bytes(), !partition.is_leader());
            if is_follower {
                self.append_room(before, after);
            }
            self.complete(log, completed);
            return if failed && is_follower { self.refetch_later(log) } else { self.log_moved(log) };
        }
        self.complete(log, completed);
    }

    /// Tells everybody whom an answer of the disk concerns.
    pub(super) fn complete(&mut self, log: LogId, completed: Completed) {
        for (ack, error) in completed.acks {
            self.acknowledge(ack, error);
        }
        for request in completed.readers {
            self.wake_fetch(log, request, completed.committed_bytes);
        }
        for request in completed.abandoned {
            self.finish_fetch(request);
        }
        if completed.moved {
            self.touch(log);
        }
    }

    pub(super) fn acknowledge(&mut self, ack: Ack, error: ErrorCode) {
        // The request may have timed out, or its client be gone.
        let Some(parked) = self.produces.get(ack.request) else { return };
        parked.response.partitions[ack.index].error = error;
        parked.waiting -= 1;
        if parked.waiting == 0 {
            self.finish_produce(ack.request);
        }
    }

    /// Answers a produce request with what is known by now.
    pub(super) fn finish_produce(&mut self, id: RequestId) {
        let Some(mut parked) = self.produces.take(id) else { return };
        self.timers.unpark(parked.deadline, id);
        for partition in parked.response.partitions.iter_mut().filter(|p| !p.error.is_none()) {
            partition.base_offset = Offset::NONE;
            partition.log_append_time = Timestamp::NONE;
        }
        self.respond(id, Response::Produce(parked.response));
    }

    pub(super) fn on_init_producer_id(&mut self, id: RequestId, request: &InitProducerIdRequest) {
        if request.transactional_id.is_some() {
            // Transactions are not here yet, and to hand out an id would be to pretend that they are.
            return self.respond(id, Request::InitProducerId(request.clone()).refuse(ErrorCode::InvalidRequest));
        }
        self.producer_ids.waiting.push(id);
        self.hand_out_producer_ids();
    }

    /// Gives out ids as long as there are some, and asks for the next block when there are none.
    fn hand_out_producer_ids(&mut self) {
        while self.producer_ids.next < self.producer_ids.end
            && let Some(id) = self.producer_ids.waiting.pop()
        {
            let producer_id = ProducerId(self.producer_ids.next);
            self.producer_ids.next += 1;
            let producer_epoch = ProducerEpoch(0);
            let response = InitProducerIdResponse { error: ErrorCode::None, producer_id, producer_epoch };
            self.respond(id, Response::InitProducerId(response));
        }
        if !self.producer_ids.waiting.is_empty() && !self.producer_ids.asked {
            self.producer_ids.asked = true;
            self.ask_for_producer_ids();
        }
    }

    /// No block could be had: whoever waits for an id is told.
    pub(super) fn refuse_producer_ids(&mut self, error: ErrorCode) {
        self.producer_ids.asked = false;
        for id in core::mem::take(&mut self.producer_ids.waiting) {
            let (producer_id, producer_epoch) = (ProducerId::NONE, ProducerEpoch::NONE);
            self.respond(id, Response::InitProducerId(InitProducerIdResponse { error, producer_id, producer_epoch }));
        }
    }

    /// A block is this node's.
    pub(super) fn on_producer_ids_allotted(&mut self, first: ProducerId) {
        assert!(self.producer_ids.next == self.producer_ids.end, "a block is asked for when the last is used up");
        self.producer_ids.asked = false;
        self.producer_ids.next = first.0;
        self.producer_ids.end = first.0 + limits::PRODUCER_ID_BLOCK;
        self.hand_out_producer_ids();
    }
}
