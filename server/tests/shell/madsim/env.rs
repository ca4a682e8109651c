//! What the shell and the client ask of their runtime, from madsim.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    task::{Poll, Waker},
    time::{Duration, UNIX_EPOCH},
};

use madsim::{
    net::{TcpListener, TcpStream},
    task,
    time::TimeHandle,
};
use tidelog_client::runtime::{Connection, EndTask, Runtime, Work};
use tidelog_core::time::{Instant, Now, Timestamp};
use tidelog_server::env::Env;

/// The runtime of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeEnv;

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
        sleep(span).await;
    }

    fn spawn_local(&self, work: impl Future<Output = ()> + 'static) {
        drop(task::spawn_local(work));
    }

    fn now(&self) -> Now {
        Now { mono: mono(), wall: wall() }
    }

    fn random(&self) -> io::Result<u128> {
        Ok(u128::from(madsim::rand::random::<u64>()) << 64 | u128::from(madsim::rand::random::<u64>()))
    }
}

/// The runtime of clients.
#[derive(Debug)]
pub(crate) struct ClientRuntime;

impl Runtime for ClientRuntime {
    fn connect<'a>(&'a self, address: &'a str) -> Work<'a, io::Result<Connection>> {
        Box::pin(async move {
            let (input, output) = tokio::io::split(TcpStream::connect(address).await?);
            Ok(Connection { input: Box::new(input), output: Box::new(output) })
        })
    }

    fn sleep(&self, span: Duration) -> Work<'static, ()> {
        Box::pin(sleep(span))
    }

    fn spawn(&self, work: Work<'static, ()>) -> EndTask {
        let task = task::spawn(work).abort_handle();
        Box::new(move || task.abort())
    }

    fn now(&self) -> Instant {
        mono()
    }

    fn wall(&self) -> Timestamp {
        wall()
    }
}

/// madsim's own sleep sets a timer anew at every poll, and none is ever taken away: a wait of ten minutes that is polled at
/// each message would fill the memory. This one sets it once for each task that waits.
async fn sleep(span: Duration) {
    let mut sleep = std::pin::pin!(madsim::time::sleep(span));
    let mut waiting: Option<Waker> = None;
    poll_fn(|context| {
        if sleep.is_elapsed() {
            return Poll::Ready(());
        }
        if waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        waiting = Some(context.waker().clone());
        sleep.as_mut().poll(context)
    })
    .await;
}

fn mono() -> Instant {
    Instant(u64::try_from(TimeHandle::current().elapsed().as_nanos()).expect("a run of some minutes"))
}

fn wall() -> Timestamp {
    let since = TimeHandle::current().now_time().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("in this century"))
}
