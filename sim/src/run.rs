//! One run: a seed and a configuration in, a verdict out.

use std::{
    cell::RefCell,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    time::Duration,
};

use crate::{
    case::{Anomaly, Case},
    config::Config,
    film::Film,
    script::Script,
    tally::Counts,
    trace::{Checkpoint, Digest, Note, first_difference},
    world::{Failure, World},
};

/// Why a run failed, in the terms of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The exit code of simulation.md §1.13.
    pub exit: u8,
    /// Which checker: `R11`, `A1`.
    pub code: String,
    /// Which anomaly.
    pub anomaly: String,
    /// What it is about.
    pub subject: String,
    /// One sentence.
    pub why: String,
}

impl Verdict {
    /// Two runs of this seed differ.
    pub fn nondeterminism(seed: u64, why: String) -> Self {
        Self { exit: 13, code: "D1".into(), anomaly: "nondeterminism".into(), subject: format!("seed {seed}"), why }
    }
}

impl From<&Verdict> for Anomaly {
    fn from(verdict: &Verdict) -> Self {
        Self { code: verdict.code.clone(), anomaly: verdict.anomaly.clone() }
    }
}

/// What is kept of a run beside its verdict. Each keeps what the one before does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// Nothing more.
    Nothing,
    /// What was struck and begun.
    Lists,
    /// The last lines, and what the files hold at the end.
    Lines,
    /// All that a person may want to look at.
    Film,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its configuration.
    pub config: Config,
    /// The planted bug that was switched on.
    pub mutant: Option<String>,
    /// Why it failed, if it did.
    pub verdict: Option<Verdict>,
    /// All that happened.
    pub digest: Digest,
    /// Where it stood every so often.
    pub checkpoints: Vec<Checkpoint>,
    /// How many events there were.
    pub events: u64,
    /// How much virtual time passed, in nanoseconds.
    pub simulated: u64,
    /// What was struck and reached.
    pub counts: Counts,
    /// What was done by clients.
    pub sends: usize,
    /// What readers saw.
    pub seen: usize,
    /// The last lines, if they were recorded.
    pub lines: Vec<String>,
    /// What the files hold at the end.
    pub dump: Vec<String>,
    /// The marks of every log at the end.
    pub states: Vec<String>,
    /// Clients, but for the last reader.
    pub clients: usize,
    /// What was struck and begun, if it was to be kept.
    pub script: Option<Script>,
    /// What it looked like, if that was to be kept.
    pub film: Option<Film>,
}

impl Outcome {
    /// Virtual time.
    pub fn simulated(&self) -> Duration {
        Duration::from_nanos(self.simulated)
    }
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a run are findings: they are caught, and their text and place go into the report.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let caught = RUNNING.with(|running| *running.borrow());
            if caught {
                PANIC.with(|place| *place.borrow_mut() = Some(info.to_string().replace('\n', " ")));
            } else {
                usual(info);
            }
        }));
    });
}

thread_local! {
    static RUNNING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs one seed. With `record`, the last lines are kept.
pub fn run(seed: u64, config: &Config, record: bool) -> Outcome {
    stage(&Case::drawn(seed, config.clone()), if record { Watch::Lines } else { Watch::Nothing })
}

/// Runs a case, without a look at what bug it wants planted.
pub fn stage(case: &Case, watch: Watch) -> Outcome {
    let Case { seed, config, script, .. } = case;
    let record = watch >= Watch::Lines;
    let mut world = World::staged(*seed, config.clone(), script, record);
    if watch >= Watch::Film {
        world.take_film();
    }
    let verdict = caught(&mut world);
    Outcome {
        seed: *seed,
        config: config.clone(),
        mutant: case.mutant.clone(),
        verdict,
        digest: world.trace.digest(),
        checkpoints: world.trace.checkpoints().to_vec(),
        events: world.trace.events(),
        simulated: world.now(),
        counts: world.tally.counts(),
        sends: world.oracle.history.sends.len(),
        seen: world.oracle.history.polls.iter().map(|poll| poll.seen.len()).sum(),
        dump: if record { world.dump() } else { Vec::new() },
        lines: world.trace.lines().map(str::to_owned).collect(),
        states: if record { world.state_lines() } else { Vec::new() },
        clients: world.clients(),
        film: world.trace.film().cloned(),
        script: (watch >= Watch::Lists).then(|| world.script()),
    }
}

/// Runs a world to its end, whatever that is.
fn caught(world: &mut World) -> Option<Verdict> {
    catch_panics();
    RUNNING.with(|running| *running.borrow_mut() = true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    RUNNING.with(|running| *running.borrow_mut() = false);
    match result {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(of_failure(failure)),
        Err(_) => {
            let why = PANIC.with(|place| place.borrow_mut().take()).unwrap_or_default();
            Some(Verdict { exit: 12, code: "A1".into(), anomaly: "panic".into(), subject: "core".into(), why })
        }
    }
}

fn of_failure(failure: Failure) -> Verdict {
    match failure {
        Failure::Broken(violation) => Verdict {
            exit: if violation.code == "B1" { 17 } else { 10 },
            code: violation.code.into(),
            anomaly: violation.anomaly.into(),
            subject: violation.subject,
            why: violation.why,
        },
        Failure::Stuck(why) => {
            Verdict { exit: 11, code: "L1".into(), anomaly: "no-progress".into(), subject: "world".into(), why }
        }
        Failure::Unsettled(why) => {
            Verdict { exit: 11, code: "L2".into(), anomaly: "not-converged".into(), subject: "world".into(), why }
        }
        Failure::Budget(why) => {
            Verdict { exit: 17, code: "B1".into(), anomaly: "event-budget".into(), subject: "world".into(), why }
        }
    }
}

/// Runs one seed twice and compares. `Err` shows the first event that differs.
pub fn twice(seed: u64, config: &Config) -> Result<Outcome, Verdict> {
    let case = Case::drawn(seed, config.clone());
    alike(&case, &case)
}

/// Runs two cases that should be one, and compares. `Err` shows the first event that differs: checkpoints say in which
/// stretch it is, and both are run again with every event of that stretch written down.
fn alike(one: &Case, other: &Case) -> Result<Outcome, Verdict> {
    let (first, second) = (stage(one, Watch::Nothing), stage(other, Watch::Nothing));
    if first.digest == second.digest && first.events == second.events {
        return Ok(first);
    }
    let equal = first.checkpoints.iter().zip(&second.checkpoints).take_while(|(a, b)| a == b).count();
    let from = equal as u64 * crate::trace::CHECKPOINT_EVENTS;
    let mut why = format!(
        "{} events and {} against {} events and {}; equal up to event {from}",
        first.events, first.digest, second.events, second.digest
    );
    // Two more than the stretch: what an event adds shows in the next one.
    let stretch = from..from + crate::trace::CHECKPOINT_EVENTS + 2;
    let (noted, again) = (notes(one, stretch.clone()), notes(other, stretch));
    match first_difference(&noted, &again) {
        Some((a, b)) => {
            why.push_str("; the first event that differs");
            for (side, note) in [("one", a), ("other", b)] {
                let what = note.map_or_else(|| "has none".to_owned(), Note::what);
                why.push_str(&format!("\n  {side}: {what}"));
                for line in note.iter().flat_map(|note| &note.lines) {
                    why.push_str(&format!("\n    {line}"));
                }
            }
        }
        None => why.push_str("; run again they do not differ there"),
    }
    Err(Verdict::nondeterminism(one.seed, why))
}

/// Runs a case and writes down every event of a stretch.
fn notes(case: &Case, events: Range<u64>) -> Vec<Note> {
    let mut world = World::staged(case.seed, case.config.clone(), &case.script, false);
    world.trace.note(events);
    // How it ends is known.
    let _ = caught(&mut world);
    world.trace.into_notes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_that_differs_is_shown() {
        let config = Config { kill: 1, chaos_ms: 4_000, strike_ms: 800, ..Config::default() };
        let one = Case::drawn(3, config);
        let script = stage(&one, Watch::Lists).script.expect("asked for");
        let strikes = script.strikes.expect("it is a list");
        let last = strikes.last().expect("somebody is struck").clone();
        let script = Script { strikes: Some(strikes[..strikes.len() - 1].to_vec()), ..Script::default() };
        let other = Case { script, ..one.clone() };
        assert!(alike(&one, &one).is_ok());
        let verdict = alike(&one, &other).expect_err("one strike is missing");
        assert_eq!(verdict.exit, 13);
        let expected = format!("at {} s, a strike on n{}", crate::trace::Seconds(last.strike.at), last.strike.node);
        assert!(verdict.why.contains(&expected), "{}", verdict.why);
    }
}
