//! Every dependency's licence is permissive: nobody who ships tidelog takes on a duty beyond naming its authors.

use serde_json::Value;
use tidelog_tests::cargo_metadata;

const PERMISSIVE: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "LLVM-exception",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Can one choose a permissive reading of this SPDX expression? (`OR` offers a choice, `AND` and `WITH` bind all.)
fn is_permissive(expression: &str) -> bool {
    let expression = expression.trim();
    if let Some(parts) = split(expression, " OR ").or_else(|| split(expression, "/")) {
        return parts.into_iter().any(is_permissive);
    }
    if let Some(parts) = split(expression, " AND ").or_else(|| split(expression, " WITH ")) {
        return parts.into_iter().all(is_permissive);
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => is_permissive(inner),
        None => PERMISSIVE.contains(&expression),
    }
}

/// The parts between the separators that stand outside parentheses; `None` if there is no such separator.
fn split<'a>(expression: &'a str, separator: &str) -> Option<Vec<&'a str>> {
    let outside = |at: usize| expression[..at].matches('(').count() == expression[..at].matches(')').count();
    let cuts: Vec<usize> = expression.match_indices(separator).map(|(at, _)| at).filter(|at| outside(*at)).collect();
    if cuts.is_empty() {
        return None;
    }
    let starts = std::iter::once(0).chain(cuts.iter().map(|cut| cut + separator.len()));
    let ends = cuts.iter().copied().chain(std::iter::once(expression.len()));
    Some(starts.zip(ends).map(|(start, end)| &expression[start..end]).collect())
}

#[test]
fn every_dependency_is_permissive() {
    let metadata = cargo_metadata();
    let mut breaches = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let licence = package["license"].as_str().unwrap_or("");
        if package["source"] != Value::Null && !is_permissive(licence) {
            breaches.push(format!("{} {}: `{licence}`", package["name"], package["version"]));
        }
    }
    assert!(breaches.is_empty(), "not known as permissive:\n{}", breaches.join("\n"));
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    assert!(is_permissive("MIT OR GPL-3.0"));
    assert!(is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(is_permissive("Apache-2.0 WITH LLVM-exception OR MIT"));
    assert!(is_permissive("MIT/Apache-2.0"));
    assert!(!is_permissive("MIT AND GPL-3.0"));
    assert!(!is_permissive("(MIT OR Apache-2.0) AND MPL-2.0"));
    assert!(!is_permissive(""));
}
