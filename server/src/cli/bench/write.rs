//! `bench produce`.

use std::time::{Duration, Instant};

use tidelog_client::NewRecord;

use super::{CliError, Exit, ProduceArgs, failed, noise, open, pace::Pace, producer_config, report::Report, set_up};

/// Records handed over at once when there is no rate to keep.
const RECORDS_AT_ONCE: u64 = 1024;
/// Values are cut from this much noise.
const NOISE_BYTES: usize = 1 << 20;

pub(super) async fn run(args: &ProduceArgs) -> Result<Report, CliError> {
    let (client, partitions) = open(&args.connect).await?;
    let producer = client.producer(producer_config(&args.load));
    let topic = producer.topic(&args.connect.topic).await.map_err(|error| failed(&error))?;
    let size = args.load.record_size.bytes();
    let noise = noise(NOISE_BYTES + size);
    let value = |n: u64| {
        let at = (n as usize).wrapping_mul(size) % NOISE_BYTES;
        NewRecord::new(&noise[at..at + size])
    };

    let until = &args.until;
    let records_max = until.records.or(until.bytes.map(|bytes| bytes.0.div_ceil(args.load.record_size.0)));
    let time_max = match (records_max, until.duration) {
        (None, None) => Some(Duration::from_secs(10)),
        (_, duration) => duration.map(|span| span.0),
    };
    let mut report = Report::new("produce");
    let begun = Instant::now();
    let is_over =
        |sent: u64| records_max.is_some_and(|max| sent >= max) || time_max.is_some_and(|max| begun.elapsed() >= max);
    let mut sent = 0;
    if let Some(rate) = args.rate {
        let unpaced = |error| CliError::new(Exit::Failed, format!("cannot keep time: {error}"));
        let mut pace = Pace::start(rate).map_err(unpaced)?;
        while !is_over(sent) {
            pace.next().await.map_err(unpaced)?;
            producer.enqueue(topic, value(sent)).await.map_err(|error| failed(&error))?;
            sent += 1;
        }
    } else {
        while !is_over(sent) {
            let count = records_max.map_or(RECORDS_AT_ONCE, |max| (max - sent).min(RECORDS_AT_ONCE));
            // Closing tells of failures; nothing else has to wait for single batches.
            let sending = producer.send_all(topic, (sent..sent + count).map(value)).await;
            drop(sending.map_err(|error| failed(&error))?);
            sent += count;
        }
    }
    producer.close().await.map_err(|error| failed(&error))?;
    let elapsed = begun.elapsed();

    set_up(&mut report, &args.connect, partitions, &args.load);
    if let Some(rate) = args.rate {
        report.number("rate", rate);
    }
    report.throughput(sent, sent * args.load.record_size.0, elapsed);
    Ok(report)
}
