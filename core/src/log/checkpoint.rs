//! Small files that are replaced as a whole, and Kafka's text checkpoints among them.
//!
//! ```text
//! 0                     version
//! 2                     lines that follow
//! orders 0 4711         topic partition offset
//! orders 1 12
//! ```
//!
//! A replacement is written beside the file, synced, renamed over it, and the folder synced: after a power loss
//! there is the old content or the new, never a mixture and never nothing.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use bytes::Bytes;

use super::{Disk, DiskError, OpenMode, names};
use crate::{mutant, offset::Offset};

/// The largest such file that is read: a hundred thousand partitions with long names fit.
const FILE_BYTES_MAX: usize = 64 << 20;

/// Replaces `file` in `dir` (`""` is the data directory) durably and at once.
pub(crate) fn replace<D: Disk>(disk: &D, dir: &str, file: &str, content: &[u8]) -> Result<(), DiskError> {
    let path = if dir.is_empty() { file.to_string() } else { names::inside(dir, file) };
    let tmp = format!("{path}{}", names::TMP);
    let handle = create(disk, &tmp)?;
    disk.write_at(&handle, 0, &[content])?;
    disk.sync(&handle).map_err(fatal)?;
    disk.rename(&tmp, &path)?;
    if mutant!(X83) { Ok(()) } else { disk.sync_dir(dir).map_err(fatal) }
}

/// An empty file of this name. One that is there is removed and not written over: power loss in the middle of a rename can
/// leave both names, and then it is the file that this one is to replace.
pub(crate) fn create<D: Disk>(disk: &D, path: &str) -> Result<D::File, DiskError> {
    match disk.open(path, OpenMode::CreateNew) {
        Err(DiskError::AlreadyExists { .. }) => {
            disk.remove(path)?;
            disk.open(path, OpenMode::CreateNew)
        }
        other => other,
    }
}

/// Reads a whole small file; `None` when there is none.
pub(crate) fn read<D: Disk>(disk: &D, path: &str) -> Result<Option<Bytes>, DiskError> {
    match disk.open(path, OpenMode::Existing) {
        Ok(file) => disk.read_at(&file, 0, FILE_BYTES_MAX).map(Some),
        Err(DiskError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A failed sync is never passing: what it should have made durable may be gone (fsyncgate).
pub(crate) fn fatal(error: DiskError) -> DiskError {
    match error {
        DiskError::Full => DiskError::Io { operation: "sync", reason: "no space left on the device".to_string() },
        other => other,
    }
}

/// A text checkpoint of these lines.
pub(crate) fn lines(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The lines of a text checkpoint, after its version and count were found right.
pub(crate) fn parse_lines(text: &[u8]) -> Result<Vec<&str>, &'static str> {
    let text = core::str::from_utf8(text).map_err(|_| "not text")?;
    let mut lines = text.lines();
    if lines.next().ok_or("empty")? != "0" {
        return Err("the version is not 0");
    }
    let count: usize = lines.next().ok_or("no count")?.parse().map_err(|_| "the count is not a number")?;
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if lines.len() == count { Ok(lines) } else { Err("the count is not that of the lines") }
}

/// One offset per partition folder: recovery points, log starts, high watermarks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCheckpoint(
    /// By folder: `orders-0`.
    pub BTreeMap<String, Offset>,
);

impl OffsetCheckpoint {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let split = |dir: &String| names::parse_partition(dir).map(|(t, p)| (t.to_string(), p));
        let rows: Vec<_> = self.0.iter().filter_map(|(dir, offset)| split(dir).map(|(t, p)| (t, p, *offset))).collect();
        lines(rows.into_iter().map(|(topic, partition, offset)| format!("{topic} {partition} {offset}")))
    }

    /// Reads the file's text; the reason when it is not such a file.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let mut offsets = BTreeMap::new();
        for line in parse_lines(text)? {
            let mut fields = line.split(' ');
            let (Some(topic), Some(partition), Some(offset), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err("a line is not `topic partition offset`");
            };
            let partition: i32 = partition.parse().map_err(|_| "a partition is not a number")?;
            let offset: i64 = offset.parse().map_err(|_| "an offset is not a number")?;
            if partition < 0 || offset < 0 {
                return Err("a number is negative");
            }
            offsets.insert(format!("{topic}-{partition}"), Offset(offset));
        }
        Ok(Self(offsets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_and_hostile_text_is_refused() {
        let c = OffsetCheckpoint([("a-b-0".to_string(), Offset(7)), ("c-12".to_string(), Offset(0))].into());
        assert_eq!(c.to_text(), "0\n2\na-b 0 7\nc 12 0\n");
        assert_eq!(OffsetCheckpoint::parse(c.to_text().as_bytes()), Ok(c));
        for bad in ["", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 x\n", "0\n1\na -1 0\n", "0\n1\na 0 0 0\n", "7\n0\n"] {
            assert!(OffsetCheckpoint::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
