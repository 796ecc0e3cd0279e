//! Wakes a poll a little before a time: a timerfd, for a poll rounds its timeouts up to whole milliseconds.
//!
//! A sleep ends late, by a few microseconds on bare metal and by a hundred and more where a sleeping processor is given
//! to others. So the alarm is set before the time by as much as it is usually late, and the rest is spent awake. How much
//! that is it learns: doubled whenever it rang too late, and worn down by a little whenever it did not, which makes it late
//! about once in two hundred times.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};

/// An alarm for times in nanoseconds of one clock.
#[derive(Debug)]
pub struct Alarm {
    timer: OwnedFd,
    /// By how much it rings before the time that it was set for.
    margin: u64,
    /// The time that it is set for, until it rings.
    set_for: Option<u64>,
}

impl Alarm {
    /// One that wakes the poll of this registry by `token`. It is edge-triggered, so its expirations need not be read.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, margin: MARGIN_MIN_NS, set_for: None })
    }

    /// Sets it to ring shortly before `due`. False if that is now or past already: there is no time to sleep.
    pub fn set_before(&mut self, due: u64, now: u64) -> io::Result<bool> {
        let left = due.saturating_sub(now);
        if left <= self.margin {
            return Ok(false);
        }
        if self.set_for != Some(due) {
            self.set_for = Some(due);
            set(&self.timer, left - self.margin)?;
        }
        Ok(true)
    }

    /// It rang at `now`, and learns from when that is.
    pub fn rang(&mut self, now: u64) {
        let Some(due) = self.set_for.take() else { return };
        self.margin = if now > due {
            (self.margin * 2).min(MARGIN_MAX_NS)
        } else {
            (self.margin - self.margin / 256).max(MARGIN_MIN_NS)
        };
    }
}

/// Wakes the poll once, in so many nanoseconds, instead of when it was to do so before.
fn set(timer: &OwnedFd, nanoseconds: u64) -> io::Result<()> {
    let value = Timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let expiry = Itimerspec { it_interval: never, it_value: value };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &expiry)?;
    Ok(())
}

/// What a sleep is late by at the least.
const MARGIN_MIN_NS: u64 = 10_000;

/// Beyond this a machine is not late but busy, and spinning would make it busier.
const MARGIN_MAX_NS: u64 = 320_000;

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::{Duration, Instant};

    #[test]
    fn it_learns_how_late_a_sleep_ends_and_forgets_slowly() {
        let poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), Token(0)).unwrap();
        let ring = |alarm: &mut Alarm, at| {
            assert!(alarm.set_before(1_000_000, 0).unwrap());
            alarm.rang(at);
            // Once for each time that it was set: an event that comes late is no lesson.
            alarm.rang(u64::MAX);
        };
        ring(&mut alarm, 1_000_001);
        assert_eq!(alarm.margin, 2 * MARGIN_MIN_NS);
        (0..20).for_each(|_| ring(&mut alarm, 1_000_001));
        assert_eq!(alarm.margin, MARGIN_MAX_NS);
        ring(&mut alarm, 999_999);
        assert!(alarm.margin < MARGIN_MAX_NS && alarm.margin > MARGIN_MAX_NS * 9 / 10);
        assert!(!alarm.set_before(1_100_000, 1_000_000).unwrap(), "no time to sleep");
    }

    #[test]
    fn it_wakes_a_poll_that_would_sleep_longer() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), Token(7)).unwrap();
        assert!(alarm.set_before(3_000_000, 0).unwrap());
        let (begun, mut events) = (Instant::now(), Events::with_capacity(4));
        poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(7)]);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
