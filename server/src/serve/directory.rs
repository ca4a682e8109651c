//! Opening a node's data directory: ours, free, formatted, or a reason why not.

use std::{fs, io, path::Path};

use tidelog_core::{
    ids::{DirectoryId, NodeId},
    log::{DirError, DirState, Disk, Identity, LogDir},
};

use super::{NODE_ID_DEFAULT, ServeError, exit};
use crate::{
    config::Settings,
    disk::{DataLock, FileDisk, LockError},
    env::Env,
};

/// An open data directory.
pub(super) struct DataDirectory<D: Disk> {
    pub(super) disk: D,
    pub(super) logs: LogDir<D>,
    pub(super) state: DirState,
    /// For the node's own draws.
    pub(super) seed: u64,
}

impl DataDirectory<FileDisk> {
    /// Opens the folder that the settings name, formatting it first if it is new. Nothing is written to one that is not
    /// ours.
    pub(super) fn open(env: &impl Env, settings: &Settings, open_files_max: usize) -> Result<Self, ServeError> {
        let path = &settings.data;
        fs::create_dir_all(path).map_err(|error| unusable(path, &error))?;
        if let Some(file) = foreign(path).map_err(|error| unusable(path, &error))? {
            return Err(refused(path, &DirError::Foreign { file }));
        }
        let lock = DataLock::acquire(path).map_err(|error| match &error {
            LockError::InUse { .. } => {
                let hint = "stop that process, or choose another folder with --data DIR";
                ServeError::new(exit::DATA, error.to_string(), hint)
            }
            LockError::Io { error, .. } => unusable(path, error),
        })?;
        Self::on(env, settings, FileDisk::new(lock, open_files_max))
    }
}

impl<D: Disk> DataDirectory<D> {
    /// Opens the directory on a disk, formatting it first if it is new.
    pub(super) fn on(env: &impl Env, settings: &Settings, disk: D) -> Result<Self, ServeError> {
        let path = &settings.data;
        let opened = match LogDir::open(disk.clone()) {
            Err(DirError::NotFormatted) => {
                let identity = Identity {
                    node: settings.node_id.map_or(NODE_ID_DEFAULT, NodeId),
                    cluster_id: match &settings.cluster_id {
                        Some(asked) => asked.clone(),
                        None if !settings.peers.is_empty() => settings.peers.cluster_id(),
                        // Kafka's form of an id: 22 characters of base64.
                        None => DirectoryId(random(env)?.to_be_bytes()).to_string(),
                    },
                    directory: DirectoryId(random(env)?.to_be_bytes()),
                };
                LogDir::format(&disk, &identity).map_err(|error| refused(path, &error))?;
                tracing::info!(data = %path.display(), cluster = identity.cluster_id, "formatted a new data directory");
                LogDir::open(disk.clone())
            }
            opened => opened,
        };
        let (logs, state) = opened.map_err(|error| refused(path, &error))?;
        if let Some(asked) = settings.node_id
            && NodeId(asked) != state.identity.node
        {
            return Err(ServeError::new(
                exit::CONFIG,
                format!("{} belongs to node {}, not to node {asked}", path.display(), state.identity.node),
                "a directory keeps its node id; leave the setting out, or choose another folder with --data DIR",
            ));
        }
        if let Some(asked) = &settings.cluster_id
            && *asked != state.identity.cluster_id
        {
            return Err(ServeError::new(
                exit::CONFIG,
                format!("{} belongs to cluster {}, not to {asked}", path.display(), state.identity.cluster_id),
                "a directory keeps its cluster id; leave the setting out, or choose another folder with --data DIR",
            ));
        }
        let bits = random(env)?;
        let seed = (bits as u64) ^ (bits >> 64) as u64;
        Ok(Self { disk, logs, state, seed })
    }
}

/// A file that says that this folder is not a data directory, if there is one.
fn foreign(path: &Path) -> io::Result<Option<String>> {
    let mut first = None;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // The second one is what a format leaves behind that was cut off.
        if name == "meta.properties" || name == "meta.properties.tmp" {
            return Ok(None);
        }
        if name != ".lock" && name != "lost+found" && first.as_ref().is_none_or(|least| name < *least) {
            first = Some(name);
        }
    }
    Ok(first)
}

fn refused(path: &Path, error: &DirError) -> ServeError {
    let path = path.display();
    let (message, hint) = match error {
        DirError::NotFormatted => (format!("{path} is not formatted"), "start with an empty folder"),
        DirError::Foreign { file } => (
            format!("{path} is not a tidelog data directory: it holds \"{file}\""),
            "choose an empty or a new folder with --data DIR",
        ),
        DirError::OtherFormat { found } => (
            format!("{path} was written by another version: {found}"),
            "start the version that wrote it, or choose another folder with --data DIR",
        ),
        DirError::Corrupt { file, reason } => (
            format!("{path} is damaged: {file}: {reason}"),
            "restore the file from a backup, or start anew with another folder (--data DIR)",
        ),
        error => (format!("cannot open {path}: {error}"), "check the disk and the folder's permissions"),
    };
    ServeError::new(exit::DATA, message, hint)
}

fn unusable(path: &Path, error: &io::Error) -> ServeError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user the right to read and write it, or choose another with --data DIR"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "--data names a folder",
        io::ErrorKind::StorageFull => "make room, or choose a folder on another disk with --data DIR",
        _ => "choose another folder with --data DIR",
    };
    ServeError::new(exit::DATA, format!("cannot use {} as data directory: {error}", path.display()), hint)
}

/// Bits from the runtime's generator.
pub(super) fn random(env: &impl Env) -> Result<u128, ServeError> {
    env.random().map_err(|error| ServeError::new(exit::FAILED, format!("the system has no random bits: {error}"), ""))
}
