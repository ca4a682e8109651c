//! The Rust client: tokio sockets around the client machines of `tidelog-core`.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidelog_client::Error> {
//! use tidelog_client::{Client, ConsumerConfig, NewRecord, ProducerConfig, StartAt};
//!
//! let client = Client::connect("127.0.0.1:9192").await?;
//!
//! let producer = client.producer(ProducerConfig::default());
//! let delivery = producer.send("orders", NewRecord::new(b"first")).await?;
//! println!("stored at offset {:?}", delivery.await?.offset);
//! producer.close().await?;
//!
//! let mut consumer = client.consumer(ConsumerConfig::default());
//! consumer.assign_topic("orders", StartAt::Earliest).await?;
//! let batch = consumer.next_batch().await?;
//! for record in batch.records()? {
//!     println!("{:?}", record?.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is decided (batching, retries, order, idempotence, leaders, offsets) is decided in
//! [`tidelog_core::client`], the same code that the simulator tests; what stands here carries it out. Value types
//! are core's own. The client needs a tokio runtime of any kind and nothing else;
//! [`runtime`] says what it asks of it, for those who have another.
//!
//! Every error answers three questions: [`Error::kind`], what happened; [`Error::is_retriable`], can the same succeed
//! later; [`Error::may_have_applied`], can it have happened all the same.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod client;
mod consumer;
mod driver;
mod error;
mod link;
mod producer;
pub mod protocol;
pub mod runtime;
pub mod wire;

pub use admin::{Admin, Repeatable};
pub use client::{Client, ClientConfig};
pub use consumer::Consumer;
pub use error::{Error, ErrorKind};
pub use producer::{Deliveries, Delivery, Placed, Producer, Topic};
pub use tidelog_core::{
    client::{AdminConfig, ConsumedBatch, ConsumerConfig, NewRecord, ProducerConfig, StartAt},
    ids::{PartitionId, TopicName},
    message::{Acks, IsolationLevel},
    offset::Offset,
    record::{Compression, Record},
    time::{Duration, Timestamp},
};
