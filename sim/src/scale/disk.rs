//! A disk that only remembers: no faults, no power to lose, as little memory of its own as can be.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use tidelog_core::log::{Disk, DiskError, OpenMode};

#[derive(Debug, Default)]
struct State {
    /// Files by path; a folder is known by what is in it, and by itself.
    names: BTreeMap<String, Option<usize>>,
    files: Vec<Vec<u8>>,
}

impl State {
    /// The names that begin so.
    fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a String> {
        self.names.range(folder.to_owned()..).map(|(name, _)| name).take_while(move |name| name.starts_with(folder))
    }

    /// The same, where the names are about to change.
    fn names_in(&self, folder: &str) -> Vec<String> {
        self.below(folder).cloned().collect()
    }
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainDisk(Rc<RefCell<State>>);

/// A file: its place among the files.
#[derive(Clone, Debug)]
pub(super) struct PlainFile(usize);

fn not_found(path: &str) -> DiskError {
    DiskError::NotFound { path: path.to_owned() }
}

/// Everything below a folder.
fn below(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}/") }
}

impl Disk for PlainDisk {
    type File = PlainFile;

    fn open(&self, path: &str, mode: OpenMode) -> Result<PlainFile, DiskError> {
        let mut state = self.0.borrow_mut();
        match (state.names.get(path).copied().flatten(), mode) {
            (Some(_), OpenMode::CreateNew) => Err(DiskError::AlreadyExists { path: path.to_owned() }),
            (Some(file), _) => Ok(PlainFile(file)),
            (None, OpenMode::Existing) => Err(not_found(path)),
            (None, _) => {
                let file = state.files.len();
                state.files.push(Vec::new());
                state.names.insert(path.to_owned(), Some(file));
                Ok(PlainFile(file))
            }
        }
    }

    fn read_at(&self, file: &PlainFile, at: u64, len: usize) -> Result<Bytes, DiskError> {
        let state = self.0.borrow();
        let bytes = &state.files[file.0];
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(len).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[from..to]))
    }

    fn write_at(&self, file: &PlainFile, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        let bytes = &mut state.files[file.0];
        let mut at = usize::try_from(at).map_err(|_| DiskError::Full)?;
        for part in parts {
            let end = at + part.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(part);
            at = end;
        }
        Ok(())
    }

    fn sync(&self, _: &PlainFile) -> Result<(), DiskError> {
        Ok(())
    }

    fn len(&self, file: &PlainFile) -> Result<u64, DiskError> {
        Ok(self.0.borrow().files[file.0].len() as u64)
    }

    fn set_len(&self, file: &PlainFile, len: u64) -> Result<(), DiskError> {
        let len = usize::try_from(len).map_err(|_| DiskError::Full)?;
        let mut state = self.0.borrow_mut();
        let bytes = &mut state.files[file.0];
        bytes.resize(len, 0);
        bytes.shrink_to_fit();
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.0.borrow_mut().names.entry(path.to_owned()).or_default();
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        let what = state.names.remove(from).ok_or_else(|| not_found(from))?;
        state.names.insert(to.to_owned(), what);
        let inside = below(from);
        for name in state.names_in(&inside) {
            let what = state.names.remove(&name).flatten();
            state.names.insert(format!("{to}/{}", &name[inside.len()..]), what);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        let file = state.names.remove(path).flatten().ok_or_else(|| not_found(path))?;
        state.files[file] = Vec::new();
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        for name in state.names_in(&below(path)) {
            if let Some(file) = state.names.remove(&name).flatten() {
                state.files[file] = Vec::new();
            }
        }
        state.names.remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let state = self.0.borrow();
        if !path.is_empty() && !state.names.contains_key(path) {
            return Err(not_found(path));
        }
        let inside = below(path);
        let mut found: Vec<String> = Vec::new();
        for name in state.below(&inside) {
            let rest = &name[inside.len()..];
            let first = rest.split('/').next().unwrap_or(rest);
            if !first.is_empty() && found.last().is_none_or(|last| last != first) {
                found.push(first.to_owned());
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lists_moves_and_goes_with_what_is_in_it() {
        let disk = PlainDisk::default();
        disk.create_dir("a").expect("made");
        for name in ["a/y", "a/x", "ab"] {
            let file = disk.open(name, OpenMode::CreateNew).expect("made");
            disk.write_at(&file, 1, &[b"1", b"23"]).expect("written");
        }
        assert_eq!(disk.list("").expect("listed"), ["a", "ab"]);
        disk.rename("a", "b").expect("moved");
        assert_eq!(disk.list("b").expect("listed"), ["x", "y"]);
        assert!(disk.list("a").is_err());
        let file = disk.open("b/x", OpenMode::Existing).expect("it moved along");
        assert_eq!(&disk.read_at(&file, 0, 9).expect("read")[..], b"\x00123");
        disk.remove_dir("b").expect("removed");
        assert_eq!(disk.list("").expect("listed"), ["ab"]);
        disk.remove("ab").expect("removed");
        assert_eq!(disk.list("").expect("listed"), [""; 0]);
    }
}
