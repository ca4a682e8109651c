//! Frames written by earlier builds, kept as text in `testdata/wire`: each must go on meaning what it meant.
//!
//! A file's comment lines are the message as Rust shows it, the others its frame in hexadecimal. To add files for new
//! kinds of messages run the test with `TIDELOG_GOLDEN=add`; a frame that is there is never rewritten. What it means
//! says of a field that is newer than the frame that it has its default.

use std::{env, fmt::Write, fs, path::PathBuf};

use tidelog_client::wire::{self, Correlation, Frame, FrameReader, Hello, ToNode};
use tidelog_core::{ids::NodeId, limits};

use crate::samples::{REQUEST_KINDS, RESPONSE_KINDS, Samples};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/wire"))
}

fn show(bytes: &[u8], request: bool) -> String {
    let mut reader = FrameReader::new(limits::FRAME_BYTES_MAX);
    reader.feed(&wire::preamble(wire::VERSION));
    reader.feed(bytes);
    let frame: Frame = reader.next().expect("a frame").expect("a whole frame");
    if request {
        format!("{:#?}", wire::decode_to_node(frame).expect("sound"))
    } else {
        format!("{:#?}", wire::decode_from_node(frame).expect("sound"))
    }
}

fn add(name: &str, bytes: &[u8]) {
    let path = folder().join(name).with_extension("hex");
    if path.exists() {
        return;
    }
    let mut text = String::new();
    for line in show(bytes, name.starts_with("request")).lines() {
        writeln!(text, "# {line}").expect("a string takes everything");
    }
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").expect("a string takes everything");
        }
        text.push('\n');
    }
    fs::create_dir_all(folder()).expect("it can be made");
    fs::write(path, text).expect("it can be written");
}

/// The first seed whose message is of a size that shows something; messages of some kinds are small.
fn sample(encode: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    (0..100).map(&encode).find(|bytes| bytes.len() > 150).unwrap_or_else(|| encode(3))
}

fn add_missing() {
    for kind in 0..REQUEST_KINDS {
        let bytes = match kind {
            0 | 6 | 8 => wire::encode_to_node(Correlation(5), &Samples::new(3).any_request(kind))
                .expect("fits")
                .to_bytes()
                .into(),
            _ => sample(|seed| {
                wire::encode_to_node(Correlation(seed), &Samples::new(seed).any_request(kind))
                    .expect("fits")
                    .to_bytes()
                    .into()
            }),
        };
        add(&format!("request-{kind:02}"), &bytes);
    }
    let greeting = Hello {
        software: "tidelog/0.1.0".to_owned(),
        features: 0,
        node: Some(NodeId(2)),
        cluster_id: Some("5L6g3nShT-eMCtK--X86sw".to_owned()),
    };
    let greeting = wire::encode_to_node(Correlation(0), &ToNode::Hello(greeting)).expect("fits");
    add("request-00-node", &greeting.to_bytes());
    for kind in 0..RESPONSE_KINDS {
        let encode = |seed| -> Vec<u8> {
            let (message, surroundings) = Samples::new(seed).any_response(kind);
            wire::encode_from_node(Correlation(seed), &message, &surroundings).expect("fits").to_bytes().into()
        };
        let bytes = if matches!(kind, 0 | 1 | 7) { encode(3) } else { sample(encode) };
        add(&format!("response-{kind:02}"), &bytes);
    }
}

#[test]
fn frames_of_earlier_builds_mean_what_they_meant() {
    if env::var_os("TIDELOG_GOLDEN").is_some_and(|value| value == "add") {
        add_missing();
    }
    let mut files = 0;
    for entry in fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let text = fs::read_to_string(&path).expect("it can be read");
        let mut meaning = String::new();
        let mut bytes = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some(comment) => meaning.push_str(&format!("{comment}\n")),
                None => bytes.extend(
                    (0..line.len())
                        .step_by(2)
                        .map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal")),
                ),
            }
        }
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        assert_eq!(show(&bytes, name.starts_with("request")), meaning.trim_end(), "{name}");
        files += 1;
    }
    assert!(files as u64 >= REQUEST_KINDS + RESPONSE_KINDS, "every kind of message has its file");
}
