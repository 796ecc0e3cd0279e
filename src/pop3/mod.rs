//! POP3 as values (RFC 1939 and its extensions): commands, replies, the maildrop as a session sees it, and the server's
//! session. Pure: no socket, clock, disk, thread or logger.
//!
//! What is deliberately absent: APOP, whose digest needs passwords in plain at the server, and LANG.

mod command;
mod maildrop;
mod reply;
mod session;

pub use maildrop::{Changes, Listed};
pub use reply::Refusal;
pub use session::{CloseReason, Need, Part, Profile, Progress, Security, Session, Wanted};

pub use crate::wire::sasl::{Bindings, Offer, SaslStep, ScramBasis};
