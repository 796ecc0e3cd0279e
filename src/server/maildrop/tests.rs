use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::visit::Held;
use super::*;
use crate::accounts::{Account, Accounts};
use crate::disk::RealDisk;
use crate::limits::{
    MEMORY_MIN, POP3_CHANGES_PER_JOB, POP3_FILES_KEPT_MAX, POP3_IDLE_SECS, POP3_LISTINGS_SHARE,
    POP3_PART_SECS, POP3_WRITE_TIMEOUT_SECS, WRITE_TIMEOUT_SECS,
};
use crate::mailbox::ROOT;
use crate::server::job::{Completion, Reload};
use crate::server::spoken::NoLogin;
use crate::server::{Deliver, Durability, End as ServerEnd, Log, Options, Service};
use crate::smtp::Address;

const USERS: &str = include_str!("../../../tests/common/accounts.toml");

/// One connection, seen from both sides; its client takes only so much.
struct Pipe {
    input: VecDeque<u8>,
    output: Vec<u8>,
    room: usize,
    is_closed: bool,
}

struct End(Rc<RefCell<Pipe>>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.borrow_mut().input.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            octets => Ok(octets),
        }
    }
}

impl Write for End {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        let taken = octets.len().min(pipe.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        pipe.room -= taken;
        pipe.output.extend_from_slice(&octets[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().is_closed = true;
    }
}

/// A server with accounts over a real disk, whose jobs run when a test says so.
struct World {
    server: Server<End>,
    now_ms: u64,
    disk: RealDisk,
    root: tempfile::TempDir,
    jobs: Vec<Job>,
    end: Option<ServerEnd>,
}

struct Client {
    key: Key,
    pipe: Rc<RefCell<Pipe>>,
}

impl World {
    fn new(change: impl FnOnce(&mut Options)) -> World {
        let mut options = Options {
            deliver: Deliver::Discard,
            durability: Durability::None,
            allow_plaintext_auth: true,
            connections_max: 100,
            ..Options::new("mx.example")
        };
        change(&mut options);
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path(), &[ROOT]).unwrap();
        let accounts = Arc::new(Accounts::parse(USERS).unwrap());
        let server = Server::new(options, Log::Memory(1), [1; 32]).with_accounts(accounts);
        World { server, now_ms: 0, disk, root, jobs: Vec::new(), end: None }
    }

    /// With one message of so many octets in alice's mailbox.
    fn with_message(octets: usize) -> World {
        let world = World::new(|_| ());
        world.put("alice", &["new/1.x"], octets);
        world
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        self.root.path().join(ROOT).join("example.com").join(user)
    }

    fn put(&self, user: &str, files: &[&str], octets: usize) {
        let line = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
        for directory in ["new", "cur"] {
            fs::create_dir_all(self.mailbox(user).join(directory)).unwrap();
        }
        for file in files {
            fs::write(self.mailbox(user).join(file), line.repeat(octets / 64)).unwrap();
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.now_ms), unix: Duration::from_secs(1_735_689_600) }
    }

    /// Turns until there is nothing to do.
    fn turn(&mut self) {
        let now = self.now();
        for _ in 0..1000 {
            let jobs = &mut self.jobs;
            let turn = self.server.turn(now, &mut |job| jobs.push(job));
            self.end = turn.end.or(self.end.take());
            if self.end.is_some() || turn.sleep != Some(Duration::ZERO) {
                return self.assert_bounded();
            }
        }
        panic!("the server spins");
    }

    fn assert_bounded(&self) {
        let held = &self.server.maildrops.held;
        assert!(held.listings <= self.server.share_of_maildrops(), "{held:?}");
        assert!(self.server.memory() >= self.server.maildrops.memory());
    }

    /// Runs the jobs that are out, and those that come of them.
    fn work(&mut self) {
        while !self.jobs.is_empty() {
            self.work_once();
        }
    }

    fn work_once(&mut self) {
        for job in mem::take(&mut self.jobs) {
            let completion = match job {
                Job::CheckPassword(job) => {
                    let account = Some(Arc::from(job.user.as_str()));
                    Completion::PasswordChecked { key: job.key, user: job.user, account }
                }
                Job::Open(job) => job.run(&self.disk),
                Job::Read(job) => job.run(&self.disk),
                Job::Update(job) => job.run(&self.disk),
                _ => unreachable!("nothing else is asked for"),
            };
            self.server.complete(completion, self.now());
        }
        self.turn();
    }

    fn connect(&mut self, room: usize) -> Client {
        let pipe = Pipe { input: VecDeque::new(), output: Vec::new(), room, is_closed: false };
        let pipe = Rc::new(RefCell::new(pipe));
        let client = SocketAddr::from(([192, 0, 2, 1], 9));
        let key = self.server.accept(End(pipe.clone()), client, Service::Pop3, self.now()).unwrap();
        self.turn();
        Client { key, pipe }
    }

    /// Says something, and works on it.
    fn say(&mut self, client: &Client, text: &str) -> String {
        self.send(client, text);
        self.work();
        client.heard()
    }

    fn send(&mut self, client: &Client, text: &str) {
        client.heard();
        client.pipe.borrow_mut().input.extend(text.as_bytes());
        self.server.ready(client.key, true, false, false);
        self.turn();
    }

    fn login(&mut self, user: &str) -> Client {
        let client = self.connect(usize::MAX);
        let said = self.say(&client, &format!("USER {user}@example.com\r\nPASS x\r\n"));
        assert!(said.ends_with(" octets)\r\n"), "{said}");
        client
    }

    /// The client takes so many octets more.
    fn take(&mut self, client: &Client, octets: usize) {
        client.pipe.borrow_mut().room += octets;
        self.server.ready(client.key, false, true, false);
        self.turn();
        self.work();
    }

    fn pass_secs(&mut self, secs: u64) {
        self.now_ms += secs * 1000;
        self.turn();
        self.work();
    }

    fn is_locked(&self) -> bool {
        !self.server.maildrops.locked.is_empty()
    }
}

impl Client {
    fn heard(&self) -> String {
        String::from_utf8(mem::take(&mut self.pipe.borrow_mut().output)).unwrap()
    }

    fn stand_still(&self) {
        self.pipe.borrow_mut().room = 0;
    }

    fn is_closed(&self) -> bool {
        self.pipe.borrow().is_closed
    }
}

#[test]
fn who_says_nothing_for_ten_minutes_is_logged_out_and_nothing_is_removed() {
    let mut world = World::with_message(64);
    let client = world.login("alice");
    world.say(&client, "DELE 1\r\n");
    world.pass_secs(POP3_IDLE_SECS - 2);
    world.say(&client, "NOOP\r\n");
    world.pass_secs(POP3_IDLE_SECS - 2);
    assert_eq!(client.heard(), "");
    world.pass_secs(4);
    assert_eq!(client.heard(), "-ERR no command in time\r\n");
    assert!(!world.is_locked());
    assert!(world.mailbox("alice").join("new/1.x").exists());
}

#[test]
fn who_does_not_log_in_has_the_time_that_clients_of_smtp_have() {
    let mut world = World::new(|options| options.command_timeout = Duration::from_secs(30));
    let client = world.connect(usize::MAX);
    world.pass_secs(32);
    assert!(client.heard().ends_with("ready\r\n-ERR no command in time\r\n"));
}

#[test]
fn who_takes_nothing_is_closed_and_so_is_who_takes_a_part_in_crumbs() {
    for (crumb, secs) in [(0, POP3_WRITE_TIMEOUT_SECS), (1, POP3_PART_SECS)] {
        let mut world = World::with_message(1 << 20);
        let client = world.login("alice");
        client.stand_still();
        world.say(&client, "RETR 1\r\n");
        for _ in 1..secs {
            world.pass_secs(1);
            world.take(&client, crumb);
        }
        assert!(!client.is_closed(), "{crumb}");
        world.pass_secs(2);
        assert!(client.is_closed() && !world.is_locked(), "{crumb}");
        assert_eq!((world.server.memory(), world.server.maildrops.held), (0, Held::default()));
    }
}

#[test]
fn a_slow_download_is_finished_however_long_it_takes_and_costs_one_part() {
    let mut world = World::with_message(4 << 20);
    let client = world.login("alice");
    client.stand_still();
    world.say(&client, "RETR 1\r\n");
    let mut octets = 0;
    while octets < 4 << 20 {
        world.take(&client, 20_000);
        octets += client.heard().len();
        assert!(world.server.memory() < POP3_READ_MEMORY as u64 + 4096, "{}", world.server.memory());
        world.pass_secs(POP3_WRITE_TIMEOUT_SECS - 10); // the kernel lets a writer wait until much is taken
    }
    assert!(world.now_ms > 2 * 3_600_000, "it took more than a session may last");
    client.pipe.borrow_mut().room = usize::MAX;
    assert_eq!(world.say(&client, "DELE 1\r\n"), "+OK deleted\r\n");
    assert_eq!(world.say(&client, "QUIT\r\n"), "+OK goodbye\r\n");
    assert!(!world.mailbox("alice").join("new/1.x").exists());
    assert_eq!((world.server.memory(), world.server.counters().popped), (0, 1));
}

#[test]
fn a_message_that_another_program_cuts_is_never_passed_off_as_whole() {
    let mut world = World::with_message(1 << 20);
    let client = world.login("alice");
    let cut = |world: &World, octets| {
        let file = fs::File::options().write(true).open(world.mailbox("alice").join("new/1.x")).unwrap();
        file.set_len(octets).unwrap();
    };
    client.pipe.borrow_mut().room = 100_000;
    let begun = world.say(&client, "RETR 1\r\n");
    cut(&world, 640_000);
    world.take(&client, usize::MAX / 2);
    let heard = begun + &client.heard();
    assert!(heard.len() > 100_000 && !heard.ends_with("\r\n.\r\n"), "it was told as if that were all");
    assert!(!world.is_locked(), "the session is over");
    world.pass_secs(WRITE_TIMEOUT_SECS);
    assert!(client.is_closed() && !client.heard().contains("\r\n.\r\n"));
    // The next session knows it as it is, and is refused if it is cut before the first part.
    let client = world.login("alice");
    cut(&world, 64);
    let heard = world.say(&client, "RETR 1\r\n");
    assert!(heard.starts_with("-ERR [SYS/TEMP] the message cannot be read"), "{heard}");
    assert!(world.say(&client, "NOOP\r\n").starts_with("+OK"));
    assert_eq!(world.server.counters().popped, 0);
}

#[test]
fn a_message_that_has_grown_since_it_was_listed_is_read_to_its_end() {
    let mut world = World::with_message(64);
    let client = world.login("alice");
    world.put("alice", &["new/1.x"], 100_032);
    let heard = world.say(&client, "RETR 1\r\n");
    assert!(heard.len() > 100_032 && heard.ends_with("abcd\r\n.\r\n"), "{}", heard.len());
}

#[test]
fn an_update_that_has_begun_is_finished_without_its_client_and_keeps_the_mailbox_until_then() {
    let mut world = World::with_message(64);
    let client = world.login("alice");
    world.say(&client, "DELE 1\r\n");
    world.send(&client, "QUIT\r\n");
    assert_eq!(world.jobs.len(), 1);
    world.server.abandon(client.key);
    let other = world.connect(usize::MAX);
    world.send(&other, "USER alice@example.com\r\nPASS x\r\n");
    let update = world.jobs.remove(0);
    world.work();
    assert!(other.heard().contains("-ERR [IN-USE]"));
    world.jobs.push(update);
    world.work();
    assert!(!world.is_locked() && !world.mailbox("alice").join("new/1.x").exists());
    assert_eq!(world.server.counters().maildrop_removed, 1);
    let said = world.say(&other, "USER alice@example.com\r\nPASS x\r\n");
    assert!(said.ends_with("+OK 0 messages (0 octets)\r\n"), "{said}");
}

#[test]
fn a_mailbox_whose_client_is_gone_before_it_is_listed_is_free_once_it_is() {
    let mut world = World::with_message(64);
    let client = world.connect(usize::MAX);
    world.send(&client, "USER alice@example.com\r\nPASS x\r\n");
    world.work_once();
    assert!(world.is_locked() && matches!(world.jobs[..], [Job::Open(_)]));
    world.server.abandon(client.key);
    assert!(world.is_locked());
    world.work();
    assert!(!world.is_locked());
    assert_eq!((world.server.memory(), world.server.maildrops.held), (0, Held::default()));
}

#[test]
fn reads_wait_in_their_order_for_the_memory_that_maildrops_may_have_and_mail_is_taken_all_the_while() {
    // Parts of all clients share an eighth of it.
    let mut world = World::new(|options| options.memory = 2 * POP3_READ_MEMORY as u64 * 8 + 8 * 100);
    let users = ["alice", "bob", "user", "second"];
    users.iter().for_each(|user| world.put(user, &["new/1.x"], 100_000));
    let clients = users.map(|user| world.login(user));
    for client in &clients {
        client.stand_still();
        world.send(client, "RETR 1\r\n");
    }
    assert_eq!(world.jobs.len(), 2);
    assert!(world.server.has_room());
    world.work();
    // All have their first part in the end: what waits in an outbox is less than what reading takes.
    for client in &clients {
        let mut octets = 0;
        while octets < 50_000 {
            world.take(client, 10_000);
            octets += client.heard().len();
            let parts = world.server.maildrops.held.parts;
            assert!(parts <= world.server.share_of_maildrops() + POP3_READ_MEMORY as u64, "{parts}");
        }
        world.server.abandon(client.key);
        world.turn();
        world.work();
    }
    assert_eq!((world.server.memory(), world.server.maildrops.held), (0, Held::default()));
}

/// The one account's password for users of these names.
fn accounts_of(users: &[String]) -> Accounts {
    let known = Accounts::parse(USERS).unwrap();
    let account = |user: &String| Account {
        address: Address::new(user, "example.com"),
        aliases: Vec::new(),
        catch_all: Vec::new(),
        ..known.of_user("alice@example.com").unwrap().clone()
    };
    Accounts::new([2; 32], users.iter().map(account).collect()).unwrap()
}

#[test]
fn however_many_readers_take_nothing_few_files_are_open_for_them_and_all_read_to_the_end() {
    let users: Vec<String> = (0..POP3_FILES_KEPT_MAX + 16).map(|number| format!("user{number}")).collect();
    let mut world = World::new(|_| ());
    world.server.accounts = Arc::new(accounts_of(&users));
    let clients: Vec<Client> = users
        .iter()
        .map(|user| {
            world.put(user, &["new/1.x"], 100_000);
            world.login(user)
        })
        .collect();
    for client in &clients {
        client.stand_still();
        world.send(client, "RETR 1\r\n");
        assert!(world.jobs.len() <= POP3_READS_OUT_MAX);
    }
    while !world.jobs.is_empty() {
        world.work_once();
        assert!(world.jobs.len() <= POP3_READS_OUT_MAX);
    }
    let is_kept = |client: &&Client| {
        world.server.connections.get(client.key).unwrap().session.visit().unwrap().file.is_some()
    };
    let kept = clients.iter().filter(is_kept).count();
    assert_eq!((kept, world.server.maildrops.held.files), (POP3_FILES_KEPT_MAX, POP3_FILES_KEPT_MAX));
    for client in &clients {
        world.take(client, 1 << 20);
        let said = client.heard();
        assert!(said.len() > 99_000 && said.ends_with("\r\n.\r\n"), "{}", said.len());
    }
    assert_eq!((world.server.maildrops.held.files, world.server.maildrops.reads_out), (0, 0));
}

#[test]
fn a_mailbox_that_there_is_no_memory_to_list_is_refused_for_now() {
    let mut world = World::with_message(64);
    let share = world.server.share_of_maildrops();
    world.server.maildrops.held.listings += share - 50; // others'
    world.server.memory += share - 50;
    let client = world.connect(usize::MAX);
    let said = world.say(&client, "USER alice@example.com\r\nPASS x\r\n");
    assert!(said.contains("-ERR [SYS/TEMP] no memory"), "{said}");
    assert!(!world.is_locked());
    world.server.maildrops.held.listings -= share - 50;
    world.server.memory -= share - 50;
    assert_eq!(
        world.say(&client, "USER alice@example.com\r\nPASS x\r\n").lines().last(),
        Some("+OK 1 messages (64 octets)")
    );
}

#[test]
fn a_mailbox_beyond_the_room_of_a_session_opens_with_its_oldest_mails_and_is_emptied_in_rounds() {
    let mut world = World::new(|options| options.memory = 100_000);
    let names: Vec<String> = (1000..1200).map(|number| format!("new/{number}.x")).collect();
    world.put("alice", &names.iter().map(String::as_str).collect::<Vec<_>>(), 64);
    let mut read = Vec::new();
    for round in 0..20 {
        let client = world.login("alice");
        let held = world.server.maildrops.held.listings;
        assert!(held < world.server.share_of_maildrops() / POP3_LISTINGS_SHARE + 300, "{held}");
        let other = world.login("bob"); // there is room beside it
        world.say(&other, "QUIT\r\n");
        let uids = world.say(&client, "UIDL\r\n");
        let uids: Vec<&str> = uids.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        let uids: Vec<&str> = uids.into_iter().filter(|uid| uid.ends_with(".x")).collect();
        assert!(!uids.is_empty() && (round > 0 || uids.len() < 50), "{uids:?}");
        for number in 1..=uids.len() {
            assert_eq!(world.say(&client, &format!("DELE {number}\r\n")), "+OK deleted\r\n");
        }
        read.extend(uids.into_iter().map(|uid| format!("new/{uid}")));
        assert_eq!(world.say(&client, "QUIT\r\n"), "+OK goodbye\r\n");
        if read.len() == names.len() {
            break;
        }
    }
    assert_eq!(read, names);
}

#[test]
fn a_stop_dismisses_the_idle_and_waits_for_an_update() {
    let mut world = World::with_message(64);
    let (idle, leaving) = (world.login("bob"), world.login("alice"));
    world.say(&leaving, "DELE 1\r\n");
    world.send(&leaving, "QUIT\r\n");
    world.server.stop(world.now());
    world.turn();
    assert!(idle.heard().starts_with("-ERR [SYS/TEMP] shutting down"));
    let grace = world.server.options.shutdown_grace.as_secs();
    let update = mem::take(&mut world.jobs);
    world.pass_secs(grace + 1);
    assert_eq!(world.end, None, "an update is out");
    world.jobs = update;
    world.work();
    assert_eq!(leaving.heard(), "+OK goodbye\r\n");
    world.pass_secs(1);
    assert!(world.end.is_some() && !world.mailbox("alice").join("new/1.x").exists());
}

#[test]
fn a_long_update_lets_others_in_between_and_ends_with_the_grace_of_a_stop() {
    let mut world = World::new(|_| ());
    let names: Vec<String> = (0..3 * POP3_CHANGES_PER_JOB).map(|number| format!("new/{number}.x")).collect();
    world.put("alice", &names.iter().map(String::as_str).collect::<Vec<_>>(), 64);
    let left = |world: &World| fs::read_dir(world.mailbox("alice").join("new")).unwrap().count();
    let leaving = world.login("alice");
    let deletions: String = (1..=names.len()).map(|number| format!("DELE {number}\r\n")).collect();
    for some in deletions.as_bytes().chunks(10_000) {
        world.send(&leaving, std::str::from_utf8(some).unwrap());
    }
    world.send(&leaving, "QUIT\r\n");
    world.work_once();
    assert_eq!(left(&world), 2 * POP3_CHANGES_PER_JOB);
    assert!(matches!(world.jobs[..], [Job::Update(_)]), "the rest is asked for behind what others ask");
    world.server.stop(world.now());
    world.pass_secs(0);
    assert_eq!(
        (left(&world), leaving.heard().as_str()),
        (0, "+OK goodbye\r\n"),
        "within the grace it is done"
    );
}

#[test]
fn an_update_that_outlasts_the_grace_of_a_stop_says_that_some_messages_stay() {
    let mut world = World::new(|_| ());
    let names: Vec<String> = (0..2 * POP3_CHANGES_PER_JOB).map(|number| format!("new/{number}.x")).collect();
    world.put("alice", &names.iter().map(String::as_str).collect::<Vec<_>>(), 64);
    let leaving = world.login("alice");
    for number in 1..=names.len() {
        world.send(&leaving, &format!("DELE {number}\r\n"));
    }
    world.send(&leaving, "QUIT\r\n");
    world.server.stop(world.now());
    world.turn();
    world.now_ms += world.server.options.shutdown_grace.as_millis() as u64 + 1000;
    world.turn();
    assert_eq!(world.end, None, "a part of the update is out");
    world.work();
    assert!(world.end.is_some());
    let left = fs::read_dir(world.mailbox("alice").join("new")).unwrap().count();
    assert_eq!(left, POP3_CHANGES_PER_JOB);
    assert_eq!(world.server.counters().maildrop_removed, POP3_CHANGES_PER_JOB as u64);
    assert!(!leaving.heard().contains("+OK goodbye"));
}

#[test]
fn who_is_turned_away_is_told_so_in_the_words_of_pop3() {
    let mut world = World::new(|options| options.connections_max = 1);
    let _first = world.connect(usize::MAX);
    let pipe = Pipe { input: VecDeque::new(), output: Vec::new(), room: usize::MAX, is_closed: false };
    let pipe = Rc::new(RefCell::new(pipe));
    let client = SocketAddr::from(([192, 0, 2, 2], 9));
    assert_eq!(world.server.accept(End(pipe.clone()), client, Service::Pop3, world.now()), None);
    let heard = String::from_utf8(pipe.borrow().output.clone()).unwrap();
    assert_eq!(heard, "-ERR [SYS/TEMP] too many connections, try again later\r\n");
}

#[test]
fn a_banner_that_is_held_back_from_those_who_bring_mail_is_not_from_those_who_read_it() {
    let mut world = World::new(|options| options.greeting_delay = Duration::from_secs(5));
    let client = world.connect(usize::MAX);
    assert!(client.heard().starts_with("+OK mx.example "));
}

#[test]
fn with_the_least_memory_a_part_is_still_read() {
    let mut world = World::new(|options| options.memory = MEMORY_MIN);
    world.put("alice", &["new/1.x"], 100_000);
    let client = world.login("alice");
    let said = world.say(&client, "RETR 1\r\n");
    assert!(said.len() > 99_000 && said.ends_with("\r\n.\r\n"));
}

#[test]
fn a_session_that_panics_over_an_answer_ends_alone_and_its_mailbox_is_free() {
    type Answer = fn(&mut World, Key);
    let answers: [Answer; 4] = [
        |world, key| {
            world.server.complete(Completion::Opened(key, Err(ErrorKind::Other.into())), world.now())
        },
        |world, key| {
            world.server.maildrops.reads_out += 1;
            world.server.complete(Completion::Read(key, Err(ErrorKind::Other.into())), world.now());
        },
        |world, key| {
            world.server.maildrops.updates += 1;
            let done = UpdateDone { removed: 0, is_whole: true, rest: None };
            world.server.complete(Completion::Updated(key, done), world.now());
        },
        |world, key| {
            let connection = world.server.connections.get_mut(key).unwrap();
            (connection.is_parked, connection.late_no) = (true, Some((world.now_ms, NoLogin::Failed)));
            world.server.watch(key);
            world.pass_secs(2);
        },
    ];
    let mut world = World::with_message(64);
    let other = world.login("bob");
    for answer in answers {
        let client = world.login("alice");
        answer(&mut world, client.key); // to what was not asked: a bug of ours
        world.turn();
        assert!(client.is_closed() && !other.is_closed());
        assert_eq!(world.server.maildrops.locked.len(), 1, "bob's");
    }
    assert_eq!(world.say(&other, "NOOP\r\n"), "+OK nothing done\r\n");
}

/// USERS, of whom alice is gone.
fn without_alice() -> Accounts {
    Accounts::parse(USERS).unwrap().without(&Address::new("alice", "example.com"))
}

/// USERS, of whom alice has bob's password.
fn with_another_password() -> Accounts {
    let accounts = Accounts::parse(USERS).unwrap();
    let bob = accounts.of_user("bob@example.com").unwrap();
    let alice = accounts.of_user("alice@example.com").unwrap();
    let changed = Account { hash: bob.hash.clone(), scram: bob.scram.clone(), ..alice.clone() };
    accounts.clone().with(changed).unwrap()
}

impl World {
    fn reload(&mut self, accounts: Accounts) {
        let reload = Reload { tls: None, accounts: Some(Arc::new(accounts)) };
        self.server.complete(Completion::Reloaded(reload), self.now());
        self.turn();
    }
}

#[test]
fn who_reads_is_dismissed_once_the_account_is_gone_or_its_password_changed_and_nothing_is_removed() {
    for accounts in [without_alice(), with_another_password()] {
        let mut world = World::with_message(64);
        let (alice, bob) = (world.login("alice"), world.login("bob"));
        world.say(&alice, "DELE 1\r\n");
        world.reload(Accounts::parse(USERS).unwrap());
        assert_eq!(world.say(&alice, "NOOP\r\n"), "+OK nothing done\r\n", "nothing has changed for her");
        world.reload(accounts);
        assert!(alice.heard().starts_with("-ERR [AUTH] the password was changed"));
        assert_eq!(world.server.maildrops.locked.len(), 1, "bob's");
        assert!(world.mailbox("alice").join("new/1.x").exists());
        assert_eq!(world.say(&bob, "NOOP\r\n"), "+OK nothing done\r\n");
    }
}

#[test]
fn who_waits_for_us_meanwhile_is_dismissed_when_it_no_longer_does() {
    let mut world = World::with_message(1 << 20);
    let reads = world.login("alice");
    world.send(&reads, "RETR 1\r\n");
    world.reload(without_alice());
    assert!(world.is_locked() && reads.heard().is_empty(), "a part is being read");
    world.work();
    assert!(!world.is_locked() && reads.heard().len() < 100_000, "it ends within the message");
}

#[test]
fn a_password_that_is_changed_while_it_is_judged_lets_nobody_in() {
    let mut world = World::with_message(64);
    let client = world.connect(usize::MAX);
    client.heard();
    world.send(&client, "USER alice@example.com\r\nPASS x\r\n");
    world.reload(with_another_password());
    world.work();
    assert!(!world.is_locked());
    world.pass_secs(2);
    assert!(client.heard().ends_with("-ERR [AUTH] wrong user or password\r\n"));
}

#[test]
fn an_update_asks_the_accounts_once_more_before_anything_is_removed() {
    let mut world = World::with_message(64);
    let client = world.login("alice");
    world.say(&client, "DELE 1\r\n");
    world.server.accounts = Arc::new(without_alice());
    assert!(world.say(&client, "QUIT\r\n").starts_with("-ERR [AUTH] the password was changed"));
    assert!(!world.is_locked() && world.mailbox("alice").join("new/1.x").exists());
}
