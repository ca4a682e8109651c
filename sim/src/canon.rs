//! What the cluster as a whole has written and committed: one history per log, whoever holds it.
//!
//! The books of single logs ([`crate::ledger`]) say what one node holds; this one says what must be the same on all of
//! them. It is kept from what crosses the border between cores and disks: batches that are ordered, marks that move,
//! votes that become durable, images that are folded. Checkers read it and write it; it judges nothing itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use tidelog_core::{
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{DirectoryId, JobId, NodeId, PartitionId, TopicId, TopicPartition},
    message::SnapshotId,
    offset::Offset,
    record::BatchHeader,
};

use crate::ledger::Ledger;

/// The first and the last partition there can be.
const FIRST: TopicPartition = TopicPartition { topic: TopicId([0; 16]), partition: PartitionId(i32::MIN) };
const LAST: TopicPartition = TopicPartition { topic: TopicId([u8::MAX; 16]), partition: PartitionId(i32::MAX) };

/// What tells a batch from any other that could stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub next: Offset,
    /// The epoch of the leader that wrote it.
    pub epoch: LeaderEpoch,
    /// Over all that its leader did not stamp.
    pub crc: u32,
}

impl Print {
    /// Of a batch.
    pub fn of(header: &BatchHeader) -> Self {
        Self { base: header.base_offset, next: header.next_offset(), epoch: header.leader_epoch, crc: header.crc }
    }
}

/// The committed part of one log.
#[derive(Clone, Debug)]
pub struct Committed {
    /// By first offset.
    pub batches: BTreeMap<Offset, Print>,
    /// Everything below is committed.
    pub end: Offset,
    /// Up to where leaders of each epoch have committed, be it what earlier ones had written.
    pub ends: BTreeMap<LeaderEpoch, Offset>,
    /// What is below a leader has let go: nobody answers for it any more.
    pub start: Offset,
}

impl Default for Committed {
    fn default() -> Self {
        Self { batches: BTreeMap::new(), end: Offset::ZERO, ends: BTreeMap::new(), start: Offset::ZERO }
    }
}

/// A partition as some image had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Its leader.
    pub leader: Option<NodeId>,
    /// That leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Where it is to be.
    pub replicas: Vec<NodeId>,
    /// In sync.
    pub isr: Vec<NodeId>,
    /// Out of sync only because too few are left, with everything that is committed (KIP-966).
    pub elr: Vec<NodeId>,
    /// Who led last, while nobody does: where none is known to have everything, it is the one to wait for.
    pub last_known_leader: Option<NodeId>,
    /// Elected without a promise that everything is there.
    pub unclean: bool,
}

/// The snapshots of one data directory.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// Bytes of those that are being written.
    pub writing: BTreeMap<SnapshotId, Vec<u8>>,
    /// Jobs that finish one, with all of its bytes.
    pub finishing: BTreeMap<JobId, (SnapshotId, Vec<u8>)>,
    /// Those that are durable.
    pub kept: BTreeSet<SnapshotId>,
}

/// The history that all nodes share.
#[derive(Clone, Debug, Default)]
pub struct Canon {
    /// Every batch that anybody ever ordered, by log, first offset and epoch.
    pub written: BTreeMap<(TopicPartition, Offset, LeaderEpoch), Print>,
    /// What stood before each of them where it was ordered first.
    pub before: BTreeMap<(TopicPartition, Offset, LeaderEpoch), Print>,
    /// Who has each of them in its log, or on its way there.
    pub holders: BTreeMap<(TopicPartition, Offset, LeaderEpoch), BTreeSet<usize>>,
    /// Who wrote first in an epoch of a log.
    pub writers: BTreeMap<(TopicPartition, LeaderEpoch), NodeId>,
    /// What is committed.
    pub committed: BTreeMap<TopicPartition, Committed>,
    /// Votes that became durable, by data directory and epoch.
    pub votes: BTreeMap<(DirectoryId, LeaderEpoch), NodeId>,
    /// The newest durable epoch of each data directory.
    pub epochs: BTreeMap<DirectoryId, LeaderEpoch>,
    /// What an image at an offset is folded to, and by whom first.
    pub images: BTreeMap<Offset, (u64, usize)>,
    /// Every state that a partition was ever seen in.
    pub states: BTreeMap<TopicPartition, BTreeMap<PartitionEpoch, PartitionState>>,
    /// Logs of which something rotted, so that what they lose is reported, not judged; and those whose topic is deleted,
    /// which some nodes have removed before the others have heard of it.
    pub spared: BTreeSet<TopicPartition>,
    /// Partitions that once had a leader of which nobody knew that it has everything: what was committed before may be
    /// gone, so what each node takes for committed is not compared any more. The newest epoch that began so.
    pub unclean: BTreeMap<TopicPartition, LeaderEpoch>,
    /// What was durable in each log of a disk that was taken away: it may have been acknowledged before.
    pub taken: BTreeMap<(usize, TopicPartition), Offset>,
    /// From which to which partition epoch the metadata did not know that a replica's disk had been taken away: up to the
    /// one that was the newest when the node was first seen to be registered with its new disk.
    pub wiped: BTreeMap<(usize, TopicPartition), (PartitionEpoch, Option<PartitionEpoch>)>,
    /// The new disks of nodes that have not registered with them.
    pub new_disks: BTreeMap<NodeId, DirectoryId>,
    /// The high watermarks that each node's present process has reached.
    pub marks: BTreeMap<(usize, TopicPartition), Offset>,
    /// The voters of the metadata quorum, by the place of the record that names them and its epoch.
    pub voters: BTreeMap<(Offset, LeaderEpoch), Vec<NodeId>>,
    /// The snapshots of the metadata in each data directory.
    pub shelves: BTreeMap<DirectoryId, Shelf>,
    /// The leader's epoch of a partition in which each node's present process was when it was last looked at.
    pub looked: BTreeMap<(usize, TopicPartition), LeaderEpoch>,
    /// How far each node's present process has folded the metadata.
    pub applied: BTreeMap<usize, Offset>,
}

impl Canon {
    /// A node's append has failed: it does not have the batch. A follower may have been given it all the same, out of the
    /// leader's memory, so what was written stays known; only its writer can write another in its place, and only while
    /// nobody has it.
    pub fn given_up(&mut self, node: usize, id: TopicPartition, header: &BatchHeader) {
        if let Some(holders) = self.holders.get_mut(&(id, header.base_offset, header.leader_epoch)) {
            holders.remove(&node);
        }
    }

    /// A node has removed its log.
    pub fn removed(&mut self, node: usize, id: TopicPartition) {
        let all = (id, Offset::NONE, LeaderEpoch::NONE)..=(id, Offset(i64::MAX), LeaderEpoch(i32::MAX));
        self.holders.range_mut(all).for_each(|(_, holders)| {
            holders.remove(&node);
        });
        self.marks.remove(&(node, id));
        self.looked.remove(&(node, id));
    }

    /// A node's process is gone: its marks begin anew.
    pub fn process_gone(&mut self, node: usize) {
        self.marks.retain(|(of, _), _| *of != node);
        self.looked.retain(|(of, _), _| *of != node);
        self.applied.remove(&node);
    }

    /// Does anybody answer for what was committed in this log?
    pub fn is_answered_for(&self, id: TopicPartition) -> bool {
        !self.spared.contains(&id) && !self.unclean.contains_key(&id)
    }

    /// Everything below is committed.
    pub fn end(&self, id: TopicPartition) -> Offset {
        self.committed.get(&id).map_or(Offset::ZERO, |committed| committed.end)
    }

    /// Everything below was committed by epochs before this one.
    pub fn end_before(&self, id: TopicPartition, epoch: LeaderEpoch) -> Offset {
        let ends = self.committed.get(&id).map(|committed| committed.ends.range(..epoch));
        ends.into_iter().flatten().map(|(_, end)| *end).max().unwrap_or(Offset::ZERO)
    }

    /// Up to where a log has what is committed: the end of that, or the first offset that the log lacks or has another
    /// batch at. Where the log begins later, what is before counts as had.
    pub fn agreement(&self, ledger: &Ledger) -> Offset {
        let Some(committed) = self.committed.get(&ledger.id) else { return Offset::ZERO };
        let from = ledger.log_start.max(committed.start);
        for print in committed.batches.values().filter(|print| print.base >= from) {
            let same = |header: &BatchHeader| Print::of(header) == *print;
            if !ledger.held.get(&print.base).is_some_and(|held| same(&held.header)) {
                return print.base;
            }
        }
        committed.end
    }

    /// Would a log lose anything that is committed, and answered for, if its node cut it at `to` while it knows of this epoch?
    /// What a newer epoch has committed did not count on this copy: to be counted its node would have had to know that epoch.
    pub fn loses(&self, ledger: &Ledger, to: Offset, epoch: LeaderEpoch) -> Option<Offset> {
        let committed = self.committed.get(&ledger.id)?;
        let bound = committed.ends.range(..=epoch).map(|(_, end)| *end).max().unwrap_or(Offset::ZERO);
        let (from, keep) = (ledger.log_start.max(committed.start), self.agreement(ledger).min(ledger.end).min(bound));
        let lost = |print: &Print| print.base >= from && print.next > to && print.next <= keep;
        committed.batches.values().any(lost).then_some(keep)
    }

    /// Whom of these replicas a log below `end` is to be asked of, by a leader of this epoch. One that is a replica no more, as
    /// far as anybody knows, or was none for a while since that epoch, has perhaps removed its log, though what it had told
    /// before may reach the leader late; of one whose disk was taken away it is enough that it had it.
    pub fn answering(&self, replicas: &[NodeId], id: TopicPartition, end: Offset, epoch: LeaderEpoch) -> Vec<NodeId> {
        let states = || self.states.get(&id).into_iter().flat_map(BTreeMap::values);
        let newer = || states().filter(|state| state.leader_epoch > epoch).chain(states().next_back());
        let is_replica = |node: &NodeId| newer().all(|state| state.replicas.contains(node));
        let had = |node: &NodeId| self.taken.get(&(node.0 as usize, id)).is_some_and(|had| *had >= end);
        replicas.iter().copied().filter(|node| is_replica(node) && !had(node)).collect()
    }

    /// A node's disk is taken away, and it gets this one: whatever the metadata says of its replicas until it has registered
    /// anew is void.
    pub fn wiped(&mut self, node: NodeId, disk: DirectoryId) {
        self.new_disks.insert(node, disk);
        for (id, states) in &self.states {
            let Some((at, _)) = states.last_key_value().filter(|(_, state)| state.replicas.contains(&node)) else {
                continue;
            };
            let known = self.wiped.entry((node.0 as usize, *id)).or_insert((*at, None));
            if known.1.is_some() {
                *known = (*at, None);
            }
        }
    }

    /// A node is registered with its new disk, in an image whose states of partitions are not noted yet.
    pub fn has_registered(&mut self, node: NodeId) {
        self.new_disks.remove(&node);
        for ((_, id), (_, until)) in self.wiped.range_mut((node.0 as usize, FIRST)..=(node.0 as usize, LAST)) {
            *until = until.or_else(|| Some(*self.states.get(id)?.last_key_value()?.0));
        }
    }

    /// Can nobody lead this partition because those who were the last to count as complete had lost their disks then, which
    /// the metadata did not know yet?
    pub fn went_with_disks(&self, id: TopicPartition) -> bool {
        let Some(states) = self.states.get(&id) else { return false };
        let lacks = |state: &PartitionState| state.isr.is_empty() && state.elr.is_empty();
        if !states.values().next_back().is_some_and(|state| state.leader.is_none() && lacks(state)) {
            return false;
        }
        let Some((end, last)) = states.iter().rev().find(|(_, state)| !lacks(state)) else { return false };
        last.isr.iter().chain(&last.elr).all(|node| {
            let wiped = self.wiped.get(&(node.0 as usize, id));
            wiped.is_some_and(|(from, until)| from <= end && until.is_none_or(|until| *end <= until))
        })
    }

    /// How many nodes are to have a log, as far as anybody knows.
    pub fn replica_count(&self, id: TopicPartition) -> usize {
        let newest = self.states.get(&id).and_then(|states| states.values().next_back());
        newest.map_or(usize::MAX, |state| state.replicas.len())
    }

    /// The newest state, of these epochs, in which a node led a partition.
    pub fn led(
        &self,
        node: NodeId,
        id: TopicPartition,
        epochs: RangeInclusive<LeaderEpoch>,
    ) -> Option<&PartitionState> {
        let led = |state: &&PartitionState| state.leader == Some(node) && epochs.contains(&state.leader_epoch);
        self.states.get(&id)?.values().rev().find(led)
    }

    /// Does a log have everything that is committed below `end`? Only what was committed last is compared.
    pub fn has_last(&self, ledger: &Ledger, end: Offset) -> bool {
        let Some(committed) = self.committed.get(&ledger.id) else { return true };
        let Some((_, print)) = committed.batches.range(..end).next_back() else { return true };
        print.base < ledger.log_start.max(committed.start)
            || ledger.held.get(&print.base).is_some_and(|held| Print::of(&held.header) == *print)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::partition;

    fn state(leader: Option<i32>, isr: &[i32], elr: &[i32]) -> PartitionState {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
        PartitionState {
            leader: leader.map(NodeId),
            leader_epoch: LeaderEpoch(0),
            replicas: nodes(&[1, 2]),
            isr: nodes(isr),
            elr: nodes(elr),
            last_known_leader: None,
            unclean: false,
        }
    }

    #[test]
    fn a_partition_goes_with_the_disks_of_all_who_could_lead_it_and_by_nothing_else() {
        let id = partition(TopicId([7; 16]), 0);
        let mut canon = Canon::default();
        let note = |canon: &mut Canon, at, state| canon.states.entry(id).or_default().insert(PartitionEpoch(at), state);
        note(&mut canon, 0, state(Some(2), &[2], &[]));
        canon.wiped(NodeId(1), DirectoryId([9; 16]));
        note(&mut canon, 1, state(Some(2), &[1, 2], &[]));
        note(&mut canon, 2, state(Some(1), &[1], &[]));
        note(&mut canon, 3, state(None, &[], &[1]));
        assert!(!canon.went_with_disks(id), "nobody has taken note");
        canon.has_registered(NodeId(1));
        note(&mut canon, 4, state(None, &[], &[]));
        assert!(canon.went_with_disks(id), "it had joined as whom it was before");
        note(&mut canon, 5, state(Some(2), &[2], &[]));
        assert!(!canon.went_with_disks(id), "there is a leader");
        note(&mut canon, 6, state(None, &[], &[]));
        assert!(!canon.went_with_disks(id), "the last one has its disk");
        note(&mut canon, 7, state(Some(1), &[1], &[]));
        note(&mut canon, 8, state(None, &[], &[]));
        assert!(!canon.went_with_disks(id), "it was complete on its new disk");
    }

    #[test]
    fn whoever_was_no_replica_for_a_while_need_not_have_what_it_told_an_older_leader() {
        let id = partition(TopicId([7; 16]), 0);
        let mut canon = Canon::default();
        let away =
            PartitionState { leader_epoch: LeaderEpoch(1), replicas: vec![NodeId(2)], ..state(Some(2), &[2], &[]) };
        let back = PartitionState { leader_epoch: LeaderEpoch(1), ..state(Some(2), &[2], &[]) };
        for (at, state) in [(0, state(Some(2), &[1, 2], &[])), (1, away), (2, back)] {
            canon.states.entry(id).or_default().insert(PartitionEpoch(at), state);
        }
        let both = [NodeId(1), NodeId(2)];
        assert_eq!(canon.answering(&both, id, Offset(5), LeaderEpoch(0)), [NodeId(2)]);
        assert_eq!(canon.answering(&both, id, Offset(5), LeaderEpoch(1)), both);
    }
}
