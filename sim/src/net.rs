//! The network between clients and nodes: connections that keep order and may die at any byte.
//!
//! A message that is sent is delivered after a delay, behind all that were sent before it on the same connection, or
//! never. A reset delivers a prefix of what is under way in each direction; a half-open connection delivers nothing
//! more and says so to nobody. A node that calls another is a client of it.
//!
//! A link is blocked in one direction at a time, as often as there are reasons for it. What is sent over a blocked link
//! waits, as it does under TCP: it arrives some time after the link is open again, unless its connection went before.

use std::collections::{BTreeMap, VecDeque};

use tidelog_core::message::{Request, Response};

use crate::{
    actor::CallId,
    config::Config,
    rng::{Purpose, Stream},
    tally::{Fault, Tally},
};

/// One connection. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Who stands at one end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// This client.
    Client(usize),
    /// This node.
    Node(usize),
}

impl Party {
    fn entity(self) -> u64 {
        match self {
            Self::Client(client) => client as u64,
            Self::Node(node) => 1 << 32 | node as u64,
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From who dialed to the node.
    Up,
    /// From the node to who dialed.
    Down,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has been asked for.
    Dialing,
    /// It carries messages.
    Open,
    /// Nobody will ever get anything from it again, and nobody knows.
    Silent,
    /// The end of who dialed is closed; what is under way to the node may still arrive.
    Closed,
}

/// One connection.
#[derive(Debug)]
pub struct Conn {
    /// Who dialed.
    pub from: Party,
    /// The process that dialed, if it is a node's.
    pub from_incarnation: u32,
    /// To which node.
    pub node: usize,
    /// The process that took it.
    pub node_incarnation: u32,
    /// How far it has come.
    pub stage: Stage,
    /// Calls that are waited for.
    pub calls: Vec<CallId>,
    /// When an answer came last.
    pub heard_at: u64,
    up: VecDeque<(u64, CallId, Request)>,
    down: VecDeque<(u64, CallId, Response)>,
    up_last: u64,
    down_last: u64,
    /// Nothing moves until then.
    pub stalled_until: u64,
    /// Messages that would arrive later than this do not.
    pub up_cut: u64,
    /// The same the other way.
    pub down_cut: u64,
}

/// All connections, and the links under them.
#[derive(Debug)]
pub struct Net {
    seed: u64,
    next: u64,
    conns: BTreeMap<ConnId, Conn>,
    links: BTreeMap<(Party, usize), Stream>,
    blocked: BTreeMap<(Party, Party), u32>,
    /// No more faults: one millisecond, no losses.
    pub calm: bool,
}

impl Net {
    /// No connection.
    pub fn new(seed: u64) -> Self {
        Self { seed, next: 0, conns: BTreeMap::new(), links: BTreeMap::new(), blocked: BTreeMap::new(), calm: false }
    }

    /// A new connection is asked for.
    pub fn dial(&mut self, from: Party, from_incarnation: u32, node: usize) -> ConnId {
        let id = ConnId(self.next);
        self.next += 1;
        self.conns.insert(
            id,
            Conn {
                from,
                from_incarnation,
                node,
                node_incarnation: 0,
                stage: Stage::Dialing,
                calls: Vec::new(),
                heard_at: 0,
                up: VecDeque::new(),
                down: VecDeque::new(),
                up_last: 0,
                down_last: 0,
                stalled_until: 0,
                up_cut: u64::MAX,
                down_cut: u64::MAX,
            },
        );
        id
    }

    /// A connection, if it is still of interest.
    pub fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    /// The connection that a client, or a node, uses to reach a node.
    pub fn find(&self, from: Party, node: usize) -> Option<ConnId> {
        let usable = |conn: &Conn| conn.from == from && conn.node == node && conn.stage != Stage::Closed;
        self.conns.iter().rev().find(|(_, conn)| usable(conn)).map(|(&id, _)| id)
    }

    /// The connection that carries a call.
    pub fn carrying(&self, from: Party, call: CallId) -> Option<ConnId> {
        self.conns.iter().find(|(_, conn)| conn.from == from && conn.calls.contains(&call)).map(|(&id, _)| id)
    }

    /// Every connection to a node.
    pub fn to(&self, node: usize) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.node == node).map(|(&id, _)| id).collect()
    }

    /// Every connection that a party has dialed.
    pub fn of(&self, from: Party) -> Vec<ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.from == from).map(|(&id, _)| id).collect()
    }

    /// Every connection.
    pub fn all(&self) -> Vec<ConnId> {
        self.conns.keys().copied().collect()
    }

    /// Nobody has anything to do with it any more.
    pub fn forget(&mut self, id: ConnId) {
        self.conns.remove(&id);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// The random stream of a link.
    pub fn link(&mut self, from: Party, node: usize) -> &mut Stream {
        let (seed, entity) = (self.seed, from.entity() << 16 | node as u64);
        self.links.entry((from, node)).or_insert_with(|| Stream::new(seed, Purpose::Net, entity))
    }

    /// How long a message takes.
    pub fn delay(&mut self, from: Party, node: usize, config: &Config, tally: &Tally) -> u64 {
        let calm = self.calm;
        let link = self.link(from, node);
        if calm {
            return 1_000_000;
        }
        let mut delay = config.delay_us * 1_000 + link.exponential(config.jitter_us * 1_000);
        if link.chance(config.long_delays_ppm) {
            tally.fault(Fault::LongDelay);
            delay *= 50;
        }
        delay
    }

    /// One more reason why nothing gets from here to there.
    pub fn block(&mut self, from: Party, to: Party) {
        *self.blocked.entry((from, to)).or_default() += 1;
    }

    /// One reason fewer.
    pub fn unblock(&mut self, from: Party, to: Party) {
        if let Some(reasons) = self.blocked.get_mut(&(from, to)) {
            *reasons -= 1;
            if *reasons == 0 {
                self.blocked.remove(&(from, to));
            }
        }
    }

    /// Every link is open.
    pub fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    /// The links that carry nothing.
    pub fn blocked(&self) -> impl Iterator<Item = (Party, Party)> + '_ {
        self.blocked.keys().copied()
    }

    /// Does nothing get from here to there?
    pub fn is_blocked(&self, from: Party, to: Party) -> bool {
        self.blocked.contains_key(&(from, to))
    }

    /// Is this connection's link blocked this way?
    pub fn is_held(&self, id: ConnId, way: Way) -> bool {
        let Some(conn) = self.conns.get(&id) else { return false };
        let node = Party::Node(conn.node);
        match way {
            Way::Up => self.is_blocked(conn.from, node),
            Way::Down => self.is_blocked(node, conn.from),
        }
    }

    /// A request goes on its way; returns when to look whether it has arrived.
    pub fn send_up(&mut self, id: ConnId, at: u64, call: CallId, request: Request) -> u64 {
        let conn = self.conns.get_mut(&id).expect("the caller has it");
        conn.up_last = conn.up_last.max(at);
        conn.up.push_back((conn.up_last, call, request));
        conn.up_last
    }

    /// A response goes on its way; returns when to look whether it has arrived.
    pub fn send_down(&mut self, id: ConnId, at: u64, call: CallId, response: Response) -> u64 {
        let conn = self.conns.get_mut(&id).expect("the caller has it");
        conn.down_last = conn.down_last.max(at);
        conn.down.push_back((conn.down_last, call, response));
        conn.down_last
    }
}

impl Conn {
    /// Holds everything back; returns when to look again, if anything is due before.
    fn is_held(&self, now: u64) -> bool {
        now < self.stalled_until || self.stage == Stage::Silent
    }

    /// The next request that has arrived.
    pub fn arrived_up(&mut self, now: u64) -> Option<(CallId, Request)> {
        let &(at, ..) = self.up.front()?;
        if self.is_held(now) || at > now || self.stage == Stage::Dialing {
            return None;
        }
        let (_, call, request) = self.up.pop_front()?;
        if at > self.up_cut {
            self.up.clear();
            return None;
        }
        Some((call, request))
    }

    /// The next response that has arrived.
    pub fn arrived_down(&mut self, now: u64) -> Option<(CallId, Response)> {
        let &(at, ..) = self.down.front()?;
        if self.is_held(now) || at > now || self.stage != Stage::Open {
            return None;
        }
        let (_, call, response) = self.down.pop_front()?;
        if at > self.down_cut {
            self.down.clear();
            return None;
        }
        Some((call, response))
    }

    /// Requests that wait for the connection to open.
    pub fn waiting(&self) -> usize {
        self.up.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_when_the_last_reason_goes() {
        let mut net = Net::new(0);
        let (a, b) = (Party::Node(0), Party::Node(1));
        net.block(a, b);
        net.block(a, b);
        net.unblock(a, b);
        assert!(net.is_blocked(a, b));
        assert!(!net.is_blocked(b, a), "one direction says nothing of the other");
        net.unblock(a, b);
        assert!(!net.is_blocked(a, b));
    }
}
