//! A node's two clocks: one that runs a little fast or slow, one that is wrong and steps.

use tidelog_core::time::{Instant, Now, Timestamp};

/// Where wall time begins in every run: some morning in June 2025.
const WALL_START_MS: i64 = 1_750_000_000_000;
const PPM: u128 = 1_000_000;

/// Both clocks of one machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// How fast the monotonic clock runs, in millionths.
    rate: u128,
    /// How wrong the wall clock is.
    offset_ms: i64,
}

impl Clock {
    /// A clock that gains so many millionths (loses, when negative).
    pub fn new(drift_ppm: i64) -> Self {
        Self { rate: (PPM as i64 + drift_ppm).max(1) as u128, offset_ms: 0 }
    }

    /// What the clocks show.
    pub fn now(&self, at: u64) -> Now {
        let mono = (u128::from(at) * self.rate / PPM) as u64;
        let wall = WALL_START_MS + (mono / 1_000_000) as i64 + self.offset_ms;
        Now { mono: Instant(mono), wall: Timestamp(wall) }
    }

    /// The virtual time at which the monotonic clock shows `mono`.
    pub fn when(&self, mono: Instant) -> u64 {
        (u128::from(mono.0) * PPM).div_ceil(self.rate) as u64
    }

    /// The wall clock steps.
    pub fn step(&mut self, ms: i64) {
        self.offset_ms += ms;
    }

    /// The wall clock is right again.
    pub fn correct(&mut self) {
        self.offset_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_reached_early() {
        for drift in [-50_000, -1, 0, 3, 50_000] {
            let clock = Clock::new(drift);
            for mono in [0, 1, 999, 1_000_000_007, 60_000_000_000] {
                let at = clock.when(Instant(mono));
                assert!(clock.now(at).mono >= Instant(mono));
                assert!(at == 0 || clock.now(at - 1).mono < Instant(mono));
            }
        }
    }
}
