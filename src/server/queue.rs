//! The mail queue: messages that are durable and remain to be delivered, oldest first.
//!
//! An entry is a name and a place in the log, not the message: the courier reads that back. Messages whose delivery
//! failed wait aside, each until its time, and hold nobody up.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::courier::{Delivery, DeliveryDone, DeliveryJob, Load};
use crate::QueueId;
use crate::limits::{DELIVERY_BATCH_MAX, DELIVERY_BATCH_OCTETS_MAX, QUEUE_MAX, SETTLE_DELAY_MS};
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
    attempts: u32,
}

impl Entry {
    pub fn new(id: QueueId, kept: Kept, again: bool) -> Entry {
        Entry { id, kept, again, attempts: 0 }
    }

    /// Octets of memory that the message takes while it waits.
    pub fn memory(&self) -> u64 {
        match &self.kept {
            Kept::Log(_) => 0,
            Kept::Memory(_, held) => *held,
        }
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
    is_courier_busy: bool,
    /// When the courier is asked to make the last deliveries durable, if nothing else makes it sync before.
    flush_ms: Option<u64>,
    /// When a failed sync allows the next job.
    pause_until_ms: u64,
    sync_failures: u32,
}

impl Queue {
    /// Messages that are not settled.
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
            deliveries.push(Delivery { id: entry.id, load, again: entry.again });
            self.out.insert(entry.id, entry);
        }
        let is_flush_due = self.flush_ms.is_some_and(|ms| ms <= now_ms || is_stopping);
        if deliveries.is_empty() && !is_flush_due {
            return None;
        }
        self.flush_ms = None;
        self.is_courier_busy = true;
        Some(DeliveryJob { deliveries })
    }

    /// Takes the courier's work back; gives the entries that are settled.
    pub fn done(&mut self, done: DeliveryDone, now_ms: u64) -> Vec<Entry> {
        self.is_courier_busy = false;
        for (delivery, _) in done.failed {
            if let Some(mut entry) = self.taken_back(delivery) {
                entry.attempts += 1;
                self.deferred.insert((now_ms + backoff_ms(entry.attempts), entry.id), entry);
            }
        }
        for delivery in done.retry.into_iter().rev() {
            if let Some(entry) = self.taken_back(delivery) {
                self.waiting.push_front(entry);
            }
        }
        self.sync_failures = if done.sync_error.is_some() { self.sync_failures + 1 } else { 0 };
        self.pause_until_ms =
            if self.sync_failures > 0 { now_ms + backoff_ms(self.sync_failures) } else { 0 };
        let settled = done.settled.iter().filter_map(|id| self.out.remove(id)).collect();
        // What is still out has its names and waits for them to be durable.
        self.flush_ms = (!self.out.is_empty()).then_some(now_ms + SETTLE_DELAY_MS);
        settled
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
    pub fn next_ms(&self) -> Option<u64> {
        if self.is_courier_busy {
            return None;
        }
        let due = [
            (!self.waiting.is_empty()).then_some(0),
            self.deferred.first_key_value().map(|((due, _), _)| *due),
            self.flush_ms,
        ];
        due.into_iter().flatten().min().map(|ms| ms.max(self.pause_until_ms))
    }
}

/// One second, doubling up to a minute.
fn backoff_ms(attempts: u32) -> u64 {
    (1000 << attempts.saturating_sub(1).min(6)).min(60_000)
}

const _: () = assert!(size_of::<Entry>() <= 56, "limits::QUEUE_MAX counts on it");
