//! AUTH in a session (RFC 4954): when it is offered, what it is refused for, and the state of an exchange, whose messages
//! are [`wire::sasl`](crate::wire::sasl)'s. While an exchange is under way each line is a response: none is ever executed.
//!
//! ```text
//!   Ready ──AUTH──▶ Auth ──response──▶ Need::Sasl ──answer──▶ 334, and Auth again
//!                                                       ├───▶ 235, and Ready with a user
//!                    `*`, or a mistake: 501 ────────────┴───▶ 535, and Ready without
//! ```

use std::fmt;
use std::sync::Arc;

use super::{Asked, Need, Session, State};
use crate::smtp::Reply;
use crate::smtp::command::Mail;
use crate::smtp::reply::push_challenge;
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
    /// Who is logged in: the address that the server gave.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Answers [`SaslStep::Password`] and [`SaslStep::Proof`]: with the address of the account, or with the reply that
    /// refuses the client. 421 ends the session. A proof that was wrong is never to be granted.
    pub fn answer_login(&mut self, answer: Result<Arc<str>, Reply>, out: &mut Outbox) {
        self.answered(Asked::Login);
        let State::Auth(login) = &mut self.state else { return };
        let user = match answer {
            Ok(user) => user,
            Err(reply) => return self.login_failed(reply, out),
        };
        match login.exchange.granted() {
            None => self.log_in(user, out),
            Some(proof) => {
                login.granted = Some(user);
                push_challenge(&proof, out);
            }
        }
    }

    /// Answers [`SaslStep::Keys`]: with what the proof is checked against, or with the reply that refuses the client. 421
    /// ends the session.
    pub fn answer_keys(&mut self, answer: Result<ScramBasis, Reply>, out: &mut Outbox) {
        self.answered(Asked::Keys);
        let State::Auth(login) = &mut self.state else { return };
        match answer.and_then(|basis| login.exchange.challenge(basis).map_err(refusal)) {
            Ok(challenge) => push_challenge(&challenge, out),
            Err(reply) => self.login_failed(reply, out),
        }
    }

    /// The line of the reply to EHLO.
    pub(super) fn offer_auth(&self, out: &mut Outbox) {
        if self.offers_auth() {
            for part in ["250-AUTH ", sasl::mechanisms(self.bindings), "\r\n"] {
                out.push(part.as_bytes());
            }
        }
    }

    fn offers_auth(&self) -> bool {
        match self.profile.security.auth {
            Offer::Never => false,
            Offer::InTls => self.is_secured,
            Offer::Always => true,
        }
    }

    /// AUTH.
    pub(super) fn start_login(
        &mut self,
        mechanism: &[u8],
        response: Option<Secret<'_>>,
        out: &mut Outbox,
    ) -> Option<Need> {
        let refusal = match self.state {
            _ if self.profile.security.auth == Offer::Never => Reply::NO_AUTH,
            State::Start => Reply::HELLO_FIRST,
            _ if !self.extended => Reply::EHLO_FIRST,
            _ if !self.offers_auth() => Reply::AUTH_NEEDS_TLS,
            _ if self.user.is_some() => Reply::LOGGED_IN_ALREADY,
            State::Ready => match Exchange::begin(mechanism, self.bindings) {
                Some(exchange) => return self.open(exchange, response, out),
                None => Reply::UNKNOWN_MECHANISM,
            },
            _ => Reply::BAD_SEQUENCE,
        };
        self.refused(refusal, out)
    }

    fn open(&mut self, exchange: Exchange, response: Option<Secret<'_>>, out: &mut Outbox) -> Option<Need> {
        let opening = exchange.opening();
        self.state = State::Auth(Box::new(Login { exchange, granted: None }));
        match response {
            None => {
                push_challenge(opening, out);
                None
            }
            Some(Secret(b"=")) => self.take_response(Ok(Vec::new()), out),
            Some(Secret(response)) => self.take_response(sasl::decode(response), out),
        }
    }

    /// Takes a line of the exchange under way.
    pub(super) fn respond(&mut self, line: &[u8], out: &mut Outbox) -> Option<Need> {
        if line == b"*" {
            self.login_failed(Reply::LOGIN_CANCELLED, out);
            return None;
        }
        self.take_response(sasl::decode(line), out)
    }

    fn take_response(&mut self, response: Result<Vec<u8>, SaslError>, out: &mut Outbox) -> Option<Need> {
        let State::Auth(login) = &mut self.state else {
            unreachable!("called in this state only");
        };
        match response.and_then(|response| login.exchange.respond(&response)) {
            Ok(Next::Challenge(challenge)) => push_challenge(&challenge, out),
            Ok(Next::Step(step)) => {
                self.asked = if matches!(step, SaslStep::Keys { .. }) { Asked::Keys } else { Asked::Login };
                return Some(Need::Sasl(step));
            }
            Ok(Next::Done) => {
                let user = login.granted.take().expect("an exchange is done after somebody was let in");
                self.log_in(user, out);
            }
            Err(error) => self.login_failed(refusal(error), out),
        }
        None
    }

    fn log_in(&mut self, user: Arc<str>, out: &mut Outbox) {
        self.end_login();
        self.user = Some(user);
        Reply::LOGGED_IN.push_to(out);
    }

    fn login_failed(&mut self, reply: Reply, out: &mut Outbox) {
        self.end_login();
        self.mistake(reply, out);
    }

    /// Ends the exchange under way, if there is one.
    pub(super) fn end_login(&mut self) {
        if matches!(self.state, State::Auth(_)) {
            self.state = State::Ready;
        }
    }

    /// Why a sender is refused, whoever it is.
    pub(super) fn refusal_of_sender(&self, mail: &Mail) -> Option<Reply> {
        if mail.auth && !self.offers_auth() {
            Some(Reply::UNKNOWN_PARAMETER)
        } else if !self.profile.security.auth_required || self.user.is_some() {
            None
        } else if self.offers_auth() {
            Some(Reply::LOGIN_FIRST)
        } else {
            Some(Reply::TLS_AND_LOGIN_FIRST)
        }
    }
}

fn refusal(error: SaslError) -> Reply {
    match error {
        SaslError::Binding => Reply::BAD_BINDING,
        _ => Reply::BAD_RESPONSE,
    }
}
