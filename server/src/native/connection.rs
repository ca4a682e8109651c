//! One connection: a greeting, then requests in and answers out, each as soon as it is there.
//!
//! Two halves run side by side in one task. The reader decodes requests and hands them to the node in the order in
//! which they came; the writer holds all that wait for an answer and writes each answer when it comes.
//!
//! ```text
//! socket ─▶ frame ─▶ decode ─▶ node                      (reader)
//!                               │  requests under way, in any order
//! socket ◀── gather ◀── encode ◀┘                        (writer)
//! ```
//!
//! **Bounds.** Requests, their bytes, and fetches under way are limited; past a limit the socket is not read, which is
//! how its peer is slowed down. What a peer does not read is not produced either: an answer is encoded when the one
//! before it has been written.
//!
//! **Ends.** Bytes that are not frames, and frames whose header is not even a message, end this connection. A message
//! that makes no sense is refused, and the connection goes on.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tidelog_client::wire::{
    self, Correlation, DecodeError, Endpoint, FrameError, FromNode, Hello, HelloReply, Refusal, Surroundings, ToNode,
};
use tidelog_core::{
    ids::NodeId,
    limits::{
        CONNECTION_BYTES_IN_FLIGHT_MAX, FRAME_BYTES_MAX, NATIVE_FETCH_BYTES_MAX, NATIVE_FETCHES_IN_FLIGHT_MAX,
        NATIVE_REQUESTS_IN_FLIGHT_MAX,
    },
    message::{Acks, BrokerInfo, ErrorCode, PeerRequest, Request, Response},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, SemaphorePermit, mpsc},
};

use super::{
    Shared,
    input::{Input, Next},
    output::Output,
};
use crate::{
    driver::{NodeHandle, Stopped},
    env::{Env, within},
    listener::{Context, HostPort, Stop},
    peers::PeerEvent,
};

/// Bytes in flight are counted in these.
const BYTES_UNIT: usize = 1 << 10;
/// How long a peer may take to greet.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// How long answers under way may take once no further request is read.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Answers that are there are gathered into one write up to this much.
const GATHER_BYTES: usize = 1 << 20;
/// What of a client's name for itself is kept.
const SOFTWARE_CHARS_MAX: usize = 64;

/// Why a connection was ended from this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The bytes are not frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame's header is not a message.
    #[error(transparent)]
    Header(#[from] DecodeError),
    /// No greeting within [`GREETING_MAX`].
    #[error("no greeting came")]
    GreetingLate,
    /// Something else instead of the greeting.
    #[error("the first message is not hello")]
    GreetingMissing,
    /// A node that belongs elsewhere.
    #[error("{0}")]
    Stranger(String),
    /// A frame stopped in its middle.
    #[error("a frame began and did not go on")]
    ReadStalled,
    /// The peer does not take its responses.
    #[error("the peer does not read its responses")]
    WriteStalled,
    /// A produce with acks=0 failed. There is no response to say so in; the closed connection makes its producer ask
    /// for metadata again.
    #[error("a produce without acknowledgement failed: {0}")]
    Unacknowledged(ErrorCode),
    /// The node is going down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves one connection until its peer goes, breaks the protocol, is idle for too long, or the node stops.
pub async fn connection<E: Env>(shared: Arc<Shared>, context: Context<E>, stream: E::Stream, peer: SocketAddr) {
    let Context { env, node, stop, advertised, peers, .. } = context;
    let behind = Behind { node, peers };
    serve(&shared, &env, &behind, &stop, &advertised, stream, peer).await;
}

/// What a connection wants of its node.
pub(super) trait Asked {
    /// Asks it.
    fn ask(&self, request: Request) -> Asking;
    /// Returns once clients can be served.
    fn ready(&self) -> Pin<Box<dyn Future<Output = Result<(), Stopped>>>>;
    /// Says that the connection is another node's, and later that it has ended.
    fn tell(&self, event: PeerEvent);
}

/// The node itself.
struct Behind {
    node: NodeHandle,
    peers: Rc<Cell<usize>>,
}

impl Asked for Behind {
    fn ask(&self, request: Request) -> Asking {
        let node = self.node.clone();
        Box::pin(async move { Ok(Box::pin(node.send(request).await?) as Call) })
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = Result<(), Stopped>>>> {
        let node = self.node.clone();
        Box::pin(async move { node.ready().await })
    }

    fn tell(&self, event: PeerEvent) {
        match event {
            PeerEvent::Greeted { .. } => self.peers.set(self.peers.get() + 1),
            PeerEvent::Disconnected { .. } => self.peers.set(self.peers.get() - 1),
            PeerEvent::CallEnded { .. } => {}
        }
        self.node.tell(event);
    }
}

/// A connection of another node; says when it ends.
struct OfPeer<'a> {
    node: NodeId,
    behind: &'a dyn Asked,
}

impl Drop for OfPeer<'_> {
    fn drop(&mut self) {
        self.behind.tell(PeerEvent::Disconnected { node: self.node });
    }
}

/// The same with any node that can be asked.
pub(super) async fn serve<E: Env>(
    shared: &Shared,
    env: &E,
    behind: &dyn Asked,
    stop: &Stop,
    advertised: &HostPort,
    stream: E::Stream,
    peer: SocketAddr,
) {
    let connection = Connection {
        shared,
        env,
        behind,
        stop,
        advertised,
        requests: Semaphore::new(NATIVE_REQUESTS_IN_FLIGHT_MAX),
        fetches: Semaphore::new(NATIVE_FETCHES_IN_FLIGHT_MAX),
        bytes: Semaphore::new(CONNECTION_BYTES_IN_FLIGHT_MAX / BYTES_UNIT),
        client: RefCell::default(),
        is_peer: Cell::new(false),
    };
    let ended = connection.run(stream).await;
    let client = connection.client.take();
    match ended {
        Ok(()) | Err(ConnectionError::Stopped(_)) => tracing::debug!(%peer, client, "connection closed"),
        Err(ConnectionError::Io(error)) => tracing::debug!(%peer, client, %error, "connection lost"),
        Err(error) => tracing::warn!(%peer, client, %error, "connection closed for its fault"),
    }
}

struct Connection<'a, E: Env> {
    shared: &'a Shared,
    env: &'a E,
    /// The way to the node.
    behind: &'a dyn Asked,
    stop: &'a Stop,
    advertised: &'a HostPort,
    /// One permit for each request under way.
    requests: Semaphore,
    /// One permit more for each of them that is a fetch.
    fetches: Semaphore,
    /// Request bytes under way.
    bytes: Semaphore,
    /// What the client calls itself, fit for a log.
    client: RefCell<String>,
    /// Is it another node's?
    is_peer: Cell<bool>,
}

/// A request whose answer is still to be written. Dropping it abandons the request.
struct Pending<'a> {
    correlation: Correlation,
    answer: Answer,
    kind: Kind,
    permits: Permits<'a>,
}

enum Answer {
    Known(FromNode),
    Awaited(Call),
}

/// What has to be known of a request when its answer is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nobody waits for the answer.
    Silent,
    /// May be parked for long, and has done nothing when it is abandoned.
    Fetch,
    Other,
}

/// A question to the node under way. Dropping it abandons the question.
pub(super) type Call = Pin<Box<dyn Future<Output = Result<Response, Stopped>>>>;

/// A question on its way; it has its place behind all asked before it once the answer is awaited.
pub(super) type Asking = Pin<Box<dyn Future<Output = Result<Call, Stopped>>>>;

/// Given back when the answer has been written.
struct Permits<'a> {
    _request: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
    _fetch: Option<SemaphorePermit<'a>>,
}

struct Done<'a> {
    correlation: Correlation,
    answer: Result<FromNode, Stopped>,
    kind: Kind,
    permits: Permits<'a>,
}

impl<'a> Pending<'a> {
    async fn done(self) -> Done<'a> {
        let Self { correlation, answer, kind, permits } = self;
        let answer = match answer {
            Answer::Known(message) => Ok(message),
            Answer::Awaited(call) => call.await.map(FromNode::Response),
        };
        Done { correlation, answer, kind, permits }
    }
}

impl<'a, E: Env> Connection<'a, E> {
    async fn run(&self, stream: E::Stream) -> Result<(), ConnectionError> {
        let (input, mut output) = tokio::io::split(stream);
        let mut input = Input::new(input);
        let greeting = within(self.env, GREETING_MAX, self.greet(&mut input, &mut output)).await;
        let Some((correlation, hello)) = greeting.ok_or(ConnectionError::GreetingLate)?? else { return Ok(()) };
        let _of_peer = match hello.node {
            Some(node) => {
                self.is_peer.set(true);
                self.behind.tell(PeerEvent::Greeted { node });
                Some(OfPeer { node, behind: self.behind })
            }
            None => {
                let stop = self.stop.clone();
                tokio::select! {
                    biased;
                    () = stop.requested() => return Ok(()),
                    ready = self.behind.ready() => ready?,
                }
                None
            }
        };
        let mut welcome = Output::default();
        self.encode(correlation, &FromNode::Hello(self.reply(&hello)), &mut welcome);
        welcome.write_all(self.env, &mut output).await?;
        input.greeted();
        let (sender, pending) = mpsc::channel(NATIVE_REQUESTS_IN_FLIGHT_MAX);
        let mut writing = std::pin::pin!(self.write(output, pending));
        tokio::select! {
            biased;
            ended = self.read(input, sender) => ended?,
            ended = &mut writing => return ended,
        }
        // No more requests. What is under way is seen through, but for fetches.
        within(self.env, DRAIN_MAX, writing).await.unwrap_or(Ok(()))
    }

    /// Exchanges preambles and takes the greeting; nothing when the peer went before it said anything.
    async fn greet(
        &self,
        input: &mut Input<impl AsyncRead + Unpin>,
        half: &mut (impl AsyncWrite + Unpin),
    ) -> Result<Option<(Correlation, Hello)>, ConnectionError> {
        let env = self.env;
        if !input.preamble(env).await? {
            return Ok(None);
        }
        let mut output = Output::default();
        output.push(wire::preamble(wire::VERSION).to_vec().into());
        output.write_all(env, half).await?;
        let Next::Came(frame) = input.frame(env).await? else { return Ok(None) };
        let asked = wire::decode_to_node(frame)?;
        let (answer, error) = match asked.message {
            Ok(ToNode::Hello(hello)) => match self.stranger(&hello) {
                None => return Ok(Some((asked.correlation, hello))),
                Some((code, reason)) => (refusal(code, reason.clone()), ConnectionError::Stranger(reason)),
            },
            Ok(ToNode::Request(_)) => {
                let refusal = refusal(ErrorCode::InvalidRequest, "the first message must be hello");
                (refusal, ConnectionError::GreetingMissing)
            }
            Err(error) => (refusal(error.code(), error.to_string()), error.into()),
        };
        self.encode(asked.correlation, &answer, &mut output);
        output.write_all(env, half).await?;
        Err(error)
    }

    /// Why who greets like this belongs elsewhere, if it does.
    fn stranger(&self, hello: &Hello) -> Option<(ErrorCode, String)> {
        let Shared { node, cluster_id, .. } = self.shared;
        if let Some(theirs) = &hello.cluster_id
            && theirs != cluster_id
        {
            let theirs = sanitised(theirs);
            let reason = format!("node {node} belongs to cluster {cluster_id}, not to {theirs}");
            return Some((ErrorCode::InconsistentClusterId, reason));
        }
        if hello.node == Some(*node) {
            let reason = format!("node {node} is called by another that says that it is node {node}, too");
            return Some((ErrorCode::InvalidRequest, reason));
        }
        None
    }

    fn reply(&self, hello: &Hello) -> HelloReply {
        self.client.replace(sanitised(&hello.software));
        HelloReply {
            software: concat!("tidelog/", env!("CARGO_PKG_VERSION")).to_owned(),
            features: 0,
            node: self.shared.node,
            cluster_id: self.shared.cluster_id.clone(),
            frame_bytes_max: FRAME_BYTES_MAX,
            requests_in_flight_max: NATIVE_REQUESTS_IN_FLIGHT_MAX,
        }
    }

    /// The reading half; returns when there is nothing more to read.
    async fn read(
        &'a self,
        mut input: Input<impl AsyncRead + Unpin>,
        pending: mpsc::Sender<Pending<'a>>,
    ) -> Result<(), ConnectionError> {
        let stop = self.stop.clone();
        loop {
            let request = self.requests.acquire().await.expect("never closed");
            let next = tokio::select! {
                biased;
                // Other nodes are answered to the end: they take over what this one leads.
                () = stop.requested(), if !self.is_peer.get() => return Ok(()),
                next = input.frame(self.env) => next?,
            };
            let frame = match next {
                Next::Came(frame) => frame,
                // The permit at hand is the only one that is out.
                Next::Idle if self.requests.available_permits() + 1 < NATIVE_REQUESTS_IN_FLIGHT_MAX => continue,
                Next::Idle | Next::End => return Ok(()),
            };
            let units = frame.size().div_ceil(BYTES_UNIT).min(CONNECTION_BYTES_IN_FLIGHT_MAX / BYTES_UNIT);
            let units = u32::try_from(units).expect("bounded by a few thousand");
            let bytes = self.bytes.acquire_many(units).await.expect("never closed");
            let begun = self.begin(frame, request, bytes).await?;
            if pending.send(begun).await.is_err() {
                return Ok(()); // the writer has ended, and says why
            }
        }
    }

    /// Decodes a request and hands it to the node.
    async fn begin(
        &'a self,
        frame: wire::Frame,
        request: SemaphorePermit<'a>,
        bytes: SemaphorePermit<'a>,
    ) -> Result<Pending<'a>, ConnectionError> {
        let asked = wire::decode_to_node(frame)?;
        let mut permits = Permits { _request: request, _bytes: bytes, _fetch: None };
        let (answer, kind) = match asked.message {
            Err(error) => (Answer::Known(refusal(error.code(), error.to_string())), Kind::Other),
            Ok(ToNode::Hello(_)) => {
                (Answer::Known(refusal(ErrorCode::InvalidRequest, "hello has been said before")), Kind::Other)
            }
            Ok(ToNode::Request(Request::Fetch(fetch))) if fetch.replica.is_some() => {
                let reason = "only nodes of the cluster fetch as replicas";
                (Answer::Known(refusal(ErrorCode::ClusterAuthorizationFailed, reason)), Kind::Other)
            }
            Ok(ToNode::Request(Request::Fetch(mut fetch))) => {
                fetch.max_bytes = fetch.max_bytes.min(NATIVE_FETCH_BYTES_MAX);
                permits._fetch = Some(self.fetches.acquire().await.expect("never closed"));
                (self.ask(Request::Fetch(fetch)).await?, Kind::Fetch)
            }
            Ok(ToNode::Request(Request::Peer(_))) if !self.is_peer.get() => {
                let reason = "only nodes of the cluster ask this";
                (Answer::Known(refusal(ErrorCode::ClusterAuthorizationFailed, reason)), Kind::Other)
            }
            Ok(ToNode::Request(request @ Request::Peer(PeerRequest::Fetch(_)))) => {
                (self.ask(request).await?, Kind::Fetch)
            }
            Ok(ToNode::Request(Request::Produce(produce))) if produce.acks == Acks::None => {
                (self.ask(Request::Produce(produce)).await?, Kind::Silent)
            }
            Ok(ToNode::Request(request)) => (self.ask(request).await?, Kind::Other),
        };
        Ok(Pending { correlation: asked.correlation, answer, kind, permits })
    }

    /// Hands a request to the node, behind all that came before it; the writer waits for the answer.
    async fn ask(&self, request: Request) -> Result<Answer, ConnectionError> {
        Ok(Answer::Awaited(self.behind.ask(request).await?))
    }

    /// The writing half; ends once the reading half is gone and everything but fetches is answered.
    async fn write(
        &self,
        mut half: impl AsyncWrite + Unpin,
        mut pending: mpsc::Receiver<Pending<'_>>,
    ) -> Result<(), ConnectionError> {
        let mut under_way = FuturesUnordered::new();
        let mut fetches = 0;
        let mut is_open = true;
        let mut output = Output::default();
        while is_open || under_way.len() > fetches {
            // New requests first: they are few at a time, and what is answered at once goes out with what was.
            let first = tokio::select! {
                biased;
                begun = pending.recv(), if is_open => {
                    match begun {
                        Some(begun) => {
                            fetches += usize::from(begun.kind == Kind::Fetch);
                            under_way.push(begun.done());
                        }
                        None => is_open = false,
                    }
                    continue;
                }
                Some(done) = under_way.next() => done,
            };
            // With the first, whatever else is there goes out in the same write.
            let mut done = Some(first);
            let mut permits = Vec::new();
            while let Some(this) = done.take() {
                fetches -= usize::from(this.kind == Kind::Fetch);
                let answer = this.answer?;
                match this.kind {
                    Kind::Silent => unacknowledged(&answer)?,
                    Kind::Fetch | Kind::Other => self.encode(this.correlation, &answer, &mut output),
                }
                permits.push(this.permits);
                if output.size() < GATHER_BYTES {
                    done = poll_fn(|cx| match under_way.poll_next_unpin(cx) {
                        Poll::Ready(next) => Poll::Ready(next),
                        Poll::Pending => Poll::Ready(None),
                    })
                    .await;
                }
            }
            output.write_all(self.env, &mut half).await?;
        }
        Ok(())
    }

    fn encode(&self, correlation: Correlation, message: &FromNode, output: &mut Output) {
        let encoded = wire::encode_from_node(correlation, message, &self.surroundings(message));
        let frame = encoded.unwrap_or_else(|error| {
            let refusal = refusal(ErrorCode::MessageTooLarge, format!("{error}: ask for less at a time"));
            wire::encode_from_node(correlation, &refusal, &Surroundings::default()).expect("a refusal is small")
        });
        output.push_frame(frame);
    }

    fn surroundings(&self, message: &FromNode) -> Surroundings {
        // Each broker is where it says that it is; this one knows best of itself.
        let endpoint = |broker: &BrokerInfo| {
            let HostPort { host, port } = match broker.node == self.shared.node {
                true => self.advertised.clone(),
                false => HostPort::parse(&broker.endpoints.native)?,
            };
            Some((broker.node, Endpoint { host, port }))
        };
        let endpoints = |brokers: &[BrokerInfo]| brokers.iter().filter_map(endpoint).collect();
        match message {
            FromNode::Response(Response::Metadata(metadata)) => {
                Surroundings { endpoints: endpoints(&metadata.brokers), directory_path: None }
            }
            FromNode::Response(Response::DescribeCluster(cluster)) => {
                Surroundings { endpoints: endpoints(&cluster.brokers), directory_path: None }
            }
            FromNode::Response(Response::DescribeLogDirs(_)) => {
                Surroundings { directory_path: Some(self.shared.log_dir.clone()), ..Surroundings::default() }
            }
            _ => Surroundings::default(),
        }
    }
}

/// The answer to a produce that wants none is at most the end of its connection.
fn unacknowledged(answer: &FromNode) -> Result<(), ConnectionError> {
    let FromNode::Response(Response::Produce(produce)) = answer else { return Ok(()) };
    match produce.partitions.iter().find(|partition| !partition.error.is_none()) {
        Some(partition) => Err(ConnectionError::Unacknowledged(partition.error)),
        None => Ok(()),
    }
}

fn refusal(error: ErrorCode, message: impl Into<Cow<'static, str>>) -> FromNode {
    FromNode::Refused(Refusal { error, message: message.into().into_owned() })
}

/// What a client calls itself, fit for a log: short, and without anything that could forge a line of it.
pub(super) fn sanitised(software: &str) -> String {
    let harmless = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    software.chars().take(SOFTWARE_CHARS_MAX).map(harmless).collect()
}
