//! What workers do for POP3 sessions: list a mailbox, read a part of a message, change a mailbox. Functions from value to
//! value, each over the disk, which may be slow.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use log::warn;

use crate::disk::{Disk, File, read_full_at};
use crate::limits::POP3_CHANGES_PER_JOB;
use crate::mailbox::{self, Changer, Mail, MailboxPath, Oldest, Room};
use crate::net::slots::Key;
use crate::pop3::{Changes, Listed, Part};
use crate::server::job::Completion;

/// To list a mailbox.
pub struct OpenJob {
    /// Whose connection waits.
    pub key: Key,
    /// The mailbox, locked for it.
    pub mailbox: MailboxPath,
    /// Octets of memory that its listing may take.
    pub room: usize,
}

/// A mailbox as its session sees it.
pub struct Listing {
    /// Where its messages lie.
    pub mails: Arc<[Mail]>,
    /// The same messages for the session, in the same order.
    pub listed: Vec<Listed>,
    /// Octets of memory of both.
    pub octets: usize,
    /// Files, all younger, that there was no room for.
    pub left_out: usize,
}

impl OpenJob {
    /// Lists it, or its oldest messages if there is no room for all. A mailbox that nobody has made yet is empty.
    pub fn run(self, disk: &dyn Disk) -> Completion {
        let room = Room { octets: self.room, beside: &|name| Listing::beside(mailbox::unique_id_len(name)) };
        let oldest = match mailbox::list_oldest(disk, &self.mailbox, room) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Oldest::default()),
            oldest => oldest,
        };
        Completion::Opened(self.key, oldest.map(Listing::of))
    }
}

impl Listing {
    fn of(oldest: Oldest) -> Listing {
        let Oldest { mails, left_out } = oldest;
        let listed = |mail: &Mail| Listed { uid: mail.unique_id(), octets: mail.octets };
        let listed: Vec<Listed> = mails.iter().map(listed).collect();
        let octets = mails.iter().map(Mail::memory).sum::<usize>()
            + listed.iter().map(|listed| Listing::beside(listed.uid.len())).sum::<usize>();
        Listing { mails: mails.into(), listed, octets, left_out }
    }

    /// Octets that the session takes for a message with a unique id of this length; one of them is for its marks.
    fn beside(uid: usize) -> usize {
        size_of::<Listed>() + uid + 1
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

/// To change a mailbox as its client wants, [`POP3_CHANGES_PER_JOB`] changes at a time.
pub struct UpdateJob {
    /// Whose connection waits, if it is still there.
    key: Key,
    /// The mailbox, locked for it.
    changer: Changer,
    /// What is to become of its messages.
    changes: Changes,
    /// How many of the changes were tried.
    tried: usize,
    /// Messages that are gone for it.
    removed: u64,
    has_failed: bool,
}

/// What became of it so far.
pub struct UpdateDone {
    /// Messages that are gone for it.
    pub removed: u64,
    /// Whether those are all that were to go.
    pub is_whole: bool,
    /// What is still to be done; to leave it does no harm.
    pub rest: Option<UpdateJob>,
}

enum Change {
    Remove(usize),
    MarkSeen(usize),
}

impl UpdateJob {
    /// For a session that has these messages of a mailbox.
    pub fn new(key: Key, mailbox: MailboxPath, mails: Arc<[Mail]>, changes: Changes) -> UpdateJob {
        let changer = Changer::new(mailbox, mails);
        UpdateJob { key, changer, changes, tried: 0, removed: 0, has_failed: false }
    }

    /// The mailbox that it changes.
    pub fn mailbox(&self) -> &MailboxPath {
        self.changer.mailbox()
    }

    /// Messages that are still to be removed.
    pub fn left(&self) -> usize {
        self.changes.removed.len().saturating_sub(self.tried)
    }

    /// Removes some of what is to be removed, and then marks what was seen. A mark that cannot be made is no reason to trouble
    /// a client who can do nothing about it.
    pub fn run(mut self, disk: &dyn Disk) -> Completion {
        for _ in 0..POP3_CHANGES_PER_JOB {
            match self.next() {
                Some(Change::Remove(index)) => self.remove(disk, index),
                Some(Change::MarkSeen(index)) => {
                    let _ = self.changer.mark_seen(disk, index);
                }
                None => break,
            }
            self.tried += 1;
        }
        let (key, removed) = (self.key, self.removed);
        let is_whole = self.left() == 0 && !self.has_failed;
        let rest = self.next().is_some().then_some(self);
        Completion::Updated(key, UpdateDone { removed, is_whole, rest })
    }

    fn next(&self) -> Option<Change> {
        let Changes { removed, seen } = &self.changes;
        match removed.get(self.tried) {
            Some(&index) => Some(Change::Remove(index)),
            None => seen.get(self.tried - removed.len()).map(|&index| Change::MarkSeen(index)),
        }
    }

    fn remove(&mut self, disk: &dyn Disk, index: usize) {
        match self.changer.remove(disk, index) {
            Ok(()) => self.removed += 1,
            // One line for all: they mostly have one cause.
            Err(error) if !self.has_failed => {
                warn!("messages cannot be removed mailbox={}: {error}", self.mailbox());
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }
}
