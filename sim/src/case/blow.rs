//! Blows as words and numbers of a repro file, and back. Spans are nanoseconds.

use std::fmt::Write;

use toml::Table;

use crate::{
    disk::Rot,
    nemesis::{Blow, Shape, Way},
};

const ROTS: [(&str, Rot); 6] = [
    ("bit", Rot::Bit),
    ("zeros", Rot::Zeros),
    ("stale", Rot::Stale),
    ("misdirected", Rot::Misdirected),
    ("truncated", Rot::Truncated),
    ("latent", Rot::Latent),
];

const SHAPES: [(&str, Shape); 6] = [
    ("alone", Shape::Alone),
    ("controller", Shape::Controller),
    ("leader", Shape::Leader),
    ("ring", Shape::Ring),
    ("from-controller", Shape::FromController),
    ("clients", Shape::Clients),
];

const WAYS: [(&str, Way); 2] = [("out", Way::Out), ("in", Way::In)];

fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], of: T) -> &'static str {
    words.iter().find(|(_, value)| *value == of).expect("the list is whole").0
}

fn meant<T: Copy>(words: &[(&str, T)], word: &str) -> Result<T, String> {
    let found = words.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value).ok_or_else(|| format!("{word:?} is not a word for that"))
}

/// The keys of a table that say what a blow is.
pub(super) fn write(blow: &Blow) -> String {
    let mut text = String::new();
    let (name, numbers): (&str, Vec<(&str, u64)>) = match blow {
        Blow::Kill(down) => ("kill", vec![("down", *down)]),
        Blow::PowerLoss(down) => ("power-loss", vec![("down", *down)]),
        Blow::Cut { calls, power, down } => {
            ("cut", vec![("calls", *calls), ("power", u64::from(*power)), ("down", *down)])
        }
        Blow::Stop(down) => ("stop", vec![("down", *down)]),
        Blow::Pause(span) => ("pause", vec![("span", *span)]),
        Blow::ReadErrors(span) => ("read-errors", vec![("span", *span)]),
        Blow::WriteErrors(span) => ("write-errors", vec![("span", *span)]),
        Blow::SyncErrors(span) => ("sync-errors", vec![("span", *span)]),
        Blow::NoHandles(span) => ("no-handles", vec![("span", *span)]),
        Blow::Full(room, span) => ("full", vec![("room", *room), ("span", *span)]),
        Blow::ReadOnly(span) => ("read-only", vec![("span", *span)]),
        Blow::Slow(span) => ("slow", vec![("span", *span)]),
        Blow::Rot(_) => ("rot", vec![]),
        Blow::Stall(span) => ("stall", vec![("span", *span)]),
        Blow::Reset { all } => ("reset", vec![("all", u64::from(*all))]),
        Blow::HalfOpen => ("half-open", vec![]),
        Blow::ClockStep(_) => ("clock-step", vec![]),
        Blow::Split { span, again, .. } => ("split", vec![("span", *span), ("again", *again)]),
        Blow::All { power, down } => ("all", vec![("power", u64::from(*power)), ("down", *down)]),
        Blow::Wipe(down) => ("wipe", vec![("down", *down)]),
        Blow::Starve { pause, run, span } => ("starve", vec![("pause", *pause), ("run", *run), ("span", *span)]),
    };
    let _ = write!(text, "blow = \"{name}\"");
    for (key, number) in numbers {
        let _ = write!(text, ", {key} = {number}");
    }
    match blow {
        Blow::Rot(rot) => {
            let _ = write!(text, ", rot = \"{}\"", word(&ROTS, *rot));
        }
        Blow::ClockStep(ms) => {
            let _ = write!(text, ", ms = {ms}");
        }
        Blow::Split { shape, one_way, .. } => {
            match shape {
                Shape::Sides(side) => {
                    let _ = write!(text, ", shape = \"sides\", side = {side}");
                }
                shape => {
                    let _ = write!(text, ", shape = \"{}\"", word(&SHAPES, *shape));
                }
            }
            if let Some(way) = one_way {
                let _ = write!(text, ", one_way = \"{}\"", word(&WAYS, *way));
            }
        }
        _ => {}
    }
    text
}

/// The blow that a table describes.
pub(super) fn read(table: &Table) -> Result<Blow, String> {
    let signed = |key: &str| {
        let value = table.get(key).and_then(toml::Value::as_integer);
        value.ok_or_else(|| format!("a strike lacks the number {key:?}"))
    };
    let number =
        |key: &str| signed(key).and_then(|n| u64::try_from(n).map_err(|_| format!("{key:?} cannot be negative")));
    let text = |key: &str| {
        let value = table.get(key).and_then(toml::Value::as_str);
        value.ok_or_else(|| format!("a strike lacks the word {key:?}"))
    };
    let flag = |key: &str| number(key).map(|n| n > 0);
    Ok(match text("blow")? {
        "kill" => Blow::Kill(number("down")?),
        "power-loss" => Blow::PowerLoss(number("down")?),
        "cut" => Blow::Cut { calls: number("calls")?, power: flag("power")?, down: number("down")? },
        "stop" => Blow::Stop(number("down")?),
        "pause" => Blow::Pause(number("span")?),
        "read-errors" => Blow::ReadErrors(number("span")?),
        "write-errors" => Blow::WriteErrors(number("span")?),
        "sync-errors" => Blow::SyncErrors(number("span")?),
        "no-handles" => Blow::NoHandles(number("span")?),
        "full" => Blow::Full(number("room")?, number("span")?),
        "read-only" => Blow::ReadOnly(number("span")?),
        "slow" => Blow::Slow(number("span")?),
        "rot" => Blow::Rot(meant(&ROTS, text("rot")?)?),
        "stall" => Blow::Stall(number("span")?),
        "reset" => Blow::Reset { all: flag("all")? },
        "half-open" => Blow::HalfOpen,
        "clock-step" => Blow::ClockStep(signed("ms")?),
        "split" => {
            let shape = match text("shape")? {
                "sides" => Shape::Sides(number("side")?),
                other => meant(&SHAPES, other)?,
            };
            let one_way = table.contains_key("one_way").then(|| meant(&WAYS, text("one_way")?)).transpose()?;
            Blow::Split { shape, one_way, span: number("span")?.max(1_000_000), again: number("again")?.min(1_000) }
        }
        "all" => Blow::All { power: flag("power")?, down: number("down")? },
        "wipe" => Blow::Wipe(number("down")?),
        "starve" => {
            // A pause and a run of nothing would never end.
            Blow::Starve { pause: number("pause")?, run: number("run")?.max(1_000_000), span: number("span")? }
        }
        other => return Err(format!("there is no blow {other:?}")),
    })
}

/// How long a blow lasts, and the same blow for another span.
pub(crate) fn span_mut(blow: &mut Blow) -> Option<&mut u64> {
    match blow {
        Blow::Kill(span)
        | Blow::PowerLoss(span)
        | Blow::Stop(span)
        | Blow::Pause(span)
        | Blow::ReadErrors(span)
        | Blow::WriteErrors(span)
        | Blow::SyncErrors(span)
        | Blow::NoHandles(span)
        | Blow::Full(_, span)
        | Blow::ReadOnly(span)
        | Blow::Slow(span)
        | Blow::Stall(span)
        | Blow::Wipe(span)
        | Blow::Cut { down: span, .. }
        | Blow::Split { span, .. }
        | Blow::All { down: span, .. }
        | Blow::Starve { span, .. } => Some(span),
        Blow::Rot(_) | Blow::Reset { .. } | Blow::HalfOpen | Blow::ClockStep(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blow_reads_as_it_was_written() {
        let mut blows = vec![
            Blow::Kill(1),
            Blow::PowerLoss(2),
            Blow::Cut { calls: 3, power: true, down: 4 },
            Blow::Stop(5),
            Blow::Pause(6),
            Blow::ReadErrors(7),
            Blow::WriteErrors(8),
            Blow::SyncErrors(9),
            Blow::NoHandles(10),
            Blow::Full(11, 12),
            Blow::ReadOnly(13),
            Blow::Slow(14),
            Blow::Stall(15),
            Blow::Reset { all: true },
            Blow::HalfOpen,
            Blow::ClockStep(-16),
            Blow::All { power: false, down: 17 },
            Blow::Wipe(18),
            Blow::Starve { pause: 19, run: 20_000_000, span: 21 },
        ];
        blows.extend(ROTS.map(|(_, rot)| Blow::Rot(rot)));
        let shapes = SHAPES.iter().map(|(_, shape)| *shape).chain([Shape::Sides(5)]);
        blows.extend(shapes.map(|shape| Blow::Split { shape, one_way: None, span: 22_000_000, again: 2 }));
        blows.extend(WAYS.map(|(_, way)| Blow::Split {
            shape: Shape::Alone,
            one_way: Some(way),
            span: 23_000_000,
            again: 0,
        }));
        for blow in blows {
            let table: Table = format!("x = {{ {} }}", write(&blow)).parse().expect("it is TOML");
            assert_eq!(read(table["x"].as_table().expect("a table")), Ok(blow));
        }
    }
}
