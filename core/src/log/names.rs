//! Names of the files in a data directory: Kafka's, to the letter.

use alloc::{format, string::String};

use crate::{epoch::LeaderEpoch, ids::TopicId, message::SnapshotId, offset::Offset};

pub(crate) const META_PROPERTIES: &str = "meta.properties";
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
pub(crate) const CLEANER_POINTS: &str = "cleaner-offset-checkpoint";
pub(crate) const EPOCHS: &str = "leader-epoch-checkpoint";
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
pub(crate) const QUORUM_STATE: &str = "quorum-state";
pub(crate) const METADATA_DIR: &str = "__cluster_metadata-0";

pub(crate) const LOG: &str = "log";
pub(crate) const INDEX: &str = "index";
pub(crate) const TIME_INDEX: &str = "timeindex";
pub(crate) const TXN_INDEX: &str = "txnindex";
pub(crate) const SNAPSHOT: &str = "snapshot";

/// What a file waiting for its removal is called.
pub(crate) const DELETED: &str = ".deleted";
/// What a segment in the making is called; worth nothing after a crash.
pub(crate) const CLEANED: &str = ".cleaned";
/// What a complete segment is called whose place others still take.
pub(crate) const SWAP: &str = ".swap";
/// Half-written replacement of a file; worth nothing after a crash.
pub(crate) const TMP: &str = ".tmp";
/// A folder waiting for its removal.
pub(crate) const DELETE_DIR: &str = "-delete";
/// A folder that belongs to a topic nobody knows any more.
pub(crate) const STRAY_DIR: &str = "-stray";

/// `orders-0/00000000000000000042.log`
pub(crate) fn segment(dir: &str, base: Offset, extension: &str) -> String {
    format!("{dir}/{:020}.{extension}", base.0)
}

/// `orders-0/partition.metadata`
pub(crate) fn inside(dir: &str, file: &str) -> String {
    format!("{dir}/{file}")
}

/// Base offset and the rest of the name: `00000000000000000042.log.deleted` is (42, `log.deleted`).
pub(crate) fn parse_segment(name: &str) -> Option<(Offset, &str)> {
    let (digits, rest) = name.split_at_checked(20)?;
    let base = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    Some((Offset(base), rest.strip_prefix('.')?))
}

/// Ending of a snapshot of the metadata; with this behind it, of one in the making, which is worth nothing after a crash.
const CHECKPOINT: &str = ".checkpoint";
pub(crate) const PART: &str = ".part";

/// `00000000000000000042-0000000003.checkpoint` (KIP-630)
pub(crate) fn metadata_snapshot(id: SnapshotId) -> String {
    format!("{METADATA_DIR}/{:020}-{:010}{CHECKPOINT}", id.end.0, id.epoch.0)
}

/// Which snapshot of the metadata a file is.
pub(crate) fn parse_metadata_snapshot(name: &str) -> Option<SnapshotId> {
    let (end, epoch) = name.strip_suffix(CHECKPOINT)?.split_once('-')?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(end, 20) || !digits(epoch, 10) {
        return None;
    }
    Some(SnapshotId { end: Offset(end.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
}

/// Topic and partition of a partition's folder; `None` for folders on their way out and for anything else.
pub(crate) fn parse_partition(dir: &str) -> Option<(&str, i32)> {
    if dir.ends_with(DELETE_DIR) || dir.ends_with(STRAY_DIR) {
        return None;
    }
    let (topic, partition) = dir.rsplit_once('-')?;
    let plain = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
    (plain && !topic.is_empty()).then(|| partition.parse().ok()).flatten().map(|partition| (topic, partition))
}

/// `orders-0.0123456789abcdef0123456789abcdef-delete`
pub(crate) fn doomed_dir(dir: &str, topic: TopicId, suffix: &str) -> String {
    use core::fmt::Write;
    let mut name = format!("{dir}.");
    for byte in topic.0 {
        write!(name, "{byte:02x}").expect("writing to a String cannot fail");
    }
    name.push_str(suffix);
    name
}

/// Whose name a folder had before it was set aside for removal.
pub(crate) fn parse_doomed(name: &str) -> Option<&str> {
    Some(name.strip_suffix(DELETE_DIR)?.rsplit_once('.')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(segment("orders-0", Offset(42), LOG), "orders-0/00000000000000000042.log");
        assert_eq!(parse_segment("00000000000000000042.log.deleted"), Some((Offset(42), "log.deleted")));
        assert_eq!(parse_segment("leader-epoch-checkpoint"), None);
        assert_eq!(parse_segment("99999999999999999999.log"), None, "past 63 bits");
        let snapshot = SnapshotId { end: Offset(42), epoch: LeaderEpoch(3) };
        let name = "00000000000000000042-0000000003.checkpoint";
        assert_eq!(metadata_snapshot(snapshot), inside(METADATA_DIR, name));
        assert_eq!(parse_metadata_snapshot(name), Some(snapshot));
        assert_eq!(parse_metadata_snapshot("00000000000000000042-0000000003.checkpoint.part"), None);
        assert_eq!(parse_metadata_snapshot("00000000000000000042-9999999999.checkpoint"), None, "past 31 bits");
        assert_eq!(parse_metadata_snapshot("leader-epoch-checkpoint"), None);
        assert_eq!(parse_partition("a-b-7"), Some(("a-b", 7)));
        assert_eq!(parse_partition("orders"), None);
        assert_eq!(parse_partition("orders-+1"), None);
        let doomed = doomed_dir("orders-0", TopicId([0xab; 16]), DELETE_DIR);
        assert_eq!(doomed, "orders-0.abababababababababababababababab-delete");
        assert_eq!(parse_partition(&doomed), None);
        assert_eq!(parse_doomed(&doomed), Some("orders-0"));
        assert_eq!(parse_doomed("orders-0"), None);
    }
}
