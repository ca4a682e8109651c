//! A disk in memory that can be made to fail at its n-th call, to run full, and to lose its power.

use alloc::{
    collections::BTreeMap,
    format,
    rc::Rc,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::cell::RefCell;
use std::sync::Mutex;

use bytes::Bytes;

use super::{Disk, DiskError, OpenMode};
use crate::prng::Prng;

/// What happens at a call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// From this call on, every call fails: the process is gone.
    Crash,
    /// This call alone fails for want of space, having written nothing or a part.
    Full,
    /// From this call on, until the restart, whatever wants space fails.
    NoRoom,
    /// From this call on, until the restart, no file can be opened.
    NoHandles,
    /// This call alone fails.
    Io,
}

#[derive(Debug, Default)]
struct Contents {
    /// As written, and as on the platter.
    cached: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// Names as they are, and as they would be after a power loss. Folders are names that hold nothing.
    names: BTreeMap<String, Option<usize>>,
    durable_names: BTreeMap<String, Option<usize>>,
    files: Vec<Contents>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
    reads: u64,
}

/// The disk.
#[derive(Clone, Debug)]
pub(crate) struct TestDisk(Rc<RefCell<State>>);

/// A file: its place among the files.
#[derive(Clone, Debug)]
pub(crate) struct TestFile {
    index: usize,
    /// Proves that handles need not be plain numbers.
    _path: Arc<Mutex<String>>,
}

impl TestDisk {
    pub(crate) fn new() -> Self {
        let disk = Self(Rc::new(RefCell::new(State::default())));
        disk.0.borrow_mut().names.insert(String::new(), None);
        disk.0.borrow_mut().durable_names.insert(String::new(), None);
        disk
    }

    /// Lets the call that changes something, counted from now on, fail.
    pub(crate) fn fail_at(&self, call: u64, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.fault = Some((state.calls + call, fault));
    }

    /// Has the fault come?
    pub(crate) fn failed(&self) -> bool {
        let state = self.0.borrow();
        state.fault.is_none_or(|(at, _)| state.calls > at)
    }

    /// Calls that changed something so far.
    pub(crate) fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Reads so far.
    pub(crate) fn reads(&self) -> u64 {
        self.0.borrow().reads
    }

    /// Back to work after a crash of the process: the page cache is still there.
    pub(crate) fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.crashed = false;
        state.fault = None;
    }

    /// The power goes: of every sector and name not synced, chance decides.
    pub(crate) fn lose_power(&self, prng: &mut Prng) {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        for file in &mut state.files {
            let mut after = file.durable.clone();
            match prng.below(4) {
                0 => {}
                1 => after.clone_from(&file.cached),
                _ => {
                    // The new size, with zeros where a sector did not make it.
                    after.resize(file.cached.len(), 0);
                    for at in (0..after.len()).step_by(512) {
                        let end = (at + 512).min(after.len());
                        if prng.chance(1, 2) {
                            after[at..end].copy_from_slice(&file.cached[at..end]);
                        }
                    }
                    if prng.chance(1, 4) && after.len() > file.durable.len() {
                        let keep = file.durable.len() as u64 + prng.below((after.len() - file.durable.len()) as u64);
                        after.truncate(keep as usize);
                    }
                }
            }
            file.cached.clone_from(&after);
            file.durable = after;
        }
        let mut names = state.durable_names.clone();
        let all: Vec<String> = state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for name in all {
            if prng.chance(1, 2) {
                match state.names.get(&name) {
                    Some(file) => names.insert(name, *file),
                    None => names.remove(&name),
                };
            }
        }
        // A name lasts only inside a folder that does.
        let whole = names.clone();
        names.retain(|name, _| name.rsplit_once('/').is_none_or(|(dir, _)| whole.contains_key(dir)));
        state.durable_names = names.clone();
        state.names = names;
        state.crashed = false;
        state.fault = None;
    }

    /// Changes a file behind the engine's back, durably.
    pub(crate) fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.borrow_mut();
        let index = state.names[path].expect("a file");
        change(&mut state.files[index].cached);
        let cached = state.files[index].cached.clone();
        state.files[index].durable = cached;
    }

    /// A file's bytes.
    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.names.get(path).copied().flatten().map(|index| state.files[index].cached.clone())
    }

    /// Names of all files.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.borrow().names.iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Counts a call that changes something and lets it fail if it is to.
    fn call(&self, operation: &'static str) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        let io = DiskError::Io { operation, reason: "injected".to_string() };
        if state.crashed {
            return Err(io);
        }
        let call = state.calls;
        state.calls += 1;
        match state.fault {
            Some((at, Fault::Crash)) if call >= at => {
                state.crashed = true;
                Err(io)
            }
            Some((at, Fault::Io)) if call == at => Err(io),
            Some((at, Fault::Full)) if call == at => Err(DiskError::Full),
            Some((at, Fault::NoRoom)) if call >= at && matches!(operation, "open" | "write") => Err(DiskError::Full),
            _ => Ok(()),
        }
    }

    fn alive(&self) -> Result<(), DiskError> {
        self.0.borrow_mut().reads += 1;
        let crashed = self.0.borrow().crashed;
        if crashed { Err(DiskError::Io { operation: "read", reason: "injected".to_string() }) } else { Ok(()) }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Disk for TestDisk {
    type File = TestFile;

    fn open(&self, path: &str, mode: OpenMode) -> Result<TestFile, DiskError> {
        self.alive()?;
        let State { fault, calls, .. } = *self.0.borrow();
        if fault.is_some_and(|(at, fault)| fault == Fault::NoHandles && calls >= at) {
            return Err(DiskError::TooManyFiles);
        }
        let known = self.0.borrow().names.get(path).copied();
        let index = match (known, mode) {
            (Some(Some(_)), OpenMode::CreateNew) => return Err(DiskError::AlreadyExists { path: path.to_string() }),
            (Some(Some(index)), _) => index,
            (Some(None), _) => return Err(DiskError::Io { operation: "open", reason: "a folder".to_string() }),
            (None, OpenMode::Existing) => return Err(DiskError::NotFound { path: path.to_string() }),
            (None, _) => {
                self.call("open")?;
                let mut state = self.0.borrow_mut();
                if !state.names.contains_key(parent(path)) {
                    return Err(DiskError::NotFound { path: parent(path).to_string() });
                }
                state.files.push(Contents::default());
                let index = state.files.len() - 1;
                state.names.insert(path.to_string(), Some(index));
                index
            }
        };
        Ok(TestFile { index, _path: Arc::new(Mutex::new(path.to_string())) })
    }

    fn read_at(&self, file: &TestFile, at: u64, len: usize) -> Result<Bytes, DiskError> {
        self.alive()?;
        let state = self.0.borrow();
        let cached = &state.files[file.index].cached;
        let from = (at as usize).min(cached.len());
        Ok(Bytes::copy_from_slice(&cached[from..from.saturating_add(len).min(cached.len())]))
    }

    fn write_at(&self, file: &TestFile, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let bytes = parts.concat();
        let outcome = self.call("write");
        let mut state = self.0.borrow_mut();
        // A failed write may leave a part behind.
        let written = if outcome.is_ok() { bytes.len() } else { bytes.len() / 2 };
        if outcome.is_err() && state.crashed && at.is_multiple_of(2) {
            return outcome;
        }
        let cached = &mut state.files[file.index].cached;
        let end = at as usize + written;
        if cached.len() < end {
            cached.resize(end, 0);
        }
        cached[at as usize..end].copy_from_slice(&bytes[..written]);
        outcome
    }

    fn sync(&self, file: &TestFile) -> Result<(), DiskError> {
        self.call("sync")?;
        let mut state = self.0.borrow_mut();
        let contents = &mut state.files[file.index];
        contents.durable = contents.cached.clone();
        Ok(())
    }

    fn len(&self, file: &TestFile) -> Result<u64, DiskError> {
        self.alive()?;
        Ok(self.0.borrow().files[file.index].cached.len() as u64)
    }

    fn set_len(&self, file: &TestFile, len: u64) -> Result<(), DiskError> {
        self.call("set_len")?;
        self.0.borrow_mut().files[file.index].cached.resize(len as usize, 0);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        self.call("create_dir")?;
        self.0.borrow_mut().names.entry(path.to_string()).or_insert(None);
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        self.call("sync_dir")?;
        let mut state = self.0.borrow_mut();
        let inside: Vec<_> =
            state.names.iter().filter(|(name, _)| parent(name) == path).map(|(n, f)| (n.clone(), *f)).collect();
        // What was renamed or removed with its folder goes from the old name as well.
        let kept: Vec<String> = inside.iter().map(|(name, _)| name.clone()).collect();
        let gone: Vec<String> = state
            .durable_names
            .keys()
            .filter(|name| parent(name) == path && !name.is_empty() && !kept.contains(name))
            .cloned()
            .collect();
        for name in gone {
            let prefix = format!("{name}/");
            state.durable_names.retain(|other, _| *other != name && !other.starts_with(&prefix));
        }
        state.durable_names.extend(inside);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.alive()?;
        if !self.0.borrow().names.contains_key(from) {
            return Err(DiskError::NotFound { path: from.to_string() });
        }
        self.call("rename")?;
        let mut state = self.0.borrow_mut();
        let prefix = format!("{from}/");
        let moved: Vec<String> =
            state.names.keys().filter(|name| *name == from || name.starts_with(&prefix)).cloned().collect();
        for name in moved {
            let file = state.names.remove(&name).expect("just listed");
            state.names.insert(format!("{to}{}", &name[from.len()..]), file);
        }
        if state.names[to].is_none() {
            // A folder's content moves with its inode: durable names inside it follow.
            let inside: Vec<_> = state
                .durable_names
                .iter()
                .filter(|(n, _)| n.starts_with(&prefix))
                .map(|(n, f)| (n.clone(), *f))
                .collect();
            for (name, file) in inside {
                state.durable_names.insert(format!("{to}{}", &name[from.len()..]), file);
            }
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.alive()?;
        if !matches!(self.0.borrow().names.get(path), Some(Some(_))) {
            return Err(DiskError::NotFound { path: path.to_string() });
        }
        self.call("remove")?;
        self.0.borrow_mut().names.remove(path);
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        self.call("remove_dir")?;
        let prefix = format!("{path}/");
        self.0.borrow_mut().names.retain(|name, _| name != path && !name.starts_with(&prefix));
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.alive()?;
        let state = self.0.borrow();
        if !state.names.contains_key(path) {
            return Err(DiskError::NotFound { path: path.to_string() });
        }
        let mut names = vec![];
        for name in state.names.keys().filter(|name| !name.is_empty() && parent(name) == path) {
            names.push(name.rsplit_once('/').map_or(name.as_str(), |(_, file)| file).to_string());
        }
        Ok(names)
    }
}
