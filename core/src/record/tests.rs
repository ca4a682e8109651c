//! Builders, iterators and codecs together: round trips, bytes of real Kafka clients, hostile bytes.

use alloc::{format, string::String, vec, vec::Vec};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    epoch::LeaderEpoch,
    ids::{NodeId, ProducerEpoch, ProducerId},
    offset::Offset,
    time::Timestamp,
};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[derive(Clone, Debug)]
struct Plain {
    gap: i32,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

fn plain_record() -> impl Strategy<Value = Plain> {
    let headers = prop::collection::vec((bytes(6), prop::option::of(bytes(9))), 0..4);
    (0i32..3, -10i64..5000, prop::option::of(bytes(20)), prop::option::of(bytes(200)), headers)
        .prop_map(|(gap, timestamp, key, value, headers)| Plain { gap, timestamp, key, value, headers })
}

fn build(records: &[Plain], options: &BatchOptions) -> (Batch, Vec<i64>) {
    let mut builder = BatchBuilder::new();
    let mut offsets = Vec::new();
    for r in records {
        let delta = builder.next_delta() + r.gap;
        offsets.push(options.base_offset.0 + i64::from(delta));
        let headers: Vec<_> = r.headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
        builder.append(delta, Timestamp(r.timestamp), r.key.as_deref(), r.value.as_deref(), headers);
    }
    (builder.build(options), offsets)
}

/// What the wire would bring of a batch.
fn reparse(batch: &Batch) -> Batch {
    let mut bytes = batch.to_bytes();
    let parsed = Batch::parse(&mut bytes).expect("a built batch parses");
    assert!(bytes.is_empty(), "a batch knows its size");
    parsed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_round_trip(records in prop::collection::vec(plain_record(), 1..20), codec in 0usize..5) {
        let options = BatchOptions {
            compression: CODECS[codec],
            base_offset: Offset(1000),
            producer: Some((ProducerId(7), ProducerEpoch(1), 3)),
            ..BatchOptions::default()
        };
        let (batch, offsets) = build(&records, &options);
        let read: Vec<Record> = reparse(&batch).records().expect("it opens").collect::<Result<_, _>>().expect("it is whole");
        prop_assert_eq!(read.len(), records.len());
        for ((read, plain), offset) in read.iter().zip(&records).zip(offsets) {
            prop_assert_eq!(read.offset, Offset(offset));
            prop_assert_eq!(read.timestamp, Timestamp(plain.timestamp));
            prop_assert_eq!(read.key.as_deref(), plain.key.as_deref());
            prop_assert_eq!(read.value.as_deref(), plain.value.as_deref());
            let headers: Vec<_> = read.headers.iter().map(|h| (h.key.to_vec(), h.value.map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&headers, &plain.headers);
        }
        let gaps = records.iter().any(|r| r.gap > 0);
        prop_assert_eq!(batch.check_records().is_err(), gaps, "a leader takes no gaps");
        if let Ok(summary) = batch.check_records() {
            prop_assert_eq!(summary.first_without_key, records.iter().position(|r| r.key.is_none()));
            prop_assert_eq!(Some(summary.min_timestamp.0), records.iter().map(|r| r.timestamp).min());
            prop_assert_eq!(summary.max_timestamp.0, records.iter().map(|r| r.timestamp).max().unwrap_or(-1).max(-1));
        }
    }

    /// Records that a sender mangled before it computed the CRC: an error or other records, never a panic.
    #[test]
    fn mangled_records_are_errors(
        records in prop::collection::vec(plain_record(), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        count in -1i32..12, last_delta: i32,
    ) {
        let (batch, _) = build(&records, &BatchOptions::default());
        let mut body = batch.body().to_vec();
        for (at, with) in flips {
            let at = at.index(body.len());
            body[at] = with;
        }
        let mut header = *batch.header();
        header.records_count = count.max(0);
        header.last_offset_delta = if last_delta % 3 == 0 { last_delta & i32::MAX } else { header.last_offset_delta };
        let mangled = Batch::assemble(header, body.into());
        if let Ok(mangled) = Batch::parse(&mut mangled.to_bytes()) {
            let results: Vec<_> = mangled.records().expect("nothing is compressed").collect();
            prop_assert!(results.iter().filter(|r| r.is_err()).count() <= 1, "the first error is the last item");
            prop_assert!(results.len() <= mangled.body().len() + 1);
            let _ = mangled.check_records();
        }
    }

    #[test]
    fn noise_is_no_batch(noise in bytes(200)) {
        prop_assert!(Batch::parse(&mut Bytes::from(noise)).is_err());
    }
}

#[test]
fn a_count_that_lies_costs_nothing() {
    // Three records promised, two there; then one there that was not promised.
    let two = vec![Plain { gap: 0, timestamp: 1, key: None, value: Some(vec![1]), headers: vec![] }; 2];
    let (batch, _) = build(&two, &BatchOptions::default());
    for (count, good) in [(3, 2), (i32::MAX, 2), (1, 1)] {
        let mut header = *batch.header();
        header.records_count = count;
        header.last_offset_delta = count - 1;
        let lie = Batch::assemble(header, batch.body().clone());
        let read: Vec<_> = lie.records().expect("nothing is compressed").collect();
        assert_eq!(read.len(), good + 1);
        assert_eq!(read[good], Err(BatchError::Record { index: good }));
        assert_eq!(lie.check_records(), Err(BatchError::Record { index: good }));
    }
}

#[test]
fn offsets_beyond_the_last_are_refused() {
    let (batch, _) =
        build(&[Plain { gap: 0, timestamp: 1, key: None, value: None, headers: vec![] }], &BatchOptions::default());
    for base in [-1, i64::MIN, i64::MAX] {
        let mut header = *batch.header();
        header.base_offset = Offset(base);
        let mut bytes = Batch::assemble(header, batch.body().clone()).to_bytes();
        assert_eq!(Batch::parse(&mut bytes), Err(BatchError::Offsets { base, offsets: 1 }));
    }
}

#[test]
fn timestamps_at_both_ends_round_trip() {
    let mut builder = BatchBuilder::new();
    for (delta, time) in [(0, i64::MAX), (1, i64::MIN), (2, -1)] {
        builder.append(delta, Timestamp(time), None, None, []);
    }
    let batch = builder.build(&BatchOptions::default());
    let times: Vec<i64> = batch.records().expect("it opens").map(|r| r.expect("it is whole").timestamp.0).collect();
    assert_eq!(times, [i64::MAX, i64::MIN, -1]);
}

#[test]
fn header_counts_and_lengths_are_not_believed() {
    // length 8 | attributes | deltas 0 0 | key null | value null | headers: 2^31 - 1
    let body = [0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    let mut header = *build(&[], &BatchOptions::default()).0.header();
    header.records_count = 1;
    let batch = Batch::assemble(header, Bytes::copy_from_slice(&body));
    assert_eq!(batch.check_records(), Err(BatchError::Record { index: 0 }));
}

#[test]
fn the_builder_knows_its_size() {
    let mut builder = BatchBuilder::new();
    assert_eq!(builder.bytes(), HEADER_BYTES);
    let headers = [(&b"h"[..], Some(&b"v"[..]))];
    let most = BatchBuilder::record_bytes_max(Some(b"key"), Some(b"value"), 4);
    builder.append(0, Timestamp(5), Some(b"key"), Some(b"value"), headers);
    assert!(builder.bytes() <= HEADER_BYTES + most);
    let bytes = builder.bytes();
    assert_eq!(builder.build(&BatchOptions::default()).size(), bytes);
}

#[test]
fn an_emptied_batch_keeps_its_offsets_and_producer() {
    let options = BatchOptions {
        compression: Compression::Zstd,
        base_offset: Offset(42),
        leader_epoch: LeaderEpoch(5),
        last_offset_delta: Some(2),
        producer: Some((ProducerId(7001), ProducerEpoch(3), 11)),
        max_timestamp: Timestamp(1_700_000_000_014),
        ..BatchOptions::default()
    };
    let batch = reparse(&BatchBuilder::new().build(&options));
    assert_eq!(batch.size(), HEADER_BYTES);
    assert_eq!(batch.header().last_offset(), Offset(44));
    assert_eq!(batch.header().last_sequence(), 13);
    assert_eq!(batch.records().expect("no body is no error").count(), 0);
    // Byte for byte what Kafka's cleaner leaves, but for the codec, which it drops too.
    let plain = BatchOptions { compression: Compression::None, ..options };
    assert_eq!(BatchBuilder::new().build(&plain).to_bytes(), golden("java-emptied"));
}

macro_rules! golden_files {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../testdata/record/", $name, ".hex")))),*]
    };
}

/// Batches written by others; `testdata/record/README.md` says how they were made.
const GOLDEN: [(&str, &str); 16] = golden_files! {
    "java-none" "java-gzip" "java-snappy" "java-lz4" "java-zstd" "java-transactional" "java-log-append-time"
    "java-delete-horizon" "java-marker-commit" "java-marker-abort" "java-leader-change" "java-emptied"
    "python-gzip" "python-snappy" "python-lz4" "python-zstd"
};

fn golden(name: &str) -> Bytes {
    let (_, text) = GOLDEN.iter().find(|(n, _)| *n == name).expect("the golden file is listed");
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn golden_batch(name: &str) -> Batch {
    let mut bytes = golden(name);
    let batch = Batch::parse(&mut bytes).expect("Kafka's batches are right");
    assert!(bytes.is_empty());
    batch
}

/// The three records that every golden data batch holds; the last value is large where it is compressed.
fn golden_records(base: i64, third: &[u8]) -> Vec<Plain> {
    let header = |k: &str, v: Option<&str>| (k.as_bytes().to_vec(), v.map(|v| v.as_bytes().to_vec()));
    let headers = vec![header("h", Some("1")), header("h", Some("2")), header("n", None), header("", Some(""))];
    let record = |timestamp, key: Option<&str>, value: Option<&[u8]>, headers| Plain {
        gap: 0,
        timestamp: base + timestamp,
        key: key.map(|k| k.as_bytes().to_vec()),
        value: value.map(<[u8]>::to_vec),
        headers,
    };
    vec![
        record(0, None, Some(b"first"), vec![]),
        record(-1000, Some(""), None, headers),
        record(14, Some("k2"), Some(third), vec![]),
    ]
}

const GOLDEN_TIME: i64 = 1_700_000_000_000;

fn assert_holds(name: &str, batch: &Batch, expected: &[Plain], append_time: Option<i64>) {
    let read: Vec<Record> = batch.records().expect("it opens").collect::<Result<_, _>>().expect("it is whole");
    assert_eq!(read.len(), expected.len(), "{name}");
    for (i, (read, plain)) in read.iter().zip(expected).enumerate() {
        assert_eq!(read.offset.0, batch.header().base_offset.0 + i as i64, "{name}");
        assert_eq!(read.timestamp.0, append_time.unwrap_or(plain.timestamp), "{name}");
        assert_eq!(read.key.as_deref(), plain.key.as_deref(), "{name}");
        assert_eq!(read.value.as_deref(), plain.value.as_deref(), "{name}");
        let headers: Vec<_> = read.headers.iter().map(|h| (h.key.to_vec(), h.value.map(|v| v.to_vec()))).collect();
        assert_eq!(headers, plain.headers, "{name}");
    }
    batch.check_records().expect("a leader accepts it");
}

#[test]
fn batches_of_kafkas_java_client_are_read_exactly() {
    let large = b"abcdefgh".repeat(12_500);
    for (codec, id) in [("none", 0i16), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)] {
        let name = format!("java-{codec}");
        let batch = golden_batch(&name);
        let header = batch.header();
        assert_eq!(header.compression(), Compression::from_id(id));
        assert_eq!((header.base_offset, header.leader_epoch), (Offset(42), LeaderEpoch(5)));
        assert_eq!(
            (header.producer_id, header.producer_epoch, header.base_sequence),
            (ProducerId(7001), ProducerEpoch(3), 11)
        );
        let third = if id == 0 { &b"third"[..] } else { &large };
        assert_holds(&name, &batch, &golden_records(GOLDEN_TIME, third), None);
    }
}

#[test]
fn batches_of_a_python_client_are_read_exactly() {
    let large = b"abcdefgh".repeat(12_500);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let name = format!("python-{codec}");
        assert_holds(&name, &golden_batch(&name), &golden_records(GOLDEN_TIME, &large), None);
    }
}

/// The settings of the golden batches.
fn golden_options() -> BatchOptions {
    BatchOptions {
        base_offset: Offset(42),
        leader_epoch: LeaderEpoch(5),
        producer: Some((ProducerId(7001), ProducerEpoch(3), 11)),
        ..BatchOptions::default()
    }
}

#[test]
fn uncompressed_batches_are_built_byte_for_byte_as_kafka_builds_them() {
    let records = golden_records(GOLDEN_TIME, b"third");
    assert_eq!(build(&records, &golden_options()).0.to_bytes(), golden("java-none"));
    let transactional = BatchOptions { transactional: true, ..golden_options() };
    assert_eq!(build(&records, &transactional).0.to_bytes(), golden("java-transactional"));
}

#[test]
fn log_append_time_covers_every_record() {
    let records = golden_records(GOLDEN_TIME, b"third");
    let time = 1_700_000_005_000;
    let options = BatchOptions { append_time: Some(Timestamp(time)), ..golden_options() };
    let (built, _) = build(&records, &options);
    assert_eq!(built.to_bytes(), golden("java-log-append-time"));
    let mut stamped = build(&records, &golden_options()).0;
    stamped.stamp_log_append_time(Timestamp(time));
    assert_eq!(stamped, built);
    assert_holds("java-log-append-time", &built, &records, Some(time));
}

#[test]
fn a_delete_horizon_takes_the_base_timestamps_place_and_moves_no_record() {
    let name = "java-delete-horizon";
    let records = golden_records(GOLDEN_TIME, b"third");
    let horizon = Timestamp(1_700_086_400_000);
    let batch = golden_batch(name);
    assert_eq!(batch.header().delete_horizon(), Some(horizon));
    assert_holds(name, &batch, &records, None);

    let mut builder = BatchBuilder::with_delete_horizon(horizon);
    for record in &batch.open().expect("it opens") {
        let record = record.expect("it is whole");
        builder.append(record.offset_delta, record.timestamp, record.key, record.value, record.headers);
    }
    assert_eq!(builder.build(&golden_options()).to_bytes(), golden(name));
}

#[test]
fn control_batches_are_kafkas() {
    for (name, commit) in [("java-marker-commit", true), ("java-marker-abort", false)] {
        let time = Timestamp(GOLDEN_TIME);
        let mut marker = Batch::end_transaction(commit, 9, ProducerId(7001), ProducerEpoch(3), time);
        marker.stamp(Offset(42), LeaderEpoch(5));
        assert_eq!(marker.to_bytes(), golden(name));
        let control = golden_batch(name).control().expect("it is whole");
        assert_eq!(control, Some(Control::EndTransaction { commit, coordinator_epoch: 9 }));
    }
    let (one, two) = (NodeId(1), NodeId(2));
    let mut change = Batch::leader_change(one, &[one, two], &[one], Timestamp(GOLDEN_TIME));
    change.stamp(Offset(42), LeaderEpoch(5));
    assert_eq!(change.to_bytes(), golden("java-leader-change"));
    let control = golden_batch("java-leader-change").control().expect("it is whole");
    assert_eq!(control, Some(Control::LeaderChange { leader: one, voters: vec![one, two], granting: vec![one] }));
}

#[test]
fn payloads_outlive_their_batch_without_a_copy() {
    let records = golden_records(GOLDEN_TIME, b"third");
    let (batch, _) = build(&records, &golden_options());
    let body = batch.body().as_ptr_range();
    let read: Vec<Record> = batch.records().expect("it opens").map(|r| r.expect("it is whole")).collect();
    let value = read[2].value.clone().expect("the third record has a value");
    assert!(body.contains(&value.as_ptr()), "the value is a slice of the body");
    drop((batch, read));
    assert_eq!(String::from_utf8_lossy(&value), "third");
}
