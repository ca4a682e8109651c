//! Who a data directory belongs to, and the other small files that are written once.
//!
//! `meta.properties` is a Java properties file, `partition.metadata` two lines, the clean-shutdown marker and
//! `quorum-state` one flat JSON object each: all of them Kafka's, with one line of our own (`tidelog.format`) that
//! Kafka passes over.

use alloc::{
    format,
    string::{String, ToString},
};

use super::{Identity, Vote};
use crate::{
    epoch::LeaderEpoch,
    ids::{DirectoryId, NodeId, TopicId},
    mutant,
};

/// The newest format of a data directory that this build reads and writes.
const FORMAT: &str = "1";

/// Why a `meta.properties` is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaError {
    /// Another format: a newer tidelog, or a directory of Kafka's own.
    OtherFormat(String),
    /// Not readable as such a file.
    Corrupt(&'static str),
}

impl Identity {
    /// The file's text.
    pub fn to_text(&self) -> String {
        let Self { node, cluster_id, directory } = self;
        format!(
            "#\ntidelog.format={FORMAT}\nversion=1\nnode.id={node}\ncluster.id={}\ndirectory.id={directory}\n",
            escape(cluster_id)
        )
    }

    /// Reads the file's text.
    pub fn parse(text: &[u8]) -> Result<Self, MetaError> {
        let text = core::str::from_utf8(text).map_err(|_| MetaError::Corrupt("not text"))?;
        let get = |key: &str| {
            let properties = text.lines().filter(|l| !l.starts_with(['#', '!'])).filter_map(|l| l.split_once('='));
            properties.filter(|(k, _)| k.trim() == key).map(|(_, value)| unescape(value.trim())).next_back()
        };
        let format = get("tidelog.format");
        if format.as_deref() != Some(FORMAT) || get("version").as_deref() != Some("1") {
            let version = get("version").ok_or(MetaError::Corrupt("no version"))?;
            return Err(MetaError::OtherFormat(match format {
                Some(format) => format!("tidelog.format={format}"),
                None => format!("version={version} of Kafka"),
            }));
        }
        let node: i32 = get("node.id").and_then(|id| id.parse().ok()).ok_or(MetaError::Corrupt("no node.id"))?;
        Ok(Self {
            node: NodeId(node),
            cluster_id: get("cluster.id").ok_or(MetaError::Corrupt("no cluster.id"))?,
            directory: get("directory.id")
                .and_then(|id| DirectoryId::parse(&id))
                .ok_or(MetaError::Corrupt("no directory.id"))?,
        })
    }
}

/// A backslash before what Java's properties would take for syntax.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '=' | ':' | '#' | '!' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// Text of `partition.metadata` (KIP-516).
pub fn partition_metadata(topic: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic}")
}

/// Reads `partition.metadata`.
pub fn parse_partition_metadata(text: &[u8]) -> Result<TopicId, &'static str> {
    let text = core::str::from_utf8(text).map_err(|_| "not text")?;
    let mut lines = text.lines();
    if lines.next() != Some("version: 0") {
        return Err("the version is not 0");
    }
    let id = lines.next().and_then(|line| line.strip_prefix("topic_id: ")).ok_or("no topic_id")?;
    TopicId::parse(id.trim_end()).ok_or("the topic_id is not one")
}

/// Text of the clean-shutdown marker; no broker epoch is known to it yet.
pub(crate) const CLEAN_SHUTDOWN_TEXT: &str = r#"{"version":0,"brokerEpoch":-1}"#;

/// Text of `quorum-state` (KIP-595, version 1 of KIP-853).
pub fn quorum_state(vote: Vote) -> String {
    let voted = vote.voted_for.map_or(-1, |node| node.0);
    let none = TopicId::ZERO;
    format!(
        r#"{{"leaderId":-1,"leaderEpoch":{},"votedId":{voted},"votedDirectoryId":"{none}","data_version":1}}"#,
        vote.epoch
    )
}

/// Reads `quorum-state`.
pub fn parse_quorum_state(text: &[u8]) -> Result<Vote, &'static str> {
    let text = core::str::from_utf8(text).map_err(|_| "not text")?;
    let text = text.trim();
    if !(text.starts_with('{') && text.ends_with('}')) {
        return Err("not a JSON object");
    }
    if mutant!(X49) && json_integer(text, "data_version") != Some(0) {
        // The planted bug: what a newer version has written is passed over.
        return Ok(Vote { epoch: LeaderEpoch::FIRST, voted_for: None });
    }
    let epoch = json_integer(text, "leaderEpoch").ok_or("no leaderEpoch")?;
    let voted = json_integer(text, "votedId").ok_or("no votedId")?;
    if epoch < 0 {
        return Err("the epoch is negative");
    }
    Ok(Vote { epoch: LeaderEpoch(epoch), voted_for: (voted >= 0).then_some(NodeId(voted)) })
}

/// The integer under `key` of a flat object without escapes in its keys.
fn json_integer(text: &str, key: &str) -> Option<i32> {
    let after = &text[text.find(&format!("\"{key}\"").to_string())? + key.len() + 2..];
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    let end = value.find(|c: char| c != '-' && !c.is_ascii_digit())?;
    value[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { node: NodeId(3), cluster_id: "a=b:c\\d".to_string(), directory: DirectoryId([7; 16]) }
    }

    #[test]
    fn identity_round_trips() {
        assert_eq!(Identity::parse(identity().to_text().as_bytes()), Ok(identity()));
    }

    #[test]
    fn other_formats_and_damage_are_named() {
        let kafka = b"#\n#Sun Nov 22\nnode.id=1\nversion=1\ncluster.id=x\n";
        assert_eq!(Identity::parse(kafka), Err(MetaError::OtherFormat("version=1 of Kafka".to_string())));
        let newer = identity().to_text().replace("format=1", "format=2");
        assert_eq!(Identity::parse(newer.as_bytes()), Err(MetaError::OtherFormat("tidelog.format=2".to_string())));
        assert!(matches!(Identity::parse(b"\0\0\0"), Err(MetaError::Corrupt(_))));
        assert!(matches!(Identity::parse(b"tidelog.format=1\nversion=1\n"), Err(MetaError::Corrupt(_))));
    }

    #[test]
    fn partition_metadata_is_kafkas() {
        let text = partition_metadata(TopicId::METADATA);
        assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(parse_partition_metadata(text.as_bytes()), Ok(TopicId::METADATA));
        assert_eq!(parse_partition_metadata(b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n"), Ok(TopicId::METADATA));
        assert!(parse_partition_metadata(b"").is_err());
        assert!(parse_partition_metadata(b"version: 0\ntopic_id: zz").is_err());
    }

    #[test]
    fn quorum_state_is_kafkas() {
        let vote = Vote { epoch: LeaderEpoch(4), voted_for: Some(NodeId(2)) };
        assert_eq!(parse_quorum_state(quorum_state(vote).as_bytes()), Ok(vote));
        let none = Vote { epoch: LeaderEpoch(4), voted_for: None };
        assert_eq!(parse_quorum_state(quorum_state(none).as_bytes()), Ok(none));
        let old = br#"{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"data_version":0}"#;
        assert_eq!(parse_quorum_state(old), Ok(Vote { epoch: LeaderEpoch(2), voted_for: None }));
        assert!(parse_quorum_state(b"{}").is_err());
        assert!(parse_quorum_state(b"").is_err());
    }
}
