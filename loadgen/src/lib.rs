//! The load generator's parts, for its own program and for the benchmarks that drive it.
#![forbid(unsafe_code)]

mod decimal;
pub mod distribution;
pub mod ledger;
pub mod mail_id;
pub mod mails;
pub mod objective;
pub mod report;
pub mod sources;
pub mod verify;
