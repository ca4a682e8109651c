//! The native protocol's bytes: every message survives the way there and back, no byte from outside harms, and what
//! was once written can still be read.

mod hostile;
mod peer_samples;
mod round_trip;
mod samples;
mod golden;
