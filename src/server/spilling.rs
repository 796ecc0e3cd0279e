//! Large mail: what a session has too much of goes to a file of its own, part by part, before the log hears of it.
//!
//! ```text
//! Need::Spill(part) ──▶ job: write ──▶ session goes on ──▶ … ──▶ Need::Commit(last) ──▶ job: write, sync ──▶ log
//! ```
//!
//! The connection is parked while a job is out, so nobody's mail comes faster than the disk takes it, and the memory of
//! a large message is one part. A message that fails on the way, or whose client goes, takes its file with it.

use std::io;
use std::mem;

use log::{Level, log_enabled, warn};

use super::Server;
use super::acceptance::{Store, Waiting, facts};
use super::connection::Stream;
use super::job::Job;
use crate::QueueId;
use crate::calendar::Date;
use crate::limits::SPILL_DIVISOR_WHEN_SHORT;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::smtp::{Message, Reply};
use crate::spool::{Spill, SpillDone, Spilled};

/// A large message on its way to its file.
pub(super) struct Spilling {
    /// Its file; none while a job has it.
    spill: Option<Spill>,
    /// Octets left for its trace fields.
    room: usize,
    /// When its first part went out, in seconds since 1970: what its Received field says.
    arrived: u64,
    /// Octets of the part that a job has.
    part: usize,
    /// Itself, without its data, once the last part is out.
    message: Option<Message>,
}

impl std::fmt::Debug for Spilling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spilling").field("arrived", &self.arrived).field("part", &self.part).finish()
    }
}

impl Spilling {
    /// Octets of memory that it takes.
    pub fn memory(&self) -> usize {
        self.part
    }
}

impl<S: Stream> Server<S> {
    /// Octets of mail data that a session may keep.
    pub(super) fn spill_beyond(&self) -> usize {
        match self.store {
            Store::Memory(_) => usize::MAX,
            Store::Log(_) if self.is_memory_short() => self.options.spill_beyond / SPILL_DIVISOR_WHEN_SHORT,
            Store::Log(_) => self.options.spill_beyond,
        }
    }

    fn is_memory_short(&self) -> bool {
        self.memory > self.options.memory / 2
    }

    /// Has a part of a large message written. The session is parked until then.
    pub(super) fn spill(&mut self, key: Key, part: Vec<u8>, now: Now) {
        if self.connections.get(key).is_some_and(|connection| connection.spilling.is_none()) {
            self.begin_spill(key, now);
        }
        let Some((spilling, spill)) = self.parked_spill(key) else { return };
        spilling.part = part.capacity();
        self.spills.push((key, spill.write(part)));
    }

    fn begin_spill(&mut self, key: Key, now: Now) {
        let Store::Log(spool) = &mut self.store else { unreachable!("without a log nothing is spilled") };
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(envelope) = connection.session.smtp().envelope() else { return };
        let arrived = now.unix.as_secs();
        // Of no id it is known yet how long it is; none is longer than this.
        let longest = QueueId { counter: u64::MAX, ..spool.next_id() };
        let date = Date::of(arrived).rfc5322().to_string();
        let room = connection.trace(envelope, &self.options.hostname, longest, &date).fields(envelope).len();
        let spill = Some(spool.spill(room as u64));
        connection.spilling = Some(Box::new(Spilling { spill, room, arrived, part: 0, message: None }));
    }

    /// Has the last part of a large message written, and all of it made durable.
    pub(super) fn finish_spill(&mut self, key: Key, mut message: Message) {
        let Some((spilling, spill)) = self.parked_spill(key) else { return };
        let part = mem::take(&mut message.data);
        spilling.part = part.capacity();
        spilling.message = Some(message);
        self.spills.push((key, spill.finish(part)));
    }

    /// Parks a connection for a job of its large message.
    fn parked_spill(&mut self, key: Key) -> Option<(&mut Spilling, Spill)> {
        let connection = self.connections.get_mut(key)?;
        connection.is_parked = true;
        let spilling = connection.spilling.as_mut()?;
        let spill = spilling.spill.take().expect("a parked session asks for nothing");
        Some((spilling, spill))
    }

    /// Hands out the jobs of this turn.
    pub(super) fn start_spills(&mut self, jobs: &mut dyn FnMut(Job)) {
        self.spills_out += self.spills.len();
        for (key, job) in self.spills.drain(..) {
            jobs(Job::Spill(key, job));
        }
    }

    /// A part of a large message is written, or is not.
    pub(super) fn spilled(&mut self, key: Key, done: SpillDone, now: Now) {
        self.spills_out -= 1;
        self.memory -= self.orphans.remove(&key).unwrap_or(0);
        let is_short = self.is_memory_short();
        match done {
            SpillDone::Written(spill, buffer) => {
                let Some(connection) = self.connections.get_mut(key) else { return self.give_up(spill) };
                let Some(spilling) = &mut connection.spilling else { return self.give_up(spill) };
                (spilling.spill, spilling.part) = (Some(spill), 0);
                connection.session.smtp_mut().spilled(Ok(if is_short { Vec::new() } else { buffer }));
                self.unpark(key, now);
            }
            SpillDone::Finished(spilled) => self.append_spilled(key, spilled, now),
            SpillDone::Failed(error) => self.spill_failed(key, &error, now),
        }
        self.charge(key);
    }

    /// The data of a large message is durable: the log takes the rest, and the session waits on.
    fn append_spilled(&mut self, key: Key, spilled: Spilled, now: Now) {
        let refusal = self.refusal();
        let Store::Log(spool) = &mut self.store else { return };
        let connection = self.connections.get_mut(key);
        let Some((connection, spilling)) = connection.and_then(|connection| {
            let spilling = connection.spilling.take()?;
            Some((connection, spilling))
        }) else {
            return spool.give_up_spilled(spilled); // the connection broke: the client has no reply, and sends again
        };
        let mut message = spilling.message.expect("the last part went out with the message");
        let id = spool.next_id();
        let date = Date::of(spilling.arrived).rfc5322().to_string();
        let trace = connection.trace(&message.envelope, &self.options.hostname, id, &date);
        message.trace = trace.fields_filling(&message.envelope, spilling.room);
        let facts = log_enabled!(Level::Info).then(|| facts(&message, connection.client).into());
        self.quotas.accepted(&message.envelope, spilled.octets());
        match spool.append_spilled(message, spilling.arrived, spilled) {
            Ok(appended) => {
                debug_assert_eq!(appended, id);
                let octets = spilled.octets() as usize;
                self.waiting.push_back(Waiting { id, key, since: now.monotonic, octets, held: 0, facts });
            }
            Err(_) => {
                self.counters.refused += 1;
                self.answer(key, |session, out| session.committed(Err(refusal), out));
                self.unpark(key, now);
            }
        }
    }

    fn spill_failed(&mut self, key: Key, error: &io::Error, now: Now) {
        warn!("a large message could not be written: {error}");
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(spilling) = connection.spilling.take() else { return };
        let reply = reply_to(error);
        if spilling.message.is_some() {
            self.counters.refused += 1;
            self.answer(key, |session, out| session.committed(Err(reply), out));
        } else {
            connection.session.smtp_mut().spilled(Err(reply));
        }
        self.unpark(key, now);
    }

    /// Lets go of a large message that its session has given up.
    pub(super) fn drop_spill_if_over(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.spilling.is_some() && !connection.is_parked && !connection.session.smtp().is_spilling()
        {
            let spill = connection.spilling.take().and_then(|spilling| spilling.spill);
            spill.into_iter().for_each(|spill| self.give_up(spill));
        }
    }

    /// Lets go of a large message whose connection is gone. What a job has of it stays in memory until that comes back.
    pub(super) fn orphan(&mut self, key: Key, spilling: Spilling) {
        let octets = spilling.memory() as u64;
        match spilling.spill {
            Some(spill) => self.give_up(spill),
            None => {
                self.memory += octets;
                self.orphans.insert(key, octets);
            }
        }
    }

    fn give_up(&mut self, spill: Spill) {
        if let Store::Log(spool) = &mut self.store {
            spool.give_up(spill);
        }
    }
}

/// What a client hears when its large message could not be written.
fn reply_to(error: &io::Error) -> Reply {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reply::STORAGE_FULL,
        _ if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) => Reply::MEMORY_FULL,
        _ => Reply::STORAGE_FAILED,
    }
}

/// Descriptors ran out, of the system's and of the process's.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
