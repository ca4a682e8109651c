//! The verbs: `run`, `sweep`, `replay`, `shrink`, `meta`, `mutants`, `knobs`, `history`.
//!
//! Exit codes: 0 all well; 1 wrong usage; 10 a safety checker; 11 no progress; 12 an assertion or panic; 13 two runs of
//! one seed differ; 14 the time was over before the seeds were; 15 a planted bug survived; 16 a mark was never
//! reached, or a kind of fault never struck; 17 a bound was exceeded.

mod args;
mod help;

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    time::{Duration, Instant},
};

use self::args::Args;
use crate::{
    case::Case,
    config::Config,
    film::page,
    jsonl::Recorded,
    junit, process,
    report::{self, Style},
    run::{self, Outcome, Verdict, Watch},
    scale,
    shrink::{self, Budget},
    sweep::{self, Sweep},
};

/// Runs one command line, without the program's name; returns the exit code.
pub fn run(args: &[String]) -> u8 {
    match dispatch(args) {
        Ok(code) => code,
        Err(wrong) => {
            eprintln_line(&format!("error: {wrong}"));
            eprintln_line("hint: tidelog sim --help");
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
    if matches!(verb.as_str(), "--help" | "-h" | "help") || rest.iter().any(|arg| arg == "--help" || arg == "-h") {
        println_line(help::HELP);
        return Ok(0);
    }
    if verb == "history" {
        return judge_history(rest);
    }
    let args = args::parse(rest)?;
    match verb.as_str() {
        "run" => run_one(&args),
        "sweep" => run_sweep(&args),
        "replay" => replay(&args),
        "shrink" => run_shrink(&args),
        "meta" => run_meta(&args),
        "mutants" => run_mutants(&args),
        "scale" => run_scale(&args),
        "knobs" => {
            let drawn = Config::default();
            for ((name, what), (_, value)) in Config::describe().into_iter().zip(drawn.entries()) {
                println_line(&format!("{name:<24} {value:>12}  {what}"));
            }
            Ok(0)
        }
        other => Err(format!("there is no verb {other}")),
    }
}

/// The configuration of a seed as this command line wants it.
fn config(args: &Args, seed: u64) -> Config {
    let mut config = match (args.profile, &args.mutant) {
        (Some(profile), _) => profile.draw(seed),
        (None, Some(mutant)) => mutant_config(mutant, seed),
        (None, None) => Config::draw(seed),
    };
    for (name, value) in &args.sets {
        config.set(name, *value).expect("names were checked");
    }
    config
}

/// What a planted bug needs; that there is one was looked at.
#[cfg(feature = "mutants")]
fn mutant_config(id: &str, seed: u64) -> Config {
    crate::mutants::config(id, seed).expect("the id was checked")
}

#[cfg(not(feature = "mutants"))]
fn mutant_config(_id: &str, seed: u64) -> Config {
    Config::draw(seed)
}

fn case(args: &Args, seed: u64) -> Case {
    Case { mutant: args.mutant.clone(), ..Case::drawn(seed, config(args, seed)) }
}

fn run_one(args: &Args) -> Result<u8, String> {
    let (seed, _) = args.seeds.ok_or("run wants --seed N")?;
    let case = case(args, seed);
    if args.digest {
        let outcome = case.run(Watch::Nothing)?;
        println_line(&format!("{} {}", outcome.digest, outcome.events));
        return Ok(outcome.verdict.map_or(0, |verdict| verdict.exit));
    }
    show(args, &case, &args.replay(seed))
}

/// Runs a case and says all that is wanted of it.
fn show(args: &Args, case: &Case, replay: &str) -> Result<u8, String> {
    let begun = Instant::now();
    let outcome = case.run(args.watch(Watch::Lines))?;
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
    let style = if args.json { Style::Json } else { Style::Text };
    println_line(&report::run(&outcome, replay, begun.elapsed(), style));
    write_report(args, &outcome, replay)?;
    Ok(outcome.verdict.map_or(0, |verdict| verdict.exit))
}

/// Leaves what a failing run needs to be looked at in the folder that was asked for.
fn write_report(args: &Args, outcome: &Outcome, replay: &str) -> Result<(), String> {
    let (Some(folder), Some(verdict)) = (&args.report_dir, &outcome.verdict) else { return Ok(()) };
    let wrong = |error: io::Error| format!("{folder}: {error}");
    fs::create_dir_all(folder).map_err(wrong)?;
    let stem = format!("{folder}/{}-seed-{}", verdict.code, outcome.seed);
    let mut case = Case::drawn(outcome.seed, outcome.config.clone());
    case.mutant.clone_from(&outcome.mutant);
    case.script = outcome.script.clone().unwrap_or_default();
    case.expects = Some(verdict.into());
    fs::write(format!("{stem}.toml"), case.to_toml()).map_err(wrong)?;
    fs::write(format!("{stem}.txt"), report::run(outcome, replay, Duration::ZERO, Style::Text)).map_err(wrong)?;
    if let Some(page) = page::page(outcome, replay) {
        fs::write(format!("{stem}.html"), page).map_err(wrong)?;
    }
    eprintln_line(&format!("report: {stem}.html, {stem}.toml, {stem}.txt"));
    Ok(())
}

fn run_sweep(args: &Args) -> Result<u8, String> {
    let seeds = args.seeds.ok_or("sweep wants --seeds A..B")?;
    if args.mutant.is_some() {
        return Err("a planted bug is swept by `mutants`".to_owned());
    }
    let budget = args.budget.or(args.profile.map(|profile| profile.budget()));
    let twice_every = args.twice_every.unwrap_or(args.profile.map_or(0, |profile| profile.twice_every()));
    let sweep = Sweep {
        seeds,
        jobs: args.jobs,
        budget,
        twice_every,
        config: &|seed| config(args, seed),
        elsewhere: &|seed| process::digest(seed, &args.words()),
        failed: &|failed: &Outcome| {
            let case = Case::drawn(failed.seed, failed.config.clone());
            let again = run::stage(&case, args.watch(Watch::Lines));
            // A run that differs from itself may pass this time.
            let shown = if again.verdict.is_some() { &again } else { failed };
            eprintln_line(&report::run(shown, &args.replay(failed.seed), Duration::ZERO, Style::Text));
            if let Err(wrong) = write_report(args, shown, &args.replay(failed.seed)) {
                eprintln_line(&format!("error: {wrong}"));
            }
        },
    };
    let total = sweep::run(&sweep);
    println_line(&report::sweep(&total, if args.json { Style::Json } else { Style::Text }));
    if let Some(file) = &args.junit {
        let profile = args.profile.map_or("sweep", |profile| profile.name());
        let text = junit::junit(&total, profile, seeds, &|seed| args.replay(seed));
        if let Some(folder) = std::path::Path::new(file).parent() {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        fs::write(file, text).map_err(|error| format!("{file}: {error}"))?;
    }
    if let Some(exit) = total.failures.iter().map(|failed| failed.verdict.exit).min() {
        return Ok(exit);
    }
    let all = seeds.1.saturating_sub(seeds.0);
    let least = args.seeds_min.or(args.profile.map(|profile| profile.seeds_min())).unwrap_or(all).min(all);
    if total.runs < least {
        eprintln_line(&format!("{} of at least {least} seeds were run in the time given", total.runs));
        return Ok(14);
    }
    let wants_marks = args.marks || args.profile.is_some_and(|profile| profile.wants_all_marks());
    let missed = report::missed(&total.counts);
    if wants_marks && !missed.is_empty() {
        eprintln_line(&format!("never reached: {}", missed.join(", ")));
        return Ok(16);
    }
    Ok(0)
}

fn read_case(args: &Args) -> Result<Case, String> {
    let file = args.file.as_deref().ok_or("which file?")?;
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    Case::parse(&text).map_err(|wrong| format!("{file}: {wrong}"))
}

fn replay(args: &Args) -> Result<u8, String> {
    let mut case = read_case(args)?;
    if args.without_mutant {
        case.mutant = None;
    }
    for (name, value) in &args.sets {
        case.config.set(name, *value).expect("names were checked");
    }
    show(args, &case, &format!("tidelog sim replay {}", args.file.as_deref().unwrap_or_default()))
}

fn run_shrink(args: &Args) -> Result<u8, String> {
    let case = match args.seeds {
        Some((seed, _)) => case(args, seed),
        None => read_case(args).map_err(|wrong| format!("shrink wants --seed N or a file: {wrong}"))?,
    };
    let usual = Budget::default();
    let budget = Budget { runs: args.runs.unwrap_or(usual.runs), time: args.budget.unwrap_or(usual.time) };
    let begun = Instant::now();
    let shrunk = shrink::shrink(&case, budget, &eprintln_line)?;
    let text = shrunk.case.to_toml();
    match &args.out {
        Some(file) => fs::write(file, &text).map_err(|error| format!("{file}: {error}"))?,
        None => println_line(&text),
    }
    let left = if shrunk.is_unfinished { "the budget was spent" } else { "nothing more can go" };
    let (runs, seconds) = (shrunk.runs, begun.elapsed().as_secs());
    eprintln_line(&format!("from {}\nto   {}\n{runs} runs in {seconds} s; {left}", shrunk.before, shrunk.after));
    Ok(0)
}

fn run_meta(args: &Args) -> Result<u8, String> {
    let (from, to) = args.seeds.ok_or("meta wants --seed N or --seeds A..B")?;
    for seed in from..to {
        let outcome = run::twice(seed, &config(args, seed));
        let told = |verdict: Verdict| {
            println_line(&format!("seed {seed}: {}", verdict.why));
            Ok(verdict.exit)
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(verdict) => return told(verdict),
        };
        let digest = outcome.digest.to_string();
        let place = match process::digest(seed, &args.words()) {
            Some(other) if other != digest => {
                return told(Verdict::nondeterminism(seed, format!("{digest} here, {other} in another process")));
            }
            Some(_) => "in this process, once in another",
            None => "in this process",
        };
        println_line(&format!("seed {seed}: {} events, {digest} twice {place}", outcome.events));
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

fn run_scale(args: &Args) -> Result<u8, String> {
    let scale = scale::Scale {
        brokers: args.brokers.unwrap_or(100).clamp(3, 1_000) as i32,
        partitions: args.partitions.unwrap_or(10_000).clamp(1, 1_000_000) as i32,
        seed: args.seeds.map_or(1, |(seed, _)| seed),
    };
    let progress =
        |phase: &scale::Phase| eprintln_line(&format!("{}: {:.1} s", phase.name, phase.wall_ns as f64 / 1e9));
    match scale::run(scale, &progress) {
        Ok(phases) => {
            println_line(scale::table(scale, &phases).trim_end());
            Ok(0)
        }
        Err(stuck) => {
            println_line(&stuck.to_string());
            Ok(11)
        }
    }
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
        println_line(&report::run(&outcome, &args.replay(seeds.0), Duration::ZERO, Style::Text));
        return Ok(outcome.verdict.map_or(0, |verdict| verdict.exit));
    }
    let hunt = crate::mutants::Hunt { seeds, only: args.only.clone(), budget: args.budget };
    let results = crate::mutants::run(&hunt, &|line| eprintln_line(line));
    println_line(&crate::mutants::table(&results, args.json));
    let survived = results.iter().any(|result| result.killed_by.is_none());
    Ok(if survived { 15 } else { 0 })
}
