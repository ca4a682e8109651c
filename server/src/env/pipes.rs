//! [`Env`] for tests of one connection: pipes and a clock that stands.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use tidelog_core::time::{Instant, Now, Timestamp};
use tokio::io::DuplexStream;

use super::Env;

/// Pipes for sockets, tokio's paused clock for time.
#[derive(Clone)]
pub(crate) struct Pipes;

impl Env for Pipes {
    type Stream = DuplexStream;
    type Listener = ();

    async fn listen(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_address(&self, (): &()) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept(&self, (): &()) -> io::Result<(DuplexStream, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _: &str) -> io::Result<DuplexStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    fn spawn_local(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn now(&self) -> Now {
        Now { mono: Instant::ZERO, wall: Timestamp(0) }
    }

    fn random(&self) -> io::Result<u128> {
        Ok(0)
    }
}
