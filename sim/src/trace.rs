//! What happened, folded into 128 bits.
//!
//! Every event adds a few words to a rolling hash; two runs of one seed are equal when their hashes are. Every
//! [`CHECKPOINT_EVENTS`] events the hash is kept, so that two runs that differ can be compared piece by piece.
//! Text is made only when somebody wants to read it: a replay is free.

use std::{collections::VecDeque, fmt};

use tidelog_core::prng::mix;

/// Events between two checkpoints.
pub const CHECKPOINT_EVENTS: u64 = 4_096;
/// State lines that a recording run remembers.
const LINES_MAX: usize = 100_000;

/// The 128-bit fold of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64, u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// Where a run stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Events so far.
    pub events: u64,
    /// Virtual time in nanoseconds.
    pub at: u64,
    /// All that happened up to here.
    pub digest: Digest,
}

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    digest: Digest,
    events: u64,
    checkpoints: Vec<Checkpoint>,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// Nothing has happened. With `record`, lines of text are kept too.
    pub fn new(record: bool) -> Self {
        Self { digest: Digest::default(), events: 0, checkpoints: Vec::new(), lines: record.then(VecDeque::new) }
    }

    /// One event at `at`.
    pub fn event(&mut self, at: u64, words: &[u64]) {
        self.fold(at);
        for &word in words {
            self.fold(word);
        }
        self.events += 1;
        if self.events.is_multiple_of(CHECKPOINT_EVENTS) {
            self.checkpoints.push(Checkpoint { events: self.events, at, digest: self.digest });
        }
    }

    /// More of the event that is under way.
    pub fn fold(&mut self, word: u64) {
        self.digest.0 = mix(self.digest.0 ^ word);
        self.digest.1 = mix(self.digest.1.rotate_left(23).wrapping_add(word ^ 0x5bd1_e995_9d1f_3a47));
    }

    /// A line of text, made only if lines are kept.
    pub fn line(&mut self, at: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{:>12.6}  {}", Seconds(at), text()));
        }
    }

    /// Are lines kept?
    pub fn is_recording(&self) -> bool {
        self.lines.is_some()
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The fold of all events so far.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All checkpoints so far.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// The lines kept.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.lines.iter().flatten().map(String::as_str)
    }
}

/// Nanoseconds shown as seconds, by integers.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000);
        f.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_events_fold_to_equal_hashes_and_order_counts() {
        let fold = |words: &[u64]| {
            let mut trace = Trace::new(false);
            for &word in words {
                trace.event(word, &[word]);
            }
            trace.digest()
        };
        assert_eq!(fold(&[1, 2, 3]), fold(&[1, 2, 3]));
        assert_ne!(fold(&[1, 2, 3]), fold(&[1, 3, 2]));
    }

    #[test]
    fn checkpoints_come_every_so_many_events() {
        let mut trace = Trace::new(false);
        for at in 0..CHECKPOINT_EVENTS * 2 + 1 {
            trace.event(at, &[]);
        }
        assert_eq!(trace.checkpoints().len(), 2);
        assert_eq!(trace.checkpoints()[1].events, CHECKPOINT_EVENTS * 2);
    }
}
