//! The load generator's parts, for its own program and for the benchmarks that drive it.
//!
//! ```text
//!   arguments ─▶ plan ─▶ run ─┬─▶ generator (one a thread) ─▶ connection ─▶ transport ─▶ the server
//!                sweep ─▶ run │      schedule, load, mails      smtp::Client
//!                             └── seconds, tallies ─▶ summary ─▶ report ─▶ text, JSON, CSV, page
//! ```
//!
//! [`run`] makes one run: threads of [`generator`], each a loop over its [`connection`]s, with what these share in
//! [`load`] and the stretches of the run in [`timeline`]. [`tally`] is what they count, [`summary`] makes the document
//! [`report::Report`] of it. [`sweep`] makes several runs. [`ledger`] and [`verify`] prove what was accepted.
#![forbid(unsafe_code)]

pub mod alarm;
pub mod arguments;
pub mod compare;
pub mod connection;
mod decimal;
pub mod descriptors;
pub mod distribution;
pub mod exit;
pub mod generator;
pub mod ledger;
pub mod live;
pub mod load;
pub mod mail_id;
pub mod mails;
pub mod objective;
pub mod opener;
pub mod output;
pub mod plan;
pub mod processor;
pub mod report;
pub mod run;
pub mod schedule;
pub mod sources;
pub mod summary;
pub mod sweep;
pub mod tally;
pub mod teller;
pub mod timeline;
pub mod transport;
pub mod verify;
