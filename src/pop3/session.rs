//! One POP3 session of the server, as a value: bytes in, replies out, and the one thing it now needs.
//!
//! The server calls [`Session::advance`] with what it received and does what the returned [`Need`] says. A session has
//! at most one need outstanding; until its answer comes it takes no input, so replies cannot overtake each other and
//! whatever was pipelined behind simply waits (RFC 2449 6.6).
//!
//! ```text
//!   Start ──USER──▶ Named ──PASS──▶ Judging ──▶ Opening ──▶ Open ──LIST, UIDL──▶ Listing ──▶ Open
//!     └────AUTH───▶ Auth ───────────────────────┘            ├─────RETR, TOP───▶ Sending ──▶ Open
//!                                                            └─────QUIT────────▶ Updating ─▶ Closed
//! ```
//!
//! All transitions stand in `Session::execute`. `session/lines.rs` has how lines are read, `session/login.rs` how somebody
//! logs in, `session/sending.rs` what has more than one line, `session/update.rs` what QUIT does. Nothing here knows
//! sockets, clocks, disks or policy.

mod lines;
mod login;
mod profile;
mod sending;
mod update;

use std::fmt;
use std::sync::Arc;

use lines::RefusedLine;
use login::Login;
pub use profile::{Profile, Security};
use sending::{Listing, Sending};

use super::command::{Command, NoCommand};
use super::maildrop::{Changes, Listed, Maildrop};
use super::reply::{Refusal, push_ok};
use crate::limits::POP3_ERRORS_MAX;
use crate::wire::Outbox;
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
    /// Room in the outbox: replies wait to be written. Also where the outbox is not full, but something is only done
    /// once all of it is written.
    Room,
    /// That TLS begins, once the outbox is written: then call [`Session::secured`] and offer what comes in TLS.
    StartTls,
    /// What a login cannot know: answer [`SaslStep::Keys`] with [`Session::answer_keys`], the others with
    /// [`Session::answer_login`].
    Sasl(SaslStep),
    /// That the maildrop of [`Session::user`] is locked and listed: answer with [`Session::answer_open`].
    Open,
    /// A part of a message: answer with [`Session::answer_read`].
    Read(Wanted),
    /// That the maildrop is changed so: answer with [`Session::answer_update`]. Only QUIT asks for it.
    Update(Changes),
    /// The end of the connection, once the outbox is written.
    Close(CloseReason),
}

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The message's index in the listing, from 0.
    pub message: usize,
    /// Octets of the message that lie before the part.
    pub offset: u64,
    /// Octets of the part, at the most.
    pub octets: usize,
}

/// What was read of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The octets, as they are stored; empty only if it is the last.
    pub octets: Vec<u8>,
    /// Whether the message ends here.
    pub is_last: bool,
}

/// Why a session ends on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// QUIT.
    Quit,
    /// The server said so with a last refusal, or could not read on in a message.
    Dismissed,
    /// Too many mistakes.
    TooManyErrors,
    /// HTTP or TLS on a plain port.
    NotPop3,
    /// Something in plain behind STLS.
    Injection,
    /// An endless command line.
    LineTooLong,
}

/// The server's side of one POP3 session.
#[derive(Debug)]
pub struct Session {
    profile: Arc<Profile>,
    state: State,
    /// What is left of a refused line, to be thrown away before the next command.
    refused: Option<RefusedLine>,
    /// Whether all that is said now is said in TLS.
    is_secured: bool,
    /// Whether a login can be bound to that.
    bindings: Bindings,
    /// Who is logged in: an address of the server's accounts.
    user: Option<Arc<str>>,
    errors: u32,
    /// Octets of the incomplete command at the input's start that hold no LF.
    searched: usize,
    asked: Asked,
}

/// Where a session stands. A maildrop exists only in the states that have one.
#[derive(Debug)]
enum State {
    /// Nobody is logged in.
    Start,
    /// USER was taken: PASS is to follow.
    Named(Box<str>),
    /// A password of PASS is with the server.
    Judging,
    /// Within an exchange of AUTH: responses are read, no commands.
    Auth(Box<Login>),
    /// Somebody is logged in, whose maildrop is to be opened; only then the client is told so.
    Opening,
    /// The TRANSACTION state (RFC 1939 5).
    Open(Box<Maildrop>),
    /// Within the answer to LIST or UIDL.
    Listing(Box<Maildrop>, Listing),
    /// Within the answer to RETR or TOP.
    Sending(Box<Maildrop>, Box<Sending>),
    /// The UPDATE state (RFC 1939 6): what the client wants is to be done, or is with the server.
    Updating(Box<Changes>),
    /// Nothing more is read.
    Closed(CloseReason),
}

/// The question that is not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Keys,
    Login,
    Open,
    Read,
    Update,
    StartTls,
}

impl Session {
    /// A session before its greeting.
    pub fn new(profile: Arc<Profile>) -> Session {
        Session {
            profile,
            state: State::Start,
            refused: None,
            is_secured: false,
            bindings: Bindings::Absent,
            user: None,
            errors: 0,
            searched: 0,
            asked: Asked::Nothing,
        }
    }

    /// Says the greeting (RFC 1939 4).
    pub fn greet(&mut self, out: &mut Outbox) {
        push_ok(&self.profile.greeting, out);
    }

    /// Ends the session with a last refusal; without, where that would become a part of a message or of a listing. Nothing
    /// is removed.
    pub fn dismiss(&mut self, refusal: Refusal, out: &mut Outbox) {
        let is_within_answer = match &self.state {
            State::Listing(..) => true,
            State::Sending(_, sending) => sending.has_begun(),
            _ => false,
        };
        if !is_within_answer {
            refusal.push_to(out);
        }
        self.close(CloseReason::Dismissed);
    }

    /// Goes on in TLS: answers [`Need::StartTls`], or comes before the greeting where TLS does. What the client said before
    /// is forgotten, for anybody may have said it (RFC 2595 4).
    pub fn secured(&mut self, bindings: Bindings) {
        if self.asked == Asked::StartTls {
            self.asked = Asked::Nothing;
        }
        (self.state, self.user) = (State::Start, None);
        (self.is_secured, self.bindings) = (true, bindings);
    }

    /// Whether all that is said now is said in TLS.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Whether it has come to its end, and only says so any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Whether it has a maildrop: from the answer to [`Need::Open`] to the one to [`Need::Update`], or the session's end.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Listing(..) | State::Sending(..) | State::Updating(_))
    }

    /// Whether a message is on its way to the client.
    pub fn is_reading(&self) -> bool {
        matches!(self.state, State::Sending(..))
    }

    /// Octets of memory that it owns beyond itself: the maildrop's listing with its names and marks, or what is to be
    /// changed.
    pub fn memory(&self) -> usize {
        match &self.state {
            State::Open(maildrop) | State::Listing(maildrop, _) | State::Sending(maildrop, _) => {
                size_of::<Maildrop>() + maildrop.memory()
            }
            State::Updating(changes) => size_of::<Changes>() + changes.memory(),
            State::Named(name) => name.len(),
            State::Start | State::Judging | State::Auth(_) | State::Opening | State::Closed(_) => 0,
        }
    }

    /// Answers [`Need::Open`]: with the maildrop's messages, or with the refusal, which leaves nobody logged in.
    pub fn answer_open(&mut self, answer: Result<Vec<Listed>, Refusal>, out: &mut Outbox) {
        self.answered(Asked::Open);
        if !matches!(self.state, State::Opening) {
            return;
        }
        match answer {
            Ok(messages) => {
                let maildrop = Maildrop::new(messages);
                say(contents(&maildrop), out);
                self.state = State::Open(Box::new(maildrop));
                self.errors = 0;
            }
            Err(refusal) => {
                (self.state, self.user) = (State::Start, None);
                self.refuse(refusal, out);
            }
        }
    }

    fn answered(&mut self, question: Asked) {
        assert_eq!(self.asked, question, "an answer to what was not asked");
        self.asked = Asked::Nothing;
    }

    /// Takes what it can of `input`, appends replies to `out`, and says what it needs next. Any cut of the same bytes
    /// gives the same replies and the same needs.
    pub fn advance(&mut self, input: &[u8], out: &mut Outbox) -> Progress {
        let mut consumed = 0;
        loop {
            if let State::Closed(reason) = self.state {
                return Progress { consumed, need: Need::Close(reason) };
            }
            assert_eq!(self.asked, Asked::Nothing, "a session that waits for an answer takes no input");
            if out.is_full() {
                return Progress { consumed, need: Need::Room };
            }
            let rest = &input[consumed..];
            let step = match &self.state {
                State::Opening => Step::needs(self.ask(Asked::Open, Need::Open)),
                State::Listing(..) => self.list_on(out),
                State::Sending(..) => self.read_on(out),
                State::Updating(_) => self.update(out),
                _ if self.refused.is_some() => self.throw_away(rest, out),
                _ => self.read_line(rest, out),
            };
            consumed += step.consumed;
            // Whatever ends a step without a need may be followed by another.
            if let Some(need) = step.need {
                return Progress { consumed, need };
            }
        }
    }

    fn ask(&mut self, question: Asked, need: Need) -> Need {
        self.asked = question;
        need
    }

    /// Takes a line without its CRLF, behind which so many octets are here.
    fn take_line(&mut self, line: &[u8], behind: usize, out: &mut Outbox) -> Step {
        let outcome = if matches!(self.state, State::Auth(_)) {
            self.respond(line, out)
        } else {
            match Command::parse(line) {
                Ok(Command::Stls) if self.offers_tls() && behind > 0 => {
                    Ok(self.end(Refusal::FOLLOWED_STLS, CloseReason::Injection, out))
                }
                Ok(command) => self.execute(command, out),
                Err(NoCommand::Mistake(refusal)) => Err(refusal),
                Err(NoCommand::NotPop3) => Ok(self.end(Refusal::NOT_POP3, CloseReason::NotPop3, out)),
            }
        };
        let need = outcome.unwrap_or_else(|refusal| {
            self.refuse(refusal, out);
            None
        });
        Step { consumed: line.len() + 2, need }
    }

    /// The one table of what each command does in each state.
    fn execute(&mut self, command: Command<'_>, out: &mut Outbox) -> Result<Option<Need>, Refusal> {
        use Command::*;
        match (&mut self.state, command) {
            (_, Capa) => Ok(self.list_capabilities(out)),

            (State::Start, User(name)) => self.take_name(name, out),
            (State::Named(_), User(_)) => Err(Refusal::PASS_EXPECTED),
            (State::Start, Pass(_)) => Err(self.refusal_of_login().unwrap_or(Refusal::USER_FIRST)),
            (State::Named(_), Pass(password)) => Ok(self.take_password(password)),
            (State::Start | State::Named(_), Auth { mechanism, response }) => {
                self.start_login(mechanism, response, out)
            }
            (State::Start | State::Named(_), Stls) => self.start_tls(out),
            // Mail is sent as it is, and names were UTF-8 before: there is nothing to enable.
            (State::Start | State::Named(_), Utf8) => Ok(say("UTF-8 enabled", out)),
            (State::Start | State::Named(_), Quit) => Ok(self.say_goodbye(out)),
            (
                State::Start | State::Named(_),
                Stat | List(_) | Uidl(_) | Retr(_) | Top { .. } | Dele(_) | Rset | Noop,
            ) => Err(Refusal::LOGIN_FIRST),

            (State::Open(maildrop), Stat) => {
                Ok(say(format_args!("{} {}", maildrop.count(), maildrop.octets()), out))
            }
            (State::Open(maildrop), List(Some(number))) => {
                let octets = |index| maildrop.message(index).octets;
                maildrop.find(number).map(|index| say(format_args!("{} {}", index + 1, octets(index)), out))
            }
            (State::Open(maildrop), Uidl(Some(number))) => {
                let uid = |index| &maildrop.message(index).uid;
                maildrop.find(number).map(|index| say(format_args!("{} {}", index + 1, uid(index)), out))
            }
            (State::Open(_), List(None)) => Ok(self.start_listing(Listing::OCTETS, out)),
            (State::Open(_), Uidl(None)) => Ok(self.start_listing(Listing::UIDS, out)),
            (State::Open(maildrop), Retr(number)) => {
                maildrop.find(number).map(|message| self.start_sending(Sending::whole(message)))
            }
            (State::Open(maildrop), Top { number, lines }) => {
                maildrop.find(number).map(|message| self.start_sending(Sending::top(message, lines)))
            }
            (State::Open(maildrop), Dele(number)) => maildrop.find(number).map(|index| {
                maildrop.delete(index);
                say("deleted", out)
            }),
            (State::Open(maildrop), Rset) => {
                maildrop.undelete();
                Ok(say(contents(maildrop), out))
            }
            (State::Open(_), Noop) => Ok(say("nothing done", out)),
            (State::Open(maildrop), Quit) => {
                let changes = maildrop.changes();
                Ok(self.start_update(changes, out))
            }
            (State::Open(_), User(_) | Pass(_) | Auth { .. } | Stls | Utf8) => {
                Err(Refusal::LOGGED_IN_ALREADY)
            }
            (
                State::Judging
                | State::Auth(_)
                | State::Opening
                | State::Listing(..)
                | State::Sending(..)
                | State::Updating(_)
                | State::Closed(_),
                _,
            ) => unreachable!("no command is read in this state"),
        }
    }

    /// What holds in this state (RFC 2449 5: what is there before a login is said behind it too, but for STLS, which
    /// RFC 2595 4 excepts).
    fn list_capabilities(&mut self, out: &mut Outbox) -> Option<Need> {
        push_ok("capabilities follow", out);
        if self.offers_tls() {
            out.push(b"STLS\r\n");
        }
        self.offer_logins(out);
        out.push(CAPABILITIES);
        None
    }

    fn offers_tls(&self) -> bool {
        let is_before_login = matches!(self.state, State::Start | State::Named(_));
        self.profile.security.starttls && !self.is_secured && is_before_login
    }

    fn start_tls(&mut self, out: &mut Outbox) -> Result<Option<Need>, Refusal> {
        if self.is_secured {
            return Err(Refusal::TLS_ALREADY);
        }
        if !self.profile.security.starttls {
            return Err(Refusal::NO_TLS);
        }
        push_ok("start TLS", out);
        Ok(Some(self.ask(Asked::StartTls, Need::StartTls)))
    }

    /// Refuses what the client said: a login under way is over, and the mistake that is one too many ends the session.
    fn refuse(&mut self, refusal: Refusal, out: &mut Outbox) {
        if refusal.is_last() {
            return self.dismiss(refusal, out);
        }
        if matches!(self.state, State::Named(_) | State::Judging | State::Auth(_)) {
            self.state = State::Start;
        }
        self.errors += u32::from(refusal.is_mistake());
        if self.errors >= POP3_ERRORS_MAX {
            self.end(Refusal::TOO_MANY_ERRORS, CloseReason::TooManyErrors, out);
        } else {
            refusal.push_to(out);
        }
    }

    fn say_goodbye(&mut self, out: &mut Outbox) -> Option<Need> {
        push_ok(GOODBYE, out);
        self.close(CloseReason::Quit);
        None
    }

    fn end(&mut self, last: Refusal, reason: CloseReason, out: &mut Outbox) -> Option<Need> {
        last.push_to(out);
        self.close(reason);
        None
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed(reason);
        self.refused = None;
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

    fn needs(need: Need) -> Step {
        Step { consumed: 0, need: Some(need) }
    }
}

/// Says that something is done, which needs nothing.
fn say(text: impl fmt::Display, out: &mut Outbox) -> Option<Need> {
    push_ok(text, out);
    None
}

/// What a maildrop holds, for people.
fn contents(maildrop: &Maildrop) -> String {
    format!("{} messages ({} octets)", maildrop.count(), maildrop.octets())
}

/// What holds in every state. UTF8 USER: names and passwords may be UTF-8 (RFC 6856 2.2).
const CAPABILITIES: &[u8] =
    b"TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\nEXPIRE NEVER\r\n\
    IMPLEMENTATION fastsmtp\r\n.\r\n";

const GOODBYE: &str = "goodbye";
