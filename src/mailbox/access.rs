//! What lies in a Maildir, for whoever reads it: the list of its mail, and how one is opened, removed and marked.
//!
//! Called by POP3's workers and by the mail commands; never on the event loop, for a mailbox may be large and its disk
//! slow. Other programs move and remove files meanwhile, as Maildir allows:
//!
//! ```text
//! new/NAME ──▶ cur/NAME:2, ──▶ cur/NAME:2,S ──▶ gone      NAME, the base name, stays
//! ```
//!
//! So a mail is known by its base name, and where it was is only where it is looked for first. What is promised: no file
//! is replaced, nothing but a regular file is taken for mail, whatever its name, and no link is followed. What is not:
//! durability, as in delivery; and that a file that is renamed within `cur/` just while its directory is read is listed,
//! for POSIX does not say whether the kernel shows it then. It is in the next list.

mod changing;
mod oldest;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use log::warn;

use super::{HASH_DIGITS, LISTINGS_MAX, MailboxPath, base_of, hash};
use crate::disk::{Disk, File, Open, is_shortage};
use crate::limits::BASE_NAME_MAX;
use crate::log_value::Escaped;

pub use changing::{Changer, mark_seen};
use oldest::Selection;
pub use oldest::{Oldest, Room};

/// A mail that lies in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its base name: the file's name without flags, unique in the mailbox, 1 to 255 octets of any text.
    pub name: Box<str>,
    /// Whether no reader has looked at it yet: it lies in `new/`.
    pub is_new: bool,
    /// Whether a reader has seen it: it lies in `cur/` with flag S.
    pub is_seen: bool,
    /// The length of its file.
    pub octets: u64,
    /// When it arrived, in Unix seconds: the number that its name begins with, as every Maildir writer's does; 0 without.
    pub arrived: u64,
    /// What follows the base name in the file's: a colon and flags, or nothing.
    info: Box<str>,
}

impl Mail {
    /// The mail whose file has this name there. None if it is nobody's mail: a hidden file, or a name of flags alone.
    fn of(directory: Directory, file_name: &str, octets: u64) -> Option<Mail> {
        let name = mail_name(file_name)?;
        let info = &file_name[name.len()..];
        Some(Mail {
            is_new: directory == Directory::New,
            is_seen: directory == Directory::Cur && flags(info).is_some_and(|flags| flags.contains(SEEN)),
            octets,
            arrived: leading_number(name),
            name: name.into(),
            info: info.into(),
        })
    }

    /// A name for it that POP3's clients keep (RFC 1939 7): 1 to [`BASE_NAME_MAX`] octets of printable ASCII without blanks,
    /// the same in every list and no other mail's. That is its base name, or a hash of one that others gave it and that is
    /// not so.
    pub fn unique_id(&self) -> Box<str> {
        if is_unique_id(&self.name) { self.name.clone() } else { hash(&self.name).into() }
    }

    /// Octets of memory that it takes, with what the allocator adds.
    pub fn memory(&self) -> usize {
        memory_of(self.name.len() + self.info.len())
    }

    /// Where it was when it was listed.
    fn spot(&self) -> Spot {
        let directory = if self.is_new { Directory::New } else { Directory::Cur };
        Spot { directory, file_name: format!("{}{}", self.name, self.info) }
    }
}

/// All mail in a mailbox, oldest first, and by name where that is equal. What goes meanwhile is not in it; what another
/// program moves is, once; a file that cannot be looked at is left out, and logged. `NotFound` if there is no such mailbox.
pub fn list(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<Vec<Mail>> {
    let endless = Room { octets: usize::MAX, beside: &|_| 0 };
    list_oldest(disk, mailbox, endless).map(|oldest| oldest.mails)
}

/// As much of [`list`] as there is room for, from the oldest mail on. Takes about three times as much memory meanwhile,
/// however many files the mailbox has.
pub fn list_oldest(disk: &dyn Disk, mailbox: &MailboxPath, room: Room<'_>) -> io::Result<Oldest> {
    let mut listed = List::default();
    for _ in 0..LISTINGS_MAX {
        listed = list_once(disk, mailbox, room)?;
        if !listed.has_vanished {
            break;
        }
    }
    listed.unreadable.tell(mailbox);
    let mut oldest = listed.oldest;
    oldest.mails.sort_unstable_by(|one, other| (one.arrived, &one.name).cmp(&(other.arrived, &other.name)));
    Ok(oldest)
}

/// Opens a mail's file for reading, wherever a reader has moved it. `NotFound` if it is gone.
pub fn open(disk: &dyn Disk, mailbox: &MailboxPath, mail: &Mail) -> io::Result<Box<dyn File>> {
    let open = |spot: &Spot| unless_gone(disk.open(Path::new(&spot.path(mailbox)), Open::Read));
    for spot in usual_spots(mail) {
        if let Some(file) = open(&spot)? {
            return Ok(file);
        }
    }
    for _ in 0..LISTINGS_MAX {
        let Some(spot) = find(disk, mailbox, &mail.name)? else { break };
        if let Some(file) = open(&spot)? {
            return Ok(file);
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// Octets of the messages in a mailbox, none if there is no such mailbox. What goes while it counts is not counted, nor is
/// a file that cannot be looked at: that is logged.
pub fn octets(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<u64> {
    let mut octets = 0;
    let mut unreadable = Unreadable::default();
    unless_gone(each_spot(disk, mailbox, &mut |directory, file_name| {
        let spot = Spot { directory, file_name: file_name.to_owned() };
        let looked = unreadable.skip(&spot, spot.octets(disk, mailbox));
        octets += unless_gone(looked)?.flatten().unwrap_or(0);
        Ok(())
    }))?;
    unreadable.tell(mailbox);
    Ok(octets)
}

/// The directories that mail lies in, as a reader moves it: so who lists them in this order misses none on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directory {
    New,
    Cur,
}

impl Directory {
    const ALL: [Directory; 2] = [Directory::New, Directory::Cur];

    fn name(self) -> &'static str {
        match self {
            Directory::New => "new",
            Directory::Cur => "cur",
        }
    }
}

/// Where a file lies in a mailbox.
#[derive(Debug, PartialEq, Eq)]
struct Spot {
    directory: Directory,
    file_name: String,
}

impl Spot {
    fn path(&self, mailbox: &MailboxPath) -> String {
        format!("{mailbox}/{}", self.below_mailbox())
    }

    fn below_mailbox(&self) -> String {
        format!("{}/{}", self.directory.name(), self.file_name)
    }

    /// The length of the file there; none if that is no regular file.
    fn octets(&self, disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<Option<u64>> {
        match disk.size_of(Path::new(&self.path(mailbox))) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(None),
            size => size.map(Some),
        }
    }
}

/// A list, and whether a file went from where it was while its length was asked: then it may be elsewhere.
#[derive(Default)]
struct List {
    oldest: Oldest,
    has_vanished: bool,
    unreadable: Unreadable,
}

fn list_once(disk: &dyn Disk, mailbox: &MailboxPath, room: Room<'_>) -> io::Result<List> {
    let mut selection = Selection::new(room);
    each_spot(disk, mailbox, &mut |directory, file_name| {
        selection.offer(directory, file_name);
        Ok(())
    })?;
    let (mut spots, left_out) = selection.finish();
    // What was moved while we listed is in both. Where it went is where it is.
    spots.sort_by_key(|spot| Reverse(spot.directory as u8));
    let mut list = List { oldest: Oldest { mails: Vec::new(), left_out }, ..List::default() };
    let mut found: HashSet<&str> = HashSet::new();
    let mut vanished = Vec::new();
    for spot in &spots {
        let name = base_of(&spot.file_name);
        if found.contains(name) {
            continue;
        }
        match unless_gone(list.unreadable.skip(spot, spot.octets(disk, mailbox)))? {
            Some(Some(octets)) => {
                list.oldest.mails.extend(Mail::of(spot.directory, &spot.file_name, octets));
                found.insert(name);
            }
            Some(None) => {}
            None => vanished.push(name),
        }
    }
    list.has_vanished = vanished.iter().any(|name| !found.contains(name));
    Ok(list)
}

/// Files that cannot be looked at, of which a failing disk may have one among thousands that are well: they are left out, and
/// told of.
#[derive(Default)]
struct Unreadable {
    count: usize,
    first: Option<(String, io::Error)>,
}

impl Unreadable {
    /// Passes on what a look at a file gave; leaves the file out if the error is its own. Not its own is what forbids to
    /// look at any, or what the machine is short of.
    fn skip(&mut self, spot: &Spot, looked: io::Result<Option<u64>>) -> io::Result<Option<u64>> {
        match looked {
            Err(error)
                if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
                    && !is_shortage(&error) =>
            {
                self.count += 1;
                self.first.get_or_insert_with(|| (spot.below_mailbox(), error));
                Ok(None)
            }
            looked => looked,
        }
    }

    /// Logs them, in one line.
    fn tell(&self, mailbox: &MailboxPath) {
        if let Some((file, error)) = &self.first {
            let file = Escaped(file.as_bytes());
            warn!(
                "files of a mailbox cannot be looked at and are left out mailbox={mailbox} files={} first={file}: {error}; \
                 check the disk",
                self.count
            );
        }
    }
}

/// Gives all files of a mailbox, those of `new/` first. `NotFound` if it has none of its directories.
fn each_spot(
    disk: &dyn Disk,
    mailbox: &MailboxPath,
    each: &mut dyn FnMut(Directory, &str) -> io::Result<()>,
) -> io::Result<()> {
    let mut is_there = false;
    for directory in Directory::ALL {
        let path = format!("{mailbox}/{}", directory.name());
        let listed = disk.each_name(Path::new(&path), &mut |file_name| each(directory, file_name));
        is_there |= unless_gone(listed)?.is_some();
    }
    if is_there { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
}

/// Where a mail is looked for first: where it was, and where readers mostly put it.
fn usual_spots(mail: &Mail) -> impl Iterator<Item = Spot> {
    let usual =
        MOVED_TO.map(|info| Spot { directory: Directory::Cur, file_name: format!("{}{info}", mail.name) });
    std::iter::once(mail.spot()).chain(usual)
}

/// What a reader appends to the name of a mail that it only looked at, or showed. Trying these saves the search, which
/// reads the whole mailbox, for each mail of one that was just moved to `cur/`.
const MOVED_TO: [&str; 2] = [":2,", ":2,S"];

/// Where the mail of this base name lies.
fn find(disk: &dyn Disk, mailbox: &MailboxPath, name: &str) -> io::Result<Option<Spot>> {
    let mut found = None;
    // The last is the one in `cur/`, if it is in both.
    unless_gone(each_spot(disk, mailbox, &mut |directory, file_name| {
        if base_of(file_name) == name {
            found = Some(Spot { directory, file_name: file_name.to_owned() });
        }
        Ok(())
    }))?;
    Ok(found)
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The base name of a file that is mail; none for hidden files and names of flags alone.
fn mail_name(file_name: &str) -> Option<&str> {
    Some(base_of(file_name)).filter(|name| !name.is_empty() && !name.starts_with('.'))
}

/// Whether POP3 can say a base name as a unique id.
fn is_unique_id(name: &str) -> bool {
    name.len() <= BASE_NAME_MAX && name.bytes().all(|octet| octet.is_ascii_graphic())
}

/// The length of [`Mail::unique_id`] of a mail with this base name.
pub fn unique_id_len(name: &str) -> usize {
    if is_unique_id(name) { name.len() } else { HASH_DIGITS }
}

/// See [`Mail::memory`], for a file name of so many octets.
fn memory_of(file_name: usize) -> usize {
    size_of::<Mail>() + file_name + 16
}

/// The flags in what follows a base name; none if it says something else.
fn flags(info: &str) -> Option<&str> {
    if info.is_empty() { Some("") } else { info.strip_prefix(":2,") }
}

/// The flag of a mail that was seen.
const SEEN: char = 'S';

/// These flags and S, in ASCII order, as Maildir asks for.
fn with_seen(flags: &str) -> String {
    let mut all: Vec<char> = flags.chars().filter(|flag| *flag != SEEN).chain([SEEN]).collect();
    all.sort_unstable();
    all.into_iter().collect()
}

/// The number that a text begins with; 0 if it begins with none, or one beyond 64 bits.
fn leading_number(text: &str) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests;
