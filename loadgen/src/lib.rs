//! The load generator's parts, for its own program and for the benchmarks that drive it.
#![forbid(unsafe_code)]

pub mod compare;
pub mod report;
