//! Held mail: messages whose mailboxes cannot be written, each in a file of its own beside the log, so that the log need
//! not wait for them. Called by the courier, which says when; by the start; by `fastsmtp queue`, which only reads.
//!
//! ```text
//! spool/held/9f3c00000000000100000001.tmp     being written; removed at the next start
//! spool/held/9f3c00000000000100000001.held    held: this text, then the message's record as the log has it
//!
//!     fastsmtp-held 1
//!     since=1735689600
//!     reason="mailboxes/example.com/user: Not a directory (os error 20)"
//!                                                  an empty line, then the record, with a checksum of its own
//! ```
//!
//! The record's forward paths are only those whose mailboxes have not taken the message. A name stands for whole, synced
//! content from the moment it appears; that it lasts is for a sync of the directory or of everything, which the callers
//! order. The server is the only writer; a file under its name never changes, but may be replaced by a shorter list of
//! recipients. Keys that a reader does not know are passed over: what must not be, raises the version.
//!
//! A large message's data stays in its file: `spool/held/<id>.data` is a further name of that, given before the held file
//! is written, and taken away behind it.
//!
//! Not here: when held mail is tried again (`server/held.rs`), and what the operator asks for (`orders.rs`).

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use super::orders::{self, Order};
use super::recovery::at;
use super::summary::{self, Summary};
use super::{Pending, QUARANTINE, ReadError, RecoverError, SPOOL, Spilled, Stored, record};
use crate::QueueId;
use crate::disk::{Disk, File, Open, read_full_at, write_all_at};
use crate::limits::HELD_NOTE_MAX;

/// Where held mail lies.
pub const HELD: &str = "spool/held";

/// A held message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Since when, and why.
    pub note: Note,
    /// The message, for the recipients that remain.
    pub stored: Stored,
}

/// What is known of a held message beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When it was first held, in seconds since 1970.
    pub since: u64,
    /// Why, in printable ASCII and bounded: see [`Escaped`](crate::log_value::Escaped).
    pub reason: String,
}

/// Why a held message could not be read.
#[derive(Debug)]
pub enum HeldError {
    /// There is none: it was delivered, or removed by the operator.
    Gone,
    /// The disk said so.
    Io(io::Error),
    /// What was read is not what was written.
    Damaged,
    /// It was written by a newer server, in this version of the format.
    Newer(u32),
}

impl fmt::Display for HeldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeldError::Gone => f.write_str("there is no such held message"),
            HeldError::Io(error) => write!(f, "reading the held message: {error}"),
            HeldError::Damaged => f.write_str("reading the held message: it is damaged"),
            HeldError::Newer(version) => {
                write!(f, "the held message is in version {version} of the format: start the newer server")
            }
        }
    }
}

impl std::error::Error for HeldError {}

impl From<io::Error> for HeldError {
    fn from(error: io::Error) -> HeldError {
        if error.kind() == io::ErrorKind::NotFound { HeldError::Gone } else { HeldError::Io(error) }
    }
}

/// Holds a message, in place of what is held under its id. Its content is durable when this returns, its name with the
/// next sync of [`HELD`] or of everything.
pub fn write(disk: &dyn Disk, held: &Held) -> io::Result<()> {
    let Held { note: Note { since, reason }, stored: Stored { id, arrived, message, spilled } } = held;
    let mut head = format!("{FORMAT}{VERSION}\nsince={since}\nreason={reason}\n\n").into_bytes();
    let record = head.len();
    record::encode_head(&mut head, *id, *arrived, message, spilled.as_ref());
    let file = spilled.map(|spilled| spilled.encode());
    let data = file.as_ref().unwrap_or(&message.data);
    record::seal(&mut head[record..], data);
    put(disk, &path(*id), &[&head, data])
}

/// Gives the file of a large message a name beside the one that it is held under; durable as [`write()`]'s.
pub fn keep_data(disk: &dyn Disk, id: QueueId, spilled: &Spilled) -> io::Result<()> {
    match disk.link(&spilled.path(), &data_path(id)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()), // an earlier attempt's
        linked => linked,
    }
}

/// Where the data of a large held message is, behind its trace fields.
pub fn data_path(id: QueueId) -> PathBuf {
    Path::new(HELD).join(format!("{id}.data"))
}

/// Reads a held message; its checksum was checked.
pub fn read(disk: &dyn Disk, id: QueueId) -> Result<Held, HeldError> {
    let file = disk.open(&path(id), Open::Read)?;
    let mut octets = vec![0; file.size()? as usize];
    let read = read_full_at(&*file, &mut octets, 0)?;
    octets.truncate(read);
    let (note, record) = note(&octets)?;
    match record::decode_message(octets.split_off(record)) {
        Some(stored) if stored.id == id => Ok(Held { note, stored }),
        _ => Err(HeldError::Damaged),
    }
}

/// The mail data of a held message, from its file if it has one.
pub fn data(disk: &dyn Disk, stored: &Stored) -> io::Result<Vec<u8>> {
    let Some(spilled) = stored.spilled else { return Ok(stored.message.data.clone()) };
    let file = disk.open(&data_path(stored.id), Open::Read)?;
    let mut data = vec![0; spilled.octets() as usize];
    let read = read_full_at(&*file, &mut data, stored.message.trace.len() as u64)?;
    data.truncate(read);
    Ok(data)
}

/// What a held message is, without its content being read: damage there goes unnoticed.
pub fn summary(disk: &dyn Disk, id: QueueId) -> Result<(Note, Summary), HeldError> {
    let file = disk.open(&path(id), Open::Read)?;
    let mut octets = vec![0; HELD_NOTE_MAX];
    let read = read_full_at(&*file, &mut octets, 0)?;
    let (note, record) = note(&octets[..read])?;
    match summary::read(&*file, record as u64) {
        Ok(summary) if summary.id == id => Ok((note, summary)),
        Ok(_) | Err(ReadError::Damaged) => Err(HeldError::Damaged),
        Err(ReadError::Io(error)) => Err(HeldError::Io(error)),
    }
}

/// The ids of all held messages, in no order. None if nothing was ever held.
pub fn ids(disk: &dyn Disk) -> io::Result<Vec<QueueId>> {
    Ok(names(disk, HELD)?.iter().filter_map(|name| name.strip_suffix(".held")?.parse().ok()).collect())
}

/// The names of the files in the quarantine.
pub fn quarantined(disk: &dyn Disk) -> io::Result<Vec<String>> {
    names(disk, QUARANTINE)
}

fn names(disk: &dyn Disk, directory: &str) -> io::Result<Vec<String>> {
    match disk.list(Path::new(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

/// Removes a held message, if it is there. It stays removed once [`HELD`] is synced.
pub fn remove(disk: &dyn Disk, id: QueueId) -> io::Result<()> {
    remove_if_there(disk, &path(id))?;
    remove_if_there(disk, &data_path(id))
}

/// Makes durable what names in [`HELD`] there are, and are not.
pub fn sync(disk: &dyn Disk) -> io::Result<()> {
    disk.sync_dir(Path::new(HELD))
}

/// Moves a damaged held message to the quarantine. Its data first: a start removes what is left without its held file.
pub fn quarantine(disk: &dyn Disk, id: QueueId) -> io::Result<()> {
    match disk.rename(&data_path(id), &quarantined_data(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.rename(&path(id), &Path::new(QUARANTINE).join(format!("{id}.held")))
}

fn quarantined_data(id: QueueId) -> PathBuf {
    Path::new(QUARANTINE).join(format!("{id}.data"))
}

/// Puts the octets of a damaged record of the log into the quarantine; durable as [`write()`] is.
/// The file of a large message, if it is there, gets a name beside it.
pub fn quarantine_record(disk: &dyn Disk, id: QueueId, octets: &[u8]) -> io::Result<()> {
    if let Some(spilled) = record::decode_message(octets.to_vec()).and_then(|stored| stored.spilled) {
        match disk.link(&spilled.path(), &quarantined_data(id)) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                return Err(error);
            }
            _ => {}
        }
    }
    put(disk, &Path::new(QUARANTINE).join(format!("{id}.record")), &[octets])
}

/// What the start found beside the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Held messages.
    pub held: Vec<QueueId>,
    /// Messages that the log still has and the operator removed: not to be delivered.
    pub removed: Vec<QueueId>,
    /// Files in the quarantine.
    pub quarantined: usize,
}

/// Puts the directories in order before the loop: finishes what the operator asked for, removes what a crash left
/// half-written, and lists the rest. A message that the log still has (`pending`) is not held: there it is for all its
/// recipients, while of those whom the held file leaves out, the crash may have taken the copy.
pub fn start(disk: &dyn Disk, pending: &[Pending]) -> Result<Found, RecoverError> {
    for directory in [HELD, orders::ORDERS] {
        match disk.create_dir(Path::new(directory)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                at(Path::new(directory), Err(error))?
            }
            _ => {}
        }
    }
    at(Path::new(SPOOL), disk.sync_dir(Path::new(SPOOL)))?;
    let quarantined = at(Path::new(QUARANTINE), quarantined(disk))?.len();
    let given = at(Path::new(orders::ORDERS), orders::given(disk))?;
    let names = at(Path::new(HELD), disk.list(Path::new(HELD)))?;
    if given.is_empty() && names.is_empty() {
        return Ok(Found { quarantined, ..Found::default() });
    }
    let pending: HashSet<QueueId> = pending.iter().map(|pending| pending.id).collect();
    let mut found = Found { quarantined, ..Found::default() };
    let is_removal = |(_, order): &&(QueueId, Order)| *order == Order::Remove;
    let removed: HashSet<QueueId> = given.iter().filter(is_removal).map(|(id, _)| *id).collect();
    let held: HashSet<QueueId> =
        names.iter().filter_map(|name| name.strip_suffix(".held")?.parse().ok()).collect();
    let is_held = |id: &QueueId| held.contains(id);
    for name in &names {
        let path = Path::new(HELD).join(name);
        let id_before = |end| name.strip_suffix(end).and_then(|id| id.parse().ok());
        let stays = |id: &QueueId| !removed.contains(id) && !pending.contains(id);
        match (id_before(".held"), id_before(".data")) {
            (Some(id), _) if stays(&id) => found.held.push(id),
            (_, Some(id)) if stays(&id) && is_held(&id) => {}
            (None, None) if !name.ends_with(".tmp") => {} // not ours
            _ => at(&path, disk.remove(&path))?,
        }
    }
    at(Path::new(HELD), sync(disk))?;
    for (id, order) in &given {
        at(Path::new(orders::ORDERS), orders::fulfilled(disk, *id, *order))?;
    }
    found.removed = removed.intersection(&pending).copied().collect();
    Ok(found)
}

fn path(id: QueueId) -> PathBuf {
    Path::new(HELD).join(format!("{id}.held"))
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Writes a file under another name, syncs it and gives it its own. If that fails, nothing of it is left, as far as
/// that works.
fn put(disk: &dyn Disk, path: &Path, pieces: &[&[u8]]) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    remove_if_there(disk, &unfinished)?; // an earlier attempt's, that could not be removed
    let file = disk.open(&unfinished, Open::Create)?;
    let put = fill(&*file, pieces).and_then(|()| disk.rename(&unfinished, path));
    if put.is_err() {
        let _ = disk.remove(&unfinished);
    }
    put
}

fn fill(file: &dyn File, pieces: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    write_all_at(file, &mut slices, 0)?;
    file.sync_data()
}

/// Reads the text before the record, and where that begins.
fn note(octets: &[u8]) -> Result<(Note, usize), HeldError> {
    let octets = &octets[..octets.len().min(HELD_NOTE_MAX)];
    let end = octets.windows(2).position(|pair| pair == b"\n\n").ok_or(HeldError::Damaged)?;
    let text = str::from_utf8(&octets[..end]).map_err(|_| HeldError::Damaged)?;
    let mut lines = text.split('\n');
    let version = lines.next().and_then(|line| line.strip_prefix(FORMAT)?.parse().ok());
    match version.ok_or(HeldError::Damaged)? {
        VERSION => {}
        version => return Err(HeldError::Newer(version)),
    }
    let (mut since, mut reason) = (None, None);
    for line in lines {
        match line.split_once('=') {
            Some(("since", seconds)) => since = seconds.parse().ok(),
            Some(("reason", text)) if is_printable(text) => reason = Some(text.to_owned()),
            _ => {}
        }
    }
    let note = since.zip(reason).map(|(since, reason)| Note { since, reason });
    Ok((note.ok_or(HeldError::Damaged)?, end + 2))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

const FORMAT: &str = "fastsmtp-held ";
/// The version of the format that we write, and the only one that we read.
const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::smtp::{Address, Envelope, Message};

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path(), &["spool", QUARANTINE]).unwrap();
        start(&disk, &[]).unwrap();
        (root, disk)
    }

    fn held(counter: u64) -> Held {
        let envelope = Envelope {
            reverse_path: Some(Address::new("me", "x.example")),
            forward_paths: vec![Address::new("you", "y.example"), Address::new("a b", "y.example")],
            ..Envelope::default()
        };
        let message =
            Message { envelope, trace: b"Received: x\r\n".into(), data: b"\n\nfastsmtp-held".into() };
        Held {
            note: Note { since: 1_735_689_600, reason: r#""a b: \x22no\x22 = 1""#.to_owned() },
            stored: Stored { id: id(counter), arrived: 7, message, spilled: None },
        }
    }

    fn id(counter: u64) -> QueueId {
        QueueId { run: 0xabc, counter }
    }

    #[test]
    fn a_held_message_reads_back_as_written_and_its_summary_agrees() {
        let (_root, disk) = disk();
        let held = held(1);
        write(&disk, &held).unwrap();
        assert_eq!(read(&disk, id(1)).unwrap(), held);
        let (note, summary) = summary(&disk, id(1)).unwrap();
        let Stored { arrived, message, .. } = held.stored;
        assert_eq!(note, held.note);
        let octets = (message.trace.len() + message.data.len()) as u64;
        assert_eq!(summary, Summary { id: id(1), arrived, envelope: message.envelope, octets });
        assert_eq!(ids(&disk).unwrap(), [id(1)]);
        remove(&disk, id(1)).unwrap();
        remove(&disk, id(1)).unwrap();
        assert!(matches!(read(&disk, id(1)), Err(HeldError::Gone)));
    }

    #[test]
    fn a_message_with_more_recipients_than_one_read_has_a_summary() {
        let (_root, disk) = disk();
        let mut held = held(1);
        let address = |n| Address::new(&format!("{n:064}"), "example.com");
        held.stored.message.envelope.forward_paths = (0..1000).map(address).collect();
        write(&disk, &held).unwrap();
        assert_eq!(summary(&disk, id(1)).unwrap().1.envelope, held.stored.message.envelope);
    }

    #[test]
    fn any_flipped_bit_of_the_record_is_damage_and_of_the_text_no_harm() {
        let (root, disk) = disk();
        let written = held(1);
        write(&disk, &written).unwrap();
        let file = root.path().join(path(id(1)));
        let octets = std::fs::read(&file).unwrap();
        let (_, record) = note(&octets).unwrap();
        for at in 0..octets.len() {
            let mut flipped = octets.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&file, &flipped).unwrap();
            match read(&disk, id(1)) {
                Ok(read) => assert!(at < record && read.stored == written.stored, "octet {at}"),
                Err(error) => assert!(at < record || matches!(error, HeldError::Damaged), "octet {at}"),
            }
            std::fs::write(&file, &octets[..at]).unwrap();
            assert!(matches!(read(&disk, id(1)), Err(HeldError::Damaged)), "cut at {at}");
        }
    }

    #[test]
    fn anothers_message_under_the_name_is_damage_and_a_newer_format_is_not() {
        let (root, disk) = disk();
        write(&disk, &held(1)).unwrap();
        std::fs::copy(root.path().join(path(id(1))), root.path().join(path(id(2)))).unwrap();
        assert!(matches!(read(&disk, id(2)), Err(HeldError::Damaged)));
        assert!(matches!(summary(&disk, id(2)), Err(HeldError::Damaged)));
        std::fs::write(root.path().join(path(id(2))), "fastsmtp-held 2\nx\n\n").unwrap();
        assert!(matches!(read(&disk, id(2)), Err(HeldError::Newer(2))));
        quarantine(&disk, id(2)).unwrap();
        assert_eq!(quarantined(&disk).unwrap(), [format!("{}.held", id(2))]);
    }

    #[test]
    fn the_start_finds_what_is_held_and_clears_the_rest() {
        let (root, disk) = disk();
        (1..=5).for_each(|counter| write(&disk, &held(counter)).unwrap());
        std::fs::write(root.path().join(HELD).join("x.tmp"), "").unwrap();
        std::fs::write(root.path().join(HELD).join("a note of the operator's"), "").unwrap();
        orders::give(&disk, id(2), Order::Remove).unwrap();
        orders::give(&disk, id(3), Order::Release).unwrap();
        orders::give(&disk, id(4), Order::Remove).unwrap();
        let place = super::super::Place { segment: 1, offset: 0, octets: 0 };
        let pending = [id(4), id(5), id(6)].map(|id| Pending { id, place });
        let mut found = start(&disk, &pending).unwrap();
        found.held.sort();
        assert_eq!(found, Found { held: vec![id(1), id(3)], removed: vec![id(4)], quarantined: 0 });
        assert_eq!(std::fs::read_dir(root.path().join(HELD)).unwrap().count(), 3);
        assert_eq!(orders::given(&disk).unwrap(), []);
    }
}
