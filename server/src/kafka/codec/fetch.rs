//! Fetch (sessions since 7: KIP-227; topic ids since 13: KIP-516).

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::PartitionId,
    limits,
    message::{ErrorCode, FetchPartition, FetchRequest, FetchResponse, IsolationLevel, TopicRef},
    offset::Offset,
    time::Duration,
};

use super::{
    super::session::Given, Reader, WireError, Writer, data, partition_id, topic_ref, write_error, write_topic_ref,
};

/// A fetch as it stands on the wire: within a session it says only what changed since the one before.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct FetchAsked {
    /// 0 is none.
    pub(in super::super) session: i32,
    /// -1 ends the session, 0 begins one, others continue it.
    pub(in super::super) session_epoch: i32,
    /// Does this version name topics by id?
    pub(in super::super) by_id: bool,
    /// What is asked for; outside a session, all of it.
    pub(in super::super) request: FetchRequest,
    /// Partitions that leave the session.
    pub(in super::super) forgotten: Vec<(TopicRef, PartitionId)>,
}

/// The session epoch of a fetch that wants none.
pub(in super::super) const SESSIONLESS: i32 = -1;

pub(super) fn decode(v: i16, r: &mut Reader<'_>) -> Result<FetchAsked, WireError> {
    let by_id = v >= 13;
    if v <= 14 {
        // Followers speak the native protocol. Whoever claims to be one here reads what a consumer reads.
        let _replica = r.i32()?;
    }
    let max_wait = Duration::from_wire_millis(r.i32()?).min(limits::FETCH_WAIT_MAX);
    let min_bytes = bytes(r.i32()?);
    let max_bytes = bytes(r.i32()?).min(limits::FETCH_BYTES_MAX);
    let isolation: IsolationLevel = data::isolation(r)?;
    let (session, session_epoch) = if v >= 7 { (r.i32()?, r.i32()?) } else { (0, SESSIONLESS) };
    let mut partitions = Vec::new();
    r.each(|r| {
        let topic = topic_ref(by_id, r)?;
        r.each(|r| {
            let partition = partition_id(r)?;
            let current_leader_epoch = if v >= 9 { LeaderEpoch(r.i32()?) } else { LeaderEpoch::NONE };
            let offset = Offset(r.i64()?);
            let last_fetched_epoch = if v >= 12 { LeaderEpoch(r.i32()?) } else { LeaderEpoch::NONE };
            if v >= 5 {
                let _followers_log_start = r.i64()?;
            }
            let max_bytes = bytes(r.i32()?);
            r.end()?;
            partitions.push(FetchPartition {
                topic: topic.clone(),
                partition,
                current_leader_epoch,
                offset,
                last_fetched_epoch,
                log_start: Offset::NONE,
                max_bytes,
            });
            Ok(())
        })?;
        r.end()
    })?;
    let mut forgotten = Vec::new();
    if v >= 7 {
        r.each(|r| {
            let topic = topic_ref(by_id, r)?;
            r.each(|r| {
                forgotten.push((topic.clone(), partition_id(r)?));
                Ok(())
            })?;
            r.end()
        })?;
    }
    // Readers of older versions know nothing of followers that serve readers (KIP-392).
    let rack = if v >= 11 { Some(r.string()?.to_owned()) } else { None };
    r.end()?;
    let request = FetchRequest { max_wait, min_bytes, max_bytes, isolation, rack, replica: None, partitions };
    Ok(FetchAsked { session, session_epoch, by_id, request, forgotten })
}

/// A wire value in bytes; negative counts as zero.
fn bytes(count: i32) -> usize {
    usize::try_from(count).unwrap_or(0)
}

/// Writes a response whose partitions have been through the session.
pub(super) fn encode(v: i16, given: Given, response: &FetchResponse, w: &mut Writer) {
    w.i32(0); // throttle time
    if v >= 7 {
        write_error(given.error, w);
        w.i32(given.session);
    }
    w.groups(
        &response.partitions,
        |of| of.topic.clone(),
        |w, of_topic| {
            write_topic_ref(&of_topic[0].topic, w);
            w.array(of_topic.iter(), |w, of| {
                w.i32(of.partition.0);
                write_error(error(v, of.error), w);
                w.i64(of.high_watermark.0);
                w.i64(of.last_stable_offset.0);
                if v >= 5 {
                    w.i64(of.log_start.0);
                }
                match &of.aborted {
                    None => w.null_array(),
                    Some(aborted) => w.array(aborted.iter(), |w, transaction| {
                        w.i64(transaction.producer_id.0);
                        w.i64(transaction.first_offset.0);
                        w.end();
                    }),
                }
                if v >= 11 {
                    w.i32(of.preferred_read_replica.map_or(-1, |node| node.0));
                }
                w.records(&of.records);
                match of.diverging {
                    Some((epoch, end)) if v >= 12 => w.end_with_tag(0, |w| {
                        w.i32(epoch.0);
                        w.i64(end.0);
                        w.end();
                    }),
                    _ => w.end(),
                }
            });
            w.end();
        },
    );
    w.end();
}

/// Before KIP-112 no client knew of disks that fail, and before KIP-392 none of places that are not there yet.
fn error(v: i16, error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::KafkaStorageError if v <= 5 => ErrorCode::NotLeaderOrFollower,
        ErrorCode::OffsetNotAvailable if v <= 10 => ErrorCode::NotLeaderOrFollower,
        error => error,
    }
}
