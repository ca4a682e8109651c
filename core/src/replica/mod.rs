//! One partition: who leads it, its watermarks, admission of producers' batches, replication.
//!
//! ```text
//! log start ........ high watermark ........ durable ........ log end
//!                    readers see up to here  synced here      offsets given out; appends on their way to the disk
//! ```
//!
//! **Offsets are given out when a batch is admitted; everything else waits for the disk.** Producers' state is changed
//! when an append has succeeded, and what is on its way is kept in an overlay, so that an append that fails leaves no
//! trace (semantics §6, §16).
//!
//! **The high watermark is what every replica in sync has.** The leader gives its followers what it has before its own
//! sync is done, so that all of them sync at the same time; each says what it has, and the least of that is committed.
//! The in-sync replicas change only as the controller confirms it ([`in_sync`]).
//!
//! **A follower's log is a prefix of its leader's, or is made one** by cutting it where their epochs part
//! ([`following`]).

mod admission;
mod following;
mod in_flight;
mod in_sync;
mod leading;
mod partition;
mod reading;
mod refused;
mod tail;

pub use admission::{Admission, Refusal};
pub use following::{Ask, Divergence, Unfit};
pub use in_sync::{FollowerSays, FollowerState};
pub use leading::{Ack, Position};
pub use partition::{Completed, Housekeeping, OpenedLog, Partition, ReadPlan};
pub use tail::TailBudget;

#[cfg(test)]
mod tests;
