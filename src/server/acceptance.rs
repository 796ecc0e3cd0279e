//! Accepting mail: what is taken, into the log, answered when durable, handed to the courier, settled. The part of the
//! turn that has to do with messages.

use std::net::SocketAddr;
use std::time::Duration;

use log::{Level, error, info, log_enabled, warn};

use super::connection::{CloseReason, Stream};
use super::courier::{DeliveryDone, DeliveryJob};
use super::job::Job;
use super::queue::{Done, Entry, Kept};
use super::spoken::LastWord;
use super::{Deliver, Server};
use crate::QueueId;
use crate::calendar::Date;
use crate::limits::{DEFERRED_TOLD_MAX, ENVELOPE_MAX, RECEIVE_BUFFER, SEGMENT_SIZE};
use crate::log_value::Escaped;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::smtp::{Message, Reply};
use crate::spool::{Committed, Durable, Prepared, QUARANTINE, Spool};
use crate::units::size_text;

/// Where accepted mail goes first.
pub(super) enum Store {
    /// The durable log.
    Log(Box<Spool>),
    /// Nowhere (`--durability none`): an id is all it gets.
    Memory(QueueId),
}

/// A session that waits for its message to be durable.
pub(super) struct Waiting {
    pub id: QueueId,
    pub key: Key,
    pub since: Duration,
    pub octets: usize,
    /// Octets of memory that it takes until then.
    pub held: u64,
    /// What the log will say of the message, unless nobody listens.
    pub facts: Option<Box<str>>,
}

impl<S: Stream> Server<S> {
    /// Whether a new transaction has a chance: the log has room for whatever it may bring, the queue has, and memory is
    /// left. A shortage that can be foreseen is said at MAIL, not behind the data (RFC 5321 6.1).
    pub(super) fn has_room(&self) -> bool {
        let in_log = self.options.spill_beyond.saturating_add(RECEIVE_BUFFER) as u64;
        let largest = self.options.message_size_max.min(in_log) + ENVELOPE_MAX as u64;
        let has_log_room = match &self.store {
            Store::Log(spool) => spool.has_room_for(largest),
            Store::Memory(_) => true,
        };
        has_log_room && !self.queue.is_full() && self.memory < self.options.memory
    }

    /// What a message is told that the log does not take. Behind a failure there is still the rest of a turn, and its
    /// clients are told the truth as well: nothing here comes back by itself.
    pub(super) fn refusal(&self) -> Reply {
        if self.failure.is_some() { Reply::STORAGE_FAILED } else { Reply::STORAGE_FULL }
    }

    /// Takes a message into the log, or at once if there is none. Whether the session was answered; else it is parked.
    pub(super) fn take(&mut self, key: Key, mut message: Message, now: Now) -> bool {
        let refusal = self.refusal();
        let Some(connection) = self.connections.get_mut(key) else { return false };
        if connection.spilling.is_some() {
            self.finish_spill(key, message);
            return false;
        }
        let id = match &self.store {
            Store::Log(spool) => spool.next_id(),
            Store::Memory(last) => QueueId { counter: last.counter + 1, ..*last },
        };
        let arrived = now.unix.as_secs();
        let is_kept = matches!(self.store, Store::Log(_)) || self.options.deliver == Deliver::Maildir;
        if is_kept {
            let date = self.date.at(arrived);
            let trace = connection.trace(&message.envelope, &self.options.hostname, id, date);
            message.trace = trace.fields(&message.envelope);
        }
        let octets = message.data.len();
        self.quotas.accepted(&message.envelope, octets as u64);
        let held = message.memory() as u64;
        let facts = log_enabled!(Level::Info).then(|| facts(&message, connection.client).into());
        let waiting = Waiting { id, key, since: now.monotonic, octets, held, facts };
        match &mut self.store {
            Store::Log(spool) => match spool.append(message, arrived) {
                Ok(appended) => {
                    debug_assert_eq!(appended, id);
                    self.memory += held;
                    connection.is_parked = true;
                    self.waiting.push_back(waiting);
                    false
                }
                Err(_) => {
                    self.counters.refused += 1;
                    self.answer(key, |session, out| session.committed(Err(refusal), out));
                    true
                }
            },
            Store::Memory(last) => {
                *last = id;
                if is_kept {
                    self.memory += held;
                    self.queue.push(Entry::new(id, Kept::Memory(Box::new((message, arrived)), held), false));
                }
                self.accepted(waiting, now);
                true
            }
        }
    }

    /// Says 250: the message is what we promised it to be.
    fn accepted(&mut self, waiting: Waiting, now: Now) {
        let Waiting { id, key, since, octets, facts, .. } = waiting;
        self.counters.accepted += 1;
        self.counters.accepted_octets += octets as u64;
        if let Some(facts) = facts {
            let took = now.monotonic.saturating_sub(since);
            info!("accepted id={id} {facts} size={octets} durable_us={}", took.as_micros());
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.messages += 1;
        }
        self.answer(key, |session, out| session.committed(Ok(id), out));
    }

    /// A session that was parked goes on.
    pub(super) fn unpark(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.resume(now.ms());
        self.mark_dirty(key);
        self.list(key);
        self.dismiss_if_revoked(key, now);
        match self.stop {
            Some(stop) if stop.is_over => {
                self.dismiss(key, LastWord::ShuttingDown, CloseReason::Shutdown, now)
            }
            Some(_) => self.dismiss_if_idle(key, now),
            None => {}
        }
    }

    /// A batch is on disk, or is not.
    pub(super) fn committed(&mut self, committed: Committed, now: Now) {
        let Store::Log(spool) = &mut self.store else { return };
        self.counters.commits += 1;
        self.counters.sync_time += committed.sync;
        match spool.committed(committed) {
            Ok(durable) => {
                if self.options.deliver == Deliver::Maildir {
                    for Durable { id, place, .. } in durable {
                        self.queue.push(Entry::new(id, Kept::Log(place), false));
                    }
                }
                let watermark = spool.durable();
                while self.waiting.front().is_some_and(|waiting| waiting.id.counter <= watermark) {
                    let Some(waiting) = self.waiting.pop_front() else { break };
                    let key = waiting.key;
                    self.memory -= waiting.held;
                    self.accepted(waiting, now);
                    self.unpark(key, now);
                }
            }
            Err(failed) if failed.fatal => {
                let sentence = format!(
                    "the log cannot be written: {}; recovery will judge what the disk holds",
                    failed.error
                );
                error!("{sentence}");
                self.failure = Some(sentence);
                self.refuse_waiting(self.waiting.len(), Reply::STORAGE_FAILED, now);
            }
            Err(failed) => {
                warn!("the disk has no room for {} messages: {}", failed.ids.len(), failed.error);
                self.refuse_waiting(failed.ids.len(), Reply::STORAGE_FULL, now);
            }
        }
    }

    /// The next segment is ready, or is not.
    pub(super) fn prepared(&mut self, prepared: Prepared, now: Now) {
        let Store::Log(spool) = &mut self.store else { return };
        let result = spool.prepared(prepared, now.ms());
        let was_short = std::mem::replace(&mut self.is_log_short, result.is_err());
        if let Err(failed) = result {
            if !was_short {
                warn!(
                    "the log cannot grow: {}; a segment takes {}, free as much where the data directory lies; \
                     until then mail is put off with 452",
                    failed.error,
                    size_text(SEGMENT_SIZE)
                );
            }
            self.refuse_waiting(failed.ids.len(), Reply::STORAGE_FULL, now);
        }
    }

    /// Refuses the messages that have waited longest: the log takes them in order, and gives them up in order.
    fn refuse_waiting(&mut self, count: usize, reply: Reply, now: Now) {
        let refused: Vec<Waiting> = self.waiting.drain(..count).collect();
        for waiting in refused {
            self.counters.refused += 1;
            self.memory -= waiting.held;
            let key = waiting.key;
            self.answer(key, |session, out| session.committed(Err(reply), out));
            self.unpark(key, now);
        }
    }

    /// The courier has come back.
    pub(super) fn delivered(&mut self, done: DeliveryDone, now: Now) {
        for (delivery, failure) in done.failed.iter().take(DEFERRED_TOLD_MAX) {
            warn!("deferred id={} {failure}", delivery.id);
        }
        if let Some(more @ 1..) = done.failed.len().checked_sub(DEFERRED_TOLD_MAX) {
            warn!("deferred {more} more messages of the same {} that the courier had", done.failed.len());
        }
        if let Some(failure) = &done.sync_error {
            error!("the mailboxes cannot be made durable ({failure}); delivering again");
        }
        self.set_aside(&done);
        self.counters.delivery_failures += done.failed.len() as u64 + u64::from(done.sync_error.is_some());
        self.counters.delivered += (done.settled.len() + done.released.len()) as u64;
        let Done { settled, removed } = self.queue.done(done, now.ms());
        self.counters.removed += removed.len() as u64;
        removed.iter().for_each(|id| info!("removed id={id} by the operator"));
        for entry in settled {
            self.memory = self.memory.saturating_sub(entry.memory());
            if let (Kept::Log(place), Store::Log(spool)) = (&entry.kept, &mut self.store) {
                spool.settle(entry.id, *place);
            }
        }
    }

    /// Says what was set aside, and what came back from there.
    fn set_aside(&mut self, done: &DeliveryDone) {
        for (id, reason) in &done.held {
            warn!("held id={id} reason={}", Escaped(&reason.to_string()));
        }
        for id in &done.quarantined {
            error!(
                "A MESSAGE IS DAMAGED and is not delivered: id={id}; what is left of it is in {QUARANTINE}"
            );
        }
        done.released.iter().for_each(|id| info!("released id={id}: delivered after it was held"));
        self.counters.held += done.held.len() as u64;
        self.counters.quarantined += done.quarantined.len() as u64;
        self.counters.released += done.released.len() as u64;
    }

    pub(super) fn start_deliveries(&mut self, now: Now, jobs: &mut dyn FnMut(Job)) {
        let spool = match &self.store {
            Store::Log(spool) => Some(&**spool),
            Store::Memory(_) => None,
        };
        let is_over = self.stop.is_some_and(|stop| stop.is_over);
        if self.failure.is_none()
            && !is_over
            && let Some(job) = self.queue.job(spool, now.ms(), self.stop.is_some())
        {
            jobs(Job::Deliver(DeliveryJob { given: now.unix.as_secs(), ..job }));
        }
    }

    pub(super) fn start_commit(&mut self, now: Now, jobs: &mut dyn FnMut(Job)) {
        let Store::Log(spool) = &mut self.store else { return };
        if self.failure.is_some() {
            return;
        }
        if self.stop.is_some() {
            spool.submit_settles();
        }
        if let Some(batch) = spool.submit(now.ms()) {
            jobs(Job::Commit(batch));
        }
        if let Some(prepare) = spool.prepare(now.ms()) {
            jobs(Job::Prepare(prepare));
        }
    }
}

/// The date of the present second as Received fields have it, written once a second.
#[derive(Debug, Default)]
pub(super) struct DateText {
    second: u64,
    text: String,
}

impl DateText {
    fn at(&mut self, second: u64) -> &str {
        if self.second != second || self.text.is_empty() {
            *self = DateText { second, text: Date::of(second).rfc5322().to_string() };
        }
        &self.text
    }
}

/// What the log says of a message: who sent it from where to whom.
pub(super) fn facts(message: &Message, client: SocketAddr) -> String {
    use std::fmt::Write;
    let mut text = format!("client={client} from=");
    let sender =
        message.envelope.reverse_path.as_ref().map(|address| address.to_string()).unwrap_or_default();
    let recipients = &message.envelope.forward_paths;
    let first = recipients.first().map(|address| address.to_string()).unwrap_or_default();
    write!(
        text,
        "{} to={} recipients={}",
        Escaped(sender.as_bytes()),
        Escaped(first.as_bytes()),
        recipients.len()
    )
    .expect("a String takes what it is given");
    text
}
