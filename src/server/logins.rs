//! Logging in (RFC 4954, RFC 5034): a worker judges passwords, proofs are judged at once, and what fails costs its client time. The
//! part of the turn that has to do with who a client is.
//!
//! Nothing here tells an unknown user from a wrong password, by words or by time. A failure is answered late, twice as
//! late each time; a connection has few attempts, and a client (`clients.rs`) not many more. Passwords that wait for
//! the worker are bounded in all and for each client, so that one client that floods it with guesses keeps nobody else out;
//! many together can, for as long as their failures last (`clients.rs`): a password costs 20 ms of a processor, and there is
//! one worker. Proofs (SCRAM) do not wait for it.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use log::info;

use super::Server;
use super::clients::Client;
use super::connection::{CloseReason, Phase, Stream};
use super::job::{Job, PasswordJob};
use super::spoken::{LastWord, NoLogin, Spoken};
use crate::accounts::{Accounts, Credential};
use crate::limits::{
    FAILED_LOGIN_DELAY_MS, FAILED_LOGINS_PER_CONNECTION, PASSWORDS_WAITING_MAX, PASSWORDS_WAITING_PER_CLIENT,
};
use crate::log_value::Escaped;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::wire::Outbox;
use crate::wire::sasl::{self, ChannelBinding, SaslStep, ScramBasis};

/// What logins need from turn to turn.
pub(super) struct Logins {
    /// Nonces are made of this, which nobody can guess, and of a counter.
    nonce_key: sasl::Key,
    nonces: u64,
    /// Passwords that this turn hands to the worker.
    due: Vec<PasswordJob>,
    /// Whose passwords are with the worker, or due: the connection, which may be gone, and the client.
    waiting: Vec<(Key, SocketAddr)>,
}

impl Logins {
    /// For a server whose nonces are made of this key: random, and another at each start.
    pub fn new(nonce_key: sasl::Key) -> Logins {
        Logins { nonce_key, nonces: 0, due: Vec::new(), waiting: Vec::new() }
    }

    /// Printable, without comma, never twice, and not to be guessed.
    fn nonce(&mut self) -> String {
        self.nonces += 1;
        sasl::encode(&sasl::signature(&self.nonce_key, &self.nonces.to_le_bytes()))
    }
}

/// A login of a connection.
pub(super) enum Login {
    /// It is judged by these accounts, which may not be the last.
    Judged(Arc<Accounts>),
    /// An account's user was let in, of whose password this was kept then.
    In(Arc<str>, Option<Credential>),
}

impl<S: Stream> Server<S> {
    /// Takes a step of a login. Whether the session was answered; else it is parked.
    pub(super) fn login_step(&mut self, key: Key, step: SaslStep, now: Now) -> bool {
        let Some(client) = self.connections.get(key).map(|connection| connection.client) else { return true };
        if !self.clients.may_try_login(client.ip(), now.ms()) {
            self.counters.logins_refused += 1;
            self.refuse_login(key, &step, NoLogin::TooManyFailed);
            return true;
        }
        match step {
            SaslStep::Password { user, password } => self.check_password(key, client, user, password),
            SaslStep::Keys { user, binding } => {
                self.judge_by_these_accounts(key);
                let basis = ScramBasis {
                    keys: self.accounts.scram_keys(&user).0,
                    nonce: self.logins.nonce(),
                    binding: binding.and_then(|binding| self.binding(key, binding)),
                };
                self.answer_either(key, |session, out| session.answer_keys(Ok(basis), out));
                true
            }
            SaslStep::Proof { user, is_right } => {
                let account = self.accounts.scram_keys(&user).1.filter(|_| is_right);
                self.judged(key, &user, account, now)
            }
        }
    }

    /// Says no, whichever question it was.
    fn refuse_login(&mut self, key: Key, step: &SaslStep, why: NoLogin) {
        self.answer_either(key, |session, out| match step {
            SaslStep::Keys { .. } => session.answer_keys(Err(why), out),
            SaslStep::Password { .. } | SaslStep::Proof { .. } => session.answer_login(Err(why), out),
        });
    }

    /// Answers a session, whatever it speaks.
    fn answer_either(&mut self, key: Key, say: impl FnOnce(&mut Spoken, &mut Outbox)) {
        if let Some(connection) = self.connections.get_mut(key) {
            say(&mut connection.session, &mut connection.outbox);
        }
    }

    fn binding(&self, key: Key, binding: ChannelBinding) -> Option<Vec<u8>> {
        let tls = self.connections.get(key)?.tls.as_ref()?;
        match binding {
            ChannelBinding::Exporter => tls.exporter().map(Vec::from),
            ChannelBinding::ServerEndPoint => tls.server_end_point(),
        }
    }

    /// Has a worker judge a password, if not too many wait for it.
    fn check_password(&mut self, key: Key, client: SocketAddr, user: String, password: String) -> bool {
        let waiting = &self.logins.waiting;
        let is_same = |(_, other): &&(Key, SocketAddr)| Client::of(other.ip()) == Client::of(client.ip());
        let of_client = waiting.iter().filter(is_same).count();
        let is_share_used = of_client >= PASSWORDS_WAITING_PER_CLIENT && !self.clients.is_exempt(client.ip());
        if waiting.len() >= PASSWORDS_WAITING_MAX || is_share_used {
            self.counters.logins_put_off += 1;
            self.answer_either(key, |session, out| session.answer_login(Err(NoLogin::Busy), out));
            return true;
        }
        self.judge_by_these_accounts(key);
        let check = self.accounts.login(&user);
        self.logins.waiting.push((key, client));
        self.logins.due.push(PasswordJob { key, user, check, password });
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_parked = true;
        }
        false
    }

    /// Hands out the passwords of this turn, but for those of connections that ended in it.
    pub(super) fn start_password_checks(&mut self, jobs: &mut dyn FnMut(Job)) {
        for job in mem::take(&mut self.logins.due) {
            if self.connections.get(job.key).is_some() {
                jobs(Job::CheckPassword(job));
            } else {
                self.logins.waiting.retain(|(waits, _)| *waits != job.key);
            }
        }
    }

    /// A password was judged: whose it is, if it is right.
    pub(super) fn password_checked(&mut self, key: Key, user: &str, account: Option<Arc<str>>, now: Now) {
        let Some(at) = self.logins.waiting.iter().position(|(waits, _)| *waits == key) else { return };
        let (_, client) = self.logins.waiting.swap_remove(at);
        if self.connections.get(key).is_some() {
            if self.judged(key, user, account, now) {
                self.unpark(key, now);
            }
        } else if account.is_none() {
            // Who does not stay for the answer has guessed all the same.
            self.failed(client, user, now);
        }
    }

    /// Lets a user in, or lets the client wait for its no. Whether the session was answered.
    fn judged(&mut self, key: Key, user: &str, account: Option<Arc<str>>, now: Now) -> bool {
        let Some(client) = self.connections.get(key).map(|connection| connection.client) else { return true };
        if let Some(account) = account.filter(|account| self.holds_still(key, account)) {
            self.counters.logins += 1;
            info!("login client={client} user={}", Escaped(account.as_bytes()));
            self.answer_either(key, |session, out| session.answer_login(Ok(account), out));
            return true;
        }
        let Some(connection) = self.connections.get_mut(key) else { return true };
        connection.failed_logins += 1;
        let failures = connection.failed_logins;
        let is_last = failures >= FAILED_LOGINS_PER_CONNECTION;
        let why = if is_last { NoLogin::TooManyFailed } else { NoLogin::Failed };
        connection.is_parked = true;
        connection.late_no = Some((now.ms() + (FAILED_LOGIN_DELAY_MS << (failures - 1)), why));
        self.failed(client, user, now);
        self.watch(key);
        false
    }

    fn judge_by_these_accounts(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.login = Some(Box::new(Login::Judged(self.accounts.clone())));
        }
    }

    /// Whether what an account's user was judged by is kept yet; takes note of it.
    fn holds_still(&mut self, key: Key, account: &Arc<str>) -> bool {
        let login = self.connections.get(key).and_then(|connection| connection.login.as_deref());
        let Some(Login::Judged(accounts)) = login else { return false };
        let credential = accounts.credential(account);
        let holds = credential == self.accounts.credential(account);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.login = holds.then(|| Box::new(Login::In(account.clone(), credential)));
        }
        holds
    }

    /// Whether somebody has logged in whose account is gone since, or has another password.
    pub(super) fn is_revoked(&self, key: Key) -> bool {
        match self.connections.get(key).and_then(|connection| connection.login.as_deref()) {
            Some(Login::In(account, credential)) => self.accounts.credential(account) != *credential,
            Some(Login::Judged(_)) | None => false,
        }
    }

    /// Ends what readers of mail have whose accounts are gone, or have other passwords. Who waits for us goes first when it
    /// no longer does ([`unpark`](Server::unpark)); and who sends mail may end the message.
    pub(super) fn dismiss_revoked(&mut self, now: Now) {
        for key in self.connections.keys() {
            self.dismiss_if_revoked(key, now);
        }
    }

    pub(super) fn dismiss_if_revoked(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get(key) else { return };
        let is_reader = connection.session.visit().is_some() && connection.phase == Phase::Open;
        if is_reader && !connection.is_parked && self.is_revoked(key) {
            self.dismiss(key, LastWord::Revoked, CloseReason::Dismissed, now);
        }
    }

    fn failed(&mut self, client: SocketAddr, user: &str, now: Now) {
        self.counters.logins_failed += 1;
        self.clients.failed_login(client.ip(), now.ms());
        info!("login failed client={client} user={}", Escaped(user.as_bytes()));
    }

    /// The time has come to say no.
    pub(super) fn say_no(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some((_, why)) = connection.late_no.take() else { return };
        self.answer_either(key, |session, out| session.answer_login(Err(why), out));
        self.unpark(key, now);
    }
}

#[cfg(test)]
mod tests;
