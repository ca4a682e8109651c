//! What was written and is not there any more: it must be noticed, and nothing else may suffer.

use super::*;

const FIRST: &str = "orders-0/00000000000000000000.log";

/// Keeps nothing that is older than a second.
fn forgetful() -> LogConfig {
    LogConfig { retention: Some(Duration::from_millis(1_000)), ..small_segments() }
}

fn retain(dir: &mut LogDir<TestDisk>, high_watermark: i64) -> Result<JobOutcome, LogError> {
    run(dir, Job::Retain { high_watermark: Offset(high_watermark), wall: WALL })
}

/// A disk with so many batches of one record, synced, and `vouched` for by the checkpoint or not; its process has died.
fn written(count: i64, config: &LogConfig, vouched: bool) -> TestDisk {
    let (disk, mut dir) = started(config);
    for i in 0..count {
        append(&mut dir, vec![simple(i, &[7; 60])]).expect("works");
    }
    sync(&mut dir, &disk).expect("works");
    if vouched {
        dir.checkpoint().expect("works");
    }
    drop(dir);
    disk.restart();
    disk
}

#[test]
fn a_file_that_has_lost_its_end_is_not_passed_over() {
    let disk = written(40, &small_segments(), true);
    disk.damage(FIRST, |bytes| bytes.truncate(bytes.len() / 2));
    let (mut dir, _) = open_dir(&disk).expect("formatted");
    open_log(&mut dir, &disk, &small_segments()).expect("what the checkpoint vouches for is not read again");
    let read = read_all(&mut dir, Offset(0), Offset(40));
    assert!(matches!(read, Err(LogError::Corrupt { .. })), "{read:?}");
}

#[test]
fn a_hurt_base_offset_is_not_taken_for_a_gap() {
    let disk = written(3, &LogConfig::default(), false);
    disk.damage(FIRST, |bytes| {
        let last = bytes.len() / 3 * 2;
        bytes[last + 4] ^= 1;
    });
    let (mut dir, _) = open_dir(&disk).expect("formatted");
    let state = open_log(&mut dir, &disk, &LogConfig::default()).expect("the end is cut off");
    assert_eq!(state.log_end, Offset(2));
}

#[test]
fn a_hurt_leader_epoch_is_not_served() {
    let disk = written(3, &LogConfig::default(), true);
    disk.damage(FIRST, |bytes| {
        let second = bytes.len() / 3;
        bytes[second + 15] ^= 4;
    });
    let (mut dir, _) = open_dir(&disk).expect("formatted");
    open_log(&mut dir, &disk, &LogConfig::default()).expect("what the checkpoint vouches for is not read again");
    assert_eq!(read_all(&mut dir, Offset(0), Offset(1)).map(|batches| batches.len()), Ok(1));
    let read = read_all(&mut dir, Offset(0), Offset(3));
    assert!(matches!(read, Err(LogError::Corrupt { .. })), "{read:?}");
}

#[test]
fn a_batch_that_a_failed_sync_dropped_is_cut_off_with_what_follows() {
    let (disk, mut dir) = started(&LogConfig::default());
    for i in 0..3 {
        append(&mut dir, vec![simple(i, &[7; 60])]).expect("works");
    }
    drop(dir);
    disk.restart();
    disk.damage(FIRST, |bytes| {
        let size = bytes.len() / 3;
        bytes[size..2 * size].fill(0);
    });
    let (mut dir, _) = open_dir(&disk).expect("formatted");
    let state = open_log(&mut dir, &disk, &LogConfig::default()).expect("nobody was promised these bytes");
    assert_eq!(state.log_end, Offset(1));
    assert!(state.recovery.kept_bytes > 0, "they are kept beside the log");
}

#[test]
fn retention_that_finds_the_disk_full_moves_nothing() {
    for skip in 0.. {
        let (disk, mut dir) = started(&forgetful());
        for i in 0..40 {
            append(&mut dir, vec![simple(i, &[7; 60])]).expect("works");
        }
        sync(&mut dir, &disk).expect("works");
        disk.fail_at(skip, Fault::Full);
        let log_start = match retain(&mut dir, 40) {
            Ok(JobOutcome::Trimmed { log_start, .. }) => log_start,
            Ok(other) => panic!("{other:?}"),
            Err(LogError::DiskFull) => Offset(0),
            Err(error) => {
                assert!(matches!(error, LogError::Offline(_)), "{error:?}");
                continue;
            }
        };
        let read = read_all(&mut dir, log_start, Offset(40)).expect("from the log start on everything is there");
        assert_eq!(read.len() as i64, 40 - log_start.0);
        if !disk.failed() {
            assert!(skip > 0 && log_start == Offset(40));
            break;
        }
    }
}

#[test]
fn producers_outlive_the_records_that_retention_took() {
    let mut prng = Prng::new(1);
    for power in [false, true] {
        for _ in 0..20 {
            let (disk, mut dir) = started(&forgetful());
            for i in 0..20 {
                append(&mut dir, vec![batch(i, 0, &[(i, &[7; 60])], Some((5, i as i32)))]).expect("works");
            }
            sync(&mut dir, &disk).expect("works");
            retain(&mut dir, 20).expect("works");
            drop(dir);
            if power {
                disk.lose_power(&mut prng)
            } else {
                disk.restart()
            };
            let (mut dir, _) = open_dir(&disk).expect("formatted");
            let state = open_log(&mut dir, &disk, &forgetful()).expect("it opens");
            let known = state.producers.get(ProducerId(5)).expect("the producer is known");
            assert_eq!(known.batches.last().map(|batch| batch.last_sequence), Some(19));
        }
    }
}
