//! Which leader epoch begins where (KIP-101): the cure for logs that diverge unnoticed.

use alloc::vec::Vec;

use crate::{epoch::LeaderEpoch, offset::Offset};

/// Leader epochs and the first offset of each, strictly ascending in both but for an epoch without records, whose
/// start is that of the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    starts: Vec<(LeaderEpoch, Offset)>,
}

impl EpochCache {
    /// The epochs that a log was found to have.
    pub fn new(starts: Vec<(LeaderEpoch, Offset)>) -> Self {
        assert!(starts.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "epochs ascend with their offsets");
        Self { starts }
    }

    /// A new epoch begins at `start`. Epochs that began there or later had no records and are forgotten.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest() == Some(epoch) {
            return;
        }
        assert!(self.latest().is_none_or(|latest| latest < epoch), "epochs do not go back");
        self.starts.retain(|(_, begun)| *begun < start);
        self.starts.push((epoch, start));
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|i| self.starts[i].0)
    }

    /// The largest epoch that is not above `epoch`, and where it ends; `None` when that is not known
    /// (semantics §3, `endOffsetFor`).
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest() == Some(epoch) {
            return Some((epoch, log_end));
        }
        let above = self.starts.partition_point(|(e, _)| *e <= epoch);
        let (_, end) = *self.starts.get(above)?;
        match above.checked_sub(1) {
            Some(i) => Some((self.starts[i].0, end)),
            // Before the first known epoch: all that is known is where that one begins.
            None => Some((epoch, end)),
        }
    }

    /// Everything before `log_start` is gone; the epoch in force there stays.
    pub fn trim_front(&mut self, log_start: Offset) {
        let kept = self.starts.partition_point(|(_, start)| *start <= log_start).saturating_sub(1);
        self.starts.drain(..kept);
        if let Some((_, start)) = self.starts.first_mut() {
            *start = log_start.max(*start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> EpochCache {
        EpochCache::new(alloc::vec![
            (LeaderEpoch(1), Offset(0)),
            (LeaderEpoch(3), Offset(10)),
            (LeaderEpoch(4), Offset(20))
        ])
    }

    #[test]
    fn ends_are_kafkas() {
        let end = |epoch| cache().end_of(LeaderEpoch(epoch), Offset(30));
        assert_eq!(end(4), Some((LeaderEpoch(4), Offset(30))));
        assert_eq!(end(3), Some((LeaderEpoch(3), Offset(20))));
        assert_eq!(end(2), Some((LeaderEpoch(1), Offset(10))));
        assert_eq!(end(0), Some((LeaderEpoch(0), Offset(0))));
        assert_eq!(end(5), None);
    }

    #[test]
    fn trimming_keeps_the_epoch_in_force() {
        let mut cache = cache();
        cache.trim_front(Offset(15));
        assert_eq!(cache.epoch_at(Offset(15)), Some(LeaderEpoch(3)));
        assert_eq!(cache.end_of(LeaderEpoch(1), Offset(30)), Some((LeaderEpoch(1), Offset(15))));
        assert_eq!(cache.epoch_at(Offset(25)), Some(LeaderEpoch(4)));
    }

    #[test]
    fn an_epoch_without_records_gives_way() {
        let mut cache = cache();
        cache.begin(LeaderEpoch(5), Offset(30));
        cache.begin(LeaderEpoch(6), Offset(30));
        assert_eq!(cache.end_of(LeaderEpoch(5), Offset(30)), Some((LeaderEpoch(4), Offset(30))));
        assert_eq!(cache.latest(), Some(LeaderEpoch(6)));
    }
}
