//! TLS without a socket of its own, over rustls: octets of the wire in, plaintext out, and the other way round. For a
//! client (loadgen, `send`, relay) and a server alike.
//!
//! ```text
//!             receive                       send
//!   wire ──────────────▶ plain    plain ──────────────▶ at most TLS_UNSENT_MAX ──▶ flush ──▶ stream
//!             └ what the handshake or an alert has to say waits there as well ──────┘
//! ```
//!
//! The driver hands all that it received to [`receive`](Tls::receive), flushes while the session
//! [`wants_write`](Tls::wants_write), after an error too (the peer is told why), and ends with [`close`](Tls::close).
//! Where the stream ends, [`peer_has_closed`](Tls::peer_has_closed) tells an end from a cut. TLS 1.2 and 1.3 only (RFC
//! 8996). Knows no SMTP; reads the wall clock and randomness by way of rustls, and no file but the system's certificates.

mod certificate;
mod config;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{
    ClientConnection, Connection, HandshakeKind, InvalidMessage, ProtocolVersion, ServerConnection,
};

use crate::limits::TLS_UNSENT_MAX;

pub use certificate::{Certificate, self_signed};
pub use config::{ClientTls, Resumption, ServerName, ServerTls, TlsConfigError, Trust};

/// One connection's TLS.
pub struct Tls {
    /// In a box: it is large, and most connections have none.
    inner: Box<Inner>,
}

struct Inner {
    connection: Connection,
    peer_has_closed: bool,
    /// Of a server's side: see [`Tls::server_end_point`].
    end_point: Option<Arc<[u8]>>,
}

impl Tls {
    /// The client's side, towards a server that must be `name`.
    pub fn client(client: &ClientTls, name: &ServerName) -> Result<Tls, TlsError> {
        let connection = ClientConnection::new(Arc::clone(&client.config), name.name.clone())?;
        Ok(Tls::new(connection.into(), None))
    }

    /// The server's side.
    pub fn server(server: &ServerTls) -> Result<Tls, TlsError> {
        let connection = ServerConnection::new(Arc::clone(&server.config))?;
        Ok(Tls::new(connection.into(), server.end_point.clone()))
    }

    fn new(mut connection: Connection, end_point: Option<Arc<[u8]>>) -> Tls {
        connection.set_buffer_limit(Some(TLS_UNSENT_MAX));
        Tls { inner: Box::new(Inner { connection, peer_has_closed: false, end_point }) }
    }

    /// Takes all of `wire`, which came from the stream, and appends what it says in plain to `plain`: also what stands
    /// before the fault, if it fails. There may be something to [flush](Tls::flush) then, in either case; after an error
    /// there is no going on.
    pub fn receive(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let is_more_than_one_read = wire.len() > READ_SIZE;
        while !wire.is_empty() && !self.inner.peer_has_closed {
            // Takes some 4 KiB at a time; what is left over from before is less than a record, so that there is room.
            if self.inner.connection.read_tls(&mut wire).is_err() {
                return Err(rustls::Error::General("no room for a record".into()).into());
            }
            let state = self.inner.connection.process_new_packets();
            self.take_plain(plain);
            self.inner.peer_has_closed = state?.peer_has_closed();
        }
        if is_more_than_one_read {
            // rustls lets go of a large buffer when it is next to read; the session may be idle for an hour before.
            let _ = self.inner.connection.read_tls(&mut Nothing);
        }
        Ok(())
    }

    fn take_plain(&mut self, plain: &mut Vec<u8>) {
        let mut reader = self.inner.connection.reader();
        while let Ok(octets @ [_, ..]) = reader.fill_buf() {
            let count = octets.len();
            plain.extend_from_slice(octets);
            reader.consume(count);
        }
    }

    /// Takes plaintext to be sent, two slices as one, and gives how many octets it took: none while more than
    /// [`TLS_UNSENT_MAX`] wait to be [flushed](Tls::flush), or after an error. A client is to wait with it for the end of
    /// the handshake; what a server says earlier waits for that here.
    pub fn send(&mut self, plain: [&[u8]; 2]) -> usize {
        let mut writer = self.inner.connection.writer();
        let written = match plain {
            [only, []] | [[], only] => writer.write(only),
            slices => writer.write_vectored(&slices.map(IoSlice::new)),
        };
        // An error here is the one that `receive` gave already.
        written.unwrap_or(0)
    }

    /// Writes what waits to `stream`; gives whether all of it went out. That the stream would block is no error.
    pub fn flush(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while self.inner.connection.wants_write() {
            match self.inner.connection.write_tls(stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether something waits to be [flushed](Tls::flush).
    pub fn wants_write(&self) -> bool {
        self.inner.connection.wants_write()
    }

    /// Whether the handshake is under way: nothing is certain before its end.
    pub fn is_handshaking(&self) -> bool {
        self.inner.connection.is_handshaking()
    }

    /// Says that nothing follows (close_notify, RFC 8446 6.1); to be flushed before the stream is closed.
    pub fn close(&mut self) {
        self.inner.connection.send_close_notify();
    }

    /// Whether the peer said that nothing follows. A stream that ends without was cut, by whomever.
    pub fn peer_has_closed(&self) -> bool {
        self.inner.peer_has_closed
    }

    /// The protocol's version, for people; none before it is agreed upon.
    pub fn version(&self) -> Option<&'static str> {
        match self.inner.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("TLS 1.2"),
            ProtocolVersion::TLSv1_3 => Some("TLS 1.3"),
            other => other.as_str(),
        }
    }

    /// The cipher suite, as rustls calls it; none before it is agreed upon.
    pub fn cipher_suite(&self) -> Option<&'static str> {
        self.inner.connection.negotiated_cipher_suite()?.suite().as_str()
    }

    /// Whether the handshake went on from an earlier session, which costs a fraction of a full one.
    pub fn is_resumed(&self) -> bool {
        self.inner.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What binds another protocol to this session on either side, `tls-exporter` (RFC 9266). TLS 1.3 only: of TLS 1.2
    /// it is safe with the extended master secret alone, and rustls does not tell whether there is one.
    pub fn exporter(&self) -> Option<[u8; 32]> {
        if self.inner.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return None;
        }
        let label = b"EXPORTER-Channel-Binding";
        self.inner.connection.export_keying_material([0; 32], label, Some(b"")).ok()
    }

    /// The hash of the certificate that a server's side shows, `tls-server-end-point` (RFC 5929 4.1); none on a client's
    /// side, and none where the certificate's signature has no hash of its own.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        self.inner.end_point.as_deref().map(<[u8]>::to_vec)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls {{ version: {:?}, handshaking: {} .. }}", self.version(), self.is_handshaking())
    }
}

/// What is wrong with a peer's certificate, as far as people can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// No authority that we trust has signed it.
    Issuer,
    /// It is for another name.
    Name,
    /// It is valid no more.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// Something else.
    Other,
}

/// Why TLS came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsError {
    fault: TlsFault,
    cause: rustls::Error,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The peer's certificate: not from an authority that we trust, for another name, expired.
    Certificate,
    /// The peer does not speak TLS at all.
    NotTls,
    /// The peer gave up, and says why: our certificate, perhaps, or our name.
    Alert,
    /// Peer and we have no version or cipher suite in common.
    NothingInCommon,
    /// The peer, or somebody between, breaks the protocol; or the system has no randomness.
    Protocol,
}

impl TlsError {
    /// What kind of thing went wrong.
    pub fn fault(&self) -> TlsFault {
        self.fault
    }

    /// What is wrong with the peer's certificate, if that is what went wrong.
    pub fn certificate_fault(&self) -> Option<CertificateFault> {
        use rustls::CertificateError::*;
        let rustls::Error::InvalidCertificate(error) = &self.cause else { return None };
        Some(match error {
            // The latter of one that is called as an authority of ours, like a self-signed one that was made anew.
            UnknownIssuer | BadSignature => CertificateFault::Issuer,
            // What `openssl req -x509` makes: it is its own authority, and not ours.
            Other(error) if error.to_string().contains("CaUsedAsEndEntity") => CertificateFault::Issuer,
            NotValidForName | NotValidForNameContext { .. } => CertificateFault::Name,
            Expired | ExpiredContext { .. } => CertificateFault::Expired,
            NotValidYet | NotValidYetContext { .. } => CertificateFault::NotYet,
            _ => CertificateFault::Other,
        })
    }
}

impl From<rustls::Error> for TlsError {
    fn from(cause: rustls::Error) -> TlsError {
        use InvalidMessage::{InvalidContentType, UnknownProtocolVersion};
        use rustls::Error;
        let fault = match &cause {
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFault::Certificate,
            Error::InvalidMessage(InvalidContentType | UnknownProtocolVersion) => TlsFault::NotTls,
            Error::AlertReceived(_) => TlsFault::Alert,
            Error::PeerIncompatible(_) => TlsFault::NothingInCommon,
            _ => TlsFault::Protocol,
        };
        TlsError { fault, cause }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            TlsFault::NotTls => f.write_str("what the peer says is not TLS"),
            TlsFault::NothingInCommon => write!(f, "no TLS in common with the peer: {}", self.cause),
            TlsFault::Certificate | TlsFault::Alert => write!(f, "TLS: {}", self.cause),
            TlsFault::Protocol => write!(f, "TLS failed: {}", self.cause),
        }
    }
}

impl std::error::Error for TlsError {}

/// Octets that rustls reads at once.
const READ_SIZE: usize = 4096;

/// A stream on which nothing is to be read now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
