//! Real messages from files: what `--eml` names is read once, and its line ends made those of the wire.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fastsmtp::units;

/// Messages that were read from files. Never empty.
#[derive(Debug, Clone)]
pub struct Files {
    pub(super) letters: Vec<Letter>,
}

/// The content of a file: empty, or whole lines that end with CRLF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub(super) content: Vec<u8>,
    /// Whether there are octets beyond ASCII in it, so that it needs 8BITMIME (RFC 6152).
    pub(super) eight_bit: bool,
}

impl Files {
    /// Reads them: one file; of a Maildir all in `new/` and `cur/`; of another directory those that end with `.eml`;
    /// sorted by name. A bare LF becomes CRLF, and a last line without an end gets one. The error is a sentence that
    /// names the file or the directory.
    pub fn load(path: &Path) -> Result<Files, String> {
        let paths = list(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if paths.is_empty() {
            return Err(format!(
                "{} has no messages: neither *.eml nor a Maildir's new/ and cur/",
                path.display()
            ));
        }
        check_size(path, &paths)?;
        let letters = paths.iter().map(|path| {
            let content =
                fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            letter(content).map_err(|reason| format!("{} {reason}", path.display()))
        });
        Ok(Files { letters: letters.collect::<Result<_, _>>()? })
    }

    /// How many messages.
    pub fn count(&self) -> usize {
        self.letters.len()
    }

    /// Octets of the smallest and of the largest.
    pub fn octets(&self) -> (u64, u64) {
        let octets = || self.letters.iter().map(|letter| letter.content.len() as u64);
        (octets().min().unwrap_or(0), octets().max().unwrap_or(0))
    }
}

/// The files below a path, sorted by name: those of `new/` and `cur/` by that, not by their directory.
fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_any = |_: &Path| true;
    let is_eml =
        |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml"));
    let (new, cur) = (path.join("new"), path.join("cur"));
    let mut paths = if new.is_dir() && cur.is_dir() {
        [files(&new, is_any)?, files(&cur, is_any)?].concat()
    } else {
        files(path, is_eml)?
    };
    paths.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    Ok(paths)
}

/// The files in a directory, but for hidden ones.
fn files(directory: &Path, is_wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && is_wanted(&path) && path.is_file() {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Before anything is read.
fn check_size(path: &Path, paths: &[PathBuf]) -> Result<(), String> {
    let octets: u64 = paths.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
    if octets <= OCTETS_MAX {
        return Ok(());
    }
    let (mebibytes, count, max) = (octets >> 20, paths.len(), units::size_text(OCTETS_MAX));
    Err(format!(
        "{} has {count} messages of {mebibytes} MiB together, more than {max}: name fewer",
        path.display()
    ))
}

/// Makes all line ends CRLF. The error says what is wrong with the content.
fn letter(content: Vec<u8>) -> Result<Letter, String> {
    let mut lines = Vec::with_capacity(content.len() + content.len() / 32 + 2);
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.contains(&b'\r') {
            let number = lines.iter().filter(|octet| **octet == b'\n').count() + 1;
            return Err(format!(
                "has a CR without its LF in line {number}, which SMTP forbids (RFC 5321 2.3.8)"
            ));
        }
        lines.extend_from_slice(text);
        lines.extend_from_slice(b"\r\n");
    }
    let eight_bit = !lines.is_ascii();
    Ok(Letter { content: lines, eight_bit })
}

/// Octets of all files together: they lie in memory, beside what the server under test needs of the same machine.
pub const OCTETS_MAX: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        directory
    }

    fn contents(path: &Path) -> Vec<String> {
        let files = Files::load(path).unwrap();
        files.letters.iter().map(|letter| String::from_utf8(letter.content.clone()).unwrap()).collect()
    }

    #[test]
    fn eml_files_are_read_by_name_and_others_are_not() {
        let directory = directory(&[
            ("b.eml", b"b\r\n"),
            ("a.EML", b"a\r\n"),
            ("notes.txt", b"no"),
            (".hidden.eml", b"no"),
            ("c.eml/x", b"no"),
        ]);
        assert_eq!(contents(directory.path()), ["a\r\n", "b\r\n"]);
        assert_eq!(contents(&directory.path().join("notes.txt")), ["no\r\n"], "one file, whatever its name");
        let files = Files::load(directory.path()).unwrap();
        assert_eq!((files.count(), files.octets()), (2, (3, 3)));
    }

    #[test]
    fn a_maildir_is_read_new_and_cur_together() {
        let files: [(&str, &[u8]); 4] =
            [("new/2", b"2\n"), ("cur/1:2,S", b"1\n"), ("tmp/0", b"0\n"), ("x.eml", b"x\n")];
        assert_eq!(contents(directory(&files).path()), ["1\r\n", "2\r\n"]);
    }

    #[test]
    fn line_ends_become_those_of_the_wire() {
        for (content, expected) in [
            ("", ""),
            ("\n", "\r\n"),
            ("a", "a\r\n"),
            ("a\nb\r\n\n", "a\r\nb\r\n\r\n"),
            ("a\r\n.b", "a\r\n.b\r\n"),
            ("a\r", "a\r\n"),
        ] {
            assert_eq!(letter(content.into()).unwrap().content, expected.as_bytes(), "{content:?}");
        }
        assert!(letter("h\u{e9}\n".into()).unwrap().eight_bit && !letter("h\n".into()).unwrap().eight_bit);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        let directory = directory(&[("a.eml", b"a\nb\rc\n"), ("empty/x", b"")]);
        let error = Files::load(directory.path()).unwrap_err();
        assert!(
            error.ends_with("a.eml has a CR without its LF in line 2, which SMTP forbids (RFC 5321 2.3.8)"),
            "{error}"
        );
        let error = Files::load(&directory.path().join("empty")).unwrap_err();
        assert!(
            error.ends_with("empty has no messages: neither *.eml nor a Maildir's new/ and cur/"),
            "{error}"
        );
        let error = Files::load(&directory.path().join("gone")).unwrap_err();
        assert!(error.contains("gone cannot be read: "), "{error}");
    }

    #[test]
    fn more_than_memory_is_meant_for_is_refused_before_it_is_read() {
        let directory = directory(&[("a.eml", b"a\n")]);
        let large = fs::File::create(directory.path().join("large.eml")).unwrap();
        large.set_len(OCTETS_MAX).unwrap();
        let error = Files::load(directory.path()).unwrap_err();
        assert!(
            error.ends_with("has 2 messages of 512 MiB together, more than 512MiB: name fewer"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn every_line_end_is_crlf_whatever_is_read(content in "[a.\r\n]{0,30}") {
            if let Ok(letter) = letter(content.clone().into_bytes()) {
                let text = String::from_utf8(letter.content).unwrap();
                prop_assert!(text.is_empty() || text.ends_with("\r\n"));
                prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
                let (sent, read) = (text.replace("\r\n", "\n"), content.replace("\r\n", "\n"));
                prop_assert_eq!(sent.trim_end(), read.trim_end());
            }
        }
    }
}
