//! What a person types: one binary, few verbs.
//!
//! Data goes to stdout, progress and logs to stderr; an error is one line and a hint. Flags, exit codes and the forms
//! of `--json` are an interface: `--help` describes them, and a test compares it with what it was.

mod bench;
mod cluster;
mod completions;
mod consume;
mod dev;
mod error;
mod format;
mod inspect;
mod json;
mod lines;
mod output;
mod produce;
mod session;
mod sim;
mod topic;
mod value;

use std::process::ExitCode;

use clap::{
    CommandFactory, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use self::error::{CliError, Ended, Exit};
use crate::{config::ServeFlags, serve};

/// A distributed log that speaks Kafka's protocol and its own
#[derive(Debug, Parser)]
#[command(name = "tidelog", version, max_term_width = 100, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run a node
    #[command(after_help = AFTER_SERVE)]
    Serve(ServeFlags),
    /// Run a cluster on this machine, to try things with
    Dev(dev::DevArgs),
    /// Show how a cluster is, and take a node out of it
    Cluster(cluster::ClusterArgs),
    /// Create, list, describe, alter, move and delete topics
    Topic(topic::TopicArgs),
    /// Write lines from stdin to a topic
    Produce(produce::ProduceArgs),
    /// Write the records of a topic to stdout
    Consume(consume::ConsumeArgs),
    /// Measure writing, reading, latency and the disk
    Bench(bench::BenchArgs),
    /// Show what stands in the files of a data directory
    Inspect(inspect::InspectArgs),
    /// Run a cluster in a simulated world, from a seed
    Sim(sim::SimArgs),
    /// Print a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
}

const AFTER_HELP: &str = "\
Examples:
  tidelog serve --data ./tidelog-data
  tidelog topic create orders --partitions 3
  echo hello | tidelog produce orders
  tidelog consume orders --from earliest --exit-at-end

Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  no node could be reached
  4  not found: topic, partition, file
  5  timed out
  6  a data directory or file is damaged, or not tidelog's
  7  an address cannot be listened on";

const AFTER_SERVE: &str = "\
Examples:
  tidelog serve
  tidelog serve --data /var/lib/tidelog --kafka 0.0.0.0:9092 --advertise-kafka log1.example.org:9092
  tidelog serve --config tidelog.toml
  tidelog serve --node-id 1 --peers 1@log1:9192,2@log2:9192,3@log3:9192 --kafka log1:9092
  tidelog serve --data /tmp/try --kafka 127.0.0.1:0 --native 127.0.0.1:0 --http 127.0.0.1:0

Exit codes:
  0  stopped by SIGTERM or SIGINT, everything on disk
  1  failed
  2  a flag or a setting is wrong
  6  the data directory cannot be used
  7  an address cannot be listened on";

/// Reads the command line, runs it, and says how it went.
pub fn main() -> ExitCode {
    let verb = match Cli::try_parse() {
        Ok(cli) => cli.verb,
        Err(error) => return misused(&error),
    };
    let ended = match verb {
        Verb::Serve(flags) => return run_server(&flags),
        Verb::Dev(args) => dev::run(&args),
        Verb::Cluster(args) => cluster::run(&args),
        Verb::Topic(args) => topic::run(args),
        Verb::Produce(args) => produce::run(&args),
        Verb::Consume(args) => consume::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Sim(args) => return sim::run(&args),
        Verb::Completions(args) => completions::run(&args, &mut Cli::command()),
    };
    match ended {
        Ok(()) | Err(Ended::BrokenPipe) => ExitCode::SUCCESS,
        Err(Ended::Error(error)) => error.report(),
    }
}

fn run_server(flags: &ServeFlags) -> ExitCode {
    match serve::serve(flags) {
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

/// Help and version are asked for; anything else is one line and a hint.
fn misused(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone has seen enough.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(Exit::Usage as u8)
        }
        _ => usage_error(error).report(),
    }
}

fn usage_error(error: &clap::Error) -> CliError {
    let rendered = error.to_string();
    let message: Vec<&str> = rendered
        .strip_prefix("error: ")
        .unwrap_or(&rendered)
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("tip:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    let tip = rendered.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    // "Usage: tidelog topic create [OPTIONS] <NAME>": the words before the first argument are the command.
    let command: Vec<&str> = usage
        .split_whitespace()
        .skip(1)
        .take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    let help = match command.as_slice() {
        [] => "see `tidelog --help`".to_owned(),
        command => format!("see `{} --help`", command.join(" ")),
    };
    CliError::new(Exit::Usage, message.join(" ")).hint(tip.map_or(help, str::to_owned))
}

#[cfg(test)]
mod tests;
