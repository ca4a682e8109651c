//! `report.html`: a film as one page that needs nothing else, no network and no server.
//!
//! The page is `page.html` with the film's data in it as JSON; what is drawn, and how, is all there.

use std::fmt::Write;

use super::{Film, Kind};
use crate::{
    net::Party,
    report::{self, quote},
    run::Outcome,
};

/// The page without its data.
const PAGE: &str = include_str!("page.html");
/// Where the data goes.
const PLACE: &str = "\"the data\"";
/// State lines that the page has.
const LINES: usize = 400;

/// The page of a run, if a film was taken of it. `replay` is the line that runs it again.
pub fn page(outcome: &Outcome, replay: &str) -> Option<String> {
    let film = outcome.film.as_ref()?;
    let data = data(outcome, film, replay).replace('<', "\\u003c");
    Some(PAGE.replacen(PLACE, &data, 1))
}

/// Microseconds: finer than that is nothing to see.
fn micros(at: u64) -> u64 {
    at / 1_000
}

fn data(outcome: &Outcome, film: &Film, replay: &str) -> String {
    let nodes = outcome.config.nodes as usize;
    let lane = |party: Party| match party {
        Party::Node(node) => node,
        Party::Client(client) => nodes + client,
    };
    let mut text = String::from("{");
    let verdict = outcome.verdict.as_ref();
    let said = |what: fn(&crate::run::Verdict) -> &String| quote(verdict.map_or("", |verdict| what(verdict)));
    let _ = write!(
        text,
        "\"seed\":{},\"code\":{},\"anomaly\":{},\"subject\":{},\"why\":{},\"end\":{},\"events\":{},\"nodes\":{nodes},\
         \"version\":{},\"mutant\":{},\"replay\":{},\"missing\":{},",
        outcome.seed,
        said(|verdict| &verdict.code),
        said(|verdict| &verdict.anomaly),
        said(|verdict| &verdict.subject),
        said(|verdict| &verdict.why),
        micros(outcome.simulated),
        outcome.events,
        quote(&report::version()),
        quote(outcome.mutant.as_deref().unwrap_or("")),
        quote(replay),
        film.missing
    );
    let knobs = outcome.config.difference();
    list(&mut text, "config", knobs.iter().map(|(knob, value)| format!("[\"{knob}\",{value}]")));
    list(&mut text, "clients", film.clients.iter().map(|name| quote(name)));
    list(&mut text, "kinds", Kind::ALL.iter().map(|(_, name)| quote(name)));
    let states = film.states.iter().map(|states| {
        let each = states.iter().map(|(at, state)| {
            format!("[{},{},{},{}]", micros(*at), quote(state.role), state.epoch, quote(&state.why))
        });
        format!("[{}]", each.collect::<Vec<_>>().join(","))
    });
    list(&mut text, "states", states);
    let messages = film.messages.iter().map(|message| {
        let arrived = message.arrived.map_or(-1, |at| micros(at) as i64);
        let (from, to, sent) = (lane(message.from), lane(message.to), micros(message.sent));
        let (kind, answer) = (message.kind as usize, u8::from(message.is_answer));
        format!("[{from},{to},{sent},{arrived},{kind},{answer},{}]", quote(&message.text))
    });
    list(&mut text, "messages", messages);
    let moments = film.moments.iter().map(|moment| {
        let node = moment.node.map_or(-1, |node| node as i64);
        format!("[{},{node},{},{}]", micros(moment.at), quote(moment.kind), quote(&moment.text))
    });
    list(&mut text, "moments", moments);
    let cuts = film.cuts.iter().map(|cut| {
        let until = cut.until.map_or(-1, |until| micros(until) as i64);
        format!("[{},{until},{},{}]", micros(cut.from), lane(cut.link.0), lane(cut.link.1))
    });
    list(&mut text, "cuts", cuts);
    let replicas = film.replicas.iter().map(|((id, node), steps)| {
        let steps = steps.iter().map(|(at, step)| match step {
            Some(step) => {
                let (leads, in_sync) = (u8::from(step.leads), u8::from(step.in_sync));
                format!("[{},{},{},{},{leads},{in_sync}]", micros(*at), step.end, step.mark, step.epoch)
            }
            None => format!("[{}]", micros(*at)),
        });
        let name = film.names.get(id).cloned().unwrap_or_else(|| id.to_string());
        let steps = steps.collect::<Vec<_>>().join(",");
        format!("{{\"id\":{},\"name\":{},\"node\":{node},\"steps\":[{steps}]}}", quote(&id.to_string()), quote(&name))
    });
    list(&mut text, "replicas", replicas);
    let lines: Vec<&String> = outcome.lines.iter().filter(|line| !line.contains("  disk: ")).collect();
    list(&mut text, "lines", lines[lines.len().saturating_sub(LINES)..].iter().map(|line| quote(line)));
    text.pop();
    text.push('}');
    text
}

fn list(text: &mut String, name: &str, items: impl Iterator<Item = String>) {
    let _ = write!(text, "\"{name}\":[");
    for (number, item) in items.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push_str("],");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{case::Case, config::Config, run::Watch};

    #[test]
    fn a_page_holds_its_data_and_asks_for_nothing() {
        assert_eq!(PAGE.matches(PLACE).count(), 1);
        for outside in ["http://", "https://", " src=", "@import", "url(\"", "fetch("] {
            let rest = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains(outside), "the page asks for {outside}");
        }
        let config = Config { nodes: 2, chaos_ms: 1_500, kill: 1, strike_ms: 300, ..Config::default() };
        let outcome = Case::drawn(1, config).run(Watch::Film).expect("nothing is planted");
        let page = page(&outcome, "tidelog sim run --seed 1 --set nodes=2").expect("a film was taken");
        assert!(!page.contains(PLACE));
        assert!(page.contains("\"kinds\":[\"produce\""), "{}", &page[page.len() - 2_000..]);
        let plain = Case { config: outcome.config.clone(), ..Case::drawn(1, Config::default()) };
        let plain = plain.run(Watch::Nothing).expect("nothing is planted");
        assert_eq!(plain.digest, outcome.digest, "a film changes nothing");
    }
}
