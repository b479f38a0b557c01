//! What the level `strict` promises beside its walls, where the runner is root. (The walls themselves
//! are tried by hostile steps, also as a normal user.)

mod support;

use meta_proto::runner::GetStatusRequest;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::runner_service_client::RunnerServiceClient;
use meta_runtime::{Host, Service};
use runner::{Config, SandboxMode, Strict};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{Rig, shell, step_work};

/// A runner at the level; `None` for a normal user, who is told.
async fn rig(change: impl FnOnce(&mut Strict)) -> Option<Rig> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tried: it needs root");
        return None;
    }
    let configure = |config: &mut Config| {
        config.sandbox = SandboxMode::Strict;
        change(&mut config.strict);
    };
    Some(Rig::with(configure, &[("SHOWN", "yes"), ("HIDDEN", "yes")]).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_shown_and_recorded() {
    let Some(rig) = rig(|_| {}).await else { return };
    let caller = meta_domain::role::Principal {
        tenant: support::TENANT.parse().unwrap(),
        role: meta_domain::role::Role::Viewer,
        actor: "test".to_owned(),
    };
    let request = meta_runtime::call(&caller, Duration::from_secs(5), GetStatusRequest {});
    let status = RunnerServiceClient::new(rig.status.clone()).get_status(request).await.unwrap();
    assert_eq!(status.get_ref().sandbox, "strict");
    rig.prepare_files(&[]).await;
    let (result, _) = rig.step(&shell("true")).await;
    assert_eq!(result.execution.unwrap().sandbox, "strict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_network_gets_one_of_its_own_or_is_refused() {
    let Some(rig) = rig(|_| {}).await else { return };
    rig.prepare_files(&[]).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut step = shell(&format!(
        "sed 1d /proc/net/route | grep -q . && echo leads out; \
         (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached the host; exit 7"
    ));
    step.network = true;
    let id = rig.submit(step_work(&step));
    let has_pasta =
        ["/usr/bin/pasta", "/usr/local/bin/pasta"].iter().any(|p| Path::new(p).exists());
    match rig.result(&id).await {
        Outcome::Step(result) => {
            assert!(has_pasta && rig.log(&id) == "leads out\n", "{}", rig.log(&id));
            assert_eq!(support::exit(&result).code, Some(7));
        }
        Outcome::Error(error) => {
            assert!(!has_pasta && !error.retryable, "{error:?}");
            assert!(error.message.contains("`pasta`"), "{}", error.message);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_beside_each_other_have_their_own_process_limits() {
    let Some(rig) = rig(|strict| strict.processes = 40).await else { return };
    rig.prepare_files(&[]).await;
    let line = "python3 -c 'import os, time\nn = 0\ntry:\n  for i in range(99):\n    if os.fork() == 0: \
                time.sleep(1); os._exit(0)\n    n += 1\nexcept OSError: pass\nprint(n, flush=True); \
                open(\"ready-%s\" % os.getenv(\"ME\"), \"w\")\nt = time.time()\n\
                while not all(os.path.exists(\"ready-%s\" % m) for m in \"ab\") and time.time() < t + 9: \
                time.sleep(0.02)'";
    let ids = ["a", "b"].map(|me| {
        let mut step = shell(line);
        step.env.insert("ME".to_owned(), me.to_owned());
        let mut work = step_work(&step);
        if let meta_proto::runner::task::Work::Step(work) = &mut work {
            work.restore = false;
        }
        rig.submit(work)
    });
    for id in ids {
        let Outcome::Step(_) = rig.result(&id).await else { panic!() };
        let forked: u32 = rig.log(&id).trim().parse().unwrap();
        assert!((30..40).contains(&forked), "{forked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_configuration_names_is_shown() {
    let shown = tempfile::tempdir().unwrap();
    let tool = shown.path().join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho works\n").unwrap();
    for path in [shown.path(), &tool] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let folder = shown.path().to_owned();
    let configure = |strict: &mut Strict| {
        strict.shown = vec![folder];
        strict.env = vec!["SHOWN".to_owned()];
    };
    let Some(rig) = rig(configure).await else { return };
    rig.prepare_files(&[]).await;
    let line = format!("{}; echo \"$SHOWN$HIDDEN$CARGO_HOME\"; id -un; ls /etc", tool.display());
    let (_, log) = rig.sh(&line).await;
    assert!(log.starts_with("works\nyes\nmetabuilder\n"), "{log}");
    assert!(!log.contains("shadow") && !log.contains("hostname"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_outlives_its_mount() {
    let Some(rig) = rig(|_| {}).await else { return };
    rig.prepare_files(&[("a.txt", "a\n")]).await;
    assert_eq!(rig.sh("echo kept > untracked; echo more >> a.txt").await.0, Some(0));
    let images = rig.data.path().join("volumes");
    if std::fs::read_dir(&images).map_or(0, Iterator::count) == 0 {
        eprintln!("not tried: there are no loop devices, workspaces are memory");
        return;
    }
    assert!(rig.mounts.let_go() >= 2, "the run's folder and its caches");
    let mut work = step_work(&shell("cat untracked a.txt"));
    if let meta_proto::runner::task::Work::Step(work) = &mut work {
        work.restore = false;
    }
    let id = rig.submit(work);
    let Outcome::Step(_) = rig.result(&id).await else { panic!() };
    assert_eq!(rig.log(&id), "kept\na\nmore\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_cannot_hold_the_level_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: data.path().to_owned(),
        sandbox: SandboxMode::Strict,
        strict: Strict { shown: vec![PathBuf::from("/no/such/folder")], ..Strict::default() },
        ..Config::default()
    };
    let routes = meta_runtime::Wiring::default().grpc_routes(meta_runtime::auth::Auth::new(
        meta_runtime::auth::Mode::None,
        "",
        None,
    ));
    let peer = meta_runtime::transport::in_process(routes, "");
    let host = Host::new(BTreeMap::new()).with_peer("orchestrator", peer);
    let error = runner::Runner::wire(config, &host).await.err().expect("it is refused");
    let text = format!("{error:?} {error}");
    assert!(text.contains("does not hold at the level") && text.contains("strict"), "{text}");
}
