//! Which addresses may be called: none that belongs to this machine, its network or its cloud,
//! unless the operator says so.
//!
//! A name is checked by what it resolves to, every address of it, and the connection goes to one of
//! the addresses that were checked: a name that answers differently a moment later gains nothing.

use crate::limits::ECHO_CHARS_MAX;
use crate::secrecy::shown_address;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use url::{Host, Url};

/// Characters of a URL.
const URL_CHARS_MAX: usize = 2_000;
/// Ports that may be called where the operator names none.
pub const PORTS: [u16; 2] = [443, 8443];

/// What an operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether plain HTTP may be spoken.
    pub allow_http: bool,
    /// Ports that may be called.
    pub ports: Vec<u16>,
    /// Networks that may be called though they are not public.
    pub networks: Vec<Network>,
}

/// A network such as `10.1.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: u128,
    bits: u32,
}

/// An address to which messages may go as far as its text tells; what its name resolves to is
/// checked when it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL in its normal form.
    pub url: Url,
}

impl Target {
    /// Checks the text of a URL.
    ///
    /// # Errors
    /// What is wrong with it, the value without credentials, and what was expected.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, String> {
        let shown: String = shown_address(text).chars().take(ECHO_CHARS_MAX).collect();
        let bad = |why: &str| Err(format!("{shown:?} {why}"));
        if text.len() > URL_CHARS_MAX {
            return bad(&format!("is too long (expected at most {URL_CHARS_MAX} characters)"));
        }
        let Ok(url) = Url::parse(text) else {
            return bad("is not a URL (expected a form like https://example.com/hook)");
        };
        match url.scheme() {
            "https" => {}
            "http" if policy.allow_http => {}
            _ => return bad("is not allowed (expected https://)"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return bad("carries credentials (expected none)");
        }
        if url.fragment().is_some() {
            return bad("has a fragment (expected none)");
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if !policy.ports.contains(&port) {
            return bad(&format!("uses port {port} (expected one of {:?})", policy.ports));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) => None,
            None => return bad("names no host"),
        };
        match literal {
            Some(ip) if !policy.allows(ip) => bad("is not a public address (expected one)"),
            _ => Ok(Self { url }),
        }
    }

    /// The name to resolve; `None` where the URL holds an address itself.
    pub fn name(&self) -> Option<&str> {
        match self.url.host() {
            Some(Host::Domain(name)) => Some(name),
            _ => None,
        }
    }
}

impl Policy {
    /// Whether an address may be called.
    pub fn allows(&self, ip: IpAddr) -> bool {
        is_public(ip) || self.networks.iter().any(|network| network.contains(ip))
    }

    /// The addresses of a name, when all of them may be called.
    ///
    /// # Errors
    /// When there is none, or one of them may not be called.
    pub fn checked(&self, name: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, String> {
        if found.is_empty() {
            return Err(format!("{name:?} has no address"));
        }
        if found.iter().all(|ip| self.allows(*ip)) {
            return Ok(found);
        }
        Err(format!("{name:?} leads to an address that is not public"))
    }
}

impl Network {
    /// Whether an address lies in it; IPv4 in the dress of IPv6 is IPv4.
    fn contains(&self, ip: IpAddr) -> bool {
        let mask = if self.bits == 0 { 0 } else { u128::MAX << (128 - self.bits) };
        number(ip) & mask == self.address & mask
    }
}

/// Every address as one of IPv6.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            let shown: String = text.chars().take(ECHO_CHARS_MAX).collect();
            format!("{shown:?} is not a network (expected a form like 10.1.0.0/16)")
        };
        let (address, bits) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = address.parse().map_err(|_| bad())?;
        let bits: u32 = bits.parse().map_err(|_| bad())?;
        let (all, before) = if ip.is_ipv4() { (32, 96) } else { (128, 0) };
        if bits > all {
            return Err(bad());
        }
        Ok(Self { address: number(ip), bits: bits + before })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from_bits(self.address), self.bits)
    }
}

/// Whether an address is one of the public internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        [0 | 10 | 127 | 224..=255, ..]
        | [169, 254, ..]
        | [192, 168, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => true,
        [100, second, ..] => (64..128).contains(&second),
        [172, second, ..] => (16..32).contains(&second),
        _ => false,
    };
    !special
}

/// Only what is given out to be global, and of that nothing that leads to an address of IPv4.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let given_out = first & 0xe000 == 0x2000;
    let special = match first {
        0x2001 => second < 0x0200 || second == 0x0db8,
        0x2002 => true,
        0x3fff => second < 0x1000,
        _ => false,
    };
    given_out && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict() -> Policy {
        Policy { ports: PORTS.to_vec(), ..Policy::default() }
    }

    #[test]
    fn urls_that_lead_inside_are_refused_in_any_dress() {
        for url in [
            "http://example.com",
            "https://127.0.0.1",
            "https://2130706433",
            "https://0x7f.1",
            "https://0",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://[64:ff9b::7f00:1]",
            "https://[2002:7f00:1::]",
            "https://169.254.169.254/latest/meta-data",
            "https://10.0.0.1",
            "https://100.64.0.1",
            "https://[fd00::1]",
            "https://[fe80::1]",
            "https://example.com:22",
            "https://me:pw@example.com",
            "https://example.com/#x",
            "ftp://example.com",
            "file:///etc/passwd",
            "example.com",
            "",
        ] {
            let error = Target::parse(url, &strict()).unwrap_err();
            assert!(!error.contains("pw@"), "{error}");
        }
        for url in ["https://example.com/a?b=c", "https://example.com:8443", "https://8.8.8.8"] {
            assert!(Target::parse(url, &strict()).is_ok(), "{url}");
        }
    }

    #[test]
    fn one_address_that_is_not_public_refuses_the_name() {
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>();
        let policy = strict();
        assert!(policy.checked("a", ips(&["93.184.216.34", "2606:2800:220:1::1"])).is_ok());
        for bad in [vec![], ips(&["93.184.216.34", "10.0.0.1"]), ips(&["::ffff:8.8.8.8"])] {
            assert!(policy.checked("a", bad).is_err());
        }
    }

    #[test]
    fn what_the_operator_allows_is_allowed_and_nothing_beside_it() {
        let policy = Policy {
            allow_http: true,
            ports: vec![80],
            networks: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
        };
        for (ip, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(policy.allows(ip.parse().unwrap()), allowed, "{ip}");
        }
        assert!(Target::parse("http://10.1.0.9/hook", &policy).is_ok());
        for bad in ["10.1.0.0", "10.1.0.0/33", "x/8", "10.1.0.0/-1"] {
            assert!(bad.parse::<Network>().unwrap_err().contains("expected"), "{bad}");
        }
    }
}
