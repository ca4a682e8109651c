//! Snapshots of the metadata as files, in the metadata log's folder (KIP-630).
//!
//! ```text
//! 00000000000000000042-0000000003.checkpoint        all records below offset 42, the last of them of epoch 3
//! 00000000000000000057-0000000003.checkpoint.part   one in the making
//! ```
//!
//! A snapshot is written piece by piece under its second name, synced, and given the first, whose folder is then synced: after a
//! crash there is the whole of it or nothing. What is inside is not this file's concern.

use alloc::{format, vec::Vec};

use bytes::Bytes;

use super::{Disk, DiskError, OpenMode, checkpoint, names};
use crate::{message::SnapshotId, mutant};

/// The snapshots that there are, the oldest first. What a crash left half-written is removed.
pub(crate) fn find<D: Disk>(disk: &D) -> Result<Vec<SnapshotId>, DiskError> {
    let files = match disk.list(names::METADATA_DIR) {
        Err(DiskError::NotFound { .. }) => return Ok(Vec::new()),
        files => files?,
    };
    for file in files.iter().filter(|file| file.ends_with(names::PART)) {
        disk.remove(&names::inside(names::METADATA_DIR, file))?;
    }
    let mut snapshots: Vec<SnapshotId> = files.iter().filter_map(|file| names::parse_metadata_snapshot(file)).collect();
    snapshots.sort_unstable();
    if !snapshots.is_empty() {
        // A killed process may have given the name and not lived to sync it; the log must not be cut on the strength of that.
        disk.sync_dir(names::METADATA_DIR).map_err(checkpoint::fatal)?;
    }
    Ok(snapshots)
}

/// Writes a piece. The last one makes it a snapshot.
pub(crate) fn write<D: Disk>(
    disk: &D,
    id: SnapshotId,
    position: u64,
    piece: &[u8],
    is_last: bool,
) -> Result<(), DiskError> {
    let path = names::metadata_snapshot(id);
    let part = format!("{path}{}", names::PART);
    let file = if position == 0 { checkpoint::create(disk, &part)? } else { disk.open(&part, OpenMode::Existing)? };
    disk.write_at(&file, position, &[piece])?;
    if is_last {
        disk.sync(&file).map_err(checkpoint::fatal)?;
        disk.rename(&part, &path)?;
        if !mutant!(X83) {
            disk.sync_dir(names::METADATA_DIR).map_err(checkpoint::fatal)?;
        }
    }
    Ok(())
}

/// Reads a piece; with it the size of the whole, if there is such a snapshot.
pub(crate) fn read<D: Disk>(
    disk: &D,
    id: SnapshotId,
    position: u64,
    max_bytes: usize,
) -> Result<(Bytes, Option<u64>), DiskError> {
    let file = match disk.open(&names::metadata_snapshot(id), OpenMode::Existing) {
        Err(DiskError::NotFound { .. }) => return Ok((Bytes::new(), None)),
        file => file?,
    };
    let size = disk.len(&file)?;
    let bytes = if position < size { disk.read_at(&file, position, max_bytes)? } else { Bytes::new() };
    Ok((bytes, Some(size)))
}

/// Removes a snapshot, if it is there.
pub(crate) fn remove<D: Disk>(disk: &D, id: SnapshotId) -> Result<(), DiskError> {
    match disk.remove(&names::metadata_snapshot(id)) {
        Err(DiskError::NotFound { .. }) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{epoch::LeaderEpoch, log::test_disk::TestDisk, offset::Offset, prng::Prng};

    fn id(end: i64) -> SnapshotId {
        SnapshotId { end: Offset(end), epoch: LeaderEpoch(3) }
    }

    fn folder() -> TestDisk {
        let disk = TestDisk::new();
        disk.create_dir(names::METADATA_DIR).expect("an empty disk takes a folder");
        disk.sync_dir("").expect("and syncs it");
        disk
    }

    #[test]
    fn a_snapshot_is_there_as_a_whole_or_not_at_all_whenever_the_power_goes() {
        for seed in 0..60u64 {
            let disk = folder();
            write(&disk, id(7), 0, b"old", true).expect("nothing fails");
            assert_eq!(find(&disk), Ok([id(7)].into()));
            write(&disk, id(9), 0, b"first ", false).expect("nothing fails");
            if seed.is_multiple_of(2) {
                write(&disk, id(9), 6, b"second", true).expect("nothing fails");
            }
            disk.lose_power(&mut Prng::new(seed));
            let found = find(&disk).expect("it can be listed");
            let expected: &[SnapshotId] = if seed.is_multiple_of(2) { &[id(7), id(9)] } else { &[id(7)] };
            assert_eq!(found, expected, "seed {seed}");
            if seed.is_multiple_of(2) {
                assert_eq!(read(&disk, id(9), 0, 100), Ok((Bytes::from_static(b"first second"), Some(12))));
                assert_eq!(read(&disk, id(9), 6, 3), Ok((Bytes::from_static(b"sec"), Some(12))));
            }
            assert_eq!(read(&disk, id(9), 12, 3).map(|(bytes, _)| bytes.len()), Ok(0));
            // What was half-written is in nobody's way.
            write(&disk, id(9), 0, b"again", true).expect("nothing fails");
            assert_eq!(read(&disk, id(9), 0, 100), Ok((Bytes::from_static(b"again"), Some(5))));
            remove(&disk, id(7)).and_then(|()| remove(&disk, id(7))).expect("twice is fine");
            assert_eq!(find(&disk), Ok([id(9)].into()));
        }
    }
}
