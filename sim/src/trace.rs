//! What happened, folded into 128 bits.
//!
//! Every event adds a few words to a rolling hash; two runs of one seed are equal when their hashes are. Every
//! [`CHECKPOINT_EVENTS`] events the hash is kept, so that two runs that differ can be compared piece by piece.
//! Text is made only when somebody wants to read it: a replay is free.

use std::{collections::VecDeque, fmt, ops::Range};

use tidelog_core::prng::mix;

use crate::film::Film;

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

/// One event of a run that is looked at closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its number, from 0.
    pub event: u64,
    /// Virtual time in nanoseconds.
    pub at: u64,
    /// What it is.
    pub words: Vec<u64>,
    /// All that happened before it.
    pub before: Digest,
    /// What came of it, in words.
    pub lines: Vec<String>,
}

impl Note {
    /// What it is, for people.
    pub fn what(&self) -> String {
        let what = match self.words[..] {
            [one, call] if one >> 32 == 1 => format!("client {} hears of call {call}", one & 0xffff_ffff),
            [one] if one >> 32 == 2 => format!("a strike on n{}", one & 0xffff_ffff),
            [node, input] => format!("n{node} takes input {input:016x}"),
            _ => format!("{:x?}", self.words),
        };
        format!("event {} at {} s, {what}, with {} before it", self.event, Seconds(self.at), self.before)
    }
}

/// The first event in which two runs differ, as each of them had it. Runs that are equal as far as both were noted
/// give `None`.
pub fn first_difference<'a>(one: &'a [Note], other: &'a [Note]) -> Option<(Option<&'a Note>, Option<&'a Note>)> {
    // What an event adds shows in what stands before the next one.
    let differs = |at: usize| {
        let same = one.get(at).zip(other.get(at)).is_some_and(|(a, b)| (a.at, &a.words) == (b.at, &b.words));
        let next = (one.get(at + 1).map(|note| note.before), other.get(at + 1).map(|note| note.before));
        !same || matches!(next, (Some(a), Some(b)) if a != b)
    };
    let at = (0..one.len().max(other.len())).find(|&at| differs(at))?;
    Some((one.get(at), other.get(at)))
}

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    digest: Digest,
    events: u64,
    checkpoints: Vec<Checkpoint>,
    lines: Option<VecDeque<String>>,
    film: Option<Box<Film>>,
    noted: Option<(Range<u64>, Vec<Note>)>,
}

impl Trace {
    /// Nothing has happened. With `record`, lines of text are kept too.
    pub fn new(record: bool) -> Self {
        Self {
            digest: Digest::default(),
            events: 0,
            checkpoints: Vec::new(),
            lines: record.then(VecDeque::new),
            film: None,
            noted: None,
        }
    }

    /// These events are looked at closely.
    pub fn note(&mut self, events: Range<u64>) {
        self.noted = Some((events, Vec::new()));
    }

    /// The events that were looked at closely.
    pub fn into_notes(self) -> Vec<Note> {
        self.noted.map(|(_, notes)| notes).unwrap_or_default()
    }

    /// From now on a film is taken, too.
    pub fn take_film(&mut self) {
        self.film = Some(Box::default());
    }

    /// Something for the film, if one is taken.
    pub fn show(&mut self, show: impl FnOnce(&mut Film)) {
        if let Some(film) = &mut self.film {
            show(film);
        }
    }

    /// The film, if one was taken.
    pub fn film(&self) -> Option<&Film> {
        self.film.as_deref()
    }

    /// One event at `at`.
    pub fn event(&mut self, at: u64, words: &[u64]) {
        if let Some((events, notes)) = &mut self.noted
            && events.contains(&self.events)
        {
            let (event, before) = (self.events, self.digest);
            notes.push(Note { event, at, words: words.to_vec(), before, lines: Vec::new() });
        }
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
        if let Some((events, notes)) = &mut self.noted {
            if events.contains(&self.events.saturating_sub(1))
                && let Some(note) = notes.last_mut()
            {
                note.lines.push(text());
            }
            return;
        }
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
    fn the_first_event_that_differs_is_found_though_its_words_are_the_same() {
        let notes = |odd: u64| {
            let mut trace = Trace::new(false);
            trace.note(1..5);
            for event in 0..6 {
                trace.event(event, &[event]);
                trace.fold(if event == 3 { odd } else { 0 });
                trace.line(event, || format!("line {event}"));
            }
            trace.into_notes()
        };
        let (one, other) = (notes(7), notes(8));
        assert_eq!(one.len(), 4, "only what was asked for is noted");
        let (a, b) = first_difference(&one, &other).expect("they differ");
        assert_eq!((a.map(|note| note.event), b.map(|note| note.event)), (Some(3), Some(3)));
        assert_eq!(a.map(|note| &note.lines[..]), Some(&["line 3".to_owned()][..]));
        assert_eq!(first_difference(&one, &one), None);
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
