//! What all sessions of a service have in common: its name, and what it offers.

use crate::wire::sasl::Offer;

/// What all sessions of a service have in common.
#[derive(Debug)]
pub struct Profile {
    pub(super) greeting: String,
    pub(super) security: Security,
}

/// What a service has to keep its sessions safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Security {
    /// STLS is offered (RFC 2595 4).
    pub starttls: bool,
    /// When logins are offered and taken, by USER and PASS or by AUTH.
    pub auth: Offer,
}

impl Profile {
    /// A profile of our name, without security.
    pub fn new(hostname: &str) -> Profile {
        // No angle brackets: they would offer APOP (RFC 1939 7).
        let greeting = format!("{hostname} POP3 fastsmtp ready");
        assert!(greeting.len() <= GREETING_MAX, "the host name is too long");
        Profile { greeting, security: Security::default() }
    }

    /// The same with this security.
    pub fn with(self, security: Security) -> Profile {
        Profile { security, ..self }
    }
}

/// Octets of the greeting: a first line has 512 with `+OK ` and CRLF (RFC 2449 4).
const GREETING_MAX: usize = 506;
