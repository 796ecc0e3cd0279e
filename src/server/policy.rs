//! Whose mail is taken, and for whom: accounts, local domains, each client's share, and room. Answers the questions that a
//! session has of MAIL and RCPT, within the turn.
//!
//! Without an accounts file every address of a local domain is a mailbox. With one, be it empty, an address is a mailbox if
//! it is an account's, or one that leads to an account, or postmaster's (RFC 5321 4.5.1). Nothing is relayed, for anybody.

use std::borrow::Cow;

use super::Server;
use super::connection::{Connection, Stream};
use super::job::Reload;
use super::spoken::Profile;
use crate::limits::UNKNOWN_RECIPIENTS_PER_CONNECTION;
use crate::mailbox::MailboxPath;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::smtp::{Address, Envelope, Path, Reply};

impl<S: Stream> Server<S> {
    /// Whether a client may begin a message from this sender; else what it is told.
    pub(super) fn sender(&mut self, key: Key, envelope: &Envelope, now: Now) -> Result<(), Reply> {
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        if connection.session.smtp().user().is_some() && self.is_revoked(key) {
            return Err(Reply::LOGIN_REVOKED);
        }
        if let Some(sender) = &envelope.reverse_path {
            self.may_send_as(connection, sender)?;
        }
        if !self.clients.may_send(connection.client.ip(), now.ms()) {
            self.counters.messages_limited += 1;
            return Err(Reply::CLIENT_MESSAGES);
        }
        if self.has_room() { Ok(()) } else { Err(self.refusal()) }
    }

    /// Users send as themselves. Others may say that they are anybody, or, where that is asked for, not that they are
    /// somebody of ours who does not exist.
    fn may_send_as(&self, connection: &Connection<S>, sender: &Address) -> Result<(), Reply> {
        match connection.session.smtp().user() {
            Some(user) if self.accounts.may_send_as(user, sender) => Ok(()),
            Some(_) => Err(Reply::NOT_YOUR_ADDRESS),
            None if self.options.require_known_sender && self.is_stranger(sender) => {
                Err(Reply::UNKNOWN_SENDER)
            }
            None => Ok(()),
        }
    }

    fn is_stranger(&self, sender: &Address) -> bool {
        let is_postmaster = sender.local_part().eq_ignore_ascii_case(POSTMASTER);
        self.accounts.is_kept()
            && self.is_local(&sender.domain_key())
            && !self.accounts.is_known(sender)
            && !is_postmaster
    }

    /// Whether mail for a path is taken, and for which mailbox's address; else why not, and for which address not.
    pub(super) fn recipient(
        &mut self,
        key: Key,
        path: Path,
        now: Now,
    ) -> Result<Address, (Reply, Option<Address>)> {
        let is_ours = path == Path::Postmaster; // whom every server has (RFC 5321 4.5.1)
        let address = match path {
            Path::Mailbox(address) => address,
            Path::Postmaster => Address::new(POSTMASTER, &self.first_domain()),
            Path::Null => return Err((Reply::RELAY_DENIED, None)),
        };
        if self.memory >= self.options.memory {
            return Err((Reply::MEMORY_FULL, Some(address)));
        }
        // A domain is compared whole.
        if !is_ours && !self.is_local(&address.domain_key()) {
            return Err((Reply::RELAY_DENIED, Some(address)));
        }
        match self.mailbox(&address) {
            Some((mailbox, quota)) => {
                let is_full = quota
                    .is_some_and(|quota| self.quotas.is_full(&MailboxPath::of(&mailbox), quota, now.ms()));
                if is_full { Err((Reply::MAILBOX_FULL, Some(address))) } else { Ok(mailbox) }
            }
            None => Err((self.unknown(key, now), Some(address))),
        }
    }

    /// The mailbox that an address of a local domain leads to, and its quota.
    fn mailbox(&self, address: &Address) -> Option<(Address, Option<u64>)> {
        if let Some(account) = self.accounts.recipient(address) {
            return Some((account.address.clone(), account.quota.map(u64::from)));
        }
        if address.local_part().eq_ignore_ascii_case(POSTMASTER) {
            return Some((Address::new(POSTMASTER, address.domain()), None));
        }
        (!self.accounts.is_kept()).then(|| (address.clone(), None))
    }

    /// What is said of a recipient that is not here: the truth, but not to who asks for too many (RFC 5321 7.3).
    fn unknown(&mut self, key: Key, now: Now) -> Reply {
        let Some(connection) = self.connections.get_mut(key) else { return Reply::NO_SUCH_MAILBOX };
        connection.unknown_recipients += 1;
        let (count, client) = (connection.unknown_recipients, connection.client.ip());
        self.clients.unknown_recipient(client, now.ms());
        let may_ask = self.clients.may_guess_recipients(client, now.ms());
        if count > UNKNOWN_RECIPIENTS_PER_CONNECTION || !may_ask {
            Reply::TOO_MANY_UNKNOWN_RECIPIENTS
        } else {
            Reply::NO_SUCH_MAILBOX
        }
    }

    /// Goes on with what was read anew: for new connections, what they begin TLS with and are offered; for all, who has an
    /// account. Who reads mail with one that is gone, or a password that was changed, does so no longer.
    pub(super) fn reloaded(&mut self, reload: Reload, now: Now) {
        if let Some(tls) = reload.tls {
            self.tls = Some(tls);
        }
        if let Some(accounts) = reload.accounts {
            self.accounts = accounts;
            self.dismiss_revoked(now);
        }
        self.profiles = Profile::all(&self.options, self.tls.as_ref(), &self.accounts);
    }

    fn is_local(&self, domain_key: &str) -> bool {
        let locals = &self.options.local_domains;
        match locals.is_empty() {
            true => !self.accounts.is_kept() || self.accounts.has_domain(domain_key),
            false => locals.iter().any(|local| local == domain_key),
        }
    }

    /// The domain of `<postmaster>`.
    fn first_domain(&self) -> Cow<'_, str> {
        let of_accounts = || self.accounts.iter().next().map(|account| account.address.domain_key());
        let first = self.options.local_domains.first().map(|domain| domain.as_str().into());
        first.or_else(of_accounts).unwrap_or_else(|| self.options.hostname.as_str().into())
    }
}

const POSTMASTER: &str = "postmaster";
