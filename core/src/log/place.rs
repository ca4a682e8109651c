//! Where one log lives: a folder on a disk.

use alloc::string::String;

use super::{Disk, DiskError, OpenMode, names};
use crate::offset::Offset;

/// A folder on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Place<D> {
    pub(crate) disk: D,
    pub(crate) dir: String,
    /// What the names of segment files end in, behind their own ending: nothing, but for segments in the making.
    pub(crate) suffix: &'static str,
}

impl<D: Disk> Place<D> {
    /// Path of a file of a segment.
    pub(crate) fn segment(&self, base: Offset, extension: &str) -> String {
        let mut path = names::segment(&self.dir, base, extension);
        path.push_str(self.suffix);
        path
    }

    /// Path of a file in the folder.
    pub(crate) fn inside(&self, file: &str) -> String {
        names::inside(&self.dir, file)
    }

    /// Removes a file that may not be there.
    pub(crate) fn remove(&self, path: &str) -> Result<(), DiskError> {
        match self.disk.remove(path) {
            Err(DiskError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Renames a file that may not be there; says whether it was.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<bool, DiskError> {
        match self.disk.rename(from, to) {
            Ok(()) => Ok(true),
            Err(DiskError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a file and cuts it to nothing, whatever was there.
    pub(crate) fn fresh(&self, path: &str) -> Result<D::File, DiskError> {
        let file = self.disk.open(path, OpenMode::CreateOrOpen)?;
        if self.disk.len(&file)? > 0 {
            self.disk.set_len(&file, 0)?;
        }
        Ok(file)
    }
}
