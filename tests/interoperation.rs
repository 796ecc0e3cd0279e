//! Real clients hand mail over, and real readers find it, byte for byte.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::server::{Server, data, has_tool, wait_for_mail};

/// Runs a tool with `input`, and insists that it succeeds.
fn run(command: &mut Command, input: &[u8]) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// The one delivered message, which must end with `content` behind our two fields.
fn the_message(data: &Path, content: &[u8]) -> Vec<u8> {
    let files = wait_for_mail(data, 1);
    assert_eq!(files.len(), 1);
    let octets = fs::read(&files[0]).unwrap();
    assert!(octets.starts_with(b"Return-Path: <"));
    assert!(octets.ends_with(content), "{}", String::from_utf8_lossy(&octets));
    let before = String::from_utf8_lossy(&octets[..octets.len() - content.len()]).into_owned();
    assert!(before.contains("\r\nReceived: from "), "{before}");
    octets
}

#[test]
fn swaks_delivers() {
    if !has_tool("swaks") {
        return;
    }
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let server_name = server.address().to_string();
    let arguments =
        ["--server", &server_name, "--from", "a@b.example", "--to", "c@d.example", "--body", ".hello"];
    let text = run(Command::new("swaks").args(arguments), b"");
    assert!(text.contains("250 2.0.0 queued as "), "{text}");
    let message = the_message(&data, b"\r\n.hello\r\n\r\n\r\n");
    assert!(message.starts_with(b"Return-Path: <a@b.example>\r\n"));
}

#[test]
fn curl_delivers() {
    if !has_tool("curl") {
        return;
    }
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let content = b"Subject: by curl\r\n\r\n.one\r\n..two\r\nlast line\r\n";
    let url = format!("smtp://{}/client.example", server.address());
    let arguments = ["-sS", &url, "--mail-from", "a@b.example", "--mail-rcpt", "c@d.example", "-T", "-"];
    run(Command::new("curl").args(arguments), content);
    the_message(&data, content);
}

#[test]
fn msmtp_delivers() {
    if !has_tool("msmtp") {
        return;
    }
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let port = format!("--port={}", server.address().port());
    let arguments =
        ["--host=127.0.0.1", &port, "--tls=off", "--auth=off", "--from=a@b.example", "c@d.example"];
    run(Command::new("msmtp").args(arguments), b"Subject: by msmtp\n\n.one\ntwo\n");
    the_message(&data, b"Subject: by msmtp\r\n\r\n.one\r\ntwo\r\n");
}

const SMTPLIB: &str = r#"
import smtplib, sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[1])) as server:
    server.sendmail("a@b.example", ["c@d.example", "e@d.example", "c@D.example"], sys.stdin.buffer.read())
"#;

const MAILBOX: &str = r#"
import mailbox, sys
box = mailbox.Maildir(sys.argv[1], create=False)
[message] = list(box)
print(message["Subject"], message.get_payload())
"#;

#[test]
fn smtplib_delivers_to_two_mailboxes_and_python_reads_them() {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let port = server.address().port().to_string();
    run(Command::new("python3").args(["-c", SMTPLIB, &port]), b"Subject: by smtplib\r\n\r\nhello\r\n");
    wait_for_mail(&data, 2);
    for user in ["c", "e"] {
        let maildir = data.join("mailboxes/d.example").join(user);
        let text = run(Command::new("python3").args(["-c", MAILBOX]).arg(&maildir), b"");
        assert!(text.starts_with("by smtplib hello"), "{text}");
    }
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn fifty_mebibytes_arrive_unchanged() {
    if !has_tool("curl") {
        return;
    }
    let (root, data) = data();
    let server = Server::start(&data, &[]);
    let mut content = b"Subject: big\r\n\r\n".to_vec();
    let line: Vec<u8> = (0..76u8).map(|n| b'A' + n % 58).chain(*b"\r\n").collect();
    while content.len() + line.len() + 64 < 50 << 20 {
        content.extend_from_slice(&line);
        if content.len().is_multiple_of(7) {
            content.extend_from_slice(b"..\r\n.\xff\x00\r\n");
        }
    }
    let file = root.path().join("big.eml");
    fs::write(&file, &content).unwrap();
    let url = format!("smtp://{}/client.example", server.address());
    let arguments = ["-sS", &url, "--mail-from", "a@b.example", "--mail-rcpt", "c@d.example", "-T"];
    run(Command::new("curl").args(arguments).arg(&file), b"");
    the_message(&data, &content);
}

#[test]
fn mutt_reads_what_was_delivered() {
    if !has_tool("mutt") || !has_tool("curl") || !has_tool("script") {
        return;
    }
    let (root, data) = data();
    let server = Server::start(&data, &[]);
    let url = format!("smtp://{}/client.example", server.address());
    let arguments = ["-sS", &url, "--mail-from", "a@b.example", "--mail-rcpt", "c@d.example", "-T", "-"];
    run(Command::new("curl").args(arguments), b"Subject: read by mutt\r\n\r\nthe text\r\n");
    wait_for_mail(&data, 1);
    let copy = root.path().join("copy.mbox");
    // Mutt wants a terminal, which script(1) gives. It opens the Maildir, saves a decoded copy of the first message, and
    // leaves.
    let settings = "set confirmappend=no quit=yes confirmcreate=no move=no wait_key=no";
    let push = format!("push <decode-copy>{}<enter><exit>", copy.display());
    let maildir = data.join("mailboxes/d.example/c");
    let command = format!("mutt -n -F /dev/null -e '{settings}' -e '{push}' -f {}", maildir.display());
    let mut mutt = Command::new("script");
    mutt.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").env("HOME", root.path());
    run(&mut mutt, b"");
    let text = fs::read_to_string(copy).unwrap();
    assert!(text.contains("Subject: read by mutt") && text.contains("the text"), "{text}");
}
