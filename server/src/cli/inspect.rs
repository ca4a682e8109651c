//! `tidelog inspect`: what stands in the files of a data directory. It reads and changes nothing; a node may be running.

mod segment;
mod small;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tidelog_core::offset::Offset;

use super::{
    error::{CliError, Ended, Exit},
    json::Json,
    output::Stdout,
};

/// Flags of `tidelog inspect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Files: .log (batches, also of the metadata log), .index, .timeindex, .txnindex, .snapshot, the checkpoints,
meta.properties, partition.metadata, quorum-state. Of a folder every such file below it is shown.

With --json a segment is one object a line for each batch, any other file one object.

Examples:
  tidelog inspect tidelog-data/orders-0/00000000000000000000.log
  tidelog inspect tidelog-data/orders-0/00000000000000000000.log --records --json | jq .records
  tidelog inspect tidelog-data/__cluster_metadata-0 --records
  tidelog inspect tidelog-data")]
pub(super) struct InspectArgs {
    /// A file or a folder of a data directory
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Also the records of each batch
    #[arg(long)]
    records: bool,
    /// Print JSON for machines
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Folders within folders that are looked into: a data directory and its partitions.
const DEPTH_MAX: usize = 2;

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Segment,
    OffsetIndex(Offset),
    TimeIndex(Offset),
    TxnIndex,
    Snapshot,
    EpochCheckpoint,
    OffsetCheckpoint,
    PartitionMetadata,
    MetaProperties,
    QuorumState,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        if let Some((digits, extension)) = name.split_once('.')
            && digits.len() == 20
            && let Ok(base) = digits.parse::<u64>()
        {
            let base = Offset(i64::try_from(base).ok()?);
            // A segment that is being replaced or removed is one all the same.
            return match extension.split('.').next()? {
                "log" => Some(Self::Segment),
                "index" => Some(Self::OffsetIndex(base)),
                "timeindex" => Some(Self::TimeIndex(base)),
                "txnindex" => Some(Self::TxnIndex),
                "snapshot" => Some(Self::Snapshot),
                _ => None,
            };
        }
        match name {
            "leader-epoch-checkpoint" => Some(Self::EpochCheckpoint),
            "partition.metadata" => Some(Self::PartitionMetadata),
            "meta.properties" => Some(Self::MetaProperties),
            "quorum-state" => Some(Self::QuorumState),
            name if name.ends_with("-checkpoint") => Some(Self::OffsetCheckpoint),
            _ => None,
        }
    }
}

/// What is shown, and how.
struct Shower<'a> {
    stdout: Stdout,
    json: Json,
    args: &'a InspectArgs,
    /// The first file that is damaged; the others are shown all the same.
    damaged: Option<CliError>,
}

/// Does what the flags say.
pub(super) fn run(args: &InspectArgs) -> Result<(), Ended> {
    let path = &args.path;
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    let mut shower = Shower { stdout: Stdout::open()?, json: Json::new(), args, damaged: None };
    if metadata.is_dir() {
        let mut files = Vec::new();
        find(path, DEPTH_MAX, &mut files)?;
        if files.is_empty() {
            let error = CliError::new(Exit::NotFound, format!("{} has none of tidelog's files", path.display()));
            return Err(error.hint("a data directory has meta.properties and a folder for each partition").into());
        }
        for (file, kind) in files {
            if !args.json {
                let title = format!("{}:", file.display());
                shower.stdout.line(&title)?;
            }
            shower.show(&file, kind)?;
        }
    } else {
        let kind = Kind::of(path).ok_or_else(|| {
            let error = CliError::new(Exit::Data, format!("{} is none of tidelog's files", path.display()));
            error.hint("names tell what a file is: 00000000000000000000.log, .index, meta.properties ...")
        })?;
        shower.show(path, kind)?;
    }
    shower.stdout.flush()?;
    shower.damaged.map_or(Ok(()), |error| Err(error.into()))
}

impl Shower<'_> {
    fn show(&mut self, path: &Path, kind: Kind) -> Result<(), Ended> {
        let shown = match kind {
            Kind::Segment => segment::show(self, path),
            kind => small::show(self, path, kind),
        };
        match shown {
            Err(Ended::Error(error)) if error.exit == Exit::Data => {
                self.damaged.get_or_insert(error);
                Ok(self.stdout.flush()?)
            }
            shown => shown,
        }
    }
}

/// The known files in a folder and below, in order of their names.
fn find(folder: &Path, depth: usize, files: &mut Vec<(PathBuf, Kind)>) -> Result<(), CliError> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> =
        entries.map_err(|error| unreadable(folder, &error))?.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth > 1 {
                find(&path, depth - 1, files)?;
            }
        } else if let Some(kind) = Kind::of(&path) {
            files.push((path, kind));
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::NotFound => CliError::new(Exit::NotFound, format!("{} does not exist", path.display()))
            .hint("a data directory is where `tidelog serve --data` points to, ./tidelog-data by default"),
        kind => CliError::new(Exit::Failed, format!("cannot read {}: {kind}", path.display()))
            .hint("the user who runs `tidelog serve` may read it"),
    }
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Data, format!("{}: {reason}", path.display()))
        .hint("what was shown before is sound; a replica or a copy has the rest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_file_is() {
        let kind = |name: &str| Kind::of(&Path::new("/data/orders-0").join(name));
        assert_eq!(kind("00000000000000000042.log"), Some(Kind::Segment));
        assert_eq!(kind("00000000000000000042.log.swap"), Some(Kind::Segment));
        assert_eq!(kind("00000000000000000042.index"), Some(Kind::OffsetIndex(Offset(42))));
        assert_eq!(kind("recovery-point-offset-checkpoint"), Some(Kind::OffsetCheckpoint));
        assert_eq!(kind("leader-epoch-checkpoint"), Some(Kind::EpochCheckpoint));
        for other in ["42.log", "99999999999999999999.log", "00000000000000000042", "thesis.txt", ""] {
            assert_eq!(kind(other), None, "{other}");
        }
    }
}
