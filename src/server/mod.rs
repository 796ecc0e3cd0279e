//! The server as a value: sessions in slots, the log, the queue; driven by turns, asking for jobs.
//!
//! [`Server`] is generic over its streams, owns no thread, no clock and no channel. Ways in: [`accept`](Server::accept),
//! [`ready`](Server::ready), [`complete`](Server::complete), [`stop`](Server::stop) and [`turn`](Server::turn). Ways out:
//! the jobs of a turn, and what [`Turn`] says. mio and threads drive it in production; tests drive it with pipes.
pub mod connection;
pub mod courier;
pub mod job;
pub mod metrics;
mod queue;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use log::{Level, debug, error, info, log_enabled, warn};

use crate::QueueId;
use crate::limits::{READ_PER_TURN, RECEIVE_BUFFER};
use crate::log_value::Escaped;
use crate::net::slots::{Key, Slots};
use crate::net::timers::{Now, Timers};
use crate::smtp::trace::Trace;
use crate::smtp::{self, Address, Message, Need, Path, Profile, Reply, Session};
use crate::spool::{Committed, Durable, Pending, Prepared, Spool};
use connection::{CloseReason, Connection, Deadline, Phase, Received, Stream};
use job::{Completion, Job};
use metrics::Counters;
use queue::{Entry, Kept, Queue};

/// What the operator chose, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name we give in the banner, in EHLO and in Received fields.
    pub hostname: String,
    /// The domains whose mail we take, as [`Address::domain_key`](crate::smtp::Address::domain_key) spells them, the
    /// first of them `<postmaster>`'s; if empty, every domain is local.
    pub local_domains: Vec<String>,
    /// What becomes of accepted mail.
    pub deliver: Deliver,
    /// What a 250 means.
    pub durability: Durability,
    /// Octets of the largest message.
    pub message_size_max: u64,
    /// Recipients of one message.
    pub recipients_max: usize,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Octets of mail data in memory, all connections together.
    pub memory: u64,
    /// Octets of the spool on disk.
    pub spool_size: u64,
    /// How long a client may take for one whole command (RFC 5321 4.5.3.2.7: 5 minutes).
    pub command_timeout: Duration,
    /// How long mail data may pause (RFC 5321 4.5.3.2.5: 3 minutes).
    pub data_timeout: Duration,
    /// How long a connection may last.
    pub session_timeout: Duration,
    /// How long a stopping server waits for transactions and deliveries under way.
    pub shutdown_grace: Duration,
    /// How long the banner is held back to see who talks first; zero for not at all.
    pub greeting_delay: Duration,
}

/// What becomes of accepted mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// Into its recipients' Maildirs.
    Maildir,
    /// Nothing: it is thrown away, for measurements.
    Discard,
}

/// What a 250 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message is on disk: it survives kill -9 and power loss.
    Disk,
    /// The message is in memory: for comparisons only.
    None,
}

/// The server: all sessions, the log, the queue.
pub struct Server<S> {
    options: Options,
    profile: Arc<Profile>,
    connections: Slots<Connection<S>>,
    /// Connections that may be driven on, each once.
    ready: VecDeque<Key>,
    /// Connections that may have something to write, each once.
    dirty: Vec<Key>,
    timers: Timers,
    store: Store,
    /// Sessions whose message is in the log and not yet durable, in the log's order.
    waiting: VecDeque<Waiting>,
    queue: Queue,
    /// Octets of mail data in memory: arriving, being committed, or waiting in memory for delivery.
    memory: u64,
    buffer: Box<[u8]>,
    counters: Counters,
    stop: Option<Stopping>,
    failure: Option<String>,
    closed: usize,
}

/// Where accepted mail goes first.
enum Store {
    /// The durable log.
    Log(Box<Spool>),
    /// Nowhere (`--durability none`): an id is all it gets.
    Memory(QueueId),
}

/// A session that waits for its message to be durable.
struct Waiting {
    id: QueueId,
    key: Key,
    since: Duration,
    octets: usize,
    /// Octets of memory that it takes until then.
    held: u64,
    /// What the log will say of the message, unless nobody listens.
    facts: Option<Box<str>>,
}

/// What a session waits for, as far as its connection is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Input,
    Nothing,
}

/// A stop under way.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    until_ms: u64,
    is_over: bool,
}

/// What a turn leaves to the loop.
#[derive(Debug)]
pub struct Turn {
    /// How long the loop may sleep if nothing happens; none for as long as it likes.
    pub sleep: Option<Duration>,
    /// How many connections were closed.
    pub closed: usize,
    /// Whether the server has come to its end.
    pub end: Option<End>,
}

/// How a server ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Asked to, with everything durable; so many messages remain to be delivered at the next start.
    Stopped {
        /// Messages in the log that are not delivered.
        undelivered: usize,
    },
    /// Asked to twice: at once, with whatever was under way.
    Interrupted,
    /// The disk failed: what was not answered may be there or not.
    Failed(String),
}

impl<S: Stream> Server<S> {
    /// A server over a log and what was found in it; without a log, mail is kept in memory only, and `run` names this
    /// run of the server.
    pub fn new(options: Options, log: Result<(Spool, Vec<Pending>), u64>) -> Server<S> {
        let remark = match options.durability {
            Durability::Disk => "",
            Durability::None => "NOT DURABLE (mail is kept in memory only)",
        };
        let mut queue = Queue::default();
        let store = match log {
            Ok((spool, pending)) => {
                for Pending { id, place } in pending {
                    queue.push(Entry::new(id, Kept::Log(place), true));
                }
                Store::Log(Box::new(spool))
            }
            Err(run) => Store::Memory(QueueId { run, counter: 0 }),
        };
        Server {
            profile: Arc::new(Profile::new(
                &options.hostname,
                remark,
                options.message_size_max,
                options.recipients_max,
            )),
            options,
            connections: Slots::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            timers: Timers::default(),
            store,
            waiting: VecDeque::new(),
            queue,
            memory: 0,
            buffer: vec![0; RECEIVE_BUFFER].into(),
            counters: Counters::default(),
            stop: None,
            failure: None,
            closed: 0,
        }
    }

    /// Takes a new connection. None if there are too many already, or the server stops: the client was told.
    pub fn accept(&mut self, stream: S, client: SocketAddr, now: Now) -> Option<Key> {
        if self.stop.is_some() || self.connections.len() >= self.options.connections_max {
            self.turn_away(stream, client);
            return None;
        }
        self.counters.connections += 1;
        let greet_ms = now.ms() + self.options.greeting_delay.as_millis() as u64;
        let session = Session::new(self.profile.clone());
        let key = self.connections.insert(Connection::new(
            stream,
            client,
            session,
            Phase::Greeting(greet_ms),
            now.ms(),
        ));
        self.list(key);
        Some(key)
    }

    /// Turns a connection away with 421: one write that does not block; if it finds no room, the close says as much.
    pub fn turn_away(&mut self, mut stream: S, client: SocketAddr) {
        let reply = if self.stop.is_some() { Reply::SHUTTING_DOWN } else { Reply::TOO_MANY_CONNECTIONS };
        let _ = stream.write(format!("{}\r\n", reply.text()).as_bytes());
        self.counters.connections_refused += 1;
        debug!("turned away client={client}");
    }

    /// The stream of a connection, to have the kernel watch it.
    pub fn stream(&mut self, key: Key) -> Option<&mut S> {
        self.connections.get_mut(key).map(|connection| &mut connection.stream)
    }

    /// Closes a connection that cannot be served.
    pub fn abandon(&mut self, key: Key) {
        self.close(key, CloseReason::Reset);
    }

    /// Takes note of what the kernel says of a connection.
    pub fn ready(&mut self, key: Key, readable: bool, writable: bool, read_closed: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.may_be_readable |= readable || read_closed;
        connection.read_closed |= read_closed;
        if writable && !connection.outbox.is_empty() && !connection.is_dirty {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
        if connection.can_advance() {
            self.list(key);
        }
    }

    /// Takes a finished job back. Before the turn: completions free sessions, and clients wait for them.
    pub fn complete(&mut self, completion: Completion, now: Now) {
        match completion {
            Completion::Committed(committed) => self.committed(committed, now),
            Completion::Delivered(done) => self.delivered(done, now),
            Completion::Prepared(prepared) => self.prepared(prepared, now),
        }
    }

    /// One turn of the loop.
    pub fn turn(&mut self, now: Now, jobs: &mut dyn FnMut(Job)) -> Turn {
        self.drive_ready(now);
        self.expire(now);
        self.start_deliveries(now, jobs);
        self.start_commit(now, jobs); // the committer starts while we write
        self.flush(now);
        self.rest(now)
    }

    /// Begins to stop: idle sessions are dismissed, transactions under way have the grace to end.
    pub fn stop(&mut self, now: Now) {
        if self.stop.is_none() {
            let until_ms = now.ms() + self.options.shutdown_grace.as_millis() as u64;
            self.stop = Some(Stopping { until_ms, is_over: false });
            for key in self.connections.keys() {
                self.dismiss_if_idle(key);
            }
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many messages wait for delivery.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    fn list(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_listed
        {
            connection.is_listed = true;
            self.ready.push_back(key);
        }
    }

    fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_dirty
        {
            connection.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// Drives each ready connection once, by a fair share.
    fn drive_ready(&mut self, now: Now) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.is_listed = false;
            match connection.phase {
                Phase::Greeting(until_ms) => self.await_greeting(key, until_ms, now),
                Phase::Open => {}
                Phase::Lingering { reason, .. } => {
                    if connection.linger(&mut self.buffer) {
                        self.close(key, reason);
                    }
                    continue;
                }
                Phase::Finishing(_) => continue,
            }
            self.drive(key, now);
            self.watch(key);
            if self.connections.get(key).is_some_and(|connection| connection.can_advance()) {
                self.list(key);
            }
        }
    }

    /// Looks for input before the banner, and says the banner when its time has come.
    fn await_greeting(&mut self, key: Key, until_ms: u64, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.may_be_readable {
            match connection.receive(&mut self.buffer) {
                Received::Octets(octets) => {
                    self.counters.early_talkers += 1;
                    if !self.options.greeting_delay.is_zero() {
                        connection.session.dismiss(Reply::EARLY_TALKER, &mut connection.outbox);
                        connection.phase =
                            Phase::Finishing(CloseReason::Session(smtp::CloseReason::Dismissed));
                        return self.mark_dirty(key);
                    }
                    connection.carry = self.buffer[..octets].to_vec();
                    connection.has_fresh_carry = true;
                }
                Received::Nothing => {}
                Received::End => return self.close(key, CloseReason::Client),
                Received::Broken => return self.close(key, CloseReason::Reset),
            }
        }
        if until_ms <= now.ms() {
            self.greet(key, now);
        }
    }

    fn greet(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.phase = Phase::Open;
        connection.session.greet(&mut connection.outbox);
        connection.progressed(now.ms(), 0);
        self.mark_dirty(key);
    }

    /// Reads and advances one session until it needs something that is not here, or has had its share.
    fn drive(&mut self, key: Key, now: Now) {
        let mut share = READ_PER_TURN;
        // The buffer is lent to this loop, so that the session can be answered by the rest of the server.
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(connection) = self.connections.get_mut(key) {
            if connection.phase != Phase::Open || !connection.can_advance() || share == 0 {
                break;
            }
            let mut filled = connection.carry.len();
            buffer[..filled].copy_from_slice(&connection.carry);
            connection.carry = Vec::new();
            connection.has_fresh_carry = false;
            if connection.may_be_readable && filled < buffer.len() {
                match connection.receive(&mut buffer[filled..]) {
                    Received::Octets(octets) => {
                        filled += octets;
                        share = share.saturating_sub(octets);
                    }
                    Received::Nothing => {}
                    Received::End => connection.is_input_over = true,
                    Received::Broken => {
                        self.close(key, CloseReason::Reset);
                        break;
                    }
                }
            }
            match catch_unwind(AssertUnwindSafe(|| self.advance(key, &buffer[..filled], now))) {
                Ok(Wants::Input) => self.end_if_input_is_over(key),
                Ok(Wants::Nothing) => {}
                Err(_) => {
                    error!("a session panicked and was closed; please report this");
                    self.close(key, CloseReason::Panic);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Offers `input` to a session and does what it needs, until it needs something that is not here.
    fn advance(&mut self, key: Key, input: &[u8], now: Now) -> Wants {
        let mut consumed = 0;
        let mut answered = false;
        let mut wants = Wants::Nothing;
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Wants::Nothing };
            let waits_before = connection.outbox.pending().len();
            let progress = connection.session.advance(&input[consumed..], &mut connection.outbox);
            consumed += progress.consumed;
            answered |= connection.outbox.pending().len() > waits_before;
            match progress.need {
                Need::Input => {
                    wants = Wants::Input;
                    break;
                }
                Need::Room => break,
                Need::Sender(envelope) => {
                    let answer = if self.has_room() { Ok(envelope) } else { Err(Reply::STORAGE_FULL) };
                    self.answer(key, |session, out| session.answer_sender(answer, out));
                }
                Need::Recipient(path) => {
                    let answer = self.recipient(path);
                    self.answer(key, |session, out| session.answer_recipient(answer, out));
                }
                Need::Commit(message) => {
                    if !self.take(key, message, now) {
                        break;
                    }
                }
                Need::Close(reason) => {
                    connection.phase = Phase::Finishing(CloseReason::Session(reason));
                    break;
                }
            }
            answered = true;
        }
        let Some(connection) = self.connections.get_mut(key) else { return Wants::Nothing };
        if consumed < input.len() {
            connection.carry = input[consumed..].to_vec();
            connection.has_fresh_carry = wants == Wants::Nothing;
        }
        if answered || connection.session.is_in_data() && consumed > 0 {
            connection.progressed(now.ms(), consumed);
        }
        if answered {
            self.mark_dirty(key);
        }
        self.charge(key);
        wants
    }

    fn answer(&mut self, key: Key, say: impl FnOnce(&mut Session, &mut crate::wire::Outbox)) {
        if let Some(connection) = self.connections.get_mut(key) {
            say(&mut connection.session, &mut connection.outbox);
        }
    }

    /// Whether a new transaction has a chance: the log and the queue have room, and memory is left.
    fn has_room(&self) -> bool {
        let log_full = matches!(&self.store, Store::Log(spool) if spool.is_full());
        !log_full && !self.queue.is_full() && self.memory < self.options.memory
    }

    /// Whether mail for a path is taken, and for which address. A domain is compared whole.
    fn recipient(&self, path: Path) -> Result<Address, Reply> {
        if self.memory >= self.options.memory {
            return Err(Reply::MEMORY_FULL);
        }
        let locals = &self.options.local_domains;
        match path {
            Path::Mailbox(address)
                if locals.is_empty() || locals.iter().any(|local| *local == address.domain_key()) =>
            {
                if address.local_part().eq_ignore_ascii_case(POSTMASTER) {
                    return Ok(Address::new(POSTMASTER, address.domain()));
                }
                Ok(address)
            }
            Path::Postmaster => {
                Ok(Address::new(POSTMASTER, locals.first().unwrap_or(&self.options.hostname)))
            }
            Path::Mailbox(_) | Path::Null => Err(Reply::RELAY_DENIED),
        }
    }

    /// Takes a message into the log, or at once if there is none. Whether the session was answered; else it is parked.
    fn take(&mut self, key: Key, mut message: Message, now: Now) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let id = match &self.store {
            Store::Log(spool) => spool.next_id(),
            Store::Memory(last) => QueueId { counter: last.counter + 1, ..*last },
        };
        let arrived = now.unix.as_secs();
        message.trace = Trace {
            hello: connection.session.hello(),
            client: connection.client.ip().to_canonical(),
            hostname: &self.options.hostname,
            protocol: connection.session.protocol(&message.envelope),
            id,
            arrived,
        }
        .fields(&message.envelope);
        let octets = message.data.len();
        let held = message.data.capacity() as u64;
        let facts = log_enabled!(Level::Info).then(|| facts(&message, connection.client).into());
        let waiting = Waiting { id, key, since: now.monotonic, octets, held, facts };
        match &mut self.store {
            Store::Log(spool) => match spool.append(message, arrived) {
                Ok(appended) => {
                    debug_assert_eq!(appended, id);
                    self.memory += held;
                    connection.is_parked = true;
                    self.waiting.push_back(waiting);
                    false
                }
                Err(_) => {
                    self.counters.refused += 1;
                    self.answer(key, |session, out| session.committed(Err(Reply::STORAGE_FULL), out));
                    true
                }
            },
            Store::Memory(last) => {
                *last = id;
                if self.options.deliver == Deliver::Maildir {
                    self.memory += held;
                    self.queue.push(Entry::new(id, Kept::Memory(Box::new((message, arrived)), held), false));
                }
                self.accepted(waiting, now);
                true
            }
        }
    }

    /// Says 250: the message is what we promised it to be.
    fn accepted(&mut self, waiting: Waiting, now: Now) {
        let Waiting { id, key, since, octets, facts, .. } = waiting;
        self.counters.accepted += 1;
        self.counters.accepted_octets += octets as u64;
        if let Some(facts) = facts {
            let took = now.monotonic.saturating_sub(since);
            info!("accepted id={id} {facts} size={octets} durable_us={}", took.as_micros());
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.messages += 1;
        }
        self.answer(key, |session, out| session.committed(Ok(id), out));
    }

    /// A session that was parked goes on.
    fn unpark(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_parked = false;
        connection.progressed(now.ms(), 0);
        self.mark_dirty(key);
        self.list(key);
        if self.stop.is_some() {
            self.dismiss_if_idle(key);
        }
    }

    /// A batch is on disk, or is not.
    fn committed(&mut self, committed: Committed, now: Now) {
        let Store::Log(spool) = &mut self.store else { return };
        self.counters.commits += 1;
        self.counters.sync_time += committed.sync;
        match spool.committed(committed) {
            Ok(durable) => {
                if self.options.deliver == Deliver::Maildir {
                    for Durable { id, place, .. } in durable {
                        self.queue.push(Entry::new(id, Kept::Log(place), false));
                    }
                }
                let watermark = spool.durable();
                while self.waiting.front().is_some_and(|waiting| waiting.id.counter <= watermark) {
                    let Some(waiting) = self.waiting.pop_front() else { break };
                    let key = waiting.key;
                    self.memory -= waiting.held;
                    self.accepted(waiting, now);
                    self.unpark(key, now);
                }
            }
            Err(failed) if failed.fatal => {
                let sentence = format!(
                    "the log cannot be written: {}; recovery will judge what the disk holds",
                    failed.error
                );
                error!("{sentence}");
                self.failure = Some(sentence);
                self.refuse_waiting(self.waiting.len(), Reply::STORAGE_FAILED, now);
            }
            Err(failed) => {
                warn!("the disk has no room for {} messages: {}", failed.ids.len(), failed.error);
                self.refuse_waiting(failed.ids.len(), Reply::STORAGE_FULL, now);
            }
        }
    }

    /// The next segment is ready, or is not.
    fn prepared(&mut self, prepared: Prepared, now: Now) {
        let Store::Log(spool) = &mut self.store else { return };
        if let Err(failed) = spool.prepared(prepared, now.ms()) {
            warn!("no further segment of the log: {}; {} messages refused", failed.error, failed.ids.len());
            self.refuse_waiting(failed.ids.len(), Reply::STORAGE_FULL, now);
        }
    }

    /// Refuses the messages that have waited longest: the log takes them in order, and gives them up in order.
    fn refuse_waiting(&mut self, count: usize, reply: Reply, now: Now) {
        let refused: Vec<Waiting> = self.waiting.drain(..count).collect();
        for waiting in refused {
            self.counters.refused += 1;
            self.memory -= waiting.held;
            let key = waiting.key;
            self.answer(key, |session, out| session.committed(Err(reply), out));
            self.unpark(key, now);
        }
    }

    /// The courier has come back.
    fn delivered(&mut self, done: courier::DeliveryDone, now: Now) {
        for (delivery, failure) in &done.failed {
            warn!("deferred id={} {failure}", delivery.id);
        }
        if let Some(failure) = &done.sync_error {
            error!("the mailboxes cannot be made durable ({failure}); delivering again");
        }
        self.counters.delivery_failures += done.failed.len() as u64 + u64::from(done.sync_error.is_some());
        for entry in self.queue.done(done, now.ms()) {
            self.counters.delivered += 1;
            self.memory = self.memory.saturating_sub(entry.memory());
            if let (Kept::Log(place), Store::Log(spool)) = (&entry.kept, &mut self.store) {
                spool.settle(entry.id, *place);
            }
        }
    }

    /// Charges a connection's memory to the budget; sheds its message if the budget is used up. A message that is alone
    /// is never shed, for the budget holds the largest by configuration; only its envelope comes on top.
    fn charge(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut holds = connection.memory();
        let others = self.memory - connection.charged as u64;
        if others > 0 && others + holds as u64 > self.options.memory && connection.session.is_in_data() {
            connection.session.shed(Reply::MEMORY_FULL);
            self.counters.refused += 1;
            holds = connection.memory();
        }
        connection.charged = holds;
        self.memory = others + holds as u64;
    }

    /// The client will send nothing more, and what it sent is answered: the connection ends.
    fn end_if_input_is_over(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.is_input_over && connection.phase == Phase::Open {
            self.counters.aborted += u64::from(connection.session.is_in_transaction());
            connection.phase = Phase::Finishing(CloseReason::Client);
            self.mark_dirty(key);
        }
    }

    /// Looks for deadlines that have passed.
    fn expire(&mut self, now: Now) {
        if self.timers.next_ms().is_none_or(|next| now.ms() < next) {
            return;
        }
        let mut due = Vec::new();
        self.timers.expired(now.ms(), &mut due);
        for key in due {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.look_ms = u64::MAX;
            if let Some(deadline) = connection.deadline(&self.options)
                && deadline.ms() <= now.ms()
            {
                self.pass(key, deadline, now);
            }
            self.watch(key);
        }
    }

    /// A deadline has passed.
    fn pass(&mut self, key: Key, deadline: Deadline, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match deadline {
            Deadline::Greet(_) => {
                self.greet(key, now);
                self.list(key);
            }
            Deadline::Judge(_) => {
                if !connection.judge_minute(now.ms()) {
                    self.counters.timeouts += 1;
                    self.dismiss(key, Reply::DATA_TIMEOUT, CloseReason::DataTimeout);
                }
            }
            Deadline::Dismiss(_, reply, reason) => {
                self.counters.timeouts += 1;
                self.dismiss(key, reply, reason);
            }
            Deadline::Close(_, reason) => {
                self.counters.timeouts += u64::from(reason == CloseReason::WriteTimeout);
                self.close(key, reason);
            }
        }
    }

    /// Has the timers look at a connection in time.
    fn watch(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(deadline) = connection.deadline(&self.options)
            && deadline.ms() < connection.look_ms
        {
            connection.look_ms = self.timers.schedule(key, deadline.ms());
        }
    }

    fn dismiss(&mut self, key: Key, reply: Reply, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.session.dismiss(reply, &mut connection.outbox);
        connection.phase = Phase::Finishing(reason);
        self.charge(key);
        self.mark_dirty(key);
    }

    fn dismiss_if_idle(&mut self, key: Key) {
        if let Some(connection) = self.connections.get(key)
            && matches!(connection.phase, Phase::Open | Phase::Greeting(_))
            && !connection.is_parked
            && !connection.session.is_in_transaction()
        {
            self.dismiss(key, Reply::SHUTTING_DOWN, CloseReason::Shutdown);
        }
    }

    fn start_deliveries(&mut self, now: Now, jobs: &mut dyn FnMut(Job)) {
        let spool = match &self.store {
            Store::Log(spool) => Some(&**spool),
            Store::Memory(_) => None,
        };
        let is_over = self.stop.is_some_and(|stop| stop.is_over);
        if self.failure.is_none()
            && !is_over
            && let Some(job) = self.queue.job(spool, now.ms(), self.stop.is_some())
        {
            jobs(Job::Deliver(job));
        }
    }

    fn start_commit(&mut self, now: Now, jobs: &mut dyn FnMut(Job)) {
        let Store::Log(spool) = &mut self.store else { return };
        if self.failure.is_some() {
            return;
        }
        if self.stop.is_some() {
            spool.submit_settles();
        }
        if let Some(batch) = spool.submit(now.ms()) {
            jobs(Job::Commit(batch));
        }
        if let Some(prepare) = spool.prepare(now.ms()) {
            jobs(Job::Prepare(prepare));
        }
    }

    /// Writes once to every connection that has something to say.
    fn flush(&mut self, now: Now) {
        for key in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.is_dirty = false;
            if let Err(reason) = connection.write_pending(now.ms()) {
                self.close(key, reason);
                continue;
            }
            match connection.phase {
                Phase::Finishing(reason) if connection.outbox.is_empty() => {
                    if connection.finish(reason, now.ms()) {
                        self.close(key, reason);
                        continue;
                    }
                    self.list(key);
                }
                _ if connection.can_advance() => self.list(key),
                _ => {}
            }
            self.watch(key);
        }
    }

    /// How long to sleep, and whether this was the last turn.
    fn rest(&mut self, now: Now) -> Turn {
        let end = self.end(now);
        let wake = [
            self.timers.next_ms(),
            self.queue.next_ms(),
            match &self.store {
                Store::Log(spool) => spool.next_ms(),
                Store::Memory(_) => None,
            },
            self.stop.map(|stop| stop.until_ms),
        ];
        let sleep = if !self.ready.is_empty() || !self.dirty.is_empty() || end.is_some() {
            Some(Duration::ZERO)
        } else {
            let wake = wake.into_iter().flatten().min();
            wake.map(|ms| Duration::from_millis(ms).saturating_sub(now.monotonic))
        };
        Turn { sleep, closed: std::mem::take(&mut self.closed), end }
    }

    /// Whether the server is at its end.
    fn end(&mut self, now: Now) -> Option<End> {
        if let Some(sentence) = &self.failure {
            return Some(End::Failed(sentence.clone()));
        }
        let stop = self.stop?;
        if now.ms() >= stop.until_ms && !stop.is_over {
            self.stop = Some(Stopping { is_over: true, ..stop });
            for key in self.connections.keys() {
                if self
                    .connections
                    .get(key)
                    .is_some_and(|connection| connection.phase == Phase::Open && !connection.is_parked)
                {
                    self.dismiss(key, Reply::SHUTTING_DOWN, CloseReason::Shutdown);
                }
            }
            return None;
        }
        let is_log_idle = match &self.store {
            Store::Log(spool) => spool.is_idle(),
            Store::Memory(_) => true,
        };
        let is_quiet = self.connections.is_empty() && self.queue.is_empty();
        // Behind the grace only the log is waited for: what it holds was promised, or may be.
        let may_leave =
            is_log_idle && self.waiting.is_empty() && self.dirty.is_empty() && (is_quiet || stop.is_over);
        may_leave.then(|| End::Stopped { undelivered: self.queue.len() })
    }

    fn close(&mut self, key: Key, reason: CloseReason) {
        let Some(connection) = self.connections.remove(key) else { return };
        self.memory -= connection.charged as u64;
        self.closed += 1;
        self.counters.aborted += u64::from(reason == CloseReason::Reset);
        info!(
            "closed client={} reason={} hello={} messages={}",
            connection.client,
            reason.word(),
            Escaped(connection.session.hello().as_bytes()),
            connection.messages
        );
    }
}

/// What the log says of a message: who sent it from where to whom.
fn facts(message: &Message, client: SocketAddr) -> String {
    use std::fmt::Write;
    let mut text = format!("client={client} from=");
    let sender =
        message.envelope.reverse_path.as_ref().map(|address| address.to_string()).unwrap_or_default();
    let recipients = &message.envelope.forward_paths;
    let first = recipients.first().map(|address| address.to_string()).unwrap_or_default();
    write!(
        text,
        "{} to={} recipients={}",
        Escaped(sender.as_bytes()),
        Escaped(first.as_bytes()),
        recipients.len()
    )
    .expect("a String takes what it is given");
    text
}

const POSTMASTER: &str = "postmaster";
