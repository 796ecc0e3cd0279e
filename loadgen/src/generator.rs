//! The loop: opens connections in bounded bursts, drives those that are ready, and cuts the run into its stretches.
//!
//! ```text
//!   by time:      Opening ─▶ WarmUp ─▶ Measuring ─▶ Draining      a Tally each: warm_up, measured, drain
//!   by messages:  Measuring ────────────────────────▶ Draining    all messages are in `measured`
//! ```
//!
//! The first connection goes alone and tells whether there is an SMTP server at all. A connection that fails is opened
//! again, all together at most [`REOPENS_PER_MS`] a millisecond, so that a dead server is asked, not flooded. Every
//! message begun is in one of the tallies or is `abandoned`, which the end of the run asserts.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastsmtp::net::slots::{Key, Slots};
use fastsmtp::smtp::client::{Client, Commands, Data, Hello, Manner, StartTls};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::arguments::{Amount, Plan};
use crate::connection::{Connection, End, Load, Stands};
use crate::tally::Tally;

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// The stretch that the figures are about.
    pub measured: Tally,
    /// What came before it, by time.
    pub warm_up: Tally,
    /// What came after it, by time.
    pub drain: Tally,
    /// How long the measured stretch was.
    pub elapsed: Duration,
    /// Processor time of this process in the measured stretch.
    pub processor: Duration,
    /// Messages begun, in all stretches.
    pub begun: u64,
    /// Messages under way when the run ended: nobody knows what became of them.
    pub abandoned: u64,
    /// Whether the server offers PIPELINING; none if it never said.
    pub pipelining: Option<bool>,
    /// The first negative reply, as an example.
    pub first_negative: Option<String>,
    /// The first failure of a connection, as an example.
    pub first_failure: Option<String>,
    /// How it ended.
    pub ending: Ending,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Complete,
    /// By a signal.
    Interrupted,
    /// No connection came to a message for as long as we wait.
    GaveUp,
    /// The first connection failed, for this reason.
    Unreachable(String),
}

/// Makes a run. An error is the system's, not the server's.
pub fn run(plan: &Plan, interrupted: &AtomicBool) -> io::Result<Run> {
    let mut generator = Generator::new(plan)?;
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    let ending = loop {
        if let Some(ending) = generator.turn(&mut events)? {
            break ending;
        }
        if interrupted.load(Ordering::Relaxed) {
            break Ending::Interrupted;
        }
    };
    Ok(generator.end(ending))
}

/// A stretch of the run, and when it ends, in nanoseconds since the run began.
#[derive(Debug, Clone, Copy)]
enum Stretch {
    /// Until every connection was tried.
    Opening,
    WarmUp {
        until: u64,
    },
    /// Without an end: until all messages are settled.
    Measuring {
        until: Option<u64>,
    },
    Draining {
        until: u64,
    },
}

/// Where the measured stretch begins or ends.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: u64,
    processor: Duration,
}

struct Generator<'a> {
    plan: &'a Plan,
    poll: Poll,
    slots: Slots<Connection>,
    load: Load,
    /// Where received octets go, for a moment.
    buffer: Vec<u8>,
    stretch: Stretch,
    begins: Mark,
    ends: Option<Mark>,
    warm_up: Tally,
    measured: Tally,
    /// Connections that failed and wait to be opened again, and when the last of them was.
    waiting: usize,
    reopened_at: u64,
    /// When timeouts were last looked for.
    expired_at: u64,
    /// Whether a connection ever came to a transaction.
    reached: bool,
    first_failure: Option<String>,
    unreachable: Option<String>,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan) -> io::Result<Generator<'a>> {
        let (stretch, remaining) = match plan.amount {
            Amount::Messages(messages) => (Stretch::Measuring { until: None }, messages),
            Amount::Time { .. } => (Stretch::Opening, u64::MAX),
        };
        let load = Load {
            clock: Instant::now(),
            manner: Arc::new(Manner {
                hello: Hello::new(HOST_NAME),
                grouping: plan.mode.grouping(),
                starttls: StartTls::Never,
                credentials: None,
            }),
            commands: Arc::new(Commands::new(&plan.envelope)),
            data: Data::stuffed(&plan.data()),
            messages_per_connection: plan.messages_per_connection,
            remaining,
            begun: 0,
            first_begun_at: None,
            settled_at: 0,
            tally: Tally::default(),
            connecting: 0,
            tried: 0,
            pipelining: None,
            first_negative: None,
        };
        Ok(Generator {
            plan,
            buffer: vec![0; RECEIVE_BUFFER],
            poll: Poll::new()?,
            slots: Slots::new(),
            load,
            stretch,
            begins: Mark { at: 0, processor: processor_time() },
            ends: None,
            warm_up: Tally::default(),
            measured: Tally::default(),
            waiting: 0,
            reopened_at: 0,
            expired_at: 0,
            reached: false,
            first_failure: None,
            unreachable: None,
        })
    }

    /// One pass: opens what is to be opened, drives what is ready, lets time pass. Says so when the run is at its end.
    fn turn(&mut self, events: &mut Events) -> io::Result<Option<Ending>> {
        self.open()?;
        match self.poll.poll(events, Some(self.patience())) {
            // A signal; events are none then.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            other => other?,
        }
        for event in &*events {
            let key = Key::from_u64(event.token().0 as u64);
            if let Some(connection) = self.slots.get_mut(key)
                && let Err(end) = connection.drive(event, &mut self.load, &mut self.buffer)
            {
                self.close(key, end);
            }
        }
        self.reached |= self.load.begun > 0;
        let now = self.load.now();
        self.expire(now);
        self.pass(now);
        Ok(self.ending(now))
    }

    /// Opens connections as far as they are wanted and not too many are under way.
    fn open(&mut self) -> io::Result<()> {
        let now = self.load.now();
        let allowed = ((now - self.reopened_at) / 1_000_000).saturating_mul(REOPENS_PER_MS) as usize;
        if allowed > 0 {
            self.waiting = self.waiting.saturating_sub(allowed);
            self.reopened_at = now;
        }
        let connecting_max = if self.reached { CONNECTING_MAX } else { 1 };
        while self.load.remaining > 0
            && self.load.connecting < connecting_max
            && self.slots.len() + self.waiting < self.plan.connections
            && self.unreachable.is_none()
        {
            self.open_one(now)?;
        }
        Ok(())
    }

    fn open_one(&mut self, now: u64) -> io::Result<()> {
        let opened =
            TcpStream::connect(self.plan.target).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                self.load.tally.failures.connect += 1;
                self.failed(&End::Failed(error), true);
                return Ok(());
            }
        };
        let client = Client::new(Arc::clone(&self.load.manner), 0);
        let key = self.slots.insert(Connection::new(stream, client, now));
        self.load.connecting += 1;
        let connection = self.slots.get_mut(key).expect("just inserted");
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut connection.stream, Token(key.to_u64() as usize), both)
    }

    /// Counts the end of a connection.
    fn close(&mut self, key: Key, end: End) {
        let Some(connection) = self.slots.remove(key) else { return };
        let before_banner = connection.stands() == Stands::Connecting;
        self.load.connecting -= usize::from(before_banner);
        let tally = &mut self.load.tally;
        if connection.stands() == Stands::Message {
            tally.unanswered += 1;
            self.load.settled_at = self.load.clock.elapsed().as_nanos() as u64;
        }
        let counter = match &end {
            End::Done => return,
            End::Refused(_) => &mut tally.failures.refused,
            End::Failed(_) if before_banner => &mut tally.failures.connect,
            End::Failed(_) | End::Closed => &mut tally.failures.reset,
            End::Timeout => &mut tally.failures.timeout,
            End::Protocol(_) => &mut tally.failures.protocol,
        };
        *counter += 1;
        self.failed(&end, connection.is_untried());
    }

    /// Takes note of a failure: its place is filled again after a while.
    fn failed(&mut self, end: &End, untried: bool) {
        self.waiting += 1;
        self.load.tried += u64::from(untried);
        let reason = self.reason(end);
        if !self.reached && self.load.begun == 0 {
            self.unreachable = Some(reason.clone());
        }
        self.first_failure.get_or_insert(reason);
    }

    fn reason(&self, end: &End) -> String {
        match end {
            End::Done => "done".into(),
            End::Refused(code) => match &self.load.first_negative {
                Some(example) => format!("the server refuses service: {example}"),
                None => format!("the server refuses service: {code}"),
            },
            End::Closed => "the server closed the connection".into(),
            End::Failed(error) => error.to_string(),
            End::Timeout => format!("no reply in {}", fastsmtp::units::duration_text(self.plan.timeout)),
            End::Protocol(error) => format!("not SMTP: {error}"),
        }
    }

    /// Ends connections that made no progress for too long.
    fn expire(&mut self, now: u64) {
        let timeout = nanoseconds(self.plan.timeout);
        if now - self.expired_at < (timeout / 8).clamp(EXPIRE_NS_MIN, EXPIRE_NS_MAX) {
            return;
        }
        self.expired_at = now;
        for key in self.slots.keys() {
            let late = |connection: &Connection| now.saturating_sub(connection.progress_at()) > timeout;
            if self.slots.get(key).is_some_and(late) {
                self.close(key, End::Timeout);
            }
        }
    }

    /// Goes from one stretch to the next when its time has come.
    fn pass(&mut self, now: u64) {
        match (self.stretch, self.plan.amount) {
            (Stretch::Opening, Amount::Time { warm_up, .. })
                if self.load.tried >= self.plan.connections as u64 =>
            {
                self.stretch = Stretch::WarmUp { until: now + nanoseconds(warm_up) };
                self.pass(now);
            }
            (Stretch::WarmUp { until }, Amount::Time { measured, .. }) if now >= until => {
                self.warm_up = mem::take(&mut self.load.tally);
                self.begins = Mark { at: now, processor: processor_time() };
                self.stretch = Stretch::Measuring { until: Some(now + nanoseconds(measured)) };
            }
            (Stretch::Measuring { until: Some(until) }, _) if now >= until => self.stop_measuring(now),
            (Stretch::Measuring { until: None }, _) if self.load.remaining == 0 && self.is_settled() => {
                self.begins.at = self.load.first_begun_at.unwrap_or(now);
                self.stop_measuring(self.load.settled_at);
            }
            _ => {}
        }
    }

    /// Ends the measured stretch: nothing is begun any more.
    fn stop_measuring(&mut self, at: u64) {
        self.measured = mem::take(&mut self.load.tally);
        self.ends = Some(Mark { at, processor: processor_time() });
        self.load.remaining = 0;
        let grace = nanoseconds(self.plan.timeout.min(DRAIN_MAX));
        self.stretch = Stretch::Draining { until: self.load.now() + grace };
    }

    /// Whether no message is under way.
    fn is_settled(&self) -> bool {
        self.load.begun == self.warm_up.settled() + self.measured.settled() + self.load.tally.settled()
    }

    fn ending(&self, now: u64) -> Option<Ending> {
        if let Some(reason) = &self.unreachable {
            return Some(Ending::Unreachable(reason.clone()));
        }
        match self.stretch {
            Stretch::Draining { until } => {
                (self.slots.is_empty() || now >= until).then_some(Ending::Complete)
            }
            _ => {
                // A connection that timed out in this very turn settled after `now` was read.
                let waited = now.saturating_sub(self.load.settled_at);
                let hopeless = self.is_settled() && waited > nanoseconds(self.plan.timeout) + EXPIRE_NS_MAX;
                hopeless.then_some(Ending::GaveUp)
            }
        }
    }

    /// How long a poll may sleep.
    fn patience(&self) -> Duration {
        let until = match self.stretch {
            Stretch::WarmUp { until }
            | Stretch::Measuring { until: Some(until) }
            | Stretch::Draining { until } => until,
            Stretch::Opening | Stretch::Measuring { until: None } => u64::MAX,
        };
        let most =
            if self.waiting > 0 { Duration::from_millis(1) } else { Duration::from_nanos(EXPIRE_NS_MIN) };
        most.min(Duration::from_nanos(until.saturating_sub(self.load.now())))
    }

    /// Closes the books.
    fn end(mut self, ending: Ending) -> Run {
        let now = self.load.now();
        let ends = self.ends.unwrap_or_else(|| Mark { at: now, processor: processor_time() });
        let drain = match self.stretch {
            Stretch::Draining { .. } => self.load.tally,
            Stretch::Measuring { until } => {
                if until.is_none() {
                    self.begins.at = self.load.first_begun_at.unwrap_or(now);
                }
                self.measured = self.load.tally;
                Tally::default()
            }
            Stretch::Opening | Stretch::WarmUp { .. } => {
                self.warm_up = self.load.tally;
                self.begins = ends;
                Tally::default()
            }
        };
        let under_way = self.slots.keys().into_iter().filter_map(|key| self.slots.get(key));
        let abandoned = under_way.filter(|connection| connection.stands() == Stands::Message).count() as u64;
        let settled = self.warm_up.settled() + self.measured.settled() + drain.settled();
        assert_eq!(self.load.begun, settled + abandoned, "every message begun is counted once");
        Run {
            measured: self.measured,
            warm_up: self.warm_up,
            drain,
            elapsed: Duration::from_nanos(ends.at.saturating_sub(self.begins.at)),
            processor: ends.processor.saturating_sub(self.begins.processor),
            begun: self.load.begun,
            abandoned,
            pipelining: self.load.pipelining,
            first_negative: self.load.first_negative,
            first_failure: self.first_failure,
            ending,
        }
    }
}

/// Processor time that this process has used, in user and in kernel mode.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// The name we introduce ourselves by.
const HOST_NAME: &str = "client.example";

/// Connections without a banner at the same time: enough to keep a server busy, less than a usual backlog of 4,096.
const CONNECTING_MAX: usize = 256;

/// Failed connections opened again in a millisecond.
const REOPENS_PER_MS: u64 = 1;

/// Readiness events taken from the kernel in one turn.
const EVENTS_PER_TURN: usize = 1024;

/// Octets received in one system call: replies are small, and the buffer is to stay in the first-level cache.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// How long messages under way, and QUITs, may last after the measured stretch.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How often timeouts are looked for: an eighth of the timeout, between these.
const EXPIRE_NS_MIN: u64 = 50_000_000;
/// See [`EXPIRE_NS_MIN`].
const EXPIRE_NS_MAX: u64 = 1_000_000_000;
