//! What all sessions of a service have in common: its names, its limits, and what it offers.

use crate::limits::REPLY_MAX;
use crate::wire::sasl::Offer;

/// What all sessions of a server have in common.
#[derive(Debug)]
pub struct Profile {
    pub(super) banner: String,
    pub(super) hello: String,
    pub(super) extensions: String,
    pub(super) security: Security,
    pub(super) message_size_max: u64,
    pub(super) recipients_max: usize,
}

/// What a service has to keep its sessions safe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Security {
    /// STARTTLS is offered (RFC 3207).
    pub starttls: bool,
    /// When AUTH is offered and taken (RFC 4954).
    pub auth: Offer,
    /// Nobody sends who did not log in (RFC 6409 4.3).
    pub auth_required: bool,
}

impl Profile {
    /// A profile of our name (in the banner followed by `remark`, if there is one), the largest message in octets, and
    /// the most recipients.
    pub fn new(hostname: &str, remark: &str, message_size_max: u64, recipients_max: usize) -> Profile {
        let gap = if remark.is_empty() { "" } else { " " };
        let profile = Profile {
            banner: format!("220 {hostname} ESMTP fastsmtp{gap}{remark}\r\n"),
            hello: format!("{hostname}\r\n"),
            extensions: format!(
                "250-PIPELINING\r\n250-SIZE {message_size_max}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                 250-CHUNKING\r\n250-BINARYMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 LIMITS RCPTMAX={recipients_max}\r\n"
            ),
            security: Security::default(),
            message_size_max,
            recipients_max,
        };
        assert!(
            profile.hello.len() + profile.extensions.len() + SECURITY_EXTENSIONS_MAX <= REPLY_MAX
                && profile.banner.len() <= 512,
            "the host name is too long"
        );
        profile
    }

    /// The same with this security.
    pub fn with(self, security: Security) -> Profile {
        assert!(
            !security.auth_required || security.auth != Offer::Never,
            "AUTH is required and never offered"
        );
        Profile { security, ..self }
    }
}

/// Octets of the lines that the reply to EHLO has for security.
const SECURITY_EXTENSIONS_MAX: usize = 80;
