//! Prints a topic up to its present end: `cargo run --example consume -- 127.0.0.1:9192 TOPIC`

use std::{
    env,
    error::Error,
    io::{Write, stdout},
};

use tidelog_client::{Client, ConsumerConfig, IsolationLevel, PartitionId, StartAt, TopicName};
use tidelog_core::message::OffsetSpec;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(topic)) = (arguments.next(), arguments.next()) else {
        return Err("usage: consume ADDRESS TOPIC".into());
    };
    let client = Client::connect(&address).await?;
    let mut consumer = client.consumer(ConsumerConfig::default());
    let partitions = consumer.partition_count(&topic).await?;

    let question =
        (0..partitions).map(|p| (TopicName::new(&topic), PartitionId(p as i32), OffsetSpec::Latest)).collect();
    let ends = client.admin().list_offsets(IsolationLevel::ReadUncommitted, question).await?;
    consumer.assign_topic(&topic, StartAt::Earliest).await?;

    let mut out = stdout().lock();
    let is_short = |consumer: &tidelog_client::Consumer| {
        ends.iter().any(|end| {
            // An empty partition is at its end before its position is known.
            end.offset.0 > 0 && consumer.position(&topic, end.partition.0).is_none_or(|at| at < end.offset)
        })
    };
    while is_short(&consumer) {
        for record in consumer.next_batch().await?.records()? {
            let record = record?;
            out.write_all(record.value.as_deref().unwrap_or_default())?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}
