//! Mail programs read their mail by POP3, and remove what they have: against the real binary with accounts, by STLS, in TLS
//! from the start, and by hand; whatever else reads the same Maildir, and whoever stands still meanwhile.
//!
//! `STALL_MIB=50 cargo test --release --test pop3` is the full size.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::accounts::{self, PASSWORD};
use common::oracle::number_from;
use common::server::{PATIENCE, PROGRAM, Server, data, has_tool, wait_for_mail, wait_until};
use fastsmtp::wire::sasl;
use tempfile::TempDir;

const WRONG: &str = "incorrect horse";

/// A server with accounts, at its POP3 ports.
struct Post {
    server: Server,
    data: PathBuf,
    _root: TempDir,
}

/// How a client comes to TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Stls,
    Implicit,
}

const WAYS: [Way; 2] = [Way::Stls, Way::Implicit];

const LISTENERS: [&str; 5] =
    ["--listen-pop3", "127.0.0.1:0", "--listen-pop3s", "127.0.0.1:0", "--tls-self-signed"];

impl Post {
    fn new() -> Post {
        Post::with(&[])
    }

    /// One that takes passwords in plain, for clients that type.
    fn plain() -> Post {
        Post::with(&["--allow-plaintext-auth"])
    }

    fn with(arguments: &[&str]) -> Post {
        let (root, data) = data();
        accounts::keep(&data);
        let server = Server::start(&data, &[&LISTENERS[..], arguments].concat());
        Post { server, data, _root: root }
    }

    fn address(&self, way: Way) -> SocketAddr {
        match way {
            Way::Stls => self.server.pop3[0],
            Way::Implicit => self.server.pop3s[0],
        }
    }

    fn port(&self, way: Way) -> String {
        self.address(way).port().to_string()
    }

    fn certificate(&self) -> PathBuf {
        self.data.join("tls-cert.pem")
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        self.data.join("mailboxes/example.com").join(user)
    }

    /// Puts a message where a Maildir writer would.
    fn put(&self, user: &str, file: &str, octets: &[u8]) {
        for directory in ["tmp", "new", "cur"] {
            fs::create_dir_all(self.mailbox(user).join(directory)).unwrap();
        }
        fs::write(self.mailbox(user).join(file), octets).unwrap();
    }

    /// The files of a mailbox, as `new/NAME` or `cur/NAME`.
    fn files(&self, user: &str) -> BTreeSet<String> {
        let names = |directory: &'static str| {
            let entries = fs::read_dir(self.mailbox(user).join(directory)).unwrap();
            entries.map(move |entry| format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap()))
        };
        names("new").chain(names("cur")).collect()
    }

    fn connect(&self) -> Pop {
        Pop::connect(self.address(Way::Stls))
    }

    /// A client that has its maildrop open.
    fn login(&self, user: &str) -> Pop {
        let mut pop = self.connect();
        pop.ok(&format!("USER {user}@example.com"));
        pop.ok(&format!("PASS {PASSWORD}"));
        pop
    }
}

/// A client that types in plain.
struct Pop {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Pop {
    fn connect(address: SocketAddr) -> Pop {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut pop = Pop { reader: BufReader::new(stream.try_clone().unwrap()), stream };
        assert!(pop.line().starts_with("+OK mx.example.com "));
        pop
    }

    /// The next line without its end; empty at the end of the connection.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap_or(0);
        line.trim_end().to_owned()
    }

    fn send(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.line()
    }

    fn ok(&mut self, line: &str) -> String {
        let said = self.say(line);
        assert!(said.starts_with("+OK"), "{line}: {said}");
        said
    }

    fn refused(&mut self, line: &str, start: &str) {
        let said = self.say(line);
        assert!(said.starts_with(&format!("-ERR {start}")), "{line}: {said}");
    }

    /// What follows a reply of several lines, without dots that were added.
    fn content(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let start = content.len();
            assert!(self.reader.read_until(b'\n', &mut content).unwrap() > 0, "cut in the middle");
            if content[start] == b'.' {
                content.remove(start);
                if &content[start..] == b"\r\n" {
                    content.truncate(start);
                    return content;
                }
            }
        }
    }

    fn read(&mut self, line: &str) -> Vec<u8> {
        self.ok(line);
        self.content()
    }

    fn lines(&mut self, line: &str) -> Vec<String> {
        String::from_utf8(self.read(line)).unwrap().lines().map(str::to_owned).collect()
    }
}

fn finish(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Delivers so many messages to alice by SMTP.
fn deliver(post: &Post, count: usize) {
    let mut talk = post.server.connect();
    talk.hello();
    for number in 0..count {
        talk.send("MAIL FROM:<s@client.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n");
        talk.send(mail(number));
        talk.send(".\r\n");
        ["250", "250", "354", "250"].iter().for_each(|code| {
            let reply = talk.reply();
            assert!(reply.starts_with(code), "{reply}");
        });
    }
    talk.say("QUIT\r\n", "221");
}

/// The data of a message, stuffed; it has dots where they matter, and lines of its own.
fn mail(number: usize) -> String {
    format!("Subject: number {number}\r\n\r\n..\r\n..one\r\n{}\r\n", "x".repeat(number * 37 % 900))
}

const POPLIB: &str = r#"
import hashlib, os, poplib, ssl, sys
port, way, certificate, password, mailbox = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)

def session():
    if way == "stls":
        pop = poplib.POP3("localhost", int(port), timeout=60)
        assert "STLS" in pop.capa() and "USER" not in pop.capa() and "SASL" not in pop.capa()
        pop.stls(context=context)
    else:
        pop = poplib.POP3_SSL("localhost", int(port), context=context, timeout=60)
    assert {"USER", "TOP", "UIDL", "SASL"} <= set(pop.capa()), pop.capa()
    pop.user("alice@example.com")
    pop.pass_(password)
    return pop

def digest(octets):
    return hashlib.sha256(octets).hexdigest()

def stored():
    found = []
    for directory in ("new", "cur"):
        for name in os.listdir(os.path.join(mailbox, directory)):
            with open(os.path.join(mailbox, directory, name), "rb") as file:
                found.append(digest(file.read()))
    return sorted(found)

def ids(pop):
    return [line.split()[1].decode() for line in pop.uidl()[1]]

pop = session()
count, octets = pop.stat()
listed = [int(line.split()[1]) for line in pop.list()[1]]
names = ids(pop)
assert count == len(listed) == len(set(names)) and octets == sum(listed)
read = []
for number in range(1, count + 1):
    content = b"".join(line + b"\r\n" for line in pop.retr(number)[1])
    assert len(content) == listed[number - 1], number
    read.append(digest(content))
assert sorted(read) == stored(), "not what is stored"
head, top = pop.top(1, 0)[1], pop.top(1, 1)[1]
assert head[-1] == b"" and len(top) == len(head) + 1 and top[-1] == b".", (head, top)
removed = range(1, count + 1, 3)
for number in removed:
    pop.dele(number)
pop.dele(2)
pop.rset()
for number in removed:
    pop.dele(number)
assert pop.stat()[0] == count - len(removed)
pop.quit()

left = [name for number, name in enumerate(names, 1) if number not in removed]
pop = session()
assert ids(pop) == left, "other messages, or other ids"
again = b"".join(line + b"\r\n" for line in pop.retr(1)[1])
assert digest(again) == read[1]
pop.quit()
print(count, len(left))
"#;

#[test]
fn poplib_reads_a_thousand_messages_octet_for_octet_removes_some_and_finds_the_rest() {
    if !has_tool("python3") {
        return;
    }
    let post = Post::new();
    deliver(&post, 1000);
    wait_for_mail(&post.data, 1000);
    for (way, expected) in WAYS.into_iter().zip(["1000 666\n", "666 444\n"]) {
        let mut python = Command::new("python3");
        python.args(["-c", POPLIB, &post.port(way), if way == Way::Stls { "stls" } else { "implicit" }]);
        python.arg(post.certificate()).arg(PASSWORD).arg(post.mailbox("alice"));
        let output = finish(&mut python);
        assert_eq!(text(&output), expected);
    }
    assert_eq!(post.files("alice").len(), 444);
    let log = post.server.log();
    // Two of them by TOP, for they are short.
    let popped = |what: &str| assert!(log.contains(&format!(" user=alice@example.com {what}\n")), "{what}");
    popped("messages=1002 removed=334");
    popped("messages=1 removed=0");
}

/// curl, at a message or at the list of all.
fn curl(post: &Post, way: Way, password: &str, path: &str) -> Output {
    let scheme = if way == Way::Stls { "pop3" } else { "pop3s" };
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--ssl-reqd", "--cacert"]).arg(post.certificate());
    curl.args(["--user", &format!("alice@example.com:{password}")]);
    curl.arg(format!("{scheme}://localhost:{}/{path}", post.port(way)));
    finish(&mut curl)
}

#[test]
fn curl_lists_and_reads_in_both_ways_and_is_told_of_a_wrong_password() {
    if !has_tool("curl") {
        return;
    }
    let post = Post::new();
    post.put("alice", "new/1.a", b"Subject: one\r\n\r\n.dot\r\n");
    post.put("alice", "cur/2.b:2,S", b"Subject: two\r\n\r\n");
    for way in WAYS {
        let list = curl(&post, way, PASSWORD, "");
        assert_eq!(text(&list), "1 22\r\n2 16\r\n", "{}", post.server.log());
        let one = curl(&post, way, PASSWORD, "1");
        assert_eq!(text(&one), "Subject: one\r\n\r\n.dot\r\n", "{}", post.server.log());
        let none = curl(&post, way, WRONG, "");
        assert_eq!(none.status.code(), Some(67), "curl calls that a login denied: {}", text(&none));
    }
}

#[test]
fn nobody_is_told_which_users_there_are_and_nobody_logs_in_without_tls() {
    let post = Post::plain();
    let mut said = BTreeSet::new();
    for (user, password) in [("alice@example.com", WRONG), ("nobody@example.com", PASSWORD)] {
        let mut pop = post.connect();
        pop.ok(&format!("USER {user}"));
        said.insert(pop.say(&format!("PASS {password}")));
        pop.refused("STAT", "");
        pop.ok("QUIT");
    }
    assert_eq!(Vec::from_iter(said), ["-ERR [AUTH] wrong user or password"]);

    let post = Post::new();
    let mut pop = post.connect();
    let capabilities = pop.lines("CAPA");
    assert!(capabilities.iter().any(|line| line == "STLS"), "{capabilities:?}");
    assert!(!capabilities.iter().any(|line| line.starts_with("USER") || line.starts_with("SASL")));
    pop.refused("USER alice@example.com", "");
    pop.refused(&format!("AUTH PLAIN {}", sasl::encode(&sasl::plain("alice@example.com", PASSWORD))), "");
}

#[test]
fn wrong_passwords_end_a_session_and_count_with_those_of_smtp() {
    let post = Post::plain();
    let mut pop = post.connect();
    for _ in 0..3 {
        pop.ok("USER alice@example.com");
        pop.refused(&format!("PASS {WRONG}"), "[AUTH] wrong");
    }
    pop.ok("USER alice@example.com");
    pop.refused(&format!("PASS {WRONG}"), "[AUTH] too many");
    assert_eq!(pop.line(), "");
    wait_until("they are counted", || post.server.log().matches("login failed client=").count() == 4);
}

#[test]
fn scram_lets_in_who_knows_the_password_and_proves_that_the_server_knows_it() {
    let post = Post::plain();
    post.put("alice", "new/1.a", b"Subject: one\r\n\r\n");
    for (password, is_right) in [(PASSWORD, true), (WRONG, false)] {
        let mut pop = post.connect();
        let scram = sasl::Scram::new("alice@example.com", "a-nonce-of-the-client");
        let said = pop.say(&format!("AUTH SCRAM-SHA-256 {}", sasl::encode(&scram.first())));
        let message = sasl::decode(said.strip_prefix("+ ").unwrap().as_bytes()).unwrap();
        let challenge = scram.challenge(&message).unwrap();
        let salted = sasl::salted_password(password, &challenge.salt, challenge.iterations);
        let (proof, verifier) = scram.proof(&challenge, &salted);
        let said = pop.say(&sasl::encode(&proof));
        assert_eq!(said.starts_with("+ "), is_right, "{said}");
        if is_right {
            verifier.verify(&sasl::decode(&said.as_bytes()[2..]).unwrap()).unwrap();
            pop.ok("");
            assert_eq!(pop.say("STAT"), "+OK 1 16");
        }
    }
}

#[test]
fn a_mailbox_that_nobody_wrote_to_yet_is_empty() {
    let post = Post::plain();
    let mut pop = post.login("bob");
    assert_eq!(pop.say("STAT"), "+OK 0 0");
    assert_eq!(pop.lines("LIST"), [""; 0]);
    pop.ok("QUIT");
    assert!(!post.mailbox("bob").exists());
}

#[test]
fn nothing_is_removed_but_by_quit() {
    let post = Post::plain();
    post.put("alice", "new/1.a", b"Subject: one\r\n\r\n");
    post.put("alice", "new/2.b", b"Subject: two\r\n\r\n");
    let mut pop = post.login("alice");
    pop.ok("DELE 1");
    pop.read("RETR 2");
    pop.stream.shutdown(Shutdown::Both).unwrap();
    drop(pop);
    // The next session is let in once the one before is over for the server, too.
    wait_until("it is free", || {
        let mut pop = post.connect();
        pop.ok("USER alice@example.com");
        let said = pop.say(&format!("PASS {PASSWORD}"));
        assert!(said == "+OK 2 messages (32 octets)" || said.starts_with("-ERR [IN-USE]"), "{said}");
        said.starts_with("+OK")
    });
    assert_eq!(post.files("alice"), BTreeSet::from(["new/1.a", "new/2.b"].map(String::from)));
}

#[test]
fn a_mailbox_has_one_session_at_a_time_and_is_free_as_soon_as_that_is_told_goodbye() {
    let post = Post::plain();
    post.put("alice", "new/1.a", b"Subject: one\r\n\r\n");
    post.put("alice", "new/2.b", b"Subject: two\r\n\r\n");
    let mut first = post.login("alice");
    let mut second = post.connect();
    second.ok("USER alice@example.com");
    second.refused(&format!("PASS {PASSWORD}"), "[IN-USE]");
    post.login("bob").ok("QUIT");
    first.ok("DELE 1");
    first.ok("QUIT");
    // In the same session: nobody has to come again for it.
    second.ok("USER ALICE@example.com");
    assert_eq!(second.say(&format!("PASS {PASSWORD}")), "+OK 1 messages (16 octets)");
    second.ok("QUIT");
    post.login("alice").ok("QUIT");
}

#[test]
fn mail_that_arrives_meanwhile_is_in_the_next_session() {
    let post = Post::plain();
    deliver(&post, 1);
    wait_for_mail(&post.data, 1);
    let mut pop = post.login("alice");
    deliver(&post, 1);
    wait_for_mail(&post.data, 2);
    assert_eq!(pop.lines("UIDL").len(), 1);
    pop.ok("DELE 1");
    pop.ok("QUIT");
    let mut pop = post.login("alice");
    assert_eq!(pop.lines("UIDL").len(), 1);
    assert!(String::from_utf8(pop.read("RETR 1")).unwrap().contains("Subject: number 0"));
}

#[test]
fn mail_that_another_reader_moves_or_removes_meanwhile_is_read_or_said_to_be_gone() {
    let post = Post::plain();
    let large = "0123456789abcdef\r\n".repeat(10_000);
    for (number, content) in [(1, "one\r\n"), (2, &*large), (3, "three\r\n"), (4, "four\r\n")] {
        post.put("alice", &format!("new/{number}.x"), content.as_bytes());
    }
    let file = |name: &str| post.mailbox("alice").join(name);
    let mut pop = post.login("alice");
    fs::rename(file("new/1.x"), file("cur/1.x:2,RS")).unwrap();
    assert_eq!(pop.read("RETR 1"), b"one\r\n");
    // Where it was when its first part was read is where it is read on.
    pop.ok("RETR 2");
    fs::rename(file("new/2.x"), file("cur/2.x:2,")).unwrap();
    assert_eq!(pop.content(), large.as_bytes());
    fs::remove_file(file("new/3.x")).unwrap();
    pop.refused("RETR 3", "the message is gone");
    fs::rename(file("new/4.x"), file("cur/4.x:2,F")).unwrap();
    pop.ok("DELE 4");
    pop.ok("DELE 3");
    pop.ok("QUIT");
    // What was read is seen.
    assert_eq!(post.files("alice"), BTreeSet::from(["cur/1.x:2,RS", "cur/2.x:2,S"].map(String::from)));
}

#[test]
fn mail_that_another_reader_flags_meanwhile_is_all_removed_by_quit() {
    let post = Post::plain();
    for number in 0..1200 {
        post.put("user", &format!("new/{number}.x"), b"Subject: x\r\n\r\nx\r\n");
    }
    let mut pop = post.login("user");
    for number in 0..1200 {
        let (from, to) = (format!("new/{number}.x"), format!("cur/{number}.x:2,F"));
        fs::rename(post.mailbox("user").join(from), post.mailbox("user").join(to)).unwrap();
    }
    for number in 1..=1200 {
        pop.ok(&format!("DELE {number}"));
    }
    pop.ok("QUIT");
    assert!(post.files("user").is_empty());
}

#[test]
fn whatever_others_put_into_a_mailbox_every_message_has_an_id_and_is_read() {
    let post = Post::plain();
    let long = format!("new/{}", "n".repeat(255));
    for file in ["new/with blank", "new/3.ö", &long, "new/.hidden"] {
        post.put("alice", file, file.as_bytes());
    }
    fs::create_dir(post.mailbox("alice").join("new/1.directory")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", post.mailbox("alice").join("new/1.link")).unwrap();
    let mut pop = post.login("alice");
    let ids = pop.lines("UIDL");
    assert_eq!(ids.len(), 3, "{ids:?}");
    for (number, line) in (1..).zip(&ids) {
        let id = line.strip_prefix(&format!("{number} ")).unwrap();
        assert!((1..=70).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic()), "{id}");
        let content = String::from_utf8(pop.read(&format!("RETR {number}"))).unwrap();
        assert!(content.starts_with("new/"), "{content}");
    }
}

#[test]
fn who_stands_still_in_the_middle_of_a_large_message_holds_up_nobody_and_costs_one_part() {
    let post = Post::plain();
    let mib = number_from("STALL_MIB").unwrap_or(20);
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc\r\n";
    let content = line.repeat((mib << 20) as usize / line.len());
    post.put("alice", "new/1.large", content.as_bytes());
    post.put("bob", "new/1.small", b"small\r\n");
    let mut stalled = post.login("alice");
    // Passwords take their memory first: 19 MiB, which the worker keeps.
    (0..12).for_each(|_| drop(post.login("bob").ok("QUIT")));
    let (base, descriptors) = (post.server.peak_memory(), post.server.descriptors());
    stalled.ok("RETR 1");
    let mut first = vec![0; 1000];
    stalled.reader.read_exact(&mut first).unwrap();
    for _ in 0..20 {
        let mut pop = post.login("bob");
        assert_eq!(pop.read("RETR 1"), b"small\r\n");
        pop.ok("QUIT");
    }
    deliver(&post, 3);
    let more = post.server.peak_memory().saturating_sub(base);
    assert!(more < 8 << 20, "{more} octets more than before");
    assert!(post.server.descriptors() <= descriptors + 3);
    let rest = stalled.content();
    assert!(first == content.as_bytes()[..1000] && rest == content.as_bytes()[1000..], "not the message");
    assert_eq!(stalled.say("NOOP"), "+OK nothing done");
    stalled.ok("QUIT");
    println!("mib={mib} peak_above_base_mib={:.1}", more as f64 / (1 << 20) as f64);
}

#[test]
fn many_readers_share_the_memory_that_maildrops_may_have_and_all_are_served() {
    // A MiB for parts of messages: twenty at a time.
    let post = Post::with(&["--allow-plaintext-auth", "--memory", "8MiB"]);
    let content = "0123456789abcdef\r\n".repeat(40_000);
    for user in ["alice", "bob", "user", "second"] {
        for number in 1..=10 {
            post.put(user, &format!("new/{number}.x"), content.as_bytes());
        }
    }
    std::thread::scope(|scope| {
        for user in ["alice", "bob", "user", "second"] {
            let (post, content) = (&post, &content);
            scope.spawn(move || {
                let mut pop = post.login(user);
                let commands: Vec<String> = (1..=10).map(|number| format!("RETR {number}")).collect();
                pop.send(&commands.join("\r\n"));
                for _ in 1..=10 {
                    assert!(pop.line().starts_with("+OK"));
                    assert!(pop.content() == content.as_bytes(), "not the message");
                }
                pop.ok("QUIT");
            });
        }
    });
}

#[test]
fn a_server_that_stops_dismisses_readers_and_finishes_what_quit_began() {
    let post = Post::plain();
    for number in 0..2000 {
        post.put("alice", &format!("new/{number}.x"), b"Subject: x\r\n\r\n");
    }
    let mut idle = post.login("bob");
    let mut nobody = post.connect();
    let mut leaving = post.login("alice");
    let commands: Vec<String> = (1..=2000).map(|number| format!("DELE {number}")).collect();
    leaving.send(&commands.join("\r\n"));
    (0..2000).for_each(|_| assert!(leaving.line().starts_with("+OK")));
    leaving.send("QUIT");
    wait_until("the update has begun", || post.files("alice").len() < 2000);
    let Post { server, data, _root } = post;
    assert_eq!(server.stop().code(), Some(0));
    for pop in [&mut idle, &mut nobody] {
        let said = pop.line();
        assert!(said.starts_with("-ERR [SYS/TEMP] shutting down"), "{said}");
        assert_eq!(pop.line(), "");
    }
    assert_eq!(leaving.line(), "+OK goodbye");
    assert_eq!(common::server::delivered(&data.join("mailboxes")), Vec::<PathBuf>::new());
}

#[test]
fn a_session_of_a_user_who_is_removed_ends_and_removes_nothing() {
    let post = Post::plain();
    post.put("alice", "new/1.x", b"Subject: x\r\n\r\n");
    let (mut alice, mut bob) = (post.login("alice"), post.login("bob"));
    alice.ok("DELE 1");
    let mut remove = Command::new(PROGRAM);
    let removed = finish(remove.args(["user", "remove", "alice@example.com", "--data"]).arg(&post.data));
    assert!(removed.status.success(), "{}", text(&removed));
    let said = alice.line();
    assert!(said.starts_with("-ERR [AUTH] the password was changed, or the account removed"), "{said}");
    assert_eq!(alice.line(), "", "the end");
    assert_eq!(post.files("alice"), BTreeSet::from(["new/1.x".to_owned()]));
    bob.ok("NOOP");
    bob.ok("QUIT");
}

#[test]
fn without_accounts_and_without_a_way_to_keep_passwords_secret_there_is_no_pop3() {
    let (_root, data) = data();
    let start = |arguments: &[&str], data: &Path| {
        let mut command = Command::new(PROGRAM);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
        let output = finish(&mut command);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let pop3 = ["--listen-pop3", "127.0.0.1:0"];
    let (code, said) = start(&[&pop3[..], &["--tls-self-signed"]].concat(), &data);
    assert_eq!(code, Some(78), "{said}");
    let sentence = format!(
        "listen-pop3: mail is read by users, and there is no accounts file {}; 'fastsmtp user add' makes it",
        data.join("accounts.toml").display()
    );
    assert!(said.contains(&sentence), "{said}");
    accounts::keep(&data);
    for (arguments, sentence) in [
        (&pop3[..], "--listen-pop3: takes passwords, and there is no certificate to keep them secret by"),
        (
            &["--listen-pop3s", "127.0.0.1:0"],
            "--listen-pop3s: is TLS from the start, and there is no certificate",
        ),
    ] {
        let (code, said) = start(arguments, &data);
        assert!(code == Some(2) && said.contains(sentence), "{code:?} {said}");
    }
}
