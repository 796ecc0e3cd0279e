//! The thread that writes a ledger, and how lines come to it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Entry, Head};

/// A ledger that is being written.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    recorder: Recorder,
    writer: JoinHandle<(Written, io::Result<()>)>,
}

/// Hands lines to the ledger's thread; one for each thread of the generator.
#[derive(Debug, Clone)]
pub struct Recorder {
    orders: SyncSender<Order>,
}

/// How many lines came to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Those that the system took.
    pub lines: u64,
    /// Those that it did not.
    pub lost: u64,
}

#[derive(Debug)]
enum Order {
    Write(Entry),
    Finish,
}

impl Ledger {
    /// Makes the file, or empties it, and writes the head, so that a path that cannot be written is known at once.
    pub fn create(path: &Path, head: &Head) -> io::Result<Ledger> {
        let within = |error| sentence(path, "cannot be written", &error);
        let mut file = File::create(path).map_err(within)?;
        file.write_all(head.text().as_bytes()).map_err(within)?;
        Ok(Ledger { path: path.to_owned(), ..Ledger::to(file) })
    }

    /// Writes entries to `sink`.
    fn to(sink: impl Write + Send + 'static) -> Ledger {
        let (orders, received) = sync_channel(QUEUE_MAX);
        let writer = thread::spawn(move || {
            let mut lines = Lines::new(sink);
            lines.follow(&received);
            lines.end()
        });
        Ledger { path: PathBuf::new(), recorder: Recorder { orders }, writer }
    }

    /// What a thread hands its lines to.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Writes what was recorded before, and closes the file. What is recorded later is not written. The error is one
    /// sentence that says how many lines are lost.
    pub fn finish(self) -> io::Result<Written> {
        // Fails only if the thread is gone, and then the join tells.
        let _ = self.recorder.orders.send(Order::Finish);
        let (written, result) = match self.writer.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let total = written.lines + written.lost;
        let lack = format!("lacks {} of {total} lines", written.lost);
        result.map(|()| written).map_err(|error| sentence(&self.path, &lack, &error))
    }
}

impl Recorder {
    /// Takes a line. Waits while the queue is full, and gives for how long.
    pub fn record(&self, entry: Entry) -> Duration {
        match self.orders.try_send(Order::Write(entry)) {
            Err(TrySendError::Full(order)) => {
                let begun = Instant::now();
                let _ = self.orders.send(order);
                begun.elapsed()
            }
            // Disconnected only when the ledger is finished, which comes after the last line.
            _ => Duration::ZERO,
        }
    }
}

/// What the thread works on.
struct Lines<W: Write> {
    sink: BufWriter<W>,
    written: Written,
    /// Lines since the last flush.
    unflushed: u64,
    failure: Option<io::Error>,
}

impl<W: Write> Lines<W> {
    fn new(sink: W) -> Lines<W> {
        let sink = BufWriter::with_capacity(BUFFER, sink);
        Lines { sink, written: Written::default(), unflushed: 0, failure: None }
    }

    /// Does what it is told until it is to finish, or nobody is left.
    fn follow(&mut self, orders: &Receiver<Order>) {
        let mut flush_at = Instant::now() + FLUSH_EVERY;
        loop {
            match orders.recv_timeout(flush_at.saturating_duration_since(Instant::now())) {
                Ok(Order::Write(entry)) => self.write(&entry),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Finish) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if now >= flush_at {
                self.flush();
                flush_at = now + FLUSH_EVERY;
            }
        }
    }

    /// After a failure nothing more is written: what follows a torn line would be read as part of it.
    fn write(&mut self, entry: &Entry) {
        self.unflushed += 1;
        if self.failure.is_none() {
            self.failure = writeln!(self.sink, "{entry}").err();
        }
    }

    fn flush(&mut self) {
        if self.failure.is_none() {
            self.failure = self.sink.flush().err();
        }
        // Of those in a failed flush some may have come through; that they are counted as lost errs to the safe side.
        let count = if self.failure.is_none() { &mut self.written.lines } else { &mut self.written.lost };
        *count += self.unflushed;
        self.unflushed = 0;
    }

    fn end(mut self) -> (Written, io::Result<()>) {
        self.flush();
        // What a failed sink still holds must not be tried again when it is dropped.
        let _ = self.sink.into_parts();
        (self.written, self.failure.map_or(Ok(()), Err))
    }
}

/// What happened to the ledger, and why, in one sentence.
fn sentence(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the ledger {} {what}: {error}", path.display()))
}

/// Lines that wait for the thread: a disk may stall for a second or so at a hundred thousand messages a second, and
/// with one recipient they take some 20 MB.
const QUEUE_MAX: usize = 100_000;

/// Octets written at once.
const BUFFER: usize = 256 * 1024;

/// How long a line may wait for its fellows.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::mail_id::RunId;
    use fastsmtp::smtp::Address;
    use std::sync::mpsc;
    use std::time::UNIX_EPOCH;

    fn entry(run: RunId, number: u64) -> Entry {
        let time = UNIX_EPOCH + Duration::from_micros(number);
        let recipients = vec![Address::new("user", "example.com")];
        Entry { id: run.mail(number), acknowledged: time, octets: number, sha256: [7; 32], recipients }
    }

    #[test]
    fn every_line_of_every_thread_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let head = Head { run: RunId::random(), started: UNIX_EPOCH, target: "a\tb:25".into() };
        let ledger = Ledger::create(&path, &head).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let recorder = ledger.recorder();
                thread::spawn(move || {
                    (0..1_000).map(|n| recorder.record(entry(head.run, 4 * n + thread))).sum::<Duration>()
                })
            })
            .collect();
        let _: Duration = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(ledger.finish().unwrap(), Written { lines: 4_000, lost: 0 });

        let mut reader = read(&path).unwrap();
        assert_eq!((reader.head().run, &reader.head().target[..]), (head.run, "a b:25"));
        let mut octets = Vec::new();
        while let Some(read) = reader.entry().unwrap() {
            assert_eq!(read, entry(head.run, read.octets));
            octets.push(read.octets);
        }
        octets.sort_unstable();
        assert!(octets.into_iter().eq(0..4_000) && !reader.is_torn());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_known_at_once() {
        let head = Head { run: RunId::random(), started: UNIX_EPOCH, target: "x".into() };
        let error = Ledger::create(Path::new("/nowhere/ledger"), &head).unwrap_err().to_string();
        assert!(error.starts_with("the ledger /nowhere/ledger cannot be written: "), "{error}");
    }

    /// Takes so many octets, then is full; says what it has at every flush.
    struct Disk {
        room: usize,
        flushed: mpsc::Sender<()>,
    }

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = octets.len().min(self.room);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            let _ = self.flushed.send(());
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_at_the_end_in_one_sentence() {
        let (flushed, _kept) = mpsc::channel();
        let ledger = Ledger::to(Disk { room: 1_000, flushed });
        let (recorder, run) = (ledger.recorder(), RunId::random());
        let _: Duration = (0..5_000).map(|number| recorder.record(entry(run, number))).sum();
        let error = ledger.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().contains(" lacks 5000 of 5000 lines: "), "{error}");
    }

    #[test]
    fn a_line_does_not_wait_for_its_fellows() {
        let (flushed, flushes) = mpsc::channel();
        let ledger = Ledger::to(Disk { room: 1_000_000, flushed });
        ledger.recorder().record(entry(RunId::random(), 1));
        flushes.recv().unwrap();
        assert_eq!(ledger.finish().unwrap(), Written { lines: 1, lost: 0 });
    }
}
