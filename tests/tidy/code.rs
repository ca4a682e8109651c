//! Just enough reading of Rust source to tell code from comments, and product code from its tests.

use std::iter::Peekable;

/// A line of code: where it stands, and its text without comments and without the content of string literals.
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) code: String,
    /// Inside a `#[cfg(test)] mod ... { .. }`, which by the house's rule is the foot of the file.
    pub(crate) in_tests: bool,
}

/// Is this whole file a test? One in a package's `tests/` folder, or a module that only tests use, by its name.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/test_")
}

/// Splits a Rust file into its lines of code.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let bare = strip(text);
    let mut in_tests = false;
    let mut previous = "";
    let mut lines = Vec::new();
    for (index, code) in bare.lines().enumerate() {
        let item = code.trim_start();
        in_tests |=
            previous.trim() == "#[cfg(test)]" && (item.starts_with("mod ") || item.starts_with("pub(crate) mod "));
        lines.push(Line { number: index + 1, code: code.to_owned(), in_tests });
        if !code.trim().is_empty() {
            previous = code;
        }
    }
    lines
}

/// Does `code` name `word` as a whole word? A word may itself hold `::`.
pub(crate) fn names(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(|c| word.ends_with(part_of_word) && part_of_word(c))
    })
}

/// The first path segments that follow `crate::` in a file's product code, with their lines, groups opened.
pub(crate) fn crate_paths(lines: &[Line]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // Positions in the joined text map back to lines.
    let mut text = String::new();
    let mut starts = Vec::new();
    for line in lines.iter().filter(|line| !line.in_tests) {
        starts.push((text.len(), line.number));
        text.push_str(&line.code);
        text.push('\n');
    }
    let line_of = |at: usize| starts[starts.partition_point(|(start, _)| *start <= at) - 1].1;
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if rest.starts_with('{') {
            for (offset, segment) in group(rest) {
                found.push((line_of(at + "crate::".len() + offset), segment));
            }
        } else {
            found.push((line_of(at), segment(rest)));
        }
    }
    found
}

fn segment(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first segments of the members of a `{a::b, c::{d, e}}` group, with their positions.
fn group(text: &str) -> Vec<(usize, String)> {
    let mut depth = 0;
    let mut expecting = false;
    let mut members = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' => {
                depth += 1;
                expecting = depth == 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' => expecting = depth == 1,
            c if c.is_whitespace() => {}
            _ if expecting => {
                members.push((at, segment(&text[at..])));
                expecting = false;
            }
            _ => {}
        }
    }
    members
}

/// The text with comments and the insides of string and char literals blanked; lines stay where they were.
fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '/' if chars.peek() == Some(&'*') => block_comment(&mut chars, &mut out),
            '"' => string(&mut chars, &mut out),
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string(&mut chars, &mut out),
            '\'' => char_or_lifetime(&mut chars, &mut out),
            _ => out.push(c),
        }
    }
    out
}

fn block_comment(chars: &mut Peekable<impl Iterator<Item = char>>, out: &mut String) {
    chars.next();
    let mut depth = 1;
    while depth > 0 {
        match (chars.next(), chars.peek()) {
            (Some('*'), Some('/')) => {
                chars.next();
                depth -= 1;
            }
            (Some('/'), Some('*')) => {
                chars.next();
                depth += 1;
            }
            (Some('\n'), _) => out.push('\n'),
            (Some(_), _) => {}
            (None, _) => return,
        }
    }
}

fn string(chars: &mut Peekable<impl Iterator<Item = char>>, out: &mut String) {
    out.push('"');
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next();
                if escaped == Some('\n') {
                    out.push('\n');
                }
            }
            '"' => break,
            '\n' => out.push('\n'),
            _ => {}
        }
    }
    out.push('"');
}

/// Consumes `#*"..."#*` after an `r`, if that is what follows; otherwise writes the `r` (and any `#`) out.
fn raw_string(chars: &mut Peekable<impl Iterator<Item = char>>, out: &mut String) {
    let mut hashes = 0;
    while chars.peek() == Some(&'#') {
        chars.next();
        hashes += 1;
    }
    if chars.peek() != Some(&'"') {
        out.push('r');
        out.extend(std::iter::repeat_n('#', hashes));
        return;
    }
    chars.next();
    out.push('"');
    'outside: while let Some(c) = chars.next() {
        if c == '\n' {
            out.push('\n');
        }
        if c == '"' {
            for _ in 0..hashes {
                if chars.peek() != Some(&'#') {
                    continue 'outside;
                }
                chars.next();
            }
            break;
        }
    }
    out.push('"');
}

/// A char literal is blanked; a lifetime stays.
fn char_or_lifetime(chars: &mut Peekable<impl Iterator<Item = char>>, out: &mut String) {
    out.push('\'');
    let Some(first) = chars.next() else { return };
    if first == '\\' {
        chars.next();
        while chars.next().is_some_and(|c| c != '\'') {}
        out.push('\'');
    } else if chars.peek() == Some(&'\'') {
        chars.next();
        out.push('\'');
    } else {
        out.push(first);
    }
}

#[cfg(test)]
mod tests {
    use super::{crate_paths, lines, names};

    #[test]
    fn comments_strings_and_tests_are_told_from_code() {
        let text = "let a = \"HashMap // no\"; // HashMap\n/* std::\n */ let b = '\"'; let c: &'a str = r#\"x\"y\"#;\n#[cfg(test)]\nmod tests {\n}\n";
        let lines = lines(text);
        assert_eq!(lines[0].code, "let a = \"\"; ");
        assert_eq!(lines[2].code, " let b = ''; let c: &'a str = \"\";");
        assert!(!lines[2].in_tests);
        assert!(lines[4].in_tests);
    }

    #[test]
    fn groups_of_paths_are_opened() {
        let text = "use crate::{\n    ids::{A, B},\n    log::C,\n};\nfn f() { crate::node::g(); }\n";
        let paths = crate_paths(&lines(text));
        let expected = [(2, "ids"), (3, "log"), (5, "node")];
        assert_eq!(paths, expected.map(|(line, name)| (line, name.to_owned())));
    }

    #[test]
    fn words_are_whole() {
        assert!(names("use std::fs;", "std::"));
        assert!(!names("use nostd::fs;", "std::"));
        assert!(names("x: f64,", "f64"));
        assert!(!names("to_f64(x)", "f64"));
    }
}
