//! What all connections of one thread share: what they say and when, and where it is counted.
//!
//! Here it is decided whether a connection that is idle begins another message, and which. In a closed loop it does at
//! once. In an open loop it takes the intended start that has waited longest; where none waits it rests, and the next
//! start that falls due takes the connection that rested longest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastsmtp::net::slots::Key;
use fastsmtp::smtp::client::{Event, Extensions, Manner, Phase};

use crate::connection::Attempt;
use crate::ledger::{Entry, Recorder};
use crate::mails::Mails;
use crate::plan::Security;
use crate::schedule::Schedule;
use crate::tally::{Outcome, Tally, Timing};
use crate::timeline::{Pulses, Shared, Timeline};

/// What decides when messages begin.
#[derive(Debug)]
pub enum Pace {
    /// The end of the one before, as often as there are messages left.
    Closed {
        /// Messages that may still be begun.
        remaining: u64,
    },
    /// A schedule.
    Open {
        /// Relative to the start of the load.
        schedule: Schedule,
        /// Intended starts that wait for a connection.
        waiting: VecDeque<u64>,
        /// As many may wait; beyond that they are dropped.
        waiting_max: usize,
    },
}

/// What all connections of one thread share.
pub struct Load {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// When the stretches of the run begin, once that is known.
    pub timeline: Timeline,
    /// How clients speak.
    pub manner: Arc<Manner>,
    /// How TLS is spoken, where it is.
    pub security: Option<Security>,
    /// What they say.
    pub mails: Mails,
    /// Whether some of that needs 8BITMIME.
    pub needs_eight_bit_mime: bool,
    /// When they say it.
    pub pace: Pace,
    /// Messages on a connection before it is closed; 0 for no such number.
    pub messages_per_connection: u64,
    /// Connections that rest, the longest first. Some may be gone.
    pub resting: VecDeque<Key>,
    /// The counts.
    pub tally: Tally,
    /// The present second.
    pub pulses: Pulses,
    /// Where accepted messages are written down.
    pub ledger: Option<Recorder>,
    /// For how long that made us wait.
    pub blocked: Duration,
    /// When the last message ended.
    pub settled_at: u64,
    /// What is known of the server.
    pub facts: Facts,
}

/// What was learnt of the server in passing.
#[derive(Debug, Default, Clone)]
pub struct Facts {
    /// Its greeting.
    pub banner: Option<String>,
    /// Its last reply to the first EHLO of its kind: keywords with their parameters.
    pub extensions: Vec<String>,
    /// Whether it offers PIPELINING.
    pub pipelining: Option<bool>,
    /// Whether its address is ours.
    pub same_machine: Option<bool>,
    /// Version and cipher suite.
    pub tls: Option<String>,
    /// The first negative reply.
    pub first_negative: Option<String>,
}

impl Facts {
    /// Fills in what another thread learnt and we did not.
    pub fn complete(&mut self, other: Facts) {
        self.banner = self.banner.take().or(other.banner);
        if self.extensions.is_empty() {
            self.extensions = other.extensions;
        }
        self.pipelining = self.pipelining.or(other.pipelining);
        self.same_machine = self.same_machine.or(other.same_machine);
        self.tls = self.tls.take().or(other.tls);
        self.first_negative = self.first_negative.take().or(other.first_negative);
    }

    fn learn(&mut self, event: &Event<'_>, manner: &Manner) {
        match event.phase {
            Phase::Banner if self.banner.is_none() => {
                self.banner = event.reply.lines().next().map(printable);
            }
            // Behind TLS the server may offer more.
            Phase::Ehlo if self.pipelining.is_none() => {
                self.extensions = event.reply.lines().skip(1).map(printable).collect();
            }
            _ => {}
        }
        if self.first_negative.is_none() && event.reply.code() >= 400 {
            // A server may repeat what it was told.
            let line = match &manner.credentials {
                Some(ours) if ours.are_shown_in(event.reply.last_line()) => {
                    format!("{}, and a text that shows the password", event.reply.code())
                }
                _ => printable(event.reply.last_line()),
            };
            self.first_negative = Some(format!("\"{line}\" to {}", in_words(event.phase, manner)));
        }
    }
}

impl Load {
    /// The time, in nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Whether the load has started and there is nothing left to begin.
    pub fn is_exhausted(&self, now: u64) -> bool {
        match &self.pace {
            Pace::Closed { remaining } => *remaining == 0 || now >= self.timeline.ends,
            Pace::Open { schedule, waiting, .. } => {
                self.timeline.starts <= now && waiting.is_empty() && schedule.next().is_none()
            }
        }
    }

    /// The intended start of a message that an idle connection is to begin now; none if it is to rest. `ready_since` is
    /// when the connection could have begun it, had it stood by then.
    pub fn next_start(&mut self, ready_since: u64, now: u64) -> Option<u64> {
        match &mut self.pace {
            Pace::Closed { remaining } => {
                if *remaining == 0 || !(self.timeline.starts..self.timeline.ends).contains(&now) {
                    return None;
                }
                *remaining -= 1;
                let intended = ready_since.max(self.timeline.starts);
                self.offer(intended, now);
                Some(intended)
            }
            Pace::Open { waiting, .. } => waiting.pop_front(),
        }
    }

    /// Takes the next intended start that is due; none if none is. It is offered from then on.
    pub fn due(&mut self, now: u64) -> Option<u64> {
        let Pace::Open { schedule, .. } = &mut self.pace else { return None };
        let intended = self.timeline.starts.saturating_add(schedule.next()?);
        if intended > now {
            return None;
        }
        schedule.advance();
        if self.timeline.is_measured(intended) {
            self.tally.record(Timing::Lag, now - intended);
        }
        self.offer(intended, now);
        Some(intended)
    }

    /// Keeps an intended start for the next connection that is idle, or drops it.
    pub fn keep(&mut self, intended: u64, now: u64) {
        match &mut self.pace {
            Pace::Open { waiting, waiting_max, .. } if waiting.len() < *waiting_max => {
                waiting.push_back(intended);
            }
            _ => self.settle(Outcome::Dropped, intended, now),
        }
    }

    /// When the schedule wants the next start; none if there is no more, or no schedule.
    pub fn next_due(&self) -> Option<u64> {
        match &self.pace {
            Pace::Open { schedule, .. } => Some(self.timeline.starts.saturating_add(schedule.next()?)),
            Pace::Closed { .. } => None,
        }
    }

    /// Intended starts that wait for a connection.
    pub fn waiting(&self) -> usize {
        match &self.pace {
            Pace::Open { waiting, .. } => waiting.len(),
            Pace::Closed { .. } => 0,
        }
    }

    fn offer(&mut self, intended: u64, now: u64) {
        // Seconds that are over are handed on as they were.
        self.pulses.at(now, &self.timeline);
        self.pulses.in_flight += 1;
        if self.timeline.is_measured(intended) {
            self.tally.offered += 1;
        } else {
            self.tally.warm_up_offered += 1;
        }
        if self.is_told(intended, now) {
            self.pulses.at(now, &self.timeline).offered += 1;
        }
    }

    /// Counts the end of a message.
    pub fn settle(&mut self, outcome: Outcome, intended: u64, now: u64) {
        self.pulses.at(now, &self.timeline);
        self.pulses.in_flight -= 1;
        self.settled_at = now;
        let is_measured = self.timeline.is_measured(intended);
        let is_told = self.is_told(intended, now);
        let outcomes = if is_measured { &mut self.tally.outcomes } else { &mut self.tally.warm_up };
        outcomes.count(outcome);
        // What got no answer took at least as long as it was waited for.
        let took = now.saturating_sub(intended);
        let has_latency = matches!(outcome, Outcome::Accepted | Outcome::TimedOut | Outcome::Broken);
        if is_measured && has_latency {
            self.tally.record(Timing::Message, took);
        }
        if is_told {
            let second = self.pulses.at(now, &self.timeline);
            second.outcomes.count(outcome);
            if has_latency {
                crate::tally::record(&mut second.message, took);
            }
        }
    }

    /// Counts an acceptance, which took so long for so many octets.
    pub fn accepted(&mut self, intended: u64, took: u64, octets: u64, now: u64) {
        if self.timeline.is_measured(intended) {
            self.tally.record(Timing::Accept, took);
            // What an open loop's server works off behind the measured time is not what it did in that.
            if matches!(self.pace, Pace::Closed { .. }) || now < self.timeline.ends {
                self.tally.accepted_in_time += 1;
                self.tally.octets_in_time += octets;
            }
        }
        if self.is_told(intended, now) {
            crate::tally::record(&mut self.pulses.at(now, &self.timeline).accept, took);
        }
    }

    /// Counts a latency; that of a step of a message only where the message is measured.
    pub fn record(&mut self, timing: Timing, took: u64, intended: Option<u64>) {
        if intended.is_none_or(|intended| self.timeline.is_measured(intended)) {
            self.tally.record(timing, took);
        }
    }

    /// A connection has come to its first transaction.
    pub fn greeted(&mut self, offers: &Extensions, attempt: Attempt) {
        self.shared.is_reached.store(true, Ordering::Release);
        if attempt == Attempt::First {
            self.shared.tried(1);
        }
        self.facts.pipelining.get_or_insert(offers.pipelining);
    }

    /// Whether a message is in the seconds: all are before the measured time, and then those that belong to it.
    fn is_told(&self, intended: u64, now: u64) -> bool {
        self.timeline.is_measured(intended) || now < self.timeline.begins
    }

    /// Counts a reply; of those to a message, only where it is measured.
    pub fn reply(&mut self, event: &Event<'_>, intended: Option<u64>) {
        if intended.is_none_or(|intended| self.timeline.is_measured(intended)) {
            self.tally.reply(place(event.phase), event.reply.code());
        }
        self.facts.learn(event, &self.manner);
    }

    /// Writes an accepted message down.
    pub fn write_down(&mut self, entry: Entry) {
        if let Some(ledger) = &self.ledger {
            self.blocked += ledger.record(entry);
        }
    }
}

/// Octets that came from a server, as they may be shown.
pub fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    shown.escape_debug().to_string()
}

/// Where replies to this are counted, in [`ANSWERED`](crate::tally::ANSWERED).
fn place(phase: Phase) -> usize {
    match phase {
        Phase::Banner => 0,
        Phase::Ehlo => 1,
        Phase::Helo => 2,
        Phase::StartTls => 3,
        Phase::Auth => 4,
        Phase::Mail => 5,
        Phase::Rcpt => 6,
        Phase::Data => 7,
        Phase::Accept => 8,
        Phase::Cancel => 9,
        Phase::Reset => 10,
        Phase::Quit => 11,
        Phase::Unasked => 12,
    }
}

/// A phase in words for people.
fn in_words(phase: Phase, manner: &Manner) -> &'static str {
    match phase {
        Phase::Banner => "the connect",
        Phase::Ehlo if manner.hello.is_lmtp() => "LHLO",
        Phase::Ehlo => "EHLO",
        Phase::Helo => "HELO",
        Phase::StartTls => "STARTTLS",
        Phase::Auth => "AUTH",
        Phase::Mail => "MAIL",
        Phase::Rcpt => "RCPT",
        Phase::Data => "DATA",
        Phase::Accept => "the end of the mail data",
        Phase::Cancel => "the lone dot",
        Phase::Reset => "RSET",
        Phase::Quit => "QUIT",
        Phase::Unasked => "nothing",
    }
}

/// Characters of a line of the server's that are shown.
const SHOWN_MAX: usize = 200;
