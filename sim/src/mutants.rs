//! Planted bugs: does a checker that is named for a bug report it, and how soon?
//!
//! Each bug is switched on alone and run on one block of seeds, with the knobs pinned that its fault needs. It counts as
//! killed only when one of its own checkers speaks up, and when the same seed passes without the bug.

use std::{fmt::Write, time::Instant};

use tidelog_core::mutant::{self, Mutant};

use crate::{config::Config, report::quote, run};

/// One planted bug and what is expected of the checkers.
struct Planted {
    mutant: Mutant,
    /// What it does, in a few words.
    what: &'static str,
    /// Codes of the checkers that may kill it.
    checkers: &'static [&'static str],
    /// Knobs that are pinned.
    pins: &'static [(&'static str, u64)],
}

/// What became of one planted bug.
#[derive(Clone, Debug)]
pub struct Fate {
    /// Its id.
    pub id: String,
    /// What it does.
    pub what: &'static str,
    /// Checker and anomaly that killed it.
    pub killed_by: Option<String>,
    /// Seeds that it took.
    pub seeds: u64,
    /// The seed that killed it.
    pub seed: Option<u64>,
    /// Seconds of real time.
    pub seconds: u64,
    /// What else spoke up before.
    pub others: Vec<String>,
}

macro_rules! planted {
    ($($id:ident $what:literal [$($checker:literal)*] {$($knob:ident = $value:literal),* $(,)?})*) => {
        const PLANTED: &[Planted] = &[$(Planted {
            mutant: Mutant::$id,
            what: $what,
            checkers: &[$($checker,)*],
            pins: &[$((stringify!($knob), $value),)*],
        },)*];
    };
}

// Y03 and Y04 (truncation forgets producers or indexes) wait for followers: one node alone never truncates.
planted! {
    X81 "a failed fsync is retried and trusted" ["R11" "H1"] {
        sync_errors_ppm = 100_000, power_loss = 1, final_crash = 1, strike_ms = 1_500, replicated_durability = 0
    }
    X61 "an index error leaves bytes without moving the end" ["R11" "R12" "H1"] {
        disk_full = 1, no_handles_ppm = 50_000, segment_bytes = 4_096, kill = 1, strike_ms = 1_500
    }
    X62 "producer table changed before the append succeeds" ["T1" "H1"] {
        disk_full = 1, strike_ms = 1_000, segment_bytes = 4_096
    }
    X19 "retention above the high watermark" ["R14"] {
        retention_bytes = 1_000, retention_check_ms = 200, segment_bytes = 1_024, sync_us = 20_000, slow_disk = 100
    }
    X67 "compaction above its bound" ["R14"] {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024, sync_us = 20_000
    }
    X68 "compaction drops a producer's last batch" ["T1" "H1"] {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024, kill = 1,
        stable_topics = 1, ghosts_ppm = 200_000, keys = 2, strike_ms = 1_500
    }
    X82 "recovery cuts at the first bad batch though others follow" ["R11" "R12"] {
        catastrophe = 1, kill = 1, strike_ms = 1_500, checkpoint_ms = 10_000
    }
    X83 "no directory sync after create and rename" ["R11" "H1" "R12"] {
        power_loss = 1, segment_bytes = 2_048, strike_ms = 1_500, final_crash = 1
    }
    X84 "raising the log start to the end reuses offsets" ["R11" "H1"] { admins = 1, operations = 900, kill = 1, power_loss = 1 }
    X85 "a checkpoint vouches for what was not synced" ["R11" "R12" "O1" "R14"] {
        power_loss = 1, checkpoint_ms = 100, strike_ms = 1_500, segment_bytes = 4_096, sync_us = 20_000
    }
    X87 "canary: every 64th ack is dropped from the log" ["H1" "T1"] {}
    Y01 "a sealed segment lacks its greatest timestamp" ["O1"] { admins = 1, segment_bytes = 2_048, stop = 1, operations = 900 }
    Y02 "retention by a segment's oldest record" ["R14"] { retention_ms = 8_000, retention_check_ms = 200, segment_bytes = 16_384 }
    Y11 "duplicates in flight are not recognised" ["T1" "R11" "H1"] { ghosts_ppm = 200_000, sync_us = 20_000, in_flight = 5 }
    Y12 "a duplicate is acknowledged before it is durable" ["H1"] {
        ghosts_ppm = 200_000, sync_us = 20_000, power_loss = 1, cut_jobs = 1, strike_ms = 1_000, operations = 900,
        sync_errors_ppm = 100_000
    }
    Y21 "tombstones go in the first cleaning" ["R14"] {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024,
        delete_retention_ms = 20_000, kill = 1
    }
    Y22 "cleaning removes the old before the new is in place" ["R11" "R14"] {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024, cut_jobs = 1,
        power_loss = 1, strike_ms = 1_000
    }
    Y23 "cleaning keeps the oldest value of a key" ["R14"] {
        compacted_topics = 1, cleaner_backoff_ms = 100, dirty_permille = 0, segment_bytes = 1_024
    }
    Y31 "the dedup window is four batches" ["T1" "H1"] { ghosts_ppm = 200_000, in_flight = 5, producer_expiration_ms = 86_400_000, reset = 1 }
    Y32 "sequences wrap to one" ["T1" "L1"] { operations = 900, batch_records = 5 }
    Y33 "an epoch bump keeps the old epoch's batches" ["H1" "T1"] { operations = 900, batch_records = 1, max_message_bytes = 900 }
}

/// Runs every planted bug (or only those named) on these seeds; `progress` hears a line for each.
pub fn run(seeds: (u64, u64), only: &[String], progress: &dyn Fn(&str)) -> Vec<Fate> {
    let chosen = |planted: &&Planted| only.is_empty() || only.contains(&format!("{:?}", planted.mutant));
    let mut fates = Vec::new();
    for planted in PLANTED.iter().filter(chosen) {
        let fate = hunt(planted, seeds);
        let how = fate.killed_by.as_deref().unwrap_or("SURVIVED");
        progress(&format!(
            "{} {how} after {} seeds, {} s; {}",
            fate.id,
            fate.seeds,
            fate.seconds,
            fate.others.join(", ")
        ));
        fates.push(fate);
    }
    mutant::set(None);
    fates
}

fn hunt(planted: &Planted, seeds: (u64, u64)) -> Fate {
    let begun = Instant::now();
    let mut fate = Fate {
        id: format!("{:?}", planted.mutant),
        what: planted.what,
        killed_by: None,
        seeds: 0,
        seed: None,
        seconds: 0,
        others: Vec::new(),
    };
    for seed in seeds.0..seeds.1 {
        let mut config = Config::draw(seed);
        for (knob, value) in planted.pins {
            config.set(knob, *value).expect("the table names knobs that exist");
        }
        mutant::set(Some(planted.mutant));
        let outcome = run::run(seed, &config, false);
        mutant::set(None);
        fate.seeds += 1;
        let Some(verdict) = outcome.verdict else { continue };
        let name = format!("{} {}", verdict.code, verdict.anomaly);
        let named = planted.checkers.contains(&verdict.code.as_str());
        if named && run::run(seed, &config, false).verdict.is_none() {
            fate.killed_by = Some(name);
            fate.seed = Some(seed);
            break;
        }
        if !fate.others.contains(&name) {
            fate.others.push(name);
        }
    }
    fate.seconds = begun.elapsed().as_secs();
    fate
}

/// The table, for people or machines.
pub fn table(fates: &[Fate], json: bool) -> String {
    let mut text = String::new();
    if json {
        let rows: Vec<String> = fates
            .iter()
            .map(|fate| {
                let checker = fate.killed_by.as_deref().map_or("null".to_owned(), quote);
                let (id, killed) = (quote(&fate.id), fate.killed_by.is_some());
                format!("{{\"id\":{id},\"killed\":{killed},\"checker\":{checker},\"seeds\":{}}}", fate.seeds)
            })
            .collect();
        let _ = write!(text, "{{\"mutants\":[{}]}}", rows.join(","));
        return text;
    }
    text.push_str(INTRODUCTION);
    let _ = writeln!(text, "| id | planted bug | killed by | seeds |\n|---|---|---|---|");
    for fate in fates {
        let killed = fate.killed_by.as_deref().unwrap_or("**survived**");
        let _ = writeln!(text, "| {} | {} | {killed} | {} |", fate.id, fate.what, fate.seeds);
    }
    text.push_str(REMARK);
    text
}

/// What stands above the table in `sim/MUTANTS.md`.
const INTRODUCTION: &str = "\
# Planted bugs

Made by `cargo run --release -p tidelog-sim --features mutants -- mutants --seeds 0..2000 > sim/MUTANTS.md`, which switches
each of these on alone, runs seeds with the knobs pinned that its fault needs, and counts it as killed only when a checker
named for it speaks up on a seed that passes without it. With `--json` it prints the same for machines. Ids with X are those
of the catalogue of known bugs of other systems; Y are our own.

";

/// What stands below it.
const REMARK: &str = "
Planted and not in the table: Y03 and Y04 (truncation forgets producers or indexes) wait for followers: one node alone never
truncates.
";
