//! Batch after batch through a segment's file.

use bytes::Bytes;

use super::{Disk, DiskError, LogError};
use crate::record::{Batch, BatchError, BatchHeader, HEADER_BYTES};

/// Goes from one batch of a file to the next, reading ahead in chunks.
pub(crate) struct Walk<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    /// Where the next batch begins.
    at: u64,
    /// Where to stop: the size of the log, whatever the file holds behind.
    end: u64,
    buffer: Bytes,
    buffer_at: u64,
    /// How much the next read takes.
    chunk: usize,
    chunk_max: usize,
}

/// Why the walk ended early.
#[derive(Debug)]
pub(crate) enum WalkError {
    /// No batch begins at `position`, or not a right one.
    Bad {
        /// Where it should begin.
        position: u64,
        /// What is wrong.
        error: BatchError,
    },
    /// The disk failed.
    Disk(DiskError),
}

impl WalkError {
    /// As the error of a job, where damage is not expected.
    pub(crate) fn in_file(self, file: impl FnOnce() -> alloc::string::String) -> LogError {
        match self {
            Self::Bad { position, error } => {
                LogError::Corrupt { file: file(), position, reason: alloc::format!("{error}") }
            }
            Self::Disk(error) => error.into(),
        }
    }
}

/// The first read when only headers are looked at, and each after batches so large that little of what was read ahead
/// was of use.
const HEADER_CHUNK_MIN: usize = 4 << 10;
/// Read ahead when only headers are looked at and they are close together.
const HEADER_CHUNK_MAX: usize = 64 << 10;
/// Read ahead when whole batches are looked at.
const BATCH_CHUNK: usize = 1 << 20;

impl<'a, D: Disk> Walk<'a, D> {
    /// A walk over the headers in `[at, end)`.
    pub(crate) fn headers(disk: &'a D, file: &'a D::File, at: u64, end: u64) -> Self {
        let (chunk, chunk_max) = (HEADER_CHUNK_MIN, HEADER_CHUNK_MAX);
        Self { disk, file, at, end, buffer: Bytes::new(), buffer_at: 0, chunk, chunk_max }
    }

    /// A walk over the batches in `[at, end)`.
    pub(crate) fn batches(disk: &'a D, file: &'a D::File, at: u64, end: u64) -> Self {
        Self { chunk: BATCH_CHUNK, chunk_max: BATCH_CHUNK, ..Self::headers(disk, file, at, end) }
    }

    /// Where the next batch begins, or the walk stopped.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The next header, with the place where its batch begins. Only magic and length are checked.
    pub(crate) fn next_header(&mut self) -> Result<Option<(u64, BatchHeader)>, WalkError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let position = self.at;
        let bytes = self.window(HEADER_BYTES)?;
        let (header, size) = crate::record::peek(&bytes).map_err(|error| WalkError::Bad { position, error })?;
        let available = self.end - position;
        if size as u64 > available {
            let error =
                BatchError::Truncated { needed: size, available: usize::try_from(available).unwrap_or(usize::MAX) };
            return Err(WalkError::Bad { position, error });
        }
        self.at += size as u64;
        Ok(Some((position, header)))
    }

    /// The next batch, checked.
    pub(crate) fn next_batch(&mut self) -> Result<Option<(u64, Batch)>, WalkError> {
        let before = self.at;
        let Some((position, header)) = self.next_header()? else { return Ok(None) };
        self.at = before;
        let size = header.size().expect("the header was just judged");
        let mut bytes = self.window(size)?;
        let batch = Batch::parse(&mut bytes).map_err(|error| WalkError::Bad { position, error })?;
        self.at += size as u64;
        Ok(Some((position, batch)))
    }

    /// At least `len` bytes at the walk's place, fewer at the end.
    fn window(&mut self, len: usize) -> Result<Bytes, WalkError> {
        let have = self.buffer_at + self.buffer.len() as u64;
        let held = self.at >= self.buffer_at && (self.at + len as u64 <= have || have >= self.end);
        if !held {
            if self.chunk_max == HEADER_CHUNK_MAX {
                // Batches that follow closely are read together, of those that reach far only the headers.
                let reads_on = self.at < have + HEADER_BYTES as u64 && !self.buffer.is_empty();
                self.chunk = if reads_on { (self.chunk * 4).min(self.chunk_max) } else { HEADER_CHUNK_MIN };
            }
            let want = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(self.chunk.max(len));
            self.buffer = self.disk.read_at(self.file, self.at, want).map_err(WalkError::Disk)?;
            self.buffer_at = self.at;
        }
        let skip = usize::try_from(self.at - self.buffer_at).expect("inside the buffer").min(self.buffer.len());
        Ok(self.buffer.slice(skip..))
    }
}
