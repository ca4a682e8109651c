//! `tidelog completions`: scripts that complete commands in a shell.

use super::{error::Ended, output::Stdout};

/// Flags of `tidelog completions`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidelog completions bash >/etc/bash_completion.d/tidelog
  tidelog completions zsh >\"${fpath[1]}/_tidelog\"
  tidelog completions fish >~/.config/fish/completions/tidelog.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Prints the script for `command`.
pub(super) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<(), Ended> {
    let mut stdout = Stdout::open()?;
    clap_complete::generate(args.shell, command, "tidelog", stdout.buffer());
    Ok(stdout.flush()?)
}
