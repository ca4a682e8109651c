//! One connection over a pipe, with a node that answers when the test says so.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use tidelog_core::{
    ids::{ProducerEpoch, ProducerId},
    message::*,
    offset::Offset,
    time::Timestamp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::{mpsc, oneshot},
};

use super::{
    super::{
        Shared,
        connection::{Call, Node, serve},
    },
    *,
};
use crate::{
    driver::Stopped,
    env::Pipes,
    listener::{HostPort, Stop},
    switch::Switch,
};

type Question = (Request, oneshot::Sender<Response>);

/// Hands every question to the test.
struct Script(mpsc::Sender<Question>);

impl Node for Script {
    async fn ask(&self, request: Request) -> Result<Call, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send((request, reply)).await.map_err(|_| Stopped)?;
        Ok(Box::pin(async move { answer.await.map_err(|_| Stopped) }))
    }
}

/// The client's end of a connection that is being served, and the node behind it.
struct Peer {
    stream: DuplexStream,
    questions: mpsc::Receiver<Question>,
    stop: Switch,
    ended: Rc<Cell<bool>>,
}

impl Peer {
    fn connect() -> Self {
        let (stream, served) = tokio::io::duplex(64 << 10);
        let (script, questions) = mpsc::channel(16);
        let (switch, stop) = Stop::new();
        let ended = Rc::new(Cell::new(false));
        let end = Rc::clone(&ended);
        tokio::task::spawn_local(async move {
            let shared = Shared::new(NodeId(3), "/data".into());
            let advertised = HostPort { host: "broker.example".into(), port: 9092 };
            let peer = SocketAddr::from(([127, 0, 0, 1], 5000));
            serve(&shared, &Pipes, &Script(script), &stop, &advertised, served, peer).await;
            end.set(true);
        });
        Self { stream, questions, stop: switch, ended }
    }

    async fn send(&mut self, frame: &[u8]) {
        send(&mut self.stream, frame).await;
    }

    /// The correlation id and body of the next response.
    async fn response(&mut self) -> (i32, Vec<u8>) {
        let size = self.stream.read_i32().await.expect("a response");
        let correlation = self.stream.read_i32().await.expect("a response");
        let mut body = vec![0; size as usize - 4];
        self.stream.read_exact(&mut body).await.expect("a whole response");
        (correlation, body)
    }

    async fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]).await, Ok(0))
    }

    async fn question(&mut self) -> Question {
        self.questions.recv().await.expect("the connection is served")
    }
}

async fn send(stream: &mut DuplexStream, frame: &[u8]) {
    stream.write_i32(frame.len() as i32).await.expect("the connection is open");
    stream.write_all(frame).await.expect("the connection is open");
}

/// Lets everything happen that can happen at this time.
async fn settle() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

/// Runs a test on one thread with a clock that only moves when everything waits.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), test);
}

fn frame(key: ApiKey, v: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api(key).code.to_be_bytes());
    frame.extend(v.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend([0xff, 0xff]);
    frame.extend(body);
    frame
}

/// A produce of version 3 to the partition of `t` that is numbered as the request, with `padding` bytes where a batch
/// should be.
fn produce(correlation: i32, acks: i16, padding: usize) -> Vec<u8> {
    let mut body = vec![0xff, 0xff];
    body.extend(acks.to_be_bytes());
    body.extend([0, 0, 0, 100, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1]);
    body.extend(correlation.to_be_bytes());
    body.extend((padding as i32).to_be_bytes());
    body.resize(body.len() + padding, 0);
    frame(ApiKey::Produce, 3, correlation, &body)
}

fn init_producer_id(correlation: i32) -> Vec<u8> {
    frame(ApiKey::InitProducerId, 0, correlation, &[0xff, 0xff, 0, 0, 0, 1])
}

fn api_versions(correlation: i32) -> Vec<u8> {
    frame(ApiKey::ApiVersions, 0, correlation, b"")
}

/// A fetch of version 4, of nothing.
fn fetch(correlation: i32) -> Vec<u8> {
    let mut body = vec![0xff; 4];
    body.extend([0; 13]);
    body.extend([0; 4]);
    frame(ApiKey::Fetch, 4, correlation, &body)
}

fn produced(request: &Request, error: ErrorCode) -> Response {
    let Request::Produce(request) = request else { panic!("a produce") };
    let partitions = request.partitions.iter().map(|of| ProducedPartition {
        topic: of.topic.clone(),
        partition: of.partition,
        error,
        base_offset: Offset(0),
        log_append_time: Timestamp::NONE,
        log_start: Offset(0),
    });
    Response::Produce(ProduceResponse { partitions: partitions.collect() })
}

fn acknowledge((request, reply): Question) {
    reply.send(produced(&request, ErrorCode::None)).expect("somebody waits");
}

fn producer_id() -> Response {
    Response::InitProducerId(InitProducerIdResponse {
        error: ErrorCode::None,
        producer_id: ProducerId(1),
        producer_epoch: ProducerEpoch(0),
    })
}

#[test]
fn produces_overlap_and_are_answered_in_order() {
    run(async {
        let mut peer = Peer::connect();
        for correlation in 0..3 {
            peer.send(&produce(correlation, -1, 10)).await;
        }
        let mut questions = Vec::new();
        for _ in 0..3 {
            questions.push(peer.question().await);
        }
        questions.into_iter().rev().for_each(acknowledge);
        for correlation in 0..3 {
            assert_eq!(peer.response().await.0, correlation);
        }
    });
}

/// A runtime makes a task pause after so many operations of its channels and sockets; a question must not lose its
/// place by that.
#[test]
fn order_survives_a_long_pipeline() {
    run(async {
        let Peer { mut stream, mut questions, stop: _stop, .. } = Peer::connect();
        let sending = tokio::task::spawn_local(async move {
            for correlation in 0..500 {
                send(&mut stream, &produce(correlation, -1, 10)).await;
            }
            stream
        });
        for correlation in 0..500 {
            let question = questions.recv().await.expect("a produce");
            let Request::Produce(request) = &question.0 else { panic!("a produce") };
            assert_eq!(request.partitions[0].partition, partition(correlation));
            acknowledge(question);
        }
        let mut stream = sending.await.expect("all was sent");
        for correlation in 0..500 {
            let size = stream.read_i32().await.expect("a response");
            assert_eq!(stream.read_i32().await.expect("a response"), correlation);
            stream.read_exact(&mut vec![0; size as usize - 4]).await.expect("a whole response");
        }
    });
}

#[test]
fn any_other_request_waits_for_those_before_it_and_holds_up_those_behind() {
    run(async {
        let mut peer = Peer::connect();
        for request in [produce(0, -1, 10), init_producer_id(1), produce(2, -1, 10)] {
            peer.send(&request).await;
        }
        let first = peer.question().await;
        settle().await;
        assert!(peer.questions.try_recv().is_err(), "the producer id waits for the produce");
        acknowledge(first);
        let (request, reply) = peer.question().await;
        assert!(matches!(request, Request::InitProducerId(_)));
        settle().await;
        assert!(peer.questions.try_recv().is_err(), "the second produce waits for the producer id");
        reply.send(producer_id()).expect("somebody waits");
        acknowledge(peer.question().await);
        for correlation in 0..3 {
            assert_eq!(peer.response().await.0, correlation);
        }
    });
}

#[test]
fn acks_0_is_not_answered() {
    run(async {
        let mut peer = Peer::connect();
        peer.send(&produce(0, 0, 10)).await;
        peer.send(&init_producer_id(1)).await;
        acknowledge(peer.question().await);
        peer.question().await.1.send(producer_id()).expect("somebody waits");
        assert_eq!(peer.response().await.0, 1);
    });
}

#[test]
fn acks_0_that_failed_closes_the_connection() {
    run(async {
        let mut peer = Peer::connect();
        peer.send(&produce(0, 0, 10)).await;
        let (request, reply) = peer.question().await;
        reply.send(produced(&request, ErrorCode::NotLeaderOrFollower)).expect("somebody waits");
        assert!(peer.is_closed().await);
    });
}

#[test]
fn acks_0_is_carried_out_though_its_producer_has_gone() {
    run(async {
        let mut peer = Peer::connect();
        for correlation in 0..3 {
            peer.send(&produce(correlation, 0, 10)).await;
        }
        peer.stream.shutdown().await.expect("the pipe is open");
        for _ in 0..3 {
            acknowledge(peer.question().await);
        }
        assert!(peer.is_closed().await);
    });
}

#[test]
fn a_parked_fetch_is_abandoned_when_its_reader_goes() {
    run(async {
        let mut peer = Peer::connect();
        peer.send(&fetch(0)).await;
        let (_, mut reply) = peer.question().await;
        drop(peer.stream);
        reply.closed().await;
    });
}

#[test]
fn what_is_not_served_closes_the_connection_and_api_versions_does_not() {
    run(async {
        for (code, version) in [(0i16, 2i16), (0, 12), (1, 18), (10, 0), (-1, 0), (999, 0)] {
            let mut peer = Peer::connect();
            let mut request = init_producer_id(0);
            request[..2].copy_from_slice(&code.to_be_bytes());
            request[2..4].copy_from_slice(&version.to_be_bytes());
            peer.send(&request).await;
            assert!(peer.is_closed().await, "request {code} version {version}");
        }
        let mut peer = Peer::connect();
        peer.send(&frame(ApiKey::ApiVersions, 77, 5, b"\x01\x02\x03")).await;
        assert_eq!(peer.response().await, (5, vec![0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]));
        peer.send(&api_versions(6)).await;
        let (correlation, body) = peer.response().await;
        assert_eq!((correlation, &body[..2], body.len()), (6, &[0, 0][..], 6 + 6 * APIS.len()));
    });
}

#[test]
fn sizes_are_judged_before_their_bytes_come() {
    run(async {
        let large = (1 << 20) + 1;
        for size in [-1, i32::MAX, large] {
            let mut peer = Peer::connect();
            peer.stream.write_i32(size).await.expect("the pipe is open");
            assert!(peer.is_closed().await, "{size} bytes in a first frame");
        }
        let mut peer = Peer::connect();
        peer.send(&api_versions(0)).await;
        peer.response().await;
        peer.stream.write_i32(large).await.expect("the pipe is open");
        settle().await;
        assert!(!peer.ended.get(), "a peer that speaks the protocol may send more");
    });
}

#[test]
fn too_much_under_way_stops_the_reading() {
    run(async {
        let Peer { mut stream, mut questions, stop: _stop, .. } = Peer::connect();
        let sending = tokio::task::spawn_local(async move {
            for correlation in 0..20 {
                send(&mut stream, &produce(correlation, 0, (1 << 20) - 100)).await;
            }
            stream
        });
        let mut waiting = Vec::new();
        settle().await;
        while let Ok(question) = questions.try_recv() {
            waiting.push(question);
        }
        assert_eq!(waiting.len(), 8, "8 MiB may be under way");
        assert!(!sending.is_finished());
        for _ in 0..20 {
            acknowledge(waiting.remove(0));
            settle().await;
            while let Ok(question) = questions.try_recv() {
                waiting.push(question);
            }
            assert!(waiting.len() <= 8);
        }
        assert!(sending.is_finished());
    });
}

#[test]
fn idle_and_stalled_peers_are_let_go() {
    run(async {
        let mut idle = Peer::connect();
        let before = tokio::time::Instant::now();
        assert!(idle.is_closed().await);
        assert_eq!(before.elapsed().as_secs(), 600);

        let mut stalled = Peer::connect();
        stalled.stream.write_all(&[0, 0, 0, 50, 1, 2, 3]).await.expect("the pipe is open");
        let before = tokio::time::Instant::now();
        assert!(stalled.is_closed().await);
        assert_eq!(before.elapsed().as_secs(), 30);

        // Who waits for a parked answer is not idle.
        let mut waiting = Peer::connect();
        waiting.send(&fetch(0)).await;
        let (_, _reply) = waiting.question().await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(!waiting.ended.get());
    });
}

#[test]
fn a_peer_that_does_not_read_is_let_go() {
    run(async {
        let Peer { mut stream, ended, stop: _stop, .. } = Peer::connect();
        let before = tokio::time::Instant::now();
        let asking = async {
            // Goes on until the pipe is full both ways, and for good once the other end is gone.
            while stream.write_all(&[&[0, 0, 0, 10][..], &api_versions(0)].concat()).await.is_ok() {}
        };
        tokio::time::timeout(Duration::from_secs(1000), asking).await.expect("the connection ends");
        assert!(ended.get());
        assert_eq!(before.elapsed().as_secs(), 360);
    });
}

#[test]
fn a_stopping_node_answers_what_is_under_way_and_takes_no_more() {
    run(async {
        let mut peer = Peer::connect();
        peer.send(&produce(0, -1, 10)).await;
        let question = peer.question().await;
        peer.stop.turn_on();
        settle().await;
        assert!(!peer.ended.get());
        acknowledge(question);
        assert_eq!(peer.response().await.0, 0);
        assert!(peer.is_closed().await);
    });
}
