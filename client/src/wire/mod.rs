//! The native protocol: core's messages as frames of Cap'n Proto headers and record batches.
//!
//! The one implementation for clients, nodes and the simulator. It does no reading and no writing: bytes go in
//! through a [`FrameReader`] and come out as [`Frame`]s, a frame is decoded into a message, a message encoded into an
//! [`EncodedFrame`]. Record batches are never copied: a decoded batch shares the read buffer, an encoded one is a
//! piece of its own for a vectored write. The protocol itself is described in `schemas/native.capnp`.
//!
//! **Invariant:** a message that was decoded has passed every check that does not need a node's state. In particular
//! a batch to be produced has been through [`tidelog_core::record::Batch::parse`].

mod admin;
mod cluster;
mod data;
mod frame;
mod hello;
mod operations;
mod peer;
mod twin;

use std::fmt;

use bytes::{Bytes, BytesMut};
use capnp::message::{Builder as MessageBuilder, HeapAllocator, Reader as MessageReader};
use tidelog_core::{
    limits,
    message::{PeerRequest, PeerResponse, Request, Response},
};
use tidelog_schemas::native_capnp as schema;

use frame::Body;
pub use frame::{
    EncodedFrame, Frame, FrameError, FrameReader, MAGIC, PREAMBLE_BYTES, TooLargeToSend, VERSION, preamble,
};
pub use hello::{Endpoint, Hello, HelloReply, Refusal, Surroundings};
pub use twin::DecodeError;
use twin::{Source, Twin, reader_options};

/// Names one request of a connection; its answer carries the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Correlation(pub u64);

impl fmt::Display for Correlation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum ToNode {
    /// First of all.
    Hello(Hello),
    /// Everything else.
    Request(Request),
}

/// What a node says.
#[derive(Clone, Debug, PartialEq)]
pub enum FromNode {
    /// The answer to [`ToNode::Hello`].
    Hello(HelloReply),
    /// The answer to a request that was carried out.
    Response(Response),
    /// The answer to any that was not.
    Refused(Refusal),
}

/// A decoded frame from a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What the answer must carry.
    pub correlation: Correlation,
    /// What was said, or why it makes no sense. The frame around it was sound, so the connection can go on: the
    /// client is owed a [`Refusal`].
    pub message: Result<ToNode, DecodeError>,
}

/// A decoded frame from a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// That of the request.
    pub correlation: Correlation,
    /// What was said.
    pub message: FromNode,
    /// What came with it.
    pub surroundings: Surroundings,
}

/// Encodes what a client says. Fails only where a message exceeds what one frame may hold.
pub fn encode_to_node(correlation: Correlation, message: &ToNode) -> Result<EncodedFrame, TooLargeToSend> {
    match message {
        ToNode::Hello(hello) => {
            let mut builder = message_builder(0);
            let mut to = builder.init_root::<schema::request::Builder<'_>>();
            to.set_correlation(correlation.0);
            hello.write(to.init_hello());
            finish(&builder, &Body::default())
        }
        ToNode::Request(request) => encode_request(correlation, request),
    }
}

/// Encodes a request.
pub fn encode_request(correlation: Correlation, request: &Request) -> Result<EncodedFrame, TooLargeToSend> {
    let mut builder = message_builder(request_partitions(request));
    let mut to = builder.init_root::<schema::request::Builder<'_>>();
    to.set_correlation(correlation.0);
    write_request(request, to);
    finish(&builder, &request_body(request))
}

/// How many partitions a request speaks of, where it is worth knowing.
fn request_partitions(request: &Request) -> usize {
    match request {
        Request::Produce(produce) => produce.partitions.len(),
        Request::Fetch(fetch) => fetch.partitions.len(),
        Request::Peer(PeerRequest::Fetch(fetch)) => fetch.partitions.len(),
        Request::Peer(PeerRequest::Forward(request)) => request_partitions(request),
        _ => 0,
    }
}

fn request_body(request: &Request) -> Body<'_> {
    match request {
        Request::Produce(produce) => data::produce_body(produce),
        Request::Peer(PeerRequest::Forward(request)) => request_body(request),
        _ => Body::default(),
    }
}

fn write_request(request: &Request, mut to: schema::request::Builder<'_>) {
    match request {
        Request::Produce(it) => it.write(to.init_produce()),
        Request::Fetch(it) => it.write(to.init_fetch()),
        Request::ListOffsets(it) => it.write(to.init_list_offsets()),
        Request::OffsetForLeaderEpoch(it) => it.write(to.init_offset_for_leader_epoch()),
        Request::DeleteRecords(it) => it.write(to.init_delete_records()),
        Request::InitProducerId(it) => it.write(to.init_init_producer_id()),
        Request::Metadata(it) => it.write(to.init_metadata()),
        Request::DescribeCluster => to.set_describe_cluster(()),
        Request::DescribeTopicPartitions(it) => it.write(to.init_describe_topic_partitions()),
        Request::DescribeLogDirs(it) => it.write(to.init_describe_log_dirs()),
        Request::CreateTopics(it) => it.write(to.init_create_topics()),
        Request::DeleteTopics(it) => it.write(to.init_delete_topics()),
        Request::CreatePartitions(it) => it.write(to.init_create_partitions()),
        Request::DescribeConfigs(it) => it.write(to.init_describe_configs()),
        Request::AlterConfigs(it) => it.write(to.init_alter_configs()),
        Request::ElectLeaders(it) => it.write(to.init_elect_leaders()),
        Request::AlterPartitionReassignments(it) => it.write(to.init_alter_partition_reassignments()),
        Request::ListPartitionReassignments(it) => it.write(to.init_list_partition_reassignments()),
        Request::UnregisterBroker(it) => it.write(to.init_unregister_broker()),
        Request::DescribeQuorum => to.set_describe_quorum(()),
        Request::AddVoter(it) => it.write(to.init_add_voter()),
        Request::RemoveVoter(it) => it.write(to.init_remove_voter()),
        Request::Peer(it) => it.write(to.init_peer()),
    }
}

/// Decodes what a client says. An error says that not even the correlation can be read: the connection is broken.
pub fn decode_to_node(frame: Frame) -> Result<Asked, DecodeError> {
    let reader = read_header(&frame.header)?;
    let from = reader.get_root::<schema::request::Reader<'_>>()?;
    let correlation = Correlation(from.get_correlation());
    let items_max = (frame.header.len() / 4).min(limits::REQUEST_ITEMS_MAX);
    let mut source = Source::new(frame.body, items_max);
    let message = read_to_node(from, &mut source).and_then(|message| source.finish().map(|_| message));
    Ok(Asked { correlation, message })
}

fn read_to_node(from: schema::request::Reader<'_>, source: &mut Source) -> Result<ToNode, DecodeError> {
    match from.which() {
        Ok(schema::request::Which::Hello(it)) => Ok(ToNode::Hello(Hello::read(it?, source)?)),
        _ => read_request(from, source).map(ToNode::Request),
    }
}

fn read_request(from: schema::request::Reader<'_>, source: &mut Source) -> Result<Request, DecodeError> {
    use schema::request::Which;
    Ok(match from.which().map_err(|_| DecodeError::Unknown { what: "the kind" })? {
        Which::Hello(_) => return Err(DecodeError::Nested),
        Which::Produce(it) => Request::Produce(Twin::read(it?, source)?),
        Which::Fetch(it) => Request::Fetch(Twin::read(it?, source)?),
        Which::ListOffsets(it) => Request::ListOffsets(Twin::read(it?, source)?),
        Which::OffsetForLeaderEpoch(it) => Request::OffsetForLeaderEpoch(Twin::read(it?, source)?),
        Which::DeleteRecords(it) => Request::DeleteRecords(Twin::read(it?, source)?),
        Which::InitProducerId(it) => Request::InitProducerId(Twin::read(it?, source)?),
        Which::Metadata(it) => Request::Metadata(Twin::read(it?, source)?),
        Which::DescribeCluster(()) => Request::DescribeCluster,
        Which::DescribeTopicPartitions(it) => Request::DescribeTopicPartitions(Twin::read(it?, source)?),
        Which::DescribeLogDirs(it) => Request::DescribeLogDirs(Twin::read(it?, source)?),
        Which::CreateTopics(it) => Request::CreateTopics(Twin::read(it?, source)?),
        Which::DeleteTopics(it) => Request::DeleteTopics(Twin::read(it?, source)?),
        Which::CreatePartitions(it) => Request::CreatePartitions(Twin::read(it?, source)?),
        Which::DescribeConfigs(it) => Request::DescribeConfigs(Twin::read(it?, source)?),
        Which::AlterConfigs(it) => Request::AlterConfigs(Twin::read(it?, source)?),
        Which::ElectLeaders(it) => Request::ElectLeaders(Twin::read(it?, source)?),
        Which::AlterPartitionReassignments(it) => Request::AlterPartitionReassignments(Twin::read(it?, source)?),
        Which::ListPartitionReassignments(it) => Request::ListPartitionReassignments(Twin::read(it?, source)?),
        Which::UnregisterBroker(it) => Request::UnregisterBroker(Twin::read(it?, source)?),
        Which::DescribeQuorum(()) => Request::DescribeQuorum,
        Which::AddVoter(it) => Request::AddVoter(Twin::read(it?, source)?),
        Which::RemoveVoter(it) => Request::RemoveVoter(Twin::read(it?, source)?),
        Which::Peer(it) => Request::Peer(Twin::read(it?, source)?),
    })
}

/// Encodes what a node says. Fails only where a message exceeds what one frame may hold.
pub fn encode_from_node(
    correlation: Correlation,
    message: &FromNode,
    surroundings: &Surroundings,
) -> Result<EncodedFrame, TooLargeToSend> {
    let mut builder = message_builder(0);
    let mut to = builder.init_root::<schema::response::Builder<'_>>();
    to.set_correlation(correlation.0);
    match message {
        FromNode::Hello(hello) => hello.write(to.init_hello()),
        FromNode::Refused(refusal) => refusal.write(to.init_refused()),
        FromNode::Response(response) => return encode_response(correlation, response, surroundings),
    }
    finish(&builder, &Body::default())
}

/// Encodes a response. Its records must be at hand: a driver resolves [`tidelog_core::message::Records::Log`] first.
pub fn encode_response(
    correlation: Correlation,
    response: &Response,
    surroundings: &Surroundings,
) -> Result<EncodedFrame, TooLargeToSend> {
    let mut builder = message_builder(response_partitions(response));
    let mut to = builder.init_root::<schema::response::Builder<'_>>();
    to.set_correlation(correlation.0);
    write_response(response, surroundings, to);
    finish(&builder, &response_body(response))
}

/// How many partitions a response speaks of, where it is worth knowing.
fn response_partitions(response: &Response) -> usize {
    match response {
        Response::Produce(produce) => produce.partitions.len(),
        Response::Fetch(fetch) => fetch.partitions.len(),
        Response::Peer(PeerResponse::Fetch(fetch)) => fetch.partitions.len(),
        Response::Peer(PeerResponse::Forward(response)) => response_partitions(response),
        _ => 0,
    }
}

fn response_body(response: &Response) -> Body<'_> {
    match response {
        Response::Fetch(fetch) => data::fetch_body(fetch),
        Response::Peer(PeerResponse::Fetch(fetch)) => peer::fetch_body(fetch),
        Response::Peer(PeerResponse::FetchSnapshot(piece)) => {
            let mut body = Body::default();
            body.bytes(&piece.bytes);
            body
        }
        Response::Peer(PeerResponse::Forward(response)) => response_body(response),
        _ => Body::default(),
    }
}

fn write_response(response: &Response, surroundings: &Surroundings, to: schema::response::Builder<'_>) {
    match response {
        Response::Produce(it) => it.write(to.init_produce()),
        Response::Fetch(it) => it.write(to.init_fetch()),
        Response::ListOffsets(it) => it.write(to.init_list_offsets()),
        Response::OffsetForLeaderEpoch(it) => it.write(to.init_offset_for_leader_epoch()),
        Response::DeleteRecords(it) => it.write(to.init_delete_records()),
        Response::InitProducerId(it) => it.write(to.init_init_producer_id()),
        Response::Metadata(it) => cluster::write_metadata(it, surroundings, to.init_metadata()),
        Response::DescribeCluster(it) => cluster::write_cluster(it, surroundings, to.init_describe_cluster()),
        Response::DescribeTopicPartitions(it) => it.write(to.init_describe_topic_partitions()),
        Response::DescribeLogDirs(it) => cluster::write_log_dirs(it, surroundings, to.init_describe_log_dirs()),
        Response::CreateTopics(it) => it.write(to.init_create_topics()),
        Response::DeleteTopics(it) => it.write(to.init_delete_topics()),
        Response::CreatePartitions(it) => it.write(to.init_create_partitions()),
        Response::DescribeConfigs(it) => it.write(to.init_describe_configs()),
        Response::AlterConfigs(it) => it.write(to.init_alter_configs()),
        Response::ElectLeaders(it) => it.write(to.init_elect_leaders()),
        Response::AlterPartitionReassignments(it) => it.write(to.init_alter_partition_reassignments()),
        Response::ListPartitionReassignments(it) => it.write(to.init_list_partition_reassignments()),
        Response::UnregisterBroker(it) => it.write(to.init_unregister_broker()),
        Response::DescribeQuorum(it) => it.write(to.init_describe_quorum()),
        Response::AddVoter(it) => it.write(to.init_add_voter()),
        Response::RemoveVoter(it) => it.write(to.init_remove_voter()),
        Response::Peer(it) => peer::write_answer(it, surroundings, to.init_peer()),
    }
}

/// Decodes what a node says.
pub fn decode_from_node(frame: Frame) -> Result<Answered, DecodeError> {
    let reader = read_header(&frame.header)?;
    let from = reader.get_root::<schema::response::Reader<'_>>()?;
    let mut source = Source::new(frame.body, frame.header.len() / 4);
    let message = read_from_node(from, &mut source)?;
    let surroundings = source.finish()?;
    Ok(Answered { correlation: Correlation(from.get_correlation()), message, surroundings })
}

fn read_from_node(from: schema::response::Reader<'_>, source: &mut Source) -> Result<FromNode, DecodeError> {
    match from.which() {
        Ok(schema::response::Which::Hello(it)) => Ok(FromNode::Hello(Twin::read(it?, source)?)),
        Ok(schema::response::Which::Refused(it)) => Ok(FromNode::Refused(Twin::read(it?, source)?)),
        _ => read_response(from, source).map(FromNode::Response),
    }
}

fn read_response(from: schema::response::Reader<'_>, source: &mut Source) -> Result<Response, DecodeError> {
    use schema::response::Which;
    Ok(match from.which().map_err(|_| DecodeError::Unknown { what: "the kind" })? {
        Which::Hello(_) | Which::Refused(_) => return Err(DecodeError::Nested),
        Which::Produce(it) => Response::Produce(Twin::read(it?, source)?),
        Which::Fetch(it) => Response::Fetch(Twin::read(it?, source)?),
        Which::ListOffsets(it) => Response::ListOffsets(Twin::read(it?, source)?),
        Which::OffsetForLeaderEpoch(it) => Response::OffsetForLeaderEpoch(Twin::read(it?, source)?),
        Which::DeleteRecords(it) => Response::DeleteRecords(Twin::read(it?, source)?),
        Which::InitProducerId(it) => Response::InitProducerId(Twin::read(it?, source)?),
        Which::Metadata(it) => Response::Metadata(Twin::read(it?, source)?),
        Which::DescribeCluster(it) => Response::DescribeCluster(Twin::read(it?, source)?),
        Which::DescribeTopicPartitions(it) => Response::DescribeTopicPartitions(Twin::read(it?, source)?),
        Which::DescribeLogDirs(it) => Response::DescribeLogDirs(Twin::read(it?, source)?),
        Which::CreateTopics(it) => Response::CreateTopics(Twin::read(it?, source)?),
        Which::DeleteTopics(it) => Response::DeleteTopics(Twin::read(it?, source)?),
        Which::CreatePartitions(it) => Response::CreatePartitions(Twin::read(it?, source)?),
        Which::DescribeConfigs(it) => Response::DescribeConfigs(Twin::read(it?, source)?),
        Which::AlterConfigs(it) => Response::AlterConfigs(Twin::read(it?, source)?),
        Which::ElectLeaders(it) => Response::ElectLeaders(Twin::read(it?, source)?),
        Which::AlterPartitionReassignments(it) => Response::AlterPartitionReassignments(Twin::read(it?, source)?),
        Which::ListPartitionReassignments(it) => Response::ListPartitionReassignments(Twin::read(it?, source)?),
        Which::UnregisterBroker(it) => Response::UnregisterBroker(Twin::read(it?, source)?),
        Which::DescribeQuorum(it) => Response::DescribeQuorum(Twin::read(it?, source)?),
        Which::AddVoter(it) => Response::AddVoter(Twin::read(it?, source)?),
        Which::RemoveVoter(it) => Response::RemoveVoter(Twin::read(it?, source)?),
        Which::Peer(it) => Response::Peer(Twin::read(it?, source)?),
    })
}

/// A message under construction, with room for this many partitions in its first segment.
fn message_builder(partitions: usize) -> MessageBuilder<HeapAllocator> {
    const WORDS: u32 = 64;
    const WORDS_PER_PARTITION: u32 = 24;
    let partitions = u32::try_from(partitions.min(limits::REQUEST_ITEMS_MAX)).expect("bounded above");
    MessageBuilder::new(HeapAllocator::new().first_segment_words(WORDS + WORDS_PER_PARTITION * partitions))
}

fn finish(builder: &MessageBuilder<HeapAllocator>, body: &Body<'_>) -> Result<EncodedFrame, TooLargeToSend> {
    let header_bytes = capnp::serialize::compute_serialized_size_in_words(builder) * size_of::<capnp::Word>();
    frame::encode(
        header_bytes,
        |to| capnp::serialize::write_message(Append(to), builder).expect("memory takes every byte"),
        body,
    )
}

fn read_header(header: &Bytes) -> Result<MessageReader<SliceSegments<'_>>, DecodeError> {
    let mut rest = &header[..];
    let message = capnp::serialize::read_message_from_flat_slice(&mut rest, reader_options(header.len()))?;
    if rest.is_empty() { Ok(message) } else { Err(DecodeError::Trailing { extra: rest.len() }) }
}

type SliceSegments<'a> = capnp::serialize::BufferSegments<&'a [u8]>;

/// Lets Cap'n Proto write into a buffer.
struct Append<'a>(&'a mut BytesMut);

impl std::io::Write for Append<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
