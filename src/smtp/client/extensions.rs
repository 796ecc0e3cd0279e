//! What a server offers in its reply to EHLO (RFC 5321 4.1.1.1).

use super::Reply;
use crate::wire::sasl::Mechanism;

/// The service extensions that a server offers, as far as they matter to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3030 3.
    pub binary_mime: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3030 2.
    pub chunking: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954.
    pub auth: Mechanisms,
    /// RFC 1870: the octets of the largest message; none if the server names no limit.
    pub size_max: Option<u64>,
}

impl Extensions {
    /// Those of a reply to EHLO: its first line is a greeting, each further one a keyword and its parameters.
    pub(super) fn offered(reply: &Reply<'_>) -> Extensions {
        let mut offered = Extensions::default();
        for line in reply.lines().skip(1) {
            let mut words = line.split(|octet| *octet == b' ');
            let keyword = words.next().unwrap_or_default();
            let is = |name: &str| keyword.eq_ignore_ascii_case(name.as_bytes());
            offered.pipelining |= is("PIPELINING");
            offered.eight_bit_mime |= is("8BITMIME");
            offered.binary_mime |= is("BINARYMIME");
            offered.smtputf8 |= is("SMTPUTF8");
            offered.chunking |= is("CHUNKING");
            offered.starttls |= is("STARTTLS");
            if is("AUTH") {
                words.clone().filter_map(Mechanism::named).for_each(|mechanism| offered.auth.add(mechanism));
            }
            if is("SIZE") {
                offered.size_max = words.next().and_then(size).filter(|size| *size > 0);
            }
        }
        offered
    }
}

/// A set of mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mechanisms {
    /// By the place of the mechanism in its type.
    has: [bool; Mechanism::ALL.len()],
}

impl Mechanisms {
    /// Whether a mechanism is among them.
    pub fn has(&self, mechanism: Mechanism) -> bool {
        self.has[mechanism as usize]
    }

    fn add(&mut self, mechanism: Mechanism) {
        self.has[mechanism as usize] = true;
    }
}

fn size(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
