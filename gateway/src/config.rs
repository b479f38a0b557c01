//! What an operator can set.

use meta_domain::fault::InvalidField;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The gateway's own configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Deadline of a call to another service, in milliseconds.
    pub request_timeout_ms: u64,
    /// Deadline of making a plan, which may clone a repository, in milliseconds.
    pub plan_timeout_ms: u64,
    /// How long a request with `async: false` waits for its run, in milliseconds.
    pub run_wait_ms: u64,
    /// How long a checked API key is believed before it is checked again, in milliseconds.
    pub key_cache_ms: u64,
    /// How often an idle event stream gets a comment, in milliseconds.
    pub heartbeat_ms: u64,
    /// The longest a followed stream stays open before the client has to resume, in milliseconds.
    pub stream_ms: u64,
    /// Requests of the API that are at work at once, at most; more are refused with 503. Streams
    /// count until they begin.
    pub requests_max: u32,
    /// Streams of runs' events and logs that are open at once, at most.
    pub streams_max: u32,
    /// Sign-ins of one address that may fail in a minute; 0 means any number.
    pub failed_sign_ins_per_minute: u32,
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// A file for the settings that were last heard, which serve when the gateway starts while the
    /// flag-resolver is away; none unless it is named.
    pub flags_snapshot: Option<PathBuf>,
    /// Where browsers find this gateway, such as `https://builder.example`, when something stands
    /// in front of it. With https, cookies are only sent over TLS.
    pub public_url: Option<String>,
    /// The issuer whose tokens open the API; none unless it is named.
    pub jwt: Option<meta_tokens::Issuer>,
    /// The provider at which people sign in with their browsers; none unless it is named. It sends
    /// them back to `public_url` with `/sign-in/callback`, and to nowhere else.
    pub oidc: Option<meta_tokens::Oidc>,
    /// Origins whose scripts may evaluate flags in browsers, such as `https://app.example`; none
    /// unless they are named.
    pub cors_origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_timeout_ms: 30_000,
            plan_timeout_ms: 120_000,
            run_wait_ms: 300_000,
            key_cache_ms: 5_000,
            heartbeat_ms: 15_000,
            stream_ms: 3_600_000,
            requests_max: 1_024,
            streams_max: 10_000,
            failed_sign_ins_per_minute: 30,
            trusted_proxies: Vec::new(),
            flags_snapshot: None,
            public_url: None,
            jwt: None,
            oidc: None,
            cors_origins: Vec::new(),
        }
    }
}

/// The longest time that makes sense for any of these, in milliseconds: one day.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The most requests or streams that one process is made for.
const COUNT_MAX: u64 = 1_000_000;
/// The longest a revoked key may still be believed, in milliseconds.
const KEY_CACHE_MS_MAX: u64 = 60_000;

impl Config {
    /// Faults that no type can express.
    ///
    /// # Errors
    /// Every field that is out of range.
    pub fn check(&self) -> Result<(), Vec<InvalidField>> {
        let fields = [
            ("request_timeout_ms", self.request_timeout_ms, 1, TIME_MS_MAX),
            ("plan_timeout_ms", self.plan_timeout_ms, 1, TIME_MS_MAX),
            ("run_wait_ms", self.run_wait_ms, 1, TIME_MS_MAX),
            ("key_cache_ms", self.key_cache_ms, 0, KEY_CACHE_MS_MAX),
            ("heartbeat_ms", self.heartbeat_ms, 1, TIME_MS_MAX),
            ("stream_ms", self.stream_ms, 1, TIME_MS_MAX),
            ("requests_max", self.requests_max.into(), 1, COUNT_MAX),
            ("streams_max", self.streams_max.into(), 1, COUNT_MAX),
        ];
        let mut faults: Vec<_> = fields
            .into_iter()
            .filter(|(_, value, low, high)| !(low..=high).contains(&value))
            .map(|(name, value, low, high)| {
                InvalidField::new(
                    name,
                    format!("{value} is out of range (expected {low} to {high})"),
                )
            })
            .collect();
        faults.extend(self.public_url.as_deref().and_then(|url| origin_fault("public_url", url)));
        for (n, origin) in self.cors_origins.iter().enumerate() {
            faults.extend(origin_fault(&format!("cors_origins[{n}]"), origin));
        }
        if let Some(jwt) = &self.jwt {
            faults.extend(jwt.check().into_iter().map(|f| f.within("jwt")));
        }
        if let Some(oidc) = &self.oidc {
            faults.extend(oidc.check().into_iter().map(|f| f.within("oidc")));
            if self.public_url.is_none() {
                let problem = "is missing (expected where the provider sends browsers back to)";
                faults.push(InvalidField::new("public_url", problem));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Deadline of a call to another service.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// Where a provider sends browsers back to.
    pub(crate) fn redirect(&self) -> String {
        let url = self.public_url.as_deref().unwrap_or_default();
        format!("{}/sign-in/callback", url.trim_end_matches('/'))
    }

    /// Whether browsers reach this gateway over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// What is wrong with an address of which only scheme, host and port count.
fn origin_fault(name: &str, text: &str) -> Option<InvalidField> {
    let fits = url::Url::parse(text).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme())
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
    });
    let problem =
        || format!("{text:?} is not valid (expected a form like https://builder.example)");
    (!fits).then(|| InvalidField::new(name, problem()))
}
