//! R5: log start ≤ last stable offset ≤ high watermark ≤ log end, each of them steady, and readers see no further.
//!
//! With `durability=fsync` the high watermark is also bounded by what the disk has promised.

use tidelog_core::{log::Durability, message::ErrorCode};

use super::{Seen, Violation, violation};
use crate::ledger::Ledger;

const CODE: &str = "R5";

pub(super) fn watch(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    match seen {
        Seen::Opened { state, .. }
            if !(state.log_start <= state.high_watermark && state.high_watermark <= state.log_end) =>
        {
            let why = format!(
                "opened with log start {}, high watermark {} and log end {}",
                state.log_start, state.high_watermark, state.log_end
            );
            return Err(violation(CODE, "order-of-marks", ledger.id, why));
        }
        Seen::Served { answer, batches, .. } if answer.error == ErrorCode::None => {
            let (start, stable, high) = (answer.log_start, answer.last_stable_offset, answer.high_watermark);
            if !(start <= stable && stable <= high && high <= ledger.end) {
                let why = format!("log start {start}, stable {stable}, high watermark {high}, log end {}", ledger.end);
                return Err(violation(CODE, "order-of-marks", ledger.id, why));
            }
            if ledger.config.durability == Durability::Fsync && high > ledger.promised.max(ledger.log_start) {
                let why = format!("high watermark {high}, but only what is below {} is durable", ledger.promised);
                return Err(violation(CODE, "committed-before-durable", ledger.id, why));
            }
            if let Some(last) = batches.last()
                && last.header().next_offset() > high
            {
                let why = format!("served up to {}, high watermark {high}", last.header().next_offset());
                return Err(violation(CODE, "read-past-bound", ledger.id, why));
            }
        }
        // Answers that wait for the disk may be overtaken on their way, so this is judged when they are made.
        Seen::Answered { answer } if answer.error == ErrorCode::None => {
            let high = answer.high_watermark;
            if high < ledger.told_high_watermark {
                let why = format!("high watermark {high} after {}", ledger.told_high_watermark);
                return Err(violation(CODE, "high-watermark-went-back", ledger.id, why));
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        ids::PartitionId,
        message::{FetchedPartition, Records, TopicRef},
        offset::Offset,
    };

    use super::*;
    use crate::check::samples::{batch, book};

    fn answer(ledger: &Ledger, start: i64, stable: i64, high: i64) -> FetchedPartition {
        FetchedPartition {
            topic: TopicRef::Id(ledger.id.topic),
            partition: PartitionId(0),
            error: ErrorCode::None,
            high_watermark: Offset(high),
            last_stable_offset: Offset(stable),
            log_start: Offset(start),
            diverging: None,
            aborted: None,
            preferred_read_replica: None,
            records: Records::Empty,
        }
    }

    fn anomaly(ledger: &Ledger, answer: &FetchedPartition) -> Option<&'static str> {
        let batches = [batch(0, None, &[(1, Some(0)), (1, Some(1))])];
        let seen = Seen::Served { answer, batches: &batches, garbage: false };
        watch(ledger, &seen).err().map(|violation| violation.anomaly)
    }

    #[test]
    fn marks_stand_in_order_and_bound_the_reader() {
        let mut ledger = book(&[batch(0, None, &[(1, Some(0)), (1, Some(1))])]);
        assert_eq!(anomaly(&ledger, &answer(&ledger, 0, 2, 2)), None);
        assert_eq!(anomaly(&ledger, &answer(&ledger, 0, 2, 1)), Some("order-of-marks"));
        assert_eq!(anomaly(&ledger, &answer(&ledger, 0, 3, 3)), Some("order-of-marks"));
        assert_eq!(anomaly(&ledger, &answer(&ledger, 0, 1, 1)), Some("read-past-bound"));
        ledger.told_high_watermark = Offset(3);
        let back = watch(&ledger, &Seen::Answered { answer: &answer(&ledger, 0, 2, 2) });
        assert_eq!(back.err().map(|violation| violation.anomaly), Some("high-watermark-went-back"));
        ledger.promised = Offset(1);
        assert_eq!(anomaly(&ledger, &answer(&ledger, 0, 2, 2)), Some("committed-before-durable"));
    }
}
