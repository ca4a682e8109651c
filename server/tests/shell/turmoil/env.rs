//! What the shell and the client ask of their runtime, from turmoil.

use std::{cell::Cell, future::Future, io, net::SocketAddr, rc::Rc, time::Duration};

use tidelog_client::runtime::{Connection, EndTask, Runtime, Work};
use tidelog_core::{
    prng::draw,
    time::{Instant, Now, Timestamp},
};
use tidelog_server::env::Env;
use turmoil::net::{TcpListener, TcpStream};

/// The runtime of one start of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeEnv {
    seed: u64,
    node: u64,
    draws: Rc<Cell<u64>>,
}

impl NodeEnv {
    /// `draws` go on over the node's starts.
    pub(crate) fn new(seed: u64, node: u64, draws: Rc<Cell<u64>>) -> Self {
        Self { seed, node, draws }
    }
}

impl Env for NodeEnv {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn listen(&self, address: &str) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    fn local_address(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    fn spawn_local(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn now(&self) -> Now {
        Now { mono: mono(), wall: wall() }
    }

    fn random(&self) -> io::Result<u128> {
        let draw = || {
            self.draws.set(self.draws.get() + 1);
            u128::from(draw(self.seed, RANDOM, self.node, self.draws.get()))
        };
        Ok(draw() << 64 | draw())
    }
}

/// The runtime of clients.
#[derive(Debug)]
pub(crate) struct ClientRuntime;

impl Runtime for ClientRuntime {
    fn connect<'a>(&'a self, address: &'a str) -> Work<'a, io::Result<Connection>> {
        Box::pin(async move {
            let (input, output) = TcpStream::connect(address).await?.into_split();
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
        mono()
    }

    fn wall(&self) -> Timestamp {
        wall()
    }
}

fn mono() -> Instant {
    let elapsed = turmoil::sim_elapsed().expect("asked by a node");
    Instant(u64::try_from(elapsed.as_nanos()).expect("a run of some minutes"))
}

fn wall() -> Timestamp {
    let since = turmoil::since_epoch().expect("asked by a node");
    Timestamp(i64::try_from(since.as_millis()).expect("in this century"))
}

/// The stream of a node's chance.
const RANDOM: u64 = 0x5e11;
