//! The follower's part: what the leader has, in the leader's order, and nothing else (KIP-101, KIP-279, KIP-595).
//!
//! A follower asks from the end of its log and names the epoch of its last record. The leader tells it where their logs
//! part, if they do; the follower cuts there and asks again, until they do not. What is acknowledged is what is durable.

use alloc::vec::Vec;

use super::{
    Partition, TailBudget,
    partition::{Completed, Role},
};
use crate::{
    effect::Effects,
    epoch::LeaderEpoch,
    ids::JobId,
    log::{EpochCache, Job, JobOutcome, ProducerTable},
    offset::Offset,
    record::Batch,
    time::Now,
};

/// What only a follower has. It begins with a leader's epoch and ends with it.
#[derive(Debug)]
pub(super) struct Follower {
    /// The high watermark and the log start that the leader has told.
    pub(super) leader_watermark: Offset,
    pub(super) leader_log_start: Offset,
    /// Up to where the log start is being raised.
    raising: Offset,
    /// The log is being cut: nothing is asked until that is done.
    pub(super) cutting: Option<Cutting>,
    /// The leader owes an answer since this round; no earlier one's answer is it.
    pub(super) asked: Option<u32>,
    /// From where it was asked last: the log may have lost its end since, and the answer then does not follow it.
    asked_from: Offset,
    /// What the leader has been told that this replica has, and where its log begins.
    said: Option<(Offset, Offset)>,
    /// It has been told of what the leader lacks and cannot lack ([`Divergence::Refused`]).
    refused: bool,
    /// Planted bugs alone turn these on: the log is taken for the leader's without asking.
    trusts_own_log: bool,
}

/// How a log is being cut. What was begun may have come halfway, so it is gone through with, whoever leads by then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cutting {
    /// Its end goes, from here on.
    End(Offset),
    /// The disk had no room for that just now.
    Again(Offset),
    /// All of it goes, and it begins elsewhere.
    Anew,
}

impl Follower {
    /// Nothing is known of the leader yet.
    pub(super) fn new(cutting: Option<Cutting>, trusts_own_log: bool) -> Self {
        Self {
            leader_watermark: Offset::ZERO,
            leader_log_start: Offset::ZERO,
            raising: Offset::ZERO,
            cutting,
            asked: None,
            asked_from: Offset::ZERO,
            said: None,
            refused: false,
            trusts_own_log,
        }
    }
}

/// What a follower asks its leader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The first offset wanted; [`Offset::NONE`] while the leader owes an answer already.
    pub offset: Offset,
    /// Everything below is this replica's own.
    pub acknowledged: Offset,
    /// Epoch of the last record.
    pub last_epoch: LeaderEpoch,
    /// Where the log begins.
    pub log_start: Offset,
    /// The high watermark as the leader has told it.
    pub high_watermark: Offset,
}

/// What comes of a log that is not a prefix of its leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// This order cuts off what is not shared.
    Cut(JobId),
    /// Not now.
    Busy,
    /// The leader lacks committed records, and was elected as one that has them all: nothing is cut off.
    Refused {
        /// Where their logs part.
        at: Offset,
        /// Is this the first time in the leader's epoch?
        is_news: bool,
    },
}

/// Why what a leader sent was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It does not follow what is there.
    OutOfOrder,
    /// It is of a later epoch than the leader's that was asked (KAFKA-18723).
    Epoch,
    /// The log takes nothing now.
    Busy,
}

impl Partition {
    pub(super) fn following(&self) -> Option<&Follower> {
        match &self.role {
            Role::Follower(follower) => Some(follower),
            Role::Leader(_) => None,
        }
    }

    fn following_mut(&mut self) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Follower(follower) => Some(follower),
            Role::Leader(_) => None,
        }
    }

    /// Is the log being cut?
    pub fn is_cutting(&self) -> bool {
        self.following().is_some_and(|f| f.cutting.is_some())
    }

    /// What to say to the leader now: `None` when there is nothing to be asked. From here on the leader owes an answer.
    /// Without `room` nothing new is asked for, only what is had is told. Requests to a leader are counted in `round`s.
    pub fn ask(&mut self, room: bool, round: u32) -> Option<Ask> {
        if self.offline || self.failing {
            return None;
        }
        let mut ask = Ask {
            leader_epoch: self.leader_epoch,
            offset: Offset::NONE,
            acknowledged: self.durable_end,
            last_epoch: self.epochs.last_epoch(self.log_end),
            log_start: self.log_start,
            high_watermark: Offset::ZERO,
        };
        let log_end = self.log_end;
        let follower = self.following_mut().filter(|f| f.cutting.is_none())?;
        ask.high_watermark = follower.leader_watermark;
        if follower.trusts_own_log {
            ask.last_epoch = LeaderEpoch::NONE;
        }
        if room && follower.asked.is_none() {
            (follower.asked, follower.asked_from) = (Some(round), log_end);
            ask.offset = log_end;
        }
        let says = Some((ask.acknowledged, ask.log_start));
        let is_news = follower.said != says;
        follower.said = says;
        (is_news || ask.offset != Offset::NONE).then_some(ask)
    }

    pub(super) fn trusts_own_log(&self) -> bool {
        self.following().is_some_and(|f| f.trusts_own_log)
    }

    /// A planted bug: the epoch of the last record is forgotten.
    pub fn forget_last_epoch(&mut self) {
        if let Some(follower) = self.following_mut() {
            follower.trusts_own_log = true;
        }
    }

    /// The leader has answered the request of this round. False if it does not owe this answer: it was asked since, or what
    /// it was asked for is of no use any more.
    pub fn answered(&mut self, round: u32) -> bool {
        let Some(follower) = self.following_mut() else { return false };
        let is_owed = follower.asked.is_some_and(|asked| round.wrapping_sub(asked).cast_signed() >= 0);
        if is_owed {
            follower.asked = None;
        }
        is_owed
    }

    /// The session with the leader is gone: all is to be said again.
    pub fn session_lost(&mut self) {
        if let Some(follower) = self.following_mut() {
            follower.asked = None;
            follower.said = None;
        }
    }

    /// Has the leader not told this high watermark before?
    pub fn is_news(&self, high_watermark: Offset) -> bool {
        self.following().is_some_and(|f| f.leader_watermark < high_watermark)
    }

    /// Bytes on their way to the disk.
    pub fn appending_bytes(&self) -> usize {
        self.in_flight.bytes()
    }

    /// Appends what the leader sent.
    pub fn replicate(
        &mut self,
        now: Now,
        batches: impl Iterator<Item = Batch>,
        budget: &mut TailBudget,
        effects: &mut Effects,
    ) -> Result<usize, Unfit> {
        if self.failing || self.in_flight.has_failed() || self.offline || self.is_cutting() || self.is_leader() {
            return Err(Unfit::Busy);
        }
        if self.following().is_some_and(|f| f.asked_from > self.log_end) {
            return Err(Unfit::OutOfOrder);
        }
        let mut next = self.log_end;
        let mut fit: Vec<Batch> = Vec::new();
        let mut error = None;
        for batch in batches {
            let header = batch.header();
            if header.next_offset() <= next {
                continue;
            }
            // Where the leader's log begins inside a batch, so does this one, which begins anew there.
            let begins_inside = fit.is_empty() && self.log_start == next && self.in_flight.is_empty();
            if header.base_offset < next && !begins_inside {
                error = Some(Unfit::OutOfOrder);
                break;
            }
            if header.leader_epoch > self.leader_epoch {
                error = Some(Unfit::Epoch);
                break;
            }
            next = header.next_offset();
            fit.push(batch);
        }
        if fit.is_empty() {
            return error.map_or(Ok(0), Err);
        }
        for batch in &fit {
            let header = batch.header();
            if self.epochs.latest() != Some(header.leader_epoch) {
                self.epochs.assign(header.leader_epoch, header.base_offset.max(self.log_start));
            }
        }
        let bytes = fit.iter().map(Batch::size).sum();
        self.append(now.wall, fit, budget, effects);
        Ok(bytes)
    }

    /// The leader has told its high watermark.
    pub fn leader_committed(&mut self, high_watermark: Offset) -> Completed {
        let mut completed = Completed::default();
        if let Some(follower) = self.following_mut() {
            follower.leader_watermark = follower.leader_watermark.max(high_watermark);
            self.advance(&mut completed);
        }
        completed
    }

    /// Cuts the log's end off; returns the order. Nothing is asked until it is done.
    pub(super) fn cut(&mut self, to: Offset, effects: &mut Effects) -> Option<JobId> {
        let follower = self.following_mut()?;
        follower.cutting = Some(Cutting::End(to));
        follower.asked = None;
        Some(effects.run(self.log, Job::Truncate { to }))
    }

    /// The log is not a prefix of the leader's, which ends `epoch` at `end`: cuts what is not shared. Records below the
    /// high watermark go only if they are of epochs before `unclean`, which began with a leader that may lack some of them.
    /// Of what stands before its own log start the leader knows nothing: where all that would be left lies there, and this
    /// replica does not know it to be committed either, all goes, with what is known of its producers, and the log begins anew.
    pub fn diverged(
        &mut self,
        (epoch, end): (LeaderEpoch, Offset),
        leader_log_start: Offset,
        unclean: Option<LeaderEpoch>,
        effects: &mut Effects,
    ) -> Divergence {
        let at = self.epochs.common_end((epoch, end), self.log_end);
        let last = self.epoch_at(Offset(self.high_watermark.0 - 1));
        let may_lose = unclean.is_some_and(|unclean| last < unclean && unclean <= self.leader_epoch);
        let refuses = at < self.high_watermark && !may_lose;
        let unknown = at <= leader_log_start && self.high_watermark < leader_log_start;
        let (at, refuses) = if unknown { (at.min(self.log_start), false) } else { (at, refuses) };
        let busy = self.is_cutting() || self.failing;
        match self.following_mut().filter(|_| !busy) {
            None => Divergence::Busy,
            Some(follower) if refuses => {
                Divergence::Refused { at, is_news: !core::mem::replace(&mut follower.refused, true) }
            }
            Some(_) => self.cut(at, effects).map_or(Divergence::Busy, Divergence::Cut),
        }
    }

    /// The leader's log begins at `to`: so will this one.
    pub fn leader_begins(&mut self, to: Offset) {
        if let Some(follower) = self.following_mut() {
            follower.leader_log_start = follower.leader_log_start.max(to);
        }
    }

    /// Raises the log start to the leader's as far as the high watermark goes; returns the order, if one is due.
    pub fn follow_log_start(&mut self, effects: &mut Effects) -> Option<JobId> {
        let (log, log_start, watermark) = (self.log, self.log_start, self.high_watermark);
        let follower = self.following_mut().filter(|f| f.cutting.is_none())?;
        let to = follower.leader_log_start.min(watermark);
        if to <= log_start.max(follower.raising) {
            return None;
        }
        follower.raising = to;
        Some(effects.run(log, Job::RaiseLogStart { to }))
    }

    /// All of this log is below the leader's log start: it begins anew there. Returns the order; nothing is asked until it
    /// is done.
    pub fn skip_to(&mut self, to: Offset, effects: &mut Effects) -> Option<JobId> {
        if to <= self.log_end || self.is_cutting() || self.failing || !self.in_flight.is_empty() {
            return None;
        }
        let log = self.log;
        let follower = self.following_mut()?;
        follower.cutting = Some(Cutting::Anew);
        follower.asked = None;
        Some(effects.run(log, Job::RaiseLogStart { to }))
    }

    /// The log has been cut.
    pub fn cut_ended(&mut self, outcome: JobOutcome, budget: &mut TailBudget) {
        assert!(self.in_flight.is_empty(), "a log is cut behind all its appends");
        budget.remove(self.tail.clear());
        let (log_start, end, size) = match outcome {
            JobOutcome::Truncated { log_start, end, size, producers } => {
                self.epochs.truncate_end(end);
                self.producers = producers;
                (log_start, end, size)
            }
            JobOutcome::Trimmed { log_start, end, size } => {
                self.epochs = EpochCache::default();
                self.producers = ProducerTable::new();
                (log_start, end, size)
            }
            other => panic!("a cut was answered by {other:?}"),
        };
        (self.log_start, self.log_end, self.durable_end, self.size) = (log_start, end, end, size);
        if self.high_watermark > end {
            // The log has lowered what was noted, too.
            self.noted_watermark = Offset::NONE;
        }
        self.high_watermark = self.high_watermark.clamp(log_start, end);
        if let Some(follower) = self.following_mut() {
            follower.cutting = None;
        }
        self.check();
    }

    /// The log could not be cut, for now or for good.
    pub fn cut_failed(&mut self, for_good: bool) {
        if let Some(follower) = self.following_mut() {
            follower.cutting = match follower.cutting {
                Some(Cutting::End(to) | Cutting::Again(to)) if !for_good => Some(Cutting::Again(to)),
                _ => None,
            };
        }
    }

    /// Cuts the log where that has failed; returns the order.
    pub fn cut_again(&mut self, effects: &mut Effects) -> Option<JobId> {
        match self.following()?.cutting? {
            Cutting::Again(to) => self.cut(to, effects),
            Cutting::End(_) | Cutting::Anew => None,
        }
    }
}
