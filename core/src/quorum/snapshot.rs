//! Snapshots: a log need not keep what one stands for, and a follower that is behind its leader's log fetches one (KIP-630).
//!
//! ```text
//! fetch of offset 12 -> "see snapshot 40" -> piece, written -> piece, written -> read -> the log begins anew at 40
//! ```
//!
//! **Only what is committed is in a snapshot**, so taking one over loses nothing that anybody was promised: what the log holds
//! beyond what it has of the leader's is cut off in any case. **The log changes only once the whole snapshot is durable and was
//! found to be sound.**

use alloc::{format, vec::Vec};

use super::{
    Order, Quorum, RETRY, Role,
    follower::{Following, State},
};
use crate::{
    ids::NodeId,
    log::EpochCache,
    message::{ErrorCode, FetchSnapshotRequest, FetchSnapshotResponse, PeerRequest, SnapshotId},
    offset::Offset,
    record::Voter,
    time::Instant,
};

impl Quorum {
    /// This node has written a snapshot of what it has applied; it is durable.
    pub fn snapshot_saved(&mut self, id: SnapshotId) {
        assert!(id.end <= self.high_watermark, "only what is committed is in a snapshot");
        self.log.snapshot = self.log.snapshot.max(Some(id));
    }

    /// The log begins where this snapshot, or an earlier one, ends.
    pub fn raise_log_start(&mut self, id: SnapshotId) {
        let Some(newest) = self.log.snapshot else { panic!("a snapshot has what goes") };
        assert!(self.log.start <= id.end && id.end <= newest.end, "what no snapshot stands for stays");
        (self.log.start, self.log.start_epoch) = (id.end, id.epoch);
        self.log.epochs.truncate_start(id.end);
        self.sets.truncate_start(id.end);
    }

    /// The leader's log begins behind what this node has.
    pub(super) fn begin_download(&mut self, now: Instant, snapshot: SnapshotId) {
        let has = self.high_watermark;
        let Role::Follower(following) = &mut self.role else { unreachable!("the caller has looked") };
        if snapshot.end < has || snapshot.epoch > self.epoch {
            // It has committed more than that: this is not what a leader says.
            return following.fetch_at(now.after(RETRY));
        }
        following.download = Some((snapshot, 0));
        following.fetch_at(now);
        self.on_time(now);
    }

    pub(super) fn fetch_snapshot(&mut self, to: NodeId, snapshot: SnapshotId, position: u64) {
        let (turn, timeout) = (self.turn, self.waits.fetch);
        let request = PeerRequest::FetchSnapshot(FetchSnapshotRequest {
            replica: self.me,
            current_leader_epoch: self.epoch,
            snapshot,
            position,
            max_bytes: self.waits.piece_bytes,
        });
        self.orders.push_back(Order::Call { to, request, timeout, turn });
    }

    pub(super) fn on_snapshot_piece(&mut self, now: Instant, from: NodeId, turn: u64, response: FetchSnapshotResponse) {
        if response.epoch > self.epoch {
            return self.learn(now, from, response.epoch, response.leader);
        }
        let Role::Follower(following) = &mut self.role else { return };
        let Some((id, position)) = following.download.filter(|_| turn == self.turn) else { return };
        if !response.error.is_none() {
            // Perhaps there is a newer one by now.
            following.download = None;
            following.fetch_at(now.after(RETRY));
            if response.error == ErrorCode::SnapshotNotFound {
                self.hears(now);
            }
            return;
        }
        let next = position.saturating_add(response.bytes.len() as u64);
        if response.position != position || response.bytes.is_empty() || next > response.size {
            // Not what a leader sends.
            following.download = None;
            return following.fetch_at(now.after(RETRY));
        }
        following.state = State::Storing(next);
        let (piece, is_last) = (response.bytes, next == response.size);
        self.hears(now);
        self.orders.push_back(Order::WriteSnapshot { id, position, piece, is_last, turn });
    }

    /// A piece of a snapshot was written, or could not be; behind the last one there is the whole.
    pub fn snapshot_written(&mut self, now: Instant, turn: u64, is_last: bool, done: bool) {
        let Role::Follower(following) = &mut self.role else { return };
        let Following { state, download, .. } = following;
        let Some((id, position)) = download.as_mut().filter(|_| turn == self.turn) else { return };
        match *state {
            State::Storing(_) if done && is_last => {
                *state = State::Loading;
                let id = *id;
                self.orders.push_back(Order::LoadSnapshot { id, turn });
            }
            State::Storing(next) if done => {
                *position = next;
                *state = State::Due(now);
                self.on_time(now);
            }
            _ => {
                *download = None;
                following.fetch_at(now.after(RETRY));
            }
        }
    }

    /// Is this the snapshot that the node in its present role has waited for?
    pub fn awaits(&self, id: SnapshotId, turn: u64) -> bool {
        let Role::Follower(following) = &self.role else { return false };
        turn == self.turn && following.state == State::Loading && following.download.is_some_and(|(of, _)| of == id)
    }

    /// The snapshot that this node [awaits](Quorum::awaits) is here and sound: it takes the place of the log, which begins anew
    /// behind it by a job that was just ordered. What the snapshot stands for is durable.
    pub fn install(&mut self, now: Instant, id: SnapshotId, voters: Option<Vec<Voter>>) {
        let Role::Follower(following) = &mut self.role else { panic!("only a follower takes a snapshot over") };
        following.download = None;
        following.fetch_at(now);
        if id.end < self.high_watermark {
            let reason = format!("snapshot {} takes back what was committed up to {}", id.end, self.high_watermark);
            return self.orders.push_back(Order::Halt(reason));
        }
        self.generation += 1;
        self.failed_at = None;
        let log = &mut self.log;
        (log.start, log.start_epoch, log.end, log.durable) = (id.end, id.epoch, id.end, id.end);
        (log.snapshot, log.epochs) = (Some(id), EpochCache::default());
        self.high_watermark = id.end;
        self.sets.start_over(voters);
        self.take_voters();
        self.hears(now);
        self.on_time(now);
    }

    /// Where the newest snapshot ends.
    pub fn snapshot_end(&self) -> Offset {
        self.log.snapshot.map_or(Offset::ZERO, |snapshot| snapshot.end)
    }
}
