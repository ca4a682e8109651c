//! How a new segment takes the place of old ones without a moment at which a crash loses either.
//!
//! ```text
//! 1  write, sync          40.log.cleaned  40.index.cleaned  40.timeindex.cleaned
//! 2  rename, sync names   40.log.swap     40.index.swap     40.timeindex.swap      <- from here on it will happen
//! 3  rename, sync names   40.log, the old one's indexes removed before
//! 4  remove, sync names   60.log 60.index .., whose records are in 40.log now
//! 5  rename, sync names   40.index        40.timeindex
//! ```
//!
//! At the next start, files of step 1 are discarded. Any of those of step 2 says that 60.log may be there twice: the
//! swap is taken on from step 3, and the segments removed are those that begin before the last record of 40.log. One
//! that begins behind it holds nothing but what the cleaning dropped, and may be cleaned again; so does 40.log if it
//! is still the old one, be it that the disk forgot a rename. The names are Kafka's, with the same meaning.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use crate::{
    log::{
        Disk, DiskError, LogConfig, LogError,
        checkpoint::fatal,
        names::{self, CLEANED, INDEX, LOG, SWAP, TIME_INDEX, TXN_INDEX},
        place::Place,
        segment::{Segment, Start},
        store::Log,
        walk::Walk,
    },
    mutant,
    offset::Offset,
    time::Timestamp,
};

/// Where segments in the making are: the same folder, with an ending to their names.
pub(super) fn unfinished<D: Disk>(at: &Place<D>) -> Place<D> {
    Place { suffix: CLEANED, ..at.clone() }
}

fn swapping<D: Disk>(at: &Place<D>) -> Place<D> {
    Place { suffix: SWAP, ..at.clone() }
}

/// Removes what rounds that came to no end have left.
pub(super) fn discard_unfinished<D: Disk>(at: &Place<D>) -> Result<(), LogError> {
    for name in at.disk.list(&at.dir)? {
        if name.ends_with(CLEANED) {
            at.remove(&at.inside(&name))?;
        }
    }
    Ok(())
}

/// Puts a segment, complete but for its seal, in the place of its sources, the first of which has its base.
pub(super) fn swap<D: Disk>(
    log: &mut Log<D>,
    mut segment: Segment<D>,
    sources: &[Offset],
    wall: Timestamp,
) -> Result<(), LogError> {
    let at = log.at.clone();
    let (cleaned, swap) = (unfinished(&at), swapping(&at));
    let base = segment.base;
    assert_eq!(sources.first(), Some(&base), "a segment takes the place of the first that went into it");
    segment.seal(&cleaned)?;
    sync(&cleaned, &mut segment)?;
    // Handles lead to files by their names, and those change.
    drop(segment);
    if mutant!(Y22) {
        remove_covered(&at, sources)?;
    }
    for extension in [INDEX, TIME_INDEX, LOG] {
        at.disk.rename(&cleaned.segment(base, extension), &swap.segment(base, extension))?;
    }
    // Past the renames there is no way back, so that an error that would pass does not.
    let commit = || {
        at.disk.sync_dir(&at.dir)?;
        for extension in [INDEX, TIME_INDEX, TXN_INDEX] {
            at.remove(&at.segment(base, extension))?;
        }
        at.disk.rename(&swap.segment(base, LOG), &at.segment(base, LOG))?;
        at.disk.sync_dir(&at.dir)?;
        remove_covered(&at, &sources[1..])?;
        for extension in [INDEX, TIME_INDEX] {
            at.rename(&swap.segment(base, extension), &at.segment(base, extension))?;
        }
        at.disk.sync_dir(&at.dir)?;
        Segment::found(&at, base, wall)
    };
    let segment = commit().map_err(|error| LogError::Offline(fatal(error)))?;
    let first = log.segments.binary_search_by_key(&base, |s| s.base).expect("the sources are there");
    log.segments.splice(first..first + sources.len(), [segment]);
    log.check();
    Ok(())
}

/// Syncs what is written and not yet synced of log and indexes.
pub(super) fn sync<D: Disk>(at: &Place<D>, segment: &mut Segment<D>) -> Result<(), LogError> {
    let files = [segment.take_dirty(), segment.offsets.take_dirty(), segment.times.take_dirty()];
    files.iter().flatten().try_for_each(|file| at.disk.sync(file)).map_err(|error| LogError::Offline(fatal(error)))
}

fn remove_covered<D: Disk>(at: &Place<D>, bases: &[Offset]) -> Result<(), DiskError> {
    for &base in bases {
        for extension in [LOG, INDEX, TIME_INDEX, TXN_INDEX] {
            at.remove(&at.segment(base, extension))?;
        }
    }
    at.disk.sync_dir(&at.dir)
}

/// At the start of a log: discards what was unfinished, and completes a swap that was under way. `names` is what is in
/// the folder; says whether that has changed.
pub(crate) fn finish_swaps<D: Disk>(
    at: &Place<D>,
    names: &[String],
    config: &LogConfig,
    wall: Timestamp,
) -> Result<bool, LogError> {
    if !names.iter().any(|name| name.ends_with(CLEANED) || name.ends_with(SWAP)) {
        return Ok(false);
    }
    discard_unfinished(at)?;
    let swapped: BTreeSet<Offset> = names
        .iter()
        .filter(|n| n.ends_with(SWAP))
        .filter_map(|n| names::parse_segment(n))
        .map(|(base, _)| base)
        .collect();
    for &base in &swapped {
        if at.rename(&swapping(at).segment(base, LOG), &at.segment(base, LOG))? {
            at.disk.sync_dir(&at.dir).map_err(|error| LogError::Offline(fatal(error)))?;
        }
        let end = rebuild(at, base, config, wall)?;
        let logs = names.iter().filter_map(|name| names::parse_segment(name)).filter(|(_, rest)| *rest == LOG);
        let covered: Vec<Offset> = logs.map(|(other, _)| other).filter(|&other| base < other && other < end).collect();
        remove_covered(at, &covered).map_err(|error| LogError::Offline(fatal(error)))?;
    }
    for name in names.iter().filter(|name| name.ends_with(SWAP)) {
        at.remove(&at.inside(name))?;
    }
    Ok(true)
}

/// Makes a segment's indexes anew; returns the offset after its last batch.
fn rebuild<D: Disk>(at: &Place<D>, base: Offset, config: &LogConfig, wall: Timestamp) -> Result<Offset, LogError> {
    for extension in [INDEX, TIME_INDEX, TXN_INDEX] {
        at.remove(&at.segment(base, extension))?;
    }
    let path = at.segment(base, LOG);
    let mut segment = Segment::found(at, base, wall)?;
    let (file, size) = (segment.file(at)?, segment.size);
    segment.rewind(at, Start { position: 0, entries: 0, offset: base })?;
    let mut end = base;
    let mut walk = Walk::headers(&at.disk, &file, 0, size);
    while let Some((position, header)) = walk.next_header().map_err(|e| e.in_file(|| path.clone()))? {
        let relative = header.last_offset().distance_from(base);
        if header.base_offset < end || relative > i64::from(i32::MAX) {
            let reason = format!("a batch of offset {} where {end} was due", header.base_offset);
            return Err(LogError::Corrupt { file: path, position, reason });
        }
        segment.note(&header, walk.position() - position, config);
        segment.flush_indexes(at, false)?;
        end = header.next_offset();
    }
    segment.seal(at)?;
    sync(at, &mut segment)?;
    Ok(end)
}
