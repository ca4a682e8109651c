//! This node as a broker: it registers with the controller, keeps its session alive, and leaves in order (KIP-631,
//! KIP-841).
//!
//! ```text
//! Absent --Register--> registered --applied here--> logs open --Heartbeats--> unfenced: clients are served
//!   ^                      |
//!   +-- StaleBrokerEpoch --+
//! ```
//!
//! Whoever leads the metadata log is the controller, which can be this very node: a call to oneself is handled at once,
//! so a node alone takes no detour.

use super::{Node, calls::Purpose, startup::Phase, timers::TimerKind};
use crate::{
    cluster::{MetadataRecord, Registration},
    effect::Effect,
    ids::{BrokerEpoch, CallId, DirectoryId, NodeId},
    limits,
    message::{
        AllotProducerIdsRequest, CallError, ErrorCode, HeartbeatRequest, PeerRequest, PeerResponse, RegisterRequest,
    },
    offset::Offset,
    prng::Prng,
    time::{Duration, Instant},
};

/// The first pause after a call that brought nothing; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Between two asks of a broker that waits to be let go.
const LEAVE_POLL: Duration = Duration::from_millis(50);

/// This node's standing with the controller.
#[derive(Debug)]
pub(super) struct Membership {
    /// Who is asked.
    controller: Option<NodeId>,
    /// All that was committed when this node came is applied: it may say who it was.
    caught_up: bool,
    /// Its registration.
    epoch: Option<BrokerEpoch>,
    /// What it is asking.
    asking: Option<CallId>,
    /// Ask once more as soon as that is answered.
    again: bool,
    /// When to ask next.
    next: Option<Instant>,
    failures: u32,
    /// Its partitions have been opened, or are being.
    opened: bool,
    /// It wants to stop, and does at this time at the latest.
    leaves_by: Option<Instant>,
    prng: Prng,
}

impl Membership {
    pub(super) fn new(prng: Prng) -> Self {
        Self {
            controller: None,
            caught_up: false,
            epoch: None,
            asking: None,
            again: false,
            next: None,
            failures: 0,
            opened: false,
            leaves_by: None,
            prng,
        }
    }

    /// Asks now, or as soon as what is being asked is answered.
    fn ask_now(&mut self, now: Instant) {
        self.again = self.asking.is_some();
        self.next = Some(now);
    }

    fn answered(&mut self, now: Instant, pause: Duration) {
        self.failures = 0;
        let pause = if core::mem::take(&mut self.again) { Duration::ZERO } else { pause };
        self.next = Some(now.after(pause));
    }

    fn failed(&mut self, now: Instant) {
        self.again = false;
        let pause = Duration::from_nanos(BACKOFF_MIN.0 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures += 1;
        // Up to as much again: brokers that lost their controller together do not all come back at once.
        self.next = Some(now.after(Duration::from_nanos(pause.0 + self.prng.below(pause.0))));
    }

    fn wakes_at(&self) -> Option<Instant> {
        let next = self.next.filter(|_| self.asking.is_none() && self.controller.is_some());
        next.into_iter().chain(self.leaves_by).min()
    }
}

impl Node {
    /// All that was committed when this node came is applied.
    pub(super) fn on_metadata_caught_up(&mut self) {
        if !self.config.is_broker {
            return self.serve_as_controller();
        }
        self.membership.caught_up = true;
        self.membership.ask_now(self.now.mono);
        self.tend_membership();
    }

    /// A controller alone has nothing to register and no partition to open.
    fn serve_as_controller(&mut self) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Serving;
            self.timers.start(self.now.mono);
            self.effects.push(Effect::Ready);
        }
    }

    /// Does what is due: registers, beats, or stops without being let go.
    pub(super) fn tend_membership(&mut self) {
        if !matches!(self.phase, Phase::Starting | Phase::Serving) {
            return;
        }
        let now = self.now.mono;
        if self.membership.leaves_by.is_some_and(|by| by <= now) {
            return self.close_down();
        }
        let leader = self.metadata.leader();
        if self.membership.controller != leader {
            // What the one before was asked is of no interest any more.
            self.membership.controller = leader;
            if let Some(call) = self.membership.asking.take() {
                self.calls.give_up_call(call);
            }
            self.membership.failures = 0;
            self.membership.ask_now(now);
        }
        let due = self.membership.wakes_at().is_some_and(|at| at <= now) && self.membership.asking.is_none();
        let Some(controller) = self.membership.controller.filter(|_| due && self.membership.caught_up) else { return };
        let waits = self.config.waits;
        let (request, timeout, purpose) = match self.membership.epoch {
            None => (self.registration(), waits.broker_session_timeout, Purpose::Register),
            Some(epoch) => (self.heartbeat(epoch), waits.quorum_request_timeout, Purpose::Heartbeat),
        };
        self.membership.asking = Some(self.call(controller, request, timeout, purpose));
    }

    fn registration(&self) -> PeerRequest {
        let config = &self.config;
        // Of an older format of records, which did not name the disk, there was one node only.
        let mine = |disk: DirectoryId| disk == config.directory || disk == DirectoryId([0; 16]);
        let before = self.image.broker(config.node).filter(|before| self.recovered.clean && mine(before.directory));
        PeerRequest::Register(RegisterRequest {
            node: config.node,
            incarnation: config.incarnation,
            directory: config.directory,
            rack: config.rack.clone(),
            endpoints: config.endpoints.clone(),
            previous_epoch: before.map_or(BrokerEpoch::NONE, |before| before.epoch),
        })
    }

    fn heartbeat(&self, epoch: BrokerEpoch) -> PeerRequest {
        let is_open = self.membership.opened && self.opening.is_empty();
        PeerRequest::Heartbeat(HeartbeatRequest {
            node: self.config.node,
            epoch,
            metadata_offset: if is_open { self.metadata.applied() } else { Offset::NONE },
            wants_to_stop: self.membership.leaves_by.is_some(),
        })
    }

    pub(super) fn on_register_answered(&mut self, outcome: Result<PeerResponse, CallError>) {
        self.membership.asking = None;
        match outcome {
            Ok(PeerResponse::Register(r)) if r.error.is_none() => {
                self.membership.epoch = Some(r.epoch);
                self.membership.answered(self.now.mono, Duration::ZERO);
                self.open_once_registered();
            }
            _ => self.membership.failed(self.now.mono),
        }
    }

    pub(super) fn on_heartbeat_answered(&mut self, outcome: Result<PeerResponse, CallError>) {
        self.membership.asking = None;
        let now = self.now.mono;
        let leaves = self.membership.leaves_by.is_some();
        match outcome {
            Ok(PeerResponse::Heartbeat(r)) if r.error.is_none() => {
                if leaves && r.may_stop {
                    return self.close_down();
                }
                let pause = if leaves { LEAVE_POLL } else { self.config.waits.heartbeat_interval };
                self.membership.answered(now, pause);
            }
            Ok(PeerResponse::Heartbeat(r)) if r.error == ErrorCode::StaleBrokerEpoch => {
                if leaves {
                    return self.close_down();
                }
                self.membership.epoch = None;
                self.membership.failed(now);
            }
            _ => self.membership.failed(now),
        }
    }

    /// Opens this node's partitions as soon as its registration is granted and applied here.
    fn open_once_registered(&mut self) {
        let applied = self.image.broker(self.config.node).map(|broker| broker.epoch);
        if self.phase == Phase::Starting
            && !self.membership.opened
            && applied.is_some()
            && applied == self.membership.epoch
        {
            self.membership.opened = true;
            self.open_partitions();
        }
    }

    /// Every partition of this node is open. Clients are served as soon as it is not fenced.
    pub(super) fn serve_once_unfenced(&mut self) {
        if self.phase != Phase::Starting || !self.membership.opened || !self.opening.is_empty() {
            return;
        }
        let own = self.image.broker(self.config.node);
        if own.is_some_and(|own| Some(own.epoch) == self.membership.epoch && !own.fenced) {
            self.phase = Phase::Serving;
            self.timers.start(self.now.mono);
            self.effects.push(Effect::Ready);
            // What the metadata said of partitions while they were being opened has not been acted on yet.
            self.reconcile_partitions();
        } else {
            self.membership.ask_now(self.now.mono);
        }
    }

    /// A record about a broker has been applied.
    pub(super) fn on_broker_record(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::BrokerRegistered(Registration { node, endpoints, .. }) => {
                if *node == self.config.node {
                    self.open_once_registered();
                } else if !endpoints.native.is_empty() {
                    self.effects.push(Effect::PeerMoved { node: *node, endpoints: endpoints.clone() });
                }
            }
            MetadataRecord::BrokerChanged { node, .. } if *node == self.config.node => self.serve_once_unfenced(),
            _ => {}
        }
    }

    /// The operator wants an end. Where others can take over what this node leads, they do so first.
    pub(super) fn leave(&mut self) -> bool {
        let me = self.config.node;
        let others = self.image.brokers().any(|(node, broker)| node != me && broker.is_active());
        if !self.config.is_broker || self.phase != Phase::Serving || !others || self.membership.leaves_by.is_some() {
            return false;
        }
        self.membership.leaves_by = Some(self.now.mono.after(limits::CONTROLLED_SHUTDOWN_MAX));
        self.membership.ask_now(self.now.mono);
        true
    }

    /// Asks for the next block of producer ids.
    pub(super) fn ask_for_producer_ids(&mut self) {
        let (controller, epoch) = (self.metadata.leader(), self.membership.epoch);
        let (Some(controller), Some(epoch)) = (controller, epoch) else {
            return self.refuse_producer_ids(ErrorCode::CoordinatorNotAvailable);
        };
        let request = PeerRequest::AllotProducerIds(AllotProducerIdsRequest { node: self.config.node, epoch });
        self.call(controller, request, self.config.waits.quorum_request_timeout, Purpose::ProducerIds);
    }

    pub(super) fn on_allotment_answered(&mut self, outcome: Result<PeerResponse, CallError>) {
        match outcome {
            Ok(PeerResponse::AllotProducerIds(r)) if r.error.is_none() => self.on_producer_ids_allotted(r.first),
            Ok(PeerResponse::AllotProducerIds(r)) if r.error == ErrorCode::KafkaStorageError => {
                self.refuse_producer_ids(r.error);
            }
            _ => self.refuse_producer_ids(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Sets when brokers' matters are to be looked at next.
    pub(super) fn set_broker_alarm(&mut self) {
        let runs = matches!(self.phase, Phase::Starting | Phase::Serving);
        let next = self.membership.wakes_at().filter(|_| self.membership.caught_up);
        let at = next.into_iter().chain(self.sessions.wakes_at()).min().filter(|_| runs);
        self.timers.set_alarm(TimerKind::Brokers, at);
    }
}
