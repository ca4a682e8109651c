//! Messages and orders folded to one word each, for the trace.

use tidelog_core::{
    cluster::Image,
    effect::Effect,
    input::Input,
    log::{Job, JobOutcome, LogError},
    message::{Records, Request, Response},
    prng::mix,
};

fn fold(words: &[u64]) -> u64 {
    words.iter().fold(0, |digest, &word| mix(digest ^ word))
}

/// A fact.
pub fn input(input: &Input) -> u64 {
    match input {
        Input::Started => 1,
        Input::Requested { id, request: asked } => fold(&[2, id.0, request(asked)]),
        Input::RequestAbandoned { id } => fold(&[3, id.0]),
        Input::JobEnded { log, job, outcome } => fold(&[4, u64::from(log.0), job.0, outcome_word(outcome)]),
        Input::StopRequested => 5,
        Input::TimePassed => 6,
        Input::CallEnded { call, outcome } => fold(&[7, call.0, u64::from(outcome.is_ok())]),
        Input::PeerDisconnected { node } => fold(&[8, node.0 as u64]),
    }
}

/// An order.
pub fn effect(effect: &Effect) -> u64 {
    match effect {
        Effect::Respond { id, response: answer } => fold(&[1, id.0, response(answer)]),
        Effect::Run { log, job, order } => fold(&[2, u64::from(log.0), job.0, job_word(order)]),
        Effect::Ready => 3,
        Effect::Stopped => 4,
        Effect::LogFailed { .. } => 5,
        Effect::DirectoryFailed { .. } => 6,
        Effect::Halt { .. } => 7,
        Effect::Call { call, to, .. } => fold(&[8, call.0, to.0 as u64]),
        Effect::PeerMoved { node, .. } => fold(&[9, node.0 as u64]),
        Effect::LeaderLacks { from, to, .. } => fold(&[10, from.0 as u64, to.0 as u64]),
    }
}

fn job_word(order: &Job) -> u64 {
    match order {
        Job::Append { batches, sync, .. } => batches.iter().fold(u64::from(*sync), |digest, batch| {
            fold(&[digest, batch.header().base_offset.0 as u64, u64::from(batch.header().crc)])
        }),
        Job::Truncate { to } => fold(&[1, to.0 as u64]),
        Job::RaiseLogStart { to } => fold(&[2, to.0 as u64]),
        Job::Retain { high_watermark, wall } => fold(&[3, high_watermark.0 as u64, wall.0 as u64]),
        Job::Clean { bound, wall } => fold(&[4, bound.0 as u64, wall.0 as u64]),
        Job::FindTimestamp { at, from, bound } => fold(&[5, at.0 as u64, from.0 as u64, bound.0 as u64]),
        Job::WriteSnapshot { id, position, piece, is_last } => {
            fold(&[7, id.end.0 as u64, *position, piece.len() as u64, u64::from(*is_last)])
        }
        Job::ReadSnapshot { id, position, max_bytes } => fold(&[8, id.end.0 as u64, *position, *max_bytes as u64]),
        Job::RemoveSnapshot(id) => fold(&[9, id.end.0 as u64]),
        Job::StartOver { at } => fold(&[10, at.0 as u64]),
        _ => 6,
    }
}

fn outcome_word(outcome: &Result<JobOutcome, LogError>) -> u64 {
    match outcome {
        Ok(JobOutcome::Appended { end, size }) => fold(&[1, end.0 as u64, *size]),
        Ok(JobOutcome::Opened(state)) => fold(&[2, state.log_start.0 as u64, state.log_end.0 as u64, state.size]),
        Ok(JobOutcome::Trimmed { log_start, end, size }) => fold(&[3, log_start.0 as u64, end.0 as u64, *size]),
        Ok(JobOutcome::Truncated { log_start, end, size, .. }) => fold(&[9, log_start.0 as u64, end.0 as u64, *size]),
        Ok(JobOutcome::Found { record }) => fold(&[4, record.map_or(u64::MAX, |(offset, ..)| offset.0 as u64)]),
        Ok(JobOutcome::SnapshotPiece { bytes, size }) => fold(&[10, bytes.len() as u64, size.unwrap_or(u64::MAX)]),
        Ok(_) => 5,
        Err(LogError::DiskFull) => 6,
        Err(LogError::Offline(_)) => 7,
        Err(_) => 8,
    }
}

/// The metadata as a node has folded it.
pub fn image(image: &Image) -> u64 {
    struct Fold(u64);
    impl std::fmt::Write for Fold {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            for piece in text.as_bytes().chunks(8) {
                let mut word = [0; 8];
                word[..piece.len()].copy_from_slice(piece);
                self.0 = mix(self.0 ^ u64::from_le_bytes(word));
            }
            Ok(())
        }
    }
    let mut fold = Fold(0);
    std::fmt::Write::write_fmt(&mut fold, format_args!("{image:?}")).expect("a fold takes all text");
    fold.0
}

/// A request.
pub fn request(request: &Request) -> u64 {
    match request {
        Request::Produce(r) => r.partitions.iter().fold(1, |digest, partition| {
            let crc = partition.batch.as_ref().map_or(0, |batch| u64::from(batch.header().crc));
            fold(&[digest, partition.partition.0 as u64, crc])
        }),
        Request::Fetch(r) => {
            r.partitions.iter().fold(2, |digest, p| fold(&[digest, p.partition.0 as u64, p.offset.0 as u64]))
        }
        Request::ListOffsets(_) => 3,
        Request::CreateTopics(_) => 4,
        Request::DeleteTopics(_) => 5,
        Request::Metadata(_) => 6,
        _ => 7,
    }
}

/// A response.
pub fn response(response: &Response) -> u64 {
    match response {
        Response::Produce(r) => {
            r.partitions.iter().fold(1, |digest, p| fold(&[digest, p.error.code() as u64, p.base_offset.0 as u64]))
        }
        Response::Fetch(r) => r.partitions.iter().fold(2, |digest, p| {
            let records = match &p.records {
                Records::Empty => 0,
                Records::Batches(batches) => batches.iter().map(|batch| batch.size() as u64).sum(),
                Records::Bytes(bytes) => bytes.len() as u64,
                Records::Log(read) => fold(&[read.from.0 as u64, read.bound.0 as u64]),
            };
            let sent_on = p.preferred_read_replica.map_or(0, |node| 1 + node.0 as u64);
            fold(&[digest, p.error.code() as u64, p.high_watermark.0 as u64, p.log_start.0 as u64, records, sent_on])
        }),
        Response::ListOffsets(r) => {
            r.partitions.iter().fold(3, |digest, p| fold(&[digest, p.error.code() as u64, p.offset.0 as u64]))
        }
        Response::InitProducerId(r) => fold(&[4, r.error.code() as u64, r.producer_id.0 as u64]),
        Response::Metadata(r) => fold(&[5, r.topics.len() as u64]),
        _ => 6,
    }
}
