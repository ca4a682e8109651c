//! Many seeds, on a few threads.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    config::Config,
    run::{self, Outcome, Verdict},
    tally::Counts,
};

/// What to sweep.
pub struct Sweep<'a> {
    /// From this seed, up to but not including that one.
    pub seeds: (u64, u64),
    /// Threads.
    pub jobs: usize,
    /// No new seed is begun after that.
    pub budget: Option<Duration>,
    /// Every so many seeds run twice; 0 is none.
    pub twice_every: u64,
    /// The configuration of a seed.
    pub config: &'a (dyn Fn(u64) -> Config + Sync),
    /// Runs a seed in another process and says its digest; `None` if that cannot be done.
    pub elsewhere: &'a (dyn Fn(u64) -> Option<String> + Sync),
    /// Hears of each failure as it comes.
    pub failed: &'a (dyn Fn(&Outcome) + Sync),
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which.
    pub seed: u64,
    /// With which configuration.
    pub config: Config,
    /// Why.
    pub verdict: Verdict,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Seeds run.
    pub runs: u64,
    /// Seeds run twice, with equal traces.
    pub twice: u64,
    /// Of these, seeds whose second run was in another process.
    pub elsewhere: u64,
    /// Seeds that failed.
    pub failures: Vec<Failed>,
    /// Seeds run and time taken in each block of [`BLOCK`] seeds.
    pub blocks: BTreeMap<u64, (u64, Duration)>,
    /// Events of all.
    pub events: u64,
    /// Virtual time of all.
    pub simulated: Duration,
    /// Real time.
    pub elapsed: Duration,
    /// Threads.
    pub jobs: usize,
    /// Records sent.
    pub sends: u64,
    /// Records that readers saw.
    pub seen: u64,
    /// What was struck and reached.
    pub counts: Counts,
}

/// Seeds that are told of together.
pub const BLOCK: u64 = 50;
/// After so many failures the rest of the seeds tells nothing new.
const FAILURES_MAX: usize = 20;

/// Runs them all.
pub fn run(sweep: &Sweep<'_>) -> Total {
    let begun = Instant::now();
    let next = AtomicU64::new(sweep.seeds.0);
    let enough = AtomicBool::new(false);
    let total = Mutex::new(Total { jobs: sweep.jobs, ..Total::default() });
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let late = sweep.budget.is_some_and(|budget| begun.elapsed() > budget);
            if seed >= sweep.seeds.1 || late || enough.load(Ordering::Relaxed) {
                return;
            }
            let started = Instant::now();
            let config = (sweep.config)(seed);
            let mut outcome = run::run(seed, &config, false);
            let mut again = None;
            if sweep.twice_every > 0 && seed.is_multiple_of(sweep.twice_every) && outcome.verdict.is_none() {
                again = Some(run_again(sweep, &mut outcome));
            }
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.runs += 1;
            total.twice += u64::from(again.is_some());
            total.elsewhere += u64::from(again == Some(Place::Elsewhere));
            total.events += outcome.events;
            total.simulated += outcome.simulated();
            total.sends += outcome.sends as u64;
            total.seen += outcome.seen as u64;
            total.counts.add(&outcome.counts);
            let (runs, took) = total.blocks.entry(seed / BLOCK).or_default();
            *runs += 1;
            *took += started.elapsed();
            if let Some(verdict) = &outcome.verdict {
                total.failures.push(Failed { seed, config, verdict: verdict.clone() });
                enough.store(total.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
                drop(total);
                (sweep.failed)(&outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..sweep.jobs {
            scope.spawn(work);
        }
        work();
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.elapsed = begun.elapsed();
    total.failures.sort_by_key(|failed| failed.seed);
    total
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Elsewhere,
}

/// The second run of a seed, in another process if there can be one. Two runs that differ are a failure.
fn run_again(sweep: &Sweep<'_>, outcome: &mut Outcome) -> Place {
    match (sweep.elsewhere)(outcome.seed) {
        Some(digest) => {
            if digest != outcome.digest.to_string() {
                // Does it differ from itself here, too? Then the first event that differs can be shown.
                outcome.verdict = Some(run::twice(outcome.seed, &outcome.config).err().unwrap_or_else(|| {
                    let why = format!("{} here, {digest} in another process; two runs here are equal", outcome.digest);
                    Verdict::nondeterminism(outcome.seed, why)
                }));
            }
            Place::Elsewhere
        }
        None => {
            let again = run::run(outcome.seed, &outcome.config, false);
            if again.digest != outcome.digest {
                outcome.verdict = run::twice(outcome.seed, &outcome.config).err();
            }
            Place::Here
        }
    }
}
