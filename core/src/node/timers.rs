//! When the node wants to be woken, and why.

use alloc::collections::BTreeSet;

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
}

/// The next moment at which the node has something to do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// What for.
    pub reason: TimerKind,
}

/// All deadlines of a node.
#[derive(Debug)]
pub(super) struct Timers {
    requests: BTreeSet<(Instant, RequestId)>,
    periodic: [Periodic; 3],
}

#[derive(Debug)]
struct Periodic {
    kind: TimerKind,
    every: Duration,
    /// `None` until the node serves.
    at: Option<Instant>,
}

impl Timers {
    pub(super) fn new(retention: Duration, cleaning: Duration, expiry: Duration) -> Self {
        let periodic = |kind, every| Periodic { kind, every, at: None };
        let periodic = [
            periodic(TimerKind::Retention, retention),
            periodic(TimerKind::Cleaning, cleaning),
            periodic(TimerKind::Expiry, expiry),
        ];
        Self { requests: BTreeSet::new(), periodic }
    }

    /// The periodic ones begin to run.
    pub(super) fn start(&mut self, now: Instant) {
        for timer in &mut self.periodic {
            timer.at = Some(now.after(timer.every));
        }
    }

    /// The periodic ones end.
    pub(super) fn stop(&mut self) {
        for timer in &mut self.periodic {
            timer.at = None;
        }
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

    /// Is this periodic timer due? It is set anew from now on, so that a pause does not make it fire many times.
    pub(super) fn due(&mut self, kind: TimerKind, now: Instant) -> bool {
        let timer = self.periodic.iter_mut().find(|t| t.kind == kind).expect("every periodic kind has a timer");
        let due = timer.at.is_some_and(|at| at <= now);
        if due {
            timer.at = Some(now.after(timer.every));
        }
        due
    }

    pub(super) fn next(&self) -> Option<Deadline> {
        let request = self.requests.first().map(|&(at, _)| Deadline { at, reason: TimerKind::Request });
        let periodic = self.periodic.iter().filter_map(|t| t.at.map(|at| Deadline { at, reason: t.kind }));
        request.into_iter().chain(periodic).min_by_key(|deadline| deadline.at)
    }
}
