//! What the tests share that look at the whole tree: its files and cargo's view of its packages.
//!
//! The tests themselves stand beside this file, one folder each: `tidy/` (this crate's Rust tests over the source
//! tree), and `outside/`, `cli/`, `crash/` (pytest, against the built binary, with the clients that users have).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The top of the source tree.
pub fn root() -> PathBuf {
    // Asked when the test runs, not when it was built: a target folder may be shared by several checkouts.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test sets it");
    Path::new(&package).parent().expect("tests/ has a parent").to_path_buf()
}

/// One text file of the tree.
pub struct SourceFile {
    /// From the root, with `/` between the parts.
    pub path: String,
    /// The whole content.
    pub text: String,
}

/// Every text file that git tracks or would track, sorted by path. Generated and foreign files included.
pub fn source_files() -> Vec<SourceFile> {
    let listing = run(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]));
    let mut paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    // A tracked file that is being removed, and a binary one, have no text.
    let read = |path: &str| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?));
    paths.into_iter().filter_map(read).map(|(path, text)| SourceFile { path, text }).collect()
}

/// What cargo knows of every package in the lock file.
pub fn cargo_metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let text = run(Command::new(cargo).args(["metadata", "--format-version=1", "--locked"]));
    serde_json::from_str(&text).expect("cargo writes JSON")
}

fn run(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().expect("git and cargo are installed where cargo test runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("paths and JSON are UTF-8")
}
