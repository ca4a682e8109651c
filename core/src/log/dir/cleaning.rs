//! Rounds of cleaning: begun when there is something to clean, and gone on with piece by piece.

use super::{LogDir, Step, points::set};
use crate::{
    ids::LogId,
    log::{
        Disk, LogError,
        clean::{CleanProgress, Cleaning},
    },
    offset::Offset,
    time::Timestamp,
};

impl<D: Disk> LogDir<D> {
    /// Begins a round of cleaning, if there is something to clean.
    pub(super) fn begin_clean(&mut self, log: LogId, bound: Offset, wall: Timestamp) -> Result<bool, LogError> {
        if self.cleanings.contains_key(&log) {
            return Ok(false);
        }
        let open = self.log(log)?;
        if open.config.cleanup.compact && open.segments.len() > 1 && open.wants_checkpoint() {
            // Only what a checkpoint vouches for is cleaned, and the core need not know when there was one.
            open.vouch()?;
            self.note_points()?;
            self.write_checkpoints()?;
        }
        self.begin_round(log, bound, wall)
    }

    pub(super) fn begin_round(&mut self, log: LogId, bound: Offset, wall: Timestamp) -> Result<bool, LogError> {
        let dir = self.log(log)?.at.dir.clone();
        let cleaned_to = self.cleaner_points.0.get(&dir).copied();
        let Some(cleaning) = Cleaning::begin(self.log(log)?, cleaned_to, bound, wall)? else { return Ok(false) };
        self.cleanings.insert(log, cleaning);
        Ok(true)
    }

    /// Goes on with a round. Where there is none any more, it was given up: the log was cut or closed meanwhile.
    pub(super) fn resume_clean(&mut self, log: LogId) -> Step {
        let Some(mut cleaning) = self.cleanings.remove(&log) else { return self.log_as_it_is(log) };
        let open = match self.log(log) {
            Ok(open) => open,
            Err(error) => return Step::Done(Err(error)),
        };
        match cleaning.step(open) {
            Ok(CleanProgress::More) => {
                self.cleanings.insert(log, cleaning);
                Step::Again
            }
            Ok(CleanProgress::Done(clean_to)) => {
                let dir = open.at.dir.clone();
                let gained = self.cleaner_points.0.get(&dir).is_none_or(|&before| before < clean_to);
                set(&mut self.cleaner_points, &dir, clean_to);
                // A round whose map was full leaves the rest to the next.
                let next = |dir: &mut Self| {
                    if gained { dir.begin_round(log, cleaning.bound, cleaning.wall) } else { Ok(false) }
                };
                match self.write_checkpoints().and_then(|()| next(self)) {
                    Ok(true) => Step::Again,
                    Ok(false) => self.log_as_it_is(log),
                    Err(error) => self.done(Err(error)),
                }
            }
            Ok(CleanProgress::Abandoned) => self.log_as_it_is(log),
            Err(error) => self.done(Err(error)),
        }
    }
}
