//! The Rust client: tokio sockets around the client machines of `tidelog-core`.

pub mod wire;
