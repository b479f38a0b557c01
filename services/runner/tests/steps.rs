//! Steps, end to end: the protocol, the sandbox and git are the real ones.

mod support;

use meta_domain::plan::Command;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::task::Work;
use meta_proto::runner::*;
use std::time::{Duration, Instant};
use support::{Rig, exit, shell, step_work};

#[tokio::test(flavor = "multi_thread")]
async fn a_step_reports_its_output_and_its_exit_code() {
    let rig = Rig::start().await;
    rig.prepare_files(&[("a.txt", "hello\n")]).await;
    let id = rig.submit(step_work(&shell("cat a.txt; echo oops >&2; exit 7")));
    let Outcome::Step(result) = rig.result(&id).await else { panic!() };
    assert_eq!(exit(&result).code, Some(7));
    assert_eq!(result.execution.as_ref().unwrap().sandbox, "bwrap");
    assert_eq!(rig.log(&id).lines().count(), 2);
    let stderr: Vec<_> = rig.chunks(&id).into_iter().filter(|c| c.stream == 2).collect();
    assert_eq!(stderr[0].text, b"oops\n");
    assert!(stderr[0].at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_a_shell_gets_its_words_unchanged() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let mut step = shell("");
    step.run = Command::Argv(["printf", "%s|", "a b", "$HOME", "'q'"].map(str::to_owned).into());
    assert_eq!(rig.step(&step).await.1, "a b|$HOME|'q'|");
    step.run = Command::Argv(vec!["no-such-program".to_owned()]);
    assert_eq!(exit(&rig.step(&step).await.0).code, Some(127));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_steps_variables_are_its_own() {
    let rig = Rig::with(|_| {}, &[("HOST_SECRET_TOKEN", "abcdef123456")]).await;
    rig.prepare_files(&[]).await;
    let mut step = shell("env");
    step.env.insert("QUOTED".to_owned(), "it's $HOME `x`\nsecond".to_owned());
    let log = rig.step(&step).await.1;
    assert!(log.contains("QUOTED=it's $HOME `x`\nsecond\n"), "{log}");
    assert!(log.contains("CI=true") && log.contains("TERM=dumb"));
    assert!(!log.contains("HOST_SECRET_TOKEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_knows_which_execution_it_is() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let mut step = shell("env | grep ^METABUILDER_ | sort");
    step.env.insert("METABUILDER_ATTEMPT".to_owned(), "99".to_owned());
    let log = rig.step(&step).await.1;
    let expected = format!(
        "METABUILDER_ATTEMPT=1\nMETABUILDER_LEASE_EPOCH=1\nMETABUILDER_RUN_ID={}\n\
         METABUILDER_STEP={}\n",
        rig.run_id, step.name
    );
    assert_eq!(log, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_kills_the_whole_tree() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let line = "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; while :; do date > alive; \
                sleep 0.05; done' >/dev/null 2>&1 &) ; while :; do sleep 0.1; done";
    let mut step = shell(line);
    step.timeout_ms = 700;
    let started = Instant::now();
    let (result, _) = rig.step(&step).await;
    assert!(exit(&result).timed_out);
    assert!(started.elapsed() < Duration::from_secs(5));
    let alive = rig.ws().join("alive");
    let read = || std::fs::metadata(&alive).unwrap().modified().unwrap();
    let before = read();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(read(), before, "a daemon outlived its step");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_holds_the_output_open_does_not_hold_the_step() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let started = Instant::now();
    let (code, log) = rig.sh("sleep 60 & setsid sleep 60 & echo done").await;
    assert_eq!((code, log.as_str()), (Some(0), "done\n"));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes_are_cut_and_counted() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let id = rig.submit(step_work(&shell("yes 0123456789 | head -c 52428800; echo; echo the end")));
    let Outcome::Step(result) = rig.result(&id).await else { panic!() };
    let cut = result.execution.as_ref().unwrap().cut_bytes;
    let log = rig.log_bytes(&id);
    let marker = format!("[... {cut} bytes cut ...]\n");
    assert!(log.len() <= meta_domain::limits::LOG_BYTES_MAX);
    assert_eq!(log.len() - marker.len() + usize::try_from(cut).unwrap(), 52_428_800 + 9);
    let log = String::from_utf8(log).unwrap();
    assert_eq!(log.matches(&marker).count(), 1);
    assert!(log.ends_with("the end\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_before_they_leave() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let mut step =
        shell("echo \"key $DEPLOY_TOKEN\"; echo ghp_0123456789abcdefghijABCDEFGHIJ012345");
    step.env.insert("DEPLOY_TOKEN".to_owned(), "correct horse battery".to_owned());
    assert_eq!(rig.step(&step).await.1, "key ***\n***\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_changes_of_tracked_files_is_committed() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(&[("a.txt", "one\n"), (".gitignore", "out\n")]).await;
    let (result, _) = rig.step(&shell("echo two > a.txt; echo x > litter; mkdir out")).await;
    assert_ne!(result.commit, base.commit);
    let patch = String::from_utf8(result.combined_patch.unwrap()).unwrap();
    assert!(patch.contains("-one\n+two\n") && !patch.contains("litter"), "{patch}");
    let stored = runner::run_patch(rig.data.path(), &rig.run_id).await.unwrap();
    assert_eq!(String::from_utf8(stored).unwrap(), patch);
    let (code, log) =
        rig.sh("git status --porcelain; git diff --exit-code && git log --oneline").await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.starts_with("?? litter\n") && log.contains("output of step check"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_the_orchestrator_does_not_know_comes_with_its_patch() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(&[("a.txt", "one\n")]).await.commit;
    for line in ["true", "false", "echo bad > a.txt; false"] {
        let same = rig.step_from(&base, line).await;
        assert_eq!((same.commit, same.combined_patch), (base.clone(), None), "{line}");
    }
    let lost = rig.step_from(&base, "echo two > a.txt").await;
    let patch = lost.combined_patch.unwrap();
    // The report of that commit was lost: whoever comes next tells of it, passed or failed.
    for line in ["true", "false"] {
        let next = rig.step_from(&base, line).await;
        assert_eq!((next.commit, next.combined_patch), (lost.commit.clone(), Some(patch.clone())));
    }
    assert_eq!(rig.step_from(&lost.commit, "false").await.combined_patch, None);
    let back = rig.step_from(&lost.commit, "echo one > a.txt").await;
    assert_eq!(back.combined_patch, Some(vec![]), "the files are as they were at first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_no_message_can_carry_is_left_out() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(&[("a.txt", "one\n")]).await.commit;
    let line = "head -c 17000000 /dev/zero | tr '\\0' 'x' > a.txt";
    let id = rig.submit(step_work(&shell(line)));
    let Outcome::Step(result) = rig.result(&id).await else { panic!() };
    assert!(result.combined_patch.is_none() && result.commit != base);
    assert_eq!(exit(&result).code, Some(0));
    assert!(rig.log(&id).contains("changed by more than 16777216 bytes"), "{}", rig.log(&id));
    let small = rig.step_from(&base, "echo two > a.txt").await;
    assert!(String::from_utf8(small.combined_patch.unwrap()).unwrap().contains("+two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_steps_changes_are_taken_back_before_the_next_attempt() {
    let rig = Rig::start().await;
    let base = rig.prepare_files(&[("a.txt", "one\n")]).await;
    let (result, _) = rig.step(&shell("echo two > a.txt; rm -rf .git; exit 1")).await;
    assert_eq!(result.commit, base.commit);
    assert_eq!(rig.sh("cat a.txt; git rev-parse HEAD").await.1, format!("one\n{}\n", base.commit));
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_last_over_attempts_and_runs_until_they_are_cleaned() {
    let mut rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let mut step = shell("echo x >> deep/cache/count; wc -l < deep/cache/count; touch left");
    step.cache = vec!["deep/cache".to_owned()];
    assert_eq!(rig.step(&step).await.1, "1\n");
    assert_eq!(rig.step(&step).await.1, "2\n");
    rig.run_id = meta_runtime::new_id().to_string();
    rig.prepare_files(&[]).await;
    assert_eq!(rig.step(&step).await.1, "3\n");
    step.clean_cache = true;
    assert_eq!(rig.step(&step).await.1, "1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_true_step_costs_little() {
    let rig = Rig::start().await;
    rig.prepare_files(&[("a.txt", "x")]).await;
    rig.sh("true").await;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        assert_eq!(rig.sh("true").await.0, Some(0));
        best = best.min(started.elapsed());
    }
    eprintln!("a step of `true`, with restore and commit: {best:?}");
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_task_dies_and_is_given_back() {
    let rig = Rig { lease_ms: 300, ..Rig::start().await };
    rig.prepare_files(&[]).await;
    let id = rig.submit(step_work(&shell("while :; do date +%N > alive; sleep 0.02; done")));
    let alive = rig.ws().join("alive");
    while !alive.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.stop_task(&id);
    let Outcome::Error(error) = rig.result(&id).await else { panic!() };
    assert_eq!((error.message.as_str(), error.retryable), ("stopped", false));
    let before = std::fs::read(&alive).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(std::fs::read(&alive).unwrap(), before, "it is given back when it is dead");
    assert_eq!(rig.sh("echo next").await.1, "next\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_hand_survives_an_orchestrator_that_is_away_for_a_while() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let id = rig.submit(step_work(&shell("touch begun; sleep 0.3; echo done")));
    while !rig.ws().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.away(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!rig.has_result(&id));
    rig.away(false);
    let Outcome::Step(result) = rig.result(&id).await else { panic!() };
    assert_eq!(exit(&result).code, Some(0));
    assert_eq!(rig.log(&id), "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_comes_too_late_is_dropped() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    *rig.queue.lost.lock().unwrap() = true;
    let late = rig.submit(step_work(&shell("true")));
    while !rig.ws().exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(800)).await;
    *rig.queue.lost.lock().unwrap() = false;
    assert_eq!(rig.sh("echo next").await.1, "next\n");
    assert!(!rig.has_result(&late));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_stopped_lets_its_task_end() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let id = rig.submit(step_work(&shell("touch begun; sleep 0.4")));
    while !rig.ws().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.stop.cancel();
    let Outcome::Step(result) = rig.result(&id).await else { panic!() };
    assert_eq!(exit(&result).code, Some(0));
    tokio::time::timeout(Duration::from_secs(5), rig.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_stopped_gives_back_what_does_not_end() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let id = rig.submit(step_work(&shell("touch begun; sleep 60")));
    while !rig.ws().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.stop.cancel();
    let Outcome::Error(error) = rig.result(&id).await else { panic!() };
    assert_eq!((error.message.as_str(), error.retryable), ("the runner is stopping", true));
    tokio::time::timeout(Duration::from_secs(5), rig.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_result_is_sent_again_or_becomes_an_error() {
    use tonic::Code;
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    for (codes, accepted) in [
        (vec![Code::Aborted, Code::Unavailable, Code::DeadlineExceeded], true),
        (vec![Code::Internal, Code::Unknown], true),
        (vec![Code::Internal; 4], false),
        (vec![Code::InvalidArgument], false),
        (vec![Code::ResourceExhausted], false),
        (vec![Code::OutOfRange], false),
    ] {
        rig.queue.refusals.lock().unwrap().extend(codes.clone());
        let id = rig.submit(step_work(&shell("true")));
        match rig.result(&id).await {
            Outcome::Step(_) => assert!(accepted, "{codes:?}"),
            Outcome::Error(error) => {
                assert!(!accepted && !error.retryable, "{codes:?}");
                assert!(error.message.contains("refused the result: not that"), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runner_says_what_it_is() {
    use meta_proto::runner::runner_service_client::RunnerServiceClient;
    let rig = Rig::start().await;
    let caller = meta_domain::role::Principal {
        tenant: support::TENANT.parse().unwrap(),
        role: meta_domain::role::Role::Viewer,
        actor: "test".to_owned(),
    };
    let request = meta_runtime::call(&caller, Duration::from_secs(5), GetStatusRequest {});
    let answer = RunnerServiceClient::new(rig.status.clone()).get_status(request).await.unwrap();
    assert_eq!(answer.get_ref().sandbox, "bwrap");
    assert_eq!(answer.get_ref().capacity, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_run_that_is_not_here_is_an_error() {
    let rig = Rig::start().await;
    for (run_id, retryable) in [(meta_runtime::new_id().to_string(), true), ("../x".into(), false)]
    {
        let rig_of = Rig { run_id, ..Rig::start().await };
        let id = rig_of.submit(step_work(&shell("true")));
        let Outcome::Error(error) = rig_of.result(&id).await else { panic!() };
        assert_eq!(error.retryable, retryable, "{}", error.message);
    }
    let id = rig.submit(Work::Prepare(PrepareWork { source: None }));
    let Outcome::Error(error) = rig.result(&id).await else { panic!() };
    assert!(error.message.contains("source"));
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_are_not_needed_any_more_go_when_the_runner_starts() {
    let data = tempfile::tempdir().unwrap();
    let runs = data.path().join("runs");
    let (old, new) =
        ("0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e01", "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e02");
    for name in [old, new, "gone-0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e03", "mine"] {
        std::fs::create_dir_all(runs.join(name).join("ws")).unwrap();
        let folder = std::fs::File::open(runs.join(name)).unwrap();
        let two_hours = std::time::Duration::from_millis(2 * support::OLD_MS);
        if name != new {
            let at = folder.metadata().unwrap().modified().unwrap() - two_hours;
            folder.set_modified(at).unwrap();
        }
    }
    let place = data.path().to_owned();
    let rig = Rig::with(|config| config.data_dir = place, &[]).await;
    let is_left = |name: &str| runs.join(name).exists();
    let gone = async {
        while is_left(old) || is_left("gone-0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e03") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("they go");
    assert!(is_left(new) && is_left("mine"), "what is needed, and what is no run's, stays");
    drop(rig);
}
