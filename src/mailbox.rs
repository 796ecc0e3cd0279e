//! Maildirs: where a mailbox lies, and how a message's file gets into it.
//!
//! ```text
//! mailboxes/example.com/user/tmp/1735689600.9f3c00000000000100000001.fs     being written
//!                           /new/1735689600.9f3c00000000000100000001.fs     delivered
//!                           /cur/1735689600.9f3c00000000000100000001.fs:2,S seen by its reader, with flags
//! ```
//!
//! Called by the courier, which says in what order and syncs in between: nothing here is durable by itself. A file is
//! the message's trace fields and its mail data, octet for octet. Not here: listing, reading and removing mail.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::disk::{Disk, File, Open, read_full_at, write_all_at};
use crate::limits::{BASE_NAME_MAX, COMPARE_CHUNK, MAILBOX_NAME_KEPT, MAILBOX_NAME_MAX, MAILDIRS_KNOWN_MAX};
use crate::queue_id::QueueId;
use crate::smtp::Address;

/// The directory that all mailboxes lie below.
pub const ROOT: &str = "mailboxes";

/// A mailbox's directory below the disk's root: `mailboxes/<domain>/<local-part>`.
///
/// Two addresses have one path exactly if their local parts and their [`Address::domain_key`]s are the same octets.
/// No component of it is empty, begins with a dot or a hyphen, or has a slash, a colon, NUL or another control
/// character in it; all are at most [`MAILBOX_NAME_MAX`] octets long.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxPath(Arc<str>);

impl MailboxPath {
    /// Where the mail of `address` lies.
    pub fn of(address: &Address) -> MailboxPath {
        let domain = component(&address.domain_key());
        let local_part = component(address.local_part());
        MailboxPath(format!("{ROOT}/{domain}/{local_part}").into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message's file name, but for the flags that a reader appends:
/// `<unix seconds of arrival>.<queue id>.fs`, and a letter before `.fs` where others had the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BaseName {
    arrived: u64,
    id: QueueId,
    letter: Option<char>,
}

impl BaseName {
    /// The name of the message `id` that arrived at `arrived`, in Unix seconds.
    pub fn new(arrived: u64, id: QueueId) -> BaseName {
        BaseName { arrived, id, letter: None }
    }

    /// This name and those to fall back on where it is taken.
    fn candidates(self) -> impl Iterator<Item = BaseName> {
        let others = LETTERS.map(move |letter| BaseName { letter: Some(letter), ..self });
        std::iter::once(self).chain(others)
    }

    /// The queue id in a file name, whoever wrote it and whatever flags it has.
    fn queue_id_in(name: &str) -> Option<QueueId> {
        let (_, rest) = base_of(name).split_once('.')?;
        rest.strip_suffix(".fs")?.trim_end_matches(|c| LETTERS.contains(&c)).parse().ok()
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.arrived, self.id)?;
        if let Some(letter) = self.letter {
            write!(f, "{letter}")?;
        }
        f.write_str(".fs")
    }
}

/// What distinguishes further names for one message: no hexadecimal digits, so that the queue id ends before them.
const LETTERS: std::ops::RangeInclusive<char> = 'g'..='z';

const _: () = assert!(20 + 1 + 32 + 1 + 3 <= BASE_NAME_MAX, "seconds, dot, queue id, letter, .fs");

/// A file name without a reader's flags (`:2,S`).
fn base_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(base, _)| base)
}

/// A message's name in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The mailbox.
    pub mailbox: MailboxPath,
    /// The name of the message's file there.
    pub base: BaseName,
}

impl Place {
    fn path_in_tmp(&self) -> String {
        format!("{}/tmp/{}", self.mailbox, self.base)
    }

    fn path_in_new(&self) -> String {
        format!("{}/new/{}", self.mailbox, self.base)
    }
}

/// The Maildirs of a disk, and which of them are known to be made.
pub struct Maildirs {
    disk: Arc<dyn Disk>,
    /// At most [`MAILDIRS_KNOWN_MAX`]; merely saves system calls.
    known: HashSet<MailboxPath>,
}

impl Maildirs {
    /// The Maildirs below [`ROOT`] on `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Maildirs {
        Maildirs { disk, known: HashSet::new() }
    }

    /// Makes a mailbox's directories, unless it has them.
    pub fn make(&mut self, mailbox: &MailboxPath) -> io::Result<()> {
        if self.known.contains(mailbox) {
            return Ok(());
        }
        let path = mailbox.as_str();
        match self.make_dir(&format!("{path}/tmp")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                for (end, _) in path.match_indices('/') {
                    self.make_dir(&path[..end])?;
                }
                self.make_dir(path)?;
                self.make_dir(&format!("{path}/tmp"))?;
            }
            made => made?,
        }
        self.make_dir(&format!("{path}/new"))?;
        self.make_dir(&format!("{path}/cur"))?;
        if self.known.len() >= MAILDIRS_KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(mailbox.clone());
        Ok(())
    }

    /// Writes a message's file into `tmp/`. What a crash left there under its name makes room for it.
    pub fn write(&mut self, place: &Place, trace: &[u8], data: &[u8]) -> io::Result<()> {
        let tmp = place.path_in_tmp();
        let file = self.within(&place.mailbox, |disk| create(disk, Path::new(&tmp)))?;
        let written = write_all_at(&*file, &mut [IoSlice::new(trace), IoSlice::new(data)], 0);
        if written.is_err() {
            self.discard(place);
        }
        written
    }

    /// Gives a file that lies elsewhere its name in `tmp/`, as if it had been [written](Self::write) there.
    pub fn adopt(&mut self, place: &Place, file: &Path) -> io::Result<()> {
        let tmp = place.path_in_tmp();
        self.within(&place.mailbox, |disk| match disk.link(file, Path::new(&tmp)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(Path::new(&tmp))?;
                disk.link(file, Path::new(&tmp))
            }
            linked => linked,
        })
    }

    /// Gives a file that was [written](Self::write) at `from` its name in `new/` of another mailbox. `AlreadyExists` if
    /// that name is taken.
    pub fn link(&mut self, from: &Place, to: &Place) -> io::Result<()> {
        let (tmp, new) = (from.path_in_tmp(), to.path_in_new());
        self.within(&to.mailbox, |disk| disk.link(Path::new(&tmp), Path::new(&new)))
    }

    /// Moves a file that was [written](Self::write) from `tmp/` into `new/`. Replaces what has that name: either
    /// nothing can have it, or [`place`](Self::place) has looked.
    pub fn publish(&mut self, place: &Place) -> io::Result<()> {
        let (tmp, new) = (place.path_in_tmp(), place.path_in_new());
        self.within(&place.mailbox, |disk| disk.rename(Path::new(&tmp), Path::new(&new)))
    }

    /// Removes the file of a message that cannot be delivered from `tmp/`, as far as that works: it only takes space.
    pub fn discard(&mut self, place: &Place) {
        let _ = self.disk.remove(Path::new(&place.path_in_tmp()));
    }

    /// Where a message that may have been delivered before goes in `mailbox`; `None` if it is there already, in `new/`
    /// or `cur/`, octet for octet. A name that other octets have is passed over. What an earlier attempt left in `tmp/`
    /// goes: this one may write its file into another mailbox, and nobody else would ever remove that.
    pub fn place(
        &mut self,
        mailbox: &MailboxPath,
        base: BaseName,
        content: &Content<'_>,
        delivered: &mut Delivered,
    ) -> io::Result<Option<Place>> {
        for base in base.candidates() {
            self.discard(&Place { mailbox: mailbox.clone(), base });
            match self.look_for(mailbox, base, content, delivered)? {
                Found::Nothing => return Ok(Some(Place { mailbox: mailbox.clone(), base })),
                Found::Same => return Ok(None),
                Found::Other => {}
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// What has the name `base` in a mailbox. A reader may move the file between our listing and our opening it; that
    /// often it does not.
    fn look_for(
        &mut self,
        mailbox: &MailboxPath,
        base: BaseName,
        content: &Content<'_>,
        delivered: &mut Delivered,
    ) -> io::Result<Found> {
        'listing: for _ in 0..LISTINGS_MAX {
            let paths = delivered.paths_of(&*self.disk, mailbox, base)?;
            let mut found = Found::Nothing;
            for path in paths {
                match self.disk.open(Path::new(path), Open::Read).and_then(|file| content.is_in(&*file)) {
                    Ok(true) => return Ok(Found::Same),
                    Ok(false) => found = Found::Other,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        delivered.forget(mailbox);
                        continue 'listing;
                    }
                    Err(error) => return Err(error),
                }
            }
            return Ok(found);
        }
        Ok(Found::Nothing)
    }

    /// Does something in a mailbox; once more if somebody had removed its directories.
    fn within<T>(
        &mut self,
        mailbox: &MailboxPath,
        act: impl Fn(&dyn Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.make(mailbox)?;
        match act(&*self.disk) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.known.remove(mailbox);
                self.make(mailbox)?;
                act(&*self.disk)
            }
            done => done,
        }
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        match self.disk.create_dir(Path::new(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }
}

/// Octets of the messages in a mailbox, none if there is no such mailbox. What goes while it counts is not counted.
pub fn octets(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<u64> {
    let mut octets = 0;
    for directory in ["new", "cur"] {
        let path = Path::new(mailbox.as_str()).join(directory);
        for name in unless_gone(disk.list(&path))?.unwrap_or_default() {
            octets += unless_gone(disk.size_of(&path.join(name)))?.unwrap_or(0);
        }
    }
    Ok(octets)
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// The octets of a message's file.
pub enum Content<'a> {
    /// These pieces, one after the other.
    Pieces(&'a [&'a [u8]]),
    /// Those of this file.
    File(&'a dyn File),
}

impl Content<'_> {
    /// Whether a file is these octets and no more.
    fn is_in(&self, file: &dyn File) -> io::Result<bool> {
        match self {
            Content::Pieces(pieces) => has_octets(file, pieces),
            Content::File(other) => are_equal(file, *other),
        }
    }
}

/// What was found under a message's name.
enum Found {
    Nothing,
    Same,
    Other,
}

/// How often a mailbox is listed for one message that moves while we look.
const LISTINGS_MAX: usize = 3;

/// Where messages that are delivered again lie already. Each mailbox is listed once, and of its names only those of the
/// messages in question are kept, so that a thousand messages into one large mailbox cost one listing.
pub struct Delivered {
    ids: HashSet<QueueId>,
    /// By mailbox, and by base name within it, the paths that bear that name.
    mailboxes: HashMap<MailboxPath, HashMap<String, Vec<String>>>,
}

impl Delivered {
    /// For the messages `ids`; remembers until it is dropped.
    pub fn new(ids: HashSet<QueueId>) -> Delivered {
        Delivered { ids, mailboxes: HashMap::new() }
    }

    fn paths_of(&mut self, disk: &dyn Disk, mailbox: &MailboxPath, base: BaseName) -> io::Result<&[String]> {
        if !self.mailboxes.contains_key(mailbox) {
            let names = self.list(disk, mailbox)?;
            self.mailboxes.insert(mailbox.clone(), names);
        }
        let names = self.mailboxes.get(mailbox);
        Ok(names.and_then(|names| names.get(&base.to_string())).map_or(&[], Vec::as_slice))
    }

    /// `new` before `cur`: that is the way a reader moves them, so none slips through between the two.
    fn list(&self, disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<HashMap<String, Vec<String>>> {
        let mut paths: HashMap<String, Vec<String>> = HashMap::new();
        for directory in ["new", "cur"] {
            let directory = format!("{mailbox}/{directory}");
            let names = match disk.list(Path::new(&directory)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                names => names?,
            };
            for name in names {
                if BaseName::queue_id_in(&name).is_some_and(|id| self.ids.contains(&id)) {
                    paths.entry(base_of(&name).to_owned()).or_default().push(format!("{directory}/{name}"));
                }
            }
        }
        Ok(paths)
    }

    fn forget(&mut self, mailbox: &MailboxPath) {
        self.mailboxes.remove(mailbox);
    }
}

/// Makes a file that was not there, removing what was.
fn create(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn File>> {
    match disk.open(path, Open::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?; // not overwritten: it may be linked into another mailbox
            disk.open(path, Open::Create)
        }
        opened => opened,
    }
}

/// Whether a file is these octets, one piece after the other, and no more.
fn has_octets(file: &dyn File, pieces: &[&[u8]]) -> io::Result<bool> {
    let size: usize = pieces.iter().map(|piece| piece.len()).sum();
    if file.size()? != size as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0; COMPARE_CHUNK.min(size)];
    let mut offset = 0;
    for chunk in pieces.iter().flat_map(|piece| piece.chunks(COMPARE_CHUNK)) {
        let read = read_full_at(file, &mut buffer[..chunk.len()], offset)?;
        if buffer[..read] != *chunk {
            return Ok(false);
        }
        offset += read as u64;
    }
    Ok(true)
}

/// Whether two files are the same octets.
fn are_equal(one: &dyn File, other: &dyn File) -> io::Result<bool> {
    let size = one.size()?;
    if other.size()? != size {
        return Ok(false);
    }
    let (mut ones, mut others) = (vec![0; COMPARE_CHUNK], vec![0; COMPARE_CHUNK]);
    let mut offset = 0;
    while offset < size {
        let read = read_full_at(one, &mut ones, offset)?;
        if read == 0 || read_full_at(other, &mut others, offset)? != read || ones[..read] != others[..read] {
            return Ok(false);
        }
        offset += read as u64;
    }
    Ok(true)
}

/// One component of a mailbox's path. Octets that could mean something to a file system, a shell's user or a Maildir
/// reader become `%XX`; the rest stays readable.
///
/// No two texts have one component. An encoded text of up to [`MAILBOX_NAME_MAX`] octets reads back, for `%` is always
/// encoded. A longer one is its beginning and a hash; a short text that looks like that has its last hyphen encoded,
/// which otherwise only happens to a first one.
fn component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if is_harmless(character) && !(at == 0 && matches!(character, '.' | '-')) {
            encoded.push(character);
        } else {
            for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                encoded.push_str(&format!("%{octet:02X}"));
            }
        }
    }
    if encoded.is_empty() {
        return "%".into(); // nothing else is encoded so
    }
    if encoded.len() > MAILBOX_NAME_MAX {
        let boundary = (0..=MAILBOX_NAME_KEPT).rev().find(|&at| encoded.is_char_boundary(at));
        encoded.truncate(boundary.unwrap_or(0));
        encoded.push_str(&format!("-{}", hash(text)));
    } else if looks_cut(&encoded) {
        encoded.replace_range(encoded.len() - HASH_DIGITS - 1..encoded.len() - HASH_DIGITS, "%2D");
    }
    encoded
}

fn is_harmless(character: char) -> bool {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '+' | '=' | '.' | '@' => true,
        _ => !character.is_ascii() && !character.is_control() && !character.is_whitespace(),
    }
}

/// Whether an encoded text ends as one that was cut, and is as long.
fn looks_cut(encoded: &str) -> bool {
    let Some((kept, digits)) = encoded.rsplit_once('-') else { return false };
    digits.len() == HASH_DIGITS
        && (MAILBOX_NAME_KEPT - 3..=MAILBOX_NAME_KEPT).contains(&kept.len())
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The first 128 bits of the text's SHA-256.
fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(HASH_DIGITS / 2).map(|octet| format!("{octet:02x}")).collect()
}

const HASH_DIGITS: usize = 32;

const _: () =
    assert!(MAILBOX_NAME_KEPT + 3 + HASH_DIGITS <= MAILBOX_NAME_MAX, "an encoded hyphen still fits");

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::RealDisk;

    fn path(local_part: &str, domain: &str) -> String {
        MailboxPath::of(&Address::new(local_part, domain)).as_str().to_owned()
    }

    #[test]
    fn names_stay_readable_where_they_are_harmless() {
        for (local_part, domain, expected) in [
            ("user+tag", "Example.COM", "example.com/user+tag"),
            ("John.Doe_x=y@z", "x.example", "x.example/John.Doe_x=y@z"),
            ("jörg", "exämple.de", "xn--exmple-cua.de/jörg"),
            ("john doe", "[192.0.2.1]", "%5B192.0.2.1%5D/john%20doe"),
            ("50%", "x", "x/50%25"),
            ("a:2,S", "x", "x/a%3A2%2CS"),
            ("-rf", "x", "x/%2Drf"),
            ("a-b", "x", "x/a-b"),
            ("", "", "%/%"),
        ] {
            assert_eq!(path(local_part, domain), format!("mailboxes/{expected}"));
        }
    }

    #[test]
    fn a_name_that_would_leave_its_directory_stays_inside() {
        for local_part in
            [".", "..", "../..", "../../etc/passwd", "/", "/etc", "a/../b", ".hidden", "\0", "a\0/", "\u{85}"]
        {
            let path = path(local_part, "x.example");
            assert_safe(&path);
        }
        assert_safe(&path("a", ".."));
        assert_eq!(path("..", "x"), "mailboxes/x/%2E.");
    }

    fn assert_safe(path: &str) {
        let components: Vec<_> = path.split('/').collect();
        assert_eq!((components.len(), components[0]), (3, ROOT), "{path}");
        for component in components {
            assert!((1..=MAILBOX_NAME_MAX).contains(&component.len()), "{path}");
            assert!(!component.starts_with(['.', '-']), "{path}");
            assert!(!component.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':'), "{path}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_apart_by_its_hash() {
        let long = format!("a{}", "ö".repeat(120));
        let cut = component(&long);
        assert_eq!(cut, format!("a{}-{}", "ö".repeat(74), hash(&long)));
        assert_ne!(cut, component(&format!("{long}ö")));
        assert_eq!(component(&"b".repeat(200)), "b".repeat(200));
        assert_eq!(component(&"b".repeat(201)).len(), 183);
    }

    #[test]
    fn a_name_made_to_look_like_anothers_hash_is_another_name() {
        let victim = "v".repeat(201);
        let forged = component(&victim);
        assert_eq!(component(&forged), format!("{}%2D{}", "v".repeat(150), hash(&victim)));
        assert!(component(&forged).len() <= MAILBOX_NAME_MAX);
    }

    /// Names as an adversary would choose them: long, dotted, and made from other names' encodings.
    fn name() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-c./%@:-]{0,6}",
            "[a-bö\u{80}-\u{a0}. ]{140,210}",
            any::<String>(),
            "[a-f0-9]{147,151}-[a-f0-9]{31,33}",
        ];
        (text, 0..3).prop_map(|(text, times)| (0..times).fold(text, |text, _| component(&text)))
    }

    proptest! {
        #[test]
        fn any_name_is_safe(local_part in name(), domain in name()) {
            assert_safe(&path(&local_part, &domain));
        }

        #[test]
        fn no_two_names_have_one_component(one in name(), other in name()) {
            let again = component(&one);
            prop_assert_eq!(one == other, again == component(&other));
            prop_assert_eq!(one == again, component(&again) == again);
        }

        #[test]
        fn a_short_name_reads_back(name in name()) {
            let encoded = component(&name);
            if name.len() * 3 <= MAILBOX_NAME_MAX {
                prop_assert_eq!(decoded(&encoded), name);
            }
        }
    }

    fn decoded(encoded: &str) -> String {
        let mut octets = Vec::new();
        let mut rest = encoded.bytes();
        while let Some(octet) = rest.next() {
            octets.push(match octet {
                b'%' => match (rest.next(), rest.next()) {
                    (Some(high), Some(low)) => {
                        u8::from_str_radix(std::str::from_utf8(&[high, low]).unwrap(), 16).unwrap()
                    }
                    _ => continue,
                },
                _ => octet,
            });
        }
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn a_base_name_gives_its_queue_id_back() {
        let id = QueueId { run: u64::MAX, counter: u64::MAX };
        for base in BaseName::new(u64::MAX, id).candidates() {
            let name = base.to_string();
            assert!(name.len() <= BASE_NAME_MAX);
            assert_eq!(BaseName::queue_id_in(&name), Some(id));
            assert_eq!(BaseName::queue_id_in(&format!("{name}:2,FS")), Some(id));
        }
        assert_eq!(
            BaseName::new(7, QueueId { run: 1, counter: 2 }).to_string(),
            "7.000000000000000100000002.fs"
        );
        assert_eq!(BaseName::queue_id_in("1735689600.M1P2.host"), None);
    }

    fn maildirs() -> (tempfile::TempDir, Maildirs, Place) {
        let root = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(root.path(), &[ROOT]).unwrap());
        let place = Place {
            mailbox: MailboxPath::of(&Address::new("a", "b")),
            base: BaseName::new(7, QueueId { run: 1, counter: 2 }),
        };
        (root, Maildirs::new(disk), place)
    }

    #[test]
    fn directories_and_files_are_for_their_owner_only() {
        let (root, mut maildirs, place) = maildirs();
        maildirs.write(&place, b"Trace\r\n", b"data").unwrap();
        maildirs.publish(&place).unwrap();
        let mode = |path: &str| std::fs::metadata(root.path().join(path)).unwrap().mode() & 0o777;
        for directory in ["", "/b", "/b/a", "/b/a/tmp", "/b/a/new", "/b/a/cur"] {
            assert_eq!(mode(&format!("mailboxes{directory}")), 0o700, "{directory}");
        }
        assert_eq!(mode(&place.path_in_new()), 0o600);
        assert_eq!(std::fs::read(root.path().join(place.path_in_new())).unwrap(), b"Trace\r\ndata");
    }

    #[test]
    fn what_a_crash_left_in_tmp_makes_room_and_is_not_written_through() {
        let (root, mut maildirs, place) = maildirs();
        maildirs.make(&place.mailbox).unwrap();
        let (tmp, other) = (root.path().join(place.path_in_tmp()), root.path().join("other"));
        std::fs::write(&other, b"linked elsewhere").unwrap();
        std::fs::hard_link(&other, &tmp).unwrap();
        maildirs.write(&place, b"", b"new").unwrap();
        assert_eq!(std::fs::read(&tmp).unwrap(), b"new");
        assert_eq!(std::fs::read(&other).unwrap(), b"linked elsewhere");

        std::fs::remove_file(&tmp).unwrap();
        std::os::unix::fs::symlink(&other, &tmp).unwrap();
        maildirs.write(&place, b"", b"new").unwrap();
        assert_eq!(std::fs::read(&tmp).unwrap(), b"new");
        assert_eq!(std::fs::read(&other).unwrap(), b"linked elsewhere");
    }

    #[test]
    fn a_maildir_that_was_removed_is_made_again() {
        let (root, mut maildirs, place) = maildirs();
        maildirs.write(&place, b"", b"1").unwrap();
        std::fs::remove_dir_all(root.path().join("mailboxes")).unwrap();
        maildirs.write(&place, b"", b"2").unwrap();
        std::fs::remove_dir_all(root.path().join(place.mailbox.as_str()).join("new")).unwrap();
        maildirs.publish(&place).unwrap();
        assert_eq!(std::fs::read(root.path().join(place.path_in_new())).unwrap(), b"2");
    }

    #[test]
    fn a_mailbox_is_as_large_as_its_messages_new_and_seen() {
        let (root, mut maildirs, place) = maildirs();
        assert_eq!(octets(&*maildirs.disk, &place.mailbox).unwrap(), 0);
        maildirs.write(&place, b"trace", b"data").unwrap();
        assert_eq!(octets(&*maildirs.disk, &place.mailbox).unwrap(), 0, "what lies in tmp/ is nobody's yet");
        maildirs.publish(&place).unwrap();
        let mailbox = root.path().join(place.mailbox.as_str());
        std::fs::write(mailbox.join("cur/seen:2,S"), b"1234567").unwrap();
        assert_eq!(octets(&*maildirs.disk, &place.mailbox).unwrap(), 9 + 7);
    }

    #[test]
    fn the_memory_of_made_maildirs_is_bounded() {
        let (_root, mut maildirs, place) = maildirs();
        let address = |n| MailboxPath::of(&Address::new(&format!("u{n}"), "b"));
        maildirs.known = (0..MAILDIRS_KNOWN_MAX).map(address).collect();
        maildirs.make(&place.mailbox).unwrap();
        assert_eq!(maildirs.known.len(), 1);
    }

    #[test]
    fn octets_are_compared_to_the_last() {
        let (root, mut maildirs, place) = maildirs();
        let data: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        maildirs.write(&place, b"trace", &data).unwrap();
        let file = maildirs.disk.open(Path::new(&place.path_in_tmp()), Open::Read).unwrap();
        assert!(has_octets(&*file, &[b"trace", &data]).unwrap());
        assert!(!has_octets(&*file, &[b"Trace", &data]).unwrap());
        assert!(!has_octets(&*file, &[b"trace", &data[1..]]).unwrap());
        let mut last = data.clone();
        *last.last_mut().unwrap() ^= 1;
        assert!(!has_octets(&*file, &[b"trace", &last]).unwrap());
        drop(root);
    }

    #[test]
    fn a_mailbox_with_a_file_in_its_way_says_so() {
        let (root, mut maildirs, place) = maildirs();
        std::fs::write(root.path().join("mailboxes/b"), b"a file in the way").unwrap();
        let error = maildirs.write(&place, b"", b"1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
