//! A connection to a server, for the commands that people wait for: blocking, with a time limit on each step, on an answer
//! and on the whole, and TLS over it where that is spoken. `send` and the readers of remote mailboxes speak their protocol
//! over it by [`Read`] and [`Write`]; it knows none of them.
//!
//! ```text
//!   read  ◀── plain ◀──┬── Tls::receive ◀── stream
//!   write ──▶ plain ──▶└── Tls::send, flush ──▶ stream       without TLS: the stream itself
//! ```
//!
//! An end of the stream is `Ok(0)` only where the server said so: in TLS by close_notify (RFC 8446 6.1). Any other end of
//! TLS is [`ErrorKind::UnexpectedEof`], for somebody may have cut it. [`Connection::failure`] makes the sentence of an error.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use fastsmtp::limits::{DIAL_PROGRESS_MIN, DIAL_STEP_MS_MIN};
use fastsmtp::net::tls::{CertificateFault, ClientTls, ServerName, Tls, TlsError, TlsFault};
use fastsmtp::smtp::domain_key;
use fastsmtp::units::duration_text;

use super::exit::{Exit, Failure};
use super::output::printable;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A domain in A-labels, or an IP address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl Server {
    /// Reads `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or an IPv6 address alone; none for what is no such thing.
    pub fn parse(text: &str, default_port: u16) -> Option<Server> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => default_port,
            Some(digits) if digits.bytes().all(|octet| octet.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control());
        (is_host && port > 0).then(|| Server { host: domain_key(host).into_owned(), port })
    }

    /// What its certificate must name; none where no certificate can name such a host.
    pub fn name(&self) -> Option<ServerName> {
        ServerName::new(&self.host)
    }
}

/// As it is given to `--server`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = printable(self.host.as_bytes());
        match host.contains(':') {
            true => write!(f, "[{host}]:{}", self.port),
            false => write!(f, "{host}:{}", self.port),
        }
    }
}

/// A connection to a server.
pub struct Connection {
    server: Server,
    wire: Wire,
    tls: Option<Secured>,
    timeout: Duration,
    /// Octets that were read since the answer that is awaited was last given its time.
    progress: usize,
}

/// The stream below, in which nothing takes longer than it may.
struct Wire {
    stream: TcpStream,
    /// For each read and each write.
    timeout: Duration,
    /// How long all reads may still take together, until what is awaited is there. What the program does between them, like
    /// waiting for a reader of its output, is not the server's fault.
    allowance: Option<Duration>,
    /// By when all must be over.
    end: Option<Instant>,
}

struct Secured {
    tls: Tls,
    /// What was received and not yet read, from `taken` on.
    plain: Vec<u8>,
    taken: usize,
}

impl Connection {
    /// Connects to the first address of the server's that answers. All of them have `timeout` together, and so has each
    /// read and each write afterwards.
    pub fn dial(server: &Server, timeout: Duration) -> Result<Connection, Failure> {
        let addresses: Vec<SocketAddr> = match (server.host.as_str(), server.port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => return Err(no_such_host(server, &error.to_string())),
        };
        let stream = connect(&addresses, timeout).map_err(|error| match error {
            Some(error) => nobody_there(server, timeout, &error),
            None => no_such_host(server, "it has no address"),
        })?;
        let ready = stream.set_nodelay(true);
        let wire = Wire { stream, timeout, allowance: None, end: None };
        let connection = Connection { server: server.clone(), wire, tls: None, timeout, progress: 0 };
        ready.map_err(|error| connection.failure(&error))?;
        Ok(connection)
    }

    /// Gives each read and each write from now on so much time, which is more than none.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
        self.wire.timeout = timeout;
        if self.wire.allowance.is_some() {
            self.await_answer();
        }
    }

    /// Gives the next answer its time: the timeout for all reads up to it, and once more with each [`DIAL_PROGRESS_MIN`]
    /// octets of it, so that a server that trickles holds nobody. Where it is never called, each step has its time.
    pub fn await_answer(&mut self) {
        self.progress = 0;
        self.wire.allowance = Some(self.timeout);
    }

    /// Lets nothing last beyond `end`, whatever else it may take.
    pub fn end_at(&mut self, end: Instant) {
        self.wire.end = Some(end);
    }

    fn progressed(&mut self, count: usize) {
        self.progress += count;
        if self.wire.allowance.is_some() && self.progress >= DIAL_PROGRESS_MIN {
            self.await_answer();
        }
    }

    /// Makes the TLS handshake, with a server that must be `name`, within the timeout as a whole. Whoever read octets behind the
    /// server's consent to it must not call this: they are of somebody between (CVE-2021-38371).
    pub fn start_tls(&mut self, client: &ClientTls, name: &ServerName) -> io::Result<()> {
        let tls = Tls::client(client, name).map_err(not_tls)?;
        let mut secured = Secured { tls, plain: Vec::new(), taken: 0 };
        self.wire.allowance = Some(self.timeout);
        secured.flush(&mut self.wire)?;
        while secured.tls.is_handshaking() {
            secured.receive(&mut self.wire)?;
        }
        self.wire.allowance = None;
        self.tls = Some(secured);
        Ok(())
    }

    /// Whether TLS is spoken.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Version and cipher suite, for people; none without TLS.
    pub fn tls_in_words(&self) -> Option<String> {
        let tls = &self.tls.as_ref()?.tls;
        Some(format!("{}, {}", tls.version()?, tls.cipher_suite()?))
    }

    /// Ends the connection in order: says in TLS that nothing follows. What is in the way of that is no matter any more.
    pub fn close(mut self) {
        if let Some(secured) = &mut self.tls {
            secured.tls.close();
            let _ = secured.tls.flush(&mut self.wire);
        }
        let _ = self.wire.stream.shutdown(Shutdown::Write);
    }

    /// What an error of reading, writing or [`start_tls`](Connection::start_tls) comes to.
    pub fn failure(&self, error: &io::Error) -> Failure {
        let server = &self.server;
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            return distrusted(server, error);
        }
        let sentence = match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => return silent(server, self.timeout),
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => {
                format!("{server} cut the connection in the midst of the dialogue; try again later")
            }
            _ => format!("{server}: {error}; try again later"),
        };
        Failure::new(Exit::Temporary, sentence)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.tls {
            Some(secured) => secured.read(&mut self.wire, buffer),
            None => self.wire.read(buffer),
        }?;
        self.progressed(count);
        Ok(count)
    }
}

impl Write for Connection {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(secured) => secured.write(&mut self.wire, octets),
            None => self.wire.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(secured) => secured.flush(&mut self.wire),
            None => Ok(()),
        }
    }
}

impl Wire {
    /// How long the next step may take, which may take no longer than `most`.
    fn left(&self, most: Duration) -> io::Result<Duration> {
        let until_end = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = until_end.map_or(most, |left| left.min(most));
        // The system takes none for endless.
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left(self.allowance.map_or(self.timeout, |allowance| allowance.min(self.timeout)))?;
        self.stream.set_read_timeout(Some(left))?;
        let begin = Instant::now();
        let count = patient(|| self.stream.read(buffer));
        self.allowance = self.allowance.map(|left| left.saturating_sub(begin.elapsed()));
        count
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left(self.timeout)?))?;
        patient(|| self.stream.write(octets))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Secured {
    fn read(&mut self, wire: &mut Wire, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.plain.len() {
            if self.tls.peer_has_closed() {
                return Ok(0);
            }
            self.receive(wire)?;
        }
        let count = buffer.len().min(self.plain.len() - self.taken);
        buffer[..count].copy_from_slice(&self.plain[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }

    /// Receives once. Only where all that was received is read.
    fn receive(&mut self, wire: &mut Wire) -> io::Result<()> {
        (self.taken, self.plain) = (0, Vec::new());
        let mut received = [0; RECEIVED_AT_ONCE];
        let count = wire.read(&mut received)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let taken = self.tls.receive(&received[..count], &mut self.plain);
        // After an error, too: the server is told why. What is in the way of that is not what went wrong.
        let flushed = self.flush(wire);
        taken.map_err(not_tls)?;
        flushed
    }

    /// Returns when what it took is on its way.
    fn write(&mut self, wire: &mut Wire, octets: &[u8]) -> io::Result<usize> {
        let count = self.tls.send([octets, b""]);
        self.flush(wire)?;
        match count {
            // Nothing waits any more, so that there was room: the session is over.
            0 if !octets.is_empty() => Err(ErrorKind::BrokenPipe.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self, wire: &mut Wire) -> io::Result<()> {
        if self.tls.flush(wire)? { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }
}

/// Octets that are received at once.
const RECEIVED_AT_ONCE: usize = 16 * 1024;

/// Tries again what a signal interrupted. What did not come in time says `TimedOut`, in place of the system's `WouldBlock`.
fn patient(mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match step() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            done => return done,
        }
    }
}

/// Connects to the first address that answers. What is left of the time is for those that are left in equal parts, so that
/// an address from which nothing comes back does not take it all. None for no address, or the last error.
fn connect(addresses: &[SocketAddr], timeout: Duration) -> Result<TcpStream, Option<io::Error>> {
    let end = Instant::now() + timeout;
    let mut last: Option<io::Error> = None;
    for (at, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let part = left / (addresses.len() - at) as u32;
        match TcpStream::connect_timeout(address, part.max(Duration::from_millis(DIAL_STEP_MS_MIN))) {
            Ok(stream) => return Ok(stream),
            // That one did not answer in time is what a later try may mend: it is told before a refusal.
            Err(error) if last.as_ref().is_none_or(|last| last.kind() != ErrorKind::TimedOut) => {
                last = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(last)
}

/// So that it comes out of a [`Read`] or [`Write`] as it is.
fn not_tls(error: TlsError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn no_such_host(server: &Server, reason: &str) -> Failure {
    let host = printable(server.host.as_bytes());
    Failure::new(Exit::Unavailable, format!("no such host as {host} ({reason}); name another with --server"))
}

fn nobody_there(server: &Server, timeout: Duration, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::TimedOut => silent(server, timeout),
        ErrorKind::ConnectionRefused => Failure::new(
            Exit::Unavailable,
            format!("no server at {server}: connection refused; start it, or name another with --server"),
        ),
        _ => Failure::new(Exit::Unavailable, format!("{server} cannot be reached: {error}")),
    }
}

fn silent(server: &Server, timeout: Duration) -> Failure {
    let within = duration_text(timeout);
    let sentence =
        format!("{server} did not answer within {within}; try again later, or wait longer with --timeout");
    Failure::new(Exit::Temporary, sentence)
}

/// What is wrong in TLS, and the mend.
fn distrusted(server: &Server, error: &TlsError) -> Failure {
    // It has names that the certificate of a stranger has.
    let reason = printable(error.to_string().as_bytes());
    let sentence = match (error.fault(), error.certificate_fault()) {
        (_, Some(CertificateFault::Issuer)) => format!(
            "{server} cannot be trusted: no authority that we trust has signed its certificate; if it is the right one, \
             name its certificate or its authority's with --ca FILE, or trust anybody with --insecure"
        ),
        (_, Some(CertificateFault::Name)) => format!(
            "{server} cannot be trusted: its certificate is for another name ({reason}); name the server as its \
             certificate does, or trust anybody with --insecure"
        ),
        (_, Some(CertificateFault::Expired)) => format!(
            "{server} cannot be trusted: its certificate has expired; have it renewed, or trust anybody with --insecure"
        ),
        (_, Some(CertificateFault::NotYet)) => format!(
            "{server} cannot be trusted: its certificate is not valid yet; look at this machine's clock, or trust anybody \
             with --insecure"
        ),
        (TlsFault::Certificate, _) => format!(
            "{server} cannot be trusted: {reason}; name its certificate or its authority's with --ca FILE, or trust anybody \
             with --insecure"
        ),
        (TlsFault::NotTls, _) => format!(
            "{server} does not begin with TLS: {reason}; try --tls starttls, or another port with --server"
        ),
        (TlsFault::Alert | TlsFault::NothingInCommon | TlsFault::Protocol, _) => {
            format!("{server}: {reason}")
        }
    };
    Failure::new(Exit::Unavailable, sentence)
}

#[cfg(test)]
#[path = "dial/tests.rs"]
mod tests;
