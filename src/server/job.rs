//! Work that the loop hands out, and what comes back. Values only: who runs them, and when, is not said here.

use std::io;
use std::sync::Arc;

use super::courier::{DeliveryDone, DeliveryJob};
use super::maildrop::jobs::{Listing, OpenJob, ReadDone, ReadJob, UpdateDone, UpdateJob};
use crate::accounts::{Accounts, HashMemory, PasswordCheck};
use crate::mailbox::MailboxPath;
use crate::net::slots::Key;
use crate::net::tls::ServerTls;
use crate::spool::{Batch, Committed, Prepare, Prepared, SpillDone, SpillJob};

/// Something that would block the loop.
pub enum Job {
    /// Write a batch to the log and sync it. At most one is out.
    Commit(Batch),
    /// Deliver messages into Maildirs, or make earlier deliveries durable. At most one is out.
    Deliver(DeliveryJob),
    /// Make the log's next segment ready. At most one is out.
    Prepare(Prepare),
    /// Write a part of a large message to its file. At most one is out for each connection.
    Spill(Key, SpillJob),
    /// Judge a password. At most one is out for each connection, and [`PASSWORDS_WAITING_MAX`](crate::limits::PASSWORDS_WAITING_MAX) in all.
    CheckPassword(PasswordJob),
    /// Measure the messages of a mailbox. At most one is out for each mailbox with a quota.
    Measure(MailboxPath),
    /// List a mailbox for a POP3 session. Of these three at most one is out for each connection.
    Open(OpenJob),
    /// Read a part of a message for a POP3 session.
    Read(ReadJob),
    /// Remove some messages, and mark others as seen, for a POP3 session.
    Update(UpdateJob),
}

/// A password to judge.
pub struct PasswordJob {
    /// Whose connection waits.
    pub key: Key,
    /// The user that the client says it is.
    pub user: String,
    /// What judges it.
    pub check: PasswordCheck,
    /// The password.
    pub password: String,
}

impl PasswordJob {
    /// Does the job: some 20 ms of a processor.
    pub fn run(self, memory: &mut HashMemory) -> Completion {
        let account = self.check.run(&self.password, memory);
        Completion::PasswordChecked { key: self.key, user: self.user, account }
    }
}

/// A job's end.
pub enum Completion {
    /// Of [`Job::Commit`].
    Committed(Committed),
    /// Of [`Job::Deliver`].
    Delivered(DeliveryDone),
    /// Of [`Job::Prepare`].
    Prepared(Prepared),
    /// Of [`Job::Spill`].
    Spilled(Key, SpillDone),
    /// Of [`Job::CheckPassword`].
    PasswordChecked {
        /// Whose connection waits.
        key: Key,
        /// The user that the client says it is.
        user: String,
        /// The address of the account, if the password is right.
        account: Option<Arc<str>>,
    },
    /// Of [`Job::Measure`]: octets.
    Measured(MailboxPath, io::Result<u64>),
    /// Of [`Job::Open`].
    Opened(Key, io::Result<Listing>),
    /// Of [`Job::Read`].
    Read(Key, io::Result<ReadDone>),
    /// Of [`Job::Update`].
    Updated(Key, UpdateDone),
    /// Of no job: somebody changed what the server was started with.
    Reloaded(Reload),
}

/// What was read anew, as far as it changed. What cannot be used is not here: the old holds on.
#[derive(Debug, Default)]
pub struct Reload {
    /// What new connections begin TLS with.
    pub tls: Option<ServerTls>,
    /// The accounts there are now.
    pub accounts: Option<Arc<Accounts>>,
}
