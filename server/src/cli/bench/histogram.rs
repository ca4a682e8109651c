//! Counts of times, precise to one percent at every scale.
//!
//! A value falls into a bucket by its highest bit and the seven bits below it, as in HdrHistogram: 128 buckets for
//! every doubling, whatever the range.

/// How often each time was seen.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// Bits of a value below its highest that tell buckets apart.
const PRECISION_BITS: u32 = 7;
const BUCKETS: usize = ((64 - PRECISION_BITS as usize) + 1) << PRECISION_BITS;

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    pub(super) fn record(&mut self, value: u64) {
        self.counts[bucket_of(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// The value that so many of a hundred thousand do not exceed.
    pub(super) fn percentile(&self, of_100_000: u64) -> u64 {
        let wanted = (u128::from(self.total) * u128::from(of_100_000)).div_ceil(100_000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted {
                return greatest_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    ((doublings as usize) << PRECISION_BITS) + (value >> doublings) as usize
}

/// The greatest value of a bucket.
fn greatest_of(bucket: usize) -> u64 {
    let doublings = (bucket >> PRECISION_BITS).saturating_sub(1);
    let high = (bucket - (doublings << PRECISION_BITS)) as u64;
    // Shifted in two steps: the last bucket ends where the numbers do.
    (high << doublings) | ((1 << doublings) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_a_percent_of_its_bucket() {
        let mut value = 1u64;
        while value < u64::MAX / 6 {
            for value in [value - 1, value, value + 1] {
                let greatest = greatest_of(bucket_of(value));
                assert!(greatest >= value && greatest - value <= value / 100, "{value} became {greatest}");
            }
            value = value * 5 / 3 + 1;
        }
        assert_eq!(greatest_of(bucket_of(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut histogram = Histogram::new();
        for value in 1..=1000u64 {
            histogram.record(value * 1000);
        }
        let near = |got: u64, want: u64| got >= want && got <= want + want / 100;
        assert!(near(histogram.percentile(50_000), 500_000));
        assert!(near(histogram.percentile(99_000), 990_000));
        assert!(near(histogram.percentile(99_900), 999_000));
        assert_eq!(histogram.percentile(100_000), 1_000_000);
        assert_eq!((histogram.max(), histogram.total()), (1_000_000, 1000));
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::new().percentile(50_000), 0);
    }
}
