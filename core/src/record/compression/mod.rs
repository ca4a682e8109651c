//! The four codecs of batch bodies, behind two functions.
//!
//! Compressed bytes come from outside and may be made to explode: what a body says of its own size is never
//! believed, output grows as it is produced, and it stops at a bound. The codec crates speak std's io traits, so
//! the files in this folder, and no others of the core, name std.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use alloc::vec::Vec;

use bytes::Bytes;

use super::{BatchError, Compression};

/// Why a codec stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The bytes are not of this codec.
    Data,
    /// They are, but the output passes the bound.
    TooLarge,
}

/// Decompresses a body to at most `limit` bytes. An uncompressed one is shared, whatever its size.
pub(crate) fn decompress(codec: Compression, body: &Bytes, limit: usize) -> Result<Bytes, BatchError> {
    let unpacked = match codec {
        Compression::None => return Ok(body.clone()),
        Compression::Gzip => gzip::decompress(body, limit),
        Compression::Snappy => snappy::decompress(body, limit),
        Compression::Lz4 => lz4::decompress(body, limit),
        Compression::Zstd => zstd::decompress(body, limit),
    };
    match unpacked {
        Ok(bytes) => Ok(bytes.into()),
        Err(Broken::Data) => Err(BatchError::Compressed { codec }),
        Err(Broken::TooLarge) => Err(BatchError::TooLarge { limit }),
    }
}

/// Compresses a body. `level` is the codec's own scale (gzip 1 to 9, zstd up to 22; the others have none), clamped
/// to it; `None` is the codec's default, as Kafka's clients have it (KIP-390).
pub(crate) fn compress(codec: Compression, level: Option<i32>, plain: Vec<u8>) -> Vec<u8> {
    match codec {
        Compression::None => plain,
        Compression::Gzip => gzip::compress(&plain, level),
        Compression::Snappy => snappy::compress(&plain),
        Compression::Lz4 => lz4::compress(&plain),
        Compression::Zstd => zstd::compress(&plain, level),
    }
}

/// Drains a decoder into memory that grows with what comes out, from `packed` bytes as a first guess.
fn read_bounded(
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Broken>,
    packed: usize,
    limit: usize,
) -> Result<Vec<u8>, Broken> {
    const STEP_BYTES_MIN: usize = 4 << 10;
    let mut out = Vec::new();
    let mut filled = 0;
    loop {
        if filled == out.len() {
            // One byte past the limit tells "full" from "too large".
            let room = out.len().max(packed.saturating_mul(2)).max(STEP_BYTES_MIN).min(limit + 1 - filled);
            out.resize(filled + room, 0);
        }
        match read(&mut out[filled..])? {
            0 => break,
            n => filled += n,
        }
        if filled > limit {
            return Err(Broken::TooLarge);
        }
    }
    out.truncate(filled);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn pack(codec: Compression, plain: &[u8]) -> Bytes {
        compress(codec, None, plain.to_vec()).into()
    }

    /// Text that compresses somewhat, of any size up to a few blocks of every codec.
    fn plain() -> impl Strategy<Value = Vec<u8>> {
        (prop::collection::vec(any::<u8>(), 0..300), 0usize..1000)
            .prop_map(|(piece, times)| piece.iter().copied().cycle().take(piece.len() * times).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn round_trip(plain in plain()) {
            for codec in CODECS {
                let packed = pack(codec, &plain);
                let unpacked = decompress(codec, &packed, plain.len());
                prop_assert_eq!(unpacked.as_deref(), Ok(&plain[..]), "{:?}", codec);
            }
        }

        #[test]
        fn broken_bytes_are_an_error_or_something_else_but_never_a_panic(
            plain in plain(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index,
        ) {
            for codec in CODECS {
                let mut packed = pack(codec, &plain).to_vec();
                if packed.is_empty() { continue }
                for (at, with) in &flips {
                    let at = at.index(packed.len());
                    packed[at] ^= with;
                }
                packed.truncate(cut.index(packed.len()) + 1);
                if let Ok(out) = decompress(codec, &packed.into(), 1 << 20) {
                    prop_assert!(out.len() <= 1 << 20);
                }
            }
        }

        #[test]
        fn noise_is_no_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            for codec in CODECS {
                let _ = decompress(codec, &noise.clone().into(), 1 << 16);
            }
        }
    }

    #[test]
    fn output_stops_at_the_bound() {
        let plain = vec![7u8; 1 << 20];
        for codec in &CODECS[1..] {
            let packed = pack(*codec, &plain);
            assert!(packed.len() < plain.len() / 10, "{codec:?} packs a constant");
            assert_eq!(decompress(*codec, &packed, plain.len()).as_deref(), Ok(&plain[..]));
            assert_eq!(
                decompress(*codec, &packed, plain.len() - 1),
                Err(BatchError::TooLarge { limit: plain.len() - 1 }),
                "{codec:?}"
            );
        }
    }

    #[test]
    fn a_torn_body_is_broken() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|i| (i / 3).to_be_bytes()).collect();
        for codec in &CODECS[1..] {
            let packed = pack(*codec, &plain);
            for cut in [1, packed.len() / 2, packed.len() - 1] {
                let torn = decompress(*codec, &packed.slice(..cut), plain.len());
                assert_eq!(torn, Err(BatchError::Compressed { codec: *codec }), "{codec:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn levels_outside_the_scale_are_clamped() {
        for codec in CODECS {
            for level in [i32::MIN, 0, 1, 9, i32::MAX] {
                let packed = compress(codec, Some(level), b"some bytes".to_vec());
                assert_eq!(
                    decompress(codec, &packed.into(), 100).as_deref(),
                    Ok(&b"some bytes"[..]),
                    "{codec:?} {level}"
                );
            }
        }
    }
}
