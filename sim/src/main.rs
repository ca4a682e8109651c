//! The simulator on its own; the server's binary has the same verbs under `tidelog sim`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    ExitCode::from(tidelog_sim::cli::run(&args))
}
