//! A run as lists: what is struck, and when which client begins something. Data that can be cut down.
//!
//! A run draws both from its seed. It can also be given them: then only what is listed happens. Each entry says how many
//! values of its random stream had been drawn when it came, so that an entry goes on as it did although others
//! before it are gone; a run that is given all of its own lists is the very run that they came from.

use std::collections::VecDeque;

use crate::{nemesis::Strike, rng::Stream};

/// A strike in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// What is struck.
    pub strike: Strike,
    /// Values that the world had drawn when it came; unknown before.
    pub drawn: Option<u64>,
}

impl Staged {
    /// A strike that goes by what is drawn by then.
    pub fn new(strike: Strike) -> Self {
        Self { strike, drawn: None }
    }

    /// It comes: the world's random values go on from where they stood.
    pub fn begin(&mut self, random: &mut Stream) -> Strike {
        match self.drawn {
            Some(drawn) => random.seek(drawn),
            None => self.drawn = Some(random.drawn()),
        }
        self.strike.clone()
    }
}

/// A client begins something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which client, by its place.
    pub client: usize,
    /// Virtual time.
    pub at: u64,
    /// Values that the client had drawn by then: they say what it does.
    pub drawn: u64,
}

/// What goes by a list in a run; the rest goes by the seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// All that is struck.
    pub strikes: Option<Vec<Staged>>,
    /// All that clients begin.
    pub ops: Option<Vec<Op>>,
    /// Clients that never do anything.
    pub silent: Vec<usize>,
}

impl Script {
    /// The operations of one client.
    pub fn ops_of(&self, client: usize) -> Ops {
        let of = |ops: &Vec<Op>| ops.iter().filter(|op| op.client == client).copied().collect();
        Ops { listed: self.ops.as_ref().map(of), begun: Vec::new() }
    }
}

/// When one client begins something.
#[derive(Clone, Debug, Default)]
pub struct Ops {
    listed: Option<VecDeque<Op>>,
    begun: Vec<(u64, u64)>,
}

impl Ops {
    /// Is it time for something new? A client that goes by a list has its clock and its random values put to it.
    pub fn due(&mut self, now: u64, next: &mut u64, random: &mut Stream) -> bool {
        let is_due = match &mut self.listed {
            None => now >= *next,
            Some(listed) => match listed.front() {
                Some(op) if op.at <= now => {
                    random.seek(op.drawn);
                    listed.pop_front();
                    true
                }
                later => {
                    *next = later.map_or(u64::MAX, |op| op.at);
                    false
                }
            },
        };
        if is_due {
            self.begun.push((now, random.drawn()));
        }
        is_due
    }

    /// When to look whether the next one is due, if it would be at `drawn` without a list. With one the client wakes then
    /// all the same: it draws whenever it wakes, and so does the order of events.
    pub fn next(&self, drawn: u64) -> u64 {
        self.listed.as_ref().and_then(VecDeque::front).map_or(drawn, |op| op.at.min(drawn))
    }

    /// All that has begun.
    pub fn begun(&self, client: usize) -> impl Iterator<Item = Op> + '_ {
        self.begun.iter().map(move |&(at, drawn)| Op { client, at, drawn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn a_listed_client_begins_what_is_listed_with_the_values_it_had() {
        let op = |at, drawn| Op { client: 1, at, drawn };
        let script = Script { ops: Some(vec![op(5, 9), Op { client: 0, at: 6, drawn: 0 }]), ..Script::default() };
        let (mut ops, mut random, mut next) = (script.ops_of(1), Stream::new(0, Purpose::Workload, 1), 0);
        assert!(!ops.due(0, &mut next, &mut random));
        assert_eq!(next, 5);
        assert!(ops.due(5, &mut next, &mut random));
        assert_eq!(random.drawn(), 9);
        assert_eq!(ops.next(7), 7);
        assert!(!ops.due(7, &mut next, &mut random), "nothing else is listed for it");
        assert_eq!(next, u64::MAX);
        assert_eq!(ops.begun(1).collect::<Vec<_>>(), [op(5, 9)]);
    }
}
