//! Random histories of a compacted log: appends, tombstones, rounds of cleaning and crashes, against the list of all that
//! was ever appended.
//!
//! Whatever was cleaned and whenever it crashed, a reader from the start must end up with what that list says, and see
//! nothing that is not in it.

use super::*;

struct History {
    rig: Rig,
    prng: Prng,
    /// Every record by its offset: key, and value or tombstone.
    model: Vec<(String, Option<String>)>,
    /// All below has been synced.
    durable: usize,
    /// What the checkpoint file says.
    recovery: Offset,
    /// No round has reached this far.
    untouched: i64,
    wall: i64,
    /// When a tombstone was first there for a round to see.
    seen_by_round: BTreeMap<usize, i64>,
    what: String,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            rig: Rig::new(&config()),
            prng: Prng::new(seed),
            model: Vec::new(),
            durable: 0,
            recovery: Offset(0),
            untouched: 0,
            wall: 0,
            seen_by_round: BTreeMap::new(),
            what: alloc::format!("seed {seed}"),
        }
    }

    /// One random thing; an error is the crash.
    fn step(&mut self) -> Result<(), LogError> {
        let (base, end) = (self.rig.log.active().base, self.rig.log.end);
        match self.prng.below(12) {
            0..7 => self.append(),
            7 if base < end => {
                self.rig.log.roll(end, Timestamp(0))?;
                self.checkpoint()
            }
            7 | 8 => self.checkpoint(),
            _ => self.clean(),
        }
    }

    fn append(&mut self) -> Result<(), LogError> {
        let prng = &mut self.prng;
        let records: Vec<(String, Option<String>)> = (0..=prng.below(4))
            .map(|n| {
                let value = alloc::format!("{}.{n}", self.model.len());
                (prng.below(10).to_string(), (!prng.chance(1, 4)).then_some(value))
            })
            .collect();
        let sequence = i32::try_from(self.model.len()).expect("short histories");
        let mut options =
            if prng.chance(1, 3) { of_producer(prng.below(3) as i64, sequence) } else { BatchOptions::default() };
        if prng.chance(1, 3) {
            options.compression = Compression::Lz4;
        }
        let borrowed: Vec<_> = records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let mut batch = batch(&borrowed, &options);
        batch.stamp(self.rig.log.end, LeaderEpoch(0));
        // It may be there after a crash even if the append fails.
        self.model.extend(records);
        self.rig.log.append(&[batch], Timestamp(0))
    }

    fn checkpoint(&mut self) -> Result<(), LogError> {
        self.rig.log.sync_all()?;
        self.durable = self.model.len();
        self.rig.log.vouch()?;
        self.recovery = self.rig.log.recovery_point;
        Ok(())
    }

    fn clean(&mut self) -> Result<(), LogError> {
        self.wall += self.prng.below(DAY as u64) as i64;
        for (offset, (_, value)) in self.model.iter().enumerate() {
            if value.is_none() {
                self.seen_by_round.entry(offset).or_insert(self.wall);
            }
        }
        self.untouched = self.untouched.max(self.rig.log.active().base.0);
        if !self.rig.clean(self.wall)? {
            return Ok(());
        }
        self.check();
        let to = self.rig.cleaned_to.expect("a round has ended");
        let seen = self.rig.read();
        let below = || seen.iter().filter(|seen| Offset(seen.offset) < to);
        let keys: BTreeSet<_> = below().map(|seen| &seen.key).collect();
        assert_eq!(keys.len(), below().count(), "{}: each key is left once below {to}", self.what);
        Ok(())
    }

    /// The process dies, or the power goes; the log is opened again.
    fn crash(&mut self) {
        if self.prng.chance(1, 2) {
            self.rig.disk.restart();
        } else {
            self.rig.disk.lose_power(&mut self.prng);
        }
        let points = Points { recovery: Some(self.recovery), ..Points::default() };
        self.rig.log = open(&self.rig.disk, &config(), points).unwrap_or_else(|error| panic!("{}: {error}", self.what));
        // Where a cleaning had come to is not certain after a crash; beginning again is always right.
        self.rig.cleaned_to = None;
        let end = self.rig.log.end.0 as usize;
        assert!(end >= self.durable, "{}: {} was durable, the log ends at {end}", self.what, self.durable);
        assert!(end <= self.model.len(), "{}: the log ends at {end}", self.what);
        self.model.truncate(end);
        self.seen_by_round.retain(|&offset, _| offset < end);
        self.untouched = self.untouched.min(end as i64);
        self.check();
        self.checkpoint().unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    fn check(&mut self) {
        let what = &self.what;
        let mut newest = BTreeMap::new();
        for (offset, (key, _)) in self.model.iter().enumerate() {
            newest.insert(key.as_str(), offset);
        }
        let read = self.rig.read();
        for seen in &read {
            let (key, value) = &self.model[seen.offset as usize];
            assert_eq!((&seen.key, &seen.value), (&Some(key.clone()), value), "{what}: offset {}", seen.offset);
        }
        assert!(read.windows(2).all(|pair| pair[0].offset < pair[1].offset), "{what}: offsets rise");
        let present: BTreeSet<i64> = read.iter().map(|seen| seen.offset).collect();
        for offset in self.untouched..self.model.len() as i64 {
            assert!(present.contains(&offset), "{what}: {offset} is gone, and no round has come so far");
        }
        for (key, offset) in newest {
            if present.contains(&(offset as i64)) {
                continue;
            }
            assert!(self.model[offset].1.is_none(), "{what}: the value of {key} at {offset} is gone");
            let due = self.seen_by_round.get(&offset).map(|seen| seen + DAY);
            assert!(
                due.is_some_and(|due| due <= self.wall),
                "{what}: the tombstone of {key} at {offset} is gone too early"
            );
            let older = read.iter().find(|seen| seen.key.as_deref() == Some(key));
            assert!(older.is_none(), "{what}: {key} was deleted at {offset} and is back: {older:?}");
        }
    }
}

/// More seeds than the usual few: `TIDELOG_CLEAN_SEEDS=0..1000 cargo test log::clean`.
fn seeds() -> core::ops::Range<u64> {
    let wanted = std::env::var("TIDELOG_CLEAN_SEEDS").ok();
    let bounds = wanted.as_deref().and_then(|text| text.split_once(".."));
    bounds.map_or(0..30, |(from, to)| from.parse().expect("a seed")..to.parse().expect("a seed"))
}

#[test]
fn no_history_of_appends_cleanings_and_crashes_loses_or_revives_a_key() {
    let (mut rounds, mut crashes) = (0, 0);
    for seed in seeds() {
        let mut history = History::new(seed);
        for _ in 0..4 {
            let call = history.prng.below(400);
            history.rig.disk.fail_at(call, Fault::Crash);
            for _ in 0..60 {
                let before = history.rig.cleaned_to;
                if history.step().is_err() {
                    crashes += 1;
                    break;
                }
                rounds += usize::from(history.rig.cleaned_to != before);
            }
            history.crash();
        }
    }
    assert!(rounds > 0 && crashes > 0, "{rounds} rounds, {crashes} crashes");
}
