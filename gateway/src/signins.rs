//! Failed sign-ins by address: who guesses keys is stopped soon, whichever keys they try. Keys that
//! were checked a moment ago are not asked about again and so are not stopped.

use crate::problem::Problem;
use http::{HeaderMap, StatusCode};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered at most.
const ADDRESSES_MAX: usize = 10_000;
/// The time to which the limit belongs.
const PERIOD: Duration = Duration::from_mins(1);
const FORWARDED: &str = "x-forwarded-for";

/// How often each address has failed lately: when all of it is forgotten.
pub(crate) struct SignIns {
    clear_at: Mutex<HashMap<IpAddr, Instant>>,
    per_minute: u32,
    proxies: Vec<IpAddr>,
}

impl SignIns {
    /// So many failures a minute for each address; 0 is no limit. `X-Forwarded-For` counts only
    /// from these proxies.
    pub(crate) fn new(per_minute: u32, proxies: Vec<IpAddr>) -> Self {
        Self { clear_at: Mutex::default(), per_minute, proxies }
    }

    /// The address that a request comes from: the last one that none of our proxies has.
    pub(crate) fn address(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer?.to_canonical();
        if !self.proxies.contains(&peer) {
            return Some(network(peer));
        }
        let named = headers.get_all(FORWARDED).iter().filter_map(|v| v.to_str().ok());
        let chain: Vec<IpAddr> = named
            .flat_map(|v| v.split(','))
            .filter_map(|a| a.trim().parse().ok())
            .map(|a: IpAddr| a.to_canonical())
            .collect();
        let first = chain.into_iter().rev().find(|a| !self.proxies.contains(a));
        Some(network(first.unwrap_or(peer)))
    }

    /// Whether an unknown key of this address may be tried.
    ///
    /// # Errors
    /// 429 with how long to wait.
    pub(crate) fn check(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Problem> {
        let Some(address) = address.filter(|_| self.per_minute > 0) else { return Ok(()) };
        let clear_at = self.clear_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(clear_at) = clear_at.get(&address) else { return Ok(()) };
        let owed = clear_at.saturating_duration_since(now) + self.interval();
        if owed <= PERIOD {
            return Ok(());
        }
        let detail = format!(
            "too many failed sign-ins from this address (at most {} a minute)",
            self.per_minute
        );
        let status = StatusCode::TOO_MANY_REQUESTS;
        Err(Problem::new(status, "sign_ins_per_minute", detail).wait(owed.saturating_sub(PERIOD)))
    }

    /// A key of this address was not known.
    pub(crate) fn failed(&self, address: Option<IpAddr>, now: Instant) {
        let Some(address) = address.filter(|_| self.per_minute > 0) else { return };
        let mut clear_at = self.clear_at.lock().unwrap_or_else(PoisonError::into_inner);
        if clear_at.len() >= ADDRESSES_MAX {
            clear_at.retain(|_, at| *at > now);
        }
        if clear_at.len() >= ADDRESSES_MAX {
            clear_at.clear();
        }
        let at = clear_at.entry(address).or_insert(now);
        *at = (*at).max(now) + self.interval();
    }

    fn interval(&self) -> Duration {
        PERIOD / self.per_minute.max(1)
    }
}

/// Who has one IPv6 address has the other 2^64 of its network too.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn forwarded(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, text.parse().unwrap());
        headers
    }

    #[test]
    fn an_address_is_stopped_after_its_failures_and_for_no_longer_than_it_has_to_be() {
        let signins = SignIns::new(6, Vec::new());
        let (bad, other) = (Some(ip("192.0.2.1")), Some(ip("192.0.2.2")));
        let now = Instant::now();
        for _ in 0..6 {
            assert!(signins.check(bad, now).is_ok());
            signins.failed(bad, now);
        }
        let refused = signins.check(bad, now).unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(signins.check(other, now).is_ok());
        assert!(signins.check(bad, now + Duration::from_secs(9)).is_err());
        assert!(signins.check(bad, now + Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_proxy_of_ours() {
        let proxy = ip("10.0.0.1");
        let signins = SignIns::new(6, vec![proxy, ip("10.0.0.2")]);
        let of = |peer, text: &str| signins.address(Some(peer), &forwarded(text)).unwrap();
        assert_eq!(of(ip("192.0.2.9"), "198.51.100.7"), ip("192.0.2.9"));
        assert_eq!(of(proxy, "203.0.113.5, 198.51.100.7, 10.0.0.2"), ip("198.51.100.7"));
        assert_eq!(of(proxy, "nonsense"), proxy);
        assert_eq!(of(ip("::ffff:10.0.0.1"), "198.51.100.7"), ip("198.51.100.7"));
        assert_eq!(of(ip("2001:db8::7:1"), ""), ip("2001:db8::"));
    }
}
