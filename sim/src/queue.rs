//! Virtual time: a heap of events keyed by `(time, tie, seq)`.
//!
//! Events of one instant come in the order in which they were scheduled, or with `shuffle` in a random but keyed
//! order, which finds code that leans on the first.
//!
//! The heap moves keys only: an event can be as large as a response, and lies still in its slot until its time comes.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::rng::{Purpose, Stream};

/// Where an event stands in time, and in which slot it lies.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    tie: u64,
    seq: u64,
    slot: usize,
}

/// The events still to come.
#[derive(Debug)]
pub struct Queue<E> {
    // The heap gives its greatest.
    heap: BinaryHeap<Reverse<Entry>>,
    slots: Vec<Option<E>>,
    free: Vec<usize>,
    now: u64,
    seq: u64,
    tie: Option<Stream>,
}

impl<E> Queue<E> {
    /// No event, time zero.
    pub fn new(seed: u64, shuffle: bool) -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            now: 0,
            seq: 0,
            tie: shuffle.then(|| Stream::new(seed, Purpose::Tie, 0)),
        }
    }

    /// The present, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Has an event happen `delay` nanoseconds from now.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Has an event happen at this time, or now if that is past.
    pub fn at(&mut self, at: u64, event: E) {
        let tie = self.tie.as_mut().map_or(0, Stream::draw);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        self.heap.push(Reverse(Entry { at: at.max(self.now), tie, seq: self.seq, slot }));
        self.seq += 1;
    }

    /// The next event; time moves to it.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        assert!(entry.at >= self.now, "time went back");
        self.now = entry.at;
        self.free.push(entry.slot);
        let event = self.slots[entry.slot].take();
        assert!(event.is_some(), "an event lies in its slot until its time comes");
        event
    }

    /// When the next event is.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.0.at)
    }

    /// Lets time pass in which nothing happens.
    pub fn pass_to(&mut self, at: u64) {
        assert!(self.next_at().is_none_or(|next| next >= at), "something happens before");
        self.now = self.now.max(at);
    }

    /// How many events are to come.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Is none to come?
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_scheduling() {
        let mut queue = Queue::new(0, false);
        queue.after(5, 'c');
        queue.after(1, 'a');
        queue.after(1, 'b');
        assert_eq!([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [Some('a'), Some('b'), Some('c'), None]);
        assert_eq!(queue.now(), 5);
    }

    #[test]
    fn a_shuffled_instant_is_the_same_every_time() {
        let order = |seed| {
            let mut queue = Queue::new(seed, true);
            for i in 0..8 {
                queue.after(0, i);
            }
            std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
