//! The log: one line an event, to standard error, through a thread of its own.
//!
//! ```text
//!   log::info!() ──▶ line ──try_send──▶ queue (LOG_QUEUE_MAX) ──▶ writer thread ──▶ standard error
//!                             │ full                                   │
//!                             └──▶ dropped += 1 ─────────────────────▶ one line that says how many
//! ```
//!
//! A caller never waits: if the reader of standard error is slow, lines are lost and counted. A standard error that is
//! broken loses them all, silently, for there is nobody to tell. [`flush`] is called at the end, and waits a bounded time.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};

use fastsmtp::limits::{LOG_FLUSH_MS, LOG_LINE_MAX, LOG_QUEUE_MAX};

/// Starts the writer and makes it the log of the process. To be called once.
pub fn init(level: LevelFilter) -> io::Result<()> {
    let (logger, lines) = Logger::new(LOG_QUEUE_MAX);
    let shared = Arc::clone(&logger.shared);
    thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(&lines, io::stderr()))?;
    let logger = LOGGER.get_or_init(|| logger);
    log::set_logger(logger).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// Waits until what was logged so far is written, but at most [`LOG_FLUSH_MS`]. Nothing if there is no log.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.flush();
    }
}

/// Prints a line on standard error, behind what was logged so far. While there is a log it goes the log's way, so that
/// a reader that has stopped reading cannot keep the process from its end.
pub fn say(line: &str) {
    match LOGGER.get() {
        Some(logger) => logger.enqueue(format!("{line}\n")),
        // Who stops reading standard error has read enough.
        None => drop(writeln!(io::stderr(), "{line}")),
    }
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The callers' end of the queue.
struct Logger {
    queue: SyncSender<String>,
    shared: Arc<Shared>,
}

/// What callers and writer both count.
#[derive(Default)]
struct Shared {
    /// Lines that entered the queue.
    queued: AtomicU64,
    /// Lines lost since the writer last said so.
    dropped: AtomicU64,
    /// Lines that left the queue and are written, or failed to be.
    written: Mutex<u64>,
    /// Told when `written` has grown.
    progress: Condvar,
}

impl Logger {
    fn new(queue_max: usize) -> (Logger, Receiver<String>) {
        let (queue, lines) = sync_channel(queue_max);
        (Logger { queue, shared: Arc::default() }, lines)
    }

    /// Hands a line to the writer, or loses and counts it.
    fn enqueue(&self, line: String) {
        // Counted before it is sent, so that `written` never runs ahead; taken back if it is lost.
        self.shared.queued.fetch_add(1, Ordering::SeqCst);
        if self.queue.try_send(line).is_err() {
            self.shared.queued.fetch_sub(1, Ordering::SeqCst);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Log for Logger {
    /// Our own events; of the libraries' only what is wrong.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn || metadata.target().starts_with("fastsmtp")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.enqueue(line(SystemTime::now(), record.level(), record.args()));
        }
    }

    fn flush(&self) {
        let target = self.shared.queued.load(Ordering::SeqCst);
        let written = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Duration::from_millis(LOG_FLUSH_MS);
        drop(self.shared.progress.wait_timeout_while(written, wait, |written| *written < target));
    }
}

impl Shared {
    /// The writer's life: takes what waits, writes it in one call, says what was lost; ends with the queue.
    fn write(&self, lines: &Receiver<String>, mut out: impl Write) {
        let mut text = String::new();
        while let Ok(first) = lines.recv() {
            // While the writer sleeps, callers find nobody to wake: under load a line costs them no system call. A
            // writer that left lines behind is late already.
            if text.len() < WRITE_MAX {
                thread::sleep(GATHER);
            }
            text.clear();
            text.push_str(&first);
            let mut count = 1;
            while text.len() < WRITE_MAX
                && let Ok(next) = lines.try_recv()
            {
                text.push_str(&next);
                count += 1;
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let now = SystemTime::now();
                let sentence = "the reader of the log is too slow";
                text.push_str(&line(
                    now,
                    Level::Warn,
                    &format_args!("log lines dropped={dropped}: {sentence}"),
                ));
            }
            let _nobody_to_tell = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            *self.written.lock().unwrap_or_else(PoisonError::into_inner) += count;
            self.progress.notify_all();
        }
    }
}

/// How long the writer lets lines gather behind the first one.
const GATHER: Duration = Duration::from_millis(5);

/// Octets after which the writer stops gathering lines for one write.
const WRITE_MAX: usize = 64 * 1024;

/// `2026-11-23T22:40:01.123Z INFO accepted id=...` and a line end: one line whatever the event says.
fn line(now: SystemTime, level: Level, event: &fmt::Arguments<'_>) -> String {
    let mut text = String::with_capacity(128);
    let mut one_line = OneLine(&mut text);
    // Writing fails where the text is cut; what is there is the line.
    let _cut = write!(one_line, "{} {level} {event}", Utc(now));
    text.push('\n');
    text
}

/// Writes to a text what keeps it one line: control characters as `\xNN`, and no more than [`LOG_LINE_MAX`] octets.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = LOG_LINE_MAX.saturating_sub(self.0.len());
        if piece.len() <= room && !piece.contains(char::is_control) {
            self.0.push_str(piece);
            return Ok(());
        }
        for character in piece.chars() {
            if self.0.len() + 4 > LOG_LINE_MAX {
                return Err(fmt::Error);
            }
            match character.is_control() {
                true => write!(self.0, "\\x{:02x}", u32::from(character))?,
                false => self.0.push(character),
            }
        }
        Ok(())
    }
}

/// A moment in UTC to the millisecond, as RFC 3339 writes it. A clock before 1970 shows 1970.
struct Utc(SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil(since.as_secs() / 86_400);
        let second = since.as_secs() % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let ms = since.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"): years begin in March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Sender};

    /// A reader of the log that takes a write only when it is let.
    struct Gate {
        entered: Sender<String>,
        leave: Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.entered.send(String::from_utf8_lossy(octets).into_owned()).map_err(io::Error::other)?;
            self.leave.recv().map_err(io::Error::other)?;
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn info(logger: &Logger, event: &str) {
        let mut record = Record::builder();
        record.level(Level::Info).target("fastsmtp");
        logger.log(&record.args(format_args!("{event}")).build());
    }

    #[test]
    fn a_slow_reader_loses_lines_that_are_counted_and_stops_nobody() {
        let (logger, lines) = Logger::new(2);
        let shared = Arc::clone(&logger.shared);
        let (entered, writes) = mpsc::channel();
        let (let_go, leave) = mpsc::channel();
        let writer = thread::spawn(move || shared.write(&lines, Gate { entered, leave }));

        info(&logger, "one");
        assert!(writes.recv().unwrap().ends_with(" INFO one\n"));
        for event in ["two", "three", "four", "five", "six"] {
            info(&logger, event);
        }
        let_go.send(()).unwrap();
        let second = writes.recv().unwrap();
        assert!(second.contains(" INFO two\n") && second.contains(" INFO three\n"), "{second}");
        assert!(second.contains(" WARN log lines dropped=3: "), "{second}");
        assert!(!second.contains("four"), "{second}");
        let_go.send(()).unwrap();
        logger.flush();
        assert_eq!(*logger.shared.written.lock().unwrap(), 3);
        drop(logger);
        writer.join().unwrap();
    }

    #[test]
    fn libraries_speak_only_of_what_is_wrong() {
        let (logger, _lines) = Logger::new(1);
        let enabled =
            |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(enabled("fastsmtp::server", Level::Trace));
        assert!(enabled("mio::poll", Level::Warn));
        assert!(!enabled("mio::poll", Level::Info));
    }

    #[test]
    fn an_event_is_one_bounded_line() {
        let at = UNIX_EPOCH + Duration::from_millis(1_795_473_601_123);
        assert_eq!(line(at, Level::Info, &format_args!("a\nb")), "2026-11-23T22:40:01.123Z INFO a\\x0ab\n");
        let long = "é\n".repeat(LOG_LINE_MAX);
        let line = line(at, Level::Info, &format_args!("{long}"));
        assert!(line.len() <= LOG_LINE_MAX + 1 && line.len() > LOG_LINE_MAX - 8);
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn days_are_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_780, (2026, 11, 23)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
        }
    }
}
