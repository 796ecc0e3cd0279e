//! Mailboxes at a server, looked at by the real program over POP3. The server is a small one in Python, written from the
//! RFCs, so that nobody agrees with himself.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use common::bob::{PLAIN, id};
use common::server::{PROGRAM, has_tool};
use serde_json::{Value, json};
use tempfile::TempDir;

const USAGE: i32 = 2;
const NO_INPUT: i32 = 66;
const UNAVAILABLE: i32 = 69;
const TEMPORARY: i32 = 75;
const PERMISSION: i32 = 77;

const PASSWORD: &str = "pässword, with = and ,";

/// A POP3 server with mails of bob's. Dropping it ends it.
struct Maildrop {
    root: TempDir,
    child: Child,
    address: String,
}

impl Maildrop {
    /// With three mails; none if Python is not there.
    fn start(arguments: &[&str]) -> Option<Maildrop> {
        if !has_tool("python3") || !has_tool("openssl") {
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let mails = root.path().join("mails");
        fs::create_dir(&mails).unwrap();
        let second = b"Subject: dots\r\n\r\n.\r\n..two\r\nend .\r\n";
        for (number, mail) in [PLAIN, second, b"Subject: third\r\n\r\nconfirm\r\n"].into_iter().enumerate() {
            fs::write(mails.join(id(number + 1)), mail).unwrap();
        }
        let certificate = root.path().join("cert.pem");
        let key = root.path().join("key.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-days",
            "2",
            "-keyout",
        ]);
        assert!(openssl.arg(&key).arg("-out").arg(&certificate).output().unwrap().status.success());
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pop3_server.py");
        let mut python = Command::new("python3");
        python
            .arg(script)
            .arg(&mails)
            .args(["bob@example.com", PASSWORD])
            .args(arguments.iter().filter(|argument| **argument != "--no-tls"));
        let without_tls = arguments.contains(&"--no-tls");
        if !without_tls {
            python.arg("--tls").arg(&certificate).arg(&key);
        }
        let mut child = python.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Some(Maildrop { root, child, address: format!("localhost:{}", port.trim()) })
    }

    fn ca(&self) -> String {
        self.root.path().join("cert.pem").display().to_string()
    }

    fn command(&self, password: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("TZ", "UTC").env("FASTSMTP_PASSWORD", password).stdin(Stdio::null());
        command.arg(arguments[0]).args(["bob@example.com", "--server", &self.address]).args(&arguments[1..]);
        command
    }

    /// In TLS, with the right password.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(PASSWORD, &[arguments, &["--ca", &self.ca()]].concat()).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.ok(&["list", "--json"])).unwrap();
        list["mails"].as_array().unwrap().iter().map(|mail| mail["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Maildrop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Insists on the exit code and on one sentence; gives the sentence.
#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with("fastsmtp: ") && text.matches('\n').count() == 1, "{text}");
    text
}

#[test]
fn a_maildrop_is_listed_read_and_emptied_by_each_way_to_log_in() {
    for ways in
        [&["--login", "SCRAM-SHA-256"][..], &["--login", "PLAIN"], &["--login", "USER", "--no-pipelining"]]
    {
        let Some(drop) = Maildrop::start(ways) else { return };
        let text = drop.ok(&["list"]);
        assert!(text.starts_with("NO ") && text.contains("\n 1 - 2026-11-23 22:40  Alice Ä "), "{text}");
        assert!(text.ends_with(&format!("3 mails in {}\n", drop.address)), "{text}");
        assert_eq!(drop.ids(), [id(1), id(2), id(3)]);
        let mail: Value = serde_json::from_str(&drop.ok(&["read", "1", "--json"])).unwrap();
        assert_eq!(
            (&mail["new"], &mail["seen"], &mail["text"]),
            (&Value::Null, &Value::Null, &json!("Hello Bob\n"))
        );
        assert_eq!(drop.ok(&["read", "2", "--raw"]), "Subject: dots\r\n\r\n.\r\n..two\r\nend .\r\n");
        let list: Value = serde_json::from_str(&drop.ok(&["list", "--match", "confirm", "--json"])).unwrap();
        assert_eq!((&list["mailbox"], &list["mails"][0]["number"]), (&json!("bob@example.com"), &json!(3)));
        assert_eq!(drop.ok(&["remove", "1", &id(3)]), "removed 2 mails\n");
        assert_eq!(drop.ids(), [id(2)]);
        failed(&drop.run(&["read", "2"]), NO_INPUT);
    }
}

#[test]
fn wait_asks_again_until_the_mail_is_there() {
    let Some(drop) = Maildrop::start(&[]) else { return };
    assert!(drop.ok(&["wait", "--match", "CONFIRM"]).ends_with("\n\nconfirm\n"));
    let sentence = failed(&drop.run(&["wait", "--match", "later", "--timeout", "100ms"]), TEMPORARY);
    assert!(sentence.contains("no mail that matches 'later' came to bob@example.com"), "{sentence}");
    let ca = drop.ca();
    let mut command = drop.command(PASSWORD, &["wait", "--match", "later", "--timeout", "60s", "--ca", &ca]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mails = drop.root.path().join("mails");
    fs::write(drop.root.path().join("new"), b"Subject: later\r\n\r\n").unwrap();
    fs::rename(drop.root.path().join("new"), mails.join(id(4))).unwrap();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Subject:  later\n"));
}

#[test]
fn a_password_is_not_told_without_tls_nor_to_one_who_is_not_trusted() {
    let Some(drop) = Maildrop::start(&["--login", "PLAIN"]) else { return };
    let sentence = failed(&drop.command(PASSWORD, &["list"]).output().unwrap(), UNAVAILABLE);
    assert!(sentence.contains("cannot be trusted"), "{sentence}");
    let sentence = failed(&drop.command(PASSWORD, &["list", "--tls", "off"]).output().unwrap(), UNAVAILABLE);
    assert!(sentence.contains("for all between to read"), "{sentence}");
    let clear = ["list", "--tls", "off", "--allow-plaintext-auth"];
    assert_eq!(drop.command(PASSWORD, &clear).output().unwrap().status.code(), Some(0));
    assert_eq!(drop.command(PASSWORD, &["list", "--insecure"]).output().unwrap().status.code(), Some(0));

    let Some(drop) = Maildrop::start(&["--no-tls"]) else { return };
    let sentence =
        failed(&drop.command(PASSWORD, &["list", "--tls", "starttls"]).output().unwrap(), UNAVAILABLE);
    assert!(sentence.contains("does not offer TLS"), "{sentence}");
    assert_eq!(
        drop.command(PASSWORD, &["list"]).output().unwrap().status.code(),
        Some(0),
        "SCRAM tells no password"
    );
}

#[test]
fn a_wrong_password_and_a_server_that_fails_are_told_apart() {
    for login in ["SCRAM-SHA-256", "PLAIN", "USER"] {
        let Some(drop) = Maildrop::start(&["--login", login]) else { return };
        let ca = drop.ca();
        let sentence = failed(&drop.command("guessed", &["list", "--ca", &ca]).output().unwrap(), PERMISSION);
        assert!(
            sentence.contains("user bob@example.com may not log in: [AUTH] wrong user or password"),
            "{sentence}"
        );
        failed(&drop.command("wr\nong", &["list", "--ca", &ca]).output().unwrap(), USAGE);
    }
    for (says, code, sentence) in [
        ("greeting=-ERR [SYS/TEMP] later", TEMPORARY, "later"),
        ("greeting=hello", UNAVAILABLE, "it does not speak POP3"),
        ("AUTH=-ERR [IN-USE] busy", TEMPORARY, "busy"),
        ("LIST=-ERR \x1b[2J", UNAVAILABLE, "it refuses LIST: \\x1b[2J"),
        ("LIST=+OK\r\n1 x", UNAVAILABLE, "it does not speak POP3"),
        ("RETR=+OK\r\nnever ends", TEMPORARY, "did not answer within 300ms"),
        ("RETR=trickle", TEMPORARY, "did not answer within 300ms"),
    ] {
        let Some(drop) = Maildrop::start(&["--say", says]) else { return };
        let asked =
            if says.starts_with("RETR") { &["read", "1", "--timeout", "300ms"][..] } else { &["list"] };
        let mut command = drop.command(PASSWORD, &[asked, &["--ca", &drop.ca()]].concat());
        let told = failed(&command.output().unwrap(), code);
        assert!(told.contains(sentence), "{says}: {told}");
    }
}

#[test]
fn no_server_no_terminal_and_what_pop3_cannot_do_are_said_in_a_sentence() {
    if !has_tool("setsid") {
        return;
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new("setsid"); // no terminal to ask on
        command
            .arg(PROGRAM)
            .args(arguments)
            .env_remove("FASTSMTP_PASSWORD")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string(); // and gone
    let sentence = failed(&run(&["list", "bob@example.com", "--server", &free]), USAGE);
    assert!(sentence.contains("no terminal"), "{sentence}");
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("password");
    fs::write(&file, "secret\n").unwrap();
    let with = ["list", "bob@example.com", "--server", &free, "--password-file", file.to_str().unwrap()];
    assert!(failed(&run(&with), UNAVAILABLE).contains("no server at "));
    assert!(failed(&run(&[&with[..], &["--new"]].concat()), USAGE).contains("--new: "));
}

#[test]
fn of_mails_with_one_id_the_one_of_that_number_is_removed() {
    let Some(drop) = Maildrop::start(&["--uidl", "same,same,other"]) else { return };
    let sentence = failed(&drop.run(&["remove", "same"]), NO_INPUT);
    assert!(sentence.contains("mails 1 and 2 have the same id same; say the number"), "{sentence}");
    assert_eq!(drop.ok(&["read", "2", "--raw"]), "Subject: dots\r\n\r\n.\r\n..two\r\nend .\r\n");
    drop.ok(&["remove", "1"]);
    let left = fs::read_dir(drop.root.path().join("mails")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [id(2), id(3)]);
}

#[test]
fn an_id_that_looks_like_the_number_of_another_mail_removes_neither() {
    let Some(drop) = Maildrop::start(&["--uidl", "3,1-3,last"]) else { return };
    for text in ["3", "1-3"] {
        let sentence = failed(&drop.run(&["remove", text]), USAGE);
        assert!(sentence.ends_with(&format!("say id:{text}\n")), "{sentence}");
    }
    assert_eq!(drop.ids(), ["3", "1-3", "last"]);
    drop.ok(&["remove", "id:3", "id:last"]);
    let left = fs::read_dir(drop.root.path().join("mails")).unwrap();
    assert_eq!(left.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), [id(2).as_str()]);
}

#[test]
fn what_was_shown_is_shown_once_whatever_comes_of_quit() {
    for says in ["QUIT=close", "QUIT=-ERR no"] {
        let Some(drop) = Maildrop::start(&["--say", says]) else { return };
        assert_eq!(drop.ok(&["wait", "--match", "confirm"]).matches("confirm").count(), 1);
        assert!(drop.ok(&["list"]).starts_with("NO "));
        assert!(drop.ok(&["read", "3"]).ends_with("confirm\n"));
        let code = if says == "QUIT=close" { TEMPORARY } else { UNAVAILABLE };
        failed(&drop.run(&["remove", "1"]), code);
        assert_eq!(drop.ids().len(), 3);
    }
}

#[test]
fn a_server_that_trickles_holds_nobody_beyond_the_time() {
    for says in ["greeting=trickle", "UIDL=trickle", "RETR=trickle"] {
        let Some(drop) = Maildrop::start(&["--say", says]) else { return };
        let sentence = failed(&drop.run(&["wait", "--timeout", "1s"]), TEMPORARY);
        assert!(sentence.contains(" did not answer within "), "{sentence}");
    }
}

#[test]
fn a_pipe_that_is_closed_ends_a_mail_that_does_not() {
    let Some(drop) = Maildrop::start(&["--say", "RETR=endless"]) else { return };
    let ca = drop.ca();
    let mut command = drop.command(PASSWORD, &["read", "1", "--raw", "--ca", &ca]);
    let mut reading = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut three = [0; 3];
    reading.stdout.take().unwrap().read_exact(&mut three).unwrap(); // and it is closed
    assert_eq!(&three, b"and");
    assert_eq!(reading.wait().unwrap().code(), Some(0));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = drop.command(PASSWORD, &["read", "1", "--raw", "--ca", &ca]).stdout(full).output().unwrap();
    let sentence = failed(&output, 74);
    assert!(sentence.starts_with("fastsmtp: standard output: "), "{sentence}");
}

#[test]
fn a_server_without_top_or_without_ids_has_a_whole_list_all_the_same() {
    let Some(drop) = Maildrop::start(&["--say", "TOP=-ERR what?"]) else { return };
    let text = drop.ok(&["list"]);
    assert!(text.contains(" third ") && text.ends_with(&format!("3 mails in {}\n", drop.address)), "{text}");
    let Some(drop) = Maildrop::start(&["--say", "TOP=-ERR what?", "--say", "RETR=-ERR neither"]) else {
        return;
    };
    let text = drop.ok(&["list"]);
    assert_eq!(text.matches("(cannot be read)").count(), 3, "{text}");
    let Some(drop) = Maildrop::start(&["--say", "UIDL=-ERR what?"]) else { return };
    assert_eq!(drop.ids(), ["1", "2", "3"]);
    assert!(drop.ok(&["read", "3"]).ends_with("confirm\n"));
}

#[test]
fn a_password_that_the_server_repeats_is_not_shown() {
    for (login, says) in [("USER", "PASS=echo"), ("PLAIN", "AUTH=echo"), ("USER", "LIST=echo")] {
        let Some(drop) = Maildrop::start(&["--login", login, "--say", says]) else { return };
        let output = drop.run(&["list"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("(the password)") && !told.contains(PASSWORD), "{told}");
    }
}

#[test]
fn a_server_that_says_nothing_or_hangs_up_may_want_tls() {
    for says in ["greeting=hang", "greeting=close"] {
        let Some(drop) = Maildrop::start(&["--say", says]) else { return };
        let sentence = failed(&drop.run(&["list", "--timeout", "200ms"]), TEMPORARY);
        assert!(sentence.ends_with("; if it speaks TLS from the start, say --tls implicit\n"), "{sentence}");
        assert_eq!(sentence.contains("did not answer within 200ms"), says == "greeting=hang", "{sentence}");
    }
}
