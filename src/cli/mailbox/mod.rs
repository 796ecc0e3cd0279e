//! A mailbox as the mail commands see it, wherever it is: a Maildir of the data directory, which needs no server and
//! disturbs none, or a server's maildrop (POP3). Each command is written once, over [`Mailbox`].

mod directory;
mod maildrop;
mod place;
mod pop3;
mod which;

use std::io::{ErrorKind, Write};

use fastsmtp::limits::MAIL_READ_MAX;

use super::exit::{Exit, Failure};
use super::mail::{Fields, Summary};
use super::output::printable;
pub use maildrop::Login;
pub use place::{Found, Patience, Place, here};
pub use which::{EXPLAINED as WHICH, Which, resolve, resolve_all};

use directory::Directory;
use maildrop::Maildrop;

/// A mailbox that is open.
pub enum Mailbox {
    /// A Maildir.
    Directory(Directory),
    /// A server's.
    Maildrop(Box<Maildrop>),
}

/// A mail in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: 1 for the oldest. Others may have it when mails were removed.
    pub number: usize,
    /// What names it for ever: the name of its file without flags, which POP3 says as well.
    pub id: String,
    /// How long it is.
    pub octets: u64,
    /// What its readers did.
    pub state: State,
    /// When it came, in Unix seconds, if that is known.
    pub arrived: Option<u64>,
}

/// What the readers of a mail did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// None has looked at it.
    New,
    /// One has looked, and not read it.
    Old,
    /// One has read it.
    Seen,
    /// Nobody tells.
    Unknown,
}

impl Entry {
    /// When it was written, else when it came.
    pub fn date(&self, summary: &Summary) -> Option<i64> {
        summary.date.or_else(|| self.arrived?.try_into().ok())
    }
}

/// What is done for each header of a listing: its mail and its beginning, at most
/// [`HEADER_READ_MAX`](fastsmtp::limits::HEADER_READ_MAX) octets; none if it cannot be read.
type EachHeader<'a> = &'a mut dyn FnMut(&Entry, Option<&[u8]>);

impl Mailbox {
    /// All mails, the oldest first.
    pub fn list(&mut self) -> Result<Vec<Entry>, Failure> {
        match self {
            Mailbox::Directory(directory) => directory.list(),
            Mailbox::Maildrop(maildrop) => Ok(maildrop.list()),
        }
    }

    /// Reads what the headers of these mails say. Those that are gone meanwhile are left out; of those that cannot be read the
    /// summary says so.
    pub fn summaries(
        &mut self,
        entries: &[Entry],
        mut each: impl FnMut(&Entry, &Summary),
    ) -> Result<(), Failure> {
        let mut header = |entry: &Entry, header: Option<&[u8]>| {
            let summary = header.map(|header| Summary::of(&Fields::split(header).0));
            each(entry, &summary.unwrap_or_else(Summary::unreadable));
        };
        match self {
            Mailbox::Directory(directory) => directory.headers(entries, &mut header),
            Mailbox::Maildrop(maildrop) => maildrop.headers(entries, &mut header),
        }
    }

    /// Whether a mail can be read, as far as that is known without reading it; that it cannot is told once.
    pub fn is_readable(&self, entry: &Entry) -> bool {
        match self {
            Mailbox::Directory(directory) => directory.is_readable(entry),
            Mailbox::Maildrop(_) => true,
        }
    }

    /// Writes the exact content of a mail, unless it is gone; says whether it was there. An error of `out` is a failure of
    /// [`Exit::InputOutput`].
    pub fn copy(&mut self, entry: &Entry, out: &mut dyn Write) -> Result<bool, Failure> {
        match self {
            Mailbox::Directory(directory) => directory.copy(entry, out),
            Mailbox::Maildrop(maildrop) => maildrop.copy(entry, out),
        }
    }

    /// The content of a mail, to be decoded; none if it is gone.
    pub fn content(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>, Failure> {
        if entry.octets > MAIL_READ_MAX {
            return Err(too_large(entry));
        }
        let mut content = Beginning::default();
        match self.copy(entry, &mut content) {
            _ if content.is_cut => Err(too_large(entry)),
            copied => Ok(copied?.then_some(content.octets)),
        }
    }

    /// The content of a mail, to be searched; none if it is gone, or cannot be read, which is told once. Of a file that is too
    /// large to be decoded, its beginning; a server cannot be stopped in the midst of a mail.
    pub fn beginning(&mut self, entry: &Entry) -> Result<Option<Vec<u8>>, Failure> {
        if !self.is_readable(entry) {
            return Ok(None);
        }
        if matches!(self, Mailbox::Maildrop(_)) {
            return self.content(entry);
        }
        let mut content = Beginning::default();
        match self.copy(entry, &mut content) {
            _ if content.is_cut => Ok(Some(content.octets)),
            copied => Ok(copied?.then_some(content.octets)),
        }
    }

    /// Notes that a mail was seen. A server does not take that by POP3.
    pub fn mark_seen(&mut self, entry: &Entry) -> Result<(), Failure> {
        match self {
            Mailbox::Directory(directory) => directory.mark_seen(entry),
            Mailbox::Maildrop(_) => Ok(()),
        }
    }

    /// Removes mails. Those that are gone already are fine.
    pub fn remove(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        match self {
            Mailbox::Directory(directory) => directory.remove(entries),
            Mailbox::Maildrop(maildrop) => maildrop.remove(entries),
        }
    }

    /// Whether a new list might have what the last had not. A maildrop shows what it had when it was opened.
    pub fn may_have_changed(&self) -> bool {
        match self {
            Mailbox::Directory(directory) => directory.may_have_changed(),
            Mailbox::Maildrop(_) => false,
        }
    }

    /// Ends the session with a server, which only now removes what is to be removed. A Maildir needs no end.
    pub fn close(self) -> Result<(), Failure> {
        match self {
            Mailbox::Directory(_) => Ok(()),
            Mailbox::Maildrop(maildrop) => maildrop.close(),
        }
    }

    /// Ends the session with a server, in which nothing was to be removed: whatever comes of that, all is done.
    pub fn leave(self) {
        if let Mailbox::Maildrop(maildrop) = self {
            maildrop.leave();
        }
    }
}

/// A mail that was listed, and is there no more.
pub fn gone(entry: &Entry) -> Failure {
    let id = printable(entry.id.as_bytes());
    Failure::new(Exit::NoInput, format!("mail {} ({id}) is gone: somebody removed it just now", entry.number))
}

fn too_large(entry: &Entry) -> Failure {
    let (number, most) = (entry.number, MAIL_READ_MAX >> 20);
    Failure::new(
        Exit::Data,
        format!("mail {number} is larger than {most} MiB, too large to be shown; --raw copies it as it is"),
    )
}

/// As much of a mail as a reader takes into memory; the rest is an error.
#[derive(Default)]
struct Beginning {
    octets: Vec<u8>,
    is_cut: bool,
}

impl Write for Beginning {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let room = MAIL_READ_MAX.saturating_sub(self.octets.len() as u64);
        let kept = octets.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.octets.extend_from_slice(&octets[..kept]);
        self.is_cut |= kept < octets.len();
        if self.is_cut { Err(ErrorKind::FileTooLarge.into()) } else { Ok(kept) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
