//! Keeps writing numbered records and tells, as JSON lines, what became of each, until standard input ends:
//! `cargo run --example recorded -- ADDRESS[,ADDRESS...] TOPIC NAME FIRST-NUMBER RECORDS-A-SECOND`
//!
//! A record's value begins with its number; partitions take turns. What is printed is a history that
//! `tidelog sim history` judges.

use std::{
    env,
    error::Error,
    io::{Read, Write, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tidelog_client::{Client, NewRecord, Offset, PartitionId, Placed, ProducerConfig};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, topic_name, name, first, rate] = &arguments[..] else {
        return Err("usage: recorded ADDRESS[,ADDRESS...] TOPIC NAME FIRST-NUMBER RECORDS-A-SECOND".into());
    };
    let (first, rate): (u64, u64) = (first.parse()?, rate.parse()?);
    let is_over = Arc::new(AtomicBool::new(false));
    let watched = is_over.clone();
    std::thread::spawn(move || {
        // However it ends, it has ended.
        let _ = stdin().read_to_end(&mut Vec::new());
        watched.store(true, Ordering::Relaxed);
    });

    let client = Client::connect(address).await?;
    let producer = client.producer(ProducerConfig::default());
    let topic = producer.topic(topic_name).await?;
    let partitions = producer.partition_count(topic) as u64;
    let mut out = stdout().lock();
    let mut ticks = tokio::time::interval(TICK);
    let (tell, mut outcomes) = mpsc::unbounded_channel();
    let mut number = first;
    let per_tick = (rate * TICK.as_millis() as u64 / 1000).max(1);
    while !is_over.load(Ordering::Relaxed) {
        tokio::select! {
            Some((number, outcome)) = outcomes.recv() => writeln!(out, "{}", told(name, number, &outcome))?,
            _ = ticks.tick() => for _ in 0..per_tick {
                let partition = number % partitions;
                writeln!(
                    out,
                    "{{\"process\":\"{name}\",\"type\":\"invoke\",\"f\":\"send\",\"partition\":\"{topic_name}-{partition}\",\"value\":{number}}}"
                )?;
                let value = format!("{number} {}", ".".repeat(PADDING));
                let record = NewRecord::new(value.as_bytes()).to_partition(PartitionId(partition as i32));
                let delivery = producer.send_to(topic, record).await?;
                let tell = tell.clone();
                tokio::spawn(async move { tell.send((number, delivery.await)) });
                number += 1;
            },
        }
    }
    // Failures are told one by one.
    let _ = producer.close().await;
    drop(tell);
    while let Some((number, outcome)) = outcomes.recv().await {
        writeln!(out, "{}", told(name, number, &outcome))?;
    }
    Ok(())
}

/// What became of a record.
fn told(name: &str, number: u64, outcome: &Result<Placed, tidelog_client::Error>) -> String {
    let begin = format!("{{\"process\":\"{name}\",\"f\":\"send\",\"value\":{number},\"type\":");
    match outcome {
        Ok(Placed { offset: Some(Offset(offset)), .. }) => format!("{begin}\"ok\",\"offset\":{offset}}}"),
        Ok(Placed { offset: None, .. }) => format!("{begin}\"ok\"}}"),
        Err(error) if error.may_have_applied() => format!("{begin}\"info\",\"error\":\"{:?}\"}}", error.kind()),
        Err(error) => format!("{begin}\"fail\",\"error\":\"{:?}\"}}", error.kind()),
    }
}

/// How often records are sent.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of a value beyond its number.
const PADDING: usize = 100;
