//! One partition as its leader runs it: watermarks, admission of producers' batches, parked acknowledgements.
//!
//! ```text
//! log start ........ high watermark ........ durable ........ log end
//!                    readers see up to here  synced here      offsets given out; appends on their way to the disk
//! ```
//!
//! **Offsets are given out when a batch is admitted; everything else waits for the disk.** Producers' state is changed
//! when an append has succeeded, and what is on its way is kept in an overlay, so that an append that fails leaves no
//! trace (semantics §6, §16).

mod admission;
mod in_flight;
mod partition;
mod tail;

pub use admission::{Admission, Refusal};
pub use partition::{Ack, Completed, Housekeeping, OpenedLog, Partition, ReadPlan};
pub use tail::TailBudget;
