//! `tidelog cluster drain`: every replica of a node goes to another.

use std::collections::BTreeMap;

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicName},
    message::*,
};

use super::{brokers, unknown_node};
use crate::cli::{
    error::{CliError, Ended, Exit},
    json::Json,
    output::Stdout,
    session::{ConnectArgs, Session},
    topic::span,
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog cluster drain 3
  tidelog cluster drain 3 --dry-run

The replicas are copied in the background; `tidelog topic reassign --list` shows those that are still on their way.")]
pub(super) struct DrainArgs {
    /// Which node
    #[arg(value_name = "NODE")]
    node: i32,
    /// Say only what would move where
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(super) fn drain(args: &DrainArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let node = NodeId(args.node);
    let brokers = brokers(&session)?;
    if !brokers.contains_key(&node) {
        return Err(unknown_node(args.node).into());
    }
    let others: Vec<NodeId> =
        brokers.values().filter(|broker| !broker.fenced && broker.node != node).map(|broker| broker.node).collect();
    let moves = plan(node, &others, &session.topics(None)?)?;
    if !args.dry_run && !moves.is_empty() {
        let request = Request::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
            partitions: moves.clone(),
            allow_replication_factor_change: false,
            timeout: span(args.connect.timeout()),
        });
        let Response::AlterPartitionReassignments(response) = session.call(request)? else {
            return Err(session.nonsense().into());
        };
        if !response.error.is_none() {
            return Err(CliError::refused("draining", response.error, response.message.as_deref()).into());
        }
        if let Some(of) = response.partitions.iter().find(|of| !of.error.is_none()) {
            let what = format!("partition {}-{}", of.topic, of.partition);
            return Err(CliError::refused(&what, of.error, of.message.as_deref()).into());
        }
    }
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.array(|json| {
            for Reassignment { topic, partition, replicas } in &moves {
                json.object(|json| {
                    json.key("topic").text(topic.as_str()).key("partition").number(partition.0);
                    json.key("replicas").array(|json| {
                        replicas.iter().flatten().for_each(|node| {
                            json.number(node.0);
                        });
                    });
                });
            }
        });
        return Ok(stdout.line(json.as_str())?);
    }
    for Reassignment { topic, partition, replicas } in &moves {
        let replicas: Vec<String> = replicas.iter().flatten().map(NodeId::to_string).collect();
        stdout.line(&format!("{topic}-{partition} goes to {}", replicas.join(",")))?;
    }
    let verb = if args.dry_run { "would move" } else { "move" };
    Ok(stdout.line(&format!("{} replicas {verb} away from node {node}", moves.len()))?)
}

/// Where each replica of the node goes: to the node that has the fewest and is not in the partition yet. The place in
/// the order, and with it who is preferred to lead, is kept.
fn plan(node: NodeId, others: &[NodeId], topics: &[TopicMetadata]) -> Result<Vec<Reassignment>, CliError> {
    let mut load: BTreeMap<NodeId, usize> = others.iter().map(|other| (*other, 0)).collect();
    for replica in topics.iter().flat_map(|topic| &topic.partitions).flat_map(|partition| &partition.replicas) {
        if let Some(count) = load.get_mut(replica) {
            *count += 1;
        }
    }
    let mut moves = Vec::new();
    for (topic, partition) in topics.iter().flat_map(|topic| topic.partitions.iter().map(move |of| (topic, of))) {
        let (Some(name), Some(place)) = (&topic.name, partition.replicas.iter().position(|replica| *replica == node))
        else {
            continue;
        };
        let free = load.iter().filter(|(other, _)| !partition.replicas.contains(other));
        let Some(target) = free.min_by_key(|&(other, count)| (*count, *other)).map(|(other, _)| *other) else {
            return Err(nowhere(name, partition.partition, partition.replicas.len()));
        };
        *load.get_mut(&target).expect("it was found there") += 1;
        let mut replicas = partition.replicas.clone();
        replicas[place] = target;
        moves.push(Reassignment { topic: name.clone(), partition: partition.partition, replicas: Some(replicas) });
    }
    Ok(moves)
}

fn nowhere(topic: &TopicName, partition: PartitionId, replicas: usize) -> CliError {
    let message = format!("{topic}-{partition} has {replicas} replicas, and no other node in service is free of it");
    CliError::new(Exit::Failed, message).hint("start another node, or give the topic fewer replicas")
}

#[cfg(test)]
mod tests {
    use tidelog_core::{epoch::LeaderEpoch, ids::TopicId};

    use super::*;

    fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn topic(replicas: &[&[i32]]) -> TopicMetadata {
        let partition = |(number, replicas): (i32, &&[i32])| PartitionMetadata {
            error: ErrorCode::None,
            partition: PartitionId(number),
            leader: None,
            leader_epoch: LeaderEpoch::FIRST,
            replicas: nodes(replicas),
            isr: nodes(replicas),
            elr: Vec::new(),
            offline: Vec::new(),
        };
        TopicMetadata {
            error: ErrorCode::None,
            name: Some(TopicName::new("t")),
            id: TopicId::ZERO,
            is_internal: false,
            partitions: (0..).zip(replicas).map(partition).collect(),
        }
    }

    #[test]
    fn replicas_go_where_the_fewest_are_and_keep_their_place() {
        let topics = [topic(&[&[1, 2], &[2, 3], &[3, 1], &[4, 2]])];
        let moves = plan(NodeId(1), &nodes(&[2, 3, 4]), &topics).expect("there is room");
        let targets: Vec<_> = moves.into_iter().map(|of| (of.partition.0, of.replicas)).collect();
        assert_eq!(targets, [(0, Some(nodes(&[4, 2]))), (2, Some(nodes(&[3, 4])))]);
        assert!(plan(NodeId(1), &nodes(&[2]), &[topic(&[&[1, 2]])]).is_err(), "nowhere to go");
        assert_eq!(plan(NodeId(9), &nodes(&[2]), &[topic(&[&[1, 2]])]), Ok(Vec::new()));
    }
}
