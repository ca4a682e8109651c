//! The seven things that the shell asks of its runtime: listen, accept, connect, sleep, spawn, now, and random bits.
//!
//! Nothing else of what `serve` runs names a socket, a timer, a task or a source of chance, so that the very same shell
//! runs on tokio in production ([`TokioEnv`]) and on a simulated network and clock in tests. Channels (`tokio::sync`) and
//! the I/O traits are free for all: they are plain code without a runtime of their own. So is `tokio::select!` while it
//! is `biased`; otherwise it draws its order from a generator of tokio's, and no run could be repeated.
//!
//! The threads of the disk are no task of a runtime. On a simulated one a task takes their place: see
//! [`DiskWork`](crate::driver::DiskWork).

#[cfg(test)]
mod pipes;
mod tokio;

use std::{future::Future, io, net::SocketAddr, time::Duration};

use ::tokio::io::{AsyncRead, AsyncWrite};
use tidelog_core::time::Now;

#[cfg(test)]
pub(crate) use self::pipes::Pipes;
pub use self::tokio::{StopSignal, TokioEnv, TokioListener, run_local};

/// What production code may ask of its runtime. All tasks of one `Env` run on one thread.
pub trait Env: Clone + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// Something that accepts connections.
    type Listener: 'static;

    /// Binds `address` (`host:port`; port 0 picks a free one) and listens.
    fn listen(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>>;
    /// Where a listener listens, with the port that it got.
    fn local_address(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;
    /// The next connection and where it comes from.
    fn accept(&self, listener: &Self::Listener) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
    /// Connects to `address`. The caller puts a deadline around it.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>>;
    /// Returns after `span`.
    fn sleep(&self, span: Duration) -> impl Future<Output = ()>;
    /// Runs `task` beside its caller, on the same thread.
    fn spawn_local(&self, task: impl Future<Output = ()> + 'static);
    /// Both clocks.
    fn now(&self) -> Now;
    /// Bits that nobody can foresee.
    fn random(&self) -> io::Result<u128>;
}

/// Runs `work`, but no longer than `limit`; `None` when the time was over first.
pub async fn within<E: Env, T>(env: &E, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    ::tokio::select! {
        biased;
        done = work => Some(done),
        () = env.sleep(limit) => None,
    }
}
