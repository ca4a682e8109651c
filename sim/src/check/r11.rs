//! R11: offsets strictly increase, none is assigned twice, and recovery yields a prefix of what was written.
//!
//! The prefix is at least what was promised. After a kill, with the page cache alive, it is at least what was reported.

use tidelog_core::{
    log::{Job, JobOutcome, LogError, LogState},
    offset::Offset,
};

use super::{Seen, Violation, violation};
use crate::ledger::{Ending, Held, Ledger, Open};

const CODE: &str = "R11";

pub(super) fn watch(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    match seen {
        Seen::Ordered { order: Job::Append { batches, .. }, .. } => {
            let mut end = ledger.end;
            for batch in batches {
                let base = batch.header().base_offset;
                // A copy whose leader's log begins inside a batch begins there as well.
                let begins_inside = ledger.log_start == end && base < end && end < batch.header().next_offset();
                if base != end && !begins_inside {
                    let anomaly = if base < end { "offset-assigned-twice" } else { "offset-gap" };
                    let why = format!("a batch was ordered at {base} where the log ends at {end}");
                    return Err(violation(CODE, anomaly, format!("{}@{base}", ledger.id), why));
                }
                end = batch.header().next_offset();
            }
        }
        Seen::Ended { job, outcome: Ok(JobOutcome::Appended { end, .. }) } => {
            if let Some(Open::Append { end: due, .. }) = ledger.open.get(job)
                && end != due
            {
                let why = format!("an append that was to end at {due} ended at {end}");
                return Err(violation(CODE, "wrong-end", ledger.id, why));
            }
        }
        // Nothing has damaged it but the log itself: bytes are gone, or in the wrong place, that it had made durable.
        Seen::Ended { outcome: Err(LogError::Corrupt { file, reason, .. }), .. } if !ledger.rotten => {
            let why = format!("{file} is reported corrupt ({reason}), and nothing has damaged it");
            return Err(violation(CODE, "damaged-by-itself", ledger.id, why));
        }
        Seen::Opened { state, held, unreadable } => {
            let least = match ledger.ending {
                Some(Ending::PowerLost) | None => ledger.promised,
                Some(Ending::Killed | Ending::Stopped) => ledger.answered,
            };
            let least = least.max(ledger.promised);
            if state.log_end < least && !is_reported(ledger, state, least) {
                let why = format!("recovered up to {}, but everything below {least} was promised", state.log_end);
                return Err(violation(CODE, "promised-data-lost", format!("{}@{}", ledger.id, state.log_end), why));
            }
            let mut next = state.log_start;
            for batch in *held {
                let header = batch.header();
                if header.next_offset() <= state.log_start {
                    continue;
                }
                if header.base_offset > next && !ledger.compacted && !ledger.rotten {
                    let why = format!("the log has nothing between {next} and {}", header.base_offset);
                    return Err(violation(CODE, "offset-gap", format!("{}@{next}", ledger.id), why));
                }
                if header.base_offset < next && next != state.log_start {
                    let why = format!("a batch begins at {} though the one before ends at {next}", header.base_offset);
                    return Err(violation(CODE, "offset-assigned-twice", format!("{}@{next}", ledger.id), why));
                }
                next = header.next_offset();
            }
            let whole = unreadable.is_none() && !ledger.compacted;
            if whole && next != state.log_end && !(held.is_empty() && state.log_start == state.log_end) {
                let why = format!("the log claims to end at {}, its batches end at {next}", state.log_end);
                return Err(violation(CODE, "wrong-end", ledger.id, why));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Of the only copy, what has rotted may be lost, but never in silence (simulation.md §1.4): recovery says how many bytes
/// it cut off, and keeps beside the log all of them but those that are damaged.
fn is_reported(ledger: &Ledger, state: &LogState, least: Offset) -> bool {
    let size = |held: &Held| held.header.size().unwrap_or(0) as u64;
    let lost = || ledger.held.range(state.log_end..least).map(|(_, held)| size(held));
    let bytes: u64 = lost().sum();
    // A page at most is hurt at a time, and the batches that reach into it.
    let hurt = ledger.rots * (crate::disk::PAGE as u64 + 2 * lost().max().unwrap_or(0));
    let report = &state.recovery;
    ledger.rotten
        && bytes <= report.truncated_bytes.max(report.kept_bytes) + ledger.vanished
        && bytes <= report.kept_bytes + ledger.vanished + hurt
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        ids::JobId,
        log::{ProducerTable, RecoveryReport},
        record::Batch,
    };

    use super::*;
    use crate::check::samples::{append, batch, book};

    fn state(start: i64, end: i64) -> LogState {
        LogState {
            log_start: Offset(start),
            log_end: Offset(end),
            size: 0,
            high_watermark: Offset(start),
            epochs: Vec::new(),
            producers: ProducerTable::new(),
            recovery: RecoveryReport::default(),
        }
    }

    fn opened(ledger: &Ledger, state: &LogState, held: &[Batch]) -> Option<&'static str> {
        watch(ledger, &Seen::Opened { state, held, unreadable: None }).err().map(|violation| violation.anomaly)
    }

    #[test]
    fn an_append_goes_where_the_log_ends() {
        let ledger = book(&[batch(0, None, &[(1, Some(0)), (1, Some(1))])]);
        let order = |base| {
            let order = append(batch(base, None, &[(1, Some(2))]));
            watch(&ledger, &Seen::Ordered { job: JobId(9), order: &order }).err().map(|violation| violation.anomaly)
        };
        assert_eq!(order(2), None);
        assert_eq!(order(1), Some("offset-assigned-twice"));
        assert_eq!(order(3), Some("offset-gap"));
    }

    #[test]
    fn recovery_keeps_what_was_promised_and_leaves_no_hole() {
        let batches =
            [batch(0, None, &[(1, Some(0))]), batch(1, None, &[(1, Some(1))]), batch(2, None, &[(1, Some(2))])];
        let mut ledger = book(&batches);
        assert_eq!(opened(&ledger, &state(0, 3), &batches), None);
        assert_eq!(opened(&ledger, &state(0, 2), &batches[..2]), Some("promised-data-lost"));
        assert_eq!(opened(&ledger, &state(0, 3), &[batches[0].clone(), batches[2].clone()]), Some("offset-gap"));
        assert_eq!(opened(&ledger, &state(0, 3), &batches[..2]), Some("wrong-end"));
        ledger.promised = Offset(2);
        ledger.ending = Some(Ending::PowerLost);
        assert_eq!(opened(&ledger, &state(0, 2), &batches[..2]), None);
        ledger.ending = Some(Ending::Killed);
        assert_eq!(opened(&ledger, &state(0, 2), &batches[..2]), Some("promised-data-lost"));
    }

    #[test]
    fn a_cut_takes_back_what_an_append_before_it_promises() {
        let batches = [batch(0, None, &[(1, Some(0))]), batch(1, None, &[(1, Some(1))])];
        let mut ledger = book(&batches[..1]);
        let (write, cut) = (JobId(8), JobId(9));
        ledger.ordered(write, &append(batches[1].clone()));
        ledger.ordered(cut, &Job::Truncate { to: Offset(1) });
        ledger.ended(write, &Ok(JobOutcome::Appended { end: Offset(2), size: 1 }));
        assert_eq!((ledger.promised, ledger.answered), (Offset(1), Offset(1)));
        assert_eq!(opened(&ledger, &state(0, 1), &batches[..1]), None);
    }

    #[test]
    fn a_cut_goes_no_further_than_the_log_start() {
        let mut ledger = book(&[batch(0, None, &[(1, Some(0)), (1, Some(1)), (1, Some(2))])]);
        ledger.log_start = Offset(1);
        ledger.ordered(JobId(9), &Job::Truncate { to: Offset(1) });
        assert_eq!(ledger.end, Offset(1), "it begins inside the batch that goes");
    }

    #[test]
    fn a_log_that_is_cut_below_its_start_goes_on_there() {
        let mut ledger = book(&[batch(0, None, &[(1, Some(0)), (1, Some(1)), (1, Some(2)), (1, Some(3))])]);
        ledger.log_start = Offset(3);
        ledger.ordered(JobId(9), &Job::Truncate { to: Offset(2) });
        assert_eq!(ledger.end, Offset(2));
        let order = append(batch(2, None, &[(1, Some(4))]));
        assert_eq!(watch(&ledger, &Seen::Ordered { job: JobId(10), order: &order }), Ok(()));
    }

    #[test]
    fn what_has_rotted_may_be_lost_but_not_in_silence() {
        let batches: Vec<Batch> = (0..200).map(|base| batch(base, None, &[(1, Some(base as u64))])).collect();
        let mut ledger = book(&batches);
        let bytes = ledger.bytes_from(Offset(1));
        let lost = |ledger: &Ledger, truncated, kept| {
            let mut state = state(0, 1);
            (state.recovery.truncated_bytes, state.recovery.kept_bytes) = (truncated, kept);
            opened(ledger, &state, &batches[..1])
        };
        assert_eq!(lost(&ledger, bytes, bytes), Some("promised-data-lost"), "nothing has rotted");
        (ledger.rotten, ledger.rots) = (true, 1);
        assert_eq!(lost(&ledger, bytes, bytes), None);
        assert_eq!(lost(&ledger, bytes - 1, bytes - 1), Some("promised-data-lost"), "not all of it was reported");
        assert_eq!(lost(&ledger, bytes, 0), Some("promised-data-lost"), "what was whole was thrown away");
    }

    #[test]
    fn a_log_that_nothing_has_damaged_is_not_corrupt() {
        let mut ledger = book(&[batch(0, None, &[(1, Some(0))])]);
        let error = LogError::Corrupt { file: "a".to_owned(), position: 0, reason: "it is gone".to_owned() };
        let judge = |ledger: &Ledger| {
            let seen = Seen::Ended { job: JobId(9), outcome: &Err(error.clone()) };
            watch(ledger, &seen).err().map(|violation| violation.anomaly)
        };
        assert_eq!(judge(&ledger), Some("damaged-by-itself"));
        ledger.rotten = true;
        assert_eq!(judge(&ledger), None);
    }
}
