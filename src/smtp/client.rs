//! The client's half of the dialogue: what to say, and what the server's replies mean (RFC 5321, 2920, 3030, 3207,
//! 4954, 2033).
//!
//! A [`Client`] is a value. Its driver writes what [`Client::output`] gives and says with [`Client::sent`] how much went
//! out; what it received it hands to [`Client::advance`], which gives one event for each reply. Between transactions
//! the client [is idle](Client::is_idle) until it is told to [`start`](Client::start) another or to
//! [`quit`](Client::quit). No socket, clock, thread or logger; a transaction that goes well allocates nothing, and what is
//! said is borrowed from its [`Manner`] and a [`Mail`], whose large parts many clients may share.
//!
//! ```text
//!   Banner ─▶ Ehlo ─┬─▶ StartTls ─▶ the driver's handshake, and Ehlo again
//!              │    └────┬─▶ Auth ─┬─▶ Idle ─▶ Envelope ─▶ Data ─▶ Idle ... ─▶ Quit ─▶ Over
//!              └─▶ Helo ─┴─────────┘             │  no recipient: Cancel (a lone dot) or Reset, then Idle
//!   421 at any time: Over
//! ```
//!
//! In a pipelined group MAIL, RCPT and DATA are one output, and the mail data with its end is the next, after the 354.
//! A chunk goes with its envelope as one output. LMTP has a reply for each recipient after the data.
//!
//! What our manner insists on and the server does not give (TLS, a chunk, a mechanism) is an [`Error`], never a silent step
//! down.

mod auth;
mod dialogue;
mod event;
mod extensions;
mod mail;
mod manner;
mod replies;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dialogue::Dialogue;

pub use auth::{ClearText, Credentials, CredentialsError, Half};
pub use event::{Error, Event, Extension, Phase};
pub use extensions::{Extensions, Mechanisms};
pub use mail::{Commands, Data, Form, Mail, stuff};
pub use manner::{Grouping, Hello, Manner, StartTls};
pub use replies::{Replies, Reply, ReplyError, Status};

pub use crate::wire::sasl::{Mechanism, SaslError};

/// A client in its dialogue.
#[derive(Debug)]
pub struct Client {
    replies: Replies,
    dialogue: Dialogue,
}

impl Client {
    /// One that waits for the banner. The `nonce` is this connection's own, from the caller's randomness: a mechanism of
    /// AUTH (SCRAM) makes the exchange a new one by it.
    pub fn new(manner: Arc<Manner>, nonce: u64) -> Client {
        Client { replies: Replies::new(), dialogue: Dialogue::new(manner, nonce) }
    }

    /// Takes note that the connection is under TLS from its first octet (RFC 8314 3.3): STARTTLS is not said. Only before
    /// the banner.
    pub fn secured_from_start(&mut self) {
        self.dialogue.secured_from_start();
    }

    /// Takes the next reply off `input`; none if there is no whole one, and then all of the input is taken. To be called
    /// until it gives none. A dialogue that [is over](Client::is_over) takes any input and gives nothing; one that
    /// [needs TLS](Client::needs_tls) bears no input at all.
    pub fn advance<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        if self.is_over() {
            *input = &[];
            return Ok(None);
        }
        let taken = take(&mut self.replies, &mut self.dialogue, input);
        if taken.is_err() {
            self.dialogue.end();
        }
        taken
    }

    /// What is to be sent now, as two slices for one vectored write; both are empty while a reply is awaited, or nothing
    /// is to be done, and the second often.
    pub fn output(&self) -> [&[u8]; 2] {
        self.dialogue.output()
    }

    /// Takes note that the first `count` octets of [`output`](Client::output) are sent. There may be more to be sent
    /// then.
    pub fn sent(&mut self, count: usize) {
        self.dialogue.sent(count);
    }

    /// Begins a transaction. Only for an [idle](Client::is_idle) client, and with data in the form of its grouping:
    /// [`Form::Chunk`] for [`Grouping::Chunked`], [`Form::Stuffed`] for the others.
    pub fn start(&mut self, mail: Mail) {
        self.dialogue.start(mail);
    }

    /// Ends the session with QUIT. Only for an [idle](Client::is_idle) client.
    pub fn quit(&mut self) {
        self.dialogue.quit();
    }

    /// Whether the server was greeted, all that comes before the first transaction is done, and none is under way.
    pub fn is_idle(&self) -> bool {
        self.dialogue.is_idle()
    }

    /// Whether nothing more will be said: QUIT was answered, the server said 421, or it made an error.
    pub fn is_over(&self) -> bool {
        self.dialogue.is_over()
    }

    /// Whether the server granted STARTTLS: the driver is to make the handshake now, from the next octet that it
    /// receives, and to say so with [`secured`](Client::secured).
    pub fn needs_tls(&self) -> bool {
        self.dialogue.needs_tls()
    }

    /// Takes note that the handshake is done: EHLO is said again, all that was known of the server is forgotten (RFC 3207
    /// 4.2). Only for a client that [needs it](Client::needs_tls).
    pub fn secured(&mut self) {
        self.dialogue.secured();
    }

    /// What the server offers; nothing before its reply to EHLO.
    pub fn extensions(&self) -> &Extensions {
        &self.dialogue.extensions
    }
}

fn take<'a, 'i: 'a>(
    replies: &'a mut Replies,
    dialogue: &mut Dialogue,
    input: &mut &'i [u8],
) -> Result<Option<Event<'a>>, Error> {
    dialogue.refuse_injected(input)?;
    let Some(reply) = replies.next(input)? else { return Ok(None) };
    let (phase, recipient) = dialogue.take(&reply)?;
    dialogue.refuse_injected(input)?;
    Ok(Some(Event { phase, recipient, reply }))
}
