//! Which leader wrote from which offset on (KIP-101).
//!
//! ```text
//! epoch  0        2              5
//! offset 0 ...... 40 ..........  95 .... log end
//! ```
//!
//! Strictly ascending in both columns. Two replicas whose caches and ends agree up to an offset hold the same
//! records up to there; where they part is where a follower truncates. On disk it is Kafka's
//! `leader-epoch-checkpoint`: a version, a count, then one `epoch offset` per line.

use alloc::{string::String, vec::Vec};

use super::checkpoint;
use crate::{epoch::LeaderEpoch, offset::Offset};

/// Epochs and their first offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl EpochCache {
    /// Epochs and first offsets, ascending.
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    /// The epochs that a log was found to have, ascending.
    pub fn from_starts(starts: &[(LeaderEpoch, Offset)]) -> Self {
        let mut cache = Self::default();
        for &(epoch, start) in starts {
            cache.assign(epoch, start);
        }
        cache
    }

    /// Epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|i| self.entries[i].0)
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|&(epoch, _)| epoch)
    }

    /// Notes that `epoch` begins at `start`. Entries that contradict it, by a later epoch or a later start, are
    /// of a log that has since been cut. Returns whether anything changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch < LeaderEpoch::FIRST {
            return false;
        }
        let before = self.entries.len();
        let contradicts = |(other, begins): (LeaderEpoch, Offset)| {
            other > epoch || begins > start || (begins == start && other != epoch)
        };
        while self.entries.pop_if(|entry| contradicts(*entry)).is_some() {}
        if self.entries.last().is_some_and(|&(latest, _)| latest == epoch) {
            return self.entries.len() != before;
        }
        self.entries.push((epoch, start));
        true
    }

    /// Forgets the epochs that begin at or past a new log end. Returns whether anything changed.
    pub fn truncate_end(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|&(_, start)| start < end);
        self.entries.len() != before
    }

    /// Forgets the epochs that end before a new log start; the one that holds it now begins there.
    pub fn truncate_start(&mut self, log_start: Offset) -> bool {
        let Some(holder) = self.entries.iter().rposition(|&(_, start)| start <= log_start) else { return false };
        if holder == 0 && self.entries[0].1 == log_start {
            return false;
        }
        self.entries.drain(..holder);
        self.entries[0].1 = log_start;
        true
    }

    /// The largest epoch not above `epoch`, and where it ends (semantics §3). `None`: this log cannot say.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let &(latest, _) = self.entries.last()?;
        if epoch == latest {
            return Some((epoch, log_end));
        }
        if epoch > latest || epoch < LeaderEpoch::FIRST {
            return None;
        }
        let higher = self.entries.iter().position(|&(other, _)| other > epoch).expect("the latest is higher");
        let floor = if higher == 0 { epoch } else { self.entries[higher - 1].0 };
        Some((floor, self.entries[higher].1))
    }

    /// Epoch of the last record of a log that ends at `log_end`: a follower's `last_fetched_epoch`. Not always the
    /// newest epoch that is noted: that one may have no record yet.
    pub fn last_epoch(&self, log_end: Offset) -> LeaderEpoch {
        let last = (log_end > Offset::ZERO).then(|| self.epoch_at(Offset(log_end.0 - 1)));
        last.flatten().unwrap_or(LeaderEpoch::NONE)
    }

    /// Leader's side of a fetch: where the log of a follower that ends at `offset` with a record of `last_epoch` parts from
    /// this one, as the epoch and the end offset that are to be answered; `None` when it is a prefix of it (KIP-595).
    pub fn divergence(
        &self,
        last_epoch: LeaderEpoch,
        offset: Offset,
        log_end: Offset,
    ) -> Option<(LeaderEpoch, Offset)> {
        if last_epoch < LeaderEpoch::FIRST {
            return None;
        }
        match self.end_of(last_epoch, log_end) {
            Some((epoch, end)) if epoch == last_epoch && end >= offset => None,
            Some(shared) => Some(shared),
            // An epoch above all that are known here, which a leader never meets: its own is noted before it leads.
            None => match self.entries.last() {
                Some(&(latest, _)) => Some((latest, log_end)),
                None => (offset > log_end).then_some((last_epoch, log_end)),
            },
        }
    }

    /// Follower's side: what it keeps of its log when the leader's answer is that theirs part at (`epoch`, `end`); all from
    /// there on is to be cut off, and the leader to be asked again (KIP-279).
    ///
    /// ```text
    /// leader     1 1 1 3 3 3        "epoch 1 ends at 3"
    /// follower   1 1 1 2 2          keeps what it has of epochs up to 1, and nothing at or past 3
    /// ```
    pub fn common_end(&self, (epoch, end): (LeaderEpoch, Offset), log_end: Offset) -> Offset {
        // Past the leader's end of `epoch` its epochs are higher, and ours of epochs up to that are not.
        let own = self.entries.iter().find(|&&(other, _)| other > epoch).map_or(log_end, |&(_, start)| start);
        own.min(end).min(log_end)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        checkpoint::lines(self.entries.iter().map(|(epoch, start)| alloc::format!("{epoch} {start}")))
    }

    /// Reads the file's text; the reason when it is not such a file.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let mut entries: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for line in checkpoint::parse_lines(text)? {
            let (epoch, start) = line.split_once(' ').ok_or("a line is not `epoch offset`")?;
            let epoch = LeaderEpoch(epoch.parse().map_err(|_| "an epoch is not a number")?);
            let start = Offset(start.parse().map_err(|_| "an offset is not a number")?);
            if epoch < LeaderEpoch::FIRST || start < Offset::ZERO {
                return Err("a number is negative");
            }
            if entries.last().is_some_and(|&(e, s)| e >= epoch || s >= start) {
                return Err("epochs or offsets do not ascend");
            }
            entries.push((epoch, start));
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        EpochCache { entries: entries.iter().map(|&(e, o)| (LeaderEpoch(e), Offset(o))).collect() }
    }

    #[test]
    fn end_of_follows_kafkas_table() {
        let c = cache(&[(2, 10), (4, 40), (7, 95)]);
        let end = |e| c.end_of(LeaderEpoch(e), Offset(120)).map(|(e, o)| (e.0, o.0));
        assert_eq!(end(7), Some((7, 120)), "the latest ends at the log end");
        assert_eq!(end(8), None, "above all");
        assert_eq!(end(-1), None, "undefined");
        assert_eq!(end(4), Some((4, 95)));
        assert_eq!(end(5), Some((4, 95)), "largest not above");
        assert_eq!(end(1), Some((1, 10)), "below all: the first higher epoch's start");
        assert_eq!(cache(&[]).end_of(LeaderEpoch(0), Offset(3)), None);
    }

    #[test]
    fn the_last_epoch_is_that_of_the_last_record() {
        let c = cache(&[(2, 10), (4, 40), (7, 95)]);
        assert_eq!(c.last_epoch(Offset(95)), LeaderEpoch(4), "epoch 7 has no record yet");
        assert_eq!(c.last_epoch(Offset(96)), LeaderEpoch(7));
        assert_eq!(cache(&[]).last_epoch(Offset(0)), LeaderEpoch::NONE);
    }

    #[test]
    fn a_follower_keeps_what_it_shares_with_the_leader() {
        let follower = cache(&[(1, 0), (2, 3)]);
        let keeps = |epoch, end| follower.common_end((LeaderEpoch(epoch), Offset(end)), Offset(5)).0;
        assert_eq!(keeps(1, 3), 3, "the leader knows no epoch 2");
        assert_eq!(keeps(1, 2), 2, "its epoch 1 is shorter");
        assert_eq!(keeps(1, 9), 3, "its epoch 1 is longer: ours of epoch 2 go all the same");
        assert_eq!(keeps(2, 4), 4);
        assert_eq!(keeps(0, 0), 0, "nothing is shared");
        assert_eq!(keeps(3, 9), 5, "nothing contradicts it");
        assert_eq!(cache(&[]).common_end((LeaderEpoch(0), Offset(4)), Offset(0)), Offset(0));
    }

    /// A log, as the epoch of each record.
    fn epochs_of(log: &[i32]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (offset, &epoch) in (0..).zip(log) {
            cache.assign(LeaderEpoch(epoch), Offset(offset));
        }
        cache
    }

    /// Asks and cuts until nothing diverges; returns what is left and how often it asked.
    fn reconcile(leader: &[i32], follower: &[i32]) -> (usize, usize) {
        let (mut theirs, mut ours, mut asked) = (epochs_of(leader), epochs_of(follower), 0);
        let mut end = Offset(follower.len() as i64);
        let leader_end = Offset(leader.len() as i64);
        theirs.assign(LeaderEpoch(1_000), leader_end);
        while let Some(parted) = theirs.divergence(ours.last_epoch(end), end, leader_end) {
            let keep = ours.common_end(parted, end);
            assert!(keep < end, "every answer brings them closer: {leader:?} {follower:?}");
            ours.truncate_end(keep);
            (end, asked) = (keep, asked + 1);
        }
        (usize::try_from(end.0).expect("small"), asked)
    }

    proptest::proptest! {
        /// Two replicas share what they had before their histories parted, as epochs are used once: a record is known by
        /// offset and epoch.
        #[test]
        fn cutting_ends_at_the_common_prefix(
            common in proptest::collection::vec(0..2, 0..4),
            steps in proptest::collection::vec((proptest::bool::ANY, 1..4usize), 0..8),
        ) {
            // Each step is an epoch of its own, written by one side only.
            let mut epoch = 0;
            let mut shared = std::vec![];
            for step in common {
                epoch += step;
                shared.push(epoch);
            }
            let (mut leader, mut follower) = (shared.clone(), shared.clone());
            for (leads, records) in steps {
                epoch += 1;
                let side = if leads { &mut leader } else { &mut follower };
                side.extend(core::iter::repeat_n(epoch, records));
            }
            let same = leader.iter().zip(&follower).take_while(|(a, b)| a == b).count();
            let (kept, _) = reconcile(&leader, &follower);
            proptest::prop_assert_eq!(kept, same);
        }
    }

    #[test]
    fn assign_drops_what_contradicts() {
        let mut c = cache(&[(2, 10), (4, 40)]);
        assert!(!c.assign(LeaderEpoch(4), Offset(50)), "known");
        assert!(c.assign(LeaderEpoch(5), Offset(40)), "epoch 4 wrote nothing");
        assert_eq!(c, cache(&[(2, 10), (5, 40)]));
        assert!(c.assign(LeaderEpoch(3), Offset(20)));
        assert_eq!(c, cache(&[(2, 10), (3, 20)]));
        assert!(c.assign(LeaderEpoch(4), Offset(30)));
        assert!(c.assign(LeaderEpoch(3), Offset(30)), "epoch 4 wrote nothing here: the next leader was of epoch 5");
        assert_eq!(c, cache(&[(2, 10), (3, 20)]), "epoch 3 goes on, and begins where it did");
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut c = cache(&[(2, 10), (4, 40), (7, 95)]);
        assert!(c.truncate_end(Offset(95)));
        assert!(!c.truncate_end(Offset(95)));
        assert!(c.truncate_start(Offset(50)));
        assert_eq!(c, cache(&[(4, 50)]));
        assert!(!c.truncate_start(Offset(50)));
        assert!(!cache(&[(4, 50)]).truncate_start(Offset(20)), "nothing begins before it");
    }

    #[test]
    fn text_round_trips_and_hostile_text_is_refused() {
        let c = cache(&[(0, 0), (3, 7)]);
        assert_eq!(c.to_text(), "0\n2\n0 0\n3 7\n");
        assert_eq!(EpochCache::parse(c.to_text().as_bytes()), Ok(c));
        for bad in ["", "0", "1\n0\n", "0\n1\n", "0\n2\n0 0\n0 1\n", "0\n1\n-1 0\n", "0\n1\nx y\n", "0\n-1\n"] {
            assert!(EpochCache::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(EpochCache::parse(b"\xff\xfe").is_err());
    }
}
