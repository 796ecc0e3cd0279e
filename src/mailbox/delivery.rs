//! How a message's file gets into a Maildir.
//!
//! Called by the courier, which says in what order and syncs in between: nothing here is durable by itself.

use std::collections::{HashMap, HashSet};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::{BaseName, LISTINGS_MAX, MailboxPath, Place, base_of};
use crate::disk::{Disk, File, Open, read_full_at, write_all_at};
use crate::limits::{COMPARE_CHUNK, MAILDIRS_KNOWN_MAX};
use crate::queue_id::QueueId;

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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::ROOT;
    use super::*;
    use crate::disk::RealDisk;
    use crate::smtp::Address;

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
