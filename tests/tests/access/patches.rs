//! Patches that would leave the workspace: judged by the guard over gRPC, as every patch is.

use crate::people::{Tenant, up};
use anyhow::{Context, Result, ensure};
use meta_domain::role::Role;
use meta_proto::autofixer as pb;
use meta_proto::autofixer::autofixer_service_client::AutofixerServiceClient;
use meta_proto::common;

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
        let request = pb::ReviewPatchRequest {
            patch: patch.into_bytes(),
            step: Some(step()),
            ..Default::default()
        };
        let judged = autofixer.review_patch(request).await;
        let verdict = match judged {
            Ok(answer) => answer.into_inner().verdict(),
            // what is no message at all is refused before it is judged
            Err(status) => {
                let codes = [tonic::Code::InvalidArgument, tonic::Code::ResourceExhausted];
                ensure!(codes.contains(&status.code()), "{what}: {status:?}");
                continue;
            }
        };
        ensure!(verdict == pb::GuardVerdict::Reject, "{what}: {verdict:?}");
    }
    let fine = pb::ReviewPatchRequest {
        patch: new_file("src/new.txt").into_bytes(),
        step: Some(step()),
        ..Default::default()
    };
    let judged = autofixer.review_patch(fine).await.context("a plain patch")?.into_inner();
    ensure!(judged.verdict() != pb::GuardVerdict::Reject, "{judged:?}");
    Ok(())
}

fn step() -> common::PlannedStep {
    common::PlannedStep { name: "s".into(), ..Default::default() }
}
