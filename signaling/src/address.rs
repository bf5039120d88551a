//! Who is counted as one: network addresses, and what proxies say of them.

use axum::http::{HeaderMap, HeaderName, header};
use core::fmt;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Most addresses of a header that are looked at, from the right. Guess: more than there are
/// proxies of one operator in a row.
const MAX_HOPS: usize = 16;

/// What is counted as one address: an IPv4 address, or a network of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u128);

impl Address {
    /// The address under which `address` is counted, where the first `prefix` bits of IPv6
    /// say who it is. An IPv4 address stays what it is in the form of IPv6 (RFC 4291, section
    /// 2.5.5.2), in which sockets that take both show it.
    pub fn new(address: IpAddr, prefix: u32) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => {
                let host = 128u32.saturating_sub(prefix);
                let network = u128::MAX.checked_shl(host).unwrap_or(0);
                Self(address.to_bits() & network)
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.0);
        match address.to_ipv4_mapped() {
            Some(address) => address.fmt(f),
            None => address.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The header in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    /// Its name.
    pub fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        }
    }
}

/// Whose word on a client's address is taken, and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Networks of the operator's own proxies.
    pub trusted: Vec<IpNet>,
    /// The one header they all write.
    pub header: ForwardedHeader,
}

impl Proxies {
    /// Whether a connection from there is a proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The client of a request that came from `connected`.
    ///
    /// Every proxy adds at the right whom it was asked by; so the client is the first from the
    /// right that is no trusted proxy, and all left of it is hearsay. Where a proxy names
    /// nobody that can be read, the client is the proxy itself.
    pub fn client(&self, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = connected.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let values: Vec<&str> = headers
            .get_all(self.header.name())
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        let elements = values.iter().rev().flat_map(|value| value.rsplit(','));
        for element in elements.take(MAX_HOPS) {
            let node = match self.header {
                ForwardedHeader::XForwardedFor => Some(element),
                ForwardedHeader::Forwarded => for_of(element),
            };
            let Some(address) = node.and_then(|node| parse_node(node.trim())) else {
                return client;
            };
            client = address.to_canonical();
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }
}

/// The `for` of an element of `Forwarded`. Addresses hold no character that a quoted string
/// would escape, so none is undone.
fn for_of(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(quoted.unwrap_or(value))
    })
}

/// An address, with or without a port, IPv6 with or without brackets.
fn parse_node(node: &str) -> Option<IpAddr> {
    let bare = || node.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let socket = || Some(node.parse::<SocketAddr>().ok()?.ip());
    node.parse().ok().or_else(bare).or_else(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(header: ForwardedHeader) -> Proxies {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48"];
        Proxies {
            trusted: networks.iter().map(|net| net.parse().unwrap()).collect(),
            header,
        }
    }

    fn client(connected: &str, header: ForwardedHeader, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.name(), line.parse().unwrap());
        }
        proxies(header).client(ip(connected), &headers).to_string()
    }

    #[test]
    fn networks_of_ipv6_and_addresses_of_ipv4_are_counted() {
        let same = |one: &str, two: &str| Address::new(ip(one), 64) == Address::new(ip(two), 64);
        assert!(same("2001:db8::1", "2001:db8::ffff:1:2:3"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert_ne!(Address::new(ip("::1"), 64), Address::new(ip("0.0.0.0"), 64));
        assert_ne!(Address::new(ip("::1"), 128), Address::new(ip("::2"), 128));
        assert_eq!(Address::new(ip("192.0.2.1"), 64).to_string(), "192.0.2.1");
        assert_eq!(
            Address::new(ip("2001:db8::7"), 64).to_string(),
            "2001:db8::"
        );
    }

    #[test]
    fn the_word_of_strangers_is_not_taken() {
        let said = ["203.0.113.9"];
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            assert_eq!(client("198.51.100.1", header, &said), "198.51.100.1");
            assert_eq!(client("2001:db8:2::1", header, &said), "2001:db8:2::1");
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
        let x = ForwardedHeader::XForwardedFor;
        for (lines, wanted) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
            (&["1.2.3.4, 203.0.113.9 , 10.1.1.1,10.2.2.2"], "203.0.113.9"),
            (&["1.2.3.4", "203.0.113.9", "10.1.1.1"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["[2001:db8:9::1]:4711"], "2001:db8:9::1"),
            (&["2001:db8:9::1"], "2001:db8:9::1"),
            (&["::ffff:203.0.113.9"], "203.0.113.9"),
            // Who forges proxies of ours on the left gets no further than itself.
            (&["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
            // All are ours: the first of them asked.
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            (&[], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["203.0.113.9, unknown"], "10.0.0.1"),
            (&["203.0.113.9, 10.2.2.2, <script>"], "10.0.0.1"),
            (&["unknown, 10.2.2.2"], "10.2.2.2"),
        ] {
            assert_eq!(client("10.0.0.1", x, lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let forwarded = ForwardedHeader::Forwarded;
        for (lines, wanted) in [
            (
                &["for=203.0.113.9;proto=https;by=10.0.0.1"][..],
                "203.0.113.9",
            ),
            (&[r#"For="[2001:db8:9::1]:4711""#], "2001:db8:9::1"),
            (
                &["proto=http; for=203.0.113.9, for=10.1.1.1"],
                "203.0.113.9",
            ),
            (&["for=203.0.113.9", "for=10.1.1.1"], "203.0.113.9"),
            (&["for=1.2.3.4, for=_hidden"], "10.0.0.1"),
            (&["for=1.2.3.4, proto=http"], "10.0.0.1"),
            (&["203.0.113.9"], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", forwarded, lines), wanted, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_on_the_left_changes_nothing(left in "[ -~]{0,80}") {
            for (header, right) in [
                (ForwardedHeader::XForwardedFor, "203.0.113.9"),
                (ForwardedHeader::Forwarded, "for=203.0.113.9"),
            ] {
                let line = format!("{left},{right}");
                prop_assert_eq!(client("10.0.0.1", header, &[&line]), "203.0.113.9");
            }
        }

        #[test]
        fn one_network_is_one_address(bits: u128, host: u64, prefix in 64u32..=64) {
            let with_host = |host: u64| {
                let bits = (bits >> 64 << 64) | u128::from(host);
                Address::new(IpAddr::V6(Ipv6Addr::from_bits(bits)), prefix)
            };
            let canonical = IpAddr::V6(Ipv6Addr::from_bits((bits >> 64 << 64) | u128::from(host)));
            prop_assume!(canonical.to_canonical().is_ipv6());
            prop_assert_eq!(with_host(host), with_host(1));
        }
    }
}
