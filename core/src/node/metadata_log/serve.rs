//! What peers ask of the quorum: votes, news of leadership, and the records of the metadata log.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{MetadataJob, Node};
use crate::{
    ids::{LogId, NodeId, PartitionId, RequestId, TopicId, TopicPartition},
    limits,
    message::{
        BeginEpochRequest, EndEpochRequest, ErrorCode, LogRead, PeerResponse, Records, ReplicaFetchPartition,
        ReplicaFetchRequest, ReplicaFetchResponse, ReplicaFetched, VoteRequest,
    },
    offset::Offset,
    quorum::{FetchVerdict, Quorum, VoteAnswer},
    record::Batch,
    time::Instant,
};

/// The metadata log as what it is pulled as.
const METADATA: TopicPartition = TopicPartition { topic: TopicId::METADATA, partition: PartitionId(0) };

/// The newest batches of the metadata log, contiguous up to its end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Tail {
    pub(super) fn push(&mut self, batch: Batch) {
        self.bytes += batch.size();
        self.batches.push_back(batch);
    }

    /// Drops what is at or past the log's end.
    pub(super) fn cut(&mut self, end: Offset) {
        while let Some(last) = self.batches.pop_back_if(|batch| batch.header().next_offset() > end) {
            self.bytes -= last.size();
        }
    }

    /// Drops the oldest of what the disk has, until the rest is within bounds.
    fn shrink(&mut self, durable: Offset) {
        while self.bytes > limits::METADATA_TAIL_BYTES_MAX
            && let Some(first) = self.batches.pop_front_if(|batch| batch.header().next_offset() <= durable)
        {
            self.bytes -= first.size();
        }
    }

    fn start(&self, log_end: Offset) -> Offset {
        self.batches.front().map_or(log_end, |batch| batch.header().base_offset)
    }

    fn read(&self, from: Offset, max_bytes: usize) -> Vec<Batch> {
        let mut bytes = 0;
        let first = self.batches.partition_point(|batch| batch.header().next_offset() <= from);
        let fits = |batch: &&Batch| {
            let is_first = bytes == 0;
            bytes += batch.size();
            is_first || bytes <= max_bytes
        };
        self.batches.iter().skip(first).take_while(fits).cloned().collect()
    }
}

/// Followers' fetches that have found nothing new: one for each at most.
#[derive(Debug, Default)]
pub(super) struct Pulls(BTreeMap<RequestId, Pull>);

#[derive(Debug)]
struct Pull {
    replica: NodeId,
    asked: ReplicaFetchPartition,
    max_bytes: usize,
    deadline: Instant,
}

impl Node {
    pub(in crate::node) fn on_vote_request(&mut self, id: RequestId, request: &VoteRequest) {
        let now = self.now.mono;
        let answer = self.metadata.quorum().on_vote_request(now, request);
        self.settle_quorum();
        match answer {
            VoteAnswer::Now(response) => self.respond_peer(id, PeerResponse::Vote(response)),
            VoteAnswer::OnceSaved(vote, response) => {
                // The order to save it has just been given; it is the last of its kind.
                let saving = self.metadata.jobs.values_mut().rev().find_map(|job| match job {
                    MetadataJob::Vote { vote: saved, answer } if *saved == vote && answer.is_none() => Some(answer),
                    _ => None,
                });
                *saving.expect("the vote is being saved") = Some((id, response));
            }
        }
    }

    pub(in crate::node) fn on_begin_epoch(&mut self, id: RequestId, request: &BeginEpochRequest) {
        let now = self.now.mono;
        self.meet_leader(Some(request.leader), request.epoch, request.leader_endpoint.as_deref());
        let response = self.metadata.quorum().on_begin_epoch(now, request);
        self.settle_quorum();
        self.respond_peer(id, PeerResponse::Epoch(response));
    }

    pub(in crate::node) fn on_end_epoch(&mut self, id: RequestId, request: &EndEpochRequest) {
        let now = self.now.mono;
        let response = self.metadata.quorum().on_end_epoch(now, request);
        self.settle_quorum();
        self.respond_peer(id, PeerResponse::Epoch(response));
    }

    /// A replica pulls the metadata log.
    pub(in crate::node) fn on_metadata_fetch(&mut self, id: RequestId, request: &ReplicaFetchRequest) {
        let Some(asked) = request.partitions.iter().find(|asked| asked.id == METADATA) else {
            return self.answer_pull(id, Self::nothing(ErrorCode::InvalidRequest));
        };
        // Whoever asks anew waits no longer for what it asked before.
        let before = self.metadata.pulls.0.iter().find(|(_, pull)| pull.replica == request.replica).map(|(id, _)| *id);
        before.into_iter().for_each(|id| self.finish_pull(id));
        let now = self.now.mono;
        let verdict = self.metadata.quorum().on_fetch(now, (request.replica, request.directory), asked);
        self.settle_quorum();
        let mut fetched = Self::nothing(ErrorCode::None);
        match verdict {
            FetchVerdict::Refused(error) => fetched.error = error,
            FetchVerdict::Diverging(epoch, end) => fetched.diverging = Some((epoch, end)),
            FetchVerdict::Snapshot(id) => fetched.snapshot = Some(id),
            FetchVerdict::Read => {
                let max_bytes = request.max_bytes.min(limits::METADATA_FETCH_BYTES_MAX);
                let deadline = self.now.mono.after(request.max_wait.min(limits::FETCH_WAIT_MAX));
                let pull = Pull { replica: request.replica, asked: asked.clone(), max_bytes, deadline };
                if !self.has_news(&pull) && deadline > self.now.mono {
                    self.timers.park(deadline, id);
                    self.metadata.pulls.0.insert(id, pull);
                    return;
                }
                fetched.records = self.read_for(&pull);
            }
        }
        self.answer_pull(id, fetched);
    }

    /// Is there something that the follower does not know?
    fn has_news(&self, pull: &Pull) -> bool {
        let Some(quorum) = self.quorum().filter(|quorum| quorum.is_leader()) else { return true };
        quorum.epoch() != pull.asked.current_leader_epoch
            || served_end(quorum) > pull.asked.offset
            || quorum.established().is_some_and(|committed| committed > pull.asked.high_watermark)
    }

    /// The batches from where a follower's log ends.
    fn read_for(&mut self, pull: &Pull) -> Records {
        let (from, max_bytes) = (pull.asked.offset, pull.max_bytes);
        let quorum = self.metadata.quorum();
        let (end, served) = (quorum.log_end(), served_end(quorum));
        let bound = if served < end { served } else { self.metadata.tail.start(end) };
        if from < bound {
            return Records::Log(LogRead { log: LogId::METADATA, from, bound, max_bytes, at_least_one: true });
        }
        let batches = if served < end { Vec::new() } else { self.metadata.tail.read(from, max_bytes) };
        if batches.is_empty() { Records::Empty } else { Records::Batches(batches) }
    }

    /// Answers the followers for whom there is something new, or nothing any more.
    pub(super) fn wake_pulls(&mut self) {
        let durable = self.metadata.quorum().durable_end();
        self.metadata.tail.shrink(durable);
        let woken: Vec<RequestId> =
            self.metadata.pulls.0.iter().filter(|(_, pull)| self.has_news(pull)).map(|(id, _)| *id).collect();
        woken.into_iter().for_each(|id| self.finish_pull(id));
    }

    /// Answers a follower that waits with what there is by now.
    pub(in crate::node) fn finish_pull(&mut self, id: RequestId) {
        let Some(pull) = self.drop_pull(id) else { return };
        let quorum = self.metadata.quorum();
        let leads = quorum.is_leader() && quorum.epoch() == pull.asked.current_leader_epoch;
        let mut fetched = Self::nothing(if leads { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower });
        if leads {
            fetched.records = self.read_for(&pull);
        }
        self.answer_pull(id, fetched);
    }

    /// Takes a follower's fetch out.
    fn drop_pull(&mut self, id: RequestId) -> Option<Pull> {
        let pull = self.metadata.pulls.0.remove(&id)?;
        self.timers.unpark(pull.deadline, id);
        Some(pull)
    }

    /// Nobody waits for this answer any more.
    pub(in crate::node) fn abandon_pull(&mut self, id: RequestId) {
        self.drop_pull(id);
    }

    /// Every follower that waits, for a node that stops.
    pub(in crate::node) fn finish_pulls(&mut self) {
        let waiting: Vec<RequestId> = self.metadata.pulls.0.keys().copied().collect();
        waiting.into_iter().for_each(|id| self.finish_pull(id));
    }

    fn nothing(error: ErrorCode) -> ReplicaFetched {
        ReplicaFetched {
            id: METADATA,
            error,
            leader: None,
            leader_epoch: crate::epoch::LeaderEpoch::NONE,
            high_watermark: Offset::NONE,
            log_start: Offset::NONE,
            diverging: None,
            snapshot: None,
            records: Records::Empty,
            leader_endpoint: None,
        }
    }

    fn answer_pull(&mut self, id: RequestId, mut fetched: ReplicaFetched) {
        if let Some(quorum) = self.quorum() {
            (fetched.leader, fetched.leader_epoch) = (quorum.leader(), quorum.epoch());
            fetched.high_watermark = quorum.established().unwrap_or(Offset::NONE);
            fetched.log_start = quorum.log_start();
        }
        let (error, session, partitions) = (ErrorCode::None, 0, alloc::vec![fetched]);
        self.respond_peer(id, PeerResponse::Fetch(ReplicaFetchResponse { error, session, partitions }));
    }
}

/// Up to where others may have the log. A leader that votes alone goes on when its disk refuses a record, with another one in its
/// place: it shows nothing that is not durable.
fn served_end(quorum: &Quorum) -> Offset {
    if quorum.is_alone() { quorum.durable_end() } else { quorum.log_end() }
}
