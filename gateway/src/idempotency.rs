//! `Idempotency-Key`: the same request a second time gets the first answer.
//!
//! What is promised today: within this process, for 24 hours, for the newest
//! [`ANSWERS_MAX`] answers. A restart forgets; only runs are then still safe, because the
//! orchestrator keeps the id that is derived from the key. Two gateways do not share it. Durable
//! storage is a later piece of work; the handlers will not see the difference.

use crate::auth::Caller;
use crate::document::Answer;
use crate::problem::{At, Problem};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meta_domain::id::TenantId;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long an answer is kept.
const LIFETIME: Duration = Duration::from_hours(24);
/// Answers kept at most; the oldest go first.
pub(crate) const ANSWERS_MAX: usize = 1_000;
/// Bytes of an answer that is kept; a larger one is given once, then refused as a conflict.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Characters of a key.
const KEY_CHARS_MAX: usize = 255;
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

type Hash = [u8; 32];

enum State {
    Running,
    Done(Answer),
    TooLarge,
}

struct Entry {
    request: Hash,
    since: Instant,
    state: State,
}

impl Entry {
    fn is_alive(&self, now: Instant) -> bool {
        now.duration_since(self.since) < LIFETIME
    }
}

/// The answers of this process.
#[derive(Default)]
pub(crate) struct Answers(Mutex<HashMap<Hash, Entry>>);

/// What a key says about a request.
enum Found {
    New,
    Before(Answer),
}

impl Answers {
    fn begin(&self, slot: Hash, request: Hash, now: Instant) -> Result<Found, Problem> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&slot).filter(|e| e.is_alive(now)) {
            if entry.request != request {
                let detail =
                    "the Idempotency-Key was used for another request (expected a new key)";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Problem::new(status, "idempotency_key_reused", detail)
                    .at(At::Header("Idempotency-Key")));
            }
            return match &entry.state {
                State::Done(answer) => Ok(Found::Before(answer.clone())),
                State::Running => Err(conflict(
                    "idempotency_in_progress",
                    "the first request with this Idempotency-Key is still being worked on",
                )),
                State::TooLarge => Err(conflict(
                    "idempotency_answer_too_large",
                    "the first request succeeded; its answer was too large to be given again",
                )),
            };
        }
        make_room(&mut entries, now);
        entries.insert(slot, Entry { request, since: now, state: State::Running });
        Ok(Found::New)
    }

    fn end(&self, slot: &Hash, answer: Option<&Answer>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (answer, entries.get_mut(slot)) {
            (Some(answer), Some(entry)) if answer.len() <= ANSWER_BYTES_MAX => {
                entry.state = State::Done(answer.clone());
            }
            (Some(_), Some(entry)) => entry.state = State::TooLarge,
            (_, None) => {}
            (None, Some(_)) => {
                entries.remove(slot);
            }
        }
    }
}

fn conflict(code: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, detail).at(At::Header("Idempotency-Key"))
}

fn make_room(entries: &mut HashMap<Hash, Entry>, now: Instant) {
    if entries.len() < ANSWERS_MAX {
        return;
    }
    entries.retain(|_, e| e.is_alive(now));
    let done = entries.iter().filter(|(_, e)| !matches!(e.state, State::Running));
    if entries.len() >= ANSWERS_MAX
        && let Some(oldest) = done.min_by_key(|(_, e)| e.since).map(|(slot, _)| *slot)
    {
        entries.remove(&oldest);
    }
}

/// Forgets a key whose work did not come to an end.
struct Release {
    answers: Arc<Answers>,
    slot: Option<Hash>,
}

impl Release {
    /// The work came to an end with this answer.
    fn keep(mut self, answer: &Answer) {
        if let Some(slot) = self.slot.take() {
            self.answers.end(&slot, Some(answer));
        }
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.answers.end(&slot, None);
        }
    }
}

/// A request that creates something, as far as its repetition is concerned.
pub(crate) struct Creation<'a> {
    /// Who asks; another actor's keys are other keys.
    pub(crate) caller: &'a Caller,
    /// The key, when there is one.
    pub(crate) key: Option<&'a Key>,
    /// Method and path, such as `POST /specs`.
    pub(crate) route: String,
    /// The document.
    pub(crate) body: &'a [u8],
}

/// Does the work once for a key. The work goes on when the caller goes away, so that a repeated
/// request finds its answer.
///
/// # Errors
/// What the work says (then the key is free again); 422 and 409 as the key says.
pub(crate) async fn once<F>(
    answers: &Arc<Answers>,
    creation: Creation<'_>,
    work: F,
) -> Result<axum::response::Response, Problem>
where
    F: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    use axum::response::IntoResponse;
    let Some(key) = creation.key else { return Ok(work.await?.into_response()) };
    let principal = &creation.caller.principal;
    let tenant = principal.tenant.0.as_bytes();
    let slot = hash(&[tenant, principal.actor.as_bytes(), key.0.as_bytes()]);
    let request = hash(&[creation.route.as_bytes(), creation.body]);
    if let Found::Before(answer) = answers.begin(slot, request, Instant::now())? {
        let mut response = answer.into_response();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        return Ok(response);
    }
    let release = Release { answers: Arc::clone(answers), slot: Some(slot) };
    let task = tokio::spawn(async move {
        let answer = work.await?;
        release.keep(&answer);
        Ok::<_, Problem>(answer)
    });
    let answer = task.await.map_err(|error| {
        tracing::error!(%error, "the work of a request did not end");
        Problem::internal()
    })??;
    Ok(answer.into_response())
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
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
    fn a_key_runs_once_and_expires_after_a_day() {
        let answers = Answers::default();
        let now = Instant::now();
        assert!(matches!(answers.begin([1; 32], [9; 32], now), Ok(Found::New)));
        let busy = answers.begin([1; 32], [9; 32], now).err().unwrap();
        assert_eq!(busy.status, StatusCode::CONFLICT);
        let other = answers.begin([1; 32], [8; 32], now).err().unwrap();
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        answers.end(&[1; 32], None);
        assert!(matches!(answers.begin([1; 32], [9; 32], now), Ok(Found::New)));
        assert!(matches!(answers.begin([1; 32], [8; 32], now + LIFETIME), Ok(Found::New)));
    }

    #[test]
    fn the_number_of_answers_is_bounded() {
        let mut entries = HashMap::new();
        for i in 0..ANSWERS_MAX {
            let mut slot = [0; 32];
            slot[..8].copy_from_slice(&(i as u64).to_be_bytes());
            let entry = Entry { request: [0; 32], since: Instant::now(), state: State::TooLarge };
            entries.insert(slot, entry);
        }
        make_room(&mut entries, Instant::now());
        assert_eq!(entries.len(), ANSWERS_MAX - 1);
    }
}
