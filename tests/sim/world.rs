//! One run: steps by chance, faults, crashes and restarts, and in the end a quiet in which everything must be in order.

use std::sync::Arc;
use std::time::Duration;

use fastsmtp::limits::SEGMENTS_FREE_MAX;
use fastsmtp::net::timers::Now;
use fastsmtp::server::job::Completion;
use fastsmtp::server::{Deliver, Durability, End as ServerEnded, Log, Options, Server};
use fastsmtp::spool::{Spool, SpoolOptions};

use super::client::{Character, Client, Reads};
use super::dialogue::Rules;
use super::oracle::{Failure, Oracle, Verdict};
use super::pipe::{End, ServerEnd};
use super::random::Random;
use super::workers::{Kind, Workers};
use crate::faulty_disk::{Crash, EIO, ENOSPC, Fault, FaultyDisk};

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

struct World {
    seed: u64,
    random: Random,
    options: Options,
    spool_options: SpoolOptions,
    /// Octets that may have arrived at a connection and not been read.
    window: usize,
    write_max: usize,
    disk: FaultyDisk,
    /// None between two lives.
    server: Option<Server<ServerEnd>>,
    workers: Workers,
    clients: Vec<Client>,
    clients_ever: usize,
    /// Connections that wait to be accepted, with their client's number.
    connecting: Vec<(usize, ServerEnd)>,
    now: Duration,
    /// When this life began, on the same clock.
    began: Duration,
    /// What the wall clock is off by, in seconds.
    unix_secs: u64,
    /// When the loop wakes by itself.
    wake: Option<Duration>,
    is_stopping: bool,
    restarts: usize,
    oracle: Oracle,
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
        hostname: "mx.sim.example".into(),
        local_domains: vec!["sim.example".into()],
        deliver: Deliver::Maildir,
        durability: Durability::Disk,
        message_size_max,
        recipients_max: 4,
        connections_max: random.within(2..=6),
        memory: message_size_max * random.pick(&[1, 2, 20]),
        spool_size: SEGMENT_SIZE * random.within(8..=14) as u64,
        command_timeout: Duration::from_secs(300),
        data_timeout: Duration::from_secs(180),
        session_timeout: Duration::from_secs(1000),
        shutdown_grace: Duration::from_secs(5),
        greeting_delay: Duration::from_millis(if random.one_in(6) { 300 } else { 0 }),
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
            30..330 => self.act()?,
            330..460 => {
                let at = self.random.below(self.clients.len());
                self.flow(at);
            }
            460..760 => {
                self.poll()?;
            }
            760..880 => self.work()?,
            880..940 => self.pass_time(),
            940..960 => self.read_mail(),
            960..970 => self.leave(),
            970..980 => self.arm(),
            980..987 => self.disk.heal(),
            987..992 => self.calm()?,
            992..994 => self.stop()?,
            994..996 => self.restart(None)?,
            996..999 => self.crash()?,
            _ => self.jump(),
        }
        self.notice_crash()?;
        self.forget_clients()
    }

    fn server(&mut self) -> &mut Server<ServerEnd> {
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

    fn connect_as(&mut self, character: Character) {
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
        self.run_job(kind)
    }

    fn run_job(&mut self, kind: Kind) -> Verdict {
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

    fn pass_time(&mut self) {
        let ms = match self.random.below(40) {
            0 => 100_000,
            1..4 => 5000,
            4..16 => 700,
            _ => 20,
        };
        self.now += Duration::from_micros(self.random.below(ms * 1000) as u64);
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
    fn arm(&mut self) {
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

    fn forget_clients(&mut self) -> Verdict {
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
    fn poll(&mut self) -> Verdict<bool> {
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
            let key = self.server().accept(stream, address, now);
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
            Some(ServerEnded::Stopped { undelivered }) => self.stopped(undelivered),
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
        // Beside the budget: a message that is alone is never shed, and what one read brings is only charged then.
        let slack = self.options.message_size_max + (connections * (self.window + 4096)) as u64;
        if memory > self.options.memory + slack {
            return Err(Failure::new(format!("{memory} octets of memory, of {}", self.options.memory)));
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

// Crashes and starts.
impl World {
    fn notice_crash(&mut self) -> Verdict {
        if self.disk.is_crashed() { self.crash() } else { Ok(()) }
    }

    fn crash(&mut self) -> Verdict {
        let crash = self.random_crash();
        self.restart(Some(crash))
    }

    fn random_crash(&mut self) -> Crash {
        match self.random.below(5) {
            0 => Crash::Lost,
            1 => Crash::Kept,
            2 => Crash::Torn(self.random.below(12)),
            _ => Crash::Any(self.random.next()),
        }
    }

    /// The machine crashes, or without a `crash` only the process; and it starts again.
    fn restart(&mut self, crash: Option<Crash>) -> Verdict {
        self.restart_with(crash).map(drop)
    }

    /// Gives how many messages were recovered, unless something struck meanwhile.
    fn restart_with(&mut self, crash: Option<Crash>) -> Verdict<Option<usize>> {
        self.oracle.note(None, format!("restart; the machine: {crash:?}"));
        self.restarts += 1;
        for mut client in std::mem::take(&mut self.clients) {
            client.read(usize::MAX, &mut self.oracle)?; // what was written was promised
        }
        self.connecting.clear();
        self.server = None;
        self.oracle.server_ends();
        self.disk.heal();
        if let Some(crash) = crash {
            self.lose(crash)?;
        }
        self.start()
    }

    fn lose(&mut self, crash: Crash) -> Verdict {
        self.disk = self.disk.after(crash);
        self.oracle.look_again(&self.disk)
    }

    /// Starts a server over what the disk holds, however often it is struck while it recovers.
    fn start(&mut self) -> Verdict<Option<usize>> {
        for attempt in 0.. {
            if self.restarts > 0 && attempt < 5 && self.random.one_in(4) {
                self.arm();
            }
            let was_armed = self.disk.is_armed();
            let recovered = Spool::recover(Arc::new(self.disk.clone()), self.spool_options);
            if self.disk.is_crashed() {
                let crash = self.random_crash();
                self.oracle.note(None, format!("crash in recovery: {crash:?}"));
                self.lose(crash)?;
                continue;
            }
            self.disk.heal();
            match recovered {
                Ok((spool, recovered)) => {
                    if recovered.report.damage != [] {
                        return Err(Failure::new(format!("damage: {:?}", recovered.report.damage)));
                    }
                    self.oracle.recovered(&spool, &recovered.pending)?;
                    let found = recovered.pending.len();
                    self.begin(Server::new(
                        self.options.clone(),
                        Log::Spool(Box::new(spool), recovered.pending),
                    ));
                    return Ok((!was_armed).then_some(found));
                }
                Err(_) if was_armed => {}
                Err(error) => return Err(Failure::new(format!("it cannot start: {error}"))),
            }
        }
        unreachable!("only so many attempts are struck")
    }

    fn begin(&mut self, server: Server<ServerEnd>) {
        if self.write_max < usize::MAX {
            let _ = self.disk.clone().with_short_writes(self.write_max);
        }
        self.server = Some(server);
        self.workers = Workers::new(&self.disk);
        self.began = self.now;
        self.wake = Some(self.now);
        self.is_stopping = false;
        self.oracle.had_fault = false;
    }
}

// Quiet.
impl World {
    /// Nothing new happens for a while: then nobody may wait for an answer.
    fn calm(&mut self) -> Verdict {
        self.run_until(self.now + CALM)?;
        let owed = self.clients.iter().find_map(|client| {
            let owed = client.dialogue.owed(client.arrived)?;
            (client.left != Some(End::Reset)).then(|| format!("client {} is owed {owed:?}", client.number))
        });
        match owed {
            Some(what) => Err(Failure::new(format!("a lost wake-up: all is still, and {what}"))),
            None => Ok(()),
        }
    }

    /// Has everything happen that is under way, and time pass where the loop waits for it.
    fn run_until(&mut self, until: Duration) -> Verdict {
        for _ in 0..QUIET_TURNS_MAX {
            let mut moved = false;
            for client in &mut self.clients {
                moved |= client.flow(usize::MAX, self.window, &mut self.oracle);
                client.read(usize::MAX, &mut self.oracle)?;
            }
            for kind in self.workers.waiting() {
                self.run_job(kind)?;
                moved = true;
                if self.disk.is_crashed() {
                    self.crash()?;
                    break;
                }
            }
            moved |= self.poll()?;
            self.forget_clients()?;
            if !moved {
                match self.wake {
                    Some(wake) if wake <= until => self.now = self.now.max(wake),
                    _ => {
                        self.now = self.now.max(until);
                        return Ok(());
                    }
                }
            }
        }
        let clients: Vec<String> = self.clients.iter().map(Client::describe).collect();
        Err(Failure::new(format!(
            "the loop does not come to rest; it would wake at {:?} of {:?}; {clients:?}",
            self.wake, self.now
        )))
    }

    /// All clients leave, all faults end: in the end everything is delivered and given back, and there is service.
    fn end(&mut self) -> Verdict {
        self.oracle.note(None, "the end begins");
        self.disk.heal();
        self.calm()?;
        self.everybody_leaves();
        self.run_until(self.now + QUIET)?;
        self.check_quiet()?;
        self.there_is_service()?;
        self.check_quiet()?;
        let crash = self.random_crash();
        match self.restart_with(Some(crash))? {
            Some(recovered) if recovered > 0 => {
                Err(Failure::new(format!("{recovered} messages are recovered that were settled long ago")))
            }
            _ => self.oracle.nothing_is_missing(|_| false),
        }
    }

    fn everybody_leaves(&mut self) {
        for at in 0..self.clients.len() {
            let how = self.random.pick(&[End::Closed, End::Reset]);
            self.clients[at].leave(how);
        }
    }

    /// A client that keeps trying has a mail accepted.
    fn there_is_service(&mut self) -> Verdict {
        let mail = self.oracle.next_mail();
        for _ in 0..SERVICE_STEPS_MAX {
            if (mail..self.oracle.mails()).any(|mail| self.oracle.is_accepted(mail)) {
                self.everybody_leaves();
                return self.run_until(self.now + QUIET);
            }
            match self.clients.first_mut() {
                Some(client) => client.act(&mut self.random, &mut self.oracle)?,
                None => self.connect_as(EAGER),
            }
            self.run_until(self.now + SERVICE_STEP)?;
        }
        let clients: Vec<String> = self.clients.iter().map(Client::describe).collect();
        Err(Failure::new(format!(
            "there is no service: all is quiet, and no mail is accepted of {clients:?}"
        )))
    }

    /// Everything was given back.
    fn check_quiet(&mut self) -> Verdict {
        self.oracle.nothing_is_missing(|_| false)?;
        let (connections, queued, memory) =
            (self.server().connections(), self.server().queued(), self.server().memory());
        if (connections, queued, memory) != (0, 0, 0) || !self.workers.are_idle() {
            let what = format!(
                "all is quiet, and there are {connections} connections, {queued} queued, {memory} octets"
            );
            return Err(Failure::new(what));
        }
        if let Some(path) =
            self.disk.tree("mailboxes").iter().find(|path| path.to_string_lossy().contains("/tmp/"))
        {
            return Err(Failure::new(format!("left behind: {}", path.display())));
        }
        let segments = self.disk.paths("spool").len();
        if segments > SEGMENTS_FREE_MAX + 3 {
            return Err(Failure::new(format!("all is settled, and the log has {segments} segments")));
        }
        Ok(())
    }
}

/// Long enough for everything that the server does by time, but for deadlines of its clients.
const CALM: Duration = Duration::from_secs(15);
/// Long enough for those too, and for the longest pause between two attempts to deliver.
const QUIET: Duration = Duration::from_secs(1500);
const QUIET_TURNS_MAX: usize = 20_000;
const SERVICE_STEPS_MAX: usize = 1000;
/// Longer than any banner is held back.
const SERVICE_STEP: Duration = Duration::from_millis(500);
const EAGER: Character = Character { is_lockstep: true, is_hasty: false, reads: Reads::All, cut_max: 100 };
