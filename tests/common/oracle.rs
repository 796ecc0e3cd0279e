//! What a server was sent and what it said, against what lies in its mailboxes: the clients' memory is the oracle.
//!
//! A message is a function of the seed and its number; the number is its sender, so that a delivered file names what it
//! must be, octet for octet. No client sends a message twice: so an answered one must be in each of its mailboxes
//! exactly once, one without an answer in all of them once or in none, and one that was refused, or whose end was never
//! sent, nowhere.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::server::{Server, log_of};

/// What a client was told of a message.
#[derive(Debug)]
pub enum Outcome {
    /// 250 with this queue id.
    Acknowledged(String),
    /// Its end was sent, and no answer came, or one that promises nothing (451).
    Unknown,
    /// Refused for good (5yz), or put off with nothing kept (452).
    Refused,
    /// Its end was never sent.
    Unfinished,
}

/// The memory of all clients of a run.
pub struct Oracle {
    pub seed: u64,
    /// A server that logs one of these has failed.
    pub alarms: &'static [&'static str],
    outcomes: BTreeMap<u64, Outcome>,
    counts: Counts,
    next: u64,
}

/// How many messages of each outcome, also those that are forgotten since.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    pub unfinished: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { acknowledged, unknown, refused, unfinished } = self;
        write!(f, "acknowledged={acknowledged} unknown={unknown} refused={refused} unfinished={unfinished}")
    }
}

impl Oracle {
    pub fn new(seed: u64) -> Oracle {
        Oracle { seed, alarms: DISK_ALARMS, outcomes: BTreeMap::new(), counts: Counts::default(), next: 0 }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// So many numbers that no message has.
    pub fn numbers(&mut self, count: u64) -> std::ops::Range<u64> {
        self.next += count;
        self.next - count..self.next
    }

    /// The next message that is no client's of a [`load`](Oracle::load), and not to be refused.
    pub fn mail(&mut self) -> Mail {
        self.mail_from(0)
    }

    /// The same, and large.
    pub fn large_mail(&mut self) -> Mail {
        self.mail_from(LARGE_FROM)
    }

    fn mail_from(&mut self, first: u64) -> Mail {
        loop {
            let mail = Mail::new(self.seed, first + self.numbers(1).start);
            if !mail.is_spoiled {
                return mail;
            }
        }
    }

    /// Remembers what the reply to the end of `mail` said; an empty one is a closed connection.
    pub fn hear(&mut self, mail: &Mail, reply: &str) {
        let outcome = match reply.strip_prefix("250 2.0.0 queued as ") {
            Some(id) => Outcome::Acknowledged(id.trim_end().to_owned()),
            None if reply.starts_with("452 4.3.1 ") => Outcome::Refused,
            None => Outcome::Unknown,
        };
        self.learn([(mail.number, outcome)]);
    }

    /// Remembers what clients were told.
    pub fn learn(&mut self, outcomes: impl IntoIterator<Item = (u64, Outcome)>) {
        for (number, outcome) in outcomes {
            *match &outcome {
                Outcome::Acknowledged(_) => &mut self.counts.acknowledged,
                Outcome::Unknown => &mut self.counts.unknown,
                Outcome::Refused => &mut self.counts.refused,
                Outcome::Unfinished => &mut self.counts.unfinished,
            } += 1;
            let before = self.outcomes.insert(number, outcome);
            assert!(before.is_none(), "message {number} was sent twice");
        }
    }

    /// Starts the server over `data` once more, has it deliver everything and stop; gives what is wrong with what lies
    /// in the mailboxes then, and every alarm in the log.
    pub fn violations_at_rest(&self, data: &Path) -> Vec<String> {
        let server = Server::start(data, PATIENT);
        let code = server.stop().code();
        let mut found = self.violations(data);
        if code != Some(0) {
            found.push(format!("the last run ended with {code:?}"));
        }
        let log = fs::read_to_string(log_of(data)).unwrap();
        if !log.trim_end().ends_with("stopped; all accepted mail is delivered") {
            found.push("it did not deliver all that it had accepted before it stopped".to_owned());
        }
        let is_alarm = |line: &&str| self.alarms.iter().any(|word| line.contains(word));
        found.extend(log.lines().filter(is_alarm).map(str::to_owned));
        found.extend(leftovers(data));
        found
    }

    /// Forgets all messages, and removes their files. Only behind [`violations_at_rest`](Oracle::violations_at_rest):
    /// what is delivered and not settled would come back.
    pub fn forget(&mut self, data: &Path) {
        self.outcomes.clear();
        files_below(&data.join("mailboxes")).iter().for_each(|file| fs::remove_file(file).unwrap());
    }

    /// The files in any `new/` that are not whole: at any moment, also of a server that was just killed.
    pub fn torn(&self, data: &Path) -> Vec<String> {
        let files = files_below(&data.join("mailboxes"));
        let visible = files.iter().filter(|file| file.parent().is_some_and(|parent| parent.ends_with("new")));
        visible
            .filter_map(|file| self.judge_file(file).err().map(|why| format!("{}: {why}", file.display())))
            .collect()
    }

    /// Everything in the mailboxes that no client can explain, and everything that should be there and is not.
    pub fn violations(&self, data: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut copies: HashMap<(u64, String), u32> = HashMap::new();
        for file in files_below(&data.join("mailboxes")) {
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

/// What no server should log, whatever was done to it.
pub const ALARMS: &[&str] = &["DAMAGED", "panicked"];
/// What no server should log over a sound disk.
pub const DISK_ALARMS: &[&str] = &["DAMAGED", "panicked", "cannot be written", "made durable ("];

/// Files in a `tmp/`, or on their way into the log or the quarantine, that a server which stopped left behind.
pub fn leftovers(data: &Path) -> Vec<String> {
    let is_leftover = |file: &&PathBuf| {
        let directory = file.parent().unwrap();
        directory.ends_with("tmp") || directory.ends_with("quarantine")
    };
    let files = files_below(data);
    files.iter().filter(is_leftover).map(|file| format!("left over: {}", file.display())).collect()
}

/// Every file below a directory; none if it is not there.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return files };
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// A message: a function of the seed and its number.
pub struct Mail {
    pub number: u64,
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    pub by_chunks: bool,
    /// Whether a bare LF is in its content, so that it must be refused.
    pub is_spoiled: bool,
}

impl Mail {
    pub fn new(seed: u64, number: u64) -> Mail {
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
            _ if random.below(LARGE_ONE_IN) > 0 => 1 + random.below(200 << 10),
            _ => 1 + random.below(3 << 20),
        };
        let mut content = match number {
            LARGE_FROM.. => random.text(LARGE_TEXT).repeat(LARGE_REPEATED),
            _ => random.text(size as usize),
        };
        if is_spoiled {
            content.extend_from_slice(b"\r\na bare\nline end");
        }
        if !by_chunks && !content.ends_with(b"\r\n") {
            content.extend_from_slice(b"\r\n");
        }
        Mail { number, recipients, content, by_chunks, is_spoiled }
    }

    pub fn sender(&self) -> String {
        format!("m{}@client.example", self.number)
    }

    pub fn mail_command(&self) -> String {
        format!("MAIL FROM:<{}>\r\n", self.sender())
    }

    pub fn rcpt_commands(&self) -> impl Iterator<Item = String> {
        self.recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>\r\n"))
    }

    /// The content as DATA wants it, with its end.
    pub fn stuffed(&self) -> Vec<u8> {
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

/// One chunk of BDAT.
pub fn chunk(octets: &[u8], last: &str) -> Vec<u8> {
    [format!("BDAT {}{last}\r\n", octets.len()).as_bytes(), octets].concat()
}

/// SplitMix64: the choices of a run, from its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// So many octets of lines: any octet but CR and LF, many dots, lines of any length.
    pub fn text(&mut self, size: usize) -> Vec<u8> {
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

/// The number in an environment variable.
pub fn number_from(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}

pub fn a_new_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// The last run delivers everything, however long it takes.
pub const PATIENT: &[&str] = &["--shutdown-grace", "50s"];
/// Messages from this number on are large: 900 KiB of the same text again and again.
pub const LARGE_FROM: u64 = 1 << 40;
const LARGE_TEXT: usize = 9 << 10;
const LARGE_REPEATED: usize = 100;
const MAILBOXES: u64 = 24;
/// Of twenty messages one is up to 200 KiB, of so many of these one up to 3 MiB.
const LARGE_ONE_IN: u64 = 10;
