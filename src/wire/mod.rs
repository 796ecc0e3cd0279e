//! Bytes only: finding lines, the end of mail data, and bytes that wait to be written. No protocol beyond line ends
//! and dots.

pub mod data;
pub mod line;
mod outbox;

pub use outbox::Outbox;
