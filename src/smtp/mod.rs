//! SMTP as values (RFC 5321 and its extensions): commands, addresses, replies, messages, the server's session and the
//! client's. Pure: no socket, clock, disk, thread or logger.

mod address;
pub mod client;
pub mod command;
mod message;
mod reply;
mod session;
pub mod trace;
mod transaction;

pub use address::{Address, AddressError, Path, domain_key, is_domain, is_host_name};
pub use message::{Body, Envelope, Message};
pub use reply::Reply;
pub use session::{CloseReason, Need, Profile, Progress, Security, Session};

pub use crate::wire::sasl::{ChannelBinding, Offer, SaslStep, ScramBasis, ScramKeys};
