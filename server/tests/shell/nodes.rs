//! The nodes of every run: three, with everything on its default.

use tidelog_server::config::{ServeFlags, Settings};

/// How many there are.
pub(crate) const NODES: usize = 3;

/// The name of a node's host.
pub(crate) fn name(node: usize) -> &'static str {
    ["n1", "n2", "n3"][node]
}

/// What a node is started with.
pub(crate) fn settings(node: usize) -> Settings {
    let peers: Vec<String> = (1..=NODES).map(|node| format!("{node}@n{node}:9192")).collect();
    let host = name(node);
    Settings::load(&ServeFlags {
        data: Some(format!("/data/{host}").into()),
        kafka: Some("0.0.0.0:9092".to_owned()),
        native: Some("0.0.0.0:9192".to_owned()),
        http: Some("0.0.0.0:9292".to_owned()),
        advertise_kafka: Some(format!("{host}:9092")),
        advertise_native: Some(format!("{host}:9192")),
        node_id: Some(i32::try_from(node).expect("few nodes") + 1),
        peers: Some(peers.join(",")),
        ..ServeFlags::default()
    })
    .expect("good settings")
}
