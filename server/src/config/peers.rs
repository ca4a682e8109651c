//! The nodes of a cluster as an operator lists them: `1@log1:9192,2@log2:9192,3@log3:9192`.

use std::{collections::BTreeMap, fmt};

use tidelog_core::{
    ids::{DirectoryId, NodeId},
    prng::{Prng, mix},
};

use super::ConfigError;
use crate::listener::HostPort;

/// Every node of a cluster that is formed by a list, with its native listener. All its nodes get the same list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerList(pub BTreeMap<NodeId, HostPort>);

impl PeerList {
    /// Reads `ID@HOST:PORT` pairs.
    pub(super) fn parse<'a>(pairs: impl Iterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let wrong = |message: String, hint: &str| ConfigError { message, hint: hint.to_owned() };
        let mut peers: BTreeMap<NodeId, HostPort> = BTreeMap::new();
        for pair in pairs.map(str::trim) {
            let read = || {
                let (id, address) = pair.split_once('@')?;
                let id = id.parse().ok().filter(|&id: &i32| id >= 0)?;
                Some((NodeId(id), HostPort::parse(address)?))
            };
            let Some((id, address)) = read() else {
                return Err(wrong(
                    format!("\"{pair}\" in --peers is not a node and its address"),
                    "each is ID@HOST:PORT, with commas between: 1@log1:9192,2@log2:9192,3@log3:9192",
                ));
            };
            if address.port == 0 {
                return Err(wrong(
                    format!("node {id} in --peers has port 0"),
                    "the others must know its port: choose one, such as 9192",
                ));
            }
            if let Some((other, _)) = peers.iter().find(|(_, known)| **known == address) {
                return Err(wrong(
                    format!("nodes {other} and {id} in --peers have the same address {address}"),
                    "each node has a native listener of its own",
                ));
            }
            if peers.insert(id, address).is_some() {
                return Err(wrong(format!("node {id} is in --peers twice"), "each node has an id of its own"));
            }
        }
        if peers.len() > PEERS_MAX {
            return Err(wrong(
                format!("--peers names {} nodes", peers.len()),
                "the nodes that vote are few: 3 or 5 in most clusters",
            ));
        }
        Ok(Self(peers))
    }

    /// Is this node alone?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cluster id that all nodes of this list arrive at, each for itself, so that none has to be the first: a hash
    /// of the list in the order of the ids.
    pub fn cluster_id(&self) -> String {
        let text = self.to_string();
        let seed = text.bytes().fold(mix(text.len() as u64), |hash, byte| mix(hash ^ u64::from(byte)));
        DirectoryId(Prng::new(seed).uuid()).to_string()
    }
}

impl fmt::Display for PeerList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (id, address)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{id}@{address}")?;
        }
        Ok(())
    }
}

/// More nodes would wait for each other more than they would gain.
const PEERS_MAX: usize = 25;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<PeerList, ConfigError> {
        PeerList::parse(list.split(','))
    }

    #[test]
    fn every_order_of_the_list_gives_the_same_cluster_and_every_other_list_another() {
        let list = parse("1@a:1,2@b:2,3@[::1]:3").expect("right");
        assert_eq!(list.to_string(), "1@a:1,2@b:2,3@[::1]:3");
        assert_eq!(list.cluster_id().len(), 22);
        assert_eq!(parse(" 3@[::1]:3, 1@a:1,2@b:2 ").expect("right").cluster_id(), list.cluster_id());
        for other in ["1@a:1,2@b:2", "1@a:1,2@b:2,3@c:3", "1@a:1,2@b:2,4@[::1]:3"] {
            assert_ne!(parse(other).expect("right").cluster_id(), list.cluster_id(), "{other}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let message = |list| parse(list).expect_err("wrong").message;
        for list in ["", "a:1", "1@a", "x@a:1", "-1@a:1", "1@a:1,,2@b:1"] {
            assert!(message(list).ends_with("in --peers is not a node and its address"), "{list}");
        }
        assert_eq!(message("1@a:1,1@b:1"), "node 1 is in --peers twice");
        assert_eq!(message("1@a:1,2@a:1"), "nodes 1 and 2 in --peers have the same address a:1");
        assert_eq!(message("1@a:0"), "node 1 in --peers has port 0");
    }
}
