//! The public keys of an issuer: read when they are first needed, and again when they are old or
//! when a token names one that is not among them, which not every such token may cause.

use crate::fetch;
use crate::issuer::Source;
use arc_swap::ArcSwapOption;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use meta_domain::time::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Keys that are this old are read again, in milliseconds.
const FRESH_MS: u64 = 10 * 60 * 1000;
/// Keys serve this long when they cannot be read again, in milliseconds.
const STALE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Keys are read at most this often, in milliseconds.
pub(crate) const FETCH_EVERY_MS: u64 = 10_000;
/// Keys of a set that are looked at.
const KEYS_MAX: usize = 100;

/// A public key with the one algorithm that it is for.
pub(crate) struct Key {
    pub(crate) algorithm: jsonwebtoken::Algorithm,
    pub(crate) key: DecodingKey,
}

/// Keys by their ids.
struct Known {
    keys: HashMap<String, Arc<Key>>,
    read_at: Timestamp,
}

/// The keys of an issuer.
pub(crate) struct KeySet {
    source: Source,
    http: reqwest::Client,
    known: ArcSwapOption<Known>,
    /// When they were last asked for; one at a time asks.
    asked_at: Mutex<Option<Timestamp>>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They cannot be had.
    #[error("the keys cannot be read: {0}")]
    Fetch(String),
    /// They are no keys.
    #[error("the keys are not a JSON Web Key Set: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// One key may be of a kind that is not known here; it is not the whole set's fault.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Keys that are read when they are needed.
    pub(crate) fn new(source: Source, http: reqwest::Client) -> Self {
        Self { source, http, known: ArcSwapOption::empty(), asked_at: Mutex::default() }
    }

    /// The key of that id; `None` when the issuer has none of it.
    ///
    /// # Errors
    /// When no keys are known and none can be read.
    pub(crate) async fn find(&self, id: &str, now: Timestamp) -> Result<Option<Arc<Key>>, Error> {
        let usable = |known: &Known, most| now.since_ms(known.read_at) < most;
        let held = self.known.load_full();
        if let Some(known) = held.as_deref().filter(|known| usable(known, FRESH_MS))
            && let Some(key) = known.keys.get(id)
        {
            return Ok(Some(Arc::clone(key)));
        }
        let failed = self.read_again(now).await.err();
        match (self.known.load_full().filter(|known| usable(known, STALE_MS_MAX)), failed) {
            (Some(known), failed) => {
                if let Some(error) = failed {
                    tracing::warn!(%error, "an issuer's keys are used as they were last read");
                }
                Ok(known.keys.get(id).cloned())
            }
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::Fetch("they were asked for a moment ago".to_owned())),
        }
    }

    async fn read_again(&self, now: Timestamp) -> Result<(), Error> {
        let mut asked_at = self.asked_at.lock().await;
        if asked_at.is_some_and(|at| now.since_ms(at) < FETCH_EVERY_MS) {
            return Ok(());
        }
        *asked_at = Some(now);
        let bytes = match &self.source {
            Source::Url(url) => {
                let answer = fetch::answer(self.http.get(url.clone())).await;
                answer.map_err(|e| Error::Fetch(e.to_string()))?
            }
            Source::File(path) => {
                tokio::fs::read(path).await.map_err(|e| Error::Fetch(e.to_string()))?
            }
        };
        let document: Document = serde_json::from_slice(&bytes)?;
        let keys = document.keys.into_iter().take(KEYS_MAX).filter_map(key).collect();
        self.known.store(Some(Arc::new(Known { keys, read_at: now })));
        Ok(())
    }
}

/// A key of a set, when it is a public one for signatures that we know, with an id.
fn key(value: serde_json::Value) -> Option<(String, Arc<Key>)> {
    use jsonwebtoken::Algorithm;
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let id = jwk.common.key_id.clone()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(of) if of.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let named = jwk.common.key_algorithm.map(|named| named.to_string());
    if named.is_some_and(|named| named != format!("{algorithm:?}")) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some((id, Arc::new(Key { algorithm, key })))
}
