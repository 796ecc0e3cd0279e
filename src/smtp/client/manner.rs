//! How a client speaks: what it calls itself, how it groups its commands, and what it insists on.

use std::sync::Arc;

use super::Credentials;
use crate::smtp::is_host_name;

/// How a client speaks; shared by all connections that speak alike.
#[derive(Debug)]
pub struct Manner {
    /// How it introduces itself.
    pub hello: Hello,
    /// How the commands of an envelope are sent.
    pub grouping: Grouping,
    /// Whether STARTTLS is said.
    pub starttls: StartTls,
    /// For AUTH (RFC 4954) before the first transaction; none for a client that stays a stranger.
    pub credentials: Option<Arc<Credentials>>,
}

/// How the commands of an envelope are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// One command, one reply.
    Lockstep,
    /// MAIL, RCPT and DATA as one group where the server offers PIPELINING (RFC 2920), else in lockstep.
    Pipelined,
    /// MAIL, RCPT, and the data as one chunk behind `BDAT LAST`: all of it at once where the server offers PIPELINING,
    /// else in lockstep. A server without CHUNKING (RFC 3030) is an error.
    Chunked,
}

/// Whether a client asks for TLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// It does not.
    Never,
    /// Where the server offers it. Who listens between can take the offer away: no protection against an attacker.
    WhenOffered,
    /// Always; a server that does not offer or grant it is an error.
    Required,
}

/// How a client introduces itself.
#[derive(Debug)]
pub struct Hello {
    /// EHLO or LHLO.
    first: String,
    /// HELO, for a server that refuses EHLO; none in LMTP, which has no such thing.
    fall_back: Option<String>,
}

impl Hello {
    /// With EHLO, or else HELO, as the host `name`, which must be one ([`is_host_name`]).
    pub fn new(name: &str) -> Hello {
        Hello { first: line("EHLO", name), fall_back: Some(line("HELO", name)) }
    }

    /// With LHLO (RFC 2033 4.1), as the host `name`, which must be one. The client then speaks LMTP: it awaits a reply
    /// for each recipient after the data.
    pub fn lmtp(name: &str) -> Hello {
        Hello { first: line("LHLO", name), fall_back: None }
    }

    /// Whether LMTP is spoken.
    pub fn is_lmtp(&self) -> bool {
        self.fall_back.is_none()
    }

    /// EHLO or LHLO.
    pub(super) fn first(&self) -> &[u8] {
        self.first.as_bytes()
    }

    /// HELO.
    pub(super) fn fall_back(&self) -> &[u8] {
        self.fall_back.as_deref().unwrap_or_default().as_bytes()
    }
}

fn line(command: &str, name: &str) -> String {
    assert!(is_host_name(name), "not a host name: {name:?}");
    format!("{command} {name}\r\n")
}
