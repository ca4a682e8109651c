//! `tidelog cluster`: how the nodes are, and taking one out of service.

mod drain;
mod voters;

use std::collections::{BTreeMap, BTreeSet};

use tidelog_core::{
    ids::{NodeId, TopicName},
    message::*,
    offset::Offset,
};

use super::{
    error::{CliError, Ended, Exit},
    json::Json,
    output::{Stdout, table},
    session::{ConnectArgs, Session},
};

/// Flags of `tidelog cluster`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClusterArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show the quorum, the nodes, and the partitions that are not as they should be
    Status(StatusArgs),
    /// Move every replica from a node to others, so that it can be taken away
    Drain(drain::DrainArgs),
    /// Forget a node that is not coming back
    Unregister(UnregisterArgs),
    /// Let a node vote in the metadata quorum that follows it so far
    AddVoter(voters::AddArgs),
    /// Let a node follow the metadata quorum without a vote
    RemoveVoter(voters::RemoveArgs),
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog cluster status
  tidelog cluster status --json | jq .offline")]
struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog cluster unregister 3")]
struct UnregisterArgs {
    /// Which node
    #[arg(value_name = "NODE")]
    node: i32,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs the verb.
pub(super) fn run(args: &ClusterArgs) -> Result<(), Ended> {
    match &args.action {
        Action::Status(args) => status(args),
        Action::Drain(args) => drain::drain(args),
        Action::Unregister(args) => unregister(args),
        Action::AddVoter(args) => voters::add(args),
        Action::RemoveVoter(args) => voters::remove(args),
    }
}

/// Partitions that are not as they should be, by their names.
#[derive(Default)]
struct Troubles {
    under_replicated: Vec<String>,
    under_min_isr: Vec<String>,
    offline: Vec<String>,
}

fn status(args: &StatusArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let Response::DescribeCluster(cluster) = session.call(Request::DescribeCluster)? else {
        return Err(session.nonsense().into());
    };
    let Response::DescribeQuorum(quorum) = session.call(Request::DescribeQuorum)? else {
        return Err(session.nonsense().into());
    };
    if !quorum.error.is_none() {
        return Err(CliError::refused("the quorum", quorum.error, None).into());
    }
    let topics = session.topics(None)?;
    let troubles = Troubles::find(&session, &topics)?;
    let led = |node: NodeId| {
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let (mut leads, mut has) = (0u64, 0u64);
        for partition in partitions {
            leads += u64::from(partition.leader == Some(node));
            has += u64::from(partition.replicas.contains(&node));
        }
        (leads, has)
    };
    let end = quorum.voters.iter().chain(&quorum.observers).map(|replica| replica.log_end).max();
    let lag = |replica: &QuorumReplica| match (replica.log_end, end) {
        (Offset::NONE, _) | (_, None) => None,
        (own, Some(end)) => Some(end.0 - own.0),
    };
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("cluster_id").text(&cluster.cluster_id);
            json.key("quorum").object(|json| {
                json.key("leader");
                match quorum.leader {
                    Some(leader) => json.number(leader.0),
                    None => json.null(),
                };
                json.key("epoch").number(quorum.epoch.0).key("committed").number(quorum.high_watermark.0);
                for (name, replicas) in [("voters", &quorum.voters), ("observers", &quorum.observers)] {
                    json.key(name).array(|json| {
                        for replica in replicas {
                            json.object(|json| {
                                json.key("node").number(replica.node.0).key("lag");
                                match lag(replica) {
                                    Some(lag) => json.number(lag),
                                    None => json.null(),
                                };
                            });
                        }
                    });
                }
            });
            json.key("nodes").array(|json| {
                for broker in &cluster.brokers {
                    let (leads, has) = led(broker.node);
                    json.object(|json| {
                        json.key("node").number(broker.node.0).key("fenced").flag(broker.fenced);
                        json.key("rack").optional_text(broker.rack.as_deref());
                        json.key("leads").number(leads).key("replicas").number(has);
                    });
                }
            });
            for (name, partitions) in troubles.named() {
                json.key(name).array(|json| {
                    partitions.iter().for_each(|partition| {
                        json.text(partition);
                    });
                });
            }
        });
        return Ok(stdout.line(json.as_str())?);
    }
    let leader = quorum.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    stdout.line(&format!("cluster {}", cluster.cluster_id))?;
    stdout
        .line(&format!("quorum: leader {leader}, epoch {}, committed up to {}", quorum.epoch, quorum.high_watermark))?;
    stdout.line("")?;
    let mut nodes: BTreeSet<NodeId> = cluster.brokers.iter().map(|broker| broker.node).collect();
    nodes.extend(quorum.voters.iter().map(|voter| voter.node));
    let brokers: BTreeMap<NodeId, &BrokerInfo> = cluster.brokers.iter().map(|broker| (broker.node, broker)).collect();
    let rows: Vec<Vec<String>> = nodes
        .into_iter()
        .map(|node| {
            let find = |replicas: &[QuorumReplica]| replicas.iter().find(|replica| replica.node == node).map(lag);
            let (role, behind) = match (find(&quorum.voters), find(&quorum.observers)) {
                (Some(lag), _) => ("voter", lag),
                (None, Some(lag)) => ("observer", lag),
                (None, None) => ("-", None),
            };
            let role = if quorum.leader == Some(node) { "leader" } else { role };
            let state = match brokers.get(&node) {
                Some(broker) if broker.fenced => "out of service",
                Some(_) => "in service",
                None => "never seen",
            };
            let (leads, has) = led(node);
            vec![
                node.to_string(),
                state.to_owned(),
                role.to_owned(),
                behind.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
                leads.to_string(),
                has.to_string(),
                brokers.get(&node).and_then(|broker| broker.rack.clone()).unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let head = ["NODE", "STATE", "QUORUM", "LAG", "LEADS", "REPLICAS", "RACK"];
    stdout.buffer().extend_from_slice(table(&head, &rows).as_bytes());
    stdout.line("")?;
    let [under_replicated, under_min_isr, offline] = troubles.named();
    for ((_, partitions), words) in [under_replicated, under_min_isr, offline].into_iter().zip(TROUBLES) {
        stdout.line(&summary(words, partitions))?;
    }
    Ok(())
}

/// "under-replicated partitions: 2 (a-0 b-1)"
fn summary(words: &str, partitions: &[String]) -> String {
    let shown = partitions.iter().take(PARTITIONS_SHOWN_MAX).cloned().collect::<Vec<_>>().join(" ");
    match partitions.len() {
        0 => format!("{words}: none"),
        count if count <= PARTITIONS_SHOWN_MAX => format!("{words}: {count} ({shown})"),
        count => format!("{words}: {count} ({shown} ...; all of them with --json)"),
    }
}

impl Troubles {
    fn find(session: &Session, topics: &[TopicMetadata]) -> Result<Self, CliError> {
        let mut troubles = Self::default();
        let is_short = |partition: &PartitionMetadata| partition.isr.len() < partition.replicas.len();
        let short = topics.iter().filter(|topic| topic.partitions.iter().any(is_short));
        let least = least_isr(session, short.filter_map(|topic| topic.name.clone()).collect())?;
        for topic in topics {
            let Some(name) = &topic.name else { continue };
            for partition in topic.partitions.iter().filter(|partition| is_short(partition)) {
                let place = format!("{name}-{}", partition.partition);
                let least = least.get(name).copied().unwrap_or(1);
                if partition.isr.len() < least {
                    troubles.under_min_isr.push(place.clone());
                }
                if partition.leader.is_none() {
                    troubles.offline.push(place.clone());
                }
                troubles.under_replicated.push(place);
            }
        }
        Ok(troubles)
    }

    fn named(&self) -> [(&'static str, &[String]); 3] {
        [
            ("under_replicated", &self.under_replicated),
            ("under_min_isr", &self.under_min_isr),
            ("offline", &self.offline),
        ]
    }
}

/// `min.insync.replicas` of these topics.
fn least_isr(session: &Session, topics: Vec<TopicName>) -> Result<BTreeMap<TopicName, usize>, CliError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names = || Some(vec![MIN_ISR.to_owned()]);
    let resources = topics.iter().map(|topic| (ConfigResource::Topic(topic.clone()), names())).collect();
    let request = Request::DescribeConfigs(DescribeConfigsRequest { resources });
    let Response::DescribeConfigs(response) = session.call(request)? else { return Err(session.nonsense()) };
    let least = |described: &DescribedConfigs| {
        described.entries.iter().find(|entry| entry.name == MIN_ISR)?.value.as_deref()?.parse().ok()
    };
    Ok(topics.into_iter().zip(response.resources.iter().map(|described| least(described).unwrap_or(1))).collect())
}

fn unregister(args: &UnregisterArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let request = Request::UnregisterBroker(UnregisterBrokerRequest { node: NodeId(args.node) });
    let Response::UnregisterBroker(response) = session.call(request)? else { return Err(session.nonsense().into()) };
    if !response.error.is_none() {
        let what = format!("node {}", args.node);
        return Err(CliError::refused(&what, response.error, response.message.as_deref()).into());
    }
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("node").number(args.node).key("registered").flag(false);
        });
        return Ok(stdout.line(json.as_str())?);
    }
    Ok(stdout.line(&format!("node {} is forgotten", args.node))?)
}

/// The nodes that a request may name, by their ids.
fn brokers(session: &Session) -> Result<BTreeMap<NodeId, BrokerInfo>, CliError> {
    let Response::DescribeCluster(cluster) = session.call(Request::DescribeCluster)? else {
        return Err(session.nonsense());
    };
    Ok(cluster.brokers.into_iter().map(|broker| (broker.node, broker)).collect())
}

/// The error for a node that nobody knows.
fn unknown_node(node: i32) -> CliError {
    CliError::new(Exit::NotFound, format!("node {node} is not known")).hint("`tidelog cluster status` shows the nodes")
}

const MIN_ISR: &str = "min.insync.replicas";
/// As the lines below the nodes begin.
const TROUBLES: [&str; 3] =
    ["under-replicated partitions", "partitions below min.insync.replicas", "offline partitions"];
/// Partitions that one line names.
const PARTITIONS_SHOWN_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_few_partitions_and_counts_all() {
        let partitions = |count: u32| (0..count).map(|n| format!("t-{n}")).collect::<Vec<_>>();
        assert_eq!(summary("offline partitions", &[]), "offline partitions: none");
        assert_eq!(summary("offline partitions", &partitions(2)), "offline partitions: 2 (t-0 t-1)");
        assert!(summary("x", &partitions(11)).starts_with("x: 11 (t-0 "));
    }
}
