//! What the checkers of snapshots and of voters are shown (M8, M9).

use tidelog_core::{
    effect::Effect,
    ids::{JobId, LogId, NodeId},
    log::{Job, JobOutcome, LogDir, LogError, Step},
    message::SnapshotId,
    offset::Offset,
};

use super::{Env, Host, metadata_partition};
use crate::{
    check::{Violation, m8, m9},
    digest,
    disk::SimDisk,
    tally::Mark,
};

impl Host {
    /// An order about the metadata log or a snapshot of it is about to go out.
    pub(super) fn watch_snapshot_order(&self, env: &mut Env<'_>, effect: &Effect) -> Result<(), Violation> {
        let Effect::Run { log: LogId::METADATA, job, order } = effect else { return Ok(()) };
        let me = NodeId(self.index as i32);
        let mark = self.quorum().map_or(Offset::ZERO, |quorum| quorum.high_watermark());
        let canon = &mut env.oracle.canon;
        let shelf = canon.shelves.entry(env.directories[self.index]).or_default();
        match order {
            Job::Append { batches, .. } => {
                let configured = super::voters(env.config);
                let Some(ledger) = env.oracle.ledgers.get(&(self.index, metadata_partition())) else { return Ok(()) };
                for batch in batches {
                    if let Some(voters) = batch.as_voters() {
                        m9::changed(&mut env.oracle.canon, (me, mark), ledger, batch.header(), &voters, &configured)?;
                    }
                }
                Ok(())
            }
            Job::WriteSnapshot { id, position, piece, is_last } => {
                let bytes = shelf.writing.entry(*id).or_default();
                bytes.truncate(*position as usize);
                bytes.extend_from_slice(piece);
                if *is_last {
                    // The same may be fetched anew before this is written.
                    let bytes = shelf.writing.remove(id).unwrap_or_default();
                    shelf.finishing.insert(*job, (*id, bytes));
                }
                if let Some(ledger) = env.oracle.ledgers.get(&(self.index, metadata_partition()))
                    && *position == 0
                {
                    return m8::begun(&env.oracle.canon, me, ledger, *id, mark);
                }
                Ok(())
            }
            Job::RemoveSnapshot(id) => {
                shelf.kept.remove(id);
                Ok(())
            }
            Job::RaiseLogStart { to } => m8::starts(shelf, me, *to),
            Job::StartOver { at } => {
                env.tally.sometimes(Mark::SnapshotInstalled, true);
                m8::starts_over(shelf, me, *at)
            }
            _ => Ok(()),
        }
    }

    /// A job on the metadata log is over.
    pub(super) fn watch_snapshot_end(
        &self,
        env: &mut Env<'_>,
        log: LogId,
        job: JobId,
        outcome: &Result<JobOutcome, LogError>,
    ) -> Result<(), Violation> {
        if log != LogId::METADATA {
            return Ok(());
        }
        let me = NodeId(self.index as i32);
        let canon = &mut env.oracle.canon;
        let shelf = canon.shelves.entry(env.directories[self.index]).or_default();
        if let Some((id, bytes)) = shelf.finishing.remove(&job) {
            if outcome.is_ok() {
                env.tally.sometimes(Mark::SnapshotTaken, true);
                shelf.kept.insert(id);
                let folded = canon.images.get(&id.end).map(|(digest, _)| *digest);
                // Of a node alone nobody keeps the images; it has folded nothing since, or what it has is not told.
                let own = self.node().filter(|node| node.applied_metadata().1 == id.end).map(|node| node.image());
                m8::whole(me, id, &bytes, folded.or_else(|| own.map(digest::image)))?;
            }
            return Ok(());
        }
        match outcome {
            Ok(JobOutcome::Opened(state)) => m8::starts(shelf, me, state.log_start),
            Ok(JobOutcome::Trimmed { log_start, .. }) => m8::starts(shelf, me, *log_start),
            _ => Ok(()),
        }
    }

    /// The directory was opened, with these snapshots in it.
    pub(super) fn watch_found_snapshots(
        &self,
        env: &mut Env<'_>,
        dir: &mut LogDir<SimDisk>,
        found: &[SnapshotId],
    ) -> Result<(), Violation> {
        let me = NodeId(self.index as i32);
        let canon = &mut env.oracle.canon;
        let shelf = canon.shelves.entry(env.directories[self.index]).or_default();
        (shelf.writing, shelf.finishing) = Default::default();
        env.tally.sometimes(Mark::SnapshotLoaded, !found.is_empty());
        m8::found(shelf, me, found)?;
        for &id in found {
            let order = Job::ReadSnapshot { id, position: 0, max_bytes: 1 << 30 };
            let read = self.disk.quietly(|| dir.execute(LogId::METADATA, order));
            let Step::Done(Ok(JobOutcome::SnapshotPiece { bytes, .. })) = read else { continue };
            let folded = canon.images.get(&id.end).map(|(digest, _)| *digest);
            m8::whole(me, id, &bytes, folded)?;
        }
        let shelf = canon.shelves.entry(env.directories[self.index]).or_default();
        shelf.kept = found.iter().copied().collect();
        Ok(())
    }
}
