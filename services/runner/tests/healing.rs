//! Proposing, verifying, committing and taking back a patch.

mod support;

use meta_domain::autofix::{
    ContextPlan, FixerCommand, FixerFile, FixerKind, FixerSafety, PathGrant, WantedFile,
};
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
        kind: meta_domain::autofix::FixerKind::Script,
        context: meta_domain::autofix::ContextPlan::default(),
        sarif: false,
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
    propose_by(rig, step, fixer(script)).await
}

async fn propose_by(rig: &Rig, step: &PlannedStep, fixer: FixerCommand) -> ProposeResult {
    let id = rig.submit(Work::Propose(ProposeWork {
        step: Some(step.clone().into()),
        fixer: Some(fixer.into()),
        signal: Some(signal()),
        log: b"a.txt: bad\n".to_vec(),
        cache_key: KEY.to_owned(),
        ..Default::default()
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
        ..Default::default()
    }));
    match rig.result(&id).await {
        Outcome::Verify(result) => (result, rig.log(&id)),
        other => panic!("{other:?}"),
    }
}

async fn commit(rig: &Rig, patch: &[u8], message: &str) -> CommitResult {
    let (patch, message) = (patch.to_vec(), message.to_owned());
    let id = rig.submit(Work::Commit(CommitWork { patch, message, ..Default::default() }));
    match rig.result(&id).await {
        Outcome::Commit(result) => result,
        other => panic!("{other:?}"),
    }
}

async fn try_roll_back(rig: &Rig) -> Outcome {
    let id = rig.submit(Work::Rollback(RollbackWork::default()));
    rig.result(&id).await
}

async fn roll_back(rig: &Rig) -> RollbackResult {
    match try_roll_back(rig).await {
        Outcome::Rollback(result) => result,
        other => panic!("{other:?}"),
    }
}

/// Lets a fixer make a patch and commits it as the loop does; answers the commit.
async fn heal(rig: &Rig, script: &str) -> String {
    let proposed = propose(rig, &shell("false"), script).await;
    let message = format!("Heal: {script}\n\nMetabuilder-Run: x\nMetabuilder-Patch: sha256:0\n");
    commit(rig, &proposed.patch, &message).await.commit
}

const FILES: &[(&str, &str)] =
    &[("a.txt", "bad\n"), ("old.txt", "x\n"), ("sub/b.txt", "b\n"), (".gitignore", "out/\n")];

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_makes_the_round_trip() {
    round_trip(Rig::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_makes_the_round_trip_at_the_level_strict() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tried: the level strict needs root here");
        return;
    }
    let strict = |config: &mut runner::Config| config.sandbox = runner::SandboxMode::Strict;
    round_trip(Rig::with(strict, &[]).await).await;
}

async fn round_trip(rig: Rig) {
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

    let message = "Fix it\n\nMetabuilder-Patch: sha256:0\nFixer: test";
    let committed = commit(&rig, &proposed.patch, message).await;
    assert_eq!(committed.files, [".gitignore", "a.txt", "new.bin", "sub/b.txt"]);
    assert_eq!(committed.combined_patch, proposed.patch);
    let again = commit(&rig, &proposed.patch, message).await;
    assert_eq!(again.commit, committed.commit);
    let (result, log) = rig.step(&step).await;
    assert_eq!((exit(&result).code, result.commit), (Some(0), committed.commit.clone()), "{log}");
    let log = rig.sh("git log -1 --format='%an <%ae> %s%n%(trailers:key=Fixer,valueonly)'").await.1;
    assert_eq!(log.trim(), "Metabuilder <metabuilder@localhost> Fix it\ntest");

    let back = roll_back(&rig).await;
    assert!(!back.commit.is_empty() && back.combined_patch.is_empty());
    assert_eq!(
        rig.sh("cat a.txt old.txt; ls; git log --oneline | wc -l").await.1,
        "bad\nx\na.txt\nold.txt\nsub\n3\n"
    );
    assert_eq!(roll_back(&rig).await.commit, "", "only the base is left");
    assert_ne!(base.commit, back.commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_the_newest_patch_back_and_keeps_what_came_later() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let line = "printf '1\\n2\\n3\\n4\\n5\\n6\\n7\\n8\\n9\\n' > a.txt";
    rig.sh(line).await;
    assert_eq!(roll_back(&rig).await, RollbackResult::default(), "a step's commit is no patch");
    let first = heal(&rig, "sed -i s/1/one/ a.txt").await;
    let second = heal(&rig, "sed -i s/9/nine/ a.txt; printf 'a\\0b' > new.bin; rm old.txt").await;
    rig.sh("sed -i s/5/five/ a.txt; echo later > sub/b.txt; echo mine > litter").await;

    let back = roll_back(&rig).await;
    let all = "tr '\\n' ' ' < a.txt; cat sub/b.txt litter; ls; git status --short";
    let now = |ends: &str| format!("{ends}later\nmine\na.txt\nlitter\nold.txt\nsub\n?? litter\n");
    assert_eq!(rig.sh(all).await.1, now("one 2 3 4 five 6 7 8 9 "));
    let trailer = "git log -1 --format='%H %(trailers:key=Metabuilder-Rollback-Of,valueonly)'";
    assert_eq!(rig.sh(trailer).await.1.trim(), format!("{} {second}", back.commit));
    let text = String::from_utf8(back.combined_patch).unwrap();
    assert!(text.contains("+one\n") && text.contains("+five") && !text.contains("nine"), "{text}");

    let back = roll_back(&rig).await;
    assert_eq!(rig.sh(all).await.1, now("1 2 3 4 five 6 7 8 9 "));
    assert_eq!(rig.sh(trailer).await.1.trim(), format!("{} {first}", back.commit));
    assert_eq!(roll_back(&rig).await, RollbackResult::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_asked_for_again_is_answered_again() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    heal(&rig, "echo one > sub/b.txt").await;
    heal(&rig, "echo good > a.txt").await;
    let id = rig.submit(Work::Rollback(RollbackWork::default()));
    let Outcome::Rollback(back) = rig.result(&id).await else { panic!() };
    rig.submit_as(&id, Work::Rollback(RollbackWork::default()));
    let Outcome::Rollback(again) = rig.result(&id).await else { panic!() };
    assert_eq!(again, back);
    assert_eq!(rig.sh("cat a.txt sub/b.txt").await.1, "bad\none\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_conflicts_with_later_commits_changes_nothing() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let healed = heal(&rig, "echo good > a.txt").await;
    let later = rig.step(&shell("echo better > a.txt")).await.0.commit;
    let Outcome::Error(error) = try_roll_back(&rig).await else { panic!() };
    assert!(!error.retryable && error.message.contains(&healed), "{}", error.message);
    assert!(error.message.contains("later commits changed the same lines"), "{}", error.message);
    let state = rig.sh("cat a.txt; git rev-parse HEAD; git status --short").await.1;
    assert_eq!(state, format!("better\n{later}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_makes_the_run_too_large_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(FILES).await.commit;
    let lines = "x".repeat(17_000_000);
    let patch = format!("--- a/old.txt\n+++ b/old.txt\n@@ -1 +1 @@\n-x\n+{lines}\n");
    let (patch, message) = (patch.into_bytes(), "Fix it".to_owned());
    let work = CommitWork { patch, message, ..Default::default() };
    let id = rig.submit(Work::Commit(work));
    let Outcome::Error(error) = rig.result(&id).await else { panic!() };
    assert!(!error.retryable && error.message.contains("too large"), "{}", error.message);
    assert_eq!(rig.sh("cat old.txt; git rev-parse HEAD").await.1, format!("x\n{base}\n"));
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
    commit(&rig, &proposed.patch, "Fix it\n\nMetabuilder-Patch: sha256:0").await;
    assert!(!roll_back(&rig).await.commit.is_empty());
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

/// A verification with everything that it can be asked for.
async fn verify_with(rig: &Rig, step: &PlannedStep, work: VerifyWork) -> VerifyResult {
    let id = rig.submit(Work::Verify(VerifyWork {
        step: Some(step.clone().into()),
        cache_key: KEY.to_owned(),
        attempt: 1,
        ..work
    }));
    match rig.result(&id).await {
        Outcome::Verify(result) => result,
        other => panic!("{other:?}"),
    }
}

fn named(name: &str, line: &str) -> PlannedStep {
    PlannedStep { name: name.to_owned(), ..shell(line) }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_passed_before_are_executed_again_with_the_patch() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let step = named("good", "grep -q good a.txt");
    let patch = propose(&rig, &step, "echo good > a.txt; echo worse > sub/b.txt").await.patch;
    let siblings = |line: &str| VerifyWork {
        patch: patch.clone(),
        siblings: vec![named("first", "true").into(), named("b", line).into()],
        ..Default::default()
    };
    let passed = verify_with(&rig, &step, siblings("grep -q worse sub/b.txt")).await;
    assert!(passed.passed, "{}", passed.detail);
    let steps: Vec<&str> = passed.checks.iter().map(|c| c.step.as_str()).collect();
    assert_eq!(steps, ["good", "first", "b"]);
    let broken = verify_with(&rig, &step, siblings("grep -q '^b' sub/b.txt")).await;
    assert!(!broken.passed);
    assert_eq!(broken.detail, "b passed before, and with the patch it exited with 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_and_configuration_are_put_back_unless_the_patch_owns_them() {
    let rig = Rig::start().await;
    rig.prepare_files(&[("tests/t.sh", "grep -q good a.txt\n"), ("a.txt", "bad\n")]).await;
    let step = shell("sh tests/t.sh && test ! -e tox.ini");
    let script = "echo true > tests/t.sh; mkdir -p tests/new; echo x > tests/new/x; rm -f tox.ini";
    let patch = propose(&rig, &step, script).await.patch;
    let work = |owned: &[&str]| VerifyWork {
        patch: patch.clone(),
        restore_tests: true,
        restore_config: true,
        owned: owned.iter().map(|o| (*o).to_owned()).collect(),
        ..Default::default()
    };
    let result = verify_with(&rig, &step, work(&[])).await;
    assert!(!result.passed);
    assert_eq!(result.check_files, ["tests/new/x", "tests/t.sh"]);
    assert_eq!(result.restored, result.check_files);
    assert!(result.detail.starts_with("with the patch but tests/new/x, tests/t.sh as before"));
    let result = verify_with(&rig, &step, work(&["tests/**"])).await;
    assert!(result.passed && result.restored.is_empty(), "{}", result.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_executed_tests_are_reported_against_the_most_of_the_run() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let step = shell("cat a.txt; test -e ok");
    rig.sh("printf 't.py::a FAILED\\nt.py::b PASSED\\n1 failed, 1 passed in 0.1s\\n' > a.txt")
        .await;
    rig.step(&step).await;
    let script = "touch ok; printf 't.py::a SKIPPED\\nt.py::b PASSED\\n1 passed, 1 skipped in 0.1s\\n' > a.txt";
    let patch = propose(&rig, &step, script).await.patch;
    let result = verify_with(&rig, &step, VerifyWork { patch, ..Default::default() }).await;
    assert!(result.passed, "{}", result.detail);
    let check = &result.checks[0];
    assert_eq!(check.before[0].executed, 2);
    assert_eq!(check.execution.as_ref().unwrap().tests[0].executed, 1);
    assert_eq!(check.newly_skipped, ["t.py::a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flaky_failing_step_has_to_pass_twice_and_a_flaky_sibling_may_fail_once() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let once = "if [ -e seen-$0 ]; then exit $1; else touch seen-$0; exit $2; fi";
    let step = |name: &str, then: u8, first: u8| {
        let line = once.replace("$0", name).replace("$1", &then.to_string());
        named(name, &line.replace("$2", &first.to_string()))
    };
    let patch = propose(&rig, &shell("false"), "echo good > a.txt").await.patch;
    let work = |flaky: &[&str], sibling: PlannedStep| VerifyWork {
        patch: patch.clone(),
        siblings: vec![sibling.into()],
        flaky: flaky.iter().map(|f| (*f).to_owned()).collect(),
        ..Default::default()
    };
    let lucky = step("lucky", 1, 0);
    let fine = named("fine", "true");
    assert!(verify_with(&rig, &lucky, work(&[], fine.clone())).await.passed);
    assert!(!verify_with(&rig, &lucky, work(&["lucky"], fine.clone())).await.passed);
    let unlucky = step("unlucky", 0, 1);
    assert!(!verify_with(&rig, &fine, work(&[], unlucky.clone())).await.passed);
    let result = verify_with(&rig, &fine, work(&["unlucky"], unlucky)).await;
    assert!(result.passed && result.checks[1].executions == 2, "{}", result.detail);
}

fn model() -> FixerCommand {
    let wanted = |path: &str, read_only| WantedFile { path: path.to_owned(), read_only };
    let files = vec![
        wanted("a.txt", false),
        wanted("sub/b.txt", true),
        wanted("missing", false),
        wanted(".env", false),
        wanted("../../etc/passwd", false),
        wanted("link", false),
        wanted("big", false),
    ];
    FixerCommand {
        kind: FixerKind::Model,
        context: ContextPlan { files, file_bytes_max: 100, bytes_max: 1_000 },
        ..fixer("")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_sees_the_committed_files_it_may_see() {
    let rig = Rig::start().await;
    let big = "x".repeat(200);
    rig.prepare_files(&[FILES, &[(".env", "SECRET=1\n"), ("big", &big)]].concat()).await;
    rig.sh("ln -s /etc/passwd link; echo litter > missing").await;
    let plan = Some(model().context.into());
    let id = rig.submit(Work::Collect(CollectWork { plan, ..Default::default() }));
    let Outcome::Collect(result) = rig.result(&id).await else { panic!() };
    let files: Vec<_> =
        result.files.iter().map(|f| (f.path.as_str(), f.contents.as_str())).collect();
    assert_eq!(files, [("a.txt", "bad\n"), ("sub/b.txt", "b\n")]);
}

async fn edit(rig: &Rig, edits: &[(&str, Option<&str>)]) -> ProposeResult {
    let edits = edits.iter().map(|(path, contents)| meta_proto::common::FileEdit {
        path: (*path).to_owned(),
        contents: contents.map(str::to_owned),
    });
    let id = rig.submit(Work::Propose(ProposeWork {
        step: Some(shell("false").into()),
        fixer: Some(model().into()),
        signal: Some(signal()),
        cache_key: KEY.to_owned(),
        edits: edits.collect(),
        ..Default::default()
    }));
    match rig.result(&id).await {
        Outcome::Propose(result) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_edits_become_a_patch_and_never_leave_the_copy() {
    let rig = Rig::start().await;
    rig.prepare_files(FILES).await;
    let edits = [("a.txt", Some("good\n")), ("new/x.txt", Some("n\n")), ("old.txt", None)];
    let proposed = edit(&rig, &edits).await;
    assert_eq!(proposed.verdict, 0, "{}", proposed.detail);
    let text = String::from_utf8(proposed.patch).unwrap();
    assert!(text.contains("+good") && text.contains("b/new/x.txt") && text.contains("a/old.txt"));
    let before: Vec<_> = proposed.before.iter().map(|f| (&*f.path, &*f.contents)).collect();
    assert_eq!(before, [("a.txt", "bad\n"), ("old.txt", "x\n")]);
    for path in ["../out.txt", "/tmp/out.txt", ".git/config", ".env", "sub/b.txt"] {
        let refused = edit(&rig, &[(path, Some("x"))]).await;
        assert_eq!(refused.verdict, i32::from(TryVerdict::GuardReject), "{path}");
        assert!(refused.detail.contains(path), "{}", refused.detail);
    }
    assert_eq!(rig.sh("cat a.txt; ls").await.1, "bad\na.txt\nold.txt\nsub\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_does_not_write_through_a_link() {
    let rig = Rig::start().await;
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir(base.path().join("real")).unwrap();
    std::fs::write(base.path().join("real/a.txt"), "a\n").unwrap();
    std::os::unix::fs::symlink("real", base.path().join("link")).unwrap();
    rig.prepare(support::path(base.path())).await;
    for path in ["link/a.txt", "link"] {
        let refused = edit(&rig, &[(path, Some("x"))]).await;
        assert_eq!(refused.verdict, i32::from(TryVerdict::GuardReject), "{}", refused.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_the_loop_at_the_head_of_the_source_are_counted() {
    let rig = Rig::start().await;
    let dir = tempfile::tempdir().unwrap();
    let commit = |message: &str| {
        let line = "git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -q \
                    --allow-empty -m \"$0\"";
        let done = Command::new("sh").args(["-c", line, message]).current_dir(dir.path()).output();
        assert!(done.unwrap().status.success());
    };
    std::fs::write(dir.path().join("a.txt"), "a\n").unwrap();
    commit("by hand");
    commit("Heal\n\nMetabuilder-Patch: sha256:0");
    commit("Heal\n\nMetabuilder-Patch: sha256:1");
    assert_eq!(rig.prepare(support::path(dir.path())).await.bot_commits, 2);
    commit("by hand again");
    let other = Rig::start().await;
    assert_eq!(other.prepare(support::path(dir.path())).await.bot_commits, 0);
}

/// A fixer that leaves a log with one fix for each of these files: its first character becomes `!`.
fn logging(uris: &[&str]) -> FixerCommand {
    let changes = uris.iter().map(|uri| {
        format!(
            "{{\"fixes\": [{{\"artifactChanges\": [{{\"artifactLocation\": {{\"uri\": \"{uri}\"}}, \
             \"replacements\": [{{\"deletedRegion\": {{\"charOffset\": 0, \"charLength\": 1}}, \
             \"insertedContent\": {{\"text\": \"!\"}}}}]}}]}}]}}"
        )
    });
    let results: Vec<String> = changes.collect();
    let log =
        format!("{{\"version\": \"2.1.0\", \"runs\": [{{\"results\": [{}]}}]}}", results.join(","));
    FixerCommand {
        sarif: true,
        ..fixer(&format!("printf '%s' '{log}' > \"$STATE_DIR/fixes.sarif\""))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixes_of_a_log_are_applied_to_the_files_they_may_name() {
    let rig = Rig::start().await;
    rig.prepare_files(&[FILES, &[(".env", "SECRET=1\n")]].concat()).await;
    let step = shell("true");
    let names = ["a.txt", "link", ".env", "../../../etc/passwd", "/etc/passwd", "absent"];
    let mut by = logging(&names);
    by.script = format!("ln -s /etc/passwd link; {}", by.script);
    let result = propose_by(&rig, &step, by).await;
    let patch = String::from_utf8(result.patch).unwrap();
    assert!(patch.contains("-bad\n+!ad\n"), "{} {patch}", result.detail);
    assert!(!patch.contains(".env") && !patch.contains("root:"), "{patch}");

    let result = propose_by(&rig, &step, logging(&[".env", "absent"])).await;
    assert_eq!(result.verdict(), TryVerdict::NoChange);
    assert!(result.detail.contains("none of its 2 fixes"), "{}", result.detail);

    let broken = FixerCommand { sarif: true, ..fixer("echo '{' > \"$STATE_DIR/fixes.sarif\"") };
    let result = propose_by(&rig, &step, broken).await;
    assert_eq!(result.verdict(), TryVerdict::FixerError, "{}", result.detail);

    let linked = "ln -s /etc/passwd \"$STATE_DIR/fixes.sarif\"";
    let result = propose_by(&rig, &step, FixerCommand { sarif: true, ..fixer(linked) }).await;
    assert_eq!(result.verdict(), TryVerdict::NoChange, "{}", result.detail);
}
