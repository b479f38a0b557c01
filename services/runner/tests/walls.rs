//! What a step must not see, change or reach.

mod support;

use meta_domain::source::Source;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::task::Work;
use meta_proto::runner::*;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use support::{Rig, inline, path, shell, step_work};

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_the_home_folder_are_hidden() {
    let rig = Rig::with(|_| {}, &[("PATH", "/usr/bin:/bin")]).await;
    let secrets = [
        ".ssh/id_ed25519",
        ".aws/credentials",
        ".netrc",
        ".config/gh/hosts.yml",
        ".npmrc",
        ".docker/config.json",
        ".cargo/credentials.toml",
        ".git-credentials",
        ".kube/config",
        ".pypirc",
        "notes.txt",
        ".gnupg/x",
        ".bash_history",
        ".config/gcloud/x",
    ];
    for name in secrets {
        let file = rig.home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "canary").unwrap();
    }
    std::fs::create_dir_all(rig.home.path().join(".cargo/bin")).unwrap();
    std::fs::write(rig.home.path().join(".cargo/config.toml"), "[net]\n").unwrap();
    rig.prepare_files(&[]).await;
    let (_, log) = rig.sh("grep -rs canary \"$HOME\" /home; find \"$HOME\" -type f").await;
    let expected = format!("{}/.cargo/config.toml\n", rig.home.path().display());
    assert_eq!(log, expected);
    let line = "echo x > \"$HOME/.own\" && ! touch \"$HOME/.cargo/bin/x\" 2>&1 >/dev/null";
    assert_eq!(rig.sh(line).await.0, Some(0));
    assert!(!rig.home.path().join(".own").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_the_home_folder_are_shown() {
    let home = tempfile::tempdir().unwrap();
    let tool = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        let file = home.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("#!/bin/sh\necho {path}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let tools = ["venv/bin/one", "p/node_modules/x/two", "go/bin/three", "pipx/v/four/bin/four"];
    for path in tools {
        tool(path);
    }
    std::fs::write(home.path().join("venv/pyvenv.cfg"), "").unwrap();
    std::fs::create_dir_all(home.path().join("p/node_modules/.bin")).unwrap();
    std::fs::create_dir_all(home.path().join("bin")).unwrap();
    std::fs::write(home.path().join("venv-secret"), "canary").unwrap();
    std::os::unix::fs::symlink("../x/two", home.path().join("p/node_modules/.bin/two")).unwrap();
    let four = home.path().join("pipx/v/four/bin/four");
    std::os::unix::fs::symlink(four, home.path().join("bin/four")).unwrap();
    let at = home.path().display();
    let folders = format!("{at}/venv/bin:{at}/p/node_modules/.bin:{at}/bin:/usr/bin:/bin");
    let host = home.path().to_string_lossy().into_owned();
    let rig = Rig::with(|_| {}, &[("PATH", &folders), ("HOME", &host)]).await;
    rig.prepare_files(&[]).await;
    let (_, log) = rig.sh("one; two; ~/go/bin/three; four; cat ~/venv-secret 2>/dev/null").await;
    assert_eq!(log, tools.join("\n") + "\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_runs_and_the_runners_data_are_hidden() {
    let mut rig = Rig::start().await;
    rig.prepare_files(&[("secret.txt", "canary\n")]).await;
    let other = rig.ws();
    rig.run_id = meta_runtime::new_id().to_string();
    rig.prepare_files(&[]).await;
    let data = rig.data.path().display().to_string();
    let line = format!(
        "cat {}/secret.txt; ls -A {data}; ln -s {data} l; cat l/canary; ls /tmp",
        other.display()
    );
    let (_, log) = rig.sh(&line).await;
    assert!(!log.contains("canary\n") && log.matches("No such file").count() >= 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_network_unless_asked_for() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut step = shell(&format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected"));
    assert!(!rig.step(&step).await.1.contains("connected"));
    step.network = true;
    assert!(rig.step(&step).await.1.contains("connected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_cannot_be_changed() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "host").unwrap();
    let line = format!(
        "for f in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /etc/x /usr/x /x \
         /var/x {0}/f /proc/sysrq-trigger /.metabuilder/launch /sys/x; do \
         ( : >> $f ) 2>/dev/null && echo \"wrote $f\"; done; \
         ln -s {0}/f link; ( echo step > link ) 2>/dev/null; \
         unshare -Ur true 2>/dev/null && echo userns; \
         mount -t tmpfs x /tmp 2>/dev/null && echo mounted; \
         chroot / true 2>/dev/null && echo chrooted; \
         mknod d b 8 0 2>/dev/null && echo device; \
         [ -e /run/docker.sock ] && echo docker; \
         cat /etc/shadow 2>/dev/null | head -1; \
         grep -E '^(CapEff|CapBnd|CapPrm):' /proc/self/status | grep -v 0000000000000000; \
         ps -e 2>/dev/null | grep -c steps-; true",
        outside.path().display()
    );
    assert_eq!(rig.sh(&line).await.1, "0\n");
    assert_eq!(std::fs::read_to_string(outside.path().join("f")).unwrap(), "host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loader_variable_of_a_step_works_only_behind_the_wall() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let mark = tempfile::tempdir().unwrap();
    let script = mark.path().join("env.sh");
    let touch = format!("touch {}/ran", mark.path().display());
    std::fs::write(&script, &touch).unwrap();
    let mut step = shell("echo ok");
    for name in ["BASH_ENV", "ENV", "PROMPT_COMMAND"] {
        step.env.insert(name.to_owned(), script.to_string_lossy().into_owned());
    }
    step.env.insert("LD_PRELOAD".to_owned(), "/workspace/evil.so".to_owned());
    let (_, log) = rig.step(&step).await;
    // One complaint by each program of the step itself, none by those in front of the wall.
    assert!(log.contains("evil.so") && log.lines().any(|line| line == "ok"), "{log}");
    assert!(!mark.path().join("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_path_that_is_a_link_leads_nowhere() {
    let rig = Rig::start().await;
    rig.prepare_files(&[]).await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().display();
    rig.sh(&format!("ln -s {target} c; mkdir d; ln -s ../../../oldroot{target} d/e")).await;
    let mut step = shell("touch c/x d/e/x; true");
    step.cache = vec!["c".to_owned(), "d/e/f".to_owned()];
    let id = rig.submit(step_work(&step));
    let Outcome::Step(_) = rig.result(&id).await else { panic!() };
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_a_step_has_booby_trapped_leads_nowhere() {
    let rig = Rig::start().await;
    std::fs::create_dir_all(rig.home.path().join(".cargo/bin")).unwrap();
    rig.prepare_files(&[]).await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().display();
    rig.sh(&format!("cd ~; ln -s ../../../oldroot{target} .rustup; ln -s {target} go")).await;
    std::fs::create_dir_all(rig.home.path().join(".rustup/toolchains")).unwrap();
    std::fs::create_dir_all(rig.home.path().join("go/bin")).unwrap();
    assert_eq!(rig.sh("ls ~/.rustup ~/go").await.0, Some(0));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_project_is_copied_and_never_touched() {
    let rig = Rig::start().await;
    let project = tempfile::tempdir().unwrap();
    let line = "git init -q . && mkdir -p src node_modules/x && echo a > src/a && echo n > \
                node_modules/x/i.js && echo node_modules > .gitignore && ln -s /usr/bin tools";
    let made = Command::new("sh").args(["-c", line]).current_dir(project.path()).status().unwrap();
    assert!(made.success());
    let prepared = rig.prepare(path(project.path())).await;
    assert_eq!(prepared.files, [".gitignore", "src/a", "tools"]);
    let mut work =
        step_work(&shell("pwd; cat node_modules/x/i.js; readlink tools; echo b > src/a"));
    if let Work::Step(step) = &mut work {
        step.mount = project.path().to_string_lossy().into_owned();
    }
    let id = rig.submit(work);
    let Outcome::Step(result) = rig.result(&id).await else { panic!() };
    let expected = format!("{}\nn\n/usr/bin\n", project.path().display());
    assert_eq!(rig.log(&id), expected);
    assert!(String::from_utf8(result.combined_patch.unwrap()).unwrap().contains("+b\n"));
    assert_eq!(std::fs::read_to_string(project.path().join("src/a")).unwrap(), "a\n");
    let again = rig.prepare(path(project.path())).await;
    assert_eq!(again.commit, result.commit, "a prepared workspace is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_fetched_behind_the_wall() {
    let rig = Rig::start().await;
    let origin = tempfile::tempdir().unwrap();
    let line = "git init -q -b main . && echo 1 > f && git add f && git -c user.name=a -c \
                user.email=a commit -qm one && git tag v1 && echo 2 > f && git -c user.name=a -c \
                user.email=a commit -qam two && git rev-parse v1";
    let made = Command::new("sh").args(["-c", line]).current_dir(origin.path()).output().unwrap();
    let first = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let url = format!("file://{}", origin.path().display());
    for (reference, expected) in [("", "2\n"), ("v1", "1\n"), (first.as_str(), "1\n")] {
        let rig = Rig { run_id: meta_runtime::new_id().to_string(), ..Rig::start().await };
        rig.prepare(Source::Git { url: url.clone(), reference: reference.to_owned() }).await;
        assert_eq!(rig.sh("cat f").await.1, expected, "{reference}");
    }
    for (url, reference) in [
        (url.as_str(), "no-such-branch"),
        ("file:///no/such/repository", ""),
        ("ext::sh -c touch% /tmp/x", ""),
        (url.as_str(), "--upload-pack=touch"),
    ] {
        let source = Source::Git { url: url.to_owned(), reference: reference.to_owned() };
        let id = rig.submit(Work::Inspect(InspectWork { source: Some(source.into()) }));
        let Outcome::Error(error) = rig.result(&id).await else { panic!("{url} {reference}") };
        assert!(!error.retryable && error.message.starts_with("source."), "{}", error.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_listed_with_its_manifests() {
    let rig = Rig::start().await;
    let inspect =
        |source: Source| rig.submit(Work::Inspect(InspectWork { source: Some(source.into()) }));
    let id = inspect(inline(&[("Cargo.toml", "[package]"), ("src/lib.rs", "")]));
    let Outcome::Inspect(result) = rig.result(&id).await else { panic!() };
    let listing = result.listing.unwrap();
    assert_eq!(listing.files, ["Cargo.toml", "src/lib.rs"]);
    assert_eq!(listing.manifests["Cargo.toml"], "[package]");
    let id = inspect(path(Path::new("/no/such/folder")));
    let Outcome::Error(error) = rig.result(&id).await else { panic!() };
    assert!(!error.retryable && error.message.contains("/no/such/folder"), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_folders_are_built_only_where_the_configuration_says_so() {
    let allowed = tempfile::tempdir().unwrap();
    let below = runner::PathSources::Below(vec![allowed.path().to_owned()]);
    for (sources, folder, ok) in [
        (runner::PathSources::Any(false), allowed.path(), false),
        (below.clone(), allowed.path(), true),
        (below, Path::new("/etc"), false),
    ] {
        let rig = Rig::with(|config| config.path_sources = sources, &[]).await;
        let id = rig.submit(Work::Inspect(InspectWork { source: Some(path(folder).into()) }));
        let result = rig.result(&id).await;
        assert_eq!(matches!(result, Outcome::Inspect(_)), ok, "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_data_is_never_built() {
    let service = tempfile::tempdir().unwrap();
    let secret = service.path().join("dev-token");
    std::fs::write(&secret, "canary").unwrap();
    let hidden = vec![service.path().to_owned()];
    let rig = Rig::with(|config| config.hidden = hidden, &[]).await;
    let runs = rig.data.path().join("runs");
    std::fs::create_dir_all(&runs).unwrap();
    let around = service.path().parent().unwrap();
    for folder in [service.path(), rig.data.path(), &runs, around, Path::new("/")] {
        let local = path(folder);
        let url = format!("file://{}", folder.display());
        let git = Source::Git { url, reference: String::new() };
        for source in [local, git] {
            for work in [
                Work::Inspect(InspectWork { source: Some(source.clone().into()) }),
                Work::Prepare(PrepareWork { source: Some(source.clone().into()) }),
            ] {
                let id = rig.submit(work);
                let Outcome::Error(error) = rig.result(&id).await else { panic!("{source:?}") };
                assert!(error.message.contains("own data folder"), "{}", error.message);
                assert!(!error.retryable);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_the_level_says_so() {
    let rig = Rig::with(|config| config.sandbox = runner::SandboxMode::Off, &[]).await;
    rig.prepare_files(&[("a.txt", "one\n")]).await;
    let mut step = shell("echo x >> kept/n; wc -l < kept/n; echo two > a.txt");
    step.cache = vec!["kept".to_owned()];
    let (result, log) = rig.step(&step).await;
    assert_eq!(log, "1\n");
    assert_eq!(result.execution.unwrap().sandbox, "none");
    assert!(String::from_utf8(result.combined_patch.unwrap()).unwrap().contains("+two"));
    assert_eq!(rig.step(&step).await.1, "2\n");
}
