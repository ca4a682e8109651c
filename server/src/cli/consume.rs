//! `tidelog consume`: records to stdout.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidelog_client::{ConsumedBatch, Consumer, ConsumerConfig, ErrorKind, StartAt};
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{PartitionId, TopicName},
    message::*,
    offset::Offset,
    time::Timestamp,
};

use super::{
    error::{CliError, Ended, Exit},
    format::{Format, Shown},
    json::Json,
    output::{Progress, Stdout},
    session::{ConnectArgs, Session, failed},
    value::From,
};

/// Flags of `tidelog consume`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Without --count or --exit-at-end it goes on until it is stopped. The order of records is that of their partition;
records of several partitions come as they are read.

Formats:
  text      the value and a line feed
  json      one object on a line; what is not UTF-8 is given as value_base64
  TEMPLATE  %k key, %v value, %o offset, %p partition, %t timestamp in milliseconds, %h headers, %% a percent sign;
            \\n \\t \\\\ \\xNN stand for their bytes. Nothing is added: end it with \\n for lines.

Examples:
  tidelog consume orders
  tidelog consume orders --from earliest --exit-at-end >orders.txt
  tidelog consume orders --from @-1h --format '%t %k: %v\\n'
  tidelog consume orders --from @2026-01-31T12:00:00Z --count 10 --json
  tidelog consume orders --partition 0 --from 4200 --count 1")]
pub(super) struct ConsumeArgs {
    /// The topic
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Where to begin: earliest, latest, an offset, or @ and a time (@2026-01-31T12:00:00Z, @1769860800000, @-1h)
    #[arg(long, value_name = "PLACE", default_value = "latest", allow_hyphen_values = true)]
    from: From,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop at what is the end when it starts
    #[arg(long)]
    exit_at_end: bool,
    /// Only this partition; may be given many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Where this reader stands: a cluster with --replica-selector rack lets a replica there serve it
    #[arg(long, value_name = "NAME")]
    rack: Option<String>,
    /// How records are shown: text, json, or a template with %k %v %o %p %t %h
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// How often a wait looks whether the end has been passed without a record of it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Does what the flags say.
pub(super) fn run(args: &ConsumeArgs) -> Result<(), Ended> {
    let mut stdout = Stdout::open()?;
    if args.count == Some(0) {
        return Ok(());
    }
    let session = Session::open(&args.connect)?;
    let partitions = partitions(&session, args)?;
    let starts = starts(&session, args, &partitions)?;
    let ends = match args.exit_at_end {
        true => Some(remaining(&starts, offsets(&session, args, &partitions, OffsetSpec::Latest)?)),
        false => None,
    };
    let mut reading = Reading {
        topic: &args.topic,
        format: if args.connect.json() { Format::Json } else { args.format.clone() },
        left: args.count.unwrap_or(u64::MAX),
        ends,
        json: Json::new(),
        progress: Progress::new(),
        records: 0,
        bytes: 0,
    };
    session.block_on(async {
        // A place that is gone is for the user to choose anew.
        let config = ConsumerConfig { reset: None, rack: args.rack.clone(), ..ConsumerConfig::default() };
        let mut consumer = session.client().consumer(config);
        for (&partition, &start) in &starts {
            if reading.ends.as_ref().is_none_or(|ends| ends.contains_key(&partition)) {
                consumer.assign(&args.topic, partition, start);
            }
        }
        reading.read(&mut consumer, &mut stdout).await
    })?;
    stdout.flush()?;
    reading.progress.finish(reading.records, reading.bytes);
    Ok(())
}

fn named(topic: &str) -> String {
    format!("topic \"{topic}\"")
}

/// The partitions to read: those asked for, or all there are.
fn partitions(session: &Session, args: &ConsumeArgs) -> Result<Vec<i32>, CliError> {
    let topics = session.topics(Some(vec![TopicRef::Name(TopicName::new(&args.topic))]))?;
    let Some(topic) = topics.first() else { return Err(session.nonsense()) };
    if !topic.error.is_none() {
        return Err(CliError::refused(&named(&args.topic), topic.error, None));
    }
    let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition.0).collect();
    if args.partition.is_empty() {
        return Ok(all);
    }
    match args.partition.iter().find(|partition| !all.contains(partition)) {
        None => Ok(args.partition.clone()),
        Some(absent) => {
            let message = format!("{} has no partition {absent}", named(&args.topic));
            let last = all.len().saturating_sub(1);
            Err(CliError::new(Exit::NotFound, message).hint(format!("its partitions are 0 to {last}")))
        }
    }
}

/// Where each partition begins. Times and ends are looked up only where an end is to be compared with them.
fn starts(session: &Session, args: &ConsumeArgs, partitions: &[i32]) -> Result<BTreeMap<i32, StartAt>, CliError> {
    let spec = match args.from {
        From::Earliest => OffsetSpec::Earliest,
        From::Latest => OffsetSpec::Latest,
        From::Offset(offset) => {
            in_range(session, args, partitions, offset)?;
            return Ok(partitions.iter().map(|&p| (p, StartAt::Offset(offset))).collect());
        }
        From::Time(time) => OffsetSpec::At(time),
        From::Ago(span) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let millis = now.saturating_sub(span).as_millis();
            OffsetSpec::At(Timestamp(i64::try_from(millis).unwrap_or(i64::MAX)))
        }
    };
    let found = offsets(session, args, partitions, spec)?;
    let ends = match spec {
        OffsetSpec::At(_) => offsets(session, args, partitions, OffsetSpec::Latest)?,
        _ => BTreeMap::new(),
    };
    let start = |(partition, offset): (i32, Offset)| match offset {
        // No record is that young: begin with what comes.
        Offset::NONE => (partition, StartAt::Offset(ends.get(&partition).copied().unwrap_or(Offset::ZERO))),
        offset => (partition, StartAt::Offset(offset)),
    };
    Ok(found.into_iter().map(start).collect())
}

/// An offset that a partition does not have is the user's to choose anew.
fn in_range(session: &Session, args: &ConsumeArgs, partitions: &[i32], offset: Offset) -> Result<(), CliError> {
    let begins = offsets(session, args, partitions, OffsetSpec::Earliest)?;
    let ends = offsets(session, args, partitions, OffsetSpec::Latest)?;
    for ((partition, begin), end) in begins.iter().zip(ends.values()) {
        if offset < *begin || offset > *end {
            let place = format!("{} partition {partition}", named(&args.topic));
            let message = format!("offset {offset} is out of range: {place} begins at {begin} and ends at {end}");
            let hint = "--partition names one; `tidelog topic describe` shows where each begins and ends";
            return Err(CliError::new(Exit::Failed, message).hint(hint));
        }
    }
    Ok(())
}

fn offsets(
    session: &Session,
    args: &ConsumeArgs,
    partitions: &[i32],
    spec: OffsetSpec,
) -> Result<BTreeMap<i32, Offset>, CliError> {
    let places = partitions.iter().map(|&partition| ListOffsetsPartition {
        topic: TopicRef::Name(TopicName::new(&args.topic)),
        partition: PartitionId(partition),
        current_leader_epoch: LeaderEpoch::NONE,
        spec,
    });
    let request = ListOffsetsRequest { isolation: IsolationLevel::ReadUncommitted, partitions: places.collect() };
    let Response::ListOffsets(response) = session.call(Request::ListOffsets(request))? else {
        return Err(session.nonsense());
    };
    match response.partitions.iter().find(|listed| !listed.error.is_none()) {
        Some(listed) => Err(CliError::refused(&named(&args.topic), listed.error, None)),
        None => Ok(partitions.iter().copied().zip(response.partitions.iter().map(|listed| listed.offset)).collect()),
    }
}

/// The ends of those partitions that have something before their end.
fn remaining(starts: &BTreeMap<i32, StartAt>, ends: BTreeMap<i32, Offset>) -> BTreeMap<i32, Offset> {
    let is_before = |partition: &i32, end: Offset| match starts.get(partition) {
        Some(StartAt::Offset(start)) => *start < end,
        _ => false,
    };
    ends.into_iter().filter(|(partition, end)| is_before(partition, *end)).collect()
}

struct Reading<'a> {
    topic: &'a str,
    format: Format,
    /// Records still wanted.
    left: u64,
    /// Where to stop, in each partition that is not there yet.
    ends: Option<BTreeMap<i32, Offset>>,
    json: Json,
    progress: Progress,
    records: u64,
    bytes: u64,
}

impl Reading<'_> {
    async fn read(&mut self, consumer: &mut Consumer, stdout: &mut Stdout) -> Result<(), Ended> {
        while self.left > 0 && self.ends.as_ref().is_none_or(|ends| !ends.is_empty()) {
            let next = match consumer.try_next_batch() {
                Some(next) => Some(next),
                None => {
                    // Nothing to do: whoever reads our output gets what there is.
                    stdout.flush()?;
                    tokio::time::timeout(LOOK_EVERY, consumer.next_batch()).await.ok()
                }
            };
            match next {
                None => self.drop_passed(consumer),
                Some(Ok(batch)) => self.show(&batch, consumer, stdout)?,
                // What was shown past the cut is not in the log any more: whoever reads must know.
                Some(Err(error)) if error.kind() == ErrorKind::Truncated => {
                    stdout.flush()?;
                    eprintln!("warning: {error}");
                }
                Some(Err(error)) if error.is_retriable() => {}
                Some(Err(error)) => {
                    stdout.flush()?;
                    return Err(failed(&named(self.topic), &error).into());
                }
            }
        }
        Ok(())
    }

    /// Ends partitions whose last offsets have no record to show (a transaction's marker).
    fn drop_passed(&mut self, consumer: &mut Consumer) {
        let Some(ends) = &mut self.ends else { return };
        let topic = self.topic;
        ends.retain(|&partition, &mut end| consumer.position(topic, partition).is_none_or(|position| position < end));
    }

    fn show(&mut self, consumed: &ConsumedBatch, consumer: &mut Consumer, stdout: &mut Stdout) -> Result<(), Ended> {
        let partition = consumed.partition.0;
        let end = match &self.ends {
            None => Offset(i64::MAX),
            Some(ends) => match ends.get(&partition) {
                Some(&end) => end,
                None => return Ok(()),
            },
        };
        let header = *consumed.batch.header();
        let broken = |error: &dyn std::fmt::Display| {
            let place = format!("{} partition {partition} offset {}", named(self.topic), header.base_offset);
            CliError::new(Exit::Failed, format!("{place}: {error}"))
        };
        let open = consumed.batch.open().map_err(|error| broken(&error))?;
        for record in &open {
            let record = record.map_err(|error| broken(&error))?;
            let offset = header.base_offset.forward(i64::from(record.offset_delta));
            if offset < consumed.from {
                continue;
            }
            if offset >= end || self.left == 0 {
                break;
            }
            let shown = Shown { topic: Some(self.topic), partition: Some(partition), offset, record: &record };
            self.format.show(&shown, &mut self.json, stdout.buffer());
            stdout.settle()?;
            self.left -= 1;
            self.records += 1;
            self.bytes += record.value.map_or(0, <[u8]>::len) as u64;
        }
        self.progress.renew(self.records, self.bytes);
        if header.next_offset() >= end {
            consumer.unassign(self.topic, partition);
            if let Some(ends) = &mut self.ends {
                ends.remove(&partition);
            }
        }
        Ok(())
    }
}
