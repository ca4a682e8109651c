//! The node's own calls: one connection to each other node, kept on demand.
//!
//! ```text
//!  driver ── call ──▶ link of that peer ── frames ──▶ the peer's native listener
//!         ◀─ events ─┘ (one task each)
//! ```
//!
//! Calls to one peer go out in their order and are answered in any. Each has a time that covers everything, connecting
//! included. A connection that breaks loses every call that waits on it at once, so that the core hears of a peer that
//! died without waiting for anybody's patience; a call that times out puts the connection itself to the test
//! ([`link`]).
//!
//! **Invariant:** every call ends exactly once, and calls that have not ended are bounded in number.

mod calls;
mod link;
mod pause;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    collections::{BTreeMap, btree_map::Entry},
    rc::Rc,
};

use tidelog_core::{
    ids::{CallId, NodeId},
    message::{CallError, PeerRequest, PeerResponse},
    time::Duration,
};
use tokio::sync::mpsc;

use self::link::{Link, Order};
use crate::env::Env;

/// Who a node is among others, and where those are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Kafka's 22-character cluster id, which peers must share.
    pub cluster_id: String,
    /// The native listeners (`host:port`) that are known from the start; the core names others as they appear.
    pub peers: BTreeMap<NodeId, String>,
}

/// What happens between nodes, for the driver.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A call of this node ended.
    CallEnded {
        /// Which.
        call: CallId,
        /// How.
        outcome: Result<PeerResponse, CallError>,
    },
    /// A peer has connected to this node: it is there.
    Greeted {
        /// Who.
        node: NodeId,
    },
    /// A connection that a peer had opened to this node broke.
    Disconnected {
        /// Who.
        node: NodeId,
    },
}

/// The connections to other nodes.
pub(crate) struct Peers<E: Env> {
    env: E,
    node: NodeId,
    membership: Membership,
    links: BTreeMap<NodeId, Contact>,
    events: mpsc::UnboundedSender<PeerEvent>,
}

/// The way to a link. The link ends when this is dropped.
struct Contact {
    /// Without a bound of its own: calls are counted, and the rest are few.
    orders: mpsc::UnboundedSender<Order>,
    open: Rc<Cell<usize>>,
}

impl<E: Env> Peers<E> {
    /// For the node of this id. What happens is told to `events`.
    pub(crate) fn new(env: E, node: NodeId, membership: Membership, events: mpsc::UnboundedSender<PeerEvent>) -> Self {
        Self { env, node, membership, links: BTreeMap::new(), events }
    }

    /// Asks a peer. Its end is an event, always.
    pub(crate) fn call(&mut self, call: CallId, to: NodeId, request: PeerRequest, timeout: Duration) {
        let deadline = self.env.now().mono.after(timeout);
        let contact = self.contact(to);
        if contact.open.get() >= CALLS_OPEN_MAX {
            tracing::warn!(peer = %to, "too many calls wait for this node");
            let outcome = Err(CallError::TimedOut);
            // An error means that the driver has ended, and nobody waits.
            let _ = self.events.send(PeerEvent::CallEnded { call, outcome });
            return;
        }
        contact.open.set(contact.open.get() + 1);
        contact.tell(Order::Call { call, request, deadline });
    }

    /// A peer is reached at this address from now on.
    pub(crate) fn moved(&mut self, node: NodeId, address: String) {
        if node != self.node && !address.is_empty() {
            self.contact(node).tell(Order::Moved(address));
        }
    }

    /// A peer has just been heard of: what waits to reach it need wait no longer.
    pub(crate) fn seen(&self, node: NodeId) {
        if let Some(contact) = self.links.get(&node) {
            contact.tell(Order::Seen);
        }
    }

    fn contact(&mut self, node: NodeId) -> &Contact {
        match self.links.entry(node) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let (orders, queue) = mpsc::unbounded_channel();
                let open = Rc::new(Cell::new(0));
                let link = Link::new(
                    self.env.clone(),
                    self.node,
                    self.membership.cluster_id.clone(),
                    node,
                    self.membership.peers.get(&node).cloned(),
                    queue,
                    self.events.clone(),
                    Rc::clone(&open),
                );
                self.env.spawn_local(link.run());
                new.insert(Contact { orders, open })
            }
        }
    }
}

impl Contact {
    fn tell(&self, order: Order) {
        assert!(self.orders.send(order).is_ok(), "a link outlives the way to it");
    }
}

/// Calls to one peer that have not ended.
const CALLS_OPEN_MAX: usize = 1_000;
