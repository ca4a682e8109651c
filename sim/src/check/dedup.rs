//! T1: who sends one of its last five batches again is told where that is, never that it came out of order (KIP-98).
//!
//! A producer has up to five batches of a partition on their way. When their answers are lost it sends the first of them
//! again, and a log that remembers fewer takes it for one that fits nowhere.

use tidelog_core::{ids::ProducerEpoch, limits::PRODUCER_BATCHES_MAX, message::ErrorCode, record::BatchHeader};

use super::{Violation, violation};
use crate::ledger::Ledger;

const CODE: &str = "T1";

/// Is this one of its producer's last five batches, as far as the log must know it? What is still on its way to the disk does
/// not count as there, but pushes others out.
pub fn repeats(ledger: &Ledger, header: &BatchHeader) -> bool {
    let forgets = ledger.config.producer_expiration.as_millis() < 86_400_000;
    let known = ledger.producers.get(&header.producer_id).copied();
    let is_new = |(epoch, last): (ProducerEpoch, i32)| {
        epoch != header.producer_epoch || last.wrapping_add(1) & i32::MAX == header.base_sequence
    };
    // Of what was cleaned, or has rotted, a log need not know which batch held it.
    if ledger.compacted || ledger.rotten || forgets || known.is_none_or(is_new) {
        return false;
    }
    let since = ledger.forgotten.get(&header.producer_id).copied().unwrap_or(ledger.log_start).max(ledger.log_start);
    let batches = ledger.held.range(since..).rev().map(|(_, held)| &held.header);
    let its =
        |batch: &&BatchHeader| (batch.producer_id, batch.producer_epoch) == (header.producer_id, header.producer_epoch);
    let same = |batch: &BatchHeader| {
        (batch.base_sequence, batch.last_sequence()) == (header.base_sequence, header.last_sequence())
    };
    let found = batches.filter(its).take(PRODUCER_BATCHES_MAX).find(|batch| same(batch));
    found.is_some_and(|batch| batch.next_offset() <= ledger.answered)
}

/// A leader answers a batch that was there already when it came.
pub fn answered(ledger: &Ledger, header: &BatchHeader, error: ErrorCode) -> Result<(), Violation> {
    if error != ErrorCode::OutOfOrderSequenceNumber || !repeats(ledger, header) {
        return Ok(());
    }
    let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = header;
    let why = format!(
        "producer {producer_id} epoch {producer_epoch} sent sequence {base_sequence} again, one of its last {PRODUCER_BATCHES_MAX} \
         batches, and was refused"
    );
    Err(violation(CODE, "duplicate-refused", ledger.id, why))
}

#[cfg(test)]
mod tests {
    use tidelog_core::{offset::Offset, record::Batch};

    use super::*;
    use crate::check::samples::{batch, book};

    fn refused(ledger: &Ledger, batch: &Batch) -> Option<&'static str> {
        let error = ErrorCode::OutOfOrderSequenceNumber;
        answered(ledger, batch.header(), error).err().map(|violation| violation.anomaly)
    }

    #[test]
    fn five_batches_are_remembered() {
        let batches: Vec<Batch> = (0..6).map(|i| batch(i, Some((5, i as i32)), &[(1, Some(i as u64))])).collect();
        let mut ledger = book(&batches);
        assert_eq!(refused(&ledger, &batches[0]), None, "five have come since");
        assert_eq!(refused(&ledger, &batches[1]), Some("duplicate-refused"));
        assert_eq!(refused(&ledger, &batches[5]), Some("duplicate-refused"));
        assert_eq!(refused(&ledger, &batch(9, Some((5, 6)), &[(1, Some(9))])), None, "it is new");
        assert_eq!(refused(&ledger, &batch(9, Some((6, 1)), &[(1, Some(9))])), None, "another's");
        ledger.answered = Offset(5);
        assert_eq!(refused(&ledger, &batches[5]), None, "it is not there yet");
        ledger.compacted = true;
        assert_eq!(refused(&ledger, &batches[1]), None);
    }
}
