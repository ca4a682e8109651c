//! Many changes made durable together.
//!
//! A sync waits for the device, and a file system can let many of them share that wait. So whoever has several files to
//! sync, be it of one log or of a thousand, gathers them here and settles them in one go:
//!
//! ```text
//! 1  sync    the files written, and those that will replace others, still under their temporary names
//! 2  rename  the replacements over what they replace
//! 3  sync    the folders
//! ```
//!
//! Invariant: nothing that was gathered counts as durable before [`Settlement::settle`] has returned.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use super::{Disk, DiskError, LogError, checkpoint, names};
use crate::mutant;

/// What is to be made durable.
pub(crate) struct Settlement<D: Disk> {
    files: Vec<D::File>,
    /// From the temporary name to the lasting one.
    replacements: Vec<(String, String)>,
    dirs: BTreeSet<String>,
}

impl<D: Disk> Settlement<D> {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { files: Vec::new(), replacements: Vec::new(), dirs: BTreeSet::new() }
    }

    /// Files gathered so far.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// A file that was written to.
    pub(crate) fn file(&mut self, file: D::File) {
        self.files.push(file);
    }

    /// A folder in which names were made, changed or taken away.
    pub(crate) fn dir(&mut self, dir: String) {
        self.dirs.insert(dir);
    }

    /// Writes the new content of `file` in `dir` beside it; it takes the file's place when all is settled.
    pub(crate) fn replace(&mut self, disk: &D, dir: &str, file: &str, content: &[u8]) -> Result<(), DiskError> {
        let path = names::inside(dir, file);
        let tmp = format!("{path}{}", names::TMP);
        let handle = checkpoint::create(disk, &tmp)?;
        disk.write_at(&handle, 0, &[content])?;
        self.files.push(handle);
        self.replacements.push((tmp, path));
        if !mutant!(X83) {
            self.dirs.insert(dir.into());
        }
        Ok(())
    }

    /// Makes all of it durable. An error that passes leaves some file unreplaced and everything else durable.
    pub(crate) fn settle(&mut self, disk: &D) -> Result<(), LogError> {
        let Self { files, replacements, dirs } = core::mem::replace(self, Self::new());
        if !files.is_empty() {
            disk.sync_all(&files, &[]).map_err(LogError::Offline)?;
        }
        let mut result = Ok(());
        for (tmp, path) in replacements {
            match disk.rename(&tmp, &path) {
                Err(error) if error.is_passing() => result = Err(error.into()),
                other => other.map_err(LogError::Offline)?,
            }
        }
        if !dirs.is_empty() {
            let dirs: Vec<String> = dirs.into_iter().collect();
            disk.sync_all(&[], &dirs).map_err(LogError::Offline)?;
        }
        result
    }
}
