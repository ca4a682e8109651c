//! `bench consume`.

use std::time::Instant;

use tidelog_client::{ConsumerConfig, IsolationLevel, StartAt};
use tidelog_core::{
    ids::{PartitionId, TopicName},
    message::OffsetSpec,
};

use super::{CliError, ConsumeArgs, Exit, failed, open, report::Report};

pub(super) async fn run(args: &ConsumeArgs) -> Result<Report, CliError> {
    let (client, partitions) = open(&args.connect).await?;
    let topic = &args.connect.topic;
    let partition = |p: usize| PartitionId(i32::try_from(p).expect("partition counts fit"));
    let question = |spec| (0..partitions).map(|p| (TopicName::new(topic), partition(p), spec)).collect();
    let admin = client.admin();
    let ends = admin.list_offsets(IsolationLevel::ReadUncommitted, question(OffsetSpec::Latest)).await;
    let begins = admin.list_offsets(IsolationLevel::ReadUncommitted, question(OffsetSpec::Earliest)).await;
    let (ends, begins) = (ends.map_err(|error| failed(&error))?, begins.map_err(|error| failed(&error))?);
    let mut left = ends.iter().zip(&begins).filter(|(end, begin)| end.offset > begin.offset).count();
    if left == 0 {
        return Err(CliError::new(Exit::NotFound, format!("topic \"{topic}\" has no records"))
            .hint("`tidelog bench produce` writes some"));
    }

    let mut config = ConsumerConfig::default();
    if let Some(size) = args.fetch_size {
        config.partition_bytes_max = size.bytes();
        config.fetch_bytes_max = config.fetch_bytes_max.max(size.bytes());
        config.buffer_bytes = config.buffer_bytes.max(size.bytes().saturating_mul(4));
    }
    let mut report = Report::new("consume");
    let mut consumer = client.consumer(config.clone());
    let (mut records, mut bytes, mut batches, mut value_bytes) = (0u64, 0u64, 0u64, 0u64);
    let begun = Instant::now();
    for (end, begin) in ends.iter().zip(&begins) {
        if end.offset > begin.offset {
            consumer.assign(topic, end.partition.0, StartAt::Offset(begin.offset));
        }
    }
    while left > 0 && args.records.is_none_or(|max| records < max) {
        let consumed = consumer.next_batch().await.map_err(|error| failed(&error))?;
        let header = consumed.batch.header();
        records += u64::from(header.records_count.unsigned_abs());
        bytes += consumed.batch.size() as u64;
        batches += 1;
        if args.iterate {
            let corrupt = |error| CliError::new(Exit::Failed, format!("a batch is broken: {error}"));
            for record in &consumed.batch.open().map_err(corrupt)? {
                value_bytes += record.map_err(corrupt)?.value.map_or(0, <[u8]>::len) as u64;
            }
        }
        let end = ends.iter().find(|e| e.partition == consumed.partition).map_or(header.next_offset(), |e| e.offset);
        if header.base_offset < end && header.next_offset() >= end {
            left -= 1;
        }
    }
    let elapsed = begun.elapsed();

    report.text("protocol", args.connect.protocol());
    report.text("topic", topic);
    report.number("partitions", partitions as u64);
    report.number("fetch_bytes", config.partition_bytes_max as u64);
    report.text("looked_at", if args.iterate { "records" } else { "batches" });
    report.number("batches", batches);
    if args.iterate {
        report.number("value_bytes", value_bytes);
    }
    report.throughput(records, bytes, elapsed);
    Ok(report)
}
