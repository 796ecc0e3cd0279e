//! Addresses and paths: the grammar of RFC 5321 4.1.2 and 4.1.3, with UTF-8 where RFC 6531 3.3 has it.
//!
//! An address is kept by its value: a quoted local part without its quotes. Its domain is kept as given; compare by
//! [`Address::domain_key`].

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits::{DOMAIN_MAX, LABEL_MAX, PATH_MAX};

/// A mailbox as SMTP names it: local part and domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The local part's value, an at sign, the domain: one allocation.
    text: Box<str>,
    /// Where the at sign stands.
    at: u32,
}

impl Address {
    /// An address of a local part's value (any text but the empty one) and a domain (taken as it is).
    pub fn new(local_part: &str, domain: &str) -> Address {
        Address { text: [local_part, "@", domain].concat().into(), at: local_part.len() as u32 }
    }

    /// Parses `local@domain` alone, without angle brackets.
    pub fn parse(text: &[u8]) -> Result<Address, AddressError> {
        match mailbox(text)? {
            (address, []) => Ok(address),
            _ => Err(AddressError::Syntax),
        }
    }

    /// The local part's value, without quotes.
    pub fn local_part(&self) -> &str {
        &self.text[..self.at as usize]
    }

    /// The domain as given: a name, or an address literal with its brackets.
    pub fn domain(&self) -> &str {
        &self.text[self.at as usize + 1..]
    }

    /// The domain in the one spelling that counts: lower case, A-labels.
    pub fn domain_key(&self) -> Cow<'_, str> {
        domain_key(self.domain())
    }

    /// Whether it can be said without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// Appends `local@domain`, the local part quoted when it has to be.
    pub fn push_to(&self, text: &mut String) {
        if is_dot_string(self.local_part()) {
            return text.push_str(&self.text);
        }
        text.push('"');
        for character in self.local_part().chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
        text.push_str(&self.text[self.at as usize..]);
    }

    /// Octets of memory behind it.
    pub fn size(&self) -> usize {
        self.text.len()
    }
}

/// `local@domain`, the local part quoted when it has to be.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

/// A domain in the one spelling that counts: lower case, A-labels (RFC 5891). A name that has no A-labels stays as it
/// is but for its case.
pub fn domain_key(domain: &str) -> Cow<'_, str> {
    if !domain.is_ascii()
        && let Ok(ascii) = idna::domain_to_ascii(domain)
    {
        return Cow::Owned(ascii);
    }
    if domain.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(domain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(domain)
    }
}

/// What stands between the angle brackets of MAIL and RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// `<>`, the null reverse-path.
    Null,
    /// `<postmaster>` without a domain, in any case (RFC 5321 4.1.1.3).
    Postmaster,
    /// `<local@domain>`; a source route before it is gone (RFC 5321 appendix C).
    Mailbox(Address),
}

/// Why a path is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Against the grammar.
    Syntax,
    /// Longer than RFC 5321 4.5.3.1 has it.
    TooLong,
}

/// Parses a path from `<` to `>` at the start of `input`; gives it and what stands behind it.
pub(super) fn path(input: &[u8]) -> Result<(Path, &[u8]), AddressError> {
    let inner = input.strip_prefix(b"<").ok_or(AddressError::Syntax)?;
    if let Some(rest) = inner.strip_prefix(b">") {
        return Ok((Path::Null, rest));
    }
    if let Some((word, rest)) = inner.split_at_checked(b"postmaster>".len())
        && word.eq_ignore_ascii_case(b"postmaster>")
    {
        return Ok((Path::Postmaster, rest));
    }
    let (address, rest) = mailbox(without_source_route(inner)?)?;
    let rest = rest.strip_prefix(b">").ok_or(AddressError::Syntax)?;
    if input.len() - rest.len() > PATH_MAX {
        Err(AddressError::TooLong)
    } else {
        Ok((Path::Mailbox(address), rest))
    }
}

/// Strips `@one,@two:`.
fn without_source_route(input: &[u8]) -> Result<&[u8], AddressError> {
    let mut rest = input;
    let mut hops = 0;
    while let Some(route) = rest.strip_prefix(b"@") {
        let (_, after) = domain(route)?;
        hops += 1;
        match after {
            [b',', more @ ..] => rest = more,
            [b':', mailbox @ ..] => return Ok(mailbox),
            _ => return Err(AddressError::Syntax),
        }
    }
    if hops == 0 { Ok(input) } else { Err(AddressError::Syntax) }
}

/// `local-part@domain` at the start of `input`.
fn mailbox(input: &[u8]) -> Result<(Address, &[u8]), AddressError> {
    let (local_part, rest) = match input {
        [b'"', quoted @ ..] => {
            let (value, rest) = quoted_string(quoted)?;
            (Cow::Owned(value), rest)
        }
        _ => {
            let end = input.iter().position(|&b| b != b'.' && !is_atext(b)).unwrap_or(input.len());
            let text = std::str::from_utf8(&input[..end]).map_err(|_| AddressError::Syntax)?;
            if !is_dot_string(text) {
                return Err(AddressError::Syntax);
            }
            (Cow::Borrowed(text), &input[end..])
        }
    };
    let rest = rest.strip_prefix(b"@").ok_or(AddressError::Syntax)?;
    let (domain, rest) = domain(rest)?;
    Ok((Address::new(&local_part, domain), rest))
}

/// The value of a quoted string whose opening quote is gone, and what stands behind its closing one.
fn quoted_string(input: &[u8]) -> Result<(String, &[u8]), AddressError> {
    let mut value = Vec::new();
    let mut rest = input;
    loop {
        match rest {
            [b'"', after @ ..] if !value.is_empty() => {
                return Ok((String::from_utf8(value).map_err(|_| AddressError::Syntax)?, after));
            }
            // quoted-pairSMTP: a backslash and a printable character or space; else qtextSMTP, or UTF-8.
            [b'\\', byte @ 0x20..=0x7e, after @ ..]
            | [byte @ (0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e | 0x80..), after @ ..] => {
                value.push(*byte);
                rest = after;
            }
            _ => return Err(AddressError::Syntax),
        }
    }
}

/// A domain or an address literal at the start of `input`.
fn domain(input: &[u8]) -> Result<(&str, &[u8]), AddressError> {
    let end = match input {
        [b'[', ..] => input.iter().position(|&b| b == b']').map(|at| at + 1).ok_or(AddressError::Syntax)?,
        _ => input.iter().position(|&b| !is_domain_octet(b)).unwrap_or(input.len()),
    };
    let text = std::str::from_utf8(&input[..end]).map_err(|_| AddressError::Syntax)?;
    if text.len() > DOMAIN_MAX {
        return Err(AddressError::TooLong);
    }
    if is_domain(text) || is_address_literal(text) {
        Ok((text, &input[end..]))
    } else {
        Err(AddressError::Syntax)
    }
}

/// Whether `text` is a domain: labels of letters, digits and inner hyphens, or U-labels that have A-labels.
pub fn is_domain(text: &str) -> bool {
    if !text.is_ascii() {
        return idna::domain_to_ascii(text).is_ok_and(|ascii| is_domain(&ascii));
    }
    text.len() <= DOMAIN_MAX
        && labels(text).all(|label| is_label(label, |b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// Whether `text` may stand behind EHLO: a domain, an address literal, or a name with an underscore, which the grammar
/// forbids and many machines have.
pub fn is_host_name(text: &str) -> bool {
    let octet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    is_address_literal(text) || text.len() <= DOMAIN_MAX && labels(text).all(|label| is_label(label, octet))
}

/// What stands between the dots. As octets: a `str` is split by a general search, which costs more than a label has.
fn labels(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|&b| b == b'.')
}

fn is_label(label: &[u8], octet: impl Fn(u8) -> bool) -> bool {
    (1..=LABEL_MAX).contains(&label.len())
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
        && label.iter().all(|&b| octet(b))
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3).
fn is_address_literal(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
        return false;
    };
    match inner.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse::<Ipv6Addr>().is_ok(),
        _ => inner.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether a local part needs no quotes: atoms with single dots between them.
fn is_dot_string(text: &str) -> bool {
    labels(text).all(|atom| !atom.is_empty() && atom.iter().all(|&b| is_atext(b)))
}

/// atext of RFC 5322 3.2.3, and what RFC 6531 3.3 adds.
fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || b >= 0x80
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~')
}

fn is_domain_octet(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox_of(text: &str) -> Option<(String, String)> {
        match path(text.as_bytes()) {
            Ok((Path::Mailbox(address), b"")) => Some((address.local_part().into(), address.domain().into())),
            _ => None,
        }
    }

    #[test]
    fn the_grammar_of_rfc_5321_is_taken() {
        for (text, local_part, domain) in [
            ("<a@b>", "a", "b"),
            ("<user+tag@example.com>", "user+tag", "example.com"),
            ("<a.b.c@x-y.example>", "a.b.c", "x-y.example"),
            ("<\"john doe\"@x.example>", "john doe", "x.example"),
            ("<\"a>b\"@x.example>", "a>b", "x.example"),
            ("<\"\\a\\\"\\\\\"@x.example>", "a\"\\", "x.example"),
            ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
            ("<a@[IPv6:::ffff:192.0.2.1]>", "a", "[IPv6:::ffff:192.0.2.1]"),
            ("<@one.example,@two.example:a@b.example>", "a", "b.example"),
            ("<jörg@exämple.de>", "jörg", "exämple.de"),
        ] {
            assert_eq!(mailbox_of(text), Some((local_part.into(), domain.into())), "{text}");
        }
    }

    #[test]
    fn what_is_against_the_grammar_is_refused() {
        for text in [
            "<a@b",
            "a@b>",
            "<a@b@c>",
            "<a@>",
            "<a>",
            "<.a@b>",
            "<a.@b>",
            "<a..b@c>",
            "<\"a@b>",
            "<a@b,c@d>",
            "<a(c)@b>",
            "<a@x_y>",
            "<a@b;c>",
            "<a@b c>",
            "<a@../../etc>",
            "<a@[192.0.2.1>",
            "<a@[2001:db8::1]>",
            "<a@[IPv6:1:2:3:4:5:6:7:8:9]>",
            "<a\u{7}@b>",
            "<a\r@b>",
            "<a\n@b>",
            "<a\0@b>",
            "<\"\"@b>",
            "<@a:>",
            "<@a@b>",
            "<@a,@b>",
            "<a@-b>",
            "<a@b->",
            "<a@b.>",
            "<a@.b>",
            "<\"a\nb\"@c>",
            "< a@b>",
            "<a@[10.0.0.256]>",
        ] {
            assert_eq!(mailbox_of(text), None, "{text:?}");
        }
        assert!(path(b"<a\xc0\xafb@c>").is_err(), "overlong UTF-8");
        assert!(path(b"<a\xed\xa0\x80b@c>").is_err(), "a surrogate");
    }

    #[test]
    fn null_and_postmaster_are_paths_of_their_own() {
        assert_eq!(path(b"<> X"), Ok((Path::Null, &b" X"[..])));
        assert_eq!(path(b"<PostMaster>"), Ok((Path::Postmaster, &b""[..])));
        assert!(matches!(path(b"<postmaster@b>"), Ok((Path::Mailbox(_), b""))));
    }

    #[test]
    fn a_path_is_256_octets_at_the_most() {
        let label = |n| "d".repeat(n);
        let of = |last| format!("<{}@{}.{}.{}>", "l".repeat(64), label(63), label(63), label(last));
        assert_eq!(of(61).len(), 256);
        assert!(path(of(61).as_bytes()).is_ok());
        assert_eq!(path(of(62).as_bytes()).unwrap_err(), AddressError::TooLong);
        assert!(mailbox_of(&format!("<a@{}.example>", label(63))).is_some());
        assert!(mailbox_of(&format!("<a@{}.example>", label(64))).is_none());
    }

    #[test]
    fn an_address_is_written_so_that_it_reads_back() {
        for text in ["a@b", "\"john doe\"@x", "\"a\\\"b\\\\c\"@x", "\"a@b\"@x", "\".\"@x", "jörg@x"] {
            let address = Address::parse(text.as_bytes()).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::parse(address.to_string().as_bytes()), Ok(address));
        }
        assert_eq!(Address::parse(b"\"plain\"@x").unwrap().to_string(), "plain@x");
    }

    #[test]
    fn domains_are_one_however_they_are_written() {
        let key = |text: &str| Address::parse(text.as_bytes()).unwrap().domain_key().into_owned();
        assert_eq!(key("a@EXAMPLE.com"), "example.com");
        assert_eq!(key("a@EXÄMPLE.de"), "xn--exmple-cua.de");
        assert_eq!(key("a@xn--exmple-cua.de"), "xn--exmple-cua.de");
    }

    #[test]
    fn a_host_name_may_have_an_underscore_and_nothing_worse() {
        for good in ["client.example", "my_host", "[127.0.0.1]", "[IPv6:::1]", "localhost"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", "x);Mon(", "a b", "a\rX: y", "-a", "a..b", "a.", "[127.0.0.1", "é.example"] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
