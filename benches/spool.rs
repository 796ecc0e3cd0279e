//! What durability costs: the loop's part, the committer's, and recovery, each beside the disk's own limit.
//!
//! `cargo bench --bench spool`; the directory is `$TMPDIR`'s, which should be the disk in question.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::disk::{Disk, File, Open, RealDisk, write_all_at};
use fastsmtp::limits::SEGMENT_SIZE;
use fastsmtp::smtp::{Address, Envelope, Message};
use fastsmtp::spool::{Batch, Spool, SpoolOptions};

const OPTIONS: SpoolOptions =
    SpoolOptions { spool_size: 16 * SEGMENT_SIZE, segment_size: SEGMENT_SIZE, settled_at_commit: true };

fn message() -> Message {
    let address = |local_part| Address::new(local_part, "example.org");
    let envelope = Envelope {
        reverse_path: Some(address("from")),
        forward_paths: vec![address("to")],
        ..Envelope::default()
    };
    Message { envelope, trace: vec![b't'; 120], data: vec![b'd'; 1024] }
}

fn disk() -> (tempfile::TempDir, Arc<dyn Disk>) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(root.path(), &[]).expect("a disk below it");
    (root, Arc::new(disk))
}

/// A spool whose first segments are ready, so that commits are what they are under way.
fn spool(disk: &Arc<dyn Disk>) -> Spool {
    let (mut spool, _) = Spool::recover(Arc::clone(disk), OPTIONS).expect("an empty log");
    prepare(&mut spool);
    spool
}

fn prepare(spool: &mut Spool) {
    if let Some(prepare) = spool.prepare(0) {
        spool.prepared(prepare.run(), 0).expect("space for a segment");
    }
}

fn batch_of(spool: &mut Spool, messages: usize) -> Batch {
    for _ in 0..messages {
        spool.append(message(), 0).expect("room in the log");
    }
    prepare(spool);
    spool.submit(0).expect("room in a segment")
}

fn append(c: &mut Criterion) {
    let (_root, disk) = disk();
    let mut group = c.benchmark_group("loop");
    group.throughput(Throughput::Elements(511));
    group.bench_function("append and submit 511", |b| {
        let mut spool = spool(&disk);
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let messages: Vec<Message> = (0..511).map(|_| message()).collect();
                let start = Instant::now();
                for message in messages {
                    spool.append(message, 0).expect("room in the log");
                }
                let batch = spool.submit(0).expect("room in a segment");
                spent += start.elapsed();
                let committed = batch.run();
                let start = Instant::now();
                spool.committed(committed).expect("a sound disk");
                spent += start.elapsed();
                prepare(&mut spool);
            }
            spent
        });
    });
    group.finish();
}

fn commit(c: &mut Criterion) {
    let (_root, disk) = disk();
    let mut group = c.benchmark_group("commit");
    for messages in [1, 8, 64, 511] {
        let mut spool = spool(&disk);
        let octets = {
            let batch = batch_of(&mut spool, messages);
            let octets = batch.octets();
            spool.committed(batch.run()).expect("a sound disk");
            octets
        };
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(format!("{messages} messages"), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let batch = batch_of(&mut spool, messages);
                    let start = Instant::now();
                    let committed = batch.run();
                    spent += start.elapsed();
                    spool.committed(committed).expect("a sound disk");
                }
                spent
            });
        });
        let file = prewritten(&*disk, &format!("bare-{messages}"));
        let octets_of = vec![b'd'; octets as usize];
        let mut offset = 0;
        group.bench_function(format!("{messages} messages: bare write and fdatasync"), |b| {
            b.iter_batched(
                || {
                    offset = if offset + 2 * octets > SEGMENT_SIZE { 0 } else { offset + octets };
                    offset
                },
                |offset| {
                    write_all_at(&*file, &mut [IoSlice::new(&octets_of)], offset).expect("a sound disk");
                    file.sync_data().expect("a sound disk");
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn prewritten(disk: &dyn Disk, name: &str) -> Box<dyn File> {
    let file = disk.open(Path::new(name), Open::Create).expect("a new file");
    let zeros = vec![0; SEGMENT_SIZE as usize];
    write_all_at(&*file, &mut [IoSlice::new(&zeros)], 0).expect("space for it");
    file.sync_data().expect("a sound disk");
    file
}

fn recovery(c: &mut Criterion) {
    let (_root, disk) = disk();
    let options = SpoolOptions { settled_at_commit: false, ..OPTIONS };
    let (mut spool, _) = Spool::recover(Arc::clone(&disk), options).expect("an empty log");
    for _ in 0..700 {
        let batch = batch_of(&mut spool, 511);
        spool.committed(batch.run()).expect("a sound disk");
    }
    drop(spool);
    let octets = Spool::recover(Arc::clone(&disk), options).expect("a sound log").1.report.octets;
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(octets));
    group.bench_function("of a log of 1 KiB messages", |b| {
        b.iter(|| Spool::recover(Arc::clone(&disk), options).expect("a sound log"));
    });
    group.bench_function("bare: read the same files, uncached", |b| {
        let mut buffer = vec![0; 4 << 20];
        b.iter(|| {
            for name in disk.list(Path::new("spool")).expect("the directory") {
                let path = Path::new("spool").join(name);
                let Ok(file) = disk.open(&path, Open::Read) else { continue };
                file.drop_cache().expect("advice is free");
                let mut offset = 0;
                while let Ok(read @ 1..) = file.read_at(&mut buffer, offset) {
                    offset += read as u64;
                }
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = append, commit, recovery
}
criterion_main!(benches);
