//! Record batches from anywhere: errors, never a panic, and never more memory than the bounds allow.
//!
//! The input is tried as it is, and once more with its length, magic and CRC put right: what lies behind the CRC is
//! as much a sender's choice as what lies before it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog_core::record::{Batch, BatchBuilder, BatchOptions, Batches, HEADER_BYTES};

fuzz_target!(|input: &[u8]| {
    for batch in Batches(Bytes::copy_from_slice(input)).flatten() {
        examine(&batch);
    }
    if let Some(batch) = repaired(input) {
        examine(&batch);
    }
});

fn repaired(input: &[u8]) -> Option<Batch> {
    let mut bytes = input.to_vec();
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let length = i32::try_from(bytes.len() - 12).ok()?;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::parse(&mut bytes.into()).ok()
}

fn examine(batch: &Batch) {
    let summary = batch.check_records();
    if batch.header().is_control() {
        let _ = batch.control();
    }
    let Ok(records) = batch.records() else {
        assert!(summary.is_err(), "what cannot be opened cannot be right");
        return;
    };
    let Ok(records) = records.collect::<Result<Vec<_>, _>>() else {
        assert!(summary.is_err(), "what cannot be read cannot be right");
        return;
    };
    // What can be read can be written, and reads the same.
    let mut builder = BatchBuilder::new();
    let base = batch.header().base_offset;
    for record in &records {
        let delta = i32::try_from(record.offset.distance_from(base)).expect("deltas have 32 bits");
        let headers: Vec<_> = record.headers.iter().collect();
        let headers: Vec<_> = headers.iter().map(|h| (&h.key[..], h.value.as_deref())).collect();
        builder.append(delta, record.timestamp, record.key.as_deref(), record.value.as_deref(), headers);
    }
    let rebuilt = builder.build(&BatchOptions { base_offset: base, ..BatchOptions::default() });
    let again: Result<Vec<_>, _> = rebuilt.records().expect("nothing is compressed").collect();
    assert_eq!(again.as_ref(), Ok(&records));
}
