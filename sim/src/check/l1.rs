//! L1, while faults still strike: a leader that has nobody to wait for does not let its writers wait.
//!
//! A leader that is alone in sync, where that is enough, has committed whatever its own disk has. Most of L1 is asked at the
//! end, when all is healed (simulation.md §1.8); but there the next write would hide a watermark that was forgotten.

use std::{collections::BTreeMap, fmt::Display};

use tidelog_core::{ids::TopicPartition, offset::Offset};

use super::{Violation, violation};

/// How long it may last: the topic's demands may have changed, which is looked at with the next write.
const PATIENCE: u64 = 200_000_000;

/// Since when, and at which offset, watermarks stand still. Times are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Stuck(BTreeMap<TopicPartition, (u64, Offset)>);

impl Stuck {
    /// A leader's partition after an input, at this time; the process has not paused since the other. `alone`: it has nobody
    /// to wait for.
    pub fn look(
        &mut self,
        id: TopicPartition,
        (at, runs_since): (u64, u64),
        alone: bool,
        mark: Offset,
        durable: Offset,
    ) -> Result<(), Violation> {
        if !alone || mark >= durable {
            self.0.remove(&id);
            return Ok(());
        }
        let since = self.0.entry(id).or_insert((at, mark));
        if since.1 != mark || since.0 < runs_since {
            *since = (at, mark);
        }
        if at - since.0 > PATIENCE { Err(stuck(id, mark, durable)) } else { Ok(()) }
    }
}

fn stuck(subject: impl Display, mark: Offset, durable: Offset) -> Violation {
    let why = format!("its leader is alone in sync and durable up to {durable}, and commits no more than {mark}");
    violation("L1", "watermark-stuck", subject, why)
}

#[cfg(test)]
mod tests {
    use tidelog_core::ids::TopicId;

    use super::*;
    use crate::history::partition;

    #[test]
    fn who_is_alone_waits_for_nobody() {
        let id = partition(TopicId([7; 16]), 0);
        let mut stuck = Stuck::default();
        let mut look = |at: u64, alone, mark| {
            stuck.look(id, (at * 100_000_000, 0), alone, Offset(mark), Offset(9)).map_err(|violation| violation.anomaly)
        };
        assert_eq!(look(1, true, 4), Ok(()));
        assert_eq!(look(3, true, 4), Ok(()));
        assert_eq!(look(4, true, 5), Ok(()), "it moves");
        assert_eq!(look(7, false, 5), Ok(()), "others are to have it");
        assert_eq!(look(9, true, 5), Ok(()));
        assert_eq!(look(13, true, 5), Err("watermark-stuck"));
    }
}
