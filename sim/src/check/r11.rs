//! R11: offsets strictly increase, none is assigned twice, and recovery yields a prefix of what was written.
//!
//! The prefix is at least what was promised. After a kill, with the page cache alive, it is at least what was reported.

use tidelog_core::log::{Job, JobOutcome};

use super::{Seen, Violation, violation};
use crate::ledger::{Ending, Ledger, Open};

const CODE: &str = "R11";

pub(super) fn watch(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    match seen {
        Seen::Ordered { order: Job::Append { batches, .. }, .. } => {
            let mut end = ledger.end;
            for batch in batches {
                let base = batch.header().base_offset;
                if base != end {
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
        Seen::Opened { state, held, unreadable } => {
            let least = match ledger.ending {
                Some(Ending::PowerLost) | None => ledger.promised,
                Some(Ending::Killed | Ending::Stopped) => ledger.answered,
            };
            let least = least.max(ledger.promised);
            if state.log_end < least {
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

#[cfg(test)]
mod tests {
    use tidelog_core::{
        ids::JobId,
        log::{LogState, ProducerTable, RecoveryReport},
        offset::Offset,
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
}
