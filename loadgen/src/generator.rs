//! One thread of the load: opens connections in bounded bursts, drives those that are ready, and begins messages when
//! the schedule says so.
//!
//! ```text
//!   Opening ──▶ Loading ──────────────────────────────▶ Leaving ──▶ end
//!   until all connections     until all messages have ended,      QUITs,
//!   of all threads were tried or the time for that is over        bounded
//! ```
//!
//! The first connection of the first thread goes alone and tells whether there is an SMTP server at all. A connection
//! that fails is opened again after a while ([`Opener`]), so that a dead server is asked, not flooded. Every message offered has one outcome, which the end of the run asserts.
//!
//! A start that falls due is taken between any two events, not once a turn: a turn may take longer than the distance of
//! two starts. Just before one is due the thread spins, for a sleep ends late: how much so, [`Alarm`] learns as it goes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastsmtp::net::slots::{Key, Slots};
use fastsmtp::smtp::client;
use mio::{Events, Interest, Poll, Token};

use crate::alarm::Alarm;
use crate::connection::{Attempt, Connection, End, Stands};
use crate::load::{Facts, Load, Pace};
use crate::opener::Opener;
use crate::plan::{Amount, Plan};
use crate::processor::Reading;
use crate::schedule::Part;
use crate::tally::{Outcome, Tally, Timing};
use crate::timeline::{NEVER, Shared, Timeline, nanoseconds};

/// What one thread came to.
#[derive(Debug)]
pub struct Done {
    /// The counts.
    pub tally: Tally,
    /// When the stretches of the run began.
    pub timeline: Timeline,
    /// When its measured time was over: the time was up, the last message had ended, or the run was cut short.
    pub ended: u64,
    /// Starts that still waited for a connection when the measured time was over.
    pub left_waiting: u64,
    /// What the measured time cost.
    pub processor: Reading,
    /// What was learnt of the server.
    pub facts: Facts,
    /// The first failure of a connection, as an example.
    pub first_failure: Option<String>,
    /// How it ended.
    pub ending: Ending,
}

/// How a thread, or a run, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Complete,
    /// No connection came to a message for as long as we wait.
    GaveUp,
    /// By a signal.
    Interrupted,
    /// The first connection failed, for this reason.
    Unreachable(String),
}

impl Ending {
    /// That of two threads which says more of the run.
    pub fn worse(self, other: Ending) -> Ending {
        let rank = |ending: &Ending| match ending {
            Ending::Complete => 0,
            Ending::GaveUp => 1,
            Ending::Interrupted => 2,
            Ending::Unreachable(_) => 3,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// Makes one thread's part of a run. An error is the system's, not the server's.
pub fn run(plan: &Plan, part: Part, load: Load) -> io::Result<Done> {
    // The others are not to wait for a thread that is gone.
    let mut stop = StopAll { shared: Arc::clone(&load.shared), is_armed: true };
    let mut generator = Generator::new(plan, part, load)?;
    let mut events = Events::with_capacity(EVENTS_PER_TURN);
    let ending = loop {
        if let Some(ending) = generator.turn(&mut events)? {
            break ending;
        }
    };
    stop.is_armed = matches!(ending, Ending::Unreachable(_));
    Ok(generator.end(ending))
}

/// Stops all threads when it is dropped while it is armed: by an error, by a panic, or because there is no server.
struct StopAll {
    shared: Arc<Shared>,
    is_armed: bool,
}

impl Drop for StopAll {
    fn drop(&mut self) {
        if self.is_armed {
            self.shared.is_stopped.store(true, Ordering::Release);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Opening,
    Loading,
    Leaving { until: u64 },
}

struct Generator<'a> {
    plan: &'a Plan,
    poll: Poll,
    alarm: Alarm,
    slots: Slots<Connection>,
    load: Load,
    /// Where received octets go, for a moment.
    buffer: Vec<u8>,
    stretch: Stretch,
    /// This thread's connections, of all.
    connections: usize,
    /// Whether this thread's first connection goes alone.
    is_first: bool,
    begins: Option<Reading>,
    ends: Option<(u64, Reading)>,
    left_waiting: u64,
    /// For how long this thread did nothing but wait awake for the next start.
    spun: Duration,
    /// Connections that are not ready for a transaction yet.
    connecting: usize,
    opener: Opener,
    /// When timeouts were last looked for.
    expired_at: u64,
    /// When anything of the server's last gave hope.
    hope_at: u64,
    first_failure: Option<String>,
    unreachable: Option<String>,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan, part: Part, load: Load) -> io::Result<Generator<'a>> {
        let poll = Poll::new()?;
        Ok(Generator {
            plan,
            alarm: Alarm::new(poll.registry(), ALARM)?,
            poll,
            slots: Slots::new(),
            load,
            buffer: vec![0; RECEIVE_BUFFER],
            stretch: Stretch::Opening,
            connections: part.share(plan.connections as u64) as usize,
            is_first: part.index == 0,
            begins: None,
            ends: None,
            left_waiting: 0,
            spun: Duration::ZERO,
            connecting: 0,
            opener: Opener::new(plan, part),
            expired_at: 0,
            hope_at: 0,
            first_failure: None,
            unreachable: None,
        })
    }

    /// One pass: opens what is to be opened, drives what is ready, lets time pass. Says so when the run is at its end.
    fn turn(&mut self, events: &mut Events) -> io::Result<Option<Ending>> {
        self.open()?;
        let before = self.load.now();
        let patience = self.patience(before)?;
        match self.poll.poll(events, Some(patience)) {
            // A signal; events are none then.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            other => other?,
        }
        if patience.is_zero() && events.is_empty() {
            self.spun += Duration::from_nanos(self.load.now() - before);
        }
        let woken = if events.is_empty() { 0 } else { self.load.now() };
        for event in &*events {
            if event.token() == ALARM {
                self.alarm.rang(self.load.now());
            }
            self.release();
            let key = Key::from_u64(event.token().0 as u64);
            if let Some(connection) = self.slots.get_mut(key) {
                let was_ready = connection.stands() >= Stands::Idle;
                let driven = connection.drive(event, &mut self.load, &mut self.buffer);
                self.connecting -= usize::from(!was_ready && connection.stands() >= Stands::Idle);
                if connection.progress_at() >= woken {
                    self.load.tally.record(Timing::ReplyLag, connection.progress_at() - woken);
                }
                if let Err(end) = driven {
                    self.close(key, end);
                }
            }
        }
        self.release();
        let now = self.load.now();
        self.expire(now);
        self.pass(now);
        Ok(self.ending(now))
    }

    /// Opens connections as far as they are wanted and not too many are under way.
    fn open(&mut self) -> io::Result<()> {
        let is_reached = self.load.shared.is_reached.load(Ordering::Relaxed);
        let connecting_max = match (is_reached, self.is_first) {
            (true, _) => CONNECTING_MAX,
            (false, true) => 1,
            (false, false) => 0,
        };
        let is_full = self.slots.len() >= self.connections && self.opener.waiting() == 0;
        if is_full || self.connecting >= connecting_max {
            return Ok(());
        }
        let now = self.load.now();
        self.opener.recover(now);
        let is_over =
            self.load.is_exhausted(now) && self.stretch != Stretch::Opening || self.unreachable.is_some();
        while !is_over
            && self.connecting < connecting_max
            && self.slots.len() + self.opener.waiting() < self.connections
            && self.opener.is_due(now)
        {
            self.open_one(now)?;
        }
        Ok(())
    }

    fn open_one(&mut self, now: u64) -> io::Result<()> {
        let attempt =
            if self.opener.opened() < self.connections as u64 { Attempt::First } else { Attempt::Again };
        let (transport, client) = match self.opener.open(self.plan, now) {
            Ok(opened) => opened,
            Err(error) => {
                self.load.tally.failures.connect += 1;
                self.failed(&error.into(), attempt);
                return Ok(());
            }
        };
        let key = self.slots.insert(Connection::new(transport, client, attempt, now));
        self.connecting += 1;
        let connection = self.slots.get_mut(key).expect("just inserted");
        connection.key = Some(key);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut connection.transport.stream, Token(key.to_u64() as usize), both)
    }

    /// Counts the end of a connection.
    fn close(&mut self, key: Key, end: End) {
        let Some(connection) = self.slots.remove(key) else { return };
        let end = connection.judged(end);
        let now = self.load.now();
        let attempt = connection.attempt();
        let stands = connection.close(&end, now, &mut self.load);
        // One that was ready once was tried then.
        let attempt = if stands < Stands::Idle { attempt } else { Attempt::Again };
        self.connecting -= usize::from(stands < Stands::Idle);
        if stands == Stands::Idle && self.load.resting.len() > 2 * self.connections + 64 {
            let slots = &self.slots;
            self.load.resting.retain(|key| slots.get(*key).is_some());
        }
        let failures = &mut self.load.tally.failures;
        let counter = match &end {
            End::Done => return,
            End::Refused(_) => &mut failures.refused,
            End::Failed(_) if stands == Stands::Connecting => &mut failures.connect,
            End::Failed(_) | End::Closed => &mut failures.reset,
            End::Tls(_) => &mut failures.tls,
            End::Timeout => &mut failures.timeout,
            End::Protocol(_) | End::Lacks(_) => &mut failures.protocol,
        };
        *counter += 1;
        self.failed(&end, attempt);
    }

    /// Takes note of a failure: its place is filled again after a while.
    fn failed(&mut self, end: &End, attempt: Attempt) {
        self.opener.failed();
        let reason = self.reason(end);
        if !self.load.shared.is_reached.load(Ordering::Relaxed) {
            self.unreachable = Some(reason.clone());
        }
        if attempt == Attempt::First {
            self.load.shared.tried(1);
        }
        self.first_failure.get_or_insert(reason);
    }

    fn reason(&self, end: &End) -> String {
        match end {
            End::Done => "done".into(),
            End::Refused(code) => match &self.load.facts.first_negative {
                Some(example) => format!("the server refuses service: {example}"),
                None => format!("the server refuses service: {code}"),
            },
            End::Closed => "the server closed the connection".into(),
            End::Failed(error) => error.to_string(),
            End::Tls(reason) => reason.clone(),
            End::Timeout => format!("no reply in {}", fastsmtp::units::duration_text(self.plan.timeout)),
            End::Protocol(error @ client::Error::InTheClear(_)) => {
                format!("{error}: --tls keeps it to the server, --plaintext-auth sends it all the same")
            }
            End::Lacks(extension) => {
                format!("the server does not offer {extension}, which messages with 8-bit octets need")
            }
            End::Protocol(error) => format!("not SMTP as we need it: {error}"),
        }
    }

    /// Begins messages that are due on connections that rest, or lets them wait.
    fn release(&mut self) {
        if matches!(self.load.pace, Pace::Closed { .. }) || self.stretch != Stretch::Loading {
            return;
        }
        loop {
            let now = self.load.now();
            let Some(intended) = self.load.due(now) else { return };
            match self.rested() {
                Some(key) => self.wake(key, intended, now),
                None => self.load.keep(intended, now),
            }
        }
    }

    /// The connection that has rested longest.
    fn rested(&mut self) -> Option<Key> {
        while let Some(key) = self.load.resting.pop_front() {
            if self.slots.get(key).is_some_and(|connection| connection.stands() == Stands::Idle) {
                return Some(key);
            }
        }
        None
    }

    fn wake(&mut self, key: Key, intended: u64, now: u64) {
        if let Some(connection) = self.slots.get_mut(key)
            && let Err(end) = connection.wake(intended, now, &mut self.load)
        {
            self.close(key, end);
        }
    }

    /// Ends connections that made no progress for too long. One that rests waits for nothing.
    fn expire(&mut self, now: u64) {
        let timeout = nanoseconds(self.plan.timeout);
        if now - self.expired_at < (timeout / 8).clamp(EXPIRE_NS_MIN, EXPIRE_NS_MAX) {
            return;
        }
        self.expired_at = now;
        for key in self.slots.keys() {
            let is_late = |connection: &Connection| {
                connection.stands() != Stands::Idle && now.saturating_sub(connection.progress_at()) > timeout
            };
            if self.slots.get(key).is_some_and(is_late) {
                self.close(key, End::Timeout);
            }
        }
    }

    /// Goes from one stretch to the next when its time has come.
    fn pass(&mut self, now: u64) {
        match self.stretch {
            Stretch::Opening => {
                if let Some(starts) = self.load.shared.starts() {
                    self.start(starts, now);
                }
            }
            Stretch::Loading => {
                let timeline = self.load.timeline;
                if self.begins.is_none() && now >= timeline.begins {
                    self.begins = Some(self.reading());
                }
                if self.ends.is_none() && now >= timeline.ends {
                    self.stop_measuring(timeline.ends);
                }
                let is_settled = self.load.is_exhausted(now) && self.load.pulses.in_flight == 0;
                if is_settled || now >= timeline.ends.saturating_add(nanoseconds(self.plan.drain)) {
                    self.load.tally.given_up += self.load.pulses.in_flight;
                    self.give_up(Outcome::TimedOut, now);
                    self.leave(now);
                }
            }
            Stretch::Leaving { .. } => {}
        }
    }

    /// The load starts.
    fn start(&mut self, starts: u64, now: u64) {
        // Another thread, or a timeout of this very turn, may have set it since `now` was read.
        let now = now.max(starts);
        let (warm_up, measured) = match self.plan.amount {
            Amount::Messages(_) => (Duration::ZERO, None),
            Amount::Time { warm_up, measured } => (warm_up, Some(measured)),
        };
        self.load.timeline = Timeline::new(starts, warm_up, measured);
        let timeline = self.load.timeline;
        self.load.pulses.start(&timeline);
        self.stretch = Stretch::Loading;
        self.hope_at = now;
        if now >= timeline.begins {
            self.begins = Some(self.reading());
        }
        if let Pace::Closed { .. } = self.load.pace {
            while let Some(key) = self.rested() {
                // Those before it were sent meanwhile, which is not this one's latency.
                let now = self.load.now().max(starts);
                match self.load.next_start(now, now) {
                    Some(intended) => self.wake(key, intended, now),
                    None => {
                        // Fewer messages than connections: this one will not be needed.
                        self.load.resting.push_front(key);
                        break;
                    }
                }
            }
        }
    }

    fn reading(&self) -> Reading {
        Reading { spun: self.spun, blocked: self.load.blocked, ..Reading::now() }
    }

    fn stop_measuring(&mut self, at: u64) {
        self.ends = Some((at, self.reading()));
        self.left_waiting = self.load.waiting() as u64;
    }

    /// All messages have ended: says QUIT where nobody did.
    fn leave(&mut self, now: u64) {
        if self.ends.is_none() {
            self.stop_measuring(self.load.settled_at);
        }
        self.stretch = Stretch::Leaving { until: now + nanoseconds(self.plan.timeout.min(LEAVE_MAX)) };
        while let Some(key) = self.rested() {
            let now = self.load.now();
            if let Some(connection) = self.slots.get_mut(key)
                && let Err(end) = connection.dismiss(now)
            {
                self.close(key, end);
            }
        }
    }

    /// Gives up what is under way and what waits for a connection.
    fn give_up(&mut self, outcome: Outcome, now: u64) {
        if let Pace::Open { waiting, .. } = &mut self.load.pace {
            for intended in std::mem::take(waiting) {
                self.load.settle(outcome, intended, now);
            }
        }
        for key in self.slots.keys() {
            if self.slots.get(key).is_some_and(|connection| connection.stands() == Stands::Message)
                && let Some(connection) = self.slots.remove(key)
            {
                connection.give_up(outcome, now, &mut self.load);
            }
        }
    }

    fn ending(&mut self, now: u64) -> Option<Ending> {
        if let Some(reason) = &self.unreachable {
            return Some(Ending::Unreachable(reason.clone()));
        }
        if self.load.shared.is_stopped.load(Ordering::Relaxed) {
            return Some(Ending::Interrupted);
        }
        match self.stretch {
            Stretch::Opening => None,
            Stretch::Leaving { until } => {
                // Those that are still being opened owe us nothing.
                let is_left = self.slots.len() == self.connecting;
                (is_left || now >= until).then_some(Ending::Complete)
            }
            Stretch::Loading => self.is_hopeless(now).then_some(Ending::GaveUp),
        }
    }

    /// Whether messages are to be begun, and for a long while no connection came to that.
    fn is_hopeless(&mut self, now: u64) -> bool {
        let is_starved = self.slots.len() == self.connecting
            && (matches!(self.load.pace, Pace::Closed { .. }) || self.load.waiting() > 0);
        if !is_starved {
            self.hope_at = now;
        }
        now - self.hope_at > nanoseconds(self.plan.timeout) + EXPIRE_NS_MAX
    }

    /// How long the poll may sleep. Sets the timer for a start that is due before that.
    fn patience(&mut self, now: u64) -> io::Result<Duration> {
        let due = if self.stretch == Stretch::Loading { self.load.next_due() } else { None };
        if let Some(due) = due
            && due.saturating_sub(now) < nanoseconds(PATIENCE_MAX)
            && !self.alarm.set_before(due, now)?
        {
            return Ok(Duration::ZERO);
        }
        let mark = match self.stretch {
            Stretch::Opening => now + OPENING_NS,
            Stretch::Loading if self.begins.is_none() => self.load.timeline.begins,
            Stretch::Loading if self.ends.is_none() => self.load.timeline.ends,
            Stretch::Loading => NEVER,
            Stretch::Leaving { until } => until,
        };
        let is_opening =
            self.opener.waiting() > 0 || self.slots.len() < self.connections && self.opener.has_rate();
        let most = if is_opening { Duration::from_millis(1) } else { PATIENCE_MAX };
        Ok(most.min(Duration::from_nanos(mark.saturating_sub(now))))
    }

    /// Closes the books.
    fn end(mut self, ending: Ending) -> Done {
        let now = self.load.now();
        if ending != Ending::Complete {
            self.give_up(Outcome::Abandoned, now);
        }
        let (ended, reading) = self.ends.unwrap_or_else(|| (now, self.reading()));
        self.load.pulses.hand_on();
        let tally = self.load.tally;
        assert_eq!(tally.offered, tally.outcomes.total(), "every message offered has one outcome");
        assert_eq!(tally.warm_up_offered, tally.warm_up.total(), "and so it is in the warm-up");
        Done {
            tally,
            timeline: self.load.timeline,
            ended,
            left_waiting: self.left_waiting,
            processor: self.begins.map(|begins| reading.since(&begins)).unwrap_or_default(),
            facts: self.load.facts,
            first_failure: self.first_failure,
            ending,
        }
    }
}

/// The alarm's name in the poll; no key is called so.
const ALARM: Token = Token(usize::MAX);

/// Connections that are not ready for a transaction at the same time: enough to keep a server busy, less than a usual
/// backlog of 4,096.
const CONNECTING_MAX: usize = 256;

/// Readiness events taken from the kernel in one turn.
const EVENTS_PER_TURN: usize = 1024;

/// Octets received in one system call: replies are small, and the buffer is to stay in the first-level cache.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// How long QUITs may last.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// The longest sleep: an interrupted run is to notice.
const PATIENCE_MAX: Duration = Duration::from_millis(50);

/// How often an opening run looks whether the other threads are ready.
const OPENING_NS: u64 = 2_000_000;

/// How often timeouts are looked for: an eighth of the timeout, between these.
const EXPIRE_NS_MIN: u64 = 50_000_000;
/// See [`EXPIRE_NS_MIN`].
const EXPIRE_NS_MAX: u64 = 1_000_000_000;
