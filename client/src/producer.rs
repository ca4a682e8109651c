//! The producer as an application sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use tidelog_core::{
    client::{self as core, AppendError, NewRecord, ProduceError, ProducerConfig, ProducerEvent, TopicHandle},
    ids::{PartitionId, TopicName},
    offset::Offset,
    time::Timestamp,
};
use tokio::sync::Notify;

use crate::{
    client::Shared,
    driver::{Application, Driver},
    error::Error,
};

/// Sends records. Cloning gives another handle to the same producer; when the last one is dropped without
/// [`Producer::close`], records that are not delivered yet are lost.
///
/// Each record is copied once, into the batch of its partition; nothing is allocated for it. A full buffer makes
/// sending wait. Many records at once: [`Producer::send_all`].
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

/// A topic of one producer, looked up once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic(TopicHandle);

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its partition.
    pub partition: PartitionId,
    /// Its offset; `None` when the node did not say: with `acks=0`, and for a record found to be there already.
    pub offset: Option<Offset>,
}

/// The delivery of one record: resolves when it is acknowledged, or failed for good. Dropping it changes nothing;
/// [`Producer::flush`] tells of failures that nobody waited for.
#[derive(Debug)]
#[must_use = "a record is delivered whether or not this is awaited, but a failure is told here"]
pub struct Delivery {
    batch: Arc<Batch>,
    index: u32,
    key: Option<usize>,
}

/// The deliveries of many records: resolves when all of them are acknowledged, or one has failed for good.
#[derive(Debug)]
#[must_use = "records are delivered whether or not this is awaited, but a failure is told here"]
pub struct Deliveries {
    batches: Vec<Delivery>,
    records: u64,
}

/// The last one to go ends the tasks.
struct Handle {
    driver: Arc<Driver<core::Producer, Reports>>,
    woken: Arc<Notify>,
    delivered: Arc<Notify>,
}

/// Who waits for which batch.
#[derive(Default)]
struct Reports {
    /// Batches that somebody waits for.
    awaited: BTreeMap<u64, Arc<Batch>>,
    /// Batches that are not delivered.
    outstanding: BTreeSet<u64>,
    /// The first failure that nobody has been told of.
    untold: Option<ProduceError>,
    woken: Arc<Notify>,
    delivered: Arc<Notify>,
}

/// One batch that somebody waits for.
#[derive(Debug, Default)]
struct Batch {
    state: Mutex<BatchState>,
}

#[derive(Debug, Default)]
struct BatchState {
    /// What is known so far: all of it at once, unless the batch went in parts.
    parts: Vec<Part>,
    is_complete: bool,
    wakers: Vec<Option<Waker>>,
}

/// What became of some records of a batch.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u32,
    records: u32,
    partition: PartitionId,
    outcome: Result<Offset, ProduceError>,
}

impl Producer {
    pub(crate) fn start(shared: Arc<Shared>, config: ProducerConfig) -> Self {
        let reports = Reports::default();
        let (woken, delivered) = (reports.woken.clone(), reports.delivered.clone());
        let machine = core::Producer::new(config, shared.next_seed());
        let driver = Driver::start(shared, machine, reports);
        Self { handle: Arc::new(Handle { driver, woken, delivered }) }
    }

    /// Looks a topic up and waits until it is known (`max.block.ms` at most); one that does not exist is created, where
    /// the cluster does that.
    pub async fn topic(&self, name: &str) -> Result<Topic, Error> {
        let name = TopicName::new(name);
        let handle = self.handle.driver.with(|producer, _, now| producer.topic(now, &name));
        self.admitted(|producer, now| match producer.await_topic(now, handle) {
            Ok(()) => (Ok(Topic(handle)), true),
            Err(error) => (Err(error), true),
        })
        .await
    }

    /// How many partitions a topic has.
    pub fn partition_count(&self, topic: Topic) -> usize {
        self.handle.driver.with_if(|producer, _, _| (producer.partition_count(topic.0).unwrap_or(0), false))
    }

    /// Appends a record to its batch, waiting for room if there is none. The [`Delivery`] tells when it is stored.
    pub async fn send(&self, topic: &str, record: NewRecord<'_>) -> Result<Delivery, Error> {
        let known = self.handle.driver.with_if(|producer, _, _| (producer.find_topic(topic), false));
        let topic = match known {
            Some(handle) => Topic(handle),
            None => self.topic(topic).await?,
        };
        self.send_to(topic, record).await
    }

    /// As [`Producer::send`], to a topic that was looked up before.
    pub async fn send_to(&self, topic: Topic, record: NewRecord<'_>) -> Result<Delivery, Error> {
        let record = stamped(record, || self.handle.driver.wall());
        loop {
            let appended = self.append(topic, &record, true);
            match appended {
                Ok(delivery) => return Ok(delivery.expect("a delivery was asked for")),
                Err(error) => self.wait_after(error).await?,
            }
        }
    }

    /// Appends a record without a [`Delivery`]: [`Producer::flush`] tells of failures.
    pub async fn enqueue(&self, topic: Topic, record: NewRecord<'_>) -> Result<(), Error> {
        let record = stamped(record, || self.handle.driver.wall());
        loop {
            match self.append(topic, &record, false) {
                Ok(_) => return Ok(()),
                Err(error) => self.wait_after(error).await?,
            }
        }
    }

    /// Appends many records, waiting for room whenever there is none: the fast way. On an error the records before it
    /// stay appended.
    pub async fn send_all<'r>(
        &self,
        topic: Topic,
        records: impl IntoIterator<Item = NewRecord<'r>>,
    ) -> Result<Deliveries, Error> {
        let mut records = records.into_iter().peekable();
        let mut deliveries = Deliveries { batches: Vec::new(), records: 0 };
        // Numbers of the batches in `deliveries`.
        let mut numbers: Vec<u64> = Vec::new();
        while records.peek().is_some() {
            let wall = self.handle.driver.wall();
            let appended = self.handle.driver.with(|producer, reports, now| {
                for _ in 0..RECORDS_AT_ONCE {
                    let Some(record) = records.peek() else { break };
                    let appended = producer.append(now, topic.0, &stamped(*record, || wall))?;
                    records.next();
                    deliveries.records += 1;
                    let number = appended.batch;
                    if appended.index == 0 {
                        reports.outstanding.insert(number);
                    }
                    // With keys, neighbours go to different batches; one that is missed here is waited for twice.
                    if !numbers.iter().rev().take(BATCHES_REMEMBERED).any(|&n| n == number) {
                        numbers.push(number);
                        deliveries.batches.push(reports.delivery(appended));
                    }
                }
                Ok(())
            });
            if let Err(error) = appended {
                self.wait_after(error).await?;
            } else {
                // Lets the tasks of a runtime with one thread run between portions.
                tokio::task::yield_now().await;
            }
        }
        Ok(deliveries)
    }

    /// Waits until everything sent so far is delivered. An error is the first failure since the last flush of a record
    /// that nobody waits for.
    pub async fn flush(&self) -> Result<(), Error> {
        let until = self.handle.driver.with(|producer, reports, now| {
            producer.flush(now);
            reports.outstanding.last().copied()
        });
        loop {
            let mut delivered = pin!(self.handle.delivered.notified());
            delivered.as_mut().enable();
            let done = self.handle.driver.with_if(|_, reports, _| {
                let oldest = reports.outstanding.first();
                let waiting = until.is_some_and(|until| oldest.is_some_and(|&oldest| oldest <= until));
                (if waiting { None } else { Some(reports.untold.take()) }, false)
            });
            match done {
                Some(None) => return Ok(()),
                Some(Some(error)) => return Err(error.into()),
                None => delivered.await,
            }
        }
    }

    /// Takes no more records, waits until all are delivered, and closes the connections. Other handles find it closed.
    pub async fn close(self) -> Result<(), Error> {
        self.handle.driver.with(|producer, _, now| producer.close(now));
        let flushed = self.flush().await;
        self.handle.driver.stop();
        flushed
    }

    fn append(&self, topic: Topic, record: &NewRecord<'_>, report: bool) -> Result<Option<Delivery>, AppendError> {
        self.handle.driver.with_if(|producer, reports, now| match producer.append(now, topic.0, record) {
            Err(error) => (Err(error), true),
            Ok(appended) => {
                if appended.index == 0 {
                    reports.outstanding.insert(appended.batch);
                }
                let delivery = report.then(|| reports.delivery(appended));
                (Ok(delivery), appended.index == 0 || appended.leaves)
            }
        })
    }

    /// Waits for what an append was refused for, if that can pass.
    async fn wait_after(&self, error: AppendError) -> Result<(), Error> {
        match error {
            AppendError::Full | AppendError::TopicPending => {}
            error => return Err(error.into()),
        }
        let mut woken = pin!(self.handle.woken.notified());
        woken.as_mut().enable();
        // Room that came between the refusal and now was announced to nobody.
        if !self.handle.driver.with_if(|producer, _, _| (producer.is_refusing(), false)) {
            return Ok(());
        }
        woken.await;
        Ok(())
    }

    async fn admitted<R>(
        &self,
        mut attempt: impl FnMut(&mut core::Producer, tidelog_core::time::Instant) -> (Result<R, AppendError>, bool),
    ) -> Result<R, Error> {
        loop {
            match self.handle.driver.with_if(|producer, _, now| attempt(producer, now)) {
                Ok(result) => return Ok(result),
                Err(error) => self.wait_after(error).await?,
            }
        }
    }
}

/// The record with the time of now, if it brings none.
fn stamped(mut record: NewRecord<'_>, wall: impl FnOnce() -> Timestamp) -> NewRecord<'_> {
    if record.timestamp == Timestamp::NONE {
        record.timestamp = wall();
    }
    record
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.driver.with(|producer, _, _| producer.abort());
        self.driver.stop();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Reports {
    fn delivery(&mut self, appended: core::Appended) -> Delivery {
        let batch = self.awaited.entry(appended.batch).or_default().clone();
        Delivery { batch, index: appended.index, key: None }
    }
}

impl Application<ProducerEvent> for Reports {
    fn on_event(&mut self, event: ProducerEvent) {
        match event {
            ProducerEvent::Wake => self.woken.notify_waiters(),
            ProducerEvent::Delivered(delivery) => {
                let batch = if delivery.has_more {
                    self.awaited.get(&delivery.batch).cloned()
                } else {
                    self.outstanding.remove(&delivery.batch);
                    self.awaited.remove(&delivery.batch)
                };
                // The map's own may be the last: then nobody waits any more.
                let ours = 1 + usize::from(delivery.has_more);
                match batch {
                    Some(batch) if Arc::strong_count(&batch) > ours => batch.resolve(&delivery),
                    _ => {
                        if let Err(error) = delivery.outcome {
                            self.untold.get_or_insert(error);
                        }
                    }
                }
                self.delivered.notify_waiters();
            }
        }
    }
}

impl Batch {
    fn resolve(&self, delivery: &core::Delivery) {
        let &core::Delivery { first, records, partition, outcome, has_more, .. } = delivery;
        let mut state = self.state.lock().expect("no panic while held");
        state.parts.push(Part { first, records, partition, outcome });
        state.is_complete = !has_more;
        // Who waits for another part comes back to the same place.
        for waker in state.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

impl BatchState {
    /// What became of the record at `index`.
    fn record(&self, index: u32) -> Option<Result<Placed, Error>> {
        let part = self.parts.iter().find(|part| (part.first..part.first + part.records).contains(&index))?;
        let placed = |base: Offset| Placed {
            partition: part.partition,
            offset: (base != Offset::NONE).then(|| base.forward(i64::from(index - part.first))),
        };
        Some(part.outcome.map(placed).map_err(Error::from))
    }

    /// What became of all records.
    fn whole(&self) -> Option<Result<(), Error>> {
        let mut outcomes = self.parts.iter().map(|part| part.outcome.map(drop).map_err(Error::from));
        self.is_complete.then(|| outcomes.find(Result::is_err).unwrap_or(Ok(())))
    }
}

impl Future for Delivery {
    type Output = Result<Placed, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let index = this.index;
        this.poll_for(context, |state| state.record(index))
    }
}

impl Delivery {
    /// Waits for what `known` finds.
    fn poll_for<T>(&mut self, context: &Context<'_>, known: impl FnOnce(&BatchState) -> Option<T>) -> Poll<T> {
        let mut state = self.batch.state.lock().expect("no panic while held");
        if let Some(known) = known(&state) {
            return Poll::Ready(known);
        }
        let waker = context.waker();
        match self.key {
            Some(key) => state.wakers[key] = Some(waker.clone()),
            None => {
                self.key = Some(state.wakers.len());
                state.wakers.push(Some(waker.clone()));
            }
        }
        Poll::Pending
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && let Some(waker) = self.batch.state.lock().expect("no panic while held").wakers.get_mut(key)
        {
            *waker = None;
        }
    }
}

impl Deliveries {
    /// How many records.
    pub fn records(&self) -> u64 {
        self.records
    }
}

impl Future for Deliveries {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        while let Some(delivery) = this.batches.last_mut() {
            match delivery.poll_for(context, BatchState::whole) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => drop(this.batches.pop()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Batches among which a record's is looked for before it counts as another.
const BATCHES_REMEMBERED: usize = 64;
/// Records appended under one lock.
const RECORDS_AT_ONCE: usize = 512;
