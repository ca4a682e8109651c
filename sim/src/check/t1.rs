//! T1: of each producer and epoch, sequences in a log follow one another and none comes twice.

use std::collections::BTreeMap;

use tidelog_core::{
    ids::{ProducerEpoch, ProducerId},
    log::Job,
    record::Batch,
};

use super::{Seen, Violation, violation};
use crate::ledger::Ledger;

const CODE: &str = "T1";

pub(super) fn watch(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    match seen {
        Seen::Ordered { order: Job::Append { batches, .. }, .. } => {
            let mut known: BTreeMap<ProducerId, (ProducerEpoch, i32)> = BTreeMap::new();
            for batch in batches {
                let producer = batch.header().producer_id;
                let before = known.get(&producer).or_else(|| ledger.producers.get(&producer)).copied();
                follows(ledger, before, batch)?;
                known.insert(producer, (batch.header().producer_epoch, batch.header().last_sequence()));
            }
            Ok(())
        }
        // Compaction keeps offsets but may leave gaps between sequences.
        Seen::Opened { held, .. } if !ledger.compacted => {
            let mut known: BTreeMap<ProducerId, (ProducerEpoch, i32)> = BTreeMap::new();
            for batch in *held {
                let producer = batch.header().producer_id;
                if ledger.config.producer_expiration.as_millis() >= 86_400_000 {
                    follows(ledger, known.get(&producer).copied(), batch)?;
                }
                known.insert(producer, (batch.header().producer_epoch, batch.header().last_sequence()));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn follows(ledger: &Ledger, before: Option<(ProducerEpoch, i32)>, batch: &Batch) -> Result<(), Violation> {
    let header = batch.header();
    let Some((epoch, last)) = before.filter(|_| header.has_producer()) else { return Ok(()) };
    let (got, subject) = (header.base_sequence, format!("{}@{}", ledger.id, header.base_offset));
    let who = format!("producer {} epoch {}", header.producer_id, header.producer_epoch);
    if header.producer_epoch < epoch {
        return Err(violation(CODE, "fenced-epoch", subject, format!("{who} was appended after epoch {epoch}")));
    }
    let due = if header.producer_epoch > epoch { 0 } else { last.wrapping_add(1) & i32::MAX };
    if got == due {
        return Ok(());
    }
    // Sequences wrap, so "before" means less than half a turn back.
    let behind = due.wrapping_sub(got) & i32::MAX;
    let anomaly = if behind < i32::MAX / 2 { "duplicate" } else { "sequence-gap" };
    Err(violation(CODE, anomaly, subject, format!("{who} was appended with sequence {got}, {due} was due")))
}

#[cfg(test)]
mod tests {
    use tidelog_core::ids::JobId;

    use super::*;
    use crate::check::samples::{append, batch, book};

    #[test]
    fn sequences_follow_one_another() {
        let ledger = book(&[batch(0, Some((5, 0)), &[(1, Some(0)), (1, Some(1))])]);
        let order = |sequence| {
            let order = append(batch(2, Some((5, sequence)), &[(1, Some(2))]));
            watch(&ledger, &Seen::Ordered { job: JobId(9), order: &order }).err().map(|violation| violation.anomaly)
        };
        assert_eq!(order(2), None);
        assert_eq!(order(0), Some("duplicate"));
        assert_eq!(order(3), Some("sequence-gap"));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let ledger = book(&[batch(0, Some((5, i32::MAX)), &[(1, Some(0))])]);
        let order = |sequence| {
            let order = append(batch(1, Some((5, sequence)), &[(1, Some(2))]));
            watch(&ledger, &Seen::Ordered { job: JobId(9), order: &order }).err().map(|violation| violation.anomaly)
        };
        assert_eq!(order(0), None);
        assert_eq!(order(i32::MAX), Some("duplicate"));
        assert_eq!(order(1), Some("sequence-gap"));
    }
}
