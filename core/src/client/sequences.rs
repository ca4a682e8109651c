//! One partition's place in an idempotent producer's sequence (KIP-98, KIP-360).
//!
//! Every batch carries (producer id, epoch, first sequence). A node appends a batch only if it follows the last one,
//! so what was sent keeps its numbers through every retry. Numbers become unusable when one in the middle will never
//! be sent again, or when the node has forgotten them: the partition is then *broken*. It waits until nothing of it
//! is on its way and begins the next epoch at 0. A straggler of the old epoch is fenced by the first batch of the new.
//!
//! Epochs are counted partition by partition: a node judges them so, and a partition in trouble disturbs no other.

use crate::ids::{ProducerEpoch, ProducerId};

/// Who a producer is to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// The numbers that the next batch of one partition gets.
#[derive(Clone, Debug)]
pub(crate) struct Sequences {
    identity: Option<Identity>,
    next: i32,
    /// Has a batch of this identity been acknowledged? Until then a node may know nothing of the producer and would
    /// take any batch as its first, so only one may be on its way.
    established: bool,
    broken: bool,
}

impl Sequences {
    pub(crate) fn new() -> Self {
        Self { identity: None, next: 0, established: false, broken: false }
    }

    /// The numbers of the next batch, which has `records`; `newest` is the identity that the producer holds.
    pub(crate) fn take(&mut self, newest: Identity, records: u32) -> (Identity, i32) {
        assert!(!self.broken, "a broken sequence begins anew first");
        let identity = *self.identity.get_or_insert(newest);
        let first = self.next;
        self.next = (first.cast_unsigned().wrapping_add(records) & 0x7fff_ffff).cast_signed();
        (identity, first)
    }

    /// Gives back the newest numbers taken: nobody will ever use them, and no node has seen them accepted.
    pub(crate) fn give_back(&mut self, first: i32) {
        self.next = first;
    }

    pub(crate) fn acknowledged(&mut self) {
        self.established = true;
    }

    pub(crate) fn is_established(&self) -> bool {
        self.established
    }

    /// These numbers lead nowhere any more.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Begins anew: at the next epoch of its id, or with the id that the producer holds when that is another.
    /// False when the epochs of the id are used up; the producer then needs another id first.
    pub(crate) fn restart(&mut self, newest: Identity) -> bool {
        let identity = match self.identity {
            Some(used) if used.id == newest.id => {
                if used.epoch.0 >= EPOCH_MAX.0 {
                    return false;
                }
                Identity { id: used.id, epoch: ProducerEpoch(used.epoch.0 + 1) }
            }
            _ => newest,
        };
        *self = Self { identity: Some(identity), next: 0, established: false, broken: false };
        true
    }

    /// The identity that is of no use any more when a node has fenced it.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }
}

/// The last epoch of an id that Kafka lets a producer use.
const EPOCH_MAX: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Identity = Identity { id: ProducerId(1), epoch: ProducerEpoch(0) };

    #[test]
    fn sequences_count_records_and_wrap_to_zero() {
        let mut sequences = Sequences::new();
        assert_eq!(sequences.take(ONE, 3), (ONE, 0));
        assert_eq!(sequences.take(ONE, 1), (ONE, 3));
        sequences.next = i32::MAX - 1;
        assert_eq!(sequences.take(ONE, 3).1, i32::MAX - 1);
        assert_eq!(sequences.take(ONE, 1).1, 1, "{} and 0 were used", i32::MAX);
    }

    #[test]
    fn a_restart_takes_the_next_epoch_or_the_new_id() {
        let mut sequences = Sequences::new();
        sequences.take(ONE, 3);
        sequences.acknowledged();
        sequences.break_off();
        assert!(sequences.restart(ONE));
        let bumped = Identity { id: ProducerId(1), epoch: ProducerEpoch(1) };
        assert!(!sequences.is_established());
        assert_eq!(sequences.take(ONE, 1), (bumped, 0));
        let two = Identity { id: ProducerId(2), epoch: ProducerEpoch(0) };
        assert!(sequences.restart(two));
        assert_eq!(sequences.take(two, 1), (two, 0));
    }

    #[test]
    fn epochs_of_an_id_end() {
        let mut sequences = Sequences::new();
        let last = Identity { id: ProducerId(1), epoch: EPOCH_MAX };
        sequences.take(last, 1);
        assert!(!sequences.restart(last));
    }
}
