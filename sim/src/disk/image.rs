//! One file: what is durable, and what the page cache holds above it.
//!
//! ```text
//!              page 0    page 1    page 2    page 3
//!  cache          -       dirty       -       dirty     what readers see first; gone when the power goes
//!  durable     [.....]   [.....]   [.....]      -       what is left then; no page reads as zeros
//!                                          ^ durable_len        ^ len
//! ```
//!
//! A sync captures the dirty pages and the length when it begins and makes exactly those durable when it ends. Power
//! loss decides for every page that is dirty by then, whether captured or not: lost, written, or torn by sectors.

use std::rc::Rc;

use crate::{
    rng::Stream,
    tally::{Fault, Tally},
};

/// What the cache and the disk exchange.
pub const PAGE: usize = 4096;
/// What the disk writes at once.
pub const SECTOR: usize = 512;

type Page = Rc<[u8; PAGE]>;

#[derive(Clone, Debug)]
struct Cached {
    page: Page,
    /// False after a failed sync: readers see it, no later sync writes it.
    dirty: bool,
}

#[derive(Clone, Debug)]
struct Durable {
    page: Page,
    /// Which capture wrote it: an older one that ends later must not overwrite it.
    capture: u64,
    /// What was here before, for stale sectors.
    before: Option<Page>,
}

/// One file's bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    cache: Vec<Option<Cached>>,
    len: u64,
    durable: Vec<Option<Durable>>,
    durable_len: u64,
    captures: u64,
    committed: u64,
    /// The least length since the last capture, where that is below what is durable: a truncation is a change
    /// that power loss undoes as a whole.
    cut_to: Option<u64>,
    /// The same for captures under way.
    cut_in_flight: Option<u64>,
    /// Pages that cannot be read until they are written.
    unreadable: Vec<u32>,
}

/// What one sync makes durable.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    id: u64,
    pages: Vec<(usize, Page)>,
    len: u64,
}

impl Image {
    /// The length that readers see.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The length after power loss, if nothing more is synced.
    pub(crate) fn durable_len(&self) -> u64 {
        self.durable_len
    }

    /// Up to `len` bytes at `at`; `None` when a sector on the way cannot be read.
    pub(crate) fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let end = at.saturating_add(len as u64).min(self.len);
        let mut bytes = Vec::with_capacity(end.saturating_sub(at) as usize);
        let mut position = at;
        while position < end {
            let index = position as usize / PAGE;
            let within = position as usize % PAGE;
            let take = (PAGE - within).min((end - position) as usize);
            if self.cached(index).is_none() && self.unreadable.contains(&(index as u32)) {
                return None;
            }
            match self.page(index) {
                Some(page) => bytes.extend_from_slice(&page[within..within + take]),
                None => bytes.resize(bytes.len() + take, 0),
            }
            position += take as u64;
        }
        Some(bytes)
    }

    /// Writes all of `bytes` at `at`.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut position = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = position as usize % PAGE;
            let take = (PAGE - within).min(rest.len());
            self.dirty(position as usize / PAGE)[within..within + take].copy_from_slice(&rest[..take]);
            rest = &rest[take..];
            position += take as u64;
        }
        self.len = self.len.max(at + bytes.len() as u64);
    }

    /// Cuts or extends with zeros.
    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = (len as usize).div_ceil(PAGE);
            let within = len as usize % PAGE;
            if within != 0 {
                self.dirty(keep - 1)[within..].fill(0);
            }
            for index in keep..self.cache.len().max(self.durable.len()) {
                // Should the file grow again, it must not show what was cut off.
                if self.durable.get(index).is_some_and(Option::is_some) {
                    self.dirty(index).fill(0);
                } else if let Some(cached) = self.cache.get_mut(index) {
                    *cached = None;
                }
            }
            if len < self.durable_len {
                self.cut_to = Some(self.cut_to.map_or(len, |cut| cut.min(len)));
            }
        }
        self.len = len;
    }

    /// Is there anything that a sync would write?
    pub(crate) fn is_dirty(&self) -> bool {
        self.len != self.durable_len || self.cache.iter().flatten().any(|cached| cached.dirty)
    }

    /// A sync begins.
    pub(crate) fn capture(&mut self) -> Capture {
        self.captures += 1;
        if let Some(cut) = self.cut_to.take() {
            self.cut_in_flight = Some(self.cut_in_flight.map_or(cut, |before| before.min(cut)));
        }
        let caught = |(index, cached): (usize, &Option<Cached>)| {
            cached.as_ref().filter(|cached| cached.dirty).map(|cached| (index, Rc::clone(&cached.page)))
        };
        Capture { id: self.captures, pages: self.cache.iter().enumerate().filter_map(caught).collect(), len: self.len }
    }

    /// A sync ends well: what it captured is durable.
    pub(crate) fn commit(&mut self, capture: Capture) {
        for (index, page) in capture.pages {
            if self.cached(index).is_some_and(|cached| Rc::ptr_eq(&cached.page, &page)) {
                self.cache[index] = None;
            }
            self.unreadable.retain(|&bad| bad != index as u32);
            let slot = slot(&mut self.durable, index);
            if slot.as_ref().is_none_or(|durable| durable.capture < capture.id) {
                let before = slot.take().map(|durable| durable.page);
                *slot = Some(Durable { page, capture: capture.id, before });
            }
        }
        if capture.id > self.committed {
            self.committed = capture.id;
            self.durable_len = capture.len;
            self.durable.truncate((capture.len as usize).div_ceil(PAGE));
            self.cut_in_flight = None;
        }
    }

    /// A sync fails: its pages stay visible, are clean, and will never be written (Linux).
    pub(crate) fn drop_dirty(&mut self) {
        for cached in self.cache.iter_mut().flatten() {
            cached.dirty = false;
        }
    }

    /// The cache gives up clean pages that never reached the disk.
    pub(crate) fn evict_clean(&mut self) {
        for cached in &mut self.cache {
            if cached.as_ref().is_some_and(|cached| !cached.dirty) {
                *cached = None;
            }
        }
    }

    /// The power goes; what was not synced is decided by `random`.
    pub(crate) fn power_loss(&mut self, random: &mut Stream, tally: &Tally) {
        let cut = match (self.cut_to.take(), self.cut_in_flight.take()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let cut = cut.filter(|&cut| cut < self.durable_len);
        let mut base = self.durable_len;
        if let Some(cut) = cut {
            if random.chance(500_000) {
                // The truncation reached the disk before the power went.
                let keep = (cut as usize).div_ceil(PAGE);
                self.durable.truncate(keep);
                let within = cut as usize % PAGE;
                if within != 0
                    && let Some(Some(last)) = self.durable.get_mut(keep - 1)
                {
                    Rc::make_mut(&mut last.page)[within..].fill(0);
                }
                base = cut;
            } else {
                tally.fault(Fault::TruncateUndone);
                // What was written over the part that was cut went with it.
                for cached in self.cache.iter_mut().skip(cut as usize / PAGE) {
                    *cached = None;
                }
                self.len = self.len.min(base);
            }
        }
        let len = match random.below(4) {
            0 => base,
            // File systems note a new length when they have written pages or sectors, not bytes.
            1 if self.len > base => (random.between(base, self.len) / SECTOR as u64 * SECTOR as u64).max(base),
            _ => self.len.max(base),
        };
        let (mut bare, mut any) = (false, false);
        for index in 0..self.cache.len() {
            let Some(cached) = self.cache[index].take() else { continue };
            if !cached.dirty {
                continue;
            }
            any = true;
            match random.below(3) {
                0 => {
                    tally.fault(Fault::PageLost);
                    bare |= len > base && (index + 1) * PAGE > base as usize;
                }
                1 => {
                    slot(&mut self.durable, index).get_or_insert_with(Durable::zeros).page = cached.page;
                }
                _ => {
                    tally.fault(Fault::PageTorn);
                    let target = slot(&mut self.durable, index).get_or_insert_with(Durable::zeros);
                    let target = Rc::make_mut(&mut target.page);
                    let prefix = random.chance(500_000);
                    let mask = if prefix { (1 << random.below(9)) - 1 } else { random.draw() };
                    for sector in (0..PAGE / SECTOR).filter(|sector| mask >> sector & 1 == 1) {
                        let range = sector * SECTOR..(sector + 1) * SECTOR;
                        target[range.clone()].copy_from_slice(&cached.page[range]);
                    }
                }
            }
        }
        if bare && any {
            tally.fault(Fault::SizeWithoutData);
        }
        self.durable_len = len;
        self.durable.truncate((len as usize).div_ceil(PAGE));
        // What lies past the end must read as zeros, should the file grow.
        let within = len as usize % PAGE;
        if within != 0
            && let Some(Some(last)) = self.durable.get_mut(len as usize / PAGE)
        {
            Rc::make_mut(&mut last.page)[within..].fill(0);
        }
        self.cache.clear();
        self.len = len;
    }

    /// Flips one bit of what is durable.
    pub(crate) fn flip_bit(&mut self, at: u64, bit: u8) -> bool {
        self.damage(at, |page, _, within| page[within] ^= 1 << (bit & 7))
    }

    /// Zeroes one sector of what is durable.
    pub(crate) fn zero_sector(&mut self, at: u64) -> bool {
        self.damage(at, |page, _, within| page[within / SECTOR * SECTOR..][..SECTOR].fill(0))
    }

    /// One sector returns to what it held before its page was last written.
    pub(crate) fn stale_sector(&mut self, at: u64) -> bool {
        self.damage(at, |page, before, within| {
            let range = within / SECTOR * SECTOR..(within / SECTOR + 1) * SECTOR;
            match before {
                Some(before) => page[range.clone()].copy_from_slice(&before[range]),
                None => page[range].fill(0),
            }
        })
    }

    /// The page at `from` lands on the one at `to` instead; its own place gets back what it held before.
    pub(crate) fn misdirect(&mut self, from: u64, to: u64) -> bool {
        let (from, to) = (from as usize / PAGE, to as usize / PAGE);
        let Some(Some(source)) = self.durable.get(from).cloned() else { return false };
        if from == to || !matches!(self.durable.get(to), Some(Some(_))) || self.cached(to).is_some() {
            return false;
        }
        let capture = source.capture;
        self.durable[to] = Some(Durable { page: source.page, capture, before: None });
        self.durable[from] = source.before.map(|page| Durable { page, capture, before: None });
        self.cache.iter().flatten().all(|cached| cached.dirty)
    }

    /// The file loses its durable end.
    pub(crate) fn lose_end(&mut self, bytes: u64) -> bool {
        if self.is_dirty() || bytes == 0 || bytes > self.durable_len {
            return false;
        }
        let len = self.durable_len - bytes;
        self.set_len(len);
        let capture = self.capture();
        self.commit(capture);
        true
    }

    /// The page at `at` cannot be read until it is written.
    pub(crate) fn make_unreadable(&mut self, at: u64) -> bool {
        let index = at as usize / PAGE;
        let there = matches!(self.durable.get(index), Some(Some(_))) && self.cached(index).is_none();
        if there {
            self.unreadable.push(index as u32);
        }
        there
    }

    fn damage(&mut self, at: u64, change: impl FnOnce(&mut [u8; PAGE], Option<&Page>, usize)) -> bool {
        let (index, within) = (at as usize / PAGE, at as usize % PAGE);
        if at >= self.durable_len || self.cached(index).is_some() {
            return false;
        }
        let Some(Some(durable)) = self.durable.get_mut(index) else { return false };
        let was = Rc::clone(&durable.page);
        change(Rc::make_mut(&mut durable.page), durable.before.as_ref(), within);
        *was != *durable.page
    }

    fn cached(&self, index: usize) -> Option<&Cached> {
        self.cache.get(index).and_then(Option::as_ref)
    }

    fn page(&self, index: usize) -> Option<&[u8; PAGE]> {
        match self.cached(index) {
            Some(cached) => Some(&cached.page),
            None => self.durable.get(index).and_then(Option::as_ref).map(|durable| &*durable.page),
        }
    }

    fn dirty(&mut self, index: usize) -> &mut [u8; PAGE] {
        if self.cached(index).is_none() {
            let below = self.durable.get(index).and_then(Option::as_ref).map(|durable| Rc::clone(&durable.page));
            let page = below.unwrap_or_else(|| Rc::new([0; PAGE]));
            *slot(&mut self.cache, index) = Some(Cached { page, dirty: true });
        }
        let cached = self.cache[index].as_mut().expect("filled above");
        cached.dirty = true;
        Rc::make_mut(&mut cached.page)
    }
}

impl Durable {
    fn zeros() -> Self {
        Self { page: Rc::new([0; PAGE]), capture: 0, before: None }
    }
}

fn slot<T>(of: &mut Vec<Option<T>>, index: usize) -> &mut Option<T> {
    if of.len() <= index {
        of.resize_with(index + 1, || None);
    }
    &mut of[index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn sync(image: &mut Image) {
        let capture = image.capture();
        image.commit(capture);
    }

    fn contents(image: &Image) -> Vec<u8> {
        image.read(0, image.len() as usize).expect("readable")
    }

    /// Random writes, truncations and syncs against a plain vector: the cache always shows the vector, and after
    /// power loss everything below the last sync that nobody has touched since is as it was.
    #[test]
    fn readers_see_a_plain_file_and_synced_bytes_survive_power_loss() {
        for seed in 0..300 {
            let mut random = Stream::new(seed, Purpose::Disk, 0);
            let tally = Tally::default();
            let (mut image, mut model, mut synced) = (Image::default(), Vec::new(), Vec::new());
            let mut touched_from = usize::MAX;
            for _ in 0..40 {
                match random.below(5) {
                    0 | 1 => {
                        let at = random.below(model.len() as u64 + 1) as usize;
                        let bytes: Vec<u8> = (0..random.below(9_000)).map(|_| random.draw() as u8).collect();
                        image.write(at as u64, &bytes);
                        model.resize(model.len().max(at + bytes.len()), 0);
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                        touched_from = touched_from.min(at);
                    }
                    2 => {
                        let len = random.below(model.len() as u64 + 5_000);
                        image.set_len(len);
                        touched_from = touched_from.min(len as usize).min(model.len());
                        model.resize(len as usize, 0);
                    }
                    3 => {
                        sync(&mut image);
                        synced = model.clone();
                        touched_from = usize::MAX;
                    }
                    _ => assert_eq!(contents(&image), model, "seed {seed}"),
                }
            }
            image.power_loss(&mut random, &tally);
            let safe = synced.len().min(touched_from);
            let left = contents(&image);
            assert!(left.len() >= safe, "seed {seed}: {} of {safe} bytes left", left.len());
            // Sectors that hold safe and unsafe bytes may tear, but their safe bytes are the same in both versions.
            assert_eq!(left[..safe], synced[..safe], "seed {seed}");
            assert!(!image.is_dirty());
        }
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began_and_no_more() {
        let mut image = Image::default();
        image.write(0, b"one");
        let capture = image.capture();
        image.write(0, b"two");
        image.commit(capture);
        assert_eq!(contents(&image), b"two");
        let lost = (0..100).any(|seed| {
            let mut image = image.clone();
            image.power_loss(&mut Stream::new(seed, Purpose::Disk, 0), &Tally::default());
            contents(&image) == b"one"
        });
        assert!(lost, "the second write was never lost");
    }

    #[test]
    fn an_older_sync_that_ends_later_does_not_bring_old_bytes_back() {
        let mut image = Image::default();
        image.write(0, b"one");
        let first = image.capture();
        image.write(0, b"two");
        let second = image.capture();
        image.commit(second);
        image.commit(first);
        image.power_loss(&mut Stream::new(1, Purpose::Disk, 0), &Tally::default());
        assert_eq!(contents(&image), b"two");
    }

    #[test]
    fn after_a_failed_sync_the_next_one_proves_nothing() {
        let mut image = Image::default();
        image.write(0, b"one");
        sync(&mut image);
        image.write(0, b"two");
        image.drop_dirty();
        sync(&mut image);
        assert_eq!(contents(&image), b"two", "the cache still shows it");
        image.power_loss(&mut Stream::new(1, Purpose::Disk, 0), &Tally::default());
        assert_eq!(contents(&image), b"one");
    }

    #[test]
    fn unsynced_bytes_can_be_lost_kept_and_torn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut image = Image::default();
            image.write(0, &[1; PAGE]);
            sync(&mut image);
            image.write(0, &[2; PAGE]);
            image.power_loss(&mut Stream::new(seed, Purpose::Disk, 0), &Tally::default());
            let new = contents(&image).iter().filter(|&&b| b == 2).count();
            assert_eq!(new % SECTOR, 0, "sectors are whole");
            seen.insert(new.min(PAGE - 1).min(SECTOR * 7));
        }
        assert!(seen.len() > 3, "{seen:?}");
    }

    #[test]
    fn rot_changes_what_is_durable_and_writing_heals_it() {
        let mut image = Image::default();
        image.write(0, &[7; PAGE]);
        sync(&mut image);
        assert!(image.flip_bit(5, 1));
        assert_eq!(image.read(5, 1), Some(vec![5]));
        assert!(image.zero_sector(SECTOR as u64));
        assert_eq!(image.read(SECTOR as u64, 1), Some(vec![0]));
        assert!(image.make_unreadable(9));
        assert_eq!(image.read(9, 1), None);
        image.write(0, &[8; PAGE]);
        assert_eq!(image.read(9, 1), Some(vec![8]));
        sync(&mut image);
        assert!(image.stale_sector(0));
        assert_eq!(image.read(5, 1), Some(vec![5]));
        assert!(image.lose_end(96));
        assert_eq!(image.len(), 4_000);
    }
}
