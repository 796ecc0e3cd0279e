//! How far a long piece of work is: on standard error, if that is a terminal and the work is really long; nothing else.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The progress of one piece of work. Dropping it leaves no trace on the terminal.
pub struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    /// When it is to be shown next; none where it never is.
    next: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Of so many steps, of which people say `what`.
    pub fn new(total: usize, what: &'static str) -> Progress {
        let next = stderr().is_terminal().then(|| Instant::now() + SHORT);
        Progress { what, total, done: 0, next, is_shown: false }
    }

    /// One step more is done.
    pub fn step(&mut self) {
        self.done += 1;
        if self.next.is_some_and(|next| Instant::now() >= next) {
            self.next = Some(Instant::now() + EVERY);
            self.is_shown = true;
            self.show(&format!("\r{} of {} {}", self.done, self.total, self.what));
        }
    }

    fn show(&self, text: &str) {
        let mut terminal = stderr().lock();
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            self.show("\r\x1b[K"); // to the line's start, and clear it
        }
    }
}

/// What takes no longer needs no progress.
const SHORT: Duration = Duration::from_millis(500);
const EVERY: Duration = Duration::from_millis(100);
