//! Runs the core: requests and job outcomes in, answers and jobs out.

mod handle;

pub use handle::{NodeHandle, Stopped};
