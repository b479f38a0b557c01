//! Browsers: a cookie stands for a sign-in that the orchestrator keeps. Whatever changes something
//! by cookie also has to come from our own pages: by its `Origin`, and by a token that only they
//! know.

use crate::auth::ask_within;
use crate::edge::Trace;
use crate::problem::Problem;
use crate::routes::App;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use meta_domain::role::Identity;
use meta_proto::orchestrator as pb;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::Code;
use url::Url;

/// The cookie of a sign-in, without TLS.
const COOKIE: &str = "mb_session";
/// The same over https: browsers let nobody else set a cookie with this prefix.
const COOKIE_SECURE: &str = "__Host-mb_session";
/// The header in which a script of our pages says the token of its forms.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// Hex digits of a session's token.
const TOKEN_CHARS: usize = 64;
/// Sessions that are remembered at most.
const SESSIONS_MAX: usize = 10_000;

/// Somebody who signed in.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(crate) identity: Identity,
    token: String,
}

impl SignedIn {
    /// What every form of this session has to carry.
    pub(crate) fn csrf(&self) -> String {
        csrf_of(&self.token)
    }

    /// What the browser shows.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether a form carries it.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn check_csrf(&self, given: Option<&str>) -> Result<(), Problem> {
        let expected = self.csrf();
        let same = |given: &str| {
            given.len() == expected.len()
                && given.bytes().zip(expected.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
        };
        if given.is_some_and(same) {
            return Ok(());
        }
        let detail = "the form's token is missing or old (expected that of this session: reload \
                      the page and try again)";
        Err(Problem::new(StatusCode::FORBIDDEN, "csrf_token", detail))
    }
}

fn csrf_of(token: &str) -> String {
    hex(&Sha256::digest(format!("metabuilder form token\n{token}").as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").expect("a String takes all that is written");
        out
    })
}

/// Who is signed in, by the cookie of a request; `None` without one, and when it is over.
///
/// # Errors
/// When the orchestrator cannot be asked.
pub(crate) async fn signed_in(app: &App, parts: &Parts) -> Result<Option<SignedIn>, Problem> {
    let Some(token) = token(app, &parts.headers) else { return Ok(None) };
    let identity = identity_of(app, parts.extensions.get::<Trace>(), token).await?;
    Ok(identity.map(|identity| SignedIn { identity, token: token.to_owned() }))
}

/// Whose session that still is.
///
/// # Errors
/// 401 when it is over.
pub(crate) async fn again(app: &App, token: &str) -> Result<Identity, Problem> {
    let found = identity_of(app, None, token).await?;
    found.ok_or_else(|| Problem::unauthenticated("the session is over"))
}

async fn identity_of(
    app: &App,
    trace: Option<&Trace>,
    token: &str,
) -> Result<Option<Identity>, Problem> {
    let id = Sha256::digest(token.as_bytes()).into();
    if let Some(identity) = app.sessions.get(&id, Instant::now()) {
        return Ok(Some(identity));
    }
    let timeout = app.config.request_timeout();
    let message = machine(app, trace, pb::GetSessionRequest { token: token.to_owned() });
    let asked = app.peers.sessions();
    let answer = tokio::time::timeout(timeout, { asked }.get_session(message)).await;
    let session = match answer.map_err(|_| Problem::deadline())? {
        Ok(answer) => answer.into_inner().session.unwrap_or_default(),
        Err(status) if status.code() == Code::Unauthenticated => return Ok(None),
        Err(status) => return Err(status.into()),
    };
    let identity = identity(session.caller)?;
    app.sessions.put(id, identity.clone(), Instant::now());
    Ok(Some(identity))
}

/// Who calls the API by cookie. What changes something has to carry the token of the pages' forms.
///
/// # Errors
/// 403 for a change from elsewhere.
pub(crate) async fn caller(app: &App, parts: &Parts) -> Result<Option<SignedIn>, Problem> {
    let Some(signed) = signed_in(app, parts).await? else { return Ok(None) };
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        check_origin(app, parts)?;
        signed.check_csrf(parts.headers.get(CSRF_HEADER).and_then(|v| v.to_str().ok()))?;
    }
    Ok(Some(signed))
}

/// What somebody signs in with.
pub(crate) enum With<'a> {
    /// An API key.
    Key(&'a str),
    /// What a provider said of them.
    Known(&'a Identity),
}

/// Signs in; answers the cookie. A session that the browser had before ends.
///
/// # Errors
/// 401 for whatever is wrong with the key.
pub(crate) async fn begin(
    app: &App,
    parts: &Parts,
    with: With<'_>,
) -> Result<HeaderValue, Problem> {
    end(app, parts).await?;
    let request = match with {
        With::Key(key) => pb::CreateSessionRequest { api_key: key.to_owned(), known: None },
        With::Known(identity) => {
            pb::CreateSessionRequest { api_key: String::new(), known: Some(identity.into()) }
        }
    };
    let message = machine(app, parts.extensions.get::<Trace>(), request);
    let timeout = app.config.request_timeout();
    let answer = tokio::time::timeout(timeout, app.peers.sessions().create_session(message)).await;
    let made = match answer.map_err(|_| Problem::deadline())? {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::Unauthenticated => {
            return Err(Problem::unauthenticated("this key does not sign in"));
        }
        Err(status) => return Err(status.into()),
    };
    let lifetime = made.session.as_ref().and_then(|s| {
        Some(s.ends_at.as_ref()?.seconds.saturating_sub(s.created_at.as_ref()?.seconds))
    });
    Ok(cookie(app, &made.token, lifetime.unwrap_or_default().max(0)))
}

/// A cookie of ours that lasts for a while and goes to this path; an empty value takes it away.
pub(crate) fn own_cookie(app: &App, name: &str, value: &str, seconds: u32) -> HeaderValue {
    let (prefix, secure) = if app.config.is_https() { ("__Host-", "; Secure") } else { ("", "") };
    let text = format!(
        "{prefix}{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}"
    );
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The value of a cookie that [`own_cookie`] made.
pub(crate) fn own_cookie_of<'a>(app: &App, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    if app.config.is_https() {
        only_cookie(headers, &format!("__Host-{name}"))
    } else {
        only_cookie(headers, name)
    }
}

/// Signs out, here at once and elsewhere within seconds.
///
/// # Errors
/// When the orchestrator cannot be asked; the session is then still there.
pub(crate) async fn end(app: &App, parts: &Parts) -> Result<(), Problem> {
    let Some(token) = token(app, &parts.headers) else { return Ok(()) };
    app.sessions.forget(&Sha256::digest(token.as_bytes()).into());
    let request = pb::EndSessionRequest { token: token.to_owned() };
    let message = machine(app, parts.extensions.get::<Trace>(), request);
    ask_within(app.config.request_timeout(), app.peers.sessions().end_session(message)).await?;
    Ok(())
}

/// A cookie that takes the session's away.
pub(crate) fn no_cookie(app: &App) -> HeaderValue {
    cookie(app, "", 0)
}

fn cookie(app: &App, token: &str, seconds: i64) -> HeaderValue {
    let (name, secure) =
        if app.config.is_https() { (COOKIE_SECURE, "; Secure") } else { (COOKIE, "") };
    let text = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn token<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = if app.config.is_https() { COOKIE_SECURE } else { COOKIE };
    let is_token = |t: &&str| t.len() == TOKEN_CHARS && t.bytes().all(|b| b.is_ascii_hexdigit());
    only_cookie(headers, name).filter(is_token)
}

/// The value of a cookie; `None` when there are two of the name, one of which is not ours.
pub(crate) fn only_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(n, value)| (n == name).then_some(value));
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Whether a form or a script's call comes from our own pages.
///
/// # Errors
/// 403 when a browser says that it does not, or does not say.
pub(crate) fn check_origin(app: &App, parts: &Parts) -> Result<(), Problem> {
    let mut origins = parts.headers.get_all(header::ORIGIN).iter();
    let same = match (origins.next(), origins.next()) {
        (Some(origin), None) => {
            origin.to_str().is_ok_and(|origin| is_ours(app, origin, &parts.headers, &parts.uri))
        }
        (Some(_), Some(_)) => false,
        (None, _) => parts.headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin"),
    };
    if same {
        return Ok(());
    }
    let detail = "the request does not come from this site's own pages (expected its own Origin)";
    Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail))
}

fn is_ours(app: &App, origin: &str, headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(public) = &app.config.public_url {
        let own = Url::parse(public).map(|url| url.origin().ascii_serialization());
        return own.is_ok_and(|own| own.eq_ignore_ascii_case(origin));
    }
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let Some(host) = uri.authority().map(http::uri::Authority::as_str).or(host) else {
        return false;
    };
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    named.is_some_and(|named| named.eq_ignore_ascii_case(host))
}

/// A path of this site to go on to; `/` for everything that could lead elsewhere.
pub(crate) fn local_path(asked: &str) -> &str {
    let plain = asked.starts_with('/')
        && !asked.starts_with("//")
        && asked.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'\\');
    if plain { asked } else { "/" }
}

fn machine<T>(app: &App, trace: Option<&Trace>, message: T) -> tonic::Request<T> {
    let timeout = app.config.request_timeout();
    let mut request = meta_runtime::auth::machine_call(timeout, message);
    crate::auth::add_trace(&mut request, trace);
    request
}

fn identity(caller: Option<pb::Caller>) -> Result<Identity, Problem> {
    Identity::try_from(caller.unwrap_or_default()).map_err(|error| {
        tracing::error!(%error, "the orchestrator's answer about a session is not valid");
        Problem::internal()
    })
}

type TokenHash = [u8; 32];

/// Sessions that were checked a moment ago, by the hash of their token.
pub(crate) struct SessionCache {
    believed: Mutex<HashMap<TokenHash, (Identity, Instant)>>,
    lifetime: Duration,
}

impl SessionCache {
    /// A cache that believes a session for this long.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { believed: Mutex::default(), lifetime }
    }

    fn get(&self, hash: &TokenHash, now: Instant) -> Option<Identity> {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, since) = believed.get(hash)?;
        let over = identity.expires.is_some_and(|end| end <= meta_runtime::now());
        (!over && now.duration_since(*since) < self.lifetime).then(|| identity.clone())
    }

    fn put(&self, hash: TokenHash, identity: Identity, now: Instant) {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= SESSIONS_MAX {
            believed.retain(|_, (_, since)| now.duration_since(*since) < self.lifetime);
        }
        if believed.len() >= SESSIONS_MAX {
            believed.clear();
        }
        believed.insert(hash, (identity, now));
    }

    fn forget(&self, hash: &TokenHash) {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_paths_are_gone_to() {
        for path in ["/runs", "/runs/1?step=a%20b#L3", "/"] {
            assert_eq!(local_path(path), path);
        }
        for path in [
            "",
            "runs",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/ä",
        ] {
            assert_eq!(local_path(path), "/", "{path:?}");
        }
    }

    #[test]
    fn a_cookie_is_read_when_there_is_one() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; mb_session=x; b=2".parse().unwrap());
        assert_eq!(only_cookie(&headers, "mb_session"), Some("x"));
        assert_eq!(only_cookie(&headers, "session"), None);
        headers.append(header::COOKIE, "mb_session=y".parse().unwrap());
        assert_eq!(only_cookie(&headers, "mb_session"), None);
    }

    #[test]
    fn a_forms_token_is_bound_to_its_session() {
        let tenant = meta_runtime::new_id().into();
        let role = meta_domain::role::Role::Viewer;
        let identity =
            Identity::from(meta_domain::role::Principal { tenant, role, actor: "ann".into() });
        let signed = SignedIn { identity, token: "a".repeat(64) };
        assert!(signed.check_csrf(Some(&signed.csrf())).is_ok());
        for bad in [None, Some(""), Some("x"), Some(csrf_of("b").as_str())] {
            assert_eq!(signed.check_csrf(bad).unwrap_err().status, StatusCode::FORBIDDEN);
        }
        assert_ne!(signed.csrf(), signed.token);
    }
}
