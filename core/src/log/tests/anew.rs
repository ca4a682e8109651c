//! Logs that begin elsewhere than at their first record, and folders that go from one log to another.

use super::*;

fn crashed(disk: &TestDisk, seed: u64) -> Result<(LogDir<TestDisk>, LogState), LogError> {
    disk.lose_power(&mut Prng::new(seed));
    let (mut dir, _) = open_dir(disk).expect("formatted");
    let state = open_log(&mut dir, disk, &small_segments())?;
    Ok((dir, state))
}

/// A follower whose leader's log begins past its own end drops what it has and goes on there. What it acknowledges from
/// then on is found again, whatever a checkpoint said of the log that is gone.
#[test]
fn what_follows_a_new_beginning_is_as_safe_as_anything() {
    for seed in 0..50 {
        let (disk, mut dir) = started(&small_segments());
        append(&mut dir, vec![simple(0, &[7; 60]), simple(1, &[7; 60])]).expect("works");
        sync(&mut dir, &disk).expect("works");
        if seed % 2 == 0 {
            dir.checkpoint().expect("works");
        }
        run(&mut dir, Job::RaiseLogStart { to: Offset(10) }).expect("works");
        append(&mut dir, vec![simple(10, &[7; 60])]).expect("works");
        sync(&mut dir, &disk).expect("works");
        drop(dir);
        let (mut dir, state) = crashed(&disk, seed).expect("nothing is missing");
        assert_eq!((state.log_start, state.log_end), (Offset(10), Offset(11)), "seed {seed}");
        assert_eq!(read_all(&mut dir, Offset(10), Offset(11)).expect("readable").len(), 1);
    }
}

/// A crash after the cut must not find there what the checkpoint has called committed before: other records are there now.
#[test]
fn what_follows_a_cut_is_not_committed_because_what_was_there_before_was() {
    let fill = |dir: &mut LogDir<TestDisk>, disk: &TestDisk, records: core::ops::Range<i64>| {
        append(dir, records.map(|base| simple(base, &[7; 60])).collect()).expect("works");
        sync(dir, disk).expect("works");
    };
    for cut in [3, 7, 11] {
        let (disk, mut dir) = started(&small_segments());
        fill(&mut dir, &disk, 0..20);
        run(&mut dir, Job::NoteHighWatermark { to: Offset(15) }).expect("works");
        dir.checkpoint().expect("works");
        run(&mut dir, Job::Truncate { to: Offset(cut) }).expect("works");
        fill(&mut dir, &disk, cut..20);
        drop(dir);
        let (_, state) = crashed(&disk, 1).expect("nothing is missing");
        assert_eq!(state.log_end, Offset(20));
        assert!(state.high_watermark <= Offset(cut), "{} of {cut}", state.high_watermark);
    }
}

/// The same where it was the crash that has cut the log.
#[test]
fn what_follows_a_lost_tail_is_not_committed_because_that_was() {
    let (disk, mut dir) = started(&small_segments());
    append(&mut dir, (0..10).map(|base| simple(base, &[7; 60])).collect()).expect("works");
    sync(&mut dir, &disk).expect("works");
    // What followed up to there was in the page cache alone.
    run(&mut dir, Job::NoteHighWatermark { to: Offset(15) }).expect("works");
    dir.checkpoint().expect("works");
    drop(dir);
    let (mut dir, state) = crashed(&disk, 1).expect("nothing is missing");
    assert_eq!(state.high_watermark, Offset(10));
    append(&mut dir, (10..20).map(|base| simple(base, &[8; 60])).collect()).expect("works");
    sync(&mut dir, &disk).expect("works");
    drop(dir);
    let (_, state) = crashed(&disk, 2).expect("nothing is missing");
    assert_eq!((state.log_end, state.high_watermark), (Offset(20), Offset(10)));
}

/// The leader's log begins inside a batch, for records of it were deleted: so does that of a follower that begins anew.
#[test]
fn a_new_beginning_may_lie_inside_a_batch() {
    for seed in 0..50 {
        let (disk, mut dir) = started(&small_segments());
        append(&mut dir, vec![simple(0, &[7; 60]), simple(1, &[7; 60])]).expect("works");
        sync(&mut dir, &disk).expect("works");
        run(&mut dir, Job::RaiseLogStart { to: Offset(10) }).expect("works");
        let whole = batch(8, 3, &[(1, b"a"), (1, b"b"), (1, b"c"), (1, b"d")], None);
        assert_eq!(
            append(&mut dir, vec![simple(9, b"no")]),
            Err(LogError::OutOfOrder),
            "it holds nothing of the log's"
        );
        append(&mut dir, vec![whole, batch(12, 3, &[(1, b"e")], None)]).expect("works");
        sync(&mut dir, &disk).expect("works");
        let check = |dir: &mut LogDir<TestDisk>| {
            let bases = |batches: Vec<Batch>| batches.iter().map(|b| b.header().base_offset.0).collect::<Vec<_>>();
            assert_eq!(bases(read_all(dir, Offset(10), Offset(13)).expect("readable")), [8, 12]);
            let below = LogRead { log: LOG, from: Offset(9), bound: Offset(13), max_bytes: 1, at_least_one: true };
            assert_eq!(dir.read(&below), Err(LogError::OutOfRange { offset: Offset(9) }));
        };
        check(&mut dir);
        drop(dir);
        let (mut dir, state) = crashed(&disk, seed).expect("nothing is missing");
        assert_eq!((state.log_start, state.log_end), (Offset(10), Offset(13)), "seed {seed}");
        assert_eq!(state.epochs, [(LeaderEpoch(3), Offset(10))]);
        check(&mut dir);
    }
}

/// The batch inside which a log begins is cut off, or was never appended: the log is empty where it begins.
#[test]
fn a_log_that_loses_the_batch_that_it_begins_in_ends_where_it_starts() {
    let (disk, mut dir) = started(&small_segments());
    let whole = || batch(8, 3, &[(1, b"a"), (1, b"b"), (1, b"c"), (1, b"d")], None);
    run(&mut dir, Job::RaiseLogStart { to: Offset(10) }).expect("works");
    for _ in 0..2 {
        append(&mut dir, vec![whole()]).expect("works");
        sync(&mut dir, &disk).expect("works");
        let Ok(JobOutcome::Truncated { log_start, end, .. }) = run(&mut dir, Job::Truncate { to: Offset(11) }) else {
            panic!("it can be cut")
        };
        assert_eq!((log_start, end), (Offset(10), Offset(10)));
    }
    drop(dir);
    let (_, state) = crashed(&disk, 1).expect("nothing is missing");
    assert_eq!((state.log_start, state.log_end), (Offset(10), Offset(10)));
}

/// A job's first batches were written and its last ones found no room, nor was there any to undo it. It was never done, as
/// soon as there is room again.
#[test]
fn an_append_that_ends_halfway_on_a_full_disk_never_was() {
    for calls in 0.. {
        let (disk, mut dir) = started(&LogConfig { index_interval_bytes: 100_000, ..small_segments() });
        append(&mut dir, vec![simple(0, &[7; 60])]).expect("works");
        disk.fail_at(calls, Fault::NoRoom);
        let rest = || (1..40).map(|base| simple(base, &[7; 60])).collect::<Vec<_>>();
        let outcome = append(&mut dir, rest());
        let end = sync(&mut dir, &disk);
        disk.restart();
        if outcome.is_ok() {
            assert_eq!(end, Ok(Offset(40)));
            assert!(calls > 2, "some calls want room");
            break;
        }
        assert_eq!(outcome, Err(LogError::DiskFull), "{calls}");
        dir.checkpoint().expect("works");
        append(&mut dir, rest()).expect("there is room again");
        assert_eq!(sync(&mut dir, &disk), Ok(Offset(40)));
        drop(dir);
        let (mut dir, state) = crashed(&disk, calls).expect("nothing is missing");
        assert_eq!(state.log_end, Offset(40), "{calls}");
        assert_eq!(read_all(&mut dir, Offset(0), Offset(40)).expect("readable").len(), 40);
    }
}

/// The same for want of file handles, of which the undoing needs one as well. It is undone once: not again with the second
/// append from then on, which would take the first one with it.
#[test]
fn an_append_that_ends_halfway_for_want_of_handles_never_was() {
    let mut failed = 0;
    for (before, calls) in (1..12).flat_map(|before| (0..30).map(move |calls| (before, calls))) {
        let (disk, mut dir) = started(&LogConfig { index_interval_bytes: 100_000, ..small_segments() });
        let of = |bases: core::ops::Range<i64>| bases.map(|base| simple(base, &[7; 60])).collect::<Vec<_>>();
        append(&mut dir, of(0..before)).expect("works");
        sync(&mut dir, &disk).expect("works");
        disk.fail_at(calls, Fault::NoHandles);
        let outcome = append(&mut dir, of(before..40));
        disk.restart();
        if let Err(error) = outcome {
            assert_eq!(error, LogError::TooManyFiles);
            append(&mut dir, of(before..40)).expect("there are handles again");
            failed += 1;
        }
        append(&mut dir, of(40..41)).expect("works");
        assert_eq!(sync(&mut dir, &disk), Ok(Offset(41)), "{before} {calls}");
        assert_eq!(read_all(&mut dir, Offset(0), Offset(41)).expect("readable").len(), 41, "{before} {calls}");
        drop(dir);
        let (mut dir, state) = crashed(&disk, calls).expect("nothing is missing");
        assert_eq!(state.log_end, Offset(41), "{before} {calls}");
        assert_eq!(read_all(&mut dir, Offset(0), Offset(41)).expect("readable").len(), 41, "{before} {calls}");
    }
    assert!(failed > 20, "some calls want handles");
}

/// A truncation that ends halfway is gone through with as soon as it is asked for again, be the end where it belongs: what it
/// has not come to are the producers as they were then.
#[test]
fn a_truncation_that_ends_halfway_is_gone_through_with() {
    let producers = |dir: &mut LogDir<TestDisk>| match run(dir, Job::Truncate { to: Offset(30) }) {
        Ok(JobOutcome::Truncated { end, producers, .. }) => {
            assert_eq!(end, Offset(30));
            Ok(producers)
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    let written = || {
        let (disk, mut dir) = started(&small_segments());
        for base in 0..40 {
            append(&mut dir, vec![batch(base, 0, &[(1, &[7; 60])], Some((5, base as i32)))]).expect("works");
        }
        sync(&mut dir, &disk).expect("works");
        (disk, dir)
    };
    let whole = producers(&mut written().1).expect("nothing fails");
    let mut failed = 0;
    for calls in 0..40 {
        let (disk, mut dir) = written();
        disk.fail_at(calls, Fault::NoHandles);
        let outcome = producers(&mut dir);
        disk.restart();
        if let Err(error) = outcome {
            assert_eq!(error, LogError::TooManyFiles);
            assert_eq!(producers(&mut dir), Ok(whole.clone()), "{calls}");
            failed += 1;
        }
    }
    assert!(failed > 3, "some calls want handles");
}

/// What a truncation leaves ends before the place that was named, if that lies inside a batch. No checkpoint vouches for more on
/// the way: the log opens, wherever the process dies.
#[test]
fn a_process_may_die_amid_a_truncation_that_ends_inside_a_batch() {
    for (calls, power) in (0..30).flat_map(|calls| [(calls, false), (calls, true)]) {
        let (disk, mut dir) = started(&small_segments());
        for base in 0..30 {
            append(&mut dir, vec![batch(base * 4, 0, &[(1, [7; 60].as_slice()); 4], None)]).expect("works");
        }
        sync(&mut dir, &disk).expect("works");
        dir.checkpoint().expect("works");
        disk.fail_at(calls, Fault::Crash);
        let outcome = run(&mut dir, Job::Truncate { to: Offset(62) });
        let is_over = outcome.is_ok();
        drop(dir);
        match power {
            true => disk.lose_power(&mut Prng::new(calls)),
            false => disk.restart(),
        }
        let (mut dir, _) = open_dir(&disk).expect("formatted");
        let state = open_log(&mut dir, &disk, &small_segments()).expect("nothing is missing");
        assert!(state.log_end >= Offset(60) && state.log_end.0 % 4 == 0, "{calls} {power}: {}", state.log_end);
        assert!(!is_over || state.log_end == Offset(60), "{calls} {power}: {}", state.log_end);
    }
}

/// A topic is deleted and another of its name created, both in one stretch of metadata: the second one's folder is
/// asked for before the first one's is given back.
#[test]
fn a_folder_goes_to_the_next_topic_of_the_name_before_the_last_one_has_let_it_go() {
    let (disk, mut dir) = started(&small_segments());
    append(&mut dir, vec![simple(0, b"of the old topic")]).expect("works");
    sync(&mut dir, &disk).expect("works");
    let (other, topic_id) = (LogId(2), TopicId([2; 16]));
    let order = Job::Open { dir: "orders-0".to_owned(), topic_id, config: small_segments(), wall: WALL };
    match dir.execute(other, order) {
        Step::Done(Ok(JobOutcome::Opened(state))) => assert_eq!(state.log_end, Offset(0)),
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(append(&mut dir, vec![simple(1, b"too late")]), Err(LogError::NotOpen));
    assert_eq!(run(&mut dir, Job::Delete), Err(LogError::NotOpen), "it is deleted already");
    let order = Job::Append { batches: vec![simple(0, b"of the new")], sync: true, wall: WALL };
    assert!(matches!(dir.execute(other, order), Step::Sync(_)));
    let ticket = dir.begin_sync(other);
    let synced = ticket.run(&disk);
    assert_eq!(dir.synced(other, ticket, synced), Ok(Offset(1)));
    assert!(disk.paths().iter().all(|path| !path.contains("-delete") && !path.contains("-stray")));
}

/// A partition is moved away from a broker, and perhaps back. A crash while its log is removed leaves all of it, and it
/// begins where it did before, or nothing: not one whose deleted records are back, without their epochs.
#[test]
fn a_log_whose_removal_was_cut_short_is_as_it_was_or_gone() {
    let mut seen = [false; 2];
    for call in 0.. {
        let mut is_over = false;
        for power in [false, true] {
            let (disk, mut dir) = started(&LogConfig::default());
            append(&mut dir, (0..4).map(|i| simple(i, &[7; 60])).collect()).expect("works");
            sync(&mut dir, &disk).expect("works");
            run(&mut dir, Job::RaiseLogStart { to: Offset(2) }).expect("works");
            dir.checkpoint().expect("works");
            disk.fail_at(call, Fault::Crash);
            is_over = run(&mut dir, Job::Delete).is_ok();
            drop(dir);
            match power {
                true => disk.lose_power(&mut Prng::new(call)),
                false => disk.restart(),
            }
            let (mut dir, _) = open_dir(&disk).expect("formatted");
            let state = open_log(&mut dir, &disk, &LogConfig::default()).expect("nothing is missing");
            let found = (state.log_start, state.log_end, state.epochs.as_slice());
            let is_gone = found == (Offset(0), Offset(0), &[]);
            assert!(
                is_gone || found == (Offset(2), Offset(4), &[(LeaderEpoch(0), Offset(2))]),
                "{call} {power}: {found:?}"
            );
            assert!(is_gone || !is_over);
            seen[usize::from(is_gone)] = true;
            assert!(disk.paths().iter().all(|path| !path.contains("-delete")), "{call} {power}: {:?}", disk.paths());
        }
        if is_over {
            break;
        }
    }
    assert_eq!(seen, [true; 2]);
}

/// An index file is made at its first entry, long after the folder was synced for the segment's sake. Once a checkpoint
/// vouches for it, its name lasts: without it the greatest timestamp so far would be forgotten, and lookups go astray.
#[test]
fn the_names_of_indexes_last_once_a_checkpoint_vouches_for_them() {
    for seed in 0..50 {
        let (disk, mut dir) = started(&LogConfig { index_interval_bytes: 100, ..LogConfig::default() });
        append(&mut dir, vec![simple(0, &[7; 60])]).expect("works");
        sync(&mut dir, &disk).expect("works");
        let late = |base: i64, at: i64| batch(base, 0, &[(at, &[7; 60])], None);
        append(&mut dir, vec![late(1, 900), late(2, 10), late(3, 10)]).expect("works");
        sync(&mut dir, &disk).expect("works");
        dir.checkpoint().expect("works");
        drop(dir);
        let (mut dir, _) = crashed(&disk, seed).expect("nothing is missing");
        for base in 4..8 {
            append(&mut dir, vec![late(base, 950 + base)]).expect("works");
        }
        let found = run(&mut dir, Job::FindTimestamp { at: Timestamp(500), from: Offset(0), bound: Offset(8) });
        let Ok(JobOutcome::Found { record: Some((offset, ..)) }) = found else { panic!("{found:?}") };
        assert_eq!(offset, Offset(1), "seed {seed}");
    }
}
