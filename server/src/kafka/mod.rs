//! The Kafka listener. Nothing outside this module knows Kafka's request formats.
//!
//! ```text
//! connection   order, turns, bounds and ends of one connection
//!   frame      size-prefixed frames off a socket
//!   api        which requests are served, in which versions; the request header
//!   read/write Kafka's primitive types
//!   codec/     each message, to and from the core's own
//!   session    fetch sessions (KIP-227), shared by all connections
//!   client/    the other side of it, for `tidelog bench`
//! ```
//!
//! **Why a codec of our own.** The crate `kafka-wire` 0.1 was judged first: well designed (decode limits, records as
//! `Bytes`), but 96,000 generated lines without feature gates cost 62 CPU seconds of every clean release build, for 90
//! requests of which 17 are served, and it would decode into a tree of structures, one allocation for each topic and
//! partition, that is then taken apart again into the core's own. `kafka-protocol` 0.18 aborts the process on four
//! hostile bytes. What is here is under 2,000 lines that read fields straight into the core's requests; its proof is
//! that `kafka-protocol`, as an independent codec in the tests, agrees with it on every message in every version.
//!
//! **Invariant:** hostile bytes cost their sender its connection and nobody else anything.

mod api;
mod client;
mod codec;
mod connection;
mod frame;
mod read;
mod session;
#[cfg(test)]
mod tests;
mod write;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidelog_core::ids::NodeId;

use self::{
    api::{Api, Header},
    read::Reader,
    session::FetchSessions,
};
pub use self::{client::KafkaProtocol, connection::connection};

/// What all connections of a node's Kafka listener share.
#[derive(Debug)]
pub struct Shared {
    node: NodeId,
    log_dir: String,
    sessions: Mutex<FetchSessions>,
}

impl Shared {
    /// For the node of this id, which keeps its logs in the directory of this path.
    pub fn new(node: NodeId, log_dir: String) -> Self {
        Self { node, log_dir, sessions: Mutex::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, FetchSessions> {
        locked(&self.sessions)
    }
}

/// Decodes one request frame, given without its size, as a connection does: the door for fuzzing. Says why it is no
/// request that is served.
pub fn check_frame(frame: &Bytes) -> Result<(), String> {
    let mut r = Reader::new(frame);
    let mut header = Header::read(&mut r).map_err(|error| error.to_string())?;
    let served = Api::find(header.code).filter(|api| api.serves(header.version));
    let api = served.ok_or_else(|| format!("request {} version {} is not served", header.code, header.version))?;
    header.rest(api, &mut r).map_err(|error| error.to_string())?;
    codec::decode(api, header.version, &mut r).map(drop).map_err(|error| error.to_string())
}

/// Sessions hold no promise that a panic elsewhere could have broken half-way.
fn locked(sessions: &Mutex<FetchSessions>) -> MutexGuard<'_, FetchSessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}
