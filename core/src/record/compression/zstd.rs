//! Zstandard (KIP-110), by way of its reference library.

extern crate std;

use alloc::vec::Vec;
use std::io::{Read, Write};

use super::{Broken, read_bounded};

/// The largest window that a frame may ask for, as the power of two: the library's own bound, which level 22 reaches.
const WINDOW_LOG_MAX: u32 = 27;

pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, Broken> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| Broken::Data)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|_| Broken::Data)?;
    read_bounded(|buf| decoder.read(buf).map_err(|_| Broken::Data), packed.len(), limit)
}

pub(super) fn compress(plain: &[u8], level: Option<i32>) -> Vec<u8> {
    let scale = zstd::compression_level_range();
    let level = level.map_or(zstd::DEFAULT_COMPRESSION_LEVEL, |l| l.clamp(*scale.start(), *scale.end()));
    let out = Vec::with_capacity(plain.len() / 2 + 64);
    let mut encoder = zstd::stream::write::Encoder::new(out, level).expect("a level of the scale is accepted");
    encoder.set_pledged_src_size(Some(plain.len() as u64)).expect("nothing has been written yet");
    encoder.write_all(plain).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}
