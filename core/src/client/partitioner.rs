//! Which partition a record goes to: exactly Kafka's choice, so that producers of both kinds agree on every key.
//!
//! With a key: murmur2 of its bytes, made non-negative, modulo the partition count. Without: one partition until
//! a batch's worth of bytes went there, then another at random (KIP-480, KIP-794), which fills batches where a
//! new draw for each record would spread them thin.

use crate::{ids::PartitionId, prng::Prng};

/// Kafka's variant of 32-bit MurmurHash2, with its fixed seed.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut h = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, &byte) in tail.iter().enumerate() {
            h ^= u32::from(byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h.cast_signed()
}

/// The partition of a key among `partitions`. Panics when there are none.
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a topic has a partition");
    let positive = murmur2(key).cast_unsigned() & 0x7fff_ffff;
    PartitionId((positive % partitions).cast_signed())
}

/// The choice for records without a key, for one topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sticky {
    current: Option<usize>,
    bytes: usize,
}

impl Sticky {
    /// The partition to use now; `led` says which have a leader.
    pub(crate) fn choose(&mut self, partitions: usize, prng: &mut Prng, led: impl Fn(usize) -> bool) -> usize {
        assert!(partitions > 0, "a topic has a partition");
        if let Some(current) = self.current
            && current < partitions
        {
            return current;
        }
        let available = (0..partitions).filter(|&p| led(p)).count();
        let chosen = if available == 0 {
            prng.below(partitions as u64) as usize
        } else {
            let n = prng.below(available as u64) as usize;
            (0..partitions).filter(|&p| led(p)).nth(n).expect("below the count")
        };
        self.current = Some(chosen);
        self.bytes = 0;
        chosen
    }

    /// Counts what went to the current partition; past `switch_bytes` the next record draws anew.
    pub(crate) fn appended(&mut self, bytes: usize, switch_bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= switch_bytes {
            self.current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn a_negative_hash_is_masked_not_negated() {
        // -973932308 & 0x7fffffff = 1173551340
        assert_eq!(partition_for_key(b"21", 100), PartitionId(40));
        assert_eq!(partition_for_key(b"21", 1), PartitionId(0));
    }

    #[test]
    fn records_without_a_key_stay_until_a_batch_is_full_and_avoid_leaderless_partitions() {
        let mut sticky = Sticky::default();
        let mut prng = Prng::new(3);
        let mut seen = [0; 4];
        for _ in 0..100 {
            let first = sticky.choose(4, &mut prng, |p| p != 2);
            assert_eq!(sticky.choose(4, &mut prng, |p| p != 2), first);
            seen[first] += 1;
            sticky.appended(60, 100);
            assert_eq!(sticky.choose(4, &mut prng, |p| p != 2), first);
            sticky.appended(60, 100);
        }
        assert_eq!(seen[2], 0);
        assert!(seen.iter().filter(|&&n| n > 10).count() == 3, "{seen:?}");
    }

    #[test]
    fn with_no_leader_anywhere_some_partition_is_chosen() {
        let mut sticky = Sticky::default();
        assert!(sticky.choose(3, &mut Prng::new(1), |_| false) < 3);
    }
}
