//! Patches that would leave the workspace: judged by the guard over gRPC, as every patch is.

use crate::people::{Tenant, up};
use anyhow::{Context, Result, bail, ensure};
use meta_domain::role::Role;
use meta_proto::autofixer as pb;
use meta_proto::autofixer::autofixer_service_client::AutofixerServiceClient;
use meta_proto::common;
use tonic::Code;

/// A new file of one line.
fn new_file(path: &str) -> String {
    with_mode(path, "100644", "x")
}

fn with_mode(path: &str, mode: &str, line: &str) -> String {
    format!(
        "diff --git a/{path} b/{path}\nnew file mode {mode}\nindex 0000000..1111111\n\
         --- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{line}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn h17_a_patch_that_leaves_the_workspace_or_is_too_large_is_refused() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let key = tenant.role(Role::Member).key();
    let channel = meta_runtime::transport::remote(&up.grpc, key).map_err(anyhow::Error::msg)?;
    let mut autofixer = AutofixerServiceClient::new(channel);
    let decided = autofixer.decide(pb::DecideRequest { case: Some(case()) }).await?.into_inner();
    let strategy = decided.decision.and_then(|d| d.strategy).context("a strategy")?;
    let common::decision::Strategy::FixSpecificIssue(mut fix) = strategy else {
        bail!("no fixer: {strategy:?}");
    };
    let fixer = fix.fixers.swap_remove(0);
    let link = with_mode("src/link", "120000", "/etc");
    let renamed = "diff --git a/src/a b/../b\nsimilarity index 100%\nrename from src/a\n\
                   rename to ../b\n";
    let large = format!(
        "diff --git a/src/a b/src/a\nnew file mode 100644\n--- /dev/null\n+++ b/src/a\n\
         @@ -0,0 +1,1 @@\n+{}\n",
        "x".repeat(10 * 1024 * 1024)
    );
    for (what, patch) in [
        ("upwards", new_file("../../x")),
        ("upwards below", new_file("src/../../x")),
        ("absolute", new_file("/etc/x")),
        ("a hook", new_file("a/.git/hooks/pre-commit")),
        ("a link", link.clone()),
        ("through a link", format!("{link}{}", new_file("src/link/passwd"))),
        ("a submodule", with_mode("src/sub", "160000", "Subproject commit 1111111")),
        ("a rename", renamed.to_owned()),
        ("10 MB", large),
        ("a carriage return", new_file("src/a\r\n../../b")),
        ("a NUL", new_file("src/a\0b")),
        ("backslashes", new_file("src\\..\\..\\b")),
        ("nothing", "no patch at all\n".to_owned()),
    ] {
        let request = review(&fixer, &patch);
        let judged = autofixer.review_patch(request).await;
        let verdict = match judged {
            Ok(answer) => answer.into_inner().verdict(),
            // what is too large for a message is not even judged
            Err(status) => {
                ensure!(what == "10 MB", "{what}: {status:?}");
                let codes = [Code::InvalidArgument, Code::ResourceExhausted, Code::OutOfRange];
                ensure!(codes.contains(&status.code()), "{what}: {status:?}");
                continue;
            }
        };
        ensure!(verdict == pb::GuardVerdict::Reject, "{what}: {verdict:?}");
    }
    let fine = "diff --git a/src/a.py b/src/a.py\nindex 1111111..2222222 100644\n\
                --- a/src/a.py\n+++ b/src/a.py\n@@ -1,2 +1 @@\n-import os\n x = 1\n";
    let judged = autofixer.review_patch(review(&fixer, fine)).await?.into_inner();
    ensure!(judged.verdict() == pb::GuardVerdict::Accept, "{judged:?}");
    Ok(())
}

fn review(fixer: &common::FixerCommand, patch: &str) -> pb::ReviewPatchRequest {
    let common::Case { step, signal, .. } = case();
    let (patch, fixer) = (patch.into(), Some(fixer.clone()));
    pb::ReviewPatchRequest { patch, fixer, step, signal, ..Default::default() }
}

/// A failure for which there is a fixer.
fn case() -> common::Case {
    let run = common::command::Kind::Shell("ruff check src".to_owned());
    common::Case {
        step: Some(common::PlannedStep {
            name: "lint".to_owned(),
            run: Some(common::Command { kind: Some(run) }),
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
