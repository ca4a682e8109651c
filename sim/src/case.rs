//! One run as data that can be kept in a file: `repro.toml`.
//!
//! A case is the seed, every knob, and as far as it has them the lists of what is struck and begun. What is listed needs
//! no seed; what is not (delays of messages, the latency of disks, the nodes' own dice) is still drawn from it. The files in
//! `sim/corpus` are failures of the past, cut down, that a test replays for ever.

mod blow;

use std::fmt::Write;

pub(crate) use blow::span_mut;
use toml::{Table, Value};

use crate::{
    config::Config,
    nemesis::Strike,
    run::{self, Outcome, Watch},
    script::{Op, Script, Staged},
};

/// What went wrong, as a checker names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The checker.
    pub code: String,
    /// What it found.
    pub anomaly: String,
}

/// A run that can be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The seed.
    pub seed: u64,
    /// All knobs.
    pub config: Config,
    /// The planted bug that is switched on.
    pub mutant: Option<String>,
    /// What goes by a list.
    pub script: Script,
    /// What it is kept for.
    pub expects: Option<Anomaly>,
}

impl Case {
    /// The run that belongs to a seed and its configuration.
    pub fn drawn(seed: u64, config: Config) -> Self {
        Self { seed, config, mutant: None, script: Script::default(), expects: None }
    }

    /// Runs it. `Err` if this build cannot plant its bug.
    pub fn run(&self, watch: Watch) -> Result<Outcome, String> {
        self.plant()?;
        let outcome = run::stage(self, watch);
        self.uproot();
        Ok(outcome)
    }

    #[cfg(feature = "mutants")]
    fn plant(&self) -> Result<(), String> {
        if let Some(id) = &self.mutant {
            let mutant = crate::mutants::named(id).ok_or_else(|| format!("there is no planted bug {id}"))?;
            tidelog_core::mutant::set(Some(mutant));
        }
        Ok(())
    }

    #[cfg(feature = "mutants")]
    fn uproot(&self) {
        if self.mutant.is_some() {
            tidelog_core::mutant::set(None);
        }
    }

    #[cfg(not(feature = "mutants"))]
    fn plant(&self) -> Result<(), String> {
        match &self.mutant {
            Some(id) => Err(format!("this build plants no bugs, and {id} is one: build it with --features mutants")),
            None => Ok(()),
        }
    }

    #[cfg(not(feature = "mutants"))]
    fn uproot(&self) {}

    /// As a file.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("# tidelog sim replay FILE runs this again. Times are nanoseconds.\n");
        let _ = writeln!(text, "seed = {}", self.seed);
        if let Some(mutant) = &self.mutant {
            let _ = writeln!(text, "mutant = \"{mutant}\"");
        }
        if let Some(expects) = &self.expects {
            let _ = writeln!(text, "checker = \"{}\"\nanomaly = \"{}\"", expects.code, expects.anomaly);
        }
        if !self.script.silent.is_empty() {
            let _ = writeln!(text, "# Clients that never do anything.\nsilent = {:?}", self.script.silent);
        }
        if let Some(strikes) = &self.script.strikes {
            text.push_str("# All that goes wrong. `drawn` says where the world's dice stand by then.\nstrikes = [\n");
            for Staged { strike, drawn } in strikes {
                let drawn = drawn.map(|drawn| format!(", drawn = {drawn}")).unwrap_or_default();
                let what = blow::write(&strike.blow);
                let _ = writeln!(text, "  {{ at = {}, node = {}, {what}{drawn} }},", strike.at, strike.node);
            }
            text.push_str("]\n");
        }
        if let Some(ops) = &self.script.ops {
            text.push_str("# All that clients begin. `drawn` says where the client's dice stand by then.\nops = [\n");
            for Op { client, at, drawn } in ops {
                let _ = writeln!(text, "  {{ client = {client}, at = {at}, drawn = {drawn} }},");
            }
            text.push_str("]\n");
        }
        text.push_str(
            "\n# Knobs that differ from their quiet defaults; `tidelog sim knobs` says what they are.\n[config]\n",
        );
        for (knob, value) in self.config.difference() {
            let _ = writeln!(text, "{knob} = {value}");
        }
        text
    }

    /// Reads a file. Knobs that it does not name are at their quiet defaults.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error| format!("{error}"))?;
        let mut case = Self::drawn(0, Config::default());
        let (mut code, mut anomaly) = (None, None);
        for (key, value) in &table {
            let text = || value.as_str().map(str::to_owned).ok_or_else(|| format!("{key} is no text"));
            match key.as_str() {
                "seed" => case.seed = number(key, value)?,
                "mutant" => case.mutant = Some(text()?),
                "checker" => code = Some(text()?),
                "anomaly" => anomaly = Some(text()?),
                "silent" => {
                    let clients: Result<Vec<u64>, String> = list(key, value)?.map(|value| number(key, value)).collect();
                    case.script.silent = clients?.into_iter().map(|client| client as usize).collect();
                }
                "strikes" => {
                    let strikes: Result<Vec<Staged>, String> = list(key, value)?.map(staged).collect();
                    case.script.strikes = Some(strikes?);
                }
                "ops" => {
                    let ops: Result<Vec<Op>, String> = list(key, value)?.map(op).collect();
                    case.script.ops = Some(ops?);
                }
                "config" => {
                    let knobs = value.as_table().ok_or("config is no table")?;
                    for (knob, value) in knobs {
                        let value = number(knob, value)?;
                        case.config.set(knob, value).map_err(|_| format!("there is no knob {knob}"))?;
                    }
                }
                other => return Err(format!("there is no key {other}")),
            }
        }
        case.config.nodes = case.config.nodes.clamp(1, 64);
        if let Some(code) = code {
            case.expects = Some(Anomaly { code, anomaly: anomaly.unwrap_or_default() });
        }
        for staged in case.script.strikes.iter().flatten() {
            if staged.strike.node as u64 >= case.config.nodes {
                return Err(format!("a strike hits node {}, and there are {}", staged.strike.node, case.config.nodes));
            }
        }
        Ok(case)
    }
}

fn number(key: &str, value: &Value) -> Result<u64, String> {
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| format!("{key} = {value:?} is no number from 0 up"))
}

fn list<'a>(key: &str, value: &'a Value) -> Result<std::slice::Iter<'a, Value>, String> {
    Ok(value.as_array().ok_or_else(|| format!("{key} is no list"))?.iter())
}

fn field(table: &Table, key: &str) -> Result<u64, String> {
    number(key, table.get(key).ok_or_else(|| format!("an entry lacks {key}"))?)
}

fn staged(value: &Value) -> Result<Staged, String> {
    let table = value.as_table().ok_or("a strike is no table")?;
    let strike = Strike { at: field(table, "at")?, node: field(table, "node")? as usize, blow: blow::read(table)? };
    let drawn = table.get("drawn").map(|value| number("drawn", value)).transpose()?;
    Ok(Staged { strike, drawn })
}

fn op(value: &Value) -> Result<Op, String> {
    let table = value.as_table().ok_or("an operation is no table")?;
    Ok(Op { client: field(table, "client")? as usize, at: field(table, "at")?, drawn: field(table, "drawn")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::Blow;

    #[test]
    fn a_file_holds_a_case() {
        let mut config = Config::default();
        config.set("kill", 1).expect("the knob exists");
        config.set("nodes", 3).expect("the knob exists");
        let strike = |drawn| Staged { strike: Strike { at: 7, node: 2, blow: Blow::Kill(5) }, drawn };
        let case = Case {
            seed: 42,
            config,
            mutant: Some("X87".to_owned()),
            script: Script {
                strikes: Some(vec![strike(Some(3)), strike(None)]),
                ops: Some(vec![Op { client: 1, at: 2, drawn: 3 }]),
                silent: vec![4],
            },
            expects: Some(Anomaly { code: "R3".to_owned(), anomaly: "leader-lacks-committed".to_owned() }),
        };
        assert_eq!(Case::parse(&case.to_toml()), Ok(case));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let wrong = |text: &str| Case::parse(text).expect_err("it is wrong");
        assert_eq!(wrong("[config]\nskill = 1"), "there is no knob skill");
        assert_eq!(
            wrong("strikes = [{ at = 1, node = 1, blow = \"kill\", down = 1 }]"),
            "a strike hits node 1, and there are 1"
        );
        assert!(wrong("seed = -1").contains("no number"));
        assert!(wrong("strikes = [{ at = 1, node = 0, blow = \"hug\" }]").contains("hug"));
    }

    #[test]
    fn a_run_that_is_given_its_own_lists_is_the_same_run() {
        for (seed, nodes) in [(3, 1), (5, 3)] {
            let mut config = Config::draw(seed);
            (config.nodes, config.chaos_ms) = (nodes, 8_000);
            // A list puts events of its own on the queue, so that ties would fall otherwise.
            config.tie_shuffle = 0;
            let drawn = Case::drawn(seed, config);
            let first = drawn.run(Watch::Lists).expect("nothing is planted");
            let listed = Case { script: first.script.clone().expect("it was asked for"), ..drawn };
            let listed = Case::parse(&listed.to_toml()).expect("it was just written");
            let second = listed.run(Watch::Lists).expect("nothing is planted");
            assert_eq!((second.digest, second.events), (first.digest, first.events), "seed {seed}");
            assert_eq!(second.script, first.script);
        }
    }
}
