//! One partition's log on a disk, and a directory full of them.
//!
//! Plain synchronous code under a small trait. The core orders bounded [`Job`]s and never waits for one; a driver
//! has a [`LogDir`] execute them, on real files in the server and on the simulator's disk in the simulator, and
//! brings each outcome back as an input. Layout, names and contents of the files are Kafka's:
//!
//! ```text
//! DATA/meta.properties  .kafka_cleanshutdown  *-checkpoint
//! DATA/orders-0/00000000000000000000.log        whole batches
//!               00000000000000000000.index      offset    -> position, sparse
//!               00000000000000000000.timeindex  timestamp -> offset, sparse
//!               00000000000000000000.txnindex   aborted transactions
//!               00000000000000000000.snapshot   producers, as of this segment's start
//!               leader-epoch-checkpoint  partition.metadata
//! ```

mod config;
mod disk;
mod producers;
mod job;
mod dir_state;
mod names;
mod place;
pub mod checkpoint;
mod settle;
mod metadata_snapshots;
mod epochs;
pub mod meta_properties;
mod sparse_index;
mod offset_index;
mod time_index;
pub mod txn_index;
pub mod snapshot;
mod walk;
mod segment;
mod store;
mod lookup;
mod retention;
mod clean;
mod recovery;
mod dir;

pub use config::{CleanupPolicy, Durability, LogConfig};
pub use dir::{DirError, LogDir, Step, SyncTicket};
pub use dir_state::{DirState, Identity};
pub use disk::{Disk, DiskError, OpenMode};
pub use epochs::EpochCache;
pub use job::{Job, JobOutcome, LogError, LogState, RecoveryReport, Vote};
pub use offset_index::OffsetEntry;
pub use producers::{ProducerBatch, ProducerEntry, ProducerTable, Sequence, SequenceError, next_sequence};
pub use time_index::TimeEntry;

#[cfg(test)]
pub(crate) mod test_disk;
#[cfg(test)]
mod tests;
