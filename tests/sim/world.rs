//! One run: steps by chance, faults, crashes and restarts, and in the end a quiet in which everything must be in order.

use std::time::Duration;

use fastsmtp::limits::COMMANDS_RECEIVED_MAX;
use fastsmtp::net::timers::Now;
use fastsmtp::server::job::Completion;
use fastsmtp::server::{End as ServerEnded, Options, Server, Service};
use fastsmtp::spool::SpoolOptions;

use super::client::{Character, Client, Reads};
use super::dialogue::Rules;
use super::oracle::{Failure, Oracle, Verdict};
use super::pipe::{End, ServerEnd};
use super::random::Random;
use super::workers::{Kind, Workers};
use crate::faulty_disk::{EIO, ENOSPC, Fault, FaultyDisk};

/// What a run was made of, so that a test can insist that something happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub steps: u64,
    pub mails: usize,
    pub accepted: usize,
    pub restarts: usize,
    /// A number that differs if two runs do.
    pub mark: u64,
}

impl Summary {
    pub fn add(&mut self, other: Summary) {
        self.steps += other.steps;
        self.mails += other.mails;
        self.accepted += other.accepted;
        self.restarts += other.restarts;
        self.mark ^= other.mark;
    }
}

/// Runs a seed. An error is the story of a broken promise.
pub fn run(seed: u64) -> Result<Summary, String> {
    let mut world = World::new(seed);
    let result = world.live();
    match result {
        Ok(()) if !super::panicked() => Ok(world.summary()),
        Ok(()) => Err(world.story(Failure::new("a session panicked"))),
        Err(failure) => Err(world.story(failure)),
    }
}

pub struct World {
    pub(super) seed: u64,
    pub(super) random: Random,
    pub(super) options: Options,
    pub(super) spool_options: SpoolOptions,
    /// Of so many faults and crashes that might strike, one does; 0 for none, as the good days are.
    pub(super) mercy: usize,
    /// Octets that may have arrived at a connection and not been read.
    pub(super) window: usize,
    pub(super) write_max: usize,
    pub(super) disk: FaultyDisk,
    /// None between two lives.
    pub(super) server: Option<Server<ServerEnd>>,
    pub(super) workers: Workers,
    pub(super) clients: Vec<Client>,
    pub(super) clients_ever: usize,
    /// Connections that wait to be accepted, with their client's number.
    pub(super) connecting: Vec<(usize, ServerEnd)>,
    pub(super) now: Duration,
    /// When this life began, on the same clock.
    pub(super) began: Duration,
    /// What the wall clock is off by, in seconds.
    pub(super) unix_secs: u64,
    /// When the loop wakes by itself.
    pub(super) wake: Option<Duration>,
    pub(super) is_stopping: bool,
    /// Whether the last recovery was struck: it leaves what it could not remove.
    pub(super) was_struck: bool,
    pub(super) restarts: usize,
    pub(super) oracle: Oracle,
}

// Its making and its end.
impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let options = options(&mut random);
        let disk = FaultyDisk::new(random.next());
        let write_max = if random.one_in(4) { random.within(700..=5000) } else { usize::MAX };
        World {
            seed,
            mercy: random.pick(&[0, 1, 2, 6]),
            window: random.pick(&[600, 5000, 40_000, 200_000]),
            write_max,
            spool_options: SpoolOptions {
                spool_size: options.spool_size,
                segment_size: SEGMENT_SIZE,
                settled_at_commit: false,
            },
            options,
            workers: Workers::new(&disk),
            disk,
            server: None,
            clients: Vec::new(),
            clients_ever: 0,
            connecting: Vec::new(),
            now: Duration::ZERO,
            began: Duration::ZERO,
            unix_secs: 1_800_000_000,
            wake: None,
            is_stopping: false,
            was_struck: false,
            restarts: 0,
            oracle: Oracle::default(),
            random,
        }
    }

    fn live(&mut self) -> Verdict {
        self.make_directories();
        self.start()?;
        let steps = self.random.within(STEPS_MAX / 8..=STEPS_MAX);
        for _ in 0..steps {
            self.oracle.step += 1;
            self.step()?;
        }
        self.end()
    }

    /// What the program makes before there is a server.
    fn make_directories(&self) {
        use fastsmtp::disk::Disk;
        for path in ["spool", "mailboxes"] {
            self.disk.create_dir(path.as_ref()).expect("the disk is new");
        }
        self.disk.sync_dir(".".as_ref()).expect("nothing strikes yet");
    }

    fn summary(&mut self) -> Summary {
        Summary {
            steps: self.oracle.step,
            mails: self.oracle.mails(),
            accepted: self.oracle.accepted(),
            restarts: self.restarts,
            mark: self.random.next() ^ self.now.as_nanos() as u64 ^ self.disk.operations(),
        }
    }

    fn story(&self, failure: Failure) -> String {
        let about = failure.mail.map_or(String::new(), |mail| format!("mail {mail} "));
        format!(
            "SEED={}, step {}: {about}{}\nwhat happened:\n{}",
            self.seed,
            self.oracle.step,
            failure.what,
            self.oracle.story(failure.mail)
        )
    }
}

fn options(random: &mut Random) -> Options {
    let message_size_max = random.pick(&[2000, 9000, 20_000, 45_000]);
    Options {
        local_domains: vec!["sim.example".into()],
        message_size_max,
        recipients_max: 4,
        connections_max: random.within(2..=6),
        memory: message_size_max * random.pick(&[1, 2, 20]),
        spill_beyond: random.pick(&[100, 1000, 1 << 20]),
        spool_size: SEGMENT_SIZE * random.within(8..=14) as u64,
        session_timeout: Duration::from_secs(1000),
        greeting_delay: Duration::from_millis(if random.one_in(6) { 300 } else { 0 }),
        ..Options::new("mx.sim.example")
    }
}

/// Small, so that a short run changes segments often.
const SEGMENT_SIZE: u64 = 32 * 1024;
const STEPS_MAX: usize = 2000;

// Its steps.
impl World {
    fn step(&mut self) -> Verdict {
        match self.random.below(1000) {
            0..30 => self.connect(),
            30..380 => self.act()?,
            380..480 => {
                let at = self.random.below(self.clients.len());
                self.flow(at);
            }
            480..760 => {
                self.poll()?;
            }
            760..880 => self.work()?,
            880..935 => self.pass_time()?,
            935..955 => self.read_mail(),
            955..965 => self.leave(),
            965..970 => self.calm()?,
            970..971 => self.jump(),
            971..973 => self.stop()?,
            _ if self.mercy > 0 && self.random.one_in(self.mercy) => self.strike()?,
            _ => {}
        }
        self.notice_crash()?;
        self.forget_clients()
    }

    fn strike(&mut self) -> Verdict {
        match self.random.below(27) {
            0..12 => self.arm(),
            12..22 => self.disk.heal(),
            22..24 => self.restart(None)?,
            _ => self.crash()?,
        }
        Ok(())
    }

    pub(super) fn server(&mut self) -> &mut Server<ServerEnd> {
        self.server.as_mut().expect("there is a server between steps")
    }

    fn now(&self) -> Now {
        let monotonic = self.now - self.began;
        Now { monotonic, unix: Duration::from_secs(self.unix_secs) + self.now }
    }

    fn connect(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            let reads = self.random.pick(&[
                Reads::All,
                Reads::All,
                Reads::All,
                Reads::All,
                Reads::Little,
                Reads::Nothing,
            ]);
            let character = Character {
                is_lockstep: self.random.one_in(3),
                is_hasty: self.random.one_in(3),
                reads,
                cut_max: self.random.pick(&[3, 100, 3000, 100_000]),
            };
            self.connect_as(character);
        }
    }

    pub(super) fn connect_as(&mut self, character: Character) {
        let rules = Rules {
            message_size_max: self.options.message_size_max,
            recipients_max: self.options.recipients_max,
            may_refuse_early_talkers: !self.options.greeting_delay.is_zero(),
        };
        self.clients_ever += 1;
        let (client, server_end) = Client::new(self.clients_ever, rules, character, &mut self.random);
        self.connecting.push((client.number, server_end));
        self.clients.push(client);
    }

    fn act(&mut self) -> Verdict {
        let at = self.random.below(self.clients.len());
        let Some(client) = self.clients.get_mut(at) else { return Ok(()) };
        client.act(&mut self.random, &mut self.oracle)?;
        if !self.random.one_in(4) {
            self.flow(at);
        }
        Ok(())
    }

    /// Something of what a client sent arrives.
    fn flow(&mut self, at: usize) {
        if let Some(client) = self.clients.get_mut(at) {
            let max = self.random.within(1..=client.character.cut_max);
            client.flow(max, self.window, &mut self.oracle);
        }
    }

    fn leave(&mut self) {
        let at = self.random.below(self.clients.len());
        let how = self.random.pick(&[End::Closed, End::Reset]);
        if let Some(client) = self.clients.get_mut(at) {
            client.leave(how);
        }
    }

    /// Runs a job that waits.
    fn work(&mut self) -> Verdict {
        let waiting = self.workers.waiting();
        if waiting.is_empty() {
            return Ok(());
        }
        let kind = self.random.pick(&waiting);
        self.run_job(kind)?;
        // What a fault leaves of a batch is at its most fragile until the next one.
        if kind == Kind::Commit && self.disk.is_armed() && !self.disk.is_crashed() && self.random.one_in(6) {
            self.poll()?;
            return self.crash();
        }
        Ok(())
    }

    pub(super) fn run_job(&mut self, kind: Kind) -> Verdict {
        let was_armed = self.disk.is_armed();
        self.workers.run(kind);
        if kind == Kind::Commit {
            self.oracle.batch_ends(!was_armed && !self.disk.is_crashed());
        }
        if kind == Kind::Deliver && !self.disk.is_crashed() {
            self.oracle.look(&self.disk)?;
        }
        Ok(())
    }

    /// Time passes while the loop sleeps: not before a turn that is due.
    fn pass_time(&mut self) -> Verdict {
        if self.wake.is_some_and(|wake| wake <= self.now) {
            self.poll()?;
        }
        let ms = match self.random.below(40) {
            0 => 100_000,
            1..4 => 5000,
            4..16 => 700,
            _ => 20,
        };
        self.now += Duration::from_micros(self.random.below(ms * 1000) as u64);
        Ok(())
    }

    /// The wall clock is set: to tomorrow, or to yesterday.
    fn jump(&mut self) {
        let day = 86_400;
        self.unix_secs = if self.random.one_in(2) { self.unix_secs + day } else { self.unix_secs - day };
    }

    /// Somebody reads mail: it moves to `cur/`, or is deleted.
    fn read_mail(&mut self) {
        use fastsmtp::disk::Disk;
        let n = self.random.below(1000);
        let Some(path) = self.oracle.nth_copy(n) else { return };
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        if self.random.one_in(2) || name.contains(':') {
            if self.disk.remove(&path).is_ok() {
                self.oracle.took(&path);
            }
        } else if let Some(mailbox) = path.ancestors().nth(2) {
            let seen = mailbox.join("cur").join(format!("{name}:2,S"));
            if self.disk.rename(&path, &seen).is_ok() {
                self.oracle.moved(&path, &seen);
            }
        }
    }

    /// Has a fault strike soon.
    pub(super) fn arm(&mut self) {
        let fault = self.random.pick(&[
            Fault::Crash,
            Fault::Crash,
            Fault::Crash,
            Fault::Error(EIO),
            Fault::Error(ENOSPC),
            Fault::Full,
        ]);
        let operation = self.disk.operations() + self.random.below(60) as u64;
        self.oracle.note(None, format!("{fault:?} is to strike at operation {operation}"));
        self.oracle.had_fault = true;
        let _ = self.disk.clone().with(operation, fault);
    }

    /// A signal comes: it is taken in the turn that it causes.
    fn stop(&mut self) -> Verdict {
        self.is_stopping = true;
        self.oracle.note(None, "the server is asked to stop");
        let now = self.now();
        self.server().stop(now);
        self.wake = Some(self.now);
        self.poll().map(drop)
    }

    pub(super) fn forget_clients(&mut self) -> Verdict {
        for at in (0..self.clients.len()).rev() {
            self.clients[at].check_cost()?;
            if self.clients[at].is_over(&mut self.oracle)? {
                self.clients[at].leave(End::Closed);
                if self.clients[at].pipe.is_dropped() {
                    self.clients.swap_remove(at);
                }
            }
        }
        Ok(())
    }
}

const CLIENTS_MAX: usize = 8;

// The loop.
impl World {
    /// Polls, and takes a turn if anything woke the loop. Gives whether it did.
    pub(super) fn poll(&mut self) -> Verdict<bool> {
        let is_due = self.wake.is_some_and(|wake| wake <= self.now);
        let has_event = self.clients.iter().any(|client| client.key.is_some() && client.pipe.has_event());
        if !is_due && !has_event && !self.workers.has_done() && self.connecting.is_empty() {
            return Ok(false);
        }
        self.tell_events();
        let now = self.now();
        for completion in self.workers.done() {
            self.take_note(&completion);
            self.server().complete(completion, now);
        }
        self.accept(now);
        self.turn(now)?;
        Ok(true)
    }

    /// Tells the server of some of the edges; the rest with a later poll.
    fn tell_events(&mut self) {
        let Some(server) = &mut self.server else { return };
        for client in &self.clients {
            if let Some(key) = client.key
                && !self.random.one_in(5)
                && let Some(event) = client.pipe.event()
            {
                server.ready(key, event.readable, event.writable, event.read_closed);
            }
        }
    }

    fn take_note(&mut self, completion: &Completion) {
        if let Completion::Delivered(done) = completion {
            self.oracle.delivered(&done.settled);
            let again = done.retry.iter().chain(done.failed.iter().map(|(delivery, _)| delivery));
            again.for_each(|delivery| self.oracle.deferred(delivery.id));
        }
    }

    fn accept(&mut self, now: Now) {
        for (number, stream) in std::mem::take(&mut self.connecting) {
            let client = self.clients.iter().position(|client| client.number == number);
            let Some(client) = client else { continue };
            let address = self.clients[client].address;
            let key = self.server().accept(stream, address, Service::Smtp, now);
            self.clients[client].key = key;
        }
    }

    fn turn(&mut self, now: Now) -> Verdict {
        let mut jobs = Vec::new();
        let turn = self.server().turn(now, &mut |job| jobs.push(job));
        for job in jobs {
            if self.workers.submit(job)? == Kind::Commit {
                self.oracle.batch_begins();
            }
        }
        self.wake = turn.sleep.map(|sleep| self.now + sleep);
        self.check_bounds()?;
        match turn.end {
            None => Ok(()),
            Some(ServerEnded::Stopped { undelivered, .. }) => self.stopped(undelivered),
            Some(end) => {
                self.oracle.note(None, format!("the server ends: {end:?}"));
                if self.oracle.had_fault {
                    self.restart(None)
                } else {
                    Err(Failure::new(format!("no fault, and {end:?}")))
                }
            }
        }
    }

    fn check_bounds(&mut self) -> Verdict {
        let (memory, connections) = (self.server().memory(), self.server().connections());
        // Beside the budget: a message that is alone is never shed, envelopes and carries are counted and not refused.
        let each = self.window + COMMANDS_RECEIVED_MAX + 4096;
        let slack = self.options.message_size_max + (connections * each) as u64;
        if memory > self.options.memory + slack {
            return Err(Failure::new(format!("{memory} octets of memory, of {}", self.options.memory)));
        }
        let on_their_way = self.workers.spill_octets();
        if memory < on_their_way {
            return Err(Failure::new(format!(
                "{memory} octets are counted, {on_their_way} wait to be written"
            )));
        }
        if connections > self.options.connections_max {
            return Err(Failure::new(format!("{connections} connections")));
        }
        Ok(())
    }

    /// The server stopped as it was asked to: what it left is what the next start finds.
    fn stopped(&mut self, undelivered: usize) -> Verdict {
        self.oracle.note(None, format!("the server stopped, {undelivered} undelivered"));
        let had_fault = self.oracle.had_fault;
        let found = self.restart_with(None)?;
        match found {
            // More may be found: where the log is full, settlements do not get into it.
            Some(found) if found < undelivered && !had_fault => {
                Err(Failure::new(format!("it left {undelivered} undelivered, and {found} are recovered")))
            }
            _ => Ok(()),
        }
    }
}
