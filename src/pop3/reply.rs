//! What the server says in one line: `+OK`, or `-ERR` with the reason and, where a program could use it, a response code
//! in brackets (RFC 2449 8, RFC 3206). Every refusal that the server can give stands here; none repeats what a client sent.

use std::fmt::{Display, Write};

use crate::wire::{Outbox, sasl};

/// A refusal of one line that is the same for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    line: &'static str,
    weight: Weight,
}

/// What a refusal means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// A mistake of the client's: few are forgiven.
    Mistake,
    /// No fault of the client's.
    PutOff,
    /// The session's end.
    Last,
}

impl Refusal {
    /// The line without its CRLF: `-ERR`, then perhaps a response code, then the reason.
    pub fn text(self) -> &'static str {
        self.line.trim_end()
    }

    /// The response code between the brackets, such as `SYS/TEMP`, if there is one.
    pub fn code(self) -> Option<&'static str> {
        self.line.strip_prefix("-ERR [")?.split(']').next()
    }

    /// Whether the session ends with it.
    pub fn is_last(self) -> bool {
        self.weight == Weight::Last
    }

    /// Whether it answers a mistake of the client's.
    pub(super) fn is_mistake(self) -> bool {
        self.weight == Weight::Mistake
    }

    pub(super) fn push_to(self, out: &mut Outbox) {
        out.push(self.line.as_bytes());
    }
}

/// Says that something is done or begins; `text` is for people.
pub(super) fn push_ok(text: impl Display, out: &mut Outbox) {
    write!(out, "+OK {text}\r\n").expect("an outbox takes what it is given");
}

/// Asks for a response within an exchange of AUTH (RFC 5034 4).
pub(super) fn push_challenge(challenge: &str, out: &mut Outbox) {
    write!(out, "+ {}\r\n", sasl::encode(challenge.as_bytes())).expect("an outbox takes what it is given");
}

macro_rules! refusals {
    ($($weight:ident { $($(#[$doc:meta])* $name:ident = $text:literal;)* })*) => {
        impl Refusal {
            $($($(#[$doc])* pub const $name: Refusal =
                Refusal { line: concat!("-ERR ", $text, "\r\n"), weight: Weight::$weight };)*)*
        }
        #[cfg(test)]
        const ALL: &[Refusal] = &[$($(Refusal::$name),*),*];
    };
}

refusals! {
    Mistake {
        /// Not a command that we know.
        UNKNOWN_COMMAND = "unknown command";
        /// A command line beyond the limit.
        LINE_TOO_LONG = "line too long";
        /// A bare CR or LF.
        BARE_LINE_END = "lines end in CRLF";
        /// NUL, or what is no UTF-8.
        BAD_OCTETS = "commands are UTF-8 without NUL";
        /// An argument that the grammar does not have.
        BAD_ARGUMENT = "syntax error in argument";
        /// A command that takes no argument got one.
        NO_ARGUMENT_WANTED = "no argument wanted";
        /// A number that no message has, or whose message is marked as deleted.
        NO_SUCH_MESSAGE = "no such message";
        /// A command of the transaction before there is one.
        LOGIN_FIRST = "log in first";
        /// A command that only comes before the login.
        LOGGED_IN_ALREADY = "you are logged in already";
        /// PASS without USER right before it.
        USER_FIRST = "USER first";
        /// USER behind USER (RFC 1939 7): whom a password that follows is for is not to be guessed.
        PASS_EXPECTED = "PASS was to follow; begin again with USER";
        /// USER or AUTH where nobody can log in.
        NO_LOGINS = "there are no logins here";
        /// USER, PASS or AUTH in plain, where that is for TLS only.
        LOGIN_NEEDS_TLS = "logins only in TLS";
        /// STLS where there is no TLS.
        NO_TLS = "there is no TLS here";
        /// STLS within TLS.
        TLS_ALREADY = "this is TLS already";
        /// AUTH with a mechanism that we do not have, or not here.
        UNKNOWN_MECHANISM = "mechanism not known";
        /// A response in AUTH that is no base64, or not what the mechanism has.
        BAD_RESPONSE = "cannot read this response";
        /// The client gave AUTH up.
        LOGIN_CANCELLED = "cancelled";
        /// SCRAM's channel binding is missing, unknown, or was talked away on the way here.
        BAD_BINDING = "channel binding is not as offered";
        /// No such user, or a wrong password: which, nobody is told.
        LOGIN_FAILED = "[AUTH] wrong user or password";
    }
    PutOff {
        /// As many passwords are being checked as the server checks at once.
        LOGIN_LATER = "[SYS/TEMP] too many logins at this moment, try again later";
        /// Another session has the maildrop.
        IN_USE = "[IN-USE] another session has the mailbox";
        /// No memory for the maildrop, or for a part of a message, now.
        NO_MEMORY = "[SYS/TEMP] no memory at this moment, try again later";
        /// The disk does not let us list the mailbox.
        MAILBOX_UNREADABLE = "[SYS/TEMP] the mailbox cannot be read, try again later";
        /// The message was there when the maildrop was opened, and no longer is.
        MESSAGE_GONE = "the message is gone: another program removed it";
        /// The disk does not give the message.
        MESSAGE_UNREADABLE = "[SYS/TEMP] the message cannot be read, try again later";
    }
    Last {
        /// QUIT: the disk did not let go of all that was to be removed.
        NOT_ALL_REMOVED = "[SYS/TEMP] some deleted messages not removed";
        /// The server stops.
        SHUTTING_DOWN = "[SYS/TEMP] shutting down, try again later";
        /// As many connections as the server takes are open.
        TOO_MANY_CONNECTIONS = "[SYS/TEMP] too many connections, try again later";
        /// As many connections as one client may have in a minute.
        CLIENT_CONNECTIONS = "[SYS/TEMP] too many connections from your address, try again later";
        /// A whole command did not come in time. (RFC 1939 3 would have nothing said then; clients show people this.)
        TIMEOUT = "no command in time";
        /// The connection has lasted too long.
        SESSION_TIMEOUT = "session too long";
        /// Too many passwords were wrong.
        TOO_MANY_LOGINS = "[AUTH] too many failed logins";
        /// The account is gone, or has another password.
        LOGIN_REVOKED = "[AUTH] the password was changed, or the account removed: log in anew";
        /// Too many mistakes in one session.
        TOO_MANY_ERRORS = "too many errors";
        /// HTTP, a TLS hello, or something else that is not POP3.
        NOT_POP3 = "this is POP3";
        /// Something in plain behind STLS: an attack, or a client that is not to be trusted with TLS.
        FOLLOWED_STLS = "nothing may follow STLS but TLS";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_line_of_printable_ascii_with_a_code_that_the_rfcs_have() {
        for refusal in ALL {
            let line = refusal.line.strip_suffix("\r\n").unwrap();
            assert_eq!(line, refusal.text());
            assert!(line.len() <= 510 && line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
            let reason = line.strip_prefix("-ERR ").unwrap();
            match refusal.code() {
                None => assert!(!reason.starts_with('['), "{line}"),
                Some(code) => assert!(["AUTH", "IN-USE", "SYS/TEMP"].contains(&code), "{line}"),
            }
        }
    }
}
