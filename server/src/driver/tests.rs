//! The driver, its threads and the core together, on real files.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, JobId, LogId, NodeId, PartitionId, TopicId, TopicName},
    log::{Disk, DiskError, Identity, Job, JobOutcome, LogConfig, LogDir, LogError, OpenMode, SyncTicket},
    message::{
        Acks, CreateTopicsRequest, ErrorCode, FetchPartition, FetchRequest, FetchedPartition, IsolationLevel, NewTopic,
        ProducePartition, ProduceRequest, ProducedPartition, Records, Request, Response, TopicRef,
    },
    node::{Node, NodeConfig},
    offset::Offset,
    record::{Batch, BatchBuilder, BatchOptions},
    time::{Duration, Timestamp},
};

use super::{
    DiskWork, Driver, NodeHandle,
    worker::{Ended, Synced, Worker},
};
use crate::{
    disk::{DataLock, FileDisk},
    env::{Env, TokioEnv, run_local},
    listener::Stop,
    metrics::Metrics,
    peers::Membership,
};

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidelog-driver-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }

    fn disk(&self) -> FileDisk {
        FileDisk::new(DataLock::acquire(&self.0).expect("nobody else has it"), 64)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Real files whose syncs can be made to fail.
#[derive(Clone)]
struct FailingDisk {
    files: FileDisk,
    fails: Arc<AtomicBool>,
}

impl Disk for FailingDisk {
    type File = <FileDisk as Disk>::File;

    fn open(&self, path: &str, mode: OpenMode) -> Result<Self::File, DiskError> {
        self.files.open(path, mode)
    }

    fn read_at(&self, file: &Self::File, at: u64, len: usize) -> Result<Bytes, DiskError> {
        self.files.read_at(file, at, len)
    }

    fn write_at(&self, file: &Self::File, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        self.files.write_at(file, at, parts)
    }

    fn sync(&self, file: &Self::File) -> Result<(), DiskError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(DiskError::Io { operation: "sync", reason: "made to fail".to_owned() });
        }
        self.files.sync(file)
    }

    fn len(&self, file: &Self::File) -> Result<u64, DiskError> {
        self.files.len(file)
    }

    fn set_len(&self, file: &Self::File, len: u64) -> Result<(), DiskError> {
        self.files.set_len(file, len)
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.files.create_dir(path)
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        self.files.sync_dir(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.files.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.files.remove(path)
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        self.files.remove_dir(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.files.list(path)
    }
}

fn batch(value: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(1_000), None, Some(value.as_bytes()), []);
    builder.build(&BatchOptions::default())
}

fn open_dir<D: Disk>(disk: &D) -> (LogDir<D>, NodeConfig, tidelog_core::log::DirState) {
    let identity =
        Identity { node: NodeId(1), cluster_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(), directory: DirectoryId([7; 16]) };
    // The second time it is formatted already.
    let _ = LogDir::format(disk, &identity);
    let (dir, state) = LogDir::open(disk.clone()).expect("formatted");
    let config = NodeConfig { cluster_id: identity.cluster_id, directory: identity.directory, ..NodeConfig::default() };
    (dir, config, state)
}

/// Runs a node over `disk` while `clients` does its work. With `close` it is stopped in order, else dropped as it is.
fn with_node<D, T>(disk: D, close: bool, clients: impl AsyncFnOnce(NodeHandle, TokioEnv) -> T) -> T
where
    D: Disk + Send + 'static,
    LogDir<D>: Send,
    SyncTicket<D>: Send,
{
    run_local(async |env: TokioEnv| {
        let (dir, config, state) = open_dir(&disk);
        let node = Node::new(config, state, 1);
        let metrics = Arc::new(Metrics::default());
        let work = DiskWork::by_threads(dir, disk, Arc::clone(&metrics)).expect("threads");
        let (driver, handle) = Driver::new(env.clone(), NodeId(1), Membership::default(), node, work, metrics);
        let (switch, stop) = Stop::new();
        let driving = driver.run(stop);
        let working = async {
            handle.ready().await.expect("it becomes ready");
            let result = clients(handle, env).await;
            if close {
                switch.turn_on();
            }
            result
        };
        if close {
            let (driven, result) = tokio::join!(driving, working);
            driven.expect("closed");
            result
        } else {
            tokio::select! {
                driven = driving => panic!("the driver ended: {driven:?}"),
                result = working => result,
            }
        }
    })
    .expect("a runtime")
}

fn topic() -> TopicRef {
    TopicRef::Name(TopicName::new("t"))
}

async fn create_topic(node: &NodeHandle) {
    let new = NewTopic {
        name: TopicName::new("t"),
        partitions: Some(1),
        replication_factor: Some(1),
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    let request = CreateTopicsRequest { topics: vec![new], validate_only: false, timeout: Duration::from_secs(10) };
    match node.call(Request::CreateTopics(request)).await {
        Ok(Response::CreateTopics(response)) => assert_eq!(response.topics[0].error, ErrorCode::None),
        other => panic!("{other:?}"),
    }
}

async fn produce(node: &NodeHandle, value: &str) -> ProducedPartition {
    let partition = ProducePartition { topic: topic(), partition: PartitionId(0), batch: Ok(batch(value)) };
    let request = ProduceRequest { acks: Acks::All, timeout: Duration::from_secs(10), partitions: vec![partition] };
    match node.call(Request::Produce(request)).await {
        Ok(Response::Produce(mut response)) => response.partitions.remove(0),
        other => panic!("{other:?}"),
    }
}

fn fetch_from(offset: Offset, max_wait: Duration) -> Request {
    let partition = FetchPartition {
        topic: topic(),
        partition: PartitionId(0),
        current_leader_epoch: LeaderEpoch::NONE,
        offset,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start: Offset::NONE,
        max_bytes: 1 << 20,
    };
    Request::Fetch(FetchRequest {
        max_wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: IsolationLevel::ReadUncommitted,
        rack: None,
        replica: None,
        partitions: vec![partition],
    })
}

async fn fetch(node: &NodeHandle, offset: Offset) -> FetchedPartition {
    match node.call(fetch_from(offset, Duration::ZERO)).await {
        Ok(Response::Fetch(mut response)) => response.partitions.remove(0),
        other => panic!("{other:?}"),
    }
}

/// Values of all records in an answer.
fn values(records: Records) -> Vec<String> {
    let batches = match records {
        Records::Empty => Vec::new(),
        Records::Batches(batches) => batches,
        Records::Bytes(bytes) => tidelog_core::record::Batches(bytes).collect::<Result<_, _>>().expect("whole batches"),
        Records::Log(_) => panic!("listeners never see an order to read"),
    };
    let records = batches.iter().flat_map(|batch| batch.records().expect("readable"));
    records
        .map(|record| String::from_utf8(record.expect("sound").value.expect("has one").to_vec()).expect("text"))
        .collect()
}

#[test]
fn acknowledged_records_outlive_a_node_that_was_not_stopped() {
    let dir = TempDir::new("outlive");
    with_node(dir.disk(), false, async |node, _| {
        create_topic(&node).await;
        for i in 0..10 {
            let produced = produce(&node, &format!("value {i}")).await;
            assert_eq!((produced.error, produced.base_offset), (ErrorCode::None, Offset(i)));
        }
        assert_eq!(values(fetch(&node, Offset(3)).await.records)[0], "value 3");
    });
    for close in [true, false] {
        with_node(dir.disk(), close, async |node, _| {
            let fetched = fetch(&node, Offset::ZERO).await;
            assert_eq!((fetched.error, fetched.high_watermark), (ErrorCode::None, Offset(10)));
            assert!(matches!(fetched.records, Records::Bytes(_)), "from the file");
            assert_eq!(values(fetched.records), (0..10).map(|i| format!("value {i}")).collect::<Vec<_>>());
        });
        assert_eq!(dir.0.join(".kafka_cleanshutdown").exists(), close);
    }
}

#[test]
fn many_producers_share_syncs() {
    let dir = TempDir::new("share");
    with_node(dir.disk(), true, async |node, env| {
        create_topic(&node).await;
        let (done, mut ended) = tokio::sync::mpsc::unbounded_channel();
        for i in 0..500 {
            let (node, done) = (node.clone(), done.clone());
            env.spawn_local(async move {
                let produced = produce(&node, &format!("value {i}")).await;
                done.send((i, produced)).expect("the test waits");
            });
        }
        let mut offsets = Vec::new();
        for _ in 0..500 {
            let (_, produced) = ended.recv().await.expect("all of them end");
            assert_eq!(produced.error, ErrorCode::None);
            offsets.push(produced.base_offset);
        }
        offsets.sort_unstable();
        assert_eq!(offsets, (0..500).map(Offset).collect::<Vec<_>>());
        let (_, syncs, _) = node.metrics().sync_time.read();
        assert!(syncs < 250, "{syncs} syncs for 500 appends");
    });
}

#[test]
fn a_failed_sync_ends_all_writing_and_is_told() {
    let dir = TempDir::new("failed");
    let fails = Arc::new(AtomicBool::new(false));
    let disk = FailingDisk { files: dir.disk(), fails: Arc::clone(&fails) };
    with_node(disk, false, async |node, _| {
        create_topic(&node).await;
        assert_eq!(produce(&node, "durable").await.error, ErrorCode::None);
        fails.store(true, Ordering::Relaxed);
        assert_eq!(produce(&node, "lost").await.error, ErrorCode::KafkaStorageError);
        // The next sync would succeed, and prove nothing.
        fails.store(false, Ordering::Relaxed);
        assert_eq!(produce(&node, "refused").await.error, ErrorCode::KafkaStorageError);
        let offline = node.metrics().disk.offline().expect("offline");
        assert!(offline.contains("made to fail"), "{offline}");
    });
    with_node(dir.disk(), true, async |node, _| {
        let fetched = fetch(&node, Offset::ZERO).await;
        assert_eq!(values(fetched.records)[0], "durable");
        assert_eq!(produce(&node, "after").await.error, ErrorCode::None);
    });
}

#[test]
fn a_dropped_call_leaves_nothing_behind() {
    let dir = TempDir::new("dropped");
    with_node(dir.disk(), true, async |node, env| {
        create_topic(&node).await;
        let parked = node.call(fetch_from(Offset::ZERO, Duration::from_secs(300)));
        assert!(crate::env::within(&env, std::time::Duration::from_millis(1), parked).await.is_none());
        // Any later call is handled after the parked one was dropped.
        fetch(&node, Offset::ZERO).await;
        assert_eq!(node.metrics().requests_pending.get(), 0);
    });
}

const LOG: LogId = LogId(5);

fn worker(dir: &TempDir) -> (Worker<FileDisk>, FileDisk) {
    let disk = dir.disk();
    let (logs, ..) = open_dir(&disk);
    let mut worker = Worker::new(logs, Arc::new(Metrics::default()));
    let order = Job::Open {
        dir: "t-0".to_owned(),
        topic_id: TopicId([9; 16]),
        config: LogConfig::default(),
        wall: Timestamp(0),
    };
    worker.run(LOG, JobId(0), order);
    while worker.step() {}
    sync(&mut worker, &disk, Ok(()));
    assert!(matches!(worker.take_ended()[..], [Ended { outcome: Ok(JobOutcome::Opened(_)), .. }]));
    (worker, disk)
}

fn append(base: i64) -> Job {
    let mut batch = batch("x");
    batch.stamp(Offset(base), LeaderEpoch(0));
    Job::Append { batches: vec![batch], sync: true, wall: Timestamp(0) }
}

/// Begins a sync and ends it; false when none was due.
fn sync(worker: &mut Worker<FileDisk>, disk: &FileDisk, result: Result<(), DiskError>) -> bool {
    let Some((tickets, _)) = worker.begin_sync() else { return false };
    end_sync(worker, disk, tickets, result);
    true
}

fn end_sync(
    worker: &mut Worker<FileDisk>,
    disk: &FileDisk,
    tickets: Vec<(LogId, SyncTicket<FileDisk>)>,
    result: Result<(), DiskError>,
) {
    let results = tickets.into_iter().map(|(log, ticket)| {
        let result = result.clone().and_then(|()| ticket.run(disk));
        Synced { log, ticket, result }
    });
    let results = results.collect();
    worker.synced(results, std::time::Duration::from_millis(2));
}

fn ended(worker: &mut Worker<FileDisk>) -> Vec<u64> {
    worker.take_ended().into_iter().map(|ended| ended.job.0).collect()
}

#[test]
fn what_is_written_during_a_sync_waits_for_the_next() {
    let dir = TempDir::new("group");
    let (mut worker, disk) = worker(&dir);
    worker.run(LOG, JobId(1), append(0));
    let (tickets, _) = worker.begin_sync().expect("one is due");
    worker.run(LOG, JobId(2), append(1));
    worker.run(LOG, JobId(3), append(2));
    assert!(worker.begin_sync().is_none(), "one at a time");
    assert!(ended(&mut worker).is_empty());
    end_sync(&mut worker, &disk, tickets, Ok(()));
    assert_eq!(ended(&mut worker), [1]);
    assert!(sync(&mut worker, &disk, Ok(())));
    assert_eq!(ended(&mut worker), [2, 3]);
    worker.run(LOG, JobId(4), append(3));
    assert!(worker.patience().is_some(), "the last sync covered two, so a second append is probably near");
    worker.run(LOG, JobId(5), append(4));
    assert!(worker.patience().is_none());
    assert!(sync(&mut worker, &disk, Ok(())));
    assert!(!sync(&mut worker, &disk, Ok(())));
}

#[test]
fn what_cuts_the_log_waits_for_what_is_held_and_holds_what_follows() {
    let dir = TempDir::new("cut");
    let (mut worker, disk) = worker(&dir);
    worker.run(LOG, JobId(1), append(0));
    worker.run(LOG, JobId(2), append(1));
    worker.run(LOG, JobId(3), Job::Truncate { to: Offset(1) });
    worker.run(LOG, JobId(4), append(1));
    assert!(ended(&mut worker).is_empty());
    assert!(sync(&mut worker, &disk, Ok(())));
    let first = worker.take_ended();
    assert_eq!(first.iter().map(|ended| ended.job.0).take(2).collect::<Vec<_>>(), [1, 2]);
    while sync(&mut worker, &disk, Ok(())) {}
    let rest = worker.take_ended();
    let appended = first.iter().chain(&rest).find(|ended| ended.job == JobId(4)).expect("it ended");
    assert!(matches!(appended.outcome, Ok(JobOutcome::Appended { end: Offset(2), .. })), "{appended:?}");
}

#[test]
fn a_failed_sync_fails_what_it_covered_and_what_came_after() {
    let dir = TempDir::new("fence");
    let (mut worker, disk) = worker(&dir);
    worker.run(LOG, JobId(1), append(0));
    let (tickets, _) = worker.begin_sync().expect("one is due");
    worker.run(LOG, JobId(2), append(1));
    let error = DiskError::Io { operation: "sync", reason: "made to fail".to_owned() };
    end_sync(&mut worker, &disk, tickets, Err(error));
    worker.run(LOG, JobId(3), append(2));
    let outcomes = worker.take_ended();
    assert_eq!(outcomes.len(), 3);
    for ended in outcomes {
        assert!(matches!(ended.outcome, Err(LogError::Offline(_))), "{ended:?}");
    }
    assert!(worker.begin_sync().is_none());
}
