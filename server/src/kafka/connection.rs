//! One connection: requests in, answers out in the same order.
//!
//! Two halves run side by side in one task. The reader takes a frame, waits for its *turn*, decodes it and hands it to
//! the node; the writer waits for the answers in the order of their requests and writes them.
//!
//! ```text
//! socket ─▶ frame ─▶ turn ─▶ decode ─▶ node        (reader)
//!                                       │  queue of pending answers, oldest first
//! socket ◀─────────── encode ◀──────────┘          (writer)
//! ```
//!
//! **Order.** Kafka works on one request of a connection at a time, and clients may rely on it: a fetch behind a produce
//! sees it, a Metadata behind a CreateTopics knows the topic. Here a request has its turn when all before it are answered.
//! Only produces overlap, for the core keeps their order by itself and one sync can then carry many of them.
//!
//! **Bounds.** Request bytes and produces under way are limited; past a limit the socket is not read, which is how its
//! peer is slowed down. One frame more than has its turn is read, so a peer that goes while its fetch is parked is noticed.
//!
//! **Ends.** A frame that is too large, a request that is not in the table or does not decode closes this connection, as in
//! Kafka, with a line in the log: there is no response that the client would understand. ApiVersions in an unknown
//! version is the exception (KIP-511).

use std::{cell::Cell, io, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::{Buf, Bytes};
use tidelog_core::{
    limits::{
        CONNECTION_BYTES_IN_FLIGHT_MAX, CONNECTION_PRODUCES_IN_FLIGHT_MAX, FIRST_FRAME_BYTES_MAX, FRAME_BYTES_MAX,
        WRITE_STALL_MAX,
    },
    message::{ErrorCode, FetchResponse, Request, Response},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, SemaphorePermit, mpsc},
};

use super::{
    Shared,
    api::{Api, ApiKey, Header, sanitised},
    codec::{self, Place, Shape, Task, VersionsAnswer},
    frame::{FrameReader, Next, std_duration},
    read::{Reader, WireError},
    session::Plan,
    write::{Frame, Writer},
};
use crate::{
    driver::{NodeHandle, Stopped},
    env::{Env, within},
    listener::{Context, HostPort, Stop},
};

/// Bytes in flight are counted in these.
const BYTES_UNIT: usize = 1 << 10;
/// How long answers under way may take once no further request is read.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why a connection was ended from this side.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// A frame size that is negative or past the cap.
    #[error("a frame of {size} bytes, where at most {max} are taken")]
    FrameSize {
        /// As announced.
        size: i32,
        /// The cap.
        max: usize,
    },
    /// A frame stopped in its middle.
    #[error("a frame began and did not go on")]
    ReadStalled,
    /// The peer does not take its responses.
    #[error("the peer does not read its responses")]
    WriteStalled,
    /// Not in the table.
    #[error("request {code} in version {version} is not served")]
    Unsupported {
        /// The request's number.
        code: i16,
        /// Its version.
        version: i16,
    },
    /// The header does not decode.
    #[error("not a request: {0}")]
    Header(WireError),
    /// The body does not decode.
    #[error("{api:?} request in version {version}: {error}")]
    Body {
        /// Which request.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong.
        error: WireError,
    },
    /// A produce with acks=0 failed. There is no response to say so in; the closed connection makes its producer ask
    /// for metadata again, as in Kafka.
    #[error("a produce without acknowledgement failed: {0}")]
    Unacknowledged(ErrorCode),
    /// The node is going down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who answers: the node's handle, or a test's script.
pub(super) trait Node {
    /// Asks. Returns once the question has its place behind all asked before it, with the answer still to come.
    async fn ask(&self, request: Request) -> Result<Call, Stopped>;
}

/// An answer that is awaited. Dropping it abandons the request.
pub(super) type Call = Pin<Box<dyn Future<Output = Result<Response, Stopped>>>>;

impl Node for NodeHandle {
    async fn ask(&self, request: Request) -> Result<Call, Stopped> {
        Ok(Box::pin(self.send(request).await?))
    }
}

/// Serves one connection until its peer goes, breaks the protocol, is idle for too long, or the node stops.
pub async fn connection<E: Env>(shared: Arc<Shared>, context: Context<E>, stream: E::Stream, peer: SocketAddr) {
    let Context { env, node, stop, advertised, .. } = &context;
    serve(&shared, env, node, stop, advertised, stream, peer).await;
}

/// [`connection`], for any node.
pub(super) async fn serve<E: Env>(
    shared: &Shared,
    env: &E,
    node: &impl Node,
    stop: &Stop,
    advertised: &HostPort,
    stream: E::Stream,
    peer: SocketAddr,
) {
    let connection = Connection {
        shared,
        env,
        node,
        stop,
        advertised,
        peer,
        turns: Semaphore::new(CONNECTION_PRODUCES_IN_FLIGHT_MAX as usize),
        bytes: Semaphore::new(CONNECTION_BYTES_IN_FLIGHT_MAX / BYTES_UNIT),
        is_fetching: Cell::new(false),
        client: Cell::new(String::new()),
    };
    let ended = connection.run(stream).await;
    let client = connection.client.take();
    match ended {
        Ok(()) | Err(ConnectionError::Stopped(_)) => tracing::debug!(%peer, client, "connection closed"),
        Err(ConnectionError::Io(error)) => tracing::debug!(%peer, client, %error, "connection lost"),
        Err(error) => tracing::warn!(%peer, client, %error, "connection closed for its fault"),
    }
}

struct Connection<'a, E, N> {
    shared: &'a Shared,
    env: &'a E,
    node: &'a N,
    stop: &'a Stop,
    advertised: &'a HostPort,
    peer: SocketAddr,
    /// One permit for each produce under way; every other request takes all.
    turns: Semaphore,
    /// Request bytes under way.
    bytes: Semaphore,
    /// Was the last request to have its turn a fetch?
    is_fetching: Cell<bool>,
    /// What the client calls itself, fit for a log.
    client: Cell<String>,
}

/// A request whose answer is still to be written.
struct Pending<'a> {
    correlation: i32,
    api: &'static Api,
    version: i16,
    answer: Answer,
    shape: Shape,
    _turn: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
}

enum Answer {
    Known(Response),
    Versions(VersionsAnswer),
    Awaited(Call),
}

impl<'a, E: Env, N: Node> Connection<'a, E, N> {
    async fn run(&self, stream: E::Stream) -> Result<(), ConnectionError> {
        let (input, output) = tokio::io::split(stream);
        let (sender, pending) = mpsc::channel(CONNECTION_PRODUCES_IN_FLIGHT_MAX as usize);
        let mut writing = std::pin::pin!(self.write(output, pending));
        tokio::select! {
            biased;
            ended = self.read(input, sender) => ended?,
            ended = &mut writing => return ended,
        }
        // No more requests. A parked fetch has nobody left to answer; all else is seen through.
        if self.is_fetching.get() && !self.stop.is_requested() {
            return Ok(());
        }
        within(self.env, std_duration(DRAIN_MAX), writing).await.unwrap_or(Ok(()))
    }

    /// The reading half; returns when there is nothing more to read.
    async fn read(
        &'a self,
        input: impl AsyncRead + Unpin,
        pending: mpsc::Sender<Pending<'a>>,
    ) -> Result<(), ConnectionError> {
        let env = self.env;
        let stop = self.stop.clone();
        let mut frames = FrameReader::new(input);
        let mut bytes_max = FIRST_FRAME_BYTES_MAX;
        loop {
            let next = tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                next = frames.size(env, bytes_max) => next?,
            };
            let size = match next {
                Next::Frame(size) => size,
                Next::Idle if self.turns.available_permits() < CONNECTION_PRODUCES_IN_FLIGHT_MAX as usize => continue,
                Next::Idle | Next::End => return Ok(()),
            };
            let units = size.div_ceil(BYTES_UNIT).clamp(1, CONNECTION_BYTES_IN_FLIGHT_MAX / BYTES_UNIT);
            let bytes = self.bytes.acquire_many(units as u32).await.expect("never closed");
            let frame = frames.body(env, size).await?;
            let request = self.begin(frame, bytes).await?;
            bytes_max = FRAME_BYTES_MAX;
            if pending.send(request).await.is_err() {
                return Ok(()); // the writer has ended, and says why
            }
        }
    }

    /// Decodes a request, waits for its turn and hands it to the node.
    async fn begin(&'a self, frame: Bytes, bytes: SemaphorePermit<'a>) -> Result<Pending<'a>, ConnectionError> {
        let mut r = Reader::new(&frame);
        let mut header = Header::read(&mut r).map_err(ConnectionError::Header)?;
        let Header { code, version, correlation, .. } = header;
        let unsupported = ConnectionError::Unsupported { code, version };
        let api = Api::find(code).ok_or(unsupported)?;
        if !api.serves(version) {
            if api.key != ApiKey::ApiVersions {
                return Err(ConnectionError::Unsupported { code, version });
            }
            // A client newer than this broker asks in its own newest version: told in the oldest, it asks again.
            let answer = Answer::Versions(VersionsAnswer { error: ErrorCode::UnsupportedVersion });
            let turn = self.turn(api.key).await;
            return Ok(Pending {
                correlation,
                api,
                version: 0,
                answer,
                shape: Shape::Plain,
                _turn: turn,
                _bytes: bytes,
            });
        }
        header.rest(api, &mut r).map_err(ConnectionError::Header)?;
        let task = codec::decode(api, version, &mut r);
        let task = task.map_err(|error| ConnectionError::Body { api: api.key, version, error })?;
        self.remember_client(header.client);
        let turn = self.turn(api.key).await;
        let (answer, shape) = match task {
            Task::Ask(request, shape) => (Answer::Awaited(self.node.ask(request).await?), shape),
            Task::Answer(response, shape) => (Answer::Known(response), shape),
            Task::Versions(answer) => (Answer::Versions(answer), Shape::Plain),
            Task::Fetch(asked) => {
                let (request, plan) = self.shared.sessions().begin(self.env.now().mono, asked);
                let answer = match plan {
                    Plan::Refuse(_) => Answer::Known(Response::Fetch(FetchResponse { partitions: Vec::new() })),
                    _ => Answer::Awaited(self.node.ask(Request::Fetch(request)).await?),
                };
                (answer, Shape::Fetch(plan))
            }
        };
        Ok(Pending { correlation, api, version, answer, shape, _turn: turn, _bytes: bytes })
    }

    /// Waits until this request may be worked on.
    async fn turn(&self, key: ApiKey) -> SemaphorePermit<'_> {
        let is_produce = key == ApiKey::Produce;
        let turns = if is_produce { 1 } else { CONNECTION_PRODUCES_IN_FLIGHT_MAX };
        let turn = self.turns.acquire_many(turns).await.expect("never closed");
        self.is_fetching.set(key == ApiKey::Fetch);
        turn
    }

    fn remember_client(&self, client: Option<&str>) {
        let known = self.client.take();
        if known.is_empty() {
            let client = sanitised(client);
            tracing::debug!(peer = %self.peer, client, "kafka client connected");
            self.client.set(client);
        } else {
            self.client.set(known);
        }
    }

    /// The writing half; ends once the reading half is gone and everything is answered.
    async fn write(
        &self,
        mut output: impl AsyncWrite + Unpin,
        mut pending: mpsc::Receiver<Pending<'_>>,
    ) -> Result<(), ConnectionError> {
        while let Some(request) = pending.recv().await {
            let Pending { correlation, api, version, answer, shape, _turn, _bytes } = request;
            let response = match answer {
                Answer::Known(response) => Ok(response),
                Answer::Awaited(call) => Ok(call.await?),
                Answer::Versions(answer) => Err(answer),
            };
            if let (Ok(Response::Produce(response)), Shape::Produce { silent: true }) = (&response, &shape) {
                match response.partitions.iter().find(|of| !of.error.is_none()) {
                    Some(of) => return Err(ConnectionError::Unacknowledged(of.error)),
                    None => continue,
                }
            }
            let mut w = Writer::new();
            w.i32(correlation);
            w.set_flexible(api.is_flexible(version));
            if api.has_flexible_response_header(version) {
                w.end();
            }
            match response {
                Ok(response) => codec::encode(version, shape, response, &self.place(), &mut w),
                Err(answer) => codec::encode_api_versions(version, answer, &mut w),
            }
            self.send(&mut output, w.finish()).await?;
        }
        Ok(())
    }

    async fn send(&self, output: &mut (impl AsyncWrite + Unpin), mut frame: Frame) -> Result<(), ConnectionError> {
        while frame.has_remaining() {
            let written = within(self.env, std_duration(WRITE_STALL_MAX), output.write_buf(&mut frame)).await;
            if written.ok_or(ConnectionError::WriteStalled)?? == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
        output.flush().await?;
        Ok(())
    }

    fn place(&self) -> Place<'_> {
        Place {
            node: self.shared.node,
            host: &self.advertised.host,
            port: self.advertised.port,
            log_dir: &self.shared.log_dir,
            disk: disk_space,
            now: self.env.now().mono,
            sessions: &self.shared.sessions,
        }
    }
}

/// Size and free bytes of the disk that holds `path`, if the operating system says so.
fn disk_space(path: &str) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some((disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize)))
}
