//! Snappy, in the framing of the xerial library that Kafka's Java client brought into the world.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version 1 | compatible with 1 | then blocks: length | raw snappy of up to 32 KiB
//! ```
//!
//! All integers are four bytes, big-endian. Without that magic, the whole body is one raw block, as librdkafka
//! writes it.

use alloc::{vec, vec::Vec};

use super::Broken;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const FRAME_HEADER_BYTES: usize = 16;
const BLOCK_BYTES: usize = 32 << 10;

/// A copy of three bytes gives 64: no honest block grows by more, so a length past it is a lie not to allocate for.
const EXPANSION_MAX: usize = 22;

pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::new();
    let mut decoder = snap::raw::Decoder::new();
    if !packed.starts_with(&MAGIC) {
        block(&mut decoder, packed, &mut out, limit)?;
        return Ok(out);
    }
    let mut blocks = packed.get(FRAME_HEADER_BYTES..).ok_or(Broken::Data)?;
    while !blocks.is_empty() {
        let (length, rest) = blocks.split_first_chunk::<4>().ok_or(Broken::Data)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Broken::Data)?;
        // Streams written one after another are one stream, so a header may stand where a length is due.
        if length == u32::from_be_bytes([MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3]]) as usize && blocks.starts_with(&MAGIC)
        {
            blocks = blocks.get(FRAME_HEADER_BYTES..).ok_or(Broken::Data)?;
            continue;
        }
        let (packed, rest) = rest.split_at_checked(length).ok_or(Broken::Data)?;
        block(&mut decoder, packed, &mut out, limit)?;
        blocks = rest;
    }
    Ok(out)
}

fn block(decoder: &mut snap::raw::Decoder, packed: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Broken> {
    let length = snap::raw::decompress_len(packed).map_err(|_| Broken::Data)?;
    if length > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(Broken::Data);
    }
    if length > limit - out.len() {
        return Err(Broken::TooLarge);
    }
    let start = out.len();
    out.resize(start + length, 0);
    match decoder.decompress(packed, &mut out[start..]) {
        Ok(written) if written == length => Ok(()),
        _ => Err(Broken::Data),
    }
}

pub(super) fn compress(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() / 2 + 64);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    let mut room = vec![0; snap::raw::max_compress_len(plain.len().min(BLOCK_BYTES))];
    for piece in plain.chunks(BLOCK_BYTES) {
        let length = encoder.compress(piece, &mut room).expect("the room is as large as a block can become");
        out.extend_from_slice(&u32::try_from(length).expect("a block is below 64 KiB").to_be_bytes());
        out.extend_from_slice(&room[..length]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_block_is_read() {
        let plain = b"librdkafka librdkafka librdkafka librdkafka";
        let packed = snap::raw::Encoder::new().compress_vec(plain).expect("it is short");
        assert_eq!(decompress(&packed, 100).as_deref(), Ok(&plain[..]));
    }

    #[test]
    fn a_lie_about_the_length_costs_nothing() {
        // 4 GiB less one, in five bytes.
        assert_eq!(decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f], usize::MAX), Err(Broken::Data));
    }

    #[test]
    fn streams_in_a_row_are_one() {
        let two: Vec<u8> = [compress(b"one "), compress(b"two")].concat();
        assert_eq!(decompress(&two, 100).as_deref(), Ok(&b"one two"[..]));
    }
}
