//! The log as a whole, over a disk in memory: scenarios, and a model of a few lines that it must agree with.

use alloc::{borrow::ToOwned, vec, vec::Vec};

use super::{
    test_disk::{Fault, TestDisk},
    *,
};
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, LogId, NodeId, ProducerEpoch, ProducerId, TopicId},
    message::LogRead,
    offset::Offset,
    prng::Prng,
    record::{Batch, BatchBuilder, BatchOptions, Batches},
    time::{Duration, Timestamp},
};

mod anew;
mod damage;
mod golden;

const LOG: LogId = LogId(1);
const TOPIC: TopicId = TopicId([1; 16]);
const WALL: Timestamp = Timestamp(1_000_000);

fn identity() -> Identity {
    Identity { node: NodeId(1), cluster_id: "cluster".to_owned(), directory: DirectoryId([9; 16]) }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 200, ..LogConfig::default() }
}

/// A batch whose records are `(timestamp, value)`.
fn batch(base: i64, epoch: i32, records: &[(i64, &[u8])], producer: Option<(i64, i32)>) -> Batch {
    let mut builder = BatchBuilder::new();
    for &(timestamp, value) in records {
        let headers: [(&[u8], Option<&[u8]>); 0] = [];
        builder.append(builder.next_delta(), Timestamp(timestamp), None, Some(value), headers);
    }
    builder.build(&BatchOptions {
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(epoch),
        producer: producer.map(|(id, sequence)| (ProducerId(id), ProducerEpoch(0), sequence)),
        ..BatchOptions::default()
    })
}

fn simple(base: i64, value: &[u8]) -> Batch {
    batch(base, 0, &[(base, value)], None)
}

fn format(disk: &TestDisk) {
    LogDir::format(disk, &identity()).expect("the disk is empty and works");
}

fn open_dir(disk: &TestDisk) -> Result<(LogDir<TestDisk>, DirState), DirError> {
    LogDir::open(disk.clone())
}

fn open_log(dir: &mut LogDir<TestDisk>, disk: &TestDisk, config: &LogConfig) -> Result<LogState, LogError> {
    let order = Job::Open { dir: "orders-0".to_owned(), topic_id: TOPIC, config: config.clone(), wall: WALL };
    let mut step = dir.execute(LOG, order);
    loop {
        match step {
            Step::Done(Ok(JobOutcome::Opened(state))) => return Ok(state),
            Step::Done(Err(error)) => return Err(error),
            Step::Sync(JobOutcome::Opened(state)) => {
                sync(dir, disk)?;
                return Ok(state);
            }
            Step::Again => step = dir.resume(LOG),
            other => panic!("{other:?}"),
        }
    }
}

fn run(dir: &mut LogDir<TestDisk>, order: Job) -> Result<JobOutcome, LogError> {
    match dir.execute(LOG, order) {
        Step::Done(result) => result,
        Step::Sync(outcome) => Ok(outcome),
        Step::Again => panic!("only opening is long"),
    }
}

fn append(dir: &mut LogDir<TestDisk>, batches: Vec<Batch>) -> Result<(), LogError> {
    run(dir, Job::Append { batches, sync: true, wall: WALL }).map(drop)
}

fn sync(dir: &mut LogDir<TestDisk>, disk: &TestDisk) -> Result<Offset, LogError> {
    let ticket = dir.begin_sync(LOG);
    let result = ticket.run(disk);
    dir.synced(LOG, ticket, result)
}

/// Everything from `from` to `bound`, as batches.
fn read_all(dir: &mut LogDir<TestDisk>, from: Offset, bound: Offset) -> Result<Vec<Batch>, LogError> {
    let mut batches = Vec::new();
    let mut from = from;
    while from < bound {
        let bytes = dir.read(&LogRead { log: LOG, from, bound, max_bytes: 400, at_least_one: true })?;
        if bytes.is_empty() {
            break;
        }
        for batch in Batches(bytes) {
            let batch = batch.expect("only whole and right batches are returned");
            from = batch.header().next_offset();
            batches.push(batch);
        }
    }
    Ok(batches)
}

fn started(config: &LogConfig) -> (TestDisk, LogDir<TestDisk>) {
    let disk = TestDisk::new();
    format(&disk);
    let (mut dir, _) = open_dir(&disk).expect("it was just formatted");
    open_log(&mut dir, &disk, config).expect("an empty log opens");
    (disk, dir)
}

#[test]
fn a_directory_tells_what_it_is() {
    let disk = TestDisk::new();
    assert!(matches!(open_dir(&disk), Err(DirError::NotFormatted)));
    format(&disk);
    assert!(matches!(LogDir::format(&disk, &identity()), Err(DirError::Foreign { .. })));
    let (_, state) = open_dir(&disk).expect("formatted");
    assert_eq!(state, DirState { identity: identity(), clean: false, vote: None, snapshots: Vec::new() });
    disk.damage("meta.properties", |bytes| bytes.truncate(3));
    assert!(matches!(open_dir(&disk), Err(DirError::Corrupt { .. })));
    disk.damage("meta.properties", |bytes| *bytes = b"version=1\nnode.id=1\n".to_vec());
    assert!(matches!(open_dir(&disk), Err(DirError::OtherFormat { .. })));
}

#[test]
fn a_clean_stop_needs_no_recovery_and_a_crash_does() {
    let (disk, mut dir) = started(&small_segments());
    for i in 0..40 {
        append(&mut dir, vec![simple(i, &[7; 60])]).expect("works");
    }
    sync(&mut dir, &disk).expect("works");
    run(&mut dir, Job::SaveVote(Vote { epoch: LeaderEpoch(3), voted_for: None })).expect("works");
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");

    let (mut dir, state) = open_dir(&disk).expect("works");
    assert!(state.clean);
    assert_eq!(state.vote, Some(Vote { epoch: LeaderEpoch(3), voted_for: None }));
    let opened = open_log(&mut dir, &disk, &small_segments()).expect("works");
    assert_eq!((opened.log_end, opened.recovery.clean, opened.recovery.scanned_bytes), (Offset(40), true, 0));
    drop(dir);

    // The marker is gone: this start was never stopped.
    let (mut dir, state) = open_dir(&disk).expect("works");
    assert!(!state.clean);
    let opened = open_log(&mut dir, &disk, &small_segments()).expect("works");
    assert_eq!(opened.log_end, Offset(40));
    assert_eq!(read_all(&mut dir, Offset(0), Offset(40)).expect("works").len(), 40);
    assert!(opened.recovery.scanned_bytes < 2000, "bounded by the recovery point: {opened:?}");
}

/// A broker that has lost something says so when it registers, and opens its partitions after that (KIP-966).
#[test]
fn an_unclean_stop_is_not_forgotten_by_a_clean_one_without_an_open_log() {
    let config = small_segments();
    let (disk, dir) = started(&config);
    drop(dir);
    disk.create_dir(names::METADATA_DIR).expect("works");
    disk.remove_dir("orders-0").expect("works");
    let (dir, state) = open_dir(&disk).expect("works");
    assert!(!state.clean);
    dir.close().expect("works");
    let (mut dir, state) = open_dir(&disk).expect("works");
    assert!(!state.clean, "nobody has been told");
    open_log(&mut dir, &disk, &config).expect("works");
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");
    assert!(open_dir(&disk).expect("works").1.clean);
}

#[test]
fn reads_keep_their_bounds() {
    let (_disk, mut dir) = started(&small_segments());
    for i in 0..30 {
        append(&mut dir, vec![batch(i * 3, 0, &[(1, &[1; 30]), (2, b""), (3, b"x")], None)]).expect("works");
    }
    let mut read = |from, bound, max_bytes, at_least_one| {
        let order = LogRead { log: LOG, from: Offset(from), bound: Offset(bound), max_bytes, at_least_one };
        dir.read(&order)
            .map(|bytes| Batches(bytes).map(|b| b.expect("whole").header().base_offset.0).collect::<Vec<_>>())
    };
    let size = batch(0, 0, &[(1, &[1; 30]), (2, b""), (3, b"x")], None).size();
    assert_eq!(read(4, 90, 2 * size, true), Ok(vec![3, 6]), "the batch that holds the offset comes first");
    assert_eq!(read(4, 90, 1, true), Ok(vec![3]), "one batch for progress");
    assert_eq!(read(4, 90, 1, false), Ok(vec![]));
    assert_eq!(read(4, 6, 10_000, true), Ok(vec![3]), "the bound is exclusive");
    assert_eq!(read(4, 5, 10_000, true), Ok(vec![]), "no batch that reaches past the bound");
    assert_eq!(read(90, 90, 10_000, true), Ok(vec![]), "the end is a place to read from");
    assert_eq!(read(91, 99, 10_000, true), Err(LogError::OutOfRange { offset: Offset(91) }));
    assert_eq!(read(88, 90, 10_000, true), Ok(vec![87]));
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    for call in 0..12 {
        let (disk, mut dir) = started(&small_segments());
        for i in 0..14 {
            append(&mut dir, vec![simple(i, &[7; 60])]).expect("works");
        }
        // The next append fills the segment and rolls.
        disk.fail_at(call, Fault::Full);
        let many: Vec<Batch> = (14..24).map(|i| simple(i, &[8; 60])).collect();
        let failed = append(&mut dir, many.clone());
        if failed.is_err() {
            assert_eq!(failed, Err(LogError::DiskFull), "call {call}");
            assert_eq!(append(&mut dir, vec![simple(24, b"x")]), Err(LogError::OutOfOrder), "its place is not there");
            assert_eq!(read_all(&mut dir, Offset(0), Offset(99)).expect("works").len(), 14);
            disk.restart();
            append(&mut dir, many).expect("there is space again");
        }
        disk.restart();
        append(&mut dir, vec![simple(24, b"x")]).expect("works");
        sync(&mut dir, &disk).expect("works");
        assert_eq!(read_all(&mut dir, Offset(0), Offset(99)).expect("works").len(), 25, "call {call}");
        drop(dir);
        let (mut dir, _) = open_dir(&disk).expect("works");
        let opened = open_log(&mut dir, &disk, &small_segments()).expect("works");
        assert_eq!((opened.log_end, opened.recovery.truncated_bytes), (Offset(25), 0), "call {call}");
    }
}

#[test]
fn a_failed_sync_is_final() {
    let (disk, mut dir) = started(&small_segments());
    append(&mut dir, vec![simple(0, b"a")]).expect("works");
    disk.fail_at(0, Fault::Io);
    assert!(matches!(sync(&mut dir, &disk), Err(LogError::Offline(_))));
    assert!(matches!(append(&mut dir, vec![simple(1, b"b")]), Err(LogError::Offline(_))));
    assert!(matches!(sync(&mut dir, &disk), Err(LogError::Offline(_))));
    assert!(matches!(dir.checkpoint(), Err(LogError::Offline(_))));
    assert!(dir.close().is_err(), "no marker for a directory that failed");
}

#[test]
fn lookups_by_time_find_the_first_record() {
    let (_disk, mut dir) = started(&small_segments());
    // Timestamps jump about: 0, 7, 14, .. mod 101.
    let stamps: Vec<i64> = (0..200).map(|i| i * 7 % 101).collect();
    for (i, pair) in stamps.chunks(2).enumerate() {
        append(&mut dir, vec![batch(i as i64 * 2, 4, &[(pair[0], &[1; 20]), (pair[1], b"")], None)]).expect("works");
    }
    for (at, from, bound) in
        [(0, 0, 200), (50, 0, 200), (100, 0, 200), (100, 60, 200), (99, 120, 150), (101, 0, 200), (5, 199, 200)]
    {
        let expected = (from..bound).find(|&i| stamps[i] >= at);
        let order = Job::FindTimestamp { at: Timestamp(at), from: Offset(from as i64), bound: Offset(bound as i64) };
        let found = run(&mut dir, order).expect("works");
        let record = expected.map(|i| (Offset(i as i64), Timestamp(stamps[i]), LeaderEpoch(4)));
        assert_eq!(found, JobOutcome::Found { record }, "{at} from {from} to {bound}");
    }
    for bound in [2, 30, 150, 200] {
        let newest = stamps[..bound].iter().max().expect("not empty");
        let first = stamps.iter().position(|t| t == newest).expect("it is there");
        let found = run(&mut dir, Job::FindMaxTimestamp { bound: Offset(bound as i64) }).expect("works");
        let record = Some((Offset(first as i64), Timestamp(*newest), LeaderEpoch(4)));
        assert_eq!(found, JobOutcome::Found { record }, "below {bound}");
    }
}

#[test]
fn a_log_that_nobody_wrote_to_is_opened_and_closed_for_nothing() {
    let (disk, mut dir) = started(&small_segments());
    append(&mut dir, (0..40).map(|i| simple(i, &[7; 60])).collect()).expect("works");
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");
    let (mut dir, _) = open_dir(&disk).expect("works");
    let before = disk.calls();
    open_log(&mut dir, &disk, &small_segments()).expect("works");
    run(&mut dir, Job::Close).expect("works");
    assert_eq!(disk.calls(), before, "nothing is made, changed or synced");
    dir.close().expect("works");
    assert!(open_dir(&disk).expect("works").1.clean);
}

#[test]
fn a_log_counts_as_closed_once_that_is_durable() {
    let (disk, mut dir) = started(&small_segments());
    append(&mut dir, (0..40).map(|i| simple(i, &[7; 60])).collect()).expect("works");
    run(&mut dir, Job::Close).expect("works");
    // Opened again before the directory was closed: by then what was closed has been settled.
    let opened = open_log(&mut dir, &disk, &small_segments()).expect("works");
    assert!(opened.recovery.clean);
    drop(dir);
    disk.lose_power(&mut Prng::new(3));
    let (mut dir, _) = open_dir(&disk).expect("works");
    assert_eq!(open_log(&mut dir, &disk, &small_segments()).expect("works").log_end, Offset(40));
}

#[test]
fn a_folder_of_another_topic_is_set_aside() {
    let (disk, mut dir) = started(&small_segments());
    append(&mut dir, vec![simple(0, b"old")]).expect("works");
    sync(&mut dir, &disk).expect("works");
    dir.checkpoint().expect("works");
    drop(dir);
    let (mut dir, _) = open_dir(&disk).expect("works");
    let order =
        Job::Open { dir: "orders-0".to_owned(), topic_id: TopicId([2; 16]), config: small_segments(), wall: WALL };
    let Step::Done(Ok(JobOutcome::Opened(state))) = dir.execute(LOG, order) else { panic!("it opens") };
    assert_eq!(state.log_end, Offset(0));
    let aside = "orders-0.01010101010101010101010101010101-stray/00000000000000000000.log";
    assert!(disk.paths().iter().any(|path| path == aside), "{:?}", disk.paths());
    append(&mut dir, vec![simple(0, b"new")]).expect("works");
    run(&mut dir, Job::Delete).expect("works");
    assert!(!disk.paths().iter().any(|path| path.starts_with("orders-0/")));
}

#[test]
fn a_vote_is_durable_before_it_is_known_whose_the_metadata_log_is() {
    let vote = Vote { epoch: LeaderEpoch(3), voted_for: Some(NodeId(1)) };
    let open = |dir: &mut LogDir<TestDisk>| {
        let name = crate::log::names::METADATA_DIR.to_owned();
        run(dir, Job::Open { dir: name, topic_id: TopicId::METADATA, config: small_segments(), wall: WALL })
    };
    for seed in 0..40 {
        let disk = TestDisk::new();
        format(&disk);
        let (mut dir, _) = open_dir(&disk).expect("it was just formatted");
        open(&mut dir).expect("it is empty");
        run(&mut dir, Job::SaveVote(vote)).expect("works");
        append(&mut dir, vec![simple(0, b"first")]).expect("works");
        drop(dir);
        disk.lose_power(&mut Prng::new(seed));
        for start in 0..2 {
            let (mut dir, state) = open_dir(&disk).expect("works");
            assert_eq!(state.vote, Some(vote), "seed {seed}, start {start}");
            open(&mut dir).expect("what was not synced may be gone");
        }
    }
}

#[test]
fn retention_goes_by_start_size_and_age() {
    let mut config = small_segments();
    config.retention = None;
    let (disk, mut dir) = started(&config);
    for i in 0..60 {
        append(&mut dir, vec![simple(i, &[7; 60])]).expect("works");
    }
    let retain = |dir: &mut LogDir<TestDisk>, hw: i64, wall: i64| match run(
        dir,
        Job::Retain { high_watermark: Offset(hw), wall: Timestamp(wall) },
    ) {
        Ok(JobOutcome::Trimmed { log_start, end, size }) => (log_start.0, end.0, size),
        other => panic!("{other:?}"),
    };
    let (start, end, size) = retain(&mut dir, 60, 1000);
    assert_eq!((start, end), (0, 60));
    // By log start.
    run(&mut dir, Job::RaiseLogStart { to: Offset(25) }).expect("works");
    let (start, _, after) = retain(&mut dir, 60, 1000);
    assert_eq!(start, 25);
    assert!(after < size);
    // By size: never below the limit.
    config.retention_bytes = Some(3000);
    run(&mut dir, Job::Configure { config: config.clone() }).expect("works");
    let (start, _, after) = retain(&mut dir, 60, 1000);
    assert!(start > 25 && (3000..4500).contains(&after), "{start} {after}");
    // By age: whole segments, by their newest record; the high watermark holds.
    config.retention_bytes = None;
    config.retention = Some(Duration::from_millis(100));
    run(&mut dir, Job::Configure { config: config.clone() }).expect("works");
    let (held, ..) = retain(&mut dir, 45, 1000);
    assert!(held <= 45);
    let (start, end, size) = retain(&mut dir, 60, 1000);
    assert_eq!((start, end, size), (60, 60, 0), "a new empty segment takes over");
    assert_eq!(retain(&mut dir, 60, 1000), (60, 60, 0));
    append(&mut dir, vec![simple(60, b"next")]).expect("offsets go on");
    assert!(disk.paths().iter().any(|path| path.ends_with(".log.deleted")));
    run(&mut dir, Job::Expire { wall: Timestamp(1000 + 60_000) }).expect("works");
    assert!(!disk.paths().iter().any(|path| path.ends_with(".deleted")), "{:?}", disk.paths());
    sync(&mut dir, &disk).expect("works");
    drop(dir);
    let (mut dir, _) = open_dir(&disk).expect("works");
    let opened = open_log(&mut dir, &disk, &config).expect("works");
    assert_eq!((opened.log_start, opened.log_end), (Offset(60), Offset(61)));
}

#[test]
fn truncation_takes_producers_epochs_and_indexes_along() {
    let (disk, mut dir) = started(&small_segments());
    let mut expected = ProducerTable::new();
    for i in 0..50 {
        let b = batch(i, (i / 20) as i32, &[(i, &[7; 60])], Some((i % 3, (i / 3) as i32)));
        if i < 17 {
            expected.record(b.header());
        }
        append(&mut dir, vec![b]).expect("works");
    }
    sync(&mut dir, &disk).expect("works");
    dir.checkpoint().expect("works");
    let trimmed = run(&mut dir, Job::Truncate { to: Offset(17) }).expect("works");
    assert!(matches!(trimmed, JobOutcome::Truncated { end: Offset(17), producers, .. } if producers == expected));
    drop(dir);
    let (mut dir, _) = open_dir(&disk).expect("works");
    let opened = open_log(&mut dir, &disk, &small_segments()).expect("works");
    assert_eq!(opened.log_end, Offset(17));
    assert_eq!(opened.epochs, [(LeaderEpoch(0), Offset(0))]);
    assert_eq!(opened.producers, expected);
    // What was cut leaves no trace in the indexes.
    for i in 17..40 {
        append(&mut dir, vec![batch(i, 7, &[(5, &[9; 45])], None)]).expect("works");
    }
    for i in 0..40 {
        let first = read_all(&mut dir, Offset(i), Offset(40)).expect("works").remove(0);
        assert_eq!(first.header().base_offset, Offset(i));
    }
    let newest = run(&mut dir, Job::FindMaxTimestamp { bound: Offset(40) }).expect("works");
    assert_eq!(newest, JobOutcome::Found { record: Some((Offset(16), Timestamp(16), LeaderEpoch(0))) });
}

#[test]
fn rot_after_the_recovery_point_is_not_taken_for_a_torn_tail() {
    let log = "orders-0/00000000000000000000.log";
    let fill = || {
        let (disk, mut dir) = started(&LogConfig::default());
        for i in 0..20 {
            append(&mut dir, vec![simple(i, &[7; 700])]).expect("works");
        }
        sync(&mut dir, &disk).expect("works");
        disk
    };
    let reopen = |disk: &TestDisk| {
        let (mut dir, _) = open_dir(disk).expect("works");
        open_log(&mut dir, disk, &LogConfig::default()).map(|state| (state, dir))
    };
    // A flipped bit: whole batches follow, no page is missing.
    let disk = fill();
    disk.damage(log, |bytes| bytes[5000] ^= 1);
    assert!(matches!(reopen(&disk), Err(LogError::Corrupt { .. })));
    assert!(disk.content(log).expect("there").len() > 15_000, "nothing is cut");
    // A page that was never written: cut there, and what follows is kept beside.
    let disk = fill();
    let before = disk.content(log).expect("there");
    disk.damage(log, |bytes| bytes[4096..4608].fill(0));
    let (state, _) = reopen(&disk).expect("it opens");
    assert_eq!(state.log_end, Offset(5));
    assert_eq!(state.recovery.kept_bytes, state.recovery.truncated_bytes);
    let kept = disk.content(&alloc::format!("{log}.5.torn")).expect("kept");
    assert_eq!(kept.len() + disk.content(log).expect("there").len(), before.len());
    // The file ends within a batch: a torn tail, nothing to keep.
    let disk = fill();
    disk.damage(log, |bytes| bytes.truncate(before.len() - 1));
    let (state, _) = reopen(&disk).expect("it opens");
    assert_eq!((state.log_end, state.recovery.kept_bytes), (Offset(19), 0));
    // Below the recovery point: bytes that were synced are missing.
    let (disk, mut dir) = started(&LogConfig::default());
    append(&mut dir, (0..20).map(|i| simple(i, &[7; 700])).collect()).expect("works");
    sync(&mut dir, &disk).expect("works");
    dir.checkpoint().expect("works");
    disk.damage(log, |bytes| bytes.truncate(9000));
    assert!(matches!(reopen(&disk), Err(LogError::Corrupt { .. })));
    disk.damage(log, |bytes| bytes.clear());
    assert!(matches!(reopen(&disk), Err(LogError::Corrupt { .. })));
}

#[test]
fn rot_is_never_served() {
    let (disk, mut dir) = started(&LogConfig::default());
    append(&mut dir, (0..20).map(|i| simple(i, &[7; 700])).collect()).expect("works");
    disk.damage("orders-0/00000000000000000000.log", |bytes| bytes[5000] ^= 1);
    let batch = simple(0, &[7; 700]).size();
    let bad = 5000 / batch as i64;
    for from in 0..20 {
        let order = LogRead { log: LOG, from: Offset(from), bound: Offset(20), max_bytes: 100_000, at_least_one: true };
        match dir.read(&order) {
            Ok(bytes) => {
                let found: Vec<Batch> = Batches(bytes).map(|b| b.expect("right")).collect();
                assert_eq!(found[0].header().base_offset, Offset(from));
                assert!(found.iter().all(|b| b.header().base_offset != Offset(bad)));
            }
            Err(error) => assert!(from == bad && matches!(error, LogError::Corrupt { .. }), "{from}: {error}"),
        }
    }
}

#[test]
fn rot_in_a_base_offset_does_not_look_like_the_end() {
    let (disk, mut dir) = started(&LogConfig::default());
    append(&mut dir, (0..20).map(|i| simple(i, &[7; 700])).collect()).expect("works");
    let batch = simple(0, &[7; 700]).size();
    // The CRC does not cover the base offset. This makes the eighth batch stand far behind the end.
    disk.damage("orders-0/00000000000000000000.log", |bytes| bytes[7 * batch] ^= 1);
    for from in 0..20 {
        let order = LogRead { log: LOG, from: Offset(from), bound: Offset(20), max_bytes: 100_000, at_least_one: true };
        match dir.read(&order) {
            Ok(bytes) => {
                let first = Batches(bytes).next().expect("there is more to read").expect("right");
                assert_eq!(first.header().base_offset, Offset(from));
            }
            Err(error) => assert!(from >= 7 && matches!(error, LogError::Corrupt { .. }), "{from}: {error}"),
        }
    }
}

#[test]
fn indexes_that_lie_are_found_out() {
    let (disk, mut dir) = started(&LogConfig { index_interval_bytes: 200, ..LogConfig::default() });
    append(&mut dir, (0..50).map(|i| simple(i, &[7; 100])).collect()).expect("works");
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");
    let index = disk.content("orders-0/00000000000000000000.index").expect("there");
    assert!(index.len() > 80);
    let mut prng = Prng::new(5);
    for _ in 0..200 {
        let mut bad = index.clone();
        for _ in 0..=prng.below(4) {
            let at = prng.below(bad.len() as u64) as usize;
            bad[at] = prng.next_u64() as u8;
        }
        bad.truncate(prng.below(bad.len() as u64 + 1) as usize);
        disk.damage("orders-0/00000000000000000000.index", |bytes| *bytes = bad);
        let (mut dir, _) = open_dir(&disk).expect("works");
        let opened = open_log(&mut dir, &disk, &LogConfig::default()).expect("the log itself is whole");
        assert_eq!(opened.log_end, Offset(50));
        for i in 0..50 {
            let found = read_all(&mut dir, Offset(i), Offset(50)).expect("the log itself is whole");
            assert_eq!(found[0].header().base_offset, Offset(i));
        }
    }
}

/// What the log should hold.
#[derive(Clone, Default)]
struct Model {
    batches: Vec<Batch>,
    start: i64,
    /// How far the log start may be: a retention that was cut off may have done its work or not.
    start_max: i64,
    /// Offsets below were promised.
    durable: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |b| b.header().next_offset().0).max(self.start)
    }
}

/// One random job against model and log. An error of the log ends the run.
fn random_job(
    dir: &mut LogDir<TestDisk>,
    disk: &TestDisk,
    model: &mut Model,
    prng: &mut Prng,
    config: &LogConfig,
) -> Result<(), LogError> {
    match prng.below(20) {
        0..10 => {
            let mut batches = Vec::new();
            let mut base = model.end();
            for _ in 0..=prng.below(4) {
                let value = vec![prng.next_u64() as u8; prng.below(300) as usize];
                let records: Vec<(i64, &[u8])> =
                    (0..=prng.below(3)).map(|_| (prng.below(5000) as i64, value.as_slice())).collect();
                let producer = prng.chance(1, 2).then(|| (prng.below(3) as i64, base as i32));
                let epoch = (model.end() / 40) as i32;
                batches.push(batch(base, epoch, &records, producer));
                base += records.len() as i64;
            }
            // Whether it is there after a crash is open from here on.
            let before = model.batches.len();
            model.batches.extend(batches.iter().cloned());
            let result = append(dir, batches);
            if matches!(result, Err(LogError::DiskFull)) {
                model.batches.truncate(before);
                return Ok(());
            }
            result
        }
        10..15 => {
            let end = model.end();
            let durable = sync(dir, disk)?;
            assert_eq!(durable, Offset(end));
            model.durable = end;
            Ok(())
        }
        15 => {
            let result = dir.checkpoint();
            if matches!(result, Err(LogError::DiskFull)) { Ok(()) } else { result.map(drop) }
        }
        16 => {
            let to = model.start + prng.below((model.end() - model.start) as u64 + 1) as i64;
            let to =
                model.batches.iter().map(|b| b.header().base_offset.0).find(|&base| base >= to).unwrap_or(model.end());
            model.durable = model.durable.min(to);
            let mut cut = model.clone();
            cut.batches.retain(|b| b.header().next_offset().0 <= to);
            let outcome = run(dir, Job::Truncate { to: Offset(to) });
            if matches!(outcome, Err(LogError::DiskFull)) {
                return Err(LogError::DiskFull);
            }
            outcome?;
            *model = cut;
            if to < model.end() {
                model.durable = to;
            }
            Ok(())
        }
        17 => {
            let to = model.start + prng.below((model.end() - model.start) as u64 + 1) as i64;
            // Deleted records need not stay deleted over a crash before a checkpoint, so only batch bounds count.
            let to =
                model.batches.iter().map(|b| b.header().base_offset.0).rfind(|&base| base <= to).unwrap_or(model.start);
            run(dir, Job::RaiseLogStart { to: Offset(to) })?;
            model.start = to;
            model.start_max = to;
            model.batches.retain(|b| b.header().base_offset.0 >= to);
            Ok(())
        }
        18 => {
            model.start_max = model.end();
            let outcome = run(
                dir,
                Job::Retain { high_watermark: Offset(model.end()), wall: Timestamp(prng.below(10_000) as i64) },
            );
            if matches!(outcome, Err(LogError::DiskFull)) {
                return Err(LogError::DiskFull);
            }
            let JobOutcome::Trimmed { log_start, end, .. } = outcome? else { panic!("retention trims") };
            assert_eq!(end, Offset(model.end()));
            model.start = log_start.0;
            model.start_max = model.start;
            model.batches.retain(|b| b.header().base_offset >= log_start);
            Ok(())
        }
        _ => {
            run(dir, Job::Configure { config: config.clone() })?;
            let found = read_all(dir, Offset(model.start), Offset(model.end()))?;
            assert_eq!(found, model.batches);
            Ok(())
        }
    }
}

fn check_recovered(dir: &mut LogDir<TestDisk>, state: &LogState, model: &Model, what: &str) {
    let found = read_all(dir, state.log_start, state.log_end).expect("what was recovered can be read");
    assert!(
        state.log_end.0 >= model.durable,
        "{what}: {} was durable, the log ends at {}",
        model.durable,
        state.log_end
    );
    assert!(state.log_start.0 <= model.start_max || model.durable == 0, "{what}: the log start is {}", state.log_start);
    // Of what both have, the log is a prefix of the model.
    let tail: Vec<&Batch> = found.iter().filter(|b| b.header().base_offset.0 >= model.start).collect();
    let model: Vec<&Batch> = model.batches.iter().filter(|b| b.header().base_offset >= state.log_start).collect();
    assert!(tail.len() <= model.len(), "{what}");
    for (found, expected) in tail.iter().zip(&model) {
        assert_eq!(found, expected, "{what}");
    }
    let mut next = state.log_start;
    for batch in &found {
        assert_eq!(batch.header().base_offset, next, "{what}: no gap");
        next = batch.header().next_offset();
    }
    // Epochs and producers are those of the batches there are.
    for batch in &found {
        let header = batch.header();
        let epoch = state.epochs.iter().rfind(|&&(_, start)| start <= header.base_offset).map(|&(epoch, _)| epoch);
        assert_eq!(epoch, Some(header.leader_epoch), "{what}: {:?}", state.epochs);
        if header.has_producer() {
            let entry = state.producers.get(header.producer_id);
            assert!(entry.is_some(), "{what}: producer {} of offset {}", header.producer_id, header.base_offset);
        }
    }
    for (id, entry) in state.producers.iter() {
        for batch in &entry.batches {
            assert!(batch.last_offset < state.log_end, "{what}: producer {id} is ahead of the log");
        }
        let in_log = found.iter().rfind(|b| b.header().producer_id == id).map(|b| b.header().last_offset());
        if let Some(last) = in_log {
            assert_eq!(entry.batches.last().map(|b| b.last_offset), Some(last), "{what}: producer {id}");
        }
    }
}

/// Runs jobs until a fault at disk call `call` ends them, crashes, recovers and compares. False: the fault never came.
fn crash_run(seed: u64, call: u64, fault: Fault, power: bool) -> bool {
    let what = alloc::format!("seed {seed} call {call} {fault:?} power {power}");
    let config = LogConfig {
        retention: Some(Duration::from_millis(4000)),
        file_delete_delay: Duration::ZERO,
        ..small_segments()
    };
    let disk = TestDisk::new();
    format(&disk);
    let mut prng = Prng::new(seed);
    let mut model = Model::default();
    let (mut dir, _) = open_dir(&disk).expect("works");
    open_log(&mut dir, &disk, &config).expect("works");
    disk.fail_at(call, fault);
    for _ in 0..40 {
        if random_job(&mut dir, &disk, &mut model, &mut prng, &config).is_err() {
            break;
        }
    }
    let hit = disk.failed();
    drop(dir);
    for round in 0..3 {
        if power {
            disk.lose_power(&mut prng)
        } else {
            disk.restart()
        }
        let (mut dir, _) = open_dir(&disk).expect(&what);
        let state = open_log(&mut dir, &disk, &config).expect(&what);
        check_recovered(&mut dir, &state, &model, &what);
        // What was recovered is promised, and life goes on.
        model.start = state.log_start.0;
        model.start_max = model.start;
        model.batches = read_all(&mut dir, state.log_start, state.log_end).expect(&what);
        model.durable = state.log_end.0;
        if round == 1 {
            disk.fail_at(prng.below(20), Fault::Crash);
        }
        for _ in 0..6 {
            if random_job(&mut dir, &disk, &mut model, &mut prng, &config).is_err() {
                break;
            }
        }
    }
    hit
}

/// A few, and those that found something, 287 a producer snapshot that came back after a power loss.
const SEEDS: [u64; 7] = [3, 4, 5, 6, 132, 197, 287];

#[test]
fn the_log_agrees_with_its_model_and_survives_a_crash_at_any_disk_call() {
    for seed in SEEDS {
        for (fault, power) in [(Fault::Crash, false), (Fault::Crash, true), (Fault::Io, true), (Fault::Full, true)] {
            let mut call = 0;
            while crash_run(seed, call, fault, power) {
                call += 1 + seed % 7;
            }
        }
    }
}

#[test]
fn a_hundred_thousand_entries_are_searched_with_few_reads() {
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let (disk, mut dir) = started(&config);
    for chunk in 0..40i64 {
        append(&mut dir, (0..100).map(|i| simple(chunk * 100 + i, b"x")).collect()).expect("works");
    }
    let before = disk.reads();
    let order = LogRead { log: LOG, from: Offset(1234), bound: Offset(4000), max_bytes: 100, at_least_one: true };
    let bytes = dir.read(&order).expect("works");
    assert_eq!(Batches(bytes).next().expect("one").expect("right").header().base_offset, Offset(1234));
    assert!(disk.reads() - before < 12, "{}", disk.reads() - before);
}
