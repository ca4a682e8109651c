//! One process per data directory.
//!
//! The lock is `flock` on the file `.lock`, as Kafka has it: the kernel lets go of it when the process ends, however it
//! ends. The file holds the owner's process id, for the message to the second one.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A data directory that this process has for itself until the lock is dropped.
#[derive(Debug)]
pub struct DataLock {
    directory: PathBuf,
    /// Held, not read.
    _file: File,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by {}", directory.display(), owner.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// That process's id, as far as it is known.
        owner: Option<u32>,
    },
    /// The lock file can be neither made nor locked.
    #[error("cannot lock {}: {error}", file.display())]
    Io {
        /// The lock file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl DataLock {
    /// Takes the lock of an existing directory.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK_FILE);
        let failed = |error| LockError::Io { file: path.clone(), error };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let owner = (&file).take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::InUse { directory: directory.to_path_buf(), owner });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The id is for people; on a full disk the lock holds without it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        Ok(Self { directory: directory.to_path_buf(), _file: file })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Kafka's name for it.
pub(super) const LOCK_FILE: &str = ".lock";

#[cfg(test)]
mod tests {
    use super::{super::tests::TempDir, *};

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = TempDir::new("lock");
        let first = DataLock::acquire(&dir.0).expect("free");
        match DataLock::acquire(&dir.0) {
            Err(LockError::InUse { owner, .. }) => assert_eq!(owner, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        DataLock::acquire(&dir.0).expect("free again");
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        assert!(matches!(DataLock::acquire(Path::new("/nowhere/at/all")), Err(LockError::Io { .. })));
    }
}
