//! The passage between a connection's stream and its session, by TLS or without.
//!
//! ```text
//!              wire          plain, behind the carry
//!   stream ──▶ Buffers ─Tls──▶ Buffers ──▶ session ──▶ outbox ─Tls──▶ stream
//!                   └─ without TLS, behind the carry ─▶┘      └── without TLS ──▶┘
//! ```
//!
//! All connections read by way of the same buffers: an idle one owns none. What is read without TLS is not copied, what is
//! read with it is decrypted once and then copied behind the carry.

use std::io::{self, Write};

use super::connection::{CloseReason, Connection, Phase, Stream};
use crate::limits::{RECEIVE_BUFFER, TLS_RECORD_MAX};
use crate::net::tls::{Tls, TlsError};

/// What the connections of a server share for reading.
pub(super) struct Buffers {
    /// What came from a stream; without TLS behind the connection's carry.
    pub wire: Box<[u8]>,
    /// With TLS: what that says, behind the connection's carry.
    plain: Vec<u8>,
}

impl Buffers {
    pub fn new() -> Buffers {
        Buffers { wire: vec![0; RECEIVE_BUFFER].into(), plain: Vec::new() }
    }
}

/// None: while they are lent.
impl Default for Buffers {
    fn default() -> Buffers {
        Buffers { wire: Box::default(), plain: Vec::new() }
    }
}

/// What reading brought.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Received {
    /// So many octets of the stream.
    Octets(usize),
    /// Nothing now.
    Nothing,
    /// The end of the client's direction.
    End,
    /// A broken connection.
    Broken,
    /// What is no TLS, or not this session's.
    TlsFailed(TlsError),
}

impl<S: Stream> Connection<S> {
    /// Whether all that we had to say is with the kernel.
    pub fn is_written(&self) -> bool {
        self.outbox.is_empty() && !self.tls.as_ref().is_some_and(Tls::wants_write)
    }

    /// Reads once, if that may bring something and the carry has not `end` octets yet. Gives what that brought, and all
    /// the input there is now, which begins with what was the carry.
    pub fn input<'b>(&mut self, buffers: &'b mut Buffers, end: usize) -> (Received, &'b [u8]) {
        let carry = std::mem::take(&mut self.carry);
        self.has_fresh_carry = false;
        let may_read = self.may_be_readable && !self.is_input_over;
        let Buffers { wire, plain } = buffers;
        if self.tls.is_none() {
            wire[..carry.len()].copy_from_slice(&carry);
            let (mut filled, mut received) = (carry.len(), Received::Nothing);
            if may_read && filled < end {
                received = self.receive(&mut wire[filled..end]);
            }
            if let Received::Octets(octets) = received {
                filled += octets;
            }
            return (received, &wire[..filled]);
        }
        plain.clear();
        plain.extend_from_slice(&carry);
        // What is left of a record from before may come on top: input is never more than the buffer without TLS has.
        let room = end.min(wire.len() - TLS_RECORD_MAX).saturating_sub(carry.len());
        let received =
            if may_read && room > 0 { self.receive_tls(&mut wire[..room], plain) } else { Received::Nothing };
        (received, plain)
    }

    /// Reads once by way of `wire`, and appends what that says to `plain`.
    fn receive_tls(&mut self, wire: &mut [u8], plain: &mut Vec<u8>) -> Received {
        let received = self.receive(wire);
        let (Received::Octets(octets), Some(tls)) = (&received, &mut self.tls) else { return received };
        if let Err(error) = tls.receive(&wire[..*octets], plain) {
            return Received::TlsFailed(error);
        }
        // The proper end. A bare end of the stream ends the input as well: what it cut off is not complete.
        self.is_input_over = tls.peer_has_closed();
        received
    }

    /// Reads once into `buffer`. A read that does not fill it ends reading without one more system call, unless an end
    /// is to be read too.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.may_be_readable = false;
                    return Received::End;
                }
                Ok(octets) => {
                    self.may_be_readable = octets == buffer.len() || self.read_closed;
                    return Received::Octets(octets);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.may_be_readable = false;
                    return Received::Nothing;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Received::Broken,
            }
        }
    }

    /// Writes what waits, once. An error means that the connection is broken.
    pub fn write_pending(&mut self, now_ms: u64) -> Result<(), CloseReason> {
        if self.tls.is_some() {
            return self.write_pending_tls(now_ms);
        }
        while !self.outbox.is_empty() {
            match self.stream.write(self.outbox.pending()) {
                Ok(0) => return Err(CloseReason::Reset),
                Ok(octets) => {
                    self.outbox.advance(octets);
                    self.progress_ms = now_ms;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(CloseReason::Reset),
            }
        }
        Ok(())
    }

    /// The same with TLS, of which no more is encrypted than was written: a slow reader costs two outboxes. Behind the
    /// last word it says that nothing follows.
    fn write_pending_tls(&mut self, now_ms: u64) -> Result<(), CloseReason> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        loop {
            let mut counted = Counted { stream: &mut self.stream, octets: 0 };
            let is_flushed = tls.flush(&mut counted);
            if counted.octets > 0 {
                self.progress_ms = now_ms;
            }
            if !is_flushed.map_err(|_| CloseReason::Reset)? {
                return Ok(());
            }
            if self.outbox.is_empty() && matches!(self.phase, Phase::Finishing(_)) {
                tls.close();
            } else {
                self.outbox.advance(tls.send([self.outbox.pending(), b""]));
            }
            if !tls.wants_write() {
                return Ok(());
            }
        }
    }
}

/// A stream, and how many octets it took.
struct Counted<'a, S> {
    stream: &'a mut S,
    octets: usize,
}

impl<S: Write> Write for Counted<'_, S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(octets)?;
        self.octets += count;
        Ok(count)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let count = self.stream.write_vectored(slices)?;
        self.octets += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
