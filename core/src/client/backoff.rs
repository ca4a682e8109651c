//! Waiting longer after every failure, never all at the same moment.

use crate::{prng::Prng, time::Duration};

/// How long to wait before a retry (`retry.backoff.ms`, `retry.backoff.max.ms`; KIP-580).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// After the first failure.
    pub first: Duration,
    /// After many.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(1) }
    }
}

impl BackoffConfig {
    /// The wait after failure number `failures` (from 1): doubled each time up to the maximum, then spread by a
    /// fifth either way so that clients that failed together do not come back together.
    pub(crate) fn after(&self, failures: u32, prng: &mut Prng) -> Duration {
        let doublings = failures.saturating_sub(1).min(32);
        let span = self.first.0.saturating_mul(1 << doublings).min(self.max.0);
        let spread = span / 5;
        Duration(span - spread + prng.below(2 * spread + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_within_a_fifth() {
        let config = BackoffConfig::default();
        let mut prng = Prng::new(1);
        for (failures, ms) in [(1, 100), (2, 200), (4, 800), (5, 1000), (u32::MAX, 1000)] {
            let wait = config.after(failures, &mut prng).as_millis();
            assert!(wait >= ms * 4 / 5 && wait <= ms * 6 / 5, "{wait} ms after {failures} failures");
        }
    }
}
