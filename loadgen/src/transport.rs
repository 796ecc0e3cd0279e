//! A connection's socket, and TLS over it where that is spoken: octets in and out, and nothing of what they mean.
//!
//! One receive and one send per exchange: a receive that did not fill the buffer emptied the socket, and a send cut
//! short filled it, so neither is tried again before the poll tells (epoll(7): edge-triggered).

use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr};

use fastsmtp::net::tls::Tls;
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use crate::plan::{Plan, Security, TlsMode};

/// What went wrong below SMTP.
#[derive(Debug)]
pub enum TransportError {
    /// The system says so.
    System(io::Error),
    /// TLS came to no understanding.
    Tls(String),
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> TransportError {
        TransportError::System(error)
    }
}

/// What a receive found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many octets in the buffer, or behind TLS, and whether the socket has no more now.
    Octets {
        /// Those in the buffer.
        count: usize,
        /// Whether the socket is empty.
        is_all: bool,
    },
    /// None now.
    Nothing,
    /// None ever.
    End,
}

/// A socket, and TLS over it.
pub struct Transport {
    /// The loop registers it.
    pub stream: TcpStream,
    tls: Option<Box<Secured>>,
}

struct Secured {
    tls: Tls,
    plain: Vec<u8>,
}

impl Transport {
    /// Begins to connect, from `source` if there is one; with implicit TLS its handshake will begin at once.
    pub fn connect(plan: &Plan, source: Option<IpAddr>) -> Result<Transport, TransportError> {
        let stream = match source {
            None => TcpStream::connect(plan.target)?,
            Some(source) => connect_from(source, plan.target)?,
        };
        stream.set_nodelay(true)?;
        let mut transport = Transport { stream, tls: None };
        if let (TlsMode::Implicit, Some(security)) = (plan.tls, &plan.security) {
            transport.secure(security)?;
        }
        Ok(transport)
    }

    /// Begins the handshake.
    pub fn secure(&mut self, security: &Security) -> Result<(), TransportError> {
        let tls = Tls::client(&security.config, &security.name)
            .map_err(|error| TransportError::Tls(error.to_string()))?;
        self.tls = Some(Box::new(Secured { tls, plain: Vec::new() }));
        Ok(())
    }

    /// Whether TLS is spoken, or about to be.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether a handshake is under way.
    pub fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|secured| secured.tls.is_handshaking())
    }

    /// Version and cipher suite.
    pub fn tls_in_words(&self) -> Option<String> {
        let tls = &self.tls.as_ref()?.tls;
        Some(format!("{}, {}", tls.version()?, tls.cipher_suite()?))
    }

    /// Whether both ends have the same address, or it is the machine's own loopback; none if it is not connected.
    pub fn is_on_one_machine(&self) -> Option<bool> {
        let (ours, theirs) = (self.stream.local_addr().ok()?.ip(), self.stream.peer_addr().ok()?.ip());
        Some(ours == theirs || theirs.is_loopback())
    }

    /// Receives once. Without TLS the octets are in `buffer`; with it [`take_plain`](Transport::take_plain) has them.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, TransportError> {
        let count = loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        };
        if let Some(secured) = &mut self.tls
            && let Err(error) = secured.tls.receive(&buffer[..count], &mut secured.plain)
        {
            // The server is told why; if that does not go out at once, it will see the end of the connection.
            let _ = secured.tls.flush(&mut self.stream);
            return Err(TransportError::Tls(error.to_string()));
        }
        Ok(Received::Octets { count, is_all: count < buffer.len() })
    }

    /// What was received through TLS; none if there is no TLS.
    pub fn take_plain(&mut self) -> Option<Vec<u8>> {
        self.tls.as_mut().map(|secured| std::mem::take(&mut secured.plain))
    }

    /// Lends the memory back that [`take_plain`](Transport::take_plain) gave.
    pub fn give_back(&mut self, mut plain: Vec<u8>) {
        if let Some(secured) = &mut self.tls {
            plain.clear();
            secured.plain = plain;
        }
    }

    /// Sends what the socket takes now, and gives how many octets need not be offered again. Where that is not all, the
    /// poll tells when there is room again, or the handshake is still under way.
    pub fn send(&mut self, output: [&[u8]; 2]) -> Result<usize, TransportError> {
        match &mut self.tls {
            Some(secured) => Ok(secured.send(&mut self.stream, output)?),
            None => self.send_plain(output),
        }
    }

    fn send_plain(&mut self, [first, second]: [&[u8]; 2]) -> Result<usize, TransportError> {
        loop {
            let sent = match (first, second) {
                ([], []) => Ok(0),
                (first, []) => self.stream.write(first),
                ([], second) => self.stream.write(second),
                (first, second) => self.stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
            };
            match sent {
                Ok(sent) => return Ok(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what TLS has to say of itself.
    pub fn flush(&mut self) -> Result<(), TransportError> {
        if let Some(secured) = &mut self.tls {
            secured.tls.flush(&mut self.stream)?;
        }
        Ok(())
    }

    /// Whether TLS holds octets that the socket did not take yet.
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|secured| secured.tls.wants_write())
    }
}

impl Secured {
    /// TLS takes a bit at a time: it is offered the rest until the socket is full, for the poll is silent before that.
    fn send(&mut self, stream: &mut TcpStream, output: [&[u8]; 2]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let more = if self.tls.is_handshaking() { 0 } else { self.tls.send(behind(output, taken)) };
            taken += more;
            if !self.tls.flush(stream)? || more == 0 {
                return Ok(taken);
            }
        }
    }
}

/// What remains of two slices behind their first `count` octets.
fn behind([first, second]: [&[u8]; 2], count: usize) -> [&[u8]; 2] {
    match count.checked_sub(first.len()) {
        Some(beyond) => [&second[beyond..], b""],
        None => [&first[count..], second],
    }
}

/// std and mio connect from wherever the system likes. An error names the source.
fn connect_from(source: IpAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    let bound = socket.bind(&SocketAddr::new(source, 0).into());
    bound.map_err(|error| io::Error::new(error.kind(), format!("cannot connect from {source}: {error}")))?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
