//! Which held messages are tried again, and when: a minute after they were held, then at doubling distances up to an
//! hour, for ever; at once after a start, and when the operator says so. Part of the [`Queue`](super::queue::Queue), which
//! puts them into the courier's jobs; their content lies in `spool/held`, and nothing here knows it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::QueueId;
use crate::limits::{HELD_LOOK_MS, HELD_RETRIED_MAX, HELD_RETRY_SECS_MAX, HELD_RETRY_SECS_MIN};

/// Held messages, as far as memory has them.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By the millisecond of the next attempt: the attempts there were. At most [`HELD_RETRIED_MAX`].
    waiting: BTreeMap<(u64, QueueId), u8>,
    /// With the courier.
    out: HashMap<QueueId, u8>,
    /// How many are held and not in here.
    beyond: usize,
    /// When the courier looks again for what the operator asks.
    look_ms: u64,
}

impl Held {
    /// Messages that are held.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.out.len() + self.beyond
    }

    /// Messages that the courier has.
    pub fn out(&self) -> usize {
        self.out.len()
    }

    /// A message that an earlier run held: it is tried at once.
    pub fn found(&mut self, id: QueueId) {
        self.insert(0, id, 0);
    }

    /// A message is held from now on.
    pub fn add(&mut self, id: QueueId, now_ms: u64) {
        self.insert(now_ms + distance_ms(0), id, 1);
    }

    fn insert(&mut self, due_ms: u64, id: QueueId, attempts: u8) {
        if self.waiting.len() + self.out.len() < HELD_RETRIED_MAX {
            self.waiting.insert((due_ms, id), attempts);
        } else {
            self.beyond += 1;
        }
    }

    /// The next message that is due, for the courier.
    pub fn take_due(&mut self, now_ms: u64) -> Option<QueueId> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now_ms)?;
        let id = first.key().1;
        self.out.insert(id, first.remove());
        Some(id)
    }

    /// An attempt failed. Whether it was one of ours.
    pub fn failed(&mut self, id: QueueId, now_ms: u64) -> bool {
        let Some(attempts) = self.out.remove(&id) else { return false };
        self.waiting.insert((now_ms + distance_ms(attempts), id), attempts.saturating_add(1));
        true
    }

    /// The courier could not try: it is to try again. Whether it was one of ours.
    pub fn taken_back(&mut self, id: QueueId) -> bool {
        let Some(attempts) = self.out.remove(&id) else { return false };
        self.waiting.insert((0, id), attempts);
        true
    }

    /// Messages are held no more. Gives those that were until now, each once.
    pub fn forget(&mut self, ids: &[QueueId]) -> Vec<QueueId> {
        let mut forgotten: Vec<QueueId> =
            ids.iter().copied().filter(|id| self.out.remove(id).is_some()).collect();
        let others: HashSet<QueueId> = ids.iter().copied().filter(|id| !forgotten.contains(id)).collect();
        forgotten.extend(self.take(&others));
        forgotten
    }

    /// The operator wants these tried now. What is not in here is passed over.
    pub fn release(&mut self, ids: &[QueueId]) {
        let released = self.take(&ids.iter().copied().collect());
        self.waiting.extend(released.into_iter().map(|id| ((0, id), 0)));
    }

    fn take(&mut self, ids: &HashSet<QueueId>) -> Vec<QueueId> {
        let mut taken = Vec::new();
        if !ids.is_empty() {
            self.waiting.retain(|(_, id), _| {
                let is_taken = ids.contains(id);
                taken.extend(is_taken.then_some(*id));
                !is_taken
            });
        }
        taken
    }

    /// Whether the courier is to look for what the operator asks; the next look is then a second later.
    pub fn take_look(&mut self, now_ms: u64) -> bool {
        let is_due = self.len() > 0 && now_ms >= self.look_ms;
        if is_due {
            self.look_ms = now_ms + HELD_LOOK_MS;
        }
        is_due
    }

    /// When there is something to do.
    pub fn next_ms(&self) -> Option<u64> {
        let due = self.waiting.first_key_value().map(|((due_ms, _), _)| *due_ms);
        let look = (self.len() > 0).then_some(self.look_ms);
        due.into_iter().chain(look).min()
    }
}

/// How long to wait after so many attempts since it is held.
fn distance_ms(attempts: u8) -> u64 {
    let doubled = HELD_RETRY_SECS_MIN << attempts.min(16);
    1000 * doubled.min(HELD_RETRY_SECS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(counter: u64) -> QueueId {
        QueueId { run: 1, counter }
    }

    /// The moments at which a message that always fails is tried, in seconds.
    fn attempts(mut held: Held, count: usize) -> Vec<u64> {
        let mut moments = Vec::new();
        let mut now_ms = 0;
        while moments.len() < count {
            if let Some(id) = held.take_due(now_ms) {
                moments.push(now_ms / 1000);
                assert!(held.failed(id, now_ms));
            }
            now_ms += 1000;
        }
        moments
    }

    #[test]
    fn it_is_tried_after_a_minute_doubling_to_an_hour_and_for_ever() {
        let mut held = Held::default();
        held.add(id(1), 0);
        let distances = [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600];
        let moments: Vec<u64> = distances
            .iter()
            .scan(0, |at, distance| {
                *at += distance;
                Some(*at)
            })
            .collect();
        assert_eq!(attempts(held, distances.len()), moments);
        assert_eq!(distance_ms(u8::MAX), 3_600_000);
        let mut held = Held::default();
        held.found(id(1));
        assert_eq!(attempts(held, 4), [0, 60, 180, 420]);
    }

    #[test]
    fn what_the_operator_releases_is_due_at_once_and_what_is_removed_is_forgotten() {
        let mut held = Held::default();
        (1..=4).for_each(|counter| held.add(id(counter), 0));
        assert_eq!(held.take_due(1000), None);
        held.release(&[id(2)]);
        assert_eq!(held.take_due(1000), Some(id(2)));
        held.release(&[id(2)]);
        assert_eq!((held.take_due(1000), held.len(), held.out()), (None, 4, 1));
        assert_eq!(held.forget(&[id(2), id(3), id(3), id(9)]), [id(2), id(3)]);
        assert_eq!((held.len(), held.out()), (2, 0));
        assert!(!held.failed(id(2), 0) && !held.taken_back(id(2)));
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_counted() {
        let mut held = Held::default();
        (0..HELD_RETRIED_MAX as u64 + 5).for_each(|counter| held.found(id(counter)));
        assert_eq!((held.waiting.len(), held.len()), (HELD_RETRIED_MAX, HELD_RETRIED_MAX + 5));
    }

    #[test]
    fn it_is_looked_for_orders_once_a_second_while_anything_is_held() {
        let mut held = Held::default();
        assert_eq!((held.take_look(5000), held.next_ms()), (false, None));
        held.add(id(1), 5000);
        assert!(held.take_look(5000) && !held.take_look(5999) && held.take_look(6000));
        assert_eq!(held.next_ms(), Some(7000));
    }
}
