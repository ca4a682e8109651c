//! `tidelog topic describe`: partitions, offsets, sizes, settings.

use std::collections::BTreeMap;

use tidelog_core::{
    epoch::LeaderEpoch,
    ids::{NodeId, PartitionId, TopicName},
    message::*,
    offset::Offset,
};

use super::{
    super::{
        error::{CliError, Ended},
        json::Json,
        output::{Stdout, table},
        session::{ConnectArgs, Session},
    },
    named,
};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog topic describe orders
  tidelog topic describe orders --all-settings
  tidelog topic describe --json")]
pub(super) struct DescribeArgs {
    /// Which topics [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Also settings that have their default
    #[arg(long)]
    all_settings: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// One partition as it is shown.
struct Partition {
    metadata: PartitionMetadata,
    start: Option<Offset>,
    end: Option<Offset>,
    bytes: Option<u64>,
}

type Place = (TopicName, PartitionId);

pub(super) fn describe(args: &DescribeArgs) -> Result<(), Ended> {
    let session = Session::open(&args.connect)?;
    let names = args.names.iter().map(|name| TopicRef::Name(TopicName::new(name))).collect::<Vec<_>>();
    let mut topics = session.topics((!names.is_empty()).then_some(names))?;
    topics.retain(|topic| !args.names.is_empty() || !topic.is_internal);
    if let Some(topic) = topics.iter().find(|topic| !topic.error.is_none() && topic.partitions.is_empty()) {
        let name = topic.name.as_ref().map_or("", TopicName::as_str);
        return Err(CliError::refused(&named(name), topic.error, None).into());
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let places: Vec<Place> = topics
        .iter()
        .flat_map(|topic| {
            topic.name.iter().flat_map(|name| topic.partitions.iter().map(|p| (name.clone(), p.partition)))
        })
        .collect();
    let starts = offsets(&session, &places, OffsetSpec::Earliest)?;
    let ends = offsets(&session, &places, OffsetSpec::Latest)?;
    let sizes = sizes(&session, &places)?;
    let mut settings = settings(&session, &topics)?;
    if !args.all_settings {
        settings.values_mut().for_each(|entries| entries.retain(|entry| entry.source == ConfigSource::DynamicTopic));
    }
    let mut stdout = Stdout::open()?;
    let mut json = Json::new();
    let show = |topic: &TopicMetadata| {
        let name = topic.name.clone().unwrap_or_else(|| TopicName::new(""));
        let partitions = topic.partitions.iter().map(|metadata| {
            let place = (name.clone(), metadata.partition);
            let find = |of: &BTreeMap<Place, Offset>| of.get(&place).copied();
            let bytes = sizes.get(&place).copied();
            Partition { metadata: metadata.clone(), start: find(&starts), end: find(&ends), bytes }
        });
        (partitions.collect::<Vec<_>>(), settings.get(&name).cloned().unwrap_or_default())
    };
    if args.connect.json() {
        json.array(|json| {
            for topic in &topics {
                let (partitions, settings) = show(topic);
                topic_json(json, topic, &partitions, &settings);
            }
        });
        return Ok(stdout.line(json.as_str())?);
    }
    for (index, topic) in topics.iter().enumerate() {
        let (partitions, settings) = show(topic);
        let separator = if index > 0 { "\n" } else { "" };
        let text = format!("{separator}{}", topic_text(topic, &partitions, &settings));
        stdout.buffer().extend_from_slice(text.as_bytes());
        stdout.settle()?;
    }
    Ok(stdout.flush()?)
}

fn offsets(session: &Session, places: &[Place], spec: OffsetSpec) -> Result<BTreeMap<Place, Offset>, Ended> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let partitions = places.iter().map(|(topic, partition)| ListOffsetsPartition {
        topic: TopicRef::Name(topic.clone()),
        partition: *partition,
        current_leader_epoch: LeaderEpoch::NONE,
        spec,
    });
    let request = ListOffsetsRequest { isolation: IsolationLevel::ReadUncommitted, partitions: partitions.collect() };
    let Response::ListOffsets(response) = session.call(Request::ListOffsets(request))? else {
        return Err(session.nonsense().into());
    };
    let found = places.iter().zip(&response.partitions).filter(|(_, listed)| listed.error.is_none());
    Ok(found.map(|(place, listed)| (place.clone(), listed.offset)).collect())
}

fn sizes(session: &Session, places: &[Place]) -> Result<BTreeMap<Place, u64>, Ended> {
    let request = DescribeLogDirsRequest { partitions: Some(places.to_vec()) };
    let Response::DescribeLogDirs(response) = session.call(Request::DescribeLogDirs(request))? else {
        return Err(session.nonsense().into());
    };
    Ok(response.logs.into_iter().map(|log| ((log.topic, log.partition), log.bytes)).collect())
}

fn settings(session: &Session, topics: &[TopicMetadata]) -> Result<BTreeMap<TopicName, Vec<ConfigEntry>>, Ended> {
    let names = topics.iter().filter_map(|topic| topic.name.clone());
    let request = DescribeConfigsRequest { resources: names.map(|name| (ConfigResource::Topic(name), None)).collect() };
    if request.resources.is_empty() {
        return Ok(BTreeMap::new());
    }
    let Response::DescribeConfigs(response) = session.call(Request::DescribeConfigs(request))? else {
        return Err(session.nonsense().into());
    };
    let of_topic = |described: DescribedConfigs| match described.resource {
        ConfigResource::Topic(name) => Some((name, described.entries)),
        ConfigResource::Broker(_) => None,
    };
    Ok(response.resources.into_iter().filter_map(of_topic).collect())
}

fn topic_text(topic: &TopicMetadata, partitions: &[Partition], settings: &[ConfigEntry]) -> String {
    let name = topic.name.as_ref().map_or("", TopicName::as_str);
    let replicas = partitions.first().map_or(0, |partition| partition.metadata.replicas.len());
    let mut text = format!("{name}\n  id          {}\n  partitions  {}\n", topic.id, partitions.len());
    text.push_str(&format!("  replicas    {replicas}\n"));
    for entry in settings {
        text.push_str(&format!("  {} = {}\n", entry.name, entry.value.as_deref().unwrap_or("")));
    }
    let number = |offset: Option<Offset>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
    let rows: Vec<Vec<String>> = partitions
        .iter()
        .map(|partition| {
            let metadata = &partition.metadata;
            vec![
                format!("  {}", metadata.partition),
                metadata.leader.map_or_else(|| "none".to_owned(), |node| node.to_string()),
                nodes(&metadata.replicas),
                nodes(&metadata.isr),
                number(partition.start),
                number(partition.end),
                partition.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            ]
        })
        .collect();
    let head = ["  PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END", "BYTES"];
    text.push_str(&table(&head, &rows));
    text
}

fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}

fn topic_json(json: &mut Json, topic: &TopicMetadata, partitions: &[Partition], settings: &[ConfigEntry]) {
    let node_list = |json: &mut Json, nodes: &[NodeId]| {
        json.array(|json| {
            nodes.iter().for_each(|node| {
                json.number(node.0);
            });
        });
    };
    json.object(|json| {
        json.key("name").optional_text(topic.name.as_ref().map(TopicName::as_str));
        json.key("id").text(&topic.id.to_string());
        json.key("internal").flag(topic.is_internal);
        json.key("settings").object(|json| {
            for entry in settings {
                json.key(&entry.name).optional_text(entry.value.as_deref());
            }
        });
        json.key("partitions").array(|json| {
            for partition in partitions {
                let metadata = &partition.metadata;
                json.object(|json| {
                    json.key("partition").number(metadata.partition.0);
                    match metadata.leader {
                        Some(node) => json.key("leader").number(node.0),
                        None => json.key("leader").null(),
                    };
                    json.key("leader_epoch").number(metadata.leader_epoch.0);
                    node_list(json.key("replicas"), &metadata.replicas);
                    node_list(json.key("in_sync"), &metadata.isr);
                    for (name, offset) in [("start", partition.start), ("end", partition.end)] {
                        match offset {
                            Some(offset) => json.key(name).number(offset.0),
                            None => json.key(name).null(),
                        };
                    }
                    match partition.bytes {
                        Some(bytes) => json.key("bytes").number(bytes),
                        None => json.key("bytes").null(),
                    };
                });
            }
        });
    });
}
