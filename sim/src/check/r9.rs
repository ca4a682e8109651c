//! R9: what a replica knows of epochs is what its log holds.
//!
//! Epochs and their starts both strictly increase, every batch lies in its own epoch's part, and a leader's own epoch is
//! noted before anything is written in it (KIP-101): who asks where it begins must not be told of another.

use std::fmt::Display;

use tidelog_core::{epoch::LeaderEpoch, offset::Offset, record::BatchHeader};

use super::{Violation, violation};

const CODE: &str = "R9";

/// A leader's epochs, at any time.
pub fn leading(subject: impl Display, current: LeaderEpoch, epochs: &[(LeaderEpoch, Offset)]) -> Result<(), Violation> {
    let latest = epochs.last().map(|(epoch, _)| *epoch);
    if latest != Some(current) {
        let why = format!("it leads in epoch {current}, and {latest:?} is the newest that it knows");
        return Err(violation(CODE, "current-epoch-missing", subject, why));
    }
    if let Some(pair) = epochs.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1) {
        return Err(violation(CODE, "out-of-order", subject, format!("{:?} comes before {:?}", pair[0], pair[1])));
    }
    Ok(())
}

/// Any replica's epochs beside its batches, at a quiet moment.
pub fn agrees<'a>(
    subject: impl Display,
    epochs: &[(LeaderEpoch, Offset)],
    batches: impl Iterator<Item = &'a BatchHeader>,
) -> Result<(), Violation> {
    for header in batches.filter(|header| header.leader_epoch >= LeaderEpoch::FIRST) {
        let after = epochs.partition_point(|&(_, start)| start <= header.base_offset);
        let noted = after.checked_sub(1).map(|place| epochs[place].0);
        if noted != Some(header.leader_epoch) {
            let at = format!("{subject}@{}", header.base_offset);
            let why = format!("the batch is of epoch {}, {noted:?} is noted for its place", header.leader_epoch);
            return Err(violation(CODE, "not-the-logs", at, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::batch;

    fn epochs(entries: &[(i32, i64)]) -> Vec<(LeaderEpoch, Offset)> {
        entries.iter().map(|&(epoch, start)| (LeaderEpoch(epoch), Offset(start))).collect()
    }

    #[test]
    fn a_leader_has_noted_its_epoch() {
        let lead = |current, entries| leading("log", LeaderEpoch(current), &epochs(entries)).map_err(|v| v.anomaly);
        assert_eq!(lead(3, &[(1, 0), (3, 5)]), Ok(()));
        assert_eq!(lead(4, &[(1, 0), (3, 5)]), Err("current-epoch-missing"));
        assert_eq!(lead(3, &[(1, 5), (3, 5)]), Err("out-of-order"));
    }

    #[test]
    fn batches_lie_in_their_own_epochs_part() {
        let mut batches = [batch(0, None, &[(1, Some(0))]), batch(1, None, &[(1, Some(1))])];
        batches[1].stamp(Offset(1), LeaderEpoch(2));
        let check = |entries| agrees("log", &epochs(entries), batches.iter().map(|b| b.header())).is_ok();
        assert!(check(&[(0, 0), (2, 1)]));
        assert!(!check(&[(0, 0), (2, 2)]));
        assert!(!check(&[(0, 0)]));
    }
}
