//! What holding mail promises, on a disk that crashes and fails at every operation: a whole server without connections
//! over the faulty disk, in virtual time. Each mailbox gets each message that was answered 250 once: never lost, never
//! twice, whatever is held, released, written anew or removed when it happens.

#[path = "common/faulty_disk.rs"]
mod faulty_disk;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastsmtp::QueueId;
use fastsmtp::disk::{Disk, Open};
use fastsmtp::net::timers::Now;
use fastsmtp::server::connection::Stream;
use fastsmtp::server::courier::Courier;
use fastsmtp::server::job::{Completion, Job};
use fastsmtp::server::{Log, Options, Server};
use fastsmtp::smtp::{Address, Envelope, Message};
use fastsmtp::spool::orders::{self, Order};
use fastsmtp::spool::{Spool, SpoolOptions, held};
use faulty_disk::{Crash, EIO, ENOSPC, Fault, FaultyDisk};

const SEGMENT: u64 = 32 * 1024;
const SPOOL: SpoolOptions =
    SpoolOptions { spool_size: 6 * SEGMENT, segment_size: SEGMENT, settled_at_commit: false };

/// Number, and mailboxes; those that are never mended are in capitals until they are.
const CORPUS: [(usize, &[&str]); 4] = [(1, &["a", "B", "c"]), (2, &["B"]), (3, &["a"]), (4, &["D", "B"])];

/// The moments of a run, in seconds: three attempts, a second and two apart, their flushes, and room.
const ATTEMPTS_SECS: u64 = 12;

fn message(number: usize) -> Message {
    let to = |name: &&str| Address::new(name, &format!("{name}.example"));
    let (_, recipients) = CORPUS[number - 1];
    Message {
        envelope: Envelope { forward_paths: recipients.iter().map(to).collect(), ..Envelope::default() },
        trace: format!("Received: {number}\r\n").into(),
        data: format!("Subject: {number}\r\n\r\n{}", "x".repeat(700)).into(),
    }
}

fn mailbox(name: &str) -> String {
    format!("mailboxes/{}.example/{name}", name.to_ascii_lowercase())
}

/// A disk whose log has the corpus, and whose mailboxes `B` and `D` have a file in their way.
fn disk_with_mail() -> (FaultyDisk, Vec<QueueId>) {
    let disk = FaultyDisk::new(7);
    for name in ["mailboxes", "mailboxes/b.example", "mailboxes/d.example"] {
        disk.create_dir(Path::new(name)).unwrap();
    }
    for name in ["B", "D"] {
        disk.open(Path::new(&mailbox(name)), Open::Create).unwrap();
    }
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), SPOOL).unwrap();
    let ids = CORPUS.iter().map(|(number, _)| spool.append(message(*number), 99).unwrap()).collect();
    let batch = spool.submit(0).unwrap();
    spool.committed(batch.run()).unwrap();
    disk.sync_all().unwrap();
    (disk, ids)
}

fn options() -> Options {
    Options { spool_size: SPOOL.spool_size, ..Options::new("mx.example") }
}

/// A connection that nobody has.
struct Nobody;

impl Read for Nobody {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Write for Nobody {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Nobody {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts a server over the disk and lets it run for so many seconds, or to its end.
fn run(disk: &FaultyDisk, secs: u64) {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let started = Spool::recover(shared.clone(), SPOOL)
        .and_then(|(spool, recovered)| Ok((held::start(disk, &recovered.pending)?, spool, recovered)));
    let (found, mut spool, mut recovered) = match started {
        Ok(started) => started,
        Err(error) => {
            assert!(disk.is_armed(), "{error}");
            return;
        }
    };
    for removed in recovered.pending.extract_if(.., |pending| found.removed.contains(&pending.id)) {
        spool.settle(removed.id, removed.place);
    }
    let mut server =
        Server::<Nobody>::new(options(), Log::Spool(Box::new(spool), recovered.pending), [1; 32]);
    server.take_up_held(found.held);
    let mut courier = Courier::new(shared, true);
    let mut now = Duration::ZERO;
    while now <= Duration::from_secs(secs) && !disk.is_crashed() {
        let at = Now { monotonic: now, unix: Duration::from_secs(1_735_689_600) + now };
        let mut jobs = Vec::new();
        let turn = server.turn(at, &mut |job| jobs.push(job));
        if turn.end.is_some() {
            return;
        }
        if jobs.is_empty() {
            now += turn.sleep.unwrap_or(Duration::from_secs(secs)).max(Duration::from_millis(1));
        }
        for job in jobs {
            let completion = match job {
                Job::Commit(batch) => Completion::Committed(batch.run()),
                Job::Deliver(job) => Completion::Delivered(courier.run(job)),
                Job::Prepare(prepare) => Completion::Prepared(prepare.run()),
                Job::Spill(key, job) => Completion::Spilled(key, job.run()),
                _ => unreachable!("nobody is connected"),
            };
            server.complete(completion, at);
        }
    }
}

/// How often a mailbox has a message.
fn copies(disk: &FaultyDisk, name: &str, number: usize) -> usize {
    let message = message(number);
    let octets = [message.trace, message.data].concat();
    let paths =
        ["new", "cur"].map(|directory| disk.paths(&format!("{}/{directory}", mailbox(name)))).concat();
    paths.iter().filter(|path| disk.read(path) == octets).count()
}

/// Every mailbox that can be written has its messages once; those in capitals among `broken` have none, and what they
/// are to have is held, for them alone.
fn assert_delivered_but_for(disk: &FaultyDisk, broken: &[&str], story: &str) {
    let mut held = Vec::new();
    for (number, recipients) in CORPUS {
        for name in recipients {
            let expected = usize::from(!broken.contains(name));
            assert_eq!(copies(disk, name, number), expected, "{story}: message {number} in {name}");
        }
        let mut rest: Vec<String> =
            recipients.iter().filter(|name| broken.contains(name)).map(|n| (*n).into()).collect();
        rest.sort();
        held.extend((!rest.is_empty()).then_some((number, rest)));
    }
    let mut found: Vec<(usize, Vec<String>)> = Vec::new();
    for id in held::ids(disk).unwrap() {
        let stored = held::read(disk, id).unwrap().stored;
        let number = (1..=CORPUS.len()).find(|number| message(*number).data == stored.message.data).unwrap();
        let paths = stored.message.envelope.forward_paths;
        let mut names: Vec<String> = paths.iter().map(|path| path.local_part().to_owned()).collect();
        names.sort();
        found.push((number, names));
    }
    found.sort();
    assert_eq!(found, held, "{story}: what is held");
    let log =
        fastsmtp::spool::inspect(Arc::new(disk.clone())).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert_eq!(log.len(), 0, "{story}: the log has drained");
    assert!(
        disk.paths(held::HELD).iter().all(|path| path.extension().is_some_and(|e| e == "held")),
        "{story}"
    );
}

const CRASHES: [Crash; 5] = [Crash::Lost, Crash::Kept, Crash::Any(1), Crash::Any(2), Crash::Any(3)];

/// Runs over copies of `disk` that fail at each of a run's operations in turn, and gives each that a crash then leaves.
fn with_each_fault(disk: &FaultyDisk, faults: &[Fault], mut then: impl FnMut(FaultyDisk, &str)) {
    let clean = disk.copy();
    run(&clean, ATTEMPTS_SECS);
    for fault in faults {
        for operation in 0..clean.operations() {
            let faulty = disk.copy().with(operation, *fault);
            run(&faulty, ATTEMPTS_SECS);
            for crash in CRASHES {
                then(faulty.after(crash), &format!("{fault:?} at operation {operation}, then {crash:?}"));
            }
        }
    }
}

const FAULTS: [Fault; 4] = [Fault::Crash, Fault::Error(EIO), Fault::Error(ENOSPC), Fault::Full];

fn mend(disk: &FaultyDisk, name: &str) {
    disk.erase(Path::new(&mailbox(name)));
}

fn held_disk() -> FaultyDisk {
    let (disk, _) = disk_with_mail();
    run(&disk, ATTEMPTS_SECS);
    assert_delivered_but_for(&disk, &["B", "D"], "no fault");
    disk.after(Crash::Lost)
}

#[test]
fn wherever_it_fails_while_mail_is_held_each_mailbox_gets_it_once() {
    let (disk, _) = disk_with_mail();
    with_each_fault(&disk, &FAULTS, |disk, story| {
        run(&disk, ATTEMPTS_SECS);
        assert_delivered_but_for(&disk, &["B", "D"], story);
    });
}

#[test]
fn wherever_it_fails_while_held_mail_is_delivered_each_mailbox_gets_it_once() {
    let disk = held_disk();
    mend(&disk, "B");
    mend(&disk, "D");
    with_each_fault(&disk, &FAULTS, |disk, story| {
        run(&disk, ATTEMPTS_SECS);
        assert_delivered_but_for(&disk, &[], story);
    });
}

#[test]
fn wherever_it_fails_while_some_mailboxes_take_held_mail_the_rest_stays_held() {
    let disk = held_disk();
    mend(&disk, "D");
    with_each_fault(&disk, &FAULTS, |disk, story| {
        run(&disk, ATTEMPTS_SECS);
        assert_delivered_but_for(&disk, &["B"], story);
        mend(&disk, "B");
        run(&disk, ATTEMPTS_SECS);
        assert_delivered_but_for(&disk, &[], story);
    });
}

#[test]
fn what_was_held_when_it_crashed_is_delivered_although_its_mailbox_is_mended_by_then() {
    let (disk, _) = disk_with_mail();
    with_each_fault(&disk, &[Fault::Crash], |disk, story| {
        mend(&disk, "B");
        mend(&disk, "D");
        run(&disk, ATTEMPTS_SECS);
        assert_delivered_but_for(&disk, &[], story);
    });
}

#[test]
fn what_was_ordered_removed_is_never_delivered_wherever_the_server_crashes() {
    let (disk, ids) = disk_with_mail();
    run(&disk, ATTEMPTS_SECS);
    let disk = disk.after(Crash::Lost);
    let stays_held = |disk: &FaultyDisk| held::ids(disk).unwrap().contains(&ids[1]);
    assert!(stays_held(&disk));
    mend(&disk, "B");
    mend(&disk, "D");
    orders::give(&disk, ids[1], Order::Remove).unwrap(); // and the machine is gone before the file is
    with_each_fault(&disk, &[Fault::Crash, Fault::Error(EIO)], |disk, story| {
        run(&disk, ATTEMPTS_SECS);
        assert_eq!(copies(&disk, "B", 2), 0, "{story}");
        assert!(!stays_held(&disk), "{story}");
        assert_eq!(
            (copies(&disk, "B", 1), copies(&disk, "B", 4), copies(&disk, "D", 4)),
            (1, 1, 1),
            "{story}"
        );
    });
}
