//! Many seeds, on a few threads.

use std::{
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
#[derive(Clone, Debug)]
pub struct Sweep {
    /// From this seed, up to but not including that one.
    pub seeds: (u64, u64),
    /// Threads.
    pub jobs: usize,
    /// No new seed is begun after that.
    pub budget: Option<Duration>,
    /// Every so many seeds run twice; 0 is none.
    pub meta_every: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Seeds run.
    pub runs: u64,
    /// Seeds run twice, with equal traces.
    pub twice: u64,
    /// Seeds that failed.
    pub failures: Vec<(u64, Verdict)>,
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

/// After so many failures the rest of the seeds tells nothing new.
const FAILURES_MAX: usize = 20;

/// Runs them all; `failed` hears of each failure as it comes.
pub fn run(sweep: &Sweep, config: &(dyn Fn(u64) -> Config + Sync), failed: &(dyn Fn(&Outcome) + Sync)) -> Total {
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
            let config = config(seed);
            let mut outcome = run::run(seed, &config, false);
            let twice = sweep.meta_every > 0 && seed.is_multiple_of(sweep.meta_every);
            if twice && outcome.verdict.is_none() {
                let again = run::run(seed, &config, false);
                if again.digest != outcome.digest {
                    outcome.verdict = run::twice(seed, &config).err();
                }
            }
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.runs += 1;
            total.twice += u64::from(twice);
            total.events += outcome.events;
            total.simulated += outcome.simulated();
            total.sends += outcome.sends as u64;
            total.seen += outcome.seen as u64;
            total.counts.add(&outcome.counts);
            if let Some(verdict) = &outcome.verdict {
                total.failures.push((seed, verdict.clone()));
                enough.store(total.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
                drop(total);
                failed(&outcome);
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
    total.failures.sort_by_key(|(seed, _)| *seed);
    total
}
