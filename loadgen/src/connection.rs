//! One connection of the load: its socket, its client, and the clock readings that become latencies.
//!
//! One receive and one send per exchange: a receive that did not fill the buffer emptied the socket, and a send cut
//! short filled it, so neither is tried again before the poll tells (epoll(7): edge-triggered).

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use fastsmtp::smtp::client::{Client, Commands, Data, Error, Event, Mail, Manner, Phase};
use mio::event;
use mio::net::TcpStream;

use crate::tally::Tally;

/// What all connections share.
#[derive(Debug)]
pub struct Load {
    /// Of the run; clock readings are nanoseconds since.
    pub clock: Instant,
    /// How clients speak.
    pub manner: Arc<Manner>,
    /// The envelope of every message.
    pub commands: Arc<Commands>,
    /// The data of every message.
    pub data: Data,
    /// Messages on a connection before it is closed.
    pub messages_per_connection: u64,
    /// Messages that may still be begun.
    pub remaining: u64,
    /// Messages begun.
    pub begun: u64,
    /// When the first message was begun.
    pub first_begun_at: Option<u64>,
    /// When the last message ended.
    pub settled_at: u64,
    /// The counts of the present stretch.
    pub tally: Tally,
    /// Connections that have not yet had their banner.
    pub connecting: usize,
    /// Connections that have come to their first transaction, or ended before.
    pub tried: u64,
    /// Whether the first connection that was greeted was offered PIPELINING.
    pub pipelining: Option<bool>,
    /// The first negative reply, as an example.
    pub first_negative: Option<String>,
}

impl Load {
    /// The time, in nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn example(&mut self, event: &Event<'_>) {
        if self.first_negative.is_none() && event.reply.code() >= 400 {
            let line = String::from_utf8_lossy(event.reply.last_line());
            let line: String = line.chars().take(EXAMPLE_MAX).collect();
            self.first_negative = Some(format!("\"{}\" to {}", line.escape_debug(), name(event.phase)));
        }
    }
}

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
    /// No progress in time.
    Timeout,
    /// The server does not speak SMTP as it should.
    Protocol(Error),
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket; the loop registers it.
    pub stream: TcpStream,
    client: Client,
    /// Messages begun here.
    messages: u64,
    /// The code of the first refusal since the message, or the connection, began; 0 if there was none.
    refusal: u16,
    stands: Stands,
    /// Clock readings, in nanoseconds since the run began: of the connect, of the message, of its data, and of the last
    /// octet that went either way.
    opened_at: u64,
    message_at: u64,
    data_at: u64,
    progress_at: u64,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stands {
    /// Without a banner.
    Connecting,
    /// Before its first transaction.
    Greeted,
    /// With a message under way.
    Message,
    /// QUIT is said.
    Leaving,
}

impl Connection {
    /// One that was opened at `now`.
    pub fn new(stream: TcpStream, client: Client, now: u64) -> Connection {
        Connection {
            stream,
            client,
            messages: 0,
            refusal: 0,
            stands: Stands::Connecting,
            opened_at: now,
            message_at: now,
            data_at: now,
            progress_at: now,
        }
    }

    /// How far it has come.
    pub fn stands(&self) -> Stands {
        self.stands
    }

    /// Whether it never came to a transaction.
    pub fn is_untried(&self) -> bool {
        self.messages == 0 && self.stands < Stands::Message
    }

    /// When the last octet went either way, or it was opened.
    pub fn progress_at(&self) -> u64 {
        self.progress_at
    }

    /// Does what an event allows. What is received goes to `buffer`, for a moment.
    pub fn drive(&mut self, event: &event::Event, load: &mut Load, buffer: &mut [u8]) -> Result<(), End> {
        if event.is_writable() && self.client.output() != [b""; 2] {
            self.progress_at = load.now();
            self.send()?;
        }
        // A connect that failed says so to a receive, whatever the event is called.
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(event.is_read_closed() || event.is_error(), load, buffer)?;
        }
        Ok(())
    }

    fn receive(&mut self, to_the_end: bool, load: &mut Load, buffer: &mut [u8]) -> Result<(), End> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) if self.stands == Stands::Leaving => return Err(End::Done),
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    self.hear(&buffer[..count], load)?;
                    self.send()?;
                    if count < buffer.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Failed(error)),
            }
        }
    }

    fn send(&mut self) -> Result<(), End> {
        loop {
            let [first, second] = self.client.output();
            let unsent = first.len() + second.len();
            if unsent == 0 {
                return Ok(());
            }
            match self.stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(count) => {
                    let whole = count == unsent;
                    self.client.sent(count);
                    if !whole {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Failed(error)),
            }
        }
    }

    /// Takes what the server said, and begins what follows from it.
    fn hear(&mut self, mut input: &[u8], load: &mut Load) -> Result<(), End> {
        let now = load.now();
        self.progress_at = now;
        loop {
            let event = match self.client.advance(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(error) => return Err(End::Protocol(error)),
            };
            load.tally.reply(&event.reply);
            load.example(&event);
            let (phase, code, positive) = (event.phase, event.reply.code(), event.reply.is_positive());
            if code >= 400 && self.refusal == 0 {
                self.refusal = code;
            }
            match phase {
                Phase::Banner => self.greeted(positive, now, load),
                Phase::Data if code < 400 => {
                    record(&mut load.tally.latencies.envelope, now - self.message_at);
                    self.data_at = now;
                }
                Phase::Accept if positive => self.accepted(now, load),
                _ => {}
            }
            if self.client.is_idle() {
                self.go_on(now, load);
            } else if self.client.is_over() {
                return Err(self.over(now, load));
            }
        }
    }

    fn greeted(&mut self, positive: bool, now: u64, load: &mut Load) {
        if positive {
            record(&mut load.tally.latencies.connect, now - self.opened_at);
            load.connecting -= 1;
            self.stands = Stands::Greeted;
        }
    }

    fn accepted(&mut self, now: u64, load: &mut Load) {
        record(&mut load.tally.latencies.accept, now - self.data_at);
        record(&mut load.tally.latencies.message, now - self.message_at);
        load.tally.accepted += 1;
        load.settled_at = now;
        self.stands = Stands::Greeted;
    }

    /// An idle client: counts a message that was not accepted, and begins another, or leaves.
    fn go_on(&mut self, now: u64, load: &mut Load) {
        self.refused(now, load);
        if self.messages == 0 {
            load.tried += 1;
            load.pipelining.get_or_insert(self.client.extensions().pipelining);
        }
        let full = load.messages_per_connection > 0 && self.messages == load.messages_per_connection;
        if load.remaining == 0 || full {
            self.client.quit();
            self.stands = Stands::Leaving;
            return;
        }
        load.remaining -= 1;
        load.begun += 1;
        load.first_begun_at.get_or_insert(now);
        self.messages += 1;
        self.refusal = 0;
        self.message_at = now;
        self.stands = Stands::Message;
        self.client.start(Mail::new(Arc::clone(&load.commands), load.data.clone()));
    }

    /// Counts the message under way, if there is one, as refused.
    fn refused(&mut self, now: u64, load: &mut Load) {
        if self.stands != Stands::Message {
            return;
        }
        match self.refusal / 100 {
            4 => load.tally.transient += 1,
            _ => load.tally.permanent += 1,
        }
        load.settled_at = now;
        self.stands = Stands::Greeted;
    }

    /// The dialogue is over: by our QUIT, or since the server has no service for us.
    fn over(&mut self, now: u64, load: &mut Load) -> End {
        let leaving = self.stands == Stands::Leaving;
        self.refused(now, load);
        if leaving { End::Done } else { End::Refused(self.refusal) }
    }
}

fn record(histogram: &mut hdrhistogram::Histogram<u64>, nanoseconds: u64) {
    // Never beyond the histogram's end, which is a day.
    histogram.saturating_record(nanoseconds);
}

/// A phase in words for people.
fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Banner => "the connect",
        Phase::Ehlo => "EHLO",
        Phase::Helo => "HELO",
        Phase::StartTls => "STARTTLS",
        Phase::Mail => "MAIL",
        Phase::Rcpt => "RCPT",
        Phase::Data => "DATA",
        Phase::Accept => "the final dot",
        Phase::Cancel => "the lone dot",
        Phase::Reset => "RSET",
        Phase::Quit => "QUIT",
        Phase::Unasked => "nothing",
    }
}

/// Characters of the example of a refusal.
const EXAMPLE_MAX: usize = 200;
