//! The oracle's own book of one log: what was ordered, what was promised, what may lawfully be gone.
//!
//! It is kept from what crosses the border between core and disk and knows nothing of how either works. Checkers
//! compare it with what the log says of itself and with what readers are served.
//!
//! ```text
//!   log start ....... promised ....... answered ....... end
//!                     never lost       lost by power    ordered, may be anywhere
//! ```

use std::{cell::RefCell, collections::BTreeMap};

use tidelog_core::{
    ids::{JobId, ProducerEpoch, ProducerId, TopicPartition},
    log::{Durability, Job, JobOutcome, LogConfig, LogError, LogState, ProducerTable},
    offset::Offset,
    record::{Batch, BatchHeader, Record},
    time::{Duration, Timestamp},
};

use crate::{history::Value, payload};

/// One record as it was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its offset.
    pub offset: Offset,
    /// Its key.
    pub key: Option<u16>,
    /// No payload?
    pub tombstone: bool,
    /// What tells it from all others; records of the system have none.
    pub value: Option<Value>,
    /// Its time.
    pub timestamp: Timestamp,
}

/// One batch as it was ordered.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its header, with offset and epoch stamped.
    pub header: BatchHeader,
    /// Its records.
    pub notes: Vec<Note>,
}

/// What tells a batch whose CRC was found right from any other of a run: CRC, size, and the offset, which the CRC does not
/// cover.
type Print = (u32, usize, Offset);

thread_local! {
    /// The records of batches that were read before: every replica and every reader shows the same ones again.
    static READ: RefCell<BTreeMap<Print, Vec<Note>>> = const { RefCell::new(BTreeMap::new()) };
}

/// So many are remembered before they are all forgotten.
const READ_MAX: usize = 4_096;

impl Held {
    /// Takes note of a batch.
    pub fn of(batch: &Batch) -> Self {
        let header = *batch.header();
        let print = (header.crc, batch.size(), header.base_offset);
        let notes = READ.with_borrow_mut(|read| {
            if read.len() >= READ_MAX {
                read.clear();
            }
            read.entry(print).or_insert_with(|| Self::read(batch)).clone()
        });
        Self { header, notes }
    }

    fn read(batch: &Batch) -> Vec<Note> {
        let records = batch.records().into_iter().flatten().flatten();
        let note = |record: Record| Note {
            offset: record.offset,
            key: record.key.as_deref().and_then(payload::key),
            tombstone: record.value.is_none(),
            value: payload::value(&record),
            timestamp: record.timestamp,
        };
        records.map(note).collect()
    }
}

/// How the process that had the log open ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Stopped,
    /// Killed; the page cache is as it was.
    Killed,
    /// Without power.
    PowerLost,
}

/// Something that the core ordered and that is not over.
#[derive(Clone, Debug)]
pub enum Open {
    /// An append of the batches at these offsets, ending there.
    Append {
        /// Their base offsets.
        bases: Vec<Offset>,
        /// Log end offset after it.
        end: Offset,
        /// Is it synced before its outcome is told?
        sync: bool,
    },
    /// A retention with this high watermark at this time.
    Retain {
        /// As ordered.
        high_watermark: Offset,
        /// As ordered.
        wall: Timestamp,
        /// The settings as of the order: others may be ordered before it is over.
        config: Box<LogConfig>,
    },
    /// A raise of the log start.
    Raise {
        /// As ordered.
        to: Offset,
    },
    /// A cleaning.
    Clean {
        /// As ordered.
        bound: Offset,
        /// As ordered.
        wall: Timestamp,
    },
    /// A truncation.
    Cut {
        /// Log end offset after it.
        end: Offset,
    },
    /// A snapshot takes the log's place.
    StartOver {
        /// Where the log goes on.
        at: Offset,
    },
    /// An opening.
    Open,
    /// Anything else.
    Other,
}

/// The book of one log on one node.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Which.
    pub id: TopicPartition,
    /// Its settings, as last ordered.
    pub config: LogConfig,
    /// Could records go by compaction at any time?
    pub compacted: bool,
    /// Every batch in the log or on its way, by base offset.
    pub held: BTreeMap<Offset, Held>,
    /// Batches that were perhaps written and then given up: they may resurface after a crash.
    pub given_up: Vec<Held>,
    /// Where the next batch goes.
    pub end: Offset,
    /// Nothing below is ever lost.
    pub promised: Offset,
    /// Everything below was reported as appended.
    pub answered: Offset,
    /// As last reported.
    pub log_start: Offset,
    /// Where the log has begun anew, if it has, because its leader's begins there: what stood before it never had.
    pub begun_anew: Option<Offset>,
    /// The highest target of a DeleteRecords that was ordered.
    pub raised_to: Offset,
    /// The highest bound of a cleaning that was ordered.
    pub cleaned_to: Offset,
    /// Up to where each cleaning could see, when it began, and how long it let tombstones stay from then on.
    pub cleanings: Vec<(Offset, Timestamp, Duration)>,
    /// Keys of which the log has lost a record that a cleaning had seen, and where it ended then: an older value may have
    /// gone on account of it.
    pub bereft: BTreeMap<u16, Offset>,
    /// The last batch of each producer, as far as the log must know it.
    pub producers: BTreeMap<ProducerId, (ProducerEpoch, i32)>,
    /// Where the log ended when it forgot a producer: what that one wrote before counts no more.
    pub forgotten: BTreeMap<ProducerId, Offset>,
    /// Orders not over.
    pub open: BTreeMap<JobId, Open>,
    /// What was injected into this log's files is beyond what it can heal.
    pub rotten: bool,
    /// How often that was done.
    pub rots: u64,
    /// Bytes that were cut off by it.
    pub vanished: u64,
    /// The log said that it is corrupt.
    pub reported: bool,
    /// Highest high watermark that was told to anybody.
    pub told_high_watermark: Offset,
    /// Was the log open at least once, so that a file can be missed?
    pub was_open: bool,
    /// How its last process ended.
    pub ending: Option<Ending>,
}

impl Ledger {
    /// A log that nobody has written to.
    pub fn new(id: TopicPartition) -> Self {
        Self {
            id,
            config: LogConfig::default(),
            compacted: false,
            held: BTreeMap::new(),
            given_up: Vec::new(),
            end: Offset::ZERO,
            promised: Offset::ZERO,
            answered: Offset::ZERO,
            log_start: Offset::ZERO,
            begun_anew: None,
            raised_to: Offset::ZERO,
            cleaned_to: Offset::ZERO,
            cleanings: Vec::new(),
            bereft: BTreeMap::new(),
            producers: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            open: BTreeMap::new(),
            rotten: false,
            rots: 0,
            vanished: 0,
            reported: false,
            told_high_watermark: Offset::ZERO,
            was_open: false,
            ending: None,
        }
    }

    /// The core ordered a job.
    pub fn ordered(&mut self, job: JobId, order: &Job) {
        let open = match order {
            Job::Append { batches, sync, .. } => {
                let mut bases = Vec::with_capacity(batches.len());
                for batch in batches {
                    let held = Held::of(batch);
                    self.note_producer(&held.header);
                    bases.push(held.header.base_offset);
                    self.end = held.header.next_offset();
                    self.held.insert(held.header.base_offset, held);
                }
                Open::Append { bases, end: self.end, sync: *sync }
            }
            Job::Retain { high_watermark, wall } => {
                let config = Box::new(self.config.clone());
                Open::Retain { high_watermark: *high_watermark, wall: *wall, config }
            }
            Job::RaiseLogStart { to } => {
                self.raised_to = self.raised_to.max(*to);
                if *to > self.end {
                    // A follower whose leader's log begins past its own end begins anew there.
                    self.end = *to;
                    self.begun_anew = Some(*to);
                    self.producers.clear();
                }
                Open::Raise { to: *to }
            }
            Job::StartOver { at } => {
                self.cut(Offset::ZERO);
                self.raised_to = self.raised_to.max(*at);
                (self.log_start, self.end) = (*at, *at);
                Open::StartOver { at: *at }
            }
            Job::Clean { bound, wall } => {
                self.cleaned_to = self.cleaned_to.max(*bound);
                self.cleanings.push((*bound, *wall, self.config.delete_retention));
                Open::Clean { bound: *bound, wall: *wall }
            }
            Job::Truncate { to } => {
                self.cut(*to);
                Open::Cut { end: self.end }
            }
            Job::Open { config, .. } => {
                self.configure(config);
                Open::Open
            }
            Job::Configure { config } => {
                self.configure(config);
                Open::Other
            }
            _ => Open::Other,
        };
        self.open.insert(job, open);
    }

    /// The end is cut off, with the batch that holds this offset.
    fn cut(&mut self, to: Offset) {
        // A log that is cut before its start begins anew there; one that is cut inside the batch in which it begins, where it
        // did.
        let least = self.log_start.min(to);
        let to = self.batch_at(to).map_or(to, |held| held.header.base_offset).min(self.end);
        let lost = self.held.split_off(&to);
        self.bereave(&lost, to);
        self.given_up.extend(lost.into_values());
        self.end = to.max(least);
        self.promised = self.promised.min(to);
        self.answered = self.answered.min(to);
        self.told_high_watermark = self.told_high_watermark.min(to);
    }

    /// The log has lost these records and ends at `end`. What they superseded may have been cleaned away before.
    fn bereave(&mut self, lost: &BTreeMap<Offset, Held>, end: Offset) {
        self.bereft.values_mut().for_each(|at| *at = (*at).min(end));
        let seen = |note: &&Note| note.offset < self.cleaned_to;
        for key in lost.values().flat_map(|held| &held.notes).filter(seen).filter_map(|note| note.key) {
            self.bereft.insert(key, end);
        }
    }

    fn configure(&mut self, config: &LogConfig) {
        self.compacted |= config.cleanup.compact;
        self.config = config.clone();
    }

    fn note_producer(&mut self, header: &BatchHeader) {
        if header.has_producer() {
            self.producers.insert(header.producer_id, (header.producer_epoch, header.last_sequence()));
        }
    }

    /// A job is over.
    pub fn ended(&mut self, job: JobId, outcome: &Result<JobOutcome, LogError>) {
        let open = self.open.remove(&job);
        self.reported |= matches!(outcome, Err(LogError::Corrupt { .. }));
        match (open, outcome) {
            (Some(Open::Append { sync, .. }), Ok(JobOutcome::Appended { end, .. })) => {
                // A cut that was ordered behind it takes back what it says.
                let cuts = self.open.range(job..).filter_map(|(_, open)| match open {
                    Open::Cut { end } => Some(*end),
                    Open::StartOver { at } => Some(*at),
                    _ => None,
                });
                let end = cuts.fold(*end, Offset::min);
                self.answered = self.answered.max(end);
                if sync && self.config.durability == Durability::Fsync {
                    self.promised = self.promised.max(end);
                }
            }
            (Some(Open::Append { bases, .. }), Err(_)) => {
                for base in bases {
                    self.given_up.extend(self.held.remove(&base));
                }
                self.end = self.last_end();
                self.recount_producers();
            }
            (Some(Open::StartOver { at }), Ok(_)) => {
                self.promised = self.promised.max(at);
                self.answered = self.answered.max(at);
            }
            (_, Ok(JobOutcome::Trimmed { log_start, .. })) => {
                self.log_start = self.log_start.max(*log_start);
            }
            (open, Ok(JobOutcome::Truncated { log_start, end, producers, .. })) => {
                // A log that is cut below its start begins there.
                self.log_start = *log_start;
                self.begun_anew = self.begun_anew.map(|at| at.min(*log_start));
                // More may have been ordered behind it.
                if matches!(open, Some(Open::Cut { end: due }) if *end < due) {
                    self.cut(*end);
                }
                self.take_producers(producers);
            }
            (_, Ok(JobOutcome::Expired { producers })) => {
                for producer in producers {
                    self.producers.remove(producer);
                    self.forgotten.insert(*producer, self.end);
                }
            }
            _ => {}
        }
    }

    fn last_end(&self) -> Offset {
        // Below what was reported nothing fails any more, even where retention has taken it; and a log that has begun anew
        // ends at its start at least.
        let reported = self.answered.max(self.log_start);
        self.held.values().next_back().map_or(reported, |held| held.header.next_offset()).max(reported)
    }

    /// The log was opened: what it says it holds is what it holds from now on, as far as the `whole` of it was read.
    pub fn opened(&mut self, state: &LogState, held: Vec<Held>, whole: bool) {
        self.open.clear();
        self.was_open = true;
        let found: BTreeMap<Offset, Held> = held.into_iter().map(|held| (held.header.base_offset, held)).collect();
        if self.compacted || !whole {
            // What cleanings took is still what was written; only the tail can be lost or come back.
            let lost = self.held.split_off(&state.log_end);
            self.bereave(&lost, state.log_end);
            self.given_up.extend(lost.into_values());
            for (base, batch) in found {
                self.held.entry(base).or_insert(batch);
            }
        } else {
            let before = std::mem::replace(&mut self.held, found);
            for (base, batch) in before {
                if base >= state.log_end {
                    self.given_up.push(batch);
                }
            }
        }
        self.end = state.log_end;
        self.answered = state.log_end;
        // What recovery reports it has made durable: readers are served from it at once.
        self.promised = match self.config.durability {
            Durability::Fsync => state.log_end,
            Durability::Replicated => self.promised.min(state.log_end),
        };
        self.log_start = state.log_start;
        self.begun_anew = self.begun_anew.filter(|at| *at <= state.log_start);
        self.told_high_watermark = self.told_high_watermark.min(state.log_end);
        self.take_producers(&state.producers);
    }

    fn take_producers(&mut self, table: &ProducerTable) {
        self.producers = table
            .iter()
            .filter_map(|(id, entry)| Some((id, (entry.epoch, entry.batches.last()?.last_sequence))))
            .collect();
    }

    fn recount_producers(&mut self) {
        let held: Vec<BatchHeader> = self.held.values().map(|held| held.header).collect();
        let known = std::mem::take(&mut self.producers);
        for header in held {
            // Producers that expired stay forgotten.
            let since = self.forgotten.get(&header.producer_id).copied().unwrap_or(Offset::ZERO);
            if known.contains_key(&header.producer_id) && header.base_offset >= since {
                self.note_producer(&header);
            }
        }
        for (id, state) in known {
            let gone = self.given_up.iter().any(|held| {
                held.header.producer_id == id && (held.header.producer_epoch, held.header.last_sequence()) == state
            });
            if !gone {
                self.producers.insert(id, state);
            }
        }
    }

    /// The batch that holds this offset, as it was ordered.
    pub fn batch_at(&self, offset: Offset) -> Option<&Held> {
        let (_, held) = self.held.range(..=offset).next_back()?;
        (held.header.last_offset() >= offset).then_some(held)
    }

    /// Bytes of all batches held from `offset` on.
    pub fn bytes_from(&self, offset: Offset) -> u64 {
        self.held.range(offset..).map(|(_, held)| held.header.size().unwrap_or(0) as u64).sum()
    }
}
