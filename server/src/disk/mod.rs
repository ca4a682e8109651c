//! The storage engine's disk on real files.
//!
//! [`FileDisk`] is [`Disk`] over one data directory. The engine holds a handle for every segment and index of every
//! partition, far more than a process may have open, so a handle is a name and not a descriptor: [`Descriptors`]
//! keeps as many open as the system allows and opens the others when they are used again.
//!
//! Files are written with `pwritev`, straight from the batches that came from the socket, and read with `pread` into
//! fresh memory. Neither mapping nor direct I/O: a mapped file turns a failing disk into a signal, and the page cache
//! is what serves readers that are a little behind.
//!
//! One process at a time: the directory's `.lock` is held as long as the disk lives ([`DataLock`]).

mod descriptors;
mod lock;

use std::{
    fs::{self, File},
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::Errno};
use tidelog_core::log::{Disk, DiskError, OpenMode};

use self::descriptors::Descriptors;
pub use self::{
    descriptors::{FileHandle, raise_descriptor_limit},
    lock::{DataLock, LockError},
};

/// A data directory in the file system. Clones share descriptors and lock.
#[derive(Clone, Debug)]
pub struct FileDisk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    descriptors: Descriptors,
    /// Held, not read.
    _lock: DataLock,
}

impl FileDisk {
    /// The disk below a locked directory, with at most `open_max` files open at once.
    pub fn new(lock: DataLock, open_max: usize) -> Self {
        let descriptors = Descriptors::new(lock.directory().to_path_buf(), open_max);
        Self { inner: Arc::new(Inner { descriptors, _lock: lock }) }
    }

    /// Files open now.
    pub fn open_files(&self) -> usize {
        self.inner.descriptors.open_files()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.inner.descriptors.path(path)
    }

    fn with<T>(
        &self,
        file: &FileHandle,
        operation: &'static str,
        work: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let open = self.inner.descriptors.get(file)?;
        work(&open).map_err(|error| disk_error(operation, &file.path(), &error))
    }
}

impl Disk for FileDisk {
    type File = FileHandle;

    fn open(&self, path: &str, mode: OpenMode) -> Result<FileHandle, DiskError> {
        self.inner.descriptors.open(path, mode)
    }

    fn read_at(&self, file: &FileHandle, at: u64, len: usize) -> Result<Bytes, DiskError> {
        self.with(file, "read", |open| {
            // A length that came from broken bytes must not become an allocation.
            let len = if len <= READ_UNCHECKED_BYTES_MAX {
                len
            } else {
                len.min(usize::try_from(open.metadata()?.len().saturating_sub(at)).unwrap_or(usize::MAX))
            };
            if len == 0 {
                return Ok(Bytes::new());
            }
            let mut bytes = Vec::with_capacity(len);
            while bytes.len() < len {
                let position = at + bytes.len() as u64;
                match rustix::io::pread(open, spare_capacity(&mut bytes), position) {
                    Ok(0) => break,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // An allocation may be larger than what was asked for.
            bytes.truncate(len);
            Ok(Bytes::from(bytes))
        })
    }

    fn write_at(&self, file: &FileHandle, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        file.set_dirty();
        self.with(file, "write", |open| write_all(open, at, parts))
    }

    fn sync(&self, file: &FileHandle) -> Result<(), DiskError> {
        if let Some(error) = file.take_failed() {
            return Err(error);
        }
        // Cleared first: what is written while the sync runs is not covered by it.
        file.clear_dirty();
        let synced = self.with(file, "sync", File::sync_data);
        if synced.is_err() {
            file.set_dirty();
        }
        synced
    }

    fn len(&self, file: &FileHandle) -> Result<u64, DiskError> {
        self.with(file, "stat", |open| Ok(open.metadata()?.len()))
    }

    fn set_len(&self, file: &FileHandle, len: u64) -> Result<(), DiskError> {
        file.set_dirty();
        self.with(file, "truncate", |open| open.set_len(len))
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        fs::create_dir_all(self.path(path)).map_err(|error| disk_error("create folder", path, &error))
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        File::open(self.path(path))
            .and_then(|folder| folder.sync_all())
            .map_err(|error| disk_error("sync folder", path, &error))
    }

    fn sync_all(&self, files: &[FileHandle], dirs: &[String]) -> Result<(), DiskError> {
        at_once(files, |file| self.sync(file))?;
        at_once(dirs, |dir| self.sync_dir(dir))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.inner.descriptors.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.inner.descriptors.forget(path);
        fs::remove_file(self.path(path)).map_err(|error| disk_error("remove", path, &error))
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        self.inner.descriptors.forget(path);
        fs::remove_dir_all(self.path(path)).map_err(|error| disk_error("remove folder", path, &error))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        list(&self.path(path), path.is_empty()).map_err(|error| disk_error("list", path, &error))
    }
}

/// Syncs many things from a few threads: the file system lets syncs that wait at the same time share one commit of its
/// journal, where one after another each pays for its own.
fn at_once<T: Sync>(all: &[T], sync: impl Fn(&T) -> Result<(), DiskError> + Sync) -> Result<(), DiskError> {
    let threads = (all.len() / SYNCS_PER_THREAD_MIN).min(SYNC_THREADS_MAX);
    if threads < 2 {
        return all.iter().try_for_each(sync);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            sync(one)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        // Without helpers the work is done all the same.
        let help = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let helpers: Vec<_> = (1..threads).filter_map(help).collect();
        let mine = work();
        let theirs = helpers.into_iter().map(|helper| helper.join().expect("a sync does not panic"));
        theirs.fold(mine, Result::and)
    })
}

fn list(folder: &Path, is_root: bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // The lock is this disk's own, and a fresh file system's root is an empty directory.
        if !(is_root && (name == lock::LOCK_FILE || name == "lost+found")) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Writes all parts at `at`, however many calls it takes.
fn write_all(file: &File, mut at: u64, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let chunk = left.len().min(SLICES_PER_CALL_MAX);
        match rustix::io::pwritev(file, &left[..chunk], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What a system error means to the engine.
pub(crate) fn disk_error(operation: &'static str, path: &str, error: &io::Error) -> DiskError {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => DiskError::Full,
        Some(Errno::MFILE | Errno::NFILE) => DiskError::TooManyFiles,
        Some(Errno::NOENT) => DiskError::NotFound { path: path.to_owned() },
        Some(Errno::EXIST) => DiskError::AlreadyExists { path: path.to_owned() },
        _ if operation == "read" => DiskError::Unreadable { reason: format!("{path}: {error}") },
        _ => DiskError::Io { operation, reason: format!("{path}: {error}") },
    }
}

/// Reads up to this size are taken at their word.
const READ_UNCHECKED_BYTES_MAX: usize = 64 << 10;
/// Threads that sync many files at once.
const SYNC_THREADS_MAX: usize = 16;
/// A thread more pays for itself from so many on.
const SYNCS_PER_THREAD_MIN: usize = 4;
/// `IOV_MAX` of Linux.
const SLICES_PER_CALL_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidelog_core::prng::Prng;

    use super::*;

    pub(super) struct TempDir(pub(super) PathBuf);

    impl TempDir {
        pub(super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tidelog-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).expect("a temporary folder can be made");
            Self(path)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn disk(dir: &TempDir, open_max: usize) -> FileDisk {
        FileDisk::new(DataLock::acquire(&dir.0).expect("nobody else has it"), open_max)
    }

    fn read(disk: &FileDisk, file: &FileHandle) -> Vec<u8> {
        disk.read_at(file, 0, 1 << 20).expect("readable").to_vec()
    }

    #[test]
    fn modes_of_opening_are_told_apart() {
        let dir = TempDir::new("modes");
        let disk = disk(&dir, 16);
        assert_eq!(disk.open("a", OpenMode::Existing).err(), Some(DiskError::NotFound { path: "a".to_owned() }));
        disk.open("a", OpenMode::CreateNew).expect("new");
        assert_eq!(disk.open("a", OpenMode::CreateNew).err(), Some(DiskError::AlreadyExists { path: "a".to_owned() }));
        disk.open("a", OpenMode::Existing).expect("there");
        disk.open("b", OpenMode::CreateOrOpen).expect("either way");
        assert_eq!(disk.list("").expect("a folder"), ["a", "b"]);
    }

    #[test]
    fn parts_are_written_one_after_another_and_read_back() {
        let dir = TempDir::new("parts");
        let disk = disk(&dir, 16);
        let file = disk.open("a", OpenMode::CreateNew).expect("new");
        let many: Vec<&[u8]> = (0..3000).map(|i| if i % 7 == 0 { &b""[..] } else { &b"xyz"[..] }).collect();
        disk.write_at(&file, 0, &many).expect("room");
        assert_eq!(read(&disk, &file), many.concat());
        disk.write_at(&file, 1, &[b"A", b"", b"BC"]).expect("room");
        assert_eq!(disk.read_at(&file, 0, 5).expect("readable"), &b"xABCy"[..]);
        let end = disk.len(&file).expect("there");
        assert_eq!(disk.read_at(&file, end - 1, 100).expect("short at the end"), &b"z"[..]);
        assert_eq!(disk.read_at(&file, end + 10, usize::MAX).expect("nothing past it"), Bytes::new());
        disk.sync(&file).expect("synced");
        disk.set_len(&file, 2).expect("cut");
        disk.set_len(&file, 4).expect("zeros");
        assert_eq!(read(&disk, &file), b"xA\0\0");
    }

    #[test]
    fn a_handle_follows_its_file_through_renames_even_when_it_was_closed() {
        let dir = TempDir::new("rename");
        let disk = disk(&dir, 1);
        disk.create_dir("t-0/deep").expect("made");
        disk.create_dir("t-0/deep").expect("there already is fine");
        let file = disk.open("t-0/a", OpenMode::CreateNew).expect("new");
        let neighbour = disk.open("t-0a", OpenMode::CreateNew).expect("new");
        disk.write_at(&file, 0, &[b"one"]).expect("room");
        disk.write_at(&neighbour, 0, &[b"two"]).expect("room");
        disk.sync(&file).expect("synced");
        disk.sync(&neighbour).expect("synced");
        disk.rename("t-0/a", "t-0/b").expect("renamed");
        disk.rename("t-0", "t-0.gone").expect("renamed");
        for i in 0..8 {
            disk.open(&format!("other-{i}"), OpenMode::CreateNew).expect("new");
        }
        assert!(disk.open_files() <= 2, "{} files open", disk.open_files());
        assert_eq!(read(&disk, &file), b"one");
        assert_eq!(read(&disk, &neighbour), b"two");
        disk.sync_dir("t-0.gone").expect("synced");
        disk.sync_dir("").expect("synced");
        assert!(matches!(disk.sync_dir("t-0"), Err(DiskError::NotFound { .. })));
        disk.remove_dir("t-0.gone").expect("removed");
        assert!(matches!(disk.list("t-0.gone"), Err(DiskError::NotFound { .. })));
    }

    #[test]
    fn a_replaced_file_is_another_file() {
        let dir = TempDir::new("replace");
        let disk = disk(&dir, 16);
        let old = disk.open("checkpoint", OpenMode::CreateNew).expect("new");
        disk.write_at(&old, 0, &[b"old"]).expect("room");
        let new = disk.open("checkpoint.tmp", OpenMode::CreateNew).expect("new");
        disk.write_at(&new, 0, &[b"new"]).expect("room");
        disk.rename("checkpoint.tmp", "checkpoint").expect("replaced");
        let again = disk.open("checkpoint", OpenMode::Existing).expect("there");
        assert_eq!(read(&disk, &again), b"new");
        assert_eq!(read(&disk, &new), b"new");
        disk.remove("checkpoint").expect("there");
        assert!(matches!(disk.remove("checkpoint"), Err(DiskError::NotFound { .. })));
        let third = disk.open("checkpoint", OpenMode::CreateNew).expect("the name is free");
        assert_eq!(read(&disk, &third), b"");
    }

    #[test]
    fn files_with_unsynced_bytes_are_synced_before_they_are_closed() {
        let dir = TempDir::new("dirty");
        let disk = disk(&dir, 2);
        let files: Vec<FileHandle> = (0..8)
            .map(|i| {
                let file = disk.open(&format!("f{i}"), OpenMode::CreateNew).expect("new");
                disk.write_at(&file, 0, &[b"x"]).expect("room");
                file
            })
            .collect();
        assert!(disk.open_files() <= 2);
        assert!(!files[0].is_dirty() && files[7].is_dirty());
        for file in &files {
            disk.sync(file).expect("synced");
            assert_eq!(read(&disk, file), b"x");
        }
    }

    #[test]
    fn system_errors_get_their_meaning() {
        let map = |errno: Errno| disk_error("write", "a", &errno.into());
        assert_eq!(map(Errno::NOSPC), DiskError::Full);
        assert_eq!(map(Errno::DQUOT), DiskError::Full);
        assert_eq!(map(Errno::MFILE), DiskError::TooManyFiles);
        assert!(matches!(map(Errno::IO), DiskError::Io { operation: "write", .. }));
        assert!(matches!(map(Errno::ROFS), DiskError::Io { .. }));
        assert!(matches!(disk_error("read", "a", &Errno::IO.into()), DiskError::Unreadable { .. }));
        assert!(!map(Errno::IO).is_passing());
    }

    /// Random calls on few names, against a map of vectors.
    #[test]
    fn random_calls_agree_with_a_model() {
        let dir = TempDir::new("model");
        let disk = disk(&dir, 2);
        let mut prng = Prng::new(7);
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut handles: BTreeMap<String, FileHandle> = BTreeMap::new();
        for step in 0..2000u64 {
            let name = format!("f{}", prng.below(5));
            match prng.below(6) {
                0 => {
                    let handle = disk.open(&name, OpenMode::CreateOrOpen).expect("openable");
                    model.entry(name.clone()).or_default();
                    handles.insert(name, handle);
                }
                1 | 2 => {
                    if let (Some(bytes), Some(handle)) = (model.get_mut(&name), handles.get(&name)) {
                        let at = usize::try_from(prng.below(100)).expect("small");
                        let data = step.to_be_bytes();
                        bytes.resize(bytes.len().max(at + 8), 0);
                        bytes[at..at + 8].copy_from_slice(&data);
                        disk.write_at(handle, at as u64, &[&data[..3], &data[3..]]).expect("room");
                    }
                }
                3 => {
                    let to = format!("f{}", prng.below(5));
                    if to != name
                        && let Some(bytes) = model.remove(&name)
                    {
                        disk.rename(&name, &to).expect("there");
                        model.insert(to.clone(), bytes);
                        handles.remove(&to);
                        if let Some(handle) = handles.remove(&name) {
                            handles.insert(to, handle);
                        }
                    }
                }
                4 => {
                    let removed = disk.remove(&name).is_ok();
                    assert_eq!(removed, model.remove(&name).is_some());
                    handles.remove(&name);
                }
                _ => {
                    if let Some(handle) = handles.get(&name) {
                        disk.sync(handle).expect("synced");
                    }
                }
            }
            for (name, handle) in &handles {
                assert_eq!(&read(&disk, handle), &model[name], "{name} after step {step}");
            }
            assert_eq!(disk.list("").expect("a folder"), model.keys().cloned().collect::<Vec<_>>());
        }
    }
}
