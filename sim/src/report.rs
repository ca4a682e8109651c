//! What a person, or a machine, is told of runs.

use std::{env, fmt::Write, time::Duration};

use tidelog_core::prng::mix;

use crate::{
    check::Violation,
    config::Config,
    jsonl,
    run::Outcome,
    sweep::{Failed, Total},
    tally::{Counts, Fault, Mark},
};

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A person.
    Text,
    /// A machine.
    Json,
}

/// State lines that a failure report ends with.
const LINES: usize = 30;

/// This build, and the commit where a CI says it.
pub fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = ["GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT"].into_iter().find_map(|name| env::var(name).ok());
    commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
}

/// All knobs in sixteen digits.
pub fn config_digest(config: &Config) -> String {
    format!("{:016x}", config.entries().iter().fold(0, |digest, (_, value)| mix(digest ^ value).rotate_left(1)))
}

/// Marks that were never reached, and kinds of faults that never struck.
pub fn missed(counts: &Counts) -> Vec<&'static str> {
    let marks = Mark::ALL.iter().map(|mark| mark.name()).zip(&counts.marks);
    let faults = Fault::ALL.iter().map(|fault| fault.name()).zip(&counts.faults);
    marks.chain(faults).filter(|(_, count)| **count == 0).map(|(name, _)| name).collect()
}

/// One run. `replay` is the line that runs it again.
pub fn run(outcome: &Outcome, replay: &str, took: Duration, style: Style) -> String {
    if style == Style::Json {
        return run_json(outcome, took);
    }
    let mut text = String::new();
    let Some(verdict) = &outcome.verdict else {
        let _ = write!(
            text,
            "seed {} passes: {} events, {} simulated in {}, {} records sent, {} seen, trace {}",
            outcome.seed,
            outcome.events,
            seconds(outcome.simulated()),
            seconds(took),
            outcome.sends,
            outcome.seen,
            outcome.digest
        );
        return text;
    };
    let _ = writeln!(text, "seed {} FAILS: {} {}: {}", outcome.seed, verdict.code, verdict.anomaly, verdict.why);
    let _ = writeln!(text, "  about    {}", verdict.subject);
    let _ = writeln!(text, "  at       {} simulated, event {}", seconds(outcome.simulated()), outcome.events);
    let _ = writeln!(text, "  version  {}", version());
    let knobs: Vec<String> =
        outcome.config.difference().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = writeln!(text, "  config   {}", knobs.join(" "));
    let _ = writeln!(text, "  replay   {replay}");
    for state in &outcome.states {
        let _ = writeln!(text, "  state    {state}");
    }
    let states: Vec<&String> = outcome.lines.iter().filter(|line| !line.contains("  disk: ")).collect();
    for line in &states[states.len().saturating_sub(LINES)..] {
        let _ = writeln!(text, "  | {line}");
    }
    text
}

fn run_json(outcome: &Outcome, took: Duration) -> String {
    let mut text = format!(
        "{{\"seed\":{},\"events\":{},\"simulated_ms\":{},\"real_ms\":{},\"trace\":\"{}\"",
        outcome.seed,
        outcome.events,
        outcome.simulated().as_millis(),
        took.as_millis(),
        outcome.digest
    );
    if let Some(verdict) = &outcome.verdict {
        let _ = write!(
            text,
            ",\"failure\":{{\"exit\":{},\"code\":{},\"anomaly\":{},\"subject\":{},\"why\":{}}}",
            verdict.exit,
            quote(&verdict.code),
            quote(&verdict.anomaly),
            quote(&verdict.subject),
            quote(&verdict.why)
        );
    }
    let knobs: Vec<String> =
        outcome.config.entries().iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let _ = write!(text, ",\"config\":{{{}}},{}}}", knobs.join(","), counts_json(&outcome.counts));
    text
}

/// The verdict on a history of real clients.
pub fn history(counts: jsonl::Counts, violation: Option<&Violation>, style: Style) -> String {
    let jsonl::Counts { sent, acknowledged, failed, open, polled, found, partitions } = counts;
    if style == Style::Json {
        let verdict = violation.map_or_else(
            || "null".to_owned(),
            |Violation { code, anomaly, subject, why }| {
                let [code, anomaly, subject, why] = [quote(code), quote(anomaly), quote(subject), quote(why)];
                format!("{{\"code\":{code},\"anomaly\":{anomaly},\"subject\":{subject},\"why\":{why}}}")
            },
        );
        return format!(
            "{{\"sent\":{sent},\"acknowledged\":{acknowledged},\"failed\":{failed},\"open\":{open},\
             \"polled\":{polled},\"found\":{found},\"partitions\":{partitions},\"violation\":{verdict}}}"
        );
    }
    let verdict =
        violation.map_or_else(|| "the history holds".to_owned(), |violation| format!("VIOLATION {violation}"));
    format!(
        "{sent} sent: {acknowledged} acknowledged, {failed} failed, {open} open; \
         {polled} polled on the way, {found} found at the end in {partitions} partitions\n{verdict}"
    )
}

/// A sweep.
pub fn sweep(total: &Total, style: Style) -> String {
    let real = total.elapsed.as_millis().max(1);
    let per_second = u128::from(total.runs) * 10_000 / real;
    let ratio = total.simulated.as_millis() / real;
    if style == Style::Json {
        let failures: Vec<String> = total
            .failures
            .iter()
            .map(|Failed { seed, verdict, .. }| {
                let (code, anomaly) = (quote(&verdict.code), quote(&verdict.anomaly));
                format!("{{\"seed\":{seed},\"code\":{code},\"anomaly\":{anomaly},\"why\":{}}}", quote(&verdict.why))
            })
            .collect();
        return format!(
            "{{\"seeds\":{},\"twice\":{},\"elsewhere\":{},\"jobs\":{},\"failures\":[{}],\"real_ms\":{real},\"simulated_ms\":{},\"ratio\":{ratio},\"seeds_per_second\":{}.{},\"events\":{},\"sends\":{},\"seen\":{},{}}}",
            total.runs,
            total.twice,
            total.elsewhere,
            total.jobs,
            failures.join(","),
            total.simulated.as_millis(),
            per_second / 10,
            per_second % 10,
            total.events,
            total.sends,
            total.seen,
            counts_json(&total.counts)
        );
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} seeds, {} run twice ({} in another process), {} failed: {} simulated in {} on {} thread(s) = {ratio} x real time, {}.{} seeds/s, {} events",
        total.runs,
        total.twice,
        total.elsewhere,
        total.failures.len(),
        seconds(total.simulated),
        seconds(total.elapsed),
        total.jobs,
        per_second / 10,
        per_second % 10,
        total.events
    );
    let _ = writeln!(text, "records sent {}, seen by readers {}", total.sends, total.seen);
    let faults = Fault::ALL.iter().zip(&total.counts.faults).map(|(fault, n)| (fault.name(), *n));
    table(&mut text, "faults", faults.collect());
    let marks = Mark::ALL.iter().zip(&total.counts.marks).map(|(mark, n)| (mark.name(), *n));
    table(&mut text, "reached", marks.collect());
    for Failed { seed, verdict, .. } in &total.failures {
        let _ = writeln!(text, "failed: seed {seed} {} {} ({})", verdict.code, verdict.anomaly, verdict.subject);
    }
    text.truncate(text.trim_end().len());
    text
}

/// Columns of a table of counts.
const COLUMNS: usize = 3;

/// Names with their counts, read from top to bottom.
fn table(text: &mut String, title: &str, counts: Vec<(&str, u64)>) {
    let hit = counts.iter().filter(|(_, count)| *count > 0).count();
    let _ = writeln!(text, "{title}: {hit} of {}", counts.len());
    let rows = counts.len().div_ceil(COLUMNS);
    for row in 0..rows {
        for (name, count) in counts.iter().skip(row).step_by(rows) {
            let shown = if *count == 0 { "-".to_owned() } else { count.to_string() };
            let _ = write!(text, "  {name:<28}{shown:>10}");
        }
        text.push('\n');
    }
}

fn counts_json(counts: &Counts) -> String {
    let faults: Vec<String> =
        Fault::ALL.iter().zip(&counts.faults).map(|(fault, n)| format!("\"{}\":{n}", fault.name())).collect();
    let marks: Vec<String> =
        Mark::ALL.iter().zip(&counts.marks).map(|(mark, n)| format!("\"{}\":{n}", mark.name())).collect();
    format!("\"faults\":{{{}}},\"marks\":{{{}}}", faults.join(","), marks.join(","))
}

fn seconds(span: Duration) -> String {
    format!("{}.{:03} s", span.as_secs(), span.subsec_millis())
}

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_for_json() {
        assert_eq!(quote("a\"b\\c\nd\u{1}"), r#""a\"b\\c\nd\u0001""#);
    }
}
