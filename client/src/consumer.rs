//! The consumer as an application sees it.

use std::{collections::VecDeque, fmt, pin::pin, sync::Arc};

use tidelog_core::{
    client::{self as core, ConsumedBatch, ConsumerConfig, ConsumerEvent, StartAt},
    ids::{PartitionId, TopicName},
    offset::Offset,
};
use tokio::sync::Notify;

use crate::{
    client::Shared,
    driver::{Application, Driver},
    error::{Error, ErrorKind},
};

/// Reads partitions. Batches are fetched ahead of the application within the bounds of its configuration; when it
/// does not take them, fetching stops.
pub struct Consumer {
    driver: Arc<Driver<core::Consumer, Signals>>,
    woken: Arc<Notify>,
}

#[derive(Default)]
struct Signals {
    failures: VecDeque<Error>,
    woken: Arc<Notify>,
}

impl Consumer {
    pub(crate) fn start(shared: Arc<Shared>, config: ConsumerConfig) -> Self {
        let signals = Signals::default();
        let woken = signals.woken.clone();
        let machine = core::Consumer::new(config, shared.next_seed());
        Self { driver: Driver::start(shared, machine, signals), woken }
    }

    /// How many partitions a topic has.
    pub async fn partition_count(&self, topic: &str) -> Result<usize, Error> {
        let name = TopicName::new(topic);
        self.driver.with(|consumer, _, now| consumer.look_up(now, &name));
        loop {
            let mut woken = pin!(self.woken.notified());
            woken.as_mut().enable();
            match self.driver.with_if(|consumer, _, _| (consumer.partition_count(&name), false)) {
                Some(Ok(count)) => return Ok(count),
                Some(Err(code)) => return Err(Error::refused(code, None)),
                None => woken.await,
            }
        }
    }

    /// Begins to read one partition; one that is read already goes to the new place.
    pub fn assign(&mut self, topic: &str, partition: i32, start: StartAt) {
        let name = TopicName::new(topic);
        self.driver.with(|consumer, _, now| consumer.assign(now, &name, PartitionId(partition), start));
    }

    /// Begins to read all partitions that a topic has now.
    pub async fn assign_topic(&mut self, topic: &str, start: StartAt) -> Result<(), Error> {
        let count = self.partition_count(topic).await?;
        for partition in 0..count {
            self.assign(topic, i32::try_from(partition).expect("partition counts fit"), start);
        }
        Ok(())
    }

    /// Stops reading a partition.
    pub fn unassign(&mut self, topic: &str, partition: i32) {
        let name = TopicName::new(topic);
        self.driver.with(|consumer, _, _| consumer.unassign(&name, PartitionId(partition)));
    }

    /// Goes somewhere else in a partition. False when it is not assigned.
    pub fn seek(&mut self, topic: &str, partition: i32, to: StartAt) -> bool {
        let name = TopicName::new(topic);
        self.driver.with(|consumer, _, now| consumer.seek(now, &name, PartitionId(partition), to))
    }

    /// The offset of the next record of a partition; `None` while it is not known.
    pub fn position(&self, topic: &str, partition: i32) -> Option<Offset> {
        let name = TopicName::new(topic);
        self.driver.with_if(|consumer, _, _| (consumer.position(&name, PartitionId(partition)), false))
    }

    /// Where a partition's log begins and where committed records end, as of the last fetch.
    pub fn bounds(&self, topic: &str, partition: i32) -> Option<(Offset, Offset)> {
        let name = TopicName::new(topic);
        self.driver.with_if(|consumer, _, _| (consumer.bounds(&name, PartitionId(partition)), false))
    }

    /// Hands out nothing more of a partition until it is resumed.
    pub fn pause(&mut self, topic: &str, partition: i32) {
        let name = TopicName::new(topic);
        self.driver.with(|consumer, _, _| consumer.pause(&name, PartitionId(partition)));
    }

    /// Goes on after [`Consumer::pause`].
    pub fn resume(&mut self, topic: &str, partition: i32) {
        let name = TopicName::new(topic);
        self.driver.with(|consumer, _, now| consumer.resume(now, &name, PartitionId(partition)));
    }

    /// The next batch, of each partition in turn; waits until there is one. The records are in
    /// [`ConsumedBatch::records`], from the first that was not seen. Dropping the future loses nothing.
    ///
    /// An error concerns one partition. When it [is retriable](Error::is_retriable) the consumer goes on by itself;
    /// otherwise the partition stands still until [`Consumer::seek`]. The others go on either way. A retriable
    /// [`ErrorKind::Truncated`] says that records handed out before are gone from the log (KIP-320), and that what
    /// comes next is what stands there now.
    pub async fn next_batch(&mut self) -> Result<ConsumedBatch, Error> {
        let signal = self.woken.clone();
        loop {
            if let Some(next) = self.try_next_batch() {
                return next;
            }
            let mut woken = pin!(signal.notified());
            woken.as_mut().enable();
            if let Some(next) = self.try_next_batch() {
                return next;
            }
            woken.await;
        }
    }

    /// As [`Consumer::next_batch`], without waiting.
    pub fn try_next_batch(&mut self) -> Option<Result<ConsumedBatch, Error>> {
        self.driver.with_if(|consumer, signals, now| {
            if let Some(error) = signals.failures.pop_front() {
                return (Some(Err(error)), false);
            }
            let batch = consumer.next_batch(now);
            let stirred = batch.is_some();
            (batch.map(Ok), stirred)
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.driver.stop();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

impl Signals {
    fn tell(&mut self, error: Error) {
        // Somebody who never looks must not fill the memory.
        if self.failures.len() < FAILURES_KEPT_MAX {
            self.failures.push_back(error);
        }
    }
}

impl Application<ConsumerEvent> for Signals {
    fn on_event(&mut self, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Wake => {}
            ConsumerEvent::Failed { topic, partition, error } => {
                let place = format!("{topic}-{partition}: ");
                self.tell(Error::from(error).at(&place));
            }
            // Reading goes on at the cut by itself, but what was handed out past it is no longer in the log.
            ConsumerEvent::Truncated { topic, partition, end } => {
                let message =
                    format!("{topic}-{partition}: the log was truncated to offset {end}; reading goes on there");
                self.tell(Error::new(ErrorKind::Truncated, message, true));
            }
        }
        self.woken.notify_waiters();
    }
}

/// Failures that wait for the application to ask.
const FAILURES_KEPT_MAX: usize = 1024;
