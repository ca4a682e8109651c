//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: questions about a log that the disk may have to answer.

use alloc::vec::Vec;

use super::{Node, Purpose, parked::Gather};
use crate::{
    epoch::LeaderEpoch,
    ids::{JobId, LogId, RequestId},
    limits,
    log::{Job, JobOutcome, LogError},
    message::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeletedRecords, EpochEnd, ErrorCode,
        IsolationLevel, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListedOffset,
        OffsetForLeaderEpochPartition, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetSpec, Response,
    },
    offset::Offset,
    replica::Partition,
    time::{Duration, Timestamp},
};

impl Node {
    pub(super) fn on_list_offsets(&mut self, id: RequestId, request: &ListOffsetsRequest) {
        let mut waiting = 0;
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for (index, asked) in request.partitions.iter().enumerate() {
            let mut listed = ListedOffset::failed(asked, ErrorCode::None);
            match self.list_one(asked, request.isolation, &mut listed) {
                Ok(None) => {}
                Ok(Some(job)) => {
                    waiting += 1;
                    self.jobs.insert(job, Purpose::Gather { request: id, index });
                }
                Err(error) => listed.error = error,
            }
            partitions.push(listed);
        }
        self.gather(id, Response::ListOffsets(ListOffsetsResponse { partitions }), waiting, Duration::ZERO);
    }

    /// Answers at once into `listed`, or orders the job that will.
    fn list_one(
        &mut self,
        asked: &ListOffsetsPartition,
        isolation: IsolationLevel,
        listed: &mut ListedOffset,
    ) -> Result<Option<JobId>, ErrorCode> {
        let log = self.find(&asked.topic, asked.partition)?;
        let partition = &self.partitions[&log];
        check(partition, asked.current_leader_epoch)?;
        let needs_end = !matches!(asked.spec, OffsetSpec::Earliest | OffsetSpec::EarliestLocal);
        if needs_end && partition.settled_watermark().is_none() {
            return Err(ErrorCode::OffsetNotAvailable);
        }
        let bound = match isolation {
            IsolationLevel::ReadUncommitted => partition.high_watermark(),
            IsolationLevel::ReadCommitted => partition.last_stable_offset(),
        };
        listed.offset = match asked.spec {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => partition.log_start(),
            OffsetSpec::Latest => bound,
            OffsetSpec::LatestTiered => Offset::NONE,
            OffsetSpec::MaxTimestamp => return Ok(Some(self.effects.run(log, Job::FindMaxTimestamp { bound }))),
            OffsetSpec::At(at) => {
                let from = partition.log_start();
                return Ok(Some(self.effects.run(log, Job::FindTimestamp { at, from, bound })));
            }
        };
        if listed.offset != Offset::NONE {
            listed.leader_epoch = partition.epoch_at(listed.offset);
        }
        Ok(None)
    }

    pub(super) fn on_offset_for_leader_epoch(&mut self, id: RequestId, request: &OffsetForLeaderEpochRequest) {
        let answer = |asked: &OffsetForLeaderEpochPartition| {
            let mut end = EpochEnd::failed(asked, ErrorCode::None);
            let found = self.find(&asked.topic, asked.partition).and_then(|log| {
                let partition = &self.partitions[&log];
                check(partition, asked.current_leader_epoch).map(|()| partition.epoch_end(asked.leader_epoch))
            });
            match found {
                Ok(Some((epoch, offset))) => (end.leader_epoch, end.end_offset) = (epoch, offset),
                Ok(None) => {}
                Err(error) => end.error = error,
            }
            end
        };
        let partitions = request.partitions.iter().map(answer).collect();
        self.respond(id, Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { partitions }));
    }

    pub(super) fn on_delete_records(&mut self, id: RequestId, request: &DeleteRecordsRequest) {
        let mut waiting = 0;
        let mut partitions = Vec::with_capacity(request.partitions.len());
        for (index, asked) in request.partitions.iter().enumerate() {
            let mut deleted = DeletedRecords::failed(asked, ErrorCode::None);
            match self.delete_one(asked) {
                Ok(job) => {
                    waiting += 1;
                    self.jobs.insert(job, Purpose::Gather { request: id, index });
                }
                Err(error) => deleted.error = error,
            }
            partitions.push(deleted);
        }
        let timeout = request.timeout.min(limits::PRODUCE_WAIT_MAX);
        self.gather(id, Response::DeleteRecords(DeleteRecordsResponse { partitions }), waiting, timeout);
    }

    fn delete_one(&mut self, asked: &DeleteRecordsPartition) -> Result<JobId, ErrorCode> {
        let log = self.find(&asked.topic, asked.partition)?;
        let partition = &self.partitions[&log];
        check(partition, LeaderEpoch::NONE)?;
        let to = partition.delete_target(asked.offset)?;
        Ok(self.effects.run(log, Job::RaiseLogStart { to }))
    }

    fn gather(&mut self, id: RequestId, response: Response, waiting: usize, timeout: Duration) {
        if waiting == 0 {
            self.respond(id, response);
        } else {
            let deadline = self.now.mono.after(timeout);
            self.gathers.park(id, Gather { response, waiting, deadline });
        }
    }

    /// One part of a gathered answer is there.
    pub(super) fn on_gathered(
        &mut self,
        log: LogId,
        request: RequestId,
        index: usize,
        outcome: Result<JobOutcome, LogError>,
    ) {
        if let (Ok(JobOutcome::Trimmed { log_start, size, .. }), Some(partition)) =
            (&outcome, self.partitions.get_mut(&log))
        {
            partition.trimmed(*log_start, *size);
            if self.awaits_replicas(log, request, index, *log_start) {
                return;
            }
        }
        // Its client may be gone.
        let Some(gather) = self.gathers.get(request) else { return };
        match &mut gather.response {
            Response::ListOffsets(response) => fill_listed(&mut response.partitions[index], outcome),
            Response::DeleteRecords(response) => fill_deleted(&mut response.partitions[index], outcome),
            other => unreachable!("{other:?} is not gathered"),
        }
        self.part_gathered(request);
    }

    /// One part fewer is missing.
    pub(super) fn part_gathered(&mut self, request: RequestId) {
        let Some(gather) = self.gathers.get(request) else { return };
        gather.waiting -= 1;
        if gather.waiting == 0
            && let Some(gather) = self.gathers.take(request)
        {
            self.respond(request, gather.response);
        }
    }
}

fn check(partition: &Partition, current: LeaderEpoch) -> Result<(), ErrorCode> {
    if partition.is_offline() {
        return Err(ErrorCode::KafkaStorageError);
    }
    match partition.check_leader(current) {
        ErrorCode::None => Ok(()),
        error => Err(error),
    }
}

fn fill_listed(listed: &mut ListedOffset, outcome: Result<JobOutcome, LogError>) {
    match outcome {
        Ok(JobOutcome::Found { record }) => {
            (listed.offset, listed.timestamp, listed.leader_epoch) =
                record.unwrap_or((Offset::NONE, Timestamp::NONE, LeaderEpoch::NONE));
        }
        Ok(other) => panic!("a search was answered by {other:?}"),
        Err(error) => listed.error = storage_error(&error),
    }
}

fn fill_deleted(deleted: &mut DeletedRecords, outcome: Result<JobOutcome, LogError>) {
    match outcome {
        Ok(JobOutcome::Trimmed { log_start, .. }) => deleted.low_watermark = log_start,
        Ok(other) => panic!("a cut was answered by {other:?}"),
        Err(error) => deleted.error = storage_error(&error),
    }
}

/// What a client is told of a job that failed.
pub(super) fn storage_error(error: &LogError) -> ErrorCode {
    match error {
        LogError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        LogError::NotOpen => ErrorCode::UnknownTopicOrPartition,
        _ => ErrorCode::KafkaStorageError,
    }
}
