//! Sizes and times.

use crate::samples::{RUN, RUN_SLOW};
use crate::{Api, request, with_header};
use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use gateway::Config;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MIB: usize = 1024 * 1024;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn gzip(body: Vec<u8>) -> http::Request<Body> {
    let mut asked = request("POST", "mb_member", "/classify-failure", "{}");
    *asked.body_mut() = body.into();
    with_header(asked, "content-encoding", "gzip")
}

#[tokio::test]
async fn a_body_of_20_mb_is_413_also_over_a_socket() {
    let api = Api::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = api.router.clone();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = 20 * MIB;
    let head = format!(
        "POST /api/meta/v2/specs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mb_member\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b' '; MIB];
    for _ in 0..20 {
        socket.write_all(&piece).await.unwrap();
    }
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("body_too_large") && answer.contains("application/vnd.api+json"));
    server.abort();
}

#[tokio::test]
async fn logs_may_be_sent_compressed() {
    let api = Api::new();
    let body = json!({ "step_name": "lint", "logs": "E302\n".repeat(100_000) }).to_string();
    let got = api.send(gzip(packed(body.as_bytes()))).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert!(api.peer.last("Classify").len() > 100_000);
}

#[tokio::test]
async fn a_bomb_is_413_and_broken_gzip_400() {
    let api = Api::new();
    let bomb = packed(&vec![b' '; 64 * MIB]);
    assert!(bomb.len() < MIB);
    assert_eq!(api.send(gzip(bomb)).await.error().1, "body_too_large");
    assert_eq!(api.send(gzip(b"not gzip".to_vec())).await.error().1, "malformed_gzip");
    let asked = request("POST", "mb_member", "/classify-failure", "{}");
    let got = api.send(with_header(asked, "content-encoding", "br")).await;
    assert_eq!((got.error().0, got.error().1.as_str()), (415, "unsupported_encoding"));
}

#[tokio::test]
async fn only_json_is_read() {
    let api = Api::new();
    for (media, status) in [
        ("application/json; charset=utf-8", 201),
        ("application/vnd.api+json", 201),
        ("application/vnd.api+json; version=2", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
    ] {
        let mut asked = request("POST", "mb_member", "/specs", r#"{"title":"t","mode":"guided"}"#);
        asked.headers_mut().insert("content-type", media.parse().unwrap());
        let got = api.send(asked).await;
        assert_eq!(got.status, status, "{media}: {}", got.text);
    }
}

#[tokio::test]
async fn a_peer_that_hangs_is_504_in_time() {
    let api = Api::with(Config { request_timeout_ms: 200, ..Config::default() });
    let started = std::time::Instant::now();
    let got = api.get("mb_viewer", &format!("/runs/{RUN_SLOW}")).await;
    assert_eq!(got.error().0, 504, "{}", got.text);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!api.peer.metadata("grpc-timeout").is_empty());
    assert_eq!(api.get("mb_viewer", &format!("/runs/{RUN}")).await.status, 200);
}

#[tokio::test]
async fn beyond_its_room_a_gateway_refuses_at_once_and_still_says_that_it_lives() {
    let config = Config { requests_max: 1, request_timeout_ms: 1_000, ..Config::default() };
    let api = Api::with(config);
    let slow = format!("/runs/{RUN_SLOW}");
    let (slow, refused) = tokio::join!(api.get("mb_viewer", &slow), async {
        while api.peer.calls("GetRun") == 0 {
            tokio::task::yield_now().await;
        }
        let refused = api.get("mb_viewer", &format!("/runs/{RUN}")).await;
        for path in ["/healthz", "/openapi.json"] {
            let asked = http::Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(api.send(asked).await.status, 200, "{path}");
        }
        refused
    });
    assert_eq!((refused.error().0, refused.error().1.as_str()), (503, "overloaded"));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(slow.error().0, 504);
    assert_eq!(api.get("mb_viewer", &format!("/runs/{RUN}")).await.status, 200);
}

#[tokio::test]
async fn streams_have_room_of_their_own_which_their_end_gives_back() {
    let api = Api::with(Config { streams_max: 1, ..Config::default() });
    let live = || {
        let path = format!("/runs/{}/events", crate::samples::RUN_QUIET);
        with_header(request("GET", "mb_viewer", &path, ""), "accept", "text/event-stream")
    };
    let open = api.open(live()).await;
    assert_eq!(open.status(), 200);
    assert_eq!(api.send(live()).await.error().1, "overloaded");
    drop(open);
    assert_eq!(api.open(live()).await.status(), 200);
}
