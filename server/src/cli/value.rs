//! The little languages of flags: spans of time, places to start, settings, headers.

use std::{str::FromStr, time::Duration};

use tidelog_core::{offset::Offset, time::Timestamp};

/// A span of time as a flag has it: `250ms`, `10s`, `5m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a time such as 250ms, 10s, 5m, 2h or 7d");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        count.checked_mul(unit).map(|millis| Self(Duration::from_millis(millis))).ok_or_else(wrong)
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// At the first record that is still there.
    Earliest,
    /// After the last record that is there now.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first record that is not older.
    Time(Timestamp),
    /// At the first record that is not older than this, counted back from now.
    Ago(Duration),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no place to start: earliest, latest, an offset, or @ and a time \
                 (@2026-01-31T12:00:00Z, @1769860800000, @-1h)"
            )
        };
        if let Some(time) = text.strip_prefix('@') {
            if let Some(span) = time.strip_prefix('-') {
                return span.parse::<Span>().map(|Span(span)| Self::Ago(span)).map_err(|_| wrong());
            }
            if let Ok(millis) = time.parse::<u64>() {
                return i64::try_from(millis).map(|millis| Self::Time(Timestamp(millis))).map_err(|_| wrong());
            }
            return parse_time(time).map(Self::Time).ok_or_else(wrong);
        }
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            offset => match offset.parse() {
                Ok(offset) if offset >= 0 => Ok(Self::Offset(Offset(offset))),
                _ => Err(wrong()),
            },
        }
    }
}

/// A date, or a date and a time, in RFC 3339's form: `2026-01-31`, `2026-01-31T12:00:00Z`, `2026-01-31T12:00:00.5+01:00`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse::<i64>().ok()
    };
    let byte = |at: usize| text.as_bytes().get(at).copied();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if byte(4) != Some(b'-') || byte(7) != Some(b'-') || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_of_month(year, month) {
        return None;
    }
    let midnight = days_since_1970(year, month, day) * 86_400_000;
    if text.len() == 10 {
        return Some(Timestamp(midnight));
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let is_separated = matches!(byte(10), Some(b'T' | b't' | b' ')) && byte(13) == Some(b':') && byte(16) == Some(b':');
    if !is_separated || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let mut millis = 0;
            for at in 0..3 {
                millis = millis * 10 + rest.as_bytes()[..digits].get(at).map_or(0, |digit| i64::from(digit - b'0'));
            }
            if digits == 0 {
                return None;
            }
            (millis, &rest[digits..])
        }
    };
    let east_minutes = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()) => {
            let digit = |digit: &u8| i64::from(digit - b'0');
            let minutes = (digit(a) * 10 + digit(b)) * 60 + digit(c) * 10 + digit(d);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    Some(Timestamp(midnight + ((hour * 60 + minute - east_minutes) * 60 + second) * 1000 + fraction))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Before the first `=`.
    pub(super) name: String,
    /// After it.
    pub(super) value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self { name: name.to_owned(), value: value.to_owned() }),
            _ => Err(format!("\"{text}\" is not of the form name=value")),
        }
    }
}

/// A separator: the escapes `\t`, `\n`, `\\` and `\xNN` stand for their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Separator(pub Vec<u8>);

impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = unescape(text)?;
        if bytes.is_empty() { Err("a separator cannot be empty".to_owned()) } else { Ok(Self(bytes)) }
    }
}

/// Replaces the escapes `\t`, `\n`, `\r`, `\0`, `\\` and `\xNN`.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, used) = match rest {
            [b't', ..] => (b'\t', 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
                (digit(*a) << 4 | digit(*b), 3)
            }
            _ => return Err(format!("\"{text}\" has an unknown escape: known are \\t \\n \\r \\0 \\\\ \\xNN")),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("7d".parse(), Ok(Span(Duration::from_secs(7 * 86_400))));
        for wrong in ["", "10", "s", "1.5s", "-1s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_to_start() {
        assert_eq!("earliest".parse(), Ok(From::Earliest));
        assert_eq!("42".parse(), Ok(From::Offset(Offset(42))));
        assert_eq!("@1769860800000".parse(), Ok(From::Time(Timestamp(1_769_860_800_000))));
        assert_eq!("@-1h".parse(), Ok(From::Ago(Duration::from_secs(3600))));
        assert_eq!("@2026-01-31T12:00:00Z".parse(), Ok(From::Time(Timestamp(1_769_860_800_000))));
        assert_eq!("@2026-01-31T13:00:00.25+01:00".parse(), Ok(From::Time(Timestamp(1_769_860_800_250))));
        assert_eq!("@1970-01-01".parse(), Ok(From::Time(Timestamp(0))));
        assert_eq!("@2000-02-29".parse(), Ok(From::Time(Timestamp(951_782_400_000))));
        assert_eq!("@1969-12-31T23:59:59Z".parse(), Ok(From::Time(Timestamp(-1000))));
        for wrong in [
            "",
            "-1",
            "begin",
            "@",
            "@-",
            "@2026-13-01",
            "@2026-02-30",
            "@2025-02-29",
            "@2026-01-31T12:00:00",
            "@2026-01-31T24:00:00Z",
            "@2026-01-31 12:00",
            "@é026-01-31",
            "@2026-01-31T12:00:00.Z",
            "@+026-01-01",
        ] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn escapes_stand_for_their_bytes() {
        assert_eq!(unescape(r"a\tb\\\x00\n"), Ok(b"a\tb\\\0\n".to_vec()));
        assert!(unescape(r"\q").is_err());
        assert!(unescape(r"\x1").is_err());
        assert!("".parse::<Separator>().is_err());
    }

    #[test]
    fn pairs_are_cut_at_the_first_equals_sign() {
        assert_eq!("a=b=c".parse(), Ok(Pair { name: "a".into(), value: "b=c".into() }));
        assert!("ab".parse::<Pair>().is_err());
        assert!("=b".parse::<Pair>().is_err());
    }
}
