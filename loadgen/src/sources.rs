//! The addresses that connections come from, in turn: one address has some 28,000 ports to a server, and no more.
//!
//! A list of addresses, ranges (`127.0.0.2-127.0.0.40`) and blocks (`127.1.0.0/24`), all of one family. Whether the
//! machine has them is seen when a socket is bound.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Addresses to connect from. Never empty, all of one family, at most [`SOURCES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    text: String,
    addresses: Vec<IpAddr>,
}

impl Sources {
    /// Reads them. Of a block of IPv4 its first and last address are left out, which name the network and the
    /// broadcast, and of one of IPv6 the first, the anycast of its routers; but blocks of one or two addresses are
    /// taken whole. The error is a sentence for people, which names the part that is wrong.
    pub fn parse(text: &str) -> Result<Sources, String> {
        let mut addresses = Vec::new();
        for part in text.split(',').map(str::trim) {
            let span = span(part)?;
            let count = span.numbers.end().saturating_sub(*span.numbers.start());
            if count >= (SOURCES_MAX - addresses.len()) as u128 {
                return Err(format!("'{text}' has more than {SOURCES_MAX} addresses: take a smaller block"));
            }
            addresses.extend(span.numbers.clone().map(|number| span.family.address(number)));
        }
        let is_ipv4 = addresses[0].is_ipv4();
        match addresses.iter().find(|address| address.is_ipv4() != is_ipv4) {
            None => Ok(Sources { text: text.to_owned(), addresses }),
            Some(_) => Err(format!("'{text}' mixes IPv4 and IPv6: the target is of one, so name one only")),
        }
    }

    /// The address of the connection number `turn`: each in turn.
    pub fn address(&self, turn: u64) -> IpAddr {
        self.addresses[(turn % self.addresses.len() as u64) as usize]
    }

    /// All of them, in order.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether a connection from them can reach `target`, as far as its family goes. The error is a sentence.
    pub fn check_target(&self, target: IpAddr) -> Result<(), String> {
        let family = |is_ipv4| if is_ipv4 { "IPv4" } else { "IPv6" };
        let ours = self.addresses[0].is_ipv4();
        if ours == target.is_ipv4() {
            return Ok(());
        }
        let (ours, its) = (family(ours), family(target.is_ipv4()));
        Err(format!("'{}' is {ours}, but the target {target} is {its}: name {its} addresses", self.text))
    }
}

/// As they were given.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which addresses a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn address(self, number: u128) -> IpAddr {
        match self {
            Family::Ipv4 => Ipv4Addr::from_bits(number as u32).into(),
            Family::Ipv6 => Ipv6Addr::from_bits(number).into(),
        }
    }

    fn bits(self) -> u32 {
        match self {
            Family::Ipv4 => 32,
            Family::Ipv6 => 128,
        }
    }
}

/// Addresses in a row, as numbers.
struct Span {
    family: Family,
    /// Not reversed.
    numbers: RangeInclusive<u128>,
}

/// An address, a range or a block.
fn span(text: &str) -> Result<Span, String> {
    if let Some((from, to)) = text.split_once('-') {
        range(text, from.trim_end(), to.trim_start())
    } else if let Some((base, length)) = text.split_once('/') {
        block(text, base, length)
    } else {
        let (family, number) = number(text)?;
        Ok(Span { family, numbers: number..=number })
    }
}

fn range(text: &str, from: &str, to: &str) -> Result<Span, String> {
    let ((family, first), (other, last)) = (number(from)?, number(to)?);
    if family != other {
        return Err(format!("the range '{text}' goes from one family to the other"));
    }
    if first > last {
        return Err(format!("the range '{text}' ends before it begins: write {to}-{from}"));
    }
    Ok(Span { family, numbers: first..=last })
}

fn block(text: &str, base: &str, length: &str) -> Result<Span, String> {
    let (family, first) = number(base)?;
    let bits = family.bits();
    let is_number = !length.is_empty() && length.bytes().all(|octet| octet.is_ascii_digit());
    let length = length.parse::<u32>().ok().filter(|length| is_number && *length <= bits);
    let Some(length) = length else {
        return Err(format!("'{text}' is not a block: its length is a number from 0 to {bits}, like /24"));
    };
    // The bits of the host: none in a block of one address, all of 128 in ::/0.
    let host = (1_u128.checked_shl(bits - length)).map_or(u128::MAX, |size| size - 1);
    if first & host != 0 {
        let base = family.address(first & !host);
        return Err(format!("'{text}' does not begin where its block does: write {base}/{length}"));
    }
    let numbers = match (family, host) {
        (_, 0 | 1) => first..=first + host,
        (Family::Ipv4, _) => first + 1..=first + host - 1,
        (Family::Ipv6, _) => first + 1..=first + host,
    };
    Ok(Span { family, numbers })
}

fn number(text: &str) -> Result<(Family, u128), String> {
    let example = "like 127.0.0.2, 127.0.0.2-127.0.0.40 or 127.1.0.0/24";
    match text.parse() {
        Ok(IpAddr::V4(address)) if address.is_multicast() || address.is_broadcast() => {
            Err(format!("'{text}' is not an address that a connection can come from, {example}"))
        }
        Ok(IpAddr::V6(address)) if address.is_multicast() => {
            Err(format!("'{text}' is not an address that a connection can come from, {example}"))
        }
        Ok(IpAddr::V4(address)) => Ok((Family::Ipv4, address.to_bits().into())),
        Ok(IpAddr::V6(address)) => Ok((Family::Ipv6, address.to_bits())),
        Err(_) => Err(format!("'{text}' is not an IP address, {example}")),
    }
}

/// A block of 16 bits: with the ports of each, over a thousand million connections to one server.
pub const SOURCES_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(text: &str) -> Vec<String> {
        Sources::parse(text).unwrap().addresses().iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn lists_ranges_and_blocks_are_taken_in_the_order_given() {
        assert_eq!(listed("127.0.0.3, 127.0.0.2"), ["127.0.0.3", "127.0.0.2"]);
        assert_eq!(
            listed("127.0.0.254 - 127.0.1.1"),
            ["127.0.0.254", "127.0.0.255", "127.0.1.0", "127.0.1.1"]
        );
        assert_eq!(listed("10.0.0.9,127.1.0.0/30"), ["10.0.0.9", "127.1.0.1", "127.1.0.2"]);
        assert_eq!(
            listed("fd00::1-fd00::3,fd00::8/126"),
            ["fd00::1", "fd00::2", "fd00::3", "fd00::9", "fd00::a", "fd00::b"]
        );
    }

    #[test]
    fn a_block_leaves_out_what_is_no_hosts_address() {
        assert_eq!(listed("127.1.0.0/24").len(), 254);
        assert_eq!(listed("10.1.0.0/16").len(), 65_534);
        assert_eq!(listed("10.0.0.4/31"), ["10.0.0.4", "10.0.0.5"]);
        assert_eq!(listed("10.0.0.4/32"), ["10.0.0.4"]);
        assert_eq!(listed("fd00::1/128"), ["fd00::1"]);
    }

    #[test]
    fn addresses_are_used_in_turn() {
        let sources = Sources::parse("10.0.0.1-10.0.0.3").unwrap();
        let used: Vec<String> = (2..6).map(|turn| sources.address(turn).to_string()).collect();
        assert_eq!(used, ["10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(sources.address(u64::MAX).to_string(), "10.0.0.1");
        assert_eq!(sources.to_string(), "10.0.0.1-10.0.0.3");
    }

    #[test]
    fn an_error_names_the_part_and_the_mend() {
        for (text, error) in [
            ("", "'' is not an IP address, like"),
            ("127.0.0.2,", "'' is not an IP address, like"),
            ("localhost", "'localhost' is not an IP address, like"),
            ("127.0.0.300", "'127.0.0.300' is not an IP address, like"),
            ("fe80::1%eth0", "'fe80::1%eth0' is not an IP address, like"),
            ("224.0.0.1", "'224.0.0.1' is not an address that a connection can come from, like"),
            ("ff02::1", "'ff02::1' is not an address that a connection can come from, like"),
            (
                "10.0.0.3-10.0.0.1",
                "the range '10.0.0.3-10.0.0.1' ends before it begins: write 10.0.0.1-10.0.0.3",
            ),
            ("10.0.0.3-::1", "the range '10.0.0.3-::1' goes from one family to the other"),
            ("10.0.0.1,::1", "'10.0.0.1,::1' mixes IPv4 and IPv6"),
            ("10.0.0.0/33", "'10.0.0.0/33' is not a block: its length is a number from 0 to 32"),
            ("10.0.0.0/+8", "'10.0.0.0/+8' is not a block"),
            ("fd00::/129", "'fd00::/129' is not a block: its length is a number from 0 to 128"),
            ("10.0.0.5/24", "'10.0.0.5/24' does not begin where its block does: write 10.0.0.0/24"),
            ("10.0.0.0/8", "'10.0.0.0/8' has more than 65536 addresses"),
            ("10.0.0.1,10.1.0.0-10.1.255.255", "'10.0.0.1,10.1.0.0-10.1.255.255' has more than 65536"),
            ("::/0", "'::/0' has more than 65536 addresses"),
            ("::-ffff:ffff:ffff:ffff::", "'ffff:ffff:ffff:ffff::' is not an address that"),
        ] {
            let told = Sources::parse(text).expect_err(text);
            assert!(told.starts_with(error), "{text}: {told}");
        }
    }

    #[test]
    fn a_target_of_the_other_family_is_refused() {
        let sources = Sources::parse("127.0.0.2").unwrap();
        assert_eq!(sources.check_target("127.0.0.1".parse().unwrap()), Ok(()));
        assert_eq!(
            sources.check_target("::1".parse().unwrap()).unwrap_err(),
            "'127.0.0.2' is IPv4, but the target ::1 is IPv6: name IPv6 addresses"
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_judged(text in "[0-9a-f:./, -]{0,40}") {
            if let Ok(sources) = Sources::parse(&text) {
                prop_assert!((1..=SOURCES_MAX).contains(&sources.addresses().len()));
            }
        }

        #[test]
        fn a_range_has_each_of_its_addresses_once(first in 0x0a00_0000_u32..0x0aff_0000, more in 0_u32..500) {
            let address = |number| Ipv4Addr::from_bits(number);
            let text = format!("{}-{}", address(first), address(first + more));
            let expected: Vec<IpAddr> = (first..=first + more).map(|number| address(number).into()).collect();
            let sources = Sources::parse(&text).unwrap();
            prop_assert_eq!(sources.addresses(), &expected[..]);
        }
    }
}
