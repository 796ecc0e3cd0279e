//! The header by which a proxy says for whom it speaks: the PROXY protocol, versions 1 and 2 (haproxy's
//! proxy-protocol.txt, 2.1 and 2.2).
//!
//! ```text
//!   1  PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 CR LF
//!   2  signature (12) | version, command (1) | family, protocol (1) | length (2) | addresses, ports | TLVs
//!                                                                               |<------ length ------>|
//! ```
//!
//! Called for connections from proxies that the operator trusts, and for no others: whoever is believed here may claim
//! any address. So nothing is guessed: what is not in the grammar, to the octet, is bad.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::line::{self, Line};
use crate::limits::PROXY_HEADER_MAX;

/// What stands at the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header.
    Partial,
    /// A whole header.
    Whole {
        /// Its octets; what stands behind it is the client's.
        consumed: usize,
        /// The client's address and port; none if the proxy speaks for itself, or does not know.
        source: Option<SocketAddr>,
    },
    /// Not a header.
    Bad,
}

/// Reads the header at the start of `input`.
pub fn parse(input: &[u8]) -> Header {
    let begins = |whole: &[u8]| input.iter().zip(whole).all(|(octet, expected)| octet == expected);
    let header = if begins(SIGNATURE) {
        parse_octets(input)
    } else if begins(WORD) {
        parse_line(input)
    } else {
        None
    };
    header.unwrap_or(Header::Bad)
}

/// Version 1. None if it is bad.
fn parse_line(input: &[u8]) -> Option<Header> {
    let line = match line::find(&input[..input.len().min(LINE_MAX)], 0) {
        Line::Whole(line) => line,
        Line::Partial if input.len() < LINE_MAX => return Some(Header::Partial),
        Line::Partial | Line::BareCr(_) | Line::BareLf(_) => return None,
    };
    let consumed = line.len() + b"\r\n".len();
    let text = std::str::from_utf8(line.strip_prefix(WORD)?).ok()?;
    let source = match text.split_once(' ').unwrap_or((text, "")) {
        ("TCP4", rest) => Some(line_source::<Ipv4Addr>(rest)?),
        ("TCP6", rest) => Some(line_source::<Ipv6Addr>(rest)?),
        // Whatever stands behind it.
        ("UNKNOWN", _) => None,
        _ => return None,
    };
    Some(Header::Whole { consumed, source })
}

/// The first of two addresses with the first of two ports.
fn line_source<A: FromStr + Into<IpAddr>>(text: &str) -> Option<SocketAddr> {
    let mut words = text.split(' ');
    let mut address = || words.next()?.parse().ok().map(A::into);
    let (source, _destination): (IpAddr, IpAddr) = (address()?, address()?);
    let (source_port, _destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(SocketAddr::new(source, source_port))
}

/// A decimal number of 0 to 65535 without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text == "0" || !text.starts_with('0');
    (is_plain && text.bytes().all(|octet| octet.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Version 2. None if it is bad.
fn parse_octets(input: &[u8]) -> Option<Header> {
    let Some((fixed, rest)) = input.split_first_chunk::<FIXED>() else {
        return could_be_octets(input).then_some(Header::Partial);
    };
    let &[version_command, family, length @ ..] = fixed.last_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes(length));
    let consumed = FIXED + length;
    if consumed > PROXY_HEADER_MAX {
        return None;
    }
    // Where addresses are to be, there must be room for them.
    let addresses_len = match (version_command, family) {
        (LOCAL, _) => 0,
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        // Datagrams and Unix sockets bring no mail: no address that could be used.
        (PROXY, UNSPECIFIED | UDP4 | UDP6 | UNIX_STREAM | UNIX_DATAGRAM) => 0,
        _ => return None,
    };
    if length < addresses_len {
        return None;
    }
    let Some(body) = rest.get(..length) else { return Some(Header::Partial) };
    let source = match addresses_len {
        12 => Some((Ipv4Addr::from(*body.first_chunk::<4>()?).into(), [body[8], body[9]])),
        36 => Some((Ipv6Addr::from(*body.first_chunk::<16>()?).into(), [body[32], body[33]])),
        _ => None,
    };
    let source = source.map(|(address, port)| SocketAddr::new(address, u16::from_be_bytes(port)));
    Some(Header::Whole { consumed, source })
}

/// Whether the octets behind the signature, so far, may be those of a header.
fn could_be_octets(input: &[u8]) -> bool {
    matches!(input.get(SIGNATURE.len()), None | Some(&(LOCAL | PROXY)))
}

/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";
/// Octets of its longest line, with CRLF.
const LINE_MAX: usize = 107;

/// How version 2 begins: what no other protocol does.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets up to the addresses.
const FIXED: usize = 16;

// Version 2 with a command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

// Family with protocol.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

const _: () = assert!(LINE_MAX <= PROXY_HEADER_MAX);

#[cfg(test)]
mod tests;
