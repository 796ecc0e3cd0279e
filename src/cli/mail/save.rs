//! Attachments as files. Their names are their senders': no name leaves the directory, hides, steers a terminal, or takes
//! the place of what is there.

use std::fs::{File, OpenOptions, create_dir_all, remove_file};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use fastsmtp::limits::{ATTACHMENT_NAME_MAX, ATTACHMENT_NAMESAKES_MAX};

use super::Parts;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{is_deceptive, printable};

/// Saves all attachments below `directory`, which is made if need be, and gives the names of their files there.
pub fn save(parts: &Parts<'_>, directory: &Path) -> Result<Vec<String>, Failure> {
    let failure = |path: &Path, error: &io::Error| {
        let place = printable(path.to_string_lossy().as_bytes());
        let exit =
            if error.kind() == ErrorKind::PermissionDenied { Exit::Permission } else { Exit::CannotCreate };
        Failure::new(
            exit,
            format!("{place}: the attachment cannot be saved: {error}; name another directory"),
        )
    };
    create_dir_all(directory).map_err(|error| failure(directory, &error))?;
    let mut saved = Vec::new();
    for (at, attachment) in parts.attachments().enumerate() {
        let name = file_name(attachment.name, attachment.kind, at + 1);
        let (name, mut file) = create(directory, &name).map_err(|(path, error)| failure(&path, &error))?;
        if let Err(error) = file.write_all(&attachment.data) {
            let path = directory.join(&name);
            let _ = remove_file(&path); // half of it is none
            return Err(failure(&path, &error));
        }
        saved.push(name);
    }
    Ok(saved)
}

/// Makes a new file of this name, or of the next like it that is free. Never follows a link: the name would be taken.
fn create(directory: &Path, name: &str) -> Result<(String, File), (PathBuf, io::Error)> {
    let (stem, ending) = split(name);
    let others = (1..ATTACHMENT_NAMESAKES_MAX).map(|number| format!("{stem}-{number}{ending}"));
    for name in std::iter::once(name.to_owned()).chain(others) {
        let path = directory.join(&name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (name, file)).map_err(|error| (path, error)),
        }
    }
    Err((directory.join(name), ErrorKind::AlreadyExists.into()))
}

/// A harmless file name: the sender's as far as it goes, else one of our own.
pub fn file_name(wanted: Option<&str>, kind: &str, number: usize) -> String {
    let last = wanted.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let harmless = last.chars().filter(|c| !c.is_control() && !is_deceptive(*c) && *c != '\u{fffd}');
    let name: String = harmless.map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let name = name.trim_start_matches(['.', '-', ' ', '~']).trim_end_matches(['.', ' ']);
    match shortened(name) {
        name if name.is_empty() => format!("attachment-{number}{}", ending_of(kind)),
        name => name,
    }
}

/// At most [`ATTACHMENT_NAME_MAX`] octets of it, with its ending.
fn shortened(name: &str) -> String {
    if name.len() <= ATTACHMENT_NAME_MAX {
        return name.to_owned();
    }
    let (stem, ending) = split(name);
    let room = ATTACHMENT_NAME_MAX - ending.len();
    let end = (0..=room).rev().find(|&at| stem.is_char_boundary(at)).unwrap_or(0);
    format!("{}{ending}", stem[..end].trim_end())
}

/// A name before its ending, and that with its dot: none where there is no short one.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= ENDING_MAX => name.split_at(at),
        _ => (name, ""),
    }
}

/// Octets of an ending, with its dot.
const ENDING_MAX: usize = 20;

fn ending_of(kind: &str) -> &'static str {
    match kind {
        "text/plain" => ".txt",
        "text/html" => ".html",
        "text/calendar" => ".ics",
        "message/rfc822" => ".eml",
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "image/gif" => ".gif",
        "application/pdf" => ".pdf",
        _ => ".bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_directory_hides_or_steers_a_terminal() {
        for (wanted, expected) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("/", "attachment-1.bin"),
            ("..", "attachment-1.bin"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a\0b\x1b[2J.txt", "ab[2J.txt"),
            ("x\u{202e}fdp.exe", "xfdp.exe"),
            ("a\r\nb.txt", "ab.txt"),
            ("über\u{a0}uns.txt", "über uns.txt"),
            ("", "attachment-1.bin"),
        ] {
            assert_eq!(file_name(Some(wanted), "application/x", 1), expected, "{wanted:?}");
        }
        assert_eq!(file_name(None, "message/rfc822", 3), "attachment-3.eml");
    }

    #[test]
    fn a_long_name_is_cut_before_its_ending() {
        let name = file_name(Some(&format!("{}.tar", "ö".repeat(200))), "x/x", 1);
        assert!(name.len() <= ATTACHMENT_NAME_MAX && name.ends_with("ö.tar"), "{name}");
        assert_eq!(file_name(Some(&"a.".repeat(200)), "x/x", 1).len(), ATTACHMENT_NAME_MAX);
    }

    #[test]
    fn what_is_there_stays_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = root.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, root.path().join("a.txt")).unwrap();
        for expected in ["a-1.txt", "a-2.txt"] {
            assert_eq!(create(root.path(), "a.txt").unwrap().0, expected);
        }
        assert!(!elsewhere.exists());
    }
}
