//! Compaction: of each key only the newest value stays (semantics §12).
//!
//! ```text
//! log start ....... cleaned to ............... end of the round ....... bound       active
//! |  clean segments   |  dirty segments, mapped  |  too new, or undecided |         |
//! ```
//!
//! A round *maps* the newest offset of every key in the dirty part, then *copies* what is to stay, segment by
//! segment from the front, into new segments that take the place of the old ones; small neighbours are merged.
//! Offsets never change. What a reader finds at any moment is a log from which only superseded records, expired
//! tombstones and aborted records are missing.
//!
//! Invariants: only whole, closed segments are touched, all of whose bytes, indexes and snapshots a checkpoint
//! vouches for, and which lie below the last stable offset; a new segment is on the disk, in full, before anything
//! of an old one goes (see [`swap`]); work is cut into steps of [`limits::CLEAN_STEP_BYTES`], between which the log can
//! be appended to, read, and truncated. A truncation, or retention taking a segment that is being worked on, ends the
//! round without harm: the next one begins anew.

mod filter;
mod map;
mod swap;
mod transactions;

use alloc::{format, vec::Vec};

use super::{Disk, LogError, names, segment::Segment, store::Log, walk::Walk};
use crate::{limits, mutant, offset::Offset, record::Batch, time::Timestamp};
use filter::{Filter, Verdict, map_batch};
use map::{KeyMap, MapFull};
use transactions::{Aborted, Survey, Transactions};

pub(crate) use swap::finish_swaps;

/// A round of cleaning.
pub(crate) struct Cleaning<D: Disk> {
    /// As it was ordered: the last stable offset, and the time.
    pub(crate) bound: Offset,
    pub(crate) wall: Timestamp,
    /// The log's count of truncations.
    generation: u64,
    /// First offset that was never mapped.
    dirty: Offset,
    /// Base of the first segment that the round leaves alone.
    end: Offset,
    map: KeyMap,
    /// Aborted transactions that the survey found; none before it is needed.
    aborted: Vec<Aborted>,
    surveyed: bool,
    transactions: Transactions,
    /// Base offset of the last batch before `end`.
    last_batch: Option<Offset>,
    /// The next batch to look at.
    at: Cursor,
    phase: Phase<D>,
}

/// A batch by where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// Base of its segment.
    segment: Offset,
    position: u64,
}

enum Phase<D: Disk> {
    /// Keys go into the map.
    Map,
    /// Ends of transactions are looked for; afterwards the mapping goes on at `resume`.
    Survey { survey: Survey, resume: Cursor },
    /// Batches go into new segments.
    Copy { output: Option<Output<D>> },
}

/// A segment in the making.
struct Output<D: Disk> {
    segment: Segment<D>,
    /// Bases of the segments that it replaces.
    sources: Vec<Offset>,
    /// Does it differ from its source?
    changed: bool,
}

/// What a step brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CleanProgress {
    /// There is more to do.
    More,
    /// The round is over: everything below this offset is clean.
    Done(Offset),
    /// The log changed under the round, which is given up.
    Abandoned,
}

impl<D: Disk> Cleaning<D> {
    /// Begins a round if enough of the log is dirty: more than `min.cleanable.dirty.ratio` of what could be clean, or
    /// any of it older than `max.compaction.lag.ms`. `cleaned_to` is the end of the last round, if there was one;
    /// nothing at or past `bound` is touched. Costs a look at each segment.
    pub(crate) fn begin(
        log: &mut Log<D>,
        cleaned_to: Option<Offset>,
        bound: Offset,
        wall: Timestamp,
    ) -> Result<Option<Self>, LogError> {
        if !log.config.cleanup.compact {
            return Ok(None);
        }
        // A checkpoint from before a truncation, or behind what retention has taken, says nothing.
        let dirty = cleaned_to.filter(|c| (log.log_start..=log.end).contains(c)).unwrap_or(log.log_start);
        let end = first_uncleanable(log, bound, wall)?;
        let first_dirty = log.segment_of(dirty);
        let last = log.segments.partition_point(|s| s.base < end);
        if dirty >= end || first_dirty >= last {
            return Ok(None);
        }
        let size_of = |segments: &[Segment<D>]| segments.iter().map(|s| s.size).sum::<u64>();
        let dirty_bytes = size_of(&log.segments[first_dirty..last]);
        let bytes = size_of(&log.segments[..last]);
        let dirty_enough = dirty_bytes * 1000 > bytes * u64::from(log.config.min_cleanable_dirty_permille);
        if dirty_bytes == 0 || !dirty_enough && !is_overdue(log, first_dirty, wall)? {
            return Ok(None);
        }
        swap::discard_unfinished(&log.at)?;
        Ok(Some(Self {
            bound,
            wall,
            generation: log.generation,
            dirty,
            end,
            map: KeyMap::new(),
            aborted: Vec::new(),
            surveyed: false,
            transactions: Transactions::new(&[]),
            last_batch: None,
            at: Cursor { segment: log.segments[first_dirty].base, position: 0 },
            phase: Phase::Map,
        }))
    }

    /// Goes on for a while. After an error the round is over, and nothing of it is left but files that the next
    /// round or start removes; after [`LogError::Offline`] a swap may be half done, which the next start completes.
    pub(crate) fn step(&mut self, log: &mut Log<D>) -> Result<CleanProgress, LogError> {
        if !self.still_fits(log) {
            swap::discard_unfinished(&log.at)?;
            return Ok(CleanProgress::Abandoned);
        }
        match &mut self.phase {
            Phase::Map => self.map_some(log),
            Phase::Survey { .. } => self.survey_some(log),
            Phase::Copy { .. } => self.copy_some(log),
        }
    }

    /// Are the segments that the round works on still there?
    fn still_fits(&self, log: &Log<D>) -> bool {
        let is_there = |base: &Offset| log.segments.binary_search_by_key(base, |s| s.base).is_ok();
        let sources_are_there = match &self.phase {
            Phase::Copy { output: Some(output) } => output.sources.iter().all(is_there),
            _ => true,
        };
        self.generation == log.generation && is_there(&self.at.segment) && is_there(&self.end) && sources_are_there
    }

    fn map_some(&mut self, log: &mut Log<D>) -> Result<CleanProgress, LogError> {
        let mut full = false;
        let mut undecided = None;
        let index = index_of(log, self.at.segment);
        let (mut read, done) = read_batches(log, index, self.at.position)?;
        for (position, batch) in read.drain(..) {
            let header = batch.header();
            if header.is_transactional() && !header.is_control() && !self.surveyed {
                undecided = Some(position);
                break;
            }
            self.last_batch = Some(header.base_offset);
            if map_batch(&mut self.map, &mut self.transactions, &batch, self.dirty) == Err(MapFull) {
                full = true;
                break;
            }
            self.at.position = position + batch.size() as u64;
        }
        if let Some(position) = undecided {
            self.at.position = position;
            self.phase = Phase::Survey { survey: Survey::default(), resume: self.at };
            return Ok(CleanProgress::More);
        }
        if !full && !done {
            return Ok(CleanProgress::More);
        }
        let next = log.segments[index + 1].base;
        if !full && next < self.end {
            self.map.covers_to(next.max(self.dirty));
            self.at = Cursor { segment: next, position: 0 };
            return Ok(CleanProgress::More);
        }
        if full {
            self.last_batch = None;
        } else {
            self.map.covers_to(self.end);
        }
        self.begin_copy(log);
        Ok(CleanProgress::More)
    }

    fn begin_copy(&mut self, log: &Log<D>) {
        self.transactions = Transactions::new(&self.aborted);
        self.at = Cursor { segment: log.segments[0].base, position: 0 };
        self.phase = Phase::Copy { output: None };
    }

    fn survey_some(&mut self, log: &mut Log<D>) -> Result<CleanProgress, LogError> {
        let Phase::Survey { survey, resume } = &mut self.phase else { unreachable!("the caller looked") };
        let index = index_of(log, self.at.segment);
        let (read, done) = read_batches(log, index, self.at.position)?;
        for (position, batch) in read {
            // A marker that cannot be read ends nothing: its transaction counts as undecided.
            let _ = survey.on_batch(&batch);
            self.at.position = position + batch.size() as u64;
        }
        if !done {
            return Ok(CleanProgress::More);
        }
        let next = log.segments.get(index + 1).map(|s| s.base);
        if let Some(next) = next
            && (next < self.end || survey.first_open().is_some_and(|first| first < self.end))
        {
            self.at = Cursor { segment: next, position: 0 };
            return Ok(CleanProgress::More);
        }
        // Below the last stable offset every transaction has its end, so this guards against a caller only.
        let undecided = survey.first_open().filter(|&first| first < self.end);
        let aborted = core::mem::take(survey).into_aborted();
        let resume = *resume;
        self.transactions = Transactions::new(&aborted);
        self.aborted = aborted;
        self.surveyed = true;
        if let Some(first) = undecided {
            self.end = log.segments[log.segment_of(first)].base;
            if self.end <= self.dirty {
                return Ok(CleanProgress::Abandoned);
            }
            if self.end <= resume.segment {
                // All before it is mapped, and perhaps a little more.
                self.begin_copy(log);
                return Ok(CleanProgress::More);
            }
        }
        self.at = resume;
        self.phase = Phase::Map;
        Ok(CleanProgress::More)
    }

    fn copy_some(&mut self, log: &mut Log<D>) -> Result<CleanProgress, LogError> {
        let clean_to = self.map.end().expect("what is copied was mapped before");
        let cleaned = swap::unfinished(&log.at);
        let index = index_of(log, self.at.segment);
        let Phase::Copy { output } = &mut self.phase else { unreachable!("the caller looked") };
        if output.is_none() {
            let segment = Segment::create(&cleaned, self.at.segment, self.wall)?;
            *output = Some(Output { segment, sources: [self.at.segment].into(), changed: false });
        }
        let out = output.as_mut().expect("there is one by now");

        let (read, done) = read_batches(log, index, self.at.position)?;
        if let Some((position, batch)) = read.last() {
            self.at.position = position + batch.size() as u64;
        }
        let filter = Filter {
            map: &self.map,
            producers: &log.producers,
            wall: self.wall,
            delete_retention_millis: i64::try_from(log.config.delete_retention.as_millis()).unwrap_or(i64::MAX),
            last_batch: self.last_batch,
        };
        let mut kept = Vec::with_capacity(read.len());
        for (_, batch) in read {
            match filter.judge(&mut self.transactions, &batch) {
                Verdict::Keep => kept.push(batch),
                Verdict::Drop => out.changed = true,
                Verdict::Replace(other) => {
                    out.changed = true;
                    kept.push(other);
                }
            }
        }
        if !kept.is_empty() {
            out.segment.write(&cleaned, &kept)?;
            for batch in &kept {
                out.segment.note(batch.header(), batch.size() as u64, &log.config);
            }
            out.segment.flush_indexes(&cleaned, false)?;
            // Synced as it grows, so that no step has a whole segment to sync.
            swap::sync(&cleaned, &mut out.segment)?;
        }
        if !done {
            return Ok(CleanProgress::More);
        }

        let next = &log.segments[index + 1];
        let round_ends = next.base >= clean_to || next.base >= self.end;
        if !round_ends && fits(out, next, log.segment_end(index + 1), log) {
            out.sources.push(next.base);
            out.changed = true;
            self.at = Cursor { segment: next.base, position: 0 };
            return Ok(CleanProgress::More);
        }
        self.at = Cursor { segment: next.base, position: 0 };
        let output = output.take().expect("it was just worked on");
        if output.changed {
            swap::swap(log, output.segment, &output.sources, self.wall)?;
        } else {
            output.segment.remove(&cleaned)?;
        }
        Ok(if round_ends { CleanProgress::Done(clean_to.min(self.end)) } else { CleanProgress::More })
    }
}

/// Base of the first segment that must be left alone: the active one, one that reaches past `bound` or the recovery
/// point, or one with a record younger than `min.compaction.lag.ms`.
fn first_uncleanable<D: Disk>(log: &mut Log<D>, bound: Offset, wall: Timestamp) -> Result<Offset, LogError> {
    let limit = if mutant!(X67) { log.recovery_point } else { bound.min(log.recovery_point) };
    let lag = i64::try_from(log.config.min_compaction_lag.as_millis()).unwrap_or(i64::MAX);
    let active = log.segments.len() - 1;
    for index in 0..active {
        if log.segment_end(index) > limit {
            return Ok(log.segments[index].base);
        }
        if lag > 0
            && let Some((newest, _)) = log.segments[index].largest(&log.at)?
            && wall.millis_since(newest) < lag
        {
            return Ok(log.segments[index].base);
        }
    }
    Ok(log.segments[active].base)
}

/// Is there a record that has waited for longer than `max.compaction.lag.ms`? A segment's first batch stands for it.
fn is_overdue<D: Disk>(log: &mut Log<D>, first_dirty: usize, wall: Timestamp) -> Result<bool, LogError> {
    let Some(lag) = log.config.max_compaction_lag else { return Ok(false) };
    let lag = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
    let segment = &mut log.segments[first_dirty];
    let (file, size) = (segment.file(&log.at)?, segment.size);
    let path = || log.at.segment(segment.base, names::LOG);
    let first = Walk::headers(&log.at.disk, &file, 0, size).next_header().map_err(|e| e.in_file(path))?;
    Ok(first.is_some_and(|(_, header)| wall.millis_since(header.max_timestamp) > lag))
}

/// Where the segment of this base stands; the caller knows that it is there.
fn index_of<D: Disk>(log: &Log<D>, base: Offset) -> usize {
    log.segments.binary_search_by_key(&base, |s| s.base).expect("the step began by looking for its segments")
}

/// The batches of one step with their positions, and whether they are the segment's last. Segments below the recovery
/// point were not looked at when the log was opened, so that damage may be met here for the first time.
fn read_batches<D: Disk>(log: &mut Log<D>, index: usize, from: u64) -> Result<(Vec<(u64, Batch)>, bool), LogError> {
    let end = log.segment_end(index);
    let at = &log.at;
    let segment = &mut log.segments[index];
    let (file, size) = (segment.file(at)?, segment.size);
    let path = || at.segment(segment.base, names::LOG);
    let mut walk = Walk::batches(&at.disk, &file, from, size);
    let mut batches = Vec::new();
    let mut next = segment.base;
    while walk.position() < (from + limits::CLEAN_STEP_BYTES).min(size) {
        let Some((position, batch)) = walk.next_batch().map_err(|e| e.in_file(path))? else { break };
        let header = batch.header();
        if header.base_offset < next || header.next_offset() > end {
            let reason = format!("a batch of offset {} where {next} to {end} are due", header.base_offset);
            return Err(LogError::Corrupt { file: path(), position, reason });
        }
        next = header.next_offset();
        batches.push((position, batch));
    }
    Ok((batches, walk.position() >= size))
}

/// Can the next source go into the same new segment? Judged by what it holds now, which it will hardly exceed.
fn fits<D: Disk>(out: &Output<D>, next: &Segment<D>, next_end: Offset, log: &Log<D>) -> bool {
    let config = &log.config;
    let entries = next.size / config.index_interval_bytes.max(1) + 1;
    let index_bytes = |len: usize, entry: u64| (len as u64 + entries) * entry;
    out.segment.size + next.size <= config.segment_bytes.min(i32::MAX as u64)
        && index_bytes(out.segment.offsets.len(), 8) <= config.index_bytes_max
        && index_bytes(out.segment.times.len(), 12) <= config.index_bytes_max
        && next_end.distance_from(out.segment.base) <= i64::from(i32::MAX)
}

#[cfg(test)]
mod tests;
