//! AUTH (RFC 4954): who a client is, and the exchange that proves it. The messages themselves are
//! [`wire::sasl`](crate::wire::sasl)'s.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Error, Extension, Mechanisms};
use crate::limits::{AUTH_COMMAND_MAX, CREDENTIAL_MAX};
use crate::wire::sasl::{self, Challenge, Key, Mechanism, SaslError, Scram, Verifier};

/// A user and the password that proves it, shared by all connections that are this user's. `Debug` keeps the password
/// to itself. It is not wiped from memory: whoever reads that has the process.
pub struct Credentials {
    user: String,
    password: String,
    /// Name and password as SCRAM compares them.
    prepared: (String, String),
    mechanism: Option<Mechanism>,
    clear: ClearText,
    /// The salted password of the last salt: thousands of connections as one user pay for it once.
    salted: Mutex<Option<Salted>>,
}

/// Whether a password may go over a connection without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClearText {
    /// Never: it is an error if no other way is offered.
    Refused,
    /// It may: for networks that nobody else is in.
    Allowed,
}

/// One half of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The user's name.
    User,
    /// The password.
    Password,
}

/// Why credentials cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsError {
    /// Nothing there.
    Empty(Half),
    /// More than [`CREDENTIAL_MAX`] octets.
    TooLong(Half),
    /// An octet NUL, at which PLAIN would end it.
    Nul(Half),
    /// Characters that SCRAM cannot take (RFC 4013), such as those younger than Unicode 3.2; PLAIN and LOGIN can.
    Unprepared(Half),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialsError::Empty(half) => write!(f, "the {half} is empty"),
            CredentialsError::TooLong(half) => write!(f, "the {half} is longer than {CREDENTIAL_MAX} octets"),
            CredentialsError::Nul(half) => write!(f, "the {half} contains a NUL"),
            CredentialsError::Unprepared(half) => write!(
                f,
                "the {half} has characters that SCRAM cannot take (RFC 4013); name PLAIN or LOGIN as the mechanism"
            ),
        }
    }
}

impl std::error::Error for CredentialsError {}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Half::User => "user's name",
            Half::Password => "password",
        })
    }
}

struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    password: Key,
}

impl Credentials {
    /// For the mechanism named, or else for the best that a server offers. One that reveals the password to whoever reads
    /// along is an error without TLS, unless that is allowed.
    pub fn new(
        user: &str,
        password: &str,
        mechanism: Option<Mechanism>,
        clear: ClearText,
    ) -> Result<Credentials, CredentialsError> {
        let reveals = mechanism.is_some_and(Mechanism::reveals_password);
        let prepare = |half, text: &str| match sasl::prepared(text) {
            _ if text.is_empty() => Err(CredentialsError::Empty(half)),
            _ if text.len() > CREDENTIAL_MAX => Err(CredentialsError::TooLong(half)),
            _ if text.contains('\0') => Err(CredentialsError::Nul(half)),
            Some(prepared) => Ok(prepared.into_owned()),
            None if reveals => Ok(String::new()),
            None => Err(CredentialsError::Unprepared(half)),
        };
        Ok(Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
            prepared: (prepare(Half::User, user)?, prepare(Half::Password, password)?),
            mechanism,
            clear,
            salted: Mutex::new(None),
        })
    }

    /// Whether a text shows the password, plain or as PLAIN and LOGIN say it: for what a server says, which may be what
    /// it was told.
    pub fn are_shown_in(&self, text: &[u8]) -> bool {
        let Credentials { user, password, .. } = self;
        let forms =
            [password.clone(), sasl::encode(password.as_bytes()), sasl::encode(&sasl::plain(user, password))];
        forms.iter().any(|form| text.windows(form.len()).any(|octets| octets == form.as_bytes()))
    }

    /// Whether the password may go over a connection without TLS.
    pub(super) fn clear(&self) -> ClearText {
        self.clear
    }

    /// The mechanism to use with a server that offers these, where a password that is sent is read by whom it `reaches`.
    pub(super) fn choose(&self, offered: Mechanisms, reaches: Reach) -> Result<Mechanism, Error> {
        let best = || Mechanism::ALL.into_iter().find(|mechanism| offered.has(*mechanism));
        let mechanism = match self.mechanism {
            Some(mechanism) if offered.has(mechanism) => mechanism,
            Some(mechanism) => return Err(Error::NotOffered(Extension::Mechanism(mechanism))),
            None => best().ok_or(Error::NotOffered(Extension::Auth))?,
        };
        let everybody = reaches == Reach::Everybody && self.clear == ClearText::Refused;
        if everybody && mechanism.reveals_password() {
            return Err(Error::InTheClear(mechanism));
        }
        Ok(mechanism)
    }

    /// The salted password for a challenge; a moment, or a good part of a second for the first of a salt.
    fn salted_password(&self, challenge: &Challenge<'_>) -> Key {
        let mut salted = self.salted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*salted {
            Some(known) if known.salt == challenge.salt && known.iterations == challenge.iterations => {
                known.password
            }
            _ => {
                let (salt, iterations) = (challenge.salt.clone(), challenge.iterations);
                let password = sasl::salted_password(&self.prepared.1, &salt, iterations);
                *salted = Some(Salted { salt, iterations, password });
                password
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { user, mechanism, clear, .. } = self;
        write!(f, "Credentials {{ user: {user:?}, mechanism: {mechanism:?}, clear: {clear:?}, .. }}")
    }
}

/// Who reads what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whoever is between.
    Everybody,
    /// Under TLS, the server.
    Server,
}

/// An exchange under way. `Debug` keeps what is said to itself: the password may be in it.
pub(super) struct Exchange {
    credentials: Arc<Credentials>,
    mechanism: Mechanism,
    /// The line that is to be sent now.
    line: Vec<u8>,
    step: Step,
}

/// What the server's next reply is to be.
enum Step {
    /// A challenge without text, for a first message that was too long for the command.
    First(Vec<u8>, Box<Step>),
    /// LOGIN's question for the name, and that for the password.
    User,
    Password,
    /// SCRAM's first message, and its last.
    Challenge(Scram),
    Signature(Verifier),
    /// Success: the server has all it needs, and has proved what it must.
    Success,
}

impl Exchange {
    /// Begins with AUTH. The nonce must be the connection's own.
    pub(super) fn begin(credentials: Arc<Credentials>, mechanism: Mechanism, nonce: u64) -> Exchange {
        let (first, step) = match mechanism {
            Mechanism::Plain => (Some(sasl::plain(&credentials.user, &credentials.password)), Step::Success),
            Mechanism::Login => (None, Step::User),
            Mechanism::ScramSha256 => {
                let scram = Scram::new(&credentials.prepared.0, &format!("{nonce:016x}"));
                (Some(scram.first()), Step::Challenge(scram))
            }
        };
        let mut exchange = Exchange { credentials, mechanism, line: Vec::new(), step };
        exchange.open(first);
        exchange
    }

    /// Puts a first message behind AUTH, or off until it is asked for.
    fn open(&mut self, first: Option<Vec<u8>>) {
        let name = self.mechanism.name();
        self.line = match &first {
            Some(first) => format!("AUTH {name} {}\r\n", sasl::encode(first)),
            None => format!("AUTH {name}\r\n"),
        }
        .into_bytes();
        if let Some(first) = first
            && self.line.len() > AUTH_COMMAND_MAX
        {
            self.line = format!("AUTH {name}\r\n").into_bytes();
            let then = std::mem::replace(&mut self.step, Step::Success);
            self.step = Step::First(first, Box::new(then));
        }
    }

    /// The line that is to be sent now.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Answers a 334, whose text is the challenge in base64.
    pub(super) fn answer(&mut self, challenge: &[u8]) -> Result<(), SaslError> {
        let challenge = sasl::decode(challenge)?;
        let Credentials { user, password, .. } = &*self.credentials;
        let (message, step) = match std::mem::replace(&mut self.step, Step::Success) {
            Step::First(first, then) if challenge.is_empty() => (first, *then),
            Step::User => (user.as_bytes().to_vec(), Step::Password),
            Step::Password => (password.as_bytes().to_vec(), Step::Success),
            Step::Challenge(scram) => {
                let challenge = scram.challenge(&challenge)?;
                let salted = self.credentials.salted_password(&challenge);
                let (proof, verifier) = scram.proof(&challenge, &salted);
                (proof, Step::Signature(verifier))
            }
            Step::Signature(verifier) => {
                verifier.verify(&challenge)?;
                (Vec::new(), Step::Success)
            }
            Step::First(..) | Step::Success => return Err(SaslError::Unexpected),
        };
        self.line = (sasl::encode(&message) + "\r\n").into_bytes();
        self.step = step;
        Ok(())
    }

    /// Takes note that the server is content.
    pub(super) fn succeed(&self) -> Result<(), SaslError> {
        if matches!(self.step, Step::Success) { Ok(()) } else { Err(SaslError::Unproven) }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange {{ mechanism: {:?}, .. }}", self.mechanism)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_mechanism_can_say_is_refused_at_once() {
        let error = |user: &str, password: &str, mechanism| {
            Credentials::new(user, password, mechanism, ClearText::Refused).err()
        };
        assert_eq!(error("", "p", None), Some(CredentialsError::Empty(Half::User)));
        assert_eq!(error("u", "", None), Some(CredentialsError::Empty(Half::Password)));
        assert_eq!(error("u", "a\0b", None), Some(CredentialsError::Nul(Half::Password)));
        assert_eq!(error("u", &"p".repeat(CREDENTIAL_MAX), None), None);
        let long = "p".repeat(CREDENTIAL_MAX + 1);
        assert_eq!(error("u", &long, None), Some(CredentialsError::TooLong(Half::Password)));
        let private = Some(CredentialsError::Unprepared(Half::Password));
        assert_eq!(error("u", "\u{E000}", None), private);
        assert_eq!(error("u", "\u{E000}", Some(Mechanism::ScramSha256)), private);
        assert_eq!(error("u", "\u{E000}", Some(Mechanism::Plain)), None);
    }

    #[test]
    fn a_password_is_known_again_in_each_form_that_it_is_said_in() {
        let credentials = Credentials::new("tim", "pencil", None, ClearText::Refused).unwrap();
        for text in ["535 pencil is wrong", "535 cGVuY2ls", "535 what is AHRpbQBwZW5jaWw=?"] {
            assert!(credentials.are_shown_in(text.as_bytes()), "{text}");
        }
        for text in ["", "535 wrong", "535 penci", "535 tim dGlt"] {
            assert!(!credentials.are_shown_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_salted_password_is_made_once_for_a_salt() {
        let credentials = Credentials::new("user", "pencil", None, ClearText::Refused).unwrap();
        let scram = Scram::new("user", "abc");
        let salted = |message: &str| {
            let challenge = scram.challenge(message.as_bytes()).unwrap();
            credentials.salted_password(&challenge)
        };
        let one = salted("r=abcd,s=AAAA,i=4096");
        // Proof that it is the one kept: it would not come out so again.
        credentials.salted.lock().unwrap().as_mut().unwrap().password = [7; 32];
        assert_eq!(salted("r=abce,s=AAAA,i=4096"), [7; 32]);
        assert_ne!(salted("r=abcd,s=AAAA,i=4097"), one);
        assert_ne!(salted("r=abcd,s=AAAB,i=4097"), one);
        assert_eq!(salted("r=abcd,s=AAAA,i=4096"), one);
    }
}
