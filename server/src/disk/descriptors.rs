//! Many files, few descriptors.
//!
//! ```text
//! handle -> Entry { path, open: Option<File>, used, dirty }
//!              ^                                     ring of open entries: o o o o o
//! by_path: "orders-0/...0.log" -> Entry                                   ^ hand
//! ```
//!
//! An entry opens its file when it is used and stands in a ring while it is open. When there are too many, the hand goes
//! round: what was used since it last came by gets a second chance, the next is closed. Renames change the paths
//! of entries, so that a closed file is found again under its new name.
//!
//! **Invariant:** a file with bytes written since its last good sync is not closed without one. The kernel reports a lost
//! write to the descriptors that were open then; a fresh one might never hear of it. Should that sync fail, the entry
//! keeps the error for whoever syncs the file next.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidelog_core::log::{DiskError, OpenMode};

use super::disk_error;

/// The files of one data directory.
#[derive(Debug)]
pub(super) struct Descriptors {
    root: PathBuf,
    open_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_path: BTreeMap<String, Weak<Entry>>,
    /// Entries that hold a descriptor.
    ring: VecDeque<Weak<Entry>>,
    /// How many names there may be before those of dropped handles are looked for again.
    names_checked: usize,
}

/// A file, open or not. Clones are the same file.
#[derive(Clone, Debug)]
pub struct FileHandle(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    /// `None` once the file was removed or replaced.
    path: Mutex<Option<String>>,
    open: Mutex<Option<Arc<File>>>,
    used: AtomicBool,
    dirty: AtomicBool,
    /// What a sync before closing said.
    failed: Mutex<Option<DiskError>>,
}

impl FileHandle {
    /// Where the file is now, for messages.
    pub(super) fn path(&self) -> String {
        lock(&self.0.path).clone().unwrap_or_else(|| "a removed file".to_owned())
    }

    /// Bytes are about to be written.
    pub(super) fn set_dirty(&self) {
        self.0.dirty.store(true, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn is_dirty(&self) -> bool {
        self.0.dirty.load(Ordering::Acquire)
    }

    /// The error of a sync that this disk made by itself, once.
    pub(super) fn take_failed(&self) -> Option<DiskError> {
        lock(&self.0.failed).take()
    }

    /// A sync is about to begin.
    pub(super) fn clear_dirty(&self) {
        self.0.dirty.store(false, Ordering::Release);
    }
}

impl Descriptors {
    pub(super) fn new(root: PathBuf, open_max: usize) -> Self {
        Self { root, open_max: open_max.max(1), state: Mutex::default() }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        debug_assert!(
            !path.starts_with('/') && !path.split('/').any(|part| part == ".."),
            "{path} leaves the directory"
        );
        self.root.join(path)
    }

    pub(super) fn open_files(&self) -> usize {
        lock(&self.state).ring.iter().filter(|entry| entry.upgrade().is_some_and(|e| lock(&e.open).is_some())).count()
    }

    pub(super) fn open(&self, path: &str, mode: OpenMode) -> Result<FileHandle, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match mode {
            OpenMode::Existing => &mut options,
            OpenMode::CreateNew => options.create_new(true),
            OpenMode::CreateOrOpen => options.create(true),
        };
        let mut state = lock(&self.state);
        self.make_room(&mut state);
        let file = options.open(self.path(path)).map_err(|error| disk_error("open", path, &error))?;
        if let Some(entry) = state.by_path.get(path).and_then(Weak::upgrade) {
            if lock(&entry.open).replace(Arc::new(file)).is_none() {
                state.ring.push_back(Arc::downgrade(&entry));
            }
            return Ok(FileHandle(entry));
        }
        let entry = Arc::new(Entry {
            path: Mutex::new(Some(path.to_owned())),
            open: Mutex::new(Some(Arc::new(file))),
            used: AtomicBool::new(true),
            dirty: AtomicBool::new(false),
            failed: Mutex::default(),
        });
        state.ring.push_back(Arc::downgrade(&entry));
        state.by_path.insert(path.to_owned(), Arc::downgrade(&entry));
        Ok(FileHandle(entry))
    }

    /// The descriptor behind a handle, opened if need be.
    pub(super) fn get(&self, file: &FileHandle) -> Result<Arc<File>, DiskError> {
        file.0.used.store(true, Ordering::Relaxed);
        if let Some(open) = &*lock(&file.0.open) {
            return Ok(Arc::clone(open));
        }
        // The order of locks is always state, path, open.
        let mut state = lock(&self.state);
        self.make_room(&mut state);
        let path = lock(&file.0.path).clone().ok_or_else(|| DiskError::NotFound { path: file.path() })?;
        let mut slot = lock(&file.0.open);
        if let Some(open) = &*slot {
            return Ok(Arc::clone(open));
        }
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(&path))
            .map_err(|error| disk_error("open", &path, &error))?;
        let open = Arc::new(open);
        *slot = Some(Arc::clone(&open));
        state.ring.push_back(Arc::downgrade(&file.0));
        Ok(open)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = lock(&self.state);
        fs::rename(self.path(from), self.path(to)).map_err(|error| disk_error("rename", from, &error))?;
        state.forget(to);
        for (path, entry) in state.take_below(from) {
            let new = format!("{to}{}", &path[from.len()..]);
            if let Some(entry) = entry.upgrade() {
                *lock(&entry.path) = Some(new.clone());
                state.by_path.insert(new, Arc::downgrade(&entry));
            }
        }
        Ok(())
    }

    /// A file or folder is about to be removed: its name no longer leads to its entries.
    pub(super) fn forget(&self, path: &str) {
        lock(&self.state).forget(path);
    }

    /// Closes files until one more may be opened.
    fn make_room(&self, state: &mut State) {
        // Looking goes on for a while for one that needs no sync.
        let mut looks = LOOKS_MAX.min(state.ring.len() * 2);
        while state.ring.len() >= self.open_max {
            let Some(weak) = state.ring.pop_front() else { break };
            let Some(entry) = weak.upgrade() else { continue };
            if looks > 0 && (entry.used.swap(false, Ordering::Relaxed) || entry.dirty.load(Ordering::Acquire)) {
                looks -= 1;
                state.ring.push_back(weak);
                continue;
            }
            if let Some(open) = lock(&entry.open).take()
                && entry.dirty.swap(false, Ordering::AcqRel)
                && let Err(error) = open.sync_data()
            {
                *lock(&entry.failed) = Some(disk_error("sync", "a file about to be closed", &error));
            }
        }
        // Names of files that nobody holds any more go when they may be half of all.
        if state.by_path.len() > 64 && state.by_path.len() > state.names_checked {
            state.by_path.retain(|_, entry| entry.strong_count() > 0);
            state.names_checked = state.by_path.len() * 2;
        }
    }
}

impl State {
    fn forget(&mut self, path: &str) {
        for (_, entry) in self.take_below(path) {
            if let Some(entry) = entry.upgrade() {
                *lock(&entry.path) = None;
            }
        }
    }

    /// Takes out the entry of this path, and of all inside it if it is a folder.
    fn take_below(&mut self, path: &str) -> Vec<(String, Weak<Entry>)> {
        let folder = format!("{path}/");
        let inside = self.by_path.range(folder.clone()..).take_while(|(p, _)| p.starts_with(&folder));
        let names: Vec<String> = inside.map(|(p, _)| p.clone()).chain([path.to_owned()]).collect();
        names.into_iter().filter_map(|name| self.by_path.remove_entry(&name)).collect()
    }
}

/// Raises this process's soft limit of descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap_or(usize::MAX)))
}

/// None of these locks is held across code that could leave its data half changed, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Entries that are looked at for one that can be closed without a sync.
const LOOKS_MAX: usize = 256;
