//! Serving followers: sessions in which only what changed is said (KIP-227).
//!
//! A session remembers where each of the follower's partitions wants to read on. A partition is *ready* when it may have
//! an answer: records, a newer high watermark or log start, a divergence, an error. An answer takes it out of the wanting
//! until the follower names it again. So a round costs what changed, and ten thousand idle partitions cost nothing.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::ops::Bound;

use crate::node::{Node, startup::Phase};
use crate::{
    buggify::Site,
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, LogId, NodeId, RequestId, TopicPartition},
    limits,
    message::{
        ErrorCode, PeerRequest, PeerResponse, Records, ReplicaFetchPartition, ReplicaFetchRequest,
        ReplicaFetchResponse, ReplicaFetched,
    },
    mutant,
    offset::Offset,
    replica::{FollowerSays, Position, ReadPlan},
    time::{Duration, Instant},
};

/// What one node pulls from this one.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    broker_epoch: BrokerEpoch,
    /// What the next request must carry.
    sequence: u32,
    partitions: BTreeMap<TopicPartition, Followed>,
    /// Those that may have an answer.
    ready: BTreeSet<TopicPartition>,
    /// The partition answered last, so that the others have their turn.
    last: Option<TopicPartition>,
    parked: Option<Parked>,
}

#[derive(Clone, Copy, Debug)]
struct Parked {
    request: RequestId,
    deadline: Instant,
    max_bytes: usize,
}

/// Where a follower stands in one partition.
#[derive(Clone, Copy, Debug)]
struct Followed {
    epoch: LeaderEpoch,
    offset: Offset,
    last_epoch: LeaderEpoch,
    acknowledged: Offset,
    log_start: Offset,
    /// An answer is owed.
    wants: bool,
    /// Its log is known to be a prefix of this node's, in this epoch.
    shared: bool,
    told_watermark: Offset,
    told_log_start: Offset,
}

impl Node {
    pub(in crate::node) fn on_replica_fetch(&mut self, id: RequestId, request: ReplicaFetchRequest) {
        if let Err(error) = self.enter_session(&request) {
            let refusal = PeerRequest::Fetch(request).refuse(error);
            return self.respond_peer(id, refusal);
        }
        let node = request.replica;
        let is_first = request.sequence == 0;
        // A newer request ends the wait of the one before.
        if let Some(parked) = self.session(node).parked {
            self.finish_replica_fetch(parked.request);
        }
        let session = self.session(node);
        session.sequence = request.sequence.wrapping_add(1);
        for forgotten in &request.forgotten {
            session.partitions.remove(forgotten);
            session.ready.remove(forgotten);
        }
        for named in &request.partitions {
            self.note_position(node, request.broker_epoch, named);
        }
        let most = if self.buggify.fires(Site::TinyReplicaFetch) { 1 } else { limits::REPLICA_FETCH_BYTES_MAX };
        let max_bytes = request.max_bytes.min(most);
        let is_first = is_first || self.buggify.fires(Site::EarlyReplicaAnswer);
        let deadline = self.now.mono.after(request.max_wait.min(limits::FETCH_WAIT_MAX));
        self.session(node).parked = Some(Parked { request: id, deadline, max_bytes });
        self.replication.parked.insert(id, node);
        self.timers.park(deadline, id);
        // The first answer tells the follower its session, without which it can say nothing more.
        if is_first || request.max_wait == Duration::ZERO {
            self.finish_replica_fetch(id);
        } else {
            self.replication.stirred.insert(node);
        }
    }

    fn session(&mut self, node: NodeId) -> &mut Session {
        self.replication.sessions.get_mut(&node).expect("the request has entered its session")
    }

    /// Finds the request's session, or begins it.
    fn enter_session(&mut self, request: &ReplicaFetchRequest) -> Result<(), ErrorCode> {
        if !matches!(self.phase, Phase::Starting | Phase::Serving) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let node = request.replica;
        let broker = self.image.broker(node).ok_or(ErrorCode::BrokerIdNotRegistered)?;
        if request.broker_epoch < broker.epoch {
            return Err(ErrorCode::StaleBrokerEpoch);
        }
        let held = self.replication.sessions.get(&node);
        let count = request.partitions.len() + held.map_or(0, |session| session.partitions.len());
        if count > limits::FETCH_SESSION_PARTITIONS_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        if request.session == 0 && request.sequence == 0 {
            if let Some(parked) = self.replication.sessions.get(&node).and_then(|session| session.parked) {
                self.finish_replica_fetch(parked.request);
            }
            // Another run of this process must not take the session for its own.
            self.replication.sessions_begun += 1;
            let id = (self.config.incarnation as u64 >> 1).wrapping_add(self.replication.sessions_begun).max(1);
            let session = Session {
                id,
                broker_epoch: request.broker_epoch,
                sequence: 0,
                partitions: BTreeMap::new(),
                ready: BTreeSet::new(),
                last: None,
                parked: None,
            };
            self.replication.sessions.insert(node, session);
            return Ok(());
        }
        match held {
            Some(session) if session.id == request.session && session.broker_epoch == request.broker_epoch => {
                if session.sequence == request.sequence { Ok(()) } else { Err(ErrorCode::InvalidFetchSessionEpoch) }
            }
            _ => Err(ErrorCode::FetchSessionIdNotFound),
        }
    }

    /// Takes note of what the follower says of one partition.
    fn note_position(&mut self, node: NodeId, broker_epoch: BrokerEpoch, named: &ReplicaFetchPartition) {
        let session = self.session(node);
        if named.offset == Offset::NONE {
            // Only what it has is new.
            let known = session.partitions.get_mut(&named.id);
            let Some(followed) = known.filter(|f| f.epoch == named.current_leader_epoch) else { return };
            followed.acknowledged = named.acknowledged;
            followed.log_start = named.log_start;
            if followed.shared {
                self.acknowledge_follower(node, broker_epoch, named.id, named.acknowledged, named.log_start);
            }
            return;
        }
        // What it has been told in this epoch it need not be told again, whether or not it could act on it.
        let known = session.partitions.get(&named.id).filter(|f| f.epoch == named.current_leader_epoch);
        let told = known.map(|f| (f.told_watermark, f.told_log_start));
        let (told_watermark, told_log_start) = told.unwrap_or((named.high_watermark, named.log_start));
        let followed = Followed {
            epoch: named.current_leader_epoch,
            offset: named.offset,
            last_epoch: named.last_fetched_epoch,
            acknowledged: named.acknowledged.min(named.offset),
            log_start: named.log_start,
            wants: true,
            shared: false,
            told_watermark,
            told_log_start,
        };
        session.partitions.insert(named.id, followed);
        self.settle_position(node, named.id);
    }

    /// Finds out how a follower's log stands to this node's, and believes what it has said if it is a prefix.
    fn settle_position(&mut self, node: NodeId, id: TopicPartition) {
        let session = self.session(node);
        let broker_epoch = session.broker_epoch;
        session.ready.insert(id);
        let Some(followed) = session.partitions.get(&id).copied().filter(|f| !f.shared) else { return };
        let Some(partition) = self.by_id.get(&id).and_then(|log| self.partitions.get(log)) else { return };
        match partition.position(followed.epoch, followed.offset, followed.last_epoch) {
            Position::Shared => {}
            Position::Diverging(..) if mutant!(X09) => {
                return self.acknowledge_follower(node, broker_epoch, id, followed.acknowledged, followed.log_start);
            }
            Position::Diverging(..) | Position::Failed(_) => return,
        }
        if let Some(followed) = self.session(node).partitions.get_mut(&id) {
            followed.shared = true;
        }
        self.acknowledge_follower(node, broker_epoch, id, followed.acknowledged, followed.log_start);
    }

    fn acknowledge_follower(
        &mut self,
        node: NodeId,
        broker_epoch: BrokerEpoch,
        id: TopicPartition,
        acknowledged: Offset,
        log_start: Offset,
    ) {
        let Some(&log) = self.by_id.get(&id) else { return };
        let Some(partition) = self.partitions.get_mut(&log) else { return };
        let completed =
            partition.follower_has(self.now.mono, FollowerSays { node, broker_epoch, acknowledged, log_start });
        let outside = partition.isr().is_some_and(|isr| !isr.contains(&node));
        self.complete(log, completed);
        if outside {
            self.consider_isr(log, None);
        }
        self.low_watermark_moved(log);
    }

    /// What this node is to a partition has changed: whoever follows it here may be told something else.
    pub(super) fn role_changed(&mut self, id: TopicPartition) {
        let sessions = self.replication.sessions.iter_mut();
        let named = sessions.filter_map(|(node, session)| {
            let followed = session.partitions.get_mut(&id)?;
            followed.shared = false;
            Some(*node)
        });
        for node in named.collect::<Vec<_>>() {
            self.settle_position(node, id);
            self.replication.stirred.insert(node);
        }
    }

    /// A log has something new for its followers.
    pub(in crate::node) fn touch(&mut self, log: LogId) {
        if !self.replication.sessions.is_empty() && self.replication.touched.last() != Some(&log) {
            self.replication.touched.push(log);
        }
    }

    /// Answers the followers for whom the input has brought something.
    pub(super) fn serve_followers(&mut self) {
        let touched = core::mem::take(&mut self.replication.touched);
        for log in &touched {
            let Some(partition) = self.partitions.get(log).filter(|p| p.is_leader()) else { continue };
            for &node in partition.replicas() {
                let Some(session) = self.replication.sessions.get_mut(&node) else { continue };
                let Some(followed) = session.partitions.get(&partition.id) else { continue };
                let news = followed.told_watermark < partition.high_watermark()
                    || followed.told_log_start < partition.log_start()
                    || (followed.wants && followed.offset < partition.log_end());
                if news {
                    session.ready.insert(partition.id);
                    self.replication.stirred.insert(node);
                }
            }
        }
        // The memory is kept for the next input.
        self.replication.touched = touched;
        self.replication.touched.clear();
        while let Some(node) = self.replication.stirred.pop_first() {
            self.answer_follower(node);
        }
    }

    /// Answers a parked fetch if there is anything to say.
    fn answer_follower(&mut self, node: NodeId) {
        let Some(session) = self.replication.sessions.get(&node) else { return };
        let Some(parked) = session.parked.filter(|_| !session.ready.is_empty()) else { return };
        let partitions = self.gather_news(node, parked.max_bytes);
        if !partitions.is_empty() {
            self.finish_with(node, parked, partitions);
        }
    }

    /// Answers a parked fetch of a follower with what there is, if anything.
    pub(in crate::node) fn finish_replica_fetch(&mut self, id: RequestId) {
        let Some(&node) = self.replication.parked.get(&id) else { return };
        let parked = self.session(node).parked.expect("a parked request is its session's");
        let partitions = self.gather_news(node, parked.max_bytes);
        self.finish_with(node, parked, partitions);
    }

    fn finish_with(&mut self, node: NodeId, parked: Parked, partitions: Vec<ReplicaFetched>) {
        self.abandon_replica_fetch(parked.request);
        let session = self.session(node).id;
        let response = ReplicaFetchResponse { error: ErrorCode::None, session, partitions };
        self.respond_peer(parked.request, PeerResponse::Fetch(response));
    }

    /// Nobody waits for this fetch any more.
    pub(in crate::node) fn abandon_replica_fetch(&mut self, id: RequestId) {
        let Some(node) = self.replication.parked.remove(&id) else { return };
        if let Some(parked) = self.session(node).parked.take() {
            self.timers.unpark(parked.deadline, id);
        }
    }

    /// What the ready partitions of a session have to say, as far as it fits.
    fn gather_news(&mut self, node: NodeId, max_bytes: usize) -> Vec<ReplicaFetched> {
        let mut session = self.replication.sessions.remove(&node).expect("the session is there");
        let mut news = Vec::new();
        let mut room = max_bytes;
        let from = session.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut order: Vec<TopicPartition> = Vec::new();
        if !session.ready.is_empty() {
            order.extend(session.ready.range((from, Bound::Unbounded)));
            if let Some(last) = session.last {
                order.extend(session.ready.range(..=last));
            }
        }
        for id in order {
            if room == 0 || news.len() == limits::REPLICA_FETCH_PARTITIONS_MAX {
                break;
            }
            session.ready.remove(&id);
            let Some(followed) = session.partitions.get_mut(&id) else { continue };
            if let Some((fetched, bytes)) = self.news_of(id, followed, room) {
                room = room.saturating_sub(bytes);
                session.last = Some(id);
                news.push(fetched);
            }
        }
        self.replication.sessions.insert(node, session);
        news
    }

    /// What there is to say of one partition; it has been said then.
    fn news_of(&self, id: TopicPartition, followed: &mut Followed, room: usize) -> Option<(ReplicaFetched, usize)> {
        let mut fetched = ReplicaFetched {
            id,
            error: ErrorCode::None,
            leader: None,
            leader_epoch: followed.epoch,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            diverging: None,
            snapshot: None,
            records: Records::Empty,
            leader_endpoint: None,
        };
        let partition = self.by_id.get(&id).and_then(|log| self.partitions.get(log));
        let Some(partition) = partition else {
            let image = self.image.partition(id).filter(|image| image.leader_epoch > followed.epoch);
            fetched.error = match image {
                _ if !followed.wants => return None,
                _ if self.broken.contains(&id) => ErrorCode::KafkaStorageError,
                Some(_) => ErrorCode::FencedLeaderEpoch,
                // The follower may know newer metadata than this node: it is answered once that has come here.
                None => return None,
            };
            followed.wants = false;
            return Some((fetched, 0));
        };
        fetched.leader = partition.leader();
        fetched.leader_epoch = partition.leader_epoch();
        fetched.high_watermark = partition.high_watermark();
        fetched.log_start = partition.log_start();
        let mut bytes = 0;
        if followed.wants {
            match partition.position(followed.epoch, followed.offset, followed.last_epoch) {
                Position::Failed(ErrorCode::UnknownLeaderEpoch) => return None,
                Position::Failed(error) => fetched.error = error,
                Position::Diverging(epoch, end) => fetched.diverging = Some((epoch, end)),
                Position::Shared => {
                    let max = room.min(limits::REPLICA_FETCH_PARTITION_BYTES_MAX);
                    match partition.read_for_follower(followed.offset, max) {
                        ReadPlan::OutOfRange => fetched.error = ErrorCode::OffsetOutOfRange,
                        ReadPlan::Read { records, bytes: read } => (fetched.records, bytes) = (records, read),
                    }
                }
            }
        }
        let is_told = followed.told_watermark >= fetched.high_watermark && followed.told_log_start >= fetched.log_start;
        let is_bare = fetched.error.is_none() && fetched.diverging.is_none() && fetched.records == Records::Empty;
        if is_bare && (is_told || !followed.shared) {
            return None;
        }
        if !fetched.error.is_none() || fetched.diverging.is_some() {
            followed.shared = false;
        }
        followed.wants = false;
        followed.told_watermark = fetched.high_watermark;
        followed.told_log_start = fetched.log_start;
        Some((fetched, bytes))
    }
}
