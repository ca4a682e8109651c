//! The liveness phase: a core of nodes is healed, the rest stays as broken as it is, and the core has to make progress.
//!
//! Safety is judged while everything fails; progress can only be asked for where enough is well. So when chaos ends a
//! core is chosen that holds a majority of the voters and, of every partition, an eligible leader and
//! `min.insync.replicas` replicas. Its faults are lifted. What is outside is frozen for ever: dead, paused, or cut off one
//! way, so that it keeps shouting at the core or hears all and answers nothing. In a quarter of the runs all is healed.

use std::collections::BTreeMap;

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicPartition},
    node::Node,
    quorum::Quorum,
};

use super::{Event, World};
use crate::{
    canon::PartitionState,
    check::m9,
    host::{Host, metadata_partition, voters},
    ledger::Ending,
    net::Party,
};

/// How a node outside the core is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// Its process is gone.
    Dead,
    /// Its process does not run.
    Paused,
    /// It hears nothing; what it says is heard.
    Deaf,
    /// It hears all; what it says is not heard.
    Mute,
}

impl World {
    /// Chooses who stays outside the core, and freezes them.
    pub(super) fn freeze(&mut self) {
        if self.hosts.len() == 1 || self.config.whole_core == 1 {
            return;
        }
        let mut left: Vec<usize> = (0..self.hosts.len()).collect();
        while !left.is_empty() {
            let node = left.swap_remove(self.random.below(left.len() as u64) as usize);
            let mut frozen = self.frozen.clone();
            let how = *self.random.pick(&[Frozen::Dead, Frozen::Paused, Frozen::Deaf, Frozen::Mute]);
            frozen[node] = Some(how);
            if self.can_do_without(&frozen) {
                self.frozen = frozen;
            }
        }
        let now = self.queue.now();
        for node in 0..self.hosts.len() {
            let Some(how) = self.frozen[node] else { continue };
            self.trace.line(now, || format!("n{node} is left {how:?}"));
            match how {
                Frozen::Dead => self.crash(node, Ending::Killed, 0),
                Frozen::Paused => self.hosts[node].paused_until = Some(u64::MAX),
                Frozen::Deaf | Frozen::Mute => {
                    let others = (0..self.hosts.len()).filter(|&other| other != node).map(Party::Node);
                    let others: Vec<Party> = others.chain((0..self.clients.len()).map(Party::Client)).collect();
                    for other in others {
                        match how {
                            Frozen::Deaf => self.net.block(other, Party::Node(node)),
                            _ => self.net.block(Party::Node(node), other),
                        }
                    }
                }
            }
        }
    }

    fn can_do_without(&self, frozen: &[Option<Frozen>]) -> bool {
        let inside = |node: &NodeId| frozen.get(node.0 as usize).is_some_and(Option::is_none);
        if self.hosts.iter().all(|host| host.quorum().is_none()) || !self.outvoted(inside).is_empty() {
            return false;
        }
        // Who lags asks of who leads those whom it knows: the voters that its log names, and those who voted at first.
        let at_first = voters(&self.config);
        let finds = |host: &Host| {
            let known = host.quorum().map_or(&[][..], Quorum::voters);
            known == [host.id()] || known.iter().chain(&at_first).any(|node| *node != host.id() && inside(node))
        };
        if self.config.changes_voters() && !self.hosts.iter().filter(|host| inside(&host.id())).all(finds) {
            return false;
        }
        let least = self.least();
        let newest = |(id, states): (&TopicPartition, &BTreeMap<_, PartitionState>)| {
            states.values().next_back().map(|state| (*id, state.clone()))
        };
        self.oracle.canon.states.iter().filter_map(newest).all(|(id, state)| {
            // What has rotted on a disk inside cannot be counted on.
            let counts = |node: &&NodeId| inside(node) && !self.has_rotted(**node, id);
            let eligible = if state.isr.is_empty() { &state.elr } else { &state.isr };
            eligible.iter().any(|node| counts(&node))
                && state.replicas.iter().filter(counts).count() >= least.min(state.replicas.len())
        })
    }

    /// How many replicas a write needs at the least.
    fn least(&self) -> usize {
        self.config.min_isr.min(self.config.replication).min(self.config.brokers()) as usize
    }

    /// Damaged partitions in which too few are in sync for anything to become committed.
    pub(super) fn short_of_replicas(&self) -> Vec<TopicPartition> {
        let newest =
            self.oracle.canon.states.iter().filter_map(|(id, states)| Some((id, states.values().next_back()?)));
        let short = newest.filter(|(_, state)| state.isr.len() < self.least().min(state.replicas.len()));
        short.map(|(id, _)| *id).filter(|id| self.oracle.history.rotten.contains(id)).collect()
    }

    /// The sets of voters of which no majority is inside.
    fn outvoted(&self, inside: impl Fn(&NodeId) -> bool) -> Vec<Vec<NodeId>> {
        let sets = m9::standing(&self.oracle.canon, metadata_partition(), &voters(&self.config));
        let lacks = |set: &Vec<NodeId>| set.iter().filter(|voter| inside(voter)).count() * 2 <= set.len();
        sets.into_iter().filter(lacks).collect()
    }

    fn has_rotted(&self, node: NodeId, id: TopicPartition) -> bool {
        self.oracle.ledgers.get(&(node.0 as usize, id)).is_some_and(|ledger| ledger.rotten)
    }

    /// What was under way when the core was chosen may have made somebody outside the only one who can lead, or have moved a
    /// partition to where too few are inside for a write: they are healed after all.
    pub(super) fn thaw_the_needed(&mut self) {
        let inside = |node: &NodeId| self.frozen.get(node.0 as usize).is_some_and(Option::is_none);
        let states = self.oracle.canon.states.values().filter_map(|states| states.values().next_back());
        let needed = states.filter_map(|state| {
            let eligible = if state.isr.is_empty() { &state.elr } else { &state.isr };
            let eligible = if eligible.is_empty() { state.last_known_leader.as_slice() } else { eligible };
            if !eligible.iter().any(inside) {
                return eligible.first().copied();
            }
            let enough = self.least().min(state.replicas.len());
            let has_enough = state.replicas.iter().filter(|node| inside(node)).count() >= enough;
            if has_enough { None } else { state.replicas.iter().find(|node| !inside(node)).copied() }
        });
        let voters = self.outvoted(inside).into_iter().flatten();
        let needed: Vec<usize> = needed.chain(voters).map(|node| node.0 as usize).collect();
        for node in needed {
            let now = self.queue.now();
            let Some(how) = self.frozen[node].take() else { continue };
            self.trace.line(now, || format!("n{node} is healed after all"));
            match how {
                Frozen::Dead => self.queue.after(0, Event::Start(node)),
                Frozen::Paused => self.queue.after(0, Event::Resume(node)),
                Frozen::Deaf | Frozen::Mute => {
                    let others = (0..self.hosts.len()).map(Party::Node);
                    for other in others.chain((0..self.clients.len()).map(Party::Client)) {
                        self.unblock(&[(other, Party::Node(node)), (Party::Node(node), other)]);
                    }
                }
            }
            self.heal_host(node);
        }
    }

    /// Is this node one of those that must make progress?
    pub(super) fn is_inside(&self, node: usize) -> bool {
        self.frozen[node].is_none()
    }

    /// What keeps a cluster from having settled: nodes that lag, partitions without a leader, replicas out of sync.
    pub(super) fn unsettled(&self) -> Option<String> {
        if self.hosts.len() == 1 {
            return None;
        }
        let Some(controller) = self.controller().filter(|&node| self.is_inside(node)) else {
            return Some("nobody leads the metadata quorum".to_owned());
        };
        let inside = |node: &NodeId| self.is_inside(node.0 as usize);
        let node = self.hosts[controller].node()?;
        let (_, newest) = node.applied_metadata();
        let lags = |host: &&crate::host::Host| {
            self.is_inside(host.index) && host.node().map(Node::applied_metadata).is_none_or(|(_, at)| at != newest)
        };
        if let Some(host) = self.hosts.iter().find(lags) {
            let at = host.node().map(|node| node.applied_metadata().1);
            return Some(format!("node {} has applied the metadata up to {at:?} of {newest}", host.index));
        }
        for topic in node.image().topics() {
            for (number, partition) in topic.partitions.iter().enumerate() {
                let id = TopicPartition { topic: topic.id, partition: PartitionId(number as i32) };
                if self.oracle.canon.spared.contains(&id) {
                    continue;
                }
                let state = || {
                    format!(
                        "{} {id} (leader {:?} epoch {} isr {:?} elr {:?} replicas {:?})",
                        topic.name,
                        partition.leader,
                        partition.leader_epoch,
                        partition.isr,
                        partition.elr(),
                        partition.replicas
                    )
                };
                if !partition.leader.as_ref().is_some_and(inside) {
                    return Some(format!("{} has no leader that runs", state()));
                }
                let missing = partition.replicas.iter().filter(|replica| inside(replica));
                if let Some(replica) = missing.into_iter().find(|replica| !partition.isr.contains(replica)) {
                    return Some(format!("{}: {replica} is not in sync", state()));
                }
            }
        }
        None
    }
}
