//! Zigzag variable-length integers, as records use them: small magnitudes take few bytes, whatever their sign.
//!
//! ```text
//! value   0  -1   1  -2   2 ...   zigzag to   0 1 2 3 4 ...
//! then seven bits a byte, lowest first; the top bit says that another byte follows
//! ```

/// The most bytes of a 64-bit value.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// Appends a 64-bit value. A 32-bit one has the same bytes, so there is no second function for those.
#[inline]
pub(crate) fn put(buf: &mut alloc::vec::Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    if rest < 0x80 {
        buf.push(rest as u8);
        return;
    }
    let mut bytes = [0u8; VARLONG_BYTES_MAX];
    let mut at = 0;
    while rest >= 0x80 {
        bytes[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    bytes[at] = rest as u8;
    buf.extend_from_slice(&bytes[..=at]);
}

/// Bytes that [`put`] appends.
#[inline]
pub(crate) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Takes a 64-bit value off the front; `None` when the bytes end first or encode more than 64 bits.
#[inline]
pub(crate) fn take_long(bytes: &mut &[u8]) -> Option<i64> {
    if let Some((&first, rest)) = bytes.split_first()
        && first < 0x80
    {
        *bytes = rest;
        return Some(unzigzag(u64::from(first)));
    }
    let mut raw = 0u64;
    for (at, &byte) in bytes.iter().take(VARLONG_BYTES_MAX).enumerate() {
        if at == VARLONG_BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        raw |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(unzigzag(raw));
        }
    }
    None
}

/// Takes a 32-bit value off the front; `None` also when it does not fit.
#[inline]
pub(crate) fn take_int(bytes: &mut &[u8]) -> Option<i32> {
    i32::try_from(take_long(bytes)?).ok()
}

#[inline]
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
const fn unzigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn encodings_are_kafkas() {
        for (value, bytes) in [
            (0i64, &[0u8][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut buf = Vec::new();
            put(&mut buf, value);
            assert_eq!(buf, bytes, "{value}");
        }
    }

    #[test]
    fn broken_encodings_are_refused() {
        assert_eq!(take_long(&mut &[][..]), None);
        assert_eq!(take_long(&mut &[0x80, 0x80][..]), None, "it ends in the middle");
        assert_eq!(take_long(&mut &[0xff; 11][..]), None, "it never ends");
        assert_eq!(take_long(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2][..]), None, "65 bits");
        assert_eq!(take_int(&mut &[0x80, 0x80, 0x80, 0x80, 0x20][..]), None, "more than 32 bits");
    }

    proptest! {
        #[test]
        fn round_trip(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let mut buf = Vec::new();
            put(&mut buf, value);
            prop_assert_eq!(buf.len(), size(value));
            let mut rest = &buf[..];
            prop_assert_eq!(take_long(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }
}
