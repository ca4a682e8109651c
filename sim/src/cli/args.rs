//! The flags.

use std::time::Duration;

use crate::{config::Config, profile::Profile, run::Watch};

/// What a command line asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Args {
    pub(super) seeds: Option<(u64, u64)>,
    pub(super) seeds_min: Option<u64>,
    pub(super) sets: Vec<(String, u64)>,
    pub(super) only: Vec<String>,
    pub(super) mutant: Option<String>,
    pub(super) without_mutant: bool,
    pub(super) jobs: usize,
    pub(super) budget: Option<Duration>,
    pub(super) runs: Option<u32>,
    pub(super) twice_every: Option<u64>,
    pub(super) json: bool,
    pub(super) trace: bool,
    pub(super) disk: bool,
    pub(super) digest: bool,
    pub(super) marks: bool,
    pub(super) profile: Option<Profile>,
    pub(super) junit: Option<String>,
    pub(super) report_dir: Option<String>,
    pub(super) out: Option<String>,
    pub(super) file: Option<String>,
    pub(super) brokers: Option<u64>,
    pub(super) partitions: Option<u64>,
}

impl Args {
    /// The words that make another command line draw the same configurations.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(profile) = self.profile {
            words.extend(["--profile".to_owned(), profile.name().to_owned()]);
        }
        for (name, value) in &self.sets {
            words.extend(["--set".to_owned(), format!("{name}={value}")]);
        }
        if let Some(mutant) = &self.mutant {
            words.extend(["--mutant".to_owned(), mutant.clone()]);
        }
        words
    }

    /// The line that runs this seed again.
    pub(super) fn replay(&self, seed: u64) -> String {
        let words: String = self.words().iter().map(|word| format!(" {word}")).collect();
        format!("tidelog sim run --seed {seed}{words}")
    }

    /// What is to be kept of a run that may be reported on.
    pub(super) fn watch(&self, least: Watch) -> Watch {
        if self.report_dir.is_some() { Watch::Film } else { least }
    }
}

/// Reads the words behind the verb.
pub(super) fn parse(args: &[String]) -> Result<Args, String> {
    let mut parsed = Args { jobs: 1, ..Args::default() };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} wants a value"));
        match flag.as_str() {
            "--seed" => {
                let seed = number(value()?)?;
                parsed.seeds = Some((seed, seed.saturating_add(1)));
            }
            "--commit-seed" => {
                let seed = commit_seed(value()?)?;
                parsed.seeds = Some((seed, seed.saturating_add(200)));
            }
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or(format!("{text} is no range such as 0..100"))?;
                parsed.seeds = Some((number(from)?, number(to)?));
            }
            "--min-seeds" => parsed.seeds_min = Some(number(value()?)?),
            "--set" => {
                let text = value()?;
                let (name, value) = text.split_once('=').ok_or(format!("{text} is not KNOB=VALUE"))?;
                Config::default().set(name, 0).map_err(|_| format!("there is no knob {name}"))?;
                parsed.sets.push((name.to_owned(), number(value)?));
            }
            "--only" => parsed.only.push(value()?.clone()),
            "--mutant" => {
                let id = value()?;
                check_mutant(id)?;
                parsed.mutant = Some(id.clone());
            }
            "--without-mutant" => parsed.without_mutant = true,
            "--jobs" => parsed.jobs = number(value()?)?.clamp(1, 64) as usize,
            "--budget" => parsed.budget = Some(span(value()?)?),
            "--runs" => parsed.runs = Some(number(value()?)?.min(u64::from(u32::MAX)) as u32),
            "--twice-every" | "--meta-every" => parsed.twice_every = Some(number(value()?)?),
            "--profile" => {
                let name = value()?;
                let profile = Profile::named(name);
                parsed.profile = Some(profile.ok_or(format!("there is no profile {name}: smoke, pr or nightly"))?);
            }
            "--junit" => parsed.junit = Some(value()?.clone()),
            "--report-dir" => parsed.report_dir = Some(value()?.clone()),
            "--out" => parsed.out = Some(value()?.clone()),
            "--brokers" => parsed.brokers = Some(number(value()?)?),
            "--partitions" => parsed.partitions = Some(number(value()?)?),
            "--json" => parsed.json = true,
            "--disk" => parsed.disk = true,
            "--trace" => parsed.trace = true,
            "--digest" => parsed.digest = true,
            "--marks" => parsed.marks = true,
            other if other.starts_with('-') => return Err(format!("there is no flag {other}")),
            file if parsed.file.is_none() => parsed.file = Some(file.to_owned()),
            other => return Err(format!("{other} is one file too many")),
        }
    }
    Ok(parsed)
}

fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("{text} is no number"))
}

/// `90`, `90s`, `5m`, `2h`.
fn span(text: &str) -> Result<Duration, String> {
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(digits) => (digits, text.chars().next_back().unwrap_or('s')),
        None => (text, 's'),
    };
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        _ => 1,
    };
    Ok(Duration::from_secs(number(digits)?.saturating_mul(seconds)))
}

/// The first seed of a commit: the end of its hash, so that every commit tries seeds of its own.
fn commit_seed(hash: &str) -> Result<u64, String> {
    let digits = hash.get(..hash.len().min(10)).filter(|digits| !digits.is_empty());
    let seed = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    seed.ok_or_else(|| format!("{hash} is no commit's hash"))
}

#[cfg(feature = "mutants")]
fn check_mutant(id: &str) -> Result<(), String> {
    crate::mutants::named(id).map(|_| ()).ok_or_else(|| format!("there is no planted bug {id}"))
}

#[cfg(not(feature = "mutants"))]
fn check_mutant(_id: &str) -> Result<(), String> {
    Err("this build plants no bugs: build it with --features mutants".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Args, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read_and_given_on() {
        let args = words("--seeds 5..9 --profile pr --set kill=1 --budget 2m --junit o.xml").expect("all known");
        assert_eq!((args.seeds, args.budget), (Some((5, 9)), Some(Duration::from_secs(120))));
        assert_eq!(args.replay(5), "tidelog sim run --seed 5 --profile pr --set kill=1");
        assert_eq!(
            words("--commit-seed ffffffffffffffffffff").expect("a hash").seeds,
            Some((0xff_ffff_ffff, 0xff_ffff_ffff + 200))
        );
        assert!(words("--seeds 5-9").is_err());
        assert!(words("--sed 5").is_err());
        assert!(words("--set skill=1").is_err());
        assert!(words("--profile daily").is_err());
        assert!(words("a.toml b.toml").is_err());
    }
}
