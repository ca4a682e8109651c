//! R13: nothing of one topic is found under another, though they have the same name.
//!
//! A topic that is deleted and created again is another topic, with another id. Its log, on whichever node, holds what was
//! sent to that id alone.

use super::{Seen, Violation, violation};
use crate::{
    history::History,
    ledger::{Held, Ledger},
};

const CODE: &str = "R13";

pub(super) fn watch(ledger: &Ledger, history: &History, seen: &Seen<'_>) -> Result<(), Violation> {
    let batches = match seen {
        Seen::Opened { held, .. } => *held,
        Seen::Served { batches, .. } => *batches,
        _ => return Ok(()),
    };
    for note in batches.iter().map(Held::of).flat_map(|held| held.notes) {
        let Some(sent) = note.value.and_then(|value| history.sends.get(value as usize)) else { continue };
        if sent.to.topic != ledger.id.topic {
            let why = format!("a record is found here that was sent to {}", sent.to);
            return Err(violation(CODE, "other-incarnation", format!("{}@{}", ledger.id, note.offset), why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        ids::{PartitionId, TopicId},
        message::{Acks, ErrorCode, FetchedPartition, Records, TopicRef},
        offset::Offset,
    };

    use super::*;
    use crate::{
        check::samples::{batch, book},
        history::{Fate, Sent, partition},
    };

    #[test]
    fn what_was_sent_to_a_topic_that_is_gone_is_not_served_under_its_name() {
        let (mut history, ledger) = (History::default(), book(&[]));
        for to in [ledger.id, partition(TopicId([8; 16]), 0)] {
            history.send(Sent {
                to,
                session: 4,
                key: None,
                tombstone: false,
                acks: Acks::All,
                exactly_once: true,
                fate: Fate::Open,
                settled_at: 0,
            });
        }
        let answer = FetchedPartition {
            topic: TopicRef::Id(ledger.id.topic),
            partition: PartitionId(0),
            error: ErrorCode::None,
            high_watermark: Offset(1),
            last_stable_offset: Offset(1),
            log_start: Offset(0),
            diverging: None,
            aborted: None,
            preferred_read_replica: None,
            records: Records::Empty,
        };
        let serve = |value| {
            let batches = [batch(0, None, &[(1, Some(value))])];
            let seen = Seen::Served { answer: &answer, batches: &batches, garbage: false };
            watch(&ledger, &history, &seen).err().map(|violation| violation.anomaly)
        };
        assert_eq!(serve(0), None);
        assert_eq!(serve(1), Some("other-incarnation"));
    }
}
