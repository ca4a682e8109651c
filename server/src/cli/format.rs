//! How `consume` shows a record: its value and a line feed, a template, or a line of JSON.

use std::{io::Write, str::FromStr};

use tidelog_core::{offset::Offset, record::RawRecord, time::Timestamp};

use super::{json::Json, value::unescape};

/// A way to show records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The value and a line feed.
    Text,
    /// One object on a line.
    Json,
    /// What the user wrote.
    Template(Vec<Part>),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// These bytes.
    Literal(Vec<u8>),
    /// `%k`
    Key,
    /// `%v`
    Value,
    /// `%o`
    Offset,
    /// `%p`
    Partition,
    /// `%t`
    Timestamp,
    /// `%h`
    Headers,
}

/// A record and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    /// Its topic, where it is to be shown.
    pub(super) topic: Option<&'a str>,
    /// Its partition, where it is to be shown.
    pub(super) partition: Option<i32>,
    /// Its offset.
    pub(super) offset: Offset,
    /// Itself.
    pub(super) record: &'a RawRecord<'a>,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => return Ok(Self::Text),
            "json" => return Ok(Self::Json),
            _ => {}
        }
        if !text.contains('%') {
            return Err(format!("\"{text}\" is no format: text, json, or a template with %k %v %o %p %t %h"));
        }
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = unescape(text)?.into_iter();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                literal.push(byte);
                continue;
            }
            let part = match bytes.next() {
                Some(b'%') => {
                    literal.push(b'%');
                    continue;
                }
                Some(b'k') => Part::Key,
                Some(b'v') => Part::Value,
                Some(b'o') => Part::Offset,
                Some(b'p') => Part::Partition,
                Some(b't') => Part::Timestamp,
                Some(b'h') => Part::Headers,
                _ => return Err(format!("\"{text}\" has an unknown placeholder: known are %k %v %o %p %t %h %%")),
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self::Template(parts))
    }
}

impl Format {
    /// Appends the record to `out`.
    pub(super) fn show(&self, shown: &Shown<'_>, json: &mut Json, out: &mut Vec<u8>) {
        match self {
            Self::Text => {
                out.extend_from_slice(shown.record.value.unwrap_or_default());
                out.push(b'\n');
            }
            Self::Json => {
                json.clear();
                show_json(shown, json);
                out.extend_from_slice(json.as_str().as_bytes());
                out.push(b'\n');
            }
            Self::Template(parts) => {
                for part in parts {
                    show_part(part, shown, out);
                }
            }
        }
    }
}

fn show_part(part: &Part, shown: &Shown<'_>, out: &mut Vec<u8>) {
    let record = shown.record;
    let written = match part {
        Part::Literal(bytes) => out.write_all(bytes),
        Part::Key => out.write_all(record.key.unwrap_or_default()),
        Part::Value => out.write_all(record.value.unwrap_or_default()),
        Part::Offset => write!(out, "{}", shown.offset),
        Part::Partition => write!(out, "{}", shown.partition.unwrap_or(-1)),
        Part::Timestamp => write!(out, "{}", record.timestamp.0),
        Part::Headers => {
            let mut separator: &[u8] = b"";
            record.headers.into_iter().try_for_each(|(name, value)| {
                out.write_all(separator)?;
                separator = b",";
                out.write_all(name)?;
                out.write_all(b"=")?;
                out.write_all(value.unwrap_or_default())
            })
        }
    };
    written.expect("memory takes every byte");
}

fn show_json(shown: &Shown<'_>, json: &mut Json) {
    let record = shown.record;
    json.object(|json| {
        if let Some(topic) = shown.topic {
            json.key("topic").text(topic);
        }
        if let Some(partition) = shown.partition {
            json.key("partition").number(partition);
        }
        json.key("offset").number(shown.offset.0);
        json.key("timestamp");
        match record.timestamp {
            Timestamp::NONE => json.null(),
            Timestamp(millis) => json.number(millis),
        };
        payload(json, "key", record.key);
        payload(json, "value", record.value);
        json.key("headers").array(|json| {
            for (name, value) in record.headers {
                json.object(|json| {
                    payload(json, "name", Some(name));
                    payload(json, "value", value);
                });
            }
        });
    });
}

/// Text as text; what is no text as `NAME_base64`.
fn payload(json: &mut Json, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| str::from_utf8(bytes).map_err(|_| bytes)) {
        None => json.key(name).null(),
        Some(Ok(text)) => json.key(name).text(text),
        Some(Err(bytes)) => json.key(&format!("{name}_base64")).text(&base64(bytes)),
    };
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, &byte)| word | u32::from(byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tidelog_core::record::{BatchBuilder, BatchOptions};

    use super::*;

    fn show(format: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let mut builder = BatchBuilder::new();
        let headers = [(&b"h"[..], Some(&b"1"[..])), (&b"n"[..], None)];
        builder.append(0, Timestamp(1_700_000_000_000), key, value, headers);
        let open = builder.build(&BatchOptions::default()).open().expect("just built");
        let record = open.iter().next().expect("one").expect("sound");
        let mut out = Vec::new();
        let shown = Shown { topic: Some("t"), partition: Some(3), offset: Offset(42), record: &record };
        format.parse::<Format>().expect("a format").show(&shown, &mut Json::new(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_record_is_shown_as_the_user_wants_it() {
        assert_eq!(show("text", None, Some(b"hi")), "hi\n");
        assert_eq!(show("text", None, None), "\n");
        assert_eq!(
            show(r"%p/%o@%t %k=%v [%h] 100%%\n", Some(b"k"), Some(b"v")),
            "3/42@1700000000000 k=v [h=1,n=] 100%\n"
        );
        assert_eq!(
            show("json", None, Some(b"a\"b")),
            "{\"topic\":\"t\",\"partition\":3,\"offset\":42,\"timestamp\":1700000000000,\"key\":null,\
             \"value\":\"a\\\"b\",\"headers\":[{\"name\":\"h\",\"value\":\"1\"},{\"name\":\"n\",\"value\":null}]}\n"
        );
        assert!(show("json", None, Some(b"\xff\x00")).contains("\"value_base64\":\"/wA=\""));
    }

    #[test]
    fn a_wrong_format_is_refused() {
        for wrong in ["yaml", "%x", "100%", r"%v\q"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
