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

/// A step that lacks what a later one makes: no rule has the words for it, and no code is wrong.
const UNREADY: &str = "[[step]]\nname = \"use\"\n\
    run = \"test -e .ready || { echo 'zorp: the state is 42'; exit 7; }\"\n\
    [[step]]\nname = \"after\"\nneeds = [\"use\"]\nrun = \"touch .ready\"\n";
/// How a prompt for a change of the plan begins.
const OF_PLANS: &str = "You repair the plan of a build";

/// An endpoint that speaks chat completions and answers a prompt for code and one for a plan always
/// the same.
struct Model {
    url: String,
    prompts: Arc<Mutex<Vec<Value>>>,
}

impl Model {
    /// One that is asked for code.
    fn start(answer: &'static str) -> Result<Self> {
        Self::answering(answer, "NO_FIX: the plan is as it should be")
    }

    fn answering(code: &'static str, plan: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let prompts: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&prompts);
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = answer_one(stream, (code, plan)).expect("a call of the auto-fixer");
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

    /// How often it was asked for a change of the plan.
    fn asked_for_a_plan(&self) -> usize {
        let prompts = self.prompts.lock().expect("no panic");
        let of_plan = |p: &&Value| {
            p["messages"][0]["content"].as_str().is_some_and(|text| text.starts_with(OF_PLANS))
        };
        prompts.iter().filter(of_plan).count()
    }

    /// How often it was asked, and whether every prompt had these words.
    fn asked(&self, words: &str) -> (usize, bool) {
        let prompts = self.prompts.lock().expect("no panic");
        (prompts.len(), prompts.iter().all(|p| p["messages"].to_string().contains(words)))
    }
}

fn answer_one(stream: TcpStream, (code, plan): (&str, &str)) -> Result<Value> {
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
    let asked: Value = serde_json::from_slice(&body)?;
    let prompt = asked["messages"][0]["content"].as_str().context("a prompt")?;
    let answer = if prompt.starts_with(OF_PLANS) { plan } else { code };
    let text = json!({
        "object": "chat.completion", "model": "a-model",
        "choices": [{ "index": 0, "finish_reason": "stop",
                      "message": { "role": "assistant", "content": answer } }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    })
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(&stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len())?;
    Ok(asked)
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

#[tokio::test(flavor = "multi_thread")]
async fn a_models_change_of_the_plan_waits_for_a_human_and_is_carried_out() -> Result<()> {
    let model = Model::answering(
        "NO_FIX: no code is wrong",
        "OP insert_before step=use name=ready run=touch .ready\nWHY: what use needs is made too late\n",
    )?;
    let place = Place::new(&[("metabuilder.toml", UNREADY)])?;
    let vars = [&model.vars()[..], &[("META_V3_MAX_PER_STEP_ATTEMPTS", "5")]].concat();
    let (ended, told) = place.build(&[], &vars).await?;
    assert_eq!(ended.code, Some(3), "{} {told:#?}", ended.err);
    assert_eq!(model.asked_for_a_plan(), 1, "{told:#?}");
    let changed = one(&told, "replanned")?;
    assert!(changed.to_string().contains("what use needs is made too late"), "{changed}");
    assert_eq!(one(&told, "approval_needed")?["step"], "ready", "nobody runs it unasked");
    let run = told.last().context("an end")?["run_id"].as_str().context("run")?.to_owned();

    // The inserted step asks, and so does the step before which it was put.
    let ended = place.run(&["approve", &run, "--output", "json"], &vars).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let told = events(&ended)?;
    assert_eq!(of_step(&told, "ready").last(), Some(&"step_succeeded"), "{told:#?}");
    assert_eq!(one(&told, "approval_needed")?["step"], "use");
    let ended = place.run(&["approve", &run, "--output", "json"], &vars).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let told = events(&ended)?;
    assert_eq!(of_step(&told, "after").last(), Some(&"step_succeeded"), "{told:#?}");
    assert_eq!(model.asked_for_a_plan(), 1, "one change of the plan is asked for in a run");
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_change_of_the_plan_that_runs_what_nobody_knows_is_refused() -> Result<()> {
    let model = Model::answering(
        "NO_FIX: no code is wrong",
        "OP insert_before step=use name=ready run=touch .ready && echo owned > .owned\nWHY: so\n",
    )?;
    let place = Place::new(&[("metabuilder.toml", UNREADY)])?;
    let vars = [&model.vars()[..], &[("META_V3_MAX_PER_STEP_ATTEMPTS", "5")]].concat();
    let (ended, told) = place.build(&[], &vars).await?;
    assert_eq!(ended.code, Some(3), "{} {told:#?}", ended.err);
    assert!(model.asked_for_a_plan() > 1, "the answer went back with what is wrong");
    assert!(told.iter().all(|e| e["event"] != "replanned"), "{told:#?}");
    assert_eq!(one(&told, "approval_needed")?["step"], "use", "the failure is a human's to decide");
    assert!(of_step(&told, "ready").is_empty(), "{told:#?}");
    place.untouched()
}
