//! Starting, starting again, and refusing to start.

use crate::{Caller, per_step, run_id, total, wire};
use flag_resolver::{Config, FlagResolver};
use meta_domain::settings::Layer;
use meta_proto::status::from_status;
use meta_runtime::{Host, Service, StartError};
use meta_storage::Store;
use std::path::Path;

#[tokio::test]
async fn a_restart_keeps_overrides_audit_and_version() {
    let dir = tempfile::tempdir().unwrap();
    let run = run_id();
    let mut first = Caller::start(dir.path()).await;
    first.set("", total(8)).await.unwrap();
    first.set(&run, per_step(2)).await.unwrap();
    let before = (
        first.resolve(&run).await.unwrap(),
        first.explain(&run).await.unwrap(),
        first.changes("", 0).await.unwrap(),
    );
    let principal = first.principal.clone();
    drop(first);
    let mut second = Caller::start(dir.path()).await;
    second.principal = principal;
    let after = (
        second.resolve(&run).await.unwrap(),
        second.explain(&run).await.unwrap(),
        second.changes("", 0).await.unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!(second.clear(&run).await.unwrap().1, 3);
}

#[tokio::test]
async fn bad_variables_stop_the_start_and_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let vars = [
        ("META_BUILDER_ENV", "prod"),
        ("FEATURE_META_V3_AUTOFIX", "maybe"),
        ("META_V3_MAX_TOTAL_ATTEMPTS", "3.5"),
        ("META_V3_MAX_PER_STEP_ATTEMPTS", ""),
        ("META_V3_BACKOFF_CAP_SECONDS", "301"),
    ];
    let Err(StartError::Config(faults)) = wire(dir.path(), &vars).await else {
        panic!("started, or stopped for another reason");
    };
    assert_eq!(faults.len(), vars.len());
    for ((name, value), fault) in vars.iter().zip(&faults) {
        assert_eq!(fault.path, *name);
        assert!(fault.problem.contains(&format!("{value:?}")), "{fault}");
        assert!(fault.problem.contains("expected"), "{fault}");
    }
    assert!(!dir.path().join("flags.db").exists(), "nothing was made");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let error = wire(&file, &[]).await.err().expect("no start");
    assert!(error.to_string().contains("file/flags.db"), "{error}");
    let config = Config { data_dir: dir.path().to_owned(), database: "file".into() };
    assert!(FlagResolver::wire(config, &Host::default()).await.is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"not a folder");
}

#[tokio::test]
async fn a_missing_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b");
    Caller::start(&below).await.set("", total(8)).await.unwrap();
    assert!(below.join("flags.db").exists());
}

/// A row that was damaged is an error for its owner, is never taken for an absent one, and is
/// mended by writing it anew.
#[tokio::test]
async fn a_corrupt_override_fails_its_owner_alone_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut bob = ann.of_another_tenant();
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(2)).await.unwrap();
    bob.set("", total(9)).await.unwrap();
    damage(&dir.path().join("flags.db"), &ann.principal.tenant.to_string()).await;
    let principals = (ann.principal.clone(), bob.principal.clone());
    let mut ann = Caller::start(dir.path()).await;
    let mut bob = ann.clone();
    (ann.principal, bob.principal) = principals;
    assert_eq!(bob.resolve("").await.unwrap().0.settings.max_total_attempts, 9);
    for status in [
        ann.resolve("").await.unwrap_err(),
        ann.resolve(&run).await.unwrap_err(),
        ann.patch("", per_step(2)).await.unwrap_err(),
    ] {
        assert_eq!(from_status(&status).reason, "OVERRIDE_CORRUPT", "{status}");
    }
    let (r, _) = ann.clear("").await.unwrap();
    assert_eq!(r.max_total_attempts_layer, Layer::Platform);
    assert_eq!(ann.resolve(&run).await.unwrap().0.settings.max_total_attempts, 2);
}

async fn damage(path: &Path, tenant: &str) {
    let store = Store::open(path, &sqlx::migrate!()).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let sql = "UPDATE overrides SET document = replace(document, '8', '80') \
               WHERE tenant = $1 AND run = ''";
    let done = sqlx::query(sql).bind(tenant).execute(&mut *tx).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    tx.commit().await.unwrap();
    store.close().await;
}

#[test]
fn the_process_exits_with_64_on_a_bad_variable_and_says_which() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_flag-resolver"))
        .args(["--set", "auth.mode=none"])
        .env("META_V3_MAX_TOTAL_ATTEMPTS", "21")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{told}");
    for part in ["META_V3_MAX_TOTAL_ATTEMPTS", "\"21\"", "1 to 20"] {
        assert!(told.contains(part), "{told}");
    }
}
