//! The folders: names now, and names after power loss.
//!
//! Every change of a name is journalled until its folder is synced. Power loss takes any part of the journal back:
//! a file that was created and never got its folder synced is missing, one that was removed is there again, a
//! renamed one has its old name, its new one or, rarely, both. A folder is an inode like a file, so that renaming it
//! carries along what is in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    rng::Stream,
    tally::{Fault, Tally},
};

/// The inode of a file or folder.
pub(crate) type Inode = u64;
/// The data directory itself.
pub(crate) const ROOT: Inode = 0;

#[derive(Clone, Debug, Default)]
struct Folder {
    now: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
}

#[derive(Clone, Debug)]
enum Change {
    Link { folder: Inode, name: String, inode: Inode },
    Unlink { folder: Inode, name: String },
    Move { from: (Inode, String), to: (Inode, String), inode: Inode },
}

/// The tree of names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    folders: BTreeMap<Inode, Folder>,
    journal: Vec<(u64, Change)>,
    next_inode: Inode,
    next_change: u64,
}

/// Which changes one sync of a folder makes durable.
#[derive(Clone, Debug)]
pub(crate) struct Captured(Vec<u64>);

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file.
    File(Inode),
    /// A folder.
    Folder(Inode),
}

impl Names {
    /// An empty data directory.
    pub(crate) fn new() -> Self {
        Self {
            folders: BTreeMap::from([(ROOT, Folder::default())]),
            journal: Vec::new(),
            next_inode: ROOT + 1,
            next_change: 0,
        }
    }

    /// What the path leads to now.
    pub(crate) fn find(&self, path: &str) -> Option<Target> {
        if path.is_empty() {
            return Some(Target::Folder(ROOT));
        }
        let (folder, name) = self.parent(path)?;
        let inode = *self.folders[&folder].now.get(name)?;
        Some(if self.folders.contains_key(&inode) { Target::Folder(inode) } else { Target::File(inode) })
    }

    /// The folder that holds the path's last name.
    fn parent<'p>(&self, path: &'p str) -> Option<(Inode, &'p str)> {
        let mut folder = ROOT;
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in above.split('/').filter(|part| !part.is_empty()) {
            folder = *self.folders[&folder].now.get(part)?;
            if !self.folders.contains_key(&folder) {
                return None;
            }
        }
        Some((folder, name))
    }

    /// Creates a file; `None` when its folder is not there.
    pub(crate) fn create(&mut self, path: &str) -> Option<Inode> {
        let (folder, name) = self.parent(path)?;
        let inode = self.next_inode;
        self.next_inode += 1;
        self.change(Change::Link { folder, name: name.to_owned(), inode });
        Some(inode)
    }

    /// Creates a folder and those above it; false when a file is in the way.
    pub(crate) fn create_folder(&mut self, path: &str) -> bool {
        let mut folder = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match self.folders[&folder].now.get(part) {
                Some(&inode) if self.folders.contains_key(&inode) => folder = inode,
                Some(_) => return false,
                None => {
                    let inode = self.next_inode;
                    self.next_inode += 1;
                    self.folders.insert(inode, Folder::default());
                    self.change(Change::Link { folder, name: part.to_owned(), inode });
                    folder = inode;
                }
            }
        }
        true
    }

    /// Takes a name away; false when it is not there.
    pub(crate) fn remove(&mut self, path: &str) -> bool {
        let Some((folder, name)) = self.parent(path) else { return false };
        let there = self.folders[&folder].now.contains_key(name);
        if there {
            self.change(Change::Unlink { folder, name: name.to_owned() });
        }
        there
    }

    /// Renames; false when the old name or the new one's folder is not there.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        let (Some((from_folder, from)), Some((to_folder, to))) = (self.parent(from), self.parent(to)) else {
            return false;
        };
        let Some(&inode) = self.folders[&from_folder].now.get(from) else { return false };
        self.change(Change::Move { from: (from_folder, from.to_owned()), to: (to_folder, to.to_owned()), inode });
        true
    }

    /// Names inside a folder, sorted.
    pub(crate) fn list(&self, folder: Inode) -> Vec<String> {
        self.folders[&folder].now.keys().cloned().collect()
    }

    /// Every file below a path, as path and inode.
    pub(crate) fn files(&self, path: &str) -> Vec<(String, Inode)> {
        let mut found = Vec::new();
        if let Some(Target::Folder(inode)) = self.find(path) {
            self.walk(inode, path, &mut found);
        }
        found
    }

    fn walk(&self, folder: Inode, path: &str, found: &mut Vec<(String, Inode)>) {
        for (name, &inode) in &self.folders[&folder].now {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if self.folders.contains_key(&inode) {
                self.walk(inode, &path, found);
            } else {
                found.push((path, inode));
            }
        }
    }

    /// Files that have a name, or can have one again when the power goes.
    pub(crate) fn linked(&self) -> BTreeSet<Inode> {
        let journalled = self.journal.iter().map(|(_, change)| match change {
            Change::Link { inode, .. } | Change::Move { inode, .. } => *inode,
            Change::Unlink { folder, .. } => *folder,
        });
        let durable = self.folders.values().flat_map(|folder| folder.now.values().chain(folder.durable.values()));
        durable.copied().chain(journalled).collect()
    }

    /// A sync of this folder begins.
    pub(crate) fn capture(&self, folder: Inode) -> Captured {
        Captured(self.journal.iter().filter(|(_, change)| change.touches(folder)).map(|(id, _)| *id).collect())
    }

    /// A sync of a folder ends.
    pub(crate) fn commit(&mut self, captured: &Captured) {
        if captured.0.is_empty() {
            return;
        }
        let journal = std::mem::take(&mut self.journal);
        for (id, change) in journal {
            if captured.0.contains(&id) {
                self.apply_durably(&change, true);
            } else {
                self.journal.push((id, change));
            }
        }
    }

    /// The power goes: some changes come through, the others never happened.
    pub(crate) fn power_loss(&mut self, random: &mut Stream, tally: &Tally) {
        let journal = std::mem::take(&mut self.journal);
        let mode = random.below(4);
        let prefix = random.below(journal.len() as u64 + 1) as usize;
        for (position, (_, change)) in journal.iter().enumerate() {
            let applied = match mode {
                0 => false,
                1 => true,
                2 => position < prefix,
                _ => random.chance(500_000),
            };
            if applied {
                let both = matches!(change, Change::Move { .. }) && random.chance(50_000);
                if both {
                    tally.fault(Fault::RenameBoth);
                }
                self.apply_durably(change, !both);
            } else {
                tally.fault(Fault::NameLost);
            }
        }
        for folder in self.folders.values_mut() {
            folder.now.clone_from(&folder.durable);
        }
    }

    fn change(&mut self, change: Change) {
        match &change {
            Change::Link { folder, name, inode } => {
                self.now(*folder).insert(name.clone(), *inode);
            }
            Change::Unlink { folder, name } => {
                self.now(*folder).remove(name);
            }
            Change::Move { from, to, inode } => {
                self.now(from.0).remove(&from.1);
                self.now(to.0).insert(to.1.clone(), *inode);
            }
        }
        self.journal.push((self.next_change, change));
        self.next_change += 1;
    }

    fn now(&mut self, folder: Inode) -> &mut BTreeMap<String, Inode> {
        &mut self.folders.get_mut(&folder).expect("folders are never forgotten").now
    }

    fn durable(&mut self, folder: Inode) -> &mut BTreeMap<String, Inode> {
        &mut self.folders.get_mut(&folder).expect("folders are never forgotten").durable
    }

    fn apply_durably(&mut self, change: &Change, whole: bool) {
        match change {
            Change::Link { folder, name, inode } => {
                self.durable(*folder).insert(name.clone(), *inode);
            }
            Change::Unlink { folder, name } => {
                self.durable(*folder).remove(name);
            }
            Change::Move { from, to, inode } => {
                if whole && self.durable(from.0).get(&from.1) == Some(inode) {
                    self.durable(from.0).remove(&from.1);
                }
                self.durable(to.0).insert(to.1.clone(), *inode);
            }
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Change {
    fn touches(&self, folder: Inode) -> bool {
        match self {
            Self::Link { folder: at, .. } | Self::Unlink { folder: at, .. } => *at == folder,
            Self::Move { from, to, .. } => from.0 == folder || to.0 == folder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    fn sync(names: &mut Names, path: &str) {
        let Some(Target::Folder(inode)) = names.find(path) else { panic!("{path} is a folder") };
        let captured = names.capture(inode);
        names.commit(&captured);
    }

    fn outcomes(names: &Names, path: &str) -> Vec<Vec<String>> {
        let mut seen = Vec::new();
        for seed in 0..400 {
            let mut names = names.clone();
            names.power_loss(&mut Stream::new(seed, Purpose::Disk, 0), &Tally::default());
            let left = names.files(path).into_iter().map(|(path, _)| path).collect();
            if !seen.contains(&left) {
                seen.push(left);
            }
        }
        seen.sort();
        seen
    }

    #[test]
    fn a_file_whose_folder_is_not_synced_may_be_missing() {
        let mut names = Names::new();
        names.create("a").expect("the root is there");
        assert_eq!(outcomes(&names, ""), [vec![], vec!["a".to_owned()]]);
        sync(&mut names, "");
        assert_eq!(outcomes(&names, ""), [vec!["a".to_owned()]]);
    }

    #[test]
    fn a_synced_folder_is_missing_when_the_one_above_is_not_synced() {
        let mut names = Names::new();
        assert!(names.create_folder("t-0"));
        names.create("t-0/log").expect("the folder is there");
        sync(&mut names, "t-0");
        assert!(outcomes(&names, "").contains(&vec![]));
        sync(&mut names, "");
        assert_eq!(outcomes(&names, ""), [vec!["t-0/log".to_owned()]]);
    }

    #[test]
    fn a_rename_leaves_the_old_name_the_new_one_or_both_but_never_none() {
        let mut names = Names::new();
        names.create("old").expect("the root is there");
        sync(&mut names, "");
        assert!(names.rename("old", "new"));
        let (old, new) = ("old".to_owned(), "new".to_owned());
        assert_eq!(outcomes(&names, ""), [vec![new.clone()], vec![new, old.clone()], vec![old]]);
    }

    #[test]
    fn a_removed_file_may_be_back() {
        let mut names = Names::new();
        names.create("a").expect("the root is there");
        sync(&mut names, "");
        assert!(names.remove("a"));
        assert_eq!(names.find("a"), None);
        assert_eq!(outcomes(&names, ""), [vec![], vec!["a".to_owned()]]);
    }
}
