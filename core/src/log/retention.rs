//! Which segments may go (semantics §13).
//!
//! ```text
//! | oldest | ..... | high watermark ... active |
//!   -> first one that must stay: everything before it goes
//! ```
//!
//! Only whole segments, only from the front, never one that holds a record at or past the high watermark. In this
//! order: those below the log start, those too much for `retention.bytes`, those older than `retention.ms`. When all
//! qualify, a new empty segment is begun first, so that a log always has one.

use super::{Disk, LogError, store::Log};
use crate::{mutant, offset::Offset, time::Timestamp};

/// How many of the oldest segments may go. It may be all of them.
pub(crate) fn deletable<D: Disk>(log: &mut Log<D>, high_watermark: Offset, wall: Timestamp) -> Result<usize, LogError> {
    // A last segment without a batch is what deleting it would lead to.
    let last_is_empty = log.segments.last().is_some_and(|segment| segment.size == 0);
    let candidates = log.segments.len() - usize::from(last_is_empty);
    let committed = (0..candidates).take_while(|&i| log.segment_end(i) <= high_watermark || mutant!(X19)).count();

    let mut count =
        (0..committed).take_while(|&i| i + 1 < log.segments.len() && log.segments[i + 1].base <= log.log_start).count();
    if !log.config.cleanup.delete {
        return Ok(count);
    }
    if let Some(limit) = log.config.retention_bytes {
        let kept: u64 = log.segments[count..].iter().map(|segment| segment.size).sum();
        let mut excess = kept.saturating_sub(limit);
        while count < committed && excess >= log.segments[count].size && excess > 0 {
            excess -= log.segments[count].size;
            count += 1;
        }
    }
    if let Some(retention) = log.config.retention {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        while count < committed {
            let segment = &mut log.segments[count];
            let newest =
                if mutant!(Y02) { segment.first_timestamp() } else { segment.largest(&log.at)?.map(|(t, _)| t) };
            // Without a timestamp in any record the segment ages from when it was found.
            let newest = newest.unwrap_or_else(|| segment.created());
            if wall.millis_since(newest) <= retention {
                break;
            }
            count += 1;
        }
    }
    Ok(count)
}
