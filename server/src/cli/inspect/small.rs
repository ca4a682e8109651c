//! Every file but segments: small enough to be read as a whole.

use std::{fs, io::Read, path::Path};

use tidelog_core::log::{
    EpochCache, Identity, OffsetEntry, TimeEntry,
    checkpoint::OffsetCheckpoint,
    meta_properties::{MetaError, parse_partition_metadata, parse_quorum_state},
    snapshot, txn_index,
};

use super::{
    super::{error::Ended, json::Json},
    Kind, Shower, damaged, unreadable,
};

/// No such file is larger, but for one that is none.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A file as fields of text: one row an entry.
struct Table {
    what: &'static str,
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

/// Shows a file of this kind.
pub(super) fn show(shower: &mut Shower<'_>, path: &Path, kind: Kind) -> Result<(), Ended> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(damaged(path, "it is larger than any such file").into());
    }
    let table = table(&bytes, kind).map_err(|reason| damaged(path, reason))?;
    if shower.args.json {
        json(&mut shower.json, path, &table);
        let line = shower.json.as_str().to_owned();
        return Ok(shower.stdout.line(&line)?);
    }
    let text = match table.rows.as_slice() {
        [] => format!("{}: no entries\n", table.what),
        rows => format!("{}\n{}", table.what, super::super::output::table(table.head, rows)),
    };
    shower.stdout.buffer().extend_from_slice(text.as_bytes());
    Ok(shower.stdout.flush()?)
}

fn row<const N: usize>(cells: [&dyn ToString; N]) -> Vec<String> {
    cells.iter().map(|cell| cell.to_string()).collect()
}

fn table(bytes: &[u8], kind: Kind) -> Result<Table, String> {
    let made = |what, head: &'static [&'static str], rows| Table { what, head, rows };
    Ok(match kind {
        Kind::Segment => unreachable!("segments are shown batch by batch"),
        Kind::OffsetIndex(base) => {
            let rows = OffsetEntry::parse_all(bytes).map(|entry| row([&entry.offset(base), &entry.position]));
            made("offset index", &["offset", "position"], rows.collect())
        }
        Kind::TimeIndex(base) => {
            let rows = TimeEntry::parse_all(bytes).map(|entry| row([&entry.timestamp.0, &entry.offset(base)]));
            made("time index", &["timestamp", "offset"], rows.collect())
        }
        Kind::TxnIndex => {
            let aborted = txn_index::AbortedTransaction::parse_all(bytes)?;
            let rows = aborted.iter().map(|txn| row([&txn.producer, &txn.first, &txn.last, &txn.last_stable]));
            made("aborted transactions", &["producer", "first", "last", "last_stable"], rows.collect())
        }
        Kind::Snapshot => {
            let producers = snapshot::decode(bytes)?;
            let rows = producers.iter().map(|(id, entry)| {
                let last = entry.batches.last();
                row([
                    &id,
                    &entry.epoch.0,
                    &last.map_or(-1, |batch| batch.last_sequence),
                    &last.map_or(-1, |batch| batch.last_offset.0),
                    &entry.last_timestamp.0,
                    &entry.batches.len(),
                    &entry.transaction_start.map_or(-1, |offset| offset.0),
                ])
            });
            let head =
                &["producer", "epoch", "last_sequence", "last_offset", "timestamp", "batches", "transaction_start"];
            made("producers", head, rows.collect())
        }
        Kind::EpochCheckpoint => {
            let epochs = EpochCache::parse(bytes)?;
            let rows = epochs.entries().iter().map(|(epoch, start)| row([epoch, start]));
            made("leader epochs", &["epoch", "start"], rows.collect())
        }
        Kind::OffsetCheckpoint => {
            let offsets = OffsetCheckpoint::parse(bytes)?;
            let rows = offsets.0.iter().map(|(partition, offset)| row([partition, offset]));
            made("offsets", &["partition", "offset"], rows.collect())
        }
        Kind::PartitionMetadata => made("partition", &["topic_id"], vec![row([&parse_partition_metadata(bytes)?])]),
        Kind::MetaProperties => {
            let identity = Identity::parse(bytes).map_err(|error| match error {
                MetaError::OtherFormat(found) => format!("another format: {found}"),
                MetaError::Corrupt(reason) => reason.to_owned(),
            })?;
            let rows = vec![row([&identity.node, &identity.cluster_id, &identity.directory])];
            made("data directory", &["node", "cluster", "directory"], rows)
        }
        Kind::QuorumState => {
            let vote = parse_quorum_state(bytes)?;
            made("vote", &["state"], vec![vec![format!("{vote:?}")]])
        }
    })
}

fn json(json: &mut Json, path: &Path, table: &Table) {
    json.clear();
    json.object(|json| {
        json.key("file").text(&path.display().to_string()).key("kind").text(table.what);
        json.key("entries").array(|json| {
            for row in &table.rows {
                json.object(|json| {
                    for (name, cell) in table.head.iter().zip(row) {
                        json.key(name);
                        match cell.parse::<i64>() {
                            Ok(number) => json.number(number),
                            Err(_) => json.text(cell),
                        };
                    }
                });
            }
        });
    });
}
