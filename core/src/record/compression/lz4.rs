//! LZ4 frames. Blocks that refer to those before them are read too: Python's clients write such.

extern crate std;

use alloc::vec::Vec;
use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Broken, read_bounded};

pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, Broken> {
    let mut rest = packed;
    let out = {
        let mut decoder = FrameDecoder::new(&mut rest);
        read_bounded(|buf| decoder.read(buf).map_err(|_| Broken::Data), packed.len(), limit)?
    };
    // The decoder takes the end of its input for the end of the frame; a whole frame ends in a zero word, which a
    // content checksum may follow.
    let whole = rest.is_empty() && packed.len() >= FRAME_BYTES_MIN && ends_in_end_mark(packed);
    if whole { Ok(out) } else { Err(Broken::Data) }
}

/// Magic, descriptor and end mark.
const FRAME_BYTES_MIN: usize = 4 + 3 + 4;

fn ends_in_end_mark(packed: &[u8]) -> bool {
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    let end = if packed[4] & CONTENT_CHECKSUM != 0 { packed.len() - 4 } else { packed.len() };
    packed[..end].ends_with(&[0; 4])
}

pub(super) fn compress(plain: &[u8]) -> Vec<u8> {
    // Independent 64 KiB blocks without checksums of their own, as Java's client writes them.
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(plain.len() / 2 + 64));
    encoder.write_all(plain).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}
