//! Mailboxes that change while they are looked at: `wait`, a server that delivers meanwhile, and other readers of the same
//! Maildirs.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::bob::{Bob, PLAIN, id};
use common::server::{Server, has_tool, wait_for_mail};

const TEMPORARY: i32 = 75;

/// Has a server deliver mail to bob.
fn deliver(server: &Server, subjects: &[&str]) {
    let mut talk = server.connect();
    talk.hello();
    for subject in subjects {
        talk.say("MAIL FROM:<sender@client.example>\r\n", "250");
        talk.say("RCPT TO:<bob@example.com>\r\n", "250");
        talk.say("DATA\r\n", "354");
        talk.say(format!("Subject: {subject}\r\n\r\nthe text of {subject}\r\n.\r\n"), "250");
    }
}

fn spawn(bob: &Bob, arguments: &[&str]) -> Child {
    bob.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a program printed that ended well.
#[track_caller]
fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn wait_returns_at_once_with_the_newest_that_is_there() {
    let bob = Bob::with(&[PLAIN, b"Subject: second\r\n\r\nhello\r\n", b"Subject: third\r\n\r\n\r\n"]);
    let text = bob.ok(&["wait", "bob@example.com", "--match", "HELLO", "--peek"]);
    assert!(text.ends_with("Subject:  second\n\nhello\n"), "{text}");
    assert!(bob.ok(&["wait", "bob@example.com", "--peek"]).contains("third"));
    assert_eq!(bob.json(&["wait", "bob@example.com", "--match", "alice"])["subject"], "Rätsel");
    assert_eq!(bob.numbers(&["--new"]), [2, 3], "what was shown is seen");
    let subjects: Vec<_> =
        (0..2).map(|_| bob.json(&["wait", "bob@example.com", "--new"])["subject"].clone()).collect();
    assert_eq!(subjects, ["third", "second"], "each once");
    let sentence = bob.fails(&["wait", "bob@example.com", "--new", "--timeout", "0"], TEMPORARY);
    assert!(sentence.contains("no mail came to bob@example.com within 0"), "{sentence}");
}

#[test]
fn wait_ends_after_its_time_and_says_what_did_not_come() {
    let bob = Bob::with(&[PLAIN]);
    let started = Instant::now();
    let asked = ["wait", "bob@example.com", "--match", "nope", "--match", "no\u{1b}pe", "--timeout", "200ms"];
    let sentence = bob.fails(&asked, TEMPORARY);
    assert!(
        sentence.contains("matches 'nope' and 'no\\x1bpe' came to bob@example.com within 200ms"),
        "{sentence}"
    );
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn wait_sees_what_a_server_delivers_also_into_a_mailbox_that_was_not_there() {
    let bob = Bob::new();
    let server = Server::start(&bob.data(), &[]);
    let waiting =
        spawn(&bob, &["wait", "bob@example.com", "--match", "confirm", "--timeout", "60s", "--json"]);
    let raw = spawn(
        &bob,
        &["wait", "bob@example.com", "--match", "text of please", "--timeout", "60s", "--raw", "--peek"],
    );
    deliver(&server, &["one", "two", "please confirm"]);
    let document: serde_json::Value =
        serde_json::from_str(&printed(&waiting.wait_with_output().unwrap())).unwrap();
    assert_eq!(document["text"], "the text of please confirm\n");
    assert!(printed(&raw.wait_with_output().unwrap()).ends_with("\r\n\r\nthe text of please confirm\r\n"));
    wait_for_mail(&bob.data(), 3);
    assert_eq!(bob.numbers(&[]), [1, 2, 3]);
}

#[test]
fn a_mailbox_is_read_and_emptied_while_a_server_delivers() {
    let bob = Bob::new();
    let server = Server::start(&bob.data(), &[]);
    let subjects: Vec<String> = (0..200).map(|n| format!("number {n}")).collect();
    let mut read = Vec::new();
    std::thread::scope(|scope| {
        let names: Vec<&str> = subjects.iter().map(String::as_str).collect();
        let server = &server;
        scope.spawn(move || deliver(server, &names));
        while read.len() < subjects.len() {
            let document = bob.json(&["wait", "bob@example.com", "--new", "--timeout", "60s"]);
            read.push(document["subject"].as_str().unwrap().to_owned());
            if read.len().is_multiple_of(20) {
                bob.ok(&["list", "bob@example.com", "--match", "number"]);
                assert_eq!(
                    bob.ok(&["remove", "bob@example.com", document["id"].as_str().unwrap()]),
                    "removed 1 mail\n"
                );
            }
        }
    });
    read.sort();
    let mut expected = subjects.clone();
    expected.sort();
    assert_eq!(read, expected, "each mail was read once");
    assert_eq!(bob.numbers(&[]).len(), subjects.len() - subjects.len() / 20);
    assert_eq!(server.stop().code(), Some(0));
}

const OTHER_READER: &str = r#"
import mailbox, sys
box = mailbox.Maildir(sys.argv[1], create=False)
print(sorted((message["Subject"], message.get_subdir(), message.get_flags()) for message in box))
"#;

#[test]
fn other_programs_read_what_is_left() {
    if !has_tool("python3") {
        return;
    }
    let bob = Bob::with(&[b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n", b"Subject: three\r\n\r\n"]);
    bob.put("cur", 4, ":2,FR", b"Subject: four\r\n\r\n");
    bob.ok(&["read", "bob@example.com", "2"]);
    bob.ok(&["read", "bob@example.com", "4"]);
    bob.ok(&["remove", "bob@example.com", "1"]);
    let python = Command::new("python3").args(["-c", OTHER_READER]).arg(bob.maildir()).output().unwrap();
    assert_eq!(printed(&python), "[('four', 'cur', 'FRS'), ('three', 'new', ''), ('two', 'cur', 'S')]\n");
    assert!(bob.maildir().join("cur").join(id(4) + ":2,FRS").is_file());
}

#[test]
fn mutt_reads_what_is_left() {
    if !has_tool("mutt") || !has_tool("script") {
        return;
    }
    let bob = Bob::with(&[PLAIN, b"From: x@y\r\nSubject: read by mutt\r\n\r\nthe text\r\n"]);
    bob.ok(&["read", "bob@example.com", "2"]);
    bob.ok(&["remove", "bob@example.com", "1"]);
    let root = bob.root.path();
    let (copy, configuration) = (root.join("copy.mbox"), root.join("muttrc"));
    let text = format!(
        "set confirmappend=no quit=yes confirmcreate=no move=no folder={}\n\
         macro index X \"<decode-copy><kill-line>{}<enter><exit>\"\npush X\n",
        root.display(),
        copy.display()
    );
    fs::write(&configuration, text).unwrap();
    let command = format!("mutt -n -F {} -f {}", configuration.display(), bob.maildir().display());
    let mut mutt = Command::new("timeout");
    mutt.args(["20", "script", "-qec", &command, "/dev/null"]).env("TERM", "xterm").env("HOME", root);
    mutt.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut mutt = mutt.spawn().unwrap();
    mutt.stdin.take().unwrap().flush().unwrap();
    assert!(mutt.wait().unwrap().success());
    let text = fs::read_to_string(copy).unwrap();
    assert!(text.contains("Subject: read by mutt") && text.contains("the text"), "{text}");
}

#[test]
fn a_mail_that_cannot_be_read_hides_none_of_the_others() {
    let bob = Bob::with(&[PLAIN, b"Subject: second\r\n\r\nhello\r\n", b"Subject: third\r\n\r\n\r\n"]);
    let run = |arguments: &[&str]| {
        let mut command = bob.command(arguments);
        if rustix::process::geteuid().is_root() {
            command.uid(65_534); // whom permissions bind
        }
        command.output().unwrap()
    };
    let chmod = |mode: &str, path: &std::path::Path| {
        assert!(Command::new("chmod").args(["-R", mode]).arg(path).status().unwrap().success());
    };
    chmod("a+rX", bob.root.path());
    chmod("000", &bob.maildir().join("new").join(id(3)));
    let told = |output: &Output| {
        let told = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(told.contains("mail 3 (") && told.matches('\n').count() == 1, "{told}");
    };
    let output = run(&["list", "bob@example.com"]);
    let text = printed(&output);
    assert!(
        text.contains("(cannot be read)") && text.contains("second") && text.contains("3 mails"),
        "{text}"
    );
    told(&output);
    let output = run(&["list", "bob@example.com", "--match", "hello", "--json"]);
    assert!(printed(&output).contains("\"second\""));
    told(&output);
    for asked in [
        &["wait", "bob@example.com", "--peek"][..],
        &["wait", "bob@example.com", "--match", "hello", "--peek"],
    ] {
        let output = run(asked);
        assert!(printed(&output).ends_with("Subject:  second\n\nhello\n"));
        told(&output);
    }
}
