//! Proposing, verifying, committing and taking back a patch.

mod support;

use meta_domain::autofix::{FixerCommand, FixerFile, FixerSafety, PathGrant};
use meta_domain::plan::PlannedStep;
use meta_proto::common::TryVerdict;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::task::Work;
use meta_proto::runner::*;
use std::process::Command;
use support::{KEY, Rig, exit, shell};

fn fixer(script: &str) -> FixerCommand {
    FixerCommand {
        id: "test".to_owned(),
        title: "a test's fixer".to_owned(),
        script: script.to_owned(),
        files: vec![FixerFile { name: "word".to_owned(), contents: "good".to_owned() }],
        network: false,
        timeout_ms: 20_000,
        safety: FixerSafety::Safe,
        grant: PathGrant::default(),
    }
}

fn signal() -> meta_proto::common::FailureSignal {
    meta_proto::common::FailureSignal {
        r#type: 5,
        severity: 1,
        confidence: 0.9,
        message: "it is bad".to_owned(),
        ..Default::default()
    }
}

async fn propose(rig: &Rig, step: &PlannedStep, script: &str) -> ProposeResult {
    let id = rig.submit(Work::Propose(ProposeWork {
        step: Some(step.clone().into()),
        fixer: Some(fixer(script).into()),
        signal: Some(signal()),
        log: b"a.txt: bad\n".to_vec(),
        cache_key: KEY.to_owned(),
        mount: String::new(),
    }));
    match rig.result(&id).await {
        Outcome::Propose(result) => result,
        other => panic!("{other:?}"),
    }
}

async fn verify(rig: &Rig, step: &PlannedStep, patch: &[u8]) -> (VerifyResult, String) {
    let id = rig.submit(Work::Verify(VerifyWork {
        step: Some(step.clone().into()),
        patch: patch.to_vec(),
        cache_key: KEY.to_owned(),
        mount: String::new(),
        attempt: 2,
    }));
    match rig.result(&id).await {
        Outcome::Verify(result) => (result, rig.log(&id)),
        other => panic!("{other:?}"),
    }
}

async fn commit(rig: &Rig, patch: &[u8], message: &str) -> CommitResult {
    let (patch, message) = (patch.to_vec(), message.to_owned());
    let id = rig.submit(Work::Commit(CommitWork { patch, message }));
    match rig.result(&id).await {
        Outcome::Commit(result) => result,
        other => panic!("{other:?}"),
    }
}

async fn roll_back(rig: &Rig, commit: &str) -> RollbackResult {
    let id = rig.submit(Work::Rollback(RollbackWork { commit: commit.to_owned() }));
    match rig.result(&id).await {
        Outcome::Rollback(result) => result,
        other => panic!("{other:?}"),
    }
}

const FILES: &[(&str, &str)] =
    &[("a.txt", "bad\n"), ("old.txt", "x\n"), ("sub/b.txt", "b\n"), (".gitignore", "out/\n")];

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_makes_the_round_trip() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(FILES).await;
    let step =
        shell("grep -q good a.txt && git diff --exit-code && test -z \"$(git status --short)\"");
    assert_eq!(exit(&rig.step(&step).await.0).code, Some(1));

    let script = "grep -q 'a.txt: bad' \"$LOG\" && grep -q lint \"$FAILURE_JSON\" || exit 9; \
                  cd \"$WORKTREE\"; cat \"$STATE_DIR/word\" > a.txt; rm old.txt; \
                  printf 'a\\0b' > new.bin; mkdir out; touch out/x; mkdir __pycache__; \
                  touch __pycache__/x.pyc";
    let proposed = propose(&rig, &step, script).await;
    assert_eq!(proposed.verdict, 0, "{}", proposed.detail);
    let text = String::from_utf8_lossy(&proposed.patch).into_owned();
    for file in ["a.txt", "old.txt", "new.bin"] {
        assert!(text.contains(&format!("diff --git a/{file} b/{file}\n")), "{text}");
    }
    assert!(!text.contains("out/") && !text.contains("pycache"), "{text}");
    // Nothing of that reached the run's workspace.
    assert_eq!(rig.sh("cat a.txt; ls").await.1, "bad\na.txt\nold.txt\nsub\n");

    let (verified, log) = verify(&rig, &step, &proposed.patch).await;
    assert!(verified.passed, "{} {log}", verified.detail);
    assert!(log.starts_with("[verify] check again"), "{log}");

    let message = "Fix it\n\nRun: x\nFixer: test";
    let committed = commit(&rig, &proposed.patch, message).await;
    assert_eq!(committed.files, [".gitignore", "a.txt", "new.bin", "sub/b.txt"]);
    assert_eq!(committed.combined_patch, proposed.patch);
    let again = commit(&rig, &proposed.patch, message).await;
    assert_eq!(again.commit, committed.commit);
    let (result, log) = rig.step(&step).await;
    assert_eq!((exit(&result).code, result.commit), (Some(0), committed.commit.clone()), "{log}");
    let log = rig.sh("git log -1 --format='%an <%ae> %s%n%(trailers:key=Fixer,valueonly)'").await.1;
    assert_eq!(log.trim(), "Metabuilder <metabuilder@localhost> Fix it\ntest");

    let back = roll_back(&rig, "").await;
    assert!(!back.commit.is_empty() && back.combined_patch.is_empty());
    assert_eq!(
        rig.sh("cat a.txt old.txt; ls; git log --oneline | wc -l").await.1,
        "bad\nx\na.txt\nold.txt\nsub\n3\n"
    );
    assert_eq!(roll_back(&rig, "").await.commit, "", "only the base is left");
    assert_eq!(roll_back(&rig, &committed.commit).await.combined_patch, proposed.patch);
    assert_ne!(base.commit, back.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_patch_applies_to_the_original_tree() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let script = "printf 'no newline' > a.txt; chmod +x sub/b.txt; mv old.txt 'with space.txt'; \
                  ln -s a.txt link; printf '\\000\\001' > bin";
    let proposed = propose(&rig, &shell("false"), script).await;
    let tree = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = tree.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(tree.path().join(".git-patch"), &proposed.patch).unwrap();
    let line = "git init -q . && git add -A && git apply --index .git-patch";
    let done = Command::new("sh").args(["-c", line]).current_dir(tree.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(std::fs::read(tree.path().join("with space.txt")).unwrap(), b"x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn litter_that_was_there_before_is_no_part_of_a_patch() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    rig.sh("echo 1 > app.db").await;
    let script = "echo 2 >> app.db; echo good > a.txt";
    let proposed = propose(&rig, &shell("false"), script).await;
    let text = String::from_utf8(proposed.patch).unwrap();
    assert!(text.contains("a.txt") && !text.contains("app.db"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixers_exit_decides_the_verdict() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let step = shell("false");
    for (script, verdict, detail) in [
        ("true", TryVerdict::NoChange, "the fixer changed nothing"),
        ("echo good > a.txt; echo no; exit 3", TryVerdict::NoChange, "no"),
        ("echo cannot; exit 4", TryVerdict::NoChange, "cannot"),
        ("no-such-tool", TryVerdict::FixerError, "exit code 127: "),
    ] {
        let proposed = propose(&rig, &step, script).await;
        assert_eq!(proposed.verdict, i32::from(verdict), "{script}");
        assert!(proposed.detail.starts_with(detail), "{}", proposed.detail);
        assert!(proposed.patch.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_does_not_help_or_apply_is_not_verified() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let step = shell("grep -q good a.txt");
    let proposed = propose(&rig, &step, "echo worse > a.txt").await;
    let (verified, _) = verify(&rig, &step, &proposed.patch).await;
    assert!(!verified.passed);
    assert_eq!(verified.detail, "with the patch, check exited with 1");
    let stale = String::from_utf8(proposed.patch).unwrap().replace("-bad", "-other");
    let (verified, _) = verify(&rig, &step, stale.as_bytes()).await;
    assert!(verified.detail.starts_with("the patch does not apply"), "{}", verified.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_of_a_rejected_patch_are_never_seen_again() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let mut step = shell("cat built/artifact; echo own > built/artifact; exit 1");
    step.cache = vec!["built".to_owned()];
    rig.step(&step).await;
    let script = "cat built/artifact; echo poison > built/artifact; echo worse > a.txt";
    let proposed = propose(&rig, &step, script).await;
    assert_eq!(proposed.verdict, 0, "{}", proposed.detail);
    for _ in 0..2 {
        let (_, log) = verify(&rig, &step, &proposed.patch).await;
        assert_eq!(log.lines().nth(1), Some("own"), "{log}");
    }
    assert_eq!(rig.step(&step).await.1, "own\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_hooks_of_the_project_are_never_obeyed() {
    let rig = Rig::start().await;
    rig.prepare_files(&[("a.txt", "bad\n"), (".gitattributes", "*.txt filter=evil diff=evil\n")])
        .await;
    // The step leaves behind a repository that would execute something whenever git looks at it.
    let trap = "for hook in pre-commit post-checkout post-index-change reference-transaction; do \
                mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch /workspace/hooked\\n' > .git/hooks/$hook; \
                chmod +x .git/hooks/$hook; done; \
                git config core.fsmonitor 'touch /workspace/hooked'; \
                git config filter.evil.clean 'touch /workspace/hooked; cat'; \
                git config filter.evil.smudge 'touch /workspace/hooked; cat'; \
                git config diff.evil.textconv 'touch /workspace/hooked; cat'; \
                git config alias.add '!touch /workspace/hooked'; echo worse > a.txt";
    let step = shell(trap);
    let (result, log) = rig.step(&step).await;
    assert_eq!(exit(&result).code, Some(0), "{log}");
    let proposed = propose(&rig, &step, "git config core.hooksPath .; echo good > a.txt").await;
    assert_eq!(proposed.verdict, 0, "{}", proposed.detail);
    commit(&rig, &proposed.patch, "Fix it").await;
    roll_back(&rig, "").await;
    assert!(!rig.ws().join("hooked").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_cannot_be_changed_by_a_step() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(FILES).await;
    let line = "rm -rf /.metabuilder/objects/* 2>/dev/null; echo x > /.metabuilder/objects/y; \
                git update-ref refs/heads/metabuilder $(git commit-tree HEAD^{tree} -m evil); exit 1";
    let (_, log) = rig.step(&shell(line)).await;
    assert!(log.contains("ead-only file system"), "{log}");
    assert_eq!(rig.sh("git rev-parse HEAD; git fsck").await.1, format!("{}\n", base.commit));
}
