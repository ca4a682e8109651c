//! Appends on their way to the disk, and what their producers will be once they arrive.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use crate::{
    ids::{JobId, ProducerId},
    log::{JobOutcome, LogError, ProducerEntry, ProducerTable, Sequence, SequenceError},
    mutant,
    offset::Offset,
    record::{Batch, BatchHeader},
};

/// The appends that the disk has not answered yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    appends: VecDeque<Append>,
    bytes: usize,
    /// Producers with a batch in flight, as they will be after it; and how many batches that is.
    overlay: BTreeMap<ProducerId, (u32, ProducerEntry)>,
}

/// One append on its way: what was ordered, so that it can be ordered again.
#[derive(Debug)]
pub(super) struct Append {
    job: JobId,
    first: Batch,
    /// A leader appends batches one by one, a follower as many as it got.
    rest: Vec<Batch>,
    /// The answer, if it came before those to the appends in front: a write that fails is known at once, one that
    /// succeeds waits for its sync.
    outcome: Option<Result<JobOutcome, LogError>>,
}

impl Append {
    pub(super) fn new(job: JobId, first: Batch, rest: Vec<Batch>) -> Self {
        Self { job, first, rest, outcome: None }
    }

    /// Where the log will end.
    pub(super) fn end(&self) -> Offset {
        self.rest.last().unwrap_or(&self.first).header().next_offset()
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = &BatchHeader> {
        core::iter::once(&self.first).chain(&self.rest).map(Batch::header)
    }

    fn bytes(&self) -> usize {
        self.first.size() + self.rest.iter().map(Batch::size).sum::<usize>()
    }

    pub(super) fn into_batches(self) -> impl Iterator<Item = Batch> {
        core::iter::once(self.first).chain(self.rest)
    }
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Judges a producer's batch by what is in the log and what is on its way there.
    pub(super) fn check(&self, table: &ProducerTable, header: &BatchHeader) -> Result<Sequence, SequenceError> {
        match self.overlay.get(&header.producer_id) {
            Some((_, entry)) if !mutant!(Y11) => entry.check(header),
            _ => table.check(header),
        }
    }

    /// Is anything known of this producer, from the log or from what is on its way there?
    pub(super) fn knows(&self, table: &ProducerTable, producer: ProducerId) -> bool {
        self.overlay.contains_key(&producer) || table.get(producer).is_some()
    }

    /// Notes an append that was ordered.
    pub(super) fn push(&mut self, table: &ProducerTable, append: Append) {
        for header in append.headers().filter(|header| header.has_producer()) {
            let (count, entry) = self.overlay.entry(header.producer_id).or_insert_with(|| {
                let known = table.get(header.producer_id).cloned();
                (0, known.unwrap_or_else(|| ProducerEntry::new(header)))
            });
            *count += 1;
            entry.record(header);
        }
        self.bytes += append.bytes();
        self.appends.push_back(append);
    }

    /// The disk has answered an append.
    pub(super) fn answer(&mut self, job: JobId, outcome: Result<JobOutcome, LogError>) {
        let append = self.appends.iter_mut().find(|a| a.job == job).expect("an answer follows an order");
        assert!(append.outcome.replace(outcome).is_none(), "an order is answered once");
    }

    /// Is an append known to have failed, so that whatever is ordered behind it will fail too?
    pub(super) fn has_failed(&self) -> bool {
        self.appends.iter().any(|append| matches!(append.outcome, Some(Err(_))))
    }

    /// The oldest append, if it has been answered, and the answer.
    pub(super) fn pop_answered(&mut self) -> Option<(Append, Result<JobOutcome, LogError>)> {
        let outcome = self.appends.front_mut()?.outcome.take()?;
        let append = self.appends.pop_front().expect("just looked at");
        self.bytes -= append.bytes();
        for header in append.headers().filter(|header| header.has_producer()) {
            let (count, _) = self.overlay.get_mut(&header.producer_id).expect("its batch was in flight");
            *count -= 1;
            if *count == 0 {
                self.overlay.remove(&header.producer_id);
            }
        }
        Some((append, outcome))
    }
}
