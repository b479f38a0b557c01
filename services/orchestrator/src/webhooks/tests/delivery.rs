//! Deliveries to a real receiver, and to addresses that may not be called.

use super::*;
use crate::core::webhook::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::core::webhook::{Happened, SigningKey, verify};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures::FutureExt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long any wait may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Somebody who is told, and what was said.
#[derive(Clone, Default)]
struct Receiver {
    /// What it answers, in this order, then 204.
    answers: Arc<Mutex<Vec<u16>>>,
    got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

async fn hear(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    receiver.got.lock().unwrap().push((headers, body));
    let mut answers = receiver.answers.lock().unwrap();
    let code = if answers.is_empty() { 204 } else { answers.remove(0) };
    let mut headers = HeaderMap::new();
    headers.insert("location", "/elsewhere".parse().unwrap());
    (StatusCode::from_u16(code).unwrap(), headers)
}

impl Receiver {
    async fn start(answers: &[u16]) -> (Self, SocketAddr) {
        let receiver = Self { answers: Arc::new(Mutex::new(answers.to_vec())), ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(hear).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, address)
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

/// A sender at work on a store.
struct Rig {
    store: WebhookStore,
    key: SigningKey,
    stop: CancellationToken,
    ended: JoinHandle<()>,
    _fresh: Fresh,
}

impl Rig {
    async fn start(policy: Policy, lookup: Lookup) -> Self {
        let fresh = Fresh::sqlite();
        let store = open(&fresh).await;
        let key = SigningKey::parse(&"k".repeat(32)).unwrap();
        let events: Events = Arc::new(|tenant, run, seq| {
            let happened = Happened {
                tenant,
                run,
                seq,
                event_type: "run.created".to_owned(),
                step: String::new(),
                at: NOW,
                body: "{\"type\":\"run.created\"}".to_owned(),
            };
            // one that was archived meanwhile
            let found = (seq < 100).then_some(happened);
            async move { Ok(found) }.boxed()
        });
        let http = Http::new(policy, lookup).unwrap();
        let sender = Sender { store: store.clone(), events, http, key: key.clone() };
        let stop = CancellationToken::new();
        let ended = tokio::spawn(sender.run(stop.clone()));
        Self { store, key, stop, ended, _fresh: fresh }
    }

    /// A webhook that is told of events with these numbers.
    async fn told(&self, url: &str, seqs: &[u64]) {
        self.store.create(TENANT, &row(10, url, &[])).await.unwrap();
        let rows: Vec<OutboxRow> = seqs.iter().map(|seq| told(webhook(10), *seq)).collect();
        put(&self.store, &rows).await;
    }

    /// Waits until the webhook is as wanted.
    async fn until(&self, wanted: impl Fn(&WebhookRow) -> bool) -> WebhookRow {
        let waiting = async {
            loop {
                let row = self.store.list(TENANT).await.unwrap().remove(0);
                if wanted(&row) {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("it comes that far in time")
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.ended).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_message_is_a_signed_cloud_event_and_comes_once() {
    let (receiver, address) = Receiver::start(&[]).await;
    let rig = Rig::start(loopback(), system_lookup()).await;
    rig.told(&format!("http://localhost:{}/hook?a=b", address.port()), &[7, 100]).await;
    rig.until(|row| row.waiting == 0).await;
    let secret = rig.key.secret_of(webhook(10));
    rig.end().await;
    let got = receiver.got.lock().unwrap();
    assert_eq!(got.len(), 1, "of an event that is not there nobody is told");
    let (headers, body) = &got[0];
    let header = |name: &str| headers[name].to_str().unwrap();
    assert!(header("content-type").starts_with("application/cloudevents+json"));
    let event: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (&event["id"], &event["type"]),
        (&format!("{RUN}:7").into(), &"metabuilder.run.created".into())
    );
    assert_eq!(header(ID_HEADER), format!("{RUN}:7"));
    let at: i64 = header(TIMESTAMP_HEADER).parse().unwrap();
    let message = (header(ID_HEADER), at, header(SIGNATURE_HEADER));
    assert!(verify(&secret, message, body, meta_runtime::now()));
}

#[tokio::test]
async fn a_failure_and_a_redirect_wait_for_the_next_try() {
    for code in [500, 302, 307] {
        let (receiver, address) = Receiver::start(&[code]).await;
        let rig = Rig::start(loopback(), system_lookup()).await;
        rig.told(&format!("http://{address}/hook"), &[1]).await;
        let row = rig.until(|row| !row.last_error.is_empty()).await;
        assert_eq!((row.waiting, row.dead), (1, 0));
        assert_eq!(row.last_error, format!("the receiver answered {code}"));
        assert_eq!(receiver.count(), 1, "a redirect is not followed");
        rig.end().await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_disabled() {
    let (_receiver, address) = Receiver::start(&[410]).await;
    let rig = Rig::start(loopback(), system_lookup()).await;
    rig.told(&format!("http://{address}/hook"), &[1]).await;
    let row = rig.until(|row| !row.disabled_reason.is_empty()).await;
    assert!(row.disabled_reason.contains("410"), "{row:?}");
    rig.until(|row| row.dead == 1).await;
    rig.end().await;
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_called() {
    let (receiver, address) = Receiver::start(&[]).await;
    let policy = Policy { networks: Vec::new(), ..loopback() };
    let rig = Rig::start(policy, system_lookup()).await;
    rig.told(&format!("http://localhost:{}/hook", address.port()), &[1]).await;
    let row = rig.until(|row| !row.last_error.is_empty()).await;
    assert!(row.last_error.contains("not public"), "{row:?}");
    assert_eq!(receiver.count(), 0);
    rig.end().await;
}

#[tokio::test]
async fn a_name_that_answers_otherwise_when_it_is_called_is_not_called() {
    let (receiver, address) = Receiver::start(&[]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        let public: IpAddr = [93, 184, 216, 34].into();
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let ip = if first { public } else { [127, 0, 0, 1].into() };
        async move { Ok(vec![ip]) }.boxed()
    });
    let policy = Policy { networks: Vec::new(), ..loopback() };
    let url = format!("http://rebind.example:{}/hook", address.port());
    let http = Http::new(policy.clone(), Arc::clone(&lookup)).unwrap();
    http.check(&url).await.expect("it is public when it is saved");
    let rig = Rig::start(policy, lookup).await;
    rig.told(&url, &[1]).await;
    let row = rig.until(|row| !row.last_error.is_empty()).await;
    assert!(row.last_error.contains("not public"), "{row:?}");
    assert_eq!(receiver.count(), 0);
    rig.end().await;
}
