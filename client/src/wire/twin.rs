//! Core's types and their Cap'n Proto twins: the means by which one becomes the other.
//!
//! **Invariant:** what a header makes us allocate is bounded by the header's own size: list lengths are held against
//! the words that are there before anything is reserved for them, and Cap'n Proto's traversal limit sees to it that
//! no word is followed twice over.

use bytes::Bytes;
use capnp::{
    message::ReaderOptions,
    primitive_list, struct_list, text, text_list,
    traits::{Owned, OwnedStruct},
};
use tidelog_core::{
    ids::{NodeId, TopicName},
    message::ErrorCode,
    time::Duration,
};
use tidelog_schemas::native_capnp as schema;

use super::hello::Surroundings;

/// Why a frame's header or body is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The header is not Cap'n Proto, or points outside of itself, or at itself.
    #[error("the header is not a Cap'n Proto message: {0}")]
    Capnp(String),
    /// A text is not UTF-8.
    #[error("a text in the header is not UTF-8")]
    Text,
    /// A kind of message, or a choice within one, that this build does not know: the sender is newer.
    #[error("{what} of this message is not known to this version")]
    Unknown {
        /// What was to be chosen.
        what: &'static str,
    },
    /// A number that its field cannot have.
    #[error("{what} cannot be {value}")]
    Value {
        /// The field.
        what: &'static str,
        /// The number.
        value: i64,
    },
    /// More elements in lists than the header has room for, or than one request may name.
    #[error("the message lists more than {limit} items")]
    TooManyItems {
        /// The bound.
        limit: usize,
    },
    /// The header's byte counts are not those of the body.
    #[error("the header speaks of {counted} bytes of records, the body has {present}")]
    Body {
        /// The sum of the header's counts.
        counted: usize,
        /// The body's size.
        present: usize,
    },
    /// Something handed on that nobody hands on: a greeting, or what only nodes say to each other.
    #[error("this kind of message cannot be handed on")]
    Nested,
    /// Bytes after the header's message.
    #[error("{extra} bytes follow the message in its header")]
    Trailing {
        /// How many.
        extra: usize,
    },
}

impl DecodeError {
    /// What a node answers to such a request.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. } => ErrorCode::UnsupportedVersion,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

impl From<capnp::Error> for DecodeError {
    fn from(error: capnp::Error) -> Self {
        Self::Capnp(error.to_string())
    }
}

impl From<core::str::Utf8Error> for DecodeError {
    fn from(_: core::str::Utf8Error) -> Self {
        Self::Text
    }
}

/// What is left to take while a message is read.
#[derive(Debug)]
pub(super) struct Source {
    body: Bytes,
    body_bytes: usize,
    counted: usize,
    items_left: usize,
    items_max: usize,
    surroundings: Surroundings,
}

impl Source {
    /// For a message with this body, whose lists may have `items_max` elements in all.
    pub(super) fn new(body: Bytes, items_max: usize) -> Self {
        Self {
            body_bytes: body.len(),
            body,
            counted: 0,
            items_left: items_max,
            items_max,
            surroundings: Surroundings::default(),
        }
    }

    /// The next `length` bytes of the body.
    pub(super) fn take_body(&mut self, length: u32) -> Result<Bytes, DecodeError> {
        let length = length as usize;
        self.counted = self.counted.saturating_add(length);
        if length > self.body.len() {
            return Err(DecodeError::Body { counted: self.counted, present: self.body_bytes });
        }
        Ok(self.body.split_to(length))
    }

    /// Keeps what the message says beside core's own terms.
    pub(super) fn surroundings(&mut self) -> &mut Surroundings {
        &mut self.surroundings
    }

    /// The body must have been used up.
    pub(super) fn finish(self) -> Result<Surroundings, DecodeError> {
        if self.body.is_empty() {
            Ok(self.surroundings)
        } else {
            Err(DecodeError::Body { counted: self.counted, present: self.body_bytes })
        }
    }

    fn take_items(&mut self, count: u32) -> Result<usize, DecodeError> {
        let count = count as usize;
        match self.items_left.checked_sub(count) {
            Some(left) => {
                self.items_left = left;
                Ok(count)
            }
            None => Err(DecodeError::TooManyItems { limit: self.items_max }),
        }
    }
}

/// Bounds for reading a header of this size. Every word is read about once; following one a second time is allowed,
/// a thousandth time is an attack.
pub(super) fn reader_options(header_bytes: usize) -> ReaderOptions {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(header_bytes / 8 * 2 + 64)).nesting_limit(16);
    options
}

pub(super) type Reader<'a, T> = <<T as Twin>::Wire as OwnedStruct>::Reader<'a>;
pub(super) type Builder<'a, T> = <<T as Twin>::Wire as OwnedStruct>::Builder<'a>;

/// A type of core's that has a Cap'n Proto struct.
pub(super) trait Twin: Sized {
    /// The struct.
    type Wire: OwnedStruct + Owned;
    /// Fills the struct.
    fn write(&self, to: Builder<'_, Self>);
    /// Reads the struct.
    fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError>;
}

/// The twin of a struct that is one list and nothing else.
macro_rules! list_twin {
    ($type:ident, $wire:ident, $field:ident: $init:ident, $get:ident) => {
        impl Twin for $type {
            type Wire = schema::$wire::Owned;

            fn write(&self, to: Builder<'_, Self>) {
                write_list(&self.$field, to.$init(len(&self.$field)));
            }

            fn read(from: Reader<'_, Self>, source: &mut Source) -> Result<Self, DecodeError> {
                Ok(Self { $field: read_list(from.$get()?, source)? })
            }
        }
    };
}

/// Writes a text field that may be null.
macro_rules! write_optional_text {
    ($text:expr, $to:ident.$set:ident) => {
        if let Some(text) = $text {
            $to.$set(text);
        }
    };
}

/// Reads a text field that may be null.
macro_rules! read_optional_text {
    ($from:ident, $has:ident, $get:ident) => {
        if $from.$has() { Some(read_text($from.$get()?)?) } else { None }
    };
}

pub(super) use {list_twin, read_optional_text, write_optional_text};

/// The length of a list of ours, which no limit lets grow past 32 bits.
pub(super) fn len<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("lists are bounded far below 2^32")
}

pub(super) fn write_list<T: Twin>(items: &[T], mut to: struct_list::Builder<'_, T::Wire>) {
    for (index, item) in (0..).zip(items) {
        item.write(to.reborrow().get(index));
    }
}

pub(super) fn read_list<T: Twin>(
    from: struct_list::Reader<'_, T::Wire>,
    source: &mut Source,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::with_capacity(source.take_items(from.len())?);
    for index in 0..from.len() {
        items.push(T::read(from.reborrow().get(index), source)?);
    }
    Ok(items)
}

pub(super) fn write_nodes(nodes: &[NodeId], mut to: primitive_list::Builder<'_, i32>) {
    for (index, node) in (0..).zip(nodes) {
        to.set(index, node.0);
    }
}

pub(super) fn read_nodes(
    from: primitive_list::Reader<'_, i32>,
    source: &mut Source,
) -> Result<Vec<NodeId>, DecodeError> {
    source.take_items(from.len())?;
    Ok(from.iter().map(NodeId).collect())
}

pub(super) fn write_texts<'a>(texts: impl Iterator<Item = &'a str>, mut to: text_list::Builder<'_>) {
    for (index, text) in (0..).zip(texts) {
        to.set(index, text);
    }
}

pub(super) fn read_texts<T>(
    from: text_list::Reader<'_>,
    source: &mut Source,
    of: impl Fn(&str) -> T,
) -> Result<Vec<T>, DecodeError> {
    let mut texts = Vec::with_capacity(source.take_items(from.len())?);
    for text in from.iter() {
        texts.push(of(text?.to_str()?));
    }
    Ok(texts)
}

pub(super) fn read_text(from: text::Reader<'_>) -> Result<String, DecodeError> {
    Ok(from.to_str()?.to_owned())
}

pub(super) fn read_name(from: text::Reader<'_>) -> Result<TopicName, DecodeError> {
    Ok(TopicName::new(from.to_str()?))
}

pub(super) fn write_uuid(id: [u8; 16], mut to: schema::uuid::Builder<'_>) {
    let id = u128::from_be_bytes(id);
    to.set_high((id >> 64) as u64);
    to.set_low(id as u64);
}

pub(super) fn read_uuid(from: schema::uuid::Reader<'_>) -> [u8; 16] {
    (u128::from(from.get_high()) << 64 | u128::from(from.get_low())).to_be_bytes()
}

pub(super) fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn duration(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

pub(super) fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A number whose negative values mean "none".
pub(super) fn optional<N: PartialOrd + From<i8>>(value: N) -> Option<N> {
    (value >= N::from(0)).then_some(value)
}
