//! Every bound in one place: sizes, counts, queues and waits. Units come last in the names.
//!
//! What an operator may turn is in the configuration; what stands here is fixed, and the asserts at the foot
//! say how the numbers hang together.

use crate::time::Duration;

/// Kafka's bound on a topic name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Partitions of one topic that one request may create.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;
/// Topics or partitions that one request may name.
pub const REQUEST_ITEMS_MAX: usize = 100_000;

/// One request or response frame on any listener (`socket.request.max.bytes`).
pub const FRAME_BYTES_MAX: usize = 100 << 20;
/// What a connection may have sent of a first frame before it is known to speak the protocol.
pub const FIRST_FRAME_BYTES_MAX: usize = 1 << 20;
/// The Cap'n Proto header of one native frame.
pub const NATIVE_HEADER_BYTES_MAX: usize = 8 << 20;
/// Default of `max.message.bytes`: 1 MiB and a batch's log overhead.
pub const MESSAGE_BYTES_DEFAULT: usize = (1 << 20) + 12;
/// The largest batch that any setting allows.
pub const BATCH_BYTES_MAX: usize = 64 << 20;
/// The least `segment.bytes`, small enough for a test to see segments roll. (Kafka 4 refuses below 1 MiB.)
pub const SEGMENT_BYTES_MIN: i64 = 14;
/// What a batch may decompress to.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// Records in one batch.
pub const BATCH_RECORDS_MAX: usize = 16 << 20;

/// A Kafka connection without a request for this long is closed (`connections.max.idle.ms`).
pub const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(600);
/// A frame that has begun must go on arriving: no byte of it for this long ends the connection.
pub const FRAME_STALL_MAX: Duration = Duration::from_secs(30);
/// A reader that takes no byte of its response for this long has its connection ended. Longer than consumers may
/// work on what they have (`max.poll.interval.ms`, 5 minutes) before they read again.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(360);
/// Request bytes of one connection that are being worked on; past it the connection is not read.
pub const CONNECTION_BYTES_IN_FLIGHT_MAX: usize = 8 << 20;
/// Produce requests of one connection that are being worked on at a time.
pub const CONNECTION_PRODUCES_IN_FLIGHT_MAX: u32 = 64;

/// Requests of one native connection that may wait for answers; past it the connection is not read.
pub const NATIVE_REQUESTS_IN_FLIGHT_MAX: usize = 256;
/// Those of them that may be fetches.
pub const NATIVE_FETCHES_IN_FLIGHT_MAX: usize = 8;
/// The most bytes that one native fetch response carries, whatever it asks for; the first batch is exempt (KIP-74).
pub const NATIVE_FETCH_BYTES_MAX: usize = 16 << 20;

/// Fetch sessions of a node (`max.incremental.fetch.session.cache.slots`, KIP-227).
pub const FETCH_SESSIONS_MAX: usize = 1_000;
/// Partitions remembered in all fetch sessions together.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 200_000;
/// A fetch session is safe from being dropped for another until it was idle this long
/// (`min.incremental.fetch.session.eviction.ms`).
pub const FETCH_SESSION_IDLE_MIN: Duration = Duration::from_secs(120);

/// What a follower is given in one answer, but for its last batch (`replica.fetch.response.max.bytes`).
pub const REPLICA_FETCH_BYTES_MAX: usize = 10 << 20;
/// What of it may be of one partition, but for its last batch (`replica.fetch.max.bytes`).
pub const REPLICA_FETCH_PARTITION_BYTES_MAX: usize = 1 << 20;
/// Partitions that one request or answer between a follower and its leader names.
pub const REPLICA_FETCH_PARTITIONS_MAX: usize = 10_000;
/// Partitions whose in-sync replicas one request to the controller is about.
pub const ALTER_PARTITIONS_MAX: usize = 10_000;
/// A follower that has been given no more than this tells first that it has it before it asks for more ...
pub const REPLICA_HOLD_BYTES_MAX: usize = 4 << 10;
/// ... unless its disk takes longer than this.
pub const REPLICA_HOLD_MAX: Duration = Duration::from_millis(10);
/// How soon replication looks again at what failed; pullers rest twice as long after every failure in a row.
pub const REPLICA_RETRY_WAIT: Duration = Duration::from_millis(50);
/// How often high watermarks are noted for the checkpoint (`replica.high.watermark.checkpoint.interval.ms`).
pub const WATERMARK_NOTE_INTERVAL: Duration = Duration::from_secs(5);

/// The most bytes that one fetch response carries (`fetch.max.bytes` of the broker).
pub const FETCH_BYTES_MAX: usize = 55 << 20;
/// The longest that a fetch may be parked, whatever it asks for.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(300);
/// The longest that a produce may wait for its acknowledgement.
pub const PRODUCE_WAIT_MAX: Duration = Duration::from_secs(300);
/// Recent batches of all partitions together that stay in memory for tailing readers.
pub const TAIL_CACHE_BYTES_MAX: usize = 16 << 20;
/// Bytes appended but not yet acknowledged by the disk, over all partitions; past it produces are refused
/// or, better, not read from their sockets.
pub const APPEND_BYTES_IN_FLIGHT_MAX: usize = 32 << 20;

/// What one fetch of the metadata log brings, but for its first batch.
pub const METADATA_FETCH_BYTES_MAX: usize = 8 << 20;
/// The newest batches of the metadata log that stay in memory for followers. What is not on the disk yet stays in any case.
pub const METADATA_TAIL_BYTES_MAX: usize = 1 << 20;
/// What is read, written or fetched of a snapshot of the metadata at a time.
pub const SNAPSHOT_PIECE_BYTES_MAX: usize = 1 << 20;
/// The records of a batch in a snapshot, but for its last one.
pub const SNAPSHOT_BATCH_BYTES_MAX: usize = 256 << 10;
/// Voters of the metadata quorum. Each of them has everything, and commits wait for most of them.
pub const QUORUM_VOTERS_MAX: usize = 31;
/// Nodes that pull the metadata log without a vote and whose progress is remembered.
pub const QUORUM_OBSERVERS_MAX: usize = 10_000;

/// The keys that one round of cleaning remembers: 24 bytes for each, 786,432 of them. A log with more is cleaned in
/// several rounds.
pub const CLEAN_MAP_BYTES_MAX: usize = 24 << 20;
/// What one step of a cleaning reads, but for its last batch.
pub const CLEAN_STEP_BYTES: u64 = 4 << 20;

/// Producers remembered per partition.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 1 << 20;
/// The batches of each producer that duplicates are recognised among (KIP-98).
pub const PRODUCER_BATCHES_MAX: usize = 5;
/// Partitions that one decision of the controller changes where it may change all of a broker's; there are as many
/// decisions as it takes.
pub const DECISION_PARTITIONS_MAX: usize = 2_000;
/// A node whose connection to a leader broke tells clients for this long that there is none: by then another leads, or
/// the connection alone was broken.
pub const LEADER_DOUBT_MAX: Duration = Duration::from_millis(500);
/// A broker that stops waits this long for others to take over what it leads (`controlled.shutdown`).
pub const CONTROLLED_SHUTDOWN_MAX: Duration = Duration::from_secs(10);
/// Producers that a partition does not know and whose refused batch it remembers.
pub const REFUSED_PRODUCERS_MAX: usize = 1 << 10;
/// Producer ids in one block of the controller's (`AllocateProducerIds`).
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

const _: () = assert!(MESSAGE_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < FRAME_BYTES_MAX, "one whole batch fits a frame");
const _: () = assert!(FETCH_BYTES_MAX < FRAME_BYTES_MAX, "a whole fetch response fits a frame");
const _: () = assert!(REPLICA_FETCH_BYTES_MAX + BATCH_BYTES_MAX < FRAME_BYTES_MAX, "so does one to a follower");
const _: () = assert!(FIRST_FRAME_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FETCH_SESSION_PARTITIONS_MAX >= REQUEST_ITEMS_MAX, "any one fetch fits a session");
const _: () = assert!(SNAPSHOT_PIECE_BYTES_MAX < FRAME_BYTES_MAX, "and a piece of a snapshot");
