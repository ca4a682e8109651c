//! What an operator can turn on a node: one TOML file, and a flag for each of its settings.
//!
//! ```toml
//! data = "/var/lib/tidelog"
//! node_id = 1
//! peers = ["1@log1.example.org:9192", "2@log2.example.org:9192", "3@log3.example.org:9192"]
//! rack = "eu-west-1a"
//! replica_selector = "rack"
//! auto_create_topics = true
//!
//! [listeners]
//! kafka = "0.0.0.0:9092"
//! native = "0.0.0.0:9192"
//! http = "127.0.0.1:9292"
//!
//! [advertised]
//! kafka = "log1.example.org:9092"
//! native = "log1.example.org:9192"
//!
//! [topics]
//! partitions = 1
//! replicas = 3
//! retention = "7d"
//! retention_size = "unlimited"
//! segment_size = "1GiB"
//! ```
//!
//! A flag beats the file, the file beats the default. Everything is read into typed values once; what cannot be is
//! reported with its line. Settings of single topics are theirs and carry Kafka's names; everything else is a
//! constant.

mod peers;
mod roles;
mod values;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tidelog_core::ids::{DirectoryId, NodeId};

pub use self::peers::PeerList;
pub use self::roles::Roles;
pub use self::values::{ByteSize, Limit, Span, ValueError};
use crate::listener::HostPort;

/// Flags of `tidelog serve`. A flag beats the file, the file beats the default.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeFlags {
    /// TOML file with the node's settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; formatted on first start [default: ./tidelog-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the Kafka listener; port 0 picks a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    pub kafka: Option<String>,
    /// Address of the native listener [default: this node's in --peers, or 127.0.0.1:9192]
    #[arg(long, value_name = "ADDR")]
    pub native: Option<String>,
    /// Address of the HTTP listener: metrics and health [default: 127.0.0.1:9292]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// What Kafka clients are told to connect to [default: the listener's address]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_kafka: Option<String>,
    /// What native clients are told to connect to [default: the listener's address]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_native: Option<String>,
    /// This node's id, fixed when the data directory is formatted [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub node_id: Option<i32>,
    /// All nodes of a cluster, this one included, by their native listeners: 1@HOST:PORT,2@HOST:PORT,3@HOST:PORT. Every
    /// node gets the same list; the cluster forms by itself, in whichever order they start
    #[arg(long, value_name = "LIST")]
    pub peers: Option<String>,
    /// Nodes of a cluster to join, by their native listeners, as their own --peers has them; this node follows the metadata quorum
    /// without a vote until `tidelog cluster add-voter`
    #[arg(long, value_name = "LIST", conflicts_with = "peers")]
    pub join: Option<String>,
    /// What the node does: broker, controller, or both [default: broker,controller]. A controller keeps no partitions; a broker that is
    /// none joins the controllers with --join
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<Roles>,
    /// The cluster that the node belongs to, fixed when the data directory is formatted [default: made from --peers]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
    /// Where the node stands, for the placement of replicas
    #[arg(long, value_name = "NAME")]
    pub rack: Option<String>,
    /// Whom readers that say where they stand are sent to: the leader, or a replica in their rack [default: leader]
    #[arg(long, value_name = "WHICH")]
    pub replica_selector: Option<Selector>,
    /// Create topics when they are first asked for [default: true]
    #[arg(long, value_name = "BOOL")]
    pub auto_create_topics: Option<bool>,
    /// Partitions of a topic that does not say [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub partitions: Option<i32>,
    /// Replicas of a topic that does not say [default: 1; in a cluster as many as it has nodes, but no more than 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub replicas: Option<i16>,
    /// How long records are kept, such as 7d or unlimited [default: 7d]
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Limit<Span>>,
    /// How much of a partition is kept, such as 10GiB or unlimited [default: unlimited]
    #[arg(long, value_name = "SIZE")]
    pub retention_size: Option<Limit<ByteSize>>,
    /// Size at which a segment ends [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_size: Option<ByteSize>,
    /// How much is written to the metadata log between two of its snapshots [default: 20MiB]
    #[arg(long, value_name = "SIZE")]
    pub metadata_snapshot_size: Option<ByteSize>,
    /// Stop when standard input ends: for a process that starts nodes and must leave none behind
    #[arg(long)]
    pub stop_with_stdin: bool,
    /// How logs look [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: a level, or target=level pairs with commas between [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// An object for machines.
    Json,
}

/// Which replica readers are sent to (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    /// The leader serves all of them.
    Leader,
    /// One that stands where they do.
    Rack,
}

/// A node's settings, all of them decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// Where the Kafka listener binds.
    pub kafka: String,
    /// Where the native listener binds.
    pub native: String,
    /// Where the HTTP listener binds.
    pub http: String,
    /// What Kafka clients are told, when it is not the listener's own address.
    pub advertise_kafka: Option<HostPort>,
    /// What native clients are told, when it is not the listener's own address.
    pub advertise_native: Option<HostPort>,
    /// `node.id`, when it is asked for; a formatted directory has its own.
    pub node_id: Option<i32>,
    /// The cluster's nodes, this one included unless it joins them; empty for a node alone.
    pub peers: PeerList,
    /// `process.roles`
    pub roles: Roles,
    /// The cluster's id, when it is asked for; a formatted directory has its own.
    pub cluster_id: Option<String>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `replica.selector.class`
    pub replica_selector: Selector,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `num.partitions`
    pub partitions: i32,
    /// `default.replication.factor`
    pub replicas: i16,
    /// `log.retention.ms`; `None` is for ever.
    pub retention: Option<Duration>,
    /// `log.retention.bytes`; `None` is without limit.
    pub retention_bytes: Option<u64>,
    /// `log.segment.bytes`
    pub segment_bytes: u64,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub metadata_snapshot_bytes: u64,
    /// How logs look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: tracing_subscriber::filter::Targets,
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// One line, with file and line where there are any.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data: Option<PathBuf>,
    node_id: Option<i32>,
    peers: Option<Vec<String>>,
    join: Option<Vec<String>>,
    roles: Option<Roles>,
    cluster_id: Option<String>,
    rack: Option<String>,
    replica_selector: Option<Selector>,
    auto_create_topics: Option<bool>,
    metadata_snapshot_size: Option<ByteSize>,
    log_format: Option<LogFormat>,
    log: Option<String>,
    listeners: Listeners,
    advertised: Advertised,
    topics: Topics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Listeners {
    kafka: Option<String>,
    native: Option<String>,
    http: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Advertised {
    kafka: Option<String>,
    native: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Topics {
    partitions: Option<i32>,
    replicas: Option<i16>,
    retention: Option<Limit<Span>>,
    retention_size: Option<Limit<ByteSize>>,
    segment_size: Option<ByteSize>,
}

impl Settings {
    /// Reads the file, if the flags name one, and puts the flags on top.
    pub fn load(flags: &ServeFlags) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            None => File::default(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| ConfigError {
                    message: format!("cannot read {}: {error}", path.display()),
                    hint: "give --config a readable TOML file, or leave it out for the defaults".to_owned(),
                })?;
                parse(path, &text)?
            }
        };
        Self::merge(flags.clone(), file)
    }

    fn merge(flags: ServeFlags, file: File) -> Result<Self, ConfigError> {
        let node_id = flags.node_id.or(file.node_id);
        let peers = match (&flags.peers, &file.peers) {
            (Some(list), _) => PeerList::parse(list.split(','))?,
            (None, Some(list)) => PeerList::parse(list.iter().map(String::as_str))?,
            (None, None) => PeerList::default(),
        };
        let join = match (&flags.join, &file.join) {
            (Some(list), _) => PeerList::parse(list.split(','))?,
            (None, Some(list)) => PeerList::parse(list.iter().map(String::as_str))?,
            (None, None) => PeerList::default(),
        };
        let here = if join.is_empty() { among(&peers, node_id)? } else { joins(&join, &peers, node_id)? };
        let roles = flags.roles.or(file.roles).unwrap_or(Roles::BOTH);
        roles.fit(&peers, &join)?;
        let peers = if join.is_empty() { peers } else { join };
        let native = here.as_ref().map_or_else(|| "127.0.0.1:9192".to_owned(), HostPort::to_string);
        let replicas = i16::try_from(peers.0.len().clamp(1, REPLICAS_DEFAULT_MAX)).expect("a few");
        let log = flags.log.or(file.log).unwrap_or_else(|| "info".to_owned());
        let settings = Self {
            data: flags.data.or(file.data).unwrap_or_else(|| PathBuf::from("./tidelog-data")),
            kafka: flags.kafka.or(file.listeners.kafka).unwrap_or_else(|| "127.0.0.1:9092".to_owned()),
            native: flags.native.or(file.listeners.native).unwrap_or(native),
            http: flags.http.or(file.listeners.http).unwrap_or_else(|| "127.0.0.1:9292".to_owned()),
            advertise_kafka: address("--advertise-kafka", flags.advertise_kafka.or(file.advertised.kafka))?,
            advertise_native: address("--advertise-native", flags.advertise_native.or(file.advertised.native))?
                .or(here),
            node_id,
            peers,
            roles,
            cluster_id: cluster_id(flags.cluster_id.or(file.cluster_id))?,
            rack: flags.rack.or(file.rack),
            replica_selector: flags.replica_selector.or(file.replica_selector).unwrap_or(Selector::Leader),
            auto_create_topics: flags.auto_create_topics.or(file.auto_create_topics).unwrap_or(true),
            partitions: flags.partitions.or(file.topics.partitions).unwrap_or(1),
            replicas: flags.replicas.or(file.topics.replicas).unwrap_or(replicas),
            retention: flags
                .retention
                .or(file.topics.retention)
                .map_or(Some(RETENTION_DEFAULT), |limit| limit.bound().map(|Span(span)| span)),
            retention_bytes: flags
                .retention_size
                .or(file.topics.retention_size)
                .and_then(|limit| limit.bound().map(|ByteSize(bytes)| bytes)),
            segment_bytes: flags.segment_size.or(file.topics.segment_size).map_or(1 << 30, |ByteSize(bytes)| bytes),
            metadata_snapshot_bytes: flags
                .metadata_snapshot_size
                .or(file.metadata_snapshot_size)
                .map_or(20 << 20, |ByteSize(bytes)| bytes),
            log_format: flags.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            log: log.parse().map_err(|_| ConfigError {
                message: format!("\"{log}\" is not a log filter"),
                hint: "such as info, debug, or info,tidelog_server::driver=debug".to_owned(),
            })?,
        };
        let in_range = |name: &str, value: i64, least: i64, most: i64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(ConfigError {
                message: format!("{name} cannot be {value}"),
                hint: format!("choose from {least} to {most}"),
            })
        };
        in_range("--node-id", settings.node_id.unwrap_or(1).into(), 0, i32::MAX.into())?;
        in_range("--partitions", settings.partitions.into(), 1, PARTITIONS_MAX)?;
        in_range("--replicas", settings.replicas.into(), 1, i16::MAX.into())?;
        in_range(
            "--segment-size",
            i64::try_from(settings.segment_bytes).unwrap_or(i64::MAX),
            SEGMENT_BYTES_MIN,
            i32::MAX.into(),
        )?;
        Ok(settings)
    }
}

impl HostPort {
    /// Reads `host:port`, with brackets around an IPv6 address.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return None;
        }
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// A node that joins is not in the list of those that it joins, and has no address from there.
fn joins(join: &PeerList, peers: &PeerList, node_id: Option<i32>) -> Result<Option<HostPort>, ConfigError> {
    let wrong = |message: &str, hint: &str| Err(ConfigError { message: message.to_owned(), hint: hint.to_owned() });
    if !peers.is_empty() {
        return wrong("a node is among --peers or joins others, not both", "leave one of --peers and --join out");
    }
    match node_id {
        None => wrong("a node that joins others needs an id of its own", "add --node-id N"),
        Some(id) if join.0.contains_key(&NodeId(id)) => {
            wrong(&format!("node {id} is among those that it is to join"), "give it another --node-id, or --peers")
        }
        Some(_) => Ok(None),
    }
}

/// This node's own address in the list.
fn among(peers: &PeerList, node_id: Option<i32>) -> Result<Option<HostPort>, ConfigError> {
    if peers.is_empty() {
        return Ok(None);
    }
    let Some(id) = node_id else {
        return Err(ConfigError {
            message: "--peers does not say which of them this node is".to_owned(),
            hint: "add --node-id N".to_owned(),
        });
    };
    match peers.0.get(&NodeId(id)) {
        Some(address) => Ok(Some(address.clone())),
        None => Err(ConfigError {
            message: format!("node {id} is not in --peers"),
            hint: format!("every node is in the list, this one, too: {peers}"),
        }),
    }
}

/// Kafka's form of an id: 22 characters of base64.
fn cluster_id(text: Option<String>) -> Result<Option<String>, ConfigError> {
    match text {
        Some(text) if DirectoryId::parse(&text).is_none() => Err(ConfigError {
            message: format!("\"{text}\" is not a cluster id"),
            hint: "it has 22 characters of A-Z, a-z, 0-9, _ and -; meta.properties of a node of the cluster has it"
                .to_owned(),
        }),
        text => Ok(text),
    }
}

fn address(flag: &str, text: Option<String>) -> Result<Option<HostPort>, ConfigError> {
    let Some(text) = text else { return Ok(None) };
    match HostPort::parse(&text) {
        Some(address) => Ok(Some(address)),
        None => Err(ConfigError {
            message: format!("\"{text}\" is not a host and port, as {flag} wants"),
            hint: "such as log1.example.org:9092 or [::1]:9092".to_owned(),
        }),
    }
}

fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let reason = error.message().lines().next().unwrap_or("not TOML");
        let (reason, hint) = explain(reason);
        ConfigError { message: format!("{}:{line}: {reason}", path.display()), hint }
    })
}

/// The parser's words about an unknown setting, with the one that was probably meant.
fn explain(reason: &str) -> (String, String) {
    let mut quoted = reason.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(unknown) if reason.starts_with("unknown field") => {
            let known: Vec<&str> = quoted.collect();
            let nearest = known.iter().min_by_key(|name| distance(name, unknown)).copied();
            let hint = match nearest {
                Some(name) if distance(name, unknown) <= 1 + unknown.len() / 3 => format!("did you mean \"{name}\"?"),
                _ => format!("known here: {}", known.join(", ")),
            };
            (format!("unknown setting \"{unknown}\""), hint)
        }
        _ => (reason.to_owned(), "see `tidelog serve --help` for the settings and their values".to_owned()),
    }
}

/// Characters to change, add or drop to turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// `log.retention.hours=168`
const RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// More replicas than this have to be asked for.
const REPLICAS_DEFAULT_MAX: usize = 3;
/// What one request may create.
const PARTITIONS_MAX: i64 = tidelog_core::limits::PARTITIONS_PER_TOPIC_MAX as i64;
/// A segment below this is all overhead; Kafka's own bound is 14 bytes.
const SEGMENT_BYTES_MIN: i64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, ConfigError> {
        Settings::merge(ServeFlags::default(), parse(Path::new("tidelog.toml"), text)?)
    }

    #[test]
    fn the_example_above_is_right() {
        let doc = include_str!("mod.rs").split("```").nth(1).expect("the module's doc has an example");
        let toml: String =
            doc.lines().skip(1).map(|l| l.strip_prefix("//! ").unwrap_or("")).collect::<Vec<_>>().join("\n");
        let settings = load(&toml).expect("the example is valid");
        assert_eq!(settings.rack.as_deref(), Some("eu-west-1a"));
        assert_eq!(settings.peers.0.len(), 3);
        assert_eq!(settings.advertise_kafka, HostPort::parse("log1.example.org:9092"));
        assert_eq!(settings.retention_bytes, None);
        assert_eq!(settings.segment_bytes, 1 << 30);
    }

    #[test]
    fn flags_beat_the_file_and_the_file_beats_the_default() {
        let file = parse(Path::new("f"), "data = \"/a\"\n[topics]\npartitions = 3\nretention = \"1h\"").expect("valid");
        let flags = ServeFlags { data: Some("/b".into()), retention: Some(Limit::Unlimited), ..ServeFlags::default() };
        let settings = Settings::merge(flags, file).expect("valid");
        assert_eq!(settings.data, Path::new("/b"));
        assert_eq!(settings.partitions, 3);
        assert_eq!(settings.retention, None);
        assert_eq!(settings.kafka, "127.0.0.1:9092");
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_line_and_the_nearest_right_one() {
        let error = load("data = \"/a\"\n[listeners]\nkafak = \"x:1\"").expect_err("misspelt");
        assert_eq!(error.message, "tidelog.toml:3: unknown setting \"kafak\"");
        assert_eq!(error.hint, "did you mean \"kafka\"?");
        let error = load("something_else_entirely = 1").expect_err("unknown");
        assert!(error.hint.starts_with("known here: data, node_id"), "{}", error.hint);
        let error = load("\n[topics]\nretention = \"7 weeks\"").expect_err("no such unit");
        assert_eq!(error.message, "tidelog.toml:3: \"7 weeks\" is not a time such as 7d, 12h, 30m, 10s or 250ms");
        let error = load("[topics]\npartitions = 0").expect_err("out of range");
        assert_eq!(error.message, "--partitions cannot be 0");
        let error = load("data = ").expect_err("not TOML");
        assert!(error.message.starts_with("tidelog.toml:1: "), "{}", error.message);
        let error = load("[advertised]\nkafka = \"9092\"").expect_err("no host");
        assert_eq!(error.message, "\"9092\" is not a host and port, as --advertise-kafka wants");
    }

    #[test]
    fn a_node_of_a_cluster_listens_where_the_list_says_and_copies_its_topics() {
        let load = |flags: ServeFlags| Settings::merge(flags, File::default());
        let flags = |list: &str, node_id| ServeFlags { peers: Some(list.to_owned()), node_id, ..Default::default() };
        let settings = load(flags("1@log1:1,2@log2:2,3@log3:3,4@log4:4", Some(2))).expect("right");
        assert_eq!((settings.native.as_str(), settings.replicas), ("log2:2", 3));
        assert_eq!(settings.advertise_native, HostPort::parse("log2:2"));
        assert_eq!(load(flags("1@log1:1,2@log2:2", Some(1))).expect("right").replicas, 2);
        let error = load(flags("1@log1:1", None)).expect_err("which?");
        assert_eq!(error.message, "--peers does not say which of them this node is");
        let error = load(flags("1@log1:1,2@log2:2", Some(4))).expect_err("not there");
        assert_eq!(error.message, "node 4 is not in --peers");
        let wrong = ServeFlags { cluster_id: Some("x".to_owned()), ..Default::default() };
        assert_eq!(load(wrong).expect_err("short").message, "\"x\" is not a cluster id");
    }

    #[test]
    fn addresses_have_host_and_port() {
        let address = |host: &str, port| Some(HostPort { host: host.to_owned(), port });
        assert_eq!(HostPort::parse("localhost:0"), address("localhost", 0));
        assert_eq!(HostPort::parse("[::1]:9092"), address("::1", 9092));
        for wrong in ["", ":1", "host", "host:", "host:70000", "::1:9092", "[::1:9092", "a b:1"] {
            assert_eq!(HostPort::parse(wrong), None, "{wrong}");
        }
    }
}
