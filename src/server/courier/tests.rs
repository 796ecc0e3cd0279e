use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::disk::{File, Open, RealDisk};
use crate::smtp::{Address, Envelope};

// A disk in memory, and what can happen to it.
//
// An operation may fail once, or all may from one on (the machine is gone). A write that fails has written a part; a
// sync that fails has lost the data it was to write, and the next one does not know. After a crash there may be left:
// everything that was done (kill -9), only what was synced, or all the names but only the synced data.

#[derive(Default)]
struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Default, Clone)]
struct State {
    live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    operations: usize,
    fails: Fails,
    log: Vec<String>,
}

#[derive(Clone)]
enum Node {
    Directory,
    File(Arc<Mutex<Inode>>),
}

#[derive(Default, Clone)]
struct Inode {
    data: Vec<u8>,
    synced: Vec<u8>,
    lost: bool,
}

#[derive(Default, Clone)]
enum Fails {
    #[default]
    Nothing,
    Once(usize),
    From(usize),
    Below(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Everything,
    WhatWasSynced,
    NamesWithoutData,
}

impl MemoryDisk {
    fn new(fails: Fails) -> Arc<MemoryDisk> {
        let live: BTreeMap<_, _> =
            ["", crate::mailbox::ROOT].map(|name| (name.into(), Node::Directory)).into();
        let state = State { durable: live.clone(), live, fails, ..State::default() };
        Arc::new(MemoryDisk(Arc::new(Mutex::new(state))))
    }

    fn after_crash(&self, left: Left, fails: Fails) -> Arc<MemoryDisk> {
        let disk = MemoryDisk::new(fails);
        let old = self.0.lock().unwrap();
        let names = match left {
            Left::WhatWasSynced => &old.durable,
            _ => &old.live,
        };
        let mut inodes: BTreeMap<*const Mutex<Inode>, Node> = BTreeMap::new();
        let copied = names.iter().map(|(name, node)| {
            let Node::File(file) = node else { return (name.clone(), Node::Directory) };
            let copy = inodes.entry(Arc::as_ptr(file)).or_insert_with(|| {
                let inode = file.lock().unwrap();
                let data = match left {
                    Left::Everything => inode.data.clone(),
                    _ => inode.synced.clone(),
                };
                let synced = inode.synced.clone();
                Node::File(Arc::new(Mutex::new(Inode { data, synced, lost: false })))
            });
            (name.clone(), copy.clone())
        });
        let copied: BTreeMap<_, _> = copied.collect();
        {
            let mut new = disk.0.lock().unwrap();
            new.durable = copied.clone();
            new.live = copied;
        }
        disk
    }

    /// The files in `new/` and `cur/` with their data and what of it is synced.
    fn mail(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        Self::files(&self.0.lock().unwrap().live)
    }

    fn durable_mail(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        Self::files(&self.0.lock().unwrap().durable)
    }

    fn files(names: &BTreeMap<String, Node>) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let files = names.iter().filter(|(name, _)| name.contains("/new/") || name.contains("/cur/"));
        let files = files.filter_map(|(name, node)| match node {
            Node::Directory => None,
            Node::File(file) => {
                let inode = file.lock().unwrap();
                Some((name.clone(), inode.data.clone(), inode.synced.clone()))
            }
        });
        files.collect()
    }

    fn put(&self, path: &str, data: &[u8]) {
        let inode = Inode { data: data.to_vec(), synced: data.to_vec(), lost: false };
        self.0.lock().unwrap().live.insert(path.into(), Node::File(Arc::new(Mutex::new(inode))));
    }

    fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    fn operations(&self) -> usize {
        self.0.lock().unwrap().operations
    }
}

impl State {
    /// Counts an operation; whether it is to fail.
    fn begin(&mut self, what: &str, path: &str) -> io::Result<()> {
        let at = self.operations;
        self.operations += 1;
        self.log.push(format!("{what} {path}"));
        let fails = match self.fails {
            Fails::Nothing => false,
            Fails::Once(n) => at == n,
            Fails::From(n) => at >= n,
            Fails::Below(prefix) => path.starts_with(prefix),
        };
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn parent_of(&self, path: &str) -> io::Result<()> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        match self.live.get(parent) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn insert(&mut self, path: &str, node: Node) -> io::Result<()> {
        self.parent_of(path)?;
        if self.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.live.insert(path.into(), node);
        Ok(())
    }

    fn node(&self, path: &str) -> io::Result<Node> {
        self.live.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut state = self.0.lock().unwrap();
        state.begin("open", text(path))?;
        if how == Open::Create {
            state.insert(text(path), Node::File(Arc::default()))?;
        }
        match state.node(text(path))? {
            Node::Directory => Err(io::ErrorKind::IsADirectory.into()),
            Node::File(inode) => {
                Ok(Box::new(MemoryFile { state: self.0.clone(), path: text(path).into(), inode }))
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.begin("rename", text(to))?;
        let node = state.node(text(from))?;
        state.parent_of(text(to))?;
        assert!(!state.live.contains_key(text(to)), "no file is ever replaced");
        state.live.remove(text(from));
        state.live.insert(text(to).into(), node);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.begin("link", text(to))?;
        let node = state.node(text(from))?;
        state.insert(text(to), node)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.begin("remove", text(path))?;
        state.live.remove(text(path)).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.begin("create_dir", text(path))?;
        state.insert(text(path), Node::Directory)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.0.lock().unwrap();
        state.begin("list", text(path))?;
        state.node(text(path))?;
        let below = format!("{}/", text(path));
        let names = state.live.keys().filter_map(|name| name.strip_prefix(&below));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("one sync for all")
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let synced = state.begin("sync_all", "");
        for node in state.live.values() {
            let Node::File(file) = node else { continue };
            let mut inode = file.lock().unwrap();
            if synced.is_err() {
                inode.lost |= inode.synced != inode.data;
            } else if !inode.lost {
                inode.synced = inode.data.clone();
            }
        }
        if synced.is_ok() {
            state.durable = state.live.clone();
        }
        synced
    }

    fn random(&self) -> u64 {
        unreachable!("nothing here is random")
    }
}

struct MemoryFile {
    state: Arc<Mutex<State>>,
    path: String,
    inode: Arc<Mutex<Inode>>,
}

impl File for MemoryFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let begun = self.state.lock().unwrap().begin("write_at", &self.path);
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let part = &all[..all.len().min(if begun.is_ok() { 25 } else { 5 })];
        let mut inode = self.inode.lock().unwrap();
        inode.data.truncate(offset as usize);
        inode.data.extend_from_slice(part);
        begun.map(|()| part.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.state.lock().unwrap().begin("read_at", &self.path)?;
        let inode = self.inode.lock().unwrap();
        let rest = &inode.data[(offset as usize).min(inode.data.len())..];
        let read = rest.len().min(buffer.len()).min(25);
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        unreachable!("a message's size is written, not reserved")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("no sync per file")
    }

    fn drop_cache(&self) -> io::Result<()> {
        unreachable!("nobody asked")
    }

    fn size(&self) -> io::Result<u64> {
        self.state.lock().unwrap().begin("size", &self.path)?;
        Ok(self.inode.lock().unwrap().data.len() as u64)
    }
}

// Messages.

fn id(counter: u64) -> QueueId {
    QueueId { run: 0xabc, counter }
}

fn message(counter: u64, recipients: &[&str]) -> Message {
    let address = |text: &&str| Address::parse(text.as_bytes()).unwrap();
    Message {
        envelope: Envelope { forward_paths: recipients.iter().map(address).collect(), ..Envelope::default() },
        trace: format!("Received: {counter}\r\n").into(),
        data: format!("Subject: {counter}\r\n\r\n{}\r\n", "x".repeat(counter as usize)).into(),
    }
}

fn octets(counter: u64) -> Vec<u8> {
    let message = message(counter, &[]);
    [message.trace, message.data].concat()
}

fn delivery(counter: u64, recipients: &[&str]) -> Delivery {
    let load = Load::Memory { message: message(counter, recipients), arrived: ARRIVED };
    Delivery { id: id(counter), load, again: false, only: None, last: false }
}

fn again(counter: u64, recipients: &[&str]) -> Delivery {
    Delivery { again: true, ..delivery(counter, recipients) }
}

fn job(deliveries: impl IntoIterator<Item = Delivery>) -> DeliveryJob {
    DeliveryJob { deliveries: deliveries.into_iter().collect(), ..DeliveryJob::default() }
}

fn flush() -> DeliveryJob {
    DeliveryJob::default()
}

fn failures(done: &DeliveryDone) -> Vec<(QueueId, String)> {
    done.failed.iter().map(|(delivery, error)| (delivery.id, error.to_string())).collect()
}

/// What failed, to be sent again.
fn back(done: DeliveryDone) -> Vec<Delivery> {
    done.failed.into_iter().map(|(delivery, _)| delivery).collect()
}

fn base(counter: u64) -> String {
    format!("{ARRIVED}.{}.fs", id(counter))
}

const ARRIVED: u64 = 1_735_689_600;

/// Counter, recipients, and how many mailboxes these are.
const CORPUS: [(u64, &[&str], usize); 5] = [
    (1, &["a@x"], 1),
    (2, &["a@x", "b@x", "a@X", "c@y", "b@x"], 3),
    (3, &["b@x"], 1),
    (40, &["c@y", "a@x"], 2),
    (5, &["d@z"], 1),
];

fn corpus_jobs() -> VecDeque<DeliveryJob> {
    let delivery = |&(counter, recipients, _): &(u64, &[&str], usize)| delivery(counter, recipients);
    [job(CORPUS[..3].iter().map(delivery)), job(CORPUS[3..].iter().map(delivery)), flush()].into()
}

/// Every file in a mailbox is a whole message whose data was synced.
fn assert_no_torn_mail(disk: &MemoryDisk) {
    for (name, data, synced) in disk.mail().into_iter().chain(disk.durable_mail()) {
        assert_eq!(data, synced, "{name} appeared before its data was durable");
        let whole =
            CORPUS.iter().any(|&(counter, ..)| name.contains(&base(counter)) && data == octets(counter));
        assert!(whole, "{name} is torn: {data:?}");
    }
}

fn assert_settled_is_durable(disk: &MemoryDisk, settled: &[QueueId]) {
    let mail = disk.durable_mail();
    for &(counter, _, mailboxes) in CORPUS.iter().filter(|(counter, ..)| settled.contains(&id(*counter))) {
        let copies = mail
            .iter()
            .filter(|(name, _, synced)| name.ends_with(&base(counter)) && *synced == octets(counter));
        assert_eq!(copies.count(), mailboxes, "message {counter}");
    }
}

fn assert_each_is_there_once(disk: &MemoryDisk) {
    assert_no_torn_mail(disk);
    let expected: usize = CORPUS.iter().map(|(.., mailboxes)| mailboxes).sum();
    assert_eq!(disk.mail().len(), expected);
    assert_settled_is_durable(disk, &CORPUS.map(|(counter, ..)| id(counter)));
}

/// Runs jobs as the server does: what comes back is sent again. Gives what settled within the rounds there are.
fn drive(disk: &Arc<MemoryDisk>, mut jobs: VecDeque<DeliveryJob>, rounds: usize) -> Vec<QueueId> {
    let mut courier = Courier::new(disk.clone(), true);
    let mut settled = Vec::new();
    let mut underway = 0;
    for _ in 0..rounds {
        let next = jobs.pop_front().unwrap_or_default();
        underway += next.deliveries.len();
        let done = courier.run(next);
        assert_no_torn_mail(disk);
        assert_settled_is_durable(disk, &done.settled);
        underway -= done.settled.len() + done.retry.len() + done.failed.len();
        assert_eq!(underway, courier.waiting.len(), "each message comes out once");
        assert_eq!(done.sync_error.is_some(), !done.retry.is_empty());
        settled.extend(done.settled);
        let back: Vec<_> = done.retry.into_iter().chain(done.failed.into_iter().map(|(d, _)| d)).collect();
        assert!(back.iter().all(|delivery| delivery.again));
        if !back.is_empty() {
            jobs.push_back(job(back));
        }
    }
    settled
}

fn recovery(settled: &[QueueId]) -> VecDeque<DeliveryJob> {
    let left = CORPUS.iter().filter(|(counter, ..)| !settled.contains(&id(*counter)));
    [job(left.map(|&(counter, recipients, _)| again(counter, recipients)))].into()
}

fn operations_without_faults() -> usize {
    let disk = MemoryDisk::new(Fails::Nothing);
    drive(&disk, corpus_jobs(), 3);
    assert_each_is_there_once(&disk);
    disk.operations()
}

// The order.

#[test]
fn data_is_synced_before_its_name_appears_and_names_before_they_settle() {
    let disk = MemoryDisk::new(Fails::Nothing);
    let mut courier = Courier::new(disk.clone(), true);
    let done = courier.run(job([delivery(1, &["a@x"]), delivery(2, &["a@x", "b@x"])]));
    assert!(done.settled.is_empty() && done.retry.is_empty() && done.failed.is_empty());
    assert_eq!((done.files, done.octets), (2, (octets(1).len() + octets(2).len()) as u64));
    let log: Vec<String> = disk.log().into_iter().filter(|line| !line.starts_with("create_dir")).collect();
    let (one, two) = (base(1), base(2));
    let expected = [
        format!("open mailboxes/x/a/tmp/{one}"),
        format!("write_at mailboxes/x/a/tmp/{one}"),
        format!("write_at mailboxes/x/a/tmp/{one}"),
        format!("open mailboxes/x/a/tmp/{two}"),
        format!("write_at mailboxes/x/a/tmp/{two}"),
        format!("write_at mailboxes/x/a/tmp/{two}"),
        "sync_all ".into(),
        format!("rename mailboxes/x/a/new/{one}"),
        format!("link mailboxes/x/b/new/{two}"),
        format!("rename mailboxes/x/a/new/{two}"),
    ];
    assert_eq!(log, expected);

    let done = courier.run(job([delivery(3, &["b@x"])]));
    assert_eq!(done.settled, [id(1), id(2)]);
    let done = courier.run(flush());
    assert_eq!((done.settled, done.files), (vec![id(3)], 0));
    let operations = disk.operations();
    assert!(courier.run(flush()).settled.is_empty());
    assert_eq!(disk.operations(), operations, "nothing waits, nothing is synced");
}

#[test]
fn without_durability_nothing_is_synced_and_all_settles_at_once() {
    let disk = MemoryDisk::new(Fails::Nothing);
    let mut courier = Courier::new(disk.clone(), false);
    let done = courier.run(job([delivery(1, &["a@x"]), delivery(2, &["a@x", "b@x"])]));
    assert_eq!(done.settled, [id(1), id(2)]);
    assert_eq!(done.sync_duration, Duration::ZERO);
    assert!(!disk.log().iter().any(|line| line.starts_with("sync")));
    assert_eq!(disk.mail().len(), 3);
}

// What fails.

#[test]
fn whichever_operation_fails_every_message_ends_in_each_mailbox_once() {
    for n in 0..operations_without_faults() {
        let disk = MemoryDisk::new(Fails::Once(n));
        let mut settled = drive(&disk, corpus_jobs(), 8);
        settled.sort();
        let mut all = CORPUS.map(|(counter, ..)| id(counter));
        all.sort();
        assert_eq!(settled, all, "operation {n}");
        assert_each_is_there_once(&disk);
    }
}

#[test]
fn wherever_it_crashes_and_crashes_again_every_message_ends_in_each_mailbox_once() {
    for n in 0..=operations_without_faults() {
        let disk = MemoryDisk::new(Fails::From(n));
        let settled = drive(&disk, corpus_jobs(), 3);
        for left in [Left::Everything, Left::WhatWasSynced, Left::NamesWithoutData] {
            for m in (0..).step_by(5) {
                let second = disk.after_crash(left, Fails::From(m));
                assert_no_torn_mail(&second);
                let mut settled = settled.clone();
                settled.extend(drive(&second, recovery(&settled), 3));
                let third = second.after_crash(left, Fails::Nothing);
                drive(&third, recovery(&settled), 3);
                assert_each_is_there_once(&third);
                if second.operations() <= m {
                    break;
                }
            }
        }
    }
}

#[test]
fn after_a_failed_sync_all_that_was_not_settled_comes_back() {
    let disk = MemoryDisk::new(Fails::Nothing);
    let mut courier = Courier::new(disk.clone(), true);
    courier.run(job([delivery(1, &["a@x"])]));
    let until_the_sync = 3; // open and two short writes
    let n = disk.operations() + until_the_sync;
    disk.0.lock().unwrap().fails = Fails::Once(n);
    let done = courier.run(job([delivery(2, &["a@x"])]));
    assert_eq!(disk.log().last().unwrap(), "sync_all ", "and nothing after it");
    assert!(done.sync_error.is_some() && done.settled.is_empty() && done.failed.is_empty());
    let back: Vec<_> = done.retry.iter().map(|delivery| (delivery.id, delivery.again)).collect();
    assert_eq!(back, [(id(1), true), (id(2), true)]);
    let done = courier.run(job(done.retry));
    assert_eq!((done.files, done.settled), (1, vec![]));
    assert_eq!(courier.run(flush()).settled, [id(1), id(2)]);
    assert_eq!(disk.durable_mail().len(), 2);
}

#[test]
fn a_mailbox_that_cannot_be_written_fails_only_its_message_and_names_itself() {
    let disk = MemoryDisk::new(Fails::Below("mailboxes/x/b/"));
    let mut courier = Courier::new(disk.clone(), true);
    let done = courier.run(job([
        delivery(1, &["a@x"]),
        delivery(2, &["b@x", "a@x", "c@y"]),
        delivery(3, &["b@x"]),
        delivery(5, &["d@z"]),
    ]));
    assert_eq!(failures(&done), [(id(3), "mailboxes/x/b: no storage space".to_owned())]);
    let next = courier.run(flush());
    assert_eq!(next.settled, [id(1), id(5)]);
    assert_eq!(failures(&next), [(id(2), "mailboxes/x/b: no storage space".to_owned())]);
    assert_eq!(disk.mail().len(), 4, "those that could have it have it");

    disk.0.lock().unwrap().fails = Fails::Nothing;
    courier.run(job(back(done).into_iter().chain(back(next))));
    assert_eq!(courier.run(flush()).settled, [id(3), id(2)]);
    assert_eq!(disk.mail().len(), 6, "and none has it twice");
}

// Delivering again.

#[test]
fn a_message_that_its_reader_has_seen_is_not_delivered_again() {
    for place in ["new", "cur"] {
        for flags in ["", ":2,", ":2,S", ":2,FRS"] {
            let disk = MemoryDisk::new(Fails::Nothing);
            let mut courier = Courier::new(disk.clone(), true);
            courier.run(job([delivery(5, &["d@z"])]));
            disk.0.lock().unwrap().live.remove(&format!("mailboxes/z/d/new/{}", base(5)));
            disk.put(&format!("mailboxes/z/d/{place}/{}{flags}", base(5)), &octets(5));
            let done = courier.run(job([again(5, &["d@z"])]));
            assert_eq!(done.files, 0);
            assert_eq!(courier.run(flush()).settled, [id(5)]);
            assert_eq!(disk.mail().len(), 1, "{place} {flags}");
        }
    }
}

#[test]
fn a_file_of_the_same_name_and_other_octets_is_left_alone() {
    let disk = MemoryDisk::new(Fails::Nothing);
    let mut courier = Courier::new(disk.clone(), true);
    courier.run(job([delivery(1, &["d@z"])]));
    let foreign =
        [format!("mailboxes/z/d/new/{}", base(5)), format!("mailboxes/z/d/cur/{ARRIVED}.{}g.fs:2,S", id(5))];
    foreign.iter().for_each(|path| disk.put(path, b"something else"));
    for _ in 0..3 {
        courier.run(job([again(5, &["d@z", "a@x"])]));
    }
    let mail = disk.mail();
    let data = |path: &str| mail.iter().find(|(name, ..)| name == path).map(|(_, data, _)| data.clone());
    assert_eq!(mail.len(), 5);
    for path in &foreign {
        assert_eq!(data(path).unwrap(), b"something else");
    }
    assert_eq!(data(&format!("mailboxes/z/d/new/{ARRIVED}.{}h.fs", id(5))).unwrap(), octets(5));
    assert_eq!(data(&format!("mailboxes/x/a/new/{}", base(5))).unwrap(), octets(5));
}

#[test]
fn a_large_mailbox_is_listed_once_for_a_whole_job() {
    let disk = MemoryDisk::new(Fails::Nothing);
    let mut courier = Courier::new(disk.clone(), true);
    courier.run(job((1..=100).map(|counter| delivery(counter, &["a@x"]))));
    let before = disk.log().len();
    let done = courier.run(job((1..=200).map(|counter| again(counter, &["a@x"]))));
    assert_eq!(done.files, 100);
    assert_eq!(disk.log()[before..].iter().filter(|line| line.starts_with("list")).count(), 2);
    assert_eq!(disk.mail().len(), 200);
}

// On the real file system.

fn real() -> (tempfile::TempDir, Courier) {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(root.path(), &[crate::mailbox::ROOT]).unwrap());
    (root, Courier::new(disk, true))
}

#[test]
fn a_message_for_two_mailboxes_is_stored_once() {
    let (root, mut courier) = real();
    let done = courier.run(job([delivery(2, &["a@x", "b@x", "A@x", "a@X"])]));
    assert_eq!((done.files, done.failed.len()), (1, 0));
    assert!(done.sync_duration > Duration::ZERO);
    let stat = |mailbox: &str| {
        let path = root.path().join(format!("mailboxes/x/{mailbox}/new/{}", base(2)));
        assert_eq!(std::fs::read(&path).unwrap(), octets(2));
        std::fs::metadata(path).unwrap()
    };
    assert_eq!(stat("a").ino(), stat("b").ino());
    assert_eq!(stat("A").nlink(), 3, "the local part's case counts, the domain's does not");
    assert_eq!(stat("a").mode() & 0o777, 0o600);
    assert!(std::fs::read_dir(root.path().join("mailboxes/x/a/tmp")).unwrap().next().is_none());
    assert_eq!(courier.run(flush()).settled, [id(2)]);
}

#[test]
fn names_that_climb_stay_below_mailboxes() {
    let (root, mut courier) = real();
    let recipients =
        ["\"../../..\"@x", "\"..\"@x", "\"/etc/passwd\"@x", "\".\"@x", "\"a/../b\"@x", "\"-\"@x"];
    let done = courier.run(job([delivery(1, &recipients)]));
    assert!(done.failed.is_empty());
    let names = |path: &str| -> Vec<_> {
        let entries = std::fs::read_dir(root.path().join(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(""), ["mailboxes"]);
    assert_eq!(names("mailboxes"), ["x"]);
    let mut mailboxes = names("mailboxes/x");
    mailboxes.sort();
    assert_eq!(mailboxes, ["%2D", "%2E", "%2E.", "%2E.%2F..%2F..", "%2Fetc%2Fpasswd", "a%2F..%2Fb"]);
}

#[test]
fn what_stands_in_a_mailboxs_way_fails_only_its_message() {
    let (root, mut courier) = real();
    let mailboxes = root.path().join("mailboxes");
    std::fs::create_dir_all(mailboxes.join("x/b")).unwrap();
    std::fs::write(mailboxes.join("y"), b"").unwrap();
    std::fs::write(mailboxes.join("x/b/new"), b"").unwrap();
    let done = courier.run(job([delivery(1, &["a@x"]), delivery(2, &["a@x", "c@y"]), delivery(3, &["b@x"])]));
    assert_eq!(done.failed[0].0.id, id(3));
    let next = courier.run(flush());
    assert_eq!(
        (next.settled.clone(), next.failed[0].0.id),
        (vec![id(1)], id(2)),
        "once the others have it durably"
    );
    std::fs::remove_file(mailboxes.join("y")).unwrap();
    std::fs::remove_file(mailboxes.join("x/b/new")).unwrap();
    let done = courier.run(job(back(next).into_iter().chain(back(done))));
    assert_eq!((done.failed.len(), done.files), (0, 2));
    assert_eq!(courier.run(flush()).settled, [id(2), id(3)]);
    assert_eq!(std::fs::read_dir(mailboxes.join("x/a/new")).unwrap().count(), 2);
}

#[test]
fn a_directory_that_vanished_is_made_again() {
    let (root, mut courier) = real();
    courier.run(job([delivery(1, &["a@x"])]));
    std::fs::remove_dir_all(root.path().join("mailboxes/x")).unwrap();
    let done = courier.run(job([delivery(2, &["a@x", "b@x"])]));
    assert!(done.failed.is_empty());
    assert_eq!(std::fs::read(root.path().join(format!("mailboxes/x/b/new/{}", base(2)))).unwrap(), octets(2));
}

#[test]
fn a_leftover_in_tmp_and_a_seen_message_are_recovered_from() {
    let (root, mut courier) = real();
    courier.run(job([delivery(1, &["a@x"])]));
    let mailbox = root.path().join("mailboxes/x/a");
    std::fs::rename(mailbox.join("new").join(base(1)), mailbox.join("cur").join(base(1) + ":2,S")).unwrap();
    std::fs::write(mailbox.join("tmp").join(base(2)), b"torn").unwrap();
    let mut courier = Courier::new(Arc::new(RealDisk::open(root.path(), &[]).unwrap()), true);
    let done = courier.run(job([again(1, &["a@x"]), again(2, &["a@x"])]));
    assert_eq!((done.files, done.failed.len()), (1, 0));
    assert_eq!(courier.run(flush()).settled, [id(1), id(2)]);
    assert_eq!(std::fs::read(mailbox.join("new").join(base(2))).unwrap(), octets(2));
    assert_eq!(std::fs::read_dir(mailbox.join("new")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(mailbox.join("tmp")).unwrap().count(), 0);
}

// From the log.

#[test]
fn a_message_is_read_from_the_log_and_another_in_its_place_is_not_delivered() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(root.path(), &["spool", crate::mailbox::ROOT]).unwrap());
    let (mut log, _) = spool::Spool::recover(disk.clone(), spool::SpoolOptions::default()).unwrap();
    let id = log.append(message(5, &["a@x"]), ARRIVED).unwrap();
    if let Some(prepare) = log.prepare(0) {
        log.prepared(prepare.run(), 0).unwrap();
    }
    let durable = {
        let batch = log.submit(0).unwrap();
        log.committed(batch.run()).unwrap()
    };
    let load = || Load::Spool(log.locate(&durable[0].place));
    let delivery = |id| Delivery { id, load: load(), again: false, only: None, last: false };
    let stranger = QueueId { counter: id.counter + 1, ..id };
    let mut courier = Courier::new(disk.clone(), true);
    let done = courier.run(job([delivery(id), delivery(stranger)]));
    assert_eq!((done.files, done.failed.len()), (1, 1));
    assert_eq!(done.failed[0].0.id, stranger);
    assert!(matches!(done.failed[0].1, DeliveryError::Spool(spool::ReadError::Damaged)));
    assert_eq!(courier.run(flush()).settled, [id]);
    let delivered = root.path().join(format!("mailboxes/x/a/new/{ARRIVED}.{id}.fs"));
    assert_eq!(std::fs::read(delivered).unwrap(), octets(5));

    let done = courier.run(job([Delivery { last: true, ..delivery(stranger) }]));
    assert_eq!(done.quarantined, [stranger], "it was written before the sync");
    assert_eq!(held::quarantined(&*disk).unwrap(), [format!("{stranger}.record")]);
}

// Setting aside.

/// A courier over a disk on which `mailboxes/y` is a file, so that nobody there can have mail.
fn real_with_obstacle() -> (tempfile::TempDir, Arc<RealDisk>, Courier) {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(root.path(), &["spool", spool::QUARANTINE, "mailboxes"]).unwrap());
    held::start(&*disk, &[]).unwrap();
    std::fs::write(root.path().join("mailboxes/y"), b"").unwrap();
    (root, disk.clone(), Courier::new(disk, true))
}

fn last(counter: u64, recipients: &[&str]) -> Delivery {
    Delivery { last: true, ..again(counter, recipients) }
}

fn of_held(counter: u64) -> Delivery {
    Delivery { id: id(counter), load: Load::Held, again: true, only: None, last: false }
}

fn files(root: &tempfile::TempDir, mailbox: &str) -> usize {
    std::fs::read_dir(root.path().join("mailboxes").join(mailbox).join("new")).map_or(0, Iterator::count)
}

#[test]
fn a_mailbox_that_took_the_message_does_not_get_it_again_although_its_reader_deleted_it() {
    let (root, _, mut courier) = real_with_obstacle();
    courier.run(job([delivery(2, &["a@x", "c@y"])]));
    let done = courier.run(flush());
    assert_eq!(done.failed[0].0.only.as_deref(), Some(&[MailboxPath::of(&Address::new("c", "y"))][..]));
    std::fs::remove_dir_all(root.path().join("mailboxes/x")).unwrap();
    std::fs::remove_file(root.path().join("mailboxes/y")).unwrap();
    courier.run(job(back(done)));
    assert_eq!(courier.run(flush()).settled, [id(2)]);
    assert_eq!((files(&root, "x/a"), files(&root, "y/c")), (0, 1));
}

#[test]
fn the_last_attempt_holds_the_message_for_the_mailboxes_that_did_not_take_it() {
    let (root, disk, mut courier) = real_with_obstacle();
    let given = DeliveryJob { given: 99, ..job([last(2, &["a@x", "c@y", "C@y", "c@Y"])]) };
    let done = courier.run(given);
    assert!(done.held.is_empty() && done.failed.is_empty(), "its name is not durable yet");
    let done = courier.run(flush());
    assert_eq!((done.held.len(), done.held[0].0), (1, id(2)));
    assert!(done.failed.is_empty() && done.settled.is_empty());
    let held = held::read(&*disk, id(2)).unwrap();
    let expected = Message { envelope: message(2, &["c@y", "C@y", "c@Y"]).envelope, ..message(2, &[]) };
    assert_eq!((held.note.since, held.stored.message), (99, expected));
    assert!(held.note.reason.contains("mailboxes/y/c: Not a directory"), "{}", held.note.reason);
    assert_eq!(files(&root, "x/a"), 1);

    std::fs::remove_file(root.path().join("mailboxes/y")).unwrap();
    assert!(courier.run(job([of_held(2)])).released.is_empty(), "its names are not durable yet");
    assert_eq!(held::ids(&*disk).unwrap(), [id(2)], "and it is not let go before");
    assert_eq!(courier.run(flush()).released, [id(2)]);
    assert_eq!(held::ids(&*disk).unwrap(), []);
    assert_eq!((files(&root, "x/a"), files(&root, "y/c"), files(&root, "y/C")), (1, 1, 1));
}

#[test]
fn a_held_message_that_some_mailboxes_take_is_held_for_the_rest() {
    let (root, disk, mut courier) = real_with_obstacle();
    std::fs::write(root.path().join("mailboxes/z"), b"").unwrap();
    courier.run(job([last(2, &["c@y", "d@z"])]));
    courier.run(flush());
    std::fs::remove_file(root.path().join("mailboxes/y")).unwrap();
    courier.run(job([of_held(2)]));
    let done = courier.run(flush());
    assert!(done.failed[0].0.only.is_none(), "the file says it");
    let held = held::read(&*disk, id(2)).unwrap();
    assert_eq!(held.stored.message.envelope.forward_paths, [Address::new("d", "z")]);
    std::fs::remove_dir_all(root.path().join("mailboxes/y")).unwrap();
    std::fs::remove_file(root.path().join("mailboxes/z")).unwrap();
    courier.run(job([of_held(2)]));
    assert_eq!(courier.run(flush()).released, [id(2)]);
    assert_eq!((files(&root, "y/c"), files(&root, "z/d")), (0, 1));
}

#[test]
fn a_message_that_cannot_be_held_stays_with_the_log() {
    let (root, _, mut courier) = real_with_obstacle();
    std::fs::remove_dir_all(root.path().join("spool/held")).unwrap();
    let done = courier.run(job([last(1, &["c@y"])]));
    assert!(matches!(done.failed[0].1, DeliveryError::Aside(_)), "{}", done.failed[0].1);
    let disk = MemoryDisk::new(Fails::Below("mailboxes/x/b/"));
    let done = Courier::new(disk.clone(), true).run(job([last(1, &["b@x"])]));
    assert!(matches!(done.failed[0].1, DeliveryError::Mailboxes(_)), "no space says nothing of a mailbox");
    assert!(!disk.log().iter().any(|line| line.contains("spool/")));
}

#[test]
fn what_the_operator_removes_is_never_delivered_and_what_is_damaged_neither() {
    let (root, disk, mut courier) = real_with_obstacle();
    courier.run(job([last(1, &["c@y"]), last(2, &["c@y"]), last(3, &["c@y"])]));
    assert_eq!(courier.run(flush()).held.len(), 3);
    std::fs::remove_file(root.path().join("mailboxes/y")).unwrap();
    let file = root.path().join(format!("spool/held/{}.held", id(3)));
    let mut octets = std::fs::read(&file).unwrap();
    *octets.last_mut().unwrap() ^= 1;
    std::fs::write(&file, octets).unwrap();
    spool::orders::give(&*disk, id(1), spool::orders::Order::Remove).unwrap();
    spool::orders::give(&*disk, id(9), spool::orders::Order::Release).unwrap();
    held::remove(&*disk, id(2)).unwrap();
    let done = courier.run(DeliveryJob { look: true, ..job([1, 2, 3].map(of_held)) });
    assert_eq!(done.removed, [id(1), id(1), id(2)]);
    assert_eq!((done.asked, done.quarantined), (vec![id(9)], vec![id(3)]));
    assert_eq!(spool::orders::given(&*disk).unwrap(), []);
    assert_eq!(held::quarantined(&*disk).unwrap(), [format!("{}.held", id(3))]);
    assert_eq!(files(&root, "y/c"), 0);
}

#[test]
fn what_is_removed_while_it_is_held_for_the_rest_stays_removed() {
    let (root, disk, mut courier) = real_with_obstacle();
    std::fs::write(root.path().join("mailboxes/z"), b"").unwrap();
    courier.run(job([last(2, &["c@y", "d@z"])]));
    courier.run(flush());
    std::fs::remove_file(root.path().join("mailboxes/y")).unwrap();
    courier.run(job([of_held(2)]));
    // The operator's program has given its order, and not come to remove the file: or came before it is written anew.
    spool::orders::give(&*disk, id(2), spool::orders::Order::Remove).unwrap();
    let done = courier.run(flush());
    assert_eq!((done.removed, done.failed.len()), (vec![id(2)], 0));
    assert_eq!(held::ids(&*disk).unwrap(), []);
}
