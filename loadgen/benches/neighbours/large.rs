//! Small mail beside large; and the limit of that: what the bare disk has a small sync wait for, while as much is written
//! to it in the same manner.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::server::{Priority, Server, place, report};
use super::{Outcome, phase_ms};
use fastsmtp::limits::SPILL_SYNC_OCTETS;

/// Prints what small mail waits for its 250, alone and beside large, and what the bare disk takes then.
pub fn run() -> Outcome<()> {
    let server = Server::start(&["--max-message-size", "60MiB"])?;
    let small = "--conns 2 --rate 200 --warmup 1s --to small{n%50}@x.example";
    let large = "--conns 200 --size 50MiB --messages 200 --timeout 120s --to big{n%10}@x.example";
    let alone = report(server.load(&format!("{small} --duration 5s"), Priority::Own)?)?;
    let senders = server.load(large, Priority::Others)?;
    let beside = report(server.load(&format!("{small} --duration 12s"), Priority::Own)?)?;
    let large = report(senders)?;
    drop(server);
    let seconds = large["elapsed_seconds"].as_f64().unwrap_or(f64::NAN);
    let figures = |figure| [phase_ms(&alone, figure), phase_ms(&beside, figure)];
    let ([p99, p99_beside], [p50, p50_beside]) = (figures("accept/p99_us"), figures("accept/p50_us"));
    let [envelope, envelope_beside] = figures("envelope/p99_us");
    println!(
        "large: small mail's 250 p99 alone {p99:.1} ms, beside {p99_beside:.1} ms ({:.1} times), p50 {p50:.1} and {p50_beside:.1} ms; its \
         envelope's p99 {envelope:.1} and {envelope_beside:.1} ms; large mail: {} of 200 in {seconds:.0} s",
        p99_beside / p99,
        large["accepted"],
    );
    bare_disk((LARGE_OCTETS as f64 / seconds) as u64)
}

/// A small write and its sync every 5 ms, alone and beside one that writes so many octets a second and syncs each part of
/// them as the server does.
fn bare_disk(octets_per_second: u64) -> Outcome<()> {
    let place = place()?;
    let (small, large) = (tempfile::tempfile_in(place.path())?, tempfile::tempfile_in(place.path())?);
    small.write_all_at(&[0; SMALL], 0)?;
    small.sync_all()?;
    let alone = p99_ms(syncs(&small)?);
    let is_over = AtomicBool::new(false);
    let beside = thread::scope(|scope| {
        let writer = scope.spawn(|| write_at_rate(&large, octets_per_second, &is_over));
        let beside = syncs(&small);
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("nobody panics")?;
        beside
    })?;
    let beside = p99_ms(beside);
    println!(
        "large: the bare disk: a sync of 4 KiB p99 alone {alone:.1} ms, beside as much written by one thread {beside:.1} ms ({:.1} times)",
        beside / alone
    );
    Ok(())
}

/// What each write and sync of the small file took.
fn syncs(file: &File) -> io::Result<Vec<Duration>> {
    let begun = Instant::now();
    (1..=SYNCS)
        .map(|number| {
            thread::sleep((INTERVAL * number).saturating_sub(begun.elapsed()));
            let start = Instant::now();
            file.write_all_at(&[b'd'; SMALL], 0)?;
            file.sync_data()?;
            Ok(start.elapsed())
        })
        .collect()
}

fn write_at_rate(file: &File, octets_per_second: u64, is_over: &AtomicBool) -> io::Result<()> {
    let part = vec![b'd'; SPILL_SYNC_OCTETS as usize];
    let begun = Instant::now();
    let mut written = 0;
    while !is_over.load(Ordering::Relaxed) {
        file.write_all_at(&part, written % FILE_MAX)?;
        file.sync_data()?;
        written += part.len() as u64;
        let due = Duration::from_secs_f64(written as f64 / octets_per_second as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    Ok(())
}

fn p99_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() * 99 / 100].as_secs_f64() * 1e3
}

const LARGE_OCTETS: u64 = (200 * 50) << 20;
const SMALL: usize = 4096;
const SYNCS: u32 = 1000;
const INTERVAL: Duration = Duration::from_millis(5);
/// Then the file is written over: a disk may be small.
const FILE_MAX: u64 = 4 << 30;
