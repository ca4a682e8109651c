//! Opening a log: finding out what it holds after a stop that may have been a crash.
//!
//! ```text
//! segment 0            segment 1: ... index entry | recovery point ............ | torn |
//! trusted, not read                  [ scanned: CRC of every batch, indexes ... )  cut
//! ```
//!
//! Below the recovery point of the checkpoint everything was synced, so nothing there is read again but headers
//! after the newest producer snapshot. From the last index entry at or before it on, every batch is checked, and
//! indexes, epochs and producers are made again from what is found. Where that meets bytes that are no batch, there
//! are two stories:
//!
//! - They were being written when the power went: pages that never reached an append-only file read as zeros, or the
//!   file ends. No one was promised these bytes. The log is cut there. If whole batches follow (pages are written
//!   in any order) the bytes cut off are kept beside the log as `<base>.log.<offset>.torn`.
//! - They were synced and the disk changed them. Then cutting would throw away what follows, which was promised
//!   (NATS server issue 7549). The log stays offline and nothing is touched: a replica or a person decides.
//!
//! After a clean stop only the headers after the last index entry are read, to find the end.

use alloc::{collections::VecDeque, format, string::String, vec::Vec};

use bytes::Bytes;

use super::{
    Disk, DiskError, EpochCache, LogConfig, LogError, ProducerTable, RecoveryReport, checkpoint,
    clean::finish_swaps,
    meta_properties, names,
    place::Place,
    segment::{Segment, Start},
    snapshot,
    store::{Log, remember},
    walk::{Walk, WalkError},
};
use crate::{
    epoch::LeaderEpoch,
    ids::TopicId,
    limits, mutant,
    offset::Offset,
    record::{Batch, BatchError, BatchHeader, HEADER_BYTES},
    time::Timestamp,
};

/// Bytes scanned in one step, between which other logs get their turn.
const STEP_BYTES: u64 = 8 << 20;
/// Ending of the files that keep what was cut off.
const TORN: &str = ".torn";
/// What a disk writes as a whole, at least.
const SECTOR: u64 = 512;

/// What the data directory's checkpoints say of a log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Points {
    pub(crate) recovery: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
    pub(crate) high_watermark: Option<Offset>,
    /// Was the last stop clean?
    pub(crate) clean: bool,
    /// Is every log known whose start was ever moved? Then one without a log start has never had it moved.
    pub(crate) checkpointed: bool,
    /// Was it ever cleaned, so that offsets may be missing?
    pub(crate) cleaned: bool,
}

impl Points {
    /// Everything from the log start up to here must be there: the recovery point, unless records were deleted
    /// beyond it.
    fn promised(&self) -> Offset {
        let log_start = self.log_start.unwrap_or(Offset::ZERO);
        self.recovery.filter(|&point| point > log_start).unwrap_or(Offset::ZERO)
    }
}

/// What is in the folder of a log.
pub(crate) struct Found {
    /// Files.
    pub(crate) names: Vec<String>,
    /// Does it say whose it is?
    pub(crate) owned: bool,
}

/// A log being opened.
pub(crate) struct Opening<D: Disk> {
    log: Log<D>,
    points: Points,
    report: RecoveryReport,
    /// Segments still to be scanned, after the one in `scan`.
    waiting: VecDeque<Segment<D>>,
    scan: Option<Scan>,
    /// The first segment that was scanned.
    first_scanned: usize,
    /// There was no log before.
    created: bool,
    /// Producers are noted from here on: the offset of the snapshot that was loaded.
    producers_from: Offset,
}

/// Where the scan of the last segment of `log` stands.
#[derive(Debug)]
struct Scan {
    position: u64,
    /// Size of the file.
    size: u64,
}

/// Outcome of one step.
pub(crate) enum Progress<D: Disk> {
    /// There is more to do.
    More(Opening<D>),
    /// The log is open.
    Open(Log<D>, RecoveryReport),
}

impl<D: Disk> Opening<D> {
    /// Looks at the folder, which must be there, and gets ready to scan.
    pub(crate) fn begin(
        at: Place<D>,
        found: Found,
        topic_id: TopicId,
        config: LogConfig,
        wall: Timestamp,
        points: Points,
    ) -> Result<Self, LogError> {
        let mut names = found.names;
        if finish_swaps(&at, &names, &config, wall)? {
            names = at.disk.list(&at.dir)?;
        }
        let mut log = Log::empty(at, topic_id, config);
        log.sparse |= points.cleaned;
        // A killed process may have written it and never synced it: it is durable with the first data, or there is data of
        // nobody's.
        log.owner_dirty = !found.owned || !points.clean && points.promised() == Offset::ZERO;
        if !found.owned {
            write_owner(&log.at, topic_id)?;
            log.names_dirty = true;
            log.root_dirty = true;
        }
        let mut bases = Vec::new();
        let mut kept_bytes = 0;
        for name in names {
            let path = log.at.inside(&name);
            match names::parse_segment(&name) {
                Some((base, names::LOG)) => bases.push(base),
                Some((offset, names::SNAPSHOT)) => log.snapshots.push(offset),
                // A recovery that did not live to report it, or an earlier one.
                _ if name.ends_with(TORN) => {
                    kept_bytes += log.at.disk.len(&log.at.disk.open(&path, super::OpenMode::Existing)?)?;
                }
                _ if name.ends_with(names::DELETED) || name.ends_with(names::TMP) => log.at.remove(&path)?,
                _ => {}
            }
        }
        bases.sort_unstable();
        log.snapshots.sort_unstable();
        if !points.clean {
            // Nobody knows which of these a killed process had synced.
            let vouched = points.recovery.unwrap_or(Offset::ZERO);
            log.unsynced_snapshots.extend(log.snapshots.iter().copied().filter(|&offset| offset >= vouched));
        }
        // What retention had let go before the stop, though the renames may not have lasted.
        let log_start = points.log_start.unwrap_or(Offset::ZERO);
        while bases.len() > 1 && bases[1] <= log_start {
            let base = bases.remove(0);
            for extension in [names::LOG, names::INDEX, names::TIME_INDEX, names::TXN_INDEX, names::SNAPSHOT] {
                log.at.remove(&log.at.segment(base, extension))?;
            }
            log.snapshots.retain(|&offset| offset != base);
        }
        let recovery_point = points.promised();
        // The names of the first segments never reached the disk, that of a later one did.
        let hole = !points.clean
            && points.checkpointed
            && bases.first().is_some_and(|&base| base > log_start.max(recovery_point));
        if bases.is_empty() || hole {
            if recovery_point > log_start {
                return Err(missing(&log, recovery_point, "all segments are gone"));
            }
            log.segments.push(Segment::create(&log.at, log_start, wall)?);
            log.names_dirty = true;
        }
        let mut found = VecDeque::new();
        for &base in &bases {
            found.push_back(Segment::found(&log.at, base, wall)?);
        }
        if !hole {
            log.segments.extend(found.drain(..));
        }
        let vouched = recovery_point > log.segments[0].base;
        load_epochs(&mut log, vouched)?;

        let mut opening = Self {
            log,
            points,
            report: RecoveryReport { clean: points.clean, kept_bytes, ..RecoveryReport::default() },
            waiting: found,
            scan: None,
            first_scanned: 0,
            created: bases.is_empty(),
            producers_from: Offset::ZERO,
        };
        if bases.is_empty() || hole {
            opening.log.end = opening.log.segments[0].base;
            opening.cut(None)?;
        } else if points.clean {
            opening.trust()?;
        } else {
            opening.prepare_scan(recovery_point)?;
        }
        Ok(opening)
    }

    /// What is known of the log so far.
    pub(crate) fn log(&self) -> &Log<D> {
        &self.log
    }

    /// After a clean stop: only the end is looked for.
    fn trust(&mut self) -> Result<(), LogError> {
        let log = &mut self.log;
        let segment = log.segments.last_mut().expect("there is a segment");
        let size = segment.size;
        if size == 0 {
            segment.forget_indexes(&log.at)?;
            log.end = segment.base;
            // Nothing of a log that never held a record was synced when it was closed.
            (log.names_dirty, log.owner_dirty) = (true, true);
        } else {
            let start = segment.checked_start(&log.at, Offset(i64::MAX))?;
            segment.resume(&log.at, start)?;
            log.end = note_headers(segment, &log.at, &log.config, size)?.unwrap_or(segment.base);
        }
        log.producers = producers_at(log, log.end)?;
        Ok(())
    }

    /// After a crash: finds where to begin, and the state as of there.
    fn prepare_scan(&mut self, recovery_point: Offset) -> Result<(), LogError> {
        let log = &mut self.log;
        // Where the point is a segment's base, the one before it was sealed after it was vouched for: the last entry
        // of its time index may be missing.
        let first = log.segment_of(Offset((recovery_point.0 - 1).max(0)));
        self.first_scanned = first;
        self.waiting = log.segments.split_off(first + 1).into();
        let segment = log.segments.last_mut().expect("there is a segment");
        let size = segment.size;
        let start = if size == 0 {
            segment.forget_indexes(&log.at)?;
            log.owner_dirty = true;
            Start { position: 0, entries: 0, offset: segment.base }
        } else {
            let start = segment.checked_start(&log.at, Offset(recovery_point.0 - 1))?;
            segment.rewind(&log.at, start)?;
            self.report.rebuilt_indexes += 1;
            start
        };
        log.end = start.offset;
        // The file has them still; once the recovery point is past them it must not.
        log.epochs_dirty |= log.epochs.truncate_end(start.offset);
        // What the checkpoint vouched for, also where deleted records reach up to it: the producers of records that are
        // gone are remembered by their snapshot alone.
        let vouched = self.points.recovery.unwrap_or(Offset::ZERO).max(recovery_point);
        // Likewise where the log start has passed the point: the snapshot at the first segment's base was made durable
        // before that (`Log::secure_start`).
        let vouched = vouched.max(log.segments[0].base);
        // What is noted of later offsets may be of batches that were cut off since: its removal need not have reached
        // the disk before the power went.
        log.drop_snapshots(|offset| offset > vouched)?;
        let (table, from) = nearest_snapshot(log, vouched)?;
        log.producers = table;
        self.producers_from = from;
        if from < start.offset {
            replay(log, from, start)?;
        }
        self.scan = Some(Scan { position: start.position, size });
        Ok(())
    }

    /// Goes on for a while.
    pub(crate) fn step(mut self) -> Result<Progress<D>, LogError> {
        let mut budget = STEP_BYTES;
        while let Some(Scan { position, size }) = self.scan {
            if budget == 0 {
                return Ok(Progress::More(self));
            }
            let before = position;
            match self.scan_some(position, size, budget)? {
                Scanned::To(position) => {
                    self.report.scanned_bytes += position - before;
                    budget = budget.saturating_sub(position - before);
                    self.scan = Some(Scan { position, size });
                }
                Scanned::End => {
                    self.report.scanned_bytes += size - before;
                    budget = budget.saturating_sub(size - before);
                    self.next_segment()?;
                }
                Scanned::Bad { position, reason, cut_short } => self.judge(position, size, reason, cut_short)?,
            }
        }
        let report = self.report.clone();
        self.finish().map(|log| Progress::Open(log, report))
    }

    /// Checks batches from `position` on and takes note of the good ones.
    fn scan_some(&mut self, position: u64, size: u64, budget: u64) -> Result<Scanned, LogError> {
        let log = &mut self.log;
        let segment = log.segments.last_mut().expect("there is a segment");
        let file = segment.file(&log.at)?;
        let mut walk = Walk::batches(&log.at.disk, &file, position, size);
        loop {
            let (at, batch) = match walk.next_batch() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Scanned::End),
                Err(WalkError::Bad { position, error }) => {
                    let cut_short = matches!(error, BatchError::Truncated { .. });
                    return Ok(Scanned::Bad { position, reason: format!("{error}"), cut_short });
                }
                Err(WalkError::Disk(error)) => return Err(error.into()),
            };
            let header = batch.header();
            let relative = header.last_offset().0.checked_sub(segment.base.0);
            // The CRC does not cover the base offset: a hurt one would leave a gap.
            let gap = header.base_offset > log.end && !log.sparse;
            if gap || header.base_offset < log.end || relative.is_none_or(|r| r > i64::from(i32::MAX)) {
                let reason = format!("a batch of offset {} where {} was due", header.base_offset, log.end);
                return Ok(Scanned::Bad { position: at, reason, cut_short: false });
            }
            segment.note(header, batch.size() as u64, &log.config);
            segment.flush_indexes(&log.at, false)?;
            if header.leader_epoch > log.epochs.latest().unwrap_or(LeaderEpoch::NONE) {
                log.epochs_dirty |= log.epochs.assign(header.leader_epoch, header.base_offset);
            }
            if header.base_offset >= self.producers_from {
                remember(&mut log.producers, header);
                log.since_snapshot += batch.size() as u64;
            }
            log.end = header.next_offset();
            if walk.position() - position >= budget {
                return Ok(Scanned::To(walk.position()));
            }
        }
    }

    /// The segment is scanned to its end: on to the next, if it follows.
    fn next_segment(&mut self) -> Result<(), LogError> {
        self.scan = None;
        let recovery_point = self.recovery_point();
        let log = &mut self.log;
        let Some(mut next) = self.waiting.pop_front() else { return Ok(()) };
        // Cleaning leaves gaps between segments, but only below the point.
        let hole = next.base > log.end && next.base > recovery_point;
        if hole {
            // The end of this segment's file never reached the disk, the next segment did.
            self.waiting.push_front(next);
            return self.cut(None);
        }
        if next.base < log.end && next.size == 0 {
            // Begun by an append that failed, and removed, but not for good.
            next.remove(&log.at)?;
            return self.next_segment();
        }
        if next.base < log.end {
            let file = log.at.segment(next.base, names::LOG);
            let reason = format!("the segment before it ends at offset {}", log.end);
            return Err(LogError::Corrupt { file, position: 0, reason });
        }
        log.segments.last_mut().expect("there is a segment").seal(&log.at)?;
        let size = next.size;
        next.rewind(&log.at, Start { position: 0, entries: 0, offset: next.base })?;
        self.report.rebuilt_indexes += 1;
        log.end = next.base;
        log.segments.push(next);
        let base = log.end;
        if !log.snapshots.contains(&base) {
            log.write_snapshot(base)?;
        }
        self.scan = Some(Scan { position: 0, size });
        Ok(())
    }

    fn recovery_point(&self) -> Offset {
        self.points.promised()
    }

    /// No batch stands at `position`: was it being written, or was it changed later?
    fn judge(&mut self, position: u64, size: u64, reason: String, cut_short: bool) -> Result<(), LogError> {
        let recovery_point = self.recovery_point();
        let segment = self.log.segments.last_mut().expect("there is a segment");
        let path = self.log.at.segment(segment.base, names::LOG);
        let corrupt = |reason: String| LogError::Corrupt { file: path.clone(), position, reason };
        if self.log.end < recovery_point && !mutant!(X82) {
            return Err(corrupt(reason));
        }
        let file = segment.file(&self.log.at)?;
        let follower = next_whole_batch(&self.log.at.disk, &file, position, size, self.log.end)?;
        let follows = follower.is_some() || self.waiting.iter().any(|segment| segment.size > 0);
        let lost = |to| lost_page(&self.log.at.disk, &file, position, to, size, self.log.end);
        // A length that rot has changed points past the end as well, but then good batches follow in the file.
        let ends_within = cut_short && follower.is_none();
        let torn = !follows || ends_within || mutant!(X82) || lost(follower.unwrap_or(size))?;
        if !torn {
            return Err(corrupt(format!("{reason}, though whole batches follow")));
        }
        self.cut(follows.then_some(position).filter(|_| !mutant!(X82)))
    }

    /// Ends the log here. Bytes behind `keep` in this segment, and later segments, are kept under another name.
    fn cut(&mut self, keep: Option<u64>) -> Result<(), LogError> {
        let log = &mut self.log;
        let segment = log.segments.last_mut().expect("there is a segment");
        let file = segment.file(&log.at)?;
        let size = log.at.disk.len(&file)?;
        if let Some(from) = keep {
            let path = format!("{}.{}{TORN}", log.at.segment(segment.base, names::LOG), log.end);
            keep_aside(&log.at, &file, from, size, &path)?;
            self.report.kept_bytes += size - from;
        }
        // From the newest back, so that another crash leaves no hole.
        while let Some(later) = self.waiting.pop_back() {
            let path = log.at.segment(later.base, names::LOG);
            self.report.truncated_bytes += later.size;
            if later.size > 0 && !mutant!(X82) {
                self.report.kept_bytes += later.size;
                log.at.rename(&path, &format!("{path}.{}{TORN}", later.base))?;
            }
            later.remove(&log.at)?;
        }
        let segment = log.segments.last_mut().expect("there is a segment");
        self.report.truncated_bytes += size - segment.size;
        segment.cut(&log.at)?;
        log.names_dirty = true;
        self.scan = None;
        Ok(())
    }

    /// Everything is scanned: the log can be used.
    fn finish(mut self) -> Result<Log<D>, LogError> {
        let recovery_point = self.recovery_point();
        let log = &mut self.log;
        if log.end < recovery_point && !self.points.clean && !mutant!(X82) {
            return Err(missing(log, recovery_point, "the log ends before"));
        }
        let end = log.end;
        log.drop_snapshots(|offset| offset > end)?;
        if log.epochs.truncate_end(end) {
            log.epochs_dirty = true;
        }
        log.log_start = log.segments[0].base.max(self.points.log_start.unwrap_or(Offset::ZERO));
        log.recovery_point = if self.points.clean { end } else { recovery_point.clamp(log.segments[0].base, end) };
        if log.log_start > end {
            // The deleted records were never synced; what was promised is that they stay gone.
            log.start_over(log.log_start)?;
        }
        if self.points.clean || self.created {
            log.durable_end = log.end;
        } else {
            log.durable_end = log.recovery_point;
            // A segment that a killed process had just created is there, and nobody has synced its name.
            log.names_dirty = true;
            if log.end > log.recovery_point || self.report.truncated_bytes > 0 {
                // What was found may have been in the page cache alone: it counts once it is synced.
                log.segments.iter_mut().skip(self.first_scanned).for_each(Segment::set_dirty);
                log.wants_sync = true;
                log.hold_owner()?;
            }
        }
        if log.epochs.truncate_start(log.log_start) {
            log.epochs_dirty = true;
        }
        log.high_watermark = self.points.high_watermark.unwrap_or(log.log_start).clamp(log.log_start, log.end);
        log.check();
        Ok(self.log)
    }
}

enum Scanned {
    /// Good so far, and more to come.
    To(u64),
    /// Good to the end.
    End,
    /// No good batch here.
    Bad {
        position: u64,
        reason: String,
        /// The file ends before the batch that seems to begin here.
        cut_short: bool,
    },
}

fn missing<D: Disk>(log: &Log<D>, recovery_point: Offset, what: &str) -> LogError {
    let reason = format!("{what}, though everything up to offset {recovery_point} was synced");
    LogError::Corrupt { file: log.at.dir.clone(), position: 0, reason }
}

/// Notes the batches behind the segment's noted end from their headers; returns the offset after the last.
fn note_headers<D: Disk>(
    segment: &mut Segment<D>,
    at: &Place<D>,
    config: &LogConfig,
    size: u64,
) -> Result<Option<Offset>, LogError> {
    let file = segment.file(at)?;
    let path = at.segment(segment.base, names::LOG);
    let mut walk = Walk::headers(&at.disk, &file, segment.size, size);
    let mut end = None;
    while let Some((position, header)) = walk.next_header().map_err(|e| e.in_file(|| path.clone()))? {
        plausible(segment.base, &header, position, &path)?;
        segment.note(&header, walk.position() - position, config);
        end = Some(header.next_offset());
    }
    Ok(end)
}

/// Headers that are read without their CRC must at least name offsets that the segment can hold.
fn plausible(base: Offset, header: &BatchHeader, position: u64, path: &str) -> Result<(), LogError> {
    let relative = header.base_offset.0.checked_sub(base.0).filter(|&r| r >= 0);
    let last = relative.and_then(|r| r.checked_add(i64::from(header.last_offset_delta.max(0))));
    if last.is_some_and(|last| last <= i64::from(i32::MAX)) && header.last_offset_delta >= 0 {
        return Ok(());
    }
    let reason = format!("a batch of offset {} in the segment of offset {base}", header.base_offset);
    Err(LogError::Corrupt { file: path.into(), position, reason })
}

/// Reads `leader-epoch-checkpoint`. One that is damaged, or missing though a checkpoint `vouched` for it, is made
/// again from the whole log.
fn load_epochs<D: Disk>(log: &mut Log<D>, vouched: bool) -> Result<(), LogError> {
    let text = checkpoint::read(&log.at.disk, &log.at.inside(names::EPOCHS))?;
    match text.map(|text| EpochCache::parse(&text)) {
        Some(Ok(epochs)) => log.epochs = epochs,
        None if !vouched => {}
        None | Some(Err(_)) => {
            for index in 0..log.segments.len() {
                let segment = &mut log.segments[index];
                let (file, size) = (segment.file(&log.at)?, segment.size);
                let mut walk = Walk::headers(&log.at.disk, &file, 0, size);
                // A bad batch here is for the scan to judge, or lies where nobody has looked yet.
                while let Ok(Some((_, header))) = walk.next_header() {
                    if header.leader_epoch > log.epochs.latest().unwrap_or(LeaderEpoch::NONE) {
                        log.epochs.assign(header.leader_epoch, header.base_offset);
                    }
                }
            }
            log.epochs_dirty = true;
        }
    }
    Ok(())
}

/// The producers of the newest readable snapshot at or below `offset`, and the offset from which to read on.
/// Unreadable ones are removed.
fn nearest_snapshot<D: Disk>(log: &mut Log<D>, offset: Offset) -> Result<(ProducerTable, Offset), LogError> {
    let first = log.segments[0].base;
    log.since_snapshot = 0;
    for candidate in log.snapshots.clone().into_iter().rev().filter(|&s| s <= offset) {
        let path = log.at.segment(candidate, names::SNAPSHOT);
        match checkpoint::read(&log.at.disk, &path)?.map(|bytes| snapshot::decode(&bytes)) {
            Some(Ok(table)) => return Ok((table, candidate)),
            _ => log.drop_snapshots(|other| other == candidate)?,
        }
    }
    Ok((ProducerTable::new(), first))
}

/// The producers as of `end`, from the nearest snapshot and the headers after it.
pub(crate) fn producers_at<D: Disk>(log: &mut Log<D>, end: Offset) -> Result<ProducerTable, LogError> {
    let (table, from) = nearest_snapshot(log, end)?;
    let before = core::mem::replace(&mut log.producers, table);
    let last = log.segments.last().expect("a log has a segment");
    let start = Start { position: last.size, entries: 0, offset: end };
    if from < end {
        replay(log, from, start)?;
    }
    Ok(core::mem::replace(&mut log.producers, before))
}

/// Notes the producers of the batches from `from` up to `to`, a place in the last segment.
fn replay<D: Disk>(log: &mut Log<D>, from: Offset, to: Start) -> Result<(), LogError> {
    let last = log.segments.len() - 1;
    for index in log.segment_of(from)..=last {
        let segment = &mut log.segments[index];
        let size = if index == last { to.position } else { segment.size };
        let path = log.at.segment(segment.base, names::LOG);
        let file = segment.file(&log.at)?;
        let begin = if segment.base < from { segment.position_before(&log.at, from)? } else { 0 };
        let mut walk = Walk::headers(&log.at.disk, &file, begin, size);
        while let Some((position, header)) = walk.next_header().map_err(|e| e.in_file(|| path.clone()))? {
            plausible(segment.base, &header, position, &path)?;
            if header.base_offset >= from {
                remember(&mut log.producers, &header);
                log.since_snapshot += walk.position() - position;
            }
        }
    }
    Ok(())
}

/// The place of the first whole batch behind `position` that could belong to this log.
fn next_whole_batch<D: Disk>(
    disk: &D,
    file: &D::File,
    position: u64,
    size: u64,
    expected: Offset,
) -> Result<Option<u64>, DiskError> {
    const WINDOW: usize = 1 << 20;
    let mut at = position + 1;
    while at + HEADER_BYTES as u64 <= size {
        let window = disk.read_at(file, at, WINDOW)?;
        if window.len() < HEADER_BYTES {
            break;
        }
        let candidates = window.windows(HEADER_BYTES).enumerate().filter(|(_, bytes)| bytes[16] == 2);
        for (skip, bytes) in candidates {
            let Ok((header, length)) = crate::record::peek(bytes) else { continue };
            let begins = at + skip as u64;
            let near =
                header.base_offset.0.checked_sub(expected.0).is_some_and(|d| (0..=i64::from(i32::MAX)).contains(&d));
            if !near
                || header.last_offset_delta < 0
                || length > limits::BATCH_BYTES_MAX
                || begins + length as u64 > size
            {
                continue;
            }
            let mut whole = if skip + length <= window.len() {
                window.slice(skip..skip + length)
            } else {
                disk.read_at(file, begins, length)?
            };
            if Batch::parse(&mut whole).is_ok() {
                return Ok(Some(begins));
            }
        }
        at += (window.len() - HEADER_BYTES + 1) as u64;
    }
    Ok(None)
}

/// Does a sector between `from`, where a batch of offset `expected` or later should begin, and `to`, where a good one
/// does or a file of `size` bytes ends, read as zeros? So does one that was never written, in a file that only ever grew.
fn lost_page<D: Disk>(
    disk: &D,
    file: &D::File,
    from: u64,
    to: u64,
    size: u64,
    expected: Offset,
) -> Result<bool, DiskError> {
    const WINDOW: u64 = 1 << 20;
    // Shorter than a sector, where the page was written to again after a failed sync had dropped it (fsyncgate): then
    // what follows begins where the lost batches end. A sector that turned to zeros later does not end so neatly.
    if to < size && to - from >= HEADER_BYTES as u64 {
        let bytes = disk.read_at(file, from, usize::try_from((to - from).min(WINDOW)).expect("a window"))?;
        if to - from <= WINDOW && bytes.iter().all(|&b| b == 0) {
            return Ok(true);
        }
    }
    // A good batch can begin within the lost sector, if what it lost of itself are the zeros that an offset begins with.
    let to = to.next_multiple_of(SECTOR).min(size);
    let mut at = from;
    while at < to {
        let until = (at / WINDOW + 1) * WINDOW;
        let bytes: Bytes = disk.read_at(file, at, usize::try_from(until.min(to) - at).expect("a window"))?;
        if bytes.is_empty() {
            return Ok(true);
        }
        let first = usize::try_from((at / SECTOR + 1) * SECTOR - at).expect("a sector").min(bytes.len());
        let (head, rest) = bytes.split_at(first);
        let zero = |sector: &[u8]| sector.iter().all(|&b| b == 0);
        // Of the first sector only the end is the bad batch's. Few zeros there are no sign: an offset begins with some.
        let telling = head.len() >= 12 || (head.len() >= 8 && expected > Offset::ZERO) || at > from;
        let mut sectors = rest.chunks_exact(SECTOR as usize);
        // The file's last sector is a short one. A single zero may be the end of a batch: a record without headers.
        let last = until >= to && to == size && sectors.remainder().len() > 1 && zero(sectors.remainder());
        if (telling && zero(head)) || last || sectors.any(zero) {
            return Ok(true);
        }
        at += bytes.len() as u64;
    }
    Ok(false)
}

/// Copies `[from, size)` of a file to another, synced.
fn keep_aside<D: Disk>(at: &Place<D>, file: &D::File, from: u64, size: u64, path: &str) -> Result<(), LogError> {
    const CHUNK: u64 = 1 << 20;
    let copy = at.fresh(path)?;
    let mut position = from;
    while position < size {
        let bytes = at.disk.read_at(file, position, usize::try_from(CHUNK.min(size - position)).expect("a chunk"))?;
        if bytes.is_empty() {
            break;
        }
        at.disk.write_at(&copy, position - from, &[&bytes])?;
        position += bytes.len() as u64;
    }
    at.disk.sync(&copy).map_err(LogError::Offline)?;
    at.disk.sync_dir(&at.dir).map_err(LogError::Offline)
}

/// Whose folder is it? `None`: nobody's yet, or the file was being written for `wanted` when the power went.
pub(crate) fn owner<D: Disk>(at: &Place<D>, wanted: TopicId) -> Result<Option<TopicId>, LogError> {
    let path = at.inside(names::PARTITION_METADATA);
    let Some(text) = checkpoint::read(&at.disk, &path)? else { return Ok(None) };
    let expected = meta_properties::partition_metadata(wanted);
    let written = text.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    match meta_properties::parse_partition_metadata(&text) {
        Ok(id) => Ok(Some(id)),
        Err(_) if expected.as_bytes().starts_with(&text[..written]) => Ok(None),
        Err(reason) => Err(LogError::Corrupt { file: path, position: 0, reason: reason.into() }),
    }
}

/// Writes whose folder it is. The file is synced with the first data: without any there is nothing to mistake.
pub(crate) fn write_owner<D: Disk>(at: &Place<D>, topic_id: TopicId) -> Result<(), LogError> {
    let file = at.fresh(&at.inside(names::PARTITION_METADATA))?;
    Ok(at.disk.write_at(&file, 0, &[meta_properties::partition_metadata(topic_id).as_bytes()])?)
}
