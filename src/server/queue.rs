//! The mail queue: messages that are durable and remain to be delivered, oldest first.
//!
//! An entry is a name and a place in the log, not the message: the courier reads that back. Messages whose delivery
//! failed wait aside, each until its time, and hold nobody up; after the third time the courier is told to set them
//! aside for good, so that the log need not wait either.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::courier::{Delivery, DeliveryDone, DeliveryJob, Load};
use super::held::Held;
use crate::QueueId;
use crate::limits::{
    DELIVERY_ATTEMPTS_MAX, DELIVERY_BATCH_MAX, DELIVERY_BATCH_OCTETS_MAX, HELD_BATCH_MAX,
    MAILBOXES_REMAINING_MAX, QUEUE_MAX, SETTLE_DELAY_MS,
};
use crate::mailbox::MailboxPath;
use crate::smtp::Message;
use crate::spool::{Place, Spool};

/// Where a message waits.
#[derive(Debug)]
pub(super) enum Kept {
    /// In the log.
    Log(Place),
    /// In memory, without durability: the message and when it arrived, unless the courier has it; and the octets of
    /// the memory budget that it takes.
    Memory(Box<(Message, u64)>, u64),
}

/// A message to be delivered.
#[derive(Debug)]
pub(super) struct Entry {
    pub id: QueueId,
    pub kept: Kept,
    /// Whether a copy may lie in a Maildir already: recovered after a restart, or tried before.
    pub again: bool,
    /// Attempts that said something of the message or its mailboxes.
    attempts: u16,
    /// Those, and those that were not to be.
    failures: u16,
}

impl Entry {
    pub fn new(id: QueueId, kept: Kept, again: bool) -> Entry {
        Entry { id, kept, again, attempts: 0, failures: 0 }
    }

    /// Octets of memory that the message takes while it waits.
    pub fn memory(&self) -> u64 {
        match &self.kept {
            Kept::Log(_) => 0,
            Kept::Memory(_, held) => *held,
        }
    }

    /// Whether the next attempt is the last one that the log waits for.
    fn is_last(&self) -> bool {
        matches!(self.kept, Kept::Log(_)) && u32::from(self.attempts) + 1 >= DELIVERY_ATTEMPTS_MAX
    }
}

/// What remains to be delivered.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Entry>,
    /// Failed ones by the millisecond of their next attempt.
    deferred: BTreeMap<(u64, QueueId), Entry>,
    /// With the courier: being written, or waiting there for their names to be durable. Two jobs' worth at the most.
    out: HashMap<QueueId, Entry>,
    /// Beside the log: it does not wait for these.
    pub held: Held,
    remaining: Remaining,
    is_courier_busy: bool,
    /// When the courier is asked to make the last deliveries durable, if nothing else makes it sync before.
    flush_ms: Option<u64>,
    /// When a failed sync allows the next job.
    pause_until_ms: u64,
    sync_failures: u32,
}

impl Queue {
    /// Messages that are not settled; those that are held are.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.deferred.len() + self.out.len()
    }

    pub fn is_full(&self) -> bool {
        self.len() >= QUEUE_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, entry: Entry) {
        self.waiting.push_back(entry);
    }

    /// The next job for the courier, if there is one and the courier is free.
    pub fn job(&mut self, spool: Option<&Spool>, now_ms: u64, is_stopping: bool) -> Option<DeliveryJob> {
        if self.is_courier_busy || now_ms < self.pause_until_ms {
            return None;
        }
        while let Some(first) = self.deferred.first_entry() {
            if first.key().0 > now_ms {
                break;
            }
            self.waiting.push_front(first.remove());
        }
        let mut deliveries = Vec::new();
        if !is_stopping {
            self.add_held(now_ms, &mut deliveries);
        }
        let mut octets = 0;
        while deliveries.len() < DELIVERY_BATCH_MAX && octets < DELIVERY_BATCH_OCTETS_MAX {
            let Some(mut entry) = self.waiting.pop_front() else { break };
            let (load, size) = match (&mut entry.kept, spool) {
                (Kept::Log(place), Some(spool)) => (Load::Spool(spool.locate(place)), place.octets()),
                (Kept::Memory(kept, held), _) => {
                    let (message, arrived) = std::mem::take(&mut **kept);
                    (Load::Memory { message, arrived }, *held)
                }
                (Kept::Log(_), None) => unreachable!("an entry in the log without a log"),
            };
            octets += size;
            let only = self.remaining.of(entry.id);
            let last = entry.is_last();
            deliveries.push(Delivery { id: entry.id, load, again: entry.again, only, last });
            self.out.insert(entry.id, entry);
        }
        let is_flush_due = self.flush_ms.is_some_and(|ms| ms <= now_ms || is_stopping);
        let look = !is_stopping && self.held.take_look(now_ms);
        if deliveries.is_empty() && !is_flush_due && !look {
            return None;
        }
        self.flush_ms = None;
        self.is_courier_busy = true;
        Some(DeliveryJob { deliveries, look, ..DeliveryJob::default() })
    }

    fn add_held(&mut self, now_ms: u64, deliveries: &mut Vec<Delivery>) {
        while deliveries.len() < HELD_BATCH_MAX {
            let Some(id) = self.held.take_due(now_ms) else { break };
            let only = self.remaining.of(id);
            deliveries.push(Delivery { id, load: Load::Held, again: true, only, last: false });
        }
    }

    /// Takes the courier's work back; gives the entries that the log may settle.
    pub fn done(&mut self, done: DeliveryDone, now_ms: u64) -> Done {
        self.is_courier_busy = false;
        for (delivery, error) in done.failed {
            self.failed(delivery, error.counts(), now_ms);
        }
        for delivery in done.retry.into_iter().rev() {
            if self.held.taken_back(delivery.id) {
                continue;
            }
            if let Some(entry) = self.taken_back(delivery) {
                self.waiting.push_front(entry);
            }
        }
        self.sync_failures = if done.sync_error.is_some() { self.sync_failures + 1 } else { 0 };
        self.pause_until_ms =
            if self.sync_failures > 0 { now_ms + backoff_ms(self.sync_failures) } else { 0 };
        let held = done.held.iter().map(|(id, _)| id);
        let ends = done.settled.iter().chain(held).chain(&done.quarantined).chain(&done.released);
        ends.for_each(|id| self.remaining.forget(*id));
        let held = done.held.iter().map(|(id, _)| id);
        let of_the_log = done.settled.iter().chain(held).chain(&done.quarantined);
        let settled = of_the_log.filter_map(|id| self.out.remove(id)).collect();
        self.held.forget(&done.released);
        self.held.forget(&done.quarantined);
        let removed = self.held.forget(&done.removed);
        removed.iter().for_each(|id| self.remaining.forget(*id));
        done.held.iter().for_each(|(id, _)| self.held.add(*id, now_ms));
        self.held.release(&done.asked);
        // What is still out has its names and waits for them to be durable.
        let is_out = !self.out.is_empty() || self.held.out() > 0;
        self.flush_ms = is_out.then_some(now_ms + SETTLE_DELAY_MS);
        Done { settled, removed }
    }

    /// Puts a message aside until its next attempt, if that was one.
    fn failed(&mut self, mut delivery: Delivery, counts: bool, now_ms: u64) {
        self.remaining.remember(delivery.id, delivery.only.take());
        if self.held.failed(delivery.id, now_ms) {
            return;
        }
        if let Some(mut entry) = self.taken_back(delivery) {
            entry.failures = entry.failures.saturating_add(1);
            entry.attempts = entry.attempts.saturating_add(u16::from(counts));
            self.deferred.insert((now_ms + backoff_ms(entry.failures.into()), entry.id), entry);
        }
    }

    /// The entry of a delivery that comes back to be tried again.
    fn taken_back(&mut self, delivery: Delivery) -> Option<Entry> {
        let mut entry = self.out.remove(&delivery.id)?;
        entry.again = true;
        if let (Kept::Memory(kept, _), Load::Memory { message, arrived }) = (&mut entry.kept, delivery.load) {
            **kept = (message, arrived);
        }
        Some(entry)
    }

    /// When there is something to do that no event announces.
    pub fn next_ms(&self, is_stopping: bool) -> Option<u64> {
        if self.is_courier_busy {
            return None;
        }
        let due = [
            (!self.waiting.is_empty()).then_some(0),
            self.deferred.first_key_value().map(|((due, _), _)| *due),
            self.flush_ms,
            if is_stopping { None } else { self.held.next_ms() },
        ];
        due.into_iter().flatten().min().map(|ms| ms.max(self.pause_until_ms))
    }
}

/// What came to its end.
pub(super) struct Done {
    /// Entries that the log may settle: delivered, or set aside.
    pub settled: Vec<Entry>,
    /// Held messages that the operator removed, each once.
    pub removed: Vec<QueueId>,
}

/// The mailboxes that remain of messages which others have taken. A reader may have deleted what those took, so it must
/// not be looked for and delivered again. Memory only: after a restart, and beyond the bound, it is looked for.
#[derive(Debug, Default)]
struct Remaining {
    of: HashMap<QueueId, Arc<[MailboxPath]>>,
    /// In all of them; at most [`MAILBOXES_REMAINING_MAX`].
    mailboxes: usize,
}

impl Remaining {
    fn of(&self, id: QueueId) -> Option<Arc<[MailboxPath]>> {
        self.of.get(&id).cloned()
    }

    fn remember(&mut self, id: QueueId, only: Option<Arc<[MailboxPath]>>) {
        self.forget(id);
        if let Some(only) = only
            && self.mailboxes + only.len() <= MAILBOXES_REMAINING_MAX
        {
            self.mailboxes += only.len();
            self.of.insert(id, only);
        }
    }

    fn forget(&mut self, id: QueueId) {
        if let Some(only) = self.of.remove(&id) {
            self.mailboxes -= only.len();
        }
    }
}

/// One second, doubling up to a minute.
fn backoff_ms(attempts: u32) -> u64 {
    (1000 << attempts.saturating_sub(1).min(6)).min(60_000)
}

const _: () = assert!(size_of::<Entry>() <= 56, "limits::QUEUE_MAX counts on it");
