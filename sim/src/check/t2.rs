//! T2: one producer's records stand in a partition in the order in which it sent them.

use tidelog_core::log::Job;

use super::{Seen, Violation, violation};
use crate::{
    history::History,
    ledger::{Held, Ledger},
};

const CODE: &str = "T2";

pub(super) fn watch(ledger: &Ledger, history: &History, seen: &Seen<'_>) -> Result<(), Violation> {
    let Seen::Ordered { order: Job::Append { batches, .. }, .. } = seen else { return Ok(()) };
    for batch in batches {
        let held = Held::of(batch);
        for note in &held.notes {
            let Some(value) = note.value else { continue };
            let Some(sent) = history.sends.get(value as usize).filter(|sent| sent.exactly_once) else { continue };
            // Looking back over the last few batches is enough: what comes late comes soon.
            let recent = ledger.held.values().rev().take(32).flat_map(|held| &held.notes);
            for before in recent.filter_map(|note| note.value) {
                let same = history.sends.get(before as usize).is_some_and(|other| other.session == sent.session);
                if same && before > value {
                    let why = format!("value {value} was sent before value {before} and is appended after it");
                    return Err(violation(CODE, "nonmonotonic-send", format!("{}@{}", ledger.id, note.offset), why));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::{ids::JobId, message::Acks};

    use super::*;
    use crate::{
        check::samples::{append, batch, book},
        history::{Fate, Sent},
    };

    #[test]
    fn an_overtaken_record_is_seen() {
        let ledger = book(&[batch(0, None, &[(1, Some(1))])]);
        let mut history = History::default();
        for _ in 0..3 {
            history.send(Sent {
                to: ledger.id,
                session: 4,
                key: None,
                tombstone: false,
                acks: Acks::All,
                exactly_once: true,
                fate: Fate::Open,
                settled_at: 0,
            });
        }
        let order = |value| {
            let order = append(batch(1, None, &[(1, Some(value))]));
            let seen = Seen::Ordered { job: JobId(9), order: &order };
            watch(&ledger, &history, &seen).err().map(|violation| violation.anomaly)
        };
        assert_eq!(order(2), None);
        assert_eq!(order(0), Some("nonmonotonic-send"));
    }
}
