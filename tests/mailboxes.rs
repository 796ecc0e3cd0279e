//! Mailboxes in a directory, looked at by the real program: what `list`, `read`, `wait` and `remove` show and do, beside a
//! server that delivers and without one. Whoever sent the mail may have meant harm.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::accounts;
use common::bob::{Bob, PLAIN, id};
use common::server::{PATIENCE, PROGRAM, has_tool};
use serde_json::{Value, json};

const USAGE: i32 = 2;
const NO_INPUT: i32 = 66;
const NO_USER: i32 = 67;
const CANNOT_CREATE: i32 = 73;

const BARE: &[u8] = b"\r\nno header\r\n";
const ATTACHED: &[u8] = b"From: x@y\r\nSubject: files\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
--b\r\nContent-Type: text/html\r\n\r\n<p>see <a href=\"https://x.example/\">this</a></p>\r\n\
--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\
Content-Disposition: attachment; filename=\"../../../a.png\"\r\n\r\nAAECAw==\r\n\
--b\r\nContent-Type: image/png; name=a.png\r\n\r\nother\r\n--b--\r\n";

#[test]
fn a_list_shows_each_mail_on_a_line_of_eighty_columns_the_newest_last() {
    let bob = Bob::with(&[PLAIN, BARE, &[b"Subject: ", &b"long "[..].repeat(40)[..], b"\r\n\r\n"].concat()]);
    bob.put("cur", 4, ":2,S", ATTACHED);
    bob.put("cur", 5, "", b"Date: nonsense\n\n");
    let text = bob.ok(&["list", "bob@example.com"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[..6].iter().all(|line| line.chars().count() <= 80), "{text}");
    let line = |start: &str, from: &str, subject: &str, size: usize| {
        format!("{start}  {from:18} {subject:29} {:>8}", format!("{size} B"))
    };
    assert_eq!(lines[0], format!("NO   {:16}  {:18} {:29} {:>8}", "DATE", "FROM", "SUBJECT", "SIZE"));
    assert_eq!(lines[1], line(" 1 N 2026-11-23 22:40", "Alice Ä", "Rätsel", PLAIN.len()));
    assert_eq!(lines[2], line(" 2 N 2025-01-01 00:00", "", "", BARE.len()));
    assert!(lines[3].contains("long long lon…"), "{text}");
    assert_eq!(lines[4], line(" 4   2025-01-01 00:00", "x@y", "files", ATTACHED.len()));
    assert_eq!(lines[6], format!("5 mails, 3 new, in {}", bob.maildir().display()));

    assert_eq!(bob.numbers(&["--new"]), [1, 2, 3]);
    assert_eq!(bob.numbers(&["--match", "HELLO"]), [1]);
    assert_eq!(bob.numbers(&["--match", "rätsel", "--match", "alice@"]), [1]);
    assert_eq!(bob.numbers(&["--match", "see this", "--new"]), [0; 0]);
    assert!(
        bob.ok(&["list", "bob@example.com", "--match", "see"])
            .ends_with(&format!("1 of 5 mails, 3 new, in {}\n", bob.maildir().display()))
    );
}

#[test]
fn a_listing_reads_long_headers_but_not_for_ever() {
    let late = |fields: usize| format!("{}Subject: late\r\n\r\n", "X-Field: 0123456789\r\n".repeat(fields));
    let bob = Bob::with(&[late(190).as_bytes(), late(1000).as_bytes(), late(5000).as_bytes()]);
    let list = bob.json(&["list", "bob@example.com"]);
    let subjects: Vec<&Value> = (0..3).map(|at| &list["mails"][at]["subject"]).collect();
    assert_eq!(subjects, [&json!("late"), &json!("late"), &Value::Null], "4, 21 and 105 KiB");
    assert_eq!(bob.json(&["read", "bob@example.com", "3"])["subject"], "late");
}

#[test]
fn the_documents_for_programs_have_stable_keys() {
    let bob = Bob::with(&[PLAIN, ATTACHED]);
    let first = json!({
        "number": 1, "id": id(1), "date": "2026-11-23T22:40:01Z", "subject": "Rätsel", "size": PLAIN.len(),
        "from": { "name": "Alice Ä", "address": "alice@x.example" },
        "to": [{ "name": null, "address": "bob@example.com" }], "new": true, "seen": false,
    });
    let list = bob.json(&["list", "bob@example.com"]);
    assert_eq!((&list["version"], &list["mailbox"]), (&json!(1), &json!("bob@example.com")));
    assert_eq!(list["mails"][0], first);
    assert_eq!(list["mails"][1]["date"], "2025-01-01T00:00:02Z");

    let mail = bob.json(&["read", "bob@example.com", "1", "--peek"]);
    for (key, value) in first.as_object().unwrap() {
        assert_eq!(mail[key], *value);
    }
    assert_eq!(
        (&mail["version"], &mail["text"], &mail["attachments"]),
        (&json!(1), &json!("Hello Bob\n"), &json!([]))
    );
    assert_eq!(mail["headers"][3], json!({ "name": "Subject", "value": "Rätsel" }));
    let mail = bob.json(&["read", "bob@example.com", "2"]);
    assert_eq!(
        mail["attachments"][0],
        json!({ "name": "../../../a.png", "type": "image/png", "size": 4, "saved": null })
    );
}

#[test]
fn a_mail_is_read_decoded_and_is_seen_afterwards() {
    let bob = Bob::with(&[PLAIN, ATTACHED]);
    let text = bob.ok(&["read", "bob@example.com", "1", "--peek"]);
    assert_eq!(
        text,
        "From:     Alice Ä <alice@x.example>\nTo:       bob@example.com\nDate:     Mon, 23 Nov 2026 22:40:01 +0000\n\
         Subject:  Rätsel\n\nHello Bob\n"
    );
    assert_eq!(bob.numbers(&["--new"]), [1, 2], "it was only peeked at");
    for which in ["1", &id(1), &id(1)[..30], "9f3c00000000000100000001"] {
        assert_eq!(bob.ok(&["read", "bob@example.com", which]), text);
        assert_eq!(bob.numbers(&["--new"]), [2]);
    }
    assert!(bob.maildir().join("cur").join(id(1) + ":2,S").is_file());
    let text = bob.ok(&["read", "bob@example.com", "last", "--headers"]);
    assert!(
        text.starts_with(
            "From: x@y\nSubject: files\nContent-Type: multipart/mixed; boundary=b\n\nFrom:     x@y\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("\n\nsee this (https://x.example/)\n"), "{text}");
    assert!(
        text.contains("Attached: ../../../a.png (image/png, 4 B)\n          a.png (image/png, 5 B)\n"),
        "{text}"
    );
}

#[test]
fn raw_is_the_exact_content_and_whoever_stops_reading_hears_no_complaint() {
    let octets: Vec<u8> = (0..3_000_000u32).map(|n| (n * 7 % 256) as u8).collect();
    let bob = Bob::with(&[&octets]);
    assert!(bob.run(&["read", "bob@example.com", "1", "--raw"]).stdout == octets);
    for arguments in [
        &["read", "bob@example.com", "1", "--raw"][..],
        &["read", "bob@example.com", "1"],
        &["list", "bob@example.com"],
    ] {
        let mut child = bob.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap()),
            (Some(0), String::new())
        );
    }
}

#[test]
fn a_terminal_gets_no_exact_content_that_would_steer_it() {
    if !has_tool("script") {
        return;
    }
    let bob = Bob::with(&[PLAIN, b"Subject: x\r\n\r\n\x1b[2J", b"Subject: x\r\n\r\nseen\rover\r\n"]);
    for (which, code) in [("1", 0), ("2", USAGE), ("3", USAGE)] {
        let command = format!("{PROGRAM} read bob@example.com {which} --raw");
        let mut script = bob.command(&[]);
        script = {
            let mut other = Command::new("script");
            other.env("FASTSMTP_DATA", bob.data());
            let _ = script;
            other
        };
        let output = script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(
            !text.contains('\x1b') && text.contains(if code == 0 { "Hello Bob" } else { "say --raw > FILE" }),
            "{text}"
        );
    }
}

#[test]
fn attachments_are_saved_inside_the_directory_and_replace_nothing() {
    let bob = Bob::with(&[ATTACHED]);
    let directory = bob.root.path().join("saved/here");
    let save = ["read", "bob@example.com", "1", "--save", directory.to_str().unwrap()];
    let text = bob.ok(&save);
    assert!(text.contains(&format!("saved as {}\n", directory.join("a.png").display())), "{text}");
    let saved = bob.json(&save)["attachments"].clone();
    assert_eq!((&saved[0]["saved"], &saved[1]["saved"]), (&json!("a-2.png"), &json!("a-3.png")));
    let mut names: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a-1.png", "a-2.png", "a-3.png", "a.png"]);
    assert_eq!(fs::read(directory.join("a.png")).unwrap(), [0, 1, 2, 3]);
    assert_eq!(fs::read(directory.join("a-1.png")).unwrap(), b"other");

    let file = directory.join("a.png");
    let sentence =
        bob.fails(&["read", "bob@example.com", "1", "--save", file.to_str().unwrap()], CANNOT_CREATE);
    assert!(sentence.contains("name another directory"), "{sentence}");
}

/// Mails that were made to break, hang or steer their reader.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |depth: usize| -> Vec<u8> {
        let open = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
        ((0..depth).map(open).collect::<String>() + "\r\nthe text\r\n").into_bytes()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("empty", Vec::new()),
        ("no header", text("the text\r\n")),
        ("header only", text("Subject: the text")),
        ("10,000 fields", text(&format!("{}Subject: the text\r\n\r\n", "X-Field: y\r\n".repeat(10_000)))),
        ("NULs", text("Subject: \0\0\r\n\r\n\0the\0text\0\r\n")),
        ("a line of 5 MiB", [&b"Subject: the text\r\n\r\n"[..], &vec![b'x'; 5 << 20]].concat()),
        ("a field of 5 MiB", [&b"Subject: "[..], &vec![b'x'; 5 << 20], b"\r\n\r\nthe text"].concat()),
        ("binary", (0..200_000u32).map(|n| (n.wrapping_mul(n) % 251) as u8).collect()),
        ("no boundary", text("Content-Type: multipart/mixed; boundary=b\r\n\r\nthe text\r\n")),
        ("no end", text("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nthe text\r\n--b")),
        ("no boundary's name", text("Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nthe text\r\n----\r\n")),
        ("1,000 deep", nested(1000)),
        (
            "100,000 parts",
            text(&format!(
                "Content-Type: multipart/x; boundary=b\r\n\r\n{}",
                "--b\r\nContent-Type: multipart/x; boundary=c\r\n\r\n".repeat(100_000)
            )),
        ),
        ("mails within mails", text(&"Content-Type: message/rfc822\r\n\r\n".repeat(50_000))),
        ("unknown charset", text("Content-Type: text/plain; charset=x-odd\r\n\r\nthe text \u{fc}\r\n")),
        ("unknown encoding", text("Content-Transfer-Encoding: x-odd\r\n\r\nthe text\r\n")),
        (
            "broken encodings",
            text(
                "Subject: =?utf-8?b?*?= =?x?q?=?=\r\nContent-Transfer-Encoding: base64\r\n\r\n=====\x01\r\n",
            ),
        ),
        (
            "steering",
            text(
                "From: \x1b]0;x\x07 <a@b>\r\nSubject: a\x1b[2J\x08\x7f\u{9b}31m\r\n\r\n\x1b[31mthe text\r\x1bc\x0c\u{85}\r\n",
            ),
        ),
        (
            "encoded steering",
            text(
                "From: =?utf-8?q?=1B[2J?= <a@b>\r\nSubject: =?utf-8?q?=1B=5B2J=0D=0Ax?=\r\nContent-Type: text/html\r\n\r\n&#27;[2J&#x9b;the text\r\n",
            ),
        ),
        (
            "bidi",
            text(
                "Subject: \u{202e}fdp.exe\u{2066}\r\nContent-Type: text/plain; name=\"\u{202e}x\"\r\n\r\n\u{202d}the text\u{2028}\r\n",
            ),
        ),
        (
            "steering names",
            text(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/\x1b[2J; name=\"\x1b[2J\u{202e}/../x\"\r\n\r\nx\r\n--b--\r\n",
            ),
        ),
        (
            "dates",
            text("Date: Sat, 99 Xxx 99999999999999999999 99:99:99 +99999\r\nSubject: the text\r\n\r\n"),
        ),
    ]
}

/// Whether a character in an output could steer a terminal or deceive its reader.
fn is_harmful(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn mail_that_was_made_to_harm_is_listed_and_read_and_does_none() {
    let hostile = hostile();
    let mails: Vec<&[u8]> = hostile.iter().map(|(_, mail)| &mail[..]).collect();
    let bob = Bob::with(&mails);
    let saved = bob.root.path().join("saved");
    for (number, (name, mail)) in (1..).zip(&hostile) {
        let started = Instant::now();
        let number = number.to_string();
        let read = ["read", "bob@example.com", &number];
        for more in [&[][..], &["--headers"], &["--json"], &["--save", saved.to_str().unwrap()]] {
            let text = bob.ok(&[&read[..], more].concat());
            assert!(!text.contains(is_harmful), "{name}: {:?}", text.chars().find(|c| is_harmful(*c)));
        }
        assert!(bob.run(&[&read[..], &["--raw"]].concat()).stdout == *mail, "{name}");
        assert!(started.elapsed() < PATIENCE, "{name} took {:?}", started.elapsed());
        let said = String::from_utf8_lossy(mail).contains("the text");
        let document = bob.json(&read).to_string();
        assert!(!said || document.contains("the text") || *name == "1,000 deep", "{name}: {document:.300}");
    }
    for arguments in [
        &["list", "bob@example.com"][..],
        &["list", "bob@example.com", "--json"],
        &["list", "bob@example.com", "--match", "x"],
    ] {
        assert!(!bob.ok(arguments).contains(is_harmful));
    }
    assert_eq!(bob.numbers(&[]).len(), hostile.len());
    let outside: Vec<_> =
        fs::read_dir(bob.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside.len(), 2, "nothing was saved elsewhere: {outside:?}");
}

#[test]
fn what_is_removed_is_looked_up_as_a_whole_first() {
    let bob = Bob::with(&[PLAIN; 9]);
    let sentence = bob.fails(&["remove", "bob@example.com", "1", "10"], NO_INPUT);
    assert!(sentence.contains("no mail has number 10; there are 9, numbers 1 to 9"), "{sentence}");
    bob.fails(&["remove", "bob@example.com", "1", "nope"], NO_INPUT);
    bob.fails(&["remove", "bob@example.com", "17356896"], NO_INPUT);
    assert_eq!(bob.numbers(&[]).len(), 9);
    assert_eq!(bob.ok(&["remove", "bob@example.com", "1", "3-5", "4", "last", &id(8)]), "removed 6 mails\n");
    let left: Vec<Value> = bob.json(&["list", "bob@example.com"])["mails"].as_array().unwrap().clone();
    let ids: Vec<&str> = left.iter().map(|mail| mail["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [id(2), id(6), id(7)]);
}

#[test]
fn an_address_leads_to_the_mailbox_that_the_server_would_deliver_to() {
    let bob = Bob::with(&[PLAIN]);
    for text in ["Bob@example.com", "unknown@elsewhere.example"] {
        assert!(bob.fails(&["list", text], NO_USER).contains("no mailbox"));
    }
    assert!(bob.fails(&["list", "bbo@example.com"], NO_USER).contains("did you mean bob@example.com?"));
    accounts::keep(&bob.data());
    for address in ["bob@example.com", "BOB@Example.com", "bob+lists@example.com"] {
        let list = bob.json(&["list", address]);
        assert_eq!(
            (list["mailbox"].as_str(), list["mails"].as_array().map(Vec::len)),
            (Some("bob@example.com"), Some(1))
        );
    }
    let list = bob.json(&["list", "info@example.com"]);
    assert_eq!(
        list,
        json!({ "version": 1, "mailbox": "alice@example.com", "mails": [] }),
        "an alias; no mail yet"
    );
    assert!(bob.ok(&["list", "alice@example.com"]).starts_with("0 mails in "));
    assert!(bob.fails(&["list", "bobb@example.com"], NO_USER).contains("did you mean bob@example.com?"));
    assert!(bob.fails(&["wait", "nobody@example.com"], NO_USER).contains("'fastsmtp user list'"));
}

#[test]
fn bad_input_gives_one_sentence_and_its_own_exit_code() {
    let bob = Bob::with(&[PLAIN]);
    let nowhere = bob.root.path().join("nowhere");
    for (arguments, code, says) in [
        (&["read", "bob@example.com", "2"][..], NO_INPUT, "no mail has number 2; there is one, number 1"),
        (&["read", "bob@example.com", "4294967296000"], NO_INPUT, "no mail has the id"),
        (&["read", "bob@example.com", "1-1"], 0, ""),
        (&["list", "bob"], USAGE, "say the whole address, like bob@example.com"),
        (&["list", "a b@example.com"], USAGE, "is not an address"),
        (
            &["list", "x@example.com", "--data", nowhere.to_str().unwrap()],
            NO_INPUT,
            "name the server's data directory",
        ),
        (&["list", "x@example.com", "--new", "--server", "x"], USAGE, "--new: "),
        (&["list", "x@example.com", "--data", "x", "--server", "x"], USAGE, "say one of them"),
    ] {
        if code == 0 {
            bob.ok(arguments);
        } else {
            let sentence = bob.fails(arguments, code);
            assert!(sentence.contains(says), "{sentence}");
        }
    }
    for wrong in [
        &["read", "bob@example.com"][..],
        &["read", "bob@example.com", "0"],
        &["remove", "bob@example.com"],
        &["remove", "bob@example.com", "3-1"],
        &["wait", "bob@example.com", "--timeout", "soon"],
        &["read", "bob@example.com", "1", "--raw", "--json"],
        &["list", "bob@example.com", "--insecure"],
    ] {
        assert_eq!(bob.run(wrong).status.code(), Some(USAGE), "{wrong:?}");
    }
    let empty = Bob::with(&[]);
    fs::create_dir_all(empty.maildir().join("new")).unwrap();
    assert!(empty.fails(&["read", "bob@example.com", "last"], NO_INPUT).contains("the mailbox is empty"));
    assert!(empty.ok(&["list", "bob@example.com"]).starts_with("0 mails in "));
}
