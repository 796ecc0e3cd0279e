//! Time as a value, and deadlines that cost one store to move.
//!
//! A [`Timers`] wheel holds each key once, at a second when it is to be looked at. Whoever is looked at says when its
//! real deadline is: if that lies ahead, the key goes back into the wheel. So activity moves a number in the connection
//! and never touches the wheel; a connection that lives for minutes is looked at once in minutes.

use std::time::Duration;

use super::slots::Key;

/// The present, as the event loop read it: one for each turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the process began, on a clock that never jumps.
    pub monotonic: Duration,
    /// Since 1970, on the clock on the wall, which may jump: for header fields and file names only.
    pub unix: Duration,
}

impl Now {
    /// Whole milliseconds of the monotonic clock: the unit of deadlines.
    pub fn ms(&self) -> u64 {
        self.monotonic.as_millis() as u64
    }
}

/// Keys by the second at which they are to be looked at.
#[derive(Debug)]
pub struct Timers {
    wheel: Vec<Vec<Key>>,
    /// The first second not yet looked at.
    next: u64,
    count: usize,
}

impl Default for Timers {
    fn default() -> Self {
        Timers { wheel: vec![Vec::new(); SLOTS as usize], next: 0, count: 0 }
    }
}

impl Timers {
    /// Has `key` looked at once `at_ms` has passed, or before: a time beyond the wheel's horizon is cut to it.
    /// Gives the millisecond at which the look will be.
    pub fn schedule(&mut self, key: Key, at_ms: u64) -> u64 {
        let second = self.second(at_ms);
        self.wheel[(second % SLOTS) as usize].push(key);
        self.count += 1;
        second * 1000
    }

    /// The millisecond at which the look would be.
    pub fn look_ms(&self, at_ms: u64) -> u64 {
        self.second(at_ms) * 1000
    }

    fn second(&self, at_ms: u64) -> u64 {
        at_ms.div_ceil(1000).clamp(self.next, self.next + SLOTS - 1)
    }

    /// Looks that are to come, those that were overtaken by an earlier one included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes out the keys whose time has come by `now_ms` into `due`.
    pub fn expired(&mut self, now_ms: u64, due: &mut Vec<Key>) {
        let present = now_ms / 1000;
        // A jump over the whole wheel empties it once, not once a second of the jump.
        let last = present.min(self.next + SLOTS - 1);
        while self.next <= last {
            let slot = &mut self.wheel[(self.next % SLOTS) as usize];
            self.count -= slot.len();
            due.append(slot);
            if slot.capacity() > SLOT_KEPT {
                *slot = Vec::new();
            }
            self.next += 1;
        }
        self.next = self.next.max(present + 1);
    }

    /// The millisecond of the next look that may find something; none if there is nothing to look at.
    pub fn next_ms(&self) -> Option<u64> {
        (self.count > 0).then_some(self.next * 1000)
    }
}

/// Seconds that the wheel spans: beyond the usual 300 of a command, so that most connections are looked at once.
const SLOTS: u64 = 512;
/// Keys whose memory an emptied slot keeps.
const SLOT_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::slots::Slots;

    fn expired(timers: &mut Timers, now_ms: u64) -> Vec<Key> {
        let mut due = Vec::new();
        timers.expired(now_ms, &mut due);
        due
    }

    #[test]
    fn a_key_is_looked_at_when_its_second_has_passed_and_not_before() {
        let (mut slots, mut timers) = (Slots::new(), Timers::default());
        let key = slots.insert(());
        assert_eq!(timers.next_ms(), None);
        assert_eq!(timers.schedule(key, 2500), 3000);
        assert!(timers.next_ms().is_some_and(|ms| ms <= 3000));
        assert_eq!(expired(&mut timers, 2999), []);
        assert_eq!(expired(&mut timers, 3000), [key]);
        assert_eq!(expired(&mut timers, 9000), []);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn a_time_past_or_beyond_the_horizon_is_looked_at_early_rather_than_never() {
        let (mut slots, mut timers) = (Slots::new(), Timers::default());
        let (past, beyond) = (slots.insert(()), slots.insert(()));
        assert_eq!(expired(&mut timers, 10_000), []);
        timers.schedule(past, 1);
        assert_eq!(timers.schedule(beyond, 10_000_000), (11 + SLOTS - 1) * 1000);
        assert_eq!(expired(&mut timers, 11_000), [past]);
        assert_eq!(expired(&mut timers, 10_000_000), [beyond]);
        timers.schedule(past, 10_000_500);
        assert_eq!(expired(&mut timers, 10_001_000), [past]);
    }
}
