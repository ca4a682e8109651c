//! Appends on their way to the disk, and what their producers will be once they arrive.

use alloc::collections::{BTreeMap, VecDeque};

use crate::{
    ids::{JobId, ProducerId},
    log::{ProducerEntry, ProducerTable, Sequence, SequenceError},
    mutant,
    offset::Offset,
    record::BatchHeader,
};

/// The appends that the disk has not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    appends: VecDeque<Append>,
    /// Producers with a batch in flight, as they will be after it; and how many batches that is.
    overlay: BTreeMap<ProducerId, (u32, ProducerEntry)>,
}

#[derive(Debug)]
pub(super) struct Append {
    pub(super) job: JobId,
    pub(super) end: Offset,
    pub(super) header: BatchHeader,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Judges a producer's batch by what is in the log and what is on its way there.
    pub(super) fn check(&self, table: &ProducerTable, header: &BatchHeader) -> Result<Sequence, SequenceError> {
        match self.overlay.get(&header.producer_id) {
            Some((_, entry)) if !mutant!(Y11) => entry.check(header),
            _ => table.check(header),
        }
    }

    /// Notes an append that was ordered.
    pub(super) fn push(&mut self, table: &ProducerTable, job: JobId, end: Offset, header: BatchHeader) {
        if header.has_producer() {
            let (count, entry) = self.overlay.entry(header.producer_id).or_insert_with(|| {
                let known = table.get(header.producer_id).cloned();
                (0, known.unwrap_or_else(|| ProducerEntry::new(&header)))
            });
            *count += 1;
            entry.record(&header);
        }
        self.appends.push_back(Append { job, end, header });
    }

    /// The oldest append has been answered.
    pub(super) fn pop(&mut self, job: JobId) -> Append {
        let append = self.appends.pop_front().expect("an answer follows an order");
        assert!(append.job == job, "appends are answered in order");
        let producer = append.header.producer_id;
        if append.header.has_producer() {
            let (count, _) = self.overlay.get_mut(&producer).expect("its batch was in flight");
            *count -= 1;
            if *count == 0 {
                self.overlay.remove(&producer);
            }
        }
        append
    }
}
