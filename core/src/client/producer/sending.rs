//! How batches leave: rounds in which every node is given at most one request, with one batch of each partition that
//! it leads.

use alloc::vec::Vec;

use super::{IdentityPhase, PartitionIx, Producer, Purpose};
use crate::{
    client::{
        call::{Call, CallId, Order, Target},
        sequences::Identity,
    },
    ids::{NodeId, ProducerEpoch, ProducerId},
    message::{InitProducerIdRequest, ProducePartition, ProduceRequest, Request, TopicRef},
    time::Instant,
};

/// A produce request in the making.
struct Outgoing {
    node: NodeId,
    bytes: usize,
    partitions: Vec<ProducePartition>,
    batches: Vec<(PartitionIx, u64)>,
}

impl Producer {
    pub(super) fn drain(&mut self, now: Instant) {
        if let Some(request) = self.metadata.poll_request(now) {
            self.call(now, Target::Any, Request::Metadata(request), Purpose::Metadata);
        }
        if self.sendable.is_empty() {
            return;
        }
        if self.config.idempotence && !matches!(self.identity, IdentityPhase::Held(_)) {
            self.ask_identity(now);
            return;
        }
        while self.send_round(now) {}
    }

    pub(super) fn call(&mut self, now: Instant, to: Target, request: Request, purpose: Purpose) -> CallId {
        let call: Call = self.calls.open(now, self.config.request_timeout, to, request, purpose);
        let id = call.id;
        self.orders.push_back(Order::Call(call));
        id
    }

    fn ask_identity(&mut self, now: Instant) {
        if self.identity == IdentityPhase::Wanted {
            self.identity = IdentityPhase::Asking;
            let request = InitProducerIdRequest {
                transactional_id: None,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
            };
            self.call(now, Target::Any, Request::InitProducerId(request), Purpose::Identity);
        }
    }

    pub(super) fn held_identity(&self) -> Option<Identity> {
        match self.identity {
            IdentityPhase::Held(identity) => Some(identity),
            _ => None,
        }
    }

    /// Gives every node at most one request. True when one went out, so that there may be more.
    fn send_round(&mut self, now: Instant) -> bool {
        let mut outgoing: Vec<Outgoing> = Vec::new();
        let from = self.cursor;
        let order: Vec<PartitionIx> = self.sendable.range(from..).chain(self.sendable.range(..from)).copied().collect();
        for ix in order {
            self.add_to_round(ix, &mut outgoing);
        }
        let sent = !outgoing.is_empty();
        for request in outgoing {
            self.cursor = request.batches.last().map_or(PartitionIx(0), |&(ix, _)| PartitionIx(ix.0 + 1));
            *self.busy.entry(request.node).or_default() += 1;
            let batches = request.batches.clone();
            let produce = ProduceRequest {
                acks: self.config.acks,
                timeout: self.config.request_timeout,
                partitions: request.partitions,
            };
            let purpose = Purpose::Produce { node: request.node, batches: request.batches };
            let call = self.call(now, Target::Node(request.node), Request::Produce(produce), purpose);
            for (ix, id) in batches {
                let queue = &mut self.partitions[ix.0 as usize].queue;
                let at = queue.position(id).expect("it was taken from there");
                let pending = &mut queue.pending[at];
                pending.call = Some(call);
                pending.attempts += 1;
            }
        }
        sent
    }

    fn add_to_round(&mut self, ix: PartitionIx, outgoing: &mut Vec<Outgoing>) {
        let newest = self.held_identity();
        let partition = &mut self.partitions[ix.0 as usize];
        let Some(node) = partition.leader else {
            // Comes back with the metadata that names one.
            self.sendable.remove(&ix);
            return;
        };
        if self.busy.get(&node).is_some_and(|&n| n >= self.config.in_flight_max) {
            return;
        }
        let place = outgoing.iter().position(|o| o.node == node);
        if place.is_some_and(|p| outgoing[p].bytes >= self.config.request_bytes_max) {
            return;
        }
        let queue = &mut partition.queue;
        let Some(at) = queue.next_to_send(self.config.in_flight_max, self.config.idempotence) else {
            self.sendable.remove(&ix);
            return;
        };
        let size = queue.size_at(at);
        if place.is_some_and(|p| outgoing[p].bytes + size > self.config.request_bytes_max) {
            return;
        }
        let batch = queue.batch_to_send(at, self.config.compression, newest.filter(|_| self.config.idempotence));
        let place = place.unwrap_or_else(|| {
            outgoing.push(Outgoing { node, bytes: 0, partitions: Vec::new(), batches: Vec::new() });
            outgoing.len() - 1
        });
        let request = &mut outgoing[place];
        request.bytes += batch.size();
        request.batches.push((ix, queue.pending[at].id));
        request.partitions.push(ProducePartition {
            topic: TopicRef::Id(queue.topic_id),
            partition: partition.number,
            batch: Ok(batch),
        });
    }
}
