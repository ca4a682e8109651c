//! The native protocol from anywhere: framing, Cap'n Proto headers, and their conversion to the core's messages.
//!
//! The input is what a peer sends after its preamble. Its length decides in pieces of
//! how many bytes it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog_client::wire::{self, FrameReader};
use tidelog_core::limits;

fuzz_target!(|input: &[u8]| {
    let mut reader = FrameReader::new(limits::FRAME_BYTES_MAX);
    reader.feed(&wire::preamble(wire::VERSION));
    for piece in input.chunks(1 + input.len() % 97) {
        reader.feed(piece);
        loop {
            match reader.next() {
                Ok(Some(frame)) => {
                    let _ = wire::decode_to_node(frame.clone());
                    let _ = wire::decode_from_node(frame);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
