//! What a server that root starts promises: a port below 1024, nothing of root left, and files that are nobody else's.
//! What takes root to test is skipped, and says so, where the tests are not root's.

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use common::server::{PROGRAM, Server, data, log_of, spawn, spawn_by, wait_for_mail, wait_until};
use fastsmtp::limits::SPILL_BEYOND;

/// A user that every system has, and the number.
const USER: (&str, u32) = ("daemon", 1);

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: this test has to be run by root");
    }
    is_root
}

/// A data directory that any user could reach, in one that none but root may write.
fn reachable_data() -> (tempfile::TempDir, PathBuf) {
    let (root, data) = data();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    (root, data)
}

/// An address below port 1024 that was free a moment ago.
fn privileged_address() -> String {
    let first = 600 + std::process::id() as u16 % 300;
    let mut addresses = (first..1024).map(|port| format!("127.0.0.1:{port}"));
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a free port below 1024")
}

/// What the kernel says of each thread of a process, by the name of a line.
fn threads(pid: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let value = |task: std::io::Result<fs::DirEntry>| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap();
        value.trim().to_owned()
    };
    tasks.map(value).collect()
}

/// All files and directories at and below `path`.
fn all_below(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| all.extend(all_below(&entry.unwrap().path())));
    }
    all
}

/// Sends a small mail and one that is spilled, and waits for both.
fn send_small_and_large(server: &Server, data: &Path) {
    let mut talk = server.connect();
    talk.hello();
    for lines in [1, SPILL_BEYOND * 2 / 72] {
        talk.begin();
        talk.send(format!("{:070}\r\n", lines).repeat(lines));
        talk.say(".\r\n", "250");
    }
    wait_for_mail(data, 2);
}

/// The exit code of a start that fails, and its last words.
fn fails(mut child: Child, data: &Path) -> (Option<i32>, String) {
    let code = child.wait().unwrap().code();
    let log = fs::read_to_string(log_of(data)).unwrap();
    (code, log.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn root_binds_the_port_and_nothing_of_root_is_left_when_it_serves() {
    if !is_root() {
        return;
    }
    let (_root, data) = reachable_data();
    let (name, number) = USER;
    let server = Server::start_listening(&data, &["--listen", &privileged_address(), "--run-as", name]);
    assert!(server.address().port() < 1024);
    send_small_and_large(&server, &data);

    let pid = server.child.id();
    let ids = [number; 4].map(|id| id.to_string()).join("\t");
    assert!(threads(pid, "Uid").len() >= 9, "the loop, six workers, the watch, the log");
    assert!(threads(pid, "Uid").iter().all(|line| *line == ids), "{:?}", threads(pid, "Uid"));
    assert!(threads(pid, "Gid").iter().all(|line| *line == ids), "{:?}", threads(pid, "Gid"));
    assert!(threads(pid, "Groups").iter().all(|line| *line == number.to_string()));
    for capabilities in ["CapPrm", "CapEff", "CapAmb"] {
        assert!(threads(pid, capabilities).iter().all(|line| line.trim_matches('0').is_empty()));
    }
    assert!(threads(pid, "NoNewPrivs").iter().all(|line| line == "1"));

    assert!(!server.log().contains("RUNNING AS ROOT"), "{}", server.log());
    assert_eq!(server.stop().code(), Some(0));
    for path in all_below(&data) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (number, number), "{}", path.display());
    }
}

#[test]
fn the_same_data_directory_serves_the_same_user_again_by_number() {
    if !is_root() {
        return;
    }
    let (_root, data) = reachable_data();
    let (name, number) = USER;
    for user in [name, &number.to_string()] {
        let server = Server::start(&data, &["--run-as", user]);
        server.connect().hello();
        assert_eq!(server.stop().code(), Some(0));
    }
    assert!(!fs::read_to_string(log_of(&data)).unwrap().contains("DAMAGED"));
}

#[test]
fn a_data_directory_that_is_not_the_users_is_named_with_the_mend_and_exits_77() {
    if !is_root() {
        return;
    }
    let (_root, data) = reachable_data();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let start = || spawn(&data, &["--listen", "127.0.0.1:0", "--run-as", USER.0]);
    let (code, said) = fails(start(), &data);
    assert_eq!(code, Some(77), "{said}");
    let path = data.display();
    let sentence = format!(
        "fastsmtp: cannot use the data directory {path} as daemon: Permission denied (os error 13); let that user have \
         it, like 'chown -R daemon {path}', or give another --data"
    );
    assert_eq!(said, sentence);
    assert_eq!(fs::metadata(&data).unwrap().uid(), 0, "it was not given away");

    // The mend mends.
    chown(&data, Some(USER.1), Some(USER.1)).unwrap();
    let server = Server::watch(start(), &data);
    server.connect().hello();
}

#[test]
fn what_lies_above_is_not_made_by_root() {
    if !is_root() {
        return;
    }
    let (_root, data) = reachable_data();
    let deep = data.join("of/another");
    let mut command = Command::new(PROGRAM);
    command.args(["--listen", "127.0.0.1:0", "--run-as", USER.0, "--data"]).arg(&deep);
    assert_eq!(command.output().unwrap().status.code(), Some(77));
    assert!(!data.exists());
}

#[test]
fn a_second_start_hears_that_the_data_is_in_use_before_that_the_port_is() {
    if !is_root() {
        return;
    }
    let (_root, data) = reachable_data();
    let server = Server::start(&data, &["--run-as", USER.0]);
    let address = server.address().to_string();
    let (code, said) = fails(spawn(&data, &["--listen", &address, "--run-as", USER.0]), &data);
    assert_eq!(code, Some(75), "{said}");
    assert!(said.starts_with("fastsmtp: another fastsmtp uses the data directory "), "{said}");
}

#[test]
fn what_a_users_server_holds_root_may_release() {
    if !is_root() {
        return;
    }
    let (_root, data) = reachable_data();
    let mailboxes = data.join("mailboxes/example.com");
    fs::create_dir_all(&mailboxes).unwrap();
    let obstacle = mailboxes.join("user");
    fs::write(&obstacle, "in the way").unwrap();
    all_below(&data).iter().for_each(|path| chown(path, Some(USER.1), Some(USER.1)).unwrap());
    let server = Server::start(&data, &["--run-as", USER.0]);
    let mut talk = server.connect();
    talk.hello();
    talk.begin();
    talk.say("held\r\n.\r\n", "250");
    wait_until("it is held", || server.log().contains(" held id="));
    fs::remove_file(obstacle).unwrap();
    let release =
        Command::new(PROGRAM).args(["queue", "release", "--all", "--data"]).arg(&data).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&release.stdout), "released 1 message: the server tries again now\n");
    wait_for_mail(&data, 1);
    let orders = data.join("spool/orders");
    wait_until("the order is struck out", || fs::read_dir(&orders).unwrap().count() == 0);
}

#[test]
fn an_unknown_user_is_named_and_exits_67() {
    let (_root, data) = data();
    let (code, said) =
        fails(spawn(&data, &["--listen", "127.0.0.1:0", "--run-as", "nobody-of-that-name"]), &data);
    assert_eq!(code, Some(67));
    assert_eq!(said, "fastsmtp: run-as: there is no user 'nobody-of-that-name'; add one, or name another");
    assert!(!data.exists());
}

#[test]
fn who_is_not_root_becomes_nobody_else_and_may_name_itself() {
    if !is_root() {
        return;
    }
    let (root, data) = reachable_data();
    let program = root.path().join("fastsmtp"); // where every user may reach it
    fs::copy(PROGRAM, &program).unwrap();
    fs::create_dir(&data).unwrap();
    chown(&data, Some(USER.1), Some(USER.1)).unwrap();
    let start = |user: &str| {
        let mut command = Command::new(&program);
        command.uid(USER.1).gid(USER.1);
        spawn_by(command, &data, &["--listen", "127.0.0.1:0", "--run-as", user])
    };
    for other in ["root", "nobody"] {
        let (code, said) = fails(start(other), &data);
        assert_eq!(code, Some(77), "{said}");
        let begin = format!("fastsmtp: run-as: only root can become '{other}'; ");
        assert!(said.starts_with(&begin), "{said}");
    }
    let server = Server::watch(start(USER.0), &data);
    server.connect().hello();
    assert!(!server.log().contains("RUNNING AS ROOT"));
}

#[test]
fn to_run_as_root_is_said_loudly() {
    if !is_root() {
        return;
    }
    for arguments in [&[][..], &["--run-as", "root"]] {
        let (_root, data) = data();
        let server = Server::start(&data, arguments);
        wait_until("the log says so", || server.log().contains(" WARN RUNNING AS ROOT: "));
    }
}

#[test]
fn all_in_the_data_directory_is_its_owners_alone_whatever_the_umask() {
    for umask in ["0", "777"] {
        let (_root, data) = data();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), PROGRAM]);
        let child = spawn_by(command, &data, &["--listen", "127.0.0.1:0"]);
        let server = Server::watch(child, &data);
        send_small_and_large(&server, &data);
        assert_eq!(server.stop().code(), Some(0));
        let all = all_below(&data);
        assert!(all.len() > 10, "{all:?}");
        for path in all {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            let mode = metadata.permissions().mode() & 0o7777;
            assert_eq!(mode, expected, "{mode:o} {}", path.display());
        }
    }
}
