//! R14: cleaning touches only what is committed, and only what the rules let go.
//!
//! Retention removes a batch when it is too old or when what stays is still `retention.bytes`; never past the high
//! watermark. Compaction keeps the last value of every key, keeps a tombstone until its horizon, and changes no
//! record.

use std::collections::BTreeMap;

use tidelog_core::{
    log::{JobOutcome, LogConfig},
    offset::Offset,
    time::{Duration, Timestamp},
};

use super::{Seen, Violation, violation};
use crate::ledger::{Held, Ledger, Note, Open};

const CODE: &str = "R14";

pub(super) fn watch(ledger: &Ledger, seen: &Seen<'_>) -> Result<(), Violation> {
    match seen {
        Seen::Ended { job, outcome: Ok(JobOutcome::Trimmed { log_start, size, .. }) } => match ledger.open.get(job) {
            Some(Open::Retain { high_watermark, wall, config }) => {
                retained(ledger, config, *high_watermark, *wall, *log_start, *size)
            }
            Some(Open::Raise { to }) if *log_start > (*to).max(ledger.log_start) => {
                let why = format!("the log start went to {log_start}, {to} was asked for");
                Err(violation(CODE, "deleted-too-much", ledger.id, why))
            }
            Some(Open::Clean { .. }) if *log_start > ledger.log_start.max(ledger.raised_to) => {
                let why = format!("compaction moved the log start from {} to {log_start}", ledger.log_start);
                Err(violation(CODE, "deleted-too-much", ledger.id, why))
            }
            _ => Ok(()),
        },
        Seen::Opened { state, held, unreadable: None } => {
            let known = ledger.log_start.max(ledger.raised_to);
            if ledger.was_open && state.log_start > known && !retention_is_on(ledger) {
                let why = format!("opened with log start {} after {known}", state.log_start);
                return Err(violation(CODE, "deleted-too-much", ledger.id, why));
            }
            if !ledger.compacted || ledger.rotten {
                return Ok(());
            }
            let found: Vec<Held> = held.iter().map(Held::of).collect();
            // Whatever was promised: of what was written the log holds a prefix, less what was cleaned.
            read_through(ledger, (state.log_start, state.log_end), Offset::ZERO, &found)
        }
        _ => Ok(()),
    }
}

fn retention_is_on(ledger: &Ledger) -> bool {
    ledger.config.retention.is_some() || ledger.config.retention_bytes.is_some()
}

fn retained(
    ledger: &Ledger,
    config: &LogConfig,
    high_watermark: Offset,
    wall: Timestamp,
    log_start: Offset,
    size: u64,
) -> Result<(), Violation> {
    if log_start > high_watermark {
        let why = format!("retention moved the log start to {log_start}, past the high watermark {high_watermark}");
        return Err(violation(CODE, "deleted-uncommitted", ledger.id, why));
    }
    let from = ledger.log_start.max(ledger.raised_to);
    if log_start <= from {
        return Ok(());
    }
    let age = |held: &Held| wall.millis_since(held.header.max_timestamp);
    let old = |held: &Held| config.retention.is_some_and(|limit| age(held) > millis(limit));
    // What is not old went for its size, and what is behind it may have gone for its age after that.
    let Some((base, held)) = ledger.held.range(from..log_start).rfind(|(_, held)| !old(held)) else { return Ok(()) };
    let next = held.header.next_offset();
    let left = if next < log_start { ledger.bytes_from(next) } else { size };
    if config.retention_bytes.is_none_or(|limit| left < limit) {
        let why = format!("retention took a batch of age {} ms and left {size} bytes", age(held));
        return Err(violation(CODE, "deleted-too-early", format!("{}@{base}", ledger.id), why));
    }
    Ok(())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A log that may be compacted, read from its start to its end, holds at least what it must. Where it is not read up to its
/// end, there is more that cleanings have `seen`: after a stop not all is known to be committed that once was.
pub(super) fn read_through(
    ledger: &Ledger,
    (log_start, bound): (Offset, Offset),
    seen: Offset,
    found: &[Held],
) -> Result<(), Violation> {
    if !ledger.compacted || ledger.rotten {
        return Ok(());
    }
    let end = found.last().map_or(log_start, |held| held.header.next_offset());
    let mut last: BTreeMap<u16, &Note> = BTreeMap::new();
    let all = || ledger.held.values().flat_map(|held| &held.notes);
    let written = || all().filter(|note| note.offset < end);
    for note in all().filter(|note| note.offset < end.max(seen)) {
        if let Some(key) = note.key {
            last.insert(key, note);
        }
    }
    let there: BTreeMap<Offset, &Note> =
        found.iter().flat_map(|held| &held.notes).map(|note| (note.offset, note)).collect();
    let due = |note: &&Note| note.offset >= log_start && note.offset < bound;
    for note in written().filter(due).filter(|note| !there.contains_key(&note.offset)) {
        let Some(key) = note.key else { continue };
        if note.offset >= ledger.cleaned_to {
            let why = format!("it is gone, and nothing past {} was ever to be cleaned", ledger.cleaned_to);
            return Err(violation(CODE, "cleaned-too-far", format!("{}@{}", ledger.id, note.offset), why));
        }
        // What a lost record superseded may be gone: without a sync of its own (`durability=replicated`) or after an unclean
        // election the end of a log can be lost that was committed, and that cleanings went by.
        let bereft = ledger.bereft.get(&key).is_some_and(|&end| note.offset < end);
        let superseded = last[&key].offset > note.offset || bereft;
        if superseded {
            continue;
        }
        if !note.tombstone {
            let why = format!("the last value of key {key} is gone");
            return Err(violation(CODE, "last-value-lost", format!("{}@{}", ledger.id, note.offset), why));
        }
        if !horizon_passed(ledger, note) {
            let why = format!("the tombstone of key {key} went before its horizon");
            return Err(violation(CODE, "tombstone-too-early", format!("{}@{}", ledger.id, note.offset), why));
        }
    }
    Ok(())
}

/// Was the tombstone seen by one cleaning, and by another one `delete.retention.ms` later?
fn horizon_passed(ledger: &Ledger, note: &Note) -> bool {
    let saw: Vec<_> = ledger.cleanings.iter().filter(|(bound, ..)| *bound > note.offset).collect();
    // A copy may have got the batch with the horizon that the leader's cleaner had stamped.
    let stamped = ledger.batch_at(note.offset).and_then(|held| held.header.delete_horizon());
    if stamped.is_some_and(|horizon| saw.iter().any(|(_, wall, _)| *wall >= horizon)) {
        return true;
    }
    // The horizon is stamped into the batch by the first that touches it (KIP-534); settings that change later do not move
    // it. Which one that was only the log knows, and where the clock was set back, it need not be the earliest by the clock.
    saw.iter().enumerate().any(|(number, (_, first, stay))| {
        saw[number + 1..].iter().any(|(_, wall, _)| wall.millis_since(*first) >= millis(*stay))
    })
}

#[cfg(test)]
mod tests {
    use tidelog_core::{ids::JobId, log::Job};

    use super::*;
    use crate::check::samples::{batch, book};

    fn trimmed(ledger: &Ledger, order: Job, log_start: i64, size: u64) -> Option<&'static str> {
        let mut ledger = ledger.clone();
        ledger.ordered(JobId(99), &order);
        let outcome = Ok(JobOutcome::Trimmed { log_start: Offset(log_start), end: ledger.end, size });
        watch(&ledger, &Seen::Ended { job: JobId(99), outcome: &outcome }).err().map(|violation| violation.anomaly)
    }

    #[test]
    fn retention_takes_what_is_old_or_too_much_and_nothing_uncommitted() {
        let mut ledger = book(&[batch(0, None, &[(1, Some(0))]), batch(1, None, &[(1, Some(1))])]);
        ledger.config.retention = Some(Duration::from_millis(500));
        ledger.config.retention_bytes = None;
        let retain = |wall, high| Job::Retain { high_watermark: Offset(high), wall: Timestamp(wall) };
        assert_eq!(trimmed(&ledger, retain(1_600, 2), 1, 80), None);
        assert_eq!(trimmed(&ledger, retain(1_400, 2), 1, 80), Some("deleted-too-early"));
        assert_eq!(trimmed(&ledger, retain(9_000, 1), 2, 80), Some("deleted-uncommitted"));
        ledger.config.retention_bytes = Some(80);
        assert_eq!(trimmed(&ledger, retain(1_400, 2), 1, 80), None);
        assert_eq!(trimmed(&ledger, retain(1_400, 2), 1, 79), Some("deleted-too-early"));
        assert_eq!(trimmed(&ledger, Job::RaiseLogStart { to: Offset(1) }, 2, 80), Some("deleted-too-much"));
    }

    #[test]
    fn what_is_behind_a_large_part_may_go_for_its_age() {
        // The second batch is older than the first.
        let mut young = batch(9_000, None, &[(1, Some(0))]);
        young.stamp(Offset(0), young.header().leader_epoch);
        let mut ledger = book(&[young, batch(1, None, &[(1, Some(1))])]);
        ledger.config.retention = Some(Duration::from_millis(500));
        let size = ledger.bytes_from(Offset(1));
        let retain = || Job::Retain { high_watermark: Offset(2), wall: Timestamp(10_200) };
        ledger.config.retention_bytes = Some(size);
        assert_eq!(trimmed(&ledger, retain(), 2, 0), None, "the first for its size, the second for its age");
        ledger.config.retention_bytes = Some(size + 1);
        assert_eq!(trimmed(&ledger, retain(), 2, 0), Some("deleted-too-early"));
    }

    #[test]
    fn compaction_keeps_last_values_and_fresh_tombstones() {
        let batches = [
            batch(0, None, &[(1, Some(0)), (2, Some(1))]),
            batch(2, None, &[(1, Some(2)), (3, None)]),
            batch(4, None, &[(4, Some(3))]),
        ];
        let mut ledger = book(&batches);
        ledger.compacted = true;
        ledger.cleaned_to = Offset(4);
        ledger.config.delete_retention = Duration::from_millis(100);
        let without = |gone: &[i64]| {
            let mut found: Vec<Held> = batches.iter().map(Held::of).collect();
            for held in &mut found {
                held.notes.retain(|note| !gone.contains(&note.offset.0));
            }
            read_through(&ledger, (Offset(0), Offset(5)), Offset::ZERO, &found).err().map(|violation| violation.anomaly)
        };
        let short = |seen: i64| {
            let mut found: Vec<Held> = batches[..1].iter().map(Held::of).collect();
            found[0].notes.retain(|note| note.offset.0 != 0);
            read_through(&ledger, (Offset(0), Offset(5)), Offset(seen), &found).err().map(|violation| violation.anomaly)
        };
        assert_eq!(short(4), None, "the newer value is past what is known to be committed by now");
        assert_eq!(short(2), Some("last-value-lost"));
        assert_eq!(without(&[]), None);
        assert_eq!(without(&[0]), None, "key 1 has a newer value");
        assert_eq!(without(&[1]), Some("last-value-lost"));
        assert_eq!(without(&[4]), Some("cleaned-too-far"));
        let mut cut = ledger.clone();
        cut.ordered(JobId(98), &Job::Truncate { to: Offset(2) });
        let found: Vec<Held> = batches[..1].iter().map(Held::of).collect();
        let after_a_cut = |gone: i64| {
            let mut found = found.clone();
            found[0].notes.retain(|note| note.offset.0 != gone);
            read_through(&cut, (Offset(0), Offset(2)), Offset::ZERO, &found).err().map(|violation| violation.anomaly)
        };
        assert_eq!(after_a_cut(0), None, "what superseded it is lost");
        assert_eq!(after_a_cut(1), Some("last-value-lost"));
        assert_eq!(without(&[3]), Some("tombstone-too-early"));
        let stay = Duration::from_millis(100);
        ledger.cleanings =
            vec![(Offset(4), Timestamp(0), stay), (Offset(4), Timestamp(100), Duration::from_millis(900))];
        let mut found: Vec<Held> = batches.iter().map(Held::of).collect();
        found[1].notes.pop();
        assert_eq!(read_through(&ledger, (Offset(0), Offset(5)), Offset::ZERO, &found), Ok(()));
    }
}
