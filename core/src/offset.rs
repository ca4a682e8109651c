//! Offsets: positions in one partition's log.

use core::fmt;

/// The position of a record in its partition. Every record has one; none is used twice.
///
/// Read as a bound (`end`, `high watermark`), an offset is exclusive: the offset of the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);
    /// "No offset", as Kafka's wire has it.
    pub const NONE: Self = Self(-1);

    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Self {
        self.forward(1)
    }

    /// The offset `records` further on. Panics past `i64::MAX`: 292 years at a thousand million a second.
    #[must_use]
    pub fn forward(self, records: i64) -> Self {
        debug_assert!(records >= 0, "offsets go forward");
        Self(self.0.checked_add(records).expect("an offset fits 63 bits"))
    }

    /// How many offsets lie from `earlier` up to this one; negative when it is not earlier.
    pub fn distance_from(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
