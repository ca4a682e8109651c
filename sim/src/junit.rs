//! A sweep as JUnit XML, which every CI shows: a suite for the profile, a case for each block of seeds, and one for each
//! seed that failed, with what it takes to run it again.

use std::fmt::Write;

use crate::{
    report,
    sweep::{BLOCK, Failed, Total},
};

/// The sweep of the seeds `A..B`. `replay` makes the line that runs a seed again.
pub fn junit(total: &Total, profile: &str, seeds: (u64, u64), replay: &dyn Fn(u64) -> String) -> String {
    let blocks: Vec<u64> = (seeds.0 / BLOCK..seeds.1.div_ceil(BLOCK)).collect();
    let skipped = blocks.iter().filter(|block| !total.blocks.contains_key(block)).count();
    let (tests, failures) = (blocks.len() + total.failures.len(), total.failures.len());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"tidelog sim {}\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\" time=\"{}\">",
        escape(profile),
        seconds(total.elapsed.as_millis())
    );
    text.push_str("  <properties>\n");
    property(&mut text, 4, "version", &report::version());
    property(&mut text, 4, "seeds", &format!("{}..{}", seeds.0, seeds.1));
    property(&mut text, 4, "seeds-run", &total.runs.to_string());
    property(&mut text, 4, "run-twice", &total.twice.to_string());
    text.push_str("  </properties>\n");
    for block in blocks {
        let (from, to) = ((block * BLOCK).max(seeds.0), ((block + 1) * BLOCK).min(seeds.1));
        let _ = write!(text, "  <testcase classname=\"sim.{}\" name=\"seeds {from}..{to}\"", escape(profile));
        let _ = match total.blocks.get(&block) {
            Some((_, took)) => writeln!(text, " time=\"{}\"/>", seconds(took.as_millis())),
            None => writeln!(text, "><skipped message=\"the budget was spent\"/></testcase>"),
        };
    }
    for failed in &total.failures {
        failure(&mut text, failed, replay);
    }
    text.push_str("</testsuite>\n");
    text
}

fn failure(text: &mut String, Failed { seed, config, verdict }: &Failed, replay: &dyn Fn(u64) -> String) {
    let (code, anomaly) = (escape(&verdict.code), escape(&verdict.anomaly));
    let line = replay(*seed);
    let _ = writeln!(text, "  <testcase classname=\"sim.{code}\" name=\"seed {seed}: {code} {anomaly}\">");
    text.push_str("    <properties>\n");
    property(text, 6, "seed", &seed.to_string());
    property(text, 6, "version", &report::version());
    property(text, 6, "config", &report::config_digest(config));
    property(text, 6, "replay", &line);
    text.push_str("    </properties>\n");
    let _ = writeln!(text, "    <failure type=\"{code} {anomaly}\" message=\"{}\">", escape(&verdict.why));
    let _ = writeln!(text, "about   {}\nreplay  {}", escape(&verdict.subject), escape(&line));
    text.push_str("    </failure>\n  </testcase>\n");
}

fn property(text: &mut String, indent: usize, name: &str, value: &str) {
    let _ = writeln!(text, "{:indent$}<property name=\"{name}\" value=\"{}\"/>", "", escape(value));
}

fn seconds(millis: u128) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() && c != '\n' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{config::Config, run::Verdict};

    #[test]
    fn a_failure_is_a_case_of_its_own_with_the_line_that_replays_it() {
        let verdict = Verdict {
            exit: 10,
            code: "R3".to_owned(),
            anomaly: "lost".to_owned(),
            subject: "p".to_owned(),
            why: "a < b & \"c\"".to_owned(),
        };
        let failed = Failed { seed: 7, config: Config::default(), verdict };
        let blocks = BTreeMap::from([(0, (50, Duration::from_millis(1_500)))]);
        let total = Total { runs: 50, failures: vec![failed], blocks, ..Total::default() };
        let text = junit(&total, "pr", (0, 60), &|seed| format!("sim run --seed {seed} --profile pr"));
        assert!(text.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{text}");
        assert!(text.contains("name=\"seeds 0..50\" time=\"1.500\""), "{text}");
        assert!(text.contains("name=\"seeds 50..60\"><skipped"), "{text}");
        assert!(text.contains("a &lt; b &amp; &quot;c&quot;"), "{text}");
        assert!(text.contains("sim run --seed 7 --profile pr"), "{text}");
    }
}
