//! Producers that the log does not know and whose first batch the disk refused.
//!
//! A batch of an unknown producer is accepted whatever its sequence, for retention or expiry may have taken its history
//! (semantics §6). If the disk has no room for that batch, the next one that the producer has sent meanwhile must not
//! slip in before it: the order would be broken, and the first could never be appended again. So the sequence
//! of the batch that was refused is what is due next. Kafka does the same while it verifies a transaction, and has no
//! need of it here, since a full disk ends its log directory.

use alloc::collections::BTreeMap;

use crate::{
    ids::{ProducerEpoch, ProducerId},
    limits::REFUSED_PRODUCERS_MAX,
    log::SequenceError,
    record::BatchHeader,
    time::{Duration, Timestamp},
};

/// What is due of producers that are otherwise unknown. Gone with the process, as are the batches on their way to it.
#[derive(Debug)]
pub(super) struct Refused {
    due: BTreeMap<ProducerId, Due>,
    /// Wall time as of the last batch that was judged.
    now: Timestamp,
}

#[derive(Debug)]
struct Due {
    epoch: ProducerEpoch,
    sequence: i32,
    timestamp: Timestamp,
}

impl Refused {
    /// No producer.
    pub(super) fn new() -> Self {
        Self { due: BTreeMap::new(), now: Timestamp::NONE }
    }

    /// A batch of a producer that the log does not know was refused.
    pub(super) fn note(&mut self, header: &BatchHeader) {
        let due = Due { epoch: header.producer_epoch, sequence: header.base_sequence, timestamp: self.now };
        match self.due.get_mut(&header.producer_id) {
            // Of several in one epoch the first is the one that is due.
            Some(known) if known.epoch >= due.epoch => known.timestamp = self.now,
            _ => drop(self.due.insert(header.producer_id, due)),
        }
        if self.due.len() > REFUSED_PRODUCERS_MAX {
            self.due.pop_first();
        }
    }

    /// Judges a batch of a producer that the log does not know.
    pub(super) fn check(&mut self, header: &BatchHeader, now: Timestamp) -> Result<(), SequenceError> {
        self.now = now;
        let producer = header.producer_id;
        let Some(due) = self.due.get(&producer) else { return Ok(()) };
        if header.producer_epoch < due.epoch {
            return Err(SequenceError::Fenced { producer, got: header.producer_epoch, current: due.epoch });
        }
        let expected = if header.producer_epoch > due.epoch { 0 } else { due.sequence };
        if header.base_sequence == expected {
            Ok(())
        } else {
            Err(SequenceError::OutOfOrder { producer, got: header.base_sequence, expected })
        }
    }

    /// The log knows the producer from now on.
    pub(super) fn forget(&mut self, producer: ProducerId) {
        self.due.remove(&producer);
    }

    /// Forgets the producers that have been idle for `expiration`.
    pub(super) fn expire(&mut self, wall: Timestamp, expiration: Duration) {
        let idle = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        self.due.retain(|_, due| wall.millis_since(due.timestamp) < idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchOptions};

    fn header(epoch: i16, sequence: i32) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        builder.append(0, Timestamp(1_000), None, Some(b"x"), []);
        let producer = Some((ProducerId(7), ProducerEpoch(epoch), sequence));
        *builder.build(&BatchOptions { producer, ..BatchOptions::default() }).header()
    }

    #[test]
    fn what_was_refused_is_due_and_nothing_else() {
        let mut refused = Refused::new();
        assert_eq!(refused.check(&header(0, 9), Timestamp(1_000)), Ok(()));
        refused.note(&header(0, 5));
        refused.note(&header(0, 9));
        assert!(matches!(
            refused.check(&header(0, 9), Timestamp(1_000)),
            Err(SequenceError::OutOfOrder { expected: 5, .. })
        ));
        assert_eq!(refused.check(&header(0, 5), Timestamp(1_000)), Ok(()));
        assert_eq!(refused.check(&header(1, 0), Timestamp(1_000)), Ok(()));
        assert!(refused.check(&header(1, 3), Timestamp(1_000)).is_err(), "a new epoch starts over");
        refused.note(&header(1, 0));
        assert!(matches!(refused.check(&header(0, 5), Timestamp(1_000)), Err(SequenceError::Fenced { .. })));
        refused.expire(Timestamp(1_500), Duration::from_millis(1_000));
        assert!(refused.check(&header(1, 3), Timestamp(1_000)).is_err());
        refused.expire(Timestamp(2_000), Duration::from_millis(1_000));
        assert_eq!(refused.check(&header(1, 3), Timestamp(1_000)), Ok(()));
    }
}
