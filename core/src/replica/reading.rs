//! Readers: what they get of this replica, and which other one they had better ask (KIP-392).
//!
//! ```text
//!   leader     log start ............ high watermark ...... log end
//!   follower     log start ...... high watermark .... log end
//!                                 |------------| a reader who is here has been at the leader: not available, ask there
//! ```
//!
//! A reader in the rack of a follower is sent there by the leader, and reads up to what the follower knows to be
//! committed. **Only the leader tells a reader that its place is gone.** A follower may just not have it, or not know yet that
//! it is committed; a reader that took this for the end of the log would begin somewhere else.

use super::{FollowerState, Partition, ReadPlan};
use crate::{epoch::LeaderEpoch, ids::NodeId, message::ErrorCode, mutant, offset::Offset};

impl Partition {
    /// May a reader that believes in this epoch be served here? One that knows of followers that serve may be by any replica.
    pub fn check_reader(&self, current: LeaderEpoch, knows_followers: bool) -> ErrorCode {
        if knows_followers { self.check_epoch(current) } else { self.check_leader(current) }
    }

    /// What a reader gets from `offset` on, up to the high watermark. A follower that does not have the place, or whose log is
    /// not that of the reader, says [`ErrorCode::OffsetNotAvailable`], unless the leader has told it that its log begins later.
    pub fn read(
        &self,
        offset: Offset,
        last_epoch: LeaderEpoch,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<ReadPlan, ErrorCode> {
        if let Some(follower) = self.following() {
            // What it still has there the leader has let go, and may never have had: it cannot tell where logs part that it
            // does not hold.
            if offset < follower.leader_log_start {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            if offset > self.high_watermark && mutant!(X21) {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            let is_here = self.log_start <= offset && offset <= self.high_watermark;
            if !is_here || follower.cutting.is_some() || self.divergence(last_epoch, offset).is_some() {
                return Err(ErrorCode::OffsetNotAvailable);
            }
        }
        match self.read_below(self.high_watermark, offset, max_bytes, at_least_one) {
            ReadPlan::OutOfRange => Err(ErrorCode::OffsetOutOfRange),
            plan => Ok(plan),
        }
    }

    /// The follower that a reader at `offset` had better ask: one in sync for which `is_near` holds and that has the place; of
    /// several the one that has most. None where this node leads and is near itself, or does not lead.
    pub fn nearer_replica(&self, offset: Offset, is_near: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let in_sync = self.isr()?;
        if is_near(self.me) || offset < self.log_start || offset > self.high_watermark {
            return None;
        }
        let has_place = |f: &&FollowerState| {
            f.log_start != Offset::NONE && f.log_start <= offset && offset <= f.acknowledged && is_near(f.node)
        };
        let may_serve = |f: &&FollowerState| in_sync.contains(&f.node) || mutant!(X21);
        let near = self.followers().iter().filter(has_place).filter(may_serve);
        near.max_by_key(|f| (f.acknowledged, f.caught_up_at, f.node)).map(|f| f.node)
    }
}
