//! A person reads mail with mutt, at a terminal: a mailbox of a thousand messages, by POP3 in TLS and then on the disk.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use common::accounts::{self, PASSWORD};
use common::server::{Server, data, has_tool, wait_for_mail, wait_until};
use common::terminal::Terminal;
use tempfile::TempDir;

/// Messages in the mailbox; each has a number from 1 on, in the order of their dates.
const MESSAGES: usize = 1000;
/// The one that is opened: what is hard to carry is in it.
const READ: usize = 500;
/// Those that are deleted: inside, the one that was read, and the last.
const DELETED: [usize; 3] = [17, READ, MESSAGES];
/// Clients that deliver at the same time, so that they share the waits for the disk.
const CLIENTS: usize = 20;

const TEXT: &str = ".\n..\n.one dot before\nGrüße aus Łódź, 東京\n\n. a dot and a blank\nthe end\n";

/// A server with a mailbox, and a home for mutt.
struct Post {
    server: Server,
    data: PathBuf,
    root: TempDir,
}

impl Post {
    fn new() -> Post {
        let (root, data) = data();
        accounts::keep(&data);
        let server = Server::start(&data, &["--listen-pop3s", "127.0.0.1:0", "--tls-self-signed"]);
        let post = Post { server, data, root };
        fs::write(post.muttrc(), post.configuration()).unwrap();
        post
    }

    fn mailbox(&self) -> PathBuf {
        self.data.join("mailboxes/example.com/alice")
    }

    fn muttrc(&self) -> PathBuf {
        self.root.path().join("muttrc")
    }

    /// Trusts the server's certificate and nobody's else, and asks nothing.
    fn configuration(&self) -> String {
        format!(
            "set ssl_ca_certificates_file=\"{1}\" certificate_file=\"\" ssl_verify_host=yes\n\
             set pop_user=\"alice@example.com\" pop_pass=\"{PASSWORD}\" pop_reconnect=no\n\
             set folder=\"{0}\" tmpdir=\"{0}\" mbox_type=Maildir record=\"\" move=no mark_old=no\n\
             set delete=yes quit=yes confirmappend=no wait_key=no beep=no sleep_time=0\n\
             set sort=date index_format=\"%4C %Z %s\" charset=utf-8\n",
            self.root.path().display(),
            self.data.join("tls-cert.pem").display(),
        )
    }

    /// Delivers all messages by SMTP.
    fn deliver(&self) {
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || {
                    let mut talk = self.server.connect();
                    talk.hello();
                    for number in (1..=MESSAGES).skip(client).step_by(CLIENTS) {
                        talk.say("MAIL FROM:<s@client.example> BODY=8BITMIME\r\n", "250");
                        talk.say("RCPT TO:<alice@example.com>\r\n", "250");
                        talk.say("DATA\r\n", "354");
                        talk.say(stuffed(&mail(number)), "250");
                    }
                    talk.say("QUIT\r\n", "221");
                });
            }
        });
        wait_for_mail(&self.data, MESSAGES);
    }

    /// Mutt before a mailbox.
    fn mutt(&self, arguments: &[&str], mailbox: &str) -> Terminal {
        let mut mutt = Command::new("mutt");
        mutt.arg("-n").arg("-F").arg(self.muttrc()).args(arguments).args(["-f", mailbox]);
        Terminal::start(mutt.env("HOME", self.root.path()).current_dir(self.root.path()))
    }

    /// Mutt before the mailbox by POP3, with what else its configuration is to say.
    fn mutt_by_pop3(&self, configured: &[&str]) -> Terminal {
        self.mutt(configured, &format!("pops://localhost:{}", self.server.pop3s[0].port()))
    }

    fn mutt_on_the_disk(&self) -> Terminal {
        self.mutt(&[], self.mailbox().to_str().unwrap())
    }
}

/// A message by its number: most are small, some have 64 KiB, one has 2 MiB.
fn mail(number: usize) -> String {
    let (hour, minute) = (number / 60, number % 60);
    let lines = match number {
        READ => 0,
        777 => 32_768,
        _ if number % 100 == 50 => 1024,
        _ => number * 37 % 30,
    };
    let filler = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\n".repeat(lines);
    let text = if number == READ { TEXT } else { &filler };
    format!(
        "Date: Wed, 1 Jan 2025 {hour:02}:{minute:02}:00 +0000\nFrom: s@client.example\nTo: alice@example.com\n\
         Subject: {}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n{text}",
        subject(number)
    )
}

fn subject(number: usize) -> String {
    format!("letter {number:04}")
}

/// As it is sent behind DATA, with its end.
fn stuffed(mail: &str) -> String {
    let line =
        |line: &str| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") };
    mail.lines().map(line).chain([".\r\n".to_owned()]).collect()
}

/// Deletes a message that the index shows, by its number there.
fn delete(mutt: &Terminal, number: usize, deleted: usize) {
    mutt.type_text(&number.to_string());
    mutt.press(&["Enter"]);
    mutt.wait_for(&subject(number));
    mutt.type_text("d");
    mutt.wait_for(&format!(" Del:{deleted} "));
}

/// Limits the index to the messages whose subject has one of these numbers.
fn limit(mutt: &Terminal, numbers: &[usize]) {
    let subjects: Vec<String> = numbers.iter().map(|number| subject(*number)).collect();
    mutt.type_text("l");
    mutt.wait_for("Limit to messages matching:");
    mutt.type_text(&format!("~s \"{}\"", subjects.join("|")));
    mutt.press(&["Enter"]);
}

/// All messages but those that were deleted.
fn insist_on_the_rest(mutt: &Terminal) {
    let left = MESSAGES - DELETED.len();
    mutt.wait_for(&format!("[Msgs:{left} "));
    limit(mutt, &DELETED);
    mutt.wait_for(&format!("[Msgs:0/{left} "));
    let neighbours = DELETED.map(|number| number - 1);
    limit(mutt, &neighbours);
    let screen = mutt.wait_for(&format!("[Msgs:3/{left} "));
    for number in neighbours {
        assert!(screen.contains(&subject(number)), "{number}\n{screen}");
    }
}

const SUBJECTS: &str = r#"
import mailbox, sys
for message in mailbox.Maildir(sys.argv[1], create=False):
    print(message["Subject"])
"#;

/// The subjects that Python's library finds in a Maildir, sorted.
fn subjects_by_python(maildir: &Path) -> Vec<String> {
    let mut python = Command::new("python3");
    let output = python.args(["-c", SUBJECTS]).arg(maildir).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut subjects: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    subjects.sort();
    subjects
}

#[test]
fn mutt_reads_and_deletes_in_a_mailbox_of_a_thousand_and_finds_the_same_on_the_disk() {
    if !has_tool("mutt") || !has_tool("tmux") || !has_tool("python3") {
        return;
    }
    let post = Post::new();
    post.deliver();

    let mutt = post.mutt_by_pop3(&["-e", "set pop_authenticators=user"]);
    mutt.wait_for(&format!("[Msgs:{MESSAGES} "));
    mutt.type_text(&READ.to_string());
    mutt.press(&["Enter", "Enter"]);
    mutt.wait_for(&format!("\n{TEXT}"));
    mutt.type_text("q");
    mutt.wait_for(&format!("[Msgs:{MESSAGES} "));
    DELETED.iter().zip(1..).for_each(|(number, deleted)| delete(&mutt, *number, deleted));
    mutt.type_text("$");
    mutt.wait_for(&format!("[Msgs:{} ", MESSAGES - DELETED.len()));
    mutt.type_text("q");
    assert_eq!(mutt.end(), 0);
    let removed = format!(" removed={}\n", DELETED.len());
    wait_until("the log tells of it", || post.server.log().contains(&removed));

    let mutt = post.mutt_by_pop3(&[]); // by SCRAM-SHA-256, the best of what is offered
    insist_on_the_rest(&mutt);
    mutt.type_text("q");
    assert_eq!(mutt.end(), 0);

    let mutt = post.mutt_on_the_disk();
    insist_on_the_rest(&mutt);
    mutt.type_text("q");
    assert_eq!(mutt.end(), 0);

    let left = (1..=MESSAGES).filter(|number| !DELETED.contains(number));
    assert_eq!(subjects_by_python(&post.mailbox()), left.map(subject).collect::<Vec<_>>());
    assert_eq!(post.server.stop().code(), Some(0));
}
