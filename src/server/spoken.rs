//! What is spoken on a connection: SMTP or POP3.
//!
//! Here are the verbs that both have, and what both can be told: who drives a connection on, secures it, lets somebody in
//! or dismisses it asks no further. What only one of them has is said where that is driven: `driving.rs` and
//! `acceptance.rs` for mail that comes, `maildrop.rs` for mail that is read.

use std::sync::Arc;

use super::connection::CloseReason;
use super::maildrop::{GoesOn, Visit};
use super::{Durability, Options, Service};
use crate::accounts::Accounts;
use crate::net::tls::ServerTls;
use crate::pop3::{self, Refusal};
use crate::smtp::{self, Offer, Reply};
use crate::wire::Outbox;
use crate::wire::sasl::{Bindings, ScramBasis};

/// The session of a connection. POP3's lies elsewhere: of the thousands that are idle all others are SMTP's, and no larger
/// for it.
pub(super) enum Spoken {
    Smtp(smtp::Session),
    Pop3(Box<Visit>),
}

const _: () =
    assert!(size_of::<Spoken>() <= size_of::<smtp::Session>() + 8, "an idle connection stays small");

impl Spoken {
    /// SMTP's session, where nothing else can be meant: a message is on its way in.
    pub fn smtp(&self) -> &smtp::Session {
        match self {
            Spoken::Smtp(session) => session,
            Spoken::Pop3(_) => unreachable!("mail comes in by SMTP only"),
        }
    }

    pub fn smtp_mut(&mut self) -> &mut smtp::Session {
        match self {
            Spoken::Smtp(session) => session,
            Spoken::Pop3(_) => unreachable!("mail comes in by SMTP only"),
        }
    }

    /// POP3's session and what belongs to it, if that is spoken.
    pub fn visit(&self) -> Option<&Visit> {
        match self {
            Spoken::Smtp(_) => None,
            Spoken::Pop3(visit) => Some(visit),
        }
    }

    pub fn visit_mut(&mut self) -> Option<&mut Visit> {
        match self {
            Spoken::Smtp(_) => None,
            Spoken::Pop3(visit) => Some(visit),
        }
    }

    pub fn greet(&mut self, out: &mut Outbox) {
        match self {
            Spoken::Smtp(session) => session.greet(out),
            Spoken::Pop3(visit) => visit.session.greet(out),
        }
    }

    pub fn dismiss(&mut self, word: LastWord, out: &mut Outbox) {
        match self {
            Spoken::Smtp(session) => session.dismiss(word.reply(), out),
            Spoken::Pop3(visit) => visit.session.dismiss(word.refusal(), out),
        }
    }

    pub fn secured(&mut self, bindings: Bindings) {
        match self {
            Spoken::Smtp(session) => session.secured(bindings),
            // Mutt with GNU SASL chooses SCRAM-SHA-256-PLUS wherever it is offered, cannot bind, and does not read what its `*`
            // is answered; so with it nobody could read mail by Debian's.
            Spoken::Pop3(visit) => visit.session.secured(Bindings::Absent),
        }
    }

    pub fn answer_login(&mut self, answer: Result<Arc<str>, NoLogin>, out: &mut Outbox) {
        match self {
            Spoken::Smtp(session) => session.answer_login(answer.map_err(NoLogin::reply), out),
            Spoken::Pop3(visit) => {
                visit.session.answer_login(answer.map_err(NoLogin::refusal), out);
                visit.goes_on = GoesOn::AtOnce;
            }
        }
    }

    pub fn answer_keys(&mut self, answer: Result<ScramBasis, NoLogin>, out: &mut Outbox) {
        match self {
            Spoken::Smtp(session) => session.answer_keys(answer.map_err(NoLogin::reply), out),
            Spoken::Pop3(visit) => visit.session.answer_keys(answer.map_err(NoLogin::refusal), out),
        }
    }

    /// Whether it has come to its end, and only says so any more.
    pub fn is_over(&self) -> bool {
        match self {
            Spoken::Smtp(session) => session.is_over(),
            Spoken::Pop3(visit) => visit.session.is_over(),
        }
    }

    /// Whether it is in the middle of something that a stopping server lets it end: a message on its way in or out.
    pub fn is_in_transaction(&self) -> bool {
        match self {
            Spoken::Smtp(session) => session.is_in_transaction(),
            Spoken::Pop3(visit) => visit.session.is_reading() || visit.goes_on == GoesOn::OnceWritten,
        }
    }

    /// Whether mail data is to come: then only data counts as progress.
    pub fn awaits_data(&self) -> bool {
        match self {
            Spoken::Smtp(session) => session.awaits_data(),
            Spoken::Pop3(_) => false,
        }
    }

    /// Whether what comes next is mail data.
    pub fn is_in_data(&self) -> bool {
        match self {
            Spoken::Smtp(session) => session.is_in_data(),
            Spoken::Pop3(_) => false,
        }
    }

    /// Octets of memory that it takes beyond itself.
    pub fn memory(&self) -> usize {
        match self {
            Spoken::Smtp(session) => session.memory(),
            Spoken::Pop3(visit) => visit.memory(),
        }
    }
}

/// The last that a client is told, by the server rather than by its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastWord {
    ShuttingDown,
    /// As many connections as the server takes are open.
    TooManyConnections,
    /// As many connections as one client may have in a minute.
    ClientConnections,
    /// It spoke before a banner that was held back.
    SpokeEarly,
    CommandTimeout,
    DataTimeout,
    SessionTimeout,
    /// The account is gone, or has another password.
    Revoked,
}

impl LastWord {
    fn reply(self) -> Reply {
        match self {
            LastWord::ShuttingDown => Reply::SHUTTING_DOWN,
            LastWord::TooManyConnections => Reply::TOO_MANY_CONNECTIONS,
            LastWord::ClientConnections => Reply::CLIENT_CONNECTIONS,
            LastWord::SpokeEarly => Reply::EARLY_TALKER,
            LastWord::CommandTimeout => Reply::COMMAND_TIMEOUT,
            LastWord::DataTimeout => Reply::DATA_TIMEOUT,
            LastWord::SessionTimeout => Reply::SESSION_TIMEOUT,
            LastWord::Revoked => Reply::LOGIN_REVOKED,
        }
    }

    fn refusal(self) -> Refusal {
        match self {
            LastWord::ShuttingDown => Refusal::SHUTTING_DOWN,
            LastWord::TooManyConnections => Refusal::TOO_MANY_CONNECTIONS,
            LastWord::ClientConnections => Refusal::CLIENT_CONNECTIONS,
            LastWord::CommandTimeout => Refusal::TIMEOUT,
            LastWord::SessionTimeout => Refusal::SESSION_TIMEOUT,
            LastWord::Revoked => Refusal::LOGIN_REVOKED,
            LastWord::SpokeEarly | LastWord::DataTimeout => {
                unreachable!("a POP3 greeting is never held back, and no mail data comes")
            }
        }
    }

    /// The line that a service says then, without its CRLF.
    pub fn text(self, service: Service) -> &'static str {
        if service.is_pop3() { self.refusal().text() } else { self.reply().text() }
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// No such user, or a wrong password.
    Failed,
    /// The same, or not even looked at, and once too often: the end of the session.
    TooManyFailed,
    /// As many passwords are being checked as the server checks at once.
    Busy,
}

impl NoLogin {
    fn reply(self) -> Reply {
        match self {
            NoLogin::Failed => Reply::LOGIN_FAILED,
            NoLogin::TooManyFailed => Reply::TOO_MANY_FAILED_LOGINS,
            NoLogin::Busy => Reply::LOGIN_BUSY,
        }
    }

    fn refusal(self) -> Refusal {
        match self {
            NoLogin::Failed => Refusal::LOGIN_FAILED,
            NoLogin::TooManyFailed => Refusal::TOO_MANY_LOGINS,
            NoLogin::Busy => Refusal::LOGIN_LATER,
        }
    }
}

/// What all sessions of a service have in common.
#[derive(Debug, Clone)]
pub(super) enum Profile {
    Smtp(Arc<smtp::Profile>),
    Pop3(Arc<pop3::Profile>),
}

/// By service.
pub(super) type Profiles = [Profile; Service::ALL.len()];

impl Profile {
    /// Those of all services.
    pub fn all(options: &Options, tls: Option<&ServerTls>, accounts: &Accounts) -> Profiles {
        Service::ALL.map(|service| {
            let starttls = tls.is_some() && !service.is_in_tls();
            match service.is_pop3() {
                true => Profile::Pop3(Arc::new(of_pop3(options, starttls, accounts))),
                false => Profile::Smtp(Arc::new(of_smtp(options, service, starttls, accounts))),
            }
        })
    }

    /// A session before its greeting.
    pub fn session(&self) -> Spoken {
        match self {
            Profile::Smtp(profile) => Spoken::Smtp(smtp::Session::new(profile.clone())),
            Profile::Pop3(profile) => Spoken::Pop3(Box::new(Visit::new(profile.clone()))),
        }
    }
}

fn of_smtp(options: &Options, service: Service, starttls: bool, accounts: &Accounts) -> smtp::Profile {
    let remark = match options.durability {
        Durability::Disk => "",
        Durability::None => "NOT DURABLE (mail is kept in memory only)",
    };
    let is_for_users = service != Service::Smtp;
    // Where nobody could log in nothing is offered.
    let auth = if is_for_users || accounts.is_kept() { offer(options) } else { Offer::Never };
    smtp::Profile::new(&options.hostname, remark, options.message_size_max, options.recipients_max)
        .with(smtp::Security { starttls, auth, auth_required: is_for_users })
}

fn of_pop3(options: &Options, starttls: bool, accounts: &Accounts) -> pop3::Profile {
    let auth = if accounts.is_kept() { offer(options) } else { Offer::Never };
    pop3::Profile::new(&options.hostname).with(pop3::Security { starttls, auth })
}

fn offer(options: &Options) -> Offer {
    if options.allow_plaintext_auth { Offer::Always } else { Offer::InTls }
}

impl From<smtp::CloseReason> for CloseReason {
    fn from(reason: smtp::CloseReason) -> CloseReason {
        CloseReason::Smtp(reason)
    }
}

impl From<pop3::CloseReason> for CloseReason {
    fn from(reason: pop3::CloseReason) -> CloseReason {
        CloseReason::Pop3(reason)
    }
}
