//! How one thread opens connections: at a rate, from addresses in turn, and again where one failed, but not faster than a
//! server that is in trouble should be asked.

use std::sync::Arc;

use fastsmtp::smtp::client::Client;

use crate::plan::Plan;
use crate::schedule::Part;
use crate::transport::{Transport, TransportError};

/// Opens connections. Times are nanoseconds since the run began.
#[derive(Debug)]
pub struct Opener {
    /// Connections that failed and wait to be opened again, and when the last of them was.
    failed: usize,
    reopened_at: u64,
    /// How long each of them waits for the one before.
    reopen_distance: u64,
    /// Connections opened so far, and where in the source addresses the first of them was, so that no two threads take
    /// the same in step.
    opened: u64,
    first_source: u64,
    /// When the next connection may be opened, with a rate of connections; 0 between two without.
    next_at: u64,
    distance: u64,
    /// By the system's chance: what AUTH relies on is not to be guessed.
    nonces: fastrand::Rng,
}

impl Opener {
    /// For one thread's part of the plan.
    pub fn new(plan: &Plan, part: Part) -> Opener {
        let distance = plan.connect_rate.map_or(0, |rate| (1e9 * part.of as f64 / rate).min(1e18) as u64);
        Opener {
            failed: 0,
            reopened_at: 0,
            reopen_distance: REOPEN_DISTANCE_NS * part.of,
            opened: 0,
            first_source: part.index * SOURCES_STRIDE,
            next_at: 0,
            distance,
            nonces: fastrand::Rng::new(),
        }
    }

    /// Takes note of a connection that failed: its place is filled again after a while.
    pub fn failed(&mut self) {
        self.failed += 1;
    }

    /// Places that are not to be filled yet, because a connection failed there.
    pub fn waiting(&self) -> usize {
        self.failed
    }

    /// Connections opened so far.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Lets time pass: frees the places of connections that failed, one after the other.
    pub fn recover(&mut self, now: u64) {
        let allowed = ((now - self.reopened_at) / self.reopen_distance).min(REOPENS_AT_ONCE_MAX);
        if allowed > 0 {
            self.failed = self.failed.saturating_sub(allowed as usize);
            self.reopened_at = now;
        }
    }

    /// Whether the rate of connections allows another now.
    pub fn is_due(&self, now: u64) -> bool {
        self.next_at <= now
    }

    /// Whether there is a rate, so that places may be empty for a while.
    pub fn has_rate(&self) -> bool {
        self.distance > 0
    }

    /// Begins to connect.
    pub fn open(&mut self, plan: &Plan, now: u64) -> Result<(Transport, Client), TransportError> {
        // A rate is not made up for after a pause.
        self.next_at = self.next_at.max(now.saturating_sub(1_000_000)) + self.distance;
        let source = plan.sources.as_ref().map(|sources| sources.address(self.first_source + self.opened));
        self.opened += 1;
        let transport = Transport::connect(plan, source)?;
        let mut client = Client::new(Arc::clone(&plan.manner), self.nonces.u64(..));
        if transport.is_secured() {
            client.secured_from_start();
        }
        Ok((transport, client))
    }
}

/// From one failed connection that is opened again to the next, in all threads: a thousand a second.
const REOPEN_DISTANCE_NS: u64 = 1_000_000;

/// However long nothing was opened again.
const REOPENS_AT_ONCE_MAX: u64 = 10;

/// Where each thread begins in the list of source addresses.
const SOURCES_STRIDE: u64 = 1 << 20;
