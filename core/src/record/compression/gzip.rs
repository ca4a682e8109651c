//! gzip (RFC 1952), by way of a pure Rust inflate.

extern crate std;

use alloc::vec::Vec;
use std::io::{Read, Write};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};

use super::{Broken, read_bounded};

pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Vec<u8>, Broken> {
    // Several members in a row are one stream, as for Java's reader.
    let mut decoder = MultiGzDecoder::new(packed);
    read_bounded(|buf| decoder.read(buf).map_err(|_| Broken::Data), packed.len(), limit)
}

pub(super) fn compress(plain: &[u8], level: Option<i32>) -> Vec<u8> {
    let level = level.map_or(Compression::default(), |l| Compression::new(l.clamp(1, 9).cast_unsigned()));
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2 + 64), level);
    encoder.write_all(plain).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}
