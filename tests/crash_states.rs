//! No crash loses or breaks mail: not at any instant, whatever a file system that keeps to POSIX leaves of what was not
//! synced. Spool and courier live on a disk that records them, and each state that a crash may leave after each of
//! their operations (`common/posix.rs` says which) is recovered, delivered to the end, and judged:
//!
//! - a message whose commit was complete is pending with the octets that it had, or is in all its mailboxes;
//! - nothing else is but what was appended; no file in any `new/` or `cur/` is less than a whole message;
//! - nothing is taken for damage;
//! - in the end each such message is in each of its mailboxes once, any other in all of its once or in none, `tmp/` is
//!   empty, and the next start has nothing to deliver.
//!
//! Three lives are judged like this: one server's; those of a server that was killed (the cache stays) at an operation
//! and started again; those of servers that start on a state that an earlier crash left. In the latter two what one
//! start found is held to be promised, for the next one has to find it too.
//!
//! A run is a sample; `STATES=all cargo test --release --test crash_states` is the whole. The last line is the figure.

#[path = "common/faulty_disk.rs"]
mod faulty_disk;
#[path = "common/mails.rs"]
mod mails;
#[path = "common/posix.rs"]
mod posix;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use fastsmtp::QueueId;
use fastsmtp::mailbox::ROOT;
use fastsmtp::server::courier::{Courier, Delivery, DeliveryDone, DeliveryJob, Load};
use fastsmtp::smtp::Message;
use fastsmtp::spool::{Batch, Committed, Pending, Place, SpillDone, Spool, SpoolOptions};
use faulty_disk::{Fault, FaultyDisk, Moment, Names, Node};
use mails::{ARRIVED, Mail, Sent, delivered};
use posix::Left;

/// Small, so that a short life changes segments and uses one again.
const SEGMENT: u64 = 16 * 1024;
const OPTIONS: SpoolOptions =
    SpoolOptions { spool_size: 5 * SEGMENT, segment_size: SEGMENT, settled_at_commit: false };

/// What a life accepts, in this order; `live` says when. A mail that is accepted in another way is one more line here
/// and one more arm in `Server::append`.
///
/// The first three are under way together. The third is large, so that the fourth has a segment of its own, and the last
/// fits only the one that is used again.
const MAILS: [Mail; 6] = [
    Mail { octets: 300, recipients: &["ann@x.org"] },
    Mail { octets: 1100, recipients: &["ann@x.org", "bob@x.org"] },
    Mail { octets: 7500, recipients: &["bob@x.org"] },
    Mail { octets: 4000, recipients: &["ann@x.org"] },
    Mail { octets: 5000, recipients: &["bob@x.org", "ann@x.org"] },
    Mail { octets: 1400, recipients: &["ann@x.org", "bob@x.org"] },
];

/// What a run judges, of what there is.
struct Share {
    /// States that are made at one instant, about.
    states: usize,
    /// Of those, how many are judged: one of so many.
    one_of: u64,
    /// Of a server's operations, at which it is killed: every so many.
    kills: usize,
    /// Of the states of the first life that are judged, on which a server starts again: one of so many.
    restarts: u64,
}

const SAMPLE: Share = Share { states: 100, one_of: 5, kills: 7, restarts: 200 };
const ALL: Share = Share { states: 20_000, one_of: 1, kills: 1, restarts: 600 };

fn main() -> ExitCode {
    let (tell, panics) = (std::panic::take_hook(), AtomicUsize::new(0));
    std::panic::set_hook(Box::new(move |panic| {
        if panics.fetch_add(1, Ordering::Relaxed) < VIOLATIONS_TOLD {
            tell(panic);
        }
    }));
    let is_all = std::env::var("STATES").is_ok_and(|states| states == "all");
    let mut judge = Judge::new(if is_all { ALL } else { SAMPLE });

    let disk = empty_disk();
    let mut promises = Promises::default();
    disk.record();
    live(&disk, &mut promises).expect("a calm life");
    let operations = disk.operations();
    judge.life("a life", &disk.moments(), &promises);
    println!("a life of {operations} operations: {} states", judge.seen.len());

    for operation in (0..operations).step_by(judge.share.kills) {
        let disk = empty_disk().with(operation, Fault::Crash);
        let mut promises = Promises::default();
        let _ = live(&disk, &mut promises); // the last operations remove what nobody needs: it lives without them
        assert!(disk.is_crashed(), "it dies at operation {operation}");
        disk.restart();
        judge.restarted(&format!("killed at operation {operation}"), &disk, promises);
    }
    println!("and killed at any of them and started again: {} states", judge.seen.len());

    let restarts = std::mem::take(&mut judge.restarts);
    let count = restarts.len();
    for (story, left, promises) in restarts {
        judge.restarted(&story, &left.disk(), promises);
    }
    println!("and started on {count} of the first states and crashed again: {} states", judge.seen.len());

    println!("crash states: {}, violations: {}", judge.seen.len(), judge.violations);
    if judge.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A disk as `RealDisk::open` leaves it.
fn empty_disk() -> FaultyDisk {
    FaultyDisk::holding(Names::from([(ROOT.into(), Node::Directory)]), [], 7)
}

/// What the messages' senders may rely on.
#[derive(Default, Clone)]
struct Promises {
    appended: Sent,
    /// Accepted, and since how many operations.
    durable: Vec<(QueueId, u64)>,
}

impl Promises {
    /// What was durable before an operation.
    fn at(&self, operation: u64) -> BTreeSet<QueueId> {
        self.durable.iter().filter(|(_, since)| *since <= operation).map(|(id, _)| *id).collect()
    }
}

/// The machine is gone.
#[derive(Debug)]
struct Dead;

/// The life that is recorded: mail comes, is committed, delivered and settled, each while something else is under way.
fn live(disk: &FaultyDisk, promises: &mut Promises) -> Result<(), Dead> {
    let mut server = Server::start(disk, promises)?;
    server.append(&MAILS[0]);
    // The next segment is written with zeros while the first message is committed to an unwritten one.
    let zeros = server.spool.prepare(0).ok_or(Dead)?;
    let (first, disk2) = (server.submit()?, disk.clone());
    let (prepared, committed) = overlapped(disk, || zeros.run(), move || commit(&disk2, first))?;
    server.committed(committed)?;
    server.prepared(prepared)?;
    // The first message is delivered while the next two are committed, to the new segment.
    server.append(&MAILS[1]);
    server.append(&MAILS[2]);
    server.deliver_while_committing()?;
    // These are delivered, which settles the first, while the next segment is made.
    let job = server.job();
    let zeros = server.spool.prepare(0).ok_or(Dead)?;
    let mut courier = server.courier.take().ok_or(Dead)?;
    let (prepared, done) = overlapped(disk, || zeros.run(), move || (courier.run(job), courier))?;
    server.prepared(prepared)?;
    server.delivered(done)?;
    // The first settlement is committed, with one message more, to the new segment; a flush settles the two meanwhile.
    // So the log begins with these, while memory knows that they are settled.
    server.append(&MAILS[3]);
    server.deliver_while_committing()?;
    // A segment that the log has passed is used again while their settlement is committed.
    let zeros = server.spool.prepare(0).ok_or(Dead)?;
    let (settlement, disk2) = (server.submit()?, disk.clone());
    let (prepared, committed) = overlapped(disk, || zeros.run(), move || commit(&disk2, settlement))?;
    server.committed(committed)?;
    server.prepared(prepared)?;
    server.settle_all()?;
    server.append(&MAILS[4]);
    server.append_large(&MAILS[5])?;
    server.deliver_while_committing()?;
    server.settle_all()
}

/// Runs `inner` as another thread would, between the writes of `outer` and the sync behind them.
fn overlapped<A, B: Send + 'static>(
    disk: &FaultyDisk,
    outer: impl FnOnce() -> A,
    inner: impl FnOnce() -> B + Send + 'static,
) -> Result<(A, B), Dead> {
    let (sender, receiver) = channel();
    disk.meanwhile(move || sender.send(inner()).expect("we listen"));
    let outer = outer();
    Ok((outer, receiver.try_recv().map_err(|_| Dead)?))
}

/// Commits; says also after how many operations that was done.
fn commit(disk: &FaultyDisk, batch: Batch) -> (Committed, u64) {
    (batch.run(), disk.operations())
}

/// Spool and courier, without the loop between them.
struct Server<'a> {
    disk: &'a FaultyDisk,
    promises: &'a mut Promises,
    spool: Spool,
    /// None while a job is with it.
    courier: Option<Courier>,
    /// Durable and not handed to the courier.
    waiting: Vec<Delivery>,
    places: BTreeMap<QueueId, Place>,
}

impl<'a> Server<'a> {
    /// Starts on what the disk holds, whatever that is.
    fn start(disk: &'a FaultyDisk, promises: &'a mut Promises) -> Result<Server<'a>, Dead> {
        let (spool, recovered) =
            Spool::recover(Arc::new(disk.clone()), OPTIONS).map_err(|error| alive(disk, &error))?;
        Ok(Server::recovered(disk, promises, spool, recovered.pending))
    }

    fn recovered(
        disk: &'a FaultyDisk,
        promises: &'a mut Promises,
        spool: Spool,
        pending: Vec<Pending>,
    ) -> Server<'a> {
        let courier = Some(Courier::new(Arc::new(disk.clone()), true));
        let mut server =
            Server { disk, promises, spool, courier, waiting: Vec::new(), places: BTreeMap::new() };
        for Pending { id, place } in pending {
            server.accepted(id, place, disk.operations(), true);
        }
        server
    }

    fn accepted(&mut self, id: QueueId, place: Place, since: u64, again: bool) {
        self.promises.durable.push((id, since));
        self.places.insert(id, place);
        self.waiting.push(Delivery {
            id,
            load: Load::Spool(self.spool.locate(&place)),
            again,
            only: None,
            last: false,
        });
    }

    fn append(&mut self, mail: &Mail) {
        let message = mail.message();
        let id = self.spool.append(message.clone(), ARRIVED).expect("there is room");
        self.promises.appended.insert(id, message.into());
    }

    /// Appends a message whose data comes in two parts and goes to a file of its own.
    fn append_large(&mut self, mail: &Mail) -> Result<(), Dead> {
        let message = mail.message();
        let (first, last) = message.data.split_at(message.data.len() / 2);
        let spill = self.spool.spill(message.trace.len() as u64);
        let spilled = match spill.write(first.to_vec()).run() {
            SpillDone::Written(spill, _) => spill.finish(last.to_vec()).run(),
            other => other,
        };
        let spilled = match spilled {
            SpillDone::Finished(spilled) => spilled,
            SpillDone::Failed(error) => return Err(alive(self.disk, &error)),
            SpillDone::Written(..) => panic!("this was the last part"),
        };
        let without_data = Message { data: Vec::new(), ..message.clone() };
        let id = self.spool.append_spilled(without_data, ARRIVED, spilled).expect("there is room");
        self.promises.appended.insert(id, message.into());
        Ok(())
    }

    fn submit(&mut self) -> Result<Batch, Dead> {
        self.spool.submit_settles();
        self.spool.submit(0).ok_or(Dead)
    }

    fn committed(&mut self, (committed, since): (Committed, u64)) -> Result<(), Dead> {
        let durable = self.spool.committed(committed).map_err(|failed| alive(self.disk, &failed.error))?;
        for durable in durable {
            self.accepted(durable.id, durable.place, since, false);
        }
        Ok(())
    }

    fn prepared(&mut self, prepared: fastsmtp::spool::Prepared) -> Result<(), Dead> {
        self.spool.prepared(prepared, 0).map_err(|failed| alive(self.disk, &failed.error))
    }

    fn job(&mut self) -> DeliveryJob {
        DeliveryJob { deliveries: std::mem::take(&mut self.waiting), ..DeliveryJob::default() }
    }

    fn delivered(&mut self, (done, courier): (DeliveryDone, Courier)) -> Result<(), Dead> {
        if let Some((_, error)) = done.failed.first() {
            return Err(alive(self.disk, error));
        }
        if let Some(error) = &done.sync_error {
            return Err(alive(self.disk, error));
        }
        self.courier = Some(courier);
        for id in done.settled {
            let place = self.places.remove(&id).expect("it settles what was handed to it");
            self.spool.settle(id, place);
        }
        Ok(())
    }

    /// One commit, and one job of the courier's between its write and its sync.
    fn deliver_while_committing(&mut self) -> Result<(), Dead> {
        let (job, batch) = (self.job(), self.submit()?);
        let mut courier = self.courier.take().ok_or(Dead)?;
        let disk = self.disk;
        let (committed, done) =
            overlapped(disk, || commit(disk, batch), move || (courier.run(job), courier))?;
        self.delivered(done)?;
        self.committed(committed)
    }

    /// Delivers and commits until nothing is left to do, one after the other.
    fn settle_all(&mut self) -> Result<(), Dead> {
        for _ in 0..ROUNDS_MAX {
            if !self.waiting.is_empty() || !self.places.is_empty() {
                let mut courier = self.courier.take().ok_or(Dead)?;
                let done = courier.run(self.job());
                self.delivered((done, courier))?;
            }
            self.spool.submit_settles();
            let batch = self.spool.submit(0);
            let prepare = self.spool.prepare(0);
            if batch.is_none() && prepare.is_none() && self.places.is_empty() {
                return Ok(());
            }
            if let Some(batch) = batch {
                self.committed(commit(self.disk, batch))?;
            }
            if let Some(prepare) = prepare {
                self.prepared(prepare.run())?;
            }
        }
        panic!("it comes to no end");
    }
}

/// Far more than it takes to deliver what there is.
const ROUNDS_MAX: usize = 20;

/// An error, which only a crash may cause: no other fault is injected here.
fn alive(disk: &FaultyDisk, error: &dyn std::fmt::Display) -> Dead {
    assert!(disk.is_crashed(), "{error}");
    Dead
}

/// What was judged.
struct Judge {
    share: Share,
    /// Keys of the states.
    seen: HashSet<u64>,
    /// Keys of them with what was promised.
    judged: HashSet<u64>,
    violations: usize,
    /// States for servers to start on.
    restarts: Vec<(String, Left, Promises)>,
}

impl Judge {
    fn new(share: Share) -> Judge {
        Judge { share, seen: HashSet::new(), judged: HashSet::new(), violations: 0, restarts: Vec::new() }
    }

    /// Judges what a crash at each of these moments may leave.
    fn life(&mut self, story: &str, moments: &[Moment], promises: &Promises) {
        for moment in moments {
            let durable = promises.at(moment.operation);
            let story = format!("{story}, crash before operation {}", moment.operation);
            let most = self.share.states;
            posix::states(moment, most, |left| self.state(&story, left, &durable, promises));
        }
    }

    fn state(&mut self, story: &str, left: Left, durable: &BTreeSet<QueueId>, promises: &Promises) {
        if !left.key.is_multiple_of(self.share.one_of) {
            return;
        }
        self.seen.insert(left.key);
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        if !self.judged.insert(hasher.hash_one((left.key, durable))) {
            return;
        }
        let verdict = catch_unwind(AssertUnwindSafe(|| verdict(&left.disk(), durable, &promises.appended)));
        if let Err(what) = verdict.unwrap_or_else(|_| Err("it panicked".into())) {
            self.violations += 1;
            if self.violations <= VIOLATIONS_TOLD {
                println!("{story}: {what}\n{left}");
            }
        }
        if (left.key / self.share.one_of).is_multiple_of(self.share.restarts) && story.starts_with("a life") {
            let durable = durable.iter().map(|id| (*id, 0)).collect();
            let promises = Promises { appended: promises.appended.clone(), durable };
            self.restarts.push((format!("{story}, and the start behind it"), left, promises));
        }
    }

    /// Records a start on `disk` up to where all is delivered, and judges that.
    fn restarted(&mut self, story: &str, disk: &FaultyDisk, mut promises: Promises) {
        disk.record();
        let quiet = catch_unwind(AssertUnwindSafe(|| {
            Server::start(disk, &mut promises).and_then(|mut server| server.settle_all())
        }));
        if quiet.is_ok() {
            self.life(story, &disk.moments(), &promises);
        } else {
            self.violations += 1;
            println!("{story}: it panicked");
        }
    }
}

/// Violations that are described.
const VIOLATIONS_TOLD: usize = 5;

/// Starts on what a crash left, delivers all, and compares with what was promised.
fn verdict(disk: &FaultyDisk, durable: &BTreeSet<QueueId>, appended: &Sent) -> Result<(), String> {
    let before = delivered(disk, appended)?;
    let (spool, recovered) = Spool::recover(Arc::new(disk.clone()), OPTIONS).map_err(|e| e.to_string())?;
    if !recovered.report.damage.is_empty() {
        return Err(format!("taken for damage: {:?}", recovered.report.damage));
    }
    let mut pending = BTreeSet::new();
    for Pending { id, place } in &recovered.pending {
        let known = appended.get(id).ok_or(format!("{id} was never appended"))?;
        let stored = spool.locate(place).read().map_err(|error| format!("{id}: {error}"))?;
        let mut message = known.message.clone();
        if stored.spilled.is_some() {
            message.data.clear(); // it is compared where it is delivered
        }
        if (stored.id, stored.arrived, &stored.message) != (*id, ARRIVED, &message) {
            return Err(format!("{id} is another message"));
        }
        if !pending.insert(*id) {
            return Err(format!("{id} is pending twice"));
        }
    }
    let copies = |id, delivered: &BTreeMap<QueueId, usize>| delivered.get(id).copied().unwrap_or(0);
    let is_delivered = |id| copies(id, &before) == appended[id].mailboxes.len();
    if let Some(id) = durable.iter().find(|id| !pending.contains(id) && !is_delivered(id)) {
        return Err(format!("{id} was durable and is lost"));
    }
    let mut promises = Promises::default();
    let mut server = Server::recovered(disk, &mut promises, spool, recovered.pending);
    server.settle_all().map_err(|_| "the machine is gone")?;
    let after = delivered(disk, appended)?;
    for (id, known) in appended {
        let (copies, mailboxes) = (copies(id, &after), known.mailboxes.len());
        let is_wanted = durable.contains(id) || pending.contains(id);
        if copies != mailboxes && (is_wanted || copies > 0) {
            return Err(format!("{id} is in {copies} of its {mailboxes} mailboxes"));
        }
    }
    if let Some(leftover) = disk.all_paths().iter().find(|path| path.to_string_lossy().contains("/tmp/")) {
        return Err(format!("{} is left", leftover.display()));
    }
    let recovered = Spool::recover(Arc::new(disk.clone()), OPTIONS).map_err(|e| e.to_string())?.1;
    match (&recovered.pending[..], &recovered.report.damage[..]) {
        ([], []) => Ok(()),
        (pending, damage) => Err(format!("after all was delivered: {pending:?}, {damage:?}")),
    }
}
