//! What the simulator knows and no node does: the books of all logs, and the clients' history.

use std::collections::BTreeMap;

use tidelog_core::ids::TopicPartition;

use crate::{canon::Canon, check::m12, history::History, ledger::Ledger};

/// The books of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    /// One for each log of each node.
    pub ledgers: BTreeMap<(usize, TopicPartition), Ledger>,
    /// Which log a folder of a node holds.
    pub folders: BTreeMap<(usize, String), TopicPartition>,
    /// What all nodes share.
    pub canon: Canon,
    /// What the controller has confirmed.
    pub admin: m12::Book,
    /// What clients did and saw.
    pub history: History,
}

impl Oracle {
    /// The book of a log, a new one if there is none.
    pub fn ledger(&mut self, node: usize, id: TopicPartition) -> &mut Ledger {
        self.ledgers.entry((node, id)).or_insert_with(|| Ledger::new(id))
    }

    /// Logs whose loss is beyond healing, and to be reported.
    pub fn rotten(&self) -> Vec<TopicPartition> {
        self.ledgers.values().filter(|ledger| ledger.rotten).map(|ledger| ledger.id).collect()
    }
}
