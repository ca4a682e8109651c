//! The client machines: what a producer, a consumer and an administrator decide, without a socket or a clock.
//!
//! ```text
//!   application ── append, next_batch, start ──► ┌─────────┐ ── Order::Call ──► node N of the cluster
//!   driver ────── on_reply, on_time ───────────► │ Machine │ ── Order::Abandon
//!                                                └─────────┘ ── Order::Event ─► application
//! ```
//!
//! The Rust client runs them on tokio, the simulator on its virtual network: retries, timeouts, back-off and
//! idempotence are the same code in both. A machine names nodes, never addresses; where a node can be reached is
//! the driver's knowledge. Every wait has its deadline in [`Machine::next_deadline`]; nothing happens in between.

mod accumulator;
mod admin;
mod assignment;
mod backoff;
mod call;
mod consumer;
mod metadata;
mod partitioner;
mod producer;
mod producer_error;
mod sequences;
mod timers;

pub use admin::{Admin, AdminConfig, AdminError, AdminEvent, OperationId};
pub use assignment::StartAt;
pub use backoff::BackoffConfig;
pub use call::{Call, CallId, Machine, Order, Reply, Target};
pub use consumer::{ConsumedBatch, Consumer, ConsumerConfig, ConsumerError, ConsumerEvent};
pub use metadata::MetadataConfig;
pub use partitioner::{murmur2, partition_for_key};
pub use producer::{AppendError, Appended, Delivery, NewRecord, Producer, ProducerConfig, ProducerEvent, TopicHandle};
pub use producer_error::{ProduceError, ProduceErrorKind};
