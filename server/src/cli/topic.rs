//! `tidelog topic`: create, list, describe, alter, elect, reassign, delete.

mod describe;
mod leaders;

use std::time::Duration;

use tidelog_core::{ids::TopicName, message::*};

use super::{
    error::{CliError, Ended, Exit},
    json::Json,
    output::{Stdout, table},
    session::{ConnectArgs, Session},
    value::Pair,
};

/// Flags of `tidelog topic`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TopicArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Create a topic
    Create(CreateArgs),
    /// List topics
    List(ListArgs),
    /// Show partitions, offsets, sizes and settings of topics
    Describe(describe::DescribeArgs),
    /// Change a topic's settings, or give it more partitions
    Alter(AlterArgs),
    /// Have leaders elected: those that should lead, or any
    Elect(leaders::ElectArgs),
    /// Move partitions to other nodes
    Reassign(leaders::ReassignArgs),
    /// Delete topics and all their records
    Delete(DeleteArgs),
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic create orders
  tidelog topic create orders --partitions 12 --replicas 3 --set retention.ms=86400000
  tidelog topic create accounts --set cleanup.policy=compact --if-not-exists")]
struct CreateArgs {
    /// Its name: letters, digits, '.', '_' and '-'
    #[arg(value_name = "NAME")]
    name: String,
    /// How many partitions [default: the node's, which is 1 unless it says otherwise]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    partitions: Option<i32>,
    /// How many replicas of each [default: the node's, which is 1 unless it says otherwise]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    replicas: Option<i16>,
    /// A setting under its Kafka name; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Pair>,
    /// Succeed when there is a topic of that name
    #[arg(long)]
    if_not_exists: bool,
    /// Say only whether it could be created
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic list
  tidelog topic list --json | jq -r '.[].name'")]
struct ListArgs {
    /// Also those that tidelog keeps for itself
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic alter orders --partitions 24
  tidelog topic alter orders --set retention.ms=3600000 --unset segment.bytes
  tidelog topic alter orders --append cleanup.policy=compact")]
struct AlterArgs {
    /// Which topic
    #[arg(value_name = "NAME")]
    name: String,
    /// How many partitions it shall have in all; never fewer than now
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    partitions: Option<i32>,
    /// Give a setting this value; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Pair>,
    /// Take a setting back to its default; may be given many times
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Add words to a setting that is a list
    #[arg(long, value_name = "KEY=WORDS")]
    append: Vec<Pair>,
    /// Take words from a setting that is a list
    #[arg(long, value_name = "KEY=WORDS")]
    subtract: Vec<Pair>,
    /// Say only whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic delete orders
  tidelog topic delete old-1 old-2 --if-exists")]
struct DeleteArgs {
    /// Which topics
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Succeed when there is no topic of a name
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Does what the flags say.
pub(super) fn run(args: TopicArgs) -> Result<(), Ended> {
    match args.action {
        Action::Create(args) => create(args),
        Action::List(args) => list(&args),
        Action::Describe(args) => describe::describe(&args),
        Action::Alter(args) => alter(args),
        Action::Elect(args) => leaders::elect(&args),
        Action::Reassign(args) => leaders::reassign(&args),
        Action::Delete(args) => delete(args),
    }
}

/// How a topic is called in a message.
fn named(name: &str) -> String {
    format!("topic \"{name}\"")
}

pub(super) fn span(of: Duration) -> tidelog_core::time::Duration {
    tidelog_core::time::Duration::from_nanos(u64::try_from(of.as_nanos()).unwrap_or(u64::MAX))
}

fn create(args: CreateArgs) -> Result<(), Ended> {
    let name = TopicName::new(&args.name);
    name.check().map_err(|error| {
        CliError::new(Exit::Failed, format!("{}: {error}", named(&args.name))).hint("such as orders.v1_eu-west")
    })?;
    for (flag, count) in [("--partitions", args.partitions), ("--replicas", args.replicas.map(i32::from))] {
        if count.is_some_and(|count| count < 1) {
            return Err(CliError::new(Exit::Usage, format!("{flag} must be at least 1"))
                .hint("leave it out for the node's default")
                .into());
        }
    }
    let session = Session::open(&args.connect)?;
    let request = Request::CreateTopics(CreateTopicsRequest {
        topics: vec![NewTopic {
            name,
            partitions: args.partitions,
            replication_factor: args.replicas,
            assignments: Vec::new(),
            configs: args.settings.into_iter().map(|pair| (pair.name, Some(pair.value))).collect(),
        }],
        validate_only: args.dry_run,
        timeout: span(args.connect.timeout()),
    });
    let Response::CreateTopics(response) = session.call(request)? else { return Err(session.nonsense().into()) };
    let Some(topic) = response.topics.into_iter().next() else { return Err(session.nonsense().into()) };
    let existed = topic.error == ErrorCode::TopicAlreadyExists && args.if_not_exists;
    if !topic.error.is_none() && !existed {
        return Err(CliError::refused(&named(&args.name), topic.error, topic.message.as_deref()).into());
    }
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("name").text(&args.name).key("created").flag(!existed && !args.dry_run);
            if !existed {
                json.key("id").text(&topic.id.to_string());
                json.key("partitions").number(topic.partitions);
                json.key("replicas").number(topic.replication_factor);
            }
        });
        return Ok(stdout.line(json.as_str())?);
    }
    let counts = format!("{} partitions, {} replicas", topic.partitions, topic.replication_factor);
    let line = match (existed, args.dry_run) {
        (true, _) => format!("{} exists", named(&args.name)),
        (false, true) => format!("{} could be created: {counts}", named(&args.name)),
        (false, false) => format!("created {}: {counts}", named(&args.name)),
    };
    Ok(stdout.line(&line)?)
}

fn list(args: &ListArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let mut topics = session.topics(None)?;
    topics.retain(|topic| args.internal || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let name = |topic: &TopicMetadata| topic.name.as_ref().map_or_else(String::new, TopicName::to_string);
    let replicas = |topic: &TopicMetadata| topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.array(|json| {
            for topic in &topics {
                json.object(|json| {
                    json.key("name").text(&name(topic)).key("id").text(&topic.id.to_string());
                    json.key("partitions").number(topic.partitions.len() as u64);
                    json.key("replicas").number(replicas(topic) as u64);
                    json.key("internal").flag(topic.is_internal);
                });
            }
        });
        return Ok(stdout.line(json.as_str())?);
    }
    let rows: Vec<Vec<String>> = topics
        .iter()
        .map(|topic| vec![name(topic), topic.partitions.len().to_string(), replicas(topic).to_string()])
        .collect();
    stdout.buffer().extend_from_slice(table(&["NAME", "PARTITIONS", "REPLICAS"], &rows).as_bytes());
    Ok(stdout.flush()?)
}

fn alter(args: AlterArgs) -> Result<(), Ended> {
    let mut changes = Vec::new();
    let mut change = |name: String, operation| changes.push(ConfigChange { name, operation });
    args.settings.into_iter().for_each(|pair| change(pair.name, ConfigOperation::Set(pair.value)));
    args.unset.into_iter().for_each(|name| change(name, ConfigOperation::Delete));
    args.append.into_iter().for_each(|pair| change(pair.name, ConfigOperation::Append(pair.value)));
    args.subtract.into_iter().for_each(|pair| change(pair.name, ConfigOperation::Subtract(pair.value)));
    if changes.is_empty() && args.partitions.is_none() {
        let error = CliError::new(Exit::Usage, "nothing to change");
        return Err(error.hint("give --set, --unset, --append, --subtract or --partitions").into());
    }
    let session = Session::open(&args.connect)?;
    let name = TopicName::new(&args.name);
    if !changes.is_empty() {
        let resource =
            AlterConfigsResource { resource: ConfigResource::Topic(name.clone()), replace_all: false, changes };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: args.dry_run };
        let response = session.call(Request::AlterConfigs(request))?;
        let Response::AlterConfigs(response) = response else { return Err(session.nonsense().into()) };
        if let Some(altered) = response.resources.iter().find(|altered| !altered.error.is_none()) {
            return Err(CliError::refused(&named(&args.name), altered.error, altered.message.as_deref()).into());
        }
    }
    if let Some(total) = args.partitions {
        let request = CreatePartitionsRequest {
            topics: vec![NewPartitions { name, total, assignments: Vec::new() }],
            validate_only: args.dry_run,
            timeout: span(args.connect.timeout()),
        };
        let response = session.call(Request::CreatePartitions(request))?;
        let Response::CreatePartitions(response) = response else { return Err(session.nonsense().into()) };
        if let Some(created) = response.topics.iter().find(|created| !created.error.is_none()) {
            return Err(CliError::refused(&named(&args.name), created.error, created.message.as_deref()).into());
        }
    }
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("name").text(&args.name).key("altered").flag(!args.dry_run);
        });
        return Ok(stdout.line(json.as_str())?);
    }
    let verb = if args.dry_run { "could alter" } else { "altered" };
    Ok(stdout.line(&format!("{verb} {}", named(&args.name)))?)
}

fn delete(args: DeleteArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let request = Request::DeleteTopics(DeleteTopicsRequest {
        topics: args.names.iter().map(|name| TopicRef::Name(TopicName::new(name))).collect(),
        timeout: span(args.connect.timeout()),
    });
    let Response::DeleteTopics(response) = session.call(request)? else { return Err(session.nonsense().into()) };
    let mut deleted = Vec::new();
    let mut failed = None;
    for (name, topic) in args.names.iter().zip(&response.topics) {
        match topic.error {
            ErrorCode::None => deleted.push(name),
            ErrorCode::UnknownTopicOrPartition if args.if_exists => {}
            error => failed = failed.or(Some(CliError::refused(&named(name), error, topic.message.as_deref()))),
        }
    }
    let mut stdout = Stdout::open()?;
    if args.connect.json() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("deleted").array(|json| {
                deleted.iter().for_each(|name| {
                    json.text(name);
                });
            });
        });
        stdout.line(json.as_str())?;
    } else {
        for name in deleted {
            stdout.line(&format!("deleted {}", named(name)))?;
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
