//! The planted bugs, the checkers that are named for each, and the knobs that give it a chance.
//!
//! Knobs that are not pinned are drawn from the seed as ever. Where several nodes are needed, [`CLUSTER`] takes out what
//! lets checkers look away (compaction, rot, the page-cache rule) and shortens the run.

use tidelog_core::mutant::Mutant;

/// Knobs and their values.
type Pins = &'static [(&'static str, u64)];

/// One planted bug and what is expected of the checkers.
pub(super) struct Planted {
    pub(super) mutant: Mutant,
    /// What it does, in a few words.
    pub(super) what: &'static str,
    /// Codes of the checkers that may kill it.
    pub(super) checkers: &'static [&'static str],
    /// Knobs that are pinned, the later ones over the earlier.
    pub(super) pins: &'static [Pins],
}

/// Planted bugs that no checker reports, and why.
pub(super) const SURVIVORS: &[(&str, &str)] = &[(
    "X07",
    "it shows once in some fifty seeds, and then R11 finds the gap in the offsets before the checkers that it is named for look",
)];

/// What the catalogue has and no line of code here could do.
pub(super) const ABSENT: &[(&str, &str)] = &[
    ("X51 to X60, X63 to X66, X69, X70, X86", "there are no transactions"),
    ("X71 to X80", "there are no consumer groups"),
];

macro_rules! planted {
    ($($id:ident $what:literal [$($checker:literal)*] ($($group:ident)*) {$($knob:ident = $value:literal),* $(,)?})*) => {
        /// All of them.
        pub(super) const PLANTED: &[Planted] = &[$(Planted {
            mutant: Mutant::$id,
            what: $what,
            checkers: &[$($checker,)*],
            pins: &[$($group,)* &[$((stringify!($knob), $value),)*]],
        },)*];
    };
}

/// Three nodes, every partition on all of them, and a short run.
const CLUSTER: Pins = &[
    ("nodes", 3),
    ("replication", 3),
    ("chaos_ms", 30_000),
    ("operations", 500),
    ("strike_ms", 1_500),
    ("compacted_topics", 0),
    ("replicated_durability", 0),
    ("catastrophe", 0),
    ("retention_ms", 0),
    ("retention_bytes", 0),
    ("peer_timeout_ms", 2_000),
    ("drift_ppm", 0),
    ("voters", 0),
    ("voter_changes", 0),
    ("split_roles", 0),
];

/// Everything that times out does so soon.
const HASTY: Pins =
    &[("election_ms", 200), ("quorum_fetch_ms", 600), ("heartbeat_ms", 100), ("session_ms", 600), ("lag_ms", 1_500)];

/// Leaders come and go.
const UNREST: Pins =
    &[("kill", 1), ("split", 1), ("split_leader", 1), ("split_one_way", 1), ("pause", 1), ("reset", 1)];

/// Messages are late, now and then by much.
const LATE: Pins = &[("jitter_us", 20_000), ("long_delays_ppm", 10_000), ("stall", 1)];

/// No fault but those that are named after it.
const CALM: Pins = &[
    ("kill", 0),
    ("power_loss", 0),
    ("stop", 0),
    ("cut_jobs", 0),
    ("all_at_once", 0),
    ("wipe", 0),
    ("pause", 0),
    ("starve", 0),
    ("reset", 0),
    ("half_open", 0),
    ("stall", 0),
    ("refused_ppm", 0),
    ("split", 0),
    ("split_leader", 0),
    ("split_one_way", 0),
    ("split_ring", 0),
    ("split_flapping", 0),
    ("split_clients", 0),
    ("read_errors_ppm", 0),
    ("write_errors_ppm", 0),
    ("sync_errors_ppm", 0),
    ("no_handles_ppm", 0),
    ("disk_full", 0),
    ("read_only", 0),
    ("slow_disk", 0),
    ("clock_steps", 0),
];

/// Snapshots of the metadata are taken all the time, and the log below them goes.
const SNAPSHOTS: Pins = &[
    ("snapshot_bytes", 1_000),
    ("metadata_segment_bytes", 1_000),
    ("kill", 1),
    ("admins", 1),
    ("churned_topics", 1),
    ("replicated_durability", 0),
];

/// Two of five nodes do not vote, so that their disks may be taken away.
const WIPES: Pins = &[("nodes", 5), ("voters", 3), ("wipe", 1)];

planted! {
    X01 "a follower cuts to its own high watermark" ["R3" "R2" "R10" "H1"] (CLUSTER HASTY UNREST) {}
    X02 "of an epoch that it never had a leader says that it ends where the log does" ["R2" "R10" "H1" "R12"] (CLUSTER HASTY UNREST) {}
    X03 "who joins the ISR need not reach the epoch's start" ["R6" "R3"] (CLUSTER HASTY UNREST LATE) {
        nodes = 5, replication = 5, min_isr = 1
    }
    X04 "no truncation where the leader is the same node as before" ["R2" "R10" "R12"] (CLUSTER HASTY) {
        replication = 2, min_isr = 1, lag_ms = 500, power_loss = 1, kill = 0, split = 1, split_flapping = 1, sync_us = 20_000,
        operations = 900, producers = 3, strike_ms = 800, jitter_us = 20_000
    }
    X05 "a new leader notes its epoch only with its first append" ["R9" "R2"] (CLUSTER HASTY UNREST) {}
    X06 "requests are not fenced by the leader epoch" ["R1" "R4" "R3" "H2"] (CLUSTER HASTY UNREST LATE) { min_isr = 1, askers = 2 }
    X07 "an answer is believed though the epoch has changed since" ["R10" "R2" "R4" "L2"] (CLUSTER HASTY CALM) {
        kill = 1, strike_ms = 1_000, movers = 10, jitter_us = 1_000, delay_us = 200, long_delays_ppm = 200_000, sync_us = 200,
        heartbeat_ms = 200, session_ms = 1_000, lag_ms = 4_000, partitions = 3, stable_topics = 1, churned_topics = 0, admins = 0,
        producers = 3, consumers = 1, machines = 0, in_flight = 5, batch_records = 1, operations = 5_000, chaos_ms = 20_000
    }
    X08 "a follower raises its high watermark before it looks for divergence" ["R4" "R2" "H1"] (CLUSTER HASTY UNREST) { min_isr = 1 }
    X09 "what a diverging follower has counts" ["R4" "R3" "R6"] (CLUSTER HASTY UNREST) { min_isr = 1 }
    X10 "an empty answer makes a follower forget its last epoch" ["R2" "R12"] (CLUSTER HASTY UNREST LATE) { min_isr = 1, sync_us = 10_000 }
    X11 "a read of a segment that was rolled takes no notice of its bound" ["R5" "H2"] (CLUSTER HASTY UNREST) {
        segment_bytes = 1_024, all_at_once = 1
    }
    X12 "the high watermark is not in the checkpoint, and a follower cuts there" ["R3" "R10"] (CLUSTER HASTY UNREST) { power_loss = 1, all_at_once = 1 }
    X13 "an ISR is granted whatever registrations its members were seen under" ["R6" "R7" "R3"] (CLUSTER HASTY UNREST LATE) {}
    X14 "what a follower had in one run counts under its next registration" ["R6"] (CLUSTER HASTY WIPES) {
        kill = 0, power_loss = 0, cut_jobs = 0, stop = 0, pause = 0, split = 0, strike_ms = 800, operations = 200, partitions = 3
    }
    X15 "a fenced broker may join an ISR" ["R6" "L1"] (CLUSTER HASTY UNREST) { stop = 1 }
    X16 "a replica that may have lost its tail keeps its right to lead" ["R7" "R3"] (CLUSTER HASTY) {
        replicated_durability = 1, power_loss = 1, split = 1, min_isr = 1
    }
    X17 "an ISR that is only wished for decides the high watermark" ["R4" "R3"] (CLUSTER HASTY UNREST LATE) { min_isr = 1 }
    X18 "the high watermark is not looked at when the ISR shrinks" ["L1"] (CLUSTER HASTY) {
        replication = 2, min_isr = 1, in_flight = 1, kill = 1, split = 1, split_leader = 1, pause = 1
    }
    X20 "the log of a deleted topic is taken for a new one's of the same name" ["R13"] (CLUSTER HASTY) {
        churned_topics = 1, kill = 1, split = 1, admins = 1
    }
    X21 "readers are sent to replicas out of sync, where what is not there yet is out of range" ["H1" "L1"] (CLUSTER HASTY UNREST) {
        racks = 2, consumers = 2
    }
    X22 "a follower sends its readers on to another replica" ["L1" "B1"] (CLUSTER HASTY) { racks = 2, consumers = 2 }
    X23 "a follower that is out of range never asks again" ["L2" "A1"] (CLUSTER HASTY) {
        retention_bytes = 1_000, retention_check_ms = 200, segment_bytes = 1_024, kill = 1, split = 1
    }
    X24 "with too few in sync anybody may join, however far behind" ["L1" "B1" "R6"] (CLUSTER HASTY UNREST) { min_isr = 2 }
    X25 "min.insync.replicas is not looked at when a batch is acknowledged" ["R8"] (CLUSTER HASTY UNREST) { min_isr = 2 }
    X26 "a vote is given before it is durable" ["M2" "M1"] (CLUSTER HASTY UNREST) { power_loss = 1 }
    X27 "a leader commits an older epoch's records by counting" ["M6" "M4"] (CLUSTER HASTY UNREST) {}
    X28 "an answer that comes late cuts off what has been appended since" ["M7" "M4"] (CLUSTER HASTY UNREST LATE) {}
    X29 "a follower takes the leader's high watermark over though it diverges" ["M5" "M3"] (CLUSTER HASTY UNREST) {}
    X30 "what a follower has counts though it diverges" ["M6"] (CLUSTER HASTY UNREST) {}
    X31 "a decision is confirmed though the lead was lost before its commit" ["M12" "R8" "H1"] (CLUSTER HASTY UNREST) {
        admins = 1, churned_topics = 1, operations = 900, producers = 1, consumers = 1, machines = 0, strike_ms = 800
    }
    X32 "the metadata log is cut below its high watermark" ["M7"] (CLUSTER HASTY UNREST) {}
    X33 "a leader that hears of nobody does not resign" ["M10" "H2"] (CLUSTER HASTY UNREST) {}
    X34 "a single voter resigns for want of a majority" ["L1" "L2" "M10"] (CLUSTER HASTY) { voters = 1 }
    X35 "a leader that is no voter any more counts itself" ["M6" "M9"] (CLUSTER HASTY UNREST) {
        nodes = 5, voters = 3, voter_changes = 1, admins = 1, operations = 900
    }
    X36 "the voters change while the change before is not committed" ["M9" "M1"] (CLUSTER HASTY UNREST LATE) {
        nodes = 5, voters = 3, voter_changes = 1, admins = 1, operations = 900
    }
    X37 "a snapshot is named for its last offset instead of the next" ["M8"] (CLUSTER HASTY SNAPSHOTS) {}
    X38 "retention deletes metadata that no snapshot stands for" ["M8" "L2"] (CLUSTER HASTY SNAPSHOTS) {}
    X39 "a snapshot is taken when half a batch is applied" ["M8" "M11"] (CLUSTER HASTY SNAPSHOTS) {}
    X40 "the snapshot that is read at start is not applied" ["M11" "L2"] (CLUSTER HASTY SNAPSHOTS) { kill = 1 }
    X41 "a question for votes puts off the elections of those asked" ["L1" "L2"] (CLUSTER HASTY CALM) {
        power_loss = 1, all_at_once = 1, sync_us = 20_000, strike_ms = 800, chaos_ms = 15_000, election_ms = 4_000, whole_core = 1
    }
    X42 "a node without a vote stands for election and bumps the epoch" ["L1" "L2"] (CLUSTER HASTY UNREST) { nodes = 4, voters = 3 }
    X43 "a follower's appends to the metadata log are not synced" ["L1" "L2" "M6"] (CLUSTER HASTY UNREST) {}
    X44 "a majority counts what is not synced" ["M6" "R3" "H1"] (CLUSTER HASTY) { power_loss = 1, all_at_once = 1, sync_us = 20_000 }
    X45 "votes go by the newest epoch heard of, not by that of the last record" ["M4" "M7"] (CLUSTER HASTY UNREST) {}
    X46 "a new leader tells the log's end before it knows what is committed" ["H2"] (CLUSTER HASTY UNREST LATE) { askers = 2, min_isr = 1 }
    X47 "a leader turns away a voter that has less than before" ["L2"] (CLUSTER HASTY) { wipe = 1, wipe_voters = 1 }
    X48 "a log with a damaged snapshot is taken for an orphan" ["R3" "R11" "M8"] (CLUSTER HASTY) {
        power_loss = 1, sync_us = 20_000, segment_bytes = 1_024
    }
    X49 "a vote file of another version is passed over" ["M2"] (CLUSTER HASTY UNREST) { cut_jobs = 1, all_at_once = 1 }
    X50 "a vote counts though it comes with a newer epoch" ["M1" "L1"] (CLUSTER HASTY UNREST LATE) { nodes = 5, all_at_once = 1, strike_ms = 800 }
    X81 "a failed fsync is retried and trusted" ["R11" "H1"] () {
        sync_errors_ppm = 100_000, power_loss = 1, final_crash = 1, strike_ms = 1_500, replicated_durability = 0
    }
    X61 "an index error leaves bytes without moving the end" ["R11" "R12" "H1"] () {
        disk_full = 1, no_handles_ppm = 50_000, segment_bytes = 4_096, kill = 1, strike_ms = 1_500
    }
    X62 "producer table changed before the append succeeds" ["T1" "H1"] () {
        disk_full = 1, strike_ms = 1_000, segment_bytes = 4_096
    }
    X19 "retention above the high watermark" ["R14" "R5"] () {
        retention_bytes = 1_000, retention_check_ms = 200, segment_bytes = 1_024, sync_us = 20_000, slow_disk = 100
    }
    X67 "compaction above its bound" ["R14"] () {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024, sync_us = 20_000
    }
    X68 "compaction drops a producer's last batch" ["T1" "H1"] (CLUSTER HASTY CALM) {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024, delete_retention_ms = 1_000,
        replication = 1, min_isr = 1, movers = 6, kill = 1, strike_ms = 3_000, ghosts_ppm = 500_000, keys = 2, batch_records = 2,
        producers = 3, partitions = 1, stable_topics = 1, churned_topics = 0, operations = 900,
        producer_expiration_ms = 86_400_000
    }
    X82 "recovery cuts at the first bad batch though others follow" ["R11" "R12"] () {
        catastrophe = 1, kill = 1, strike_ms = 1_500, checkpoint_ms = 10_000
    }
    X83 "no directory sync after create and rename" ["R11" "H1" "R12"] () {
        power_loss = 1, segment_bytes = 2_048, strike_ms = 1_500, final_crash = 1
    }
    X84 "raising the log start to the end reuses offsets" ["R11" "H1"] () { admins = 1, operations = 900, kill = 1, power_loss = 1 }
    X85 "a checkpoint vouches for what was not synced" ["R11" "R12" "O1" "R14"] () {
        power_loss = 1, checkpoint_ms = 100, strike_ms = 1_500, segment_bytes = 4_096, sync_us = 20_000
    }
    X87 "canary: every 64th ack is dropped from the log" ["H1" "T1"] () {}
    Y01 "a sealed segment lacks its greatest timestamp" ["O1"] () { admins = 1, segment_bytes = 2_048, stop = 1, operations = 900 }
    Y02 "retention by a segment's oldest record" ["R14"] () { retention_ms = 8_000, retention_check_ms = 200, segment_bytes = 16_384 }
    Y03 "a truncation leaves the producers as they were" ["H1" "T1"] (CLUSTER HASTY UNREST) { min_isr = 1, producers = 3 }
    Y04 "a truncation does not cut the indexes" ["O1" "R11" "R12" "H1" "L1"] (CLUSTER HASTY UNREST) {
        min_isr = 1, index_interval_bytes = 16, segment_bytes = 65_536
    }
    Y11 "duplicates in flight are not recognised" ["T1" "R11" "H1"] () { ghosts_ppm = 200_000, sync_us = 20_000, in_flight = 5 }
    Y12 "a duplicate is acknowledged before it is durable" ["H1"] () {
        ghosts_ppm = 200_000, sync_us = 20_000, power_loss = 1, cut_jobs = 1, strike_ms = 1_000, operations = 900,
        sync_errors_ppm = 100_000
    }
    Y21 "tombstones go in the first cleaning" ["R14"] () {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024,
        delete_retention_ms = 20_000, kill = 1
    }
    Y22 "cleaning removes the old before the new is in place" ["R11" "R14"] () {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024, cut_jobs = 1,
        power_loss = 1, strike_ms = 1_000
    }
    Y23 "cleaning keeps the oldest value of a key" ["R14"] () {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024
    }
    Y31 "the dedup window is four batches" ["T1" "H1"] () { ghosts_ppm = 200_000, in_flight = 5, producer_expiration_ms = 86_400_000, compacted_topics = 0 }
    Y32 "sequences wrap to one" ["T1" "L1"] () { operations = 900, batch_records = 5 }
    Y41 "the mark of an unclean election goes with its leader's first change" ["R10"] (CLUSTER HASTY UNREST) {
        unclean = 1, movers = 1, min_isr = 1, replication = 2
    }
    Y33 "an epoch bump keeps the old epoch's batches" ["H1" "T1"] () { operations = 900, batch_records = 1, max_message_bytes = 900 }
}
