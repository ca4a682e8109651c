//! What every file must be: short and finished.

use std::fs;

use tidelog_tests::{root, source_files};

use crate::code::lines;

/// Lines past which a file is split before it grows further.
const FILE_LINES_MAX: usize = 1_000;

/// Endings of the files that people write and read.
const WRITTEN: [&str; 7] = [".rs", ".py", ".mjs", ".java", ".sh", ".capnp", ".md"];

fn is_generated(path: &str) -> bool {
    path.contains("/generated/")
}

#[test]
fn no_file_is_longer_than_a_concept() {
    let mut breaches = Vec::new();
    for file in source_files() {
        let length = file.text.lines().count();
        if WRITTEN.iter().any(|ending| file.path.ends_with(ending))
            && !is_generated(&file.path)
            && length > FILE_LINES_MAX
        {
            breaches.push(format!("{}: {length} lines, split it by concept (at most {FILE_LINES_MAX})", file.path));
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn nothing_is_left_for_later_in_silence() {
    // Spelled in halves, so that this file does not breach its own rule.
    let anywhere = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let in_code =
        [concat!("#[ign", "ore"), concat!("db", "g!("), concat!("to", "do!("), concat!("unimple", "mented!(")];
    let mut breaches = Vec::new();
    for file in source_files() {
        if !WRITTEN.iter().any(|ending| file.path.ends_with(ending)) || is_generated(&file.path) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            for word in anywhere.iter().filter(|word| line.contains(**word)) {
                breaches.push(format!("{}:{}: {word}: do it, or write an issue", file.path, index + 1));
            }
        }
        if !file.path.ends_with(".rs") {
            continue;
        }
        for line in lines(&file.text) {
            for word in in_code.iter().filter(|word| line.code.contains(**word)) {
                breaches.push(format!("{}:{}: {word}", file.path, line.number));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_lint_is_set_aside_only_with_a_reason() {
    let mut breaches = Vec::new();
    for file in source_files() {
        if !file.path.ends_with(".rs") || is_generated(&file.path) {
            continue;
        }
        let lines = lines(&file.text);
        for (index, line) in lines.iter().enumerate() {
            let code = line.code.trim_start();
            let set_aside =
                ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|start| code.starts_with(start));
            // rustfmt may spread the attribute over a few lines.
            let attribute: String = lines[index..].iter().take(8).map(|line| line.code.as_str()).collect();
            let end = attribute.find(")]").unwrap_or(attribute.len());
            if set_aside && !attribute[..end].contains("reason") {
                breaches.push(format!("{}:{}: {} without a reason", file.path, line.number, code.trim()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_changelog_says_what_comes_next() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    let mut sections = text.split("\n## ").skip(1);
    let first = sections.next().expect("CHANGELOG.md has a section");
    assert!(first.starts_with("Unreleased\n"), "the first section of CHANGELOG.md is `## Unreleased`");
    assert!(first.contains("\n### Format and protocol\n"), "`## Unreleased` has `### Format and protocol`");
}
