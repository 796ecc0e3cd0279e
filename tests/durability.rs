//! A 250 means durable: the real binary is killed again and again under load, over one data directory, and what its
//! clients were told is compared with what lies in the mailboxes in the end.
//!
//! `KILLS=1000 cargo test --release --test durability -- --nocapture` is the full size; `SEED=...` repeats a run's
//! choices (the moments of the kills are the machine's).
//!
//! The oracle is the clients' memory. A message is a function of the seed and its number; the number is its sender, so
//! that a delivered file names what it must be. No client sends a message twice: so an answered one must be in each of
//! its mailboxes exactly once, one without an answer in all of them once or in none, and one that was refused, or whose
//! end was never sent, nowhere.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::server::{PATIENCE, Server, data, spawn};

#[test]
fn whatever_kills_it_each_message_that_got_its_250_is_delivered_exactly_once() {
    let seed = number_from("SEED").unwrap_or_else(a_new_seed);
    let kills = number_from("KILLS").unwrap_or(KILLS_DEFAULT);
    println!("SEED={seed} KILLS={kills}");
    let (root, data) = data();
    let started = Instant::now();
    let mut run = Run { seed, data: data.clone(), outcomes: BTreeMap::new(), before_ready: 0 };
    let mut random = Random(seed);
    for round in 0..kills {
        run.round(round, &mut random);
    }
    let killed_for = started.elapsed();
    let server = Server::start(&data, ARGUMENTS);
    let log = data.with_extension("log");
    assert_eq!(server.stop().code(), Some(0), "SEED={seed}");
    let log = fs::read_to_string(log).unwrap();

    let mut found = run.judge();
    if !log.contains("stopped; all accepted mail is delivered") {
        found.push("it did not deliver all that it had accepted before it stopped".to_owned());
    }
    let alarms = ["DAMAGED", "panicked", "cannot be written", "made durable ("];
    found.extend(log.lines().filter(|line| alarms.iter().any(|word| line.contains(word))).map(str::to_owned));
    let count =
        |wanted: fn(&Outcome) -> bool| run.outcomes.values().filter(|outcome| wanted(outcome)).count();
    println!(
        "rounds={kills} killed_before_ready={} acknowledged={} unknown={} refused={} unfinished={} violations={} \
         seconds_of_killing={:.1} seconds={:.1}",
        run.before_ready,
        count(|outcome| matches!(outcome, Outcome::Acknowledged(_))),
        count(|outcome| matches!(outcome, Outcome::Unknown)),
        count(|outcome| matches!(outcome, Outcome::Refused)),
        count(|outcome| matches!(outcome, Outcome::Unfinished)),
        found.len(),
        killed_for.as_secs_f64(),
        started.elapsed().as_secs_f64(),
    );
    if !found.is_empty() {
        let kept = root.keep();
        found.truncate(20);
        panic!("SEED={seed} KILLS={kills}, kept in {}:\n{}", kept.display(), found.join("\n"));
    }
    let acknowledged = count(|outcome| matches!(outcome, Outcome::Acknowledged(_)));
    assert!(acknowledged as u64 > kills, "there was no load to speak of: {acknowledged} messages");
}

/// All rounds over one data directory.
struct Run {
    seed: u64,
    data: PathBuf,
    outcomes: BTreeMap<u64, Outcome>,
    /// Rounds whose kill came before the server was ready.
    before_ready: u64,
}

/// What a client was told of a message.
#[derive(Debug)]
enum Outcome {
    /// 250 with this queue id.
    Acknowledged(String),
    /// Its end was sent, and no answer came.
    Unknown,
    /// Refused with a 5yz.
    Refused,
    /// Its end was never sent.
    Unfinished,
}

impl Run {
    /// Starts the server and kills it at a moment of chance: while it recovers, while it serves, while it stops.
    fn round(&mut self, round: u64, random: &mut Random) {
        let while_starting = random.below(4) == 0;
        if while_starting {
            return self.kill_while_it_starts(Duration::from_micros(random.below(STARTING_US)));
        }
        // Most rounds are short. A long one is long enough for mail to be settled and segments to be used again.
        let (answers, load_time) = match random.below(8) {
            0 => (u64::MAX, Duration::from_millis(1200 + random.below(1300))),
            _ => (random.below(ANSWERS_MAX), LOAD_TIME),
        };
        let delay = Duration::from_micros(random.below(DELAY_US));
        let is_stopping = random.below(8) == 0;
        let server = Server::start(&self.data, ARGUMENTS);
        let address = server.address();
        let (seed, over) = (self.seed, &AtomicBool::new(false));
        let outcomes = thread::scope(|scope| {
            let (answered, answers_heard) = channel();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let numbers = (round * CLIENTS + client) * MESSAGES_MAX..;
                    let numbers = numbers.take(MESSAGES_MAX as usize);
                    let answered = answered.clone();
                    scope.spawn(move || Client { seed, address, over, answered }.send(numbers))
                })
                .collect();
            drop(answered);
            let until = Instant::now() + load_time;
            for _ in 0..answers {
                let left = until.saturating_duration_since(Instant::now());
                if answers_heard.recv_timeout(left).is_err() {
                    break;
                }
            }
            if is_stopping {
                server.signal("TERM");
            }
            thread::sleep(delay);
            over.store(true, Ordering::SeqCst);
            server.kill();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        self.outcomes.extend(outcomes);
    }

    fn kill_while_it_starts(&mut self, delay: Duration) {
        let mut child = spawn(&self.data, &[&["--listen", "127.0.0.1:0"], ARGUMENTS].concat());
        thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        let said = io::read_to_string(child.stdout.take().unwrap()).unwrap();
        self.before_ready += u64::from(!said.contains("ready"));
    }

    /// Everything in the mailboxes that no client can explain, and everything that should be there and is not.
    fn judge(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut copies: HashMap<(u64, String), u32> = HashMap::new();
        for file in files_below(&self.data.join("mailboxes")) {
            match self.judge_file(&file) {
                Ok(place) => *copies.entry(place).or_default() += 1,
                Err(violation) => found.push(format!("{}: {violation}", file.display())),
            }
        }
        let copies_of =
            |number: u64, recipient: &String| *copies.get(&(number, recipient.clone())).unwrap_or(&0);
        for (number, outcome) in &self.outcomes {
            let mail = Mail::new(self.seed, *number);
            let counts: Vec<u32> = mail.recipients.iter().map(|name| copies_of(*number, name)).collect();
            let is_right = match outcome {
                Outcome::Acknowledged(_) => counts.iter().all(|count| *count == 1),
                Outcome::Unknown => counts.iter().all(|count| *count == counts[0] && *count <= 1),
                Outcome::Refused | Outcome::Unfinished => counts.iter().all(|count| *count == 0),
            };
            if !is_right {
                found.push(format!(
                    "message {number}, {outcome:?}, lies in {:?} {counts:?} times",
                    mail.recipients
                ));
            }
        }
        found
    }

    /// The message and the mailbox of a file that is whole.
    fn judge_file(&self, file: &Path) -> Result<(u64, String), String> {
        let names: Vec<&str> = file.iter().rev().take(4).map(|name| name.to_str().unwrap()).collect();
        let [name, directory, user, domain] = names[..] else { return Err("in no mailbox".into()) };
        if directory != "new" {
            return Err(format!("a file in {directory}/"));
        }
        let octets = fs::read(file).unwrap();
        let sender = octets.strip_prefix(b"Return-Path: <m").ok_or("no Return-Path of ours")?;
        let digits: String =
            sender.iter().take_while(|octet| octet.is_ascii_digit()).map(|b| *b as char).collect();
        let number: u64 = digits.parse().map_err(|_| "no message of ours")?;
        let outcome = self.outcomes.get(&number).ok_or("a message that nobody sent")?;
        let mail = Mail::new(self.seed, number);
        let trace = octets.strip_suffix(&mail.content[..]).ok_or("not the content that was sent")?;
        let mut fields = std::str::from_utf8(trace).map_err(|_| "a trace that is no text")?.split("\r\n");
        let is_first = fields.next() == Some(&format!("Return-Path: <{}>", mail.sender()));
        let is_second = fields.next().is_some_and(|line| line.starts_with("Received: from client.example"));
        let rest: Vec<&str> = fields.collect();
        let (end, folded) = rest.split_last().ok_or("no end of the trace")?;
        if !(is_first && is_second && end.is_empty() && folded.iter().all(|line| line.starts_with('\t'))) {
            return Err("something is between our fields and the content".into());
        }
        if let Outcome::Acknowledged(id) = outcome
            && !(name.ends_with(&format!(".{id}.fs")) && folded.iter().any(|line| line.contains(id)))
        {
            return Err(format!("not the queue id that the client was told, {id}"));
        }
        let recipient = format!("{user}@{domain}");
        if !mail.recipients.contains(&recipient) {
            return Err("a mailbox that is no recipient's".into());
        }
        Ok((number, recipient))
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// One client thread of a round.
struct Client<'a> {
    seed: u64,
    address: SocketAddr,
    /// Set before the server is killed.
    over: &'a AtomicBool,
    answered: Sender<()>,
}

impl Client<'_> {
    /// Sends message after message until the server is gone, by ever new sessions of several ways; gives what became of
    /// each message.
    fn send(&self, mut numbers: impl Iterator<Item = u64>) -> Vec<(u64, Outcome)> {
        let mut outcomes = Vec::new();
        while !self.over.load(Ordering::SeqCst)
            && let Ok(stream) = TcpStream::connect(self.address)
            && let Some(number) = numbers.next()
        {
            let mut random = Random(self.seed ^ number.rotate_left(32));
            let mails: Vec<Mail> = std::iter::once(number)
                .chain(numbers.by_ref().take(random.below(SESSION_MESSAGES_MAX) as usize))
                .map(|number| Mail::new(self.seed, number))
                .collect();
            // An error is the end of the session: the outcomes so far are what the client knows.
            let _ = match random.below(4) {
                0 => Talk::new(stream, self).and_then(|mut talk| talk.in_lockstep(&mails, &mut outcomes)),
                1 | 2 => Talk::new(stream, self).and_then(|mut talk| talk.all_at_once(&mails, &mut outcomes)),
                _ => Talk::new(stream, self).and_then(|mut talk| talk.and_leave(&mails, &mut outcomes)),
            };
        }
        outcomes
    }
}

/// A session as a client sees it.
struct Talk<'a> {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
    client: &'a Client<'a>,
}

impl<'a> Talk<'a> {
    fn new(stream: TcpStream, client: &'a Client<'a>) -> io::Result<Talk<'a>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut talk = Talk { replies: BufReader::new(stream.try_clone()?), stream, client };
        talk.expect("220")?;
        talk.say(b"EHLO client.example\r\n", "250")?;
        Ok(talk)
    }

    /// A command, its reply, and so on; the data in two pieces.
    fn in_lockstep(&mut self, mails: &[Mail], outcomes: &mut Vec<(u64, Outcome)>) -> io::Result<()> {
        for mail in mails {
            outcomes.push((mail.number, Outcome::Unfinished));
            self.say(mail.mail_command().as_bytes(), "250")?;
            for command in mail.rcpt_commands() {
                self.say(command.as_bytes(), "250")?;
            }
            let data = if mail.by_chunks {
                let (first, rest) = mail.content.split_at(mail.content.len() / 2);
                self.say(&chunk(first, ""), "250")?;
                chunk(rest, " LAST")
            } else {
                self.say(b"DATA\r\n", "354")?;
                mail.stuffed()
            };
            let (begin, end) = data.split_at(data.len() / 3);
            self.stream.write_all(begin)?;
            outcomes.last_mut().unwrap().1 = Outcome::Unknown;
            self.stream.write_all(end)?;
            outcomes.last_mut().unwrap().1 = self.outcome(mail)?;
        }
        self.say(b"QUIT\r\n", "221")
    }

    /// Each message with the commands of the next in one piece; those by chunks as many as there are.
    fn all_at_once(&mut self, mails: &[Mail], outcomes: &mut Vec<(u64, Outcome)>) -> io::Result<()> {
        let mut group = Vec::new();
        let mut behind: Vec<&Mail> = Vec::new();
        for mail in mails {
            group.extend_from_slice(mail.mail_command().as_bytes());
            mail.rcpt_commands().for_each(|command| group.extend_from_slice(command.as_bytes()));
            behind.push(mail);
            if mail.by_chunks {
                group.extend_from_slice(&chunk(&mail.content, " LAST"));
                continue;
            }
            group.extend_from_slice(b"DATA\r\n");
            self.send_group(&group, &behind, outcomes)?;
            group = mail.stuffed();
            behind = vec![mail];
        }
        group.extend_from_slice(b"QUIT\r\n");
        self.send_group(&group, &behind, outcomes)?;
        self.expect("221")
    }

    /// Sends the ends of the messages that it is `behind`, and the commands between; takes the replies.
    ///
    /// The first of them is behind its 354 already if it is not by chunks; the last waits for its 354 if it is not.
    fn send_group(
        &mut self,
        group: &[u8],
        behind: &[&Mail],
        outcomes: &mut Vec<(u64, Outcome)>,
    ) -> io::Result<()> {
        let is_begun = |mail: &Mail, outcomes: &[(u64, Outcome)]| {
            outcomes.last().is_some_and(|(number, _)| *number == mail.number)
        };
        let mut from = outcomes.len();
        let mut pending = Vec::new();
        for (at, mail) in behind.iter().enumerate() {
            if at == 0 && is_begun(mail, outcomes) {
                from -= 1;
                outcomes[from].1 = Outcome::Unknown;
                pending.push((mail, 0));
                continue;
            }
            let outcome = if mail.by_chunks { Outcome::Unknown } else { Outcome::Unfinished };
            outcomes.push((mail.number, outcome));
            pending.push((mail, 1 + mail.recipients.len()));
        }
        self.stream.write_all(group)?;
        for (at, (mail, commands)) in pending.into_iter().enumerate() {
            for _ in 0..commands {
                self.expect("250")?;
            }
            if !mail.by_chunks && commands > 0 {
                self.expect("354")?;
            } else {
                outcomes[from + at].1 = self.outcome(mail)?;
            }
        }
        Ok(())
    }

    /// Messages that are given up: by RSET between chunks, by leaving within the data, by leaving behind the final dot.
    fn and_leave(&mut self, mails: &[Mail], outcomes: &mut Vec<(u64, Outcome)>) -> io::Result<()> {
        for mail in mails {
            outcomes.push((mail.number, Outcome::Unfinished));
            self.say(mail.mail_command().as_bytes(), "250")?;
            for command in mail.rcpt_commands() {
                self.say(command.as_bytes(), "250")?;
            }
            if mail.by_chunks && !mail.is_spoiled {
                self.say(&chunk(&mail.content, ""), "250")?;
                self.say(b"RSET\r\n", "250")?;
                continue;
            }
            self.say(b"DATA\r\n", "354")?;
            let data = mail.stuffed();
            if mail.number.is_multiple_of(2) {
                return self.stream.write_all(&data[..data.len() - 3]);
            }
            if !mail.is_spoiled {
                outcomes.last_mut().unwrap().1 = Outcome::Unknown;
            }
            return self.stream.write_all(&data);
        }
        Ok(())
    }

    fn say(&mut self, text: &[u8], code: &str) -> io::Result<()> {
        self.stream.write_all(text)?;
        self.expect(code)
    }

    fn expect(&mut self, code: &str) -> io::Result<()> {
        let reply = self.reply()?;
        assert!(reply.starts_with(code), "{code} wanted, {reply:?} came");
        Ok(())
    }

    /// What the server says to the end of `mail`.
    fn outcome(&mut self, mail: &Mail) -> io::Result<Outcome> {
        let reply = self.reply()?;
        if mail.is_spoiled {
            assert!(reply.starts_with("550 5.6.0 "), "to a bare LF: {reply:?}");
            return Ok(Outcome::Refused);
        }
        let id =
            reply.strip_prefix("250 2.0.0 queued as ").unwrap_or_else(|| panic!("to good mail: {reply:?}"));
        let _ = self.client.answered.send(());
        Ok(Outcome::Acknowledged(id.trim_end().to_owned()))
    }

    /// The next reply, whole. A server that stops says 421 in place of any reply, one whose spool is full 452: then the
    /// session is over.
    fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            self.replies.read_line(&mut reply)?;
            if !reply.ends_with("\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                break;
            }
        }
        if reply.starts_with("421 4.3.2 ") || reply.starts_with("452 4.3.1 ") {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(reply)
        }
    }
}

/// A message: a function of the seed and its number.
struct Mail {
    number: u64,
    recipients: Vec<String>,
    content: Vec<u8>,
    by_chunks: bool,
    /// Whether a bare LF is in its content, so that it must be refused.
    is_spoiled: bool,
}

impl Mail {
    fn new(seed: u64, number: u64) -> Mail {
        let mut random = Random(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let by_chunks = random.below(3) == 0;
        let is_spoiled = random.below(20) == 0;
        let first = random.below(MAILBOXES);
        let recipients = (0..1 + random.below(6).saturating_sub(2))
            .map(|at| (first + at * 5) % MAILBOXES)
            .map(|mailbox| format!("user{}@{}.example", mailbox / 2, ["one", "two"][mailbox as usize % 2]))
            .collect();
        let size = match random.below(20) {
            0..3 => 1 + random.below(4),
            3..14 => 1 + random.below(2 << 10),
            14..19 => 1 + random.below(16 << 10),
            _ => 1 + random.below(200 << 10),
        };
        let mut content = random.text(size as usize);
        if is_spoiled {
            content.extend_from_slice(b"\r\na bare\nline end");
        }
        if !by_chunks && !content.ends_with(b"\r\n") {
            content.extend_from_slice(b"\r\n");
        }
        Mail { number, recipients, content, by_chunks, is_spoiled }
    }

    fn sender(&self) -> String {
        format!("m{}@client.example", self.number)
    }

    fn mail_command(&self) -> String {
        format!("MAIL FROM:<{}>\r\n", self.sender())
    }

    fn rcpt_commands(&self) -> impl Iterator<Item = String> {
        self.recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n"))
    }

    /// The content as DATA wants it, with its end.
    fn stuffed(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.content.len() + 64);
        for line in self.content.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                data.push(b'.');
            }
            data.extend_from_slice(line);
        }
        data.extend_from_slice(b".\r\n");
        data
    }
}

fn chunk(octets: &[u8], last: &str) -> Vec<u8> {
    [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat()
}

/// SplitMix64: the choices of a run, from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// So many octets of lines: any octet but CR and LF, many dots, lines of any length.
    fn text(&mut self, size: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(size);
        while text.len() < size {
            match self.below(40) {
                0 if text.len() + 2 <= size => text.extend_from_slice(b"\r\n"),
                1 if text.len() + 5 <= size => text.extend_from_slice(b"\r\n.\r\n"),
                2 => text.push(b'.'),
                _ => {
                    let octets = self.next().to_le_bytes();
                    let plain = octets.iter().filter(|octet| !matches!(octet, b'\r' | b'\n'));
                    text.extend(plain.take(size - text.len()));
                }
            }
        }
        text
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

fn a_new_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// The end waits for all deliveries.
const ARGUMENTS: &[&str] = &["--shutdown-grace", "50s"];
const KILLS_DEFAULT: u64 = 30;
const CLIENTS: u64 = 8;
const MAILBOXES: u64 = 24;
/// Messages of one session, and of one client in one round.
const SESSION_MESSAGES_MAX: u64 = 8;
const MESSAGES_MAX: u64 = 1000;
/// The kill comes behind so many answers of a round and so many microseconds, or when the time for load is over.
const ANSWERS_MAX: u64 = 100;
const DELAY_US: u64 = 30_000;
const LOAD_TIME: Duration = Duration::from_secs(1);
/// A server that starts is killed within so many microseconds.
const STARTING_US: u64 = 30_000;
