//! A disk in memory that never fails.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tidelog_core::log::{Disk, DiskError, OpenMode};

type Content = Arc<Mutex<Vec<u8>>>;

/// Files by path; a folder is a path that ends in `/`.
#[derive(Clone, Default)]
pub struct MemoryDisk(std::rc::Rc<RefCell<BTreeMap<String, Content>>>);

impl MemoryDisk {
    /// Writes a whole file.
    pub fn put(&self, path: &str, content: Vec<u8>) {
        self.0.borrow_mut().insert(path.to_owned(), Arc::new(Mutex::new(content)));
    }

    fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.0.borrow().contains_key(&format!("{path}/"))
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), DiskError> {
        self.0.borrow_mut().retain(|path, _| keep(path));
        Ok(())
    }
}

fn not_found(path: &str) -> DiskError {
    DiskError::NotFound { path: path.to_owned() }
}

fn bytes(file: &Content) -> std::sync::MutexGuard<'_, Vec<u8>> {
    file.lock().expect("nobody panics with it")
}

impl Disk for MemoryDisk {
    type File = Content;

    fn open(&self, path: &str, mode: OpenMode) -> Result<Content, DiskError> {
        let known = self.0.borrow().get(path).cloned();
        match (known, mode) {
            (Some(_), OpenMode::CreateNew) => Err(DiskError::AlreadyExists { path: path.to_owned() }),
            (Some(file), _) => Ok(file),
            (None, OpenMode::Existing) => Err(not_found(path)),
            (None, _) if !self.is_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir)) => Err(not_found(path)),
            (None, _) => {
                self.put(path, Vec::new());
                Ok(self.0.borrow()[path].clone())
            }
        }
    }

    fn read_at(&self, file: &Content, at: u64, len: usize) -> Result<Bytes, DiskError> {
        let bytes = bytes(file);
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[from..from.saturating_add(len).min(bytes.len())]))
    }

    fn write_at(&self, file: &Content, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let (mut bytes, at, new) = (bytes(file), at as usize, parts.concat());
        let end = at + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(&new);
        Ok(())
    }

    fn sync(&self, _: &Content) -> Result<(), DiskError> {
        Ok(())
    }

    fn len(&self, file: &Content) -> Result<u64, DiskError> {
        Ok(bytes(file).len() as u64)
    }

    fn set_len(&self, file: &Content, len: u64) -> Result<(), DiskError> {
        bytes(file).resize(usize::try_from(len).expect("files here are small"), 0);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.put(&format!("{path}/"), Vec::new());
        Ok(())
    }

    fn sync_dir(&self, _: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let inside = format!("{from}/");
        let mut files = self.0.borrow_mut();
        let moved: Vec<String> = files.keys().filter(|p| *p == from || p.starts_with(&inside)).cloned().collect();
        if moved.is_empty() {
            return Err(not_found(from));
        }
        for path in moved {
            let content = files.remove(&path).expect("just listed");
            files.insert(format!("{to}{}", &path[from.len()..]), content);
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.0.borrow_mut().remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        self.retain(|other| !other.starts_with(&format!("{path}/")))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        if !self.is_dir(path) {
            return Err(not_found(path));
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let files = self.0.borrow();
        let inside = files.keys().filter_map(|other| other.strip_prefix(&prefix)).filter(|rest| !rest.is_empty());
        let names = inside.filter_map(|rest| match rest.split_once('/') {
            None => Some(rest.to_owned()),
            Some((dir, "")) => Some(dir.to_owned()),
            Some(_) => None,
        });
        Ok(names.collect())
    }
}
