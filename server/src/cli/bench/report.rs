//! What a measurement says: its set-up and its numbers, in the order in which they were put in.

use std::{fs, time::Duration};

use super::histogram::Histogram;
use crate::cli::{error::Ended, json::Json, output::Stdout};

/// Named values.
#[derive(Debug)]
pub(super) struct Report {
    values: Vec<(&'static str, Value)>,
    cpu_before: Option<u64>,
}

#[derive(Debug)]
enum Value {
    Text(String),
    Number(u64),
}

impl Report {
    pub(super) fn new(what: &str) -> Self {
        let mut report = Self { values: Vec::new(), cpu_before: cpu_ticks() };
        report.text("bench", what);
        report.text("version", env!("CARGO_PKG_VERSION"));
        report.number("cores", std::thread::available_parallelism().map_or(0, |n| n.get() as u64));
        report
    }

    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.values.push((name, Value::Text(text.to_owned())));
    }

    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.values.push((name, Value::Number(number)));
    }

    /// How much in which time; the processor time is that of this process since the report was begun.
    pub(super) fn throughput(&mut self, records: u64, bytes: u64, time: Duration) {
        let nanos = time.as_nanos().max(1);
        let per_second = |n: u64| u64::try_from(u128::from(n) * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
        self.number("records", records);
        self.number("bytes", bytes);
        self.number("elapsed_us", u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.number("records_per_second", per_second(records));
        self.number("bytes_per_second", per_second(bytes));
        if let (Some(before), Some(after)) = (self.cpu_before, cpu_ticks()) {
            self.number("client_cpu_ms", (after - before) * MILLIS_PER_TICK);
        }
    }

    pub(super) fn latencies(&mut self, times: &Histogram) {
        self.number("samples", times.total());
        self.number("p50_us", times.percentile(50_000) / 1000);
        self.number("p90_us", times.percentile(90_000) / 1000);
        self.number("p99_us", times.percentile(99_000) / 1000);
        self.number("p99_9_us", times.percentile(99_900) / 1000);
        self.number("max_us", times.max() / 1000);
    }

    pub(super) fn print(&self, json: bool) -> Result<(), Ended> {
        let mut out = Stdout::open()?;
        if json {
            let mut json = Json::new();
            json.object(|json| {
                for (name, value) in &self.values {
                    match value {
                        Value::Text(text) => json.key(name).text(text),
                        Value::Number(number) => json.key(name).number(*number),
                    };
                }
            });
            out.line(json.as_str())?;
            return Ok(());
        }
        let width = self.values.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.values {
            let value = match value {
                Value::Text(text) => text.clone(),
                Value::Number(number) => number.to_string(),
            };
            out.line(&format!("{name:width$}  {value}"))?;
        }
        Ok(())
    }
}

/// Linux counts processor time in hundredths of a second.
const MILLIS_PER_TICK: u64 = 10;

/// User and system time of this process.
fn cpu_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything; the fields behind it are numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
