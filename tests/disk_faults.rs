//! A disk that is full or broken costs what it must and no more: one fault at each operation of one scenario, through
//! the spool and the courier, and what their users were told is compared with what lies in the mailboxes in the end.
//!
//! - Accepted: in each of its mailboxes, once. Refused: in none. Unknown, as 451 after a failed sync: one or the other.
//! - No space is never the end: what was refused is known, and service goes on by itself within a second of there being
//!   space. So it is for an error on the way to a mailbox or to a further segment.
//! - An error of the commit's is the end of the process, at once: nothing more is asked of that file, and the next start
//!   has all that was accepted.

#[path = "common/faulty_disk.rs"]
mod faulty_disk;
#[path = "common/mails.rs"]
mod mails;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use fastsmtp::QueueId;
use fastsmtp::mailbox::ROOT;
use fastsmtp::server::courier::{Courier, Delivery, DeliveryJob, Load};
use fastsmtp::spool::{CommitError, Damage, Place, RecoverError, Spool, SpoolOptions};
use faulty_disk::{Crash, EIO, ENOSPC, Fault, FaultyDisk, Names, Node};
use mails::{ARRIVED, Mail, Sent, delivered};

const SEGMENT: u64 = 16 * 1024;
const OPTIONS: SpoolOptions =
    SpoolOptions { spool_size: 5 * SEGMENT, segment_size: SEGMENT, settled_at_commit: false };

/// Enough for several segments, of which one is used again.
const MAILS: [Mail; 6] = [
    Mail { octets: 300, recipients: &["ann@x.org"] },
    Mail { octets: 5000, recipients: &["ann@x.org", "bob@x.org"] },
    Mail { octets: 1100, recipients: &["bob@x.org"] },
    Mail { octets: 9000, recipients: &["cay@y.org", "ann@x.org"] },
    Mail { octets: 700, recipients: &["bob@x.org"] },
    Mail { octets: 4000, recipients: &["ann@x.org", "cay@y.org"] },
];
const ONE_MORE: Mail = Mail { octets: 100, recipients: &["dan@z.org"] };

/// What a sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Accepted,
    Refused,
    Unknown,
}

/// All that was sent, over several starts.
#[derive(Default, Clone)]
struct Senders {
    sent: Sent,
    told: BTreeMap<QueueId, Told>,
}

/// A server without its loop: what comes back is tried again a second later.
struct Server<'a> {
    senders: &'a mut Senders,
    spool: Spool,
    courier: Courier,
    waiting: Vec<Delivery>,
    places: BTreeMap<QueueId, Place>,
    now_ms: u64,
    damage: Vec<Damage>,
}

impl<'a> Server<'a> {
    fn start(disk: &FaultyDisk, senders: &'a mut Senders) -> Result<Server<'a>, RecoverError> {
        let (spool, recovered) = Spool::recover(Arc::new(disk.clone()), OPTIONS)?;
        let courier = Courier::new(Arc::new(disk.clone()), true);
        let (waiting, places) = (Vec::new(), BTreeMap::new());
        let mut server = Server { senders, spool, courier, waiting, places, now_ms: 0, damage: Vec::new() };
        server.damage = recovered.report.damage;
        for pending in recovered.pending {
            server.is_durable(pending.id, pending.place, true);
        }
        Ok(server)
    }

    fn is_durable(&mut self, id: QueueId, place: Place, again: bool) {
        self.places.insert(id, place);
        self.waiting.push(Delivery {
            id,
            load: Load::Spool(self.spool.locate(&place)),
            again,
            only: None,
            last: false,
        });
    }

    fn tell(&mut self, ids: impl IntoIterator<Item = QueueId>, what: Told) {
        for id in ids {
            assert_eq!(self.senders.told.insert(id, what), None, "{id} is told twice");
        }
    }

    /// Sends a mail; whether it was not refused at once.
    fn send(&mut self, mail: &Mail) -> bool {
        let message = mail.message();
        match self.spool.append(message.clone(), ARRIVED) {
            Ok(id) => self.senders.sent.insert(id, message.into()).is_none(),
            Err(_) => false,
        }
    }

    /// Sends a mail, and says what came of it.
    fn offer(&mut self, mail: &Mail) -> Option<Told> {
        let id = self.spool.next_id();
        if !self.send(mail) {
            return Some(Told::Refused);
        }
        self.commit();
        self.prepare();
        self.commit();
        self.senders.told.get(&id).copied()
    }

    /// A second of the server's life.
    fn turn(&mut self) {
        self.now_ms += 1000;
        self.commit();
        self.prepare();
        self.deliver();
        self.spool.submit_settles();
        self.commit();
    }

    fn commit(&mut self) {
        let Some(batch) = self.spool.submit(self.now_ms) else { return };
        match self.spool.committed(batch.run()) {
            Ok(durable) => {
                self.tell(durable.iter().map(|durable| durable.id), Told::Accepted);
                durable.into_iter().for_each(|durable| self.is_durable(durable.id, durable.place, false));
            }
            Err(failed) => {
                let is_full = |error: &io::Error| error.raw_os_error() == Some(ENOSPC);
                let is_end = !matches!(&failed.error, CommitError::Write(error) if is_full(error));
                assert_eq!((failed.fatal, self.spool.is_failed()), (is_end, is_end), "{}", failed.error);
                self.tell(failed.ids, if is_end { Told::Unknown } else { Told::Refused });
            }
        }
    }

    fn prepare(&mut self) {
        let Some(prepare) = self.spool.prepare(self.now_ms) else { return };
        if let Err(failed) = self.spool.prepared(prepare.run(), self.now_ms) {
            self.tell(failed.ids, Told::Refused);
        }
    }

    fn deliver(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let job = DeliveryJob { deliveries: std::mem::take(&mut self.waiting), ..DeliveryJob::default() };
        let done = self.courier.run(job);
        self.waiting.extend(done.retry);
        self.waiting.extend(done.failed.into_iter().map(|(delivery, _)| delivery));
        for id in done.settled {
            let place = self.places.remove(&id).expect("it settles what was handed to it, once");
            self.spool.settle(id, place);
        }
    }

    /// The scenario, or as much of it as the fault leaves.
    fn live(&mut self) {
        for mail in &MAILS {
            self.send(mail);
            self.turn();
            if self.spool.is_failed() {
                return;
            }
        }
        self.turn();
    }

    /// Delivers all there is.
    fn rest(&mut self) {
        for _ in 0..10 {
            self.turn();
            if self.places.is_empty() && self.spool.is_idle() {
                return;
            }
        }
        panic!("{} messages are left", self.places.len());
    }
}

impl Senders {
    /// Everybody was told the truth, and there are no leftovers.
    fn check(&self, disk: &FaultyDisk, story: &str) {
        let delivered = delivered(disk, &self.sent).unwrap_or_else(|error| panic!("{story}: {error}"));
        for (id, known) in &self.sent {
            let copies = delivered.get(id).copied().unwrap_or(0);
            let all = known.mailboxes.len();
            let is_true = match self.told.get(id).unwrap_or_else(|| panic!("{story}: {id} was told nothing"))
            {
                Told::Accepted => copies == all,
                Told::Refused => copies == 0,
                Told::Unknown => copies == all || copies == 0,
            };
            assert!(is_true, "{story}: {id}, {:?}, is in {copies} of {all}", self.told[id]);
        }
        let paths = disk.all_paths();
        let leftovers: Vec<_> =
            paths.iter().filter(|path| path.to_string_lossy().contains("/tmp/")).collect();
        assert!(leftovers.is_empty(), "{story}: {leftovers:?}");
        let segments = disk.paths("spool").len() as u64;
        assert!(segments * SEGMENT <= OPTIONS.spool_size, "{story}: {segments} segments");
    }
}

fn empty_disk(write_max: Option<usize>) -> FaultyDisk {
    let disk = FaultyDisk::holding(Names::from([(ROOT.into(), Node::Directory)]), [], 7);
    match write_max {
        Some(write_max) => disk.with_short_writes(write_max),
        None => disk,
    }
}

/// Each fault at each operation; with whole writes, and with short ones.
fn at_each_operation(faults: &[Fault], judge: fn(FaultyDisk, &str)) {
    for write_max in [None, Some(1500)] {
        let calm = empty_disk(write_max);
        let mut senders = Senders::default();
        let mut server = Server::start(&calm, &mut senders).unwrap();
        server.live();
        server.rest();
        assert!(
            senders.told.values().all(|told| *told == Told::Accepted) && senders.told.len() == MAILS.len()
        );
        senders.check(&calm, "no fault");
        for operation in 0..calm.operations() {
            for fault in faults {
                let story = format!("{fault:?} at operation {operation}, writes {write_max:?}");
                judge(empty_disk(write_max).with(operation, *fault), &story);
            }
        }
    }
}

/// Lives with a fault; what is left of it is accounted for by the next start, whatever ends the process.
fn judge(disk: FaultyDisk, story: &str) {
    let mut senders = Senders::default();
    match Server::start(&disk, &mut senders) {
        Err(error) => assert!(matches!(error, RecoverError::Io { .. }), "{story}: {error}"),
        Ok(mut server) => {
            assert_eq!(server.damage, [], "{story}");
            server.live();
            if server.spool.is_failed() {
                assert!(!server.send(&ONE_MORE), "{story}: it goes on");
                let before = disk.operations();
                assert!(server.spool.submit(9999).is_none() && server.spool.prepare(9999).is_none());
                assert_eq!(disk.operations(), before);
            } else {
                after_any_crash(&disk, server.senders, story);
                disk.heal();
                server.turn();
                assert_eq!(server.offer(&ONE_MORE), Some(Told::Accepted), "{story}: a second after");
                server.rest();
                server.senders.check(&disk, story);
            }
        }
    }
    assert_eq!(disk.hopeful_syncs(), 0, "{story}: a file was synced again");
    after_any_crash(&disk, &senders, story);
    disk.restart();
    start_again(&disk, senders, story);
}

fn after_any_crash(disk: &FaultyDisk, senders: &Senders, story: &str) {
    for crash in [Crash::Lost, Crash::Kept, Crash::Any(1), Crash::Any(2)] {
        start_again(&disk.after(crash), senders.clone(), &format!("{story}, {crash:?}"));
    }
}

/// The next start accounts for all that was sent, and serves.
fn start_again(disk: &FaultyDisk, mut senders: Senders, story: &str) {
    for id in senders.sent.keys() {
        senders.told.entry(*id).or_insert(Told::Unknown); // it was not told before the crash
    }
    let mut server = Server::start(disk, &mut senders).unwrap_or_else(|error| panic!("{story}: {error}"));
    assert_eq!(server.damage, [], "{story}");
    server.rest();
    assert_eq!(server.offer(&ONE_MORE), Some(Told::Accepted), "{story}: after the next start");
    server.rest();
    senders.check(disk, &format!("{story}, after the next start"));
}

#[test]
fn without_space_at_any_operation_what_is_refused_is_known_and_service_resumes_by_itself() {
    at_each_operation(&[Fault::Error(ENOSPC), Fault::Full], judge);
}

#[test]
fn an_error_at_any_operation_is_the_end_or_is_made_good() {
    at_each_operation(&[Fault::Error(EIO)], judge);
}
