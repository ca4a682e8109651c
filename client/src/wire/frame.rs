//! Frames: the cutting of a byte stream into headers and bodies.
//!
//! ```text
//! connection:  "TIDE" | version u16 | frame | frame | ...            (each direction; integers little-endian)
//! frame:       length u32 | header length u32 | header (Cap'n Proto) | body (record batches)
//!                         '------------------------ length ------------------------------'
//! ```
//!
//! **Invariant:** no length from outside leads to an allocation before it has been held against its bound, and a
//! large frame's memory grows only as its bytes arrive.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidelog_core::{
    limits,
    record::{Batch, HEADER_BYTES},
};

/// What every connection begins with, in both directions.
pub const MAGIC: [u8; 4] = *b"TIDE";
/// The newest version of the framing that this build speaks.
pub const VERSION: u16 = 1;
/// Bytes of [`MAGIC`] and version.
pub const PREAMBLE_BYTES: usize = 6;

/// Frame length and header length.
const LENGTHS_BYTES: usize = 8;
/// What the frame length does not count: itself.
const LENGTH_PREFIX_BYTES: usize = 4;
/// The room that a read is given when no frame asks for more.
const READ_BYTES: usize = 256 << 10;
/// A frame up to this size gets its memory at once; that of a larger one doubles as its bytes come.
const FRAME_BYTES_AT_ONCE: usize = 2 << 20;

/// Why a byte stream is not a sequence of frames. The connection cannot go on after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first bytes are not [`MAGIC`]: something else is talking.
    #[error("the connection does not begin with \"TIDE\" but with {found:02x?}")]
    Magic {
        /// What it begins with.
        found: [u8; 4],
    },
    /// Version 0 does not exist.
    #[error("protocol version {version} does not exist")]
    Version {
        /// What was offered.
        version: u16,
    },
    /// The frame is larger than its receiver takes.
    #[error("a frame of {length} bytes exceeds the {limit} that are taken")]
    TooLarge {
        /// The frame's length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// The header is larger than any header may be.
    #[error("a header of {length} bytes exceeds the {limit} that are taken")]
    HeaderTooLarge {
        /// The header's length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// The header does not fit its frame.
    #[error("a header of {header} bytes does not fit a frame of {length}")]
    HeaderLength {
        /// The header's length.
        header: usize,
        /// The frame's length.
        length: usize,
    },
}

/// One frame, still encoded; both parts share the read buffer's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// A Cap'n Proto message.
    pub header: Bytes,
    /// Record batches.
    pub body: Bytes,
}

impl Frame {
    /// Bytes on the wire.
    pub fn size(&self) -> usize {
        LENGTHS_BYTES + self.header.len() + self.body.len()
    }
}

/// The bytes that open a connection, offering `version`.
pub fn preamble(version: u16) -> [u8; PREAMBLE_BYTES] {
    let [low, high] = version.to_le_bytes();
    let [t, i, d, e] = MAGIC;
    [t, i, d, e, low, high]
}

/// Cuts what was read from one connection into frames; it does no reading itself.
///
/// A driver reads into [`FrameReader::room`] (or hands bytes to [`FrameReader::feed`]) and calls
/// [`FrameReader::next`] until it gives nothing more.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    peer_version: Option<u16>,
}

impl FrameReader {
    /// At the start of a connection. Frames of more than `frame_bytes_max` are refused.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            frame_bytes_max: frame_bytes_max.min(limits::FRAME_BYTES_MAX),
            peer_version: None,
        }
    }

    /// Changes the bound, as when a client has introduced itself.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max.min(limits::FRAME_BYTES_MAX);
    }

    /// The version that the other side offered, once its preamble is here.
    pub fn peer_version(&self) -> Option<u16> {
        self.peer_version
    }

    /// The version that the other side offers, as soon as its preamble is here, whatever follows it.
    pub fn read_version(&mut self) -> Result<Option<u16>, FrameError> {
        if self.peer_version.is_none() {
            self.take_preamble()?;
        }
        Ok(self.peer_version)
    }

    /// The buffer to read into: it has room to append to. What is in it must not be changed.
    pub fn room(&mut self) -> &mut BytesMut {
        let room = self.buffer.capacity() - self.buffer.len();
        let wanted = self.missing();
        if wanted > room {
            // The rest of a frame that is under way, but of a huge one no more than has already come.
            self.buffer.reserve(wanted.min(FRAME_BYTES_AT_ONCE.max(self.buffer.len())));
        } else if room < READ_BYTES / 16 {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    /// Appends bytes, for a driver that has them already.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that were read and not yet taken as frames.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, or `None` until more bytes are there.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ends here can go on after more bytes")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.peer_version.is_none() && !self.take_preamble()? {
            return Ok(None);
        }
        let Some((length, header)) = self.lengths() else { return Ok(None) };
        if length > self.frame_bytes_max {
            return Err(FrameError::TooLarge { length, limit: self.frame_bytes_max });
        }
        if header > limits::NATIVE_HEADER_BYTES_MAX {
            return Err(FrameError::HeaderTooLarge { length: header, limit: limits::NATIVE_HEADER_BYTES_MAX });
        }
        if LENGTHS_BYTES - LENGTH_PREFIX_BYTES + header > length {
            return Err(FrameError::HeaderLength { header, length });
        }
        if self.buffer.len() < LENGTH_PREFIX_BYTES + length {
            return Ok(None);
        }
        let mut body = self.buffer.split_to(LENGTH_PREFIX_BYTES + length).freeze();
        body.advance(LENGTHS_BYTES);
        let header = body.split_to(header);
        Ok(Some(Frame { header, body }))
    }

    /// Judged byte by byte, so that somebody who speaks something else hears of it at once.
    fn take_preamble(&mut self) -> Result<bool, FrameError> {
        let begun = self.buffer.len().min(MAGIC.len());
        if self.buffer[..begun] != MAGIC[..begun] {
            let mut found = [0; 4];
            found[..begun].copy_from_slice(&self.buffer[..begun]);
            return Err(FrameError::Magic { found });
        }
        if self.buffer.len() < PREAMBLE_BYTES {
            return Ok(false);
        }
        let version = u16::from_le_bytes([self.buffer[4], self.buffer[5]]);
        if version == 0 {
            return Err(FrameError::Version { version });
        }
        self.buffer.advance(PREAMBLE_BYTES);
        self.peer_version = Some(version);
        Ok(true)
    }

    fn lengths(&self) -> Option<(usize, usize)> {
        let lengths = self.buffer.first_chunk::<LENGTHS_BYTES>()?;
        let [a, b, c, d, e, f, g, h] = *lengths;
        Some((u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize))
    }

    /// Bytes that the frame under way still needs; nothing for one that is out of bounds.
    fn missing(&self) -> usize {
        match self.lengths() {
            Some((length, _)) if self.peer_version.is_some() && length <= self.frame_bytes_max => {
                (LENGTH_PREFIX_BYTES + length).saturating_sub(self.buffer.len())
            }
            _ => 0,
        }
    }
}

/// An encoded frame as the pieces to write one after another: nothing of a record's bytes was copied.
#[derive(Clone, Debug, Default)]
pub struct EncodedFrame {
    pieces: Vec<Bytes>,
    size: usize,
}

/// The message does not fit a frame; the sender has to ask or answer in smaller portions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message with {header} bytes of header and {body} of records fits no frame")]
pub struct TooLargeToSend {
    /// The header's bytes.
    pub header: usize,
    /// The records' bytes.
    pub body: usize,
}

impl EncodedFrame {
    /// Made of pieces that another codec has written.
    pub fn from_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Vec<Bytes> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self { size: pieces.iter().map(Bytes::len).sum(), pieces }
    }

    /// The same behind these bytes.
    #[must_use]
    pub fn behind(mut self, first: &[u8]) -> Self {
        self.size += first.len();
        self.pieces.insert(0, Bytes::copy_from_slice(first));
        self
    }

    /// The pieces, none of them empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Takes the pieces.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// Bytes on the wire.
    pub fn size(&self) -> usize {
        self.size
    }

    /// All in one piece: a copy, for tests and for drivers without vectored writes.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size);
        for piece in &self.pieces {
            bytes.extend_from_slice(piece);
        }
        bytes.freeze()
    }
}

/// The batches that a message carries, in order.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    parts: Vec<Part<'a>>,
    size: usize,
    batches: usize,
}

#[derive(Debug)]
enum Part<'a> {
    Batch(&'a Batch),
    Bytes(&'a Bytes),
}

impl<'a> Body<'a> {
    /// Appends one batch and returns its size.
    pub(super) fn batch(&mut self, batch: &'a Batch) -> usize {
        self.parts.push(Part::Batch(batch));
        self.batches += 1;
        self.size += batch.size();
        batch.size()
    }

    /// Appends whole batches and returns their size.
    pub(super) fn bytes(&mut self, bytes: &'a Bytes) -> usize {
        self.parts.push(Part::Bytes(bytes));
        self.size += bytes.len();
        bytes.len()
    }
}

/// Puts a frame together from a header of `header_bytes`, which `write_header` appends, and a body. Small things
/// (lengths, header, the batches' headers) share one allocation; records are pieces of their own.
pub(super) fn encode(
    header_bytes: usize,
    write_header: impl FnOnce(&mut BytesMut),
    body: &Body<'_>,
) -> Result<EncodedFrame, TooLargeToSend> {
    let length = LENGTHS_BYTES - LENGTH_PREFIX_BYTES + header_bytes + body.size;
    if header_bytes > limits::NATIVE_HEADER_BYTES_MAX || length > limits::FRAME_BYTES_MAX {
        return Err(TooLargeToSend { header: header_bytes, body: body.size });
    }
    let mut small = BytesMut::with_capacity(LENGTHS_BYTES + header_bytes + HEADER_BYTES * body.batches);
    small.put_u32_le(u32::try_from(length).expect("held against its bound"));
    small.put_u32_le(u32::try_from(header_bytes).expect("held against its bound"));
    write_header(&mut small);
    assert_eq!(small.len(), LENGTHS_BYTES + header_bytes, "a header has the size that it announced");
    let mut pieces = Vec::with_capacity(1 + 2 * body.parts.len());
    for part in &body.parts {
        let shared = match part {
            Part::Batch(batch) => {
                small.extend_from_slice(&batch.header_bytes());
                batch.body()
            }
            Part::Bytes(bytes) => *bytes,
        };
        if !shared.is_empty() {
            if !small.is_empty() {
                pieces.push(small.split().freeze());
            }
            pieces.push(shared.clone());
        }
    }
    if !small.is_empty() {
        pieces.push(small.freeze());
    }
    Ok(EncodedFrame { pieces, size: LENGTH_PREFIX_BYTES + length })
}
