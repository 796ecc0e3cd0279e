//! The menu, as people and programs use it: through a pipe and in a real terminal, on the data directory and over the network,
//! against the real server.

mod common;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use common::accounts::{PASSWORD, keep};
use common::server::{PROGRAM, Server, data, delivered, has_tool, wait_for_mail};
use common::terminal::Terminal;

const DATA: i32 = 65;
const NO_USER: i32 = 67;
const UNAVAILABLE: i32 = 69;
const PERMISSION: i32 = 77;

/// The menu at the end of pipes.
fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("COLUMNS", "80").arg("menu").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The menu with what is typed into its pipe.
fn menu(arguments: &[&str], lines: &[&str]) -> Output {
    let mut child = start(arguments);
    let typed: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // Whoever ended early does not read the rest.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

/// What the menu said until it ended well.
#[track_caller]
fn menu_ok(arguments: &[&str], lines: &[&str]) -> String {
    said_well(menu(arguments, lines))
}

#[track_caller]
fn said_well(output: Output) -> String {
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(steers), "nothing that steers a terminal: {said:?}");
    said
}

/// A server, and the arguments for a menu on its data directory.
struct Here {
    _root: tempfile::TempDir,
    data: PathBuf,
    server: Server,
    arguments: Vec<String>,
}

impl Here {
    fn new() -> Here {
        let (root, data) = data();
        let server = Server::start(&data, &[]);
        let smtp = server.address().to_string();
        let arguments =
            ["--data", data.to_str().unwrap(), "--smtp-server", &smtp].map(str::to_owned).to_vec();
        Here { _root: root, data, server, arguments }
    }

    #[track_caller]
    fn menu(&self, lines: &[&str]) -> String {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        menu_ok(&arguments, lines)
    }
}

const COMPOSE: [&str; 6] = ["1", "alice@example.com", "Grüße", "one", ".", "y"];

#[test]
fn what_one_sends_to_oneself_is_viewed_read_and_removed() {
    let here = Here::new();
    let said = here.menu(&[&["alice@example.com"], &COMPOSE[..], &["3"]].concat());
    assert!(said.contains("Subject: Grüße\nText:    1 line\n"), "{said}");
    assert!(said.contains("Sent to 1 recipient.\n"), "{said}");
    wait_for_mail(&here.data, 1);
    let said = here.menu(&["alice@example.com", "2", "1", "d 1", "y", "1", "", "2", "3"]);
    let listed = said.lines().find(|line| line.starts_with(" 1 N ")).unwrap_or_else(|| panic!("{said}"));
    assert!(listed.contains("alice@example.com") && listed.contains("Grüße"), "{said}");
    assert!(said.contains("Subject:  Grüße\n\none\n"), "{said}");
    assert!(said.contains("Removed 1.\n") && said.contains("there is no mail 1"), "{said}");
    assert!(said.contains("There is no mail.\n"), "{said}");
    assert_eq!(delivered(&here.data), [""; 0].map(PathBuf::from));
    assert!(here.server.stop().success());
}

#[test]
fn the_end_of_a_pipe_leaves_and_sends_nothing_that_was_not_agreed_to() {
    let here = Here::new();
    for lines in [&[][..], &["alice@example.com"]] {
        here.menu(lines);
    }
    let arguments: Vec<&str> = here.arguments.iter().map(String::as_str).collect();
    let output = menu(&arguments, &["alice@example.com", "1", "alice@example.com", "s", "text"]);
    assert_eq!(output.status.code(), Some(DATA));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "fastsmtp: the input ended within the mail; nothing was sent\n");
    let said = here.menu(&["alice@example.com", "1", "alice@example.com", "s", ".", "n", "2", "3"]);
    assert!(said.contains("Nothing is sent.\n") && said.contains("There is no mail.\n"), "{said}");
    assert!(here.server.stop().success());
}

#[test]
fn a_refusal_is_told_with_the_recipient_that_it_is_about() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--local-domain", "example.com"]);
    let smtp = server.address().to_string();
    let arguments = ["--data", data.to_str().unwrap(), "--smtp-server", &smtp, "--user", "alice@example.com"];
    let fails = |lines: &[&str]| {
        let output = menu(&arguments, lines);
        assert_eq!(output.status.code(), Some(UNAVAILABLE));
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap())
    };
    let [said, error] = fails(&["1", "alice@example.com, bob@elsewhere.example", "", "x", ".", "", "3"]);
    assert!(error.starts_with("fastsmtp: not sent to bob@elsewhere.example: 550 5.7.1 "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(said.contains("Sent to 1 recipient.\n"), "{said}");
    wait_for_mail(&data, 1);
    assert!(server.stop().success());
    let [said, error] = fails(&["1", "alice@example.com", "", "unsent words", ".", "", "2", "", "3"]);
    assert!(error.contains(&smtp) && said.contains(" 1 "), "no server answers, the mailbox is there: {said}");
    let (_, place) = said.split_once("The text is kept in ").unwrap();
    let place = place.split_once(';').unwrap().0;
    assert_eq!(fs::read_to_string(place).unwrap(), "unsent words\n");
    fs::remove_file(place).unwrap();
}

#[test]
fn a_mail_cannot_steer_the_terminal() {
    let here = Here::new();
    let mut talk = here.server.connect();
    talk.hello();
    talk.say("MAIL FROM:<evil@client.example>\r\n", "250");
    talk.say("RCPT TO:<alice@example.com>\r\n", "250");
    talk.say("DATA\r\n", "354");
    let mail = "From: =?utf-8?q?a=1b[2Jb?= <evil@client.example>\r\nSubject: x\x1b]0;y\x07\u{202e}z\r\n\r\n\x1b[31mred\u{9b}2J\r\n.\r\n";
    talk.say(mail, "250");
    wait_for_mail(&here.data, 1);
    // `menu` insists on it.
    let said = here.menu(&["alice@example.com", "2", "1", "d 1", "n", "", "3"]);
    assert!(said.contains("\\x1b[31mred"), "{said}");
    assert!(here.server.stop().success());
}

#[test]
fn an_address_that_nobody_has_may_be_mended_twice() {
    let (_root, data) = data();
    keep(&data);
    let arguments = ["--data", data.to_str().unwrap()];
    let said = menu_ok(&arguments, &["nobody@example.com", "no address", "alice@example.com", "2", "3"]);
    assert!(said.contains("no mailbox nobody@example.com"), "{said}");
    assert!(
        said.contains("Signed in as alice@example.com.\n") && said.contains("There is no mail.\n"),
        "{said}"
    );
    let output = menu(&arguments, &["nobody@example.com"; 3]);
    assert_eq!(output.status.code(), Some(NO_USER));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("fastsmtp: no mailbox nobody@example.com"));
}

/// A server with accounts, POP3 and submission, all in TLS; where they are, and how the menu is told.
fn there() -> (tempfile::TempDir, PathBuf, Server, Vec<String>) {
    let (root, data) = data();
    keep(&data);
    let listen = ["--listen-pop3", "127.0.0.1:0", "--listen-submission", "127.0.0.1:0", "--tls-self-signed"];
    let server = Server::start(&data, &listen);
    let at = |address: SocketAddr| format!("localhost:{}", address.port());
    let ca = data.join("tls-cert.pem").display().to_string();
    let (pop3, smtp) = (at(server.pop3[0]), at(server.submission[0]));
    let arguments = ["--server", &pop3, "--smtp-server", &smtp, "--ca", &ca].map(str::to_owned).to_vec();
    (root, data, server, arguments)
}

#[test]
fn over_the_network_the_password_is_asked_for_and_mail_is_sent_viewed_and_removed() {
    let (_root, data, server, arguments) = there();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = start(&arguments);
    let mut typed = child.stdin.take().unwrap();
    let mut say = |lines: &[&str]| typed.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    say(&["alice@example.com", "wrong", "alice@example.com", PASSWORD]);
    say(&COMPOSE);
    wait_for_mail(&data, 1);
    say(&["2", "1", "d 1", "y", "", "2", "3"]);
    let said = said_well(child.wait_with_output().unwrap());
    assert!(said.contains("may not log in") && said.contains("Sent to 1 recipient.\n"), "{said}");
    assert!(said.contains("Subject:  Grüße\n\none\n"), "{said}");
    assert!(said.contains("Removed 1.\n") && said.contains("There is no mail.\n"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(server.stop().success());
}

#[test]
fn the_password_may_be_the_first_line_of_the_pipe() {
    let (_root, _data, server, arguments) = there();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let named = [&arguments[..], &["--user", "alice@example.com", "--password-file", "-"]].concat();
    let said = menu_ok(&named, &[PASSWORD, "2", "3"]);
    assert!(said.contains("There is no mail.\n"), "{said}");
    assert!(server.stop().success());
}

#[test]
fn after_three_wrong_passwords_it_ends() {
    let (_root, _data, server, arguments) = there();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let named = [&arguments[..], &["--user", "alice@example.com"]].concat();
    let output = menu(&named, &["one", "two", "three", PASSWORD, "3"]);
    assert_eq!(output.status.code(), Some(PERMISSION));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches("may not log in").count(), 2, "{said}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("fastsmtp: ") && error.lines().count() == 1, "{error}");
    assert!(server.stop().success());
}

/// The menu in a terminal.
fn in_terminal(arguments: &[&str]) -> Terminal {
    Terminal::start(Command::new(PROGRAM).arg("menu").args(arguments))
}

/// Types a line, once the screen ends with this prompt.
fn answer(terminal: &Terminal, prompt: &str, line: &str) {
    key(terminal, prompt, line, "Enter");
}

/// The same with another key at the end.
fn key(terminal: &Terminal, prompt: &str, line: &str, key: &str) {
    terminal.wait_until(prompt, |screen| screen.trim_end().ends_with(prompt));
    if !line.is_empty() {
        terminal.type_text(line);
    }
    terminal.press(&[key]);
}

#[test]
fn in_a_terminal_lines_are_edited_and_ctrl_c_goes_back_to_the_menu() {
    if !has_tool("tmux") {
        return;
    }
    let here = Here::new();
    let arguments: Vec<&str> = here.arguments.iter().map(String::as_str).collect();
    let tmux = in_terminal(&arguments);
    key(&tmux, "Your address:", "xlice@example.com", "Home");
    tmux.press(&["Delete", "a", "Enter"]);
    answer(&tmux, "3 exit\n>", "1");
    key(&tmux, "To:", "bob@example.com", "C-c");
    tmux.wait_for("Nothing is sent.");
    answer(&tmux, "3 exit\n>", "1");
    answer(&tmux, "To:", "alice@example.com");
    answer(&tmux, "Subject:", "from a terminal");
    // As if it were pasted, before anybody asks for it.
    tmux.press(&["o", "n", "e", "Enter", "t", "w", "o", "Enter", ".", "Enter"]);
    answer(&tmux, "Send? [Y/n]", "");
    tmux.wait_for("Sent to 1 recipient.");
    wait_for_mail(&here.data, 1);
    answer(&tmux, "3 exit\n>", "2");
    answer(&tmux, "Number, d number, or Enter:", "1");
    tmux.wait_for("Subject:  from a terminal\n\none\ntwo\n");
    answer(&tmux, "Number, d number, or Enter:", "d 1");
    answer(&tmux, "Remove it? [y/N]", "y");
    tmux.wait_for("Removed 1.");
    answer(&tmux, "Number, d number, or Enter:", "");
    key(&tmux, "3 exit\n>", "", "C-d");
    assert_eq!(tmux.end(), 0);
    assert_eq!(delivered(&here.data).len(), 0);
    assert!(here.server.stop().success());
}

#[test]
fn in_a_terminal_a_password_is_not_shown() {
    if !has_tool("tmux") {
        return;
    }
    let (_root, _data, server, arguments) = there();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let tmux = in_terminal(&[&["--user", "alice@example.com"], &arguments[..]].concat());
    answer(&tmux, "Password:", PASSWORD);
    let screen = tmux.wait_for("3 exit\n>");
    assert!(!screen.contains(PASSWORD), "{screen}");
    answer(&tmux, "3 exit\n>", "3");
    assert_eq!(tmux.end(), 0);
    assert!(server.stop().success());
}

#[test]
fn a_wrong_command_line_is_told_before_anybody_is_asked() {
    for (arguments, says) in [
        (&["--user", "alice"][..], "--user: 'alice' is no address"),
        (&["--smtp-server", "a:b"], "'a:b' is no server"),
        (&["--server", "a", "--data", "b"], "cannot be used with"),
        (&["--server", "a", "--tls", "off", "--insecure"], "--insecure: "),
    ] {
        let output = menu(arguments, &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says) && output.stdout.is_empty(), "{error}");
    }
}
