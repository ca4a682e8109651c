//! Bytes from outside: cut, bent, invented. Each gets a typed error, none a panic or memory that it did not pay for.

use bytes::Bytes;
use tidelog_client::wire::{self, Correlation, DecodeError, Frame, FrameError, FrameReader};
use tidelog_core::{limits, message::ErrorCode, prng::Prng};
use tidelog_schemas::native_capnp as schema;

use crate::samples::{REQUEST_KINDS, RESPONSE_KINDS, Samples};

fn reader() -> FrameReader {
    let mut reader = FrameReader::new(limits::FRAME_BYTES_MAX);
    reader.feed(&wire::preamble(wire::VERSION));
    reader
}

fn lengths(frame: u32, header: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&frame.to_le_bytes());
    bytes[4..].copy_from_slice(&header.to_le_bytes());
    bytes
}

#[test]
fn another_protocol_is_recognised_at_its_first_wrong_byte() {
    let mut http = FrameReader::new(limits::FRAME_BYTES_MAX);
    http.feed(b"T");
    assert_eq!(http.next(), Ok(None));
    http.feed(b"R");
    assert_eq!(http.next(), Err(FrameError::Magic { found: *b"TR\0\0" }));
    let mut zero = FrameReader::new(limits::FRAME_BYTES_MAX);
    zero.feed(b"TIDE\0\0");
    assert_eq!(zero.next(), Err(FrameError::Version { version: 0 }));
    let mut newer = FrameReader::new(limits::FRAME_BYTES_MAX);
    newer.feed(b"TIDE\xff\x01");
    assert_eq!(newer.next(), Ok(None));
    assert_eq!(newer.peer_version(), Some(0x1ff));
}

#[test]
fn lengths_are_judged_before_their_bytes_come() {
    let mut huge = reader();
    huge.feed(&lengths(u32::MAX, 16));
    assert_eq!(huge.next(), Err(FrameError::TooLarge { length: u32::MAX as usize, limit: limits::FRAME_BYTES_MAX }));
    let mut header = reader();
    header.feed(&lengths(90 << 20, 9 << 20));
    assert!(matches!(header.next(), Err(FrameError::HeaderTooLarge { .. })));
    for (frame, header) in [(0, 0), (3, 0), (10, 7), (4, 1)] {
        let mut short = reader();
        short.feed(&lengths(frame, header));
        assert!(matches!(short.next(), Err(FrameError::HeaderLength { .. })), "{frame} {header}");
    }
}

#[test]
fn a_promise_of_bytes_reserves_little() {
    let mut reader = reader();
    reader.feed(&lengths(limits::FRAME_BYTES_MAX as u32, 100));
    assert_eq!(reader.next(), Ok(None));
    assert!(reader.room().capacity() <= 4 << 20, "8 bytes do not reserve 100 MiB");
}

#[test]
fn a_large_frame_arrives_through_growing_room() {
    let size = 40 << 20;
    let mut reader = reader();
    reader.feed(&lengths(4 + size as u32, 0));
    let mut left = size;
    while left > 0 {
        assert_eq!(reader.next(), Ok(None));
        let room = reader.room();
        let portion = (room.capacity() - room.len()).min(left);
        assert!(portion > 0, "there is room while bytes are missing");
        room.resize(room.len() + portion, 7);
        left -= portion;
    }
    let frame = reader.next().expect("sound").expect("whole");
    assert_eq!(frame.body.len(), size);
}

/// Decoding must come back, with whatever.
fn decode_both(frame: &Frame) {
    let _ = wire::decode_to_node(frame.clone()).map(|asked| asked.message.map_err(|error| error.code()));
    let _ = wire::decode_from_node(frame.clone());
}

#[test]
fn bent_and_cut_frames_never_panic() {
    let mut prng = Prng::new(0x7469_6465);
    for round in 0..300 {
        for kind in 0..REQUEST_KINDS.max(RESPONSE_KINDS) {
            let mut samples = Samples::new(round);
            let bytes = if kind < REQUEST_KINDS && prng.chance(1, 2) {
                wire::encode_to_node(Correlation(1), &samples.any_request(kind)).expect("it fits").to_bytes()
            } else {
                let (message, surroundings) = samples.any_response(kind.min(RESPONSE_KINDS - 1));
                wire::encode_from_node(Correlation(1), &message, &surroundings).expect("it fits").to_bytes()
            };
            let mut bent = bytes.to_vec();
            for _ in 0..=prng.below(4) {
                let at = prng.below(bent.len() as u64) as usize;
                bent[at] = match prng.below(3) {
                    0 => 0xff,
                    1 => bent[at] ^ (1 << prng.below(8)),
                    _ => prng.next_u64() as u8,
                };
            }
            bent.truncate(bent.len() - prng.below(2) as usize * prng.below(bent.len() as u64) as usize);
            let mut reader = reader();
            reader.feed(&bent);
            while let Ok(Some(frame)) = reader.next() {
                decode_both(&frame);
            }
            // And the header alone, cut at every place, with whatever body.
            let header = bytes.slice(8..);
            let cut = prng.below(header.len() as u64 + 1) as usize;
            decode_both(&Frame { header: header.slice(..cut), body: header.slice(cut..) });
        }
    }
}

#[test]
fn invented_headers_never_panic() {
    let mut prng = Prng::new(42);
    for _ in 0..20_000 {
        let words = 1 + prng.below(12) as usize;
        let mut header = vec![0; 8];
        header[4..8].copy_from_slice(&(words as u32).to_le_bytes());
        for _ in 0..words {
            // Small numbers make pointers that hit something.
            let word =
                prng.next_u64() >> prng.below(64) & if prng.chance(1, 2) { 0x0000_000f_0000_001f } else { u64::MAX };
            header.extend_from_slice(&word.to_le_bytes());
        }
        decode_both(&Frame { header: header.into(), body: Bytes::from_static(b"body") });
    }
}

/// A produce request whose list of partitions is said to have `count` elements of no words each.
fn produce_of_nothing(count: u32) -> Frame {
    let words: [u64; 8] = [
        7 << 32,           // one segment of seven words
        0x0001_0002 << 32, // root: two words of data, one pointer
        7,                 // correlation
        1,                 // kind: produce
        0x0001_0001 << 32, // ProduceRequest: one word of data, one pointer
        0,                 // acks, timeout
        7 << 32 | 1,       // a list of structs, no words in all
        u64::from(count) << 2,
    ];
    Frame { header: words.iter().flat_map(|word| word.to_le_bytes()).collect(), body: Bytes::new() }
}

#[test]
fn a_list_without_substance_is_not_believed() {
    let message = |count| wire::decode_to_node(produce_of_nothing(count)).expect("there is a correlation").message;
    assert!(message(10).is_ok());
    assert_eq!(message(50), Err(DecodeError::TooManyItems { limit: 16 }));
    assert!(matches!(message(1 << 28), Err(DecodeError::Capnp(_))));
}

#[test]
fn a_request_names_only_so_many_partitions() {
    let mut message = capnp::message::Builder::new_default();
    let mut request = message.init_root::<schema::request::Builder<'_>>();
    request.set_correlation(7);
    request.init_produce().init_partitions(200_000);
    let header = Bytes::from(capnp::serialize::write_message_to_words(&message));
    assert!(header.len() < limits::NATIVE_HEADER_BYTES_MAX);
    let asked = wire::decode_to_node(Frame { header, body: Bytes::new() }).expect("the correlation is there");
    assert_eq!(asked.correlation, Correlation(7));
    assert_eq!(asked.message, Err(DecodeError::TooManyItems { limit: limits::REQUEST_ITEMS_MAX }));
}

#[test]
fn record_counts_must_be_those_of_the_body() {
    let header = |bytes: &[u32]| {
        let mut message = capnp::message::Builder::new_default();
        let request = message.init_root::<schema::request::Builder<'_>>();
        let mut partitions = request.init_produce().init_partitions(bytes.len() as u32);
        for (index, bytes) in (0..).zip(bytes) {
            let mut partition = partitions.reborrow().get(index);
            partition.set_records_bytes(*bytes);
            partition.init_topic().set_name("t");
        }
        Bytes::from(capnp::serialize::write_message_to_words(&message))
    };
    let body = Bytes::from_static(&[0; 10]);
    let decode = |bytes: &[u32]| {
        wire::decode_to_node(Frame { header: header(bytes), body: body.clone() }).expect("sound").message.map(drop)
    };
    assert_eq!(decode(&[4, 6]), Ok(()));
    assert_eq!(decode(&[4, 5]), Err(DecodeError::Body { counted: 9, present: 10 }));
    assert_eq!(decode(&[4, 7]), Err(DecodeError::Body { counted: 11, present: 10 }));
    assert!(decode(&[u32::MAX, u32::MAX]).is_err());
}

#[test]
fn only_what_clients_say_is_handed_on() {
    let decode = |fill: &dyn Fn(schema::request::Builder<'_>)| {
        let mut message = capnp::message::Builder::new_default();
        let root = message.init_root::<schema::request::Builder<'_>>();
        fill(root.init_peer().init_forward());
        let header = Bytes::from(capnp::serialize::write_message_to_words(&message));
        wire::decode_to_node(Frame { header, body: Bytes::new() }).expect("there is a correlation").message.map(drop)
    };
    assert_eq!(decode(&|mut to| to.set_describe_cluster(())), Ok(()));
    assert_eq!(decode(&|to| to.init_hello().set_features(1)), Err(DecodeError::Nested));
    assert_eq!(decode(&|to| to.init_peer().set_ping(())), Err(DecodeError::Nested));
    // However deep: the first level says it.
    let deep = |to: schema::request::Builder<'_>| {
        let mut to = to.init_peer().init_forward();
        for _ in 0..10_000 {
            to = to.init_peer().init_forward();
        }
        to.set_describe_cluster(());
    };
    assert_eq!(decode(&deep), Err(DecodeError::Nested));
}

#[test]
fn what_a_newer_client_says_is_refused_by_its_kind() {
    let mut message = capnp::message::Builder::new_default();
    message.init_root::<schema::request::Builder<'_>>().set_describe_cluster(());
    let mut header = capnp::serialize::write_message_to_words(&message);
    // The discriminant stands in the second data word of the root, behind the segment table and the root's pointer.
    assert_eq!(header[24..26], [8, 0]);
    header[24..26].copy_from_slice(&[200, 0]);
    let asked = wire::decode_to_node(Frame { header: header.into(), body: Bytes::new() }).expect("sound");
    let error = asked.message.expect_err("nobody knows this kind");
    assert_eq!(error, DecodeError::Unknown { what: "the kind" });
    assert_eq!(error.code(), ErrorCode::UnsupportedVersion);
}
