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

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::{LISTINGS_MAX, MailboxPath, base_of, hash};
use crate::disk::{Disk, File, Open};
use crate::limits::BASE_NAME_MAX;

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
        let is_fit =
            self.name.len() <= BASE_NAME_MAX && self.name.bytes().all(|octet| octet.is_ascii_graphic());
        if is_fit { self.name.clone() } else { hash(&self.name).into() }
    }

    /// Octets of memory that it takes, with what the allocator adds.
    pub fn memory(&self) -> usize {
        size_of::<Mail>() + self.name.len() + self.info.len() + 16
    }

    /// Where it was when it was listed.
    fn spot(&self) -> Spot {
        let directory = if self.is_new { Directory::New } else { Directory::Cur };
        Spot { directory, file_name: format!("{}{}", self.name, self.info) }
    }
}

/// All mail in a mailbox, oldest first, and by name where that is equal. What goes meanwhile is not in it; what another
/// program moves is, once. `NotFound` if there is no such mailbox.
pub fn list(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<Vec<Mail>> {
    let mut listed = List::default();
    for _ in 0..LISTINGS_MAX {
        listed = list_once(disk, mailbox)?;
        if !listed.has_vanished {
            break;
        }
    }
    listed.mails.sort_unstable_by(|one, other| (one.arrived, &one.name).cmp(&(other.arrived, &other.name)));
    Ok(listed.mails)
}

/// Opens a mail's file for reading, wherever a reader has moved it. `NotFound` if it is gone.
pub fn open(disk: &dyn Disk, mailbox: &MailboxPath, mail: &Mail) -> io::Result<Box<dyn File>> {
    at_its_spot(disk, mailbox, mail, |spot| disk.open(Path::new(&spot.path(mailbox)), Open::Read))
}

/// Removes a mail, wherever a reader has moved it. That it is gone already is fine.
pub fn remove(disk: &dyn Disk, mailbox: &MailboxPath, mail: &Mail) -> io::Result<()> {
    let removed = at_its_spot(disk, mailbox, mail, |spot| disk.remove(Path::new(&spot.path(mailbox))));
    unless_gone(removed).map(|_| ())
}

/// Marks a mail as seen: it lies in `cur/` with flag S then, and all flags that it had. Seen already is fine. `NotFound`
/// if it is gone; `AlreadyExists` if another file has the name that it should get; `InvalidInput` if what follows its
/// base name is something other than flags.
pub fn mark_seen(disk: &dyn Disk, mailbox: &MailboxPath, mail: &Mail) -> io::Result<()> {
    at_its_spot(disk, mailbox, mail, |spot| {
        let name = base_of(&spot.file_name);
        let Some(flags) = flags(&spot.file_name[name.len()..]) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let seen = Spot { directory: Directory::Cur, file_name: format!("{name}:2,{}", with_seen(flags)) };
        if *spot == seen {
            return disk.size_of(Path::new(&seen.path(mailbox))).map(|_| ()); // if it is there
        }
        disk.move_to(Path::new(&spot.path(mailbox)), Path::new(&seen.path(mailbox)))
    })
}

/// Octets of the messages in a mailbox, none if there is no such mailbox. What goes while it counts is not counted.
pub fn octets(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<u64> {
    let mut octets = 0;
    for directory in Directory::ALL {
        for file_name in unless_gone(names_in(disk, mailbox, directory))?.unwrap_or_default() {
            let spot = Spot { directory, file_name };
            octets += unless_gone(spot.octets(disk, mailbox))?.flatten().unwrap_or(0);
        }
    }
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
        format!("{mailbox}/{}/{}", self.directory.name(), self.file_name)
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
    mails: Vec<Mail>,
    has_vanished: bool,
}

fn list_once(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<List> {
    let mut spots = spots(disk, mailbox)?;
    // What was moved while we listed is in both. Where it went is where it is.
    spots.sort_by_key(|spot| Reverse(spot.directory as u8));
    let mut mails = Vec::with_capacity(spots.len());
    let mut found: HashSet<&str> = HashSet::with_capacity(spots.len());
    let mut vanished = Vec::new();
    for spot in &spots {
        let Some(name) = mail_name(&spot.file_name).filter(|name| !found.contains(name)) else { continue };
        match unless_gone(spot.octets(disk, mailbox))? {
            Some(Some(octets)) => {
                mails.extend(Mail::of(spot.directory, &spot.file_name, octets));
                found.insert(name);
            }
            Some(None) => {}
            None => vanished.push(name),
        }
    }
    let has_vanished = vanished.iter().any(|name| !found.contains(name));
    Ok(List { mails, has_vanished })
}

/// All files of a mailbox. `NotFound` if it has none of its directories.
fn spots(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<Vec<Spot>> {
    let mut spots = Vec::new();
    let mut is_there = false;
    for directory in Directory::ALL {
        let names = unless_gone(names_in(disk, mailbox, directory))?;
        is_there |= names.is_some();
        spots.extend(names.into_iter().flatten().map(|file_name| Spot { directory, file_name }));
    }
    if is_there { Ok(spots) } else { Err(ErrorKind::NotFound.into()) }
}

fn names_in(disk: &dyn Disk, mailbox: &MailboxPath, directory: Directory) -> io::Result<Vec<String>> {
    disk.list(Path::new(&format!("{mailbox}/{}", directory.name())))
}

/// Does something with a mail's file: where it was, else where readers mostly put it, else where a new look finds it.
/// `NotFound` if it is nowhere.
fn at_its_spot<T>(
    disk: &dyn Disk,
    mailbox: &MailboxPath,
    mail: &Mail,
    act: impl Fn(&Spot) -> io::Result<T>,
) -> io::Result<T> {
    let usual =
        MOVED_TO.map(|info| Spot { directory: Directory::Cur, file_name: format!("{}{info}", mail.name) });
    for spot in std::iter::once(mail.spot()).chain(usual) {
        if let Some(done) = unless_gone(act(&spot))? {
            return Ok(done);
        }
    }
    for _ in 0..LISTINGS_MAX {
        let Some(spot) = find(disk, mailbox, &mail.name)? else { break };
        if let Some(done) = unless_gone(act(&spot))? {
            return Ok(done);
        }
    }
    Err(ErrorKind::NotFound.into())
}

/// What a reader appends to the name of a mail that it only looked at, or showed. Trying these saves the search, which
/// reads the whole mailbox, for each mail of one that was just moved to `cur/`.
const MOVED_TO: [&str; 2] = [":2,", ":2,S"];

/// Where the mail of this base name lies.
fn find(disk: &dyn Disk, mailbox: &MailboxPath, name: &str) -> io::Result<Option<Spot>> {
    let spots = unless_gone(spots(disk, mailbox))?.unwrap_or_default();
    // The last is the one in `cur/`, if it is in both.
    Ok(spots.into_iter().rfind(|spot| base_of(&spot.file_name) == name))
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
