//! The simulator's disk: core's [`Disk`] with every way in which disks fail.
//!
//! Calls take effect at once and add to a bill of virtual time, which the driver turns into the moment at which the
//! job's outcome arrives. A disk can be told to die at its n-th call from now: from there on nothing has any effect,
//! which is how a job is cut off between any two of its calls. Syncs that a ticket runs are only begun here; they
//! end when the driver says so, and power may be lost in between.

mod image;
mod names;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use bytes::Bytes;
use tidelog_core::log::{Disk, DiskError, OpenMode};

use self::{
    image::{Capture, Image},
    names::{Captured, Inode, Names, Target},
};
use crate::{
    rng::{Purpose, Stream},
    tally::{Fault, Tally},
};

pub use image::{PAGE, SECTOR};

/// How a disk misbehaves at present.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Reads that fail, per million.
    pub read_errors_ppm: u64,
    /// Writes that fail.
    pub write_errors_ppm: u64,
    /// Syncs that fail.
    pub sync_errors_ppm: u64,
    /// Opens that find no handle.
    pub no_handles_ppm: u64,
    /// Every call takes this many times as long; 0 and 1 are normal.
    pub slow: u64,
    /// Every write fails.
    pub read_only: bool,
    /// Bytes that fit; `None` is plenty.
    pub capacity: Option<u64>,
    /// Does a failed sync's data leave the cache at once?
    pub evict_on_sync_error: bool,
}

/// What a call costs when the weather is fair, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Of a read.
    pub read: u64,
    /// Of a write into the cache.
    pub write: u64,
    /// Mean of a sync.
    pub sync: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { read: 20_000, write: 5_000, sync: 400_000 }
    }
}

/// A sync that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flight(u64);

#[derive(Debug)]
enum Begun {
    File(Inode, Capture),
    Folder(Captured),
}

#[derive(Debug)]
struct Inner {
    names: Names,
    images: BTreeMap<Inode, Image>,
    weather: Weather,
    latency: Latency,
    random: Stream,
    tally: Tally,
    bill: u64,
    calls: u64,
    dies_at: Option<u64>,
    dead: bool,
    /// Faults and costs are off: an observer is reading.
    quiet: bool,
    flights: BTreeMap<Flight, Vec<Begun>>,
    boarding: Option<Flight>,
    /// What was called, in words, if somebody wants to read it.
    journal: Option<Vec<String>>,
    next_flight: u64,
    used: u64,
    /// Folders with a file of which a failed sync has dropped what was written.
    dropped: BTreeSet<String>,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Rc<RefCell<Inner>>);

/// A handle on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFile(Inode);

/// Damage to what is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit.
    Bit,
    /// One sector of zeros.
    Zeros,
    /// One sector as it was before.
    Stale,
    /// One page in another's place.
    Misdirected,
    /// The file's end is gone.
    Truncated,
    /// One page answers with an error.
    Latent,
}

impl SimDisk {
    /// An empty disk of this node.
    pub fn new(seed: u64, node: u64, latency: Latency, tally: Tally) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            names: Names::new(),
            images: BTreeMap::new(),
            weather: Weather::default(),
            latency,
            random: Stream::new(seed, Purpose::Disk, node),
            tally,
            bill: 0,
            calls: 0,
            dies_at: None,
            dead: false,
            quiet: false,
            flights: BTreeMap::new(),
            boarding: None,
            journal: None,
            next_flight: 0,
            used: 0,
            dropped: BTreeSet::new(),
        })))
    }

    /// From here on it is no slower than a good one: with a sync of ten milliseconds and more for each small segment, what
    /// clients ask for again comes faster than what they asked for first is done, and that is never over.
    pub fn hurry(&self) {
        let mut inner = self.0.borrow_mut();
        inner.latency.sync = inner.latency.sync.min(Latency::default().sync);
    }

    /// Changes the weather.
    pub fn set_weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.0.borrow_mut().weather);
    }

    /// Writes down every call from now on.
    pub fn keep_journal(&self) {
        self.0.borrow_mut().journal = Some(Vec::new());
    }

    /// What was called since this was last asked.
    pub fn take_journal(&self) -> Vec<String> {
        self.0.borrow_mut().journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.0.borrow().used
    }

    /// Files that have a name.
    pub fn files(&self) -> Vec<(String, u64)> {
        let inner = self.0.borrow();
        inner.names.files("").into_iter().map(|(path, inode)| (path, inner.images[&inode].len())).collect()
    }

    /// Virtual nanoseconds that calls have taken since this was last asked.
    pub fn take_bill(&self) -> u64 {
        std::mem::take(&mut self.0.borrow_mut().bill)
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// From the n-th call on, counted from now, nothing has any effect.
    pub fn die_after(&self, calls: u64) {
        let mut inner = self.0.borrow_mut();
        inner.dies_at = Some(inner.calls + calls);
    }

    /// Has the disk died under its process?
    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// Folders with a file of which a failed sync has dropped what was written, since this was last asked.
    pub fn take_dropped(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.0.borrow_mut().dropped)
    }

    /// The process is gone, the machine is not: names and cache stay. Data that a failed sync dropped leaves the cache.
    pub fn process_died(&self) {
        let inner = &mut *self.0.borrow_mut();
        let flights = std::mem::take(&mut inner.flights);
        // What the kernel had begun to write it finishes.
        for begun in flights.into_values().flatten() {
            inner.land(begun);
        }
        inner.images.values_mut().for_each(Image::evict_clean);
        inner.revive();
    }

    /// The machine has lost its power.
    pub fn power_lost(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.flights.clear();
        for image in inner.images.values_mut() {
            image.power_loss(&mut inner.random, &inner.tally);
        }
        inner.names.power_loss(&mut inner.random, &inner.tally);
        inner.revive();
    }

    /// Syncs from here on are only begun.
    pub fn begin_flight(&self) -> Flight {
        let mut inner = self.0.borrow_mut();
        let flight = Flight(inner.next_flight);
        inner.next_flight += 1;
        inner.boarding = Some(flight);
        flight
    }

    /// Syncs end at once again.
    pub fn end_boarding(&self) {
        self.0.borrow_mut().boarding = None;
    }

    /// The syncs of this flight end.
    pub fn land(&self, flight: Flight) {
        let mut inner = self.0.borrow_mut();
        for begun in inner.flights.remove(&flight).unwrap_or_default() {
            inner.land(begun);
        }
    }

    /// Lets an observer read without faults, costs or traces in the run.
    pub fn quietly<T>(&self, observe: impl FnOnce() -> T) -> T {
        let was = std::mem::replace(&mut self.0.borrow_mut().quiet, true);
        let seen = observe();
        self.0.borrow_mut().quiet = was;
        seen
    }

    /// Damages what is durable of one file around the byte `at`; false when there is nothing to damage.
    pub fn rot(&self, path: &str, rot: Rot, at: u64) -> bool {
        let inner = &mut *self.0.borrow_mut();
        let Some(Target::File(inode)) = inner.names.find(path) else { return false };
        let image = inner.images.get_mut(&inode).expect("a named file has an image");
        let (done, fault) = match rot {
            Rot::Bit => (image.flip_bit(at, inner.random.draw() as u8), Fault::BitRot),
            Rot::Zeros => (image.zero_sector(at), Fault::ZeroedSector),
            Rot::Stale => (image.stale_sector(at), Fault::StaleSector),
            Rot::Misdirected => {
                let to = inner.random.below(image.durable_len().max(1));
                (image.misdirect(at, to), Fault::Misdirected)
            }
            Rot::Truncated => (image.lose_end(image.durable_len().saturating_sub(at)), Fault::TruncatedFile),
            Rot::Latent => (image.make_unreadable(at), Fault::LatentError),
        };
        if done {
            inner.tally.fault(fault);
            inner.recount();
        }
        done
    }

    /// How much of a file is durable.
    pub fn durable_len(&self, path: &str) -> Option<u64> {
        let inner = self.0.borrow();
        match inner.names.find(path)? {
            Target::File(inode) => Some(inner.images[&inode].durable_len()),
            Target::Folder(_) => None,
        }
    }

    /// Takes everything away: a new disk.
    pub fn wipe(&self) {
        let inner = &mut *self.0.borrow_mut();
        inner.names = Names::new();
        inner.images.clear();
        inner.flights.clear();
        inner.revive();
    }
}

impl Inner {
    fn revive(&mut self) {
        self.dies_at = None;
        self.dead = false;
        self.boarding = None;
        self.bill = 0;
        let named: Vec<Inode> = self.names.files("").into_iter().map(|(_, inode)| inode).collect();
        // No process holds a handle on what has no name any more, and no power loss can give it one.
        let linked = self.names.linked();
        self.images.retain(|inode, _| linked.contains(inode));
        // A name may have come back to a file whose every byte was lost.
        for inode in named {
            self.images.entry(inode).or_default();
        }
        self.recount();
    }

    fn recount(&mut self) {
        self.used = self.names.files("").iter().map(|(_, inode)| self.images[inode].len()).sum();
    }

    fn land(&mut self, begun: Begun) {
        match begun {
            Begun::File(inode, capture) => {
                if let Some(image) = self.images.get_mut(&inode) {
                    image.commit(capture);
                }
            }
            Begun::Folder(captured) => self.names.commit(&captured),
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if !self.quiet
            && let Some(journal) = &mut self.journal
        {
            journal.push(text());
        }
    }

    fn path_of(&self, inode: Inode) -> String {
        let mut files = self.names.files("").into_iter();
        files.find(|(_, there)| *there == inode).map_or_else(|| format!("inode {inode}"), |(path, _)| path)
    }

    /// One call begins: it costs time, and it may be the one that the process does not live to see.
    fn call(&mut self, operation: &'static str, cost: u64) -> Result<(), DiskError> {
        if self.quiet {
            return Ok(());
        }
        self.calls += 1;
        if self.dies_at.is_some_and(|at| self.calls > at) {
            self.dead = true;
        }
        if self.dead {
            return Err(io(operation, "the machine is gone"));
        }
        self.bill += cost * self.weather.slow.max(1);
        Ok(())
    }

    fn strikes(&mut self, ppm: u64) -> bool {
        !self.quiet && ppm > 0 && self.random.chance(ppm)
    }

    /// A call that changes the disk begins.
    fn change(&mut self, operation: &'static str) -> Result<(), DiskError> {
        self.call(operation, self.latency.write)?;
        if self.weather.read_only {
            self.tally.fault(Fault::ReadOnly);
            return Err(io(operation, "read-only file system"));
        }
        if self.strikes(self.weather.write_errors_ppm) {
            self.tally.fault(Fault::WriteError);
            return Err(io(operation, "input/output error"));
        }
        Ok(())
    }

    fn room(&self) -> u64 {
        self.weather.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used))
    }

    fn sync_cost(&mut self) -> u64 {
        if self.quiet { 0 } else { self.random.exponential(self.latency.sync) + self.latency.sync / 4 }
    }

    fn sync_fails(&mut self) -> bool {
        let fails = self.strikes(self.weather.sync_errors_ppm) || self.weather.read_only;
        if fails {
            self.tally.fault(Fault::SyncError);
        }
        fails
    }

    fn finish(&mut self, begun: Begun) {
        match self.boarding {
            Some(flight) => self.flights.entry(flight).or_default().push(begun),
            None => self.land(begun),
        }
    }

    fn image(&mut self, file: SimFile) -> &mut Image {
        self.images.get_mut(&file.0).expect("images live as long as their process")
    }
}

fn io(operation: &'static str, reason: &str) -> DiskError {
    DiskError::Io { operation, reason: reason.to_owned() }
}

fn not_found(path: &str) -> DiskError {
    DiskError::NotFound { path: path.to_owned() }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &str, mode: OpenMode) -> Result<SimFile, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.note(|| format!("open {path} {mode:?}"));
        inner.call("open", inner.latency.write)?;
        if inner.strikes(inner.weather.no_handles_ppm) {
            inner.tally.fault(Fault::TooManyFiles);
            return Err(DiskError::TooManyFiles);
        }
        match inner.names.find(path) {
            Some(Target::Folder(_)) => Err(io("open", "is a directory")),
            Some(Target::File(_)) if mode == OpenMode::CreateNew => {
                Err(DiskError::AlreadyExists { path: path.to_owned() })
            }
            Some(Target::File(inode)) => Ok(SimFile(inode)),
            None if mode == OpenMode::Existing => Err(not_found(path)),
            None => {
                if inner.weather.read_only {
                    inner.tally.fault(Fault::ReadOnly);
                    return Err(io("create", "read-only file system"));
                }
                if inner.room() == 0 {
                    inner.tally.fault(Fault::DiskFull);
                    return Err(DiskError::Full);
                }
                let inode = inner.names.create(path).ok_or_else(|| not_found(path))?;
                inner.images.insert(inode, Image::default());
                Ok(SimFile(inode))
            }
        }
    }

    fn read_at(&self, file: &SimFile, at: u64, len: usize) -> Result<Bytes, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.call("read", inner.latency.read)?;
        let fails = inner.strikes(inner.weather.read_errors_ppm);
        match inner.image(*file).read(at, len) {
            Some(bytes) if !fails => Ok(bytes.into()),
            _ => {
                inner.tally.fault(Fault::ReadError);
                Err(DiskError::Unreadable { reason: "input/output error".to_owned() })
            }
        }
    }

    fn write_at(&self, file: &SimFile, at: u64, parts: &[&[u8]]) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if inner.journal.is_some() {
            let path = inner.path_of(file.0);
            inner.note(|| format!("write {path} at {at} {total} bytes"));
        }
        let outcome = inner.change("write");
        if inner.dead {
            return outcome;
        }
        let before = inner.image(*file).len();
        let growth = (at + total).saturating_sub(before);
        let mut fits = total;
        if outcome.is_err() {
            fits = if inner.weather.read_only { 0 } else { inner.random.below(total + 1) };
        } else if growth > inner.room() {
            fits = total - (growth - inner.room()).min(total);
        }
        let mut position = at;
        let mut left = fits as usize;
        for part in parts {
            let take = part.len().min(left);
            inner.image(*file).write(position, &part[..take]);
            position += take as u64;
            left -= take;
        }
        let now = inner.image(*file).len();
        inner.used += now - before;
        outcome?;
        if fits < total {
            inner.tally.fault(Fault::DiskFull);
            return Err(DiskError::Full);
        }
        Ok(())
    }

    fn sync(&self, file: &SimFile) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        let cost = inner.sync_cost();
        if inner.journal.is_some() {
            let path = inner.path_of(file.0);
            inner.note(|| format!("sync {path}"));
        }
        inner.call("sync", cost)?;
        if inner.sync_fails() {
            let path = inner.path_of(file.0);
            inner.dropped.insert(path.split('/').next().unwrap_or_default().to_owned());
            let evict = inner.weather.evict_on_sync_error;
            let image = inner.image(*file);
            image.drop_dirty();
            if evict {
                image.evict_clean();
            }
            return Err(io("sync", "input/output error"));
        }
        let capture = inner.image(*file).capture();
        inner.finish(Begun::File(file.0, capture));
        Ok(())
    }

    fn len(&self, file: &SimFile) -> Result<u64, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.call("len", 0)?;
        Ok(inner.image(*file).len())
    }

    fn set_len(&self, file: &SimFile, len: u64) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        if inner.journal.is_some() {
            let path = inner.path_of(file.0);
            inner.note(|| format!("truncate {path} to {len}"));
        }
        inner.change("truncate")?;
        let before = inner.image(*file).len();
        if len.saturating_sub(before) > inner.room() {
            inner.tally.fault(Fault::DiskFull);
            return Err(DiskError::Full);
        }
        inner.image(*file).set_len(len);
        inner.used = (inner.used + len).saturating_sub(before);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        if matches!(inner.names.find(path), Some(Target::Folder(_))) {
            return inner.call("mkdir", inner.latency.write);
        }
        inner.change("mkdir")?;
        if inner.room() == 0 {
            inner.tally.fault(Fault::DiskFull);
            return Err(DiskError::Full);
        }
        if inner.names.create_folder(path) { Ok(()) } else { Err(DiskError::AlreadyExists { path: path.to_owned() }) }
    }

    fn sync_dir(&self, path: &str) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        let cost = inner.sync_cost() / 2;
        inner.note(|| format!("sync folder {path:?}"));
        inner.call("sync", cost)?;
        let Some(Target::Folder(inode)) = inner.names.find(path) else { return Err(not_found(path)) };
        if inner.sync_fails() {
            return Err(io("sync", "input/output error"));
        }
        let captured = inner.names.capture(inode);
        inner.finish(Begun::Folder(captured));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.note(|| format!("rename {from} to {to}"));
        inner.change("rename")?;
        let replaced = match (inner.names.find(from), inner.names.find(to)) {
            (None, _) => return Err(not_found(from)),
            (_, Some(Target::Folder(inode))) if !inner.names.list(inode).is_empty() => {
                return Err(io("rename", "directory not empty"));
            }
            (Some(Target::File(from)), Some(Target::File(to))) if from != to => inner.images[&to].len(),
            _ => 0,
        };
        if !inner.names.rename(from, to) {
            return Err(not_found(to));
        }
        inner.used = inner.used.saturating_sub(replaced);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.note(|| format!("remove {path}"));
        inner.change("unlink")?;
        match inner.names.find(path) {
            Some(Target::File(inode)) => {
                inner.names.remove(path);
                inner.used = inner.used.saturating_sub(inner.images[&inode].len());
                Ok(())
            }
            Some(Target::Folder(_)) => Err(io("unlink", "is a directory")),
            None => Err(not_found(path)),
        }
    }

    fn remove_dir(&self, path: &str) -> Result<(), DiskError> {
        // Not one call of the system but many: each can be the last, and each file goes on its own.
        let files = match self.0.borrow().names.find(path) {
            Some(Target::Folder(_)) => self.0.borrow().names.files(path),
            _ => return Err(not_found(path)),
        };
        for (file, _) in files {
            self.remove(&file)?;
        }
        let inner = &mut *self.0.borrow_mut();
        inner.change("rmdir")?;
        inner.names.remove(path);
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        let inner = &mut *self.0.borrow_mut();
        inner.call("list", inner.latency.read)?;
        match inner.names.find(path) {
            Some(Target::Folder(inode)) => Ok(inner.names.list(inode)),
            _ => Err(not_found(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(seed: u64) -> SimDisk {
        SimDisk::new(seed, 0, Latency::default(), Tally::default())
    }

    fn write(disk: &SimDisk, path: &str, bytes: &[u8]) -> SimFile {
        let file = disk.open(path, OpenMode::CreateOrOpen).expect("fair weather");
        disk.write_at(&file, 0, &[bytes]).expect("fair weather");
        file
    }

    fn read(disk: &SimDisk, path: &str) -> Option<Bytes> {
        let file = disk.open(path, OpenMode::Existing).ok()?;
        Some(disk.read_at(&file, 0, 1 << 20).expect("fair weather"))
    }

    #[test]
    fn a_synced_file_in_a_synced_folder_survives_power_loss() {
        for seed in 0..50 {
            let disk = disk(seed);
            let file = write(&disk, "a", b"bytes");
            disk.sync(&file).expect("fair weather");
            disk.sync_dir("").expect("fair weather");
            disk.power_lost();
            assert_eq!(read(&disk, "a").as_deref(), Some(&b"bytes"[..]));
        }
    }

    #[test]
    fn everything_survives_the_death_of_the_process_alone() {
        let disk = disk(1);
        write(&disk, "a", b"bytes");
        disk.process_died();
        assert_eq!(read(&disk, "a").as_deref(), Some(&b"bytes"[..]));
    }

    #[test]
    fn a_sync_in_flight_is_not_durable_until_it_lands() {
        let left = |land: bool| {
            (0..40).filter(move |&seed| {
                let disk = disk(seed);
                let file = write(&disk, "a", b"bytes");
                disk.sync_dir("").expect("fair weather");
                let flight = disk.begin_flight();
                disk.sync(&file).expect("fair weather");
                disk.end_boarding();
                if land {
                    disk.land(flight);
                }
                disk.power_lost();
                read(&disk, "a").as_deref() == Some(&b"bytes"[..])
            })
        };
        assert_eq!(left(true).count(), 40);
        assert!(left(false).count() < 40);
    }

    #[test]
    fn a_job_is_cut_off_between_two_calls() {
        let disk = disk(1);
        let file = write(&disk, "a", b"1");
        disk.die_after(1);
        assert!(disk.write_at(&file, 1, &[b"2"]).is_ok());
        assert!(disk.write_at(&file, 2, &[b"3"]).is_err());
        assert!(disk.is_dead());
        disk.process_died();
        assert_eq!(read(&disk, "a").as_deref(), Some(&b"12"[..]));
    }

    #[test]
    fn a_full_disk_takes_a_prefix_and_works_again_when_space_returns() {
        let disk = disk(1);
        disk.set_weather(|weather| weather.capacity = Some(4));
        let file = disk.open("a", OpenMode::CreateNew).expect("an empty file fits");
        assert_eq!(disk.write_at(&file, 0, &[b"123", b"456"]), Err(DiskError::Full));
        assert_eq!(read(&disk, "a").as_deref(), Some(&b"1234"[..]));
        disk.set_weather(|weather| weather.capacity = None);
        assert_eq!(disk.write_at(&file, 0, &[b"123", b"456"]), Ok(()));
        disk.remove("a").expect("fair weather");
        assert_eq!(disk.used(), 0);
    }

    #[test]
    fn a_rename_that_is_taken_back_gives_the_old_file_back() {
        for seed in 0..50 {
            let disk = disk(seed);
            for (path, bytes) in [("a", &b"old"[..]), ("b", b"new")] {
                let file = write(&disk, path, bytes);
                disk.sync(&file).expect("fair weather");
                disk.sync_dir("").expect("fair weather");
            }
            disk.rename("b", "a").expect("fair weather");
            disk.process_died();
            disk.power_lost();
            let left = read(&disk, "a").expect("it has always been there");
            assert!(left == b"old"[..] || left == b"new"[..], "{left:?}");
        }
    }

    #[test]
    fn a_failed_sync_loses_what_it_should_have_written() {
        let disk = disk(1);
        let file = write(&disk, "a", b"bytes");
        disk.sync_dir("").expect("fair weather");
        disk.set_weather(|weather| weather.sync_errors_ppm = 1_000_000);
        assert!(disk.sync(&file).is_err());
        disk.set_weather(|weather| weather.sync_errors_ppm = 0);
        assert!(disk.sync(&file).is_ok());
        disk.power_lost();
        assert_ne!(read(&disk, "a").as_deref(), Some(&b"bytes"[..]));
    }
}
