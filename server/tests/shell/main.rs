//! The production shell and the production client on simulated runtimes.
//!
//! Listeners, connections, the driver, the disk's worker, the links between nodes and everything of the client are the
//! product's own; only sockets, clock, tasks, chance and disk are not. The core has a simulator of its own that goes much
//! further; what is looked for here is what only the shell can get wrong: a wake-up that is lost, a connection that nobody
//! replaces, an answer that leaves before its sync, a task that stays behind.
//!
//! On every change the runtime is *turmoil*: one task after another, a network with partitions, each seed twice with equal
//! traces. With `--cfg madsim` (`make madsim`) it is *madsim*, which takes the next task at random.

mod ledger;
#[cfg(madsim)]
mod madsim;
mod nodes;
#[cfg(not(madsim))]
mod turmoil;
mod workload;
