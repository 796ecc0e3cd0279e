//! From a mail that is written to one that is read, by the commands of the program and the server of the program alone: on
//! the machine, and over the network with an account.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::accounts::{PASSWORD, keep};
use common::server::{PROGRAM, Server, data, wait_until};
use serde_json::Value;

const NO_INPUT: i32 = 66;
const NO_USER: i32 = 67;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("TZ", "UTC").env("FASTSMTP_PASSWORD", PASSWORD).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What it printed, having done what it was asked.
#[track_caller]
fn ok(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn subjects(arguments: &[&str]) -> Vec<String> {
    let list: Value = serde_json::from_slice(&ok(arguments)).unwrap();
    let subject = |mail: &Value| mail["subject"].as_str().unwrap().to_owned();
    list["mails"].as_array().unwrap().iter().map(subject).collect()
}

/// Insists on the exit code, and on one sentence.
#[track_caller]
fn fails(arguments: &[&str], code: i32) {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.starts_with("fastsmtp: ") && said.lines().count() == 1, "{arguments:?}: {said}");
}

/// The mails in bob's mailbox, seen or not, the oldest first.
fn files(data: &Path) -> Vec<Vec<u8>> {
    let mailbox = data.join("mailboxes/example.com/bob");
    let directories = ["new", "cur"].map(|name| fs::read_dir(mailbox.join(name)).unwrap());
    let mut paths: Vec<PathBuf> =
        directories.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn has_both(data: &Path) -> bool {
    data.join("mailboxes/example.com/bob/cur").is_dir() && files(data).len() == 2
}

/// All that can be done with mail, from two mails in bob's mailbox on: `place` says where that is.
fn read_and_remove<'a>(place: &'a [&'a str], data: &Path, wait: Child) {
    let ask = |command: &'a str, rest: &[&'a str]| [&[command, "bob@example.com"], rest, place].concat();
    let waited = wait.wait_with_output().unwrap();
    assert!(waited.status.success(), "{}", String::from_utf8_lossy(&waited.stderr));
    assert!(String::from_utf8(waited.stdout).unwrap().contains("Grüße"));

    assert_eq!(subjects(&ask("list", &["--json"])), ["Grüße", "second"]);
    assert_eq!(subjects(&ask("list", &["--json", "--match", "SECOND"])), ["second"]);
    let read = String::from_utf8(ok(&ask("read", &["1"]))).unwrap();
    assert!(read.contains("Subject:  Grüße\n") && read.contains("\n.dots, and ä\n"), "{read}");
    let files = files(data);
    assert_eq!(ok(&ask("read", &["1", "--raw"])), files[0], "octet for octet");
    assert_eq!(ok(&ask("wait", &["--match", "second", "--raw", "--timeout", "30s"])), files[1]);

    fails(&ask("read", &["3"]), NO_INPUT);
    fails(&ask("remove", &["1", "3"]), NO_INPUT);
    fails(&ask("wait", &["--match", "third", "--timeout", "0"]), TEMPORARY);
    ok(&ask("remove", &["1"]));
    assert_eq!(subjects(&ask("list", &["--json"])), ["second"]);
    ok(&ask("remove", &["last"]));
    assert_eq!(subjects(&ask("list", &["--json"])), [] as [&str; 0]);
}

#[test]
fn mail_is_sent_waited_for_listed_read_and_removed_on_the_machine() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let (address, place) = (server.address().to_string(), data.to_str().unwrap().to_owned());
    let wait =
        command(&["wait", "bob@example.com", "--match", "dots", "--data", &place, "--peek"]).spawn().unwrap();
    for (subject, text) in [("Grüße", ".dots, and ä"), ("second", "one")] {
        ok(&["send", "--server", &address, "--to", "bob@example.com", "--subject", subject, text]);
    }
    wait_until("both are delivered", || has_both(&data));
    read_and_remove(&["--data", &place], &data, wait);
    fails(&["list", "nobody@example.com", "--data", &place], NO_USER);
    assert!(server.stop().success());
}

#[test]
fn the_same_is_done_over_the_network_in_tls_with_an_account() {
    let (_root, data) = data();
    keep(&data);
    let listen = ["--listen-submission", "127.0.0.1:0", "--listen-pop3", "127.0.0.1:0", "--tls-self-signed"];
    let server = Server::start(&data, &listen);
    let local = |port: u16| format!("localhost:{port}");
    let (submission, pop3) = (local(server.submission[0].port()), local(server.pop3[0].port()));
    let certificate = data.join("tls-cert.pem").to_str().unwrap().to_owned();
    let place = ["--server", &pop3, "--ca", &certificate];
    let wait =
        command(&[&["wait", "bob@example.com", "--match", "dots"], &place[..]].concat()).spawn().unwrap();
    for (subject, text) in [("Grüße", ".dots, and ä"), ("second", "one")] {
        let user = ["--user", "alice@example.com", "--from", "alice@example.com", "--to", "bob@example.com"];
        let send = ["send", "--server", &submission, "--ca", &certificate, "--subject", subject, text];
        ok(&[&send[..], &user].concat());
    }
    wait_until("both are delivered", || has_both(&data));
    read_and_remove(&place, &data, wait);
    let output = command(&[&["list", "bob@example.com"], &place[..]].concat())
        .env("FASTSMTP_PASSWORD", "wrong")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(PERMISSION), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(server.stop().success());
}
