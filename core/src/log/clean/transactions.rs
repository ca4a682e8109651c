//! Transactions as the cleaner sees them: whose records are void, and which markers have nothing left to mark.
//!
//! The survey reads the dirty part ahead and finds the transactions that were aborted. Afterwards the records of
//! those are never mapped and always dropped; a marker may go once no record of its transaction was met before it,
//! and then only when its delete horizon has passed (semantics §12).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    ids::ProducerId,
    offset::Offset,
    record::{Batch, BatchError, Control},
};

/// A transaction that ended in an ABORT marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aborted {
    /// Whose.
    pub(super) producer: ProducerId,
    /// Its first record that is still there.
    pub(super) first: Offset,
    /// Its marker.
    pub(super) marker: Offset,
}

/// Finds aborted transactions by reading forward.
#[derive(Debug, Default)]
pub(super) struct Survey {
    open: BTreeMap<ProducerId, Offset>,
    aborted: Vec<Aborted>,
}

impl Survey {
    /// Takes note of the next batch.
    pub(super) fn on_batch(&mut self, batch: &Batch) -> Result<(), BatchError> {
        let header = batch.header();
        if !header.is_control() {
            if header.is_transactional() {
                self.open.entry(header.producer_id).or_insert(header.base_offset);
            }
            return Ok(());
        }
        if let Some(Control::EndTransaction { commit, .. }) = batch.control()?
            && let Some(first) = self.open.remove(&header.producer_id)
            && !commit
        {
            self.aborted.push(Aborted { producer: header.producer_id, first, marker: header.base_offset });
        }
        Ok(())
    }

    /// The first record of the oldest transaction that has no end yet.
    pub(super) fn first_open(&self) -> Option<Offset> {
        self.open.values().min().copied()
    }

    /// What was found, by first offset.
    pub(super) fn into_aborted(mut self) -> Vec<Aborted> {
        self.aborted.sort_by_key(|a| a.first);
        self.aborted
    }
}

/// Walks over the log beside the cleaner and says which batches are void.
#[derive(Debug)]
pub(super) struct Transactions {
    /// By first offset, the nearest last.
    ahead: Vec<Aborted>,
    /// Aborted transactions whose records may come now, by producer.
    aborted: BTreeSet<ProducerId>,
    /// Producers with records of a committed transaction since their last marker.
    committed: BTreeSet<ProducerId>,
    /// Producers with void records since their last marker.
    void_seen: BTreeSet<ProducerId>,
}

impl Transactions {
    /// Starts at the front of the log, knowing what a survey found.
    pub(super) fn new(aborted: &[Aborted]) -> Self {
        debug_assert!(aborted.is_sorted_by_key(|a| a.first));
        Self {
            ahead: aborted.iter().rev().copied().collect(),
            aborted: BTreeSet::new(),
            committed: BTreeSet::new(),
            void_seen: BTreeSet::new(),
        }
    }

    /// The next data batch: is it void?
    pub(super) fn on_data(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        self.advance(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        if self.aborted.contains(&header.producer_id) {
            self.void_seen.insert(header.producer_id);
            true
        } else {
            self.committed.insert(header.producer_id);
            false
        }
    }

    /// The next control batch: has it nothing left to mark?
    pub(super) fn on_control(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let header = batch.header();
        self.advance(header.last_offset());
        let producer = header.producer_id;
        Ok(match batch.control()? {
            // A cleaning emptied it, and kept it for its producer's or the log's sake only.
            None => true,
            Some(Control::EndTransaction { commit: true, .. }) => !self.committed.remove(&producer),
            Some(Control::EndTransaction { commit: false, .. }) => {
                self.aborted.remove(&producer);
                !self.void_seen.remove(&producer)
            }
            Some(_) => false,
        })
    }

    fn advance(&mut self, to: Offset) {
        while let Some(next) = self.ahead.last().filter(|a| a.first <= to) {
            self.aborted.insert(next.producer);
            self.ahead.pop();
        }
    }
}
