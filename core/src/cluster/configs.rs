//! The settings of a topic: Kafka's names, defaults and rules, in one table.
//!
//! Values are text on the wire and in the metadata log; [`log_config`] parses what is set into a
//! [`LogConfig`], and [`check`] refuses what it could not parse. A setting that this table does not have does not exist.

use alloc::{format, string::String, string::ToString, vec::Vec};

use super::image::Overrides;
use crate::{
    log::{CleanupPolicy, Durability, LogConfig},
    message::{ConfigEntry, ConfigKind, ConfigOperation, ConfigSource},
    record::TimestampType,
    time::Duration,
};

/// One setting: how it reads, how it is shown, and what it means.
struct Setting {
    name: &'static str,
    kind: ConfigKind,
    documentation: &'static str,
    /// Puts a value in, or says why it is none.
    set: fn(&mut LogConfig, &str) -> Result<(), String>,
    /// The value as text.
    show: fn(&LogConfig) -> String,
}

/// Ordered by name: answers list settings in this order.
const SETTINGS: &[Setting] = &[
    Setting {
        name: "cleanup.policy",
        kind: ConfigKind::List,
        documentation: "What becomes of old records: delete, compact or both.",
        set: |c, v| {
            let mut policy = CleanupPolicy { delete: false, compact: false };
            for word in v.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                match word {
                    "delete" => policy.delete = true,
                    "compact" => policy.compact = true,
                    _ => return Err(format!("{word:?} is neither delete nor compact")),
                }
            }
            c.cleanup = policy;
            Ok(())
        },
        show: |c| {
            match (c.cleanup.delete, c.cleanup.compact) {
                (true, true) => "compact,delete",
                (true, false) => "delete",
                (false, true) => "compact",
                (false, false) => "",
            }
            .to_string()
        },
    },
    Setting {
        name: "compression.type",
        kind: ConfigKind::String,
        documentation: "Batches are stored as their producers compressed them; no other choice exists.",
        set: |_, v| if v == "producer" { Ok(()) } else { Err("only \"producer\" is supported".to_string()) },
        show: |_| "producer".to_string(),
    },
    Setting {
        name: "delete.retention.ms",
        kind: ConfigKind::Long,
        documentation: "How long a tombstone outlives the first cleaning that sees it.",
        set: |c, v| millis(v).map(|d| c.delete_retention = d),
        show: |c| c.delete_retention.as_millis().to_string(),
    },
    Setting {
        name: "durability",
        kind: ConfigKind::String,
        documentation: "fsync: a replica counts what it has synced. replicated: what it has in its page cache.",
        set: |c, v| {
            c.durability = match v {
                "fsync" => Durability::Fsync,
                "replicated" => Durability::Replicated,
                _ => return Err(format!("{v:?} is neither fsync nor replicated")),
            };
            Ok(())
        },
        show: |c| {
            match c.durability {
                Durability::Fsync => "fsync",
                Durability::Replicated => "replicated",
            }
            .to_string()
        },
    },
    Setting {
        name: "file.delete.delay.ms",
        kind: ConfigKind::Long,
        documentation: "How long a deleted segment's files stay.",
        set: |c, v| millis(v).map(|d| c.file_delete_delay = d),
        show: |c| c.file_delete_delay.as_millis().to_string(),
    },
    Setting {
        name: "index.interval.bytes",
        kind: ConfigKind::Int,
        documentation: "Bytes of log between two entries of the offset index.",
        set: |c, v| integer(v, 0, i32::MAX.into()).map(|n| c.index_interval_bytes = n.cast_unsigned()),
        show: |c| c.index_interval_bytes.to_string(),
    },
    Setting {
        name: "max.compaction.lag.ms",
        kind: ConfigKind::Long,
        documentation: "The longest that a record may stay uncompacted.",
        set: |c, v| {
            let ms = integer(v, 1, i64::MAX)?;
            c.max_compaction_lag = (ms != i64::MAX).then(|| Duration::from_millis(ms.cast_unsigned()));
            Ok(())
        },
        show: |c| c.max_compaction_lag.map_or(i64::MAX.to_string(), |d| d.as_millis().to_string()),
    },
    Setting {
        name: "max.message.bytes",
        kind: ConfigKind::Int,
        documentation: "The largest batch that is accepted.",
        set: |c, v| {
            integer(v, 0, crate::limits::BATCH_BYTES_MAX as i64)
                .map(|n| c.max_message_bytes = usize::try_from(n).unwrap_or(usize::MAX))
        },
        show: |c| c.max_message_bytes.to_string(),
    },
    Setting {
        name: "message.timestamp.after.max.ms",
        kind: ConfigKind::Long,
        documentation: "How far in the future a record's timestamp may lie.",
        set: |c, v| unlimited_at_max(v).map(|d| c.timestamp_after_max = d),
        show: |c| c.timestamp_after_max.map_or(i64::MAX.to_string(), |d| d.as_millis().to_string()),
    },
    Setting {
        name: "message.timestamp.before.max.ms",
        kind: ConfigKind::Long,
        documentation: "How far in the past a record's timestamp may lie.",
        set: |c, v| unlimited_at_max(v).map(|d| c.timestamp_before_max = d),
        show: |c| c.timestamp_before_max.map_or(i64::MAX.to_string(), |d| d.as_millis().to_string()),
    },
    Setting {
        name: "message.timestamp.type",
        kind: ConfigKind::String,
        documentation: "CreateTime: timestamps are the producer's. LogAppendTime: the broker's.",
        set: |c, v| {
            c.timestamp_type = match v {
                "CreateTime" => TimestampType::CreateTime,
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => return Err(format!("{v:?} is neither CreateTime nor LogAppendTime")),
            };
            Ok(())
        },
        show: |c| {
            match c.timestamp_type {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            }
            .to_string()
        },
    },
    Setting {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigKind::Double,
        documentation: "How much of a compacted log must be dirty before it is cleaned.",
        set: |c, v| permille(v).map(|p| c.min_cleanable_dirty_permille = p),
        show: |c| format!("{}.{:03}", c.min_cleanable_dirty_permille / 1000, c.min_cleanable_dirty_permille % 1000),
    },
    Setting {
        name: "min.compaction.lag.ms",
        kind: ConfigKind::Long,
        documentation: "How long a record stays uncompacted at least.",
        set: |c, v| millis(v).map(|d| c.min_compaction_lag = d),
        show: |c| c.min_compaction_lag.as_millis().to_string(),
    },
    Setting {
        name: "min.insync.replicas",
        kind: ConfigKind::Int,
        documentation: "Replicas that must be in sync for a write with acks=all.",
        set: |c, v| integer(v, 1, i32::MAX.into()).map(|n| c.min_insync_replicas = n as u32),
        show: |c| c.min_insync_replicas.to_string(),
    },
    Setting {
        name: "preallocate",
        kind: ConfigKind::Boolean,
        documentation: "Files grow as they are written; no other choice exists.",
        set: |_, v| if v == "false" { Ok(()) } else { Err("only \"false\" is supported".to_string()) },
        show: |_| "false".to_string(),
    },
    Setting {
        name: "retention.bytes",
        kind: ConfigKind::Long,
        documentation: "Size of a partition above which its oldest segments go; -1 is without limit.",
        set: |c, v| {
            let n = integer(v, -1, i64::MAX)?;
            c.retention_bytes = u64::try_from(n).ok();
            Ok(())
        },
        show: |c| c.retention_bytes.map_or("-1".to_string(), |n| n.to_string()),
    },
    Setting {
        name: "retention.ms",
        kind: ConfigKind::Long,
        documentation: "Age above which segments go; -1 is for ever.",
        set: |c, v| {
            let n = integer(v, -1, i64::MAX)?;
            c.retention = u64::try_from(n).ok().map(Duration::from_millis);
            Ok(())
        },
        show: |c| c.retention.map_or("-1".to_string(), |d| d.as_millis().to_string()),
    },
    Setting {
        name: "segment.bytes",
        kind: ConfigKind::Int,
        documentation: "Size above which a new segment is begun.",
        set: |c, v| {
            integer(v, crate::limits::SEGMENT_BYTES_MIN, i32::MAX.into()).map(|n| c.segment_bytes = n.cast_unsigned())
        },
        show: |c| c.segment_bytes.to_string(),
    },
    Setting {
        name: "segment.index.bytes",
        kind: ConfigKind::Int,
        documentation: "Size above which an index is full and a new segment is begun.",
        set: |c, v| integer(v, 4, i32::MAX.into()).map(|n| c.index_bytes_max = n.cast_unsigned()),
        show: |c| c.index_bytes_max.to_string(),
    },
    Setting {
        name: "segment.ms",
        kind: ConfigKind::Long,
        documentation: "Age above which a new segment is begun.",
        set: |c, v| integer(v, 1, i64::MAX).map(|n| c.segment_age = Duration::from_millis(n.cast_unsigned())),
        show: |c| c.segment_age.as_millis().to_string(),
    },
    Setting {
        name: "unclean.leader.election.enable",
        kind: ConfigKind::Boolean,
        documentation: "Rather a leader that may lack acknowledged records than none.",
        set: |c, v| {
            c.unclean_leader_election = match v {
                "true" => true,
                "false" => false,
                _ => return Err(format!("{v:?} is neither true nor false")),
            };
            Ok(())
        },
        show: |c| c.unclean_leader_election.to_string(),
    },
];

/// The settings of a log: what is set for its topic over the node's defaults.
pub fn log_config(defaults: &LogConfig, overrides: Option<&Overrides>) -> LogConfig {
    let mut config = defaults.clone();
    for (name, value) in overrides.into_iter().flatten() {
        if let Some(setting) = find(name) {
            (setting.set)(&mut config, value).expect("a value is checked before it is recorded");
        }
    }
    config
}

/// Does this setting exist, and can it have this value? The error is the reason in words.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let setting = find(name).ok_or_else(|| match nearest(name) {
        Some(near) => format!("unknown topic config {name:?}; did you mean {near:?}?"),
        None => format!("unknown topic config {name:?}"),
    })?;
    (setting.set)(&mut LogConfig::default(), value)
        .map_err(|reason| format!("invalid value {value:?} for {name}: {reason}"))
}

/// The value that a change leads to, `None` being the default; or why it leads nowhere.
pub(super) fn changed(
    defaults: &LogConfig,
    overrides: Option<&Overrides>,
    name: &str,
    operation: &ConfigOperation,
) -> Result<Option<String>, String> {
    let value = match operation {
        ConfigOperation::Set(value) => Some(value.clone()),
        ConfigOperation::Delete => None,
        ConfigOperation::Append(words) | ConfigOperation::Subtract(words) => {
            let setting = find(name).ok_or_else(|| format!("unknown topic config {name:?}"))?;
            if setting.kind != ConfigKind::List {
                return Err(format!("{name} is not a list, so nothing can be appended or subtracted"));
            }
            let current = (setting.show)(&log_config(defaults, overrides));
            let mut list: Vec<&str> = current.split(',').filter(|w| !w.is_empty()).collect();
            for word in words.split(',').map(str::trim) {
                let append = matches!(operation, ConfigOperation::Append(_));
                if append && !list.contains(&word) {
                    list.push(word);
                } else if !append {
                    list.retain(|w| *w != word);
                }
            }
            Some(list.join(","))
        }
    };
    match &value {
        Some(value) => check(name, value)?,
        None => check(name, &(find(name).ok_or_else(|| format!("unknown topic config {name:?}"))?.show)(defaults))?,
    }
    Ok(value)
}

/// All settings of a topic, or those asked for.
pub(super) fn describe(
    defaults: &LogConfig,
    overrides: Option<&Overrides>,
    names: Option<&[String]>,
) -> Vec<ConfigEntry> {
    let config = log_config(defaults, overrides);
    let plain = LogConfig::default();
    SETTINGS
        .iter()
        .filter(|s| names.is_none_or(|names| names.iter().any(|n| n == s.name)))
        .map(|s| ConfigEntry {
            name: s.name.to_string(),
            value: Some((s.show)(&config)),
            source: if overrides.is_some_and(|o| o.contains_key(s.name)) {
                ConfigSource::DynamicTopic
            } else if (s.show)(defaults) != (s.show)(&plain) {
                ConfigSource::StaticBroker
            } else {
                ConfigSource::Default
            },
            read_only: false,
            kind: s.kind,
            documentation: s.documentation.to_string(),
        })
        .collect()
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.binary_search_by(|s| s.name.cmp(name)).ok().map(|i| &SETTINGS[i])
}

/// The setting that a misspelt name most likely means: at most two edits away.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > 64 {
        return None;
    }
    SETTINGS.iter().map(|s| (edits(name, s.name), s.name)).min().filter(|&(n, _)| n <= 2).map(|(_, name)| name)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn integer(text: &str, least: i64, greatest: i64) -> Result<i64, String> {
    match text.trim().parse::<i64>() {
        Ok(n) if (least..=greatest).contains(&n) => Ok(n),
        Ok(_) => Err(format!("it must be between {least} and {greatest}")),
        Err(_) => Err("it must be a whole number".to_string()),
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    integer(text, 0, i64::MAX).map(|n| Duration::from_millis(n.cast_unsigned()))
}

fn unlimited_at_max(text: &str) -> Result<Option<Duration>, String> {
    integer(text, 0, i64::MAX).map(|n| (n != i64::MAX).then(|| Duration::from_millis(n.cast_unsigned())))
}

/// A fraction between 0 and 1 as thousandths, rounded down; the core has no floating point.
fn permille(text: &str) -> Result<u32, String> {
    let wrong = || "it must be a fraction between 0 and 1".to_string();
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    if fraction.is_empty() || fraction.len() > 20 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let digits: u32 = fraction.bytes().chain(*b"000").take(3).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    match whole {
        "" | "0" => Ok(digits),
        "1" if digits == 0 => Ok(1000),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_every_default_reads_back() {
        let mut config = LogConfig::default();
        for (i, setting) in SETTINGS.iter().enumerate() {
            assert!(i == 0 || SETTINGS[i - 1].name < setting.name, "{}", setting.name);
            let shown = (setting.show)(&config);
            (setting.set)(&mut config, &shown).expect("a shown value is a value");
        }
        assert_eq!(config, LogConfig::default());
    }

    #[test]
    fn values_are_checked_and_misspelt_names_are_recognised() {
        assert_eq!(check("retention.ms", "-1"), Ok(()));
        assert!(check("retention.ms", "-2").is_err());
        assert!(check("cleanup.policy", "compact, delete").is_ok());
        assert!(check("cleanup.policy", "shred").is_err());
        assert!(check("min.cleanable.dirty.ratio", "0.25").is_ok());
        assert!(check("min.cleanable.dirty.ratio", "1.5").is_err());
        assert!(check("retention.mss", "1").expect_err("unknown").contains("\"retention.ms\""));
    }

    #[test]
    fn lists_are_appended_to_and_subtracted_from() {
        let defaults = LogConfig::default();
        let append = ConfigOperation::Append("compact".to_string());
        assert_eq!(changed(&defaults, None, "cleanup.policy", &append), Ok(Some("delete,compact".to_string())));
        let subtract = ConfigOperation::Subtract("delete".to_string());
        assert_eq!(changed(&defaults, None, "cleanup.policy", &subtract), Ok(Some(String::new())));
        assert!(changed(&defaults, None, "retention.ms", &append).is_err());
    }
}
