//! How somebody logs in: by USER and PASS (RFC 1939 7), or by AUTH (RFC 5034), whose messages are
//! [`wire::sasl`](crate::wire::sasl)'s. While an exchange is under way each line is a response: none is ever executed.
//!
//! ```text
//!   Start ──USER──▶ Named ──PASS──▶ Judging ──answer──▶ Opening
//!     └─────AUTH──▶ Auth ──response──▶ Need::Sasl ──answer──▶ `+ ` and Auth again, or Opening
//!                    `*`, a mistake, or a refusal: `-ERR`, and Start
//! ```

use std::fmt;
use std::sync::Arc;

use super::{Asked, Need, Session, State, say};
use crate::pop3::reply::{Refusal, push_challenge};
use crate::wire::Outbox;
use crate::wire::sasl::{self, Exchange, Next, Offer, SaslError, SaslStep, ScramBasis, Secret};

/// An exchange under way.
pub(super) struct Login {
    exchange: Exchange,
    /// Who is logged in at its end: the server has said yes, and the client is still to take note of our proof.
    granted: Option<Arc<str>>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login { .. }")
    }
}

impl Session {
    /// Who is logged in: the address that the server gave. The maildrop need not be open yet.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Answers [`SaslStep::Password`] and [`SaslStep::Proof`]: with the address of the account, whose maildrop is asked for
    /// next, or with the refusal. A proof that was wrong is never to be granted.
    pub fn answer_login(&mut self, answer: Result<Arc<str>, Refusal>, out: &mut Outbox) {
        self.answered(Asked::Login);
        if self.is_over() {
            return;
        }
        let user = match answer {
            Ok(user) => user,
            Err(refusal) => return self.refuse(refusal, out),
        };
        if let State::Auth(login) = &mut self.state
            && let Some(proof) = login.exchange.granted()
        {
            login.granted = Some(user);
            return push_challenge(&proof, out);
        }
        self.log_in(user);
    }

    /// Answers [`SaslStep::Keys`]: with what the proof is checked against, or with the refusal.
    pub fn answer_keys(&mut self, answer: Result<ScramBasis, Refusal>, out: &mut Outbox) {
        self.answered(Asked::Keys);
        let State::Auth(login) = &mut self.state else { return };
        match answer.and_then(|basis| login.exchange.challenge(basis).map_err(refusal)) {
            Ok(challenge) => push_challenge(&challenge, out),
            Err(refusal) => self.refuse(refusal, out),
        }
    }

    /// The lines of CAPA.
    pub(super) fn offer_logins(&self, out: &mut Outbox) {
        if self.refusal_of_login().is_none() {
            for part in ["USER\r\nSASL ", sasl::mechanisms(self.bindings), "\r\n"] {
                out.push(part.as_bytes());
            }
        }
    }

    /// Why nobody can log in here and now.
    pub(super) fn refusal_of_login(&self) -> Option<Refusal> {
        match self.profile.security.auth {
            Offer::Never => Some(Refusal::NO_LOGINS),
            Offer::InTls if !self.is_secured => Some(Refusal::LOGIN_NEEDS_TLS),
            Offer::InTls | Offer::Always => None,
        }
    }

    /// USER. Whether there is such a user, nobody is told.
    pub(super) fn take_name(&mut self, name: &str, out: &mut Outbox) -> Result<Option<Need>, Refusal> {
        if let Some(refusal) = self.refusal_of_login() {
            return Err(refusal);
        }
        self.state = State::Named(name.into());
        Ok(say("now PASS", out))
    }

    /// PASS behind USER.
    pub(super) fn take_password(&mut self, password: Secret<'_>) -> Option<Need> {
        let State::Named(user) = std::mem::replace(&mut self.state, State::Judging) else {
            unreachable!("called in this state only");
        };
        let password = std::str::from_utf8(password.0).expect("a command is UTF-8").to_owned();
        let step = SaslStep::Password { user: user.into(), password };
        Some(self.ask(Asked::Login, Need::Sasl(step)))
    }

    /// AUTH.
    pub(super) fn start_login(
        &mut self,
        mechanism: &[u8],
        response: Option<Secret<'_>>,
        out: &mut Outbox,
    ) -> Result<Option<Need>, Refusal> {
        if let Some(refusal) = self.refusal_of_login() {
            return Err(refusal);
        }
        let exchange = Exchange::begin(mechanism, self.bindings).ok_or(Refusal::UNKNOWN_MECHANISM)?;
        let opening = exchange.opening();
        self.state = State::Auth(Box::new(Login { exchange, granted: None }));
        match response {
            None => {
                push_challenge(opening, out);
                Ok(None)
            }
            Some(Secret(b"=")) => self.take_response(Ok(Vec::new()), out),
            Some(Secret(response)) => self.take_response(sasl::decode(response), out),
        }
    }

    /// Takes a line of the exchange under way.
    pub(super) fn respond(&mut self, line: &[u8], out: &mut Outbox) -> Result<Option<Need>, Refusal> {
        if line == b"*" {
            return Err(Refusal::LOGIN_CANCELLED);
        }
        self.take_response(sasl::decode(line), out)
    }

    fn take_response(
        &mut self,
        response: Result<Vec<u8>, SaslError>,
        out: &mut Outbox,
    ) -> Result<Option<Need>, Refusal> {
        let State::Auth(login) = &mut self.state else {
            unreachable!("called in this state only");
        };
        match response.and_then(|response| login.exchange.respond(&response)).map_err(refusal)? {
            Next::Challenge(challenge) => push_challenge(&challenge, out),
            Next::Step(step) => {
                let question = if matches!(step, SaslStep::Keys { .. }) { Asked::Keys } else { Asked::Login };
                return Ok(Some(self.ask(question, Need::Sasl(step))));
            }
            Next::Done => {
                let user = login.granted.take().expect("an exchange is done after somebody was let in");
                self.log_in(user);
            }
        }
        Ok(None)
    }

    fn log_in(&mut self, user: Arc<str>) {
        self.user = Some(user);
        self.state = State::Opening;
    }
}

fn refusal(error: SaslError) -> Refusal {
    match error {
        SaslError::Binding => Refusal::BAD_BINDING,
        _ => Refusal::BAD_RESPONSE,
    }
}
