//! How the services of an installation know each other: each call carries a token of its own, which
//! their shared secret signs. It is good for one RPC on behalf of one caller for a short while, so
//! who reads it on the wire can neither call something else nor become somebody else, and never
//! learns the secret.

use super::{ACTOR, CREDENTIAL, HOME, ROLE, SCOPES, TENANT};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use meta_domain::time::Timestamp;
use sha2::Sha256;

/// How long a token is good, in milliseconds.
const LIFETIME_MS: i64 = 60_000;
/// How far clocks may differ, in milliseconds.
const SKEW_MS: i64 = 30_000;
/// What a service's token starts with, so that it is not taken for an API key.
const PREFIX: &str = "mbs1.";
/// What is signed first: it is for this and for nothing else.
const PURPOSE: &str = "metabuilder service call 1";
/// Start of a secret that makes runners' tokens only.
const RUNNER: &str = "runner:";

/// Who made a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// A service that knows the installation's secret: it speaks for the callers it has checked.
    Service,
    /// A runner that was given no more than its own secret: it takes work and speaks for nobody.
    Runner,
}

impl Machine {
    fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Runner => "runner",
        }
    }
}

/// Makes tokens, and knows its own and those of runners.
#[derive(Clone)]
pub(crate) struct Signer {
    /// Absent where only a runner's secret is known: it can check nobody.
    service: Option<Hmac<Sha256>>,
    runner: Hmac<Sha256>,
}

impl Signer {
    /// With the installation's secret, or with a runner's (`runner:` and [`runner_secret`]); none
    /// where there is no secret.
    pub(crate) fn new(secret: &str) -> Option<Self> {
        if secret.is_empty() {
            return None;
        }
        match secret.strip_prefix(RUNNER) {
            Some(own) => Some(Self { service: None, runner: keyed(own.as_bytes())? }),
            None => Some(Self {
                service: keyed(secret.as_bytes()),
                runner: keyed(runner_secret(secret)?.strip_prefix(RUNNER)?.as_bytes())?,
            }),
        }
    }

    /// A token for this call, with the headers that it has now.
    pub(crate) fn sign(&self, path: &str, headers: &HeaderMap, now: Timestamp) -> String {
        let (machine, key) = match &self.service {
            Some(key) => (Machine::Service, key),
            None => (Machine::Runner, &self.runner),
        };
        let until = now.plus_ms(LIFETIME_MS).0;
        let mac = signed(key, machine, path, headers, until).finalize().into_bytes();
        let mut token = format!("{PREFIX}{}.{until}.", machine.word());
        token.extend(mac.iter().flat_map(|byte| hex(*byte)));
        token
    }

    /// Who made a token for this call, when it is good.
    pub(crate) fn verify(
        &self,
        token: &str,
        path: &str,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<Machine> {
        let service = self.service.as_ref()?;
        let mut parts = token.strip_prefix(PREFIX)?.split('.');
        let (word, until, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let machine = [Machine::Service, Machine::Runner].into_iter().find(|m| m.word() == word)?;
        let key = match machine {
            Machine::Service => service,
            Machine::Runner => &self.runner,
        };
        let until: i64 = until.parse().ok()?;
        let in_time = now.0 < until.saturating_add(SKEW_MS)
            && until <= now.0.saturating_add(LIFETIME_MS + SKEW_MS);
        let mac = bytes(mac).filter(|_| parts.next().is_none() && in_time)?;
        let good = signed(key, machine, path, headers, until).verify_slice(&mac).is_ok();
        good.then_some(machine)
    }
}

/// The secret of this installation's runners, for machines that are trusted with nothing more.
pub fn runner_secret(secret: &str) -> Option<String> {
    let mut own = keyed(secret.as_bytes())?;
    own.update(b"metabuilder runner 1");
    let own = own.finalize().into_bytes();
    let hex: String = own.iter().flat_map(|byte| hex(*byte)).collect();
    Some(format!("{RUNNER}{hex}"))
}

/// The two hex digits of a byte.
fn hex(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 0xf].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
}

fn keyed(secret: &[u8]) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(secret).ok()
}

/// Everything of a call that counts. Each part has its length before it, so that none runs into the
/// next.
fn signed(
    key: &Hmac<Sha256>,
    machine: Machine,
    path: &str,
    headers: &HeaderMap,
    until: i64,
) -> Hmac<Sha256> {
    let mut mac = key.clone();
    let mut part = |bytes: &[u8]| {
        mac.update(&(bytes.len() as u64).to_be_bytes());
        mac.update(bytes);
    };
    part(PURPOSE.as_bytes());
    part(machine.word().as_bytes());
    part(&until.to_be_bytes());
    part(path.as_bytes());
    for name in [TENANT, ROLE, ACTOR, CREDENTIAL, SCOPES, HOME] {
        // a second header of the name, or none, is signed as such
        let values = headers.get_all(name);
        part(&(values.iter().count() as u64).to_be_bytes());
        for value in values {
            part(value.as_bytes());
        }
    }
    mac
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|t| t.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/metabuilder.runner.v1.WorkService/PollTask";
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn headers(tenant: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(TENANT), tenant.parse().unwrap())])
    }

    #[test]
    fn a_token_is_good_for_its_call_and_its_caller_and_its_time() {
        let signer = Signer::new("s3cret").unwrap();
        let token = signer.sign(PATH, &headers("a"), NOW);
        let of = |path, tenant, now| signer.verify(&token, path, &headers(tenant), now);
        assert_eq!(of(PATH, "a", NOW), Some(Machine::Service));
        assert_eq!(of(PATH, "b", NOW), None);
        assert_eq!(of("/metabuilder.runner.v1.WorkService/Heartbeat", "a", NOW), None);
        assert_eq!(of(PATH, "a", NOW.plus_ms(LIFETIME_MS + SKEW_MS)), None);
        assert_eq!(of(PATH, "a", NOW.plus_ms(-SKEW_MS - 1)), None);
        assert_eq!(Signer::new("other").unwrap().verify(&token, PATH, &headers("a"), NOW), None);
        assert!(!token.contains("s3cret"));
    }

    #[test]
    fn a_changed_token_is_none() {
        let signer = Signer::new("s3cret").unwrap();
        let token = signer.sign(PATH, &headers("a"), NOW);
        let later = token.replacen("17000", "17001", 1);
        let upper = token.to_uppercase();
        let cut = &token[..token.len() - 1];
        for bad in
            ["", "s3cret", "mbs1.", "mbs1.service", &later, &upper, cut, &format!("{token}.")]
        {
            assert_eq!(signer.verify(bad, PATH, &headers("a"), NOW), None, "{bad}");
        }
    }

    #[test]
    fn a_runner_with_its_own_secret_is_a_runner_and_no_more() {
        let installation = Signer::new("s3cret").unwrap();
        let runner = Signer::new(&runner_secret("s3cret").unwrap()).unwrap();
        let none = HeaderMap::new();
        let token = runner.sign(PATH, &none, NOW);
        assert_eq!(installation.verify(&token, PATH, &none, NOW), Some(Machine::Runner));
        let forged = token.replacen("runner", "service", 1);
        assert_eq!(installation.verify(&forged, PATH, &none, NOW), None);
        assert_eq!(runner.verify(&token, PATH, &none, NOW), None);
    }
}
