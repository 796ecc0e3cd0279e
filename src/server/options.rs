//! What the operator chose.

use std::time::Duration;

use super::clients::ClientLimits;
use crate::limits::{
    CONNECTIONS_MAX, MEMORY_DEFAULT, MESSAGE_SIZE_DEFAULT, RECIPIENTS_MAX_DEFAULT, SPILL_BEYOND,
    SPOOL_SIZE_DEFAULT,
};
use crate::net::network::Network;

/// What the operator chose, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name we give in the banner, in EHLO and in Received fields.
    pub hostname: String,
    /// The domains whose mail we take, as [`Address::domain_key`](crate::smtp::Address::domain_key) spells them, the
    /// first of them `<postmaster>`'s; if empty, those of the accounts are, or every domain where there is no accounts file.
    pub local_domains: Vec<String>,
    /// Whether a sender of ours that no account has is refused.
    pub require_known_sender: bool,
    /// Whether passwords may come without TLS.
    pub allow_plaintext_auth: bool,
    /// What becomes of accepted mail.
    pub deliver: Deliver,
    /// What a 250 means.
    pub durability: Durability,
    /// Octets of the largest message.
    pub message_size_max: u64,
    /// Recipients of one message.
    pub recipients_max: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// What each client may bring.
    pub client_limits: ClientLimits,
    /// Those who say by the PROXY protocol for whom they speak, and are believed.
    pub trusted_proxies: Vec<Network>,
    /// Octets of mail data in memory, all connections together.
    pub memory: u64,
    /// Octets of mail data that a message keeps in memory before it goes to a file of its own; a sixteenth of that while
    /// half of the memory is in use.
    pub spill_beyond: usize,
    /// Octets of the spool on disk.
    pub spool_size: u64,
    /// How long a client may take for one whole command (RFC 5321 4.5.3.2.7: 5 minutes).
    pub command_timeout: Duration,
    /// How long mail data may pause (RFC 5321 4.5.3.2.5: 3 minutes).
    pub data_timeout: Duration,
    /// How long a connection may last.
    pub session_timeout: Duration,
    /// How long a stopping server waits for transactions and deliveries under way.
    pub shutdown_grace: Duration,
    /// How long the banner is held back to see who talks first; zero for not at all.
    pub greeting_delay: Duration,
}

impl Options {
    /// What holds for a server of this name where the operator said nothing, and the machine sets no bound.
    pub fn new(hostname: &str) -> Options {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Options {
            hostname: hostname.to_owned(),
            local_domains: Vec::new(),
            require_known_sender: false,
            allow_plaintext_auth: false,
            deliver: Deliver::Maildir,
            durability: Durability::Disk,
            message_size_max: MESSAGE_SIZE_DEFAULT,
            recipients_max: RECIPIENTS_MAX_DEFAULT,
            connections_max: CONNECTIONS_MAX,
            client_limits: ClientLimits::default(),
            trusted_proxies: Vec::new(),
            memory: MEMORY_DEFAULT,
            spill_beyond: SPILL_BEYOND,
            spool_size: SPOOL_SIZE_DEFAULT,
            command_timeout: minutes(5),
            data_timeout: minutes(3),
            session_timeout: minutes(60),
            shutdown_grace: Duration::from_secs(5),
            greeting_delay: Duration::ZERO,
        }
    }
}

/// What becomes of accepted mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// Into its recipients' Maildirs.
    Maildir,
    /// Nothing: it is thrown away, for measurements.
    Discard,
}

/// What a 250 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message is on disk: it survives kill -9 and power loss.
    Disk,
    /// The message is in memory: for comparisons only.
    None,
}

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Mail from everywhere for here (RFC 5321): TLS by STARTTLS, where there is a certificate.
    Smtp,
    /// Mail from our users (RFC 6409): TLS by STARTTLS.
    Submission,
    /// The same in TLS from the first octet (RFC 8314 3.3).
    Submissions,
    /// Mail for our users to read (RFC 1939): TLS by STLS.
    Pop3,
    /// The same in TLS from the first octet (RFC 8314 3.3).
    Pop3s,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] =
        [Service::Smtp, Service::Submission, Service::Submissions, Service::Pop3, Service::Pop3s];

    /// The option that names its addresses.
    pub fn key(self) -> &'static str {
        match self {
            Service::Smtp => "listen",
            Service::Submission => "listen-submission",
            Service::Submissions => "listen-submissions",
            Service::Pop3 => "listen-pop3",
            Service::Pop3s => "listen-pop3s",
        }
    }

    /// Its name among the registered services.
    pub fn name(self) -> &'static str {
        match self {
            Service::Smtp => "smtp",
            Service::Submission => "submission",
            Service::Submissions => "submissions",
            Service::Pop3 => "pop3",
            Service::Pop3s => "pop3s",
        }
    }

    /// Whether TLS begins before anything is said.
    pub fn is_in_tls(self) -> bool {
        matches!(self, Service::Submissions | Service::Pop3s)
    }

    /// Whether POP3 is spoken there, and else SMTP.
    pub fn is_pop3(self) -> bool {
        matches!(self, Service::Pop3 | Service::Pop3s)
    }
}
