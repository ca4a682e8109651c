//! Keyed randomness: a value is a function of its key, not of how many were drawn before it.
//!
//! Removing one fault from a failing run must not re-roll all the others, so the simulator draws by
//! `(seed, stream, entity, n)`; the core itself draws only ids and election jitter from [`Prng`]. The mixer is
//! frozen here (SplitMix64's finaliser): archived seeds stay valid whatever a crate changes.

/// One value of a stream, independent of every other.
pub fn draw(seed: u64, stream: u64, entity: u64, n: u64) -> u64 {
    mix(mix(mix(mix(seed) ^ stream) ^ entity) ^ n)
}

/// SplitMix64's finaliser: every input bit moves every output bit.
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of values from one seed.
#[derive(Clone, Debug)]
pub struct Prng {
    seed: u64,
    drawn: u64,
}

impl Prng {
    /// The sequence that belongs to this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// The next value.
    pub fn next_u64(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed ^ mix(self.drawn))
    }

    /// A value in `0..bound`. Panics when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no value");
        // The high half of a widening multiply: its bias is below bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True `numerator` times out of `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// Sixteen bytes for a topic or directory id, never one of the reserved ids.
    pub fn uuid(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        id[8..].copy_from_slice(&self.next_u64().to_be_bytes());
        // RFC 9562 version 4, variant 1; so it is neither zero nor the metadata topic's.
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_frozen() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_ne!(draw(1, 2, 3, 4), draw(1, 2, 3, 5));
        assert_eq!(draw(1, 2, 3, 4), draw(1, 2, 3, 4));
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let mut prng = Prng::new(7);
        let mut seen = [false; 6];
        for _ in 0..1000 {
            seen[prng.below(6) as usize] = true;
        }
        assert_eq!(seen, [true; 6]);
    }
}
