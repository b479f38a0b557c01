//! `Idempotency-Key`: the same request a second time gets the first answer, whichever gateway it
//! reaches and whatever was restarted in between. The answers are kept by the orchestrator for 24
//! hours; of two equal requests at once one does the work.

mod seal;

use crate::auth::Caller;
use crate::document::Answer;
use crate::peers::Peers;
use crate::problem::{At, Problem};
use crate::routes::App;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meta_domain::id::TenantId;
use meta_proto::orchestrator as pb;
use seal::Seal;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Characters of a key.
const KEY_CHARS_MAX: usize = 255;
/// How much longer than its work a key is held for a gateway that died over it.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A caller's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// Reads the header: a quoted string, or the plain text.
    ///
    /// # Errors
    /// 400 naming the header.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(&HEADER).iter();
        let Some(first) = values.next() else { return Ok(None) };
        let text = first.to_str().unwrap_or("").trim();
        let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
        let fits = (1..=KEY_CHARS_MAX).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_graphic() && c != '"');
        if fits && values.next().is_none() {
            return Ok(Some(Self(text.to_owned())));
        }
        let detail = format!(
            "the Idempotency-Key is not valid (expected one header with 1 to {KEY_CHARS_MAX} \
             printable characters, such as a UUID)"
        );
        Err(Problem::bad("invalid_header", detail).at(At::Header("Idempotency-Key")))
    }

    /// The id under which the orchestrator knows this request of this tenant.
    pub(crate) fn request_id(&self, tenant: TenantId) -> Uuid {
        let mut hash = Sha256::new();
        hash.update(b"idempotency-key\0");
        hash.update(tenant.0.as_bytes());
        hash.update(self.0.as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

/// A request that creates something, as far as its repetition is concerned.
pub(crate) struct Creation<'a> {
    /// Who asks; another actor's keys are other keys.
    pub(crate) caller: &'a Caller,
    /// The request's headers, with the key when there is one.
    pub(crate) headers: &'a HeaderMap,
    /// Method and path, such as `POST /specs`.
    pub(crate) route: String,
    /// The document.
    pub(crate) body: &'a [u8],
    /// The longest that the work takes.
    pub(crate) takes: Duration,
}

/// A key that is held while its work is done. One that is dropped is given back.
struct Held {
    peers: Peers,
    caller: Caller,
    slot: Vec<u8>,
    holder: String,
}

impl Held {
    async fn finish(mut self, answer: &Answer, seal: &Seal) {
        let holder = std::mem::take(&mut self.holder);
        let message = pb::FinishAnswerRequest {
            slot: self.slot.clone(),
            holder,
            answer: Some(kept(answer, seal)),
        };
        let message = self.caller.message(message);
        if let Err(problem) = self.caller.ask(self.peers.answers().finish_answer(message)).await {
            // the work is done: the answer counts, and a repeat finds the key held until its lease
            // is over
            tracing::warn!(?problem, "an answer could not be kept for repeats");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let holder = std::mem::take(&mut self.holder);
        if holder.is_empty() {
            return;
        }
        let (peers, caller) = (self.peers.clone(), self.caller.clone());
        let slot = std::mem::take(&mut self.slot);
        let release = async move {
            let message = caller.message(pb::ReleaseAnswerRequest { slot, holder });
            if let Err(problem) = caller.ask(peers.answers().release_answer(message)).await {
                tracing::warn!(?problem, "a key could not be given back; its lease will end");
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(release);
        }
    }
}

fn kept(answer: &Answer, seal: &Seal) -> pb::KeptAnswer {
    let sealed = answer.is_secret().then(|| seal.close(answer.body()));
    let too_large = matches!(sealed, Some(None));
    let body = match &sealed {
        Some(body) => body.clone().unwrap_or_default(),
        None => answer.body().to_vec(),
    };
    pb::KeptAnswer {
        status: u32::from(answer.status().as_u16()),
        location: answer.location().to_owned(),
        body,
        sealed: sealed.is_some(),
        too_large,
    }
}

/// Creates something in a tenant once: what every such route does around its one call. `path` is
/// what lies below the base path.
///
/// # Errors
/// As [`once`].
pub(crate) async fn create<F, W>(
    app: Arc<App>,
    caller: &Caller,
    (path, headers, body): (String, &HeaderMap, &[u8]),
    work: W,
) -> Result<Response, Problem>
where
    W: FnOnce(Arc<App>, Caller) -> F,
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    let route = format!("POST {path}");
    let creation = Creation { caller, headers, route, body, takes: caller.timeout() };
    let peers = app.peers.clone();
    let work = work(app, caller.clone());
    Box::pin(once(&peers, creation, work)).await
}

/// Does the work once for a key. The work goes on when the caller goes away, so that a repeated
/// request finds its answer.
///
/// # Errors
/// What the work says (then the key is free again); 422 and 409 as the key says.
pub(crate) async fn once<F>(
    peers: &Peers,
    creation: Creation<'_>,
    work: F,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    let Some(key) = Key::read(creation.headers)? else { return Ok(work.await?.into_response()) };
    let caller = creation.caller;
    let tenant = caller.principal.tenant.0;
    let actor = caller.principal.actor.as_bytes();
    let slot = hash(&[tenant.as_bytes(), actor, key.0.as_bytes()]);
    let lease = creation.takes.saturating_add(LEASE_MARGIN).as_millis();
    let message = pb::BeginAnswerRequest {
        slot: slot.clone(),
        request: hash(&[creation.route.as_bytes(), creation.body]),
        lease_ms: u64::try_from(lease).unwrap_or(u64::MAX),
    };
    let found = caller.ask(peers.answers().begin_answer(caller.message(message))).await?;
    let seal = Seal::of(creation.headers, &slot);
    let held = match found.state() {
        pb::KeyState::Taken => {
            Held { peers: peers.clone(), caller: caller.clone(), slot, holder: found.holder }
        }
        pb::KeyState::Answered => return replayed(found.answer.unwrap_or_default(), &seal),
        pb::KeyState::OtherRequest => return Err(reused("another request")),
        pb::KeyState::Working => {
            let detail = "the first request with this Idempotency-Key is still being worked on";
            return Err(conflict("idempotency_in_progress", detail));
        }
        pb::KeyState::Unspecified => {
            tracing::error!("the orchestrator does not say how a key stands");
            return Err(Problem::internal());
        }
    };
    let task = tokio::spawn(async move {
        let answer = work.await?;
        held.finish(&answer, &seal).await;
        Ok::<_, Problem>(answer)
    });
    let answer = task.await.map_err(|error| {
        tracing::error!(%error, "the work of a request did not end");
        Problem::internal()
    })??;
    Ok(answer.into_response())
}

/// The key was used for something else.
pub(crate) fn reused(what: &str) -> Problem {
    let detail = format!("the Idempotency-Key was used for {what} (expected a new key)");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "idempotency_key_reused", detail).at(At::Header("Idempotency-Key"))
}

fn conflict(code: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail).at(At::Header("Idempotency-Key"))
}

fn replayed(kept: pb::KeptAnswer, seal: &Seal) -> Result<Response, Problem> {
    if kept.too_large {
        let detail = "the first request succeeded; its answer was too large to be given again";
        return Err(conflict("idempotency_answer_too_large", detail));
    }
    let body = if kept.sealed { seal.open(kept.body) } else { Some(kept.body) };
    let body = body.ok_or_else(|| {
        let detail = "the first request succeeded; its answer holds a secret that only the \
                      credential it was sent with is shown";
        conflict("idempotency_answer_sealed", detail)
    })?;
    let status = u16::try_from(kept.status).ok().and_then(|s| StatusCode::from_u16(s).ok());
    let answer = Answer::kept(status.unwrap_or(StatusCode::CREATED), &kept.location, body);
    let mut response = answer.into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Result<Option<Key>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        Key::read(&headers)
    }

    #[test]
    fn quoted_and_plain_keys_are_the_same() {
        assert_eq!(key(&[r#""k-1""#]).unwrap(), key(&["k-1"]).unwrap());
        assert_eq!(key(&[]).unwrap(), None);
        for bad in [vec![""], vec!["\"\""], vec!["a b"], vec!["a", "b"]] {
            assert!(key(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn request_ids_depend_on_tenant_and_key_alone() {
        let (a, b) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let key = Key("k".into());
        assert_eq!(key.request_id(a), key.request_id(a));
        assert_ne!(key.request_id(a), key.request_id(b));
        assert_ne!(key.request_id(a), Key("l".into()).request_id(a));
    }

    #[test]
    fn parts_of_a_hash_do_not_run_together() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    }
}
