//! The simulator: virtual clock, network and disks around the real core.
//!
//! A run is a function of its seed and its configuration. The world feeds the same [`tidelog_core::node::Node`] and the
//! same storage engine that the server runs, over a disk and a network that fail in every way that disks and networks
//! do, and checkers watch what goes in and out.

pub mod disk;
pub mod queue;
pub mod rng;
pub mod tally;
pub mod film;
pub mod trace;
pub mod config;
pub mod history;
pub mod payload;
pub mod ledger;
pub mod canon;
pub mod check;
pub mod jsonl;
pub mod actor;
pub mod clock;
pub mod net;
pub mod nemesis;
pub mod script;
pub mod oracle;
pub mod wire;
pub mod worker;
pub mod digest;
pub mod host;
pub mod world;
pub mod run;
pub mod case;
pub mod shrink;
pub mod profile;
pub mod process;
pub mod sweep;
pub mod report;
pub mod junit;
pub mod scale;
pub mod cli;
#[cfg(feature = "mutants")]
pub mod mutants;
