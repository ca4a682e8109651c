//! What crosses the network: connections are dialed, carry messages and go.
//!
//! Clients and nodes dial alike, and calls end alike: answered, not sent, or lost. Between nodes there is one connection
//! in each direction, and a call that gets no answer in time has the connection replaced if nothing else came on it.

use tidelog_core::{
    ids::{CallId as PeerCall, NodeId},
    message::{Acks, CallError, PeerRequest, Records, Request, Response},
    time::Duration,
};

use super::{Event, Failure, World};
use crate::{
    actor::{CallId, MS, Reply},
    host::Happening,
    net::{ConnId, Party, Stage, Way},
    tally::Fault,
    wire,
};

/// How long a handshake over a blocked link waits before it is tried again, as TCP's SYN is.
const DIAL_AGAIN: u64 = 500 * MS;
/// How often a lost end of a connection over a blocked link makes itself heard again.
const BYE_AGAIN: u64 = 200 * MS;

/// A call that a node makes of another.
pub struct Outgoing {
    /// The core's number for it.
    pub call: PeerCall,
    /// Whom.
    pub to: NodeId,
    /// At which address, if the node knows one.
    pub address: Option<String>,
    /// What.
    pub request: PeerRequest,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl World {
    /// Nothing that is under way arrives later than this.
    pub(super) fn cut(&mut self, conn: ConnId, up: u64, down: u64) {
        if let Some(conn) = self.net.get(conn) {
            conn.up_cut = conn.up_cut.min(up);
            conn.down_cut = conn.down_cut.min(down);
        }
    }

    /// Tells whoever made a call what came of it.
    fn tell(&mut self, from: Party, incarnation: u32, call: CallId, reply: Reply) {
        let event = match from {
            Party::Client(client) => Event::Answer(client, call, reply),
            Party::Node(node) => {
                let outcome = match reply {
                    Reply::Answered(Response::Peer(response)) => Ok(response),
                    Reply::Answered(other) => panic!("a peer was answered {other:?}"),
                    Reply::NotSent => Err(CallError::Refused),
                    Reply::Sent | Reply::Lost => Err(CallError::Lost),
                };
                Event::Host(node, incarnation, Happening::CallEnded(PeerCall(call), outcome))
            }
        };
        self.queue.after(0, event);
    }

    /// A node calls another.
    pub(super) fn call_peer(&mut self, node: usize, outgoing: Outgoing) -> Result<(), Failure> {
        let Outgoing { call, to, address, request, timeout } = outgoing;
        let incarnation = self.hosts[node].incarnation;
        let there = address.and_then(|address| self.hosts.iter().position(|host| host.native == address));
        let Some(there) = there else {
            let ended = Happening::CallEnded(call, Err(CallError::Refused));
            self.queue.after(0, Event::Host(node, incarnation, ended));
            return Ok(());
        };
        assert!(there == to.0 as usize, "a node is where its address says");
        let clock = self.hosts[node].clock;
        let now = self.queue.now();
        let late = clock.when(clock.now(now).mono.after(timeout));
        self.queue.at(late, Event::CallLate { node, incarnation, call: call.0, begun: now });
        self.call(Party::Node(node), incarnation, call.0, there, Request::Peer(request))
    }

    /// A call between nodes has taken its time. A connection on which nothing came since is replaced.
    pub(super) fn call_late(&mut self, node: usize, incarnation: u32, call: CallId, begun: u64) {
        let from = Party::Node(node);
        let Some(id) = self.net.carrying(from, call) else { return };
        if let Some(until) = self.hosts[node].paused_until {
            return self.queue.at(until, Event::CallLate { node, incarnation, call, begun });
        }
        let conn = self.net.get(id).expect("just found");
        if conn.from_incarnation != incarnation {
            return;
        }
        conn.calls.retain(|open| *open != call);
        let is_dead = conn.heard_at < begun;
        let ended = Happening::CallEnded(PeerCall(call), Err(CallError::TimedOut));
        self.queue.after(0, Event::Host(node, incarnation, ended));
        if is_dead {
            self.close_client_end(id, None);
        }
    }

    pub(super) fn call(
        &mut self,
        from: Party,
        incarnation: u32,
        call: CallId,
        node: usize,
        request: Request,
    ) -> Result<(), Failure> {
        let now = self.queue.now();
        let conn = match self.net.find(from, node) {
            Some(conn) => conn,
            None => {
                let conn = self.net.dial(from, incarnation, node);
                let delay = self.net.delay(from, node, &self.config, &self.tally);
                self.queue.after(delay * 2, Event::Dialed(conn));
                conn
            }
        };
        let silent = matches!(&request, Request::Produce(r) if r.acks == Acks::None);
        let request = if self.config.wire == 1 {
            self.tally.fault(Fault::WireCodec);
            wire::request(&request).map_err(Failure::Broken)?
        } else {
            request
        };
        let delay = self.net.delay(from, node, &self.config, &self.tally);
        self.film_request(conn, call, from, node, &request);
        let at = self.net.send_up(conn, now + delay, call, request);
        let carried = self.net.get(conn).expect("just found");
        carried.calls.push(call);
        if carried.stage == Stage::Open {
            self.queue.at(at, Event::Pump(conn, Way::Up));
            if silent {
                self.tell(from, incarnation, call, Reply::Sent);
            }
        }
        Ok(())
    }

    pub(super) fn dialed(&mut self, id: ConnId) {
        let Some(conn) = self.net.get(id) else { return };
        if conn.stage != Stage::Dialing {
            return;
        }
        let (from, from_incarnation, node) = (conn.from, conn.from_incarnation, conn.node);
        if self.net.is_held(id, Way::Up) || self.net.is_held(id, Way::Down) {
            return self.queue.after(DIAL_AGAIN, Event::Dialed(id));
        }
        let refused = !self.net.calm && self.net.link(from, node).chance(self.config.refused_ppm);
        if refused {
            self.tally.fault(Fault::Refused);
        }
        let now = self.queue.now();
        let host = &self.hosts[node];
        // Clients wait until a node is ready, nodes cannot; and what the kernel takes for a paused process waits for it.
        let is_there = match from {
            Party::Client(_) => host.is_ready() && host.paused_until.is_none(),
            Party::Node(_) => host.is_up(),
        };
        let node_incarnation = host.incarnation;
        let conn = self.net.get(id).expect("just found");
        if refused || !is_there {
            for call in std::mem::take(&mut conn.calls) {
                self.tell(from, from_incarnation, call, Reply::NotSent);
            }
            self.net.forget(id);
            return;
        }
        (conn.stage, conn.node_incarnation) = (Stage::Open, node_incarnation);
        if conn.waiting() > 0 {
            self.queue.at(now, Event::Pump(id, Way::Up));
        }
    }

    pub(super) fn pump_up(&mut self, id: ConnId) -> Result<(), Failure> {
        let now = self.queue.now();
        loop {
            if self.net.is_held(id, Way::Up) {
                return Ok(());
            }
            let Some(conn) = self.net.get(id) else { return Ok(()) };
            if now < conn.stalled_until && conn.stage != Stage::Silent {
                let until = conn.stalled_until;
                self.queue.at(until, Event::Pump(id, Way::Up));
                return Ok(());
            }
            let (from, from_incarnation, node) = (conn.from, conn.from_incarnation, conn.node);
            let Some((call, request)) = conn.arrived_up(now) else { return Ok(()) };
            self.trace.show(|film| film.arrived(id, call, Way::Up, now));
            let incarnation = self.hosts[node].incarnation;
            if matches!(&request, Request::Produce(r) if r.acks == Acks::None) {
                self.tell(from, from_incarnation, call, Reply::Sent);
            }
            let happening = Happening::Request(id, call, request);
            self.queue.after(0, Event::Host(node, incarnation, happening));
        }
    }

    pub(super) fn send_down(&mut self, id: ConnId, call: CallId, response: Response) -> Result<(), Failure> {
        let now = self.queue.now();
        let Some((from, node)) = self.net.get(id).map(|conn| (conn.from, conn.node)) else { return Ok(()) };
        let response = match from {
            Party::Client(_) if self.config.wire == 1 => wire::response(&response).map_err(Failure::Broken)?,
            Party::Client(_) => response,
            Party::Node(_) => as_bytes(response),
        };
        let delay = self.net.delay(from, node, &self.config, &self.tally);
        self.film_response(id, call, node, from, &response);
        let at = self.net.send_down(id, now + delay, call, response);
        self.queue.at(at, Event::Pump(id, Way::Down));
        Ok(())
    }

    pub(super) fn pump_down(&mut self, id: ConnId) {
        let now = self.queue.now();
        loop {
            if self.net.is_held(id, Way::Down) {
                return;
            }
            let Some(conn) = self.net.get(id) else { return };
            if now < conn.stalled_until && conn.stage == Stage::Open {
                let until = conn.stalled_until;
                self.queue.at(until, Event::Pump(id, Way::Down));
                return;
            }
            let (from, incarnation) = (conn.from, conn.from_incarnation);
            let Some((call, response)) = conn.arrived_down(now) else { return };
            self.trace.show(|film| film.arrived(id, call, Way::Down, now));
            conn.heard_at = now;
            let waited = conn.calls.len();
            conn.calls.retain(|open| *open != call);
            if conn.calls.len() < waited || matches!(from, Party::Client(_)) {
                self.tell(from, incarnation, call, Reply::Answered(response));
            }
        }
    }

    /// Who dialed lets go of a connection, or learns that it is gone.
    pub(super) fn close_client_end(&mut self, id: ConnId, but: Option<CallId>) {
        let now = self.queue.now();
        let Some(conn) = self.net.get(id) else { return };
        if conn.stage == Stage::Closed {
            return;
        }
        let was_dialing = conn.stage == Stage::Dialing;
        let silent = conn.stage == Stage::Silent;
        let (from, incarnation) = (conn.from, conn.from_incarnation);
        conn.stage = Stage::Closed;
        conn.stalled_until = 0;
        for call in std::mem::take(&mut conn.calls) {
            if Some(call) != but {
                let reply = if was_dialing { Reply::NotSent } else { Reply::Lost };
                self.tell(from, incarnation, call, reply);
            }
        }
        if was_dialing || silent {
            self.net.forget(id);
            return;
        }
        // What is under way to the node may still arrive, and then it learns.
        let delay = self.random.log_between(1, 200) * MS;
        self.cut(id, now + delay, now);
        self.queue.after(delay, Event::NodeGone(id));
    }

    /// The end of who dialed learns that the connection is gone, if word of it gets there.
    pub(super) fn client_gone(&mut self, id: ConnId) {
        if self.net.is_held(id, Way::Down) {
            return self.queue.after(BYE_AGAIN, Event::ClientGone(id));
        }
        self.close_client_end(id, None);
    }

    /// The node's end of a connection learns that it is gone, if word of it gets there.
    pub(super) fn node_gone(&mut self, id: ConnId) {
        if self.net.is_held(id, Way::Up) {
            return self.queue.after(BYE_AGAIN, Event::NodeGone(id));
        }
        let Some(conn) = self.net.get(id) else { return };
        let (from, node, incarnation) = (conn.from, conn.node, conn.node_incarnation);
        self.queue.after(0, Event::Host(node, incarnation, Happening::Gone(id, from)));
        self.net.forget(id);
    }

    /// A process is gone, and with it the connections that it had dialed: the other ends learn, but not of a machine that
    /// lost its power.
    pub(super) fn drop_dialed(&mut self, node: usize, silently: bool) {
        for id in self.net.of(Party::Node(node)) {
            let Some(conn) = self.net.get(id) else { continue };
            conn.calls.clear();
            match conn.stage {
                Stage::Open if !silently => self.close_client_end(id, None),
                Stage::Closed => {}
                _ => self.net.forget(id),
            }
        }
    }

    /// What waited on a link gets on its way again, when TCP tries it again; on some connections it is too late.
    pub(super) fn resume_link(&mut self, from: Party, to: Party) {
        let now = self.queue.now();
        for id in self.net.all() {
            let Some(conn) = self.net.get(id) else { continue };
            let node = Party::Node(conn.node);
            let way = match () {
                () if (conn.from, node) == (from, to) => Way::Up,
                () if (node, conn.from) == (from, to) => Way::Down,
                () => continue,
            };
            let again = if self.net.calm { MS } else { self.random.log_between(1, 1_000) * MS };
            if !self.net.calm && self.random.chance(250_000) {
                self.tally.fault(Fault::Reset);
                self.cut(id, now, now);
                self.queue.after(again, Event::ClientGone(id));
            } else {
                self.queue.after(again, Event::Pump(id, way));
            }
        }
    }
}

/// What goes from node to node goes as bytes.
fn as_bytes(mut response: Response) -> Response {
    if let Response::Peer(tidelog_core::message::PeerResponse::Fetch(fetched)) = &mut response {
        for partition in &mut fetched.partitions {
            if let Records::Batches(batches) = &partition.records {
                let bytes: Vec<u8> = batches.iter().flat_map(tidelog_core::record::Batch::to_bytes).collect();
                partition.records = if bytes.is_empty() { Records::Empty } else { Records::Bytes(bytes.into()) };
            }
        }
    }
    response
}
