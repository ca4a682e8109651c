//! B1: queues, memory and messages stay within bounds, whatever happens.

use super::{Violation, violation};

const CODE: &str = "B1";

/// What must not be exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Effects of one input.
    pub effects: u64,
    /// Jobs that the core waits for.
    pub jobs: u64,
    /// Requests that the core has not answered.
    pub requests: u64,
    /// Events of one simulated second.
    pub events_per_second: u64,
    /// Bytes on the disk, for each byte that clients sent, over a fixed allowance.
    pub disk_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { effects: 4_000, jobs: 4_000, requests: 2_000, events_per_second: 60_000, disk_bytes: 64 << 20 }
    }
}

/// What there is at present.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// As in [`Bounds`].
    pub effects: u64,
    /// As in [`Bounds`].
    pub jobs: u64,
    /// As in [`Bounds`].
    pub requests: u64,
    /// As in [`Bounds`].
    pub events_per_second: u64,
    /// As in [`Bounds`].
    pub disk_bytes: u64,
}

impl Bounds {
    /// Is everything within bounds?
    pub fn check(&self, subject: impl std::fmt::Display, load: &Load) -> Result<(), Violation> {
        let pairs = [
            ("too-many-effects", load.effects, self.effects),
            ("too-many-jobs", load.jobs, self.jobs),
            ("too-many-requests", load.requests, self.requests),
            ("message-storm", load.events_per_second, self.events_per_second),
            ("disk-growth", load.disk_bytes, self.disk_bytes),
        ];
        for (anomaly, is, bound) in pairs {
            if is > bound {
                return Err(violation(CODE, anomaly, &subject, format!("{is}, and {bound} is the bound")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_watched() {
        let bounds = Bounds::default();
        assert_eq!(bounds.check("n0", &Load::default()), Ok(()));
        let over = [
            Load { effects: bounds.effects + 1, ..Load::default() },
            Load { jobs: bounds.jobs + 1, ..Load::default() },
            Load { requests: bounds.requests + 1, ..Load::default() },
            Load { events_per_second: bounds.events_per_second + 1, ..Load::default() },
            Load { disk_bytes: bounds.disk_bytes + 1, ..Load::default() },
        ];
        for load in over {
            assert!(bounds.check("n0", &load).is_err(), "{load:?}");
        }
    }
}
