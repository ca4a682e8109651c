//! What is said beside requests and responses: greetings, refusals, and what a listener knows of the outside.

use std::collections::BTreeMap;

use tidelog_core::{ids::NodeId, message::ErrorCode};
use tidelog_schemas::native_capnp as schema;

use super::twin::*;

/// The first message of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Name and version, for logs: `tidelog-rust/0.1.0`. Not to be trusted.
    pub software: String,
    /// One bit for each optional feature that the client can use.
    pub features: u64,
    /// Which node of the cluster this is, if it is one.
    pub node: Option<NodeId>,
    /// The cluster that is meant, in Kafka's 22 characters; `None` is whichever is met.
    pub cluster_id: Option<String>,
}

/// The node's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloReply {
    /// Name and version: `tidelog/0.1.0`.
    pub software: String,
    /// The features that both sides have.
    pub features: u64,
    /// The node that answers.
    pub node: NodeId,
    /// Kafka's 22-character cluster id.
    pub cluster_id: String,
    /// The largest frame that the node accepts.
    pub frame_bytes_max: usize,
    /// Past this many unanswered requests the node stops reading.
    pub requests_in_flight_max: usize,
}

/// A request was not carried out at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node refused the request: {error}: {message}")]
pub struct Refusal {
    /// Why.
    pub error: ErrorCode,
    /// Why, in words.
    pub message: String,
}

/// Where a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A host name or an address without a port.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What goes with a response and is no business of the core: it decides about nodes and logs, not about their
/// addresses and folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Where the brokers of the response have their native listeners.
    pub endpoints: BTreeMap<NodeId, Endpoint>,
    /// The path of the data directory that a DescribeLogDirs response speaks of.
    pub directory_path: Option<String>,
}

impl Twin for Hello {
    type Wire = schema::hello::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_software(&self.software);
        to.set_features(self.features);
        to.set_node(self.node.map_or(-1, |node| node.0));
        write_optional_text!(&self.cluster_id, to.set_cluster_id);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            software: read_text(from.get_software()?)?,
            features: from.get_features(),
            node: optional(from.get_node()).map(NodeId),
            cluster_id: read_optional_text!(from, has_cluster_id, get_cluster_id),
        })
    }
}

impl Twin for HelloReply {
    type Wire = schema::hello_reply::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_software(&self.software);
        to.set_features(self.features);
        to.set_node(self.node.0);
        to.set_cluster_id(&self.cluster_id);
        to.set_frame_bytes_max(saturated(self.frame_bytes_max));
        to.set_requests_in_flight_max(saturated(self.requests_in_flight_max));
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self {
            software: read_text(from.get_software()?)?,
            features: from.get_features(),
            node: NodeId(from.get_node()),
            cluster_id: read_text(from.get_cluster_id()?)?,
            frame_bytes_max: from.get_frame_bytes_max() as usize,
            requests_in_flight_max: from.get_requests_in_flight_max() as usize,
        })
    }
}

impl Twin for Refusal {
    type Wire = schema::refusal::Owned;

    fn write(&self, mut to: Builder<'_, Self>) {
        to.set_error(self.error.code());
        to.set_message(&self.message);
    }

    fn read(from: Reader<'_, Self>, _: &mut Source) -> Result<Self, DecodeError> {
        Ok(Self { error: ErrorCode::from_code(from.get_error()), message: read_text(from.get_message()?)? })
    }
}
