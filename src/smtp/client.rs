//! The client's half of the dialogue: what to say, and what the server's replies mean (RFC 5321, RFC 2920).
//!
//! A [`Client`] is a value. Its driver writes what [`Client::output`] gives and says with [`Client::sent`] how much went
//! out; what it received it hands to [`Client::advance`], which gives one event for each reply. Between transactions
//! the client [is idle](Client::is_idle) until it is told to [`start`](Client::start) another or to
//! [`quit`](Client::quit). No socket, clock, thread or logger; a dialogue that goes well allocates nothing, and what is
//! said is borrowed from a [`Mail`] that many clients may share.
//!
//! ```text
//!   Banner ─▶ Ehlo ─┬───────▶ Idle ─▶ Envelope ─▶ Data ─▶ Idle ... ─▶ Quit ─▶ Over
//!               └─▶ Helo ─┘            │  no recipient: Cancel (a lone dot) or Reset, then Idle
//!   421 at any time: Over
//! ```
//!
//! In a pipelined group MAIL, RCPT and DATA are one output, and the mail data with its end is the next, after the 354.

mod replies;

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use super::{Body, Envelope, is_host_name};

pub use replies::{Replies, Reply, ReplyError, Status};

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The server's greeting.
    Banner,
    /// EHLO.
    Ehlo,
    /// HELO, after an EHLO that was refused.
    Helo,
    /// MAIL.
    Mail,
    /// One RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The final dot: whether the server took responsibility.
    Accept,
    /// The lone dot that ends a DATA which the server granted though it took no recipient (RFC 2920 3.1).
    Cancel,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// Nothing: a 421 out of the blue.
    Unasked,
}

/// One reply, and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it answers.
    pub phase: Phase,
    /// The reply.
    pub reply: Reply<'a>,
}

/// What a server did that leaves no common ground: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// It said something that is no reply.
    Reply(ReplyError),
    /// It replied, with this code, while nothing was asked.
    Unasked(u16),
    /// It replied, with this code, to what was not yet said whole.
    Early(Phase, u16),
    /// It replied with a code that has no meaning there.
    OutOfPlace(Phase, u16),
}

impl From<ReplyError> for Error {
    fn from(error: ReplyError) -> Error {
        Error::Reply(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Reply(error) => error.fmt(f),
            Error::Unasked(code) => write!(f, "the server said {code} without being asked"),
            Error::Early(phase, code) => {
                write!(f, "the server said {code} ({phase:?}) before it could have all it answers")
            }
            Error::OutOfPlace(phase, code) => write!(f, "the reply {code} has no meaning there ({phase:?})"),
        }
    }
}

impl std::error::Error for Error {}

/// How the commands of an envelope are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// One command, one reply.
    Lockstep,
    /// MAIL, RCPT and DATA as one group where the server offers PIPELINING (RFC 2920), else in lockstep.
    Pipelined,
}

/// How a client introduces itself; shared by all that do so alike.
#[derive(Debug)]
pub struct Hello {
    ehlo: String,
    helo: String,
}

impl Hello {
    /// As the host `name`, which must be one ([`is_host_name`]).
    pub fn new(name: &str) -> Hello {
        assert!(is_host_name(name), "not a host name: {name:?}");
        Hello { ehlo: format!("EHLO {name}\r\n"), helo: format!("HELO {name}\r\n") }
    }
}

/// A message as it is said: the commands of its envelope, and its data stuffed and ended; shared by all that say it.
#[derive(Debug)]
pub struct Mail {
    /// MAIL, each RCPT, DATA.
    commands: String,
    /// Where each of the commands ends.
    ends: Vec<usize>,
    /// The mail data, stuffed, with its end.
    data: Vec<u8>,
}

impl Mail {
    /// Of an envelope with at least one forward-path, and mail data whose line ends are all CRLF. Whether the server
    /// offers what the envelope asks for is the caller's to look at ([`Client::extensions`]). BINARYMIME needs BDAT,
    /// which this client does not speak yet.
    pub fn new(envelope: &Envelope, data: &[u8]) -> Mail {
        assert!(!envelope.forward_paths.is_empty(), "an envelope without forward-paths cannot be sent");
        let (mut commands, mut ends) = (String::from("MAIL FROM:<"), Vec::new());
        let mut end = |commands: &mut String| {
            commands.push_str("\r\n");
            ends.push(commands.len());
        };
        if let Some(address) = &envelope.reverse_path {
            push_display(&mut commands, address);
        }
        commands.push('>');
        commands.push_str(match envelope.body {
            Body::SevenBit => "",
            Body::EightBitMime | Body::BinaryMime => " BODY=8BITMIME",
        });
        commands.push_str(if envelope.smtputf8 { " SMTPUTF8" } else { "" });
        end(&mut commands);
        for address in &envelope.forward_paths {
            commands.push_str("RCPT TO:<");
            push_display(&mut commands, address);
            commands.push('>');
            end(&mut commands);
        }
        commands.push_str("DATA");
        end(&mut commands);
        let mut stuffed = Vec::with_capacity(data.len() + data.len() / 64 + 8);
        stuff(data, &mut stuffed);
        Mail { commands, ends, data: stuffed }
    }

    /// The command at `index`, with its CRLF.
    fn command(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.commands.as_bytes()[start..self.ends[index]]
    }

    /// What the reply to the command at `index` answers.
    fn phase(&self, index: usize) -> Phase {
        match index {
            0 => Phase::Mail,
            _ if index + 1 == self.ends.len() => Phase::Data,
            _ => Phase::Rcpt,
        }
    }
}

/// Appends mail data to `out` as it is sent: a dot at a line's start doubled (RFC 5321 4.5.2), a last line without CRLF
/// ended, and the end of data behind it. The line ends of `data` must all be CRLF: a bare CR or LF goes out as it is.
pub fn stuff(data: &[u8], out: &mut Vec<u8>) {
    let mut line_start = true;
    for piece in data.split_inclusive(|octet| *octet == b'\n') {
        if line_start && piece[0] == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
        // A piece may be a lone LF whose CR ended nothing: look at what went out, not at the piece alone.
        line_start = out.ends_with(b"\r\n");
    }
    if !line_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

/// What the server offers in its reply to EHLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 1870: the octets of the largest message; none if the server names no limit.
    pub size_max: Option<u64>,
}

impl Extensions {
    /// Those of a reply to EHLO: its first line is a greeting, each further one a keyword and its parameters.
    fn offered(reply: &Reply<'_>) -> Extensions {
        let mut offered = Extensions::default();
        for line in reply.lines().skip(1) {
            let mut words = line.split(|octet| *octet == b' ');
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_slice() {
                b"PIPELINING" => offered.pipelining = true,
                b"8BITMIME" => offered.eight_bit_mime = true,
                b"SMTPUTF8" => offered.smtputf8 = true,
                b"CHUNKING" => offered.chunking = true,
                b"STARTTLS" => offered.starttls = true,
                b"SIZE" => offered.size_max = words.next().and_then(size).filter(|size| *size > 0),
                _ => {}
            }
        }
        offered
    }
}

/// A client in its dialogue.
#[derive(Debug)]
pub struct Client {
    replies: Replies,
    dialogue: Dialogue,
}

#[derive(Debug)]
struct Dialogue {
    hello: Arc<Hello>,
    /// Of the transaction under way, or the last.
    mail: Option<Arc<Mail>>,
    grouping: Grouping,
    extensions: Extensions,
    state: State,
    /// Octets of what the state says that are sent.
    sent: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Banner,
    Ehlo,
    Helo,
    Idle,
    Envelope(Answers),
    Data,
    Cancel,
    Reset,
    Quit,
    Over,
}

/// What was answered of an envelope's commands so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Answers {
    /// How many: the index of the command whose reply is next.
    count: usize,
    /// Whether MAIL was taken, so that a transaction is open.
    open: bool,
    /// Recipients taken.
    recipients: usize,
}

impl Client {
    /// One that waits for the banner.
    pub fn new(hello: Arc<Hello>, grouping: Grouping) -> Client {
        let dialogue = Dialogue {
            hello,
            mail: None,
            grouping,
            extensions: Extensions::default(),
            state: State::Banner,
            sent: 0,
        };
        Client { replies: Replies::new(), dialogue }
    }

    /// Takes the next reply off `input`; none if there is no whole one, and then all of the input is taken. To be called
    /// until it gives none. A dialogue that [is over](Client::is_over) takes any input and gives nothing.
    pub fn advance<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        if self.is_over() {
            *input = &[];
            return Ok(None);
        }
        let taken = match self.replies.next(input) {
            Ok(None) => return Ok(None),
            Ok(Some(reply)) => self.dialogue.take(&reply).map(|phase| Some(Event { phase, reply })),
            Err(error) => Err(error.into()),
        };
        if taken.is_err() {
            self.dialogue.go(State::Over);
        }
        taken
    }

    /// What is to be sent now; empty while a reply is awaited, or nothing is to be done.
    pub fn output(&self) -> &[u8] {
        &self.dialogue.saying()[self.dialogue.sent..]
    }

    /// Takes note that the first `count` octets of [`output`](Client::output) are sent.
    pub fn sent(&mut self, count: usize) {
        self.dialogue.sent += count;
        assert!(self.dialogue.sent <= self.dialogue.saying().len(), "more sent than there was to send");
    }

    /// Begins a transaction. Only for an [idle](Client::is_idle) client.
    pub fn start(&mut self, mail: Arc<Mail>) {
        assert!(self.is_idle(), "a transaction begins when the last has ended");
        self.dialogue.mail = Some(mail);
        self.dialogue.go(State::Envelope(Answers::default()));
    }

    /// Ends the session with QUIT. Only for an [idle](Client::is_idle) client.
    pub fn quit(&mut self) {
        assert!(self.is_idle(), "QUIT comes when the last transaction has ended");
        self.dialogue.go(State::Quit);
    }

    /// Whether the server was greeted and no transaction is under way.
    pub fn is_idle(&self) -> bool {
        self.dialogue.state == State::Idle
    }

    /// Whether nothing more will be said: QUIT was answered, the server said 421, or it made an error.
    pub fn is_over(&self) -> bool {
        self.dialogue.state == State::Over
    }

    /// What the server offers; nothing before its reply to EHLO.
    pub fn extensions(&self) -> &Extensions {
        &self.dialogue.extensions
    }
}

impl Dialogue {
    /// What the state has to say, from its beginning.
    fn saying(&self) -> &[u8] {
        match self.state {
            State::Banner | State::Idle | State::Over => b"",
            State::Ehlo => self.hello.ehlo.as_bytes(),
            State::Helo => self.hello.helo.as_bytes(),
            State::Envelope(_) if self.is_pipelined() => self.mail().commands.as_bytes(),
            State::Envelope(answers) => self.mail().command(answers.count),
            State::Data => &self.mail().data,
            State::Cancel => b".\r\n",
            State::Reset => b"RSET\r\n",
            State::Quit => b"QUIT\r\n",
        }
    }

    /// Octets of what the state says that must be sent before its next reply makes sense.
    fn needed(&self) -> usize {
        match self.state {
            State::Envelope(answers) if self.is_pipelined() => self.mail().ends[answers.count],
            _ => self.saying().len(),
        }
    }

    /// What the next reply answers.
    fn phase(&self) -> Phase {
        match self.state {
            State::Banner => Phase::Banner,
            State::Ehlo => Phase::Ehlo,
            State::Helo => Phase::Helo,
            State::Envelope(answers) => self.mail().phase(answers.count),
            State::Data => Phase::Accept,
            State::Cancel => Phase::Cancel,
            State::Reset => Phase::Reset,
            State::Quit => Phase::Quit,
            State::Idle | State::Over => Phase::Unasked,
        }
    }

    /// Takes a reply and goes on to what follows from it.
    fn take(&mut self, reply: &Reply<'_>) -> Result<Phase, Error> {
        let (phase, code) = (self.phase(), reply.code());
        let negative = reply.is_transient() || reply.is_permanent();
        if code == SERVICE_CLOSING {
            self.go(State::Over);
            return Ok(phase);
        }
        if phase == Phase::Unasked {
            return Err(Error::Unasked(code));
        }
        if self.sent < self.needed() {
            // A refusal may come before the last octet, but what would follow it no longer lines up.
            self.go(State::Over);
            return if negative { Ok(phase) } else { Err(Error::Early(phase, code)) };
        }
        if !negative && reply.is_intermediate() != (phase == Phase::Data) {
            return Err(Error::OutOfPlace(phase, code));
        }
        if phase == Phase::Ehlo && !negative {
            self.extensions = Extensions::offered(reply);
        }
        let next = match self.state {
            State::Envelope(answers) => self.after_command(answers, phase, negative),
            state => after(state, negative, reply.is_permanent()),
        };
        self.go(next);
        Ok(phase)
    }

    /// The state after a reply to one of an envelope's commands.
    fn after_command(&self, mut answers: Answers, phase: Phase, negative: bool) -> State {
        answers.count += 1;
        answers.open |= phase == Phase::Mail && !negative;
        answers.recipients += usize::from(phase == Phase::Rcpt && !negative);
        let without_recipients = answers.recipients == 0;
        let to_reset = if answers.open { State::Reset } else { State::Idle };
        match (phase, negative) {
            (Phase::Data, true) => to_reset,
            (Phase::Data, false) if without_recipients => State::Cancel,
            (Phase::Data, false) => State::Data,
            _ if self.is_pipelined() => State::Envelope(answers),
            (Phase::Mail, true) => State::Idle,
            _ if self.mail().phase(answers.count) == Phase::Data && without_recipients => to_reset,
            _ => State::Envelope(answers),
        }
    }

    fn go(&mut self, next: State) {
        let same_group = self.is_pipelined()
            && matches!((self.state, next), (State::Envelope(_), State::Envelope(answers)) if answers.count > 0);
        self.state = next;
        if !same_group {
            self.sent = 0;
        }
    }

    fn is_pipelined(&self) -> bool {
        self.grouping == Grouping::Pipelined && self.extensions.pipelining
    }

    fn mail(&self) -> &Mail {
        self.mail.as_ref().expect("the states of a transaction come only from `start`, which has its mail")
    }
}

/// The state after a reply outside of an envelope.
fn after(state: State, negative: bool, permanent: bool) -> State {
    match (state, negative) {
        (State::Banner, false) => State::Ehlo,
        (State::Ehlo, true) if permanent => State::Helo,
        (State::Banner | State::Ehlo | State::Helo | State::Reset, true) => State::Quit,
        (State::Ehlo | State::Helo | State::Reset, false) => State::Idle,
        (State::Data | State::Cancel, _) => State::Idle,
        (State::Quit | State::Over, _) => State::Over,
        (State::Idle | State::Envelope(_), _) => unreachable!("judged before"),
    }
}

fn push_display(text: &mut String, value: &impl fmt::Display) {
    write!(text, "{value}").expect("writing to a string cannot fail");
}

fn size(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The server is about to close (RFC 5321 3.8), whatever it was asked.
const SERVICE_CLOSING: u16 = 421;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Address;
    use proptest::prelude::*;

    const OFFERS: &str = "250-mx\r\n250-pipelining\r\n250-SIZE 1000\r\n250 8BITMIME\r\n";

    fn mail(recipients: usize) -> Arc<Mail> {
        let address = |text: String| Address::parse(text.as_bytes()).unwrap();
        let envelope = Envelope {
            reverse_path: Some(address("a@b".into())),
            forward_paths: (0..recipients).map(|n| address(format!("r{n}@x"))).collect(),
            ..Envelope::default()
        };
        Arc::new(Mail::new(&envelope, b"hi\r\n"))
    }

    fn client(grouping: Grouping) -> Client {
        Client::new(Arc::new(Hello::new("me")), grouping)
    }

    /// Takes all that is to be sent.
    fn said(client: &mut Client) -> String {
        let output = client.output().to_vec();
        client.sent(output.len());
        String::from_utf8(output).unwrap()
    }

    fn hear(client: &mut Client, input: &str) -> Result<Vec<(Phase, u16)>, Error> {
        let (mut input, mut events) = (input.as_bytes(), Vec::new());
        while let Some(event) = client.advance(&mut input)? {
            events.push((event.phase, event.reply.code()));
        }
        Ok(events)
    }

    /// A whole dialogue: what the server says, what the client says to it, as far as the first error or the end.
    fn dialogue(client: &mut Client, lines: &[(&str, &str)]) {
        for (server, answer) in lines {
            hear(client, server).unwrap();
            assert_eq!(said(client), *answer, "after {server:?}");
        }
    }

    fn greeted(grouping: Grouping) -> Client {
        let mut client = client(grouping);
        dialogue(&mut client, &[("220 hi\r\n", "EHLO me\r\n"), (OFFERS, "")]);
        assert!(client.is_idle());
        client
    }

    #[test]
    fn lockstep_is_one_command_one_reply() {
        let mut client = greeted(Grouping::Lockstep);
        for _ in 0..2 {
            client.start(mail(2));
            dialogue(
                &mut client,
                &[
                    ("", "MAIL FROM:<a@b>\r\n"),
                    ("250 ok\r\n", "RCPT TO:<r0@x>\r\n"),
                    ("250 ok\r\n", "RCPT TO:<r1@x>\r\n"),
                    ("550 no\r\n", "DATA\r\n"),
                    ("354 go\r\n", "hi\r\n.\r\n"),
                ],
            );
            assert_eq!(hear(&mut client, "250 ok\r\n"), Ok(vec![(Phase::Accept, 250)]));
            assert!(client.is_idle());
        }
        client.quit();
        assert_eq!(said(&mut client), "QUIT\r\n");
        assert_eq!(hear(&mut client, "221 bye\r\n"), Ok(vec![(Phase::Quit, 221)]));
        assert!(client.is_over());
    }

    #[test]
    fn a_pipelined_envelope_is_one_output_and_the_data_the_next() {
        let mut client = greeted(Grouping::Pipelined);
        assert_eq!(client.extensions().size_max, Some(1000));
        for _ in 0..2 {
            client.start(mail(1));
            assert_eq!(said(&mut client), "MAIL FROM:<a@b>\r\nRCPT TO:<r0@x>\r\nDATA\r\n");
            let phases = hear(&mut client, "250 ok\r\n250 ok\r\n354 go\r\n");
            assert_eq!(phases, Ok(vec![(Phase::Mail, 250), (Phase::Rcpt, 250), (Phase::Data, 354)]));
            dialogue(&mut client, &[("", "hi\r\n.\r\n"), ("250 ok\r\n", "")]);
            assert!(client.is_idle());
        }
    }

    #[test]
    fn nothing_is_pipelined_that_was_not_offered() {
        let mut client = client(Grouping::Pipelined);
        dialogue(
            &mut client,
            &[("220 hi\r\n", "EHLO me\r\n"), ("500 what\r\n", "HELO me\r\n"), ("250 me\r\n", "")],
        );
        client.start(mail(1));
        assert_eq!(said(&mut client), "MAIL FROM:<a@b>\r\n");
    }

    #[test]
    fn a_group_without_recipients_ends_in_a_lone_dot_a_reset_or_nothing() {
        let mut client = greeted(Grouping::Pipelined);
        client.start(mail(1));
        said(&mut client);
        dialogue(&mut client, &[("250 ok\r\n550 no\r\n354 go\r\n", ".\r\n")]);
        assert_eq!(hear(&mut client, "554 none\r\n"), Ok(vec![(Phase::Cancel, 554)]));
        assert!(client.is_idle());
        client.start(mail(1));
        said(&mut client);
        dialogue(&mut client, &[("250 ok\r\n550 no\r\n554 none\r\n", "RSET\r\n"), ("250 ok\r\n", "")]);
        assert!(client.is_idle());
        client.start(mail(1));
        said(&mut client);
        dialogue(&mut client, &[("451 no\r\n503 no\r\n503 no\r\n", "")]);
        assert!(client.is_idle());
    }

    #[test]
    fn lockstep_goes_no_further_than_it_makes_sense() {
        let mut client = greeted(Grouping::Lockstep);
        client.start(mail(1));
        dialogue(&mut client, &[("", "MAIL FROM:<a@b>\r\n"), ("451 no\r\n", "")]);
        assert!(client.is_idle());
        client.start(mail(1));
        dialogue(&mut client, &[("", "MAIL FROM:<a@b>\r\n"), ("250 ok\r\n", "RCPT TO:<r0@x>\r\n")]);
        dialogue(&mut client, &[("550 no\r\n", "RSET\r\n"), ("250 ok\r\n", "")]);
        assert!(client.is_idle());
    }

    #[test]
    fn after_421_the_dialogue_is_over_wherever_it_was() {
        for (heard, phase) in [("", Phase::Banner), ("220 x\r\n", Phase::Ehlo)] {
            let mut client = client(Grouping::Pipelined);
            hear(&mut client, heard).unwrap();
            said(&mut client);
            assert_eq!(hear(&mut client, "421 bye\r\n250 more\r\n"), Ok(vec![(phase, 421)]));
            assert!(client.is_over() && client.output().is_empty());
        }
        let mut idle = greeted(Grouping::Pipelined);
        assert_eq!(hear(&mut idle, "421 bye\r\n"), Ok(vec![(Phase::Unasked, 421)]));
    }

    #[test]
    fn a_server_that_refuses_in_its_banner_is_left_politely() {
        let mut client = client(Grouping::Lockstep);
        dialogue(&mut client, &[("554 no\r\n", "QUIT\r\n"), ("221 bye\r\n", "")]);
        assert!(client.is_over());
    }

    #[test]
    fn replies_out_of_step_are_errors() {
        let mut idle = greeted(Grouping::Pipelined);
        assert_eq!(hear(&mut idle, "250 what\r\n"), Err(Error::Unasked(250)));
        assert!(idle.is_over());
        let mut early = greeted(Grouping::Pipelined);
        early.start(mail(1));
        early.sent("MAIL FROM:<a@b>\r\n".len());
        assert_eq!(hear(&mut early, "250 ok\r\n"), Ok(vec![(Phase::Mail, 250)]));
        assert_eq!(early.output(), b"RCPT TO:<r0@x>\r\nDATA\r\n");
        assert_eq!(hear(&mut early, "250 ok\r\n"), Err(Error::Early(Phase::Rcpt, 250)));
        let mut wrong = greeted(Grouping::Pipelined);
        wrong.start(mail(1));
        said(&mut wrong);
        assert_eq!(hear(&mut wrong, "354 go\r\n"), Err(Error::OutOfPlace(Phase::Mail, 354)));
        assert_eq!(
            hear(&mut client(Grouping::Lockstep), "SSH-2.0\r\n"),
            Err(Error::Reply(ReplyError::NoCode))
        );
    }

    #[test]
    fn an_envelope_says_what_it_needs_of_the_server() {
        let address = Address::parse("jörg@x".as_bytes()).unwrap();
        let envelope = Envelope {
            reverse_path: None,
            forward_paths: vec![address],
            body: Body::EightBitMime,
            smtputf8: true,
        };
        let mail = Mail::new(&envelope, b"");
        assert_eq!(mail.commands, "MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<jörg@x>\r\nDATA\r\n");
        assert_eq!(mail.data, b".\r\n");
    }

    fn stuffed(data: &str) -> String {
        let mut out = Vec::new();
        stuff(data.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_dot_is_doubled_at_a_line_start_and_nowhere_else() {
        assert_eq!(stuffed(""), ".\r\n");
        assert_eq!(stuffed("."), "..\r\n.\r\n");
        assert_eq!(stuffed("a"), "a\r\n.\r\n");
        assert_eq!(stuffed("a\r\n.\r\n..b.\r\n"), "a\r\n..\r\n...b.\r\n.\r\n");
        assert_eq!(stuffed("a.\n.b"), "a.\n.b\r\n.\r\n");
        assert_eq!(stuffed("a\r"), "a\r\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn what_is_stuffed_has_one_end_and_is_the_same_without_the_dots(
            lines in prop::collection::vec("[.a ]{0,4}", 0..20)
        ) {
            let data: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let sent = stuffed(&data);
            let mut received = String::new();
            let mut rest = sent.as_str();
            while let Some((line, behind)) = rest.split_once("\r\n") {
                rest = behind;
                if line == "." {
                    break;
                }
                received += line.strip_prefix('.').unwrap_or(line);
                received += "\r\n";
            }
            prop_assert_eq!(rest, "", "something behind the end of data");
            prop_assert_eq!(received, data);
        }

        #[test]
        fn a_client_hears_the_same_however_the_replies_are_cut(
            words in prop::collection::vec(prop::sample::select(vec![
                "220 x\r\n", "250 ok\r\n", "250-a\r\n", "354 go\r\n", "421 bye\r\n", "550 no\r\n", "451 no\r\n", "x", OFFERS,
            ]), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let input = words.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(input.len());
            // The driver sends and starts after every event, so that the cuts alone differ.
            let run = |cuts: &[usize]| {
                let (mut client, mut heard, mut start) = (super::tests::client(Grouping::Pipelined), Vec::new(), 0);
                for &end in cuts {
                    let mut piece = &input.as_bytes()[start..end];
                    start = end;
                    loop {
                        match client.advance(&mut piece) {
                            Ok(Some(event)) => heard.push(Ok((event.phase, event.reply.code()))),
                            Ok(None) => break,
                            Err(error) => {
                                heard.push(Err(error));
                                return heard;
                            }
                        }
                        if client.is_idle() {
                            client.start(mail(1));
                        }
                        said(&mut client);
                    }
                }
                heard
            };
            prop_assert_eq!(run(&cuts), run(&[input.len()]));
        }
    }
}
