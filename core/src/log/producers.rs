//! What a log knows of the producers that wrote to it: the memory behind "exactly once" (KIP-98, KIP-360).
//!
//! For each producer the last five batches are remembered. A batch that repeats one of them is a duplicate and is
//! acknowledged again without being appended; a batch that neither repeats nor follows is refused.
//!
//! The table is a fold over the log's batches and nothing else, so it can be rebuilt from any snapshot by reading on.
//! The partition's leader has one to decide with, the log has one to write snapshots from; both run this code.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    ids::{ProducerEpoch, ProducerId},
    limits::PRODUCER_BATCHES_MAX,
    mutant,
    offset::Offset,
    record::BatchHeader,
    time::{Duration, Timestamp},
};

/// All producers of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<ProducerId, ProducerEntry>,
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The newest epoch seen.
    pub epoch: ProducerEpoch,
    /// Its last batches in this epoch, oldest first, five at most; empty after a bare marker.
    pub batches: Vec<ProducerBatch>,
    /// Epoch of the transaction coordinator that wrote the last marker, or -1.
    pub coordinator_epoch: i32,
    /// Timestamp of its last batch or marker.
    pub last_timestamp: Timestamp,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Last offset less first offset.
    pub offset_delta: i32,
    /// Its max timestamp.
    pub timestamp: Timestamp,
}

/// What a batch is to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// It follows what is there: append it.
    Next,
    /// It is there already, at this place: acknowledge it, do not append it.
    Duplicate(ProducerBatch),
}

/// Why a batch fits nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// It neither repeats nor follows.
    #[error("producer {producer} sent sequence {got} where {expected} was due")]
    OutOfOrder {
        /// Whose batch.
        producer: ProducerId,
        /// Its first sequence.
        got: i32,
        /// What should have come.
        expected: i32,
    },
    /// An older incarnation sent it.
    #[error("producer {producer} is at epoch {current}, the batch is of epoch {got}")]
    Fenced {
        /// Whose batch.
        producer: ProducerId,
        /// Its epoch.
        got: ProducerEpoch,
        /// The newest epoch seen.
        current: ProducerEpoch,
    },
}

impl ProducerBatch {
    /// What is remembered of a batch.
    pub fn of(header: &BatchHeader) -> Self {
        Self {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        }
    }

    /// Offset of its first record.
    pub fn base_offset(&self) -> Offset {
        Offset(self.last_offset.0 - i64::from(self.offset_delta))
    }
}

/// The sequence after `sequence`: they wrap from `i32::MAX` to 0.
pub fn next_sequence(sequence: i32) -> i32 {
    if sequence == i32::MAX { i32::from(mutant!(Y32)) } else { sequence + 1 }
}

impl ProducerEntry {
    /// A producer of whom no batch is known yet, at the epoch of the one that is about to be recorded.
    pub fn new(header: &BatchHeader) -> Self {
        Self {
            epoch: header.producer_epoch,
            batches: Vec::new(),
            coordinator_epoch: -1,
            last_timestamp: header.max_timestamp,
            transaction_start: None,
        }
    }

    /// Judges a batch of this producer.
    pub fn check(&self, header: &BatchHeader) -> Result<Sequence, SequenceError> {
        let producer = header.producer_id;
        if header.producer_epoch < self.epoch {
            return Err(SequenceError::Fenced { producer, got: header.producer_epoch, current: self.epoch });
        }
        let repeats =
            |b: &&ProducerBatch| b.first_sequence == header.base_sequence && b.last_sequence == header.last_sequence();
        if header.producer_epoch > self.epoch {
            if mutant!(Y33)
                && let Some(batch) = self.batches.iter().find(repeats)
            {
                return Ok(Sequence::Duplicate(*batch));
            }
            // A new incarnation starts over at 0 (KIP-360).
            return if header.base_sequence == 0 {
                Ok(Sequence::Next)
            } else {
                Err(SequenceError::OutOfOrder { producer, got: header.base_sequence, expected: 0 })
            };
        }
        if let Some(batch) = self.batches.iter().find(repeats) {
            return Ok(Sequence::Duplicate(*batch));
        }
        match self.batches.last() {
            Some(last) if next_sequence(last.last_sequence) != header.base_sequence => Err(SequenceError::OutOfOrder {
                producer,
                got: header.base_sequence,
                expected: next_sequence(last.last_sequence),
            }),
            _ => Ok(Sequence::Next),
        }
    }

    /// Takes note of one more batch of this producer.
    pub fn record(&mut self, header: &BatchHeader) {
        if header.producer_epoch != self.epoch {
            self.epoch = header.producer_epoch;
            self.batches.clear();
        }
        let remembered = if mutant!(Y31) { PRODUCER_BATCHES_MAX - 1 } else { PRODUCER_BATCHES_MAX };
        if self.batches.len() >= remembered {
            self.batches.remove(0);
        }
        self.batches.push(ProducerBatch::of(header));
        self.last_timestamp = header.max_timestamp;
    }
}

impl ProducerTable {
    /// No producer known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a data batch. One of an unknown producer is accepted whatever its sequence: retention or expiry may
    /// have taken its history (semantics §6).
    pub fn check(&self, header: &BatchHeader) -> Result<Sequence, SequenceError> {
        debug_assert!(header.has_producer(), "only batches of idempotent producers are judged");
        self.producers.get(&header.producer_id).map_or(Ok(Sequence::Next), |entry| entry.check(header))
    }

    /// Takes note of a batch that is in the log. Batches without a producer leave no trace.
    pub fn record(&mut self, header: &BatchHeader) {
        if !header.has_producer() || header.is_control() {
            return;
        }
        self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry::new(header)).record(header);
    }

    /// What is known of one producer.
    pub fn get(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer)
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(&id, entry)| (id, entry))
    }

    /// Puts an entry in as a snapshot has it.
    pub fn insert(&mut self, producer: ProducerId, entry: ProducerEntry) {
        assert!(entry.batches.len() <= PRODUCER_BATCHES_MAX, "a snapshot remembers five batches at most");
        self.producers.insert(producer, entry);
    }

    /// Forgets one producer.
    pub fn remove(&mut self, producer: ProducerId) {
        self.producers.remove(&producer);
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Forgets the producers that have been idle for `expiration` and have no open transaction; returns their ids.
    pub fn expire(&mut self, wall: Timestamp, expiration: Duration) -> Vec<ProducerId> {
        let idle = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let mut expired = Vec::new();
        self.producers.retain(|&id, entry| {
            let keep = entry.transaction_start.is_some() || wall.millis_since(entry.last_timestamp) < idle;
            if !keep {
                expired.push(id);
            }
            keep
        });
        expired
    }
}
