//! `tidelog serve`: one node, from its first log line to its exit code.

use crate::config::ServeFlags;

/// Runs a node until it is told to stop.
pub fn serve(flags: &ServeFlags) -> Result<(), ServeError> {
    Err(ServeError { message: format!("cannot serve {:?}", flags.data), hint: String::new(), exit_code: 1 })
}

/// Why a node did not start, or stopped: one line, a hint, and the process's exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ServeError {
    /// One line, lowercase, without a period.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The process's exit code.
    pub exit_code: u8,
}
