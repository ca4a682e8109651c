//! `tidelog bench`: how fast is it, here and now?
//!
//! Numbers go to stdout together with the set-up that they belong to, as text or (`--json`) as one object. Latencies
//! are counted from when a record was *due*, not from when it was sent: a server that stalls delays the records
//! behind it, and those waits belong to the measurement (coordinated omission). `bench disk` is what the disk alone
//! can do: the same bytes, appended and synced by a bare loop.
//!
//! With `--kafka` the same producer and the same consumer speak Kafka's protocol, to tidelog or to Kafka.

mod disk;
mod histogram;
mod latency;
mod pace;
mod read;
mod report;
mod write;

use std::{str::FromStr, sync::Arc, time::Duration};

use tidelog_client::{Acks, Client, ClientConfig, Compression, Error, ErrorKind, ProducerConfig};
use tidelog_core::{
    ids::TopicName,
    message::{ErrorCode, NewTopic},
};

use self::report::Report;
use super::{
    error::{CliError, Ended, Exit},
    value::Span,
};
use crate::kafka::KafkaProtocol;

/// Flags of `tidelog bench`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Write records as fast as they go, or at a rate
    Produce(ProduceArgs),
    /// Read a topic from its beginning to its present end
    Consume(ConsumeArgs),
    /// Time from when a record is due to its acknowledgement, at a rate
    Latency(LatencyArgs),
    /// What the disk alone does: append and sync in a bare loop
    Disk(DiskArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ConnectArgs {
    /// Native listeners of one or more nodes
    #[arg(long, value_name = "ADDR[,ADDR]", default_value = "127.0.0.1:9192", help_heading = "Connection")]
    bootstrap: String,
    /// Kafka listeners instead, of tidelog or of Kafka 3.1 or later: measures over Kafka's protocol
    #[arg(long, value_name = "ADDR[,ADDR]", conflicts_with = "bootstrap", help_heading = "Connection")]
    kafka: Option<String>,
    /// The topic; it is created if it does not exist
    #[arg(long, value_name = "NAME", default_value = "bench")]
    topic: String,
    /// Partitions of a topic that is created
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Settings of a topic that is created; may be given many times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<super::value::Pair>,
    /// Print JSON for machines
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct LoadArgs {
    /// Bytes of each record's value
    #[arg(long, value_name = "SIZE", default_value = "1KiB")]
    record_size: Size,
    /// Where a batch is full
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    batch_size: Size,
    /// How long a batch waits for more records
    #[arg(long, value_name = "TIME", default_value = "5ms")]
    linger: Span,
    /// Which replicas must have a record before it counts
    #[arg(long, value_name = "all|1|0", default_value = "all")]
    acks: AcksFlag,
    /// How batches are compressed
    #[arg(long, value_name = "CODEC", default_value = "none")]
    compression: Codec,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog bench produce --bytes 1GiB
  tidelog bench produce --record-size 100 --records 10000000 --partitions 4
  tidelog bench produce --rate 50000 --duration 30s --json
  tidelog bench produce --kafka 127.0.0.1:9092")]
struct ProduceArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    until: UntilArgs,
    /// Records per second [default: as many as it takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
}

#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
struct UntilArgs {
    /// How many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// How many bytes of values
    #[arg(long, value_name = "SIZE")]
    bytes: Option<Size>,
    /// How long [default: 10s]
    #[arg(long, value_name = "TIME")]
    duration: Option<Span>,
}

#[derive(Clone, Debug, clap::Args)]
struct ConsumeArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Stop after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Look at every record instead of batches only
    #[arg(long)]
    iterate: bool,
    /// Bytes of one partition in one fetch
    #[arg(long, value_name = "SIZE")]
    fetch_size: Option<Size>,
}

#[derive(Clone, Debug, clap::Args)]
struct LatencyArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Records per second
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Span,
}

#[derive(Clone, Debug, clap::Args)]
struct DiskArgs {
    /// The folder to write in; the file is removed afterwards
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: std::path::PathBuf,
    /// Bytes of each append
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    write_size: Size,
    /// Appends between two syncs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    sync_every: u64,
    /// Bytes in all
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    bytes: Size,
    /// Appends per second, each synced; latencies count from when each is due [default: as many as it takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// How long, with --rate
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Span,
    /// Print JSON for machines
    #[arg(long, help_heading = "Output")]
    json: bool,
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
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// A number of bytes: `100`, `64KiB`, `1MiB`, `2GiB`, and `kB`, `MB`, `GB` for powers of ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a size such as 100, 64KiB, 1MiB or 2GB");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match &text[digits..] {
            "" | "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        count.checked_mul(unit).filter(|&size| size > 0).map(Self).ok_or_else(wrong)
    }
}

impl Size {
    fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Measures what the flags say.
pub(super) fn run(args: &BenchArgs) -> Result<(), Ended> {
    let (report, json) = match &args.what {
        What::Produce(args) => (block_on(write::run(args))?, args.connect.json),
        What::Consume(args) => (block_on(read::run(args))?, args.connect.json),
        What::Latency(args) => (block_on(latency::run(args))?, args.connect.json),
        What::Disk(args) => (block_on(disk::run(args))?, args.json),
    };
    report.print(json)
}

/// On one thread: what is measured is what one core can do.
fn block_on(measure: impl Future<Output = Result<Report, CliError>>) -> Result<Report, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(measure)
}

impl ConnectArgs {
    fn protocol(&self) -> &'static str {
        if self.kafka.is_some() { "kafka" } else { "native" }
    }
}

/// Connects and sees to it that the topic exists; with its number of partitions.
async fn open(args: &ConnectArgs) -> Result<(Client, usize), CliError> {
    let client = match &args.kafka {
        None => Client::connect(&args.bootstrap).await,
        Some(kafka) => {
            let protocol = Arc::new(KafkaProtocol::default());
            Client::connect_speaking(protocol, kafka, ClientConfig::default()).await
        }
    };
    let client = client.map_err(|error| failed(&error))?;
    let topic = NewTopic {
        name: TopicName::new(&args.topic),
        partitions: Some(args.partitions),
        replication_factor: None,
        assignments: Vec::new(),
        configs: args.settings.iter().map(|pair| (pair.name.clone(), Some(pair.value.clone()))).collect(),
    };
    let admin = client.admin();
    let created = admin.create_topics(vec![topic], false).await.map_err(|error| failed(&error))?;
    match created.answer.first() {
        Some(topic) if !matches!(topic.error, ErrorCode::None | ErrorCode::TopicAlreadyExists) => {
            return Err(CliError::refused(&args.topic, topic.error, topic.message.as_deref()));
        }
        _ => {}
    }
    let described = admin.describe_topic(&args.topic).await.map_err(|error| failed(&error))?;
    Ok((client, described.partitions.len()))
}

fn producer_config(load: &LoadArgs) -> ProducerConfig {
    let defaults = ProducerConfig::default();
    ProducerConfig {
        acks: match load.acks {
            AcksFlag::All => Acks::All,
            AcksFlag::Leader => Acks::Leader,
            AcksFlag::None => Acks::None,
        },
        compression: match load.compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        linger: nanos(load.linger.0),
        batch_bytes: load.batch_size.bytes(),
        request_bytes_max: defaults.request_bytes_max.max(load.batch_size.bytes().saturating_add(1 << 10)),
        ..defaults
    }
}

/// The set-up of a load, for the report.
fn set_up(report: &mut Report, connect: &ConnectArgs, partitions: usize, load: &LoadArgs) {
    report.text("protocol", connect.protocol());
    report.text("topic", &connect.topic);
    report.number("partitions", partitions as u64);
    report.number("record_bytes", load.record_size.0);
    report.number("batch_bytes", load.batch_size.0);
    report.text("acks", &format!("{:?}", load.acks).to_lowercase());
    report.text("compression", &format!("{:?}", load.compression).to_lowercase());
    report.number("linger_us", u64::try_from(load.linger.0.as_micros()).unwrap_or(u64::MAX));
}

fn nanos(span: Duration) -> tidelog_core::time::Duration {
    tidelog_core::time::Duration::from_nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

fn failed(error: &Error) -> CliError {
    match error.kind() {
        ErrorKind::Unreachable => CliError::new(Exit::Connect, error.to_string())
            .hint("--bootstrap names the native listener of a running node, --kafka its Kafka listener; `tidelog serve` starts one"),
        ErrorKind::TimedOut => CliError::new(Exit::TimedOut, error.to_string()),
        ErrorKind::Refused(code) => CliError::refused("the request", code, None),
        _ => CliError::new(Exit::Failed, error.to_string()),
    }
}

/// Bytes that no codec makes much of, to cut values from.
fn noise(bytes: usize) -> Vec<u8> {
    let mut prng = tidelog_core::prng::Prng::new(1);
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&prng.next_u64().to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_none() {
        assert_eq!("100".parse(), Ok(Size(100)));
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        assert_eq!("2GB".parse(), Ok(Size(2_000_000_000)));
        for wrong in ["", "0", "KiB", "1.5MiB", "-1", "1kb", "18446744073709551615GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn noise_has_the_length_asked_for() {
        assert_eq!(noise(1001).len(), 1001);
    }
}
