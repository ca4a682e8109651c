//! The simulator on its own; the server's binary has the same verbs under `tidelog sim`.
fn main() {}
