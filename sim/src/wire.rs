//! Messages through the native protocol's own codec, there and back.
//!
//! In some seeds nothing crosses the simulated network but bytes: what one end encodes the other decodes, in the frames
//! that the real listeners and clients exchange.

use tidelog_client::wire::{
    Asked, Correlation, FrameReader, FromNode, Surroundings, ToNode, VERSION, decode_from_node, decode_to_node,
    encode_request, encode_response, preamble,
};
use tidelog_core::{
    limits::FRAME_BYTES_MAX,
    message::{Request, Response},
};

use crate::check::{Violation, violation};

const CODE: &str = "C1";

fn broken(what: &str, why: impl std::fmt::Display) -> Violation {
    violation(CODE, "codec", what, why.to_string())
}

fn frame(bytes: &[u8]) -> Result<tidelog_client::wire::Frame, Violation> {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    reader.feed(&preamble(VERSION));
    reader.feed(bytes);
    match reader.next() {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(broken("frame", "a whole frame is not taken for one")),
        Err(error) => Err(broken("frame", error)),
    }
}

/// A request as the node gets it. It must be the one that was sent.
pub fn request(request: &Request) -> Result<Request, Violation> {
    let encoded = encode_request(Correlation(7), request).map_err(|error| broken("request", error))?;
    let asked = decode_to_node(frame(&encoded.to_bytes())?).map_err(|error| broken("request", error))?;
    match asked {
        Asked { correlation: Correlation(7), message: Ok(ToNode::Request(decoded)) } if decoded == *request => {
            Ok(decoded)
        }
        other => Err(broken("request", format!("{request:?} became {other:?}"))),
    }
}

/// A response as the client gets it. Its batches come in another shape than they left in, so they are not compared
/// here; whoever reads them compares their contents.
pub fn response(response: &Response) -> Result<Response, Violation> {
    let encoded = encode_response(Correlation(7), response, &Surroundings::default())
        .map_err(|error| broken("response", error))?;
    let answered = decode_from_node(frame(&encoded.to_bytes())?).map_err(|error| broken("response", error))?;
    match answered.message {
        FromNode::Response(decoded) if answered.correlation == Correlation(7) => Ok(decoded),
        other => Err(broken("response", format!("{response:?} became {other:?}"))),
    }
}
