//! The administrator as an application sees it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use tidelog_core::{
    client::{self as core, AdminConfig, AdminEvent, OperationId},
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, TopicName},
    message::{
        AlterConfigsRequest, AlterConfigsResource, AlteredConfigs, ConfigResource, CreatePartitionsRequest,
        CreateTopicsRequest, CreatedPartitions, CreatedTopic, DeleteRecordsPartition, DeleteRecordsRequest,
        DeleteTopicsRequest, DeletedRecords, DeletedTopic, DescribeClusterResponse, DescribeConfigsRequest,
        DescribeLogDirsRequest, DescribeLogDirsResponse, DescribedConfigs, IsolationLevel, ListOffsetsPartition,
        ListOffsetsRequest, ListedOffset, MetadataRequest, MetadataResponse, NewPartitions, NewTopic, OffsetSpec,
        Request, Response, TopicMetadata, TopicRef,
    },
    offset::Offset,
    time::Duration,
};
use tokio::sync::oneshot;

use crate::{
    client::Shared,
    driver::{Application, Driver},
    error::Error,
};

/// Creates, describes, changes and deletes. Errors of single topics, partitions and settings stand in the answers.
pub struct Admin {
    driver: Arc<Driver<core::Admin, Waiting>>,
    timeout: Duration,
}

/// The answer to a change that may have been sent twice because the first answer was lost. If it was, "exists
/// already" and "no such topic" can be the work of the first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeatable<T> {
    /// The answer.
    pub answer: T,
    /// Was it sent again?
    pub repeated: bool,
}

#[derive(Default)]
struct Waiting(BTreeMap<OperationId, oneshot::Sender<AdminEvent>>);

impl Admin {
    pub(crate) fn start(shared: Arc<Shared>, config: AdminConfig) -> Self {
        let timeout = config.request_timeout;
        let machine = core::Admin::new(config, shared.next_seed());
        Self { driver: Driver::start(shared, machine, Waiting::default()), timeout }
    }

    /// Sends any request and waits for its answer; `node` can name who is to be asked.
    pub async fn request(&self, request: Request, node: Option<NodeId>) -> Result<Repeatable<Response>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.driver.with(|admin, waiting, now| {
            let id = admin.start(now, request, node);
            waiting.0.insert(id, sender);
        });
        let event = receiver.await.map_err(|_| Error::closed())?;
        Ok(Repeatable { answer: event.outcome?, repeated: event.repeated })
    }

    /// Creates topics.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Result<Repeatable<Vec<CreatedTopic>>, Error> {
        let request = Request::CreateTopics(CreateTopicsRequest { topics, validate_only, timeout: self.timeout });
        self.ask(request, None, |r| if let Response::CreateTopics(r) = r { Some(r.topics) } else { None }).await
    }

    /// Deletes topics.
    pub async fn delete_topics(&self, topics: Vec<TopicRef>) -> Result<Repeatable<Vec<DeletedTopic>>, Error> {
        let request = Request::DeleteTopics(DeleteTopicsRequest { topics, timeout: self.timeout });
        self.ask(request, None, |r| if let Response::DeleteTopics(r) = r { Some(r.topics) } else { None }).await
    }

    /// Gives topics more partitions.
    pub async fn create_partitions(
        &self,
        topics: Vec<NewPartitions>,
        validate_only: bool,
    ) -> Result<Repeatable<Vec<CreatedPartitions>>, Error> {
        let request =
            Request::CreatePartitions(CreatePartitionsRequest { topics, validate_only, timeout: self.timeout });
        self.ask(request, None, |r| if let Response::CreatePartitions(r) = r { Some(r.topics) } else { None }).await
    }

    /// Brokers, topics, partitions and their leaders. `None` is all topics.
    pub async fn metadata(&self, topics: Option<Vec<TopicRef>>) -> Result<MetadataResponse, Error> {
        let request = Request::Metadata(MetadataRequest { topics, allow_auto_topic_creation: false });
        let answer = self.ask(request, None, |r| if let Response::Metadata(r) = r { Some(r) } else { None }).await?;
        Ok(answer.answer)
    }

    /// One topic's partitions and their leaders.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicMetadata, Error> {
        let topic = TopicRef::Name(TopicName::new(name));
        let mut topics = self.metadata(Some(vec![topic])).await?.topics;
        match topics.pop() {
            Some(topic) if topic.error.is_none() => Ok(topic),
            Some(topic) => Err(Error::refused(topic.error, None)),
            None => Err(Error::refused(tidelog_core::message::ErrorCode::UnknownTopicOrPartition, None)),
        }
    }

    /// The cluster and its nodes.
    pub async fn describe_cluster(&self) -> Result<DescribeClusterResponse, Error> {
        let take = |r| if let Response::DescribeCluster(r) = r { Some(r) } else { None };
        Ok(self.ask(Request::DescribeCluster, None, take).await?.answer)
    }

    /// Sizes of the logs on a node.
    pub async fn describe_log_dirs(
        &self,
        node: Option<NodeId>,
        partitions: Option<Vec<(TopicName, PartitionId)>>,
    ) -> Result<DescribeLogDirsResponse, Error> {
        let request = Request::DescribeLogDirs(DescribeLogDirsRequest { partitions });
        let take = |r| if let Response::DescribeLogDirs(r) = r { Some(r) } else { None };
        Ok(self.ask(request, node, take).await?.answer)
    }

    /// Settings as they are; `None` is all of a resource's.
    pub async fn describe_configs(
        &self,
        resources: Vec<(ConfigResource, Option<Vec<String>>)>,
    ) -> Result<Vec<DescribedConfigs>, Error> {
        let request = Request::DescribeConfigs(DescribeConfigsRequest { resources });
        let take = |r| if let Response::DescribeConfigs(r) = r { Some(r.resources) } else { None };
        Ok(self.ask(request, None, take).await?.answer)
    }

    /// Changes settings (KIP-339).
    pub async fn alter_configs(
        &self,
        resources: Vec<AlterConfigsResource>,
        validate_only: bool,
    ) -> Result<Repeatable<Vec<AlteredConfigs>>, Error> {
        let request = Request::AlterConfigs(AlterConfigsRequest { resources, validate_only });
        self.ask(request, None, |r| if let Response::AlterConfigs(r) = r { Some(r.resources) } else { None }).await
    }

    /// Raises log start offsets: everything below goes (KIP-107). [`Offset::NONE`] is the high watermark.
    pub async fn delete_records(
        &self,
        partitions: Vec<(TopicName, PartitionId, Offset)>,
    ) -> Result<Repeatable<Vec<DeletedRecords>>, Error> {
        let partitions = partitions.into_iter().map(|(topic, partition, offset)| DeleteRecordsPartition {
            topic: TopicRef::Name(topic),
            partition,
            offset,
        });
        let partitions = partitions.collect();
        let request = Request::DeleteRecords(DeleteRecordsRequest { timeout: self.timeout, partitions });
        self.ask(request, None, |r| if let Response::DeleteRecords(r) = r { Some(r.partitions) } else { None }).await
    }

    /// Finds offsets, in the order of the question.
    pub async fn list_offsets(
        &self,
        isolation: IsolationLevel,
        partitions: Vec<(TopicName, PartitionId, OffsetSpec)>,
    ) -> Result<Vec<ListedOffset>, Error> {
        let partitions = partitions.into_iter().map(|(topic, partition, spec)| ListOffsetsPartition {
            topic: TopicRef::Name(topic),
            partition,
            current_leader_epoch: LeaderEpoch::NONE,
            spec,
        });
        let request = Request::ListOffsets(ListOffsetsRequest { isolation, partitions: partitions.collect() });
        let take = |r| if let Response::ListOffsets(r) = r { Some(r.partitions) } else { None };
        Ok(self.ask(request, None, take).await?.answer)
    }

    async fn ask<T>(
        &self,
        request: Request,
        node: Option<NodeId>,
        take: impl FnOnce(Response) -> Option<T>,
    ) -> Result<Repeatable<T>, Error> {
        let Repeatable { answer, repeated } = self.request(request, node).await?;
        let answer = take(answer).expect("the machine checks that the answer is of the request's kind");
        Ok(Repeatable { answer, repeated })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.driver.stop();
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Application<AdminEvent> for Waiting {
    fn on_event(&mut self, event: AdminEvent) {
        if let Some(waiting) = self.0.remove(&event.operation) {
            // Whoever asked may be gone.
            let _ = waiting.send(event);
        }
    }
}
