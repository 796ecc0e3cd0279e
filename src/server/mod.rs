//! The server as a value: sessions in slots, the log, the queue; driven by turns, asking for jobs.
//!
//! [`Server`] is generic over its streams, owns no thread, no clock and no channel. Ways in: [`accept`](Server::accept),
//! [`ready`](Server::ready), [`complete`](Server::complete), [`stop`](Server::stop) and [`turn`](Server::turn). Ways out:
//! the jobs of a turn, and what [`Turn`] says. mio and threads drive it in production; tests drive it with pipes.

mod acceptance;
pub mod clients;
pub mod connection;
pub mod courier;
mod driving;
mod held;
pub mod job;
mod logins;
pub mod maildrop;
pub mod metrics;
mod options;
mod passage;
mod policy;
mod proxied;
mod queue;
mod quotas;
mod securing;
mod spilling;
mod spoken;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, info};

use crate::QueueId;
use crate::accounts::Accounts;
use crate::limits::CONNECTIONS_RESERVED;
use crate::log_value::Escaped;
use crate::net::slots::{Key, Slots};
use crate::net::timers::{Now, Timers};
use crate::net::tls::ServerTls;
use crate::spool::{Pending, SpillJob, Spool};
use acceptance::{DateText, Store, Waiting};
pub use clients::ClientLimits;
use clients::Clients;
use connection::{CloseReason, Connection, Phase, Stream};
use job::{Completion, Job};
use logins::Logins;
use maildrop::Maildrops;
use metrics::Counters;
pub use options::{Deliver, Durability, Options, Service};
use passage::Buffers;
use queue::{Entry, Kept, Queue};
use quotas::Quotas;
use spoken::{LastWord, Profile, Profiles, Spoken};

/// The server: all sessions, the log, the queue.
pub struct Server<S> {
    options: Options,
    /// By service.
    profiles: Profiles,
    /// What TLS begins with; without it, none does.
    tls: Option<ServerTls>,
    connections: Slots<Connection<S>>,
    clients: Clients,
    accounts: Arc<Accounts>,
    logins: Logins,
    quotas: Quotas,
    maildrops: Maildrops,
    /// Connections that may be driven on, each once, here or in `bulk`.
    ready: VecDeque<Key>,
    /// Those of them that bring large messages: they share a part of each turn, so that nobody's command waits for
    /// all of theirs.
    bulk: VecDeque<Key>,
    /// Those of them that are in a handshake: a few have theirs in each turn.
    shaking: VecDeque<Key>,
    /// All that are in a handshake, and some that no longer are, in the order in which they began; and how many are.
    handshakes: VecDeque<Key>,
    handshakes_open: usize,
    /// Connections that may have something to write, each once.
    dirty: Vec<Key>,
    timers: Timers,
    store: Store,
    /// Sessions whose message is in the log and not yet durable, in the log's order.
    waiting: VecDeque<Waiting>,
    /// Parts of large messages that this turn hands out to be written, and how many are out.
    spills: Vec<(Key, SpillJob)>,
    spills_out: usize,
    /// Octets of parts that are out, of connections that are gone.
    orphans: HashMap<Key, u64>,
    /// Whether the log could not grow when it last tried.
    is_log_short: bool,
    queue: Queue,
    /// Octets of mail data in memory: arriving, being committed, or waiting in memory for delivery.
    memory: u64,
    buffers: Buffers,
    date: DateText,
    counters: Counters,
    stop: Option<Stopping>,
    failure: Option<String>,
    closed: usize,
}

/// Where accepted mail is to go first.
pub enum Log {
    /// Into the durable log, which still holds these messages of earlier runs.
    Spool(Box<Spool>, Vec<Pending>),
    /// Nowhere (`--durability none`): mail is kept in memory only, and its ids begin with this random number.
    Memory(u64),
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
    /// Asked to, with everything durable; so many messages remain to be delivered.
    Stopped {
        /// Messages in the log that are not delivered.
        undelivered: usize,
        /// Messages beside the log, held because their mailboxes cannot be written.
        held: usize,
    },
    /// Asked to twice: at once, with whatever was under way.
    Interrupted,
    /// The disk failed: what was not answered may be there or not.
    Failed(String),
}

impl<S: Stream> Server<S> {
    /// A server that puts what it accepts into `log`, and delivers what is left in there. It has no TLS and no accounts.
    /// Its nonces are made of `nonce_key`: 32 random octets, others at each start.
    pub fn new(options: Options, log: Log, nonce_key: [u8; 32]) -> Server<S> {
        let mut queue = Queue::default();
        let store = match log {
            Log::Spool(spool, pending) => {
                for Pending { id, place } in pending {
                    queue.push(Entry::new(id, Kept::Log(place), true));
                }
                Store::Log(spool)
            }
            Log::Memory(run) => Store::Memory(QueueId { run, counter: 0 }),
        };
        let connections = Slots::with_capacity(options.connections_max.min(CONNECTIONS_RESERVED));
        Server {
            profiles: Profile::all(&options, None, &Accounts::default()),
            tls: None,
            clients: Clients::new(options.client_limits.clone()),
            accounts: Arc::default(),
            logins: Logins::new(nonce_key),
            quotas: Quotas::default(),
            maildrops: Maildrops::default(),
            options,
            connections,
            ready: VecDeque::new(),
            bulk: VecDeque::new(),
            shaking: VecDeque::new(),
            handshakes: VecDeque::new(),
            handshakes_open: 0,
            dirty: Vec::new(),
            timers: Timers::default(),
            store,
            waiting: VecDeque::new(),
            spills: Vec::new(),
            spills_out: 0,
            orphans: HashMap::new(),
            is_log_short: false,
            queue,
            memory: 0,
            buffers: Buffers::new(),
            date: DateText::default(),
            counters: Counters::default(),
            stop: None,
            failure: None,
            closed: 0,
        }
    }

    /// The same with TLS, before the first connection. Without, STARTTLS is not offered, and a service that is in TLS from
    /// the start closes each connection.
    pub fn with_tls(self, tls: ServerTls) -> Server<S> {
        let profiles = Profile::all(&self.options, Some(&tls), &self.accounts);
        Server { profiles, tls: Some(tls), ..self }
    }

    /// The same with accounts.
    pub fn with_accounts(self, accounts: Arc<Accounts>) -> Server<S> {
        let profiles = Profile::all(&self.options, self.tls.as_ref(), &accounts);
        Server { profiles, accounts, ..self }
    }

    /// Takes a new connection to a service. None if there are too many already, or the server stops: the client was told.
    pub fn accept(&mut self, stream: S, client: SocketAddr, service: Service, now: Now) -> Option<Key> {
        if self.stop.is_some() || self.connections.len() >= self.options.connections_max {
            self.turn_away(stream, client, service);
            return None;
        }
        let is_proxied = self.is_proxy(client);
        if !is_proxied && !self.clients.may_connect(client.ip(), now.ms()) {
            self.tell_limited(client, service);
            say_last(stream, service, LastWord::ClientConnections);
            return None;
        }
        self.counters.connections += 1;
        let session = self.profiles[service as usize].session();
        let phase = if is_proxied { self.proxied(now) } else { self.greeting(service, now) };
        let connection = Connection::new(stream, client, service, session, phase, now.ms());
        let key = self.connections.insert(connection);
        if is_proxied {
            self.list(key);
        } else {
            self.begin(key, Vec::new(), now);
        }
        self.connections.get(key).map(|_| key)
    }

    /// Begins to serve a connection whose client is known, and which sent this already: with TLS or with the banner.
    fn begin(&mut self, key: Key, sent: Vec<u8>, now: Now) {
        let Some(service) = self.connections.get(key).map(|connection| connection.service) else { return };
        if service.is_in_tls() {
            return self.begin_tls(key, &sent, now);
        }
        let greeting = self.greeting(service, now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        (connection.phase, connection.carry) = (greeting, sent);
        self.list(key);
    }

    /// The phase of a connection that is ready for its banner.
    fn greeting(&self, service: Service, now: Now) -> Phase {
        Phase::Greeting(now.ms() + self.greeting_delay(service).as_millis() as u64)
    }

    /// How long the banner is held back: those who do not wait for it send spam, and read no mail.
    fn greeting_delay(&self, service: Service) -> Duration {
        if service.is_pop3() { Duration::ZERO } else { self.options.greeting_delay }
    }

    /// Turns a connection away with a last word: one write that does not block; if it finds no room, the close says as much.
    pub fn turn_away(&mut self, stream: S, client: SocketAddr, service: Service) {
        let word = if self.stop.is_some() { LastWord::ShuttingDown } else { LastWord::TooManyConnections };
        say_last(stream, service, word);
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
        if writable && !connection.is_written() && !connection.is_dirty {
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
            Completion::Spilled(key, done) => self.spilled(key, done, now),
            Completion::PasswordChecked { key, user, account } => {
                self.contained(key, |server| server.password_checked(key, &user, account, now));
            }
            Completion::Measured(mailbox, octets) => self.quotas.measured(&mailbox, octets, now.ms()),
            Completion::Opened(key, listing) => self.answered(key, |server| server.opened(key, listing, now)),
            Completion::Read(key, done) => self.answered(key, |server| server.part_read(key, done, now)),
            Completion::Updated(key, done) => self.answered(key, |server| server.updated(key, done, now)),
            Completion::Reloaded(reload) => self.reloaded(reload, now),
        }
    }

    /// One turn of the loop.
    pub fn turn(&mut self, now: Now, jobs: &mut dyn FnMut(Job)) -> Turn {
        self.drive_ready(now);
        self.expire(now);
        self.start_spills(jobs);
        self.start_password_checks(jobs);
        self.start_maildrop_jobs(jobs);
        self.quotas.due().into_iter().for_each(|mailbox| jobs(Job::Measure(mailbox)));
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
                self.dismiss_if_idle(key, now);
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

    /// Octets of mail data in memory, as the budget counts them.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// How many messages wait for delivery.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many messages are held.
    pub fn held(&self) -> usize {
        self.queue.held.len()
    }

    /// Takes up messages that an earlier run held, before the first turn: they are tried at once.
    pub fn take_up_held(&mut self, ids: Vec<QueueId>) {
        ids.into_iter().for_each(|id| self.queue.held.found(id));
    }

    fn list(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_listed
        {
            connection.is_listed = true;
            let list = match connection.phase {
                Phase::Handshake { .. } => &mut self.shaking,
                _ if connection.is_bulk() => &mut self.bulk,
                _ => &mut self.ready,
            };
            list.push_back(key);
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

    /// Says a last reply, which the client has its time to take, however long it was silent before.
    fn dismiss(&mut self, key: Key, word: LastWord, reason: CloseReason, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.session.is_over() {
            return; // the last word is said
        }
        connection.session.dismiss(word, &mut connection.outbox);
        connection.progressed(now.ms(), 0);
        connection.phase = Phase::Finishing(reason);
        self.leave_maildrop_if_over(key);
        self.charge(key);
        self.mark_dirty(key);
    }

    fn dismiss_if_idle(&mut self, key: Key, now: Now) {
        if self
            .connections
            .get(key)
            .is_some_and(|connection| matches!(connection.phase, Phase::Handshake { .. } | Phase::Proxied(_)))
        {
            return self.close(key, CloseReason::Shutdown); // there is no way yet to say it, or nobody
        }
        if let Some(connection) = self.connections.get(key)
            && matches!(connection.phase, Phase::Open | Phase::Greeting(_))
            && !connection.is_parked
            && !connection.session.is_over()
            && !connection.session.is_in_transaction()
        {
            self.dismiss(key, LastWord::ShuttingDown, CloseReason::Shutdown, now);
        }
    }

    /// How long to sleep, and whether this was the last turn.
    fn rest(&mut self, now: Now) -> Turn {
        let end = self.end(now);
        let is_over = self.stop.is_some_and(|stop| stop.is_over);
        let wake = [
            self.timers.next_ms(),
            self.queue.next_ms(self.stop.is_some()).filter(|_| !is_over),
            match &self.store {
                Store::Log(spool) => spool.next_ms(),
                Store::Memory(_) => None,
            },
            self.stop.filter(|_| !is_over).map(|stop| stop.until_ms),
        ];
        let lists = [&self.ready, &self.bulk, &self.shaking];
        let has_work =
            lists.iter().any(|list| !list.is_empty()) || !self.dirty.is_empty() || self.has_maildrop_jobs();
        let sleep = if has_work || end.is_some() {
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
                    self.dismiss(key, LastWord::ShuttingDown, CloseReason::Shutdown, now);
                }
            }
            return None;
        }
        // Settlements that the log does not take are worth no more than the grace: without them the next start looks.
        let is_log_idle = match &self.store {
            Store::Log(spool) if stop.is_over => spool.is_committed(),
            Store::Log(spool) => spool.is_idle(),
            Store::Memory(_) => true,
        };
        // What is held waits beside the log for mailboxes to be mended; only what the courier has of it ends before.
        let is_quiet = self.connections.is_empty() && self.queue.is_empty() && self.queue.held.out() == 0;
        // Behind the grace only the log is waited for: what it holds was promised, or may be.
        let may_leave = is_log_idle
            && self.spills_out == 0
            && self.waiting.is_empty()
            && self.maildrops.is_settled()
            && self.dirty.is_empty()
            && (is_quiet || stop.is_over);
        may_leave.then(|| End::Stopped { undelivered: self.queue.len(), held: self.held() })
    }

    fn close(&mut self, key: Key, reason: CloseReason) {
        self.handshake_is_over(key);
        let Some(mut connection) = self.connections.remove(key) else { return };
        self.memory -= connection.charged as u64;
        if let Some(spilling) = connection.spilling.take() {
            self.orphan(key, *spilling);
        }
        self.closed += 1;
        self.counters.aborted += u64::from(reason == CloseReason::Reset);
        self.counters.proxy_errors +=
            u64::from(matches!(reason, CloseReason::BadProxyHeader | CloseReason::NoProxyHeader));
        let (client, reason) = (connection.client, reason.word());
        match connection.session {
            Spoken::Smtp(session) => info!(
                "closed client={client} reason={reason} hello={} messages={}",
                Escaped(session.hello().as_bytes()),
                connection.messages
            ),
            Spoken::Pop3(visit) => {
                let user = Escaped(visit.session.user().unwrap_or_default().as_bytes()).to_string();
                self.leave(key, visit, connection.charged as u64);
                info!("closed client={client} reason={reason} user={user}");
            }
        }
    }
}

/// Says one thing to a connection that is not served, and closes it. Where TLS comes first the close says it alone: a
/// handshake is not spent on that.
fn say_last(mut stream: impl Stream, service: Service, word: LastWord) {
    if !service.is_in_tls() {
        let _ = stream.write(format!("{}\r\n", word.text(service)).as_bytes());
    }
}
