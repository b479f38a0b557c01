//! Drafts against a real HTTP server of the test's own, on loopback.

use super::*;
use crate::core::decide::case;
use crate::core::model::{Terms, fixer};
use crate::endpoint::Settings;
use meta_domain::autofix::SourceFile;
use meta_domain::failure::FailureType;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const GOOD: &str = "src/a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n";
const WRONG: &str = "src/a.py\n<<<<<<< SEARCH\nz = 1\n=======\nx = 2\n>>>>>>> REPLACE\n";

/// One answer of the server.
#[derive(Clone)]
enum Play {
    Say(&'static str),
    CutOff(&'static str),
    Status(u16, &'static str),
    Raw(Vec<u8>),
    Hang,
}

struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Value>>>,
    keys: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays its answers in turn, the last one for ever.
async fn server(plays: Vec<Play>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, keys) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (seen2, keys2) = (Arc::clone(&seen), Arc::clone(&keys));
    let task = tokio::spawn(async move {
        let mut turn = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let play = plays[turn.min(plays.len() - 1)].clone();
            turn += 1;
            let (head, body) = request(&mut stream).await;
            assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
            let key = head.lines().find(|l| l.to_lowercase().starts_with("authorization:"));
            keys2.lock().unwrap().push(key.unwrap_or_default().to_owned());
            seen2.lock().unwrap().push(body);
            let bytes = match play {
                Play::Say(text) => completion(text, "stop"),
                Play::CutOff(text) => completion(text, "length"),
                Play::Status(code, header) => format!(
                    "HTTP/1.1 {code} X\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n"
                )
                .into_bytes(),
                Play::Raw(bytes) => bytes,
                Play::Hang => {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    continue;
                }
            };
            let _ = stream.write_all(&bytes).await;
        }
    });
    Server { url, seen, keys, task }
}

fn completion(text: &str, finish: &str) -> Vec<u8> {
    let body = json!({"choices": [{"message": {"content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3}})
    .to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

async fn request(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.unwrap().trim().parse::<usize>().unwrap() {
                return (head.to_owned(), serde_json::from_str(body).unwrap());
            }
        }
    }
}

fn endpoint(url: &str, more: &[(&str, &str)]) -> Endpoint {
    let mut vars: BTreeMap<String, String> = BTreeMap::new();
    vars.insert("METABUILDER_LLM_BASE_URL".into(), url.into());
    vars.insert("METABUILDER_LLM_MODEL".into(), "a-model".into());
    vars.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    Endpoint::new(Settings::from_vars(&vars).unwrap().unwrap()).unwrap()
}

async fn drafted(endpoint: &Endpoint) -> Draft<Edited> {
    let mut case = case("ruff check src", FailureType::Lint);
    case.files = vec!["src/a.py".to_owned()];
    let terms = Terms { name: "m".to_owned(), approval_always: true };
    let fixer = fixer(&case, &terms).unwrap();
    let files = [SourceFile { path: "src/a.py".into(), contents: "x = 1\n".into() }];
    let log = "src/a.py:1: error\nAPI_TOKEN=abcdefgh12345678\n";
    let material =
        Material { case: &case, fixer: &fixer, log, files: &files, past: &[], tokens_max: 4000 };
    edits(endpoint, &material).await
}

#[tokio::test]
async fn a_good_answer_becomes_edits_and_its_tokens_are_counted() {
    let server = server(vec![Play::Say(GOOD)]).await;
    let draft =
        drafted(&endpoint(&server.url, &[("METABUILDER_LLM_API_KEY_ENV", "K"), ("K", "the-key")]))
            .await;
    let Drafted::Done(done) = draft.result else { panic!("{draft:?}") };
    assert_eq!(done.edits[0].contents.as_deref(), Some("x = 2\n"));
    assert_eq!((draft.tokens_in, draft.tokens_out), (10, 3));
    let seen = server.seen.lock().unwrap();
    assert_eq!(
        (seen[0]["model"].as_str(), seen[0]["temperature"].as_i64()),
        (Some("a-model"), Some(0))
    );
    assert!(!seen[0].to_string().contains("abcdefgh12345678"), "a secret reached the endpoint");
    assert_eq!(server.keys.lock().unwrap()[0].to_lowercase(), "authorization: bearer the-key");
}

#[tokio::test]
async fn an_unusable_answer_is_sent_back_with_what_is_wrong() {
    let server = server(vec![Play::Say(WRONG), Play::CutOff(GOOD), Play::Say(GOOD)]).await;
    let draft = drafted(&endpoint(&server.url, &[])).await;
    assert!(matches!(draft.result, Drafted::Done(_)), "{draft:?}");
    assert_eq!(draft.tokens_in, 30);
    let seen = server.seen.lock().unwrap();
    let last = |n: usize| seen[n]["messages"].as_array().unwrap().last().unwrap().to_string();
    assert!(last(1).contains("does not stand in the file"), "{}", last(1));
    assert!(last(2).contains("cut off"), "{}", last(2));
}

#[tokio::test]
async fn three_unusable_answers_are_the_end() {
    for play in [Play::Say("Sure! Change x."), Play::Say(""), Play::Say(WRONG)] {
        let server = server(vec![play]).await;
        let draft = drafted(&endpoint(&server.url, &[])).await;
        assert!(
            matches!(&draft.result, Drafted::Failed(r) if r.contains("cannot be used")),
            "{draft:?}"
        );
        assert_eq!(server.seen.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn an_honest_no_is_an_answer() {
    let server = server(vec![Play::Say("NO_FIX: the code is not shown")]).await;
    let draft = drafted(&endpoint(&server.url, &[])).await;
    assert!(
        matches!(&draft.result, Drafted::NoFix(r) if r == "the code is not shown"),
        "{draft:?}"
    );
}

#[tokio::test]
async fn a_busy_endpoint_is_waited_out_a_little_and_then_later() {
    let soon = "retry-after: 0\r\n";
    let passing =
        server(vec![Play::Status(429, soon), Play::Status(503, soon), Play::Say(GOOD)]).await;
    assert!(matches!(drafted(&endpoint(&passing.url, &[])).await.result, Drafted::Done(_)));
    let busy = server(vec![Play::Status(429, "retry-after: 40\r\n")]).await;
    let draft = drafted(&endpoint(&busy.url, &[])).await;
    assert!(matches!(draft.result, Drafted::TryLater { retry_after_ms: 40_000, .. }), "{draft:?}");
    assert_eq!(busy.seen.lock().unwrap().len(), 1);
    let always = server(vec![Play::Status(500, soon)]).await;
    let draft = drafted(&endpoint(&always.url, &[])).await;
    assert!(matches!(draft.result, Drafted::TryLater { .. }), "{draft:?}");
    assert_eq!(always.seen.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn refusals_and_nonsense_fail_without_the_key() {
    let huge = completion(&"x".repeat(2_000_000), "stop");
    let garbage =
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\0\0\0\0".to_vec();
    for (play, why) in [
        (Play::Status(401, ""), "401"),
        (Play::Status(302, "location: http://127.0.0.1:1/\r\n"), "302"),
        (Play::Raw(huge), "more than"),
        (Play::Raw(garbage), "no chat completion"),
    ] {
        let server = server(vec![play]).await;
        let more = [("METABUILDER_LLM_API_KEY_ENV", "K"), ("K", "the-key")];
        let draft = drafted(&endpoint(&server.url, &more)).await;
        let Drafted::Failed(reason) = &draft.result else { panic!("{draft:?}") };
        assert!(reason.contains(why) && !reason.contains("the-key"), "{reason}");
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_or_is_away_means_later() {
    let server = server(vec![Play::Hang]).await;
    let draft = drafted(&endpoint(&server.url, &[("METABUILDER_LLM_TIMEOUT_SECONDS", "1")])).await;
    assert!(matches!(&draft.result, Drafted::TryLater { .. }), "{draft:?}");
}
