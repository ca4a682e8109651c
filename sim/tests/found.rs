//! Seeds that found something: each was a bug of the core once, and must pass ever after.

use tidelog_sim::{config::Config, profile::Profile, run};

fn passes(seed: u64, pins: &[(&str, u64)]) {
    let mut config = Config::draw(seed);
    // All nodes voted, for good, when most of these were found.
    (config.voters, config.voter_changes) = (0, 0);
    for (knob, value) in pins {
        config.set(knob, *value).expect("the knob exists");
    }
    let outcome = run::run(seed, &config, false);
    assert_eq!(outcome.verdict, None, "seed {seed}");
}

/// R14 deleted-too-early and O1 lookup-missed: the segment that ended at the recovery point was sealed after it was
/// vouched for, and a crash took the last entry of its time index; its age was then that of an older record.
#[test]
fn a_sealed_segments_time_index_survives_a_crash() {
    passes(27, &[]);
    passes(28, &[]);
}

/// R11 promised-data-lost: a killed process had just created a segment; the next one appended to it and never synced
/// the folder, so that power loss took the file with what had been acknowledged.
#[test]
fn a_segment_created_by_a_killed_process_gets_its_name_synced() {
    passes(55, &[("machines", 0)]);
}

/// A1 panic: an append that the full disk refused was answered before the ones in front of it, which waited for
/// their sync.
#[test]
fn a_refused_append_may_be_answered_before_those_in_front_of_it() {
    passes(14, &[]);
    passes(44, &[]);
}

/// R11 offset-gap: more appends were admitted, with offsets that could never be, behind one known to have failed.
#[test]
fn nothing_is_admitted_behind_an_append_known_to_have_failed() {
    passes(189, &[]);
}

/// L1 no-progress: `partition.metadata` was half written when the disk failed, and the partition never opened again.
#[test]
fn a_half_written_owner_file_is_written_again() {
    passes(0, &[]);
    passes(6, &[]);
}

/// H1 duplicate: every record had been deleted, so the recovery point stood at the log start and counted for nothing;
/// recovery passed over the snapshot there and forgot the producers, and a batch sent again was appended again.
#[test]
fn producers_outlive_the_deletion_of_all_their_records() {
    passes(353, &[]);
    passes(836, &[]);
}

fn all_pass(seeds: &[u64]) {
    seeds.iter().for_each(|&seed| passes(seed, &[]));
}

/// T1 sequence-gap, T1 duplicate: the first batch of a producer whose history had expired met a full disk, and the next
/// one, sent meanwhile, was taken for its first.
#[test]
fn a_refused_batch_of_an_unknown_producer_is_the_one_that_is_due() {
    all_pass(&[219, 1193, 1350, 2496, 2768, 2867, 4160]);
}

/// R14 deleted-too-much, O1 lookup-missed: retention moved the log start and then found no room to say so; the log refused
/// to read what its partition still offered.
#[test]
fn retention_on_a_full_disk_moves_nothing() {
    all_pass(&[419, 3588, 4009, 4128]);
}

/// T2 nonmonotonic-send, H1 duplicate: all older records had gone by retention, with the snapshots of that time, and the one
/// at the log start was passed over at the next start, or was never synced.
#[test]
fn producers_outlive_the_retention_of_their_records() {
    all_pass(&[1809, 2209, 2478, 3151, 3810]);
}

/// D1: a run is a function of its seed and its configuration.
#[test]
fn two_runs_of_one_seed_are_the_same() {
    for seed in 0..12 {
        let first = run::twice(seed, &Config::draw(seed));
        assert!(first.is_ok(), "{first:?}");
    }
}

/// L1 no-progress: a sector of one log that could not be read took the whole directory offline, at every start again.
#[test]
fn what_cannot_be_read_in_one_log_harms_no_other() {
    all_pass(&[234, 462, 1206, 1285, 1453, 4946]);
}

/// L1 no-progress: a failed sync had dropped a batch from the page cache, and the next one was written behind the hole:
/// less than a sector of zeros, which recovery took for rot, for ever.
#[test]
fn a_hole_that_a_failed_sync_left_is_cut_off() {
    all_pass(&[1543, 1881, 2357, 4596]);
}

/// R12 other-bytes: a bit of a base offset flipped, which the CRC does not cover, and the log went on sixteen million
/// offsets later.
#[test]
fn a_hurt_base_offset_is_noticed() {
    all_pass(&[4249]);
}

/// H1 poll-skip: a segment's file had lost its end below the recovery point, and readers were led past the hole.
#[test]
fn a_file_that_has_lost_its_end_is_noticed() {
    all_pass(&[569]);
}

/// L1 no-progress, R14: power loss under the page-cache rule took a whole segment of a compacted log and left the next; what
/// was gone passed for cleaned.
#[test]
fn a_hole_in_the_tail_of_a_compacted_log_is_no_cleaning() {
    all_pass(&[704, 1852, 1884]);
}

/// R12 other-bytes, R14 deleted-too-much: power loss took the file that says whose folder it is, and a new topic of the same
/// name went on with the old one's records.
#[test]
fn a_folder_of_nobodys_is_not_taken_over_with_its_records() {
    all_pass(&[892, 2006]);
}

/// L1 no-progress, L2 not-converged, B1 message-storm, over several nodes.
#[test]
fn several_nodes_get_well_again() {
    [14, 463].iter().for_each(|&seed| passes(seed, &[("nodes", 3)]));
    [355, 429].iter().for_each(|&seed| passes(seed, &[("nodes", 5)]));
}

/// O1 lookup-missed: an index file was made long after its folder had been synced, and power loss took its name though a
/// checkpoint vouched for what was in it; the greatest timestamp so far was forgotten.
#[test]
fn the_names_of_index_files_last() {
    all_pass(&[2546]);
}

/// R11 offset-gap: a follower's append failed, and the leader's answer to the request made behind it was taken for the one
/// to the next, because a late answer to an earlier request had passed for it.
#[test]
fn answers_that_come_late_are_not_mixed_up() {
    passes(219, &[("nodes", 3)]);
}

/// R11 promised-data-lost: a follower had begun anew where its leader's log did, and what it acknowledged from then on was
/// taken for the far side of a hole after a crash.
#[test]
fn what_follows_a_new_beginning_survives_a_crash() {
    passes(116, &[("nodes", 3)]);
}

/// R11 damaged-by-itself: a topic was deleted and created again in one stretch of metadata, and the order to delete the
/// old log removed the folder of the new one.
#[test]
fn a_topic_created_again_keeps_its_folder() {
    passes(147, &[("nodes", 3)]);
}

/// L1 no-progress: a voter that had been started with one other came back to find both led by a third, and did not know where
/// that is.
#[test]
fn a_voter_finds_a_leader_that_it_was_not_started_with() {
    passes(1316, &[("nodes", 3), ("racks", 2)]);
}

/// L1 no-progress: the only voter, a controller with nothing to serve, answered with errors of its read-only disk for ever,
/// instead of going so that somebody starts it again.
#[test]
fn a_lone_controller_goes_with_its_disk() {
    let mut config = Config::draw(1767);
    config.nodes = 3;
    assert_eq!(config.controllers(), 1);
    assert_eq!(run::run(1767, &config, false).verdict, None);
}

/// R12 other-bytes: a flipped bit gave a batch another leader epoch, which its CRC does not cover, and it was served.
#[test]
fn a_hurt_leader_epoch_is_reported() {
    assert_eq!(run::run(20026, &Profile::Nightly.draw(20026), false).verdict, None);
}

/// L1 no-progress: a node whose disk had been replaced did not know the voter that had become the leader meanwhile, and asked
/// those it knew for ever; they named the leader, and not where it is reached.
#[test]
fn whoever_is_told_of_a_leader_is_told_its_address() {
    let mut config = Config::draw(463);
    for (knob, value) in [("nodes", 5), ("voters", 3), ("voter_changes", 1), ("wipe", 0)] {
        config.set(knob, value).expect("the knob exists");
    }
    assert_eq!(run::run(463, &config, false).verdict, None);
}
