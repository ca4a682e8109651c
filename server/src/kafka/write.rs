//! Kafka's primitive types, written into one response.
//!
//! A response is its *envelope*, which is written here field by field, with record batches spliced in between as the
//! `Bytes` that they arrived in: the socket gets both in one vectored write and no payload is copied.
//!
//! ```text
//! envelope  [size][correlation]..[topic][partition][records size]              [next partition]..
//! splices                                                        [batch][batch]
//! ```

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};
use tidelog_core::{ids::TopicId, message::Records};

/// Bytes below this are copied into the envelope: cheaper than one more piece in the vectored write.
const SPLICE_BYTES_MIN: usize = 256;
/// The frame's size field.
const SIZE_BYTES: usize = 4;

/// A response that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    envelope: Vec<u8>,
    /// Each stands before the envelope's byte of that number.
    splices: Vec<(usize, Bytes)>,
    spliced: usize,
    flexible: bool,
}

impl Writer {
    /// An empty response; what comes first is the header's.
    pub(super) fn new() -> Self {
        let mut envelope = Vec::with_capacity(256);
        envelope.extend_from_slice(&[0; SIZE_BYTES]);
        Self { envelope, splices: Vec::new(), spliced: 0, flexible: false }
    }

    /// From here on lengths are varints and structures end in tags, or not.
    pub(super) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.envelope.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.envelope.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.envelope.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.envelope.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    pub(super) fn topic_id(&mut self, id: TopicId) {
        self.envelope.extend_from_slice(&id.0);
    }

    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.envelope.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.envelope.push(value as u8);
    }

    /// A count or length of 32 bits; nothing that we answer has 2³¹ of anything.
    fn length(&mut self, length: usize) {
        let length = i32::try_from(length).expect("a response is far below 2 GiB");
        if self.flexible { self.uvarint(length.cast_unsigned() + 1) } else { self.i32(length) }
    }

    pub(super) fn string(&mut self, text: &str) {
        if self.flexible {
            self.length(text.len());
            self.envelope.extend_from_slice(text.as_bytes());
        } else {
            // Classic strings have 15 bits of length. Names are far shorter; a text for people may lose its end.
            let mut end = text.len().min(i16::MAX as usize);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            self.i16(end as i16);
            self.envelope.extend_from_slice(&text.as_bytes()[..end]);
        }
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None if self.flexible => self.uvarint(0),
            None => self.i16(-1),
        }
    }

    /// A null array.
    pub(super) fn null_array(&mut self) {
        if self.flexible { self.uvarint(0) } else { self.i32(-1) }
    }

    /// An array of what `elements` yields, each written by `element`.
    pub(super) fn array<T>(
        &mut self,
        elements: impl ExactSizeIterator<Item = T>,
        mut element: impl FnMut(&mut Self, T),
    ) {
        self.length(elements.len());
        for one in elements {
            element(self, one);
        }
    }

    /// An array of neighbours in `items` that share `key`: Kafka nests partitions in their topic, the core does not.
    pub(super) fn groups<T, K: PartialEq>(
        &mut self,
        items: &[T],
        key: impl Fn(&T) -> K,
        mut group: impl FnMut(&mut Self, &[T]),
    ) {
        let same = |a: &T, b: &T| key(a) == key(b);
        self.length(items.chunk_by(same).count());
        for chunk in items.chunk_by(same) {
            group(self, chunk);
        }
    }

    /// The end of a structure without tagged fields.
    pub(super) fn end(&mut self) {
        if self.flexible {
            self.uvarint(0);
        }
    }

    /// The end of a structure with this one tagged field.
    pub(super) fn end_with_tag(&mut self, tag: u32, field: impl FnOnce(&mut Self)) {
        debug_assert!(self.flexible, "tagged fields exist in flexible versions only");
        let mut sub = Self { envelope: Vec::new(), splices: Vec::new(), spliced: 0, flexible: true };
        field(&mut sub);
        self.uvarint(1);
        self.uvarint(tag);
        self.uvarint(sub.envelope.len() as u32);
        self.envelope.extend_from_slice(&sub.envelope);
    }

    /// Batches as a `records` field: an empty field where there are none, never null.
    pub(super) fn records(&mut self, records: &Records) {
        match records {
            Records::Empty => self.length(0),
            Records::Bytes(bytes) => {
                self.length(bytes.len());
                self.splice(bytes);
            }
            Records::Batches(batches) => {
                self.length(batches.iter().map(|batch| batch.size()).sum());
                for batch in batches {
                    self.envelope.extend_from_slice(&batch.header_bytes());
                    self.splice(batch.body());
                }
            }
            Records::Log(_) => unreachable!("the driver resolves log reads before a listener sees them"),
        }
    }

    fn splice(&mut self, bytes: &Bytes) {
        if bytes.len() < SPLICE_BYTES_MIN {
            self.envelope.extend_from_slice(bytes);
        } else {
            self.spliced += bytes.len();
            self.splices.push((self.envelope.len(), bytes.clone()));
        }
    }

    /// The whole frame, its size in front.
    pub(super) fn finish(mut self) -> Frame {
        let size = i32::try_from(self.envelope.len() - SIZE_BYTES + self.spliced).expect("a response is below 2 GiB");
        self.envelope[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
        let remaining = self.envelope.len() + self.spliced;
        let mut envelope = Bytes::from(self.envelope);
        let mut pieces = VecDeque::with_capacity(2 * self.splices.len() + 1);
        let mut cut = 0;
        for (at, bytes) in self.splices {
            if at > cut {
                pieces.push_back(envelope.split_to(at - cut));
            }
            pieces.push_back(bytes);
            cut = at;
        }
        if !envelope.is_empty() {
            pieces.push_back(envelope);
        }
        Frame { pieces, remaining }
    }
}

/// A frame on its way into a socket, piece by piece.
#[derive(Debug)]
pub(super) struct Frame {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Frame {
    /// The pieces in their order.
    pub(super) fn into_pieces(self) -> VecDeque<Bytes> {
        self.pieces
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        used
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "cannot advance past the end");
        self.remaining -= count;
        while count > 0 {
            let piece = self.pieces.front_mut().expect("remaining bytes are in some piece");
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_spliced_in_their_place_without_a_copy() {
        let records = Bytes::from(vec![7u8; 1000]);
        let address = records.as_ptr();
        let mut w = Writer::new();
        w.i32(1);
        w.records(&Records::Bytes(records));
        w.i32(2);
        let frame = w.finish();
        assert_eq!(frame.pieces.len(), 3);
        assert_eq!(frame.pieces[1].as_ptr(), address);
        let mut bytes = Vec::new();
        bytes::BufMut::put(&mut bytes, frame);
        assert_eq!(bytes.len(), 4 + 4 + 4 + 1000 + 4);
        assert_eq!(bytes[..4], 1012i32.to_be_bytes());
        assert_eq!(bytes[8..12], 1000i32.to_be_bytes());
        assert_eq!(bytes[1012..], 2i32.to_be_bytes());
    }

    #[test]
    fn a_classic_string_is_cut_at_a_character() {
        let mut w = Writer::new();
        w.string(&"é".repeat(20_000));
        let mut frame = w.finish();
        frame.advance(4);
        assert_eq!(frame.get_i16(), 32_766);
        assert_eq!(frame.remaining(), 32_766);
    }
}
