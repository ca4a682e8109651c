//! The command line's own words: help as it was, errors in one line.

use std::{env, fs, path::PathBuf};

use super::*;

fn help_of(command: &mut clap::Command, path: &str, all: &mut Vec<(String, String)>) {
    all.push((path.to_owned(), command.render_long_help().to_string()));
    for sub in command.get_subcommands_mut() {
        let path = format!("{path}-{}", sub.get_name());
        help_of(sub, &path, all);
    }
}

/// `TIDELOG_GOLDEN=rewrite` writes the help down anew; the difference is for a reviewer.
#[test]
fn help_is_what_it_was() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/help"));
    let mut command = Cli::command();
    command.build();
    let mut all = Vec::new();
    help_of(&mut command, "tidelog", &mut all);
    for (name, help) in all {
        let path = folder.join(&name).with_extension("txt");
        if env::var_os("TIDELOG_GOLDEN").is_some_and(|value| value == "rewrite") {
            fs::create_dir_all(&folder).expect("it can be made");
            fs::write(&path, &help).expect("it can be written");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == help, "{name}: the help has changed; TIDELOG_GOLDEN=rewrite writes it down");
    }
}

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Cli::command().debug_assert();
}

fn wrong(line: &str) -> (String, String) {
    let error = Cli::try_parse_from(line.split(' ')).expect_err("it is wrong");
    let error = usage_error(&error);
    assert_eq!(error.exit, Exit::Usage);
    assert!(!error.message.contains('\n') && !error.message.ends_with('.'), "{}", error.message);
    (error.message, error.hint)
}

#[test]
fn wrong_usage_is_one_line_and_a_hint() {
    let pair = |message: &str, hint: &str| (message.to_owned(), hint.to_owned());
    assert_eq!(wrong("tidelog prodcue t").1, "a similar subcommand exists: 'produce'");
    assert_eq!(
        wrong("tidelog produce"),
        pair("the following required arguments were not provided: <TOPIC>", "see `tidelog produce --help`")
    );
    assert_eq!(
        wrong("tidelog produce t --acks 2"),
        pair("invalid value '2' for '--acks <ACKS>' [possible values: all, 1, 0]", "see `tidelog --help`")
    );
    assert_eq!(wrong("tidelog topic create t --partition 3").1, "a similar argument exists: '--partitions'");
    let (message, _) = wrong("tidelog consume t --from begin");
    assert!(message.contains("\"begin\" is no place to start"), "{message}");
    let (message, _) = wrong("tidelog topic list --bootstrap nowhere:port");
    assert!(message.contains("\"nowhere:port\" is not an address"), "{message}");
}
