//! `tidelog topic elect` and `reassign`: who leads, and who has copies.

use std::str::FromStr;

use tidelog_core::{
    ids::{NodeId, PartitionId, TopicName},
    message::*,
};

use super::{
    super::{
        error::{CliError, Ended, Exit},
        json::Json,
        output::{Stdout, table},
        session::{ConnectArgs, Session},
    },
    span,
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic elect
  tidelog topic elect orders
  tidelog topic elect orders --partition 3 --unclean")]
pub(super) struct ElectArgs {
    /// Which topic [default: all]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Which of its partitions; may be given many times [default: all]
    #[arg(long, value_name = "N", requires = "name")]
    partition: Vec<i32>,
    /// Let a replica lead that is not in sync, where there is no other: acknowledged records may be lost
    #[arg(long)]
    unclean: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic reassign orders --to 0=2,3,1 --to 1=3,1,2
  tidelog topic reassign orders --cancel 0
  tidelog topic reassign --list")]
pub(super) struct ReassignArgs {
    /// Which topic
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<String>,
    /// The nodes that shall have a partition, the one that shall lead first; may be given many times
    #[arg(long, value_name = "PARTITION=NODE,NODE")]
    to: Vec<Target>,
    /// Leave a partition where it is; may be given many times
    #[arg(long, value_name = "PARTITION")]
    cancel: Vec<i32>,
    /// Show what is on its way
    #[arg(long, conflicts_with_all = ["to", "cancel"])]
    list: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// `0=2,3,1`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    partition: PartitionId,
    replicas: Vec<NodeId>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (partition, replicas) = text.split_once('=')?;
            let number = |text: &str| text.trim().parse::<i32>().ok().filter(|&number| number >= 0);
            let replicas: Option<Vec<NodeId>> = replicas.split(',').map(|node| number(node).map(NodeId)).collect();
            Some(Self { partition: PartitionId(number(partition)?), replicas: replicas? })
        };
        read().ok_or_else(|| format!("\"{text}\" is not a partition and its nodes, such as 0=2,3,1"))
    }
}

pub(super) fn elect(args: &ElectArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let partitions = match &args.name {
        None => None,
        Some(name) => {
            let topic = TopicName::new(name);
            let numbers = if args.partition.is_empty() {
                let topics = session.topics(Some(vec![TopicRef::Name(topic.clone())]))?;
                topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.partition).collect()
            } else {
                args.partition.iter().copied().map(PartitionId).collect::<Vec<_>>()
            };
            if numbers.is_empty() {
                return Err(CliError::refused(&super::named(name), ErrorCode::UnknownTopicOrPartition, None).into());
            }
            Some(numbers.into_iter().map(|number| (topic.clone(), number)).collect())
        }
    };
    let kind = if args.unclean { ElectionKind::Unclean } else { ElectionKind::Preferred };
    let request =
        Request::ElectLeaders(ElectLeadersRequest { kind, partitions, timeout: span(args.connect.timeout()) });
    let Response::ElectLeaders(response) = session.call(request)? else { return Err(session.nonsense().into()) };
    if !response.error.is_none() {
        return Err(CliError::refused("the election", response.error, None).into());
    }
    let mut failed = None;
    let mut elected = Vec::new();
    for of in &response.partitions {
        let what = format!("{}-{}", of.topic, of.partition);
        match of.error {
            ErrorCode::None => elected.push(what),
            ErrorCode::ElectionNotNeeded => {}
            error => failed = failed.or(Some(CliError::refused(&what, error, of.message.as_deref()))),
        }
    }
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("elected").array(|json| {
                elected.iter().for_each(|what| {
                    json.text(what);
                });
            });
        });
        stdout.line(json.as_str())?;
    } else if elected.is_empty() && failed.is_none() {
        stdout.line("nothing to elect: every leader is the one it should be")?;
    } else {
        for what in elected {
            stdout.line(&format!("{what} has another leader"))?;
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

pub(super) fn reassign(args: &ReassignArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    if args.list {
        return list(&session, args);
    }
    let topic = TopicName::new(args.name.as_deref().unwrap_or_default());
    let moved = args.to.iter().map(|target| (target.partition, Some(target.replicas.clone())));
    let cancelled = args.cancel.iter().map(|&number| (PartitionId(number), None));
    let partitions: Vec<Reassignment> = moved
        .chain(cancelled)
        .map(|(partition, replicas)| Reassignment { topic: topic.clone(), partition, replicas })
        .collect();
    if partitions.is_empty() {
        return Err(CliError::new(Exit::Usage, "nothing to reassign").hint("give --to, --cancel or --list").into());
    }
    let request = Request::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
        partitions,
        allow_replication_factor_change: true,
        timeout: span(args.connect.timeout()),
    });
    let Response::AlterPartitionReassignments(response) = session.call(request)? else {
        return Err(session.nonsense().into());
    };
    if !response.error.is_none() {
        return Err(CliError::refused("the reassignment", response.error, response.message.as_deref()).into());
    }
    let mut stdout = Stdout::open()?;
    let mut failed = None;
    let mut begun = Vec::new();
    for of in &response.partitions {
        let what = format!("{}-{}", of.topic, of.partition);
        match of.error {
            ErrorCode::None => begun.push(what),
            error => failed = failed.or(Some(CliError::refused(&what, error, of.message.as_deref()))),
        }
    }
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("reassigned").array(|json| {
                begun.iter().for_each(|what| {
                    json.text(what);
                });
            });
        });
        stdout.line(json.as_str())?;
    } else {
        for what in begun {
            stdout.line(&format!("{what} is being reassigned; `tidelog topic reassign --list` shows how far it is"))?;
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn list(session: &Session, args: &ReassignArgs) -> Result<(), Ended> {
    let request = Request::ListPartitionReassignments(ListPartitionReassignmentsRequest { partitions: None });
    let Response::ListPartitionReassignments(mut response) = session.call(request)? else {
        return Err(session.nonsense().into());
    };
    if !response.error.is_none() {
        return Err(CliError::refused("the list", response.error, None).into());
    }
    response.partitions.retain(|of| args.name.as_ref().is_none_or(|name| of.topic.as_str() == name));
    let ids = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",");
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.array(|json| {
            for of in &response.partitions {
                json.object(|json| {
                    json.key("topic").text(of.topic.as_str()).key("partition").number(of.partition.0);
                    for (name, nodes) in
                        [("replicas", &of.replicas), ("adding", &of.adding), ("removing", &of.removing)]
                    {
                        json.key(name).array(|json| {
                            nodes.iter().for_each(|node| {
                                json.number(node.0);
                            });
                        });
                    }
                });
            }
        });
        return Ok(stdout.line(json.as_str())?);
    }
    let row = |of: &OngoingReassignment| {
        vec![format!("{}-{}", of.topic, of.partition), ids(&of.replicas), ids(&of.adding), ids(&of.removing)]
    };
    let rows: Vec<_> = response.partitions.iter().map(row).collect();
    stdout.buffer().extend_from_slice(table(&["PARTITION", "REPLICAS", "ADDING", "REMOVING"], &rows).as_bytes());
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_partitions_and_nodes() {
        let target = |partition, nodes: &[i32]| Target {
            partition: PartitionId(partition),
            replicas: nodes.iter().copied().map(NodeId).collect(),
        };
        assert_eq!("0=2,3,1".parse(), Ok(target(0, &[2, 3, 1])));
        assert_eq!("12=4".parse(), Ok(target(12, &[4])));
        for wrong in ["", "0", "0=", "=1", "0=a", "-1=1", "0=1,", "0=-1"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
