//! What 100,000 connections cost in timers and slots, where nothing of them is in the processor's caches but by luck.
//!
//! `cargo bench --bench timers`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::net::slots::{Key, Slots};
use fastsmtp::net::timers::Timers;

fn timers(criterion: &mut Criterion) {
    let (_slots, keys) = filled();
    let mut group = criterion.benchmark_group("timers, 100,000 keys");

    group.bench_function("a look with nothing due", |bencher| {
        let (mut timers, mut due) = (Timers::default(), Vec::new());
        put_all(&mut timers, &keys, 300_000);
        bencher.iter(|| timers.expired(black_box(999), &mut due));
        assert!(due.is_empty());
    });

    group.throughput(Throughput::Elements(CONNECTIONS as u64));
    group.bench_function("schedule, each key", |bencher| {
        bencher.iter_batched_ref(
            Timers::default,
            // A command's time limit from now, where connections arrived over the last ten seconds.
            |timers| {
                for (i, &key) in keys.iter().enumerate() {
                    black_box(timers.schedule(key, 300_000 + i as u64 / 10));
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("a second in which all are due", |bencher| {
        bencher.iter_batched_ref(
            || (all_at(&keys, 300_000), Vec::new()),
            |(timers, due)| timers.expired(300_000, due),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("all are due, found alive and put back", |bencher| {
        bencher.iter_batched_ref(
            || all_at(&keys, 300_000),
            |timers| {
                let mut due = Vec::new();
                timers.expired(300_000, &mut due);
                put_all(timers, &due, 600_000);
            },
            BatchSize::PerIteration,
        );
    });
}

fn slots(criterion: &mut Criterion) {
    let (mut slots, mut keys) = filled();
    // An order that no prefetcher foresees: connections become ready as they like.
    let shuffled: Vec<Key> = (0..CONNECTIONS).map(|i| keys[i * STRIDE % CONNECTIONS]).collect();
    let mut group = criterion.benchmark_group("slots, 100,000 entries");
    group.throughput(Throughput::Elements(CONNECTIONS as u64));

    group.bench_function("get, in any order", |bencher| {
        bencher.iter(|| {
            shuffled.iter().filter_map(|&key| slots.get(key)).fold(0u64, |sum, entry| sum ^ entry[0])
        });
    });
    group.bench_function("insert, from empty, with the pages that it touches", |bencher| {
        bencher.iter_with_large_drop(filled);
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("remove and insert", |bencher| {
        let mut next = 0;
        bencher.iter(|| {
            next = (next + STRIDE) % CONNECTIONS;
            let entry = slots.remove(keys[next]).expect("each key is replaced by its successor");
            keys[next] = slots.insert(entry);
        });
    });
}

/// A connection in these benchmarks: as large as a session is, about.
type Entry = [u64; 32];

fn filled() -> (Slots<Entry>, Vec<Key>) {
    let mut slots = Slots::new();
    let keys = (0..CONNECTIONS as u64).map(|i| slots.insert([i; 32])).collect();
    (slots, keys)
}

fn all_at(keys: &[Key], at_ms: u64) -> Timers {
    let mut timers = Timers::default();
    put_all(&mut timers, keys, at_ms);
    timers
}

fn put_all(timers: &mut Timers, keys: &[Key], at_ms: u64) {
    for &key in keys {
        black_box(timers.schedule(key, at_ms));
    }
}

const CONNECTIONS: usize = 100_000;
/// Prime to their number, so that steps of it reach all.
const STRIDE: usize = 61_803;

criterion_group!(benches, timers, slots);
criterion_main!(benches);
