//! The walk through a tree for the files of its Maildirs, each directory read once. Links are not followed.
//!
//! A directory that has both `new` and `cur` in it is a Maildir, wherever it lies: also below another, as a folder, and
//! also where a mailbox is called `new`.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

/// A file in `new/` or `cur/` of a Maildir, or what could not be read.
pub type Step = Result<MailFile, (PathBuf, io::Error)>;

/// A file of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFile {
    pub path: PathBuf,
    /// Which Maildir it lies in, from 0. The files of one come one after the other.
    pub maildir: u32,
}

/// The walk.
pub struct Walk {
    /// Directories to be read, the next at the end.
    ahead: VecDeque<Directory>,
    /// The one that is being read, and the directories seen in it so far.
    open: Option<(Directory, ReadDir, Vec<PathBuf>)>,
    maildirs: u32,
}

struct Directory {
    path: PathBuf,
    /// The Maildir whose `new/` or `cur/` it is.
    of: Option<u32>,
}

impl Walk {
    pub fn new(root: &Path) -> Walk {
        let root = Directory { path: root.to_owned(), of: None };
        Walk { ahead: VecDeque::from([root]), open: None, maildirs: 0 }
    }

    /// How many Maildirs were found so far.
    pub fn maildirs(&self) -> u32 {
        self.maildirs
    }

    /// Opens the next directory; none at the end.
    fn open_next(&mut self) -> Option<Result<(), (PathBuf, io::Error)>> {
        let directory = self.ahead.pop_back()?;
        match fs::read_dir(&directory.path) {
            Ok(entries) => {
                self.open = Some((directory, entries, Vec::new()));
                Some(Ok(()))
            }
            Err(error) => Some(Err((directory.path, error))),
        }
    }

    /// Puts the directories seen in one that was read ahead: `new/` and `cur/` of a Maildir next, so that they stay
    /// together; directories that lie in these, last.
    fn close(&mut self, directory: &Directory, within: Vec<PathBuf>) {
        let has = |name: &str| within.iter().any(|path| path.file_name() == Some(OsStr::new(name)));
        let is_maildir = has("new") && has("cur");
        let (maildir, others): (Vec<PathBuf>, _) =
            within.into_iter().partition(|path| is_maildir && is_new_or_cur(path));
        let others = others.into_iter().map(|path| Directory { path, of: None });
        if directory.of.is_some() {
            others.for_each(|other| self.ahead.push_front(other));
        } else {
            self.ahead.extend(others);
        }
        let of = Some(self.maildirs);
        self.maildirs += u32::from(is_maildir);
        self.ahead.extend(maildir.into_iter().map(|path| Directory { path, of }));
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let Some((directory, entries, within)) = &mut self.open else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(failed) => return Some(Err(failed)),
                }
            };
            let entry = match entries.next() {
                Some(entry) => entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))),
                None => {
                    let (directory, _, within) = self.open.take()?;
                    self.close(&directory, within);
                    continue;
                }
            };
            match (entry, directory.of) {
                (Ok((path, kind)), _) if kind.is_dir() => within.push(path),
                (Ok((path, kind)), Some(maildir)) if kind.is_file() => {
                    return Some(Ok(MailFile { path, maildir }));
                }
                (Ok(_), _) => {}
                (Err(error), _) => return Some(Err((directory.path.clone(), error))),
            }
        }
    }
}

fn is_new_or_cur(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "new" || name == "cur")
}

/// Whether a directory is itself a Maildir.
pub fn is_maildir(path: &Path) -> bool {
    path.join("new").is_dir() && path.join("cur").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"").unwrap();
            }
        }
        root
    }

    /// The files, sorted, and how many Maildirs there are.
    fn walked(root: &Path) -> (Vec<String>, u32) {
        let mut walk = Walk::new(root);
        let mut files = Vec::new();
        let mut last = None;
        for step in &mut walk {
            let file = step.unwrap();
            if last != Some(file.maildir) {
                assert!(
                    files.iter().all(|(maildir, _)| *maildir != file.maildir),
                    "a Maildir's files stay together"
                );
                last = Some(file.maildir);
            }
            files.push((file.maildir, file.path.strip_prefix(root).unwrap().display().to_string()));
        }
        let mut names: Vec<String> = files.into_iter().map(|(_, name)| name).collect();
        names.sort();
        (names, walk.maildirs())
    }

    #[test]
    fn maildirs_are_found_wherever_they_lie() {
        let root = tree(&[
            "x/a/new/1",
            "x/a/cur/2:2,S",
            "x/a/tmp/3",
            "x/b/new/",
            "x/b/cur/4",
            "x/a/.Sent/cur/5",
            "x/a/.Sent/new/",
            "x/c/new/6",
            "7",
        ]);
        let (files, maildirs) = walked(root.path());
        assert_eq!(files, ["x/a/.Sent/cur/5", "x/a/cur/2:2,S", "x/a/new/1", "x/b/cur/4"]);
        assert_eq!(maildirs, 3);
        assert!(is_maildir(&root.path().join("x/a")) && !is_maildir(root.path()));
        assert_eq!(walked(&root.path().join("x/b")), (vec!["cur/4".to_owned()], 1));
    }

    #[test]
    fn mailboxes_called_new_and_cur_are_mailboxes() {
        let names: Vec<String> = ["new", "cur", "tmp"]
            .iter()
            .flat_map(|name| {
                [format!("x/{name}/new/1"), format!("x/{name}/cur/2"), format!("x/{name}/tmp/3")]
            })
            .collect();
        let root = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (files, _) = walked(root.path());
        assert_eq!(
            files,
            ["x/cur/cur/2", "x/cur/new/1", "x/new/cur/2", "x/new/new/1", "x/tmp/cur/2", "x/tmp/new/1"]
        );
    }

    #[test]
    fn links_are_not_followed() {
        let root = tree(&["a/new/1", "a/cur/"]);
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("b")).unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink(root.path().join("a/new/1"), root.path().join("a/new/2")).unwrap();
        assert_eq!(walked(root.path()), (vec!["a/new/1".to_owned()], 1));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_walk_goes_on() {
        let steps: Vec<Step> = Walk::new(Path::new("/nowhere/at/all")).collect();
        assert!(matches!(&steps[..], [Err((path, _))] if path == Path::new("/nowhere/at/all")));
    }
}
