//! What a folder holds, asked before it is known whose it is.

use alloc::{string::String, vec::Vec};

use crate::log::{Disk, DiskError, LogError, OpenMode, checkpoint, names, place::Place, snapshot};

/// What is in a folder; nothing if it is not there. `lost+found` is the file system's own.
pub(super) fn list<D: Disk>(disk: &D, path: &str) -> Result<Vec<String>, DiskError> {
    match disk.list(path) {
        Ok(mut files) => {
            files.retain(|file| file != "lost+found");
            Ok(files)
        }
        Err(DiskError::NotFound { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Empties a folder, and leaves it as a sign.
pub(super) fn remove_files<D: Disk>(disk: &D, folder: &str) -> Result<(), DiskError> {
    list(disk, folder)?.iter().try_for_each(|file| disk.remove(&names::inside(folder, file)))
}

/// Is there a segment in the folder?
pub(super) fn holds_log<D: Disk>(disk: &D, folder: &str) -> Result<bool, DiskError> {
    let is_log = |name: &String| names::parse_segment(name).is_some_and(|(_, rest)| rest == names::LOG);
    Ok(disk.list(folder)?.iter().any(is_log))
}

/// Is there a byte in any segment in the folder?
pub(super) fn holds_bytes<D: Disk>(disk: &D, folder: &str, files: &[String]) -> Result<bool, DiskError> {
    for name in files {
        let is_log = names::parse_segment(name).is_some_and(|(_, rest)| rest == names::LOG);
        if is_log && disk.len(&disk.open(&names::inside(folder, name), OpenMode::Existing)?)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// For a planted bug: has a producer snapshot been damaged?
pub(super) fn unreadable_snapshot<D: Disk>(at: &Place<D>, files: &[String]) -> Result<bool, LogError> {
    for name in files.iter().filter(|name| name.ends_with(names::SNAPSHOT)) {
        let text = checkpoint::read(&at.disk, &names::inside(&at.dir, name))?;
        if text.is_none_or(|text| snapshot::decode(&text).is_err()) {
            return Ok(true);
        }
    }
    Ok(false)
}
