//! The waits between attempts to reach a peer.

use std::time::Duration;

use tidelog_core::prng::Prng;

/// Grows from attempt to attempt, and begins again once an attempt has succeeded.
///
/// A refusal is an answer, and a cheap one: a port that nobody listens at costs one round trip to try. Whoever calls a
/// node that is gone wants to know that it is, often to decide who takes over from it, and so waits for moments only.
#[derive(Debug)]
pub(super) struct Pause {
    failures: u32,
    longest: Duration,
    prng: Prng,
}

impl Pause {
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, longest: LONGEST, prng: Prng::new(seed) }
    }

    /// The peer was reached, or heard of.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed, or a connection broke.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.longest = LONGEST;
    }

    /// Nobody listens there.
    pub(super) fn refused(&mut self) {
        self.failed();
        self.longest = LONGEST_REFUSED;
    }

    /// How long to wait before the next attempt. After the first failure not at all: a connection that broke is most
    /// often there again at once, or its peer refuses, which is news as well. Later each wait is drawn from between
    /// half of the next step and the whole.
    pub(super) fn next(&mut self) -> Duration {
        if self.failures <= 1 {
            return Duration::ZERO;
        }
        let step = FIRST.saturating_mul(1 << (self.failures - 2).min(16)).min(self.longest);
        let half = u64::try_from(step.as_micros() / 2).expect("a second at most");
        Duration::from_micros(half + self.prng.below(half))
    }
}

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(20);
/// No wait is longer.
const LONGEST: Duration = Duration::from_millis(500);
/// No wait is longer for a peer whose address refuses.
const LONGEST_REFUSED: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_immediate_and_later_ones_wait_longer_up_to_a_bound() {
        let mut pause = Pause::new(1);
        assert_eq!(pause.next(), Duration::ZERO);
        pause.failed();
        assert_eq!(pause.next(), Duration::ZERO);
        for attempt in 0..40 {
            pause.failed();
            let most = LONGEST.min(FIRST * (1 << attempt.min(10)));
            let wait = pause.next();
            assert!(most / 2 <= wait && wait < most, "{attempt}: {wait:?}");
        }
        pause.refused();
        assert!(pause.next() < LONGEST_REFUSED, "it is known at once that nobody is there");
        pause.failed();
        assert!(pause.next() >= LONGEST / 2, "somebody is there, or something on the way");
        pause.reset();
        assert_eq!(pause.next(), Duration::ZERO);
    }
}
