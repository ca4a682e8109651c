//! The storage engine's disk on real files.
