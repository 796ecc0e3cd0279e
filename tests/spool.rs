//! What the spool promises, on a disk that crashes, lies and fills up at every operation.

#[path = "common/faulty_disk.rs"]
mod faulty_disk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use fastsmtp::QueueId;
use fastsmtp::disk::{Disk, Open, read_full_at};
use fastsmtp::smtp::{Address, Body, Envelope, Message};
use fastsmtp::spool::{
    Damage, Durable, Full, Pending, Place, ReadError, Reason, RecoverError, Recovered, SpillDone, Spilled,
    Spool, SpoolOptions, Stored,
};
use faulty_disk::{Crash, EIO, ENOSPC, Fault, FaultyDisk, next_random};

/// Small, so that a short scenario changes segments often.
const SEGMENT: u64 = 32 * 1024;
const OPTIONS: SpoolOptions =
    SpoolOptions { spool_size: 6 * SEGMENT, segment_size: SEGMENT, settled_at_commit: false };

fn message(seed: u64, size: usize) -> Message {
    let mut random = seed;
    let mut data = Vec::with_capacity(size + 8);
    while data.len() < size {
        data.extend(next_random(&mut random).to_le_bytes());
    }
    data.truncate(size);
    let to = |n| Address::new(&format!("user{n}"), "example.org");
    let envelope = Envelope {
        reverse_path: (!seed.is_multiple_of(3)).then(|| Address::new("from", "example.com")),
        forward_paths: (0..1 + seed % 3).map(to).collect(),
        body: Body::EightBitMime,
        smtputf8: seed.is_multiple_of(2),
    };
    Message { envelope, trace: format!("Received: {seed}\r\n").into_bytes(), data }
}

/// A message as it was appended, with the data from its file if it has one.
fn whole(stored: Result<Stored, ReadError>, disk: &FaultyDisk) -> Result<Stored, ReadError> {
    let mut stored = stored?;
    if let Some(spilled) = stored.spilled.take() {
        let file = disk.open(&spilled.path(), Open::Read).map_err(ReadError::Io)?;
        let mut octets = vec![0; stored.message.trace.len() + spilled.octets() as usize];
        let read = read_full_at(&*file, &mut octets, 0).map_err(ReadError::Io)?;
        assert_eq!(read, octets.len(), "a file is whole before its record is durable");
        stored.message.data = octets.split_off(stored.message.trace.len());
    }
    Ok(stored)
}

/// What was promised about the messages of all runs.
#[derive(Default)]
struct Oracle {
    appended: BTreeMap<QueueId, Message>,
    /// Answered with 250.
    durable: BTreeSet<QueueId>,
    /// Settled in memory: the settlement may be in the log or not.
    settling: BTreeSet<QueueId>,
    /// Settled in the log.
    settled: BTreeSet<QueueId>,
}

impl Oracle {
    fn check(&self, spool: &Spool, disk: &FaultyDisk, recovered: &Recovered, story: &str) {
        let pending: BTreeSet<QueueId> = recovered.pending.iter().map(|pending| pending.id).collect();
        assert_eq!(pending.len(), recovered.pending.len(), "{story}: a message twice");
        for id in &self.durable {
            let open = !self.settling.contains(id) && !self.settled.contains(id);
            assert!(!open || pending.contains(id), "{story}: {id} was durable and is lost");
        }
        for Pending { id, place } in &recovered.pending {
            assert!(!self.settled.contains(id), "{story}: {id} was settled and came back");
            let message = self.appended.get(id).unwrap_or_else(|| panic!("{story}: {id} was never appended"));
            match whole(spool.locate(place).read(), disk) {
                Ok(stored) => assert_eq!((stored.id, &stored.message), (*id, message), "{story}"),
                Err(ReadError::Io(_)) => {} // the fault struck here
                Err(error) => panic!("{story}: {id}: {error}"),
            }
        }
        assert_eq!(recovered.report.damage, [], "{story}");
    }
}

/// A server in small: it appends, commits, settles, prepares and restarts, as the seed says.
struct Driver {
    disk: FaultyDisk,
    options: SpoolOptions,
    spool: Option<Spool>,
    oracle: Oracle,
    open: Vec<(QueueId, Place)>,
    random: u64,
    now_ms: u64,
    refused: usize,
}

impl Driver {
    fn new(disk: FaultyDisk, seed: u64) -> Driver {
        let (spool, oracle, open, now_ms, refused) = (None, Oracle::default(), Vec::new(), 0, 0);
        Driver { disk, options: OPTIONS, spool, oracle, open, random: seed, now_ms, refused }
    }

    fn start(&mut self, story: &str) -> bool {
        self.spool = None;
        match Spool::recover(Arc::new(self.disk.clone()), self.options) {
            Ok((spool, recovered)) => {
                if !self.disk.is_crashed() {
                    self.oracle.check(&spool, &self.disk, &recovered, story);
                }
                // What recovery found is as good as answered; what it did not find does not come back.
                self.oracle.settling.clear();
                self.open = recovered.pending.iter().map(|pending| (pending.id, pending.place)).collect();
                for id in self.oracle.appended.keys() {
                    if self.open.iter().any(|(open, _)| open == id) {
                        self.oracle.durable.insert(*id);
                    } else {
                        self.oracle.settled.insert(*id);
                    }
                }
                self.spool = Some(spool);
                true
            }
            Err(_) => false,
        }
    }

    fn pick(&mut self, below: u64) -> u64 {
        next_random(&mut self.random) % below
    }

    /// Runs the scenario; returns early when the spool or the machine is at its end.
    fn run(&mut self, steps: usize) {
        if !self.start("first start") {
            return;
        }
        for step in 0..steps {
            self.now_ms += 300;
            match self.pick(16) {
                0..5 => self.append(),
                5..9 => self.settle(),
                9..11 => self.prepare(),
                15 if step % 4 == 0 => {
                    if !self.start(&format!("restart at step {step}")) {
                        return;
                    }
                }
                14 => self.commit_while(|driver| {
                    driver.settle();
                    driver.append();
                    driver.prepare();
                }),
                _ => self.commit(),
            }
            if self.disk.is_crashed() || self.spool().is_failed() {
                return;
            }
        }
    }

    fn spool(&mut self) -> &mut Spool {
        self.spool.as_mut().expect("the driver has started")
    }

    fn append(&mut self) {
        for _ in 0..1 + self.pick(4) {
            let size = match self.pick(12) {
                0 => 0,
                1 => 9000,
                2 => 20_000,
                3 => (SEGMENT + 5000) as usize * usize::from(self.pick(4) == 0),
                _ => self.pick(3000) as usize,
            };
            let seed = self.pick(u64::MAX);
            let message = message(seed, size);
            let spilled = if self.pick(4) == 0 && size > 0 { Some(self.spill(&message)) } else { None };
            let next = self.spool().next_id();
            let appended = match spilled {
                None => self.spool().append(message.clone(), seed),
                Some(None) => continue, // the fault struck here
                Some(Some(spilled)) => {
                    let without_data = Message { data: Vec::new(), ..message.clone() };
                    self.spool().append_spilled(without_data, seed, spilled)
                }
            };
            match appended {
                Ok(id) => {
                    assert_eq!(id, next);
                    assert!(self.oracle.appended.insert(id, message).is_none(), "an id was given twice");
                }
                Err(Full) => self.refused += 1,
            }
        }
    }

    /// Puts a message's data into a file of its own, in parts; sometimes it is given up on the way.
    fn spill(&mut self, message: &Message) -> Option<Spilled> {
        let mut spill = self.spool().spill(message.trace.len() as u64);
        for part in message.data.chunks(3000) {
            match spill.write(part.to_vec()).run() {
                SpillDone::Written(written, _) => spill = written,
                SpillDone::Finished(_) => panic!("this was not the last part"),
                SpillDone::Failed(_) => return None,
            }
        }
        if self.pick(5) == 0 {
            self.spool().give_up(spill);
            return None;
        }
        match spill.finish(Vec::new()).run() {
            SpillDone::Finished(spilled) => Some(spilled),
            SpillDone::Written(..) => panic!("this was the last part"),
            SpillDone::Failed(_) => None,
        }
    }

    fn settle(&mut self) {
        for _ in 0..1 + self.pick(6) {
            if self.open.is_empty() {
                return;
            }
            // Mostly the oldest, as a courier does.
            let index = if self.pick(4) == 0 { self.pick(self.open.len() as u64) as usize } else { 0 };
            let (id, place) = self.open.remove(index);
            self.spool().settle(id, place);
            self.oracle.settling.insert(id);
        }
    }

    fn prepare(&mut self) {
        let now_ms = self.now_ms;
        if let Some(prepare) = self.spool().prepare(now_ms) {
            let prepared = prepare.run();
            let _ = self.spool().prepared(prepared, now_ms);
        }
    }

    fn commit(&mut self) {
        self.commit_while(|_| {});
    }

    /// Commits a batch, and does something while it is under way, which it knows nothing of.
    fn commit_while(&mut self, meanwhile: impl FnOnce(&mut Driver)) {
        let now_ms = self.now_ms;
        let Some(batch) = self.spool().submit(now_ms) else { return };
        assert!(self.spool().submit(now_ms).is_none(), "one batch at a time");
        let riding: Vec<QueueId> = self.oracle.settling.iter().copied().collect();
        meanwhile(self);
        let committed = batch.run();
        let crashed = self.disk.is_crashed();
        match self.spool().committed(committed) {
            Ok(durable) => {
                assert!(!crashed, "durable on a machine that is gone");
                let watermark = self.spool().durable();
                for Durable { id, place, .. } in durable {
                    assert!(id.counter <= watermark);
                    assert!(self.oracle.durable.insert(id));
                    self.open.push((id, place));
                    let stored = self.spool().locate(&place).read();
                    if let Ok(stored) = whole(stored, &self.disk) {
                        assert_eq!(stored.message, self.oracle.appended[&id]);
                    }
                }
                for id in riding {
                    self.oracle.settling.remove(&id);
                    self.oracle.settled.insert(id);
                }
            }
            Err(failed) => assert_eq!(failed.fatal, self.spool().is_failed()),
        }
    }
}

fn modes(disk: &FaultyDisk) -> Vec<Crash> {
    let torn = (0..=disk.last_write_sectors().min(20)).map(Crash::Torn);
    [Crash::Lost, Crash::Kept].into_iter().chain(torn).chain((1..5).map(Crash::Any)).collect()
}

const STEPS: usize = 60;

#[test]
fn whatever_a_crash_leaves_what_was_durable_is_recovered() {
    for seed in 1..4 {
        let calm = FaultyDisk::new(seed);
        Driver::new(calm.clone(), seed).run(STEPS);
        for operation in 0..calm.operations() {
            let disk = FaultyDisk::new(seed).with(operation, Fault::Crash);
            let mut driver = Driver::new(disk.clone(), seed);
            driver.run(STEPS);
            for mode in modes(&disk) {
                let story = format!("seed {seed}, crash at operation {operation}, {mode:?}");
                let after = disk.after(mode);
                let (spool, recovered) = Spool::recover(Arc::new(after.clone()), OPTIONS).expect(&story);
                driver.oracle.check(&spool, &after, &recovered, &story);
                // The next run leaves the log in order too: with one more batch, and another crash.
                let more = one_more(spool);
                let (_, again) = Spool::recover(Arc::new(after.after(Crash::Lost)), OPTIONS).expect(&story);
                assert_eq!(again.report.damage, [], "{story}: the second recovery");
                let ids = |recovered: &Recovered| recovered.pending.iter().map(|p| p.id).collect::<Vec<_>>();
                assert_eq!(ids(&again), [ids(&recovered), more].concat(), "{story}: the second recovery");
            }
        }
    }
}

/// Commits one message more, if there is room for it.
fn one_more(mut spool: Spool) -> Vec<QueueId> {
    if spool.append(message(1, 100), 0).is_err() {
        return Vec::new();
    }
    let batch = spool.submit(0).expect("a fresh segment has room");
    spool.committed(batch.run()).unwrap().iter().map(|durable| durable.id).collect()
}

#[test]
fn an_error_at_any_operation_loses_nothing_that_was_durable() {
    for seed in 11..13 {
        let calm = FaultyDisk::new(seed);
        Driver::new(calm.clone(), seed).run(STEPS);
        for operation in 0..calm.operations() {
            for fault in [Fault::Error(EIO), Fault::Error(ENOSPC), Fault::Full] {
                let disk = FaultyDisk::new(seed).with(operation, fault);
                let mut driver = Driver::new(disk.clone(), seed);
                driver.run(STEPS);
                disk.heal();
                for mode in [Crash::Lost, Crash::Kept, Crash::Any(7)] {
                    let story = format!("seed {seed}, {fault:?} at operation {operation}, {mode:?}");
                    let after = disk.after(mode);
                    let (spool, recovered) = Spool::recover(Arc::new(after.clone()), OPTIONS).expect(&story);
                    driver.oracle.check(&spool, &after, &recovered, &story);
                }
            }
        }
    }
}

#[test]
fn a_long_life_with_short_writes_and_restarts_keeps_every_promise() {
    for seed in 21..29 {
        let disk = FaultyDisk::new(seed).with_short_writes(1000 + seed as usize);
        let mut driver = Driver::new(disk.clone(), seed);
        driver.run(1000);
        assert!(
            driver.oracle.settled.len() > 100,
            "seed {seed}: a scenario in which nothing happens proves nothing"
        );
        assert!(driver.start(&format!("seed {seed}: the end")));
        let files = disk.paths("spool").len() as u64;
        assert!(files * SEGMENT <= OPTIONS.spool_size + 4 * SEGMENT, "seed {seed}: {files} files");
    }
}

#[test]
fn a_recovery_killed_at_any_operation_and_run_again_finds_the_same() {
    for seed in 51..54 {
        let disk = FaultyDisk::new(seed);
        let mut driver = Driver::new(disk.clone(), seed);
        driver.run(STEPS);
        damage_something(&disk);
        let start = disk.after(Crash::Any(seed));
        let whole = start.copy();
        let expected = contents(&whole);
        for operation in 0..whole.operations() {
            let killed = start.copy().with(operation, Fault::Crash);
            let _ = Spool::recover(Arc::new(killed.clone()), OPTIONS);
            for mode in [Crash::Lost, Crash::Kept, Crash::Torn(1), Crash::Any(1), Crash::Any(2)] {
                let found = contents(&killed.after(mode));
                assert_eq!(found, expected, "seed {seed}, killed at operation {operation}, {mode:?}");
            }
        }
    }
}

fn damage_something(disk: &FaultyDisk) {
    let mut paths = disk.paths("spool");
    paths.retain(|path| !path.to_string_lossy().contains("free"));
    disk.tamper(&paths[0], |octets| octets[4096 + 50] ^= 1);
}

type Contents = (Vec<(QueueId, Message)>, Vec<(u64, u64, u64, Reason)>);

fn contents(disk: &FaultyDisk) -> Contents {
    let (spool, recovered) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let read = |pending: &Pending| (pending.id, spool.locate(&pending.place).read().unwrap().message);
    let damage = recovered.report.damage.iter();
    let damage = damage.map(|d| (d.segment, d.offset, d.octets, d.reason)).collect();
    (recovered.pending.iter().map(read).collect(), damage)
}

/// A log with some batches of one message each, and what is in them.
fn log_of(sizes: &[usize]) -> (FaultyDisk, Vec<(QueueId, Message)>) {
    let disk = FaultyDisk::new(99);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let mut messages = Vec::new();
    for (seed, size) in sizes.iter().enumerate() {
        let message = message(seed as u64, *size);
        messages.push((spool.append(message.clone(), 5).unwrap(), message));
        let batch = spool.submit(0).unwrap();
        spool.committed(batch.run()).unwrap();
    }
    (disk, messages)
}

fn segment_of(disk: &FaultyDisk, index: usize) -> PathBuf {
    disk.paths("spool").into_iter().filter(|path| path.to_string_lossy().contains("seg")).nth(index).unwrap()
}

#[test]
fn a_flipped_bit_in_the_middle_is_quarantined_and_what_follows_is_recovered() {
    let (disk, messages) = log_of(&[300, 300, 300]);
    let path = segment_of(&disk, 0);
    let length = u64::from_le_bytes(disk.read(&path)[4096 + 48..][..8].try_into().unwrap()) as usize;
    for bit in bits(length) {
        let flipped = disk.copy();
        flipped.tamper(&path, |octets| flip(&mut octets[4096..], bit));
        let (found, damage) = contents(&flipped);
        assert_eq!(found, [messages[0].clone(), messages[2].clone()], "bit {bit}");
        assert_eq!(damage, [(1, 4096, 4096, Reason::Torn)], "bit {bit}");
        let copy = flipped.read(&flipped.paths("spool/quarantine")[0]);
        assert_eq!(copy, flipped.read(&path)[4096..8192], "bit {bit}");
    }
}

/// Octets of a batch's header, and of a message's record before its envelope.
const HEADER: usize = 96;
const RECORD: usize = 56;

/// Of a batch with one message: each bit of both headers, and one of each octet behind.
fn bits(length: usize) -> impl Iterator<Item = usize> {
    (0..8 * (HEADER + RECORD)).chain((HEADER + RECORD..length).map(|octet| 8 * octet + octet % 8))
}

fn flip(octets: &mut [u8], bit: usize) {
    octets[bit / 8] ^= 1 << (bit % 8);
}

/// Makes a batch's checksum right, unless its length is impossible.
fn seal(batch: &mut [u8]) {
    let length = u64::from_le_bytes(batch[48..56].try_into().unwrap()) as usize;
    if (HEADER..=batch.len()).contains(&length) {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&batch[..92]), &batch[96..length]);
        batch[92..96].copy_from_slice(&crc.to_le_bytes());
    }
}

#[test]
fn a_flipped_bit_in_the_last_batch_is_the_end_of_the_log() {
    let (disk, messages) = log_of(&[300, 300]);
    let path = segment_of(&disk, 0);
    for bit in bits(300) {
        let flipped = disk.copy();
        flipped.tamper(&path, |octets| flip(&mut octets[4096..], bit));
        let (found, damage) = contents(&flipped);
        assert_eq!((found, damage), (vec![messages[0].clone()], vec![]), "bit {bit}");
    }
}

#[test]
fn a_log_cut_off_within_its_last_batch_ends_before_it() {
    let (disk, messages) = log_of(&[300, 300]);
    let path = segment_of(&disk, 0);
    for size in 4096..8192 {
        let cut = disk.copy();
        cut.tamper(&path, |octets| octets.truncate(size));
        assert_eq!(contents(&cut), (vec![messages[0].clone()], vec![]), "{size} octets");
    }
}

#[test]
fn a_flipped_bit_under_a_right_checksum_does_no_harm_and_delivers_nothing_else() {
    let (disk, messages) = log_of(&[300, 300, 300]);
    let path = segment_of(&disk, 0);
    let (first, second, third) = (&messages[0], &messages[1], &messages[2]);
    for bit in bits(500) {
        let flipped = disk.copy();
        flipped.tamper(&path, |octets| {
            flip(&mut octets[4096..], bit);
            seal(&mut octets[4096..]);
        });
        let recovery = Spool::recover(Arc::new(flipped), OPTIONS);
        if bit < 8 * HEADER {
            continue; // whatever it says now: it was read without a panic
        }
        let (spool, recovered) = recovery.unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        let read = |pending: &Pending| {
            spool.locate(&pending.place).read().map(|stored| (stored.id, stored.message)).ok()
        };
        let found: Vec<_> = recovered.pending.iter().filter_map(read).collect();
        let is_envelope_kept = found.len() == 3;
        assert!(!is_envelope_kept, "bit {bit}: the record has a checksum of its own");
        assert!(found == [first.clone(), third.clone()], "bit {bit}: {second:?} is damaged");
    }
}

#[test]
fn a_broken_end_that_a_later_segment_names_is_damage() {
    let (disk, messages) = log_of(&[300, 300]);
    let (spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let more = one_more(spool);
    let path = segment_of(&disk, 0);
    disk.tamper(&path, |octets| octets[4096..8192].fill(0));
    let (found, damage) = contents(&disk);
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [vec![messages[0].0], more].concat());
    assert_eq!(damage, [(1, 4096, SEGMENT - 4096, Reason::Blank)]);
}

#[test]
fn a_segment_that_is_gone_is_reported() {
    let (disk, _) = log_of(&[300]);
    let (spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    one_more(spool);
    let (spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let last = one_more(spool);
    let middle = segment_of(&disk, 1);
    disk.erase(&middle);
    let (_, recovered) = Spool::recover(Arc::new(disk), OPTIONS).unwrap();
    assert_eq!(recovered.pending.len(), 2);
    assert_eq!(recovered.pending[1].id, last[0]);
    let missing = Damage { segment: 2, offset: 0, octets: 0, reason: Reason::Missing, copy: None };
    assert_eq!(recovered.report.damage, [missing]);
}

#[test]
fn mail_data_that_is_a_copy_of_the_log_is_nothing() {
    let disk = FaultyDisk::new(99);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let mut commit = |message: Message| {
        let id = spool.append(message, 0).unwrap();
        let batch = spool.submit(0).unwrap();
        spool.committed(batch.run()).unwrap();
        id
    };
    let first = commit(message(1, 1000));
    let path = segment_of(&disk, 0);
    let log = disk.read(&path)[..4096].to_vec();
    // The worst case: the nonce is right, and the copy stands where a batch might. Before the data there are a
    // batch's header and a message's head.
    let filler = vec![b'x'; 4096 - 96 - 56];
    let second = commit(Message { data: [filler, log.clone()].concat(), ..Message::default() });
    let third = commit(message(3, 1000));
    assert_eq!(disk.read(&path)[8192..12288], log, "the copy is on the grid");
    let ids = || contents(&disk).0.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(ids(), [first, second, third]);
    // Also when the batch around it is broken, and the place is searched.
    disk.tamper(&path, |octets| octets[4096 + 3] ^= 1);
    assert_eq!(ids(), [first, third]);
}

#[test]
fn mail_data_that_is_a_sound_batch_in_its_place_is_nothing_even_with_the_nonce_guessed() {
    for is_nonce_guessed in [true, false] {
        let disk = FaultyDisk::new(99);
        let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
        let mut commit = |message: Message| {
            let id = spool.append(message, 0).unwrap();
            let batch = spool.submit(0).unwrap();
            spool.committed(batch.run()).unwrap();
            id
        };
        let first = commit(message(1, 1000));
        let path = segment_of(&disk, 0);
        let mut forged = disk.read(&path)[..4096].to_vec();
        let link = [&forged[32..48], &forged[92..96]].concat();
        forged[16] ^= u8::from(!is_nonce_guessed);
        forged[24] += 2; // the sequence number
        forged[40..48].copy_from_slice(&8192u64.to_le_bytes());
        forged[56..76].copy_from_slice(&link);
        forged[HEADER + 16] = 77; // its message's counter
        seal(&mut forged);
        let filler = vec![b'x'; 4096 - HEADER - RECORD];
        let data = [filler, forged.clone(), vec![b'y'; 9000]].concat();
        let second = commit(Message { data, ..Message::default() });
        let third = commit(message(3, 1000));
        assert_eq!(disk.read(&path)[8192..12288], forged, "it is on the grid");
        let ids = || contents(&disk).0.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(), [first, second, third]);
        if !is_nonce_guessed {
            // Where the batch around it is broken the place is searched: only the nonce protects, which nobody knows.
            disk.tamper(&path, |octets| octets[4096 + HEADER] ^= 1);
            assert_eq!(ids(), [first, third]);
        }
    }
}

#[test]
fn what_an_earlier_use_left_in_a_recycled_segment_is_nothing() {
    let disk = FaultyDisk::new(5);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    for round in 0..60 {
        let id = spool.append(message(round, 3000), 0).unwrap();
        if let Some(prepare) = spool.prepare(round) {
            spool.prepared(prepare.run(), round).unwrap();
        }
        let batch = spool.submit(round * 1000).unwrap();
        let durable = spool.committed(batch.run()).unwrap();
        assert_eq!(durable[0].id, id);
        let recovered = Spool::recover(Arc::new(disk.copy()), OPTIONS).unwrap().1;
        assert_eq!(recovered.pending, [Pending { id, place: durable[0].place }], "round {round}");
        assert_eq!(recovered.report.damage, [], "round {round}");
        spool.settle(id, durable[0].place);
    }
    assert!(disk.paths("spool").len() <= 5, "{:?}", disk.paths("spool"));
}

#[test]
fn a_segment_is_used_again_only_behind_a_durable_head() {
    let disk = FaultyDisk::new(5);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let first = segment_of(&disk, 0);
    spool.append(message(1, 100), 0).unwrap();
    let batch = spool.submit(0).unwrap();
    let settled = spool.committed(batch.run()).unwrap()[0];
    let prepare = spool.prepare(0).unwrap();
    spool.prepared(prepare.run(), 0).unwrap();
    // The next batch goes to another segment, and says that the log begins in the first.
    let id = spool.append(message(2, 100), 0).unwrap();
    let batch = spool.submit(0).unwrap();
    spool.settle(settled.id, settled.place);
    spool.committed(batch.run()).unwrap();
    let prepare = spool.prepare(0).unwrap();
    spool.prepared(prepare.run(), 0).unwrap();
    assert!(disk.paths("spool").contains(&first), "only memory knows that it is settled");
    spool.submit_settles();
    let batch = spool.submit(0).unwrap();
    spool.committed(batch.run()).unwrap();
    spool.append(message(3, 100), 0).unwrap();
    let batch = spool.submit(0).unwrap();
    spool.committed(batch.run()).unwrap();
    drop(spool);
    let (found, damage) = contents(&disk);
    assert_eq!((found.len(), found[0].0, damage), (2, id, vec![]));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, _) = log_of(&[300]);
    let path = segment_of(&disk, 0);
    disk.tamper(&path, |octets| {
        octets[8] = 7;
        let length = u64::from_le_bytes(octets[48..56].try_into().unwrap()) as usize;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&octets[..92]), &octets[96..length]);
        octets[92..96].copy_from_slice(&crc.to_le_bytes());
    });
    let error = Spool::recover(Arc::new(disk), OPTIONS).err().unwrap();
    assert!(matches!(error, RecoverError::Newer { found: 7, known: 2, .. }));
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("version 7"), "{text}");
}

#[test]
fn two_files_of_one_segment_are_refused_by_name() {
    let (disk, _) = log_of(&[300]);
    use fastsmtp::disk::{Disk, Open};
    let twin = "spool/0000000000000001-0000000000000000.seg";
    disk.open(twin.as_ref(), Open::Create).map(drop).unwrap();
    let error = Spool::recover(Arc::new(disk), OPTIONS).err().unwrap();
    assert!(error.to_string().contains(twin), "{error}");
}

#[test]
fn a_full_log_refuses_and_takes_mail_again_after_settlements() {
    let mut driver = Driver::new(FaultyDisk::new(3), 3);
    assert!(driver.start("start"));
    for round in 0..3 {
        let before = driver.oracle.durable.len();
        while driver.spool().has_room_for(1) {
            driver.now_ms += 2000;
            driver.append();
            driver.commit();
            driver.prepare();
        }
        assert!(driver.oracle.durable.len() > before + 20, "round {round}");
        assert_eq!(driver.spool().append(message(1, 100), 0), Err(Full));
        for (id, place) in std::mem::take(&mut driver.open) {
            driver.spool().settle(id, place);
        }
        for _ in 0..6 {
            driver.now_ms += 2000;
            driver.commit();
            driver.prepare();
        }
        assert!(driver.spool().has_room_for(1), "round {round}");
    }
}

#[test]
fn settlements_pass_where_messages_do_not() {
    let mut driver = Driver::new(FaultyDisk::new(4), 4);
    assert!(driver.start("start"));
    while driver.spool().has_room_for(1) {
        driver.append();
        driver.commit();
        driver.prepare();
    }
    // One at a time, the newest first, so that the head does not move and the log has to grow for them.
    while driver.open.len() > 1 {
        let (id, place) = driver.open.pop().unwrap();
        driver.spool().settle(id, place);
        driver.oracle.settling.insert(id);
        driver.spool().submit_settles();
        driver.commit();
        driver.prepare();
        driver.commit();
        assert!(!driver.spool().has_room_for(1));
    }
    assert!(driver.start("restart"), "what is not settled is there");
    assert_eq!(driver.open.len(), 1);
}

#[test]
fn a_message_too_large_for_a_full_disk_does_not_shut_out_the_others_for_ever() {
    // It wants a segment of its own, and there is none; then there is space again, and a next segment stands ready, so
    // that no further one is made that would show it.
    let disk = FaultyDisk::new(1);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let next = spool.prepare(0).expect("a next segment is due");
    spool.prepared(next.run(), 0).unwrap();
    let id = spool.append(message(1, SEGMENT as usize + 5000), 0).unwrap();
    assert!(spool.submit(0).is_none());
    let full = disk.clone().with(disk.operations(), Fault::Full);
    let large = spool.prepare(0).expect("a large segment is due");
    assert_eq!(spool.prepared(large.run(), 0).unwrap_err().ids, [id]);
    full.heal();
    assert!(!spool.has_room_for(3 * SEGMENT));
    assert_eq!(spool.next_ms(), Some(1000));
    assert!(spool.prepare(1000).is_none());
    assert!(spool.has_room_for(3 * SEGMENT));
}

#[test]
fn a_full_disk_refuses_and_service_resumes_by_itself() {
    let disk = FaultyDisk::new(8);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let disk = disk.clone().with(disk.operations(), Fault::Full);
    let id = spool.append(message(1, 100), 0).unwrap();
    let batch = spool.submit(0).unwrap();
    let failed = spool.committed(batch.run()).unwrap_err();
    assert_eq!((failed.ids, failed.fatal, spool.durable()), (vec![id], false, 0));
    let prepare = spool.prepare(0).unwrap();
    assert_eq!(spool.prepared(prepare.run(), 0).unwrap_err().ids, []);
    assert!(spool.prepare(500).is_none());
    assert_eq!(spool.next_ms(), Some(1000));
    disk.heal();
    let prepare = spool.prepare(1000).unwrap();
    spool.prepared(prepare.run(), 1000).unwrap();
    let id = spool.append(message(2, 100), 0).unwrap();
    let batch = spool.submit(1000).unwrap();
    let durable = spool.committed(batch.run()).unwrap();
    assert_eq!((durable[0].id, spool.durable(), spool.next_ms()), (id, id.counter, None));
}

/// Two batches, the second in the next segment; between them one for which there was no space, or which is committed.
fn log_with_one_between(fault: Option<Fault>) -> (FaultyDisk, Vec<QueueId>) {
    let disk = FaultyDisk::new(8);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let mut ids = Vec::new();
    for (number, octets) in [(1, 5000), (2, 300), (3, 25_000)] {
        if let Some(prepare) = spool.prepare(0) {
            spool.prepared(prepare.run(), 0).unwrap();
        }
        ids.push(spool.append(message(number, octets), 0).unwrap());
        let batch = spool.submit(0).unwrap();
        let fault = fault.filter(|_| number == 2);
        let disk = fault.map(|fault| disk.clone().with(disk.operations(), fault));
        assert_eq!(spool.committed(batch.run()).is_err(), fault.is_some());
        disk.iter().for_each(FaultyDisk::heal);
    }
    (disk, ids)
}

// A disk was full when a batch of one page was written. Half of the page arrived, which held all the batch and lacked
// but padding. 452 was the answer, and the next start delivered the message all the same.
#[test]
fn what_was_refused_for_want_of_space_is_not_in_the_log() {
    for fault in [Fault::Error(ENOSPC), Fault::Full] {
        let (disk, ids) = log_with_one_between(Some(fault));
        let found = contents(&disk).0;
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[0], ids[2]], "{fault:?}");
    }
}

// The same batch, and a crash lost what took it back. The next one stood in another segment and followed, as it said,
// the batch before both: which was taken for the loss of batches between the two, quarantined and reported.
#[test]
fn a_batch_in_the_stead_of_one_that_found_no_space_is_not_taken_for_damage() {
    let (whole, _) = log_with_one_between(None);
    let (disk, ids) = log_with_one_between(Some(Fault::Error(ENOSPC)));
    let path = segment_of(&disk, 0);
    let batch = whole.read(&path)[8192..12288].to_vec();
    disk.tamper(&path, |octets| octets[8192..12288].copy_from_slice(&batch));
    let (found, damage) = contents(&disk);
    assert_eq!((found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), damage), (ids, vec![]));
}

/// Writes a large message to its file and appends it.
fn append_large(spool: &mut Spool, message: Message) -> QueueId {
    let spill = spool.spill(message.trace.len() as u64);
    let SpillDone::Finished(spilled) = spill.finish(message.data.clone()).run() else {
        panic!("nothing strikes here");
    };
    spool.append_spilled(Message { data: Vec::new(), ..message }, 0, spilled).unwrap()
}

// A large message was put off, since there was no space for its batch, and its file was removed. What took the batch
// back was not synced: a crash lost it, so the next start found a record whose file was gone and cried damage.
#[test]
fn a_large_message_that_was_put_off_is_no_damage_after_any_crash() {
    for crash in (0..200).map(Crash::Any).chain([Crash::Lost, Crash::Kept]) {
        let disk = FaultyDisk::new(8);
        let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
        append_large(&mut spool, message(1, 9000));
        let batch = spool.submit(0).unwrap();
        let disk = disk.clone().with(disk.operations(), Fault::Error(ENOSPC));
        assert!(spool.committed(batch.run()).is_err());
        disk.heal();
        while let Some(prepare) = spool.prepare(0) {
            spool.prepared(prepare.run(), 0).unwrap();
        }
        assert_eq!(disk.paths("spool/spill"), [] as [PathBuf; 0]);
        assert_eq!(contents(&disk.after(crash)), (vec![], vec![]), "{crash:?}");
    }
}

// A batch was damaged whose record named a large message's file. The file was whole; no sound record named it, so it was
// removed, and what was left of the message went with it.
#[test]
fn where_the_log_is_damaged_files_that_nobody_names_are_kept_in_the_quarantine() {
    let disk = FaultyDisk::new(8);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    for number in 1..=3 {
        append_large(&mut spool, message(number, 9000));
        let batch = spool.submit(0).unwrap();
        spool.committed(batch.run()).unwrap();
    }
    let names = |directory: &str| {
        disk.paths(directory).into_iter().filter_map(|path| path.file_name().map(PathBuf::from))
    };
    let files: Vec<PathBuf> = names("spool/spill").collect();
    disk.tamper(&segment_of(&disk, 0), |octets| flip(&mut octets[4096..], 1000));
    let (_, recovered) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    assert_eq!((recovered.pending.len(), recovered.report.damage.len()), (2, 1));
    assert_eq!(names("spool/spill").collect::<Vec<_>>(), [files[0].clone(), files[2].clone()]);
    assert!(names("spool/quarantine").any(|name| name == files[1]));
}

#[test]
fn a_full_disk_at_the_start_leaves_a_server_that_delivers_and_refuses() {
    let (disk, messages) = log_of(&[300]);
    let disk = disk.after(Crash::Kept).with(0, Fault::Full);
    let (mut spool, recovered) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    assert_eq!(recovered.pending[0].id, messages[0].0);
    assert!(!spool.has_room_for(1));
    spool.settle(recovered.pending[0].id, recovered.pending[0].place);
    spool.submit_settles();
    assert!(spool.submit(0).is_none(), "nowhere to write");
    disk.heal();
    let prepare = spool.prepare(0).unwrap();
    spool.prepared(prepare.run(), 0).unwrap();
    let batch = spool.submit(0).unwrap();
    assert!(batch.is_empty());
    spool.committed(batch.run()).unwrap();
    assert!(spool.has_room_for(1));
    drop(spool);
    assert_eq!(contents(&disk).0, []);
}

#[test]
fn a_failed_sync_is_the_end() {
    let disk = FaultyDisk::new(8);
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    let first = spool.append(message(1, 100), 0).unwrap();
    let batch = spool.submit(0).unwrap();
    let second = spool.append(message(2, 100), 0).unwrap();
    let disk = disk.clone().with(disk.operations() + 1, Fault::Error(ENOSPC));
    let failed = spool.committed(batch.run()).unwrap_err();
    assert_eq!((failed.ids, failed.fatal), (vec![first, second], true));
    assert!(spool.is_failed() && !spool.has_room_for(1));
    assert_eq!(spool.append(message(3, 100), 0), Err(Full));
    let operations = disk.operations();
    assert!(spool.submit(9999).is_none() && spool.prepare(9999).is_none());
    assert_eq!((disk.operations(), spool.next_ms()), (operations, None));
}

#[test]
fn what_was_settled_at_commit_is_not_delivered_by_a_later_run() {
    let disk = FaultyDisk::new(6);
    let discard = SpoolOptions { settled_at_commit: true, ..OPTIONS };
    let (mut spool, _) = Spool::recover(Arc::new(disk.clone()), discard).unwrap();
    for round in 0..100 {
        spool.append(message(round, 2000), 0).unwrap();
        if let Some(prepare) = spool.prepare(round) {
            spool.prepared(prepare.run(), round).unwrap();
        }
        let batch = spool.submit(round).unwrap();
        assert_eq!(spool.committed(batch.run()).unwrap().len(), 1);
    }
    let recovered = Spool::recover(Arc::new(disk), OPTIONS).unwrap().1;
    assert_eq!(recovered.pending, []);
    assert!(recovered.report.messages > 0 && recovered.report.messages < 100, "segments were recycled");
}

#[test]
fn settlements_wait_a_second_for_company_unless_told_otherwise() {
    let disk = FaultyDisk::new(6);
    let (mut spool, _) = Spool::recover(Arc::new(disk), OPTIONS).unwrap();
    let mut committed = Vec::new();
    for seed in 0..3 {
        spool.append(message(seed, 10), 0).unwrap();
        let batch = spool.submit(0).unwrap();
        committed.extend(spool.committed(batch.run()).unwrap());
    }
    spool.settle(committed[0].id, committed[0].place);
    assert!(spool.submit(100).is_none());
    assert_eq!(spool.next_ms(), Some(1100));
    assert!(spool.submit(1099).is_none());
    let batch = spool.submit(1100).unwrap();
    assert_eq!((batch.len(), spool.next_ms()), (0, None));
    spool.committed(batch.run()).unwrap();
    spool.settle(committed[1].id, committed[1].place);
    spool.submit_settles();
    let batch = spool.submit(1200).unwrap();
    spool.committed(batch.run()).unwrap();
    spool.settle(committed[2].id, committed[2].place);
    assert!(spool.submit(1300).is_none(), "told once");
}

#[test]
fn a_crash_loop_does_not_fill_the_disk() {
    let disk = FaultyDisk::new(6);
    for _ in 0..20 {
        Spool::recover(Arc::new(disk.clone()), OPTIONS).unwrap();
    }
    assert_eq!(disk.paths("spool").len(), 1);
}

#[test]
fn the_spool_is_the_same_on_a_real_disk() {
    let root = tempfile::tempdir().unwrap();
    let open = || {
        let disk = fastsmtp::disk::RealDisk::open(root.path(), &[]).unwrap();
        Spool::recover(Arc::new(disk), OPTIONS).unwrap()
    };
    let (mut spool, _) = open();
    let big = message(1, 100_000);
    let small = message(2, 100);
    let ids = [spool.append(small.clone(), 7).unwrap(), spool.append(big.clone(), 8).unwrap()];
    let mut durable = Vec::new();
    while durable.len() < 2 {
        if let Some(prepare) = spool.prepare(0) {
            spool.prepared(prepare.run(), 0).unwrap();
        }
        if let Some(batch) = spool.submit(0) {
            durable.extend(spool.committed(batch.run()).unwrap());
        }
    }
    drop(spool);
    let (spool, recovered) = open();
    assert_eq!(recovered.pending.iter().map(|pending| pending.id).collect::<Vec<_>>(), ids);
    let stored: Vec<_> = recovered.pending.iter().map(|p| spool.locate(&p.place).read().unwrap()).collect();
    assert_eq!((stored[0].arrived, &stored[0].message), (7, &small));
    assert_eq!((stored[1].arrived, &stored[1].message), (8, &big));
    assert_eq!(recovered.report.damage, []);
}
