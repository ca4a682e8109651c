//! This node as the controller: it knows which brokers are alive, and fences those that are not (KIP-631).
//!
//! A heartbeat keeps a session open. A session that nothing was heard in for too long is over; sooner, if the broker's
//! address refuses connections: then its process is gone, whatever the clock says. A broken connection is the reason to
//! look.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Node, calls::Purpose, decisions::Pending};
use crate::{
    ids::{BrokerEpoch, DirectoryId, NodeId, RequestId},
    message::{
        CallError, DescribeQuorumResponse, ErrorCode, HeartbeatRequest, HeartbeatResponse, PeerRequest, PeerResponse,
        QuorumReplica,
    },
    quorum::ReplicaState,
    time::{Duration, Instant, Timestamp},
};

/// A process that is being killed breaks its connections before it refuses new ones: it is looked at again after this,
/// and then after twice as long each time.
const PING_AGAIN: Duration = Duration::from_millis(10);
/// How often it is looked at.
const PINGS_MAX: u32 = 6;

/// What the controller knows of brokers besides the image. A new controller begins with nothing.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// When each broker's session is over.
    until: BTreeMap<NodeId, Instant>,
    /// Brokers to be looked at.
    pings: Vec<(Instant, Ping)>,
    /// When to look for leaders other than preferred.
    balance_at: Option<Instant>,
    wake: Option<Instant>,
}

/// A look whether a broker's process is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    node: NodeId,
    epoch: BrokerEpoch,
    times: u32,
}

impl Sessions {
    pub(super) fn is_open(&self, node: NodeId, now: Instant) -> bool {
        self.until.get(&node).is_some_and(|until| *until > now)
    }

    /// When something may be due: not later than it is, and seldom much earlier, since sessions are only ever prolonged.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.wake
    }

    fn open(&mut self, node: NodeId, until: Instant) {
        self.until.insert(node, until);
        self.wake_by(until);
    }

    fn wake_by(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn settle_wake(&mut self) {
        let pings = self.pings.iter().map(|(at, _)| *at);
        self.wake = self.until.values().copied().chain(pings).chain(self.balance_at).min();
    }
}

impl Node {
    /// This node decides from here on: all that was decided before is applied.
    pub(super) fn on_became_controller(&mut self) {
        self.controller.take_over(&self.image);
        let now = self.now.mono;
        let alive: Vec<_> = self.image.brokers().filter(|(_, b)| !b.fenced).map(|(node, b)| (node, b.epoch)).collect();
        self.sessions = Sessions::default();
        self.sessions.balance_at = Some(now.after(self.config.waits.imbalance_check));
        self.sessions.settle_wake();
        for (node, epoch) in alive {
            // The controller before may have heard of it just now; and some may have gone together with that one.
            self.sessions.open(node, now.after(self.config.waits.broker_session_timeout));
            self.ping(Ping { node, epoch, times: 0 });
        }
        self.enqueue(Pending::Tend);
    }

    /// This node decides no more.
    pub(super) fn on_lost_controller(&mut self) {
        self.controller.step_down();
        self.sessions = Sessions::default();
    }

    pub(super) fn on_heartbeat(&mut self, id: RequestId, request: &HeartbeatRequest) {
        let answer =
            |error, is_fenced| PeerResponse::Heartbeat(HeartbeatResponse { error, is_fenced, may_stop: false });
        if !self.controller.is_active() {
            return self.respond_peer(id, answer(ErrorCode::NotController, true));
        }
        let HeartbeatRequest { node, epoch, metadata_offset, wants_to_stop } = *request;
        let Some(broker) = self.image.broker(node).filter(|broker| broker.epoch == epoch) else {
            return self.respond_peer(id, answer(ErrorCode::StaleBrokerEpoch, true));
        };
        let (is_fenced, is_active) = (broker.fenced, broker.is_active());
        self.sessions.open(node, self.now.mono.after(self.config.waits.broker_session_timeout));
        if wants_to_stop {
            return self.enqueue(Pending::Leave(id, node, epoch));
        }
        self.respond_peer(id, answer(ErrorCode::None, is_fenced));
        let asked = |p: &Pending| matches!(p, Pending::Unfence(n, e) if (*n, *e) == (node, epoch));
        if !is_active && metadata_offset.0 > epoch.0 && !self.pending.iter().any(asked) {
            self.enqueue(Pending::Unfence(node, epoch));
        }
    }

    /// A connection of this peer broke.
    pub(super) fn on_peer_disconnected(&mut self, node: NodeId) {
        if !self.controller.is_active() {
            return;
        }
        if let Some(broker) = self.image.broker(node).filter(|broker| !broker.fenced) {
            let epoch = broker.epoch;
            self.ping(Ping { node, epoch, times: 0 });
        }
    }

    fn ping(&mut self, ping: Ping) {
        if ping.node != self.config.node {
            let timeout = self.config.waits.quorum_request_timeout;
            self.call(ping.node, PeerRequest::Ping, timeout, Purpose::Ping(ping));
        }
    }

    pub(super) fn on_ping_answered(&mut self, ping: Ping, outcome: &Result<PeerResponse, CallError>) {
        let same = self.image.broker(ping.node).is_some_and(|b| b.epoch == ping.epoch && !b.fenced);
        if !self.controller.is_active() || !same {
            return;
        }
        match outcome {
            Err(CallError::Refused) => self.enqueue(Pending::Fence(ping.node, ping.epoch)),
            Err(CallError::Lost) if ping.times + 1 < PINGS_MAX => {
                let at = self.now.mono.after(Duration::from_nanos(PING_AGAIN.0 << ping.times));
                self.sessions.pings.push((at, Ping { times: ping.times + 1, ..ping }));
                self.sessions.wake_by(at);
            }
            // It is there, or only its silence will tell.
            Ok(_) | Err(CallError::Lost | CallError::TimedOut) => {}
        }
    }

    /// Ends sessions, looks again, gives the lead back: whatever is due.
    pub(super) fn tend_sessions(&mut self) {
        let now = self.now.mono;
        if !self.controller.is_active() || self.sessions.wakes_at().is_none_or(|at| at > now) {
            return;
        }
        let over: Vec<NodeId> = self.sessions.until.iter().filter(|(_, at)| **at <= now).map(|(n, _)| *n).collect();
        for node in over {
            self.sessions.until.remove(&node);
            if let Some(broker) = self.image.broker(node).filter(|broker| !broker.fenced) {
                let epoch = broker.epoch;
                self.enqueue(Pending::Fence(node, epoch));
            }
        }
        let due: Vec<_> = self.sessions.pings.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, ping)| self.ping(ping));
        if self.sessions.balance_at.is_some_and(|at| at <= now) {
            self.sessions.balance_at = Some(now.after(self.config.waits.imbalance_check));
            self.enqueue(Pending::Balance);
        }
        self.sessions.settle_wake();
    }

    /// The metadata quorum as this node, which leads it, sees it.
    pub(super) fn describe_quorum(&self) -> DescribeQuorumResponse {
        let Some(quorum) = self.quorum() else { return DescribeQuorumResponse::none(ErrorCode::NotController) };
        let now = self.now;
        let on_the_wall = |at: Option<Instant>| {
            at.map_or(Timestamp::NONE, |at| {
                let ago = i64::try_from(now.mono.since(at).as_millis()).unwrap_or(i64::MAX);
                now.wall.plus_millis(-ago)
            })
        };
        let replica = |state: ReplicaState| {
            // The leader itself is always here, and has everything.
            let is_me = state.node == self.config.node;
            let registered = self.image.broker(state.node).map_or(DirectoryId::ANY, |broker| broker.directory);
            QuorumReplica {
                node: state.node,
                directory: if state.directory.is_any() { registered } else { state.directory },
                log_end: state.acknowledged,
                last_fetch: if is_me { now.wall } else { on_the_wall(state.fetched_at) },
                last_caught_up: if is_me { now.wall } else { on_the_wall(state.caught_up_at) },
            }
        };
        let (voters, observers): (Vec<_>, Vec<_>) = quorum.replicas().into_iter().partition(|state| state.is_voter);
        DescribeQuorumResponse {
            error: ErrorCode::None,
            leader: quorum.leader(),
            epoch: quorum.epoch(),
            high_watermark: quorum.high_watermark(),
            voters: voters.into_iter().map(replica).collect(),
            observers: observers.into_iter().map(replica).collect(),
        }
    }
}
