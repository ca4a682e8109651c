//! Links over pipes and a clock that jumps, with far ends that do what the test says.

use std::{cell::RefCell, collections::BTreeMap, future::Future, io, net::SocketAddr, rc::Rc};

use tidelog_client::wire::{
    self, Correlation, FrameReader, FromNode, Hello, HelloReply, Refusal, Surroundings, ToNode,
};
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{CallId, NodeId},
    limits,
    message::{BeginEpochRequest, CallError, EpochResponse, ErrorCode, PeerRequest, PeerResponse, Request, Response},
    time::{Duration, Instant, Now, Timestamp},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::LocalSet,
};

use super::{CALLS_OPEN_MAX, Membership, PeerEvent, Peers};
use crate::env::Env;

/// Pipes between addresses.
#[derive(Clone)]
struct Net {
    zero: tokio::time::Instant,
    listeners: Rc<RefCell<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>>,
}

impl Net {
    /// Somebody listens at the address until the end is dropped.
    fn listen(&self, address: &str) -> mpsc::UnboundedReceiver<DuplexStream> {
        let (sender, queue) = mpsc::unbounded_channel();
        self.listeners.borrow_mut().insert(address.to_owned(), sender);
        queue
    }
}

impl Env for Net {
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

    async fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listeners = self.listeners.borrow();
        listeners.get(address).ok_or_else(refused)?.send(far).map_err(|_| refused())?;
        Ok(near)
    }

    async fn sleep(&self, span: std::time::Duration) {
        tokio::time::sleep(span).await;
    }

    fn spawn_local(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(task);
    }

    fn now(&self) -> Now {
        let since = tokio::time::Instant::now() - self.zero;
        Now { mono: Instant(since.as_nanos() as u64), wall: Timestamp(0) }
    }

    fn random(&self) -> io::Result<u128> {
        Ok(0)
    }
}

/// Node 1's calls, to node 2 at "b".
struct Near {
    net: Net,
    peers: Peers<Net>,
    events: mpsc::UnboundedReceiver<PeerEvent>,
    calls: u64,
}

impl Near {
    fn new() -> Self {
        let net = Net { zero: tokio::time::Instant::now(), listeners: Rc::default() };
        let (sender, events) = mpsc::unbounded_channel();
        let membership =
            Membership { cluster_id: "cluster".to_owned(), peers: BTreeMap::from([(NodeId(2), "b".to_owned())]) };
        Self { peers: Peers::new(net.clone(), NodeId(1), membership, sender), net, events, calls: 0 }
    }

    fn call(&mut self, request: PeerRequest, millis: u64) -> CallId {
        let call = CallId(self.calls);
        self.calls += 1;
        self.peers.call(call, NodeId(2), request, Duration::from_millis(millis));
        call
    }

    /// The next call that ends.
    async fn ended(&mut self) -> (CallId, Result<PeerResponse, CallError>) {
        match self.events.recv().await.expect("a link is there") {
            PeerEvent::CallEnded { call, outcome } => (call, outcome),
            other => panic!("not {other:?}"),
        }
    }

    fn now(&self) -> Duration {
        self.net.now().mono.since(Instant::ZERO)
    }
}

/// The far end of one connection.
struct Far {
    stream: DuplexStream,
    frames: FrameReader,
}

impl Far {
    /// Takes a connection and its greeting.
    async fn accept(queue: &mut mpsc::UnboundedReceiver<DuplexStream>) -> (Self, Hello) {
        let stream = queue.recv().await.expect("somebody connects");
        let mut far = Self { stream, frames: FrameReader::new(limits::FRAME_BYTES_MAX) };
        far.stream.write_all(&wire::preamble(wire::VERSION)).await.expect("open");
        match far.next().await.expect("a greeting").1 {
            ToNode::Hello(hello) => (far, hello),
            ToNode::Request(other) => panic!("not {other:?}"),
        }
    }

    /// Takes a connection and answers its greeting.
    async fn greeted(queue: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Self {
        let (mut far, _) = Self::accept(queue).await;
        far.welcome(2, "cluster").await;
        far
    }

    async fn welcome(&mut self, node: i32, cluster_id: &str) {
        let reply = HelloReply {
            software: String::new(),
            features: 0,
            node: NodeId(node),
            cluster_id: cluster_id.to_owned(),
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            requests_in_flight_max: 10,
        };
        self.say(Correlation(0), &FromNode::Hello(reply)).await;
    }

    async fn say(&mut self, correlation: Correlation, message: &FromNode) {
        let frame = wire::encode_from_node(correlation, message, &Surroundings::default()).expect("fits");
        self.stream.write_all(&frame.to_bytes()).await.expect("open");
    }

    async fn answer(&mut self, correlation: Correlation, response: PeerResponse) {
        self.say(correlation, &FromNode::Response(Response::Peer(response))).await;
    }

    /// What comes next; nothing once the connection has ended.
    async fn next(&mut self) -> Option<(Correlation, ToNode)> {
        loop {
            if let Some(frame) = self.frames.next().expect("frames") {
                let asked = wire::decode_to_node(frame).expect("sound");
                return Some((asked.correlation, asked.message.expect("right")));
            }
            if self.stream.read_buf(self.frames.room()).await.expect("open") == 0 {
                return None;
            }
        }
    }

    async fn asked(&mut self) -> (Correlation, PeerRequest) {
        match self.next().await.expect("a request") {
            (correlation, ToNode::Request(Request::Peer(request))) => (correlation, request),
            other => panic!("not {other:?}"),
        }
    }
}

fn begin_epoch(epoch: i32) -> PeerRequest {
    PeerRequest::BeginEpoch(BeginEpochRequest { leader: NodeId(1), epoch: LeaderEpoch(epoch), leader_endpoint: None })
}

fn epoch(epoch: i32) -> PeerResponse {
    PeerResponse::Epoch(EpochResponse {
        error: ErrorCode::None,
        epoch: LeaderEpoch(epoch),
        leader: None,
        leader_endpoint: None,
    })
}

/// Runs a test on one thread, with a clock that jumps to the next timer when nothing else is to be done.
fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn calls_go_out_in_order_and_are_answered_in_any() {
    run(async {
        let mut near = Near::new();
        let mut queue = near.net.listen("b");
        let calls: Vec<CallId> = (0..3).map(|n| near.call(begin_epoch(n), 1_000)).collect();
        let (mut far, hello) = Far::accept(&mut queue).await;
        assert_eq!((hello.node, hello.cluster_id.as_deref()), (Some(NodeId(1)), Some("cluster")));
        far.welcome(2, "cluster").await;
        let mut asked = Vec::new();
        for n in 0..3 {
            let (correlation, request) = far.asked().await;
            assert_eq!(request, begin_epoch(n));
            asked.push(correlation);
        }
        for n in [2, 0, 1] {
            far.answer(asked[n], epoch(n as i32)).await;
            assert_eq!(near.ended().await, (calls[n], Ok(epoch(n as i32))));
        }
        // The connection stays.
        near.call(PeerRequest::Ping, 1_000);
        let (correlation, _) = far.asked().await;
        far.answer(correlation, PeerResponse::Pong).await;
        assert_eq!(near.ended().await.1, Ok(PeerResponse::Pong));
    });
}

#[test]
fn nobody_there_is_known_at_once_and_who_comes_is_found_at_once() {
    run(async {
        let mut near = Near::new();
        near.call(PeerRequest::Ping, 60_000);
        assert_eq!(near.ended().await.1, Err(CallError::Refused));
        near.call(PeerRequest::Ping, 60_000);
        assert_eq!(near.ended().await.1, Err(CallError::Refused));
        assert_eq!(near.now(), Duration::ZERO, "the first retry does not wait");
        for _ in 0..20 {
            near.call(PeerRequest::Ping, 60_000);
            assert_eq!(near.ended().await.1, Err(CallError::Refused));
        }
        let waited = near.now();
        assert!(waited > Duration::from_millis(150) && waited < Duration::from_secs(1), "later ones do, a moment each");
        // It has come, and says so itself.
        let mut queue = near.net.listen("b");
        let before = near.now();
        near.call(PeerRequest::Ping, 60_000);
        tokio::task::yield_now().await;
        near.peers.seen(NodeId(2));
        let mut far = Far::greeted(&mut queue).await;
        let (correlation, _) = far.asked().await;
        far.answer(correlation, PeerResponse::Pong).await;
        assert_eq!(near.ended().await.1, Ok(PeerResponse::Pong));
        assert_eq!(near.now(), before);
    });
}

#[test]
fn a_connection_that_breaks_loses_its_calls_at_once_and_the_next_call_gets_another() {
    run(async {
        let mut near = Near::new();
        let mut queue = near.net.listen("b");
        near.call(begin_epoch(1), 60_000);
        near.call(begin_epoch(2), 60_000);
        let mut far = Far::greeted(&mut queue).await;
        far.asked().await;
        far.asked().await;
        drop(far);
        assert_eq!(near.ended().await, (CallId(0), Err(CallError::Lost)));
        assert_eq!(near.ended().await, (CallId(1), Err(CallError::Lost)));
        near.call(PeerRequest::Ping, 60_000);
        let mut far = Far::greeted(&mut queue).await;
        let (correlation, _) = far.asked().await;
        far.answer(correlation, PeerResponse::Pong).await;
        assert_eq!(near.ended().await, (CallId(2), Ok(PeerResponse::Pong)));
        assert_eq!(near.now(), Duration::ZERO);
    });
}

#[test]
fn a_silent_connection_is_probed_and_replaced() {
    run(async {
        let mut near = Near::new();
        let mut queue = near.net.listen("b");
        near.call(begin_epoch(1), 100);
        let mut far = Far::greeted(&mut queue).await;
        let (late, _) = far.asked().await;
        assert_eq!(near.ended().await, (CallId(0), Err(CallError::TimedOut)));
        let (probe, request) = far.asked().await;
        assert_eq!(request, PeerRequest::Ping);
        // Alive: the connection stays, and the late answer is dropped.
        far.answer(probe, PeerResponse::Pong).await;
        far.answer(late, epoch(1)).await;
        near.call(begin_epoch(2), 100);
        let (_, request) = far.asked().await;
        assert_eq!(request, begin_epoch(2));
        assert_eq!(near.ended().await, (CallId(1), Err(CallError::TimedOut)));
        // Not alive any more: what is asked meanwhile is lost with it.
        near.call(begin_epoch(3), 60_000);
        assert_eq!(near.ended().await, (CallId(2), Err(CallError::Lost)));
        assert!(near.now() < Duration::from_millis(2_300));
        near.call(begin_epoch(4), 60_000);
        let mut far = Far::greeted(&mut queue).await;
        assert_eq!(far.asked().await.1, begin_epoch(4));
    });
}

#[test]
fn the_time_of_a_call_covers_connecting() {
    run(async {
        let mut near = Near::new();
        // Connects, but nobody ever greets.
        let _queue = near.net.listen("b");
        near.call(PeerRequest::Ping, 300);
        assert_eq!(near.ended().await.1, Err(CallError::TimedOut));
        assert!(near.now() >= Duration::from_millis(300) && near.now() < Duration::from_millis(310));
    });
}

#[test]
fn another_node_or_another_cluster_is_as_good_as_nobody() {
    run(async {
        for (node, cluster_id) in [(3, "cluster"), (2, "other")] {
            let mut near = Near::new();
            let mut queue = near.net.listen("b");
            near.call(PeerRequest::Ping, 60_000);
            let (mut far, _) = Far::accept(&mut queue).await;
            far.welcome(node, cluster_id).await;
            assert_eq!(near.ended().await.1, Err(CallError::Refused));
            assert!(far.next().await.is_none(), "and the connection is closed");
        }
        let mut near = Near::new();
        let mut queue = near.net.listen("b");
        near.call(PeerRequest::Ping, 60_000);
        let (mut far, _) = Far::accept(&mut queue).await;
        let refusal = Refusal { error: ErrorCode::InconsistentClusterId, message: "another".to_owned() };
        far.say(Correlation(0), &FromNode::Refused(refusal)).await;
        assert_eq!(near.ended().await.1, Err(CallError::Refused));
    });
}

#[test]
fn a_peer_that_moves_is_followed() {
    run(async {
        let mut near = Near::new();
        let (mut old, mut new) = (near.net.listen("b"), near.net.listen("c"));
        near.call(begin_epoch(1), 60_000);
        let mut far = Far::greeted(&mut old).await;
        far.asked().await;
        near.peers.moved(NodeId(2), "b".to_owned());
        near.peers.moved(NodeId(2), "c".to_owned());
        assert_eq!(near.ended().await, (CallId(0), Err(CallError::Lost)));
        near.call(begin_epoch(2), 60_000);
        let mut far = Far::greeted(&mut new).await;
        assert_eq!(far.asked().await.1, begin_epoch(2));
    });
}

#[test]
fn an_answer_of_another_kind_ends_the_connection() {
    run(async {
        let mut near = Near::new();
        let mut queue = near.net.listen("b");
        for handed_on in [false, true] {
            let request = match handed_on {
                true => PeerRequest::Forward(Box::new(Request::DescribeCluster)),
                false => PeerRequest::Ping,
            };
            near.call(request, 60_000);
            let mut far = Far::greeted(&mut queue).await;
            let (correlation, _) = far.asked().await;
            let other = Request::Metadata(tidelog_core::message::MetadataRequest {
                topics: None,
                allow_auto_topic_creation: false,
            });
            let response = match handed_on {
                true => PeerResponse::Forward(Box::new(other.refuse(ErrorCode::None))),
                false => epoch(1),
            };
            far.answer(correlation, response).await;
            assert_eq!(near.ended().await.1, Err(CallError::Lost));
        }
    });
}

#[test]
fn calls_that_wait_are_bounded() {
    run(async {
        let mut near = Near::new();
        let _queue = near.net.listen("b");
        for _ in 0..CALLS_OPEN_MAX {
            near.call(PeerRequest::Ping, 1_000);
        }
        let over = near.call(PeerRequest::Ping, 1_000);
        assert_eq!(near.ended().await, (over, Err(CallError::TimedOut)));
        for _ in 0..CALLS_OPEN_MAX {
            assert_eq!(near.ended().await.1, Err(CallError::TimedOut));
        }
        let again = near.call(PeerRequest::Ping, 1_000);
        assert_eq!(near.ended().await, (again, Err(CallError::TimedOut)));
        assert!(near.now() >= Duration::from_secs(2));
    });
}
