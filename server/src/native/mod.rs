//! The native listener: framed Cap'n Proto.
//!
//! ```text
//! connection   greeting, bounds and ends of one connection; answers in any order
//!   input      frames off a socket, with every wait bounded
//!   output     answers onto a socket, gathered, without copying records
//! ```
//!
//! The frames themselves, and what stands in them, are [`tidelog_client::wire`]'s: client and node share one
//! implementation.
//!
//! Nodes are clients of each other here, too: one that says in its greeting which node of the cluster it is may ask what only
//! nodes ask. It is let in before the node can serve clients, for that is how a cluster comes to be able to.
//!
//! **Invariant:** hostile bytes cost their sender its connection and nobody else anything.

mod connection;
mod input;
mod output;
#[cfg(test)]
mod tests;

use tidelog_core::ids::NodeId;

pub use self::connection::connection;
pub(crate) use self::{
    connection::ConnectionError,
    input::{Input, Next},
    output::Output,
};

/// What all connections of a node's native listener share.
#[derive(Clone, Debug)]
pub struct Shared {
    node: NodeId,
    cluster_id: String,
    log_dir: String,
}

impl Shared {
    /// For the node of this id in this cluster, which keeps its logs in the directory of this path.
    pub fn new(node: NodeId, cluster_id: String, log_dir: String) -> Self {
        Self { node, cluster_id, log_dir }
    }
}
