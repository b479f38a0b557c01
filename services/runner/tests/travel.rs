//! A run whose tasks are carried out by two runners with a folder each and one object store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::task::Work;
use meta_proto::runner::*;
use std::path::{Path, PathBuf};
use support::{Rig, exit, inline, shell, step_work};

/// Two runners that carry out the same run.
struct Pair {
    store: tempfile::TempDir,
    a: Rig,
    b: Rig,
}

impl Pair {
    async fn start() -> Self {
        let store = tempfile::tempdir().unwrap();
        let a = runner(store.path()).await;
        let mut b = runner(store.path()).await;
        b.run_id.clone_from(&a.run_id);
        Self { store, a, b }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.store.path().join("runs").join(support::TENANT).join(&self.a.run_id).join(name)
    }
}

async fn runner(store: &Path) -> Rig {
    let url = format!("file://{}", store.display());
    Rig::with(|config| config.objects = Some(url), &[]).await
}

async fn prepare(rig: &Rig, files: &[(&str, &str)]) -> PrepareResult {
    rig.prepare(inline(files)).await
}

/// Runs a line as a step while the orchestrator knows that head; it has to pass.
async fn step(rig: &Rig, head: &str, line: &str) -> StepResult {
    let result = rig.step_from(head, line).await;
    assert_eq!(exit(&result).code, Some(0), "{line}: {result:?}");
    result
}

async fn outcome(rig: &Rig, work: Work) -> Outcome {
    let id = rig.submit(work);
    rig.result(&id).await
}

async fn commit(rig: &Rig, head: &str, patch: &str, message: &str) -> CommitResult {
    let (patch, message, head) = (patch.as_bytes().to_vec(), message.to_owned(), head.to_owned());
    match outcome(rig, Work::Commit(CommitWork { patch, message, head })).await {
        Outcome::Commit(result) => result,
        other => panic!("{other:?}"),
    }
}

const PATCH: &str = "diff --git a/word.txt b/word.txt\n--- a/word.txt\n+++ b/word.txt\n@@ -1 +1 @@\n\
                     -bad\n+good\n";
const MESSAGE: &str = "Heal it\n\nMetabuilder-Patch: sha256:00\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_runner_sees_what_the_other_committed() {
    let Pair { a, b, .. } = &Pair::start().await;
    let base = prepare(a, &[("word.txt", "bad\n"), ("run.sh", "exit 0\n")]).await;
    // on the runner that prepared it, then on one that never saw the run
    let one = step(a, &base.commit, "echo one >> word.txt; echo left > untracked").await;
    assert_ne!(one.commit, base.commit);
    let two =
        step(b, &one.commit, "grep -q one word.txt && ! [ -e untracked ] && echo two >> word.txt")
            .await;
    let back = step(a, &two.commit, "grep -q two word.txt && grep -q left untracked").await;
    assert_eq!((&back.commit, back.combined_patch), (&two.commit, None));
    let patch = String::from_utf8(two.combined_patch.unwrap()).unwrap();
    assert!(patch.contains("+one") && patch.contains("+two"), "from the base on: {patch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_committed_on_one_is_there_and_taken_back_on_the_other() {
    let Pair { a, b, .. } = &Pair::start().await;
    let base = prepare(a, &[("word.txt", "bad\n")]).await;
    let healed = commit(a, &base.commit, PATCH, MESSAGE).await;
    step(b, &healed.commit, "grep -q good word.txt").await;
    let rollback = Work::Rollback(RollbackWork { head: healed.commit.clone() });
    let Outcome::Rollback(back) = outcome(b, rollback).await else { panic!("no rollback") };
    step(a, &back.commit, "grep -q bad word.txt").await;
    let known: VerifyWork = VerifyWork {
        step: Some(shell("grep -q good word.txt").into()),
        patch: PATCH.as_bytes().to_vec(),
        cache_key: support::KEY.to_owned(),
        head: back.commit,
        ..VerifyWork::default()
    };
    let Outcome::Verify(verified) = outcome(b, Work::Verify(known)).await else { panic!() };
    assert!(verified.passed, "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_commit_at_once_comes_one_after_the_other() {
    let Pair { a, b, store } = &Pair::start().await;
    let base = prepare(a, &[("a.txt", "0\n"), ("b.txt", "0\n"), ("both.txt", "0\n")]).await;
    let head = &base.commit;
    let (on_a, on_b) = tokio::join!(
        step(a, head, "echo a > a.txt; echo a > both.txt; sleep 0.3"),
        step(b, head, "echo b > b.txt; echo b > both.txt; sleep 0.3"),
    );
    assert_ne!(on_a.commit, on_b.commit);
    // whichever was reported last, the next step sees both, on either runner and on a third one
    let mut c = runner(store.path()).await;
    c.run_id.clone_from(&a.run_id);
    for (rig, head) in [(a, &on_b.commit), (b, &on_a.commit), (&c, head)] {
        let line = "cat a.txt b.txt both.txt; [ $(cat a.txt b.txt | tr -d '\\n') = ab ]; \
                    grep -q '^[ab]$' both.txt";
        let seen = step(rig, head, line).await;
        assert!([&on_a.commit, &on_b.commit].contains(&&seen.commit));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_prepared_once_whoever_is_asked() {
    let Pair { a, b, .. } = &Pair::start().await;
    let files = [("word.txt", "x\n"), ("b.txt", "y\n")];
    let (first, second) = tokio::join!(prepare(a, &files), prepare(b, &files));
    assert_eq!(first, second);
    assert_eq!(prepare(b, &files).await, first);
    let one = step(a, &first.commit, "echo one >> word.txt").await;
    step(b, &one.commit, "grep -q one word.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_broken_bundle_is_worth_another_try_and_says_which() {
    let pair = Pair::start().await;
    let Pair { a, b, .. } = &pair;
    let base = prepare(a, &[("word.txt", "x\n")]).await;
    let bundle = pair.folder("commits").join(format!("{}.bundle", base.commit));
    let whole = std::fs::read(&bundle).unwrap();
    let asked = || {
        let mut work = step_work(&shell("true"));
        if let Work::Step(step) = &mut work {
            step.head.clone_from(&base.commit);
        }
        work
    };
    let mut torn = whole.clone();
    torn.truncate(whole.len() - 30);
    for (bytes, why) in [
        (None, "is not in the object store"),
        (Some(torn), "is broken"),
        (Some(b"nothing of the kind\n\n".to_vec()), "is broken"),
    ] {
        match &bytes {
            Some(bytes) => std::fs::write(&bundle, bytes).unwrap(),
            None => std::fs::remove_file(&bundle).unwrap(),
        }
        let Outcome::Error(error) = outcome(b, asked()).await else { panic!("{why}") };
        assert!(error.retryable, "{error:?}");
        assert!(error.message.contains(why) && error.message.contains(&base.commit), "{error:?}");
    }
    std::fs::write(&bundle, whole).unwrap();
    let Outcome::Step(done) = outcome(b, asked()).await else { panic!("it is whole again") };
    assert_eq!(exit(&done).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_report_was_lost_is_not_made_twice() {
    let Pair { a, b, .. } = &Pair::start().await;
    let base = prepare(a, &[("word.txt", "bad\n")]).await;
    let lost = commit(a, &base.commit, PATCH, MESSAGE).await;
    // the orchestrator knows nothing of it, and asks the other runner
    let again = commit(b, &base.commit, PATCH, MESSAGE).await;
    assert_eq!(again.commit, lost.commit);
    assert_eq!(again.combined_patch, lost.combined_patch);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tests_numbers_of_one_runner_bind_the_other() {
    let Pair { a, b, .. } = &Pair::start().await;
    let base = prepare(a, &[("word.txt", "bad\n")]).await;
    let line = "echo '===== 7 passed in 0.1s ====='";
    step(a, &base.commit, line).await;
    let work = VerifyWork {
        step: Some(shell("echo '===== 3 passed in 0.1s ====='").into()),
        patch: PATCH.as_bytes().to_vec(),
        cache_key: support::KEY.to_owned(),
        head: base.commit.clone(),
        ..VerifyWork::default()
    };
    let Outcome::Verify(verified) = outcome(b, Work::Verify(work)).await else { panic!() };
    let before: Vec<u64> = verified.checks[0].before.iter().map(|c| c.executed).collect();
    assert_eq!(before, [7], "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_sees_the_store() {
    let pair = Pair::start().await;
    let base = prepare(&pair.a, &[("word.txt", "x\n")]).await;
    let line = format!("! ls {}/runs", pair.store.path().display());
    step(&pair.a, &base.commit, &line).await;
}
