//! What clients were told and what a reader found, and whether the two agree.
//!
//! Every record has a value of its own. The rules: an acknowledged record is in the log once, where its acknowledgement
//! said; one that was refused is not there; one whose fate nobody knows may be there, once; the records of a writer
//! stand in the order in which they were sent; and what a reader saw while all this went on is what stands there at
//! the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

/// A record: its writer, and its place among that writer's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) writer: u32,
    pub(crate) number: u32,
}

/// Shared by all clients of a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Book>);

/// Partitions and what stands in them, by offset.
pub(crate) type Contents = BTreeMap<i32, BTreeMap<i64, Value>>;

#[derive(Debug, Default)]
struct Book {
    sent: BTreeSet<Value>,
    acknowledged: BTreeMap<Value, (i32, Option<i64>)>,
    refused: BTreeSet<Value>,
    /// As seen by readers on the way.
    seen: Contents,
    breaches: Vec<String>,
}

impl Value {
    /// As it stands in a record, with filling up to a size.
    pub(crate) fn to_bytes(self, size: usize) -> Vec<u8> {
        let mut bytes = [self.writer.to_be_bytes(), self.number.to_be_bytes()].concat();
        let filling = self.number as u8 ^ self.writer as u8;
        bytes.resize(size.max(bytes.len()), filling);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (writer, rest) = bytes.split_first_chunk::<4>()?;
        let (number, filling) = rest.split_first_chunk::<4>()?;
        let value = Self { writer: u32::from_be_bytes(*writer), number: u32::from_be_bytes(*number) };
        filling.iter().all(|&byte| byte == value.number as u8 ^ value.writer as u8).then_some(value)
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("no panic while held")
    }

    pub(crate) fn sent(&self, value: Value) {
        self.book().sent.insert(value);
    }

    pub(crate) fn acknowledged(&self, value: Value, partition: i32, offset: Option<i64>) {
        self.book().acknowledged.insert(value, (partition, offset));
    }

    /// It was said that this was not stored.
    pub(crate) fn refused(&self, value: Value) {
        self.book().refused.insert(value);
    }

    /// A reader on the way was handed this.
    pub(crate) fn seen(&self, partition: i32, offset: i64, value: Option<Value>) {
        let mut book = self.book();
        let Some(value) = value else {
            return book.breaches.push(format!("{partition}@{offset}: not what anybody wrote"));
        };
        if let Some(before) = book.seen.entry(partition).or_default().insert(offset, value)
            && before != value
        {
            book.breaches.push(format!("{partition}@{offset}: {before:?} became {value:?}"));
        }
    }

    /// How many records were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.book().acknowledged.len()
    }

    /// What is wrong, when this is all that stands in the log at the end.
    pub(crate) fn check(&self, contents: &Contents) -> Vec<String> {
        let book = self.book();
        let mut breaches = book.breaches.clone();
        let mut found: BTreeMap<Value, (i32, i64)> = BTreeMap::new();
        for (&partition, records) in contents {
            let mut last: BTreeMap<u32, u32> = BTreeMap::new();
            for (&offset, &value) in records {
                if let Some(other) = found.insert(value, (partition, offset)) {
                    breaches.push(format!("{value:?} is there twice: {other:?} and {partition}@{offset}"));
                }
                if last.insert(value.writer, value.number).is_some_and(|before| before > value.number) {
                    breaches.push(format!("{value:?} at {partition}@{offset} stands behind a later one"));
                }
                if !book.sent.contains(&value) {
                    breaches.push(format!("{value:?} at {partition}@{offset} was never sent"));
                }
                if book.refused.contains(&value) {
                    breaches.push(format!("{value:?} at {partition}@{offset} was refused"));
                }
            }
        }
        for (value, &(partition, offset)) in &book.acknowledged {
            match found.get(value) {
                None => breaches.push(format!("{value:?}, acknowledged at {partition}@{offset:?}, is lost")),
                Some(&(there, at)) if there != partition || offset.is_some_and(|offset| offset != at) => {
                    breaches.push(format!("{value:?}, acknowledged at {partition}@{offset:?}, is at {there}@{at}"));
                }
                Some(_) => {}
            }
        }
        for (partition, seen) in &book.seen {
            for (offset, value) in seen {
                let there = contents.get(partition).and_then(|records| records.get(offset));
                if there != Some(value) {
                    breaches.push(format!("{value:?} was read at {partition}@{offset}, where {there:?} is now"));
                }
            }
        }
        breaches
    }
}

#[test]
fn the_ledger_sees_what_is_lost_doubled_moved_and_out_of_order() {
    let value = |number| Value { writer: 1, number };
    let check = |contents: &[(i64, u32)], change: fn(&Ledger, Value)| {
        let ledger = Ledger::default();
        for number in 0..3 {
            ledger.sent(value(number));
        }
        ledger.acknowledged(value(0), 0, Some(0));
        change(&ledger, value(1));
        let contents = contents.iter().map(|&(offset, number)| (offset, value(number))).collect();
        ledger.check(&[(0, contents)].into()).len()
    };
    let nothing: fn(&Ledger, Value) = |_, _| {};
    assert_eq!(check(&[(0, 0)], nothing), 0);
    assert_eq!(check(&[(0, 0), (1, 1), (2, 2)], nothing), 0);
    assert_eq!(check(&[], nothing), 1, "lost");
    assert_eq!(check(&[(1, 0)], nothing), 1, "moved");
    assert_eq!(check(&[(0, 0), (1, 2), (2, 1)], nothing), 1, "out of order");
    assert_eq!(check(&[(0, 0), (1, 7)], nothing), 1, "from nowhere");
    assert_eq!(check(&[(0, 0), (1, 1), (2, 1)], nothing), 1, "doubled");
    assert_eq!(check(&[(0, 0), (1, 1)], |ledger, value| ledger.refused(value)), 1, "refused and there");
    assert_eq!(check(&[(0, 0)], |ledger, value| ledger.seen(0, 1, Some(value))), 1, "read and gone");
    assert_eq!(Value::from_bytes(&value(5).to_bytes(40)), Some(value(5)));
    assert_eq!(Value::from_bytes(&[0; 7]), None);
}
