//! The corpus of 361 dialogues against the real binary: in plain and in TLS, with accounts and without, whole, byte by byte
//! and in random pieces. Cases for what a run does not offer are skipped by the runner, and told.

mod common;

use std::path::Path;
use std::process::Command;

use common::server::{Server, data, has_tool};

fn run_corpus(server_arguments: &[&str], arguments: &[&str]) {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    let server = Server::start(&data, &[&["--local-domain", "example.com"], server_arguments].concat());
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp-corpus/run_corpus.py");
    let output = Command::new("python3")
        .arg(runner)
        .args(["127.0.0.1", &server.address().port().to_string()])
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
    run_corpus(&[], &["--split", "byte"]);
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
    run_corpus(&["--tls-self-signed"], &["--family", "starttls", "--split", "byte"]);
}

#[test]
fn idle_clients_are_sent_away() {
    run_corpus(
        &["--command-timeout", "3s", "--data-timeout", "3s"],
        &["--only", "^idle", "--idle-timeout", "3"],
    );
}
