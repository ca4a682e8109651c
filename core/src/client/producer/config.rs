//! How a producer works.

use crate::{
    client::{backoff::BackoffConfig, metadata::MetadataConfig},
    limits,
    message::Acks,
    record::Compression,
    time::Duration,
};

/// How a producer works. The defaults are Kafka's but for the batch size, which suits a faster wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// When a batch counts as delivered. Anything but [`Acks::All`] turns idempotence off.
    pub acks: Acks,
    /// Number batches so that none is appended twice (`enable.idempotence`).
    pub idempotence: bool,
    /// How batches are compressed (`compression.type`).
    pub compression: Compression,
    /// How long an open batch waits for more records (`linger.ms`).
    pub linger: Duration,
    /// Where a batch is full, before compression (`batch.size`).
    pub batch_bytes: usize,
    /// What may be appended and not yet delivered (`buffer.memory`).
    pub buffer_bytes: usize,
    /// Where a request is full (`max.request.size`); also the largest record.
    pub request_bytes_max: usize,
    /// Requests to one node, and batches of one partition, on their way at once
    /// (`max.in.flight.requests.per.connection`); five at most with idempotence.
    pub in_flight_max: usize,
    /// When a request is given up (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// When records that are not acknowledged have failed (`delivery.timeout.ms`).
    pub delivery_timeout: Duration,
    /// How long appending may wait for a topic to become known (`max.block.ms`).
    pub topic_timeout: Duration,
    /// Wait between attempts (`retry.backoff.ms`).
    pub backoff: BackoffConfig,
    /// Of topics and leaders.
    pub metadata: MetadataConfig,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotence: true,
            compression: Compression::None,
            linger: Duration::from_millis(5),
            batch_bytes: 128 << 10,
            buffer_bytes: 32 << 20,
            request_bytes_max: 1 << 20,
            in_flight_max: limits::PRODUCER_BATCHES_MAX,
            request_timeout: Duration::from_secs(30),
            delivery_timeout: Duration::from_secs(120),
            topic_timeout: Duration::from_secs(60),
            backoff: BackoffConfig::default(),
            metadata: MetadataConfig::default(),
        }
    }
}
