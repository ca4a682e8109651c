//! What a node counts about itself. Plain atomics: counting on a hot path is one addition.
//!
//! The core counts nothing; the shell sees every request, answer, sync and error go by. How the numbers are named for
//! Prometheus is in [`crate::http`].

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidelog_core::message::{FetchResponse, ProduceRequest, Records, Request, Response};

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    /// One for each kind of request, in the order of [`Api`].
    pub apis: [ApiMetrics; Api::ALL.len()],
    /// Records that producers sent.
    pub messages_in: Counter,
    /// Bytes of batches that producers sent.
    pub bytes_in: Counter,
    /// Bytes of batches that readers were given.
    pub bytes_out: Counter,
    /// Bytes that readers were given from files.
    pub cold_read_bytes: Counter,
    /// How long a sync of one file takes.
    pub sync_time: Histogram,
    /// Requests that wait for the core.
    pub request_queue: Gauge,
    /// Requests that the core has and has not answered: waiting for the disk, or fetches for something to read.
    pub requests_pending: Gauge,
    /// Jobs that the disk has not finished.
    pub disk_jobs: Gauge,
    /// Bytes of appends that the disk has not finished.
    pub append_bytes_in_flight: Gauge,
    /// Logs that could not be opened, since the start.
    pub failed_logs: Counter,
    /// The disk's state, for health checks.
    pub disk: DiskState,
}

/// How the data directory does.
#[derive(Debug, Default)]
pub struct DiskState {
    full: Gauge,
    offline: Mutex<Option<String>>,
}

/// The kinds of requests, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the requests")]
pub enum Api {
    Produce,
    Fetch,
    ListOffsets,
    OffsetForLeaderEpoch,
    DeleteRecords,
    InitProducerId,
    Metadata,
    DescribeCluster,
    DescribeTopicPartitions,
    DescribeLogDirs,
    CreateTopics,
    DeleteTopics,
    CreatePartitions,
    DescribeConfigs,
    AlterConfigs,
    ElectLeaders,
    AlterPartitionReassignments,
    ListPartitionReassignments,
    UnregisterBroker,
    DescribeQuorum,
    AddVoter,
    RemoveVoter,
    Peer,
}

/// What is counted of one kind of request.
#[derive(Debug, Default)]
pub struct ApiMetrics {
    /// Requests.
    pub requests: Counter,
    /// Requests of which some part failed (produce and fetch only).
    pub failed: Counter,
    /// From a request's arrival to its answer.
    pub time: Histogram,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one counts what is longer than every bound.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Api {
    /// All kinds, in order.
    pub const ALL: [Self; 23] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::OffsetForLeaderEpoch,
        Self::DeleteRecords,
        Self::InitProducerId,
        Self::Metadata,
        Self::DescribeCluster,
        Self::DescribeTopicPartitions,
        Self::DescribeLogDirs,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::CreatePartitions,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::ElectLeaders,
        Self::AlterPartitionReassignments,
        Self::ListPartitionReassignments,
        Self::UnregisterBroker,
        Self::DescribeQuorum,
        Self::AddVoter,
        Self::RemoveVoter,
        Self::Peer,
    ];

    /// The kind of a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Produce(_) => Self::Produce,
            Request::Fetch(_) => Self::Fetch,
            Request::ListOffsets(_) => Self::ListOffsets,
            Request::OffsetForLeaderEpoch(_) => Self::OffsetForLeaderEpoch,
            Request::DeleteRecords(_) => Self::DeleteRecords,
            Request::InitProducerId(_) => Self::InitProducerId,
            Request::Metadata(_) => Self::Metadata,
            Request::DescribeCluster => Self::DescribeCluster,
            Request::DescribeTopicPartitions(_) => Self::DescribeTopicPartitions,
            Request::DescribeLogDirs(_) => Self::DescribeLogDirs,
            Request::CreateTopics(_) => Self::CreateTopics,
            Request::DeleteTopics(_) => Self::DeleteTopics,
            Request::CreatePartitions(_) => Self::CreatePartitions,
            Request::DescribeConfigs(_) => Self::DescribeConfigs,
            Request::AlterConfigs(_) => Self::AlterConfigs,
            Request::ElectLeaders(_) => Self::ElectLeaders,
            Request::AlterPartitionReassignments(_) => Self::AlterPartitionReassignments,
            Request::ListPartitionReassignments(_) => Self::ListPartitionReassignments,
            Request::UnregisterBroker(_) => Self::UnregisterBroker,
            Request::DescribeQuorum => Self::DescribeQuorum,
            Request::AddVoter(_) => Self::AddVoter,
            Request::RemoveVoter(_) => Self::RemoveVoter,
            Request::Peer(_) => Self::Peer,
        }
    }
}

impl Metrics {
    /// Counts a request's arrival.
    pub fn requested(&self, request: &Request) -> Api {
        let api = Api::of(request);
        self.apis[api as usize].requests.add(1);
        if let Request::Produce(produce) = request {
            let (records, bytes) = produced(produce);
            self.messages_in.add(records);
            self.bytes_in.add(bytes);
        }
        api
    }

    /// Counts an answer.
    pub fn answered(&self, api: Api, response: &Response, took: Duration) {
        let metrics = &self.apis[api as usize];
        metrics.time.observe(took);
        let failed = match response {
            Response::Produce(produce) => produce.partitions.iter().any(|partition| !partition.error.is_none()),
            Response::Fetch(fetch) => {
                self.bytes_out.add(fetched_bytes(fetch));
                fetch.partitions.iter().any(|partition| !partition.error.is_none())
            }
            _ => false,
        };
        if failed {
            metrics.failed.add(1);
        }
    }
}

/// Records and bytes of what a request wants appended.
fn produced(request: &ProduceRequest) -> (u64, u64) {
    request.partitions.iter().filter_map(|partition| partition.batch.as_ref().ok()).fold(
        (0, 0),
        |(records, bytes), batch| {
            (records + u64::try_from(batch.header().records_count).unwrap_or(0), bytes + batch.size() as u64)
        },
    )
}

/// Bytes of the batches in an answer.
fn fetched_bytes(response: &FetchResponse) -> u64 {
    response
        .partitions
        .iter()
        .map(|partition| match &partition.records {
            Records::Bytes(bytes) => bytes.len() as u64,
            Records::Batches(batches) => batches.iter().map(|batch| batch.size() as u64).sum(),
            Records::Empty | Records::Log(_) => 0,
        })
        .sum()
}

impl DiskState {
    /// The directory failed and takes no more until the node is started again.
    pub fn set_offline(&self, reason: &str) {
        let mut offline = self.offline.lock().unwrap_or_else(PoisonError::into_inner);
        if offline.is_none() {
            tracing::error!(reason, "the data directory is offline; restart the node once the disk is well");
            *offline = Some(reason.to_owned());
        }
    }

    /// Why the directory is offline, if it is.
    pub fn offline(&self) -> Option<String> {
        self.offline.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An append found no space, or appends have been finding some for a while.
    pub fn set_full(&self, full: bool) {
        if self.is_full() != full {
            if full {
                tracing::error!("the disk is full: writes are refused until there is space");
            } else {
                tracing::info!("the disk has space again: writes are taken");
            }
            self.full.set(u64::from(full));
        }
    }

    /// Did an append find no space a moment ago?
    pub fn is_full(&self) -> bool {
        self.full.get() != 0
    }
}

impl Counter {
    /// Grows by `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// The number now.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number last set.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Upper bounds in microseconds and how many were at most that, then the count and sum of all.
    pub fn read(&self) -> (Vec<(u64, u64)>, u64, Duration) {
        let mut count = 0;
        let mut at_most = Vec::with_capacity(BOUNDS_MICROS.len());
        for (bound, bucket) in BOUNDS_MICROS.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            at_most.push((*bound, count));
        }
        count += self.buckets[BOUNDS_MICROS.len()].load(Ordering::Relaxed);
        (at_most, count, Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)))
    }
}

/// Upper bounds of the buckets: from a fast device's sync to the longest waits.
const BOUNDS_MICROS: [u64; 17] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 30_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_their_own_index() {
        for (index, api) in Api::ALL.iter().enumerate() {
            assert_eq!(*api as usize, index);
        }
    }

    #[test]
    fn a_histogram_counts_cumulatively() {
        let histogram = Histogram::default();
        for micros in [10, 50, 51, 900, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (at_most, count, sum) = histogram.read();
        assert_eq!(at_most[0], (50, 2));
        assert_eq!(at_most[1], (100, 3));
        assert_eq!(at_most[4], (1_000, 4));
        assert_eq!(at_most[16], (30_000_000, 4));
        assert_eq!(count, 5);
        assert_eq!(sum, Duration::from_micros(60_001_011));
    }
}
