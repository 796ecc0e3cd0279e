//! SMTP as values (RFC 5321 and its extensions): commands, addresses, replies, messages, the server's session and the
//! client's. Pure: no socket, clock, disk, thread or logger.

mod address;
pub mod client;
mod message;

pub use address::{Address, AddressError, Path, is_domain, is_host_name};
pub use message::{Body, Envelope, Message};
