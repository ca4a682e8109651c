//! What holds of the metadata as all nodes fold it.
//!
//! - M11: at one offset it is the same on all nodes.
//! - R1: a partition has one leader in an epoch, and its states follow each other without a gap.
//! - R6: whoever joins the in-sync replicas has everything that is committed.
//! - R7: a new leader comes from the in-sync or the eligible replicas, or the election says that it was unclean.

use tidelog_core::{
    cluster::Image,
    epoch::{LeaderEpoch, PartitionEpoch},
    ids::{BrokerEpoch, DirectoryId, NodeId, PartitionId, TopicPartition},
    message::{AlterPartitionRequest, AlterPartitionResponse},
    offset::Offset,
};

use super::{Violation, violation};
use crate::canon::{Canon, PartitionState};

/// A node has folded everything up to here.
pub fn folded(canon: &mut Canon, node: usize, at: Offset, digest: u64) -> Result<(), Violation> {
    let (first, by) = *canon.images.entry(at).or_insert((digest, node));
    if first != digest {
        let why = format!("at offset {at} node {node} has another image than node {by} had");
        return Err(violation("M11", "images-differ", format!("offset {at}"), why));
    }
    Ok(())
}

/// A change of a partition that nobody had seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which partition.
    pub id: TopicPartition,
    /// Replicas that joined those in sync.
    pub joined: Vec<NodeId>,
    /// Who was elected without a promise that it has everything, and its epoch.
    pub unclean: Option<(NodeId, LeaderEpoch)>,
}

/// A node's image as it is now; returns what nobody had seen before.
pub fn seen(canon: &mut Canon, image: &Image) -> Result<Vec<Change>, Violation> {
    let mut changes = Vec::new();
    let is_there = |(node, disk): (&NodeId, &DirectoryId)| {
        image.broker(*node).filter(|broker| broker.directory == *disk).map(|_| *node)
    };
    let registered: Vec<NodeId> = canon.new_disks.iter().filter_map(is_there).collect();
    registered.into_iter().for_each(|node| canon.has_registered(node));
    for topic in image.topics() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            let id = TopicPartition { topic: topic.id, partition: PartitionId(number as i32) };
            let state = PartitionState {
                leader: partition.leader,
                leader_epoch: partition.leader_epoch,
                replicas: partition.replicas.clone(),
                isr: partition.isr.clone(),
                elr: partition.elr().to_vec(),
                last_known_leader: partition.last_known_leader(),
                unclean: partition.is_recovering(),
            };
            changes.extend(note(canon, id, partition.partition_epoch, state)?);
        }
    }
    Ok(changes)
}

fn note(
    canon: &mut Canon,
    id: TopicPartition,
    at: PartitionEpoch,
    state: PartitionState,
) -> Result<Option<Change>, Violation> {
    let states = canon.states.entry(id).or_default();
    if let Some(known) = states.get(&at) {
        if *known != state {
            let why = format!("in partition epoch {} it is {state:?} to one node and {known:?} to another", at.0);
            return Err(violation("M11", "states-differ", id, why));
        }
        return Ok(None);
    }
    let same_epoch = |other: &&PartitionState| {
        other.leader_epoch == state.leader_epoch && other.leader.is_some() && state.leader.is_some()
    };
    if let Some(other) = states.values().filter(same_epoch).find(|other| other.leader != state.leader) {
        let why = format!("epoch {} is led by {:?} and by {:?}", state.leader_epoch, other.leader, state.leader);
        return Err(violation("R1", "two-leaders", id, why));
    }
    let before = states.get(&PartitionEpoch(at.0 - 1)).cloned();
    states.insert(at, state.clone());
    let unclean = state.leader.filter(|_| state.unclean).map(|leader| (leader, state.leader_epoch));
    let Some(before) = before else {
        return Ok(unclean.map(|_| Change { id, joined: Vec::new(), unclean }));
    };
    // One that joins by the very change that ends a reassignment may take over from a leader that goes by it.
    let takes_over = |leader: NodeId| {
        state.isr.contains(&leader) && before.leader.is_some_and(|former| !state.replicas.contains(&former))
    };
    let was_known = |leader: NodeId| before.isr.contains(&leader) || before.elr.contains(&leader);
    if let Some(leader) = state.leader
        && state.leader_epoch != before.leader_epoch
        && !was_known(leader)
        && !takes_over(leader)
        && !state.unclean
    {
        let why = format!("{leader} is elected after {before:?}, and nothing says that it was unclean");
        return Err(violation("R7", "unclean-election", id, why));
    }
    let is_elected = |node: NodeId| Some(node) == state.leader && (was_known(node) || state.unclean);
    let joined = state.isr.iter().filter(|node| !before.isr.contains(node) && !is_elected(**node));
    let joined: Vec<NodeId> = joined.copied().collect();
    Ok((!joined.is_empty() || unclean.is_some()).then_some(Change { id, joined, unclean }))
}

/// The controller has granted leaders' wishes, as its image now has it: each replica that was named is still registered as
/// it was when its leader saw it (KIP-903).
pub fn granted(image: &Image, asked: &AlterPartitionRequest, answer: &AlterPartitionResponse) -> Result<(), Violation> {
    let granted = answer.partitions.iter().filter(|partition| answer.error.is_none() && partition.error.is_none());
    for id in granted.map(|partition| partition.id) {
        let named = asked.partitions.iter().filter(|wish| wish.id == id).flat_map(|wish| &wish.isr);
        for (node, epoch) in named.filter(|(_, epoch)| *epoch != BrokerEpoch::NONE) {
            let now = image.broker(*node).map(|broker| broker.epoch);
            if now != Some(*epoch) {
                let why = format!("{node} is granted to be in sync as {epoch:?}, and is registered as {now:?}");
                return Err(violation("R6", "another-registration", id, why));
            }
        }
    }
    Ok(())
}

/// A replica has joined those in sync: it is in service.
pub fn may_be_in_sync(image: &Image, node: NodeId, id: TopicPartition) -> Result<(), Violation> {
    match image.broker(node) {
        Some(broker) if broker.is_active() => Ok(()),
        broker => {
            let why = format!("{node} joins the in-sync replicas as {broker:?}");
            Err(violation("R6", "joined-out-of-service", id, why))
        }
    }
}

/// A log was opened that has lost what it had: nobody may take its replica for complete any more (KIP-966).
pub fn lost_tail(canon: &Canon, node: NodeId, id: TopicPartition) -> Result<(), Violation> {
    let Some(states) = canon.states.get(&id) else { return Ok(()) };
    let Some(state) = states.values().next_back() else { return Ok(()) };
    // Elected all the same, it is the measure of what there is, also when it has gone since, until others are in sync with it.
    let alone = |state: &&PartitionState| state.isr.iter().chain(&state.elr).all(|other| *other == node);
    let is_marked = state.unclean || states.values().rev().take_while(alone).any(|state| state.unclean);
    if !is_marked && (state.isr.contains(&node) || state.elr.contains(&node)) {
        let why = format!("{node} has lost its tail and may still lead: {state:?}");
        return Err(violation("R7", "incomplete-but-eligible", id, why));
    }
    Ok(())
}

/// A replica has joined those in sync, with a log that has what is committed up to `has`.
pub fn joined(canon: &Canon, node: NodeId, id: TopicPartition, has: Offset) -> Result<(), Violation> {
    let committed = canon.end(id);
    if has < committed {
        let why = format!("{node} joins the in-sync replicas with what is committed up to {has} of {committed}");
        return Err(violation("R6", "joined-too-early", id, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidelog_core::{
        cluster::{MetadataRecord, Registration},
        ids::{DirectoryId, TopicId},
        message::{AlterPartition, AlteredPartition, Endpoints, ErrorCode},
    };

    use super::*;
    use crate::history::partition;

    fn state(leader: i32, epoch: i32, isr: &[i32]) -> PartitionState {
        PartitionState {
            leader: (leader >= 0).then_some(NodeId(leader)),
            leader_epoch: LeaderEpoch(epoch),
            replicas: Vec::new(),
            isr: isr.iter().copied().map(NodeId).collect(),
            elr: Vec::new(),
            last_known_leader: None,
            unclean: false,
        }
    }

    fn play(states: &[PartitionState]) -> Option<&'static str> {
        let mut canon = Canon::default();
        let id = partition(TopicId([9; 16]), 0);
        for (at, state) in states.iter().enumerate() {
            if let Err(violation) = note(&mut canon, id, PartitionEpoch(at as i32), state.clone()) {
                return Some(violation.anomaly);
            }
        }
        None
    }

    #[test]
    fn an_image_is_the_same_everywhere() {
        let mut canon = Canon::default();
        assert!(folded(&mut canon, 0, Offset(3), 7).is_ok());
        assert!(folded(&mut canon, 1, Offset(3), 7).is_ok());
        assert!(folded(&mut canon, 1, Offset(3), 8).is_err());
    }

    #[test]
    fn leaders_come_from_the_in_sync_or_the_eligible() {
        assert_eq!(play(&[state(0, 0, &[0, 1]), state(1, 1, &[1])]), None);
        let outside = PartitionState { replicas: (0..3).map(NodeId).collect(), ..state(2, 1, &[2]) };
        assert_eq!(play(&[state(0, 0, &[0, 1]), outside]), Some("unclean-election"));
        let marked = PartitionState { unclean: true, ..state(2, 1, &[2]) };
        assert_eq!(play(&[state(0, 0, &[0, 1]), marked]), None);
        let moved = PartitionState { replicas: vec![NodeId(2)], ..state(2, 1, &[2]) };
        assert_eq!(play(&[state(0, 0, &[0, 1]), moved]), None, "its leader has let it in, and goes");
        let stays = PartitionState { replicas: vec![NodeId(0), NodeId(2)], ..state(2, 1, &[2]) };
        assert_eq!(play(&[state(0, 0, &[0, 1]), stays]), Some("unclean-election"));
        let eligible = PartitionState { elr: vec![NodeId(2)], ..state(-1, 0, &[]) };
        assert_eq!(play(&[eligible, state(2, 1, &[2])]), None);
    }

    #[test]
    fn an_election_without_a_promise_is_told_of() {
        let mut canon = Canon::default();
        let id = partition(TopicId([9; 16]), 0);
        note(&mut canon, id, PartitionEpoch(0), state(0, 0, &[0, 1])).expect("it is the first");
        let marked = PartitionState { unclean: true, ..state(2, 1, &[2]) };
        let change = note(&mut canon, id, PartitionEpoch(1), marked).expect("it says so");
        assert_eq!(change, Some(Change { id, joined: Vec::new(), unclean: Some((NodeId(2), LeaderEpoch(1))) }));
        assert_eq!(note(&mut canon, id, PartitionEpoch(2), state(2, 1, &[2])), Ok(None), "it acts");
    }

    fn registered(epoch: i64, fenced: bool) -> Image {
        let mut image = Image::default();
        let node = NodeId(1);
        image.apply(&MetadataRecord::BrokerRegistered(Registration {
            node,
            incarnation: 1,
            epoch: BrokerEpoch(epoch),
            directory: DirectoryId([1; 16]),
            rack: None,
            endpoints: Endpoints { native: String::new(), kafka: String::new() },
            fenced: true,
        }));
        let epoch = BrokerEpoch(epoch);
        image.apply(&MetadataRecord::BrokerChanged { node, epoch, fenced, in_controlled_shutdown: false });
        image
    }

    #[test]
    fn who_joins_is_in_service_and_the_one_that_was_seen() {
        let id = partition(TopicId([9; 16]), 0);
        assert!(may_be_in_sync(&registered(4, false), NodeId(1), id).is_ok());
        assert!(may_be_in_sync(&registered(4, true), NodeId(1), id).is_err());
        let isr = vec![(NodeId(1), BrokerEpoch(4))];
        let wish = AlterPartition { id, leader_epoch: LeaderEpoch(1), partition_epoch: PartitionEpoch(2), isr };
        let asked = AlterPartitionRequest { node: NodeId(0), broker_epoch: BrokerEpoch(1), partitions: vec![wish] };
        let altered = AlteredPartition {
            id,
            error: ErrorCode::None,
            leader: Some(NodeId(0)),
            leader_epoch: LeaderEpoch(1),
            isr: Vec::new(),
            partition_epoch: PartitionEpoch(3),
        };
        let answer = AlterPartitionResponse { error: ErrorCode::None, partitions: vec![altered] };
        assert!(granted(&registered(4, false), &asked, &answer).is_ok());
        assert!(granted(&registered(5, false), &asked, &answer).is_err());
    }

    #[test]
    fn who_has_lost_its_tail_may_not_lead() {
        let mut canon = Canon::default();
        let id = partition(TopicId([9; 16]), 0);
        note(&mut canon, id, PartitionEpoch(0), state(0, 0, &[0, 1])).expect("it is the first");
        assert!(lost_tail(&canon, NodeId(1), id).is_err());
        note(&mut canon, id, PartitionEpoch(1), state(0, 0, &[0])).expect("it follows");
        assert!(lost_tail(&canon, NodeId(1), id).is_ok());

        // It is elected all the same, and goes.
        let marked = PartitionState { unclean: true, ..state(1, 1, &[1]) };
        let gone = PartitionState { elr: vec![NodeId(1)], ..state(-1, 2, &[]) };
        let id = partition(TopicId([9; 16]), 1);
        for (at, state) in (0..).zip([marked, gone, state(1, 3, &[0, 1])]) {
            note(&mut canon, id, PartitionEpoch(at), state).expect("it follows");
            assert_eq!(lost_tail(&canon, NodeId(1), id).is_ok(), at < 2, "{at}");
        }
    }

    #[test]
    fn an_epoch_has_one_leader() {
        assert_eq!(play(&[state(0, 0, &[0, 1]), state(1, 0, &[0, 1])]), Some("two-leaders"));
    }

    #[test]
    fn who_joins_has_what_is_committed() {
        let mut canon = Canon::default();
        let id = partition(TopicId([9; 16]), 0);
        canon.committed.entry(id).or_default().end = Offset(5);
        assert!(joined(&canon, NodeId(1), id, Offset(5)).is_ok());
        assert!(joined(&canon, NodeId(1), id, Offset(4)).is_err());
    }
}
