//! Kafka's record batch, version 2: what is on the wire is what is on the disk.
//!
//! A batch crosses the system as one [`Batch`]: 61 bytes of header, which the leader stamps with the base offset
//! and its epoch, and a body that nobody on the way reads or copies. Only the two ends (and the cleaner) open it.

mod varint;
mod header;
mod batch;
mod compression;
mod records;
mod builder;
mod control;

pub(crate) use batch::peek;
pub use batch::{Batch, BatchError, Batches, offset_after};
pub use builder::{BatchBuilder, BatchOptions};
pub use control::{Control, Voter};
pub use header::{BatchHeader, Compression, HEADER_BYTES, TimestampType};
pub use records::{Header, Headers, OpenBatch, RawHeaders, RawRecord, RawRecords, Record, Records, RecordsSummary};

#[cfg(test)]
mod tests;
