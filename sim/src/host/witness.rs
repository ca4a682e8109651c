//! What checkers are shown of a host: logs read through without a trace in the run, and what readers are served.

use tidelog_core::{
    ids::{LogId, TopicPartition},
    log::{LogError, LogState},
    message::{
        FetchResponse, FetchedPartition, ListOffsetsRequest, ListOffsetsResponse, LogRead, ProduceRequest,
        ProduceResponse, Request,
    },
    offset::Offset,
    record::{Batch, Batches},
};

use super::{Env, Host};
use crate::{
    check::{self, Seen, Violation, dedup, r9, shared_image},
    history::Void,
    ledger::{Ending, Held},
    tally::Mark,
};

impl Host {
    /// A log was opened: an observer reads it through, and the book goes on from what is there.
    pub(super) fn opened(
        &mut self,
        env: &mut Env<'_>,
        log: LogId,
        id: TopicPartition,
        state: &LogState,
    ) -> Result<(), Violation> {
        env.tally.sometimes(Mark::TornTailCut, state.recovery.truncated_bytes > 0);
        env.tally.sometimes(Mark::TailKeptAside, state.recovery.kept_bytes > 0);
        env.tally.sometimes(Mark::IndexRebuilt, state.recovery.rebuilt_indexes > 0);
        let (held, unreadable) = self.read_through(log, state.log_start, state.log_end);
        let ledger = env.oracle.ledgers.get_mut(&(self.index, id)).expect("the caller has looked");
        let seen = Seen::Opened { state, held: &held, unreadable: unreadable.as_ref() };
        check::watch(ledger, &env.oracle.history, &seen)?;
        // What may be lost: under the page-cache rule, or because it has rotted and recovery says so (R11).
        let has_lost = ledger.ending == Some(Ending::PowerLost) && state.log_end < ledger.answered && !ledger.rotten;
        if has_lost && env.config.nodes > 1 {
            shared_image::lost_tail(&env.oracle.canon, self.id(), id)?;
        }
        if !ledger.compacted && unreadable.is_none() {
            let from = state.log_start;
            let batches = held.iter().map(|batch| batch.header()).filter(|header| header.base_offset >= from);
            r9::agrees(id, &state.epochs, batches)?;
        }
        let may_lose = ledger.config.durability != tidelog_core::log::Durability::Fsync || ledger.rotten;
        if state.log_end < ledger.end && may_lose {
            let void = Void { partition: id, from: state.log_end, at: env.queue.now() };
            env.oracle.history.voids.push(void);
        }
        ledger.opened(state, held.iter().map(Held::of).collect(), unreadable.is_none());
        ledger.ending = None;
        Ok(())
    }

    /// Everything in a log, read without faults and without a trace in the run.
    pub fn read_through(&mut self, log: LogId, from: Offset, end: Offset) -> (Vec<Batch>, Option<LogError>) {
        let mut held = Vec::new();
        let Some(dir) = self.process.as_mut().and_then(|process| process.worker.dir.as_mut()) else {
            return (held, Some(LogError::NotOpen));
        };
        let mut next = from;
        while next < end {
            let order = LogRead { log, from: next, bound: end, max_bytes: 1 << 20, at_least_one: true };
            match self.disk.quietly(|| dir.read(&order)) {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => {
                    for batch in Batches(bytes) {
                        match batch {
                            Ok(batch) => {
                                next = next.max(batch.header().next_offset());
                                held.push(batch);
                            }
                            Err(error) => {
                                let reason = error.to_string();
                                return (held, Some(LogError::Corrupt { file: String::new(), position: 0, reason }));
                            }
                        }
                    }
                }
                Err(error) => return (held, Some(error)),
            }
        }
        (held, None)
    }

    pub(super) fn looked_up(
        &self,
        env: &Env<'_>,
        committed: Offset,
        asked: &ListOffsetsRequest,
        answer: &ListOffsetsResponse,
    ) -> Result<(), Violation> {
        for (asked, listed) in asked.partitions.iter().zip(&answer.partitions) {
            let Some(topic) = self.node().and_then(|node| node.image().resolve(&asked.topic)) else { continue };
            let id = TopicPartition { topic: topic.id, partition: asked.partition };
            if let Some(ledger) = env.oracle.ledgers.get(&(self.index, id)) {
                check::looked_up(ledger, asked.spec, committed, listed)?;
            }
        }
        Ok(())
    }

    /// The batches of a request that this node has already, by their places in it.
    pub(super) fn repeated(&self, env: &Env<'_>, request: &Request) -> Vec<(usize, TopicPartition)> {
        let (Request::Produce(asked), Some(node)) = (request, self.node()) else { return Vec::new() };
        let there = asked.partitions.iter().enumerate().filter_map(|(place, asked)| {
            let topic = node.image().resolve(&asked.topic)?.id;
            let id = TopicPartition { topic, partition: asked.partition };
            let ledger = env.oracle.ledgers.get(&(self.index, id))?;
            let batch = asked.batch.as_ref().ok().filter(|batch| batch.header().has_producer())?;
            dedup::repeats(ledger, batch.header()).then_some((place, id))
        });
        there.collect()
    }

    pub(super) fn repeated_answered(
        &self,
        env: &Env<'_>,
        repeated: &[(usize, TopicPartition)],
        asked: &ProduceRequest,
        answer: &ProduceResponse,
    ) -> Result<(), Violation> {
        for (place, id) in repeated {
            if let (Ok(batch), Some(answer)) = (&asked.partitions[*place].batch, answer.partitions.get(*place))
                && let Some(ledger) = env.oracle.ledgers.get(&(self.index, *id))
            {
                dedup::answered(ledger, batch.header(), answer.error)?;
            }
        }
        Ok(())
    }

    pub(super) fn served(&self, env: &mut Env<'_>, response: &FetchResponse) -> Result<(), Violation> {
        for answer in &response.partitions {
            let Some(id) = self.resolve(answer) else { continue };
            let (batches, garbage) = crate::actor::batches_of(&answer.records);
            let Some(ledger) = env.oracle.ledgers.get_mut(&(self.index, id)) else { continue };
            let seen = Seen::Served { answer, batches: &batches, garbage };
            check::watch(ledger, &env.oracle.history, &seen)?;
        }
        Ok(())
    }

    /// Does this node take itself for the leader of a partition?
    pub(super) fn leads(&self, id: TopicPartition) -> bool {
        self.node().is_some_and(|node| node.partitions().any(|partition| partition.id == id && partition.is_leader()))
    }

    pub(super) fn resolve(&self, answer: &FetchedPartition) -> Option<TopicPartition> {
        let topic = self.node()?.image().resolve(&answer.topic)?.id;
        Some(TopicPartition { topic, partition: answer.partition })
    }
}
