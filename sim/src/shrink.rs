//! Making a failing run small: a step is kept only if the same checker finds the same anomaly.
//!
//! The run's strikes and operations are turned into lists first; what comes after the violation is on neither. Then, in
//! rounds until nothing goes any more or the budget is spent: strikes go (ddmin), clients, operations, nodes, knobs go back
//! to their quiet defaults, delays become flat, spans short and times round. An entry of a list keeps its place in the
//! random stream that it draws from, so that what stays goes on as it was.
//!
//! Subjects are not compared: ids of topics and offsets are among what shrinking changes.

use std::time::{Duration, Instant};

use crate::{
    actor::MS,
    case::{Anomaly, Case, span_mut},
    config::Config,
    run::Watch,
    script::Script,
};

/// How much may be tried.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Runs.
    pub runs: u32,
    /// Real time.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { runs: 2_000, time: Duration::from_secs(60) }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest case found.
    pub case: Case,
    /// How large the case was before, in the same words as `after`.
    pub before: String,
    /// How large it is.
    pub after: String,
    /// Runs that it took.
    pub runs: u32,
    /// Is it over because the budget was spent?
    pub is_unfinished: bool,
}

/// Knobs that say how much there is of something; they are halved where they cannot go back to the default.
const SIZES: &[&str] = &[
    "chaos_ms",
    "stable_topics",
    "compacted_topics",
    "churned_topics",
    "partitions",
    "keys",
    "batch_records",
    "value_bytes",
    "in_flight",
    "delay_us",
    "jitter_us",
    "sync_us",
];

/// Knobs that say who a client on the lists is; clients fall silent instead.
const WHO: &[&str] = &["producers", "consumers", "machines", "askers", "admins"];

/// Makes a failing case small. `progress` hears a line after every step that helped. `Err` if the case does not fail.
pub fn shrink(case: &Case, budget: Budget, progress: &dyn Fn(&str)) -> Result<Shrunk, String> {
    let outcome = case.run(Watch::Lists)?;
    let verdict = outcome.verdict.ok_or("this run does not fail")?;
    let expects = Anomaly::from(&verdict);
    let script = outcome.script.expect("lists were asked for");
    let best = Case { expects: Some(expects), script, ..case.clone() };
    let clients = outcome.clients;
    let before = size(&best, clients);
    progress(&format!("{} {}: {before}", verdict_of(&best), verdict.why));
    let mut shrinker =
        Shrinker { best, clients, runs: 0, begun: Instant::now(), budget, refused: Vec::new(), progress };
    if !shrinker.fails(&shrinker.best.clone()) {
        // Strikes alone are the better part.
        shrinker.best.script.ops = None;
        if !shrinker.fails(&shrinker.best.clone()) {
            return Err("the run does not fail again when it goes by its own lists".to_owned());
        }
    }
    loop {
        let round = shrinker.best.clone();
        shrinker.strikes();
        shrinker.clients();
        shrinker.ops();
        shrinker.nodes();
        shrinker.knobs();
        shrinker.spans();
        if shrinker.best == round || shrinker.is_spent() {
            break;
        }
    }
    let is_unfinished = shrinker.is_spent();
    let after = size(&shrinker.best, clients);
    Ok(Shrunk { before, after, runs: shrinker.runs, is_unfinished, case: shrinker.best })
}

fn verdict_of(case: &Case) -> String {
    case.expects.as_ref().map(|expects| format!("{} {}", expects.code, expects.anomaly)).unwrap_or_default()
}

/// How large a case is, in words.
fn size(case: &Case, clients: usize) -> String {
    let Script { strikes, ops, .. } = &case.script;
    let (strikes, ops) = (strikes.as_ref().map_or(0, Vec::len), ops.as_ref().map_or(0, Vec::len));
    format!(
        "{} node(s), {strikes} strikes, {ops} operations of {} clients, {} knobs turned",
        case.config.nodes,
        clients_of(case, clients).len(),
        case.config.difference().len()
    )
}

/// Clients that may still do something.
fn clients_of(case: &Case, clients: usize) -> Vec<usize> {
    (0..clients).filter(|client| !case.script.silent.contains(client)).collect()
}

struct Shrinker<'a> {
    best: Case,
    clients: usize,
    runs: u32,
    begun: Instant,
    budget: Budget,
    /// Knobs that could not be turned, with their values: not to be tried in every round.
    refused: Vec<(&'static str, u64)>,
    progress: &'a dyn Fn(&str),
}

impl Shrinker<'_> {
    fn is_spent(&self) -> bool {
        self.runs >= self.budget.runs || self.begun.elapsed() > self.budget.time
    }

    fn fails(&mut self, case: &Case) -> bool {
        if self.is_spent() {
            return false;
        }
        self.runs += 1;
        let Ok(outcome) = case.run(Watch::Nothing) else { return false };
        let found = outcome.verdict.as_ref().map(Anomaly::from);
        found.is_some() && found == case.expects
    }

    /// Goes on with this case if it fails alike.
    fn accept(&mut self, simpler: Case) -> bool {
        let is_better = simpler != self.best && self.fails(&simpler);
        if is_better {
            self.best = simpler;
        }
        is_better
    }

    fn tell(&self, step: &str) {
        let (runs, seconds) = (self.runs, self.begun.elapsed().as_secs());
        (self.progress)(&format!("{step}: {} ({runs} runs, {seconds} s)", size(&self.best, self.clients)));
    }

    fn strikes(&mut self) {
        let base = self.best.clone();
        let with = |strikes: &[_]| {
            let script = Script { strikes: Some(strikes.to_vec()), ..base.script.clone() };
            Case { script, ..base.clone() }
        };
        let all = base.script.strikes.clone().unwrap_or_default();
        let kept = ddmin(all, &mut |strikes| self.fails(&with(strikes)));
        self.best = with(&kept);
        self.tell("strikes");
    }

    fn clients(&mut self) {
        let base = self.best.clone();
        let all = clients_of(&base, self.clients);
        let with = |kept: &[usize]| {
            let silent = base.script.silent.iter().chain(all.iter().filter(|client| !kept.contains(client)));
            let silent: Vec<usize> = silent.copied().collect();
            let mut ops = base.script.ops.clone();
            ops.iter_mut().for_each(|ops| ops.retain(|op| !silent.contains(&op.client)));
            let script = Script { ops, silent, ..base.script.clone() };
            Case { script, ..base.clone() }
        };
        let kept = ddmin(all.clone(), &mut |kept| self.fails(&with(kept)));
        self.best = with(&kept);
        self.tell("clients");
    }

    fn ops(&mut self) {
        let base = self.best.clone();
        let with =
            |ops: &[_]| Case { script: Script { ops: Some(ops.to_vec()), ..base.script.clone() }, ..base.clone() };
        let Some(all) = base.script.ops.clone() else { return };
        let kept = ddmin(all, &mut |ops| self.fails(&with(ops)));
        self.best = with(&kept);
        self.tell("operations");
    }

    fn nodes(&mut self) {
        for nodes in 1..self.best.config.nodes {
            let mut smaller = self.best.clone();
            smaller.config.nodes = nodes;
            smaller.script.strikes.iter_mut().for_each(|all| all.retain(|s| (s.strike.node as u64) < nodes));
            if self.accept(smaller) {
                self.tell("nodes");
                break;
            }
        }
    }

    fn knobs(&mut self) {
        let quiet = Config::default();
        let mut all = self.best.clone();
        for (knob, value) in quiet.entries().into_iter().filter(|(knob, _)| is_free(knob)) {
            all.config.set(knob, value).expect("it is a knob");
        }
        self.accept(all);
        for (knob, value) in quiet.entries() {
            if is_free(knob) {
                self.turn(knob, value);
            }
        }
        for knob in SIZES {
            while let now @ 2.. = self.value(knob)
                && self.turn(knob, now / 2)
            {}
        }
        // A network without surprises.
        self.turn("jitter_us", 0);
        self.tell("knobs");
    }

    fn value(&self, knob: &str) -> u64 {
        self.best.config.entries().into_iter().find(|(name, _)| *name == knob).map_or(0, |(_, value)| value)
    }

    fn turn(&mut self, knob: &'static str, value: u64) -> bool {
        if self.refused.contains(&(knob, value)) {
            return false;
        }
        let mut simpler = self.best.clone();
        simpler.config.set(knob, value).expect("it is a knob");
        let is_better = self.accept(simpler);
        if !is_better {
            self.refused.push((knob, value));
        }
        is_better
    }

    /// Strikes that last shorter, at round times.
    fn spans(&mut self) {
        for number in 0..self.best.script.strikes.as_ref().map_or(0, Vec::len) {
            let strikes = |case: &mut Case| case.script.strikes.take().unwrap_or_default();
            let mut rounder = self.best.clone();
            let mut all = strikes(&mut rounder);
            all[number].strike.at = all[number].strike.at / MS * MS;
            rounder.script.strikes = Some(all);
            self.accept(rounder);
            loop {
                let mut shorter = self.best.clone();
                let mut all = strikes(&mut shorter);
                let Some(span) = span_mut(&mut all[number].strike.blow).filter(|span| **span >= 2 * MS) else { break };
                *span = *span / 2 / MS * MS;
                shorter.script.strikes = Some(all);
                if !self.accept(shorter) {
                    break;
                }
            }
        }
        self.tell("spans");
    }
}

fn is_free(knob: &str) -> bool {
    knob != "nodes" && knob != "chaos_ms" && !WHO.contains(&knob)
}

/// A small part of `items` for which `fails` still holds, given that it holds for all of them: Zeller's ddmin, by
/// complements.
fn ddmin<T: Clone>(mut items: Vec<T>, fails: &mut dyn FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut parts = 2;
    while items.len() >= 2 {
        let size = items.len().div_ceil(parts);
        let without = |skip: usize| -> Vec<T> {
            let kept = items.chunks(size).enumerate().filter(|(part, _)| *part != skip);
            kept.flat_map(|(_, chunk)| chunk.iter().cloned()).collect()
        };
        // The last ones first: what comes late matters to less.
        let count = items.len().div_ceil(size);
        match (0..count).rev().map(without).find(|rest| fails(rest)) {
            Some(rest) => {
                items = rest;
                parts = (parts - 1).clamp(2, items.len().max(2));
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ddmin_finds_the_pair_that_matters() {
        let mut tried = 0;
        let kept = ddmin((0..40).collect(), &mut |items| {
            tried += 1;
            items.contains(&3) && items.contains(&31)
        });
        assert_eq!(kept, [3, 31]);
        assert!(tried < 200, "{tried} runs");
        assert_eq!(ddmin(vec![1, 2], &mut |_| true), [] as [usize; 0]);
    }

    #[test]
    fn a_run_that_passes_is_not_shrunk() {
        let case = Case::drawn(1, Config { chaos_ms: 1_000, ..Config::default() });
        assert_eq!(shrink(&case, Budget::default(), &|_| ()).expect_err("it passes"), "this run does not fail");
    }
}
