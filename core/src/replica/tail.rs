//! The newest batches of a partition, in memory, so that a tailing reader costs no disk read.
//!
//! All partitions share one budget of bytes. The oldest batch of all goes first, whichever partition it is in.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{ids::LogId, limits, offset::Offset, record::Batch};

/// One partition's newest batches, contiguous up to the log's end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<Batch>,
    bytes: usize,
}

/// What all tails may hold together.
#[derive(Debug)]
pub struct TailBudget {
    /// Every batch that is in a tail, oldest first: whose it is. A batch that was dropped with its tail leaves an
    /// entry whose generation no longer fits; those are skipped.
    order: VecDeque<(LogId, Offset)>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for TailBudget {
    fn default() -> Self {
        Self { order: VecDeque::new(), bytes: 0, bytes_max: limits::TAIL_CACHE_BYTES_MAX }
    }
}

impl TailBudget {
    /// Counts a batch in; returns whose oldest batch must go now to stay within the budget. Called until `None`.
    pub fn over(&mut self) -> Option<(LogId, Offset)> {
        if self.bytes <= self.bytes_max { None } else { self.order.pop_front() }
    }

    pub(super) fn add(&mut self, log: LogId, batch: &Batch) {
        self.bytes += batch.size();
        self.order.push_back((log, batch.header().base_offset));
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if self.bytes == 0 {
            self.order.clear();
        }
    }
}

impl Tail {
    /// Puts the newest batch in.
    pub(super) fn push(&mut self, batch: Batch) {
        if let Some(last) = self.batches.back() {
            assert!(last.header().next_offset() == batch.header().base_offset, "the tail has no gap");
        }
        self.bytes += batch.size();
        self.batches.push_back(batch);
    }

    /// Does a batch at `base` follow what is here?
    pub(super) fn ends_at(&self, base: Offset) -> bool {
        self.batches.back().is_none_or(|last| last.header().next_offset() == base)
    }

    /// Drops the batch at `base` if it is still the oldest; returns its bytes.
    pub(super) fn drop_oldest(&mut self, base: Offset) -> usize {
        match self.batches.front() {
            Some(front) if front.header().base_offset == base => {
                let size = front.size();
                self.bytes -= size;
                self.batches.pop_front();
                size
            }
            _ => 0,
        }
    }

    /// Drops everything; returns its bytes.
    pub(super) fn clear(&mut self) -> usize {
        self.batches.clear();
        core::mem::take(&mut self.bytes)
    }

    /// The oldest offset that is here.
    pub(super) fn start(&self) -> Option<Offset> {
        self.batches.front().map(|b| b.header().base_offset)
    }

    /// Bytes of the batches from `from` up to `bound`, counted no further than `enough`.
    pub(super) fn available(&self, from: Offset, bound: Offset, enough: usize) -> usize {
        let mut bytes = 0;
        for batch in self.range(from, bound) {
            bytes += batch.size();
            if bytes >= enough {
                break;
            }
        }
        bytes
    }

    /// The batches from the one that holds `from` up to `bound`, as many as fit `max_bytes`; the first one whatever its
    /// size if `at_least_one`.
    pub(super) fn read(&self, from: Offset, bound: Offset, max_bytes: usize, at_least_one: bool) -> Vec<Batch> {
        let mut bytes = 0;
        let mut read = Vec::new();
        for batch in self.range(from, bound) {
            bytes += batch.size();
            if bytes > max_bytes && !(at_least_one && read.is_empty()) {
                break;
            }
            read.push(batch.clone());
        }
        read
    }

    fn range(&self, from: Offset, bound: Offset) -> impl Iterator<Item = &Batch> {
        let first = self.batches.partition_point(|b| b.header().next_offset() <= from);
        self.batches.range(first..).take_while(move |b| b.header().next_offset() <= bound)
    }
}
