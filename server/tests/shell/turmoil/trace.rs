//! A run as a number: everything that turmoil's network did, what the nodes logged and what the clients noted, hashed.
//!
//! Two runs of one seed must give the same number. Where they do not, both are run again and the first lines that differ
//! are shown.

use std::{
    cell::RefCell,
    fmt::{self, Debug, Write},
    ops::Range,
    sync::{Arc, Mutex},
};

use tidelog_core::prng::mix;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Collects a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    hash: u64,
    lines: u64,
    /// The hash after every so many lines.
    marks: Vec<u64>,
    line: String,
    step: String,
    keep: Range<u64>,
    kept: Vec<String>,
    /// Lines that somebody waits for, and how many came.
    warnings: Vec<String>,
}

thread_local! {
    /// Where clients' notes go.
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

impl Trace {
    /// One that keeps these lines.
    fn keeping(keep: Range<u64>) -> Self {
        let trace = Self::default();
        trace.book().keep = keep;
        trace
    }

    /// Runs `work` with its events going here.
    fn collect<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.with_borrow_mut(|current| *current = Some(self.clone()));
        let result = tracing::subscriber::with_default(Collector(self.clone()), work);
        CURRENT.with_borrow_mut(|current| *current = None);
        result
    }

    /// How many warnings of nodes held this text.
    pub(crate) fn warned(&self, text: &str) -> usize {
        self.book().warnings.iter().filter(|warning| warning.contains(text)).count()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().expect("no panic while held")
    }

    fn end(&self) -> (u64, u64) {
        let book = self.book();
        (book.hash, book.lines)
    }
}

/// A line of a client.
pub(crate) fn note(line: String) {
    CURRENT.with_borrow(|current| {
        if let Some(trace) = current {
            let mut book = trace.book();
            book.line.clear();
            book.line.push_str(&line);
            book.end_line();
        }
    });
}

/// Runs `run` twice and demands the same of both. The first one's result.
pub(crate) fn twice<T>(name: &str, run: impl Fn(&Trace) -> T) -> T {
    let traces = [Trace::default(), Trace::default()];
    let [first, _] = traces.each_ref().map(|trace| trace.collect(|| run(trace)));
    if traces[0].end() != traces[1].end() {
        let marks = traces.each_ref().map(|trace| trace.book().marks.clone());
        let same = marks[0].iter().zip(&marks[1]).take_while(|(one, other)| one == other).count() as u64;
        let keep = same * LINES_PER_MARK..(same + 1) * LINES_PER_MARK;
        let kept = [(), ()].map(|()| {
            let trace = Trace::keeping(keep.clone());
            trace.collect(|| run(&trace));
            std::mem::take(&mut trace.book().kept)
        });
        let at = kept[0].iter().zip(&kept[1]).take_while(|(one, other)| one == other).count();
        let shown = kept.map(|lines| lines[at.saturating_sub(5).min(lines.len())..].iter().take(12).cloned().collect());
        let [one, other]: [Vec<String>; 2] = shown;
        panic!(
            "{name}: two runs differ from about line {}:\n  {}\n---\n  {}",
            keep.start + at as u64,
            one.join("\n  "),
            other.join("\n  ")
        );
    }
    first
}

impl Book {
    fn end_line(&mut self) {
        for chunk in self.line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = mix(self.hash ^ u64::from_le_bytes(word));
        }
        if self.keep.contains(&self.lines) {
            let shown: String = self.line.chars().take(250).collect();
            self.kept.push(format!("{}:{shown}", self.step.trim_start_matches(" message=")));
        }
        self.lines += 1;
        if self.lines.is_multiple_of(LINES_PER_MARK) {
            self.marks.push(self.hash);
        }
    }
}

/// The collecting end, for `tracing`.
struct Collector(Trace);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && (metadata.target() == "turmoil"
                || metadata.target().starts_with("tidelog") && *metadata.level() <= Level::INFO)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut book = self.0.book();
        let mut line = std::mem::take(&mut book.line);
        line.clear();
        event.record(&mut Fields(&mut line));
        // The clock ticks on every node's behalf: it is no event, but says when the others are.
        if line.starts_with(" message=step ") {
            std::mem::swap(&mut book.step, &mut line);
            book.line = line;
            return;
        }
        if *event.metadata().level() == Level::WARN {
            book.warnings.push(line.clone());
        }
        // So that what happens at another time is another event.
        let step = std::mem::take(&mut book.step);
        line.push_str(&step);
        book.step = step;
        book.line = line;
        book.end_line();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // How long something took is real time.
        if field.name() != "took" {
            let _ = write!(self.0, " {}=", field.name());
            // What is longer is cut: a segment's first bytes tell it from another.
            let room = LINE_CHARS_MAX;
            let _ = write!(Short { line: self.0, room }, "{value:?}");
        }
    }
}

/// Takes the beginning of what is written, and ends the writing there.
struct Short<'a> {
    line: &'a mut String,
    room: usize,
}

impl Write for Short<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.room = self.room.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.line.write_str(text)
    }
}

/// Lines between two marks.
const LINES_PER_MARK: u64 = 256;
/// What of one value is kept: of a segment, its first 60 bytes or so.
const LINE_CHARS_MAX: usize = 400;
