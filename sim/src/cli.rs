//! The verbs: `run`, `sweep`, `meta`, `mutants`, `knobs`, `history`.
//!
//! Exit codes: 0 all well; 1 wrong usage; 10 a safety checker; 11 no progress; 12 an assertion or panic; 13 two runs of
//! one seed differ; 14 the time was over before the seeds were; 15 a planted bug survived; 16 a mark was never
//! reached; 17 a bound was exceeded.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    time::{Duration, Instant},
};

use crate::{
    config::Config,
    jsonl::Recorded,
    report::{self, Style},
    run::{self, Outcome},
    sweep::{self, Sweep},
};

const USAGE: &str = "\
usage: tidelog-sim run --seed N [--set KNOB=VALUE]... [--trace] [--disk] [--json]
       tidelog-sim sweep --seeds A..B [--profile NAME] [--jobs N] [--budget SECONDS] [--meta-every N] [--marks] [--set KNOB=VALUE]... [--json]
       tidelog-sim meta --seed N | --seeds A..B [--set KNOB=VALUE]...
       tidelog-sim mutants --seeds A..B [--only ID]... [--budget SECONDS] [--trace] [--json]
       tidelog-sim history FILE... [--json]
       tidelog-sim knobs";

/// What a command line asks for.
#[derive(Clone, Debug, Default)]
struct Args {
    seeds: Option<(u64, u64)>,
    sets: Vec<(String, u64)>,
    only: Vec<String>,
    jobs: usize,
    budget: Option<Duration>,
    meta_every: u64,
    json: bool,
    trace: bool,
    disk: bool,
    marks: bool,
    profile: Option<String>,
}

/// Runs one command line, without the program's name; returns the exit code.
pub fn run(args: &[String]) -> u8 {
    match dispatch(args) {
        Ok(code) => code,
        Err(wrong) => {
            eprintln_line(&format!("error: {wrong}"));
            eprintln_line(USAGE);
            1
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is the command line")]
fn eprintln_line(text: &str) {
    eprintln!("{text}");
}

fn println_line(text: &str) {
    // Whoever reads may have had enough.
    let _ = writeln!(io::stdout(), "{text}");
}

fn dispatch(args: &[String]) -> Result<u8, String> {
    let (verb, rest) = args.split_first().ok_or("which verb?")?;
    if verb == "history" {
        return judge_history(rest);
    }
    let args = parse(rest)?;
    match verb.as_str() {
        "run" => run_one(&args),
        "sweep" => run_sweep(&args),
        "meta" => run_meta(&args),
        "mutants" => run_mutants(&args),
        "knobs" => {
            let drawn = Config::default();
            for ((name, what), (_, value)) in Config::describe().into_iter().zip(drawn.entries()) {
                println_line(&format!("{name:<24} {value:>12}  {what}"));
            }
            Ok(0)
        }
        "--help" | "-h" | "help" => {
            println_line(USAGE);
            Ok(0)
        }
        other => Err(format!("there is no verb {other}")),
    }
}

fn parse(args: &[String]) -> Result<Args, String> {
    let mut parsed = Args { jobs: 1, meta_every: 0, ..Args::default() };
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} wants a value"));
        match flag.as_str() {
            "--seed" => {
                let seed = number(value()?)?;
                parsed.seeds = Some((seed, seed + 1));
            }
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").ok_or(format!("{text} is no range such as 0..100"))?;
                parsed.seeds = Some((number(from)?, number(to)?));
            }
            "--set" => {
                let text = value()?;
                let (name, value) = text.split_once('=').ok_or(format!("{text} is not KNOB=VALUE"))?;
                Config::default().set(name, 0).map_err(|_| format!("there is no knob {name}"))?;
                parsed.sets.push((name.to_owned(), number(value)?));
            }
            "--only" => parsed.only.push(value()?.clone()),
            "--jobs" => parsed.jobs = number(value()?)?.clamp(1, 64) as usize,
            "--budget" => parsed.budget = Some(Duration::from_secs(number(value()?.trim_end_matches('s'))?)),
            "--meta-every" => parsed.meta_every = number(value()?)?,
            "--profile" => parsed.profile = Some(value()?.clone()),
            "--json" => parsed.json = true,
            "--disk" => parsed.disk = true,
            "--trace" => parsed.trace = true,
            "--marks" => parsed.marks = true,
            other => return Err(format!("there is no flag {other}")),
        }
    }
    Ok(parsed)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn config(args: &Args, seed: u64) -> Config {
    let mut config = Config::draw(seed);
    if args.profile.is_some() {
        config.nodes = Config::draw_nodes(seed);
    }
    for (name, value) in &args.sets {
        config.set(name, *value).expect("names were checked");
    }
    config
}

fn run_one(args: &Args) -> Result<u8, String> {
    let (seed, _) = args.seeds.ok_or("run wants --seed N")?;
    let config = config(args, seed);
    let begun = Instant::now();
    let outcome = run::run(seed, &config, true);
    let style = if args.json { Style::Json } else { Style::Text };
    if args.disk {
        for line in &outcome.dump {
            println_line(line);
        }
    }
    if args.trace {
        for line in &outcome.lines {
            println_line(line);
        }
    }
    println_line(&report::run(&outcome, &args.sets, begun.elapsed(), style));
    Ok(outcome.verdict.map_or(0, |verdict| verdict.exit))
}

fn run_sweep(args: &Args) -> Result<u8, String> {
    let seeds = args.seeds.ok_or("sweep wants --seeds A..B")?;
    let meta_every = match args.profile.as_deref() {
        None => args.meta_every,
        Some("smoke") => 0,
        Some("pr") => 8,
        Some("nightly") => 1,
        Some(other) => return Err(format!("there is no profile {other}: smoke, pr or nightly")),
    };
    let sweep = Sweep { seeds, jobs: args.jobs, budget: args.budget, meta_every };
    let draw = |seed| config(args, seed);
    let total = sweep::run(&sweep, &draw, &|failed: &Outcome| {
        let again = run::run(failed.seed, &failed.config, true);
        let failed = if again.verdict.is_some() { &again } else { failed };
        eprintln_line(&report::run(failed, &args.sets, Duration::ZERO, Style::Text));
    });
    println_line(&report::sweep(&total, if args.json { Style::Json } else { Style::Text }));
    if let Some(exit) = total.failures.first().map(|(_, verdict)| verdict.exit) {
        return Ok(exit);
    }
    if total.runs < seeds.1.saturating_sub(seeds.0) {
        return Ok(14);
    }
    let missed = args.marks && total.counts.marks.contains(&0);
    Ok(if missed { 16 } else { 0 })
}

fn run_meta(args: &Args) -> Result<u8, String> {
    let (from, to) = args.seeds.ok_or("meta wants --seed N or --seeds A..B")?;
    for seed in from..to {
        match run::twice(seed, &config(args, seed)) {
            Ok(outcome) => println_line(&format!("seed {seed}: {} events, {} twice", outcome.events, outcome.digest)),
            Err(verdict) => {
                println_line(&format!("seed {seed}: {}", verdict.why));
                return Ok(verdict.exit);
            }
        }
    }
    Ok(0)
}

/// Judges what real clients did, with the checker that judges the simulated ones.
fn judge_history(args: &[String]) -> Result<u8, String> {
    let json = args.iter().any(|arg| arg == "--json");
    let files: Vec<&String> = args.iter().filter(|arg| *arg != "--json").collect();
    if files.is_empty() {
        return Err("history wants a file of JSON lines".to_owned());
    }
    let mut recorded = Recorded::new();
    for path in files {
        let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| format!("{path}: {error}"))?;
            recorded.line(&line).map_err(|wrong| format!("{path}, line {}: {wrong}", number + 1))?;
        }
    }
    let verdict = recorded.check();
    println_line(&report::history(
        recorded.counts(),
        verdict.as_ref().err(),
        if json { Style::Json } else { Style::Text },
    ));
    Ok(if verdict.is_ok() { 0 } else { 10 })
}

#[cfg(not(feature = "mutants"))]
fn run_mutants(_args: &Args) -> Result<u8, String> {
    Err("this build plants no bugs: build it with --features mutants".to_owned())
}

#[cfg(feature = "mutants")]
fn run_mutants(args: &Args) -> Result<u8, String> {
    let seeds = args.seeds.ok_or("mutants wants --seeds A..B")?;
    if args.trace {
        let id = args.only.first().ok_or("mutants --trace wants --only ID")?;
        let outcome = crate::mutants::one(id, seeds.0).ok_or(format!("there is no planted bug {id}"))?;
        outcome.lines.iter().for_each(|line| println_line(line));
        println_line(&report::run(&outcome, &args.sets, Duration::ZERO, Style::Text));
        return Ok(outcome.verdict.map_or(0, |verdict| verdict.exit));
    }
    let hunt = crate::mutants::Hunt { seeds, only: args.only.clone(), budget: args.budget };
    let results = crate::mutants::run(&hunt, &|line| eprintln_line(line));
    println_line(&crate::mutants::table(&results, args.json));
    let survived = results.iter().any(|result| result.killed_by.is_none());
    Ok(if survived { 15 } else { 0 })
}
