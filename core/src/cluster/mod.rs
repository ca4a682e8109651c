//! Metadata records, the image that they fold into, and the controller's decisions.
//!
//! The controller decides on the committed image and returns records ([`controller`]); the records go through the
//! metadata log; once committed, [`Image::apply`] folds each one and cannot fail. A snapshot is records, too: those that lead
//! from an empty image to the one that it stands for. So there is no second way in which an image can come about.

#[cfg(test)]
mod bench;
pub mod configs;
mod brokers;
mod controller;
mod difference;
mod election;
mod image;
mod index;
mod partitions;
mod placement;
mod record;
mod record_codec;
mod snapshot;

pub use brokers::{Registrar, Round};
pub use controller::{Controller, Decision};
pub use image::{Broker, Image, Overrides, Partition, Topic};
pub use record::{MetadataRecord, PartitionChange, Registration};
pub use record_codec::{RecordCodecError, decode, encode};
pub use snapshot::{SnapshotReader, read_batch, write_snapshot};
