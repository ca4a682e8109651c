//! The Kafka listener. Nothing outside this module knows Kafka's request formats.

use std::net::SocketAddr;

use crate::{env::Env, listener::Context};

/// Serves one connection until its peer goes or the node stops.
pub async fn connection<E: Env>(context: Context<E>, stream: E::Stream, peer: SocketAddr) {
    drop(stream);
    tracing::debug!(%peer, advertised = ?context.advertised, "connection closed");
}
