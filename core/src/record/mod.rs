//! Kafka's record batch, version 2: what is on the wire is what is on the disk.
//!
//! A batch crosses the system as one [`Batch`]: 61 bytes of header, which the leader stamps with the base offset
//! and its epoch, and a body that nobody on the way reads or copies. Only the two ends (and the cleaner) open it.

mod batch;
mod header;

pub use batch::{Batch, BatchError, Batches};
pub use header::{BatchHeader, Compression, HEADER_BYTES, TimestampType};
