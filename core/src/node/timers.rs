//! When the node wants to be woken, and why.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::RequestId,
    time::{Duration, Instant},
};

/// Why the node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A parked request's time is up.
    Request,
    /// Old segments may be due to go.
    Retention,
    /// Compacted logs may have something to clean.
    Cleaning,
    /// Producers or deleted files may have expired.
    Expiry,
    /// The metadata quorum: an election, a fetch that must be repeated, a leader without followers.
    Quorum,
    /// The metadata has changed and is not in a snapshot for long enough.
    Snapshot,
    /// Brokers: a heartbeat to send, a session to end, a registration to repeat.
    Brokers,
    /// Replication: replicas that lag, fetches to repeat.
    Replication,
}

/// The next moment at which the node has something to do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// What for.
    pub reason: TimerKind,
}

/// All deadlines of a node: one for each request that waits, and one alarm of each other kind.
#[derive(Debug)]
pub(super) struct Timers {
    requests: BTreeSet<(Instant, RequestId)>,
    alarms: BTreeMap<TimerKind, Instant>,
    periodic: [(TimerKind, Duration); 3],
}

impl Timers {
    pub(super) fn new(retention: Duration, cleaning: Duration, expiry: Duration) -> Self {
        let periodic =
            [(TimerKind::Retention, retention), (TimerKind::Cleaning, cleaning), (TimerKind::Expiry, expiry)];
        Self { requests: BTreeSet::new(), alarms: BTreeMap::new(), periodic }
    }

    /// The periodic ones begin to run.
    pub(super) fn start(&mut self, now: Instant) {
        for (kind, every) in self.periodic {
            self.set_alarm(kind, Some(now.after(every)));
        }
    }

    /// All but those of requests end.
    pub(super) fn stop(&mut self) {
        self.alarms.clear();
    }

    pub(super) fn park(&mut self, at: Instant, request: RequestId) {
        self.requests.insert((at, request));
    }

    pub(super) fn unpark(&mut self, at: Instant, request: RequestId) {
        self.requests.remove(&(at, request));
    }

    /// A request whose time is up, taken out.
    pub(super) fn due_request(&mut self, now: Instant) -> Option<RequestId> {
        let &(at, request) = self.requests.first()?;
        (at <= now).then(|| {
            self.requests.pop_first();
            request
        })
    }

    /// Sets when a part of the node is to be woken next, or that it need not be.
    pub(super) fn set_alarm(&mut self, kind: TimerKind, at: Option<Instant>) {
        match at {
            Some(at) => self.alarms.insert(kind, at),
            None => self.alarms.remove(&kind),
        };
    }

    /// Is this alarm due? It is taken out.
    pub(super) fn take_alarm(&mut self, kind: TimerKind, now: Instant) -> bool {
        let due = self.alarms.get(&kind).is_some_and(|at| *at <= now);
        if due {
            self.alarms.remove(&kind);
        }
        due
    }

    /// Is this periodic timer due? It is set anew from now on, so that a pause does not make it fire many times.
    pub(super) fn due(&mut self, kind: TimerKind, now: Instant) -> bool {
        let due = self.take_alarm(kind, now);
        if due {
            let (_, every) = self.periodic.iter().find(|(k, _)| *k == kind).expect("it is one of the periodic kinds");
            self.set_alarm(kind, Some(now.after(*every)));
        }
        due
    }

    pub(super) fn next(&self) -> Option<Deadline> {
        let request = self.requests.first().map(|&(at, _)| Deadline { at, reason: TimerKind::Request });
        let alarms = self.alarms.iter().map(|(&reason, &at)| Deadline { at, reason });
        request.into_iter().chain(alarms).min_by_key(|deadline| deadline.at)
    }
}
