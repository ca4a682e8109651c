//! Accepting connections, the same for every protocol: bounded in number, counted, and told when to stop.
//!
//! A protocol is one async function over one connection. It watches [`Stop`] while it waits for a next request, and
//! returns when the peer has gone, has broken the protocol, or the node stops.

use std::{cell::Cell, fmt, net::SocketAddr, rc::Rc, time::Duration};

use crate::{
    driver::NodeHandle,
    env::Env,
    switch::{Switch, Switched},
};

/// What every connection of a listener gets.
#[derive(Clone)]
pub struct Context<E: Env> {
    /// The runtime.
    pub env: E,
    /// The node.
    pub node: NodeHandle,
    /// When to stop.
    pub stop: Stop,
    /// This node's address on this listener, as clients are to be told it.
    pub advertised: HostPort,
    /// Connections now open on this listener, and how many may be.
    open: Rc<Cell<usize>>,
    open_max: usize,
    /// Those of them that are other nodes'.
    pub peers: Rc<Cell<usize>>,
}

/// Where a client connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Says when the node stops: finish the request at hand, begin no other.
#[derive(Clone, Debug)]
pub struct Stop(Switched);

impl fmt::Display for HostPort {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl<E: Env> Context<E> {
    /// The context of one listener that keeps at most `open_max` connections open.
    pub fn new(env: E, node: NodeHandle, stop: Stop, advertised: HostPort, open_max: usize) -> Self {
        Self { env, node, stop, advertised, open: Rc::default(), open_max, peers: Rc::default() }
    }

    /// Clients' connections now open on this listener.
    pub fn open(&self) -> usize {
        self.open.get() - self.peers.get()
    }
}

impl Stop {
    /// The switch and what it switches.
    pub fn new() -> (Switch, Self) {
        let (switch, stop) = Switch::new();
        (switch, Self(stop))
    }

    /// Is the node stopping?
    pub fn is_requested(&self) -> bool {
        self.0.is_on()
    }

    /// Returns once the node stops.
    pub async fn requested(&self) {
        // An error means that the switch is gone, and the node with it.
        let _ = self.0.on().await;
    }
}

/// Accepts connections and runs `protocol` on each until the node stops.
pub async fn accept_all<E, P, F>(context: Context<E>, listener: E::Listener, protocol: P)
where
    E: Env,
    P: Fn(Context<E>, E::Stream, SocketAddr) -> F,
    F: Future<Output = ()> + 'static,
{
    let stop = context.stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.requested() => return,
            accepted = context.env.accept(&listener) => accepted,
        };
        match accepted {
            // Over the limit the connection is closed at once, which its client sees and tries again.
            Ok((stream, _)) if context.open.get() >= context.open_max => drop(stream),
            Ok((stream, peer)) => {
                let serving = protocol(context.clone(), stream, peer);
                let open = Open::new(&context.open);
                context.env.spawn_local(async move {
                    serving.await;
                    drop(open);
                });
            }
            // Out of descriptors, or a connection that died in the backlog: neither ends the listener.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                context.env.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Counts one connection as long as it lives.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// How long accepting rests after an error.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
