//! `bench disk`: a bare loop that appends and syncs, to hold the server against.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tokio::time::Instant;

use super::{CliError, DiskArgs, Exit, histogram::Histogram, noise, pace::Pace, report::Report};

pub(super) async fn run(args: &DiskArgs) -> Result<Report, CliError> {
    let scratch = Scratch::create(&args.dir).map_err(|error| {
        CliError::new(Exit::Failed, format!("cannot write in {}: {error}", args.dir.display()))
            .hint("--dir names a folder on the disk to measure")
    })?;
    let mut report = Report::new("disk");
    let measured = match args.rate {
        None => throughput(args, &scratch.file, &mut report),
        Some(rate) => latency(args, rate, &scratch.file, &mut report).await,
    };
    measured.map_err(|error| CliError::new(Exit::Failed, format!("the disk failed: {error}")))?;
    Ok(report)
}

fn throughput(args: &DiskArgs, mut file: &File, report: &mut Report) -> io::Result<()> {
    let bytes = noise(args.write_size.bytes());
    let writes = args.bytes.0.div_ceil(args.write_size.0);
    let mut syncs = Histogram::new();
    let begun = Instant::now();
    for n in 1..=writes {
        file.write_all(&bytes)?;
        if n % args.sync_every == 0 || n == writes {
            let before = Instant::now();
            file.sync_data()?;
            syncs.record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    let elapsed = begun.elapsed();
    report.text("directory", &args.dir.display().to_string());
    report.number("write_bytes", args.write_size.0);
    report.number("sync_every", args.sync_every);
    report.throughput(writes, writes * args.write_size.0, elapsed);
    report.latencies(&syncs);
    Ok(())
}

async fn latency(args: &DiskArgs, rate: u64, mut file: &File, report: &mut Report) -> io::Result<()> {
    let bytes = noise(args.write_size.bytes());
    let mut times = Histogram::new();
    let mut pace = Pace::start(rate)?;
    let begun = Instant::now();
    let mut writes = 0;
    while begun.elapsed() < args.duration.0 {
        let due = pace.next().await?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        times.record(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        writes += 1;
    }
    let elapsed = begun.elapsed();
    report.text("directory", &args.dir.display().to_string());
    report.number("write_bytes", args.write_size.0);
    report.number("rate", rate);
    report.throughput(writes, writes * args.write_size.0, elapsed);
    report.latencies(&times);
    Ok(())
}

/// A file that is gone when the measurement is.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!("tidelog-bench-disk-{}", std::process::id()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing better can be done about a file that does not go.
        let _ = fs::remove_file(&self.path);
    }
}
