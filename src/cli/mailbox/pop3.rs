//! The client's side of POP3 (RFC 1939, 2449 CAPA, 2595 STLS, 5034 AUTH) over any stream that blocks: what it says, and what
//! it takes from a server. Knows no sockets, no TLS and no people; [`Error`] says what went wrong.
//!
//! A server is not trusted: a line has [`POP3_ANSWER_LINE_MAX`] octets at the most, one of AUTH [`AUTH_LINE_MAX`], an id
//! [`POP3_ID_MAX`], an answer of several lines as many as the caller allows, and a mail ends at CRLF `.` CRLF and nowhere else.
//! How long an answer may take is the stream's affair: [`Awaits`].

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

use fastsmtp::limits::{
    AUTH_LINE_MAX, MAIL_READ_MAX, POP3_ANSWER_LINE_MAX, POP3_ID_MAX, POP3_MAILS_MAX, POP3_WINDOW,
};
use fastsmtp::smtp::client::ClearText;
use fastsmtp::wire::sasl::{self, Key, SaslError, Scram};

/// A stream that is told when an answer is awaited, to give it its time.
pub trait Awaits {
    /// The next answer has its time from now on.
    fn await_answer(&mut self);
}

/// A session with a server, from its greeting on.
pub struct Client<S> {
    stream: S,
    /// Where the stream reads to.
    arriving: Vec<u8>,
    received: Vec<u8>,
    /// How much of `received` is read.
    taken: usize,
    can_pipeline: bool,
}

/// Why a session cannot go on.
#[derive(Debug)]
pub enum Error {
    /// The stream failed.
    Stream(io::Error),
    /// What was received could not be written where it should go.
    Output(io::Error),
    /// The server closed the connection.
    Closed,
    /// It said no (`-ERR`) to this command, with these words.
    Refused(&'static str, String),
    /// What it said is not POP3.
    Garbage(&'static str),
    /// What it said in SCRAM is wrong.
    Sasl(SaslError),
}

/// What a server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// STLS.
    pub tls: bool,
    /// AUTH with SCRAM-SHA-256.
    pub scram: bool,
    /// AUTH with PLAIN.
    pub plain: bool,
    /// USER and PASS. Also where the server does not know CAPA.
    pub user: bool,
}

/// How to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// SCRAM-SHA-256: the server learns no password, and proves that it knows it.
    Scram,
    /// The password itself, by AUTH PLAIN.
    Plain,
    /// The password itself, by USER and PASS.
    User,
}

impl Capabilities {
    /// The best that it offers, or that keeps the password to ourselves.
    pub fn proof(&self, clear: ClearText) -> Option<Proof> {
        let offered = [(self.scram, Proof::Scram), (self.plain, Proof::Plain), (self.user, Proof::User)];
        let allowed = |proof: &Proof| clear == ClearText::Allowed || *proof == Proof::Scram;
        offered.into_iter().find_map(|(is_offered, proof)| Some(proof).filter(allowed).filter(|_| is_offered))
    }
}

/// A mail of a maildrop, as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number in this session.
    pub number: usize,
    /// What names it in all sessions.
    pub id: String,
    /// How long the server says that it is.
    pub octets: u64,
}

/// The dialogue.
impl<S: Read + Write + Awaits> Client<S> {
    /// With a server that has said nothing yet.
    pub fn new(stream: S) -> Client<S> {
        let arriving = vec![0; RECEIVED_AT_ONCE];
        Client { stream, arriving, received: Vec::new(), taken: 0, can_pipeline: false }
    }

    /// Takes the greeting.
    pub fn greet(&mut self) -> Result<(), Error> {
        self.answer("its greeting").map(drop)
    }

    /// What the server offers; USER where it does not say (RFC 2449 5: it then knows no CAPA).
    pub fn capabilities(&mut self) -> Result<Capabilities, Error> {
        self.send("CAPA")?;
        match self.answer("CAPA") {
            Err(Error::Refused(..)) => {
                return Ok(Capabilities { user: true, ..Capabilities::default() });
            }
            answer => answer?,
        };
        let mut capabilities = Capabilities::default();
        self.can_pipeline = false;
        self.lines(CAPABILITIES_MAX, |client, line| {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("STLS") => capabilities.tls = true,
                Some("USER") => capabilities.user = true,
                Some("PIPELINING") => client.can_pipeline = true,
                Some("SASL") => words.for_each(|mechanism| match mechanism {
                    "SCRAM-SHA-256" => capabilities.scram = true,
                    "PLAIN" => capabilities.plain = true,
                    _ => {}
                }),
                _ => {}
            }
            Ok(())
        })?;
        Ok(capabilities)
    }

    /// Asks for TLS. The stream is to be secured before anything else is said; what the server had sent behind its consent
    /// would be somebody's between, and is an error.
    pub fn start_tls(&mut self) -> Result<(), Error> {
        self.send("STLS")?;
        self.answer("STLS")?;
        if self.taken < self.received.len() {
            return Err(Error::Garbage("it sent more behind its consent to TLS"));
        }
        Ok(())
    }

    /// Logs in with the password itself. Neither has a control character.
    pub fn login(&mut self, proof: Proof, user: &str, password: &str) -> Result<(), Error> {
        if proof == Proof::User {
            self.send(&format!("USER {user}"))?;
            self.answer("USER")?;
            self.send(&format!("PASS {password}"))?;
            return self.answer("PASS").map(drop);
        }
        self.authenticate("PLAIN", &sasl::plain(user, password))?;
        self.answer("AUTH").map(drop)
    }

    /// Logs in by SCRAM-SHA-256, with a nonce that was never used before. `salted` makes the key of a salt and iterations,
    /// which takes a while.
    pub fn login_by_scram(
        &mut self,
        user: &str,
        nonce: &str,
        salted: impl FnOnce(&[u8], u32) -> Key,
    ) -> Result<(), Error> {
        let scram = Scram::new(user, nonce);
        self.authenticate("SCRAM-SHA-256", &scram.first())?;
        let message = self.challenge()?;
        let challenge = scram.challenge(&message).map_err(Error::Sasl)?;
        let (proof, verifier) = scram.proof(&challenge, &salted(&challenge.salt, challenge.iterations));
        self.send(&sasl::encode(&proof))?;
        let message = self.challenge()?;
        verifier.verify(&message).map_err(Error::Sasl)?;
        self.send("")?;
        self.answer("AUTH").map(drop)
    }

    /// Begins AUTH with an initial response, or without it where that is too long for one command (RFC 5034 4).
    fn authenticate(&mut self, mechanism: &str, first: &[u8]) -> Result<(), Error> {
        let first = sasl::encode(first);
        if mechanism.len() + first.len() + "AUTH  \r\n".len() <= AUTH_COMMAND_MAX {
            return self.send(&format!("AUTH {mechanism} {first}"));
        }
        self.send(&format!("AUTH {mechanism}"))?;
        self.challenge()?;
        self.send(&first)
    }

    /// What the server asks in the midst of AUTH.
    fn challenge(&mut self) -> Result<Vec<u8>, Error> {
        self.stream.await_answer();
        let line = self.line(AUTH_LINE_MAX)?;
        match line.strip_prefix(b"+ ") {
            Some(challenge) => sasl::decode(challenge).map_err(Error::Sasl),
            None if line == b"+" => Ok(Vec::new()),
            None => match judged("AUTH", &line) {
                Ok(_) => Err(Error::Sasl(SaslError::Unproven)),
                Err(error) => Err(error),
            },
        }
    }

    /// All mails, by number, with their ids. Where the server does not give ids (UIDL is optional, RFC 1939 7), the number of
    /// a mail in this session is its id.
    pub fn list(&mut self) -> Result<Vec<Listed>, Error> {
        let mut sizes = Vec::new();
        let mut ids = HashMap::new();
        if self.can_pipeline {
            self.send("LIST\r\nUIDL")?;
        } else {
            self.send("LIST")?;
        }
        self.answer("LIST")?;
        self.lines(POP3_MAILS_MAX, |_, line| {
            sizes.push(pair::<u64>(line)?);
            Ok(())
        })?;
        if !self.can_pipeline {
            self.send("UIDL")?;
        }
        match self.answer("UIDL") {
            Err(Error::Refused(..)) => {
                ids.extend(sizes.iter().map(|(number, _)| (*number, number.to_string())))
            }
            answer => {
                answer?;
                self.lines(POP3_MAILS_MAX, |_, line| {
                    let (number, id) = pair::<String>(line)?;
                    if id.len() > POP3_ID_MAX {
                        return Err(Error::Garbage("one of its ids is too long"));
                    }
                    ids.insert(number, id);
                    Ok(())
                })?;
            }
        }
        let mut listed = Vec::with_capacity(sizes.len());
        for (number, octets) in sizes {
            let id = ids.remove(&number).ok_or(Error::Garbage("LIST has a mail that UIDL has not"))?;
            listed.push(Listed { number, id, octets });
        }
        Ok(listed)
    }

    /// The headers of these mails, at most `header_max` octets of each. From a server that does not give a header alone (TOP
    /// is optional), it takes the mail. None for a mail that it does not give either.
    pub fn headers(
        &mut self,
        numbers: &[usize],
        header_max: usize,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), Error> {
        let mut begin = 0;
        for numbers in numbers.chunks(self.window()) {
            let mut headers = Vec::with_capacity(numbers.len());
            self.in_windows(
                numbers,
                |number| format!("TOP {number} 0"),
                |client, _| client.header("TOP", TOP_MAX, header_max).map(|header| headers.push(header)),
            )?;
            for (at, (header, number)) in (begin..).zip(headers.into_iter().zip(numbers)) {
                let header = match header {
                    None => {
                        self.send(&format!("RETR {number}"))?;
                        self.header("RETR", MAIL_READ_MAX, header_max)?
                    }
                    header => header,
                };
                each(at, header.as_deref());
            }
            begin += numbers.len();
        }
        Ok(())
    }

    /// Takes the answer to a command that asked for a header and perhaps more; none if it was refused.
    fn header(
        &mut self,
        to: &'static str,
        data_max: u64,
        header_max: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        match self.answer(to) {
            Err(Error::Refused(..)) => return Ok(None),
            answer => answer?,
        };
        let mut header = Vec::new();
        self.data(data_max, |piece| {
            header.extend_from_slice(&piece[..piece.len().min(header_max - header.len())]);
            Ok(())
        })?;
        Ok(Some(header))
    }

    /// The content of a mail, at most `content_max` octets of it.
    pub fn retrieve(&mut self, number: usize, content_max: u64, out: &mut dyn Write) -> Result<(), Error> {
        self.send(&format!("RETR {number}"))?;
        self.answer("RETR")?;
        self.data(content_max, |piece| out.write_all(piece).map_err(Error::Output))
    }

    /// Marks mails, to be removed by [`quit`](Client::quit).
    pub fn delete(&mut self, numbers: &[usize]) -> Result<(), Error> {
        self.in_windows(
            numbers,
            |number| format!("DELE {number}"),
            |client, _| client.answer("DELE").map(drop),
        )
    }

    /// The stream, to ask it something.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, to secure it: see [`start_tls`](Client::start_tls).
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Ends the session: what is marked is removed when the server has agreed.
    pub fn quit(&mut self) -> Result<(), Error> {
        self.send("QUIT")?;
        self.answer("QUIT").map(drop)
    }

    /// The stream, to close it.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Commands that may be said before the first is answered.
    fn window(&self) -> usize {
        if self.can_pipeline { POP3_WINDOW } else { 1 }
    }

    /// Says a command for each number and takes its answer; several before the first answer, where the server allows it.
    fn in_windows(
        &mut self,
        numbers: &[usize],
        command: impl Fn(usize) -> String,
        mut take: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let window = self.window();
        for (first, window) in (0..).step_by(window).zip(numbers.chunks(window)) {
            let commands: Vec<String> = window.iter().map(|number| command(*number)).collect();
            self.send(&commands.join("\r\n"))?;
            (first..).take(window.len()).try_for_each(|at| take(self, at))?;
        }
        Ok(())
    }
}

/// Lines.
impl<S: Read + Write + Awaits> Client<S> {
    fn send(&mut self, line: &str) -> Result<(), Error> {
        self.stream.await_answer();
        let sent = self.stream.write_all(format!("{line}\r\n").as_bytes()).and_then(|()| self.stream.flush());
        sent.map_err(Error::Stream)
    }

    /// Receives more.
    fn fill(&mut self) -> Result<(), Error> {
        self.received.drain(..self.taken);
        self.taken = 0;
        match self.stream.read(&mut self.arriving) {
            Ok(0) => Err(Error::Closed),
            Ok(count) => {
                self.received.extend_from_slice(&self.arriving[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Error::Stream(error)),
        }
    }

    /// The next line, of so many octets at most, without its end.
    fn line(&mut self, line_max: usize) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        loop {
            let rest = &self.received[self.taken..];
            if let Some(at) = rest[searched..].iter().position(|&octet| octet == b'\n') {
                let line = &rest[..searched + at];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.taken += searched + at + 1;
                return if line.len() <= line_max { Ok(line) } else { Err(Error::Garbage(LONG_LINE)) };
            }
            searched = rest.len();
            if searched > line_max {
                return Err(Error::Garbage(LONG_LINE));
            }
            self.fill()?;
        }
    }

    /// The words behind `+OK`.
    fn answer(&mut self, to: &'static str) -> Result<String, Error> {
        self.stream.await_answer();
        let line = self.line(POP3_ANSWER_LINE_MAX)?;
        judged(to, &line)
    }

    /// Takes an answer of several short lines.
    fn lines(
        &mut self,
        lines_max: usize,
        mut take: impl FnMut(&mut Self, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for _ in 0..=lines_max {
            let line = self.line(POP3_ANSWER_LINE_MAX)?;
            match line.strip_prefix(b".") {
                Some(b"") => return Ok(()),
                Some(unstuffed) => take(self, unstuffed)?,
                None => take(self, &line)?,
            }
        }
        Err(Error::Garbage("its answer has no end"))
    }

    /// Takes a mail or its header in pieces, unstuffed.
    fn data(&mut self, data_max: u64, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let (mut is_line_start, mut total) = (true, 0);
        loop {
            let rest = &self.received[self.taken..];
            if is_line_start && rest.starts_with(END) {
                self.taken += END.len();
                return Ok(());
            }
            // A dot and what follows it are judged together.
            let is_whole = !is_line_start || !END.starts_with(&rest[..rest.len().min(END.len())]);
            let line_end = rest.windows(2).position(|two| two == b"\r\n");
            // A CR at the end of what was received may be one half.
            let end = line_end.map_or(rest.len() - usize::from(rest.ends_with(b"\r")), |at| at + 2);
            if !is_whole || end == 0 {
                self.fill()?;
                continue;
            }
            let dot = usize::from(is_line_start && rest.starts_with(b"."));
            total += (end - dot) as u64;
            if total > data_max {
                return Err(Error::Garbage("it sends more than the mail has"));
            }
            take(&rest[dot..end])?;
            self.taken += end;
            is_line_start = line_end.is_some();
        }
    }
}

const LONG_LINE: &str = "one of its lines is too long";
/// What ends an answer of several lines, at the start of a line.
const END: &[u8] = b".\r\n";
/// Octets of an AUTH command with its CRLF (RFC 5034 4).
const AUTH_COMMAND_MAX: usize = 255;
/// Lines of an answer to CAPA: there are not 40 capabilities.
const CAPABILITIES_MAX: usize = 200;
/// Octets of a header: what is longer is none.
const TOP_MAX: u64 = 16 << 20;
/// Octets that are received at once.
const RECEIVED_AT_ONCE: usize = 16 * 1024;

fn judged(to: &'static str, line: &[u8]) -> Result<String, Error> {
    let words = |rest: &[u8]| String::from_utf8_lossy(rest).trim().to_owned();
    match (line.strip_prefix(b"+OK"), line.strip_prefix(b"-ERR")) {
        (Some(rest), _) => Ok(words(rest)),
        (_, Some(rest)) => Err(Error::Refused(to, words(rest))),
        (None, None) => Err(Error::Garbage("it does not begin with +OK or -ERR")),
    }
}

/// A number and something that belongs to it.
fn pair<T: std::str::FromStr>(line: &[u8]) -> Result<(usize, T), Error> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let mut words = text.split_whitespace();
    let number = words.next().and_then(|number| number.parse().ok());
    let other = words.next().and_then(|other| other.parse().ok());
    number.zip(other).ok_or(Error::Garbage("a line of its list is none"))
}

/// For people; the server's name goes before it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Stream(error) | Error::Output(error) => error.fmt(f),
            Error::Closed => f.write_str("it closed the connection in the midst of the dialogue"),
            Error::Refused(command, words) if words.is_empty() => write!(f, "it refuses {command}"),
            Error::Refused(command, words) => write!(f, "it refuses {command}: {words}"),
            Error::Garbage(what) => write!(f, "it does not speak POP3: {what}"),
            Error::Sasl(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
#[path = "pop3_tests.rs"]
mod tests;
