//! The checkers: what must never be true.
//!
//! Two kinds. Some watch everything that crosses the border between a core and its log, as it happens ([`Seen`]) and
//! compare it with the oracle's [`Ledger`]; one sees only what clients saw ([`h1`]). Each invariant has a file of its
//! own, with bad histories as its tests: a checker that cannot fail checks nothing.

pub mod dedup;
pub mod h1;
pub mod h2;
pub mod l1;
pub mod m10;
pub mod m12;
pub mod m8;
pub mod m9;
pub mod m_votes;
pub mod r9;
pub mod replicas;
pub mod shared_image;
pub mod shared_log;
mod b1;
mod lookup;
mod r5;
mod r11;
mod r12;
mod r13;
mod r14;
mod t1;
mod t2;

use std::fmt;

use tidelog_core::{
    ids::JobId,
    log::{Job, JobOutcome, LogError, LogState},
    message::{FetchedPartition, ListedOffset, OffsetSpec},
    offset::Offset,
    record::Batch,
};

use crate::{
    history::History,
    ledger::{Held, Ledger},
};

pub use b1::{Bounds, Load};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker: `R11`, `H1`.
    pub code: &'static str,
    /// Which anomaly, in the checker's words: `lost-write`.
    pub anomaly: &'static str,
    /// What it is about: a partition, an offset.
    pub subject: String,
    /// One sentence.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}): {}", self.code, self.anomaly, self.subject, self.why)
    }
}

/// Makes a violation.
pub(crate) fn violation(
    code: &'static str,
    anomaly: &'static str,
    subject: impl fmt::Display,
    why: String,
) -> Violation {
    Violation { code, anomaly, subject: subject.to_string(), why }
}

/// One thing seen at the border of a log.
#[derive(Debug)]
pub enum Seen<'a> {
    /// The log was opened, and an observer has read it from start to end.
    Opened {
        /// What it says of itself.
        state: &'a LogState,
        /// The batches in it.
        held: &'a [Batch],
        /// Why the observer could not read on, if so.
        unreadable: Option<&'a LogError>,
    },
    /// The core ordered a job.
    Ordered {
        /// Its id.
        job: JobId,
        /// The order.
        order: &'a Job,
    },
    /// A job is over.
    Ended {
        /// Its id.
        job: JobId,
        /// How.
        outcome: &'a Result<JobOutcome, LogError>,
    },
    /// The core has made an answer for a reader; its records may still have to be read.
    Answered {
        /// The answer.
        answer: &'a FetchedPartition,
    },
    /// A reader was served.
    Served {
        /// With what.
        answer: &'a FetchedPartition,
        /// The batches in it.
        batches: &'a [Batch],
        /// What follows them is not a batch.
        garbage: bool,
    },
}

/// Shows what was seen to every checker, with the book as it stands before.
pub fn watch(ledger: &Ledger, history: &History, seen: &Seen<'_>) -> Result<(), Violation> {
    r13::watch(ledger, history, seen)?;
    r5::watch(ledger, seen)?;
    r11::watch(ledger, seen)?;
    r12::watch(ledger, seen)?;
    r14::watch(ledger, seen)?;
    t1::watch(ledger, seen)?;
    t2::watch(ledger, history, seen)
}

/// The same of a follower's order: it answers for its own log, not for what its leader has admitted into it. Leaders and
/// followers forget idle producers each in their own time.
pub fn watch_copy(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    r5::watch(ledger, seen)?;
    if !ledger.compacted {
        // What the leader has cleaned has gaps.
        r11::watch(ledger, seen)?;
    }
    r12::watch(ledger, seen)?;
    r14::watch(ledger, seen)
}

/// Judges the answer to a lookup by time.
pub fn looked_up(ledger: &Ledger, spec: OffsetSpec, committed: Offset, listed: &ListedOffset) -> Result<(), Violation> {
    lookup::check(ledger, spec, committed, listed)
}

/// Compares the whole of a log, read at a quiet moment, with the book.
pub fn read_through(ledger: &Ledger, log_start: Offset, found: &[Held]) -> Result<(), Violation> {
    r14::read_through(ledger, (log_start, ledger.end), ledger.cleaned_to, found)
}

#[cfg(test)]
mod samples {
    //! Logs for the checkers' tests.

    use tidelog_core::{
        epoch::LeaderEpoch,
        ids::{JobId, ProducerEpoch, ProducerId, TopicId},
        log::{Job, JobOutcome},
        offset::Offset,
        record::{Batch, BatchBuilder, BatchOptions},
        time::Timestamp,
    };

    use crate::{
        history::{Value, partition},
        ledger::Ledger,
        payload,
    };

    /// A batch of these records at this offset.
    pub(crate) fn batch(base: i64, producer: Option<(i64, i32)>, records: &[(u16, Option<Value>)]) -> Batch {
        let mut builder = BatchBuilder::new();
        for (delta, (key, value)) in records.iter().enumerate() {
            let payload = value.map(|value| payload::value_bytes(value, 16));
            builder.append(
                delta as i32,
                Timestamp(1_000 + base + delta as i64),
                Some(&payload::key_bytes(*key)),
                payload.as_deref(),
                [],
            );
        }
        builder.build(&BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch::FIRST,
            producer: producer.map(|(id, sequence)| (ProducerId(id), ProducerEpoch(0), sequence)),
            ..BatchOptions::default()
        })
    }

    pub(crate) fn append(batch: Batch) -> Job {
        Job::Append { batches: vec![batch], sync: true, wall: Timestamp(5_000) }
    }

    /// A book of these batches, all appended and durable.
    pub(crate) fn book(batches: &[Batch]) -> Ledger {
        let mut ledger = Ledger::new(partition(TopicId([9; 16]), 0));
        for (number, batch) in batches.iter().enumerate() {
            let job = JobId(number as u64);
            ledger.ordered(job, &append(batch.clone()));
            ledger.ended(job, &Ok(JobOutcome::Appended { end: batch.header().next_offset(), size: 1 }));
        }
        ledger
    }
}
