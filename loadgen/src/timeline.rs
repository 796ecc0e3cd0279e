//! The stretches of a run, which all its threads share: when the load begins, when measuring begins and ends; and the
//! present second, handed to the coordinator when it is over.
//!
//! ```text
//!   opening ──▶ warm-up ──▶ measured ──────────▶ draining
//!            starts      begins              ends
//!   until all connections were tried                until what was begun has ended, bounded
//! ```
//!
//! Times are nanoseconds since the run's clock began.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::tally::Second;

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    /// All times are since this.
    pub clock: Instant,
    /// A connection has come to its first transaction: there is a server, and the others may connect too.
    pub is_reached: AtomicBool,
    /// The run is to end now: a signal, or no server.
    pub is_stopped: AtomicBool,
    /// Connections that were tried: they came to their first transaction, or ended before.
    tried: AtomicU64,
    /// Of those, as many are waited for before the load starts.
    connections: u64,
    starts: AtomicU64,
}

impl Shared {
    /// For a run with so many connections in all.
    pub fn new(connections: u64) -> Shared {
        Shared {
            clock: Instant::now(),
            is_reached: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            tried: AtomicU64::new(0),
            connections,
            starts: AtomicU64::new(NEVER),
        }
    }

    /// The time, in nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Takes note of connections that were tried; the last of them starts the load.
    pub fn tried(&self, connections: u64) {
        if self.tried.fetch_add(connections, Ordering::AcqRel) + connections >= self.connections {
            let _ = self.starts.compare_exchange(NEVER, self.now(), Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// How many connections were tried.
    pub fn tried_so_far(&self) -> u64 {
        self.tried.load(Ordering::Acquire).min(self.connections)
    }

    /// When the load starts; none before that is known.
    pub fn starts(&self) -> Option<u64> {
        Some(self.starts.load(Ordering::Acquire)).filter(|at| *at != NEVER)
    }
}

/// When the stretches of a run begin.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The load starts.
    pub starts: u64,
    /// The measured time begins.
    pub begins: u64,
    /// The measured time ends; never, where messages are counted instead.
    pub ends: u64,
}

impl Timeline {
    /// Before anything of it is known.
    pub const UNKNOWN: Timeline = Timeline { starts: NEVER, begins: NEVER, ends: NEVER };

    /// Of a load that starts at `starts`, warms up for a while and is measured for a while, or until its messages are
    /// all settled.
    pub fn new(starts: u64, warm_up: Duration, measured: Option<Duration>) -> Timeline {
        let begins = starts.saturating_add(nanoseconds(warm_up));
        let ends = measured.map_or(NEVER, |measured| begins.saturating_add(nanoseconds(measured)));
        Timeline { starts, begins, ends }
    }

    /// Whether a message that was to begin at `intended` is measured.
    pub fn is_measured(&self, intended: u64) -> bool {
        (self.begins..self.ends).contains(&intended)
    }
}

/// One thread's share of one second of a run.
#[derive(Debug)]
pub struct Pulse {
    /// Which second of the measured time, from 0; none before that begins.
    pub number: Option<u32>,
    /// Which thread.
    pub thread: usize,
    /// What it came to.
    pub second: Second,
}

/// The present second of one thread.
#[derive(Debug)]
pub struct Pulses {
    thread: usize,
    number: Option<u32>,
    ends: u64,
    second: Second,
    /// Messages under way or waiting for a connection.
    pub in_flight: u64,
    sender: Sender<Pulse>,
}

impl Pulses {
    /// Of a thread whose seconds go to `sender`.
    pub fn new(thread: usize, sender: Sender<Pulse>) -> Pulses {
        Pulses { thread, number: None, ends: NEVER, second: Second::default(), in_flight: 0, sender }
    }

    /// The load starts: from here on seconds are cut.
    pub fn start(&mut self, timeline: &Timeline) {
        self.ends = timeline.begins.min(timeline.starts.saturating_add(SECOND_NS));
    }

    /// The second that `now` lies in, after those that are over were handed on.
    pub fn at(&mut self, now: u64, timeline: &Timeline) -> &mut Second {
        while now >= self.ends {
            self.hand_on();
            self.number = match self.number {
                Some(number) => Some(number + 1),
                None if self.ends >= timeline.begins => Some(0),
                None => None,
            };
            self.ends += SECOND_NS;
            if self.number.is_none() {
                self.ends = self.ends.min(timeline.begins);
            }
        }
        &mut self.second
    }

    /// Hands the present second on, over or not.
    pub fn hand_on(&mut self) {
        let mut second = std::mem::take(&mut self.second);
        second.in_flight = self.in_flight;
        // The coordinator outlives the threads; if it does not, nobody asks for seconds any more.
        let _ = self.sender.send(Pulse { number: self.number, thread: self.thread, second });
    }
}

/// A duration as the clock counts it.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// No time that will come.
pub const NEVER: u64 = u64::MAX;

const SECOND_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_load_starts_when_the_last_connection_was_tried() {
        let shared = Shared::new(3);
        shared.tried(2);
        assert_eq!(shared.starts(), None);
        shared.tried(1);
        let starts = shared.starts().unwrap();
        shared.tried(1);
        assert_eq!(shared.starts(), Some(starts));
    }

    #[test]
    fn a_message_is_measured_by_its_intended_start() {
        let timeline = Timeline::new(100, Duration::from_nanos(10), Some(Duration::from_nanos(5)));
        let measured: Vec<u64> = (100..130).filter(|at| timeline.is_measured(*at)).collect();
        assert_eq!(measured, [110, 111, 112, 113, 114]);
        assert!(Timeline::new(100, Duration::ZERO, None).is_measured(u64::MAX - 1));
        assert!(!Timeline::UNKNOWN.is_measured(5));
    }

    #[test]
    fn seconds_are_cut_at_the_begin_of_the_measured_time_and_none_is_left_out() {
        let (sender, receiver) = channel();
        let mut pulses = Pulses::new(0, sender);
        let timeline = Timeline::new(0, Duration::from_millis(1500), Some(Duration::from_secs(9)));
        pulses.start(&timeline);
        for at_ms in [0, 900, 1400, 1500, 2400, 5600] {
            pulses.at(at_ms * 1_000_000, &timeline).offered += 1;
        }
        pulses.hand_on();
        let seconds: Vec<_> = receiver.try_iter().map(|pulse| (pulse.number, pulse.second.offered)).collect();
        assert_eq!(
            seconds,
            [(None, 2), (None, 1), (Some(0), 2), (Some(1), 0), (Some(2), 0), (Some(3), 0), (Some(4), 1)]
        );
    }
}
