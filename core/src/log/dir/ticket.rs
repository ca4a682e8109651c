//! What is to be synced, in a form that another thread can carry.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use crate::{
    log::{Disk, DiskError},
    mutant,
    offset::Offset,
};

/// What one sync covers. It can be carried to another thread.
pub struct SyncTicket<D: Disk> {
    pub(super) files: Vec<D::File>,
    pub(super) dirs: Vec<String>,
    pub(super) end: Offset,
    pub(super) generation: u64,
}

impl<D: Disk> SyncTicket<D> {
    /// Syncs. Once: after an error nothing that the ticket covers may be trusted.
    pub fn run(&self, disk: &D) -> Result<(), DiskError> {
        let once = || disk.sync_all(&self.files, &self.dirs);
        if mutant!(X81) { once().or_else(|_| once()) } else { once() }
    }

    /// Syncs for many logs at once, which takes less time than for one after another. The outcome is that of each.
    pub fn run_all<'a>(tickets: impl Iterator<Item = &'a Self>, disk: &D) -> Result<(), DiskError>
    where
        D: 'a,
    {
        let (mut files, mut dirs) = (Vec::new(), BTreeSet::new());
        for ticket in tickets {
            files.extend(ticket.files.iter().cloned());
            dirs.extend(ticket.dirs.iter().cloned());
        }
        disk.sync_all(&files, &dirs.into_iter().collect::<Vec<_>>())
    }

    /// Everything below is durable once it has succeeded.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Is there nothing to sync?
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.dirs.is_empty()
    }
}
