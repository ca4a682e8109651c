//! What answers mean: a batch is through, may be tried again, or has failed for good.

use alloc::vec::Vec;

use super::{Delivery, IdentityPhase, Partition, PartitionIx, Producer, ProducerEvent, Timer, TopicHandle};
use crate::{
    client::{
        accumulator::{PartitionQueue, Pending},
        call::{Order, Reply},
        producer_error::{ProduceError, ProduceErrorKind},
        sequences::Identity,
    },
    ids::{NodeId, PartitionId, TopicId},
    message::{ErrorCode, ProducedPartition, Response},
    offset::Offset,
    time::Instant,
};

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
enum Failure {
    NotSent,
    Lost,
    Refused(ErrorCode),
}

impl Producer {
    pub(super) fn on_metadata_reply(&mut self, now: Instant, reply: Reply) {
        let Reply::Answered(Response::Metadata(response)) = reply else {
            self.metadata.on_failure(now, &mut self.prng);
            return;
        };
        if !self.metadata.on_response(now, response, &mut self.prng) {
            return;
        }
        for at in 0..self.topics.len() {
            self.adopt_metadata(TopicHandle(at as u32));
        }
        self.wake();
    }

    /// Brings a topic's partitions in line with the metadata.
    fn adopt_metadata(&mut self, handle: TopicHandle) {
        let topic = &mut self.topics[handle.0 as usize];
        let Some(known) = self.metadata.topic(&topic.name).filter(|t| t.id != TopicId::ZERO) else { return };
        topic.awaited_since = None;
        self.timers.clear(Timer::Topic(handle));
        let mut stirred = Vec::new();
        for (number, leader) in known.partitions.iter().enumerate() {
            if number == topic.partitions.len() {
                topic.partitions.push(PartitionIx(u32::try_from(self.partitions.len()).expect("fewer than 2^32")));
                self.partitions.push(Partition {
                    topic: handle,
                    number: PartitionId(i32::try_from(number).expect("partition numbers fit")),
                    leader: None,
                    queue: PartitionQueue::new(known.id),
                });
            }
            let ix = topic.partitions[number];
            let partition = &mut self.partitions[ix.0 as usize];
            let moved = leader.node.is_some() && partition.leader != leader.node;
            partition.leader = leader.node;
            if moved && partition.queue.resting {
                // What rests does so because of the leader before.
                partition.queue.resting = false;
                self.timers.clear(Timer::Rest(ix));
            }
            if partition.queue.topic_id != known.id {
                // Another topic of the same name: what the old one knew of the producer is gone with it.
                partition.queue.topic_id = known.id;
                if partition.queue.sequences.identity().is_some() {
                    partition.queue.sequences.break_off();
                }
            }
            if partition.queue.wants_to_send() || partition.queue.sequences.is_broken() {
                stirred.push(ix);
            }
        }
        for ix in stirred {
            self.sendable.insert(ix);
            self.mend(ix);
        }
    }

    pub(super) fn on_identity_reply(&mut self, now: Instant, reply: Reply) {
        match reply {
            Reply::Answered(Response::InitProducerId(response)) if response.error.is_none() => {
                self.identity_failures = 0;
                self.identity =
                    IdentityPhase::Held(Identity { id: response.producer_id, epoch: response.producer_epoch });
                for at in 0..self.partitions.len() {
                    self.mend(PartitionIx(at as u32));
                }
            }
            _ => {
                // Whatever the error: batches that cannot leave fail by their delivery timeout.
                self.identity_failures = self.identity_failures.saturating_add(1);
                self.identity = IdentityPhase::Resting;
                let wait = self.config.backoff.after(self.identity_failures, &mut self.prng);
                self.timers.set(Timer::Identity, now.after(wait));
            }
        }
    }

    pub(super) fn on_produce_reply(
        &mut self,
        now: Instant,
        node: NodeId,
        batches: &[(PartitionIx, u64)],
        reply: Reply,
    ) {
        let busy = self.busy.get_mut(&node).expect("a call to the node was open");
        *busy -= 1;
        if *busy == 0 {
            self.busy.remove(&node);
        }
        let failure = match reply {
            Reply::Answered(Response::Produce(response)) if response.partitions.len() == batches.len() => {
                for (&(ix, id), produced) in batches.iter().zip(response.partitions) {
                    self.on_produced(now, ix, id, &produced);
                }
                None
            }
            Reply::Sent => {
                for &(ix, id) in batches {
                    self.on_delivered(ix, id, Offset::NONE);
                }
                None
            }
            // An answer that is none tells nothing about what the node did.
            Reply::Answered(_) | Reply::Lost => Some(Failure::Lost),
            Reply::NotSent => Some(Failure::NotSent),
            Reply::Refused(code) => Some(Failure::Refused(code)),
        };
        if let Some(failure) = failure {
            for &(ix, id) in batches {
                self.on_failed(now, ix, id, failure);
            }
        }
        for partition in batches.iter().map(|&(ix, _)| ix) {
            self.mend(partition);
            if self.partitions[partition.0 as usize].queue.wants_to_send() {
                self.sendable.insert(partition);
            }
        }
    }

    fn on_produced(&mut self, now: Instant, ix: PartitionIx, id: u64, produced: &ProducedPartition) {
        match produced.error {
            ErrorCode::None => self.on_delivered(ix, id, produced.base_offset),
            // It is in the log, the node no longer knows where.
            ErrorCode::DuplicateSequenceNumber => self.on_delivered(ix, id, Offset::NONE),
            code => self.on_failed(now, ix, id, Failure::Refused(code)),
        }
    }

    fn on_delivered(&mut self, ix: PartitionIx, id: u64, base_offset: Offset) {
        let queue = &mut self.partitions[ix.0 as usize].queue;
        // One that expired meanwhile was reported already.
        let Some(at) = queue.position(id) else { return };
        queue.failures = 0;
        queue.sequences.acknowledged();
        let pending = queue.pending.remove(at).expect("found there");
        self.deliver(ix, &pending, Ok(base_offset));
    }

    fn on_failed(&mut self, now: Instant, ix: PartitionIx, id: u64, failure: Failure) {
        let idempotent = self.config.idempotence;
        let queue = &mut self.partitions[ix.0 as usize].queue;
        let Some(at) = queue.position(id) else { return };
        let pending = &mut queue.pending[at];
        pending.call = None;
        pending.maybe_applied |= failure.may_have_applied();
        if let Failure::Refused(code) = failure {
            pending.last_error = Some(code);
        }
        if failure.tells_of_stale_metadata() {
            self.metadata.request_refresh(now, &mut self.prng);
        }
        let rests = match failure {
            Failure::Refused(ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId) if idempotent => {
                // Behind others that are not decided it will be its turn yet. At the head the node misses something
                // that will never come.
                if at == 0 {
                    queue.sequences.break_off();
                }
                at == 0
            }
            Failure::Refused(ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced) if idempotent => {
                queue.sequences.break_off();
                let fenced = queue.sequences.identity().map(|i| i.id);
                if matches!(self.identity, IdentityPhase::Held(held) if Some(held.id) == fenced) {
                    self.identity = IdentityPhase::Wanted;
                }
                true
            }
            // Two smaller ones may do, and what is smaller need not wait.
            Failure::Refused(ErrorCode::MessageTooLarge) if queue.split(at, self.batches) => {
                self.batches += 1;
                false
            }
            Failure::Refused(code) if !code.is_retriable() => {
                let may_have_applied = queue.pending[at].maybe_applied;
                let pending = queue.fail(at);
                let error = ProduceError { kind: ProduceErrorKind::Rejected(code), may_have_applied };
                self.deliver(ix, &pending, Err(error));
                false
            }
            _ => true,
        };
        let queue = &mut self.partitions[ix.0 as usize].queue;
        // Batches that fail together are one failure.
        if rests && !queue.resting {
            queue.failures = queue.failures.saturating_add(1);
            queue.resting = true;
            let wait = self.config.backoff.after(queue.failures, &mut self.prng);
            self.timers.set(Timer::Rest(ix), now.after(wait));
        }
    }

    /// Begins a broken sequence anew when that can be, and reports what falls by the wayside.
    pub(super) fn mend(&mut self, ix: PartitionIx) {
        let queue = &mut self.partitions[ix.0 as usize].queue;
        if !queue.sequences.is_broken() || queue.in_flight() > 0 {
            return;
        }
        let Some(newest) = self.held_identity() else { return };
        let queue = &mut self.partitions[ix.0 as usize].queue;
        let Some(failed) = queue.restart(newest) else {
            // The id's epochs are used up: another id is wanted.
            self.identity = IdentityPhase::Wanted;
            self.sendable.insert(ix);
            return;
        };
        if queue.wants_to_send() {
            self.sendable.insert(ix);
        }
        for (at, pending) in failed.iter().enumerate() {
            let error = ProduceError { kind: ProduceErrorKind::Unresolved, may_have_applied: true };
            let has_more = failed.iter().skip(at + 1).any(|other| other.number == pending.number);
            self.report(ix, pending, Err(error), has_more);
        }
    }

    pub(super) fn deliver(&mut self, ix: PartitionIx, pending: &Pending, outcome: Result<Offset, ProduceError>) {
        self.report(ix, pending, outcome, false);
    }

    /// Tells the application what became of a batch that has left its queue; `has_more` of the same batch may be about to
    /// be told besides what is left there.
    fn report(&mut self, ix: PartitionIx, pending: &Pending, outcome: Result<Offset, ProduceError>, has_more: bool) {
        assert!(self.buffered >= pending.charge, "what leaves the memory was in it");
        self.buffered -= pending.charge;
        let partition = &self.partitions[ix.0 as usize];
        match partition.queue.oldest() {
            Some(opened) => self.timers.set(Timer::Expiry(ix), opened.after(self.config.delivery_timeout)),
            None => self.timers.clear(Timer::Expiry(ix)),
        }
        self.orders.push_back(Order::Event(ProducerEvent::Delivered(Delivery {
            batch: pending.number,
            first: pending.first,
            records: pending.records,
            has_more: has_more || partition.queue.has_more_of(pending.number),
            topic: partition.topic,
            partition: partition.number,
            outcome,
        })));
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        if self.refused {
            self.refused = false;
            self.orders.push_back(Order::Event(ProducerEvent::Wake));
        }
    }
}

impl Failure {
    /// Can the batch be in the log all the same?
    fn may_have_applied(self) -> bool {
        match self {
            Self::NotSent => false,
            Self::Lost => true,
            Self::Refused(code) => matches!(
                code,
                ErrorCode::RequestTimedOut
                    // So it is answered, too, when the leader is deposed while the batch waits for its followers.
                    | ErrorCode::NotLeaderOrFollower
                    | ErrorCode::NotEnoughReplicasAfterAppend
                    | ErrorCode::NetworkException
                    | ErrorCode::KafkaStorageError
                    | ErrorCode::UnknownServerError
            ),
        }
    }

    /// Does it suggest that somebody else leads the partition now?
    fn tells_of_stale_metadata(self) -> bool {
        match self {
            Self::NotSent | Self::Lost => true,
            Self::Refused(code) => matches!(
                code,
                ErrorCode::NotLeaderOrFollower
                    | ErrorCode::LeaderNotAvailable
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::UnknownTopicId
                    | ErrorCode::InconsistentTopicId
                    | ErrorCode::ReplicaNotAvailable
                    | ErrorCode::FencedLeaderEpoch
                    | ErrorCode::UnknownLeaderEpoch
                    | ErrorCode::KafkaStorageError
            ),
        }
    }
}
