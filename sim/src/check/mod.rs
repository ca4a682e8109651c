//! The checkers: what must never be true.
//!
//! Two kinds. Some watch everything that crosses the border of a node, as it happens ([`Observed`]); one sees only
//! what clients saw ([`h1`]). Each invariant has a file of its own, with bad histories as its tests: a checker that
//! cannot fail checks nothing.

pub mod h1;

use std::fmt;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker: `R11`, `H1`.
    pub code: &'static str,
    /// Which anomaly, in the checker's words: `lost-write`.
    pub anomaly: &'static str,
    /// What it is about: a partition, an offset.
    pub subject: String,
    /// One sentence.
    pub why: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}): {}", self.code, self.anomaly, self.subject, self.why)
    }
}

/// Makes a violation.
pub(crate) fn violation(
    code: &'static str,
    anomaly: &'static str,
    subject: impl fmt::Display,
    why: String,
) -> Violation {
    Violation { code, anomaly, subject: subject.to_string(), why }
}
