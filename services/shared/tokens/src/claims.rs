//! What a signed token says, once its signature is known to be good. Pure: the time is given.

use crate::rules::Rules;
use crate::verify::Refused;
use meta_domain::id::TenantId;
use meta_domain::role::{Identity, Principal, Role, Scopes};
use meta_domain::time::Timestamp;
use serde_json::{Map, Value};

/// How far clocks may differ, in milliseconds.
pub(crate) const SKEW_MS: i64 = 60_000;
/// Characters of a key's id, of a subject, of an address.
pub(crate) const NAME_CHARS_MAX: usize = 256;

/// What a token says that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who issued it.
    pub issuer: String,
    /// Whom the issuer means.
    pub sub: String,
    /// Where they act.
    pub tenant: TenantId,
    /// What they may do there.
    pub role: Role,
    /// Their e-mail address, where the issuer says that it is theirs.
    pub email: Option<String>,
    /// What a sign-in asked the issuer to repeat.
    pub nonce: Option<String>,
    /// Until when.
    pub expires: Timestamp,
}

impl Claims {
    /// Who shows it: named by an address that the issuer has verified, so that a person with a key
    /// and a token stays one person; else by what the issuer calls them.
    pub fn identity(&self) -> Identity {
        let named = plain(&format!("{}#{}", self.issuer, self.sub));
        let actor = self.email.as_deref().map_or_else(|| named.clone(), plain);
        Identity {
            principal: Principal { tenant: self.tenant, role: self.role, actor },
            credential: format!("token:{named}"),
            scopes: Scopes::default(),
            home: None,
            expires: Some(self.expires),
        }
    }
}

/// A name as a header can carry it: what is no printable ASCII is written in hex, so that two names
/// stay two.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            plain.push(char::from(byte));
        } else {
            plain.push_str(&format!("%{byte:02X}"));
        }
    }
    plain
}

/// For whom a token is, and how its claims are read.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) rules: &'a Rules,
}

/// Holds the claims against what is expected.
///
/// # Errors
/// Why they do not fit.
pub(crate) fn checked(
    expected: &Expected<'_>,
    said: &Map<String, Value>,
    now: Timestamp,
) -> Result<Claims, Refused> {
    let text = |name: &str| said.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    if text("iss") != Some(expected.issuer) {
        return Err(Refused::Token("is of no issuer that is known here"));
    }
    let named = match said.get("aud") {
        Some(Value::String(one)) => *one == expected.audience,
        Some(Value::Array(all)) => all.iter().any(|one| *one == *expected.audience),
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
    let verified = said.get("email_verified") == Some(&Value::Bool(true));
    let email = text("email").filter(|e| verified && e.chars().count() <= NAME_CHARS_MAX);
    Ok(Claims {
        issuer: expected.issuer.to_owned(),
        sub: sub.to_owned(),
        tenant: tenant(expected.rules, said)?,
        role: role(expected.rules, said)?,
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

fn tenant(rules: &Rules, said: &Map<String, Value>) -> Result<TenantId, Refused> {
    let named = claim(said, &rules.tenant_claim).and_then(Value::as_str);
    let named = named.map(str::parse::<TenantId>).transpose();
    let named = named.map_err(|_| Refused::Token("names a tenant that is no id"))?;
    match (rules.tenant, named) {
        (Some(only), Some(named)) if only != named => {
            Err(Refused::Token("names a tenant that its issuer may not name"))
        }
        (only, named) => named.or(only).ok_or(Refused::Token("names no tenant")),
    }
}

fn role(rules: &Rules, said: &Map<String, Value>) -> Result<Role, Refused> {
    let words: Vec<&str> = match claim(said, &rules.roles_claim) {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let known = words.into_iter().filter_map(|word| {
        rules.roles.get(word).copied().or_else(|| word.parse().ok()).filter(|role| match role {
            Role::Runner => false,
            Role::PlatformAdmin => rules.platform_admins,
            Role::Auditor | Role::Viewer | Role::Member | Role::Admin | Role::Owner => true,
        })
    });
    known.max().ok_or(Refused::Token("names no role that is known here"))
}
