//! One assigned partition: where its reader is, what it has fetched and not yet handed out, what it waits for.
//!
//! ```text
//!   consumed | fetched, not handed out | not fetched yet
//!            ▲ position                ▲ fetch_from
//! ```

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, ProducerId, TopicId, TopicName},
    message::{AbortedTransaction, IsolationLevel, OffsetSpec, Records},
    offset::Offset,
    record::{Batch, BatchError, Batches, Control},
    time::{Duration, Instant, Timestamp},
};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record that is there.
    Earliest,
    /// What comes from now on.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record of this time or later; what comes from now on, when there is none yet.
    Time(Timestamp),
}

/// What a partition is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Finds its place first.
    Locating(OffsetSpec),
    /// Reads on from `fetch_from`.
    Fetching,
    /// Does nothing until the application seeks: it was told why.
    Failed,
}

/// The state of one assigned partition.
#[derive(Debug)]
pub(crate) struct Assigned {
    pub(crate) topic: TopicName,
    pub(crate) number: PartitionId,
    pub(crate) topic_id: TopicId,
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_epoch: LeaderEpoch,
    /// The follower that the leader has sent it to, and until when it stays there (KIP-392).
    near: Option<(NodeId, Instant)>,
    /// Until then the leader is to serve it: a follower has not.
    shy_until: Instant,
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    /// The next offset to hand out, once known.
    pub(crate) position: Option<Offset>,
    pub(crate) fetch_from: Offset,
    /// Epoch of the last batch fetched (KIP-320).
    pub(crate) last_epoch: LeaderEpoch,
    pub(crate) buffered: VecDeque<Fetched>,
    pub(crate) buffered_bytes: usize,
    /// Responses of which something is buffered.
    pub(crate) responses: usize,
    /// A call for it is on its way.
    pub(crate) asking: bool,
    /// Waits after a failure.
    pub(crate) resting: bool,
    pub(crate) failures: u32,
    /// Fetches in a row whose first batch was broken.
    pub(crate) corrupt: u32,
    /// Raised by every seek: replies to what was asked before it are dropped.
    pub(crate) generation: u64,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
}

/// One buffered batch.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) batch: Batch,
    /// Is it the last one of its response?
    last: bool,
}

/// What a response brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All its batches are in order; `bytes` of them are buffered.
    Whole { bytes: usize },
    /// A batch is broken; those before it are buffered.
    Broken { bytes: usize, error: BatchError },
}

impl Assigned {
    pub(crate) fn new(topic: TopicName, number: PartitionId, start: StartAt) -> Self {
        let mut assigned = Self {
            topic,
            number,
            topic_id: TopicId::ZERO,
            leader: None,
            leader_epoch: LeaderEpoch::NONE,
            near: None,
            shy_until: Instant::ZERO,
            phase: Phase::Failed,
            paused: false,
            position: None,
            fetch_from: Offset::NONE,
            last_epoch: LeaderEpoch::NONE,
            buffered: VecDeque::new(),
            buffered_bytes: 0,
            responses: 0,
            asking: false,
            resting: false,
            failures: 0,
            corrupt: 0,
            generation: 0,
            high_watermark: Offset::NONE,
            log_start: Offset::NONE,
        };
        assigned.seek(start);
        assigned
    }

    /// Goes somewhere else; returns the bytes that this frees.
    pub(crate) fn seek(&mut self, to: StartAt) -> usize {
        let spec = match to {
            StartAt::Offset(offset) => {
                self.go_to(offset);
                return self.forget_buffered();
            }
            StartAt::Earliest => OffsetSpec::Earliest,
            StartAt::Latest => OffsetSpec::Latest,
            StartAt::Time(at) => OffsetSpec::At(at),
        };
        self.locate(spec);
        self.position = None;
        self.forget_buffered()
    }

    /// Who is to be asked for records, and may it be told the reader's rack?
    pub(crate) fn reads_from(&self, now: Instant) -> Option<(NodeId, bool)> {
        match self.near {
            Some((node, until)) if now < until => Some((node, true)),
            _ => Some((self.leader?, self.shy_until <= now)),
        }
    }

    /// `from` has sent the reader to `to`. Only the leader's word counts, and only for a while.
    pub(crate) fn sent_on(&mut self, now: Instant, from: NodeId, to: NodeId, lasts: Duration) {
        if self.leader == Some(from) {
            self.near = Some((to, now.after(lasts)));
        } else {
            self.leave_follower(now);
        }
    }

    /// The follower does not serve it: the leader will for a while.
    pub(crate) fn leave_follower(&mut self, now: Instant) {
        self.near = None;
        self.shy_until = now.after(SHY_FOR);
    }

    /// Somebody else leads. What was asked of a follower of the one before counts no more.
    pub(crate) fn follow_leader(&mut self, leader: Option<NodeId>, epoch: LeaderEpoch) {
        if self.leader_epoch != epoch && self.near.take().is_some() {
            self.generation += 1;
            self.asking = false;
        }
        (self.leader, self.leader_epoch) = (leader, epoch);
    }

    /// Finds its place anew; what is buffered stays.
    pub(crate) fn locate(&mut self, spec: OffsetSpec) {
        self.phase = Phase::Locating(spec);
        self.last_epoch = LeaderEpoch::NONE;
        self.begin_anew();
    }

    /// Reads on from `offset`.
    pub(crate) fn go_to(&mut self, offset: Offset) {
        self.phase = Phase::Fetching;
        self.fetch_from = offset;
        self.position = Some(offset);
        self.last_epoch = LeaderEpoch::NONE;
        self.begin_anew();
    }

    pub(crate) fn fail(&mut self) {
        self.phase = Phase::Failed;
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.generation += 1;
        self.asking = false;
        self.resting = false;
        self.failures = 0;
        self.corrupt = 0;
    }

    fn forget_buffered(&mut self) -> usize {
        self.buffered.clear();
        self.responses = 0;
        core::mem::take(&mut self.buffered_bytes)
    }

    /// The log was cut at `end` and went on differently: what is buffered past it never was. Returns the bytes freed.
    pub(crate) fn truncate(&mut self, epoch: LeaderEpoch, end: Offset) -> usize {
        let before = self.buffered_bytes;
        while let Some(last) = self.buffered.pop_back_if(|f| f.batch.header().base_offset >= end) {
            self.buffered_bytes -= last.batch.size();
            self.responses -= usize::from(last.last);
        }
        if let Some(last) = self.buffered.back_mut()
            && !last.last
        {
            last.last = true;
            self.responses += 1;
        }
        self.phase = Phase::Fetching;
        self.fetch_from = end;
        self.position = self.position.map(|p| p.min(end));
        self.last_epoch = epoch;
        self.begin_anew();
        before - self.buffered_bytes
    }

    /// The next batch for the application, with the first offset that it has not seen.
    pub(crate) fn pop(&mut self) -> Option<(Batch, Offset)> {
        let fetched = self.buffered.pop_front()?;
        self.buffered_bytes -= fetched.batch.size();
        self.responses -= usize::from(fetched.last);
        let header = fetched.batch.header();
        let from = self.position.map_or(header.base_offset, |p| p.max(header.base_offset));
        self.position = Some(header.next_offset());
        if self.buffered.is_empty() && self.phase == Phase::Fetching {
            // Past what was fetched and is not for the application's eyes.
            self.position = Some(self.fetch_from);
        }
        Some((fetched.batch, from))
    }

    /// Takes a response's batches in: whole ones at or past `fetch_from`, without control batches and, for a
    /// reader of committed records, without those of aborted transactions.
    pub(crate) fn take(
        &mut self,
        records: Records,
        aborted: Option<Vec<AbortedTransaction>>,
        isolation: IsolationLevel,
    ) -> Taken {
        let mut filter = AbortFilter::new(aborted.filter(|_| isolation == IsolationLevel::ReadCommitted));
        let mut bytes = 0;
        let mut whole = 0;
        let mut broken = None;
        let batches = match records {
            Records::Batches(batches) => Arrived::Checked(batches.into_iter()),
            Records::Bytes(bytes) => Arrived::Unchecked(Batches(bytes)),
            // A driver resolves reads of the log before anybody sees them; one that does not has sent nothing.
            Records::Empty | Records::Log(_) => Arrived::Checked(Vec::new().into_iter()),
        };
        for batch in batches {
            let batch = match batch {
                Ok(batch) => batch,
                // The last batch may be cut off by the response's bound (KIP-74).
                Err(BatchError::Truncated { .. }) if whole > 0 => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            whole += 1;
            let visible = filter.is_visible(&batch);
            let header = batch.header();
            let next = header.next_offset();
            if next <= self.fetch_from {
                continue;
            }
            self.fetch_from = next;
            self.last_epoch = header.leader_epoch;
            if visible && header.records_count > 0 {
                bytes += batch.size();
                self.buffered.push_back(Fetched { batch, last: false });
            }
        }
        self.buffered_bytes += bytes;
        if bytes > 0 {
            self.buffered.back_mut().expect("pushed above").last = true;
            self.responses += 1;
        } else if self.buffered.is_empty() && self.phase == Phase::Fetching {
            self.position = Some(self.fetch_from);
        }
        match broken {
            Some(error) => {
                self.corrupt = if whole > 0 { 1 } else { self.corrupt + 1 };
                Taken::Broken { bytes, error }
            }
            None => {
                self.corrupt = 0;
                Taken::Whole { bytes }
            }
        }
    }
}

/// Batches as they arrive: already proven, or to be.
enum Arrived {
    Checked(alloc::vec::IntoIter<Batch>),
    Unchecked(Batches),
}

impl Iterator for Arrived {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Checked(batches) => batches.next().map(Ok),
            Self::Unchecked(batches) => batches.next(),
        }
    }
}

/// Which batches of one response belong to aborted transactions (KIP-98): a producer's, from the first offset that
/// the response names for it up to its abort marker.
struct AbortFilter {
    /// By first offset, the next at the end.
    upcoming: Vec<AbortedTransaction>,
    aborting: BTreeSet<ProducerId>,
}

impl AbortFilter {
    fn new(aborted: Option<Vec<AbortedTransaction>>) -> Self {
        let mut upcoming = aborted.unwrap_or_default();
        upcoming.sort_by_key(|t| core::cmp::Reverse(t.first_offset));
        Self { upcoming, aborting: BTreeSet::new() }
    }

    fn is_visible(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        while let Some(begun) = self.upcoming.pop_if(|t| t.first_offset <= header.last_offset()) {
            self.aborting.insert(begun.producer_id);
        }
        if header.is_control() {
            if let Ok(Some(Control::EndTransaction { commit: false, .. })) = batch.control() {
                self.aborting.remove(&header.producer_id);
            }
            return false;
        }
        !(header.is_transactional() && self.aborting.contains(&header.producer_id))
    }
}

/// How long a reader that a follower has not served stays with the leader.
const SHY_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::ProducerEpoch,
        record::{BatchBuilder, BatchOptions},
    };
    use alloc::vec;
    use bytes::Bytes;
    use std::vec::Vec as StdVec;

    fn batch(base: i64, records: i32, producer: i64, transactional: bool) -> Batch {
        let mut builder = BatchBuilder::new();
        for delta in 0..records {
            builder.append(delta, Timestamp(1), None, Some(b"value"), []);
        }
        builder.build(&BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(3),
            producer: (producer >= 0).then_some((ProducerId(producer), ProducerEpoch(0), 0)),
            transactional,
            ..BatchOptions::default()
        })
    }

    fn marker(base: i64, producer: i64, commit: bool) -> Batch {
        let mut marker = Batch::end_transaction(commit, 0, ProducerId(producer), ProducerEpoch(0), Timestamp(1));
        marker.stamp(Offset(base), LeaderEpoch(3));
        marker
    }

    fn reading(from: i64) -> Assigned {
        Assigned::new(TopicName::new("t"), PartitionId(0), StartAt::Offset(Offset(from)))
    }

    fn bytes(batches: &[Batch]) -> Records {
        Records::Bytes(batches.iter().flat_map(|b| b.to_bytes()).collect::<StdVec<u8>>().into())
    }

    fn popped(assigned: &mut Assigned) -> StdVec<(i64, i64)> {
        let pairs = core::iter::from_fn(|| assigned.pop().map(|(b, from)| (b.header().base_offset.0, from.0)));
        pairs.collect()
    }

    #[test]
    fn a_batch_that_begins_below_the_position_is_read_from_the_position() {
        let mut reader = reading(3);
        let records = bytes(&[batch(0, 2, -1, false), batch(2, 3, -1, false), batch(5, 1, -1, false)]);
        assert!(matches!(reader.take(records, None, IsolationLevel::ReadUncommitted), Taken::Whole { .. }));
        assert_eq!(reader.fetch_from, Offset(6));
        assert_eq!(popped(&mut reader), [(2, 3), (5, 5)]);
        assert_eq!((reader.position, reader.buffered_bytes, reader.responses), (Some(Offset(6)), 0, 0));
    }

    #[test]
    fn aborted_records_and_markers_are_not_for_readers_of_committed_records() {
        let log = [
            batch(0, 1, 1, true),
            batch(1, 1, 2, true),
            batch(2, 1, 1, true),
            marker(3, 1, false),
            marker(4, 2, true),
            batch(5, 1, 1, true),
            batch(6, 1, -1, false),
        ];
        let aborted = vec![AbortedTransaction { producer_id: ProducerId(1), first_offset: Offset(0) }];
        let mut reader = reading(0);
        reader.take(bytes(&log), Some(aborted.clone()), IsolationLevel::ReadCommitted);
        assert_eq!(popped(&mut reader), [(1, 1), (5, 5), (6, 6)]);
        let mut reader = reading(0);
        reader.take(bytes(&log), Some(aborted), IsolationLevel::ReadUncommitted);
        assert_eq!(popped(&mut reader).len(), 5, "markers are nobody's");
    }

    #[test]
    fn the_position_passes_what_is_not_handed_out() {
        let mut reader = reading(0);
        reader.take(bytes(&[marker(0, 1, true), marker(1, 2, true)]), None, IsolationLevel::ReadUncommitted);
        assert_eq!((reader.position, reader.responses), (Some(Offset(2)), 0));
    }

    #[test]
    fn a_batch_cut_off_at_the_end_is_left_for_the_next_fetch_and_a_broken_one_is_told_of() {
        let good = batch(0, 1, -1, false).to_bytes();
        let mut cut = good.to_vec();
        cut.extend_from_slice(&good[..30]);
        let mut reader = reading(0);
        assert!(matches!(
            reader.take(Records::Bytes(cut.into()), None, IsolationLevel::ReadUncommitted),
            Taken::Whole { .. }
        ));
        let mut flipped = good.to_vec();
        *flipped.last_mut().expect("not empty") ^= 1;
        let mut reader = reading(0);
        for n in 1..3 {
            let records = Records::Bytes(Bytes::from(flipped.clone()));
            let taken = reader.take(records, None, IsolationLevel::ReadUncommitted);
            assert!(matches!(taken, Taken::Broken { bytes: 0, error: BatchError::Crc { .. } }));
            assert_eq!(reader.corrupt, n);
        }
    }

    #[test]
    fn truncation_takes_back_what_was_not_handed_out_yet() {
        let mut reader = reading(0);
        reader.take(bytes(&[batch(0, 2, -1, false)]), None, IsolationLevel::ReadUncommitted);
        reader.take(bytes(&[batch(2, 2, -1, false), batch(4, 2, -1, false)]), None, IsolationLevel::ReadUncommitted);
        assert_eq!(reader.responses, 2);
        assert!(reader.truncate(LeaderEpoch(2), Offset(4)) > 0);
        assert_eq!((reader.fetch_from, reader.responses), (Offset(4), 2));
        assert_eq!(popped(&mut reader), [(0, 0), (2, 2)]);
        assert_eq!(reader.responses, 0);
    }
}
