//! What is encoded is decoded as the same, however the bytes are cut on their way.

use bytes::Bytes;
use tidelog_client::wire::{self, Correlation, Frame, FrameReader, ToNode};
use tidelog_core::{
    ids::{PartitionId, TopicName},
    limits,
    message::{Acks, ErrorCode, ProducePartition, ProduceRequest, Request, TopicRef},
    time::Duration,
};

use crate::samples::{REQUEST_KINDS, RESPONSE_KINDS, Samples, as_received};

const SEEDS: u64 = 200;

/// The frames in `bytes`, which come in portions of `portion`.
fn frames(bytes: &[u8], portion: usize) -> Vec<Frame> {
    let mut reader = FrameReader::new(limits::FRAME_BYTES_MAX);
    reader.feed(&wire::preamble(wire::VERSION));
    let mut frames = Vec::new();
    for portion in bytes.chunks(portion) {
        reader.feed(portion);
        while let Some(frame) = reader.next().expect("these are frames") {
            frames.push(frame);
        }
    }
    assert_eq!(reader.buffered(), 0);
    frames
}

#[test]
fn every_request_arrives_as_it_was_sent() {
    for kind in 0..REQUEST_KINDS {
        for seed in 0..SEEDS {
            let sent = Samples::new(seed).any_request(kind);
            let encoded = wire::encode_to_node(Correlation(seed), &sent).expect("it fits");
            let bytes = encoded.to_bytes();
            assert_eq!(bytes.len(), encoded.size());
            let frames = frames(&bytes, 1 + seed as usize * 7);
            assert_eq!(frames.len(), 1);
            let asked = wire::decode_to_node(frames[0].clone()).expect("the header is sound");
            assert_eq!(asked.correlation, Correlation(seed));
            assert_eq!(asked.message.as_ref(), Ok(&sent), "kind {kind}, seed {seed}");
        }
    }
}

#[test]
fn every_response_arrives_as_it_was_sent() {
    for kind in 0..RESPONSE_KINDS {
        for seed in 0..SEEDS {
            let (sent, surroundings) = Samples::new(seed).any_response(kind);
            let encoded = wire::encode_from_node(Correlation(seed), &sent, &surroundings).expect("it fits");
            let bytes = encoded.to_bytes();
            assert_eq!(bytes.len(), encoded.size());
            let frames = frames(&bytes, 1 + seed as usize * 7);
            assert_eq!(frames.len(), 1);
            let answered = wire::decode_from_node(frames[0].clone()).expect("it is a response");
            assert_eq!(answered.correlation, Correlation(seed));
            assert_eq!(answered.message, as_received(sent), "kind {kind}, seed {seed}");
            assert_eq!(answered.surroundings, surroundings, "kind {kind}, seed {seed}");
        }
    }
}

#[test]
fn frames_come_out_however_the_bytes_are_cut() {
    let mut stream = Vec::new();
    let mut count = 0;
    for seed in 0..40 {
        for kind in 0..REQUEST_KINDS {
            let sent = Samples::new(seed).any_request(kind);
            let frame = wire::encode_to_node(Correlation(count), &sent).expect("it fits");
            stream.extend_from_slice(&frame.to_bytes());
            count += 1;
        }
    }
    for portion in [1, 7, 8, 9, 61, 4096, 100_000, stream.len()] {
        let frames = frames(&stream, portion);
        assert_eq!(frames.len() as u64, count);
        for (expected, frame) in (0..).zip(frames) {
            assert_eq!(wire::decode_to_node(frame).expect("sound").correlation, Correlation(expected));
        }
    }
}

fn produce_of(batches: Vec<Result<Bytes, ErrorCode>>) -> Request {
    Request::Produce(ProduceRequest {
        acks: Acks::All,
        timeout: Duration::from_secs(30),
        partitions: (0..)
            .zip(batches)
            .map(|(partition, batch)| ProducePartition {
                topic: TopicRef::Name(TopicName::new("t")),
                partition: PartitionId(partition),
                batch: batch.map(|mut bytes| tidelog_core::record::Batch::parse(&mut bytes).expect("ours")),
            })
            .collect(),
    })
}

#[test]
fn records_are_not_copied_on_the_way_out_nor_on_the_way_in() {
    let batch = Samples::new(1).batch();
    let request = produce_of(vec![Ok(batch.to_bytes())]);
    let Request::Produce(produce) = &request else { unreachable!("built above") };
    let body = produce.partitions[0].batch.as_ref().expect("ours").body().clone();
    let encoded = wire::encode_request(Correlation(1), &request).expect("it fits");
    assert!(encoded.pieces().iter().any(|piece| piece.as_ptr() == body.as_ptr()), "the body is a piece of its own");

    let frame = frames(&encoded.to_bytes(), usize::MAX).remove(0);
    let received = frame.body.clone();
    let asked = wire::decode_to_node(frame).expect("sound");
    let Ok(ToNode::Request(Request::Produce(produce))) = asked.message else { panic!("a produce request was sent") };
    let batch = produce.partitions[0].batch.as_ref().expect("whole");
    assert_eq!(batch.body().as_ptr(), received[61..].as_ptr(), "the batch lies in the read buffer");
}

#[test]
fn a_bad_batch_spoils_its_own_partition_alone() {
    let good = Samples::new(1).batch();
    let request = produce_of(vec![Ok(good.to_bytes()), Ok(good.to_bytes()), Ok(good.to_bytes())]);
    let mut bytes = wire::encode_request(Correlation(1), &request).expect("it fits").to_bytes().to_vec();
    // One bit of the second batch's last byte.
    let at = bytes.len() - good.size() - 1;
    bytes[at] ^= 1;
    let asked = wire::decode_to_node(frames(&bytes, usize::MAX).remove(0)).expect("sound");
    let Ok(ToNode::Request(Request::Produce(produce))) = asked.message else { panic!("a produce request was sent") };
    let batches: Vec<_> = produce.partitions.into_iter().map(|partition| partition.batch).collect();
    assert_eq!(batches, [Ok(good.clone()), Err(ErrorCode::CorruptMessage), Ok(good)]);
}

#[test]
fn a_message_too_large_for_a_frame_is_not_encoded() {
    let batch = {
        let mut builder = tidelog_core::record::BatchBuilder::new();
        let value = vec![0; 40 << 20];
        builder.append(0, tidelog_core::time::Timestamp(0), None, Some(&value), []);
        builder.build(&tidelog_core::record::BatchOptions::default()).to_bytes()
    };
    let two = produce_of(vec![Ok(batch.clone()), Ok(batch.clone())]);
    assert!(wire::encode_request(Correlation(1), &two).is_ok());
    let three = produce_of(vec![Ok(batch.clone()), Ok(batch.clone()), Ok(batch)]);
    let error = wire::encode_request(Correlation(1), &three).expect_err("120 MiB exceed a frame");
    assert!(error.body > limits::FRAME_BYTES_MAX);
}
