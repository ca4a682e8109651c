//! One peer: the connection to it, as long as there is something to ask, and what becomes of each call.
//!
//! ```text
//!   nothing to ask ──call──▶ pause, connect, greet ──▶ talk ──broken──┐
//!         ▲                      ▲      │ refused, not reached        │
//!         └──────────────────────┴──────┴─────────────────────────────┘
//! ```
//!
//! **A silent connection.** When a call times out, the connection may be dead without having broken: its peer's machine is gone,
//! or a middlebox forgot it. The link then asks whether anybody is there, and if nothing at all comes within
//! [`PROBE_WAIT_MAX`], gives the connection up; the next call gets a new one.

use std::{cell::Cell, io, rc::Rc, time::Duration};

use tidelog_client::wire::{self, Answered, Correlation, FromNode, Hello, Refusal, ToNode, TooLargeToSend};
use tidelog_core::{
    ids::{CallId, NodeId},
    message::{CallError, PeerRequest, Request, Response},
    prng::mix,
    time::{self, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use super::{PeerEvent, calls::Calls, pause::Pause};
use crate::{
    driver::Alarm,
    env::{Env, within},
    native::{ConnectionError, Input, Next, Output},
};

/// What a link is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Ask the peer.
    Call {
        /// Under this id.
        call: CallId,
        /// This.
        request: PeerRequest,
        /// Answered by then, or not at all.
        deadline: Instant,
    },
    /// It is reached there from now on.
    Moved(String),
    /// It has shown itself: try at once.
    Seen,
}

/// See the module.
pub(super) struct Link<E: Env> {
    env: E,
    me: NodeId,
    cluster_id: String,
    peer: NodeId,
    address: Option<String>,
    orders: mpsc::UnboundedReceiver<Order>,
    calls: Calls,
    pause: Pause,
    alarm: Alarm,
    /// The next attempt need not wait.
    is_hurried: bool,
    /// Was it said in the log that the peer cannot be reached?
    is_missed: bool,
}

/// The driver has let go of the link.
struct Over;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Unreached {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused,
    /// Somebody else does.
    #[error("{0}")]
    Other(String),
    /// The way there, or the other end of it, fails.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It takes too long.
    #[error("no answer")]
    Silent,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// Its peer closed it, though something was asked.
    #[error("the peer has closed the connection")]
    Closed,
    /// Nothing was asked on it for long, and one of the two closed it.
    #[error("nothing was asked for long")]
    Idle,
    /// Nothing comes any more.
    #[error("nothing came, though the peer was asked whether it is there")]
    Silent,
    /// The peer is reached elsewhere now.
    #[error("the peer has moved")]
    Moved,
    /// An answer that is none to what was asked.
    #[error("the peer breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The socket failed, or what came is not the protocol.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl<E: Env> Link<E> {
    #[expect(clippy::too_many_arguments, reason = "each is a thing of its own that the link owns; there is one caller")]
    pub(super) fn new(
        env: E,
        me: NodeId,
        cluster_id: String,
        peer: NodeId,
        address: Option<String>,
        orders: mpsc::UnboundedReceiver<Order>,
        events: mpsc::UnboundedSender<PeerEvent>,
        open: Rc<Cell<usize>>,
    ) -> Self {
        // Waits differ between pairs of nodes and between starts; nothing else is asked of them.
        let now = env.now();
        let seed = mix(now.wall.0.cast_unsigned() ^ now.mono.0) ^ mix(u64::from(me.0.cast_unsigned()));
        Self {
            me,
            cluster_id,
            peer,
            address,
            orders,
            calls: Calls::new(events, open),
            pause: Pause::new(seed ^ u64::from(peer.0.cast_unsigned())),
            alarm: Alarm::new(),
            is_hurried: false,
            is_missed: false,
            env,
        }
    }

    /// Until the driver lets go.
    pub(super) async fn run(mut self) {
        let Over = self.serve().await;
    }

    async fn serve(&mut self) -> Over {
        loop {
            while self.calls.is_empty() {
                match self.orders.recv().await {
                    None => return Over,
                    Some(order) => drop(self.take(order)),
                }
            }
            let rest = self.pause.next();
            if let Err(over) = self.rest(rest).await {
                return over;
            }
            let Some(address) = self.address.clone() else {
                self.unreached(&Unreached::Other("its address is not known".to_owned()));
                continue;
            };
            let (env, cluster_id, me, peer) = (self.env.clone(), self.cluster_id.clone(), self.me, self.peer);
            let connecting = async move { connect(&env, me, &cluster_id, peer, &address).await };
            match self.attend(connecting).await {
                Err(over) => return over,
                Ok(Err(why)) => self.unreached(&why),
                Ok(Ok(connection)) => {
                    self.reached();
                    match self.talk(connection).await {
                        Err(over) => return over,
                        Ok(why) => self.broken(&why),
                    }
                }
            }
        }
    }

    /// Takes an order. True when the peer's address is another now.
    fn take(&mut self, order: Order) -> bool {
        match order {
            Order::Call { call, request, deadline } => self.calls.add(call, request, deadline),
            Order::Seen => {
                self.pause.reset();
                self.is_hurried = true;
            }
            Order::Moved(address) => {
                let is_other = self.address.as_ref() != Some(&address);
                if is_other {
                    self.pause.reset();
                    self.is_hurried = true;
                    self.address = Some(address);
                }
                return is_other;
            }
        }
        false
    }

    /// Waits for `work`, and takes orders and ends calls meanwhile.
    async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        let mut work = std::pin::pin!(work);
        loop {
            self.alarm.set(&self.env, self.calls.next_deadline());
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                order = self.orders.recv() => drop(self.take(order.ok_or(Over)?)),
                () = &mut self.alarm => drop(self.calls.expire(self.env.now().mono)),
            }
        }
    }

    /// Waits before the next attempt, unless something says that it will succeed.
    async fn rest(&mut self, span: Duration) -> Result<(), Over> {
        self.is_hurried = false;
        if span.is_zero() {
            return Ok(());
        }
        let env = self.env.clone();
        let mut sleep = std::pin::pin!(env.sleep(span));
        while !self.is_hurried {
            self.alarm.set(&self.env, self.calls.next_deadline());
            tokio::select! {
                biased;
                () = &mut sleep => break,
                order = self.orders.recv() => drop(self.take(order.ok_or(Over)?)),
                () = &mut self.alarm => drop(self.calls.expire(self.env.now().mono)),
            }
        }
        Ok(())
    }

    fn reached(&mut self) {
        let address = self.address.as_deref().unwrap_or_default();
        if std::mem::take(&mut self.is_missed) {
            tracing::info!(peer = %self.peer, address, "the peer can be reached again");
        } else {
            tracing::debug!(peer = %self.peer, address, "connected to a peer");
        }
    }

    fn unreached(&mut self, why: &Unreached) {
        match why {
            Unreached::Refused => self.pause.refused(),
            _ => self.pause.failed(),
        }
        let error = match why {
            Unreached::Refused | Unreached::Other(_) => Some(CallError::Refused),
            Unreached::Connection(_) => Some(CallError::Lost),
            // Each call has its own time.
            Unreached::Silent => None,
        };
        if !std::mem::replace(&mut self.is_missed, true) {
            let address = self.address.as_deref().unwrap_or("?");
            tracing::warn!(peer = %self.peer, address, reason = %why, "cannot reach a peer; it is tried again");
        }
        if let Some(error) = error {
            self.calls.fail_unsent(error);
        }
    }

    fn broken(&mut self, why: &Broken) {
        self.calls.lose_sent();
        match why {
            Broken::Idle | Broken::Moved => tracing::debug!(peer = %self.peer, reason = %why, "connection closed"),
            _ => {
                self.pause.failed();
                tracing::warn!(peer = %self.peer, reason = %why, "the connection to a peer broke");
            }
        }
    }

    /// Sends calls and takes answers until the connection ends.
    async fn talk(&mut self, connection: Connection<E::Stream>) -> Result<Broken, Over> {
        match self.converse(connection).await {
            Ok(over) => Err(over),
            Err(broken) => Ok(broken),
        }
    }

    async fn converse(&mut self, connection: Connection<E::Stream>) -> Result<Over, Broken> {
        let Connection { mut input, mut half } = connection;
        let mut output = Output::default();
        // Until when something must come for the connection to count as alive.
        let mut probe: Option<Instant> = None;
        let mut probes = 0;
        loop {
            self.fill(&mut output);
            let deadline = self.calls.next_deadline().into_iter().chain(probe).min();
            self.alarm.set(&self.env, deadline);
            let has_output = output.size() > 0;
            // Time first, for it must not wait for a peer that never stops talking; then what is to be written.
            tokio::select! {
                biased;
                () = &mut self.alarm => {
                    let now = self.env.now().mono;
                    if probe.is_some_and(|until| until <= now) {
                        return Err(Broken::Silent);
                    }
                    if self.calls.expire(now) && probe.is_none() {
                        probes += 1;
                        let ping = Request::Peer(PeerRequest::Ping);
                        let frame = wire::encode_request(Correlation(PROBES | probes), &ping);
                        output.push_frame(frame.expect("a ping is small"));
                        probe = Some(now.after(PROBE_WAIT_MAX));
                    }
                }
                order = self.orders.recv() => {
                    let Some(order) = order else { return Ok(Over) };
                    let mut has_moved = self.take(order);
                    while let Ok(order) = self.orders.try_recv() {
                        has_moved |= self.take(order);
                    }
                    if has_moved {
                        return Err(Broken::Moved);
                    }
                }
                written = output.write_all(&self.env, &mut half), if has_output => written?,
                next = input.frame(&self.env) => match next? {
                    Next::Came(frame) => {
                        // The peer lives; a failure from here on is a new one.
                        self.pause.reset();
                        probe = None;
                        self.answered(frame)?;
                    }
                    Next::End | Next::Idle if self.calls.is_empty() => return Err(Broken::Idle),
                    Next::End => return Err(Broken::Closed),
                    Next::Idle => {}
                },
            }
        }
    }

    /// Encodes what waits to be sent, as far as the peer takes what went before.
    fn fill(&mut self, output: &mut Output) {
        while output.size() < OUTPUT_BYTES {
            let Some((call, request)) = self.calls.send() else { return };
            match wire::encode_request(Correlation(call.0), &Request::Peer(request)) {
                Ok(frame) => output.push_frame(frame),
                Err(error @ TooLargeToSend { .. }) => {
                    tracing::error!(peer = %self.peer, %error, "a call cannot be sent");
                    self.calls.fail(call, CallError::Lost);
                }
            }
        }
    }

    fn answered(&mut self, frame: wire::Frame) -> Result<(), Broken> {
        let Answered { correlation, message, .. } = wire::decode_from_node(frame).map_err(ConnectionError::from)?;
        if correlation.0 & PROBES != 0 {
            return Ok(());
        }
        let call = CallId(correlation.0);
        match message {
            FromNode::Response(Response::Peer(response)) => {
                if self.calls.answered(call, response) {
                    Ok(())
                } else {
                    Err(Broken::Protocol("an answer of another kind than its request"))
                }
            }
            FromNode::Refused(Refusal { error, message }) => {
                tracing::warn!(peer = %self.peer, %error, message, "the peer does not carry out a call");
                self.calls.fail(call, CallError::Lost);
                Ok(())
            }
            FromNode::Response(_) | FromNode::Hello(_) => Err(Broken::Protocol("an answer that is not to a node")),
        }
    }
}

/// A connection that was greeted.
struct Connection<S> {
    input: Input<tokio::io::ReadHalf<S>>,
    half: tokio::io::WriteHalf<S>,
}

/// Connects and greets, and sees to it that the right node answers.
async fn connect<E: Env>(
    env: &E,
    me: NodeId,
    cluster_id: &str,
    peer: NodeId,
    address: &str,
) -> Result<Connection<E::Stream>, Unreached> {
    let connected = within(env, CONNECT_WAIT_MAX, env.connect(address)).await.ok_or(Unreached::Silent)?;
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Unreached::Refused,
        _ => Unreached::Connection(error.into()),
    })?;
    let (input, mut half) = tokio::io::split(stream);
    let mut input = Input::new(input);
    let greeting = greet(env, me, cluster_id, peer, &mut input, &mut half);
    within(env, GREETING_WAIT_MAX, greeting).await.ok_or(Unreached::Silent)??;
    Ok(Connection { input, half })
}

async fn greet<E: Env>(
    env: &E,
    me: NodeId,
    cluster_id: &str,
    peer: NodeId,
    input: &mut Input<impl AsyncRead + Unpin>,
    half: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Unreached> {
    let hello = Hello {
        software: concat!("tidelog/", env!("CARGO_PKG_VERSION")).to_owned(),
        features: 0,
        node: Some(me),
        cluster_id: Some(cluster_id.to_owned()),
    };
    let mut output = Output::default();
    output.push(wire::preamble(wire::VERSION).to_vec().into());
    output.push_frame(wire::encode_to_node(Correlation(0), &ToNode::Hello(hello)).expect("a greeting is small"));
    output.write_all(env, half).await?;
    let closed = || ConnectionError::from(io::Error::from(io::ErrorKind::UnexpectedEof));
    let Next::Came(frame) = input.frame(env).await? else { return Err(closed().into()) };
    match wire::decode_from_node(frame).map_err(ConnectionError::from)?.message {
        FromNode::Hello(reply) if reply.node != peer => {
            Err(Unreached::Other(format!("node {} answers there", reply.node)))
        }
        FromNode::Hello(reply) if reply.cluster_id != cluster_id => {
            Err(Unreached::Other(format!("it belongs to cluster {}, this node to {cluster_id}", reply.cluster_id)))
        }
        FromNode::Hello(_) => {
            input.greeted();
            Ok(())
        }
        FromNode::Refused(Refusal { error, message }) => Err(Unreached::Other(format!("{error}: {message}"))),
        FromNode::Response(_) => Err(Unreached::Other("it does not greet".to_owned())),
    }
}

/// How long connecting may take before it is tried anew.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the other side may take to greet.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a silent connection has to show that it is alive.
const PROBE_WAIT_MAX: time::Duration = time::Duration::from_millis(2_000);
/// The first correlation that is no call's.
const PROBES: u64 = 1 << 63;
/// Encoded bytes that wait to be written before no further call is encoded.
const OUTPUT_BYTES: usize = 1 << 20;
