//! [`Env`] on tokio: one thread, real sockets, the system's clocks.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tidelog_core::time::{self, Now, Timestamp};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
};

use super::Env;

/// The runtime of production. Its clock starts with it.
#[derive(Clone, Debug)]
pub struct TokioEnv {
    zero: Instant,
}

/// A bound socket that listens.
#[derive(Clone, Debug)]
pub struct TokioListener(Rc<TcpListener>);

/// Runs `main` and whatever it spawns on this thread until `main` returns.
pub fn run_local<F: Future>(main: impl FnOnce(TokioEnv) -> F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    Ok(runtime.block_on(main(TokioEnv { zero: Instant::now() })))
}

/// The signals by which a process is asked to end.
#[derive(Debug)]
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Takes the signals over from the system, which would end the process.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one that comes.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Env for TokioEnv {
    type Stream = TcpStream;
    type Listener = TokioListener;

    async fn listen(&self, address: &str) -> io::Result<TokioListener> {
        Ok(TokioListener(Rc::new(TcpListener::bind(address).await?)))
    }

    fn local_address(&self, listener: &TokioListener) -> io::Result<SocketAddr> {
        listener.0.local_addr()
    }

    async fn accept(&self, listener: &TokioListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = listener.0.accept().await?;
        // Answers are written whole, so there is nothing for Nagle's algorithm to wait for.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    fn spawn_local(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now {
            mono: time::Instant(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            wall: Timestamp(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    fn random(&self) -> io::Result<u128> {
        let mut bits = [0; 16];
        // The system gives short requests in full.
        match rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())? {
            16 => Ok(u128::from_be_bytes(bits)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
