//! Replies (RFC 5321 4.2) with enhanced status codes (RFC 3463, RFC 2034). Every reply that the server can give stands
//! here; none repeats what a client sent.

use std::fmt::Write;

use crate::QueueId;
use crate::wire::{Outbox, sasl};

/// A reply of one line that is the same for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply(&'static str);

impl Reply {
    /// The reply code, 200 to 599.
    pub fn code(self) -> u16 {
        self.0.as_bytes()[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }

    /// Whether the same will fail again (5yz).
    pub fn is_permanent(self) -> bool {
        self.0.starts_with('5')
    }

    /// The line without its CRLF.
    pub fn text(self) -> &'static str {
        self.0.trim_end()
    }

    pub(super) fn push_to(self, out: &mut Outbox) {
        out.push(self.0.as_bytes());
    }
}

/// A 334 that asks for a response (RFC 4954 4).
pub(super) fn push_challenge(challenge: &str, out: &mut Outbox) {
    write!(out, "334 {}\r\n", sasl::encode(challenge.as_bytes())).expect("an outbox takes what it is given");
}

/// The 250 for a message that is safe.
pub(super) fn push_accepted(id: QueueId, out: &mut Outbox) {
    write!(out, "250 2.0.0 queued as {id}\r\n").expect("an outbox takes what it is given");
}

/// The 250 for a chunk that is not the last (RFC 3030 2).
pub(super) fn push_chunk_taken(octets: u64, out: &mut Outbox) {
    write!(out, "250 2.0.0 {octets} octets received\r\n").expect("an outbox takes what it is given");
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Reply {
            $($(#[$doc])* pub const $name: Reply = Reply(concat!($text, "\r\n"));)*
        }
        #[cfg(test)]
        const ALL: &[Reply] = &[$(Reply::$name),*];
    };
}

replies! {
    /// STARTTLS: the handshake follows.
    START_TLS = "220 2.0.0 start TLS";
    /// QUIT.
    GOODBYE = "221 2.0.0 goodbye";
    /// AUTH succeeded.
    LOGGED_IN = "235 2.7.0 logged in";
    /// NOOP.
    OK = "250 2.0.0 ok";
    /// RSET.
    FLUSHED = "250 2.0.0 flushed";
    /// MAIL taken.
    SENDER_OK = "250 2.1.0 sender ok";
    /// RCPT taken.
    RECIPIENT_OK = "250 2.1.5 recipient ok";
    /// VRFY: we do not tell who is here (RFC 5321 7.3).
    CANNOT_VERIFY = "252 2.5.2 cannot verify, but will take mail and try";
    /// HELP.
    HELP = "214 2.0.0 see RFC 5321; commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT";
    /// DATA: go ahead.
    START_DATA = "354 end data with <CRLF>.<CRLF>";

    /// The server stops.
    SHUTTING_DOWN = "421 4.3.2 shutting down, try again later";
    /// As many connections as the server takes are open.
    TOO_MANY_CONNECTIONS = "421 4.7.0 too many connections, try again later";
    /// As many connections as one client may have in a minute.
    CLIENT_CONNECTIONS = "421 4.7.0 too many connections from your address, try again later";
    /// A whole command did not come in time.
    COMMAND_TIMEOUT = "421 4.4.2 no command in time";
    /// The mail data stopped, or trickled.
    DATA_TIMEOUT = "421 4.4.2 mail data too slow";
    /// The connection has lasted too long.
    SESSION_TIMEOUT = "421 4.4.2 session too long";
    /// Too many mistakes in one session.
    TOO_MANY_ERRORS = "421 4.7.0 too many errors";
    /// HTTP, a TLS hello, or something else that is not SMTP.
    NOT_SMTP = "421 4.7.0 this is SMTP";
    /// Too many passwords were wrong.
    TOO_MANY_FAILED_LOGINS = "421 4.7.0 too many failed logins";
    /// Somebody guesses who is here.
    TOO_MANY_UNKNOWN_RECIPIENTS = "421 4.7.0 too many unknown recipients";

    /// As many messages as one client may send in a minute.
    CLIENT_MESSAGES = "450 4.7.1 too many messages from your address, try again later";
    /// As many passwords are being checked as the server checks at once.
    LOGIN_BUSY = "454 4.7.0 too many logins at this moment, try again later";

    /// The log could not be written: whether the message is safe is not known.
    STORAGE_FAILED = "451 4.3.0 storage failed, try again later";
    /// No room on disk, in the spool or in the queue.
    STORAGE_FULL = "452 4.3.1 no room, try again later";
    /// No memory for this message now.
    MEMORY_FULL = "452 4.3.1 too much mail at this moment, try again later";
    /// The recipient's mailbox has no room.
    MAILBOX_FULL = "452 4.2.2 mailbox full";
    /// More recipients than one message may have (RFC 5321 4.5.3.1.10).
    TOO_MANY_RECIPIENTS = "452 4.5.3 too many recipients";

    /// Not a command that we know.
    UNKNOWN_COMMAND = "500 5.5.1 unknown command";
    /// A bare CR or LF in a command (RFC 5321 2.3.8).
    BARE_LINE_END = "500 5.5.2 lines end in CRLF";
    /// A command line beyond the limit.
    LINE_TOO_LONG = "500 5.5.2 line too long";
    /// AUTH, or a response to it, beyond the limit.
    AUTH_LINE_TOO_LONG = "500 5.5.6 line too long";
    /// An argument that the grammar does not have.
    BAD_ARGUMENT = "501 5.5.4 syntax error in argument";
    /// EHLO and HELO want a domain or an address literal.
    BAD_HOST_NAME = "501 5.5.4 give a domain or an address literal";
    /// A command that takes no argument got one.
    NO_ARGUMENT_WANTED = "501 5.5.4 no argument wanted";
    /// BDAT without a proper size: where the chunk ends cannot be known.
    BAD_CHUNK_SIZE = "501 5.5.4 chunk size wanted";
    /// A response in AUTH that is no base64, or not what the mechanism has.
    BAD_RESPONSE = "501 5.5.2 cannot read this response";
    /// The client gave AUTH up.
    LOGIN_CANCELLED = "501 5.7.0 cancelled";
    /// A reverse-path against the grammar.
    BAD_SENDER = "501 5.1.7 syntax error in sender address";
    /// A forward-path against the grammar.
    BAD_RECIPIENT = "501 5.1.3 syntax error in recipient address";
    /// A path beyond RFC 5321 4.5.3.1.3.
    PATH_TOO_LONG = "501 5.1.3 address too long";
    /// EXPN: we keep no lists.
    NO_LISTS = "502 5.5.1 there are no lists here";
    /// STARTTLS where there is no TLS.
    NO_TLS = "502 5.5.1 there is no TLS here";
    /// AUTH where there is none.
    NO_AUTH = "502 5.5.1 there is no AUTH here";
    /// STARTTLS within TLS.
    TLS_ALREADY = "503 5.5.1 this is TLS already";
    /// Before EHLO or HELO.
    HELLO_FIRST = "503 5.5.1 say EHLO or HELO first";
    /// AUTH after HELO, which has no extensions.
    EHLO_FIRST = "503 5.5.1 say EHLO first";
    /// AUTH after AUTH (RFC 4954 4).
    LOGGED_IN_ALREADY = "503 5.5.1 you are logged in already";
    /// Before MAIL.
    MAIL_FIRST = "503 5.5.1 MAIL first";
    /// A second MAIL, or MAIL, RCPT or DATA among chunks.
    BAD_SEQUENCE = "503 5.5.1 not now: a transaction is under way";
    /// DATA with BODY=BINARYMIME (RFC 3030 3).
    BINARY_NEEDS_CHUNKS = "503 5.5.1 BINARYMIME goes by BDAT";
    /// A chunk after a refused one, or without a transaction.
    NO_TRANSACTION_FOR_CHUNK = "503 5.5.1 no transaction for this chunk";
    /// AUTH with a mechanism that we do not have, or not here.
    UNKNOWN_MECHANISM = "504 5.5.4 mechanism not known";
    /// MAIL before AUTH, where only users send.
    LOGIN_FIRST = "530 5.7.0 log in first, with AUTH";
    /// The same, where AUTH comes after STARTTLS.
    TLS_AND_LOGIN_FIRST = "530 5.7.0 STARTTLS first, then AUTH";
    /// No such user, or a wrong password: which, nobody is told.
    LOGIN_FAILED = "535 5.7.8 wrong user or password";
    /// The account is gone since the login, or has another password.
    LOGIN_REVOKED = "535 5.7.8 the password was changed, or the account removed: connect and log in anew";
    /// SCRAM's channel binding is missing, unknown, or was talked away on the way here.
    BAD_BINDING = "535 5.7.8 channel binding is not as offered";
    /// AUTH in plain, where that is for TLS only.
    AUTH_NEEDS_TLS = "538 5.7.11 AUTH only in TLS";
    /// The domain is ours, and nobody there is called so.
    NO_SUCH_MAILBOX = "550 5.1.1 no such mailbox";
    /// The sender's domain is ours, and nobody there is called so.
    UNKNOWN_SENDER = "550 5.1.8 there is no such sender here";
    /// The domain is not ours and we do not relay.
    RELAY_DENIED = "550 5.7.1 relaying denied";
    /// Bare CR or LF in the mail data.
    BARE_LINE_END_IN_DATA = "550 5.6.0 bare CR or LF in mail data";
    /// Over the size limit.
    MESSAGE_TOO_BIG = "552 5.3.4 message too big";
    /// A user who wants to send as somebody else.
    NOT_YOUR_ADDRESS = "553 5.7.1 this is not an address of yours";
    /// UTF-8 in an address without SMTPUTF8 (RFC 6531 3.5).
    NEEDS_SMTPUTF8 = "553 5.6.7 address needs SMTPUTF8";
    /// DATA without a recipient.
    NO_RECIPIENTS = "554 5.5.1 no valid recipients";
    /// Something in plain behind STARTTLS: an attack, or a client that is not to be trusted with TLS (RFC 3207 6).
    FOLLOWED_STARTTLS = "554 5.5.1 nothing may follow STARTTLS but TLS";
    /// More Received fields than any honest route has.
    MAIL_LOOP = "554 5.4.6 mail loop: too many Received fields";
    /// Input before the banner, with a greeting delay.
    EARLY_TALKER = "554 5.5.1 you spoke before the greeting";
    /// A parameter that we do not know.
    UNKNOWN_PARAMETER = "555 5.5.4 parameter not known";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REPLY_MAX;

    #[test]
    fn every_reply_is_one_line_of_printable_ascii_whose_status_fits_its_code() {
        for reply in ALL {
            let line = reply.0.strip_suffix("\r\n").unwrap();
            assert!(line.len() <= 510 && line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
            let (code, rest) = line.split_once(' ').unwrap();
            assert_eq!(code, reply.code().to_string());
            let status = rest.split(' ').next().unwrap();
            if code != "354" {
                let parts: Vec<u16> = status.split('.').map(|part| part.parse().unwrap()).collect();
                assert_eq!((parts.len(), parts[0]), (3, reply.code() / 100), "{line}");
            }
            assert!(reply.0.len() < REPLY_MAX);
        }
    }

    #[test]
    fn the_reply_to_a_message_names_its_queue_id() {
        let mut out = Outbox::new();
        push_accepted(QueueId { run: 0xabc, counter: 7 }, &mut out);
        assert_eq!(out.pending(), b"250 2.0.0 queued as 0000000000000abc00000007\r\n");
    }
}
