//! Cleaning, over a disk in memory, against a model; and with the power going at every call.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

use super::*;
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, LogId, NodeId, ProducerEpoch, ProducerId, TopicId},
    log::{
        CleanupPolicy, Identity, Job, JobOutcome, LogConfig, LogDir, Step,
        place::Place,
        recovery::{Found, Opening, Points, Progress, owner},
        test_disk::{Fault, TestDisk},
    },
    prng::Prng,
    record::{BatchBuilder, BatchOptions, Compression},
    time::Duration,
};

const DIR: &str = "t-0";
const DAY: i64 = 24 * 3600 * 1000;

fn config() -> LogConfig {
    LogConfig {
        cleanup: CleanupPolicy { delete: false, compact: true },
        segment_bytes: 600,
        index_interval_bytes: 100,
        min_cleanable_dirty_permille: 0,
        delete_retention: Duration::from_millis(DAY as u64),
        ..LogConfig::default()
    }
}

struct Rig {
    disk: TestDisk,
    log: Log<TestDisk>,
    cleaned_to: Option<Offset>,
}

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    offset: i64,
    key: Option<String>,
    value: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

fn open(disk: &TestDisk, config: &LogConfig, points: Points) -> Result<Log<TestDisk>, LogError> {
    let at = Place { disk: disk.clone(), dir: DIR.to_string(), suffix: "" };
    let owned = owner(&at, TopicId([1; 16]))?.is_some();
    let found = Found { names: disk.list(DIR)?, owned };
    let mut opening = Opening::begin(at, found, TopicId([1; 16]), config.clone(), Timestamp(0), points)?;
    loop {
        match opening.step()? {
            Progress::More(more) => opening = more,
            Progress::Open(log, _) => return Ok(log),
        }
    }
}

impl Rig {
    fn new(config: &LogConfig) -> Self {
        let disk = TestDisk::new();
        disk.create_dir(DIR).expect("no fault yet");
        disk.sync_dir("").expect("no fault yet");
        let log = open(&disk, config, Points::default()).expect("no fault yet");
        Self { disk, log, cleaned_to: None }
    }

    fn append(&mut self, mut batch: Batch) -> Offset {
        let base = self.log.end;
        batch.stamp(base, LeaderEpoch(0));
        self.log.append(&[batch], Timestamp(0)).expect("no fault yet");
        base
    }

    /// Appends a batch of these records, at time 0.
    fn put(&mut self, records: &[(&str, Option<&str>)]) -> Offset {
        self.append(batch(records, &BatchOptions::default()))
    }

    /// Makes all that was appended fit for cleaning, but for the active segment.
    fn roll(&mut self) {
        self.log.roll(self.log.end, Timestamp(0)).expect("no fault yet");
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        self.log.sync_all().expect("no fault yet");
        self.log.vouch().expect("no fault yet");
    }

    /// A whole round; says whether there was one.
    fn clean(&mut self, wall: i64) -> Result<bool, LogError> {
        let bound = self.log.end;
        self.clean_below(bound, wall)
    }

    fn clean_below(&mut self, bound: Offset, wall: i64) -> Result<bool, LogError> {
        let Some(mut cleaning) = Cleaning::begin(&mut self.log, self.cleaned_to, bound, Timestamp(wall))? else {
            return Ok(false);
        };
        self.finish(&mut cleaning)?;
        Ok(true)
    }

    fn finish(&mut self, cleaning: &mut Cleaning<TestDisk>) -> Result<(), LogError> {
        loop {
            match cleaning.step(&mut self.log)? {
                CleanProgress::More => {}
                CleanProgress::Done(to) => {
                    self.cleaned_to = Some(to);
                    return Ok(());
                }
                CleanProgress::Abandoned => return Ok(()),
            }
        }
    }

    fn batches(&mut self) -> Vec<Batch> {
        let (from, bound) = (self.log.log_start, self.log.end);
        let mut found = Vec::new();
        let mut next = from;
        loop {
            let read = self.log.read_batches(next, bound, 1 << 20).expect("the log is readable");
            if read.is_empty() {
                return found;
            }
            for mut bytes in read {
                while !bytes.is_empty() {
                    let batch = Batch::parse(&mut bytes).expect("the log is readable");
                    assert!(batch.header().base_offset >= next, "offsets rise");
                    next = batch.header().next_offset();
                    found.push(batch);
                }
            }
        }
    }

    /// All data records.
    fn read(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for batch in self.batches().into_iter().filter(|b| !b.header().is_control()) {
            for record in batch.records().expect("it opens") {
                let record = record.expect("it is whole");
                let value = record.value.as_deref().map(text);
                seen.push(Seen { offset: record.offset.0, key: record.key.as_deref().map(text), value });
            }
        }
        seen
    }

    fn offsets(&mut self) -> Vec<i64> {
        self.read().into_iter().map(|seen| seen.offset).collect()
    }

    /// What a reader from the start ends up with.
    fn state(&mut self) -> BTreeMap<String, (i64, String)> {
        let mut state = BTreeMap::new();
        for seen in self.read() {
            let key = seen.key.expect("every record here has a key");
            match seen.value {
                Some(value) => drop(state.insert(key, (seen.offset, value))),
                None => drop(state.remove(&key)),
            }
        }
        state
    }

    fn bases(&self) -> Vec<i64> {
        self.log.segments.iter().map(|s| s.base.0).collect()
    }
}

fn batch(records: &[(&str, Option<&str>)], options: &BatchOptions) -> Batch {
    let mut builder = BatchBuilder::new();
    for (key, value) in records {
        let delta = builder.next_delta();
        builder.append(delta, Timestamp(0), Some(key.as_bytes()), value.map(str::as_bytes), []);
    }
    builder.build(options)
}

fn of_producer(id: i64, sequence: i32) -> BatchOptions {
    BatchOptions { producer: Some((ProducerId(id), ProducerEpoch(0), sequence)), ..BatchOptions::default() }
}

fn transactional(id: i64, sequence: i32) -> BatchOptions {
    BatchOptions { transactional: true, ..of_producer(id, sequence) }
}

fn marker(id: i64, commit: bool) -> Batch {
    Batch::end_transaction(commit, 0, ProducerId(id), ProducerEpoch(0), Timestamp(0))
}

#[test]
fn the_newest_value_of_each_key_stays_where_it_was() {
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut rig = Rig::new(&config());
        let options = BatchOptions { compression: codec, ..BatchOptions::default() };
        rig.append(batch(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))], &options));
        rig.append(batch(&[("a", Some("2")), ("a", Some("3"))], &options));
        rig.roll();
        rig.append(batch(&[("b", Some("2"))], &options));
        rig.roll();
        rig.append(batch(&[("c", Some("active"))], &options));
        assert_eq!(rig.clean(0), Ok(true));
        assert_eq!(rig.offsets(), [2, 4, 5, 6], "{codec:?}");
        assert_eq!(rig.cleaned_to, Some(Offset(6)));
        assert_eq!(rig.batches()[0].header().compression(), Some(codec));
        assert_eq!(rig.bases(), [0, 6], "small neighbours are merged");
        assert_eq!(rig.clean(0), Ok(false), "a clean log costs nothing");
    }
}

#[test]
fn the_active_segment_and_all_past_the_bound_are_left_alone() {
    let mut rig = Rig::new(&config());
    for _ in 0..3 {
        rig.put(&[("a", Some("x")), ("a", Some("y"))]);
        rig.roll();
    }
    rig.put(&[("a", Some("x")), ("a", Some("y"))]);
    rig.checkpoint();
    assert_eq!(rig.clean_below(Offset(3), 0), Ok(true), "the bound lies inside the second segment");
    assert_eq!(rig.offsets(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(rig.clean(0), Ok(true));
    assert_eq!(rig.offsets(), [5, 6, 7]);
}

#[test]
fn nothing_is_touched_before_a_checkpoint_vouches_for_it() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("x")), ("a", Some("y"))]);
    rig.log.roll(Offset(2), Timestamp(0)).expect("no fault");
    assert_eq!(rig.clean(0), Ok(false));
    rig.checkpoint();
    assert_eq!(rig.clean(0), Ok(true));
}

#[test]
fn compaction_waits_for_the_ratio_and_the_lags() {
    let settings = LogConfig { min_cleanable_dirty_permille: 500, ..config() };
    let mut rig = Rig::new(&settings);
    let value = "v".repeat(100);
    for i in 0..3 {
        rig.put(&[(&i.to_string(), Some(&value)), ("x", Some(&value))]);
    }
    rig.roll();
    assert_eq!(rig.clean(0), Ok(true), "all of it is dirty");
    rig.put(&[("a", Some(&value))]);
    rig.roll();
    assert_eq!(rig.clean(0), Ok(false), "little of it is dirty");
    rig.log.config.max_compaction_lag = Some(Duration::from_millis(1000));
    assert_eq!(rig.clean(1000), Ok(false));
    assert_eq!(rig.clean(1001), Ok(true), "but it has waited for too long");

    rig.log.config = LogConfig { min_compaction_lag: Duration::from_millis(500), ..config() };
    rig.put(&[("a", Some(&value))]);
    rig.roll();
    assert_eq!(rig.clean(499), Ok(false), "it is too young");
    assert_eq!(rig.clean(500), Ok(true));
    rig.log.config.cleanup.compact = false;
    rig.cleaned_to = None;
    assert_eq!(rig.clean(500), Ok(false));
}

#[test]
fn tombstones_go_in_a_second_pass_once_their_horizon_is_over() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("1")), ("b", Some("1"))]);
    rig.put(&[("a", None)]);
    rig.roll();
    rig.clean(1000).expect("no fault");
    assert_eq!(rig.offsets(), [1, 2], "the value is gone, its tombstone is not");
    assert_eq!(rig.batches()[1].header().delete_horizon(), Some(Timestamp(1000 + DAY)));

    rig.put(&[("z", Some("1"))]);
    rig.roll();
    rig.clean(999 + DAY).expect("no fault");
    assert_eq!(rig.offsets(), [1, 2, 3]);
    assert_eq!(rig.batches()[1].header().delete_horizon(), Some(Timestamp(1000 + DAY)), "a horizon is set once");

    rig.put(&[("z", Some("2"))]);
    rig.roll();
    rig.clean(1000 + DAY).expect("no fault");
    assert_eq!(rig.offsets(), [1, 4]);
    let record = rig.batches()[0].records().expect("it opens").next();
    assert_eq!(record.expect("there is one").expect("it is whole").timestamp, Timestamp(0));
}

#[test]
fn the_last_batch_of_each_producer_stays_as_a_header() {
    let mut rig = Rig::new(&config());
    rig.append(batch(&[("a", Some("1")), ("a", Some("2"))], &of_producer(7, 0)));
    rig.append(batch(&[("a", Some("3"))], &of_producer(7, 2)));
    rig.append(batch(&[("a", Some("4"))], &of_producer(8, 0)));
    rig.put(&[("a", Some("5"))]);
    rig.put(&[("b", Some("5"))]);
    rig.roll();
    rig.clean(0).expect("no fault");
    assert_eq!(rig.offsets(), [4, 5]);
    let bare: Vec<_> =
        rig.batches().iter().filter(|b| b.header().records_count == 0).map(|b| b.header().base_offset).collect();
    assert_eq!(bare, [Offset(2), Offset(3)]);
    let producers = rig.log.producers.clone();

    // Snapshots aside, a restart finds the same last sequences.
    rig.log.drop_snapshots(|_| true).expect("no fault");
    let points = Points { recovery: Some(rig.log.recovery_point), ..Points::default() };
    let log = open(&rig.disk, &config(), points).expect("no fault");
    for (id, entry) in producers.iter() {
        let found = log.producers.get(id).expect("the producer is known");
        assert_eq!(found.batches.last(), entry.batches.last());
    }

    // Once the producer is forgotten, or has written more, its header goes.
    rig.log.producers.remove(ProducerId(7));
    rig.append(batch(&[("c", Some("1"))], &of_producer(8, 1)));
    rig.roll();
    rig.clean(0).expect("no fault");
    assert!(rig.batches().iter().all(|b| b.header().records_count > 0));
}

#[test]
fn the_last_batch_of_the_round_keeps_the_offsets() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("1"))]);
    rig.put(&[("b", None)]);
    rig.roll();
    rig.clean(0).expect("no fault");
    rig.put(&[("a", Some("2"))]);
    rig.roll();
    rig.put(&[("a", Some("3"))]);
    rig.roll();
    rig.cleaned_to = Some(Offset::ZERO);
    rig.log.config.delete_retention = Duration::ZERO;
    rig.clean(DAY * 2).expect("no fault");
    // All before the last is gone, but for it.
    assert_eq!(rig.batches().iter().map(|b| b.header().base_offset.0).collect::<Vec<_>>(), [3]);
    assert_eq!(rig.log.end, Offset(4));
}

#[test]
fn aborted_records_go_and_markers_wait_for_their_horizon() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("kept"))]);
    rig.append(batch(&[("a", Some("void"))], &transactional(7, 0)));
    rig.append(batch(&[("b", Some("done"))], &transactional(8, 0)));
    rig.roll();
    rig.append(marker(7, false));
    rig.append(marker(8, true));
    rig.put(&[("last", Some("1"))]);
    rig.roll();
    rig.log.producers = crate::log::ProducerTable::new();
    rig.clean(1000).expect("no fault");
    assert_eq!(rig.offsets(), [0, 2, 5], "what was aborted supersedes nothing");
    let marks = |rig: &mut Rig| -> Vec<(i64, Option<Timestamp>)> {
        let batches = rig.batches();
        let marks = batches.iter().filter(|b| b.header().is_control());
        marks.map(|b| (b.header().base_offset.0, b.header().delete_horizon())).collect()
    };
    assert_eq!(marks(&mut rig), [(3, None), (4, None)], "the first pass still met what they end");

    rig.put(&[("b", Some("newer"))]);
    rig.roll();
    rig.clean(2000).expect("no fault");
    assert_eq!(marks(&mut rig), [(3, Some(Timestamp(2000 + DAY))), (4, None)]);
    rig.put(&[("c", Some("1"))]);
    rig.roll();
    rig.clean(3000).expect("no fault");
    assert_eq!(marks(&mut rig), [(3, Some(Timestamp(2000 + DAY))), (4, Some(Timestamp(3000 + DAY)))]);
    rig.put(&[("c", Some("2"))]);
    rig.roll();
    rig.clean(2000 + DAY).expect("no fault");
    assert_eq!(marks(&mut rig), [(4, Some(Timestamp(3000 + DAY)))]);
    rig.put(&[("c", Some("3"))]);
    rig.roll();
    rig.clean(3000 + DAY).expect("no fault");
    assert_eq!(marks(&mut rig), []);
    assert_eq!(rig.state().keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c", "last"]);
}

#[test]
fn a_transaction_whose_marker_lies_past_the_round_is_seen() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("kept")), ("b", Some("old"))]);
    rig.append(batch(&[("a", Some("void"))], &transactional(7, 0)));
    rig.append(batch(&[("b", Some("new"))], &transactional(8, 0)));
    rig.roll();
    // Both ends are in the active segment, and a third transaction is open behind them.
    rig.append(marker(7, false));
    rig.append(marker(8, true));
    let open = rig.append(batch(&[("c", Some("?"))], &transactional(9, 0)));
    rig.checkpoint();
    rig.clean_below(open, 0).expect("no fault");
    assert_eq!(rig.state()["a"], (0, "kept".into()));
    assert_eq!(rig.state()["b"], (3, "new".into()));
    assert!(!rig.offsets().contains(&2));
}

#[test]
fn an_undecided_transaction_stops_the_round_before_it() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("1")), ("a", Some("2"))]);
    rig.roll();
    rig.append(batch(&[("a", Some("?"))], &transactional(7, 0)));
    rig.roll();
    // A caller that names too high a bound.
    assert_eq!(rig.clean(0), Ok(true));
    assert_eq!(rig.offsets(), [1, 2]);
}

#[test]
fn records_without_a_key_go_and_unreadable_batches_stay() {
    let mut rig = Rig::new(&config());
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(0), None, Some(b"keyless"), []);
    rig.append(builder.build(&BatchOptions::default()));
    let good = batch(&[("a", Some("1"))], &BatchOptions::default());
    let broken = Batch::assemble(*good.header(), good.body().slice(..good.body().len() - 1));
    rig.append(broken.clone());
    rig.put(&[("a", Some("2"))]);
    rig.roll();
    rig.clean(0).expect("no fault");
    let batches = rig.batches();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[0].body(), broken.body());
    assert_eq!(batches[1].header().base_offset, Offset(2));
}

#[test]
fn batches_outside_their_segment_are_damage() {
    let mut rig = Rig::new(&config());
    rig.put(&[("a", Some("1"))]);
    rig.roll();
    rig.put(&[("a", Some("2"))]);
    rig.roll();
    // The second segment's batch in the first one's file as well: right in itself, but not there.
    let second = rig.disk.content(&rig.log.at.segment(Offset(1), names::LOG)).expect("it is there");
    rig.log.segments[0].size += second.len() as u64;
    rig.disk.damage(&rig.log.at.segment(Offset(0), names::LOG), |bytes| bytes.extend_from_slice(&second));
    assert!(matches!(rig.clean(0), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_full_map_cleans_what_it_knows_and_the_next_round_goes_on() {
    let mut rig = Rig::new(&LogConfig { segment_bytes: 1 << 20, ..config() });
    let mut latest = BTreeMap::new();
    for i in 0..900u32 {
        let key = (i * 7 % 400).to_string();
        let at = rig.put(&[(&key, Some(&i.to_string()))]);
        latest.insert(key, (at.0, i.to_string()));
        if i % 300 == 299 {
            rig.roll();
        }
    }
    let mut rounds = 0;
    loop {
        let end = rig.log.end;
        let Some(mut cleaning) = Cleaning::begin(&mut rig.log, rig.cleaned_to, end, Timestamp(0)).expect("no fault")
        else {
            break;
        };
        cleaning.map = KeyMap::with_slots_max(256);
        let before = rig.cleaned_to;
        rig.finish(&mut cleaning).expect("no fault");
        assert!(rig.cleaned_to > before, "every round gets further");
        assert_eq!(rig.state(), latest);
        rounds += 1;
    }
    assert!(rounds > 2);
    assert_eq!(rig.offsets().len(), latest.len(), "in the end only the newest are left");
}

#[test]
fn appends_truncations_and_retention_may_come_between_steps() {
    let mut rig = Rig::new(&config());
    for i in 0..30 {
        rig.put(&[("a", Some(&i.to_string())), (&i.to_string(), Some("x"))]);
    }
    rig.roll();
    let bound = rig.log.end;
    let mut cleaning =
        Cleaning::begin(&mut rig.log, None, bound, Timestamp(0)).expect("no fault").expect("it is dirty");
    for i in 0..5 {
        assert_eq!(cleaning.step(&mut rig.log), Ok(CleanProgress::More));
        rig.put(&[("a", Some(&(100 + i).to_string()))]);
    }
    rig.log.truncate(Offset(62)).expect("no fault");
    assert_eq!(cleaning.step(&mut rig.log), Ok(CleanProgress::Abandoned));
    assert_eq!(rig.state()["a"], (61, "101".into()));

    // Retention takes the segments that are being copied.
    rig.log.config.segment_bytes = 1 << 20;
    let bound = rig.log.end;
    let mut cleaning =
        Cleaning::begin(&mut rig.log, None, bound, Timestamp(0)).expect("no fault").expect("it is dirty");
    while !matches!(cleaning.phase, Phase::Copy { output: Some(_) }) {
        assert_eq!(cleaning.step(&mut rig.log), Ok(CleanProgress::More));
    }
    let second = rig.log.segments[1].base;
    rig.log.raise_log_start(second).expect("no fault");
    rig.log.drop_oldest(1, Timestamp(0)).expect("no fault");
    assert_eq!(cleaning.step(&mut rig.log), Ok(CleanProgress::Abandoned));
    assert!(!rig.disk.paths().iter().any(|path| path.ends_with(names::CLEANED)));
    assert_eq!(rig.clean(0), Ok(true));
    assert_eq!(rig.state()["a"], (61, "101".into()));
}

/// A log with everything that a cleaning can meet, and one round behind it.
fn busy_log() -> Rig {
    let mut rig = Rig::new(&config());
    let mut prng = Prng::new(1);
    for i in 0..40i32 {
        let key = prng.below(12).to_string();
        let value = i.to_string();
        let value = if prng.chance(1, 5) { None } else { Some(value.as_str()) };
        let options = if prng.chance(1, 3) { of_producer(7, i) } else { BatchOptions::default() };
        rig.append(batch(&[(&key, value), (&i.to_string(), Some("one of a kind"))], &options));
        if i == 20 {
            rig.roll();
            rig.clean(0).expect("no fault");
        }
    }
    rig.roll();
    rig.put(&[("active", Some("1"))]);
    rig.checkpoint();
    rig
}

/// All keys end up as they would without cleaning, and again after another round.
fn assert_whole(disk: &TestDisk, recovery: Offset, expected: &BTreeMap<String, (i64, String)>, what: &str) {
    let points = Points { recovery: Some(recovery), ..Points::default() };
    let log = open(disk, &config(), points).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut rig = Rig { disk: disk.clone(), log, cleaned_to: None };
    assert_eq!(&rig.state(), expected, "{what}");
    for seen in rig.read() {
        // Indexes lead to every record.
        let found = rig.log.read_batches(Offset(seen.offset), rig.log.end, 1).expect("it is readable");
        let header = *Batch::parse(&mut found[0].clone()).expect("it is whole").header();
        assert!((header.base_offset..header.next_offset()).contains(&Offset(seen.offset)), "{what}");
    }
    let left: Vec<_> =
        rig.disk.paths().into_iter().filter(|p| p.ends_with(names::CLEANED) || p.ends_with(names::SWAP)).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
    rig.checkpoint();
    assert_eq!(rig.clean(0), Ok(true), "{what}");
    assert_eq!(&rig.state(), expected, "{what}");
    let keys: BTreeSet<_> = rig.read().into_iter().filter(|s| s.value.is_some()).map(|s| s.key).collect();
    assert_eq!(keys.len(), expected.len(), "{what}: only live keys are left");
}

#[test]
fn no_crash_at_any_call_loses_or_revives_a_key() {
    let mut rig = busy_log();
    let expected = rig.state();
    let recovery = rig.log.recovery_point;
    let before = rig.disk.calls();
    // Late enough for the tombstones of the first round to go.
    assert_eq!(rig.clean(2 * DAY), Ok(true));
    let calls = rig.disk.calls() - before;
    assert!(calls > 40, "there is something to break: {calls} calls");
    assert_eq!(rig.state(), expected);
    for call in 0..calls {
        for outcome in 0..6 {
            let mut rig = busy_log();
            rig.disk.fail_at(call, Fault::Crash);
            assert!(matches!(rig.clean(2 * DAY), Err(LogError::Offline(_))), "call {call}");
            match outcome {
                0 => rig.disk.restart(),
                seed => rig.disk.lose_power(&mut Prng::new(seed * 1000 + call)),
            }
            assert_whole(&rig.disk, recovery, &expected, &alloc::format!("call {call}, outcome {outcome}"));
        }
    }
}

#[test]
fn a_crash_while_a_swap_is_completed_does_no_harm_either() {
    let mut rig = busy_log();
    let expected = rig.state();
    let recovery = rig.log.recovery_point;
    let before = rig.disk.calls();
    rig.clean(2 * DAY).expect("no fault");
    let calls = rig.disk.calls() - before;
    for call in 0..calls {
        for second in [0, 2, 4, 7] {
            let mut rig = busy_log();
            rig.disk.fail_at(call, Fault::Crash);
            rig.clean(2 * DAY).expect_err("it crashed");
            rig.disk.lose_power(&mut Prng::new(call));
            rig.disk.fail_at(second, Fault::Crash);
            let points = Points { recovery: Some(recovery), ..Points::default() };
            if open(&rig.disk, &config(), points).is_err() {
                rig.disk.lose_power(&mut Prng::new(second));
            }
            rig.disk.restart();
            assert_whole(&rig.disk, recovery, &expected, &alloc::format!("call {call}, then {second}"));
        }
    }
}

#[test]
fn a_full_disk_ends_the_round_and_harms_nothing() {
    let mut rig = busy_log();
    let expected = rig.state();
    let before = rig.disk.calls();
    rig.clean(2 * DAY).expect("no fault");
    let calls = rig.disk.calls() - before;
    let mut passed = 0;
    for call in 0..calls {
        let mut rig = busy_log();
        rig.disk.fail_at(call, Fault::Full);
        match rig.clean(2 * DAY) {
            Err(LogError::DiskFull) => {
                passed += 1;
                assert_eq!(rig.state(), expected);
                assert_eq!(rig.clean(2 * DAY), Ok(true));
                assert_eq!(rig.state(), expected);
            }
            // An index may do without an entry; a sync or a swap that fails is final.
            Ok(true) => assert_eq!(rig.state(), expected),
            Err(LogError::Offline(_)) => {
                let recovery = rig.log.recovery_point;
                rig.disk.restart();
                assert_whole(&rig.disk, recovery, &expected, &alloc::format!("call {call}"));
            }
            other => panic!("call {call}: {other:?}"),
        }
    }
    assert!(passed > 5, "{passed}");
}

/// Runs a job to its end.
fn run(dir: &mut LogDir<TestDisk>, disk: &TestDisk, job: Job) -> Result<JobOutcome, LogError> {
    let id = LogId(1);
    let mut step = dir.execute(id, job);
    loop {
        match step {
            Step::Done(result) => return result,
            Step::Again => step = dir.resume(id),
            Step::Sync(outcome) => {
                let ticket = dir.begin_sync(id);
                let result = ticket.run(disk);
                return dir.synced(id, ticket, result).map(|_| outcome);
            }
        }
    }
}

#[test]
fn a_directory_cleans_its_logs_in_steps_and_remembers_how_far() {
    let disk = TestDisk::new();
    let identity = Identity { node: NodeId(1), cluster_id: "c".into(), directory: DirectoryId([1; 16]) };
    LogDir::format(&disk, &identity).expect("it is empty");
    let (mut dir, _) = LogDir::open(disk.clone()).expect("it is formatted");
    let open = Job::Open { dir: DIR.into(), topic_id: TopicId([1; 16]), config: config(), wall: Timestamp(0) };
    run(&mut dir, &disk, open.clone()).expect("it opens");
    for i in 0..40i64 {
        let mut batch = batch(&[("a", Some("x")), (&i.to_string(), Some("y"))], &BatchOptions::default());
        batch.stamp(Offset(i * 2), LeaderEpoch(0));
        run(&mut dir, &disk, Job::Append { batches: [batch].into(), sync: true, wall: Timestamp(0) })
            .expect("no fault");
    }
    let clean = Job::Clean { bound: Offset(80), wall: Timestamp(0) };

    // Cut off by a truncation between two steps, the job still gets its outcome.
    assert!(matches!(dir.execute(LogId(1), clean.clone()), Step::Again));
    assert!(
        matches!(dir.execute(LogId(1), clean.clone()), Step::Done(Ok(JobOutcome::Trimmed { .. }))),
        "one at a time"
    );
    run(&mut dir, &disk, Job::Truncate { to: Offset(78) }).expect("no fault");
    assert!(matches!(dir.resume(LogId(1)), Step::Done(Ok(JobOutcome::Trimmed { end: Offset(78), .. }))));

    let Ok(JobOutcome::Trimmed { size: before, .. }) = run(&mut dir, &disk, Job::Expire { wall: Timestamp(0) })
        .and_then(|_| run(&mut dir, &disk, Job::RaiseLogStart { to: Offset(0) }))
    else {
        panic!("no fault");
    };
    let Ok(JobOutcome::Trimmed { size, .. }) = run(&mut dir, &disk, clean.clone()) else { panic!("no fault") };
    assert!(size < before, "{size} of {before} bytes are left");
    let calls = disk.calls();
    run(&mut dir, &disk, clean.clone()).expect("no fault");
    assert_eq!(disk.calls(), calls, "a clean log costs nothing");
    run(&mut dir, &disk, Job::Close).expect("no fault");
    dir.close().expect("no fault");

    let point = disk.content(names::CLEANER_POINTS).expect("it is there");
    let (mut dir, _) = LogDir::open(disk.clone()).expect("it was closed");
    run(&mut dir, &disk, open).expect("it opens");
    let calls = disk.calls();
    run(&mut dir, &disk, clean).expect("no fault");
    assert_eq!(disk.calls(), calls, "a clean log costs nothing, after a restart as well");
    run(&mut dir, &disk, Job::Truncate { to: Offset(10) }).expect("no fault");
    assert_ne!(disk.content(names::CLEANER_POINTS), Some(point), "what was cut off is not clean when it comes back");
    run(&mut dir, &disk, Job::Delete).expect("no fault");
    assert_eq!(disk.content(names::CLEANER_POINTS), Some(b"0\n0\n".to_vec()));
}
