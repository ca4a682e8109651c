//! The codec against an independent one: `kafka-protocol`, generated from Kafka's own message definitions.
//!
//! Its requests are decoded here and its responses are decoded there, for every message and every version in the
//! table. That crate refuses to encode a field that a version does not have, and re-encoding what it decoded must give
//! the same bytes: a field too many, too few or in the wrong place shows.

mod connection;
mod hostile;
mod requests;
mod responses;

use std::sync::Mutex;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages as kp,
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use tidelog_core::{
    ids::{NodeId, PartitionId, TopicId, TopicName},
    message::{Response, TopicRef},
    time::Instant,
};

use super::{
    api::{APIS, Api, ApiKey, Header},
    codec::{self, Place, Shape, Task},
    read::{Reader, WireError},
    session::FetchSessions,
    write::Writer,
};

const ID: [u8; 16] = [7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A value with some fields set.
fn made<T: Default>(set: impl FnOnce(&mut T)) -> T {
    let mut value = T::default();
    set(&mut value);
    value
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn kp_topic(name: &'static str) -> kp::TopicName {
    kp::TopicName(text(name))
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name)
}

fn by_name(name: &str) -> TopicRef {
    TopicRef::Name(topic(name))
}

fn api(key: ApiKey) -> &'static Api {
    APIS.iter().find(|api| api.key == key).expect("every key is in the table")
}

/// Every version of a request that is served.
fn versions(key: ApiKey) -> impl Iterator<Item = i16> {
    api(key).min..=api(key).max
}

/// The frame (without its size) that `kafka-protocol` makes of a request.
fn framed<T: Encodable + HeaderVersion>(key: ApiKey, v: i16, request: &T) -> Bytes {
    let mut frame = BytesMut::new();
    let header = made(|h: &mut kp::RequestHeader| {
        h.request_api_key = api(key).code;
        h.request_api_version = v;
        h.correlation_id = 99;
        h.client_id = Some(text("client"));
        if api(key).is_flexible(v) {
            h.unknown_tagged_fields.insert(5, Bytes::from_static(b"whatever"));
        }
    });
    header.encode(&mut frame, T::header_version(v)).expect("the header encodes");
    request.encode(&mut frame, v).unwrap_or_else(|error| panic!("{key:?} v{v} does not encode there: {error}"));
    frame.freeze()
}

/// Decodes a frame as a connection does.
fn decoded(frame: &Bytes) -> Result<Task, WireError> {
    let mut r = Reader::new(frame);
    let mut header = Header::read(&mut r)?;
    let api = Api::find(header.code).expect("the tests send what is served");
    header.rest(api, &mut r)?;
    assert_eq!((header.correlation, header.client), (99, Some("client")));
    let task = codec::decode(api, header.version, &mut r)?;
    assert_eq!(r.remaining(), 0, "{:?} v{} has bytes left", api.key, header.version);
    Ok(task)
}

/// What `kafka-protocol` finds in the response that is written here.
fn answered<T>(key: ApiKey, v: i16, shape: Shape, response: Response) -> T
where
    T: Encodable + Decodable + HeaderVersion,
{
    let mut w = Writer::new();
    w.i32(99);
    w.set_flexible(api(key).is_flexible(v));
    if api(key).has_flexible_response_header(v) {
        w.end();
    }
    let sessions = Mutex::new(FetchSessions::default());
    let place = Place {
        node: NodeId(3),
        host: "broker.example",
        port: 9092,
        log_dir: "/var/lib/tidelog",
        disk: |_| Some((1000, 300)),
        now: Instant::ZERO,
        sessions: &sessions,
    };
    codec::encode(v, shape, response, &place, &mut w);
    read_back(key, v, w)
}

/// Takes a written response apart.
fn read_back<T>(key: ApiKey, v: i16, w: Writer) -> T
where
    T: Encodable + Decodable + HeaderVersion,
{
    let mut frame = BytesMut::new();
    bytes::BufMut::put(&mut frame, w.finish());
    let mut frame = frame.freeze();
    assert_eq!(frame.get_i32() as usize, frame.len(), "{key:?} v{v} has a wrong size");
    let header = kp::ResponseHeader::decode(&mut frame, T::header_version(v)).expect("the header decodes");
    assert_eq!(header.correlation_id, 99);
    let body = frame.clone();
    let response =
        T::decode(&mut frame, v).unwrap_or_else(|error| panic!("{key:?} v{v} does not decode there: {error}"));
    assert!(frame.is_empty(), "{key:?} v{v} has {} bytes too many", frame.len());
    let mut again = BytesMut::new();
    response.encode(&mut again, v).unwrap_or_else(|error| panic!("{key:?} v{v} does not encode again: {error}"));
    assert_eq!(again.freeze(), body, "{key:?} v{v} encodes to other bytes there");
    response
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn kp_nodes(ids: &[i32]) -> Vec<kp::BrokerId> {
    ids.iter().copied().map(kp::BrokerId).collect()
}

fn partition(number: i32) -> PartitionId {
    PartitionId(number)
}

const fn topic_id() -> TopicId {
    TopicId(ID)
}
