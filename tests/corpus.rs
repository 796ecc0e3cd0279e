//! The corpus of 361 dialogues against the real binary: in plain and in TLS, with accounts and without, whole, byte by byte
//! and in random pieces. Cases for what a run does not offer are skipped by the runner, and told. `CORPUS=all` runs all of
//! it also where it takes a minute: in TLS, in random pieces.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::accounts::{self, PASSWORD};
use common::server::{Server, data, has_tool};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn run_corpus(server_arguments: &[&str], arguments: &[&str]) {
    if has_tool("python3") {
        let (_root, data) = data();
        let server = Server::start(&data, &[&["--local-domain", "example.com"], server_arguments].concat());
        judge(&data, server.address().port(), arguments);
    }
}

/// The same where there are accounts, and TLS.
fn run_corpus_with_accounts(way: Way, arguments: &[&str]) {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    accounts::keep(&data);
    let server = Server::start(&data, &["--tls-self-signed"]);
    let port = server.address().port();
    let tunnel = (way == Way::InTls).then(|| Tunnel::to(port));
    let port = tunnel.as_ref().map_or(port, |tunnel| tunnel.port);
    let users =
        ["--user", "user@example.com", "--password", PASSWORD, "--unknown-rcpt", "nobody@example.com"];
    judge(&data, port, &[&users[..], arguments].concat());
}

/// How the cases come to the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In plain, and in TLS where a case says STARTTLS or AUTH needs it.
    AsTheySay,
    /// All that they say is said in TLS.
    InTls,
}

/// What takes a client's words into TLS. Dropping it ends it.
struct Tunnel {
    child: Child,
    port: u16,
}

impl Tunnel {
    fn to(port: u16) -> Tunnel {
        let mut child = Command::new("python3")
            .arg(here("tls_tunnel.py"))
            .arg(port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Tunnel { child, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether all is asked for, however long it takes (`CORPUS=all`).
fn is_whole() -> bool {
    std::env::var_os("CORPUS").is_some_and(|wanted| wanted == "all")
}

/// A segment for each octet. With half a millisecond between two of them each is read alone for certain, and the largest case
/// takes 25 s; without, most are.
fn byte_by_byte() -> &'static [&'static str] {
    if is_whole() { &["--split", "byte"] } else { &["--split", "byte", "--split-delay", "0"] }
}

/// Has the runner judge the server at a port.
fn judge(data: &Path, port: u16, arguments: &[&str]) {
    let output = Command::new("python3")
        .arg(here("smtp-corpus/run_corpus.py"))
        .args(["127.0.0.1", &port.to_string(), "--jobs", "16"])
        .args(["--rcpt", "user@example.com", "--rcpt2", "second@example.com", "--relay-denied", "--maildir"])
        .arg(data.join("mailboxes"))
        .args(arguments)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}");
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!report.contains("0 passed"), "a run that judged nothing");
}

#[test]
fn the_corpus_passes() {
    run_corpus(&[], &[]);
}

#[test]
fn the_corpus_passes_byte_by_byte() {
    run_corpus(&[], byte_by_byte());
}

#[test]
fn the_corpus_passes_in_random_pieces() {
    run_corpus(&[], &["--split", "random:1"]);
}

#[test]
fn the_corpus_passes_where_tls_is_offered() {
    run_corpus(&["--tls-self-signed"], &[]);
}

#[test]
fn the_cases_of_starttls_pass_byte_by_byte() {
    run_corpus(&["--tls-self-signed"], &[&["--family", "starttls"], byte_by_byte()].concat());
}

#[test]
fn the_corpus_passes_where_there_are_accounts() {
    run_corpus_with_accounts(Way::AsTheySay, &[]);
}

#[test]
fn the_cases_of_auth_pass_byte_by_byte() {
    run_corpus_with_accounts(Way::AsTheySay, &[&["--family", "auth"], byte_by_byte()].concat());
}

#[test]
fn the_corpus_passes_in_tls() {
    run_corpus_with_accounts(Way::InTls, &[]);
}

#[test]
fn the_corpus_passes_in_tls_in_random_pieces() {
    let part = if is_whole() { &[][..] } else { &["--part", "1/4"] };
    run_corpus_with_accounts(Way::InTls, &[&["--split", "random:2"], part].concat());
}

#[test]
fn idle_clients_are_sent_away() {
    run_corpus(
        &["--command-timeout", "3s", "--data-timeout", "3s"],
        &["--only", "^idle", "--idle-timeout", "3"],
    );
}
