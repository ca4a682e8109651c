//! Everything that tidelog decides.
//!
//! This crate is *sans-IO*: it names no clock, file, socket, thread or random source, and no map whose
//! order depends on a hash. A driver feeds it [`input::Input`]s and carries out its [`effect::Effect`]s; the
//! production server and the simulator are two such drivers around the very same code.
//!
//! Modules are listed in reading order; each uses only those above it (a test in `tests/` keeps that true).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod time;
pub mod limits;
pub mod ids;
pub mod offset;
pub mod epoch;
pub mod prng;
pub mod mutant;
pub mod buggify;
pub mod record;
pub mod message;
pub mod log;
pub mod input;
pub mod effect;
pub mod quorum;
pub mod cluster;
pub mod replica;
pub mod node;
pub mod client;
