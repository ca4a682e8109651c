//! Who may know whom: crates, modules of the core, and the few places that may name a foreign format.

use std::collections::BTreeMap;

use serde_json::Value;
use tidelog_tests::{cargo_metadata, source_files};

use crate::code::{crate_paths, is_test, lines, names};

/// Each package of the workspace and the packages of the workspace that it may use. Read from top to bottom, no
/// package uses one below it.
const CRATES: [(&str, &[&str]); 6] = [
    ("tidelog-schemas", &[]),
    ("tidelog-core", &["tidelog-schemas"]),
    ("tidelog-client", &["tidelog-schemas", "tidelog-core"]),
    ("tidelog-sim", &["tidelog-schemas", "tidelog-core", "tidelog-client"]),
    ("tidelog-server", &["tidelog-schemas", "tidelog-core", "tidelog-client", "tidelog-sim"]),
    ("tidelog-tests", &["tidelog-schemas", "tidelog-core", "tidelog-client", "tidelog-sim", "tidelog-server"]),
];

/// Words that the core's product code must not hold, and what to use instead.
const NOT_IN_CORE: [(&str, &str); 12] = [
    ("std::", "`core::` and `alloc::`; what needs an operating system belongs to a driver"),
    ("HashMap", "`BTreeMap` or a `Vec`: a run must not depend on hash order"),
    ("HashSet", "`BTreeSet` or a `Vec`: a run must not depend on hash order"),
    ("SystemTime", "`time::Timestamp` from the input's `Now`"),
    ("Instant::now", "`time::Instant` from the input's `Now`"),
    ("thread_local", "a field: a run is a function of its inputs"),
    ("tokio", "an effect for the driver to carry out"),
    ("getrandom", "`prng`, from the seed handed to the node"),
    ("rand", "`prng`, from the seed handed to the node"),
    ("f32", "integers: results must not depend on the processor"),
    ("f64", "integers: results must not depend on the processor"),
    ("super::super", "`crate::`, so that the order of the modules can be read"),
];

/// The only place of the core where `std` is linked: the codecs of its compression crates ask for it, and do nothing
/// with it but allocate and report errors.
const STD_IN_CORE: &str = "core/src/record/compression";

/// Words that only some places may hold: a crate's name in code, and the path prefixes where it may stand.
const CONFINED: [(&str, &[&str]); 4] = [
    ("kafka_protocol", &["server/src/kafka/"]),
    ("kafka_wire", &["server/src/kafka/"]),
    ("capnp", &["schemas/", "client/src/wire/", "core/src/cluster/"]),
    ("capnpc", &["schemas/"]),
];

/// What the shell and the client ask of their runtime they ask in one place each, so that both run on simulated ones:
/// words that name a runtime, a socket or a clock.
const OF_A_RUNTIME: [&str; 8] = [
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "SystemTime::now",
    "tokio::spawn",
    "tokio::time",
    "tokio::signal",
    "tokio::net",
];

/// Those places, and what runs as a process of its own: the verbs of the command line.
const RUNTIMES: [&str; 3] = ["server/src/env/", "server/src/cli/", "client/src/runtime.rs"];

#[test]
fn dependencies_run_one_way() {
    let metadata = cargo_metadata();
    let allowed: BTreeMap<&str, &[&str]> = CRATES.into();
    let mut breaches = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        // A path dependency has no source; a registry's package has one.
        let name = package["name"].as_str().expect("name");
        if !package["source"].is_null() {
            continue;
        }
        let Some(allowed) = allowed.get(name) else {
            breaches.push(format!("{name} is new: give it a place in CRATES, with a reason in ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = dependency["name"].as_str().expect("name");
            if dependency["path"] != Value::Null && !allowed.contains(&used) {
                breaches.push(format!("{name} must not depend on {used}"));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_module_of_the_core_uses_only_those_above_it() {
    let files = source_files();
    let lib = files.iter().find(|file| file.path == "core/src/lib.rs").expect("core/src/lib.rs");
    let order: Vec<String> = lines(&lib.text)
        .iter()
        .filter_map(|line| {
            line.code.trim().trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        })
        .collect();
    assert!(order.len() > 10, "core/src/lib.rs lists its modules one a line: found {order:?}");
    let place = |module: &str| order.iter().position(|listed| listed == module);

    let mut breaches = Vec::new();
    for file in &files {
        let Some(inside) = file.path.strip_prefix("core/src/").filter(|path| path.ends_with(".rs")) else { continue };
        let module = inside.split(['/', '.']).next().expect("split gives one part at least");
        let Some(own) = place(module) else { continue };
        for (line, used) in crate_paths(&lines(&file.text)) {
            if place(&used).is_some_and(|used| used > own) {
                breaches.push(format!("{}:{line}: `{module}` stands above `{used}` and must not use it", file.path));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_core_names_no_clock_file_thread_or_chance() {
    let mut breaches = Vec::new();
    for file in source_files() {
        let is_product = file.path.ends_with(".rs") && !is_test(&file.path) && !file.path.starts_with(STD_IN_CORE);
        if !file.path.starts_with("core/src/") || !is_product {
            continue;
        }
        let lines = lines(&file.text);
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.in_tests) {
            for (word, instead) in NOT_IN_CORE.iter().filter(|(word, _)| names(&line.code, word)) {
                breaches.push(format!("{}:{}: `{word}`: use {instead}", file.path, line.number));
            }
            let for_tests = index > 0 && lines[index - 1].code.trim() == "#[cfg(test)]";
            if line.code.contains("extern crate std") && !for_tests {
                breaches.push(format!("{}:{}: `extern crate std` outside tests", file.path, line.number));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn foreign_formats_stay_at_their_edge() {
    let mut breaches = Vec::new();
    for file in source_files() {
        if !file.path.ends_with(".rs") || is_test(&file.path) {
            continue;
        }
        for line in lines(&file.text) {
            for (word, homes) in CONFINED {
                if names(&line.code, word) && !homes.iter().any(|home| file.path.starts_with(home)) {
                    breaches.push(format!(
                        "{}:{}: only {} may name `{word}`",
                        file.path,
                        line.number,
                        homes.join(", ")
                    ));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_shell_and_the_client_ask_their_runtime_in_one_place() {
    let mut breaches = Vec::new();
    for file in source_files() {
        let is_shell = file.path.starts_with("server/src/") || file.path.starts_with("client/src/");
        if !is_shell || !file.path.ends_with(".rs") || is_test(&file.path) {
            continue;
        }
        let lines = lines(&file.text);
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.in_tests) {
            if !RUNTIMES.iter().any(|home| file.path.starts_with(home)) {
                for word in OF_A_RUNTIME.iter().filter(|word| names(&line.code, word)) {
                    breaches.push(format!("{}:{}: `{word}`: ask `Env` or `Runtime`", file.path, line.number));
                }
            }
            if names(&line.code, "watch::channel") {
                breaches.push(format!(
                    "{}:{}: a `watch` wakes in an order that no seed decides: use `switch`",
                    file.path, line.number
                ));
            }
            let next = lines.get(index + 1).map_or("", |next| next.code.trim());
            if line.code.contains("select! {") && !next.is_empty() && next != "biased;" {
                breaches.push(format!(
                    "{}:{}: `select!` without `biased` draws from a generator that no seed reaches",
                    file.path, line.number
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
