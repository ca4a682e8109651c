//! The rules of the house that a compiler does not check, as tests over the source tree.
//!
//! A rule stands here when breaking it would cost the whole design and nobody would notice in review: a dependency
//! that runs upwards, a clock in the core, a file that only grows. Each test prints every breach, with file and line.

mod code;
mod files;
mod layers;
mod licences;
