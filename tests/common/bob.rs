//! Bob and his mailbox: mail in a directory, written by hand, and the mail commands of the real program over it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::server::PROGRAM;

/// A data directory, in which bob@example.com may have mail, and the program that looks at it.
pub struct Bob {
    pub root: TempDir,
}

impl Bob {
    pub fn new() -> Bob {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        Bob { root }
    }

    /// With these mails in `new/`, the first the oldest.
    pub fn with(mails: &[&[u8]]) -> Bob {
        let made = Bob::new();
        mails.iter().enumerate().for_each(|(at, mail)| made.put("new", at + 1, "", mail));
        made
    }

    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub fn maildir(&self) -> PathBuf {
        self.data().join("mailboxes/example.com/bob")
    }

    pub fn put(&self, directory: &str, number: usize, flags: &str, mail: &[u8]) {
        for directory in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.maildir().join(directory)).unwrap();
        }
        fs::write(self.maildir().join(directory).join(id(number) + flags), mail).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .env("TZ", "UTC")
            .env("FASTSMTP_DATA", self.data())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Insists on the exit code and on one sentence; gives the sentence.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.starts_with("fastsmtp: ") && text.matches('\n').count() == 1, "{arguments:?}: {text}");
        text
    }

    pub fn numbers(&self, arguments: &[&str]) -> Vec<u64> {
        let list = self.json(&[&["list", "bob@example.com"], arguments].concat());
        list["mails"].as_array().unwrap().iter().map(|mail| mail["number"].as_u64().unwrap()).collect()
    }
}

/// The name of a mail that came so many seconds into 2025.
pub fn id(number: usize) -> String {
    format!("{}.9f3c0000000000010000{number:04x}.fs", 1_735_689_600 + number)
}

/// A mail as mail programs write it.
pub const PLAIN: &[u8] = b"Return-Path: <alice@x.example>\r\nFrom: =?utf-8?q?Alice_=C3=84?= <alice@x.example>\r\n\
To: bob@example.com\r\nSubject: =?utf-8?b?UsOkdHNlbA==?=\r\nDate: Mon, 23 Nov 2026 23:40:01 +0100\r\n\r\nHello Bob\r\n";
