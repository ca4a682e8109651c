//! The few things that the storage engine asks of a disk.
//!
//! Paths are relative to the data directory, with `/` between. A file is named by a cheap handle; an
//! implementation may close and reopen what lies behind it, so that a hundred thousand handles are no burden.
//! Nothing is durable before `sync` (a file's bytes and size) and `sync_dir` (names in a folder) have returned.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;

/// How [`Disk::open`] treats a file that is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// It must not exist.
    CreateNew,
    /// Either way.
    CreateOrOpen,
}

/// A disk below one data directory.
pub trait Disk: Clone {
    /// A handle on a file; clones name the same file.
    type File: Clone + Send + 'static;

    /// Opens a file for reading and writing.
    fn open(&self, path: &str, mode: OpenMode) -> Result<Self::File, DiskError>;
    /// Reads up to `len` bytes at `at`; fewer only at the end of the file.
    fn read_at(&self, file: &Self::File, at: u64, len: usize) -> Result<Bytes, DiskError>;
    /// Writes all of `parts`, one after another, at `at`. On an error any prefix may have been written.
    fn write_at(&self, file: &Self::File, at: u64, parts: &[&[u8]]) -> Result<(), DiskError>;
    /// Makes the file's bytes and size durable. After an error nothing written since the last success may be
    /// trusted, and a second call proves nothing (fsyncgate).
    fn sync(&self, file: &Self::File) -> Result<(), DiskError>;
    /// The file's size.
    fn len(&self, file: &Self::File) -> Result<u64, DiskError>;
    /// Cuts the file to `len` bytes, or extends it with zeros.
    fn set_len(&self, file: &Self::File, len: u64) -> Result<(), DiskError>;
    /// Makes a folder and those above it. There already is fine.
    fn create_dir(&self, path: &str) -> Result<(), DiskError>;
    /// Makes creations, renames and removals inside the folder durable. The data directory itself is `""`.
    fn sync_dir(&self, path: &str) -> Result<(), DiskError>;
    /// [`Disk::sync`] for each of `files` and [`Disk::sync_dir`] for each of `dirs`, in any order. A disk that can have
    /// several syncs under way may take less time for all than for one after another.
    fn sync_all(&self, files: &[Self::File], dirs: &[String]) -> Result<(), DiskError> {
        files.iter().try_for_each(|file| self.sync(file))?;
        dirs.iter().try_for_each(|dir| self.sync_dir(dir))
    }
    /// Renames a file or folder; a file in the way is replaced at once.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), DiskError>;
    /// Removes a folder with all that is in it.
    fn remove_dir(&self, path: &str) -> Result<(), DiskError>;
    /// Names of the files and folders inside a folder, sorted.
    fn list(&self, path: &str) -> Result<Vec<String>, DiskError>;
}

/// What a disk can answer instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// No such file or folder.
    #[error("{path}: not found")]
    NotFound {
        /// Which.
        path: String,
    },
    /// A file where none should be.
    #[error("{path}: already exists")]
    AlreadyExists {
        /// Which.
        path: String,
    },
    /// No space left, or no quota (ENOSPC, EDQUOT). Goes away when space returns.
    #[error("no space left on the device")]
    Full,
    /// No more file handles (EMFILE, ENFILE).
    #[error("too many open files")]
    TooManyFiles,
    /// What is there cannot be read: a bad sector. It harms only who needs those bytes; what is written is as safe as
    /// before.
    #[error("read: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// Anything else: EIO of a write or sync, a disk remounted read-only, a permission taken away. The directory is done for.
    #[error("{operation}: {reason}")]
    Io {
        /// What was tried: `write`, `sync`.
        operation: &'static str,
        /// What the system says.
        reason: String,
    },
}

impl DiskError {
    /// Can the disk be used further once its cause is gone?
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full | Self::TooManyFiles)
    }
}
