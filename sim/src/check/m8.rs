//! M8: nothing of the metadata log goes but what a sound, durable snapshot stands for.
//!
//! A snapshot ends where a committed batch does, is named for that batch's epoch, and holds what all records up to there fold
//! into. Where the log starts above 0 there is a snapshot that ends there or later.

use tidelog_core::{
    cluster::{Image, SnapshotReader},
    ids::NodeId,
    message::SnapshotId,
    offset::Offset,
    record::Voter,
};

use super::{Violation, violation};
use crate::{
    canon::{Canon, Shelf},
    digest,
    ledger::Ledger,
};

const CODE: &str = "M8";

fn subject(node: NodeId, id: SnapshotId) -> String {
    format!("node {node}, snapshot {}-{}", id.end, id.epoch)
}

/// A node begins to write a snapshot: of what is committed, up to the end of a batch. What is committed below `mark`, the node's own
/// high watermark, others may not know yet.
pub fn begun(canon: &Canon, node: NodeId, ledger: &Ledger, id: SnapshotId, mark: Offset) -> Result<(), Violation> {
    let end = canon.end(ledger.id).max(mark);
    if id.end > end {
        let why = format!("only what is below {end} is committed");
        return Err(violation(CODE, "uncommitted-snapshot", subject(node, id), why));
    }
    let shared = canon.committed.get(&ledger.id).and_then(|it| it.batches.range(..id.end).next_back());
    let shared = shared.map(|(_, print)| (print.next, print.epoch));
    let own = ledger.held.range(..id.end).next_back();
    let own = own.map(|(_, held)| (held.header.next_offset(), held.header.leader_epoch));
    if ![own, shared].contains(&Some((id.end, id.epoch))) {
        let why = format!("the batch before ends at and is of {own:?} here, {shared:?} elsewhere");
        return Err(violation(CODE, "not-on-a-batch", subject(node, id), why));
    }
    Ok(())
}

/// A snapshot is there, with these bytes; `folded` is the digest of what all records before have folded into, where that is known.
pub fn whole(node: NodeId, id: SnapshotId, bytes: &[u8], folded: Option<u64>) -> Result<(), Violation> {
    match read(id, bytes) {
        Err(reason) => Err(violation(CODE, "unsound-snapshot", subject(node, id), reason)),
        Ok((image, _)) if folded.is_some_and(|folded| folded != digest::image(&image)) => {
            let why = "it holds something else than the records before it have folded into".to_owned();
            Err(violation(CODE, "other-content", subject(node, id), why))
        }
        Ok(_) => Ok(()),
    }
}

fn read(id: SnapshotId, bytes: &[u8]) -> Result<(Image, Option<Vec<Voter>>), String> {
    let mut reader = SnapshotReader::new(id);
    reader.take(bytes.to_vec().into())?;
    reader.finish()
}

/// The metadata log of a node starts here, or is about to.
pub fn starts(shelf: &Shelf, node: NodeId, at: Offset) -> Result<(), Violation> {
    if at > Offset::ZERO && !shelf.kept.iter().any(|id| id.end >= at) {
        let why = format!("the log starts at {at}; there are {:?}", shelf.kept);
        return Err(violation(CODE, "start-without-snapshot", node, why));
    }
    Ok(())
}

/// The metadata log of a node goes on behind a snapshot.
pub fn starts_over(shelf: &Shelf, node: NodeId, at: Offset) -> Result<(), Violation> {
    if !shelf.kept.iter().any(|id| id.end == at) {
        let why = format!("the log goes on at {at}; there are {:?}", shelf.kept);
        return Err(violation(CODE, "start-without-snapshot", node, why));
    }
    Ok(())
}

/// A directory was opened with these snapshots: those that were durable are among them.
pub fn found(shelf: &Shelf, node: NodeId, found: &[SnapshotId]) -> Result<(), Violation> {
    match shelf.kept.iter().find(|id| !found.contains(id)) {
        None => Ok(()),
        Some(id) => {
            let why = format!("it was durable; there are {found:?}");
            Err(violation(CODE, "snapshot-lost", subject(node, *id), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::{cluster::write_snapshot, epoch::LeaderEpoch, time::Timestamp};

    use super::*;
    use crate::check::{
        samples::{batch, book},
        shared_log::marked,
    };

    const NODE: NodeId = NodeId(1);

    fn id(end: i64, epoch: i32) -> SnapshotId {
        SnapshotId { end: Offset(end), epoch: LeaderEpoch(epoch) }
    }

    fn anomaly(result: Result<(), Violation>) -> Option<&'static str> {
        result.err().map(|violation| violation.anomaly)
    }

    #[test]
    fn a_snapshot_ends_with_a_committed_batch_of_its_epoch() {
        let mut canon = Canon::default();
        let log = book(&[batch(0, None, &[(1, Some(0)), (2, Some(1))]), batch(2, None, &[(1, Some(2))])]);
        marked(&mut canon, NODE, &log, Offset(2), LeaderEpoch::FIRST).expect("it is the first");
        let begin = |log: &Ledger, id, mark| anomaly(begun(&canon, NODE, log, id, Offset(mark)));
        assert_eq!(begin(&log, id(2, 0), 0), None);
        assert_eq!(begin(&log, id(1, 0), 0), Some("not-on-a-batch"));
        assert_eq!(begin(&log, id(2, 1), 0), Some("not-on-a-batch"));
        assert_eq!(begin(&log, id(3, 0), 2), Some("uncommitted-snapshot"));
        assert_eq!(begin(&log, id(3, 0), 3), None);
        assert_eq!(begin(&book(&[]), id(2, 0), 0), None, "one that is fetched");
        assert_eq!(begin(&book(&[]), id(1, 0), 0), Some("not-on-a-batch"));
    }

    #[test]
    fn a_snapshot_holds_what_came_before() {
        let (image, id) = (Image::default(), id(2, 0));
        let bytes = write_snapshot(&image, None, id, Timestamp(1)).concat();
        assert_eq!(anomaly(whole(NODE, id, &bytes, Some(digest::image(&image)))), None);
        assert_eq!(anomaly(whole(NODE, id, &bytes, None)), None);
        assert_eq!(anomaly(whole(NODE, id, &bytes, Some(1))), Some("other-content"));
        assert_eq!(anomaly(whole(NODE, id, &bytes[1..], None)), Some("unsound-snapshot"));
    }

    #[test]
    fn a_log_starts_where_a_snapshot_has_what_is_gone() {
        let shelf = Shelf { kept: [id(4, 0), id(9, 1)].into(), ..Shelf::default() };
        assert_eq!(anomaly(starts(&shelf, NODE, Offset(9))), None);
        assert_eq!(anomaly(starts(&shelf, NODE, Offset(10))), Some("start-without-snapshot"));
        assert_eq!(anomaly(starts(&Shelf::default(), NODE, Offset(0))), None);
        assert_eq!(anomaly(starts_over(&shelf, NODE, Offset(9))), None);
        assert_eq!(anomaly(starts_over(&shelf, NODE, Offset(8))), Some("start-without-snapshot"));
        assert_eq!(anomaly(found(&shelf, NODE, &[id(9, 1), id(4, 0)])), None);
        assert_eq!(anomaly(found(&shelf, NODE, &[id(9, 1)])), Some("snapshot-lost"));
    }
}
