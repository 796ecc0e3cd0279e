//! Clients that load a server by ever new sessions of several ways, and remember what they were told.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::oracle::{Mail, Oracle, Outcome, Random, chunk};
use super::server::{self, PATIENCE, Server};

/// How the sessions of a load ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct Endings {
    /// By the client's own choice.
    pub left: u64,
    /// By 421, or by 451 or 452 where the client would go on.
    pub dismissed: u64,
    /// Without a word, behind the banner.
    pub cut: u64,
    /// Before the banner.
    pub unserved: u64,
}

impl Oracle {
    /// Loads `server` from [`CLIENTS`] connections while `meanwhile` decides how long and how it ends, then kills what is
    /// left of it. `meanwhile` hears of each 250.
    pub fn load(&mut self, mut server: Server, meanwhile: impl FnOnce(&mut Server, &Answers)) -> Endings {
        let (seed, address) = (self.seed, server.address());
        let (over, in_doubt) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let told = thread::scope(|scope| {
            let (answered, heard) = channel();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let numbers = self.numbers(MESSAGES_MAX);
                    let answered = answered.clone();
                    scope.spawn(move || Client { seed, address, over, in_doubt, answered }.send(numbers))
                })
                .collect();
            drop(answered);
            let end = OnDrop(over);
            meanwhile(&mut server, &Answers { heard, in_doubt });
            drop(end);
            server.kill();
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        let mut endings = Endings::default();
        for (outcomes, its) in told {
            self.learn(outcomes);
            endings.left += its.left;
            endings.dismissed += its.dismissed;
            endings.cut += its.cut;
            endings.unserved += its.unserved;
        }
        endings
    }
}

/// Tells the clients that it is over, also when a test fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The 250s of a load, as they come.
pub struct Answers<'a> {
    heard: Receiver<()>,
    in_doubt: &'a AtomicBool,
}

impl Answers<'_> {
    /// From now on a 250 proves nothing: the disk is about to be gone, and the server is not.
    pub fn prove_no_more(&self) {
        self.in_doubt.store(true, Ordering::SeqCst);
    }

    /// Waits for so many, or for so long.
    pub fn wait(&self, count: u64, time: Duration) {
        let until = Instant::now() + time;
        for _ in 0..count {
            let left = until.saturating_duration_since(Instant::now());
            if self.heard.recv_timeout(left).is_err() {
                return;
            }
        }
    }
}

/// One client thread of a round.
struct Client<'a> {
    seed: u64,
    address: SocketAddr,
    /// Set before the server is killed.
    over: &'a AtomicBool,
    /// Set before the disk is gone.
    in_doubt: &'a AtomicBool,
    answered: Sender<()>,
}

impl Client<'_> {
    /// Sends message after message until the server is gone, by ever new sessions of several ways; gives what became of
    /// each message.
    fn send(&self, mut numbers: impl Iterator<Item = u64>) -> (Vec<(u64, Outcome)>, Endings) {
        let (mut outcomes, mut endings) = (Vec::new(), Endings::default());
        while !self.over.load(Ordering::SeqCst)
            && let Ok(stream) = TcpStream::connect(self.address)
            && let Some(number) = numbers.next()
        {
            let mut random = Random(self.seed ^ number.rotate_left(32));
            let mails: Vec<Mail> = std::iter::once(number)
                .chain(numbers.by_ref().take(random.below(SESSION_MESSAGES_MAX) as usize))
                .map(|number| Mail::new(self.seed, number))
                .collect();
            let result = Talk::new(stream, self).and_then(|mut talk| match random.below(4) {
                0 => talk.in_lockstep(&mails, &mut outcomes),
                1 | 2 => talk.all_at_once(&mails, &mut outcomes),
                _ => talk.and_leave(&mails, &mut outcomes),
            });
            // An error is the end of the session: the outcomes so far are what the client knows.
            *match result {
                Ok(()) => &mut endings.left,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => &mut endings.dismissed,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => &mut endings.unserved,
                Err(_) => &mut endings.cut,
            } += 1;
        }
        (outcomes, endings)
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
        talk.expect("220").map_err(|_| io::ErrorKind::NotConnected)?;
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

    /// Takes a reply. Also good servers say 421 in place of any, 451 when the disk failed, 452 when there is no room:
    /// then the session is over.
    fn expect(&mut self, code: &str) -> io::Result<()> {
        let reply = self.reply()?;
        if ["421 4.3.2 ", "451 4.3.0 ", "452 4.3.1 "].iter().any(|end| reply.starts_with(end)) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        assert!(reply.starts_with(code), "{code} wanted, {reply:?} came");
        Ok(())
    }

    /// What the server says to the end of `mail`.
    fn outcome(&mut self, mail: &Mail) -> io::Result<Outcome> {
        let reply = self.reply()?;
        if reply.starts_with("421 4.3.2 ") {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if reply.starts_with("451 4.3.0 ") {
            return Ok(Outcome::Unknown);
        }
        if reply.starts_with("452 4.3.1 ") {
            return Ok(Outcome::Refused);
        }
        if mail.is_spoiled {
            assert!(reply.starts_with("550 5.6.0 "), "to a bare LF: {reply:?}");
            return Ok(Outcome::Refused);
        }
        let id =
            reply.strip_prefix("250 2.0.0 queued as ").unwrap_or_else(|| panic!("to good mail: {reply:?}"));
        if self.client.in_doubt.load(Ordering::SeqCst) {
            return Ok(Outcome::Unknown);
        }
        let _ = self.client.answered.send(());
        Ok(Outcome::Acknowledged(id.trim_end().to_owned()))
    }

    /// The next reply, whole.
    fn reply(&mut self) -> io::Result<String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            self.replies.read_line(&mut reply)?;
            if !reply.ends_with("\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(reply);
            }
        }
    }
}

/// Sends all of a message but what ends it; gives that. Nothing comes of it if the server is gone or has no room.
pub fn begin(talk: &mut server::Talk, mail: &Mail) -> Vec<u8> {
    talk.say(mail.mail_command(), "250");
    mail.rcpt_commands().for_each(|command| drop(talk.say(command, "250")));
    if mail.by_chunks {
        return chunk(&mail.content, " LAST");
    }
    talk.say("DATA\r\n", "354");
    mail.stuffed()
}

/// Sends a message, and gives what the server says to its end, or to its beginning if that is put off; nothing if it is
/// gone.
pub fn post(talk: &mut server::Talk, mail: &Mail, oracle: &mut Oracle) -> String {
    let mut ask = |text: &[u8]| talk.stream.write_all(text).map(|()| talk.reply()).unwrap_or_default();
    let end = match mail.by_chunks {
        true => chunk(&mail.content, " LAST"),
        false => mail.stuffed(),
    };
    let mut steps = vec![mail.mail_command().into_bytes()];
    steps.extend(mail.rcpt_commands().map(String::into_bytes));
    if !mail.by_chunks {
        steps.push(b"DATA\r\n".to_vec());
    }
    for step in steps {
        let reply = ask(&step);
        if !reply.starts_with("250 ") && !reply.starts_with("354 ") {
            return reply;
        }
    }
    let reply = ask(&end);
    oracle.hear(mail, &reply);
    reply
}

/// Connections of a load.
pub const CLIENTS: u64 = 8;
/// Messages of one session, and of one client in one load.
const SESSION_MESSAGES_MAX: u64 = 8;
const MESSAGES_MAX: u64 = 100_000;
