//! The accounts file on disk: read whole, replaced whole, and looked at for changes.
//!
//! ```text
//!   accounts.toml        the accounts; always whole, for it only ever changes by a rename
//!   accounts.toml.lock   held by whoever changes them; always empty
//!   accounts.toml.new    written and synced, then renamed; one that a crash left is nothing, and goes at the next change
//! ```
//!
//! A link is followed to the file, which is replaced where it lies; the lock is beside the path that was given, where
//! nobody but its directory's owner can have put something else. All of this blocks: it is for workers and for the
//! command line. Readers take no lock.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Accounts, AccountsError};
use crate::disk::{effective_user, open_regular, random_octets, wait_for_lock};
use crate::limits::ACCOUNTS_FILE_MAX;
use crate::watch::{Failure, Files};

/// Why an accounts file cannot be used: the file, the line if it is one's fault, and the mend.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It was there, and is there no more.
    Gone(PathBuf),
    /// It cannot be written, and is as it was.
    Write(PathBuf, io::Error),
    /// It is larger than [`ACCOUNTS_FILE_MAX`].
    TooLarge(PathBuf),
    /// It is not UTF-8, from this line on.
    NotText(PathBuf, usize),
    /// It does not say what accounts are.
    Broken(PathBuf, AccountsError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Read(path, error) => {
                write!(f, "{}: the accounts cannot be read: {error}", path.display())
            }
            FileError::Gone(path) => write!(
                f,
                "{}: the accounts file is gone; put it back, or start the server anew to be without accounts",
                path.display()
            ),
            FileError::Write(path, error) => {
                write!(f, "{}: the accounts cannot be written: {error}", path.display())
            }
            FileError::TooLarge(path) => {
                let most = ACCOUNTS_FILE_MAX;
                write!(f, "{}: is larger than {most} octets: are these the accounts?", path.display())
            }
            FileError::NotText(path, line) => write!(f, "{}:{line}: is not UTF-8 text", path.display()),
            FileError::Broken(path, AccountsError { line, fault }) => {
                write!(f, "{}:{line}: {fault}", path.display())
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileError::Read(_, error) | FileError::Write(_, error) => Some(error),
            FileError::Broken(_, error) => Some(error),
            FileError::Gone(_) | FileError::TooLarge(_) | FileError::NotText(..) => None,
        }
    }
}

impl Failure for FileError {
    fn may_pass(&self) -> bool {
        // Perhaps only the machine is short of something.
        matches!(self, FileError::Read(..) | FileError::Gone(_))
    }
}

/// Reads an accounts file; none where there is no such file.
pub fn read(path: &Path) -> Result<Option<Accounts>, FileError> {
    Ok(read_with_metadata(path)?.map(|(accounts, _)| accounts))
}

fn read_with_metadata(path: &Path) -> Result<Option<(Accounts, Metadata)>, FileError> {
    let failure = |error| FileError::Read(path.to_owned(), error);
    let mut octets = Vec::new();
    let metadata = match open_regular(path) {
        // A link to what is not there, on a volume that is not mounted perhaps, is no absence: nobody means it to open a
        // server to every address.
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            return Ok(None);
        }
        opened => octets_of(opened.map_err(failure)?, &mut octets).map_err(failure)?,
    };
    if octets.len() as u64 > ACCOUNTS_FILE_MAX {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    let text = std::str::from_utf8(&octets).map_err(|error| {
        let lines = octets[..error.valid_up_to()].iter().filter(|&&octet| octet == b'\n').count();
        FileError::NotText(path.to_owned(), 1 + lines)
    })?;
    let accounts = Accounts::parse(text).map_err(|error| FileError::Broken(path.to_owned(), error))?;
    Ok(Some((accounts, metadata)))
}

fn octets_of(file: File, octets: &mut Vec<u8>) -> io::Result<Metadata> {
    let metadata = file.metadata()?;
    file.take(ACCOUNTS_FILE_MAX + 1).read_to_end(octets)?;
    Ok(metadata)
}

/// Changes an accounts file, or makes one: `change` gets what it holds and gives what it shall hold. Two at the same time
/// come one after the other, if they call the file by the same name. By a link and by its own name at the same time a change
/// may be lost: a known weakness, for a lock beside the file itself would be made where the link's owner may not write.
/// When this returns, the change is durable; on an error the file is as it was.
pub fn change<E: From<FileError>>(
    path: &Path,
    change: impl FnOnce(Accounts) -> Result<Accounts, E>,
) -> Result<(), E> {
    let failure = |error| FileError::Write(path.to_owned(), error);
    let _lock = lock(path).map_err(failure)?;
    let place = place(path).map_err(failure)?;
    let accounts = match read(&place)? {
        Some(accounts) => accounts,
        None => Accounts::new(random_octets(), Vec::new()).expect("no accounts want nothing twice"),
    };
    let text = change(accounts)?.to_toml();
    if text.len() as u64 > ACCOUNTS_FILE_MAX {
        return Err(FileError::TooLarge(path.to_owned()).into());
    }
    Ok(replace(&place, text.as_bytes()).map_err(failure)?)
}

/// Where the file lies that a path names, by links or not.
fn place(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            Ok(path.to_owned())
        }
        found => found,
    }
}

/// Waits for the right to replace a file.
fn lock(path: &Path) -> io::Result<File> {
    let directory = fs::metadata(directory(path))?;
    let lock = wait_for_lock(&beside(path, ".lock"))?;
    // Made by root in a server's directory, it must not lock out the server's own user. But root gives away nothing that
    // may be something else: what that user has put there by another of its names, or what a third one owns.
    let about = lock.metadata()?;
    if about.nlink() == 1 && about.uid() == effective_user() {
        let _ = give(&lock, &directory);
    }
    Ok(lock)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces a file: whole and durable. Owner, group and what the group may read stay; a new one is private, and its
/// directory's owner's.
fn replace(place: &Path, octets: &[u8]) -> io::Result<()> {
    let new = beside(place, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let renamed = write(&new, octets, place).and_then(|()| fs::rename(&new, place));
    if renamed.is_err() {
        let _ = fs::remove_file(&new); // as far as that works: it only takes space
    }
    renamed?;
    File::open(directory(place))?.sync_all()
}

/// Writes a new file that is to take another's place.
fn write(new: &Path, octets: &[u8], place: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    match fs::metadata(place) {
        Ok(old) => liken(&file, &old)?,
        Err(_) => drop(give(&file, &fs::metadata(directory(place))?)),
    }
    file.write_all(octets)?;
    file.sync_all()
}

/// Gives a file the owner and group of another, and lets the group read it if it may read the other.
fn liken(file: &File, other: &Metadata) -> io::Result<()> {
    let may_group_read = other.mode() & 0o040;
    match give(file, other) {
        // A group that may do nothing loses nothing.
        Err(_) if may_group_read == 0 && file.metadata()?.uid() == other.uid() => {}
        given => given?,
    }
    file.set_permissions(Permissions::from_mode(0o600 | may_group_read))
}

/// Gives a file to the owner and group of another, unless it is theirs.
fn give(file: &File, other: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    match (own.uid(), own.gid()) == (other.uid(), other.gid()) {
        true => Ok(()),
        false => fchown(file, Some(other.uid()), Some(other.gid())),
    }
}

/// The path with something behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// An accounts file that is looked at again and again.
#[derive(Debug)]
pub struct AccountsFile {
    path: PathBuf,
    looks: Files,
    /// Whether accounts were read once: from then on they hold, whatever becomes of the file.
    is_kept: bool,
    is_exposed: bool,
}

impl AccountsFile {
    /// A file that was not looked at yet, and need not exist.
    pub fn new(path: impl Into<PathBuf>) -> AccountsFile {
        let path = path.into();
        AccountsFile { looks: Files::unread(vec![path.clone()]), path, is_kept: false, is_exposed: false }
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the next look read the file, changed or not.
    pub fn insist(&mut self) {
        self.looks.insist();
    }

    /// What is new: nothing, the accounts, or why there are no new ones, once. The first look reads at once, each further
    /// one what changed and stayed as it is for one look. No file is no accounts, unless there was one before: that it is
    /// gone opens nothing, and is an error.
    pub fn look(&mut self) -> Option<Result<Arc<Accounts>, FileError>> {
        let AccountsFile { path, is_kept, .. } = self;
        let read = || match read_with_metadata(path)? {
            None if *is_kept => Err(FileError::Gone(path.clone())),
            read => Ok(read),
        };
        Some(self.looks.look(read)?.map(|read| self.taken(read)))
    }

    fn taken(&mut self, read: Option<(Accounts, Metadata)>) -> Arc<Accounts> {
        self.is_kept = read.is_some();
        self.is_exposed = read.as_ref().is_some_and(|(_, metadata)| metadata.mode() & 0o037 != 0);
        Arc::new(read.map(|(accounts, _)| accounts).unwrap_or_default())
    }

    /// A warning about the file that the last look read, as a sentence: others may read it.
    pub fn warning(&self) -> Option<String> {
        self.is_exposed.then(|| exposed(&self.path))
    }
}

/// The warning about an accounts file that others may read. A group that may read it is the operator's choice: the server's.
fn exposed(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path}: others than its owner and group may read the accounts and guess passwords from them, or its group may \
         change them; say 'chmod g-wx,o= {path}'"
    )
}
