//! Kafka's primitive types, read from one frame.
//!
//! Every Kafka message is a sequence of these. Up to a version that each message has of its own, lengths are
//! 16 or 32 bits; from there on ("flexible", KIP-482) they are varints, off by one so that 0 can say null, and every
//! structure ends in tagged fields that an older reader skips:
//!
//! ```text
//! string    classic  i16 length, -1 null          array  i32 count, -1 null
//!           flexible uvarint length+1, 0 null             uvarint count+1, 0 null
//! tags      flexible uvarint count, then each: uvarint tag, uvarint size, size bytes
//! ```
//!
//! **Invariant:** a frame costs no more than its own bytes promise. Nothing is allocated from a count or a length
//! before it has been held against the bytes that are left, and one frame names at most [`REQUEST_ITEMS_MAX`] things.

use bytes::Bytes;
use tidelog_core::{ids::TopicId, limits::REQUEST_ITEMS_MAX};

/// Why a frame is not the message that its header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// The frame ends inside a field.
    #[error("the frame ends inside a field at byte {at}")]
    Truncated {
        /// Where the field begins.
        at: usize,
    },
    /// A length or count below -1, or past the end of the frame.
    #[error("length {length} at byte {at} is impossible")]
    Length {
        /// Where it stands.
        at: usize,
        /// What stands there.
        length: i64,
    },
    /// Null where this version has no null.
    #[error("null at byte {at} where a value must be")]
    Null {
        /// Where it stands.
        at: usize,
    },
    /// Text that is not UTF-8.
    #[error("text at byte {at} is not UTF-8")]
    Utf8 {
        /// Where it begins.
        at: usize,
    },
    /// A varint that goes on past 32 bits.
    #[error("the varint at byte {at} is too long")]
    Varint {
        /// Where it begins.
        at: usize,
    },
    /// More topics, partitions, settings and tags than any request names.
    #[error("the request names more than {REQUEST_ITEMS_MAX} things")]
    Items,
    /// A value that the protocol does not define.
    #[error("{field} cannot be {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// What stands there.
        value: i64,
    },
}

/// A place in a frame, and how lengths are written there.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
    flexible: bool,
    items: usize,
}

impl<'a> Reader<'a> {
    /// The start of `frame`, whose first fields are a request header's: classic.
    pub(super) fn new(frame: &'a Bytes) -> Self {
        Self { frame, at: 0, end: frame.len(), flexible: false, items: 0 }
    }

    /// From here on lengths are varints and structures end in tags, or not.
    pub(super) fn set_flexible(&mut self, flexible: bool) {
        self.flexible = flexible;
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.end - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        if self.remaining() < count {
            return Err(WireError::Truncated { at: self.at });
        }
        let taken = &self.frame[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(*self.take(N)?.first_chunk::<N>().expect("take gave N bytes"))
    }

    pub(super) fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array_of()?))
    }

    pub(super) fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array_of()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array_of()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array_of()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.i8()? != 0)
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, WireError> {
        Ok(TopicId(self.array_of()?))
    }

    fn uvarint(&mut self) -> Result<u32, WireError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array_of()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::Varint { at: start });
            }
        }
        Err(WireError::Varint { at: start })
    }

    /// A length that was held against the rest of the frame; `None` is null.
    fn length(
        &mut self,
        classic: impl FnOnce(&mut Self) -> Result<i64, WireError>,
    ) -> Result<Option<usize>, WireError> {
        let at = self.at;
        let length = if self.flexible { i64::from(self.uvarint()?) - 1 } else { classic(self)? };
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            _ => Err(WireError::Length { at, length }),
        }
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a str>, WireError> {
        let Some(length) = self.length(|r| r.i16().map(i64::from))? else { return Ok(None) };
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| WireError::Utf8 { at })
    }

    pub(super) fn string(&mut self) -> Result<&'a str, WireError> {
        let at = self.at;
        self.nullable_string()?.ok_or(WireError::Null { at })
    }

    /// Opaque bytes, shared with the frame.
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(length) = self.length(|r| r.i32().map(i64::from))? else { return Ok(None) };
        let start = self.at;
        self.take(length)?;
        Ok(Some(self.frame.slice(start..self.at)))
    }

    /// Runs `element` for each element of an array; false when the array is null.
    pub(super) fn each_nullable(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), WireError>,
    ) -> Result<bool, WireError> {
        // An element has at least one byte, so a count that passes the check is backed by the frame.
        let Some(count) = self.length(|r| r.i32().map(i64::from))? else { return Ok(false) };
        self.count_items(count)?;
        for _ in 0..count {
            element(self)?;
        }
        Ok(true)
    }

    /// [`Reader::each_nullable`] where null is not allowed.
    pub(super) fn each(&mut self, element: impl FnMut(&mut Self) -> Result<(), WireError>) -> Result<(), WireError> {
        let at = self.at;
        if self.each_nullable(element)? { Ok(()) } else { Err(WireError::Null { at }) }
    }

    /// An array's elements, each made by `element`.
    pub(super) fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<Vec<T>>, WireError> {
        let mut elements = Vec::new();
        let some = self.each_nullable(|r| {
            elements.push(element(r)?);
            Ok(())
        })?;
        Ok(some.then_some(elements))
    }

    /// [`Reader::nullable_array`] where null is not allowed.
    pub(super) fn array<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let at = self.at;
        self.nullable_array(element)?.ok_or(WireError::Null { at })
    }

    /// The end of a structure: skips its tagged fields, if this version has any.
    pub(super) fn end(&mut self) -> Result<(), WireError> {
        self.tags(|_, _| Ok(()))
    }

    /// The end of a structure with tagged fields of which some are `known`; what `known` leaves unread is skipped.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.uvarint()?;
        for _ in 0..count {
            self.count_items(1)?;
            let tag = self.uvarint()?;
            let at = self.at;
            let size = self.uvarint()?;
            let end = self.at + size as usize;
            if end > self.end {
                return Err(WireError::Length { at, length: i64::from(size) });
            }
            let mut field = Self { end, ..self.clone() };
            known(tag, &mut field)?;
            self.items = field.items;
            self.at = end;
        }
        Ok(())
    }

    fn count_items(&mut self, count: usize) -> Result<(), WireError> {
        self.items = self.items.saturating_add(count);
        if self.items > REQUEST_ITEMS_MAX { Err(WireError::Items) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8], flexible: bool) -> (Bytes, bool) {
        (Bytes::from_static(bytes), flexible)
    }

    fn read<T>(
        (frame, flexible): (Bytes, bool),
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let mut r = Reader::new(&frame);
        r.set_flexible(flexible);
        read(&mut r)
    }

    #[test]
    fn strings_are_classic_or_flexible() {
        assert_eq!(read(reader(b"\0\x02hi", false), |r| r.string().map(str::to_owned)), Ok("hi".into()));
        assert_eq!(read(reader(b"\x03hi", true), |r| r.string().map(str::to_owned)), Ok("hi".into()));
        assert_eq!(read(reader(b"\xff\xff", false), |r| r.string().map(str::to_owned)), Err(WireError::Null { at: 0 }));
        assert_eq!(read(reader(b"\0", true), |r| r.nullable_string().map(|s| s.is_none())), Ok(true));
        assert_eq!(
            read(reader(b"\xff\xfe", false), |r| r.nullable_string().map(|_| ())),
            Err(WireError::Length { at: 0, length: -2 })
        );
        assert_eq!(read(reader(b"\x03\xff\xff", true), |r| r.string().map(|_| ())), Err(WireError::Utf8 { at: 1 }));
    }

    #[test]
    fn a_count_without_bytes_behind_it_is_refused_before_anything_is_allocated() {
        let huge = |r: &mut Reader<'_>| r.array(|r| r.i8()).map(|_| ());
        assert_eq!(
            read(reader(b"\x7f\xff\xff\xff", false), huge),
            Err(WireError::Length { at: 0, length: i64::from(i32::MAX) })
        );
        assert_eq!(
            read(reader(b"\xff\xff\xff\xff\x0f", true), huge),
            Err(WireError::Length { at: 0, length: i64::from(u32::MAX) - 1 })
        );
        assert_eq!(read(reader(b"\xff\xff\xff\xff\xff\x0f", true), huge), Err(WireError::Varint { at: 0 }));
    }

    #[test]
    fn a_frame_names_a_bounded_number_of_things() {
        let mut frame = (REQUEST_ITEMS_MAX as u32 + 1).to_be_bytes().to_vec();
        frame.resize(REQUEST_ITEMS_MAX + 100, 0);
        let frame = Bytes::from(frame);
        assert_eq!(Reader::new(&frame).array(Reader::i8).map(|_| ()), Err(WireError::Items));
    }

    #[test]
    fn unknown_tags_are_skipped_and_known_ones_read() {
        // Two tags: 7 with three bytes, 1 with an i32.
        let frame = Bytes::from_static(b"\x02\x07\x03abc\x01\x04\0\0\0\x09\x55");
        let mut r = Reader::new(&frame);
        r.set_flexible(true);
        let mut found = None;
        r.tags(|tag, field| {
            if tag == 1 {
                found = Some(field.i32()?);
            }
            Ok(())
        })
        .expect("both tags are whole");
        assert_eq!((found, r.remaining()), (Some(9), 1));
    }

    #[test]
    fn a_tag_cannot_reach_past_the_frame() {
        assert_eq!(read(reader(b"\x01\x00\x05ab", true), |r| r.end()), Err(WireError::Length { at: 2, length: 5 }));
    }
}
