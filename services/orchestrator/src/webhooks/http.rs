//! The client that sends messages: to addresses that were checked, without redirects and proxies.

use crate::core::webhook::{Answer, Policy, Target};
use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a delivery may take.
pub(super) const SEND_LIMIT: Duration = Duration::from_secs(15);
/// Connections that are kept open to one receiver.
const IDLE_MAX: usize = 2;
/// Milliseconds of a second.
const SECOND_MS: u64 = 1_000;

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// The client.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    resolver: Arc<Checked>,
}

/// A resolver whose every answer is checked: it is asked when a connection is made, and the
/// connection goes to what it answers.
struct Checked {
    policy: Policy,
    lookup: Lookup,
}

impl Checked {
    async fn find(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = (self.lookup)(name.to_owned()).await;
        let found = found.map_err(|e| format!("{name:?} cannot be resolved: {e}"))?;
        self.policy.checked(name, found)
    }
}

/// A [`Resolve`] that does not end with the borrow of the client.
struct Resolver(Arc<Checked>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let checked = Arc::clone(&self.0);
        Box::pin(async move {
            let found = checked.find(name.as_str()).await.map_err(io::Error::other)?;
            let addresses: Addrs = Box::new(
                found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter(),
            );
            Ok(addresses)
        })
    }
}

impl Http {
    /// A client for addresses that the policy allows.
    ///
    /// # Errors
    /// When there can be none.
    pub fn new(policy: Policy, lookup: Lookup) -> Result<Self, reqwest::Error> {
        let plain = policy.allow_http;
        let resolver = Arc::new(Checked { policy, lookup });
        let client = reqwest::Client::builder()
            .user_agent(concat!("Metabuilder/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(!plain)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(SEND_LIMIT)
            .pool_max_idle_per_host(IDLE_MAX)
            .dns_resolver(Arc::new(Resolver(Arc::clone(&resolver))))
            .build()?;
        Ok(Self { client, resolver })
    }

    /// Checks where messages are to go: the text, and what its name resolves to now.
    ///
    /// # Errors
    /// What is wrong, and what was expected.
    pub async fn check(&self, url: &str) -> Result<Target, String> {
        let target = Target::parse(url, &self.resolver.policy)?;
        if let Some(name) = target.name() {
            self.resolver.find(name).await?;
        }
        Ok(target)
    }

    /// Sends a message; the answer's body is not read.
    pub(super) async fn post(&self, url: &str, headers: HeaderMap, body: Vec<u8>) -> Answer {
        let target = match Target::parse(url, &self.resolver.policy) {
            Ok(target) => target,
            Err(why) => return Answer::Nothing(why),
        };
        match self.client.post(target.url).headers(headers).body(body).send().await {
            Ok(answer) => Answer::Status {
                code: answer.status().as_u16(),
                retry_after_ms: answer.headers().get(RETRY_AFTER).and_then(wait_ms),
            },
            Err(error) => Answer::Nothing(said(&error.without_url())),
        }
    }
}

/// The headers of a message.
pub(super) fn headers(
    content_type: &'static str,
    pairs: [(&'static str, &str); 3],
) -> Result<HeaderMap, reqwest::header::InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in pairs {
        headers.insert(name, HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

fn wait_ms(value: &HeaderValue) -> Option<u64> {
    let seconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(SECOND_MS))
}

/// An error with its innermost cause, which says what happened.
fn said(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.to_string() {
        _ if error.is_timeout() => format!("no answer within {} s", SEND_LIMIT.as_secs()),
        text => text,
    }
}
