//! Lines as records: key, value and headers of each, borrowed from the block that it stands in.

use memchr::memmem::Finder;
use tidelog_client::{NewRecord, Timestamp};
use tidelog_core::ids::PartitionId;

use super::super::error::{CliError, Exit};

/// How a line becomes a record.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// What stands between key and value; without it a line is a value.
    pub(super) separator: Option<Vec<u8>>,
    /// Does a line begin with headers?
    pub(super) has_headers: bool,
    /// Where every record goes.
    pub(super) partition: Option<PartitionId>,
}

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The records of one block of whole lines.
pub(super) struct Records<'a> {
    block: &'a [u8],
    partition: Option<PartitionId>,
    lines: usize,
    fixed: &'a [Header<'a>],
    /// Where lines are more than values: what they were found to be.
    parsed: Vec<Parsed<'a>>,
    headers: Vec<Header<'a>>,
}

struct Parsed<'a> {
    key: Option<&'a [u8]>,
    value: &'a [u8],
    /// Up to where [`Records::headers`] has this line's, from where the line before ends.
    headers_end: usize,
}

impl Shape {
    /// Finds the records in `block`, in which every line but maybe the last ends with a line feed. `before` lines came
    /// earlier, for errors that name a line.
    pub(super) fn records<'a>(
        &self,
        block: &'a [u8],
        fixed: &'a [Header<'a>],
        before: u64,
    ) -> Result<Records<'a>, CliError> {
        let is_ended = block.ends_with(b"\n");
        let lines = memchr::memchr_iter(b'\n', block).count() + usize::from(!is_ended && !block.is_empty());
        let mut records =
            Records { block, partition: self.partition, lines, fixed, parsed: Vec::new(), headers: Vec::new() };
        if self.separator.is_none() && !self.has_headers {
            return Ok(records);
        }
        let finder = self.separator.as_ref().map(Finder::new);
        records.parsed.reserve(lines);
        for (number, mut line) in (before + 1..).zip(split(block)) {
            let wrong = |what: &str| CliError::new(Exit::Failed, format!("line {number} of the input {what}"));
            if self.has_headers {
                let at = memchr::memchr(b'\t', line).ok_or_else(|| {
                    wrong("has no tab behind its headers").hint("with --headers a line is NAME=VALUE,...<tab>VALUE")
                })?;
                for header in line[..at].split(|&byte| byte == b',').filter(|header| !header.is_empty()) {
                    let equals = memchr::memchr(b'=', header).ok_or_else(|| {
                        wrong("has a header without \"=\"").hint("with --headers a line is NAME=VALUE,...<tab>VALUE")
                    })?;
                    records.headers.push((&header[..equals], Some(&header[equals + 1..])));
                }
                line = &line[at + 1..];
            }
            let (key, value) = match &finder {
                None => (None, line),
                Some(finder) => {
                    let at = finder.find(line).ok_or_else(|| wrong("has no key separator"))?;
                    (Some(&line[..at]), &line[at + finder.needle().len()..])
                }
            };
            records.parsed.push(Parsed { key, value, headers_end: records.headers.len() });
        }
        Ok(records)
    }
}

impl<'a> Records<'a> {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.lines
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = NewRecord<'_>> {
        let record = |key, value, headers| NewRecord {
            key,
            value: Some(value),
            headers,
            timestamp: Timestamp::NONE,
            partition: self.partition,
        };
        let plain = if self.parsed.is_empty() { self.block } else { &[] };
        let mut headers_begin = 0;
        let parsed = self.parsed.iter().map(move |parsed| {
            let headers = &self.headers[headers_begin..parsed.headers_end];
            headers_begin = parsed.headers_end;
            record(parsed.key, parsed.value, if headers.is_empty() { self.fixed } else { headers })
        });
        split(plain).map(move |line| record(None, line, self.fixed)).chain(parsed)
    }
}

/// The lines of a block, without their line feeds.
fn split(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line = match memchr::memchr(b'\n', rest) {
            Some(at) => {
                let (line, after) = rest.split_at(at);
                rest = &after[1..];
                line
            }
            None => std::mem::take(&mut rest),
        };
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Flat = (Option<String>, String, Vec<(String, String)>);

    fn records(shape: &Shape, block: &str, fixed: &[Header<'_>]) -> Result<Vec<Flat>, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let records = shape.records(block.as_bytes(), fixed, 0).map_err(|error| error.message)?;
        let flat: Vec<Flat> = records
            .iter()
            .map(|record| {
                let headers = record.headers.iter().map(|(name, value)| (text(name), text(value.unwrap_or_default())));
                (record.key.map(text), text(record.value.unwrap_or_default()), headers.collect())
            })
            .collect();
        assert_eq!(flat.len(), records.len());
        Ok(flat)
    }

    fn shape(separator: Option<&str>, has_headers: bool) -> Shape {
        Shape { separator: separator.map(|text| text.as_bytes().to_vec()), has_headers, partition: None }
    }

    fn flat(key: Option<&str>, value: &str, headers: &[(&str, &str)]) -> Flat {
        let owned = |text: &str| text.to_owned();
        (key.map(owned), owned(value), headers.iter().map(|(name, value)| (owned(name), owned(value))).collect())
    }

    #[test]
    fn a_line_is_a_value() {
        let found = records(&shape(None, false), "a\n\nb\r\nc", &[]).expect("lines");
        assert_eq!(found, ["a", "", "b\r", "c"].map(|value| flat(None, value, &[])));
        assert_eq!(records(&shape(None, false), "", &[]), Ok(vec![]));
        assert_eq!(records(&shape(None, false), "\n", &[]), Ok(vec![flat(None, "", &[])]));
    }

    #[test]
    fn keys_end_at_the_first_separator() {
        let found = records(&shape(Some("::"), false), "k::v::w\n::\n", &[(b"h", Some(b"1"))]).expect("keys");
        assert_eq!(found, [flat(Some("k"), "v::w", &[("h", "1")]), flat(Some(""), "", &[("h", "1")])]);
        let error = records(&shape(Some(":"), false), "a:b\nab\n", &[]).expect_err("no key");
        assert_eq!(error, "line 2 of the input has no key separator");
    }

    #[test]
    fn headers_stand_before_the_tab() {
        let found = records(&shape(Some(":"), true), "a=1,b==\tk:v\tw\n\tk:v\nc=\tk:v", &[]).expect("headers");
        let expected = [
            flat(Some("k"), "v\tw", &[("a", "1"), ("b", "=")]),
            flat(Some("k"), "v", &[]),
            flat(Some("k"), "v", &[("c", "")]),
        ];
        assert_eq!(found, expected);
        assert!(records(&shape(None, true), "a=1 v\n", &[]).is_err());
        assert!(records(&shape(None, true), "a\tv\n", &[]).is_err());
    }
}
