//! Jobs and their outcomes as lines of text.

use tidelog_core::{
    ids::{LogId, TopicPartition},
    log::{Job, JobOutcome, LogError},
    message::PeerRequest,
};

pub(super) fn label(log: LogId, id: Option<TopicPartition>) -> String {
    id.map_or_else(|| format!("log{log}"), |id| format!("{id}"))
}

pub(super) fn order_text(order: &Job) -> String {
    match order {
        Job::Append { batches, sync, .. } => {
            let span = batches.first().zip(batches.last()).map(|(first, last)| {
                let header = first.header();
                let (base, end) = (header.base_offset, last.header().next_offset());
                let producer = (header.producer_id.0, header.producer_epoch.0, header.base_sequence);
                format!("{base}..{end} producer {producer:?}")
            });
            format!("append {} sync={sync}", span.unwrap_or_default())
        }
        Job::Open { dir, .. } => format!("open {dir}"),
        Job::Configure { config } => {
            let (age, bytes) = (config.retention.map(|age| age.as_millis()), config.retention_bytes);
            format!("configure retention.ms={age:?} retention.bytes={bytes:?} {:?}", config.cleanup)
        }
        Job::WriteSnapshot { id, position, piece, is_last } => {
            let last = if *is_last { ", the last" } else { "" };
            format!("write snapshot {}-{} from {position}: {} bytes{last}", id.end, id.epoch, piece.len())
        }
        order => format!("{order:?}"),
    }
}

pub(super) fn outcome_text(outcome: &Result<JobOutcome, LogError>) -> String {
    match outcome {
        Ok(JobOutcome::Opened(state)) => format!(
            "opened start={} end={} hw={} {:?}",
            state.log_start, state.log_end, state.high_watermark, state.recovery
        ),
        Ok(JobOutcome::Read { batches }) => format!("read {} pieces", batches.len()),
        Ok(JobOutcome::SnapshotPiece { bytes, size }) => format!("read {} of {size:?} bytes", bytes.len()),
        Ok(outcome) => format!("{outcome:?}"),
        Err(error) => format!("failed: {error}"),
    }
}

pub(super) fn peer_text(request: &PeerRequest) -> String {
    match request {
        PeerRequest::Fetch(r) => {
            let asked = |p: &tidelog_core::message::ReplicaFetchPartition| {
                format!(" {}@{} acked {} epoch {}", p.id, p.offset, p.acknowledged, p.current_leader_epoch)
            };
            format!("fetch session {} #{}{}", r.session, r.sequence, r.partitions.iter().map(asked).collect::<String>())
        }
        PeerRequest::Forward(request) => format!("forward {request:?}"),
        other => format!("{other:?}"),
    }
}
