//! One connection to one node: two tasks around a socket.
//!
//! ```text
//!   driver ── queue ──► writer ──► socket ──► reader ── replies ──► driver
//! ```
//!
//! The writer takes all frames that wait and writes them in one vectored write. What it has taken may have left; what
//! still waits when the connection goes has not, and the machine is told the difference. The queue needs no bound of
//! its own: a machine has a bounded number of calls open, and each is in it once.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tidelog_core::{
    client::{CallId, Reply},
    ids::NodeId,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
};

use crate::{
    client::Shared,
    protocol::Incoming,
    runtime::{Connection, within},
    wire::{self, EncodedFrame, FromNode},
};

/// A frame that waits to be written.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) call: CallId,
    pub(crate) frame: EncodedFrame,
    /// False for a produce with `acks=0`: the call ends when it is written.
    pub(crate) answered: bool,
}

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<VecDeque<Queued>>,
    filled: Notify,
}

impl Outbox {
    pub(crate) fn push(&self, queued: Queued) {
        self.queue.lock().expect("no panic while held").push_back(queued);
        self.filled.notify_one();
    }

    /// Takes what was never begun to be written.
    pub(crate) fn take_all(&self) -> VecDeque<Queued> {
        std::mem::take(&mut *self.queue.lock().expect("no panic while held"))
    }

    /// Takes a frame back; false when it may have left.
    pub(crate) fn remove(&self, call: CallId) -> bool {
        let mut queue = self.queue.lock().expect("no panic while held");
        let before = queue.len();
        queue.retain(|q| q.call != call);
        queue.len() < before
    }

    async fn next(&self) -> VecDeque<Queued> {
        loop {
            let taken = self.take_all();
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }
}

/// A connection that has been greeted.
pub(crate) struct Greeted {
    pub(crate) reader: LinkReader,
    pub(crate) writer: LinkWriter,
    /// Who answered, where the protocol says that.
    pub(crate) node: Option<NodeId>,
}

pub(crate) struct LinkReader {
    socket: Box<dyn AsyncRead + Send + Unpin>,
    frames: Box<dyn Incoming>,
}

pub(crate) struct LinkWriter {
    socket: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Connects and greets within the client's timeout.
pub(crate) async fn greet(shared: &Shared, address: &str) -> io::Result<Greeted> {
    match within(&*shared.runtime, shared.config.connect_timeout, greet_now(shared, address)).await {
        Some(greeted) => greeted,
        None => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

async fn greet_now(shared: &Shared, address: &str) -> io::Result<Greeted> {
    let Connection { input, output: mut writer } = shared.runtime.connect(address).await?;
    writer.write_all(&shared.protocol.greeting(&shared.config.software)?.to_bytes()).await?;
    writer.flush().await?;
    let mut reader = LinkReader { socket: input, frames: shared.protocol.clone().incoming() };
    match reader.next().await?.message {
        FromNode::Hello(reply) => {
            let node = Some(reply.node).filter(|node| node.0 >= 0);
            Ok(Greeted { reader, writer: LinkWriter { socket: writer }, node })
        }
        FromNode::Refused(refusal) => Err(io::Error::other(refusal)),
        FromNode::Response(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the node did not greet")),
    }
}

impl LinkReader {
    /// The next message of the node.
    pub(crate) async fn next(&mut self) -> io::Result<wire::Answered> {
        loop {
            if let Some(answered) = self.frames.next()? {
                return Ok(answered);
            }
            if self.socket.read_buf(self.frames.room()).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl LinkWriter {
    /// Writes what comes, until the connection fails. `sent` hears of frames that nobody answers.
    pub(crate) async fn run(mut self, outbox: Arc<Outbox>, sent: impl Fn(CallId)) {
        let mut pieces: VecDeque<Bytes> = VecDeque::new();
        loop {
            let queued = outbox.next().await;
            let unanswered: Vec<CallId> = queued.iter().filter(|q| !q.answered).map(|q| q.call).collect();
            for queued in queued {
                pieces.extend(queued.frame.into_pieces());
            }
            if self.write(&mut pieces).await.is_err() {
                // The reader finds the same and reports it.
                return;
            }
            for call in unanswered {
                sent(call);
            }
        }
    }

    async fn write(&mut self, pieces: &mut VecDeque<Bytes>) -> io::Result<()> {
        while !pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE];
            let count = pieces.len().min(PIECES_AT_ONCE);
            for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
                *slice = IoSlice::new(piece);
            }
            let mut written = self.socket.write_vectored(&slices[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            while let Some(piece) = pieces.front_mut() {
                if written < piece.len() {
                    bytes::Buf::advance(piece, written);
                    break;
                }
                written -= piece.len();
                pieces.pop_front();
            }
        }
        self.socket.flush().await
    }
}

/// What a node's message is to the machine that asked.
pub(crate) fn reply_of(message: FromNode) -> io::Result<Reply> {
    match message {
        FromNode::Response(response) => Ok(Reply::Answered(response)),
        FromNode::Refused(refusal) => Ok(Reply::Refused(refusal.error)),
        FromNode::Hello(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the node greeted twice")),
    }
}

/// Pieces in one vectored write.
const PIECES_AT_ONCE: usize = 64;
