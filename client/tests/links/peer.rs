//! A peer that greets, remembers batches and breaks connections as it is told. It decides nothing that a node decides
//! but the one thing that lost answers are about: a batch that repeats is not kept twice.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use tidelog_client::wire::{
    self, Asked, Correlation, Endpoint, FrameReader, FromNode, HelloReply, Surroundings, ToNode,
};
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName},
    limits,
    message::*,
    offset::Offset,
    record::Batch,
    time::Timestamp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// The one topic, with one partition.
pub(crate) const T: &str = "orders";
const NODE: NodeId = NodeId(4);

pub(crate) struct Peer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    released: Arc<Notify>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

/// What the peer has and what it does next.
#[derive(Default)]
pub(crate) struct Script {
    log: Vec<Batch>,
    /// After so many produce requests, breaks the connection instead of answering.
    pub(crate) break_after_produce: u32,
    /// Answers so many produce requests with bytes that are no frame.
    pub(crate) nonsense_for_produce: u32,
    /// Answers no produce request until released.
    pub(crate) hold_produce: bool,
    /// Answers every produce request with this.
    pub(crate) refuse_produce: Option<ErrorCode>,
    /// Refuses larger batches.
    pub(crate) batch_bytes_max: Option<usize>,
    /// Tells the next reader past this offset that its records are no longer in the log.
    cut_to: Option<Offset>,
}

impl Script {
    pub(crate) fn records(&self) -> i64 {
        self.log.last().map_or(0, |b| b.header().next_offset().0)
    }

    /// Forgets everything from this offset on, which a batch begins at.
    pub(crate) fn cut(&mut self, to: Offset) {
        self.log.retain(|batch| batch.header().base_offset < to);
        self.cut_to = Some(to);
    }

    fn append(&mut self, batch: &Batch) -> Offset {
        let numbers = |b: &Batch| (b.header().producer_id, b.header().producer_epoch, b.header().base_sequence);
        let same = |b: &&Batch| b.header().has_producer() && numbers(b) == numbers(batch);
        if let Some(kept) = self.log.iter().find(same) {
            return kept.header().base_offset;
        }
        let mut batch = batch.clone();
        batch.stamp(Offset(self.records()), LeaderEpoch(0));
        let base = batch.header().base_offset;
        self.log.push(batch);
        base
    }
}

impl Peer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut peer = Self { address, script: Arc::default(), released: Arc::default(), serving: None };
        peer.serve(listener);
        peer
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    pub(crate) fn release(&self) {
        self.script().hold_produce = false;
        self.released.notify_waiters();
    }

    /// Breaks all connections and takes no more.
    pub(crate) fn go_away(&mut self) {
        self.serving.take().expect("it is here").abort();
    }

    pub(crate) async fn come_back(&mut self) {
        // Until the task has let go of the port.
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (script, released, address) = (self.script.clone(), self.released.clone(), self.address);
        self.serving = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(converse(stream, script.clone(), released.clone(), address));
            }
        }));
    }
}

/// `None` is the end of the connection.
async fn converse(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    released: Arc<Notify>,
    address: SocketAddr,
) -> Option<()> {
    stream.write_all(&wire::preamble(wire::VERSION)).await.ok()?;
    let mut frames = FrameReader::new(limits::FRAME_BYTES_MAX);
    let here = Endpoint { host: address.ip().to_string(), port: address.port() };
    let surroundings = Surroundings { endpoints: [(NODE, here)].into(), directory_path: None };
    loop {
        let Some(frame) = frames.next().unwrap() else {
            if stream.read_buf(frames.room()).await.ok()? == 0 {
                return None;
            }
            continue;
        };
        let Asked { correlation, message } = wire::decode_to_node(frame).unwrap();
        let message = message.unwrap();
        let is_produce = matches!(message, ToNode::Request(Request::Produce(_)));
        while is_produce && script.lock().unwrap().hold_produce {
            released.notified().await;
        }
        let silent = matches!(&message, ToNode::Request(Request::Produce(p)) if p.acks == Acks::None);
        let answer = answer(&mut script.lock().unwrap(), message);
        if is_produce {
            let (broken, nonsense) = {
                let mut script = script.lock().unwrap();
                let (broken, nonsense) = (script.break_after_produce == 1, script.nonsense_for_produce > 0);
                script.break_after_produce = script.break_after_produce.saturating_sub(1);
                script.nonsense_for_produce = script.nonsense_for_produce.saturating_sub(1);
                (broken, nonsense)
            };
            if broken {
                return None;
            }
            if nonsense {
                stream.write_all(&[0xff; 64]).await.ok()?;
                continue;
            }
        }
        if !silent {
            send(&mut stream, correlation, &answer, &surroundings).await?;
        }
    }
}

async fn send(stream: &mut TcpStream, to: Correlation, answer: &FromNode, around: &Surroundings) -> Option<()> {
    let frame = wire::encode_from_node(to, answer, around).unwrap();
    stream.write_all(&frame.to_bytes()).await.ok()
}

fn answer(script: &mut Script, message: ToNode) -> FromNode {
    let request = match message {
        ToNode::Hello(_) => {
            return FromNode::Hello(HelloReply {
                software: "peer".into(),
                features: 0,
                node: NODE,
                cluster_id: "c".into(),
                frame_bytes_max: limits::FRAME_BYTES_MAX,
                requests_in_flight_max: 64,
            });
        }
        ToNode::Request(request) => request,
    };
    FromNode::Response(match request {
        Request::Metadata(request) => Response::Metadata(metadata(&request)),
        Request::InitProducerId(_) => Response::InitProducerId(InitProducerIdResponse {
            error: ErrorCode::None,
            producer_id: ProducerId(1),
            producer_epoch: ProducerEpoch(0),
        }),
        Request::Produce(request) => {
            let refused = script.refuse_produce;
            let partitions = request.partitions.into_iter().map(|p| {
                let batch = p.batch.unwrap();
                let too_large = script.batch_bytes_max.is_some_and(|max| batch.size() > max);
                let error = refused.or(too_large.then_some(ErrorCode::MessageTooLarge)).unwrap_or(ErrorCode::None);
                ProducedPartition {
                    error,
                    base_offset: if error.is_none() { script.append(&batch) } else { Offset::NONE },
                    topic: p.topic,
                    partition: p.partition,
                    log_append_time: Timestamp::NONE,
                    log_start: Offset::ZERO,
                }
            });
            Response::Produce(ProduceResponse { partitions: partitions.collect() })
        }
        Request::ListOffsets(request) => {
            let end = Offset(script.records());
            let partitions = request.partitions.into_iter().map(|p| ListedOffset {
                topic: p.topic,
                partition: p.partition,
                error: ErrorCode::None,
                offset: if p.spec == OffsetSpec::Latest { end } else { Offset::ZERO },
                timestamp: Timestamp::NONE,
                leader_epoch: LeaderEpoch::NONE,
            });
            Response::ListOffsets(ListOffsetsResponse { partitions: partitions.collect() })
        }
        Request::Fetch(request) => {
            let reaches = |end: &Offset| request.partitions.iter().any(|p| p.offset > *end);
            let cut = script.cut_to.take_if(|end| reaches(end));
            let partitions = request.partitions.into_iter().map(|p| FetchedPartition {
                records: Records::Batches(
                    script.log.iter().filter(|b| b.header().next_offset() > p.offset).take(8).cloned().collect(),
                ),
                topic: p.topic,
                partition: p.partition,
                error: ErrorCode::None,
                high_watermark: Offset(script.records()),
                last_stable_offset: Offset(script.records()),
                log_start: Offset::ZERO,
                diverging: cut.map(|end| (LeaderEpoch(0), end)),
                aborted: None,
                preferred_read_replica: None,
            });
            Response::Fetch(FetchResponse { partitions: partitions.collect() })
        }
        other => panic!("nobody asks a peer for {other:?}"),
    })
}

fn metadata(request: &MetadataRequest) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| TopicMetadata {
        error: ErrorCode::None,
        name: match topic {
            TopicRef::Name(name) => Some(name.clone()),
            TopicRef::Id(_) => Some(TopicName::new(T)),
        },
        id: TopicId([1; 16]),
        is_internal: false,
        partitions: vec![PartitionMetadata {
            error: ErrorCode::None,
            partition: PartitionId(0),
            leader: Some(NODE),
            leader_epoch: LeaderEpoch(0),
            replicas: vec![NODE],
            isr: vec![NODE],
            elr: Vec::new(),
            offline: Vec::new(),
        }],
    });
    MetadataResponse {
        brokers: vec![BrokerInfo { node: NODE, rack: None, fenced: false, endpoints: Endpoints::default() }],
        cluster_id: "c".into(),
        controller: NODE,
        topics: topics.collect(),
    }
}
