//! What is handed to a producer, and what it says of it at once.

use crate::{ids::PartitionId, message::ErrorCode, time::Timestamp};

/// A record to append, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
    /// Its time.
    pub timestamp: Timestamp,
    /// The partition, where it is not the partitioner's to choose.
    pub partition: Option<PartitionId>,
}

/// Where an appended record went: its delivery is reported with its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The batch. Numbers rise and are never used twice.
    pub batch: u64,
    /// The record's place in it: its offset less the batch's base offset.
    pub index: u32,
    /// Are there orders now? While batches fill there are none, and a driver may save itself the look.
    pub leaves: bool,
}

/// Why a record was not appended. Nothing of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The producer's memory is used up: wait for [`ProducerEvent::Wake`] and append again.
    #[error("the producer's buffer is full")]
    Full,
    /// The topic is not known yet: wait for [`ProducerEvent::Wake`] and append again.
    #[error("the topic is not known yet")]
    TopicPending,
    /// The topic cannot be written to: waiting was in vain, or there is no point in it.
    #[error("the topic is not available: {0}")]
    Topic(ErrorCode),
    /// The topic has no such partition.
    #[error("the topic has {partitions} partitions, there is no number {asked}")]
    Partition {
        /// The number given.
        asked: PartitionId,
        /// How many there are.
        partitions: usize,
    },
    /// The record is larger than a request may be.
    #[error("a record of {bytes} bytes exceeds the {max} bytes of a request")]
    TooLarge {
        /// Its size, at most.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

impl<'a> NewRecord<'a> {
    /// A record with this value; its time is [`Timestamp::NONE`], which a driver replaces by the current one.
    pub fn new(value: &'a [u8]) -> Self {
        Self { key: None, value: Some(value), headers: &[], timestamp: Timestamp::NONE, partition: None }
    }

    /// A tombstone: the key's last value is gone.
    pub fn tombstone(key: &'a [u8]) -> Self {
        Self { key: Some(key), value: None, headers: &[], timestamp: Timestamp::NONE, partition: None }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same with headers.
    #[must_use]
    pub fn with_headers(self, headers: &'a [(&'a [u8], Option<&'a [u8]>)]) -> Self {
        Self { headers, ..self }
    }

    /// The same for this partition, whatever its key.
    #[must_use]
    pub fn to_partition(self, partition: PartitionId) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// The same with this time.
    #[must_use]
    pub fn at(self, timestamp: Timestamp) -> Self {
        Self { timestamp, ..self }
    }
}
