//! The one error of the client.

use std::{fmt, io};

use tidelog_core::{
    client::{AdminError, AppendError, ConsumerError, ProduceError, ProduceErrorKind},
    message::ErrorCode,
    record::BatchError,
};

/// What went wrong, and what that means for what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    retriable: bool,
    may_have_applied: bool,
    code: Option<ErrorCode>,
}

/// The kinds of failure that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No node could be reached.
    Unreachable,
    /// A node refused, for this reason.
    Refused(ErrorCode),
    /// It took longer than it may.
    TimedOut,
    /// The producer had to begin a new epoch while the fate of these records was unknown (KIP-360).
    Unresolved,
    /// An offset that is not in the log.
    OutOfRange,
    /// The log was cut below what was read (KIP-320).
    Truncated,
    /// What arrived is broken.
    Corrupt,
    /// What was asked for cannot be: an address, a partition, a size.
    Invalid,
    /// The producer or consumer is closed.
    Closed,
}

impl Error {
    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Can the same succeed later?
    pub fn is_retriable(&self) -> bool {
        self.retriable
    }

    /// Can it have happened all the same, as when an answer was lost? Doing it again may then do it twice.
    pub fn may_have_applied(&self) -> bool {
        self.may_have_applied
    }

    /// The code behind a refusal, or the last that stood in the way of what was not done in time.
    pub fn code(&self) -> Option<ErrorCode> {
        match self.kind {
            ErrorKind::Refused(code) => Some(code),
            _ => self.code,
        }
    }

    /// A refusal of one topic, partition or setting inside an answer, with the node's words for it.
    pub fn refused(code: ErrorCode, message: Option<&str>) -> Self {
        let message = message.map_or_else(|| code.description().to_string(), str::to_string);
        Self::new(ErrorKind::Refused(code), format!("{code}: {message}"), code.is_retriable())
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, retriable: bool) -> Self {
        Self { kind, message: message.into(), retriable, may_have_applied: false, code: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message, false)
    }

    /// The same, with the place it concerns in front.
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.message.insert_str(0, place);
        self
    }

    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "it is closed", false)
    }

    pub(crate) fn unreachable(address: &str, error: &io::Error) -> Self {
        Self::new(ErrorKind::Unreachable, format!("cannot reach {address}: {error}"), true)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<ProduceError> for Error {
    fn from(error: ProduceError) -> Self {
        let (kind, code) = match error.kind {
            ProduceErrorKind::Rejected(code) => (ErrorKind::Refused(code), Some(code)),
            ProduceErrorKind::DeliveryTimeout(code) => (ErrorKind::TimedOut, code),
            ProduceErrorKind::Unresolved => (ErrorKind::Unresolved, None),
            _ => (ErrorKind::Closed, None),
        };
        Self {
            kind,
            message: error.to_string(),
            retriable: error.is_retriable(),
            may_have_applied: error.may_have_applied(),
            code,
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        let (kind, retriable) = match error {
            AppendError::Topic(ErrorCode::RequestTimedOut) => (ErrorKind::TimedOut, true),
            AppendError::Topic(code) => (ErrorKind::Refused(code), code.is_retriable()),
            AppendError::Full | AppendError::TopicPending => (ErrorKind::TimedOut, true),
            AppendError::Closed => (ErrorKind::Closed, false),
            _ => (ErrorKind::Invalid, false),
        };
        Self::new(kind, error.to_string(), retriable)
    }
}

impl From<ConsumerError> for Error {
    fn from(error: ConsumerError) -> Self {
        let kind = match &error {
            ConsumerError::Refused(code) => ErrorKind::Refused(*code),
            ConsumerError::OutOfRange(_) => ErrorKind::OutOfRange,
            ConsumerError::Truncated { .. } => ErrorKind::Truncated,
            _ => ErrorKind::Corrupt,
        };
        Self::new(kind, error.to_string(), error.is_retriable())
    }
}

impl From<AdminError> for Error {
    fn from(error: AdminError) -> Self {
        let kind = match error {
            AdminError::Refused(code) => ErrorKind::Refused(code),
            AdminError::TimedOut { .. } => ErrorKind::TimedOut,
            _ => ErrorKind::Corrupt,
        };
        Self {
            kind,
            code: None,
            message: error.to_string(),
            retriable: error.is_retriable(),
            may_have_applied: error.may_have_applied(),
        }
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        Self::new(ErrorKind::Corrupt, error.to_string(), false)
    }
}
