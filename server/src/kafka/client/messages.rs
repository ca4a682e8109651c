//! The requests of a client, written, and their responses, read: field by field, each in the one version spoken.

use bytes::Bytes;
use tidelog_client::wire::{Endpoint, Surroundings};
use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicName},
    message::*,
    offset::Offset,
    record::HEADER_BYTES,
    time::{Duration, Timestamp},
};

use super::{ApiKey, Memory, Reader, WireError, Writer};

type Place = (TopicRef, PartitionId);

/// What kind of request it is and which partitions it names; `None` for one that is not spoken here.
pub(super) fn asked(request: &Request) -> Option<(ApiKey, Vec<Place>)> {
    Some(match request {
        Request::Produce(r) => {
            (ApiKey::Produce, r.partitions.iter().map(|of| (of.topic.clone(), of.partition)).collect())
        }
        Request::Fetch(r) => (ApiKey::Fetch, r.partitions.iter().map(|of| (of.topic.clone(), of.partition)).collect()),
        Request::ListOffsets(r) => {
            (ApiKey::ListOffsets, r.partitions.iter().map(|of| (of.topic.clone(), of.partition)).collect())
        }
        Request::Metadata(_) => (ApiKey::Metadata, Vec::new()),
        Request::CreateTopics(_) => (ApiKey::CreateTopics, Vec::new()),
        Request::InitProducerId(_) => (ApiKey::InitProducerId, Vec::new()),
        _ => return None,
    })
}

/// Writes a request's body.
pub(super) fn encode(request: &Request, memory: &Memory, w: &mut Writer) -> Result<(), ErrorCode> {
    match request {
        Request::Produce(request) => return produce(request, memory, w),
        Request::Fetch(request) => return fetch(request, w),
        Request::ListOffsets(request) => return list_offsets(request, memory, w),
        Request::Metadata(request) => metadata(request, w),
        Request::CreateTopics(request) => create_topics(request, w),
        Request::InitProducerId(request) => {
            w.nullable_string(request.transactional_id.as_deref());
            w.i32(0); // the timeout of transactions, of which there are none
            w.i64(request.producer_id.0);
            w.i16(request.producer_epoch.0);
            w.end();
        }
        _ => unreachable!("what is not spoken is refused before"),
    }
    Ok(())
}

fn produce(request: &ProduceRequest, memory: &Memory, w: &mut Writer) -> Result<(), ErrorCode> {
    w.nullable_string(None);
    w.i16(match request.acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    });
    w.i32(millis(request.timeout));
    let names = names(request.partitions.iter().map(|of| &of.topic), memory)?;
    let partitions: Vec<_> = names.iter().zip(&request.partitions).collect();
    w.groups(
        &partitions,
        |(name, _)| *name,
        |w, of_topic| {
            w.string(of_topic[0].0.as_str());
            w.array(of_topic.iter(), |w, (_, of)| {
                w.i32(of.partition.0);
                w.records(&of.batch.as_ref().map_or(Records::Empty, |batch| Records::Batches(vec![batch.clone()])));
                w.end();
            });
            w.end();
        },
    );
    w.end();
    Ok(())
}

fn fetch(request: &FetchRequest, w: &mut Writer) -> Result<(), ErrorCode> {
    if request.partitions.iter().any(|of| matches!(of.topic, TopicRef::Name(_))) {
        return Err(ErrorCode::UnknownTopicId);
    }
    w.i32(-1); // no replica
    w.i32(millis(request.max_wait));
    w.i32(bytes(request.min_bytes));
    w.i32(bytes(request.max_bytes));
    w.i8(isolation(request.isolation));
    w.i32(0);
    w.i32(-1); // no session
    w.groups(
        &request.partitions,
        |of| of.topic.clone(),
        |w, of_topic| {
            let TopicRef::Id(id) = of_topic[0].topic else { unreachable!("looked at above") };
            w.topic_id(id);
            w.array(of_topic.iter(), |w, of| {
                w.i32(of.partition.0);
                w.i32(of.current_leader_epoch.0);
                w.i64(of.offset.0);
                w.i32(of.last_fetched_epoch.0);
                w.i64(-1); // a follower's log start
                w.i32(bytes(of.max_bytes));
                w.end();
            });
            w.end();
        },
    );
    w.array([(); 0].iter(), |_, ()| {}); // partitions that leave the session
    w.string(request.rack.as_deref().unwrap_or_default());
    w.end();
    Ok(())
}

fn list_offsets(request: &ListOffsetsRequest, memory: &Memory, w: &mut Writer) -> Result<(), ErrorCode> {
    let names = names(request.partitions.iter().map(|of| &of.topic), memory)?;
    let partitions: Vec<_> = names.iter().zip(&request.partitions).collect();
    w.i32(-1); // no replica
    w.i8(isolation(request.isolation));
    w.groups(
        &partitions,
        |(name, _)| *name,
        |w, of_topic| {
            w.string(of_topic[0].0.as_str());
            w.array(of_topic.iter(), |w, (_, of)| {
                w.i32(of.partition.0);
                w.i32(of.current_leader_epoch.0);
                w.i64(match of.spec {
                    OffsetSpec::Latest => -1,
                    OffsetSpec::Earliest => -2,
                    OffsetSpec::MaxTimestamp => -3,
                    OffsetSpec::EarliestLocal => -4,
                    OffsetSpec::LatestTiered => -5,
                    OffsetSpec::At(time) => time.0,
                });
                w.end();
            });
            w.end();
        },
    );
    w.end();
    Ok(())
}

fn metadata(request: &MetadataRequest, w: &mut Writer) {
    match &request.topics {
        None => w.null_array(),
        Some(topics) => w.array(topics.iter(), |w, topic| {
            match topic {
                TopicRef::Name(name) => {
                    w.topic_id(TopicId::ZERO);
                    w.nullable_string(Some(name.as_str()));
                }
                TopicRef::Id(id) => {
                    w.topic_id(*id);
                    w.nullable_string(None);
                }
            }
            w.end();
        }),
    }
    w.bool(request.allow_auto_topic_creation);
    w.bool(false); // who may do what
    w.end();
}

fn create_topics(request: &CreateTopicsRequest, w: &mut Writer) {
    w.array(request.topics.iter(), |w, topic| {
        w.string(topic.name.as_str());
        w.i32(topic.partitions.unwrap_or(-1));
        w.i16(topic.replication_factor.unwrap_or(-1));
        w.array([(); 0].iter(), |_, ()| {}); // the broker places them
        w.array(topic.configs.iter(), |w, (name, value)| {
            w.string(name);
            w.nullable_string(value.as_deref());
            w.end();
        });
        w.end();
    });
    w.i32(millis(request.timeout));
    w.bool(request.validate_only);
    w.end();
}

fn names<'a>(topics: impl Iterator<Item = &'a TopicRef>, memory: &Memory) -> Result<Vec<TopicName>, ErrorCode> {
    topics.map(|topic| memory.name(topic)).collect()
}

fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

fn bytes(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn isolation(isolation: IsolationLevel) -> i8 {
    match isolation {
        IsolationLevel::ReadUncommitted => 0,
        IsolationLevel::ReadCommitted => 1,
    }
}

// ------------------------------------------------------------------------------------------------ responses

/// Reads a response's body. What it says of partitions comes back in the order of `places`, named as there.
pub(super) fn decode(
    key: ApiKey,
    places: &[Place],
    memory: &mut Memory,
    surroundings: &mut Surroundings,
    r: &mut Reader<'_>,
) -> Result<Response, WireError> {
    Ok(match key {
        ApiKey::Produce => Response::Produce(ProduceResponse { partitions: produced(places, memory, r)? }),
        ApiKey::Fetch => Response::Fetch(FetchResponse { partitions: fetched(places, r)? }),
        ApiKey::ListOffsets => Response::ListOffsets(ListOffsetsResponse { partitions: listed(places, memory, r)? }),
        ApiKey::Metadata => Response::Metadata(described(memory, surroundings, r)?),
        ApiKey::CreateTopics => Response::CreateTopics(CreateTopicsResponse { topics: created(r)? }),
        ApiKey::InitProducerId => {
            let _throttle = r.i32()?;
            Response::InitProducerId(InitProducerIdResponse {
                error: error(r)?,
                producer_id: ProducerId(r.i64()?),
                producer_epoch: ProducerEpoch(r.i16()?),
            })
        }
        _ => unreachable!("what is not spoken was not asked"),
    })
}

/// Answers brought into the order of the places that were asked for.
struct Ordered<'a, T> {
    places: &'a [Place],
    answers: Vec<Option<T>>,
    next: usize,
}

impl<'a, T> Ordered<'a, T> {
    fn new(places: &'a [Place]) -> Self {
        Self { places, answers: places.iter().map(|_| None).collect(), next: 0 }
    }

    /// The answer for a partition of the topic that `is_it` knows; one that was not asked for is dropped.
    fn put(&mut self, is_it: impl Fn(&TopicRef) -> bool, partition: PartitionId, make: impl FnOnce(TopicRef) -> T) {
        let fits = |(topic, asked): &Place| *asked == partition && is_it(topic);
        // Most often they come as they were asked for.
        let at = match self.places.get(self.next) {
            Some(place) if fits(place) => Some(self.next),
            _ => self.places.iter().position(fits),
        };
        if let Some(at) = at {
            self.answers[at] = Some(make(self.places[at].0.clone()));
            self.next = at + 1;
        }
    }

    /// All of them; `missing` is the answer for a partition that the broker left out.
    fn finish(self, missing: impl Fn(TopicRef, PartitionId) -> T) -> Vec<T> {
        let missing = |(topic, partition): &Place| missing(topic.clone(), *partition);
        self.answers
            .into_iter()
            .zip(self.places)
            .map(|(answer, place)| answer.unwrap_or_else(|| missing(place)))
            .collect()
    }
}

fn produced(places: &[Place], memory: &Memory, r: &mut Reader<'_>) -> Result<Vec<ProducedPartition>, WireError> {
    let mut answers = Ordered::new(places);
    r.each(|r| {
        let name = r.string()?;
        r.each(|r| {
            let (partition, error) = (PartitionId(r.i32()?), error(r)?);
            let (base_offset, log_append_time) = (Offset(r.i64()?), Timestamp(r.i64()?));
            let log_start = Offset(r.i64()?);
            r.each(|r| {
                let (_record, _why) = (r.i32()?, r.nullable_string()?);
                r.end()
            })?;
            let _why = r.nullable_string()?;
            r.end()?;
            let is_it = |topic: &TopicRef| memory.name(topic).is_ok_and(|known| known.as_str() == name);
            answers.put(is_it, partition, |topic| ProducedPartition {
                topic,
                partition,
                error,
                base_offset,
                log_append_time,
                log_start,
            });
            Ok(())
        })?;
        r.end()
    })?;
    let _throttle = r.i32()?;
    r.end()?;
    Ok(answers.finish(|topic, partition| ProducedPartition {
        topic,
        partition,
        error: ErrorCode::UnknownServerError,
        base_offset: Offset::NONE,
        log_append_time: Timestamp::NONE,
        log_start: Offset::NONE,
    }))
}

fn fetched(places: &[Place], r: &mut Reader<'_>) -> Result<Vec<FetchedPartition>, WireError> {
    let mut answers = Ordered::new(places);
    let _throttle = r.i32()?;
    let whole = error(r)?;
    let _session = r.i32()?;
    r.each(|r| {
        let id = r.topic_id()?;
        r.each(|r| {
            let (partition, error) = (PartitionId(r.i32()?), error(r)?);
            let (high_watermark, last_stable_offset) = (Offset(r.i64()?), Offset(r.i64()?));
            let log_start = Offset(r.i64()?);
            let aborted = r.nullable_array(|r| {
                let aborted = AbortedTransaction { producer_id: ProducerId(r.i64()?), first_offset: Offset(r.i64()?) };
                r.end()?;
                Ok(aborted)
            })?;
            let preferred = r.i32()?;
            let records = r.nullable_bytes()?.map_or(Bytes::new(), whole_batches);
            let mut diverging = None;
            r.tags(|tag, r| {
                if tag == 0 {
                    diverging = Some((LeaderEpoch(r.i32()?), Offset(r.i64()?)));
                }
                Ok(())
            })?;
            answers.put(
                |topic| *topic == TopicRef::Id(id),
                partition,
                |topic| FetchedPartition {
                    topic,
                    partition,
                    error,
                    high_watermark,
                    last_stable_offset,
                    log_start,
                    diverging: diverging.filter(|&(_, end)| end != Offset::NONE),
                    aborted,
                    preferred_read_replica: Some(NodeId(preferred)).filter(|node| node.0 >= 0),
                    records: if records.is_empty() { Records::Empty } else { Records::Bytes(records) },
                },
            );
            Ok(())
        })?;
        r.end()
    })?;
    r.end()?;
    let error = if whole.is_none() { ErrorCode::UnknownServerError } else { whole };
    Ok(answers.finish(|topic, partition| FetchedPartition {
        topic,
        partition,
        error,
        high_watermark: Offset::NONE,
        last_stable_offset: Offset::NONE,
        log_start: Offset::NONE,
        diverging: None,
        aborted: None,
        preferred_read_replica: None,
        records: Records::Empty,
    }))
}

/// Kafka cuts off where the bytes that were asked for end: the last batch may be there in part.
fn whole_batches(mut records: Bytes) -> Bytes {
    const LENGTH_AT: usize = 8;
    const BEFORE_LENGTH_ENDS: usize = LENGTH_AT + 4;
    let mut end = 0;
    while let Some(length) = records[end..].get(LENGTH_AT..).and_then(|rest| rest.first_chunk::<4>()) {
        let size = usize::try_from(i32::from_be_bytes(*length)).map_or(0, |length| BEFORE_LENGTH_ENDS + length);
        if size < HEADER_BYTES {
            // No batch at all: whoever decodes it says what is wrong.
            return records;
        }
        if records.len() - end < size {
            break;
        }
        end += size;
    }
    records.split_to(end)
}

fn listed(places: &[Place], memory: &Memory, r: &mut Reader<'_>) -> Result<Vec<ListedOffset>, WireError> {
    let mut answers = Ordered::new(places);
    let _throttle = r.i32()?;
    r.each(|r| {
        let name = r.string()?;
        r.each(|r| {
            let (partition, error) = (PartitionId(r.i32()?), error(r)?);
            let (timestamp, offset) = (Timestamp(r.i64()?), Offset(r.i64()?));
            let leader_epoch = LeaderEpoch(r.i32()?);
            r.end()?;
            let is_it = |topic: &TopicRef| memory.name(topic).is_ok_and(|known| known.as_str() == name);
            let listed = |topic| ListedOffset { topic, partition, error, offset, timestamp, leader_epoch };
            answers.put(is_it, partition, listed);
            Ok(())
        })?;
        r.end()
    })?;
    r.end()?;
    Ok(answers.finish(|topic, partition| ListedOffset {
        topic,
        partition,
        error: ErrorCode::UnknownServerError,
        offset: Offset::NONE,
        timestamp: Timestamp::NONE,
        leader_epoch: LeaderEpoch::NONE,
    }))
}

fn described(
    memory: &mut Memory,
    surroundings: &mut Surroundings,
    r: &mut Reader<'_>,
) -> Result<MetadataResponse, WireError> {
    let _throttle = r.i32()?;
    let brokers = r.array(|r| {
        let (node, host, port) = (NodeId(r.i32()?), r.string()?.to_owned(), r.i32()?);
        let rack = r.nullable_string()?.map(str::to_owned);
        r.end()?;
        let port = u16::try_from(port).map_err(|_| WireError::Value { field: "a port", value: i64::from(port) })?;
        surroundings.endpoints.insert(node, Endpoint { host, port });
        Ok(BrokerInfo { node, rack, fenced: false, endpoints: Endpoints::default() })
    })?;
    let cluster_id = r.nullable_string()?.unwrap_or_default().to_owned();
    let controller = NodeId(r.i32()?);
    let topics = r.array(|r| {
        let error = error(r)?;
        let name = r.nullable_string()?.map(TopicName::new);
        let id = r.topic_id()?;
        let is_internal = r.bool()?;
        let partitions = r.array(partition)?;
        let _who_may_do_what = r.i32()?;
        r.end()?;
        if let Some(name) = name.clone().filter(|_| id != TopicId::ZERO) {
            memory.names.insert(id, name);
        }
        Ok(TopicMetadata { error, name, id, is_internal, partitions })
    })?;
    r.end()?;
    Ok(MetadataResponse { brokers, cluster_id, controller, topics })
}

fn partition(r: &mut Reader<'_>) -> Result<PartitionMetadata, WireError> {
    let (error, partition, leader) = (error(r)?, PartitionId(r.i32()?), r.i32()?);
    let partition = PartitionMetadata {
        error,
        partition,
        leader: Some(NodeId(leader)).filter(|node| node.0 >= 0),
        leader_epoch: LeaderEpoch(r.i32()?),
        replicas: nodes(r)?,
        isr: nodes(r)?,
        elr: Vec::new(),
        offline: nodes(r)?,
    };
    r.end()?;
    Ok(partition)
}

fn created(r: &mut Reader<'_>) -> Result<Vec<CreatedTopic>, WireError> {
    let _throttle = r.i32()?;
    let topics = r.array(|r| {
        let name = TopicName::new(r.string()?);
        let id = r.topic_id()?;
        let (error, message) = (error(r)?, r.nullable_string()?.map(str::to_owned));
        let (partitions, replication_factor) = (r.i32()?, r.i16()?);
        r.each_nullable(|r| {
            let (_name, _value, _read_only) = (r.string()?, r.nullable_string()?, r.bool()?);
            let (_source, _sensitive) = (r.i8()?, r.bool()?);
            r.end()
        })?;
        r.end()?;
        Ok(CreatedTopic { name, error, message, id, partitions, replication_factor, configs: Vec::new() })
    })?;
    r.end()?;
    Ok(topics)
}

fn nodes(r: &mut Reader<'_>) -> Result<Vec<NodeId>, WireError> {
    r.array(|r| r.i32().map(NodeId))
}

fn error(r: &mut Reader<'_>) -> Result<ErrorCode, WireError> {
    r.i16().map(ErrorCode::from_code)
}
