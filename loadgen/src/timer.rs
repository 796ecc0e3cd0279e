//! A timer finer than the poll's, which rounds its timeouts up to whole milliseconds: a timerfd that wakes it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};

/// Wakes a poll at a time.
#[derive(Debug)]
pub struct Timer {
    descriptor: OwnedFd,
}

impl Timer {
    /// One that wakes the poll of this registry by `token`. It is edge-triggered, so its expirations need not be read.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let descriptor =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer { descriptor })
    }

    /// Wakes the poll once, in so many nanoseconds, instead of when it was to do so before.
    pub fn set(&self, nanoseconds: u64) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // 0 would disarm it.
        let nanoseconds = nanoseconds.max(1);
        let value = Timespec {
            tv_sec: (nanoseconds / 1_000_000_000) as i64,
            tv_nsec: (nanoseconds % 1_000_000_000) as i64,
        };
        let expiry = Itimerspec { it_interval: never, it_value: value };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &expiry)?;
        Ok(())
    }
}
