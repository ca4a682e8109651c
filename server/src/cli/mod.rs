//! What a person types: one binary, few verbs.

mod error;
mod format;
mod json;
mod lines;
mod output;
mod value;

use std::process::ExitCode;

use clap::Parser;

use crate::{config::ServeFlags, serve};

/// A distributed log that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "tidelog", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run a node
    Serve(ServeFlags),
}

/// Reads the command line, runs it, and says how it went.
pub fn main() -> ExitCode {
    let Verb::Serve(flags) = Cli::parse().verb;
    match serve::serve(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if !error.hint.is_empty() {
                eprintln!("hint: {}", error.hint);
            }
            ExitCode::from(error.exit_code)
        }
    }
}
