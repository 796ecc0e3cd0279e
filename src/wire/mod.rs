//! Bytes only: finding lines, the end of mail data, bytes that wait to be written, and the messages of SASL. No protocol
//! beyond line ends and dots, and what a mechanism says.

pub mod data;
pub mod line;
mod outbox;
pub mod sasl;

pub use outbox::Outbox;
