//! `fastsmtp send`, the real program, to the real server: what arrives is what was written, by every way that there is into
//! the server; and what is no mail, or not allowed, is said in one sentence.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::accounts::{self, PASSWORD};
use common::secure::{own_certificate, self_signed};
use common::sender::{Sender, Terminal, content, parsed, send, stop};
use common::server::{PROGRAM, Server, data, delivered, has_tool, wait_for_mail};
use tempfile::TempDir;

const USAGE: i32 = 2;
const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const UNAVAILABLE: i32 = 69;
const INPUT_OUTPUT: i32 = 74;
const PERMISSION: i32 = 77;

/// A server for every address.
fn catch_all() -> (TempDir, PathBuf, Server) {
    let (root, data) = data();
    let server = Server::start(&data, &[]);
    (root, data, server)
}

/// The file of the one message that came, once the server has ended.
fn only(data: &Path, server: Server) -> PathBuf {
    let files = wait_for_mail(data, 1);
    stop(server);
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

fn file(root: &TempDir, name: &str, octets: impl AsRef<[u8]>) -> PathBuf {
    let path = root.path().join(name);
    fs::write(&path, octets).unwrap();
    path
}

#[test]
fn what_is_written_arrives_as_it_was_written() {
    if !has_tool("python3") {
        return;
    }
    let (root, data, server) = catch_all();
    let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let text = format!("Grüße 🎉\n.\n..two\n\n{}\nFrom here\n", "long ".repeat(500).trim_end());
    let subject =
        "Ein Gruß 🎉 aus Köln, und so lang, dass er auf keine Zeile passt, die achtundsiebzig Zeichen hat";
    let line = send(
        server.address(),
        &["--to", "Zoë Ä <zoe@example.com>", "--cc", "bob@example.com", "-s", subject],
    )
    .argument("--attach", &file(&root, "every.bin", &every))
    .argument("--attach", &file(&root, "Größe 🎉.pdf", b"%PDF"))
    .argument("--attach", &file(&root, "lines.txt", b"one\ntwo\r\n.\rthree"))
    .variable("X", "y")
    .input(text.clone())
    .ok();
    assert!(line.starts_with("250 2.0.0 queued as "), "{line}");
    let files = wait_for_mail(&data, 2);
    stop(server);
    let octets = content(&files[0]);
    assert_eq!(octets, content(&files[1]), "both have the same");
    assert!(octets.is_ascii() && octets.split(|octet| *octet == b'\n').all(|line| line.len() < 999));
    let mail = parsed(&files[0]);
    assert_eq!(mail["defects"], serde_json::json!([]));
    assert_eq!(mail["subject"], subject);
    assert_eq!(mail["from"], "sender@client.example");
    assert_eq!(mail["to"], "Zoë Ä <zoe@example.com>");
    assert_eq!(mail["cc"], "bob@example.com");
    assert_eq!(mail["mime"], "1.0");
    assert!(mail["id"].as_str().unwrap().ends_with("@client.example>"), "{}", mail["id"]);
    assert_eq!(mail["text"], text);
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let attachments = serde_json::json!([
        ["every.bin", "application/octet-stream", hex(&every)],
        ["Größe 🎉.pdf", "application/pdf", hex(b"%PDF")],
        ["lines.txt", "text/plain", hex(b"one\ntwo\r\n.\rthree")],
    ]);
    assert_eq!(mail["attachments"], attachments);
}

#[test]
fn a_text_comes_from_the_argument_a_file_or_standard_input() {
    if !has_tool("python3") {
        return;
    }
    let (root, data, server) = catch_all();
    let text = file(&root, "text", "from a file\r\nlone\rend");
    for (to, sender, expected) in [
        (
            "a",
            send(server.address(), &["--to", "a@example.com", "from\nthe argument"]),
            "from\nthe argument\n",
        ),
        (
            "b",
            send(server.address(), &["--to", "b@example.com"]).argument("--text", &text),
            "from a file\nlone\nend\n",
        ),
        ("c", send(server.address(), &["--to", "c@example.com", "--text", "-"]).input("piped"), "piped\n"),
        ("d", send(server.address(), &["--to", "d@example.com", "--header", "X-Foo: bär"]), ""),
    ] {
        sender.ok();
        let mailbox = data.join("mailboxes/example.com").join(to);
        common::server::wait_until("the mail is delivered", || !delivered(&mailbox).is_empty());
        let mail = parsed(&delivered(&mailbox)[0]);
        assert_eq!(mail["text"], expected);
        assert_eq!(mail["foo"].as_str(), (to == "d").then_some("bär"));
    }
    stop(server);
}

#[test]
fn a_mail_in_a_file_is_sent_byte_for_byte() {
    let (root, data, server) = catch_all();
    let octets = "From: x@client.example\r\nTo: a@example.com\r\nBcc: b@example.com\r\nX: \tfolded\r\n  on\r\n\r\n.dot\r\n..\r\nüber\r\n\
                  \x01 no end";
    let eml = file(&root, "mail.eml", octets);
    send(server.address(), &["--to", "c@example.com"]).argument("--eml", &eml).ok();
    let found = wait_for_mail(&data, 1);
    assert!(found[0].starts_with(data.join("mailboxes/example.com/c")));
    assert_eq!(
        String::from_utf8(content(&found[0])).unwrap(),
        format!("{octets}\r\n"),
        "a last line has an end"
    );
    fs::remove_file(&found[0]).unwrap();
    // Without --from and --to it says itself who sends, and to whom.
    Sender::new(&["--eml", "-"])
        .variable("FASTSMTP_SERVER", &server.address().to_string())
        .input(octets.replace("\r\n", "\n"))
        .ok();
    let files = wait_for_mail(&data, 2);
    stop(server);
    let without = octets.replace("Bcc: b@example.com\r\n", "") + "\r\n";
    for (file, mailbox) in files.iter().zip(["a", "b"]) {
        assert!(files.iter().any(|file| file.starts_with(data.join("mailboxes/example.com").join(mailbox))));
        assert_eq!(String::from_utf8(content(file)).unwrap(), without);
        assert!(fs::read_to_string(file).unwrap().starts_with("Return-Path: <x@client.example>\r\n"));
    }
}

#[test]
fn a_user_submits_by_starttls_and_in_tls_from_the_start() {
    let (root, data) = data();
    accounts::keep(&data);
    let server = self_signed(&data, &[]);
    let password = file(&root, "password", format!("{PASSWORD}\n"));
    let starttls = server.submission[0].to_string();
    let implicit = server.submissions[0].to_string();
    for (count, (address, tls)) in
        [(&starttls, "auto"), (&starttls, "starttls"), (&implicit, "implicit")].iter().enumerate()
    {
        let ran = Sender::new(&[
            "--server",
            address,
            "--tls",
            tls,
            "--user",
            "alice@example.com",
            "--to",
            "bob@example.com",
            "-v",
            "x",
        ])
        .argument("--ca", &own_certificate(&data))
        .argument("--password-file", &password)
        .run();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.starts_with("250 2.0.0 queued as "));
        assert!(
            ran.stderr.contains("* TLS 1.3, ") && ran.stderr.contains("\n< 250-PIPELINING\n"),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("\n> AUTH SCRAM-SHA-256 (hidden)\n< 334 (hidden)\n> (hidden)\n"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("octets of mail data)\n< 250 2.0.0 queued as "), "{}", ran.stderr);
        assert!(!ran.stderr.contains(PASSWORD) && !ran.stderr.contains("\nx"), "{}", ran.stderr);
        let files = wait_for_mail(&data, count + 1);
        let octets = fs::read_to_string(&files[0]).unwrap();
        assert!(
            octets.starts_with("Return-Path: <alice@example.com>\r\n")
                && octets.contains(" with ESMTPSA id ")
        );
        assert!(octets.contains("\r\nFrom: <alice@example.com>\r\n"), "{octets}");
    }
    stop(server);
}

#[test]
fn a_wrong_password_and_a_stranger_are_told_so() {
    let (_root, data) = data();
    accounts::keep(&data);
    let server = self_signed(&data, &[]);
    let address = server.submission[0].to_string();
    let user = ["--server", &address, "--user", "alice@example.com", "--to", "bob@example.com", "x"];
    let trusting = |arguments: &[&str]| Sender::new(arguments).argument("--ca", &own_certificate(&data));
    let sentence = trusting(&user).variable("FASTSMTP_PASSWORD", "incorrect horse").fails(PERMISSION);
    assert!(sentence.contains("refused the login of alice@example.com: 535 5.7.8"), "{sentence}");
    let sentence =
        trusting(&["--server", &address, "--from", "a@b", "--to", "bob@example.com", "x"]).fails(UNAVAILABLE);
    assert!(
        sentence.contains("refused the sender a@b: 530 5.7.0") && sentence.contains("--user"),
        "{sentence}"
    );
    let sentence = Sender::new(&user).variable("FASTSMTP_PASSWORD", PASSWORD).fails(UNAVAILABLE);
    assert!(sentence.contains("no authority that we trust") && sentence.contains("--ca FILE"), "{sentence}");
    let sentence = Sender::new(&user).without_terminal().fails(USAGE);
    assert!(
        sentence.contains("no terminal to ask for the password") && sentence.contains("--password-file"),
        "{sentence}"
    );
    let insecure = [&user[..], &["--insecure"]].concat();
    Sender::new(&insecure).variable("FASTSMTP_PASSWORD", PASSWORD).ok();
    only(&data, server);
}

#[test]
fn a_login_that_shows_the_password_to_nobody_needs_no_tls() {
    let (_root, data) = data();
    accounts::keep(&data);
    let server = Server::start(&data, &["--allow-plaintext-auth"]);
    let address = server.address().to_string();
    let ran = Sender::new(&[
        "--server",
        &address,
        "--user",
        "alice@example.com",
        "--to",
        "bob@example.com",
        "-v",
        "x",
    ])
    .variable("FASTSMTP_PASSWORD", PASSWORD)
    .run();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n> AUTH SCRAM-SHA-256 (hidden)\n"), "{}", ran.stderr);
    only(&data, server);
}

#[test]
fn a_refused_recipient_is_named_and_the_others_get_the_mail() {
    let (_root, data) = data();
    accounts::keep(&data);
    let server = Server::start(&data, &[]);
    let ran = send(
        server.address(),
        &["--to", "nobody@example.com,bob@example.com", "--bcc", "a@elsewhere.example", "x"],
    )
    .run();
    assert_eq!(ran.code, Some(UNAVAILABLE));
    assert!(ran.stdout.starts_with("250 2.0.0 queued as "), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ran.stderr);
    assert!(lines[0].contains("refused nobody@example.com: 550 5.1.1 "), "{}", lines[0]);
    assert!(lines[1].contains("refused a@elsewhere.example: 550 5.7.1 "), "{}", lines[1]);
    let sentence = send(server.address(), &["--to", "nobody@example.com", "x"]).fails(UNAVAILABLE);
    assert!(sentence.contains("refused nobody@example.com: 550 5.1.1 "), "{sentence}");
    assert!(only(&data, server).starts_with(data.join("mailboxes/example.com/bob")));
}

#[test]
fn what_became_of_the_mail_is_told_although_nothing_can_be_printed() {
    let (_root, data) = data();
    accounts::keep(&data);
    let server = Server::start(&data, &[]);
    let unprinted = |to: &str| {
        let mut command = Command::new(PROGRAM);
        command.env_clear().args(["send", "--from", "a@client.example", "--to", to, "x", "--server"]);
        command.arg(server.address().to_string()).stdout(fs::File::create("/dev/full").unwrap());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = unprinted("bob@example.com,nobody@example.com");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!((code, lines.len()), (Some(UNAVAILABLE), 2), "{error}");
    assert!(lines[0].contains("refused nobody@example.com: 550 5.1.1 "), "{error}");
    assert!(lines[1].contains("No space left") && lines[1].contains("; the mail was sent: 250 2.0.0 "));
    let (code, error) = unprinted("bob@example.com");
    assert_eq!((code, error.lines().count()), (Some(INPUT_OUTPUT), 1), "{error}");
    assert!(error.contains("; the mail was sent: 250 2.0.0 "), "{error}");
    wait_for_mail(&data, 2);
    stop(server);
}

#[test]
fn no_name_of_a_file_and_no_argument_steers_the_terminal() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("no\x1b[2J\u{202e}");
    for option in ["--attach", "--text", "--eml", "--ca"] {
        let sentence = send("127.0.0.1:1", &["--to", "a@b"]).argument(option, &missing).fails(NO_INPUT);
        assert!(sentence.contains("no\\x1b[2J\\u{202e}"), "{sentence}");
    }
    let ran = send("127.0.0.1:1", &["--no\x1b[2J", "x"]).run();
    assert_eq!(ran.code, Some(USAGE));
    assert!(ran.stderr.contains("--no\\x1b[2J") && !ran.stderr.contains('\x1b'), "{}", ran.stderr);
}

#[test]
fn a_mail_that_is_too_large_is_said_so_before_it_is_sent() {
    let (root, data) = data();
    let server = Server::start(&data, &["--max-message-size", "1MiB"]);
    let large = file(&root, "large", vec![b'x'; 1 << 20]);
    let sentence = send(server.address(), &["--to", "a@example.com", "x"])
        .argument("--attach", &large)
        .fails(UNAVAILABLE);
    assert!(sentence.contains("takes mail of 1MiB at the most"), "{sentence}");
    stop(server);
    assert_eq!(delivered(&data.join("mailboxes")), Vec::<PathBuf>::new());
}

#[test]
fn what_makes_no_mail_is_said_in_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let nowhere = "127.0.0.1:1";
    for (arguments, says) in [
        (&["x"][..], "--to ADDRESS"),
        (&["--to", "nobody", "x"], "--to: 'nobody' is no address"),
        (&["--to", "a@b\r\nBcc: c@d", "x"], "--to: it has a line break"),
        (&["--to", "a@b", "--subject", "x\nBcc: c@d", "x"], "--subject: it has a line break"),
        (&["--to", "a@b", "--header", "Bcc: c@d", "x"], "--header: Bcc is made"),
        (
            &["--to", "a@b", "--header", &format!("X: {}", "x".repeat(901)), "x"],
            "--header: X has a word of more",
        ),
        (&["--to", "a@b", "--header", "x", "x"], "--header: 'x' is no header field"),
        (&["--to", "a@b", "--server", "x:y", "x"], "'--server <ADDR>' cannot be used multiple times"),
    ] {
        let ran = send(nowhere, arguments).run();
        assert_eq!(ran.code, Some(USAGE), "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    let missing = root.path().join("missing");
    for option in ["--attach", "--text", "--eml"] {
        let sentence = send(nowhere, &["--to", "a@b"]).argument(option, &missing).fails(NO_INPUT);
        assert!(sentence.starts_with(&format!("{option}: {}: ", missing.display())), "{sentence}");
    }
    let latin = file(&root, "latin", b"Gr\xfc\xdfe");
    let sentence = send(nowhere, &["--to", "a@b"]).argument("--text", &latin).fails(DATA);
    assert!(sentence.contains("is not UTF-8 text"), "{sentence}");
    let sentence = send(nowhere, &["--to", "a@b"]).input("a\0b").fails(DATA);
    assert!(sentence.contains("the text has an octet NUL"), "{sentence}");
    for (octets, says) in [
        ("", "it is empty"),
        ("hello\n", "does not begin with header fields"),
        ("Subject: x\n\nx", "--to ADDRESS"),
    ] {
        let eml = file(&root, "no.eml", octets);
        let sentence = send(nowhere, &[]).argument("--eml", &eml).fails(DATA);
        assert!(sentence.contains(says), "{sentence}");
    }
    let stdin =
        send(nowhere, &["--to", "a@b", "--user", "a@b", "--password-file", "-"]).input("secret").fails(USAGE);
    assert!(stdin.contains("standard input is the mail's text already"), "{stdin}");
}

#[test]
fn on_a_terminal_the_editor_writes_the_text_and_the_password_is_asked_for() {
    if !has_tool("script") {
        return;
    }
    let (root, data) = data();
    accounts::keep(&data);
    let server = self_signed(&data, &[]);
    let editor = file(
        &root,
        "editor",
        "#!/bin/sh\n[ \"$1\" = -x ] && stat -c %a \"$2\" && echo 'Typed by hand.' > \"$2\"\n",
    );
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o700)).unwrap();
    let place = root.path().join("texts");
    fs::create_dir(&place).unwrap();
    let line = format!(
        "{PROGRAM} send --server {} --user alice@example.com --to bob@example.com --ca {}",
        server.submission[0],
        own_certificate(&data).display()
    );
    let editor = format!("{} -x", editor.display());
    let place_text = place.to_str().unwrap();
    let variables = [("EDITOR", editor.as_str()), ("TMPDIR", place_text)];
    // What was written outlives a wrong password.
    let mut terminal = Terminal::run(&line, &variables);
    terminal.answer("Password for alice@example.com at ", "wrong\n");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(PERMISSION), "{shown}");
    assert!(shown.contains("600") && shown.contains("the text is kept in "), "{shown}");
    let texts = || fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(fs::read_to_string(&texts()[0]).unwrap(), "Typed by hand.\n");
    fs::remove_file(&texts()[0]).unwrap();
    let mut terminal = Terminal::run(&line, &variables);
    terminal.answer("Password for alice@example.com at ", &format!("{PASSWORD}\n"));
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("250 2.0.0 queued as ") && !shown.contains(PASSWORD), "{shown}");
    assert_eq!(texts(), Vec::<PathBuf>::new());
    // An editor that leaves nothing.
    let (code, shown) = Terminal::run(&line, &[("VISUAL", "true"), variables[0], variables[1]]).end();
    assert_eq!(code, Some(DATA), "{shown}");
    assert!(shown.contains("nothing was sent: the text is empty"), "{shown}");
    let (code, shown) = Terminal::run(&line, &[("VISUAL", "false"), variables[1]]).end();
    assert_eq!(code, Some(UNAVAILABLE), "{shown}");
    assert!(shown.contains("the editor 'false' ended with exit status: 1"), "{shown}");
    let file = only(&data, server);
    assert!(content(&file).ends_with(b"\r\n\r\nTyped by hand.\r\n"));
}

#[test]
fn on_a_terminal_without_an_editor_the_text_is_typed() {
    if !has_tool("script") {
        return;
    }
    let (_root, data, server) = catch_all();
    let line =
        format!("{PROGRAM} send --server {} --from a@client.example --to b@example.com", server.address());
    let mut terminal = Terminal::run(&line, &[("EDITOR", " ")]);
    terminal.answer("up to Ctrl-D", "Typed.\n\x04");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(content(&only(&data, server)).ends_with(b"\r\n\r\nTyped.\r\n"));
}
