//! Epochs of leadership.

use core::fmt;

/// The epoch of a partition's leader (KIP-101), or of the metadata quorum's: stamped on every batch it appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// "No epoch", as Kafka's wire has it: the sender does not know or does not check.
    pub const NONE: Self = Self(-1);
    /// The epoch of a partition's first leader.
    pub const FIRST: Self = Self(0);

    /// The epoch of the next leader.
    #[must_use]
    pub fn bump(self) -> Self {
        Self(self.0.checked_add(1).expect("a leader epoch fits 31 bits"))
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Counts the changes of one partition's state (KIP-497): the controller refuses a change to an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionEpoch(pub i32);

impl PartitionEpoch {
    /// The state a partition is created in.
    pub const FIRST: Self = Self(0);

    /// The epoch after the next change.
    #[must_use]
    pub fn bump(self) -> Self {
        Self(self.0.checked_add(1).expect("a partition epoch fits 31 bits"))
    }
}
