//! One SMTP session of the server, as a value: bytes in, replies out, and the one thing it now needs.
//!
//! The server calls [`Session::advance`] with what it received and does what the returned [`Need`] says. A session has
//! at most one need outstanding; until its answer comes it takes no input, so replies cannot overtake each other and
//! whatever was pipelined behind simply waits.
//!
//! ```text
//!   Start ──EHLO/HELO──▶ Ready ──MAIL──▶ Mail ──RCPT──▶ Mail ──DATA──▶ Data ──final dot──▶ Committing ──▶ Ready
//!                                          └────────────BDAT──▶ Chunks ──LAST──────────────┘
//! ```
//!
//! Behind AUTH lies a state of its own, `Auth`, between Ready and Ready: `session/auth.rs` has it. `session/data.rs` reads
//! mail data.
//!
//! All transitions stand in `Session::execute`. Nothing here knows sockets, clocks, disks or policy.

mod auth;
mod data;
mod profile;

use std::sync::Arc;

use auth::Login;
pub use profile::{Profile, Security};

use super::command::{Command, Mail, Refusal};
use super::reply::push_accepted;
use super::transaction::Transaction;
use super::{Address, Envelope, Message, Path, Reply};
use crate::QueueId;
use crate::limits::{AUTH_LINE_MAX, COMMAND_LINE_DISCARD_MAX, COMMAND_LINE_MAX, SESSION_ERRORS_MAX};
use crate::wire::Outbox;
use crate::wire::data::Scanner;
use crate::wire::line::{self, Line};
use crate::wire::sasl::{Bindings, SaslStep};

/// What became of an input.
#[derive(Debug)]
#[must_use]
pub struct Progress {
    /// Octets taken. The rest is to be offered again, in front of what comes.
    pub consumed: usize,
    /// What the session waits for.
    pub need: Need,
}

/// What a session waits for.
#[derive(Debug, PartialEq)]
pub enum Need {
    /// More input.
    Input,
    /// Room in the outbox: replies wait to be written.
    Room,
    /// Whether this sender may send: answer with [`Session::answer_sender`].
    Sender(Envelope),
    /// Whether mail for this path is taken, and which address that is: answer with [`Session::answer_recipient`].
    Recipient(Path),
    /// That this part of the mail data is put elsewhere, since memory is for small messages: answer with
    /// [`Session::spilled`].
    Spill(Vec<u8>),
    /// That this message is made safe: answer with [`Session::committed`]. Of a message that was spilled, its data is
    /// what comes behind the parts handed out.
    Commit(Message),
    /// What an exchange of AUTH cannot know: answer [`SaslStep::Keys`] with [`Session::answer_keys`], the others with
    /// [`Session::answer_login`].
    Sasl(SaslStep),
    /// That TLS begins, once the outbox is written: then call [`Session::secured`] and offer what comes in TLS.
    StartTls,
    /// The end of the connection, once the outbox is written.
    Close(CloseReason),
}

/// Why a session ends on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// QUIT.
    Quit,
    /// The server said so with a last reply.
    Dismissed,
    /// Too many mistakes.
    TooManyErrors,
    /// HTTP or TLS on a plain port.
    NotSmtp,
    /// Something in plain behind STARTTLS.
    Injection,
    /// An endless command line.
    LineTooLong,
    /// A chunk whose end cannot be known.
    BadChunk,
}

/// The server's side of one SMTP session.
#[derive(Debug)]
pub struct Session {
    profile: Arc<Profile>,
    state: State,
    /// What is left of something refused, to be thrown away before the next command.
    refuse: Option<Refused>,
    /// The client's name from EHLO or HELO; empty before.
    hello: Box<str>,
    /// Whether the client said EHLO rather than HELO.
    extended: bool,
    /// Whether all that is said now is said in TLS.
    is_secured: bool,
    /// Whether a login can be bound to that.
    bindings: Bindings,
    /// Who is logged in: an address of the server's accounts.
    user: Option<Arc<str>>,
    errors: u32,
    /// Whether the server put a sender or a recipient off: what was pipelined behind is then no mistake of the client's.
    put_off: bool,
    /// Octets of the incomplete command at the input's start that hold no LF.
    searched: usize,
    /// Octets of mail data beyond which it is handed out; see [`Need::Spill`].
    spill_beyond: usize,
    /// The last message that was refused for its content, until somebody asks, and how many there were since.
    refused: Option<(Reply, u32)>,
    asked: Asked,
}

/// Where a session stands. A transaction exists only in the states that have one.
#[derive(Debug)]
enum State {
    /// No EHLO or HELO yet.
    Start,
    /// No transaction.
    Ready,
    /// MAIL was taken, and perhaps recipients.
    Mail(Box<Transaction>),
    /// Behind 354.
    Data(Box<Transaction>, Scanner),
    /// Between the chunks of BDAT.
    Chunks(Box<Transaction>),
    /// Within a chunk: so many octets remain of so many.
    Chunk { transaction: Box<Transaction>, remaining: u64, size: u64, last: bool },
    /// Within an exchange of AUTH: responses are read, no commands.
    Auth(Box<Login>),
    /// The message is with the server.
    Committing,
    /// Nothing more is read.
    Closed(CloseReason),
}

/// The question that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Sender,
    Recipient,
    Spill,
    Commit,
    Keys,
    Login,
    StartTls,
}

/// Something refused whose rest is still to come.
#[derive(Debug)]
enum Refused {
    /// The rest of a line up to its CRLF; `reply` follows then, if it was not given before.
    Line { discarded: usize, reply: Option<Reply> },
    /// So many octets of a chunk, then the reply (RFC 3030 2).
    Chunk { remaining: u64, reply: Reply },
}

impl Session {
    /// A session before its banner.
    pub fn new(profile: Arc<Profile>) -> Session {
        Session {
            profile,
            state: State::Start,
            refuse: None,
            hello: Box::default(),
            extended: false,
            is_secured: false,
            bindings: Bindings::Absent,
            user: None,
            errors: 0,
            put_off: false,
            searched: 0,
            spill_beyond: usize::MAX,
            refused: None,
            asked: Asked::Nothing,
        }
    }

    /// Says the banner (RFC 5321 4.3.1).
    pub fn greet(&self, out: &mut Outbox) {
        out.push(self.profile.banner.as_bytes());
    }

    /// Ends the session with a last reply (RFC 5321 3.8).
    pub fn dismiss(&mut self, reply: Reply, out: &mut Outbox) {
        reply.push_to(out);
        self.close(CloseReason::Dismissed);
    }

    /// The client's name from EHLO or HELO.
    pub fn hello(&self) -> &str {
        &self.hello
    }

    /// How mail comes in this session, for the Received field (RFC 3848, RFC 6531 4.3).
    pub fn protocol(&self, envelope: &Envelope) -> &'static str {
        match (envelope.smtputf8, self.is_secured, self.user.is_some()) {
            (true, true, true) => "UTF8SMTPSA",
            (true, true, false) => "UTF8SMTPS",
            (true, false, true) => "UTF8SMTPA",
            (true, false, false) => "UTF8SMTP",
            (false, true, true) => "ESMTPSA",
            (false, false, true) => "ESMTPA",
            (false, _, false) if !self.extended => "SMTP",
            (false, true, false) => "ESMTPS",
            (false, false, false) => "ESMTP",
        }
    }

    /// Goes on in TLS: answers [`Need::StartTls`], or comes before the banner where TLS does. What the client said before
    /// is forgotten, for anybody may have said it (RFC 3207 4.2).
    pub fn secured(&mut self, bindings: Bindings) {
        if self.asked == Asked::StartTls {
            self.asked = Asked::Nothing;
        }
        self.state = State::Start;
        self.hello = Box::default();
        self.user = None;
        (self.extended, self.is_secured, self.put_off) = (false, true, false);
        self.bindings = bindings;
    }

    /// Whether all that is said now is said in TLS.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Whether it has come to its end, and only says so any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Whether a transaction is under way.
    pub fn is_in_transaction(&self) -> bool {
        !matches!(self.state, State::Start | State::Ready | State::Auth(_) | State::Closed(_))
    }

    /// Whether there may be mail data, and is more to come: also between the chunks of BDAT.
    pub fn awaits_data(&self) -> bool {
        matches!(self.state, State::Data(..) | State::Chunk { .. } | State::Chunks(_))
    }

    /// Whether what comes next is mail data.
    pub fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data(..) | State::Chunk { .. })
    }

    /// Whether a part of the message under way was handed out, and the message may still be taken.
    pub fn is_spilling(&self) -> bool {
        self.transaction().is_some_and(|transaction| transaction.spilled > 0 && transaction.failure.is_none())
    }

    /// The envelope of the transaction under way.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.transaction().map(|transaction| &transaction.envelope)
    }

    fn transaction(&self) -> Option<&Transaction> {
        match &self.state {
            State::Mail(transaction)
            | State::Data(transaction, _)
            | State::Chunks(transaction)
            | State::Chunk { transaction, .. } => Some(transaction),
            State::Start | State::Ready | State::Auth(_) | State::Committing | State::Closed(_) => None,
        }
    }

    /// Why the last message was refused that was refused for its content, and how many were since the last call.
    pub fn take_refused(&mut self) -> Option<(Reply, u32)> {
        self.refused.take()
    }

    /// Mail data beyond so many octets is handed out with [`Need::Spill`] from now on. As long as this is not called,
    /// none is.
    pub fn spill_beyond(&mut self, octets: usize) {
        self.spill_beyond = octets;
    }

    /// Octets of memory that the transaction under way takes: its data and its envelope.
    pub fn memory(&self) -> usize {
        self.transaction().map_or(0, |transaction| transaction.data.capacity() + transaction.envelope_size)
    }

    /// Gives up the message under way, freeing its memory; its data is still read to the end, and answered with `reply`.
    pub fn shed(&mut self, reply: Reply) {
        if let State::Data(transaction, _) | State::Chunks(transaction) | State::Chunk { transaction, .. } =
            &mut self.state
        {
            transaction.fail(reply);
        }
    }

    /// Answers [`Need::Sender`].
    pub fn answer_sender(&mut self, answer: Result<Envelope, Reply>, out: &mut Outbox) {
        self.answered(Asked::Sender);
        match answer {
            Ok(envelope) => {
                self.state = State::Mail(Box::new(Transaction { envelope, ..Transaction::default() }));
                self.put_off = false;
                Reply::SENDER_OK.push_to(out);
            }
            Err(reply) => self.turned_down(reply, out),
        }
    }

    /// Answers [`Need::Recipient`].
    pub fn answer_recipient(&mut self, answer: Result<Address, Reply>, out: &mut Outbox) {
        self.answered(Asked::Recipient);
        let State::Mail(transaction) = &mut self.state else {
            unreachable!("recipients are asked about within a transaction");
        };
        match answer {
            Ok(address) => {
                // One mailbox has a message once, by however many names it was asked for.
                if !transaction.envelope.forward_paths.contains(&address) {
                    transaction.envelope_size += address.size();
                    transaction.envelope.forward_paths.push(address);
                }
                Reply::RECIPIENT_OK.push_to(out);
            }
            Err(reply) => self.turned_down(reply, out),
        }
    }

    /// Answers [`Need::Spill`]: with a buffer for what comes (its content does not matter), or with the reply that the
    /// message gets at its end.
    pub fn spilled(&mut self, answer: Result<Vec<u8>, Reply>) {
        self.answered(Asked::Spill);
        let (State::Data(transaction, _) | State::Chunk { transaction, .. }) = &mut self.state else {
            return;
        };
        match answer {
            Ok(mut buffer) if transaction.failure.is_none() => {
                buffer.clear();
                transaction.data = buffer;
            }
            Ok(_) => {}
            Err(reply) => transaction.fail(reply),
        }
    }

    /// Answers [`Need::Commit`]: 250 with the queue id, or the reply that tells why not.
    pub fn committed(&mut self, answer: Result<QueueId, Reply>, out: &mut Outbox) {
        self.answered(Asked::Commit);
        match answer {
            Ok(id) => {
                self.errors = 0;
                push_accepted(id, out);
            }
            Err(reply) => reply.push_to(out),
        }
        if matches!(self.state, State::Committing) {
            self.state = State::Ready;
        }
    }

    fn answered(&mut self, question: Asked) {
        assert_eq!(self.asked, question, "an answer to what was not asked");
        self.asked = Asked::Nothing;
    }

    /// Takes what it can of `input`, appends replies to `out`, and says what it needs next. Any cut of the same bytes
    /// gives the same replies and the same messages.
    pub fn advance(&mut self, input: &[u8], out: &mut Outbox) -> Progress {
        assert_eq!(self.asked, Asked::Nothing, "a session that waits for an answer takes no input");
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            if let State::Closed(reason) = self.state {
                return Progress { consumed, need: Need::Close(reason) };
            }
            if out.is_full() {
                return Progress { consumed, need: Need::Room };
            }
            let step = match (&self.refuse, &self.state) {
                (Some(_), _) => self.throw_away(rest, out),
                (None, State::Data(..)) => self.read_data(rest, out),
                (None, State::Chunk { .. }) => self.read_chunk(rest, out),
                (None, _) => self.read_line(rest, out),
            };
            consumed += step.consumed;
            match step.need {
                // Whatever ends a step without a need may be followed by another.
                None => {}
                Some(need) => return Progress { consumed, need },
            }
        }
    }

    /// Reads one line, and executes it or hands it to the exchange under way.
    fn read_line(&mut self, input: &[u8], out: &mut Outbox) -> Step {
        if input.first() == Some(&TLS_HANDSHAKE) {
            return self.end(Reply::NOT_SMTP, CloseReason::NotSmtp, out);
        }
        let searched = std::mem::take(&mut self.searched);
        // What lies beyond the limit is not looked at, so that the answer is the same however much of it is here.
        let (line_max, too_long) = self.line_bound(input);
        let (all, input) = (input.len(), &input[..input.len().min(line_max)]);
        match line::find(input, searched) {
            Line::Whole(line) => self.take_line(line, all - line.len() - 2, out),
            Line::BareCr(consumed) => {
                self.end_login();
                self.mistake(Reply::BARE_LINE_END, out);
                Step::taken(consumed)
            }
            Line::BareLf(consumed) => {
                self.end_login();
                self.mistake(Reply::BARE_LINE_END, out);
                self.refuse = Some(Refused::Line { discarded: consumed, reply: None });
                Step::taken(consumed)
            }
            Line::Partial if input.len() < line_max => {
                self.searched = input.len();
                Step::needs_input(0)
            }
            Line::Partial => {
                self.end_login();
                self.refuse = Some(Refused::Line { discarded: 0, reply: Some(too_long) });
                Step::taken(0)
            }
        }
    }

    /// Octets of the line that comes, at the most, and the reply to a longer one.
    fn line_bound(&self, input: &[u8]) -> (usize, Reply) {
        let is_auth = input.get(..AUTH_BEGINS.len()).is_some_and(|at| at.eq_ignore_ascii_case(AUTH_BEGINS));
        if is_auth || matches!(self.state, State::Auth(_)) {
            (AUTH_LINE_MAX, Reply::AUTH_LINE_TOO_LONG)
        } else {
            (COMMAND_LINE_MAX, Reply::LINE_TOO_LONG)
        }
    }

    /// Takes a line without its CRLF, behind which so many octets are here.
    fn take_line(&mut self, line: &[u8], behind: usize, out: &mut Outbox) -> Step {
        let consumed = line.len() + 2;
        if matches!(self.state, State::Auth(_)) {
            return Step { consumed, need: self.respond(line, out) };
        }
        let command = Command::parse(line);
        if command == Ok(Command::StartTls) && self.offers_tls() && behind > 0 {
            return self.end(Reply::FOLLOWED_STARTTLS, CloseReason::Injection, out);
        }
        Step { consumed, need: self.execute(command, out) }
    }

    /// The one table of what each command does in each state.
    fn execute(&mut self, command: Result<Command<'_>, Refusal>, out: &mut Outbox) -> Option<Need> {
        let command = match command {
            Ok(command) => command,
            Err(Refusal::Mistake(reply)) => return self.refused(reply, out),
            Err(Refusal::LostTrack(reply)) => return self.end(reply, CloseReason::BadChunk, out).need,
            Err(Refusal::NotSmtp) => return self.end(Reply::NOT_SMTP, CloseReason::NotSmtp, out).need,
        };
        match (&mut self.state, command) {
            (_, Command::Ehlo(name)) => self.greeted(name, true, out),
            (_, Command::Helo(name)) => self.greeted(name, false, out),
            (_, Command::Noop) => reply(Reply::OK, out),
            (_, Command::Help) => reply(Reply::HELP, out),
            (_, Command::Vrfy) => reply(Reply::CANNOT_VERIFY, out),
            (_, Command::Expn) => self.refused(Reply::NO_LISTS, out),
            (_, Command::StartTls) => self.start_tls(out),
            (_, Command::Auth { mechanism, response }) => self.start_login(mechanism, response, out),
            (_, Command::Quit) => self.end(Reply::GOODBYE, CloseReason::Quit, out).need,

            (State::Start, Command::Rset) => reply(Reply::FLUSHED, out),
            (_, Command::Rset) => {
                self.state = State::Ready;
                reply(Reply::FLUSHED, out)
            }

            (State::Start, Command::Mail(_) | Command::Rcpt(_) | Command::Data) => {
                self.refused(Reply::HELLO_FIRST, out)
            }
            (State::Ready, Command::Mail(mail)) => self.ask_sender(mail, out),
            (State::Ready, Command::Rcpt(_) | Command::Data) => self.refused(Reply::MAIL_FIRST, out),

            (State::Mail(transaction), Command::Rcpt(path)) => {
                match transaction.refusal(&path, self.profile.recipients_max) {
                    None => {
                        self.asked = Asked::Recipient;
                        Some(Need::Recipient(path))
                    }
                    Some(reply) => self.refused(reply, out),
                }
            }
            (State::Mail(transaction), Command::Data) => match transaction.refusal_of_data() {
                None => {
                    self.start_data();
                    reply(Reply::START_DATA, out)
                }
                Some(reply) => self.refused(reply, out),
            },
            (State::Mail(transaction), Command::Bdat { size, last })
                if !transaction.envelope.forward_paths.is_empty() =>
            {
                self.start_chunk(size, last)
            }
            (State::Mail(_) | State::Chunks(_), Command::Mail(_)) => self.refused(Reply::BAD_SEQUENCE, out),

            (State::Chunks(_), Command::Rcpt(_) | Command::Data) => self.refused(Reply::BAD_SEQUENCE, out),
            (State::Chunks(_), Command::Bdat { size, last }) => self.start_chunk(size, last),

            (State::Start | State::Ready | State::Mail(_), Command::Bdat { size, .. }) => {
                self.refuse =
                    Some(Refused::Chunk { remaining: size, reply: Reply::NO_TRANSACTION_FOR_CHUNK });
                None
            }
            (
                State::Data(..) | State::Chunk { .. } | State::Auth(_) | State::Committing | State::Closed(_),
                _,
            ) => unreachable!("no command is read in this state"),
        }
    }

    fn greeted(&mut self, name: &str, extended: bool, out: &mut Outbox) -> Option<Need> {
        if *self.hello != *name {
            self.hello = name.into();
        }
        self.extended = extended;
        self.state = State::Ready;
        out.push(if extended { b"250-" } else { b"250 " });
        out.push(self.profile.hello.as_bytes());
        if extended {
            if self.offers_tls() {
                out.push(b"250-STARTTLS\r\n");
            }
            self.offer_auth(out);
            out.push(self.profile.extensions.as_bytes());
        }
        None
    }

    fn offers_tls(&self) -> bool {
        self.profile.security.starttls && !self.is_secured
    }

    fn start_tls(&mut self, out: &mut Outbox) -> Option<Need> {
        let refusal = match self.state {
            _ if self.is_secured => Reply::TLS_ALREADY,
            _ if !self.profile.security.starttls => Reply::NO_TLS,
            State::Start => Reply::HELLO_FIRST,
            State::Ready => {
                Reply::START_TLS.push_to(out);
                self.asked = Asked::StartTls;
                return Some(Need::StartTls);
            }
            _ => Reply::BAD_SEQUENCE,
        };
        self.refused(refusal, out)
    }

    fn ask_sender(&mut self, mail: Mail, out: &mut Outbox) -> Option<Need> {
        if let Some(reply) = self.refusal_of_sender(&mail) {
            return self.refused(reply, out);
        }
        if mail.size.is_some_and(|size| size > self.profile.message_size_max) {
            return self.refused(Reply::MESSAGE_TOO_BIG, out);
        }
        let reverse_path = match mail.path {
            Path::Mailbox(address) if !mail.smtputf8 && !address.is_ascii() => {
                return self.refused(Reply::NEEDS_SMTPUTF8, out);
            }
            Path::Mailbox(address) => Some(address),
            Path::Null | Path::Postmaster => None,
        };
        let Mail { body, smtputf8, .. } = mail;
        self.asked = Asked::Sender;
        Some(Need::Sender(Envelope { reverse_path, forward_paths: Vec::new(), body, smtputf8 }))
    }

    fn start_data(&mut self) {
        if let State::Mail(transaction) = std::mem::replace(&mut self.state, State::Ready) {
            self.state = State::Data(transaction, Scanner::default());
        }
    }

    fn start_chunk(&mut self, size: u64, last: bool) -> Option<Need> {
        if let State::Mail(transaction) | State::Chunks(transaction) =
            std::mem::replace(&mut self.state, State::Ready)
        {
            self.state = State::Chunk { transaction, remaining: size, size, last };
        }
        None
    }

    /// Reads on in what was refused.
    fn throw_away(&mut self, input: &[u8], out: &mut Outbox) -> Step {
        match &mut self.refuse {
            None => Step::taken(0),
            Some(Refused::Chunk { remaining, reply }) => {
                let taken =
                    usize::try_from(*remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
                *remaining -= taken as u64;
                if *remaining > 0 {
                    return Step::needs_input(taken);
                }
                let reply = *reply;
                self.refuse = None;
                self.mistake(reply, out);
                Step::taken(taken)
            }
            Some(Refused::Line { discarded, reply }) => {
                let (taken, found) = line::skip(input);
                *discarded += taken;
                let (discarded, reply) = (*discarded, *reply);
                if discarded > COMMAND_LINE_DISCARD_MAX {
                    return Step {
                        consumed: taken,
                        ..self.end(Reply::NOT_SMTP, CloseReason::LineTooLong, out)
                    };
                }
                if !found {
                    return Step::needs_input(taken);
                }
                self.refuse = None;
                if let Some(reply) = reply {
                    self.mistake(reply, out);
                }
                Step::taken(taken)
            }
        }
    }

    fn refused(&mut self, reply: Reply, out: &mut Outbox) -> Option<Need> {
        self.mistake(reply, out);
        None
    }

    /// Answers what the server does not take: a mistake, unless it is put off.
    fn turned_down(&mut self, reply: Reply, out: &mut Outbox) {
        self.put_off |= !reply.is_permanent();
        self.mistake(reply, out);
    }

    /// Answers a mistake, or the one too many with 421. The server may have had enough before.
    fn mistake(&mut self, reply: Reply, out: &mut Outbox) {
        if reply.code() == 421 {
            return self.dismiss(reply, out);
        }
        let follows = self.put_off
            && [Reply::MAIL_FIRST, Reply::NO_RECIPIENTS, Reply::NO_TRANSACTION_FOR_CHUNK].contains(&reply);
        self.errors += u32::from(reply.is_permanent() && !follows);
        if self.errors >= SESSION_ERRORS_MAX {
            Reply::TOO_MANY_ERRORS.push_to(out);
            self.close(CloseReason::TooManyErrors);
        } else {
            reply.push_to(out);
        }
    }

    fn end(&mut self, last: Reply, reason: CloseReason, out: &mut Outbox) -> Step {
        last.push_to(out);
        self.close(reason);
        Step::taken(0)
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed(reason);
        self.refuse = None;
    }
}

/// One step of `advance`.
struct Step {
    consumed: usize,
    /// None: go on with the rest of the input.
    need: Option<Need>,
}

impl Step {
    fn taken(consumed: usize) -> Step {
        Step { consumed, need: None }
    }

    fn needs_input(consumed: usize) -> Step {
        Step { consumed, need: Some(Need::Input) }
    }
}

fn reply(reply: Reply, out: &mut Outbox) -> Option<Need> {
    reply.push_to(out);
    None
}

/// A command whose line may be longer than others.
const AUTH_BEGINS: &[u8] = b"AUTH ";

/// The first octet of a TLS handshake record (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
