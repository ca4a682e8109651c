//! Histories of real clients, as JSON lines, judged by the checker of the simulator's own ([`h1`]).
//!
//! One object a line, in order of time within each process; processes may follow each other in any order, but for
//! `final` reads, which come after what they must hold. Every value is a number that no other send of the history has.
//!
//! ```json
//! {"process":"java","type":"invoke","f":"send","partition":"orders-0","value":17}
//! {"process":"java","type":"ok","f":"send","value":17,"offset":33}
//! {"process":"tail","type":"ok","f":"poll","partition":"orders-0","assignment":0,"position":33,"records":[[33,17]]}
//! {"process":"end","type":"ok","f":"final","partition":"orders-0","start":0,"end":34,"records":[[33,17]]}
//! ```
//!
//! - `send`: `invoke` is followed by `ok` (with the `offset`, if one was named), `fail` (it is nowhere, for certain) or
//!   `info` (nobody knows, as when nothing follows). `"acks"` is `"all"` unless it says `"leader"` or `"none"`; `"once":false`
//!   says that the producer is not idempotent.
//! - `poll`: what a reader got at a position. `assignment` changes with every seek.
//! - `final`: what a fresh reader found at the end; a long partition may take several lines.
//!
//! Whoever wrote the history kept everything: no retention, compaction or DeleteRecords is part of it.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tidelog_core::{
    ids::{TopicId, TopicPartition},
    message::Acks,
    offset::Offset,
};

use crate::{
    check::{Violation, h1},
    history::{Fate, FinalRead, History, Poll, Sent, Value, partition},
};

/// A history with the names that its lines used.
#[derive(Debug, Default)]
pub struct Recorded {
    /// As the checker wants it: processes, partitions and values are numbers.
    pub history: History,
    processes: Vec<String>,
    partitions: Vec<String>,
    /// What a value was called, by the checker's number.
    names: Vec<u64>,
    values: BTreeMap<u64, Value>,
    line: u64,
}

/// How much of what a history has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records sent.
    pub sent: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused for certain.
    pub failed: u64,
    /// Nobody knows.
    pub open: u64,
    /// Records that readers polled on the way.
    pub polled: u64,
    /// Records that the last readers found.
    pub found: u64,
    /// Partitions read at the end.
    pub partitions: u64,
}

impl Recorded {
    /// An empty history.
    pub fn new() -> Self {
        let history = History { replicated: true, keeps_all: true, ..History::default() };
        Self { history, ..Self::default() }
    }

    /// Takes one line.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn line(&mut self, text: &str) -> Result<(), String> {
        self.line += 1;
        if text.trim().is_empty() {
            return Ok(());
        }
        let line: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match (word(&line, "f")?, word(&line, "type")?) {
            ("send", "invoke") => self.invoke(&line),
            ("send", "info") => self.sent(&line).map(drop),
            ("send", "ok") => {
                let value = self.sent(&line)?;
                let offset = line.get("offset").map(|_| integer(&line, "offset")).transpose()?;
                self.history.acknowledged(value, offset.map(Offset), self.line);
                Ok(())
            }
            ("send", "fail") => {
                let value = self.sent(&line)?;
                self.history.failed(value, self.line);
                Ok(())
            }
            ("poll", "ok") => self.polled(&line),
            ("final", "ok") => self.read(&line),
            (f, kind) => Err(format!("no {f} is of type {kind}")),
        }
    }

    fn invoke(&mut self, line: &Json) -> Result<(), String> {
        let acks = match line.get("acks").and_then(Json::as_str) {
            None | Some("all") => Acks::All,
            Some("leader") => Acks::Leader,
            Some("none") => Acks::None,
            Some(other) => return Err(format!("there are no acks {other}")),
        };
        let name = natural(line, "value")?;
        let to = self.partition(line)?;
        let session = number_of(&mut self.processes, word(line, "process")?);
        let value = self.history.send(Sent {
            to,
            session,
            key: None,
            tombstone: false,
            acks,
            exactly_once: line.get("once").and_then(Json::as_bool).unwrap_or(true),
            fate: Fate::Open,
            settled_at: 0,
        });
        self.names.push(name);
        match self.values.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(format!("value {name} was sent twice")),
        }
    }

    /// The value of a line about a send that was begun.
    fn sent(&self, line: &Json) -> Result<Value, String> {
        let name = natural(line, "value")?;
        self.values.get(&name).copied().ok_or_else(|| format!("value {name} was not sent before"))
    }

    fn polled(&mut self, line: &Json) -> Result<(), String> {
        let from = self.partition(line)?;
        let reader = number_of(&mut self.processes, word(line, "process")?) as u32;
        let assignment = u32::try_from(natural(line, "assignment")?).map_err(|error| error.to_string())?;
        let position = Offset(integer(line, "position")?);
        let seen = self.records(line)?;
        self.history.polls.push(Poll { reader, assignment, from, position, seen, at: self.line });
        Ok(())
    }

    fn read(&mut self, line: &Json) -> Result<(), String> {
        let from = self.partition(line)?;
        let (start, end) = (integer(line, "start")?, integer(line, "end")?);
        let seen = self.records(line)?;
        let asked_at = self.line;
        let read = self.history.finals.entry(from).or_insert_with(|| FinalRead { asked_at, ..FinalRead::default() });
        (read.start, read.end) = (Some(Offset(start)), Some(Offset(end)));
        read.seen.extend(seen);
        Ok(())
    }

    fn records(&self, line: &Json) -> Result<Vec<(Offset, Value)>, String> {
        let records = line.get("records").and_then(Json::as_array).ok_or("records are missing")?;
        let record = |pair: &Json| {
            let (offset, name) = (pair.get(0)?.as_i64()?, pair.get(1)?.as_u64()?);
            // One that nobody sent keeps a number that nobody has.
            Some((Offset(offset), self.values.get(&name).copied().unwrap_or(UNKNOWN | name)))
        };
        records.iter().map(|pair| record(pair).ok_or(format!("{pair} is not [offset, value]"))).collect()
    }

    fn partition(&mut self, line: &Json) -> Result<TopicPartition, String> {
        let name = word(line, "partition")?;
        let number = i32::try_from(number_of(&mut self.partitions, name)).map_err(|error| error.to_string())?;
        Ok(partition(TopicId([0xff; 16]), number))
    }

    /// Judges it. A violation speaks of partitions and values by the names that the lines used.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self) -> Result<(), Violation> {
        h1::check(&self.history).map_err(|found| Violation {
            subject: self.named(&found.subject),
            why: self.named(&found.why),
            ..found
        })
    }

    /// A text of the checker's with the names put in: `value 3` becomes `value 17 (java)`.
    fn named(&self, text: &str) -> String {
        let topic = TopicId([0xff; 16]).to_string();
        let mut words: Vec<String> = Vec::new();
        for word in text.split(' ') {
            let after_value = words.last().is_some_and(|last| last == "value");
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
            let place = word.strip_prefix(&topic).and_then(|rest| rest.strip_prefix('-'));
            let after_reader = words.last().is_some_and(|last| last == "reader");
            let reader = word.parse().ok().and_then(|number: usize| self.processes.get(number));
            words.push(if after_reader && let Some(reader) = reader {
                reader.clone()
            } else if after_value && let Ok(value) = digits.parse::<u64>() {
                match (self.names.get(value as usize), self.history.sends.get(value as usize)) {
                    (Some(name), Some(sent)) => {
                        format!("{name} ({}){}", self.processes[sent.session as usize], &word[digits.len()..])
                    }
                    _ => format!("{}{}", value & !UNKNOWN, &word[digits.len()..]),
                }
            } else if let Some(place) = place {
                let (number, rest) = place.split_at(place.find(|c: char| !c.is_ascii_digit()).unwrap_or(place.len()));
                let name = number.parse().ok().and_then(|number: usize| self.partitions.get(number));
                format!("{}{rest}", name.map_or(number, String::as_str))
            } else {
                word.to_owned()
            });
        }
        words.join(" ")
    }

    /// How much it has.
    pub fn counts(&self) -> Counts {
        let fates =
            |wanted: fn(&Fate) -> bool| self.history.sends.iter().filter(|sent| wanted(&sent.fate)).count() as u64;
        Counts {
            sent: self.history.sends.len() as u64,
            acknowledged: fates(|fate| matches!(fate, Fate::Acknowledged(_))),
            failed: fates(|fate| *fate == Fate::Failed),
            open: fates(|fate| *fate == Fate::Open),
            polled: self.history.polls.iter().map(|poll| poll.seen.len() as u64).sum(),
            found: self.history.finals.values().map(|read| read.seen.len() as u64).sum(),
            partitions: self.history.finals.len() as u64,
        }
    }
}

/// Set in the number of a value that nobody sent.
const UNKNOWN: Value = 1 << 63;

fn number_of(names: &mut Vec<String>, name: &str) -> u64 {
    let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    place as u64
}

fn word<'l>(line: &'l Json, field: &str) -> Result<&'l str, String> {
    line.get(field).and_then(Json::as_str).ok_or_else(|| format!("{field} is missing"))
}

fn integer(line: &Json, field: &str) -> Result<i64, String> {
    line.get(field).and_then(Json::as_i64).ok_or_else(|| format!("{field} is not a number"))
}

fn natural(line: &Json, field: &str) -> Result<u64, String> {
    line.get(field).and_then(Json::as_u64).ok_or_else(|| format!("{field} is not a natural number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &str) -> Recorded {
        let mut recorded = Recorded::new();
        for line in lines.lines() {
            recorded.line(line).expect("the line is good");
        }
        recorded
    }

    fn send(value: u64, offset: i64) -> String {
        format!(
            "{{\"process\":\"java\",\"type\":\"invoke\",\"f\":\"send\",\"partition\":\"orders-0\",\"value\":{value}}}\n\
             {{\"process\":\"java\",\"type\":\"ok\",\"f\":\"send\",\"value\":{value},\"offset\":{offset}}}\n"
        )
    }

    fn end(records: &str, end: i64) -> String {
        format!(
            "{{\"process\":\"end\",\"type\":\"ok\",\"f\":\"final\",\"partition\":\"orders-0\",\
             \"start\":0,\"end\":{end},\"records\":{records}}}\n"
        )
    }

    #[test]
    fn a_good_history_is_counted_and_passes() {
        let recorded = history(&(send(70, 0) + &send(71, 1) + &end("[[0,70],[1,71]]", 2)));
        assert_eq!(recorded.check(), Ok(()));
        let counts = recorded.counts();
        assert_eq!((counts.sent, counts.acknowledged, counts.found, counts.partitions), (2, 2, 2, 1));
    }

    #[test]
    fn a_planted_loss_is_found_and_named() {
        let found = history(&(send(70, 0) + &send(71, 1) + &end("[[1,71]]", 2))).check().expect_err("70 is lost");
        assert_eq!((found.anomaly, found.subject.as_str()), ("lost-write", "orders-0@0"));
        assert!(found.why.starts_with("value 70 (java) was acknowledged"), "{}", found.why);
    }

    #[test]
    fn an_acknowledgement_without_an_offset_is_a_promise_too() {
        let sent = send(70, 0).replace(",\"offset\":0", "");
        assert_eq!(history(&(sent.clone() + &end("[[0,70]]", 1))).check(), Ok(()));
        let found = history(&(sent + &end("[]", 1))).check().expect_err("70 is lost");
        assert_eq!(found.anomaly, "lost-write");
    }

    #[test]
    fn a_planted_duplicate_is_found() {
        let recorded = history(&(send(70, 0) + &end("[[0,70],[1,70]]", 2)));
        assert_eq!(recorded.check().expect_err("70 is there twice").anomaly, "duplicate");
    }

    #[test]
    fn an_order_turned_round_is_found() {
        let sent = (send(70, 0) + &send(71, 1)).replace(",\"offset\":0", "").replace(",\"offset\":1", "");
        let recorded = history(&(sent + &end("[[0,71],[1,70]]", 2)));
        assert_eq!(recorded.check().expect_err("71 stands before 70").anomaly, "nonmonotonic-send");
    }

    #[test]
    fn a_reader_that_passes_over_a_value_is_found() {
        let poll = "{\"process\":\"tail\",\"type\":\"ok\",\"f\":\"poll\",\"partition\":\"orders-0\",\"assignment\":0,\
                    \"position\":0,\"records\":[[0,70],[2,72]]}\n";
        let recorded = history(&(send(70, 0) + &send(71, 1) + &send(72, 2) + poll));
        assert_eq!(recorded.check().expect_err("71 was passed over").anomaly, "poll-skip");
    }

    #[test]
    fn a_value_that_nobody_sent_is_garbage() {
        let found = history(&(send(70, 0) + &end("[[0,70],[1,99]]", 2))).check().expect_err("nobody sent 99");
        assert_eq!(found.anomaly, "garbage");
        assert!(found.why.contains("value 99 was never sent"), "{}", found.why);
    }

    #[test]
    fn a_line_that_is_no_history_is_refused() {
        for line in
            ["{", "{}", "{\"f\":\"send\",\"type\":\"ok\",\"value\":7}", "{\"f\":\"dance\",\"type\":\"ok\"}", "[1]"]
        {
            assert!(Recorded::new().line(line).is_err(), "{line}");
        }
    }
}
