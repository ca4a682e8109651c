//! What a client speaks: the native protocol, or another that it is given.
//!
//! The machines know requests and responses, links know bytes. A [`Protocol`] stands between the two, so that the same
//! producer and the same consumer can be run, and measured, over another protocol.

use std::{fmt, io, sync::Arc};

use bytes::BytesMut;
use tidelog_core::{
    limits,
    message::{ErrorCode, Request},
};

use crate::wire::{self, Answered, Correlation, EncodedFrame, FrameReader, Hello, ToNode};

/// How requests become bytes, and bytes answers. One serves all connections of a client.
pub trait Protocol: fmt::Debug + Send + Sync + 'static {
    /// What a connection begins with. Its answer is a [`wire::FromNode::Hello`], with node -1 where the protocol does
    /// not say who answers.
    fn greeting(&self, software: &str) -> io::Result<EncodedFrame>;

    /// A request in bytes; the error is what the machine is told in the place of an answer.
    fn encode(&self, correlation: Correlation, request: &Request) -> Result<EncodedFrame, ErrorCode>;

    /// The reading side of one new connection.
    fn incoming(self: Arc<Self>) -> Box<dyn Incoming>;
}

/// Cuts what was read from one connection into answers.
pub trait Incoming: Send {
    /// The buffer to read into: it has room to append to. What is in it must not be changed.
    fn room(&mut self) -> &mut BytesMut;

    /// The next whole answer, or `None` until more bytes are there. The connection cannot go on after an error.
    fn next(&mut self) -> io::Result<Option<Answered>>;
}

/// The native protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Native;

impl Protocol for Native {
    fn greeting(&self, software: &str) -> io::Result<EncodedFrame> {
        let hello = ToNode::Hello(Hello { software: software.to_owned(), ..Hello::default() });
        let frame = wire::encode_to_node(HELLO, &hello).map_err(io::Error::other)?;
        Ok(frame.behind(&wire::preamble(wire::VERSION)))
    }

    fn encode(&self, correlation: Correlation, request: &Request) -> Result<EncodedFrame, ErrorCode> {
        wire::encode_request(correlation, request).map_err(|_| ErrorCode::MessageTooLarge)
    }

    fn incoming(self: Arc<Self>) -> Box<dyn Incoming> {
        Box::new(FrameReader::new(limits::FRAME_BYTES_MAX))
    }
}

impl Incoming for FrameReader {
    fn room(&mut self) -> &mut BytesMut {
        Self::room(self)
    }

    fn next(&mut self) -> io::Result<Option<Answered>> {
        let invalid =
            |error: Box<dyn std::error::Error + Send + Sync>| io::Error::new(io::ErrorKind::InvalidData, error);
        let Some(frame) = Self::next(self).map_err(|error| invalid(error.into()))? else { return Ok(None) };
        wire::decode_from_node(frame).map(Some).map_err(|error| invalid(error.into()))
    }
}

/// The greeting is the only request that no machine makes.
const HELLO: Correlation = Correlation(u64::MAX);
