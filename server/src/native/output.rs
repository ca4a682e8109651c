//! Answers onto a socket.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes};
use tidelog_client::wire::EncodedFrame;
use tidelog_core::limits::WRITE_STALL_MAX;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{connection::ConnectionError, input::span};
use crate::env::{Env, within};

/// Pieces of frames that wait to be written, in order; none is empty.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Bytes>,
    size: usize,
}

impl Output {
    /// Bytes that wait.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Appends raw bytes.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.size += bytes.len();
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
    }

    /// Appends a frame.
    pub(crate) fn push_frame(&mut self, frame: EncodedFrame) {
        for piece in frame.into_pieces() {
            self.push(piece);
        }
    }

    /// Writes everything. A peer that takes no byte for [`WRITE_STALL_MAX`] is given up.
    pub(crate) async fn write_all<E: Env>(
        &mut self,
        env: &E,
        half: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), ConnectionError> {
        while self.size > 0 {
            let written = within(env, span(WRITE_STALL_MAX), half.write_buf(self)).await;
            if written.ok_or(ConnectionError::WriteStalled)?? == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
        half.flush().await?;
        Ok(())
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.size
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.size, "no more is taken than there is");
        self.size -= count;
        while count > 0 {
            let front = self.pieces.front_mut().expect("the pieces have as many bytes as their count says");
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_gathered_and_taken_in_any_portions() {
        let mut output = Output::default();
        for piece in ["one", "", "two", "three"] {
            output.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(output.remaining(), 11);
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(output.chunks_vectored(&mut slices), 2);
        assert_eq!(&*slices[1], b"two");
        output.advance(4);
        assert_eq!(output.chunk(), b"wo");
        output.advance(2);
        assert_eq!(output.chunk(), b"three");
        output.advance(5);
        assert_eq!((output.remaining(), output.chunk()), (0, &b""[..]));
    }
}
