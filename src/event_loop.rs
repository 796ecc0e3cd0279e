//! The event loop: mio, the listeners, the clock and the signals around a [`Server`].
//!
//! One pass: sleep until something happens, take completions, accept, tell the server who is ready, let it have its
//! turn, hand its jobs to the workers. It ends when the server says so.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, mem};

use log::{error, info, warn};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use crate::QueueId;
use crate::accounts::{Accounts, AccountsFile, FileError};
use crate::certificates::{self, CertificateError, CertificateFiles, CertificateSource};
use crate::disk::{Disk, RealDisk, random_octets};
use crate::limits::{ACCEPTS_PER_TURN, EVENTS_PER_TURN};
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::net::tls::ServerTls;
use crate::privileges::{PrivilegeError, RunAs};
use crate::reload::{self, Watch};
use crate::server::connection::Stream;
use crate::server::courier::Courier;
use crate::server::{Deliver, Durability, End, Log, Options, Server, Service};
use crate::spool::{self, RecoverError, Recovered, Spool, SpoolOptions};
use crate::workers::{Completions, Workers};
use listener::{Listener, listeners};

mod listener;
mod start_up;

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Listen(Service, SocketAddr, io::Error),
    /// There should be TLS, and cannot be.
    Certificate(CertificateError),
    /// The accounts file cannot be used.
    Accounts(FileError),
    /// The accounts file that the operator named is not there.
    NoAccounts(PathBuf),
    /// The data directory cannot be made or used.
    Data(PathBuf, io::Error),
    /// The user that the process has become cannot use the data directory.
    NotTheirs(PathBuf, String, io::Error),
    /// The process cannot become the user that it should be.
    Privileges(PrivilegeError),
    /// Another fastsmtp has the data directory.
    Locked(PathBuf),
    /// Spool and mailboxes lie on different file systems.
    TwoFileSystems(PathBuf),
    /// Mail is to be read by users, and there is no accounts file: the service, and where the file would be.
    NoUsers(Service, PathBuf),
    /// The log cannot be recovered.
    Recovery(RecoverError),
    /// The system refused something that every server needs.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(service, address, error) if error.kind() == ErrorKind::AddrInUse => {
                write!(f, "{address} is in use; stop who listens there, or give another --{}", service.key())
            }
            StartError::Listen(_, address, error) if error.kind() == ErrorKind::PermissionDenied => {
                write!(f, "may not listen on {address}; ports below 1024 need root or CAP_NET_BIND_SERVICE")
            }
            StartError::Listen(service, address, error) => {
                write!(f, "cannot listen on {address}: {error}; give another --{}", service.key())
            }
            StartError::Certificate(error) => error.fmt(f),
            StartError::Data(path, error) => {
                write!(
                    f,
                    "cannot use the data directory {}: {error}; make it writable, or give another --data",
                    path.display()
                )
            }
            StartError::NotTheirs(path, user, error) => {
                let path = path.display();
                write!(
                    f,
                    "cannot use the data directory {path} as {user}: {error}; let that user have it, like 'chown -R \
                     {user} {path}', or give another --data"
                )
            }
            StartError::Privileges(error) => write!(f, "{error}"),
            StartError::Locked(path) => {
                write!(
                    f,
                    "another fastsmtp uses the data directory {}; stop it, or give another --data",
                    path.display()
                )
            }
            StartError::TwoFileSystems(path) => write!(
                f,
                "spool and mailboxes in {} lie on different file systems; keep them on one",
                path.display()
            ),
            StartError::Accounts(error) => error.fmt(f),
            StartError::NoAccounts(path) => {
                write!(f, "{}: there is no such accounts file; 'fastsmtp user add' makes it", path.display())
            }
            StartError::NoUsers(service, path) => write!(
                f,
                "{}: mail is read by users, and there is no accounts file {}; 'fastsmtp user add' makes it, or leave {} away",
                service.key(),
                path.display(),
                service.key()
            ),
            StartError::Recovery(error) => write!(f, "cannot recover the spool: {error}"),
            StartError::System(error) => write!(f, "the system refused what every server needs: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What a running server tells whoever started it.
pub enum Announcement {
    /// It listens here for this; the port is the real one.
    Listening(Service, SocketAddr),
    /// All listeners are there, recovery is over: connections are served.
    Ready,
    /// The loop turns; as often as [`Setup::alive_every`] says, if it does.
    Alive,
    /// It was told to stop, and ends soon.
    Stopping,
}

/// What a server is started with.
pub struct Setup {
    /// Where it listens, for what; of sockets that were handed over, their addresses.
    pub listen: Vec<(Service, SocketAddr)>,
    /// The directory of spool and mailboxes.
    pub data: PathBuf,
    /// Where the accounts are.
    pub accounts: AccountsSource,
    /// Where the certificate comes from, if there is to be TLS.
    pub certificate: Option<CertificateSource>,
    /// Who it is from its ports on.
    pub run_as: RunAs,
    /// What the server itself is told.
    pub options: Options,
    /// How often it has to say that it is [alive](Announcement::Alive), at least.
    pub alive_every: Option<Duration>,
}

/// Where the accounts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountsSource {
    /// In a file that the operator named: at the start it must be there.
    Named(PathBuf),
    /// In the file of the usual place; where it is not there, every address is a mailbox.
    Usual(PathBuf),
}

impl AccountsSource {
    /// Whether a server with these listeners could start with it.
    pub fn check(&self, listen: &[(Service, SocketAddr)]) -> Result<(), StartError> {
        self.start(listen).map(drop)
    }

    /// Looks at the file for the first time.
    fn start(&self, listen: &[(Service, SocketAddr)]) -> Result<(Arc<Accounts>, AccountsFile), StartError> {
        let (AccountsSource::Named(path) | AccountsSource::Usual(path)) = self;
        let mut file = AccountsFile::new(path);
        let accounts = file.look().unwrap_or_else(|| Ok(Arc::default())).map_err(StartError::Accounts)?;
        match self {
            AccountsSource::Named(path) if !accounts.is_kept() => Err(StartError::NoAccounts(path.clone())),
            AccountsSource::Usual(path) if !accounts.is_kept() => {
                match listen.iter().find(|(service, _)| service.is_pop3()) {
                    Some((service, _)) => Err(StartError::NoUsers(*service, path.clone())),
                    None => Ok((accounts, file)),
                }
            }
            _ => Ok((accounts, file)),
        }
    }
}

/// Runs a server until a signal or a broken disk ends it. It listens at the sockets that are `handed` over, or binds its own
/// if there are none. `announce` hears when it is ready, and what comes after.
pub fn run(
    setup: &Setup,
    handed: Vec<(Service, std::net::TcpListener)>,
    mut announce: impl FnMut(Announcement),
) -> Result<End, StartError> {
    let Setup { listen, data, accounts, certificate, run_as, options, alive_every } = setup;
    // Root binds, the user does all else. That a port is taken is told last: who starts a server twice is to hear that.
    let listeners = listeners(listen, handed);
    become_user(run_as, data)?;
    let disk = open_data(data, options).map_err(|error| as_user(run_as, error))?;
    let listeners = listeners?;
    let (accounts, accounts_file) = accounts.start(listen)?;
    let (certificate_files, tls) = start_tls(certificate.as_ref(), data, &disk, options)?.unzip();
    // From here on changes are seen, and SIGHUP is no reason to die: recovery may take its time.
    let watch = Watch::new(certificate_files, accounts_file);
    let signals = Signals::new([SIGHUP]).map_err(StartError::System)?;
    let mut server = start_server(disk.clone(), options)?.with_accounts(accounts.clone());
    if let Some(tls) = tls {
        server = server.with_tls(tls);
    }
    reload::tell_of(&accounts, watch.accounts());
    let mut event_loop =
        EventLoop::new(server, listeners, disk, watch, signals, options).map_err(StartError::System)?;
    start_up::say_what_holds(setup, &accounts);
    for listener in &event_loop.listeners {
        let (service, address) = (listener.service, listener.address);
        match service {
            Service::Smtp => info!("listening on {address}"),
            _ => info!("listening on {address} for {}", service.name()),
        }
        announce(Announcement::Listening(service, address));
    }
    announce(Announcement::Ready);
    event_loop.run(*alive_every, &mut announce).map_err(StartError::System)
}

/// Gives up root's rights, if there are any and somebody is named, and leaves them a data directory.
fn become_user(run_as: &RunAs, data: &Path) -> Result<(), StartError> {
    let Some(user) = run_as.user() else { return Ok(()) };
    user.make_directory(data).map_err(|error| StartError::Data(data.to_owned(), error))?;
    run_as.drop_root().map_err(StartError::Privileges)?;
    info!("running as {}: root's rights are given up", user.name());
    Ok(())
}

/// An error of the data directory, with the user who met it.
fn as_user(run_as: &RunAs, error: StartError) -> StartError {
    match (error, run_as.user()) {
        (StartError::Data(path, error), Some(user)) if error.kind() == ErrorKind::PermissionDenied => {
            StartError::NotTheirs(path, user.name().to_owned(), error)
        }
        (error, _) => error,
    }
}

/// Reads or makes the certificate, if there is to be one, and tells of it.
fn start_tls(
    source: Option<&CertificateSource>,
    data: &Path,
    disk: &RealDisk,
    options: &Options,
) -> Result<Option<(CertificateFiles, ServerTls)>, StartError> {
    let Some(source) = source else { return Ok(None) };
    let unix_secs = unix().as_secs();
    certificates::start(source, data, disk, &options.hostname, unix_secs)
        .map(Some)
        .map_err(StartError::Certificate)
}

/// Opens and locks the data directory.
fn open_data(data: &Path, options: &Options) -> Result<Arc<RealDisk>, StartError> {
    let failed = |error| StartError::Data(data.to_owned(), error);
    let disk = RealDisk::open(data, &["spool", "mailboxes"]).map_err(failed)?;
    if !disk.lock().map_err(failed)? {
        return Err(StartError::Locked(data.to_owned()));
    }
    let one_file_system =
        disk.same_file_system(Path::new("spool"), Path::new("mailboxes")).map_err(failed)?;
    if options.durability == Durability::Disk && !one_file_system {
        return Err(StartError::TwoFileSystems(data.to_owned()));
    }
    Ok(Arc::new(disk))
}

/// Recovers the log, if there is to be one, and puts a server over it.
fn start_server(disk: Arc<RealDisk>, options: &Options) -> Result<Server<TcpStream>, StartError> {
    if options.durability == Durability::None {
        return Ok(Server::new(options.clone(), Log::Memory(disk.random()), random_octets()));
    }
    let started = Instant::now();
    let spool_options = SpoolOptions {
        spool_size: options.spool_size,
        settled_at_commit: options.deliver == Deliver::Discard,
        ..SpoolOptions::default()
    };
    let (mut spool, mut recovered) =
        Spool::recover(disk.clone(), spool_options).map_err(StartError::Recovery)?;
    let report = &recovered.report;
    if report.segments > 0 {
        info!(
            "recovered messages={} undelivered={} segments={} octets={} torn_ends={} ms={}",
            report.messages,
            recovered.pending.len(),
            report.segments,
            report.octets,
            report.torn_ends,
            started.elapsed().as_millis()
        );
    }
    for damage in &report.damage {
        error!("THE SPOOL IS DAMAGED: {damage}");
    }
    let held = find_held(&*disk, &mut spool, &mut recovered).map_err(StartError::Recovery)?;
    let log = Log::Spool(Box::new(spool), recovered.pending);
    let mut server = Server::new(options.clone(), log, random_octets());
    server.take_up_held(held);
    Ok(server)
}

/// Finds the held messages, and settles those of the log that the operator removed.
fn find_held(
    disk: &dyn Disk,
    spool: &mut Spool,
    recovered: &mut Recovered,
) -> Result<Vec<QueueId>, RecoverError> {
    let found = spool::held::start(disk, &recovered.pending)?;
    if !found.removed.is_empty() {
        for removed in recovered.pending.extract_if(.., |pending| found.removed.contains(&pending.id)) {
            info!("removed id={} by the operator", removed.id);
            spool.settle(removed.id, removed.place);
        }
    }
    if !found.held.is_empty() {
        warn!(
            "held messages={}; their mailboxes could not be written ('fastsmtp queue' lists them)",
            found.held.len()
        );
    }
    if found.quarantined > 0 {
        warn!(
            "quarantined files={}; damage that was set aside (in {})",
            found.quarantined,
            spool::QUARANTINE
        );
    }
    Ok(found.held)
}

struct EventLoop {
    poll: Poll,
    server: Server<TcpStream>,
    listeners: Vec<Listener>,
    /// The listener that was accepted from last.
    accepted_at: usize,
    signals: Signals,
    workers: Workers,
    completions: Arc<Completions>,
    /// Given up for a moment when descriptors run out, so that a client can be told and turned away.
    spare: Option<File>,
    /// No accepting before then, unless a connection ends: descriptors ran out.
    paused_until: Option<Duration>,
    epoch: Instant,
    is_stopping: bool,
}

impl EventLoop {
    fn new(
        server: Server<TcpStream>,
        mut listeners: Vec<Listener>,
        disk: Arc<RealDisk>,
        watch: Watch,
        mut signals: Signals,
        options: &Options,
    ) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let wake = move || waker.wake().expect("the waker's descriptor lives as long as the waker");
        [SIGTERM, SIGINT, SIGUSR1].into_iter().try_for_each(|signal| signals.add_signal(signal))?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(&mut listener.socket, listener_token(index), Interest::READABLE)?;
        }
        let completions = Arc::new(Completions::default());
        let courier = Courier::new(disk.clone(), options.durability == Durability::Disk);
        Ok(EventLoop {
            workers: Workers::start(courier, disk, watch, completions.clone(), Arc::new(wake))?,
            poll,
            server,
            listeners,
            accepted_at: 0,
            signals,
            completions,
            spare: File::open(SPARE).ok(),
            paused_until: None,
            epoch: Instant::now(),
            is_stopping: false,
        })
    }

    fn run(
        &mut self,
        alive_every: Option<Duration>,
        announce: &mut dyn FnMut(Announcement),
    ) -> io::Result<End> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut sleep = Some(Duration::ZERO);
        let mut alive_at = alive_every.map(|_| Duration::ZERO);
        loop {
            match self.poll.poll(&mut events, sleep) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            let now = self.now();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    SIGNALS => {
                        if self.take_signals(now, announce) {
                            return Ok(End::Interrupted);
                        }
                    }
                    token => match listener_index(token) {
                        Some(index) => {
                            if let Some(listener) = self.listeners.get_mut(index) {
                                listener.is_pending = true;
                            }
                        }
                        None => self.server.ready(
                            Key::from_u64(token.0 as u64),
                            event.is_readable() || event.is_error(),
                            event.is_writable(),
                            event.is_read_closed() || event.is_error(),
                        ),
                    },
                }
            }
            for completion in self.completions.take() {
                self.server.complete(completion, now);
            }
            self.accept(now);
            let workers = &self.workers;
            let turn = self.server.turn(now, &mut |job| workers.submit(job));
            if turn.closed > 0 {
                self.paused_until = None;
            }
            if let Some(end) = turn.end {
                info!("counters {}", self.server.counters());
                return Ok(end);
            }
            if alive_at.is_some_and(|at| at <= now.monotonic) {
                announce(Announcement::Alive);
                alive_at = alive_every.map(|every| now.monotonic + every);
            }
            let until_alive = alive_at.map(|at| at.saturating_sub(now.monotonic));
            sleep = [self.sleep(turn.sleep, now), until_alive].into_iter().flatten().min();
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.epoch.elapsed(), unix: unix() }
    }

    /// How long to sleep, given what the server would.
    fn sleep(&self, server: Option<Duration>, now: Now) -> Option<Duration> {
        let is_pending = self.listeners.iter().any(|listener| listener.is_pending);
        let own = match self.paused_until {
            Some(until) => Some(until.saturating_sub(now.monotonic)),
            None => is_pending.then_some(Duration::ZERO),
        };
        [server, own].into_iter().flatten().min()
    }

    /// Accepts a fair share of what is pending.
    fn accept(&mut self, now: Now) {
        if self.paused_until.is_some_and(|until| now.monotonic < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(index) = self.next_listener() else { return };
            match self.listeners[index].accept() {
                Ok((stream, client)) => {
                    let service = self.listeners[index].service;
                    if let Some(key) = self.server.accept(stream, client, service, now) {
                        self.register(key);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.listeners[index].is_pending = false
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => return self.out_of_descriptors(index, &error, now),
            }
        }
    }

    /// The next listener that may hold a connection, in turns, so that a flood at one does not shut the others out.
    fn next_listener(&mut self) -> Option<usize> {
        let count = self.listeners.len();
        let mut in_turns = (0..count).map(|step| (self.accepted_at + 1 + step) % count);
        let index = in_turns.find(|index| self.listeners[*index].is_pending)?;
        self.accepted_at = index;
        Some(index)
    }

    /// Has the kernel report on a new connection, for as long as it lives.
    fn register(&mut self, key: Key) {
        let Some(stream) = self.server.stream(key) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(stream, Token(key.to_u64() as usize), interest) {
            warn!("a connection cannot be watched and is closed: {error}");
            self.server.abandon(key);
        }
    }

    /// Descriptors ran out, or something else keeps us from accepting. The kernel will not say again that a connection
    /// waits, so the next attempt is ours: when a connection ends, or after a moment.
    fn out_of_descriptors(&mut self, index: usize, error: &io::Error, now: Now) {
        warn!("cannot accept connections: {error}; trying again in a moment");
        if self.spare.take().is_some() {
            if let Ok((stream, client)) = self.listeners[index].accept() {
                self.server.turn_away(stream, client, self.listeners[index].service);
            }
            self.spare = File::open(SPARE).ok();
        }
        self.paused_until = Some(now.monotonic + ACCEPT_PAUSE);
    }

    /// Does what signals ask for. True if the process is to end at once.
    fn take_signals(&mut self, now: Now, announce: &mut dyn FnMut(Announcement)) -> bool {
        let signals: Vec<i32> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGUSR1 => info!(
                    "counters {} open={} queued={} held_now={}",
                    self.server.counters(),
                    self.server.connections(),
                    self.server.queued(),
                    self.server.held()
                ),
                SIGHUP => {
                    info!("reading certificate and accounts anew");
                    self.workers.reload();
                }
                _ if mem::replace(&mut self.is_stopping, true) => return true,
                _ => {
                    info!("stopping: transactions and deliveries under way may end");
                    announce(Announcement::Stopping);
                    self.listeners.clear();
                    self.server.stop(now);
                }
            }
        }
        false
    }
}

impl Stream for TcpStream {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(std::net::Shutdown::Write)
    }
}

/// Since 1970.
fn unix() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn listener_token(index: usize) -> Token {
    Token(LISTENERS_MAX - index)
}

fn listener_index(token: Token) -> Option<usize> {
    (token.0 > usize::MAX - (1 << 31)).then(|| LISTENERS_MAX - token.0)
}

// Tokens that no connection has: see `Key::to_u64`.
const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const LISTENERS_MAX: usize = usize::MAX - 2;

const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
const SPARE: &str = "/dev/null";
