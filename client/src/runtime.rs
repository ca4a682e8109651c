//! What the client asks of its runtime: connect, sleep, spawn, and the time.
//!
//! Nothing else in this crate names a socket, a timer or a task, so that the very same client runs on tokio
//! ([`TokioRuntime`]) and on a simulated network and clock. Channels and the I/O traits of tokio are free for all: they
//! are plain code without a runtime of their own.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidelog_core::time::{Instant, Timestamp};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Something that a runtime does meanwhile.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Ends a task at its next await, if it has not ended.
pub type EndTask = Box<dyn FnOnce() + Send>;

/// A connection: what comes, and what goes.
pub struct Connection {
    /// Bytes from the other side.
    pub input: Box<dyn AsyncRead + Send + Unpin>,
    /// Bytes for it.
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
}

/// A runtime. One serves everything of a client.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Connects to `host:port`. The caller puts a deadline around it.
    fn connect<'a>(&'a self, address: &'a str) -> Work<'a, io::Result<Connection>>;
    /// Returns after `span`.
    fn sleep(&self, span: Duration) -> Work<'static, ()>;
    /// Runs `task` beside its caller.
    fn spawn(&self, task: Work<'static, ()>) -> EndTask;
    /// A clock that never goes back; it counts from anywhere.
    fn now(&self) -> Instant;
    /// Wall time, for records that bring none.
    fn wall(&self) -> Timestamp;
}

/// Runs `work`, but no longer than `limit`; `None` when the time was over first.
pub(crate) async fn within<T>(runtime: &dyn Runtime, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut alarm = runtime.sleep(limit);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => alarm.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Whichever tokio runtime the client is used in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioRuntime {
    zero: tokio::time::Instant,
}

impl TokioRuntime {
    /// Its clock begins now.
    pub(crate) fn new() -> Self {
        Self { zero: tokio::time::Instant::now() }
    }
}

impl Runtime for TokioRuntime {
    fn connect<'a>(&'a self, address: &'a str) -> Work<'a, io::Result<Connection>> {
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            // Frames are written whole, so there is nothing for Nagle's algorithm to wait for.
            socket.set_nodelay(true)?;
            let (input, output) = socket.into_split();
            Ok(Connection { input: Box::new(input), output: Box::new(output) })
        })
    }

    fn sleep(&self, span: Duration) -> Work<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn spawn(&self, task: Work<'static, ()>) -> EndTask {
        let task = tokio::spawn(task).abort_handle();
        Box::new(move || task.abort())
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
