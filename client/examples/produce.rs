//! Sends the lines of standard input: `cargo run --example produce -- 127.0.0.1:9192 TOPIC < FILE`

use std::{env, error::Error, io::stdin};

use tidelog_client::{Client, NewRecord, ProducerConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(topic)) = (arguments.next(), arguments.next()) else {
        return Err("usage: produce ADDRESS TOPIC".into());
    };
    let client = Client::connect(&address).await?;
    let producer = client.producer(ProducerConfig::default());
    let topic = producer.topic(&topic).await?;

    let mut count = 0u64;
    for line in stdin().lines() {
        // Waits only when the buffer is full; failures are told by `close`.
        producer.enqueue(topic, NewRecord::new(line?.as_bytes())).await?;
        count += 1;
    }
    producer.close().await?;
    println!("{count} records are stored");
    Ok(())
}
