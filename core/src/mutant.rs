//! Planted bugs, to prove that the checkers can see.
//!
//! `if mutant!(X81) { bad } else { good }` compiles to `good` alone in a normal build. With the feature
//! `mutants` the simulator switches one id on at run time and demands that a checker named for it reports it.

/// The bugs that this build can plant. The ids are those of the catalogue in `sim/MUTANTS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A leader's wish for its ISR is granted whatever registrations it saw the members under (KAFKA-14617).
    X13,
    /// A broker that is fenced or about to stop may join an ISR (KAFKA-13916).
    X15,
    /// A replica keeps its right to lead over an unclean stop that may have cost it its tail (KIP-966).
    X16,
    /// A follower cuts its log to its own high watermark instead of asking where it parts from the leader's (KIP-101).
    X01,
    /// Of an epoch that the leader never had it answers that it ends where the log does (KIP-279).
    X02,
    /// A replica joins the ISR with everything up to the high watermark, though not up to the epoch's start
    /// (KAFKA-7128).
    X03,
    /// A follower whose leader is the same node as before does not ask where the logs part (KAFKA-7164).
    X04,
    /// A new leader notes its epoch only with its first append (KAFKA-7415).
    X05,
    /// Requests are not fenced by the leader epoch that they believe in (KIP-320).
    X06,
    /// A leader's answer is believed though the epoch has changed since it was asked (KAFKA-7786).
    X07,
    /// A follower raises its high watermark before it looks whether its log diverges (KAFKA-14704).
    X08,
    /// A leader counts what a diverging follower has (KAFKA-13141).
    X09,
    /// An empty answer makes a follower forget the epoch of its last record (KAFKA-15510).
    X10,
    /// The high watermark is not in the checkpoint: after a restart it is 0, and a follower cuts there (KAFKA-1647).
    X12,
    /// The smaller ISR that the leader only wishes for decides the high watermark (KAFKA-12686).
    X17,
    /// The high watermark is not looked at again when the ISR shrinks (KAFKA-13091).
    X18,
    /// A reader is sent to a follower that is not in sync, and hears there that what it lacks is out of range
    /// (KAFKA-14372).
    X21,
    /// A follower sends its readers on to another replica (KAFKA-13778).
    X22,
    /// A follower whose offset is out of range never asks again (KAFKA-7414).
    X23,
    /// `min.insync.replicas` is looked at when a batch is admitted, not when it is acknowledged.
    X25,
    /// A log that a deleted topic has left is taken for that of a new topic of the same name (KAFKA-14616).
    X20,
    /// A read of a segment that is no longer the newest takes no notice of its bound (KAFKA-9196).
    X11,
    /// What a follower had in one run counts under the registration of the next (KAFKA-15221).
    X14,
    /// With too few in sync anybody may join, however far behind (KAFKA-19996).
    X24,
    /// An answer that comes late cuts off what has been appended since (Redpanda issue 17731).
    X28,
    /// A node without a vote stands for election, and voters take its epoch over (Redpanda e1c89ec).
    X42,
    /// A follower's appends to the metadata log are not synced (Redpanda 19d5097).
    X43,
    /// Votes go by the newest epoch that the candidate has heard of, not by that of its last record (ZOOKEEPER-4643).
    X45,
    /// A new leader says where the log ends before a record of its own epoch is committed (Redpanda issue 10885).
    X46,
    /// A log with a damaged producer snapshot is taken for an orphan and set aside (NATS server issue 7556).
    X48,
    /// A vote file of another version is passed over (KAFKA-15412).
    X49,
    /// An I/O error of fsync is retried and the retry trusted (fsyncgate).
    X81,
    /// A vote is given before it is durable.
    X26,
    /// A leader commits records of older epochs by counting who has them (Raft, figure 8).
    X27,
    /// A follower takes over the leader's high watermark though its own log parts from the leader's below it.
    X29,
    /// What a follower has counts as acknowledged though its log parts from the leader's.
    X30,
    /// A decision of the controller is confirmed though it has lost the lead before it was committed.
    X31,
    /// A follower of the metadata log whose end parts from the leader's drops all of it (KAFKA-12460).
    X32,
    /// A leader of the metadata quorum that hears of nobody never resigns (KAFKA-15489).
    X33,
    /// A single voter resigns because it hears of no majority (KAFKA-16144).
    X34,
    /// A leader that is no voter any more counts itself for what is committed (KAFKA-16530).
    X35,
    /// A change of the voters begins while the one before is not committed (Raft's bug of single-server changes).
    X36,
    /// A snapshot is named for its last offset instead of the one after it (KAFKA-14618).
    X37,
    /// Retention by size deletes segments of the metadata log that no snapshot stands for (KAFKA-14238).
    X38,
    /// A snapshot is taken when half a batch is applied (KAFKA-17713).
    X39,
    /// The snapshot that is read at start is not applied (Redpanda c9c675e).
    X40,
    /// A question for votes puts off the elections of those who are asked.
    X41,
    /// Records count as on a majority's disks when they are written and not synced (NATS server issue 7564).
    X44,
    /// A leader turns away a voter that has less than before, as after the loss of its disk (KAFKA-12181).
    X47,
    /// An answer with a newer epoch counts as a vote (Redpanda 5adeba3).
    X50,
    /// Producers' batches are judged without those still on their way to the disk.
    Y11,
    /// A batch that repeats one in flight is acknowledged at once, before the one in flight is durable.
    Y12,
    /// The producer table is changed when a batch is admitted, not when its append has succeeded (KAFKA-6683).
    X62,
    /// Every 64th acknowledged batch is dropped instead of appended: the canary of the whole pipeline.
    X87,
    /// Retention deletes segments that hold records above the high watermark (KAFKA-5634).
    X19,
    /// An append whose index entry cannot be written leaves its bytes in the log without moving the end, so that
    /// the next append gets the same offset (KAFKA-7866).
    X61,
    /// Recovery cuts the log at the first bad batch although whole batches follow (NATS server issue 7549).
    X82,
    /// A new segment or a renamed checkpoint is not followed by a sync of its folder.
    X83,
    /// Raising the log start to the end drops what was appended since the last sync, and its offsets are used again.
    X84,
    /// A checkpoint vouches for bytes and indexes that were not synced.
    X85,
    /// A segment is closed without its greatest timestamp in the time index: lookups by time miss its tail.
    Y01,
    /// Retention by time goes by a segment's oldest record instead of its newest.
    Y02,
    /// A truncation leaves the producers as they were: a batch that was cut off is taken for a duplicate.
    Y03,
    /// A truncation does not cut the indexes with the log.
    Y04,
    /// Cleaning takes no notice of its bound, so that records above the high watermark are compacted.
    X67,
    /// Cleaning removes a producer's last batch, and its sequence with it (KAFKA-5490).
    X68,
    /// Tombstones go in their first cleaning, so that a reader on his way never meets them.
    Y21,
    /// Cleaning removes the segments that a new one replaces before that is in its place.
    Y22,
    /// Cleaning keeps the oldest value of a key instead of the newest.
    Y23,
    /// Duplicates are recognised among a producer's last four batches, though it may have five on their way.
    Y31,
    /// Sequences wrap from `i32::MAX` to 1.
    Y32,
    /// The mark of an unclean election goes with the first change that its leader makes.
    Y41,
    /// A new producer epoch keeps the batches of the old one, so that its first ones are taken for duplicates.
    Y33,
}

/// Is this planted bug switched on? A constant `false` without the feature `mutants`.
#[macro_export]
macro_rules! mutant {
    ($id:ident) => {
        $crate::mutant::is_on($crate::mutant::Mutant::$id)
    };
}

/// Always false: this build plants no bugs.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_on(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// 0 is none; otherwise the mutant's ordinal plus one. One process runs one mutant at a time.
    static ACTIVE: AtomicU32 = AtomicU32::new(0);

    /// Is this planted bug switched on?
    pub fn is_on(mutant: Mutant) -> bool {
        ACTIVE.load(Ordering::Relaxed) == mutant as u32 + 1
    }

    /// Switches one planted bug on, or all off.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.store(mutant.map_or(0, |m| m as u32 + 1), Ordering::Relaxed);
    }
}
#[cfg(feature = "mutants")]
pub use switch::{is_on, set};
