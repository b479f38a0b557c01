//! Starting, starting again, and refusing to start.

use crate::served::{config, wire};
use crate::{Caller, Served, per_step, run_id, total};
use flag_resolver::{Config, FlagResolver, Flagd};
use meta_domain::settings::{Layer, Setting, Value};
use meta_runtime::{Host, Service, StartError};
use meta_storage::testing::Fresh;
use meta_storage::{Location, Side, on, sqlx};

meta_storage::on_both_engines! {
    a_restart_keeps_overrides_audit_and_version;
    what_is_corrupt_falls_away_for_its_owner_alone_and_auto_fix_is_off;
}

async fn a_restart_keeps_overrides_audit_and_version(fresh: Fresh) {
    let run = run_id();
    let first = Served::start(&fresh).await;
    let mut ann = first.caller();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, per_step(2)).await.unwrap();
    let told = async |ann: &mut Caller| {
        let resolved = ann.resolve(&run).await.unwrap();
        (resolved, ann.explain(&run).await.unwrap(), ann.changes("").await.unwrap())
    };
    let before = told(&mut ann).await;
    first.stop().await;
    let second = Served::start(&fresh).await;
    let mut ann = ann.at(second.channel());
    assert_eq!(told(&mut ann).await, before);
    assert_eq!(ann.clear(&run, &[]).await.unwrap().version, 3);
}

/// Writes into a tenant's stored layer behind the service's back.
async fn damage(location: &Location, tenant: &str) {
    let sql = "UPDATE layers SET document = 'x' WHERE tenant = $1 AND run = ''";
    let database = match location {
        Location::Sqlite(path) => {
            Side::Sqlite(sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap())
        }
        Location::Postgres(_) => {
            Side::Postgres(sqlx::PgPool::connect(&location.to_setting()).await.unwrap())
        }
    };
    let done = on!(database, |db| {
        let done = sqlx::query(sql).bind(tenant).execute(&db).await.unwrap().rows_affected();
        db.close().await;
        done
    });
    assert_eq!(done, 1);
}

async fn what_is_corrupt_falls_away_for_its_owner_alone_and_auto_fix_is_off(fresh: Fresh) {
    let first = Served::start(&fresh).await;
    let (mut ann, run) = (first.caller(), run_id());
    let mut bob = ann.of_another_tenant();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(2)).await.unwrap();
    bob.set("", total(9)).await.unwrap();
    first.stop().await;
    damage(fresh.location(), &ann.tenant()).await;
    let second = Served::start(&fresh).await;
    let (mut ann, mut bob) = (ann.at(second.channel()), bob.at(second.channel()));
    assert_eq!(bob.total("").await, (9, Layer::Tenant));
    assert_eq!(ann.total("").await, (10, Layer::Platform));
    assert_eq!(ann.total(&run).await, (2, Layer::Run));
    let off = (Value::Bool(false), Layer::Tenant);
    assert_eq!(ann.value("", Setting::AutofixEnabled).await, off);
    let said = ann.explain("").await.unwrap();
    for setting in &said.settings {
        let last = setting.layers.last().unwrap();
        assert!(!last.problem.is_empty(), "{setting:?}");
        assert_eq!(last.applies, setting.name == "autofix_enabled");
    }
    ann.patch("", per_step(2)).await.unwrap();
    let on = (Value::Bool(true), Layer::Platform);
    assert_eq!(ann.value("", Setting::AutofixEnabled).await, on, "any write mends it");
}

#[tokio::test]
async fn bad_variables_stop_the_start_and_are_all_named() {
    let fresh = Fresh::sqlite();
    let vars = [
        ("META_BUILDER_ENV", "prod"),
        ("FEATURE_META_V3_AUTOFIX", "maybe"),
        ("META_V3_MAX_TOTAL_ATTEMPTS", "3.5"),
        ("META_V3_MAX_PER_STEP_ATTEMPTS", ""),
        ("META_V3_BACKOFF_CAP_SECONDS", "301"),
    ];
    let data = tempfile::tempdir().unwrap();
    let Err(StartError::Config(faults)) = wire(config(fresh.location(), data.path()), &vars).await
    else {
        panic!("started, or stopped for another reason");
    };
    assert_eq!(faults.len(), vars.len());
    for ((name, value), fault) in vars.iter().zip(&faults) {
        assert_eq!(fault.path, *name);
        assert!(fault.problem.contains(&format!("{value:?}")), "{fault}");
        assert!(fault.problem.contains("expected"), "{fault}");
    }
    let Location::Sqlite(file) = fresh.location() else { panic!("a file") };
    assert!(!file.exists(), "nothing was made");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_stops_the_start_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let config = Config { data_dir: file.clone(), ..Config::default() };
    let error = wire(config, &[]).await.err().expect("no start");
    assert!(error.to_string().contains("file/flags.db"), "{error}");
    let config =
        Config { data_dir: dir.path().to_owned(), database: "file".into(), ..Config::default() };
    assert!(FlagResolver::wire(config, &Host::default()).await.is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"not a folder");
}

#[tokio::test]
async fn a_missing_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b");
    let config = Config { data_dir: below.clone(), ..Config::default() };
    Served::of(config, &[]).await.caller().set("", total(8)).await.unwrap();
    assert!(below.join("flags.db").exists());
}

#[tokio::test]
async fn a_listener_for_everybody_stops_the_start() {
    let fresh = Fresh::sqlite();
    let data = tempfile::tempdir().unwrap();
    let listen = "0.0.0.0:0".parse().unwrap();
    let flagd = Some(Flagd { listen, tenant: "any".to_owned() });
    let config = Config { flagd, ..config(fresh.location(), data.path()) };
    let Err(StartError::Config(faults)) = wire(config, &[]).await else { panic!("it starts") };
    assert_eq!(faults[0].path, "flagd.listen");
}
