//! `fastsmtp send` to servers of others, and to servers that do what none should: the mail arrives, or one sentence says
//! why not. Nobody makes it give a password away, hang, or print what steers a terminal.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::accounts::PASSWORD;
use common::sender::{Peer, agreeable, scripted, send};
use common::server::{PATIENCE, has_tool, wait_until};

const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;

const TO: [&str; 3] = ["--to", "a@example.com", "text"];
const AS_ALICE: [&str; 5] = ["--user", "alice@example.com", "--to", "a@example.com", "text"];

#[test]
fn nobody_there_is_said_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sentence = send(free, &TO).fails(UNAVAILABLE);
    assert_eq!(
        sentence,
        format!("no server at {free}: connection refused; start it, or name another with --server")
    );
    let sentence = send("nowhere.invalid", &TO).fails(UNAVAILABLE);
    assert!(sentence.starts_with("no such host as nowhere.invalid "), "{sentence}");
}

#[test]
fn a_server_that_falls_silent_is_given_up_wherever_it_does() {
    let parts: [fn(&mut Peer); 4] = [
        Peer::wait,
        |peer| {
            peer.say("220 mx.exam");
            peer.wait();
        },
        |peer| {
            peer.say("220 mx.example\r\n");
            peer.wait();
        },
        |peer| peer.converse(|line| if line == "." { String::new() } else { agreeable(line) }),
    ];
    for (at, part) in parts.into_iter().enumerate() {
        let server = scripted(part);
        let sentence = send(server.address, &["--timeout", "200ms"]).arguments(&TO).fails(TEMPORARY);
        assert!(sentence.contains("did not answer within 200ms"), "{at}: {sentence}");
        // After the last dot it may have the mail.
        assert_eq!(sentence.contains("it may have taken the mail all the same"), at == 3, "{sentence}");
        server.heard();
    }
}

#[test]
fn a_server_that_hangs_up_or_talks_nonsense_is_told_of() {
    let cases: [(&str, i32, &str); 6] = [
        ("", TEMPORARY, "cut the connection"),
        ("220 mx.exam", TEMPORARY, "cut the connection"),
        ("SSH-2.0-OpenSSH_9.2\r\n", UNAVAILABLE, "does not speak SMTP as it should"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", UNAVAILABLE, "does not speak SMTP as it should"),
        ("554 5.7.1 \x1b[2Jgo\x07 away\r\n", UNAVAILABLE, "refused: 554 5.7.1 \\x1b[2Jgo\\x07 away"),
        ("421 4.3.2 later\r\n", TEMPORARY, "refused: 421 4.3.2 later"),
    ];
    for (words, code, says) in cases {
        let server = scripted(move |peer| peer.say(words));
        let sentence = send(server.address, &TO).fails(code);
        assert!(sentence.contains(says), "{words:?}: {sentence}");
    }
    let garbage = "\0\u{ff}\x16\x03".repeat(10_000);
    let server = scripted(move |peer| peer.say(&garbage));
    let sentence = send(server.address, &TO).fails(UNAVAILABLE);
    assert!(sentence.contains("does not speak SMTP as it should"), "{sentence}");
    let server = scripted(|peer| peer.say("220 this is no TLS\r\n"));
    let sentence =
        send(server.address, &["--tls", "implicit", "--insecure"]).arguments(&TO).fails(UNAVAILABLE);
    assert!(
        sentence.contains("does not begin with TLS") && sentence.contains("--tls starttls"),
        "{sentence}"
    );
}

#[test]
fn a_password_is_never_said_in_plain_to_whoever_asks_for_it() {
    for ehlo in ["250-mx.example\r\n250 AUTH PLAIN LOGIN\r\n", "250 mx.example\r\n"] {
        let server = scripted(move |peer| {
            peer.converse(|line| if line.starts_with("EHLO") { ehlo.to_owned() } else { agreeable(line) });
        });
        let sentence =
            send(server.address, &AS_ALICE).variable("FASTSMTP_PASSWORD", PASSWORD).fails(UNAVAILABLE);
        let says = if ehlo.contains("AUTH") { "--allow-plaintext-auth" } else { "offers no login here" };
        assert!(sentence.contains(says), "{sentence}");
        assert!(!server.heard().contains("AUTH"));
    }
    let server = scripted(|peer| peer.converse(agreeable));
    let sentence = send(server.address, &["--tls", "starttls"]).arguments(&TO).fails(UNAVAILABLE);
    assert!(sentence.contains("does not offer STARTTLS"), "{sentence}");
    assert!(!server.heard().contains("MAIL"));
}

#[test]
fn what_a_server_repeats_of_the_password_is_not_shown() {
    let server = scripted(|peer| {
        peer.converse(|line| match line.split(' ').next().unwrap() {
            "EHLO" => "250-mx.example\r\n250 AUTH PLAIN\r\n".to_owned(),
            "AUTH" => format!("535 5.7.8 {PASSWORD} is wrong, and so is {line}\r\n"),
            _ => agreeable(line),
        });
    });
    let arguments = [&AS_ALICE[..], &["--allow-plaintext-auth", "--verbose"]].concat();
    let ran = send(server.address, &arguments).variable("FASTSMTP_PASSWORD", PASSWORD).run();
    assert_eq!(ran.code, Some(PERMISSION), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("\n> AUTH PLAIN (hidden)\n") && ran.stderr.contains("535 (the password)"),
        "{}",
        ran.stderr
    );
    let said = server.heard();
    let secret = said.lines().find_map(|line| line.strip_prefix("AUTH PLAIN ")).unwrap();
    assert!(!ran.stderr.contains(PASSWORD) && !ran.stderr.contains(secret), "{}", ran.stderr);
}

#[test]
fn each_refusal_of_a_recipient_counts_and_the_worst_is_the_exit_code() {
    let cases = [
        ("450 4.2.1 busy", "450 4.2.1 busy", TEMPORARY),
        ("450 4.2.1 busy", "550 5.1.1 who?", UNAVAILABLE),
        ("550 5.1.1 who?", "450 4.2.1 busy", UNAVAILABLE),
    ];
    for (first, second, code) in cases {
        let server = scripted(move |peer| {
            peer.converse(|line| match line {
                "RCPT TO:<b@example.com>" => format!("{first}\r\n"),
                "RCPT TO:<c@example.com>" => format!("{second}\r\n"),
                "." => "250 2.0.0 queued as 17\r\n".to_owned(),
                line => agreeable(line),
            });
        });
        let ran = send(server.address, &["--to", "a@example.com,b@example.com,c@example.com", "text"]).run();
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(code), "250 2.0.0 queued as 17\n"),
            "{}",
            ran.stderr
        );
        let server_name = server.address;
        let expected = format!(
            "fastsmtp: {server_name} refused b@example.com: {first}\nfastsmtp: {server_name} refused c@example.com: {second}\n"
        );
        assert_eq!(ran.stderr, expected);
    }
}

#[test]
fn who_was_refused_is_named_also_where_the_mail_was() {
    let server = scripted(|peer| {
        peer.converse(|line| match line {
            "RCPT TO:<b@example.com>" => "550 5.1.1 who?\r\n".to_owned(),
            "." => "451 4.3.0 later\r\n".to_owned(),
            line => agreeable(line),
        });
    });
    let ran = send(server.address, &["--to", "a@example.com,b@example.com", "text"]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(UNAVAILABLE), ""), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(lines[0].ends_with(" refused b@example.com: 550 5.1.1 who?"), "{}", ran.stderr);
    assert!(lines[1].ends_with(" refused the mail: 451 4.3.0 later"), "{}", ran.stderr);
}

#[test]
fn a_refusal_of_the_whole_mail_is_one_sentence() {
    let cases: [(&str, &str, i32, &str); 5] = [
        ("MAIL", "451 4.3.0 later", TEMPORARY, "refused the sender sender@client.example: 451 4.3.0 later"),
        (
            "MAIL",
            "550-5.7.1 not\r\n550 5.7.1 you",
            UNAVAILABLE,
            "refused the sender sender@client.example: 550 5.7.1 not you",
        ),
        ("DATA", "452 4.3.1 full", TEMPORARY, "refused the mail: 452 4.3.1 full"),
        (".", "554 5.6.0 spam", UNAVAILABLE, "refused the mail: 554 5.6.0 spam"),
        (".", "421 4.3.2 bye", TEMPORARY, "refused the mail: 421 4.3.2 bye"),
    ];
    for (command, reply, code, says) in cases {
        let server = scripted(move |peer| {
            peer.converse(|line| {
                if line.split(' ').next() == Some(command) { format!("{reply}\r\n") } else { agreeable(line) }
            });
        });
        let sentence = send(server.address, &TO).fails(code);
        assert!(sentence.ends_with(says), "{sentence}");
    }
}

#[test]
fn a_server_that_refuses_within_the_mail_data_and_hangs_up_is_understood() {
    let server = scripted(|peer| {
        peer.say("220 mx.example\r\n");
        while let Some(line) = peer.hear() {
            peer.say(&agreeable(&line));
            if line == "DATA" {
                break;
            }
        }
        // It is being sent when it is refused, and is never read.
        peer.hear();
        peer.say("552 5.3.4 too much\r\n");
    });
    let root = tempfile::tempdir().unwrap();
    let large = root.path().join("large");
    fs::write(&large, vec![b'x'; 20 << 20]).unwrap();
    let sentence = send(server.address, &TO).argument("--attach", &large).fails(UNAVAILABLE);
    assert!(sentence.ends_with("refused the mail: 552 5.3.4 too much"), "{sentence}");
}

#[test]
fn fifty_mebibytes_are_no_trouble() {
    let server = scripted(|peer| {
        peer.say("220 mx.example\r\n");
        while let Some(line) = peer.hear() {
            peer.say(&agreeable(&line));
            if line == "DATA" {
                let octets = peer.hear_data();
                peer.say(&format!("250 2.0.0 took {}\r\n", octets > (50 << 20) / 3 * 4));
            }
        }
    });
    let root = tempfile::tempdir().unwrap();
    let large = root.path().join("large");
    fs::write(&large, vec![b'x'; 50 << 20]).unwrap();
    assert_eq!(send(server.address, &TO).argument("--attach", &large).ok(), "250 2.0.0 took true");
}

#[test]
fn what_a_mail_needs_and_a_server_lacks_is_said_before_it_is_sent() {
    let root = tempfile::tempdir().unwrap();
    let eml = root.path().join("mail.eml");
    fs::write(&eml, "Subject: x\r\n\r\nüber\r\n").unwrap();
    let plain = |peer: &mut Peer| {
        peer.converse(|line| {
            if line.starts_with("EHLO") { "250 mx.example\r\n".to_owned() } else { agreeable(line) }
        });
    };
    let server = scripted(plain);
    let sentence =
        send(server.address, &["--to", "a@example.com"]).argument("--eml", &eml).fails(UNAVAILABLE);
    assert!(sentence.contains("does not offer 8BITMIME"), "{sentence}");
    assert!(!server.heard().contains("MAIL"));
    let server = scripted(plain);
    let sentence = send(server.address, &["--to", "jörg@example.com", "x"]).fails(UNAVAILABLE);
    assert!(sentence.contains("does not offer SMTPUTF8"), "{sentence}");
    // A domain needs nothing: it has another spelling.
    let server = scripted(plain);
    send(server.address, &["--to", "a@bücher.example", "grüße"]).ok();
    assert!(server.heard().contains("\r\nRCPT TO:<a@xn--bcher-kva.example>\r\n"));
}

/// A program of others that listens at an address.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was ours a moment ago: they cannot be told to take one of the system's choice.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn start(command: &mut Command, address: SocketAddr) -> Other {
    let other = Other(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    wait_until("it greets", || {
        let Ok(stream) = TcpStream::connect(address) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut banner = String::new();
        BufReader::new(stream).read_line(&mut banner).is_ok() && banner.starts_with("220")
    });
    other
}

#[test]
fn postfix_s_sink_takes_a_mail_as_it_is() {
    if !has_tool("smtp-sink") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let address = free_address();
    let template = root.path().join("mail.%M%S.");
    let mut sink = Command::new("smtp-sink");
    if fastsmtp::disk::effective_user() == 0 {
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        sink.args(["-u", "nobody"]);
    }
    let _sink = start(sink.arg("-d").arg(&template).args([&address.to_string(), "100"]), address);
    let line =
        send(address, &["--to", "a@example.com,b@example.com", "--subject", "to the sink", ".\n..dots\n"])
            .ok();
    assert!(line.starts_with("250 2.0.0 "), "{line}");
    let dumps = || -> Vec<PathBuf> {
        fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let is_whole = |text: &str| text.contains("\nSubject: to the sink\n") && text.contains("\n\n.\n..dots\n");
    wait_until("the sink has written it", || {
        dumps().iter().any(|dump| is_whole(&fs::read_to_string(dump).unwrap()))
    });
}

#[test]
fn aiosmtpd_takes_a_mail_as_it_is() {
    // Debian's, whatever other Python comes first.
    const PYTHON: &str = "/usr/bin/python3";
    let asked = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
    if !asked.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "aiosmtpd is not installed, and CI has to have it");
        eprintln!("skipped: aiosmtpd is not installed");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let address = free_address();
    let maildir = root.path().join("mail");
    let mut command = Command::new(PYTHON);
    command
        .args(["-m", "aiosmtpd", "-n", "-u", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Mailbox"])
        .arg(&maildir);
    let _server = start(&mut command, address);
    send(address, &["--to", "jörg@example.com", "--subject", "Grüße", "straight\n.\n"]).ok();
    let files: Vec<_> =
        fs::read_dir(maildir.join("new")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let text = fs::read_to_string(&files[0]).unwrap().replace("\r\n", "\n");
    assert!(text.contains("To: <jörg@example.com>\n") && text.ends_with("\n\nstraight\n.\n"), "{text}");
}
