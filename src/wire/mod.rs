//! Bytes only: finding lines, the end of mail data, stored text on its way out, bytes that wait to be written, the messages of SASL, and a
//! proxy's header. No protocol beyond line ends and dots, what a mechanism says, and for whom a proxy speaks.

pub mod data;
pub mod line;
mod outbox;
pub mod proxy;
pub mod sasl;
pub mod stuffing;

pub use outbox::Outbox;
