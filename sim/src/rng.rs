//! Keyed randomness: every entity draws from a stream of its own.
//!
//! A value is a function of `(seed, stream, entity, n)`. Removing one fault from a run moves the counter of that
//! fault's stream and of no other, so the rest of the run's decisions stay as they were. Integers only: the bits
//! are the same on every machine.

use tidelog_core::prng;

/// What a stream of random values is for. The ordinals are part of every archived seed: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The swarm configuration.
    Config = 1,
    /// Delays and losses of one link.
    Net = 2,
    /// Latency, errors and power loss of one node's disk.
    Disk = 3,
    /// What happens to nodes and when.
    Nemesis = 4,
    /// What one client does.
    Workload = 5,
    /// The order of events at one instant.
    Tie = 6,
    /// Rare but legal behaviour.
    Buggify = 7,
    /// The seed of one node's core.
    Core = 8,
}

/// One stream of values.
#[derive(Clone, Debug)]
pub struct Stream {
    seed: u64,
    purpose: u64,
    entity: u64,
    drawn: u64,
}

impl Stream {
    /// The stream of this purpose and entity.
    pub fn new(seed: u64, purpose: Purpose, entity: u64) -> Self {
        Self { seed, purpose: purpose as u64, entity, drawn: 0 }
    }

    /// How many values were drawn so far.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }

    /// Goes on as if so many values had been drawn.
    pub fn seek(&mut self, drawn: u64) {
        self.drawn = drawn;
    }

    /// The next value.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        prng::draw(self.seed, self.purpose, self.entity, self.drawn)
    }

    /// A value in `0..bound`; 0 for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A value from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True `ppm` times in a million.
    pub fn chance(&mut self, ppm: u64) -> bool {
        self.below(1_000_000) < ppm
    }

    /// A value from `low` to `high` whose logarithm is evenly spread: as often below 10 as between 10 and 100.
    pub fn log_between(&mut self, low: u64, high: u64) -> u64 {
        let low = low.max(1);
        let doublings = u64::from((high / low).max(1).ilog2()) + 1;
        let floor = low << self.below(doublings);
        self.between(floor, (floor * 2 - 1).min(high)).min(high)
    }

    /// An exponentially distributed value with this mean, by leading zeros: ln 2 · (zeros + 1 - mantissa).
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let bits = self.draw() | 1;
        let zeros = u64::from(bits.leading_zeros());
        let mantissa = (bits << zeros) >> 47 & 0xffff;
        let exponent = ((zeros + 1) << 16) - mantissa;
        ((u128::from(mean) * u128::from(exponent) * 45_426) >> 32) as u64
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// An index below `count`, small ones far more often: each half gets three quarters of the rest.
    pub fn skewed(&mut self, count: u64) -> u64 {
        let mut range = count;
        while range > 1 && self.chance(750_000) {
            range = range.div_ceil(2);
        }
        self.below(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_has_its_mean() {
        let mut stream = Stream::new(1, Purpose::Net, 0);
        let sum: u64 = (0..20_000).map(|_| stream.exponential(1_000)).sum();
        let mean = sum / 20_000;
        assert!((900..1_100).contains(&mean), "mean {mean}");
    }

    #[test]
    fn log_between_stays_in_its_range() {
        let mut stream = Stream::new(2, Purpose::Config, 0);
        for _ in 0..10_000 {
            let value = stream.log_between(3, 1_000);
            assert!((3..=1_000).contains(&value));
        }
        assert_eq!(stream.log_between(5, 5), 5);
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        let mut alone = Stream::new(3, Purpose::Disk, 1);
        let mut other = Stream::new(3, Purpose::Disk, 2);
        let first: Vec<u64> = (0..4).map(|_| alone.draw()).collect();
        let mut again = Stream::new(3, Purpose::Disk, 1);
        let second: Vec<u64> = (0..4)
            .map(|_| {
                other.draw();
                again.draw()
            })
            .collect();
        assert_eq!(first, second);
    }
}
