//! Decisions about partitions that exist: their ISR, their leaders, their replicas (KIP-497, KIP-841, KIP-903, KIP-460,
//! KIP-455).

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    brokers::{Live, Round, RulesOf},
    controller::{Controller, Decision},
    election::{self, Assignment, Election, Wish},
    image::{Image, Partition},
    record::{MetadataRecord, PartitionChange},
};
use crate::{
    ids::{BrokerEpoch, NodeId, PartitionId, TopicName, TopicPartition},
    limits,
    message::{
        AlterPartition, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, AlterPartitionRequest,
        AlterPartitionResponse, AlteredPartition, ElectLeadersRequest, ElectLeadersResponse, ElectedLeader,
        ElectionKind, ErrorCode, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
        OngoingReassignment, Reassigned, Reassignment,
    },
    mutant,
};

/// A refusal: the code and the reason in words.
type Refusal = (ErrorCode, String);

impl Controller {
    /// A leader wants other replicas in sync for its partitions. Each succeeds or fails by itself.
    pub fn alter_partitions(&self, image: &Image, request: &AlterPartitionRequest) -> Decision<AlterPartitionResponse> {
        if image.broker(request.node).is_none_or(|broker| broker.epoch != request.broker_epoch) {
            let response = AlterPartitionResponse { error: ErrorCode::StaleBrokerEpoch, partitions: Vec::new() };
            return Decision { records: Vec::new(), response };
        }
        let mut rules = RulesOf::new(self, image);
        let (mut records, mut seen) = (Vec::new(), BTreeSet::new());
        let mut alter = |asked: &AlterPartition| {
            let twice = !seen.insert(asked.id);
            let checked = if twice { Err(ErrorCode::InvalidRequest) } else { check(image, request.node, asked) };
            let partition = match checked {
                Ok(partition) => partition,
                Err(error) => return altered(image, asked.id, error),
            };
            let isr = asked.isr.iter().map(|(node, _)| *node).collect();
            let wish = Wish { isr: Some(isr), ..Wish::default() };
            let live = Live::now(image);
            let change = election::settle(asked.id, partition, wish, &rules.topic(asked.id.topic), |n| live.is(n));
            let Some(mut change) = change.or_else(|| recovered(asked.id, partition)) else {
                return altered(image, asked.id, ErrorCode::None);
            };
            if change.leader == partition.leader {
                // The leader acts: what it was elected in spite of is over.
                change.recovering = false;
            }
            // A reassignment that this ends can take the lead away.
            let led = change.leader == Some(request.node) && change.leader_epoch == asked.leader_epoch;
            let answer = AlteredPartition {
                id: asked.id,
                error: if led { ErrorCode::None } else { ErrorCode::FencedLeaderEpoch },
                leader: change.leader,
                leader_epoch: change.leader_epoch,
                isr: change.isr.clone(),
                partition_epoch: change.partition_epoch,
            };
            records.push(MetadataRecord::PartitionChanged(change));
            answer
        };
        let partitions = request.partitions.iter().map(&mut alter).collect();
        Decision { records, response: AlterPartitionResponse { error: ErrorCode::None, partitions } }
    }

    /// Somebody wants leaders elected: the preferred ones, or any where there is none (KIP-460).
    pub fn elect_leaders(&self, image: &Image, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
        let mut rules = RulesOf::new(self, image);
        let mut records = Vec::new();
        let mut elect = |topic: &TopicName, p: PartitionId| {
            let (id, partition) = find(image, topic, p)?;
            let election = match request.kind {
                ElectionKind::Preferred => Election::Preferred,
                ElectionKind::Unclean => Election::Unclean,
            };
            let refused = |error, reason: &str| Err((error, reason.to_string()));
            match request.kind {
                ElectionKind::Preferred if partition.leader == partition.replicas.first().copied() => {
                    return refused(ErrorCode::ElectionNotNeeded, "the preferred replica leads already");
                }
                ElectionKind::Unclean if partition.leader.is_some() => {
                    return refused(ErrorCode::ElectionNotNeeded, "the partition has a leader");
                }
                _ => {}
            }
            let (wish, live) = (Wish { election, ..Wish::default() }, Live::now(image));
            match election::settle(id, partition, wish, &rules.topic(id.topic), |n| live.is(n)) {
                Some(change) if change.leader.is_some() && change.leader != partition.leader => {
                    records.push(MetadataRecord::PartitionChanged(change));
                    Ok(())
                }
                _ if request.kind == ElectionKind::Preferred => {
                    refused(ErrorCode::PreferredLeaderNotAvailable, "the preferred replica is not in sync")
                }
                _ => refused(ErrorCode::EligibleLeadersNotAvailable, "no replica is on a broker in service"),
            }
        };
        let mut answer = |topic: &TopicName, partition: PartitionId| {
            let (error, message) = split(elect(topic, partition));
            ElectedLeader { topic: topic.clone(), partition, error, message }
        };
        let partitions = match &request.partitions {
            Some(named) => {
                let mut seen = BTreeSet::new();
                named.iter().filter(|place| seen.insert(*place)).map(|(topic, p)| answer(topic, *p)).collect()
            }
            None => {
                let all = match request.kind {
                    ElectionKind::Preferred => self.index().imbalanced(),
                    ElectionKind::Unclean => self.index().leaderless(),
                };
                let named = |id: &TopicPartition| image.topic(id.topic).map(|t| (t.name.clone(), id.partition));
                all.iter().filter_map(named).map(|(topic, p)| answer(&topic, p)).collect()
            }
        };
        Decision { records, response: ElectLeadersResponse { error: ErrorCode::None, partitions } }
    }

    /// Gives the lead back to the preferred replicas that are in sync (`auto.leader.rebalance.enable`).
    pub fn balance(&self, image: &Image) -> Round<()> {
        let mut rules = RulesOf::new(self, image);
        let live = Live::now(image);
        let mut records = Vec::new();
        for id in self.index().imbalanced() {
            let partition = image.partition(*id).expect("what is indexed is there");
            let wish = Wish { election: Election::Preferred, ..Wish::default() };
            let change = election::settle(*id, partition, wish, &rules.topic(id.topic), |n| live.is(n));
            if let Some(change) = change.filter(|change| change.leader != partition.leader) {
                if records.len() == limits::DECISION_PARTITIONS_MAX {
                    return Decision { records, response: None };
                }
                records.push(MetadataRecord::PartitionChanged(change));
            }
        }
        Decision { records, response: Some(()) }
    }

    /// Partitions get other replicas, or keep those they had (KIP-455). Each succeeds or fails by itself.
    pub fn alter_reassignments(
        &self,
        image: &Image,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Decision<AlterPartitionReassignmentsResponse> {
        let mut rules = RulesOf::new(self, image);
        let (mut records, mut seen) = (Vec::new(), BTreeSet::new());
        let mut reassign = |asked: &Reassignment| {
            if !seen.insert((asked.topic.clone(), asked.partition)) {
                return Err((ErrorCode::InvalidRequest, "the request names this partition twice".to_string()));
            }
            let (id, partition) = find(image, &asked.topic, asked.partition)?;
            let rules = rules.topic(id.topic);
            let assignment = match &asked.replicas {
                None => cancelled(partition, rules.unclean)?,
                Some(target) => reassigned(image, partition, target, request.allow_replication_factor_change)?,
            };
            let (wish, live) = (Wish { assignment: Some(assignment), ..Wish::default() }, Live::now(image));
            let change = election::settle(id, partition, wish, &rules, |n| live.is(n));
            records.extend(change.map(MetadataRecord::PartitionChanged));
            Ok(())
        };
        let answer = |asked: &Reassignment| {
            let (error, message) = split(reassign(asked));
            Reassigned { topic: asked.topic.clone(), partition: asked.partition, error, message }
        };
        let partitions = request.partitions.iter().map(answer).collect();
        let response = AlterPartitionReassignmentsResponse { error: ErrorCode::None, message: None, partitions };
        Decision { records, response }
    }

    /// The reassignments that are under way, all or of those asked for.
    pub fn list_reassignments(
        &self,
        image: &Image,
        request: &ListPartitionReassignmentsRequest,
    ) -> ListPartitionReassignmentsResponse {
        let ongoing = |id: TopicPartition| {
            let (topic, partition) = (image.topic(id.topic)?, image.partition(id)?);
            partition.is_reassigning().then(|| OngoingReassignment {
                topic: topic.name.clone(),
                partition: id.partition,
                replicas: partition.replicas.clone(),
                adding: partition.adding().to_vec(),
                removing: partition.removing().to_vec(),
            })
        };
        let partitions = match &request.partitions {
            None => self.index().reassigning().iter().copied().filter_map(ongoing).collect(),
            Some(named) => {
                let id = |(topic, p): &(TopicName, PartitionId)| find(image, topic, *p).ok().map(|(id, _)| id);
                named.iter().filter_map(id).filter_map(ongoing).collect()
            }
        };
        ListPartitionReassignmentsResponse { error: ErrorCode::None, partitions }
    }
}

/// May the leader's wish be considered? KIP-497's epochs, KIP-841's and KIP-903's brokers.
fn check<'a>(image: &'a Image, node: NodeId, asked: &AlterPartition) -> Result<&'a Partition, ErrorCode> {
    if image.topic(asked.id.topic).is_none() {
        return Err(ErrorCode::UnknownTopicId);
    }
    let partition = image.partition(asked.id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if asked.leader_epoch > partition.leader_epoch || asked.partition_epoch > partition.partition_epoch {
        // The leader knows of changes that this node does not: another is the controller.
        return Err(ErrorCode::NotController);
    }
    if asked.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if partition.leader != Some(node) {
        return Err(ErrorCode::InvalidRequest);
    }
    if asked.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let members: BTreeSet<NodeId> = asked.isr.iter().map(|(node, _)| *node).collect();
    let known = members.iter().all(|member| partition.replicas.contains(member));
    if !members.contains(&node) || members.len() != asked.isr.len() || !known {
        return Err(ErrorCode::InvalidRequest);
    }
    let eligible = |(member, epoch): &(NodeId, BrokerEpoch)| {
        let Some(broker) = image.broker(*member) else { return false };
        // Who is in sync already may be named without its registration: had it another one, it would have been taken out.
        let unknown = *epoch == BrokerEpoch::NONE && partition.isr.contains(member);
        let same = unknown || *epoch == broker.epoch || mutant!(X13);
        same && (broker.is_active() || mutant!(X15))
    };
    if asked.isr.iter().all(eligible) { Ok(partition) } else { Err(ErrorCode::IneligibleReplica) }
}

/// Nothing changes but that the leader has been heard of.
fn recovered(id: TopicPartition, partition: &Partition) -> Option<PartitionChange> {
    partition.is_recovering().then(|| {
        let mut change = partition.to_change(id);
        change.partition_epoch = change.partition_epoch.bump();
        change
    })
}

fn altered(image: &Image, id: TopicPartition, error: ErrorCode) -> AlteredPartition {
    let partition = image.partition(id);
    AlteredPartition {
        id,
        error,
        leader: partition.and_then(|p| p.leader),
        leader_epoch: partition.map_or(crate::epoch::LeaderEpoch::NONE, |p| p.leader_epoch),
        isr: partition.map_or(Vec::new(), |p| p.isr.clone()),
        partition_epoch: partition.map_or(crate::epoch::PartitionEpoch::FIRST, |p| p.partition_epoch),
    }
}

fn find<'a>(
    image: &'a Image,
    topic: &TopicName,
    partition: PartitionId,
) -> Result<(TopicPartition, &'a Partition), Refusal> {
    let unknown = |reason: String| (ErrorCode::UnknownTopicOrPartition, reason);
    let found = image.topic_named(topic).ok_or_else(|| unknown("there is no topic of this name".to_string()))?;
    let id = TopicPartition { topic: found.id, partition };
    let none = || unknown(format!("the topic has no partition {partition}"));
    image.partition(id).map(|partition| (id, partition)).ok_or_else(none)
}

fn split(outcome: Result<(), Refusal>) -> (ErrorCode, Option<String>) {
    match outcome {
        Ok(()) => (ErrorCode::None, None),
        Err((error, message)) => (error, Some(message)),
    }
}

/// The replicas as they were before the reassignment.
fn cancelled(partition: &Partition, unclean: bool) -> Result<Assignment, Refusal> {
    if !partition.is_reassigning() {
        return Err((ErrorCode::NoReassignmentInProgress, "no reassignment is under way".to_string()));
    }
    let stays = |n: &&NodeId| !partition.adding().contains(n);
    let replicas: Vec<NodeId> = partition.replicas.iter().filter(stays).copied().collect();
    let complete = |n: &NodeId| partition.isr.contains(n) || partition.elr().contains(n);
    if !unclean && !replicas.iter().any(complete) {
        let reason = "none of the replicas that would stay is in sync";
        return Err((ErrorCode::InvalidReplicaAssignment, reason.to_string()));
    }
    Ok(Assignment { replicas, adding: Vec::new(), removing: Vec::new() })
}

/// The way to new replicas: the target, and behind it those that go once the target is in sync.
fn reassigned(
    image: &Image,
    partition: &Partition,
    target: &[NodeId],
    other_count: bool,
) -> Result<Assignment, Refusal> {
    let wrong = |reason: String| Err((ErrorCode::InvalidReplicaAssignment, reason));
    if target.is_empty() {
        return wrong("a partition needs a replica".to_string());
    }
    if target.iter().collect::<BTreeSet<_>>().len() != target.len() {
        return wrong("a broker can hold a partition once only".to_string());
    }
    if let Some(node) = target.iter().find(|node| image.broker(**node).is_none()) {
        return wrong(format!("there is no broker {node}"));
    }
    let original: Vec<NodeId> =
        partition.replicas.iter().filter(|n| !partition.adding().contains(n)).copied().collect();
    if !other_count && target.len() != original.len() {
        let reason = format!("the partition has {} replicas, {} are given", original.len(), target.len());
        return Err((ErrorCode::InvalidReplicationFactor, reason));
    }
    let adding = target.iter().filter(|n| !original.contains(n)).copied().collect();
    let removing: Vec<NodeId> = partition.replicas.iter().filter(|n| !target.contains(n)).copied().collect();
    let replicas = target.iter().chain(&removing).copied().collect();
    Ok(Assignment { replicas, adding, removing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::bench::Bench, epoch::LeaderEpoch, epoch::PartitionEpoch, time::Duration};

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// The leader's wish for partition 0, in its newest epochs and with the newest registrations.
    fn wish(bench: &Bench, topic: &str, isr: &[i32]) -> AlterPartitionRequest {
        let p = bench.partition(topic, 0);
        let leader = p.leader.expect("it has a leader");
        AlterPartitionRequest {
            node: leader,
            broker_epoch: bench.epoch(leader.0),
            partitions: alloc::vec![AlterPartition {
                id: bench.id(topic, 0),
                leader_epoch: p.leader_epoch,
                partition_epoch: p.partition_epoch,
                isr: isr.iter().map(|n| (NodeId(*n), bench.epoch(*n))).collect(),
            }],
        }
    }

    fn alter(bench: &mut Bench, request: &AlterPartitionRequest) -> AlteredPartition {
        let decision = bench.controller.alter_partitions(&bench.image, request);
        let response = bench.decide(decision);
        assert_eq!(response.error, ErrorCode::None);
        response.partitions.into_iter().next().expect("one for each")
    }

    #[test]
    fn a_leader_shrinks_and_expands_its_isr() {
        let mut bench = Bench::new(3);
        bench.topic("t", &[&[1, 2, 3]], &[]);
        let request = wish(&bench, "t", &[1, 2]);
        let answer = alter(&mut bench, &request);
        assert_eq!((answer.error, answer.isr), (ErrorCode::None, nodes(&[1, 2])));
        assert_eq!(answer.leader_epoch, LeaderEpoch(0), "who leads is the same");
        assert_eq!(answer.partition_epoch, PartitionEpoch(1));
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::InvalidUpdateVersion, "said twice");
        let request = wish(&bench, "t", &[1, 2, 3]);
        assert_eq!(alter(&mut bench, &request).isr, nodes(&[1, 2, 3]));
    }

    #[test]
    fn wishes_out_of_time_or_out_of_place_are_refused() {
        let mut bench = Bench::new(3);
        bench.topic("t", &[&[1, 2]], &[]);
        let refused = |change: &dyn Fn(&mut AlterPartitionRequest)| {
            let mut request = wish(&bench, "t", &[1]);
            change(&mut request);
            let decision = bench.controller.alter_partitions(&bench.image, &request);
            assert!(decision.records.is_empty());
            decision.response.partitions.first().map_or(decision.response.error, |p| p.error)
        };
        assert_eq!(refused(&|r| r.broker_epoch = BrokerEpoch(0)), ErrorCode::StaleBrokerEpoch);
        assert_eq!(refused(&|r| r.partitions[0].leader_epoch = LeaderEpoch(-1)), ErrorCode::FencedLeaderEpoch);
        assert_eq!(refused(&|r| r.partitions[0].leader_epoch = LeaderEpoch(1)), ErrorCode::NotController);
        assert_eq!(refused(&|r| r.partitions[0].partition_epoch = PartitionEpoch(1)), ErrorCode::NotController);
        let unknown = TopicPartition { topic: crate::ids::TopicId([1; 16]), partition: PartitionId(0) };
        assert_eq!(refused(&|r| r.partitions[0].id = unknown), ErrorCode::UnknownTopicId);
        assert_eq!(refused(&|r| r.partitions[0].id.partition = PartitionId(5)), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(refused(&|r| r.partitions[0].isr.clear()), ErrorCode::InvalidRequest);
        let stranger = (NodeId(3), BrokerEpoch::NONE);
        assert_eq!(refused(&|r| r.partitions[0].isr.push(stranger)), ErrorCode::InvalidRequest);
    }

    #[test]
    fn only_a_broker_in_service_under_the_registration_that_was_seen_in_sync_joins() {
        let mut bench = Bench::new(3);
        bench.topic("t", &[&[1, 2]], &[]);
        let request = wish(&bench, "t", &[1]);
        alter(&mut bench, &request);
        let stale = wish(&bench, "t", &[1, 2]);
        bench.register(2, 2, BrokerEpoch::NONE);
        assert_eq!(
            alter(&mut bench, &stale).error,
            ErrorCode::IneligibleReplica,
            "another process, maybe without data"
        );
        let request = wish(&bench, "t", &[1, 2]);
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::IneligibleReplica, "it is fenced");
        bench.unfence(2);
        bench.leave(2);
        let request = wish(&bench, "t", &[1, 2]);
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::IneligibleReplica, "it is about to stop");
        bench.unfence(2);
        let mut request = wish(&bench, "t", &[1, 2]);
        request.partitions[0].isr[1].1 = BrokerEpoch::NONE;
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::IneligibleReplica, "who joins is named in full");
        let request = wish(&bench, "t", &[1, 2]);
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::None);
    }

    fn elect(bench: &mut Bench, kind: ElectionKind, topic: Option<&str>) -> Vec<ErrorCode> {
        let partitions = topic.map(|t| alloc::vec![(TopicName::new(t), PartitionId(0))]);
        let request = ElectLeadersRequest { kind, partitions, timeout: Duration::ZERO };
        let decision = bench.controller.elect_leaders(&bench.image, &request);
        bench.decide(decision).partitions.iter().map(|p| p.error).collect()
    }

    #[test]
    fn leaders_are_elected_on_request_with_kafkas_codes() {
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[]);
        let preferred = ElectionKind::Preferred;
        assert_eq!(elect(&mut bench, preferred, Some("t")), [ErrorCode::ElectionNotNeeded]);
        assert_eq!(elect(&mut bench, preferred, Some("u")), [ErrorCode::UnknownTopicOrPartition]);
        bench.fence(1);
        assert_eq!(elect(&mut bench, preferred, Some("t")), [ErrorCode::PreferredLeaderNotAvailable]);
        bench.unfence(1);
        let request = wish(&bench, "t", &[1, 2]);
        alter(&mut bench, &request);
        assert_eq!(elect(&mut bench, preferred, None), [ErrorCode::None]);
        assert_eq!(bench.state("t").0, Some(1));
        assert_eq!(elect(&mut bench, preferred, None), []);

        bench.fence(2);
        bench.fence(1);
        let unclean = ElectionKind::Unclean;
        assert_eq!(elect(&mut bench, unclean, None), [ErrorCode::EligibleLeadersNotAvailable]);
        bench.unfence(2);
        assert_eq!(bench.state("t"), (None, Vec::new()));
        assert_eq!(elect(&mut bench, unclean, None), [ErrorCode::None]);
        assert_eq!((bench.state("t"), bench.partition("t", 0).is_recovering()), ((Some(2), alloc::vec![2]), true));
        assert_eq!(elect(&mut bench, unclean, Some("t")), [ErrorCode::ElectionNotNeeded]);
        let request = wish(&bench, "t", &[2]);
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::None);
        assert!(!bench.partition("t", 0).is_recovering(), "the leader has acted");
    }

    #[test]
    fn preferred_leaders_get_the_lead_back_when_they_are_in_sync() {
        let mut bench = Bench::new(2);
        bench.topic("t", &[&[1, 2]], &[]);
        bench.fence(1);
        bench.unfence(1);
        bench.rounds(|b| b.controller.balance(&b.image));
        assert_eq!(bench.state("t").0, Some(2), "it is not in sync");
        let request = wish(&bench, "t", &[1, 2]);
        alter(&mut bench, &request);
        bench.rounds(|b| b.controller.balance(&b.image));
        assert_eq!(bench.state("t").0, Some(1));
    }

    fn reassign(bench: &mut Bench, target: Option<&[i32]>) -> ErrorCode {
        let asked = Reassignment { topic: TopicName::new("t"), partition: PartitionId(0), replicas: target.map(nodes) };
        let request = AlterPartitionReassignmentsRequest {
            partitions: alloc::vec![asked],
            allow_replication_factor_change: true,
            timeout: Duration::ZERO,
        };
        let decision = bench.controller.alter_reassignments(&bench.image, &request);
        bench.decide(decision).partitions[0].error
    }

    fn ongoing(bench: &Bench) -> Vec<OngoingReassignment> {
        bench
            .controller
            .list_reassignments(&bench.image, &ListPartitionReassignmentsRequest { partitions: None })
            .partitions
    }

    #[test]
    fn a_partition_moves_to_other_replicas_or_stays() {
        let mut bench = Bench::new(4);
        bench.topic("t", &[&[1, 2]], &[]);
        assert_eq!(reassign(&mut bench, None), ErrorCode::NoReassignmentInProgress);
        assert_eq!(reassign(&mut bench, Some(&[])), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(reassign(&mut bench, Some(&[3, 3])), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(reassign(&mut bench, Some(&[3, 9])), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(reassign(&mut bench, Some(&[3, 4])), ErrorCode::None);
        assert_eq!(ongoing(&bench)[0].adding, nodes(&[3, 4]));
        assert_eq!(bench.partition("t", 0).replicas, nodes(&[3, 4, 1, 2]));
        assert_eq!(reassign(&mut bench, None), ErrorCode::None);
        assert_eq!((bench.partition("t", 0).replicas.clone(), ongoing(&bench)), (nodes(&[1, 2]), Vec::new()));

        assert_eq!(reassign(&mut bench, Some(&[3, 4])), ErrorCode::None);
        let request = wish(&bench, "t", &[1, 2, 3]);
        assert_eq!(alter(&mut bench, &request).error, ErrorCode::None);
        assert_eq!(reassign(&mut bench, Some(&[3, 1])), ErrorCode::None, "another target takes the place of the first");
        assert_eq!(bench.state("t"), (Some(1), alloc::vec![1, 3]));
        assert_eq!((bench.partition("t", 0).replicas.clone(), ongoing(&bench)), (nodes(&[3, 1]), Vec::new()));

        assert_eq!(reassign(&mut bench, Some(&[4])), ErrorCode::None);
        let request = wish(&bench, "t", &[1, 3, 4]);
        let answer = alter(&mut bench, &request);
        assert_eq!((answer.error, answer.leader), (ErrorCode::FencedLeaderEpoch, Some(NodeId(4))));
        assert_eq!((bench.state("t"), ongoing(&bench)), ((Some(4), alloc::vec![4]), Vec::new()));
    }
}
