//! Held mail, asked of the real program: what becomes of a message whose mailbox cannot be written, and what
//! `fastsmtp queue` shows and does of it, beside a running server and without one.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::server::{PATIENCE, PROGRAM, Server, data, delivered, wait_for_mail};

const NO_INPUT: i32 = 66;

/// `fastsmtp queue` with these arguments.
fn queue(data: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).env_clear().args(["queue", "--data"]).arg(data).args(arguments).output().unwrap()
}

#[track_caller]
fn queue_ok(data: &Path, arguments: &[&str]) -> String {
    let output = queue(data, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn queue_json(data: &Path, arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&queue_ok(data, &[&["--json"], arguments].concat())).unwrap()
}

/// A server over which the mailbox of broken@example.com cannot be made: a file is in its way.
fn server_with_obstacle() -> (tempfile::TempDir, PathBuf, Server) {
    let (root, data) = data();
    fs::create_dir_all(data.join("mailboxes/example.com")).unwrap();
    fs::write(obstacle(&data), "in the way").unwrap();
    let server = Server::start(&data, &[]);
    (root, data, server)
}

fn obstacle(data: &Path) -> PathBuf {
    data.join("mailboxes/example.com/broken")
}

fn mend(data: &Path) {
    fs::remove_file(obstacle(data)).unwrap();
}

/// Sends one message, and gives its queue id.
fn send(server: &Server, recipients: &[&str]) -> String {
    let mut talk = server.connect();
    talk.hello();
    talk.say("MAIL FROM:<sender@client.example>\r\n", "250");
    for recipient in recipients {
        talk.say(format!("RCPT TO:<{recipient}@example.com>\r\n"), "250");
    }
    talk.say("DATA\r\n", "354");
    let reply = talk.say("Subject: held \x1b[2J\r\n\r\nbody\r\n.\r\n", "250");
    reply.trim().rsplit(' ').next().unwrap().to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Waits until so many messages are held, and the log has settled them.
fn wait_for_held(data: &Path, server: &Server, count: usize) -> serde_json::Value {
    wait_until("it is held", || server.log().matches(" held id=").count() >= count);
    wait_until("the log is empty", || queue_json(data, &["list"])["in_log"] == 0);
    let list = queue_json(data, &["list"]);
    assert_eq!(list["held"].as_array().unwrap().len(), count, "{list}");
    list
}

#[test]
fn a_message_is_held_for_the_mailbox_that_cannot_be_written_and_goes_there_when_it_is_released() {
    let (_root, data, server) = server_with_obstacle();
    let id = send(&server, &["one", "broken", "two"]);
    wait_for_mail(&data, 2);
    let waiting = queue_json(&data, &["list", "--waiting"]);
    if waiting["in_log"] == 1 {
        assert_eq!(waiting["waiting"][0]["id"], id.as_str(), "{waiting}");
        assert_eq!(waiting["waiting"][0]["recipients"].as_array().unwrap().len(), 3);
    }
    let list = wait_for_held(&data, &server, 1);
    let held = &list["held"][0];
    assert_eq!(held["id"], id.as_str());
    assert_eq!(held["sender"], "sender@client.example");
    assert_eq!(held["recipients"], serde_json::json!(["broken@example.com"]));
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.contains("mailboxes/example.com/broken: Not a directory"), "{reason}");
    assert_eq!(
        server.log().matches("deferred id=").count(),
        2,
        "the third attempt holds it: {}",
        server.log()
    );

    let text = queue_ok(&data, &[]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in
        [&*id, "sender@client.example", "broken@example.com", "1 held message\n", "0 messages in the log\n"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let shown = queue_ok(&data, &["show", &id]);
    assert!(shown.contains("Subject: held \\x1b[2J\n"), "{shown}");
    let one = delivered(&data.join("mailboxes/example.com/one"))[0].clone();
    assert_eq!(queue(&data, &["show", "--raw", &id]).stdout, fs::read(&one).unwrap());

    fs::remove_file(&one).unwrap(); // its reader is done with it
    let released = queue_ok(&data, &["release", &id]);
    assert_eq!(released, "released 1 message: the server tries again now\n");
    wait_until("it fails again", || server.log().matches("deferred id=").count() == 3);
    mend(&data);
    assert_eq!(queue_json(&data, &["release", "--all"])["taken_up"], true);
    wait_until("it is let go", || queue_json(&data, &["list"])["held"] == serde_json::json!([]));
    wait_until("the log says so", || server.log().contains(&format!("released id={id}")));
    assert_eq!(delivered(&data.join("mailboxes/example.com/broken")).len(), 1);
    assert_eq!(server.stop().code(), Some(0));
    assert!(delivered(&data.join("mailboxes/example.com/one")).is_empty(), "nobody has it twice");
}

#[test]
fn a_large_message_is_held_without_a_copy_and_survives_kill_and_restart() {
    let (_root, data, server) = server_with_obstacle();
    let content = format!("Subject: large\r\n\r\n{}", "0123456789abcde\r\n".repeat((3 << 20) / 17));
    let mut talk = server.connect();
    talk.hello();
    talk.say("MAIL FROM:<sender@client.example>\r\n", "250");
    talk.say("RCPT TO:<one@example.com>\r\n", "250");
    talk.say("RCPT TO:<broken@example.com>\r\n", "250");
    talk.say("DATA\r\n", "354");
    let reply = talk.say(format!("{content}.\r\n"), "250");
    let id = reply.trim().rsplit(' ').next().unwrap();
    wait_for_held(&data, &server, 1);
    let [file] = &wait_for_mail(&data, 1)[..] else { panic!("one mailbox has it") };
    let beside = data.join(format!("spool/held/{id}.data"));
    assert_eq!(
        fs::metadata(&beside).unwrap().ino(),
        fs::metadata(file).unwrap().ino(),
        "one file, two names"
    );
    let raw = queue(&data, &["show", "--raw", id]).stdout;
    assert_eq!(raw, fs::read(file).unwrap());
    assert!(raw.ends_with(content.as_bytes()));
    server.kill();

    mend(&data);
    let server = Server::start(&data, &[]);
    let files = wait_for_mail(&data, 2);
    assert!(files.iter().all(|file| fs::read(file).unwrap() == raw));
    wait_until("it is held no longer", || {
        queue_json(&data, &["list"])["held"].as_array().unwrap().is_empty()
    });
    assert_eq!(server.stop().code(), Some(0));
    for directory in ["spool/held", "spool/spill"] {
        assert_eq!(fs::read_dir(data.join(directory)).unwrap().count(), 0, "{directory}");
    }
}

#[test]
fn held_mail_survives_kill_and_restart_and_the_next_start_tries_it_at_once() {
    let (_root, data, server) = server_with_obstacle();
    let id = send(&server, &["broken"]);
    wait_for_held(&data, &server, 1);
    server.kill();
    assert_eq!(queue_json(&data, &["list"])["held"][0]["id"], id.as_str());

    let server = Server::start(&data, &[]);
    wait_until("the start says so", || server.log().contains("held messages=1"));
    wait_until("it is tried at once", || server.log().matches("deferred id=").count() == 3);
    let started = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "held mail does not use up the grace");
    assert_eq!(queue_json(&data, &["list"])["held"][0]["id"], id.as_str());

    mend(&data);
    let output = queue_ok(&data, &["release", &id]);
    assert!(output.contains("no server took it up"), "{output}");
    let server = Server::start(&data, &[]);
    wait_for_mail(&data, 1);
    wait_until("it is let go", || queue_json(&data, &["list"])["held"] == serde_json::json!([]));
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(fs::read_dir(data.join("spool/orders")).unwrap().count(), 0);
}

#[test]
fn what_is_removed_is_not_tried_again_on_a_running_server_and_on_a_stopped_one() {
    let (_root, data, server) = server_with_obstacle();
    let ids = [send(&server, &["broken"]), send(&server, &["broken"])];
    wait_for_held(&data, &server, 2);
    assert_eq!(queue_ok(&data, &["remove", &ids[0]]), "removed 1 message, not to be tried again\n");
    wait_until("the server knows", || server.log().contains(&format!("removed id={}", ids[0])));
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(queue_json(&data, &["remove", &ids[1]])["removed"], serde_json::json!([ids[1]]));
    assert_eq!(queue_json(&data, &["list"])["held"], serde_json::json!([]));
    mend(&data);
    let server = Server::start(&data, &[]);
    send(&server, &["one"]);
    wait_for_mail(&data, 1);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes/example.com")).len(), 1);
}

#[test]
fn damage_is_listed_and_told_and_what_is_not_held_is_not_found() {
    let (_root, data, server) = server_with_obstacle();
    let id = send(&server, &["broken"]);
    wait_for_held(&data, &server, 1);
    let file = data.join(format!("spool/held/{id}.held"));
    let mut octets = fs::read(&file).unwrap();
    *octets.last_mut().unwrap() ^= 1;
    fs::write(&file, octets).unwrap();
    assert_eq!(queue(&data, &["show", &id]).status.code(), Some(65));
    queue_ok(&data, &["release", &id]);
    wait_until("it is quarantined", || server.log().contains("A MESSAGE IS DAMAGED"));
    let list = queue_json(&data, &["list"]);
    assert_eq!(list["quarantined"], serde_json::json!([format!("{id}.held")]));
    assert_eq!(list["held"], serde_json::json!([]));

    for command in ["show", "release", "remove"] {
        let output = queue(&data, &[command, &id]);
        assert_eq!(output.status.code(), Some(NO_INPUT));
        let sentence = String::from_utf8(output.stderr).unwrap();
        assert!(sentence.starts_with(&format!("fastsmtp: no message {id} is held in ")), "{sentence}");
        assert_eq!(queue(&data, &[command, &id[..9]]).status.code(), Some(2));
    }
    assert_eq!(queue(&data.join("elsewhere"), &[]).status.code(), Some(NO_INPUT));
    assert!(!data.join("elsewhere").exists(), "looking makes nothing");
    assert_eq!(queue_ok(&data, &["release", "--all"]), "nothing is held\n");
    drop(server);
    let server = Server::start(&data, &[]);
    wait_until("the start says so", || server.log().contains("quarantined files=1"));
}
