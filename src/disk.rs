//! The boundary to the file system: every file operation of the spool and of the mailboxes, and what std lacks for a file
//! of its own somewhere else.
//!
//! [`RealDisk`] does them below one directory, by descriptor, so that the process may change directory and nobody can
//! swap the directory under it. Tests bring a faulty disk of their own. Nothing here decides: what an error means is
//! said by the callers. Never called on the event loop (starting apart).

use std::fs::{self, File as StdFile};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};

use crate::limits::IOV_MAX;

/// A directory tree, and what may be done to it. Paths are relative to its root; no path may leave it.
pub trait Disk: Send + Sync {
    /// Opens or creates a file. A symbolic link as the last component is an error, never followed.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing what has that name. Durable after [`sync_dir`](Disk::sync_dir) of both directories.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file. `AlreadyExists` if the name is taken. Durable as a rename is.
    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.link(from, to)?;
        self.remove(from)
    }
    /// Gives a file a second name. `AlreadyExists` if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates one directory, for its owner only (0700). `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order, without `.` and `..`; names that are not UTF-8 are left out: none of
    /// ours are.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Gives each of these names, so that a large directory need not be in memory; ends at the first error, its own or
    /// `each`'s.
    fn each_name(&self, path: &Path, each: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        self.list(path)?.iter().try_for_each(|name| each(name))
    }
    /// A file's length in octets, without opening it where that is possible. `InvalidInput` for what is no regular file.
    fn size_of(&self, path: &Path) -> io::Result<u64> {
        self.open(path, Open::Read)?.size()
    }
    /// Makes the names in a directory durable (fsync of the directory).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything written so far durable, data and names (syncfs). An error may stem from any write since the
    /// last call that reported one.
    fn sync_all(&self) -> io::Result<()>;
    /// 64 random bits that nobody can guess.
    fn random(&self) -> u64;
}

/// An open file.
pub trait File: Send + Sync {
    /// Writes the slices one after the other at `offset`; may write less than all, and says how much.
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Reads at `offset`; may read less than asked, 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reserves `size` octets from the file's start, so that writing there cannot run out of space; grows the file.
    fn allocate(&self, size: u64) -> io::Result<()>;
    /// Makes the file's data durable, and of its metadata what reading the data needs (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Has the disk begin to write cached pages that are not on it yet, and waits for none; forgets those that are clean, so
    /// that the next read shows what the disk holds.
    fn drop_cache(&self) -> io::Result<()>;
    /// The file's length in octets.
    fn size(&self) -> io::Result<u64>;
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; it must not exist (`AlreadyExists`), and is made for its owner only (0600).
    Create,
}

/// Writes all of `slices` at `offset`, however short the single writes turn out.
pub fn write_all_at(file: &dyn File, slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    let mut rest = slices;
    IoSlice::advance_slices(&mut rest, 0); // drops leading empty slices, which would look like an end
    while !rest.is_empty() {
        match file.write_at(&rest[..rest.len().min(IOV_MAX)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an error says that the machine is short of something (space, descriptors, memory), and so nothing of the file.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let kind = error.kind();
    let is_raw = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory)
        || is_raw(Errno::MFILE)
        || is_raw(Errno::NFILE)
}

/// Fills `buffer` from `offset`, or as much of it as the file has; says how much.
pub fn read_full_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Opens a regular file for reading, by whatever links. `InvalidInput` for anything else, and never waits for the other end
/// of a pipe.
pub fn open_regular(path: &Path) -> io::Result<StdFile> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: StdFile = rustix::fs::open(path, flags, Mode::empty())?.into();
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Waits for the lock that `path` stands for and takes it until the file is dropped; makes the file (0600) if need be.
/// `InvalidInput` for anything but a regular file.
pub fn wait_for_lock(path: &Path) -> io::Result<StdFile> {
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: StdFile = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into();
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the lock beside it is not a regular file"));
    }
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            locked => return locked.map(|()| file).map_err(io::Error::from),
        }
    }
}

/// The number of the user whose rights the process has: what it makes is theirs.
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Octets that nobody can guess, 256 at the most.
pub fn random_octets<const N: usize>() -> [u8; N] {
    const { assert!(N <= 256, "the kernel gives more only in pieces") };
    let mut octets = [0; N];
    let filled = rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(N), "getrandom gives up to 256 octets on every Linux that we run on");
    octets
}

/// Makes a directory and those above it, each for its owner only, and their names durable.
pub fn make_durably(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_durably(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    // Who may make a name in a directory may perhaps not read it, and so not sync it.
    match StdFile::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened?.sync_all(),
    }
}

/// The real file system, below one directory.
pub struct RealDisk {
    /// Opened before any write, so that `syncfs` reports every write-back error since.
    root: StdFile,
}

impl RealDisk {
    /// Opens the directory `root`, making it and its parents if need be, and its sub-directories `below`. What has the
    /// name of one of these and is no directory is an error now, rather than of each file that should lie in it.
    pub fn open(root: &Path, below: &[&str]) -> io::Result<RealDisk> {
        make_durably(root)?;
        let disk = RealDisk { root: StdFile::open(root)? };
        for name in below {
            match disk.create_dir(Path::new(name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    rustix::fs::openat(
                        &disk.root,
                        *name,
                        OFlags::DIRECTORY | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                }
                made => made?,
            }
        }
        disk.root.sync_all()?;
        Ok(disk)
    }

    /// Opens the directory `root` as it is: makes nothing, and takes no lock.
    pub fn existing(root: &Path) -> io::Result<RealDisk> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(rustix::fs::CWD, root, flags, Mode::empty())?;
        Ok(RealDisk { root: root.into() })
    }

    /// Locks the directory for this process. False if another holds it. The lock lives as long as the disk.
    pub fn lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.root, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether two sub-directories lie on one file system, which hard links and one `syncfs` need.
    pub fn same_file_system(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let device = |path| rustix::fs::statat(&self.root, path, AtFlags::empty()).map(|stat| stat.st_dev);
        Ok(device(one)? == device(other)? && device(one)? == self.root.metadata()?.dev())
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let flags = match how {
            Open::Read => OFlags::RDONLY | OFlags::NONBLOCK, // or a pipe would keep us until somebody writes
            Open::Write => OFlags::RDWR,
            Open::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        } | OFlags::CLOEXEC
            | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.root, path, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Box::new(RealFile(file.into())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.root, from, &self.root, to)?)
    }

    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::renameat_with(&self.root, from, &self.root, to, RenameFlags::NOREPLACE) {
            // A file system that does not know it; there both names exist for a moment.
            Err(Errno::INVAL | Errno::NOSYS) => self.link(from, to).and_then(|()| self.remove(from)),
            renamed => Ok(renamed?),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.root, from, &self.root, to, AtFlags::empty())?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.root, path, AtFlags::empty())?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.root, path, Mode::RWXU)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.each_name(path, &mut |name| {
            names.push(name.to_owned());
            Ok(())
        })?;
        Ok(names)
    }

    fn each_name(&self, path: &Path, each: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let directory = self.open_dir(path)?;
        for entry in rustix::fs::Dir::read_from(&directory)? {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                each(name)?;
            }
        }
        Ok(())
    }

    fn size_of(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.open_dir(path)?)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    fn random(&self) -> u64 {
        u64::from_ne_bytes(random_octets())
    }
}

impl RealDisk {
    fn open_dir(&self, path: &Path) -> io::Result<std::os::fd::OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.root, path, flags, Mode::empty())?)
    }
}

struct RealFile(StdFile);

impl File for RealFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, slices, offset)?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, size)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path(), &["a"]).unwrap();
        (root, disk)
    }

    #[test]
    fn what_is_written_in_pieces_reads_back_whole() {
        let (_root, disk) = disk();
        let file = disk.open(Path::new("a/f"), Open::Create).unwrap();
        let pieces: Vec<Vec<u8>> = (0..3000u32).map(|n| vec![n as u8; (n % 7) as usize]).collect();
        let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        write_all_at(&*file, &mut slices, 5).unwrap();
        let whole = pieces.concat();
        let mut read = vec![0; whole.len() + 10];
        assert_eq!(read_full_at(&*file, &mut read, 5).unwrap(), whole.len());
        assert_eq!(read[..whole.len()], whole);
        assert_eq!(file.size().unwrap(), 5 + whole.len() as u64);
    }

    #[test]
    fn a_file_is_created_once_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (root, disk) = disk();
        disk.open(Path::new("a/f"), Open::Create).unwrap();
        let error = disk.open(Path::new("a/f"), Open::Create).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let mode = |path| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/f"), mode("a")), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_is_moved_replaces_none() {
        let (root, disk) = disk();
        let path = |name: &str| root.path().join("a").join(name);
        fs::write(path("f"), "f").unwrap();
        fs::write(path("g"), "g").unwrap();
        let error = disk.move_to(Path::new("a/f"), Path::new("a/g")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(path("f")).unwrap(), fs::read(path("g")).unwrap()), (b"f".into(), b"g".into()));
        disk.move_to(Path::new("a/f"), Path::new("a/h")).unwrap();
        assert_eq!((fs::read(path("h")).unwrap(), path("f").exists()), (b"f".into(), false));
    }

    #[test]
    fn only_a_regular_file_has_a_size() {
        let (root, disk) = disk();
        fs::write(root.path().join("a/f"), "four").unwrap();
        std::os::unix::fs::symlink("f", root.path().join("a/link")).unwrap();
        assert_eq!(disk.size_of(Path::new("a/f")).unwrap(), 4);
        for other in ["a", "a/link"] {
            assert_eq!(disk.size_of(Path::new(other)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (root, disk) = disk();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("a/link")).unwrap();
        assert!(disk.open(Path::new("a/link"), Open::Read).is_err());
        assert!(disk.open(Path::new("a/link"), Open::Write).is_err());
    }

    #[test]
    fn a_second_owner_does_not_get_the_lock() {
        let (root, disk) = disk();
        assert!(disk.lock().unwrap());
        let second = RealDisk::open(root.path(), &[]).unwrap();
        assert!(!second.lock().unwrap());
        drop(disk);
        assert!(second.lock().unwrap());
    }
}
