//! A client that does nothing but ask leaders where their partitions end, again and again (H2).
//!
//! It asks whom it has heard named last, be it by a node that lags behind, and names the newest epoch that it has ever heard
//! of: so a leader whose time is over learns from the question that it is (KIP-320). It asks one question of a partition at
//! a time.

use std::collections::BTreeMap;

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, TopicPartition},
    message::{
        IsolationLevel, ListOffsetsPartition, ListOffsetsRequest, MetadataResponse, OffsetSpec, Request, Response,
        TopicRef,
    },
};

use super::{Atlas, Desk, MS, Phase, Reply, Runner, Scene};
use crate::{history::ToldEnd, rng::Stream};

/// The client.
#[derive(Debug)]
pub struct Asker {
    id: u32,
    random: Stream,
    desk: Desk<Errand>,
    leaders: BTreeMap<TopicPartition, Known>,
    /// The newest epochs, of topics that are gone, too: somebody who has not heard of that may still lead them in an older one.
    newest: BTreeMap<TopicPartition, LeaderEpoch>,
    atlas_due: u64,
    asks_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    leader: NodeId,
    is_asked: bool,
}

#[derive(Debug)]
pub(super) enum Errand {
    Atlas,
    End(TopicPartition),
}

/// Between two rounds of questions.
const PAUSE: u64 = 20 * MS;
/// The most between two looks at the metadata.
const ATLAS_EVERY: u64 = 300 * MS;

impl Asker {
    /// Client number `id`.
    pub fn new(id: u32, random: Stream) -> Self {
        let (leaders, newest) = (BTreeMap::new(), BTreeMap::new());
        Self { id, random, desk: Desk::new(), leaders, newest, atlas_due: 0, asks_at: 0 }
    }

    fn learn(&mut self, response: &MetadataResponse) {
        for topic in &response.topics {
            for partition in &topic.partitions {
                let id = TopicPartition { topic: topic.id, partition: partition.partition };
                let Some(leader) = partition.leader else { continue };
                let newest = self.newest.entry(id).or_insert(partition.leader_epoch);
                *newest = partition.leader_epoch.max(*newest);
                self.leaders.entry(id).or_insert(Known { leader, is_asked: false }).leader = leader;
            }
        }
        // What is asked of one that is gone is answered before it is asked of one that is there again.
        self.leaders.retain(|id, known| known.is_asked || response.topics.iter().any(|topic| topic.id == id.topic));
    }

    fn ask(&mut self, scene: &mut Scene<'_>) {
        let idle: Vec<_> = self.leaders.iter_mut().filter(|(_, known)| !known.is_asked).collect();
        for (&of, known) in idle {
            known.is_asked = true;
            let partition = ListOffsetsPartition {
                topic: TopicRef::Id(of.topic),
                partition: of.partition,
                current_leader_epoch: self.newest[&of],
                spec: OffsetSpec::Latest,
            };
            let isolation = IsolationLevel::ReadUncommitted;
            let request = Request::ListOffsets(ListOffsetsRequest { isolation, partitions: vec![partition] });
            self.desk.call_to(scene, Some(known.leader), 1_000 * MS, request, Errand::End(of));
        }
    }
}

impl Runner for Asker {
    type Errand = Errand;

    fn desk(&mut self) -> &mut Desk<Errand> {
        &mut self.desk
    }

    fn over(&mut self, scene: &mut Scene<'_>, errand: Errand, reply: Reply) {
        match (errand, reply) {
            (Errand::Atlas, Reply::Answered(Response::Metadata(response))) => self.learn(&response),
            (Errand::End(of), reply) => {
                if let Some(known) = self.leaders.get_mut(&of) {
                    known.is_asked = false;
                }
                match reply {
                    Reply::Answered(Response::ListOffsets(response)) if response.partitions[0].error.is_none() => {
                        let end = response.partitions[0].offset;
                        scene.history.ends.push(ToldEnd { client: self.id, of, end });
                    }
                    // Somebody else may lead.
                    _ => self.atlas_due = self.atlas_due.min(scene.now + 10 * MS),
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self, scene: &mut Scene<'_>) {
        if scene.phase != Phase::Chaos {
            (self.atlas_due, self.asks_at) = (u64::MAX, u64::MAX);
            return;
        }
        if scene.now >= self.atlas_due {
            self.desk.call(scene, 500 * MS, Atlas::request(), Errand::Atlas);
            self.atlas_due = scene.now + ATLAS_EVERY;
        }
        if scene.now >= self.asks_at {
            self.asks_at = scene.now + PAUSE / 2 + self.random.below(PAUSE);
            self.ask(scene);
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let due = [self.atlas_due, self.asks_at].into_iter().filter(|at| *at != u64::MAX);
        due.chain(self.desk.deadline()).min()
    }

    fn unfinished(&self, _phase: Phase) -> Option<String> {
        None
    }
}
