//! R12: what is read is what was written, byte for byte, or it is reported corrupt; nothing else is ever served.
//!
//! Batches that a cleaning rewrote have other bytes; their records are compared one by one.

use super::{Seen, Violation, violation};
use crate::ledger::{Held, Ledger};

const CODE: &str = "R12";

pub(super) fn watch(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    let (batches, resurface) = match seen {
        Seen::Served { batches, garbage, .. } => {
            if *garbage {
                let why = "a reader was served bytes that are no batch".to_owned();
                return Err(violation(CODE, "garbage-served", ledger.id, why));
            }
            (*batches, false)
        }
        Seen::Opened { held, .. } => (*held, true),
        _ => return Ok(()),
    };
    // Where something has rotted the observer may not have got as far as what resurfaced behind it.
    let resurface = resurface || ledger.rotten;
    for batch in batches {
        let header = batch.header();
        let same = |held: &Held| {
            held.header.base_offset == header.base_offset
                && held.header.crc == header.crc
                && held.header.leader_epoch == header.leader_epoch
        };
        if ledger.held.get(&header.base_offset).is_some_and(same) || resurface && ledger.given_up.iter().any(same) {
            continue;
        }
        if ledger.compacted {
            records_as_written(ledger, &Held::of(batch), resurface)?;
            continue;
        }
        let why = match ledger.batch_at(header.base_offset) {
            Some(held) => format!("crc {:08x} where {:08x} was written", header.crc, held.header.crc),
            None => "nobody wrote anything there".to_owned(),
        };
        return Err(violation(CODE, "other-bytes", format!("{}@{}", ledger.id, header.base_offset), why));
    }
    Ok(())
}

fn records_as_written(ledger: &Ledger, found: &Held, resurface: bool) -> Result<(), Violation> {
    for note in &found.notes {
        let written = |held: &Held| held.notes.iter().any(|written| written == note);
        let there =
            ledger.batch_at(note.offset).is_some_and(written) || resurface && ledger.given_up.iter().any(written);
        if !there {
            let why = format!("{note:?} was never written there");
            return Err(violation(CODE, "other-record", format!("{}@{}", ledger.id, note.offset), why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        ids::PartitionId,
        message::{ErrorCode, FetchedPartition, Records, TopicRef},
        offset::Offset,
        record::Batch,
    };

    use super::*;
    use crate::check::samples::{batch, book};

    fn served(ledger: &Ledger, batches: &[Batch], garbage: bool) -> Option<&'static str> {
        let answer = FetchedPartition {
            topic: TopicRef::Id(ledger.id.topic),
            partition: PartitionId(0),
            error: ErrorCode::None,
            high_watermark: Offset(9),
            last_stable_offset: Offset(9),
            log_start: Offset(0),
            diverging: None,
            aborted: None,
            preferred_read_replica: None,
            records: Records::Empty,
        };
        let seen = Seen::Served { answer: &answer, batches, garbage };
        watch(ledger, &seen).err().map(|violation| violation.anomaly)
    }

    #[test]
    fn readers_get_what_was_written_or_nothing() {
        let written = batch(0, None, &[(1, Some(0)), (2, Some(1))]);
        let mut ledger = book(std::slice::from_ref(&written));
        assert_eq!(served(&ledger, &[written], false), None);
        assert_eq!(served(&ledger, &[], true), Some("garbage-served"));
        let other = batch(0, None, &[(1, Some(0)), (2, Some(7))]);
        assert_eq!(served(&ledger, std::slice::from_ref(&other), false), Some("other-bytes"));
        assert_eq!(served(&ledger, &[batch(5, None, &[(1, Some(0))])], false), Some("other-bytes"));
        ledger.compacted = true;
        assert_eq!(served(&ledger, &[other], false), Some("other-record"));
        let mut cleaned = ledger.held[&Offset(0)].clone();
        cleaned.notes.remove(0);
        assert_eq!(records_as_written(&ledger, &cleaned, false), Ok(()));
    }
}
