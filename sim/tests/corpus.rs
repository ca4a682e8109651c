//! The corpus: failures of the past, cut down by `shrink`, replayed for ever.
//!
//! A file that names a planted bug must fail with that bug, as it is kept for (in a build with `--features mutants`), and
//! pass without it; the others must pass.

use std::{fs, path::PathBuf};

use tidelog_sim::{case::Case, run::Watch};

fn corpus() -> Vec<(String, Case)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is there").flatten().map(|f| f.path()).collect();
    files.sort();
    let is_case = |file: &&PathBuf| file.extension().is_some_and(|ending| ending == "toml");
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("it can be read");
        (file.display().to_string(), Case::parse(&text).unwrap_or_else(|wrong| panic!("{}: {wrong}", file.display())))
    };
    files.iter().filter(is_case).map(read).collect()
}

#[test]
fn what_failed_once_passes() {
    for (file, case) in corpus() {
        let clean = Case { mutant: None, ..case };
        let outcome = clean.run(Watch::Nothing).expect("nothing is planted");
        assert_eq!(outcome.verdict, None, "{file}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn what_is_planted_is_found_again() {
    use tidelog_sim::case::Anomaly;
    for (file, case) in corpus().into_iter().filter(|(_, case)| case.mutant.is_some()) {
        let outcome = case.run(Watch::Nothing).expect("it can be planted");
        assert_eq!(outcome.verdict.as_ref().map(Anomaly::from), case.expects, "{file}");
    }
}
