//! The newest offset of each key, in bounded memory.
//!
//! Keys are remembered by a 128-bit hash: two keys of one partition that share it would be taken for one, which
//! among a million keys has a chance of one in 10^27. Whoever could make two keys collide could as well write
//! under either, so the hash needs no secret and a cleaning stays a function of its log.
//!
//! The table grows by doubling, with linear probing, up to a bound; past it the cleaner works with what fits and
//! comes back for the rest.

use alloc::vec::Vec;

use crate::{limits, offset::Offset};

/// Keys seen in the dirty part of a log, and where each was seen last.
#[derive(Debug)]
pub(super) struct KeyMap {
    slots: Vec<Slot>,
    used: usize,
    slots_max: usize,
    /// Every batch up to here has been seen in full.
    end: Option<Offset>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// As two words: a `u128` would align the slot to 32 bytes.
    hash: [u64; 2],
    offset: Offset,
}

const EMPTY: Slot = Slot { hash: [0; 2], offset: Offset::NONE };
const SLOTS_MIN: usize = 1 << 8;

/// No key fits any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapFull;

impl KeyMap {
    /// An empty map that never takes more memory than [`limits::CLEAN_MAP_BYTES_MAX`].
    pub(super) fn new() -> Self {
        Self::with_slots_max(limits::CLEAN_MAP_BYTES_MAX / size_of::<Slot>())
    }

    /// An empty map of at most so many slots (rounded down to a power of two), three quarters of which can be used.
    pub(super) fn with_slots_max(slots: usize) -> Self {
        assert!(slots >= SLOTS_MIN, "a map has some slots");
        Self { slots: Vec::new(), used: 0, slots_max: 1 << slots.ilog2(), end: None }
    }

    /// Notes that `key` was seen at `offset`. Offsets come in ascending order.
    pub(super) fn insert(&mut self, key: &[u8], offset: Offset) -> Result<(), MapFull> {
        self.grow_if_crowded();
        let hash = siphash_128(key);
        let at = self.find(hash);
        if self.slots[at].offset == Offset::NONE {
            if self.used >= self.slots.len() / 4 * 3 {
                return Err(MapFull);
            }
            self.used += 1;
        }
        debug_assert!(self.slots[at].offset < offset, "the cleaner reads forward");
        self.slots[at] = Slot { hash, offset };
        Ok(())
    }

    /// Where `key` was seen last.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.slots[self.find(siphash_128(key))];
        (slot.offset != Offset::NONE).then_some(slot.offset)
    }

    /// Notes that everything below `end` has been seen.
    pub(super) fn covers_to(&mut self, end: Offset) {
        assert!(self.end.is_none_or(|e| e <= end), "the cleaner reads forward");
        self.end = Some(end);
    }

    /// Everything below this has been seen; nothing may be dropped at or past it on the map's word.
    pub(super) fn end(&self) -> Option<Offset> {
        self.end
    }

    fn find(&self, hash: [u64; 2]) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash[0] as usize & mask;
        // A quarter of the slots is empty, so this ends.
        while self.slots[at].offset != Offset::NONE && self.slots[at].hash != hash {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow_if_crowded(&mut self) {
        if self.used < self.slots.len() / 4 * 3 || self.slots.len() >= self.slots_max {
            return;
        }
        let slots = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = core::mem::replace(&mut self.slots, alloc::vec![EMPTY; slots]);
        for slot in old.into_iter().filter(|s| s.offset != Offset::NONE) {
            let at = self.find(slot.hash);
            self.slots[at] = slot;
        }
    }
}

/// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein) under the key zero.
fn siphash_128(bytes: &[u8]) -> [u64; 2] {
    siphash_128_keyed(0, 0, bytes)
}

fn siphash_128_keyed(k0: u64, k1: u64, bytes: &[u8]) -> [u64; 2] {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        absorb(&mut v, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    last[7] = bytes.len() as u8;
    absorb(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xee;
    let low = squeeze(&mut v);
    v[1] ^= 0xdd;
    let high = squeeze(&mut v);
    [low, high]
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn squeeze(v: &mut [u64; 4]) -> u64 {
    for _ in 0..4 {
        round(v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, format};

    /// The first vectors of the authors' reference implementation: key 00..0f, messages 00, 00 01, ...
    #[test]
    fn the_hash_is_the_published_one() {
        let key: [u8; 16] = core::array::from_fn(|i| i as u8);
        let k0 = u64::from_le_bytes(key[..8].try_into().expect("eight bytes"));
        let k1 = u64::from_le_bytes(key[8..].try_into().expect("eight bytes"));
        let of = |bytes: &[u8]| siphash_128_keyed(k0, k1, bytes);
        assert_eq!(of(&[]), [0xe6a8_25ba_047f_81a3, 0x9302_55c7_1472_f66d]);
        assert_eq!(of(&[0]), [0x44af_996b_d8c1_87da, 0x45fc_229b_1159_7634]);
    }

    #[test]
    fn the_map_agrees_with_a_model() {
        let mut map = KeyMap::with_slots_max(1 << 16);
        let mut model = BTreeMap::new();
        for i in 0..40_000i64 {
            let key = format!("key-{}", i * 7919 % 9_973);
            map.insert(key.as_bytes(), Offset(i)).expect("there is room");
            model.insert(key, Offset(i));
        }
        for (key, offset) in &model {
            assert_eq!(map.get(key.as_bytes()), Some(*offset));
        }
        assert_eq!(map.get(b"another"), None);
    }

    #[test]
    fn a_full_map_still_takes_keys_that_it_knows() {
        let mut map = KeyMap::with_slots_max(SLOTS_MIN);
        let room = SLOTS_MIN / 4 * 3;
        for i in 0..room {
            map.insert(&i.to_be_bytes(), Offset(i as i64)).expect("there is room");
        }
        assert_eq!(map.insert(b"one more", Offset(1000)), Err(MapFull));
        assert_eq!(map.insert(&5usize.to_be_bytes(), Offset(1001)), Ok(()));
        assert_eq!(map.get(&5usize.to_be_bytes()), Some(Offset(1001)));
        assert_eq!(map.get(b"one more"), None);
    }
}
