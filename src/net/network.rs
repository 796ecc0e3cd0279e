//! A network of addresses in CIDR notation (RFC 4632 3.1), as an operator names those whom a rule is for.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses with a common prefix. An IPv4-mapped IPv6 address is the IPv4 address that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether an address belongs to one of several.
    pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
        networks.iter().any(|network| network.contains(address))
    }

    /// Each address of this machine's own: nobody else can send from these.
    pub fn loopback() -> [Network; 2] {
        let networks = [([127, 0, 0, 0].into(), 8), (IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 128)];
        networks.map(|(address, prefix_len)| {
            Network(IpNet::new(address, prefix_len).expect("each prefix is shorter than its address"))
        })
    }
}

/// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address alone. The error is the rest of a sentence.
impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let one = |text: &str| text.parse().map(|address: IpAddr| IpNet::from(address));
        let network = canonical(text.parse().or_else(|_| one(text)).map_err(|_| {
            format!("'{text}' is not a network or an address, like 192.0.2.0/24, 2001:db8::/32 or ::1")
        })?);
        // What was meant by 10.1.2.3/8: the network, or the one address?
        if network.trunc() != network {
            let (whole, one) = (Network(network.trunc()), network.addr());
            return Err(format!("'{text}' has bits behind its prefix; say {whole} or {one}"));
        }
        Ok(Network(network))
    }
}

/// An IPv4-mapped network as the IPv4 network that it stands for, or nobody would ever belong to it.
fn canonical(network: IpNet) -> IpNet {
    match (network, network.addr().to_canonical()) {
        (IpNet::V6(mapped), address @ IpAddr::V4(_)) if mapped.prefix_len() >= MAPPED_PREFIX => {
            IpNet::new(address, mapped.prefix_len() - MAPPED_PREFIX).expect("128 less 96 is 32")
        }
        _ => network,
    }
}

/// The prefix of all IPv4-mapped addresses (RFC 4291 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// As it is read; a single address without a prefix.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_belongs_to_the_network_whose_prefix_it_has() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("::/0", "::1", "127.0.0.1"),
            ("192.0.2.0/24", "::ffff:192.0.2.1", "::ffff:192.0.3.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.0/120", "192.0.2.1", "192.0.3.1"),
        ];
        for (text, inside, outside) in cases {
            assert!(network(text).contains(address(inside)), "{text} {inside}");
            assert!(!network(text).contains(address(outside)), "{text} {outside}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(Network::loopback().map(|each| each.to_string()), ["127.0.0.0/8", "::1"]);
    }

    #[test]
    fn a_typing_mistake_is_said_with_its_mend() {
        let error = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(
            error("10.1.2.3/8"),
            "'10.1.2.3/8' has bits behind its prefix; say 10.0.0.0/8 or 10.1.2.3"
        );
        for text in
            ["", "10/8", "10.0.0.0/33", "10.0.0.0/", "::/129", "example.com", "10.0.0.1:25", "10.0.0.0/+8"]
        {
            assert!(
                error(text).starts_with(&format!("'{text}' is not a network or an address, like")),
                "{text}"
            );
        }
    }
}
