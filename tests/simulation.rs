//! What the whole server promises, whatever happens, in whatever order: clients, disk, workers, clock and crashes by
//! chance, one seed a run.
//!
//! `SEED=17 cargo test --test simulation` repeats a run; `SEEDS=10000 cargo test --release --test simulation` says how
//! many there are, from `FIRST` on. `tests/sim/check-mutants` shows what it catches.

#[path = "common/faulty_disk.rs"]
mod faulty_disk;
mod sim;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use sim::Summary;

#[test]
fn every_promise_holds_whatever_happens() {
    sim::watch_panics();

    if let Some(seed) = number("SEED") {
        println!("{:?}", run(seed).unwrap_or_else(|story| panic!("{story}")));
        return;
    }
    let first = number("FIRST").unwrap_or(0);
    let (next, last) = (AtomicU64::new(first), first + number("SEEDS").unwrap_or(SEEDS));
    let failed: Mutex<Option<(u64, String)>> = Mutex::default();
    let total = Mutex::new(Summary::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last || failed.lock().unwrap().is_some() {
                return;
            }
            match run(seed) {
                Ok(summary) => total.lock().unwrap().add(summary),
                Err(story) => {
                    let mut failed = failed.lock().unwrap();
                    if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                        *failed = Some((seed, story));
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{:?}", total.lock().unwrap());
    if let Some((_, story)) = failed.into_inner().unwrap() {
        panic!("{story}");
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed), "a failure that does not come again is worth nothing");
    }
}

/// Runs a seed; a panic is a story too.
fn run(seed: u64) -> Result<Summary, String> {
    catch_unwind(AssertUnwindSafe(|| sim::run(seed)))
        .unwrap_or_else(|_| Err(format!("SEED={seed}: the server panicked, see above")))
}

fn number(name: &str) -> Option<u64> {
    Some(env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs without `SEEDS`.
const SEEDS: u64 = 1000;
