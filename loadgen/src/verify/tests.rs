//! Ledgers against mailboxes that were tampered with.

use super::*;
use crate::ledger::{Entry, Head, Ledger};
use crate::mail_id::RunId;
use fastsmtp::smtp::Address;
use sha2::{Digest, Sha256};
use std::fs;
use std::time::UNIX_EPOCH;

/// A ledger and mailboxes beside it, all as it should be: message `n` is for `user1` to `user<n>`.
struct Scene {
    root: tempfile::TempDir,
    run: RunId,
}

impl Scene {
    fn new(messages: u64) -> Scene {
        let scene = Scene { root: tempfile::tempdir().unwrap(), run: RunId::random() };
        scene.write_ledger(messages);
        for number in 1..=messages {
            for user in 1..=number {
                scene.write(&scene.path(user, number), &scene.content(number));
            }
        }
        scene
    }

    fn write_ledger(&self, messages: u64) {
        let head = Head { run: self.run, started: UNIX_EPOCH, target: "x:25".into() };
        let ledger = Ledger::create(&self.ledger(), &head).unwrap();
        for number in 1..=messages {
            let content = self.content(number);
            ledger.recorder().record(Entry {
                id: self.run.mail(number),
                acknowledged: UNIX_EPOCH,
                octets: content.len() as u64,
                sha256: Sha256::digest(&content).into(),
                recipients: (1..=number).map(|user| Address::new(&format!("user{user}"), "X")).collect(),
            });
        }
        ledger.finish().unwrap();
    }

    fn content(&self, number: u64) -> String {
        format!("X-Loadgen-Id: {}\r\n\r\nMessage {number}\r\n", self.run.mail(number))
    }

    /// Of a message's file in a user's mailbox: some are in `new/`, some in `cur/`.
    fn path(&self, user: u64, number: u64) -> String {
        let directory = if number.is_multiple_of(2) { "new" } else { "cur" };
        format!("x/user{user}/{directory}/{number}")
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.mailboxes().join(path);
        for directory in ["new", "cur"] {
            fs::create_dir_all(path.parent().unwrap().parent().unwrap().join(directory)).unwrap();
        }
        fs::write(path, format!("Return-Path: <a@x>\r\nReceived: by y\r\n{content}")).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.mailboxes().join(path)).unwrap();
    }

    fn ledger(&self) -> PathBuf {
        self.root.path().join("ledger")
    }

    fn mailboxes(&self) -> PathBuf {
        self.root.path().join("mailboxes")
    }

    fn verify(&self) -> Verification {
        self.verify_in(&self.mailboxes())
    }

    fn verify_in(&self, maildir: &Path) -> Verification {
        verify(&self.ledger(), maildir, &ProgressBar::hidden()).unwrap()
    }
}

/// Present, missing, damaged, duplicate, unacknowledged, foreign.
fn counts(verification: &Verification) -> [u64; 6] {
    let Verification { present, missing, damaged, duplicate, unacknowledged, foreign, .. } = verification;
    [*present, *missing, *damaged, *duplicate, *unacknowledged, *foreign]
}

#[test]
fn what_is_there_once_and_whole_is_present() {
    let scene = Scene::new(3);
    let verification = scene.verify();
    assert_eq!(counts(&verification), [3, 0, 0, 0, 0, 0]);
    assert_eq!((verification.maildirs, verification.files), (3, 6));
    assert_eq!(verification.outcome.exit_code(), crate::exit::FINE);
    assert_eq!(verification.verdict, "WHOLE: all 3 acknowledged messages are present, once and whole");
}

#[test]
fn a_copy_less_is_missing_and_says_how_many_there_are() {
    let scene = Scene::new(3);
    scene.remove(&scene.path(2, 3));
    scene.remove(&scene.path(1, 1));
    let verification = scene.verify();
    assert_eq!(counts(&verification), [1, 2, 0, 0, 0, 0]);
    assert_eq!(verification.outcome.exit_code(), crate::exit::NOT_ALL_THERE);
    let texts: Vec<&str> = verification.faults.iter().map(|fault| &fault.text[..]).collect();
    assert_eq!(texts, ["line 3: 0 of 1 copies", "line 5: 2 of 3 copies"]);
    assert_eq!(
        verification.verdict,
        "FAULTY: of 3 acknowledged messages 2 are missing, 0 damaged, 0 duplicate"
    );
}

#[test]
fn a_copy_more_is_a_duplicate_in_the_same_mailbox_and_in_another() {
    let scene = Scene::new(3);
    scene.write("x/user1/cur/again", &scene.content(2));
    scene.write("x/user3/cur/astray", &scene.content(1));
    let verification = scene.verify();
    assert_eq!(counts(&verification), [1, 0, 0, 2, 0, 0]);
    let told: Vec<_> =
        verification.faults.iter().map(|fault| (&fault.text[..], fault.file.is_some())).collect();
    assert_eq!(
        told,
        [("line 3: 2 of 1 copies", true), ("line 4: 2 of 2 copies, 1 more in a Maildir that has one", true)]
    );
}

#[test]
fn a_flipped_bit_anywhere_is_damage_or_a_message_missing_and_a_stray() {
    let scene = Scene::new(2);
    let (path, content) = (scene.path(1, 1), scene.content(1));
    let id_line = content.find('\n').unwrap();
    for at in 0..content.len() {
        let mut flipped = content.clone().into_bytes();
        flipped[at] ^= 1;
        scene.write(&path, std::str::from_utf8(&flipped).unwrap());
        let verification = scene.verify();
        let [present, missing, damaged, duplicate, unacknowledged, foreign] = counts(&verification);
        assert_eq!((present, duplicate), (1, 0), "octet {at}");
        let is_id = at <= id_line;
        assert_eq!(
            (missing, unacknowledged + foreign, damaged),
            if is_id { (1, 1, 0) } else { (0, 0, 1) },
            "octet {at}"
        );
        assert_eq!(verification.faults[0].file.is_some(), !is_id);
    }
}

#[test]
fn files_with_bare_line_feeds_are_whole() {
    let scene = Scene::new(2);
    scene.write(&scene.path(1, 1), &scene.content(1).replace("\r\n", "\n"));
    assert_eq!(counts(&scene.verify()), [2, 0, 0, 0, 0, 0]);
}

#[test]
fn files_in_no_line_of_the_ledger_are_no_fault() {
    let scene = Scene::new(1);
    scene.write("x/user1/new/unacknowledged", &scene.content(9));
    scene.write("x/user1/new/foreign", &format!("X-Loadgen-Id: {}\r\n\r\n", RunId::random().mail(1)));
    scene.write("x/user1/new/letter", "Subject: hello\r\n\r\n");
    let verification = scene.verify();
    assert_eq!(counts(&verification), [1, 0, 0, 0, 1, 2]);
    assert_eq!(verification.outcome, Outcome::Whole);
}

#[test]
fn a_maildir_alone_is_to_have_one_copy_whatever_the_recipients() {
    let scene = Scene::new(3);
    let verification = scene.verify_in(&scene.mailboxes().join("x/user1"));
    assert_eq!(counts(&verification), [3, 0, 0, 0, 0, 0]);
    let verification = scene.verify_in(&scene.mailboxes().join("x/user3"));
    assert_eq!(counts(&verification), [1, 2, 0, 0, 0, 0]);
}

#[test]
fn without_a_mailbox_all_is_missing_and_the_first_ten_are_told() {
    let scene = Scene::new(12);
    fs::remove_dir_all(scene.mailboxes()).unwrap();
    fs::create_dir(scene.mailboxes()).unwrap();
    let verification = scene.verify();
    assert_eq!(counts(&verification), [0, 12, 0, 0, 0, 0]);
    assert_eq!(verification.faults.len(), FAULTS_TOLD_MAX);
    let summary = verification.summary();
    assert!(
        summary.contains(&format!("missing: {}  line 3: 0 of 1 copies\n", scene.run.mail(1))),
        "{summary}"
    );
    assert!(summary.contains("missing: and 2 more\n"), "{summary}");
    assert!(
        summary.ends_with("FAULTY: of 12 acknowledged messages 12 are missing, 0 damaged, 0 duplicate\n")
    );
}

#[test]
fn a_torn_last_line_is_tolerated_and_said() {
    let scene = Scene::new(2);
    let ledger = fs::read(scene.ledger()).unwrap();
    fs::write(scene.ledger(), &ledger[..ledger.len() - 5]).unwrap();
    let verification = scene.verify();
    assert_eq!((verification.acknowledged, verification.ledger_torn), (1, true));
    assert_eq!(counts(&verification), [1, 0, 0, 0, 2, 0]);
    assert!(verification.verdict.ends_with("; the ledger's last line is torn and was left out"));
}

#[test]
fn a_malformed_ledger_is_an_error_with_its_line() {
    let scene = Scene::new(2);
    let ledger = fs::read_to_string(scene.ledger()).unwrap();
    let line = ledger.lines().nth(2).unwrap();
    let error = |text: &str| {
        fs::write(scene.ledger(), text).unwrap();
        verify(&scene.ledger(), &scene.mailboxes(), &ProgressBar::hidden()).unwrap_err().to_string()
    };
    assert!(error(&format!("{ledger}{line}\n")).ends_with(" stands in line 3 already"));
    assert!(error(&ledger.replace("\t1970", "\t")).contains("line 1: '"));
    let other = RunId::random().to_string();
    assert!(error(&ledger.replacen(&scene.run.to_string(), &other, 1)).contains("line 3: '"));
    fs::remove_file(scene.ledger()).unwrap();
    assert!(verify(&scene.ledger(), &scene.mailboxes(), &ProgressBar::hidden()).is_err());
}

#[test]
fn what_cannot_be_read_is_nothing_that_can_be_judged() {
    let error = verify(&Scene::new(1).ledger(), Path::new("/nowhere"), &ProgressBar::hidden()).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere cannot be read: "), "{error}");

    let mut verification = Scene::new(1).verify();
    verification.unreadable = 1;
    verification.conclude();
    assert_eq!(verification.outcome.exit_code(), crate::exit::FAILED);
    assert!(verification.verdict.starts_with("UNKNOWN: 1 files or directories could not be read; "));
}

#[test]
fn the_document_reads_back() {
    let scene = Scene::new(3);
    scene.remove(&scene.path(1, 1));
    let mut document = Vec::new();
    write_json(&scene.verify(), &mut document).unwrap();
    let read: Verification = serde_json::from_slice(&document).unwrap();
    assert_eq!(read.faults[0].kind, FaultKind::Missing);
    assert_eq!(read, scene.verify());
}
