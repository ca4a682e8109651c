//! Many deadlines, one of each kind, the earliest first.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// For every key at most one deadline.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    at: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { at: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        if let Some(before) = self.at.insert(key, at) {
            if before == at {
                return;
            }
            self.order.remove(&(before, key));
        }
        self.order.insert((at, key));
    }

    /// Takes a deadline away, if there is one.
    pub(crate) fn clear(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    /// Takes the earliest deadline that has passed.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.order.first()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.order.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_moving_one_leaves_no_ghost() {
        let mut timers = Timers::new();
        timers.set('a', Instant(5));
        timers.set('b', Instant(3));
        timers.set('a', Instant(1));
        timers.set('c', Instant(9));
        timers.clear('c');
        assert_eq!(timers.next_deadline(), Some(Instant(1)));
        assert_eq!(timers.pop_due(Instant(0)), None);
        assert_eq!(timers.pop_due(Instant(5)), Some('a'));
        assert_eq!(timers.pop_due(Instant(5)), Some('b'));
        assert_eq!(timers.pop_due(Instant(99)), None);
        assert_eq!(timers.next_deadline(), None);
    }
}
