//! Frames: a size of 32 bits, then that many bytes.
//!
//! A frame gets memory of its own, exactly as large as it is: what is kept of it later (batches in the tail) pins no
//! other frame. Only what came in one read with the frame's beginning is copied, at most [`SCRATCH_BYTES`].
//!
//! **Invariant:** the size is held against its cap before anything is allocated, and memory grows with the bytes that
//! have arrived, not with those that were announced.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_core::limits::{CONNECTION_IDLE_MAX, FRAME_STALL_MAX};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::connection::ConnectionError;
use crate::env::{Env, within};

/// What one read takes up when nothing is known of the frame yet.
const SCRATCH_BYTES: usize = 8 << 10;
/// The size field.
const SIZE_BYTES: usize = 4;
/// Memory for a frame before its bytes have come.
const FIRST_ALLOCATION_BYTES_MAX: usize = 1 << 20;

/// Takes frames off a connection.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    input: R,
    scratch: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What came instead of a frame's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame of this many bytes.
    Frame(usize),
    /// The peer has closed its side.
    End,
    /// Nothing, for [`CONNECTION_IDLE_MAX`].
    Idle,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `input`.
    pub(super) fn new(input: R) -> Self {
        Self { input, scratch: vec![0; SCRATCH_BYTES].into(), start: 0, end: 0 }
    }

    /// Waits for the next frame's size, which may be up to `max`. Can be called again after being dropped half-way.
    pub(super) async fn size<E: Env>(&mut self, env: &E, max: usize) -> Result<Next, ConnectionError> {
        loop {
            if let Some(size) = self.scratch[self.start..self.end].first_chunk::<SIZE_BYTES>() {
                let size = i32::from_be_bytes(*size);
                return match usize::try_from(size) {
                    Ok(bytes) if bytes <= max => Ok(Next::Frame(bytes)),
                    _ => Err(ConnectionError::FrameSize { size, max }),
                };
            }
            let has_begun = self.end > self.start;
            let limit = if has_begun { FRAME_STALL_MAX } else { CONNECTION_IDLE_MAX };
            match within(env, std_duration(limit), self.fill()).await.transpose()? {
                Some(0) if has_begun => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Some(0) => return Ok(Next::End),
                Some(_) => {}
                None if has_begun => return Err(ConnectionError::ReadStalled),
                None => return Ok(Next::Idle),
            }
        }
    }

    /// Reads the frame of `size` bytes that [`FrameReader::size`] has announced.
    pub(super) async fn body<E: Env>(&mut self, env: &E, size: usize) -> Result<Bytes, ConnectionError> {
        self.start += SIZE_BYTES;
        let here = size.min(self.end - self.start);
        let mut body = BytesMut::with_capacity(size.min(FIRST_ALLOCATION_BYTES_MAX));
        body.extend_from_slice(&self.scratch[self.start..self.start + here]);
        self.start += here;
        while body.len() < size {
            if body.len() == body.capacity() {
                body.reserve((size - body.len()).min(body.len()));
            }
            let missing = size - body.len();
            let mut rest = (&mut body).limit(missing);
            let read = within(env, std_duration(FRAME_STALL_MAX), self.input.read_buf(&mut rest)).await;
            if read.ok_or(ConnectionError::ReadStalled)?? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(body.freeze())
    }

    /// One read into the scratch, behind what is left there: less than a size field.
    async fn fill(&mut self) -> io::Result<usize> {
        self.scratch.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = self.input.read(&mut self.scratch[self.end..]).await?;
        self.end += read;
        Ok(read)
    }
}

/// The core's duration as the shell's.
pub(super) fn std_duration(span: tidelog_core::time::Duration) -> std::time::Duration {
    std::time::Duration::from_nanos(span.0)
}
