//! A model behind the fixers: what it proposes waits for a human, passes the same guard and the same
//! verification as everything else, and its "no" is an end.

use anyhow::{Context, Result};
use meta_tests::processes::place::{Place, events, of_step, one};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A check that no fixer answers, with the message of a type checker.
const CHECK: &str = "[[step]]\nname = \"types\"\nrun = \"sh tools/check.sh\"\n";
const SCRIPT: &str = "if grep -q bad src/a.py; then\n\
    echo 'src/a.py:1: error: Incompatible types in assignment (expression has type \"str\", variable has type \"int\")  [assignment]'\n\
    echo 'Found 1 error in 1 file (checked 1 source file)'\nexit 1\nfi\n";
const SOURCE: &str = "size: int = 'bad'\n";

/// An endpoint that speaks chat completions and always gives the same answer.
struct Model {
    url: String,
    prompts: Arc<Mutex<Vec<Value>>>,
}

impl Model {
    fn start(answer: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let prompts: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&prompts);
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = answer_one(stream, answer).expect("a call of the auto-fixer");
                seen.lock().expect("no panic").push(asked);
            }
        });
        Ok(Self { url, prompts })
    }

    fn vars(&self) -> [(&str, &str); 5] {
        [
            ("METABUILDER_LLM_BASE_URL", &self.url),
            ("METABUILDER_LLM_MODEL", "a-model"),
            ("META_V3_BACKOFF_CAP_SECONDS", "0"),
            ("META_V3_MAX_PER_STEP_ATTEMPTS", "3"),
            ("NO_PROXY", "127.0.0.1"),
        ]
    }

    /// How often it was asked, and whether every prompt had these words.
    fn asked(&self, words: &str) -> (usize, bool) {
        let prompts = self.prompts.lock().expect("no panic");
        (prompts.len(), prompts.iter().all(|p| p["messages"].to_string().contains(words)))
    }
}

fn answer_one(stream: TcpStream, answer: &str) -> Result<Value> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let text = json!({
        "object": "chat.completion", "model": "a-model",
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": answer } }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(&stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len())?;
    Ok(serde_json::from_slice(&body)?)
}

fn place() -> Result<Place> {
    Place::new(&[("metabuilder.toml", CHECK), ("tools/check.sh", SCRIPT), ("src/a.py", SOURCE)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_patch_waits_at_a_gate_and_approving_it_goes_on_to_the_end() -> Result<()> {
    let model = Model::start(
        "A number has to be one.\n\nsrc/a.py\n<<<<<<< SEARCH\nsize: int = 'bad'\n=======\nsize: \
         int = 7\n>>>>>>> REPLACE\n",
    )?;
    let place = place()?;
    let (ended, told) = place.build(&[], &model.vars()).await?;
    assert_eq!(ended.code, Some(3), "{} {told:#?}", ended.err);
    assert_eq!(one(&told, "failure")?["type"], "typecheck");
    assert_eq!(one(&told, "approval_needed")?["step"], "types");
    let (calls, shown) = model.asked("Incompatible types in assignment");
    assert!(calls == 1 && shown, "asked {calls} times");
    let run = told.last().context("an end")?["run_id"].as_str().context("run")?.to_owned();
    let ended = place.run(&["approve", &run, "--output", "json"], &model.vars()).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let told = events(&ended)?;
    assert_eq!(of_step(&told, "types").last(), Some(&"step_succeeded"), "{told:#?}");
    assert_eq!(model.asked("").0, 1, "the approved patch is the one that was verified");
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_no_ends_the_run_with_its_reason() -> Result<()> {
    let model = Model::start("NO_FIX: the intended number is not known\n")?;
    let place = place()?;
    let (ended, told) = place.build(&[], &model.vars()).await?;
    assert_eq!(ended.code, Some(1), "{} {told:#?}", ended.err);
    let reason = one(&told, "step_failed")?["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("the intended number is not known"), "{reason}");
    assert_eq!(model.asked("").0, 1, "a no is final");
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_answer_is_refused_and_nothing_of_it_is_applied() -> Result<()> {
    for answer in [
        "src/a.py\n<<<<<<< SEARCH\nsize: int = 'bad'\n=======\nsize: int = 'ba' 'd'  # type: \
         ignore\n>>>>>>> REPLACE\n",
        "tools/check.sh\n<<<<<<< SEARCH\nif grep -q bad src/a.py; then\n=======\nif false; \
         then\n>>>>>>> REPLACE\n",
        "../outside.py\n<<<<<<< SEARCH\n=======\nx = 1\n>>>>>>> REPLACE\n",
    ] {
        let model = Model::start(answer)?;
        let place = place()?;
        let patch = place.path("out.patch");
        let (ended, told) = place.build(&["--patch", &patch], &model.vars()).await?;
        assert_eq!(ended.code, Some(1), "{answer}: {} {told:#?}", ended.err);
        assert!(model.asked("").0 > 0, "the model was asked");
        let applied =
            told.iter().any(|e| e["event"] == "patch_applied" || e["verdict"] == "accepted");
        assert!(!applied, "{answer}: {told:#?}");
        assert!(!std::path::Path::new(&place.path("outside.py")).exists());
        place.untouched()?;
    }
    Ok(())
}
