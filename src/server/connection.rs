//! One connection: a stream, the session that speaks on it, and what waits on either side.
//!
//! Driven by [`Server`](super::Server) only. A connection reads through the server's one receive buffer and owns memory
//! only for what could not be finished: input behind a parked command ("carry") and replies that the client does not
//! take. It never reads while replies wait beyond the outbox's bound.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use super::logins::Login;
use super::maildrop::GoesOn;
use super::passage::Received;
use super::spilling::Spilling;
use super::spoken::{LastWord, NoLogin, Spoken};
use super::{Options, Service};
use crate::QueueId;
use crate::limits::{
    BULK_BEYOND, DATA_RATE_MIN_PER_MINUTE, LINGER_MAX, LINGER_SECS, POP3_IDLE_SECS, POP3_PART_SECS,
    POP3_WRITE_TIMEOUT_SECS, WRITE_TIMEOUT_SECS,
};
use crate::net::tls::Tls;
use crate::pop3;
use crate::smtp::trace::Trace;
use crate::smtp::{self, Envelope};
use crate::wire::Outbox;

/// What a connection needs of its stream beyond reading and writing.
pub trait Stream: Read + Write {
    /// Ends the writing direction, so that the client sees the end behind our last reply.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// An SMTP session ended, with a last reply of ours.
    Smtp(smtp::CloseReason),
    /// A POP3 session did.
    Pop3(pop3::CloseReason),
    /// The server did not want to serve it, and said so.
    Dismissed,
    /// The client closed.
    Client,
    /// The client reset the connection, or the network did.
    Reset,
    /// No whole command in time.
    CommandTimeout,
    /// Mail data stopped or trickled.
    DataTimeout,
    /// The session's time was over.
    SessionTimeout,
    /// The client took none of our replies in time.
    WriteTimeout,
    /// A trusted proxy sent no header in time.
    NoProxyHeader,
    /// A trusted proxy sent something else than a header.
    BadProxyHeader,
    /// TLS came to nothing, or was broken.
    Tls,
    /// A handshake that did not end in time, or had to give way to newer ones.
    HandshakeTimeout,
    /// We stop.
    Shutdown,
    /// The session met a broken invariant of ours; a bug.
    Panic,
}

impl CloseReason {
    /// One word for logs.
    pub fn word(self) -> &'static str {
        match self {
            CloseReason::Smtp(smtp::CloseReason::Quit) | CloseReason::Pop3(pop3::CloseReason::Quit) => "quit",
            CloseReason::Smtp(smtp::CloseReason::Dismissed)
            | CloseReason::Pop3(pop3::CloseReason::Dismissed)
            | CloseReason::Dismissed => "dismissed",
            CloseReason::Smtp(smtp::CloseReason::TooManyErrors)
            | CloseReason::Pop3(pop3::CloseReason::TooManyErrors) => "too-many-errors",
            CloseReason::Pop3(pop3::CloseReason::NotPop3) => "not-pop3",
            CloseReason::Pop3(pop3::CloseReason::Injection) => "plaintext-behind-stls",
            CloseReason::Pop3(pop3::CloseReason::LineTooLong) => "line-too-long",
            CloseReason::Smtp(smtp::CloseReason::NotSmtp) => "not-smtp",
            CloseReason::Smtp(smtp::CloseReason::Injection) => "plaintext-behind-starttls",
            CloseReason::Smtp(smtp::CloseReason::LineTooLong) => "line-too-long",
            CloseReason::Smtp(smtp::CloseReason::BadChunk) => "bad-chunk",
            CloseReason::Client => "client-closed",
            CloseReason::Reset => "reset",
            CloseReason::CommandTimeout => "command-timeout",
            CloseReason::DataTimeout => "data-timeout",
            CloseReason::SessionTimeout => "session-timeout",
            CloseReason::WriteTimeout => "write-timeout",
            CloseReason::NoProxyHeader => "no-proxy-header",
            CloseReason::BadProxyHeader => "bad-proxy-header",
            CloseReason::Tls => "tls-failed",
            CloseReason::HandshakeTimeout => "handshake-timeout",
            CloseReason::Shutdown => "shutdown",
            CloseReason::Panic => "panic",
        }
    }
}

/// A connection and its session.
pub(super) struct Connection<S> {
    pub stream: S,
    pub session: Spoken,
    pub outbox: Outbox,
    /// Received and not consumed.
    pub carry: Vec<u8>,
    /// Whether the session could take the carry as it is: it was stopped, rather than short of input.
    pub has_fresh_carry: bool,
    /// Who speaks: the socket's other end, or whom a trusted proxy there names.
    pub client: SocketAddr,
    /// What the listener that took it is for.
    pub service: Service,
    /// What goes between stream and session, once it began.
    pub tls: Option<Tls>,
    /// Whether it counts among the unfinished handshakes.
    pub is_shaking: bool,
    pub phase: Phase,
    /// Whether reading may bring something: the kernel said so and we have not read it dry since.
    pub may_be_readable: bool,
    /// Whether the kernel said that the client will send nothing more.
    pub read_closed: bool,
    /// Whether all that the client sent was read, up to its end.
    pub is_input_over: bool,
    /// Whether it stands in the server's ready list.
    pub is_listed: bool,
    /// Whether it stands in the server's list of those that have something to write.
    pub is_dirty: bool,
    /// Whether its session waits for us: for a commit, a part of a large message, the judgement of a password.
    pub is_parked: bool,
    /// Its large message, on its way to a file.
    pub spilling: Option<Box<Spilling>>,
    /// Octets of the memory budget that it has.
    pub charged: usize,
    /// Messages accepted.
    pub messages: u32,
    /// Whether somebody logs in, or has.
    pub login: Option<Box<Login>>,
    /// Logins that failed.
    pub failed_logins: u32,
    /// What a failed login is told, and when, in milliseconds.
    pub late_no: Option<(u64, NoLogin)>,
    /// Recipients asked for that are not here.
    pub unknown_recipients: u32,
    /// The millisecond at which the timers will look at it.
    pub look_ms: u64,
    opened_ms: u64,
    /// When the last command was complete, or the last mail data came, or the last reply was taken.
    pub(super) progress_ms: u64,
    /// The minute over which the rate of mail data is judged: its end, and the octets so far.
    minute_ends_ms: u64,
    minute_octets: u64,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A trusted proxy has until then, in milliseconds, to say for whom it speaks; its header so far is in the carry.
    Proxied(u64),
    /// The banner is held back until then, in milliseconds.
    Greeting(u64),
    /// The session speaks.
    Open,
    /// TLS begins once the outbox is written; nothing is read before.
    StartTls,
    /// TLS has begun and is not yet agreed upon; looked at then, in milliseconds.
    Handshake { began_ms: u64, look_ms: u64 },
    /// Everything is said once the outbox is written.
    Finishing(CloseReason),
    /// Our direction is shut down; input is thrown away until the client closes, so many octets so far.
    Lingering { reason: CloseReason, discarded: usize, until_ms: u64 },
}

/// What a deadline means, and when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The banner is due.
    Greet(u64),
    /// The handshake is to be looked at.
    Handshake(u64),
    /// The connection is dismissed with the word.
    Dismiss(u64, LastWord, CloseReason),
    /// The connection is closed without a word.
    Close(u64, CloseReason),
    /// The minute of mail data is to be judged.
    Judge(u64),
    /// A failed login is told so.
    SayNo(u64),
}

impl Deadline {
    pub fn ms(self) -> u64 {
        match self {
            Deadline::Greet(ms)
            | Deadline::Handshake(ms)
            | Deadline::Dismiss(ms, ..)
            | Deadline::Close(ms, _)
            | Deadline::Judge(ms)
            | Deadline::SayNo(ms) => ms,
        }
    }
}

impl<S: Stream> Connection<S> {
    pub fn new(
        stream: S,
        client: SocketAddr,
        service: Service,
        session: Spoken,
        phase: Phase,
        now_ms: u64,
    ) -> Connection<S> {
        Connection {
            stream,
            session,
            outbox: Outbox::new(),
            carry: Vec::new(),
            has_fresh_carry: false,
            client,
            service,
            tls: None,
            is_shaking: false,
            phase,
            may_be_readable: true,
            read_closed: false,
            is_input_over: false,
            is_listed: false,
            is_dirty: false,
            is_parked: false,
            spilling: None,
            charged: 0,
            messages: 0,
            login: None,
            failed_logins: 0,
            late_no: None,
            unknown_recipients: 0,
            look_ms: u64::MAX,
            opened_ms: now_ms,
            progress_ms: now_ms,
            minute_ends_ms: 0,
            minute_octets: 0,
        }
    }

    /// Whether driving it may move anything.
    pub fn can_advance(&self) -> bool {
        match self.phase {
            Phase::Greeting(_) => self.may_be_readable && !self.is_input_over,
            Phase::Proxied(_) | Phase::Handshake { .. } | Phase::Lingering { .. } => self.may_be_readable,
            Phase::Open => {
                let has_input = self.may_be_readable || self.has_fresh_carry || self.is_input_over;
                let goes_on = match self.session.visit().map(|visit| visit.goes_on) {
                    None | Some(GoesOn::WithInput) => has_input || self.session.is_over(),
                    Some(GoesOn::AtOnce) => true,
                    Some(GoesOn::OnceWritten) => self.is_written(),
                };
                goes_on && !self.is_parked && !self.outbox.is_full()
            }
            Phase::StartTls | Phase::Finishing(_) => false,
        }
    }

    /// Whether it brings a large message: nobody feels whether that comes a turn earlier.
    pub fn is_bulk(&self) -> bool {
        self.spilling.is_some() || self.session.is_in_data() && self.session.memory() > BULK_BEYOND
    }

    /// Octets of the memory budget that it needs now.
    pub fn memory(&self) -> usize {
        let spilling = self.spilling.as_ref().map_or(0, |spilling| spilling.memory());
        self.session.memory() + self.carry.capacity() + spilling + self.charged_outbox()
    }

    /// Octets of replies that are charged: a maildrop's, which are more than what a client of SMTP can ask for.
    pub fn charged_outbox(&self) -> usize {
        match self.session.visit() {
            Some(visit) if visit.session.is_open() => self.outbox.memory(),
            _ => 0,
        }
    }

    /// What the trace fields of a message that comes by this connection tell.
    pub fn trace<'a>(
        &'a self,
        envelope: &Envelope,
        hostname: &'a str,
        id: QueueId,
        date: &'a str,
    ) -> Trace<'a> {
        let session = self.session.smtp();
        let protocol = session.protocol(envelope);
        Trace {
            hello: session.hello(),
            client: self.client.ip().to_canonical(),
            hostname,
            protocol,
            id,
            date,
        }
    }

    /// Takes note of a complete command, or of `octets` of mail data. A trickle below either moves no deadline.
    pub fn progressed(&mut self, now_ms: u64, octets: usize) {
        self.progress_ms = now_ms;
        if !self.session.awaits_data() {
            self.minute_ends_ms = 0;
        } else if self.minute_ends_ms == 0 {
            (self.minute_ends_ms, self.minute_octets) = (now_ms + MINUTE_MS, 0);
        } else {
            self.minute_octets += octets as u64;
        }
    }

    /// Goes on after it waited for us: the client's time begins anew.
    pub fn resume(&mut self, now_ms: u64) {
        self.is_parked = false;
        self.progress_ms = now_ms;
        (self.minute_ends_ms, self.minute_octets) =
            if self.session.awaits_data() { (now_ms + MINUTE_MS, 0) } else { (0, 0) };
    }

    /// Ends the minute of mail data: whether its rate was enough, and then a new one begins. A minute of silence is no
    /// trickle: that is for the data timeout to end.
    pub fn judge_minute(&mut self, now_ms: u64) -> bool {
        let enough = self.minute_octets == 0 || self.minute_octets >= DATA_RATE_MIN_PER_MINUTE;
        (self.minute_ends_ms, self.minute_octets) = (now_ms + MINUTE_MS, 0);
        enough
    }

    /// The next thing that time does to this connection; none while it waits for us.
    pub fn deadline(&self, options: &Options) -> Option<Deadline> {
        let after =
            |timeout: std::time::Duration| self.progress_ms.saturating_add(timeout.as_millis() as u64);
        let session_ms = self.opened_ms.saturating_add(options.session_timeout.as_millis() as u64);
        match self.phase {
            Phase::Proxied(until_ms) => return Some(Deadline::Close(until_ms, CloseReason::NoProxyHeader)),
            Phase::Greeting(until_ms) => return Some(Deadline::Greet(until_ms)),
            Phase::Handshake { look_ms, .. } => return Some(Deadline::Handshake(look_ms)),
            Phase::Lingering { reason, until_ms, .. } => return Some(Deadline::Close(until_ms, reason)),
            Phase::Finishing(_) | Phase::StartTls | Phase::Open if !self.is_written() => {
                return Some(self.write_deadline(session_ms));
            }
            Phase::Finishing(_) | Phase::StartTls | Phase::Open if self.is_parked => {
                return self.late_no.map(|(due_ms, _)| Deadline::SayNo(due_ms));
            }
            Phase::Finishing(_) | Phase::StartTls | Phase::Open => {}
        }
        // A reader of mail is not cut for the connection's age: it would never come to remove what it has read.
        if self.said_ms().is_some() {
            let idle_ms = self.progress_ms + POP3_IDLE_SECS * 1000;
            return Some(Deadline::Dismiss(idle_ms, LastWord::CommandTimeout, CloseReason::CommandTimeout));
        }
        let session = Deadline::Dismiss(session_ms, LastWord::SessionTimeout, CloseReason::SessionTimeout);
        let own = if self.session.awaits_data() {
            let silence = Deadline::Dismiss(
                after(options.data_timeout),
                LastWord::DataTimeout,
                CloseReason::DataTimeout,
            );
            if self.minute_ends_ms > 0 && self.minute_ends_ms < silence.ms() {
                Deadline::Judge(self.minute_ends_ms)
            } else {
                silence
            }
        } else {
            Deadline::Dismiss(
                after(options.command_timeout),
                LastWord::CommandTimeout,
                CloseReason::CommandTimeout,
            )
        };
        // Mail data under way is not cut for the connection's age.
        Some(if own.ms() <= session.ms() || self.session.awaits_data() { own } else { session })
    }

    /// When a client has to have taken some of what waits for it, and when all of it: who takes an octet a minute does not stay
    /// for ever.
    fn write_deadline(&self, session_ms: u64) -> Deadline {
        let (write_secs, last) = match self.said_ms() {
            Some(said_ms) => (
                POP3_WRITE_TIMEOUT_SECS,
                Deadline::Close(said_ms + POP3_PART_SECS * 1000, CloseReason::WriteTimeout),
            ),
            None => {
                let last_ms = session_ms.saturating_add(WRITE_TIMEOUT_SECS * 1000);
                (WRITE_TIMEOUT_SECS, Deadline::Close(last_ms, CloseReason::SessionTimeout))
            }
        };
        let write = Deadline::Close(self.progress_ms + write_secs * 1000, CloseReason::WriteTimeout);
        if write.ms() <= last.ms() { write } else { last }
    }

    /// When a reader of mail was last told something, in milliseconds.
    fn said_ms(&self) -> Option<u64> {
        self.session.visit().and_then(|visit| visit.said_ms)
    }

    /// What to do once everything is written: whether the connection can be closed now. Otherwise it lingers, throwing
    /// input away, for a close over unread input would send a reset and destroy the last reply. With TLS the client's
    /// close_notify is to come yet.
    pub fn finish(&mut self, reason: CloseReason, now_ms: u64) -> bool {
        let nothing_behind = matches!(reason, CloseReason::Client | CloseReason::Reset)
            || matches!(
                reason,
                CloseReason::Smtp(smtp::CloseReason::Quit) | CloseReason::Pop3(pop3::CloseReason::Quit)
            ) && self.tls.is_none()
                && self.carry.is_empty()
                && !self.may_be_readable;
        self.carry = Vec::new();
        if nothing_behind || self.stream.shutdown_write().is_err() {
            return true;
        }
        self.phase = Phase::Lingering { reason, discarded: 0, until_ms: now_ms + LINGER_SECS * 1000 };
        false
    }

    /// Throws input away while lingering; whether the connection can be closed now.
    pub fn linger(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.receive(buffer) {
                Received::End | Received::Broken | Received::TlsFailed(_) => return true,
                Received::Nothing => return false,
                Received::Octets(octets) => {
                    let Phase::Lingering { discarded, .. } = &mut self.phase else {
                        return true;
                    };
                    *discarded += octets;
                    if *discarded > LINGER_MAX {
                        return true;
                    }
                    if !self.may_be_readable {
                        return false;
                    }
                }
            }
        }
    }
}

const MINUTE_MS: u64 = 60_000;
