//! Which batches and records a cleaning keeps (semantics §12).
//!
//! ```text
//! record, key not null    newest of its key?  no: gone.  yes: value? kept.  tombstone? kept until its horizon
//! record past the map     kept
//! record, key null        gone: a compacted topic has none, but one that became compacted may
//! record, aborted         gone
//! marker                  kept while records of its transaction are met, and until its horizon
//! ```
//!
//! A tombstone's or marker's horizon is set by the first cleaning that keeps it and has nothing more to wait for but
//! time (KIP-534), so whoever reads from the start within `delete.retention.ms` sees every tombstone.
//!
//! Two kinds of batch stay although all of their records are gone, as a header without body: the last of each
//! producer that is still known, so that its sequence survives a restart, and the last of the round, so that the
//! log's offsets do.
//!
//! A batch that cannot be read in full is kept as it is and maps nothing: cleaning never makes damage worse.

use super::{
    map::{KeyMap, MapFull},
    transactions::Transactions,
};
use crate::{
    log::ProducerTable,
    mutant,
    offset::Offset,
    record::{Batch, BatchBuilder, BatchError, BatchHeader, BatchOptions, OpenBatch, TimestampType},
    time::Timestamp,
};

/// What becomes of a batch.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// This takes its place.
    Replace(Batch),
}

/// What a round goes by.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    /// The newest offset of each key.
    pub(super) map: &'a KeyMap,
    /// The producers that the log knows.
    pub(super) producers: &'a ProducerTable,
    /// Wall time of the round.
    pub(super) wall: Timestamp,
    /// `delete.retention.ms`
    pub(super) delete_retention_millis: i64,
    /// Base offset of the round's last batch.
    pub(super) last_batch: Option<Offset>,
}

/// Maps the keys of one batch from `from` on. When the map is full, it covers the records that went in.
pub(super) fn map_batch(
    map: &mut KeyMap,
    transactions: &mut Transactions,
    batch: &Batch,
    from: Offset,
) -> Result<(), MapFull> {
    let header = batch.header();
    if header.is_control() {
        // A marker that cannot be read is kept as it is, whatever is decided here.
        let _ = transactions.on_control(batch);
    } else if !transactions.on_data(batch)
        && let Ok(open) = open_whole(batch)
    {
        for record in open.iter() {
            let record = record.expect("every record was read once");
            let offset = header.base_offset.forward(i64::from(record.offset_delta));
            let Some(key) = record.key.filter(|_| offset >= from) else { continue };
            map.insert(key, offset)?;
            map.covers_to(offset.next());
        }
    }
    map.covers_to(header.next_offset().max(from));
    Ok(())
}

/// Opens a batch whose every record can be read.
fn open_whole(batch: &Batch) -> Result<OpenBatch, BatchError> {
    let open = batch.open()?;
    for record in open.iter() {
        record?;
    }
    Ok(open)
}

impl Filter<'_> {
    /// Judges the next batch of the log.
    pub(super) fn judge(&self, transactions: &mut Transactions, batch: &Batch) -> Verdict {
        let header = batch.header();
        let (void, open) = if header.is_control() {
            match (transactions.on_control(batch), open_whole(batch)) {
                (Ok(void), Ok(open)) => (void, open),
                _ => return Verdict::Keep,
            }
        } else {
            let void = transactions.on_data(batch);
            match open_whole(batch) {
                Ok(open) => (void, open),
                // Void records are of no use to anybody, readable or not.
                Err(_) if !void => return Verdict::Keep,
                Err(_) => return self.emptied(header),
            }
        };

        let horizon = header.delete_horizon();
        let past_horizon = horizon.is_some_and(|h| self.wall >= h) || mutant!(Y21);
        let drop_all = void && (!header.is_control() || past_horizon);
        let mut kept = 0;
        let mut awaits_horizon = void && header.is_control();
        if !drop_all {
            for record in open.iter() {
                let record = record.expect("every record was read once");
                if header.is_control()
                    || self.keeps(header, record.offset_delta, record.key, record.value, past_horizon)
                {
                    kept += 1;
                    awaits_horizon |= record.value.is_none();
                }
            }
        }
        if kept == 0 {
            return self.emptied(header);
        }
        let sets_horizon = awaits_horizon && horizon.is_none();
        if kept == header.records_count && !sets_horizon {
            return Verdict::Keep;
        }
        let horizon = if sets_horizon { Some(self.wall.plus_millis(self.delete_retention_millis)) } else { horizon };
        let mut builder = horizon.map_or_else(BatchBuilder::new, BatchBuilder::with_delete_horizon);
        for record in open.iter() {
            let record = record.expect("every record was read once");
            if header.is_control() || self.keeps(header, record.offset_delta, record.key, record.value, past_horizon) {
                builder.append(record.offset_delta, record.timestamp, record.key, record.value, record.headers);
            }
        }
        Verdict::Replace(builder.build(&options_of(header)))
    }

    fn keeps(
        &self,
        header: &BatchHeader,
        delta: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        past_horizon: bool,
    ) -> bool {
        let offset = header.base_offset.forward(i64::from(delta));
        if self.map.end().is_none_or(|end| offset >= end) {
            return true;
        }
        let Some(key) = key else { return false };
        let newest =
            self.map.get(key).is_none_or(|newest| if mutant!(Y23) { offset < newest } else { offset >= newest });
        newest && (value.is_some() || !past_horizon)
    }

    /// A batch without a record left: gone, or a bare header where somebody needs it.
    fn emptied(&self, header: &BatchHeader) -> Verdict {
        if self.last_batch != Some(header.base_offset) && (mutant!(X68) || !self.is_producers_last(header)) {
            return Verdict::Drop;
        }
        if header.records_count == 0 {
            return Verdict::Keep;
        }
        let options = BatchOptions { max_timestamp: header.max_timestamp, ..options_of(header) };
        Verdict::Replace(
            BatchBuilder::new().build(&BatchOptions { compression: crate::record::Compression::None, ..options }),
        )
    }

    fn is_producers_last(&self, header: &BatchHeader) -> bool {
        let Some(entry) = self.producers.get(header.producer_id).filter(|_| header.has_producer()) else {
            return false;
        };
        match entry.batches.last() {
            Some(last) => !header.is_control() && last.last_offset == header.last_offset(),
            // Nothing but a marker is known of it: that carries its epoch, which fences older incarnations.
            None => header.is_control() && header.producer_epoch == entry.epoch,
        }
    }
}

/// Everything of a batch that cleaning does not change.
fn options_of(header: &BatchHeader) -> BatchOptions {
    BatchOptions {
        compression: header.compression().expect("a checked batch has a known codec"),
        level: None,
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        last_offset_delta: Some(header.last_offset_delta),
        producer: header.has_producer().then_some((header.producer_id, header.producer_epoch, header.base_sequence)),
        transactional: header.is_transactional(),
        control: header.is_control(),
        append_time: (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp),
        max_timestamp: Timestamp::NONE,
    }
}
