//! Mail programs submit as they always do: EHLO, STARTTLS, EHLO, AUTH, and mail, or TLS from the start; each against the
//! real binary with accounts, and each told the truth when it may not.

mod common;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::accounts::{self, PASSWORD};
use common::server::{PROGRAM, Server, Talk, data, delivered, has_tool, wait_for_mail, wait_until};
use tempfile::TempDir;

const WRONG: &str = "incorrect horse";

/// A server with accounts, at its two submission ports.
struct Post {
    server: Server,
    data: PathBuf,
    root: TempDir,
}

/// How a client comes to TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    StartTls,
    Implicit,
}

const WAYS: [Way; 2] = [Way::StartTls, Way::Implicit];

impl Post {
    fn new() -> Post {
        let (root, data) = data();
        accounts::keep(&data);
        let listeners = ["--listen-submission", "127.0.0.1:0", "--listen-submissions", "127.0.0.1:0"];
        let server = Server::start(&data, &[&listeners[..], &["--tls-self-signed"]].concat());
        Post { server, data, root }
    }

    fn address(&self, way: Way) -> SocketAddr {
        match way {
            Way::StartTls => self.server.submission[0],
            Way::Implicit => self.server.submissions[0],
        }
    }

    fn port(&self, way: Way) -> String {
        self.address(way).port().to_string()
    }

    fn certificate(&self) -> PathBuf {
        self.data.join("tls-cert.pem")
    }

    /// The one message in bob's mailbox, which came from alice by way of a login in TLS.
    fn assert_bob_has(&self, content: &str) {
        let files = wait_for_mail(&self.data, 1);
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(files[0].starts_with(self.data.join("mailboxes/example.com/bob")), "{files:?}");
        let octets = String::from_utf8(fs::read(&files[0]).unwrap()).unwrap();
        assert!(octets.starts_with("Return-Path: <alice@example.com>\r\n"), "{octets}");
        assert!(octets.contains(" with ESMTPSA id "), "{octets}");
        assert!(octets.contains(content), "{octets}");
    }

    fn assert_nothing_came(self) {
        let data = self.data;
        assert_eq!(self.server.stop().code(), Some(0));
        assert_eq!(delivered(&data.join("mailboxes")), Vec::<PathBuf>::new());
    }
}

fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who refuses may be gone before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What a client tries, and what it must hear.
struct Attempt {
    user: &'static str,
    password: &'static str,
    from: &'static str,
    to: &'static str,
    /// The reply that it must show; none if the mail must be taken.
    reply: Option<&'static str>,
}

const GOOD: Attempt = Attempt {
    user: "alice@example.com",
    password: PASSWORD,
    from: "alice@example.com",
    to: "bob@example.com",
    reply: None,
};

/// What is taken, and what is not.
fn attempts() -> [Attempt; 6] {
    [
        GOOD,
        Attempt { password: WRONG, reply: Some("535"), ..GOOD },
        Attempt { user: "nobody@example.com", reply: Some("535"), ..GOOD },
        Attempt { from: "bob@example.com", reply: Some("553"), ..GOOD },
        Attempt { to: "nobody@example.com", reply: Some("550"), ..GOOD },
        Attempt { to: "someone@elsewhere.example", reply: Some("550"), ..GOOD },
    ]
}

/// Has a client try all there is, in both ways; `try_it` gives what the client said, and whether it was content.
fn each_attempt(tool: &str, try_it: impl Fn(&Post, Way, &Attempt) -> Output) {
    if !has_tool(tool) {
        return;
    }
    for way in WAYS {
        let post = Post::new();
        for attempt in attempts() {
            let output = try_it(&post, way, &attempt);
            let said = text(&output);
            match attempt.reply {
                None => {
                    assert!(output.status.success(), "{said}\n{}", post.server.log());
                    post.assert_bob_has("by submission");
                }
                Some(reply) => {
                    assert!(!output.status.success(), "{tool} was content: {said}");
                    assert!(said.contains(reply), "{tool} should tell of {reply}: {said}");
                }
            }
        }
        // Of those that were refused nothing came.
        let data = post.data.clone();
        assert_eq!(post.server.stop().code(), Some(0));
        assert_eq!(delivered(&data.join("mailboxes")).len(), 1);
    }
}

#[test]
fn swaks_submits() {
    each_attempt("swaks", |post, way, attempt| {
        let mut swaks = Command::new("swaks");
        swaks.args(["--server", "localhost", "--port", &post.port(way)]);
        swaks.arg(if way == Way::StartTls { "--tls" } else { "--tls-on-connect" });
        swaks.args(["--tls-verify", "--tls-ca-path"]).arg(post.certificate());
        swaks.args(["--auth", "LOGIN", "--auth-user", attempt.user, "--auth-password", attempt.password]);
        swaks.args(["--from", attempt.from, "--to", attempt.to, "--h-Subject", "by submission"]);
        finish(&mut swaks, b"")
    });
}

#[test]
fn curl_submits() {
    each_attempt("curl", |post, way, attempt| {
        let scheme = if way == Way::StartTls { "smtp" } else { "smtps" };
        let mut curl = Command::new("curl");
        curl.args(["-sSv", "--ssl-reqd", "--cacert"]).arg(post.certificate());
        curl.arg(format!("{scheme}://localhost:{}/client.example", post.port(way)));
        curl.args(["--user", &format!("{}:{}", attempt.user, attempt.password)]);
        curl.args(["--mail-from", attempt.from, "--mail-rcpt", attempt.to, "-T", "-"]);
        finish(&mut curl, b"Subject: by submission\r\n\r\nhello\r\n")
    });
}

#[test]
fn msmtp_submits() {
    each_attempt("msmtp", |post, way, attempt| {
        let secret = post.root.path().join("password");
        fs::write(&secret, attempt.password).unwrap();
        let mut msmtp = Command::new("msmtp");
        msmtp.args(["--host=localhost", &format!("--port={}", post.port(way)), "--tls=on", "--auth=plain"]);
        msmtp.arg(format!("--tls-starttls={}", if way == Way::StartTls { "on" } else { "off" }));
        msmtp.arg(format!("--tls-trust-file={}", post.certificate().display()));
        msmtp.arg(format!("--passwordeval=cat '{}'", secret.display()));
        msmtp.args([
            &format!("--user={}", attempt.user),
            &format!("--from={}", attempt.from),
            "--",
            attempt.to,
        ]);
        finish(&mut msmtp, b"Subject: by submission\n\nhello\n")
    });
}

const SMTPLIB: &str = r#"
import smtplib, ssl, sys
port, way, certificate, user, password, sender, recipient = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
if way == "starttls":
    server = smtplib.SMTP("localhost", int(port))
    server.ehlo()
    assert not server.has_extn("auth"), "AUTH in plain"
    server.starttls(context=context)
else:
    server = smtplib.SMTP_SSL("localhost", int(port), context=context)
server.login(user, password)
server.sendmail(sender, [recipient], b"Subject: by submission\r\n\r\nhello\r\n")
server.quit()
"#;

#[test]
fn smtplib_submits() {
    each_attempt("python3", |post, way, attempt| {
        let mut python = Command::new("python3");
        python.args([
            "-c",
            SMTPLIB,
            &post.port(way),
            if way == Way::StartTls { "starttls" } else { "implicit" },
        ]);
        python.arg(post.certificate());
        python.args([attempt.user, attempt.password, attempt.from, attempt.to]);
        finish(&mut python, b"")
    });
}

const NODEMAILER: &str = r#"
const [port, way, certificate, user, pass, from, to] = process.argv.slice(1);
const transport = require("nodemailer").createTransport({
  host: "localhost", port: Number(port), secure: way === "implicit", requireTLS: true,
  tls: { ca: require("fs").readFileSync(certificate) }, auth: { user, pass },
});
transport.sendMail({ from, to, subject: "by submission", text: "hello" })
  .then(() => process.exit(0), (error) => { console.error(error.response || error); process.exit(1); });
"#;

#[test]
fn nodemailer_submits() {
    let has_it = || {
        let mut node = Command::new("node");
        node.env("NODE_PATH", NODE_PATH).args(["-e", "require('nodemailer')"]);
        finish(&mut node, b"").status.success()
    };
    if !has_tool("node") || !has_it() {
        println!("skipped: nodemailer is not installed");
        return;
    }
    each_attempt("node", |post, way, attempt| {
        let mut node = Command::new("node");
        node.env("NODE_PATH", NODE_PATH).args(["-e", NODEMAILER, &post.port(way)]);
        node.arg(if way == Way::StartTls { "starttls" } else { "implicit" }).arg(post.certificate());
        node.args([attempt.user, attempt.password, attempt.from, attempt.to]);
        finish(&mut node, b"")
    });
}

/// Where Debian's packages of modules lie.
const NODE_PATH: &str = "/usr/share/nodejs";

#[test]
fn openssl_shakes_hands_and_a_dialogue_by_hand_follows() {
    if !has_tool("openssl") {
        return;
    }
    for way in WAYS {
        let post = Post::new();
        let auth = accounts::auth("alice@example.com");
        let dialogue = format!(
            "EHLO client.example\r\n{auth}MAIL FROM:<info@example.com>\r\n\
             RCPT TO:<bob+tag@Example.COM>\r\nDATA\r\nSubject: by hand\r\n\r\nhello\r\n.\r\nQUIT\r\n"
        );
        let output = s_client(&post, way, dialogue.as_bytes());
        let said = text(&output);
        assert!(said.contains("Verify return code: 0 (ok)") || said.contains("Verification: OK"), "{said}");
        for reply in ["235 2.7.0 ", "250 2.1.0 ", "250 2.1.5 ", "354 ", "250 2.0.0 queued as ", "221 2.0.0 "]
        {
            assert!(said.contains(reply), "{reply}: {said}");
        }
        let files = wait_for_mail(&post.data, 1);
        assert!(files[0].starts_with(post.data.join("mailboxes/example.com/bob")), "{files:?}");
    }
}

/// `openssl s_client`, which sends a line once it was answered.
fn s_client(post: &Post, way: Way, dialogue: &[u8]) -> Output {
    let mut client = Command::new("timeout");
    client.args(["20", "openssl", "s_client", "-connect", &post.address(way).to_string()]);
    client.args(["-servername", "localhost", "-ign_eof", "-verify_hostname", "localhost", "-CAfile"]);
    client.arg(post.certificate());
    if way == Way::StartTls {
        client.args(["-starttls", "smtp"]);
    }
    finish(&mut client, dialogue)
}

#[test]
fn gsasl_proves_that_it_knows_the_password_and_binds_that_to_the_channel() {
    if !has_tool("gsasl") {
        return;
    }
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"] {
        for (password, is_right) in [(PASSWORD, true), (WRONG, false)] {
            let post = Post::new();
            let mut gsasl = Command::new("gsasl");
            gsasl.args(["--smtp", "--connect", &format!("localhost:{}", post.port(Way::StartTls))]);
            gsasl.arg(format!("--x509-ca-file={}", post.certificate().display()));
            gsasl.args(["--mechanism", mechanism, "--authentication-id", "alice@example.com"]);
            gsasl.args(["--authorization-id", "alice@example.com", "--password", password, "--verbose"]);
            if mechanism == "SCRAM-SHA-256" {
                gsasl.arg("--no-cb"); // who can bind takes no mechanism that does not
            }
            let output = finish(&mut gsasl, b"QUIT\n");
            let said = text(&output);
            assert_eq!(said.contains("235 2.7.0 "), is_right, "{mechanism}: {said}\n{}", post.server.log());
        }
    }
}

#[test]
fn without_tls_no_password_is_asked_for_and_no_mail_taken() {
    let post = Post::new();
    let mut talk = Talk::new(TcpStream::connect(post.address(Way::StartTls)).unwrap());
    assert!(talk.reply().starts_with("220 "));
    let hello = talk.say("EHLO client.example\r\n", "250");
    assert!(hello.contains("STARTTLS") && !hello.contains("AUTH"), "{hello}");
    talk.say("AUTH PLAIN AGFsaWNlAHg=\r\n", "538 5.7.11");
    talk.say("MAIL FROM:<alice@example.com>\r\n", "530 5.7.0");
    talk.say("NOOP\r\n", "250");
    drop(talk);
    post.assert_nothing_came();
}

#[test]
fn anybody_may_send_to_users_and_to_nobody_else_where_mail_comes_in() {
    let post = Post::new();
    let mut talk = post.server.connect();
    talk.hello();
    talk.say("MAIL FROM:<someone@elsewhere.example>\r\n", "250");
    for (recipient, reply) in [
        ("alice@example.com", "250"),
        ("ALICE+lists@EXAMPLE.com", "250"),
        ("info@example.com", "250"),
        ("Postmaster@example.com", "250"),
        ("nobody@example.com", "550 5.1.1"),
        ("someone@elsewhere.example", "550 5.7.1"),
        ("alice@mail.example.com", "550 5.7.1"),
    ] {
        talk.say(format!("RCPT TO:<{recipient}>\r\n"), reply);
    }
    talk.say("RCPT TO:<Postmaster>\r\n", "250");
}

fn user(data: &Path, arguments: &[&str], password: &str) {
    let mut user = Command::new(PROGRAM);
    user.arg("user").args(arguments).arg("--data").arg(data);
    let output = finish(&mut user, format!("{password}\n").as_bytes());
    assert!(output.status.success(), "{}", text(&output));
}

/// What a recipient is told, on a connection of its own: a session has only so many unknown ones.
fn recipient(post: &Post, address: &str) -> String {
    let mut talk = post.server.connect();
    talk.hello();
    talk.say("MAIL FROM:<someone@elsewhere.example>\r\n", "250");
    talk.send(format!("RCPT TO:<{address}>\r\n"));
    talk.reply()
}

#[test]
fn accounts_that_change_are_known_without_a_restart() {
    let post = Post::new();
    assert!(recipient(&post, "carol@example.com").starts_with("550 5.1.1 "));
    user(&post.data, &["add", "carol@example.com"], PASSWORD);
    wait_until("carol is known", || recipient(&post, "carol@example.com").starts_with("250 "));
    // A broken file changes nothing, and is named with the line.
    let file = post.data.join("accounts.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{good}\n[[account]]\naddress = \"broken\"\n")).unwrap();
    wait_until("the log tells of it", || post.server.log().contains("accounts.toml:"));
    assert!(recipient(&post, "carol@example.com").starts_with("250 "));
    fs::write(&file, good).unwrap();
    user(&post.data, &["remove", "carol@example.com"], "");
    wait_until("carol is gone", || recipient(&post, "carol@example.com").starts_with("550 5.1.1 "));
}

/// A file that went missing once made every address a mailbox.
#[test]
fn accounts_hold_when_their_file_is_gone() {
    let post = Post::new();
    fs::remove_file(post.data.join("accounts.toml")).unwrap();
    let told = || post.server.log().matches("accounts.toml: the accounts file is gone; put it back").count();
    wait_until("the log tells of it", || told() == 1);
    assert!(recipient(&post, "carol@example.com").starts_with("550 5.1.1 "));
    post.server.signal("HUP");
    wait_until("it is told again", || told() == 2);
    assert!(recipient(&post, "carol@example.com").starts_with("550 5.1.1 "));
    assert!(recipient(&post, "alice@example.com").starts_with("250 "));
}

#[test]
fn an_accounts_file_that_was_named_must_be_there() {
    let (root, data) = data();
    let named = root.path().join("users.toml");
    let output = Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1:0", "--accounts"])
        .arg(&named)
        .arg("--data")
        .arg(&data)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let sentence =
        format!("{}: there is no such accounts file; 'fastsmtp user add' makes it", named.display());
    assert!(said.contains(&sentence), "{said}");
}

#[test]
fn a_full_mailbox_takes_no_more_until_something_is_removed() {
    let post = Post::new();
    user(&post.data, &["set", "bob@example.com", "--quota", "10KiB"], "");
    wait_until("the quota is known", || post.server.log().matches("accounts: 4 in ").count() == 2);
    let mut talk = post.server.connect();
    talk.hello();
    let mail = format!("Subject: 4 KiB\r\n\r\n{}\r\n.\r\n", "x".repeat(70).repeat(58));
    let recipients = |talk: &mut Talk| {
        talk.say("MAIL FROM:<someone@elsewhere.example>\r\n", "250");
        talk.send(b"RCPT TO:<bob@example.com>\r\n");
        talk.reply()
    };
    let mut taken = 0;
    wait_until("the mailbox is full", || {
        let reply = recipients(&mut talk);
        if reply.starts_with("452 4.2.2 ") {
            talk.say("RSET\r\n", "250");
            return true;
        }
        assert!(reply.starts_with("250 "), "{reply}");
        talk.say("DATA\r\n", "354");
        talk.say(&mail, "250");
        taken += 1;
        false
    });
    assert!((3..50).contains(&taken), "{taken}");
    // Others are not full.
    talk.say("MAIL FROM:<someone@elsewhere.example>\r\n", "250");
    talk.say("RCPT TO:<alice@example.com>\r\n", "250");
    talk.say("RSET\r\n", "250");
    for file in wait_for_mail(&post.data, taken) {
        fs::remove_file(file).unwrap();
    }
    wait_until("there is room again", || {
        let reply = recipients(&mut talk);
        talk.say("RSET\r\n", "250");
        reply.starts_with("250 ")
    });
}

#[test]
fn however_many_names_it_was_asked_for_a_mailbox_has_a_message_once_and_its_quota_counts_it_once() {
    let post = Post::new();
    user(&post.data, &["set", "bob@example.com", "--quota", "100KiB"], "");
    wait_until("the quota is known", || post.server.log().matches("accounts: 4 in ").count() == 2);
    let mut talk = post.server.connect();
    talk.hello();
    talk.say("MAIL FROM:<someone@elsewhere.example>\r\n", "250");
    for tag in 0..50 {
        talk.say(format!("RCPT TO:<bob+{tag}@example.com>\r\n"), "250");
    }
    talk.say("DATA\r\n", "354");
    talk.say(format!("Subject: 20 KiB\r\n\r\n{}.\r\n", "0123456789\r\n".repeat(1700)), "250");
    let files = wait_for_mail(&post.data, 1);
    let text = fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains("for <bob@example.com>"), "{}", &text[..400]);
    assert!(recipient(&post, "bob@example.com").starts_with("250 "));
    assert_eq!(delivered(&post.data.join("mailboxes")).len(), 1);
}
