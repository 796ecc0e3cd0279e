//! Deliveries per second into Maildirs: batches of 1, 64 and 512 messages of 1 KiB into 10 mailboxes.
//!
//! `cargo bench --bench mailbox`; `TMPDIR` says on which file system. Beside the courier stand the limits it works
//! under: the same files made and renamed without any sync, and one sync of nothing.
//!
//! Nothing is removed before the end: ext4 does not give an inode again within seconds of its deletion, and looks at
//! each such one whenever a file is made, which took 1.3 ms a file behind the deletion of 10,000, against 20 µs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::QueueId;
use fastsmtp::disk::{Disk, RealDisk};
use fastsmtp::server::courier::{Courier, Delivery, DeliveryJob, Load};
use fastsmtp::smtp::{Address, Envelope, Message};

const MAILBOXES: u64 = 10;
const DATA_SIZE: usize = 1024;
/// Files after which others of the mailboxes are used: a directory's size is not what is measured.
const FILES_MAX: u64 = 10_000;

struct Bench {
    _root: tempfile::TempDir,
    courier: Courier,
    counter: u64,
}

impl Bench {
    fn new(sync: bool) -> Bench {
        let root = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(root.path(), &["mailboxes"]).expect("a disk");
        Bench { _root: root, courier: Courier::new(Arc::new(disk), sync), counter: 0 }
    }

    fn job(&mut self, size: u64) -> DeliveryJob {
        let deliveries = (0..size).map(|_| {
            self.counter += 1;
            delivery(self.counter)
        });
        DeliveryJob { deliveries: deliveries.collect(), ..DeliveryJob::default() }
    }

    /// The time that `jobs` jobs take, each of `size` messages, and the flush behind the last.
    fn run(&mut self, jobs: u64, size: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..jobs {
            let job = self.job(size);
            let begun = Instant::now();
            let done = self.courier.run(job);
            took += begun.elapsed();
            assert!(done.failed.is_empty() && done.retry.is_empty());
            black_box(done);
        }
        let begun = Instant::now();
        self.courier.run(DeliveryJob::default());
        took + begun.elapsed()
    }
}

fn delivery(counter: u64) -> Delivery {
    let domain = format!("{}.example", counter / FILES_MAX);
    let recipient = Address::new(&format!("user{}", counter % MAILBOXES), &domain);
    let envelope = Envelope { forward_paths: vec![recipient], ..Envelope::default() };
    let message = Message { envelope, trace: vec![b'r'; 200], data: vec![b'x'; DATA_SIZE] };
    Delivery {
        id: QueueId { run: 1, counter },
        load: Load::Memory { message, arrived: 1_735_689_600 },
        again: false,
        only: None,
        last: false,
    }
}

fn deliver(c: &mut Criterion) {
    let mut benches = Vec::new();
    for (name, sync) in [("deliver", true), ("deliver without sync", false)] {
        let mut group = c.benchmark_group(name);
        for size in [1, 64, 512] {
            group.throughput(Throughput::Elements(size)).sample_size(20);
            let mut bench = Bench::new(sync);
            group.bench_function(format!("{size} messages"), |b| b.iter_custom(|jobs| bench.run(jobs, size)));
            benches.push(bench);
        }
        group.finish();
    }
}

fn sync_nothing(c: &mut Criterion) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(root.path(), &["mailboxes"]).expect("a disk");
    c.bench_function("sync of nothing", |b| b.iter(|| disk.sync_all().expect("a sync")));
}

criterion_group!(benches, deliver, sync_nothing);
criterion_main!(benches);
