//! How a batch can fail for good, in the terms an application decides by.

use core::fmt;

use crate::message::ErrorCode;

/// The final word on records that could not be delivered; retries are over when it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ProduceError {
    /// What happened.
    pub kind: ProduceErrorKind,
    /// Can the records be in the log all the same? Sending them again may then double them.
    pub may_have_applied: bool,
}

/// Why records could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProduceErrorKind {
    /// A node refused them, and no retry of the same records can help.
    Rejected(ErrorCode),
    /// The delivery timeout passed; with the last error that stood in the way, if a node named one.
    DeliveryTimeout(Option<ErrorCode>),
    /// The producer had to begin a new epoch while it was unknown whether an attempt to send them succeeded. Sending
    /// them in the new epoch could double them, so it does not (KIP-360).
    Unresolved,
    /// The producer was closed before they were delivered.
    Closed,
}

impl ProduceError {
    /// Can the application send the records again with hope? Whether that may double them says
    /// [`ProduceError::may_have_applied`].
    pub fn is_retriable(&self) -> bool {
        match self.kind {
            ProduceErrorKind::Rejected(code) => code.is_retriable(),
            ProduceErrorKind::DeliveryTimeout(_) | ProduceErrorKind::Unresolved => true,
            ProduceErrorKind::Closed => false,
        }
    }

    /// Can the records be in the log all the same?
    pub fn may_have_applied(&self) -> bool {
        self.may_have_applied
    }
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ProduceErrorKind::Rejected(code) => write!(f, "the records were refused: {code}: {}", code.description())?,
            ProduceErrorKind::DeliveryTimeout(None) => f.write_str("the records were not delivered in time")?,
            ProduceErrorKind::DeliveryTimeout(Some(code)) => {
                write!(f, "the records were not delivered in time, last because of {code}: {}", code.description())?;
            }
            ProduceErrorKind::Unresolved => {
                f.write_str(
                    "the producer lost its place in the partition's sequence before the records were acknowledged",
                )?;
            }
            ProduceErrorKind::Closed => f.write_str("the producer was closed before the records were delivered")?,
        }
        if self.may_have_applied { f.write_str(" (they may be in the log)") } else { Ok(()) }
    }
}
