//! The servers that are compared: what each is, what its 250 means, how it is started, and what it says it counted.
//!
//! Each runs in a new directory of its own below the lab's place, on a free port of 127.0.0.1, and is ready when it has
//! sent its banner. Dropping a [`Server`] ends its processes and removes that directory.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::postfix::{self, Instance, Transport};
use super::process::{self, Group};
use super::tools::Tools;
use super::{Failure, failure};

/// One way of running one of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers and does nothing else.
    Null,
    /// Postfix's test server.
    Sink,
    /// Postfix, accepting and discarding, confined to one core.
    Postfix,
    /// The same on all cores.
    PostfixAllCores,
    /// fastsmtp that keeps nothing.
    FastsmtpMemory,
    /// fastsmtp that syncs its log before the 250, and discards.
    Fastsmtp,
    /// Postfix, delivering into a Maildir, on all cores.
    PostfixMaildir,
    /// fastsmtp, delivering into a Maildir, on all cores.
    FastsmtpMaildir,
}

impl Kind {
    /// Those that accept and discard, in the order in which they take turns.
    pub const ACCEPTING: [Kind; 6] =
        [Kind::Null, Kind::FastsmtpMemory, Kind::Fastsmtp, Kind::Sink, Kind::Postfix, Kind::PostfixAllCores];
    /// Those that deliver.
    pub const DELIVERING: [Kind; 2] = [Kind::FastsmtpMaildir, Kind::PostfixMaildir];

    /// For the command line and the document.
    pub fn key(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Sink => "smtp-sink",
            Kind::Postfix => "postfix",
            Kind::PostfixAllCores => "postfix-all-cores",
            Kind::FastsmtpMemory => "fastsmtp-memory",
            Kind::Fastsmtp => "fastsmtp",
            Kind::PostfixMaildir => "postfix-maildir",
            Kind::FastsmtpMaildir => "fastsmtp-maildir",
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null responder",
            Kind::Sink => "smtp-sink",
            Kind::Postfix => "Postfix",
            Kind::PostfixAllCores => "Postfix, all cores",
            Kind::FastsmtpMemory => "fastsmtp, storing nothing",
            Kind::Fastsmtp => "fastsmtp, durable",
            Kind::PostfixMaildir => "Postfix, delivering",
            Kind::FastsmtpMaildir => "fastsmtp, delivering",
        }
    }

    /// What its 250 means.
    pub fn durability(self) -> &'static str {
        match self {
            Kind::Null => {
                "nothing: it neither reads nor stores the message; the limit of this machine and generator"
            }
            Kind::Sink => "received: it reads the message and throws it away",
            Kind::FastsmtpMemory => "in memory: it is checked in full, and lost in a crash",
            Kind::Fastsmtp => "durable: written to the log, which is synced (fdatasync) before the 250",
            Kind::Postfix | Kind::PostfixAllCores => {
                "durable: in a queue file of its own, which is synced (fsync) before the 250"
            }
            Kind::FastsmtpMaildir => {
                "durable: in the synced log; delivered to the Maildir behind that, each file synced (syncfs for many)"
            }
            Kind::PostfixMaildir => {
                "durable: in a synced queue file; delivered to the Maildir behind that, each file synced (fsync)"
            }
        }
    }

    /// Which cores its processes have.
    pub fn placement(self) -> &'static str {
        match self {
            Kind::Null | Kind::Sink => "one core, its only thread",
            Kind::Postfix => "one core, all its processes",
            Kind::FastsmtpMemory | Kind::Fastsmtp => {
                "the event loop's thread on one core, its other threads (committer, delivery, log) on any"
            }
            Kind::PostfixAllCores => "all cores, shared with the generator",
            Kind::PostfixMaildir | Kind::FastsmtpMaildir => "all cores; the generator too",
        }
    }

    /// Whether it is one of Postfix's four ways.
    pub fn transport(self) -> Option<Transport> {
        match self {
            Kind::Postfix | Kind::PostfixAllCores => Some(Transport::Discard),
            Kind::PostfixMaildir => Some(Transport::Maildir),
            _ => None,
        }
    }

    fn is_fastsmtp(self) -> bool {
        matches!(self, Kind::FastsmtpMemory | Kind::Fastsmtp | Kind::FastsmtpMaildir)
    }
}

/// What a server is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// As fast as it is.
    Measure,
    /// It also tells what it counted, which may cost something.
    Count,
}

/// Where servers run, and with what.
#[derive(Debug)]
pub struct Lab {
    /// The programs.
    pub tools: Tools,
    /// Below it each has its directory.
    pub place: PathBuf,
    /// The server's core, and the generator's; the same where there is only one.
    pub server_core: usize,
    /// See `server_core`.
    pub generator_core: usize,
    /// All that we may use.
    pub cores: Vec<usize>,
}

impl Lab {
    /// With what there is.
    pub fn new(tools: Tools, place: &Path) -> Lab {
        let cores = process::cores();
        let [server_core, generator_core] = match cores[..] {
            [first, second, ..] => [first, second],
            [only] => [only, only],
            [] => [0, 0],
        };
        Lab { tools, place: place.to_owned(), server_core, generator_core, cores }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    address: SocketAddr,
    command: Vec<String>,
    group: Group,
    instance: Option<Instance>,
    // Last: it is removed when the processes are gone.
    directory: TempDir,
}

impl Server {
    /// Starts it, and waits until it has sent its banner.
    pub fn start(lab: &Lab, kind: Kind, purpose: Purpose) -> Result<Server, Failure> {
        let directory = new_directory(&lab.place, kind.key())?;
        let address = free_address()?;
        let instance = match kind.transport() {
            Some(transport) => Some(Instance::create(&lab.tools, directory.path(), address, transport)?),
            None => None,
        };
        let mut command = match &instance {
            Some(instance) => instance.start(),
            None => command(lab, kind, purpose, address, directory.path()),
        };
        let words = words(&command);
        let out = |name: &str| {
            let path = directory.path().join(name);
            File::create(&path).map_err(Failure::of(&path))
        };
        command.stdin(Stdio::null()).stdout(out("out")?).stderr(out("err")?);
        let cores = match kind {
            Kind::Null | Kind::Sink | Kind::Postfix => vec![lab.server_core],
            _ => lab.cores.clone(),
        };
        let mut group = Group::led_by(process::spawn(&mut command, &cores)?);
        if let Some(instance) = &instance {
            group = instance.group(group)?;
        }
        let mut server = Server { kind, address, command: words, group, instance, directory };
        server.wait_until_ready()?;
        if matches!(kind, Kind::FastsmtpMemory | Kind::Fastsmtp) {
            // The loop is the main thread; its workers and the log's writer stay free.
            process::pin(Some(server.group.id()), &[lab.server_core])?;
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it was started.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// Its processes.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Waits until all that it accepted has gone where it goes: its Maildir has `accepted` files, or its queue is empty.
    /// When that was; none if it did not come within two minutes.
    pub fn settle(&self, accepted: u64) -> Result<Option<SystemTime>, Failure> {
        let Some(maildir) = self.maildir() else {
            let is_empty = || self.instance.as_ref().is_none_or(Instance::queue_is_empty);
            return failure::wait_for(PATIENCE, || Ok(is_empty().then(SystemTime::now)));
        };
        failure::wait_for(PATIENCE, || {
            let looked = Instant::now();
            if count_files(&maildir) < accepted {
                // Looking is work too, and must not take the cores from those who deliver.
                thread::sleep(looked.elapsed() * 20);
                return Ok(None);
            }
            // The last name that came into it.
            fs::metadata(&maildir)
                .and_then(|metadata| metadata.modified())
                .map(Some)
                .map_err(Failure::of(&maildir))
        })
    }

    /// Where its mail comes to lie; none if it discards it.
    pub fn maildir(&self) -> Option<PathBuf> {
        match self.kind {
            Kind::FastsmtpMaildir => Some(self.directory.path().join("data/mailboxes/example.com/user/new")),
            Kind::PostfixMaildir => Some(self.directory.path().join("mail/all/new")),
            _ => None,
        }
    }

    /// How many messages it says it took; none if it does not count. Asks until it says `expected`, for a while.
    pub fn counted(&self, expected: u64) -> Result<Option<u64>, Failure> {
        if self.kind == Kind::Null {
            return Ok(None);
        }
        if self.kind.is_fastsmtp() && self.maildir().is_none() {
            self.group.signal(rustix::process::Signal::USR1);
        }
        let mut last = 0;
        failure::wait_for(Duration::from_secs(20), || {
            last = match (self.maildir(), &self.instance, self.kind) {
                (Some(maildir), ..) => count_files(&maildir),
                (None, Some(instance), _) => instance.sent(),
                (None, None, Kind::Sink) => last_number(&self.file("out"), "mesg="),
                _ => last_number(&self.file("err"), " accepted="),
            };
            Ok((last == expected).then_some(()))
        })?;
        Ok(Some(last))
    }

    /// What [`Server::counted`] looks at, in words.
    pub fn counted_by(&self) -> &'static str {
        match (self.kind, self.maildir().is_some()) {
            (_, true) => "files in the Maildir",
            (Kind::Null, _) => "nothing",
            (Kind::Sink, _) => "its counter of messages (-c)",
            (Kind::Postfix | Kind::PostfixAllCores, _) => "queue ids with status=sent in its log",
            _ => "its counter of accepted messages (SIGUSR1)",
        }
    }

    /// Stops it; its directory goes with it.
    pub fn stop(mut self) {
        if let Some(instance) = &self.instance {
            instance.stop();
        }
        self.group.end();
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let ready = failure::wait_for(START_MAX, || {
            if self.group.has_ended() {
                return Err(Failure::new(format!(
                    "{} ended at its start: {}",
                    self.kind.name(),
                    self.said()
                )));
            }
            Ok(banner(self.address).filter(|banner| banner.starts_with("220")))
        })?;
        match ready {
            Some(_) => Ok(()),
            None => Err(Failure::new(format!("{} sent no banner: {}", self.kind.name(), self.said()))),
        }
    }

    /// The last line of what it said.
    fn said(&self) -> String {
        let texts = [self.file("data/maillog"), self.file("out"), self.file("err")].concat();
        texts.lines().last().unwrap_or("it said nothing").to_owned()
    }

    fn file(&self, name: &str) -> String {
        fs::read(self.directory.path().join(name))
            .map(|octets| String::from_utf8_lossy(&octets).into_owned())
            .unwrap_or_default()
    }
}

/// The command of those that are one program.
fn command(lab: &Lab, kind: Kind, purpose: Purpose, address: SocketAddr, directory: &Path) -> Command {
    let listen = address.to_string();
    let (durability, deliver) = match kind {
        Kind::Null => {
            let mut command = Command::new(&lab.tools.null_responder);
            command.args(["--listen", &listen]);
            return command;
        }
        Kind::Sink => return sink(lab, purpose, &listen),
        Kind::FastsmtpMemory => ("none", "discard"),
        Kind::FastsmtpMaildir => ("disk", "maildir"),
        _ => ("disk", "discard"),
    };
    let log = match purpose {
        Purpose::Measure => "warn",
        Purpose::Count => "info",
    };
    let mut command = Command::new(&lab.tools.fastsmtp);
    command
        .args(["--listen", &listen, "--hostname", postfix::HOSTNAME, "--log", log])
        .args(["--durability", durability, "--deliver", deliver, "--data"])
        .arg(directory.join("data"));
    command
}

/// Without `-m` it takes 256 connections, and the others wait for ever.
fn sink(lab: &Lab, purpose: Purpose, listen: &str) -> Command {
    let mut command = Command::new(lab.tools.smtp_sink.as_deref().unwrap_or(Path::new("smtp-sink")));
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "nobody"]);
    }
    if purpose == Purpose::Count {
        command.arg("-c");
    }
    command.args(["-m", "4096", listen, "4096"]);
    command
}

fn words(command: &Command) -> Vec<String> {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words
}

/// A new directory that other users may pass: Postfix's processes are not root's.
fn new_directory(place: &Path, name: &str) -> Result<TempDir, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::Builder::new().prefix(name).tempdir_in(place).map_err(Failure::of(place))?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
        .map_err(Failure::of(directory.path()))?;
    Ok(directory)
}

/// A port that nobody has at this moment, and that was not given out before. It is none that the system gives to
/// connections, so that no client takes it meanwhile.
fn free_address() -> Result<SocketAddr, Failure> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16;
    for _ in 0..PORTS.len() {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, PORTS.start + offset)) {
            return listener.local_addr().map_err(|error| Failure::new(format!("no address: {error}")));
        }
    }
    Err(Failure::new(format!("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end)))
}

/// The first line that a server sends, and a polite end.
fn banner(address: SocketAddr) -> Option<String> {
    use std::io::Write;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut line = String::new();
    BufReader::new(stream.try_clone().ok()?).read_line(&mut line).ok()?;
    stream.write_all(b"QUIT\r\n").ok()?;
    Some(line)
}

/// The entries of a directory; 0 if there is none.
pub fn count_files(directory: &Path) -> u64 {
    fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
}

/// The number behind the last `name` in a text; 0 if there is none.
fn last_number(text: &str, name: &str) -> u64 {
    let Some((_, rest)) = text.rsplit_once(name) else { return 0 };
    let digits = rest.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

/// Below those that Linux gives to connections.
const PORTS: Range<u16> = 20_000..30_000;
/// Until the banner. Postfix looks over its files first.
const START_MAX: Duration = Duration::from_secs(60);
/// Until a queue is empty or a Maildir full.
const PATIENCE: Duration = Duration::from_secs(120);
