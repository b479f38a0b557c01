//! Tokens of other issuers: signed by a key of the issuer's set, for us, and in force.
//!
//! What a token says of its own keys (`jku`, `x5u`, `jwk`) is not read: keys come from the
//! configured address alone, and a key is only ever used for its own algorithm.

use super::issuer::{self, Issuer};
use super::jwks::{self, KeySet};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use meta_domain::fault::InvalidField;
use meta_domain::id::TenantId;
use meta_domain::role::Role;
use meta_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How far clocks may differ, in milliseconds.
const SKEW_MS: i64 = 60_000;
/// Bytes of a token.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Characters of a key's id, of a subject, of an address.
const NAME_CHARS_MAX: usize = 256;

/// What a token says that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Who issued it.
    pub(crate) issuer: String,
    /// Whom the issuer means.
    pub(crate) sub: String,
    /// Where they act.
    pub(crate) tenant: TenantId,
    /// What they may do there.
    pub(crate) role: Role,
    /// Their e-mail address, unless the issuer says that it is not verified.
    pub(crate) email: Option<String>,
    /// What a sign-in asked the issuer to repeat.
    pub(crate) nonce: Option<String>,
    /// Until when.
    pub(crate) expires: Timestamp,
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It is the token's fault; the text may be told to its bearer.
    #[error("the token {0}")]
    Token(&'static str),
    /// The issuer's keys cannot be had.
    #[error("the issuer's keys are not known at the moment")]
    Keys(#[source] jwks::Error),
}

/// The part of a token's header that counts.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Believes tokens of the configured issuers.
pub(crate) struct Verifier {
    issuers: Vec<(Issuer, KeySet)>,
}

impl Verifier {
    /// For these issuers; their keys are read when the first token comes.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(issuers: &[Issuer]) -> Result<Self, Vec<InvalidField>> {
        let faults = issuer::check(issuers);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut known = Vec::with_capacity(issuers.len());
        for issuer in issuers {
            let source = issuer.source().map_err(|fault| vec![fault])?;
            let keys = KeySet::new(source);
            let keys = keys.map_err(|e| vec![InvalidField::new("issuers", e.to_string())])?;
            known.push((issuer.clone(), keys));
        }
        Ok(Self { issuers: known })
    }

    /// Whether any issuer is configured.
    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// What a token says, when it is good.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refused> {
        let (header, said) = unverified(token)?;
        if header.crit.is_some() {
            return Err(Refused::Token("has a header that has to be understood and is not"));
        }
        let named = said.get("iss").and_then(Value::as_str);
        let known = named.and_then(|iss| self.issuers.iter().find(|(i, _)| i.issuer == iss));
        let (issuer, keys) = known.ok_or(Refused::Token("is of no issuer that is known here"))?;
        let algorithm = issuer.algorithms.iter().find(|a| a.as_str() == header.alg);
        let algorithm =
            algorithm.ok_or(Refused::Token("is signed in a way that is not allowed"))?;
        let kid = header.kid.filter(|kid| kid.chars().count() <= NAME_CHARS_MAX);
        let kid = kid.ok_or(Refused::Token("does not say which key it was signed with"))?;
        let key = keys.find(&kid, now).await.map_err(Refused::Keys)?;
        let key = key.ok_or(Refused::Token("names a key that its issuer does not have"))?;
        if format!("{:?}", key.algorithm) != algorithm.as_str() {
            return Err(Refused::Token("names a key of another kind"));
        }
        let claims = signed(token, &key).ok_or(Refused::Token("is not signed by its issuer"))?;
        checked(issuer, &claims, now)
    }
}

/// The claims, when the signature is good. Times and names are checked afterwards.
fn signed(token: &str, key: &jwks::Key) -> Option<Map<String, Value>> {
    let mut rules = Validation::new(key.algorithm);
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    jsonwebtoken::decode(token, &key.key, &rules).ok().map(|token| token.claims)
}

/// What a token says before anything of it is believed.
fn unverified(token: &str) -> Result<(Header, Map<String, Value>), Refused> {
    let bad = Refused::Token("is not a signed JSON web token");
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else { return Err(bad) };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Token("is too long"));
    }
    let json = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let header = json(header).and_then(|text| serde_json::from_slice(&text).ok());
    let claims = json(claims).and_then(|text| serde_json::from_slice(&text).ok());
    header.zip(claims).ok_or(bad)
}

fn checked(issuer: &Issuer, said: &Map<String, Value>, now: Timestamp) -> Result<Claims, Refused> {
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let named = match said.get("aud") {
        Some(Value::String(one)) => *one == issuer.audience,
        Some(Value::Array(all)) => all.iter().any(|one| *one == *issuer.audience),
        _ => false,
    };
    if !named {
        return Err(Refused::Token("is for somebody else"));
    }
    let expires = time(said.get("exp")).ok_or(Refused::Token("does not say when it ends"))?;
    if now >= expires.plus_ms(SKEW_MS) {
        return Err(Refused::Token("is over"));
    }
    if let Some(from) = said.get("nbf") {
        let from = time(Some(from)).ok_or(Refused::Token("does not say since when"))?;
        if now.plus_ms(SKEW_MS) < from {
            return Err(Refused::Token("is not in force yet"));
        }
    }
    let sub = text("sub").filter(|sub| sub.chars().count() <= NAME_CHARS_MAX);
    let sub = sub.ok_or(Refused::Token("does not say whose it is"))?;
    let verified = said.get("email_verified") != Some(&Value::Bool(false));
    let email = text("email").filter(|e| verified && e.chars().count() <= NAME_CHARS_MAX);
    Ok(Claims {
        issuer: issuer.issuer.clone(),
        sub: sub.to_owned(),
        tenant: tenant(issuer, said)?,
        role: role(issuer, said)?,
        email: email.map(str::to_owned),
        nonce: text("nonce").map(str::to_owned),
        expires,
    })
}

/// A date of a token: seconds since 1970, which may have a fraction.
fn time(value: Option<&Value>) -> Option<Timestamp> {
    let number = value?;
    if let Some(seconds) = number.as_i64() {
        return seconds.checked_mul(1000).map(Timestamp);
    }
    let whole = number.as_f64().filter(|s| s.is_finite())?.to_string();
    let seconds: i64 = whole.split('.').next()?.parse().ok()?;
    seconds.checked_mul(1000).map(Timestamp)
}

fn claim<'a>(said: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else { return said.get(name) };
    let (first, rest) = path.split_once('/').map_or((path, ""), |(first, rest)| (first, rest));
    let value = said.get(&first.replace("~1", "/").replace("~0", "~"))?;
    if rest.is_empty() { Some(value) } else { value.pointer(&format!("/{rest}")) }
}

fn tenant(issuer: &Issuer, said: &Map<String, Value>) -> Result<TenantId, Refused> {
    let named = claim(said, &issuer.tenant_claim).and_then(Value::as_str);
    let named = named.map(str::parse::<TenantId>).transpose();
    let named = named.map_err(|_| Refused::Token("names a tenant that is no id"))?;
    match (issuer.tenant, named) {
        (Some(only), Some(named)) if only != named => {
            Err(Refused::Token("names a tenant that its issuer may not name"))
        }
        (only, named) => named.or(only).ok_or(Refused::Token("names no tenant")),
    }
}

fn role(issuer: &Issuer, said: &Map<String, Value>) -> Result<Role, Refused> {
    let words: Vec<&str> = match claim(said, &issuer.role_claim) {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let known = words.into_iter().filter_map(|word| {
        issuer.roles.get(word).copied().or_else(|| word.parse().ok()).filter(|role| match role {
            Role::Runner => false,
            Role::PlatformAdmin => issuer.platform_admins,
            Role::Auditor | Role::Viewer | Role::Member | Role::Admin | Role::Owner => true,
        })
    });
    known.max().ok_or(Refused::Token("names no role that is known here"))
}
