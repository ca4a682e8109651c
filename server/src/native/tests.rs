//! One connection over a pipe, with a node that answers when the test says so.

use std::{cell::Cell, future::Future, net::SocketAddr, pin::Pin, rc::Rc, time::Duration};

use bytes::Bytes;
use tidelog_client::wire::{
    self, Answered, Correlation, Endpoint, Frame, FrameReader, FromNode, Hello, Refusal, ToNode,
};
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{BrokerEpoch, NodeId, PartitionId, TopicName},
    limits,
    message::*,
    offset::Offset,
    record::{BatchBuilder, BatchOptions},
    time::{self, Timestamp},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::{mpsc, oneshot, watch},
};

use super::{
    Shared,
    connection::{Asked, Asking, Call, serve},
};
use crate::{
    driver::Stopped,
    env::Pipes,
    listener::{HostPort, Stop},
    peers::PeerEvent,
    switch::Switch,
};

type Question = (Request, oneshot::Sender<Response>);

/// The client's end of a connection that is being served, and the node behind it.
struct Peer {
    stream: DuplexStream,
    frames: FrameReader,
    questions: mpsc::UnboundedReceiver<Question>,
    stop: Switch,
    ended: Rc<Cell<bool>>,
    ready: watch::Sender<bool>,
    events: mpsc::UnboundedReceiver<PeerEvent>,
}

/// A node that answers what the test says.
struct Script {
    questions: mpsc::UnboundedSender<Question>,
    events: mpsc::UnboundedSender<PeerEvent>,
    is_ready: watch::Receiver<bool>,
}

impl Asked for Script {
    fn ask(&self, request: Request) -> Asking {
        let questions = self.questions.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            questions.send((request, reply)).map_err(|_| Stopped)?;
            Ok(Box::pin(async move { answer.await.map_err(|_| Stopped) }) as Call)
        })
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = Result<(), Stopped>>>> {
        let mut is_ready = self.is_ready.clone();
        Box::pin(async move { is_ready.wait_for(|&ready| ready).await.map(drop).map_err(|_| Stopped) })
    }

    fn tell(&self, event: PeerEvent) {
        let _ = self.events.send(event);
    }
}

impl Peer {
    /// A connection with a pipe that holds this much in each direction.
    fn connect(pipe_bytes: usize) -> Self {
        let (stream, served) = tokio::io::duplex(pipe_bytes);
        let (questions_in, questions) = mpsc::unbounded_channel::<Question>();
        let (events_in, events) = mpsc::unbounded_channel();
        let (ready, is_ready) = watch::channel(true);
        let script = Script { questions: questions_in, events: events_in, is_ready };
        let (switch, stop) = Stop::new();
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        tokio::task::spawn_local(async move {
            let shared = Shared::new(NodeId(3), "cluster".into(), "/data".into());
            let advertised = HostPort { host: "log3.example".into(), port: 9192 };
            let peer = SocketAddr::from(([127, 0, 0, 1], 5000));
            serve(&shared, &Pipes, &script, &stop, &advertised, served, peer).await;
            end.set(true);
        });
        Self {
            stream,
            frames: FrameReader::new(limits::FRAME_BYTES_MAX),
            questions,
            stop: switch,
            ended,
            ready,
            events,
        }
    }

    async fn greeted() -> Self {
        let mut peer = Self::connect(64 << 10);
        peer.greet().await;
        peer
    }

    async fn greet(&mut self) {
        self.write(&wire::preamble(wire::VERSION)).await;
        self.send(0, &ToNode::Hello(Hello { software: "test/1\n".into(), features: 1, ..Hello::default() })).await;
        let FromNode::Hello(hello) = self.answer().await.message else { panic!("hello is answered") };
        assert_eq!((hello.node, hello.cluster_id.as_str(), hello.features), (NodeId(3), "cluster", 0));
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the connection is open");
    }

    async fn send(&mut self, correlation: u64, message: &ToNode) {
        let frame = wire::encode_to_node(Correlation(correlation), message).expect("it fits");
        self.write(&frame.to_bytes()).await;
    }

    async fn request(&mut self, correlation: u64, request: Request) {
        self.send(correlation, &ToNode::Request(request)).await;
    }

    async fn answer(&mut self) -> Answered {
        loop {
            if let Some(frame) = self.frames.next().expect("the node sends frames") {
                return wire::decode_from_node(frame).expect("the node sends messages");
            }
            let read = self.stream.read_buf(self.frames.room()).await.expect("the connection is open");
            assert!(read > 0, "the node has closed the connection");
        }
    }

    /// The answer, which must be a refusal.
    async fn refusal(&mut self) -> (Correlation, ErrorCode) {
        let Answered { correlation, message, .. } = self.answer().await;
        match message {
            FromNode::Refused(Refusal { error, .. }) => (correlation, error),
            other => panic!("refused is expected, not {other:?}"),
        }
    }

    /// Nothing comes any more.
    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.is_ok() && self.ended.get()
    }

    async fn question(&mut self) -> Question {
        self.questions.recv().await.expect("the connection is served")
    }
}

/// Runs a test on one thread, with time that passes when nothing else can happen.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime can be made"), test);
}

/// Lets everything happen that can happen at this time.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

fn topic() -> TopicRef {
    TopicRef::Name(TopicName::new("t"))
}

fn produce(acks: Acks, value: &[u8]) -> Request {
    let mut builder = BatchBuilder::new();
    builder.append(0, Timestamp(0), None, Some(value), []);
    let batch = Ok(builder.build(&BatchOptions::default()));
    let partitions = vec![ProducePartition { topic: topic(), partition: PartitionId(0), batch }];
    Request::Produce(ProduceRequest { acks, timeout: time::Duration::from_secs(1), partitions })
}

fn produced(error: ErrorCode) -> Response {
    let partition = ProducedPartition {
        topic: topic(),
        partition: PartitionId(0),
        error,
        base_offset: Offset(7),
        log_append_time: Timestamp::NONE,
        log_start: Offset(0),
    };
    Response::Produce(ProduceResponse { partitions: vec![partition] })
}

fn fetch(replica: Option<NodeId>) -> Request {
    Request::Fetch(FetchRequest {
        max_wait: time::Duration::from_secs(300),
        min_bytes: 1,
        max_bytes: usize::MAX >> 32,
        isolation: IsolationLevel::ReadUncommitted,
        rack: None,
        replica: replica.map(|node| (node, BrokerEpoch(1))),
        partitions: vec![FetchPartition {
            topic: topic(),
            partition: PartitionId(0),
            current_leader_epoch: LeaderEpoch::NONE,
            offset: Offset(0),
            last_fetched_epoch: LeaderEpoch::NONE,
            log_start: Offset::NONE,
            max_bytes: 1 << 20,
        }],
    })
}

fn fetched(records: Bytes) -> Response {
    let partition = FetchedPartition {
        topic: topic(),
        partition: PartitionId(0),
        error: ErrorCode::None,
        high_watermark: Offset(1),
        last_stable_offset: Offset(1),
        log_start: Offset(0),
        diverging: None,
        aborted: None,
        preferred_read_replica: None,
        records: if records.is_empty() { Records::Empty } else { Records::Bytes(records) },
    };
    Response::Fetch(FetchResponse { partitions: vec![partition] })
}

fn cluster() -> Response {
    let broker = |node, native: &str| {
        let endpoints = Endpoints { native: native.into(), kafka: String::new() };
        BrokerInfo { node: NodeId(node), rack: None, fenced: false, endpoints }
    };
    Response::DescribeCluster(DescribeClusterResponse {
        cluster_id: "cluster".into(),
        controller: NodeId(3),
        brokers: vec![broker(3, ""), broker(4, "log4.example:9193"), broker(5, "")],
    })
}

#[test]
fn the_preamble_is_answered_before_any_greeting() {
    run(async {
        let mut peer = Peer::connect(64 << 10);
        peer.write(&wire::preamble(wire::VERSION)).await;
        let mut preamble = [0; wire::PREAMBLE_BYTES];
        peer.stream.read_exact(&mut preamble).await.expect("the node's own");
        assert_eq!(preamble, wire::preamble(wire::VERSION));
    });
}

#[test]
fn answers_come_in_the_order_in_which_they_are_there() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.request(1, fetch(None)).await;
        peer.request(2, produce(Acks::All, b"a")).await;
        peer.request(3, Request::DescribeCluster).await;
        let (first, fetch_reply) = peer.question().await;
        let (second, produce_reply) = peer.question().await;
        let (third, cluster_reply) = peer.question().await;
        // In the order of the requests, and all of them before any is answered.
        assert!(matches!((first, second, third), (Request::Fetch(_), Request::Produce(_), Request::DescribeCluster)));
        cluster_reply.send(cluster()).expect("it is waited for");
        let answered = peer.answer().await;
        assert_eq!(answered.correlation, Correlation(3));
        let here = Endpoint { host: "log3.example".into(), port: 9192 };
        let there = Endpoint { host: "log4.example".into(), port: 9193 };
        let endpoints: Vec<_> = answered.surroundings.endpoints.into_iter().collect();
        assert_eq!(endpoints, [(NodeId(3), here), (NodeId(4), there)]);
        produce_reply.send(produced(ErrorCode::None)).expect("it is waited for");
        assert_eq!(peer.answer().await.correlation, Correlation(2));
        fetch_reply.send(fetched(Bytes::new())).expect("it is waited for");
        assert_eq!(peer.answer().await.correlation, Correlation(1));
    });
}

#[test]
fn whatever_does_not_greet_is_shown_out() {
    run(async {
        let mut other = Peer::connect(64 << 10);
        other.write(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(other.is_closed().await);

        let mut rude = Peer::connect(64 << 10);
        rude.write(&wire::preamble(wire::VERSION)).await;
        rude.request(5, Request::DescribeCluster).await;
        assert_eq!(rude.refusal().await, (Correlation(5), ErrorCode::InvalidRequest));
        assert!(rude.is_closed().await);

        let mut huge = Peer::connect(64 << 10);
        huge.write(&wire::preamble(wire::VERSION)).await;
        let length = u32::try_from(limits::FIRST_FRAME_BYTES_MAX + 1).expect("small");
        huge.write(&[length.to_le_bytes(), 0u32.to_le_bytes()].concat()).await;
        assert!(huge.is_closed().await);
    });
}

#[test]
fn a_peer_that_stops_half_way_is_given_up() {
    run(async {
        // Time is only let pass where nothing else can happen: each of these ends because its time is over.
        let mut silent = Peer::connect(64 << 10);
        assert!(silent.is_closed().await);
        let mut half = Peer::greeted().await;
        half.write(&[100, 0, 0]).await;
        assert!(half.is_closed().await);
        let mut idle = Peer::greeted().await;
        assert!(idle.is_closed().await);
    });
}

#[test]
fn a_request_without_sense_is_refused_and_the_connection_goes_on() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.send(1, &ToNode::Hello(Hello::default())).await;
        assert_eq!(peer.refusal().await, (Correlation(1), ErrorCode::InvalidRequest));
        peer.request(2, fetch(Some(NodeId(9)))).await;
        assert_eq!(peer.refusal().await, (Correlation(2), ErrorCode::ClusterAuthorizationFailed));
        let frame = wire::encode_request(Correlation(3), &produce(Acks::All, b"a")).expect("it fits").to_bytes();
        // The header counts more bytes of records than there are.
        let length = u32::try_from(frame.len() - 5).expect("small");
        let cut = [&length.to_le_bytes()[..], &frame[4..frame.len() - 1]].concat();
        peer.write(&cut).await;
        assert_eq!(peer.refusal().await, (Correlation(3), ErrorCode::InvalidRequest));
        peer.request(4, Request::DescribeCluster).await;
        let (_, reply) = peer.question().await;
        reply.send(cluster()).expect("it is waited for");
        assert_eq!(peer.answer().await.correlation, Correlation(4));
    });
}

#[test]
fn a_frame_that_is_no_message_ends_the_connection() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.write(&[[12, 0, 0, 0], [8, 0, 0, 0], [0xff; 4], [0xff; 4]].concat()).await;
        assert!(peer.is_closed().await);
    });
}

#[test]
fn requests_without_acknowledgement_have_no_answer() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.request(1, produce(Acks::None, b"a")).await;
        peer.question().await.1.send(produced(ErrorCode::None)).expect("it is waited for");
        peer.request(2, Request::DescribeCluster).await;
        peer.question().await.1.send(cluster()).expect("it is waited for");
        assert_eq!(peer.answer().await.correlation, Correlation(2));
        peer.request(3, produce(Acks::None, b"a")).await;
        peer.question().await.1.send(produced(ErrorCode::NotLeaderOrFollower)).expect("it is waited for");
        assert!(peer.is_closed().await, "its producer has to ask for metadata again");
    });
}

#[test]
fn what_is_under_way_is_bounded() {
    run(async {
        let mut peer = Peer::connect(8 << 20);
        peer.greet().await;
        for correlation in 0..limits::NATIVE_REQUESTS_IN_FLIGHT_MAX as u64 + 50 {
            peer.request(correlation, Request::DescribeCluster).await;
        }
        settle().await;
        let mut waiting = Vec::new();
        while let Ok((_, reply)) = peer.questions.try_recv() {
            waiting.push(reply);
        }
        assert_eq!(waiting.len(), limits::NATIVE_REQUESTS_IN_FLIGHT_MAX);
        waiting.pop().expect("many").send(cluster()).expect("it is waited for");
        peer.answer().await;
        settle().await;
        assert!(peer.questions.try_recv().is_ok(), "one answer makes room for one request");
        assert!(peer.questions.try_recv().is_err());
    });
}

#[test]
fn fetches_under_way_are_bounded_and_carry_no_more_than_they_may() {
    run(async {
        let mut peer = Peer::connect(8 << 20);
        peer.greet().await;
        for correlation in 0..limits::NATIVE_FETCHES_IN_FLIGHT_MAX as u64 + 1 {
            peer.request(correlation, fetch(None)).await;
        }
        settle().await;
        let mut waiting = Vec::new();
        while let Ok((request, reply)) = peer.questions.try_recv() {
            let Request::Fetch(fetch) = request else { panic!("only fetches were sent") };
            assert_eq!(fetch.max_bytes, limits::NATIVE_FETCH_BYTES_MAX);
            waiting.push(reply);
        }
        assert_eq!(waiting.len(), limits::NATIVE_FETCHES_IN_FLIGHT_MAX);
    });
}

#[test]
fn a_reader_that_does_not_read_is_not_answered_further_and_ended_at_last() {
    run(async {
        let mut peer = Peer::connect(16 << 10);
        peer.greet().await;
        for correlation in 0..4 {
            peer.request(correlation, fetch(None)).await;
        }
        for _ in 0..4 {
            let records = vec![0; 4 << 20].into();
            peer.question().await.1.send(fetched(records)).expect("it is waited for");
        }
        tokio::time::sleep(Duration::from_nanos(limits::WRITE_STALL_MAX.0) + Duration::from_secs(1)).await;
        assert!(peer.ended.get());
    });
}

#[test]
fn large_answers_arrive_whole_through_a_narrow_pipe() {
    run(async {
        let mut peer = Peer::connect(5000);
        peer.greet().await;
        let records: Bytes = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        peer.request(1, fetch(None)).await;
        peer.question().await.1.send(fetched(records.clone())).expect("it is waited for");
        let FromNode::Response(Response::Fetch(fetch)) = peer.answer().await.message else { panic!("fetched") };
        assert!(fetch.partitions[0].records == Records::Bytes(records));
    });
}

#[test]
fn when_the_peer_goes_its_produces_are_seen_through_and_its_fetches_dropped() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.request(1, fetch(None)).await;
        peer.request(2, produce(Acks::All, b"a")).await;
        let (_, fetch_reply) = peer.question().await;
        let (_, produce_reply) = peer.question().await;
        peer.stream.shutdown().await.expect("a pipe can be shut");
        settle().await;
        assert!(!peer.ended.get() && !produce_reply.is_closed());
        produce_reply.send(produced(ErrorCode::None)).expect("it is waited for");
        assert_eq!(peer.answer().await.correlation, Correlation(2));
        assert!(peer.is_closed().await);
        assert!(fetch_reply.is_closed(), "nobody waits for the fetch");
    });
}

#[test]
fn a_node_that_stops_finishes_what_it_has_begun() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.request(1, produce(Acks::All, b"a")).await;
        let (_, reply) = peer.question().await;
        peer.stop.turn_on();
        settle().await;
        peer.request(2, Request::DescribeCluster).await;
        reply.send(produced(ErrorCode::None)).expect("it is waited for");
        assert_eq!(peer.answer().await.correlation, Correlation(1));
        assert!(peer.is_closed().await);
        assert!(peer.questions.try_recv().is_err(), "no request is begun any more");
    });
}

#[test]
fn an_answer_that_fits_no_frame_is_refused() {
    run(async {
        let mut peer = Peer::greeted().await;
        peer.request(1, fetch(None)).await;
        let records = vec![0; limits::FRAME_BYTES_MAX].into();
        peer.question().await.1.send(fetched(records)).expect("it is waited for");
        assert_eq!(peer.refusal().await, (Correlation(1), ErrorCode::MessageTooLarge));
    });
}

#[test]
fn what_a_client_calls_itself_cannot_forge_a_log_line() {
    let frame = wire::encode_to_node(Correlation(1), &ToNode::Hello(Hello::default())).expect("it fits").to_bytes();
    let mut frames = FrameReader::new(1 << 20);
    frames.feed(&wire::preamble(wire::VERSION));
    frames.feed(&frame);
    let frame: Frame = frames.next().expect("sound").expect("whole");
    assert!(wire::decode_to_node(frame).is_ok());
    assert_eq!(super::connection::sanitised("a\nb\u{1b}[2Jé"), "a?b?[2J?");
    assert_eq!(super::connection::sanitised(&"x".repeat(1000)).len(), 64);
}

fn hello(node: Option<i32>, cluster_id: Option<&str>) -> ToNode {
    let cluster_id = cluster_id.map(str::to_owned);
    ToNode::Hello(Hello { software: "test".into(), features: 0, node: node.map(NodeId), cluster_id })
}

#[test]
fn nodes_are_let_in_before_clients_and_their_coming_and_going_is_told() {
    run(async {
        let mut client = Peer::connect(64 << 10);
        client.ready.send_replace(false);
        client.write(&wire::preamble(wire::VERSION)).await;
        client.send(0, &hello(None, Some("cluster"))).await;
        let mut node = Peer::connect(64 << 10);
        node.ready.send_replace(false);
        node.write(&wire::preamble(wire::VERSION)).await;
        node.send(0, &hello(Some(2), Some("cluster"))).await;
        assert!(matches!(node.answer().await.message, FromNode::Hello(_)));
        assert!(matches!(node.events.recv().await, Some(PeerEvent::Greeted { node: NodeId(2) })));
        node.request(1, Request::Peer(PeerRequest::Ping)).await;
        let (request, reply) = node.question().await;
        assert_eq!(request, Request::Peer(PeerRequest::Ping));
        reply.send(Response::Peer(PeerResponse::Pong)).expect("somebody waits");
        assert_eq!(node.answer().await.message, FromNode::Response(Response::Peer(PeerResponse::Pong)));
        // A node that stops answers other nodes to the end.
        node.stop.turn_on();
        node.request(2, Request::Peer(PeerRequest::Ping)).await;
        let (_, reply) = node.question().await;
        reply.send(Response::Peer(PeerResponse::Pong)).expect("somebody waits");
        assert_eq!(node.answer().await.correlation, Correlation(2));
        drop(node.stream);
        assert!(matches!(node.events.recv().await, Some(PeerEvent::Disconnected { node: NodeId(2) })));
        let early = tokio::time::timeout(Duration::from_secs(60), client.answer()).await;
        assert!(early.is_err(), "nobody can be served yet");
        client.ready.send_replace(true);
        assert!(matches!(client.answer().await.message, FromNode::Hello(_)));
        // What only nodes ask is refused to it.
        client.request(1, Request::Peer(PeerRequest::Ping)).await;
        assert_eq!(client.refusal().await, (Correlation(1), ErrorCode::ClusterAuthorizationFailed));
        assert!(client.events.try_recv().is_err(), "a client's coming is not told");
    });
}

#[test]
fn strangers_are_turned_away() {
    run(async {
        let cases = [
            (hello(Some(2), Some("other")), ErrorCode::InconsistentClusterId),
            (hello(None, Some("other")), ErrorCode::InconsistentClusterId),
            (hello(Some(3), Some("cluster")), ErrorCode::InvalidRequest),
        ];
        for (hello, error) in cases {
            let mut peer = Peer::connect(64 << 10);
            peer.write(&wire::preamble(wire::VERSION)).await;
            peer.send(0, &hello).await;
            assert_eq!(peer.refusal().await, (Correlation(0), error));
            assert!(peer.is_closed().await);
        }
    });
}
