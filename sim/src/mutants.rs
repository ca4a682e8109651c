//! Planted bugs: does a checker that is named for a bug report it, and how soon?
//!
//! Each bug is switched on alone and run on one block of seeds, with the knobs pinned that its fault needs. It counts as
//! killed only when one of its own checkers speaks up, and when the same seed with the same knobs passes without the bug.

mod table;

use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

use tidelog_core::mutant::{self, Mutant};

use self::table::{ABSENT, PLANTED, Planted, SURVIVORS};
use crate::{config::Config, report::quote, run};

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
    /// Real time.
    pub took: Duration,
    /// What else spoke up, and how often: checkers that are not named for it, or that speak up without the bug, too.
    pub others: BTreeMap<String, u64>,
}

/// Which bugs to plant, where, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Hunt {
    /// From this seed, up to but not including that one.
    pub seeds: (u64, u64),
    /// Only these; all where none is named.
    pub only: Vec<String>,
    /// No new seed is begun for a bug that has taken so long.
    pub budget: Option<Duration>,
}

/// The planted bug of this id.
pub fn named(id: &str) -> Option<Mutant> {
    find(id).map(|planted| planted.mutant)
}

/// The configuration of a seed with what this planted bug needs.
pub fn config(id: &str, seed: u64) -> Option<Config> {
    find(id).map(|planted| config_for(planted, seed))
}

/// Runs every planted bug; `progress` hears a line for each.
pub fn run(hunt: &Hunt, progress: &dyn Fn(&str)) -> Vec<Fate> {
    let chosen = |planted: &&Planted| hunt.only.is_empty() || hunt.only.contains(&format!("{:?}", planted.mutant));
    let mut fates = Vec::new();
    for planted in PLANTED.iter().filter(chosen) {
        let fate = chase(planted, hunt);
        progress(&line(&fate));
        fates.push(fate);
    }
    fates
}

fn line(fate: &Fate) -> String {
    let how = fate.killed_by.as_deref().unwrap_or("SURVIVED");
    let mut line = format!("{} {how} after {} seeds, {:.1} s", fate.id, fate.seeds, fate.took.as_secs_f64());
    if let Some(seed) = fate.seed {
        let _ = write!(line, ", on seed {seed}, which passes without it");
    }
    for (what, times) in &fate.others {
        let _ = write!(line, "; {times} x {what}");
    }
    line
}

fn chase(planted: &Planted, hunt: &Hunt) -> Fate {
    let begun = Instant::now();
    let mut fate = Fate {
        id: format!("{:?}", planted.mutant),
        what: planted.what,
        killed_by: None,
        seeds: 0,
        seed: None,
        took: Duration::ZERO,
        others: BTreeMap::new(),
    };
    for seed in hunt.seeds.0..hunt.seeds.1 {
        if hunt.budget.is_some_and(|budget| begun.elapsed() > budget) {
            break;
        }
        let config = config_for(planted, seed);
        mutant::set(Some(planted.mutant));
        let outcome = run::run(seed, &config, false);
        mutant::set(None);
        fate.seeds += 1;
        let Some(verdict) = outcome.verdict else { continue };
        let mut name = format!("{} {}", verdict.code, verdict.anomaly);
        if run::run(seed, &config, false).verdict.is_some() {
            name.push_str(" (and something without it)");
        } else if planted.checkers.contains(&verdict.code.as_str()) {
            (fate.killed_by, fate.seed) = (Some(name), Some(seed));
            break;
        }
        *fate.others.entry(name).or_default() += 1;
    }
    fate.took = begun.elapsed();
    fate
}

fn config_for(planted: &Planted, seed: u64) -> Config {
    let mut config = Config::draw(seed);
    for (knob, value) in planted.pins.iter().copied().flatten() {
        config.set(knob, *value).expect("the table names knobs that exist");
    }
    config
}

fn find(id: &str) -> Option<&'static Planted> {
    PLANTED.iter().find(|known| format!("{:?}", known.mutant) == id)
}

/// One seed with one bug planted and every line kept, for who wants to look.
pub fn one(id: &str, seed: u64) -> Option<run::Outcome> {
    let found = find(id)?;
    mutant::set(Some(found.mutant));
    let outcome = run::run(seed, &config_for(found, seed), true);
    mutant::set(None);
    Some(outcome)
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
    let survivors: Vec<&Fate> = fates.iter().filter(|fate| fate.killed_by.is_none()).collect();
    if !survivors.is_empty() {
        text.push_str("\nWhy these survive:\n\n");
    }
    for fate in survivors {
        let reason = SURVIVORS.iter().find(|(id, _)| *id == fate.id).map_or("not known", |(_, reason)| reason);
        let _ = writeln!(text, "- {}: {reason}", fate.id);
    }
    text.push_str("\nOf the catalogue, not planted:\n\n");
    for (ids, reason) in ABSENT {
        let _ = writeln!(text, "- {ids}: {reason}");
    }
    text
}

/// What stands above the table in `sim/MUTANTS.md`.
const INTRODUCTION: &str = "\
# Planted bugs

Made by `cargo run --release -p tidelog-sim --features mutants -- mutants --seeds 0..2000 > sim/MUTANTS.md`, which switches
each of these on alone, runs seeds with the knobs pinned that its fault needs, and counts it as killed only when a checker
named for it speaks up on a seed that passes without it with the same knobs. With `--json` it prints the same for machines. Ids with X are those
of the catalogue of known bugs of other systems; Y are our own.

";
