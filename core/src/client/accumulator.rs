//! One partition's records on their way out: an open batch that fills, and closed ones that wait for their answers.
//!
//! ```text
//!   append ──► open ──(full, or lingered and there is room)──► pending: [ on its way | on its way | waiting ]
//!                                                                          │ acknowledged, or failed for good
//!                                                                          ▼ delivered, in order
//! ```
//!
//! What keeps the order: a batch leaves only when every batch before it is on its way for the first time. After a
//! failure only the head is sent again, alone, until it is through. An open batch whose linger is over stays open
//! while nothing can leave: a producer that is held up makes larger batches, not more of them.
//!
//! A batch that is too large for its node is cut in two, and those again if need be. The parts keep the numbers that
//! their records have, and the name under which the application knows them.

use alloc::collections::VecDeque;

use super::{
    call::CallId,
    sequences::{Identity, Sequences},
};
use crate::{
    ids::{ProducerEpoch, ProducerId, TopicId},
    message::ErrorCode,
    record::{Batch, BatchBuilder, BatchOptions, Compression, HEADER_BYTES},
    time::Instant,
};

/// Everything that one partition has not delivered yet.
#[derive(Debug)]
pub(crate) struct PartitionQueue {
    /// The incarnation that sequences belong to.
    pub(crate) topic_id: TopicId,
    pub(crate) open: Option<OpenBatch>,
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) sequences: Sequences,
    /// Waits after a failure.
    pub(crate) resting: bool,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// How large the last batch became: what to reserve for the next.
    size_hint: usize,
}

/// The batch that records are appended to.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) number: u64,
    pub(crate) builder: BatchBuilder,
    pub(crate) opened: Instant,
    /// Its linger is over: it leaves as soon as it can.
    pub(crate) lingered: bool,
}

/// A closed batch, or a part of one.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Names it in here. That of a batch which is whole is its number.
    pub(crate) id: u64,
    /// The batch as the application knows it.
    pub(crate) number: u64,
    /// The index of its first record in that batch.
    pub(crate) first: u32,
    pub(crate) records: u32,
    /// What it counts for in the producer's memory.
    pub(crate) charge: usize,
    pub(crate) opened: Instant,
    body: Body,
    /// Does it hold sequence numbers?
    pub(crate) sequenced: bool,
    /// The call that carries it now.
    pub(crate) call: Option<CallId>,
    pub(crate) attempts: u32,
    /// An attempt ended without anybody knowing how.
    pub(crate) maybe_applied: bool,
    /// What a node last had against it.
    pub(crate) last_error: Option<ErrorCode>,
}

#[derive(Debug)]
enum Body {
    Records(BatchBuilder),
    Built(Batch),
    /// Only while it is being built.
    Taken,
}

impl PartitionQueue {
    pub(crate) fn new(topic_id: TopicId) -> Self {
        Self {
            topic_id,
            open: None,
            pending: VecDeque::new(),
            sequences: Sequences::new(),
            resting: false,
            failures: 0,
            size_hint: SIZE_HINT_FIRST,
        }
    }

    /// Opens a batch. There must be none.
    pub(crate) fn open(&mut self, number: u64, now: Instant, lingered: bool) -> &mut OpenBatch {
        assert!(self.open.is_none(), "one open batch at a time");
        let builder = BatchBuilder::with_capacity(self.size_hint);
        self.open.insert(OpenBatch { number, builder, opened: now, lingered })
    }

    /// Closes the open batch, if there is one.
    pub(crate) fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.size_hint = open.builder.bytes().next_power_of_two();
        self.pending.push_back(Pending {
            id: open.number,
            number: open.number,
            first: 0,
            records: u32::try_from(open.builder.len()).expect("a batch's records fit 31 bits"),
            charge: open.builder.bytes(),
            opened: open.opened,
            body: Body::Records(open.builder),
            sequenced: false,
            call: None,
            attempts: 0,
            maybe_applied: false,
            last_error: None,
        });
    }

    /// When the oldest batch was opened.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.pending.front().map(|p| p.opened).or(self.open.as_ref().map(|o| o.opened))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.pending.iter().filter(|p| p.call.is_some()).count()
    }

    /// Has it a batch that would leave if it could?
    pub(crate) fn wants_to_send(&self) -> bool {
        self.pending.iter().any(|p| p.call.is_none()) || self.open.as_ref().is_some_and(|o| o.lingered)
    }

    /// The place of the batch that may leave now; closes the open batch when it is that one's turn.
    pub(crate) fn next_to_send(&mut self, in_flight_max: usize, idempotent: bool) -> Option<usize> {
        if self.resting || self.sequences.is_broken() {
            return None;
        }
        let in_flight = self.in_flight();
        let max = if idempotent && !self.sequences.is_established() { 1 } else { in_flight_max };
        if in_flight >= max {
            return None;
        }
        let at = match self.pending.iter().position(|p| p.call.is_none()) {
            Some(at) => at,
            None if self.open.as_ref().is_some_and(|o| o.lingered) => {
                self.close();
                self.pending.len() - 1
            }
            None => return None,
        };
        let undisturbed = self.pending[at].attempts == 0 && self.pending.iter().take(at).all(|p| p.attempts == 1);
        (at == 0 || undisturbed).then_some(at)
    }

    /// The batch at `at` as it goes out; it gets its numbers with its first attempt and keeps them.
    pub(crate) fn batch_to_send(&mut self, at: usize, compression: Compression, newest: Option<Identity>) -> Batch {
        let pending = &mut self.pending[at];
        let numbers = newest.filter(|_| !pending.sequenced).map(|newest| {
            let (identity, first) = self.sequences.take(newest, pending.records);
            pending.sequenced = true;
            (identity.id, identity.epoch, first)
        });
        let built = match core::mem::replace(&mut pending.body, Body::Taken) {
            Body::Records(builder) => {
                builder.build(&BatchOptions { compression, producer: numbers, ..BatchOptions::default() })
            }
            Body::Built(batch) => match numbers {
                Some(numbers) => renumber(&batch, numbers),
                None => batch,
            },
            Body::Taken => unreachable!("the body is put back below"),
        };
        pending.body = Body::Built(built.clone());
        built
    }

    /// Bytes of the batch at `at`, at most.
    pub(crate) fn size_at(&self, at: usize) -> usize {
        match &self.pending[at].body {
            Body::Records(builder) => builder.bytes(),
            Body::Built(batch) => batch.size(),
            Body::Taken => 0,
        }
    }

    pub(crate) fn position(&self, id: u64) -> Option<usize> {
        self.pending.iter().position(|p| p.id == id)
    }

    /// Is any part of this batch not delivered?
    pub(crate) fn has_more_of(&self, number: u64) -> bool {
        self.pending.iter().any(|p| p.number == number)
    }

    /// Cuts the batch at `at`, which no node can have taken, in two of about the same size; the second part is named
    /// `id`. False for one that cannot be cut.
    pub(crate) fn split(&mut self, at: usize, id: u64) -> bool {
        let pending = &self.pending[at];
        let Body::Built(batch) = &pending.body else { return false };
        if pending.records < 2 || pending.maybe_applied || pending.call.is_some() {
            return false;
        }
        let Some((front, back)) = halves(batch) else { return false };
        let in_front = front.header().records_count.unsigned_abs();
        let whole = &mut self.pending[at];
        let part = Pending {
            id,
            number: whole.number,
            first: whole.first + in_front,
            records: whole.records - in_front,
            charge: whole.charge - whole.charge / 2,
            opened: whole.opened,
            body: Body::Built(back),
            sequenced: whole.sequenced,
            call: None,
            attempts: whole.attempts,
            maybe_applied: false,
            last_error: whole.last_error,
        };
        whole.records = in_front;
        whole.charge /= 2;
        whole.body = Body::Built(front);
        self.pending.insert(at + 1, part);
        true
    }

    /// Takes a batch out for good because it failed, and leaves the sequence so that the others can go on.
    pub(crate) fn fail(&mut self, at: usize) -> Pending {
        let pending = self.pending.remove(at).expect("the caller found it there");
        if pending.sequenced {
            let last = !self.pending.iter().skip(at).any(|p| p.sequenced);
            match &pending.body {
                // Every attempt was refused and nothing was numbered after it: its numbers can be used again.
                Body::Built(batch) if last && !pending.maybe_applied && pending.call.is_none() => {
                    self.sequences.give_back(batch.header().base_sequence);
                }
                _ => self.sequences.break_off(),
            }
        }
        pending
    }

    /// With a broken sequence and nothing on its way: begins the next epoch. The batches that can be in the log
    /// already are returned, they failed; the others get new numbers. `None` while it cannot begin.
    pub(crate) fn restart(&mut self, newest: Identity) -> Option<VecDeque<Pending>> {
        if !self.sequences.is_broken() || self.in_flight() > 0 || !self.sequences.restart(newest) {
            return None;
        }
        let (failed, mut kept): (VecDeque<_>, VecDeque<_>) =
            self.pending.drain(..).partition(|p| p.sequenced && p.maybe_applied);
        for pending in &mut kept {
            pending.sequenced = false;
            // What is numbered anew is sent for the first time, as far as order goes.
            pending.attempts = 0;
        }
        self.pending = kept;
        Some(failed)
    }
}

/// The first and the last records of a batch, about as many bytes each; `None` when it does not open.
fn halves(batch: &Batch) -> Option<(Batch, Batch)> {
    let header = batch.header();
    let open = batch.open().ok()?;
    let middle = open.plain_bytes() / 2;
    let mut parts = [BatchBuilder::with_capacity(middle), BatchBuilder::with_capacity(middle)];
    let last = header.records_count - 1;
    for (index, record) in (0..).zip(open.iter()) {
        let record = record.ok()?;
        // Neither part is left without a record.
        let is_front = index < last && (index == 0 || parts[0].bytes() < HEADER_BYTES + middle) && parts[1].is_empty();
        let part = &mut parts[usize::from(!is_front)];
        part.append(part.next_delta(), record.timestamp, record.key, record.value, record.headers);
    }
    let records = i32::try_from(parts[0].len()).expect("fewer than the whole has");
    let build = |builder: BatchBuilder, skipped: i32| {
        let sequence = (header.base_sequence >= 0).then(|| {
            (header.base_sequence.cast_unsigned().wrapping_add(skipped.cast_unsigned()) & 0x7fff_ffff).cast_signed()
        });
        builder.build(&BatchOptions {
            compression: header.compression().unwrap_or(Compression::None),
            producer: sequence.map(|sequence| (header.producer_id, header.producer_epoch, sequence)),
            ..BatchOptions::default()
        })
    };
    let [front, back] = parts;
    Some((build(front, 0), build(back, records)))
}

/// The same records under other numbers.
fn renumber(batch: &Batch, (id, epoch, first): (ProducerId, ProducerEpoch, i32)) -> Batch {
    let mut header = *batch.header();
    header.producer_id = id;
    header.producer_epoch = epoch;
    header.base_sequence = first;
    Batch::assemble(header, batch.body().clone())
}

/// What the first batch of a partition reserves.
const SIZE_HINT_FIRST: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const ONE: Identity = Identity { id: ProducerId(7), epoch: ProducerEpoch(0) };

    fn queue_of(batches: u64) -> PartitionQueue {
        let mut queue = PartitionQueue::new(TopicId([1; 16]));
        for number in 0..batches {
            let open = queue.open(number, Instant::ZERO, true);
            open.builder.append(0, Timestamp(1), None, Some(b"v"), []);
            open.builder.append(1, Timestamp(1), None, Some(b"w"), []);
            queue.close();
        }
        queue
    }

    fn send(queue: &mut PartitionQueue) -> Option<i32> {
        let at = queue.next_to_send(5, true)?;
        let batch = queue.batch_to_send(at, Compression::None, Some(ONE));
        queue.pending[at].call = Some(CallId(queue.pending[at].number));
        queue.pending[at].attempts += 1;
        Some(batch.header().base_sequence)
    }

    #[test]
    fn one_batch_goes_ahead_until_the_node_knows_the_producer_then_five() {
        let mut queue = queue_of(8);
        assert_eq!(send(&mut queue), Some(0));
        assert_eq!(send(&mut queue), None);
        queue.pending.pop_front();
        queue.sequences.acknowledged();
        let sent: std::vec::Vec<_> = core::iter::from_fn(|| send(&mut queue)).collect();
        assert_eq!(sent, [2, 4, 6, 8, 10]);
    }

    #[test]
    fn after_a_failure_only_the_head_goes() {
        let mut queue = queue_of(4);
        queue.sequences.acknowledged();
        for _ in 0..3 {
            send(&mut queue).expect("there is room");
        }
        queue.pending[1].call = None;
        assert_eq!(send(&mut queue), None, "the second waits for the first");
        queue.pending[0].call = None;
        assert_eq!(send(&mut queue), Some(0), "with its old number");
        assert_eq!(send(&mut queue), None);
    }

    #[test]
    fn the_last_numbers_are_given_back_others_break_the_sequence() {
        let mut queue = queue_of(3);
        queue.sequences.acknowledged();
        send(&mut queue);
        send(&mut queue);
        queue.pending[1].call = None;
        queue.fail(1);
        assert!(!queue.sequences.is_broken());
        assert_eq!(send(&mut queue), Some(2), "the third takes the numbers of the second");
        queue.pending[0].call = None;
        queue.fail(0);
        assert!(queue.sequences.is_broken());
        assert!(queue.restart(ONE).is_none(), "one is on its way");
        queue.pending[0].call = None;
        assert!(queue.restart(ONE).expect("now").is_empty());
        assert_eq!(send(&mut queue), Some(0));
    }

    #[test]
    fn a_restart_never_sends_what_may_be_in_the_log_again() {
        let mut queue = queue_of(3);
        queue.sequences.acknowledged();
        send(&mut queue);
        send(&mut queue);
        for pending in queue.pending.iter_mut() {
            pending.call = None;
        }
        queue.pending[1].maybe_applied = true;
        queue.sequences.break_off();
        let failed = queue.restart(ONE).expect("nothing is on its way");
        assert_eq!(failed.iter().map(|p| p.number).collect::<std::vec::Vec<_>>(), [1]);
        assert_eq!(queue.pending.iter().map(|p| p.number).collect::<std::vec::Vec<_>>(), [0, 2]);
        let at = queue.next_to_send(5, true).expect("the first");
        let batch = queue.batch_to_send(at, Compression::None, Some(ONE));
        assert_eq!((batch.header().producer_epoch, batch.header().base_sequence), (ProducerEpoch(1), 0));
        assert!(batch.check_records().is_ok());
        assert!(Batch::parse(&mut batch.to_bytes()).is_ok(), "its CRC is right");
    }
}
