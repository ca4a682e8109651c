//! The shell around the core: sockets, files, threads, signals and the command line.
//!
//! Everything that decides is in `tidelog-core`; what stands here carries facts in and orders out. In reading
//! order: [`env`] is what the shell asks of its runtime, [`disk`] what the storage engine asks of the operating
//! system, [`peers`] calls other nodes, [`driver`] runs the core between them, [`listener`] accepts connections for
//! [`kafka`], [`native`] and [`http`], [`serve`] puts all of it together, and [`cli`] is what a person types.

pub mod cli;
pub mod config;
pub mod logging;
pub mod metrics;
pub mod disk;
pub mod driver;
pub mod env;
pub mod switch;
pub mod http;
pub mod kafka;
pub mod listener;
pub mod native;
pub mod peers;
pub mod serve;
