//! What a ledger promised against what was found: each acknowledged message is judged once.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::content::Found;
use super::{Fault, FaultKind};
use crate::ledger::{Entry, LedgerError, Reader};
use crate::mail_id::{MailId, RunId};

/// How many copies of a message there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// One: what is looked at is a Maildir.
    One,
    /// One in the mailbox of each recipient.
    OneEach,
}

/// All messages of a ledger, and what was found of them.
pub struct Accounts {
    run: RunId,
    accounts: HashMap<MailId, Account>,
    /// The last faulty copy of a message; of the first [`FILES_KEPT_MAX`] messages.
    files: HashMap<MailId, PathBuf>,
    /// Files of this run that are in no line.
    pub unacknowledged: u64,
    /// Files of another run, or without an id.
    pub foreign: u64,
}

/// One message. In the tens of bytes: there may be millions.
#[derive(Debug)]
struct Account {
    sha256: [u8; 32],
    octets: u64,
    line: u64,
    expected: u32,
    /// Maildirs that have it.
    copies: u32,
    /// Files beyond the first in a Maildir.
    more: u32,
    /// Files whose content is another.
    damaged: u32,
    /// The Maildir of the file found last.
    maildir: u32,
}

impl Accounts {
    /// Reads a ledger to its end.
    pub fn read(ledger: &mut Reader<impl BufRead>, copies: Copies) -> Result<Accounts, LedgerError> {
        let run = ledger.head().run;
        let mut accounts = HashMap::new();
        while let Some(entry) = ledger.entry()? {
            let number = ledger.line_number();
            let error = |reason| Err(LedgerError::Line { number, reason });
            if entry.id.run() != run {
                return error(format!("'{}' is the id of another run than the head's", entry.id));
            }
            if let Some(earlier) = accounts.insert(entry.id, Account::new(&entry, copies, number)) {
                return error(format!("'{}' stands in line {} already", entry.id, earlier.line));
            }
        }
        Ok(Accounts { run, accounts, files: HashMap::new(), unacknowledged: 0, foreign: 0 })
    }

    /// Takes note of a file in the Maildir with this number.
    pub fn found(&mut self, found: Option<Found>, maildir: u32, path: &Path) {
        let Some(found) = found.filter(|found| found.id.run() == self.run) else {
            self.foreign += 1;
            return;
        };
        let Some(account) = self.accounts.get_mut(&found.id) else {
            self.unacknowledged += 1;
            return;
        };
        if account.found(&found, maildir) && self.files.len() < FILES_KEPT_MAX {
            self.files.insert(found.id, path.to_owned());
        }
    }

    /// How many messages are in the ledger.
    pub fn count(&self) -> u64 {
        self.accounts.len() as u64
    }

    /// How many messages have a fault of this kind: one message has one at the most, the worst.
    pub fn faulty(&self, kind: FaultKind) -> u64 {
        self.accounts.values().filter(|account| account.fault() == Some(kind)).count() as u64
    }

    /// The first faults of a kind, in the order of the ledger.
    pub fn faults(&self, kind: FaultKind, count: usize) -> Vec<Fault> {
        let mut faulty: Vec<(&MailId, &Account)> =
            self.accounts.iter().filter(|(_, account)| account.fault() == Some(kind)).collect();
        faulty.sort_unstable_by_key(|(_, account)| account.line);
        let told = faulty.into_iter().take(count).map(|(id, account)| Fault {
            kind,
            id: Some(id.to_string()),
            text: account.text(),
            file: self.files.get(id).map(|path| path.display().to_string()),
        });
        told.collect()
    }
}

impl Account {
    fn new(entry: &Entry, copies: Copies, line: u64) -> Account {
        let expected = match copies {
            Copies::One => 1,
            Copies::OneEach => {
                let mailboxes =
                    entry.recipients.iter().map(|address| (address.local_part(), address.domain_key()));
                mailboxes.collect::<HashSet<_>>().len() as u32
            }
        };
        let Entry { sha256, octets, .. } = *entry;
        Account { sha256, octets, line, expected, copies: 0, more: 0, damaged: 0, maildir: u32::MAX }
    }

    /// Whether the file is one too many or damaged.
    fn found(&mut self, found: &Found, maildir: u32) -> bool {
        let again = self.maildir == maildir;
        let damaged = (found.sha256, found.octets) != (self.sha256, self.octets);
        self.maildir = maildir;
        self.copies += u32::from(!again);
        self.more += u32::from(again);
        self.damaged += u32::from(damaged);
        again || damaged || self.copies > self.expected
    }

    fn fault(&self) -> Option<FaultKind> {
        if self.copies < self.expected {
            Some(FaultKind::Missing)
        } else if self.damaged > 0 {
            Some(FaultKind::Damaged)
        } else if self.more > 0 || self.copies > self.expected {
            Some(FaultKind::Duplicate)
        } else {
            None
        }
    }

    /// In words.
    fn text(&self) -> String {
        let mut text = format!("line {}: {} of {} copies", self.line, self.copies, self.expected);
        if self.more > 0 {
            text += &format!(", {} more in a Maildir that has one", self.more);
        }
        if self.damaged > 0 {
            text += &format!(", {} damaged", self.damaged);
        }
        text
    }
}

/// Faulty files whose names are kept: of more, the first faults are told without them.
const FILES_KEPT_MAX: usize = 100_000;
