//! One run: a seed and a configuration in, a verdict out.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    time::Duration,
};

use crate::{
    config::Config,
    tally::Counts,
    trace::{Checkpoint, Digest},
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

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its configuration.
    pub config: Config,
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
    catch_panics();
    let mut world = World::new(seed, config.clone(), record);
    RUNNING.with(|running| *running.borrow_mut() = true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    RUNNING.with(|running| *running.borrow_mut() = false);
    let verdict = match result {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(of_failure(failure)),
        Err(_) => {
            let why = PANIC.with(|place| place.borrow_mut().take()).unwrap_or_default();
            Some(Verdict { exit: 12, code: "A1".into(), anomaly: "panic".into(), subject: "core".into(), why })
        }
    };
    Outcome {
        seed,
        config: config.clone(),
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

/// Runs one seed twice and compares: `Err` names the last equal and the first different checkpoint.
pub fn twice(seed: u64, config: &Config) -> Result<Outcome, Verdict> {
    let (first, second) = (run(seed, config, false), run(seed, config, false));
    if first.digest == second.digest && first.events == second.events {
        return Ok(first);
    }
    let equal = first.checkpoints.iter().zip(&second.checkpoints).take_while(|(a, b)| a == b).count();
    let events = equal as u64 * crate::trace::CHECKPOINT_EVENTS;
    let why = format!(
        "{} events and {} against {} events and {}; equal up to event {events}",
        first.events, first.digest, second.events, second.digest
    );
    Err(Verdict { exit: 13, code: "D1".into(), anomaly: "nondeterminism".into(), subject: format!("seed {seed}"), why })
}
