//! What a thread costs: the processor time that it used, and the time for which it waited for a processor.

use std::fs;
use std::time::Duration;

/// A reading, of the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Time on a processor, in user and in kernel mode.
    pub used: Duration,
    /// The part of that in which nothing was done but to wait awake for the next start. To be filled in by the thread.
    pub spun: Duration,
    /// Time for which it stood still for a ledger that could not be written fast enough. To be filled in likewise.
    pub blocked: Duration,
    /// Time for which it could have run, and no processor was free for it; none where the kernel does not say.
    pub waited: Option<Duration>,
}

impl Reading {
    /// Of now.
    pub fn now() -> Reading {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let used = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
        Reading { used, spun: Duration::ZERO, blocked: Duration::ZERO, waited: waited() }
    }

    /// What came since an earlier one.
    pub fn since(&self, earlier: &Reading) -> Reading {
        let waited = self.waited.zip(earlier.waited).map(|(now, then)| now.saturating_sub(then));
        Reading {
            used: self.used.saturating_sub(earlier.used),
            spun: self.spun.saturating_sub(earlier.spun),
            blocked: self.blocked.saturating_sub(earlier.blocked),
            waited,
        }
    }

    /// The time in which there was something to do: it was done, or no processor was free for it, or a disk held it up.
    pub fn busy(&self) -> Duration {
        self.used.saturating_sub(self.spun) + self.waited.unwrap_or_default() + self.blocked
    }
}

/// The second number of the kernel's scheduler statistics, in nanoseconds (Documentation/scheduler/sched-stats.rst).
fn waited() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_costs_processor_time() {
        let before = Reading::now();
        let mut sum = 0u64;
        while Reading::now().since(&before).used < Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
        }
        assert!(Reading::now().since(&before).used >= Duration::from_millis(2));
    }
}
