//! O1: offsets that are looked up by time are those of the right records.
//!
//! A lookup answers for the log as it was somewhere between question and answer, so it is compared with what was
//! committed when the question arrived.

use tidelog_core::{
    message::{ListedOffset, OffsetSpec},
    offset::Offset,
};

use super::{Violation, violation};
use crate::ledger::{Ledger, Note};

const CODE: &str = "O1";

/// Judges the answer to one lookup; `committed` is the high watermark at the time of the question.
pub(super) fn check(
    ledger: &Ledger,
    spec: OffsetSpec,
    committed: Offset,
    listed: &ListedOffset,
) -> Result<(), Violation> {
    if !listed.error.is_none() || ledger.compacted || ledger.rotten {
        return Ok(());
    }
    let notes = || ledger.held.values().flat_map(|held| &held.notes).filter(|note| note.offset >= ledger.log_start);
    let found = notes().find(|note| note.offset == listed.offset);
    let fault = |anomaly, other: &Note| {
        let why = format!("{spec:?} gave {}, but {other:?} was committed", listed.offset);
        Err(violation(CODE, anomaly, format!("{}@{}", ledger.id, other.offset), why))
    };
    match spec {
        OffsetSpec::At(time) => {
            let first = notes().find(|note| note.offset < committed && note.timestamp >= time);
            match (first, found) {
                // What was answered may have been removed since.
                (Some(first), None) if listed.offset == Offset::NONE => fault("lookup-missed", first),
                (Some(first), Some(found)) if found.offset > first.offset => fault("lookup-missed", first),
                (_, Some(found)) if found.timestamp < time => fault("lookup-too-early", found),
                _ => Ok(()),
            }
        }
        OffsetSpec::MaxTimestamp => {
            let greatest = notes().filter(|note| note.offset < committed).max_by_key(|note| note.timestamp);
            match (greatest, found) {
                (Some(greatest), Some(found)) if found.timestamp < greatest.timestamp => {
                    fault("lookup-missed", greatest)
                }
                (Some(greatest), None) if listed.offset == Offset::NONE => fault("lookup-missed", greatest),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        epoch::LeaderEpoch,
        ids::PartitionId,
        message::{ErrorCode, TopicRef},
        time::Timestamp,
    };

    use super::*;
    use crate::check::samples::{batch, book};

    #[test]
    fn the_first_record_of_that_time_is_found() {
        // The samples' timestamps are 1000 and the offset.
        let ledger = book(&[batch(0, None, &[(1, Some(0)), (1, Some(1))]), batch(2, None, &[(1, Some(2))])]);
        let answer = |spec, offset| {
            let listed = ListedOffset {
                topic: TopicRef::Id(ledger.id.topic),
                partition: PartitionId(0),
                error: ErrorCode::None,
                offset: Offset(offset),
                timestamp: Timestamp(0),
                leader_epoch: LeaderEpoch::FIRST,
            };
            check(&ledger, spec, Offset(3), &listed).err().map(|violation| violation.anomaly)
        };
        let at = |ms| OffsetSpec::At(Timestamp(ms));
        assert_eq!(answer(at(1_001), 1), None);
        assert_eq!(answer(at(1_001), 2), Some("lookup-missed"));
        assert_eq!(answer(at(1_001), -1), Some("lookup-missed"));
        assert_eq!(answer(at(1_001), 0), Some("lookup-too-early"));
        assert_eq!(answer(at(1_003), -1), None);
        assert_eq!(answer(OffsetSpec::MaxTimestamp, 2), None);
        assert_eq!(answer(OffsetSpec::MaxTimestamp, 1), Some("lookup-missed"));
    }
}
