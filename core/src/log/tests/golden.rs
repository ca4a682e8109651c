//! A data directory, byte for byte: what is committed under `testdata/log` is what this build reads, and what it writes.
//!
//! `UPDATE=1 cargo test -p tidelog-core golden` writes the files anew; the difference is for the review to judge, and a
//! difference in a format is for CHANGELOG.md to tell.

use alloc::{collections::BTreeMap, format, string::String};
use std::{env, fs, path::PathBuf};

use super::*;
use crate::log::{
    checkpoint::{self, OffsetCheckpoint},
    meta_properties as meta,
    offset_index::OffsetEntry,
    snapshot,
    time_index::TimeEntry,
    txn_index::AbortedTransaction,
};

type Files = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/log")
}

/// Is the file for people to read as it is, or as digits?
fn is_text(name: &str) -> bool {
    !name.contains("0000000")
}

/// What is committed, by path in the data directory.
fn golden() -> Files {
    let mut files = Files::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(folder().join(&dir)).expect("the golden files are there") {
            let entry = entry.expect("readable");
            let name = entry.file_name().into_string().expect("plain names");
            if entry.path().is_dir() {
                dirs.push(format!("{name}/"));
                continue;
            }
            let content = fs::read(entry.path()).expect("readable");
            match name.strip_suffix(".hex") {
                Some(name) => files.insert(format!("{dir}{name}"), from_hex(&content)),
                None => files.insert(format!("{dir}{name}"), content),
            };
        }
    }
    files
}

fn from_hex(text: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = text.iter().filter_map(|&c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn files_of(disk: &TestDisk) -> Files {
    disk.paths().into_iter().map(|path| (path.clone(), disk.content(&path).expect("just listed"))).collect()
}

/// A disk that holds these files, durably.
fn disk_with(files: &Files) -> TestDisk {
    let disk = TestDisk::new();
    for (path, content) in files {
        if let Some((dir, _)) = path.rsplit_once('/') {
            disk.create_dir(dir).expect("works");
        }
        let file = disk.open(path, OpenMode::CreateNew).expect("works");
        disk.write_at(&file, 0, &[content]).expect("works");
        disk.sync(&file).expect("works");
    }
    for dir in ["", "orders-0", "__cluster_metadata-0"] {
        disk.sync_dir(dir).expect("works");
    }
    disk
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 500, index_interval_bytes: 150, ..LogConfig::default() }
}

/// Ten batches in three segments, of three epochs and two producers.
fn batches() -> Vec<Batch> {
    let stamp = |n: i64| 1_700_000_000_000 + n * 1000;
    let of = |n: i64| {
        let records = [(stamp(2 * n), &b"first of two"[..]), (stamp(2 * n - 5), b"second, and older")];
        let producer = match n % 3 {
            0 => None,
            p => Some((4000 + p, (n / 3 * 2) as i32)),
        };
        batch(2 * n, (n / 4) as i32, &records, producer)
    };
    (0..10).map(of).collect()
}

fn written() -> TestDisk {
    let (disk, mut dir) = started(&config());
    for batch in batches() {
        append(&mut dir, vec![batch]).expect("works");
    }
    sync(&mut dir, &disk).expect("works");
    run(&mut dir, Job::RaiseLogStart { to: Offset(4) }).expect("works");
    run(&mut dir, Job::NoteHighWatermark { to: Offset(18) }).expect("works");
    run(&mut dir, Job::SaveVote(Vote { epoch: LeaderEpoch(3), voted_for: Some(NodeId(1)) })).expect("works");
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");
    disk
}

fn assert_same(found: &Files, expected: &Files) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, content) in found {
        let show = |bytes: &[u8]| {
            if is_text(path) { String::from_utf8_lossy(bytes).into_owned() } else { to_hex(bytes) }
        };
        assert_eq!(show(content), show(&expected[path]), "{path}");
    }
}

#[test]
fn what_is_written_is_golden() {
    let found = files_of(&written());
    if env::var_os("UPDATE").is_some() {
        for (path, content) in &found {
            fs::create_dir_all(folder().join(path).parent().expect("it is in a folder")).expect("works");
            let (path, content) = match is_text(path) {
                true => (path.clone(), content.clone()),
                false => (format!("{path}.hex"), to_hex(content).into_bytes()),
            };
            fs::write(folder().join(path), content).expect("works");
        }
    }
    assert_same(&found, &golden());
}

#[test]
fn golden_files_open_and_close_to_the_same_bytes() {
    let disk = disk_with(&golden());
    let (mut dir, state) = open_dir(&disk).expect("it is a data directory");
    let vote = Some(Vote { epoch: LeaderEpoch(3), voted_for: Some(NodeId(1)) });
    assert_eq!(state, DirState { identity: identity(), clean: true, vote, snapshots: Vec::new() });
    let log = open_log(&mut dir, &disk, &config()).expect("it opens");
    assert_eq!((log.log_start, log.log_end), (Offset(4), Offset(20)));
    assert!(log.recovery.clean && log.recovery.rebuilt_indexes == 0);
    let producers: Vec<_> = log.producers.iter().map(|(id, entry)| (id.0, entry.batches.len())).collect();
    assert_eq!(producers, [(4001, 3), (4002, 3)]);
    assert_eq!(read_all(&mut dir, Offset(4), Offset(20)).expect("it is sound"), batches()[2..]);
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");
    assert_same(&files_of(&disk), &golden());
}

#[test]
fn lost_indexes_are_rebuilt_to_the_same_bytes() {
    let mut files = golden();
    let is_index = |path: &str| path.ends_with("index");
    files.retain(|path, _| !is_index(path) && !path.ends_with("cleanshutdown") && !path.starts_with("recovery-point"));
    let disk = disk_with(&files);
    let (mut dir, state) = open_dir(&disk).expect("it is a data directory");
    assert!(!state.clean);
    open_log(&mut dir, &disk, &config()).expect("it recovers");
    run(&mut dir, Job::Close).expect("works");
    dir.close().expect("works");
    let indexes = |files: Files| files.into_iter().filter(|(path, _)| is_index(path)).collect::<Files>();
    assert_same(&indexes(files_of(&disk)), &indexes(golden()));
}

#[test]
fn each_format_reads_its_golden_file_and_writes_it_again() {
    let files = golden();
    let text = |path: &str| core::str::from_utf8(&files[path]).expect("text");

    assert_eq!(Identity::parse(&files["meta.properties"]), Ok(identity()));
    assert_eq!(identity().to_text(), text("meta.properties"));
    assert_eq!(meta::parse_partition_metadata(&files["orders-0/partition.metadata"]), Ok(TOPIC));
    assert_eq!(meta::partition_metadata(TOPIC), text("orders-0/partition.metadata"));
    assert_eq!(meta::CLEAN_SHUTDOWN_TEXT, text(".kafka_cleanshutdown"));
    let vote_path = files.keys().find(|path| path.ends_with("quorum-state")).expect("a vote was saved");
    let vote = meta::parse_quorum_state(&files[vote_path]).expect("a vote");
    assert_eq!(vote, Vote { epoch: LeaderEpoch(3), voted_for: Some(NodeId(1)) });
    assert_eq!(meta::quorum_state(vote), text(vote_path));

    for (name, offset) in [
        ("recovery-point-offset-checkpoint", 20),
        ("log-start-offset-checkpoint", 4),
        ("replication-offset-checkpoint", 18),
    ] {
        let found = OffsetCheckpoint::parse(&files[name]).expect("a checkpoint");
        assert_eq!(found.0.get("orders-0"), Some(&Offset(offset)), "{name}");
        assert_eq!(found.to_text(), text(name));
    }
    let epochs = EpochCache::parse(&files["orders-0/leader-epoch-checkpoint"]).expect("epochs");
    assert_eq!(epochs.latest(), Some(LeaderEpoch(2)));
    assert_eq!(epochs.to_text(), text("orders-0/leader-epoch-checkpoint"));
    assert!(checkpoint::parse_lines(b"0\n2\na\n").is_err(), "the count is checked");

    let snapshot_path = files.keys().rfind(|path| path.ends_with(".snapshot")).expect("there is one");
    let table = snapshot::decode(&files[snapshot_path]).expect("a snapshot");
    assert_eq!(table.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [4001, 4002]);
    assert_eq!(snapshot::encode(&table), files[snapshot_path]);

    let log = &files["orders-0/00000000000000000000.log"];
    let found: Vec<Batch> = Batches(log.clone().into()).map(|batch| batch.expect("sound")).collect();
    assert_eq!(found, batches()[..found.len()]);
    assert_eq!(found.iter().flat_map(|batch| batch.to_bytes()).collect::<Vec<u8>>(), *log);
    let positions: Vec<_> = found.iter().scan(0, |at, b| Some(core::mem::replace(at, *at + b.size()) as u32)).collect();
    let entries: Vec<_> = OffsetEntry::parse_all(&files["orders-0/00000000000000000000.index"]).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let at = positions.iter().position(|&p| p == entry.position).expect("where a batch begins");
        assert_eq!(entry.offset(Offset(0)), found[at].header().last_offset());
    }
    let entries: Vec<_> = TimeEntry::parse_all(&files["orders-0/00000000000000000000.timeindex"]).collect();
    let last = found.last().expect("there are batches").header();
    assert_eq!(entries.last().map(|entry| entry.timestamp), Some(last.max_timestamp));
}

#[test]
fn an_aborted_transaction_has_golden_bytes() {
    let entry = AbortedTransaction {
        producer: ProducerId(4001),
        first: Offset(10),
        last: Offset(300),
        last_stable: Offset(301),
    };
    let golden = "00000000000000000fa1000000000000000a000000000000012c000000000000012d";
    assert_eq!(to_hex(&entry.to_bytes()).replace('\n', ""), golden);
    assert_eq!(AbortedTransaction::parse_all(&from_hex(golden.as_bytes())), Ok(vec![entry]));
}
