//! Opening a data directory that holds anything: the log opens, or says what is wrong with which file; and one that
//! opens can be read, written, cleaned and closed.
//!
//! The input is a list of files: one byte that chooses a name, two bytes of length (little-endian), the content. Files of
//! a name with `.log` are made of pieces, so that what lies behind a CRC is reached: a byte 0 to 127 begins a
//! batch of so many records (modulo 8) whose base offset and first value come from the next two bytes; any other
//! begins so many raw bytes less 128.
#![no_main]

mod memory_disk;

use libfuzzer_sys::fuzz_target;
use memory_disk::MemoryDisk;
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, LogId, NodeId, TopicId},
    log::{CleanupPolicy, Disk, Identity, Job, JobOutcome, LogConfig, LogDir, LogError, Step},
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::Timestamp,
};

const NAMES: [&str; 18] = [
    "t-0/00000000000000000000.log",
    "t-0/00000000000000000004.log",
    "t-0/00000000000000000009.log",
    "t-0/00000000000000000000.index",
    "t-0/00000000000000000000.timeindex",
    "t-0/00000000000000000004.index",
    "t-0/00000000000000000004.timeindex",
    "t-0/00000000000000000000.snapshot",
    "t-0/00000000000000000004.snapshot",
    "t-0/00000000000000000000.log.swap",
    "t-0/00000000000000000000.log.cleaned",
    "t-0/leader-epoch-checkpoint",
    "t-0/partition.metadata",
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    "cleaner-offset-checkpoint",
    ".kafka_cleanshutdown",
];

const LOG: LogId = LogId(1);
const TOPIC: TopicId = TopicId([7; 16]);

fuzz_target!(|input: &[u8]| {
    let disk = MemoryDisk::default();
    let identity = Identity { node: NodeId(1), cluster_id: "fuzz".into(), directory: DirectoryId([1; 16]) };
    LogDir::format(&disk, &identity).expect("an empty directory can be formatted");
    disk.create_dir("t-0").expect("memory has room");
    fill(&disk, input);
    let Ok((mut dir, _)) = LogDir::open(disk.clone()) else { return };
    let config = LogConfig {
        cleanup: CleanupPolicy { delete: true, compact: input.len() % 2 == 0 },
        segment_bytes: 400,
        min_cleanable_dirty_permille: 0,
        ..LogConfig::default()
    };
    let open = Job::Open { dir: "t-0".into(), topic_id: TOPIC, config: config.clone(), wall: Timestamp(0) };
    let Ok(JobOutcome::Opened(state)) = run(&mut dir, &disk, open) else { return };
    assert!(state.log_start <= state.high_watermark && state.high_watermark <= state.log_end);

    // Damage below the recovery point may be found now, as an error; anything else must work.
    let read = Job::Read { from: state.log_start, bound: state.log_end, max_bytes: 1 << 20 };
    let readable = accept(run(&mut dir, &disk, read)).is_some();
    let mut batch = batch(3, 1);
    if state.log_end.0 > i64::MAX - (1 << 33) {
        return;
    }
    batch.stamp(state.log_end, LeaderEpoch(0));
    let end = batch.header().next_offset();
    let append = Job::Append { batches: vec![batch], sync: true, wall: Timestamp(0) };
    if accept(run(&mut dir, &disk, append)).is_none() {
        return;
    }
    let _ = dir.checkpoint();
    let _ = accept(run(&mut dir, &disk, Job::Clean { bound: end, wall: Timestamp(1) }));
    let _ = accept(run(&mut dir, &disk, Job::Retain { high_watermark: end, wall: Timestamp(1) }));
    let _ = accept(run(&mut dir, &disk, Job::FindTimestamp { at: Timestamp(0), from: state.log_start, bound: end }));
    let _ = accept(run(&mut dir, &disk, Job::FindMaxTimestamp { bound: end }));
    if accept(run(&mut dir, &disk, Job::Close)).is_none() || dir.close().is_err() {
        return;
    }
    // What was closed in order opens again, with nothing lost.
    let (mut dir, _) = LogDir::open(disk.clone()).expect("it was closed in order");
    let open = Job::Open { dir: "t-0".into(), topic_id: TOPIC, config, wall: Timestamp(0) };
    match run(&mut dir, &disk, open) {
        Ok(JobOutcome::Opened(state)) => assert_eq!(state.log_end, end),
        Err(LogError::Corrupt { .. }) if !readable => {}
        other => panic!("closed in order, then: {other:?}"),
    }
});

/// Damage is an answer; a disk that fails is not, for this one never does.
fn accept(result: Result<JobOutcome, LogError>) -> Option<JobOutcome> {
    match result {
        Ok(outcome) => Some(outcome),
        Err(LogError::Corrupt { .. }) => None,
        Err(error) => panic!("no disk failed, and yet: {error}"),
    }
}

/// Runs a job to its end.
fn run(dir: &mut LogDir<MemoryDisk>, disk: &MemoryDisk, job: Job) -> Result<JobOutcome, LogError> {
    let mut step = dir.execute(LOG, job);
    loop {
        match step {
            Step::Done(result) => return result,
            Step::Again => step = dir.resume(LOG),
            Step::Sync(outcome) => {
                let ticket = dir.begin_sync(LOG);
                let result = ticket.run(disk);
                return dir.synced(LOG, ticket, result).map(|_| outcome);
            }
        }
    }
}

fn fill(disk: &MemoryDisk, mut input: &[u8]) {
    while let [name, low, high, rest @ ..] = input {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        let (content, rest) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
        input = rest;
        let content = if name.contains(".log") { pieces(content) } else { content.to_vec() };
        disk.put(name, content);
    }
}

fn pieces(mut input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((&kind, rest)) = input.split_first() {
        if kind < 128 {
            let [base, value] = [0, 1].map(|i| rest.get(i).copied().unwrap_or(0));
            let mut batch = batch(usize::from(kind % 8), value);
            batch.stamp(Offset(i64::from(base)), LeaderEpoch(i32::from(value % 4)));
            out.extend_from_slice(&batch.to_bytes());
            input = rest.get(2..).unwrap_or(&[]);
        } else {
            let (raw, rest) = rest.split_at(usize::from(kind - 128).min(rest.len()));
            out.extend_from_slice(raw);
            input = rest;
        }
    }
    out
}

fn batch(records: usize, value: u8) -> Batch {
    let mut builder = BatchBuilder::new();
    for i in 0..records {
        let (key, time) = ([value % 5], Timestamp(i64::from(value) + i as i64));
        builder.append(builder.next_delta(), time, Some(&key), Some(&[value]), []);
    }
    builder.build(&BatchOptions::default())
}
