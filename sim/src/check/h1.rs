//! H1: the history of clients alone, in Jepsen's terms.
//!
//! | anomaly | rule |
//! |---|---|
//! | inconsistent-offsets | one offset of a partition held two values |
//! | duplicate | one value stood at two offsets although its producer promises once, and the second one's leader could know of the first |
//! | lost-write | an acknowledged value is not there, below what was read |
//! | unseen | an acknowledged value lies past all that can be read |
//! | nonmonotonic-poll | offsets of one assignment went back |
//! | poll-skip | a reader passed over a value that is there |
//! | lost-place | a reader was told that its place, to which it had come by reading, lies behind the log |
//! | nonmonotonic-send | a producer's values stand in another order than it sent them |
//! | G1a | a value whose write failed for certain was seen |
//! | garbage | a value was seen that nobody sent there |

use std::{collections::BTreeMap, fmt};

use tidelog_core::{ids::TopicPartition, message::Acks, offset::Offset};

use super::{Violation, violation};
use crate::history::{Fate, History, Value};

const CODE: &str = "H1";

/// Judges a whole history.
pub fn check(history: &History) -> Result<(), Violation> {
    let places = places(history)?;
    duplicates(history, &places)?;
    order_of_polls(history)?;
    skips(history, &places)?;
    lost_places(history)?;
    lost(history)?;
    order_of_sends(history)
}

/// Values by offset, and all offsets of a value, as acknowledged or seen.
#[derive(Debug, Default)]
struct Places {
    by_offset: BTreeMap<(TopicPartition, Offset), (Value, Told)>,
    by_value: BTreeMap<Value, Vec<Offset>>,
}

/// Who said so, and when: a reader, or an acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Told(Option<u32>, u64);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(_, u64::MAX) => f.write_str("seen at the end"),
            Self(Some(reader), at) => write!(f, "seen by reader {reader} at {at} ns"),
            Self(None, at) => write!(f, "acknowledged at {at} ns"),
        }
    }
}

fn is_void(history: &History, partition: TopicPartition, offset: Offset, at: u64) -> bool {
    history.voids.iter().any(|void| void.partition == partition && offset >= void.from && at < void.at)
}

fn places(history: &History) -> Result<Places, Violation> {
    let mut places = Places::default();
    let mut note = |partition: TopicPartition, offset: Offset, value: Value, at: u64, by: Option<u32>| {
        let (seen, told) = (by.is_some(), Told(by, at));
        let Some(sent) = history.sends.get(value as usize).filter(|sent| sent.to == partition) else {
            let subject = format!("{partition}@{offset}");
            return Err(violation(CODE, "garbage", subject, format!("value {value} was never sent to this partition")));
        };
        if seen && sent.fate == Fate::Failed {
            let subject = format!("{partition}@{offset}");
            return Err(violation(CODE, "G1a", subject, format!("value {value} was read though its write had failed")));
        }
        if is_void(history, partition, offset, at) {
            return Ok(());
        }
        let (there, former) = places.by_offset.entry((partition, offset)).or_insert((value, told));
        if *there != value {
            let subject = format!("{partition}@{offset}");
            let why = format!("it held value {there} ({former}) and value {value} ({told})");
            return Err(violation(CODE, "inconsistent-offsets", subject, why));
        }
        let offsets = places.by_value.entry(value).or_default();
        if !offsets.contains(&offset) {
            offsets.push(offset);
        }
        Ok(())
    };
    for (value, sent) in history.sends.iter().enumerate() {
        if let Fate::Acknowledged(Some(offset)) = sent.fate {
            note(sent.to, offset, value as Value, sent.settled_at, None)?;
        }
    }
    for &(value, offset, at) in &history.echoes {
        let to = history.sends[value as usize].to;
        note(to, offset, value, at, None)?;
    }
    for poll in &history.polls {
        for &(offset, value) in &poll.seen {
            note(poll.from, offset, value, poll.at, Some(poll.reader))?;
        }
    }
    for (&partition, read) in &history.finals {
        for &(offset, value) in &read.seen {
            note(partition, offset, value, u64::MAX, Some(u32::MAX))?;
        }
    }
    Ok(places)
}

fn duplicates(history: &History, places: &Places) -> Result<(), Violation> {
    for (&value, offsets) in &places.by_value {
        let sent = &history.sends[value as usize];
        if !sent.exactly_once {
            continue;
        }
        let mut sorted = offsets.clone();
        sorted.sort();
        for pair in sorted.windows(2) {
            // A leader whose log had begun anew past the first never had that one, nor its producer's sequence.
            if history.begun_anew.get(&(value, pair[1])).is_some_and(|begun| *begun > pair[0]) {
                continue;
            }
            let subject = format!("{}@{}", sent.to, pair[1]);
            return Err(violation(CODE, "duplicate", subject, format!("value {value} stands at offsets {offsets:?}")));
        }
    }
    Ok(())
}

fn order_of_polls(history: &History) -> Result<(), Violation> {
    let mut last: BTreeMap<(u32, u32, TopicPartition), Offset> = BTreeMap::new();
    for poll in &history.polls {
        let last = last.entry((poll.reader, poll.assignment, poll.from)).or_insert(Offset::NONE);
        for &(offset, value) in &poll.seen {
            if offset <= *last || offset < poll.position {
                let why = format!(
                    "reader {} got value {value} after offset {last}, at position {}",
                    poll.reader, poll.position
                );
                return Err(violation(CODE, "nonmonotonic-poll", format!("{}@{offset}", poll.from), why));
            }
            *last = offset;
        }
    }
    Ok(())
}

/// What a reader passed over between two records of one assignment. Log starts move only through an assignment's end.
fn skips(history: &History, places: &Places) -> Result<(), Violation> {
    let mut expected: BTreeMap<(u32, u32, TopicPartition), (Offset, u64)> = BTreeMap::new();
    for poll in &history.polls {
        if history.compacted.contains(&poll.from.topic) {
            continue;
        }
        let (next, since) =
            expected.entry((poll.reader, poll.assignment, poll.from)).or_insert((poll.position, poll.at));
        for &(offset, _) in &poll.seen {
            let between = (poll.from, *next)..(poll.from, offset);
            if let Some(((_, skipped), (value, _))) = places.by_offset.range(between).next()
                && !is_void(history, poll.from, *skipped, poll.at)
                && !is_void(history, poll.from, *next, *since)
            {
                let why =
                    format!("reader {} went from {next} to {offset}, past value {value} at {skipped}", poll.reader);
                return Err(violation(CODE, "poll-skip", format!("{}@{skipped}", poll.from), why));
            }
            (*next, *since) = (offset.next(), poll.at);
        }
    }
    Ok(())
}

/// Readers come only to what is committed, and that does not go away but at the log's start.
fn lost_places(history: &History) -> Result<(), Violation> {
    for lost in &history.lost_places {
        let Some(read) = history.finals.get(&lost.of) else { continue };
        let (Some(start), Some(end)) = (read.start, read.end) else { continue };
        let may_be_gone = history.voids.iter().any(|void| void.partition == lost.of && void.from <= lost.position)
            || history.rotten.contains(&lost.of);
        // The log's start may have moved while the answer waited for the disk, and is then told as it was before.
        if start.max(lost.log_start) <= lost.position && lost.position <= end && !may_be_gone {
            let why = format!(
                "reader {} was told that it is not in the log, which began at {} and ends at {end}",
                lost.reader, lost.log_start
            );
            return Err(violation(CODE, "lost-place", format!("{}@{}", lost.of, lost.position), why));
        }
    }
    Ok(())
}

/// Is this send's acknowledgement a promise that holds whatever happens?
fn promised(history: &History, value: Value) -> Option<Option<Offset>> {
    let sent = &history.sends[value as usize];
    match sent.fate {
        Fate::Acknowledged(offset) if sent.acks == Acks::All => {
            let void = offset.is_some_and(|offset| is_void(history, sent.to, offset, sent.settled_at));
            (!void).then_some(offset)
        }
        _ => None,
    }
}

fn lost(history: &History) -> Result<(), Violation> {
    let mut present: BTreeMap<Value, Offset> = BTreeMap::new();
    for read in history.finals.values() {
        present.extend(read.seen.iter().map(|&(offset, value)| (value, offset)));
    }
    for (value, sent) in history.sends.iter().enumerate() {
        let value = value as Value;
        let Some(read) = history.finals.get(&sent.to) else { continue };
        let (Some(start), Some(end)) = (read.start, read.end) else { continue };
        let Some(offset) = promised(history, value) else { continue };
        if present.contains_key(&value) || history.reported_corrupt.contains(&sent.to) {
            continue;
        }
        let Some(offset) = offset else {
            // Without an offset nobody can say that retention did not take it, where there is such a thing.
            if history.keeps_all && sent.settled_at < read.asked_at {
                let why = format!("value {value} was acknowledged and is nowhere; the log holds {start} to {end}");
                return Err(violation(CODE, "lost-write", sent.to, why));
            }
            continue;
        };
        if offset >= end && (sent.settled_at > read.asked_at || history.short_of_replicas.contains(&sent.to)) {
            continue;
        }
        if offset >= end {
            let why = format!("value {value} was acknowledged there, and the partition ends at {end}");
            return Err(violation(CODE, "unseen", format!("{}@{offset}", sent.to), why));
        }
        if offset >= start && !history.compacted.contains(&sent.to.topic) {
            let why = format!("value {value} was acknowledged there and is gone; the log holds {start} to {end}");
            return Err(violation(CODE, "lost-write", format!("{}@{offset}", sent.to), why));
        }
    }
    Ok(())
}

fn order_of_sends(history: &History) -> Result<(), Violation> {
    for (&partition, read) in &history.finals {
        let mut last: BTreeMap<u64, (Value, Offset)> = BTreeMap::new();
        for &(offset, value) in &read.seen {
            let sent = &history.sends[value as usize];
            if !sent.exactly_once {
                continue;
            }
            if let Some(&(before, at)) = last.get(&sent.session)
                && before > value
            {
                let why = format!("value {value} was sent before value {before}, which stands at {at}");
                return Err(violation(CODE, "nonmonotonic-send", format!("{partition}@{offset}"), why));
            }
            last.insert(sent.session, (value, offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::ids::TopicId;

    use super::*;
    use crate::history::{FinalRead, LostPlace, Poll, Sent, Void, partition};

    fn here() -> TopicPartition {
        partition(TopicId([7; 16]), 0)
    }

    /// Values 0..n acknowledged at offsets 0..n, read by one reader and at the end.
    fn good(count: u64) -> History {
        let mut history = History::default();
        for value in 0..count {
            history.send(Sent {
                to: here(),
                session: 1,
                key: None,
                tombstone: false,
                acks: Acks::All,
                exactly_once: true,
                fate: Fate::Open,
                settled_at: 0,
            });
            history.acknowledged(value, Some(Offset(value as i64)), 10 + value);
        }
        let seen: Vec<_> = (0..count).map(|value| (Offset(value as i64), value)).collect();
        history.polls.push(Poll {
            reader: 1,
            assignment: 0,
            from: here(),
            position: Offset(0),
            seen: seen.clone(),
            at: 100,
        });
        let read = FinalRead { start: Some(Offset(0)), end: Some(Offset(count as i64)), asked_at: 100, seen };
        history.finals.insert(here(), read);
        history
    }

    fn anomaly(history: &History) -> &'static str {
        check(history).expect_err("the history is bad").anomaly
    }

    fn last(history: &mut History) -> &mut FinalRead {
        history.finals.get_mut(&here()).expect("there is one")
    }

    #[test]
    fn a_good_history_passes() {
        assert_eq!(check(&good(5)), Ok(()));
    }

    #[test]
    fn an_offset_with_two_values_is_inconsistent() {
        let mut history = good(3);
        last(&mut history).seen[1].1 = 2;
        assert_eq!(anomaly(&history), "inconsistent-offsets");
    }

    #[test]
    fn a_value_at_two_offsets_is_a_duplicate_unless_nobody_promised() {
        let mut history = good(3);
        last(&mut history).seen.push((Offset(3), 2));
        last(&mut history).end = Some(Offset(4));
        assert_eq!(anomaly(&history), "duplicate");
        history.sends[2].exactly_once = false;
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_value_may_stand_again_if_a_leader_wrote_it_that_never_had_the_first() {
        let again = |written: (Value, i64), begun: i64| {
            let mut history = good(3);
            last(&mut history).start = Some(Offset(2));
            last(&mut history).seen = vec![(Offset(2), 2), (Offset(3), 1)];
            last(&mut history).end = Some(Offset(4));
            history.begun_anew.insert((written.0, Offset(written.1)), Offset(begun));
            duplicates(&history, &places(&history).expect("each offset has one value")).map_err(|why| why.anomaly)
        };
        assert_eq!(again((1, 3), 2), Ok(()));
        assert_eq!(again((1, 3), 1), Err("duplicate"), "it has the first and knows its producer");
        assert_eq!(again((2, 2), 2), Err("duplicate"), "another wrote the second copy");
    }

    #[test]
    fn a_repeated_send_answered_with_another_offset_is_a_duplicate() {
        let mut history = good(3);
        history.echo(1, Offset(1), 50);
        assert_eq!(check(&history), Ok(()));
        history.echo(1, Offset(7), 50);
        assert_eq!(anomaly(&history), "duplicate");
    }

    #[test]
    fn an_acknowledged_value_that_is_gone_is_lost() {
        let mut history = good(3);
        history.polls.clear();
        last(&mut history).seen.remove(1);
        assert_eq!(anomaly(&history), "lost-write");
        last(&mut history).start = Some(Offset(2));
        last(&mut history).seen.remove(0);
        assert_eq!(check(&history), Ok(()), "retention took it");
    }

    #[test]
    fn an_acknowledged_value_past_the_end_is_unseen() {
        let mut history = good(3);
        history.polls.clear();
        last(&mut history).seen.pop();
        last(&mut history).end = Some(Offset(2));
        assert_eq!(anomaly(&history), "unseen");
        let mut short = history.clone();
        short.short_of_replicas.insert(here());
        assert_eq!(check(&short), Ok(()), "it is served once there are enough replicas");
        history.voids.push(Void { partition: here(), from: Offset(2), at: 50 });
        assert_eq!(check(&history), Ok(()), "no rule promised it");
    }

    #[test]
    fn a_reader_that_goes_back_is_nonmonotonic() {
        let mut history = good(3);
        history.polls[0].seen.swap(0, 1);
        assert_eq!(anomaly(&history), "nonmonotonic-poll");
    }

    #[test]
    fn a_reader_that_passes_over_a_value_skips() {
        let mut history = good(3);
        history.polls[0].seen.remove(1);
        assert_eq!(anomaly(&history), "poll-skip");
        let mut history = good(4);
        let tail = history.polls[0].seen.split_off(2);
        let mut second = history.polls[0].clone();
        (second.seen, second.position) = (tail[1..].to_vec(), Offset(2));
        history.polls.push(second);
        assert_eq!(anomaly(&history), "poll-skip");
        history.polls[1].assignment = 1;
        history.polls[1].position = Offset(3);
        assert_eq!(check(&history), Ok(()), "it had sought");
    }

    #[test]
    fn a_place_that_is_there_is_not_refused() {
        let mut history = good(4);
        let lost = LostPlace { reader: 1, of: here(), position: Offset(2), log_start: Offset(0) };
        history.lost_places.push(LostPlace { log_start: Offset(3), ..lost });
        assert_eq!(check(&history), Ok(()), "retention took it");
        history.lost_places.push(lost);
        assert_eq!(anomaly(&history), "lost-place");
        history.voids.push(Void { partition: here(), from: Offset(1), at: 0 });
        assert_eq!(check(&history), Ok(()), "no rule promised it");
    }

    #[test]
    fn a_producers_order_is_kept() {
        let mut history = good(3);
        history.polls.clear();
        history.sends[0].fate = Fate::Acknowledged(None);
        history.sends[1].fate = Fate::Acknowledged(None);
        last(&mut history).seen = vec![(Offset(0), 1), (Offset(1), 0), (Offset(2), 2)];
        assert_eq!(anomaly(&history), "nonmonotonic-send");
    }

    #[test]
    fn a_failed_write_is_never_seen() {
        let mut history = good(3);
        history.failed(1, 20);
        assert_eq!(anomaly(&history), "G1a");
    }

    #[test]
    fn what_nobody_sent_is_garbage() {
        let mut history = good(3);
        last(&mut history).seen.push((Offset(3), 99));
        assert_eq!(anomaly(&history), "garbage");
    }
}
