//! Frames from a Kafka client: a request, or an error that costs the sender its connection.
//!
//! The input is one frame without its length.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidelog_server::kafka::check_frame(&Bytes::copy_from_slice(input));
});
