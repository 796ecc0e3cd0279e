//! One connection of the load: its transport, its client, and the clock readings that become latencies.
//!
//! One latency is under way at a time ([`Timing`]): `waits` says which, `since` from when. A step of the dialogue
//! records it and begins the next, so that no reading of the clock is taken twice, and a connection that times out knows
//! what it waited for.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use fastsmtp::net::slots::Key;
use fastsmtp::smtp::Address;
use fastsmtp::smtp::client::{self, Client, Grouping, Phase};
use mio::event;

use crate::ledger::Entry;
use crate::load::Load;
use crate::mail_id::MailId;
use crate::tally::{Outcome, Timing};
use crate::transport::{Received, Transport, TransportError};

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// By our QUIT.
    Done,
    /// The server refused service, with this code.
    Refused(u16),
    /// The server closed it.
    Closed,
    /// The system says why.
    Failed(io::Error),
    /// TLS came to no understanding.
    Tls(String),
    /// No progress in time.
    Timeout,
    /// The server lacks this extension, which the messages need.
    Lacks(&'static str),
    /// The server does not speak SMTP as it should, or not what we need.
    Protocol(client::Error),
}

impl From<TransportError> for End {
    fn from(error: TransportError) -> End {
        match error {
            TransportError::System(error) => End::Failed(error),
            TransportError::Tls(reason) => End::Tls(reason),
        }
    }
}

/// One connection.
pub struct Connection {
    /// What it is called in the loop, once it is there.
    pub key: Option<Key>,
    /// The socket, and TLS over it.
    pub transport: Transport,
    client: Client,
    /// Messages begun here.
    messages: u64,
    /// The code of the first refusal since the message, or the connection, began; 0 if there was none.
    refusal: u16,
    attempt: Attempt,
    stands: Stands,
    opened_at: u64,
    /// When the last octet went either way.
    progress_at: u64,
    waits: Timing,
    since: u64,
    message: Option<Under>,
}

/// A message under way.
struct Under {
    intended: u64,
    begun: u64,
    /// Whether the server took responsibility for any recipient.
    is_accepted: bool,
    id: MailId,
    octets: u64,
    /// For the ledger, if there is one.
    sha256: Option<[u8; 32]>,
    forward_paths: Arc<[Address]>,
    /// Which of these were refused.
    refused: Vec<usize>,
    /// Which were taken each by a reply of its own (LMTP).
    taken: Vec<usize>,
}

/// Whether the place of a connection had one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It had none: the load starts when all of these were tried.
    First,
    /// It had one.
    Again,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stands {
    /// Without a TCP connection.
    Connecting,
    /// Before its first transaction.
    Greeting,
    /// Ready for a transaction.
    Idle,
    /// With a message under way.
    Message,
    /// QUIT is said.
    Leaving,
}

impl Connection {
    /// One that is being opened since `now`.
    pub fn new(transport: Transport, client: Client, attempt: Attempt, now: u64) -> Connection {
        Connection {
            key: None,
            transport,
            client,
            messages: 0,
            refusal: 0,
            attempt,
            stands: Stands::Connecting,
            opened_at: now,
            progress_at: now,
            waits: Timing::Connect,
            since: now,
            message: None,
        }
    }

    /// Whether its place had a connection before.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// How far it has come.
    pub fn stands(&self) -> Stands {
        self.stands
    }

    /// When the last octet went either way, or it was opened.
    pub fn progress_at(&self) -> u64 {
        self.progress_at
    }

    /// Does what an event allows. What is received goes to `buffer`, for a moment.
    pub fn drive(&mut self, event: &event::Event, load: &mut Load, buffer: &mut [u8]) -> Result<(), End> {
        match self.act(event, load, buffer) {
            Err(End::Failed(error)) if self.stands != Stands::Connecting => {
                Err(self.last_words(error, load, buffer))
            }
            done => done,
        }
    }

    fn act(&mut self, event: &event::Event, load: &mut Load, buffer: &mut [u8]) -> Result<(), End> {
        let is_ending = event.is_read_closed() || event.is_error();
        if self.stands == Stands::Connecting && !event.is_error() {
            self.connected(load)?;
        }
        if event.is_writable() && (self.transport.wants_write() || self.has_to_say()) {
            self.progress_at = load.now();
            self.send()?;
        }
        // A connect that failed says so to a receive, whatever the event is called.
        if event.is_readable() || is_ending {
            self.receive(is_ending, load, buffer)?;
        }
        Ok(())
    }

    fn connected(&mut self, load: &mut Load) -> Result<(), End> {
        let now = load.now();
        self.stands = Stands::Greeting;
        self.pass(if self.transport.is_secured() { Timing::Tls } else { Timing::Banner }, now, load);
        if load.facts.same_machine.is_none() {
            load.facts.same_machine = self.transport.is_on_one_machine();
        }
        self.transport.flush()?;
        Ok(())
    }

    fn receive(&mut self, to_the_end: bool, load: &mut Load, buffer: &mut [u8]) -> Result<(), End> {
        loop {
            match self.transport.receive(buffer)? {
                Received::End if self.stands == Stands::Leaving => return Err(End::Done),
                Received::End if self.transport.is_handshaking() => {
                    return Err(End::Tls("the server closed the connection in the TLS handshake".into()));
                }
                Received::End => return Err(End::Closed),
                Received::Nothing => return Ok(()),
                Received::Octets { count, is_all } => {
                    let now = load.now();
                    self.progress_at = now;
                    self.handshake(now, load);
                    match self.transport.take_plain() {
                        Some(plain) => {
                            self.hear(&plain, now, load)?;
                            self.transport.give_back(plain);
                        }
                        None => self.hear(&buffer[..count], now, load)?,
                    }
                    self.send()?;
                    if is_all && !to_the_end {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What a failure comes to. A server that refuses in the midst of the mail data and hangs up makes our sends fail, but
    /// what it said is still there.
    fn last_words(&mut self, error: io::Error, load: &mut Load, buffer: &mut [u8]) -> End {
        while let Ok(Received::Octets { count, .. }) = self.transport.receive(buffer) {
            let now = load.now();
            let heard = match self.transport.take_plain() {
                Some(plain) => self.hear(&plain, now, load),
                None => self.hear(&buffer[..count], now, load),
            };
            if let Err(end) = heard {
                return end;
            }
        }
        End::Failed(error)
    }

    /// Takes note of a handshake that has come to its end.
    fn handshake(&mut self, now: u64, load: &mut Load) {
        if self.waits != Timing::Tls || self.transport.is_handshaking() {
            return;
        }
        if load.facts.tls.is_none() {
            load.facts.tls = self.transport.tls_in_words();
        }
        if self.client.needs_tls() {
            self.client.secured();
            self.pass(Timing::Ehlo, now, load);
        } else {
            self.pass(Timing::Banner, now, load);
        }
    }

    fn has_to_say(&self) -> bool {
        self.client.output().iter().any(|slice| !slice.is_empty())
    }

    /// Sends what there is to say, as far as the socket takes it.
    fn send(&mut self) -> Result<(), End> {
        loop {
            let output = self.client.output();
            let octets = output[0].len() + output[1].len();
            if octets == 0 && !self.transport.wants_write() {
                return Ok(());
            }
            let sent = self.transport.send(output)?;
            self.client.sent(sent);
            if sent < octets || self.transport.wants_write() {
                return Ok(());
            }
        }
    }

    /// Records the latency that is under way, and begins another.
    fn pass(&mut self, next: Timing, now: u64, load: &mut Load) {
        load.record(self.waits, now.saturating_sub(self.since), self.intended());
        (self.waits, self.since) = (next, now);
    }

    /// Takes what the server said, and begins what follows from it.
    fn hear(&mut self, mut input: &[u8], now: u64, load: &mut Load) -> Result<(), End> {
        loop {
            let event = match self.client.advance(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(error) => return Err(End::Protocol(error)),
            };
            load.reply(&event, self.message.as_ref().map(|message| message.intended));
            let (phase, code, recipient) = (event.phase, event.reply.code(), event.recipient);
            self.take(phase, code, recipient, now, load);
            if self.client.needs_tls() {
                self.begin_tls(load)?;
            } else if self.client.is_over() {
                return Err(self.over(now, load));
            } else if self.client.is_idle() {
                self.ready(now, load)?;
            }
        }
    }

    /// Takes note of one reply.
    fn take(&mut self, phase: Phase, code: u16, recipient: Option<usize>, now: u64, load: &mut Load) {
        let is_positive = code < 400;
        if !is_positive && self.refusal == 0 {
            self.refusal = code;
        }
        if let (false, Some(recipient), Some(message)) = (is_positive, recipient, &mut self.message) {
            message.refused.push(recipient);
        }
        match phase {
            Phase::Banner if is_positive => self.pass(Timing::Ehlo, now, load),
            Phase::Ehlo | Phase::Helo if is_positive => self.pass(Timing::Auth, now, load),
            Phase::StartTls => self.since = now,
            Phase::Auth if code / 100 == 2 => self.pass(Timing::Auth, now, load),
            Phase::Rcpt => self.recipient_answered(recipient, now, load),
            Phase::Data if is_positive => self.pass(Timing::Accept, now, load),
            Phase::Accept => {
                if let (true, Some(message)) = (is_positive, &mut self.message) {
                    message.is_accepted = true;
                    message.taken.extend(recipient);
                }
            }
            _ => {}
        }
    }

    /// The server agreed to TLS: the handshake comes next, and the octets behind this reply are its.
    fn begin_tls(&mut self, load: &Load) -> Result<(), End> {
        self.waits = Timing::Tls;
        let security =
            load.security.as_ref().expect("STARTTLS is only said where there is something to secure with");
        Ok(self.transport.secure(security)?)
    }

    /// A reply to RCPT: with the last of them the envelope is over.
    fn recipient_answered(&mut self, recipient: Option<usize>, now: u64, load: &mut Load) {
        let Some(message) = &self.message else { return };
        if recipient.is_none_or(|recipient| recipient + 1 < message.forward_paths.len()) {
            return;
        }
        let begun = message.begun;
        let is_chunked = load.manner.grouping == Grouping::Chunked;
        self.pass(if is_chunked { Timing::Accept } else { Timing::Data }, now, load);
        if load.manner.grouping != Grouping::Lockstep && self.client.extensions().pipelining {
            // What is waited for next went out together with MAIL.
            self.since = begun;
        }
    }

    /// An idle client: counts the message that ended, and begins another, or rests, or leaves.
    fn ready(&mut self, now: u64, load: &mut Load) -> Result<(), End> {
        let ready_since = if self.stands < Stands::Idle {
            if load.needs_eight_bit_mime && !self.client.extensions().eight_bit_mime {
                return Err(End::Lacks("8BITMIME"));
            }
            load.greeted(self.client.extensions(), self.attempt);
            self.opened_at
        } else {
            now
        };
        self.settle(now, load);
        self.stands = Stands::Idle;
        let is_full = load.messages_per_connection > 0 && self.messages == load.messages_per_connection;
        if is_full || load.is_exhausted(now) {
            self.leave();
        } else if let Some(intended) = load.next_start(ready_since, now) {
            self.begin(intended, load);
        } else {
            load.resting.extend(self.key);
        }
        Ok(())
    }

    /// Says QUIT. Only for one that is idle.
    pub fn leave(&mut self) {
        self.client.quit();
        self.stands = Stands::Leaving;
    }

    /// Begins a message. Only for one that is idle.
    fn begin(&mut self, intended: u64, load: &mut Load) {
        let composed = load.mails.compose();
        // Making it was our work, not the server's.
        let now = load.now();
        self.message = Some(Under {
            intended,
            begun: now,
            is_accepted: false,
            id: composed.id,
            octets: composed.octets,
            sha256: composed.sha256,
            forward_paths: composed.forward_paths,
            refused: Vec::new(),
            taken: Vec::new(),
        });
        self.messages += 1;
        self.refusal = 0;
        self.stands = Stands::Message;
        (self.waits, self.since) = (Timing::Envelope, now);
        self.client.start(composed.mail);
    }

    /// Begins a message on a connection that rested, and sends what can be sent of it.
    pub fn wake(&mut self, intended: u64, now: u64, load: &mut Load) -> Result<(), End> {
        self.begin(intended, load);
        self.progress_at = now;
        self.send()
    }

    /// Ends a rest with QUIT.
    pub fn dismiss(&mut self, now: u64) -> Result<(), End> {
        self.leave();
        self.progress_at = now;
        self.send()
    }

    /// Counts the message under way, if there is one, by the answers that it got.
    fn settle(&mut self, now: u64, load: &mut Load) {
        let Some(message) = self.message.take() else { return };
        let outcome = match self.refusal / 100 {
            _ if message.is_accepted => Outcome::Accepted,
            4 => Outcome::Transient,
            _ => Outcome::Permanent,
        };
        load.settle(outcome, message.intended, now);
        if outcome == Outcome::Accepted {
            load.accepted(message.intended, now.saturating_sub(self.since), message.octets, now);
            if let Some(sha256) = message.sha256 {
                load.write_down(message.entry(sha256));
            }
        }
    }

    /// The dialogue is over: by our QUIT, or since the server has no service for us.
    fn over(&mut self, now: u64, load: &mut Load) -> End {
        let is_leaving = self.stands == Stands::Leaving;
        self.settle(now, load);
        if is_leaving { End::Done } else { End::Refused(self.refusal) }
    }

    /// What an end comes to: a server that refuses service often hangs up, or falls silent, before our QUIT has its reply.
    pub fn judged(&self, end: End) -> End {
        match end {
            End::Closed | End::Failed(_) | End::Timeout
                if self.stands == Stands::Greeting && self.refusal != 0 =>
            {
                End::Refused(self.refusal)
            }
            end => end,
        }
    }

    /// Counts what a connection that has ended leaves behind; gives how far it had come.
    pub fn close(self, end: &End, now: u64, load: &mut Load) -> Stands {
        let stands = self.stands;
        match end {
            End::Timeout if stands == Stands::Message => self.give_up(Outcome::TimedOut, now, load),
            // It took at least as long as it was waited for. Whom QUIT is not answered to owes us nothing.
            End::Timeout if stands < Stands::Idle => load.record(self.waits, now - self.since, None),
            _ => self.give_up(Outcome::Broken, now, load),
        }
        stands
    }

    /// Gives up the message under way, if there is one. What it waited for took at least as long as it was waited for. A
    /// server that took it for one recipient and went before it answered for the others (LMTP) has accepted it.
    pub fn give_up(mut self, outcome: Outcome, now: u64, load: &mut Load) {
        if self.message.as_ref().is_some_and(|message| message.is_accepted) {
            return self.settle(now, load);
        }
        let Some(message) = self.message else { return };
        if outcome != Outcome::Abandoned {
            load.record(self.waits, now.saturating_sub(self.since), Some(message.intended));
        }
        load.settle(outcome, message.intended, now);
    }

    /// The intended start of the message under way.
    fn intended(&self) -> Option<u64> {
        self.message.as_ref().map(|message| message.intended)
    }
}

impl Under {
    /// What the ledger says of it, acknowledged now.
    fn entry(self, sha256: [u8; 32]) -> Entry {
        let is_accepted = |index: &usize| match self.taken.is_empty() {
            true => !self.refused.contains(index),
            false => self.taken.contains(index),
        };
        let paths = self.forward_paths.iter().enumerate();
        let recipients = paths.filter(|(index, _)| is_accepted(index));
        Entry {
            id: self.id,
            acknowledged: SystemTime::now(),
            octets: self.octets,
            sha256,
            recipients: recipients.map(|(_, address)| address.clone()).collect(),
        }
    }
}
