//! AUTH as a client: each mechanism with the right and the wrong password, and a password that nobody else sees.

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::peer::{certificate, serve};
use common::post::Post;
use common::{Ran, command, finish, run, spawn};
use fastsmtp::wire::sasl;

const PASSWORD: &str = "s3cret-Pa55 word";
const MECHANISMS: [&str; 3] = ["plain", "login", "scram-sha-256"];

fn post() -> Post {
    Post {
        starttls: Some(certificate("127.0.0.1").server),
        account: Some(("tim", PASSWORD)),
        ..Post::default()
    }
}

/// Runs with a password in the environment.
fn run_with(address: std::net::SocketAddr, arguments: &str, password: &str) -> Ran {
    finish(spawn(command(address, &format!("{arguments} --json -")).env("LOADGEN_PASSWORD", password)))
}

#[test]
fn each_mechanism_proves_the_right_password() {
    for mechanism in MECHANISMS {
        let (server, book) = post().open();
        let arguments =
            format!("--conns 3 --messages 9 --tls starttls --insecure --auth {mechanism} --user tim");
        let ran = run_with(server.address, &arguments, PASSWORD);
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 9), "{mechanism}: {}", ran.stderr);
        assert_eq!(book.lock().unwrap().len(), 9);
        assert_eq!((ran.count("/phases/auth/count"), ran.count("/phases/tls/count")), (3, 3));
        assert!(ran.number("/phases/auth/max_us") > 0.0);
        assert_eq!(ran.text("/speaking/auth"), mechanism);
        assert_eq!((ran.replies(235), server.content()), (3, 3));
    }
}

#[test]
fn a_wrong_password_is_no_service_and_the_reply_is_quoted() {
    for mechanism in MECHANISMS {
        let (server, book) = post().open();
        let arguments =
            format!("--conns 3 --messages 9 --tls starttls --insecure --auth {mechanism} --user tim");
        let ran = run_with(server.address, &arguments, "wrong-Pa55");
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(3), 0), "{mechanism}: {}", ran.stderr);
        let verdict = ran.text("/verdict");
        assert!(
            verdict.contains("535 5.7.8 wrong name or password") && verdict.contains("AUTH"),
            "{verdict}"
        );
        assert_eq!((book.lock().unwrap().len(), ran.count("/connection_failures/refused")), (0, 1));
        // Asked once, not three times: nobody's account is to be locked.
        assert_eq!(server.content(), 1);
    }
}

#[test]
fn a_password_is_not_said_in_the_clear_unless_that_is_asked_for() {
    for mechanism in ["plain", "login"] {
        let clear = Post { starttls: None, ..post() };
        let (server, book) = clear.clone().open();
        let arguments = format!("--conns 2 --messages 4 --auth {mechanism} --user tim");
        let ran = run_with(server.address, &arguments, PASSWORD);
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(3), 0), "{}", ran.stderr);
        let verdict = ran.text("/verdict");
        assert!(verdict.contains("without TLS") && verdict.contains("--plaintext-auth"), "{verdict}");
        server.content();
        let (server, _) = clear.open();
        let ran = run_with(server.address, &format!("{arguments} --plaintext-auth"), PASSWORD);
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 4), "{}", ran.stderr);
        assert!(book.lock().unwrap().is_empty());
    }
    // SCRAM says no password.
    let (server, _) = Post { starttls: None, ..post() }.open();
    let ran = run_with(server.address, "--conns 2 --messages 4 --auth scram-sha-256 --user tim", PASSWORD);
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 4), "{}", ran.stderr);
}

#[test]
fn a_mechanism_that_is_not_offered_ends_the_run() {
    let (server, _) = Post { account: None, ..post() }.open();
    let arguments = "--conns 2 --messages 4 --tls starttls --insecure --user tim --auth";
    let ran = run_with(server.address, &format!("{arguments} scram-sha-256"), PASSWORD);
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert!(ran.text("/verdict").contains("does not offer AUTH SCRAM-SHA-256"), "{}", ran.text("/verdict"));
}

/// Every form in which the password might show.
fn shows_password(text: &str) -> bool {
    let forms = [
        PASSWORD.to_owned(),
        "s3cret".to_owned(),
        sasl::encode(PASSWORD.as_bytes()),
        sasl::encode(&sasl::plain("tim", PASSWORD)),
    ];
    forms.iter().any(|form| text.contains(form.as_str()))
}

#[test]
fn the_password_comes_from_a_file_standard_input_or_the_environment_and_shows_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("password"), format!("{PASSWORD}\r\nwhat stands behind it is a comment\n")).unwrap();
    for (way, right) in [("file", true), ("-", true), ("environment", true), ("environment", false)] {
        let (server, book) = post().open();
        let mut command = command(
            server.address,
            "--conns 2 --messages 4 --tls starttls --insecure --auth plain --user tim --json -",
        );
        for output in ["csv", "html", "hdr", "ledger"] {
            command.arg(format!("--{output}")).arg(path(output));
        }
        match way {
            "file" => command.arg("--password-file").arg(path("password")),
            "-" => command.args(["--password-file", "-"]).stdin(Stdio::piped()),
            _ => command.env("LOADGEN_PASSWORD", if right { PASSWORD } else { "s3cret-wrong" }),
        };
        let mut child = spawn(&mut command);
        let proc = format!("/proc/{}", child.id());
        if let Some(mut stdin) = child.stdin.take() {
            // It waits for the password, so that it is there to be looked at.
            let mut arguments = String::new();
            while arguments.is_empty() {
                arguments = fs::read_to_string(format!("{proc}/cmdline")).unwrap();
            }
            assert!(arguments.contains("--auth") && !shows_password(&arguments));
            assert!(!shows_password(&fs::read_to_string(format!("{proc}/environ")).unwrap()));
            writeln!(stdin, "{PASSWORD}").unwrap();
        }
        let ran = finish(child);
        let accepted = if right { 4 } else { 0 };
        assert_eq!(
            (ran.code(), ran.count("/accepted")),
            (Some(if right { 0 } else { 3 }), accepted),
            "{way}"
        );
        assert_eq!(book.lock().unwrap().len() as u64, accepted);
        let files = ["csv", "html", "hdr", "ledger"].map(|output| fs::read_to_string(path(output)).unwrap());
        for text in files.iter().chain([&ran.stdout, &ran.stderr]) {
            assert!(!shows_password(text), "{way}: {text}");
        }
    }
}

#[test]
fn a_server_that_echoes_what_it_was_told_does_not_bring_the_password_into_the_report() {
    for (mechanism, echo) in [
        ("plain", sasl::encode(&sasl::plain("tim", PASSWORD))),
        ("login", sasl::encode(PASSWORD.as_bytes())),
        ("plain", PASSWORD.to_owned()),
    ] {
        let reply = format!("535 5.5.4 not understood: {echo}\r\n");
        let server = serve(move |peer| {
            peer.say("220 mx.example ESMTP\r\n")?;
            peer.hear_line()?;
            peer.say("250-mx.example\r\n250 AUTH PLAIN LOGIN\r\n")?;
            peer.hear_line()?;
            peer.say(&reply)?;
            peer.wait_for_end();
            Ok(())
        });
        let arguments = format!("--timeout 1s --plaintext-auth --auth {mechanism} --user tim");
        let ran = run_with(server.address, &arguments, PASSWORD);
        assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
        assert!(ran.text("/verdict").contains("535, and a text that shows the password"), "{}", ran.stderr);
        assert!(!shows_password(&ran.stderr) && !shows_password(&ran.stdout), "{}", ran.stderr);
    }
}

#[test]
fn a_password_that_is_missing_or_empty_is_told_by_where_it_was_looked_for() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    fs::write(&empty, "\nsecond line\n").unwrap();
    let (server, _) = post().open();
    let told = |arguments: &[&str], password: Option<&str>, name: &str| {
        let mut command = command(server.address, "--plaintext-auth");
        command.args(arguments);
        command.envs(password.map(|password| ("LOADGEN_PASSWORD", password)));
        let ran = finish(spawn(&mut command));
        assert_eq!((ran.code(), &ran.stdout[..]), (Some(2), ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
    };
    let auth = ["--auth", "plain", "--user", "tim"];
    told(&auth, None, "LOADGEN_PASSWORD");
    told(&auth, Some(""), "LOADGEN_PASSWORD");
    let with = |path: &str| [&auth[..], &["--password-file", path]].concat().join("\n");
    let split = |text: String| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    for (path, name) in [
        (empty.to_str().unwrap(), "first line"),
        ("-", "standard input"),
        ("/no/such/file", "/no/such/file"),
        ("/", "--password-file"),
    ] {
        let arguments = split(with(path));
        told(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), Some("x"), name);
    }
    told(&["--auth", "plain"], Some("x"), "--user");
    told(&["--user", "tim"], Some("x"), "--auth");
    told(&["--auth", "cram-md5", "--user", "tim"], Some("x"), "--auth");
    told(&["--auth", "plain", "--user", ""], Some("x"), "--user");
    let _ = run(server.address, "--messages 1");
}

#[test]
fn a_server_that_does_not_prove_itself_in_scram_is_not_believed() {
    let server = serve(|peer| {
        peer.say("220 mx.example ESMTP\r\n")?;
        peer.hear_line()?;
        peer.say("250-mx.example\r\n250 AUTH SCRAM-SHA-256\r\n")?;
        let line = peer.hear_line()?;
        let first = sasl::decode(line.rsplit(' ').next().unwrap().as_bytes()).unwrap();
        let nonce = String::from_utf8(first).unwrap().rsplit_once("r=").unwrap().1.to_owned();
        peer.say(&format!("334 {}\r\n", sasl::encode(format!("r={nonce}x,s=AAAA,i=4096").as_bytes())))?;
        peer.hear_line()?;
        // It takes any proof, and has none of its own.
        peer.say("235 2.7.0 welcome\r\n")?;
        peer.wait_for_end();
        peer.hear("")
    });
    let ran = run_with(server.address, "--auth scram-sha-256 --user tim", PASSWORD);
    assert_eq!((ran.code(), ran.count("/offered")), (Some(3), 0), "{}", ran.stderr);
    assert!(ran.stderr.contains("the server failed in AUTH"), "{}", ran.stderr);
    server.content();
}
