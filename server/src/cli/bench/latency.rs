//! `bench latency`.

use std::sync::{Arc, Mutex};

use tidelog_client::NewRecord;
use tokio::{task::JoinSet, time::Instant};

use super::{
    CliError, Exit, LatencyArgs, failed, histogram::Histogram, noise, open, pace::Pace, producer_config,
    report::Report, set_up,
};
use tidelog_client::ProducerConfig;

/// Records sent before the measurement, for connections and caches.
const WARM_UP: u64 = 200;

pub(super) async fn run(args: &LatencyArgs) -> Result<Report, CliError> {
    let (client, partitions) = open(&args.connect).await?;
    // Waiting for more records would be most of what is measured.
    let config = ProducerConfig { linger: tidelog_core::time::Duration::ZERO, ..producer_config(&args.load) };
    let producer = client.producer(config);
    let topic = producer.topic(&args.connect.topic).await.map_err(|error| failed(&error))?;
    let value = noise(args.load.record_size.bytes());
    for _ in 0..WARM_UP {
        let sending = producer.send_to(topic, NewRecord::new(&value)).await.map_err(|error| failed(&error))?;
        sending.await.map_err(|error| failed(&error))?;
    }

    let unpaced = |error| CliError::new(Exit::Failed, format!("cannot keep time: {error}"));
    let mut report = Report::new("latency");
    let times = Arc::new(Mutex::new(Histogram::new()));
    let mut waiting = JoinSet::new();
    let mut pace = Pace::start(args.rate).map_err(unpaced)?;
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < args.duration.0 {
        let due = pace.next().await.map_err(unpaced)?;
        let delivery = producer.send_to(topic, NewRecord::new(&value)).await.map_err(|error| failed(&error))?;
        sent += 1;
        let times = times.clone();
        waiting.spawn(async move {
            let delivered = delivery.await;
            let late = Instant::now().duration_since(due);
            times.lock().expect("no panic while held").record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
            delivered.map(drop)
        });
        while let Some(ended) = waiting.try_join_next() {
            ended.expect("the task does not panic").map_err(|error| failed(&error))?;
        }
    }
    while let Some(ended) = waiting.join_next().await {
        ended.expect("the task does not panic").map_err(|error| failed(&error))?;
    }
    let elapsed = begun.elapsed();
    producer.close().await.map_err(|error| failed(&error))?;

    set_up(&mut report, &args.connect, partitions, &args.load);
    report.number("rate", args.rate);
    report.throughput(sent, sent * args.load.record_size.0, elapsed);
    report.latencies(&times.lock().expect("no panic while held"));
    Ok(report)
}
