//! The binary `tidelog`.

fn main() {}
