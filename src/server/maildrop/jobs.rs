//! What workers do for POP3 sessions: list a mailbox, read a part of a message, change a mailbox. Functions from value to
//! value, each over the disk, which may be slow.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use log::warn;

use crate::disk::{Disk, File, read_full_at};
use crate::mailbox::{self, Mail, MailboxPath};
use crate::net::slots::Key;
use crate::pop3::{Changes, Listed, Part};
use crate::server::job::Completion;

/// To list a mailbox.
pub struct OpenJob {
    /// Whose connection waits.
    pub key: Key,
    /// The mailbox, locked for it.
    pub mailbox: MailboxPath,
}

/// A mailbox as its session sees it.
pub struct Listing {
    /// Where its messages lie.
    pub mails: Arc<[Mail]>,
    /// The same messages for the session, in the same order.
    pub listed: Vec<Listed>,
    /// Octets of memory of both.
    pub octets: usize,
}

impl OpenJob {
    /// Lists it. A mailbox that nobody has made yet is empty.
    pub fn run(self, disk: &dyn Disk) -> Completion {
        let mails = match mailbox::list(disk, &self.mailbox) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            mails => mails,
        };
        Completion::Opened(self.key, mails.map(Listing::of))
    }
}

impl Listing {
    fn of(mails: Vec<Mail>) -> Listing {
        let listed = |mail: &Mail| Listed { uid: mail.unique_id(), octets: mail.octets };
        let listed: Vec<Listed> = mails.iter().map(listed).collect();
        let octets = mails.iter().map(Mail::memory).sum::<usize>()
            + listed.iter().map(|listed| size_of::<Listed>() + listed.uid.len()).sum::<usize>();
        Listing { mails: mails.into(), listed, octets }
    }
}

/// To read a part of a message.
pub struct ReadJob {
    /// Whose connection waits.
    pub key: Key,
    /// The message.
    pub source: Source,
    /// Octets that it had when its mailbox was listed.
    pub listed: u64,
    /// Octets of it that lie before the part.
    pub offset: u64,
    /// Octets of the part, at the most.
    pub octets: usize,
}

/// Where a message is.
pub enum Source {
    /// Where it was when its mailbox was listed.
    Mail {
        /// The mailbox.
        mailbox: MailboxPath,
        /// Its messages.
        mails: Arc<[Mail]>,
        /// The message's place among them.
        index: usize,
    },
    /// Open already.
    File(Box<dyn File>),
}

/// What was read of a message.
pub struct ReadDone {
    /// The part.
    pub part: Part,
    /// The message, if more of it is to come.
    pub file: Option<Box<dyn File>>,
}

impl ReadJob {
    /// Reads it. A file that has become shorter than it was listed is an error, so that no torn message passes for a whole one;
    /// one that has grown is read to its end, wherever that is then: so is a mail that was still written to when it was listed.
    pub fn run(self, disk: &dyn Disk) -> Completion {
        let key = self.key;
        Completion::Read(key, self.read(disk))
    }

    fn read(self, disk: &dyn Disk) -> io::Result<ReadDone> {
        let ReadJob { source, listed, offset, octets, .. } = self;
        let file = source.open(disk)?;
        let size = file.size()?;
        if size < listed.max(offset) {
            return Err(shorter(size, listed.max(offset)));
        }
        let left = size - offset;
        let mut buffer = vec![0; usize::try_from(left).unwrap_or(octets).min(octets)];
        let read = read_full_at(&*file, &mut buffer, offset)?;
        if read < buffer.len() {
            return Err(shorter(offset + read as u64, size));
        }
        let is_last = left == read as u64;
        Ok(ReadDone { part: Part { octets: buffer, is_last }, file: (!is_last).then_some(file) })
    }
}

impl Source {
    fn open(self, disk: &dyn Disk) -> io::Result<Box<dyn File>> {
        match self {
            Source::Mail { mailbox, mails, index } => {
                mailbox::open(disk, &mailbox, mails.get(index).ok_or(ErrorKind::NotFound)?)
            }
            Source::File(file) => Ok(file),
        }
    }
}

/// Somebody cut a file while we had it.
fn shorter(now: u64, before: u64) -> io::Error {
    let sentence = format!("its file has {now} octets, and had {before} before: another program cut it");
    io::Error::new(ErrorKind::UnexpectedEof, sentence)
}

/// To change a mailbox as its client wants.
pub struct UpdateJob {
    /// Whose connection waits, if it is still there.
    pub key: Key,
    /// The mailbox, locked for it.
    pub mailbox: MailboxPath,
    /// Its messages.
    pub mails: Arc<[Mail]>,
    /// What is to become of them.
    pub changes: Changes,
}

/// What became of it.
pub struct UpdateDone {
    /// Messages that are gone for it.
    pub removed: u64,
    /// Whether those are all that were to go.
    pub is_whole: bool,
}

impl UpdateJob {
    /// Removes what is to be removed, and marks what was seen. A mark that cannot be made is no reason to trouble a client
    /// who can do nothing about it.
    pub fn run(self, disk: &dyn Disk) -> Completion {
        let UpdateJob { key, mailbox, mails, changes } = self;
        let mut removed = 0;
        let mut failure = None;
        for mail in changes.removed.iter().filter_map(|&index| mails.get(index)) {
            match mailbox::remove(disk, &mailbox, mail) {
                Ok(()) => removed += 1,
                Err(error) => failure = Some(error),
            }
        }
        for mail in changes.seen.iter().filter_map(|&index| mails.get(index)) {
            let _ = mailbox::mark_seen(disk, &mailbox, mail);
        }
        if let Some(error) = &failure {
            warn!("messages cannot be removed mailbox={mailbox}: {error}");
        }
        Completion::Updated(key, UpdateDone { removed, is_whole: failure.is_none() })
    }
}
