//! The auto-fixer through its real wiring and the generated client.

#![expect(clippy::unwrap_used, reason = "these are tests, the helpers between them too")]

use autofixer::{Autofixer, Config};
use meta_domain::role::{Principal, Role};
use meta_proto::autofixer as pb;
use meta_proto::autofixer::autofixer_service_client::AutofixerServiceClient;
use meta_proto::common;
use meta_runtime::{Host, Service, StartError, Transport, call, new_id};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request};

const TOKEN: &str = "token";
const PATIENCE: Duration = Duration::from_secs(30);
const PATCH: &str = "diff --git a/src/a.py b/src/a.py\nindex 1111111..2222222 100644\n--- a/src/a.py\n+++ b/src/a.py\n@@ -1,2 +1 @@\n-import os\n x = 1\n";

struct Caller {
    client: AutofixerServiceClient<Transport>,
    principal: Principal,
}

impl Caller {
    async fn of(data: &Path, vars: &[(&str, &str)]) -> Self {
        let vars: BTreeMap<String, String> =
            vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = Config { data_dir: data.to_owned(), ..Config::default() };
        let wiring = Autofixer::wire(config, &Host::new(vars)).await.unwrap();
        let principal =
            Principal { tenant: new_id().into(), role: Role::Admin, actor: "ann".to_owned() };
        Self { client: AutofixerServiceClient::new(wiring.in_process(TOKEN)), principal }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        call(&self.principal, PATIENCE, message)
    }

    async fn record(&mut self, key: &str, fixer: &str, outcome: pb::FixOutcome) -> bool {
        let request = pb::RecordOutcomeRequest {
            key: key.to_owned(),
            signal: case().signal,
            fixer: fixer.to_owned(),
            outcome: outcome.into(),
            patch: PATCH.into(),
            duration_ms: 5,
            tokens: 0,
        };
        self.client.record_outcome(self.ask(request)).await.unwrap().into_inner().recorded
    }

    async fn fixers(&mut self) -> Vec<common::FixerCommand> {
        let request = self.ask(pb::DecideRequest { case: Some(case()) });
        let decision = self.client.decide(request).await.unwrap().into_inner().decision.unwrap();
        match decision.strategy.unwrap() {
            common::decision::Strategy::FixSpecificIssue(fix) => fix.fixers,
            other => panic!("{other:?}"),
        }
    }
}

fn case() -> common::Case {
    common::Case {
        step: Some(common::PlannedStep {
            name: "lint".to_owned(),
            run: Some(common::Command {
                kind: Some(common::command::Kind::Shell("ruff check src".to_owned())),
            }),
            timeout_ms: 60_000,
            ..Default::default()
        }),
        exit: Some(common::ExitInfo { code: Some(1), ..Default::default() }),
        signal: Some(common::FailureSignal {
            r#type: common::FailureType::Lint.into(),
            severity: common::Severity::Low.into(),
            confidence: 0.9,
            message: "F401".to_owned(),
            fingerprint: "f".to_owned(),
            tool: "ruff".to_owned(),
            locations: vec![common::Location {
                file: "src/a.py".to_owned(),
                line: 1,
                ..Default::default()
            }],
            ..Default::default()
        }),
        settings: Some(common::Settings {
            autofix_enabled: true,
            max_total_attempts: 6,
            max_per_step_attempts: 3,
            backoff_cap_seconds: 60,
        }),
        files: vec!["src/a.py".to_owned()],
        ..Default::default()
    }
}

#[tokio::test]
async fn what_helped_goes_first_and_comes_back_for_its_tenant_alone() {
    let data = tempfile::tempdir().unwrap();
    let mut ann = Caller::of(data.path(), &[]).await;
    let shipped: Vec<String> = ann.fixers().await.into_iter().map(|f| f.id).collect();
    assert_eq!(shipped, ["ruff_check", "ruff_unsafe"]);
    for n in 0..5 {
        assert!(ann.record(&n.to_string(), "ruff_unsafe", pb::FixOutcome::Accepted).await);
    }
    assert!(!ann.record("0", "ruff_unsafe", pb::FixOutcome::Accepted).await, "it was said before");
    let learned = ann.fixers().await;
    assert!(learned[0].id.starts_with("replay_"), "{learned:?}");
    assert_eq!((learned[1].id.as_str(), learned[2].id.as_str()), ("ruff_unsafe", "ruff_check"));
    ann.record("back", "ruff_unsafe", pb::FixOutcome::Reverted).await;
    assert_eq!(ann.fixers().await.len(), 2, "a reverted patch is forgotten");
    ann.principal.tenant = new_id().into();
    let other: Vec<String> = ann.fixers().await.into_iter().map(|f| f.id).collect();
    assert_eq!(other, shipped);
    let mut again = Caller::of(data.path(), &[]).await;
    again.principal.tenant = ann.principal.tenant;
    assert_eq!(again.fixers().await.len(), 2);
}

#[tokio::test]
async fn a_review_gives_every_reason_and_knows_the_past() {
    let data = tempfile::tempdir().unwrap();
    let mut ann = Caller::of(data.path(), &[]).await;
    let fixer = ann.fixers().await.remove(0);
    let bad = PATCH
        .replace("@@ -1,2 +1 @@", "@@ -1,2 +1,2 @@")
        .replace("-import os", "-import os\n+import os  # noqa \u{202e}");
    let review = |patch: &str, past: Option<common::Case>| pb::ReviewPatchRequest {
        patch: patch.into(),
        fixer: Some(fixer.clone()),
        step: case().step,
        signal: case().signal,
        case: past,
        before: Vec::new(),
    };
    let request = ann.ask(review(&bad, None));
    let answer = ann.client.review_patch(request).await.unwrap().into_inner();
    assert_eq!(
        (answer.verdict(), answer.reasons.len(), answer.risk),
        (pb::GuardVerdict::Reject, 2, 100)
    );
    let request = ann.ask(review(PATCH, None));
    let answer = ann.client.review_patch(request).await.unwrap().into_inner();
    assert_eq!(answer.verdict(), pb::GuardVerdict::Accept);
    let mut past = case();
    past.tried = vec![common::FixTry {
        fixer: "x".to_owned(),
        verdict: common::TryVerdict::VerifyFail.into(),
        patch_sha256: answer.sha256,
        ..Default::default()
    }];
    let request = ann.ask(review(PATCH, Some(past)));
    let answer = ann.client.review_patch(request).await.unwrap().into_inner();
    assert!(answer.reason.contains("already tried"), "{answer:?}");
    let mut bots = case();
    bots.bot_commits_in_a_row = 3;
    let request = ann.ask(review(PATCH, Some(bots)));
    let answer = ann.client.review_patch(request).await.unwrap().into_inner();
    assert_eq!(answer.verdict(), pb::GuardVerdict::NeedsApproval);
}

#[tokio::test]
async fn every_fixer_is_explained() {
    let data = tempfile::tempdir().unwrap();
    let mut ann = Caller::of(data.path(), &[]).await;
    let request = ann.ask(pb::ExplainRequest { case: Some(case()) });
    let answer = ann.client.explain(request).await.unwrap().into_inner();
    assert_eq!(answer.fixers[0].id, "ruff_check");
    assert!(answer.fixers.len() > 50 && answer.fixers.iter().all(|f| !f.why.is_empty()));
    assert!(answer.decision.is_some());
}

#[tokio::test]
async fn without_an_endpoint_there_is_no_model() {
    let data = tempfile::tempdir().unwrap();
    let mut ann = Caller::of(data.path(), &[]).await;
    let request = ann.ask(pb::DraftEditRequest::default());
    let status = ann.client.draft_edit(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let host =
        Host::new(BTreeMap::from([("METABUILDER_LLM_BASE_URL".to_owned(), "nonsense".to_owned())]));
    let config = Config { data_dir: data.path().to_owned(), ..Config::default() };
    let Err(StartError::Config(faults)) = Autofixer::wire(config, &host).await else {
        panic!("expected faults")
    };
    assert_eq!(faults.len(), 2, "{faults:?}");
}

/// A server that gives one answer to every call.
async fn server(answer: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut seen, mut chunk) = (Vec::new(), [0; 8192]);
            loop {
                let n = stream.read(&mut chunk).await.unwrap();
                seen.extend_from_slice(&chunk[..n]);
                if n == 0 || seen.ends_with(b"}") {
                    break;
                }
            }
            let body =
                serde_json::json!({"choices": [{"message": {"content": answer}}]}).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn a_model_is_offered_last_and_drafts_edits() {
    let url = server("src/a.py\n<<<<<<< SEARCH\nimport os\n=======\n>>>>>>> REPLACE\n").await;
    let data = tempfile::tempdir().unwrap();
    let vars = [("METABUILDER_LLM_BASE_URL", url.as_str()), ("METABUILDER_LLM_MODEL", "m")];
    let mut ann = Caller::of(data.path(), &vars).await;
    let fixer = ann.fixers().await.pop().unwrap();
    assert_eq!((fixer.id.as_str(), fixer.kind()), ("model", common::FixerKind::Model));
    assert_eq!(fixer.safety(), common::FixerSafety::ApprovalAlways);
    let wanted = fixer.context.as_ref().unwrap().files[0].path.clone();
    let contents = "import os\nx = 1\n".to_owned();
    let request = ann.ask(pb::DraftEditRequest {
        case: Some(case()),
        fixer: Some(fixer),
        log: "src/a.py:1: F401".to_owned(),
        files: vec![common::SourceFile { path: wanted, contents }],
        drafts: Vec::new(),
    });
    let answer = ann.client.draft_edit(request).await.unwrap().into_inner();
    let Some(pb::draft_edit_response::Answer::Edits(edits)) = answer.answer else {
        panic!("{answer:?}")
    };
    assert_eq!(edits.edits[0].contents.as_deref(), Some("x = 1\n"));
    assert_eq!(answer.model, "m");
}

#[tokio::test]
async fn fixers_of_the_data_folder_are_in_force() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("fixers.d");
    std::fs::create_dir(&folder).unwrap();
    let own = "[[fixer]]\nid = 'ours'\ntitle = 'ours'\norder = 1\nfailure_types = ['lint']\n\
        invokes = ['ruff check']\nscript = 'true'\nsafety = 'safe'\n\
        [[fixer.example]]\ncommand = 'ruff check'\ntype = 'lint'\nclaims = true\n\
        [[fixer.example]]\ncommand = 'mypy'\ntype = 'lint'\nclaims = false\n";
    std::fs::write(folder.join("ours.toml"), own).unwrap();
    let mut ann = Caller::of(data.path(), &[]).await;
    // The signal names the tool `ruff`, which this one does not belong to: it comes a little later.
    assert!(ann.fixers().await.iter().any(|f| f.id == "ours"));
}
