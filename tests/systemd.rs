//! What a service manager is promised: sockets that it hands over are served, it is told when, and the units that come with
//! the program are right. The part of systemd is played by a few lines of Python, and by a datagram socket.

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::accounts::keep;
use common::server::{PATIENCE, PROGRAM, Server, Talk, data, has_tool, log_of, spawn_by, wait_for_mail};

const CONFIGURATION: i32 = 78;

/// The program behind a parent that hands it sockets of these kinds under these names.
fn handed(kinds: &str, names: &str) -> Command {
    let mut command = Command::new("python3");
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd_parent.py");
    command.arg(parent).args([kinds, names, PROGRAM]);
    command
}

/// The service manager's end of what it is told.
struct Told(UnixDatagram, PathBuf);

impl Told {
    fn new(directory: &Path) -> Told {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Told(socket, path)
    }

    /// The next that it is told, without that the loop is alive.
    fn next(&self) -> String {
        loop {
            let mut octets = [0; 4096];
            let len = self.0.recv(&mut octets).expect("the server tells it");
            let told = String::from_utf8(octets[..len].to_vec()).unwrap();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }
}

fn send(talk: &mut Talk) {
    talk.hello();
    talk.begin();
    talk.say("Subject: x\r\n\r\nbody\r\n.\r\n", "250");
}

#[test]
fn mail_is_taken_on_sockets_that_were_handed_over_each_for_what_its_name_says() {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    keep(&data);
    let command = handed("tcp,tcp,tcp,tcp,tcp", "submission:fastsmtp.socket:submissions:pop3:pop3s");
    let arguments = ["--tls-self-signed", "--listen", "127.0.0.1:1", "--listen-submission", "127.0.0.1:2"];
    let server = Server::watch(spawn_by(command, &data, &arguments), &data);
    let Server { addresses, submission, submissions, pop3, pop3s, .. } = &server;
    let counts = [addresses, submission, submissions, pop3, pop3s].map(Vec::len);
    assert_eq!(counts, [1; 5], "no addresses but the sockets'");
    send(&mut server.connect());
    wait_for_mail(&data, 1);
    let mut submission = Talk::new(TcpStream::connect(server.submission[0]).unwrap());
    submission.hello();
    submission.say("MAIL FROM:<a@example.com>\r\n", "530");
    assert!(Talk::new(TcpStream::connect(server.pop3[0]).unwrap()).reply().starts_with("+OK "));
    assert!(server.stop().success());
}

#[test]
fn without_names_a_socket_is_for_mail_from_everywhere() {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    let server = Server::watch(spawn_by(handed("tcp,tcp", "-"), &data, &[]), &data);
    assert_eq!(server.addresses.len(), 2);
    assert!(server.stop().success());
}

#[test]
fn a_client_of_ipv4_has_its_own_address_on_a_socket_of_both_families() {
    if !has_tool("python3") {
        return;
    }
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let (_root, data) = data();
    let server = Server::watch(spawn_by(handed("both", "smtp"), &data, &[]), &data);
    let stream = TcpStream::connect(("127.0.0.1", server.address().port())).unwrap();
    send(&mut Talk::new(stream));
    let mail = fs::read_to_string(&wait_for_mail(&data, 1)[0]).unwrap();
    assert!(mail.contains("[127.0.0.1]"), "{mail}");
    assert!(server.stop().success());
}

#[test]
fn sockets_that_are_meant_for_another_process_are_not_ours() {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    let mut command = handed("udp", "imap");
    command.env("LISTEN_PID", "1");
    let server = Server::watch(spawn_by(command, &data, &["--listen", "127.0.0.1:0"]), &data);
    send(&mut server.connect());
    assert!(server.stop().success());
}

#[test]
fn what_cannot_be_served_is_an_error_that_names_it() {
    if !has_tool("python3") {
        return;
    }
    let cases = [
        ("tcp,file", "smtp:smtp", "descriptor 4, for smtp, is no listening TCP socket"),
        ("udp", "-", "descriptor 3, for smtp, is no listening TCP socket"),
        ("unix", "-", "descriptor 3, for smtp, is no listening TCP socket"),
        (
            "tcp,idle",
            "submission:smtp",
            "descriptor 4, for smtp, is no listening TCP socket: it does not listen",
        ),
        (
            "tcp",
            "imap",
            "'imap' is no service; in its socket unit, say FileDescriptorName= and one of smtp, submission",
        ),
        ("tcp", "fastsmtp-pop3s.socket", "'fastsmtp-pop3s.socket' is no service; in its socket unit, say"),
        ("tcp,tcp", "smtp", "names 1 sockets, and LISTEN_FDS says 2"),
        ("tcp", "submissions", "listen-submissions: is TLS from the start, and there is no certificate"),
    ];
    for (kinds, names, sentence) in cases {
        let (_root, data) = data();
        let mut child = spawn_by(handed(kinds, names), &data, &[]);
        let code = child.wait().unwrap().code();
        let log = fs::read_to_string(log_of(&data)).unwrap();
        assert_eq!((code, log.lines().count()), (Some(CONFIGURATION), 1), "{kinds}: {log}");
        assert!(log.starts_with("fastsmtp: ") && log.contains(sentence), "{kinds}: {log}");
    }
}

#[test]
fn the_service_manager_is_told_once_connections_are_served_and_when_they_no_longer_are() {
    let (root, data) = data();
    let told = Told::new(root.path());
    let mut command = Command::new(PROGRAM);
    command.env("NOTIFY_SOCKET", &told.1);
    let server = Server::watch(spawn_by(command, &data, &["--listen", "127.0.0.1:0"]), &data);
    assert_eq!(told.next(), "STATUS=starting: recovering the log");
    assert_eq!(told.next(), format!("READY=1\nSTATUS=serving smtp {}", server.address()));
    assert!(server.connect().reply().starts_with("220 "));
    server.signal("TERM");
    assert!(told.next().starts_with("STOPPING=1\nSTATUS=stopping"));
}

#[test]
fn an_idle_loop_says_often_enough_that_it_is_alive() {
    let (root, data) = data();
    let told = Told::new(root.path());
    let mut command = Command::new(PROGRAM);
    command.env("NOTIFY_SOCKET", &told.1).env("WATCHDOG_USEC", "100000");
    let server = Server::watch(spawn_by(command, &data, &["--listen", "127.0.0.1:0"]), &data);
    let mut octets = [0; 4096];
    let mut next = || {
        let len = told.0.recv(&mut octets).expect("nobody is connected, and it says so all the same");
        octets[..len].to_vec()
    };
    let mut alive = 0;
    while alive < 10 {
        alive += usize::from(next() == b"WATCHDOG=1");
    }
    assert!(server.stop().success());
}

#[test]
fn a_service_manager_that_is_not_there_or_does_not_read_keeps_nobody_from_serving() {
    let (root, data) = data();
    let deaf = Told::new(root.path());
    for name in [root.path().join("nobody"), "relative".into(), deaf.1.clone()] {
        let mut command = Command::new(PROGRAM);
        // So often that a socket that nobody reads is full at once.
        command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "1000");
        let server = Server::watch(spawn_by(command, &data, &["--listen", "127.0.0.1:0"]), &data);
        send(&mut server.connect());
        assert!(server.stop().success());
    }
}

/// The units with the program under test in them, in a directory of their own.
fn units(directory: &Path) -> Vec<PathBuf> {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/systemd");
    let mut copies = Vec::new();
    for unit in fs::read_dir(units).unwrap().map(|unit| unit.unwrap().path()) {
        let text = fs::read_to_string(&unit).unwrap().replace("/usr/bin/fastsmtp", PROGRAM);
        let copy = directory.join(unit.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        if copy.extension().is_some_and(|extension| extension == "service" || extension == "socket") {
            copies.push(copy);
        }
    }
    assert!(copies.len() >= 4, "{copies:?}");
    copies
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    if !has_tool("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units(directory.path()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("fastsmtp")).collect();
    assert!(ours.is_empty() && output.status.success(), "{said}");
}

#[test]
fn each_socket_unit_is_for_a_service_that_the_server_knows() {
    let directory = tempfile::tempdir().unwrap();
    for unit in units(directory.path()).iter().filter(|unit| unit.extension().unwrap() == "socket") {
        let text = fs::read_to_string(unit).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("FileDescriptorName=")).unwrap();
        assert!(fastsmtp::server::Service::ALL.iter().any(|service| service.name() == name), "{name}");
    }
}

#[test]
fn the_service_is_as_narrow_as_it_was() {
    if !has_tool("systemd-analyze") {
        return;
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/systemd/fastsmtp.service");
    // In tenths of systemd's measure, where 100 is a service without any narrowing: it is 17.
    let narrow = ["security", "--offline=true", "--threshold=20", "--no-pager"];
    let output = Command::new("systemd-analyze").args(narrow).arg(unit).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
