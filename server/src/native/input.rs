//! Frames off a socket.

use std::{io, time::Duration};

use tidelog_client::wire::{Frame, FrameError, FrameReader};
use tidelog_core::limits::{CONNECTION_IDLE_MAX, FIRST_FRAME_BYTES_MAX, FRAME_BYTES_MAX, FRAME_STALL_MAX};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::connection::ConnectionError;
use crate::env::{Env, within};

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Input<R> {
    half: R,
    frames: FrameReader,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Next<T> {
    /// What was waited for.
    Came(T),
    /// The peer has closed its side.
    End,
    /// Nothing, for [`CONNECTION_IDLE_MAX`].
    Idle,
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// Reads from `half`. Until [`Input::greeted`] only small frames are taken.
    pub(crate) fn new(half: R) -> Self {
        Self { half, frames: FrameReader::new(FIRST_FRAME_BYTES_MAX) }
    }

    /// The peer speaks the protocol: frames of every permitted size are taken.
    pub(crate) fn greeted(&mut self) {
        self.frames.set_frame_bytes_max(FRAME_BYTES_MAX);
    }

    /// Waits for the peer's preamble, with which it shows that it speaks this protocol; false when it went before.
    pub(crate) async fn preamble<E: Env>(&mut self, env: &E) -> Result<bool, ConnectionError> {
        Ok(matches!(self.wait(env, FrameReader::read_version).await?, Next::Came(_)))
    }

    /// Waits for the next frame. Can be called again after being dropped half-way.
    pub(crate) async fn frame<E: Env>(&mut self, env: &E) -> Result<Next<Frame>, ConnectionError> {
        self.wait(env, FrameReader::next).await
    }

    async fn wait<E: Env, T>(
        &mut self,
        env: &E,
        take: impl Fn(&mut FrameReader) -> Result<Option<T>, FrameError>,
    ) -> Result<Next<T>, ConnectionError> {
        loop {
            if let Some(came) = take(&mut self.frames)? {
                return Ok(Next::Came(came));
            }
            let has_begun = self.frames.buffered() > 0;
            let limit = if has_begun { FRAME_STALL_MAX } else { CONNECTION_IDLE_MAX };
            match within(env, span(limit), self.half.read_buf(self.frames.room())).await.transpose()? {
                Some(0) if has_begun => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Some(0) => return Ok(Next::End),
                Some(_) => {}
                None if has_begun => return Err(ConnectionError::ReadStalled),
                None => return Ok(Next::Idle),
            }
        }
    }
}

/// The core's duration as the shell's.
pub(super) fn span(of: tidelog_core::time::Duration) -> Duration {
    Duration::from_nanos(of.0)
}
