//! How a verb ends: an exit code, one line, a hint.

use std::{fmt, io, process::ExitCode};

use tidelog_core::message::ErrorCode;

/// What the process says to who started it. The numbers are an interface; `tidelog --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Something went wrong that no other code names.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No node could be reached.
    Connect = 3,
    /// The topic, partition, file or setting is not there.
    NotFound = 4,
    /// It did not happen in time; it may still happen.
    TimedOut = 5,
    /// Files that are damaged, or not tidelog's.
    Data = 6,
}

/// Why a verb did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CliError {
    /// The exit code.
    pub(super) exit: Exit,
    /// One line, lowercase, without a period.
    pub(super) message: String,
    /// What to do about it; empty where nobody has thought of anything.
    pub(super) hint: String,
}

impl CliError {
    /// An error with its line.
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: String::new() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// The node's refusal to do something with `what`, such as `topic "orders"`.
    pub(super) fn refused(what: &str, code: ErrorCode, message: Option<&str>) -> Self {
        let reason = message.map_or_else(|| sentence(code.description()), sentence);
        let error = Self::new(Exit::Failed, format!("{what}: {reason} ({code})"));
        match code {
            ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
                let error = Self { exit: Exit::NotFound, message: format!("{what} does not exist"), ..error };
                error.hint("`tidelog topic list` shows the topics that exist")
            }
            ErrorCode::BrokerIdNotRegistered => {
                let error = Self { exit: Exit::NotFound, message: format!("{what} is not known"), ..error };
                error.hint("`tidelog cluster status` shows the nodes")
            }
            ErrorCode::TopicAlreadyExists => {
                let error = Self { message: format!("{what} exists already"), ..error };
                error.hint("--if-not-exists makes this a success; `tidelog topic alter` changes a topic")
            }
            ErrorCode::RequestTimedOut => {
                let error = Self { exit: Exit::TimedOut, message: format!("{what}: timed out"), ..error };
                error.hint("it may still happen; --timeout allows more time")
            }
            ErrorCode::InvalidReplicationFactor => {
                error.hint("there must be as many nodes as replicas; try --replicas 1")
            }
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
                let error = Self { message: format!("{what}: a record is too large ({code})"), ..error };
                error.hint("`tidelog topic alter --set max.message.bytes=...` allows larger ones")
            }
            ErrorCode::InvalidTopic => {
                error.hint("a name has 1 to 249 of the letters a-z and A-Z, digits, '.', '_' and '-'")
            }
            ErrorCode::InvalidPartitions => error.hint("partitions can be added, never taken away"),
            ErrorCode::InvalidConfig => error.hint("`tidelog topic describe` shows the settings and their values"),
            ErrorCode::OffsetOutOfRange => {
                error.hint("`tidelog topic describe` shows where each partition begins and ends")
            }
            code if code.is_retriable() => error.hint("this can pass: try again"),
            _ => error,
        }
    }

    /// Prints line and hint to stderr and gives the code to return.
    pub(super) fn report(&self) -> ExitCode {
        let hint = if self.hint.is_empty() { "`tidelog --help` shows what each verb takes" } else { &self.hint };
        eprintln!("error: {}\nhint: {hint}", self.message);
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

/// What a verb's work ends with.
#[derive(Debug)]
pub(super) enum Ended {
    /// With an error to report.
    Error(CliError),
    /// Who read our output has gone: nothing is left to do, and nothing is wrong.
    BrokenPipe,
}

impl From<CliError> for Ended {
    fn from(error: CliError) -> Self {
        Self::Error(error)
    }
}

/// Output that cannot be written.
impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Error(CliError::new(Exit::Failed, format!("cannot write the output: {error}"))),
        }
    }
}

/// A description as part of a line: no capital, no period.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let text = text.split_once(". ").map_or(text, |(first, _)| first);
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_become_part_of_a_line() {
        assert_eq!(sentence("There is a topic of that name."), "there is a topic of that name");
        assert_eq!(sentence("Acks other than -1, 0 and 1."), "acks other than -1, 0 and 1");
        assert_eq!(sentence("ISR is empty. Wait."), "ISR is empty");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn a_missing_topic_has_its_own_exit_code() {
        let error = CliError::refused("topic \"x\"", ErrorCode::UnknownTopicOrPartition, None);
        assert_eq!((error.exit, error.message.as_str()), (Exit::NotFound, "topic \"x\" does not exist"));
    }
}
