//! The two clocks of a machine, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use tidelog_core::time::{Instant, Timestamp};

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { zero: tokio::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The runtime's view of a machine's time.
    pub(crate) fn at(&self, at: Instant) -> tokio::time::Instant {
        self.zero + std::time::Duration::from_nanos(at.0)
    }
}

/// Wall time, for records that bring none.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
