//! Fetch sessions (KIP-227): a reader of many partitions says only what changed, and is told only what changed.
//!
//! A session is what the broker remembers of a reader's last fetch: every partition with the offset it is at, and
//! what the reader was last told of it. The reader counts its fetches in the session's epoch, so a lost or repeated
//! one is noticed and the reader starts over with a full fetch.
//!
//! ```text
//! id 0, epoch -1    no session: everything asked for is answered
//! epoch 0           a new session (the named one ends); the full answer carries its id, or 0 when there is no room
//! id, epoch n > 0   changes only, both ways; error 70 when the id is unknown, 71 when n is not the next one
//! id, epoch -1      the session ends; answered in full
//! ```
//!
//! Within a session partitions that had records move to the end of the order, so that none starves behind the
//! response's byte limit.
//!
//! **Invariant:** sessions and the partitions remembered in all of them are bounded. A reader that gets no session
//! loses nothing but the saving.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use tidelog_core::{
    ids::PartitionId,
    limits::{FETCH_SESSION_IDLE_MIN, FETCH_SESSION_PARTITIONS_MAX, FETCH_SESSIONS_MAX},
    message::{ErrorCode, FetchPartition, FetchRequest, FetchResponse, FetchedPartition, Records, TopicRef},
    offset::Offset,
    time::Instant,
};

use super::codec::{FetchAsked, SESSIONLESS};

/// The sessions of all connections: a reader may come back on another one.
#[derive(Debug, Default)]
pub(super) struct FetchSessions {
    sessions: BTreeMap<i32, Session>,
    /// Partitions of all sessions together.
    remembered: usize,
    random: RandomState,
    made: u64,
}

/// What a fetch is to its session; its answer goes through [`FetchSessions::finish`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// Answer in full, without a session.
    Sessionless,
    /// Answer in full and begin a session over these partitions.
    Begin {
        /// As asked for.
        partitions: Vec<FetchPartition>,
        /// Are topics named by id?
        by_id: bool,
    },
    /// Answer what changed in this session.
    Continue(i32),
    /// The session is not at this epoch, or gone: nothing is fetched.
    Refuse(ErrorCode),
}

/// What a response says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// [`ErrorCode::FetchSessionIdNotFound`] and the like: the whole response is this error.
    pub(super) error: ErrorCode,
    /// Its id, 0 without one.
    pub(super) session: i32,
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next fetch must carry.
    epoch: i32,
    by_id: bool,
    used: Instant,
    next_place: u64,
    /// In the order in which they are read.
    partitions: BTreeMap<u64, Remembered>,
    places: BTreeMap<(TopicRef, PartitionId), u64>,
}

#[derive(Debug)]
struct Remembered {
    asked: FetchPartition,
    /// As the reader was last told; `Offset::NONE` before it was told anything, and after an error.
    high_watermark: Offset,
    log_start: Offset,
}

impl FetchSessions {
    /// Finds out what a fetch is to be: what to ask the core, and how to treat its answer.
    pub(super) fn begin(&mut self, now: Instant, asked: FetchAsked) -> (FetchRequest, Plan) {
        let FetchAsked { session: id, session_epoch, by_id, mut request, forgotten } = asked;
        if session_epoch == SESSIONLESS || session_epoch == 0 {
            self.remove(id);
            let plan = if session_epoch == SESSIONLESS || request.partitions.is_empty() {
                Plan::Sessionless
            } else {
                Plan::Begin { partitions: request.partitions.clone(), by_id }
            };
            return (request, plan);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return (request, Plan::Refuse(ErrorCode::FetchSessionIdNotFound));
        };
        if session.by_id != by_id {
            return (request, Plan::Refuse(ErrorCode::FetchSessionTopicIdError));
        }
        if session.epoch != session_epoch {
            return (request, Plan::Refuse(ErrorCode::InvalidFetchSessionEpoch));
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        session.used = now;
        let before = session.partitions.len();
        for partition in &forgotten {
            session.forget(partition);
        }
        for partition in request.partitions.drain(..) {
            session.remember(partition);
        }
        self.remembered = self.remembered + session.partitions.len() - before;
        if session.partitions.is_empty() || self.remembered > FETCH_SESSION_PARTITIONS_MAX {
            // Nothing left to remember, or too much: this fetch is answered in full and the session is over.
            request.partitions = session.partitions.values().map(|of| of.asked.clone()).collect();
            self.remove(id);
            return (request, Plan::Sessionless);
        }
        request.partitions.extend(session.partitions.values().map(|of| of.asked.clone()));
        (request, Plan::Continue(id))
    }

    /// Takes out of a response what its reader knows already, and remembers what it is told.
    pub(super) fn finish(&mut self, now: Instant, plan: Plan, response: &mut FetchResponse) -> Given {
        let none = ErrorCode::None;
        match plan {
            Plan::Sessionless => Given { error: none, session: 0 },
            Plan::Refuse(error) => Given { error, session: 0 },
            Plan::Continue(id) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    response.partitions.retain(|of| session.tell(of));
                }
                Given { error: none, session: id }
            }
            Plan::Begin { partitions, by_id } => {
                Given { error: none, session: self.create(now, partitions, by_id, response).unwrap_or(0) }
            }
        }
    }

    /// Makes a session, if there is room for it.
    fn create(
        &mut self,
        now: Instant,
        partitions: Vec<FetchPartition>,
        by_id: bool,
        told: &FetchResponse,
    ) -> Option<i32> {
        if self.sessions.len() >= FETCH_SESSIONS_MAX
            || self.remembered + partitions.len() > FETCH_SESSION_PARTITIONS_MAX
        {
            let (&oldest, session) = self.sessions.iter().min_by_key(|(_, session)| session.used)?;
            if now.since(session.used) < FETCH_SESSION_IDLE_MIN {
                return None;
            }
            self.remove(oldest);
            if self.remembered + partitions.len() > FETCH_SESSION_PARTITIONS_MAX {
                return None;
            }
        }
        let id = self.unused_id();
        let mut session =
            Session { epoch: 1, by_id, used: now, next_place: 0, partitions: BTreeMap::new(), places: BTreeMap::new() };
        for partition in partitions {
            session.remember(partition);
        }
        for of in &told.partitions {
            session.tell(of);
        }
        self.remembered += session.partitions.len();
        self.sessions.insert(id, session);
        Some(id)
    }

    /// Ids are random, so that one from before a restart is not taken for another reader's.
    fn unused_id(&mut self) -> i32 {
        loop {
            self.made += 1;
            let id = (self.random.hash_one(self.made) as i32) & i32::MAX;
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.remembered -= session.partitions.len();
        }
    }
}

impl Session {
    /// Adds a partition, or moves it to where its reader is now.
    fn remember(&mut self, asked: FetchPartition) {
        let key = (asked.topic.clone(), asked.partition);
        if let Some(place) = self.places.get(&key) {
            let known = self.partitions.get_mut(place).expect("every place has its partition");
            known.asked = asked;
            return;
        }
        let place = self.take_place();
        self.places.insert(key, place);
        self.partitions.insert(place, Remembered { asked, high_watermark: Offset::NONE, log_start: Offset::NONE });
    }

    fn forget(&mut self, partition: &(TopicRef, PartitionId)) {
        if let Some(place) = self.places.remove(partition) {
            self.partitions.remove(&place);
        }
    }

    /// Must the reader be told of this partition? If so, it is told.
    fn tell(&mut self, of: &FetchedPartition) -> bool {
        let key = (of.topic.clone(), of.partition);
        let Some(&place) = self.places.get(&key) else { return true };
        let known = self.partitions.get_mut(&place).expect("every place has its partition");
        let has_records = of.records != Records::Empty;
        let news = has_records
            || !of.error.is_none()
            || of.high_watermark != known.high_watermark
            || of.log_start != known.log_start
            || of.preferred_read_replica.is_some()
            || of.diverging.is_some();
        known.high_watermark = if of.error.is_none() { of.high_watermark } else { Offset::NONE };
        known.log_start = of.log_start;
        if has_records {
            let known = self.partitions.remove(&place).expect("it was just there");
            let place = self.take_place();
            self.partitions.insert(place, known);
            self.places.insert(key, place);
        }
        news
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidelog_core::{epoch::LeaderEpoch, ids::TopicName, message::IsolationLevel, time::Duration};

    use super::*;

    const T0: Instant = Instant::ZERO;

    fn asks(session: i32, session_epoch: i32, partitions: &[i32]) -> FetchAsked {
        let partitions = partitions.iter().map(|&number| FetchPartition {
            topic: name(),
            partition: PartitionId(number),
            current_leader_epoch: LeaderEpoch::NONE,
            offset: Offset(0),
            last_fetched_epoch: LeaderEpoch::NONE,
            log_start: Offset::NONE,
            max_bytes: 1000,
        });
        let request = FetchRequest {
            max_wait: Duration::ZERO,
            min_bytes: 1,
            max_bytes: 1000,
            isolation: IsolationLevel::ReadUncommitted,
            rack: None,
            replica: None,
            partitions: partitions.collect(),
        };
        FetchAsked { session, session_epoch, by_id: false, request, forgotten: Vec::new() }
    }

    fn name() -> TopicRef {
        TopicRef::Name(TopicName::new("t"))
    }

    /// What a node without anything new says to a request.
    fn nothing_new(request: &FetchRequest) -> FetchResponse {
        let partitions = request.partitions.iter().map(|of| FetchedPartition {
            topic: of.topic.clone(),
            partition: of.partition,
            error: ErrorCode::None,
            high_watermark: Offset(10),
            last_stable_offset: Offset(10),
            log_start: Offset(0),
            diverging: None,
            aborted: None,
            preferred_read_replica: None,
            records: Records::Empty,
        });
        FetchResponse { partitions: partitions.collect() }
    }

    fn numbers<'a>(partitions: impl IntoIterator<Item = &'a PartitionId>) -> Vec<i32> {
        partitions.into_iter().map(|number| number.0).collect()
    }

    fn asked_numbers(request: &FetchRequest) -> Vec<i32> {
        numbers(request.partitions.iter().map(|of| &of.partition))
    }

    fn told_numbers(response: &FetchResponse) -> Vec<i32> {
        numbers(response.partitions.iter().map(|of| &of.partition))
    }

    /// A session over partitions 0 to 2, with everything told once.
    fn begun() -> (FetchSessions, i32) {
        let mut sessions = FetchSessions::default();
        let (request, plan) = sessions.begin(T0, asks(0, 0, &[0, 1, 2]));
        let mut response = nothing_new(&request);
        let given = sessions.finish(T0, plan, &mut response);
        assert_eq!(told_numbers(&response), [0, 1, 2], "a first answer is full");
        assert!(given.error.is_none() && given.session > 0);
        (sessions, given.session)
    }

    #[test]
    fn an_incremental_fetch_reads_all_and_tells_news_only() {
        let (mut sessions, id) = begun();
        let (request, plan) = sessions.begin(T0, asks(id, 1, &[]));
        assert_eq!(asked_numbers(&request), [0, 1, 2]);
        let mut response = nothing_new(&request);
        assert_eq!(sessions.finish(T0, plan, &mut response), Given { error: ErrorCode::None, session: id });
        assert_eq!(told_numbers(&response), [0; 0]);

        let (request, plan) = sessions.begin(T0, asks(id, 2, &[]));
        let mut response = nothing_new(&request);
        response.partitions[0].high_watermark = Offset(11);
        response.partitions[1].error = ErrorCode::NotLeaderOrFollower;
        response.partitions[2].log_start = Offset(5);
        sessions.finish(T0, plan, &mut response);
        assert_eq!(told_numbers(&response), [0, 1, 2]);

        // After an error the reader is told anew, though nothing else has changed.
        let (request, plan) = sessions.begin(T0, asks(id, 3, &[]));
        let mut response = nothing_new(&request);
        response.partitions[0].high_watermark = Offset(11);
        response.partitions[2].log_start = Offset(5);
        sessions.finish(T0, plan, &mut response);
        assert_eq!(told_numbers(&response), [1]);
    }

    #[test]
    fn partitions_with_records_go_to_the_end() {
        let (mut sessions, id) = begun();
        let (request, plan) = sessions.begin(T0, asks(id, 1, &[]));
        let mut response = nothing_new(&request);
        response.partitions[0].records = Records::Bytes(Bytes::from_static(b"batch"));
        sessions.finish(T0, plan, &mut response);
        let (request, _) = sessions.begin(T0, asks(id, 2, &[]));
        assert_eq!(asked_numbers(&request), [1, 2, 0]);
    }

    #[test]
    fn partitions_join_move_and_leave() {
        let (mut sessions, id) = begun();
        let mut changes = asks(id, 1, &[1, 7]);
        changes.request.partitions[0].offset = Offset(33);
        changes.forgotten = vec![(name(), PartitionId(0))];
        let (request, plan) = sessions.begin(T0, changes);
        assert_eq!(asked_numbers(&request), [1, 2, 7]);
        assert_eq!(request.partitions[0].offset, Offset(33));
        let mut response = nothing_new(&request);
        sessions.finish(T0, plan, &mut response);
        assert_eq!(told_numbers(&response), [7], "a new partition is news");
        assert_eq!(sessions.remembered, 3);

        let mut all = asks(id, 2, &[]);
        all.forgotten = [1, 2, 7].map(|number| (name(), PartitionId(number))).to_vec();
        assert_eq!(sessions.begin(T0, all).1, Plan::Sessionless, "an empty session is over");
        assert_eq!((sessions.sessions.len(), sessions.remembered), (0, 0));
    }

    #[test]
    fn a_wrong_epoch_or_id_is_refused_and_the_session_stays() {
        let (mut sessions, id) = begun();
        let refused = |error| Plan::Refuse(error);
        assert_eq!(sessions.begin(T0, asks(id, 2, &[])).1, refused(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(sessions.begin(T0, asks(id ^ 1, 1, &[])).1, refused(ErrorCode::FetchSessionIdNotFound));
        let by_id = FetchAsked { by_id: true, ..asks(id, 1, &[]) };
        assert_eq!(sessions.begin(T0, by_id).1, refused(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(sessions.begin(T0, asks(id, 1, &[])).1, Plan::Continue(id));
        assert_eq!(sessions.begin(T0, asks(id, 1, &[])).1, refused(ErrorCode::InvalidFetchSessionEpoch), "repeated");
    }

    #[test]
    fn a_session_ends_when_its_reader_says_so() {
        let (mut sessions, id) = begun();
        assert_eq!(sessions.begin(T0, asks(id, SESSIONLESS, &[])).1, Plan::Sessionless);
        assert_eq!((sessions.sessions.len(), sessions.remembered), (0, 0));
    }

    #[test]
    fn epochs_wrap_to_one() {
        let (mut sessions, id) = begun();
        sessions.sessions.get_mut(&id).expect("it was just made").epoch = i32::MAX;
        assert_eq!(sessions.begin(T0, asks(id, i32::MAX, &[])).1, Plan::Continue(id));
        assert_eq!(sessions.begin(T0, asks(id, 1, &[])).1, Plan::Continue(id));
    }

    #[test]
    fn slots_are_bounded_and_only_idle_sessions_give_theirs_up() {
        let mut sessions = FetchSessions::default();
        let begin = |sessions: &mut FetchSessions, now| {
            let (request, plan) = sessions.begin(now, asks(0, 0, &[0]));
            sessions.finish(now, plan, &mut nothing_new(&request)).session
        };
        for _ in 0..FETCH_SESSIONS_MAX {
            assert_ne!(begin(&mut sessions, T0), 0);
        }
        assert_eq!(begin(&mut sessions, T0.after(Duration::from_secs(119))), 0, "served, but without a session");
        assert_ne!(begin(&mut sessions, T0.after(Duration::from_secs(120))), 0);
        assert_eq!(sessions.sessions.len(), FETCH_SESSIONS_MAX);
        assert_eq!(sessions.remembered, FETCH_SESSIONS_MAX);
    }
}
