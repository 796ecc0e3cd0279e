//! A Maildir of the data directory, read where it lies: no server is needed, none is disturbed, and no lock is taken.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fastsmtp::disk::{File, RealDisk, read_full_at};
use fastsmtp::limits::{HEADER_READ_FIRST, HEADER_READ_MAX};
use fastsmtp::mailbox::{self as access, MailboxPath};

use super::{EachHeader, Entry, State};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{exit_of, printable};

/// A mailbox's Maildir.
pub struct Directory {
    disk: RealDisk,
    mailbox: MailboxPath,
    /// Where it is, for people.
    place: PathBuf,
    /// The mails of the last list, by id.
    mails: HashMap<String, access::Mail>,
    looked: Option<Look>,
    /// Whether it was told that a mail cannot be read.
    has_told: Cell<bool>,
}

/// When the directories last changed before they were listed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    changed: [Option<SystemTime>; 2],
    at: SystemTime,
}

impl Directory {
    /// The Maildir of `mailbox` on `disk`, which lies at `place`. It need not be there.
    pub fn new(disk: RealDisk, mailbox: MailboxPath, place: PathBuf) -> Directory {
        Directory { disk, mailbox, place, mails: HashMap::new(), looked: None, has_told: Cell::new(false) }
    }

    /// All mails, the oldest first; none where there is no such directory, for its first mail makes it.
    pub fn list(&mut self) -> Result<Vec<Entry>, Failure> {
        self.looked = Some(self.look());
        let listed = match access::list(&self.disk, &self.mailbox) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(|error| self.failure(&error))?,
        };
        let entries = listed.iter().enumerate().map(|(at, mail)| entry(at + 1, mail)).collect();
        self.mails = listed.into_iter().map(|mail| (mail.name.to_string(), mail)).collect();
        Ok(entries)
    }

    /// Whether a new list might have more than the last. Costs two system calls.
    pub fn may_have_changed(&self) -> bool {
        // What happens within one tick of the file system's clock leaves one time; so a change just before the list may
        // hide one just after it.
        let is_settled = |looked: &Look| {
            looked
                .changed
                .iter()
                .flatten()
                .all(|changed| looked.at.duration_since(*changed).is_ok_and(|since| since > TICK_MAX))
        };
        self.looked.as_ref().is_none_or(|looked| !is_settled(looked) || looked.changed != self.look().changed)
    }

    fn look(&self) -> Look {
        let changed = |name| fs::metadata(self.place.join(name)).and_then(|data| data.modified()).ok();
        Look { at: SystemTime::now(), changed: [changed("new"), changed("cur")] }
    }

    /// The headers of these mails; none for one that cannot be read, which is told once.
    pub fn headers(&self, entries: &[Entry], each: EachHeader<'_>) -> Result<(), Failure> {
        let mut buffer = Vec::new();
        for entry in entries {
            let read = match self.open(entry) {
                Ok(None) => continue,
                Ok(Some(file)) => read_header(&*file, &mut buffer).map_err(|error| self.failure(&error)),
                Err(failure) => Err(failure),
            };
            match read {
                Ok(()) => each(entry, Some(&buffer)),
                Err(failure) => {
                    self.tell_once(entry, &failure);
                    each(entry, None);
                }
            }
        }
        Ok(())
    }

    /// See [`Mailbox::is_readable`](super::Mailbox::is_readable). That it is gone is no matter.
    pub fn is_readable(&self, entry: &Entry) -> bool {
        let first = |file: Box<dyn File>| file.read_at(&mut [0], 0).map_err(|error| self.failure(&error));
        let read = self.open(entry).and_then(|file| file.map_or(Ok(0), first));
        read.map_err(|failure| self.tell_once(entry, &failure)).is_ok()
    }

    /// A standard error that is broken is no reason to stop.
    fn tell_once(&self, entry: &Entry, failure: &Failure) {
        if !self.has_told.replace(true) {
            let id = printable(entry.id.as_bytes());
            let told = format!("{failure}: mail {} ({id}) cannot be read; the others can", entry.number);
            let _ = writeln!(io::stderr().lock(), "{told}");
        }
    }

    /// See [`Mailbox::copy`](super::Mailbox::copy).
    pub fn copy(&self, entry: &Entry, out: &mut dyn Write) -> Result<bool, Failure> {
        let Some(file) = self.open(entry)? else { return Ok(false) };
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        loop {
            let read = read_full_at(&*file, &mut buffer, offset).map_err(|error| self.failure(&error))?;
            if read == 0 {
                return Ok(true);
            }
            out.write_all(&buffer[..read])
                .map_err(|error| Failure::new(Exit::InputOutput, error.to_string()))?;
            offset += read as u64;
        }
    }

    /// Notes that a mail was seen: moves it to `cur/`. That it is gone is fine.
    pub fn mark_seen(&self, entry: &Entry) -> Result<(), Failure> {
        let Some(mail) = self.mails.get(&entry.id) else { return Ok(()) };
        match access::mark_seen(&self.disk, &self.mailbox, mail) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            marked => marked.map_err(|error| {
                let Failure { exit, sentence } = self.failure(&error);
                Failure::new(exit, format!("{sentence}; it cannot be marked as seen: say --peek"))
            }),
        }
    }

    /// Removes mails.
    pub fn remove(&self, entries: &[Entry]) -> Result<(), Failure> {
        let mails: Vec<_> = entries.iter().filter_map(|entry| self.mails.get(&entry.id)).cloned().collect();
        let count = mails.len();
        let mut changer = access::Changer::new(self.mailbox.clone(), mails.into());
        (0..count)
            .try_for_each(|index| changer.remove(&self.disk, index).map_err(|error| self.failure(&error)))
    }

    fn open(&self, entry: &Entry) -> Result<Option<Box<dyn File>>, Failure> {
        let Some(mail) = self.mails.get(&entry.id) else { return Ok(None) };
        match access::open(&self.disk, &self.mailbox, mail) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some).map_err(|error| self.failure(&error)),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let place = printable(self.place.to_string_lossy().as_bytes());
        Failure::new(exit_of(error), format!("{place}: {error}"))
    }
}

/// The coarsest clock of a file system that is in use, with room: two seconds (FAT).
const TICK_MAX: Duration = Duration::from_secs(2);

/// Octets that are copied at once.
const CHUNK: usize = 256 * 1024;

fn entry(number: usize, mail: &access::Mail) -> Entry {
    let state = match (mail.is_new, mail.is_seen) {
        (true, _) => State::New,
        (false, true) => State::Seen,
        (false, false) => State::Old,
    };
    let arrived = Some(mail.arrived).filter(|arrived| *arrived > 0);
    Entry { number, id: mail.name.to_string(), octets: mail.octets, state, arrived }
}

/// Reads a file up to the end of its header, in growing steps; at most [`HEADER_READ_MAX`] octets.
fn read_header(file: &dyn File, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    let mut wanted = HEADER_READ_FIRST;
    while buffer.len() < HEADER_READ_MAX {
        let start = buffer.len();
        buffer.resize(wanted, 0);
        let read = read_full_at(file, &mut buffer[start..], start as u64)?;
        buffer.truncate(start + read);
        // The empty line may lie across two steps.
        if start + read < wanted || has_header_end(&buffer[start.saturating_sub(3)..]) {
            break;
        }
        wanted = (wanted * 4).min(HEADER_READ_MAX);
    }
    Ok(())
}

fn has_header_end(octets: &[u8]) -> bool {
    octets.windows(3).any(|three| three == b"\n\r\n" || three.starts_with(b"\n\n"))
}
