//! A look, again and again, at files that belong together: whether they changed and are to be read. Used for what may change
//! while the server runs; blocks, and so is never on the loop.
//!
//! Files are read once they changed and then stayed as they are for one look, for they may be in the middle of being written.
//! Known weakness: who pauses in the middle for longer than that is read half.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why files could not be used.
pub trait Failure: Display {
    /// Whether the next attempt may do better although the files stay as they are.
    fn may_pass(&self) -> bool;
}

/// Files that belong together.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    /// How they looked when they were read last; none: they are to be read in any case.
    read: Option<Vec<Stamp>>,
    /// How they looked at the last look.
    seen: Vec<Stamp>,
    /// What was said of the last attempt to read them, if it failed and the next may do better.
    failure: Option<String>,
}

impl Files {
    /// Files that are read at the first look.
    pub fn unread(paths: Vec<PathBuf>) -> Files {
        Files { paths, read: None, seen: Vec::new(), failure: None }
    }

    /// Files that are read right after this.
    pub fn read(paths: Vec<PathBuf>) -> Files {
        let stamps = stamps(&paths);
        Files { paths, read: Some(stamps.clone()), seen: stamps, failure: None }
    }

    /// Has the next look read them, and say what it finds, changed or not.
    pub fn insist(&mut self) {
        self.read = None;
        self.failure = None;
    }

    /// What came of reading the files, if they were to be read and there is something new to say. What may pass is tried
    /// again at each look and said once. Unchanged files cost one system call each.
    pub fn look<T, E: Failure>(&mut self, read: impl FnOnce() -> Result<T, E>) -> Option<Result<T, E>> {
        if !self.are_due(stamps(&self.paths)) {
            return None;
        }
        let result = read();
        let failure = result.as_ref().err().filter(|error| error.may_pass()).map(E::to_string);
        let is_new = failure.is_none() || failure != self.failure;
        self.failure = failure;
        is_new.then_some(result)
    }

    /// Whether they are to be read now, and takes note that they are.
    fn are_due(&mut self, stamps: Vec<Stamp>) -> bool {
        let is_steady = self.seen == stamps;
        let is_due = match &self.read {
            None => true,
            Some(read) => is_steady && (*read != stamps || self.failure.is_some()),
        };
        if is_due {
            self.read = Some(stamps.clone());
        }
        self.seen = stamps;
        is_due
    }
}

/// What tells one state of a file from another. Its times are of the kernel's clock, which has ticks of 4 ms: who writes
/// within the tick in which the file was read at once, and as many octets, is not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    File {
        device: u64,
        inode: u64,
        octets: u64,
        modified: (i64, i64),
        /// Also when owner or mode changed: perhaps it can be read only since then.
        changed: (i64, i64),
    },
    /// Nothing is known of it, for this reason; often because it is not there.
    Unknown(ErrorKind),
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    paths.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    match fs::metadata(path) {
        Ok(about) => Stamp::File {
            device: about.dev(),
            inode: about.ino(),
            octets: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        },
        Err(error) => Stamp::Unknown(error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(changed: i64) -> Vec<Stamp> {
        vec![Stamp::File { device: 1, inode: 2, octets: 3, modified: (4, 0), changed: (changed, 0) }]
    }

    fn read_at(changed: i64) -> Files {
        Files { paths: Vec::new(), read: Some(at(changed)), seen: at(changed), failure: None }
    }

    #[test]
    fn files_are_read_once_when_they_have_come_to_rest() {
        let mut files = read_at(1);
        assert!(!files.are_due(at(1)));
        assert!(!files.are_due(at(2)), "somebody writes");
        assert!(!files.are_due(at(3)), "and writes");
        assert!(files.are_due(at(3)));
        assert!(!files.are_due(at(3)), "once for each change, whatever came of it");
        let gone = || vec![Stamp::Unknown(ErrorKind::NotFound)];
        assert!(!files.are_due(gone()));
        assert!(files.are_due(gone()));
    }

    #[test]
    fn who_insists_has_them_read_at_once_and_once() {
        let mut files = read_at(1);
        files.insist();
        assert!(files.are_due(at(1)));
        assert!(!files.are_due(at(1)));
        assert!(!files.are_due(at(2)));
        files.insist();
        assert!(files.are_due(at(2)));
        assert!(!files.are_due(at(2)));
    }

    #[derive(Debug, PartialEq)]
    struct Fault(&'static str, bool);

    impl Display for Fault {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Failure for Fault {
        fn may_pass(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_said_once_and_what_is_bad_is_not_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let mut files = Files::unread(vec![path]);
        let mut look = |result: Result<u8, Fault>| files.look(|| result);
        assert_eq!(look(Err(Fault("locked", true))), Some(Err(Fault("locked", true))));
        assert_eq!(look(Err(Fault("locked", true))), None);
        assert_eq!(look(Err(Fault("worn", true))), Some(Err(Fault("worn", true))));
        assert_eq!(look(Err(Fault("bad", false))), Some(Err(Fault("bad", false))));
        assert_eq!(look(Ok(1)), None, "it was read, and is as it was");
    }

    #[test]
    fn a_file_whose_rights_are_mended_is_read_again() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let before = stamp(&path);
        let started = std::time::Instant::now();
        // Within one tick of the kernel's clock nothing is to be seen.
        while stamp(&path) == before {
            assert!(started.elapsed().as_secs() < 10, "that the mode changed is not seen");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        }
        let (Stamp::File { modified: now, .. }, Stamp::File { modified: then, .. }) = (stamp(&path), before)
        else {
            panic!("it is a file")
        };
        assert_eq!(now, then, "its octets are as they were");
    }
}
