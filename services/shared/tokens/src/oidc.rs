//! Signing in at a provider with a browser: the authorization code flow of OpenID Connect, with
//! PKCE, a state and a nonce that are derived from one secret which only the browser keeps.

use crate::claims::{Claims, Expected, checked};
use crate::fetch::{self, checked_url};
use crate::issuer::Source;
use crate::jwks::KeySet;
use crate::rules::{Rules, with_rules};
use crate::verify::{Refused, Verifier};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use meta_domain::fault::InvalidField;
use meta_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::Mutex;
use url::Url;

/// What a provider says of itself is asked for again after this long, in milliseconds.
const DISCOVERED_MS: u64 = 60 * 60 * 1000;
/// Characters of an authorization code.
const CODE_CHARS_MAX: usize = 4096;

with_rules! {
    /// The section `oidc`: a provider at which people sign in.
    pub struct Oidc {
        /// What people call it, on the button.
        pub name: String = "single sign-on".to_owned(),
        /// Its issuer: what `iss` has to be, and below which it says where everything is.
        pub issuer: String = String::new(),
        /// What it calls us.
        pub client_id: String = String::new(),
        /// What we show it; without one it has to accept PKCE alone.
        pub client_secret: Option<String> = None,
        /// What we ask it for, beside `openid`.
        pub scopes: Vec<String> = vec!["profile".to_owned(), "email".to_owned()],
    }
}

impl std::fmt::Debug for Oidc {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { issuer, client_id, .. } = self;
        f.debug_struct("Oidc").field("issuer", issuer).field("client_id", client_id).finish()
    }
}

impl Oidc {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<InvalidField> {
        let mut faults: Vec<InvalidField> =
            checked_url("issuer", &self.issuer).err().into_iter().collect();
        if self.client_id.is_empty() {
            let problem = "is missing (expected what the provider calls this installation)";
            faults.push(InvalidField::new("client_id", problem));
        }
        faults.extend(Rules::from(self).check());
        faults
    }
}

/// What a provider says of itself.
#[derive(Debug, Clone, Deserialize)]
struct Discovered {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// Where a provider is.
struct Place {
    authorization: Url,
    token: Url,
    verifier: Verifier,
    found_at: Timestamp,
}

/// A provider at which people sign in.
pub struct Provider {
    config: Oidc,
    redirect: String,
    http: reqwest::Client,
    place: Mutex<Option<Arc<Place>>>,
}

/// One sign-in that is under way, as the browser keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    secret: String,
}

/// A sign-in that can go on at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Where the browser goes.
    pub location: String,
}

impl SignIn {
    /// Of 256 random bits in hex.
    pub fn of(secret: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = secret.len() == 64 && secret.bytes().all(hex);
        fits.then(|| Self { secret: secret.to_owned() })
    }

    fn derived(&self, purpose: &str) -> String {
        let digest = Sha256::digest(format!("metabuilder sign-in {purpose}\n{}", self.secret));
        BASE64_URL_SAFE_NO_PAD.encode(digest)
    }

    /// What the provider sends back with the browser.
    pub fn state(&self) -> String {
        self.derived("state")
    }

    /// What the provider writes into its token.
    pub(crate) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    /// What shows that whoever comes with the code is who asked for it.
    fn verifier(&self) -> String {
        self.derived("pkce")
    }

    fn challenge(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }

    /// Whether a browser comes back from this sign-in.
    pub fn is_of(&self, state: &str) -> bool {
        let own = self.state();
        own.len() == state.len()
            && own.bytes().zip(state.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

impl Provider {
    /// A provider whose browsers come back to `redirect`, exactly.
    ///
    /// # Errors
    /// Everything that is wrong with its configuration.
    pub fn new(config: &Oidc, redirect: String) -> Result<Self, Vec<InvalidField>> {
        let faults = config.check();
        if !faults.is_empty() {
            return Err(faults);
        }
        let http = fetch::client();
        let http = http.map_err(|e| vec![InvalidField::new("issuer", e.to_string())])?;
        Ok(Self { config: config.clone(), redirect, http, place: Mutex::default() })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Where a browser goes to sign in.
    ///
    /// # Errors
    /// When the provider cannot be asked where it is.
    pub async fn start(&self, sign_in: &SignIn, now: Timestamp) -> Result<Started, fetch::Error> {
        let place = self.place(now).await?;
        let mut scope = "openid".to_owned();
        for word in self.config.scopes.iter().filter(|word| *word != "openid") {
            scope.push(' ');
            scope.push_str(word);
        }
        let mut location = place.authorization.clone();
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &scope)
            .append_pair("state", &sign_in.state())
            .append_pair("nonce", &sign_in.nonce())
            .append_pair("code_challenge", &sign_in.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok(Started { location: location.into() })
    }

    /// Who came back with this code.
    ///
    /// # Errors
    /// Why nobody did, or that the provider cannot be asked.
    pub async fn finish(
        &self,
        sign_in: &SignIn,
        code: &str,
        now: Timestamp,
    ) -> Result<Claims, Refused> {
        if code.is_empty() || code.chars().count() > CODE_CHARS_MAX {
            return Err(Refused::Token("has no code to be had for"));
        }
        let place = self.place(now).await.map_err(unreachable)?;
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", self.redirect.clone()),
            ("code_verifier", sign_in.verifier()),
        ];
        let request = self.http.post(place.token.clone()).header("accept", "application/json");
        let request = if let Some(secret) = &self.config.client_secret {
            request.basic_auth(encoded(&self.config.client_id), Some(encoded(secret)))
        } else {
            form.push(("client_id", self.config.client_id.clone()));
            request
        };
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = fetch::answer(request.body(body)).await.map_err(|error| {
            tracing::warn!(%error, "the provider gives no token for a code");
            Refused::Token("is not given by the provider")
        })?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let token = answer["id_token"].as_str().ok_or(Refused::Token("is not there"))?;
        let said = place.verifier.signed(token, now).await?;
        let azp = said.get("azp").map(|azp| azp.as_str() == Some(self.config.client_id.as_str()));
        let several = said.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        if azp == Some(false) || (several && azp.is_none()) {
            return Err(Refused::Token("was asked for by somebody else"));
        }
        let rules = Rules::from(&self.config);
        let (issuer, audience) = (self.config.issuer.as_str(), self.config.client_id.as_str());
        let claims = checked(&Expected { issuer, audience, rules: &rules }, &said, now)?;
        if claims.nonce.as_deref() != Some(sign_in.nonce().as_str()) {
            return Err(Refused::Token("belongs to another sign-in"));
        }
        Ok(claims)
    }

    /// Where the provider is, asked at most once an hour.
    async fn place(&self, now: Timestamp) -> Result<Arc<Place>, fetch::Error> {
        let mut known = self.place.lock().await;
        if let Some(place) = known.as_ref().filter(|p| now.since_ms(p.found_at) < DISCOVERED_MS) {
            return Ok(Arc::clone(place));
        }
        let found = match self.discover(now).await {
            Ok(found) => Arc::new(found),
            // it was there an hour ago: where it was is the better guess
            Err(error) => match known.as_ref() {
                Some(place) => {
                    tracing::warn!(%error, "the provider does not say where it is");
                    Arc::clone(place)
                }
                None => return Err(error),
            },
        };
        *known = Some(Arc::clone(&found));
        Ok(found)
    }

    async fn discover(&self, now: Timestamp) -> Result<Place, fetch::Error> {
        let issuer = self.config.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let answer = fetch::answer(self.http.get(url)).await?;
        let said: Discovered = serde_json::from_slice(&answer)
            .map_err(|e| fetch::Error(format!("what the provider says of itself: {e}")))?;
        if said.issuer != self.config.issuer {
            let text = format!("it calls itself {:?} (expected {issuer:?})", said.issuer);
            return Err(fetch::Error(text));
        }
        let url = |name: &str, text: &str| {
            checked_url(name, text).map_err(|fault| fetch::Error(fault.to_string()))
        };
        let keys = Source::Url(url("jwks_uri", &said.jwks_uri)?);
        let keys = KeySet::new(keys, self.http.clone());
        let of = (self.config.issuer.as_str(), self.config.client_id.as_str());
        Ok(Place {
            authorization: url("authorization_endpoint", &said.authorization_endpoint)?,
            token: url("token_endpoint", &said.token_endpoint)?,
            verifier: Verifier::of_provider(of, Rules::from(&self.config), keys),
            found_at: now,
        })
    }
}

fn unreachable(error: fetch::Error) -> Refused {
    Refused::Keys(crate::jwks::Error::Fetch(error.to_string()))
}

/// As the two halves of basic credentials have to be written for a token endpoint.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
