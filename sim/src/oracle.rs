//! What the simulator knows and no node does: the books of all logs, and the clients' history.

use std::collections::BTreeMap;

use tidelog_core::ids::TopicPartition;

use crate::{
    canon::Canon,
    check::m12,
    history::History,
    ledger::{Held, Ledger},
};

/// The books of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    /// One for each log of each node.
    pub ledgers: BTreeMap<(usize, TopicPartition), Ledger>,
    /// What was in logs that were ordered to be deleted: after a crash it may still be there, should the log come back.
    pub buried: BTreeMap<(usize, TopicPartition), Vec<Held>>,
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
        let buried = &mut self.buried;
        self.ledgers.entry((node, id)).or_insert_with(|| {
            let given_up = buried.remove(&(node, id)).unwrap_or_default();
            Ledger { given_up, ..Ledger::new(id) }
        })
    }

    /// A log is to be deleted.
    pub fn bury(&mut self, node: usize, id: TopicPartition) {
        if let Some(ledger) = self.ledgers.remove(&(node, id)) {
            self.buried.insert((node, id), ledger.held.into_values().chain(ledger.given_up).collect());
        }
    }

    /// Logs whose loss is beyond healing, and to be reported.
    pub fn rotten(&self) -> Vec<TopicPartition> {
        self.ledgers.values().filter(|ledger| ledger.rotten).map(|ledger| ledger.id).collect()
    }
}
