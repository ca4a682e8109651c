//! `tidelog sim`: the simulator, with a command line of its own.

use std::process::ExitCode;

/// Flags of `tidelog sim`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  tidelog sim run --seed 42
  tidelog sim sweep --seeds 0..1000
  tidelog sim --help"
)]
pub(super) struct SimArgs {
    /// What the simulator is to do; `tidelog sim --help` lists it
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Hands the rest of the line over.
pub(super) fn run(args: &SimArgs) -> ExitCode {
    ExitCode::from(tidelog_sim::cli::run(&args.args))
}
