//! `tidelog produce`: lines from stdin, each a record.
//!
//! One thread reads blocks, finds lines and appends them to batches; another sends batches and hears of their
//! acknowledgement. A line is copied once, into its batch.

mod record;

use std::io;

use tidelog_client::{Acks, Compression, Producer, ProducerConfig, Topic};
use tidelog_core::{ids::PartitionId, limits, time::Duration};

use self::record::Shape;
use super::{
    error::{CliError, Ended, Exit},
    json::Json,
    lines::Lines,
    output::{Progress, Stdout, stdin},
    session::{ConnectArgs, Session, failed},
    value::{Pair, Separator, Span},
};

/// Flags of `tidelog produce`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Every line is a record, without its line feed. With --key-separator a line is KEY, separator, VALUE; with --headers
it begins with NAME=VALUE,NAME=VALUE and a tab.

Examples:
  echo hello | tidelog produce greetings
  tidelog produce orders --key-separator : <orders.txt
  tidelog produce events --compression zstd --header source=cron <events.log
  printf 'trace=7f,user=9\\thello\\n' | tidelog produce greetings --headers")]
pub(super) struct ProduceArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// What stands between key and value; \\t is a tab
    #[arg(long, value_name = "TEXT")]
    key_separator: Option<Separator>,
    /// Lines begin with headers
    #[arg(long)]
    headers: bool,
    /// A header for every record; may be given many times
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "headers")]
    header: Vec<Pair>,
    /// The partition for every record [default: by key, or each in turn]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Which replicas must have a record before it counts: all in sync, the leader, or none
    #[arg(long, value_name = "ACKS", default_value = "all")]
    acks: AcksFlag,
    /// How batches are compressed
    #[arg(long, value_name = "CODEC", default_value = "none")]
    compression: CompressionFlag,
    /// How long a batch waits for more records
    #[arg(long, value_name = "TIME", default_value = "5ms")]
    linger: Span,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum AcksFlag {
    All,
    #[value(name = "1", alias = "leader")]
    Leader,
    #[value(name = "0", alias = "none")]
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum CompressionFlag {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Does what the flags say.
pub(super) fn run(args: &ProduceArgs) -> Result<(), Ended> {
    let shape = Shape {
        separator: args.key_separator.as_ref().map(|separator| separator.0.clone()),
        has_headers: args.headers,
        partition: args.partition.map(PartitionId),
    };
    let input = stdin().map_err(unreadable)?;
    let session = Session::open(&args.connect)?;
    let mut progress = Progress::new();
    let written = session.block_on(async {
        let producer = session.client().producer(config(args));
        let topic = producer.topic(&args.topic).await.map_err(|error| failed(&named(&args.topic), &error))?;
        let mut lines = Lines::new(input, limits::BATCH_BYTES_MAX);
        let mut written = Written::default();
        let sent = send_lines(args, &shape, &producer, topic, &mut lines, &mut written, &mut progress).await;
        // What was sent before an error is still delivered.
        let delivered = producer.close().await.map_err(|error| failed(&named(&args.topic), &error));
        sent.and(delivered.map(|()| written))
    })?;
    progress.finish(written.records, written.bytes);
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("topic").text(&args.topic).key("records").number(written.records);
            json.key("bytes").number(written.bytes);
        });
        Stdout::open()?.line(json.as_str())?;
    }
    Ok(())
}

/// What was taken from the input.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    records: u64,
    bytes: u64,
}

async fn send_lines(
    args: &ProduceArgs,
    shape: &Shape,
    producer: &Producer,
    topic: Topic,
    lines: &mut Lines<impl io::Read>,
    written: &mut Written,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let fixed: Vec<(&[u8], Option<&[u8]>)> =
        args.header.iter().map(|pair| (pair.name.as_bytes(), Some(pair.value.as_bytes()))).collect();
    loop {
        let block = lines.take_block();
        if !block.is_empty() {
            let records = shape.records(block, &fixed, written.records)?;
            let (count, bytes) = (records.len() as u64, block.len() as u64);
            // Nobody waits for single records: closing the producer tells of failures.
            let sent = producer.send_all(topic, records.iter()).await;
            drop(sent.map_err(|error| failed(&named(&args.topic), &error))?);
            written.records += count;
            written.bytes += bytes;
            progress.renew(written.records, written.bytes);
        }
        if !lines.read().map_err(unreadable)? {
            return Ok(());
        }
    }
}

fn core_duration(span: std::time::Duration) -> Duration {
    Duration::from_nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

fn config(args: &ProduceArgs) -> ProducerConfig {
    ProducerConfig {
        acks: match args.acks {
            AcksFlag::All => Acks::All,
            AcksFlag::Leader => Acks::Leader,
            AcksFlag::None => Acks::None,
        },
        compression: match args.compression {
            CompressionFlag::None => Compression::None,
            CompressionFlag::Gzip => Compression::Gzip,
            CompressionFlag::Snappy => Compression::Snappy,
            CompressionFlag::Lz4 => Compression::Lz4,
            CompressionFlag::Zstd => Compression::Zstd,
        },
        linger: core_duration(args.linger.0),
        delivery_timeout: core_duration(args.connect.timeout()),
        ..ProducerConfig::default()
    }
}

fn named(topic: &str) -> String {
    format!("topic \"{topic}\"")
}

fn unreadable(error: io::Error) -> CliError {
    CliError::new(Exit::Failed, format!("cannot read the input: {error}"))
}
