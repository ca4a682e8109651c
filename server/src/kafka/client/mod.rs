//! Kafka's protocol as a client speaks it: what `tidelog bench --kafka` needs of it, and no more.
//!
//! The machines of `tidelog_core::client` run over it unchanged. Each request has one version here, that of Kafka 3.1,
//! which every broker from then on serves; a greeting that shows otherwise ends the connection in so many words.
//! A Kafka response does not say what it answers, nor in which order its partitions stand, so what was asked is
//! remembered until then.

mod messages;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, BytesMut};
use tidelog_client::{
    protocol::{Incoming, Protocol},
    wire::{Answered, Correlation, EncodedFrame, FromNode, HelloReply, Refusal, Surroundings},
};
use tidelog_core::{
    ids::{NodeId, PartitionId, TopicId, TopicName},
    limits,
    message::{Acks, ErrorCode, Request, TopicRef},
};

use super::{
    api::{APIS, Api, ApiKey},
    read::{Reader, WireError},
    write::Writer,
};

/// The version in which each request is made. ApiVersions is asked for in that which every broker understands.
const VERSIONS: [(ApiKey, i16); 7] = [
    (ApiKey::Produce, 9),
    (ApiKey::Fetch, 13),
    (ApiKey::ListOffsets, 7),
    (ApiKey::Metadata, 12),
    (ApiKey::ApiVersions, 0),
    (ApiKey::CreateTopics, 7),
    (ApiKey::InitProducerId, 3),
];

/// The protocol of one client.
#[derive(Debug, Default)]
pub struct KafkaProtocol {
    memory: Mutex<Memory>,
}

/// What answers are understood by.
#[derive(Debug, Default)]
struct Memory {
    asked: BTreeMap<i32, Asked>,
    correlations: i32,
    /// Produce and ListOffsets name topics; the machines know them by id.
    names: BTreeMap<TopicId, TopicName>,
}

/// A request that is to be answered.
#[derive(Debug)]
struct Asked {
    key: ApiKey,
    /// What the client calls it; `None` for the greeting.
    correlation: Option<Correlation>,
    /// The partitions asked for, in the order in which the machine expects them.
    places: Vec<(TopicRef, PartitionId)>,
}

/// Requests remembered at most. A machine has far fewer open; those of a connection that went are forgotten here.
const ASKED_MAX: usize = 1 << 14;

impl Memory {
    fn remember(&mut self, asked: Asked) -> i32 {
        self.correlations = self.correlations.wrapping_add(1) & i32::MAX;
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_first();
        }
        self.asked.insert(self.correlations, asked);
        self.correlations
    }

    /// The topic by its name.
    fn name(&self, topic: &TopicRef) -> Result<TopicName, ErrorCode> {
        match topic {
            TopicRef::Name(name) => Ok(name.clone()),
            TopicRef::Id(id) => self.names.get(id).cloned().ok_or(ErrorCode::UnknownTopicId),
        }
    }
}

impl KafkaProtocol {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Every change is whole by itself.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Protocol for KafkaProtocol {
    fn greeting(&self, software: &str) -> io::Result<EncodedFrame> {
        let asked = Asked { key: ApiKey::ApiVersions, correlation: None, places: Vec::new() };
        let correlation = self.memory().remember(asked);
        let w = begin(ApiKey::ApiVersions, correlation, Some(software));
        Ok(EncodedFrame::from_pieces(w.finish().into_pieces()))
    }

    fn encode(&self, correlation: Correlation, request: &Request) -> Result<EncodedFrame, ErrorCode> {
        let mut memory = self.memory();
        let (key, places) = messages::asked(request).ok_or(ErrorCode::UnsupportedVersion)?;
        let silent = matches!(request, Request::Produce(produce) if produce.acks == Acks::None);
        let number = match silent {
            true => 0,
            false => memory.remember(Asked { key, correlation: Some(correlation), places }),
        };
        let mut w = begin(key, number, None);
        messages::encode(request, &memory, &mut w)?;
        Ok(EncodedFrame::from_pieces(w.finish().into_pieces()))
    }

    fn incoming(self: Arc<Self>) -> Box<dyn Incoming> {
        Box::new(Responses { protocol: self, buffer: BytesMut::new() })
    }
}

/// A request as far as its header.
fn begin(key: ApiKey, correlation: i32, client: Option<&str>) -> Writer {
    let (api, version) = spoken(key);
    let mut w = Writer::new();
    w.i16(api.code);
    w.i16(version);
    w.i32(correlation);
    w.nullable_string(client.or(Some(CLIENT_ID)));
    w.set_flexible(api.is_flexible(version));
    w.end();
    w
}

/// What this client calls itself.
const CLIENT_ID: &str = "tidelog-bench";

fn spoken(key: ApiKey) -> (&'static Api, i16) {
    let api = APIS.iter().find(|api| api.key == key).expect("the table has every request");
    let &(_, version) = VERSIONS.iter().find(|(spoken, _)| *spoken == key).expect("the table has what is spoken");
    (api, version)
}

/// The responses of one connection.
#[derive(Debug)]
struct Responses {
    protocol: Arc<KafkaProtocol>,
    buffer: BytesMut,
}

/// The size in front of a response.
const SIZE_BYTES: usize = 4;
/// The room that a read is given when no response asks for more.
const READ_BYTES: usize = 256 << 10;
/// Memory that one response is given before its bytes have come.
const BYTES_AT_ONCE: usize = 2 << 20;

impl Responses {
    fn size(&self) -> Option<i32> {
        self.buffer.first_chunk::<SIZE_BYTES>().map(|size| i32::from_be_bytes(*size))
    }
}

impl Incoming for Responses {
    fn room(&mut self) -> &mut BytesMut {
        let size = self.size().and_then(|size| usize::try_from(size).ok()).filter(|&s| s <= limits::FRAME_BYTES_MAX);
        let missing = size.map_or(0, |size| (SIZE_BYTES + size).saturating_sub(self.buffer.len()));
        let room = self.buffer.capacity() - self.buffer.len();
        if missing > room {
            self.buffer.reserve(missing.min(BYTES_AT_ONCE.max(self.buffer.len())));
        } else if room < READ_BYTES / 16 {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    fn next(&mut self) -> io::Result<Option<Answered>> {
        let Some(size) = self.size() else { return Ok(None) };
        let size = match usize::try_from(size) {
            Ok(size) if size <= limits::FRAME_BYTES_MAX => size,
            _ => return Err(invalid(format!("a response of {size} bytes"))),
        };
        if self.buffer.len() < SIZE_BYTES + size {
            return Ok(None);
        }
        self.buffer.advance(SIZE_BYTES);
        let frame = self.buffer.split_to(size).freeze();
        let mut r = Reader::new(&frame);
        let number = r.i32().map_err(invalid)?;
        let mut memory = self.protocol.memory();
        let asked = memory.asked.remove(&number).ok_or_else(|| invalid("an answer to nothing that was asked"))?;
        let (api, version) = spoken(asked.key);
        r.set_flexible(api.has_flexible_response_header(version));
        r.end().map_err(invalid)?;
        let mut surroundings = Surroundings::default();
        let message = match asked.correlation {
            None => greeted(&mut r)?,
            Some(_) => {
                let decoded = messages::decode(asked.key, &asked.places, &mut memory, &mut surroundings, &mut r);
                FromNode::Response(decoded.map_err(invalid)?)
            }
        };
        let correlation = asked.correlation.unwrap_or(Correlation(u64::MAX));
        Ok(Some(Answered { correlation, message, surroundings }))
    }
}

/// The answer to the greeting: does the broker serve what is spoken here?
fn greeted(r: &mut Reader<'_>) -> io::Result<FromNode> {
    let mut served = Vec::new();
    let error = read_versions(r, &mut served).map_err(invalid)?;
    let lacking = VERSIONS.iter().find(|&&(key, version)| {
        let code = spoken(key).0.code;
        !served.iter().any(|&(served, min, max)| served == code && (min..=max).contains(&version))
    });
    Ok(match lacking {
        _ if !error.is_none() => {
            FromNode::Refused(Refusal { error, message: "the broker answers no greeting".to_owned() })
        }
        Some((key, version)) => FromNode::Refused(Refusal {
            error: ErrorCode::UnsupportedVersion,
            message: format!("the broker does not serve {key:?} in version {version}, as Kafka 3.1 and later do"),
        }),
        None => FromNode::Hello(HelloReply {
            software: String::new(),
            features: 0,
            node: NodeId(-1),
            cluster_id: String::new(),
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            requests_in_flight_max: ASKED_MAX,
        }),
    })
}

fn read_versions(r: &mut Reader<'_>, served: &mut Vec<(i16, i16, i16)>) -> Result<ErrorCode, WireError> {
    r.set_flexible(false);
    let error = ErrorCode::from_code(r.i16()?);
    r.each(|r| {
        served.push((r.i16()?, r.i16()?, r.i16()?));
        Ok(())
    })?;
    Ok(error)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
