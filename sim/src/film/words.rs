//! Messages in a few words.

use tidelog_core::message::{PeerRequest, PeerResponse, Records, Request, Response};

use super::Kind;

/// What a request is about.
pub fn kind_of_request(request: &Request) -> Kind {
    match request {
        Request::Produce(_) | Request::InitProducerId(_) => Kind::Produce,
        Request::Fetch(_) | Request::ListOffsets(_) | Request::OffsetForLeaderEpoch(_) => Kind::Consume,
        Request::Peer(PeerRequest::Fetch(fetch)) if fetch.is_of_metadata() => Kind::Metadata,
        Request::Peer(PeerRequest::Fetch(_)) => Kind::Replicate,
        Request::Peer(PeerRequest::FetchSnapshot(_)) => Kind::Metadata,
        Request::Peer(PeerRequest::Vote(_) | PeerRequest::BeginEpoch(_) | PeerRequest::EndEpoch(_)) => Kind::Election,
        Request::Peer(PeerRequest::Register(_) | PeerRequest::Heartbeat(_) | PeerRequest::AlterPartition(_)) => {
            Kind::Controller
        }
        _ => Kind::Other,
    }
}

/// What a response is about.
pub fn kind_of_response(response: &Response) -> Kind {
    match response {
        Response::Produce(_) | Response::InitProducerId(_) => Kind::Produce,
        Response::Fetch(_) | Response::ListOffsets(_) | Response::OffsetForLeaderEpoch(_) => Kind::Consume,
        Response::Peer(PeerResponse::Fetch(fetched)) => {
            let of_metadata = |p: &tidelog_core::message::ReplicaFetched| p.id == crate::host::metadata_partition();
            if fetched.partitions.first().is_some_and(of_metadata) { Kind::Metadata } else { Kind::Replicate }
        }
        Response::Peer(PeerResponse::FetchSnapshot(_)) => Kind::Metadata,
        Response::Peer(PeerResponse::Vote(_) | PeerResponse::Epoch(_)) => Kind::Election,
        Response::Peer(PeerResponse::Register(_) | PeerResponse::Heartbeat(_) | PeerResponse::AlterPartition(_)) => {
            Kind::Controller
        }
        _ => Kind::Other,
    }
}

/// What a request says.
pub fn request_text(request: &Request) -> String {
    match request {
        Request::Produce(r) => {
            let parts = r.partitions.iter().map(|p| match &p.batch {
                Ok(batch) => {
                    let h = batch.header();
                    let records = h.last_offset_delta + 1;
                    let from = (h.producer_id.0 >= 0).then(|| {
                        format!(" producer {} epoch {} seq {}", h.producer_id, h.producer_epoch, h.base_sequence)
                    });
                    format!("{}-{}: {records} records{}", topic(&p.topic), p.partition, from.unwrap_or_default())
                }
                Err(error) => format!("{}-{}: {error:?}", topic(&p.topic), p.partition),
            });
            format!("Produce acks={:?} {}", r.acks, lines(parts))
        }
        Request::Fetch(r) => {
            let parts = r.partitions.iter().map(|p| format!("{}-{} from {}", topic(&p.topic), p.partition, p.offset));
            format!("Fetch {}", lines(parts))
        }
        Request::Peer(PeerRequest::Fetch(r)) => {
            let parts = r.partitions.iter().map(|p| {
                format!(
                    "{}: log end {}, durable {}, leader epoch {}, last epoch {}, hw {}",
                    name(p.id),
                    p.offset,
                    p.acknowledged,
                    p.current_leader_epoch,
                    p.last_fetched_epoch,
                    p.high_watermark
                )
            });
            format!("Fetch by n{} session {} #{} {}", r.replica, r.session, r.sequence, lines(parts))
        }
        Request::Peer(PeerRequest::Vote(r)) => format!(
            "{} for n{} in epoch {}: log end {} of epoch {}",
            if r.pre_vote { "Pre-vote" } else { "Vote" },
            r.candidate,
            r.epoch,
            r.log_end,
            r.last_epoch
        ),
        Request::Peer(PeerRequest::BeginEpoch(r)) => format!("n{} leads epoch {}", r.leader, r.epoch),
        Request::Peer(PeerRequest::EndEpoch(r)) => format!("n{} leads epoch {} no longer", r.leader, r.epoch),
        Request::Peer(PeerRequest::Forward(inner)) => format!("Forwarded: {}", request_text(inner)),
        Request::Peer(other) => short(&format!("{other:?}")),
        other => short(&format!("{other:?}")),
    }
}

/// What a response says.
pub fn response_text(response: &Response) -> String {
    match response {
        Response::Produce(r) => {
            let parts = r.partitions.iter().map(|p| match p.error.is_none() {
                true => format!("{}-{}: at offset {}", topic(&p.topic), p.partition, p.base_offset),
                false => format!("{}-{}: {:?}", topic(&p.topic), p.partition, p.error),
            });
            format!("Produced {}", lines(parts))
        }
        Response::Fetch(r) => {
            let parts = r.partitions.iter().map(|p| {
                format!("{}-{}: {}, hw {}", topic(&p.topic), p.partition, held(&p.records, p.error), p.high_watermark)
            });
            format!("Fetched {}", lines(parts))
        }
        Response::Peer(PeerResponse::Fetch(r)) => {
            let parts = r.partitions.iter().map(|p| {
                let parts = p.diverging.map(|(epoch, end)| format!(", logs part at {end} of epoch {epoch}"));
                let what = held(&p.records, p.error);
                let (epoch, hw) = (p.leader_epoch, p.high_watermark);
                format!("{}: {what}, leader epoch {epoch}, hw {hw}{}", name(p.id), parts.unwrap_or_default())
            });
            format!("Fetched session {} {}", r.session, lines(parts))
        }
        Response::Peer(PeerResponse::Vote(r)) => {
            let answer = if r.granted { "granted" } else { "refused" };
            format!("Vote {answer}, epoch {}, leader {:?} {:?}", r.epoch, r.leader, r.error)
        }
        Response::Peer(other) => short(&format!("{other:?}")),
        other => short(&format!("{other:?}")),
    }
}

fn held(records: &Records, error: tidelog_core::message::ErrorCode) -> String {
    if !error.is_none() {
        return format!("{error:?}");
    }
    match records {
        Records::Empty => "nothing new".to_owned(),
        Records::Batches(batches) => match (batches.first(), batches.last()) {
            (Some(first), Some(last)) => {
                format!("{}..{}", first.header().base_offset, last.header().next_offset())
            }
            _ => "nothing new".to_owned(),
        },
        Records::Bytes(bytes) => {
            let mut batches = tidelog_core::record::Batches(bytes.clone()).flatten();
            match batches.next() {
                Some(first) => {
                    let end = batches.last().unwrap_or_else(|| first.clone()).header().next_offset();
                    format!("{}..{end}", first.header().base_offset)
                }
                None => format!("{} bytes", bytes.len()),
            }
        }
        Records::Log(read) => format!("{}..{}", read.from, read.bound),
    }
}

fn topic(topic: &tidelog_core::message::TopicRef) -> String {
    match topic {
        tidelog_core::message::TopicRef::Name(name) => name.as_str().to_owned(),
        tidelog_core::message::TopicRef::Id(id) => id.to_string(),
    }
}

fn name(id: tidelog_core::ids::TopicPartition) -> String {
    if id == crate::host::metadata_partition() { "metadata".to_owned() } else { id.to_string() }
}

/// At most so many things are listed.
const PARTS_MAX: usize = 8;

fn lines(parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.collect();
    let more = parts.len().saturating_sub(PARTS_MAX);
    parts.truncate(PARTS_MAX);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    if parts.len() == 1 { parts.remove(0) } else { parts.iter().map(|part| format!("\n{part}")).collect() }
}

fn short(text: &str) -> String {
    if text.chars().count() <= 300 { text.to_owned() } else { text.chars().take(300).chain(" …".chars()).collect() }
}
