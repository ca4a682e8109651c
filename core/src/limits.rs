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

/// Producers remembered per partition.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 1 << 20;
/// The batches of each producer that duplicates are recognised among (KIP-98).
pub const PRODUCER_BATCHES_MAX: usize = 5;
/// Producer ids in one block of the controller's (`AllocateProducerIds`).
pub const PRODUCER_ID_BLOCK: i64 = 1_000;

const _: () = assert!(MESSAGE_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < FRAME_BYTES_MAX, "one whole batch fits a frame");
const _: () = assert!(FETCH_BYTES_MAX < FRAME_BYTES_MAX, "a whole fetch response fits a frame");
const _: () = assert!(FIRST_FRAME_BYTES_MAX < FRAME_BYTES_MAX);
