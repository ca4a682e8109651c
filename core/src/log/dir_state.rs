//! What a data directory tells before any of its logs is open.

use alloc::{string::String, vec::Vec};

use super::Vote;
use crate::{
    ids::{DirectoryId, NodeId},
    message::SnapshotId,
};

/// Who a data directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node: `node.id`.
    pub node: NodeId,
    /// The cluster: `cluster.id`.
    pub cluster_id: String,
    /// The directory itself (KIP-858): `directory.id`.
    pub directory: DirectoryId,
}

/// A data directory as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirState {
    /// Whose it is.
    pub identity: Identity,
    /// The last stop was clean.
    pub clean: bool,
    /// What this node has last voted, if it ever has.
    pub vote: Option<Vote>,
    /// The snapshots of the metadata that there are, the newest last. Whether they are sound, only reading them tells.
    pub snapshots: Vec<SnapshotId>,
}
