//! What a client tells its driver: one event for each reply, or the error that leaves no common ground.

use std::fmt;

use super::{Reply, ReplyError};
use crate::wire::sasl::{Mechanism, SaslError};

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The server's greeting.
    Banner,
    /// EHLO, or LHLO (RFC 2033).
    Ehlo,
    /// HELO, after an EHLO that was refused.
    Helo,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH, or a line of the exchange that it begins (RFC 4954).
    Auth,
    /// MAIL.
    Mail,
    /// One RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The final dot, or BDAT LAST with its octets: whether the server took responsibility; in LMTP for one recipient.
    Accept,
    /// The lone dot that ends a DATA which the server granted though it took no recipient (RFC 2920 3.1).
    Cancel,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// Nothing: a 421 out of the blue.
    Unasked,
}

/// One reply, and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it answers.
    pub phase: Phase,
    /// Of a reply to RCPT, and of one after the data in LMTP: the index of its forward-path in the envelope.
    pub recipient: Option<usize>,
    /// The reply.
    pub reply: Reply<'a>,
}

/// A service extension that a client may insist on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// CHUNKING (RFC 3030).
    Chunking,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH with a mechanism that we speak (RFC 4954).
    Auth,
    /// AUTH with this mechanism, which was chosen.
    Mechanism(Mechanism),
}

/// What a server did that leaves no common ground: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It said something that is no reply.
    Reply(ReplyError),
    /// It replied, with this code, while nothing was asked.
    Unasked(u16),
    /// It replied, with this code, to what was not yet said whole.
    Early(Phase, u16),
    /// It replied with a code that has no meaning there.
    OutOfPlace(Phase, u16),
    /// It does not offer what our manner insists on.
    NotOffered(Extension),
    /// It refused STARTTLS, with this code, and nothing may be said in the clear.
    TlsRefused(u16),
    /// Octets stood behind its reply to STARTTLS: somebody between us may have put them there, to be taken for what is
    /// said under TLS (CVE-2021-38371).
    Injected,
    /// It offers no better mechanism than this, which would give the password to whoever reads along.
    InTheClear(Mechanism),
    /// What it said in an exchange of AUTH has no sense, or shows that it is not who it should be.
    Sasl(SaslError),
}

impl From<SaslError> for Error {
    fn from(error: SaslError) -> Error {
        Error::Sasl(error)
    }
}

impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Error {
        Error::Reply(error)
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extension::Chunking => f.write_str("CHUNKING"),
            Extension::StartTls => f.write_str("STARTTLS"),
            Extension::Auth => f.write_str("AUTH with a mechanism that we speak"),
            Extension::Mechanism(mechanism) => write!(f, "AUTH {}", mechanism.name()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Reply(error) => error.fmt(f),
            Error::Unasked(code) => write!(f, "the server said {code} without being asked"),
            Error::Early(phase, code) => {
                write!(f, "the server said {code} ({phase:?}) before it could have all it answers")
            }
            Error::OutOfPlace(phase, code) => write!(f, "the reply {code} has no meaning there ({phase:?})"),
            Error::NotOffered(extension) => write!(f, "the server does not offer {extension}"),
            Error::TlsRefused(code) => write!(f, "the server refused STARTTLS with {code}"),
            Error::Injected => f.write_str("octets stand between the reply to STARTTLS and the handshake"),
            Error::InTheClear(mechanism) => {
                write!(f, "AUTH {} without TLS would show the password to others", mechanism.name())
            }
            Error::Sasl(error) => write!(f, "the server failed in AUTH: {error}"),
        }
    }
}

impl std::error::Error for Error {}
